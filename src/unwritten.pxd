"""Blocks of operands whose terms are summed without a buffer: see ``windows.h``."""

from libc.stdint cimport int64_t

from blocks cimport (
    HIGHEST_TOP, SHRUNK, SPARE_BITS, in_two_windows, last_of, last_of_one, last_of_two, top_of,
)
from certificates cimport Certificate, dropped, is_tight, power_of_two
from digits cimport BASE_DOUBLE, BASE_SINGLE, TERMS, deposit
from groups cimport NumbersDouble, NumbersSingle
from smoothl1._smoothl1 cimport floating
from terms cimport PRODUCT, Params


cdef extern from "windows.h":
    ctypedef struct Found "smoothl1_block":
        int64_t largest, smallest, high, low, below
        bint whole
    cdef enum:
        SMOOTHL1_EXACT
        SMOOTHL1_CERTIFIED
    void smoothl1_sum_blockf(
        const float* x, const float* y, Py_ssize_t n, Py_ssize_t ahead, bint product,
        const NumbersSingle* numbers, int mode, double scale, double start,
        double start_low, Found* found,
    ) noexcept nogil
    void smoothl1_sum_block(
        const double* x, const double* y, Py_ssize_t n, Py_ssize_t ahead, bint product,
        const NumbersDouble* numbers, int mode, double scale, double start,
        double start_low, Found* found,
    ) noexcept nogil


cdef enum:
    # Elements of a block of a sum with a certificate, 2**LONG_SPARE_BITS additions to a lane. What
    # a block of TERMS costs beside its elements is a tenth of a mean in the caches.
    LONG_TERMS = 4096
    LONG_SPARE_BITS = 8


cdef inline void sum_block(
    const floating* x, const floating* y, Py_ssize_t n, Py_ssize_t ahead, const Params* p,
    int mode, double scale, int top, int spare, Found* found,
) noexcept nogil:
    """Sum the terms of a block, PRODUCT or PAIR, times scale, without a buffer.

    Windows are for 2**spare additions of numbers below 2**top.
    """
    cdef double start = 1.5 * power_of_two(top + spare + 1)
    cdef double low = 1.5 * power_of_two(top + 2 * spare - 51)
    cdef NumbersSingle single
    cdef NumbersDouble wide
    if floating is float:
        single.beta, single.s, single.c = <float>p.beta, <float>p.s, <float>p.c
        single.factor = single.edge = 0
        smoothl1_sum_blockf(
            x, y, n, ahead, p.form == PRODUCT, &single, mode, scale, start, low, found
        )
    else:
        wide.beta, wide.s, wide.c = p.beta, p.s, p.c
        wide.factor = wide.edge = 0
        smoothl1_sum_block(
            x, y, n, ahead, p.form == PRODUCT, &wide, mode, scale, start, low, found
        )


cdef inline bint add_unwritten(
    const floating* x, const floating* y, Py_ssize_t n, Py_ssize_t ahead, const Params* p,
    int top, int64_t* digits, Py_ssize_t* linear,
) noexcept nogil:
    """Add the terms of a block without a buffer if they are below 2**top; returns whether so.

    OUT: linear, for PAIR: the number of elements in the linear piece.
    """
    cdef int base = BASE_SINGLE if floating is float else BASE_DOUBLE
    cdef Found found
    sum_block(x, y, n, ahead, p, SMOOTHL1_EXACT, 1.0, top, SPARE_BITS, &found)
    linear[0] = n - <Py_ssize_t>found.below
    if not found.whole:
        return False
    if found.largest == 0:
        return True
    if top_of(found.largest, x) > top or not in_two_windows(
        top, last_of(found.smallest + 1, x)
    ):
        return False
    deposit(digits, found.high, last_of_one(top, SPARE_BITS) + base)
    deposit(digits, found.low, last_of_two(top, SPARE_BITS) + base)
    return True


cdef inline bint add_certified(
    const floating* x, const floating* y, Py_ssize_t n, Py_ssize_t ahead, const Params* p,
    int top, int64_t* digits, Certificate* certificate, Py_ssize_t* linear,
) noexcept nogil:
    """The same of a block of a sum that has a certificate, of at most LONG_TERMS.

    Terms that are far below 2**top may be too uncertain for that.
    """
    cdef bint single = floating is float
    cdef int spare = SPARE_BITS if n <= TERMS else LONG_SPARE_BITS
    cdef int first = last_of_one(top, spare), second = last_of_two(top, spare)
    cdef int base = BASE_SINGLE if single else BASE_DOUBLE
    cdef int shrunk = SHRUNK if not single and top > HIGHEST_TOP else 0
    cdef Found found
    cdef double total, bound = dropped(n, first if single else second, single)
    sum_block(
        x, y, n, ahead, p, SMOOTHL1_CERTIFIED, power_of_two(-shrunk), top - shrunk, spare, &found
    )
    linear[0] = n - <Py_ssize_t>found.below
    if not found.whole:
        return False
    total = found.high * power_of_two(first)
    if not is_tight(certificate, bound, total, single):
        return False
    certificate.bound += bound
    certificate.total += total
    deposit(digits, found.high, first + base)
    if not single:
        deposit(digits, found.low, second + base)
    return True
