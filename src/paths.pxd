"""The sums of long leaves for several thresholds, all of whose elements take part alike.

One loop for all of them, in C, beside those of ``groups.pxd`` for one: ``paths.h``.
"""

from libc.stdint cimport int64_t

from groups cimport LARGEST_GROUP, NumbersDouble, NumbersSingle, fill_group
from lanes cimport Running, rows_of_group
from sizes cimport LANES, TOGETHER
from smoothl1._smoothl1 cimport floating
from terms cimport PRODUCT, Params

cdef extern from "paths.h":
    ctypedef struct ThresholdSingle "smoothl1_thresholdf":
        NumbersSingle numbers
        bint product
        int64_t below
        double* hi
        double* lo
    ctypedef struct ThresholdDouble "smoothl1_threshold":
        NumbersDouble numbers
        bint product
        int64_t below
        double* hi
        double* lo
    void smoothl1_path_groupsf(
        const float* x, const float* y, Py_ssize_t n, Py_ssize_t ahead,
        ThresholdSingle* thresholds, int count,
    ) noexcept nogil
    void smoothl1_path_groups(
        const double* x, const double* y, Py_ssize_t n, Py_ssize_t ahead,
        ThresholdDouble* thresholds, int count,
    ) noexcept nogil


cdef union Thresholds:
    ThresholdSingle single[TOGETHER]
    ThresholdDouble wide[TOGETHER]


cdef inline void set_thresholds(
    const Params* p, int count, Running* running, Thresholds* thresholds, floating tag
) noexcept nogil:
    cdef int k
    for k in range(count):
        if floating is float:
            thresholds.single[k] = ThresholdSingle(
                NumbersSingle(<float>p[k].beta, <float>p[k].s, <float>p[k].c, 0.0, 0.0),
                p[k].form == PRODUCT, 0, &running[k].loss.hi[0], &running[k].loss.lo[0],
            )
        else:
            thresholds.wide[k] = ThresholdDouble(
                NumbersDouble(p[k].beta, p[k].s, p[k].c, 0.0, 0.0),
                p[k].form == PRODUCT, 0, &running[k].loss.hi[0], &running[k].loss.lo[0],
            )


cdef inline void add_groups(
    const floating* x, const floating* y, Py_ssize_t n, Py_ssize_t filled, Py_ssize_t ahead,
    const Params* p, int count, Thresholds* thresholds, Running* running,
) noexcept nogil:
    """Add n elements, whole groups; the last ``filled`` of them are zeros of ``fill_group``."""
    cdef int64_t below
    cdef int k
    if floating is float:
        smoothl1_path_groupsf(x, y, n, ahead, thresholds.single, count)
    else:
        smoothl1_path_groups(x, y, n, ahead, thresholds.wide, count)
    for k in range(count):
        if p[k].form == PRODUCT:
            continue
        below = thresholds.single[k].below if floating is float else thresholds.wide[k].below
        # The zeros are below, unless nothing is.
        running[k].counted += n - below - (filled if p[k].beta == 0.0 else 0)


cdef inline void sum_path(
    const floating* x, const floating* y, Py_ssize_t n, Py_ssize_t ahead, const Params* p,
    int n_params, Running* running,
) noexcept nogil:
    """Add a part of a long leaf, for PRODUCT or PAIR; all parts but the last are whole groups."""
    cdef floating last_x[LARGEST_GROUP]
    cdef floating last_y[LARGEST_GROUP]
    cdef Py_ssize_t group = LANES * rows_of_group(<floating>0), rest = n % group, whole = n - rest
    cdef Thresholds thresholds
    cdef int k = 0, count
    if rest > 0:
        fill_group(x + whole, rest, last_x)
        fill_group(y + whole, rest, last_y)
    while k < n_params:
        count = TOGETHER if n_params - k > TOGETHER else n_params - k
        set_thresholds(p + k, count, running + k, &thresholds, <floating>0)
        add_groups(x, y, whole, 0, ahead, p + k, count, &thresholds, running + k)
        if rest > 0:
            add_groups(
                <const floating*>last_x, <const floating*>last_y, group, group - rest, 0, p + k,
                count, &thresholds, running + k,
            )
        k += count
