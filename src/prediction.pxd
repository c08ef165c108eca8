"""Where the root of G is likely to be, from a sample: two points that seldom fail to bracket it.

What is predicted is tested by the search (``location.pxd``), so nothing here need be exact; but it
is the same everywhere, because the points decide which elements are summed beside which.
"""

from libc.math cimport INFINITY, NAN, isnan, sqrt
from libc.stdint cimport uint64_t

from bracket cimport Search, between, slope_sum, smoothl1_extent, smoothl1_pull


cdef enum:
    # Elements of a sample, at least and at most.
    SAMPLE = 512
    LARGEST_SAMPLE = 8192
    # Of a sample one element in so many, but no more than POINTS, is sorted: neighbours among them
    # are close enough for values of any magnitude, and what the search for its root starts from.
    SORTED = 16
    POINTS = 128
    STEPS = 12  # of that search, at most


cdef struct Sample:
    const Search* search
    double* y
    double* w
    int n
    double scale  # of differences, so that nothing overflows
    double limit  # beta times scale
    double share  # what a unit of the G of the elements that were dropped is in that of the sample
    double points[POINTS + 2]  # sorted, from end to end of the bracket
    double values[POINTS + 2]  # the sample's G there; NaN before anyone asked
    int count


cdef inline uint64_t draw(Search* s, uint64_t below) noexcept nogil:
    """A pseudo-random number: Knuth's linear congruential generator, its upper bits."""
    s.random = s.random * <uint64_t>6364136223846793005 + <uint64_t>1442695040888963407
    return (s.random >> 33) % below


cdef inline int size_of_sample(Py_ssize_t n) noexcept nogil:
    """An element more in the sample costs what eight kept ones do, of which it saves others."""
    cdef int m = SAMPLE
    while m < LARGEST_SAMPLE and 16.0 * m * m * m < <double>n * n:
        m *= 2
    return m


cdef inline double pull(const Sample* t, double m, double* variance) noexcept nogil:
    """G of the sample at m, with its part of what was dropped; and the variance of its own part."""
    cdef double own, squares, varying
    smoothl1_pull(t.y, t.w, t.n, m, t.scale, t.limit, &own, &squares)
    varying = squares - own * own / t.n
    variance[0] = varying if varying > squares / t.n else squares / t.n
    return own + t.share * slope_sum(
        t.search, m, t.search.net, t.search.weight, t.search.moment
    )


cdef inline double close_in(
    const Sample* t, double target, double a, double at_a, double b, double at_b, int side,
    double tolerance, double* variance
) noexcept nogil:
    """A point between a and b where the sample's G is near to ``target``.

    Within ``tolerance`` standard deviations; where it jumps, or after enough steps, the closest
    point found below (side -1) or above (1) the root.
    """
    cdef double m = a if side < 0 else b, f
    cdef int step
    for step in range(STEPS):
        m = a + (b - a) * (at_a / (at_a - at_b)) if step % 3 < 2 else between(a, b)
        if not a < m < b:
            m = between(a, b)
            if not a < m < b:
                break
        f = pull(t, m, variance) - target
        if f * f <= tolerance * tolerance * variance[0]:
            return m
        if f < 0.0:
            a = m
            at_a = f
        else:
            b = m
            at_b = f
    return a if side < 0 else b


cdef inline void set_points(Sample* t, double least, double greatest) noexcept nogil:
    """Sort some corners that are within the bracket, and its ends."""
    cdef const Search* s = t.search
    cdef double corner, end = s.hi
    cdef int i, k, points = t.n // SORTED if t.n // SORTED < POINTS else POINTS
    t.points[0] = s.lo
    if s.net.hi == 0.0 and s.weight.hi == 0.0:  # nothing was dropped: the root is among the sample
        t.points[0] = least if least > s.lo else s.lo
        end = greatest if greatest < s.hi else s.hi
    t.count = 1
    for i in range(points):
        corner = t.y[i * (t.n // points)] - s.beta
        if not t.points[0] < corner < end:
            corner = t.y[i * (t.n // points)] + s.beta
        if t.points[0] < corner < end:
            k = t.count
            while t.points[k - 1] > corner:  # the first is not
                t.points[k] = t.points[k - 1]
                k -= 1
            t.points[k] = corner
            t.count += 1
    t.points[t.count] = end
    t.count += 1
    for k in range(t.count):
        t.values[k] = NAN


cdef inline double value_at(Sample* t, int k) noexcept nogil:
    cdef double unused
    if isnan(t.values[k]):
        t.values[k] = pull(t, t.points[k], &unused)
    return t.values[k]


cdef inline double locate_in(Sample* t, double target, int side, double* variance) noexcept nogil:
    """Where the sample's G is ``target``, or nearly; NaN if that is not between the points."""
    cdef int first = 0, last = t.count - 1, k
    if not value_at(t, first) < target <= value_at(t, last):
        return NAN
    while last - first > 1:
        k = (first + last) // 2
        if value_at(t, k) < target:
            first = k
        else:
            last = k
    return close_in(
        t, target, t.points[first], t.values[first] - target, t.points[last],
        t.values[last] - target, side, 0.25, variance,
    )


cdef inline bint predict(
    Search* s, const double* y, const double* w, Py_ssize_t n, double deviations, double* low,
    double* high,
) noexcept nogil:
    """Two points that are likely to bracket the root closely; or an end of the bracket for one.

    ``deviations``: how many standard deviations of the sample's G they are from its root. False if
    the sample, of more than 2 SAMPLE elements, does not tell.
    """
    cdef Sample t
    cdef double least, greatest, reach, root, margin, variance = 0.0
    cdef Py_ssize_t i, k, stride
    t.search = s
    t.n = size_of_sample(n)
    t.y = s.space
    t.w = s.space + t.n
    stride = n // t.n
    for i in range(t.n):
        t.w[i] = 1.0
        k = i * stride + <Py_ssize_t>draw(s, stride)
        t.y[i] = y[k]
        if w is not NULL:
            t.w[i] = w[k]
    if not smoothl1_extent(t.y, t.n, &least, &greatest) or least == greatest:
        return False
    reach = greatest - least
    reach = s.beta if 0.0 < s.beta < reach else reach
    t.scale = 1.0 / reach
    t.limit = s.beta * t.scale
    t.limit = t.limit if t.limit < 2.0 else 2.0
    t.share = (<double>t.n / n) * (t.scale / s.unit if s.beta > 0.0 else 1.0)
    if not (t.scale < INFINITY and t.share > 0.0):
        return False
    set_points(&t, least, greatest)
    root = locate_in(&t, 0.0, 0, &variance)
    if isnan(root):
        return False
    pull(&t, root, &variance)
    margin = deviations * sqrt(variance)
    low[0] = locate_in(&t, -margin, -1, &variance)
    high[0] = locate_in(&t, margin, 1, &variance)
    low[0] = s.lo if isnan(low[0]) else low[0]
    high[0] = s.hi if isnan(high[0]) else high[0]
    return low[0] < high[0] and (s.lo < low[0] or high[0] < s.hi)
