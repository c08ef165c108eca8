"""Slow, obviously right twins of the functions, and ways to compare with them."""

import math
from fractions import Fraction

import numpy as np


def values(input, target, beta=1.0, huber=False, weight=None):
    """The loss of each element by the textbook formula, in the dtype of the inputs."""
    with np.errstate(all="ignore"):
        z = np.abs(np.subtract(input, target))
        beta = z.dtype.type(beta)
        quadratic = z * z / 2 if huber else z * z / (2 * beta)
        linear = (beta if huber else 1) * (z - beta / 2)
        loss = np.where(z < beta, quadratic, linear)
        return loss if weight is None else loss * weight


def slopes(input, target, beta=1.0, huber=False):
    """The gradient of each element, in the dtype of the inputs."""
    with np.errstate(all="ignore"):
        d = np.subtract(input, target)
        if huber:
            return np.clip(d, -d.dtype.type(beta), d.dtype.type(beta))
        if beta == 0:
            return np.sign(d)
        return np.clip(d / d.dtype.type(beta), -1, 1)


def exact_value(z, beta, huber=False):
    """The loss as a fraction; z and beta are finite floats."""
    z, beta = Fraction(float(z)), Fraction(float(beta))
    if z < beta:
        return z * z / 2 if huber else z * z / (2 * beta)
    return (beta if huber else 1) * (z - beta / 2)


def exact_slope(d, beta, huber=False):
    """The gradient as a fraction."""
    d, beta = Fraction(float(d)), Fraction(float(beta))
    if abs(d) < beta:
        return d if huber else d / beta
    return ((d > 0) - (d < 0)) * (beta if huber else 1)


def ulp(exact, dtype):
    """The spacing of dtype at a fraction."""
    dtype = np.dtype(dtype)
    info = np.finfo(dtype)
    smallest = Fraction(float(info.smallest_subnormal))
    if exact == 0:
        return smallest
    magnitude = abs(exact)
    exponent = magnitude.numerator.bit_length() - magnitude.denominator.bit_length()
    if Fraction(2) ** exponent > magnitude:
        exponent -= 1
    return max(Fraction(2) ** (exponent - info.nmant), smallest)


def ulp_error(got, exact, dtype):
    """|got - exact| in units of the last place of exact."""
    if not math.isfinite(got):
        top = Fraction(float(np.finfo(dtype).max))
        return 0.0 if abs(exact) >= top and (got > 0) == (exact > 0) else math.inf
    return float(abs(Fraction(float(got)) - exact) / ulp(exact, dtype))


def exact_sum(fractions):
    """The sum of fractions, pairwise so that the denominators stay small."""
    terms = list(fractions)
    while len(terms) > 1:
        terms = [
            terms[i] + terms[i + 1] if i + 1 < len(terms) else terms[i]
            for i in range(0, len(terms), 2)
        ]
    return terms[0] if terms else Fraction(0)


def fsum_pair(terms):
    """The sum of longdouble terms, as a fraction good to some 100 bits."""
    high = terms.astype(np.float64)
    low = (terms - high).astype(np.float64)
    parts = np.concatenate([high, low])
    first = math.fsum(parts)
    second = math.fsum(np.append(parts, -first))
    return Fraction(first) + Fraction(second)
