"""Casts: items of any dtype to the working one, and results to any floating-point dtype.

Contiguous, aligned items in this machine's byte order, in loops that the compiler vectorises with
the instruction set of the module; float16 and bfloat16 by ``half.h``. A result is rounded once.
"""

from libc.stdint cimport (
    int8_t, int16_t, int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t,
)

from smoothl1._smoothl1 cimport floating
from stored cimport HALVES, READS, STEP, smoothl1_unpackf


cdef extern from "half.h":
    float smoothl1_float_of_half(uint16_t h) noexcept nogil
    uint16_t smoothl1_half_of_float(float f) noexcept nogil
    uint16_t smoothl1_half_of_double(double d) noexcept nogil
    float smoothl1_float_of_bfloat(uint16_t b) noexcept nogil
    uint16_t smoothl1_bfloat_of_float(float f) noexcept nogil
    uint16_t smoothl1_bfloat_of_double(double d) noexcept nogil


ctypedef fused source:
    float
    double
    int8_t
    int16_t
    int32_t
    int64_t
    uint8_t
    uint16_t
    uint32_t
    uint64_t


cdef inline void convert(const source* a, Py_ssize_t n, floating* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = <floating>a[i]


cdef inline void convert_half(const uint16_t* a, Py_ssize_t n, floating* out) noexcept nogil:
    cdef Py_ssize_t i, first = 0
    if floating is float:
        if READS:
            first = n - n % STEP
            smoothl1_unpackf(<const char*>a, HALVES, first, out)
    for i in range(first, n):
        out[i] = smoothl1_float_of_half(a[i])


cdef inline void convert_bfloat(const uint16_t* a, Py_ssize_t n, floating* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = smoothl1_float_of_bfloat(a[i])


cdef inline void convert_any(
    char kind, int itemsize, const char* raw, Py_ssize_t n, floating* buffer
) noexcept nogil:
    """Items of a dtype other than the working one to the working dtype."""
    if kind == c"f":
        if itemsize == 2:
            convert_half(<const uint16_t*>raw, n, buffer)
        elif itemsize == 4:
            convert(<const float*>raw, n, buffer)
        else:
            convert(<const double*>raw, n, buffer)
    elif kind == c"V":
        convert_bfloat(<const uint16_t*>raw, n, buffer)
    elif kind == c"i":
        if itemsize == 1:
            convert(<const int8_t*>raw, n, buffer)
        elif itemsize == 2:
            convert(<const int16_t*>raw, n, buffer)
        elif itemsize == 4:
            convert(<const int32_t*>raw, n, buffer)
        else:
            convert(<const int64_t*>raw, n, buffer)
    else:
        if itemsize == 1:
            convert(<const uint8_t*>raw, n, buffer)
        elif itemsize == 2:
            convert(<const uint16_t*>raw, n, buffer)
        elif itemsize == 4:
            convert(<const uint32_t*>raw, n, buffer)
        else:
            convert(<const uint64_t*>raw, n, buffer)


cdef inline uint16_t two_bytes(floating a, char kind) noexcept nogil:
    """A float of two bytes, rounded once."""
    if kind == c"V":
        if floating is float:
            return smoothl1_bfloat_of_float(a)
        else:
            return smoothl1_bfloat_of_double(a)
    elif floating is float:
        return smoothl1_half_of_float(a)
    else:
        return smoothl1_half_of_double(a)


cdef inline void convert_back(
    const floating* a, Py_ssize_t n, char kind, int itemsize, char* results
) noexcept nogil:
    """Numbers to a floating-point dtype, each rounded once."""
    cdef Py_ssize_t i
    if itemsize == 2:
        if kind == c"V":
            for i in range(n):
                (<uint16_t*>results)[i] = two_bytes(a[i], c"V")
        else:
            for i in range(n):
                (<uint16_t*>results)[i] = two_bytes(a[i], c"f")
    elif itemsize == 4:
        convert(a, n, <float*>results)
    else:
        convert(a, n, <double*>results)
