"""How a block of terms comes to the digits of an exact sum (``digits.pxd``): one of three ways.

All ways are exact, so which one a block goes decides no bit.

*One window.* ``C`` is so large that additions to it round to multiples of ``2**q``; when every
term is one, lanes that start at ``C`` take them in without rounding, and the bits of a lane less
the bits of ``C`` are the lane's sum as an integer.

*Two windows.* Where terms have bits below ``q``, what an addition dropped is exactly known
(Dekker's fast two-sum) and goes to a second lane, 46 bits further down.

*By exponent.* Terms that reach below the second window are added to a sum of their exponent each
(``exponents.h``); if they are too few for that, or for lanes, one by one to the digits.

Of a sum that has a certificate (``certificates.pxd``) all blocks go through windows, but for those
of tiny terms: what windows drop is noted.

NaN and infinities are counted, and taken out of the block.
"""

from libc.math cimport INFINITY, ldexp
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from certificates cimport Certificate, dropped, power_of_two
from digits cimport (
    BASE_DOUBLE, BASE_SINGLE, DIGITS_DOUBLE, DIGITS_SINGLE, add_term, bits_of_double,
    bits_of_float, carry, deposit,
)
from exponents cimport (
    ByExponent, EXPONENTS_SIZE, smoothl1_by_exponent, smoothl1_by_exponentf, smoothl1_pour,
    smoothl1_pourf,
)
from sizes cimport LANES
from smoothl1._smoothl1 cimport floating


cdef extern from "windows.h":
    void smoothl1_sum_termsf(
        const float* terms, Py_ssize_t n, double scale, double start, double start_low,
        int64_t* high, int64_t* low,
    ) noexcept nogil
    void smoothl1_sum_terms(
        const double* terms, Py_ssize_t n, double scale, double start, double start_low,
        int64_t* high, int64_t* low,
    ) noexcept nogil


cdef enum:
    # A block of TERMS is 64 additions to a lane: lanes have room for 2**SPARE_BITS of them.
    SPARE_BITS = 6
    # Lanes of one window: more additions at a time than LANES, which would wait for each other.
    WIDE = 32
    # Fewer than these are not worth lanes, and sums by exponent.
    FEW = 48
    FEW_BY_EXPONENT = 256
    # Terms that are in no windows: see ``add_terms``.
    NO_TOP = -10000
    # Windows for terms below 2**HIGHEST_TOP do not overflow, those for more than 2**LOWEST_TOP are
    # not subnormal.
    HIGHEST_TOP = 1010
    LOWEST_TOP = -900
    # Terms of certified sums that are above are multiplied by 2**-SHRUNK.
    SHRUNK = 128


cdef inline void extremes(
    const floating* terms, Py_ssize_t n, int64_t* largest, int64_t* smallest
) noexcept nogil:
    """The bits, as integers, of the largest term, and of the smallest that is not 0.

    OUT: without such a term, 0 in both. Infinity and NaN are larger than any number.
    """
    cdef Py_ssize_t i
    cdef uint32_t a, high = 0, low = 0xFFFFFFFFU
    cdef uint64_t b, wide_high = 0, wide_low = 0xFFFFFFFFFFFFFFFFULL
    # One less than 0 is the largest of all.
    if floating is float:
        for i in range(n):
            a = bits_of_float(terms[i]) & 0x7FFFFFFF
            high = a if a > high else high
            a -= 1
            low = a if a < low else low
        largest[0] = high
        smallest[0] = low + <uint32_t>1
    else:
        for i in range(n):
            b = bits_of_double(terms[i]) & 0x7FFFFFFFFFFFFFFFULL
            wide_high = b if b > wide_high else wide_high
            b -= 1
            wide_low = b if b < wide_low else wide_low
        largest[0] = wide_high
        smallest[0] = wide_low + 1


cdef inline int64_t steps_of(const double* lanes, int count, double start) noexcept nogil:
    """How often the last bit of ``start`` was added, in all lanes together, at most WIDE.

    They stayed in its binade, in which floats are as far apart as their bits.
    """
    cdef uint64_t bits[WIDE]
    cdef uint64_t sum = 0
    cdef int lane
    memcpy(bits, lanes, count * sizeof(double))
    for lane in range(count):
        sum += bits[lane]
    return <int64_t>(sum - count * <uint64_t>bits_of_double(start))


cdef inline void add_in_one_window(
    const floating* terms, Py_ssize_t n, int top, int64_t* digits, int base
) noexcept nogil:
    """Add terms below 2**top in size, all multiples of the window's last bit."""
    cdef double start = ldexp(1.5, top + SPARE_BITS + 1)
    cdef double lanes[WIDE]
    cdef Py_ssize_t i = 0
    cdef int lane
    for lane in range(WIDE):
        lanes[lane] = start
    while i < n - n % WIDE:
        for lane in range(WIDE):
            lanes[lane] += terms[i + lane]
        i += WIDE
    if i < n:
        for lane in range(LANES):
            lanes[lane] += terms[i + lane]
    deposit(digits, steps_of(lanes, WIDE, start), last_of_one(top, SPARE_BITS) + base)


cdef inline void add_in_two_windows(
    const floating* terms, Py_ssize_t n, int top, int64_t* digits, int base
) noexcept nogil:
    """The same where terms are multiples of the last bit of the second window.

    What an addition to the first lane drops is at most half of its last bit.
    """
    cdef int shrunk = SHRUNK if top > HIGHEST_TOP else 0
    cdef double start = ldexp(1.5, top - shrunk + SPARE_BITS + 1)
    cdef double start_low = ldexp(1.5, top - shrunk + 2 * SPARE_BITS - 51)
    cdef int64_t high, low
    if floating is float:
        smoothl1_sum_termsf(terms, n, power_of_two(-shrunk), start, start_low, &high, &low)
    else:
        smoothl1_sum_terms(terms, n, power_of_two(-shrunk), start, start_low, &high, &low)
    deposit(digits, high, last_of_one(top, SPARE_BITS) + base)
    deposit(digits, low, last_of_two(top, SPARE_BITS) + base)


cdef inline void pour(ByExponent* by, int base, const floating* tag) noexcept nogil:
    """Bring the terms to the digits that they are part of."""
    cdef int position, signs = 2 if by.negative else 1
    if not by.used:
        return
    if floating is float:
        smoothl1_pourf(by.sums, signs, 0, 0, base - 149, by.digits)
        smoothl1_pourf(by.sums, signs, by.least, by.most, base - 149, by.digits)
        position = base - 149 + 23
    else:
        smoothl1_pour(by.sums, signs, 0, 0, base - 1074, by.digits)
        smoothl1_pour(by.sums, signs, by.least, by.most, base - 1074, by.digits)
        position = base - 1074 + 52
    deposit(by.digits, -by.others, position)  # the first bits that these do not have
    by.used = False


cdef inline void add_by_exponent(
    const floating* terms, Py_ssize_t n, int least, int most, int base, int64_t* digits,
    ByExponent* by,
) noexcept nogil:
    """Add terms, a multiple of 4 of them, whose exponents are between two, or which are 0."""
    if not by.ready:
        memset(by.sums, 0, EXPONENTS_SIZE)
        by.ready = True
    if by.digits != digits:
        pour(by, base, terms)
    if not by.used:
        by.used = True
        by.digits = digits
        by.least = least
        by.most = most
        by.others = 0
        by.negative = False
    by.least = min(by.least, least)
    by.most = max(by.most, most)
    if floating is float:
        by.others += smoothl1_by_exponentf(terms, n, by.sums, &by.negative)
    else:
        by.others += smoothl1_by_exponent(terms, n, by.sums, &by.negative)


cdef inline void take_out_special(floating* terms, Py_ssize_t n, int64_t* counts) noexcept nogil:
    """Count the terms that are no numbers, which become 0."""
    cdef Py_ssize_t i
    for i in range(n):
        if not abs(terms[i]) < <floating>INFINITY:
            counts[0 if terms[i] != terms[i] else 1 if terms[i] > 0 else 2] += 1
            terms[i] = 0


cdef inline int exponent_of(int64_t bits, const floating* tag) noexcept nogil:
    cdef int width = 23 if floating is float else 52
    return <int>(bits >> width)


cdef inline int top_of(int64_t largest, const floating* tag) noexcept nogil:
    """The least exponent of a power of two above a number, or more."""
    cdef int bias = 126 if floating is float else 1022
    return exponent_of(largest, tag) - bias


cdef inline int last_of(int64_t smallest, const floating* tag) noexcept nogil:
    """The exponent of the last bit of a number."""
    cdef int bias = 150 if floating is float else 1075
    return max(exponent_of(smallest, tag), 1) - bias


cdef inline int last_of_one(int top, int spare) noexcept nogil:
    """The exponent of the last bit of a window for 2**spare additions of terms below 2**top."""
    return top + spare - 51


cdef inline int last_of_two(int top, int spare) noexcept nogil:
    """The same of the second one."""
    return top + 2 * spare - 103


cdef inline bint in_two_windows(int top, int last) noexcept nogil:
    """Whether they hold numbers below 2**top that are multiples of 2**last."""
    return last >= last_of_two(top, SPARE_BITS) and LOWEST_TOP < top <= HIGHEST_TOP


cdef inline void add_dropping(
    const floating* terms, Py_ssize_t n, int top, int64_t* digits, int base,
    Certificate* certificate,
) noexcept nogil:
    """Add terms below 2**top; what is below the last bit of a window is rounded, and noted.

    Of float64 there are two windows.
    """
    if floating is float:
        add_in_one_window(terms, n, top, digits, base)
        certificate.bound += dropped(n, last_of_one(top, SPARE_BITS), True)
    else:
        add_in_two_windows(terms, n, top, digits, base)
        certificate.bound += dropped(n, last_of_two(top, SPARE_BITS), False)


cdef inline int add_terms(
    floating* terms, Py_ssize_t n, int64_t* digits, ByExponent* by, Certificate* certificate
) noexcept nogil:
    """Add a block of at most TERMS terms; the buffer has room for the next multiple of LANES.

    Returns the exponent of a power of two above them if two windows hold them, else NO_TOP. With a
    certificate they may drop something.
    """
    cdef int top, last, base = BASE_SINGLE if floating is float else BASE_DOUBLE
    cdef int count = DIGITS_SINGLE if floating is float else DIGITS_DOUBLE
    cdef int special = 0xFF if floating is float else 0x7FF
    cdef int64_t largest, smallest
    cdef Py_ssize_t i
    if n < FEW:
        for i in range(n):
            add_term(terms[i], digits)
        return NO_TOP
    while n % LANES != 0:
        terms[n] = 0
        n += 1
    extremes(terms, n, &largest, &smallest)
    if exponent_of(largest, terms) == special:
        take_out_special(terms, n, digits + count)
        extremes(terms, n, &largest, &smallest)
    if largest == 0:
        return NO_TOP
    top = top_of(largest, terms)
    last = last_of(smallest, terms)
    if certificate is not NULL:
        certificate.total += power_of_two(top - 1)  # of terms of one sign, it is no less
    if last >= last_of_one(top, SPARE_BITS) and top <= HIGHEST_TOP:
        add_in_one_window(terms, n, top, digits, base)
    elif certificate is not NULL and top > LOWEST_TOP and (
        floating is float or not in_two_windows(top, last)
    ):
        add_dropping(terms, n, top, digits, base, certificate)
    elif in_two_windows(top, last):
        add_in_two_windows(terms, n, top, digits, base)
    elif n >= FEW_BY_EXPONENT:
        add_by_exponent(
            terms, n, exponent_of(smallest, terms), exponent_of(largest, terms), base, digits, by
        )
        return NO_TOP
    else:
        for i in range(n):
            add_term(terms[i], digits)
        carry(digits, count)
        return NO_TOP
    return top
