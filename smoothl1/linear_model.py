"""Linear regression with the Smooth L1 loss; it needs scikit-learn and SciPy."""

from __future__ import annotations

import warnings
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import scipy.sparse
from numpy.typing import ArrayLike
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, validate_data

from smoothl1._designs import DenseDesign, SparseDesign
from smoothl1._solvers import Problem, lbfgs, newton
from smoothl1._typing import AnyArray
from smoothl1.location import huber_location

__all__ = ["SmoothL1Regressor"]

# Features from which on "auto" takes L-BFGS. With two cores the two cross between 300 features
# (strong penalty) and 3000 (correlated features, or hardly any penalty).
_MANY_FEATURES = 1500
_OVERFLOW = "the targets or the coefficients overflow; bring X and y to other units"
_SOLVERS = {"newton": newton, "lbfgs": lbfgs}


class SmoothL1Regressor(MultiOutputMixin, RegressorMixin, BaseEstimator):  # type: ignore[misc]
    r"""Linear model that minimises the Smooth L1 loss with an L2 penalty.

    .. math::

        \min_{w, c}\ \frac{1}{\sum_i s_i} \sum_i s_i\,
        \mathrm{smooth\_l1}(y_i - x_i^\top w - c;\,\beta) + \frac{\alpha}{2}\,\|w\|^2

    with sample weights :math:`s_i`. Residuals above `beta` count linearly, so that a few
    outliers in y do not decide the fit.

    Parameters
    ----------
    beta : float, default=1.0
        Threshold between the quadratic and the linear piece, > 0, in the units of y.
    alpha : float, default=1e-4
        Strength of the penalty, >= 0. The intercept is not penalised.
    fit_intercept : bool, default=True
        Whether to fit c; otherwise it is 0.
    solver : {"auto", "newton", "lbfgs"}, default="auto"
        "newton" is a semismooth Newton method on the active set, the residuals in the
        quadratic piece: exact, and finite, with a system of n_features equations a step.
        "lbfgs" is SciPy's L-BFGS with a few Newton steps by conjugate gradients at the
        end, for many features. "auto" takes "newton" below 1500 features.
    max_iter : int, default=100
        Most iterations of the solver, for each target; "lbfgs" is given 10 times as many.
    tol : float, default=1e-6
        Largest component of the gradient at the solution, with respect to the
        coefficients of standardised features; as a fraction of the steepest slope of the
        loss, which is 1 unless `beta` exceeds the residuals.
    warm_start : bool, default=False
        Whether `fit` starts from the coefficients of the last one.

    Attributes
    ----------
    coef_ : ndarray of shape (n_features,) or (n_targets, n_features)
        Coefficients, in the dtype of X.
    intercept_ : float or ndarray of shape (n_targets,)
        Intercepts.
    n_iter_ : int
        Iterations of the solver; the most over the targets.
    n_features_in_ : int
        Number of features.
    feature_names_in_ : ndarray of shape (n_features_in_,)
        Names of the features, where X has names that are all strings.

    See Also
    --------
    sklearn.linear_model.HuberRegressor : estimates the scale of the residuals as well.
    smoothl1.metrics.mean_smooth_l1_loss : the loss without the penalty.

    Notes
    -----
    X is centred and scaled inside, and the result brought back: coefficients do not
    depend on the units of the features but through the penalty. A sparse X stays as it is,
    in CSR form. Collinear features without a penalty get a solution of small norm.

    A `beta` thousands of times below the residuals, or tens of times where features are
    about as many as samples, may take more than 100 iterations: least absolute deviations
    are better left to `sklearn.linear_model.QuantileRegressor`.

    Penalties of scikit-learn that give the same objective, with n the number of samples or
    the sum of their weights: ``Ridge(alpha=alpha * beta * n)`` for a `beta` beyond all
    residuals; ``HuberRegressor(epsilon=epsilon, alpha=alpha * epsilon * n)`` if it
    estimates the scale ``beta / epsilon``.

    References
    ----------
    .. [1] P. J. Huber, "Robust Regression: Asymptotics, Conjectures and Monte Carlo", Ann.
       Statist. 1 (1973), 799-821.
    .. [2] K. Madsen, H. B. Nielsen, "Finite algorithms for robust linear regression", BIT
       30 (1990), 682-699.

    Examples
    --------
    >>> import numpy as np
    >>> from smoothl1.linear_model import SmoothL1Regressor
    >>> X = np.arange(10.0).reshape(-1, 1)
    >>> y = 2 * X[:, 0] + 1
    >>> y[3] = 1000
    >>> model = SmoothL1Regressor(alpha=0).fit(X, y)
    >>> bool(abs(model.coef_[0] - 2) < 0.05)
    True
    >>> model.predict([[20.0]]).round(1)
    array([40.8])
    """

    def __init__(
        self,
        *,
        beta: float = 1.0,
        alpha: float = 1e-4,
        fit_intercept: bool = True,
        solver: str = "auto",
        max_iter: int = 100,
        tol: float = 1e-6,
        warm_start: bool = False,
    ) -> None:
        self.beta = beta
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
        if not weight.all():
            X, y, weight = X[weight > 0], y[weight > 0], weight[weight > 0]
        weight = weight / weight.max()  # so that the sum is finite
        weight /= weight.sum()

        many = X.shape[1] >= _MANY_FEATURES
        solver = ("lbfgs" if many else "newton") if self.solver == "auto" else self.solver
        max_iter = self.max_iter if solver == "newton" else 10 * self.max_iter
        tol = max(self.tol, 30 * np.finfo(X.dtype).eps)  # a gradient is known no better
        # With alpha * beta beside the variance, the curvature of the penalty is at most
        # that of the loss, also for features that hardly vary.
        make = SparseDesign if scipy.sparse.issparse(X) else DenseDesign
        design = make(X, weight, np.sqrt(self.alpha * self.beta), self.fit_intercept)
        penalty = np.where(
            design.constant, 1.0 / self.beta, (np.sqrt(self.alpha) / design.scale) ** 2
        )
        if self.fit_intercept:
            penalty = np.append(penalty, 0.0)

        targets = np.asarray(y, np.float64).reshape(len(y), -1)
        coef = np.empty((targets.shape[1], X.shape[1]))
        intercept = np.zeros(targets.shape[1])
        start = self._start(coef.shape)
        n_iter = 0
        for k, target in enumerate(targets.T):
            centre = 0.0
            if self.fit_intercept:
                centre = float(huber_location(target, self.beta, sample_weight=weight))
            with np.errstate(over="ignore"):
                target = target - centre
            # The solver sees targets of the order of 1, and an objective multiplied by beta
            # if that is more: no tolerance depends on units, and no square leaves the range.
            unit = _power_of_two(float(np.abs(target).max()))
            beta = min(max(self.beta / unit, 2.0**-1000), 2.0**300)
            problem = Problem(
                design,
                target / unit,
                weight * max(1.0, beta),
                beta,
                penalty * max(unit, self.beta),
            )
            theta = np.zeros(len(penalty))
            if start is not None:
                theta = design.parameters(start[0][k], start[1][k] - centre) / unit
            solution = _SOLVERS[solver](problem, theta, max_iter, tol)
            if not solution.converged:
                warnings.warn(
                    f"solver {solver!r} stopped after {solution.n_iter} iterations: "
                    f"{solution.message}; raise max_iter or tol, or alpha",
                    ConvergenceWarning,
                    stacklevel=2,
                )
            coef[k], intercept[k] = design.coefficients(solution.theta, unit)
            intercept[k] += centre
            n_iter = max(n_iter, solution.n_iter)
        if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
            raise ValueError(_OVERFLOW)
        coef = coef.astype(X.dtype)
        self.coef_: AnyArray = coef if y.ndim == 2 else coef[0]
        self.intercept_: AnyArray | float = intercept if y.ndim == 2 else float(intercept[0])
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
            "beta": (_is_real(self.beta) and 0 < self.beta < np.inf, "a finite number > 0"),
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


def _power_of_two(size: float) -> float:
    """Return the largest power of two that is at most ``size``; 1 for 0."""
    if size == np.inf:
        raise ValueError(_OVERFLOW)
    return float(np.ldexp(1.0, np.frexp(size)[1] - 1)) if size > 0 else 1.0


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
