"""Threads: OpenMP's runtime, forks (``runtime.h``), and what a slow team owes.

Every call into the runtime is declared here. The state is atomic, of the process, and all that
this module changes while it runs.
"""


# The work of one task, on a thread of that number.
ctypedef void (*Task)(const void* context, Py_ssize_t task, int thread) noexcept nogil


cdef extern from "runtime.h":
    const int SMOOTHL1_OPENMP
    int omp_get_max_threads() nogil
    int omp_get_num_procs() nogil
    int omp_in_parallel() nogil
    double omp_get_wtime() nogil
    double smoothl1_debt
    double smoothl1_charged
    int smoothl1_team_started
    int smoothl1_team_lost
    void smoothl1_watch_forks()
    long smoothl1_enter()
    void smoothl1_leave()
    void smoothl1_raise_flag(int* flag) noexcept nogil
    int smoothl1_startable(int wanted) noexcept nogil
    void smoothl1_run_team(
        Task run, const void* context, Py_ssize_t tasks, int threads, double* began,
        double* finished,
    ) noexcept nogil
    int smoothl1_number_in_environment() noexcept
    int smoothl1_processors() noexcept


# A team waits for its last thread. On a machine whose processors are all busy that can be
# milliseconds, hundreds of times the work. So what a slow team lost is a debt, repaid by
# running that much of later work, many times over, on one thread: the mean time of a call
# stays near that of a serial one, and threads are back soon after the processors are.
# A team that is slow once in a while, since its threads had gone to sleep or the system had
# something to do, says little of the next one: that is repaid less often over.
# Calls at the same time may lose an update of the debt; it is an estimate anyway.

cdef enum:
    # A team that took this many times its first thread's own share was slow.
    PATIENCE = 4
    # How many times over what was lost is repaid ...
    REPAYMENT = 8
    # ... and where it is less than one part in so many of the time since the last loss.
    SELDOM = 64
    REPAYMENT_SELDOM = 2


cdef inline void start_team() noexcept nogil:
    """This process is about to run a team of two or more threads."""
    global smoothl1_team_started
    smoothl1_team_started = 1


cdef inline void owe(double seconds) noexcept nogil:
    global smoothl1_debt
    smoothl1_debt = seconds


cdef inline void charge(double start, double stop, double own) noexcept nogil:
    """Note when a team started and stopped, and the seconds of this thread's own share."""
    global smoothl1_charged
    cdef double lost = stop - start - own
    if stop - start > PATIENCE * own:
        if SELDOM * lost < start - smoothl1_charged:
            owe(REPAYMENT_SELDOM * lost)
        else:
            owe(REPAYMENT * lost)
        smoothl1_charged = stop


cdef inline void repay(double seconds) noexcept nogil:
    """Note the seconds of a call on one thread that was worth a team."""
    owe(smoothl1_debt - seconds)
