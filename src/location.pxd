"""The search for the Huber location: the point from which the loss to a sample is least.

From corner to corner, or, of many elements, to points that a sample of them predicts; and the sums
of a line search. It uses the sums of ``bracket.pxd``, and nothing of jobs and leaves.
"""

from libc.math cimport INFINITY, NAN, frexp, isfinite, isinf, ldexp, nextafter
from libc.string cimport memcpy

from bracket cimport (
    Search, add_chunk, between, check_signals, evaluate, middle_of_flat, narrow,
    narrow_alike, slope_sum, smoothl1_extent, total,
)
from lanes cimport Lanes, clear_lanes
from pairs cimport Pair, pair_add, pair_of, pair_over, pair_times
from prediction cimport SAMPLE, draw, predict
from sizes cimport CHUNK
from smoothl1._smoothl1 cimport clip, curvature


cdef enum:
    # How many standard deviations of a sample's G the points are from its root: one in 400 fails.
    DEVIATIONS = 3
    TRIALS = 2
    VECTOR = 8  # numbers that ``smoothl1_sift`` writes beyond those it keeps
    SPARE = 64 * VECTOR  # for each time that the elements are halved, and once more


cdef inline double solve(Search* s, double* y, double* w, Py_ssize_t n) except? -1.0 nogil:
    """The root of G; the middle, where it is an interval. Overwrites y and w.

    Or ``failed``: the root is beyond an end of the bracket that was only predicted.
    """
    cdef double pivots[2]
    cdef double left, right, corner
    cdef Py_ssize_t i, before
    cdef int k, count
    cdef bint predicts = True
    cdef Pair g
    while n > 0:
        before = n
        count = 0
        if n > 2 * SAMPLE and predicts and predict(s, y, w, n, 2.0, &pivots[0], &pivots[1]):
            count = 2
        else:
            i = <Py_ssize_t>draw(s, n)
            corner = y[i] - s.beta
            if not s.lo < corner < s.hi:
                corner = y[i] + s.beta
            pivots[0] = corner
            count = 1
        k = 0
        while k < count:
            if s.lo < pivots[k] < s.hi:
                evaluate(s, y, w, n, pivots[k], &left, &right)
                if left > 0.0:
                    s.hi = pivots[k]
                    s.sure_hi = True
                elif right < 0.0:
                    s.lo = pivots[k]
                    s.sure_lo = True
                else:
                    return middle_of_flat(s, y, n, pivots[k], left == 0.0, right == 0.0)
                n = narrow(s, y, w, n, y, w)
            elif count == 1:
                n = narrow(s, y, w, n, y, w)  # an element without a corner inside
            k += 1
        # A prediction that failed is followed by a step that is sure to drop something.
        predicts = count == 1 or n <= before // 2
    if not s.sure_lo:
        s.failed = slope_sum(s, s.lo, s.net, s.weight, s.moment) >= 0.0
    if not s.sure_hi and slope_sum(s, s.hi, s.net, s.weight, s.moment) <= 0.0:
        s.failed = True
    g = pair_times(pair_of(s.step), s.net)
    g = pair_add(s.moment, pair_times(pair_of(-1.0), g))
    if s.weight.hi > 0.0:
        g = pair_over(g, s.weight)
        left = (g.hi + g.lo) / s.unit
        return s.lo if left < s.lo else (s.hi if left > s.hi else left)
    left = g.hi + g.lo
    return s.hi if left > 0.0 else (s.lo if left < 0.0 else between(s.lo, s.hi))


cdef inline Py_ssize_t normalise(double* y, double* w, Py_ssize_t n) noexcept nogil:
    """Bring the largest weight to [0.5, 1), drop elements of weight 0; return how many are left."""
    cdef double smallest, largest, factor, rest
    cdef int exponent
    cdef Py_ssize_t i, k = 0
    smoothl1_extent(w, n, &smallest, &largest)
    frexp(largest, &exponent)
    factor = ldexp(1.0, -exponent // 2)
    rest = ldexp(1.0, -exponent - -exponent // 2)
    for i in range(n):  # in two steps: their product might overflow
        w[i] = (w[i] * factor) * rest
    smoothl1_extent(w, n, &smallest, &largest)
    if smallest > 0.0:
        return n
    for i in range(n):
        y[k] = y[i]
        w[k] = w[i]
        k += w[k] > 0.0
    return k


cdef inline double search(
    Search* s, const double* y, const double* w, Py_ssize_t n, int trials, double* kept_y,
    double* kept_w,
) except? -1.0 nogil:
    """The root of G. ``kept_y``, and with weights ``kept_w``, are memory for n + SPARE numbers.

    What has a corner between two points that a sample predicts is kept, in one pass, and searched
    in the same way, on the assumption that the root is there: what is left in the end can tell.
    """
    cdef Search found
    cdef double result, low, high
    cdef Py_ssize_t k
    while n > 2 * SAMPLE and trials > 0:
        trials -= 1
        found = s[0]
        if predict(&found, y, w, n, DEVIATIONS, &low, &high):
            enclose(&found, low, high)
            k = narrow(&found, y, w, n, kept_y, kept_w)
            result = search_kept(&found, n, kept_y, kept_w, k)
            if not found.failed:
                return result
        s.random = found.random
    memcpy(kept_y, y, n * sizeof(double))
    if w is not NULL:
        memcpy(kept_w, w, n * sizeof(double))
    return solve(s, kept_y, kept_w if w is not NULL else NULL, n)


cdef inline void enclose(Search* s, double low, double high) noexcept nogil:
    s.sure_lo = s.sure_lo and low == s.lo
    s.sure_hi = s.sure_hi and high == s.hi
    s.lo = low
    s.hi = high


cdef inline double search_kept(
    Search* s, Py_ssize_t n, double* y, double* w, Py_ssize_t k
) except? -1.0 nogil:
    """The same of k elements at the beginning of that memory."""
    if k > n // 2:  # and the memory behind them might be too short
        return solve(s, y, w, k)
    return search(s, y, w, k, TRIALS, y + k + VECTOR, NULL if w is NULL else w + k + VECTOR)


cdef inline void begin(Search* s, double smallest, double largest, double beta) noexcept nogil:
    """Set everything but the memory and the random number, for elements of that extent."""
    cdef int exponent
    # Large values become 2**940, so that neither 2**64 of them overflow nor a small beta
    # underflows beside them; one that does is as good as 0.
    frexp(largest if largest > -smallest else -smallest, &exponent)
    s.unit = ldexp(1.0, 940 - exponent if exponent > -60 else 1000)
    s.beta = beta if beta * s.unit > ldexp(1.0, -900) else 0.0
    s.step = s.beta * s.unit if s.beta > 0.0 else 1.0
    if isinf(s.step):
        s.step = 0.0  # nothing is ever saturated
    s.lo = nextafter(smallest, -INFINITY)
    s.hi = nextafter(largest, INFINITY)
    s.sure_lo = s.sure_hi = True
    s.failed = False
    s.net = s.weight = s.moment = pair_of(0.0)


cdef inline double glance(
    Search* s, const double* y, Py_ssize_t n, double beta, double* kept, bint* found
) except? -1.0 nogil:
    """The root, if it is between two points that a sample predicts before anything is known of y.

    The one pass tells the extent, too. NaN, and ``found``, if y is not finite.
    """
    cdef Search whole
    cdef double result, low, high, smallest, largest, unused
    cdef Py_ssize_t k
    found[0] = False
    s.beta = beta
    s.unit = 1.0
    s.step = 0.0  # of nothing
    s.lo = -INFINITY
    s.hi = INFINITY
    s.sure_lo = s.sure_hi = True
    s.net = s.weight = s.moment = pair_of(0.0)
    if not predict(s, y, NULL, n, DEVIATIONS, &low, &high):
        return 0.0
    enclose(s, low, high)
    k = narrow_alike(s, y, n, kept, &smallest, &largest)
    # NaN has no place among the others, hence it is kept.
    found[0] = not (
        isfinite(smallest) and isfinite(largest) and smoothl1_extent(kept, k, &unused, &unused)
    )
    if found[0]:
        return NAN
    begin(&whole, smallest, largest, beta)
    if whole.beta != beta or not (whole.unit >= 1.0 or beta == 0.0):
        return 0.0  # what was summed might have overflowed
    s.unit = whole.unit
    s.step = whole.step
    s.moment = pair_times(s.moment, pair_of(s.unit))
    s.failed = False
    result = search_kept(s, n, kept, NULL, k)
    found[0] = not s.failed
    result = smallest if result < smallest else result
    return largest if result > largest else result


cdef inline double locate(
    const double* y, double* w, Py_ssize_t n, double beta, double* kept_y, double* kept_w,
    double* space,
) except? -1.0 nogil:
    """The minimiser of the sum of w smooth_l1(y - m; beta); w is NULL for weights of 1.

    NaN if y is not finite. With weights y, too, is overwritten. ``kept_y``, and with weights
    ``kept_w``, are memory for n + SPARE numbers; ``space`` holds 2 LARGEST_SAMPLE.
    """
    cdef Search s
    cdef double result, smallest, largest
    cdef bint found
    cdef int trials = TRIALS
    s.random = 0
    s.space = space
    if w is not NULL:
        n = normalise(<double*>y, w, n)
        check_signals()
    elif n > 2 * SAMPLE:
        result = glance(&s, y, n, beta, kept_y, &found)
        if found:
            return result
        trials -= 1
    if not smoothl1_extent(y, n, &smallest, &largest):
        return NAN
    if smallest == largest:
        return smallest
    begin(&s, smallest, largest, beta)
    result = search(&s, y, w, n, trials, kept_y, kept_w)
    result = smallest if result < smallest else result
    return largest if result > largest else result


cdef inline void slope_and_curvature(
    const double* residual, const double* direction, const double* weight, Py_ssize_t n,
    double step, double beta, double* slope, double* curve,
) noexcept nogil:
    """First and second derivative in t of the sum of w smooth_l1(r - t d; beta), at t = step.

    For 0 < beta < inf. The second is the sum of w d**2 / beta over the quadratic piece.
    """
    cdef double first[CHUNK]
    cdef double second[CHUNK]
    cdef const double* r
    cdef const double* d
    cdef const double* w
    cdef Py_ssize_t start = 0, m, i
    cdef double z
    cdef Lanes slopes, curvatures
    slope[0] = curve[0] = 0.0
    if n == 0:
        return
    clear_lanes(&slopes)
    clear_lanes(&curvatures)
    while start < n:
        m = CHUNK if n - start > CHUNK else n - start
        r = residual + start
        d = direction + start
        w = weight + start
        for i in range(m):
            z = r[i] - step * d[i]
            first[i] = -w[i] * d[i] * (clip(z, beta) / beta)
            second[i] = curvature(abs(z), beta, w[i] * d[i] * d[i]) / beta
        add_chunk(first, m, &slopes)
        add_chunk(second, m, &curvatures)
        start += m
    slope[0] = total(&slopes, n, pair_of(0.0)).hi
    curve[0] = total(&curvatures, n, pair_of(0.0)).hi
