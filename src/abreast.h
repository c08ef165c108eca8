/* Whole groups by vectors of AVX2 or AVX-512, for ``groups.h``.

   A processor takes instructions in their order, and those whose operands are missing wait in a
   scheduler. Where one vector after the other is made a term, as GCC does in a loop, what waits
   fills it up. So four vectors go through each step side by side. GCC moves an expression to where
   its value is used, which would undo that: SMOOTHL1_HERE, which is no instruction, keeps it where
   it is written. */
#ifndef SMOOTHL1_ABREAST_H
#define SMOOTHL1_ABREAST_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "inline.h"
#include "sizes.h"
#include "stored.h"
#include "vectors.h"

#define SMOOTHL1_HERE(v, n)                                                                   \
    for (int k = 0; k < (n); k++) { __asm__("" : "+v"((v)[k])); }
/* Without masks, GCC 12 compares anew where two selections share a comparison, unless it does not
   know that they do. */
#ifdef __AVX512F__
  #define SMOOTHL1_HERE_WHICH(which)
#else
  #define SMOOTHL1_HERE_WHICH(which) SMOOTHL1_HERE(which, 4)
#endif
#define SMOOTHL1_OF_FOUR for (int k = 0; k < 4; k++)
#define SMOOTHL1_OP(name) SMOOTHL1_V(name##_pd)
#define SMOOTHL1_OPf(name) SMOOTHL1_V(name##_ps)

/* The terms of four vectors that follow one another in memory, and their gradients: what
   ``smoothl1_element`` does. */
#define SMOOTHL1_DEFINE_FOUR(T, SUFFIX)                                                       \
    SMOOTHL1_INLINE void smoothl1_four_terms##SUFFIX(                                         \
        smoothl1_operands of, T *out, const smoothl1_numbers##SUFFIX *numbers, int shape,     \
        int slopes, smoothl1_counts##SUFFIX *below, smoothl1_v##SUFFIX *terms                 \
    ) {                                                                                       \
        enum { ITEMS = SMOOTHL1_ITEMS##SUFFIX };                                              \
        const smoothl1_v##SUFFIX beta = smoothl1_all##SUFFIX(numbers->beta);                  \
        const smoothl1_v##SUFFIX s = smoothl1_all##SUFFIX(numbers->s);                        \
        const smoothl1_v##SUFFIX c = smoothl1_all##SUFFIX(numbers->c);                        \
        const smoothl1_v##SUFFIX factor = smoothl1_all##SUFFIX(numbers->factor);              \
        const smoothl1_v##SUFFIX edge = smoothl1_all##SUFFIX(numbers->edge);                  \
        const smoothl1_v##SUFFIX half = smoothl1_all##SUFFIX((T)0.5);                         \
        smoothl1_v##SUFFIX x[4], y[4], d[4], z[4], m[4], g[4];                                \
        smoothl1_which##SUFFIX is_below[4];                                                   \
        smoothl1_read_four##SUFFIX(of.x, of.x_stored, x);                                     \
        smoothl1_read_four##SUFFIX(of.y, of.y_stored, y);                                     \
        SMOOTHL1_OF_FOUR { d[k] = x[k] - y[k]; }                                              \
        SMOOTHL1_OF_FOUR { z[k] = smoothl1_size##SUFFIX(d[k]); }                              \
        SMOOTHL1_HERE(z, 4)                                                                   \
        if (shape == SMOOTHL1_PAIRS) {                                                        \
            SMOOTHL1_OF_FOUR { is_below[k] = smoothl1_below##SUFFIX(z[k], beta); }            \
            SMOOTHL1_HERE_WHICH(is_below)                                                     \
            SMOOTHL1_OF_FOUR {                                                                \
                *below = smoothl1_one_more##SUFFIX(*below, is_below[k]);                      \
                g[k] = smoothl1_pick##SUFFIX(is_below[k], z[k] * factor, edge);               \
                g[k] = SMOOTHL1_OP##SUFFIX(min)(edge, g[k]);                                  \
            }                                                                                 \
            SMOOTHL1_HERE_WHICH(is_below)                                                     \
        } else {                                                                              \
            SMOOTHL1_OF_FOUR { m[k] = SMOOTHL1_OP##SUFFIX(min)(beta, z[k]); }                 \
            SMOOTHL1_HERE(m, 4)                                                               \
            SMOOTHL1_OF_FOUR { g[k] = m[k] * factor; }                                        \
        }                                                                                     \
        if (slopes) {                                                                         \
            SMOOTHL1_OF_FOUR { /* the sign of d, which z has not */                           \
                const smoothl1_v##SUFFIX sign = SMOOTHL1_OP##SUFFIX(xor)(d[k], z[k]);         \
                g[k] = SMOOTHL1_OP##SUFFIX(or)(g[k], sign);                                   \
                SMOOTHL1_OP##SUFFIX(storeu)(out + k * ITEMS, g[k]);                           \
            }                                                                                 \
        }                                                                                     \
        SMOOTHL1_OF_FOUR {                                                                    \
            if (shape == SMOOTHL1_PAIRS) {                                                    \
                terms[k] = smoothl1_pair_term##SUFFIX(z[k], is_below[k], 1, s, c);            \
            } else {                                                                          \
                terms[k] = smoothl1_product_term##SUFFIX(                                     \
                    z[k], m[k], half, s, shape == SMOOTHL1_UNIT                               \
                );                                                                            \
            }                                                                                 \
        }                                                                                     \
        SMOOTHL1_HERE(terms, 4)                                                               \
    }
SMOOTHL1_DEFINE_FOUR(float, f)
SMOOTHL1_DEFINE_FOUR(double, )

SMOOTHL1_INLINE void smoothl1_join_lanesf(double *hi, double *lo, smoothl1_vf terms) {
    smoothl1_v low, high;
    (void)lo;
    smoothl1_widen_halves(terms, &low, &high);
    SMOOTHL1_V(storeu_pd)(hi, smoothl1_get(hi) + low);
    SMOOTHL1_V(storeu_pd)(hi + SMOOTHL1_ITEMS, smoothl1_get(hi + SMOOTHL1_ITEMS) + high);
}
SMOOTHL1_INLINE void smoothl1_join_lanes(double *hi, double *lo, smoothl1_v terms) {
    smoothl1_v sum, rest;
    smoothl1_exactly(smoothl1_get(hi), terms, &sum, &rest);
    SMOOTHL1_V(storeu_pd)(lo, smoothl1_get(lo) + rest);
    SMOOTHL1_V(storeu_pd)(hi, sum);
}

/* A row is one vector, two or four. Half a group, in the order of memory, is summed first, and comes
   first in the order of the sum. Of ``below`` the first vector serves for all lanes. */
#define SMOOTHL1_DEFINE_ADD_GROUP(T, SUFFIX, COUNTER)                                         \
    SMOOTHL1_INLINE void smoothl1_few_rows##SUFFIX(                                           \
        smoothl1_operands of, T *out, const smoothl1_numbers##SUFFIX *numbers, int shape,     \
        int slopes, smoothl1_counts##SUFFIX *below, smoothl1_v##SUFFIX *sums                  \
    ) {                                                                                       \
        enum { VECTORS = SMOOTHL1_LANES / SMOOTHL1_ITEMS##SUFFIX };                           \
        smoothl1_v##SUFFIX t[4];                                                              \
        smoothl1_four_terms##SUFFIX(of, out, numbers, shape, slopes, below, t);               \
        if (VECTORS == 1) {                                                                   \
            sums[0] = (t[0] + t[1]) + (t[2] + t[3]);                                          \
        } else if (VECTORS == 2) {                                                            \
            for (int k = 0; k < 2; k++) { sums[k] = t[k] + t[k + 2]; }                        \
        } else {                                                                              \
            SMOOTHL1_OF_FOUR { sums[k] = t[k]; }                                              \
        }                                                                                     \
    }                                                                                         \
    SMOOTHL1_INLINE void smoothl1_half_group##SUFFIX(                                         \
        smoothl1_operands of, T *out, const smoothl1_numbers##SUFFIX *numbers, int shape,     \
        int slopes, smoothl1_counts##SUFFIX *below, smoothl1_v##SUFFIX *sums                  \
    ) {                                                                                       \
        enum {                                                                                \
            VECTORS = SMOOTHL1_LANES / SMOOTHL1_ITEMS##SUFFIX,                                \
            STEP = 4 * SMOOTHL1_ITEMS##SUFFIX,                                                \
        };                                                                                    \
        smoothl1_v##SUFFIX more[VECTORS];                                                     \
        smoothl1_few_rows##SUFFIX(of, out, numbers, shape, slopes, below, sums);              \
        SMOOTHL1_HERE(sums, VECTORS)                                                          \
        if (STEP < SMOOTHL1_LANES * SMOOTHL1_ROWS##SUFFIX / 2) {                              \
            smoothl1_few_rows##SUFFIX(                                                        \
                smoothl1_further(of, STEP, sizeof(T)), out + STEP, numbers, shape, slopes,    \
                below, more                                                                   \
            );                                                                                \
            for (int k = 0; k < VECTORS; k++) { sums[k] = sums[k] + more[k]; }                \
            SMOOTHL1_HERE(sums, VECTORS)                                                      \
        }                                                                                     \
    }                                                                                         \
    SMOOTHL1_INLINE void smoothl1_add_group##SUFFIX(                                          \
        smoothl1_operands of, T *out, const smoothl1_numbers##SUFFIX *numbers, int shape,     \
        int slopes, COUNTER *below, double *hi, double *lo                                    \
    ) {                                                                                       \
        enum {                                                                                \
            ITEMS = SMOOTHL1_ITEMS##SUFFIX,                                                   \
            VECTORS = SMOOTHL1_LANES / ITEMS,                                                 \
            HALF = SMOOTHL1_LANES * SMOOTHL1_ROWS##SUFFIX / 2,                                \
        };                                                                                    \
        smoothl1_v##SUFFIX a[VECTORS], b[VECTORS];                                            \
        smoothl1_counts##SUFFIX count;                                                        \
        memcpy(&count, below, sizeof(count));                                                 \
        smoothl1_half_group##SUFFIX(of, out, numbers, shape, slopes, &count, a);              \
        smoothl1_half_group##SUFFIX(                                                          \
            smoothl1_further(of, HALF, sizeof(T)), out + HALF, numbers, shape, slopes, &count,\
            b                                                                                 \
        );                                                                                    \
        for (int k = 0; k < VECTORS; k++) {                                                   \
            smoothl1_join_lanes##SUFFIX(hi + k * ITEMS, lo + k * ITEMS, a[k] + b[k]);         \
        }                                                                                     \
        memcpy(below, &count, sizeof(count));                                                 \
    }
SMOOTHL1_DEFINE_ADD_GROUP(float, f, int32_t)
SMOOTHL1_DEFINE_ADD_GROUP(double, , int64_t)

#define SMOOTHL1_ADD_GROUP(SUFFIX, COUNTER)                                                   \
    const smoothl1_numbers##SUFFIX all = {beta, s, c, factor, edge};                          \
    const smoothl1_operands of = {(const char *)x, (const char *)y, x_stored, y_stored};      \
    smoothl1_add_group##SUFFIX(                                                               \
        smoothl1_further(of, i, sizeof(*x)), out + i, &all, shape, slopes, below, hi, lo      \
    );

#endif
