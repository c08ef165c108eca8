"""The Huber location and the line search: their arrays of float64, for ``location.pxd``.

What is computed is there; here are arrays checked, memory, and the GIL.
"""

from libc.stdlib cimport free

cimport numpy as cnp

from bracket cimport smoothl1_extent
from location cimport SPARE, locate, slope_and_curvature
from plain cimport PyArray_ISCARRAY_RO
from prediction cimport LARGEST_SAMPLE
from team cimport allocate


cdef inline bint is_finite(cnp.ndarray a) except -1:
    """Whether all elements of a contiguous array of float64 are finite."""
    cdef double smallest, largest
    cdef const double* data = <const double*>cnp.PyArray_DATA(a)
    cdef Py_ssize_t n = cnp.PyArray_SIZE(a)
    cdef bint finite
    if cnp.PyArray_TYPE(a) != cnp.NPY_FLOAT64 or not PyArray_ISCARRAY_RO(a):
        raise ValueError("a must be a contiguous array of float64")
    with nogil:
        finite = smoothl1_extent(data, n, &smallest, &largest)
    return finite


cdef inline double location_of(cnp.ndarray y, cnp.ndarray weight, double beta) except? -1:
    """The location; ``weight`` may be None, else both arrays are overwritten."""
    cdef const double* data = <const double*>cnp.PyArray_DATA(y)
    cdef double* w = NULL
    cdef double* space = NULL
    cdef double* kept_y = NULL
    cdef double* kept_w = NULL
    cdef Py_ssize_t n = cnp.PyArray_SIZE(y), size = (n + SPARE) * sizeof(double)
    cdef double result
    try:
        space = <double*>allocate(2 * LARGEST_SAMPLE * sizeof(double))
        kept_y = <double*>allocate(size)  # mostly little of it is touched
        if weight is not None:
            w = <double*>cnp.PyArray_DATA(weight)
            kept_w = <double*>allocate(size)
        with nogil:
            result = locate(data, w, n, beta, kept_y, kept_w, space)
    finally:
        free(kept_y)
        free(kept_w)
        free(space)
    return result


cdef inline tuple derivatives_of(
    cnp.ndarray residual, cnp.ndarray direction, cnp.ndarray weight, double step, double beta
):
    """First and second derivative along a line; ``ValueError`` unless the arrays are alike."""
    cdef Py_ssize_t n = cnp.PyArray_SIZE(residual)
    cdef double first, second
    cdef cnp.ndarray a
    for a in (residual, direction, weight):
        if (
            cnp.PyArray_TYPE(a) != cnp.NPY_FLOAT64 or cnp.PyArray_NDIM(a) != 1
            or not PyArray_ISCARRAY_RO(a) or cnp.PyArray_SIZE(a) != n
        ):
            raise ValueError(
                "residual, direction and weight must be contiguous float64 arrays of one length"
            )
    with nogil:
        slope_and_curvature(
            <double*>cnp.PyArray_DATA(residual), <double*>cnp.PyArray_DATA(direction),
            <double*>cnp.PyArray_DATA(weight), n, step, beta, &first, &second,
        )
    return first, second
