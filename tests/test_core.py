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
