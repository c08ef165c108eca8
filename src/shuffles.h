/* What brings the elements of an output of a few together in vectors, and their results back to the
   order of memory, for ``fours.h``.

   ``gather`` makes of n vectors [output][term] one for each term, in an order of outputs that is
   cheap; ``put`` and ``narrow`` bring back that of memory. Counts are in that order, too: they have
   a byte for each vector until ``tally`` adds those of an output.

   Of float32 two terms stay beside each other, as one item of 64 bits, so that they need not cross
   lanes: ``pair_up`` makes two vectors of those of n, four where an output has two such items. What
   is at the lower place of each is ``lower``, the other ``upper``: as float64 SMOOTHL1_TINY times
   as large, the same bits further left. That is exact, of subnormal numbers, too, but for a sign,
   infinity and NaN, which become at least 2**128 SMOOTHL1_TINY; ``lower_of_any`` and
   ``upper_of_any`` are right for those as well, and not scaled. */
#ifndef SMOOTHL1_SHUFFLES_H
#define SMOOTHL1_SHUFFLES_H

#include <stdint.h>
#include <string.h>
#include "inline.h"
#include "vectors.h"

#define SMOOTHL1_TINY 0x1p-896
#if defined(__AVX512F__) && defined(__AVX512DQ__)
SMOOTHL1_INLINE void smoothl1_gather(const smoothl1_v *a, int n, smoothl1_v *t) {
    const smoothl1_v p = _mm512_unpacklo_pd(a[0], a[1]), q = _mm512_unpackhi_pd(a[0], a[1]);
    if (n > 2) {
        const smoothl1_v r = _mm512_unpacklo_pd(a[2], a[3]), s = _mm512_unpackhi_pd(a[2], a[3]);
        t[0] = _mm512_shuffle_f64x2(p, r, 0x88);
        t[1] = _mm512_shuffle_f64x2(q, s, 0x88);
        t[2] = _mm512_shuffle_f64x2(p, r, 0xdd);
        t[3] = _mm512_shuffle_f64x2(q, s, 0xdd);
    } else {
        t[0] = p;
        t[1] = q;
    }
}
SMOOTHL1_INLINE void smoothl1_put(double *a, smoothl1_v v, int n) {
    const __m512i twos = _mm512_setr_epi64(0, 2, 4, 6, 1, 3, 5, 7);
    if (n > 2) { v = _mm512_permutex_pd(v, 0xd8); }
    if (n == 2) { v = _mm512_permutexvar_pd(twos, v); }
    _mm512_storeu_pd(a, v);
}
SMOOTHL1_INLINE smoothl1_v smoothl1_lower(smoothl1_v a) {
    const __m512i shift = _mm512_set1_epi64(1 << 29); /* a product takes the lower halves alone */
    return _mm512_castsi512_pd(_mm512_mul_epu32(_mm512_castpd_si512(a), shift));
}
SMOOTHL1_INLINE smoothl1_v smoothl1_upper(smoothl1_v a) {
    const __m512i mask = _mm512_set1_epi64((int64_t)0xffffffff << 29);
    const __m512i v = _mm512_srli_epi64(_mm512_castpd_si512(a), 3);
    return _mm512_castsi512_pd(_mm512_and_si512(v, mask));
}
SMOOTHL1_INLINE smoothl1_v smoothl1_lower_of_any(smoothl1_v a) {
    const __m256i v = _mm512_cvtepi64_epi32(_mm512_castpd_si512(a));
    return _mm512_cvtps_pd(_mm256_castsi256_ps(v));
}
SMOOTHL1_INLINE smoothl1_v smoothl1_upper_of_any(smoothl1_v a) {
    const __m256i v = _mm512_cvtepi64_epi32(_mm512_srli_epi64(_mm512_castpd_si512(a), 32));
    return _mm512_cvtps_pd(_mm256_castsi256_ps(v));
}
SMOOTHL1_INLINE void smoothl1_tally(smoothl1_counts v, int n, smoothl1_v *counts) {
    const __m512i fours = _mm512_setr_epi64(0, 0, 4, 4, 0, 0, 4, 4);
    const __m512i four = _mm512_setr_epi64(0, 8, 0, 8, 16, 24, 16, 24);
    const __m512i two = _mm512_setr_epi64(0, 8, 0, 8, 0, 8, 0, 8);
    if (n > 1) { v = _mm512_add_epi64(v, _mm512_permutex_epi64(v, 0xb1)); }
    if (n > 2) {
        v = _mm512_add_epi64(v, _mm512_permutex_epi64(v, 0x4e));
        v = _mm512_permutexvar_epi64(fours, v);
    }
    if (n > 1) { v = _mm512_srlv_epi64(v, n > 2 ? four : two); }
    v = _mm512_and_si512(v, _mm512_set1_epi64(255));
    counts[0] = _mm512_cvtepi64_pd(v);
    counts[1] = smoothl1_all(0);
}
/* Those of outputs in the order of sums, in the lowest byte of each item of 64 bits. */
SMOOTHL1_INLINE __m512i smoothl1_tally_half(__m512i v, int n, int i) {
    const __m512i four = _mm512_set4_epi64(16 * i + 8, 16 * i, 16 * i + 8, 16 * i);
    if (n == 1) {
        return _mm512_cvtepu32_epi64(
            i == 0 ? _mm512_castsi512_si256(v) : _mm512_extracti64x4_epi64(v, 1)
        );
    }
    v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, (_MM_PERM_ENUM)0xb1));
    if (n > 2) { v = _mm512_add_epi32(v, _mm512_shuffle_epi32(v, (_MM_PERM_ENUM)0x4e)); }
    return _mm512_srlv_epi64(v, n > 2 ? four : _mm512_set1_epi64(8 * i));
}
SMOOTHL1_INLINE void smoothl1_tallyf(smoothl1_countsf v, int n, smoothl1_v *counts) {
    const __m512i byte = _mm512_set1_epi64(255);
    for (int i = 0; i < 2; i++) {
        counts[i] = _mm512_cvtepi64_pd(_mm512_and_si512(smoothl1_tally_half(v, n, i), byte));
    }
}
/* Of a table of eight, the items that counts are the numbers of. */
SMOOTHL1_INLINE void smoothl1_look_upf(
    smoothl1_countsf v, int n, const double *table, smoothl1_v *found
) {
    const smoothl1_v all = _mm512_loadu_pd(table);
    for (int i = 0; i < 2; i++) {
        found[i] = _mm512_permutexvar_pd(smoothl1_tally_half(v, n, i), all);
    }
}

/* Results to float32, in the order of outputs. */
SMOOTHL1_INLINE void smoothl1_narrow(float *a, smoothl1_v low, smoothl1_v high, int n) {
    const __m512i four = _mm512_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7, 8, 10, 12, 14, 9, 11, 13, 15);
    const __m512 v = _mm512_insertf32x8(
        _mm512_castps256_ps512(_mm512_cvtpd_ps(low)), _mm512_cvtpd_ps(high), 1
    );
    _mm512_storeu_ps(a, n > 2 ? _mm512_permutexvar_ps(four, v) : v);
}
/* Numbers of outputs in the order of sums, as float64. */
SMOOTHL1_INLINE void smoothl1_get_outputsf(const float *a, int n, smoothl1_v *found) {
    const __m512i four = _mm512_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7, 8, 12, 9, 13, 10, 14, 11, 15);
    const __m512 v = _mm512_loadu_ps(a);
    smoothl1_widen_halves(n > 2 ? _mm512_permutexvar_ps(four, v) : v, found, found + 1);
}
/* Items from which vector k of outputs of n is made, of float32 three as four of which the last is
   0; what is selected of them; and items that are there once for each output. */
SMOOTHL1_INLINE smoothl1_vf smoothl1_get_partf(const float *a, int n, int k) {
    const __m512i three = _mm512_setr_epi32(0, 1, 2, 0, 3, 4, 5, 0, 6, 7, 8, 0, 9, 10, 11, 0);
    if (n != 3) { return smoothl1_getf(a + 16 * k); }
    return _mm512_maskz_permutexvar_ps(0x7777, three, _mm512_maskz_loadu_ps(0xfff, a + 12 * k));
}
SMOOTHL1_INLINE smoothl1_whichf smoothl1_taken_partf(const uint8_t *mask, int n, int k) {
    const __m128i three = _mm_setr_epi8(0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11, -1);
    __m512i v;
    if (n != 3) { return smoothl1_takenf(mask + 16 * k); }
    v = _mm512_cvtepu8_epi32(
        _mm_shuffle_epi8(_mm_maskz_loadu_epi8(0xfff, mask + 12 * k), three)
    );
    return _mm512_test_epi32_mask(v, v);
}
SMOOTHL1_INLINE smoothl1_v smoothl1_repeat(const double *a, int n, int k) {
    const __m512i fours = _mm512_setr_epi64(0, 0, 0, 0, 1, 1, 1, 1);
    const __m512i twos = _mm512_setr_epi64(0, 0, 1, 1, 2, 2, 3, 3);
    const __m512i from = _mm512_add_epi64(
        n == 2 ? twos : fours, _mm512_set1_epi64(n == 2 ? 4 * k : 2 * k)
    );
    return _mm512_permutexvar_pd(from, _mm512_loadu_pd(a));
}
SMOOTHL1_INLINE smoothl1_vf smoothl1_repeatf(const float *a, int n, int k) {
    const __m512i fours = _mm512_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3);
    const __m512i twos = _mm512_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7);
    const __m512i from = _mm512_add_epi32(
        n == 2 ? twos : fours, _mm512_set1_epi32(n == 2 ? 8 * k : 4 * k)
    );
    return _mm512_permutexvar_ps(from, _mm512_loadu_ps(a));
}
#else
SMOOTHL1_INLINE void smoothl1_gather(const smoothl1_v *a, int n, smoothl1_v *t) {
    const smoothl1_v p = _mm256_unpacklo_pd(a[0], a[1]), q = _mm256_unpackhi_pd(a[0], a[1]);
    if (n > 2) {
        const smoothl1_v r = _mm256_unpacklo_pd(a[2], a[3]), s = _mm256_unpackhi_pd(a[2], a[3]);
        t[0] = _mm256_permute2f128_pd(p, r, 0x20);
        t[1] = _mm256_permute2f128_pd(q, s, 0x20);
        t[2] = _mm256_permute2f128_pd(p, r, 0x31);
        t[3] = _mm256_permute2f128_pd(q, s, 0x31);
    } else {
        t[0] = p;
        t[1] = q;
    }
}
SMOOTHL1_INLINE void smoothl1_put(double *a, smoothl1_v v, int n) {
    _mm256_storeu_pd(a, n == 2 ? _mm256_permute4x64_pd(v, 0xd8) : v);
}
SMOOTHL1_INLINE smoothl1_v smoothl1_lower(smoothl1_v a) {
    const __m256i shift = _mm256_set1_epi64x(1 << 29);
    return _mm256_castsi256_pd(_mm256_mul_epu32(_mm256_castpd_si256(a), shift));
}
SMOOTHL1_INLINE smoothl1_v smoothl1_upper(smoothl1_v a) {
    const __m256i mask = _mm256_set1_epi64x((int64_t)0xffffffff << 29);
    const __m256i v = _mm256_srli_epi64(_mm256_castpd_si256(a), 3);
    return _mm256_castsi256_pd(_mm256_and_si256(v, mask));
}
SMOOTHL1_INLINE smoothl1_v smoothl1_lower_of_any(smoothl1_v a) {
    const __m256i lower = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
    const __m256 v = _mm256_permutevar8x32_ps(_mm256_castpd_ps(a), lower);
    return _mm256_cvtps_pd(_mm256_castps256_ps128(v));
}
SMOOTHL1_INLINE smoothl1_v smoothl1_upper_of_any(smoothl1_v a) {
    const __m256i upper = _mm256_setr_epi32(1, 3, 5, 7, 1, 3, 5, 7);
    const __m256 v = _mm256_permutevar8x32_ps(_mm256_castpd_ps(a), upper);
    return _mm256_cvtps_pd(_mm256_castps256_ps128(v));
}
SMOOTHL1_INLINE void smoothl1_tally(smoothl1_counts v, int n, smoothl1_v *counts) {
    const __m256i four = _mm256_setr_epi64x(0, 8, 16, 24), two = _mm256_setr_epi64x(0, 8, 0, 8);
    const __m256i low = _mm256_setr_epi32(0, 2, 4, 6, 0, 2, 4, 6);
    if (n > 1) { v = _mm256_add_epi64(v, _mm256_permute4x64_epi64(v, 0xb1)); }
    if (n > 2) { v = _mm256_add_epi64(v, _mm256_permute4x64_epi64(v, 0x4e)); }
    if (n > 1) { v = _mm256_srlv_epi64(v, n > 2 ? four : two); }
    v = _mm256_and_si256(v, _mm256_set1_epi64x(255));
    v = _mm256_permutevar8x32_epi32(v, low);
    counts[0] = _mm256_cvtepi32_pd(_mm256_castsi256_si128(v));
    counts[1] = smoothl1_all(0);
}
SMOOTHL1_INLINE __m256i smoothl1_tally_half(__m256i v, int n, int i) {
    const __m256i four = _mm256_setr_epi64x(16 * i, 16 * i + 8, 16 * i, 16 * i + 8);
    if (n == 1) {
        return _mm256_cvtepu32_epi64(
            i == 0 ? _mm256_castsi256_si128(v) : _mm256_extracti128_si256(v, 1)
        );
    }
    v = _mm256_add_epi32(v, _mm256_shuffle_epi32(v, 0xb1));
    if (n > 2) { v = _mm256_add_epi32(v, _mm256_shuffle_epi32(v, 0x4e)); }
    v = _mm256_srlv_epi64(v, n > 2 ? four : _mm256_set1_epi64x(8 * i));
    return _mm256_and_si256(v, _mm256_set1_epi64x(255));
}
SMOOTHL1_INLINE void smoothl1_tallyf(smoothl1_countsf v, int n, smoothl1_v *counts) {
    const smoothl1_v large = smoothl1_all(0x1p52); /* beside which a byte is the lowest bits */
    for (int i = 0; i < 2; i++) {
        const smoothl1_v count = _mm256_castsi256_pd(smoothl1_tally_half(v, n, i));
        counts[i] = _mm256_or_pd(count, large) - large;
    }
}
SMOOTHL1_INLINE void smoothl1_look_upf(
    smoothl1_countsf v, int n, const double *table, smoothl1_v *found
) {
    for (int i = 0; i < 2; i++) {
        found[i] = _mm256_i64gather_pd(table, smoothl1_tally_half(v, n, i), 8);
    }
}

SMOOTHL1_INLINE void smoothl1_narrow(float *a, smoothl1_v low, smoothl1_v high, int n) {
    const __m256 v = _mm256_insertf128_ps(
        _mm256_castps128_ps256(_mm256_cvtpd_ps(low)), _mm256_cvtpd_ps(high), 1
    );
    _mm256_storeu_ps(a, n > 2 ? _mm256_permute_ps(v, 0xd8) : v);
}
SMOOTHL1_INLINE void smoothl1_get_outputsf(const float *a, int n, smoothl1_v *found) {
    const __m256 v = _mm256_loadu_ps(a);
    smoothl1_widen_halves(n > 2 ? _mm256_permute_ps(v, 0xd8) : v, found, found + 1);
}
SMOOTHL1_INLINE smoothl1_vf smoothl1_get_partf(const float *a, int n, int k) {
    const __m256i three = _mm256_setr_epi32(0, 1, 2, 0, 1, 2, 3, 0);
    const __m256i first = _mm256_setr_epi32(-1, -1, -1, 0, -1, -1, -1, 0);
    if (n != 3) { return smoothl1_getf(a + 8 * k); }
    const __m256 v = _mm256_loadu2_m128(a + 6 * k + 2, a + 6 * k); /* nothing behind the six */
    return _mm256_and_ps(_mm256_permutevar_ps(v, three), _mm256_castsi256_ps(first));
}
SMOOTHL1_INLINE smoothl1_whichf smoothl1_taken_partf(const uint8_t *mask, int n, int k) {
    uint32_t low, high;
    uint64_t eight;
    if (n != 3) { return smoothl1_takenf(mask + 8 * k); }
    memcpy(&low, mask + 6 * k, sizeof(low));
    memcpy(&high, mask + 6 * k + 2, sizeof(high));
    eight = (low & 0xffffff) | (uint64_t)(high >> 8) << 32;
    return smoothl1_takenf((const uint8_t *)&eight);
}
SMOOTHL1_INLINE smoothl1_v smoothl1_repeat(const double *a, int n, int k) {
    if (n == 4) { return _mm256_broadcast_sd(a + k); }
    return _mm256_setr_pd(a[2 * k], a[2 * k], a[2 * k + 1], a[2 * k + 1]);
}
SMOOTHL1_INLINE smoothl1_vf smoothl1_repeatf(const float *a, int n, int k) {
    const __m256i fours = _mm256_setr_epi32(0, 0, 0, 0, 1, 1, 1, 1);
    const __m256i twos = _mm256_setr_epi32(0, 0, 1, 1, 2, 2, 3, 3);
    const __m256i first = _mm256_set1_epi32(n == 2 ? 4 * k : 2 * k);
    return _mm256_permutevar8x32_ps(
        _mm256_loadu_ps(a), _mm256_add_epi32(n == 2 ? twos : fours, first)
    );
}
#endif
SMOOTHL1_INLINE smoothl1_v smoothl1_get_part(const double *a, int n, int k) {
    (void)n;
    return smoothl1_get(a + k * SMOOTHL1_ITEMS);
}
SMOOTHL1_INLINE smoothl1_which smoothl1_taken_part(const uint8_t *mask, int n, int k) {
    (void)n;
    return smoothl1_taken(mask + k * SMOOTHL1_ITEMS);
}

SMOOTHL1_INLINE void smoothl1_pair_up(const smoothl1_vf *a, int n, smoothl1_v *pairs) {
    for (int i = 0; i < (n > 2 ? 4 : 2); i += 2) {
        memcpy(pairs + i, a + i, 2 * sizeof(*pairs));
        if (n > 2) {
            const smoothl1_v p = pairs[i], q = pairs[i + 1];
            pairs[i] = SMOOTHL1_V(unpacklo_pd)(p, q);
            pairs[i + 1] = SMOOTHL1_V(unpackhi_pd)(p, q);
        }
    }
}
/* ``put`` of two terms has the order of what is paired. */
SMOOTHL1_INLINE void smoothl1_putf(double *a, smoothl1_v low, smoothl1_v high, int n) {
    if (n > 2) {
        smoothl1_put(a, low, 2);
        smoothl1_put(a + SMOOTHL1_ITEMS, high, 2);
    } else {
        SMOOTHL1_V(storeu_pd)(a, low);
        SMOOTHL1_V(storeu_pd)(a + SMOOTHL1_ITEMS, high);
    }
}

#endif
