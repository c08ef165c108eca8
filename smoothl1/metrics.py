"""Metrics for regression, by scikit-learn's conventions; they need scikit-learn.

They are called with ``(y_true, y_pred)``, and the means divide by the sum of the sample
weights. `smooth_l1_scorer` makes a scorer of the loss; ``sklearn.metrics.make_scorer`` takes
both.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.metrics import make_scorer
from sklearn.utils import check_array, check_consistent_length

from smoothl1._arguments import as_array
from smoothl1._arrays import refuse_masked
from smoothl1._typing import AnyArray, Reduction
from smoothl1.functional import smooth_l1_loss
from smoothl1.location import huber_location

__all__ = ["d2_smooth_l1_score", "mean_smooth_l1_loss", "smooth_l1_scorer"]

_AVERAGES = ("raw_values", "uniform_average")


def mean_smooth_l1_loss(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    beta: ArrayLike = 1.0,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | AnyArray:
    r"""Mean Smooth L1 loss: quadratic for errors below `beta`, linear above.

    .. math:: \frac{1}{\sum_i w_i} \sum_i w_i\,\mathrm{smooth\_l1}(y_i - \hat y_i;\,\beta)

    Parameters
    ----------
    y_true : array-like of shape (n_samples,) or (n_samples, n_outputs)
        True values.
    y_pred : array-like of shape (n_samples,) or (n_samples, n_outputs)
        Predictions.
    sample_weight : array-like of shape (n_samples,), optional
        Weights of the samples; their sum must not be 0.
    beta : float or array-like of shape (n_outputs,), default=1.0
        Threshold, >= 0, in the units of `y_true`; an array holds one for each output. 0
        gives the mean absolute error.
    multioutput : {"raw_values", "uniform_average"} or array-like, default="uniform_average"
        "raw_values" returns the loss of each output, "uniform_average" their mean, an
        array of weights of shape (n_outputs,) their weighted mean.

    Returns
    -------
    float or ndarray of shape (n_outputs,)
        An array for "raw_values" only. It is >= 0; the best value is 0.

    Raises
    ------
    ValueError
        For shapes or lengths that do not match, NaN or infinite values, a negative or
        NaN `beta`, weights that sum to 0 (of samples or of outputs), an unknown
        `multioutput`.
    TypeError
        If `beta` or `multioutput` does not hold real numbers.

    See Also
    --------
    smooth_l1_scorer : a scorer of it, for searches and cross-validation.
    smoothl1.smooth_l1_loss : the loss of arrays, without scikit-learn's conventions.
    d2_smooth_l1_score : the fraction of this loss that a model explains.

    Examples
    --------
    >>> from smoothl1.metrics import mean_smooth_l1_loss
    >>> mean_smooth_l1_loss([3, -0.5, 2, 7], [2.5, 0.0, 2, 8])
    0.1875
    >>> mean_smooth_l1_loss([[0, 1], [2, 1]], [[0, 4], [2, 1]], multioutput="raw_values")
    array([0.  , 1.25])
    >>> mean_smooth_l1_loss(
    ...     [[0, 1], [2, 1]], [[0, 4], [2, 1]], beta=[1, 3], multioutput="raw_values"
    ... )
    array([0.  , 0.75])
    """
    y_true, y_pred, weights = _check_targets(y_true, y_pred, sample_weight)
    losses = _losses(y_true, y_pred, weights, _check_beta(beta, y_true.shape[1]))
    return _average(losses, multioutput)


def smooth_l1_scorer(beta: ArrayLike = 1.0) -> Callable[..., float]:
    """Scorer of the mean Smooth L1 loss: its negative, so that higher is better.

    Parameters
    ----------
    beta : float or array-like of shape (n_outputs,), default=1.0
        Threshold of the score, >= 0, in the units of y.

    Returns
    -------
    callable
        For the `scoring` of ``GridSearchCV``, ``cross_val_score`` and their like; it passes
        on `sample_weight`, can be pickled, and says in its repr what it is.

    Raises
    ------
    TypeError
        If `beta` does not hold real numbers.
    ValueError
        If it is negative or NaN, or has more than one dimension.

    See Also
    --------
    mean_smooth_l1_loss : the loss itself.

    Notes
    -----
    In a search over the threshold of a model the score must keep its own, as this one does.
    A loss with the threshold of the candidate is not comparable between candidates: it is
    the smaller, the larger the threshold.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.model_selection import GridSearchCV
    >>> from smoothl1.ensemble import SmoothL1HistGradientBoostingRegressor
    >>> from smoothl1.metrics import smooth_l1_scorer
    >>> X = np.arange(200.0).reshape(-1, 1)
    >>> y = np.where(X[:, 0] < 100, 0.0, 10.0)
    >>> y[::10] += 1000
    >>> search = GridSearchCV(
    ...     SmoothL1HistGradientBoostingRegressor(max_iter=10, learning_rate=0.5),
    ...     {"beta": [1.0, 1e4]},
    ...     scoring=smooth_l1_scorer(beta=1.0),
    ... )
    >>> search.fit(X, y).best_params_
    {'beta': 1.0}
    """
    beta = _check_beta(beta, None)
    scorer: Callable[..., float] = make_scorer(
        mean_smooth_l1_loss, greater_is_better=False, beta=beta
    )
    return scorer


def d2_smooth_l1_score(
    y_true: ArrayLike,
    y_pred: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    beta: ArrayLike = 1.0,
    multioutput: str | ArrayLike = "uniform_average",
) -> float | AnyArray:
    r"""Fraction of the Smooth L1 loss that a model explains, :math:`D^2`.

    One minus the mean loss of the predictions over that of the best constant, which is
    the (weighted) Huber location of `y_true`. Between :math:`R^2` (large `beta`) and
    scikit-learn's ``d2_absolute_error_score`` (``beta=0``).

    Parameters
    ----------
    y_true, y_pred, sample_weight, beta, multioutput
        As for `mean_smooth_l1_loss`; the weights of samples must be >= 0, and an
        infinite `beta` gives :math:`R^2`.

    Returns
    -------
    float or ndarray of shape (n_outputs,)
        At most 1, the best value; 0 for the best constant; negative for what is worse. An
        output whose true values are constant scores 1 if it is predicted exactly, else 0.

    Raises
    ------
    ValueError
        As `mean_smooth_l1_loss`.

    Warns
    -----
    UndefinedMetricWarning
        For less than two samples; the score is nan.

    See Also
    --------
    smoothl1.huber_location : the best constant.

    References
    ----------
    .. [1] T. Hastie, R. Tibshirani, M. Wainwright, "Statistical Learning with Sparsity",
       2015, equation 3.11.

    Examples
    --------
    >>> from smoothl1.metrics import d2_smooth_l1_score
    >>> d2_smooth_l1_score([1, 2, 3, 10], [1, 2, 4, 9], beta=2.0)
    0.9302325581395349
    >>> d2_smooth_l1_score([1, 2, 3], [2, 2, 2])
    0.0
    """
    y_true, y_pred, weights = _check_targets(y_true, y_pred, sample_weight)
    betas = np.broadcast_to(_check_beta(beta, y_true.shape[1]), y_true.shape[1])
    if len(y_true) < 2:
        warnings.warn(
            "D^2 score is not well-defined with less than two samples.",
            UndefinedMetricWarning,
            stacklevel=2,
        )
        return float("nan")
    columns = zip(y_true.T, y_pred.T, betas.tolist(), strict=True)
    return _average(np.array([_d2(y, x, weights, beta) for y, x, beta in columns]), multioutput)


def _d2(y_true: AnyArray, y_pred: AnyArray, weights: AnyArray | None, beta: float) -> float:
    """Return the score of one output."""
    # A beta above every residual only divides both losses, until they underflow.
    high, low = max(y_true.max(), y_pred.max()), min(y_true.min(), y_pred.min())
    beta = min(beta, float(high) - float(low))
    null = huber_location(y_true, beta, sample_weight=weights)
    reduction: Reduction = "mean" if weights is None else "weighted_mean"
    loss, null_loss = (
        float(smooth_l1_loss(guess, y_true, reduction, beta, weight=weights))
        for guess in (y_pred, null)
    )
    if loss == 0.0:
        return 1.0
    return 1.0 - loss / null_loss if null_loss else 0.0


def _check_targets(
    y_true: Any, y_pred: Any, sample_weight: Any
) -> tuple[AnyArray, AnyArray, AnyArray | None]:
    """Return the targets as arrays of shape (n_samples, n_outputs), and the weights."""
    for name, value in (("y_true", y_true), ("y_pred", y_pred), ("sample_weight", sample_weight)):
        refuse_masked(name, value)
    check_consistent_length(y_true, y_pred, sample_weight)
    floats = [np.float64, np.float32]
    y_true, y_pred = (
        check_array(y, ensure_2d=False, dtype=floats, input_name=name)
        for name, y in (("y_true", y_true), ("y_pred", y_pred))
    )
    y_true, y_pred = (y.reshape(-1, 1) if y.ndim == 1 else y for y in (y_true, y_pred))
    if y_true.shape != y_pred.shape:
        raise ValueError(
            f"y_true and y_pred must have the same number of outputs, "
            f"got {y_true.shape[1]} and {y_pred.shape[1]}"
        )
    weights = None
    if sample_weight is not None:
        weights = check_array(
            sample_weight, ensure_2d=False, dtype=floats, input_name="sample_weight"
        )
        if weights.ndim != 1:
            raise ValueError(f"sample_weight must be 1-D, got shape {weights.shape}")
        if weights.sum() == 0:
            raise ValueError("sample_weight must not sum to 0")
    # As wide as the widest: weights in float64 may be 0 or infinite in float32.
    arrays = [a for a in (y_true, y_pred, weights) if a is not None]
    return y_true.astype(np.result_type(*arrays), copy=False), y_pred, weights


def _check_beta(beta: Any, n_outputs: int | None) -> float | AnyArray:
    """Return a threshold, or one for each output; any number of them for None."""
    if type(beta) is float and beta >= 0:
        return beta
    each = "each output" if n_outputs is None else f"each of the {n_outputs} outputs"
    right = f"beta must be a number >= 0, or one for {each}, got"
    if beta is None or isinstance(beta, str | bytes):
        raise TypeError(f"{right} {beta!r}")
    array = as_array("beta", beta)
    if array.ndim and (array.ndim > 1 or n_outputs not in (None, len(array))):
        raise ValueError(f"{right} an array of shape {array.shape}")
    bad = ~(array >= 0)
    if bad.any():
        raise ValueError(f"{right} {array[bad].flat[0]}")
    return np.asarray(array, np.float64) if array.ndim else float(array)


def _losses(
    y_true: AnyArray, y_pred: AnyArray, weights: AnyArray | None, beta: float | AnyArray
) -> AnyArray:
    """Return the mean loss of each output, in float64."""
    if weights is None and y_true.shape[1] == 1:
        loss = smooth_l1_loss(y_pred[:, 0], y_true[:, 0], beta=beta)
        return np.atleast_1d(np.asarray(loss, np.float64))
    losses = smooth_l1_loss(
        y_pred,
        y_true,
        "mean" if weights is None else "weighted_mean",
        beta,
        weight=None if weights is None else weights[:, np.newaxis],
        axis=0,
    )
    return np.asarray(losses, np.float64)


def _average(values: AnyArray, multioutput: Any) -> float | AnyArray:
    """Combine the values of the outputs as ``multioutput`` says."""
    if isinstance(multioutput, str):
        if multioutput not in _AVERAGES:
            raise ValueError(
                f"multioutput must be one of {', '.join(map(repr, _AVERAGES))} or an array of "
                f"weights, got {multioutput!r}"
            )
        return values if multioutput == "raw_values" else float(np.average(values))
    weights = as_array("multioutput", multioutput)
    if weights.shape != values.shape:
        raise ValueError(
            f"multioutput must hold a weight for each of the {len(values)} outputs, "
            f"got shape {weights.shape}"
        )
    if not np.isfinite(weights).all() or weights.sum() == 0:
        raise ValueError(f"multioutput must be finite and not sum to 0, got {weights.tolist()}")
    return float(np.average(values, weights=weights))
