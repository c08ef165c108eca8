"""Gradient boosting of histogram trees with the Smooth L1 loss; it needs scikit-learn.

scikit-learn has no public interface for a loss of one's own. What is private of what is used
here is imported and checked in `_private_parts`, and nowhere else.
"""

from __future__ import annotations

import math
from functools import wraps
from typing import Any

import numpy as np
import sklearn
from numpy.typing import ArrayLike
from sklearn.ensemble import HistGradientBoostingRegressor

from smoothl1._boosters import start
from smoothl1._typing import AnyArray
from smoothl1.boosting import (
    check_beta,
    check_quantile,
    residual_quantile,
    residual_sizes,
)
from smoothl1.functional import huber_grad, smooth_l1_grad_hess, smooth_l1_loss
from smoothl1.location import huber_location

__all__ = ["SmoothL1BoostingLoss", "SmoothL1HistGradientBoostingRegressor"]

_TESTED = ("1.6.1", "1.9.1")  # releases of scikit-learn, the oldest and the newest


def _private_parts() -> tuple[Any, Any]:
    """Return ``BaseLoss`` and ``IdentityLink``; ImportError if scikit-learn has changed."""
    try:
        from sklearn._loss.link import IdentityLink
        from sklearn._loss.loss import BaseLoss
        from sklearn.ensemble._hist_gradient_boosting import gradient_boosting

        BaseLoss(closs=None, link=IdentityLink())
        for owner, name in (
            (BaseLoss, "differentiable"),
            (BaseLoss, "init_gradient_and_hessian"),
            (HistGradientBoostingRegressor, "_get_loss"),
            (gradient_boosting, "_update_leaves_values"),
        ):
            getattr(owner, name)
    except (AttributeError, ImportError, TypeError) as error:
        raise ImportError(
            f"smoothl1.ensemble uses private parts of scikit-learn, as they are in its releases "
            f"{_TESTED[0]} to {_TESTED[-1]}, and does not work with {sklearn.__version__}: {error}"
        ) from error
    return BaseLoss, IdentityLink


BaseLoss, IdentityLink = _private_parts()

# Of trees by "auto": the part of the square root of the number of samples, least, most, and
# what else may be given.
_SIZES = {
    "max_leaf_nodes": (3, 8, 31, ", an int >= 2 or None"),
    "min_samples_leaf": (2, 10, 20, " or an int >= 1"),
}

_ENOUGH = 40  # samples for trees: two leaves of scikit-learn's default


def _is_auto(name: str, value: str) -> bool:
    """Return True; ValueError for a string that is not "auto"."""
    if value != "auto":
        raise ValueError(f'{name} must be "auto"{_SIZES[name][3]}, got {value!r}')
    return True


def _tree_size(name: str, samples: int) -> int:
    """Return what "auto" is for so many samples."""
    part, least, most, _ = _SIZES[name]
    if samples < _ENOUGH:
        return most
    return min(max(math.isqrt(samples) // part, least), most)


class _Kernels:
    """The loss as scikit-learn calls it in compiled form: results go to the arrays given."""

    def __init__(self, beta: float, unit_hessian: bool) -> None:
        self.beta = beta
        self.unit_hessian = unit_hessian

    def loss(
        self,
        y_true: AnyArray,
        raw_prediction: AnyArray,
        sample_weight: AnyArray | None,
        loss_out: AnyArray,
        n_threads: int = 1,
    ) -> None:
        smooth_l1_loss(
            raw_prediction,
            y_true,
            "none",
            self.beta,
            weight=sample_weight,
            out=loss_out,
            n_threads=n_threads,
        )

    def gradient(
        self,
        y_true: AnyArray,
        raw_prediction: AnyArray,
        sample_weight: AnyArray | None,
        gradient_out: AnyArray,
        n_threads: int = 1,
    ) -> None:
        huber_grad(
            raw_prediction,
            y_true,
            "sum",
            self.beta,
            weight=sample_weight,
            out=gradient_out,
            n_threads=n_threads,
        )

    def loss_gradient(
        self,
        y_true: AnyArray,
        raw_prediction: AnyArray,
        sample_weight: AnyArray | None,
        loss_out: AnyArray,
        gradient_out: AnyArray,
        n_threads: int = 1,
    ) -> None:
        self.loss(y_true, raw_prediction, sample_weight, loss_out, n_threads)
        self.gradient(y_true, raw_prediction, sample_weight, gradient_out, n_threads)

    def gradient_hessian(
        self,
        y_true: AnyArray,
        raw_prediction: AnyArray,
        sample_weight: AnyArray | None,
        gradient_out: AnyArray,
        hessian_out: AnyArray,
        n_threads: int = 1,
    ) -> None:
        if self.unit_hessian:
            self.gradient(y_true, raw_prediction, sample_weight, gradient_out, n_threads)
            hessian_out[...] = 1 if sample_weight is None else sample_weight
            return
        smooth_l1_grad_hess(
            raw_prediction,
            y_true,
            self.beta,
            hessian="majorizer",
            weight=sample_weight,
            out=(gradient_out, hessian_out),
            n_threads=n_threads,
        )
        gradient_out *= self.beta
        hessian_out *= self.beta


class SmoothL1BoostingLoss(BaseLoss):  # type: ignore[misc, valid-type]
    r"""The Smooth L1 loss as an object of scikit-learn's gradient boosting.

    Losses are those of `smoothl1.smooth_l1_loss`. Gradients and hessians, from which trees
    choose their splits, are times `beta` (those of the Huber loss), so that a sample within
    `beta` of its target counts as it does for squared error. With the residual
    :math:`r = \hat y - y` they are, each times the weight of the sample,

    .. math::
        \mathrm{grad} = \operatorname{clip}(r, -\beta, \beta) \qquad
        \mathrm{hess} = \begin{cases} 1 & \text{with line search} \\
        \min(1, \beta / |r|) & \text{without} \end{cases}

    Parameters
    ----------
    beta : float or None, default=1.0
        Threshold, in the units of y; positive and in the range of float32, the dtype of
        scikit-learn's gradients. None takes the `quantile` of the absolute residuals,
        anew whenever hessians are asked for; losses keep the first threshold.
    quantile : float, default=0.9
        Share of the residuals in the quadratic piece, > 0 and <= 1, where `beta` is None.
    line_search : bool, default=True
        Whether the values of leaves are set to the Huber location of the residuals in
        them. Otherwise they are Newton steps, which never raise the loss of a leaf either.

    Raises
    ------
    TypeError
        If `beta` or `quantile` is not a real number.
    ValueError
        If one of them is not in its range.

    See Also
    --------
    SmoothL1HistGradientBoostingRegressor : the estimator that makes it.
    smoothl1.boosting.SmoothL1Objective : the same for XGBoost and LightGBM.

    Examples
    --------
    >>> import numpy as np
    >>> from smoothl1.ensemble import SmoothL1BoostingLoss
    >>> loss = SmoothL1BoostingLoss(beta=2.0)
    >>> loss(np.zeros(3), np.array([1.0, -2.0, 8.0]))
    2.75
    >>> loss.gradient(np.zeros(3), np.array([1.0, -2.0, 8.0]))
    array([ 1., -2.,  2.])
    >>> loss.fit_intercept_only(np.array([1.0, 2.0, 3.0, 4.0, 100.0]))
    np.float64(3.0)
    """

    def __init__(
        self, beta: float | None = 1.0, *, quantile: float = 0.9, line_search: bool = True
    ) -> None:
        self.beta = None if beta is None else check_beta(beta, "None or a number")
        self.quantile = check_quantile(quantile)
        self.score_beta = self.beta  # None until a first threshold is found
        kernels = _Kernels(1.0 if self.beta is None else self.beta, line_search)
        super().__init__(closs=kernels, link=IdentityLink())
        # Releases differ in which of the two they read.
        self.differentiable = not line_search
        self.need_update_leaves_values = line_search
        self.approx_hessian = True
        self.constant_hessian = False

    def __call__(
        self,
        y_true: AnyArray,
        raw_prediction: AnyArray,
        sample_weight: AnyArray | None = None,
        n_threads: int = 1,
    ) -> float:
        """Return the mean loss, without a `beta` in units of the first threshold.

        Parameters
        ----------
        y_true : ndarray of shape (n_samples,)
            True values.
        raw_prediction : ndarray of shape (n_samples,) or (n_samples, 1)
            Predictions.
        sample_weight : ndarray of shape (n_samples,), optional
            Weights of the samples; the mean divides by their sum.
        n_threads : int, default=1
            Most threads to use; the result does not depend on it.

        Returns
        -------
        float
        """
        raw_prediction = raw_prediction.reshape(y_true.shape)
        beta = self.score_beta
        if beta is None:
            beta = self._find_threshold(y_true, raw_prediction, sample_weight)
        loss = smooth_l1_loss(
            raw_prediction,
            y_true,
            "mean" if sample_weight is None else "weighted_mean",
            beta,
            weight=sample_weight,
            n_threads=n_threads,
        )
        return float(loss) if self.beta is not None else float(loss / beta)

    def gradient_hessian(
        self,
        y_true: AnyArray,
        raw_prediction: AnyArray,
        sample_weight: AnyArray | None = None,
        gradient_out: AnyArray | None = None,
        hessian_out: AnyArray | None = None,
        n_threads: int = 1,
    ) -> tuple[AnyArray, AnyArray]:
        """Return gradients and hessians, of the threshold that these residuals have.

        Parameters
        ----------
        y_true : ndarray of shape (n_samples,)
            True values.
        raw_prediction : ndarray of shape (n_samples,) or (n_samples, 1)
            Predictions.
        sample_weight : ndarray of shape (n_samples,), optional
            Weights of the samples.
        gradient_out, hessian_out : ndarray of shape (n_samples,), optional
            Where to write them.
        n_threads : int, default=1
            Most threads to use; the result does not depend on it.

        Returns
        -------
        gradient, hessian : ndarray of shape (n_samples,)
        """
        if self.beta is None:
            self._find_threshold(y_true, raw_prediction.reshape(y_true.shape), sample_weight)
        found: tuple[AnyArray, AnyArray] = super().gradient_hessian(
            y_true, raw_prediction, sample_weight, gradient_out, hessian_out, n_threads
        )
        return found

    def _find_threshold(
        self, y_true: AnyArray, prediction: AnyArray, weight: AnyArray | None
    ) -> float:
        """Set and return the threshold of these residuals."""
        beta = residual_quantile(residual_sizes(y_true, prediction), weight, self.quantile)
        self.closs.beta = beta
        if self.score_beta is None:
            self.score_beta = beta
        return beta

    def fit_intercept_only(
        self, y_true: AnyArray, sample_weight: AnyArray | None = None
    ) -> np.floating[Any]:
        """Return the best constant, where boosting starts, or the best value of a leaf.

        Parameters
        ----------
        y_true : ndarray of shape (n_samples,)
            True values, or residuals.
        sample_weight : ndarray of shape (n_samples,), optional
            Weights, >= 0.

        Returns
        -------
        numpy scalar
            The Huber location; 0 if no weight is positive.
        """
        # scikit-learn splits off no samples without weight, but when it is misled by the
        # rounding of large weights.
        if sample_weight is not None and not sample_weight.any():
            return np.float64(0.0)
        if self.score_beta is None:  # before the first iteration
            location, self.score_beta = start(y_true, sample_weight, None, self.quantile)
            return np.float64(location)
        return huber_location(y_true, self.closs.beta, sample_weight=sample_weight)


class SmoothL1HistGradientBoostingRegressor(HistGradientBoostingRegressor):  # type: ignore[misc]
    r"""Histogram-based gradient boosting of regression trees with the Smooth L1 loss.

    scikit-learn's ``HistGradientBoostingRegressor`` with residuals above `beta` counted
    linearly, so that outliers in y do not decide the trees: between its losses
    "squared_error" (large `beta`) and "absolute_error" (small `beta`).

    Parameters
    ----------
    beta : float or None, default=None
        Threshold between the quadratic and the linear piece, in the units of y; positive
        and in the range of float32. About 1.35 times the standard deviation of the noise
        without outliers is a good choice. None takes the `quantile` of the absolute
        residuals, anew in each iteration, so that models do not depend on the units of y.
    quantile : float, default=0.9
        Share of the residuals in the quadratic piece, > 0 and <= 1. Not looked at if `beta`
        is a number.
    learning_rate, max_iter, max_depth
        As for ``sklearn.ensemble.HistGradientBoostingRegressor``, as all that follow.
    max_leaf_nodes : int, None or "auto", default="auto"
        As there. "auto" is a third of the square root of the number of samples, at least 8
        and at most 31: 10 for 1000 samples, 31 (scikit-learn's default) from 8649 on.
    min_samples_leaf : int or "auto", default="auto"
        As there. "auto" is half of that square root, at least 10 and at most 20: 15 for 1000
        samples, 20 (scikit-learn's default) from 1600 on. It is 20 below 40 samples, too,
        which are not split then: predictions are the Huber location of y.
    l2_regularization : float, default=0.0
        It acts on the choice of splits, and on the values of leaves with `monotonic_cst` only.
    max_features, max_bins, categorical_features, monotonic_cst, interaction_cst, warm_start
        As there.
    early_stopping, scoring, validation_fraction, n_iter_no_change, tol
        As there. `tol`, and `scoring` "loss", refer to the mean Smooth L1 loss, without a
        `beta` to that with the threshold of the start, which stays, in units of it.
    verbose, random_state
        As there.

    Attributes
    ----------
    n_iter_, n_trees_per_iteration_, do_early_stopping_, is_categorical_
        As there.
    train_score_, validation_score_
        As there. Scores by "loss" are the negative mean Smooth L1 loss.
    n_features_in_, feature_names_in_
        As there.
    max_leaf_nodes_, min_samples_leaf_ : int or None
        What trees were grown with: the parameters, or what "auto" came to.

    Raises
    ------
    ImportError
        On import of the module, if scikit-learn lacks the private parts that are used. It
        was tested with the releases 1.6.1 and 1.9.1.

    See Also
    --------
    SmoothL1BoostingLoss : the loss, its gradients and hessians.
    smoothl1.metrics.mean_smooth_l1_loss : the same loss, to compare predictions by.
    smoothl1.boosting.SmoothL1Objective : the same for XGBoost and LightGBM.
    smoothl1.lightgbm.SmoothL1LGBMRegressor : the same with LightGBM.
    smoothl1.xgboost.SmoothL1XGBRegressor : the same with XGBoost.
    sklearn.ensemble.GradientBoostingRegressor : its loss "huber" has the same threshold
        (`quantile` is its `alpha`), and exact splits.

    Notes
    -----
    Boosting starts from the Huber location of y. Each tree is grown as for squared error,
    on residuals clipped to `beta`; then the value of each leaf is set to the Huber location
    of the residuals in it, times the learning rate. That is M-TreeBoost [1]_, with a number
    for `beta` with a threshold that stays. Models then do not depend on the units of y if
    `beta` goes with them. A threshold of 0, as for targets of which most are equal, is that
    quantile of the residuals that are not 0.

    With a constraint in `monotonic_cst` that line search is left out, since it would break
    the constraint, as it does in scikit-learn for "absolute_error" and "quantile". Leaves
    then have the value of a Newton step with the hessian :math:`\min(1, \beta/|r|)`,
    bounded by the constraint. They fit less well where `beta` is far below the residuals.

    From few samples, small trees mostly learn more than large ones, and a few samples that
    differ from the others need leaves of their own; many samples allow for more leaves: hence
    "auto". Where only three or more features together tell of y, large trees are better with
    few samples, too: ``max_leaf_nodes=31``.

    Weights must be >= 0, and one of them positive. "auto" counts samples, not weights.

    References
    ----------
    .. [1] J. H. Friedman, "Greedy Function Approximation: A Gradient Boosting Machine",
       Ann. Statist. 29 (2001), 1189-1232, algorithm 4.
    .. [2] scikit-learn issue 31542, "Huber Loss for HistGradientBoostingRegressor".

    Examples
    --------
    >>> import numpy as np
    >>> from smoothl1.ensemble import SmoothL1HistGradientBoostingRegressor
    >>> X = np.arange(200.0).reshape(-1, 1)
    >>> y = np.where(X[:, 0] < 100, 0.0, 10.0)
    >>> y[::10] += 1000
    >>> model = SmoothL1HistGradientBoostingRegressor(max_iter=10, learning_rate=0.5)
    >>> model.fit(X, y).predict([[50.0], [150.0]]).round()
    array([ 0., 10.])
    """

    def __init__(
        self,
        *,
        beta: float | None = None,
        quantile: float = 0.9,
        learning_rate: float = 0.1,
        max_iter: int = 100,
        max_leaf_nodes: int | str | None = "auto",
        max_depth: int | None = None,
        min_samples_leaf: int | str = "auto",
        l2_regularization: float = 0.0,
        max_features: float = 1.0,
        max_bins: int = 255,
        categorical_features: ArrayLike | str | None = "from_dtype",
        monotonic_cst: ArrayLike | dict[str, int] | None = None,
        interaction_cst: Any = None,
        warm_start: bool = False,
        early_stopping: bool | str = "auto",
        scoring: Any = "loss",
        validation_fraction: float | None = 0.1,
        n_iter_no_change: int = 10,
        tol: float = 1e-7,
        verbose: int = 0,
        random_state: Any = None,
    ) -> None:
        super().__init__(
            loss="smooth_l1",  # any string makes `fit` ask `_get_loss`
            learning_rate=learning_rate,
            max_iter=max_iter,
            max_leaf_nodes=max_leaf_nodes,
            max_depth=max_depth,
            min_samples_leaf=min_samples_leaf,
            l2_regularization=l2_regularization,
            max_features=max_features,
            max_bins=max_bins,
            categorical_features=categorical_features,
            monotonic_cst=monotonic_cst,
            interaction_cst=interaction_cst,
            warm_start=warm_start,
            early_stopping=early_stopping,
            scoring=scoring,
            validation_fraction=validation_fraction,
            n_iter_no_change=n_iter_no_change,
            tol=tol,
            verbose=verbose,
            random_state=random_state,
        )
        self.beta = beta
        self.quantile = quantile

    @wraps(HistGradientBoostingRegressor.fit, assigned=())  # for its signature only
    def fit(
        self, X: Any, y: ArrayLike, *args: Any, **options: Any
    ) -> SmoothL1HistGradientBoostingRegressor:
        """Fit to training data.

        Parameters
        ----------
        X : array_like of shape (n_samples, n_features)
        y : array_like of shape (n_samples,)
        sample_weight : array_like of shape (n_samples,), optional
            Weights of the samples, >= 0.
        X_val, y_val, sample_weight_val : array_like, optional
            Validation data for early stopping, where scikit-learn's class takes them.

        Returns
        -------
        SmoothL1HistGradientBoostingRegressor
            The estimator itself.
        """
        given = {name: getattr(self, name) for name in _SIZES}
        shape = np.asarray(y).shape
        sizes = given | {
            name: _tree_size(name, shape[0] if shape else 0)
            for name, value in given.items()
            if isinstance(value, str) and _is_auto(name, value)
        }
        # scikit-learn reads the attributes while it fits, and is done with them then.
        try:
            self.__dict__.update(sizes)
            super().fit(X, y, *args, **options)
        finally:
            self.__dict__.update(given)
        self.__dict__.update({f"{name}_": value for name, value in sizes.items()})
        return self

    def _get_loss(self, sample_weight: AnyArray | None) -> SmoothL1BoostingLoss:
        signs = self.monotonic_cst
        signs = list(signs.values()) if isinstance(signs, dict) else signs
        constrained = signs is not None and np.any(signs)
        if sample_weight is not None and not np.any(sample_weight):
            raise ValueError("sample_weight must hold a positive weight, got zeros only")
        loss = SmoothL1BoostingLoss(self.beta, quantile=self.quantile, line_search=not constrained)
        before = getattr(self, "_loss", None)
        if self.warm_start and isinstance(before, SmoothL1BoostingLoss) and self.beta is None:
            loss.score_beta = before.score_beta  # scores go on as they began
        return loss
