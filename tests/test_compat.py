"""Signatures of other libraries."""

import inspect

import numpy as np
import pytest

from smoothl1 import smooth_l1_loss
from smoothl1.compat import fvcore_smooth_l1_loss, torch_smooth_l1_loss

X = np.array([[1.0, 2.0, 3.0], [0.1, 0.2, 0.3]])
Y = np.zeros(3)


def test_signatures():
    assert str(inspect.signature(torch_smooth_l1_loss)).startswith(
        "(input: 'ArrayLike', target: 'ArrayLike', size_average: 'bool | None' = None, "
        "reduce: 'bool | None' = None, reduction: 'Reduction' = 'mean', beta: 'float' = 1.0)"
    )
    assert list(inspect.signature(fvcore_smooth_l1_loss).parameters) == [
        "input",
        "target",
        "beta",
        "reduction",
    ]


def test_torch_broadcasts_with_a_warning():
    with pytest.warns(UserWarning, match=r"target has shape \(3,\), input \(2, 3\)") as record:
        got = torch_smooth_l1_loss(X, Y, reduction="none")
    assert record[0].filename == __file__
    np.testing.assert_array_equal(got, smooth_l1_loss(X, np.zeros((2, 3)), "none"))
    with pytest.warns(UserWarning, match="broadcast"):
        assert torch_smooth_l1_loss(np.zeros((3, 1)), Y, reduction="none").shape == (3, 3)
    with (
        pytest.warns(UserWarning, match="shape"),
        pytest.raises(ValueError, match="must broadcast against"),
    ):
        torch_smooth_l1_loss(X, np.zeros(2))


@pytest.mark.parametrize(
    ("size_average", "reduce", "expected"),
    [
        (True, None, "mean"),
        (False, None, "sum"),
        (None, True, "mean"),
        (None, False, "none"),
        (True, True, "mean"),
        (True, False, "none"),
        (False, True, "sum"),
        (False, False, "none"),
    ],
)
def test_torch_legacy_arguments(size_average, reduce, expected):
    y = np.zeros_like(X)
    with pytest.warns(UserWarning, match=f"use reduction='{expected}'") as record:
        got = torch_smooth_l1_loss(X, y, size_average, reduce, "ignored", 0.5)
    assert record[0].filename == __file__
    np.testing.assert_array_equal(got, smooth_l1_loss(X, y, expected, 0.5))


def test_torch_elementwise_mean():
    y = np.zeros_like(X)
    with pytest.warns(UserWarning, match="'elementwise_mean' is deprecated"):
        assert torch_smooth_l1_loss(X, y, reduction="elementwise_mean") == smooth_l1_loss(X, y)


def test_torch_errors():
    y = np.zeros_like(X)
    for reduction in ("weighted_mean", "average"):
        with pytest.raises(ValueError, match="reduction must be one of 'none', 'mean', 'sum'"):
            torch_smooth_l1_loss(X, y, reduction=reduction)
    with pytest.raises(ValueError, match="beta must be >= 0, got -1"):
        torch_smooth_l1_loss(X, y, beta=-1)


def test_torch_plain_calls():
    y = np.zeros_like(X)
    assert torch_smooth_l1_loss(X, y) == smooth_l1_loss(X, y)
    assert torch_smooth_l1_loss(X, y, reduction="sum", beta=0) == np.abs(X).sum()


def test_fvcore_defaults_to_none():
    np.testing.assert_array_equal(
        fvcore_smooth_l1_loss(X, np.zeros_like(X), 0.5),
        smooth_l1_loss(X, np.zeros_like(X), "none", 0.5),
    )


def test_fvcore_tiny_beta_is_l1():
    for beta in (0.0, 1e-6, 9.9e-6):
        np.testing.assert_array_equal(fvcore_smooth_l1_loss(X, Y, beta), np.abs(X))
    assert fvcore_smooth_l1_loss(1e-5, 0.0, 1e-5) == 0.5e-5


def test_fvcore_mean_of_nothing_is_zero(dtype):
    empty = np.empty((0, 4), dtype)
    for reduction in ("mean", "sum"):
        got = fvcore_smooth_l1_loss(empty, empty, 1.0, reduction)
        assert got == 0
        assert got.dtype == dtype
    assert fvcore_smooth_l1_loss(X, Y, 1.0, "mean") == smooth_l1_loss(X, X * 0)


def test_fvcore_broadcasts_silently_and_keeps_dtypes():
    x = X.astype(np.float32)
    assert fvcore_smooth_l1_loss(x, 0.0, 1.0).dtype == np.float32
    assert fvcore_smooth_l1_loss(x[0], np.zeros((2, 1), np.float32), 1.0).shape == (2, 3)
    with pytest.raises(ValueError, match="must broadcast against each other"):
        fvcore_smooth_l1_loss(X, np.zeros(2), 1.0)
    with pytest.raises(ValueError, match="beta must be >= 0"):
        fvcore_smooth_l1_loss(X, Y, -1e-6)
    with pytest.raises(ValueError, match="reduction must be one of"):
        fvcore_smooth_l1_loss(X, Y, 1.0, "avg")
