"""How the elements of an array are stored, where a loop can read them so (``stored.h``)."""

from smoothl1._smoothl1 cimport floating


cdef extern from "stored.h":
    const bint READS "SMOOTHL1_BY_VECTORS"
    enum:
        OTHERWISE "SMOOTHL1_OTHERWISE"
        AS_IS "SMOOTHL1_AS_IS"
        UNALIGNED "SMOOTHL1_UNALIGNED"
        SWAPPED "SMOOTHL1_SWAPPED"
        HALVES "SMOOTHL1_HALVES"
        BFLOATS "SMOOTHL1_BFLOATS"
        SINGLES "SMOOTHL1_SINGLES"
        STEP "SMOOTHL1_STEP"
    Py_ssize_t smoothl1_stored_size(int stored, Py_ssize_t size) noexcept nogil
    void smoothl1_unpackf(const char* a, int stored, Py_ssize_t n, float* to) noexcept nogil
    void smoothl1_unpack(const char* a, int stored, Py_ssize_t n, double* to) noexcept nogil


cdef inline int stored_as(
    char kind, int itemsize, bint swap, bint native, bint single
) noexcept nogil:
    """How contiguous items of a dtype are stored, for a working dtype."""
    if not READS or kind != c"f" and kind != c"V":
        return OTHERWISE
    if kind == c"f" and itemsize == (4 if single else 8):
        return AS_IS if native else SWAPPED if swap else UNALIGNED
    if swap:
        return OTHERWISE
    if single and itemsize == 2:
        return BFLOATS if kind == c"V" else HALVES
    return SINGLES if not single and itemsize == 4 else OTHERWISE


cdef inline const floating* unpack(
    const char* a, int stored, Py_ssize_t start, Py_ssize_t n, floating* buffer
) noexcept nogil:
    """Some elements in the working dtype, a multiple of STEP: as they are, or in the buffer."""
    a += start * smoothl1_stored_size(stored, sizeof(floating))
    if stored == AS_IS:
        return <const floating*>a
    if floating is float:
        smoothl1_unpackf(a, stored, n, buffer)
    else:
        smoothl1_unpack(a, stored, n, buffer)
    return buffer
