"""From exact sums to figures: in double-double, and only where that is beyond doubt.

A figure is settled if no value within the error of double-double rounds otherwise. The others,
ties among them, are left to Python's integers (``smoothl1/_sums/rounding.py``), as is
whatever is rare.
"""

from libc.math cimport INFINITY, NAN, sqrt
from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy

from bygroup cimport Window
from certificates cimport Certificate, error_of, power_of_two
from digits cimport (
    BASE_DOUBLE, BASE_SINGLE, COUNTS, DIGITS_DOUBLE, base_of, bits_of_double, digits_of,
)
from jobs cimport Job, MEAN, Reduction, WEIGHTED_MEAN
from pairs cimport Pair, pair_add, pair_of, pair_over, pair_times, two_product, two_sum
from terms cimport ARRAY, PRODUCT, Params


cdef enum:
    # Digits below this power of two are left out beside numbers that are far above it.
    LOWEST = -960
    # What sums from 2**608 on are multiplied with, as a power of two.
    LARGE = -608


cdef struct Doubt:
    bint whole   # nothing is settled
    bint exact   # no number so far has an error at all


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
    doubt.exact = doubt.exact and r.hi * power_of_two(-100) <= last
    return r


cdef inline Pair first_digits(
    const int64_t* row, const Window* window, int exponent, Doubt* doubt
) noexcept nogil:
    """What ``number_of`` gives, by the first four digits alone: good to 2**-90."""
    cdef const int64_t* digits = row + window.column
    cdef int64_t i = window.digits - 1, middle, low, power
    cdef int64_t parts[3]
    cdef int k
    cdef double unit
    cdef Pair r
    doubt.exact = False
    if window.special >= 0:
        doubt.whole = True
        return pair_of(0.0)
    while i > 0 and digits[i] == 0:
        i -= 1
    for k in range(3):
        parts[k] = digits[i - 1 - k] if i > k else 0
    power = 32 * (i + window.first) + exponent
    if digits[i] < 0 or digits[i] >> 52 != 0 or not -800 < power < 900:
        doubt.whole = doubt.whole or digits[i] != 0
        return pair_of(0.0)
    # 53 bits below the first digit, and 43 below these.
    middle = parts[0] << 21 | parts[1] >> 11
    low = (parts[1] & 0x7FF) << 32 | parts[2]
    unit = power_of_two(power)
    r = two_sum(<double>digits[i] * unit, <double>middle * (unit * power_of_two(-53)))
    r.lo += <double>low * (unit * power_of_two(-96))
    return r


cdef inline Pair sum_of_group(
    const int64_t* row, const Window* window, int exponent, bint careful, Doubt* doubt
) noexcept nogil:
    if careful:
        return number_of(row, window, exponent, doubt)
    return first_digits(row, window, exponent, doubt)


cdef inline double half_of_last(double a) noexcept nogil:
    """Half of what lies between a and its neighbour, the nearer one."""
    cdef int64_t bits = bits_of_double(a)
    cdef double half = power_of_two(((bits >> 52) & 0x7FF) - 1023 - 53)
    return 0.5 * half if bits & 0xFFFFFFFFFFFFFLL == 0 else half


cdef inline double settled(Pair q, double error, bint single, uint8_t* sure) noexcept nogil:
    """The float nearest to a number that is known to a few units of 2**-100, and to an error.

    Rounding keeps order: what is between two numbers that round to a float rounds to it, too.
    """
    cdef float nearest
    q = two_sum(q.hi, q.lo)
    if error == 0.0 and q.hi == 0.0:
        sure[0] = True  # nothing but digits of 0
        return 0.0
    if error > 0.0 and not q.hi > error:  # nor is its sign known
        sure[0] = False
        return 0.0
    if single:
        error += power_of_two(-48) * abs(q.hi)
        nearest = <float>(q.hi + error)
        sure[0] = nearest == <float>(q.hi - error)
        return nearest
    sure[0] = (
        1e-200 < abs(q.hi) < 1e200 and abs(q.lo) + error < 0.99999 * half_of_last(q.hi)
    )
    return q.hi


cdef inline bint is_quotient(Pair q, Pair a, double b) noexcept nogil:
    """Whether q b = a exactly, for a q.lo that is 0 or a power of two."""
    cdef Pair p = two_product(q.hi, b)
    cdef Pair high = two_sum(a.hi, -p.hi), low = two_sum(a.lo, -p.lo), rest
    rest = two_sum(high.hi, low.hi)
    return rest.hi == q.lo * b and high.lo == 0.0 and rest.lo + low.lo == 0.0


cdef inline bint is_sum_exact(Pair a, Pair b) noexcept nogil:
    """Whether ``pair_add`` of two pairs has no error."""
    cdef Pair high = two_sum(a.hi, b.hi), low = two_sum(a.lo, b.lo)
    return low.lo == 0.0 and two_sum(high.lo, low.hi).lo == 0.0


cdef inline Pair less_offsets(
    Pair terms, Pair linear, const Params* p, Doubt* doubt
) noexcept nogil:
    """What is left of terms without a sign, of which at most half is subtracted."""
    cdef Pair rest = pair_times(linear, p.offset), less = pair_add(terms, rest)
    # Nothing is rounded where the parts are added without an error, and no product is subnormal.
    doubt.exact = (
        doubt.exact and linear.lo == 0.0 and p.offset.lo == 0.0 and is_sum_exact(terms, rest)
        and (p.offset.hi == 0.0 or rest.hi < -1e-200)
    )
    doubt.whole = doubt.whole or less.hi < 0.1 * terms.hi
    return less


cdef inline double settled_quotient(
    Pair a, Pair b, double error, bint exact, bint single, uint8_t* sure
) noexcept nogil:
    """A quotient of two numbers, the first one with an error; if they are exact, of a tie, too."""
    cdef double result, half
    cdef int64_t bits
    cdef Pair q, tie
    if not (b.hi > 0.0):
        sure[0] = False
        return 0.0
    q = pair_over(a, b)
    result = settled(q, error / b.hi, single, sure)
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
    return settled(r, 0.0, single, sure)


cdef inline int scale_of_row(const Job* job, const int64_t* row, int i) noexcept nogil:
    """An exponent that brings a sum into the range of pairs: 0, or LARGE for a large one."""
    cdef const int64_t* digits = row + 1 + i * (digits_of(job.single) + COUNTS)
    cdef int digit
    if not job.single:
        for digit in range((BASE_DOUBLE - LARGE) // 32, DIGITS_DOUBLE):
            if digits[digit] != 0:
                return LARGE
    return 0


cdef inline Pair sum_of_row(
    const Job* job, const int64_t* row, int i, int scale, Doubt* doubt
) noexcept nogil:
    """A sum of a row, times 2**scale, as a pair, as far as there is no doubt."""
    cdef Window window
    window.first = 0
    window.digits = digits_of(job.single)
    window.column = 1 + i * (window.digits + COUNTS)
    window.special = window.column + window.digits
    return number_of(row, &window, scale - base_of(job.single), doubt)


cdef inline double special_of(const Job* job, const int64_t* row, int i) noexcept nogil:
    """What a sum of terms without weights is if it is no number, else 0."""
    cdef const int64_t* counts = row + 1 + i * (digits_of(job.single) + COUNTS)
    counts += digits_of(job.single)
    return NAN if counts[0] else INFINITY if counts[1] else 0.0


cdef inline double settle_loss(
    const Job* job, const int64_t* row, int k, Reduction how, Certificate* certificate,
    uint8_t* sure,
) noexcept nogil:
    """The reduced loss of a row, correctly rounded if it is sure.

    ``certificate``: of the sum of the terms; NULL for exact ones.
    """
    cdef const Params* p = &job.params[k]
    cdef Doubt doubt
    cdef Pair terms, linear, divisor = pair_of(1.0)
    cdef double error = error_of(certificate)
    cdef int scale
    doubt.whole = p.form == ARRAY and not job.options.has_beta
    doubt.exact = error == 0.0
    sure[0] = not job.options.has_weight and special_of(job, row, 1 + 2 * k) != 0.0
    if sure[0]:
        return special_of(job, row, 1 + 2 * k)
    if how == MEAN:
        divisor = pair_of(<double>row[0])
    elif how == WEIGHTED_MEAN:
        divisor = sum_of_row(job, row, 0, 0, &doubt)
    scale = scale_of_row(job, row, 1 + 2 * k)
    linear = sum_of_row(job, row, 2 + 2 * k, scale, &doubt) if p.form != PRODUCT else pair_of(0.0)
    terms = sum_of_row(job, row, 1 + 2 * k, scale, &doubt)
    if doubt.whole:
        return 0.0
    if linear.hi != 0.0:
        terms = less_offsets(terms, linear, p, &doubt)
        if doubt.whole:
            return 0.0
    # Of what is normal, and so is a loss that large or infinite, a power of two changes no bit.
    return power_of_two(-scale) * settled_quotient(
        terms, pair_times(divisor, pair_of(p.over)), error * power_of_two(scale), doubt.exact,
        job.single, sure,
    )


cdef inline bint figures_of_group(
    const int64_t* row, const Window* windows, int losses, const Params* params, bint single,
    bint weighted, bint mean, bint careful, double* figures,
) noexcept nogil:
    """The losses of a group, mae, rmse, the shares, and the sum of the weights.

    Returns whether all are settled; if not ``careful``, no ties are.
    """
    cdef int exponent = -(BASE_SINGLE if single else BASE_DOUBLE), k
    cdef Doubt doubt
    cdef Pair weight, terms, linear, divisor, inside
    cdef uint8_t sure = False
    cdef bint counts = windows[0].digits == 1 and windows[0].special < 0  # no weights but 1
    cdef bint exact
    doubt.whole = row[0] <= 0
    doubt.exact = True
    weight = sum_of_group(row, &windows[0], exponent, careful, &doubt)
    if doubt.whole:
        return False
    if counts and weight.lo == 0.0:
        figures[2 * losses + 2] = weight.hi
    else:
        figures[2 * losses + 2] = settled_quotient(
            weight, pair_of(1.0), 0.0, doubt.exact, False, &sure
        )
        if not sure:
            return False
    exact = doubt.exact
    divisor = weight if weighted else pair_of(<double>row[0] if mean else 1.0)
    for k in range(losses):
        doubt.exact = exact
        if params[k].form == ARRAY:
            return False
        linear = sum_of_group(row, &windows[2 + 2 * k], exponent, careful, &doubt)
        terms = sum_of_group(row, &windows[1 + 2 * k], exponent, careful, &doubt)
        if doubt.whole:
            return False
        inside = pair_add(weight, pair_times(linear, pair_of(-1.0)))
        inside = two_sum(inside.hi, inside.lo)
        if counts:
            figures[losses + 2 + k] = (weight.hi - linear.hi) / weight.hi
        elif inside.hi == 0.0 or inside.hi > 1e-3 * weight.hi:
            figures[losses + 2 + k] = settled_quotient(inside, weight, 0.0, False, False, &sure)
            if not sure:
                return False
        else:
            return False
        if params[k].form != PRODUCT:
            terms = less_offsets(terms, linear, &params[k], &doubt)
            if doubt.whole:
                return False
        figures[k] = settled_quotient(
            terms, pair_times(divisor, pair_of(params[k].over)), 0.0, doubt.exact, single, &sure
        )
        if not sure:
            return False
    doubt.exact = exact
    terms = sum_of_group(row, &windows[1 + 2 * losses], exponent, careful, &doubt)
    if doubt.whole:
        return False
    figures[losses] = settled_quotient(terms, weight, 0.0, doubt.exact, single, &sure)
    if not sure:
        return False
    terms = sum_of_group(row, &windows[2 + 2 * losses], exponent, careful, &doubt)
    if doubt.whole:
        return False
    terms = pair_times(terms, pair_of(4.0))
    figures[losses + 1] = settled_root(terms, weight, single, &sure)
    return sure
