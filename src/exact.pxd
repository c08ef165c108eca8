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

from cache cimport smoothl1_prefetches
from certificates cimport Certificate, dropped, is_tight, power_of_two
from digits cimport (
    BASE_DOUBLE, BASE_SINGLE, COUNTS, HIGHEST_TOP, LOWEST_TOP, NO_TOP, SMOOTHL1_SHRINK,
    SMOOTHL1_SHRUNK, SPARE_BITS, TERMS, add_terms, base_of, carry, deposit, digits_of, in_two_windows, last_of, last_of_one,
    last_of_two, pour, top_of,
)
from exponents cimport EXPONENTS_SIZE, ByExponent, Exponents
from groups cimport NumbersDouble, NumbersSingle
from jobs cimport Job
from kernels cimport count_below, count_selected, fill, weigh, write_offsets, write_terms
from packing cimport load, load_mask
from sizes cimport AHEAD, LANES, LINE, PREFETCHED
from smoothl1._smoothl1 cimport floating
from terms cimport ARRAY, PAIR, PRODUCT, Params


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
    # Buffers of one thread, of TERMS float64 each: x, y, beta, weight, raw, terms, the mask.
    EXACT_BUFFERS = 7
    # Parameter sets whose terms are summed without a buffer.
    GUESSES = 16
    # Elements of a block that has a certificate, 2**LONG_SPARE_BITS additions to a lane: what a block
    # costs beside its elements is a tenth of a mean in the caches at 1024 of them.
    LONG_TERMS = 4096
    LONG_SPARE_BITS = 8
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


cdef inline double window(int exponent) noexcept nogil:
    """1.5 * 2**exponent, for a normal number."""
    cdef int64_t bits = <int64_t>(exponent + 1023) << 52 | <int64_t>1 << 51
    cdef double a
    memcpy(&a, &bits, sizeof(a))
    return a


cdef inline void sum_block(
    const floating* x, const floating* y, Py_ssize_t n, Py_ssize_t ahead, const Params* p,
    int mode, double scale, int top, int spare, Found* found,
) noexcept nogil:
    """Sum the terms of a block, PRODUCT or PAIR, times scale, without a buffer.

    Windows are for 2**spare additions of numbers below 2**top.
    """
    cdef double start = window(top + spare + 1), low = window(top + 2 * spare - 51)
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
    """Add the terms of a block without a buffer, if they are below 2**top; returns whether they are.

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
    cdef int shrunk = SMOOTHL1_SHRUNK if not single and top > HIGHEST_TOP else 0
    cdef Found found
    cdef double total, bound = dropped(n, first if single else second, single)
    sum_block(
        x, y, n, ahead, p, SMOOTHL1_CERTIFIED, SMOOTHL1_SHRINK if shrunk else 1.0, top - shrunk,
        spare, &found,
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

    ``certificates``: of the sums of the terms, if these have some; the others are exact in any case.
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
