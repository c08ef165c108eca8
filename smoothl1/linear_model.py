"""Linear regression with the Smooth L1 loss; it needs scikit-learn and SciPy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from smoothl1._arrays import refuse_masked
from smoothl1._linear.designs import DenseDesign, Design, SparseDesign
from smoothl1._linear.solvers import Problem, Solution, lbfgs, newton
from smoothl1._typing import AnyArray
from smoothl1.location import huber_location

__all__ = ["SmoothL1Regressor"]

# Features from which on "auto" takes L-BFGS. With two cores the two cross between 300 features
# (strong penalty) and 3000 (correlated features, or hardly any penalty).
_MANY_FEATURES = 1500
_OVERFLOW = "the targets or the coefficients overflow; bring X and y to other units"
_SOLVERS = {"newton": newton, "lbfgs": lbfgs}
# The least threshold, in units of the typical target: below, residuals are but rounding.
_LEAST = 2.0**-42
# Residuals, in that unit, of samples which least absolute deviations pass through, at most.
_PASSED = 2.0**-33
# Times the median absolute residual: the standard deviation, for normal residuals.
_NORMAL = 1.482602218505602
# Multiples of the scale beyond which a threshold makes no difference to a joint fit.
_LEAST_SQUARES = 2.0**100


class SmoothL1Regressor(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    r"""Linear model that is robust to outliers in y: Huber's loss, with a scale of the residuals.

    .. math::

        \min_{w, c, \sigma}\ \sum_i s_i \left( \sigma + \sigma
        H\!\left(\frac{y_i - x_i^\top w - c}{\sigma}\right) \right) + \alpha \|w\|^2, \qquad
        H(z) = 2 \beta\, \mathrm{smooth\_l1}(z;\,\beta)

    with sample weights :math:`s_i`: squares up to the threshold :math:`\beta\sigma`, linear
    beyond. It is the criterion of `sklearn.linear_model.HuberRegressor`, with `beta` for its
    ``epsilon``. The scale is estimated beside the coefficients, so that the fit follows the
    units of y, or it is given.

    Parameters
    ----------
    beta : float, default=1.35
        Threshold between the quadratic and the linear piece, in multiples of ``scale_``. 1.35
        has 95 % of the efficiency of least squares for normal noise. It must be > 1 with
        ``scale="huber"``; otherwise it is >= 0, and 0 gives least absolute deviations.
    scale : {"huber", "mad"}, float or None, default="huber"
        "huber" minimises over the scale, too. "mad" takes 1.4826 times the median absolute
        residual of a fit of least absolute deviations, without the samples which that passes
        through; it bears more outliers. A number > 0 is the scale itself. None is 1: `beta` is
        in the units of y.
    alpha : float, default=0.0
        Strength of the penalty, >= 0, as in `HuberRegressor`; see the table below. The
        intercept is not penalised.
    fit_intercept : bool, default=True
        Whether to fit c; otherwise it is 0.
    solver : {"auto", "newton", "lbfgs"}, default="auto"
        "newton" is a semismooth Newton method on the active set, the residuals in the
        quadratic piece: exact, with a system of n_features equations a step. "lbfgs" is
        SciPy's L-BFGS with a few Newton steps by conjugate gradients at the end, for many
        features. "auto" takes "newton" below 1500 features.
    max_iter : int, default=100
        Most iterations of the solver, for each target; "lbfgs" is given 10 times as many.
    tol : float, default=1e-6
        Largest component of the gradient at the solution, with respect to the
        coefficients of standardised features; as a fraction of the steepest slope of the
        loss, which is 1 unless the threshold exceeds the residuals.
    warm_start : bool, default=False
        Whether `fit` starts from the coefficients of the last one, if their shape is right.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients, in the dtype of X.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercepts.
    scale_ : float or ndarray of shape (n_targets,)
        Scales of the residuals; each target has its own. 0 where an estimated one vanishes:
        the model passes through more than a certain part of the samples (45 % of them for
        "huber" with a beta of 1.35, all for "mad"), and fits the others by least absolute
        deviations.
    outliers_ : ndarray of shape (n_samples,) or (n_samples, n_targets)
        Whether the absolute residual exceeds ``beta * scale_``.
    n_iter_ : int
        Iterations of the solver; the most over the targets.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features,)
        Names of the features, where X has names that are all strings.

    See Also
    --------
    sklearn.linear_model.HuberRegressor : the same minimum by L-BFGS.
    sklearn.linear_model.QuantileRegressor : least absolute deviations, and other quantiles.
    smoothl1.metrics.mean_smooth_l1_loss : the loss, as a score.

    Notes
    -----
    X is centred and scaled inside, and the result brought back: coefficients do not
    depend on the units of the features but through the penalty. A sparse X stays as it is,
    in CSR form. Collinear features without a penalty get a solution of small norm.

    Penalties of scikit-learn's models that belong to the same minimum, with S the number of
    samples or the sum of their weights:

    ======================================================= ========================
    model                                                   its penalty
    ======================================================= ========================
    ``HuberRegressor(epsilon=beta)``                        ``alpha``
    ``Ridge()``, for a `beta` beyond residuals              ``alpha * scale_``
    ``SGDRegressor(loss="huber", epsilon=beta * scale_)``   ``alpha * scale_ / S``
    ======================================================= ========================

    For "huber" and "mad" the fit without a penalty follows any change of the units of y; a
    penalty is in the units of the features squared over those of y.

    References
    ----------
    .. [1] P. J. Huber, E. M. Ronchetti, "Robust Statistics", 2nd ed., Wiley (2009), 7.7-7.8:
       concomitant scale.
    .. [2] A. B. Owen, "A robust hybrid of lasso and ridge regression", Contemp. Math. 443
       (2007), 59-72: the criterion is convex.
    .. [3] K. Madsen, H. B. Nielsen, "Finite algorithms for robust linear regression", BIT
       30 (1990), 682-699.
    .. [4] S. Portnoy, R. Koenker, "The Gaussian hare and the Laplacian tortoise", Statist.
       Sci. 12 (1997), 279-300: interior points.

    Examples
    --------
    >>> import numpy as np
    >>> from smoothl1.linear_model import SmoothL1Regressor
    >>> X = np.arange(10.0).reshape(-1, 1)
    >>> y = 2 * X[:, 0] + 1
    >>> y[3] = 1000
    >>> model = SmoothL1Regressor().fit(X, y)
    >>> model.coef_.round(6)
    array([2.])
    >>> model.outliers_[:5]
    array([False, False, False,  True, False])

    Least absolute deviations:

    >>> SmoothL1Regressor(beta=0, scale=None).fit(X, y).predict([[20.0]]).round(1)
    array([41.])
    """

    def __init__(
        self,
        *,
        beta: float = 1.35,
        scale: str | float | None = "huber",
        alpha: float = 0.0,
        fit_intercept: bool = True,
        solver: str = "auto",
        max_iter: int = 100,
        tol: float = 1e-6,
        warm_start: bool = False,
    ) -> None:
        self.beta = beta
        self.scale = scale
        self.alpha = alpha
        self.fit_intercept = fit_intercept
        self.solver = solver
        self.max_iter = max_iter
        self.tol = tol
        self.warm_start = warm_start

    def fit(self, X: Any, y: Any, sample_weight: ArrayLike | None = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features; float32 and float64 are taken as they are, a sparse matrix as CSR.
        y : array-like of shape (n_samples,) or (n_samples, n_targets)
            Targets.
        sample_weight : array-like of shape (n_samples,), optional
            Weights, >= 0, not all 0. A weight of 0 is the same as leaving the sample out,
            a weight of 2 the same as having it twice.

        Returns
        -------
        SmoothL1Regressor
            Itself.

        Raises
        ------
        ValueError
            For a parameter out of its range, NaN or infinite values, shapes that do not
            match, bad weights.

        Warns
        -----
        ConvergenceWarning
            If a solver stops before the gradient is below `tol`.
        """
        self._check_parameters()
        for name, value in (("X", X), ("y", y), ("sample_weight", sample_weight)):
            refuse_masked(name, value)
        X, y = validate_data(
            self,
            X,
            y,
            accept_sparse="csr",
            dtype=[np.float64, np.float32],
            multi_output=True,
            y_numeric=True,
        )
        weight = _check_weight(sample_weight, X.shape[0])
        targets = np.asarray(y, np.float64).reshape(len(y), -1)
        used = weight > 0
        rows = _Rows(self, X[used], weight[used]) if not used.all() else _Rows(self, X, weight)

        coef = np.empty((targets.shape[1], X.shape[1]))
        intercept, scale = np.zeros((2, targets.shape[1]))
        outliers = np.empty(targets.shape, bool)
        start = self._start(coef.shape)
        n_iter = 0
        for k, target in enumerate(targets.T):
            found = rows.fit(target[used], None if start is None else (start[0][k], start[1][k]))
            coef[k], intercept[k], scale[k] = found.coef, found.intercept, found.scale
            outliers[used, k] = found.outliers
            if not used.all():
                rest = target[~used] - X[~used] @ coef[k] - intercept[k]
                outliers[~used, k] = np.abs(rest) > found.threshold
            n_iter = max(n_iter, found.n_iter)
            if found.warning:
                warnings.warn(
                    f"solver {rows.solver!r} stopped after {found.n_iter} iterations: "
                    f"{found.warning}; raise max_iter or tol, or alpha",
                    ConvergenceWarning,
                    stacklevel=2,
                )
        if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
            raise ValueError(_OVERFLOW)
        coef = coef.astype(X.dtype)
        several = y.ndim == 2
        self.coef_: AnyArray = coef if several else coef[0]
        self.intercept_: AnyArray | float = intercept if several else float(intercept[0])
        self.scale_: AnyArray | float = scale if several else float(scale[0])
        self.outliers_: AnyArray = outliers if several else outliers[:, 0]
        self.n_iter_ = n_iter
        return self

    def predict(self, X: Any) -> AnyArray:
        """Predict targets.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray of shape (n_samples,) or (n_samples, n_targets)
            Predictions.
        """
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, accept_sparse="csr", dtype=[np.float64, np.float32])
        return np.asarray(X @ self.coef_.T + np.asarray(self.intercept_, self.coef_.dtype))

    def _check_parameters(self) -> None:
        nonnegative = "a finite number >= 0"
        checks = {
            "beta": (_is_real(self.beta) and 0 <= self.beta < np.inf, nonnegative),
            "scale": (
                _is_real(self.scale) and 0 < self.scale < np.inf
                if not (self.scale is None or isinstance(self.scale, str))
                else self.scale in ("huber", "mad", None),
                "'huber', 'mad', None or a finite number > 0",
            ),
            "alpha": (_is_real(self.alpha) and 0 <= self.alpha < np.inf, nonnegative),
            "fit_intercept": (isinstance(self.fit_intercept, bool | np.bool_), "True or False"),
            "warm_start": (isinstance(self.warm_start, bool | np.bool_), "True or False"),
            "max_iter": (_is_integer(self.max_iter) and self.max_iter > 0, "an int > 0"),
            "tol": (_is_real(self.tol) and 0 <= self.tol < np.inf, nonnegative),
            "solver": (self.solver in ("auto", *_SOLVERS), "'auto', 'newton' or 'lbfgs'"),
        }
        for name, (good, wanted) in checks.items():
            if not good:
                raise ValueError(f"{name} must be {wanted}, got {getattr(self, name)!r}")
        if self.scale == "huber" and self.beta <= 1.0:
            raise ValueError(
                f"beta must be > 1 with scale='huber', got {self.beta!r}: the scale that belongs "
                "to it is 0; use scale='mad', or scale=None for a beta in the units of y"
            )
        if self.beta == 0.0 and self.alpha > 0.0:
            raise ValueError(
                f"alpha must be 0 where beta is 0, got {self.alpha!r}: any penalty outweighs the "
                "loss, which is multiplied by beta; use a small beta > 0"
            )

    def _start(self, shape: tuple[int, int]) -> tuple[AnyArray, AnyArray] | None:
        """Return the last coefficients and intercepts, for a warm start that can use them."""
        if not (self.warm_start and hasattr(self, "coef_")):
            return None
        coef = np.atleast_2d(np.asarray(self.coef_, np.float64))
        return (coef, np.atleast_1d(self.intercept_)) if coef.shape == shape else None

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags


@dataclass(slots=True)
class _Found:
    """The fit to one target, in its units."""

    coef: AnyArray
    intercept: float
    scale: float
    threshold: float
    outliers: AnyArray
    n_iter: int
    warning: str


class _Rows:
    """Samples of positive weight, to which targets are fitted one by one."""

    def __init__(self, model: SmoothL1Regressor, X: Any, weight: AnyArray) -> None:
        self.model, self.X = model, X
        most = weight.max()
        share = weight / most  # so that the sum is finite
        self.weight = share / share.sum()
        # The strength of the penalty beside the mean loss: the model's criterion divided by
        # 2 beta and the sum of the weights.
        self.alpha = float(model.alpha / model.beta / most / share.sum()) if model.alpha else 0.0
        many = X.shape[1] >= _MANY_FEATURES
        self.solver = model.solver if model.solver != "auto" else "lbfgs" if many else "newton"
        eps = float(np.finfo(X.dtype).eps)
        self.tol = max(model.tol, 30 * eps)  # a gradient is known no better
        self.least = max(_LEAST, 16 * eps)
        self._designs: dict[float, Design] = {}

    def fit(self, target: AnyArray, start: tuple[AnyArray, float] | None) -> _Found:
        """Fit one target, from coefficients and an intercept if they are given."""
        beta, scale = self.model.beta, self.model.scale
        size = 1.0 if scale is None else 0.0 if isinstance(scale, str) else float(scale)
        centre = 0.0
        if self.model.fit_intercept:
            centre = float(huber_location(target, beta * size, sample_weight=self.weight))
        with np.errstate(over="ignore"):
            target = target - centre
        # The solver sees targets of the order of 1: no tolerance depends on units.
        unit = _unit(np.abs(target))
        target = target / unit
        design = self._design(beta * (size or unit))
        theta = np.zeros(self.X.shape[1] + self.model.fit_intercept)
        if start is not None:
            theta = design.parameters(start[0], start[1] - centre) / unit
        if scale == "huber":
            solution = self._solve(design, target, unit, theta, self.least, joint=True)
            if solution.threshold > self.least:
                size = solution.threshold / min(beta, _LEAST_SQUARES) * unit
        elif scale == "mad":
            median = self._median(design, target, unit, theta)
            size = self._deviation(median) * unit
            solution = self._solve(design, target, unit, median.theta, beta * size / unit)
            solution.n_iter += median.n_iter
        else:
            solution = self._solve(design, target, unit, theta, beta * size / unit)
        coef, intercept = design.coefficients(solution.theta, unit)
        threshold = max(solution.threshold, _PASSED) if beta == 0 else solution.threshold
        return _Found(
            coef,
            intercept + centre,
            size,
            threshold * unit,
            np.abs(solution.residual) > threshold,
            solution.n_iter,
            "" if solution.converged else solution.message,
        )

    def _design(self, threshold: float) -> Design:
        """Return the design; that of the last call, if it is the same."""
        # With this beside the variance, the curvature of the penalty is at most that of the
        # loss, also for features that hardly vary.
        least = float(np.sqrt(self.alpha) * np.sqrt(threshold)) if self.alpha else 0.0
        if least not in self._designs:
            make = SparseDesign if scipy.sparse.issparse(self.X) else DenseDesign
            design = make(self.X, self.weight, least, self.model.fit_intercept)
            self._designs = {least: design}
        return self._designs[least]

    def _solve(
        self,
        design: Design,
        target: AnyArray,
        unit: float,
        theta: AnyArray,
        threshold: float,
        joint: bool = False,
    ) -> Solution:
        """Minimise for a threshold, or from a least one on, in units of ``unit``."""
        threshold = min(max(threshold, self.least), 2.0**300)
        multiple = min(self.model.beta, _LEAST_SQUARES)
        # Multiplied by the threshold if that is more, curvatures are of the order of 1.
        factor = max(1.0, multiple if joint else threshold)
        penalty = np.sqrt(self.alpha) * np.sqrt(unit) * np.sqrt(factor) / design.scale
        penalty = np.where(design.constant, 1.0, penalty**2)
        problem = Problem(
            design,
            target,
            self.weight * factor,
            np.append(penalty, np.zeros(int(self.model.fit_intercept))),
            threshold,
            factor / multiple**2 if joint else 0.0,
        )
        max_iter = self.model.max_iter * (10 if self.solver == "lbfgs" else 1)
        return _SOLVERS[self.solver](problem, theta, max_iter, self.tol)

    def _median(self, design: Design, target: AnyArray, unit: float, theta: AnyArray) -> Solution:
        """Fit least absolute deviations; by L-BFGS a threshold of 1/32 of the scale."""
        if self.solver == "newton":
            return self._solve(design, target, unit, theta, self.least)
        rough = self._solve(design, target, unit, theta, self.least)
        threshold = self._deviation(rough) / 32
        return self._solve(design, target, unit, rough.theta, threshold)

    def _deviation(self, solution: Solution) -> float:
        """Return the median absolute residual, consistent for normal ones, of the inexact fits."""
        distance = np.abs(solution.residual)
        missed = distance > max(self.least, _PASSED)
        if not missed.any():
            return 0.0
        median = huber_location(distance[missed], 0.0, sample_weight=self.weight[missed])
        return _NORMAL * float(median)


def _unit(distance: AnyArray) -> float:
    """Return a power of two of the order of typical distances; 1 if all are 0."""
    largest = float(distance.max())
    if largest == np.inf:
        raise ValueError(_OVERFLOW)
    if largest == 0.0:
        return 1.0
    some = distance[:: max(1, len(distance) // 10_000)]  # an order of magnitude is enough
    if not some.any():
        some = distance
    typical = max(float(np.median(some[some > 0.0])), largest * 2.0**-500)
    return float(np.ldexp(1.0, np.frexp(typical)[1] - 1))


def _is_integer(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def _is_real(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _check_weight(sample_weight: Any, n_samples: int) -> AnyArray:
    if sample_weight is None:
        return np.ones(n_samples)
    weight = check_array(
        sample_weight, ensure_2d=False, dtype=np.float64, input_name="sample_weight"
    )
    if weight.shape != (n_samples,):
        raise ValueError(f"sample_weight must have shape ({n_samples},), got {weight.shape}")
    if not (weight >= 0).all():
        raise ValueError(f"sample_weight must be >= 0, got {weight.min()}")
    if not weight.any():
        raise ValueError("sample_weight must hold a positive weight, got zeros only")
    return np.asarray(weight)
