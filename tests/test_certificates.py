"""Exact losses of sums that are as exact as their rounding needs: see ``src/certificates.pxd``."""

import numpy as np
import pytest

from smoothl1 import huber_loss, smooth_l1_loss, smooth_l1_path
from smoothl1._simd import core
from tests import exact
from tests.test_exact import same

# What goes through the buffer; a long block behind a short one; several blocks, the last one odd.
SIZES = [64, 1024, 1024 + 4096, 3 * 4096 + 333]


def is_exact(x, reduction="sum", beta=0.0, weight=None):
    """Whether the sums that losses are made of are exact, be it that no others would have done."""
    # Two outputs: sums of a single one are exact here where the fast path has been in doubt.
    x, weight = (None if a is None else np.stack([a, a]) for a in (x, weight))
    work = core.Work(
        x, np.zeros_like(x), betas=[beta], huber=False, single=x.dtype == np.float32,
        weight=weight, n_kept=1,
    )  # fmt: skip
    _, sure, rows = core.exact_losses(work, 0, 2, reduction)
    wanted = core.exact_sums(work, 0, 2, weights=reduction == "weighted_mean")
    assert sure.all() or (rows == wanted).all()
    return bool((rows == wanted).all())


def spread(n, dtype, numbers, others=0):
    """An array of others with some numbers in it, the first one far from the rest."""
    x = np.full(n, others, dtype)
    x[0] = numbers[0]
    x[1 - len(numbers) :] = numbers[1:]
    return x


def check(x, reduction="sum", beta=0.0, weight=None):
    """Compare a loss with what it must be, called in the three ways."""
    expected = exact.loss(x, 0, reduction, beta, False, x.dtype.type, weight)
    zero = np.zeros_like(x)
    got = smooth_l1_loss(x, zero, reduction, beta, weight=weight, exact=True)
    assert same(got, expected)
    twice = [None if a is None else np.stack([a, a]) for a in (x, weight)]
    got = smooth_l1_loss(
        twice[0], np.zeros_like(twice[0]), reduction, beta, weight=twice[1], axis=1, exact=True
    )
    assert same(got, np.stack([expected, expected]))
    path = smooth_l1_path(x, zero, [1.0, beta], reduction, weight=weight, exact=True)
    assert same(path[1], expected)


def halfway(rng, dtype, exponent):
    """A number and half of what lies between it and the next: both end in a bit that is 1."""
    digits = np.finfo(dtype).nmant
    mantissa = int(rng.integers(2**digits, 2 ** (digits + 1))) | 1
    return np.ldexp(dtype(mantissa), exponent), np.ldexp(dtype(1), exponent - 1)


@pytest.mark.parametrize("n", SIZES)
def test_what_is_dropped_decides_the_last_bit(dtype, n):
    # 2**53 + 1 would be rounded to even, which is down.
    large = dtype(2.0 ** (np.finfo(dtype).nmant + 1))
    for tiny in (2.0**-60, 2.0**-126):
        x = spread(n, dtype, [large, 1, tiny])
        assert smooth_l1_loss(x, dtype(0), "sum", 0.0, exact=True) == large + 2
        assert is_exact(x)
        check(x)
        x = spread(n, dtype, [large, 1, -tiny])
        w = np.where(x < 0, dtype(-1), dtype(1))
        assert smooth_l1_loss(x, dtype(0), "sum", 0.0, weight=w, exact=True) == large
        assert is_exact(x, weight=w)
        check(x, weight=w)


@pytest.mark.parametrize("n", SIZES)
def test_what_is_dropped_decides_nothing(dtype, n, rng):
    # Far from a tie: made of windows that do not hold all terms.
    x = spread(n, dtype, [3, 1, 2.0**-120])
    assert not is_exact(x)
    check(x)
    info = np.finfo(dtype)
    x = np.ldexp(rng.uniform(0.5, 1, n), rng.integers(info.minexp, info.maxexp - 30, n)).astype(
        dtype
    )
    assert not is_exact(x)
    check(x, "mean")


@pytest.mark.parametrize("n", SIZES)
def test_next_to_ties_of_any_size(dtype, n, rng):
    info = np.finfo(dtype)
    for exponent in (-900, -500, -149, -120, -30, 0, 60, info.maxexp - info.nmant - 1):
        exponent = max(exponent, info.minexp - info.nmant + 60 * (dtype is np.float64))
        with np.errstate(over="ignore"):
            number, half = halfway(rng, dtype, exponent)
        for below in (1, 20, 40, 45, 70, 95, 130, 900):
            tiny = np.ldexp(half, -below) or info.smallest_subnormal
            for others in (0, 2 * half):
                x = spread(n, dtype, [number, half, tiny], others)
                check(x)
                check(x, weight=np.where(x == tiny, dtype(-1), dtype(1)))
        check(spread(n, dtype, [number, half]))


@pytest.mark.parametrize("n", SIZES)
def test_sums_next_to_overflow(dtype, n):
    top = np.finfo(dtype).max
    half = (top - np.nextafter(top, dtype(0))) / 2  # and more is infinite
    for tiny in (half / 4, dtype(2.0**-40), dtype(1e-30), np.finfo(dtype).smallest_subnormal):
        x = spread(n, dtype, [top, np.nextafter(half, dtype(0)), tiny])
        check(x)
        w = np.where(x == tiny, dtype(-1), dtype(1))
        x = spread(n, dtype, [top, half, tiny])
        assert smooth_l1_loss(x, dtype(0), "sum", 0.0, weight=w, exact=True) == top
        assert is_exact(x, weight=w) or tiny == half / 4
        assert smooth_l1_loss(x, dtype(0), "sum", 0.0, exact=True) == np.inf
        check(x, weight=w)
    # Means of sums beyond the largest number; terms that no window takes as they are.
    x = spread(n, dtype, [top, top, half, 1])
    check(x)
    check(x, "mean")
    x = np.full(n, top)
    check(x, "mean")
    x[n // 2] = np.inf
    check(x)


def test_cancelling_weights(dtype, rng):
    # All that is left is what was dropped.
    for n in (64, 1024, 5000):
        x = np.repeat(rng.standard_normal(n // 2).astype(dtype), 2)
        x[-2:] = 2.0**-100, 2.0**-101
        w = np.tile(np.array([1, -1], dtype), n // 2)
        assert smooth_l1_loss(x, dtype(0), "sum", 0.0, weight=w, exact=True) == dtype(2.0**-101)
        assert is_exact(x, weight=w)
        check(x, weight=w)
        check(x, "mean", 0.37, w)
        x[-2:] = 2.0**-101, 2.0**-100
        assert smooth_l1_loss(x, dtype(0), "sum", 0.0, weight=w, exact=True) == -dtype(2.0**-101)
        x[-2:] = 0
        check(x, weight=w)
        w[0] += 1
        check(x, "weighted_mean", 0.37, w)


@pytest.mark.parametrize("n", [64, 1024, 1024 + 4096, 3 * 4096 + 332])
def test_what_cancelling_leaves_is_rounded_by_windows(dtype, n):
    # Of all terms but one nothing is left; that one ends below the last bit of the windows.
    last = -44 if dtype is np.float32 else -90
    x, w = np.ones(n, dtype), np.tile(np.array([1, -1], dtype), n // 2)
    x[:2] = 1.375 * 2.0**last, 0
    assert smooth_l1_loss(x, dtype(0), "sum", 0.0, weight=w, exact=True) == x[0]
    assert is_exact(x, weight=w)
    check(x, weight=w)
    check(x, "mean", 0.37, w)


def test_many_small_terms_decide_the_last_bit():
    # Each is less than half of what a window of a block holds. Of float64 with two of them, they
    # are less than what is beyond doubt in any case.
    x = np.full(1024, 0.4 * 2.0**-20, np.float32)
    x[:2] = 2.0**24, 1 - 100 * 2.0**-20  # with the others, it is more than a tie
    assert smooth_l1_loss(x, np.zeros_like(x), "sum", 0.0, exact=True) == 2.0**24 + 2
    assert is_exact(x)
    check(x)
    # A long block, of whose terms the first one, a short one, tells how large they are.
    x = np.full(1024 + 4096, 0.4 * 2.0**-17, np.float32)
    x[:1024], x[0], x[1024 : 1024 + 127] = 0, 2.0**24, 2.0**24
    x[-1] = 128 - 2.0**-8
    assert smooth_l1_loss(x, np.zeros_like(x), "sum", 0.0, exact=True) == 2.0**31 + 256
    assert is_exact(x)
    check(x)


def test_midpoints(dtype, rng):
    # Integers, whose sum is a tie as often as not.
    digits = np.finfo(dtype).nmant + 1
    for n in SIZES[1:]:
        for _ in range(5):
            x = rng.integers(0, 2 ** (digits + 1) // n, n).astype(dtype)
            x[0] += 1 - x.astype(np.int64).sum() % 2
            check(x)
            x[n // 2] = 2.0 ** (digits - 1)
            check(x)


@pytest.mark.parametrize("kind", ["outlier", "turns", "falling", "rising", "special"])
def test_blocks_unlike_each_other(dtype, kind, rng):
    # Windows that are too high for a block would leave its sum uncertain; too low, they overflow.
    x = rng.standard_normal((30, 1024)).astype(dtype)
    if kind == "outlier":
        x[0, 5] = 2.0**60
    elif kind == "turns":
        x[::2] *= dtype(2.0**30)
    elif kind == "special":
        x[5:7] = 0
        x[20, 3] = np.inf
    else:
        steps = np.arange(30) if kind == "rising" else -np.arange(30)
        x *= np.ldexp(1.0, 4 * steps)[:, np.newaxis].astype(dtype)
    for beta in (0.0, 0.37, 1.0):
        for function in (smooth_l1_loss, huber_loss)[: 2 if beta else 1]:
            got = function(x, np.zeros_like(x), "mean", beta, exact=True, n_threads=1)
            expected = exact.loss(x.ravel(), 0, "mean", beta, function is huber_loss, dtype)
            assert same(got, expected)
            # Outputs of other sizes after each other: what is known of one is no help for the next.
            rows = np.concatenate([x[:4].ravel(), x[4:8].ravel(), x[-4:].ravel()]).reshape(3, -1)
            losses = function(rows, np.zeros_like(rows), "sum", beta, axis=1, exact=True)
            for got, row in zip(losses, rows, strict=True):
                expected = exact.loss(row, 0, "sum", beta, function is huber_loss, dtype)
                assert same(got, expected)
    if kind == "special":
        x[21, 3] = np.nan
        assert np.isnan(smooth_l1_loss(x, np.zeros_like(x), exact=True))


def test_options(dtype, rng):
    info = np.finfo(dtype)
    n = 6000
    x = np.ldexp(rng.uniform(0.5, 1, n), rng.integers(info.minexp, info.maxexp - 30, n)).astype(
        dtype
    )
    zero = np.zeros_like(x)
    w = rng.uniform(0, 1, n).astype(dtype)
    where = w < 0.7
    for beta in (0.0, 0.37, float(info.smallest_subnormal) * 3):
        for reduction in ("mean", "sum", "weighted_mean"):
            expected = exact.loss(x, 0, reduction, beta, False, dtype, w, where)
            got = smooth_l1_loss(x, zero, reduction, beta, weight=w, where=where, exact=True)
            assert same(got, expected)
        expected = exact.loss(x, 0, "sum", beta, False, dtype)
        for n_threads in (1, 2, 3):
            a = np.tile(x, 40)
            assert not is_exact(a, beta=0.37)
            got = smooth_l1_loss(a, np.zeros_like(a), "mean", beta, exact=True, n_threads=n_threads)
            assert same(got, smooth_l1_loss(x, zero, "mean", beta, exact=True))
        assert same(smooth_l1_loss(x, zero, "sum", beta, exact=True), expected)
    thresholds = np.full(n, 0.37, dtype)
    got = smooth_l1_loss(x[:99], zero[:99], "sum", thresholds[:99], exact=True)
    one = smooth_l1_loss(x[::-1], zero, "sum", thresholds, exact=True)
    assert same(one, smooth_l1_loss(x, zero, "sum", thresholds, exact=True))
    assert np.isfinite(got)


def test_float16(rng):
    # The terms are of float32, the result is not; sums of these are exact in any case.
    for n in (64, 5000):
        x = np.ldexp(rng.uniform(0.5, 1, n), rng.integers(-14, 10, n)).astype(np.float16)
        expected = exact.loss(x, 0, "mean", 0.37, False, np.float32, result=np.float16)
        assert same(smooth_l1_loss(x, np.float16(0), "mean", 0.37, exact=True), expected)


@pytest.mark.parametrize("single", [False, True])
def test_any_numbers_among_many(single):
    hypothesis = pytest.importorskip("hypothesis")
    strategies = hypothesis.strategies
    width = 32 if single else 64
    dtype = np.float32 if single else np.float64
    numbers = strategies.floats(0, width=width, allow_nan=False, allow_infinity=False)
    place = strategies.integers(0, 1024 + 4096 - 1)
    info = np.finfo(dtype)
    exponents = strategies.integers(info.minexp - info.nmant, info.maxexp - 1)

    @hypothesis.given(
        strategies.lists(strategies.tuples(place, numbers, strategies.booleans()), max_size=12),
        strategies.lists(strategies.tuples(place, exponents), max_size=12),
        strategies.sampled_from([64, 1024, 1024 + 4096]),
        strategies.sampled_from([0.0, 0.37, 1.0]),
        strategies.sampled_from(["mean", "sum"]),
    )
    @hypothesis.settings(deadline=None)
    def compare(some, powers, n, beta, reduction):
        x, w = np.zeros(n, dtype), np.ones(n, dtype)
        for at, exponent in powers:  # ties
            x[at % n] = np.ldexp(dtype(1), exponent)
        for at, number, minus in some:
            x[at % n], w[at % n] = number, -1 if minus else 1
        for weight in (w, None):
            expected = exact.loss(x, 0, reduction, beta, False, dtype, weight)
            got = smooth_l1_loss(x, np.zeros_like(x), reduction, beta, weight=weight, exact=True)
            assert same(got, expected)

    compare()
