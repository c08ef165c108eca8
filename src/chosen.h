/* The loops over whole groups of which weights or a selection say what takes part: beside those of
   ``groups.h``, of the same elements in the same order.

   ``weighted`` and ``selects`` are constants where an inline function is called. */
#ifndef SMOOTHL1_CHOSEN_H
#define SMOOTHL1_CHOSEN_H

#include <string.h>
#include "groups.h"
#include "steps.h"
#if defined(__AVX512F__) && defined(__AVX512VL__) && defined(__AVX512BW__) && defined(__AVX512DQ__)
  #include <immintrin.h>
  #define SMOOTHL1_WIDENS
#endif

typedef struct {
    double hi[SMOOTHL1_LANES], lo[SMOOTHL1_LANES];
} smoothl1_lanes;

/* All bits of what is selected of a group, as wide as its elements: GCC 12 takes bytes to lanes in
   three steps or one by one. */
SMOOTHL1_INLINE void smoothl1_spreadf(const uint8_t *mask, int32_t *takes) {
#ifdef SMOOTHL1_WIDENS
    for (int j = 0; j < SMOOTHL1_LANES * SMOOTHL1_ROWSf; j += 16) {
        const __m128i bytes = _mm_loadu_si128((const __m128i *)(mask + j));
        const __m512i wide = _mm512_movm_epi32(_mm_test_epi8_mask(bytes, bytes));
        _mm512_storeu_si512(takes + j, wide);
    }
#else
    for (int j = 0; j < SMOOTHL1_LANES * SMOOTHL1_ROWSf; j++) { takes[j] = -(mask[j] != 0); }
#endif
}
SMOOTHL1_INLINE void smoothl1_spread(const uint8_t *mask, int64_t *takes) {
#ifdef SMOOTHL1_WIDENS
    for (int j = 0; j < SMOOTHL1_LANES * SMOOTHL1_ROWS; j += 8) {
        const __m128i bytes = _mm_loadl_epi64((const __m128i *)(mask + j));
        const __m512i wide = _mm512_movm_epi64((__mmask8)_mm_test_epi8_mask(bytes, bytes));
        _mm512_storeu_si512(takes + j, wide);
    }
#else
    for (int j = 0; j < SMOOTHL1_LANES * SMOOTHL1_ROWS; j++) { takes[j] = -(mask[j] != 0); }
#endif
}

/* What is not selected is an element whose operands are equal, of weight 0, whatever they are. By
   its bits: of a conditional expression GCC makes a branch where there are no masks. */
#define SMOOTHL1_DEFINE_CHOSEN_ELEMENT(T, SUFFIX, COUNTER)                                    \
    SMOOTHL1_INLINE T smoothl1_keep##SUFFIX(T a, COUNTER takes) {                             \
        COUNTER bits;                                                                         \
        memcpy(&bits, &a, sizeof(a));                                                         \
        bits &= takes;                                                                        \
        memcpy(&a, &bits, sizeof(a));                                                         \
        return a;                                                                             \
    }                                                                                         \
    SMOOTHL1_INLINE T smoothl1_chosen_element##SUFFIX(                                        \
        T x, T y, T w, COUNTER takes, T beta, T s, T c, T factor, T edge, int shape,          \
        int slopes, int weighted, T *out, T *linear, COUNTER *below                           \
    ) {                                                                                       \
        const T d = smoothl1_keep##SUFFIX(x - y, takes);                                      \
        const T weight = smoothl1_keep##SUFFIX(w, takes);                                     \
        COUNTER is_below = 0;                                                                 \
        T slope = 0;                                                                          \
        const T term = smoothl1_element##SUFFIX(                                              \
            d, 0, beta, s, c, factor, edge, shape, slopes, &slope, weighted ? &is_below : below\
        );                                                                                    \
        if (slopes) { *out = weighted ? slope * weight : slope; }                             \
        if (!weighted) { return term; }                                                       \
        *linear = is_below ? 0 : weight;                                                      \
        return term * weight;                                                                 \
    }
SMOOTHL1_DEFINE_CHOSEN_ELEMENT(float, f, int32_t)
SMOOTHL1_DEFINE_CHOSEN_ELEMENT(double, , int64_t)

#define SMOOTHL1_CHOSEN(SUFFIX, j)                                                            \
    smoothl1_chosen_element##SUFFIX(                                                          \
        x[i + l + (j) * SMOOTHL1_LANES], y[i + l + (j) * SMOOTHL1_LANES],                     \
        weighted ? w[i + l + (j) * SMOOTHL1_LANES] : 1,                                       \
        selects ? takes[l + (j) * SMOOTHL1_LANES] : -1, beta, s, c, factor, edge, shape, slopes,\
        weighted, out + i + l + (j) * SMOOTHL1_LANES, linear + (j), &count                    \
    )
#define SMOOTHL1_FOUR_CHOSEN(SUFFIX, j)                                                       \
    ((SMOOTHL1_CHOSEN(SUFFIX, j) + SMOOTHL1_CHOSEN(SUFFIX, j + 1))                            \
     + (SMOOTHL1_CHOSEN(SUFFIX, j + 2) + SMOOTHL1_CHOSEN(SUFFIX, j + 3)))
#define SMOOTHL1_FOUR_LINEAR(j) ((linear[j] + linear[j + 1]) + (linear[j + 2] + linear[j + 3]))
#define SMOOTHL1_CHOSEN_TERMf (SMOOTHL1_FOUR_CHOSEN(f, 0) + SMOOTHL1_FOUR_CHOSEN(f, 4))
#define SMOOTHL1_CHOSEN_TERM SMOOTHL1_FOUR_CHOSEN(, 0)
#define SMOOTHL1_LINEARf (SMOOTHL1_FOUR_LINEAR(0) + SMOOTHL1_FOUR_LINEAR(4))
#define SMOOTHL1_LINEAR SMOOTHL1_FOUR_LINEAR(0)

#if defined(SMOOTHL1_ABREAST_H) && !defined(__AVX512F__)
/* A group of which a selection says what takes part, as in abreast.h. With AVX-512 GCC's loops over
   lanes are quicker from memory, and without a selection as quick. */
#define SMOOTHL1_KEEP(which, v) _mm256_and_pd(which, v)
#define SMOOTHL1_KEEPf(which, v) _mm256_and_ps(which, v)
#define SMOOTHL1_DROP(which, v) _mm256_andnot_pd(which, v)
#define SMOOTHL1_DROPf(which, v) _mm256_andnot_ps(which, v)
#define SMOOTHL1_DEFINE_SELECTED(T, SUFFIX, COUNTER)                                          \
    SMOOTHL1_INLINE void smoothl1_four_selected##SUFFIX(                                      \
        const T *x, const T *y, const T *w, const uint8_t *mask,                              \
        const smoothl1_numbers##SUFFIX *numbers, int shape, int weighted,                     \
        smoothl1_amount##SUFFIX *below, smoothl1_v##SUFFIX *terms, smoothl1_v##SUFFIX *linear \
    ) {                                                                                       \
        enum { ITEMS = SMOOTHL1_ITEMS##SUFFIX };                                              \
        const smoothl1_v##SUFFIX beta = smoothl1_all##SUFFIX(numbers->beta);                  \
        smoothl1_v##SUFFIX z[4], weights[4];                                                  \
        smoothl1_which##SUFFIX takes[4], is_below[4];                                         \
        SMOOTHL1_OF_FOUR {                                                                    \
            z[k] = smoothl1_get##SUFFIX(x + k * ITEMS) - smoothl1_get##SUFFIX(y + k * ITEMS); \
            takes[k] = smoothl1_taken##SUFFIX(mask + k * ITEMS);                              \
            z[k] = SMOOTHL1_KEEP##SUFFIX(takes[k], smoothl1_size##SUFFIX(z[k]));              \
        }                                                                                     \
        SMOOTHL1_HERE(z, 4)                                                                   \
        if (weighted) {                                                                       \
            SMOOTHL1_OF_FOUR {                                                                \
                weights[k] = smoothl1_get##SUFFIX(w + k * ITEMS);                             \
                weights[k] = SMOOTHL1_KEEP##SUFFIX(takes[k], weights[k]);                     \
            }                                                                                 \
        }                                                                                     \
        if (shape == SMOOTHL1_PAIRS) {                                                        \
            SMOOTHL1_OF_FOUR { is_below[k] = smoothl1_below##SUFFIX(z[k], beta); }            \
            SMOOTHL1_HERE_WHICH(is_below)                                                     \
            SMOOTHL1_OF_FOUR {                                                                \
                if (weighted) {                                                               \
                    linear[k] = SMOOTHL1_DROP##SUFFIX(is_below[k], weights[k]);               \
                } else {                                                                      \
                    *below = smoothl1_more##SUFFIX(*below, is_below[k]);                      \
                }                                                                             \
            }                                                                                 \
            SMOOTHL1_HERE_WHICH(is_below)                                                     \
        }                                                                                     \
        smoothl1_terms_of##SUFFIX(z, is_below, numbers, shape, terms);                        \
        if (weighted) {                                                                       \
            SMOOTHL1_OF_FOUR { terms[k] = terms[k] * weights[k]; }                            \
            SMOOTHL1_HERE(terms, 4)                                                           \
        }                                                                                     \
    }                                                                                         \
    SMOOTHL1_INLINE void smoothl1_add_selected##SUFFIX(                                       \
        const T *x, const T *y, const T *w, const uint8_t *mask,                              \
        const smoothl1_numbers##SUFFIX *numbers, int shape, int weighted, COUNTER *below,     \
        double *hi, double *lo, double *linear_hi, double *linear_lo                          \
    ) {                                                                                       \
        enum {                                                                                \
            ITEMS = SMOOTHL1_ITEMS##SUFFIX,                                                   \
            VECTORS = SMOOTHL1_LANES / ITEMS,                                                 \
            HALF = SMOOTHL1_LANES * SMOOTHL1_ROWS##SUFFIX / 2,                                \
        };                                                                                    \
        const int sums_linear = shape == SMOOTHL1_PAIRS && weighted;                          \
        smoothl1_v##SUFFIX terms[4], linear[4], sums[2][VECTORS], linear_sums[2][VECTORS];    \
        smoothl1_amount##SUFFIX amount;                                                       \
        memcpy(&amount, below, sizeof(amount));                                               \
        for (int i = 0; i < 2 * HALF; i += 4 * ITEMS) {                                       \
            smoothl1_four_selected##SUFFIX(                                                   \
                x + i, y + i, weighted ? w + i : w, mask + i, numbers, shape, weighted,       \
                &amount, terms, linear                                                        \
            );                                                                                \
            smoothl1_sum_rows##SUFFIX(terms, i % HALF == 0, sums[i / HALF]);                  \
            if (sums_linear) {                                                                \
                smoothl1_sum_rows##SUFFIX(linear, i % HALF == 0, linear_sums[i / HALF]);      \
            }                                                                                 \
        }                                                                                     \
        for (int k = 0; k < VECTORS; k++) {                                                   \
            const int l = k * ITEMS;                                                          \
            smoothl1_join_lanes##SUFFIX(hi + l, lo + l, sums[0][k] + sums[1][k]);             \
            if (sums_linear) {                                                                \
                smoothl1_join_lanes##SUFFIX(                                                  \
                    linear_hi + l, linear_lo + l, linear_sums[0][k] + linear_sums[1][k]       \
                );                                                                            \
            }                                                                                 \
        }                                                                                     \
        memcpy(below, &amount, sizeof(amount));                                               \
    }
SMOOTHL1_DEFINE_SELECTED(float, f, int32_t)
SMOOTHL1_DEFINE_SELECTED(double, , int64_t)
#define SMOOTHL1_SELECTED_GROUP(SUFFIX)                                                       \
    if (selects && !slopes) {                                                                 \
        smoothl1_add_selected##SUFFIX(                                                        \
            x + i, y + i, weighted ? w + i : w, mask + i, numbers, shape, weighted, below, hi,\
            lo, linear_hi, linear_lo                                                          \
        );                                                                                    \
        continue;                                                                             \
    }
#else
#define SMOOTHL1_SELECTED_GROUP(SUFFIX)
#endif

#define SMOOTHL1_CALL_CHOSEN(SUFFIX, shape, slopes, weighted, selects)                        \
    smoothl1_groups_of##SUFFIX(                                                               \
        x, y, w, mask, out, n, ahead, p, shape, slopes, weighted, selects, folds, loss, linear\
    )
#define SMOOTHL1_WITH_SLOPES(SUFFIX, shape, weighted, selects)                                \
    (out == NULL ? SMOOTHL1_CALL_CHOSEN(SUFFIX, shape, 0, weighted, selects)                  \
                 : SMOOTHL1_CALL_CHOSEN(SUFFIX, shape, 1, weighted, selects))
#define SMOOTHL1_SHAPED_CHOSEN(SUFFIX, shape)                                                 \
    (mask == NULL ? SMOOTHL1_WITH_SLOPES(SUFFIX, shape, 1, 0)                                 \
     : w == NULL  ? SMOOTHL1_WITH_SLOPES(SUFFIX, shape, 0, 1)                                 \
                  : SMOOTHL1_WITH_SLOPES(SUFFIX, shape, 1, 1))

/* Add n elements, whole groups, to the lanes of ``loss``, and for PAIRS with weights what they
   weigh in the linear piece to ``linears``. ``slopes``, ``ahead`` and ``folds`` as in groups.h.
   Returns how many were below beta, or not selected, for PAIRS without weights. */
#define SMOOTHL1_DEFINE_CHOSEN(T, SUFFIX, COUNTER)                                            \
    SMOOTHL1_INLINE int64_t smoothl1_groups_of##SUFFIX(                                       \
        const T *SMOOTHL1_RESTRICT x, const T *SMOOTHL1_RESTRICT y,                           \
        const T *SMOOTHL1_RESTRICT w, const uint8_t *SMOOTHL1_RESTRICT mask,                  \
        T *SMOOTHL1_RESTRICT out, ptrdiff_t n, ptrdiff_t ahead,                               \
        const smoothl1_numbers##SUFFIX *numbers, int shape, int slopes, int weighted, int selects,\
        int folds, smoothl1_lanes *SMOOTHL1_RESTRICT loss,                                    \
        smoothl1_lanes *SMOOTHL1_RESTRICT linears                                             \
    ) {                                                                                       \
        const ptrdiff_t group = SMOOTHL1_LANES * SMOOTHL1_ROWS##SUFFIX;                       \
        const T beta = numbers->beta, s = numbers->s, c = numbers->c;                         \
        const T factor = numbers->factor, edge = numbers->edge;                               \
        const int sums_linear = shape == SMOOTHL1_PAIRS && weighted;                          \
        double hi[SMOOTHL1_LANES], lo[SMOOTHL1_LANES];                                        \
        double linear_hi[SMOOTHL1_LANES], linear_lo[SMOOTHL1_LANES];                          \
        COUNTER below[SMOOTHL1_LANES], takes[SMOOTHL1_LANES * SMOOTHL1_ROWS##SUFFIX];         \
        int64_t total = 0;                                                                    \
        /* "+ 0.0": as in groups.h. */                                                        \
        for (int l = 0; l < SMOOTHL1_LANES; l++) {                                            \
            hi[l] = loss->hi[l] + 0.0;                                                        \
            lo[l] = loss->lo[l] + 0.0;                                                        \
            linear_hi[l] = sums_linear ? linears->hi[l] + 0.0 : 0.0;                          \
            linear_lo[l] = sums_linear ? linears->lo[l] + 0.0 : 0.0;                          \
            below[l] = 0;                                                                     \
        }                                                                                     \
        for (ptrdiff_t i = 0; i < n; i += group) {                                            \
            SMOOTHL1_ASK(T, i, group)                                                         \
            SMOOTHL1_SELECTED_GROUP(SUFFIX)                                                   \
            if (selects) { smoothl1_spread##SUFFIX(mask + i, takes); }                        \
            for (int l = 0; l < SMOOTHL1_LANES; l++) {                                        \
                COUNTER count = below[l];                                                     \
                T linear[SMOOTHL1_ROWS##SUFFIX];                                              \
                smoothl1_lane_add##SUFFIX(hi + l, lo + l, SMOOTHL1_CHOSEN_TERM##SUFFIX);      \
                below[l] = count;                                                             \
                if (sums_linear) {                                                            \
                    smoothl1_lane_add##SUFFIX(                                                \
                        linear_hi + l, linear_lo + l, SMOOTHL1_LINEAR##SUFFIX                 \
                    );                                                                        \
                }                                                                             \
            }                                                                                 \
        }                                                                                     \
        for (int l = 0; l < SMOOTHL1_LANES; l++) { total += below[l]; }                       \
        if (folds) {                                                                          \
            for (int half = SMOOTHL1_LANES / 2; half > 0; half /= 2) {                        \
                smoothl1_fold_lanes##SUFFIX(hi, lo, half);                                    \
                if (sums_linear) { smoothl1_fold_lanes##SUFFIX(linear_hi, linear_lo, half); } \
            }                                                                                 \
            loss->hi[0] = hi[0];                                                              \
            loss->lo[0] = lo[0];                                                              \
            linears->hi[0] = linear_hi[0];                                                    \
            linears->lo[0] = linear_lo[0];                                                    \
            return total;                                                                     \
        }                                                                                     \
        for (int l = 0; l < SMOOTHL1_LANES; l++) {                                            \
            loss->hi[l] = hi[l] + 0.0;                                                        \
            loss->lo[l] = lo[l] + 0.0;                                                        \
            if (sums_linear) {                                                                \
                linears->hi[l] = linear_hi[l] + 0.0;                                          \
                linears->lo[l] = linear_lo[l] + 0.0;                                          \
            }                                                                                 \
        }                                                                                     \
        return total;                                                                         \
    }                                                                                         \
    /* A function for each shape and each choice. */                                          \
    static int64_t smoothl1_chosen_groups##SUFFIX(                                            \
        const T *x, const T *y, const T *w, const uint8_t *mask, T *out, ptrdiff_t n,         \
        ptrdiff_t ahead, int product, int folds, const smoothl1_numbers##SUFFIX *p,           \
        smoothl1_lanes *loss, smoothl1_lanes *linear                                          \
    ) {                                                                                       \
        if (!product) {                                                                       \
            return SMOOTHL1_SHAPED_CHOSEN(SUFFIX, SMOOTHL1_PAIRS);                            \
        } else if (p->s != 1) {                                                               \
            return SMOOTHL1_SHAPED_CHOSEN(SUFFIX, SMOOTHL1_PRODUCT);                          \
        }                                                                                     \
        return SMOOTHL1_SHAPED_CHOSEN(SUFFIX, SMOOTHL1_UNIT);                                 \
    }
SMOOTHL1_DEFINE_CHOSEN(float, f, int32_t)
SMOOTHL1_DEFINE_CHOSEN(double, , int64_t)

#endif
