"""The bracket of a Huber location: the elements that matter within it, and sums of the others.

What the search of ``location.pxd`` asks between its steps: G at a point, which elements can be
dropped, and where the middle of a flat piece is. It uses the sums of ``lanes.pxd`` and nothing of
jobs and leaves.
"""

from cpython.exc cimport PyErr_CheckSignals
from libc.math cimport isfinite
from libc.stdint cimport int64_t, uint64_t

from cache cimport aligned
from kernels cimport fill
from lanes cimport Lanes, clear_lanes, fold_lanes, lane_add
from pairs cimport Pair, pair_add, pair_of, pair_times
from sizes cimport CHUNK, GROUP, LANES, LEAF, LINE


cdef extern from "bracket.h":
    ctypedef struct smoothl1_sifted:
        double hi[LANES]
        double lo[LANES]
        double least[LANES]
        double greatest[LANES]
        int64_t below
        int64_t above
        int64_t linear
        Py_ssize_t kept

    void smoothl1_start_sifting(smoothl1_sifted* s) noexcept nogil
    void smoothl1_sift(
        const double* y, Py_ssize_t n, double lo, double hi, double beta, double* kept,
        smoothl1_sifted* s, bint extremes
    ) noexcept nogil
    bint smoothl1_extent(
        const double* a, Py_ssize_t n, double* smallest, double* largest
    ) noexcept nogil
    void smoothl1_pull(
        const double* y, const double* w, int n, double m, double scale, double limit,
        double* sum, double* squares
    ) noexcept nogil


# The derivative of the sum of w smooth_l1(y - m; beta) with respect to m is, up to the factor
# beta, nondecreasing and piecewise linear,
#     G(m) = sum of w clip(m - y, -beta, beta),
# with corners at y - beta and y + beta. The search keeps a bracket of its root. An element
# with no corner strictly inside the bracket is one of three constants there, and is dropped:
# it is saturated (below or above the bracket) or linear all through it. Corners are rounded to
# float64; G is summed in double-double, but for the first addition of two elements. beta = 0
# gives the jumps of a median.

cdef struct Search:
    double beta
    double unit     # a power of two that keeps G from overflow and underflow
    double step     # what a saturated element of weight 1 contributes: beta * unit, 1 for beta = 0
    double lo       # the bracket, open: G(lo) < 0 < G(hi)
    double hi
    bint sure_lo    # not only predicted
    bint sure_hi
    bint failed     # the root is not between them
    Pair net        # weight of the elements dropped as saturated, positive below the bracket
    Pair weight     # of those dropped as linear
    Pair moment     # sum of weight * y * unit of those
    uint64_t random
    double* space   # of the search, for its samples, which the stack of a thread may lack


cdef enum:
    NET
    WEIGHT
    MOMENT
    JUMP  # weight of the elements that jump from above to below at the point itself
    PARTS


cdef struct Tally:
    Lanes sums[PARTS]


cdef inline void add_chunk(double* terms, Py_ssize_t n, Lanes* sums) noexcept nogil:
    """Add at most CHUNK terms; the buffer is filled up with zeros.

    Two of them are added first, not four: of equal weights 2 w is exact and 3 w is not, and a tie
    must come out as one.
    """
    cdef double hi[LANES]
    cdef double lo[LANES]
    cdef Py_ssize_t row = 0, i
    cdef int lane
    for i in range(n, n + (2 * LANES - n % (2 * LANES)) % (2 * LANES)):
        terms[i] = 0.0
    # ``+ 0.0`` as in ``lanes.sum_terms``.
    for lane in range(LANES):
        hi[lane] = sums.hi[lane] + 0.0
        lo[lane] = sums.lo[lane] + 0.0
    while row < n:
        for lane in range(LANES):
            lane_add(hi, lo, lane, terms[row + lane] + terms[row + LANES + lane])
        row += 2 * LANES
    for lane in range(LANES):
        sums.hi[lane] = hi[lane] + 0.0
        sums.lo[lane] = lo[lane] + 0.0


cdef inline void add_counts(const double* terms, Py_ssize_t n, Lanes* sums) noexcept nogil:
    """The same of terms that are integers, whose sums are."""
    cdef double counts[LANES]
    cdef Py_ssize_t row = 0, i
    cdef int lane
    for lane in range(LANES):
        counts[lane] = 0.0
    while row <= n - LANES:
        for lane in range(LANES):
            counts[lane] += terms[row + lane]
        row += LANES
    for i in range(row, n):
        counts[i - row] += terms[i]
    for lane in range(LANES):
        sums.hi[lane] += counts[lane]


cdef inline void tally_chunk(
    const double* y, const double* w, Py_ssize_t n, bint alike, const Search* s, double lo,
    double hi, Tally* tally,
) noexcept nogil:
    """Sum what is saturated or linear between lo and hi, at most CHUNK elements.

    ``alike``: the weights are 1.
    """
    cdef char space[PARTS * CHUNK * 8 + LINE]
    cdef double* net = <double*>aligned(space) + NET * CHUNK
    cdef double* weight = net + WEIGHT * CHUNK
    cdef double* moment = net + MOMENT * CHUNK
    cdef double* jump = net + JUMP * CHUNK
    cdef double beta = s.beta, unit = s.unit, first, last, below, above, linear
    cdef Py_ssize_t i
    cdef int part
    for i in range(n):
        first = y[i] - beta
        last = y[i] + beta
        below = w[i] if last <= lo else 0.0
        above = w[i] if first >= hi else 0.0
        net[i] = below - above
        jump[i] = below if first >= hi else 0.0
        linear = w[i] if (first <= lo) & (first < hi) else 0.0
        linear = linear if (last >= hi) & (last > lo) else 0.0
        weight[i] = linear
        moment[i] = linear * (y[i] * unit)
    for part in range(<int>PARTS if lo == hi else <int>JUMP):
        if beta == 0.0 and (part == WEIGHT or part == MOMENT):
            continue  # nothing is linear
        if alike and part != MOMENT:
            add_counts(net + part * CHUNK, n, &tally.sums[part])
        else:
            add_chunk(net + part * CHUNK, n, &tally.sums[part])


cdef inline Py_ssize_t keep_active(
    const double* y, const double* w, Py_ssize_t n, const Search* s,
    double* kept_y, double* kept_w,
) noexcept nogil:
    """Move the elements of a chunk with a corner inside the bracket; return their number."""
    cdef int64_t active[CHUNK]
    cdef double beta = s.beta, lo = s.lo, hi = s.hi, first, last
    cdef Py_ssize_t i, k = 0
    for i in range(n):  # apart from the moves, so that it vectorises
        first = y[i] - beta
        last = y[i] + beta
        active[i] = ((first > lo) & (first < hi)) | ((last > lo) & (last < hi))
    for i in range(n):
        kept_y[k] = y[i]
        kept_w[k] = w[i]
        k += active[i]
    return k


cdef inline int check_signals() except -1 nogil:
    with gil:
        return PyErr_CheckSignals()


cdef inline Py_ssize_t classify(
    const double* y, const double* w, Py_ssize_t n, const Search* s, double lo, double hi,
    double* kept_y, double* kept_w, Tally* tally,
) except -1 nogil:
    """Tally all elements; copy the active ones to kept_y, unless it is NULL, and count them.

    kept_y may be y, and kept_w w. w is NULL for weights of 1.
    """
    cdef double ones[CHUNK]
    cdef double unused[CHUNK]
    cdef const double* weights = ones
    cdef double* place = unused
    cdef Py_ssize_t i = 0, k = 0, m
    cdef int part
    for part in range(PARTS):
        clear_lanes(&tally.sums[part])
    if w is NULL:
        fill(1.0, CHUNK if n > CHUNK else n, ones)
    while i < n:
        m = CHUNK if n - i > CHUNK else n - i
        if w is not NULL:
            weights = w + i
            place = kept_w + k
        tally_chunk(y + i, weights, m, w is NULL, s, lo, hi, tally)
        if kept_y is not NULL:
            k += keep_active(y + i, weights, m, s, kept_y + k, place)
        i += m
        if i % (GROUP * LEAF) == 0:
            check_signals()
    return k


cdef inline Pair total(Lanes* sums, Py_ssize_t n, Pair constant) noexcept nogil:
    return pair_add(fold_lanes(sums, n, <double>0), constant)


cdef inline bint sifts(const Search* s, const double* w) noexcept nogil:
    """Whether the loops for weights of 1 do: scaled afterwards, no sum overflows or differs."""
    return w is NULL and (s.unit >= 1.0 or s.beta == 0.0)


cdef inline int sift(
    const double* y, Py_ssize_t n, double lo, double hi, const Search* s, double* kept,
    bint extremes, smoothl1_sifted* found, Pair* moment,
) except -1 nogil:
    """``classify`` for weights of 1."""
    cdef Lanes sums
    cdef Py_ssize_t i = 0, m
    cdef int lane
    smoothl1_start_sifting(found)
    while i < n:
        m = GROUP * LEAF if n - i > GROUP * LEAF else n - i
        smoothl1_sift(y + i, m, lo, hi, s.beta, kept, found, extremes)
        i += m
        if m == GROUP * LEAF:
            check_signals()
    for lane in range(LANES):
        sums.hi[lane] = found.hi[lane]
        sums.lo[lane] = found.lo[lane]
    moment[0] = pair_times(fold_lanes(&sums, n, <double>0), pair_of(s.unit))
    return 0


cdef inline Py_ssize_t narrow_alike(
    Search* s, const double* y, Py_ssize_t n, double* kept, double* smallest, double* largest
) except -1 nogil:
    """``narrow`` for weights of 1; and, unless ``smallest`` is NULL, the extent of y."""
    cdef smoothl1_sifted found
    cdef Pair moment
    cdef int lane
    sift(y, n, s.lo, s.hi, s, kept, smallest is not NULL, &found, &moment)
    # Whatever is not kept, linear or below is above.
    s.net = pair_add(
        pair_of(<double>(2 * found.below + found.linear + found.kept - n)), s.net
    )
    s.weight = pair_add(pair_of(<double>found.linear), s.weight)
    s.moment = pair_add(moment, s.moment)
    if smallest is not NULL:
        smallest[0] = found.least[0]
        largest[0] = found.greatest[0]
        for lane in range(1, LANES):
            if found.least[lane] < smallest[0]:
                smallest[0] = found.least[lane]
            if found.greatest[lane] > largest[0]:
                largest[0] = found.greatest[lane]
    return found.kept


cdef inline Py_ssize_t narrow(
    Search* s, const double* y, const double* w, Py_ssize_t n, double* kept_y, double* kept_w
) except -1 nogil:
    """Keep the elements with a corner in the bracket; return how many those are."""
    cdef Tally tally
    cdef Py_ssize_t k
    if sifts(s, w):
        return narrow_alike(s, y, n, kept_y, NULL, NULL)
    k = classify(y, w, n, s, s.lo, s.hi, kept_y, kept_w, &tally)
    s.net = total(tally.sums + NET, n, s.net)
    s.weight = total(tally.sums + WEIGHT, n, s.weight)
    s.moment = total(tally.sums + MOMENT, n, s.moment)
    return k


cdef inline double slope_sum(
    const Search* s, double m, Pair net, Pair weight, Pair moment
) noexcept nogil:
    """G(m) from its three parts."""
    cdef Pair g = pair_times(pair_of(m * s.unit), weight)
    g = pair_add(g, pair_times(pair_of(-1.0), moment))
    g = pair_add(g, pair_times(pair_of(s.step), net))
    return g.hi + g.lo


cdef inline int evaluate(
    const Search* s, const double* y, const double* w, Py_ssize_t n, double m, double* left,
    double* right,
) except -1 nogil:
    """G just left and just right of m."""
    cdef Tally tally
    cdef smoothl1_sifted found
    cdef Pair net, weight, moment, jump
    if sifts(s, w):
        sift(y, n, m, m, s, NULL, False, &found, &moment)
        net = pair_add(pair_of(<double>(found.below - found.above)), s.net)
        weight = pair_add(pair_of(<double>found.linear), s.weight)
        moment = pair_add(moment, s.moment)
        jump = pair_of(<double>(found.below + found.above + found.linear - n))
    else:
        classify(y, w, n, s, m, m, NULL, NULL, &tally)
        net = total(tally.sums + NET, n, s.net)
        weight = total(tally.sums + WEIGHT, n, s.weight)
        moment = total(tally.sums + MOMENT, n, s.moment)
        jump = total(tally.sums + JUMP, n, pair_of(0.0))
    right[0] = slope_sum(s, m, pair_add(net, jump), weight, moment)
    left[0] = slope_sum(s, m, pair_add(net, pair_times(pair_of(-1.0), jump)), weight, moment)
    return 0


cdef inline double between(double a, double b) noexcept nogil:
    cdef double middle = 0.5 * (a + b)
    return middle if isfinite(middle) else 0.5 * a + 0.5 * b


cdef inline double middle_of_flat(
    Search* s, const double* y, Py_ssize_t n, double m, bint to_left, bint to_right
) noexcept nogil:
    """The middle of the interval around m, a root, where G is 0.

    It reaches to the next corner at which an element turns linear, on the sides where G is 0
    and no element is linear already.
    """
    cdef double lo = s.lo, hi = s.hi, first, last
    cdef Py_ssize_t i
    if s.weight.hi > 0.0 or not (to_left or to_right):
        return m
    for i in range(n):
        first = y[i] - s.beta
        last = y[i] + s.beta
        to_left = to_left and not (first < m <= last)
        to_right = to_right and not (first <= m < last)
        if lo < last < m:
            lo = last
        if m < first < hi:
            hi = first
    # It might go on beyond an end that is only predicted.
    s.failed = (to_left and lo == s.lo and not s.sure_lo) or (
        to_right and hi == s.hi and not s.sure_hi
    )
    return between(lo if to_left else m, hi if to_right else m)
