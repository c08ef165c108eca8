"""The results of a tile: its sums finished in rows, and written in their dtype.

``finish`` of ``terms.pxd`` for many outputs at once, without a branch for each: what is infinite,
NaN or divided by nothing is noted for the whole tile, as ``deliver`` notes it for one output.
"""

from libc.float cimport DBL_MAX
from libc.math cimport INFINITY
from libc.stdint cimport int64_t

from casts cimport convert_back
from jobs cimport Job, MEAN, Sink, TOTAL, WEIGHTED_MEAN, note_results
from pairs cimport Pair, pair_of, pair_times
from smoothl1._smoothl1 cimport floating
from terms cimport Params, finish_double, finish_single
from tiles cimport Sums, Tile


cdef struct Odd:
    # Whether some results are so.
    int64_t infinite
    int64_t nan


cdef inline Pair pair_at(Sums sums, Py_ssize_t c) noexcept nogil:
    cdef Pair r
    r.hi = sums.hi[c]
    r.lo = sums.lo[c]
    return r


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
