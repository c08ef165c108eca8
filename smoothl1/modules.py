"""The losses as objects: a reduction and a threshold, checked once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

from numpy.typing import ArrayLike

from smoothl1 import functional
from smoothl1._arguments import check_number, check_reduction
from smoothl1._typing import AnyArray, Loss, Reduction


class _Loss:
    """What both do: hand their reduction and threshold to the functions of their loss."""

    __slots__ = ()

    reduction: Reduction
    _limit: float  # the threshold, under a name that both have
    _threshold: ClassVar[str]
    _loss: ClassVar[Callable[..., Loss]]
    _grad: ClassVar[Callable[..., AnyArray]]
    _both: ClassVar[Callable[..., tuple[Loss, AnyArray]]]

    def __post_init__(self) -> None:
        name = self._threshold
        check_reduction(self.reduction, hint=f"{name} is the second argument, or a keyword")
        object.__setattr__(self, name, check_number(name, self._limit))

    def __call__(
        self,
        input: ArrayLike,
        target: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        where: ArrayLike | None = None,
    ) -> Loss:
        """Return the loss; see `smooth_l1_loss`, `huber_loss`."""
        return type(self)._loss(
            input, target, self.reduction, self._limit, weight=weight, where=where
        )

    forward = __call__

    def backward(
        self,
        input: ArrayLike,
        target: ArrayLike,
        grad_output: ArrayLike | None = None,
        *,
        weight: ArrayLike | None = None,
        where: ArrayLike | None = None,
    ) -> AnyArray:
        """Return the gradient with respect to `input`; see `smooth_l1_grad`, `huber_grad`."""
        return type(self)._grad(
            input,
            target,
            self.reduction,
            self._limit,
            grad_output=grad_output,
            weight=weight,
            where=where,
        )

    def value_and_grad(
        self,
        input: ArrayLike,
        target: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        where: ArrayLike | None = None,
    ) -> tuple[Loss, AnyArray]:
        """Return loss and gradient, computed in one pass over memory."""
        return type(self)._both(
            input, target, self.reduction, self._limit, weight=weight, where=where
        )

    def extra_repr(self) -> str:
        """Return the parameters as they stand in the repr."""
        return f"reduction={self.reduction!r}, {self._threshold}={self._limit!r}"


@dataclass(frozen=True, slots=True)
class SmoothL1Loss(_Loss):
    """`smooth_l1_loss` with a fixed reduction and beta.

    Immutable; comparable, hashable, picklable.

    Parameters
    ----------
    reduction : {"mean", "sum", "weighted_mean", "none"}, default="mean"
    beta : float, default=1.0
        Threshold, >= 0.

    Raises
    ------
    ValueError
        For an unknown `reduction`, or a `beta` that is negative or NaN.

    See Also
    --------
    smooth_l1_loss : the formula and the rules for arguments.

    Examples
    --------
    >>> from smoothl1 import SmoothL1Loss
    >>> loss = SmoothL1Loss(beta=0.5)
    >>> loss([1.0, 3.0], [1.25, 1.0])
    np.float64(0.90625)
    >>> loss.backward([1.0, 3.0], [1.25, 1.0])
    array([-0.25,  0.5 ])
    >>> loss
    SmoothL1Loss(reduction='mean', beta=0.5)
    """

    reduction: Reduction = "mean"
    beta: float = 1.0

    _threshold = "beta"
    _loss = functional.smooth_l1_loss
    _grad = functional.smooth_l1_grad
    _both = functional.smooth_l1_value_and_grad


@dataclass(frozen=True, slots=True)
class HuberLoss(_Loss):
    """`huber_loss` with a fixed reduction and delta.

    Immutable; comparable, hashable, picklable.

    Parameters
    ----------
    reduction : {"mean", "sum", "weighted_mean", "none"}, default="mean"
    delta : float, default=1.0
        Threshold, > 0.

    Raises
    ------
    ValueError
        For an unknown `reduction`, or a `delta` that is not > 0.

    See Also
    --------
    huber_loss : the formula and the rules for arguments.

    Examples
    --------
    >>> from smoothl1 import HuberLoss
    >>> HuberLoss("sum", delta=2.0)([8.0, 1.0], [0.0, 0.0])
    np.float64(14.5)
    """

    reduction: Reduction = "mean"
    delta: float = 1.0

    _threshold = "delta"
    _loss = functional.huber_loss
    _grad = functional.huber_grad
    _both = functional.huber_value_and_grad


# The slot of each threshold, under the name that _Loss knows.
SmoothL1Loss._limit = SmoothL1Loss.__dict__["beta"]
HuberLoss._limit = HuberLoss.__dict__["delta"]
