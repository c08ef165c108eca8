"""The losses as objects: a reduction and a threshold, checked once."""

from __future__ import annotations

from dataclasses import dataclass

from numpy.typing import ArrayLike

from smoothl1 import functional
from smoothl1._arguments import check_number, check_reduction
from smoothl1._typing import AnyArray, Loss, Reduction


def _check(name: str, threshold: float, reduction: str) -> float:
    check_reduction(reduction, hint=f"{name} is the second argument, or a keyword")
    return check_number(name, threshold)


@dataclass(frozen=True, slots=True)
class SmoothL1Loss:
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", _check("beta", self.beta, self.reduction))

    def __call__(
        self,
        input: ArrayLike,
        target: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        where: ArrayLike | None = None,
    ) -> Loss:
        """Return the loss; see `smooth_l1_loss`."""
        return functional.smooth_l1_loss(
            input, target, self.reduction, self.beta, weight=weight, where=where
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
        """Return the gradient with respect to `input`; see `smooth_l1_grad`."""
        return functional.smooth_l1_grad(
            input,
            target,
            self.reduction,
            self.beta,
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
        return functional.smooth_l1_value_and_grad(
            input, target, self.reduction, self.beta, weight=weight, where=where
        )

    def extra_repr(self) -> str:
        """Return the parameters as they stand in the repr."""
        return f"reduction={self.reduction!r}, beta={self.beta!r}"


@dataclass(frozen=True, slots=True)
class HuberLoss:
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

    def __post_init__(self) -> None:
        object.__setattr__(self, "delta", _check("delta", self.delta, self.reduction))

    def __call__(
        self,
        input: ArrayLike,
        target: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        where: ArrayLike | None = None,
    ) -> Loss:
        """Return the loss; see `huber_loss`."""
        return functional.huber_loss(input, target, self.reduction, self.delta, weight, where=where)

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
        """Return the gradient with respect to `input`; see `huber_grad`."""
        return functional.huber_grad(
            input,
            target,
            self.reduction,
            self.delta,
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
        return functional.huber_value_and_grad(
            input, target, self.reduction, self.delta, weight=weight, where=where
        )

    def extra_repr(self) -> str:
        """Return the parameters as they stand in the repr."""
        return f"reduction={self.reduction!r}, delta={self.delta!r}"
