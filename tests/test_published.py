"""Values that other libraries publish, and by hand where they publish wrong ones."""

import numpy as np
import pytest

from smoothl1 import huber_loss, smooth_l1_grad, smooth_l1_loss, smooth_l1_value_and_grad


def test_oneflow_documentation():
    # oneflow.nn.SmoothL1Loss, example of its documentation.
    x = np.array([0.1, 0.4, 0.3, 0.5, 0.9], np.float32)
    y = np.array([0.3, 0.9, 2.5, 0.4, 0.3], np.float32)
    np.testing.assert_allclose(
        smooth_l1_loss(x, y, "none"), [0.02, 0.125, 1.7, 0.005, 0.18], rtol=1e-6
    )
    np.testing.assert_allclose(smooth_l1_loss(x, y), 0.406, rtol=1e-6)
    np.testing.assert_allclose(smooth_l1_loss(x, y, "sum"), 2.03, rtol=1e-6)


def test_mindspore_documentation():
    # mindspore.mint.nn.SmoothL1Loss, example of its documentation.
    x = np.array([2, 2, 3], np.float32)
    y = np.array([2, 2, 2], np.float32)
    np.testing.assert_array_equal(smooth_l1_loss(x, y, "none"), [0, 0, 0.5])
    assert smooth_l1_loss(x, y) == np.float32(0.16666667)
    assert smooth_l1_loss(x, y, "sum") == 0.5


def test_formula_of_pytorch_and_fvcore_away_from_beta_one():
    # 0.5 z**2 / beta below, z - 0.5 beta above: the cases by hand.
    z = np.array([0.0, 0.25, 0.5, 1.0, 8.0])
    np.testing.assert_array_equal(
        smooth_l1_loss(z, 0.0, "none", beta=0.5), [0, 0.0625, 0.25, 0.75, 7.75]
    )
    np.testing.assert_array_equal(
        smooth_l1_loss(z, 0.0, "none", beta=2.0), [0, 0.015625, 0.0625, 0.25, 7.0]
    )


def test_residual_of_eight_is_seven_and_a_half():
    # A published table says 9.5.
    assert smooth_l1_loss(8.0, 0.0) == 7.5
    assert huber_loss(8.0, 0.0) == 7.5


def test_huber_is_beta_times_smooth_l1():
    # The factor that published implementations forget; 1 is the only beta that hides it.
    z = np.array([0.5, 3.0])
    np.testing.assert_array_equal(huber_loss(z, 0.0, "none", delta=2.0), [0.125, 4.0])
    np.testing.assert_array_equal(smooth_l1_loss(z, 0.0, "none", beta=2.0), [0.0625, 2.0])


def test_lucid_loss_keeps_the_factor():
    # Until August 2026 one implementation returned Huber's loss under this name.
    assert smooth_l1_loss(3.0, 0.0, beta=0.5) == 2.75
    assert huber_loss(3.0, 0.0, delta=0.5) == 1.375


def test_huber_of_pytorch_documentation_formula():
    np.testing.assert_array_equal(
        huber_loss(np.array([1.0, 4.0, -4.0]), 0.0, "none", delta=3.0), [0.5, 7.5, 7.5]
    )


@pytest.mark.parametrize("beta", [0.0, 0.5, 1.0, 3.0])
def test_gradient_by_hand(beta):
    d = np.array([-4.0, -0.25, 0.0, 0.25, 4.0])
    inner = 0.25 / beta if beta else 1.0
    np.testing.assert_array_equal(smooth_l1_grad(d, 0.0, "none", beta), [-1, -inner, 0, inner, 1])


def test_linear_region_mean():
    loss, grad = smooth_l1_value_and_grad(np.array([1.0, 4.0]), np.array([1.5, 0.0]))
    assert loss == (0.125 + 3.5) / 2
    np.testing.assert_array_equal(grad, [-0.25, 0.5])
