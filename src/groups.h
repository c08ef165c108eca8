/* The loops over whole groups in which every element takes part alike: in C for its ``restrict``,
   without which GCC makes no vectors of the lanes beside stores of their gradients, and where an
   element is loaded once for its term, its count and its gradient.

   The order of the sum is that of ``lanes.group_term``; terms are those of ``terms.pxd``, gradients
   those of ``kernels.write_products`` for a positive scale. ``shape`` and ``slopes`` are constants
   where an inline function is called, so that nothing of them is left in a loop. */
#ifndef SMOOTHL1_GROUPS_H
#define SMOOTHL1_GROUPS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include "cache.h"
#include "fma.h"
#include "inline.h"
#include "sizes.h"
#include "stored.h"

/* UNIT is PRODUCT where s is 1, as it is for the default threshold: a product less. */
enum { SMOOTHL1_UNIT, SMOOTHL1_PRODUCT, SMOOTHL1_PAIRS };

typedef struct {
    float beta, s, c, factor, edge;
} smoothl1_numbersf;
typedef struct {
    double beta, s, c, factor, edge;
} smoothl1_numbers;

#define SMOOTHL1_ROWSf 8
#define SMOOTHL1_ROWS 4

SMOOTHL1_INLINE void smoothl1_lane_addf(double *hi, double *lo, float term) {
    (void)lo;
    *hi += term;
}
SMOOTHL1_INLINE void smoothl1_lane_add(double *hi, double *lo, double term) {
    const double sum = *hi + term, v = sum - *hi;
    *lo += (*hi - (sum - v)) + (term - v);
    *hi = sum;
}

/* The upper half of the lanes is added to the lower half: ``lanes.fold`` in registers. */
SMOOTHL1_INLINE void smoothl1_fold_lanesf(double *hi, double *lo, int half) {
    (void)lo;
    for (int l = 0; l < half; l++) { hi[l] += hi[l + half]; }
}
SMOOTHL1_INLINE void smoothl1_fold_lanes(double *hi, double *lo, int half) {
    for (int l = 0; l < half; l++) {
        const double a = hi[l], b = hi[l + half], sum = a + b, v = sum - a;
        lo[l] = (lo[l] + lo[l + half]) + ((a - (sum - v)) + (b - v));
        hi[l] = sum;
    }
}

/* An element below beta, or NaN, is counted, in an integer as wide as it is: with the comparison
   that its term and its gradient need, that is one masked addition. NaN is below, or m, so that it
   gets into the gradient. With these lines in another order GCC 12 compares twice. */
#define SMOOTHL1_DEFINE_ELEMENT(T, SUFFIX, COUNTER)                                           \
    SMOOTHL1_INLINE T smoothl1_element##SUFFIX(                                                 \
        T x, T y, T beta, T s, T c, T factor, T edge, int shape, int slopes, T *out,          \
        COUNTER *below                                                                        \
    ) {                                                                                       \
        const T d = x - y, z = fabs##SUFFIX(d);                                               \
        const int is_below = !(z >= beta);                                                  \
        const T m = beta < z ? beta : z, u = is_below ? z * s : c;                            \
        T g = is_below ? z * factor : edge;                                                   \
        if (shape == SMOOTHL1_PAIRS) {                                                        \
            *below = is_below ? *below + 1 : *below;                                          \
            g = edge < g ? edge : g;                                                          \
        } else {                                                                              \
            g = m * factor;                                                                   \
        }                                                                                     \
        if (slopes) { *out = copysign##SUFFIX(g, d); }                                        \
        if (shape == SMOOTHL1_PAIRS) { return z * u; }                                        \
        return (shape == SMOOTHL1_UNIT ? m : m * s) * smoothl1_less_half##SUFFIX(z, m);       \
    }
SMOOTHL1_DEFINE_ELEMENT(float, f, int32_t)
SMOOTHL1_DEFINE_ELEMENT(double, , int64_t)

/* A group to the lanes: by vectors, or by loops over the lanes, of which the compiler makes some. */
#if SMOOTHL1_BY_VECTORS
  #include "abreast.h"
#else
#define SMOOTHL1_ROW(SUFFIX, j)                                                               \
    smoothl1_element##SUFFIX(                                                                 \
        x[i + l + (j) * SMOOTHL1_LANES], y[i + l + (j) * SMOOTHL1_LANES], beta, s, c,        \
        factor, edge, shape, slopes,                                                          \
        out + i + l + (j) * SMOOTHL1_LANES, &count                                            \
    )
#define SMOOTHL1_FOUR(SUFFIX, j)                                                              \
    ((SMOOTHL1_ROW(SUFFIX, j) + SMOOTHL1_ROW(SUFFIX, j + 1))                                  \
     + (SMOOTHL1_ROW(SUFFIX, j + 2) + SMOOTHL1_ROW(SUFFIX, j + 3)))
#define SMOOTHL1_TERMf (SMOOTHL1_FOUR(f, 0) + SMOOTHL1_FOUR(f, 4))
#define SMOOTHL1_TERM SMOOTHL1_FOUR(, 0)
#define SMOOTHL1_ADD_GROUP(SUFFIX, COUNTER)                                                   \
    for (int l = 0; l < SMOOTHL1_LANES; l++) {                                                \
        COUNTER count = below[l];                                                             \
        smoothl1_lane_add##SUFFIX(hi + l, lo + l, SMOOTHL1_TERM##SUFFIX);                     \
        below[l] = count;                                                                     \
    }
#endif

/* Ask for each line of x and y, ``count`` elements from i on, as far ahead as is wanted. */
#define SMOOTHL1_ASK(T, i, count)                                                             \
    if (ahead) {                                                                              \
        for (ptrdiff_t k = 0; k < (count); k += 64 / (ptrdiff_t)sizeof(T)) {                  \
            SMOOTHL1_PREFETCH((const char *)(x + (i) + k) + ahead);                           \
            SMOOTHL1_PREFETCH((const char *)(y + (i) + k) + ahead);                           \
        }                                                                                     \
    }

/* The same where the elements may be of another size. */
#define SMOOTHL1_ASK_STORED(T, a, stored, i, count)                                           \
    if (ahead) {                                                                              \
        const ptrdiff_t size = smoothl1_stored_size(stored, sizeof(T));                       \
        for (ptrdiff_t k = 0; k < (count) * size; k += 64) {                                  \
            SMOOTHL1_PREFETCH((const char *)(a) + (i) * size + k + ahead);                    \
        }                                                                                     \
    }

#define SMOOTHL1_CALL_GROUPS(SUFFIX, shape, slopes)                                           \
    smoothl1_groups##SUFFIX(                                                                  \
        x, y, SMOOTHL1_AS_IS, SMOOTHL1_AS_IS, out, n, ahead, p, shape, slopes, folds, hi, lo  \
    )
#define SMOOTHL1_SHAPED(SUFFIX, shape)                                                        \
    (out == NULL ? SMOOTHL1_CALL_GROUPS(SUFFIX, shape, 0)                                     \
                 : SMOOTHL1_CALL_GROUPS(SUFFIX, shape, 1))
#define SMOOTHL1_SHAPED_STORED(SUFFIX, shape)                                                 \
    smoothl1_groups##SUFFIX(                                                                  \
        x, y, x_stored, y_stored, NULL, n, ahead, p, shape, 0, 0, hi, lo                      \
    )

/* Add n elements, whole groups, to the lanes of the sum; with ``slopes``, write their gradient to
   out. ``ahead``: bytes from a group to what is asked for meanwhile; 0 for nothing. ``folds``: they
   are the last of a leaf, whose sum is wanted in the first lane. It is folded here, where the lanes
   are in registers: through memory the fold costs as much as a fifth of the loop does. Returns how
   many elements were below beta, for PAIRS. ``x_stored``, ``y_stored``: stored.h; the loops over
   lanes know AS_IS alone. */
#define SMOOTHL1_DEFINE_GROUPS(T, SUFFIX, COUNTER)                                            \
    SMOOTHL1_INLINE int64_t smoothl1_groups##SUFFIX(                                            \
        const T *SMOOTHL1_RESTRICT x, const T *SMOOTHL1_RESTRICT y, int x_stored,             \
        int y_stored, T *SMOOTHL1_RESTRICT out, ptrdiff_t n, ptrdiff_t ahead,                 \
        const smoothl1_numbers##SUFFIX *numbers, int shape, int slopes, int folds,            \
        double *SMOOTHL1_RESTRICT sums, double *SMOOTHL1_RESTRICT rests                       \
    ) {                                                                                       \
        const ptrdiff_t group = SMOOTHL1_LANES * SMOOTHL1_ROWS##SUFFIX;                       \
        const T beta = numbers->beta, s = numbers->s, c = numbers->c;                         \
        const T factor = numbers->factor, edge = numbers->edge;                               \
        double hi[SMOOTHL1_LANES], lo[SMOOTHL1_LANES];                                        \
        COUNTER below[SMOOTHL1_LANES];                                                        \
        int64_t total = 0;                                                                    \
        /* "+ 0.0" keeps GCC from making this a memcpy, which would keep the lanes in memory. */ \
        for (int l = 0; l < SMOOTHL1_LANES; l++) {                                            \
            hi[l] = sums[l] + 0.0;                                                            \
            lo[l] = rests[l] + 0.0;                                                           \
            below[l] = 0;                                                                     \
        }                                                                                     \
        for (ptrdiff_t i = 0; i < n; i += group) {                                            \
            if (x_stored == SMOOTHL1_AS_IS && y_stored == SMOOTHL1_AS_IS) {                   \
                SMOOTHL1_ASK(T, i, group)                                                     \
            } else {                                                                          \
                SMOOTHL1_ASK_STORED(T, x, x_stored, i, group)                                 \
                SMOOTHL1_ASK_STORED(T, y, y_stored, i, group)                                 \
            }                                                                                 \
            SMOOTHL1_ADD_GROUP(SUFFIX, COUNTER)                                               \
        }                                                                                     \
        for (int l = 0; l < SMOOTHL1_LANES; l++) { total += below[l]; }                       \
        if (folds) {                                                                          \
            smoothl1_fold_lanes##SUFFIX(hi, lo, 8);                                           \
            smoothl1_fold_lanes##SUFFIX(hi, lo, 4);                                           \
            smoothl1_fold_lanes##SUFFIX(hi, lo, 2);                                           \
            smoothl1_fold_lanes##SUFFIX(hi, lo, 1);                                           \
            sums[0] = hi[0];                                                                  \
            rests[0] = lo[0];                                                                 \
            return total;                                                                     \
        }                                                                                     \
        for (int l = 0; l < SMOOTHL1_LANES; l++) {                                            \
            sums[l] = hi[l] + 0.0;                                                            \
            rests[l] = lo[l] + 0.0;                                                           \
        }                                                                                     \
        return total;                                                                         \
    }                                                                                         \
    /* A function for each shape, with and without slopes. */                                 \
    static int64_t smoothl1_whole_groups##SUFFIX(                                             \
        const T *x, const T *y, T *out, ptrdiff_t n, ptrdiff_t ahead, int product, int folds, \
        const smoothl1_numbers##SUFFIX *p, double *hi, double *lo                             \
    ) {                                                                                       \
        if (!product) {                                                                       \
            return SMOOTHL1_SHAPED(SUFFIX, SMOOTHL1_PAIRS);                                   \
        } else if (p->s != 1) {                                                               \
            return SMOOTHL1_SHAPED(SUFFIX, SMOOTHL1_PRODUCT);                                 \
        }                                                                                     \
        return SMOOTHL1_SHAPED(SUFFIX, SMOOTHL1_UNIT);                                        \
    }                                                                                         \
    /* Of elements as they are stored, without slopes. */                                     \
    static int64_t smoothl1_stored_groups##SUFFIX(                                            \
        const void *x, const void *y, int x_stored, int y_stored, ptrdiff_t n,                \
        ptrdiff_t ahead, int product, const smoothl1_numbers##SUFFIX *p, double *hi,          \
        double *lo                                                                            \
    ) {                                                                                       \
        if (product) { return SMOOTHL1_SHAPED_STORED(SUFFIX, SMOOTHL1_PRODUCT); }             \
        return SMOOTHL1_SHAPED_STORED(SUFFIX, SMOOTHL1_PAIRS);                                \
    }
SMOOTHL1_DEFINE_GROUPS(float, f, int32_t)
SMOOTHL1_DEFINE_GROUPS(double, , int64_t)

/* The sum of a leaf, and how many of its elements were below beta, for PAIRS. */
typedef struct {
    double hi, lo;
    int64_t below;
} smoothl1_leaf;

/* Leaves of LEAF elements, one after the other. In one call: to enter a function and bring empty lanes
   through memory costs as much as a fiftieth of a leaf with AVX-512, a twelfth with AVX2. */
#define SMOOTHL1_SHAPED_LEAVES(SUFFIX, shape)                                                 \
    do {                                                                                      \
        if (out == NULL) {                                                                    \
            smoothl1_each_leaf##SUFFIX(x, y, out, leaves, ahead, p, shape, 0, sums);          \
        } else {                                                                              \
            smoothl1_each_leaf##SUFFIX(x, y, out, leaves, ahead, p, shape, 1, sums);          \
        }                                                                                     \
    } while (0)
#define SMOOTHL1_DEFINE_LEAVES(T, SUFFIX)                                                     \
    SMOOTHL1_INLINE void smoothl1_each_leaf##SUFFIX(                                          \
        const T *x, const T *y, T *out, ptrdiff_t leaves, ptrdiff_t ahead,                    \
        const smoothl1_numbers##SUFFIX *p, int shape, int slopes, smoothl1_leaf *sums         \
    ) {                                                                                       \
        for (ptrdiff_t l = 0; l < leaves; l++) {                                              \
            double hi[SMOOTHL1_LANES] = {0}, lo[SMOOTHL1_LANES] = {0};                        \
            sums[l].below = smoothl1_groups##SUFFIX(                                          \
                x, y, SMOOTHL1_AS_IS, SMOOTHL1_AS_IS, out, SMOOTHL1_LEAF, ahead, p, shape,    \
                slopes, 1, hi, lo                                                             \
            );                                                                                \
            sums[l].hi = hi[0];                                                               \
            sums[l].lo = lo[0];                                                               \
            x += SMOOTHL1_LEAF;                                                               \
            y += SMOOTHL1_LEAF;                                                               \
            if (slopes) { out += SMOOTHL1_LEAF; }                                             \
        }                                                                                     \
    }                                                                                         \
    static void smoothl1_whole_leaves##SUFFIX(                                                \
        const T *x, const T *y, T *out, ptrdiff_t leaves, ptrdiff_t ahead, int product,       \
        const smoothl1_numbers##SUFFIX *p, smoothl1_leaf *sums                                \
    ) {                                                                                       \
        if (!product) {                                                                       \
            SMOOTHL1_SHAPED_LEAVES(SUFFIX, SMOOTHL1_PAIRS);                                   \
        } else if (p->s != 1) {                                                               \
            SMOOTHL1_SHAPED_LEAVES(SUFFIX, SMOOTHL1_PRODUCT);                                 \
        } else {                                                                              \
            SMOOTHL1_SHAPED_LEAVES(SUFFIX, SMOOTHL1_UNIT);                                    \
        }                                                                                     \
    }
SMOOTHL1_DEFINE_LEAVES(float, f)
SMOOTHL1_DEFINE_LEAVES(double, )

/* The same of a leaf that is too short for groups: n elements, a multiple of LANES, of which each
   enters its lane. */
#define SMOOTHL1_DEFINE_SHORT(T, SUFFIX, COUNTER)                                             \
    SMOOTHL1_INLINE int64_t smoothl1_short##SUFFIX(                                           \
        const T *SMOOTHL1_RESTRICT x, const T *SMOOTHL1_RESTRICT y, ptrdiff_t n,              \
        const smoothl1_numbers##SUFFIX *p, int shape, double *SMOOTHL1_RESTRICT sums,         \
        double *SMOOTHL1_RESTRICT rests                                                       \
    ) {                                                                                       \
        const T beta = p->beta, s = p->s, c = p->c;                                           \
        double hi[SMOOTHL1_LANES], lo[SMOOTHL1_LANES];                                        \
        COUNTER below[SMOOTHL1_LANES];                                                        \
        int64_t total = 0;                                                                    \
        for (int l = 0; l < SMOOTHL1_LANES; l++) {                                            \
            hi[l] = sums[l] + 0.0;                                                            \
            lo[l] = rests[l] + 0.0;                                                           \
            below[l] = 0;                                                                     \
        }                                                                                     \
        for (ptrdiff_t i = 0; i < n; i += SMOOTHL1_LANES) {                                   \
            for (int l = 0; l < SMOOTHL1_LANES; l++) {                                        \
                COUNTER count = below[l];                                                     \
                const T term = smoothl1_element##SUFFIX(                                      \
                    x[i + l], y[i + l], beta, s, c, 0, 0, shape, 0, NULL, &count              \
                );                                                                            \
                smoothl1_lane_add##SUFFIX(hi + l, lo + l, term);                              \
                below[l] = count;                                                             \
            }                                                                                 \
        }                                                                                     \
        for (int l = 0; l < SMOOTHL1_LANES; l++) {                                            \
            sums[l] = hi[l] + 0.0;                                                            \
            rests[l] = lo[l] + 0.0;                                                           \
            total += below[l];                                                                \
        }                                                                                     \
        return total;                                                                         \
    }                                                                                         \
    static int64_t smoothl1_short_leaf##SUFFIX(                                               \
        const T *x, const T *y, ptrdiff_t n, int product, const smoothl1_numbers##SUFFIX *p,  \
        double *hi, double *lo                                                                \
    ) {                                                                                       \
        if (product) { return smoothl1_short##SUFFIX(x, y, n, p, SMOOTHL1_PRODUCT, hi, lo); } \
        return smoothl1_short##SUFFIX(x, y, n, p, SMOOTHL1_PAIRS, hi, lo);                    \
    }
SMOOTHL1_DEFINE_SHORT(float, f, int32_t)
SMOOTHL1_DEFINE_SHORT(double, , int64_t)

#endif
