"""The order of a sum within a leaf.

Element i goes to lane i % LANES; in the end the lanes are folded in halves. A leaf of fewer than
LONG elements adds each of its terms to its lane. In a longer one LANES lanes times 8 rows of
float32, or 4 of float64, make a group: the terms of a lane are first added in the working dtype,
as a small fixed tree, and enter the lane at once. The last group is filled up with zeros.

That shape vectorises on every instruction set, and with the tree over the leaves (``tree.pxd``) it
fixes every bit of a sum. Lanes are arrays [lane][output]: of one output, or of neighbouring ones
that are summed side by side (``columns.pxd``), with the same bits.

Higham, "The Accuracy of Floating Point Summation", SIAM J. Sci. Comput. 14, 1993.
"""

from pairs cimport Pair, two_sum
from sizes cimport LANES
from smoothl1._smoothl1 cimport floating


cdef enum:
    # Elements from which on a leaf is summed in groups: below, the additions in the working dtype
    # would show (1.5 ulp for heavy tails at 128 elements), and cost nothing beside the call.
    LONG = 1024


cdef struct Lanes:
    # The lanes of one output. float64 terms are summed in double-double: hi takes the rounded
    # sum, lo what the rounding dropped.
    double hi[LANES]
    double lo[LANES]


cdef struct Running:
    # The sums of a leaf for one parameter set, while they grow.
    Lanes loss
    Lanes linear
    double counted  # what PAIR counts without weights and selection


cdef inline void clear(double* hi, double* lo, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        hi[j] = 0.0
        lo[j] = 0.0


cdef inline void clear_lanes(Lanes* sums) noexcept nogil:
    clear(sums.hi, sums.lo, LANES)


cdef inline void lane_add(
    double* hi, double* lo, Py_ssize_t lane, floating term
) noexcept nogil:
    cdef Pair r
    if floating is double:
        r = two_sum(hi[lane], term)
        hi[lane] = r.hi
        lo[lane] += r.lo
    else:
        # float64 has 29 bits to spare for a float32 term.
        hi[lane] += term


cdef inline floating of_four(floating a, floating b, floating c, floating d) noexcept nogil:
    return (a + b) + (c + d)


cdef inline Py_ssize_t rows_of_group(floating tag) noexcept nogil:
    # ``tag`` stands for the dtype: a function of a fused type needs an argument of it.
    if floating is float:
        return 8
    else:
        return 4


cdef inline floating group_term(
    const floating* a, Py_ssize_t j, Py_ssize_t row
) noexcept nogil:
    """What enters a lane of a group: its terms a[j], a[j + row], ... in a fixed tree."""
    if floating is float:
        return (
            of_four(a[j], a[j + row], a[j + 2 * row], a[j + 3 * row])
            + of_four(a[j + 4 * row], a[j + 5 * row], a[j + 6 * row], a[j + 7 * row])
        )
    else:
        return of_four(a[j], a[j + row], a[j + 2 * row], a[j + 3 * row])


cdef inline void fill_up(floating* terms, Py_ssize_t n) noexcept nogil:
    """Zeros from n terms up to the end of their last group."""
    cdef Py_ssize_t group = LANES * rows_of_group(terms[0]), i
    for i in range(n, n + (group - n % group) % group):
        terms[i] = 0


cdef inline void add_rows(
    const floating* terms, Py_ssize_t rows, Py_ssize_t width, double* hi, double* lo
) noexcept nogil:
    """Add rows of terms [row][output], each to the lane that follows; the first to lane 0."""
    cdef Py_ssize_t j, n = LANES * width
    while rows > 0:
        for j in range(n if rows >= LANES else rows * width):
            lane_add(hi, lo, j, terms[j])
        terms += n
        rows -= LANES


cdef inline void add_group(
    const floating* terms, Py_ssize_t n, double* hi, double* lo
) noexcept nogil:
    """Add a group of terms to n lanes, those of an output or of several."""
    cdef Py_ssize_t j
    for j in range(n):
        lane_add(hi, lo, j, group_term(terms, j, n))


cdef inline void sum_terms(
    const floating* terms, Py_ssize_t n, bint grouped, Lanes* running
) noexcept nogil:
    """Add terms of one output to the running sums, as part of a leaf.

    All parts but the last are whole groups; that of a grouped leaf is read up to the end of its
    last group, and what is beyond n must be 0.
    """
    cdef double hi[LANES]
    cdef double lo[LANES]
    cdef Py_ssize_t i = 0, group = LANES * rows_of_group(terms[0])
    cdef int lane
    # ``+ 0.0`` keeps GCC from making this a memcpy, which would keep the lanes in memory.
    for lane in range(LANES):
        hi[lane] = running.hi[lane] + 0.0
        lo[lane] = running.lo[lane] + 0.0
    if grouped:
        while i < n:
            for lane in range(LANES):
                lane_add(hi, lo, lane, group_term(terms + i, lane, LANES))
            i += group
    else:
        while i <= n - LANES:
            for lane in range(LANES):
                lane_add(hi, lo, lane, terms[i + lane])
            i += LANES
    for lane in range(LANES):
        running.hi[lane] = hi[lane] + 0.0
        running.lo[lane] = lo[lane] + 0.0
    for lane in range(<int>(n - i)):  # the first lane is next
        lane_add(running.hi, running.lo, lane, terms[i + lane])


cdef inline void fold(
    double* hi, double* lo, Py_ssize_t used, Py_ssize_t width, floating tag
) noexcept nogil:
    """Add the upper half of the lanes to the lower half until one is left.

    The first ``used`` lanes took in terms; the others are left out.
    """
    cdef Py_ssize_t half = LANES // 2, upper, j
    cdef Pair r
    while half > 0:
        upper = used - half if used < 2 * half else half
        for j in range(upper * width):
            if floating is float:
                hi[j] += hi[j + half * width]
            else:
                r = two_sum(hi[j], hi[j + half * width])
                hi[j] = r.hi
                lo[j] = (lo[j] + lo[j + half * width]) + r.lo
        if used > half:
            used = half
        half = half // 2


cdef inline Pair first_lane(const Lanes* sums, floating tag) noexcept nogil:
    """The sum of a leaf that has been folded."""
    cdef Pair r
    r.hi = sums.hi[0]
    r.lo = sums.lo[0] if floating is double else 0.0
    return r


cdef inline Pair fold_lanes(Lanes* sums, Py_ssize_t n, floating tag) noexcept nogil:
    """The sum of a leaf of n elements."""
    if n < LANES:
        fold(sums.hi, sums.lo, n, 1, tag)
    else:
        fold(sums.hi, sums.lo, LANES, 1, tag)  # loops of known lengths
    return first_lane(sums, tag)
