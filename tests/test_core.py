"""What the estimators and the drivers ask of the compiled core, without a function in between."""

import math
from fractions import Fraction

import numpy as np
import pytest

from smoothl1 import smooth_l1_grad, smooth_l1_loss
from smoothl1._simd import core
from tests import reference


@pytest.mark.parametrize("n", [1, 5, 31, 255, 256, 257, 600])
@pytest.mark.parametrize("beta", [0.37, 1.0, 1e3])
def test_line_derivatives(n, beta, rng):
    """Those of sum w smooth_l1(r - t d), against exact sums of the definition."""
    r, d = rng.standard_normal((2, n))
    w = rng.uniform(0, 2, n)
    step = 0.3
    slope = curvature = Fraction(0)
    size = 0.0
    for ri, di, wi in zip(r, d, w, strict=True):
        z = ri - step * di  # rounded twice, as the residuals are
        slope -= Fraction(wi) * Fraction(di) * reference.exact_slope(z, beta)
        size += wi * abs(di)
        if abs(z) < beta:
            curvature += Fraction(wi) * Fraction(di) ** 2 / Fraction(beta)
    got = core.line_derivatives(r, d, w, step, beta)
    assert abs(got[0] - slope) <= 4 * np.finfo(float).eps * size
    assert got[1] == pytest.approx(float(curvature), rel=1e-15, abs=0)


def test_line_derivatives_at_the_edges():
    empty = np.empty(0)
    assert core.line_derivatives(empty, empty, empty, 1.0, 1.0) == (0.0, 0.0)
    one, two = np.ones(1), np.ones(2)
    for arrays in ((one, two, two), (two, one, two), (two, two, one)):
        with pytest.raises(ValueError, match="arrays of one length"):
            core.line_derivatives(*arrays, 1.0, 1.0)
    # A residual at the threshold is linear, where the second derivative is 0.
    assert core.line_derivatives(np.array([2.0]), one, one, 1.0, 1.0) == (-1.0, 0.0)
    slope, _ = core.line_derivatives(np.array([np.nan]), one, one, 1.0, 1.0)
    assert math.isnan(slope)


@pytest.mark.parametrize("n", [3, 5000, 40_000])
def test_work_that_is_used_again(dtype, n, rng):
    """A sum of weights, then gradients, as for a weighted mean; each as from a new object."""
    x, y = rng.standard_normal((2, n)).astype(dtype)
    w = rng.uniform(0.5, 2, n).astype(dtype)
    where = rng.uniform(size=n) < 0.8
    where[0] = True
    options = {"betas": [0.37], "huber": False, "single": dtype is np.float32}
    options |= {"weight": w, "where": where}

    def work():
        return core.Work(x, y, **options)

    used = work()
    total = used.sum_weights()
    assert total == work().sum_weights()
    assert total == pytest.approx(w[where].sum(dtype=np.float64), rel=1e-14)
    grad, fresh = np.empty((2, n), dtype)
    used.write_slopes(grad, False, 0.5)
    work().write_slopes(fresh, False, 0.5)
    np.testing.assert_array_equal(grad, fresh)
    np.testing.assert_array_equal(
        grad, smooth_l1_grad(x, y, "sum", 0.37, grad_output=0.5, weight=w, where=where)
    )
    used.write_values(grad, False)
    np.testing.assert_array_equal(grad, smooth_l1_loss(x, y, "none", 0.37, weight=w, where=where))
    assert used.sum_weights() == total
    assert used.sum("sum", np.dtype(dtype))[0] == smooth_l1_loss(
        x, y, "sum", 0.37, weight=w, where=where
    )


def thresholds(dtype, n):
    """Arrays of thresholds, one bad value at each place among good ones, and all good."""
    good = np.linspace(0.5, 2.0, n).astype(dtype)
    yield good
    for bad in (np.nan, -1.0, -np.inf, -0.0, 0.0, 1e-45, np.inf):
        for place in range(n):
            a = good.copy()
            a[place] = bad
            yield a


@pytest.mark.parametrize("huber", [False, True])
@pytest.mark.parametrize("dtype", ["f4", "f8"])
@pytest.mark.parametrize("n", [0, 1, 7, 37])
def test_thresholds_of_arrays(n, dtype, huber):
    least = np.finfo("f4").tiny if huber else 0.0
    for a in thresholds(dtype, n):
        assert core.are_thresholds(a, huber) is bool((a >= least).all())


def test_thresholds_in_doubt_are_left_alone():
    many = np.ones(50_000)
    for dtype in ("f4", "f8"):
        a = many.astype(dtype)
        assert core.are_thresholds(a, False)
        a[40_000] = np.nan
        assert not core.are_thresholds(a, False)
    for a in (many[::2], many.astype(">f8"), many.astype("f2"), many.astype(int)):
        assert not core.are_thresholds(a, False)


@pytest.mark.parametrize(
    "shape", [(), (1,), (3,), (1, 3), (2, 1), (2, 3), (0, 3), (4, 2, 3), (1, 1, 1)]
)
@pytest.mark.parametrize("like", [(), (3,), (2, 3), (2, 0), (0, 3), (4, 2, 3), (1, 2, 1)])
def test_broadcast(shape, like):
    a, b = np.arange(math.prod(shape)).reshape(shape), np.empty(like)
    try:
        expected = np.broadcast_to(a, like)
    except ValueError:
        assert core.broadcast(a, b) is None
        return
    view = core.broadcast(a, b)
    np.testing.assert_array_equal(view, expected)
    if shape == like:
        assert view is a
        return
    assert view.shape == like
    assert view.base is not None
    assert not view.flags.writeable
    assert not view.flags.owndata


def test_a_broadcast_view_keeps_its_array():
    view = core.broadcast(np.full((3, 1), 7.0)[::-1], np.empty((3, 100_000)))
    assert (view == 7.0).all()
    swapped = core.broadcast(np.arange(3, dtype=">i2")[1:2], np.empty(4))
    assert swapped.dtype == ">i2"
    assert swapped.tolist() == [1] * 4


def test_memory_that_is_apart():
    table = np.zeros((4, 6))
    left, right = table[:, :3], table[:, 3:]
    assert core.are_apart(table[:2], (table[2:], None, 1.0, np.zeros(3)))
    assert not core.are_apart(left, (None, right))  # between each other: there is more to ask
    assert not core.are_apart(table[::-1], (table[:1],))
    assert not core.are_apart(table[1], (table[2], table[:, 0]))
    assert core.are_apart(table[:0], (table,))
    assert core.are_apart(table, ())


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (2, 1, 0)])
@pytest.mark.parametrize("n_kept", [0, 1, 2])
@pytest.mark.parametrize("shape", [(3, 4, 5), (40, 1, 50)])
def test_work_in_an_order_of_axes(shape, n_kept, order, dtype, rng):
    """As on arrays that are transposed beforehand, some of them summed side by side."""
    x, y, w = rng.standard_normal((3, *shape)).astype(dtype)
    where = rng.uniform(size=shape) < 0.8
    options = {"betas": [0.37], "huber": False, "single": dtype is np.float32, "n_kept": n_kept}
    walked = core.Work(x, y, weight=w, where=where, order=order, **options)
    x2, y2, w2, where2 = (a.transpose(order) for a in (x, y, w, where))
    work = core.Work(x2, y2, weight=w2, where=where2, **options)
    got, expected = (each.sum("sum", np.dtype(dtype)) for each in (walked, work))
    np.testing.assert_array_equal(got[0], expected[0])
    assert got[0].shape == (math.prod(shape[axis] for axis in order[:n_kept]), 1)
    if n_kept == 0:
        values, again = np.empty((2, *shape), dtype)
        walked.write_values(values, False)
        work.write_values(again.transpose(order), False)
        np.testing.assert_array_equal(values, again)


def test_an_order_has_all_axes():
    x = np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"order must have 2 axes, got \(0,\)"):
        core.Work(x, x, betas=[1.0], huber=False, single=False, order=(0,))
