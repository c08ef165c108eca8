/* Fused multiply-adds that change no bit: where the set has them, they give in fewer or faster
   steps what the other sets compute without. */
#ifndef SMOOTHL1_FMA_H
#define SMOOTHL1_FMA_H

#include <math.h>

/* z - m / 2 is rounded once either way, unless m / 2 is inexact: a subnormal odd m.

   d / b, correctly rounded (Markstein, IBM J. Res. Dev. 34, 1990): r is 1 / b rounded to nearest; low
   is 1 / b rounded down and rest what that left of it, so that q is within an ulp of the quotient.
   Its exact remainder times r then corrects it. The signs are such that -0 stays -0; GCC does not
   keep that of a negated fma, so none is negated. The remainder is exact, and the quotient normal,
   if d is 0 or |d| not below ``Params.least``. */
#if defined(__FMA__) || defined(__AVX512F__)
  #define SMOOTHL1_FMA 1
  #define SMOOTHL1_DEFINE(T, SUFFIX)                                                  \
      static inline T smoothl1_less_half##SUFFIX(T z, T m) {                          \
          return fma##SUFFIX((T)-0.5, m, z);                                          \
      }                                                                               \
      static inline T smoothl1_over##SUFFIX(T d, T b, T r, T low, T rest) {           \
          T q = fma##SUFFIX(d, low, d * rest);                                        \
          return fma##SUFFIX(fma##SUFFIX(b, q, -d), -r, q);                           \
      }
#else
  #define SMOOTHL1_FMA 0
  #define SMOOTHL1_DEFINE(T, SUFFIX)                                                  \
      static inline T smoothl1_less_half##SUFFIX(T z, T m) { return z - (T)0.5 * m; } \
      static inline T smoothl1_over##SUFFIX(T d, T b, T r, T low, T rest) {           \
          (void)r, (void)low, (void)rest;                                             \
          return d / b;                                                               \
      }
#endif
SMOOTHL1_DEFINE(float, f)
SMOOTHL1_DEFINE(double, )

#endif
