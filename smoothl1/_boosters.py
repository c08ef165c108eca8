"""What the regressors of LightGBM, XGBoost and scikit-learn begin with; it needs none of them."""

from __future__ import annotations

import inspect
import warnings
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from smoothl1._typing import AnyArray
from smoothl1.boosting import (
    Data,
    arrays_of,
    check_beta,
    check_quantile,
    far,
    is_far,
    mixed,
    mixed_of_most,
    residual_quantile,
    residual_sizes,
    residuals_float32,
)
from smoothl1.functional import smooth_l1_loss
from smoothl1.location import huber_location


@dataclass(frozen=True, slots=True)
class Beginning:
    """The parameters of a fit, checked, and where it starts."""

    beta: float | None
    quantile: float
    weight: AnyArray | None = None
    shape: tuple[int, ...] | None = None  # of y, if there is one
    locations: tuple[float, ...] = (0.0,)  # of each output
    thresholds: tuple[float, ...] = (1.0,)

    def objective(self, unit: float = 1.0) -> RegressorObjective:
        """Return the objective of the fit, with gradients in a unit."""
        return RegressorObjective(self.beta, self.quantile, self.thresholds, unit)


def begin(
    model: Any,
    y: Any,
    sample_weight: Any,
    given: tuple[str, Any],
    objectives: tuple[str | None, ...] = (None,),
    several: bool = False,
) -> Beginning:
    """Check the parameters and the targets of a fit, and find its start.

    Parameters
    ----------
    model : estimator with `beta`, `quantile` and `objective`
    y : array_like, or None, which the library is left to refuse
    sample_weight : array_like or None
    given : tuple of str and array_like
        The argument with predictions to start from, or None: name and value.
    objectives : tuple
        What the objective may be, which is taken for none.
    several : bool
        Whether there may be several outputs.

    Warns
    -----
    RuntimeWarning
        If the threshold is not in the units of y. Called by `fit`.
    """
    beta = None if model.beta is None else check_beta(model.beta, "None or a number")
    quantile = check_quantile(model.quantile)
    if model.objective not in objectives:
        raise ValueError(
            f"objective must be left out of {type(model).__name__}, which has its own, "
            f"got {model.objective!r}"
        )
    weight = None if sample_weight is None else flat("sample_weight", sample_weight)
    if y is None:
        return Beginning(beta, quantile, weight)
    target = flat("y", y, several)
    if given[1] is not None:
        target = target - flat(*given, several)
    columns = [target] if target.ndim == 1 else list(target.T)
    found = [start(column, weight, beta, quantile) for column in columns]
    locations, thresholds = zip(*found, strict=True)
    if beta is not None and any(
        is_far(column, np.broadcast_to(location, column.shape), beta)
        for column, location in zip(columns, locations, strict=True)
    ):
        warnings.warn(far(beta), RuntimeWarning, stacklevel=3)
    return Beginning(beta, quantile, weight, target.shape, locations, thresholds)


def start(
    y: AnyArray, weight: AnyArray | None, beta: float | None, quantile: float
) -> tuple[float, float]:
    """Return the location to start boosting from, and the threshold there."""
    if beta is None:
        median = huber_location(y, 0.0, sample_weight=weight)
        sizes = residual_sizes(y, np.broadcast_to(median, y.shape))
        beta = residual_quantile(sizes, weight, quantile)
    return float(huber_location(y, beta, sample_weight=weight)), beta


@dataclass(frozen=True, slots=True)
class RegressorObjective:
    """What the regressors of both libraries pass as their objective and metric.

    Parameters
    ----------
    beta : float or None
        None: the `quantile` of the absolute residuals of each output, anew in each call.
    quantile : float
    thresholds : tuple of float
        Of each output, in the metric, which stays the same from iteration to iteration.
    unit : float
        Gradients are divided by it.
    """

    beta: float | None
    quantile: float
    thresholds: tuple[float, ...]
    unit: float = 1.0

    def __call__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike | Data,
        sample_weight: ArrayLike | None = None,
    ) -> tuple[AnyArray, AnyArray]:
        """Return gradient and hessian, as `SmoothL1Objective` with the hessian "mixed"."""
        true, pred, weight = arrays_of(y_true, y_pred, sample_weight)
        if true.ndim == 1:
            return self.output(true, pred, weight)
        weight = None if weight is None else weight[:, 0]
        outputs = [self.output(true[:, k], pred[:, k], weight) for k in range(true.shape[1])]
        grad, hess = (np.stack(parts, axis=1) for parts in zip(*outputs, strict=True))
        return grad, hess

    def output(
        self, true: AnyArray, pred: AnyArray, weight: AnyArray | None
    ) -> tuple[AnyArray, AnyArray]:
        """Return gradient and hessian of one output, of arrays of the same length."""
        if self.beta is not None:
            grad, hess = mixed(true, pred, weight, self.beta)
        else:
            residual = residuals_float32(true, pred)
            sizes = np.abs(residual)
            beta = residual_quantile(sizes, weight, self.quantile)
            found = mixed_of_most(residual, weight, beta, sizes)
            if found is None:  # of what the threshold is of, so that it is rounded as they are
                found = mixed(np.zeros_like(residual), residual, weight, beta)
            grad, hess = found
        if self.unit != 1.0:
            grad /= self.unit
        return grad, hess

    def smooth_l1(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float:
        """Return the mean Smooth L1 loss with the thresholds of the start."""
        true, pred, weight = arrays_of(y_true, y_pred, sample_weight)
        loss = smooth_l1_loss(
            pred,
            true,
            "mean" if weight is None else "weighted_mean",
            self.thresholds[0] if len(self.thresholds) == 1 else np.array(self.thresholds),
            weight=weight,
        )
        return float(loss)

    def lightgbm_metric(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> tuple[str, float, bool]:
        """Return the loss with its name, and that higher is not better."""
        return "smooth_l1", self.smooth_l1(y_true, y_pred, sample_weight), False


def constructor(ours: Any, parents: Any) -> Any:
    """Give a constructor that passes ``**kwargs`` on the parameters that these stand for.

    scikit-learn, `help` and completion then see them.
    """
    own, theirs = (inspect.signature(function) for function in (ours, parents))
    named = [p for p in own.parameters.values() if p.kind is not p.VAR_KEYWORD]
    named += [p for name, p in theirs.parameters.items() if name not in own.parameters]
    rest = [p for p in own.parameters.values() if p.kind is p.VAR_KEYWORD]
    named = [p for p in named if p.kind is not p.VAR_KEYWORD]
    ours.__signature__ = own.replace(parameters=named + rest)
    return ours


def flat(name: str, values: ArrayLike, several: bool = False) -> AnyArray:
    """Return values of the samples in float64; errors for those that become infinite in float32.

    They are 1-D, or of several outputs where that is allowed.
    """
    from sklearn.utils import check_array, column_or_1d

    array = np.asarray(values)
    array = check_array(
        array, ensure_2d=False, dtype=np.float64, input_name=name, ensure_min_samples=0
    )
    if not (several and array.ndim == 2):
        array = column_or_1d(array)
    largest = float(np.abs(array).max()) if array.size else 0.0
    if largest > float(np.finfo(np.float32).max):
        raise ValueError(f"{name} must be in the range of float32, got {largest:g}")
    return cast(AnyArray, array)


def shifted(score: Any, shape: tuple[int, ...], location: float) -> AnyArray:
    """Return the initial score with the start added to it."""
    return np.full(shape, location) if score is None else np.asarray(score) + location
