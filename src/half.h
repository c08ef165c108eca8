/* Half precision and bfloat16 to float32 and back: rounding to nearest even, subnormal numbers,
   infinities and NaN as IEEE 754 has them, in integer and float operations that compilers vectorise, so that every
   instruction set gives the same bits. */
#ifndef SMOOTHL1_HALF_H
#define SMOOTHL1_HALF_H

#include <stdint.h>
#include <string.h>

static inline float smoothl1_float_of_bits(uint32_t bits) {
    float f;
    memcpy(&f, &bits, sizeof(f));
    return f;
}

static inline uint32_t smoothl1_bits_of_float(float f) {
    uint32_t bits;
    memcpy(&bits, &f, sizeof(bits));
    return bits;
}

/* Exponent and fraction move to their places in a float32, 112 binades too low; a multiplication by
   2**112 brings them to their value, subnormal ones included. Infinity and NaN get their exponent. */
static inline float smoothl1_float_of_half(uint16_t half) {
    uint32_t sign = (uint32_t)(half & 0x8000u) << 16, rest = (uint32_t)(half & 0x7fffu) << 13;
    float value = smoothl1_float_of_bits(rest) * smoothl1_float_of_bits(0x77800000u);
    uint32_t bits = smoothl1_bits_of_float(value);
    bits = rest >= 0x0f800000u ? rest | 0x7f800000u : bits;
    return smoothl1_float_of_bits(bits | sign);
}

/* A normal number loses 13 bits, of which an integer addition rounds the last one kept (a carry goes
   to the exponent, and to infinity where it should); a subnormal result is what the fraction becomes
   beside a number whose last place is the smallest half. */
static inline uint16_t smoothl1_half_of_float(float f) {
    uint32_t all = smoothl1_bits_of_float(f), bits = all & 0x7fffffffu, half;
    uint32_t normal = (bits + 0xc8000fffu + ((bits >> 13) & 1u)) >> 13;
    uint32_t subnormal = smoothl1_bits_of_float(smoothl1_float_of_bits(bits) + 0.5f) - 0x3f000000u;
    uint32_t large = bits > 0x7f800000u ? 0x7e00u : 0x7c00u; /* NaN or infinity */
    half = bits < 0x38800000u ? subnormal : normal;
    half = bits >= 0x47800000u ? large : half;
    return (uint16_t)(half | (all >> 16 & 0x8000u));
}

/* bfloat16 is the upper half of a float32. */
static inline float smoothl1_float_of_bfloat(uint16_t b) {
    return smoothl1_float_of_bits((uint32_t)b << 16);
}

static inline uint16_t smoothl1_bfloat_of_float(float f) {
    uint32_t bits = smoothl1_bits_of_float(f);
    uint32_t rounded = (bits + 0x7fffu + (bits >> 16 & 1u)) >> 16; /* a carry as above */
    uint32_t nan = (bits >> 16 & 0x8000u) | 0x7fc0u;
    return (uint16_t)((bits & 0x7fffffffu) > 0x7f800000u ? nan : rounded);
}

/* To float32 towards zero, with a last bit that says whether anything was cut off: what is rounded to
   two bytes from there is rounded once. */
static inline float smoothl1_odd_of_double(double d) {
    float f = (float)d;
    double back = (double)f, size = d < 0 ? -d : d;
    uint32_t bits = smoothl1_bits_of_float(f);
    bits -= (uint32_t)((back < 0 ? -back : back) > size);
    bits |= (uint32_t)((back < d) | (back > d));
    return smoothl1_float_of_bits(bits);
}

static inline uint16_t smoothl1_half_of_double(double d) {
    return smoothl1_half_of_float(smoothl1_odd_of_double(d));
}

static inline uint16_t smoothl1_bfloat_of_double(double d) {
    return smoothl1_bfloat_of_float(smoothl1_odd_of_double(d));
}

#endif
