"""Signatures of other libraries, kept as their own users call them.

They differ from `smoothl1.smooth_l1_loss` in how they treat shapes, old arguments and
corner cases; nothing else in this package does so.
"""

from __future__ import annotations

import warnings
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from smoothl1 import functional
from smoothl1._arguments import as_array, check_reduction, check_threshold
from smoothl1._typing import AnyArray, Loss, Reduction

__all__ = ["fvcore_smooth_l1_loss", "torch_smooth_l1_loss"]


def torch_smooth_l1_loss(
    input: ArrayLike,
    target: ArrayLike,
    size_average: bool | None = None,
    reduce: bool | None = None,
    reduction: Reduction = "mean",
    beta: float = 1.0,
) -> Loss:
    """`smooth_l1_loss` with the signature of ``torch.nn.functional.smooth_l1_loss``.

    Parameters
    ----------
    input, target : array_like
        Broadcast against each other, with a ``UserWarning`` if their shapes differ.
    size_average, reduce : bool, optional
        Deprecated by PyTorch in favour of `reduction`, which they override:
        ``reduce=False`` is "none", else ``size_average=False`` is "sum", else "mean".
    reduction : {"mean", "sum", "none"}, default="mean"
        "elementwise_mean" is an old name of "mean".
    beta : float, default=1.0
        Threshold, >= 0.

    Returns
    -------
    numpy scalar or ndarray

    Raises
    ------
    ValueError
        For an unknown `reduction`, a negative or NaN `beta`, or shapes that do not
        broadcast.

    Warns
    -----
    UserWarning
        For shapes that differ, and for the deprecated arguments.

    References
    ----------
    .. [1] https://docs.pytorch.org/docs/stable/generated/torch.nn.functional.smooth_l1_loss.html

    Examples
    --------
    >>> from smoothl1.compat import torch_smooth_l1_loss
    >>> torch_smooth_l1_loss([2.0, 2.0, 3.0], [2.0, 2.0, 2.0], reduction="none")
    array([0. , 0. , 0.5])
    """
    x, y = _operand("input", input), _operand("target", target)
    if np.shape(x) != np.shape(y):
        warnings.warn(
            f"target has shape {np.shape(y)}, input {np.shape(x)}: they are broadcast against each "
            f"other, which is likely not what was meant",
            UserWarning,
            stacklevel=2,
        )
    if size_average is not None or reduce is not None:
        if reduce is not None and not reduce:
            reduction = "none"
        elif size_average is not None and not size_average:
            reduction = "sum"
        else:
            reduction = "mean"
        warnings.warn(
            f"size_average and reduce are deprecated, use reduction={reduction!r}",
            UserWarning,
            stacklevel=2,
        )
    elif cast(str, reduction) == "elementwise_mean":
        warnings.warn(
            "reduction='elementwise_mean' is deprecated, use reduction='mean'",
            UserWarning,
            stacklevel=2,
        )
        reduction = "mean"
    check_reduction(reduction, ("none", "mean", "sum"), "beta is the sixth argument, or a keyword")
    return functional.smooth_l1_loss(*_broadcast(x, y), reduction, beta)


def fvcore_smooth_l1_loss(
    input: ArrayLike,
    target: ArrayLike,
    beta: float,
    reduction: Reduction = "none",
) -> Loss:
    """`smooth_l1_loss` with the signature and corner cases of ``fvcore.nn.smooth_l1_loss``.

    Parameters
    ----------
    input, target : array_like
        Broadcast against each other.
    beta : float
        Threshold, >= 0. Below 1e-5 the loss is the L1 loss.
    reduction : {"none", "mean", "sum"}, default="none"
        The "mean" over no element is 0.

    Returns
    -------
    numpy scalar or ndarray

    Raises
    ------
    ValueError
        For an unknown `reduction`, a negative or NaN `beta`, or shapes that do not
        broadcast.

    References
    ----------
    .. [1] https://github.com/facebookresearch/fvcore/blob/main/fvcore/nn/smooth_l1_loss.py

    Examples
    --------
    >>> from smoothl1.compat import fvcore_smooth_l1_loss
    >>> fvcore_smooth_l1_loss([0.5, 2.0], [0.0, 0.0], 1e-6)
    array([0.5, 2. ])
    >>> fvcore_smooth_l1_loss([], [], 1.0, "mean")
    np.float64(0.0)
    """
    check_reduction(reduction, ("none", "mean", "sum"), "beta is the third argument")
    threshold = check_threshold("beta", beta)
    if isinstance(threshold, float) and threshold < 1e-5:
        threshold = 0.0
    left, right = _broadcast(_operand("input", input), _operand("target", target))
    if reduction == "mean" and 0 in (np.size(left), np.size(right)):
        reduction = "sum"
    return functional.smooth_l1_loss(left, right, reduction, threshold)


def _operand(name: str, value: ArrayLike) -> AnyArray | float:
    """Return an array, or the Python number, which takes the dtype of the other operand."""
    array = as_array(name, value, selects=False)
    return cast(float, value) if type(value) in (float, int, bool) else array


def _broadcast(
    x: AnyArray | float, y: AnyArray | float
) -> tuple[AnyArray | float, AnyArray | float]:
    left, right = np.shape(x), np.shape(y)
    try:
        shape = np.broadcast_shapes(left, right)
    except ValueError:
        raise ValueError(
            f"input and target must broadcast against each other, got shapes {left} and {right}"
        ) from None
    if not (left and right):
        return x, y  # a 0-d operand is broadcast anyway
    return np.broadcast_to(x, shape), np.broadcast_to(y, shape)
