"""Agreement with PyTorch, where it is installed."""

import numpy as np
import pytest

from smoothl1 import (
    huber_grad,
    huber_loss,
    smooth_l1_grad,
    smooth_l1_loss,
    smooth_l1_value_and_grad,
)
from smoothl1.compat import torch_smooth_l1_loss

torch = pytest.importorskip("torch")
F = torch.nn.functional

BETAS = [0.0, 1e-6, 1e-3, 0.1, 0.37, 0.5, 1.0, 1.35, 2.0, 10.0, 1e4]


def pairs(dtype, rng):
    """Yield arrays: plain ones, special values, and layouts."""
    for n in (1, 7, 37, 1000, 5000):
        yield rng.standard_normal((2, n)).astype(dtype)
    a, b = (rng.standard_normal((2, 60, 50)) * 3).astype(dtype)
    yield a.T, b.T
    yield a[::-1, ::2], b[:, ::2]
    yield a, np.broadcast_to(b[0], a.shape)
    finite = np.array([0, -0.0, 1, -1, 1e-30, -1e-30, 1e30, np.inf, -np.inf], dtype)
    yield tuple(g.ravel() for g in np.meshgrid(finite, finite[:7]))


def to_torch(a):
    # torch.from_numpy takes no negative strides.
    return torch.from_numpy(np.array(a, copy=True))


@pytest.mark.parametrize("beta", BETAS)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_smooth_l1(dtype, beta, reduction, rng):
    rtol = 5e-6 if dtype is np.float32 else 1e-13
    for x, y in pairs(dtype, rng):
        u = to_torch(x).requires_grad_()
        theirs = F.smooth_l1_loss(u, to_torch(y), reduction=reduction, beta=beta)
        theirs.sum().backward()
        ours, grad = smooth_l1_value_and_grad(x, y, reduction, beta)
        np.testing.assert_allclose(ours, theirs.detach().numpy(), rtol=rtol, atol=1e-38)
        np.testing.assert_allclose(grad, u.grad.numpy(), rtol=rtol, atol=1e-38)


@pytest.mark.parametrize("delta", [beta for beta in BETAS if beta])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_huber(dtype, delta, reduction, rng):
    rtol = 5e-6 if dtype is np.float32 else 1e-13
    for x, y in pairs(dtype, rng):
        u = to_torch(x).requires_grad_()
        theirs = F.huber_loss(u, to_torch(y), reduction=reduction, delta=delta)
        theirs.sum().backward()
        np.testing.assert_allclose(
            huber_loss(x, y, reduction, delta), theirs.detach().numpy(), rtol=rtol, atol=1e-38
        )
        np.testing.assert_allclose(
            huber_grad(x, y, reduction, delta), u.grad.numpy(), rtol=rtol, atol=1e-38
        )


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_huber_weights(dtype, reduction, rng):
    x, y = rng.standard_normal((2, 300)).astype(dtype)
    w = rng.uniform(0, 2, 300).astype(dtype)
    theirs = F.huber_loss(
        *(torch.from_numpy(a) for a in (x, y)), reduction, 0.7, torch.from_numpy(w)
    )
    np.testing.assert_allclose(huber_loss(x, y, reduction, 0.7, w), theirs.numpy(), rtol=1e-5)


def test_nan(dtype):
    x = np.array([np.nan, 1.0, np.nan], dtype)
    y = np.array([1.0, np.nan, np.nan], dtype)
    for beta in (0.5, 1.0):
        theirs = F.smooth_l1_loss(
            torch.from_numpy(x), torch.from_numpy(y), reduction="none", beta=beta
        )
        assert theirs.isnan().all()
        assert np.isnan(smooth_l1_loss(x, y, "none", beta)).all()
        assert np.isnan(smooth_l1_grad(x, y, "none", beta)).all()


def test_tensors_are_taken_and_read_in_place(rng):
    x, y = rng.standard_normal((2, 200)).astype(np.float32)
    u, v = torch.from_numpy(x), torch.from_numpy(y)
    assert smooth_l1_loss(u, v) == smooth_l1_loss(x, y)
    np.testing.assert_array_equal(smooth_l1_grad(u[::2], v[::2]), smooth_l1_grad(x[::2], y[::2]))
    with pytest.raises(TypeError, match=r"input \(torch.Tensor\) cannot be read as an array"):
        smooth_l1_loss(u.clone().requires_grad_(), v)
    with pytest.raises(TypeError, match=r"input \(torch.Tensor\) cannot be read as an array"):
        smooth_l1_loss(u.to(torch.bfloat16), v)


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_compat_signature(rng):
    x, y = rng.standard_normal((2, 4, 5))
    for arguments in (
        (),
        (True,),
        (False,),
        (None, False),
        (None, None, "sum"),
        (None, None, "none", 0.3),
    ):
        for target in (y, y[0]):
            theirs = F.smooth_l1_loss(torch.from_numpy(x), torch.from_numpy(target), *arguments)
            np.testing.assert_allclose(
                torch_smooth_l1_loss(x, target, *arguments), theirs.numpy(), rtol=1e-12
            )
