"""What exact sums are handed from Python, and hand back: thresholds and arrays, checked.

Here, too, are the sums of a job's outputs as an array; those of groups are in
``group_arrays.pxd``.
"""

from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t, uint8_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

cimport numpy as cnp

from bygroup cimport Window
from calls cimport run_exact_job
from certificates cimport Certificate
from coding cimport range_of_codes
from digits cimport COUNTS, DIGITS_DOUBLE, carry
from exact cimport Wanted, row_size
from jobs cimport Job, Options, Reduction
from plain cimport PyArray_ISCARRAY, PyArray_ISCARRAY_RO, scalar
from quotients cimport settle_loss
from terms cimport PRODUCT, Params, make_exact_params


cdef inline int set_exact(Job* job, list betas, bint huber) except -1:
    """Let the thresholds be those of exact sums."""
    cdef int k
    for k in range(job.n_params):
        make_exact_params(&job.params[k], betas[k], huber, job.single, job.options.has_beta)
    return 0


cdef inline int set_moments(Job* job, list betas, bint huber) except -1:
    """The same; the last two stand for the absolute residual, and half of its square."""
    cdef int last = job.n_params - 1
    if last < 2 or job.options.has_beta:
        raise ValueError("moments need three thresholds, each for all elements")
    set_exact(job, betas, huber)
    make_exact_params(&job.params[last - 1], 0.0, False, job.single, False)
    make_exact_params(&job.params[last], INFINITY, True, job.single, False)
    return 0


cdef inline tuple form_of(const Params* p, bint is_array):
    """The way from exact sums to the loss of a threshold; see ``exact_form``."""
    if is_array:
        return p.over, 1.0, 1.0
    if p.form == PRODUCT or p.beta == INFINITY:
        return p.over, 0.0, 0.0
    return p.over, p.gain, p.beta


cdef inline cnp.ndarray sums_of_outputs(
    Job* job, list betas, bint huber, const Wanted* wanted, Py_ssize_t first, Py_ssize_t outputs,
    Certificate* certificates, object policy,
):
    """The rows of some outputs: an array of int64, of shape (outputs, entries).

    With certificates, which are 0, for each output and threshold, the sums of terms are not exact.
    """
    cdef cnp.npy_intp shape[2]
    cdef cnp.ndarray rows
    if first < 0 or outputs < 0 or first + outputs > job.outputs:
        raise ValueError(f"outputs must be within 0 and {job.outputs}")
    if wanted.moments:
        set_moments(job, betas, huber)
    else:
        set_exact(job, betas, huber)
    shape[0] = outputs
    shape[1] = row_size(job)
    rows = cnp.PyArray_ZEROS(2, shape, cnp.NPY_INT64, 0)
    run_exact_job(
        job, wanted, first, outputs, <int64_t*>cnp.PyArray_DATA(rows), certificates, policy
    )
    return rows


cdef inline object settled_loss(Job* job, Reduction reduction, object policy):
    """The exact loss of a plain job; None in doubt."""
    cdef Wanted wanted
    cdef Certificate certificate
    cdef int64_t row[1 + 3 * (DIGITS_DOUBLE + COUNTS)]
    cdef uint8_t sure = False
    cdef double loss
    wanted.linear = wanted.weights = wanted.moments = False
    certificate.bound = certificate.total = 0.0
    memset(row, 0, sizeof(row))
    run_exact_job(job, &wanted, 0, 1, row, &certificate, policy)
    loss = settle_loss(job, row, 0, reduction, &certificate, &sure)
    if not sure and certificate.bound > 0.0:
        memset(row, 0, sizeof(row))
        run_exact_job(job, &wanted, 0, 1, row, NULL, policy)
        loss = settle_loss(job, row, 0, reduction, NULL, &sure)
    return scalar(loss, job.params) if sure else None


cdef inline int check_rows(cnp.ndarray rows, Py_ssize_t entries) except -1:
    """Raise ``ValueError`` unless these are rows of so many entries that can be written to."""
    if (
        cnp.PyArray_TYPE(rows) != cnp.NPY_INT64 or cnp.PyArray_NDIM(rows) != 2
        or not PyArray_ISCARRAY(rows) or cnp.PyArray_DIM(rows, 1) != entries
    ):
        raise ValueError(f"rows must be a contiguous array of int64, of {entries} columns")
    return 0


cdef inline tuple settle_rows(
    const Job* job, cnp.ndarray rows, Certificate* certificates, Reduction how
):
    """The losses of rows, and whether each is the correctly rounded one."""
    cdef Py_ssize_t o, k, entries = row_size(job), m = job.n_params
    cdef cnp.npy_intp[2] shape = [cnp.PyArray_DIM(rows, 0), m]
    cdef cnp.ndarray losses = cnp.PyArray_ZEROS(2, shape, cnp.NPY_FLOAT64, 0)
    cdef cnp.ndarray sure = cnp.PyArray_ZEROS(2, shape, cnp.NPY_BOOL, 0)
    cdef const int64_t* row = <const int64_t*>cnp.PyArray_DATA(rows)
    cdef double* loss = <double*>cnp.PyArray_DATA(losses)
    cdef uint8_t* certain = <uint8_t*>cnp.PyArray_DATA(sure)
    with nogil:
        for o in range(shape[0]):
            for k in range(m):
                loss[o * m + k] = settle_loss(
                    job, row + o * entries, <int>k, how,
                    NULL if certificates is NULL else certificates + o * m + k,
                    certain + o * m + k,
                )
    return losses, sure


cdef inline tuple losses_of_outputs(
    Job* job, list betas, bint huber, const Wanted* wanted, Py_ssize_t first, Py_ssize_t outputs,
    Reduction how, object policy,
):
    """Losses of some outputs, whether each is sure, and rows, exact where a loss is not sure.

    Of what may be a plain job, which ``settled_loss`` is in doubt about, sums are exact at once.
    """
    cdef Py_ssize_t m = job.n_params, entries = row_size(job), start = outputs, stop = 0, i
    cdef Certificate* certificates = <Certificate*>calloc(
        outputs * m + 1, sizeof(Certificate)
    )
    cdef cnp.ndarray rows, sure
    cdef int64_t* again
    cdef Options* options = &job.options
    cdef bint plain = (
        job.outputs == 1 and m == 1 and job.x.direct and job.y.direct
        and not (options.has_beta or options.has_weight or options.has_where)
    )
    if certificates is NULL:
        raise MemoryError(f"no memory for {outputs * m * sizeof(Certificate)} bytes of buffers")
    try:
        rows = sums_of_outputs(
            job, betas, huber, wanted, first, outputs, NULL if plain else certificates, policy
        )
        losses, sure = settle_rows(job, rows, certificates, how)
        for i in range(outputs * m):
            if not (<const uint8_t*>cnp.PyArray_DATA(sure))[i] and certificates[i].bound > 0.0:
                start = min(start, i // m)
                stop = i // m + 1
        if start < stop:
            again = <int64_t*>cnp.PyArray_DATA(rows) + start * entries
            memset(again, 0, (stop - start) * entries * sizeof(int64_t))
            run_exact_job(job, wanted, first + start, stop - start, again, NULL, policy)
            memset(certificates + start * m, 0, (stop - start) * m * sizeof(Certificate))
            losses, sure = settle_rows(job, rows, certificates, how)
    finally:
        free(certificates)
    return losses, sure, rows


cdef inline int carry_rows(cnp.ndarray rows, Py_ssize_t entries, int digits) except -1:
    """Carry in place in sums of ``entries`` each."""
    cdef int64_t* a = <int64_t*>cnp.PyArray_DATA(rows)
    cdef Py_ssize_t i, sums
    if (
        cnp.PyArray_TYPE(rows) != cnp.NPY_INT64 or not PyArray_ISCARRAY(rows)
        or digits < 1 or entries < digits or cnp.PyArray_SIZE(rows) % entries != 0
    ):
        raise ValueError("rows must be a contiguous array of int64, of whole sums")
    sums = cnp.PyArray_SIZE(rows) // entries
    with nogil:
        for i in range(sums):
            carry(a + i * entries, digits)
    return 0


cdef inline const int32_t* checked_codes(
    const Job* job, cnp.ndarray groups, int64_t count
) except NULL:
    """The codes of the groups, one for each element; ``ValueError`` beyond ``count``."""
    cdef const int32_t* codes = <const int32_t*>cnp.PyArray_DATA(groups)
    cdef int32_t least = 0, most = -1
    if (
        cnp.PyArray_TYPE(groups) != cnp.NPY_INT32 or not PyArray_ISCARRAY_RO(groups)
        or cnp.PyArray_SIZE(groups) != job.n
    ):
        raise ValueError("groups must be a contiguous array of int32, one for each element")
    with nogil:
        range_of_codes(codes, job.n, &least, &most)
    if least < 0 or most >= count:
        raise ValueError(f"groups must be within 0 and {count}, got {least} and {most}")
    return codes


cdef inline int check_arrays(cnp.ndarray table, cnp.ndarray windows, Py_ssize_t sums) except -1:
    """Raise ``ValueError`` unless these are a table and the windows of so many sums."""
    if (
        cnp.PyArray_TYPE(table) != cnp.NPY_INT64 or cnp.PyArray_NDIM(table) != 2
        or not PyArray_ISCARRAY(table) or cnp.PyArray_TYPE(windows) != cnp.NPY_INT64
        or not PyArray_ISCARRAY(windows) or cnp.PyArray_SIZE(windows) != 4 * sums
    ):
        raise ValueError("table and windows must be contiguous arrays of int64")
    return 0


cdef inline int check_table(cnp.ndarray table, cnp.ndarray windows, Py_ssize_t sums) except -1:
    """Raise ``ValueError`` unless all windows are within the table's rows."""
    cdef const Window* window
    cdef Py_ssize_t i, width
    check_arrays(table, windows, sums)
    width = cnp.PyArray_DIM(table, 1)
    window = <const Window*>cnp.PyArray_DATA(windows)
    for i in range(sums):
        if (
            window[i].column < 1 or window[i].digits < 1
            or window[i].column + window[i].digits + 2 > width
            or window[i].special + 3 > width
        ):
            raise ValueError(f"window {i} is not within the table")
    return 0


cdef inline int carry_table(cnp.ndarray table, cnp.ndarray windows) except -1:
    """Carry in place in all windows of all rows."""
    cdef Py_ssize_t sums = cnp.PyArray_SIZE(windows) // 4, rows, width, i, j
    cdef int64_t* row = <int64_t*>cnp.PyArray_DATA(table)
    cdef const Window* window = <const Window*>cnp.PyArray_DATA(windows)
    check_table(table, windows, sums)
    rows = cnp.PyArray_DIM(table, 0)
    width = cnp.PyArray_DIM(table, 1)
    with nogil:
        for i in range(rows):
            for j in range(sums):
                carry(row + i * width + window[j].column, <int>window[j].digits)
    return 0
