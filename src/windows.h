/* The sum of a block of terms that are not written down: made, and added to windows (``blocks.pxd``),
   in one loop, so that memory is read as steadily as for a plain sum. How large the terms are is a
   guess; what is found beside says whether it was a good one.

   Terms are those of ``groups.h``, 0 or more. */
#ifndef SMOOTHL1_WINDOWS_H
#define SMOOTHL1_WINDOWS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "groups.h"

/* EXACT: two windows, and what the least and the largest of the terms were. CERTIFIED: for a sum that
   has a certificate (``certificates.pxd``) it is enough that they were not too large, and one window will
   do for float32. These terms are multiplied by a power of two, lest windows of large ones overflow. */
enum { SMOOTHL1_EXACT, SMOOTHL1_CERTIFIED };
#define SMOOTHL1_TWO_CERTIFIEDf 0
#define SMOOTHL1_TWO_CERTIFIED 1

typedef struct {
    int64_t largest, smallest; /* bits of the terms, the latter of those that are not 0, less 1 */
    int64_t high, low;         /* the sums of the windows, each in units of its last bit */
    int64_t below;             /* elements below beta, for PAIRS */
    int whole;                 /* EXACT: no term was NaN or infinite; else, all were in the window */
} smoothl1_block;

SMOOTHL1_INLINE uint32_t smoothl1_bitsf(float a) {
    uint32_t bits;
    memcpy(&bits, &a, sizeof(bits));
    return bits;
}
SMOOTHL1_INLINE uint64_t smoothl1_bits(double a) {
    uint64_t bits;
    memcpy(&bits, &a, sizeof(bits));
    return bits;
}

/* Keys are in the order of the terms; the key of 0, less one, is never the smallest. AVX-512 compares
   unsigned integers; floats are faster for the others, where one less than 0 is the bits of a NaN. */
#ifdef __AVX512F__
typedef uint32_t smoothl1_keyf;
typedef uint64_t smoothl1_key;
#define SMOOTHL1_LAST_KEYf UINT32_MAX
#define SMOOTHL1_LAST_KEY UINT64_MAX
SMOOTHL1_INLINE uint32_t smoothl1_key_off(float a) { return smoothl1_bitsf(a); }
SMOOTHL1_INLINE uint64_t smoothl1_key_of(double a) { return smoothl1_bits(a); }
SMOOTHL1_INLINE uint32_t smoothl1_beforef(float a) { return smoothl1_bitsf(a) - 1; }
SMOOTHL1_INLINE uint64_t smoothl1_before(double a) { return smoothl1_bits(a) - 1; }
SMOOTHL1_INLINE uint32_t smoothl1_bits_of_keyf(uint32_t key) { return key; }
SMOOTHL1_INLINE uint64_t smoothl1_bits_of_key(uint64_t key) { return key; }
#else
typedef float smoothl1_keyf;
typedef double smoothl1_key;
#define SMOOTHL1_LAST_KEYf ((float)INFINITY)
#define SMOOTHL1_LAST_KEY ((double)INFINITY)
SMOOTHL1_INLINE float smoothl1_key_off(float a) { return a; }
SMOOTHL1_INLINE double smoothl1_key_of(double a) { return a; }
SMOOTHL1_INLINE float smoothl1_beforef(float a) {
    const uint32_t bits = smoothl1_bitsf(a) - 1;
    memcpy(&a, &bits, sizeof(bits));
    return a;
}
SMOOTHL1_INLINE double smoothl1_before(double a) {
    const uint64_t bits = smoothl1_bits(a) - 1;
    memcpy(&a, &bits, sizeof(bits));
    return a;
}
SMOOTHL1_INLINE uint32_t smoothl1_bits_of_keyf(float key) { return smoothl1_bitsf(key); }
SMOOTHL1_INLINE uint64_t smoothl1_bits_of_key(double key) { return smoothl1_bits(key); }
#endif

/* a b + c for a power of two b. A product is exact unless it is subnormal: far below what windows hold.
   Where the set has it, it is one instruction, and not of the units that are busiest here. */
SMOOTHL1_INLINE double smoothl1_add_scaled(double a, double b, double c) {
#if SMOOTHL1_FMA
    return fma(a, b, c);
#else
    return a * b + c;
#endif
}

/* Sum n elements, a multiple of LANES, into lanes that start at ``start``, and what these drop into
   others. ``ahead``: bytes from an element to what is asked for meanwhile; 0 for nothing.

   A lane only grows. If its end is below the next power of two, it has been between the two all the time,
   where it is rounded to multiples of the same number; so no term need be looked at for that. NaN and
   infinities do not let it end there. */
#define SMOOTHL1_DEFINE_BLOCK(T, SUFFIX, COUNTER)                                             \
    SMOOTHL1_INLINE void smoothl1_windows##SUFFIX(                                            \
        const T *SMOOTHL1_RESTRICT x, const T *SMOOTHL1_RESTRICT y, ptrdiff_t n,              \
        ptrdiff_t ahead, const smoothl1_numbers##SUFFIX *p, int shape, int mode,              \
        double scale, double start, double start_low, smoothl1_block *SMOOTHL1_RESTRICT found \
    ) {                                                                                       \
        const T beta = p->beta, s = p->s, c = p->c, factor = p->factor, edge = p->edge;       \
        const double end = start / 3 * 4;                                                     \
        double hi[SMOOTHL1_LANES], lo[SMOOTHL1_LANES], check = 0;                             \
        smoothl1_key##SUFFIX most[SMOOTHL1_LANES], least[SMOOTHL1_LANES], largest = 0;        \
        smoothl1_key##SUFFIX smallest = SMOOTHL1_LAST_KEY##SUFFIX;                            \
        COUNTER below[SMOOTHL1_LANES];                                                        \
        uint64_t sum = 0, sum_low = 0;                                                        \
        int64_t total = 0;                                                                    \
        int inside = 1;                                                                       \
        T *out = NULL;                                                                        \
        for (int l = 0; l < SMOOTHL1_LANES; l++) {                                            \
            hi[l] = start;                                                                    \
            lo[l] = start_low;                                                                \
            most[l] = 0;                                                                      \
            least[l] = SMOOTHL1_LAST_KEY##SUFFIX;                                             \
            below[l] = 0;                                                                     \
        }                                                                                     \
        for (ptrdiff_t i = 0; i < n; i += SMOOTHL1_LANES) {                                   \
            SMOOTHL1_ASK(T, i, SMOOTHL1_LANES)                                                \
            for (int l = 0; l < SMOOTHL1_LANES; l++) {                                        \
                COUNTER count = below[l];                                                     \
                const T term = smoothl1_element##SUFFIX(                                      \
                    x[i + l], y[i + l], beta, s, c, factor, edge, shape, 0, out, &count       \
                );                                                                            \
                double next;                                                                  \
                if (mode == SMOOTHL1_EXACT) {                                                 \
                    const smoothl1_key##SUFFIX key = smoothl1_key_of##SUFFIX(term);           \
                    const smoothl1_key##SUFFIX less = smoothl1_before##SUFFIX(term);          \
                    most[l] = key > most[l] ? key : most[l];                                  \
                    least[l] = less < least[l] ? less : least[l];                             \
                    next = hi[l] + term;                                                      \
                    lo[l] += term - (next - hi[l]);                                           \
                } else {                                                                      \
                    next = smoothl1_add_scaled(term, scale, hi[l]);                           \
                    if (SMOOTHL1_TWO_CERTIFIED##SUFFIX) {                                     \
                        lo[l] += smoothl1_add_scaled(term, scale, hi[l] - next);              \
                    }                                                                         \
                }                                                                             \
                hi[l] = next;                                                                 \
                below[l] = count;                                                             \
            }                                                                                 \
        }                                                                                     \
        for (int l = 0; l < SMOOTHL1_LANES; l++) {                                            \
            check += hi[l] - start;                                                           \
            inside &= hi[l] < end;                                                            \
            sum += smoothl1_bits(hi[l]);                                                      \
            sum_low += smoothl1_bits(lo[l]);                                                  \
            largest = most[l] > largest ? most[l] : largest;                                  \
            smallest = least[l] < smallest ? least[l] : smallest;                             \
            total += below[l];                                                                \
        }                                                                                     \
        /* Not so if it is NaN. */                                                            \
        found->whole = mode == SMOOTHL1_EXACT ? check < INFINITY : inside;                    \
        found->high = (int64_t)(sum - SMOOTHL1_LANES * smoothl1_bits(start));                 \
        found->low = (int64_t)(sum_low - SMOOTHL1_LANES * smoothl1_bits(start_low));          \
        found->largest = (int64_t)smoothl1_bits_of_key##SUFFIX(largest);                      \
        found->smallest = (int64_t)smoothl1_bits_of_key##SUFFIX(smallest);                    \
        found->below = total;                                                                 \
    }                                                                                         \
    SMOOTHL1_INLINE void smoothl1_shaped_block##SUFFIX(                                       \
        const T *x, const T *y, ptrdiff_t n, ptrdiff_t ahead, int product,                    \
        const smoothl1_numbers##SUFFIX *p, int mode, double scale, double start,              \
        double start_low, smoothl1_block *found                                               \
    ) {                                                                                       \
        if (!product) {                                                                       \
            smoothl1_windows##SUFFIX(                                                         \
                x, y, n, ahead, p, SMOOTHL1_PAIRS, mode, scale, start, start_low, found       \
            );                                                                                \
        } else if (p->s != 1) {                                                               \
            smoothl1_windows##SUFFIX(                                                         \
                x, y, n, ahead, p, SMOOTHL1_PRODUCT, mode, scale, start, start_low, found     \
            );                                                                                \
        } else {                                                                              \
            smoothl1_windows##SUFFIX(                                                         \
                x, y, n, ahead, p, SMOOTHL1_UNIT, mode, scale, start, start_low, found        \
            );                                                                                \
        }                                                                                     \
    }                                                                                         \
    static void smoothl1_sum_block##SUFFIX(                                                   \
        const T *x, const T *y, ptrdiff_t n, ptrdiff_t ahead, int product,                    \
        const smoothl1_numbers##SUFFIX *p, int mode, double scale, double start,              \
        double start_low, smoothl1_block *found                                               \
    ) {                                                                                       \
        if (mode == SMOOTHL1_EXACT) {                                                         \
            smoothl1_shaped_block##SUFFIX(                                                    \
                x, y, n, ahead, product, p, SMOOTHL1_EXACT, 1, start, start_low, found        \
            );                                                                                \
        } else {                                                                              \
            smoothl1_shaped_block##SUFFIX(                                                    \
                x, y, n, ahead, product, p, SMOOTHL1_CERTIFIED, scale, start, start_low, found\
            );                                                                                \
        }                                                                                     \
    }
SMOOTHL1_DEFINE_BLOCK(float, f, int32_t)
SMOOTHL1_DEFINE_BLOCK(double, , int64_t)

/* The same of n terms that are written down, of any sign, in two windows; times scale. */
#define SMOOTHL1_DEFINE_TERMS(T, SUFFIX)                                                      \
    static void smoothl1_sum_terms##SUFFIX(                                                   \
        const T *SMOOTHL1_RESTRICT terms, ptrdiff_t n, double scale, double start,            \
        double start_low, int64_t *SMOOTHL1_RESTRICT high, int64_t *SMOOTHL1_RESTRICT low     \
    ) {                                                                                       \
        double hi[SMOOTHL1_LANES], lo[SMOOTHL1_LANES];                                        \
        uint64_t sum = 0, sum_low = 0;                                                        \
        for (int l = 0; l < SMOOTHL1_LANES; l++) {                                            \
            hi[l] = start;                                                                    \
            lo[l] = start_low;                                                                \
        }                                                                                     \
        for (ptrdiff_t i = 0; i < n; i += SMOOTHL1_LANES) {                                   \
            for (int l = 0; l < SMOOTHL1_LANES; l++) {                                        \
                const double next = smoothl1_add_scaled(terms[i + l], scale, hi[l]);          \
                lo[l] += smoothl1_add_scaled(terms[i + l], scale, hi[l] - next);              \
                hi[l] = next;                                                                 \
            }                                                                                 \
        }                                                                                     \
        for (int l = 0; l < SMOOTHL1_LANES; l++) {                                            \
            sum += smoothl1_bits(hi[l]);                                                      \
            sum_low += smoothl1_bits(lo[l]);                                                  \
        }                                                                                     \
        *high = (int64_t)(sum - SMOOTHL1_LANES * smoothl1_bits(start));                       \
        *low = (int64_t)(sum_low - SMOOTHL1_LANES * smoothl1_bits(start_low));                \
    }
SMOOTHL1_DEFINE_TERMS(float, f)
SMOOTHL1_DEFINE_TERMS(double, )

#endif
