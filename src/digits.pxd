"""Exact sums: a number in digits of 32 bits, each kept in 64.

Every float is a multiple of the smallest subnormal number, so the sum of any number of them is a
long integer. Its digits are kept apart, one an int64: adding is adding digit by digit, in any
order, and carries (``carry``) can wait. Behind the digits three counts stand for the terms that
are no numbers: NaN, +inf and -inf. Every entry of a sum is an integer that adds, which is why sums
may be cut and merged in any way (``docs/exact.md``).

    float32 terms    12 digits, the first one's last bit worth 2**-160
    float64 terms    69 digits                                 2**-1088

How blocks of terms are added is in ``blocks.pxd``.

Neal, "Fast Exact Summation Using Small and Large Superaccumulators", arXiv 1505.05571, 2015.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t, uint8_t
from libc.string cimport memcpy

from smoothl1._smoothl1 cimport floating


cdef enum:
    # Terms of a block.
    TERMS = 1024
    DIGITS_SINGLE = 12
    DIGITS_DOUBLE = 69
    BASE_SINGLE = 160
    BASE_DOUBLE = 1088
    # Behind the digits.
    COUNTS = 3


cdef inline int digits_of(bint single) noexcept nogil:
    return DIGITS_SINGLE if single else DIGITS_DOUBLE


cdef inline int base_of(bint single) noexcept nogil:
    return BASE_SINGLE if single else BASE_DOUBLE


cdef inline int32_t bits_of_float(float a) noexcept nogil:
    cdef int32_t bits
    memcpy(&bits, &a, sizeof(bits))
    return bits


cdef inline int64_t bits_of_double(double a) noexcept nogil:
    cdef int64_t bits
    memcpy(&bits, &a, sizeof(bits))
    return bits


cdef inline void deposit(int64_t* digits, int64_t a, int position) noexcept nogil:
    """Add a * 2**position, counted from the last bit of the first digit.

    At most three digits change, by less than 2**33: 2**29 times before a carry is due.
    """
    cdef int shift
    cdef int64_t low, high
    # Volatile: a vector of two digits, stored, is slow to load by another two.
    cdef volatile int64_t* to
    if position < 0:  # what is shifted out is 0
        a >>= -position
        position = 0
    shift = position & 31
    to = <volatile int64_t*>(digits + (position >> 5))
    low = <int64_t><uint32_t>a << shift
    high = (a >> 32) * (<int64_t>1 << shift)
    to[0] += <uint32_t>low
    to[1] += (low >> 32) + <uint32_t>high
    to[2] += high >> 32


cdef inline void carry(int64_t* digits, int count) noexcept nogil:
    """Bring all digits but the last, which has the sign, between 0 and 2**32 - 1."""
    cdef int64_t over = 0, a
    cdef int i
    for i in range(count - 1):
        a = digits[i] + over
        digits[i] = <uint32_t>a
        over = a >> 32
    digits[count - 1] += over


cdef inline void write_bytes(
    const uint8_t* data, int64_t size, int64_t offset, int64_t* digits, int64_t count
) noexcept nogil:
    """Write an integer, in two's complement with the lowest byte first, to digits that are 0.

    ``offset``: of its bytes from the first of the digits, which are carried; the last takes eight.
    """
    cdef int64_t i, digit
    cdef int64_t sign = -<int64_t>(data[size - 1] >> 7)
    for i in range(size):
        digit = min((offset + i) >> 2, count - 1)
        digits[digit] |= <int64_t>(<uint64_t>data[i] << (8 * (offset + i - 4 * digit)))
    # The bytes above repeat the sign.
    for i in range(offset + size, 4 * count + 4):
        digit = min(i >> 2, count - 1)
        digits[digit] |= <int64_t>((<uint64_t>sign & 0xFF) << (8 * (i - 4 * digit)))


cdef inline void add_term(floating term, int64_t* digits) noexcept nogil:
    """Add a single term, whatever it is.

    The second digit that changes takes up to 52 bits: 2**10 times before a carry is due.
    """
    cdef int64_t bits, mantissa, sign
    cdef int exponent, shift
    # Volatile: a vector of two digits, stored, is slow to load by another two.
    cdef volatile int64_t* to
    if floating is float:
        bits = bits_of_float(term)
        exponent = (bits >> 23) & 0xFF
        mantissa = bits & 0x7FFFFF
        if exponent == 0xFF:
            digits[DIGITS_SINGLE + (0 if mantissa != 0 else 1 if bits > 0 else 2)] += 1
            return
        mantissa |= <int64_t>(exponent > 0) << 23
        exponent += (exponent == 0) - 150 + BASE_SINGLE
    else:
        bits = bits_of_double(term)
        exponent = (bits >> 52) & 0x7FF
        mantissa = bits & 0xFFFFFFFFFFFFFLL
        if exponent == 0x7FF:
            digits[DIGITS_DOUBLE + (0 if mantissa != 0 else 1 if bits > 0 else 2)] += 1
            return
        mantissa |= <int64_t>(exponent > 0) << 52
        exponent += (exponent == 0) - 1075 + BASE_DOUBLE
    sign = bits >> 63  # 0 or -1: (a ^ sign) - sign is a or -a
    shift = exponent & 31
    to = <volatile int64_t*>(digits + (exponent >> 5))
    to[0] += (<int64_t><uint32_t>(<uint64_t>mantissa << shift) ^ sign) - sign
    to[1] += ((mantissa >> (32 - shift)) ^ sign) - sign
