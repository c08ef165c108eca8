"""The boundary to Python: compiled once per instruction set, over the layers beside it.

Design
======

The layers below are the files beside this one; CONTRIBUTING.md has their map. From
the formulas of single elements (``smoothl1/_smoothl1.pxd``) upwards: *kernels* are
plain typed loops over contiguous elements, which GCC vectorises without
``-ffast-math``; *operands* pack any NumPy array a block at a time, or are read in place; a
*leaf* of at most ``LEAF`` elements is what a thread takes at once; leaves are summed
by a *tree* whose shape depends on the number of elements alone; a *call* is run on as
many threads as it is worth. Here is what Python sees of it: the fast path, ``Work``, and
functions that only name what a room does.

Two properties hold by construction and are what the tests check first.

*Same bits.* Element i of a leaf always goes to lane ``i % LANES``; the lanes are
folded in halves; leaves are summed by a perfect binary tree over the leaf index.
Nothing in that order depends on threads, vector width, strides or alignment. Fused
multiply-adds are used where they give the bits that other sets compute without
(``fma.h``), and nowhere else: the compiler may not contract ``a * b + c``
(``-ffp-contract=off``), because it would do so on some instruction sets only.

*Accurate sums.* Terms are computed in the working dtype, a few of them are added in
it, and the rest is summed in float64. For float64 terms that alone would leave an error
of one or two ulps, so the lanes and the tree carry double-double sums up to the final,
single rounding.

References
----------
Girshick, "Fast R-CNN", ICCV 2015, equation 3 (the loss at beta = 1).
Huber, "Robust Estimation of a Location Parameter", Ann. Math. Statist. 35, 1964.
"""

from libc.math cimport isinf
from libc.stdint cimport int32_t, int64_t
from libc.stdlib cimport free

cimport numpy as cnp

from arrays cimport is_apart, is_at_least, least_threshold, operands_of, spread
from calls cimport limit_of_process, run_job
from coding cimport Range
from digits cimport BASE_DOUBLE, BASE_SINGLE, COUNTS, DIGITS_DOUBLE, DIGITS_SINGLE
from exact cimport Wanted, row_size
from exact_arrays cimport (
    carry_rows, carry_table, check_rows, form_of, losses_of_outputs, settle_rows, settled_loss,
    sums_of_outputs,
)
from group_arrays cimport (
    figures_of_table, scan_groups, scatter_groups, scatter_keyed, stage_groups, stage_keyed,
    unpack_rows,
)
from jobs cimport (
    ADJACENT, ALONE, BOTH, CURVATURE, Job, MEAN, Operation, Reduction, SHORT, SLOPE, SUM, Side,
    Sink, TOTAL, VALUE, WEIGHTED_MEAN, WEIGHTS, clear_options, set_scale,
)
from key_arrays cimport learn_keys, range_of_keys, write_codes_of
from location_arrays cimport derivatives_of, is_finite, location_of
from operands cimport Operand, axes_size, set_operand, set_shrink, use_axes
from plain cimport (
    NONE, OTHER, PyArray_ISCARRAY_RO, empty_like, loss_of, plain, plain_out, reduction_of, scalar,
    streams,
)
from results cimport bits_of_bfloat16, take_finite
from runtime cimport (
    SMOOTHL1_OPENMP, owe, smoothl1_debt, smoothl1_number_in_environment, smoothl1_team_lost,
    smoothl1_team_started, smoothl1_watch_forks,
)
from sizes cimport FEW, LANES
from states cimport digits_of_groups, places_of_groups
from team cimport allocate
from tensors cimport (
    Export, View, contiguous_size, export_of, has_numbers, is_constant, is_threshold, same_shape,
    write_loss,
)
from terms cimport Params, make_exact_params, make_params
from tree cimport Node, no_node
from ufunc_objects cimport make_ufunc

from smoothl1 import _threads
from smoothl1._dtypes import is_bfloat16

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

cnp.import_array()
cnp.import_ufunc()
smoothl1_watch_forks()


cdef enum:
    # Thresholds of a path in one pass over memory: each needs some 4 KiB.
    MOST_THRESHOLDS = 256
    OPERANDS = 8  # of a job


# ---------------------------------------------------------------------------
# Threads
# ---------------------------------------------------------------------------

def thread_limit():
    """The largest number of threads that a call without ``n_threads`` uses.

    What was asked for (``set_num_threads``, ``num_threads``, the environment), else
    OpenMP's own limit, capped by the processors that this process may use.
    """
    return limit_of_process(_threads, True)


cdef int run(Job* job, Node* totals, Sink* sink) except -1:
    """Run a job: see ``run_job``."""
    return run_job(job, totals, sink, _threads)


def team_state():
    """Whether this process ran a team, and whether it was forked from one that had."""
    return bool(smoothl1_team_started), bool(smoothl1_team_lost)


def team_debt(seconds=None):
    """Seconds of work still to be run on one thread after a slow team; optionally set them."""
    if seconds is not None:
        owe(seconds)
    return smoothl1_debt


def is_environment_plain():
    """Whether SMOOTHL1_NUM_THREADS holds nothing to complain of; in doubt False."""
    return smoothl1_number_in_environment() >= 0


def openmp_version():
    """The date of the OpenMP specification built against, as yyyymm; 0 without OpenMP."""
    return SMOOTHL1_OPENMP


# ---------------------------------------------------------------------------
# From Python: the fast path
# ---------------------------------------------------------------------------

def fast_loss(input, target, reduction, beta, bint huber, out, bint exact, n_threads):
    """The loss for plain arrays and no options; None for anything else.

    Of an exact loss also in doubt, and ``exact`` is of no account where nothing is summed.
    """
    cdef Job job
    cdef Params p
    cdef Node node
    cdef double loss
    cdef int how = reduction_of(reduction)
    cdef bint given = out is not None
    if how == OTHER or given and how != NONE:
        return None
    if not plain(&job, &p, input, target, beta, huber):
        return None
    job.n_threads = 0 if n_threads is None else _threads.check_n_threads(n_threads)
    if how == NONE:
        if not given:
            out = empty_like(<cnp.ndarray>input)
        if not plain_out(&job, input, out):
            return None
        job.operation = VALUE
        job.reduce = False
        job.options.streams = given and streams(&job)
        run(&job, NULL, NULL)
        return out
    if exact:
        return exact_loss(&job, <Reduction>how)
    job.operation = SUM
    job.reduce = True
    run(&job, &node, NULL)
    loss = loss_of(&node, <Reduction>how, &p)
    return None if isinf(loss) else scalar(loss, &p)


def fast_value_and_grad(input, target, reduction, beta, bint huber, out, bint loss_too, n_threads):
    """Gradient, with ``loss_too`` (loss, gradient), for plain arrays; None for others."""
    cdef Job job
    cdef Params p
    cdef Node node
    cdef double loss
    cdef int how = reduction_of(reduction)
    cdef bint given = out is not None
    if how == OTHER or loss_too and how == NONE:
        return None
    if not plain(&job, &p, input, target, beta, huber):
        return None
    job.n_threads = 0 if n_threads is None else _threads.check_n_threads(n_threads)
    if not given:
        out = empty_like(<cnp.ndarray>input)
    if not plain_out(&job, input, out):
        return None
    job.options.streams = given and streams(&job)
    job.operation = SLOPE
    job.reduce = loss_too
    if how == MEAN:
        set_scale(&job, 1.0, job.n)
    run(&job, &node, NULL)
    if not loss_too:
        return out
    loss = loss_of(&node, <Reduction>how, &p)
    return None if isinf(loss) else (scalar(loss, &p), out)


cdef class Tensors:
    """The losses of tensors that their type shows to C by DLPack, for autograd on top.

    Only contiguous tensors that are alike are looked at.

    Parameters
    ----------
    types : tuple of type
        Those whose tensors are looked at; the first one tells how.
    numbers : tuple
        A float32 and a float64 number, as tensors, to make others like them.
    small_like, large_like : callable
        Give memory of the size of a tensor, and of one of at least ``large`` bytes.
    large : int
    kept : int
        With "none" the gradient is computed of at most so many elements.
    """

    cdef tuple types
    cdef tuple numbers
    cdef object small_like
    cdef object large_like
    cdef Py_ssize_t large
    cdef Py_ssize_t kept
    cdef Export export

    def __cinit__(
        self, tuple types, tuple numbers, small_like, large_like, Py_ssize_t large,
        Py_ssize_t kept,
    ):
        self.types = types
        self.numbers = numbers
        self.small_like = small_like
        self.large_like = large_like
        self.large = large
        self.kept = kept
        self.export = export_of(types[0])

    cdef bint see(self, object tensor, View* view) except -1:
        """Whether there are numbers to read, and they have the sign that is in memory."""
        return (
            self.export is not NULL and type(tensor) in self.types
            and has_numbers(self.export, tensor, view) and not tensor.is_neg()
        )

    cdef object like(self, tensor, const View* view, Py_ssize_t n, View* result):
        made = (
            self.small_like if n * view.dtype.bits // 8 < self.large else self.large_like
        )(tensor)
        return made if has_numbers(self.export, made, result) else None

    def number(self, tensor):
        """The number that all elements are, or None."""
        cdef View view
        if not self.see(tensor, &view) or not is_constant(&view):
            return None
        return (<float*>view.data)[0] if view.dtype.bits == 32 else (<double*>view.data)[0]

    def loss(
        self, input, target, reduction, threshold, bint huber, bint tracked, int n_threads
    ):
        """Loss, gradient or None, and whether either operand requires one; None for others.

        ``tracked``: a gradient may be asked for. It is that with respect to the first operand that
        requires one.
        """
        cdef View x, y, a, b
        cdef Py_ssize_t n
        cdef bint elementwise = reduction_of(reduction) == NONE
        cdef bint swapped = False
        if not (is_threshold(threshold, huber) and self.see(input, &x) and self.see(target, &y)):
            return None
        n = contiguous_size(&x)
        if n == 0 or contiguous_size(&y) != n or not same_shape(&x, &y):
            return None
        if tracked and not input.requires_grad:
            tracked = swapped = target.requires_grad
        if elementwise:
            value = self.like(input, &x, n, &a)
        else:
            value = self.like(self.numbers[x.dtype.bits == 64], &x, 1, &a)
        slope = None
        if tracked and (n <= self.kept or not elementwise):
            slope = self.like(input, &x, n, &b)
            if slope is None:
                return None
        if value is None or not write_loss(
            y.data if swapped else x.data, x.data if swapped else y.data, a.data,
            NULL if slope is None else b.data, n, x.dtype.bits == 32, reduction, threshold, huber,
            n_threads, run,
        ):
            return None
        return value, slope, tracked


# ---------------------------------------------------------------------------
# From Python: everything else
# ---------------------------------------------------------------------------

cdef cnp.dtype FLOAT64 = cnp.PyArray_DescrFromType(cnp.NPY_FLOAT64)
cdef dict REDUCTIONS = {"mean": MEAN, "sum": TOTAL, "weighted_mean": WEIGHTED_MEAN}


def array_operands(input, target, threshold, bint huber, weight, where, factor):
    """The operands of a call that are arrays as they are; None where there is more to look at.

    Returns
    -------
    list
        What the fields of ``Operands`` are, in ``smoothl1/_arguments.py``, in their order.
    """
    return operands_of(input, target, threshold, huber, weight, where, factor)


def broadcast(cnp.ndarray a not None, cnp.ndarray like not None):
    """``a``, or a view of it, in the shape of ``like``; None if it does not broadcast to that."""
    return spread(a, like)


def are_thresholds(cnp.ndarray a not None, bint huber):
    """Whether all elements are thresholds of the loss; in doubt False."""
    return is_at_least(a, least_threshold(huber))


def are_apart(cnp.ndarray a not None, tuple others not None):
    """Whether the memory of an array lies outside of that of each other that is an array."""
    return is_apart(a, others)


cdef Py_ssize_t least_stride(cnp.ndarray a, const Py_ssize_t* axes, int count) noexcept:
    """The smallest stride of these axes, in bytes; the largest number if nothing moves."""
    cdef Py_ssize_t least = PY_SSIZE_T_MAX, stride
    cdef int i, axis
    for i in range(count):
        axis = <int>axes[i]
        stride = abs(cnp.PyArray_STRIDE(a, axis))
        if cnp.PyArray_DIM(a, axis) > 1 and 0 < stride < least:
            least = stride
    return least


cdef double SHRINK = 2.0 ** -70  # 2**63 elements, and the slope of a Huber loss, have room then


cdef class Work:
    """One evaluation over arrays that ``smoothl1._arguments`` has checked.

    Parameters
    ----------
    input, target, beta, weight, factor, where : ndarray or None
        All of one shape (broadcast views), of dtype float16/32/64, bfloat16, any integer
        or bool; ``where`` is bool. ``beta`` holds thresholds per element; ``factor``
        multiplies gradients.
    betas : list of float
        Thresholds for all elements; several make a path. Ignored if ``beta`` is given.
    huber : bool
        Whether the loss is scaled as Huber's.
    single : bool
        Whether to work in float32, else in float64.
    order : tuple of int, optional
        In which the axes are walked, of these arrays and of results; as they are by default.
    n_kept : int
        The first ``n_kept`` axes, in that order, are kept by ``sum``, the others are reduced.
    n_threads : int
        0 for the default.
    """

    cdef Job job
    cdef Py_ssize_t* axes
    cdef Py_ssize_t* order  # twice: from ``n_kept`` on it is that of outputs side by side
    cdef Params* params
    cdef int ndim
    cdef int n_params
    cdef int n_kept
    cdef tuple arrays
    cdef list betas
    cdef bint huber

    def __cinit__(
        self, input, target, *, list betas, bint huber, bint single, beta=None,
        weight=None, factor=None, where=None, tuple order=None, int n_kept=0,
        int n_threads=0,
    ):
        cdef Job* job = &self.job
        cdef Py_ssize_t extent
        cdef int i
        cdef cnp.ndarray like = weight if input is None else input
        if not betas:
            raise ValueError("at least one threshold is needed")
        self.arrays = (input, target, beta, weight, factor, where)
        self.n_kept = n_kept
        self.betas = betas
        self.huber = huber
        self.n_params = <int>len(betas)
        self.params = <Params*>allocate(self.n_params * sizeof(Params))
        self.ndim = cnp.PyArray_NDIM(like)
        self.axes = <Py_ssize_t*>allocate(
            (OPERANDS * axes_size(self.ndim) + 2 * self.ndim) * sizeof(Py_ssize_t)
        )
        if order is not None and len(order) != self.ndim:
            raise ValueError(f"order must have {self.ndim} axes, got {order!r}")
        self.order = self.axes + OPERANDS * axes_size(self.ndim)
        for i in range(self.ndim):
            self.order[i] = self.order[self.ndim + i] = i if order is None else order[i]
        job.params = self.params
        job.n_params = self.n_params
        job.single = single
        job.outputs = job.n = 1
        for i in range(self.ndim):
            extent = cnp.PyArray_DIM(like, <int>self.order[i])
            if i < n_kept:
                job.outputs *= extent
            else:
                job.n *= extent
        job.n_threads = n_threads
        job.has_scratch = True
        clear_options(job)
        job.options.has_beta = beta is not None
        job.options.has_weight = weight is not None
        job.options.has_factor = factor is not None
        job.options.has_where = where is not None
        self._describe(ALONE, 1.0, 1.0)

    def __dealloc__(self):
        free(self.params)
        free(self.axes)

    cdef int _set(
        self, Operand* place, cnp.ndarray array, const Py_ssize_t* order, int n_kept
    ) except -1:
        if cnp.PyArray_NDIM(array) != self.ndim:  # there is room for so many axes
            raise ValueError(
                f"arrays must have {self.ndim} dimensions, got {cnp.PyArray_NDIM(array)}"
            )
        return set_operand(place, array, order, n_kept, self.job.single)

    cdef int _describe(self, Side side, double shrink, double shrink_weight) except -1:
        """Describe the operands in the order of axes that goes with a side.

        All that the loss is of is multiplied by ``shrink``, the weights by ``shrink_weight``.
        """
        cdef Operand** places = [
            &self.job.x, &self.job.y, &self.job.beta, &self.job.weight, &self.job.factor,
            &self.job.where, &self.job.out, &self.job.out2,
        ]
        cdef const Py_ssize_t* order = self.order + (self.n_kept if side == ADJACENT else 0)
        cdef int i
        self.job.side = side
        for i in range(OPERANDS):
            use_axes(places[i], self.axes + i * axes_size(self.ndim), self.ndim)
        for i, array in enumerate(self.arrays):
            if array is None:
                continue
            self._set(places[i], array, order, self.n_kept if side == ALONE else 0)
            if i < 3 and shrink != 1.0:
                set_shrink(places[i], shrink)
            if i == 3 and shrink_weight != 1.0:
                set_shrink(places[i], shrink_weight)
        for i in range(self.n_params):
            make_params(
                &self.params[i], self.betas[i], self.huber, self.job.single,
                self.arrays[2] is not None, shrink,
            )
        return 0

    cdef Side _best_side(self) except *:
        """How the outputs of a sum are worked on."""
        cdef cnp.ndarray x = self.arrays[0]
        cdef int n_kept = self.n_kept
        if self.job.outputs <= 1 or self.job.n == 0 or self.n_params > 1:
            return ALONE
        if self.job.n > LANES and (
            least_stride(x, self.order, n_kept)
            < least_stride(x, self.order + n_kept, self.ndim - n_kept)
        ):
            return ADJACENT
        return SHORT if self.job.n <= FEW else ALONE

    def sum(self, str reduction, cnp.dtype dtype not None):
        """Reduce the loss, each output and each threshold.

        Returns
        -------
        ndarray, shape (outputs, thresholds)
            Of ``dtype``, a floating-point one, each rounded once;
            nan where a mean is over no element or over weights that sum to 0.
        empty : bool
            Whether that is so for an output.
        """
        cdef Side side = self._best_side()
        if side != self.job.side:
            self._describe(side, 1.0, 1.0)
        self.job.operation = SUM
        return self._reduce(reduction, dtype)

    cdef tuple _reduce(self, str reduction, cnp.dtype dtype):
        """Reduce; where a sum overflows that may be finite, once more in smaller units."""
        cdef Sink sink
        cdef cnp.npy_intp shape[2]
        cdef bint bfloat16 = dtype.kind == c"V" and is_bfloat16(dtype)
        cdef int typenum = cnp.NPY_UINT16 if bfloat16 else dtype.num
        cdef cnp.ndarray results, again
        shape[0], shape[1] = self.job.outputs, self.n_params
        results = cnp.PyArray_EMPTY(2, shape, typenum, 0)
        sink.kind = dtype.kind
        sink.itemsize = <int>cnp.PyArray_ITEMSIZE(results)
        sink.reduction = REDUCTIONS[reduction]
        sink.empty = sink.overflows = 0
        self.job.reduce = True
        self.job.options.sum_weights = sink.reduction == WEIGHTED_MEAN
        self._run_thresholds(&sink, results)
        if sink.overflows:
            again = cnp.PyArray_EMPTY(2, shape, typenum, 0)
            self.job.operation = SUM
            self._describe(
                self.job.side, SHRINK, SHRINK if sink.reduction == WEIGHTED_MEAN else 1.0
            )
            self._run_thresholds(&sink, again)
            self._describe(self.job.side, 1.0, 1.0)
            take_finite(results, again)
        return (<object>results).view(dtype) if bfloat16 else results, bool(sink.empty)

    cdef int _run_thresholds(self, Sink* sink, cnp.ndarray results) except -1:
        """Run for some thresholds at a time; there are several only of a single output."""
        cdef int done = 0
        while done < self.n_params:
            self.job.params = self.params + done
            self.job.n_params = min(MOST_THRESHOLDS, self.n_params - done)
            sink.results = <char*>cnp.PyArray_DATA(results) + done * cnp.PyArray_ITEMSIZE(results)
            run(&self.job, NULL, sink)
            done += self.job.n_params
        self.job.params = self.params
        self.job.n_params = self.n_params
        return 0

    def sum_weights(self):
        """The sum of the selected weights."""
        cdef Node total = no_node()
        self.job.operation = WEIGHTS
        self.job.reduce = True
        run(&self.job, &total, NULL)
        return total.weight.hi + total.weight.lo

    def write_values(self, out, bint overlaps):
        """Write the loss of each element to ``out``."""
        self.job.operation = VALUE
        self._write(out, overlaps, None, None)

    def write_slopes(
        self, out, bint overlaps, double scale, double divisor=1.0, *, reduction=None,
        cnp.dtype dtype not None=FLOAT64, values=None,
    ):
        """Write the gradient times ``scale / divisor`` to ``out``, and what else is asked for.

        With a reduction, return the reduced loss as ``sum`` does, of ``dtype``; with ``values``,
        write the loss of each element there.
        """
        self.job.operation = SLOPE if values is None else BOTH
        set_scale(&self.job, scale, divisor)
        if values is not None:
            self._set(&self.job.out2, values, self.order, 0)
        return self._write(out, overlaps, reduction, dtype)

    def write_curvatures(self, out, out2, bint overlaps, bint majorize):
        """Write the gradient to ``out`` and the second derivative to ``out2``."""
        self.job.operation = CURVATURE
        self.job.majorize = majorize
        self._set(&self.job.out2, out2, self.order, 0)
        return self._write(out, overlaps, None, None)

    cdef object _write(self, cnp.ndarray out, bint overlaps, reduction, cnp.dtype dtype):
        cdef Operation operation = self.job.operation
        cdef tuple reduced
        if overlaps and reduction is not None:
            # Summed first: a sum that overflows must find its operands as they were.
            self.job.operation = SUM
            reduced = self._reduce(reduction, dtype)
            self.job.operation = operation
            self._write(out, overlaps, None, None)
            return reduced
        self._set(&self.job.out, out, self.order, 0)
        if overlaps:
            self.job.out.direct = False
        if reduction is not None:
            return self._reduce(reduction, dtype)
        self.job.reduce = False
        run(&self.job, NULL, NULL)
        return None


def as_bfloat16(cnp.ndarray values not None):
    """The bits, as uint16, of contiguous numbers of float64, each rounded once to bfloat16."""
    if cnp.PyArray_TYPE(values) != cnp.NPY_FLOAT64 or not PyArray_ISCARRAY_RO(values):
        raise ValueError("values must be a contiguous array of float64")
    return bits_of_bfloat16(values)


# ---------------------------------------------------------------------------
# Location and line search
# ---------------------------------------------------------------------------

def all_finite(cnp.ndarray a not None):
    """Whether contiguous numbers of float64 are all finite."""
    return is_finite(a)


def location(cnp.ndarray y, cnp.ndarray weight, double beta):
    """The minimiser of the sum of w smooth_l1(y - m; beta); NaN if y is not finite.

    ``y``, and ``weight`` unless it is None, are one-dimensional contiguous arrays of float64,
    not empty, weights checked by ``smoothl1.location``; with weights both are overwritten.
    """
    return location_of(y, weight, beta)


def line_derivatives(
    cnp.ndarray residual, cnp.ndarray direction, cnp.ndarray weight, double step, double beta
):
    """First and second derivative in t of sum w smooth_l1(r - t d; beta), at t = step.

    For 0 < beta < inf. The arrays are one-dimensional contiguous ones of float64.
    """
    return derivatives_of(residual, direction, weight, step, beta)


# ---------------------------------------------------------------------------
# Exact sums
# ---------------------------------------------------------------------------

# For ``smoothl1.sums``: (digits, exponent of the first one's last bit, entries of a sum).
EXACT_SINGLE = (DIGITS_SINGLE, -BASE_SINGLE, DIGITS_SINGLE + COUNTS)
EXACT_DOUBLE = (DIGITS_DOUBLE, -BASE_DOUBLE, DIGITS_DOUBLE + COUNTS)


def exact_sums(
    Work work not None, Py_ssize_t first, Py_ssize_t outputs, *, bint linear=False,
    bint weights=False, bint moments=False,
):
    """The exact sums of some outputs: see ``exact.pxd`` for the row of each.

    Parameters
    ----------
    first, outputs : int
        The first of the outputs, and how many.
    linear : bool
        Whether to sum the weights in the linear piece where the loss does not need them.
    weights : bool
        Whether to sum the weights. Without weights each counts as 1.
    moments : bool
        Whether the last two thresholds, whatever they are, stand for the absolute residuals
        and for half of their squares.

    Returns
    -------
    ndarray of int64, shape (outputs, entries)
    """
    cdef Wanted wanted
    wanted.linear = linear
    wanted.weights = weights
    wanted.moments = moments
    return sums_of_outputs(
        &work.job, work.betas, work.huber, &wanted, first, outputs, NULL, _threads
    )


def exact_losses(Work work not None, Py_ssize_t first, Py_ssize_t outputs, str reduction):
    """What ``exact_settle`` gives of the rows of some outputs, and these rows.

    Sums are made only as exactly as their rounding needs (``certificates.pxd``): in the rows, those
    of losses that are not sure are exact.

    Returns
    -------
    losses, sure : ndarray
        As of ``exact_settle``.
    rows : ndarray of int64, shape (outputs, entries)
    """
    cdef Wanted wanted
    wanted.linear = wanted.moments = False
    wanted.weights = reduction == "weighted_mean"
    return losses_of_outputs(
        &work.job, work.betas, work.huber, &wanted, first, outputs, REDUCTIONS[reduction], _threads
    )


cdef object exact_loss(Job* job, Reduction reduction):
    """The exact loss of a plain job; None in doubt."""
    return settled_loss(job, reduction, _threads)


def exact_settle(Work work not None, cnp.ndarray rows not None, str reduction):
    """The losses of rows of ``exact_sums``, as far as double-double settles them.

    Returns
    -------
    losses : ndarray of float64, shape (outputs, thresholds)
    sure : ndarray of bool, of the same shape
        Whether a loss is the correctly rounded one.
    """
    check_rows(rows, row_size(&work.job))
    return settle_rows(&work.job, rows, NULL, REDUCTIONS[reduction])


def exact_form(double beta, bint huber, bint single, bint is_array=False):
    """The way from exact sums to the loss of a threshold: (over, gain, beta).

    The loss is the sum of the terms over ``over``, less the weight in the linear piece (or, for
    thresholds per element, the sum beside that of the terms) times ``gain * beta / 2``.
    """
    cdef Params p
    make_exact_params(&p, beta, huber, single, is_array)
    return form_of(&p, is_array)


def exact_forms(Work work not None):
    """``exact_form`` of each threshold, the number of outputs, whether in float32."""
    cdef Job* job = &work.job
    cdef int k
    return [
        exact_form(work.params[k].beta, work.params[k].huber, job.single, job.options.has_beta)
        for k in range(job.n_params)
    ], job.outputs, bool(job.single)


def exact_carry(cnp.ndarray rows not None, Py_ssize_t entries, int digits):
    """Carry in place: ``rows`` is a contiguous array of int64, sums of ``entries`` each."""
    carry_rows(rows, entries, digits)


# ---------------------------------------------------------------------------
# Exact sums by group
# ---------------------------------------------------------------------------

def exact_scan(Work work not None):
    """The extents of the terms: what windows a table needs for them.

    Returns
    -------
    ndarray of int64, shape (sums, 3)
        For each sum of a group (see ``bygroup.pxd``) the position of its terms' last bit, that
        above their first, and whether one is NaN or infinite.
    """
    return scan_groups(&work.job, work.betas, work.huber, _threads)


def exact_stage(
    Work work not None, cnp.ndarray groups not None, cnp.ndarray rows not None,
    cnp.ndarray memory=None,
):
    """Add the exact sums of a few groups to rows as of ``exact_sums``, moments included.

    Parameters
    ----------
    groups : ndarray of int32, shape (n,)
        The group of each element: the index of a row.
    rows : ndarray of int64, shape (count, entries)
    memory : ndarray of uint8, optional
        What an earlier call returned.

    Returns
    -------
    ndarray of uint8
        Buffers for the next call: fresh memory for each costs as much as the sums.
    """
    return stage_groups(&work.job, work.betas, work.huber, groups, rows, memory, _threads)


def exact_stage_keys(
    Work work not None, cnp.ndarray keys not None, cnp.ndarray memory=None,
):
    """The exact sums of groups whose keys are integers that are less than 512 apart.

    Parameters
    ----------
    keys : ndarray of int64, shape (n,)
        The key of each element.
    memory : ndarray of uint8, optional
        As for ``exact_stage``.

    Returns
    -------
    memory : ndarray of uint8
        Buffers for the next call.
    rows : ndarray of int64, shape (512, entries), or None
        The rows of the groups, that of a key at its last 9 bits; None if keys are further apart.
    least, most : int
        Between these are all keys.
    """
    return stage_keyed(&work.job, work.betas, work.huber, keys, memory, _threads)


def exact_scatter(
    Work work not None, cnp.ndarray groups not None, cnp.ndarray table not None,
    cnp.ndarray windows not None, bint compact=False,
):
    """Add the terms of each element to the row of its group.

    Parameters
    ----------
    groups : ndarray of int32, shape (n,)
        Each the index of a row.
    table : ndarray of int64, shape (rows, width)
        The number of elements in the first column, then digits; two spare columns.
    windows : ndarray of int64, shape (sums, 4)
        For each sum the column of its first digit, which digit that is, how many there are, and
        the column of the counts of what is no number. They hold what ``exact_scan`` found.
    compact : bool
        Rows and windows are those of ``compact.pxd``.
    """
    scatter_groups(&work.job, work.betas, work.huber, groups, table, windows, compact, _threads)


def exact_scatter_keys(
    Work work not None, cnp.ndarray keys not None, int64_t least, cnp.ndarray lookup not None,
    cnp.ndarray words, cnp.ndarray rows not None, cnp.ndarray windows not None,
):
    """``exact_scatter`` to compact rows of the codes that ``exact_write`` would write.

    They are written a piece at a time, for which memory need not be fresh.
    """
    scatter_keyed(
        &work.job, work.betas, work.huber, keys, least, lookup, words, rows, windows, _threads
    )


def exact_unpack(
    cnp.ndarray compact not None, cnp.ndarray windows not None, cnp.ndarray table not None,
):
    """Write compact rows to a table of as many: the digits of each sum follow those before.

    ``windows`` are those of the compact rows; the table has two spare columns.
    """
    unpack_rows(compact, windows, table)


def exact_carry_table(cnp.ndarray table not None, cnp.ndarray windows not None):
    """Carry in place in all windows of all rows."""
    carry_table(table, windows)


def exact_learn(
    cnp.ndarray keys not None, int64_t least, cnp.ndarray lookup not None, int32_t following,
    int n_threads=1,
):
    """Give codes to keys, in a table of codes, where -1 stands for a key that has none.

    ``keys`` (int64, each within ``least`` and the length of ``lookup``) and ``lookup`` (int32) are
    contiguous. Keys without a code get some from ``following`` on, in ascending order; 0: none has
    one yet. Returns the one that follows then, and what ``exact_write`` wants to know.
    """
    return learn_keys(keys, least, lookup, following, n_threads, _threads)


def exact_write(
    cnp.ndarray keys not None, int64_t least, cnp.ndarray lookup not None, cnp.ndarray words,
    cnp.ndarray codes not None, int n_threads=1,
):
    """Write the codes (int32) of keys that ``exact_learn`` was handed; ``words`` are from there."""
    write_codes_of(keys, least, lookup, words, codes, n_threads, _threads)


def exact_range(cnp.ndarray keys not None, int n_threads=1):
    """The least and the largest of some keys, which are contiguous, of int64."""
    cdef Range found = range_of_keys(keys, n_threads, _threads)
    return found.least, found.most


def read_groups(
    cnp.ndarray data not None, Py_ssize_t at, Py_ssize_t stop, Py_ssize_t groups, Py_ssize_t sums,
    int64_t most,
):
    """Where the groups of a state are in its bytes, from a place on (``_sums/states.py``).

    Returns
    -------
    places : ndarray of int64, shape (groups, 3 + 3 * sums)
        Of each group: place and length of the key, the number of elements; of each sum its place
        and length, and the bytes left out below, at most ``most``.
    counts : dict
        By (group, sum), of those that have some: how many terms were NaN, +inf and -inf.
    at : int
        What follows. None instead of all three if the bytes are no groups.
    """
    return places_of_groups(data, at, stop, groups, sums, most)


def read_digits(
    cnp.ndarray data not None, cnp.ndarray places not None, cnp.ndarray codes not None,
    cnp.ndarray table not None, cnp.ndarray windows not None,
):
    """Write the sums of the groups of a state to the rows of their codes in a table of zeros.

    ``codes`` are of int32, ``places`` those of ``read_groups``, of numbers of which the windows
    hold all bytes.
    """
    digits_of_groups(data, places, codes, table, windows)


def exact_figures(
    cnp.ndarray table not None, cnp.ndarray windows not None, cnp.ndarray order not None,
    list betas, bint huber, bint single, str reduction, int n_threads=1, bint compact=False,
):
    """The figures of some groups of a table, as far as double-double settles them.

    ``order``: an array of int64, the rows of the groups. ``compact``: see ``exact_scatter``.

    Returns
    -------
    n : ndarray of int64, shape (groups,)
        The numbers of elements.
    figures : list of ndarrays of float64, shape (groups,)
        The losses, one for each threshold, the mean absolute residual, the root of the mean squared
        one, the shares of the weights in the quadratic piece, again one for each, and the sum of
        the weights.
    sure : ndarray of bool, shape (groups,)
        Whether all of a group's figures are the correctly rounded ones.
    """
    return figures_of_table(
        table, windows, order, betas, huber, single, reduction, n_threads, compact, _threads
    )


# ---------------------------------------------------------------------------
# Ufuncs
# ---------------------------------------------------------------------------

UFUNCS = (
    "smooth_l1", "smooth_l1_slope", "smooth_l1_curvature",
    "huber", "huber_slope", "huber_curvature",
)

cdef list OPERATIONS = [VALUE, SLOPE, CURVATURE]


def ufunc(str name, str doc):
    """Make one of UFUNCS. Its module says where to find it, and keeps it."""
    cdef int i = UFUNCS.index(name)
    return make_ufunc(name.encode(), doc.encode(), OPERATIONS[i % 3], i >= 3, is_bfloat16)
