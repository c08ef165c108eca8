"""Sums by group between the arrays of Python and the drivers: extents, rows, tables, figures.

Each function checks what it is handed, decides on threads (``policy``: see ``calls.pxd``), and
runs what a driver offers. Nothing is read or written outside of arrays that passed the checks.
``_smoothl1.pyx`` documents the arrays.
"""

from libc.stdint cimport int32_t, int64_t, uint64_t, uint8_t
from libc.stdlib cimport free

cimport numpy as cnp

from bygroup cimport Extent, Window, sums_of_group
from calls cimport team_of_elements, team_of_groups
from exact cimport Wanted, row_size
from coding cimport Coding
from compact cimport MOST_WORDS, unpack_row, unpacked_windows
from exact_arrays cimport check_arrays, check_rows, check_table, checked_codes, set_moments
from exact_driver cimport in_parts, run_scan, run_scatter, run_staged, stage_memory
from figures cimport Figures, figures_count, run_figures
from jobs cimport Job
from key_arrays cimport outside_of, set_coded, write_codes_of
from plain cimport PyArray_ISCARRAY, PyArray_ISCARRAY_RO
from staged cimport SLOTS, Staging
from team cimport allocate
from terms cimport Params, make_exact_params


cdef enum:
    SPARE = 2  # columns behind the last of a table


cdef inline int group_team(Job* job, object policy) except -1:
    """Threads for sums by group."""
    return team_of_groups(job, <double>job.n * sums_of_group(job), policy)


cdef inline cnp.ndarray scan_groups(Job* job, list betas, bint huber, object policy):
    """The extents of the terms: an array of int64, of shape (sums, 3)."""
    cdef cnp.npy_intp shape[2]
    cdef cnp.ndarray found
    set_moments(job, betas, huber)
    shape[0] = sums_of_group(job)
    shape[1] = 3
    found = cnp.PyArray_ZEROS(2, shape, cnp.NPY_INT64, 0)
    run_scan(job, group_team(job, policy), <Extent*>cnp.PyArray_DATA(found))
    return found


cdef inline cnp.ndarray stage_groups(
    Job* job, list betas, bint huber, cnp.ndarray groups, cnp.ndarray rows, cnp.ndarray memory,
    object policy,
):
    """Add the sums of a few groups to their rows; returns the buffers, new ones if need be."""
    cdef Staging staging
    set_moments(job, betas, huber)
    check_rows(rows, row_size(job))
    if cnp.PyArray_DIM(rows, 0) > 2**31 - 1:
        raise ValueError("rows must be fewer than 2**31")
    staging.groups = checked_codes(job, groups, cnp.PyArray_DIM(rows, 0))
    staging.count = <int32_t>cnp.PyArray_DIM(rows, 0)
    return stage(job, &staging, rows, memory, policy)


cdef inline tuple stage_keyed(
    Job* job, list betas, bint huber, cnp.ndarray keys, cnp.ndarray memory, object policy
):
    """The rows of keys that are close together, or None; see ``exact_stage_keys``."""
    cdef Staging staging
    cdef cnp.npy_intp shape[2]
    cdef cnp.ndarray rows
    set_moments(job, betas, huber)
    if (
        cnp.PyArray_TYPE(keys) != cnp.NPY_INT64 or not PyArray_ISCARRAY_RO(keys)
        or cnp.PyArray_SIZE(keys) != job.n or job.n == 0
    ):
        raise ValueError("keys must be a contiguous array of int64, one for each element")
    staging.groups = NULL
    staging.keys = <const int64_t*>cnp.PyArray_DATA(keys)
    staging.count = SLOTS
    shape[0] = SLOTS
    shape[1] = row_size(job)
    rows = cnp.PyArray_ZEROS(2, shape, cnp.NPY_INT64, 0)
    memory = stage(job, &staging, rows, memory, policy)
    if <uint64_t>staging.most - <uint64_t>staging.least >= SLOTS:
        return memory, None, 0, 0
    return memory, rows, staging.least, staging.most


cdef inline cnp.ndarray stage(
    Job* job, Staging* staging, cnp.ndarray rows, cnp.ndarray memory, object policy
):
    """Add to the rows of groups, on threads; returns the buffers.

    OUT: the least and the largest key, or some that are too far apart.
    """
    cdef Wanted wanted
    cdef Staging* each
    cdef cnp.npy_intp size
    cdef int32_t apart = False
    cdef int threads = group_team(job, policy), i
    wanted.linear = wanted.weights = wanted.moments = True
    size = stage_memory(job, staging.count, threads)
    if memory is None or cnp.PyArray_NBYTES(memory) < size:
        memory = cnp.PyArray_EMPTY(1, &size, cnp.NPY_UINT8, 0)
    elif not PyArray_ISCARRAY(memory):
        raise ValueError("memory must be contiguous and writable")
    each = <Staging*>allocate(threads * sizeof(Staging))
    staging.apart = &apart
    staging.least = staging.most = staging.keys[0] if staging.groups is NULL else 0
    for i in range(threads):
        each[i] = staging[0]
    with nogil:
        run_staged(
            job, &wanted, each, threads, <char*>cnp.PyArray_DATA(memory),
            <int64_t*>cnp.PyArray_DATA(rows),
        )
    for i in range(threads):
        staging.least = min(staging.least, each[i].least)
        staging.most = max(staging.most, each[i].most)
    free(each)
    return memory


cdef inline int check_compact(cnp.ndarray table, cnp.ndarray windows, Py_ssize_t sums) except -1:
    """Raise ``ValueError`` unless all windows are within the compact rows of the table."""
    cdef const Window* window
    cdef Py_ssize_t i, width
    check_arrays(table, windows, sums)
    width = cnp.PyArray_DIM(table, 1)
    window = <const Window*>cnp.PyArray_DATA(windows)
    for i in range(sums):
        if (
            window[i].digits not in (1, 2, 4, 2 * MOST_WORDS) or window[i].special != -1
            or window[i].column < 0 or window[i].column + (window[i].digits + 1) // 2 > width
        ):
            raise ValueError(f"window {i} is not within the compact rows")
    return 0


cdef inline int unpack_rows(cnp.ndarray compact, cnp.ndarray windows, cnp.ndarray table) except -1:
    """Write compact rows to a table of as many, whose sums follow each other with these digits."""
    cdef Py_ssize_t sums = cnp.PyArray_SIZE(windows) // 4, width, entries, i
    cdef const Window* places = <const Window*>cnp.PyArray_DATA(windows)
    cdef Window* unpacked
    cdef const int64_t* row
    cdef int64_t* to
    check_compact(compact, windows, sums)
    unpacked = <Window*>allocate(sums * sizeof(Window))
    try:
        entries = unpacked_windows(places, sums, unpacked)
        check_rows(table, entries + SPARE)
        if cnp.PyArray_DIM(compact, 0) != cnp.PyArray_DIM(table, 0):
            raise ValueError("table must have as many rows as there are compact ones")
        row = <const int64_t*>cnp.PyArray_DATA(compact)
        to = <int64_t*>cnp.PyArray_DATA(table)
        width = cnp.PyArray_DIM(compact, 1)
        with nogil:
            for i in range(cnp.PyArray_DIM(table, 0)):
                unpack_row(row + i * width, places, unpacked, sums, to + i * (entries + SPARE))
    finally:
        free(unpacked)
    return 0


cdef inline int scatter_groups(
    Job* job, list betas, bint huber, cnp.ndarray groups, cnp.ndarray table, cnp.ndarray windows,
    bint compact, object policy,
) except -1:
    """Add the terms of each element to its group's row of the table."""
    cdef const int32_t* codes
    set_moments(job, betas, huber)
    if compact:
        check_compact(table, windows, sums_of_group(job))
    else:
        check_table(table, windows, sums_of_group(job))
    codes = checked_codes(job, groups, cnp.PyArray_DIM(table, 0))
    run_scatter(
        job, codes, NULL, <const Window*>cnp.PyArray_DATA(windows),
        <int64_t*>cnp.PyArray_DATA(table), cnp.PyArray_DIM(table, 0), cnp.PyArray_DIM(table, 1),
        compact, group_team(job, policy),
    )
    return 0


cdef inline int scatter_keyed(
    Job* job, list betas, bint huber, cnp.ndarray keys, int64_t least, cnp.ndarray lookup,
    cnp.ndarray words, cnp.ndarray rows, cnp.ndarray windows, object policy,
) except -1:
    """Add the terms of each element to its key's compact row."""
    cdef Coding coding
    cdef cnp.ndarray codes
    cdef cnp.npy_intp size = job.n
    set_moments(job, betas, huber)
    check_compact(rows, windows, sums_of_group(job))
    set_coded(&coding, keys, least, lookup, words)
    if coding.n != job.n:
        raise ValueError("keys must be one for each element")
    if not in_parts(job, cnp.PyArray_DIM(rows, 0), cnp.PyArray_DIM(rows, 1)):
        codes = cnp.PyArray_EMPTY(1, &size, cnp.NPY_INT32, 0)
        write_codes_of(keys, least, lookup, words, codes, job.n_threads, policy)
        return scatter_groups(job, betas, huber, codes, rows, windows, True, policy)
    if not run_scatter(
        job, NULL, &coding, <const Window*>cnp.PyArray_DATA(windows),
        <int64_t*>cnp.PyArray_DATA(rows), cnp.PyArray_DIM(rows, 0), cnp.PyArray_DIM(rows, 1),
        True, group_team(job, policy),
    ):
        raise outside_of(&coding)
    return 0


cdef inline tuple figures_of_table(
    cnp.ndarray table, cnp.ndarray windows, cnp.ndarray order, list betas, bint huber,
    bint single, str reduction, int n_threads, bint compact, object policy,
):
    """Numbers of elements, columns of figures, and whether each row of them is settled."""
    cdef Figures f
    cdef Py_ssize_t i, rows, size
    cdef int k, count, threads
    cdef cnp.npy_intp shape[1]
    cdef cnp.ndarray n, sure, column
    cdef Params* params
    cdef Window* unpacked
    f.losses = <int>len(betas)
    count = figures_count(f.losses)
    if compact:
        check_compact(table, windows, count)
    else:
        check_table(table, windows, count)
    rows = cnp.PyArray_DIM(table, 0)
    f.table = <const int64_t*>cnp.PyArray_DATA(table)
    f.width = f.entries = cnp.PyArray_DIM(table, 1)
    f.windows = <const Window*>cnp.PyArray_DATA(windows)
    f.compact = f.windows if compact else NULL
    f.order = <const int64_t*>cnp.PyArray_DATA(order)
    f.rows = shape[0] = cnp.PyArray_SIZE(order)
    if cnp.PyArray_TYPE(order) != cnp.NPY_INT64 or not PyArray_ISCARRAY_RO(order):
        raise ValueError("order must be a contiguous array of int64")
    for i in range(f.rows):
        if f.order[i] < 0 or f.order[i] >= rows:
            raise ValueError(f"order must be within 0 and {rows}, got {f.order[i]}")
    f.single, f.weighted, f.mean = single, reduction == "weighted_mean", reduction == "mean"
    n = cnp.PyArray_EMPTY(1, shape, cnp.NPY_INT64, 0)
    sure = cnp.PyArray_EMPTY(1, shape, cnp.NPY_BOOL, 0)
    columns = [cnp.PyArray_EMPTY(1, shape, cnp.NPY_FLOAT64, 0) for _ in range(count)]
    f.n = <int64_t*>cnp.PyArray_DATA(n)
    f.sure = <uint8_t*>cnp.PyArray_DATA(sure)
    threads = team_of_elements(f.rows * count, n_threads, policy)
    unpacked = <Window*>allocate(count * sizeof(Window))
    params = NULL
    try:
        if compact:
            f.entries = unpacked_windows(f.compact, count, unpacked)
            f.windows = unpacked
        size = f.losses * sizeof(Params) + count * sizeof(double*)
        params = <Params*>allocate(size + threads * (f.entries + count) * sizeof(int64_t))
        f.params = params
        f.columns = <double**>(params + f.losses)
        f.memory = <int64_t*>(f.columns + count)
        f.results = <double*>(f.memory + threads * f.entries)
        for k in range(count):
            column = columns[k]
            f.columns[k] = <double*>cnp.PyArray_DATA(column)
        for k in range(f.losses):
            make_exact_params(&params[k], betas[k], huber, single, False)
        with nogil:
            run_figures(&f, threads)
    finally:
        free(params)
        free(unpacked)
    return n, columns, sure
