"""How a reduced loss is taken apart into terms, and put together from their sum.

The formulas of single elements are in ``smoothl1/_smoothl1.pxd``; here is what the sum of many
needs beside them: a form of the loss without a division (``make_params`` chooses), and the way
back (``finish``).
"""

from libc.float cimport DBL_MAX, DBL_MIN, FLT_MAX, FLT_MIN
from libc.math cimport INFINITY, fma, frexp, isfinite, isinf, ldexp, nextafter, nextafterf

from pairs cimport Pair, pair_add, pair_of, pair_over, pair_times, two_product
from smoothl1._smoothl1 cimport floating, half_of, value

cdef extern from "fma.h":
    const bint SMOOTHL1_FMA
    float smoothl1_less_halff(float z, float m) noexcept nogil
    double smoothl1_less_half(double z, double m) noexcept nogil
    float smoothl1_overf(float d, float b, float r, float low, float rest) noexcept nogil
    double smoothl1_over(double d, double b, double r, double low, double rest) noexcept nogil


# How a leaf's loss is summed; see ``make_params``.
cdef enum Form:
    PRODUCT
    PAIR
    ARRAY


cdef struct Params:
    double beta      # threshold, rounded to the working dtype
    double mantissa  # beta = mantissa * 2**exponent, as of frexp
    int exponent
    double half      # beta / 2, the offset of the linear piece (0 for beta = inf)
    double gain      # slope of the linear piece
    double inverse   # ratio = z * inverse, if inverse is exact ...
    bint divide      # ... else ratio = z / beta ...
    bint quick       # ... which ``quotient`` may compute, with
    double reciprocal  # 1 / beta, rounded,
    double low       # the same, rounded down,
    double rest      # and what that left,
    double least     # for z = 0 and from here on
    bint huber
    Form form        # of the leaf's sum
    bint single      # the working dtype is float32
    double s         # PRODUCT, PAIR: see there
    double c         # PAIR
    double over      # loss = unit * (terms + linear * offset) / over
    Pair offset
    double unit
    bint mends       # a difference may overflow where neither loss nor slope does


cdef struct Gradient:
    # Scale times the slope, for one threshold for all elements.
    double scale
    double edge      # in the linear piece, in the working dtype as factor is
    double factor    # scale / beta
    bint product     # min(z * factor, edge) is accurate
    bint exact       # beta * factor is edge


# Two ways to write a term of a sum, both without a division.
#
# PRODUCT: with m = min(z, beta) the loss is m (z - m/2) / beta. For beta a power of
# two, z - m/2 is exact in the linear piece and (m s), s = 1 / beta, always is, so a
# term is rounded once. Huber at a power of two: s = 1.
#
# PAIR: for any other beta, z - beta/2 rounds with the same sign for all z of a
# binade, a bias that no summation removes (up to 0.5 ulp of the result). So the
# offset is left out of the terms and counted instead: with s a power of two and
# c = 2 beta s in [0.5, 1),
#     c loss = z u - c beta/2 [z >= beta],   u = z s if z < beta else c,
# and the leaf sums z u and [z >= beta]. Every rounding left is that of a product.
# z u <= c loss + c beta/2, so nothing overflows that the loss itself would not.
# Huber: s = 1/4, c = delta/2, and the sum of z u is half the loss plus offset.

cdef inline floating product_term(floating z, floating beta, floating s) noexcept nogil:
    cdef floating m = z if z < beta else beta
    if floating is float:
        return (m * s) * smoothl1_less_halff(z, m)
    else:
        return (m * s) * smoothl1_less_half(z, m)


cdef inline floating pair_term(floating z, floating beta, floating s, floating c) noexcept nogil:
    cdef floating u = z * s
    return z * (u if z < beta else c)


cdef inline floating quotient(
    floating d, floating beta, floating reciprocal, floating low, floating rest
) noexcept nogil:
    """d / beta, correctly rounded; see ``Params.quick``."""
    if floating is float:
        return smoothl1_overf(d, beta, reciprocal, low, rest)
    else:
        return smoothl1_over(d, beta, reciprocal, low, rest)


cdef inline floating is_linear(floating z, floating beta) noexcept nogil:
    return <floating>0 if z < beta else <floating>1


# ARRAY: a threshold t for each element. In the linear piece the term is z, or z t for Huber; what
# is to be subtracted, t / 2 or t^2 / 2, is summed by itself, twice.

cdef inline floating smooth_term(floating z, floating t) noexcept nogil:
    return value(z, z / t, t, <floating>0, <floating>1)


cdef inline floating smooth_offset(floating z, floating t) noexcept nogil:
    return <floating>0 if z < t else t


cdef inline floating huber_term(floating z, floating t) noexcept nogil:
    return value(z, z, t, <floating>0, t)


cdef inline floating huber_offset(floating z, floating t) noexcept nogil:
    return <floating>0 if z < t else t * t


cdef inline void set_quotient(Params* p) noexcept nogil:
    """Choose between division and ``quotient``, which is out of its depth at extreme thresholds.

    Within these bounds a z below ``least`` gives a loss of 0 either way: only gradients need look.
    """
    cdef int reach = 50 if p.single else 450
    p.quick = SMOOTHL1_FMA and p.divide and ldexp(1.0, -reach) < p.beta < ldexp(1.0, reach)
    p.reciprocal = p.low = p.rest = 0.0
    p.least = ldexp(1.0, -100 if p.single else -966) * (p.beta if p.beta > 1.0 else 1.0)
    if not p.quick:
        return
    if p.single:
        p.reciprocal = p.low = <float>1 / <float>p.beta
        if p.low * p.beta > 1.0:  # exact in float64
            p.low = nextafterf(<float>p.low, 0)
        p.rest = <float>((1.0 - p.low * p.beta) / p.beta)
    else:
        p.reciprocal = p.low = 1.0 / p.beta
        if fma(p.low, p.beta, -1.0) > 0.0:
            p.low = nextafter(p.low, 0.0)
        p.rest = fma(-p.low, p.beta, 1.0) / p.beta


cdef inline double large(bint single) noexcept nogil:
    """From here on a threshold is large: what is below it may overflow, or be scaled to nothing."""
    return ldexp(1.0, 100 if single else 960)


cdef inline void set_threshold(
    Params* p, double beta, bint huber, bint single, bint is_array
) noexcept nogil:
    """What results of single elements need: ``beta`` to ``huber``, ``single`` and ``mends``.

    beta is rounded to the working dtype.
    """
    p.mantissa = frexp(beta, &p.exponent)
    p.mends = not huber and (is_array or beta >= large(single))
    p.beta = beta
    p.huber = huber
    p.single = single
    p.half = half_of[double](beta)
    if single:
        p.half = <float>p.half
    p.gain = beta if huber else 1.0
    # 1/beta is exact for a power of two (or inf) unless it overflows.
    p.inverse = 1.0 if huber else (1.0 / beta if beta > 0.0 else 0.0)
    if single:
        p.inverse = <float>p.inverse
    p.divide = not (
        huber or beta == 0.0
        or (isinf(beta) or p.mantissa == 0.5) and isfinite(p.inverse)
    )
    set_quotient(p)


cdef inline void make_params(
    Params* p, double beta, bint huber, bint single, bint is_array, double shrink
) noexcept nogil:
    """Everything that follows from the threshold and the working dtype.

    IN: beta >= 0, unrounded; huber; single: the working dtype is float32;
    is_array: thresholds come per element, ``beta`` is not looked at;
    shrink: a power of two by which all that the loss is of has been multiplied.
    OUT: p.
    """
    cdef int lift = 0
    if single:
        beta = <float>(shrink * <float>beta)
    else:
        beta = shrink * beta
    p.unit = 1.0 / (shrink * shrink if huber else shrink)
    set_threshold(p, beta, huber, single, is_array)
    p.s = p.c = 0.0  # never garbage: multiplying a subnormal number takes 100 cycles
    p.over = 1.0
    if is_array:
        p.form = ARRAY
    elif p.mantissa == 0.5 and 0.0 < p.inverse <= (ldexp(1.0, 101) if single else ldexp(1.0, 968)):
        # Above, what less_half may round on some sets only would show.
        p.form = PRODUCT
        p.s = p.inverse
    elif huber:
        p.form = PAIR
        p.s = 0.25
        p.c = 0.5 * beta
        p.over = 0.5
    elif beta == 0.0 or isinf(beta):
        # u = z * 0 is below half_c only for finite z and a positive half_c.
        p.form = PAIR
        p.s = 0.0
        p.c = p.over = 1.0 if beta == 0.0 else 0.5
    else:
        p.form = PAIR
        if beta >= large(single):
            lift = 24 if single else 53  # lest z s be subnormal where the loss is not
        p.s = ldexp(0.5, lift - p.exponent)  # 2 beta s = mantissa, but for the lift
        p.c = p.over = ldexp(p.mantissa, lift)
        if p.s > (1.7014118346046923e38 if single else 8.98846567431158e307):
            p.form = ARRAY  # a subnormal beta, whose s is no finite power of two
            p.over = 1.0
    p.offset = pair_of(-0.5)
    if p.form != ARRAY:
        p.offset = pair_times(two_product(-0.5 * p.gain, beta), pair_of(p.over))
        if not isfinite(p.offset.hi + p.offset.lo):
            p.offset = pair_of(0.0)  # the loss of what is beyond overflows, too


cdef inline void make_exact_params(
    Params* p, double beta, bint huber, bint single, bint is_array
) noexcept nogil:
    """The same for exact sums, which reach below the smallest number: PAIR is not lifted there.

    So no term overflows that the loss itself would not.
    """
    make_params(p, beta, huber, single, is_array, 1.0)
    if p.form == PAIR and p.mends and isfinite(p.beta):
        p.c = p.over = p.mantissa
        p.s = ldexp(0.5, -p.exponent)
        p.offset = pair_times(two_product(-0.5, p.beta), pair_of(p.over))


cdef inline Gradient make_gradient(
    double scale, double rest, double divisor, const Params* p
) noexcept nogil:
    """How to multiply slopes by scale + rest / divisor, a double-double.

    A product by scale / beta, rounded once, is within 1.5 ulp of what is exact. It takes the
    place of the quotient, a third of whose instructions it has, but where that is the correctly
    rounded slope itself.
    """
    cdef Gradient g
    cdef double ratio, error
    g.scale = scale
    g.edge = <float>scale if p.single else scale
    if p.huber:
        g.edge = <float>(g.edge * p.beta) if p.single else g.edge * p.beta
        ratio = scale
    else:
        ratio = scale / p.beta
        if p.divide:
            error = (fma(-ratio, p.beta, scale) + rest / divisor) / p.beta
            ratio += error if isfinite(error) else 0.0
    g.factor = <float>ratio if p.single else ratio
    g.exact = not p.divide
    g.product = (
        p.form != ARRAY and not p.mends and 0.0 < p.beta < INFINITY
        and not (p.divide and abs(scale) == 1.0)
        and (FLT_MIN if p.single else DBL_MIN) <= abs(g.factor)
        and abs(g.factor) <= (FLT_MAX if p.single else DBL_MAX)
        and (FLT_MIN if p.single else DBL_MIN) <= abs(g.edge)
        and abs(g.edge) <= (FLT_MAX if p.single else DBL_MAX)
    )
    return g


cdef inline Gradient unscaled() noexcept nogil:
    """Slopes as they are, whatever the threshold."""
    cdef Gradient g
    g.scale = g.edge = g.factor = 1.0
    g.product = g.exact = False
    return g


cdef inline double finish_single(
    double sum, double linear, double offset, double scale
) noexcept nogil:
    """The reduced loss for float32, whose rounding hides those of float64.

    Without a division, and without a branch, so that a row of results vectorises.
    """
    # sum is at least twice what is subtracted, so little cancels.
    cdef double rest = linear * offset if abs(sum) <= DBL_MAX else 0.0
    return (sum + rest) * scale


cdef inline double finish_double(
    Pair sum, Pair linear, Pair offset, Pair divisor
) noexcept nogil:
    """The same for float64 and finite sums, in double-double up to the one rounding."""
    cdef double loss
    sum = pair_over(pair_add(sum, pair_times(linear, offset)), divisor)
    loss = sum.hi + sum.lo
    return loss if abs(loss) <= DBL_MAX else sum.hi


cdef inline double finish(
    Pair sum, Pair linear, Pair divisor, const Params* p
) noexcept nogil:
    """The reduced loss before its one rounding to the working dtype."""
    divisor = pair_times(divisor, pair_of(p.over))
    if p.single:
        return p.unit * finish_single(sum.hi, linear.hi, p.offset.hi, 1.0 / divisor.hi)
    if not isfinite(sum.hi) or not isfinite(divisor.hi) or divisor.hi == 0.0:
        return p.unit * (sum.hi / divisor.hi)
    return p.unit * finish_double(sum, linear, p.offset, divisor)
