"""Exact sums by group: the table that they are kept in, and the terms of an element.

A row holds the number of elements of a group and its sums, in the order of ``exact.pxd``, less
what the moments have no use for. Ordinary data need five of the 12 or 69 digits of a sum, so each
sum has a window of digits (``Window``), the same in all rows. The data are looked at first
(``scan_elements``); whoever owns the table makes the windows wide enough, then the terms are added
(``scattered.pxd``), without a look at carries.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from blocks cimport extremes
from digits cimport BASE_DOUBLE, BASE_SINGLE, TERMS, base_of
from jobs cimport Job
from kernels cimport fill, multiply, weigh, write_offsets, write_terms
from packing cimport load, load_mask
from smoothl1._smoothl1 cimport floating
from terms cimport ARRAY, PAIR, Params


cdef struct Window:
    int64_t column    # of the first digit
    int64_t first     # that digit, counted from the last of the sum
    int64_t digits
    int64_t special   # column of the counts of NaN, +inf, -inf; -1 if there are none


cdef struct Extent:
    # Of the terms of a sum: the position of their last bit, that above their first, whether
    # one of them is no number. Without a term but 0, from > to.
    int64_t start
    int64_t stop
    int64_t special


cdef struct Block:
    # Operands of a block, in the working dtype, and buffers.
    Py_ssize_t n
    const void* x
    const void* y
    const void* w
    const uint8_t* mask
    void* thresholds
    void* terms


cdef inline int sums_of_group(const Job* job) noexcept nogil:
    """Weights, two sums for each threshold, two moments."""
    return 1 + 2 * (job.n_params - 2) + 2


cdef inline bint counts_only(const Job* job, int sum) noexcept nogil:
    """Whether a sum is of 0 and 1: weights, and weights in the linear piece, without any."""
    cdef int losses = 2 * (job.n_params - 2)
    return not job.options.has_weight and (sum == 0 or sum % 2 == 0 and sum <= losses)


cdef inline void load_block(
    const Job* job, Py_ssize_t start, Py_ssize_t n, char* scratch, Block* block,
    const floating* tag,
) noexcept nogil:
    cdef Py_ssize_t size = TERMS * sizeof(double)
    cdef char* raw = scratch + 4 * size
    block.n = n
    block.x = load(&job.x, 0, start, n, raw, <floating*>scratch)
    block.y = load(&job.y, 0, start, n, raw, <floating*>(scratch + size))
    block.thresholds = scratch + 2 * size
    block.w = NULL
    if job.options.has_weight:
        block.w = load(&job.weight, 0, start, n, raw, <floating*>(scratch + 3 * size))
    block.terms = scratch + 5 * size
    block.mask = NULL
    if job.options.has_where:
        block.mask = load_mask(&job.where, 0, start, n, scratch + 6 * size)


cdef inline void sum_terms(
    const Job* job, int sum, const Block* block, const floating* tag
) noexcept nogil:
    """The terms of a sum to the block's buffer."""
    cdef const floating* x = <const floating*>block.x
    cdef const floating* y = <const floating*>block.y
    cdef const floating* w = <const floating*>block.w
    cdef floating* terms = <floating*>block.terms
    cdef const floating* thresholds = <const floating*>block.thresholds
    cdef int losses = 2 * (job.n_params - 2), k
    cdef Params p
    if sum == 0:
        if w is NULL:
            fill(<floating>1, block.n, terms)
        else:
            memcpy(terms, w, block.n * sizeof(floating))
        return
    k = (sum - 1) // 2 if sum <= losses else sum - losses - 1 + job.n_params - 2
    p = job.params[k]
    if p.form == ARRAY:
        fill(<floating>p.beta, block.n, <floating*>block.thresholds)
    if sum <= losses and sum % 2 == 0:
        p.form = PAIR  # whose offsets are 0 and 1
        write_offsets(x, y, thresholds, block.n, &p, terms)
    else:
        write_terms(x, y, thresholds, block.n, &p, terms)
    if w is not NULL:
        multiply(terms, w, block.n)


cdef inline void note_extent(
    floating* terms, Py_ssize_t n, Extent* extent, const floating* tag
) noexcept nogil:
    cdef int64_t largest, smallest, exponent
    cdef int bits = 23 if floating is float else 52
    cdef int base = BASE_SINGLE if floating is float else BASE_DOUBLE
    cdef int bias = 127 if floating is float else 1023
    cdef Py_ssize_t i
    extremes(terms, n, &largest, &smallest)
    if largest >> bits > 2 * bias:
        extent.special = 1
        for i in range(n):
            if not abs(terms[i]) < <floating>INFINITY:
                terms[i] = 0
        extremes(terms, n, &largest, &smallest)
    if largest == 0:
        return
    exponent = smallest >> bits
    exponent = (exponent if exponent > 0 else 1) - bias - bits + base
    if exponent < extent.start:
        extent.start = exponent
    exponent = (largest >> bits) - bias + 1 + base
    if exponent > extent.stop:
        extent.stop = exponent


cdef inline void scan_elements(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, char* scratch, Extent* extents,
    const floating* tag,
) noexcept nogil:
    """Widen the extents of all sums to those of some elements."""
    cdef Block block
    cdef Py_ssize_t n
    cdef int sum
    while start < stop:
        n = TERMS if stop - start > TERMS else stop - start
        load_block(job, start, n, scratch, &block, tag)
        for sum in range(sums_of_group(job)):
            if counts_only(job, sum):
                continue
            sum_terms(job, sum, &block, tag)
            weigh(<floating*>block.terms, <const floating*>NULL, block.mask, n)
            note_extent(<floating*>block.terms, n, &extents[sum], tag)
        start += n


cdef inline Extent no_extent(const Job* job, int which) noexcept nogil:
    """The extent of a sum of a group before its terms are seen."""
    cdef Extent extent
    extent.start = 1 << 30
    extent.stop = 0
    extent.special = 0
    if counts_only(job, which) and job.n > 0:
        extent.start = base_of(job.single)
        extent.stop = extent.start + 1
    return extent


cdef inline void unite(Extent* a, const Extent* b) noexcept nogil:
    a.start = min(a.start, b.start)
    a.stop = max(a.stop, b.stop)
    a.special = a.special or b.special


cdef inline void scan_any_type(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, char* scratch, Extent* extents
) noexcept nogil:
    if job.single:
        scan_elements(job, start, stop, scratch, extents, <const float*>NULL)
    else:
        scan_elements(job, start, stop, scratch, extents, <const double*>NULL)
