/* Outputs of up to four elements, one after the other: terms are made, brought together by
   shuffles and summed in one loop, in registers. For AVX2 and AVX-512; without, ``rows.pxd``
   has a buffer of terms, from which GCC's shuffles take them.

   A step takes as many vectors of each operand as an output has elements, and sums as many outputs
   as a vector has items. Terms are those of ``terms.pxd``; the order of a sum is that of
   ``lanes.pxd``, (0 + 2) + (1 + 3). */
#ifndef SMOOTHL1_FOURS_H
#define SMOOTHL1_FOURS_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "finish.h"
#include "fma.h"
#include "groups.h"
#include "inline.h"

#if SMOOTHL1_BY_VECTORS
  #include "shuffles.h"
  #include "vectors.h"

/* The sums of outputs of four terms, or of two: of float64 and what their roundings left, of
   float32 those of the first half of the outputs and of the second. A lane starts at 0, which -0
   leaves as it is. */
SMOOTHL1_INLINE void smoothl1_sum_up(const smoothl1_v *terms, int n, int signs, smoothl1_v *sums) {
    smoothl1_v t[4], odd, low, other;
    if (n == 1) {
        sums[0] = terms[0];
        sums[1] = smoothl1_all(0);
    } else {
        smoothl1_gather(terms, n, t);
    }
    if (n > 2) {
        smoothl1_exactly(t[0], t[2], sums, &low);
        smoothl1_exactly(t[1], t[3], &odd, &other);
        smoothl1_exactly(sums[0], odd, sums, sums + 1);
        sums[1] = (low + other) + sums[1];
    } else if (n == 2) {
        smoothl1_exactly(t[0], t[1], sums, sums + 1);
    }
    if (signs) { sums[0] = sums[0] + 0.0; }
}
/* Right for all terms, of which few are infinite, NaN or negative. */
SMOOTHL1_INLINE void smoothl1_sum_any_upf(const smoothl1_v *pairs, int n, smoothl1_v *sums) {
    for (int i = 0; i < 2; i++) {
        const smoothl1_v p = pairs[n > 2 ? 2 * i : i], q = pairs[n > 2 ? 2 * i + 1 : i];
        sums[i] = smoothl1_lower_of_any(p);
        if (n > 2) {
            sums[i] = (sums[i] + smoothl1_lower_of_any(q))
                + (smoothl1_upper_of_any(p) + smoothl1_upper_of_any(q));
        } else {
            sums[i] = sums[i] + smoothl1_upper_of_any(p);
        }
        sums[i] = sums[i] + 0.0;
    }
}
SMOOTHL1_INLINE void smoothl1_sum_upf(
    const smoothl1_vf *terms, int n, int signs, smoothl1_v *sums
) {
    const smoothl1_v most = smoothl1_all(0x1p128 * SMOOTHL1_TINY);
    smoothl1_v pairs[4];
    if (n == 1) {
        smoothl1_widen_halves(terms[0], sums, sums + 1);
        for (int i = 0; signs && i < 2; i++) { sums[i] = sums[i] + 0.0; }
        return;
    }
    smoothl1_pair_up(terms, n, pairs);
    for (int i = 0; i < 2; i++) {
        const smoothl1_v p = pairs[n > 2 ? 2 * i : i], q = pairs[n > 2 ? 2 * i + 1 : i];
        sums[i] = smoothl1_lower(p);
        if (n > 2) {
            sums[i] = (sums[i] + smoothl1_lower(q)) + (smoothl1_upper(p) + smoothl1_upper(q));
        } else {
            sums[i] = sums[i] + smoothl1_upper(p);
        }
    }
    if (smoothl1_any_above(sums[0], sums[1], most)) {
        smoothl1_sum_any_upf(pairs, n, sums);
    } else {
        for (int i = 0; i < 2; i++) { sums[i] = sums[i] * smoothl1_all(1 / SMOOTHL1_TINY); }
    }
}
SMOOTHL1_INLINE void smoothl1_put_sums(
    const smoothl1_v *found, int n, double *sums, double *rests
) {
    smoothl1_put(sums, found[0], n);
    smoothl1_put(rests, found[1], n);
}
SMOOTHL1_INLINE void smoothl1_put_sumsf(
    const smoothl1_v *found, int n, double *sums, double *rests
) {
    (void)rests;
    smoothl1_putf(sums, found[0], found[1], n);
}

/* A weight as often as it is counted: exact, in float64. */
SMOOTHL1_INLINE void smoothl1_tally_weightf(
    smoothl1_countsf counts, const float *weights, int n, smoothl1_v *sums
) {
    smoothl1_v weight[2];
    smoothl1_get_outputsf(weights, n, weight);
    smoothl1_tallyf(counts, n, sums);
    for (int i = 0; i < 2; i++) { /* not of those that are never counted, which may be infinite */
        const smoothl1_which some = smoothl1_above(sums[i], smoothl1_all(1));
        sums[i] = smoothl1_pick(some, sums[i] * weight[i], smoothl1_all(0));
    }
}
SMOOTHL1_INLINE void smoothl1_tally_weight(
    smoothl1_counts counts, const double *weights, int n, smoothl1_v *sums
) {
    (void)counts, (void)weights, (void)n, (void)sums;
}

/* Functions are told what is known of a job: nothing of it is left to ask in a loop. */
#define SMOOTHL1_DEFINE_STEPS(T, SUFFIX)                                                      \
    SMOOTHL1_INLINE int smoothl1_steps##SUFFIX(                                               \
        const smoothl1_rows##SUFFIX *rows, int n, ptrdiff_t width, int form, int weighted,    \
        int selected                                                                          \
    ) {                                                                                       \
        enum { ITEMS = SMOOTHL1_ITEMS##SUFFIX };                                              \
        const int vectors = n == 3 ? 4 : n, finishes = sizeof(T) == sizeof(float);            \
        const ptrdiff_t ahead = rows->ahead;                                                  \
        const T *x = rows->x, *y = rows->y, *b = rows->beta, *w = rows->weight;               \
        const uint8_t *mask = rows->mask;                                                     \
        const smoothl1_v##SUFFIX none = smoothl1_all##SUFFIX(0), one = smoothl1_all##SUFFIX(1);\
        const smoothl1_v##SUFFIX half = smoothl1_all##SUFFIX((T)0.5);                         \
        const smoothl1_v##SUFFIX s = smoothl1_all##SUFFIX(rows->s);                           \
        const smoothl1_v##SUFFIX c = smoothl1_all##SUFFIX(rows->c);                           \
        smoothl1_v##SUFFIX t = smoothl1_all##SUFFIX(rows->threshold);                         \
        int found = 0;                                                                        \
        for (ptrdiff_t o = 0; o < width; o += ITEMS) {                                        \
            smoothl1_v##SUFFIX terms[4], linear[4], weights[4];                               \
            smoothl1_v sums[2], offs[2];                                                      \
            smoothl1_counts##SUFFIX counts = smoothl1_no_counts##SUFFIX();                    \
            smoothl1_counts##SUFFIX takes = smoothl1_no_counts##SUFFIX();                     \
            SMOOTHL1_ASK(T, 0, n * ITEMS)                                                     \
            if (n > 1 && weighted && rows->repeats) {                                         \
                for (int k = 0; k < vectors; k++) {                                           \
                    weights[k] = smoothl1_repeat##SUFFIX(w, n, k);                            \
                }                                                                             \
                w += ITEMS;                                                                   \
            } else if (weighted) {                                                            \
                for (int k = 0; k < vectors; k++) {                                           \
                    weights[k] = smoothl1_get_part##SUFFIX(w, n, k);                          \
                }                                                                             \
                w += n * ITEMS;                                                               \
            }                                                                                 \
            for (int k = 0; k < vectors; k++) {                                               \
                const smoothl1_v##SUFFIX z = smoothl1_size##SUFFIX(                           \
                    smoothl1_get_part##SUFFIX(x, n, k) - smoothl1_get_part##SUFFIX(y, n, k)   \
                );                                                                            \
                smoothl1_v##SUFFIX term, off;                                                 \
                smoothl1_which##SUFFIX above;                                                 \
                if (form >= SMOOTHL1_ROW_SMOOTH) { t = smoothl1_get_part##SUFFIX(b, n, k); }  \
                above = smoothl1_above##SUFFIX(z, t);                                         \
                if (form == SMOOTHL1_ROW_PRODUCT) {                                           \
                    const smoothl1_v##SUFFIX m = smoothl1_least##SUFFIX(t, z);                \
                    term = smoothl1_product_term##SUFFIX(z, m, half, s, 0);                   \
                } else if (form == SMOOTHL1_ROW_PAIR) {                                       \
                    term = smoothl1_pair_term##SUFFIX(z, above, 0, s, c);                     \
                } else if (form == SMOOTHL1_ROW_SMOOTH) {                                     \
                    term = smoothl1_pick##SUFFIX(above, z, half * z * (z / t));               \
                } else {                                                                      \
                    term = smoothl1_pick##SUFFIX(above, t * z, half * z * z);                 \
                }                                                                             \
                if (weighted) { term = term * weights[k]; }                                   \
                if (selected) {                                                               \
                    const smoothl1_which##SUFFIX taken = smoothl1_taken_part##SUFFIX(mask, n, k);\
                    above = smoothl1_both##SUFFIX(above, taken);                              \
                    term = smoothl1_pick##SUFFIX(taken, term, none);                          \
                    takes = smoothl1_count##SUFFIX(takes, taken, k);                          \
                }                                                                             \
                /* Where a weight is not finite, nothing is subtracted: its term is not, either. */\
                if (form >= SMOOTHL1_ROW_SMOOTH) {                                            \
                    off = t;                                                                  \
                    if (form == SMOOTHL1_ROW_HUBER) { off = t * t; }                          \
                    if (weighted) { off = off * weights[k]; }                                 \
                } else {                                                                      \
                    off = one;                                                                \
                    if (weighted) { off = weights[k]; }                                       \
                }                                                                             \
                linear[k] = smoothl1_pick##SUFFIX(above, off, none);                          \
                counts = smoothl1_count##SUFFIX(counts, above, k);                            \
                terms[k] = term;                                                              \
            }                                                                                 \
            smoothl1_sum_up##SUFFIX(terms, n, weighted, sums);                                \
            if (form == SMOOTHL1_ROW_PAIR && !weighted) {                                     \
                smoothl1_tally##SUFFIX(counts, n, offs);                                      \
            } else if (form == SMOOTHL1_ROW_PAIR && rows->repeats && n > 1 && finishes) {     \
                smoothl1_tally_weight##SUFFIX(counts, w - ITEMS, n, offs);                    \
            } else if (form != SMOOTHL1_ROW_PRODUCT) {                                        \
                smoothl1_sum_up##SUFFIX(linear, n, 0, offs);                                  \
            }                                                                                 \
            if (finishes && rows->results != NULL) {                                          \
                found |= smoothl1_finish_step##SUFFIX(                                        \
                    rows, sums, offs, takes, form != SMOOTHL1_ROW_PRODUCT, weighted, selected, n, o\
                );                                                                            \
            } else {                                                                          \
                smoothl1_put_sums##SUFFIX(sums, n, rows->sums + o, rows->rests + o);          \
                if (form != SMOOTHL1_ROW_PRODUCT) {                                           \
                    smoothl1_put_sums##SUFFIX(                                                \
                        offs, n, rows->linear + o, rows->linear_rests + o                     \
                    );                                                                        \
                }                                                                             \
            }                                                                                 \
            x += n * ITEMS;                                                                   \
            y += n * ITEMS;                                                                   \
            if (form >= SMOOTHL1_ROW_SMOOTH) { b += n * ITEMS; }                              \
            if (selected) { mask += n * ITEMS; }                                              \
        }                                                                                     \
        return found;                                                                         \
    }                                                                                         \
    SMOOTHL1_INLINE int smoothl1_steps_of_form##SUFFIX(                                       \
        const smoothl1_rows##SUFFIX *rows, int n, ptrdiff_t width, int form                   \
    ) {                                                                                       \
        if (rows->mask == NULL && n != 3) { /* three are run with a selection only */         \
            if (rows->weight == NULL) {                                                       \
                return smoothl1_steps##SUFFIX(rows, n, width, form, 0, 0);                    \
            } else {                                                                          \
                return smoothl1_steps##SUFFIX(rows, n, width, form, 1, 0);                    \
            }                                                                                 \
        } else if (rows->weight == NULL) {                                                    \
            return smoothl1_steps##SUFFIX(rows, n, width, form, 0, 1);                        \
        } else {                                                                              \
            return smoothl1_steps##SUFFIX(rows, n, width, form, 1, 1);                        \
        }                                                                                     \
    }                                                                                         \
    SMOOTHL1_INLINE int smoothl1_steps_of##SUFFIX(                                            \
        const smoothl1_rows##SUFFIX *rows, int n, ptrdiff_t width                             \
    ) {                                                                                       \
        if (rows->form == SMOOTHL1_ROW_PRODUCT) {                                             \
            return smoothl1_steps_of_form##SUFFIX(rows, n, width, SMOOTHL1_ROW_PRODUCT);      \
        } else if (rows->form == SMOOTHL1_ROW_PAIR) {                                         \
            return smoothl1_steps_of_form##SUFFIX(rows, n, width, SMOOTHL1_ROW_PAIR);         \
        } else if (rows->form == SMOOTHL1_ROW_SMOOTH) {                                       \
            return smoothl1_steps_of_form##SUFFIX(rows, n, width, SMOOTHL1_ROW_SMOOTH);       \
        } else {                                                                              \
            return smoothl1_steps_of_form##SUFFIX(rows, n, width, SMOOTHL1_ROW_HUBER);        \
        }                                                                                     \
    }                                                                                         \
    static int smoothl1_whole_steps##SUFFIX(                                                  \
        const smoothl1_rows##SUFFIX *rows, ptrdiff_t n, ptrdiff_t width                       \
    ) {                                                                                       \
        if (n == 4) {                                                                         \
            return smoothl1_steps_of##SUFFIX(rows, 4, width);                                 \
        } else if (n == 3 && sizeof(T) == sizeof(float)) {                                    \
            return smoothl1_steps_of##SUFFIX(rows, 3, width);                                 \
        } else if (n == 2) {                                                                  \
            return smoothl1_steps_of##SUFFIX(rows, 2, width);                                 \
        } else {                                                                              \
            return smoothl1_steps_of##SUFFIX(rows, 1, width);                                 \
        }                                                                                     \
    }                                                                                         \
    /* The last outputs, fewer than a step, filled up. */                                     \
    static int smoothl1_last_step##SUFFIX(                                                    \
        const smoothl1_rows##SUFFIX *rows, ptrdiff_t n, ptrdiff_t first, size_t outputs       \
    ) {                                                                                       \
        enum { ROOM = 4 * SMOOTHL1_ITEMS##SUFFIX };                                           \
        const size_t rest = outputs * (size_t)n;                                              \
        T x[ROOM] = {0}, y[ROOM] = {0}, b[ROOM], w[ROOM] = {0}, results[ROOM] = {0};          \
        uint8_t mask[ROOM];                                                                   \
        int found;                                                                            \
        smoothl1_rows##SUFFIX last = *rows;                                                   \
        for (int i = 0; i < ROOM; i++) { b[i] = mask[i] = 1; }                                \
        memcpy(x, rows->x + first * n, rest * sizeof(T));                                     \
        memcpy(y, rows->y + first * n, rest * sizeof(T));                                     \
        if (rows->beta != NULL) { memcpy(b, rows->beta + first * n, rest * sizeof(T)); }      \
        if (rows->weight != NULL) {                                                           \
            const size_t size = (size_t)(rows->repeats ? 1 : n);                              \
            memcpy(w, rows->weight + first * (ptrdiff_t)size, outputs * size * sizeof(T));    \
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
        if (rows->results != NULL) { last.results = results; }                                \
        found = smoothl1_whole_steps##SUFFIX(&last, n, SMOOTHL1_ITEMS##SUFFIX);            \
        if (rows->results != NULL) {                                                          \
            memcpy(rows->results + first, results, outputs * sizeof(T));                      \
        }                                                                                     \
        return found;                                                                         \
    }                                                                                         \
    /* ``width`` outputs of n elements, at most four; three are of float32, with a mask.      \
       Returns what is so of some results. */                                                 \
    static int smoothl1_run_rows##SUFFIX(                                                     \
        const smoothl1_rows##SUFFIX *rows, ptrdiff_t n, ptrdiff_t width                       \
    ) {                                                                                       \
        const ptrdiff_t rest = width % SMOOTHL1_ITEMS##SUFFIX, whole = width - rest;          \
        int found = smoothl1_whole_steps##SUFFIX(rows, n, whole);                             \
        if (rest > 0) { found |= smoothl1_last_step##SUFFIX(rows, n, whole, (size_t)rest); }  \
        if (rows->results != NULL) { found |= smoothl1_finish_rows##SUFFIX(rows, width); }    \
        return found;                                                                         \
    }
SMOOTHL1_DEFINE_STEPS(float, f)
SMOOTHL1_DEFINE_STEPS(double, )
enum { SMOOTHL1_RUNS_ROWS = 1 };
#else
static int smoothl1_run_rowsf(const smoothl1_rowsf *rows, ptrdiff_t n, ptrdiff_t width) {
    (void)rows, (void)n, (void)width;
    return 0;
}
static int smoothl1_run_rows(const smoothl1_rows *rows, ptrdiff_t n, ptrdiff_t width) {
    (void)rows, (void)n, (void)width;
    return 0;
}
enum { SMOOTHL1_RUNS_ROWS = 0 };
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
/* How many of the bytes are not 0. */
SMOOTHL1_INLINE int32_t smoothl1_count_bytes(uint64_t bytes) {
    const uint64_t low = 0x7f7f7f7f7f7f7f7f, ones = 0x0101010101010101;
    return (int32_t)((((((bytes & low) + low) | bytes) >> 7 & ones) * ones) >> 56);
}
static void smoothl1_count_rows(
    const uint8_t *mask, ptrdiff_t n, ptrdiff_t width, double *counts
) {
    const uint64_t all = ~(uint64_t)0;
    uint64_t kept = 0, eight;
    if (n == 1) { /* known to the compiler, a few are added by vectors */
        smoothl1_count_rows_of(mask, 1, width, counts);
        return;
    } else if (n == 2) {
        smoothl1_count_rows_of(mask, 2, width, counts);
        return;
    } else if (n == 4) {
        smoothl1_count_rows_of(mask, 4, width, counts);
        return;
    }
    memcpy(&kept, &all, (size_t)(n % 8));
    for (ptrdiff_t o = 0; o < width; o++, mask += n) {
        int32_t count = 0;
        ptrdiff_t i = 0;
        for (; i + 8 <= n; i += 8) {
            memcpy(&eight, mask + i, 8);
            count += smoothl1_count_bytes(eight);
        }
        if (i < n && i + 8 <= (width - o) * n) { /* those of the next outputs are left out */
            memcpy(&eight, mask + i, 8);
            count += smoothl1_count_bytes(eight & kept);
        } else {
            for (; i < n; i++) { count += mask[i] != 0; }
        }
        counts[o] = count;
    }
}

#endif
