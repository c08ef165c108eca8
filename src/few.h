/* The sums of outputs of few terms each, one after the other: in C for its vector types, without
   which GCC keeps the lanes of so short a sum in memory.

   The order is that of ``lanes.pxd``: term i goes to lane i % LANES, and the lanes are folded in
   halves. Lanes are held in fours. Those that have no term are 0, or left out, which is the same
   but for what is infinite or NaN: of that the high part alone is right, and used. What lies behind
   the terms of an output, up to LANES of them, is read and left out.

   Vectors are handed on by address: by value, those of 32 bytes have another ABI without AVX. */
#ifndef SMOOTHL1_FEW_H
#define SMOOTHL1_FEW_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "groups.h"
#include "sizes.h"

#if SMOOTHL1_LANES != 16
  #error "lanes are held in four fours"
#endif

#if defined(__GNUC__) || defined(__clang__)
typedef double smoothl1_four __attribute__((vector_size(32)));
typedef double smoothl1_two __attribute__((vector_size(16)));
typedef float smoothl1_fourf __attribute__((vector_size(16)));
typedef int64_t smoothl1_mask __attribute__((vector_size(32)));
typedef int32_t smoothl1_maskf __attribute__((vector_size(16)));
  #define SMOOTHL1_EACH(n, r, a, op, b) (r) = (a) op (b)
  #define SMOOTHL1_AT(a, i) ((a)[i])
#else
typedef struct { double item[4]; } smoothl1_four;
typedef struct { double item[2]; } smoothl1_two;
typedef struct { float item[4]; } smoothl1_fourf;
typedef struct { int64_t item[4]; } smoothl1_mask;
typedef struct { int32_t item[4]; } smoothl1_maskf;
  #define SMOOTHL1_EACH(n, r, a, op, b) \
      for (int each = 0; each < n; each++) { (r).item[each] = (a).item[each] op (b).item[each]; }
  #define SMOOTHL1_AT(a, i) ((a).item[i])
#endif

/* hi += b, and what that rounds off, with lo and lo2, to lo; a and b are of n numbers. */
#define SMOOTHL1_TWO_SUM(TYPE, n, hi, lo, b, lo2)                                             \
    do {                                                                                      \
        TYPE sum_, v_, old_, new_;                                                            \
        SMOOTHL1_EACH(n, sum_, hi, +, b);                                                     \
        SMOOTHL1_EACH(n, v_, sum_, -, hi);                                                    \
        SMOOTHL1_EACH(n, new_, b, -, v_);                                                     \
        SMOOTHL1_EACH(n, old_, sum_, -, v_);                                                  \
        SMOOTHL1_EACH(n, old_, hi, -, old_);                                                  \
        SMOOTHL1_EACH(n, old_, old_, +, new_);                                                \
        SMOOTHL1_EACH(n, lo, lo, +, lo2);                                                     \
        SMOOTHL1_EACH(n, lo, lo, +, old_);                                                    \
        hi = sum_;                                                                            \
    } while (0)

/* Add the four of another; of float32 there are no low parts. */
SMOOTHL1_INLINE void smoothl1_joinf(
    smoothl1_four *hi, smoothl1_four *lo, const smoothl1_four *hi2, const smoothl1_four *lo2
) {
    (void)lo;
    (void)lo2;
    SMOOTHL1_EACH(4, *hi, *hi, +, *hi2);
}
SMOOTHL1_INLINE void smoothl1_join(
    smoothl1_four *hi, smoothl1_four *lo, const smoothl1_four *hi2, const smoothl1_four *lo2
) {
    SMOOTHL1_TWO_SUM(smoothl1_four, 4, *hi, *lo, *hi2, *lo2);
}

/* Four lanes to their sum. */
SMOOTHL1_INLINE void smoothl1_foldf(
    const smoothl1_four *hi, const smoothl1_four *lo, double *sum, double *rest
) {
    smoothl1_two a, b;
    (void)lo;
    (void)rest;
    memcpy(&a, hi, sizeof(a));
    memcpy(&b, (const char *)hi + sizeof(a), sizeof(b));
    SMOOTHL1_EACH(2, a, a, +, b);
    *sum = SMOOTHL1_AT(a, 0) + SMOOTHL1_AT(a, 1);
}
SMOOTHL1_INLINE void smoothl1_fold(
    const smoothl1_four *hi, const smoothl1_four *lo, double *sum, double *rest
) {
    smoothl1_two a, b, c, d;
    double s, v;
    memcpy(&a, hi, sizeof(a));
    memcpy(&b, (const char *)hi + sizeof(a), sizeof(b));
    memcpy(&c, lo, sizeof(c));
    memcpy(&d, (const char *)lo + sizeof(c), sizeof(d));
    SMOOTHL1_TWO_SUM(smoothl1_two, 2, a, c, b, d);
    s = SMOOTHL1_AT(a, 0) + SMOOTHL1_AT(a, 1);
    v = s - SMOOTHL1_AT(a, 0);
    *sum = s;
    *rest = (SMOOTHL1_AT(c, 0) + SMOOTHL1_AT(c, 1))
        + ((SMOOTHL1_AT(a, 0) - (s - v)) + (SMOOTHL1_AT(a, 1) - v));
}

/* Four terms as they are, and as float64. */
SMOOTHL1_INLINE void smoothl1_load_fourf(const float *a, smoothl1_fourf *r) {
    memcpy(r, a, sizeof(*r));
}
SMOOTHL1_INLINE void smoothl1_load_four(const double *a, smoothl1_four *r) {
    memcpy(r, a, sizeof(*r));
}
SMOOTHL1_INLINE void smoothl1_widenf(const smoothl1_fourf *a, smoothl1_four *r) {
#if defined(__GNUC__) || defined(__clang__)
    *r = __builtin_convertvector(*a, smoothl1_four);
#else
    for (int i = 0; i < 4; i++) { r->item[i] = a->item[i]; }
#endif
}
SMOOTHL1_INLINE void smoothl1_widen(const smoothl1_four *a, smoothl1_four *r) { *r = *a; }

/* ``used``: fours of the only row of lanes, or 0 for several rows. */
#define SMOOTHL1_DEFINE_FEW(T, SUFFIX, BITS)                                                  \
    /* Four terms of which the mask has the bits: the others are 0. */                        \
    SMOOTHL1_INLINE void smoothl1_load_part##SUFFIX(                                            \
        const T *a, const BITS *mask, smoothl1_four##SUFFIX *r                                \
    ) {                                                                                       \
        smoothl1_mask##SUFFIX found, kept;                                                    \
        memcpy(&found, a, sizeof(found));                                                     \
        memcpy(&kept, mask, sizeof(kept));                                                    \
        SMOOTHL1_EACH(4, found, found, &, kept);                                              \
        memcpy(r, &found, sizeof(found));                                                     \
    }                                                                                         \
    SMOOTHL1_INLINE void smoothl1_sums_of_lanes##SUFFIX(                                        \
        const T *terms, ptrdiff_t n, ptrdiff_t width, int used, double *sums, double *rests   \
    ) {                                                                                       \
        const ptrdiff_t whole = n - n % SMOOTHL1_LANES;                                       \
        const smoothl1_four none = {0};                                                       \
        smoothl1_four##SUFFIX found;                                                          \
        smoothl1_four wide;                                                                   \
        BITS mask[SMOOTHL1_LANES];                                                            \
        for (int l = 0; l < SMOOTHL1_LANES; l++) { mask[l] = l < n - whole ? -1 : 0; }        \
        for (ptrdiff_t c = 0; c < width; c++) {                                               \
            const T *a = terms + c * n;                                                       \
            smoothl1_four hi[4] = {none, none, none, none}, lo[4] = {none, none, none, none}; \
            for (ptrdiff_t i = 0; used == 0 && i < whole; i += SMOOTHL1_LANES) {              \
                for (int k = 0; k < 4; k++) {                                                 \
                    smoothl1_load_four##SUFFIX(a + i + 4 * k, &found);                        \
                    smoothl1_widen##SUFFIX(&found, &wide);                                    \
                    smoothl1_join##SUFFIX(hi + k, lo + k, &wide, &none);                      \
                }                                                                             \
            }                                                                                 \
            for (int k = 0; k < 4; k++) {                                                     \
                if (used == 0 ? whole == n : k >= used) { break; }                            \
                if (k < used - 1) {                                                           \
                    smoothl1_load_four##SUFFIX(a + 4 * k, &found);                            \
                } else {                                                                      \
                    smoothl1_load_part##SUFFIX(a + whole + 4 * k, mask + 4 * k, &found);      \
                }                                                                             \
                smoothl1_widen##SUFFIX(&found, &wide);                                        \
                if (used == 0) {                                                              \
                    smoothl1_join##SUFFIX(hi + k, lo + k, &wide, &none);                      \
                } else { /* a lane starts at 0, which -0 leaves as it is */                   \
                    SMOOTHL1_EACH(4, hi[k], hi[k], +, wide);                                  \
                }                                                                             \
            }                                                                                 \
            if (used == 0 || used > 2) { smoothl1_join##SUFFIX(hi, lo, hi + 2, lo + 2); }     \
            if (used == 0 || used > 3) { smoothl1_join##SUFFIX(hi + 1, lo + 1, hi + 3, lo + 3); } \
            if (used != 1) { smoothl1_join##SUFFIX(hi, lo, hi + 1, lo + 1); }                 \
            smoothl1_fold##SUFFIX(hi, lo, sums + c, rests + c);                               \
        }                                                                                     \
    }                                                                                         \
    /* The sum of each of ``width`` outputs of n terms. */                                    \
    static void smoothl1_sums_of_few##SUFFIX(                                                 \
        const T *terms, ptrdiff_t n, ptrdiff_t width, double *sums, double *rests             \
    ) {                                                                                       \
        if (n <= 4) {                                                                         \
            smoothl1_sums_of_lanes##SUFFIX(terms, n, width, 1, sums, rests);                  \
        } else if (n <= 8) {                                                                  \
            smoothl1_sums_of_lanes##SUFFIX(terms, n, width, 2, sums, rests);                  \
        } else if (n <= 12) {                                                                 \
            smoothl1_sums_of_lanes##SUFFIX(terms, n, width, 3, sums, rests);                  \
        } else if (n < SMOOTHL1_LANES) {                                                      \
            smoothl1_sums_of_lanes##SUFFIX(terms, n, width, 4, sums, rests);                  \
        } else {                                                                              \
            smoothl1_sums_of_lanes##SUFFIX(terms, n, width, 0, sums, rests);                  \
        }                                                                                     \
    }                                                                                         \
    /* The same of terms of 0 and 1, whose order is no matter. */                             \
    static void smoothl1_counts_of_few##SUFFIX(                                               \
        const T *ones, ptrdiff_t n, ptrdiff_t width, double *sums                             \
    ) {                                                                                       \
        const ptrdiff_t whole = n - n % 8;                                                    \
        BITS mask[8];                                                                         \
        for (int l = 0; l < 8; l++) { mask[l] = l < n - whole ? -1 : 0; }                     \
        for (ptrdiff_t c = 0; c < width; c++) {                                               \
            const T *a = ones + c * n;                                                        \
            smoothl1_four##SUFFIX sum, other, found;                                          \
            smoothl1_load_part##SUFFIX(a + whole, mask, &sum);                                \
            smoothl1_load_part##SUFFIX(a + whole + 4, mask + 4, &other);                      \
            for (ptrdiff_t i = 0; i < whole; i += 8) {                                        \
                smoothl1_load_four##SUFFIX(a + i, &found);                                    \
                SMOOTHL1_EACH(4, sum, sum, +, found);                                         \
                smoothl1_load_four##SUFFIX(a + i + 4, &found);                                \
                SMOOTHL1_EACH(4, other, other, +, found);                                     \
            }                                                                                 \
            SMOOTHL1_EACH(4, sum, sum, +, other);                                             \
            sums[c] = (SMOOTHL1_AT(sum, 0) + SMOOTHL1_AT(sum, 2))                             \
                + (SMOOTHL1_AT(sum, 1) + SMOOTHL1_AT(sum, 3));                                \
        }                                                                                     \
    }
SMOOTHL1_DEFINE_FEW(float, f, int32_t)
SMOOTHL1_DEFINE_FEW(double, , int64_t)

#endif
