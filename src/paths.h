/* The loop over whole groups for several thresholds, beside that of ``groups.h`` and with the order
   of its sums. Elements are loaded and their differences taken once; from there on each threshold works
   by itself, on a group that is in registers (AVX-512) or in the first-level cache. */
#ifndef SMOOTHL1_PATHS_H
#define SMOOTHL1_PATHS_H

#include <string.h>
#include "groups.h"
#include "inline.h"
#include "steps.h"

#define SMOOTHL1_DEFINE_THRESHOLD(SUFFIX)                                                     \
    typedef struct {                                                                          \
        smoothl1_numbers##SUFFIX numbers;                                                     \
        int product;       /* PRODUCT, else PAIRS */                                          \
        int64_t below;     /* OUT: how many elements were below beta, for PAIRS */            \
        double *hi, *lo;   /* lanes of the sum */                                             \
    } smoothl1_threshold##SUFFIX;
SMOOTHL1_DEFINE_THRESHOLD(f)
SMOOTHL1_DEFINE_THRESHOLD()

#if SMOOTHL1_BY_VECTORS
#ifdef __AVX512F__
#define SMOOTHL1_HERE_SIZES(z) /* they are */
#else
#define SMOOTHL1_HERE_SIZES(z) SMOOTHL1_HERE(z, 4)
#endif

/* n vectors of |x - y|, half a group, to their part of its sum; and a group to the lanes of a
   threshold. */
#define SMOOTHL1_DEFINE_SIZES(T, SUFFIX)                                                      \
    SMOOTHL1_INLINE void smoothl1_sum_sizes##SUFFIX(                                          \
        const smoothl1_v##SUFFIX *sizes, int n, const smoothl1_numbers##SUFFIX *numbers,      \
        int shape, smoothl1_amount##SUFFIX *below, smoothl1_v##SUFFIX *sums                   \
    ) {                                                                                       \
        const smoothl1_v##SUFFIX beta = smoothl1_all##SUFFIX(numbers->beta);                  \
        for (int j = 0; j < n; j += 4) {                                                      \
            smoothl1_v##SUFFIX z[4], t[4];                                                    \
            smoothl1_which##SUFFIX is_below[4];                                               \
            SMOOTHL1_OF_FOUR { z[k] = sizes[j + k]; }                                         \
            SMOOTHL1_HERE_SIZES(z)                                                            \
            if (shape == SMOOTHL1_PAIRS) {                                                    \
                SMOOTHL1_OF_FOUR { is_below[k] = smoothl1_below##SUFFIX(z[k], beta); }        \
                SMOOTHL1_HERE_WHICH(is_below)                                                 \
                SMOOTHL1_OF_FOUR { *below = smoothl1_more##SUFFIX(*below, is_below[k]); }     \
                SMOOTHL1_HERE_WHICH(is_below)                                                 \
            }                                                                                 \
            smoothl1_terms_of##SUFFIX(z, is_below, numbers, shape, t);                        \
            smoothl1_sum_rows##SUFFIX(t, j == 0, sums);                                       \
        }                                                                                     \
    }                                                                                         \
    SMOOTHL1_INLINE void smoothl1_add_sizes##SUFFIX(                                          \
        const smoothl1_v##SUFFIX *sizes, const smoothl1_threshold##SUFFIX *threshold,         \
        int shape, smoothl1_amount##SUFFIX *below                                             \
    ) {                                                                                       \
        enum {                                                                                \
            ITEMS = SMOOTHL1_ITEMS##SUFFIX,                                                   \
            VECTORS = SMOOTHL1_LANES / ITEMS,                                                 \
            HALF = VECTORS * SMOOTHL1_ROWS##SUFFIX / 2,                                       \
        };                                                                                    \
        const smoothl1_numbers##SUFFIX *numbers = &threshold->numbers;                        \
        smoothl1_v##SUFFIX a[VECTORS], b[VECTORS];                                            \
        smoothl1_amount##SUFFIX amount = *below;                                              \
        smoothl1_sum_sizes##SUFFIX(sizes, HALF, numbers, shape, &amount, a);                  \
        smoothl1_sum_sizes##SUFFIX(sizes + HALF, HALF, numbers, shape, &amount, b);           \
        for (int k = 0; k < VECTORS; k++) {                                                   \
            smoothl1_join_lanes##SUFFIX(                                                      \
                threshold->hi + k * ITEMS, threshold->lo + k * ITEMS, a[k] + b[k]             \
            );                                                                                \
        }                                                                                     \
        *below = amount;                                                                      \
    }
#define SMOOTHL1_SIZES_OF_GROUP(T, SUFFIX)                                                    \
    enum { ITEMS = SMOOTHL1_ITEMS##SUFFIX, VECTORS = GROUP / ITEMS };                         \
    smoothl1_v##SUFFIX sizes[VECTORS];                                                        \
    for (int k = 0; k < VECTORS; k++) {                                                       \
        sizes[k] = smoothl1_size##SUFFIX(                                                     \
            smoothl1_get##SUFFIX(x + i + k * ITEMS) - smoothl1_get##SUFFIX(y + i + k * ITEMS) \
        );                                                                                    \
    }
#else
typedef struct {
    int32_t lanes[SMOOTHL1_LANES];
} smoothl1_amountf;
typedef struct {
    int64_t lanes[SMOOTHL1_LANES];
} smoothl1_amount;
#define SMOOTHL1_SIZED(SUFFIX, j)                                                             \
    smoothl1_element##SUFFIX(                                                                 \
        sizes[l + (j) * SMOOTHL1_LANES], 0, p.beta, p.s, p.c, 0, 0, shape, 0, NULL,           \
        below->lanes + l                                                                      \
    )
#define SMOOTHL1_FOUR_SIZED(SUFFIX, j)                                                        \
    ((SMOOTHL1_SIZED(SUFFIX, j) + SMOOTHL1_SIZED(SUFFIX, j + 1))                              \
     + (SMOOTHL1_SIZED(SUFFIX, j + 2) + SMOOTHL1_SIZED(SUFFIX, j + 3)))
#define SMOOTHL1_SIZED_TERMf (SMOOTHL1_FOUR_SIZED(f, 0) + SMOOTHL1_FOUR_SIZED(f, 4))
#define SMOOTHL1_SIZED_TERM SMOOTHL1_FOUR_SIZED(, 0)
#define SMOOTHL1_DEFINE_SIZES(T, SUFFIX)                                                      \
    SMOOTHL1_INLINE void smoothl1_add_sizes##SUFFIX(                                          \
        const T *SMOOTHL1_RESTRICT sizes, const smoothl1_threshold##SUFFIX *threshold,        \
        int shape, smoothl1_amount##SUFFIX *SMOOTHL1_RESTRICT below                           \
    ) {                                                                                       \
        const smoothl1_numbers##SUFFIX p = threshold->numbers;                                \
        double *SMOOTHL1_RESTRICT hi = threshold->hi, *SMOOTHL1_RESTRICT lo = threshold->lo;  \
        for (int l = 0; l < SMOOTHL1_LANES; l++) {                                            \
            smoothl1_lane_add##SUFFIX(hi + l, lo + l, SMOOTHL1_SIZED_TERM##SUFFIX);           \
        }                                                                                     \
    }
#define SMOOTHL1_SIZES_OF_GROUP(T, SUFFIX)                                                    \
    T sizes[GROUP];                                                                           \
    for (int j = 0; j < GROUP; j++) { sizes[j] = fabs##SUFFIX(x[i + j] - y[i + j]); }
#endif
SMOOTHL1_DEFINE_SIZES(float, f)
SMOOTHL1_DEFINE_SIZES(double, )

/* Add n elements, whole groups, to the lanes of each threshold. ``ahead`` as in groups.h. */
#define SMOOTHL1_DEFINE_PATH(T, SUFFIX, COUNTER)                                              \
    static void smoothl1_path_groups##SUFFIX(                                                 \
        const T *SMOOTHL1_RESTRICT x, const T *SMOOTHL1_RESTRICT y, ptrdiff_t n,              \
        ptrdiff_t ahead, smoothl1_threshold##SUFFIX *thresholds, int count                    \
    ) {                                                                                       \
        enum { GROUP = SMOOTHL1_LANES * SMOOTHL1_ROWS##SUFFIX };                              \
        smoothl1_amount##SUFFIX below[SMOOTHL1_TOGETHER];                              \
        COUNTER counts[sizeof(below[0]) / sizeof(COUNTER)];                                   \
        memset(below, 0, sizeof(below));                                                      \
        for (ptrdiff_t i = 0; i < n; i += GROUP) {                                            \
            SMOOTHL1_SIZES_OF_GROUP(T, SUFFIX)                                                \
            SMOOTHL1_ASK(T, i, GROUP)                                                         \
            for (int k = 0; k < count; k++) {                                                 \
                const smoothl1_threshold##SUFFIX *threshold = thresholds + k;                 \
                if (!threshold->product) {                                                    \
                    smoothl1_add_sizes##SUFFIX(sizes, threshold, SMOOTHL1_PAIRS, below + k);  \
                } else if (threshold->numbers.s != 1) {                                       \
                    smoothl1_add_sizes##SUFFIX(sizes, threshold, SMOOTHL1_PRODUCT, below + k);\
                } else {                                                                      \
                    smoothl1_add_sizes##SUFFIX(sizes, threshold, SMOOTHL1_UNIT, below + k);   \
                }                                                                             \
            }                                                                                 \
        }                                                                                     \
        for (int k = 0; k < count; k++) {                                                     \
            memcpy(counts, below + k, sizeof(counts));                                        \
            thresholds[k].below = 0;                                                          \
            for (size_t l = 0; l < sizeof(counts) / sizeof(COUNTER); l++) {                   \
                thresholds[k].below += counts[l];                                             \
            }                                                                                 \
        }                                                                                     \
    }
SMOOTHL1_DEFINE_PATH(float, f, int32_t)
SMOOTHL1_DEFINE_PATH(double, , int64_t)

#endif
