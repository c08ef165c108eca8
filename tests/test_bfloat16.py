"""bfloat16, a dtype that ml_dtypes registers with NumPy, is taken as float16 is."""

from fractions import Fraction

import numpy as np
import pytest

import smoothl1
from smoothl1 import (
    LossSums,
    huber_location,
    huber_loss,
    smooth_l1_grad,
    smooth_l1_grad_hess,
    smooth_l1_loss,
    smooth_l1_path,
    smooth_l1_value_and_grad,
    ufuncs,
)
from smoothl1._simd import core
from tests.test_layouts import LAYOUTS, SHAPES

ml_dtypes = pytest.importorskip("ml_dtypes")
BFLOAT16 = np.dtype(ml_dtypes.bfloat16)

EVERY = np.arange(2**16, dtype=np.uint16).view(BFLOAT16)
POSITIVE = EVERY[:0x7F80].astype(np.float64)
# Of bfloat16 it has no other byte order.
PLACES = {name: change for name, change in LAYOUTS.items() if not name.startswith("swapped")}


def same(got, wanted):
    """Whether dtype, shape and bits are the same; each NaN counts as one."""
    got, wanted = np.asarray(got), np.asarray(wanted)
    assert got.dtype == wanted.dtype
    assert got.shape == wanted.shape
    with np.errstate(invalid="ignore"):  # ml_dtypes says so of a signalling NaN
        nan = np.isnan(wanted)
        np.testing.assert_array_equal(np.isnan(got), nan)
    kind = np.dtype(f"u{got.itemsize}")
    got, wanted = (np.ascontiguousarray(a).view(kind).reshape(a.shape) for a in (got, wanted))
    np.testing.assert_array_equal(got[~nan], wanted[~nan])


def nearest(values):
    """Round float64 to bfloat16, ties to even, by integers."""
    found = []
    for value in values:
        if np.isinf(value):
            found.append(0x7F80 if value > 0 else 0xFF80)
            continue
        size = Fraction(abs(float(value)))
        below = int(POSITIVE.searchsorted(abs(value), "right")) - 1
        upper = EVERY[below + 1]
        above = Fraction(2) ** 128 if np.isinf(upper) else Fraction(float(upper))
        middle = (Fraction(float(EVERY[below])) + above) / 2
        found.append(below + (size > middle or (size == middle and below % 2 == 1)))
        found[-1] |= 0x8000 * bool(np.signbit(value))
    return np.array(found, np.uint16)


def test_every_number_is_read_and_written_exactly():
    zero = BFLOAT16.type(0)
    same(smooth_l1_loss(EVERY, zero, "none", 0.0), np.abs(EVERY))
    wide = smooth_l1_loss(EVERY, zero, "none", 0.0, out=np.empty(EVERY.shape, np.float32))
    with np.errstate(invalid="ignore"):
        same(wide, np.abs(EVERY.astype(np.float32)))
        wide = smooth_l1_loss(EVERY, 0.0, "none", 0.0, out=np.empty(EVERY.shape))
        same(wide, np.abs(EVERY.astype(np.float64)))


def test_float32_is_rounded_to_nearest_even(rng):
    bits = rng.integers(0, 2**31, 300_000, dtype=np.uint32)
    ties = (bits & np.uint32(0xFFFF0000)) | np.uint32(0x8000)
    x = np.concatenate([bits, ties, ties - 1, ties + 1]).view(np.float32)
    with np.errstate(invalid="ignore"):
        wanted = np.abs(x).astype(BFLOAT16)
    same(smooth_l1_loss(x, np.float32(0), "none", 0.0, out=np.empty(x.shape, BFLOAT16)), wanted)


def test_float64_is_rounded_once(rng):
    """Numbers at and beside ties, which a rounding to float32 on the way would hide."""
    low = EVERY[rng.integers(0, 0x7F80, 300)].astype(np.float64)
    ties = low * (1 + 2.0**-8)  # the middle between even and odd, for a fraction of 0
    powers = np.ldexp(1.0, rng.integers(-126, 128, 300)) * (1 + 2.0**-7 * rng.integers(0, 4, 300))
    ties = np.concatenate([ties, powers * (1 + 2.0**-8), powers + np.ldexp(1.0, -134)])
    x = np.concatenate(
        [ties, np.nextafter(ties, 0), np.nextafter(ties, np.inf), ties * (1 + 2.0**-40)]
    )
    ends = [0.0, 5e-324, 2.0**-134, 1.5 * 2.0**-134, 3.39e38, 3.3961775292304e38, 1e300, np.inf]
    x = np.concatenate([x, ends])
    x = np.concatenate([x, -x])
    got = core.as_bfloat16(x)
    np.testing.assert_array_equal(got, nearest(x))
    out = np.empty(x.shape, BFLOAT16)
    same(smooth_l1_loss(x, 0.0, "none", 0.0, out=out), nearest(np.abs(x)).view(BFLOAT16))
    assert np.isnan(core.as_bfloat16(np.array([np.nan])).view(BFLOAT16)).all()
    with pytest.raises(ValueError, match="contiguous array of float64"):
        core.as_bfloat16(np.zeros(3, np.float32))


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", PLACES)
def test_layouts(layout, shape, rng):
    """The values of a float32 copy, rounded to bfloat16."""
    x, y = rng.standard_normal((2, *shape)).astype(BFLOAT16)
    a, b = x.astype(np.float32), y.astype(np.float32)
    u, v = PLACES[layout](x), PLACES[layout](y)
    for beta in (0.37, 1.0):
        same(
            smooth_l1_loss(u, v, "none", beta), smooth_l1_loss(a, b, "none", beta).astype(BFLOAT16)
        )
        for reduction in ("none", "mean", "sum"):
            wanted = smooth_l1_grad(a, b, reduction, beta).astype(BFLOAT16)
            same(smooth_l1_grad(u, v, reduction, beta), wanted)
            loss, grad = smooth_l1_value_and_grad(u, v, reduction, beta)
            same(loss, smooth_l1_loss(x, y, reduction, beta))
            same(grad, wanted)
        for one, other in zip(
            smooth_l1_grad_hess(u, v, beta), smooth_l1_grad_hess(a, b, beta), strict=True
        ):
            same(one, other.astype(BFLOAT16))
        for axis in (None, 0, -1):
            got = smooth_l1_loss(u, v, "mean", beta, axis=axis)
            same(got, smooth_l1_loss(x, y, "mean", beta, axis=axis))
            wide = smooth_l1_loss(a, b, "mean", beta, axis=axis)
            np.testing.assert_allclose(
                got.astype(np.float64), wide, rtol=2.0**-8 + 2.0**-20, atol=1e-40
            )


@pytest.mark.parametrize("layout", PLACES)
def test_layouts_of_weights_thresholds_and_out(layout, rng):
    shape = (60, 90)
    x, y, w, b = rng.uniform(0, 2, (4, *shape)).astype(BFLOAT16)
    mask = rng.uniform(size=shape) < 0.8
    wide = [a.astype(np.float32) for a in (x, y, w, b)]
    change = PLACES[layout]
    for reduction in ("none", "mean", "sum", "weighted_mean"):
        given = {"weight": change(w), "where": mask}
        got = smooth_l1_loss(x, y, reduction, change(b), **given)
        assert got.dtype == BFLOAT16
        same(got, smooth_l1_loss(x, y, reduction, b, weight=w, where=mask))
        given["weight"] = wide[2]
        if reduction == "none":
            want = smooth_l1_loss(wide[0], wide[1], reduction, wide[3], **given)
            same(got, want.astype(BFLOAT16))
        # float32 operands beside them have the values that these have.
        same(
            smooth_l1_loss(wide[0], wide[1], reduction, change(b), weight=change(w), where=mask),
            smooth_l1_loss(wide[0], wide[1], reduction, wide[3], **given),
        )
        want = smooth_l1_grad(wide[0], wide[1], reduction, wide[3], **given).astype(BFLOAT16)
        same(smooth_l1_grad(x, y, reduction, b, **given), want)
        if layout != "read_only":
            out = change(np.zeros(shape, BFLOAT16))
            assert smooth_l1_grad(x, y, reduction, change(b), **given, out=out) is out
            same(out, want)


MIXES = [
    (np.float16, np.float32),
    (np.float32, np.float32),
    (np.float64, np.float64),
    (">f4", np.float32),
    (np.int8, np.float64),
    (np.uint8, np.float64),
    (np.bool_, np.float64),
    (np.int64, np.float64),
]


@pytest.mark.parametrize(("other", "expected"), MIXES)
def test_mixed_dtypes(other, expected, rng):
    x, y = rng.uniform(0, 3, (2, 50, 40)).round(2)
    x, y = x.astype(BFLOAT16), y.astype(other)
    a, b = x.astype(expected), y.astype(expected)
    for reduction in ("mean", "sum", "none"):
        same(smooth_l1_loss(x, y, reduction, 0.7), smooth_l1_loss(a, b, reduction, 0.7))
        same(smooth_l1_loss(y, x, reduction, 0.7), smooth_l1_loss(b, a, reduction, 0.7))
        same(smooth_l1_grad(x, y, reduction, 0.7), smooth_l1_grad(a, b, reduction, 0.7))
    assert smooth_l1_loss(x, 0.5).dtype == BFLOAT16
    assert smooth_l1_loss(x, BFLOAT16.type(0.5)).dtype == BFLOAT16
    assert smooth_l1_loss(x, np.float32(0.5)).dtype == np.float32


def test_reductions_are_rounded_once(rng):
    x, y = rng.standard_normal((2, 999)).astype(BFLOAT16)
    a, b = x.astype(np.float64), y.astype(np.float64)
    for function, name in ((smooth_l1_loss, "beta"), (huber_loss, "delta")):
        for reduction in ("mean", "sum"):
            for threshold in (0.37, 1.0):
                options = {name: threshold}
                for exact in (False, True):
                    got = function(x, y, reduction, **options, exact=exact)
                    assert type(got) is BFLOAT16.type
                    wide = function(a, b, reduction, **options, exact=True)
                    np.testing.assert_allclose(float(got), wide, rtol=2.0**-8)
    # The mean of these is just above a tie, and float32 has no room to say so.
    z = np.array([1 + 2.0**-8] * 2 + [2.0**-30, 0], np.float32)
    total = np.float64(2 * (1 + 2.0**-8) + 2.0**-30)
    for exact in (False, True):
        out = np.empty((), BFLOAT16)
        smooth_l1_loss(z.astype(np.float64), 0.0, "sum", 0.0, out=out, exact=exact)
        same(out, nearest([total]).view(BFLOAT16)[0])


def test_exact_sums(rng):
    x, y = rng.standard_normal((2, 500)).astype(BFLOAT16)
    a, b = x.astype(np.float32), y.astype(np.float32)
    for dtype in (np.float32, np.float64):
        narrow = LossSums(0.37, dtype=dtype).update(x, y, weight=np.abs(x))
        assert narrow == LossSums(0.37, dtype=dtype).update(a, b, weight=np.abs(a))
    groups = smoothl1.GroupedLossSums(0.37).update(x, y, np.arange(500) % 3)
    wide = smoothl1.GroupedLossSums(0.37).update(a, b, np.arange(500) % 3)
    assert groups.to_bytes() == wide.to_bytes()
    total = LossSums(0.37, dtype=np.float32).update(x, y).compute("sum")
    loss = smooth_l1_loss(x, y, "sum", 0.37, exact=True)
    assert abs(float(loss) - total) <= 2.0**-8 * total


def test_path_and_location(rng):
    x, y = rng.standard_normal((2, 3000)).astype(BFLOAT16)
    betas = [0.0, 0.37, 1.0]
    for exact in (False, True):
        path = smooth_l1_path(x, y, betas, exact=exact)
        same(path, np.array([smooth_l1_loss(x, y, "mean", b, exact=exact) for b in betas]))
    for values in (x, x[::-3], np.broadcast_to(x, (2000, 3000))):  # the last goes in parts
        got = huber_location(values, 0.37)
        assert type(got) is BFLOAT16.type
        same(got, nearest([huber_location(values.astype(np.float64), 0.37)]).view(BFLOAT16)[0])
    weighted = huber_location(y.astype(np.float64), 1.0, sample_weight=np.abs(x))
    assert weighted == huber_location(
        y.astype(np.float64), 1.0, sample_weight=np.abs(x).astype("f8")
    )


def test_ufuncs(rng):
    x, y = rng.standard_normal((2, 300)).astype(BFLOAT16)
    a, b = x.astype(np.float32), y.astype(np.float32)
    for name in ufuncs.__all__:
        function = getattr(ufuncs, name)
        same(function(x, y, 0.37), function(a, b, np.float32(0.37)))
        same(function(x, y.astype(np.float16), np.abs(x)), function(a, b.astype("f2"), np.abs(a)))
        # As with the functions: integers are computed in float64.
        small = np.arange(300).astype(np.int8)
        same(function(x, small, 0.37), function(x.astype("f8"), small.astype("f8"), 0.37))


def test_metrics_and_objects(rng):
    metrics = pytest.importorskip("smoothl1.metrics", exc_type=ImportError)
    x, y = rng.standard_normal((2, 300)).astype(BFLOAT16)
    assert metrics.mean_smooth_l1_loss(y, x) == metrics.mean_smooth_l1_loss(
        y.astype(np.float64), x.astype(np.float64)
    )
    loss = smoothl1.SmoothL1Loss(beta=BFLOAT16.type(0.5))
    same(loss(x, y), smooth_l1_loss(x, y, beta=0.5))


def test_dask(rng):
    da = pytest.importorskip("dask.array")
    lazy = pytest.importorskip("smoothl1.dask")
    x, y = rng.standard_normal((2, 50)).astype(BFLOAT16)
    found = lazy.smooth_l1_loss(da.from_array(x, chunks=7), y)
    assert found.dtype == BFLOAT16
    same(found.compute(), smooth_l1_loss(x, y, exact=True))
    same(lazy.smooth_l1_loss(da.from_array(x, chunks=7), y, "none").compute(),
         smooth_l1_loss(x, y, "none"))  # fmt: skip


def test_what_is_refused():
    x = np.zeros(3, BFLOAT16)
    with pytest.raises(TypeError, match=r"\|V2; .* bfloat16, pass \.view\(ml_dtypes\.bfloat16\)"):
        smooth_l1_loss(x.view("V2"), x)
    with pytest.raises(TypeError, match="input has dtype float8_e4m3fn"):
        smooth_l1_loss(x.astype(ml_dtypes.float8_e4m3fn), x)
    with pytest.raises(ValueError, match="beta must be >= 0 everywhere, got -1"):
        smooth_l1_loss(x, x, beta=x - BFLOAT16.type(1))
    with pytest.raises(TypeError, match=r"must be of dtype bool, got bfloat16; .*np\.not_equal"):
        smooth_l1_loss(x, x, where=x)
    with pytest.raises(TypeError, match="out must be of dtype float16, bfloat16"):
        smooth_l1_loss(x, x, "none", out=np.zeros(3, ml_dtypes.float8_e4m3fn))
    with pytest.warns(RuntimeWarning, match="mean of no elements"):
        assert np.isnan(smooth_l1_loss(x[:0], x[:0]))


def test_nothing_is_imported_for_it():
    """A dtype of the name, whoever registered it; the library itself imports NumPy only."""
    import subprocess
    import sys

    code = "import sys, smoothl1, smoothl1.metrics; print('ml_dtypes' in sys.modules)"
    pytest.importorskip("sklearn")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
