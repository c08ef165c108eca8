"""The boundary to Python: compiled once per instruction set, over the layers beside it.

Design
======

The layers below are the files beside this one; CONTRIBUTING.md has their map. From
the formulas of single elements (``smoothl1/_smoothl1.pxd``) upwards: *kernels* are
plain typed loops over contiguous elements, which GCC vectorises without
``-ffast-math``; *operands* pack any NumPy array a block at a time, or are read in place; a
*leaf* of at most ``LEAF`` elements is what a thread takes at once; leaves are summed
by a *tree* whose shape depends on the number of elements alone. Only this file
touches Python objects, threads and memory.

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

from cpython.object cimport PyObject
from cpython.ref cimport Py_INCREF
from libc.float cimport FLT_MAX, FLT_MIN
from libc.math cimport INFINITY, isfinite, isinf
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

cimport numpy as cnp

from bygroup cimport Extent, Window, sums_of_group
from coding cimport (
    LARGE_TABLE, Coding, Range, Word, code_keys, coding_tasks, range_of, rank_keys, words_of,
)
from digits cimport (
    BASE_DOUBLE, BASE_SINGLE, COUNTS, DIGITS_DOUBLE, DIGITS_SINGLE, carry, write_bytes,
)
from driver cimport run_outputs
from exact cimport Wanted, row_size
from exact_driver cimport run_exact, run_scan, run_scatter, run_staged, stage_memory
from figures cimport Figures, figures_count, run_figures
from jobs cimport (
    ADJACENT, ALONE, BOTH, CURVATURE, Job, MEAN, Operation, Reduction, SHORT, SLOPE, SUM, Side,
    Sink, TOTAL, VALUE, WEIGHTED_MEAN, WEIGHTS, clear_options, make_plan, set_scale,
)
from leaves cimport leaf_of_any_type
from location cimport SAMPLE, locate, slope_and_curvature
from operands cimport (
    Operand, axes_size, convert_back, set_flat, set_operand, set_shrink, smoothl1_float_of_bfloat,
    smoothl1_float_of_half, use_axes,
)
from plain cimport (
    PyArray_ISCARRAY, PyArray_ISCARRAY_RO, empty_like, loss_of, plain, plain_memory, plain_out,
    scalar, streams,
)
from quotients cimport settle_loss
from runtime cimport (
    SMOOTHL1_OPENMP, omp_get_max_threads, omp_get_num_procs, omp_in_parallel, owe, smoothl1_debt,
    smoothl1_enter, smoothl1_leave, smoothl1_startable, smoothl1_team_lost, smoothl1_team_started,
    smoothl1_watch_forks,
)
from sizes cimport FEW, GRAIN, LANES, LEAF
from team cimport allocate
from tensors cimport (
    Export, View, contiguous_size, export_of, has_numbers, is_constant, same_shape,
)
from terms cimport PRODUCT, Params, make_exact_params, make_params
from tree cimport Node, no_node
from ufuncs cimport Formula, INPUTS, loop_double, loop_single

from smoothl1 import _threads
from smoothl1._dtypes import is_bfloat16

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

cdef extern from "numpy/ufuncobject.h":
    # NumPy's own declarations for Cython lack const, and the resolver of types.
    ctypedef void (*Loop "PyUFuncGenericFunction")(
        char**, const cnp.npy_intp*, const cnp.npy_intp*, void*
    ) noexcept nogil
    ctypedef struct PyArrayObject:
        pass
    ctypedef struct PyArray_Descr:
        pass
    ctypedef int Resolver "PyUFunc_TypeResolutionFunc"(
        PyUFuncObject*, cnp.NPY_CASTING, PyArrayObject**, PyObject*, PyArray_Descr**
    ) noexcept
    ctypedef struct PyUFuncObject:
        Resolver* type_resolver
    const int PyUFunc_None
    object PyUFunc_FromFuncAndData(
        Loop*, void**, const char*, int, int, int, int, const char*, const char*, int
    )

cnp.import_array()
cnp.import_ufunc()
smoothl1_watch_forks()


cdef enum:
    # More threads than this are started only if there are as many processors.
    MOST_THREADS = 16
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
    requested = _threads.requested()
    if requested is not None:
        return requested
    return min(omp_get_max_threads(), omp_get_num_procs(), _threads.cpu_quota())


cdef int team(Job* job, long calls) except -1:
    """Threads for this job: no more than its work is worth.

    ``calls``, this one included, are under way. They share the limit of the process; that
    of a call or of a block is each caller's own.
    """
    cdef double work = <double>job.n * job.outputs * job.n_params
    cdef int limit = job.n_threads
    if limit == 1 or smoothl1_team_lost or omp_in_parallel():
        return 1
    if limit == 0:
        limit = thread_limit()
        if calls > 1 and not _threads.in_block():
            limit = limit // calls if limit > calls else 1
    if work / GRAIN < limit:
        limit = 1 + <int>((work - 1) // GRAIN)
    if limit > MOST_THREADS and limit > omp_get_num_procs():
        limit = max(MOST_THREADS, omp_get_num_procs())
    if limit == 1 or not SMOOTHL1_OPENMP:
        return 1
    job.times = True
    return limit if smoothl1_debt <= 0.0 else 1


cdef int run(Job* job, Node* totals, Sink* sink) except -1:
    """Run a job whose elements, operands and parameters are set.

    OUT: for a job that reduces, either sink, or, for a single output without a sink,
    totals[k], the sums for parameter set k.
    """
    cdef long calls
    job.leaves = (job.n + LEAF - 1) // LEAF
    job.times = False
    make_plan(job)
    if job.outputs == 1 and job.leaves == 1 and not (job.has_scratch or job.options.streams):
        # Too short to be worth releasing the GIL.
        leaf_of_any_type(job, 0, 0, totals, NULL)
        return 0
    if <double>job.n * job.outputs * job.n_params <= GRAIN:
        job.n_threads = 1
        return run_outputs(job, totals, sink)
    calls = smoothl1_enter()
    try:
        job.n_threads = team(job, calls)
        return run_outputs(job, totals, sink)
    finally:
        smoothl1_leave()


def team_state():
    """Whether this process ran a team, and whether it was forked from one that had."""
    return bool(smoothl1_team_started), bool(smoothl1_team_lost)


def team_debt(seconds=None):
    """Seconds of work still to be run on one thread after a slow team; optionally set them."""
    if seconds is not None:
        owe(seconds)
    return smoothl1_debt


def openmp_version():
    """The date of the OpenMP specification built against, as yyyymm; 0 without OpenMP."""
    return SMOOTHL1_OPENMP


# ---------------------------------------------------------------------------
# From Python: the fast path
# ---------------------------------------------------------------------------

cdef enum:
    NONE = -1  # beside those of Reduction
    OTHER = -2

cdef object MEAN_NAME = "mean"
cdef object SUM_NAME = "sum"
cdef object NONE_NAME = "none"


cdef int reduction_of(object name):
    """Which of the three it names. A literal of the caller's is our own object, most often."""
    if name is MEAN_NAME:
        return MEAN
    if name is SUM_NAME:
        return TOTAL
    if name is NONE_NAME:
        return NONE
    if type(name) is not str:
        return OTHER
    if name == MEAN_NAME:
        return MEAN
    if name == SUM_NAME:
        return TOTAL
    return NONE if name == NONE_NAME else OTHER


def fast_loss(input, target, reduction, beta, bint huber, out, n_threads):
    """The loss for plain arrays and no options; None for anything else."""
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


cdef inline void write_number(void* to, double number, bint single) noexcept:
    if single:
        (<float*>to)[0] = <float>number
    else:
        (<double*>to)[0] = number


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
            n_threads,
        ):
            return None
        return value, slope, tracked


cdef bint is_threshold(object threshold, bint huber):
    """Whether it is a number that PyTorch has no rules of its own for."""
    cdef double number
    if type(threshold) is not float and type(threshold) is not int:
        return False
    try:
        number = threshold
    except OverflowError:
        return False
    return FLT_MIN <= number <= FLT_MAX or number == 0.0 and not huber


cdef bint write_loss(
    void* input, void* target, void* value, void* grad, Py_ssize_t n, bint single, reduction,
    beta, bint huber, int n_threads,
) except -1:
    cdef Job job
    cdef Params p
    cdef Node node
    cdef double loss
    cdef int itemsize = 4 if single else 8
    cdef int how = reduction_of(reduction)
    cdef bint elementwise = how == NONE
    if how == OTHER or not plain_memory(&job, &p, input, target, n, single, beta, huber):
        return False
    job.reduce = not elementwise
    if elementwise or grad is NULL:
        job.n_threads = n_threads
        job.operation = SUM
        if elementwise:
            job.operation = VALUE
            set_flat(&job.out, value, n, itemsize)
        run(&job, &node, NULL)
    if grad is not NULL:
        job.n_threads = n_threads
        job.operation = SLOPE
        set_flat(&job.out, grad, n, itemsize)
        if how == MEAN:
            set_scale(&job, 1.0, n)
        run(&job, &node, NULL)
    if elementwise:
        return True
    loss = loss_of(&node, <Reduction>how, &p)
    if isinf(loss):
        return False
    write_number(value, loss, single)
    return True


# ---------------------------------------------------------------------------
# From Python: everything else
# ---------------------------------------------------------------------------

cdef cnp.dtype FLOAT64 = cnp.PyArray_DescrFromType(cnp.NPY_FLOAT64)
cdef dict REDUCTIONS = {"mean": MEAN, "sum": TOTAL, "weighted_mean": WEIGHTED_MEAN}


cdef Py_ssize_t least_stride(cnp.ndarray a, int first, int stop) noexcept:
    """The smallest stride of these axes, in bytes; the largest number if nothing moves."""
    cdef Py_ssize_t least = PY_SSIZE_T_MAX, stride
    cdef int axis
    for axis in range(first, stop):
        stride = abs(cnp.PyArray_STRIDE(a, axis))
        if cnp.PyArray_DIM(a, axis) > 1 and 0 < stride < least:
            least = stride
    return least


cdef double SHRINK = 2.0 ** -70  # 2**63 elements, and the slope of a Huber loss, have room then


cdef inline double result_at(cnp.ndarray results, Py_ssize_t i) noexcept:
    """One of contiguous results of a core; those of uint16 are the bits of bfloat16."""
    cdef int typenum = cnp.PyArray_TYPE(results)
    cdef char* data = <char*>cnp.PyArray_DATA(results)
    if typenum == cnp.NPY_FLOAT16:
        return smoothl1_float_of_half((<uint16_t*>data)[i])
    if typenum == cnp.NPY_UINT16:
        return smoothl1_float_of_bfloat((<uint16_t*>data)[i])
    return (<float*>data)[i] if typenum == cnp.NPY_FLOAT32 else (<double*>data)[i]


cdef void take_finite(cnp.ndarray results, cnp.ndarray others) noexcept:
    """Take over those of the others that are finite here instead."""
    cdef Py_ssize_t i, size = cnp.PyArray_ITEMSIZE(results)
    for i in range(cnp.PyArray_SIZE(results)):
        if not isfinite(result_at(results, i)) and isfinite(result_at(others, i)):
            memcpy(
                <char*>cnp.PyArray_DATA(results) + i * size,
                <char*>cnp.PyArray_DATA(others) + i * size, size,
            )


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
    n_kept : int
        The first ``n_kept`` axes are kept by ``sum``, the others are reduced.
    n_threads : int
        0 for the default.
    """

    cdef Job job
    cdef Py_ssize_t* axes
    cdef Params* params
    cdef int ndim
    cdef int n_params
    cdef int n_kept
    cdef tuple arrays
    cdef list betas
    cdef bint huber

    def __cinit__(
        self, input, target, *, list betas, bint huber, bint single, beta=None,
        weight=None, factor=None, where=None, int n_kept=0, int n_threads=0,
    ):
        cdef Job* job = &self.job
        cdef int axis
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
        self.axes = <Py_ssize_t*>allocate(OPERANDS * axes_size(self.ndim) * sizeof(Py_ssize_t))
        job.params = self.params
        job.n_params = self.n_params
        job.single = single
        job.outputs = 1
        for axis in range(n_kept):
            job.outputs *= cnp.PyArray_DIM(like, axis)
        job.n = 1
        for axis in range(n_kept, self.ndim):
            job.n *= cnp.PyArray_DIM(like, axis)
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

    cdef int _set(self, Operand* place, cnp.ndarray array, int n_kept) except -1:
        if cnp.PyArray_NDIM(array) != self.ndim:  # there is room for so many axes
            raise ValueError(
                f"arrays must have {self.ndim} dimensions, got {cnp.PyArray_NDIM(array)}"
            )
        return set_operand(place, array, n_kept, self.job.single)

    cdef int _describe(self, Side side, double shrink, double shrink_weight) except -1:
        """Describe the operands in the order of axes that goes with a side.

        All that the loss is of is multiplied by ``shrink``, the weights by ``shrink_weight``.
        """
        cdef Operand** places = [
            &self.job.x, &self.job.y, &self.job.beta, &self.job.weight, &self.job.factor,
            &self.job.where, &self.job.out, &self.job.out2,
        ]
        cdef int i
        self.job.side = side
        for i in range(OPERANDS):
            use_axes(places[i], self.axes + i * axes_size(self.ndim), self.ndim)
        for i, array in enumerate(self.arrays):
            if array is None:
                continue
            if side == ADJACENT:
                array = array.transpose(*range(self.n_kept, self.ndim), *range(self.n_kept))
            self._set(places[i], array, self.n_kept if side == ALONE else 0)
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
        cdef int ndim = cnp.PyArray_NDIM(x)
        if self.job.outputs <= 1 or self.job.n == 0 or self.n_params > 1:
            return ALONE
        if self.job.n > LANES and (
            least_stride(x, 0, self.n_kept) < least_stride(x, self.n_kept, ndim)
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
        cdef cnp.npy_intp size = self.job.outputs * self.n_params
        cdef int typenum = cnp.NPY_UINT16 if is_bfloat16(dtype) else dtype.num
        cdef cnp.ndarray results = cnp.PyArray_EMPTY(1, &size, typenum, 0)
        cdef cnp.ndarray again
        sink.kind = dtype.kind
        sink.itemsize = <int>cnp.PyArray_ITEMSIZE(results)
        sink.reduction = REDUCTIONS[reduction]
        sink.empty = sink.overflows = 0
        self.job.reduce = True
        self.job.options.sum_weights = sink.reduction == WEIGHTED_MEAN
        self._run_thresholds(&sink, results)
        if sink.overflows:
            again = cnp.PyArray_EMPTY(1, &size, typenum, 0)
            self.job.operation = SUM
            self._describe(
                self.job.side, SHRINK, SHRINK if sink.reduction == WEIGHTED_MEAN else 1.0
            )
            self._run_thresholds(&sink, again)
            self._describe(self.job.side, 1.0, 1.0)
            take_finite(results, again)
        found = (<object>results).reshape(self.job.outputs, self.n_params).view(dtype)
        return found, bool(sink.empty)

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
        self._write(out, overlaps, None)

    def write_slopes(
        self, out, bint overlaps, double scale, double divisor=1.0, *, reduction=None, values=None
    ):
        """Write the gradient times ``scale / divisor`` to ``out``, and what else is asked for.

        With a reduction, return the reduced loss as ``sum`` does; with ``values``, write
        the loss of each element there.
        """
        self.job.operation = SLOPE if values is None else BOTH
        set_scale(&self.job, scale, divisor)
        if values is not None:
            self._set(&self.job.out2, values, 0)
        return self._write(out, overlaps, reduction)

    def write_curvatures(self, out, out2, bint overlaps, bint majorize):
        """Write the gradient to ``out`` and the second derivative to ``out2``."""
        self.job.operation = CURVATURE
        self.job.majorize = majorize
        self._set(&self.job.out2, out2, 0)
        return self._write(out, overlaps, None)

    cdef object _write(self, cnp.ndarray out, bint overlaps, reduction):
        cdef Operation operation = self.job.operation
        cdef tuple reduced
        if overlaps and reduction is not None:
            # Summed first: a sum that overflows must find its operands as they were.
            self.job.operation = SUM
            reduced = self._reduce(reduction, FLOAT64)
            self.job.operation = operation
            self._write(out, overlaps, None)
            return reduced
        self._set(&self.job.out, out, 0)
        if overlaps:
            self.job.out.direct = False
        if reduction is not None:
            return self._reduce(reduction, FLOAT64)
        self.job.reduce = False
        run(&self.job, NULL, NULL)
        return None


def as_bfloat16(cnp.ndarray values not None):
    """The bits, as uint16, of contiguous numbers of float64, each rounded once to bfloat16."""
    cdef cnp.ndarray bits
    cdef Py_ssize_t n = cnp.PyArray_SIZE(values)
    cdef const double* a = <const double*>cnp.PyArray_DATA(values)
    cdef char* to
    if cnp.PyArray_TYPE(values) != cnp.NPY_FLOAT64 or not PyArray_ISCARRAY_RO(values):
        raise ValueError("values must be a contiguous array of float64")
    bits = cnp.PyArray_EMPTY(
        cnp.PyArray_NDIM(values), <cnp.npy_intp*>cnp.PyArray_DIMS(values), cnp.NPY_UINT16, 0
    )
    to = <char*>cnp.PyArray_DATA(bits)
    with nogil:
        convert_back(a, n, c"V", 2, to)
    return bits


# ---------------------------------------------------------------------------
# Location and line search
# ---------------------------------------------------------------------------

def location(cnp.ndarray y, cnp.ndarray weight, double beta):
    """The minimiser of the sum of w smooth_l1(y - m; beta).

    ``y``, and ``weight`` unless it is None, are one-dimensional contiguous arrays of float64,
    checked by ``smoothl1.location``; both are overwritten.
    """
    cdef double* w = NULL
    cdef double result
    if weight is not None:
        w = <double*>cnp.PyArray_DATA(weight)
    cdef double* space = <double*>allocate(4 * SAMPLE * sizeof(double))
    try:
        with nogil:
            result = locate(<double*>cnp.PyArray_DATA(y), w, cnp.PyArray_SIZE(y), beta, space)
    finally:
        free(space)
    return result


def line_derivatives(
    cnp.ndarray residual, cnp.ndarray direction, cnp.ndarray weight, double step, double beta
):
    """First and second derivative in t of sum w smooth_l1(r - t d; beta), at t = step.

    For 0 < beta < inf. The arrays are one-dimensional contiguous ones of float64.
    """
    cdef Py_ssize_t n = cnp.PyArray_SIZE(residual)
    cdef double first, second
    cdef cnp.ndarray a
    for a in (residual, direction, weight):
        if (
            cnp.PyArray_TYPE(a) != cnp.NPY_FLOAT64 or cnp.PyArray_NDIM(a) != 1
            or not PyArray_ISCARRAY_RO(a) or cnp.PyArray_SIZE(a) != n
        ):
            raise ValueError(
                "residual, direction and weight must be contiguous float64 arrays of one length"
            )
    with nogil:
        slope_and_curvature(
            <double*>cnp.PyArray_DATA(residual), <double*>cnp.PyArray_DATA(direction),
            <double*>cnp.PyArray_DATA(weight), n, step, beta, &first, &second,
        )
    return first, second


# ---------------------------------------------------------------------------
# Exact sums
# ---------------------------------------------------------------------------

# For ``smoothl1.sums``: (digits, exponent of the first one's last bit, entries of a sum).
EXACT_SINGLE = (DIGITS_SINGLE, -BASE_SINGLE, DIGITS_SINGLE + COUNTS)
EXACT_DOUBLE = (DIGITS_DOUBLE, -BASE_DOUBLE, DIGITS_DOUBLE + COUNTS)


cdef int start_exact(
    Job* job, const Wanted* wanted, Py_ssize_t first, Py_ssize_t outputs, int64_t* rows
) except -1:
    """Add the exact sums of some outputs to their rows, on as many threads as it is worth."""
    cdef int limit = job.n_threads
    cdef long calls
    if outputs == 0 or job.n == 0:
        return 0
    job.times = False
    calls = smoothl1_enter()
    try:
        job.n_threads = 1
        if <double>job.n * outputs * job.n_params > GRAIN:
            job.n_threads = limit
            job.n_threads = team(job, calls)
        return run_exact(job, wanted, first, outputs, rows)
    finally:
        job.n_threads = limit
        smoothl1_leave()


cdef void set_exact(Work work) noexcept:
    """Let the thresholds be those of exact sums."""
    cdef Job* job = &work.job
    cdef int k
    for k in range(job.n_params):
        make_exact_params(
            &work.params[k], work.betas[k], work.huber, job.single, job.options.has_beta
        )


cdef int set_moments(Work work) except -1:
    """The same; the last two stand for the absolute residual, and half of its square."""
    cdef Job* job = &work.job
    set_exact(work)
    if job.n_params < 3 or job.options.has_beta:
        raise ValueError("moments need three thresholds, each for all elements")
    make_exact_params(&work.params[job.n_params - 2], 0.0, False, job.single, False)
    make_exact_params(&work.params[job.n_params - 1], INFINITY, True, job.single, False)
    return 0


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
    cdef Job* job = &work.job
    cdef Wanted wanted
    cdef cnp.npy_intp shape[2]
    cdef cnp.ndarray rows
    if first < 0 or outputs < 0 or first + outputs > job.outputs:
        raise ValueError(f"outputs must be within 0 and {job.outputs}")
    wanted.linear = linear
    wanted.weights = weights
    wanted.moments = moments
    if moments:
        set_moments(work)
    else:
        set_exact(work)
    shape[0] = outputs
    shape[1] = row_size(job)
    rows = cnp.PyArray_ZEROS(2, shape, cnp.NPY_INT64, 0)
    start_exact(job, &wanted, first, outputs, <int64_t*>cnp.PyArray_DATA(rows))
    return rows


def fast_exact(input, target, reduction, beta, bint huber, out, n_threads):
    """The exact loss for plain arrays and no options; None for anything else, or in doubt."""
    cdef Job job
    cdef Params p
    cdef Wanted wanted
    cdef int64_t row[1 + 3 * (DIGITS_DOUBLE + COUNTS)]
    cdef uint8_t sure = False
    cdef double loss
    cdef int how = reduction_of(reduction)
    if out is not None or how != MEAN and how != TOTAL:
        return None
    if not plain(&job, &p, input, target, beta, huber):
        return None
    job.n_threads = 0 if n_threads is None else _threads.check_n_threads(n_threads)
    wanted.linear = wanted.weights = wanted.moments = False
    memset(row, 0, sizeof(row))
    start_exact(&job, &wanted, 0, 1, row)
    loss = settle_loss(&job, row, 0, <Reduction>how, &sure)
    return scalar(loss, &p) if sure else None


def exact_settle(Work work not None, cnp.ndarray rows not None, str reduction):
    """The losses of rows of ``exact_sums``, as far as double-double settles them.

    Returns
    -------
    losses : ndarray of float64, shape (outputs, thresholds)
    sure : ndarray of bool, of the same shape
        Whether a loss is the correctly rounded one.
    """
    cdef Job* job = &work.job
    cdef Reduction how = REDUCTIONS[reduction]
    cdef cnp.npy_intp shape[2]
    cdef cnp.ndarray losses, sure
    cdef Py_ssize_t o, k, entries = row_size(job), m = job.n_params
    cdef const int64_t* row = <const int64_t*>cnp.PyArray_DATA(rows)
    cdef double* loss
    cdef uint8_t* certain
    if (
        cnp.PyArray_TYPE(rows) != cnp.NPY_INT64 or cnp.PyArray_NDIM(rows) != 2
        or not PyArray_ISCARRAY(rows) or cnp.PyArray_DIM(rows, 1) != entries
    ):
        raise ValueError(f"rows must be a contiguous array of int64, of {entries} columns")
    shape[0] = cnp.PyArray_DIM(rows, 0)
    shape[1] = m
    losses = cnp.PyArray_ZEROS(2, shape, cnp.NPY_FLOAT64, 0)
    sure = cnp.PyArray_ZEROS(2, shape, cnp.NPY_BOOL, 0)
    loss = <double*>cnp.PyArray_DATA(losses)
    certain = <uint8_t*>cnp.PyArray_DATA(sure)
    with nogil:
        for o in range(shape[0]):
            for k in range(m):
                loss[o * m + k] = settle_loss(
                    job, row + o * entries, <int>k, how, certain + o * m + k
                )
    return losses, sure


def exact_form(double beta, bint huber, bint single, bint is_array=False):
    """The way from exact sums to the loss of a threshold: (over, gain, beta).

    The loss is the sum of the terms over ``over``, less the weight in the linear piece (or, for
    thresholds per element, the sum beside that of the terms) times ``gain * beta / 2``.
    """
    cdef Params p
    make_exact_params(&p, beta, huber, single, is_array)
    if is_array:
        return p.over, 1.0, 1.0
    if p.form == PRODUCT or p.beta == INFINITY:
        return p.over, 0.0, 0.0
    return p.over, p.gain, p.beta


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
    cdef int64_t* a = <int64_t*>cnp.PyArray_DATA(rows)
    cdef Py_ssize_t i, sums
    if (
        cnp.PyArray_TYPE(rows) != cnp.NPY_INT64 or not PyArray_ISCARRAY(rows)
        or digits < 1 or entries < digits or cnp.PyArray_SIZE(rows) % entries != 0
    ):
        raise ValueError("rows must be a contiguous array of int64, of whole sums")
    sums = cnp.PyArray_SIZE(rows) // entries
    with nogil:
        for i in range(sums):
            carry(a + i * entries, digits)


# ---------------------------------------------------------------------------
# Exact sums by group
# ---------------------------------------------------------------------------

cdef int group_team(Job* job, double work) except -1:
    """A power of two of threads, for work as of so many elements."""
    cdef int limit = job.n_threads, threads = 1, most
    cdef long calls
    if work <= GRAIN:
        return 1
    calls = smoothl1_enter()
    try:
        most = team(job, calls)
    finally:
        job.n_threads = limit
        smoothl1_leave()
    while 2 * threads <= most:
        threads *= 2
    if threads > 1:
        threads = smoothl1_startable(threads)
    return threads if threads & (threads - 1) == 0 else 1


def exact_scan(Work work not None):
    """The extents of the terms: what windows a table needs for them.

    Returns
    -------
    ndarray of int64, shape (sums, 3)
        For each sum of a group (see ``bygroup.pxd``) the position of its terms' last bit, that
        above their first, and whether one is NaN or infinite.
    """
    cdef Job* job = &work.job
    cdef cnp.npy_intp shape[2]
    cdef cnp.ndarray found
    set_moments(work)
    shape[0] = sums_of_group(job)
    shape[1] = 3
    found = cnp.PyArray_ZEROS(2, shape, cnp.NPY_INT64, 0)
    run_scan(job, group_team(job, <double>job.n * shape[0]), <Extent*>cnp.PyArray_DATA(found))
    return found


cdef const int32_t* checked_codes(Job* job, cnp.ndarray groups, int64_t count) except NULL:
    """The codes of the groups, one for each element; ``ValueError`` beyond ``count``."""
    cdef const int32_t* codes = <const int32_t*>cnp.PyArray_DATA(groups)
    cdef int32_t least = 0, most = -1
    cdef Py_ssize_t i
    if (
        cnp.PyArray_TYPE(groups) != cnp.NPY_INT32 or not PyArray_ISCARRAY_RO(groups)
        or cnp.PyArray_SIZE(groups) != job.n
    ):
        raise ValueError("groups must be a contiguous array of int32, one for each element")
    with nogil:
        for i in range(job.n):
            least = codes[i] if codes[i] < least else least
            most = codes[i] if codes[i] > most else most
    if least < 0 or most >= count:
        raise ValueError(f"groups must be within 0 and {count}, got {least} and {most}")
    return codes


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
    cdef Job* job = &work.job
    cdef const int32_t* codes
    cdef Wanted wanted
    cdef cnp.npy_intp size
    cdef int threads
    set_moments(work)
    wanted.linear = wanted.weights = wanted.moments = True
    if (
        cnp.PyArray_TYPE(rows) != cnp.NPY_INT64 or cnp.PyArray_NDIM(rows) != 2
        or not PyArray_ISCARRAY(rows) or cnp.PyArray_DIM(rows, 1) != row_size(job)
        or cnp.PyArray_DIM(rows, 0) > 2**31 - 1
    ):
        raise ValueError("rows must be contiguous rows of int64, as of exact_sums")
    codes = checked_codes(job, groups, cnp.PyArray_DIM(rows, 0))
    threads = group_team(job, <double>job.n * sums_of_group(job))
    size = stage_memory(job, <int32_t>cnp.PyArray_DIM(rows, 0), threads)
    if memory is None or cnp.PyArray_NBYTES(memory) < size:
        memory = cnp.PyArray_EMPTY(1, &size, cnp.NPY_UINT8, 0)
    elif not PyArray_ISCARRAY(memory):
        raise ValueError("memory must be contiguous and writable")
    with nogil:
        run_staged(
            job, &wanted, codes, <int32_t>cnp.PyArray_DIM(rows, 0), threads,
            <char*>cnp.PyArray_DATA(memory), <int64_t*>cnp.PyArray_DATA(rows),
        )
    return memory


cdef int check_table(cnp.ndarray table, cnp.ndarray windows, Py_ssize_t sums) except -1:
    """Raise ``ValueError`` unless all windows are within the table's rows."""
    cdef Window* window
    cdef Py_ssize_t i, width
    if (
        cnp.PyArray_TYPE(table) != cnp.NPY_INT64 or cnp.PyArray_NDIM(table) != 2
        or not PyArray_ISCARRAY(table) or cnp.PyArray_TYPE(windows) != cnp.NPY_INT64
        or not PyArray_ISCARRAY(windows) or cnp.PyArray_SIZE(windows) != 4 * sums
    ):
        raise ValueError("table and windows must be contiguous arrays of int64")
    width = cnp.PyArray_DIM(table, 1)
    window = <Window*>cnp.PyArray_DATA(windows)
    for i in range(sums):
        if (
            window[i].column < 1 or window[i].digits < 1
            or window[i].column + window[i].digits + 2 > width
            or window[i].special + 3 > width
        ):
            raise ValueError(f"window {i} is not within the table")
    return 0


def exact_scatter(
    Work work not None, cnp.ndarray groups not None, cnp.ndarray table not None,
    cnp.ndarray windows not None,
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
    """
    cdef Job* job = &work.job
    cdef const int32_t* codes
    set_moments(work)
    check_table(table, windows, sums_of_group(job))
    codes = checked_codes(job, groups, cnp.PyArray_DIM(table, 0))
    run_scatter(
        job, codes, <const Window*>cnp.PyArray_DATA(windows),
        <int64_t*>cnp.PyArray_DATA(table), cnp.PyArray_DIM(table, 0), cnp.PyArray_DIM(table, 1),
        group_team(job, <double>job.n * sums_of_group(job)),
    )


def exact_carry_table(cnp.ndarray table not None, cnp.ndarray windows not None):
    """Carry in place in all windows of all rows."""
    cdef Py_ssize_t sums = cnp.PyArray_SIZE(windows) // 4, rows, width, i, j
    cdef int64_t* row
    cdef const Window* window
    check_table(table, windows, sums)
    rows = cnp.PyArray_DIM(table, 0)
    width = cnp.PyArray_DIM(table, 1)
    row = <int64_t*>cnp.PyArray_DATA(table)
    window = <const Window*>cnp.PyArray_DATA(windows)
    with nogil:
        for i in range(rows):
            for j in range(sums):
                carry(row + i * width + window[j].column, <int>window[j].digits)


cdef int team_of(Py_ssize_t n, int n_threads) except -1:
    """Threads for so many elements that are no job's."""
    cdef Job job
    memset(&job, 0, sizeof(job))
    job.n, job.outputs, job.n_params, job.n_threads = n, 1, 1, n_threads
    return group_team(&job, <double>n)


def exact_codes(
    cnp.ndarray keys not None, int64_t least, cnp.ndarray lookup not None,
    cnp.ndarray codes not None, int32_t following, int n_threads=1,
):
    """The code of each key by a table of codes, where -1 stands for a key that has none.

    ``keys`` (int64, each within ``least`` and the length of ``lookup``) and ``codes`` (int32) are
    contiguous and of one length, ``lookup`` (int32) is contiguous. Such keys get codes from
    ``following`` on, in ascending order; 0: none has one yet. Returns the one that follows then.
    """
    cdef Coding coding
    cdef int threads
    if (
        cnp.PyArray_TYPE(keys) != cnp.NPY_INT64 or not PyArray_ISCARRAY_RO(keys)
        or cnp.PyArray_TYPE(codes) != cnp.NPY_INT32 or not PyArray_ISCARRAY(codes)
        or cnp.PyArray_TYPE(lookup) != cnp.NPY_INT32 or not PyArray_ISCARRAY(lookup)
        or cnp.PyArray_SIZE(codes) != cnp.PyArray_SIZE(keys)
    ):
        raise ValueError("keys, codes and lookup must be contiguous, of int64, int32 and int32")
    coding.size = cnp.PyArray_SIZE(lookup)
    coding.keys = <const int64_t*>cnp.PyArray_DATA(keys)
    coding.n = cnp.PyArray_SIZE(keys)
    coding.least = least
    coding.table = <int32_t*>cnp.PyArray_DATA(lookup)
    coding.codes = <int32_t*>cnp.PyArray_DATA(codes)
    threads = team_of(coding.n, n_threads)
    if following == 0 and coding.size > LARGE_TABLE:
        coding.words = <Word*>calloc((threads + 1) * words_of(coding.size), sizeof(Word))
        if coding.words is NULL:
            raise MemoryError(f"no memory for the codes of {coding.size} keys")
        with nogil:
            following = rank_keys(&coding, threads)
        free(coding.words)
    else:
        with nogil:
            following = code_keys(&coding, following, threads)
    if following < 0:
        raise ValueError(f"keys must be within {least} and {least + coding.size}")
    return following


def exact_range(cnp.ndarray keys not None, int n_threads=1):
    """The least and the largest of some keys, which are contiguous, of int64."""
    cdef Coding coding
    cdef Range found
    cdef int threads
    coding.keys = <const int64_t*>cnp.PyArray_DATA(keys)
    coding.n = cnp.PyArray_SIZE(keys)
    if (
        cnp.PyArray_TYPE(keys) != cnp.NPY_INT64 or not PyArray_ISCARRAY_RO(keys) or coding.n == 0
    ):
        raise ValueError("keys must be contiguous, of int64, one at least")
    threads = team_of(coding.n, n_threads)
    coding.ranges = <Range*>allocate(coding_tasks(coding.n) * sizeof(Range))
    with nogil:
        found = range_of(&coding, threads)
    free(coding.ranges)
    return found.least, found.most


cdef inline bint read_natural(
    const uint8_t* data, Py_ssize_t* at, Py_ssize_t stop, uint64_t* value
) noexcept nogil:
    """Read seven bits a byte, the lowest first; returns whether they ended, within 64 bits."""
    cdef int shift = 0
    cdef uint64_t part
    value[0] = 0
    while at[0] < stop and shift < 64:
        part = data[at[0]] & 0x7F
        if shift == 63 and part > 1:
            return False
        value[0] |= part << shift
        at[0] += 1
        if data[at[0] - 1] < 0x80:
            return True
        shift += 7
    return False


cdef inline int64_t signed_of(uint64_t code) noexcept nogil:
    return <int64_t>(code >> 1) ^ -<int64_t>(code & 1)


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
    cdef const uint8_t* bytes_ = <const uint8_t*>cnp.PyArray_DATA(data)
    cdef cnp.npy_intp shape[2]
    cdef cnp.ndarray places
    cdef int64_t* place
    cdef uint64_t size, below, code
    cdef uint64_t counted[3]
    cdef Py_ssize_t group, sum, i
    if (
        cnp.PyArray_TYPE(data) != cnp.NPY_UINT8 or not PyArray_ISCARRAY_RO(data)
        or not 0 <= at <= stop <= cnp.PyArray_SIZE(data) or sums < 1
    ):
        raise ValueError("data must be contiguous, of uint8, and at and stop within them")
    if not 0 <= groups <= (stop - at) // (2 + sums):  # so many bytes at least
        return None
    shape[0] = groups
    shape[1] = 3 + 3 * sums
    places = cnp.PyArray_EMPTY(2, shape, cnp.NPY_INT64, 0)
    place = <int64_t*>cnp.PyArray_DATA(places)
    counts = {}
    for group in range(groups):
        if not read_natural(bytes_, &at, stop, &size) or size > <uint64_t>(stop - at):
            return None
        place[0] = at
        place[1] = <int64_t>size
        at += <Py_ssize_t>size
        if not read_natural(bytes_, &at, stop, &code):
            return None
        place[2] = signed_of(code)
        place += 3
        for sum in range(sums):
            below = 0
            if not read_natural(bytes_, &at, stop, &code):
                return None
            size = code >> 1
            if size > 0 and not read_natural(bytes_, &at, stop, &below):
                return None
            if size > <uint64_t>(stop - at) or below > <uint64_t>most:
                return None
            place[0] = at
            place[1] = <int64_t>size
            place[2] = <int64_t>below
            place += 3
            at += <Py_ssize_t>size
            if code & 1:
                for i in range(3):
                    if not read_natural(bytes_, &at, stop, &counted[i]):
                        return None
                counts[group, sum] = [signed_of(counted[i]) for i in range(3)]
    return places, counts, at


def read_digits(
    cnp.ndarray data not None, cnp.ndarray places not None, cnp.ndarray codes not None,
    cnp.ndarray table not None, cnp.ndarray windows not None,
):
    """Write the sums of the groups of a state to the rows of their codes (int32) in a table of zeros.

    ``places`` are those of ``read_groups``, of numbers of which the windows hold all bytes.
    """
    cdef Py_ssize_t sums = cnp.PyArray_SIZE(windows) // 4, groups, width, rows, size, group, sum, i
    cdef const uint8_t* bytes_ = <const uint8_t*>cnp.PyArray_DATA(data)
    cdef const int32_t* code = <const int32_t*>cnp.PyArray_DATA(codes)
    cdef const int64_t* place
    cdef const Window* window
    cdef int64_t* digits
    cdef int64_t offset
    cdef bint fits = True
    check_table(table, windows, sums)
    rows = cnp.PyArray_DIM(table, 0)
    width = cnp.PyArray_DIM(table, 1)
    size = cnp.PyArray_SIZE(data)
    groups = cnp.PyArray_SIZE(codes)
    if (
        cnp.PyArray_TYPE(data) != cnp.NPY_UINT8 or not PyArray_ISCARRAY_RO(data)
        or cnp.PyArray_TYPE(places) != cnp.NPY_INT64 or not PyArray_ISCARRAY_RO(places)
        or cnp.PyArray_SIZE(places) != groups * (3 + 3 * sums)
        or cnp.PyArray_TYPE(codes) != cnp.NPY_INT32 or not PyArray_ISCARRAY_RO(codes)
    ):
        raise ValueError("data, places and codes must be contiguous, of uint8, int64 and int32")
    window = <const Window*>cnp.PyArray_DATA(windows)
    with nogil:
        for group in range(groups):
            place = <const int64_t*>cnp.PyArray_DATA(places) + group * (3 + 3 * sums)
            if code[group] < 0 or code[group] >= rows:
                fits = False
                break
            digits = <int64_t*>cnp.PyArray_DATA(table) + code[group] * width
            digits[0] = place[2]
            for sum in range(sums):
                place += 3
                if place[1] == 0:
                    continue
                offset = place[2] - 4 * window[sum].first
                if (
                    place[0] < 0 or place[1] < 0 or place[0] > size - place[1]
                    or offset < 0 or offset + place[1] > 4 * window[sum].digits + 4
                ):
                    fits = False
                    break
                write_bytes(
                    bytes_ + place[0], place[1], offset, digits + window[sum].column,
                    window[sum].digits,
                )
    if not fits:
        raise ValueError("places and codes must be within the data, the windows and the table")


def exact_figures(
    cnp.ndarray table not None, cnp.ndarray windows not None, cnp.ndarray order not None,
    list betas, bint huber, bint single, str reduction, int n_threads=1,
):
    """The figures of some groups of a table, as far as double-double settles them.

    ``order``: an array of int64, the rows of the groups.

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
    cdef Figures f
    cdef Py_ssize_t i, rows, size
    cdef int k, count, threads
    cdef cnp.npy_intp shape[1]
    cdef cnp.ndarray n, sure, column
    cdef Params* params
    f.losses = <int>len(betas)
    count = figures_count(f.losses)
    check_table(table, windows, count)
    rows = cnp.PyArray_DIM(table, 0)
    f.width = cnp.PyArray_DIM(table, 1)
    f.table = <const int64_t*>cnp.PyArray_DATA(table)
    f.windows = <const Window*>cnp.PyArray_DATA(windows)
    f.order = <const int64_t*>cnp.PyArray_DATA(order)
    f.rows = shape[0] = cnp.PyArray_SIZE(order)
    if cnp.PyArray_TYPE(order) != cnp.NPY_INT64 or not PyArray_ISCARRAY_RO(order):
        raise ValueError("order must be a contiguous array of int64")
    for i in range(f.rows):
        if f.order[i] < 0 or f.order[i] >= rows:
            raise ValueError(f"order must be within 0 and {rows}, got {f.order[i]}")
    f.single, f.weighted, f.mean = single, reduction == "weighted_mean", reduction == "mean"
    n = cnp.PyArray_EMPTY(1, shape, cnp.NPY_INT64, 0)
    sure = cnp.PyArray_EMPTY(1, shape, cnp.NPY_BOOL, 0)
    columns = [cnp.PyArray_EMPTY(1, shape, cnp.NPY_FLOAT64, 0) for k in range(count)]
    f.n = <int64_t*>cnp.PyArray_DATA(n)
    f.sure = <uint8_t*>cnp.PyArray_DATA(sure)
    threads = team_of(f.rows * count, n_threads)
    size = f.losses * sizeof(Params) + count * sizeof(double*)
    params = <Params*>allocate(size + threads * (f.width + count) * sizeof(int64_t))
    try:
        f.params = params
        f.columns = <double**>(params + f.losses)
        f.memory = <int64_t*>(f.columns + count)
        f.results = <double*>(f.memory + threads * f.width)
        for k in range(count):
            column = columns[k]
            f.columns[k] = <double*>cnp.PyArray_DATA(column)
        for k in range(f.losses):
            make_exact_params(&params[k], betas[k], huber, single, False)
        with nogil:
            run_figures(&f, threads)
    finally:
        free(params)
    return n, columns, sure


# ---------------------------------------------------------------------------
# Ufuncs
# ---------------------------------------------------------------------------

UFUNCS = (
    "smooth_l1", "smooth_l1_slope", "smooth_l1_curvature",
    "huber", "huber_slope", "huber_curvature",
)

# A ufunc points to all of these for as long as it lives, which is for ever.
cdef Formula[6] formulas = [
    Formula(VALUE, False), Formula(SLOPE, False), Formula(CURVATURE, False),
    Formula(VALUE, True), Formula(SLOPE, True), Formula(CURVATURE, True),
]
cdef Loop[2] loops = [loop_single, loop_double]
cdef void* data_of_loops[12]
cdef char[8] types_of_loops = [
    # The narrowest first: NumPy takes the first that holds all operands but Python's numbers.
    cnp.NPY_FLOAT32, cnp.NPY_FLOAT32, cnp.NPY_FLOAT32, cnp.NPY_FLOAT32,
    cnp.NPY_FLOAT64, cnp.NPY_FLOAT64, cnp.NPY_FLOAT64, cnp.NPY_FLOAT64,
]
cdef list texts_of_ufuncs = []
cdef Resolver* resolve_by_loops = NULL


cdef int resolve(
    PyUFuncObject* ufunc, cnp.NPY_CASTING casting, PyArrayObject** operands, PyObject* asked,
    PyArray_Descr** found,
) noexcept:
    """Integers work in float64, as with the functions: float32 would hold those of two bytes.

    NumPy remembers what is found for the dtypes of the operands, so nothing but these may count.
    Python's numbers are no such operands, nor arrays of two bytes.
    """
    cdef bint small = False, known = asked is NULL or <object>asked is None
    cdef cnp.ndarray a
    cdef cnp.dtype wide
    cdef int k
    for k in range(INPUTS):
        a = <cnp.ndarray><PyObject*>operands[k]
        if cnp.PyArray_ISINTEGER(a) or cnp.PyArray_ISBOOL(a):
            small = small or cnp.PyArray_ITEMSIZE(a) <= 2
        else:
            known = known and (
                cnp.PyArray_TYPE(a) in (cnp.NPY_FLOAT16, cnp.NPY_FLOAT32, cnp.NPY_FLOAT64)
                or cnp.PyArray_ISUSERDEF(a) and is_bfloat16(a.descr)
            )
    if not (known and small):
        return resolve_by_loops(ufunc, casting, operands, asked, found)
    wide = cnp.PyArray_DescrFromType(cnp.NPY_FLOAT64)
    for k in range(INPUTS + 1):
        Py_INCREF(wide)
        found[k] = <PyArray_Descr*><PyObject*>wide
    return 0


def ufunc(str name, str doc):
    """Make one of UFUNCS. Its module says where to find it, and keeps it."""
    global resolve_by_loops
    cdef int i = UFUNCS.index(name)
    cdef bytes name_bytes = name.encode(), doc_bytes = doc.encode()
    cdef PyUFuncObject* made
    texts_of_ufuncs.append((name_bytes, doc_bytes))
    data_of_loops[2 * i] = data_of_loops[2 * i + 1] = &formulas[i]
    result = PyUFunc_FromFuncAndData(
        loops, &data_of_loops[2 * i], types_of_loops, 2, INPUTS, 1, PyUFunc_None,
        name_bytes, doc_bytes, 0,
    )
    made = <PyUFuncObject*><PyObject*>result
    resolve_by_loops = made.type_resolver
    made.type_resolver = resolve
    return result
