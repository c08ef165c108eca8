"""All of the work on one leaf of one output: load, sum, write, store."""

from libc.stdint cimport uint8_t

from cache cimport aligned, prefetch, smoothl1_stream, smoothl1_stream_end
from groups cimport (
    sum_alike, sum_chosen, sum_leaves, sum_of_groups, sum_rows, sum_stored, sum_stored_chosen,
)
from jobs cimport BOTH, CURVATURE, Job, SLOPE, VALUE, WEIGHTS, weighs_unscaled
from kernels cimport (
    copy_selected, count_selected, fill, mend_curvatures, mend_slopes, mend_values,
    multiply_scaled, weigh, write_curvatures, write_offsets, write_slopes, write_terms,
    write_values,
)
from lanes cimport (
    LONG, Lanes, Running, clear_lanes, fill_up, first_lane, fold_lanes, rows_of_group, sum_terms,
)
from operands cimport in_place, stored_at
from packing cimport load, load_mask, store
from pairs cimport pair_add, pair_of
from paths cimport sum_path
from sizes cimport CHUNK, LANES, LEAF, LINE
from smoothl1._smoothl1 cimport floating
from stored cimport READS
from terms cimport ARRAY, Gradient, PRODUCT, Params, make_gradient, unscaled
from thresholds cimport sum_array
from tree cimport Node, no_node


# Buffers of one thread, of a block of float64 each. Behind them the running sums, one for each
# parameter set.
cdef enum Buffer:
    X_BUFFER
    Y_BUFFER
    BETA_BUFFER
    WEIGHT_BUFFER
    FACTOR_BUFFER
    RAW_BUFFER   # before a conversion
    OUT_BUFFER
    OUT2_BUFFER
    MASK_BUFFER
    BUFFERS


cdef struct Block:
    # Consecutive elements of a leaf in the working dtype, in place or packed; NULL for what the
    # job lacks.
    Py_ssize_t start
    Py_ssize_t n
    const void* x
    const void* y
    const void* beta
    const void* weight
    const void* factor
    const uint8_t* mask


cdef inline Py_ssize_t buffer_size(const Job* job) noexcept nogil:
    """Bytes of a buffer: whole lines."""
    cdef Py_ssize_t room = job.plan.room, size = (job.n if job.n < room else room) * sizeof(double)
    return (size + LINE - 1) // LINE * LINE


cdef inline Py_ssize_t scratch_size(const Job* job) noexcept nogil:
    """Bytes of memory that a thread needs for the leaves of a job."""
    return BUFFERS * buffer_size(job) + job.n_params * sizeof(Running) + LINE


cdef inline char* buffer(const Job* job, char* scratch, Buffer which) noexcept nogil:
    return NULL if scratch is NULL else aligned(scratch) + which * buffer_size(job)


cdef inline void load_block(
    const Job* job, Py_ssize_t output, char* scratch, Block* block, floating tag
) noexcept nogil:
    """Load start .. start + n of the elements of an output."""
    cdef Py_ssize_t start = block.start, n = block.n
    cdef char* raw = buffer(job, scratch, RAW_BUFFER)
    block.x = block.y = block.beta = block.weight = block.factor = NULL
    block.mask = NULL
    if job.operation != WEIGHTS:
        block.x = load(
            &job.x, output, start, n, raw, <floating*>buffer(job, scratch, X_BUFFER)
        )
        block.y = load(
            &job.y, output, start, n, raw, <floating*>buffer(job, scratch, Y_BUFFER)
        )
    if job.options.has_beta:
        block.beta = load(
            &job.beta, output, start, n, raw, <floating*>buffer(job, scratch, BETA_BUFFER)
        )
    if job.options.has_weight:
        block.weight = load(
            &job.weight, output, start, n, raw, <floating*>buffer(job, scratch, WEIGHT_BUFFER)
        )
    if job.options.has_factor:
        block.factor = load(
            &job.factor, output, start, n, raw, <floating*>buffer(job, scratch, FACTOR_BUFFER)
        )
    if job.options.has_where:
        block.mask = load_mask(
            &job.where, output, start, n, buffer(job, scratch, MASK_BUFFER)
        )


cdef inline void ask_for_next(
    const Job* job, const Block* block, int k, floating tag
) noexcept nogil:
    """All thresholds but the first work in the cache: memory can deliver the next block.

    A part of it for each threshold, since the processor waits where it asks for more at a time
    than it keeps account of.
    """
    cdef Py_ssize_t size = block.n * sizeof(floating)
    cdef Py_ssize_t part = (size // job.n_params + LINE - 1) // LINE * LINE
    cdef Py_ssize_t start = k * part, length = part
    if start + length > size:
        length = size - start if size > start else 0
    if job.x.direct:
        prefetch(<const char*>(<const floating*>block.x + block.n) + start, length)
    if job.y.direct:
        prefetch(<const char*>(<const floating*>block.y + block.n) + start, length)


cdef inline void sum_short(
    const floating* x, const floating* y, Py_ssize_t n, const Params* p, Running* running
) noexcept nogil:
    """Add a part of a leaf that is too short for groups, for PRODUCT or PAIR.

    All parts but the last are whole rows of lanes.
    """
    cdef char space[LANES * 8 + LINE]
    cdef floating* terms = <floating*>aligned(space)
    cdef Py_ssize_t rest = n % LANES, whole = n - rest
    if whole > 0:
        sum_rows(x, y, whole, p, &running.loss, &running.counted)
    if rest > 0:
        running.counted += write_terms(
            x + whole, y + whole, <const floating*>NULL, rest, p, terms
        )
        sum_terms(terms, rest, False, &running.loss)


cdef inline const floating* at(const floating* a, Py_ssize_t i) noexcept nogil:
    if a is NULL:
        return NULL
    return a + i


cdef inline void sum_any(
    const floating* x, const floating* y, const floating* b, const floating* w,
    const uint8_t* mask, Py_ssize_t n, bint grouped, const Params* p, floating* terms,
    floating* thresholds, Running* running,
) noexcept nogil:
    """Add a part of a leaf with thresholds per element, weights, a selection.

    ``terms`` and ``thresholds`` are memory for n numbers, or for CHUNK if n is more.
    """
    cdef Py_ssize_t i = 0, m
    cdef const uint8_t* selected = NULL
    if b is NULL and p.form == ARRAY:  # a subnormal threshold for all
        fill(<floating>p.beta, CHUNK if n > CHUNK else n, thresholds)
    while i < n:
        m = CHUNK if n - i > CHUNK else n - i
        if b is not NULL:
            thresholds = <floating*>b + i
        if mask is not NULL:
            selected = mask + i
        write_terms(x + i, y + i, <const floating*>thresholds, m, p, terms)
        weigh(terms, at(w, i), selected, m)
        if grouped:
            fill_up(terms, m)
        sum_terms(<const floating*>terms, m, grouped, &running.loss)
        if p.form != PRODUCT:
            write_offsets(x + i, y + i, <const floating*>thresholds, m, p, terms)
            weigh(terms, at(w, i), selected, m)
            if grouped:
                fill_up(terms, m)
            sum_terms(<const floating*>terms, m, grouped, &running.linear)
        i += m


cdef inline void sum_block(
    const Job* job, const Block* block, bint grouped, const Params* p, char* scratch,
    floating* out, Running* running,
) noexcept nogil:
    """Add the loss of a block to the running sums, and write the gradient to out if it is given."""
    cdef const floating* x = <const floating*>block.x
    cdef const floating* y = <const floating*>block.y
    cdef const floating* w = <const floating*>block.weight
    if grouped and p.form != ARRAY:
        sum_of_groups(
            x, y, w, block.mask, block.n, job.plan.ahead, p, &job.plan.gradient, out,
            &running.loss, &running.linear, &running.counted,
        )
    elif grouped and block.beta is not NULL and w is NULL and block.mask is NULL:
        sum_array(
            x, y, <const floating*>block.beta, block.n, p.huber, &running.loss, &running.linear
        )
    elif job.plan.counts:
        sum_short(x, y, block.n, p, running)
    else:
        # Results are written later. The stack of a thread may be as small as 16 KiB.
        sum_any(
            x, y, <const floating*>block.beta, w, block.mask, block.n, grouped, p,
            <floating*>buffer(job, scratch, OUT_BUFFER),
            <floating*>buffer(job, scratch, OUT2_BUFFER), running,
        )


cdef inline void sum_weights(
    const Block* block, floating* selected, Lanes* weights
) noexcept nogil:
    cdef const floating* w = <const floating*>block.weight
    if block.mask is not NULL:
        copy_selected(w, block.mask, block.n, selected)
        w = selected
    sum_terms(w, block.n, False, weights)


cdef inline void write_block(
    const Job* job, const Block* block, floating* out, floating* out2
) noexcept nogil:
    """Write the results of a block; out2 first, since out may be an operand."""
    cdef Params* p = &job.params[0]
    cdef Gradient one
    cdef const floating* x = <const floating*>block.x
    cdef const floating* y = <const floating*>block.y
    cdef const floating* b = <const floating*>block.beta
    cdef const floating* w = <const floating*>block.weight
    cdef Py_ssize_t n = block.n
    if job.operation == CURVATURE:
        write_curvatures(x, y, b, n, p, job.majorize, out2)
        mend_curvatures(x, y, b, n, p, job.majorize, out2)
    elif job.operation == BOTH:
        write_values(x, y, b, n, p, out2)
        mend_values(x, y, b, n, p, out2)
    if job.operation == CURVATURE or job.operation == BOTH:
        weigh(out2, w, block.mask, n)
    if job.operation == VALUE:
        write_values(x, y, b, n, p, out)
        mend_values(x, y, b, n, p, out)
        weigh(out, w, <const uint8_t*>NULL, n)
    elif w is NULL or not weighs_unscaled(job):
        write_slopes(x, y, b, n, p, &job.plan.gradient, out)
        mend_slopes(x, y, b, n, p, job.scale, out)
        weigh(out, w, <const uint8_t*>NULL, n)
    else:
        one = unscaled()
        write_slopes(x, y, b, n, p, &one, out)
        mend_slopes(x, y, b, n, p, 1.0, out)
        multiply_scaled(out, w, job.scale, n)
    weigh(out, <const floating*>block.factor, block.mask, n)


cdef inline floating* place_of(
    const Job* job, const Block* block, char* scratch, floating tag
) noexcept nogil:
    """Where the results of a block are written first: where they belong, or in a buffer."""
    if job.out.direct and not job.options.streams:
        return <floating*>job.out.data + block.start
    return <floating*>buffer(job, scratch, OUT_BUFFER)


cdef inline void store_block(
    const Job* job, const Block* block, char* scratch, floating* out
) noexcept nogil:
    """Bring what is written to where it belongs."""
    cdef floating* out2 = <floating*>buffer(job, scratch, OUT2_BUFFER)
    cdef char* raw = buffer(job, scratch, RAW_BUFFER)
    if job.options.streams:
        smoothl1_stream(
            job.out.data + block.start * <Py_ssize_t>sizeof(floating), <const char*>out,
            block.n * sizeof(floating),
        )
    elif not job.out.direct:
        store(&job.out, block.start, block.n, raw, out)
    if job.operation == CURVATURE or job.operation == BOTH:
        store(&job.out2, block.start, block.n, raw, out2)


cdef inline void run_leaf(
    const Job* job, Py_ssize_t output, Py_ssize_t first, Py_ssize_t length, Node* nodes,
    char* scratch, floating tag
) noexcept nogil:
    """All of the work on one leaf.

    OUT: nodes[k], the partial sums for parameter set k.
    """
    cdef Py_ssize_t stop = first + length
    cdef bint grouped = length >= LONG, fused = grouped and job.plan.fuses
    cdef floating* out = NULL
    cdef Running single
    cdef Running* running = &single
    cdef Lanes weights
    cdef Block block
    cdef double count = 0.0 if job.options.has_where else length
    cdef int k

    if job.n_params > 1:
        running = <Running*>buffer(job, scratch, BUFFERS)
    if job.reduce:
        for k in range(job.n_params):
            clear_lanes(&running[k].loss)
            running[k].counted = 0.0
            if not job.plan.counts:
                clear_lanes(&running[k].linear)
            nodes[k] = no_node()
    if job.plan.weighs:
        clear_lanes(&weights)

    block.start = first
    while block.start < stop:
        block.n = job.plan.block if stop - block.start > job.plan.block else stop - block.start
        load_block(job, output, scratch, &block, tag)
        if block.mask is not NULL:
            count += count_selected(block.mask, block.n)
        if job.plan.weighs:
            sum_weights(&block, <floating*>buffer(job, scratch, OUT_BUFFER), &weights)
        if job.plan.writes:
            out = place_of(job, &block, scratch, tag)
        if job.plan.together and grouped:
            sum_path(
                <const floating*>block.x, <const floating*>block.y, block.n, job.plan.ahead,
                job.params, job.n_params, running,
            )
        elif job.plan.sums:
            for k in range(job.n_params):
                if job.n_params > 1:
                    ask_for_next(job, &block, k, tag)
                sum_block(
                    job, &block, grouped, &job.params[k], scratch, out if fused else NULL,
                    &running[k],
                )
        if job.plan.writes:
            if not fused:
                write_block(
                    job, &block, out, <floating*>buffer(job, scratch, OUT2_BUFFER)
                )
            store_block(job, &block, scratch, out)
        block.start += block.n

    if job.options.streams:
        smoothl1_stream_end()
    if not job.reduce:
        return
    for k in range(job.n_params):
        nodes[k].count = count
        if not job.plan.sums:
            continue
        nodes[k].loss = fold_lanes(&running[k].loss, length, tag)
        # Of several thresholds one may be summed (ARRAY) and another counted.
        nodes[k].linear = pair_of(running[k].counted)
        if not job.plan.counts and job.params[k].form != PRODUCT:
            nodes[k].linear = pair_add(
                fold_lanes(&running[k].linear, length, tag), nodes[k].linear
            )
    if job.plan.weighs:
        nodes[0].weight = fold_lanes(&weights, length, tag)


cdef inline void run_plain_leaf(
    const Job* job, Py_ssize_t output, Py_ssize_t first, Py_ssize_t length, Node* node,
    floating tag
) noexcept nogil:
    """A long leaf whose memory is as it should be, and which one loop is all of, as of most leaves.

    All of it in one call: what ``run_leaf`` asks of each leaf would cost a tenth of its loop.
    """
    cdef const floating* x = in_place(&job.x, output, first, tag)
    cdef const floating* y = in_place(&job.y, output, first, tag)
    cdef const floating* w = NULL
    cdef const uint8_t* mask = NULL
    cdef const Params* p = &job.params[0]
    cdef floating* out = NULL
    cdef Lanes loss, linear
    cdef double counted = 0.0
    clear_lanes(&loss)
    node[0] = no_node()
    node.count = length
    if job.plan.writes:
        out = <floating*>job.out.data + first
    if job.plan.counts:
        sum_alike(x, y, length, job.plan.ahead, True, p, &job.plan.gradient, out, &loss, &counted)
    else:
        clear_lanes(&linear)
        if job.options.has_weight:
            w = in_place(&job.weight, output, first, tag)
        if job.options.has_where:
            mask = load_mask(&job.where, output, first, length, <char*>NULL)
            node.count = count_selected(mask, length)
        sum_chosen(
            x, y, w, mask, length, job.plan.ahead, True, p, &job.plan.gradient, out, &loss,
            &linear, &counted,
        )
        node.linear = first_lane(&linear, tag)
    node.loss = first_lane(&loss, tag)
    node.linear.hi += counted


cdef inline void run_stored_leaf(
    const Job* job, Py_ssize_t output, Py_ssize_t first, Py_ssize_t length, Node* node,
    char* scratch, floating tag
) noexcept nogil:
    """A long leaf whose elements one loop can read as they are stored."""
    cdef Py_ssize_t rest = length % (LANES * rows_of_group(tag)), whole = length - rest
    cdef const Params* p = &job.params[0]
    cdef const char* x = stored_at(&job.x, output, first)
    cdef const char* y = stored_at(&job.y, output, first)
    cdef const char* w = NULL
    cdef const uint8_t* mask = NULL
    cdef int* stored = [job.x.stored, job.y.stored, job.weight.stored]
    cdef Lanes loss, linear
    cdef double counted = 0.0
    cdef Block block
    clear_lanes(&loss)
    node[0] = no_node()
    node.count = length
    if job.plan.counts:
        sum_stored(x, y, stored, whole, job.plan.ahead, p, &loss, &counted, tag)
    else:
        clear_lanes(&linear)
        if job.options.has_weight:
            w = stored_at(&job.weight, output, first)
        if job.options.has_where:
            mask = load_mask(&job.where, output, first, length, <char*>NULL)
            node.count = count_selected(mask, length)
        sum_stored_chosen(
            x, y, w, mask, stored, whole, p, <floating*>buffer(job, scratch, X_BUFFER), &loss,
            &linear, &counted,
        )
    if rest > 0:
        block.start = first + whole
        block.n = rest
        load_block(job, output, scratch, &block, tag)
        sum_of_groups(
            <const floating*>block.x, <const floating*>block.y, <const floating*>block.weight,
            block.mask, rest, 0, p, &job.plan.gradient, <floating*>NULL, &loss, &linear, &counted,
        )
    node.loss = fold_lanes(&loss, length, tag)
    if not job.plan.counts:
        node.linear = fold_lanes(&linear, length, tag)
    node.linear.hi += counted


cdef inline void leaf_of_any_type(
    const Job* job, Py_ssize_t output, Py_ssize_t leaf, Node* nodes, char* scratch
) noexcept nogil:
    cdef Py_ssize_t first = leaf * LEAF
    cdef Py_ssize_t length = job.n - first if job.n - first < LEAF else LEAF
    if job.plan.plain and length >= LONG:
        if job.single:
            run_plain_leaf(job, output, first, length, nodes, <float>0)
        else:
            run_plain_leaf(job, output, first, length, nodes, <double>0)
    elif READS and job.plan.reads and length >= LONG:
        if job.single:
            run_stored_leaf(job, output, first, length, nodes, scratch, <float>0)
        else:
            run_stored_leaf(job, output, first, length, nodes, scratch, <double>0)
    elif job.single:
        run_leaf(job, output, first, length, nodes, scratch, <float>0)
    else:
        run_leaf(job, output, first, length, nodes, scratch, <double>0)


cdef inline void run_span(
    const Job* job, Py_ssize_t leaf, Py_ssize_t leaves, Node* nodes, floating tag
) noexcept nogil:
    """What one call can do of some leaves of an output: all elements, or those of whole leaves."""
    cdef Py_ssize_t first = leaf * LEAF
    cdef floating* out = NULL
    if job.plan.unbroken:
        run_leaf(job, 0, first, min(leaves * LEAF, job.n - first), nodes, <char*>NULL, tag)
        return
    if job.plan.writes:
        out = <floating*>job.out.data + first
    sum_leaves(
        in_place(&job.x, 0, first, tag), in_place(&job.y, 0, first, tag), leaves,
        job.plan.ahead, &job.params[0], &job.plan.gradient, out, nodes,
    )


cdef inline void leaves_of_any_type(
    const Job* job, Py_ssize_t leaf, Py_ssize_t leaves, Node* nodes, char* scratch
) noexcept nogil:
    """Some leaves of the only output, for one threshold; as many as one call can do in one."""
    cdef Py_ssize_t done = 0
    if job.plan.unbroken:
        done = leaves
    elif job.plan.plain and job.plan.counts:
        done = min(leaves, job.n // LEAF - leaf)
    if done > 0 and job.single:
        run_span(job, leaf, done, nodes, <float>0)
    elif done > 0:
        run_span(job, leaf, done, nodes, <double>0)
    for done in range(done, leaves):
        leaf_of_any_type(
            job, 0, leaf + done, NULL if nodes is NULL else nodes + done, scratch
        )


cdef inline void run_short_leaf(const Job* job, Node* node, floating tag) noexcept nogil:
    """What ``run_leaf`` comes to for plain arrays of fewer than LONG elements, without a plan."""
    cdef const floating* x = <const floating*>job.x.data
    cdef const floating* y = <const floating*>job.y.data
    cdef const floating* b = NULL
    cdef const Params* p = job.params
    cdef Gradient how
    cdef Running running
    if job.reduce:
        clear_lanes(&running.loss)
        running.counted = 0.0
        sum_short(x, y, job.n, p, &running)
        node.loss = fold_lanes(&running.loss, job.n, tag)
        node.linear = pair_of(running.counted)
        node.weight = pair_of(0.0)
        node.count = job.n
    if job.operation == VALUE:
        write_values(x, y, b, job.n, p, <floating*>job.out.data)
    elif job.operation == SLOPE:
        how = make_gradient(job.scale, job.scale_rest, job.divisor, p)
        write_slopes(x, y, b, job.n, p, &how, <floating*>job.out.data)


cdef inline void short_leaf_of_any_type(const Job* job, Node* node) noexcept nogil:
    if job.single:
        run_short_leaf(job, node, <float>0)
    else:
        run_short_leaf(job, node, <double>0)
