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

#endif
