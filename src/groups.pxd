"""The sums of long leaves for one threshold: terms and their sum in one loop.

Here are the loops for weights and selections; that for elements which all take part, the commonest
and fastest, is in C (``groups.h``).

What ``lanes.sum_terms`` does with a buffer of terms, without the buffer: the rows of a group are
read, made into terms and added up lane by lane, so that the lanes are touched once a group. The
order is that of ``lanes.group_term``.

A form and a choice are tags, types without a value: the compiler makes a loop for each pair of
them, in which nothing is left to be asked.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy, memset

from cache cimport SMOOTHL1_PREFETCH
from lanes cimport Lanes, lane_add, of_four, rows_of_group
from sizes cimport LANES, LINE
from smoothl1._smoothl1 cimport floating
from terms cimport Gradient, PRODUCT, Params, is_linear, pair_term, product_term

cdef extern from "groups.h":
    ctypedef struct NumbersSingle "smoothl1_numbersf":
        float beta, s, c, factor, edge
    ctypedef struct NumbersDouble "smoothl1_numbers":
        double beta, s, c, factor, edge
    int64_t smoothl1_whole_groupsf(
        const float* x, const float* y, float* out, Py_ssize_t n, Py_ssize_t ahead, bint product,
        bint folds, const NumbersSingle* numbers, double* hi, double* lo,
    ) noexcept nogil
    int64_t smoothl1_whole_groups(
        const double* x, const double* y, double* out, Py_ssize_t n, Py_ssize_t ahead, bint product,
        bint folds, const NumbersDouble* numbers, double* hi, double* lo,
    ) noexcept nogil


cdef struct Product:  # of a form
    char unused

cdef struct Pairs:
    char unused

ctypedef fused form:
    Product
    Pairs

cdef struct Weighted:  # which elements take part, and with what weight
    char unused

cdef struct Selected:
    char unused

cdef struct WeightedSelected:
    char unused

ctypedef fused choice:
    Weighted
    Selected
    WeightedSelected


cdef enum:
    LARGEST_GROUP = 8 * LANES


cdef inline floating chosen(
    floating a, const floating* w, const floating* selected, Py_ssize_t i, Py_ssize_t k,
    const choice* tag,
) noexcept nogil:
    if choice is Weighted or choice is WeightedSelected:
        a = a * w[i + k]
    if choice is Selected or choice is WeightedSelected:
        a = a if selected[k] != 0 else <floating>0
    return a


cdef inline floating term_at(
    const floating* x, const floating* y, const floating* w, const floating* selected, Py_ssize_t i,
    Py_ssize_t k, floating beta, floating s, floating c, const form* shape, const choice* tag,
) noexcept nogil:
    cdef floating z = abs(x[i + k] - y[i + k]), term
    if form is Product:
        term = product_term(z, beta, s)
    else:
        term = pair_term(z, beta, s, c)
    return chosen(term, w, selected, i, k, tag)


cdef inline floating four_terms(
    const floating* x, const floating* y, const floating* w, const floating* selected, Py_ssize_t i,
    Py_ssize_t k, floating beta, floating s, floating c, const form* shape, const choice* tag,
) noexcept nogil:
    return of_four(
        term_at(x, y, w, selected, i, k, beta, s, c, shape, tag),
        term_at(x, y, w, selected, i, k + LANES, beta, s, c, shape, tag),
        term_at(x, y, w, selected, i, k + 2 * LANES, beta, s, c, shape, tag),
        term_at(x, y, w, selected, i, k + 3 * LANES, beta, s, c, shape, tag),
    )


cdef inline floating linear_at(
    const floating* x, const floating* y, const floating* w, const floating* selected, Py_ssize_t i,
    Py_ssize_t k, floating beta, const choice* tag,
) noexcept nogil:
    """What PAIR counts of an element."""
    return chosen(is_linear(abs(x[i + k] - y[i + k]), beta), w, selected, i, k, tag)


cdef inline floating four_linear(
    const floating* x, const floating* y, const floating* w, const floating* selected, Py_ssize_t i,
    Py_ssize_t k, floating beta, const choice* tag,
) noexcept nogil:
    return of_four(
        linear_at(x, y, w, selected, i, k, beta, tag),
        linear_at(x, y, w, selected, i, k + LANES, beta, tag),
        linear_at(x, y, w, selected, i, k + 2 * LANES, beta, tag),
        linear_at(x, y, w, selected, i, k + 3 * LANES, beta, tag),
    )


cdef inline void prefetch_group(const char* a, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(size // LINE):
        SMOOTHL1_PREFETCH(a + i * LINE)


cdef inline void sum_whole_groups(
    const floating* x, const floating* y, const floating* w, const uint8_t* mask, Py_ssize_t n,
    Py_ssize_t ahead, const Params* p, Lanes* loss, Lanes* linear, const form* shape,
    const choice* tag,
) noexcept nogil:
    """Add n elements, whole groups, of which weights or a selection say what takes part."""
    cdef double hi[LANES]
    cdef double lo[LANES]
    cdef double linear_hi[LANES]
    cdef double linear_lo[LANES]
    cdef floating selected[LARGEST_GROUP]  # 1 or 0: as wide as what is selected
    cdef floating beta = <floating>p.beta, s = <floating>p.s, c = <floating>p.c
    cdef floating term, count
    cdef Py_ssize_t i = 0, j, group = LANES * rows_of_group(beta), size = group * sizeof(floating)
    cdef int lane
    # ``+ 0.0`` keeps GCC from making this a memcpy, which would keep the lanes in memory.
    for lane in range(LANES):
        hi[lane] = loss.hi[lane] + 0.0
        lo[lane] = loss.lo[lane] + 0.0
        if form is Pairs:
            linear_hi[lane] = linear.hi[lane] + 0.0
            linear_lo[lane] = linear.lo[lane] + 0.0
    while i < n:
        if ahead:
            prefetch_group(<const char*>(x + i) + ahead, size)
            prefetch_group(<const char*>(y + i) + ahead, size)
        if choice is Selected or choice is WeightedSelected:
            for j in range(group):
                selected[j] = <floating>(mask[i + j] != 0)
        for lane in range(LANES):
            term = four_terms(x, y, w, selected, i, lane, beta, s, c, shape, tag)
            if floating is float:
                term += four_terms(
                    x, y, w, selected, i, lane + 4 * LANES, beta, s, c, shape, tag
                )
            lane_add(hi, lo, lane, term)
            if form is Pairs:
                count = four_linear(x, y, w, selected, i, lane, beta, tag)
                if floating is float:
                    count += four_linear(
                        x, y, w, selected, i, lane + 4 * LANES, beta, tag
                    )
                lane_add(linear_hi, linear_lo, lane, count)
        i += group
    for lane in range(LANES):
        loss.hi[lane] = hi[lane] + 0.0
        loss.lo[lane] = lo[lane] + 0.0
        if form is Pairs:
            linear.hi[lane] = linear_hi[lane] + 0.0
            linear.lo[lane] = linear_lo[lane] + 0.0


cdef inline void fill_group(
    const floating* a, Py_ssize_t n, floating* group
) noexcept nogil:
    """What is missing of a group is filled up with zeros."""
    memset(group, 0, LANES * rows_of_group(<floating>0) * sizeof(floating))
    memcpy(group, a, n * sizeof(floating))


cdef inline void sum_chosen(
    const floating* x, const floating* y, const floating* w, const uint8_t* mask, Py_ssize_t n,
    Py_ssize_t ahead, const Params* p, Lanes* loss, Lanes* linear, const form* shape,
    const choice* tag,
) noexcept nogil:
    """Add n elements."""
    cdef floating last_x[LARGEST_GROUP]
    cdef floating last_y[LARGEST_GROUP]
    cdef floating last_w[LARGEST_GROUP]
    cdef uint8_t last_mask[LARGEST_GROUP]
    cdef Py_ssize_t group = LANES * rows_of_group(<floating>0), rest = n % group, whole = n - rest
    sum_whole_groups(x, y, w, mask, whole, ahead, p, loss, linear, shape, tag)
    if rest > 0:
        fill_group(x + whole, rest, last_x)
        fill_group(y + whole, rest, last_y)
        if choice is Weighted or choice is WeightedSelected:
            fill_group(w + whole, rest, last_w)
        if choice is Selected or choice is WeightedSelected:
            memset(last_mask, 0, sizeof(last_mask))
            memcpy(last_mask, mask + whole, rest)
        sum_whole_groups(
            last_x, last_y, last_w, last_mask, group, 0, p, loss, linear, shape, tag
        )


cdef inline void sum_form(
    const floating* x, const floating* y, const floating* w, const uint8_t* mask, Py_ssize_t n,
    Py_ssize_t ahead, const Params* p, Lanes* loss, Lanes* linear, const form* shape,
) noexcept nogil:
    if mask is NULL:
        sum_chosen(x, y, w, mask, n, ahead, p, loss, linear, shape, <const Weighted*>NULL)
    elif w is NULL:
        sum_chosen(x, y, w, mask, n, ahead, p, loss, linear, shape, <const Selected*>NULL)
    else:
        sum_chosen(x, y, w, mask, n, ahead, p, loss, linear, shape, <const WeightedSelected*>NULL)


cdef inline void sum_alike(
    const floating* x, const floating* y, Py_ssize_t n, Py_ssize_t ahead, bint folds,
    const Params* p, const Gradient* how, floating* out, Lanes* loss, double* counted,
) noexcept nogil:
    """Add n elements that all take part, and write their gradient to out unless that is NULL.

    ``folds``: they are the last of a leaf, whose sum is wanted in the first lane.
    """
    cdef floating last_x[LARGEST_GROUP]
    cdef floating last_y[LARGEST_GROUP]
    cdef floating last_out[LARGEST_GROUP]
    cdef Py_ssize_t group = LANES * rows_of_group(<floating>0), rest = n % group, whole = n - rest
    cdef int64_t below
    cdef bint product = p.form == PRODUCT
    cdef NumbersSingle single
    cdef NumbersDouble wide
    if floating is float:
        single.beta, single.s, single.c = <float>p.beta, <float>p.s, <float>p.c
        single.factor, single.edge = <float>how.factor, <float>how.edge
        below = smoothl1_whole_groupsf(
            x, y, out, whole, ahead, product, folds and rest == 0, &single, loss.hi, loss.lo
        )
    else:
        wide.beta, wide.s, wide.c = p.beta, p.s, p.c
        wide.factor, wide.edge = how.factor, how.edge
        below = smoothl1_whole_groups(
            x, y, out, whole, ahead, product, folds and rest == 0, &wide, loss.hi, loss.lo
        )
    if rest > 0:
        fill_group(x + whole, rest, last_x)
        fill_group(y + whole, rest, last_y)
        if floating is float:
            below += smoothl1_whole_groupsf(
                last_x, last_y, NULL if out is NULL else last_out, group, 0, product, folds,
                &single, loss.hi, loss.lo,
            )
        else:
            below += smoothl1_whole_groups(
                last_x, last_y, NULL if out is NULL else last_out, group, 0, product, folds,
                &wide, loss.hi, loss.lo,
            )
        if out is not NULL:
            memcpy(out + whole, last_out, rest * sizeof(floating))
        if p.beta > 0.0:
            below -= group - rest  # the zeros
    if not product:
        counted[0] += n - below


cdef inline void sum_of_groups(
    const floating* x, const floating* y, const floating* w, const uint8_t* mask, Py_ssize_t n,
    Py_ssize_t ahead, const Params* p, const Gradient* how, floating* out, Lanes* loss,
    Lanes* linear, double* counted,
) noexcept nogil:
    """Add a part of a long leaf, for PRODUCT or PAIR; all parts but the last are whole groups.

    Without weights and selection the gradient may be written to out as well, as a product; out
    shares no memory with the operands.

    OUT: loss; linear, if there are weights or a selection, else counted: the elements that PAIR
    counts in the linear piece.
    """
    if w is NULL and mask is NULL:
        sum_alike(x, y, n, ahead, False, p, how, out, loss, counted)
    elif p.form == PRODUCT:
        sum_form(x, y, w, mask, n, ahead, p, loss, linear, <const Product*>NULL)
    else:
        sum_form(x, y, w, mask, n, ahead, p, loss, linear, <const Pairs*>NULL)
