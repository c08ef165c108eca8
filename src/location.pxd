"""The search for the Huber location: the point from which the loss to a sample is least.

From corner to corner, or, of many elements, to points that a sample of them predicts; and the sums
of a line search. It uses the sums of ``bracket.pxd``, and nothing of jobs and leaves.
"""

from libc.math cimport INFINITY, frexp, isinf, ldexp, nextafter, sqrt
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from bracket cimport (
    Search, add_chunk, between, check_signals, evaluate, middle_of_flat, narrow, total,
)
from lanes cimport Lanes, clear_lanes
from pairs cimport Pair, pair_add, pair_of, pair_over, pair_times
from sizes cimport CHUNK
from smoothl1._smoothl1 cimport clip, curvature


cdef enum:
    # Elements whose root predicts that of the others. Fewer are searched corner by corner.
    SAMPLE = 512


cdef inline uint64_t draw(Search* s, uint64_t below) noexcept nogil:
    """A pseudo-random number: Knuth's linear congruential generator, its upper bits."""
    s.random = s.random * <uint64_t>6364136223846793005 + <uint64_t>1442695040888963407
    return (s.random >> 33) % below


cdef inline int predict(
    Search* s, const double* y, const double* w, Py_ssize_t n, double deviations, double* low,
    double* high,
) except -1 nogil:
    """Two points that are likely to bracket the root closely, from a sample.

    ``deviations``: how many standard deviations of the sample's G they are from its root.
    """
    cdef double* ys = s.space
    cdef double* ws = ys + SAMPLE
    cdef double* work_y = ws + SAMPLE
    cdef double* work_w = work_y + SAMPLE
    cdef Search of_sample
    cdef double root, d, part, margin = 0.0, down = ldexp(1.0, -440)
    cdef Pair ratio = pair_of(<double>SAMPLE / n)
    cdef Py_ssize_t i, stride = n // SAMPLE
    cdef int k
    for i in range(SAMPLE):
        k = <int>draw(s, stride)
        ys[i] = y[i * stride + k]
        ws[i] = 1.0 if w is NULL else w[i * stride + k]
    of_sample = s[0]
    of_sample.net = pair_times(s.net, ratio)
    of_sample.weight = pair_times(s.weight, ratio)
    of_sample.moment = pair_times(s.moment, ratio)
    memcpy(work_y, ys, SAMPLE * sizeof(double))
    memcpy(work_w, ws, SAMPLE * sizeof(double))
    root = solve(&of_sample, work_y, work_w, SAMPLE)
    for i in range(SAMPLE):
        d = root - ys[i]
        part = clip(d, s.beta) * s.unit if s.beta > 0.0 else <double>((d > 0.0) - (d < 0.0))
        part *= ws[i] * down  # whose square neither overflows nor underflows
        margin += part * part
    margin = deviations * sqrt(margin) / down
    for k in range(2):
        of_sample = s[0]
        of_sample.net = pair_times(s.net, ratio)
        of_sample.weight = pair_times(s.weight, ratio)
        of_sample.moment = pair_add(
            pair_times(s.moment, ratio), pair_of(margin if k else -margin)
        )
        memcpy(work_y, ys, SAMPLE * sizeof(double))
        memcpy(work_w, ws, SAMPLE * sizeof(double))
        root = solve(&of_sample, work_y, work_w, SAMPLE)
        if k:
            high[0] = root
        else:
            low[0] = root
    return 0


cdef inline double solve(Search* s, double* y, double* w, Py_ssize_t n) except? -1.0 nogil:
    """The root of G; the middle, where it is an interval. Overwrites y and w."""
    cdef double pivots[2]
    cdef double left, right, corner
    cdef Py_ssize_t i, before
    cdef int k, count
    cdef bint predicts = True
    cdef Pair g
    while n > 0:
        before = n
        count = 0
        if n > 2 * SAMPLE and predicts:
            predict(s, y, w, n, 2.0, &pivots[0], &pivots[1])
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
                elif right < 0.0:
                    s.lo = pivots[k]
                else:
                    return middle_of_flat(s, y, n, pivots[k], left == 0.0, right == 0.0)
                n = narrow(s, y, w, n, y, w)
            elif count == 1:
                n = narrow(s, y, w, n, y, w)  # an element without a corner inside
            k += 1
        # A prediction that failed is followed by a step that is sure to drop something.
        predicts = count == 1 or n <= before // 2
    g = pair_times(pair_of(s.step), s.net)
    g = pair_add(s.moment, pair_times(pair_of(-1.0), g))
    if s.weight.hi > 0.0:
        g = pair_over(g, s.weight)
        left = (g.hi + g.lo) / s.unit
        return s.lo if left < s.lo else (s.hi if left > s.hi else left)
    left = g.hi + g.lo
    return s.hi if left > 0.0 else (s.lo if left < 0.0 else between(s.lo, s.hi))


cdef inline bint extent(
    const double* a, Py_ssize_t n, double* smallest, double* largest
) noexcept nogil:
    """The least and the greatest element; inf and -inf for none. Returns whether one is NaN."""
    cdef double low[16]
    cdef double high[16]
    cdef int64_t odd[16]
    cdef int64_t nan = 0
    cdef Py_ssize_t i, k
    for k in range(16):
        low[k] = INFINITY
        high[k] = -INFINITY
        odd[k] = 0
    for i in range(0, n - 15, 16):
        for k in range(16):
            low[k] = a[i + k] if a[i + k] < low[k] else low[k]
            high[k] = a[i + k] if a[i + k] > high[k] else high[k]
            odd[k] |= a[i + k] != a[i + k]
    for i in range(n - n % 16, n):
        low[0] = a[i] if a[i] < low[0] else low[0]
        high[0] = a[i] if a[i] > high[0] else high[0]
        odd[0] |= a[i] != a[i]
    smallest[0] = low[0]
    largest[0] = high[0]
    for k in range(16):
        nan |= odd[k]
    for k in range(1, 16):
        smallest[0] = low[k] if low[k] < smallest[0] else smallest[0]
        largest[0] = high[k] if high[k] > largest[0] else largest[0]
    return nan != 0


cdef inline Py_ssize_t normalise(double* y, double* w, Py_ssize_t n) noexcept nogil:
    """Bring the largest weight to [0.5, 1), drop elements of weight 0; return how many are left."""
    cdef double smallest, largest, factor, rest
    cdef int exponent
    cdef Py_ssize_t i, k = 0
    extent(w, n, &smallest, &largest)
    frexp(largest, &exponent)
    factor = ldexp(1.0, -exponent // 2)
    rest = ldexp(1.0, -exponent - -exponent // 2)
    for i in range(n):  # in two steps: their product might overflow
        w[i] = (w[i] * factor) * rest
    extent(w, n, &smallest, &largest)
    if smallest > 0.0:
        return n
    for i in range(n):
        y[k] = y[i]
        w[k] = w[i]
        k += w[k] > 0.0
    return k


cdef inline Py_ssize_t enclose(
    Search* s, const double* y, const double* w, Py_ssize_t n, double* kept_y, double* kept_w
) except -2 nogil:
    """Keep what lies between two points that a sample predicts; return how many, or -1.

    In one pass, on the assumption that the root is between the points, which what is kept can
    tell. -1: it is not, and nothing has changed but the next random number.
    """
    cdef Search found
    cdef double low, high, left, right, unused
    cdef Py_ssize_t k
    predict(s, y, w, n, 3.0, &low, &high)  # a failure costs a pass: one in 400
    if not s.lo < low < high < s.hi:
        return -1
    found = s[0]
    found.lo = low
    found.hi = high
    k = narrow(&found, y, w, n, kept_y, kept_w)
    evaluate(&found, kept_y, NULL if w is NULL else kept_w, k, low, &unused, &right)
    evaluate(&found, kept_y, NULL if w is NULL else kept_w, k, high, &left, &unused)
    if not (right < 0.0 < left):
        return -1
    s[0] = found
    return k


cdef inline double locate(
    const double* y, double* w, Py_ssize_t n, double beta, double smallest, double largest,
    double* kept_y, double* kept_w, double* space,
) except? -1.0 nogil:
    """The minimiser of the sum of w smooth_l1(y - m; beta); w is NULL for weights of 1.

    With weights y, too, is overwritten. ``kept_y``, and with weights ``kept_w``, are memory for n
    numbers; ``space`` holds 4 SAMPLE numbers.
    """
    cdef Search s
    cdef double result
    cdef int exponent
    cdef Py_ssize_t left = -1
    if w is not NULL:
        n = normalise(<double*>y, w, n)
        check_signals()
        extent(y, n, &smallest, &largest)
    if smallest == largest:
        return smallest
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
    s.net = s.weight = s.moment = pair_of(0.0)
    s.random = 0
    s.space = space
    if n > 2 * SAMPLE:
        left = enclose(&s, y, w, n, kept_y, kept_w)
    if left >= 0:
        result = solve(&s, kept_y, NULL if w is NULL else kept_w, left)
    elif w is NULL:
        memcpy(kept_y, y, n * sizeof(double))
        result = solve(&s, kept_y, NULL, n)
    else:
        result = solve(&s, <double*>y, w, n)
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
