/* What the C of the kernels asks of a compiler. */
#ifndef SMOOTHL1_INLINE_H
#define SMOOTHL1_INLINE_H

#if defined(__GNUC__) || defined(__clang__)
  #define SMOOTHL1_RESTRICT __restrict
  /* GCC finds eight rows of this too much, and vectorises no call. */
  #define SMOOTHL1_INLINE static inline __attribute__((always_inline))
#elif defined(_MSC_VER)
  #define SMOOTHL1_RESTRICT __restrict
  #define SMOOTHL1_INLINE static __forceinline
#else
  #define SMOOTHL1_RESTRICT
  #define SMOOTHL1_INLINE static inline
#endif

/* Whether loops are written by vectors of AVX2 or AVX-512 (vectors.h). AVX-512 has fused
   multiply-adds and conversions of float16 of its own, whatever else the compiler is told of. */
#if (defined(__GNUC__) || defined(__clang__))                                                 \
    && (defined(__AVX512F__) && defined(__AVX512DQ__) && defined(__AVX512BW__)                \
        || defined(__AVX2__) && defined(__FMA__) && defined(__F16C__))
  #define SMOOTHL1_BY_VECTORS 1
#else
  #define SMOOTHL1_BY_VECTORS 0
#endif

#endif
