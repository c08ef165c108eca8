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

from blocks cimport LOWEST_TOP, NO_TOP, add_terms, in_two_windows, pour
from cache cimport smoothl1_prefetches
from certificates cimport Certificate
from digits cimport (
    BASE_DOUBLE, BASE_SINGLE, COUNTS, TERMS, base_of, carry, deposit, digits_of,
)
from exponents cimport EXPONENTS_SIZE, ByExponent, Exponents
from jobs cimport Job
from kernels cimport count_below, count_selected, fill, weigh, write_offsets, write_terms
from packing cimport load, load_mask
from sizes cimport AHEAD, LANES, LINE, PREFETCHED
from smoothl1._smoothl1 cimport floating
from terms cimport ARRAY, PAIR, PRODUCT, Params
from unwritten cimport LONG_TERMS, add_certified, add_unwritten


cdef enum:
    # Buffers of one thread, of TERMS float64 each: x, y, beta, weight, raw, terms, the mask.
    EXACT_BUFFERS = 7
    # Parameter sets whose terms are summed without a buffer.
    GUESSES = 16
    # Elements between two carries, and of a thread's task.
    EXACT_CHUNK = 32768


cdef struct Kept:
    # What a thread keeps from block to block, behind its buffers; then come the sums by exponent.
    ByExponent by
    # Of each parameter set the exponent of a power of two that is above the terms of the last
    # block, with a bit to spare; NO_TOP if no windows held these.
    int tops[GUESSES]


cdef enum:
    KEPT = 2 * LINE  # bytes, of which it takes 112
    # Bytes of memory of one thread.
    SCRATCH = EXACT_BUFFERS * TERMS * 8 + KEPT + EXPONENTS_SIZE


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


cdef inline Kept* kept_of(char* scratch) noexcept nogil:
    return <Kept*>(scratch + EXACT_BUFFERS * TERMS * 8)


cdef inline void prepare(char* scratch, int threads) noexcept nogil:
    """Let the memory of threads be fresh."""
    cdef Kept* kept
    cdef int thread, k
    for thread in range(threads):
        kept = kept_of(scratch + thread * SCRATCH)
        kept.by.sums = <Exponents*>(<char*>kept + KEPT)
        kept.by.ready = False
        kept.by.used = False
        for k in range(GUESSES):
            kept.tops[k] = NO_TOP


cdef inline void add_linear(
    const Job* job, const floating* x, const floating* y, const floating* b,
    const floating* w, const uint8_t* mask, Py_ssize_t n, const Params* params,
    floating* buffer, int64_t* digits, Kept* kept,
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
        add_terms(buffer, n, digits, &kept.by, NULL)
        return
    for i in range(n):
        count += <int32_t>buffer[i]
    deposit(digits, count, base_of(job.single))


cdef inline Py_ssize_t add_losses(
    const Job* job, const floating* x, const floating* y, const floating* b, const floating* w,
    const uint8_t* mask, Py_ssize_t n, int k, Py_ssize_t ahead, floating* buffer, int64_t* digits,
    Certificate* certificate, Kept* kept,
) noexcept nogil:
    """Add the terms of a parameter set; returns, for PAIR, the elements in the linear piece.

    Of more than TERMS elements, x and y are all that there is.
    """
    cdef const Params* p = &job.params[k]
    cdef Py_ssize_t linear = 0, start = 0, part
    cdef int top
    cdef int* guess = &kept.tops[k if k < GUESSES else 0]
    cdef bint guesses = (
        k < GUESSES and w is NULL and mask is NULL and p.form != ARRAY and n % LANES == 0
    )
    if guesses and guess[0] != NO_TOP:
        if certificate is NULL:
            if add_unwritten(x, y, n, ahead, p, guess[0], digits, &linear):
                return linear
        elif add_certified(x, y, n, ahead, p, guess[0], digits, certificate, &linear):
            return linear
    linear = 0
    if n > TERMS:
        while start < n:
            part = min(n - start, TERMS)
            linear += add_losses(
                job, x + start, y + start, b, w, mask, part, k, ahead, buffer, digits, certificate,
                kept,
            )
            start += part
        return linear
    linear = write_terms(x, y, b, n, p, buffer)
    weigh(buffer, w, mask, n)
    top = add_terms(buffer, n, digits, &kept.by, certificate)
    if guesses:
        # One more, so that the next maximum fits in.
        guess[0] = NO_TOP
        if in_two_windows(top + 1, top) or certificate is not NULL and top > LOWEST_TOP:
            guess[0] = top + 1
    return linear


cdef inline void add_block(
    const Job* job, const floating* x, const floating* y, const floating* b,
    const floating* w, const uint8_t* mask, Py_ssize_t n, const Wanted* wanted,
    Py_ssize_t ahead, floating* thresholds, floating* buffer, int64_t* row,
    Certificate* certificates, Kept* kept,
) noexcept nogil:
    """Add the sums of a block of at most TERMS elements.

    ``certificates``: of the sums of the terms, if these have some; the others are exact anyway.
    """
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
        add_terms(buffer, n, sum_at(job, row, 0), &kept.by, NULL)
    for k in range(job.n_params):
        p = &job.params[k]
        if p.form == ARRAY and not job.options.has_beta:  # a subnormal threshold for all
            fill(<floating>p.beta, n, thresholds)
            b = <const floating*>thresholds
        count = add_losses(
            job, x, y, b, w, mask, n, k, ahead, buffer, sum_at(job, row, 1 + 2 * k),
            NULL if certificates is NULL else certificates + k, kept,
        )
        if p.form == PRODUCT and not wanted.linear or wanted.moments and k >= job.n_params - 2:
            continue
        digits = sum_at(job, row, 2 + 2 * k)
        if w is NULL and mask is NULL and p.form != ARRAY:
            if p.form == PRODUCT:
                count = n - <Py_ssize_t>count_below(x, y, n, p)
            deposit(digits, count, base_of(job.single))
        else:
            add_linear(job, x, y, b, w, mask, n, p, buffer, digits, kept)


cdef inline bint may_be_long(const Job* job) noexcept nogil:
    """Whether blocks are of LONG_TERMS elements: nothing of them needs a buffer as a rule."""
    cdef int k
    for k in range(job.n_params):
        if job.params[k].form == ARRAY:
            return False
    return job.x.direct and job.y.direct and not (
        job.options.has_weight or job.options.has_where
    )


cdef inline void add_elements(
    const Job* job, Py_ssize_t output, Py_ssize_t start, Py_ssize_t stop,
    const Wanted* wanted, bint keeps, char* scratch, int64_t* row, Certificate* certificates,
    const floating* tag,
) noexcept nogil:
    """Add the sums of some elements of an output to a row.

    ``keeps``: not those that are kept by exponent, which ``pour_kept`` adds.
    """
    cdef Py_ssize_t size = TERMS * sizeof(double), n, most = TERMS, since = 0, ahead = 0
    cdef Kept* kept = kept_of(scratch)
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
    if (
        job.n * job.outputs > PREFETCHED and job.n_params == 1 and job.x.direct and job.y.direct
        and smoothl1_prefetches()
    ):
        ahead = AHEAD
    if certificates is not NULL and may_be_long(job):
        most = LONG_TERMS
    while start < stop:
        # A first block, whose terms nothing is known of, is short.
        n = TERMS if kept.tops[0] == NO_TOP else most
        n = min(n, stop - start)
        x = load(&job.x, output, start, n, raw, x_buffer)
        y = load(&job.y, output, start, n, raw, y_buffer)
        if job.options.has_beta:
            b = load(&job.beta, output, start, n, raw, b_buffer)
        if job.options.has_weight:
            w = load(&job.weight, output, start, n, raw, w_buffer)
        if job.options.has_where:
            mask = load_mask(&job.where, output, start, n, mask_buffer)
        add_block(
            job, x, y, b, w, mask, n, wanted, ahead, b_buffer, buffer, row, certificates, kept
        )
        start += n
        since += n
        if since >= EXACT_CHUNK:
            carry_row(job, row)
            since = 0
    if not keeps:
        pour(&kept.by, base_of(job.single), tag)
    carry_row(job, row)


cdef inline void elements_of_any_type(
    const Job* job, Py_ssize_t output, Py_ssize_t start, Py_ssize_t stop,
    const Wanted* wanted, bint keeps, char* scratch, int64_t* row, Certificate* certificates,
) noexcept nogil:
    if job.single:
        add_elements(
            job, output, start, stop, wanted, keeps, scratch, row, certificates, <const float*>NULL
        )
    else:
        add_elements(
            job, output, start, stop, wanted, keeps, scratch, row, certificates, <const double*>NULL
        )


cdef inline void pour_kept(const Job* job, char* scratch) noexcept nogil:
    """Bring what a thread kept by exponent to the row that it is part of."""
    if job.single:
        pour(&kept_of(scratch).by, BASE_SINGLE, <const float*>NULL)
    else:
        pour(&kept_of(scratch).by, BASE_DOUBLE, <const double*>NULL)
