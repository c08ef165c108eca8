"""A team of threads for numbered tasks, and memory that is had or a MemoryError."""

from libc.stdlib cimport malloc

from runtime cimport (
    Task, charge, omp_get_wtime, repay, smoothl1_run_team, smoothl1_startable, start_team,
)


cdef inline void* allocate(Py_ssize_t size) except? NULL:
    cdef void* memory = malloc(size) if size > 0 else NULL
    if size > 0 and memory is NULL:
        raise MemoryError(f"no memory for {size} bytes of buffers")
    return memory


cdef inline void run_tasks(
    Task run, const void* context, Py_ssize_t tasks, int n_threads, bint times
) noexcept nogil:
    """Run all tasks on at most ``n_threads`` threads, each a range of them.

    ``times``: it is worth a team, so what the team cost, or a thread alone, is noted.
    """
    cdef Py_ssize_t task
    cdef double start = 0.0, began = 0.0, finished = 0.0
    if n_threads > tasks:
        n_threads = <int>tasks
    if n_threads > 1:
        n_threads = smoothl1_startable(n_threads)
    if times:
        start = omp_get_wtime()
    if n_threads <= 1:
        for task in range(tasks):
            run(context, task, 0)
        if times:
            repay(omp_get_wtime() - start)
        return
    start_team()
    smoothl1_run_team(run, context, tasks, n_threads, &began, &finished)
    if times:
        charge(start, omp_get_wtime(), finished - began)
