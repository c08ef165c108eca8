"""The leaves of neighbouring outputs, side by side.

For reductions whose outputs are adjacent in memory (axis 0 of a C-ordered array), or too short to
be vectorised one by one. Each output gets the bits that ``leaves.pxd`` gives it.
"""

from cache cimport aligned
from jobs cimport Job, Sink, deliver_columns
from kernels cimport write_offsets, write_terms
from lanes cimport Columns, add_slab, fold_terms
from operands cimport Operand, kept_offset, slab_of, transpose
from pairs cimport Pair, two_sum
from sizes cimport LANES, LEAF, LINE, SHORT, SLAB, TILE
from smoothl1._smoothl1 cimport floating
from terms cimport ARRAY, PRODUCT, Params
from tree cimport Node, no_node


cdef inline void terms_or_offsets(
    const floating* x, const floating* y, Py_ssize_t n, const Params* p, bint offsets,
    floating* out,
) noexcept nogil:
    if offsets:
        write_offsets(x, y, <const floating*>NULL, n, p, out)
    else:
        write_terms(x, y, <const floating*>NULL, n, p, out)


cdef inline const floating* slab_terms(
    const Job* job, const char* x, const char* y, Py_ssize_t rows, Py_ssize_t width,
    bint offsets, floating* a, floating* b,
) noexcept nogil:
    """The terms of a slab, or what is to be subtracted from them, [row][output]."""
    cdef Params* p = &job.params[0]
    cdef Py_ssize_t x_step = job.x.kept_stride[job.x.n_kept - 1]
    cdef Py_ssize_t y_step = job.y.kept_stride[job.y.n_kept - 1]
    cdef Py_ssize_t size = sizeof(floating), c
    if job.x.stride[0] == size and job.y.stride[0] == size and rows > 1:
        # The elements of an output are contiguous: transposing comes last, and once.
        if x_step == rows * size and y_step == rows * size:
            terms_or_offsets(
                <const floating*>x, <const floating*>y, rows * width, p, offsets, a
            )
        else:
            for c in range(width):
                terms_or_offsets(
                    <const floating*>(x + c * x_step), <const floating*>(y + c * y_step),
                    rows, p, offsets, a + c * rows,
                )
        # Known to the compiler, a few rows are transposed by shuffles.
        if rows == 2:
            transpose(a, 2, width, b)
        elif rows == 3:
            transpose(a, 3, width, b)
        elif rows == 4:
            transpose(a, 4, width, b)
        else:
            transpose(a, rows, width, b)
        return b
    terms_or_offsets(
        slab_of(&job.x, x, rows, width, a), slab_of(&job.y, y, rows, width, b),
        rows * width, p, offsets, a,
    )
    return a


cdef inline void sum_columns(
    const Job* job, Py_ssize_t output, Py_ssize_t width, Py_ssize_t leaf, Columns* sums,
    const floating* tag,
) noexcept nogil:
    """One leaf each of neighbouring outputs, vectorised over the outputs.

    For reductions whose outputs are adjacent in memory (axis 0 of a C-ordered array), or
    too short to be vectorised one by one. Each output gets the bits that run_leaf gives.

    OUT: the sums of output c in hi[c], lo[c] and linear[c].
    """
    cdef Py_ssize_t start = leaf * LEAF
    cdef Py_ssize_t n = job.n - start if job.n - start < LEAF else LEAF
    cdef const char* x = job.x.data + kept_offset(&job.x, output) + start * job.x.stride[0]
    cdef const char* y = job.y.data + kept_offset(&job.y, output) + start * job.y.stride[0]
    cdef Py_ssize_t used = n if n < LANES else LANES, i = 0, c, j, rows, half
    cdef char space[2 * SLAB * TILE * 8 + LINE]
    cdef floating* a = <floating*>aligned(space)
    cdef floating* b = a + SLAB * TILE
    cdef const floating* terms
    cdef Pair r
    for c in range(width):
        sums.linear[c] = 0.0
    if n > LANES:
        for j in range(LANES * width):
            sums.hi[j] = 0.0
            sums.lo[j] = 0.0
    while i < n:
        rows = SLAB if n - i > SLAB else n - i
        terms = slab_terms(job, x, y, rows, width, False, a, b)
        if n > LANES:
            add_slab(terms, rows, width, sums.hi, sums.lo)
        else:
            used = fold_terms(terms, n, width, sums.hi, sums.lo)
        if job.params[0].form != PRODUCT:
            terms = slab_terms(job, x, y, rows, width, True, a, b)
            for j in range(rows):
                for c in range(width):
                    sums.linear[c] += terms[j * width + c]
        x += rows * job.x.stride[0]
        y += rows * job.y.stride[0]
        i += rows
    half = LANES // 2
    while half > 0:
        # Lanes that took in nothing are left out.
        for j in range((half if half < used - half else used - half) * width):
            if floating is float:
                sums.hi[j] += sums.hi[j + half * width]
            else:
                r = two_sum(sums.hi[j], sums.hi[j + half * width])
                sums.hi[j] = r.hi
                sums.lo[j] = (sums.lo[j] + sums.lo[j + half * width]) + r.lo
        half = half // 2


cdef inline bint suits_columns(Job* job) noexcept nogil:
    """Whether sum_columns can do the job, and is the better way.

    Kept axes are merged for it where the strides of both arrays allow.
    """
    cdef Operand* x = &job.x
    cdef Operand* y = &job.y
    cdef Py_ssize_t size = x.itemsize
    cdef int axis, last = 0
    if (
        job.outputs <= 1 or job.n == 0 or job.n_params > 1
        or job.has_beta or job.has_weight or job.has_where or job.params[0].form == ARRAY
        or not x.typed or not y.typed or x.ndim > 1 or y.ndim > 1
    ):
        return False
    for axis in range(1, x.n_kept):
        if (
            x.kept_stride[last] == x.kept_stride[axis] * x.kept_shape[axis]
            and y.kept_stride[last] == y.kept_stride[axis] * x.kept_shape[axis]
            or x.kept_shape[last] == 1
        ):
            x.kept_shape[last] = y.kept_shape[last] = x.kept_shape[last] * x.kept_shape[axis]
        else:
            last += 1
            x.kept_shape[last] = y.kept_shape[last] = x.kept_shape[axis]
        x.kept_stride[last] = x.kept_stride[axis]
        y.kept_stride[last] = y.kept_stride[axis]
    x.n_kept = y.n_kept = last + 1
    return x.kept_shape[last] > 1 and (
        job.n <= SHORT or x.kept_stride[last] == size and y.kept_stride[last] == size
    )


cdef inline void run_columns(
    const Job* job, Py_ssize_t output, Py_ssize_t stop, Py_ssize_t leaf,
    Py_ssize_t leaves, Node* nodes, Sink* sink,
) noexcept nogil:
    """One leaf of the outputs from ``output`` to ``stop``.

    OUT: nodes[0], nodes[leaves], ..., or, of outputs of a single leaf, their results.
    """
    cdef Columns sums
    cdef Py_ssize_t extent = job.x.kept_shape[job.x.n_kept - 1], width, c
    while output < stop:
        # Neighbours are those along the last of the kept axes.
        width = extent - output % extent
        if width > stop - output:
            width = stop - output
        if job.single:
            sum_columns(job, output, width, leaf, &sums, <const float*>NULL)
        else:
            sum_columns(job, output, width, leaf, &sums, <const double*>NULL)
        if nodes is NULL:
            deliver_columns(job, output, width, &sums, sink)
        else:
            for c in range(width):
                nodes[0] = no_node()
                nodes.loss.hi = sums.hi[c]
                nodes.loss.lo = sums.lo[c]
                nodes.linear.hi = sums.linear[c]
                nodes.count = job.n - leaf * LEAF if job.n - leaf * LEAF < LEAF else LEAF
                nodes += leaves
        output += width
