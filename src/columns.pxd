"""The sums of neighbouring outputs, side by side.

For reductions over some axes, where an output alone is too little work for a leaf, or its
elements lie far apart while those of its neighbours are beside them. Operands are loaded for a
tile of outputs at once, in the order in which they are in memory, made into terms by the same
kernels, and added up with the outputs as the inner loop. Each output gets the bits that
``leaves.pxd`` would give it.
"""

from libc.float cimport DBL_MAX
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.string cimport memcpy

from cache cimport aligned
from jobs cimport ADJACENT, Job, SHORT, Sink, TOTAL, WEIGHTED_MEAN
from kernels cimport fill, weigh, write_offsets, write_terms
from lanes cimport (
    LONG, Lanes, add_group, add_rows, clear, clear_lanes, fold, fold_lanes, rows_of_group,
    sum_terms,
)
from operands cimport Operand, load, load_mask
from pairs cimport Pair, pair_of, pair_times, two_sum
from runtime cimport smoothl1_raise_flag
from sizes cimport BLOCK, CHUNK, LANES, LEAF, LINE, TILE
from smoothl1._smoothl1 cimport floating
from terms cimport (
    ARRAY, PAIR, PRODUCT, Params, finish, finish_double, finish_single, is_linear, pair_term,
)
from tree cimport Node, no_node


cdef enum:
    # Elements of a short output up to which it is transposed with its neighbours, rather than
    # summed by itself.
    FLAT = 32
    # Elements up to which ``sum_few`` does it, and twice as many.
    FEW_TERMS = 4


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
    void* turned   # transposed
    Sums loss
    Sums linear
    Sums weights
    Sums count


cdef inline Py_ssize_t area(const Job* job) noexcept nogil:
    """Elements of the largest tile; of adjacent outputs, a group of rows."""
    return rows_of_group(<float>0) * LANES * TILE if job.side == ADJACENT else BLOCK


cdef inline Py_ssize_t outputs_of_tile(const Job* job) noexcept nogil:
    if job.side == ADJACENT:
        return TILE if job.n >= LANES else TILE * LANES // job.n
    return BLOCK // job.n


cdef inline Py_ssize_t outputs_of_task(const Job* job) noexcept nogil:
    """Outputs that a thread takes at once, whole tiles: some 4096 elements."""
    return outputs_of_tile(job) * (1 if job.side == ADJACENT else LEAF // BLOCK)


cdef inline Py_ssize_t columns_scratch(const Job* job) noexcept nogil:
    """Bytes of memory that a thread needs."""
    return 16 * area(job) * sizeof(double) + LINE


cdef inline void lay_out(const Job* job, char* scratch, Tile* tile) noexcept nogil:
    cdef double* space = <double*>aligned(scratch)
    cdef Py_ssize_t size = area(job)
    tile.raw = <char*>space
    tile.x = space + size
    tile.y = space + 2 * size
    tile.beta = space + 3 * size
    tile.weight = space + 4 * size
    tile.mask = <char*>(space + 5 * size)
    tile.terms = space + 6 * size
    tile.turned = space + 7 * size
    tile.loss.hi = space + 8 * size
    tile.loss.lo = space + 9 * size
    tile.linear.hi = space + 10 * size
    tile.linear.lo = space + 11 * size
    tile.weights.hi = space + 12 * size
    tile.weights.lo = space + 13 * size
    tile.count.hi = space + 14 * size
    tile.count.lo = space + 15 * size


cdef inline void transpose(
    const floating* a, Py_ssize_t rows, Py_ssize_t width, floating* out
) noexcept nogil:
    """[output][row] to [row][output]."""
    cdef Py_ssize_t i, c
    for i in range(rows):
        for c in range(width):
            out[i * width + c] = a[c * rows + i]


# ---------------------------------------------------------------------------
# Short outputs: [output][element] in memory
# ---------------------------------------------------------------------------

cdef inline Pair sum_few(const floating* terms, int n) noexcept nogil:
    """The sum of at most four terms, or eight, in the order in which ``fold`` adds them."""
    cdef Pair even = pair_of(terms[0] + 0.0), odd  # a lane starts at 0, which -0 leaves as it is
    if n == 2 * FEW_TERMS:
        even = pair_plus(two_sum(terms[0], terms[4]), two_sum(terms[2], terms[6]))
        odd = pair_plus(two_sum(terms[1], terms[5]), two_sum(terms[3], terms[7]))
        return pair_plus(even, odd)
    if n > 2:
        even = two_sum(terms[0] + 0.0, terms[2])
    if n > 1:
        odd = two_sum(terms[1] + 0.0, terms[3]) if n > 3 else pair_of(terms[1] + 0.0)
        even = pair_plus(even, odd)
    return even


cdef inline Pair pair_plus(Pair a, Pair b) noexcept nogil:
    """What ``fold`` does with two lanes."""
    cdef Pair r = two_sum(a.hi, b.hi)
    r.lo = (a.lo + b.lo) + r.lo
    return r


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


cdef inline void sum_outputs(
    const floating* terms, Py_ssize_t n, Py_ssize_t width, floating* turned, Sums* sums
) noexcept nogil:
    """The sum of each of ``width`` outputs of n terms, fewer than LONG."""
    cdef Lanes lanes
    cdef Pair r
    cdef Py_ssize_t c, used = n if n < LANES else LANES
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
    elif n <= FLAT:
        transpose(terms, n, width, turned)
        clear(sums.hi, sums.lo, used * width)
        add_rows(<const floating*>turned, n, width, sums.hi, sums.lo)
        fold(sums.hi, sums.lo, used, width, terms[0])
    else:
        for c in range(width):
            clear_lanes(&lanes)
            sum_terms(terms + c * n, n, False, &lanes)
            r = fold_lanes(&lanes, n, terms[0])
            sums.hi[c] = r.hi
            sums.lo[c] = r.lo


cdef inline void sum_counts(
    const floating* ones, Py_ssize_t n, Py_ssize_t width, floating* turned, Sums* sums
) noexcept nogil:
    """The same for terms of 0 and 1, whose order is no matter."""
    cdef Py_ssize_t c, i
    cdef int32_t count
    if n <= FEW_TERMS or n == 2 * FEW_TERMS:
        sum_outputs(ones, n, width, turned, sums)
        return
    for c in range(width):
        count = 0
        for i in range(n):
            count += ones[c * n + i] != 0
        sums.hi[c] = count
        sums.lo[c] = 0.0


cdef inline void sum_short_outputs(
    const Job* job, Py_ssize_t first, Py_ssize_t width, Tile* tile, floating tag
) noexcept nogil:
    cdef Params* p = &job.params[0]
    cdef Py_ssize_t n = job.n, start = first * n, size = width * n, i
    cdef floating* terms = <floating*>tile.terms
    cdef floating* turned = <floating*>tile.turned
    cdef floating* thresholds = <floating*>tile.beta
    cdef const floating* x = load(&job.x, 0, start, size, tile.raw, <floating*>tile.x)
    cdef const floating* y = load(&job.y, 0, start, size, tile.raw, <floating*>tile.y)
    cdef const floating* b = NULL
    cdef const floating* w = NULL
    cdef const uint8_t* mask = NULL
    if job.options.has_beta:
        b = load(&job.beta, 0, start, size, tile.raw, thresholds)
    elif p.form == ARRAY:
        fill(<floating>p.beta, size, thresholds)
        b = thresholds
    if job.options.has_weight:
        w = load(&job.weight, 0, start, size, tile.raw, <floating*>tile.weight)
    if job.options.has_where:
        mask = load_mask(&job.where, 0, start, size, tile.mask)
    write_terms(x, y, b, size, p, terms)
    weigh(terms, w, mask, size)
    sum_outputs(<const floating*>terms, n, width, turned, &tile.loss)
    if p.form != PRODUCT:
        write_offsets(x, y, b, size, p, terms)
        weigh(terms, w, mask, size)
        if p.form == PAIR and w is NULL:
            sum_counts(<const floating*>terms, n, width, turned, &tile.linear)
        else:
            sum_outputs(<const floating*>terms, n, width, turned, &tile.linear)
    if job.plan.weighs:
        memcpy(terms, w, size * sizeof(floating))
        weigh(terms, <const floating*>NULL, mask, size)
        sum_outputs(<const floating*>terms, n, width, turned, &tile.weights)
    if mask is not NULL:
        for i in range(size):
            terms[i] = <floating>(mask[i] != 0)
        sum_counts(<const floating*>terms, n, width, turned, &tile.count)


# ---------------------------------------------------------------------------
# Adjacent outputs: [element][output] in memory
# ---------------------------------------------------------------------------

cdef inline const floating* load_rows(
    const Operand* op, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t outputs, Py_ssize_t first,
    Py_ssize_t width, char* raw, floating* buffer,
) noexcept nogil:
    """Elements ``row`` .. of ``width`` outputs, [row][output]."""
    cdef Py_ssize_t i
    cdef floating* place
    cdef const floating* found
    if width == outputs:
        return load(op, 0, row * width, rows * width, raw, buffer)
    for i in range(rows):
        place = buffer + i * width
        found = load(op, 0, (row + i) * outputs + first, width, raw, place)
        if found is not place:
            memcpy(place, found, width * sizeof(floating))
    return buffer


cdef inline const uint8_t* load_mask_rows(
    const Operand* op, Py_ssize_t row, Py_ssize_t rows, Py_ssize_t outputs, Py_ssize_t first,
    Py_ssize_t width, char* buffer,
) noexcept nogil:
    cdef Py_ssize_t i
    cdef char* place
    cdef const uint8_t* found
    if width == outputs:
        return load_mask(op, 0, row * width, rows * width, buffer)
    for i in range(rows):
        place = buffer + i * width
        found = load_mask(op, 0, (row + i) * outputs + first, width, place)
        if <const char*>found is not <const char*>place:
            memcpy(place, found, width)
    return <const uint8_t*>buffer


cdef inline void add_terms(
    floating* terms, Py_ssize_t rows, Py_ssize_t width, bint grouped, Sums* sums
) noexcept nogil:
    """Add rows of terms; of a group, those that are missing are filled up with zeros."""
    cdef Py_ssize_t group = LANES * rows_of_group(terms[0])
    if grouped:
        if rows < group:
            fill(<floating>0, (group - rows) * width, terms + rows * width)
        add_group(<const floating*>terms, width, sums.hi, sums.lo)
    else:
        add_rows(<const floating*>terms, rows, width, sums.hi, sums.lo)


cdef inline void sum_adjacent_outputs(
    const Job* job, Py_ssize_t first, Py_ssize_t width, Py_ssize_t leaf, Tile* tile, floating tag
) noexcept nogil:
    cdef Params* p = &job.params[0]
    cdef Py_ssize_t row = leaf * LEAF, size, i, c
    cdef Py_ssize_t length = job.n - row if job.n - row < LEAF else LEAF, stop = row + length
    cdef Py_ssize_t most = LANES * rows_of_group(tag), rows, all = job.outputs
    cdef Py_ssize_t used = length if length < LANES else LANES
    cdef bint grouped = length >= LONG
    cdef floating* terms = <floating*>tile.terms
    cdef floating* thresholds = <floating*>tile.beta
    cdef const floating* x
    cdef const floating* y
    cdef const floating* b = NULL
    cdef const floating* w = NULL
    cdef const uint8_t* mask = NULL
    clear(tile.loss.hi, tile.loss.lo, used * width)
    if p.form != PRODUCT:
        clear(tile.linear.hi, tile.linear.lo, used * width)
    if job.plan.weighs:
        clear(tile.weights.hi, tile.weights.lo, used * width)
    if job.options.has_where:
        for c in range(width):
            tile.count.hi[c] = 0.0
    if p.form == ARRAY and not job.options.has_beta:
        fill(<floating>p.beta, most * width, thresholds)
        b = thresholds
    while row < stop:
        rows = most if stop - row > most else stop - row
        size = rows * width
        x = load_rows(&job.x, row, rows, all, first, width, tile.raw, <floating*>tile.x)
        y = load_rows(&job.y, row, rows, all, first, width, tile.raw, <floating*>tile.y)
        if job.options.has_beta:
            b = load_rows(&job.beta, row, rows, all, first, width, tile.raw, thresholds)
        if job.options.has_weight:
            w = load_rows(
                &job.weight, row, rows, all, first, width, tile.raw, <floating*>tile.weight
            )
        if job.options.has_where:
            mask = load_mask_rows(&job.where, row, rows, all, first, width, tile.mask)
            for i in range(rows):
                for c in range(width):
                    tile.count.hi[c] += mask[i * width + c] != 0
        write_terms(x, y, b, size, p, terms)
        weigh(terms, w, mask, size)
        add_terms(terms, rows, width, grouped, &tile.loss)
        if p.form != PRODUCT:
            write_offsets(x, y, b, size, p, terms)
            weigh(terms, w, mask, size)
            add_terms(terms, rows, width, grouped, &tile.linear)
        if job.plan.weighs:
            memcpy(terms, w, size * sizeof(floating))
            weigh(terms, <const floating*>NULL, mask, size)
            add_terms(terms, rows, width, False, &tile.weights)
        row += rows
    fold(tile.loss.hi, tile.loss.lo, used, width, tag)
    if p.form != PRODUCT:
        fold(tile.linear.hi, tile.linear.lo, used, width, tag)
    if job.plan.weighs:
        fold(tile.weights.hi, tile.weights.lo, used, width, tag)


# ---------------------------------------------------------------------------
# Results
# ---------------------------------------------------------------------------

cdef inline Pair pair_at(const Sums* sums, Py_ssize_t c) noexcept nogil:
    cdef Pair r
    r.hi = sums.hi[c]
    r.lo = sums.lo[c]
    return r


cdef inline void complete(
    const Job* job, Py_ssize_t width, Py_ssize_t length, Tile* tile
) noexcept nogil:
    """What a tile has not summed: parts that its dtype, its form or its call lacks."""
    cdef bint counts_none = job.params[0].form == PRODUCT
    if not job.options.has_where:
        fill(<double>length, width, tile.count.hi)
    if counts_none:
        fill(0.0, width, tile.linear.hi)
    if not job.plan.weighs:
        fill(0.0, width, tile.weights.hi)
    if job.single or counts_none:
        fill(0.0, width, tile.linear.lo)
    if job.single or not job.plan.weighs:
        fill(0.0, width, tile.weights.lo)
    if job.single:
        fill(0.0, width, tile.loss.lo)


cdef inline void deliver_tile(
    const Job* job, Py_ssize_t output, Py_ssize_t width, Tile* tile, Sink* sink
) noexcept nogil:
    """Finish the sums of neighbouring outputs of a single leaf each: ``finish``, in rows."""
    cdef Params* p = &job.params[0]
    cdef Pair offset = p.offset, over = pair_of(p.over), divisor
    cdef Sums* divisors = &tile.weights if sink.reduction == WEIGHTED_MEAN else &tile.count
    cdef float* narrow = <float*>sink.results + output
    cdef double* wide = <double*>sink.results + output
    cdef double unit = p.unit
    cdef int64_t odd = 0, empty = 0
    cdef Py_ssize_t c
    if sink.reduction == TOTAL:
        fill(1.0, width, tile.count.hi)
    if sink.reduction != WEIGHTED_MEAN:
        fill(0.0, width, tile.count.lo)
    for c in range(width):
        empty |= divisors.hi[c] + divisors.lo[c] == 0.0
    if empty:
        smoothl1_raise_flag(&sink.empty)
    if sink.narrow:
        for c in range(width):
            narrow[c] = <float>(unit * finish_single(
                tile.loss.hi[c], tile.linear.hi[c], offset.hi, 1.0 / (divisors.hi[c] * p.over)
            ))
        return
    for c in range(width):
        odd |= not abs(tile.loss.hi[c]) <= DBL_MAX  # or NaN
        odd |= not abs(divisors.hi[c]) <= DBL_MAX
    if job.single or odd or empty:
        for c in range(width):
            wide[c] = finish(
                pair_at(&tile.loss, c), pair_at(&tile.linear, c), pair_at(divisors, c), p
            )
        return
    for c in range(width):
        divisor = pair_times(pair_at(divisors, c), over)
        wide[c] = unit * finish_double(
            pair_at(&tile.loss, c), pair_at(&tile.linear, c), offset, divisor
        )


# ---------------------------------------------------------------------------
# A few terms of each output, without options: sums and results in one loop
# ---------------------------------------------------------------------------

cdef struct Way:
    # From the sum of an output to its result: a row of them has the same divisor.
    double offset
    double scale
    double unit
    Pair exact_offset
    Pair divisor


cdef inline bint are_few(const Job* job, const Sink* sink) noexcept nogil:
    return (
        (job.n <= FEW_TERMS or job.n == 2 * FEW_TERMS)
        and job.params[0].form != ARRAY and job.single == sink.narrow
        and not (job.options.has_weight or job.options.has_where or job.options.has_beta)
    )


cdef inline void write_terms_and_linear(
    const floating* x, const floating* y, Py_ssize_t n, const Params* p, floating* terms,
    floating* linear,
) noexcept nogil:
    cdef floating beta = <floating>p.beta, s = <floating>p.s, c = <floating>p.c, z
    cdef Py_ssize_t i
    for i in range(n):
        z = abs(x[i] - y[i])
        terms[i] = pair_term(z, beta, s, c)
        linear[i] = is_linear(z, beta)


cdef inline floating sum_flags(const floating* ones, int n) noexcept nogil:
    """The sum of terms of 0 and 1, whose order is no matter."""
    cdef floating count = ones[0]
    if n == 8:
        return (
            ((ones[0] + ones[1]) + (ones[2] + ones[3]))
            + ((ones[4] + ones[5]) + (ones[6] + ones[7]))
        )
    if n == 4:
        return (ones[0] + ones[1]) + (ones[2] + ones[3])
    if n > 1:
        count += ones[1]
    if n > 2:
        count += ones[2]
    return count


cdef inline bint finish_few_of(
    const floating* terms, const floating* linear, int n, bint counts, Py_ssize_t width,
    const Way* way, floating* results,
) noexcept nogil:
    """Results of ``width`` outputs; whether each is finite, else those of float64 are not right."""
    cdef double offset = way.offset, scale = way.scale, unit = way.unit, count
    cdef Pair sum, exact_offset = way.exact_offset, divisor = way.divisor
    cdef int64_t odd = 0
    cdef Py_ssize_t c
    for c in range(width):
        sum = sum_few(terms + c * n, n)
        count = sum_flags(linear + c * n, n) if counts else 0.0
        if floating is float:
            results[c] = <float>(unit * finish_single(sum.hi, count, offset, scale))
        else:
            odd |= not abs(sum.hi) <= DBL_MAX  # or NaN
            results[c] = unit * finish_double(sum, pair_of(count), exact_offset, divisor)
    return odd == 0


cdef inline bint finish_few(
    const floating* terms, const floating* linear, Py_ssize_t n, bint counts, Py_ssize_t width,
    const Way* way, floating* results,
) noexcept nogil:
    # Known to the compiler, a few terms are brought together by shuffles.
    if n == 1:
        return finish_few_of(terms, linear, 1, counts, width, way, results)
    if n == 2:
        return finish_few_of(terms, linear, 2, counts, width, way, results)
    if n == 3:
        return finish_few_of(terms, linear, 3, counts, width, way, results)
    if n == 4:
        return finish_few_of(terms, linear, 4, counts, width, way, results)
    return finish_few_of(terms, linear, 8, counts, width, way, results)


cdef inline bint run_few(
    const Job* job, Py_ssize_t output, Py_ssize_t width, Tile* tile, Sink* sink, floating tag
) noexcept nogil:
    """The results of neighbouring outputs; False if they must be found in another way."""
    cdef Params* p = &job.params[0]
    cdef Py_ssize_t n = job.n, start = output * n, size = width * n, done = 0, outputs
    cdef Py_ssize_t most = CHUNK // n
    cdef floating* terms = <floating*>tile.terms
    cdef floating* linear = <floating*>tile.turned
    cdef floating* results = <floating*>sink.results + output
    cdef const floating* x = load(&job.x, 0, start, size, tile.raw, <floating*>tile.x)
    cdef const floating* y = load(&job.y, 0, start, size, tile.raw, <floating*>tile.y)
    cdef double count = 1.0 if sink.reduction == TOTAL else n
    cdef Way way
    cdef bint finite = True
    way.offset = p.offset.hi
    way.scale = 1.0 / (count * p.over)
    way.unit = p.unit
    way.exact_offset = p.offset
    way.divisor = pair_times(pair_of(count), pair_of(p.over))
    while done < width:
        outputs = width - done if width - done < most else most
        size = outputs * n
        if p.form == PRODUCT:
            write_terms(x, y, <const floating*>NULL, size, p, terms)
            finite &= finish_few(terms, terms, n, False, outputs, &way, results + done)
        else:
            write_terms_and_linear(x, y, size, p, terms, linear)
            finite &= finish_few(terms, linear, n, True, outputs, &way, results + done)
        x += size
        y += size
        done += outputs
    return finite


cdef inline void run_short(
    const Job* job, Py_ssize_t output, Py_ssize_t width, Tile* tile, Sink* sink
) noexcept nogil:
    """The results of ``width`` short outputs."""
    if are_few(job, sink):
        if job.single:
            run_few(job, output, width, tile, sink, <float>0)
            return
        if run_few(job, output, width, tile, sink, <double>0):
            return
    if job.single:
        sum_short_outputs(job, output, width, tile, <float>0)
    else:
        sum_short_outputs(job, output, width, tile, <double>0)
    complete(job, width, job.n, tile)
    deliver_tile(job, output, width, tile, sink)


cdef inline void run_columns(
    const Job* job, Py_ssize_t output, Py_ssize_t width, Py_ssize_t leaf, Py_ssize_t leaves,
    Node* nodes, char* scratch, Sink* sink,
) noexcept nogil:
    """One leaf of ``width`` outputs.

    OUT: nodes[0], nodes[leaves], ..., or, of outputs of a single leaf, their results.
    """
    cdef Tile tile
    cdef Py_ssize_t c = 0, most = outputs_of_tile(job)
    cdef Py_ssize_t length = job.n - leaf * LEAF if job.n - leaf * LEAF < LEAF else LEAF
    lay_out(job, scratch, &tile)
    if job.side == SHORT:
        while c < width:
            run_short(job, output + c, width - c if width - c < most else most, &tile, sink)
            c += most
        return
    if job.single:
        sum_adjacent_outputs(job, output, width, leaf, &tile, <float>0)
    else:
        sum_adjacent_outputs(job, output, width, leaf, &tile, <double>0)
    complete(job, width, length, &tile)
    if nodes is NULL:
        deliver_tile(job, output, width, &tile, sink)
        return
    for c in range(width):
        nodes[0] = no_node()
        nodes.loss = pair_at(&tile.loss, c)
        nodes.linear = pair_at(&tile.linear, c)
        nodes.weight = pair_at(&tile.weights, c)
        nodes.count = tile.count.hi[c]
        nodes += leaves
