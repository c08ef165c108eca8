"""A job: what is to be computed, of which operands, and where the results go."""

from libc.float cimport DBL_MAX
from libc.stdint cimport int64_t

from lanes cimport Columns
from operands cimport Operand
from pairs cimport Pair, pair_of, pair_times
from terms cimport Params, finish, finish_double, finish_single
from tree cimport Node


cdef enum Operation:
    SUM        # reduce the loss
    VALUE      # write the loss of each element
    SLOPE      # write the gradient of each element ...
    BOTH       # ... and the loss of each element
    CURVATURE  # ... or the second derivative
    WEIGHTS    # reduce the weights alone

cdef enum Reduction:
    MEAN
    TOTAL
    WEIGHTED_MEAN


cdef struct Job:
    Operation operation
    bint reduce            # SUM, or another operation that returns the loss as well
    bint majorize          # CURVATURE: the second derivative of the majorizer
    bint count_below
    bint sum_weights
    bint single            # the working dtype is float32
    double scale           # of gradients
    Py_ssize_t n           # elements of one output
    Py_ssize_t leaves      # of one output
    Py_ssize_t outputs
    int n_params
    Params* params         # one, or one for each threshold of a path
    int n_threads
    bint times             # it is worth a team: seconds count, see charge
    bint has_beta
    bint has_weight
    bint has_factor
    bint has_where
    bint has_scratch
    bint packs             # an operand goes through a buffer
    bint streams           # ``out`` is written past the caches
    bint side_by_side      # see sum_columns
    Operand x              # input
    Operand y              # target
    Operand beta           # thresholds per element
    Operand weight
    Operand factor         # grad_output per element
    Operand where
    Operand out            # loss or gradient
    Operand out2           # loss beside gradient, or second derivative


cdef struct Sink:
    # Where the reduced losses of all outputs go, output by output.
    char* results          # [output * n_params + k]
    bint narrow            # they are float32, else float64
    Reduction reduction
    double smallest        # divisor of a mean over the outputs


cdef inline Pair divisor_of(Reduction reduction, double count, Pair weight) noexcept nogil:
    return weight if reduction == WEIGHTED_MEAN else pair_of(count if reduction == MEAN else 1.0)


cdef inline void deliver(
    const Job* job, Py_ssize_t output, const Node* nodes, Sink* sink
) noexcept nogil:
    """Finish the sums of one output."""
    cdef int k
    cdef Pair divisor = divisor_of(sink.reduction, nodes[0].count, nodes[0].weight)
    cdef double loss
    if abs(divisor.hi + divisor.lo) < sink.smallest:
        sink.smallest = abs(divisor.hi + divisor.lo)
    for k in range(job.n_params):
        loss = finish(nodes[k].loss, nodes[k].linear, divisor, &job.params[k])
        if sink.narrow:
            (<float*>sink.results)[output * job.n_params + k] = <float>loss
        else:
            (<double*>sink.results)[output * job.n_params + k] = loss


cdef inline void deliver_columns(
    const Job* job, Py_ssize_t output, Py_ssize_t width, const Columns* sums, Sink* sink
) noexcept nogil:
    """Finish the sums of neighbouring outputs of a single leaf each."""
    cdef Params* p = &job.params[0]
    cdef Pair divisor = divisor_of(sink.reduction, job.n, pair_of(0.0)), sum
    cdef Pair over = pair_times(divisor, pair_of(p.over)), offset = p.offset
    cdef float* narrow = <float*>sink.results + output
    cdef double* wide = <double*>sink.results + output
    cdef double scale = 1.0 / over.hi
    cdef int64_t huge = 0
    cdef Py_ssize_t c
    if sink.narrow:
        for c in range(width):
            narrow[c] = <float>finish_single(sums.hi[c], sums.linear[c], offset.hi, scale)
        return
    for c in range(width):
        huge += not abs(sums.hi[c]) <= DBL_MAX  # or NaN
    if job.single or huge > 0:
        for c in range(width):
            sum.hi = sums.hi[c]
            sum.lo = sums.lo[c]
            wide[c] = finish(sum, pair_of(sums.linear[c]), divisor, p)
        return
    for c in range(width):
        sum.hi = sums.hi[c]
        sum.lo = sums.lo[c]
        wide[c] = finish_double(sum, pair_of(sums.linear[c]), offset, over)


cdef inline void clear_options(Job* job) noexcept nogil:
    job.has_beta = False
    job.has_weight = False
    job.has_factor = False
    job.has_where = False
    job.count_below = False
    job.sum_weights = False
    job.side_by_side = False
    job.streams = False
