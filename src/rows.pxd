"""Short outputs: few elements each, which are neighbours, [output][element] in memory.

Operands are loaded for a tile of outputs at once, and summed a few outputs at a time, one after the
other: those of up to four elements in registers (``fours.h``), the others from a buffer of their
terms (``few.h``). Each output gets the bits that ``leaves.pxd`` would give it.
"""

from libc.stdint cimport uint8_t

from jobs cimport Job, MEAN, Sink, TOTAL, note_results
from leaf_blocks cimport at as part_of
from operands cimport is_matrix
from packing cimport load, load_mask, load_run
from pairs cimport Pair, pair_of, pair_times, two_sum
from sizes cimport BLOCK, CHUNK
from smoothl1._smoothl1 cimport floating
from terms cimport ARRAY, PAIR, PRODUCT, Params
from tile_results cimport deliver_tile
from tiles cimport Part, Sums, Tile, write_parts, write_weights


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
    int SMOOTHL1_ODD_RESULT, SMOOTHL1_EMPTY_RESULT
    ctypedef struct RowsSingle "smoothl1_rowsf":
        const float* x
        const float* y
        const float* beta
        const float* weight
        const uint8_t* mask
        float threshold, s, c
        int form
        bint repeats, divides
        Py_ssize_t ahead
        double* sums
        double* rests
        double* linear
        double* linear_rests
        float* results
        double scale, offset
        double[8] scales
    ctypedef struct RowsDouble "smoothl1_rows":
        const double* x
        const double* y
        const double* beta
        const double* weight
        const uint8_t* mask
        double threshold, s, c
        int form
        bint repeats, divides
        Py_ssize_t ahead
        double* sums
        double* rests
        double* linear
        double* linear_rests
        double* results
        double offset, offset_rest
    int smoothl1_run_rowsf(const RowsSingle* rows, Py_ssize_t n, Py_ssize_t width) noexcept nogil
    int smoothl1_run_rows(const RowsDouble* rows, Py_ssize_t n, Py_ssize_t width) noexcept nogil
    void smoothl1_set_divisor(RowsDouble* rows, double hi, double lo) noexcept nogil
    void smoothl1_count_rows(
        const uint8_t* mask, Py_ssize_t n, Py_ssize_t width, double* counts
    ) noexcept nogil


cdef inline Py_ssize_t outputs_at_once(const Job* job) noexcept nogil:
    """Short outputs that are summed before they are finished."""
    if SMOOTHL1_RUNS_ROWS and job.n <= 4:
        # Whole steps of vectors; of float64, more leave loads from memory waiting for the finish.
        return (2 * CHUNK if job.single else CHUNK) // (job.n + (job.n == 3))
    cdef Py_ssize_t most = (2 * CHUNK if 2 * CHUNK < BLOCK else BLOCK) // job.n
    return most if most > 0 else 1


cdef inline Pair pair_plus(Pair a, Pair b) noexcept nogil:
    """What ``fold`` does with two lanes."""
    cdef Pair r = two_sum(a.hi, b.hi)
    r.lo = (a.lo + b.lo) + r.lo
    return r


cdef inline Pair sum_few(const floating* terms, int n) noexcept nogil:
    """The sum of at most four terms, or eight, in the order in which ``fold`` adds them."""
    cdef Pair even = pair_of(terms[0] + 0.0), odd  # a lane starts at 0, which -0 leaves as it is
    if n == 8:
        even = pair_plus(two_sum(terms[0] + 0.0, terms[4]), two_sum(terms[2], terms[6]))
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


cdef inline bint divides_rows(const Job* job, const Sink* sink) noexcept nogil:
    """Whether each output is divided by how many of its elements are selected."""
    return sink.reduction == MEAN and job.options.has_where


cdef inline bint finishes_rows(const Job* job, const Sink* sink) noexcept nogil:
    """Whether ``run_rows`` writes results: of the working dtype, with a divisor it knows."""
    if job.params[0].unit != 1.0 or sink.itemsize != (4 if job.single else 8):
        return False
    if divides_rows(job, sink):
        return job.single
    return sink.reduction == TOTAL or sink.reduction == MEAN


cdef inline bint runs_rows(const Job* job, const Sink* sink) noexcept nogil:
    """Whether ``run_rows`` does it; without options it has to write results, too."""
    cdef bint selects = job.options.has_where
    if not SMOOTHL1_RUNS_ROWS or job.n > 4:
        return False
    if job.n == 1 and not (job.single or selects) or job.n == 3 and not (job.single and selects):
        return False  # two loops take no longer
    return (
        selects or job.options.has_weight or job.params[0].form == ARRAY
        or finishes_rows(job, sink)
    )


cdef inline bint repeats_weights(const Job* job, const Sink* sink) noexcept nogil:
    """Whether there is a weight for each output, which ``run_rows`` repeats."""
    return (
        runs_rows(job, sink) and job.options.has_weight and not job.plan.weighs
        and is_matrix(&job.weight, job.n) and job.weight.stride[1] == 0
    )


cdef inline bint run_rows(
    const Job* job, const Part* part, Py_ssize_t output, Py_ssize_t width, Tile* tile, Sink* sink,
    floating tag,
) noexcept nogil:
    """Terms and their sums in one loop, without a buffer; returns whether there are results."""
    cdef Params* p = &job.params[0]
    cdef RowsSingle single
    cdef RowsDouble wide
    cdef bint done = finishes_rows(job, sink)
    cdef Pair divisor = pair_times(
        pair_of(1.0 if sink.reduction == TOTAL else job.n), pair_of(p.over)
    )
    cdef char* place = sink.results + output * sink.itemsize
    cdef int form = SMOOTHL1_ROW_PRODUCT, found, i
    if p.form == PAIR:
        form = SMOOTHL1_ROW_PAIR
    elif p.form == ARRAY:
        form = SMOOTHL1_ROW_HUBER if p.huber else SMOOTHL1_ROW_SMOOTH
    if floating is float:
        single.x, single.y = <const float*>part.x, <const float*>part.y
        single.beta, single.weight = <const float*>part.beta, <const float*>part.weight
        single.mask, single.repeats = part.mask, part.repeats
        single.divides = divides_rows(job, sink)
        single.threshold, single.s, single.c = <float>p.beta, <float>p.s, <float>p.c
        single.form, single.ahead = form, job.plan.ahead
        single.sums, single.rests = tile.loss.hi, tile.loss.lo
        single.linear, single.linear_rests = tile.linear.hi, tile.linear.lo
        single.results = <float*>place if done else NULL
        single.scale, single.offset = 1.0 / divisor.hi, p.offset.hi
        if single.divides:
            for i in range(8):
                single.scales[i] = 1.0 / (i * p.over)
        found = smoothl1_run_rowsf(&single, job.n, width)
    else:
        wide.x, wide.y = <const double*>part.x, <const double*>part.y
        wide.beta, wide.weight = <const double*>part.beta, <const double*>part.weight
        wide.mask, wide.repeats = part.mask, part.repeats
        wide.divides = False
        wide.threshold, wide.s, wide.c = p.beta, p.s, p.c
        wide.form, wide.ahead = form, job.plan.ahead
        wide.sums, wide.rests = tile.loss.hi, tile.loss.lo
        wide.linear, wide.linear_rests = tile.linear.hi, tile.linear.lo
        wide.results = <double*>place if done else NULL
        wide.offset, wide.offset_rest = p.offset.hi, p.offset.lo
        smoothl1_set_divisor(&wide, divisor.hi, divisor.lo)
        found = smoothl1_run_rows(&wide, job.n, width)
    if done:
        note_results(
            job, (found & SMOOTHL1_EMPTY_RESULT) != 0, (found & SMOOTHL1_ODD_RESULT) != 0, False,
            sink,
        )
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
    part.repeats = repeats_weights(job, sink)
    if part.repeats:
        w = load_run(
            &job.weight, job.weight.data + first * job.weight.stride[0], job.weight.stride[0],
            width, tile.raw, <floating*>tile.weight,
        )
    elif job.options.has_weight:
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
        part.weight = part_of(w, done if part.repeats else start)
        part.mask = NULL
        if mask is not NULL:
            part.mask = mask + start
        finish_short_outputs(job, &part, first + done, outputs, tile, sink, tag)
        done += outputs
