"""The sums of neighbouring outputs, side by side.

For reductions over some axes, where an output alone is too little work for a leaf, or its
elements lie far apart while those of its neighbours are beside them. Operands are loaded for a
tile of outputs at once, in the order in which they are in memory, made into terms by the same
kernels, and added up with the outputs as the inner loop; those of few elements one after the
other. Results are finished in rows, and written in their dtype. Each output gets the bits that
``leaves.pxd`` would give it.
"""

from libc.float cimport DBL_MAX
from libc.math cimport INFINITY
from libc.stdint cimport int64_t, uint8_t

from cache cimport aligned
from casts cimport convert_back
from jobs cimport ADJACENT, Job, MEAN, SHORT, Sink, TOTAL, WEIGHTED_MEAN, note_results
from kernels cimport fill, select, weigh, write_offsets, write_terms
from lanes cimport LONG, add_group, add_rows, clear, fold, rows_of_group
from leaves cimport at as part_of
from packing cimport load, load_mask, load_mask_rows, load_rows
from pairs cimport Pair, pair_of, pair_times, two_sum
from sizes cimport BLOCK, CHUNK, LANES, LEAF, LINE, TILE
from smoothl1._smoothl1 cimport floating
from terms cimport (
    ARRAY, PAIR, PRODUCT, Params, finish_double, finish_single, is_linear, pair_term,
)
from tree cimport Node, no_node

cdef extern from "few.h":
    void smoothl1_sums_of_fewf(
        const float* terms, Py_ssize_t n, Py_ssize_t width, double* sums, double* rests
    ) noexcept nogil
    void smoothl1_sums_of_few(
        const double* terms, Py_ssize_t n, Py_ssize_t width, double* sums, double* rests
    ) noexcept nogil
    void smoothl1_counts_of_fewf(
        const float* ones, Py_ssize_t n, Py_ssize_t width, double* sums
    ) noexcept nogil
    void smoothl1_counts_of_few(
        const double* ones, Py_ssize_t n, Py_ssize_t width, double* sums
    ) noexcept nogil

cdef extern from "fours.h":
    const bint SMOOTHL1_RUNS_ROWS
    int SMOOTHL1_ROW_PRODUCT, SMOOTHL1_ROW_PAIR, SMOOTHL1_ROW_SMOOTH, SMOOTHL1_ROW_HUBER
    ctypedef struct RowsSingle "smoothl1_rowsf":
        const float* x
        const float* y
        const float* beta
        const float* weight
        const uint8_t* mask
        float threshold, s, c
        int form
        Py_ssize_t ahead
        double* sums
        double* rests
        double* linear
        double* linear_rests
        float* results
        double scale, offset
    ctypedef struct RowsDouble "smoothl1_rows":
        const double* x
        const double* y
        const double* beta
        const double* weight
        const uint8_t* mask
        double threshold, s, c
        int form
        Py_ssize_t ahead
        double* sums
        double* rests
        double* linear
        double* linear_rests
        double* results
        double offset, offset_rest
    bint smoothl1_run_rowsf(const RowsSingle* rows, Py_ssize_t n, Py_ssize_t width) noexcept nogil
    bint smoothl1_run_rows(const RowsDouble* rows, Py_ssize_t n, Py_ssize_t width) noexcept nogil
    void smoothl1_set_divisor(RowsDouble* rows, double hi, double lo) noexcept nogil
    void smoothl1_count_rows(
        const uint8_t* mask, Py_ssize_t n, Py_ssize_t width, double* counts
    ) noexcept nogil


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


cdef struct Odd:
    # Whether some results are so.
    int64_t infinite
    int64_t nan


cdef struct Part:
    # Elements of some outputs in the working dtype; NULL for what the job lacks.
    Py_ssize_t n
    const void* x
    const void* y
    const void* beta
    const void* weight
    const uint8_t* mask


cdef inline Py_ssize_t area(const Job* job) noexcept nogil:
    """Elements of the largest part, and lanes of a tile."""
    return rows_of_group(<float>0) * LANES * TILE if job.side == ADJACENT else BLOCK


cdef inline Py_ssize_t outputs_of_tile(const Job* job) noexcept nogil:
    if job.side == ADJACENT:
        return TILE
    return BLOCK // job.n


cdef inline Py_ssize_t outputs_at_once(const Job* job) noexcept nogil:
    """Short outputs that are summed before they are finished."""
    if SMOOTHL1_RUNS_ROWS and (job.n == 2 or job.n == 4):
        return CHUNK // job.n  # more leave the loads from memory waiting for the finish
    cdef Py_ssize_t most = (2 * CHUNK if 2 * CHUNK < BLOCK else BLOCK) // job.n
    return most if most > 0 else 1


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


# ---------------------------------------------------------------------------
# Short outputs: [output][element] in memory
# ---------------------------------------------------------------------------

cdef inline Pair pair_plus(Pair a, Pair b) noexcept nogil:
    """What ``fold`` does with two lanes."""
    cdef Pair r = two_sum(a.hi, b.hi)
    r.lo = (a.lo + b.lo) + r.lo
    return r


cdef inline Pair sum_few(const floating* terms, int n) noexcept nogil:
    """The sum of at most four terms, or eight, in the order in which ``fold`` adds them."""
    cdef Pair even = pair_of(terms[0] + 0.0), odd  # a lane starts at 0, which -0 leaves as it is
    if n == 8:
        even = pair_plus(two_sum(terms[0], terms[4]), two_sum(terms[2], terms[6]))
        odd = pair_plus(two_sum(terms[1], terms[5]), two_sum(terms[3], terms[7]))
        return pair_plus(even, odd)
    if n > 2:
        even = two_sum(terms[0] + 0.0, terms[2])
    if n > 1:
        odd = two_sum(terms[1] + 0.0, terms[3]) if n > 3 else pair_of(terms[1] + 0.0)
        even = pair_plus(even, odd)
    return even


cdef inline floating count_few(const floating* ones, int n) noexcept nogil:
    """The sum of terms of 0 and 1, whose order is no matter."""
    if n == 8:
        return (
            ((ones[0] + ones[1]) + (ones[2] + ones[3]))
            + ((ones[4] + ones[5]) + (ones[6] + ones[7]))
        )
    if n == 4:
        return (ones[0] + ones[1]) + (ones[2] + ones[3])
    if n == 3:
        return ones[0] + ones[1] + ones[2]
    return ones[0] + ones[1] if n == 2 else ones[0]


cdef inline void sum_outputs_of(
    const floating* terms, int n, Py_ssize_t width, Sums* sums
) noexcept nogil:
    cdef Pair r
    cdef Py_ssize_t c
    for c in range(width):
        r = sum_few(terms + c * n, n)
        sums.hi[c] = r.hi
        if floating is double:
            sums.lo[c] = r.lo


cdef inline void count_outputs_of(
    const floating* ones, int n, Py_ssize_t width, Sums* sums
) noexcept nogil:
    cdef Py_ssize_t c
    for c in range(width):
        sums.hi[c] = count_few(ones + c * n, n)


cdef inline void sum_outputs(
    const floating* terms, Py_ssize_t n, Py_ssize_t width, Sums* sums
) noexcept nogil:
    """The sum of each of ``width`` outputs of n terms, fewer than LONG."""
    # Known to the compiler, a few terms are brought together by shuffles.
    if n == 1:
        sum_outputs_of(terms, 1, width, sums)
    elif n == 2:
        sum_outputs_of(terms, 2, width, sums)
    elif n == 3:
        sum_outputs_of(terms, 3, width, sums)
    elif n == 4:
        sum_outputs_of(terms, 4, width, sums)
    elif n == 8:
        sum_outputs_of(terms, 8, width, sums)
    elif floating is float:
        smoothl1_sums_of_fewf(terms, n, width, sums.hi, sums.lo)
    else:
        smoothl1_sums_of_few(terms, n, width, sums.hi, sums.lo)


cdef inline void count_outputs(
    const floating* ones, Py_ssize_t n, Py_ssize_t width, Sums* sums
) noexcept nogil:
    """The same of terms of 0 and 1."""
    if n == 1:
        count_outputs_of(ones, 1, width, sums)
    elif n == 2:
        count_outputs_of(ones, 2, width, sums)
    elif n == 3:
        count_outputs_of(ones, 3, width, sums)
    elif n == 4:
        count_outputs_of(ones, 4, width, sums)
    elif n == 8:
        count_outputs_of(ones, 8, width, sums)
    elif floating is float:
        smoothl1_counts_of_fewf(ones, n, width, sums.hi)
    else:
        smoothl1_counts_of_few(ones, n, width, sums.hi)


cdef inline bint runs_rows(const Job* job, const Sink* sink) noexcept nogil:
    """Whether ``run_rows`` does it; without options it writes results, of the working dtype."""
    if not SMOOTHL1_RUNS_ROWS or job.n != 2 and job.n != 4:
        return False
    return job.options.has_weight or job.options.has_where or job.params[0].form == ARRAY or (
        job.params[0].unit == 1.0 and sink.itemsize == (4 if job.single else 8)
    )


cdef inline bint run_rows(
    const Job* job, const Part* part, Py_ssize_t output, Py_ssize_t width, Tile* tile, Sink* sink,
    floating tag,
) noexcept nogil:
    """Terms and their sums in one loop, without a buffer; returns whether there are results."""
    cdef Params* p = &job.params[0]
    cdef RowsSingle single
    cdef RowsDouble wide
    cdef bint infinite, done = not (
        job.options.has_weight or job.options.has_where or p.form == ARRAY
    )
    cdef Pair divisor = pair_times(
        pair_of(1.0 if sink.reduction == TOTAL else job.n), pair_of(p.over)
    )
    cdef char* place = sink.results + output * sink.itemsize
    cdef int form = SMOOTHL1_ROW_PRODUCT
    if p.form == PAIR:
        form = SMOOTHL1_ROW_PAIR
    elif p.form == ARRAY:
        form = SMOOTHL1_ROW_HUBER if p.huber else SMOOTHL1_ROW_SMOOTH
    if floating is float:
        single.x, single.y = <const float*>part.x, <const float*>part.y
        single.beta, single.weight = <const float*>part.beta, <const float*>part.weight
        single.mask = part.mask
        single.threshold, single.s, single.c = <float>p.beta, <float>p.s, <float>p.c
        single.form, single.ahead = form, job.plan.ahead
        single.sums, single.rests = tile.loss.hi, tile.loss.lo
        single.linear, single.linear_rests = tile.linear.hi, tile.linear.lo
        single.results = <float*>place if done else NULL
        single.scale, single.offset = 1.0 / divisor.hi, p.offset.hi
        infinite = smoothl1_run_rowsf(&single, job.n, width)
    else:
        wide.x, wide.y = <const double*>part.x, <const double*>part.y
        wide.beta, wide.weight = <const double*>part.beta, <const double*>part.weight
        wide.mask = part.mask
        wide.threshold, wide.s, wide.c = p.beta, p.s, p.c
        wide.form, wide.ahead = form, job.plan.ahead
        wide.sums, wide.rests = tile.loss.hi, tile.loss.lo
        wide.linear, wide.linear_rests = tile.linear.hi, tile.linear.lo
        wide.results = <double*>place if done else NULL
        wide.offset, wide.offset_rest = p.offset.hi, p.offset.lo
        smoothl1_set_divisor(&wide, divisor.hi, divisor.lo)
        infinite = smoothl1_run_rows(&wide, job.n, width)
    if done:
        note_results(job, False, infinite, False, sink)
    return done


cdef inline void sum_parts(
    const Job* job, const Part* part, Py_ssize_t width, Tile* tile, floating tag
) noexcept nogil:
    """The same with a buffer of terms, and one of what is subtracted from them."""
    cdef Params* p = &job.params[0]
    cdef floating* terms = <floating*>tile.terms
    cdef floating* offsets = <floating*>tile.offsets
    write_parts(job, part, terms, offsets)
    sum_outputs(<const floating*>terms, job.n, width, &tile.loss)
    if p.form == PAIR and not job.options.has_weight:
        count_outputs(<const floating*>offsets, job.n, width, &tile.linear)
    elif p.form != PRODUCT:
        sum_outputs(<const floating*>offsets, job.n, width, &tile.linear)


cdef inline void finish_short_outputs(
    const Job* job, const Part* part, Py_ssize_t output, Py_ssize_t width, Tile* tile, Sink* sink,
    floating tag,
) noexcept nogil:
    """The results of ``width`` outputs."""
    cdef floating* terms = <floating*>tile.terms
    if not runs_rows(job, sink):
        sum_parts(job, part, width, tile, tag)
    elif run_rows(job, part, output, width, tile, sink, tag):
        return
    if job.plan.weighs:
        write_weights(part, terms)
        sum_outputs(<const floating*>terms, job.n, width, &tile.weights)
    if job.options.has_where:
        smoothl1_count_rows(part.mask, job.n, width, tile.count.hi)
    deliver_tile(job, output, width, tile, sink)


cdef inline void run_short_outputs(
    const Job* job, Py_ssize_t first, Py_ssize_t width, Tile* tile, Sink* sink, floating tag
) noexcept nogil:
    """The results of a tile of short outputs: loaded at once, summed a few at a time."""
    cdef Py_ssize_t n = job.n, start = first * n, size = width * n, done = 0, outputs
    cdef Py_ssize_t most = outputs_at_once(job)
    cdef const floating* x = load(&job.x, 0, start, size, tile.raw, <floating*>tile.x)
    cdef const floating* y = load(&job.y, 0, start, size, tile.raw, <floating*>tile.y)
    cdef const floating* b = NULL
    cdef const floating* w = NULL
    cdef const uint8_t* mask = NULL
    cdef Part part
    if job.params[0].form == ARRAY:
        b = <floating*>tile.beta
    if job.options.has_beta:
        b = load(&job.beta, 0, start, size, tile.raw, <floating*>tile.beta)
    if job.options.has_weight:
        w = load(&job.weight, 0, start, size, tile.raw, <floating*>tile.weight)
    if job.options.has_where:
        mask = load_mask(&job.where, 0, start, size, tile.mask)
    while done < width:
        outputs = width - done if width - done < most else most
        part.n = outputs * n
        start = done * n
        part.x = x + start
        part.y = y + start
        part.beta = part_of(b, start)
        part.weight = part_of(w, start)
        part.mask = NULL
        if mask is not NULL:
            part.mask = mask + start
        finish_short_outputs(job, &part, first + done, outputs, tile, sink, tag)
        done += outputs


# ---------------------------------------------------------------------------
# Adjacent outputs: [element][output] in memory
# ---------------------------------------------------------------------------

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


# ---------------------------------------------------------------------------
# Results
# ---------------------------------------------------------------------------

cdef inline Pair pair_at(Sums sums, Py_ssize_t c) noexcept nogil:
    cdef Pair r
    r.hi = sums.hi[c]
    r.lo = sums.lo[c]
    return r


cdef inline void prepare(Py_ssize_t width, Py_ssize_t length, Tile* tile) noexcept nogil:
    """What stays so if it is not summed: parts that a dtype, a form or a call lacks."""
    fill(0.0, width, tile.loss.lo)
    fill(0.0, width, tile.linear.hi)
    fill(0.0, width, tile.linear.lo)
    fill(0.0, width, tile.weights.hi)
    fill(0.0, width, tile.weights.lo)
    fill(<double>length, width, tile.count.hi)
    fill(0.0, width, tile.count.lo)


cdef inline void finish_singles(
    const Params* p, Sums loss, Sums linear, Sums divisors, bint alike, double divisor,
    Py_ssize_t width, floating* results, Odd* found,
) noexcept nogil:
    """``finish`` for float32, in rows, each result rounded to the dtype of ``results``."""
    cdef double unit = p.unit, over = p.over, offset = p.offset.hi, scale = 1.0 / (divisor * over)
    cdef double result
    cdef int64_t infinite = 0, nan = 0
    cdef Py_ssize_t c
    if alike:
        for c in range(width):
            result = unit * finish_single(loss.hi[c], linear.hi[c], offset, scale)
            infinite |= abs(result) == INFINITY
            nan |= result != result
            results[c] = <floating>result
    else:
        for c in range(width):
            scale = 1.0 / (divisors.hi[c] * over)
            result = unit * finish_single(loss.hi[c], linear.hi[c], offset, scale)
            infinite |= abs(result) == INFINITY
            nan |= result != result
            results[c] = <floating>result
    found.infinite, found.nan = infinite, nan


cdef inline bint is_plain(double sum, double divisor) noexcept nogil:
    """Whether a sum is finite, and a divisor too, and not 0; without a branch."""
    return (abs(sum) <= DBL_MAX) & (abs(divisor) <= DBL_MAX) & (divisor != 0.0)


cdef inline void finish_doubles(
    const Params* p, Sums loss, Sums linear, Sums divisors, bint alike, double divisor,
    Py_ssize_t width, double* results, Odd* found,
) noexcept nogil:
    """``finish`` for float64, in rows: first as if all were finite."""
    cdef Pair offset = p.offset, over = pair_of(p.over), d = pair_times(pair_of(divisor), over)
    cdef double unit = p.unit, ratio
    cdef int64_t odd = 0, infinite = 0, nan = 0
    cdef Py_ssize_t c
    if alike:
        for c in range(width):
            odd |= not abs(loss.hi[c]) <= DBL_MAX  # or NaN
            results[c] = unit * finish_double(pair_at(loss, c), pair_at(linear, c), offset, d)
    else:
        for c in range(width):
            d = pair_times(pair_at(divisors, c), over)
            odd |= not is_plain(loss.hi[c], d.hi)
            results[c] = unit * finish_double(pair_at(loss, c), pair_at(linear, c), offset, d)
    if odd != 0:
        for c in range(width):
            if not alike:
                d = pair_times(pair_at(divisors, c), over)
            ratio = unit * (loss.hi[c] / d.hi)
            results[c] = results[c] if is_plain(loss.hi[c], d.hi) else ratio
    for c in range(width):
        infinite |= abs(results[c]) == INFINITY
        nan |= results[c] != results[c]
    found.infinite, found.nan = infinite, nan


cdef inline void deliver_tile(
    const Job* job, Py_ssize_t output, Py_ssize_t width, Tile* tile, Sink* sink
) noexcept nogil:
    """Finish the sums of neighbouring outputs of a single leaf each."""
    cdef Params* p = &job.params[0]
    cdef Sums divisors = tile.weights if sink.reduction == WEIGHTED_MEAN else tile.count
    cdef bint alike = (
        sink.reduction == TOTAL or sink.reduction == MEAN and not job.options.has_where
    )
    cdef double divisor = 1.0 if sink.reduction == TOTAL else job.n
    cdef char* place = sink.results + output * sink.itemsize
    cdef double* results = <double*>place if sink.itemsize == 8 else tile.results
    cdef Odd found
    cdef int64_t empty = 0
    cdef Py_ssize_t c
    if not job.single:
        finish_doubles(
            p, tile.loss, tile.linear, divisors, alike, divisor, width, results, &found
        )
    elif sink.itemsize == 4:
        finish_singles(
            p, tile.loss, tile.linear, divisors, alike, divisor, width, <float*>place, &found
        )
    else:
        finish_singles(
            p, tile.loss, tile.linear, divisors, alike, divisor, width, results, &found
        )
    if not alike:
        for c in range(width):
            empty |= divisors.hi[c] + divisors.lo[c] == 0.0
    note_results(job, empty != 0, found.infinite != 0, found.nan != 0, sink)
    if sink.itemsize == 2 or sink.itemsize == 4 and not job.single:
        convert_back(results, width, sink.kind, sink.itemsize, place)


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
