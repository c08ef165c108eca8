"""What exact sums must give, by fractions."""

import math
from fractions import Fraction

import numpy as np


def terms_of(x, y, beta, huber, dtype):
    """The terms of a sum, and the factors of the way to the loss: (terms, over, offset).

    loss = sum(terms) / over - offset * (weight in the linear piece), as ``src/terms.pxd`` says.
    """
    with np.errstate(all="ignore"):
        z = np.abs(np.subtract(x, y, dtype=dtype))
        b = dtype(beta)
        mantissa, exponent = math.frexp(float(b))
        inverse = dtype(1) if huber else dtype(1) / b if b > 0 else dtype(0)
        half = dtype(0.5)
        limit = 2.0 ** (101 if dtype == np.float32 else 968)
        if mantissa == 0.5 and 0 < inverse <= limit:
            m = np.where(z < b, z, b)
            return (m * inverse) * (z - half * m), Fraction(1), Fraction(0)
        if huber:
            s, c, over = 0.25, half * b, Fraction(1, 2)
        elif b == 0 or np.isinf(b):
            s, c, over = 0.0, dtype(1 if b == 0 else 0.5), Fraction(1 if b == 0 else 0.5)
        else:
            s, c, over = float(np.ldexp(0.5, -exponent)), dtype(mantissa), Fraction(mantissa)
        offset = Fraction(0)
        if np.isfinite(b):
            offset = Fraction(float(b)) ** (2 if huber else 1) / 2
        if s > np.finfo(dtype).max:  # a subnormal threshold
            return np.where(z < b, half * z * (z / b), z), Fraction(1), offset
        u = z * dtype(s)
        return z * np.where(z < b, u, c), over, offset


def divided(total, by, dtype):
    """The float nearest to a quotient of fractions; ties go to even."""
    exact = Fraction(total) / by
    if exact == 0:
        return dtype(0)
    with np.errstate(all="ignore"):
        try:
            near = dtype(float(exact))
        except OverflowError:
            near = dtype(math.inf if exact > 0 else -math.inf)
        candidates = [np.nextafter(near, dtype(-np.inf)), near, np.nextafter(near, dtype(np.inf))]
    # An infinity stands for the next power of two.
    info = np.finfo(dtype)
    past = 2 * Fraction(float(2.0 ** (info.maxexp - 1)))

    def value(a):
        return Fraction(float(a)) if np.isfinite(a) else int(np.sign(a)) * past

    def odd(a):
        bits = a.view({2: np.uint16, 4: np.uint32, 8: np.uint64}[a.itemsize])
        return int(bits) & 1

    candidates = [a for a in candidates if not np.isnan(a)]
    return min(candidates, key=lambda a: (abs(value(a) - exact), odd(a)))


def total_of(values):
    """The exact sum of floats, as a fraction."""
    values = values[values != 0].astype(np.float64)
    if not values.size:
        return Fraction(0)
    mantissas, exponents = np.frexp(values)
    low = int(exponents.min())
    pairs = zip((mantissas * 2.0**53).astype(np.int64).tolist(), exponents.tolist(), strict=True)
    return Fraction(sum(mantissa << (exponent - low) for mantissa, exponent in pairs)) * (
        Fraction(2) ** (low - 53)
    )


def loss(x, y, reduction, beta, huber, dtype, weight=None, where=None, result=None):
    """The reduced loss: exact, then rounded once, to ``result`` or ``dtype``."""
    x, y = np.broadcast_arrays(np.asarray(x, dtype), np.asarray(y, dtype))
    result = dtype if result is None else result
    terms, over, offset = terms_of(x, y, beta, huber, dtype)
    with np.errstate(all="ignore"):
        z = np.abs(np.subtract(x, y, dtype=dtype))
        w = np.ones_like(x) if weight is None else np.broadcast_to(weight, x.shape).astype(dtype)
        terms = terms * w if weight is not None else terms
    chosen = np.ones(x.shape, bool) if where is None else np.broadcast_to(where, x.shape)
    terms, w, z = terms[chosen], w[chosen], z[chosen]
    special = terms[~np.isfinite(terms)]
    if special.size:
        with np.errstate(all="ignore"):
            total = special.sum()
            mass = {"mean": 1.0, "sum": 1.0, "weighted_mean": w.astype(np.float64).sum()}
            return result(total / mass[reduction])
    total = total_of(terms) / over
    linear = ~(z < dtype(beta))
    total -= offset * total_of(w[linear])
    mass = total_of(w)
    return divided(total, {"mean": terms.size, "sum": 1, "weighted_mean": mass}[reduction], result)


def hostile(rng, n, dtype, spread=None):
    """Numbers whose exponents are anywhere, both signs, with what else there is."""
    info = np.finfo(dtype)
    if spread is None:
        spread = int(rng.choice([1, 10, 23, 40, 70, 150, 300, 2000]))
    low, high = info.minexp - info.nmant, info.maxexp - 8
    centre = int(rng.integers(low, high))
    exponents = np.clip(rng.integers(-spread, spread + 1, n) + centre, low, high)
    with np.errstate(all="ignore"):
        values = np.ldexp(rng.uniform(0.5, 1, n) * rng.choice([-1, 1], n), exponents)
        values = values.astype(dtype)
    kind = rng.integers(4)
    if kind == 1 and n:  # few bits: sums that are representable, and ties
        values = (rng.integers(-8, 9, n) * 2.0 ** int(rng.integers(-20, 20))).astype(dtype)
    elif kind == 2 and n:
        values[rng.integers(0, n, n // 4)] = info.smallest_subnormal
    elif kind == 3 and n:
        values[rng.integers(0, n, n // 4)] = 0
    return values
