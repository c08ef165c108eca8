"""Exact sums by group: terms scattered to the rows of a table.

A row holds the number of elements of a group and its sums, in the order of ``exact.pxd``, less
what the moments have no use for. Ordinary data need five of the 12 or 69 digits of a sum, so each
sum has a window of digits (``Window``), the same in all rows. The data are looked at first
(``scan_elements``); whoever owns the table makes the windows wide enough, then the terms are added
(``scatter_elements``), without a look at carries.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy

from cache cimport aligned, prefetch
from digits cimport (
    BASE_DOUBLE, BASE_SINGLE, TERMS, base_of, bits_of_double, bits_of_float, extremes, pour,
)
from exact cimport Kept, Wanted, add_block, carry_row, kept_of, row_size
from jobs cimport Job
from kernels cimport fill, multiply, weigh, write_offsets, write_terms
from operands cimport load, load_mask
from sizes cimport LINE
from smoothl1._smoothl1 cimport floating
from terms cimport ARRAY, PAIR, Params


cdef enum:
    # Rows that are asked for ahead of their use.
    AHEAD = 16
    # Elements of a group that are worth the vectorised sums, and how many are collected at most;
    # of all groups together about so many bytes, which the second-level cache holds.
    LEAST_STAGED = 64
    MOST_STAGED = 512
    STAGE = 1 << 20
    # Bytes of a table that such a cache holds beside what it is added from, and at most so many
    # parts of a larger one: each has a place that is written to.
    PART = 1 << 19
    MOST_PARTS = 1024


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


cdef inline void add_to_window(
    floating term, int64_t* digits, int64_t* special, const floating* tag
) noexcept nogil:
    """Add a term to the digits, counted from the last of the sum, or to the counts.

    By its size and its sign: nothing is carried beyond the window, as a sign would be.
    """
    cdef int64_t bits, mantissa, low, high, sign
    cdef volatile int64_t* to
    cdef int exponent, shift, position
    if floating is float:
        bits = bits_of_float(term)
        exponent = (bits >> 23) & 0xFF
        mantissa = bits & 0x7FFFFF
        if exponent == 0xFF:
            special[0 if mantissa != 0 else 1 if bits > 0 else 2] += 1
            return
        mantissa |= <int64_t>(exponent > 0) << 23
        position = exponent + (exponent == 0) - 150 + BASE_SINGLE
    else:
        bits = bits_of_double(term)
        exponent = (bits >> 52) & 0x7FF
        mantissa = bits & 0xFFFFFFFFFFFFFLL
        if exponent == 0x7FF:
            special[0 if mantissa != 0 else 1 if bits > 0 else 2] += 1
            return
        mantissa |= <int64_t>(exponent > 0) << 52
        position = exponent + (exponent == 0) - 1075 + BASE_DOUBLE
    if mantissa == 0:
        return
    sign = bits >> 63  # 0 or -1: (a ^ sign) - sign is a or -a
    shift = position & 31
    # Volatile: a vector of two digits, stored, is slow to load by another two.
    to = <volatile int64_t*>(digits + (position >> 5))
    low = (mantissa & 0xFFFFFFFFU) << shift
    high = ((mantissa >> 32) << shift) + (low >> 32)
    to[0] += ((low & 0xFFFFFFFFU) ^ sign) - sign
    to[1] += ((high & 0xFFFFFFFFU) ^ sign) - sign
    if floating is double:
        to[2] += ((high >> 32) ^ sign) - sign


cdef inline void scatter_block(
    const Job* job, const Block* block, const int32_t* own, Py_ssize_t taken,
    const int32_t* groups, const Window* windows, int64_t* table, Py_ssize_t width,
    const floating* tag,
) noexcept nogil:
    """Add the terms of those elements of a block that are listed to the rows of their groups."""
    cdef Window window
    cdef const floating* terms = <const floating*>block.terms
    cdef Py_ssize_t i
    cdef int64_t* row
    cdef int64_t unit
    cdef int sum
    for i in range(taken):
        if i + AHEAD < taken:
            row = table + groups[own[i + AHEAD]] * width
            prefetch(<const char*>row, width * <Py_ssize_t>sizeof(int64_t))
        table[groups[own[i]] * width] += 1
    for sum in range(sums_of_group(job)):
        window = windows[sum]
        sum_terms(job, sum, block, tag)
        if counts_only(job, sum):
            unit = window.column - window.first + (base_of(job.single) >> 5)
            for i in range(taken):
                row = table + groups[own[i]] * width
                row[unit] += <int64_t>terms[own[i]]
            continue
        for i in range(taken):
            row = table + groups[own[i]] * width
            add_to_window(
                terms[own[i]], row + (window.column - window.first), row + window.special, tag
            )


cdef inline void scatter_elements(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, const int32_t* groups,
    const Window* windows, int64_t* table, Py_ssize_t width, int thread, int threads,
    char* scratch, const floating* tag,
) noexcept nogil:
    """Add the terms of some elements to the rows of their groups.

    A row belongs to one of the threads, a power of two of them: each goes through all elements
    and takes its own. What is added beyond a window is 0: two columns behind the last are spare.
    """
    cdef int32_t own[TERMS]
    cdef Block block
    cdef Py_ssize_t n, taken, i
    while start < stop:
        n = TERMS if stop - start > TERMS else stop - start
        load_block(job, start, n, scratch, &block, tag)
        taken = 0
        for i in range(n):
            own[taken] = <int32_t>i
            taken += (
                (groups[start + i] & (threads - 1)) == thread
                and (block.mask is NULL or block.mask[i] != 0)
            )
        scatter_block(job, &block, own, taken, groups + start, windows, table, width, tag)
        start += n


# A table that no cache holds: elements are dealt out first, to parts of neighbouring rows that one
# does hold. An element is dealt out as a record of its operands and, as wide as one, its group.

cdef inline Py_ssize_t staged_operands(const Job* job) noexcept nogil:
    return 3 if job.options.has_weight else 2


cdef inline Py_ssize_t record_size(const Job* job) noexcept nogil:
    """Operands of the working dtype in a record."""
    return staged_operands(job) + 1


cdef inline void count_parts(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, const int32_t* groups, int shift,
    Py_ssize_t* counts, char* scratch,
) noexcept nogil:
    """Count the selected elements of each part, that is, of each group >> shift."""
    cdef const uint8_t* mask = NULL
    cdef Py_ssize_t n, i
    while start < stop:
        n = TERMS if stop - start > TERMS else stop - start
        if job.options.has_where:
            mask = load_mask(&job.where, 0, start, n, scratch)
        for i in range(n):
            counts[groups[start + i] >> shift] += mask is NULL or mask[i] != 0
        start += n


cdef inline void deal_elements(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, const int32_t* groups, int shift,
    Py_ssize_t* places, char* records, char* scratch, const floating* tag,
) noexcept nogil:
    """Write the records of some elements, those of a part from its place on."""
    cdef Block block
    cdef Py_ssize_t size = record_size(job), n, i
    cdef const floating* x
    cdef const floating* y
    cdef const floating* w
    cdef floating* record
    cdef int32_t group
    while start < stop:
        n = TERMS if stop - start > TERMS else stop - start
        load_block(job, start, n, scratch, &block, tag)
        x = <const floating*>block.x
        y = <const floating*>block.y
        w = <const floating*>block.w
        for i in range(n):
            if block.mask is not NULL and block.mask[i] == 0:
                continue
            group = groups[start + i]
            record = <floating*>records + places[group >> shift] * size
            places[group >> shift] += 1
            record[0] = x[i]
            record[1] = y[i]
            if w is not NULL:
                record[2] = w[i]
            memcpy(record + size - 1, &group, sizeof(group))
        start += n


cdef inline void add_records(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, const char* records,
    const Window* windows, int64_t* table, Py_ssize_t width, char* scratch, const floating* tag,
) noexcept nogil:
    """Add the terms of some records to the rows of their groups."""
    cdef int32_t own[TERMS]
    cdef Py_ssize_t buffer = TERMS * sizeof(double), size = record_size(job), n, i
    cdef floating* x = <floating*>scratch
    cdef floating* y = <floating*>(scratch + buffer)
    cdef floating* w = <floating*>(scratch + 3 * buffer)
    cdef int32_t* groups = <int32_t*>(scratch + 4 * buffer)
    cdef const floating* record
    cdef Block block
    block.x = x
    block.y = y
    block.w = w if job.options.has_weight else NULL
    block.mask = NULL
    block.thresholds = scratch + 2 * buffer
    block.terms = scratch + 5 * buffer
    for i in range(TERMS):
        own[i] = <int32_t>i
    while start < stop:
        n = block.n = TERMS if stop - start > TERMS else stop - start
        for i in range(n):
            record = <const floating*>records + (start + i) * size
            x[i] = record[0]
            y[i] = record[1]
            if block.w is not NULL:
                w[i] = record[2]
            memcpy(groups + i, record + size - 1, sizeof(groups[0]))
        scatter_block(job, &block, own, n, groups, windows, table, width, tag)
        start += n


cdef inline Py_ssize_t staged_elements(const Job* job, Py_ssize_t count) noexcept nogil:
    """How many elements of each of so many groups are collected."""
    cdef Py_ssize_t size = sizeof(float) if job.single else sizeof(double), n = MOST_STAGED
    while n > LEAST_STAGED and n * count * staged_operands(job) * size > STAGE:
        n //= 2
    return n


cdef inline Py_ssize_t staged_size(const Job* job, Py_ssize_t count) noexcept nogil:
    """Bytes of memory that a thread needs to stage the terms of so many groups."""
    cdef Py_ssize_t size = sizeof(float) if job.single else sizeof(double)
    size *= staged_elements(job, count) * staged_operands(job)
    return count * (<Py_ssize_t>sizeof(int64_t) + size) // LINE * LINE + 2 * LINE  # aligned, both


cdef inline void add_staged(
    const Job* job, const floating* staged, Py_ssize_t most, Py_ssize_t n, const Wanted* wanted,
    char* scratch, int64_t* row,
) noexcept nogil:
    cdef Py_ssize_t size = TERMS * sizeof(double)
    cdef Kept* kept = kept_of(scratch)
    add_block(
        job, staged, staged + most, <const floating*>NULL,
        staged + 2 * most if job.options.has_weight else <const floating*>NULL, NULL, n, wanted, 0,
        <floating*>(scratch + 2 * size), <floating*>(scratch + 5 * size), row, kept,
    )
    pour(&kept.by, base_of(job.single), staged)


cdef inline void stage_elements(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, const int32_t* groups, int32_t count,
    char* memory, int64_t* rows, const Wanted* wanted, char* scratch, const floating* tag,
) noexcept nogil:
    """Add the sums of some elements to the rows of a few groups.

    Elements of a group are collected until they are worth the vectorised sums.
    """
    cdef Py_ssize_t entries = row_size(job), most = staged_elements(job, count), n, i, have
    cdef Py_ssize_t width = most * staged_operands(job)
    cdef int64_t* staged = <int64_t*>memory
    cdef floating* buffers = <floating*>aligned(memory + count * sizeof(int64_t))
    cdef floating* buffer
    cdef const floating* x
    cdef const floating* y
    cdef const floating* w
    cdef Block block
    cdef int32_t group
    for group in range(count):
        staged[group] = 0
    while start < stop:
        n = TERMS if stop - start > TERMS else stop - start
        load_block(job, start, n, scratch, &block, tag)
        x = <const floating*>block.x
        y = <const floating*>block.y
        w = <const floating*>block.w
        for i in range(n):
            if block.mask is not NULL and block.mask[i] == 0:
                continue
            group = groups[start + i]
            have = staged[group]
            buffer = buffers + group * width
            buffer[have] = x[i]
            buffer[most + have] = y[i]
            if w is not NULL:
                buffer[2 * most + have] = w[i]
            have += 1
            if have == most:
                add_staged(job, buffer, most, have, wanted, scratch, rows + group * entries)
                have = 0
            staged[group] = have
        start += n
    for group in range(count):
        buffer = buffers + group * width
        add_staged(job, buffer, most, staged[group], wanted, scratch, rows + group * entries)
        carry_row(job, rows + group * entries)


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


cdef inline void stage_any_type(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, const int32_t* groups, int32_t count,
    char* memory, int64_t* rows, const Wanted* wanted, char* scratch,
) noexcept nogil:
    if job.single:
        stage_elements(
            job, start, stop, groups, count, memory, rows, wanted, scratch, <const float*>NULL
        )
    else:
        stage_elements(
            job, start, stop, groups, count, memory, rows, wanted, scratch, <const double*>NULL
        )


cdef inline void scatter_any_type(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, const int32_t* groups,
    const Window* windows, int64_t* table, Py_ssize_t width, int part, int parts, char* scratch,
) noexcept nogil:
    if job.single:
        scatter_elements(
            job, start, stop, groups, windows, table, width, part, parts, scratch,
            <const float*>NULL,
        )
    else:
        scatter_elements(
            job, start, stop, groups, windows, table, width, part, parts, scratch,
            <const double*>NULL,
        )


cdef inline void deal_any_type(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, const int32_t* groups, int shift,
    Py_ssize_t* places, char* records, char* scratch,
) noexcept nogil:
    if job.single:
        deal_elements(
            job, start, stop, groups, shift, places, records, scratch, <const float*>NULL
        )
    else:
        deal_elements(
            job, start, stop, groups, shift, places, records, scratch, <const double*>NULL
        )


cdef inline void add_records_of_any_type(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, const char* records,
    const Window* windows, int64_t* table, Py_ssize_t width, char* scratch,
) noexcept nogil:
    if job.single:
        add_records(
            job, start, stop, records, windows, table, width, scratch, <const float*>NULL
        )
    else:
        add_records(
            job, start, stop, records, windows, table, width, scratch, <const double*>NULL
        )
