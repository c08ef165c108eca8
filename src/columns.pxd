"""The sums of neighbouring outputs, side by side.

For reductions over some axes, where an output alone is too little work for a leaf, or its
elements lie far apart while those of its neighbours are beside them ([element][output] in memory).
Operands are loaded for a tile of outputs at once, in the order in which they are in memory, made
into terms by the same kernels, and added up with the outputs as the inner loop; those of few
elements one after the other, by ``rows.pxd``. Each output gets the bits that ``leaves.pxd`` would
give it.
"""

from jobs cimport Job, SHORT, Sink
from kernels cimport fill
from lanes cimport LONG, add_group, add_rows, clear, fold, rows_of_group
from packing cimport load_mask_rows, load_rows
from rows cimport outputs_at_once, run_short_outputs
from sizes cimport LANES, LEAF
from smoothl1._smoothl1 cimport floating
from terms cimport ARRAY, PRODUCT, Params
from tile_results cimport deliver_tile, pair_at
from tiles cimport (
    Part, Sums, Tile, fill_thresholds, lay_out, outputs_of_tile, prepare, write_parts,
    write_weights,
)
from tree cimport Node, no_node


cdef inline void sum_adjacent_outputs(
    const Job* job, Py_ssize_t first, Py_ssize_t width, Py_ssize_t leaf, Tile* tile, floating tag
) noexcept nogil:
    cdef Params* p = &job.params[0]
    cdef Py_ssize_t row = leaf * LEAF, rows
    cdef Py_ssize_t length = job.n - row if job.n - row < LEAF else LEAF, stop = row + length
    cdef Py_ssize_t used = length if length < LANES else LANES
    cdef Py_ssize_t group = LANES * rows_of_group(tag)
    cdef bint grouped = length >= LONG
    cdef floating* terms = <floating*>tile.terms
    cdef floating* offsets = <floating*>tile.offsets
    cdef Part part
    part.x = part.y = part.beta = part.weight = NULL
    part.mask = NULL
    if p.form == ARRAY and not job.options.has_beta:
        part.beta = tile.beta
    clear(tile.loss.hi, tile.loss.lo, used * width)
    if p.form != PRODUCT:
        clear(tile.linear.hi, tile.linear.lo, used * width)
    if job.plan.weighs:
        clear(tile.weights.hi, tile.weights.lo, used * width)
    if job.options.has_where:
        clear(tile.count.hi, tile.count.lo, used * width)
    while row < stop:
        rows = group if stop - row > group else stop - row
        write_rows(job, row, rows, first, width, tile, &part, terms, offsets)
        add_terms(terms, rows, width, grouped, &tile.loss)
        if p.form != PRODUCT:
            add_terms(offsets, rows, width, grouped, &tile.linear)
        row += rows
    fold(tile.loss.hi, tile.loss.lo, used, width, tag)
    if p.form != PRODUCT:
        fold(tile.linear.hi, tile.linear.lo, used, width, tag)
    if job.plan.weighs:
        fold(tile.weights.hi, tile.weights.lo, used, width, tag)
    if job.options.has_where:
        fold(tile.count.hi, tile.count.lo, used, width, tag)


cdef inline void add_terms(
    floating* terms, Py_ssize_t rows, Py_ssize_t width, bint grouped, Sums* sums
) noexcept nogil:
    """Add rows of terms; of a group, those that are missing are filled up with zeros."""
    cdef Py_ssize_t group = LANES * rows_of_group(terms[0])
    if grouped:
        if rows < group:
            fill(<floating>0, (group - rows) * width, terms + rows * width)
        add_group(<const floating*>terms, LANES * width, sums.hi, sums.lo)
    else:
        add_rows(<const floating*>terms, rows, width, sums.hi, sums.lo)


cdef inline void write_rows(
    const Job* job, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t first, Py_ssize_t width, Tile* tile,
    Part* part, floating* terms, floating* offsets,
) noexcept nogil:
    """The terms of rows of ``width`` outputs; what else is summed is added.

    ``part`` is that of the tile's last rows: a row that is repeated is loaded once.
    """
    cdef Py_ssize_t j, all = job.outputs
    cdef char* raw = tile.raw
    cdef floating* others = <floating*>tile.results
    part.n = rows * width
    part.x = load_rows(
        &job.x, row, rows, all, first, width, <const floating*>part.x, raw, <floating*>tile.x
    )
    part.y = load_rows(
        &job.y, row, rows, all, first, width, <const floating*>part.y, raw, <floating*>tile.y
    )
    if job.options.has_beta:
        part.beta = load_rows(
            &job.beta, row, rows, all, first, width, <const floating*>part.beta, raw,
            <floating*>tile.beta,
        )
    if job.options.has_weight:
        part.weight = load_rows(
            &job.weight, row, rows, all, first, width, <const floating*>part.weight, raw,
            <floating*>tile.weight,
        )
    if job.options.has_where:
        part.mask = load_mask_rows(&job.where, row, rows, all, first, width, tile.mask)
        for j in range(part.n):
            others[j] = <floating>(part.mask[j] != 0)
        # Of 0 and 1, whose order is no matter.
        add_terms(others, rows, width, rows == LANES * rows_of_group(others[0]), &tile.count)
    write_parts(job, part, terms, offsets)
    if job.plan.weighs:
        write_weights(part, others)
        add_terms(others, rows, width, False, &tile.weights)


cdef inline void run_columns(
    const Job* job, Py_ssize_t output, Py_ssize_t width, Py_ssize_t leaf, Py_ssize_t leaves,
    Node* nodes, char* scratch, Sink* sink,
) noexcept nogil:
    """One leaf of ``width`` outputs.

    OUT: nodes[0], nodes[leaves], ..., or, of outputs of a single leaf, their results.
    """
    cdef Tile tile
    cdef Py_ssize_t c = 0, most = outputs_of_tile(job), m
    cdef Py_ssize_t length = job.n - leaf * LEAF if job.n - leaf * LEAF < LEAF else LEAF
    lay_out(job, scratch, &tile)
    if job.single:
        fill_thresholds(job, &tile, <float>0)
    else:
        fill_thresholds(job, &tile, <double>0)
    if job.side == SHORT:
        prepare(outputs_at_once(job), length, &tile)
        while c < width:
            m = width - c if width - c < most else most
            if job.single:
                run_short_outputs(job, output + c, m, &tile, sink, <float>0)
            else:
                run_short_outputs(job, output + c, m, &tile, sink, <double>0)
            c += m
        return
    prepare(width, length, &tile)
    if job.single:
        sum_adjacent_outputs(job, output, width, leaf, &tile, <float>0)
    else:
        sum_adjacent_outputs(job, output, width, leaf, &tile, <double>0)
    if nodes is NULL:
        deliver_tile(job, output, width, &tile, sink)
        return
    for c in range(width):
        nodes[0] = no_node()
        nodes.loss = pair_at(tile.loss, c)
        nodes.linear = pair_at(tile.linear, c)
        nodes.weight = pair_at(tile.weights, c)
        nodes.count = tile.count.hi[c]
        nodes += leaves
