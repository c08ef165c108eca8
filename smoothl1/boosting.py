"""The loss as an objective of gradient boosting libraries; it needs neither of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol, overload

import numpy as np
from numpy.typing import ArrayLike

from smoothl1._arguments import (
    as_array,
    check_number,
    memory_order,
    prepare,
    result_array,
    thread_argument,
)
from smoothl1._calls import work_on
from smoothl1._typing import AnyArray
from smoothl1.functional import smooth_l1_loss

__all__ = ["SmoothL1Objective"]


class _Data(Protocol):
    """What xgboost.DMatrix and lightgbm.Dataset have in common."""

    def get_label(self) -> Any: ...
    def get_weight(self) -> Any: ...


@dataclass(frozen=True, slots=True)
class SmoothL1Objective:
    r"""Objective of XGBoost and LightGBM: quadratic for errors below `beta`, linear above.

    With the residual :math:`r = \hat y - y`, a call returns for each prediction

    .. math::
        \mathrm{grad} = \operatorname{clip}(r, -\beta, \beta) \qquad
        \mathrm{hess} = \min(1, \beta / |r|),

    both times the weight of the sample. That is the loss times `beta` (the Huber loss), so
    that an inlier counts 1 in the hessian whatever the units of y: XGBoost's
    ``min_child_weight`` and ``reg_lambda`` and their like in LightGBM mean what they mean
    for squared error.

    The object is immutable, comparable, hashable and picklable, and estimators that hold
    it can be cloned.

    Parameters
    ----------
    beta : float, default=1.0
        Threshold, in the units of y; positive and in the range of float32, as which both
        libraries take the gradients.
    hessian : {"majorizer", "exact"}, default="majorizer"
        "majorizer" as above: the curvature of the parabola that touches the loss at the
        residual and lies above it, so that a new leaf never raises its loss. "exact" is the
        second derivative, 1 where :math:`|r| < \beta` and 0 elsewhere: outliers are left
        out of the denominator of a leaf's value, which makes leaves of many outliers
        overshoot, and ``min_child_weight`` counts inliers only.

    Raises
    ------
    TypeError
        If `beta` is not a real number.
    ValueError
        If `beta` is not in that range, or `hessian` is unknown.

    See Also
    --------
    smoothl1.smooth_l1_grad_hess : both derivatives, not multiplied by `beta`.
    smoothl1.huber_location : the constant from which boosting should start.

    Notes
    -----
    **Start.** Neither library estimates the constant to start from for an objective of
    one's own: XGBoost starts at 0.5, LightGBM at 0. Where y is many `beta` away from that,
    all hessians are near 0: trees are coarse, or ``min_child_weight`` allows no split at
    all. Pass the Huber location. LightGBM leaves ``init_score`` out of its predictions,
    where it must be added again::

        start = smoothl1.huber_location(y, beta=2.0, sample_weight=w)
        objective = SmoothL1Objective(beta=2.0)

        model = XGBRegressor(objective=objective, base_score=start)
        model.fit(X, y, sample_weight=w)
        model.predict(X)

        model = LGBMRegressor(objective=objective)
        model.fit(X, y, sample_weight=w, init_score=np.full(len(y), start))
        start + model.predict(X)

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
    >>> grad, hess = objective([0.0, 0.0, 0.0], [1.0, -2.0, 8.0])
    >>> grad
    array([ 1., -2.,  2.])
    >>> hess
    array([1.  , 1.  , 0.25])
    >>> SmoothL1Objective(beta=2.0, hessian="exact")([0.0, 0.0, 0.0], [1.0, -2.0, 8.0])[1]
    array([1., 0., 0.])
    >>> objective.metric([0.0, 0.0], [1.0, 8.0])
    3.625
    >>> objective.lightgbm_metric([0.0, 0.0], [1.0, 8.0])
    ('smooth_l1', 3.625, False)
    """

    beta: float = 1.0
    hessian: Literal["majorizer", "exact"] = "majorizer"

    def __post_init__(self) -> None:
        beta = check_number("beta", self.beta)
        single = np.finfo(np.float32)
        if not float(single.tiny) <= beta <= float(single.max):
            raise ValueError(f"beta must be > 0 and in the range of float32, got {beta}")
        object.__setattr__(self, "beta", beta)
        if self.hessian not in ("majorizer", "exact"):
            raise ValueError(f"hessian must be 'majorizer' or 'exact', got {self.hessian!r}")

    def __call__(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike | _Data,
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
            For shapes that do not match.
        """
        true, pred, weight = _arrays(y_true, y_pred, sample_weight)
        # The derivatives of the Huber loss: of the same kernels, not multiplied afterwards,
        # so that the hessian of an inlier is 1 and not next to it.
        operands = prepare(pred, true, "delta", self.beta, weight=weight)
        grad, hess = result_array(None, operands), result_array(None, operands)
        order = memory_order(grad)
        work_on(operands, order, thread_argument()).write_curvatures(
            grad.transpose(order), hess.transpose(order), False, self.hessian == "majorizer"
        )
        return grad, hess

    @overload
    def smooth_l1(
        self, y_true: ArrayLike, y_pred: ArrayLike, sample_weight: ArrayLike | None = None
    ) -> float: ...
    @overload
    def smooth_l1(self, y_true: ArrayLike, y_pred: _Data) -> tuple[str, float]: ...
    def smooth_l1(
        self,
        y_true: ArrayLike,
        y_pred: ArrayLike | _Data,
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
        y_pred: ArrayLike | _Data,
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
        true, pred, weight = _arrays(y_true, y_pred, sample_weight)
        reduction: Literal["mean", "weighted_mean"] = "mean" if weight is None else "weighted_mean"
        loss = smooth_l1_loss(pred, true, reduction, self.beta, weight=weight)
        return "smooth_l1", float(loss), False


def _arrays(
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
