"""Sums of terms by their exponents: see ``exponents.h``."""

from libc.stdint cimport int64_t


cdef extern from "exponents.h":
    ctypedef struct Exponents "smoothl1_exponents":
        pass
    int64_t smoothl1_by_exponentf(
        const float* terms, Py_ssize_t n, Exponents* exponents, int* negative
    ) noexcept nogil
    int64_t smoothl1_by_exponent(
        const double* terms, Py_ssize_t n, Exponents* exponents, int* negative
    ) noexcept nogil
    void smoothl1_pourf(
        Exponents* exponents, int signs, int least, int most, int base, int64_t* digits
    ) noexcept nogil
    void smoothl1_pour(
        Exponents* exponents, int signs, int least, int most, int base, int64_t* digits
    ) noexcept nogil


cdef enum:
    EXPONENTS_SIZE = 4096 * 12


cdef struct ByExponent:
    Exponents* sums
    bint ready       # they were set to 0 once: many jobs have no use for them
    bint used        # there are terms in them
    int least        # their exponents, as their bits have them
    int most
    int negative     # whether there are negative ones
    int64_t others   # more positive terms than negative ones that are 0 or subnormal
    int64_t* digits  # what the terms are part of
