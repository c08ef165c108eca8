/* What ``paths.h`` and ``chosen.h`` share of AVX2 and AVX-512, beside ``abreast.h``. */
#ifndef SMOOTHL1_STEPS_H
#define SMOOTHL1_STEPS_H

#include "groups.h"

#ifdef SMOOTHL1_ABREAST_H
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
