"""``exact=True``: correctly rounded, and the same bits whatever the order."""

import math
import warnings
from fractions import Fraction

import numpy as np
import pytest

import smoothl1
from smoothl1 import huber_loss, smooth_l1_loss, smooth_l1_path
from smoothl1._simd import core
from smoothl1._sums import rounding
from tests import exact

REDUCTIONS = ["mean", "sum", "weighted_mean"]
SIZES = [1, 2, 15, 47, 48, 49, 63, 1000, 1023, 1024, 1025, 1040, 3000]


def same(a, b):
    """Whether two results have the same bits, but for the sign of NaN."""
    a, b = np.asarray(a), np.asarray(b)
    nan = np.isnan(a) & np.isnan(b)
    return a.dtype == b.dtype and a.shape == b.shape and bool(np.all((a == b) | nan))


def thresholds(rng, dtype):
    tiny = float(np.finfo(dtype).smallest_subnormal)
    large = float(np.finfo(dtype).max)
    found = [0.0, tiny, 3 * tiny, 64 * tiny, 1e-3, 0.37, 0.5, 1.0, 1.35, 4.0, 1e30, large / 3]
    found += [large, np.inf]
    return float(found[rng.integers(len(found))])


@pytest.mark.parametrize("seed", range(60))
def test_hostile_arrays_against_fractions(dtype, seed):
    rng = np.random.default_rng(seed)
    n = int(rng.choice(SIZES))
    x = exact.hostile(rng, n, dtype)
    y = exact.hostile(rng, n, dtype) if rng.random() < 0.5 else np.zeros(n, dtype)
    weight = None
    if rng.random() < 0.7:
        weight = exact.hostile(rng, n, dtype, 3)
        weight[rng.integers(n)] = 1
    where = rng.random(n) < 0.8 if rng.random() < 0.3 else None
    beta = thresholds(rng, dtype)
    huber = bool(rng.random() < 0.5) and beta > 0
    function = huber_loss if huber else smooth_l1_loss
    for reduction in REDUCTIONS if weight is not None else REDUCTIONS[:2]:
        if where is not None and not where.any():
            continue
        expected = exact.loss(x, y, reduction, beta, huber, dtype, weight, where)
        got = function(x, y, reduction, beta, weight=weight, where=where, exact=True)
        assert same(got, expected), (reduction, beta, huber, n)


@pytest.mark.parametrize("beta", [0.0, 0.37, 1.0])
@pytest.mark.parametrize("spread", [1, 20, 45, 46, 47, 91, 92, 93, 200])
def test_every_way_through_a_block(dtype, beta, spread, rng):
    # One window, two, and slowly: terms at either end of a spread, and between.
    for n in (64, 1024):
        exponents = rng.integers(-spread, 1, n)
        exponents[:2] = 0, -spread
        x = np.ldexp(rng.uniform(1, 2, n), exponents).astype(dtype)
        w = rng.choice([-1, 1], n).astype(dtype)
        expected = exact.loss(x, 0, "sum", beta, False, dtype, w)
        assert same(smooth_l1_loss(x, dtype(0), "sum", beta, weight=w, exact=True), expected)


def test_full_lanes(dtype):
    # All terms next to a power of two, and of one sign: the lanes come to the end of their room.
    for value in (np.nextafter(dtype(2), dtype(0)), dtype(1), np.nextafter(dtype(1), dtype(0))):
        for sign in (1, -1):
            for last in (0.0, 2.0**-30):
                x = np.full(1024, value)
                x[-1] = last
                w = np.full(1024, sign, dtype)
                expected = exact.loss(x, 0, "sum", 0.0, False, dtype, w)
                got = smooth_l1_loss(x, dtype(0), "sum", 0.0, weight=w, exact=True)
                assert same(got, expected)


def test_exponents_anywhere_on_threads(dtype, rng):
    # What is kept by exponent comes to the digits after several chunks of a thread.
    n = 150_000
    unsigned = np.uint32 if dtype is np.float32 else np.uint64
    x = rng.integers(0, np.iinfo(unsigned).max, n, unsigned).view(dtype)
    x[~np.isfinite(x)] = 1
    for w in (np.ones(n, dtype), np.repeat([1, -1, 1], n // 3).astype(dtype)):
        parts = smoothl1.LossSums(0.0, dtype=dtype)
        for start in range(0, n, 10_000):
            rows = slice(start, start + 10_000)
            parts.update(x[rows], np.zeros(10_000, dtype), weight=w[rows])
        for n_threads in (1, 2, 3):
            whole = smoothl1.LossSums(0.0, dtype=dtype)
            assert whole.update(x, np.zeros(n, dtype), weight=w, n_threads=n_threads) == parts


@pytest.mark.parametrize("n", [255, 256, 1023, 5000])
@pytest.mark.parametrize("kind", ["any bits", "subnormal", "zeros", "large"])
def test_exponents_anywhere(dtype, n, kind, rng):
    # Terms that no windows hold, which are added by exponent: of all exponents, signs and bits.
    unsigned = np.uint32 if dtype is np.float32 else np.uint64
    x = rng.integers(0, np.iinfo(unsigned).max, n, unsigned).view(dtype)
    info = np.finfo(dtype)
    if kind == "subnormal":
        x[::3] = rng.integers(0, 100, len(x[::3])).astype(dtype) * info.smallest_subnormal
    elif kind == "zeros":
        x[::2] = 0
    x[~np.isfinite(x)] = 1
    w = rng.choice([-1, 1], n).astype(dtype)
    if kind == "large":
        x, w = np.abs(x), np.ones(n, dtype)
    for weight in (w, np.ones(n, dtype)):
        expected = exact.loss(x, 0, "sum", 0.0, False, dtype, weight)
        assert same(smooth_l1_loss(x, dtype(0), "sum", 0.0, weight=weight, exact=True), expected)
    expected = exact.loss(x, 0, "mean", 0.0, False, dtype)
    assert same(smooth_l1_loss(x, dtype(0), "mean", 0.0, exact=True), expected)
    path = smooth_l1_path(x, dtype(0), [0.0, 1.0, 2.0], exact=True)  # sums that take turns
    for got, beta in zip(path, (0.0, 1.0, 2.0), strict=True):
        assert same(got, smooth_l1_loss(x, dtype(0), beta=beta, exact=True))
    x[n // 2] = np.inf
    assert smooth_l1_loss(x, dtype(0), "sum", 0.0, exact=True) == np.inf
    x[n // 3] = np.nan
    sums = smoothl1.LossSums(0.0, dtype=dtype).update(x, dtype(0))
    assert np.isnan(sums.compute())
    finite = np.isfinite(x)
    rest = smoothl1.LossSums(0.0, dtype=dtype).update(x[~finite], dtype(0))
    assert sums - rest == smoothl1.LossSums(0.0, dtype=dtype).update(x[finite], dtype(0))


def test_sums_by_exponent_have_room(dtype):
    # Mantissas of all ones, of one exponent: 2048 of them fill 64 bits of float64.
    n = 12_000
    x = np.full(n, np.nextafter(dtype(2), dtype(0)))
    x[::200], x[1::200] = dtype(1e30), dtype(1e-30)
    expected = exact.loss(x, 0, "sum", 0.0, False, dtype)
    assert same(smooth_l1_loss(x, dtype(0), "sum", 0.0, exact=True, n_threads=1), expected)
    x[2::3] = -x[2::3]
    w = np.where(np.arange(n) % 5, dtype(-1), dtype(1))
    expected = exact.loss(x, 0, "sum", 0.0, False, dtype, w)
    assert same(smooth_l1_loss(x, dtype(0), "sum", 0.0, weight=w, exact=True), expected)


@pytest.mark.parametrize("beta", [0.0, 0.37, 1.0, 2.0, np.inf])
@pytest.mark.parametrize("kind", ["larger", "smaller", "turns", "zeros", "wide", "special"])
def test_blocks_unlike_the_last(dtype, beta, kind, rng):
    # How large the terms of a block are is guessed from those of the block before.
    n = 10
    x = rng.standard_normal((n, 1024)).astype(dtype)
    exponents = np.arange(n) - n // 2
    if kind == "smaller":
        x *= np.ldexp(dtype(1), -3 * exponents)[:, np.newaxis].astype(dtype)
    elif kind == "larger":
        x *= np.ldexp(dtype(1), 3 * exponents)[:, np.newaxis].astype(dtype)
    elif kind == "turns":
        x[::2] *= dtype(2.0**20)
    elif kind == "zeros":
        x[3:5], x[:, ::2], x[-1] = 0, 0, 0
    elif kind == "wide":
        x[3::4, 7] = dtype(2.0**-60)
        x[4::4, 9] = dtype(2.0**60)
    x = np.append(x.ravel(), x[0, :37])
    if kind == "special":
        x[5000] = np.inf
    for function in (smooth_l1_loss, huber_loss):
        if beta == 0 and function is huber_loss:
            continue
        expected = exact.loss(x, 0, "mean", beta, function is huber_loss, dtype)
        assert same(function(x, dtype(0), "mean", beta, exact=True, n_threads=1), expected)
    if kind == "special":
        x[9000] = np.nan
        assert np.isnan(smooth_l1_loss(x, dtype(0), "mean", beta, exact=True))


@pytest.mark.parametrize("sums", [[-1.0], [-1.0, -2.0, -4.0], [-0.1], [3.0, -4.0], [-(2.0**-1074)]])
def test_negative_sums_that_are_representable(dtype, sums):
    # Where others rounded away from the exact value.
    values = np.array(sums, dtype)
    got = smooth_l1_loss(np.abs(values), dtype(0), "sum", 0.0, weight=np.sign(values), exact=True)
    assert got == dtype(math.fsum(values.astype(float)))


def test_overflow_and_what_is_next_to_it(dtype):
    top = np.finfo(dtype).max
    zero = dtype(0)

    def total(*values):
        values = np.array(values, dtype)
        return smooth_l1_loss(
            np.abs(values), zero, "sum", 0.0, weight=np.sign(values).astype(dtype), exact=True
        )

    half = top - np.nextafter(top, zero)  # one unit of the last place
    assert total(top) == top
    assert total(-top) == -top
    assert total(top, half / 4) == top
    assert total(top, half / 2) == np.inf  # a tie
    assert total(-top, -half / 2) == -np.inf
    assert total(top, np.nextafter(half / 2, zero)) == top
    assert total(top, top, -top) == top  # a partial sum would overflow
    assert smooth_l1_loss(np.full(4, top), zero, "mean", 0.0, exact=True) == top


def test_large_thresholds(dtype):
    top = np.finfo(dtype).max
    one, two = top / dtype(3), top / dtype(2)  # in the quadratic piece, and in the linear one
    beta = float(np.nextafter(two, dtype(0)))
    x = np.array([one, two, one, 0, 1], dtype)
    for reduction in ("mean", "sum"):
        expected = exact.loss(x, 0, reduction, beta, False, dtype)
        assert np.isfinite(expected)
        assert same(smooth_l1_loss(x, dtype(0), reduction, beta, exact=True), expected)
        np.testing.assert_allclose(smooth_l1_loss(x, dtype(0), reduction, beta), expected)
    sums = smoothl1.LossSums([beta, 1.0], dtype=dtype).update(x, 0)
    assert sums.compute()[0] == smooth_l1_loss(x, dtype(0), beta=beta, exact=True)
    # Exact sums take the loss of an element as it is: of a difference that overflows, infinite.
    assert smooth_l1_loss(np.array([top]), np.array([-top]), "mean", beta, exact=True) == np.inf


def test_subnormal_results(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    for count in (1, 2, 3):
        for n in (2, 3, 4, 5):
            x = np.zeros(n, dtype)
            x[:count] = tiny * dtype(3)
            expected = exact.divided(Fraction(float(x.astype(float).sum())), n, dtype)
            assert smooth_l1_loss(x, dtype(0), "mean", 0.0, exact=True) == expected


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_rounding_of_quotients(dtype):
    # Random quotients, ties, and neighbours of ties, over the whole range.
    rng = np.random.default_rng(5)
    info = np.finfo(dtype)
    low = info.minexp - info.nmant - 3
    for _ in range(400):
        mantissa = int(rng.integers(2**info.nmant, 2 ** (info.nmant + 1)))
        exponent = int(rng.integers(low, info.maxexp + 2)) - info.nmant
        tie = 2 * mantissa + 1
        for above in (tie, tie * 2**70 + 1, tie * 2**70 - 1, mantissa, int(rng.integers(1, 99))):
            scale = 70 if above > 2**64 else 0
            for sign in (1, -1):
                below = int(rng.integers(1, 9))
                exact_value = Fraction(sign * above * below) / below
                exact_value *= Fraction(2) ** (exponent - scale)
                numerator, denominator = exact_value.as_integer_ratio()
                got = rounding.rounded(numerator * below, denominator * below, np.dtype(dtype))
                assert dtype(got) == exact.divided(exact_value, 1, dtype)
    assert math.copysign(1.0, rounding.rounded(0, -3, np.dtype(dtype))) == 1.0
    assert rounding.rounded(-1, -3, np.dtype(dtype)) == exact.divided(Fraction(1, 3), 1, dtype)


def test_roots_are_correctly_rounded(dtype):
    rng = np.random.default_rng(6)
    for _ in range(300):
        root = dtype(rng.uniform(0.5, 2) * 2.0 ** int(rng.integers(-30, 30)))
        between = (Fraction(float(root)) + Fraction(float(np.nextafter(root, dtype(9e9))))) / 2
        for value, expected in (
            (Fraction(float(root)) ** 2, root),
            (between**2 * (1 - Fraction(1, 2**90)), root),
            (between**2 * (1 + Fraction(1, 2**90)), np.nextafter(root, dtype(9e9))),
        ):
            got = rounding.square_root(*value.as_integer_ratio(), np.dtype(dtype))
            assert dtype(got) == expected
    assert rounding.square_root(0, 3, np.dtype(dtype)) == 0.0


def test_order_and_layout_decide_nothing(dtype, rng):
    x, y = rng.standard_normal((2, 60, 50)).astype(dtype)
    w = rng.uniform(-1, 2, (60, 50)).astype(dtype)
    for beta in (0.0, 0.37, 1.0, np.inf):
        for weight in (None, w):
            expected = smooth_l1_loss(x, y, "mean", beta, weight=weight, exact=True)
            for _ in range(5):
                order = rng.permutation(x.size)
                shuffled = [None if a is None else a.ravel()[order] for a in (x, y, weight)]
                got = smooth_l1_loss(
                    shuffled[0], shuffled[1], "mean", beta, weight=shuffled[2], exact=True
                )
                assert same(got, expected)
            views = [
                (lambda a: np.asfortranarray(a)),
                (lambda a: a[::-1, ::-1]),
                (lambda a: a.astype(a.dtype.newbyteorder())),
                (lambda a: np.repeat(a, 2, axis=1)[:, ::2]),
            ]
            for view in views:
                got = smooth_l1_loss(
                    view(x),
                    y if view is views[0] else view(y),
                    "mean",
                    beta,
                    weight=None if weight is None else weight if view is views[0] else view(w),
                    exact=True,
                )
                assert same(got, expected)


@pytest.mark.parametrize("n", [5, 4096, 32768, 32769, 300_000])
def test_threads_decide_nothing(dtype, n, rng):
    x, y = rng.standard_normal((2, n)).astype(dtype)
    w = rng.uniform(0, 1, n).astype(dtype)
    for options in ({}, {"weight": w}, {"where": w < 0.5}, {"beta": w}):
        options = {"beta": 0.37} | options
        expected = smooth_l1_loss(x, y, "sum", **options, exact=True, n_threads=1)
        for n_threads in (2, 3, 16):
            got = smooth_l1_loss(x, y, "sum", **options, exact=True, n_threads=n_threads)
            assert same(got, expected)


@pytest.mark.parametrize("axis", [0, 1, 2, (0, 2), (1,), (0, 1, 2), ()])
def test_axis_has_the_bits_of_slices(dtype, axis, rng):
    x, y = rng.standard_normal((2, 7, 70, 3)).astype(dtype)
    w = rng.uniform(0, 1, (7, 70, 3)).astype(dtype)
    for beta in (1.0, 0.37, w + dtype(0.1)):
        got = smooth_l1_loss(x, y, "weighted_mean", beta, weight=w, axis=axis, exact=True)
        axes = tuple(np.atleast_1d(np.array(axis, int)).tolist())
        kept = [a for a in range(3) if a not in axes]
        assert got.shape == tuple(x.shape[a] for a in kept)
        for index in np.ndindex(got.shape):
            part = [slice(None)] * 3
            for a, i in zip(kept, index, strict=True):
                part[a] = slice(i, i + 1)
            part = tuple(part)
            b = beta[part] if np.ndim(beta) else beta
            one = smooth_l1_loss(x[part], y[part], "weighted_mean", b, weight=w[part], exact=True)
            assert same(got[index], one)


def test_axis_of_long_and_of_many_outputs(rng):
    x = rng.standard_normal((3, 100_000)).astype(np.float32)
    got = smooth_l1_loss(x, np.float32(0), axis=1, exact=True, n_threads=2)
    assert same(got, np.array([smooth_l1_loss(a, np.float32(0), exact=True) for a in x]))
    many = rng.standard_normal((9000, 4))
    for n_threads in (1, 2):
        got = smooth_l1_loss(many, 0.0, "sum", 0.0, axis=1, exact=True, n_threads=n_threads)
        expected = [math.fsum(row) for row in np.abs(many)]
        assert same(got, np.array(expected))


def test_array_thresholds_against_fractions(dtype, rng):
    x = rng.standard_normal(500).astype(dtype)
    b = rng.uniform(0.01, 2, 500).astype(dtype)
    z = np.abs(x)
    half = dtype(0.5)
    for huber in (False, True):
        quadratic = half * z * (z if huber else z / b)
        terms = np.where(z < b, quadratic, b * z if huber else z)
        offsets = np.where(z < b, dtype(0), b * b if huber else b)
        total = (
            sum(map(Fraction, terms.astype(float).tolist()))
            - sum(map(Fraction, offsets.astype(float).tolist())) / 2
        )
        function = huber_loss if huber else smooth_l1_loss
        assert function(x, dtype(0), "sum", b, exact=True) == exact.divided(total, 1, dtype)
        assert function(x, dtype(0), "mean", b, exact=True) == exact.divided(total, 500, dtype)


def test_float16_and_integers_are_rounded_once(rng):
    x, y = rng.standard_normal((2, 999)).astype(np.float16)
    for beta in (0.37, 1.0):
        got = smooth_l1_loss(x, y, "mean", beta, exact=True)
        assert got.dtype == np.float16
        expected = exact.loss(x, y, "mean", beta, False, np.float32, result=np.float16)
        assert same(got, expected)
    i, j = rng.integers(-50, 50, (2, 999))
    assert same(
        smooth_l1_loss(i, j, "mean", 3.3, exact=True),
        exact.loss(i, j, "mean", 3.3, False, np.float64),
    )


def test_path_has_the_bits_of_single_calls(dtype, rng):
    x, y = rng.standard_normal((2, 3, 5000)).astype(dtype)
    betas = [0.0, 0.01, 0.37, 0.5, 1.0, 100.0, np.inf, 1e-46, 3e-46, 5e-324, 1.5e-323]
    w = rng.uniform(size=(3, 5000))
    for options in ({}, {"weight": w, "where": w < 0.5}):
        path = smooth_l1_path(x, y, betas, "sum", exact=True, **options)
        assert path.dtype == dtype
        for beta, loss in zip(betas, path, strict=True):
            assert same(loss, smooth_l1_loss(x, y, "sum", beta, exact=True, **options))


@pytest.mark.parametrize("special", [[np.nan], [np.inf], [-np.inf], [np.inf, np.nan]])
@pytest.mark.parametrize("n", [3, 100, 5000])
def test_what_is_no_number(dtype, special, n, rng):
    x = rng.standard_normal(n).astype(dtype)
    x[: len(special)] = special
    expected = np.nan if np.isnan(special).any() else np.inf
    for beta in (0.0, 0.37, 1.0, np.inf, np.full(n, 0.3)):
        for reduction in ("mean", "sum"):
            got = smooth_l1_loss(x, dtype(0), reduction, beta, exact=True)
            assert same(got, dtype(expected))
    w = np.ones(n, dtype)
    w[0] = -1
    got = smooth_l1_loss(x, dtype(0), "weighted_mean", weight=w, exact=True)
    assert same(got, dtype(expected if np.isnan(expected) else -np.inf))
    both = smooth_l1_loss([np.inf, np.inf], [0, 0], "sum", weight=[1, -1], exact=True)
    assert math.isnan(both)
    where = np.isfinite(x)
    assert np.isfinite(smooth_l1_loss(x, dtype(0), where=where, exact=True))


def test_weights_that_are_no_numbers():
    x = np.array([1.0, 2.0])
    for w, expected in (
        ([np.inf, 1.0], np.nan),  # inf / inf
        ([np.nan, 1.0], np.nan),
        ([np.inf, -np.inf], np.nan),
    ):
        got = smooth_l1_loss(x, 0.0, "weighted_mean", weight=w, exact=True)
        assert same(got, np.float64(expected))
    assert smooth_l1_loss(x, 0.0, "sum", weight=[np.inf, 1.0], exact=True) == np.inf


def test_nothing_to_sum(dtype):
    empty = np.empty(0, dtype)
    assert same(smooth_l1_loss(empty, empty, "sum", exact=True), dtype(0))
    with pytest.warns(RuntimeWarning, match="mean of no elements is nan"):
        assert math.isnan(smooth_l1_loss(empty, empty, exact=True))
    with pytest.warns(RuntimeWarning, match="mean of no elements is nan") as caught:
        got = smooth_l1_loss(np.ones((2, 0), dtype), dtype(0), axis=1, exact=True)
    assert np.isnan(got).all()
    assert caught[0].filename == __file__
    assert smooth_l1_loss(np.ones((0, 2), dtype), dtype(0), axis=1, exact=True).shape == (0,)
    ones = np.ones(2, dtype)
    with pytest.raises(ValueError, match="weight must not sum to 0"):
        smooth_l1_loss(ones, dtype(0), "weighted_mean", weight=[1, -1], exact=True)
    assert smooth_l1_path(ones, dtype(0), [], exact=True).shape == (0,)


def test_other_arguments(dtype, rng):
    x, y = rng.standard_normal((2, 4, 5)).astype(dtype)
    out = np.empty(5, dtype)
    assert smooth_l1_loss(x, y, axis=0, out=out, exact=True) is out
    assert same(out, smooth_l1_loss(x, y, axis=0, exact=True))
    # Nothing is summed: nothing changes.
    assert same(smooth_l1_loss(x, y, "none", exact=True), smooth_l1_loss(x, y, "none"))
    with pytest.raises(ValueError, match="needs weight"):
        smooth_l1_loss(x, y, "weighted_mean", exact=True)
    with pytest.raises(TypeError):
        smooth_l1_loss(x, y, "mean", 1.0, None, exact=True)


def test_near_the_plain_sum(dtype, rng):
    x, y = rng.standard_normal((2, 100_000)).astype(dtype)
    for beta in (0.0, 0.37, 1.0):
        plain, exactly = (smooth_l1_loss(x, y, "mean", beta, exact=e) for e in (False, True))
        assert abs(plain - exactly) <= np.spacing(exactly)


def test_core_refuses_what_is_out_of_range():
    x = np.zeros((2, 3))
    work = core.Work(x, x, betas=[1.0], huber=False, single=False, n_kept=1)
    with pytest.raises(ValueError, match="outputs must be within 0 and 2"):
        core.exact_sums(work, 1, 2)
    with pytest.raises(ValueError, match="moments need three thresholds"):
        core.exact_sums(work, 0, 1, moments=True)
    for rows, entries, digits in (
        (np.zeros(10), 5, 3),
        (np.zeros(10, np.int64), 4, 3),
        (np.zeros(10, np.int64), 5, 6),
        (np.zeros(20, np.int64)[::2], 5, 3),
    ):
        with pytest.raises(ValueError, match="rows must be a contiguous array of int64"):
            core.exact_carry(rows, entries, digits)


def test_no_warning_of_overflow(dtype):
    x = np.array([1e-30, 1e30], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert np.isfinite(smooth_l1_loss(x, dtype(0), "mean", 0.37, exact=True))
        assert smoothl1.huber_loss(x, dtype(0), "sum", 1e38, exact=True) > 0


@pytest.mark.parametrize("single", [False, True])
def test_any_numbers(single):
    hypothesis = pytest.importorskip("hypothesis")
    strategies = hypothesis.strategies
    width = 32 if single else 64
    dtype = np.float32 if single else np.float64
    numbers = strategies.floats(width=width, allow_nan=False, allow_infinity=False)
    positive = strategies.floats(0, width=width, allow_nan=False, allow_infinity=False)
    triples = strategies.tuples(numbers, numbers, numbers)

    @hypothesis.given(
        strategies.lists(triples, min_size=1, max_size=70),
        positive,
        strategies.booleans(),
        strategies.sampled_from(["mean", "sum"]),
    )
    def check(triples, beta, huber, reduction):
        x, y, w = np.array(triples, dtype).T.copy()
        huber = huber and beta > 0
        function = huber_loss if huber else smooth_l1_loss
        expected = exact.loss(x, y, reduction, beta, huber, dtype, w)
        assert same(function(x, y, reduction, beta, weight=w, exact=True), expected)
        plain = exact.loss(x, y, reduction, beta, huber, dtype)
        assert same(function(x, y, reduction, beta, exact=True), plain)

    check()
