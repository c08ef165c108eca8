"""Exact sums of a few groups: elements of each are collected for the vectorised sums.

Of an element its difference is collected, which all terms are of, and its weight, if there are any.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t, uint8_t

from blocks cimport pour
from bygroup cimport Block, load_block
from cache cimport aligned
from coding cimport SMOOTHL1_MARK, SMOOTHL1_SEEN
from digits cimport TERMS, base_of
from exact cimport Kept, Wanted, add_block, carry_row, kept_of, row_size
from jobs cimport Job
from kernels cimport fill
from sizes cimport LINE
from smoothl1._smoothl1 cimport floating


cdef enum:
    # Elements of a group that are worth the vectorised sums, and how many are collected at most;
    # of all groups together about so many bytes, which the second-level cache holds.
    LEAST_STAGED = 64
    MOST_STAGED = 512
    STAGE = 1 << 20
    # Groups of integer keys that need no codes: all keys are less than this apart, a power of two.
    SLOTS = 512


cdef struct Staging:
    const int32_t* groups  # of each element; if NULL, keys are, and a group is key & (SLOTS - 1)
    const int64_t* keys
    int32_t* apart         # whether keys are too far apart for that
    int32_t count          # of groups
    int64_t least          # of the keys of a thread
    int64_t most


cdef inline Py_ssize_t staged_operands(const Job* job) noexcept nogil:
    return 2 if job.options.has_weight else 1


cdef inline Py_ssize_t staged_elements(const Job* job, Py_ssize_t count) noexcept nogil:
    """How many elements of each of so many groups are collected."""
    cdef Py_ssize_t size = sizeof(float) if job.single else sizeof(double), n = MOST_STAGED
    while n > LEAST_STAGED and n * count * staged_operands(job) * size > STAGE:
        n //= 2
    return n


cdef inline Py_ssize_t staged_size(const Job* job, Py_ssize_t count) noexcept nogil:
    """Bytes of memory that a thread needs to stage the terms of so many groups."""
    cdef Py_ssize_t size = sizeof(float) if job.single else sizeof(double)
    size *= staged_elements(job, count)
    # Of one operand more: zeros.
    size += count * (<Py_ssize_t>sizeof(int64_t) + size * staged_operands(job))
    return size // LINE * LINE + 2 * LINE  # aligned, both


cdef inline void add_staged(
    const Job* job, const floating* staged, const floating* zeros, Py_ssize_t most, Py_ssize_t n,
    const Wanted* wanted, char* scratch, int64_t* row,
) noexcept nogil:
    cdef Py_ssize_t size = TERMS * sizeof(double)
    cdef Kept* kept = kept_of(scratch)
    add_block(
        job, staged, zeros, <const floating*>NULL,
        staged + most if job.options.has_weight else <const floating*>NULL, NULL, n, wanted, 0,
        <floating*>(scratch + 2 * size), <floating*>(scratch + 5 * size), row, NULL, kept,
    )
    pour(&kept.by, base_of(job.single), staged)


cdef inline bint take_keys(
    Staging* staging, Py_ssize_t start, Py_ssize_t n, int32_t* groups
) noexcept nogil:
    """Write the groups of some keys; returns whether all keys so far are close together."""
    cdef const int64_t* keys = staging.keys + start
    cdef int64_t least = staging.least, most = staging.most
    cdef Py_ssize_t i
    for i in range(n):
        least = keys[i] if keys[i] < least else least
        most = keys[i] if keys[i] > most else most
        groups[i] = <int32_t>(keys[i] & (SLOTS - 1))
    staging.least, staging.most = least, most
    return <uint64_t>most - <uint64_t>least < SLOTS


cdef inline Py_ssize_t collect(
    const floating* z, const floating* w, const uint8_t* mask, const int32_t* groups,
    Py_ssize_t i, Py_ssize_t n, int64_t* staged, floating* buffers, Py_ssize_t most,
    Py_ssize_t width,
) noexcept nogil:
    """Put elements from i on to their groups' buffers, until one is full; returns what follows.

    Without a call in it, the loop has all it needs in registers.
    """
    cdef floating* to
    cdef int64_t have
    while i < n:
        if mask is NULL or mask[i] != 0:
            have = staged[groups[i]]
            to = buffers + groups[i] * width + have
            to[0] = z[i]
            if w is not NULL:
                to[most] = w[i]
            staged[groups[i]] = have + 1
            if have + 1 == most:
                return i + 1
        i += 1
    return i


cdef inline void stage_elements(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, Staging* staging, char* memory,
    int64_t* rows, const Wanted* wanted, char* scratch, const floating* tag,
) noexcept nogil:
    """Add the sums of some elements to the rows of a few groups.

    Elements of a group are collected until they are worth the vectorised sums.
    """
    cdef Py_ssize_t entries = row_size(job), most = staged_elements(job, staging.count), n, i
    cdef Py_ssize_t width = most * staged_operands(job)
    cdef int64_t* staged = <int64_t*>memory
    cdef floating* zeros = <floating*>aligned(memory + staging.count * sizeof(int64_t))
    cdef floating* buffers = zeros + most
    cdef const floating* x
    cdef const floating* y
    cdef const floating* w
    cdef floating* z
    cdef int32_t taken[TERMS]
    cdef const int32_t* groups = taken
    cdef Block block
    cdef int32_t group
    fill(<floating>0, most, zeros)
    for group in range(staging.count):
        staged[group] = 0
    while start < stop:
        n = TERMS if stop - start > TERMS else stop - start
        if staging.groups is not NULL:
            groups = staging.groups + start
        elif SMOOTHL1_SEEN(staging.apart) or not take_keys(staging, start, n, taken):
            SMOOTHL1_MARK(staging.apart, True)
            return
        load_block(job, start, n, scratch, &block, tag)
        x = <const floating*>block.x
        y = <const floating*>block.y
        w = <const floating*>block.w
        z = <floating*>(scratch + 4 * TERMS * sizeof(double))  # not where ``add_staged`` writes
        for i in range(n):
            z[i] = x[i] - y[i]
        i = 0
        while i < n:
            i = collect(z, w, block.mask, groups, i, n, staged, buffers, most, width)
            group = groups[i - 1]
            if staged[group] == most:
                add_staged(
                    job, buffers + group * width, zeros, most, most, wanted, scratch,
                    rows + group * entries,
                )
                staged[group] = 0
        start += n
    for group in range(staging.count):
        if staged[group] > 0:
            add_staged(
                job, buffers + group * width, zeros, most, staged[group], wanted, scratch,
                rows + group * entries,
            )
        if rows[group * entries] != 0:
            carry_row(job, rows + group * entries)


cdef inline void stage_any_type(
    const Job* job, Py_ssize_t start, Py_ssize_t stop, Staging* staging, char* memory,
    int64_t* rows, const Wanted* wanted, char* scratch,
) noexcept nogil:
    if job.single:
        stage_elements(
            job, start, stop, staging, memory, rows, wanted, scratch, <const float*>NULL
        )
    else:
        stage_elements(
            job, start, stop, staging, memory, rows, wanted, scratch, <const double*>NULL
        )
