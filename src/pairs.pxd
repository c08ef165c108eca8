"""Double-double: an unevaluated sum hi + lo with |lo| far below |hi|.

Used where a double would leave an error of one or two ulps: in the lanes, the tree and the
finish. Every operation is a fixed sequence of roundings: the compiler may not contract it.

Knuth, TAOCP vol. 2, section 4.2.2 (two-sum); Dekker, Numer. Math. 18, 1971.
"""

from libc.math cimport fma


cdef struct Pair:
    double hi
    double lo


cdef inline Pair two_sum(double a, double b) noexcept nogil:
    """hi + lo == a + b exactly."""
    cdef Pair r
    cdef double v
    r.hi = a + b
    v = r.hi - a
    r.lo = (a - (r.hi - v)) + (b - v)
    return r


cdef inline Pair two_product(double a, double b) noexcept nogil:
    """hi + lo == a * b exactly (fma rounds once, in hardware or in libm)."""
    cdef Pair r
    r.hi = a * b
    r.lo = fma(a, b, -r.hi)
    return r


cdef inline Pair pair_add(Pair a, Pair b) noexcept nogil:
    cdef Pair r = two_sum(a.hi, b.hi)
    r.lo += a.lo + b.lo
    return r


cdef inline Pair pair_times(Pair a, Pair b) noexcept nogil:
    cdef Pair r = two_product(a.hi, b.hi)
    r.lo += a.hi * b.lo + a.lo * b.hi
    return r


cdef inline Pair pair_over(Pair a, Pair b) noexcept nogil:
    cdef Pair r, p
    r.hi = a.hi / b.hi
    p = two_product(r.hi, b.hi)
    r.lo = ((a.hi - p.hi) - p.lo + a.lo - r.hi * b.lo) / b.hi
    return r


cdef inline Pair pair_of(double a) noexcept nogil:
    cdef Pair r
    r.hi = a
    r.lo = 0.0
    return r
