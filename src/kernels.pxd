"""Kernels: plain typed loops over contiguous elements, which the compiler vectorises.

Each computes one thing, of arrays in the working dtype. No branch inside a loop that cannot
become a selection; which loop runs is decided outside. They know neither layouts nor threads.
"""

from libc.math cimport INFINITY, NAN, copysign, copysignf, isfinite
from libc.stdint cimport int32_t, int64_t, uint8_t

from smoothl1._smoothl1 cimport (
    clip, curvature, floating, half_of, majorizer, piece, slope, value,
)
from terms cimport (
    Gradient, PAIR, PRODUCT, Params, huber_offset, huber_term, is_linear, pair_term, product_term,
    quotient, smooth_offset, smooth_term,
)


cdef inline Py_ssize_t write_terms(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n,
    const Params* p, floating* terms,
) noexcept nogil:
    """The terms of a sum; returns, for PAIR, the number of elements in the linear piece."""
    cdef floating beta = <floating>p.beta, s = <floating>p.s, c = <floating>p.c
    cdef floating z
    cdef bint huber = p.huber
    cdef int32_t linear = 0
    cdef Py_ssize_t i
    if p.form == PRODUCT:
        for i in range(n):
            terms[i] = product_term(abs(x[i] - y[i]), beta, s)
    elif p.form == PAIR:
        for i in range(n):
            z = abs(x[i] - y[i])
            terms[i] = pair_term(z, beta, s, c)
            linear += not z < beta
    elif huber:
        for i in range(n):
            terms[i] = huber_term(abs(x[i] - y[i]), b[i])
    else:
        for i in range(n):
            terms[i] = smooth_term(abs(x[i] - y[i]), b[i])
    return linear


cdef inline void write_offsets(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n,
    const Params* p, floating* offsets,
) noexcept nogil:
    """What is to be subtracted from the terms: as PAIR counts it, or, for ARRAY, twice it."""
    cdef floating beta = <floating>p.beta
    cdef bint huber = p.huber
    cdef Py_ssize_t i
    if p.form == PAIR:
        for i in range(n):
            offsets[i] = is_linear(abs(x[i] - y[i]), beta)
    elif huber:
        for i in range(n):
            offsets[i] = huber_offset(abs(x[i] - y[i]), b[i])
    else:
        for i in range(n):
            offsets[i] = smooth_offset(abs(x[i] - y[i]), b[i])


cdef inline void write_values(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n,
    const Params* p, floating* out,
) noexcept nogil:
    cdef floating beta = <floating>p.beta, half = <floating>p.half
    cdef floating gain = <floating>p.gain, inverse = <floating>p.inverse
    cdef floating reciprocal = <floating>p.reciprocal, low = <floating>p.low
    cdef floating rest = <floating>p.rest, z, t, g, divisor, ratio
    cdef bint huber = p.huber
    cdef Py_ssize_t i
    if b is not NULL:
        for i in range(n):
            t = b[i]
            z = abs(x[i] - y[i])
            g = t if huber else <floating>1
            divisor = <floating>1 if huber else t
            out[i] = value(z, z / divisor, t, half_of(t), g)
    elif p.quick:
        # z / (2 beta) is half of z / beta to the last bit, where the loss is not 0.
        for i in range(n):
            z = abs(x[i] - y[i])
            ratio = quotient(z, 2 * beta, reciprocal / 2, low / 2, rest / 2)
            out[i] = piece(z, z * ratio, beta, half, <floating>1)
    elif p.divide:  # Huber's loss never does: the gain is 1
        for i in range(n):
            z = abs(x[i] - y[i])
            out[i] = value(z, z / beta, beta, half, <floating>1)
    else:
        for i in range(n):
            z = abs(x[i] - y[i])
            out[i] = value(z, z * inverse, beta, half, gain)


cdef inline floating with_sign(floating size, floating d) noexcept nogil:
    if floating is float:
        return copysignf(size, d)
    else:
        return copysign(size, d)


cdef inline void write_products(
    const floating* x, const floating* y, Py_ssize_t n, floating beta, const Gradient* how,
    floating* out,
) noexcept nogil:
    """The gradient as a product: exactly ``edge`` in the linear piece, and nowhere more."""
    cdef floating factor = <floating>how.factor, edge = <floating>abs(how.edge)
    cdef floating sign = <floating>1 if how.edge > 0 else <floating>-1, d, z, g
    cdef Py_ssize_t i
    if how.exact:  # so is the product at beta
        for i in range(n):
            out[i] = clip(x[i] - y[i], beta) * factor
        return
    factor *= sign
    for i in range(n):
        d = x[i] - y[i]
        z = abs(d)
        g = z * factor
        g = edge if g > edge else g
        g = edge if z >= beta else g
        out[i] = with_sign(g, d * sign)


cdef inline bint write_quick_slopes(
    const floating* x, const floating* y, Py_ssize_t n, const Params* p, floating scale,
    floating* out,
) noexcept nogil:
    """The gradient without a division; returns whether a difference was too small for that."""
    cdef floating beta = <floating>p.beta, least = <floating>p.least
    cdef floating reciprocal = <floating>p.reciprocal, low = <floating>p.low
    cdef floating rest = <floating>p.rest, d
    cdef int32_t small = 0
    cdef int64_t small64 = 0  # as wide as the numbers, which the loop is the faster for
    cdef Py_ssize_t i
    for i in range(n):
        d = clip(x[i] - y[i], beta)
        if floating is float:
            small |= (abs(d) < least) & (d != 0)
        else:
            small64 |= (abs(d) < least) & (d != 0)
        out[i] = quotient(d, beta, reciprocal, low, rest) * scale
    return small != 0 or small64 != 0


cdef inline void write_slopes(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n,
    const Params* p, const Gradient* how, floating* out,
) noexcept nogil:
    cdef floating beta = <floating>p.beta, inverse = <floating>p.inverse
    cdef floating scale = <floating>how.scale, edge = <floating>(p.gain * how.scale)
    cdef floating d, t, divisor
    cdef bint huber = p.huber
    cdef Py_ssize_t i
    if b is not NULL:
        for i in range(n):
            t = b[i]
            d = x[i] - y[i]
            divisor = <floating>1 if huber else t
            out[i] = slope(d, d / divisor, t, scale, t * scale if huber else scale)
    elif how.product:
        write_products(x, y, n, beta, how, out)
    elif p.divide:
        if p.quick and scale == 1:  # a product less
            if not write_quick_slopes(x, y, n, p, <floating>1, out):
                return
        elif p.quick and not write_quick_slopes(x, y, n, p, scale, out):
            return
        for i in range(n):
            out[i] = clip(x[i] - y[i], beta) / beta * scale
    elif beta > 0 and beta < <floating>INFINITY:
        for i in range(n):
            out[i] = clip(x[i] - y[i], beta) * inverse * scale
    else:
        for i in range(n):
            d = x[i] - y[i]
            out[i] = slope(d, d * inverse, beta, scale, edge)


cdef inline void write_curvatures(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n,
    const Params* p, bint majorize, floating* out,
) noexcept nogil:
    cdef floating beta = <floating>p.beta, gain = <floating>p.gain
    cdef floating t, g
    cdef floating inside = <floating>1 if p.huber else <floating>1 / beta
    cdef bint huber = p.huber
    cdef Py_ssize_t i
    if b is not NULL:
        for i in range(n):
            t = b[i]
            if majorize:
                g = t if huber else <floating>1
                out[i] = majorizer(abs(x[i] - y[i]), t, g)
            else:
                g = <floating>1 if huber else t
                out[i] = curvature(abs(x[i] - y[i]), t, <floating>1 / g)
    elif majorize:
        for i in range(n):
            out[i] = majorizer(abs(x[i] - y[i]), beta, gain)
    else:
        for i in range(n):
            out[i] = curvature(abs(x[i] - y[i]), beta, inside)


cdef inline double count_below(
    const floating* x, const floating* y, Py_ssize_t n, const Params* p
) noexcept nogil:
    cdef floating beta = <floating>p.beta
    cdef int32_t count = 0
    cdef Py_ssize_t i
    for i in range(n):
        count += abs(x[i] - y[i]) < beta
    return count


cdef inline void multiply(floating* a, const floating* b, Py_ssize_t n) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        a[i] = a[i] * b[i]


cdef inline void multiply_scaled(
    floating* a, const floating* b, double scale, Py_ssize_t n
) noexcept nogil:
    """a times b times scale, for a scale far from 1: weights over their sum are near 1."""
    cdef Py_ssize_t i
    for i in range(n):
        a[i] = a[i] * <floating>(b[i] * scale)


cdef inline void select(floating* a, const uint8_t* mask, Py_ssize_t n) noexcept nogil:
    """Clear what is not selected, NaN included."""
    cdef Py_ssize_t i
    for i in range(n):
        a[i] = a[i] if mask[i] else <floating>0


cdef inline void copy_selected(
    const floating* a, const uint8_t* mask, Py_ssize_t n, floating* out
) noexcept nogil:
    """The same to other memory."""
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = a[i] if mask[i] else <floating>0


cdef inline void weigh(
    floating* a, const floating* weight, const uint8_t* mask, Py_ssize_t n
) noexcept nogil:
    if weight is not NULL:
        multiply(a, weight, n)
    if mask is not NULL:
        select(a, mask, n)


cdef inline Py_ssize_t count_selected(const uint8_t* mask, Py_ssize_t n) noexcept nogil:
    """In bytes for as long as none of them wraps: sixteen times as many at once as in integers."""
    cdef uint8_t counts[64]
    cdef Py_ssize_t i = 0, stop, total = 0
    cdef int k
    while n - i >= 64:
        stop = i + 255 * 64 if n - i > 255 * 64 else n - (n - i) % 64
        for k in range(64):
            counts[k] = 0
        while i < stop:
            for k in range(64):
                counts[k] += mask[i + k] != 0
            i += 64
        for k in range(64):
            total += counts[k]
    while i < n:
        total += mask[i] != 0
        i += 1
    return total


cdef inline void fill(floating a, Py_ssize_t n, floating* out) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(n):
        out[i] = a


# Where a difference overflows, its half does not; and value, slope and curvature of halves are
# those of the whole but for powers of two.

cdef inline bint any_overflow(
    const floating* x, const floating* y, Py_ssize_t n
) noexcept nogil:
    cdef int32_t count = 0
    cdef Py_ssize_t i
    for i in range(n):
        count += abs(x[i] - y[i]) == <floating>INFINITY
    return count > 0


cdef inline floating half_difference(
    const floating* x, const floating* y, Py_ssize_t i
) noexcept nogil:
    """Half of a difference of finite numbers that overflows; else NaN."""
    if abs(x[i] - y[i]) == <floating>INFINITY and isfinite(x[i]) and isfinite(y[i]):
        return <floating>0.5 * x[i] - <floating>0.5 * y[i]
    return <floating>NAN


cdef inline void mend_values(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n, const Params* p,
    floating* out,
) noexcept nogil:
    cdef floating d, t
    cdef Py_ssize_t i
    if not p.mends or not any_overflow(x, y, n):
        return
    for i in range(n):
        d = half_difference(x, y, i)
        if d == d:
            t = <floating>0.5 * (<floating>p.beta if b is NULL else b[i])
            out[i] = 2 * value(abs(d), abs(d) / t, t, half_of(t), <floating>1)


cdef inline void mend_slopes(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n, const Params* p,
    double scale, floating* out,
) noexcept nogil:
    cdef floating d, t, edge = <floating>scale
    cdef Py_ssize_t i
    if not p.mends or not any_overflow(x, y, n):
        return
    for i in range(n):
        d = half_difference(x, y, i)
        if d == d:
            t = <floating>0.5 * (<floating>p.beta if b is NULL else b[i])
            out[i] = slope(d, d / t, t, edge, edge)


cdef inline void mend_curvatures(
    const floating* x, const floating* y, const floating* b, Py_ssize_t n, const Params* p,
    bint majorize, floating* out,
) noexcept nogil:
    cdef floating d, t
    cdef Py_ssize_t i
    if not p.mends or not any_overflow(x, y, n):
        return
    for i in range(n):
        d = half_difference(x, y, i)
        if d == d:
            t = <floating>0.5 * (<floating>p.beta if b is NULL else b[i])
            if majorize:
                out[i] = majorizer(abs(d), t, <floating>0.5)
            else:
                out[i] = curvature(abs(d), t, <floating>0.5 / t)
