"""The figures of many groups, on threads: from rows of sums to columns of floats."""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from bygroup cimport Window
from compact cimport unpack_row
from digits cimport carry
from quotients cimport figures_of_group
from team cimport run_tasks
from terms cimport Params


cdef enum:
    ROWS = 1024  # of a task


cdef struct Figures:
    const int64_t* table
    Py_ssize_t width        # of the table
    const Window* compact   # of the table if its rows are compact, else NULL
    const Window* windows   # of a row that is not
    Py_ssize_t entries      # of such a row
    const int64_t* order    # the rows whose figures are wanted
    Py_ssize_t rows
    int losses
    const Params* params
    bint single
    bint weighted
    bint mean
    int64_t* memory         # of each thread a row
    double* results         # of one row, of each thread
    double** columns        # 2 * losses + 3
    int64_t* n
    uint8_t* sure           # of each row


cdef inline int figures_count(int losses) noexcept nogil:
    return 2 * losses + 3


cdef inline void settle_rows(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    cdef const Figures* f = <const Figures*>context
    cdef int64_t* row = f.memory + thread * f.entries
    cdef const int64_t* source
    cdef int count = figures_count(f.losses), k
    cdef double* results = f.results + thread * count
    cdef Py_ssize_t i
    cdef int careful
    for i in range(task * ROWS, min(f.rows, (task + 1) * ROWS)):
        source = f.table + f.order[i] * f.width
        if f.compact is NULL:
            memcpy(row, source, f.width * sizeof(int64_t))
        else:
            unpack_row(source, f.compact, f.windows, count, row)
        for k in range(count):
            if f.compact is NULL and f.windows[k].digits > 1:
                carry(row + f.windows[k].column, <int>f.windows[k].digits)
            results[k] = 0.0
        f.n[i] = row[0]
        f.sure[i] = False
        for careful in range(2):
            if figures_of_group(
                row, f.windows, f.losses, f.params, f.single, f.weighted, f.mean, careful, results
            ):
                f.sure[i] = True
                break
        for k in range(count):
            f.columns[k][i] = results[k]


cdef inline void run_figures(const Figures* figures, int threads) noexcept nogil:
    run_tasks(settle_rows, figures, (figures.rows + ROWS - 1) // ROWS, threads, False)
