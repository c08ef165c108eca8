"""The loss as an objective of gradient boosting libraries; it needs neither of them."""

from __future__ import annotations

import numbers
import warnings
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike

from smoothl1._arguments import (
    as_array,
    memory_order,
    prepare,
    result_array,
    thread_argument,
)
from smoothl1._calls import work_on
from smoothl1._dtypes import is_real
from smoothl1._typing import AnyArray
from smoothl1.functional import smooth_l1_loss
from smoothl1.location import huber_location

__all__ = ["SmoothL1Objective"]

_HESSIANS = ("mixed", "majorizer", "exact")
_OWN = 0.25  # share of the second derivative of the sample itself in a mixed hessian
_LEAST = 0.25  # of the mean of mixed hessians
_TINY, _HUGE = float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)
_SOME, _AROUND = 2000, 0.05  # a sample for a quantile, and where others may have it: 4.5 deviations
_FAR = 100.0  # residuals beyond so many thresholds are far from the quadratic piece


class Data(Protocol):
    """What xgboost.DMatrix and lightgbm.Dataset have in common."""

    def get_label(self) -> Any: ...
    def get_weight(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class SmoothL1Objective:
    r"""Objective of XGBoost and LightGBM: quadratic for errors below `beta`, linear above.

    With the residual :math:`r = \hat y - y`, a call returns for each prediction

    .. math::
        \mathrm{grad} = c\,\operatorname{clip}(r, -\beta, \beta) \qquad
        \mathrm{hess} = c\,\bigl((1 - \lambda) s + \lambda\,[|r| < \beta]\bigr),

    both times the weight of the sample. That is the loss times `beta` (the Huber loss), so
    that XGBoost's ``min_child_weight`` and ``reg_lambda`` and their like in LightGBM mean
    what they mean for squared error, whatever the units of y. :math:`s` is the share of the
    residuals in the quadratic piece, the mean second derivative, and
    :math:`\lambda = \min(s, 1/2) / 2`: most of the curvature is the same for all samples of an
    iteration, a part the sample's own. :math:`c = \max(1, 1/(4s))` is 1 unless less than a
    quarter of the residuals is in the quadratic piece.

    The object is immutable, comparable, hashable and picklable, and estimators that hold
    it can be cloned.

    Parameters
    ----------
    beta : float, default=1.0
        Threshold, in the units of y; positive and in the range of float32, as which both
        libraries take the gradients.
    hessian : {"mixed", "majorizer", "exact"}, default="mixed"
        "mixed" as above. The others have :math:`c = 1`: "majorizer" is
        :math:`\min(1, \beta/|r|)`, the curvature of the parabola that touches the loss at the
        residual and lies above it, so that a new leaf never raises its loss; but the hessian
        of an outlier is next to nothing, and leaves that isolate one pass the limits of both
        libraries. "exact" is the second derivative, 1 where :math:`|r| < \beta` and 0
        elsewhere: leaves of many outliers overshoot.

    Raises
    ------
    TypeError
        If `beta` is not a real number.
    ValueError
        If `beta` is not in that range, or `hessian` is unknown.

    Warns
    -----
    RuntimeWarning
        Once, if 99 % of the residuals exceed 100 `beta` in a call: `beta` is not in the units
        of y, or boosting starts far from y.

    See Also
    --------
    smoothl1.lightgbm.SmoothL1LGBMRegressor : does by itself what the notes ask for.
    smoothl1.xgboost.SmoothL1XGBRegressor : the same for XGBoost.
    smoothl1.smooth_l1_grad_hess : both derivatives, not multiplied by `beta`.
    smoothl1.huber_location : the constant from which boosting should start.

    Notes
    -----
    **Share.** Where most residuals are linear, :math:`s` is taken for at least half of `beta`
    over their median, below which it does not lie for residuals that are densest around 0. A
    step is then about twice the median residual at most, however far off the start is.

    **Start.** Neither library estimates the constant to start from for an objective of
    one's own: XGBoost starts at 0.5, LightGBM at 0. The first trees are then spent on the
    way to y, and with the hessian "majorizer" or "exact" ``min_child_weight`` may allow no
    split at all. Pass the Huber location. LightGBM leaves ``init_score`` out of its
    predictions, where it must be added again::

        start = smoothl1.huber_location(y, beta=2.0, sample_weight=w)
        objective = SmoothL1Objective(beta=2.0)

        model = XGBRegressor(objective=objective, base_score=start)
        model.fit(X, y, sample_weight=w)
        model.predict(X)

        model = LGBMRegressor(objective=objective)
        model.fit(X, y, sample_weight=w, init_score=np.full(len(y), start))
        start + model.predict(X)

    XGBoost keeps predictions in float32. Where the start is 10,000 times the spread of y or
    more, fit ``y - start`` with ``base_score=0``, and add it to the predictions.

    **Early stopping**, where LightGBM needs the start for the validation data, too, and
    before its release 4.7 ``eval_set=[(X_val, y_val)]``::

        XGBRegressor(
            objective=objective,
            base_score=start,
            eval_metric=objective.metric,
            early_stopping_rounds=10,
        ).fit(X, y, eval_set=[(X_val, y_val)])

        LGBMRegressor(objective=objective, metric="None").fit(
            X,
            y,
            init_score=np.full(len(y), start),
            eval_X=X_val,
            eval_y=y_val,
            eval_init_score=[np.full(len(y_val), start)],
            eval_metric=objective.lightgbm_metric,
            callbacks=[lightgbm.early_stopping(10)],
        )

    **Search.** Estimators of both libraries do not pass parameters on to their objective,
    so a search runs over objectives, and its score does not depend on theirs::

        GridSearchCV(
            XGBRegressor(base_score=np.median(y)),
            {"objective": [SmoothL1Objective(beta) for beta in (0.5, 1.0, 2.0)]},
            scoring="neg_mean_absolute_error",
        )

    **Without scikit-learn's interface** the libraries call with predictions and data, which
    is recognised: ``xgboost.train(params, data, obj=objective,
    custom_metric=objective.metric)`` and ``lightgbm.train({"objective": objective}, data,
    feval=objective.lightgbm_metric)``.

    **Scale.** With `beta` and the start in the units of y, models do not depend on these
    units, but for XGBoost's refusal of a split that gains less than 1e-6 (in y squared):
    multiply y by 1000, say, if its spread is below 0.01.

    **Weights** reach the objective from XGBoost 2.1 and LightGBM 4.0 on, which do not
    apply them themselves. Several outputs, of shape (n_samples, n_outputs), work in XGBoost.

    References
    ----------
    .. [1] J. H. Friedman, "Greedy Function Approximation: A Gradient Boosting Machine",
       Ann. Statist. 29 (2001), 1189-1232.
    .. [2] T. Chen and C. Guestrin, "XGBoost: A Scalable Tree Boosting System", KDD 2016.
    .. [3] K. Lange, D. R. Hunter and I. Yang, "Optimization Transfer Using Surrogate
       Objective Functions", J. Comput. Graph. Statist. 9 (2000), 1-20.

    Examples
    --------
    >>> from smoothl1.boosting import SmoothL1Objective
    >>> objective = SmoothL1Objective(beta=2.0)
    >>> grad, hess = objective([0.0, 0.0, 0.0, 0.0], [1.0, -1.0, 0.5, 8.0])
    >>> grad
    array([ 1. , -1. ,  0.5,  2. ])
    >>> hess  # of which three quarters are the same for all
    array([0.8125, 0.8125, 0.8125, 0.5625])
    >>> SmoothL1Objective(beta=2.0, hessian="majorizer")([0.0, 0.0, 0.0], [1.0, -2.0, 8.0])[1]
    array([1.  , 1.  , 0.25])
    >>> SmoothL1Objective(beta=2.0, hessian="exact")([0.0, 0.0, 0.0], [1.0, -2.0, 8.0])[1]
    array([1., 0., 0.])
    >>> objective.metric([0.0, 0.0], [1.0, 8.0])
    3.625
    >>> objective.lightgbm_metric([0.0, 0.0], [1.0, 8.0])
    ('smooth_l1', 3.625, False)
    """

    beta: float = 1.0
    hessian: Literal["mixed", "majorizer", "exact"] = "mixed"
    _warned: bool = field(default=False, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "beta", check_beta(self.beta))
        if self.hessian not in _HESSIANS:
            raise ValueError(
                f"hessian must be one of {', '.join(map(repr, _HESSIANS))}, got {self.hessian!r}"
            )

    def __call__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike | Data,
        sample_weight: ArrayLike | None = None,
    ) -> tuple[AnyArray, AnyArray]:
        """Return gradient and hessian, for ``(y_true, y_pred)`` or ``(predictions, data)``.

        Parameters
        ----------
        y_true : array_like of shape (n_samples,) or (n_samples, n_outputs)
            Several outputs may come flattened, as from XGBoost before 3.2.
        y_pred : array_like of the shape of `y_true`, xgboost.DMatrix or lightgbm.Dataset
            Data holds the labels and weights; `y_true` then holds the predictions.
        sample_weight : array_like of shape (n_samples,), optional

        Returns
        -------
        grad, hess : ndarray of the shape of `y_pred`
            Of float64, or of the dtype of both where that is float32.

        Raises
        ------
        TypeError
            For what cannot be read as an array of real numbers, or predictions and data
            in the wrong order.
        ValueError
            For shapes that do not match; for negative weights, with the hessian "mixed".
        """
        true, pred, weight = arrays_of(y_true, y_pred, sample_weight)
        if not self._warned and is_far(true, pred, self.beta):
            object.__setattr__(self, "_warned", True)
            warnings.warn(
                f"{far(self.beta)}, and start boosting from smoothl1.huber_location(y, beta)",
                RuntimeWarning,
                stacklevel=2,
            )
        if self.hessian == "mixed":
            return mixed(true, pred, weight, self.beta)
        return derivatives(true, pred, weight, self.beta, self.hessian == "majorizer")

    @overload
    def smooth_l1(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float: ...
    @overload
    def smooth_l1(self, y_true: ArrayLike, y_pred: Data) -> tuple[str, float]: ...
    def smooth_l1(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike | Data,
        sample_weight: ArrayLike | None = None,
    ) -> float | tuple[str, float]:
        """Mean Smooth L1 loss, in XGBoost's and scikit-learn's form; also called `metric`.

        XGBoost reports it as "smooth_l1", the name of this function.

        Parameters
        ----------
        y_true, y_pred, sample_weight
            As for a call of the object. The mean divides by the sum of the weights.

        Returns
        -------
        float or tuple of str and float
            The loss; for ``(predictions, data)`` its name and the loss, as ``xgboost.train``
            wants it.

        Raises
        ------
        TypeError, ValueError
            As for a call of the object; ``ValueError`` also for weights that sum to 0.
        """
        name, loss, _ = self.lightgbm_metric(y_true, y_pred, sample_weight)
        return (name, loss) if hasattr(y_pred, "get_label") else loss

    metric = smooth_l1

    def lightgbm_metric(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike | Data,
        sample_weight: ArrayLike | None = None,
    ) -> tuple[str, float, bool]:
        """Mean Smooth L1 loss in LightGBM's form: name, value, and that higher is not better.

        Parameters
        ----------
        y_true, y_pred, sample_weight
            As for a call of the object. The mean divides by the sum of the weights.

        Returns
        -------
        tuple of str, float and bool

        Raises
        ------
        TypeError, ValueError
            As for a call of the object; ``ValueError`` also for weights that sum to 0.
        """
        true, pred, weight = arrays_of(y_true, y_pred, sample_weight)
        reduction: Literal["mean", "weighted_mean"] = "mean" if weight is None else "weighted_mean"
        loss = smooth_l1_loss(pred, true, reduction, self.beta, weight=weight)
        return "smooth_l1", float(loss), False


def check_beta(beta: Any, kind: str = "a number") -> float:
    """Return a threshold that both libraries can work with, as a float.

    Raises
    ------
    TypeError
        If it is not a real number.
    ValueError
        If it is an array, or not positive and in the range of float32.
    """
    right = f"beta must be {kind} > 0 and in the range of float32, got"
    if not isinstance(beta, numbers.Real):
        shape = np.shape(beta) if isinstance(beta, list | tuple) else getattr(beta, "shape", None)
        if shape:
            raise ValueError(f"{right} an array of shape {shape}")
        if shape is None or not is_real(np.asarray(beta).dtype):
            raise TypeError(f"{right} {beta!r}")
    value = float(beta)
    if not _TINY <= value <= _HUGE:
        raise ValueError(f"{right} {value}")
    return value


def check_quantile(quantile: Any) -> float:
    """Return the quantile as a float; ``TypeError`` or ``ValueError`` if it is none."""
    if not isinstance(quantile, numbers.Real):
        raise TypeError(f"quantile must be a number, got {quantile!r}")
    if not 0 < float(quantile) <= 1:
        raise ValueError(f"quantile must be > 0 and <= 1, got {float(quantile)}")
    return float(quantile)


def derivatives(
    true: AnyArray, pred: AnyArray, weight: AnyArray | None, beta: float, majorizer: bool
) -> tuple[AnyArray, AnyArray]:
    """Return gradient and majorizing or second derivative of the Huber loss.

    Of the same kernels as the loss, not multiplied afterwards, so that the hessian of an
    inlier is 1 and not next to it.
    """
    operands = prepare(pred, true, "delta", beta, weight=weight)
    grad, hess = result_array(None, operands), result_array(None, operands)
    order = memory_order(grad)
    work_on(operands, order, thread_argument()).write_curvatures(grad, hess, False, majorizer)
    return grad, hess


def mixed(
    true: AnyArray, pred: AnyArray, weight: AnyArray | None, beta: float
) -> tuple[AnyArray, AnyArray]:
    """Return gradients and hessians that are mixed of the mean one and the sample's own.

    Each output has a mean of its own.
    """
    if weight is not None and weight.size and weight.min() < 0:
        raise ValueError(f"sample_weight must be >= 0, got {weight.min()}")
    grad, hess = derivatives(true, pred, weight, beta, False)
    weights = None if weight is None else weight.reshape(-1)
    columns = [np.s_[:]] if true.ndim == 1 else [np.s_[:, k] for k in range(true.shape[1])]
    for column in columns:
        share = _curvature(true[column], pred[column], weights, hess[column], beta)
        factor = max(1.0, _LEAST / share)
        own = _OWN * min(1.0, 2 * share)
        hess[column] *= factor * own
        mean = factor * (1 - own) * share
        hess[column] += mean if weights is None else (mean * weights).astype(hess.dtype)
        if factor != 1.0:  # which may be beyond the range of float32, as the product is not
            grad[column] = np.multiply(grad[column], factor, dtype=np.float64)
    return grad, hess


def _curvature(
    true: AnyArray, pred: AnyArray, weight: AnyArray | None, hess: AnyArray, beta: float
) -> float:
    """Return the mean of the hessians, as far as the residuals are finite, and its floor."""
    total = float(len(hess) if weight is None else weight.sum(dtype=np.float64))
    share = float(hess.sum(dtype=np.float64)) / total if total > 0 else 1.0
    if share >= 0.5:
        return min(share, 1.0)
    sizes = residual_sizes(true, pred)
    finite = np.isfinite(sizes)
    if not finite.all():
        sizes, hess = sizes[finite], hess[finite]
        weight = None if weight is None else weight[finite]
    total = float(len(hess) if weight is None else weight.sum(dtype=np.float64))
    if not total > 0:
        return 1.0
    share = float(hess.sum(dtype=np.float64)) / total
    median = float(huber_location(sizes, 0.0, sample_weight=weight))
    # Of sizes that are densest around 0 no smaller share lies below beta: half lie below the
    # median, and at least in proportion below a part of it.
    least = 0.5 * min(1.0, beta / median) if median > 0 else 1.0
    return max(share, least, float(np.finfo(np.float64).tiny))


def mixed_of_most(
    residual: AnyArray, weight: AnyArray | None, beta: float, sizes: AnyArray
) -> tuple[AnyArray, AnyArray] | None:
    """Return what `mixed` does for one output, from the residuals and their sizes; in less time.

    None where less than half of the weight lies below the threshold, and with NaN among them.
    """
    inside = sizes < beta
    share = 0.0
    if weight is None:
        share = float(np.count_nonzero(inside)) / max(1, len(sizes))
    else:
        total = float(np.add.reduce(weight, dtype=np.float64))
        if total > 0:
            share = float(np.add.reduce(weight * inside, dtype=np.float64)) / total
    if not share >= 0.5 or np.isnan(np.maximum.reduce(sizes)):
        return None
    grad = residual.clip(-beta, beta)
    hess = np.multiply(inside, residual.dtype.type(_OWN))
    hess += (1 - _OWN) * min(share, 1.0)
    if weight is not None:
        grad *= weight
        hess *= weight
    return grad, hess


def residuals(true: AnyArray, pred: AnyArray) -> AnyArray:
    """Return the residuals, in float64."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.subtract(pred, true, dtype=np.float64)


def residuals_float32(true: AnyArray, pred: AnyArray) -> AnyArray:
    """Return the residuals, rounded to float32, as which both libraries take gradients."""
    with np.errstate(invalid="ignore", over="ignore"):
        return np.subtract(pred, true).astype(np.float32, copy=False)


def residual_sizes(true: AnyArray, pred: AnyArray) -> AnyArray:
    """Return the absolute residuals, in float64."""
    sizes = residuals(true, pred)
    return np.abs(sizes, out=sizes)


def residual_quantile(sizes: AnyArray, weight: AnyArray | None, quantile: float) -> float:
    """Return a threshold: the least size that the share ``quantile`` of the weight does not exceed.

    Sizes of 0 are left out where it would be 0, as for targets of which most are equal.
    """
    if weight is not None:
        sizes, weight = sizes[weight > 0], weight[weight > 0]
    if sizes.size and not np.maximum.reduce(sizes) < np.inf:
        finite = np.isfinite(sizes)
        sizes = sizes[finite]
        weight = None if weight is None else weight[finite]
    found = _quantile(sizes, weight, quantile)
    if found == 0:
        positive = sizes > 0
        found = _quantile(sizes[positive], None if weight is None else weight[positive], quantile)
    return min(max(found, _TINY), _HUGE) if found > 0 else 1.0


def _quantile(sizes: AnyArray, weight: AnyArray | None, quantile: float) -> float:
    """Return the quantile of finite sizes with positive weights; 0 if there are none."""
    if not sizes.size:
        return 0.0
    total = sizes.size if weight is None else weight.sum(dtype=np.float64)
    # Only sizes between two quantiles of some of them are sorted, if it lies there.
    below = 0.0
    if sizes.size > 4 * _SOME:
        some = sizes[:: sizes.size // _SOME]
        ends = [int(q * (some.size - 1)) for q in (quantile - _AROUND, quantile + _AROUND)]
        ends = [min(max(end, 0), some.size - 1) for end in ends]
        low, high = np.partition(some, ends)[ends]
        over = sizes >= low
        inside = over & (sizes <= high)
        if weight is None:
            parts = [sizes.size - np.count_nonzero(over), np.count_nonzero(inside)]
        else:
            parts = [weight[part].sum(dtype=np.float64) for part in (~over, inside)]
        if parts[0] < quantile * total < sum(parts):
            sizes, weight = sizes[inside], None if weight is None else weight[inside]
            below = float(parts[0])
    if weight is None:
        rank = int(np.ceil(quantile * total)) - 1 - int(below)
        rank = min(max(rank, 0), sizes.size - 1)
        return float(np.partition(sizes, rank)[rank])
    order = np.argsort(sizes, kind="stable")
    sums = below + np.cumsum(weight[order], dtype=np.float64)
    rank = int(np.searchsorted(sums, quantile * total))
    return float(sizes[order[min(rank, sizes.size - 1)]])


def is_far(true: AnyArray, pred: AnyArray, beta: float) -> bool:
    """Whether 99 % of the residuals exceed 100 thresholds."""
    size = true.size
    # A look at some of them, which nearly always suffices.
    step = max(1, size // 64)
    some = residual_sizes(true.reshape(-1)[::step], pred.reshape(-1)[::step])
    if not size or np.count_nonzero(some > _FAR * beta) < 0.9 * some.size:
        return False
    sizes = residual_sizes(true, pred)
    return bool(np.count_nonzero(sizes > _FAR * beta) >= 0.99 * size)


def far(beta: float) -> str:
    """Return what to say of residuals that are far from the quadratic piece."""
    return (
        f"99 % of the residuals exceed {_FAR:g} beta, beta={beta:g}; pass a beta in the units of y"
    )


def arrays_of(
    y_true: Any, y_pred: Any, sample_weight: Any
) -> tuple[AnyArray, AnyArray, AnyArray | None]:
    """Return true values, predictions, and weights that broadcast to them."""
    if hasattr(y_true, "get_label"):
        raise TypeError(
            f"y_true is a {type(y_true).__qualname__}; pass (y_true, y_pred) or (predictions, data)"
        )
    if hasattr(y_pred, "get_label"):
        if sample_weight is not None:
            raise TypeError("sample_weight must be None where data is passed, which holds weights")
        y_true, y_pred, sample_weight = y_pred.get_label(), y_true, y_pred.get_weight()
        if sample_weight is not None and len(sample_weight) == 0:  # XGBoost's "none"
            sample_weight = None
    true, pred = as_array("y_true", y_true), as_array("y_pred", y_pred)
    if pred.ndim == 2 and true.shape == (pred.size,):
        true = true.reshape(pred.shape)  # XGBoost before 3.2 flattens labels
    if true.shape != pred.shape:
        raise ValueError(
            f"y_true and y_pred must have the same shape, got {true.shape} and {pred.shape}"
        )
    if sample_weight is None:
        return true, pred, None
    weight = as_array("sample_weight", sample_weight)
    if weight.shape != true.shape[:1]:
        raise ValueError(
            f"sample_weight must hold a weight for each sample, of shape {true.shape[:1]}, "
            f"got {weight.shape}"
        )
    return true, pred, weight.reshape(weight.shape + (1,) * (true.ndim - 1))
