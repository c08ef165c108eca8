"""Arguments that are arrays already: all that a call asks about them, in one pass.

What is no plain ``numpy.ndarray`` of real numbers is left to ``smoothl1/_arguments.py``, and so is
every error: nothing is accepted here that would be refused there.
"""

from cpython.object cimport PyObject, PyTypeObject
from cpython.ref cimport Py_INCREF
from libc.float cimport FLT_MIN

cimport numpy as cnp

from plain cimport PyArray_ISCARRAY_RO
from sizes cimport MAX_DIMS
from smoothl1._smoothl1 cimport floating

cdef extern from "numpy/arrayobject.h":
    PyTypeObject PyArray_Type
    object PyArray_NewFromDescr(
        PyTypeObject* kind, cnp.dtype dtype, int ndim, cnp.npy_intp* shape, cnp.npy_intp* strides,
        void* data, int flags, PyObject* parent
    )


cdef enum:
    # Elements that are looked at in a microsecond: holding the GIL for them keeps nobody waiting.
    MOMENT = 16384
    # Fields of ``Operands``.
    THRESHOLD = 2
    WEIGHT = 4
    WHERE = 5
    FACTOR = 6


cdef inline int float_size(cnp.ndarray a) noexcept:
    """Bytes of the floats that the loss of such numbers is of; 0 for what is left to Python."""
    cdef int typenum = cnp.PyArray_TYPE(a)
    if typenum == cnp.NPY_FLOAT32:
        return 4
    if typenum == cnp.NPY_FLOAT16:
        return 2
    if typenum == cnp.NPY_FLOAT64 or cnp.PyTypeNum_ISINTEGER(typenum) or typenum == cnp.NPY_BOOL:
        return 8
    return 0


cdef inline bint is_real_array(object value):
    return cnp.PyArray_CheckExact(value) and float_size(<cnp.ndarray>value) != 0


cdef inline cnp.dtype dtype_of_loss(cnp.ndarray x, cnp.ndarray y):
    cdef int a = float_size(x), b = float_size(y), size = a if a > b else b
    return cnp.PyArray_DescrFromType(
        cnp.NPY_FLOAT64 if size == 8 else cnp.NPY_FLOAT32 if size == 4 else cnp.NPY_FLOAT16
    )


cdef inline cnp.ndarray spread(cnp.ndarray a, cnp.ndarray like):
    """``a``, or a view of it, in the shape of ``like``; None if it does not broadcast to that."""
    cdef cnp.npy_intp strides[MAX_DIMS]
    cdef int ndim = cnp.PyArray_NDIM(like), missing = ndim - cnp.PyArray_NDIM(a), axis
    cdef bint same = missing == 0
    cdef cnp.npy_intp extent
    cdef cnp.dtype dtype = a.descr
    cdef cnp.ndarray view
    if missing < 0 or ndim > MAX_DIMS:
        return None
    for axis in range(ndim):
        strides[axis] = 0
        if axis < missing:
            continue
        extent = cnp.PyArray_DIM(a, axis - missing)
        if extent == cnp.PyArray_DIM(like, axis):
            strides[axis] = cnp.PyArray_STRIDE(a, axis - missing)
        elif extent == 1:
            same = False
        else:
            return None
    if same:
        return a
    Py_INCREF(dtype)  # which the next line takes
    view = PyArray_NewFromDescr(
        &PyArray_Type, dtype, ndim, <cnp.npy_intp*>cnp.PyArray_DIMS(like), strides,
        cnp.PyArray_DATA(a), 0, NULL,
    )
    cnp.set_array_base(view, a)
    return view


cdef inline void find_extent(cnp.ndarray a, char** start, char** stop) noexcept:
    """From an array's first byte in memory to behind its last one; nothing if it is empty."""
    cdef int axis
    cdef Py_ssize_t reach
    start[0] = <char*>cnp.PyArray_DATA(a)
    stop[0] = start[0]
    if cnp.PyArray_SIZE(a) == 0:
        return
    stop[0] += cnp.PyArray_ITEMSIZE(a)
    for axis in range(cnp.PyArray_NDIM(a)):
        reach = (cnp.PyArray_DIM(a, axis) - 1) * cnp.PyArray_STRIDE(a, axis)
        if reach < 0:
            start[0] += reach
        else:
            stop[0] += reach


cdef inline bint is_apart(cnp.ndarray a, tuple others):
    """Whether all memory of an array lies before or behind that of each other one."""
    cdef char* start
    cdef char* stop
    cdef char* first
    cdef char* last
    find_extent(a, &start, &stop)
    for other in others:
        if isinstance(other, cnp.ndarray):
            find_extent(<cnp.ndarray>other, &first, &last)
            if first < stop and start < last:
                return False
    return True


cdef inline bint has_none_below(
    const floating* a, Py_ssize_t n, floating least
) noexcept nogil:
    cdef Py_ssize_t i
    cdef bint found = False
    for i in range(n):
        found |= not a[i] >= least  # NaN is found, too
    return not found


cdef inline bint is_at_least(cnp.ndarray a, float least):
    """Whether all are; in doubt False: of any but contiguous float32 and float64 ones."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(a)
    cdef int typenum = cnp.PyArray_TYPE(a)
    cdef void* data = cnp.PyArray_DATA(a)
    if not PyArray_ISCARRAY_RO(a):
        return False
    if typenum == cnp.NPY_FLOAT32:
        if n <= MOMENT:
            return has_none_below(<float*>data, n, least)
        with nogil:
            return has_none_below(<float*>data, n, least)
    if typenum == cnp.NPY_FLOAT64:
        if n <= MOMENT:
            return has_none_below(<double*>data, n, <double>least)
        with nogil:
            return has_none_below(<double*>data, n, <double>least)
    return False


cdef inline float least_threshold(bint huber) noexcept:
    """A delta that is smaller may be 0 in float32."""
    return FLT_MIN if huber else 0.0


cdef inline object plain_threshold(object value, bint huber):
    """It as a float, or as the array that it is; None in doubt."""
    cdef double number
    if isinstance(value, float):
        number = value
    elif type(value) is int and 0 <= value <= 2**53:
        number = value
    elif is_real_array(value) and cnp.PyArray_NDIM(<cnp.ndarray>value) > 0:
        return value if is_at_least(<cnp.ndarray>value, least_threshold(huber)) else None
    else:
        return None
    return number if number >= FLT_MIN or number == 0.0 and not huber else None


cdef inline list operands_of(
    object input, object target, object threshold, bint huber, object weight, object where,
    object factor,
):
    """The fields of ``Operands``, of one shape and checked; None in doubt."""
    cdef cnp.ndarray x, y
    cdef list found
    cdef int i
    limit = plain_threshold(threshold, huber)
    if limit is None or not (is_real_array(input) and is_real_array(target)):
        return None
    x, y = input, target
    if cnp.PyArray_NDIM(x) == 0:
        x = spread(x, y)
    else:
        y = spread(y, x)
        if y is not target and cnp.PyArray_NDIM(<cnp.ndarray>target) > 0:
            return None
    if x is None or y is None:
        return None
    found = [x, y, limit, huber, weight, where, factor, dtype_of_loss(x, y)]
    for i in (THRESHOLD, WEIGHT, WHERE, FACTOR):
        value = found[i]
        if value is None or i == THRESHOLD and type(value) is float:
            continue
        if not is_real_array(value) or i == WHERE and (
            cnp.PyArray_TYPE(<cnp.ndarray>value) != cnp.NPY_BOOL
        ):
            return None
        found[i] = spread(<cnp.ndarray>value, x)
        if found[i] is None:
            return None
    return found
