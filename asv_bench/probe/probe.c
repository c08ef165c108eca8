/* The limits: bare loops that only move the bytes a kernel must move, and one that only computes.

   Compiled with -O3 -march=native -ffast-math, which the library itself never is. Each
   function repeats its loop and returns the shortest time in seconds, so that the cost of
   calling it does not count; the sum goes to a volatile, so that the loop is not removed. */

#include <stddef.h>
#include <time.h>

static volatile double sink;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec + 1e-9 * now.tv_nsec;
}

/* The barrier keeps the compiler from reading once for all repetitions. */
#define BEST(...)                                    \
    double best = 1e30;                              \
    for (int r = 0; r < repeats; r++) {              \
        double start = seconds();                    \
        for (int i = 0; i < inner; i++) {            \
            __VA_ARGS__;                             \
            __asm__ volatile("" ::: "memory");       \
        }                                            \
        double time = (seconds() - start) / inner;   \
        if (time < best) best = time;                \
    }                                                \
    return best;

#define DEFINE(T, NAME)                                                                      \
    static T read_plain_##NAME(const T *x, const T *y, ptrdiff_t n) {                        \
        T a = 0;                                                                             \
        for (ptrdiff_t i = 0; i < n; i++) a += x[i] + y[i];                                  \
        return a;                                                                            \
    }                                                                                        \
    static T read_unrolled_##NAME(const T *x, const T *y, ptrdiff_t n) {                     \
        T a[128] = {0}, sum = 0;                                                             \
        ptrdiff_t i = 0;                                                                     \
        for (; i + 128 <= n; i += 128)                                                       \
            for (int k = 0; k < 128; k++) a[k] += x[i + k] + y[i + k];                       \
        for (int k = 0; k < 128; k++) sum += a[k];                                           \
        return sum + read_plain_##NAME(x + i, y + i, n - i);                                 \
    }                                                                                        \
    static void write_##NAME(const T *x, const T *y, T *out, ptrdiff_t n) {                  \
        for (ptrdiff_t i = 0; i < n; i++) out[i] = x[i] + y[i];                              \
    }                                                                                        \
    double read_##NAME(const T *x, const T *y, ptrdiff_t n, int unrolled, int threads,       \
                       int repeats, int inner) {                                             \
        BEST({                                                                               \
            T sum = 0;                                                                       \
            if (threads == 1) {                                                              \
                sum = unrolled ? read_unrolled_##NAME(x, y, n) : read_plain_##NAME(x, y, n); \
            } else {                                                                         \
                _Pragma("omp parallel for num_threads(threads) reduction(+ : sum)")          \
                for (int t = 0; t < threads; t++) {                                          \
                    ptrdiff_t from = n * t / threads, to = n * (t + 1) / threads;            \
                    sum += unrolled ? read_unrolled_##NAME(x + from, y + from, to - from)    \
                                    : read_plain_##NAME(x + from, y + from, to - from);      \
                }                                                                            \
            }                                                                                \
            sink = sum;                                                                      \
        })                                                                                   \
    }                                                                                        \
    /* n additions and n multiplications: chains of registers, long enough that none waits for the\
       one before it, and of separate numbers, so that none is fused. */                     \
    double compute_##NAME(const T *x, const T *y, T *out, ptrdiff_t n, int repeats, int inner) {\
        enum { CHAINS = 256 / sizeof(T) };                                                   \
        BEST({                                                                               \
            T sums[CHAINS], products[CHAINS];                                                \
            for (int k = 0; k < CHAINS; k++) sums[k] = x[k], products[k] = x[k];             \
            for (ptrdiff_t i = 0; i < n; i += CHAINS) {                                      \
                for (int k = 0; k < CHAINS; k++) sums[k] += x[0];                            \
                for (int k = 0; k < CHAINS; k++) products[k] *= y[0];                        \
            }                                                                                \
            for (int k = 0; k < CHAINS; k++) out[k] = sums[k] + products[k];                 \
        })                                                                                   \
    }                                                                                        \
    double readwrite_##NAME(const T *x, const T *y, T *out, ptrdiff_t n, int threads,        \
                            int repeats, int inner) {                                        \
        BEST({                                                                               \
            if (threads == 1) {                                                              \
                write_##NAME(x, y, out, n);                                                  \
            } else {                                                                         \
                _Pragma("omp parallel for num_threads(threads)")                             \
                for (int t = 0; t < threads; t++) {                                          \
                    ptrdiff_t from = n * t / threads, to = n * (t + 1) / threads;            \
                    write_##NAME(x + from, y + from, out + from, to - from);                 \
                }                                                                            \
            }                                                                                \
            sink = out[0];                                                                   \
        })                                                                                   \
    }

DEFINE(float, float32)
DEFINE(double, float64)
