"""A call run on as many threads as it is worth.

``policy`` is Python's side of it, ``smoothl1/_threads.py``: what was asked for, and by whom.
"""

from libc.stdint cimport int64_t
from libc.string cimport memset

from certificates cimport Certificate
from driver cimport run_outputs
from exact cimport Wanted
from exact_driver cimport run_exact
from jobs cimport Job, Sink, make_plan
from lanes cimport LONG
from leaves cimport leaf_of_any_type, short_leaf_of_any_type
from runtime cimport (
    SMOOTHL1_OPENMP, omp_get_max_threads, omp_get_num_procs, omp_in_parallel, smoothl1_debt,
    smoothl1_enter, smoothl1_leave, smoothl1_number_in_environment, smoothl1_processors,
    smoothl1_startable, smoothl1_team_lost,
)
from sizes cimport GRAIN, LEAF
from tree cimport Node


cdef enum:
    # More threads than this are started only if there are as many processors.
    MOST_THREADS = 16


cdef inline int limit_of_process(object policy, bint now) except -1:
    """What was asked for, else OpenMP's own limit, capped by the processors.

    ``now``: by those of this very moment, not of a millisecond ago.
    """
    cdef int number, processors
    chosen = policy.chosen()
    if chosen is None:
        number = smoothl1_number_in_environment()
        if number > 0:
            return number
        if number < 0:
            chosen = policy.number_in_environment()
    if chosen is not None:
        return chosen
    processors = omp_get_num_procs() if now else smoothl1_processors()
    return min(omp_get_max_threads(), processors, policy.cpu_quota())


cdef inline int team(Job* job, long calls, object policy) except -1:
    """Threads for this job: no more than its work is worth.

    ``calls``, this one included, are under way. They share the limit of the process; that
    of a call or of a block is each caller's own.
    """
    cdef double work = <double>job.n * job.outputs * job.n_params
    cdef int limit = job.n_threads
    if limit == 1 or smoothl1_team_lost or omp_in_parallel():
        return 1
    if limit == 0:
        limit = limit_of_process(policy, False)
        if calls > 1 and not policy.in_block():
            limit = limit // calls if limit > calls else 1
    if work / GRAIN < limit:
        limit = 1 + <int>((work - 1) // GRAIN)
    if limit > MOST_THREADS and limit > omp_get_num_procs():
        limit = max(MOST_THREADS, omp_get_num_procs())
    if limit == 1 or not SMOOTHL1_OPENMP:
        return 1
    job.times = True
    return limit if smoothl1_debt <= 0.0 else 1


cdef inline int run_job(Job* job, Node* totals, Sink* sink, object policy) except -1:
    """Run a job whose elements, operands and parameters are set.

    OUT: for a job that reduces, either sink, or, for a single output without a sink,
    totals[k], the sums for parameter set k.
    """
    cdef long calls
    if job.n < LONG and not job.has_scratch:
        short_leaf_of_any_type(job, totals)
        return 0
    job.leaves = (job.n + LEAF - 1) // LEAF
    job.times = False
    make_plan(job)
    if job.outputs == 1 and job.leaves == 1 and not (job.has_scratch or job.options.streams):
        # Too short to be worth releasing the GIL.
        leaf_of_any_type(job, 0, 0, totals, NULL)
        return 0
    if <double>job.n * job.outputs * job.n_params <= GRAIN:
        job.n_threads = 1
        return run_outputs(job, totals, sink)
    calls = smoothl1_enter()
    try:
        job.n_threads = team(job, calls, policy)
        return run_outputs(job, totals, sink)
    finally:
        smoothl1_leave()


cdef inline int run_exact_job(
    Job* job, const Wanted* wanted, Py_ssize_t first, Py_ssize_t outputs, int64_t* rows,
    Certificate* certificates, object policy,
) except -1:
    """Add the exact sums of some outputs to their rows."""
    cdef int limit = job.n_threads
    cdef long calls
    if outputs == 0 or job.n == 0:
        return 0
    job.times = False
    calls = smoothl1_enter()
    try:
        job.n_threads = 1
        if <double>job.n * outputs * job.n_params > GRAIN:
            job.n_threads = limit
            job.n_threads = team(job, calls, policy)
        return run_exact(job, wanted, first, outputs, rows, certificates)
    finally:
        job.n_threads = limit
        smoothl1_leave()


cdef inline int team_of_groups(Job* job, double work, object policy) except -1:
    """A power of two of threads, for work as of so many elements."""
    cdef int limit = job.n_threads, threads = 1, most
    cdef long calls
    if work <= GRAIN:
        return 1
    calls = smoothl1_enter()
    try:
        most = team(job, calls, policy)
    finally:
        job.n_threads = limit
        smoothl1_leave()
    while 2 * threads <= most:
        threads *= 2
    if threads > 1:
        threads = smoothl1_startable(threads)
    return threads if threads & (threads - 1) == 0 else 1


cdef inline int team_of_elements(Py_ssize_t n, int n_threads, object policy) except -1:
    """The same for so many elements that are no job's."""
    cdef Job job
    memset(&job, 0, sizeof(job))
    job.n, job.outputs, job.n_params, job.n_threads = n, 1, 1, n_threads
    return team_of_groups(&job, <double>n, policy)
