"""Exact sums of a few groups: elements of each are collected for the vectorised sums."""

from libc.stdint cimport int32_t, int64_t

from blocks cimport pour
from bygroup cimport Block, load_block
from cache cimport aligned
from digits cimport TERMS, base_of
from exact cimport Kept, Wanted, add_block, carry_row, kept_of, row_size
from jobs cimport Job
from sizes cimport LINE
from smoothl1._smoothl1 cimport floating


cdef enum:
    # Elements of a group that are worth the vectorised sums, and how many are collected at most;
    # of all groups together about so many bytes, which the second-level cache holds.
    LEAST_STAGED = 64
    MOST_STAGED = 512
    STAGE = 1 << 20


cdef inline Py_ssize_t staged_operands(const Job* job) noexcept nogil:
    return 3 if job.options.has_weight else 2


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
        <floating*>(scratch + 2 * size), <floating*>(scratch + 5 * size), row, NULL, kept,
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
