"""The work on one block of a leaf: load, sum, write, store.

Consecutive elements, few enough that what is made of them stays in the first-level cache.
"""

from libc.stdint cimport uint8_t

from cache cimport aligned, prefetch, smoothl1_stream
from groups cimport sum_of_groups, sum_rows
from jobs cimport BOTH, CURVATURE, Job, VALUE, WEIGHTS, weighs_unscaled
from kernels cimport (
    copy_selected, fill, mend_curvatures, mend_slopes, mend_values, multiply_scaled, weigh,
    write_curvatures, write_offsets, write_slopes, write_terms, write_values,
)
from lanes cimport Lanes, Running, fill_up, sum_terms
from packing cimport load, load_mask, store
from sizes cimport CHUNK, LANES, LINE
from smoothl1._smoothl1 cimport floating
from terms cimport ARRAY, Gradient, PRODUCT, Params, unscaled
from thresholds cimport sum_array


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
