"""How the elements of an array are stored, where a loop can read them so (``stored.h``)."""

cdef extern from "stored.h":
    const bint READS "SMOOTHL1_READS"
    enum:
        OTHERWISE "SMOOTHL1_OTHERWISE"
        AS_IS "SMOOTHL1_AS_IS"
        SWAPPED "SMOOTHL1_SWAPPED"
        HALVES "SMOOTHL1_HALVES"
        BFLOATS "SMOOTHL1_BFLOATS"
        SINGLES "SMOOTHL1_SINGLES"


cdef inline int stored_as(char kind, int itemsize, bint swap, bint single) noexcept nogil:
    """How contiguous items of a dtype are stored, for a working dtype; they need no alignment."""
    if not READS or kind != c"f" and kind != c"V":
        return OTHERWISE
    if kind == c"f" and itemsize == (4 if single else 8):
        return SWAPPED if swap else AS_IS
    if swap:
        return OTHERWISE
    if single and itemsize == 2:
        return BFLOATS if kind == c"V" else HALVES
    return SINGLES if not single and itemsize == 4 else OTHERWISE
