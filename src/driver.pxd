"""A job from its leaves to its results: leaves handed to threads, and the trees over them."""

from cpython.exc cimport PyErr_CheckSignals
from libc.stdlib cimport free

from columns cimport run_columns
from jobs cimport ALONE, Job, Sink, deliver
from leaf_blocks cimport scratch_size
from leaves cimport leaf_of_any_type, leaves_of_any_type
from sizes cimport GROUP, LEAF, TILE
from team cimport allocate, run_tasks
from tiles cimport columns_scratch, outputs_of_task
from tree cimport Node, Stack, no_node, stack_push, stack_sum, tree_sum


cdef enum:
    # Nodes of one output between two barriers, some 600 KiB.
    MOST_NODES = 8192
    # Leaves that take ten microseconds: holding the GIL for them keeps nobody waiting.
    FEW_LEAVES = 16


cdef struct Group:
    # Leaves of some outputs: a task is a leaf of ``width`` outputs side by side.
    const Job* job
    Py_ssize_t first_output
    Py_ssize_t outputs
    Py_ssize_t blocks        # of ``width`` outputs
    Py_ssize_t width
    Py_ssize_t first_leaf
    Py_ssize_t leaves
    Py_ssize_t shares        # that they are dealt out in
    Node* nodes              # [(output * leaves + leaf) * n_params + k], or NULL
    char* scratch            # ``size`` bytes for each thread
    Py_ssize_t size
    Sink* sink


cdef inline void run_leaves(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    """One leaf of neighbouring outputs; neighbouring tasks are neighbouring outputs."""
    cdef const Group* group = <const Group*>context
    cdef const Job* job = group.job
    cdef Py_ssize_t first = 0, leaf = task, width = group.width
    cdef Node* nodes = group.nodes
    cdef char* scratch = group.scratch + thread * group.size
    if group.blocks > 1:
        first = (task % group.blocks) * width
        leaf = task // group.blocks
    if nodes is not NULL:
        nodes += (first * group.leaves + leaf) * job.n_params
    if job.side == ALONE:
        leaf_of_any_type(
            job, group.first_output + first, group.first_leaf + leaf, nodes, scratch
        )
        return
    if width > group.outputs - first:
        width = group.outputs - first
    run_columns(
        job, group.first_output + first, width, group.first_leaf + leaf, group.leaves, nodes,
        scratch, group.sink,
    )


cdef inline void run_share(const void* context, Py_ssize_t task, int thread) noexcept nogil:
    """A thread's share of the leaves of one output, for one threshold."""
    cdef const Group* group = <const Group*>context
    cdef Py_ssize_t first = group.leaves * task // group.shares
    cdef Py_ssize_t leaves = group.leaves * (task + 1) // group.shares - first
    leaves_of_any_type(
        group.job, group.first_leaf + first, leaves,
        NULL if group.nodes is NULL else group.nodes + first, group.scratch + thread * group.size,
    )


cdef inline int run_group(
    const Job* job, Py_ssize_t first_output, Py_ssize_t outputs, Py_ssize_t first_leaf,
    Py_ssize_t leaves, Node* nodes, char* scratch, Py_ssize_t size, Sink* sink,
) except -1:
    """Run outputs x leaves leaves on the job's threads."""
    cdef Group group
    group.job = job
    group.first_output = first_output
    group.outputs = outputs
    group.width = 1 if job.side == ALONE else outputs_of_task(job)
    group.blocks = (outputs + group.width - 1) // group.width
    group.first_leaf = first_leaf
    group.leaves = leaves
    group.nodes = nodes
    group.scratch = scratch
    group.size = size
    group.sink = sink
    group.shares = min(<Py_ssize_t>job.n_threads, leaves)
    with nogil:
        if job.side == ALONE and job.outputs == 1 and job.n_params == 1:
            run_tasks(run_share, &group, group.shares, job.n_threads, job.times)
        else:
            run_tasks(run_leaves, &group, group.blocks * leaves, job.n_threads, job.times)
    return PyErr_CheckSignals()


cdef inline int run_single_leaves(Job* job, char* scratch, Py_ssize_t size, Sink* sink) except -1:
    """Outputs of a leaf each, side by side: no tree, and results straight from the columns."""
    # Outputs between two barriers: those of as many elements as a group of leaves has.
    cdef Py_ssize_t width = outputs_of_task(job), outputs, first = 0
    cdef Py_ssize_t most = GROUP * LEAF // (job.n * width) * width
    if most < width:
        most = width
    while first < job.outputs:
        outputs = most if most < job.outputs - first else job.outputs - first
        run_group(job, first, outputs, 0, 1, <Node*>NULL, scratch, size, sink)
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


cdef inline int run_trees(
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


cdef inline int run_few_leaves(Job* job, Node* totals, Sink* sink) except -1:
    """A few leaves of an output on this thread, without buffers: no memory, and the GIL is kept."""
    cdef Node nodes[FEW_LEAVES]
    leaves_of_any_type(job, 0, job.leaves, nodes, <char*>NULL)
    if job.reduce:
        tree_sum(nodes, job.leaves, 1)
        harvest(job, 0, 1, job.leaves, nodes, NULL, totals, sink)
    return 0


cdef inline int run_outputs(Job* job, Node* totals, Sink* sink) except -1:
    """The same on a known number of threads."""
    cdef Py_ssize_t size = 0
    cdef char* scratch = NULL
    if (
        job.side == ALONE and job.outputs == 1 and job.n_params == 1 and job.n_threads == 1
        and job.leaves <= FEW_LEAVES
        and not (job.has_scratch or job.options.streams or job.times)
    ):
        return run_few_leaves(job, totals, sink)
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
