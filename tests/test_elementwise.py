"""Values, gradients and second derivatives of single elements."""

from fractions import Fraction

import numpy as np
import pytest

from smoothl1 import (
    huber_grad,
    huber_loss,
    smooth_l1_grad,
    smooth_l1_grad_hess,
    smooth_l1_loss,
    smooth_l1_value_and_grad,
)
from tests import reference

TINY = {np.float32: 2.0**-149, np.float64: 2.0**-1074}
NORMAL = {np.float32: 2.0**-126, np.float64: 2.0**-1022}
HUGE = {np.float32: float(np.finfo(np.float32).max), np.float64: float(np.finfo(np.float64).max)}


def thresholds(dtype):
    tiny, normal, huge = TINY[dtype], NORMAL[dtype], HUGE[dtype]
    return [
        tiny, 2 * tiny, 3 * tiny, 1000 * tiny, normal, 1.5 * normal, 1e-30, 1e-10, 0.1, 0.37,
        0.5, 1.0, 1.35, 2.0, 3.0, 1e4, 1e30, huge / 4, huge / 3, huge,
    ]  # fmt: skip


def residuals(dtype, beta, rng):
    """Residuals around beta, and at the ends of the range."""
    tiny, normal, huge = TINY[dtype], NORMAL[dtype], HUGE[dtype]
    beta = dtype(beta)
    with np.errstate(over="ignore", under="ignore"):
        near = beta * rng.uniform(0, 2, 60).astype(dtype)
        scaled = beta * np.exp(rng.normal(0, 8, 60)).astype(dtype)
        around = [np.nextafter(beta, dtype(0)), beta, np.nextafter(beta, dtype(np.inf))]
    edges = [0, tiny, 2 * tiny, 3 * tiny, 5 * tiny, normal, 1.0, 1e3, huge / 2, huge]
    z = np.concatenate([near, scaled, np.array(edges, dtype), np.array(around, dtype)])
    z = z[np.isfinite(z)].astype(dtype)
    return z * rng.choice(np.array([-1, 1], dtype), z.size)


@pytest.mark.parametrize("huber", [False, True], ids=["smooth_l1", "huber"])
def test_within_two_ulp_for_every_beta(dtype, huber, rng):
    loss, grad = (huber_loss, huber_grad) if huber else (smooth_l1_loss, smooth_l1_grad)
    worst = [0.0, 0.0]
    for threshold in thresholds(dtype):
        beta = float(dtype(threshold))
        d = residuals(dtype, beta, rng)
        got = loss(d, dtype(0), "none", beta), grad(d, dtype(0), "none", beta)
        for i, z in enumerate(d):
            exact = (
                reference.exact_value(abs(z), beta, huber),
                reference.exact_slope(z, beta, huber),
            )
            for k in range(2):
                error = reference.ulp_error(got[k][i], exact[k], dtype)
                assert error <= 2, (k, beta, z, got[k][i], float(exact[k]))
                worst[k] = max(worst[k], error)
    assert worst[0] > 0  # the comparison sees rounding at all


@pytest.mark.parametrize("huber", [False, True], ids=["smooth_l1", "huber"])
def test_array_threshold_gives_the_same_bits(dtype, huber, rng):
    loss, grad = (huber_loss, huber_grad) if huber else (smooth_l1_loss, smooth_l1_grad)
    for threshold in thresholds(dtype):
        beta = float(dtype(threshold))
        d = residuals(dtype, beta, rng)
        array = np.full(d.shape, beta, dtype)
        for function in (loss, grad):
            np.testing.assert_array_equal(
                function(d, dtype(0), "none", array), function(d, dtype(0), "none", beta)
            )


@pytest.mark.parametrize("beta", [0.5, 1.0, 2.0, 1024.0, 2.0**-20])
def test_power_of_two_has_the_bits_of_the_division(dtype, beta, rng):
    x = rng.standard_normal(1000).astype(dtype)
    z = np.abs(x)
    beta = dtype(beta)
    half = dtype(0.5)
    expected = np.where(z < beta, half * z * (z / beta), z - half * beta)
    np.testing.assert_array_equal(smooth_l1_loss(x, dtype(0), "none", beta), expected)
    expected = np.clip(x / beta, -1, 1)
    np.testing.assert_array_equal(smooth_l1_grad(x, dtype(0), "none", beta), expected)


@pytest.mark.parametrize("beta", [0.37, 1.35, 3.0])
def test_other_betas_have_the_bits_of_the_division(dtype, beta, rng):
    x = rng.standard_normal(1000).astype(dtype)
    z, b, half = np.abs(x), dtype(beta), dtype(0.5)
    expected = np.where(z < b, half * z * (z / b), z - half * b)
    np.testing.assert_array_equal(smooth_l1_loss(x, dtype(0), "none", beta), expected)
    np.testing.assert_array_equal(smooth_l1_grad(x, dtype(0), "none", beta), np.clip(x / b, -1, 1))


def test_beta_zero_is_l1(dtype, rng):
    x, y = rng.standard_normal((2, 300)).astype(dtype)
    x[::7] = y[::7]
    np.testing.assert_array_equal(smooth_l1_loss(x, y, "none", 0.0), np.abs(x - y))
    np.testing.assert_array_equal(smooth_l1_grad(x, y, "none", 0.0), np.sign(x - y))
    assert smooth_l1_loss(x, y, "sum", 0.0) == smooth_l1_loss(x, y, "sum", 0)


def test_beta_that_rounds_to_zero_is_l1_for_every_element():
    # 1e-46 is 0 in float32; 37 elements are a vector body and a scalar tail.
    x = np.linspace(-1, 1, 37, dtype=np.float32)
    np.testing.assert_array_equal(smooth_l1_loss(x, np.float32(0), "none", 1e-46), np.abs(x))
    np.testing.assert_array_equal(smooth_l1_grad(x, np.float32(0), "none", 1e-46), np.sign(x))
    array = np.full(37, 1e-46)
    np.testing.assert_array_equal(smooth_l1_grad(x, np.float32(0), "none", array), np.sign(x))
    assert smooth_l1_loss(x, np.float32(0), "sum", array) == smooth_l1_loss(
        x, np.float32(0), "sum", 0.0
    )


def test_infinite_threshold(dtype):
    x = np.array([0.0, 1.0, -1e30], dtype)
    zero = dtype(0)
    np.testing.assert_array_equal(smooth_l1_loss(x, zero, "none", np.inf), [0, 0, 0])
    np.testing.assert_array_equal(smooth_l1_grad(x, zero, "none", np.inf), [0, 0, 0])
    assert smooth_l1_loss(x, zero, "mean", np.inf) == 0
    small = np.array([3.0, -4.0], dtype)
    np.testing.assert_array_equal(huber_loss(small, zero, "none", np.inf), [4.5, 8])
    np.testing.assert_array_equal(huber_grad(small, zero, "none", np.inf), [3, -4])
    assert huber_loss(small, zero, "sum", np.inf) == 12.5


BETAS = [0.0, 1e-3, 0.37, 1.0, 2.0, 1e4, np.inf]


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("position", [0, 5, 31, 40])
def test_nan_propagates(dtype, beta, position):
    for side in range(2):
        pair = np.ones((2, 41), dtype)
        pair[side, position] = np.nan
        x, y = pair
        expected = np.zeros(41, bool)
        expected[position] = True
        for threshold in (beta, np.full(41, beta)):
            np.testing.assert_array_equal(
                np.isnan(smooth_l1_loss(x, y, "none", threshold)), expected
            )
            np.testing.assert_array_equal(
                np.isnan(smooth_l1_grad(x, y, "none", threshold)), expected
            )
            assert np.isnan(smooth_l1_loss(x, y, "mean", threshold))
            assert np.isnan(smooth_l1_loss(x, y, "sum", threshold))
            for hessian in ("exact", "majorizer"):
                hess = smooth_l1_grad_hess(x, y, threshold, hessian=hessian)[1]
                assert np.isnan(hess[position])


@pytest.mark.parametrize("beta", BETAS)
def test_infinite_residual(dtype, beta):
    x = np.array([np.inf, -np.inf, 1.0, -2.0, np.inf], dtype)
    y = np.array([1.0, 2.0, np.inf, -np.inf, -np.inf], dtype)
    for threshold in (beta, np.full(5, beta)):
        np.testing.assert_array_equal(smooth_l1_loss(x, y, "none", threshold), np.full(5, np.inf))
        np.testing.assert_array_equal(smooth_l1_grad(x, y, "none", threshold), [1, -1, -1, 1, 1])
        assert smooth_l1_loss(x, y, "sum", threshold) == np.inf
        if beta > 0:
            np.testing.assert_array_equal(huber_loss(x, y, "none", threshold), np.full(5, np.inf))
            assert huber_loss(x, y, "mean", threshold) == np.inf
    same = np.array([np.inf, -np.inf], dtype)
    assert np.isnan(smooth_l1_loss(same, same, "none", beta)).all()
    assert np.isnan(smooth_l1_grad(same, same, "none", beta)).all()
    assert np.isnan(smooth_l1_loss(same, same, "sum", beta))


def test_at_the_threshold(dtype):
    # Both pieces agree in value and gradient; the second derivative is that of the outer.
    for beta in (0.1, 0.37, 1.0, 2.5):
        b = dtype(beta)
        x = np.array([b, -b])
        np.testing.assert_array_equal(smooth_l1_loss(x, dtype(0), "none", beta), [b / 2, b / 2])
        grad, hess = smooth_l1_grad_hess(x, dtype(0), beta)
        np.testing.assert_array_equal(grad, [1, -1])
        np.testing.assert_array_equal(hess, [0, 0])


@pytest.mark.parametrize("beta", [0.25, 0.37, 1.0, 5.0])
def test_second_derivative(dtype, beta, rng):
    x = rng.standard_normal(500).astype(dtype) * 3
    z, b = np.abs(x), dtype(beta)
    grad, hess = smooth_l1_grad_hess(x, dtype(0), beta)
    np.testing.assert_array_equal(grad, smooth_l1_grad(x, dtype(0), "none", beta))
    np.testing.assert_array_equal(hess, np.where(z < b, dtype(1) / b, dtype(0)))
    hess = smooth_l1_grad_hess(x, dtype(0), beta, hessian="majorizer")[1]
    np.testing.assert_array_equal(hess, dtype(1) / np.maximum(z, b))
    array = np.full(x.shape, beta)
    for kind in ("exact", "majorizer"):
        for one, many in zip(
            smooth_l1_grad_hess(x, dtype(0), beta, hessian=kind),
            smooth_l1_grad_hess(x, dtype(0), array, hessian=kind),
            strict=True,
        ):
            np.testing.assert_array_equal(one, many)


def test_majorizer_lies_above_the_loss(rng):
    # q(r) = loss(r0) + grad(r0) (r - r0) + hess(r0) (r - r0)**2 / 2
    start = rng.standard_normal(50) * 3
    grad, hess = smooth_l1_grad_hess(start, 0.0, 0.7, hessian="majorizer")
    for step in np.linspace(-8, 8, 33):
        parabola = smooth_l1_loss(start, 0.0, "none", 0.7) + grad * step + hess * step**2 / 2
        assert (parabola - smooth_l1_loss(start + step, 0.0, "none", 0.7) > -1e-12).all()


@pytest.mark.parametrize("huber", [False, True], ids=["smooth_l1", "huber"])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_gradient_against_finite_differences(huber, reduction, rng):
    loss, grad = (huber_loss, huber_grad) if huber else (smooth_l1_loss, smooth_l1_grad)
    x, y = rng.standard_normal((2, 40)) * 3
    beta = 0.9
    smooth = np.abs(np.abs(x - y) - beta) > 1e-3
    step = 1e-6
    got = grad(x, y, reduction, beta)
    for i in np.flatnonzero(smooth):
        up, down = x.copy(), x.copy()
        up[i] += step
        down[i] -= step
        difference = np.sum(loss(up, y, reduction, beta)) - np.sum(loss(down, y, reduction, beta))
        assert difference / (up[i] - down[i]) == pytest.approx(got[i], abs=1e-7)


def test_hessian_against_finite_differences_of_the_gradient(rng):
    x = rng.standard_normal(60) * 3
    smooth = np.abs(np.abs(x) - 1.3) > 1e-3
    up, down = (smooth_l1_grad(x + h, 0.0, "none", 1.3) for h in (1e-6, -1e-6))
    hess = smooth_l1_grad_hess(x, 0.0, 1.3)[1]
    np.testing.assert_allclose(((up - down) / 2e-6)[smooth], hess[smooth], atol=1e-8)


def test_gradient_with_respect_to_target_is_the_negative(rng):
    x, y = rng.standard_normal((2, 30))
    np.testing.assert_array_equal(smooth_l1_grad(y, x), -smooth_l1_grad(x, y))


@pytest.mark.parametrize("beta", [1 / 9, 0.7, 1.35, 3.0, 6.0, 1e-9, 2.0**48 * 1.1, 1e-30, 1e30])
def test_gradients_are_correctly_rounded_quotients(beta, dtype, rng):
    """With or without a division: for all sizes of residuals, zeros of both signs included."""
    threshold = float(dtype(beta))
    info = np.finfo(dtype)
    n = 20_000
    exponents = rng.integers(info.minexp - info.nmant, int(np.log2(beta)) + 1, n)
    with np.errstate(under="ignore", over="ignore"):
        d = np.ldexp(rng.uniform(-2, 2, n).astype(dtype), exponents).astype(dtype)
        d = np.clip(d, -threshold, threshold).astype(dtype)
        wanted = d / dtype(beta)
    d[::7] = wanted[::7] = 0
    for sample in (slice(None), np.abs(d) > info.tiny, d == 0):
        got = smooth_l1_grad(d[sample], dtype(0), "none", threshold)
        np.testing.assert_array_equal(got, wanted[sample])
    negative = np.full(50, -0.0, dtype)
    assert np.signbit(smooth_l1_grad(negative, np.zeros(50, dtype), "none", threshold)).all()
    # Every mantissa of a binade, more or less.
    d = np.ldexp(rng.uniform(0.5, 1, 200_000), np.frexp(threshold)[1] - 1).astype(dtype)
    d = d[d < threshold]
    np.testing.assert_array_equal(smooth_l1_grad(d, dtype(0), "none", threshold), d / dtype(beta))


def test_half_precision_is_numpys(rng):
    """Every half there is; and float32 numbers at, beside and between them, rounded to it."""
    half = np.arange(2**16, dtype=np.uint16).view(np.float16)
    wide = smooth_l1_loss(half, np.float16(0), "none", 0.0, out=np.empty(half.shape, np.float32))
    np.testing.assert_array_equal(wide, np.abs(half).astype(np.float32))
    finite = np.abs(half[np.isfinite(half)]).astype(np.float32)
    with np.errstate(over="ignore"):
        middle = finite + np.float32(0.5) * np.spacing(finite.astype(np.float16)).astype(np.float32)
    numbers = np.concatenate(
        [
            finite,
            middle,
            np.nextafter(middle, np.float32(0)),
            np.nextafter(middle, np.float32(np.inf)),
            rng.integers(0, 2**31, 300_000, dtype=np.uint32).view(np.float32),
        ]
    )
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        wanted = np.abs(numbers).astype(np.float16)
    got = smooth_l1_loss(numbers, np.float32(0), "none", 0.0, out=np.empty(len(numbers), "f2"))
    np.testing.assert_array_equal(got, wanted)


def test_gradients_of_a_mean_are_accurate(dtype, rng):
    """Within 1.5 ulp of d / (n beta), and 1/n in the linear piece, from beta itself on."""
    worst = 0.0
    for n in (3, 7, 49, 1000, 1025, 4099, 10_007):
        for beta in (0.7, 1 / 9, 1.35, 3.3, 1e-6, 1.0, 123.4):
            threshold = dtype(beta)
            z = rng.uniform(0, 1, n).astype(dtype) * threshold
            z[0], z[-1], z[1] = threshold, np.nextafter(threshold, dtype(np.inf)), 2 * threshold
            x = np.where(rng.integers(0, 2, n), z, -z)
            got = smooth_l1_grad(x, dtype(0), "mean", beta)
            loss, same = smooth_l1_value_and_grad(x, dtype(0), beta=beta)
            np.testing.assert_array_equal(got, same)
            assert loss == smooth_l1_loss(x, dtype(0), beta=beta)
            np.testing.assert_array_equal(got, -smooth_l1_grad(-x, dtype(0), "mean", beta))
            assert (np.signbit(got) == np.signbit(x)).all()
            assert (np.abs(got[z >= threshold]) == dtype(1 / n)).all()
            assert (np.abs(got) <= dtype(1 / n)).all()
            below = (z < threshold) & (z > 0)
            for d, g in zip(z[below][:200].tolist(), np.abs(got[below])[:200], strict=True):
                exact = Fraction(d) / (n * Fraction(float(threshold)))
                error = abs(Fraction(float(g)) - exact) / Fraction(float(np.spacing(dtype(exact))))
                worst = max(worst, float(error))
    assert worst <= 1.5
