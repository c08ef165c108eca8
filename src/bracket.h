/* The loops of the search for a Huber location, over elements of weight 1: what two points leave of
   them, and what a sample says about where the root is. In C for its vectors.

   ``smoothl1_sift``: an element whose corners y - beta and y + beta are not strictly between lo and hi
   is below, above or linear there; the others, NaN among them, are kept in their order, unless there
   is no place for them. At one point, lo == hi, an element with a corner there is below or above, or
   both if that is both of its corners. The linear ones are summed as ``bracket.add_chunk`` does:
   element i goes to lane i % LANES, that of the next row is added first. */
#ifndef SMOOTHL1_BRACKET_H
#define SMOOTHL1_BRACKET_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include "groups.h"
#include "inline.h"
#include "sizes.h"
#if SMOOTHL1_BY_VECTORS
  #include "vectors.h"
  #define SMOOTHL1_SIFTS_BY_VECTORS
#elif (defined(__GNUC__) || defined(__clang__)) && defined(__SSE2__)
  #include <emmintrin.h>
  #define SMOOTHL1_SIFTS_BY_VECTORS
  #define SMOOTHL1_V(name) _mm_##name
typedef __m128d smoothl1_v, smoothl1_which;
enum { SMOOTHL1_ITEMS = 2 };
SMOOTHL1_INLINE smoothl1_v smoothl1_all(double a) { return _mm_set1_pd(a); }
SMOOTHL1_INLINE smoothl1_v smoothl1_get(const double *a) { return _mm_loadu_pd(a); }
SMOOTHL1_INLINE smoothl1_which smoothl1_both(smoothl1_which a, smoothl1_which b) {
    return _mm_and_pd(a, b);
}
#endif

enum { SMOOTHL1_ROWS_SIFTED = 2 * SMOOTHL1_LANES };

typedef struct {
    double hi[SMOOTHL1_LANES], lo[SMOOTHL1_LANES];  /* of the sum of the linear elements */
    double least[SMOOTHL1_LANES], greatest[SMOOTHL1_LANES];  /* of all but NaN */
    int64_t below, above, linear;
    ptrdiff_t kept;
} smoothl1_sifted;

static void smoothl1_start_sifting(smoothl1_sifted *s) {
    for (int l = 0; l < SMOOTHL1_LANES; l++) {
        s->hi[l] = s->lo[l] = 0;
        s->least[l] = HUGE_VAL;
        s->greatest[l] = -HUGE_VAL;
    }
    s->below = s->above = s->linear = 0;
    s->kept = 0;
}

/* Fewer than two rows, or two rows without vectors. */
SMOOTHL1_INLINE void smoothl1_sift_rows(
    const double *y, int n, double lo, double hi, double beta, double *kept, smoothl1_sifted *s
) {
    double terms[SMOOTHL1_ROWS_SIFTED];
    int64_t stays[SMOOTHL1_ROWS_SIFTED], below = 0, above = 0, linear = 0;
    for (int i = 0; i < n; i++) {
        const double first = y[i] - beta, last = y[i] + beta;
        const int64_t is_below = last <= lo, is_above = first >= hi;
        const int64_t is_linear = (first <= lo) & (last >= hi) & (is_below == 0) & (is_above == 0);
        terms[i] = is_linear ? y[i] : 0.0;
        stays[i] = 1 ^ (is_below | is_above | is_linear);
        below += is_below;
        above += is_above;
        linear += is_linear;
    }
    for (int i = 0; i < n; i++) {
        const int l = i % SMOOTHL1_LANES;
        s->least[l] = y[i] < s->least[l] ? y[i] : s->least[l];
        s->greatest[l] = y[i] > s->greatest[l] ? y[i] : s->greatest[l];
    }
    for (int i = n; i < SMOOTHL1_ROWS_SIFTED; i++) { terms[i] = 0; }
    for (int l = 0; l < SMOOTHL1_LANES; l++) {
        smoothl1_lane_add(s->hi + l, s->lo + l, terms[l] + terms[l + SMOOTHL1_LANES]);
    }
    for (int i = 0; i < n && kept != NULL; i++) {
        kept[s->kept] = y[i];
        s->kept += stays[i];
    }
    s->below += below;
    s->above += above;
    s->linear += linear;
}

#ifdef SMOOTHL1_SIFTS_BY_VECTORS
/* Store the items of v that are chosen, next to each other, and as many more as fill a vector: of
   AVX-512 in two steps, because what stores only those takes a hundred cycles on AMD's (Zen 4). */
#if defined(__AVX512F__) && defined(__AVX512DQ__)
SMOOTHL1_INLINE void smoothl1_store_chosen(double *to, smoothl1_v v, unsigned chosen) {
    _mm512_storeu_pd(to, _mm512_maskz_compress_pd((__mmask8)chosen, v));
}
SMOOTHL1_INLINE unsigned smoothl1_lanes_of(smoothl1_which which) { return which; }
  #define SMOOTHL1_AT_MOST(a, b) _mm512_cmp_pd_mask(a, b, _CMP_LE_OQ)
  #define SMOOTHL1_AT_LEAST(a, b) _mm512_cmp_pd_mask(a, b, _CMP_GE_OQ)
  #define SMOOTHL1_LESS_THAN(a, b) _mm512_cmp_pd_mask(a, b, _CMP_LT_OQ)
  #define SMOOTHL1_ONLY(which, v) _mm512_maskz_mov_pd(which, v)
#elif defined(__AVX2__)
SMOOTHL1_INLINE void smoothl1_store_chosen(double *to, smoothl1_v v, unsigned chosen) {
#define SMOOTHL1_TWO(a) 2 * (a), 2 * (a) + 1
#define SMOOTHL1_MOVE(a, b, c, d)                                                             \
    {SMOOTHL1_TWO(a), SMOOTHL1_TWO(b), SMOOTHL1_TWO(c), SMOOTHL1_TWO(d)}
    static const int32_t moves[16][8] = {
        SMOOTHL1_MOVE(0, 0, 0, 0), SMOOTHL1_MOVE(0, 0, 0, 0), SMOOTHL1_MOVE(1, 0, 0, 0),
        SMOOTHL1_MOVE(0, 1, 0, 0), SMOOTHL1_MOVE(2, 0, 0, 0), SMOOTHL1_MOVE(0, 2, 0, 0),
        SMOOTHL1_MOVE(1, 2, 0, 0), SMOOTHL1_MOVE(0, 1, 2, 0), SMOOTHL1_MOVE(3, 0, 0, 0),
        SMOOTHL1_MOVE(0, 3, 0, 0), SMOOTHL1_MOVE(1, 3, 0, 0), SMOOTHL1_MOVE(0, 1, 3, 0),
        SMOOTHL1_MOVE(2, 3, 0, 0), SMOOTHL1_MOVE(0, 2, 3, 0), SMOOTHL1_MOVE(1, 2, 3, 0),
        SMOOTHL1_MOVE(0, 1, 2, 3),
    };
    const __m256i move = _mm256_loadu_si256((const __m256i *)moves[chosen]);
    _mm256_storeu_pd(
        to, _mm256_castps_pd(_mm256_permutevar8x32_ps(_mm256_castpd_ps(v), move))
    );
}
SMOOTHL1_INLINE unsigned smoothl1_lanes_of(smoothl1_which which) {
    return (unsigned)_mm256_movemask_pd(which);
}
  #define SMOOTHL1_AT_MOST(a, b) _mm256_cmp_pd(a, b, _CMP_LE_OQ)
  #define SMOOTHL1_AT_LEAST(a, b) _mm256_cmp_pd(a, b, _CMP_GE_OQ)
  #define SMOOTHL1_LESS_THAN(a, b) _mm256_cmp_pd(a, b, _CMP_LT_OQ)
  #define SMOOTHL1_ONLY(which, v) _mm256_and_pd(which, v)
#else
SMOOTHL1_INLINE void smoothl1_store_chosen(double *to, smoothl1_v v, unsigned chosen) {
    _mm_storeu_pd(to, v);
    if (chosen == 2) { _mm_storeh_pd(to, v); }
}
SMOOTHL1_INLINE unsigned smoothl1_lanes_of(smoothl1_which which) {
    return (unsigned)_mm_movemask_pd(which);
}
  #define SMOOTHL1_AT_MOST(a, b) _mm_cmple_pd(a, b)
  #define SMOOTHL1_AT_LEAST(a, b) _mm_cmpge_pd(a, b)
  #define SMOOTHL1_LESS_THAN(a, b) _mm_cmplt_pd(a, b)
  #define SMOOTHL1_ONLY(which, v) _mm_and_pd(which, v)
#endif

/* Whole pairs of rows; ``kept`` may be y, and is written beyond the last that is kept. */
SMOOTHL1_INLINE void smoothl1_sift_pairs(
    const double *y, ptrdiff_t n, double lo, double hi, double beta, double *kept,
    smoothl1_sifted *s, int sloped, int extremes, int point
) {
    enum { PARTS = SMOOTHL1_LANES / SMOOTHL1_ITEMS };
    const smoothl1_v left = smoothl1_all(lo), right = smoothl1_all(hi), b = smoothl1_all(beta);
    smoothl1_v sum[PARTS], rest[PARTS], least[2], greatest[2];
    int64_t below = 0, above = 0, linear = 0;
    ptrdiff_t k = s->kept;
    for (int p = 0; p < PARTS; p++) {
        sum[p] = smoothl1_get(s->hi + p * SMOOTHL1_ITEMS);
        rest[p] = smoothl1_get(s->lo + p * SMOOTHL1_ITEMS);
    }
    for (int p = 0; p < 2; p++) {
        least[p] = smoothl1_get(s->least + p * SMOOTHL1_ITEMS);
        greatest[p] = smoothl1_get(s->greatest + p * SMOOTHL1_ITEMS);
    }
    for (ptrdiff_t i = 0; i < n; i += SMOOTHL1_ROWS_SIFTED) {
        uint32_t below_bits = 0, above_bits = 0, linear_bits = 0;
        for (int p = 0; p < PARTS; p++) {
            smoothl1_v terms[2];
            for (int row = 0; row < 2; row++) {
                const int at = row * SMOOTHL1_LANES + p * SMOOTHL1_ITEMS;
                const smoothl1_v v = smoothl1_get(y + i + at);
                smoothl1_v first = v, last = v;
                if (sloped) {
                    first = v - b;
                    last = v + b;
                }
                const smoothl1_which is_below = SMOOTHL1_AT_MOST(last, left);
                const smoothl1_which is_above = SMOOTHL1_AT_LEAST(first, right);
                below_bits |= (uint32_t)smoothl1_lanes_of(is_below) << at;
                above_bits |= (uint32_t)smoothl1_lanes_of(is_above) << at;
                if (sloped) {
                    const smoothl1_which is_linear = smoothl1_both(
                        point ? SMOOTHL1_LESS_THAN(first, left) : SMOOTHL1_AT_MOST(first, left),
                        point ? SMOOTHL1_LESS_THAN(right, last) : SMOOTHL1_AT_LEAST(last, right)
                    );
                    linear_bits |= (uint32_t)smoothl1_lanes_of(is_linear) << at;
                    terms[row] = SMOOTHL1_ONLY(is_linear, v);
                }
                if (extremes) {
                    least[row] = SMOOTHL1_V(min_pd)(v, least[row]);
                    greatest[row] = SMOOTHL1_V(max_pd)(v, greatest[row]);
                }
            }
            if (sloped) {
                const smoothl1_v term = terms[0] + terms[1], total = sum[p] + term;
                const smoothl1_v v = total - sum[p];
                rest[p] += (sum[p] - (total - v)) + (term - v);
                sum[p] = total;
            }
        }
        const uint32_t stays = ~(below_bits | above_bits | linear_bits);
        below += __builtin_popcount(below_bits);
        linear += __builtin_popcount(linear_bits);
        if (point) { above += __builtin_popcount(above_bits); }
        for (int part = 0; part < 2 * PARTS && !point; part++) {
            const unsigned chosen = stays >> part * SMOOTHL1_ITEMS & ((1u << SMOOTHL1_ITEMS) - 1);
            smoothl1_store_chosen(kept + k, smoothl1_get(y + i + part * SMOOTHL1_ITEMS), chosen);
            k += SMOOTHL1_ITEMS > 2 ? __builtin_popcount(chosen) : (int)(chosen - chosen / 2);
        }
    }
    for (int p = 0; p < PARTS; p++) {
        SMOOTHL1_V(storeu_pd)(s->hi + p * SMOOTHL1_ITEMS, sum[p]);
        SMOOTHL1_V(storeu_pd)(s->lo + p * SMOOTHL1_ITEMS, rest[p]);
    }
    for (int p = 0; p < 2; p++) {
        SMOOTHL1_V(storeu_pd)(s->least + p * SMOOTHL1_ITEMS, least[p]);
        SMOOTHL1_V(storeu_pd)(s->greatest + p * SMOOTHL1_ITEMS, greatest[p]);
    }
    s->below += below;
    s->above += above;
    s->linear += linear;
    s->kept = k;
}
#else
SMOOTHL1_INLINE void smoothl1_sift_pairs(
    const double *y, ptrdiff_t n, double lo, double hi, double beta, double *kept,
    smoothl1_sifted *s, int sloped, int extremes, int point
) {
    (void)sloped, (void)extremes, (void)point;
    for (ptrdiff_t i = 0; i < n; i += SMOOTHL1_ROWS_SIFTED) {
        smoothl1_sift_rows(y + i, SMOOTHL1_ROWS_SIFTED, lo, hi, beta, kept, s);
    }
}
#endif

/* Sift n elements, which all but the last time are whole pairs of rows. ``kept`` may be y, else it
   has room for n elements and a vector more; it is NULL at one point. ``extremes``: note the least and
   the greatest, too. */
static void smoothl1_sift(
    const double *y, ptrdiff_t n, double lo, double hi, double beta, double *kept,
    smoothl1_sifted *s, int extremes
) {
    const ptrdiff_t whole = n - n % SMOOTHL1_ROWS_SIFTED;
#define SMOOTHL1_SIFT(extremes, point)                                                        \
    beta > 0 ? smoothl1_sift_pairs(y, whole, lo, hi, beta, kept, s, 1, extremes, point)       \
             : smoothl1_sift_pairs(y, whole, lo, hi, beta, kept, s, 0, extremes, point)
    if (kept == NULL) {
        SMOOTHL1_SIFT(0, 1);
    } else if (extremes) {
        SMOOTHL1_SIFT(1, 0);
    } else {
        SMOOTHL1_SIFT(0, 0);
    }
    if (whole < n) { smoothl1_sift_rows(y + whole, (int)(n - whole), lo, hi, beta, kept, s); }
}

/* The least and the greatest of n elements; returns whether all are finite, else they are not set. */
static int smoothl1_extent(const double *a, ptrdiff_t n, double *smallest, double *largest) {
    double least[SMOOTHL1_ROWS_SIFTED], greatest[SMOOTHL1_ROWS_SIFTED];
    double nothing[SMOOTHL1_ROWS_SIFTED], all = 0;
    ptrdiff_t i = 0;
    for (int l = 0; l < SMOOTHL1_ROWS_SIFTED; l++) {
        least[l] = HUGE_VAL;
        greatest[l] = -HUGE_VAL;
        nothing[l] = 0;
    }
    for (; i <= n - SMOOTHL1_ROWS_SIFTED; i += SMOOTHL1_ROWS_SIFTED) {
        for (int l = 0; l < SMOOTHL1_ROWS_SIFTED; l++) {
            const double v = a[i + l];
            least[l] = v < least[l] ? v : least[l];
            greatest[l] = v > greatest[l] ? v : greatest[l];
            nothing[l] += v - v;
        }
    }
    for (; i < n; i++) {
        least[0] = a[i] < least[0] ? a[i] : least[0];
        greatest[0] = a[i] > greatest[0] ? a[i] : greatest[0];
        nothing[0] += a[i] - a[i];
    }
    for (int l = 0; l < SMOOTHL1_ROWS_SIFTED; l++) {
        least[0] = least[l] < least[0] ? least[l] : least[0];
        greatest[0] = greatest[l] > greatest[0] ? greatest[l] : greatest[0];
        all += nothing[l];
    }
    *smallest = least[0];
    *largest = greatest[0];
    return all == 0;
}

/* The terms of ``smoothl1_pull`` to its lanes. */
#ifdef SMOOTHL1_SIFTS_BY_VECTORS
SMOOTHL1_INLINE void smoothl1_pull_lanes(
    const double *y, const double *w, int n, double m, double scale, double limit, double *g,
    double *q, int sloped
) {
    enum { PARTS = SMOOTHL1_LANES / SMOOTHL1_ITEMS };
    const smoothl1_v at = smoothl1_all(m), by = smoothl1_all(scale);
    const smoothl1_v most = smoothl1_all(limit), least = smoothl1_all(-limit);
    smoothl1_v sum[PARTS], squares[PARTS];
    for (int p = 0; p < PARTS; p++) { sum[p] = squares[p] = smoothl1_all(0); }
    for (int i = 0; i < n; i += SMOOTHL1_LANES) {
        for (int p = 0; p < PARTS; p++) {
            const smoothl1_v v = smoothl1_get(y + i + p * SMOOTHL1_ITEMS);
            const smoothl1_v weight = smoothl1_get(w + i + p * SMOOTHL1_ITEMS);
            smoothl1_v d;
            if (sloped) {
                d = SMOOTHL1_V(min_pd)(most, (at - v) * by);
                d = SMOOTHL1_V(max_pd)(least, d) * weight;
            } else {
                d = SMOOTHL1_ONLY(SMOOTHL1_LESS_THAN(v, at), weight)
                    - SMOOTHL1_ONLY(SMOOTHL1_LESS_THAN(at, v), weight);
            }
            sum[p] += d;
            squares[p] += d * d;
        }
    }
    for (int p = 0; p < PARTS; p++) {
        SMOOTHL1_V(storeu_pd)(g + p * SMOOTHL1_ITEMS, sum[p]);
        SMOOTHL1_V(storeu_pd)(q + p * SMOOTHL1_ITEMS, squares[p]);
    }
}
#else
SMOOTHL1_INLINE void smoothl1_pull_lanes(
    const double *y, const double *w, int n, double m, double scale, double limit, double *g,
    double *q, int sloped
) {
    for (int l = 0; l < SMOOTHL1_LANES; l++) { g[l] = q[l] = 0; }
    for (int i = 0; i < n; i += SMOOTHL1_LANES) {
        for (int l = 0; l < SMOOTHL1_LANES; l++) {
            const double v = y[i + l];
            double d = (m - v) * scale;
            d = d > limit ? limit : d;
            d = d < -limit ? -limit : d;
            d = (sloped ? d : (v < m) - (m < v)) * w[i + l];
            g[l] += d;
            q[l] += d * d;
        }
    }
}
#endif

/* The sum of w clip((m - y) scale, ±limit) over a sample, and that of its squares; of the signs for a
   limit of 0. n is a multiple of LANES. In the same order everywhere, so that the points that follow
   from it are the same. */
static void smoothl1_pull(
    const double *y, const double *w, int n, double m, double scale, double limit, double *sum,
    double *squares
) {
    double g[SMOOTHL1_LANES], q[SMOOTHL1_LANES];
    if (limit > 0) {
        smoothl1_pull_lanes(y, w, n, m, scale, limit, g, q, 1);
    } else {
        smoothl1_pull_lanes(y, w, n, m, scale, limit, g, q, 0);
    }
    for (int half = SMOOTHL1_LANES / 2; half > 0; half /= 2) {
        for (int l = 0; l < half; l++) {
            g[l] += g[l + half];
            q[l] += q[l + half];
        }
    }
    *sum = g[0];
    *squares = q[0];
}

#endif
