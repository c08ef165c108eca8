"""Tiles: neighbouring outputs that are summed at once.

The memory that a thread needs for one, and the terms of a part of its elements, by the kernels that
leaves use. How terms are laid out and added is said by ``rows.pxd`` and ``columns.pxd``; the sums
that they leave in a ``Tile`` become results in ``tile_results.pxd``.
"""

from libc.stdint cimport uint8_t

from cache cimport aligned
from jobs cimport ADJACENT, Job
from kernels cimport fill, select, weigh, write_offsets, write_terms
from lanes cimport rows_of_group
from sizes cimport BLOCK, LANES, LEAF, LINE, TILE
from smoothl1._smoothl1 cimport floating
from terms cimport ARRAY, PAIR, PRODUCT, Params, is_linear, pair_term


cdef enum:
    ARRAYS = 17  # of a tile


cdef struct Sums:
    # Of each output of a tile; hi and lo are [lane][output] until they are folded.
    double* hi
    double* lo


cdef struct Tile:
    # The memory of one thread.
    char* raw
    void* x
    void* y
    void* beta
    void* weight
    char* mask
    void* terms
    void* offsets     # what is to be subtracted from them
    Sums loss
    Sums linear
    Sums weights
    Sums count
    double* results


cdef struct Part:
    # Elements of some outputs in the working dtype; NULL for what the job lacks.
    Py_ssize_t n
    const void* x
    const void* y
    const void* beta
    const void* weight
    const uint8_t* mask
    bint repeats           # there is a weight for each output


cdef inline Py_ssize_t area(const Job* job) noexcept nogil:
    """Elements of the largest part, and lanes of a tile."""
    return rows_of_group(<float>0) * LANES * TILE if job.side == ADJACENT else BLOCK


cdef inline Py_ssize_t outputs_of_tile(const Job* job) noexcept nogil:
    if job.side == ADJACENT:
        return TILE
    return BLOCK // job.n


cdef inline Py_ssize_t outputs_of_task(const Job* job) noexcept nogil:
    """Outputs that a thread takes at once, whole tiles: some 4096 elements."""
    return outputs_of_tile(job) * (1 if job.side == ADJACENT else LEAF // BLOCK)


cdef inline Py_ssize_t array_size(const Job* job) noexcept nogil:
    """Numbers of an array: a vector more than are used, and no power of two apart."""
    return area(job) + 3 * LANES


cdef inline Py_ssize_t columns_scratch(const Job* job) noexcept nogil:
    """Bytes of memory that a thread needs."""
    return ARRAYS * array_size(job) * sizeof(double) + LINE


cdef inline void lay_out(const Job* job, char* scratch, Tile* tile) noexcept nogil:
    cdef double* space = <double*>aligned(scratch)
    cdef Py_ssize_t size = array_size(job)
    tile.raw = <char*>space
    tile.x = space + size
    tile.y = space + 2 * size
    tile.beta = space + 3 * size
    tile.weight = space + 4 * size
    tile.mask = <char*>(space + 5 * size)
    tile.terms = space + 6 * size
    tile.offsets = space + 7 * size
    tile.loss.hi = space + 8 * size
    tile.loss.lo = space + 9 * size
    tile.linear.hi = space + 10 * size
    tile.linear.lo = space + 11 * size
    tile.weights.hi = space + 12 * size
    tile.weights.lo = space + 13 * size
    tile.count.hi = space + 14 * size
    tile.count.lo = space + 15 * size
    tile.results = space + 16 * size


cdef inline void prepare(Py_ssize_t width, Py_ssize_t length, Tile* tile) noexcept nogil:
    """What stays so if it is not summed: parts that a dtype, a form or a call lacks."""
    fill(0.0, width, tile.loss.lo)
    fill(0.0, width, tile.linear.hi)
    fill(0.0, width, tile.linear.lo)
    fill(0.0, width, tile.weights.hi)
    fill(0.0, width, tile.weights.lo)
    fill(<double>length, width, tile.count.hi)
    fill(0.0, width, tile.count.lo)


cdef inline void fill_thresholds(const Job* job, Tile* tile, floating tag) noexcept nogil:
    """A subnormal threshold for all has the form of an array."""
    if job.params[0].form == ARRAY and not job.options.has_beta:
        fill(<floating>job.params[0].beta, area(job), <floating*>tile.beta)


cdef inline void write_parts(
    const Job* job, const Part* part, floating* terms, floating* offsets
) noexcept nogil:
    """The terms of a part, and, but for PRODUCT, what is to be subtracted from them."""
    cdef Params* p = &job.params[0]
    cdef floating beta = <floating>p.beta, s = <floating>p.s, c = <floating>p.c, z
    cdef const floating* x = <const floating*>part.x
    cdef const floating* y = <const floating*>part.y
    cdef const floating* b = <const floating*>part.beta
    cdef const floating* w = <const floating*>part.weight
    cdef Py_ssize_t i, n = part.n
    if p.form == PAIR:
        for i in range(n):
            z = abs(x[i] - y[i])
            terms[i] = pair_term(z, beta, s, c)
            offsets[i] = is_linear(z, beta)
    else:
        write_terms(x, y, b, n, p, terms)
        if p.form == ARRAY:
            write_offsets(x, y, b, n, p, offsets)
    weigh(terms, w, part.mask, n)
    if p.form != PRODUCT:
        weigh(offsets, w, part.mask, n)


cdef inline void write_weights(const Part* part, floating* selected) noexcept nogil:
    cdef const floating* w = <const floating*>part.weight
    cdef Py_ssize_t i
    for i in range(part.n):
        selected[i] = w[i]
    if part.mask is not NULL:
        select(selected, part.mask, part.n)
