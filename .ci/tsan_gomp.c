/* What the kernels call of GNU's OpenMP runtime, on POSIX threads.

   ThreadSanitizer cannot see how the threads of the real one wait for each other, and would
   report each element that two of them touch one after the other. */

#include <omp.h>
#include <pthread.h>
#include <stdlib.h>
#include <time.h>

typedef struct {
    pthread_t thread;
    pthread_barrier_t *barrier;
    void (*work)(void *);
    void *data;
    int number, threads;
} Member;

static __thread Member self = {.threads = 1};

static void *member(void *argument) {
    self = *(Member *)argument;
    self.work(self.data);
    return NULL;
}

void GOMP_parallel(void (*work)(void *), void *data, unsigned threads, unsigned flags) {
    (void)flags;
    Member outer = self;
    Member *team = calloc(threads, sizeof *team);
    pthread_barrier_t barrier;
    if (!team || pthread_barrier_init(&barrier, NULL, threads)) { abort(); }
    for (unsigned i = 0; i < threads; i++) {
        team[i] = (Member){0, &barrier, work, data, (int)i, (int)threads};
        if (i && pthread_create(&team[i].thread, NULL, member, &team[i])) { abort(); }
    }
    member(&team[0]);
    for (unsigned i = 1; i < threads; i++) { pthread_join(team[i].thread, NULL); }
    pthread_barrier_destroy(&barrier);
    free(team);
    self = outer;
}

void GOMP_barrier(void) {
    if (self.barrier) { pthread_barrier_wait(self.barrier); }
}

int omp_get_max_threads(void) { return 3; }
int omp_get_num_procs(void) { return 3; }
int omp_get_num_threads(void) { return self.threads; }
int omp_get_thread_num(void) { return self.number; }
int omp_in_parallel(void) { return self.threads > 1; }
int omp_pause_resource_all(omp_pause_resource_t kind) { return (void)kind, 0; }

double omp_get_wtime(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}
