"""Smooth L1 and Huber loss for other Cython code: inline functions without GIL or objects.

    from smoothl1._smoothl1 cimport smooth_l1_slope, smooth_l1_values

A module that cimports them needs smoothl1 to be compiled, not to run. ``floating`` is float or
double, and the type of the result. With d = input - target, for a single element:

    floating smooth_l1_value(floating d, double beta)       as smooth_l1_loss(..., "none", beta)
    floating smooth_l1_slope(floating d, double beta)       as smooth_l1_grad(..., "none", beta)
    floating smooth_l1_curvature(floating d, double beta)   as smooth_l1_grad_hess(..., beta)[1]
    floating smooth_l1_majorizer(floating d, double beta)   the same with hessian="majorizer"
    floating huber_value(floating d, double delta)          as huber_loss(..., "none", delta)
    floating huber_slope(floating d, double delta)          as huber_grad(..., "none", delta)
    floating huber_curvature(floating d, double delta)      1 if |d| < delta else 0
    floating huber_majorizer(floating d, double delta)      min(1, delta / |d|)

For n contiguous elements the names are plural, and ``out`` may be ``input`` or ``target``:

    void smooth_l1_values(const floating* input, const floating* target, Py_ssize_t n,
                          double beta, floating* out)

Nothing is checked: beta is to be >= 0 (0 and infinity are fine), delta > 0. Both are rounded to
``floating``, as the Python functions round them to the working dtype.

The results have the bits of the Python functions, on every instruction set, if the C compiler is
given ``-ffp-contract=off``, and not ``-ffast-math``: GCC would otherwise merge a product and a sum
around them (``x[i] * w - y[i]``) into one rounding where the processor can. ``-O3
-fno-trapping-math`` changes no bit and lets GCC vectorise loops over them, the blocks included.

There is no sum: the one of the Python functions is compensated and summed by a tree, too much to
inline, and a plain one is a loop of the caller's, as fast as it would be here.

These names are public. The formulas below that they share with the kernels in
``src`` (piece, value, slope, clip, curvature, majorizer, half_of) are not.
"""

cimport cython
from libc.math cimport INFINITY


ctypedef fused floating:
    float
    double


# ---------------------------------------------------------------------------
# Formulas
# ---------------------------------------------------------------------------
# d = input - target, z = |d|. One set of formulas serves both losses:
#
#     smooth_l1(z; beta) :  ratio = z / beta,  gain = 1      (quadratic: z**2 / (2 beta))
#     huber(z; delta)    :  ratio = z,         gain = delta  (quadratic: z**2 / 2)
#
# The caller passes ``ratio`` because it alone knows whether the division can be a
# multiplication: by 1/beta where that is exact (same bits), by 1 for Huber. Every
# selection is written so that NaN takes a branch that returns NaN. Division by 0 gives what
# C gives, whatever the directives of the module that cimports: hence the decorators.

cdef inline floating piece(
    floating z, floating quadratic, floating beta, floating half, floating gain
) noexcept nogil:
    return quadratic if z < beta else gain * (z - half)


cdef inline floating value(
    floating z, floating ratio, floating beta, floating half, floating gain
) noexcept nogil:
    """The loss. (z / 2) * (z / beta) neither overflows nor underflows where z**2 would."""
    return piece(z, <floating>0.5 * z * ratio, beta, half, gain)


cdef inline floating slope(
    floating d, floating ratio, floating beta, floating scale, floating edge
) noexcept nogil:
    """The gradient times scale; edge = gain * scale is its bound. sign(0) = 0."""
    return ratio * scale if abs(d) < beta else (edge if d > 0 else (-edge if d < 0 else d))


cdef inline floating clip(floating d, floating beta) noexcept nogil:
    """d between -beta and beta: slope * beta / scale for 0 < beta < inf, in two instructions."""
    cdef floating below = beta if d > beta else d
    return -beta if below < -beta else below


cdef inline floating curvature(
    floating z, floating beta, floating inside
) noexcept nogil:
    """The second derivative: ``inside`` where z < beta, else 0."""
    return inside if z < beta else (<floating>0 if z >= beta else z)


@cython.cdivision(True)
cdef inline floating majorizer(floating z, floating beta, floating gain) noexcept nogil:
    """Curvature of the parabola that touches the loss at +-z and lies above it."""
    return gain / (beta if z < beta else z)


cdef inline floating half_of(floating beta) noexcept nogil:
    """beta / 2; 0 for beta = inf, so that a residual of inf stays inf, not inf - inf."""
    return <floating>0.5 * beta if beta < <floating>INFINITY else <floating>0


# ---------------------------------------------------------------------------
# Single elements
# ---------------------------------------------------------------------------

@cython.cdivision(True)
cdef inline floating smooth_l1_value(floating d, double beta) noexcept nogil:
    cdef floating z = abs(d), b = <floating>beta
    return value(z, z / b, b, half_of(b), <floating>1)


@cython.cdivision(True)
cdef inline floating smooth_l1_slope(floating d, double beta) noexcept nogil:
    cdef floating b = <floating>beta
    return slope(d, d / b, b, <floating>1, <floating>1)


@cython.cdivision(True)
cdef inline floating smooth_l1_curvature(floating d, double beta) noexcept nogil:
    cdef floating b = <floating>beta
    return curvature(abs(d), b, <floating>1 / b)


cdef inline floating smooth_l1_majorizer(floating d, double beta) noexcept nogil:
    return majorizer(abs(d), <floating>beta, <floating>1)


cdef inline floating huber_value(floating d, double delta) noexcept nogil:
    cdef floating z = abs(d), b = <floating>delta
    return value(z, z, b, half_of(b), b)


cdef inline floating huber_slope(floating d, double delta) noexcept nogil:
    return clip(d, <floating>delta)


cdef inline floating huber_curvature(floating d, double delta) noexcept nogil:
    return curvature(abs(d), <floating>delta, <floating>1)


cdef inline floating huber_majorizer(floating d, double delta) noexcept nogil:
    cdef floating z = abs(d), b = <floating>delta
    return <floating>1 if z < b else majorizer(z, b, b)  # for delta = inf, too


# ---------------------------------------------------------------------------
# Blocks
# ---------------------------------------------------------------------------

cdef inline void smooth_l1_values(
    const floating* input, const floating* target, Py_ssize_t n, double beta, floating* out
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = smooth_l1_value(input[i] - target[i], beta)


@cython.cdivision(True)
cdef inline void smooth_l1_slopes(
    const floating* input, const floating* target, Py_ssize_t n, double beta, floating* out
) noexcept nogil:
    cdef floating b = <floating>beta
    cdef Py_ssize_t i
    if 0 < b < <floating>INFINITY:  # the same bits in half the time
        for i in range(n):
            out[i] = clip(input[i] - target[i], b) / b
    else:
        for i in range(n):
            out[i] = smooth_l1_slope(input[i] - target[i], beta)


cdef inline void smooth_l1_curvatures(
    const floating* input, const floating* target, Py_ssize_t n, double beta, floating* out
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = smooth_l1_curvature(input[i] - target[i], beta)


cdef inline void smooth_l1_majorizers(
    const floating* input, const floating* target, Py_ssize_t n, double beta, floating* out
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = smooth_l1_majorizer(input[i] - target[i], beta)


cdef inline void huber_values(
    const floating* input, const floating* target, Py_ssize_t n, double delta, floating* out
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = huber_value(input[i] - target[i], delta)


cdef inline void huber_slopes(
    const floating* input, const floating* target, Py_ssize_t n, double delta, floating* out
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = huber_slope(input[i] - target[i], delta)


cdef inline void huber_curvatures(
    const floating* input, const floating* target, Py_ssize_t n, double delta, floating* out
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = huber_curvature(input[i] - target[i], delta)


cdef inline void huber_majorizers(
    const floating* input, const floating* target, Py_ssize_t n, double delta, floating* out
) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = huber_majorizer(input[i] - target[i], delta)
