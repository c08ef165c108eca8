"""Sizes of the work: ``sizes.h`` says why each is what it is.

LEAF and LANES decide bits; the others decide none.
"""

cdef extern from "sizes.h":
    enum:
        LEAF "SMOOTHL1_LEAF"
        LANES "SMOOTHL1_LANES"
        CHUNK "SMOOTHL1_CHUNK"
        BLOCK "SMOOTHL1_BLOCK"
        GROUP "SMOOTHL1_GROUP"
        TILE "SMOOTHL1_TILE"
        FEW "SMOOTHL1_FEW"
        STREAM "SMOOTHL1_STREAM"
        PREFETCHED "SMOOTHL1_PREFETCHED"
        AHEAD "SMOOTHL1_AHEAD"
        TOGETHER "SMOOTHL1_TOGETHER"
        GRAIN "SMOOTHL1_GRAIN"


cdef enum:
    # Bytes of a cache line, and of the longest vector.
    LINE = 64
    MAX_DIMS = 64  # NPY_MAXDIMS of NumPy 2
