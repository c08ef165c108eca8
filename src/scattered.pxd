"""Exact sums of many groups: terms are scattered to the rows of a table (``bygroup.pxd``), or to
compact ones (``compact.pxd``)."""

from libc.stdint cimport int32_t, int64_t, uint64_t, uint8_t
from libc.string cimport memcpy

from bygroup cimport Block, Window, counts_only, load_block, sum_terms, sums_of_group
from cache cimport prefetch
from compact cimport PIECE, Finite, apart, compact_sum
from digits cimport BASE_DOUBLE, BASE_SINGLE, TERMS, base_of, bits_of_double, bits_of_float
from exact cimport EXACT_BUFFERS, KEPT
from jobs cimport Job
from kernels cimport fill
from packing cimport load_mask
from sizes cimport LINE
from smoothl1._smoothl1 cimport floating


cdef enum:
    # Rows that are asked for ahead of their use; of records, those of the next PIECE.
    AHEAD = 16
    # Bytes of a table that a second-level cache holds beside what it is added from, and at most so
    # many parts of a larger one: each has a place that is written to.
    PART = 1 << 19
    MOST_PARTS = 1024
    # Bytes of records at a time: fresh pages take longer than what is written to them. Of less than
    # 32 MiB, malloc may have some from the call before.
    RECORDS = 30 << 20


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


cdef inline void split_terms(
    const floating* terms, Py_ssize_t n, int64_t first, int64_t* places, int64_t* parts
) noexcept nogil:
    """Take at most PIECE finite terms apart: the digit that each begins in, and its parts.

    OUT: places, counted from the last digit of the sum; parts, of each digit from there on PIECE.
    """
    cdef Py_ssize_t i
    cdef uint64_t shift, low, high
    cdef Finite a
    for i in range(n):
        a = apart(terms[i])
        shift = a.position & 31
        low = (a.mantissa & 0xFFFFFFFFU) << shift
        high = ((a.mantissa >> 32) << shift) + (low >> 32)
        # Of 0 all parts are, which may be added anywhere.
        places[i] = first if a.mantissa == 0 else <int64_t>(a.position >> 5)
        parts[i] = ((low & 0xFFFFFFFFU) ^ a.sign) - a.sign
        parts[PIECE + i] = ((high & 0xFFFFFFFFU) ^ a.sign) - a.sign
        if floating is double:
            parts[2 * PIECE + i] = ((high >> 32) ^ a.sign) - a.sign


cdef inline void scatter_sum(
    const floating* terms, Py_ssize_t n, const Window* window, int64_t** rows, int64_t* places
) noexcept nogil:
    """Add at most PIECE terms, each to the sum of its row.

    ``places``: a buffer for four times as many integers.
    """
    cdef int64_t* parts = places + PIECE
    # Volatile: a vector of two digits, stored, is slow to load by another two.
    cdef volatile int64_t* to
    cdef int64_t offset = window.column - window.first
    cdef Py_ssize_t i
    if window.special >= 0:
        for i in range(n):
            add_to_window(terms[i], rows[i] + offset, rows[i] + window.special, terms)
        return
    split_terms(terms, n, window.first, places, parts)
    for i in range(n):
        to = <volatile int64_t*>(rows[i] + (offset + places[i]))
        to[0] += parts[i]
        to[1] += parts[PIECE + i]
        if floating is double:
            to[2] += parts[2 * PIECE + i]


cdef inline void scatter_block(
    const Job* job, const Block* block, const int32_t* own, Py_ssize_t taken,
    const int32_t* groups, const Window* windows, int64_t* table, Py_ssize_t width, bint compact,
    char* scratch, const floating* tag,
) noexcept nogil:
    """Add the terms of those elements of a block that are listed to the rows of their groups.

    ``own``: the elements; NULL for all of the block.
    """
    # Where sums by exponent are else: a stack may be small.
    cdef int64_t** rows = <int64_t**>(scratch + EXACT_BUFFERS * TERMS * sizeof(double) + KEPT)
    cdef int64_t* places = <int64_t*>(rows + TERMS)
    cdef floating* terms = <floating*>block.terms
    cdef Py_ssize_t i, n, start
    cdef int64_t unit
    cdef int sum
    for i in range(taken):
        rows[i] = table + groups[i if own is NULL else own[i]] * width
    for i in range(taken):
        if own is not NULL and i + AHEAD < taken:
            prefetch(<const char*>rows[i + AHEAD], width * <Py_ssize_t>sizeof(int64_t))
        rows[i][0] += 1
    for sum in range(sums_of_group(job)):
        if compact and windows[sum].column == 0:  # the number of elements
            continue
        sum_terms(job, sum, block, tag)
        if own is not NULL:
            for i in range(taken):
                terms[i] = terms[own[i]]
        if counts_only(job, sum):
            unit = windows[sum].column
            if not compact:
                unit += (base_of(job.single) >> 5) - windows[sum].first
            for i in range(taken):
                rows[i][unit] += <int64_t>terms[i]
            continue
        start = 0
        while start < taken:
            n = min(taken - start, PIECE)
            if compact:
                compact_sum(terms + start, n, &windows[sum], rows + start, places)
            else:
                scatter_sum(terms + start, n, &windows[sum], rows + start, places)
            start += PIECE


cdef inline void scatter_elements(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, const int32_t* groups,
    const Window* windows, int64_t* table, Py_ssize_t width, bint compact, int thread,
    int threads, char* scratch, const floating* tag,
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
        scatter_block(
            job, &block, own, taken, groups + start, windows, table, width, compact, scratch, tag
        )
        start += n


# A table that no cache holds: elements are dealt out first, to parts of neighbouring rows that one
# does hold. An element is dealt out as a record of its difference, which all terms are of, its
# weight, if there are any, and its group.

cdef inline Py_ssize_t record_size(const Job* job) noexcept nogil:
    """Bytes of a record."""
    cdef Py_ssize_t size = sizeof(float) if job.single else sizeof(double)
    return (2 if job.options.has_weight else 1) * size + <Py_ssize_t>sizeof(int32_t)


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
    cdef floating* z
    cdef char* record
    cdef int32_t group
    while start < stop:
        n = TERMS if stop - start > TERMS else stop - start
        load_block(job, start, n, scratch, &block, tag)
        x = <const floating*>block.x
        y = <const floating*>block.y
        w = <const floating*>block.w
        z = <floating*>block.terms
        for i in range(n):
            z[i] = x[i] - y[i]
        for i in range(n):
            if block.mask is not NULL and block.mask[i] == 0:
                continue
            group = groups[start + i]
            record = records + places[group >> shift] * size
            places[group >> shift] += 1
            # The part's next line: more of them would be waited for than stores that wait.
            prefetch(record + LINE, 1)
            memcpy(record, &group, sizeof(group))
            memcpy(record + sizeof(group), z + i, sizeof(z[0]))
            if w is not NULL:
                memcpy(record + sizeof(group) + sizeof(z[0]), w + i, sizeof(w[0]))
        start += n


cdef inline void ask_for_rows(
    const char* records, Py_ssize_t start, Py_ssize_t stop, Py_ssize_t size, const int64_t* table,
    Py_ssize_t width,
) noexcept nogil:
    """Ask for the rows of some records."""
    cdef Py_ssize_t i
    cdef int32_t group
    for i in range(start, stop):
        memcpy(&group, records + i * size, sizeof(group))
        prefetch(<const char*>(table + group * width), width * <Py_ssize_t>sizeof(int64_t))


cdef inline void add_records(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, const char* records,
    const Window* windows, int64_t* table, Py_ssize_t width, bint compact, char* scratch,
    const floating* tag,
) noexcept nogil:
    """Add the terms of some records to the rows of their groups."""
    cdef Py_ssize_t buffer = TERMS * sizeof(double), size = record_size(job), n, i
    cdef floating* x = <floating*>scratch
    cdef floating* y = <floating*>(scratch + buffer)
    cdef floating* w = <floating*>(scratch + 3 * buffer)
    cdef int32_t* groups = <int32_t*>(scratch + 4 * buffer)
    cdef const char* record
    cdef Block block
    block.x = x
    block.y = y
    block.w = w if job.options.has_weight else NULL
    block.mask = NULL
    block.thresholds = scratch + 2 * buffer
    block.terms = scratch + 5 * buffer
    fill(<floating>0, PIECE, y)
    while start < stop:
        n = block.n = min(stop - start, PIECE)
        for i in range(n):
            record = records + (start + i) * size
            memcpy(groups + i, record, sizeof(groups[0]))
            memcpy(x + i, record + sizeof(groups[0]), sizeof(x[0]))
            if block.w is not NULL:
                memcpy(w + i, record + sizeof(groups[0]) + sizeof(x[0]), sizeof(w[0]))
        ask_for_rows(records, start + n, min(stop, start + n + PIECE), size, table, width)
        scatter_block(job, &block, NULL, n, groups, windows, table, width, compact, scratch, tag)
        start += n


cdef inline void scatter_any_type(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, const int32_t* groups,
    const Window* windows, int64_t* table, Py_ssize_t width, bint compact, int part, int parts,
    char* scratch,
) noexcept nogil:
    if job.single:
        scatter_elements(
            job, start, stop, groups, windows, table, width, compact, part, parts, scratch,
            <const float*>NULL,
        )
    else:
        scatter_elements(
            job, start, stop, groups, windows, table, width, compact, part, parts, scratch,
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
    const Window* windows, int64_t* table, Py_ssize_t width, bint compact, char* scratch,
) noexcept nogil:
    if job.single:
        add_records(
            job, start, stop, records, windows, table, width, compact, scratch,
            <const float*>NULL
        )
    else:
        add_records(
            job, start, stop, records, windows, table, width, compact, scratch,
            <const double*>NULL
        )
