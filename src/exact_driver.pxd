"""Exact sums handed to threads: of outputs, and of groups."""

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from bygroup cimport (
    Extent, Window, no_extent, scan_any_type, scatter_any_type, stage_any_type, staged_size,
    sums_of_group, unite,
)
from cache cimport aligned
from digits cimport TERMS
from exact cimport (
    EXACT_BUFFERS, EXACT_CHUNK, Wanted, carry_row, elements_of_any_type, row_size,
)
from jobs cimport Job
from sizes cimport GROUP, LEAF, LINE
from team cimport allocate, run_tasks


cdef struct Exact:
    # What the tasks share; each uses some of it.
    const Job* job
    const Wanted* wanted
    Py_ssize_t output
    Py_ssize_t chunk
    bint whole              # a task is an output, else a chunk
    char* scratch           # of each thread SCRATCH bytes
    int64_t* rows
    Py_ssize_t entries      # of a row
    Extent* extents
    int sums                # of a group
    const int32_t* groups   # of each element
    int32_t count
    char* staged            # memory of each thread for the terms of ``count`` groups
    const Window* windows
    int64_t* table
    Py_ssize_t width        # of the table
    Py_ssize_t start        # the elements of this step, and of each thread's part
    Py_ssize_t stop
    Py_ssize_t each
    int threads


cdef enum:
    SCRATCH = EXACT_BUFFERS * TERMS * 8


cdef inline void sum_chunk(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    """A chunk of an output, to the row of its thread; or all of an output, to its own."""
    cdef const Exact* exact = <const Exact*>context
    cdef char* scratch = exact.scratch + thread * SCRATCH
    cdef Py_ssize_t start
    if exact.whole:
        elements_of_any_type(
            exact.job, exact.output + task, 0, exact.job.n, exact.wanted, scratch,
            exact.rows + task * exact.entries,
        )
        return
    start = (exact.chunk + task) * EXACT_CHUNK
    elements_of_any_type(
        exact.job, exact.output, start, min(start + EXACT_CHUNK, exact.job.n), exact.wanted,
        scratch, exact.rows + thread * exact.entries,
    )


cdef inline int run_exact(
    const Job* job, const Wanted* wanted, Py_ssize_t first, Py_ssize_t outputs, int64_t* rows
) except -1:
    """Add the exact sums of some outputs to their rows, on the job's threads."""
    cdef Exact exact
    cdef Py_ssize_t chunks = (job.n + EXACT_CHUNK - 1) // EXACT_CHUNK
    # Tasks between two looks at signals.
    cdef Py_ssize_t most = max(1, GROUP * LEAF // EXACT_CHUNK), tasks, entry, o = 0
    cdef char* scratch = NULL
    cdef int64_t* parts = NULL
    cdef int64_t* row
    cdef int thread
    exact.job = job
    exact.wanted = wanted
    exact.entries = row_size(job)
    exact.whole = chunks <= 1 or outputs >= 8 * job.n_threads
    try:
        scratch = <char*>allocate(SCRATCH * job.n_threads + LINE)
        exact.scratch = aligned(scratch)
        if exact.whole:
            most = max(1, most * EXACT_CHUNK // max(1, job.n))
            while o < outputs:
                tasks = min(most, outputs - o)
                exact.output = first + o
                exact.rows = rows + o * exact.entries
                with nogil:
                    run_tasks(sum_chunk, &exact, tasks, job.n_threads, job.times)
                PyErr_CheckSignals()
                o += tasks
            return 0
        parts = <int64_t*>calloc(job.n_threads * exact.entries, sizeof(int64_t))
        if parts is NULL:
            raise MemoryError(f"no memory for {job.n_threads * exact.entries * 8} bytes of buffers")
        exact.rows = parts
        for o in range(outputs):
            exact.output = first + o
            exact.chunk = 0
            while exact.chunk < chunks:
                tasks = min(most, chunks - exact.chunk)
                with nogil:
                    run_tasks(sum_chunk, &exact, tasks, job.n_threads, job.times)
                PyErr_CheckSignals()
                exact.chunk += tasks
            row = rows + o * exact.entries
            for thread in range(job.n_threads):
                for entry in range(exact.entries):
                    row[entry] += parts[thread * exact.entries + entry]
                    parts[thread * exact.entries + entry] = 0
            carry_row(job, row)
    finally:
        free(scratch)
        free(parts)
    return 0


cdef inline void scan_chunk(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const Exact* exact = <const Exact*>context
    cdef Py_ssize_t start = task * EXACT_CHUNK
    scan_any_type(
        exact.job, start, min(start + EXACT_CHUNK, exact.job.n),
        exact.scratch + thread * SCRATCH, exact.extents + thread * exact.sums,
    )


cdef inline int run_scan(const Job* job, int threads, Extent* result) except -1:
    """The extents of the terms of a group's sums."""
    cdef Exact exact
    cdef int i, thread
    cdef char* scratch = NULL
    cdef Extent* extents = NULL
    exact.job = job
    exact.sums = sums_of_group(job)
    try:
        scratch = <char*>allocate(SCRATCH * threads + LINE)
        extents = <Extent*>allocate(threads * exact.sums * sizeof(Extent))
        exact.scratch = aligned(scratch)
        exact.extents = extents
        for i in range(threads * exact.sums):
            extents[i] = no_extent(job, i % exact.sums)
        with nogil:
            run_tasks(
                scan_chunk, &exact, (job.n + EXACT_CHUNK - 1) // EXACT_CHUNK, threads, False
            )
        for i in range(exact.sums):
            result[i] = extents[i]
            for thread in range(1, threads):
                unite(&result[i], &extents[thread * exact.sums + i])
    finally:
        free(scratch)
        free(extents)
    return 0


cdef inline void stage_part(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    """A part of the elements, to rows of its own."""
    cdef const Exact* exact = <const Exact*>context
    stage_any_type(
        exact.job, exact.each * task, min(exact.each * (task + 1), exact.job.n), exact.groups,
        exact.count, exact.staged + task * staged_size(exact.job, exact.count),
        exact.rows + task * exact.count * exact.entries, exact.wanted,
        exact.scratch + task * SCRATCH,
    )


cdef inline Py_ssize_t stage_memory(const Job* job, int32_t count, int threads) noexcept nogil:
    """Bytes of memory that ``run_staged`` needs."""
    cdef Py_ssize_t rows = 0 if threads == 1 else threads * count * row_size(job) * 8
    return threads * (SCRATCH + staged_size(job, count)) + rows + LINE


cdef inline int run_staged(
    const Job* job, const Wanted* wanted, const int32_t* groups, int32_t count, int threads,
    char* memory, int64_t* rows,
) noexcept nogil:
    """Add the sums of a few groups to their rows."""
    cdef Exact exact
    cdef Py_ssize_t size, i
    cdef int thread
    exact.job = job
    exact.wanted = wanted
    exact.groups = groups
    exact.count = count
    exact.entries = row_size(job)
    exact.each = (job.n + threads - 1) // threads
    size = count * exact.entries
    exact.scratch = aligned(memory)
    exact.staged = exact.scratch + threads * SCRATCH
    exact.rows = rows
    if threads > 1:
        exact.rows = <int64_t*>(exact.staged + threads * staged_size(job, count))
        memset(exact.rows, 0, threads * size * sizeof(int64_t))
    run_tasks(stage_part, &exact, threads, threads, False)
    if threads > 1:
        for thread in range(threads):
            for i in range(size):
                rows[i] += exact.rows[thread * size + i]
        for i in range(count):
            carry_row(job, rows + i * exact.entries)
    return 0


cdef inline void scatter_part(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    """The groups that are those of a part."""
    cdef const Exact* exact = <const Exact*>context
    scatter_any_type(
        exact.job, exact.start, exact.stop, exact.groups, exact.windows, exact.table, exact.width,
        <int>task, exact.threads, exact.scratch + task * SCRATCH,
    )


cdef inline int run_scatter(
    const Job* job, const int32_t* groups, const Window* windows, int64_t* table,
    Py_ssize_t width, int threads,
) except -1:
    """Add the terms of each element to the row of its group."""
    cdef Exact exact
    cdef char* scratch = <char*>allocate(SCRATCH * threads + LINE)
    exact.job = job
    exact.groups = groups
    exact.windows = windows
    exact.table = table
    exact.width = width
    exact.threads = threads
    exact.scratch = aligned(scratch)
    exact.start = 0
    with nogil:
        while exact.start < job.n:
            exact.stop = min(job.n, exact.start + GROUP * LEAF)
            run_tasks(scatter_part, &exact, threads, threads, False)
            # Without a look at signals: half of the elements would be no state.
            exact.start = exact.stop
    free(scratch)
    return 0
