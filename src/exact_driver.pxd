"""Exact sums handed to threads: of outputs, and of groups."""

from cpython.exc cimport PyErr_CheckSignals
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from bygroup cimport Extent, Window, no_extent, scan_any_type, sums_of_group, unite
from cache cimport aligned
from certificates cimport Certificate
from coding cimport Coding, range_of_codes, write_piece
from exact cimport (
    EXACT_CHUNK, SCRATCH, Wanted, carry_row, elements_of_any_type, pour_kept, prepare,
    row_size,
)
from jobs cimport Job
from scattered cimport (
    MOST_PARTS, PART, RECORDS, add_records_of_any_type, count_parts, deal_any_type, record_size,
    scatter_any_type,
)
from sizes cimport GROUP, LEAF, LINE
from staged cimport Staging, stage_any_type, staged_size
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
    Certificate* certificates  # NULL, or of each row
    Py_ssize_t spread       # from those of a row to those of the next
    Extent* extents
    int sums                # of a group
    const int32_t* groups   # of each element; NULL if ``coding`` writes them
    const Coding* coding
    int32_t* codes          # those of this step
    Staging* staging        # of each thread, of a few groups
    char* staged            # memory of each thread for their terms
    const Window* windows
    int64_t* table
    Py_ssize_t width        # of the table
    bint compact            # its rows are those of ``compact.pxd``
    Py_ssize_t start        # the elements of this step, and of each thread's part
    Py_ssize_t stop
    Py_ssize_t each
    int threads
    int shift               # groups >> shift are parts
    Py_ssize_t parts
    Py_ssize_t* places      # of the records of each part, for each thread
    Py_ssize_t* bounds      # of the parts: the first record of each
    char* records


cdef inline void sum_chunk(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    """A chunk of an output, to the row of its thread; or all of an output, to its own."""
    cdef const Exact* exact = <const Exact*>context
    cdef char* scratch = exact.scratch + thread * SCRATCH
    cdef Py_ssize_t start, row = task if exact.whole else thread
    cdef Certificate* certificates = exact.certificates
    if certificates is not NULL:
        certificates += row * exact.spread
    if exact.whole:
        elements_of_any_type(
            exact.job, exact.output + task, 0, exact.job.n, exact.wanted, False, scratch,
            exact.rows + row * exact.entries, certificates,
        )
        return
    start = (exact.chunk + task) * EXACT_CHUNK
    elements_of_any_type(
        exact.job, exact.output, start, min(start + EXACT_CHUNK, exact.job.n), exact.wanted,
        True, scratch, exact.rows + row * exact.entries, certificates,
    )


cdef inline int run_exact(
    const Job* job, const Wanted* wanted, Py_ssize_t first, Py_ssize_t outputs, int64_t* rows,
    Certificate* certificates,
) except -1:
    """Add the exact sums of some outputs to their rows, on the job's threads.

    ``certificates``: NULL, or those of the sums of the terms, by output and parameter set.
    """
    cdef Exact exact
    cdef Py_ssize_t chunks = (job.n + EXACT_CHUNK - 1) // EXACT_CHUNK
    # Tasks between two looks at signals.
    cdef Py_ssize_t most = max(1, GROUP * LEAF // EXACT_CHUNK), tasks, entry, o = 0
    cdef char* scratch = NULL
    cdef int64_t* parts = NULL
    cdef Certificate* bounds = NULL
    cdef int64_t* row
    cdef int thread, k
    exact.job = job
    exact.wanted = wanted
    exact.entries = row_size(job)
    exact.certificates = NULL
    exact.spread = job.n_params
    exact.whole = chunks <= 1 or outputs >= 8 * job.n_threads
    try:
        scratch = <char*>allocate(SCRATCH * job.n_threads + LINE)
        exact.scratch = aligned(scratch)
        prepare(exact.scratch, job.n_threads)
        if exact.whole:
            most = max(1, most * EXACT_CHUNK // max(1, job.n))
            while o < outputs:
                tasks = min(most, outputs - o)
                exact.output = first + o
                exact.rows = rows + o * exact.entries
                if certificates is not NULL:
                    exact.certificates = certificates + o * job.n_params
                with nogil:
                    run_tasks(sum_chunk, &exact, tasks, job.n_threads, job.times)
                PyErr_CheckSignals()
                o += tasks
            return 0
        parts = <int64_t*>calloc(job.n_threads * exact.entries, sizeof(int64_t))
        if parts is NULL:
            raise MemoryError(f"no memory for {job.n_threads * exact.entries * 8} bytes of buffers")
        exact.rows = parts
        if certificates is not NULL:
            # Threads do not share a line of the caches.
            exact.spread += LINE // <Py_ssize_t>sizeof(Certificate)
            bounds = <Certificate*>allocate(job.n_threads * exact.spread * sizeof(Certificate))
            memset(bounds, 0, job.n_threads * exact.spread * sizeof(Certificate))
            exact.certificates = bounds
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
                pour_kept(job, exact.scratch + thread * SCRATCH)
                for entry in range(exact.entries):
                    row[entry] += parts[thread * exact.entries + entry]
                    parts[thread * exact.entries + entry] = 0
                if certificates is not NULL:
                    for k in range(job.n_params):
                        certificates[o * job.n_params + k].bound += (
                            bounds[thread * exact.spread + k].bound
                        )
                        bounds[thread * exact.spread + k].bound = 0.0
                        bounds[thread * exact.spread + k].total = 0.0
            carry_row(job, row)
    finally:
        free(scratch)
        free(parts)
        free(bounds)
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
    cdef Staging* staging = exact.staging + task
    stage_any_type(
        exact.job, exact.each * task, min(exact.each * (task + 1), exact.job.n), staging,
        exact.staged + task * staged_size(exact.job, staging.count),
        exact.rows + task * staging.count * exact.entries, exact.wanted,
        exact.scratch + task * SCRATCH,
    )


cdef inline Py_ssize_t stage_memory(const Job* job, int32_t count, int threads) noexcept nogil:
    """Bytes of memory that ``run_staged`` needs."""
    cdef Py_ssize_t rows = 0 if threads == 1 else threads * count * row_size(job) * 8
    return threads * (SCRATCH + staged_size(job, count)) + rows + LINE


cdef inline int run_staged(
    const Job* job, const Wanted* wanted, Staging* staging, int threads, char* memory,
    int64_t* rows,
) noexcept nogil:
    """Add the sums of a few groups to their rows. ``staging``: of each thread."""
    cdef Exact exact
    cdef Py_ssize_t size, i
    cdef int32_t count = staging.count
    cdef int thread
    exact.job = job
    exact.wanted = wanted
    exact.staging = staging
    exact.entries = row_size(job)
    exact.each = (job.n + threads - 1) // threads
    size = count * exact.entries
    exact.scratch = aligned(memory)
    prepare(exact.scratch, threads)
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
        exact.compact, <int>task, exact.threads, exact.scratch + task * SCRATCH,
    )


cdef inline void count_range(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const Exact* exact = <const Exact*>context
    cdef Py_ssize_t start = exact.start + task * exact.each
    count_parts(
        exact.job, start, min(start + exact.each, exact.stop), exact.groups, exact.shift,
        exact.places + task * exact.parts, exact.scratch + task * SCRATCH,
    )


cdef inline void deal_range(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const Exact* exact = <const Exact*>context
    cdef Py_ssize_t start = exact.start + task * exact.each
    deal_any_type(
        exact.job, start, min(start + exact.each, exact.stop), exact.groups, exact.shift,
        exact.places + task * exact.parts, exact.records, exact.scratch + task * SCRATCH,
    )


cdef inline void add_parts(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    """The parts that start in an equal share of the records."""
    cdef const Exact* exact = <const Exact*>context
    cdef Py_ssize_t* bounds = exact.bounds
    cdef Py_ssize_t total = bounds[exact.parts], part
    for part in range(exact.parts):
        if bounds[part] < bounds[part + 1] and bounds[part] * exact.threads // total == task:
            add_records_of_any_type(
                exact.job, bounds[part], bounds[part + 1], exact.records, exact.windows,
                exact.table, exact.width, exact.compact, exact.scratch + task * SCRATCH,
            )


cdef inline void place_parts(Exact* exact) noexcept nogil:
    """Turn the counts of the parts into the places of their records."""
    cdef Py_ssize_t part, at = 0, count
    cdef int thread
    for part in range(exact.parts):
        exact.bounds[part] = at
        for thread in range(exact.threads):
            count = exact.places[thread * exact.parts + part]
            exact.places[thread * exact.parts + part] = at
            at += count
    exact.bounds[exact.parts] = at


cdef inline bint code_step(Exact* exact, Py_ssize_t rows) noexcept nogil:
    """Write the groups of the elements of this step; returns whether each has one of the rows."""
    cdef int32_t least = 0, most = -1
    cdef Py_ssize_t n = exact.stop - exact.start
    if exact.coding is NULL:
        return True
    if not write_piece(exact.coding, exact.start, exact.stop, exact.codes, exact.threads):
        return False
    range_of_codes(exact.codes, n, &least, &most)
    exact.groups = exact.codes - exact.start  # an element's index is that of its group
    return least >= 0 and most < rows


cdef inline bint run_parts(Exact* exact, Py_ssize_t rows) except -1:
    """Add the terms of each element to the row of its group, of so many rows, part by part.

    Returns whether each element has one.
    """
    cdef const Job* job = exact.job
    cdef Py_ssize_t size = record_size(job), counts
    # At most a quarter of the table's.
    cdef Py_ssize_t memory = max(RECORDS, rows * exact.width * 2)
    cdef Py_ssize_t steps = (job.n * size + memory - 1) // memory
    cdef Py_ssize_t most = (job.n + steps - 1) // steps
    cdef bint whole = True
    exact.shift = 0
    while (
        (2 << exact.shift) * exact.width * <Py_ssize_t>sizeof(int64_t) <= PART
        or rows >> exact.shift >= MOST_PARTS
    ):
        exact.shift += 1
    exact.parts = ((rows - 1) >> exact.shift) + 1
    counts = exact.threads * exact.parts * sizeof(Py_ssize_t)
    exact.places = <Py_ssize_t*>allocate(
        counts + (exact.parts + 1) * sizeof(Py_ssize_t) + LINE + most * size
    )
    try:
        # By itself, so that the records are of a size that malloc may keep.
        exact.codes = <int32_t*>allocate(
            0 if exact.coding is NULL else most * <Py_ssize_t>sizeof(int32_t)
        )
    except MemoryError:
        free(exact.places)
        raise
    exact.bounds = exact.places + exact.threads * exact.parts
    exact.records = aligned(<char*>(exact.bounds + exact.parts + 1))
    exact.start = 0
    with nogil:
        while exact.start < job.n:
            exact.stop = min(job.n, exact.start + most)
            if not code_step(exact, rows):
                whole = False
                break
            exact.each = (exact.stop - exact.start + exact.threads - 1) // exact.threads
            memset(exact.places, 0, counts)
            run_tasks(count_range, exact, exact.threads, exact.threads, False)
            place_parts(exact)
            run_tasks(deal_range, exact, exact.threads, exact.threads, False)
            run_tasks(add_parts, exact, exact.threads, exact.threads, False)
            exact.start = exact.stop
    free(exact.codes)
    free(exact.places)
    return whole


cdef inline bint in_parts(const Job* job, Py_ssize_t rows, Py_ssize_t width) noexcept nogil:
    """Whether elements are dealt out first.

    Fewer of them than rows would fetch as many of these from memory one way or the other.
    """
    return rows * width * <Py_ssize_t>sizeof(int64_t) > 4 * PART and job.n >= rows


cdef inline bint run_scatter(
    const Job* job, const int32_t* groups, const Coding* coding, const Window* windows,
    int64_t* table, Py_ssize_t rows, Py_ssize_t width, bint compact, int threads,
) except -1:
    """Add the terms of each element to the row of its group; returns whether all have one.

    ``coding``: instead of the groups, if they are dealt out.
    """
    cdef Exact exact
    cdef char* scratch = <char*>allocate(SCRATCH * threads + LINE)
    exact.job = job
    exact.groups = groups
    exact.coding = coding
    exact.windows = windows
    exact.table = table
    exact.width = width
    exact.compact = compact
    exact.threads = threads
    exact.scratch = aligned(scratch)
    exact.start = 0
    try:
        if in_parts(job, rows, width):
            return run_parts(&exact, rows)
        with nogil:
            while exact.start < job.n:
                exact.stop = min(job.n, exact.start + GROUP * LEAF)
                run_tasks(scatter_part, &exact, threads, threads, False)
                # Without a look at signals: half of the elements would be no state.
                exact.start = exact.stop
    finally:
        free(scratch)
    return True
