/* What ``paths.h`` and ``chosen.h`` share of AVX2 and AVX-512, beside ``abreast.h``. */
#ifndef SMOOTHL1_STEPS_H
#define SMOOTHL1_STEPS_H

#include "groups.h"
#include "inline.h"

#if SMOOTHL1_BY_VECTORS
/* What is counted: with AVX-512 by units of integers, which have nothing else to do. */
#ifdef __AVX512F__
typedef int32_t smoothl1_amountf;
typedef int64_t smoothl1_amount;
SMOOTHL1_INLINE int32_t smoothl1_moref(int32_t amount, smoothl1_whichf which) {
    return amount + _mm_popcnt_u32(which);
}
SMOOTHL1_INLINE int64_t smoothl1_more(int64_t amount, smoothl1_which which) {
    return amount + _mm_popcnt_u32(which);
}
#else
typedef smoothl1_counts smoothl1_amount, smoothl1_amountf;
#define smoothl1_moref smoothl1_one_moref
#define smoothl1_more smoothl1_one_more
#endif

/* Sizes |x - y| to terms, four vectors of each, as ``smoothl1_four_terms`` of abreast.h makes them;
   ``is_below`` is for PAIRS. */
#define SMOOTHL1_DEFINE_TERMS_OF(T, SUFFIX)                                                   \
    SMOOTHL1_INLINE void smoothl1_terms_of##SUFFIX(                                           \
        const smoothl1_v##SUFFIX *z, const smoothl1_which##SUFFIX *is_below,                  \
        const smoothl1_numbers##SUFFIX *numbers, int shape, smoothl1_v##SUFFIX *terms         \
    ) {                                                                                       \
        const smoothl1_v##SUFFIX beta = smoothl1_all##SUFFIX(numbers->beta);                  \
        const smoothl1_v##SUFFIX s = smoothl1_all##SUFFIX(numbers->s);                        \
        const smoothl1_v##SUFFIX c = smoothl1_all##SUFFIX(numbers->c);                        \
        const smoothl1_v##SUFFIX half = smoothl1_all##SUFFIX((T)0.5);                         \
        smoothl1_v##SUFFIX m[4];                                                              \
        if (shape == SMOOTHL1_PAIRS) {                                                        \
            SMOOTHL1_OF_FOUR {                                                                \
                terms[k] = z[k] * smoothl1_pick##SUFFIX(is_below[k], z[k] * s, c);            \
            }                                                                                 \
        } else {                                                                              \
            SMOOTHL1_OF_FOUR { m[k] = SMOOTHL1_OP##SUFFIX(min)(beta, z[k]); }                 \
            SMOOTHL1_HERE(m, 4)                                                               \
            SMOOTHL1_OF_FOUR {                                                                \
                const smoothl1_v##SUFFIX rest = smoothl1_less##SUFFIX(z[k], half, m[k]);      \
                if (shape == SMOOTHL1_PRODUCT) { m[k] = m[k] * s; }                           \
                terms[k] = m[k] * rest;                                                       \
            }                                                                                 \
        }                                                                                     \
        SMOOTHL1_HERE(terms, 4)                                                               \
    }
SMOOTHL1_DEFINE_TERMS_OF(float, f)
SMOOTHL1_DEFINE_TERMS_OF(double, )

/* The rows of four vectors to the sums of half a group, of which they are the ``first``. */
#define SMOOTHL1_DEFINE_SUM_ROWS(SUFFIX)                                                      \
    SMOOTHL1_INLINE void smoothl1_sum_rows##SUFFIX(                                           \
        smoothl1_v##SUFFIX *t, int first, smoothl1_v##SUFFIX *sums                            \
    ) {                                                                                       \
        enum { VECTORS = SMOOTHL1_LANES / SMOOTHL1_ITEMS##SUFFIX };                           \
        if (VECTORS == 1) {                                                                   \
            t[0] = (t[0] + t[1]) + (t[2] + t[3]);                                             \
        } else if (VECTORS == 2) {                                                            \
            for (int k = 0; k < 2; k++) { t[k] = t[k] + t[k + 2]; }                           \
        }                                                                                     \
        for (int k = 0; k < VECTORS; k++) {                                                   \
            if (!first) { t[k] = sums[k] + t[k]; }                                            \
            sums[k] = t[k];                                                                   \
        }                                                                                     \
        SMOOTHL1_HERE(sums, VECTORS)                                                          \
    }
SMOOTHL1_DEFINE_SUM_ROWS(f)
SMOOTHL1_DEFINE_SUM_ROWS()
#endif

#endif
