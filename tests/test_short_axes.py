"""Sums over short axes: each dtype, option and layout, around the edges of blocks."""

import warnings

import numpy as np
import pytest

from smoothl1 import huber_loss, smooth_l1_grad, smooth_l1_loss
from tests import reference

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None

DTYPES = ["f2", "f4", "f8", ">f2", ">f4", ">f8", "i4", "u1"]
DTYPES += ["bfloat16"] if ml_dtypes else []
TERMS = [1, 2, 3, 4, 5, 7, 8, 9, 12, 13, 15, 16, 17, 20, 33, 64, 513]


def operands(dtype, shape, rng):
    """Return input, target, weight, thresholds, mask; a row of the mask selects nothing."""
    integers = np.dtype(dtype).kind in "iu"
    x, y = (abs(20 * a) if integers else a for a in rng.standard_normal((2, *shape)))
    width = "f8" if integers or np.dtype(dtype).itemsize == 8 else "f4"
    w, b = rng.uniform(0.25, 2, (2, *shape)).astype(width)
    mask = rng.uniform(size=shape) < 0.7
    mask[0], mask[-1] = True, False
    return x.astype(dtype), y.astype(dtype), w, b, mask


def options_of(w, b, mask):
    """Yield (reduction, beta, keywords)."""
    for beta in (0.7, 1.0, 1e-45, b):
        for keywords in ({}, {"weight": w}, {"weight": w[:, :1]}, {"where": mask}):
            yield "mean", beta, keywords
        yield "sum", beta, {"weight": w, "where": mask}
        yield "weighted_mean", beta, {"weight": w}


def same(got, wanted):
    """Compare bits, but of NaN, and dtypes."""
    wanted = np.array(wanted, got.dtype)
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(np.isnan(got), np.isnan(wanted))
        np.testing.assert_array_equal(got[~np.isnan(got)], wanted[~np.isnan(wanted)])


@pytest.mark.filterwarnings("ignore:mean of no elements")
@pytest.mark.parametrize("n", TERMS)
@pytest.mark.parametrize("name", DTYPES)
def test_each_row_has_the_bits_of_a_call_on_it(name, n, rng):
    dtype = np.dtype(getattr(ml_dtypes, name) if name == "bfloat16" else name)
    # Blocks of 512 and 1024 elements, tasks of 4096.
    for rows in (1, 512 // n + 1, 4096 // n + 3):
        x, y, w, b, mask = operands(dtype, (rows, n), rng)
        edges = {0, 1, rows - 1, rows - 2}
        edges |= {size // n + i for size in (512, 1024, 4096) for i in (-1, 0, 1)}
        chosen = [row for row in sorted(edges) if 0 <= row < rows]
        pairs = (x, y), (np.asfortranarray(x), np.asfortranarray(y))
        for u, v in (*pairs, (x, np.broadcast_to(y[:1], x.shape))):
            for reduction, beta, keywords in options_of(w, b, mask):
                got = smooth_l1_loss(u, v, reduction, beta, axis=1, **keywords)
                assert got.shape == (rows,)
                wanted = []
                for row in chosen:
                    parts = {k: np.broadcast_to(a, x.shape)[row] for k, a in keywords.items()}
                    beta_of_row = b[row] if beta is b else beta
                    wanted.append(smooth_l1_loss(u[row], v[row], reduction, beta_of_row, **parts))
                assert got.dtype == wanted[0].dtype
                same(got[chosen], wanted)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 6, 11, 16, 40])
def test_short_sums_of_either_loss_are_right(dtype, n, rng):
    """Beside a plain sum of values in float64."""
    x, y, w, b, mask = operands(dtype, (300, n), rng)
    mask[:, 0] = True
    for function, huber in ((smooth_l1_loss, False), (huber_loss, True)):
        for beta in (0.7, 1.0, b):
            values = reference.values(x.astype("f8"), y.astype("f8"), beta, huber)
            threshold = {"delta" if huber else "beta": beta}
            weighed = {"weight": w}, {"where": mask}, {"weight": w[:, :1]}
            for keywords, factor in zip(({}, *weighed), (1, w, mask, w[:, :1]), strict=True):
                got = function(x, y, "sum", axis=1, **threshold, **keywords)
                wanted = (values * factor).sum(axis=1)
                np.testing.assert_allclose(got, wanted, rtol=30 * np.finfo(dtype).eps)


def test_results_of_two_bytes_are_rounded_once():
    """A sum just above the middle of two halves, which float32 would round to the middle."""
    one, step = np.float32(1), np.float32(2) ** -11
    x = np.array([[1, 1], [1, 1], [1, 1]], np.float16)
    # one + step is the middle of 1 and its neighbour in float16.
    weight = np.array([[one + step, 2.0**-40], [one + step, 0], [one + 3 * step, 0]], np.float32)
    got = smooth_l1_loss(x, np.float16(0), "sum", 0.0, weight=weight, axis=1)
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, np.array([1 + 2.0**-10, 1, 1 + 2.0**-9], np.float16))
    wide = weight.astype(np.float64).sum(axis=1)
    np.testing.assert_array_equal(got, wide.astype(np.float16))


def test_float64_is_rounded_to_halves_as_numpy_does(rng):
    numbers = np.concatenate(
        [
            np.ldexp(rng.uniform(1, 2, 20000), rng.integers(-30, 20, 20000)),
            # Middles of neighbours, subnormal ones too, and what is next to them.
            np.arange(4096) * 2.0**-25,
            np.nextafter(np.arange(1, 4096) * 2.0**-25, 0),
            np.nextafter(np.arange(4096) * 2.0**-25, 1),
            1 + np.arange(4096) * 2.0**-12,
            np.nextafter(1 + np.arange(4096) * 2.0**-12, 2),
            [65504, 65519.99999999999, 65520, 1e300, np.inf, np.nan, 0, 5e-324, 1e-45],
        ]
    )
    with np.errstate(all="ignore"):
        wanted = numbers.astype(np.float16)
    got = np.empty_like(wanted)
    smooth_l1_loss(numbers, 0.0, "none", 0.0, out=got)
    np.testing.assert_array_equal(got, wanted)
    np.testing.assert_array_equal(
        smooth_l1_loss(numbers[:, None], 0.0, "sum", 0.0, axis=1),
        numbers,
    )


@pytest.mark.parametrize("n", [2, 4])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
def test_rows_of_every_size_beside_each_other(dtype, n, rng):
    """From subnormal sums to those that overflow, infinities and NaN among them."""
    info = np.finfo(dtype)
    exponents = rng.integers(info.minexp - info.nmant, info.maxexp, (70, 1))
    with np.errstate(over="ignore", under="ignore"):
        x = np.ldexp(rng.uniform(-1, 1, (70, n)), exponents).astype(dtype)
    y = np.zeros_like(x)
    x[3], x[40], x[41, 0], x[50, 1] = 0, x[39], np.inf, np.nan
    y[60:] = x[60:] / 2
    far = float(np.ldexp(0.7, info.maxexp - 9))
    for beta in (0.7, 1.0, 0.0, np.inf, far, 1 / far):
        for reduction in ("mean", "sum"):
            for start in (0, 1, 33, 64):  # which rows share a vector
                got = smooth_l1_loss(x[start:], y[start:], reduction, beta, axis=-1)
                wanted = [
                    smooth_l1_loss(a, b, reduction, beta)
                    for a, b in zip(x[start:], y[start:], strict=True)
                ]
                same(got, wanted)


def bits_of(results):
    """The bits of each result, those of any NaN being the same."""
    results = np.where(np.isnan(results), np.array(np.nan, results.dtype), results)
    return results.view(f"u{results.itemsize}")


@pytest.mark.filterwarnings("ignore:mean of no elements")
@pytest.mark.parametrize("n", range(1, 18))
def test_options_together_on_numbers_of_every_kind(dtype, n, rng):
    """Infinite, NaN, subnormal, negative and large ones, and rows of which nothing is selected."""
    x, y, w, b, mask = operands(dtype, (75, n), rng)
    info = np.finfo(dtype)
    y[20:40] = 0
    x[20:24] = info.smallest_subnormal * np.arange(1, n + 1)
    x[24:28] = info.tiny * rng.uniform(0.5, 2, (4, n))
    x[28], x[29, 0], x[30, -1], x[31, 0] = info.max, info.max / 2, np.inf, np.nan
    w[[8, 33]], w[9, 0], w[10] = 0, -w[9, 0], -w[10]
    w[11, -1], w[12], w[13, 0], w[14] = np.inf, np.inf, np.nan, info.max / 4
    w[34], w[35] = -0.0, info.smallest_subnormal
    mask[12], mask[[14, 36, 74]] = False, True
    row, odd = w[:, :1], np.where(mask, 0x82, 0).astype(np.uint8).view(bool)
    weights = {}, {"weight": w}, {"weight": row}
    selections = {}, {"where": mask}, {"where": odd}
    for beta, loss in (
        (0.7, smooth_l1_loss),
        (1.0, smooth_l1_loss),
        (0.0, smooth_l1_loss),
        (np.inf, smooth_l1_loss),
        (b, smooth_l1_loss),
        (b, huber_loss),
    ):
        for reduction in ("mean", "sum"):
            for keywords in ({**a, **c} for a in weights for c in selections):
                got = loss(x, y, reduction, beta, axis=1, **keywords)
                wanted = [
                    loss(
                        x[i],
                        y[i],
                        reduction,
                        b[i] if beta is b else beta,
                        **{k: np.broadcast_to(a, x.shape)[i] for k, a in keywords.items()},
                    )
                    for i in range(len(x))
                ]
                np.testing.assert_array_equal(bits_of(got), bits_of(np.array(wanted)))


@pytest.mark.parametrize("n", range(1, 18))
def test_what_is_selected_is_counted_whatever_its_bytes(n, rng):
    """A mean of ones over what is selected is 1, up to the end of the mask."""
    for rows in (1, 2, 7, 16, 100, 1000):
        mask = (rng.uniform(size=(rows, n)) < 0.5) * rng.integers(1, 256, (rows, n))
        mask[:, 0] = 128
        ones = np.ones((rows, n))
        got = smooth_l1_loss(ones, 0.0, beta=0.0, where=mask.astype(np.uint8).view(bool), axis=1)
        np.testing.assert_array_equal(got, 1.0)


@pytest.mark.skipif(ml_dtypes is None, reason="needs ml_dtypes")
def test_a_row_of_bfloat16_that_overflows_on_the_way():
    large = ml_dtypes.finfo(ml_dtypes.bfloat16).max
    x = np.zeros((40, 4), ml_dtypes.bfloat16)
    x[7, 1] = x[8] = large
    got = smooth_l1_loss(x, -x, axis=1)
    assert got[7] == large / np.float32(2)
    assert np.isinf(got[8])
    assert (got[9:] == 0).all()


def test_a_mean_of_nothing_is_nan_and_says_so(dtype, rng):
    x, y, w, _, mask = operands(dtype, (90, 3), rng)
    with pytest.warns(RuntimeWarning, match="no elements"):
        got = smooth_l1_loss(x, y, where=mask, axis=1)
    np.testing.assert_array_equal(np.isnan(got), ~mask.any(axis=1))
    w[5] = 0
    with pytest.raises(ValueError, match="weight must not sum to 0"):
        smooth_l1_loss(x, y, "weighted_mean", weight=w, axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert smooth_l1_loss(x, y, "sum", where=mask, axis=1)[-1] == 0


def rearranged(a, rng):
    """Return the array in another order in memory, reversed, spread out, or next to others."""
    order = rng.permutation(a.ndim)
    a = a.transpose(order).copy()
    around = np.zeros([extent + int(rng.integers(0, 3)) for extent in a.shape], a.dtype)
    inner = around[tuple(slice(0, extent) for extent in a.shape)]
    inner[...] = a
    for axis in range(a.ndim):
        if rng.integers(0, 3) == 0:
            flipped = np.flip(inner, axis).copy()
            inner = np.flip(flipped, axis)
    return inner.transpose(np.argsort(order))


@pytest.mark.parametrize("kind", ["f2", "f4", "f8", ">f4", ">f8", "i2", "u1"])
def test_arrays_in_any_order_in_memory_have_the_bits_of_a_copy(kind, rng):
    """Small and large extents: parts of rows, rows one by one, several rows at once."""
    for _ in range(60):
        shape = tuple(rng.choice([1, 2, 3, 4, 6, 16, 17, 40, 65, 130], int(rng.integers(2, 4))))
        if np.prod(shape) > 200000:
            continue
        x, y, w, b, mask = operands(kind, shape, rng)
        narrow = w[:1] if rng.integers(0, 2) else w[..., :1]
        axes = [None, 0, len(shape) - 1, (0, 1)]
        u, v, t, c, m = (rearranged(a, rng) for a in (x, y, w, b, mask))
        for axis in axes:
            for first, second in (
                ({}, {}),
                ({"weight": t, "where": m}, {"weight": w, "where": mask}),
                ({"beta": c}, {"beta": b}),
                ({"weight": narrow}, {"weight": narrow.copy()}),
            ):
                np.testing.assert_array_equal(
                    smooth_l1_loss(u, v, "sum", axis=axis, **first),
                    smooth_l1_loss(x, y, "sum", axis=axis, **second),
                )
        np.testing.assert_array_equal(
            smooth_l1_grad(u, v, weight=t, where=m), smooth_l1_grad(x, y, weight=w, where=mask)
        )
