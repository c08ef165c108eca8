"""Any layout and dtype gives the bits of the contiguous native copy."""

import numpy as np
import pytest

from smoothl1 import (
    num_threads,
    smooth_l1_grad,
    smooth_l1_grad_hess,
    smooth_l1_loss,
    smooth_l1_value_and_grad,
)
from tests import reference


def unaligned(a):
    raw = np.empty(a.nbytes + 1, np.uint8)[1:]
    view = raw.view(a.dtype).reshape(a.shape)
    view[...] = a
    assert not view.flags.aligned
    return view


def every_third(a):
    base = np.zeros((*a.shape[:-1], 3 * a.shape[-1]), a.dtype)
    base[..., ::3] = a
    return base[..., ::3]


def column(a):
    base = np.zeros((*a.shape, 2), a.dtype)
    base[..., 1] = a
    return base[..., 1]


def field(a):
    records = np.zeros(a.shape, [("pad", "u1"), ("value", a.dtype)])
    records["value"] = a
    return records["value"]


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def padded(a):
    base = np.zeros([extent + 3 for extent in a.shape], a.dtype)
    inner = base[tuple(slice(1, extent + 1) for extent in a.shape)]
    inner[...] = a
    return inner


def middle_first(a):
    order = np.roll(np.arange(a.ndim), 1)
    return np.ascontiguousarray(a.transpose(order)).transpose(np.argsort(order))


LAYOUTS = {
    "contiguous": np.ascontiguousarray,
    "fortran": np.asfortranarray,
    "reversed": lambda a: a[..., ::-1].copy()[..., ::-1],
    "all_reversed": lambda a: np.flip(np.flip(a).copy()),
    "every_third": every_third,
    "column": column,
    "swapped": lambda a: a.astype(a.dtype.newbyteorder()),
    "swapped_fortran": lambda a: np.asfortranarray(a.astype(a.dtype.newbyteorder())),
    "unaligned": unaligned,
    "field": field,
    "read_only": read_only,
    "padded": padded,
    "middle_first": middle_first,
}
SHAPES = [(1,), (7,), (5000,), (3, 5), (1500, 4), (4, 1500), (70, 81, 2), (2, 1, 5, 1, 700), (1, 1)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(dtype, layout, shape, rng):
    x, y = rng.standard_normal((2, *shape)).astype(dtype)
    u = LAYOUTS[layout](x)
    np.testing.assert_array_equal(u, x)
    for beta in (0.37, 1.0):
        for a, b in ((u, y), (x, LAYOUTS[layout](y)), (u, LAYOUTS[layout](y))):
            for reduction in ("mean", "sum", "none"):
                got = smooth_l1_loss(a, b, reduction, beta)
                np.testing.assert_array_equal(got, smooth_l1_loss(x, y, reduction, beta))
                assert got.dtype == dtype
                assert got.dtype.isnative
                loss, grad = smooth_l1_value_and_grad(a, b, reduction, beta)
                np.testing.assert_array_equal(loss, got)
                np.testing.assert_array_equal(grad, smooth_l1_grad(x, y, reduction, beta))
            for one, other in zip(
                smooth_l1_grad_hess(a, b, beta), smooth_l1_grad_hess(x, y, beta), strict=True
            ):
                np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_weights_thresholds_and_masks(dtype, layout, rng):
    shape = (60, 90)
    x, y = rng.standard_normal((2, *shape)).astype(dtype)
    w = rng.uniform(0, 2, shape).astype(dtype)
    b = rng.uniform(0, 2, shape).astype(dtype)
    mask = rng.uniform(size=shape) < 0.8
    change = LAYOUTS[layout]
    u = change(mask) if layout not in ("swapped", "swapped_fortran", "unaligned") else mask
    for reduction in ("none", "mean", "sum", "weighted_mean"):
        np.testing.assert_array_equal(
            smooth_l1_loss(x, y, reduction, change(b), weight=change(w), where=u),
            smooth_l1_loss(x, y, reduction, b, weight=w, where=mask),
        )
        np.testing.assert_array_equal(
            smooth_l1_grad(x, y, reduction, change(b), weight=change(w), where=u),
            smooth_l1_grad(x, y, reduction, b, weight=w, where=mask),
        )


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts_of_out(dtype, layout, rng):
    if layout == "read_only":
        pytest.skip("out must be writeable")
    x, y = rng.standard_normal((2, 40, 150)).astype(dtype)
    for source in (x, np.asfortranarray(x)):
        out = LAYOUTS[layout](np.full(x.shape, np.nan, dtype))
        assert smooth_l1_loss(source, y, "none", out=out) is out
        np.testing.assert_array_equal(out, smooth_l1_loss(x, y, "none"))
        loss, grad = smooth_l1_value_and_grad(source, y, "sum", out=out)
        assert grad is out
        assert loss == smooth_l1_loss(x, y, "sum")
        np.testing.assert_array_equal(out, smooth_l1_grad(x, y, "sum"))
        second = LAYOUTS[layout](np.full(x.shape, np.nan, dtype))
        smooth_l1_grad_hess(source, y, 0.5, out=(out, second))
        np.testing.assert_array_equal(out, smooth_l1_grad(x, y, "none", 0.5))
        np.testing.assert_array_equal(second, smooth_l1_grad_hess(x, y, 0.5)[1])


def test_strides_of_zero_are_read_in_place(dtype, rng):
    row = rng.standard_normal(50).astype(dtype)
    x = rng.standard_normal((300, 50)).astype(dtype)
    wide = np.broadcast_to(row, x.shape)
    tall = np.broadcast_to(x[:, :1], x.shape)
    for a, b in ((x, wide), (wide, x), (x, tall), (wide, tall), (wide, wide)):
        for reduction in ("mean", "none"):
            np.testing.assert_array_equal(
                smooth_l1_loss(a, b, reduction), smooth_l1_loss(a.copy(), b.copy(), reduction)
            )


def test_result_keeps_the_memory_order_of_the_input(rng):
    x, y = rng.standard_normal((2, 6, 7, 8))
    for order in ((0, 1, 2), (2, 1, 0), (1, 0, 2)):
        a = np.ascontiguousarray(x.transpose(order)).transpose(np.argsort(order))
        loss = smooth_l1_loss(a, y, "none")
        assert loss.strides == a.strides
        np.testing.assert_array_equal(loss, smooth_l1_loss(x, y, "none"))


MIXES = [
    (np.float32, np.float64, np.float64),
    (np.float64, np.float32, np.float64),
    (np.float16, np.float16, np.float16),
    (np.float16, np.float32, np.float32),
    (np.float64, np.float16, np.float64),
    *((kind, kind, np.float64) for kind in "bBhHiIlLqQ?"),
    (np.int8, np.float32, np.float64),
    (np.float16, np.uint8, np.float64),
    (np.bool_, np.int64, np.float64),
    (">f4", "<f8", np.float64),
    (">f4", ">f4", np.float32),
    (">f2", "<f2", np.float16),
    (">i2", ">u4", np.float64),
    (">i8", "<f4", np.float64),
]


@pytest.mark.parametrize(("first", "second", "expected"), MIXES)
def test_mixed_dtypes(first, second, expected, rng):
    expected = np.dtype(expected)
    working = np.float32 if expected == np.float16 else expected
    for shape in ((37,), (4, 1500), (50, 3)):
        x, y = ((rng.standard_normal((2, *shape)) * 3 + 2).clip(0, 100)).round(2)
        x, y = x.astype(first), y.astype(second)
        a, b = x.astype(working), y.astype(working)
        for reduction in ("mean", "sum", "none"):
            got = smooth_l1_loss(x, y, reduction, 0.7)
            assert got.dtype == expected
            with np.errstate(over="ignore"):
                want = smooth_l1_loss(a, b, reduction, 0.7).astype(expected)
            np.testing.assert_array_equal(got, want)
            grad = smooth_l1_grad(x, y, reduction, 0.7)
            assert grad.dtype == expected
            np.testing.assert_array_equal(
                grad, smooth_l1_grad(a, b, reduction, 0.7).astype(expected)
            )
        for transposed in (x.T, np.flip(x)):
            other = y.T if transposed.base is not None and transposed.shape != x.shape else y
            if other.shape == transposed.shape:
                np.testing.assert_array_equal(
                    smooth_l1_loss(transposed, other, "none"),
                    smooth_l1_loss(transposed.copy(), other.copy(), "none"),
                )


def test_every_half_is_read_and_written_exactly():
    x = np.arange(2**16, dtype=np.uint16).view(np.float16)
    x = x[np.isfinite(x)]
    got = smooth_l1_loss(x, np.float16(0), "none", 0.0)
    assert got.dtype == np.float16
    np.testing.assert_array_equal(got, np.abs(x))
    reference_values = reference.values(x.astype(np.float32), np.float32(0), 1.0)
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(
            smooth_l1_loss(x, np.float16(0), "none"), reference_values.astype(np.float16)
        )


def test_weights_do_not_change_the_dtype(dtype, rng):
    x, y = rng.standard_normal((2, 30)).astype(dtype)
    for w in (np.ones(30), np.ones(30, np.float32), np.ones(30, int), [1] * 30, 1.0, True):
        got = smooth_l1_loss(x, y, weight=w)
        assert got.dtype == dtype
        assert got == smooth_l1_loss(x, y)


def test_large_integers_are_rounded_once():
    x = np.array([2**53 + 1, 2**63 - 1, -(2**63)], np.int64)
    y = np.zeros(3, np.int64)
    np.testing.assert_array_equal(smooth_l1_loss(x, y, "none", 0.0), np.abs(x.astype(np.float64)))
    u = np.array([2**64 - 1], np.uint64)
    assert smooth_l1_loss(u, 0, "sum", 0.0) == float(2**64 - 1)


def test_python_numbers_take_the_dtype_of_the_array(rng):
    for dtype in (np.float16, np.float32, np.float64):
        x = rng.standard_normal(20).astype(dtype)
        for number in (0, 0.5, True):
            assert smooth_l1_loss(x, number, "none").dtype == dtype
            assert smooth_l1_loss(number, x).dtype == dtype
    assert smooth_l1_loss(np.arange(3), 0.5).dtype == np.float64
    assert smooth_l1_loss(1, 2.5) == np.float64(1.0)
    assert smooth_l1_loss(np.zeros(3, np.float32), np.float64(1)).dtype == np.float64


@pytest.mark.parametrize("threads", [1, 2])
def test_large_out_has_the_bits_of_a_fresh_result(threads):
    """From 64 MB on, ``out`` is written past the caches; here it starts off any vector."""
    n = 2**24 + 3
    x = np.linspace(-3, 3, n, dtype=np.float32)
    y = np.zeros(n, np.float32)
    space = np.full(n + 2, 7, np.float32)
    out = space[1:-1]
    with num_threads(threads):
        assert smooth_l1_loss(x, y, "none", out=out) is out
        np.testing.assert_array_equal(out, smooth_l1_loss(x, y, "none"))
        loss, grad = smooth_l1_value_and_grad(x, y, out=out)
        fresh_loss, fresh = smooth_l1_value_and_grad(x, y)
        assert grad is out
        assert loss == fresh_loss
        np.testing.assert_array_equal(out, fresh)
    assert space[0] == space[-1] == 7
