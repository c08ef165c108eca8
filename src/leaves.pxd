"""All of the work on one leaf of one output, block by block or in one loop."""

from libc.stdint cimport uint8_t

from cache cimport smoothl1_stream_end
from groups cimport (
    sum_alike, sum_chosen, sum_leaves, sum_of_groups, sum_stored, sum_stored_chosen,
)
from jobs cimport Job, SLOPE, VALUE
from kernels cimport count_selected, write_slopes, write_values
from lanes cimport LONG, Lanes, Running, clear_lanes, first_lane, fold_lanes, rows_of_group
from leaf_blocks cimport (
    BUFFERS, Block, OUT2_BUFFER, OUT_BUFFER, X_BUFFER, ask_for_next, buffer, load_block, place_of,
    store_block, sum_block, sum_short, sum_weights, write_block,
)
from operands cimport in_place, stored_at
from packing cimport load_mask
from pairs cimport pair_add, pair_of
from paths cimport sum_path
from sizes cimport LANES, LEAF
from smoothl1._smoothl1 cimport floating
from stored cimport READS
from terms cimport Gradient, PRODUCT, Params, make_gradient
from tree cimport Node, no_node


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
