"""Results as arrays: read whatever floating-point dtype they have, and rounded to bfloat16."""

from libc.math cimport isfinite
from libc.stdint cimport uint16_t
from libc.string cimport memcpy

cimport numpy as cnp

from casts cimport convert_back, smoothl1_float_of_bfloat, smoothl1_float_of_half


cdef inline double result_at(cnp.ndarray results, Py_ssize_t i) noexcept:
    """One of contiguous results of a core; those of uint16 are the bits of bfloat16."""
    cdef int typenum = cnp.PyArray_TYPE(results)
    cdef char* data = <char*>cnp.PyArray_DATA(results)
    if typenum == cnp.NPY_FLOAT16:
        return smoothl1_float_of_half((<uint16_t*>data)[i])
    if typenum == cnp.NPY_UINT16:
        return smoothl1_float_of_bfloat((<uint16_t*>data)[i])
    return (<float*>data)[i] if typenum == cnp.NPY_FLOAT32 else (<double*>data)[i]


cdef inline void take_finite(cnp.ndarray results, cnp.ndarray others) noexcept:
    """Take over those of the others that are finite here instead."""
    cdef Py_ssize_t i, size = cnp.PyArray_ITEMSIZE(results)
    for i in range(cnp.PyArray_SIZE(results)):
        if not isfinite(result_at(results, i)) and isfinite(result_at(others, i)):
            memcpy(
                <char*>cnp.PyArray_DATA(results) + i * size,
                <char*>cnp.PyArray_DATA(others) + i * size, size,
            )


cdef inline cnp.ndarray bits_of_bfloat16(cnp.ndarray values):
    """Contiguous numbers of float64, each rounded once."""
    cdef cnp.ndarray bits = cnp.PyArray_EMPTY(
        cnp.PyArray_NDIM(values), <cnp.npy_intp*>cnp.PyArray_DIMS(values), cnp.NPY_UINT16, 0
    )
    cdef Py_ssize_t n = cnp.PyArray_SIZE(values)
    cdef const double* a = <const double*>cnp.PyArray_DATA(values)
    cdef char* to = <char*>cnp.PyArray_DATA(bits)
    with nogil:
        convert_back(a, n, c"V", 2, to)
    return bits
