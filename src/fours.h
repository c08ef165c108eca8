/* Outputs of two or four elements, one after the other: terms are made, brought together by shuffles
   and summed in one loop, in registers. For AVX2 and AVX-512; without, ``columns.pxd`` has a buffer
   of terms, from which GCC's shuffles take them.

   A step takes as many vectors of each operand as an output has elements, and sums as many outputs as
   a vector has items. Terms are those of ``terms.pxd``; the order of a sum is that of ``lanes.pxd``,
   (0 + 2) + (1 + 3). */
#ifndef SMOOTHL1_FOURS_H
#define SMOOTHL1_FOURS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "fma.h"
#include "groups.h"

/* The forms of a term, of which ARRAY is two. */
enum { SMOOTHL1_ROW_PRODUCT, SMOOTHL1_ROW_PAIR, SMOOTHL1_ROW_SMOOTH, SMOOTHL1_ROW_HUBER };

/* Operands in the working dtype, of which beta, weight and mask may be NULL, and the sums: of terms, of
   what is subtracted from them, and what their roundings left. There is room for whole steps. */
#define SMOOTHL1_DEFINE_ROWS(T, SUFFIX)                                                       \
    typedef struct {                                                                          \
        const T *x, *y, *beta, *weight;                                                       \
        const uint8_t *mask;                                                                  \
        T threshold, s, c;                                                                    \
        int form;                                                                             \
        ptrdiff_t ahead; /* bytes to what is asked for meanwhile; 0 for nothing */            \
        double *sums, *rests, *linear, *linear_rests;                                         \
    } smoothl1_rows##SUFFIX;
SMOOTHL1_DEFINE_ROWS(float, f)
SMOOTHL1_DEFINE_ROWS(double, )

#if (defined(__GNUC__) || defined(__clang__)) && defined(__AVX2__)
  #include "vectors.h"

/* Outputs of four terms, or of two. A lane starts at 0, which -0 leaves as it is. */
SMOOTHL1_INLINE void smoothl1_put_sums(
    const smoothl1_v *terms, int n, int signs, double *sums, double *rests
) {
    smoothl1_v t[4], sum, rest, odd, low, other;
    smoothl1_gather(terms, n, t);
    if (n == 4) {
        smoothl1_exactly(t[0], t[2], &sum, &low);
        smoothl1_exactly(t[1], t[3], &odd, &other);
        smoothl1_exactly(sum, odd, &sum, &rest);
        rest = (low + other) + rest;
    } else {
        smoothl1_exactly(t[0], t[1], &sum, &rest);
    }
    if (signs) { sum = sum + 0.0; }
    smoothl1_put(sums, sum, n);
    smoothl1_put(rests, rest, n);
}
SMOOTHL1_INLINE void smoothl1_put_sumsf(
    const smoothl1_vf *terms, int n, int signs, double *sums, double *rests
) {
    smoothl1_vf t[4];
    smoothl1_v low[4], high[4];
    (void)rests;
    smoothl1_gatherf(terms, n, t);
    for (int k = 0; k < n; k++) { smoothl1_widen_halves(t[k], low + k, high + k); }
    if (n == 4) {
        low[0] = (low[0] + low[2]) + (low[1] + low[3]);
        high[0] = (high[0] + high[2]) + (high[1] + high[3]);
    } else {
        low[0] = low[0] + low[1];
        high[0] = high[0] + high[1];
    }
    if (signs) {
        low[0] = low[0] + 0.0;
        high[0] = high[0] + 0.0;
    }
    smoothl1_putf(sums, low[0], high[0], n);
}

/* Functions are told what is known of a job: nothing of it is left to ask in a loop. */
#define SMOOTHL1_DEFINE_STEPS(T, SUFFIX)                                                      \
    SMOOTHL1_INLINE void smoothl1_steps##SUFFIX(                                                \
        const smoothl1_rows##SUFFIX *rows, int n, ptrdiff_t width, int form, int weighted,    \
        int selected                                                                          \
    ) {                                                                                       \
        enum { ITEMS = SMOOTHL1_ITEMS##SUFFIX };                                              \
        const ptrdiff_t ahead = rows->ahead;                                                  \
        const T *x = rows->x, *y = rows->y, *b = rows->beta, *w = rows->weight;               \
        const uint8_t *mask = rows->mask;                                                     \
        const smoothl1_v##SUFFIX none = smoothl1_all##SUFFIX(0), one = smoothl1_all##SUFFIX(1); \
        const smoothl1_v##SUFFIX half = smoothl1_all##SUFFIX((T)0.5);                         \
        const smoothl1_v##SUFFIX s = smoothl1_all##SUFFIX(rows->s);                           \
        const smoothl1_v##SUFFIX c = smoothl1_all##SUFFIX(rows->c);                           \
        smoothl1_v##SUFFIX t = smoothl1_all##SUFFIX(rows->threshold);                         \
        for (ptrdiff_t o = 0; o < width; o += ITEMS) {                                        \
            smoothl1_v##SUFFIX terms[4], linear[4];                                           \
            smoothl1_counts##SUFFIX counts = smoothl1_no_counts##SUFFIX();                    \
            SMOOTHL1_ASK(T, 0, n * ITEMS)                                                     \
            for (int k = 0; k < n; k++) {                                                     \
                const smoothl1_v##SUFFIX z = smoothl1_size##SUFFIX(                           \
                    smoothl1_get##SUFFIX(x + k * ITEMS) - smoothl1_get##SUFFIX(y + k * ITEMS) \
                );                                                                            \
                smoothl1_v##SUFFIX term, off = one;                                           \
                smoothl1_which##SUFFIX taken, above;                                           \
                if (form >= SMOOTHL1_ROW_SMOOTH) { t = smoothl1_get##SUFFIX(b + k * ITEMS); } \
                above = smoothl1_above##SUFFIX(z, t);                                         \
                if (form == SMOOTHL1_ROW_PRODUCT) {                                           \
                    const smoothl1_v##SUFFIX m = smoothl1_pick##SUFFIX(above, t, z);          \
                    term = (m * s) * smoothl1_less##SUFFIX(z, half, m);                       \
                } else if (form == SMOOTHL1_ROW_PAIR) {                                       \
                    term = z * smoothl1_pick##SUFFIX(above, c, z * s);                        \
                } else if (form == SMOOTHL1_ROW_SMOOTH) {                                     \
                    term = smoothl1_pick##SUFFIX(above, z, half * z * (z / t));               \
                    off = t;                                                                  \
                } else {                                                                      \
                    term = smoothl1_pick##SUFFIX(above, t * z, half * z * z);                 \
                    off = t * t;                                                              \
                }                                                                             \
                off = smoothl1_pick##SUFFIX(above, off, none);                                \
                if (weighted) {                                                               \
                    const smoothl1_v##SUFFIX weight = smoothl1_get##SUFFIX(w + k * ITEMS);    \
                    term = term * weight;                                                     \
                    off = off * weight;                                                       \
                }                                                                             \
                if (selected) {                                                               \
                    taken = smoothl1_taken##SUFFIX(mask + k * ITEMS);                         \
                    above = smoothl1_both##SUFFIX(above, taken);                                                                                   \
                    term = smoothl1_pick##SUFFIX(taken, term, none);                          \
                    off = smoothl1_pick##SUFFIX(taken, off, none);                            \
                }                                                                             \
                counts = smoothl1_count##SUFFIX(counts, above, k);                            \
                terms[k] = term;                                                              \
                linear[k] = off;                                                              \
            }                                                                                 \
            smoothl1_put_sums##SUFFIX(terms, n, weighted, rows->sums + o, rows->rests + o);   \
            if (form == SMOOTHL1_ROW_PAIR && !weighted) {                                     \
                smoothl1_put_counts##SUFFIX(rows->linear + o, counts, n);                     \
            } else if (form != SMOOTHL1_ROW_PRODUCT) {                                        \
                smoothl1_put_sums##SUFFIX(                                                    \
                    linear, n, weighted, rows->linear + o, rows->linear_rests + o             \
                );                                                                            \
            }                                                                                 \
            x += n * ITEMS;                                                                   \
            y += n * ITEMS;                                                                   \
            if (form >= SMOOTHL1_ROW_SMOOTH) { b += n * ITEMS; }                              \
            if (weighted) { w += n * ITEMS; }                                                 \
            if (selected) { mask += n * ITEMS; }                                              \
        }                                                                                     \
    }                                                                                         \
    SMOOTHL1_INLINE void smoothl1_steps_of_form##SUFFIX(                                        \
        const smoothl1_rows##SUFFIX *rows, int n, ptrdiff_t width, int form                   \
    ) {                                                                                       \
        if (rows->weight == NULL) {                                                           \
            if (rows->mask == NULL) {                                                         \
                smoothl1_steps##SUFFIX(rows, n, width, form, 0, 0);                           \
            } else {                                                                          \
                smoothl1_steps##SUFFIX(rows, n, width, form, 0, 1);                           \
            }                                                                                 \
        } else if (rows->mask == NULL) {                                                      \
            smoothl1_steps##SUFFIX(rows, n, width, form, 1, 0);                               \
        } else {                                                                              \
            smoothl1_steps##SUFFIX(rows, n, width, form, 1, 1);                               \
        }                                                                                     \
    }                                                                                         \
    SMOOTHL1_INLINE void smoothl1_steps_of##SUFFIX(                                             \
        const smoothl1_rows##SUFFIX *rows, int n, ptrdiff_t width                             \
    ) {                                                                                       \
        if (rows->form == SMOOTHL1_ROW_PRODUCT) {                                             \
            smoothl1_steps_of_form##SUFFIX(rows, n, width, SMOOTHL1_ROW_PRODUCT);             \
        } else if (rows->form == SMOOTHL1_ROW_PAIR) {                                         \
            smoothl1_steps_of_form##SUFFIX(rows, n, width, SMOOTHL1_ROW_PAIR);                \
        } else if (rows->form == SMOOTHL1_ROW_SMOOTH) {                                       \
            smoothl1_steps_of_form##SUFFIX(rows, n, width, SMOOTHL1_ROW_SMOOTH);              \
        } else {                                                                              \
            smoothl1_steps_of_form##SUFFIX(rows, n, width, SMOOTHL1_ROW_HUBER);               \
        }                                                                                     \
    }                                                                                         \
    static void smoothl1_whole_steps##SUFFIX(                                                 \
        const smoothl1_rows##SUFFIX *rows, ptrdiff_t n, ptrdiff_t width                       \
    ) {                                                                                       \
        if (n == 4) {                                                                         \
            smoothl1_steps_of##SUFFIX(rows, 4, width);                                        \
        } else {                                                                              \
            smoothl1_steps_of##SUFFIX(rows, 2, width);                                        \
        }                                                                                     \
    }                                                                                         \
    /* The last outputs, fewer than a step, filled up. */                                     \
    static void smoothl1_last_step##SUFFIX(                                                   \
        const smoothl1_rows##SUFFIX *rows, ptrdiff_t n, ptrdiff_t first, size_t rest          \
    ) {                                                                                       \
        enum { ROOM = 4 * SMOOTHL1_ITEMS##SUFFIX };                                           \
        T x[ROOM] = {0}, y[ROOM] = {0}, b[ROOM], w[ROOM] = {0};                               \
        uint8_t mask[ROOM] = {0};                                                             \
        smoothl1_rows##SUFFIX last = *rows;                                                   \
        for (int i = 0; i < ROOM; i++) { b[i] = 1; }                                          \
        memcpy(x, rows->x + first * n, rest * sizeof(T));                                     \
        memcpy(y, rows->y + first * n, rest * sizeof(T));                                     \
        if (rows->beta != NULL) { memcpy(b, rows->beta + first * n, rest * sizeof(T)); }      \
        if (rows->weight != NULL) {                                                           \
            memcpy(w, rows->weight + first * n, rest * sizeof(T));                            \
            last.weight = w;                                                                  \
        }                                                                                     \
        if (rows->mask != NULL) {                                                             \
            memcpy(mask, rows->mask + first * n, rest);                                       \
            last.mask = mask;                                                                 \
        }                                                                                     \
        last.x = x;                                                                           \
        last.y = y;                                                                           \
        last.beta = b;                                                                        \
        last.ahead = 0;                                                                       \
        last.sums += first;                                                                   \
        last.rests += first;                                                                  \
        last.linear += first;                                                                 \
        last.linear_rests += first;                                                           \
        smoothl1_whole_steps##SUFFIX(&last, n, SMOOTHL1_ITEMS##SUFFIX);                       \
    }                                                                                         \
    /* The sums of ``width`` outputs of n elements; false, and nothing done, for another n. */ \
    static int smoothl1_sum_rows##SUFFIX(                                                     \
        const smoothl1_rows##SUFFIX *rows, ptrdiff_t n, ptrdiff_t width                       \
    ) {                                                                                       \
        const ptrdiff_t rest = width % SMOOTHL1_ITEMS##SUFFIX, whole = width - rest;          \
        if (n != 2 && n != 4) { return 0; }                                                   \
        smoothl1_whole_steps##SUFFIX(rows, n, whole);                                         \
        if (rest > 0) { smoothl1_last_step##SUFFIX(rows, n, whole, (size_t)(rest * n)); }     \
        return 1;                                                                             \
    }
SMOOTHL1_DEFINE_STEPS(float, f)
SMOOTHL1_DEFINE_STEPS(double, )
#else
static int smoothl1_sum_rowsf(const smoothl1_rowsf *rows, ptrdiff_t n, ptrdiff_t width) {
    (void)rows, (void)n, (void)width;
    return 0;
}
static int smoothl1_sum_rows(const smoothl1_rows *rows, ptrdiff_t n, ptrdiff_t width) {
    (void)rows, (void)n, (void)width;
    return 0;
}
#endif

/* How many of each output's elements are selected. */
SMOOTHL1_INLINE void smoothl1_count_rows_of(
    const uint8_t *mask, ptrdiff_t n, ptrdiff_t width, double *counts
) {
    for (ptrdiff_t o = 0; o < width; o++) {
        int32_t count = 0;
        for (ptrdiff_t i = 0; i < n; i++) { count += mask[o * n + i] != 0; }
        counts[o] = count;
    }
}
static void smoothl1_count_rows(
    const uint8_t *mask, ptrdiff_t n, ptrdiff_t width, double *counts
) {
    if (n == 2) { /* known to the compiler, a few are added by vectors */
        smoothl1_count_rows_of(mask, 2, width, counts);
    } else if (n == 4) {
        smoothl1_count_rows_of(mask, 4, width, counts);
    } else {
        smoothl1_count_rows_of(mask, n, width, counts);
    }
}

#endif
