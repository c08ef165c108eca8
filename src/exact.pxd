"""Exact sums of a job: blocks of operands to terms, terms to digits.

Beside ``leaves.pxd``: the same operands and the same terms, another sum, which has no order.

A row of integers holds all sums of one output; every entry of it adds:

    0                   the number of (selected) elements
    1                   the sum of the weights, each 1 without weights
    1 + (1 + 2 k) size  parameter set k: the sum of the terms
    1 + (2 + 2 k) size  the sum of the weights in the linear piece; for thresholds per element
                        that of twice what is to be subtracted from the terms

with ``size`` entries a sum: its digits and its counts (``digits.pxd``).
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy

from digits cimport COUNTS, TERMS, add_terms, base_of, carry, deposit, digits_of
from jobs cimport Job
from kernels cimport count_below, count_selected, fill, weigh, write_offsets, write_terms
from operands cimport load, load_mask
from smoothl1._smoothl1 cimport floating
from terms cimport ARRAY, PAIR, PRODUCT, Params


cdef enum:
    # Buffers of one thread, of TERMS float64 each: x, y, beta, weight, raw, terms, the mask.
    EXACT_BUFFERS = 7
    # Elements between two carries, and of a thread's task.
    EXACT_CHUNK = 32768


cdef struct Wanted:
    # Which sums of a row are wanted beside those that the losses need.
    bint linear    # the weights in the linear piece
    bint weights   # the sum of the weights
    bint moments   # the last two parameter sets want no weights in the linear piece


cdef inline Py_ssize_t sum_size(const Job* job) noexcept nogil:
    return digits_of(job.single) + COUNTS


cdef inline Py_ssize_t row_size(const Job* job) noexcept nogil:
    return 1 + (1 + 2 * job.n_params) * sum_size(job)


cdef inline int64_t* sum_at(const Job* job, int64_t* row, Py_ssize_t i) noexcept nogil:
    return row + 1 + i * sum_size(job)


cdef inline void carry_row(const Job* job, int64_t* row) noexcept nogil:
    cdef int i
    for i in range(1 + 2 * job.n_params):
        carry(sum_at(job, row, i), digits_of(job.single))


cdef inline void add_linear(
    const Job* job, const floating* x, const floating* y, const floating* b,
    const floating* w, const uint8_t* mask, Py_ssize_t n, const Params* params,
    floating* buffer, int64_t* digits,
) noexcept nogil:
    """Add the weights in the linear piece, or ARRAY's offsets."""
    cdef Params p = params[0]
    cdef int32_t count = 0
    cdef Py_ssize_t i
    if not job.options.has_beta:
        p.form = PAIR  # which writes 0 and 1
    write_offsets(x, y, b, n, &p, buffer)
    weigh(buffer, w, mask, n)
    if job.options.has_beta or job.options.has_weight:
        add_terms(buffer, n, digits)
        return
    for i in range(n):
        count += <int32_t>buffer[i]
    deposit(digits, count, base_of(job.single))


cdef inline void add_block(
    const Job* job, const floating* x, const floating* y, const floating* b,
    const floating* w, const uint8_t* mask, Py_ssize_t n, const Wanted* wanted,
    floating* thresholds, floating* buffer, int64_t* row,
) noexcept nogil:
    """Add the sums of a block of at most TERMS elements."""
    cdef const Params* p
    cdef Py_ssize_t count = n
    cdef int64_t* digits
    cdef int k
    if mask is not NULL:
        count = count_selected(mask, n)
    row[0] += count
    if w is NULL:
        deposit(sum_at(job, row, 0), count, base_of(job.single))
    elif wanted.weights:
        memcpy(buffer, w, n * sizeof(floating))
        weigh(buffer, <const floating*>NULL, mask, n)
        add_terms(buffer, n, sum_at(job, row, 0))
    for k in range(job.n_params):
        p = &job.params[k]
        if p.form == ARRAY and not job.options.has_beta:  # a subnormal threshold for all
            fill(<floating>p.beta, n, thresholds)
            b = <const floating*>thresholds
        count = write_terms(x, y, b, n, p, buffer)
        weigh(buffer, w, mask, n)
        add_terms(buffer, n, sum_at(job, row, 1 + 2 * k))
        if p.form == PRODUCT and not wanted.linear or wanted.moments and k >= job.n_params - 2:
            continue
        digits = sum_at(job, row, 2 + 2 * k)
        if w is NULL and mask is NULL and p.form != ARRAY:
            if p.form == PRODUCT:
                count = n - <Py_ssize_t>count_below(x, y, n, p)
            deposit(digits, count, base_of(job.single))
        else:
            add_linear(job, x, y, b, w, mask, n, p, buffer, digits)


cdef inline void add_elements(
    const Job* job, Py_ssize_t output, Py_ssize_t start, Py_ssize_t stop,
    const Wanted* wanted, char* scratch, int64_t* row, const floating* tag,
) noexcept nogil:
    """Add the sums of some elements of an output to a row."""
    cdef Py_ssize_t size = TERMS * sizeof(double), n, since = 0
    cdef floating* x_buffer = <floating*>scratch
    cdef floating* y_buffer = <floating*>(scratch + size)
    cdef floating* b_buffer = <floating*>(scratch + 2 * size)
    cdef floating* w_buffer = <floating*>(scratch + 3 * size)
    cdef char* raw = scratch + 4 * size
    cdef floating* buffer = <floating*>(scratch + 5 * size)
    cdef char* mask_buffer = scratch + 6 * size
    cdef const floating* x
    cdef const floating* y
    cdef const floating* b = NULL
    cdef const floating* w = NULL
    cdef const uint8_t* mask = NULL
    while start < stop:
        n = TERMS if stop - start > TERMS else stop - start
        x = load(&job.x, output, start, n, raw, x_buffer)
        y = load(&job.y, output, start, n, raw, y_buffer)
        if job.options.has_beta:
            b = load(&job.beta, output, start, n, raw, b_buffer)
        if job.options.has_weight:
            w = load(&job.weight, output, start, n, raw, w_buffer)
        if job.options.has_where:
            mask = load_mask(&job.where, output, start, n, mask_buffer)
        add_block(job, x, y, b, w, mask, n, wanted, b_buffer, buffer, row)
        start += n
        since += n
        if since >= EXACT_CHUNK:
            carry_row(job, row)
            since = 0
    carry_row(job, row)


cdef inline void elements_of_any_type(
    const Job* job, Py_ssize_t output, Py_ssize_t start, Py_ssize_t stop,
    const Wanted* wanted, char* scratch, int64_t* row,
) noexcept nogil:
    if job.single:
        add_elements(job, output, start, stop, wanted, scratch, row, <const float*>NULL)
    else:
        add_elements(job, output, start, stop, wanted, scratch, row, <const double*>NULL)
