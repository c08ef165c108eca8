"""The sums of leaves for one threshold: terms and their sum in one loop.

The loops are in C: ``groups.h`` for elements that all take part, the commonest and fastest, and
``chosen.h`` for weights and selections. What is missing of a last group is filled up here.

They do what ``lanes.sum_terms`` does with a buffer of terms, without the buffer: the rows of a
group are read, made into terms and added up lane by lane, so that the lanes are touched once a
group. The order is that of ``lanes.group_term``.
"""

from libc.stdint cimport int64_t, uint8_t
from libc.string cimport memcpy, memset

from lanes cimport Lanes, rows_of_group
from sizes cimport LANES, LEAF
from smoothl1._smoothl1 cimport floating
from stored cimport unpack
from terms cimport Gradient, PRODUCT, Params
from tree cimport Node, no_node

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
    ctypedef struct LeafSum "smoothl1_leaf":
        double hi, lo
        int64_t below
    void smoothl1_whole_leavesf(
        const float* x, const float* y, float* out, Py_ssize_t leaves, Py_ssize_t ahead,
        bint product, const NumbersSingle* numbers, LeafSum* sums,
    ) noexcept nogil
    void smoothl1_whole_leaves(
        const double* x, const double* y, double* out, Py_ssize_t leaves, Py_ssize_t ahead,
        bint product, const NumbersDouble* numbers, LeafSum* sums,
    ) noexcept nogil
    int64_t smoothl1_stored_groupsf(
        const void* x, const void* y, int x_stored, int y_stored, Py_ssize_t n, Py_ssize_t ahead,
        bint product, const NumbersSingle* numbers, double* hi, double* lo,
    ) noexcept nogil
    int64_t smoothl1_stored_groups(
        const void* x, const void* y, int x_stored, int y_stored, Py_ssize_t n, Py_ssize_t ahead,
        bint product, const NumbersDouble* numbers, double* hi, double* lo,
    ) noexcept nogil
    int64_t smoothl1_short_leaff(
        const float* x, const float* y, Py_ssize_t n, bint product, const NumbersSingle* numbers,
        double* hi, double* lo,
    ) noexcept nogil
    int64_t smoothl1_short_leaf(
        const double* x, const double* y, Py_ssize_t n, bint product, const NumbersDouble* numbers,
        double* hi, double* lo,
    ) noexcept nogil

cdef extern from "chosen.h":
    ctypedef struct CLanes "smoothl1_lanes":  # Lanes, by its name in C
        pass
    int64_t smoothl1_chosen_groupsf(
        const float* x, const float* y, const float* w, const uint8_t* mask, float* out,
        Py_ssize_t n, Py_ssize_t ahead, bint product, bint folds, const NumbersSingle* numbers,
        CLanes* loss, CLanes* linear,
    ) noexcept nogil
    int64_t smoothl1_chosen_groups(
        const double* x, const double* y, const double* w, const uint8_t* mask, double* out,
        Py_ssize_t n, Py_ssize_t ahead, bint product, bint folds, const NumbersDouble* numbers,
        CLanes* loss, CLanes* linear,
    ) noexcept nogil


cdef union Numbers:
    NumbersSingle single
    NumbersDouble wide


cdef enum:
    LARGEST_GROUP = 8 * LANES
    LEAVES = 16  # in one call
    FEW_GROUPS = 2 * LARGEST_GROUP  # elements


cdef inline void set_numbers(
    const Params* p, const Gradient* how, Numbers* numbers, floating tag
) noexcept nogil:
    if floating is float:
        numbers.single = NumbersSingle(
            <float>p.beta, <float>p.s, <float>p.c, <float>how.factor, <float>how.edge
        )
    else:
        numbers.wide = NumbersDouble(p.beta, p.s, p.c, how.factor, how.edge)


cdef inline int64_t whole_groups(
    const floating* x, const floating* y, floating* out, Py_ssize_t n, Py_ssize_t ahead,
    bint product, bint folds, const Numbers* numbers, Lanes* loss,
) noexcept nogil:
    if floating is float:
        return smoothl1_whole_groupsf(
            x, y, out, n, ahead, product, folds, &numbers.single, loss.hi, loss.lo
        )
    else:
        return smoothl1_whole_groups(
            x, y, out, n, ahead, product, folds, &numbers.wide, loss.hi, loss.lo
        )


cdef inline int64_t chosen_groups(
    const floating* x, const floating* y, const floating* w, const uint8_t* mask, floating* out,
    Py_ssize_t n, Py_ssize_t ahead, bint product, bint folds, const Numbers* numbers, Lanes* loss,
    Lanes* linear,
) noexcept nogil:
    if floating is float:
        return smoothl1_chosen_groupsf(
            x, y, w, mask, out, n, ahead, product, folds, &numbers.single, <CLanes*>loss,
            <CLanes*>linear,
        )
    else:
        return smoothl1_chosen_groups(
            x, y, w, mask, out, n, ahead, product, folds, &numbers.wide, <CLanes*>loss,
            <CLanes*>linear,
        )


cdef inline void sum_rows(
    const floating* x, const floating* y, Py_ssize_t n, const Params* p, Lanes* loss,
    double* counted,
) noexcept nogil:
    """Add n elements, a multiple of LANES, of a leaf that is too short for groups."""
    cdef int64_t below
    cdef bint product = p.form == PRODUCT
    cdef Gradient none
    cdef Numbers numbers
    none.factor = none.edge = 0.0
    set_numbers(p, &none, &numbers, <floating>0)
    if floating is float:
        below = smoothl1_short_leaff(x, y, n, product, &numbers.single, loss.hi, loss.lo)
    else:
        below = smoothl1_short_leaf(x, y, n, product, &numbers.wide, loss.hi, loss.lo)
    if not product:
        counted[0] += n - below


cdef inline void fill_group(
    const floating* a, Py_ssize_t n, floating* group
) noexcept nogil:
    """What is missing of a group is filled up with zeros."""
    memset(group, 0, LANES * rows_of_group(<floating>0) * sizeof(floating))
    memcpy(group, a, n * sizeof(floating))


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
    cdef Numbers numbers
    set_numbers(p, how, &numbers, <floating>0)
    below = whole_groups(
        x, y, out, whole, ahead, product, folds and rest == 0, &numbers, loss
    )
    if rest > 0:
        fill_group(x + whole, rest, last_x)
        fill_group(y + whole, rest, last_y)
        below += whole_groups(
            last_x, last_y, NULL if out is NULL else last_out, group, 0, product, folds, &numbers,
            loss,
        )
        if out is not NULL:
            memcpy(out + whole, last_out, rest * sizeof(floating))
        if p.beta > 0.0:
            below -= group - rest  # the zeros
    if not product:
        counted[0] += n - below


cdef inline void sum_leaves(
    const floating* x, const floating* y, Py_ssize_t leaves, Py_ssize_t ahead, const Params* p,
    const Gradient* how, floating* out, Node* nodes,
) noexcept nogil:
    """The same of leaves of LEAF elements one after the other, each to its node."""
    cdef LeafSum sums[LEAVES]
    cdef Py_ssize_t done = 0, more, leaf
    cdef bint product = p.form == PRODUCT
    cdef Numbers numbers
    cdef Node* node
    set_numbers(p, how, &numbers, <floating>0)
    while done < leaves:
        more = leaves - done if leaves - done < LEAVES else LEAVES
        if floating is float:
            smoothl1_whole_leavesf(x, y, out, more, ahead, product, &numbers.single, sums)
        else:
            smoothl1_whole_leaves(x, y, out, more, ahead, product, &numbers.wide, sums)
        for leaf in range(more):
            node = &nodes[done + leaf]
            node[0] = no_node()
            node.loss.hi = sums[leaf].hi
            node.loss.lo = sums[leaf].lo
            node.count = LEAF
            if not product:
                node.linear.hi = LEAF - sums[leaf].below
        x += more * LEAF
        y += more * LEAF
        if out is not NULL:
            out += more * LEAF
        done += more


cdef inline void sum_stored(
    const char* x, const char* y, const int* stored, Py_ssize_t n, Py_ssize_t ahead,
    const Params* p, Lanes* loss, double* counted, floating tag,
) noexcept nogil:
    """The same of whole groups, read as they are stored: one way for x, one for y."""
    cdef int64_t below
    cdef bint product = p.form == PRODUCT
    cdef Gradient none
    cdef Numbers numbers
    none.factor = none.edge = 0.0
    set_numbers(p, &none, &numbers, tag)
    if floating is float:
        below = smoothl1_stored_groupsf(
            x, y, stored[0], stored[1], n, ahead, product, &numbers.single, loss.hi, loss.lo
        )
    else:
        below = smoothl1_stored_groups(
            x, y, stored[0], stored[1], n, ahead, product, &numbers.wide, loss.hi, loss.lo
        )
    if not product:
        counted[0] += n - below


cdef inline void sum_chosen(
    const floating* x, const floating* y, const floating* w, const uint8_t* mask, Py_ssize_t n,
    Py_ssize_t ahead, bint folds, const Params* p, const Gradient* how, floating* out, Lanes* loss,
    Lanes* linear, double* counted,
) noexcept nogil:
    """The same of n elements of which weights, a selection or both say what takes part."""
    cdef floating last_x[LARGEST_GROUP]
    cdef floating last_y[LARGEST_GROUP]
    cdef floating last_w[LARGEST_GROUP]
    cdef floating last_out[LARGEST_GROUP]
    cdef uint8_t last_mask[LARGEST_GROUP]
    cdef Py_ssize_t group = LANES * rows_of_group(<floating>0), rest = n % group, whole = n - rest
    cdef int64_t below
    cdef bint product = p.form == PRODUCT
    cdef Numbers numbers
    cdef const floating* rest_w = NULL
    cdef const uint8_t* rest_mask = NULL
    set_numbers(p, how, &numbers, <floating>0)
    below = chosen_groups(
        x, y, w, mask, out, whole, ahead, product, folds and rest == 0, &numbers, loss, linear
    )
    if rest > 0:
        fill_group(x + whole, rest, last_x)
        fill_group(y + whole, rest, last_y)
        if w is not NULL:
            fill_group(w + whole, rest, last_w)
            rest_w = last_w
        if mask is not NULL:
            memset(last_mask, 0, sizeof(last_mask))
            memcpy(last_mask, mask + whole, rest)
            rest_mask = last_mask
        below += chosen_groups(
            <const floating*>last_x, <const floating*>last_y, rest_w, rest_mask,
            NULL if out is NULL else last_out, group, 0, product, folds, &numbers, loss, linear,
        )
        if out is not NULL:
            memcpy(out + whole, last_out, rest * sizeof(floating))
        below -= group - rest  # the zeros
    # A threshold of 0 has what is not selected in the linear piece, too; what is subtracted for
    # that piece is 0 then.
    if not product and w is NULL:
        counted[0] += n - below


cdef inline void sum_stored_chosen(
    const char* x, const char* y, const char* w, const uint8_t* mask, const int* stored,
    Py_ssize_t n, const Params* p, floating* space, Lanes* loss, Lanes* linear, double* counted,
) noexcept nogil:
    """The same of whole groups of which x, y and w (or NULL) are stored in one way each.

    A few groups at a time go through buffers, so that memory is asked for all operands together.
    ``space`` is memory for three times FEW_GROUPS numbers.
    """
    cdef Py_ssize_t i = 0, m
    cdef Gradient none
    cdef const floating* weights = NULL
    cdef const uint8_t* selected = NULL
    none.factor = none.edge = 0.0
    while i < n:
        m = FEW_GROUPS if n - i > FEW_GROUPS else n - i
        if mask is not NULL:
            selected = mask + i
        if w is not NULL:
            weights = unpack(w, stored[2], i, m, space + 2 * FEW_GROUPS)
        sum_chosen(
            unpack(x, stored[0], i, m, space), unpack(y, stored[1], i, m, space + FEW_GROUPS),
            weights, selected, m, 0, False, p, &none, <floating*>NULL, loss, linear, counted,
        )
        i += m


cdef inline void sum_of_groups(
    const floating* x, const floating* y, const floating* w, const uint8_t* mask, Py_ssize_t n,
    Py_ssize_t ahead, const Params* p, const Gradient* how, floating* out, Lanes* loss,
    Lanes* linear, double* counted,
) noexcept nogil:
    """Add a part of a long leaf, for PRODUCT or PAIR; all parts but the last are whole groups.

    The gradient may be written to out as well, as a product; out shares no memory with the
    operands.

    OUT: loss; of what is in the linear piece, for PAIR, linear takes the weights if there are any,
    else counted the number.
    """
    if w is NULL and mask is NULL:
        sum_alike(x, y, n, ahead, False, p, how, out, loss, counted)
    else:
        sum_chosen(x, y, w, mask, n, ahead, False, p, how, out, loss, linear, counted)
