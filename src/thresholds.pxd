"""The sums of long leaves with a threshold for each element: terms and their sum in one loop.

Beside ``groups.pxd``, with the same order of a sum. What is to be subtracted from the terms is
summed in the same loop.
"""

from libc.string cimport memcpy, memset

from groups cimport LARGEST_GROUP
from lanes cimport Lanes, lane_add, of_four, rows_of_group
from sizes cimport LANES
from smoothl1._smoothl1 cimport floating
from terms cimport huber_offset, huber_term, smooth_offset, smooth_term


cdef struct Smooth:  # which loss: types without a value, as in groups.pxd
    char unused

cdef struct Hubers:
    char unused

ctypedef fused loss_kind:
    Smooth
    Hubers


cdef inline floating array_term(
    const floating* x, const floating* y, const floating* b, Py_ssize_t i, const loss_kind* kind
) noexcept nogil:
    cdef floating z = abs(x[i] - y[i])
    if loss_kind is Hubers:
        return huber_term(z, b[i])
    else:
        return smooth_term(z, b[i])


cdef inline floating array_offset(
    const floating* x, const floating* y, const floating* b, Py_ssize_t i, const loss_kind* kind
) noexcept nogil:
    cdef floating z = abs(x[i] - y[i])
    if loss_kind is Hubers:
        return huber_offset(z, b[i])
    else:
        return smooth_offset(z, b[i])


cdef inline floating four_array_terms(
    const floating* x, const floating* y, const floating* b, Py_ssize_t i, const loss_kind* kind
) noexcept nogil:
    return of_four(
        array_term(x, y, b, i, kind), array_term(x, y, b, i + LANES, kind),
        array_term(x, y, b, i + 2 * LANES, kind), array_term(x, y, b, i + 3 * LANES, kind),
    )


cdef inline floating four_array_offsets(
    const floating* x, const floating* y, const floating* b, Py_ssize_t i, const loss_kind* kind
) noexcept nogil:
    return of_four(
        array_offset(x, y, b, i, kind), array_offset(x, y, b, i + LANES, kind),
        array_offset(x, y, b, i + 2 * LANES, kind), array_offset(x, y, b, i + 3 * LANES, kind),
    )


cdef inline void sum_array_groups(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n, Lanes* loss,
    Lanes* linear, const loss_kind* kind,
) noexcept nogil:
    """Add n elements, whole groups."""
    cdef double hi[LANES]
    cdef double lo[LANES]
    cdef double linear_hi[LANES]
    cdef double linear_lo[LANES]
    cdef floating term, offset
    cdef Py_ssize_t i = 0, group = LANES * rows_of_group(<floating>0)
    cdef int lane
    for lane in range(LANES):
        hi[lane] = loss.hi[lane] + 0.0
        lo[lane] = loss.lo[lane] + 0.0
        linear_hi[lane] = linear.hi[lane] + 0.0
        linear_lo[lane] = linear.lo[lane] + 0.0
    while i < n:
        for lane in range(LANES):
            term = four_array_terms(x, y, b, i + lane, kind)
            offset = four_array_offsets(x, y, b, i + lane, kind)
            if floating is float:
                term += four_array_terms(x, y, b, i + lane + 4 * LANES, kind)
                offset += four_array_offsets(x, y, b, i + lane + 4 * LANES, kind)
            lane_add(hi, lo, lane, term)
            lane_add(linear_hi, linear_lo, lane, offset)
        i += group
    for lane in range(LANES):
        loss.hi[lane] = hi[lane] + 0.0
        loss.lo[lane] = lo[lane] + 0.0
        linear.hi[lane] = linear_hi[lane] + 0.0
        linear.lo[lane] = linear_lo[lane] + 0.0


cdef inline void sum_array_of(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n, Lanes* loss,
    Lanes* linear, const loss_kind* kind,
) noexcept nogil:
    cdef floating last_x[LARGEST_GROUP]
    cdef floating last_y[LARGEST_GROUP]
    cdef floating last_b[LARGEST_GROUP]
    cdef Py_ssize_t group = LANES * rows_of_group(<floating>0), rest = n % group, whole = n - rest
    cdef Py_ssize_t size = rest * sizeof(floating), i
    sum_array_groups(x, y, b, whole, loss, linear, kind)
    if rest > 0:
        memset(last_x, 0, sizeof(last_x))
        memset(last_y, 0, sizeof(last_y))
        memcpy(last_x, x + whole, size)
        memcpy(last_y, y + whole, size)
        memcpy(last_b, b + whole, size)
        for i in range(rest, group):  # 0 below 1: terms of 0
            last_b[i] = 1
        sum_array_groups(
            <const floating*>last_x, <const floating*>last_y, <const floating*>last_b, group,
            loss, linear, kind,
        )


cdef inline void sum_array(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n, bint huber,
    Lanes* loss, Lanes* linear,
) noexcept nogil:
    """Add a part of a long leaf; all parts but the last are whole groups."""
    if huber:
        sum_array_of(x, y, b, n, loss, linear, <const Hubers*>NULL)
    else:
        sum_array_of(x, y, b, n, loss, linear, <const Smooth*>NULL)
