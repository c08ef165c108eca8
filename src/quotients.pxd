"""From digits to floats for many groups: in double-double, and only where that is beyond doubt.

A figure is settled if no value within the error of double-double rounds otherwise. The others,
ties among them, are left to Python's integers (``smoothl1/_exact.py``), as is whatever is rare.
"""

from libc.math cimport sqrt
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from digits cimport bits_of_double
from bygroup cimport Window
from pairs cimport Pair, pair_add, pair_of, pair_over, two_product, two_sum


cdef enum:
    # Digits below this power of two are left out beside numbers that are far above it.
    LOWEST = -960


cdef struct Doubt:
    bint whole   # nothing is settled
    bint exact   # the number has no error at all


cdef inline double power_of_two(int64_t exponent) noexcept nogil:
    """2**exponent, for one between -1022 and 1023."""
    cdef int64_t bits = (exponent + 1023) << 52
    cdef double a
    memcpy(&a, &bits, sizeof(a))
    return a


cdef inline Pair number_of(
    const int64_t* row, const Window* window, int exponent, Doubt* doubt
) noexcept nogil:
    """A sum that is not negative, of carried digits; of anything else it is in doubt."""
    cdef const int64_t* digits = row + window.column
    cdef int64_t i, power = 0
    cdef double last = 0.0
    cdef Pair r = pair_of(0.0)
    if window.special >= 0 and (
        row[window.special] != 0 or row[window.special + 1] != 0 or row[window.special + 2] != 0
    ):
        doubt.whole = True
    if digits[window.digits - 1] < 0 or digits[window.digits - 1] >> 52 != 0:
        doubt.whole = True
    doubt.exact = True
    for i in range(window.digits - 1, -1, -1):
        if digits[i] == 0:
            continue
        power = 32 * (i + window.first) + exponent
        if power < LOWEST:
            doubt.exact = False
            doubt.whole = doubt.whole or r.hi < 1e-250
            break
        if power > 900:
            doubt.whole = True
            break
        last = <double>(digits[i] & -digits[i]) * power_of_two(power)
        r = pair_add(r, pair_of(<double>digits[i] * power_of_two(power)))
    # 106 bits hold it, less one for the sign between them.
    doubt.exact = doubt.exact and r.hi * power_of_two(-100) < last
    return r


cdef inline double half_of_last(double a) noexcept nogil:
    """Half of what lies between a and its neighbour, the nearer one."""
    cdef int64_t bits = bits_of_double(a)
    cdef double half = power_of_two(((bits >> 52) & 0x7FF) - 1023 - 53)
    return 0.5 * half if bits & 0xFFFFFFFFFFFFFLL == 0 else half


cdef inline double settled(Pair q, bint single, uint8_t* sure) noexcept nogil:
    """The float nearest to a number that is known to a few units of 2**-100."""
    cdef int64_t low
    q = two_sum(q.hi, q.lo)
    if q.hi == 0.0:
        sure[0] = True  # nothing but digits of 0
        return 0.0
    if single:
        # A tie of float32 is a float64: another one is on the right side of it.
        low = bits_of_double(q.hi) & 0x1FFFFFFF
        sure[0] = (low < 0xFFFFFF0 or low > 0x10000010) and 1e-30 < abs(q.hi) < 1e30
        return <float>q.hi
    sure[0] = (
        1e-200 < abs(q.hi) < 1e200 and abs(q.lo) < 0.99999 * half_of_last(q.hi)
    )
    return q.hi


cdef inline bint is_quotient(Pair q, Pair a, double b) noexcept nogil:
    """Whether q b = a exactly, for a q.lo that is 0 or a power of two."""
    cdef Pair p = two_product(q.hi, b)
    cdef Pair high = two_sum(a.hi, -p.hi), low = two_sum(a.lo, -p.lo), rest
    rest = two_sum(high.hi, low.hi)
    return rest.hi == q.lo * b and high.lo == 0.0 and rest.lo + low.lo == 0.0


cdef inline double settled_quotient(
    Pair a, Pair b, bint exact, bint single, uint8_t* sure
) noexcept nogil:
    """A quotient of two numbers; if they are exact, of a tie, too."""
    cdef double result, half
    cdef int64_t bits
    cdef Pair q, tie
    if not (b.hi > 0.0):
        sure[0] = False
        return 0.0
    q = pair_over(a, b)
    result = settled(q, single, sure)
    if sure[0] or not exact or b.lo != 0.0 or not (1e-30 < abs(q.hi) < 1e30):
        return result
    tie = two_sum(q.hi, q.lo)
    if single:
        bits = (bits_of_double(tie.hi) + 0x8000000) >> 28 << 28  # the multiple of a half next to it
        memcpy(&tie.hi, &bits, sizeof(bits))
        tie.lo = 0.0
    else:
        half = half_of_last(tie.hi)
        tie.lo = half if tie.lo > 0.0 else -half
    sure[0] = is_quotient(tie, a, b.hi)
    tie = two_sum(tie.hi, tie.lo)  # to even
    return <float>tie.hi if single else tie.hi


cdef inline double settled_root(Pair a, Pair b, bint single, uint8_t* sure) noexcept nogil:
    """The root of a quotient."""
    cdef Pair q, p, r
    if not (b.hi > 0.0):
        sure[0] = False
        return 0.0
    q = pair_over(a, b)
    r.hi = sqrt(q.hi)
    r.lo = 0.0
    if q.hi > 0.0:
        p = two_product(r.hi, r.hi)
        r.lo = ((q.hi - p.hi) - p.lo + q.lo) / (2.0 * r.hi)
    return settled(r, single, sure)
