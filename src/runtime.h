/* OpenMP's runtime, with stand-ins for a build without it, and what happens at a fork.

   libgomp deadlocks in a child forked by a thread that had run a team of two or more: it waits for
   threads that only the parent has. A child of a process in which this module ran a team is told
   apart by a fork handler, and stays serial. But libgomp may be shared with others (PyTorch brings
   one that a build from source is bound to, if it is loaded first), and does not tell whether they
   ran a team. So before a fork it is asked to give up the waiting threads of the thread that forks:
   in the parent its next team starts them anew, and in the child nothing is left to wait for. */
#ifndef SMOOTHL1_RUNTIME_H
#define SMOOTHL1_RUNTIME_H

#include <stddef.h>

#ifdef _OPENMP
  #include <omp.h>
  #define SMOOTHL1_OPENMP _OPENMP
#else
  #define SMOOTHL1_OPENMP 0
  static int omp_get_max_threads(void) { return 1; }
  static int omp_get_num_procs(void) { return 1; }
  static int omp_in_parallel(void) { return 0; }
  static double omp_get_wtime(void) { return 0.0; }
#endif

/* All of the state of this module that changes. Any thread may read and write it at any
   time, with or without a GIL. */
#ifdef _MSC_VER
  #define SMOOTHL1_SHARED volatile  /* as good as atomic there, but for the counter */
#else
  #define SMOOTHL1_SHARED _Atomic
#endif
static SMOOTHL1_SHARED double smoothl1_debt = 0.0;  /* seconds to run serially: repay() */
static SMOOTHL1_SHARED double smoothl1_charged = 0.0;  /* when it was made: charge() */
static SMOOTHL1_SHARED int smoothl1_team_started = 0;  /* this process ran a team */
static SMOOTHL1_SHARED int smoothl1_team_lost = 0;     /* ... but its parent did, not it */
static SMOOTHL1_SHARED long smoothl1_calls = 0;  /* under way, of those worth a team */

static void smoothl1_after_fork(void) {
    if (smoothl1_team_started) { smoothl1_team_lost = 1; }
    smoothl1_calls = 0;  /* the threads that made them are gone */
}
#if defined(_OPENMP) && !defined(_WIN32)
  #include <pthread.h>
  /* libgomp ends the process if it cannot start a thread (a limit of processes, no room for
     a stack). So the first time that a caller's team grows, the threads that it lacks are
     started here, all at a time, and the team is as large as that went. */
  static __thread int smoothl1_largest_team = 1;
  static void *smoothl1_wait(void *gate) {
      pthread_mutex_lock((pthread_mutex_t *)gate);
      pthread_mutex_unlock((pthread_mutex_t *)gate);
      return NULL;
  }
  static int smoothl1_startable(int wanted) {
      pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
      pthread_t threads[256];
      int needed = wanted - smoothl1_largest_team, started = 0, i;
      if (needed <= 0) { return wanted; }
      if (needed > 256) { needed = 256; }
      pthread_mutex_lock(&gate);
      while (started < needed
             && pthread_create(&threads[started], NULL, smoothl1_wait, &gate) == 0) {
          started++;
      }
      pthread_mutex_unlock(&gate);
      for (i = 0; i < started; i++) { pthread_join(threads[i], NULL); }
      pthread_mutex_destroy(&gate);
      smoothl1_largest_team += started;
      return smoothl1_largest_team;
  }

  #if _OPENMP >= 201811 || !defined(__clang__) && defined(__GNUC__) && __GNUC__ >= 9
    #pragma weak omp_pause_resource_all  /* built against a newer runtime than there is */
    static void smoothl1_before_fork(void) {
        if (!omp_pause_resource_all) { return; }
        omp_pause_resource_all(omp_pause_soft);
        smoothl1_largest_team = 1;
    }
  #else
    static void smoothl1_before_fork(void) {}
  #endif
  static void smoothl1_watch_forks(void) {
      pthread_atfork(smoothl1_before_fork, NULL, smoothl1_after_fork);
  }
#else
  static void smoothl1_watch_forks(void) { (void)smoothl1_after_fork; }
  static int smoothl1_startable(int wanted) { return wanted; }
#endif

/* The work of one task, on a thread of that number. */
typedef void (*smoothl1_task)(const void *context, ptrdiff_t task, int thread);

/* The one parallel region: all tasks on a team of at most so many threads, each of them a range, the
   same in every call. ``began`` and ``finished`` are the caller's own share, in seconds. A parallel
   loop of Cython's has a barrier before its first task, which no task needs. */
static void smoothl1_run_team(
    smoothl1_task run, const void *context, ptrdiff_t tasks, int threads, double *began,
    double *finished
) {
#ifdef _OPENMP
    #pragma omp parallel num_threads(threads)
#endif
    {
#ifdef _OPENMP
        const int team = omp_get_num_threads(), thread = omp_get_thread_num();
#else
        const int team = 1, thread = 0;
#endif
        const ptrdiff_t each = tasks / team, more = tasks % team;
        ptrdiff_t task = each * thread + (thread < more ? thread : more);
        const ptrdiff_t stop = task + each + (thread < more);
        if (thread == 0) { *began = omp_get_wtime(); }
        for (; task < stop; task++) { run(context, task, thread); }
        if (thread == 0) { *finished = omp_get_wtime(); }
    }
    (void)threads;
}

/* The number in SMOOTHL1_NUM_THREADS, written as people do; 0 if it is unset or empty. Python has a
   copy of the environment, at fifty times the price; what it changes there it changes here. Where that
   cannot be read while another thread changes it, or need not be the C library's own, or where there
   may be something to complain of: -1, ask Python. */
#if defined(Py_GIL_DISABLED) || defined(_WIN32)
static int smoothl1_number_in_environment(void) { return -1; }
#else
  #include <stdlib.h>
static int smoothl1_number_in_environment(void) {
    const char *text = getenv("SMOOTHL1_NUM_THREADS");
    int digits = 0, number = 0;
    if (!text || !text[0]) { return 0; }
    for (; text[digits] >= '0' && text[digits] <= '9' && digits < 10; digits++) {
        if (digits == 9) { return -1; }  /* it may be 2**31 or more */
        number = 10 * number + (text[digits] - '0');
    }
    return text[0] != '0' && !text[digits] ? number : -1;
}
#endif

/* The processors that the calling thread may run on. The system is asked for them, which takes as long as
   the sum of 4096 elements: so at most once a millisecond. */
#if defined(_OPENMP) && !defined(_WIN32)
static int smoothl1_processors(void) {
    static __thread double asked = 0.0;
    static __thread int found = 0;
    const double now = omp_get_wtime();
    if (!found || !(now - asked < 1e-3)) {
        found = omp_get_num_procs();
        asked = now;
    }
    return found;
}
#else
static int smoothl1_processors(void) { return omp_get_num_procs(); }
#endif

/* By any thread, and only ever to 1. */
static void smoothl1_raise_flag(int *flag) {
#ifdef _MSC_VER
    *(volatile int *)flag = 1;
#else
    __atomic_store_n(flag, 1, __ATOMIC_RELAXED);
#endif
}

#ifdef _MSC_VER
  #include <intrin.h>
  static long smoothl1_enter(void) { return _InterlockedIncrement(&smoothl1_calls); }
  static void smoothl1_leave(void) { _InterlockedDecrement(&smoothl1_calls); }
#else
  static long smoothl1_enter(void) { return ++smoothl1_calls; }
  static void smoothl1_leave(void) { --smoothl1_calls; }
#endif

#endif
