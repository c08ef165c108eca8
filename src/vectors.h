/* Vectors of 64 bytes (AVX-512) or 32 (AVX2) under one name, for ``fours.h`` and ``abreast.h``: of
   float64, and, with an f at the end, of float32. ``which`` is what a comparison gives. */
#ifndef SMOOTHL1_VECTORS_H
#define SMOOTHL1_VECTORS_H

#include <immintrin.h>
#include <math.h>
#include <stdint.h>
#include <string.h>
#include "inline.h"

#if defined(__AVX512F__) && defined(__AVX512DQ__)
  #define SMOOTHL1_V(name) _mm512_##name
typedef __m512d smoothl1_v;
typedef __m512 smoothl1_vf;
typedef __m512i smoothl1_counts, smoothl1_countsf;
typedef __mmask8 smoothl1_which;
typedef __mmask16 smoothl1_whichf;
enum { SMOOTHL1_ITEMS = 8, SMOOTHL1_ITEMSf = 16 };
#else
  #define SMOOTHL1_V(name) _mm256_##name
typedef __m256d smoothl1_v;
typedef __m256 smoothl1_vf;
typedef __m256i smoothl1_counts, smoothl1_countsf;
typedef __m256d smoothl1_which;
typedef __m256 smoothl1_whichf;
enum { SMOOTHL1_ITEMS = 4, SMOOTHL1_ITEMSf = 8 };
#endif

SMOOTHL1_INLINE smoothl1_v smoothl1_all(double a) { return SMOOTHL1_V(set1_pd)(a); }
SMOOTHL1_INLINE smoothl1_vf smoothl1_allf(float a) { return SMOOTHL1_V(set1_ps)(a); }
SMOOTHL1_INLINE smoothl1_v smoothl1_get(const double *a) { return SMOOTHL1_V(loadu_pd)(a); }
SMOOTHL1_INLINE smoothl1_vf smoothl1_getf(const float *a) { return SMOOTHL1_V(loadu_ps)(a); }
/* z - half m; the product is exact, so that one rounding is left. */
SMOOTHL1_INLINE smoothl1_v smoothl1_less(smoothl1_v z, smoothl1_v half, smoothl1_v m) {
    return SMOOTHL1_V(fnmadd_pd)(half, m, z);
}
SMOOTHL1_INLINE smoothl1_vf smoothl1_lessf(smoothl1_vf z, smoothl1_vf half, smoothl1_vf m) {
    return SMOOTHL1_V(fnmadd_ps)(half, m, z);
}
/* a + b exactly: the sum, and what its rounding left. */
SMOOTHL1_INLINE void smoothl1_exactly(
    smoothl1_v a, smoothl1_v b, smoothl1_v *sum, smoothl1_v *rest
) {
    const smoothl1_v s = a + b, v = s - a;
    *rest = (a - (s - v)) + (b - v);
    *sum = s;
}

/* a b + c and a b - c, rounded once. */
SMOOTHL1_INLINE smoothl1_v smoothl1_fma(smoothl1_v a, smoothl1_v b, smoothl1_v c) {
    return SMOOTHL1_V(fmadd_pd)(a, b, c);
}
SMOOTHL1_INLINE smoothl1_v smoothl1_fms(smoothl1_v a, smoothl1_v b, smoothl1_v c) {
    return SMOOTHL1_V(fmsub_pd)(a, b, c);
}

#if defined(__AVX512F__) && defined(__AVX512DQ__)
SMOOTHL1_INLINE smoothl1_v smoothl1_size(smoothl1_v a) { return _mm512_abs_pd(a); }
SMOOTHL1_INLINE smoothl1_vf smoothl1_sizef(smoothl1_vf a) { return _mm512_abs_ps(a); }
/* Where a is not below b; NaN is not. */
SMOOTHL1_INLINE smoothl1_which smoothl1_above(smoothl1_v a, smoothl1_v b) {
    return _mm512_cmp_pd_mask(a, b, _CMP_NLT_UQ);
}
SMOOTHL1_INLINE smoothl1_whichf smoothl1_abovef(smoothl1_vf a, smoothl1_vf b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_NLT_UQ);
}
/* Where a is below b, or NaN. */
SMOOTHL1_INLINE smoothl1_which smoothl1_below(smoothl1_v a, smoothl1_v b) {
    return _mm512_cmp_pd_mask(a, b, _CMP_NGE_UQ);
}
SMOOTHL1_INLINE smoothl1_whichf smoothl1_belowf(smoothl1_vf a, smoothl1_vf b) {
    return _mm512_cmp_ps_mask(a, b, _CMP_NGE_UQ);
}
/* Where |a| is at most b. */
SMOOTHL1_INLINE smoothl1_which smoothl1_within(smoothl1_v a, smoothl1_v b) {
    return _mm512_cmp_pd_mask(_mm512_abs_pd(a), b, _CMP_LE_OQ);
}
SMOOTHL1_INLINE smoothl1_v smoothl1_pick(smoothl1_which which, smoothl1_v a, smoothl1_v b) {
    return _mm512_mask_blend_pd(which, b, a);
}
SMOOTHL1_INLINE smoothl1_vf smoothl1_pickf(smoothl1_whichf which, smoothl1_vf a, smoothl1_vf b) {
    return _mm512_mask_blend_ps(which, b, a);
}
SMOOTHL1_INLINE smoothl1_which smoothl1_taken(const uint8_t *mask) {
    const __m512i v = _mm512_cvtepu8_epi64(_mm_loadl_epi64((const __m128i *)mask));
    return _mm512_test_epi64_mask(v, v);
}
SMOOTHL1_INLINE smoothl1_whichf smoothl1_takenf(const uint8_t *mask) {
    const __m512i v = _mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i *)mask));
    return _mm512_test_epi32_mask(v, v);
}

SMOOTHL1_INLINE smoothl1_which smoothl1_both(smoothl1_which a, smoothl1_which b) { return a & b; }
SMOOTHL1_INLINE smoothl1_whichf smoothl1_bothf(smoothl1_whichf a, smoothl1_whichf b) {
    return a & b;
}

SMOOTHL1_INLINE void smoothl1_widen_halves(smoothl1_vf a, smoothl1_v *low, smoothl1_v *high) {
    *low = _mm512_cvtps_pd(_mm512_castps512_ps256(a));
    *high = _mm512_cvtps_pd(_mm512_extractf32x8_ps(a, 1));
}
SMOOTHL1_INLINE smoothl1_counts smoothl1_no_counts(void) { return _mm512_setzero_si512(); }
SMOOTHL1_INLINE smoothl1_counts smoothl1_count(smoothl1_counts v, smoothl1_which which, int k) {
    return _mm512_mask_add_epi64(v, which, v, _mm512_set1_epi64((int64_t)1 << 8 * k));
}
SMOOTHL1_INLINE smoothl1_countsf smoothl1_countf(smoothl1_countsf v, smoothl1_whichf which, int k) {
    return _mm512_mask_add_epi32(v, which, v, _mm512_set1_epi32(1 << 8 * k));
}
/* An item counts for itself. */
SMOOTHL1_INLINE smoothl1_counts smoothl1_one_more(smoothl1_counts v, smoothl1_which which) {
    return _mm512_mask_add_epi64(v, which, v, _mm512_set1_epi64(1));
}
SMOOTHL1_INLINE smoothl1_countsf smoothl1_one_moref(smoothl1_countsf v, smoothl1_whichf which) {
    return _mm512_mask_add_epi32(v, which, v, _mm512_set1_epi32(1));
}
/* Whether each item, none of them negative, is 0 or far from overflow and underflow. */
SMOOTHL1_INLINE int smoothl1_moderate(smoothl1_v a) {
    const __mmask8 large = _mm512_cmp_pd_mask(a, smoothl1_all(0x1p-800), _CMP_GE_OQ);
    const __mmask8 zero = _mm512_cmp_pd_mask(a, smoothl1_all(0), _CMP_EQ_OQ);
    return ((large & _mm512_cmp_pd_mask(a, smoothl1_all(0x1p900), _CMP_LE_OQ)) | zero) == 0xff;
}
/* Whether an item is infinite, or, if that is asked, NaN. */
SMOOTHL1_INLINE int smoothl1_any_odd(smoothl1_v a, int nan) {
    return _mm512_fpclass_pd_mask(a, nan ? 0x99 : 0x18) != 0;
}
/* Whether an item of either is not below b. */
SMOOTHL1_INLINE int smoothl1_any_above(smoothl1_v a, smoothl1_v other, smoothl1_v b) {
    return (smoothl1_above(a, b) | smoothl1_above(other, b)) != 0;
}
#else
SMOOTHL1_INLINE smoothl1_v smoothl1_size(smoothl1_v a) {
    return _mm256_andnot_pd(_mm256_set1_pd(-0.0), a);
}
SMOOTHL1_INLINE smoothl1_vf smoothl1_sizef(smoothl1_vf a) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
SMOOTHL1_INLINE smoothl1_which smoothl1_above(smoothl1_v a, smoothl1_v b) {
    return _mm256_cmp_pd(a, b, _CMP_NLT_UQ);
}
SMOOTHL1_INLINE smoothl1_whichf smoothl1_abovef(smoothl1_vf a, smoothl1_vf b) {
    return _mm256_cmp_ps(a, b, _CMP_NLT_UQ);
}
SMOOTHL1_INLINE smoothl1_which smoothl1_below(smoothl1_v a, smoothl1_v b) {
    return _mm256_cmp_pd(a, b, _CMP_NGE_UQ);
}
SMOOTHL1_INLINE smoothl1_whichf smoothl1_belowf(smoothl1_vf a, smoothl1_vf b) {
    return _mm256_cmp_ps(a, b, _CMP_NGE_UQ);
}
SMOOTHL1_INLINE smoothl1_which smoothl1_within(smoothl1_v a, smoothl1_v b) {
    return _mm256_cmp_pd(smoothl1_size(a), b, _CMP_LE_OQ);
}
SMOOTHL1_INLINE smoothl1_v smoothl1_pick(smoothl1_which which, smoothl1_v a, smoothl1_v b) {
    return _mm256_blendv_pd(b, a, which);
}
SMOOTHL1_INLINE smoothl1_vf smoothl1_pickf(smoothl1_whichf which, smoothl1_vf a, smoothl1_vf b) {
    return _mm256_blendv_ps(b, a, which);
}
SMOOTHL1_INLINE smoothl1_which smoothl1_taken(const uint8_t *mask) {
    int32_t four;
    memcpy(&four, mask, sizeof(four));
    return _mm256_castsi256_pd(_mm256_cmpgt_epi64(
        _mm256_cvtepu8_epi64(_mm_cvtsi32_si128(four)), _mm256_setzero_si256()
    ));
}
SMOOTHL1_INLINE smoothl1_whichf smoothl1_takenf(const uint8_t *mask) {
    return _mm256_castsi256_ps(_mm256_cmpgt_epi32(
        _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)mask)), _mm256_setzero_si256()
    ));
}

SMOOTHL1_INLINE smoothl1_which smoothl1_both(smoothl1_which a, smoothl1_which b) {
    return _mm256_and_pd(a, b);
}
SMOOTHL1_INLINE smoothl1_whichf smoothl1_bothf(smoothl1_whichf a, smoothl1_whichf b) {
    return _mm256_and_ps(a, b);
}

SMOOTHL1_INLINE void smoothl1_widen_halves(smoothl1_vf a, smoothl1_v *low, smoothl1_v *high) {
    *low = _mm256_cvtps_pd(_mm256_castps256_ps128(a));
    *high = _mm256_cvtps_pd(_mm256_extractf128_ps(a, 1));
}

SMOOTHL1_INLINE smoothl1_counts smoothl1_no_counts(void) { return _mm256_setzero_si256(); }
SMOOTHL1_INLINE smoothl1_counts smoothl1_count(smoothl1_counts v, smoothl1_which which, int k) {
    const __m256i one = _mm256_set1_epi64x((int64_t)1 << 8 * k);
    return _mm256_add_epi64(v, _mm256_and_si256(_mm256_castpd_si256(which), one));
}
SMOOTHL1_INLINE smoothl1_countsf smoothl1_countf(smoothl1_countsf v, smoothl1_whichf which, int k) {
    const __m256i one = _mm256_set1_epi32(1 << 8 * k);
    return _mm256_add_epi32(v, _mm256_and_si256(_mm256_castps_si256(which), one));
}
/* A comparison gives -1 where it holds. */
SMOOTHL1_INLINE smoothl1_counts smoothl1_one_more(smoothl1_counts v, smoothl1_which which) {
    return _mm256_sub_epi64(v, _mm256_castpd_si256(which));
}
SMOOTHL1_INLINE smoothl1_countsf smoothl1_one_moref(smoothl1_countsf v, smoothl1_whichf which) {
    return _mm256_sub_epi32(v, _mm256_castps_si256(which));
}
SMOOTHL1_INLINE int smoothl1_moderate(smoothl1_v a) {
    const __m256d large = _mm256_cmp_pd(a, smoothl1_all(0x1p-800), _CMP_GE_OQ);
    const __m256d zero = _mm256_cmp_pd(a, smoothl1_all(0), _CMP_EQ_OQ);
    const __m256d small = _mm256_cmp_pd(a, smoothl1_all(0x1p900), _CMP_LE_OQ);
    return _mm256_movemask_pd(_mm256_or_pd(_mm256_and_pd(large, small), zero)) == 0xf;
}
SMOOTHL1_INLINE int smoothl1_any_odd(smoothl1_v a, int nan) {
    const __m256d huge = smoothl1_all(HUGE_VAL), size = smoothl1_size(a);
    return _mm256_movemask_pd(
        nan ? _mm256_cmp_pd(size, huge, _CMP_NLT_UQ) : _mm256_cmp_pd(size, huge, _CMP_EQ_OQ)
    ) != 0;
}
SMOOTHL1_INLINE int smoothl1_any_above(smoothl1_v a, smoothl1_v other, smoothl1_v b) {
    return _mm256_movemask_pd(_mm256_or_pd(smoothl1_above(a, b), smoothl1_above(other, b))) != 0;
}
#endif
SMOOTHL1_INLINE smoothl1_countsf smoothl1_no_countsf(void) { return smoothl1_no_counts(); }

/* The smaller of two; b if one of them is NaN. */
SMOOTHL1_INLINE smoothl1_v smoothl1_least(smoothl1_v a, smoothl1_v b) {
    return SMOOTHL1_V(min_pd)(a, b);
}
SMOOTHL1_INLINE smoothl1_vf smoothl1_leastf(smoothl1_vf a, smoothl1_vf b) {
    return SMOOTHL1_V(min_ps)(a, b);
}

/* The terms of ``terms.pxd``, by vectors: z is the size of a difference and m the smaller of z and
   beta; ``which`` says where z is below beta, or, with ``below`` 0, where it is not. */
#define SMOOTHL1_DEFINE_FORMULAS(SUFFIX)                                                      \
    SMOOTHL1_INLINE smoothl1_v##SUFFIX smoothl1_pair_term##SUFFIX(                            \
        smoothl1_v##SUFFIX z, smoothl1_which##SUFFIX which, int below, smoothl1_v##SUFFIX s,  \
        smoothl1_v##SUFFIX c                                                                  \
    ) {                                                                                       \
        const smoothl1_v##SUFFIX u = z * s;                                                   \
        return z * (below ? smoothl1_pick##SUFFIX(which, u, c)                                \
                          : smoothl1_pick##SUFFIX(which, c, u));                              \
    }                                                                                         \
    SMOOTHL1_INLINE smoothl1_v##SUFFIX smoothl1_product_term##SUFFIX(                         \
        smoothl1_v##SUFFIX z, smoothl1_v##SUFFIX m, smoothl1_v##SUFFIX half,                  \
        smoothl1_v##SUFFIX s, int unit                                                        \
    ) {                                                                                       \
        const smoothl1_v##SUFFIX rest = smoothl1_less##SUFFIX(z, half, m);                    \
        if (!unit) { m = m * s; }                                                             \
        return m * rest;                                                                      \
    }
SMOOTHL1_DEFINE_FORMULAS(f)
SMOOTHL1_DEFINE_FORMULAS()

#endif
