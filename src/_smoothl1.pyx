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

from cpython.exc cimport PyErr_CheckSignals
from cython.parallel cimport prange, threadid
from libc.math cimport isfinite, isinf
from libc.stdlib cimport free, malloc

cimport numpy as cnp

from columns cimport columns_scratch, outputs_of_tile, run_columns
from jobs cimport (
    ADJACENT, ALONE, BOTH, CURVATURE, Job, MEAN, Reduction, SHORT, SLOPE, SUM, Side, Sink, TOTAL,
    VALUE, WEIGHTED_MEAN, WEIGHTS, clear_options, deliver, divisor_of, make_plan,
)
from leaves cimport leaf_of_any_type, scratch_size
from location cimport SAMPLE, locate, slope_and_curvature
from operands cimport AXES, Operand, set_flat, set_operand, set_shrink, use_axes
from runtime cimport (
    SMOOTHL1_OPENMP, charge, note_time, omp_get_max_threads, omp_get_num_procs, omp_get_wtime,
    omp_in_parallel, owe, repay, smoothl1_debt, smoothl1_enter, smoothl1_leave, smoothl1_startable,
    smoothl1_team_lost, smoothl1_team_started, smoothl1_watch_forks, start_team,
)
from sizes cimport FEW, GRAIN, GROUP, LEAF, STREAM, TILE
from terms cimport ARRAY, Params, finish, make_params
from tree cimport Node, Stack, no_node, stack_push, stack_sum, tree_sum

from smoothl1 import _threads

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

cdef extern from "numpy/arrayobject.h":
    bint PyArray_ISCARRAY(cnp.ndarray a)
    bint PyArray_ISCARRAY_RO(cnp.ndarray a)
    object PyArray_Scalar(void* data, cnp.dtype descr, object base)

cnp.import_array()
smoothl1_watch_forks()


cdef enum:
    # More threads than this are started only if there are as many processors.
    MOST_THREADS = 16
    # Nodes of one output between two barriers, some 600 KiB.
    MOST_NODES = 8192
    # Thresholds of a path in one pass over memory: each needs some 4 KiB.
    MOST_THRESHOLDS = 256
    OPERANDS = 8  # of a job


# ---------------------------------------------------------------------------
# Leaves handed to threads
# ---------------------------------------------------------------------------

cdef inline void run_task(
    const Job* job, Py_ssize_t first_output, Py_ssize_t outputs, Py_ssize_t block,
    Py_ssize_t width, Py_ssize_t first_leaf, Py_ssize_t leaves, Py_ssize_t leaf,
    Node* nodes, char* scratch, Sink* sink,
) noexcept nogil:
    """One leaf of the outputs from ``first_output + block`` on, at most ``width`` of them."""
    if nodes is not NULL:
        nodes += (block * leaves + leaf) * job.n_params
    if job.side == ALONE:
        leaf_of_any_type(job, first_output + block, first_leaf + leaf, nodes, scratch)
    else:
        run_columns(
            job, first_output + block, width if block + width < outputs else outputs - block,
            first_leaf + leaf, leaves, nodes, scratch, sink,
        )


cdef int run_group(
    const Job* job, Py_ssize_t first_output, Py_ssize_t outputs,
    Py_ssize_t first_leaf, Py_ssize_t leaves, Node* nodes, char* scratch,
    Py_ssize_t size, Sink* sink,
) except -1:
    """Run outputs x leaves leaves, neighbouring outputs first, on the job's threads."""
    cdef Py_ssize_t width = 1 if job.side == ALONE else outputs_of_tile(job)
    cdef Py_ssize_t blocks = (outputs + width - 1) // width
    cdef Py_ssize_t task, tasks = blocks * leaves
    cdef int n_threads = job.n_threads if job.n_threads < tasks else <int>tasks
    cdef Py_ssize_t own = 0  # the last task of this thread
    cdef double start = 0.0, began = 0.0, finished = 0.0
    with nogil:
        if n_threads > 1:
            n_threads = smoothl1_startable(n_threads)
        if job.times:
            start = omp_get_wtime()
        if n_threads <= 1:
            for task in range(tasks):
                run_task(
                    job, first_output, outputs, (task % blocks) * width, width,
                    first_leaf, leaves, task // blocks, nodes, scratch, sink,
                )
        else:
            start_team()
            own = (tasks + n_threads - 1) // n_threads - 1
            for task in prange(tasks, num_threads=n_threads, schedule="static"):
                if task == 0:
                    note_time(&began)
                run_task(
                    job, first_output, outputs, (task % blocks) * width, width,
                    first_leaf, leaves, task // blocks, nodes,
                    scratch + threadid() * size, sink,
                )
                if task == own:
                    note_time(&finished)
            charge(omp_get_wtime() - start, finished - began)
    if job.times and n_threads <= 1:
        repay(omp_get_wtime() - start)
    return PyErr_CheckSignals()


cdef void* allocate(Py_ssize_t size) except? NULL:
    cdef void* memory = malloc(size) if size > 0 else NULL
    if size > 0 and memory is NULL:
        raise MemoryError(f"no memory for {size} bytes of buffers")
    return memory


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


cdef int run_outputs(Job* job, Node* totals, Sink* sink) except -1:
    """The same on a known number of threads."""
    cdef Py_ssize_t size = 0
    cdef char* scratch = NULL
    if job.side != ALONE:
        size = columns_scratch(job)
    elif job.has_scratch or job.options.streams:
        size = scratch_size(job)
    try:
        scratch = <char*>allocate(size * job.n_threads)
        if job.side != ALONE and job.leaves == 1:
            return run_single_leaves(job, scratch, size, sink)
        return run_trees(job, scratch, size, totals, sink)
    finally:
        free(scratch)


cdef int run_single_leaves(Job* job, char* scratch, Py_ssize_t size, Sink* sink) except -1:
    """Outputs of a leaf each, side by side: no tree, and results straight from the columns."""
    # Outputs between two barriers: those of as many elements as a group of leaves has.
    cdef Py_ssize_t width = outputs_of_tile(job), outputs, first = 0
    cdef Py_ssize_t most = GROUP * LEAF // (job.n * width) * width
    if most < width:
        most = width
    while first < job.outputs:
        outputs = most if most < job.outputs - first else job.outputs - first
        run_group(job, first, outputs, 0, 1, NULL, scratch, size, sink)
        first += outputs
    return 0


cdef inline void choose_tiling(const Job* job, Py_ssize_t* group, Py_ssize_t* tile) noexcept nogil:
    """Leaves and outputs between two barriers.

    Leaves of an output are taken in groups of a power of two, so that each group is a subtree;
    what is left of the group's size goes to further outputs, side by side.
    """
    group[0] = 1
    while group[0] < job.leaves and group[0] < GROUP:
        group[0] *= 2
    tile[0] = GROUP // group[0]
    if tile[0] < TILE and job.outputs > 1:
        tile[0] = TILE
        group[0] = GROUP // TILE
    while group[0] > 1 and group[0] * job.n_params > MOST_NODES:
        group[0] //= 2
    if tile[0] > job.outputs:
        tile[0] = job.outputs


cdef int run_trees(
    Job* job, char* scratch, Py_ssize_t size, Node* totals, Sink* sink
) except -1:
    """Leaves, and the trees over them."""
    cdef Py_ssize_t tile, group, first = 0, o, outputs, leaf, leaves
    cdef int k, m = job.n_params
    cdef Node* nodes = NULL
    cdef Stack* stacks = NULL
    cdef Node* node
    choose_tiling(job, &group, &tile)
    try:
        if job.reduce:
            nodes = <Node*>allocate(
                tile * m * (group if group < job.leaves else job.leaves + 1) * sizeof(Node)
            )
            if job.leaves > group:
                stacks = <Stack*>allocate(tile * m * sizeof(Stack))
        while first < job.outputs:
            outputs = tile if tile < job.outputs - first else job.outputs - first
            if stacks is not NULL:
                for o in range(outputs * m):
                    stacks[o].groups = 0
            leaf = leaves = 0
            while leaf < job.leaves:
                leaves = group if group < job.leaves - leaf else job.leaves - leaf
                run_group(job, first, outputs, leaf, leaves, nodes, scratch, size, sink)
                leaf += leaves
                if not job.reduce:
                    continue
                for o in range(outputs):
                    for k in range(m):
                        node = &nodes[o * leaves * m + k]
                        tree_sum(node, leaves, m)
                        if stacks is not NULL:
                            stack_push(&stacks[o * m + k], node)
            if job.reduce:
                harvest(job, first, outputs, leaves, nodes, stacks, totals, sink)
            first += outputs
    finally:
        free(nodes)
        free(stacks)
    return 0


cdef inline void harvest(
    const Job* job, Py_ssize_t first, Py_ssize_t outputs, Py_ssize_t leaves, Node* nodes,
    const Stack* stacks, Node* totals, Sink* sink,
) noexcept nogil:
    """Deliver the roots: in the stacks, or else in the first node of each output."""
    cdef Py_ssize_t o
    cdef int k, m = job.n_params
    cdef Node* node
    for o in range(outputs):
        node = &nodes[o * leaves * m]
        for k in range(m):
            if job.leaves == 0:
                node[k] = no_node()
            elif stacks is not NULL:
                node[k] = stack_sum(&stacks[o * m + k])
            if sink is NULL:
                totals[k] = node[k]
        if sink is not NULL:
            deliver(job, first + o, node, sink)


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

cdef object MEAN_NAME = "mean"
cdef object SUM_NAME = "sum"
cdef object NONE_NAME = "none"


cdef bint plain(Job* job, Params* p, object input, object target, object beta, bint huber):
    """Set up the job for two plain arrays; False if they, or beta, are anything else."""
    cdef cnp.ndarray x, y
    cdef int typenum, axis, ndim
    cdef double threshold
    cdef int itemsize
    if not (cnp.PyArray_CheckExact(input) and cnp.PyArray_CheckExact(target)):
        return False
    x = <cnp.ndarray>input
    y = <cnp.ndarray>target
    typenum = cnp.PyArray_TYPE(x)
    ndim = cnp.PyArray_NDIM(x)
    if (
        typenum != cnp.PyArray_TYPE(y) or ndim != cnp.PyArray_NDIM(y)
        or not (typenum == cnp.NPY_FLOAT32 or typenum == cnp.NPY_FLOAT64)
        or not PyArray_ISCARRAY_RO(x) or not PyArray_ISCARRAY_RO(y)
    ):
        return False
    for axis in range(ndim):
        if cnp.PyArray_DIM(x, axis) != cnp.PyArray_DIM(y, axis):
            return False
    if isinstance(beta, float) or type(beta) is int:
        try:
            threshold = beta
        except OverflowError:
            return False
    else:
        return False
    if not (threshold > 0.0 or threshold == 0.0 and not huber):
        return False
    job.n = cnp.PyArray_SIZE(x)
    if job.n == 0:
        return False
    job.single = typenum == cnp.NPY_FLOAT32
    make_params(p, threshold, huber, job.single, False, 1.0)
    if p.form == ARRAY or p.mends or huber and p.beta == 0.0:
        return False
    itemsize = 4 if job.single else 8
    set_flat(&job.x, x, job.n, itemsize)
    set_flat(&job.y, y, job.n, itemsize)
    clear_options(job)
    job.has_scratch = False
    job.scale = 1.0
    job.outputs = 1
    job.n_params = 1
    job.params = p
    return True


cdef bint plain_out(Job* job, object input, object out):
    """Set up ``out`` if it is plain, too, and apart from the inputs."""
    cdef cnp.ndarray a
    cdef int axis
    cdef char* start
    cdef char* stop
    if not cnp.PyArray_CheckExact(out):
        return False
    a = <cnp.ndarray>out
    if (
        cnp.PyArray_TYPE(a) != cnp.PyArray_TYPE(<cnp.ndarray>input)
        or cnp.PyArray_NDIM(a) != cnp.PyArray_NDIM(<cnp.ndarray>input)
        or not PyArray_ISCARRAY(a)
    ):
        return False
    for axis in range(cnp.PyArray_NDIM(a)):
        if cnp.PyArray_DIM(a, axis) != cnp.PyArray_DIM(<cnp.ndarray>input, axis):
            return False
    set_flat(&job.out, a, job.n, job.x.itemsize)
    start = job.out.data
    stop = start + job.n * job.x.itemsize
    return not (
        start < job.x.data + (stop - start) and job.x.data < stop
        or start < job.y.data + (stop - start) and job.y.data < stop
    )


cdef double loss_of(const Node* node, Reduction reduction, const Params* p):
    """The loss, rounded to the working dtype; infinite where it overflows, or a sum on the way."""
    cdef double loss = finish(
        node.loss, node.linear, divisor_of(reduction, node.count, node.weight), p
    )
    return <float>loss if p.single else loss


cdef object scalar(double loss, const Params* p):
    cdef float narrow
    if p.single:
        narrow = <float>loss
        return PyArray_Scalar(&narrow, cnp.PyArray_DescrFromType(cnp.NPY_FLOAT32), None)
    return PyArray_Scalar(&loss, cnp.PyArray_DescrFromType(cnp.NPY_FLOAT64), None)


cdef object empty_like(cnp.ndarray a):
    return cnp.PyArray_EMPTY(
        cnp.PyArray_NDIM(a), <cnp.npy_intp*>cnp.PyArray_DIMS(a), cnp.PyArray_TYPE(a), 0
    )


def fast_loss(input, target, reduction, beta, bint huber, out, n_threads):
    """The loss for plain arrays and no options; None for anything else."""
    cdef Job job
    cdef Params p
    cdef Node node
    cdef double loss
    cdef bint elementwise, given
    cdef Reduction how = MEAN
    if type(reduction) is not str:
        return None
    elementwise = reduction == NONE_NAME
    if not elementwise:
        if out is not None:
            return None
        if reduction == SUM_NAME:
            how = TOTAL
        elif reduction != MEAN_NAME:
            return None
    if not plain(&job, &p, input, target, beta, huber):
        return None
    job.n_threads = 0 if n_threads is None else _threads.check_n_threads(n_threads)
    job.reduce = not elementwise
    if elementwise:
        job.operation = VALUE
        given = out is not None
        if not given:
            out = empty_like(<cnp.ndarray>input)
        if not plain_out(&job, input, out):
            return None
        job.options.streams = given and job.n * job.x.itemsize >= STREAM
        run(&job, NULL, NULL)
        return out
    job.operation = SUM
    run(&job, &node, NULL)
    loss = loss_of(&node, how, &p)
    return None if isinf(loss) else scalar(loss, &p)


def fast_value_and_grad(input, target, reduction, beta, bint huber, out, bint loss_too, n_threads):
    """Gradient, with ``loss_too`` (loss, gradient), for plain arrays; None for others."""
    cdef Job job
    cdef Params p
    cdef Node node
    cdef double loss
    cdef bint given
    cdef Reduction how = TOTAL
    if type(reduction) is not str:
        return None
    if reduction == MEAN_NAME:
        how = MEAN
    elif reduction != SUM_NAME and (loss_too or reduction != NONE_NAME):
        return None
    if not plain(&job, &p, input, target, beta, huber):
        return None
    job.n_threads = 0 if n_threads is None else _threads.check_n_threads(n_threads)
    given = out is not None
    if not given:
        out = empty_like(<cnp.ndarray>input)
    if not plain_out(&job, input, out):
        return None
    job.options.streams = given and job.n * job.x.itemsize >= STREAM
    job.operation = SLOPE
    job.reduce = loss_too
    if how == MEAN:
        job.scale = 1.0 / job.n
    run(&job, &node, NULL)
    if not loss_too:
        return out
    loss = loss_of(&node, how, &p)
    return None if isinf(loss) else (scalar(loss, &p), out)


# ---------------------------------------------------------------------------
# From Python: everything else
# ---------------------------------------------------------------------------

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
    if cnp.PyArray_TYPE(results) == cnp.NPY_FLOAT32:
        return (<float*>cnp.PyArray_DATA(results))[i]
    return (<double*>cnp.PyArray_DATA(results))[i]


cdef void take_finite(cnp.ndarray results, cnp.ndarray others) noexcept:
    """Take over those of the others that are finite here instead."""
    cdef Py_ssize_t i
    for i in range(cnp.PyArray_SIZE(results)):
        if isfinite(result_at(results, i)) or not isfinite(result_at(others, i)):
            continue
        if cnp.PyArray_TYPE(results) == cnp.NPY_FLOAT32:
            (<float*>cnp.PyArray_DATA(results))[i] = (<float*>cnp.PyArray_DATA(others))[i]
        else:
            (<double*>cnp.PyArray_DATA(results))[i] = (<double*>cnp.PyArray_DATA(others))[i]


cdef class Work:
    """One evaluation over arrays that ``smoothl1._arguments`` has checked.

    Parameters
    ----------
    input, target, beta, weight, factor, where : ndarray or None
        All of one shape (broadcast views), of dtype float16/32/64, any integer or
        bool; ``where`` is bool. ``beta`` holds thresholds per element; ``factor``
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
    cdef Py_ssize_t axes[OPERANDS][AXES]
    cdef Params* params
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
        job.params = self.params
        job.n_params = self.n_params
        job.single = single
        job.outputs = 1
        for axis in range(n_kept):
            job.outputs *= cnp.PyArray_DIM(like, axis)
        job.n = 1
        for axis in range(n_kept, cnp.PyArray_NDIM(like)):
            job.n *= cnp.PyArray_DIM(like, axis)
        job.n_threads = n_threads
        job.has_scratch = True
        job.scale = 1.0
        clear_options(job)
        job.options.has_beta = beta is not None
        job.options.has_weight = weight is not None
        job.options.has_factor = factor is not None
        job.options.has_where = where is not None
        self._describe(ALONE, 1.0, 1.0)

    def __dealloc__(self):
        free(self.params)

    cdef int _describe(self, Side side, double shrink, double shrink_weight) except -1:
        """Describe the operands in the order of axes that goes with a side.

        All that the loss is of is multiplied by ``shrink``, the weights by ``shrink_weight``.
        """
        cdef Operand** places = [
            &self.job.x, &self.job.y, &self.job.beta, &self.job.weight, &self.job.factor,
            &self.job.where, &self.job.out, &self.job.out2,
        ]
        cdef int i, ndim
        self.job.side = side
        for i in range(OPERANDS):
            use_axes(places[i], self.axes[i])
        for i, array in enumerate(self.arrays):
            if array is None:
                continue
            if side == ADJACENT:
                ndim = array.ndim
                array = array.transpose(*range(self.n_kept, ndim), *range(self.n_kept))
            set_operand(places[i], array, self.n_kept if side == ALONE else 0, self.job.single)
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
        if least_stride(x, 0, self.n_kept) < least_stride(x, self.n_kept, ndim):
            return ADJACENT
        return SHORT if self.job.n <= FEW else ALONE

    def sum(self, str reduction, bint narrow=False):
        """Reduce the loss, each output and each threshold.

        Returns
        -------
        ndarray, shape (outputs, thresholds)
            Of float32 if ``narrow``, else of float64;
            nan where a mean is over no element or over weights that sum to 0.
        empty : bool
            Whether that is so for an output.
        """
        cdef Side side = self._best_side()
        if side != self.job.side:
            self._describe(side, 1.0, 1.0)
        self.job.operation = SUM
        return self._reduce(reduction, narrow)

    cdef tuple _reduce(self, str reduction, bint narrow):
        """Reduce; where a sum overflows that may be finite, once more in smaller units."""
        cdef Sink sink
        cdef cnp.npy_intp size = self.job.outputs * self.n_params
        cdef cnp.ndarray results = cnp.PyArray_EMPTY(
            1, &size, cnp.NPY_FLOAT32 if narrow else cnp.NPY_FLOAT64, 0
        )
        cdef cnp.ndarray again
        sink.narrow = narrow
        sink.reduction = REDUCTIONS[reduction]
        sink.empty = 0
        self.job.reduce = True
        self.job.options.sum_weights = sink.reduction == WEIGHTED_MEAN
        self._run_thresholds(&sink, results)
        if self._overflows(results):
            again = cnp.PyArray_EMPTY(1, &size, cnp.PyArray_TYPE(results), 0)
            self.job.operation = SUM
            self._describe(
                self.job.side, SHRINK, SHRINK if sink.reduction == WEIGHTED_MEAN else 1.0
            )
            self._run_thresholds(&sink, again)
            self._describe(self.job.side, 1.0, 1.0)
            take_finite(results, again)
        return (<object>results).reshape(self.job.outputs, self.n_params), bool(sink.empty)

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

    cdef bint _overflows(self, cnp.ndarray results) noexcept:
        """Whether a result may be finite in smaller units; not, if an operand is gone."""
        cdef Py_ssize_t i
        cdef double a
        if self.job.plan.writes and not self.job.out.direct:
            return False  # ``out`` may be an operand
        for i in range(cnp.PyArray_SIZE(results)):
            a = result_at(results, i)
            # Infinities of both signs give NaN; without weights there is one sign.
            if isinf(a) or self.job.options.has_weight and a != a:
                return True
        return False

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

    def write_slopes(self, out, bint overlaps, double scale, *, reduction=None, values=None):
        """Write ``scale`` times the gradient to ``out``, and what else is asked for.

        With a reduction, return the reduced loss as ``sum`` does; with ``values``, write
        the loss of each element there.
        """
        self.job.operation = SLOPE if values is None else BOTH
        self.job.scale = scale
        if values is not None:
            set_operand(&self.job.out2, values, 0, self.job.single)
        return self._write(out, overlaps, reduction)

    def write_curvatures(self, out, out2, bint overlaps, bint majorize):
        """Write the gradient to ``out`` and the second derivative to ``out2``."""
        self.job.operation = CURVATURE
        self.job.majorize = majorize
        set_operand(&self.job.out2, out2, 0, self.job.single)
        return self._write(out, overlaps, None)

    cdef object _write(self, cnp.ndarray out, bint overlaps, reduction):
        set_operand(&self.job.out, out, 0, self.job.single)
        if overlaps:
            self.job.out.direct = False
        if reduction is not None:
            return self._reduce(reduction, False)
        self.job.reduce = False
        run(&self.job, NULL, NULL)
        return None


cdef bint same_params(Work a, Work b):
    """Whether two pieces ask for the same sums."""
    cdef int k
    if a.n_params != b.n_params:
        return False
    for k in range(a.n_params):
        if (
            a.params[k].beta != b.params[k].beta or a.params[k].huber != b.params[k].huber
            or a.params[k].single != b.params[k].single or a.params[k].form != b.params[k].form
        ):
            return False
    return True


cdef class Totals:
    """Sums over a path of thresholds for arrays that arrive in pieces.

    If every piece but the last holds ``PIECE`` elements, a power of two of leaves, the
    result has the same bits as a single call on the whole.
    """

    cdef Stack* stacks
    cdef Work first  # for the parameters

    def __dealloc__(self):
        free(self.stacks)

    def add(self, Work work not None):
        """Add the sums of a piece; all pieces have the same thresholds."""
        cdef int k, m = work.job.n_params
        cdef Node* totals
        if work.n_kept:
            raise ValueError("a piece has no kept axes")
        if self.first is None:
            self.stacks = <Stack*>allocate(m * sizeof(Stack))
            for k in range(m):
                self.stacks[k].groups = 0
            self.first = work
        elif not same_params(work, self.first):
            raise ValueError("all pieces have the same thresholds, kind and dtype")
        work.job.operation = SUM
        work.job.reduce = True
        work.job.options.count_below = True
        work.job.options.sum_weights = True
        totals = <Node*>allocate(m * sizeof(Node))
        try:
            run(&work.job, totals, NULL)
            for k in range(m):
                stack_push(&self.stacks[k], &totals[k])
        finally:
            free(totals)

    def sum(self, str reduction):
        """Reduced losses, one for each threshold, and whether they are empty, as ``Work.sum``."""
        cdef int k
        cdef Sink sink
        cdef cnp.npy_intp size = self._size()
        cdef cnp.ndarray results = cnp.PyArray_EMPTY(1, &size, cnp.NPY_FLOAT64, 0)
        cdef Node* roots
        sink.results = <char*>cnp.PyArray_DATA(results)
        sink.narrow = False
        sink.reduction = REDUCTIONS[reduction]
        sink.empty = 0
        roots = <Node*>allocate(size * sizeof(Node))
        for k in range(size):
            roots[k] = stack_sum(&self.stacks[k])
        deliver(&self.first.job, 0, roots, &sink)
        free(roots)
        return (<object>results).reshape(1, size), bool(sink.empty)

    def below(self):
        """The number of elements in the quadratic piece, for each threshold."""
        return [int(stack_sum(&self.stacks[k]).below) for k in range(self._size())]

    cdef int _size(self) except -1:
        if self.first is None:
            raise ValueError("no piece was added")
        return self.first.job.n_params


PIECE = 256 * LEAF


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
