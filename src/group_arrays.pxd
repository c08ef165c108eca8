"""Sums by group between the arrays of Python and the drivers: extents, rows, tables, figures.

Each function checks what it is handed, decides on threads (``policy``: see ``calls.pxd``), and
runs what a driver offers. Nothing is read or written outside of arrays that passed the checks.
``_smoothl1.pyx`` documents the arrays.
"""

from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport free

cimport numpy as cnp

from bygroup cimport Extent, Window, sums_of_group
from calls cimport team_of_elements, team_of_groups
from exact cimport Wanted, row_size
from exact_arrays cimport check_rows, check_table, checked_codes, set_moments
from exact_driver cimport run_scan, run_scatter, run_staged, stage_memory
from figures cimport Figures, figures_count, run_figures
from jobs cimport Job
from plain cimport PyArray_ISCARRAY, PyArray_ISCARRAY_RO
from team cimport allocate
from terms cimport Params, make_exact_params


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
    cdef const int32_t* codes
    cdef Wanted wanted
    cdef cnp.npy_intp size
    cdef int threads
    set_moments(job, betas, huber)
    wanted.linear = wanted.weights = wanted.moments = True
    check_rows(rows, row_size(job))
    if cnp.PyArray_DIM(rows, 0) > 2**31 - 1:
        raise ValueError("rows must be fewer than 2**31")
    codes = checked_codes(job, groups, cnp.PyArray_DIM(rows, 0))
    threads = group_team(job, policy)
    size = stage_memory(job, <int32_t>cnp.PyArray_DIM(rows, 0), threads)
    if memory is None or cnp.PyArray_NBYTES(memory) < size:
        memory = cnp.PyArray_EMPTY(1, &size, cnp.NPY_UINT8, 0)
    elif not PyArray_ISCARRAY(memory):
        raise ValueError("memory must be contiguous and writable")
    with nogil:
        run_staged(
            job, &wanted, codes, <int32_t>cnp.PyArray_DIM(rows, 0), threads,
            <char*>cnp.PyArray_DATA(memory), <int64_t*>cnp.PyArray_DATA(rows),
        )
    return memory


cdef inline int scatter_groups(
    Job* job, list betas, bint huber, cnp.ndarray groups, cnp.ndarray table, cnp.ndarray windows,
    object policy,
) except -1:
    """Add the terms of each element to its group's row of the table."""
    cdef const int32_t* codes
    set_moments(job, betas, huber)
    check_table(table, windows, sums_of_group(job))
    codes = checked_codes(job, groups, cnp.PyArray_DIM(table, 0))
    run_scatter(
        job, codes, <const Window*>cnp.PyArray_DATA(windows),
        <int64_t*>cnp.PyArray_DATA(table), cnp.PyArray_DIM(table, 0), cnp.PyArray_DIM(table, 1),
        group_team(job, policy),
    )
    return 0


cdef inline tuple figures_of_table(
    cnp.ndarray table, cnp.ndarray windows, cnp.ndarray order, list betas, bint huber,
    bint single, str reduction, int n_threads, object policy,
):
    """Numbers of elements, columns of figures, and whether each row of them is settled."""
    cdef Figures f
    cdef Py_ssize_t i, rows, size
    cdef int k, count, threads
    cdef cnp.npy_intp shape[1]
    cdef cnp.ndarray n, sure, column
    cdef Params* params
    f.losses = <int>len(betas)
    count = figures_count(f.losses)
    check_table(table, windows, count)
    rows = cnp.PyArray_DIM(table, 0)
    f.width = cnp.PyArray_DIM(table, 1)
    f.table = <const int64_t*>cnp.PyArray_DATA(table)
    f.windows = <const Window*>cnp.PyArray_DATA(windows)
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
    size = f.losses * sizeof(Params) + count * sizeof(double*)
    params = <Params*>allocate(size + threads * (f.width + count) * sizeof(int64_t))
    try:
        f.params = params
        f.columns = <double**>(params + f.losses)
        f.memory = <int64_t*>(f.columns + count)
        f.results = <double*>(f.memory + threads * f.width)
        for k in range(count):
            column = columns[k]
            f.columns[k] = <double*>cnp.PyArray_DATA(column)
        for k in range(f.losses):
            make_exact_params(&params[k], betas[k], huber, single, False)
        with nogil:
            run_figures(&f, threads)
    finally:
        free(params)
    return n, columns, sure
