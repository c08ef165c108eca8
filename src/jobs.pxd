"""A job: what is to be computed, of which operands, and where the results go."""

from libc.math cimport INFINITY, fma
from libc.string cimport memset

from cache cimport smoothl1_prefetches
from casts cimport convert_back
from operands cimport Operand, is_crossed
from pairs cimport Pair, pair_of
from runtime cimport smoothl1_raise_flag
from sizes cimport AHEAD, BLOCK, LEAF, PREFETCHED, TOGETHER
from stored cimport OTHERWISE
from terms cimport ARRAY, Gradient, Params, finish, make_gradient
from tree cimport Node


cdef enum Operation:
    SUM        # reduce the loss
    VALUE      # write the loss of each element
    SLOPE      # write the gradient of each element ...
    BOTH       # ... and the loss of each element
    CURVATURE  # ... or the second derivative
    WEIGHTS    # reduce the weights alone

cdef enum Side:
    ALONE      # one output at a time
    SHORT      # outputs of few elements, after each other in memory or packed so
    ADJACENT   # outputs whose elements are neighbours in memory


cdef enum Reduction:
    MEAN
    TOTAL
    WEIGHTED_MEAN


cdef struct Options:
    # What a call asks for beside input, target and thresholds; nothing by default.
    bint has_beta          # thresholds per element
    bint has_weight
    bint has_factor
    bint has_where
    bint sum_weights
    bint streams           # ``out`` is written past the caches


cdef struct Plan:
    # What follows from the job for every leaf of it; see ``make_plan``.
    bint sums              # the loss
    bint writes            # to ``out``
    bint weighs            # the weights are summed, too
    bint counts            # what is linear is counted, not summed
    bint fuses             # long leaves: the gradient is written by the loop that sums
    bint together          # long leaves: all thresholds of a path in one loop
    bint plain             # long leaves: one loop reads and writes memory as it is, and is all
    Gradient gradient      # for the first threshold
    bint unbroken          # nothing is summed, and one loop writes what is written
    bint reads             # long leaves: one loop reads operands as they are stored, and is all
    bint packs             # an operand goes through a buffer
    Py_ssize_t room        # elements of a buffer
    Py_ssize_t block       # elements that are worked on at a time
    Py_ssize_t ahead       # bytes from them to what is prefetched; 0 for nothing


cdef struct Job:
    Operation operation
    bint reduce            # SUM, or another operation that returns the loss as well
    bint majorize          # CURVATURE: the second derivative of the majorizer
    bint single            # the working dtype is float32
    bint has_scratch       # not of the fast path
    Side side              # outputs are worked on side by side
    double scale           # of gradients
    double scale_rest      # what its rounding left, times the divisor
    double divisor
    Py_ssize_t n           # elements of one output
    Py_ssize_t leaves      # of one output
    Py_ssize_t outputs
    int n_params
    Params* params         # one, or one for each threshold of a path
    int n_threads
    bint times             # it is worth a team: seconds count, see charge
    Options options
    Plan plan
    Operand x              # input
    Operand y              # target
    Operand beta           # thresholds per element
    Operand weight
    Operand factor         # grad_output per element
    Operand where
    Operand out            # loss or gradient
    Operand out2           # loss beside gradient, or second derivative


cdef inline bint weighs_unscaled(const Job* job) noexcept nogil:
    """Whether weights far from 1 may meet a scale that is, too: their product is near 1."""
    return not 1e-10 < abs(job.scale) < 1e10


cdef inline bint packs_operand(bint given, const Operand* operand) noexcept nogil:
    return given and not operand.direct


cdef inline void make_plan(Job* job) noexcept nogil:
    cdef Options options = job.options
    cdef Plan* plan = &job.plan
    cdef int k
    plan.sums = job.reduce and job.operation != WEIGHTS
    plan.writes = job.operation != SUM and job.operation != WEIGHTS
    plan.weighs = options.has_weight and (options.sum_weights or job.operation == WEIGHTS)
    plan.counts = not (options.has_weight or options.has_where or options.has_beta)
    for k in range(job.n_params):
        plan.counts = plan.counts and job.params[k].form != ARRAY
    plan.together = plan.sums and plan.counts and job.n_params > 1
    plan.packs = job.has_scratch and (
        options.has_factor
        or job.operation == BOTH or job.operation == CURVATURE or job.operation == WEIGHTS
        or packs_operand(plan.writes, &job.out)
        or packs_operand(options.has_beta, &job.beta)
        or packs_operand(options.has_weight, &job.weight)
        or options.has_where and (plan.weighs or not job.where.plain)
        or packs_operand(job.operation != WEIGHTS, &job.x)
        or packs_operand(job.operation != WEIGHTS, &job.y)
    )
    plan.gradient.product = False
    plan.gradient.factor = plan.gradient.edge = 0.0
    if plan.writes and job.operation != VALUE:
        plan.gradient = make_gradient(
            job.scale, job.scale_rest, job.divisor, &job.params[0]
        )
    plan.fuses = (
        plan.sums and job.params[0].form != ARRAY and not options.has_beta
        and plan.gradient.product and job.operation == SLOPE and not options.has_factor
        and not (options.has_weight and weighs_unscaled(job)) and job.scale > 0
    )
    plan.block = BLOCK
    if not plan.packs and job.n_params == 1 and (plan.fuses or not (plan.sums and plan.writes)):
        plan.block = LEAF  # nothing to pack, and a single kernel
    elif not plan.packs and plan.together and job.n_params <= TOGETHER:
        plan.block = LEAF
    elif plan.sums and plan.writes and not job.single:
        plan.block = BLOCK // 2  # a longer burst of stores leaves the loads waiting
    if options.streams:
        plan.block = BLOCK // 2
    plan.plain = (
        plan.sums and job.n_params == 1 and job.params[0].form != ARRAY
        and not (plan.packs or plan.weighs or options.has_beta or options.streams)
        and (plan.fuses or not plan.writes)
    )
    plan.unbroken = (
        (job.operation == VALUE or job.operation == SLOPE) and not job.reduce
        and not (plan.packs or options.streams or options.has_beta or options.has_weight)
        and not (options.has_factor or options.has_where or job.params[0].mends)
        and job.n_params == 1
    )
    if plan.unbroken:
        plan.block = job.n
    plan.reads = (
        plan.packs and plan.sums and job.side == ALONE and job.n_params == 1
        and job.params[0].form != ARRAY and not (plan.writes or plan.weighs or options.has_beta)
        and job.x.stored != OTHERWISE and job.y.stored != OTHERWISE
        and not (options.has_weight and job.weight.stored == OTHERWISE)
        and not (options.has_where and not job.where.plain)
    )
    if job.single and options.has_where and not options.has_weight:
        plan.reads = False  # a few groups at a time, a selection takes up to a fifth longer
    plan.room = BLOCK
    if not plan.writes and (is_crossed(&job.x) or is_crossed(&job.y)):
        # Lines of memory run across rows: the more rows at a time, the fewer are read again.
        plan.room = plan.block = LEAF
    plan.ahead = 0
    # Paths of float64 gain by it on AMD's processors, too: 0.9 to 0.96 of the time.
    if (
        job.n * job.outputs > PREFETCHED and (job.n_params == 1 or plan.together)
        and (plan.reads or not plan.packs)
        and (smoothl1_prefetches() or plan.together and not job.single)
    ):
        plan.ahead = AHEAD


cdef struct Sink:
    # Where the reduced losses of all outputs go, output by output.
    char* results          # [output * n_params + k]
    char kind              # their dtype, as an operand has it
    int itemsize
    Reduction reduction
    int empty              # a mean is over no element, or over weights that sum to 0
    int overflows          # a result may be finite in smaller units


cdef inline Pair divisor_of(Reduction reduction, double count, Pair weight) noexcept nogil:
    return weight if reduction == WEIGHTED_MEAN else pair_of(count if reduction == MEAN else 1.0)


cdef inline void note_results(
    const Job* job, bint empty, bint infinite, bint nan, Sink* sink
) noexcept nogil:
    """Note what is so for one of the results."""
    if empty:
        smoothl1_raise_flag(&sink.empty)
    # Infinities of both signs give NaN; without weights there is one sign.
    if infinite or nan and job.options.has_weight:
        smoothl1_raise_flag(&sink.overflows)


cdef inline void deliver(
    const Job* job, Py_ssize_t output, const Node* nodes, Sink* sink
) noexcept nogil:
    """Finish the sums of one output."""
    cdef int k
    cdef Pair divisor = divisor_of(sink.reduction, nodes[0].count, nodes[0].weight)
    cdef Py_ssize_t first = output * job.n_params
    cdef double loss
    for k in range(job.n_params):
        loss = finish(nodes[k].loss, nodes[k].linear, divisor, &job.params[k])
        note_results(
            job, divisor.hi + divisor.lo == 0.0, abs(loss) == INFINITY, loss != loss, sink
        )
        convert_back(
            &loss, 1, sink.kind, sink.itemsize, sink.results + (first + k) * sink.itemsize
        )


cdef inline void set_scale(Job* job, double scale, double divisor) noexcept nogil:
    """Let gradients be multiplied by scale / divisor."""
    job.scale = scale / divisor
    job.scale_rest = fma(-job.scale, divisor, scale)
    job.divisor = divisor


cdef inline void clear_options(Job* job) noexcept nogil:
    memset(&job.options, 0, sizeof(Options))
    job.scale = job.divisor = 1.0
    job.scale_rest = 0.0
    job.side = ALONE
