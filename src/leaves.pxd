"""All of the work on one leaf of one output: load, sum, write, store."""

from libc.stdint cimport uint8_t
from libc.string cimport memcpy

from cache cimport aligned, prefetch, smoothl1_stream, smoothl1_stream_end
from jobs cimport BOTH, CURVATURE, Job, SLOPE, SUM, VALUE, WEIGHTS
from kernels cimport (
    count_below, count_selected, fill, multiply_scaled, select, weigh, write_curvatures,
    write_offsets, write_slopes, write_terms, write_terms_and_slopes, write_values,
)
from lanes cimport Lanes, clear, fold, sum_buffer
from operands cimport load, load_mask, store
from pairs cimport pair_of
from sizes cimport BLOCK, CHUNK, LEAF, LINE
from smoothl1._smoothl1 cimport floating
from terms cimport ARRAY, PRODUCT, Params
from tree cimport Node, no_node


# Buffers of one thread, in blocks of float64: x, y, beta, weight, factor, raw, out, out2
# and the mask. Behind them the running sums, one for each parameter set.
cdef enum:
    BUFFERS = 9

cdef struct Running:
    Lanes loss
    Lanes linear
    double count  # what PAIR counts without weights and selection


cdef inline char* slot(char* scratch, int i, Py_ssize_t size) noexcept nogil:
    return NULL if scratch is NULL else scratch + i * size


ctypedef fused element:
    float
    double
    uint8_t


cdef inline const element* at(const element* a, Py_ssize_t i) noexcept nogil:
    if a is NULL:
        return NULL
    return a + i


cdef inline void sum_block(
    const floating* x, const floating* y, Py_ssize_t n, const Params* p, Running* running
) noexcept nogil:
    """Add the loss of a block to the running sums."""
    cdef char space[CHUNK * 8 + LINE]
    cdef floating* terms = <floating*>aligned(space)
    cdef Py_ssize_t i = 0, m
    while i < n:
        m = CHUNK if n - i > CHUNK else n - i
        running.count += write_terms(x + i, y + i, <const floating*>NULL, m, p, terms)
        sum_buffer(terms, m, &running.loss)
        i += m


cdef inline void sum_block_and_write_slopes(
    const floating* x, const floating* y, Py_ssize_t n, const Params* p, double scale,
    Running* running, floating* out,
) noexcept nogil:
    """The same for PRODUCT, with the gradient."""
    cdef char space[CHUNK * 8 + LINE]
    cdef floating* terms = <floating*>aligned(space)
    cdef Py_ssize_t i = 0, m
    while i < n:
        m = CHUNK if n - i > CHUNK else n - i
        write_terms_and_slopes(x + i, y + i, m, p, scale, terms, out + i)
        sum_buffer(terms, m, &running.loss)
        i += m


cdef inline void sum_any_block(
    const floating* x, const floating* y, const floating* b, const floating* w,
    const uint8_t* mask, Py_ssize_t n, const Params* p, Running* running,
) noexcept nogil:
    """The same with thresholds per element, weights and a selection."""
    cdef char space[3 * CHUNK * 8 + LINE]
    cdef floating* terms = <floating*>aligned(space)
    cdef floating* offsets = terms + CHUNK
    cdef floating* thresholds = offsets + CHUNK
    cdef Py_ssize_t i = 0, m
    if b is NULL and p.form == ARRAY:  # a subnormal threshold for all
        fill(<floating>p.beta, CHUNK, thresholds)
    while i < n:
        m = CHUNK if n - i > CHUNK else n - i
        if b is not NULL:
            thresholds = <floating*>b + i
        write_terms(x + i, y + i, <const floating*>thresholds, m, p, terms)
        weigh(terms, at(w, i), at(mask, i), m)
        sum_buffer(terms, m, &running.loss)
        if p.form != PRODUCT:
            write_offsets(x + i, y + i, <const floating*>thresholds, m, p, offsets)
            weigh(offsets, at(w, i), at(mask, i), m)
            sum_buffer(offsets, m, &running.linear)
        i += m


cdef inline void write_block(
    const Job* job, const floating* x, const floating* y, const floating* b,
    const floating* w, const floating* f, const uint8_t* mask, Py_ssize_t n,
    floating* out, floating* out2,
) noexcept nogil:
    """Write the results of a block; out2 first, since out may be an operand."""
    cdef Params* p = &job.params[0]
    if job.operation == CURVATURE:
        write_curvatures(x, y, b, n, p, job.majorize, out2)
    elif job.operation == BOTH:
        write_values(x, y, b, n, p, out2)
    if job.operation == CURVATURE or job.operation == BOTH:
        weigh(out2, w, mask, n)
    if job.operation == VALUE:
        write_values(x, y, b, n, p, out)
        weigh(out, w, <const uint8_t*>NULL, n)
    elif w is NULL or 1e-10 < abs(job.scale) < 1e10:
        write_slopes(x, y, b, n, p, job.scale, out)
        weigh(out, w, <const uint8_t*>NULL, n)
    else:
        write_slopes(x, y, b, n, p, 1.0, out)
        multiply_scaled(out, w, job.scale, n)
    weigh(out, f, mask, n)


cdef inline void run_leaf(
    const Job* job, Py_ssize_t output, Py_ssize_t leaf, Node* nodes, char* scratch,
    const floating* tag,
) noexcept nogil:
    """All of the work on one leaf.

    OUT: nodes[k], the partial sums for parameter set k.
    """
    cdef Py_ssize_t first = leaf * LEAF, start
    cdef Py_ssize_t length = job.n - first if job.n - first < LEAF else LEAF
    cdef Py_ssize_t size = (job.n if job.n < BLOCK else BLOCK) * sizeof(double)
    cdef floating* x_buffer = <floating*>slot(scratch, 0, size)
    cdef floating* y_buffer = <floating*>slot(scratch, 1, size)
    cdef floating* b_buffer = <floating*>slot(scratch, 2, size)
    cdef floating* w_buffer = <floating*>slot(scratch, 3, size)
    cdef floating* f_buffer = <floating*>slot(scratch, 4, size)
    cdef char* raw = slot(scratch, 5, size)
    cdef floating* buffer = <floating*>slot(scratch, 6, size)
    cdef floating* buffer2 = <floating*>slot(scratch, 7, size)
    cdef char* mask_buffer = slot(scratch, 8, size)
    cdef const uint8_t* mask = NULL
    cdef const floating* x = NULL
    cdef const floating* y = NULL
    cdef const floating* b = NULL
    cdef const floating* w = NULL
    cdef const floating* f = NULL
    cdef floating* out = buffer
    cdef char staging[BLOCK * 8 + LINE]
    cdef Running single
    cdef Running* running = &single
    cdef Lanes weights
    cdef double count = length
    cdef Py_ssize_t n, block = BLOCK
    cdef int k
    cdef bint sums = job.reduce and job.operation != WEIGHTS
    cdef bint writes = job.operation != SUM and job.operation != WEIGHTS
    cdef bint weighs = job.has_weight and (job.sum_weights or job.operation == WEIGHTS)
    cdef bint fused = (
        sums and job.operation == SLOPE and not job.has_scratch
        and job.params[0].form == PRODUCT and not job.params[0].divide
    )
    # Without weights, selection and thresholds per element, what is linear is counted.
    cdef bint counts = not (job.has_weight or job.has_where or job.has_beta)

    for k in range(job.n_params):
        counts = counts and job.params[k].form != ARRAY
    if job.n_params > 1:
        running = <Running*>slot(scratch, BUFFERS, size)
    if job.reduce:
        for k in range(job.n_params):
            clear(&running[k].loss)
            running[k].count = 0.0
            if not counts:
                clear(&running[k].linear)
            nodes[k] = no_node()
        if weighs:
            clear(&weights)
        if job.has_where:
            count = 0.0

    if not job.packs and job.n_params == 1 and (fused or not (sums and writes)):
        block = LEAF  # nothing to pack, and a single kernel
    if job.streams:
        block = BLOCK // 2  # a longer burst of stores leaves the loads waiting
    start = 0
    while start < length:
        n = block if length - start > block else length - start
        if job.operation != WEIGHTS:
            x = load(&job.x, output, first + start, n, raw, x_buffer)
            y = load(&job.y, output, first + start, n, raw, y_buffer)
        if job.has_beta:
            b = load(&job.beta, output, first + start, n, raw, b_buffer)
        if job.has_weight:
            w = load(&job.weight, output, first + start, n, raw, w_buffer)
        if job.has_factor:
            f = load(&job.factor, output, first + start, n, raw, f_buffer)
        if job.has_where:
            mask = load_mask(&job.where, output, first + start, n, mask_buffer)
            count += count_selected(mask, n)
        if weighs and mask is NULL:
            sum_buffer(w, n, &weights)
        elif weighs:
            memcpy(buffer, w, n * sizeof(floating))
            select(buffer, mask, n)
            sum_buffer(<const floating*>buffer, n, &weights)
        if job.streams:
            out = <floating*>aligned(staging)
        elif writes and job.out.direct:
            out = <floating*>(job.out.data + (first + start) * <Py_ssize_t>sizeof(floating))
        if job.n_params > 1:
            # The second threshold works in the cache: memory can deliver the next block.
            if job.x.direct:
                prefetch(<const char*>(x + n), n * <Py_ssize_t>sizeof(floating))
            if job.y.direct:
                prefetch(<const char*>(y + n), n * <Py_ssize_t>sizeof(floating))
        if fused:
            sum_block_and_write_slopes(x, y, n, &job.params[0], job.scale, running, out)
        else:
            for k in range(job.n_params if sums else 0):
                if counts:
                    sum_block(x, y, n, &job.params[k], &running[k])
                else:
                    sum_any_block(x, y, b, w, mask, n, &job.params[k], &running[k])
                if job.count_below:
                    nodes[k].below += count_below(x, y, n, &job.params[k])
            if writes:
                write_block(job, x, y, b, w, f, mask, n, out, buffer2)
        if job.streams:
            smoothl1_stream(
                job.out.data + (first + start) * <Py_ssize_t>sizeof(floating),
                <const char*>out, n * sizeof(floating),
            )
        elif writes and not job.out.direct:
            store(&job.out, first + start, n, raw, buffer)
        if job.operation == CURVATURE or job.operation == BOTH:
            store(&job.out2, first + start, n, raw, buffer2)
        start += n

    if job.streams:
        smoothl1_stream_end()
    if job.reduce:
        for k in range(job.n_params):
            nodes[k].count = count
            if not sums:
                continue
            nodes[k].loss = fold(&running[k].loss, length, tag)
            if counts:
                nodes[k].linear = pair_of(running[k].count)
            else:
                nodes[k].linear = fold(&running[k].linear, length, tag)
        if weighs:
            nodes[0].weight = fold(&weights, length, tag)


cdef inline void leaf_of_any_type(
    const Job* job, Py_ssize_t output, Py_ssize_t leaf, Node* nodes, char* scratch
) noexcept nogil:
    if job.single:
        run_leaf(job, output, leaf, nodes, scratch, <const float*>NULL)
    else:
        run_leaf(job, output, leaf, nodes, scratch, <const double*>NULL)
