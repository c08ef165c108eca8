"""The order of a sum within a leaf.

Element i goes to lane i % LANES; the lanes are folded in halves. That shape vectorises on every
instruction set, and with the tree over the leaves (``tree.pxd``) it fixes every bit of a sum. It
is here twice: for the elements of one output (``Lanes``), and for those of neighbouring outputs,
side by side (``Columns``), with the same bits.

Higham, "The Accuracy of Floating Point Summation", SIAM J. Sci. Comput. 14, 1993.
"""

from pairs cimport Pair, two_sum
from sizes cimport LANES, TILE
from smoothl1._smoothl1 cimport floating


cdef struct Lanes:
    # Element i of a leaf goes to lane i % LANES. float64 terms are summed in
    # double-double: hi takes the rounded sum, lo what the rounding dropped.
    double hi[LANES]
    double lo[LANES]


cdef inline void clear(Lanes* sums) noexcept nogil:
    cdef int lane
    for lane in range(LANES):
        sums.hi[lane] = 0.0
        sums.lo[lane] = 0.0


cdef inline void lane_add(
    double* hi, double* lo, Py_ssize_t lane, double term, floating tag
) noexcept nogil:
    cdef Pair r
    if floating is double:
        r = two_sum(hi[lane], term)
        hi[lane] = r.hi
        lo[lane] += r.lo
    else:
        # float64 has 29 bits to spare for a float32 term.
        hi[lane] += term


cdef inline Pair fold(Lanes* sums, Py_ssize_t n, const floating* tag) noexcept nogil:
    """Add the upper half of the lanes to the lower half until one is left.

    After n elements; halves that took in none are 0 and left out.
    """
    cdef int lane, width = LANES // 2
    cdef Pair r
    while width >= n and width > 0:
        width = width // 2
    while width > 0:
        for lane in range(width):
            if floating is float:
                sums.hi[lane] += sums.hi[lane + width]
            else:
                r = two_sum(sums.hi[lane], sums.hi[lane + width])
                sums.hi[lane] = r.hi
                sums.lo[lane] = (sums.lo[lane] + sums.lo[lane + width]) + r.lo
        width = width // 2
    r.hi = sums.hi[0]
    r.lo = sums.lo[0]
    return r


# A sum is made in two steps, chunk by chunk: the terms go to a small buffer, the buffer into
# the lanes. That is as fast as one loop with the registers for both, or faster (conversions
# to float64 read memory where they would otherwise need a shuffle), and one sum serves all
# terms.

cdef inline void sum_buffer(const floating* a, Py_ssize_t n, Lanes* running) noexcept nogil:
    """Add a chunk to the running sums.

    Two terms of a lane are added before they enter it: that halves the cost of the
    double-double and adds one rounding, of the smallest of all partial sums.
    """
    cdef double hi[LANES]
    cdef double lo[LANES]
    cdef double first, second
    cdef Py_ssize_t i = 0
    cdef int lane
    # ``+ 0.0`` keeps GCC from making this a memcpy, which would keep the lanes in memory.
    for lane in range(LANES):
        hi[lane] = running.hi[lane] + 0.0
        if floating is double:
            lo[lane] = running.lo[lane] + 0.0
    while i <= n - 2 * LANES:
        for lane in range(LANES):
            first = a[i + lane]
            second = a[i + lane + LANES]
            lane_add(hi, lo, lane, first + second, a[0])
        i += 2 * LANES
    for lane in range(LANES):
        running.hi[lane] = hi[lane] + 0.0
        if floating is double:
            running.lo[lane] = lo[lane] + 0.0
    while i < n:
        lane_add(running.hi, running.lo, i % LANES, a[i], a[0])
        i += 1


cdef struct Columns:
    # The lanes of up to TILE outputs: those of one lane are neighbours, [lane][output].
    double hi[LANES * TILE]
    double lo[LANES * TILE]
    double linear[TILE]


cdef inline void add_terms(
    const floating* terms, Py_ssize_t n, double* hi, double* lo
) noexcept nogil:
    cdef Py_ssize_t j
    for j in range(n):
        lane_add(hi, lo, j, terms[j], terms[j])


cdef inline void add_slab(
    const floating* terms, Py_ssize_t rows, Py_ssize_t width, double* hi, double* lo
) noexcept nogil:
    """Row i goes to lane i % LANES, in the order of sum_buffer."""
    cdef Py_ssize_t n = LANES * width, j
    cdef double first, second
    if rows == 2 * LANES:
        for j in range(n):
            first = terms[j]
            second = terms[j + n]
            lane_add(hi, lo, j, first + second, terms[j])
    elif rows <= LANES:
        add_terms(terms, rows * width, hi, lo)
    else:
        add_terms(terms, n, hi, lo)
        add_terms(terms + n, rows * width - n, hi, lo)


cdef inline Py_ssize_t fold_terms(
    const floating* terms, Py_ssize_t n, Py_ssize_t width, double* hi, double* lo
) noexcept nogil:
    """Fill n lanes with a row each and fold them once; return how many lanes are left."""
    cdef Py_ssize_t half = LANES // 2, folded, j
    cdef Pair r
    if n == 1:
        half = folded = 0
    else:
        while half >= n:
            half = half // 2
        folded = (n - half) * width
    for j in range(folded):
        if floating is float:
            hi[j] = <double>terms[j] + terms[j + half * width]
        else:
            r = two_sum(terms[j], terms[j + half * width])
            hi[j] = r.hi
            lo[j] = r.lo
    n = half if half > 0 else 1
    for j in range(folded, n * width):
        hi[j] = terms[j]
        lo[j] = 0.0
    if floating is float:  # which has no low parts
        for j in range(width):
            lo[j] = 0.0
    return n
