/* Outputs of up to four elements: what they are summed from, and their results by vectors. */
#ifndef SMOOTHL1_FINISH_H
#define SMOOTHL1_FINISH_H

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include "inline.h"

/* The forms of a term, of which ARRAY is two. */
enum { SMOOTHL1_ROW_PRODUCT, SMOOTHL1_ROW_PAIR, SMOOTHL1_ROW_SMOOTH, SMOOTHL1_ROW_HUBER };

/* Operands in the working dtype, of which beta, weight and mask may be NULL, and where the sums go:
   of terms, of what is subtracted from them, and what their roundings left. There is room for whole
   steps. Sums are finished, too, as ``terms.pxd`` does, unless ``results`` is NULL; of float64 they
   have one divisor, of float32 they may have as many as elements are selected. */
#define SMOOTHL1_DEFINE_ROWS(T, SUFFIX)                                                       \
    typedef struct {                                                                          \
        const T *x, *y, *beta, *weight;                                                       \
        const uint8_t *mask;                                                                  \
        T threshold, s, c;                                                                    \
        int form;                                                                             \
        int repeats; /* there is a weight for each output */                                  \
        int divides; /* by how many elements are selected: results are ``scales`` as large */  \
        ptrdiff_t ahead; /* bytes to what is asked for meanwhile; 0 for nothing */            \
        double *sums, *rests, *linear, *linear_rests;                                         \
        T *results;                                                                           \
        double scale, scales[8], offset, offset_rest, divisor, divisor_rest;                  \
        double reciprocal, low, low_rest; /* of the divisor, as in ``terms.set_quotient`` */  \
    } smoothl1_rows##SUFFIX;
SMOOTHL1_DEFINE_ROWS(float, f)
SMOOTHL1_DEFINE_ROWS(double, )

/* What is so of some results. */
enum { SMOOTHL1_ODD_RESULT = 1, SMOOTHL1_EMPTY_RESULT = 2 };

#if SMOOTHL1_BY_VECTORS
  #include "shuffles.h"
  #include "vectors.h"

/* ``finish`` of ``terms.pxd``, of a vector of outputs. ``takes``: how many elements are selected. A
   result is odd if it is infinite or, where weights may make it so, NaN. */
SMOOTHL1_INLINE int smoothl1_finish_stepf(
    const smoothl1_rowsf *rows, const smoothl1_v *sums, const smoothl1_v *linear,
    smoothl1_countsf takes, int subtracts, int weighted, int selected, int n, ptrdiff_t o
) {
    const smoothl1_v most = smoothl1_all(DBL_MAX), none = smoothl1_all(0);
    smoothl1_v r[2], scale[2];
    int found = 0;
    scale[0] = scale[1] = smoothl1_all(rows->scale);
    if (selected && rows->divides) {
        smoothl1_look_upf(takes, n, rows->scales, scale);
        found = smoothl1_any_odd(scale[0], 0) | smoothl1_any_odd(scale[1], 0);
        found *= SMOOTHL1_EMPTY_RESULT;
    }
    for (int i = 0; i < 2; i++) {
        r[i] = sums[i];
        if (subtracts) {
            const smoothl1_v rest = linear[i] * smoothl1_all(rows->offset);
            r[i] = r[i] + smoothl1_pick(smoothl1_within(sums[i], most), rest, none);
        }
        r[i] = r[i] * scale[i];
        found |= smoothl1_any_odd(r[i], weighted);
    }
    smoothl1_narrow(rows->results + o, r[0], r[1], n);
    return found;
}
/* See ``smoothl1_over``, of which this is a vector. */
SMOOTHL1_INLINE smoothl1_v smoothl1_over_all(smoothl1_v a, const smoothl1_rows *rows) {
    const smoothl1_v b = smoothl1_all(rows->divisor), r = smoothl1_all(-rows->reciprocal);
    const smoothl1_v rest = a * smoothl1_all(rows->low_rest);
    const smoothl1_v q = smoothl1_fma(a, smoothl1_all(rows->low), rest);
    return smoothl1_fma(smoothl1_fms(b, q, a), r, q);
}
SMOOTHL1_INLINE int smoothl1_finish_vector(
    const smoothl1_rows *rows, smoothl1_v sums, smoothl1_v rests, smoothl1_v linear,
    smoothl1_v linear_rests, int weighted, double *results
) {
    const smoothl1_v most = smoothl1_all(DBL_MAX), d = smoothl1_all(rows->divisor);
    const smoothl1_v offset = smoothl1_all(rows->offset);
    smoothl1_v hi, lo, q, p = linear * offset, r, rest;
    rest = smoothl1_fms(linear, offset, p)
        + (linear * smoothl1_all(rows->offset_rest) + linear_rests * offset);
    smoothl1_exactly(sums, p, &hi, &lo);
    lo = lo + (rests + rest);
    if (smoothl1_moderate(hi)) { /* quotients without division, with the same bits */
        q = smoothl1_over_all(hi, rows);
        p = q * d;
        rest = ((hi - p) - smoothl1_fms(q, d, p)) + lo - q * smoothl1_all(rows->divisor_rest);
        /* Where weights cancel, what is left may be no small part of the quotient. */
        if (weighted && !smoothl1_moderate(smoothl1_size(rest))) {
            r = q + rest / d;
        } else {
            r = q + smoothl1_over_all(rest, rows);
        }
    } else {
        q = hi / d;
        p = q * d;
        rest = ((hi - p) - smoothl1_fms(q, d, p)) + lo - q * smoothl1_all(rows->divisor_rest);
        r = q + rest / d;
        r = smoothl1_pick(smoothl1_within(r, most), r, q);
        r = smoothl1_pick(smoothl1_within(sums, most), r, sums / d);
    }
    SMOOTHL1_V(storeu_pd)(results, r);
    return smoothl1_any_odd(r, weighted);
}
SMOOTHL1_INLINE int smoothl1_finish_rows_of(
    const smoothl1_rows *rows, ptrdiff_t width, int summed, int weighted
) {
    enum { ITEMS = SMOOTHL1_ITEMS };
    const int subtracts = rows->form != SMOOTHL1_ROW_PRODUCT;
    const smoothl1_v none = smoothl1_all(0);
    const ptrdiff_t rest = width % ITEMS, whole = width - rest;
    double last[ITEMS];
    int found = 0;
    for (ptrdiff_t o = 0; o < width; o += ITEMS) {
        found |= smoothl1_finish_vector(
            rows, smoothl1_get(rows->sums + o), smoothl1_get(rows->rests + o),
            subtracts ? smoothl1_get(rows->linear + o) : none,
            summed ? smoothl1_get(rows->linear_rests + o) : none, weighted,
            o < whole ? rows->results + o : last
        );
    }
    if (rest > 0) { memcpy(rows->results + whole, last, (size_t)rest * sizeof(double)); }
    return found;
}
/* In a loop of its own, whose steps overlap: each is a long chain. What is subtracted is summed, or
   counted. */
static int smoothl1_finish_rows(const smoothl1_rows *rows, ptrdiff_t width) {
    if (rows->weight != NULL) {
        return smoothl1_finish_rows_of(rows, width, 1, 1);
    } else {
        return smoothl1_finish_rows_of(rows, width, rows->form >= SMOOTHL1_ROW_SMOOTH, 0);
    }
}
SMOOTHL1_INLINE int smoothl1_finish_step(
    const smoothl1_rows *rows, const smoothl1_v *sums, const smoothl1_v *linear,
    smoothl1_counts takes, int subtracts, int weighted, int selected, int n, ptrdiff_t o
) {
    (void)rows, (void)sums, (void)linear, (void)takes;
    (void)subtracts, (void)weighted, (void)selected, (void)n, (void)o;
    return 0;
}
SMOOTHL1_INLINE int smoothl1_finish_rowsf(const smoothl1_rowsf *rows, ptrdiff_t width) {
    (void)rows, (void)width;
    return 0;
}
#endif

/* What all sums are divided by, hi + lo. */
SMOOTHL1_INLINE void smoothl1_set_divisor(smoothl1_rows *rows, double hi, double lo) {
    rows->divisor = hi;
    rows->divisor_rest = lo;
    rows->reciprocal = rows->low = 1.0 / hi;
    if (fma(rows->low, hi, -1.0) > 0.0) { rows->low = nextafter(rows->low, 0.0); }
    rows->low_rest = fma(-rows->low, hi, 1.0) / hi;
}

#endif
