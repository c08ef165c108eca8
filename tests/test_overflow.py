"""Results that are finite although something on the way to them is not."""

import numpy as np
import pytest

from smoothl1 import (
    huber_loss,
    huber_value_and_grad,
    smooth_l1_grad,
    smooth_l1_grad_hess,
    smooth_l1_loss,
    smooth_l1_path,
    smooth_l1_value_and_grad,
)

LARGEST = {np.float32: np.finfo(np.float32).max, np.float64: np.finfo(np.float64).max}


@pytest.fixture
def largest(dtype):
    return LARGEST[dtype]


def close(got, wanted, dtype):
    np.testing.assert_allclose(got, wanted, rtol=3 * np.finfo(dtype).eps)


@pytest.mark.parametrize("n", [1, 3, 100, 2000, 9000])
def test_the_mean_of_large_losses(n, dtype, largest):
    z = np.full(n, 0.75 * largest, dtype)
    for beta in (0.0, 1.0, 0.7, 0.1 * largest):
        wanted = dtype(0.75 * largest - beta / 2)
        close(smooth_l1_loss(z, dtype(0), "mean", beta), wanted, dtype)
        close(smooth_l1_loss(z, dtype(0), "mean", np.full(n, beta, dtype)), wanted, dtype)
        loss, grad = smooth_l1_value_and_grad(z, dtype(0), "sum", beta)
        assert loss == np.inf if n > 1 else loss < np.inf
        assert (grad == 1).all()
        close(smooth_l1_value_and_grad(z, dtype(0), "mean", beta)[0], wanted, dtype)
        close(smooth_l1_path(z, np.zeros(n, dtype), [beta])[0], wanted, dtype)


def test_the_sum_at_the_threshold(dtype, largest):
    """Of two residuals that are the threshold, the largest number but for an eighth."""
    z = np.full(2, 0.875 * largest, dtype)
    close(smooth_l1_loss(z, dtype(0), "sum", float(z[0])), z[0], dtype)
    root = np.sqrt(0.75 * largest).astype(dtype)
    for delta in (float(root), np.array([root])):  # z**2 and delta**2 / 2 on the way
        close(huber_loss([root], dtype([0]), "sum", delta), dtype(0.375 * largest), dtype)
        close(
            huber_value_and_grad([root], dtype([0]), "sum", delta)[0], dtype(0.375 * largest), dtype
        )


def test_weighted_terms(dtype, largest):
    z = dtype([0.97 * largest])
    w = dtype([1.9])
    for reduction in ("sum", "mean"):
        none = smooth_l1_loss(z, dtype([0]), "none", float(0.94 * largest), weight=w)
        assert np.isfinite(none).all()
        close(
            smooth_l1_loss(z, dtype([0]), reduction, float(0.94 * largest), weight=w),
            none[0],
            dtype,
        )
    # Of both signs: infinity less infinity on the way.
    x = np.full(3, 0.9 * largest, dtype)
    for w in ([2, -2, 1], [-1.5, 1, 1]):
        weight = np.array(w, dtype)
        wanted = dtype(0.9 * largest * float(sum(w)))
        close(smooth_l1_loss(x, dtype(0), "sum", 0.0, weight=weight), wanted, dtype)


def test_outputs_beside_each_other(dtype, largest):
    x = np.full((3, 4), 0.9 * largest, dtype)
    x[1] = 1
    x[2, 0] = np.nan
    x[2, 1] = np.inf
    got = smooth_l1_loss(x, np.zeros_like(x), axis=1)
    close(got[:2], dtype([0.9 * largest, 0.5]), dtype)
    assert np.isnan(got[2])
    got = smooth_l1_loss(x, np.zeros_like(x), "mean", 0.7, axis=0)
    assert np.isnan(got[0])
    assert np.isinf(got[1])
    close(got[2:], smooth_l1_loss(x[:, 2], dtype(0), "mean", 0.7), dtype)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_a_difference_that_overflows(reduction, dtype, largest):
    x, y = dtype([0.6 * largest]), dtype([-0.6 * largest])
    beta = float(0.9 * largest)
    wanted = dtype(0.75 * largest)
    for threshold in (beta, np.array([beta])):
        close(smooth_l1_loss(x, y, reduction, threshold), wanted, dtype)
        close(smooth_l1_loss(y, x, reduction, threshold), wanted, dtype)
        assert smooth_l1_grad(x, y, reduction, threshold) == 1
        assert smooth_l1_grad(y, x, reduction, threshold) == -1
    for threshold in (np.inf, np.array([np.inf])):
        assert smooth_l1_loss(x, y, reduction, threshold) == 0
        assert smooth_l1_grad(x, y, reduction, threshold) == 0
        loss, grad = smooth_l1_value_and_grad(x, y, reduction, threshold)
        assert loss == 0
        assert grad == 0
    # An operand that is infinite stays so.
    assert smooth_l1_loss(dtype([np.inf]), y, reduction, np.inf) == np.inf
    assert smooth_l1_grad(dtype([np.inf]), y, reduction, np.inf) == 1


def test_a_slope_within_a_threshold_that_the_difference_exceeds_in_no_format(dtype, largest):
    x, y = dtype([0.501 * largest]), dtype([-0.501 * largest])
    beta = float(largest)
    grad, hess = smooth_l1_grad_hess(x, y, beta)
    assert grad == 1
    assert hess == 0
    majorizer = smooth_l1_grad_hess(x, y, beta, hessian="majorizer")[1]
    np.testing.assert_allclose(majorizer, 0.5 / (0.501 * largest), rtol=1e-6)
    grad, hess = smooth_l1_grad_hess(x, y, np.inf)
    assert grad == 0
    assert hess == 0


@pytest.mark.parametrize("power", [100, 120, 125, 127])
def test_a_large_threshold_in_float32_loses_nothing(power, rng):
    """Where z / beta is subnormal and the loss is not."""
    beta = float(np.float32(1.37 * 2.0**power))
    z = rng.uniform(1, 16, 50).astype(np.float32) * np.float32(2.0 ** ((power - 127) // 2))
    for value in z:
        exact = float(value) ** 2 / (2 * beta)
        got = float(smooth_l1_loss(value, np.float32(0), "sum", beta))
        assert abs(got - exact) <= 2 * max(np.spacing(np.float32(exact)), 2.0**-149)


def test_real_overflow_is_infinite(dtype, largest):
    x = np.full(3, 0.9 * largest, dtype)
    assert smooth_l1_loss(x, dtype(0), "sum") == np.inf
    assert smooth_l1_loss(x, dtype(0), "sum", weight=dtype(-1)) == -np.inf
    assert huber_loss(x, dtype(0), "mean", 4.0) == np.inf


def test_value_and_gradient_in_place(dtype, largest):
    """The sum finds its operands as they were, although the gradient has taken their place."""
    for layout in (slice(None), slice(None, None, 2)):
        x = np.full(18, 0.75 * largest, dtype)[layout]
        wanted = smooth_l1_value_and_grad(x.copy(), dtype(0), beta=0.7)
        loss, grad = smooth_l1_value_and_grad(x, dtype(0), beta=0.7, out=x)
        assert np.isfinite(loss)
        assert loss == wanted[0]
        np.testing.assert_array_equal(grad, wanted[1])
        assert grad is x
    out = np.empty(18, dtype)[::2]
    assert (
        smooth_l1_value_and_grad(np.full(9, 0.75 * largest, dtype), dtype(0), out=out)[0] < np.inf
    )
