"""A regressor in Cython, and all functions of ``smoothl1/_smoothl1.pxd`` over arrays."""

from smoothl1._smoothl1 cimport (
    floating,
    huber_curvature,
    huber_curvatures,
    huber_majorizer,
    huber_majorizers,
    huber_slope,
    huber_slopes,
    huber_value,
    huber_values,
    smooth_l1_curvature,
    smooth_l1_curvatures,
    smooth_l1_majorizer,
    smooth_l1_majorizers,
    smooth_l1_slope,
    smooth_l1_slopes,
    smooth_l1_value,
    smooth_l1_values,
)


def elements(
    const floating[::1] input, const floating[::1] target, double beta, floating[:, ::1] out
):
    """Each function of a single element, a row each."""
    cdef Py_ssize_t i
    cdef floating d
    with nogil:
        for i in range(input.shape[0]):
            d = input[i] - target[i]
            out[0, i] = smooth_l1_value(d, beta)
            out[1, i] = smooth_l1_slope(d, beta)
            out[2, i] = smooth_l1_curvature(d, beta)
            out[3, i] = smooth_l1_majorizer(d, beta)
            out[4, i] = huber_value(d, beta)
            out[5, i] = huber_slope(d, beta)
            out[6, i] = huber_curvature(d, beta)
            out[7, i] = huber_majorizer(d, beta)


def blocks(
    const floating[::1] input, const floating[::1] target, double beta, floating[:, ::1] out
):
    """Each function of a block, a row each."""
    cdef Py_ssize_t n = input.shape[0]
    cdef const floating* x = &input[0]
    cdef const floating* y = &target[0]
    with nogil:
        smooth_l1_values(x, y, n, beta, &out[0, 0])
        smooth_l1_slopes(x, y, n, beta, &out[1, 0])
        smooth_l1_curvatures(x, y, n, beta, &out[2, 0])
        smooth_l1_majorizers(x, y, n, beta, &out[3, 0])
        huber_values(x, y, n, beta, &out[4, 0])
        huber_slopes(x, y, n, beta, &out[5, 0])
        huber_curvatures(x, y, n, beta, &out[6, 0])
        huber_majorizers(x, y, n, beta, &out[7, 0])


def epoch(const double[::1, :] X, double[::1] residual, double[::1] coef, double beta):
    """One pass of coordinate descent on the mean of smooth_l1(X @ coef - y; beta).

    Each step minimises the parabola in one coefficient that touches the loss and lies above it.
    ``residual`` is X @ coef - y, and is kept so.
    """
    cdef double slope, curvature, step
    cdef Py_ssize_t i, j
    with nogil:
        for j in range(X.shape[1]):
            slope = curvature = 0.0
            for i in range(X.shape[0]):
                slope += X[i, j] * smooth_l1_slope(residual[i], beta)
                curvature += X[i, j] * X[i, j] * smooth_l1_majorizer(residual[i], beta)
            step = slope / curvature
            coef[j] -= step
            for i in range(X.shape[0]):
                residual[i] -= step * X[i, j]
