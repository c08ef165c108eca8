/* Sums of floats by exponent: for terms whose exponents are anywhere.

   A float is its mantissa times a power of two that follows from the rest of its bits, so terms are
   added as integers, each to the sum that those bits are the index of (Neal's large superaccumulator,
   arXiv 1505.05571). Nothing is shifted until the sums are poured into digits, and carried out of a sum
   once in thousands of terms of the same exponent. There are so many sums that neighbouring terms
   seldom have the same, which a processor would wait for; of float32 terms each has four, in turn. They
   fit in a first-level cache. */
#ifndef SMOOTHL1_EXPONENTS_H
#define SMOOTHL1_EXPONENTS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Indices: a sign and an exponent. */
#define SMOOTHL1_SUMSf 512
#define SMOOTHL1_SUMS 4096
#define SMOOTHL1_TURNS 4

/* Of float64, 53 bits of a mantissa leave 11 to spare; the carries beyond are counted. */
typedef union {
    uint64_t single[SMOOTHL1_SUMSf * SMOOTHL1_TURNS];
    struct {
        uint64_t sums[SMOOTHL1_SUMS];
        uint32_t carries[SMOOTHL1_SUMS];
    } wide;
} smoothl1_exponents;

/* Add n terms, a multiple of 4, none of them infinite or NaN. All are taken for normal numbers: returns
   how many more of the others, and of 0, were positive than negative. OUT: negative, if one was. */
static int64_t smoothl1_by_exponentf(
    const float *terms, ptrdiff_t n, smoothl1_exponents *exponents, int *negative
) {
    int32_t others = 0;
    uint32_t signs = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, terms + i, sizeof(bits));
        others += (bits & 0x7F800000) ? 0 : 1 - 2 * (int32_t)(bits >> 31);
        signs |= bits;
    }
    if (signs >> 31) { *negative = 1; }
    for (ptrdiff_t i = 0; i < n; i += SMOOTHL1_TURNS) {
        for (int turn = 0; turn < SMOOTHL1_TURNS; turn++) {
            uint32_t bits;
            memcpy(&bits, terms + i + turn, sizeof(bits));
            exponents->single[(bits >> 23) * SMOOTHL1_TURNS + turn] += (bits & 0x7FFFFF) | 0x800000;
        }
    }
    return others;
}
static int64_t smoothl1_by_exponent(
    const double *terms, ptrdiff_t n, smoothl1_exponents *exponents, int *negative
) {
    const uint64_t one = (uint64_t)1 << 52;
    int64_t others = 0;
    uint64_t signs = 0;
    for (ptrdiff_t i = 0; i < n; i++) {
        uint64_t bits;
        memcpy(&bits, terms + i, sizeof(bits));
        others += (bits & ((uint64_t)0x7FF << 52)) ? 0 : 1 - 2 * (int64_t)(bits >> 63);
        signs |= bits;
    }
    if (signs >> 63) { *negative = 1; }
    for (ptrdiff_t i = 0; i < n; i += SMOOTHL1_TURNS) {
        for (int turn = 0; turn < SMOOTHL1_TURNS; turn++) {
            uint64_t bits, term, sum;
            memcpy(&bits, terms + i + turn, sizeof(bits));
            term = (bits & (one - 1)) | one;
            sum = term + exponents->wide.sums[bits >> 52];
            exponents->wide.sums[bits >> 52] = sum;
            if (sum < term) { exponents->wide.carries[bits >> 52]++; }
        }
    }
    return others;
}

/* Take a sum out. */
static inline uint64_t smoothl1_take_outf(
    smoothl1_exponents *exponents, int index, uint64_t *carries
) {
    uint64_t *sums = exponents->single + index * SMOOTHL1_TURNS;
    const uint64_t sum = sums[0] + sums[1] + sums[2] + sums[3];
    memset(sums, 0, SMOOTHL1_TURNS * sizeof(*sums));
    *carries = 0;
    return sum;
}
static inline uint64_t smoothl1_take_out(
    smoothl1_exponents *exponents, int index, uint64_t *carries
) {
    const uint64_t sum = exponents->wide.sums[index];
    *carries = exponents->wide.carries[index];
    exponents->wide.sums[index] = 0;
    exponents->wide.carries[index] = 0;
    return sum;
}

/* Pour the sums of the exponents from least to most into digits; all sums are 0 then. ``signs``: 2 if
   some terms were negative, else 1. ``base``: the position of the last bit of a subnormal number. Each
   digit changes by less than 2**38. */
#define SMOOTHL1_DEFINE_POUR(SUFFIX)                                                          \
    static void smoothl1_pour##SUFFIX(                                                        \
        smoothl1_exponents *exponents, int signs, int least, int most, int base,              \
        int64_t *digits                                                                       \
    ) {                                                                                       \
        const uint64_t mask = 0xFFFFFFFF;                                                     \
        for (int sign = 0; sign < signs; sign++) {                                            \
            const int start = sign * (SMOOTHL1_SUMS##SUFFIX / 2);                             \
            for (int e = least; e <= most;) {                                                 \
                const int digit = ((e ? e - 1 : 0) + base) >> 5;                              \
                uint64_t parts[4] = {0, 0, 0, 0};                                             \
                for (; e <= most; e++) {                                                      \
                    const int position = (e ? e - 1 : 0) + base, shift = position & 31;       \
                    uint64_t sum, carries;                                                    \
                    if (position >> 5 != digit) { break; }                                    \
                    sum = smoothl1_take_out##SUFFIX(exponents, start + e, &carries);          \
                    parts[0] += (sum & mask) << shift & mask;                                 \
                    parts[1] += ((sum & mask) << shift >> 32) + ((sum >> 32) << shift & mask);\
                    parts[2] += ((sum >> 32) << shift >> 32) + (carries << shift & mask);     \
                    parts[3] += carries << shift >> 32;                                       \
                }                                                                             \
                for (int i = 0; i < 4; i++) {                                                 \
                    digits[digit + i] += sign ? -(int64_t)parts[i] : (int64_t)parts[i];       \
                }                                                                             \
            }                                                                                 \
        }                                                                                     \
    }
SMOOTHL1_DEFINE_POUR(f)
SMOOTHL1_DEFINE_POUR()

#endif
