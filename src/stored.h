/* Elements as an array has them, read as vectors of the dtype that is computed in: with bytes
   swapped, of two bytes, or of float32 for float64. A loop that reads so needs no buffer, and asks
   memory for its operands together. ``stored`` says how they are. */
#ifndef SMOOTHL1_STORED_H
#define SMOOTHL1_STORED_H

#include <stddef.h>
#include <stdint.h>
#include "inline.h"

enum {
    SMOOTHL1_OTHERWISE, /* not as one of the following */
    SMOOTHL1_AS_IS,
    SMOOTHL1_UNALIGNED,
    SMOOTHL1_SWAPPED,
    SMOOTHL1_HALVES,    /* float16, for float32 */
    SMOOTHL1_BFLOATS,   /* bfloat16, for float32 */
    SMOOTHL1_SINGLES,   /* float32, for float64 */
};

/* Elements that are read at once are a multiple of this. */
#define SMOOTHL1_STEP 64

/* Bytes of an element. */
SMOOTHL1_INLINE ptrdiff_t smoothl1_stored_size(int stored, ptrdiff_t size) {
    return stored == SMOOTHL1_HALVES || stored == SMOOTHL1_BFLOATS ? 2
         : stored == SMOOTHL1_SINGLES                              ? 4
                                                                   : size;
}

/* Where x and y are. */
typedef struct {
    const char *x, *y;
    int x_stored, y_stored;
} smoothl1_operands;

/* The same from their n-th element on. */
SMOOTHL1_INLINE smoothl1_operands smoothl1_further(
    smoothl1_operands of, ptrdiff_t n, ptrdiff_t size
) {
    of.x += n * smoothl1_stored_size(of.x_stored, size);
    of.y += n * smoothl1_stored_size(of.y_stored, size);
    return of;
}

#if SMOOTHL1_BY_VECTORS
  #include <string.h>
  #include "vectors.h"

  #ifdef __AVX512F__
SMOOTHL1_INLINE __m512i smoothl1_bytes(const char *a) { return _mm512_loadu_si512(a); }
SMOOTHL1_INLINE __m512i smoothl1_shuffle(__m512i v, __m128i order) {
    return _mm512_shuffle_epi8(v, _mm512_broadcast_i32x4(order));
}
SMOOTHL1_INLINE smoothl1_vf smoothl1_of_halves(const char *a) {
    return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)a));
}
SMOOTHL1_INLINE __m512i smoothl1_of_bfloats(const char *a) {
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i *)a)), 16);
}
SMOOTHL1_INLINE smoothl1_v smoothl1_of_singles(const char *a) {
    return _mm512_cvtps_pd(_mm256_loadu_ps((const float *)a));
}
    #define SMOOTHL1_CAST(to) SMOOTHL1_V(castsi512_##to)
  #else
SMOOTHL1_INLINE __m256i smoothl1_bytes(const char *a) {
    return _mm256_loadu_si256((const __m256i *)a);
}
SMOOTHL1_INLINE __m256i smoothl1_shuffle(__m256i v, __m128i order) {
    return _mm256_shuffle_epi8(v, _mm256_broadcastsi128_si256(order));
}
SMOOTHL1_INLINE smoothl1_vf smoothl1_of_halves(const char *a) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)a));
}
SMOOTHL1_INLINE __m256i smoothl1_of_bfloats(const char *a) {
    return _mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)a)), 16);
}
SMOOTHL1_INLINE smoothl1_v smoothl1_of_singles(const char *a) {
    return _mm256_cvtps_pd(_mm_loadu_ps((const float *)a));
}
    #define SMOOTHL1_CAST(to) SMOOTHL1_V(castsi256_##to)
  #endif

/* Four vectors that follow one another. */
SMOOTHL1_INLINE void smoothl1_read_fourf(const char *a, int stored, smoothl1_vf *v) {
    enum { SIZE = sizeof(smoothl1_vf) };
    const __m128i order = _mm_setr_epi8(3, 2, 1, 0, 7, 6, 5, 4, 11, 10, 9, 8, 15, 14, 13, 12);
    if (stored == SMOOTHL1_AS_IS || stored == SMOOTHL1_UNALIGNED) {
        for (int k = 0; k < 4; k++) { v[k] = smoothl1_getf((const float *)(a + k * SIZE)); }
    } else if (stored == SMOOTHL1_SWAPPED) {
        for (int k = 0; k < 4; k++) {
            v[k] = SMOOTHL1_CAST(ps)(smoothl1_shuffle(smoothl1_bytes(a + k * SIZE), order));
        }
    } else if (stored == SMOOTHL1_HALVES) {
        for (int k = 0; k < 4; k++) { v[k] = smoothl1_of_halves(a + k * SIZE / 2); }
    } else {
        for (int k = 0; k < 4; k++) {
            v[k] = SMOOTHL1_CAST(ps)(smoothl1_of_bfloats(a + k * SIZE / 2));
        }
    }
}
SMOOTHL1_INLINE void smoothl1_read_four(const char *a, int stored, smoothl1_v *v) {
    enum { SIZE = sizeof(smoothl1_v) };
    const __m128i order = _mm_setr_epi8(7, 6, 5, 4, 3, 2, 1, 0, 15, 14, 13, 12, 11, 10, 9, 8);
    if (stored == SMOOTHL1_AS_IS || stored == SMOOTHL1_UNALIGNED) {
        for (int k = 0; k < 4; k++) { v[k] = smoothl1_get((const double *)(a + k * SIZE)); }
    } else if (stored == SMOOTHL1_SWAPPED) {
        for (int k = 0; k < 4; k++) {
            v[k] = SMOOTHL1_CAST(pd)(smoothl1_shuffle(smoothl1_bytes(a + k * SIZE), order));
        }
    } else {
        for (int k = 0; k < 4; k++) { v[k] = smoothl1_of_singles(a + k * SIZE / 2); }
    }
}

SMOOTHL1_INLINE void smoothl1_set(double *a, smoothl1_v v) { SMOOTHL1_V(storeu_pd)(a, v); }
SMOOTHL1_INLINE void smoothl1_setf(float *a, smoothl1_vf v) { SMOOTHL1_V(storeu_ps)(a, v); }
/* Elements to a buffer, whole steps of SMOOTHL1_STEP of them, not as they are. */
  #define SMOOTHL1_DEFINE_UNPACK(T, SUFFIX)                                                   \
    SMOOTHL1_INLINE void smoothl1_unpack_as##SUFFIX(                                          \
        const char *a, int stored, ptrdiff_t n, T *to                                         \
    ) {                                                                                       \
        const ptrdiff_t size = smoothl1_stored_size(stored, sizeof(T));                       \
        for (ptrdiff_t i = 0; i < n; i += 4 * SMOOTHL1_ITEMS##SUFFIX) {                       \
            smoothl1_v##SUFFIX v[4];                                                          \
            smoothl1_read_four##SUFFIX(a + i * size, stored, v);                              \
            for (int k = 0; k < 4; k++) {                                                     \
                smoothl1_set##SUFFIX(to + i + k * SMOOTHL1_ITEMS##SUFFIX, v[k]);              \
            }                                                                                 \
        }                                                                                     \
    }
SMOOTHL1_DEFINE_UNPACK(float, f)
SMOOTHL1_DEFINE_UNPACK(double, )
static void smoothl1_unpackf(const char *a, int stored, ptrdiff_t n, float *to) {
    if (stored == SMOOTHL1_UNALIGNED) {
        memcpy(to, a, (size_t)n * sizeof(*to));
    } else if (stored == SMOOTHL1_SWAPPED) {
        smoothl1_unpack_asf(a, SMOOTHL1_SWAPPED, n, to);
    } else if (stored == SMOOTHL1_HALVES) {
        smoothl1_unpack_asf(a, SMOOTHL1_HALVES, n, to);
    } else {
        smoothl1_unpack_asf(a, SMOOTHL1_BFLOATS, n, to);
    }
}
static void smoothl1_unpack(const char *a, int stored, ptrdiff_t n, double *to) {
    if (stored == SMOOTHL1_UNALIGNED) {
        memcpy(to, a, (size_t)n * sizeof(*to));
    } else if (stored == SMOOTHL1_SWAPPED) {
        smoothl1_unpack_as(a, SMOOTHL1_SWAPPED, n, to);
    } else {
        smoothl1_unpack_as(a, SMOOTHL1_SINGLES, n, to);
    }
}
#else
/* Never called. */
static void smoothl1_unpackf(const char *a, int stored, ptrdiff_t n, float *to) {
    (void)a, (void)stored, (void)n, (void)to;
}
static void smoothl1_unpack(const char *a, int stored, ptrdiff_t n, double *to) {
    (void)a, (void)stored, (void)n, (void)to;
}
#endif

#endif
