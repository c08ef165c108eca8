"""The Huber location and the line search: their arrays of float64, for ``location.pxd``.

What is computed is there; here are arrays checked, memory, and the GIL.
"""

from libc.stdlib cimport free

cimport numpy as cnp

from location cimport SAMPLE, locate, slope_and_curvature
from plain cimport PyArray_ISCARRAY_RO
from team cimport allocate


cdef inline double location_of(cnp.ndarray y, cnp.ndarray weight, double beta) except? -1:
    """The location; ``weight`` may be None. Both arrays are overwritten."""
    cdef double* w = NULL
    cdef double result
    if weight is not None:
        w = <double*>cnp.PyArray_DATA(weight)
    cdef double* space = <double*>allocate(4 * SAMPLE * sizeof(double))
    try:
        with nogil:
            result = locate(<double*>cnp.PyArray_DATA(y), w, cnp.PyArray_SIZE(y), beta, space)
    finally:
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
