"""Solvers of the linear model: semismooth Newton and L-BFGS, on centred and scaled features.

With residuals r = y - Z theta, weights w that sum to 1 and a diagonal penalty P they minimise

    F(theta) = sum_i w_i smooth_l1(r_i; beta) + theta' P theta / 2.

Z holds the features, centred and scaled to unit variance or less, and a column of ones for the
intercept. So a component of the gradient is at most about 1, whatever the units of X and y
are, and ``tol`` bounds it in these terms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import scipy.linalg
import scipy.optimize

from smoothl1._simd import core
from smoothl1._typing import AnyArray
from smoothl1.functional import smooth_l1_value_and_grad

# Rows that are weighted at a time in a Gram matrix: they stay in the second-level cache.
_ROWS = 2048
# What a further step may still promise, of the objective, where a solver has converged.
_GAIN = 1e-11


class DenseDesign:
    """Z as an array of the dtype of X, in rows, made once."""

    def __init__(self, X: AnyArray, mean: AnyArray, scale: AnyArray, fit_intercept: bool) -> None:
        n, p = X.shape
        self.Z = np.empty((n, p + fit_intercept), X.dtype)
        np.subtract(X, mean.astype(X.dtype), out=self.Z[:, :p])
        self.Z[:, :p] /= scale.astype(X.dtype)
        if fit_intercept:
            self.Z[:, p] = 1.0

    def predict(self, theta: AnyArray) -> AnyArray:
        """Return Z theta."""
        return np.asarray(self.Z @ theta.astype(self.Z.dtype), np.float64)

    def adjoint(self, v: AnyArray) -> AnyArray:
        """Return Z' v, summed in float64 from block to block."""
        v = v.astype(self.Z.dtype)
        if self.Z.dtype == np.float64:
            return v @ self.Z
        total = np.zeros(self.Z.shape[1])
        for start in range(0, len(v), _ROWS):
            part = slice(start, start + _ROWS)
            total += v[part] @ self.Z[part]
        return total

    def gram(self, weight: AnyArray, rows: AnyArray | None = None) -> AnyArray:
        """Return Z' diag(weight) Z over all rows, or over those in ``rows``; weight >= 0."""
        size = self.Z.shape[1]
        total = np.zeros((size, size))
        root = np.sqrt(weight).astype(self.Z.dtype)
        for start in range(0, len(weight), _ROWS):
            part = slice(start, start + _ROWS)
            block = self.Z[part] if rows is None else self.Z[rows[part]]
            block = block * root[part, np.newaxis]
            total += block.T @ block  # of one array: NumPy computes one triangle only
        return total


class SparseDesign:
    """Z over a CSR matrix, which stays as it is: the means are a rank-one term."""

    def __init__(self, X: Any, mean: AnyArray, scale: AnyArray, fit_intercept: bool) -> None:
        self.X = X
        self.mean = mean
        self.scale = scale
        self.fit_intercept = fit_intercept

    def predict(self, theta: AnyArray) -> AnyArray:
        """Return Z theta."""
        p = len(self.scale)
        coef = theta[:p] / self.scale
        return np.asarray(self.X @ coef, np.float64) + (theta[p:].sum() - self.mean @ coef)

    def adjoint(self, v: AnyArray) -> AnyArray:
        """Return Z' v."""
        total = v.sum()
        product: AnyArray = (self.X.T @ v - self.mean * total) / self.scale
        return np.append(product, total) if self.fit_intercept else product

    def gram(self, weight: AnyArray, rows: AnyArray | None = None) -> AnyArray:
        """Return Z' diag(weight) Z over all rows, or over those in ``rows``; weight >= 0."""
        X = self.X if rows is None else self.X[rows]
        p = len(self.scale)
        total = weight.sum()
        sums = X.T @ weight
        cross = np.outer(self.mean, sums)
        product = (X.T @ X.multiply(weight[:, np.newaxis]).tocsr()).toarray()
        product = product - cross - cross.T + total * np.outer(self.mean, self.mean)
        product /= np.outer(self.scale, self.scale)
        if not self.fit_intercept:
            return np.asarray(product)
        result = np.empty((p + 1, p + 1))
        result[:p, :p] = product
        result[:p, p] = result[p, :p] = (sums - self.mean * total) / self.scale
        result[p, p] = total
        return result


@dataclass(slots=True)
class Problem:
    """What is minimised."""

    design: DenseDesign | SparseDesign
    y: AnyArray  # of float64
    weight: AnyArray  # of float64, with sum 1
    beta: float
    penalty: AnyArray  # the diagonal of P

    def at(self, theta: AnyArray, residual: AnyArray) -> tuple[float, AnyArray]:
        """F and its gradient, where the residuals are known."""
        loss, slopes = smooth_l1_value_and_grad(residual, 0.0, "sum", self.beta, weight=self.weight)
        penalty = self.penalty * theta
        return float(loss) + 0.5 * float(theta @ penalty), penalty - self.design.adjoint(slopes)


@dataclass(slots=True)
class Solution:
    """Where a solver stopped."""

    theta: AnyArray
    n_iter: int
    converged: bool
    message: str = ""


def newton(problem: Problem, theta: AnyArray, max_iter: int, tol: float) -> Solution:
    """Semismooth Newton on the active set, with an exact line search.

    The Hessian is that of the quadratic pieces alone. Where its range does not hold the
    gradient, or the step gains nothing, a majorize-minimize step takes its place: weighted
    least squares with the weights ``w / max(|r|, beta)``, which cannot fail to descend. The
    first step from 0 is one, too. The objective is piecewise quadratic: a step that meets
    the active set of the minimiser ends there.

    A beta far below the residuals leaves few of them active; it is approached by larger
    ones, each starting where the last ended, roughly solved.
    """
    path = _Path(problem, theta)
    if not theta.any():
        path.start()
    size = len(problem.penalty)
    distance = np.sort(np.abs(path.residual))
    beta = max(
        float(distance[min(len(distance) - 1, max(len(distance) // 2, 2 * size))]), problem.beta
    )
    while beta > 1.5 * problem.beta and path.n_iter < max_iter:
        path.descend(beta, max_iter, TOL, GAIN)
        distance = np.sort(np.abs(path.residual))
        count = int(np.searchsorted(distance, beta))
        spare = count - size
        after = problem.beta
        if spare > 0:
            after = max(float(distance[size + int(spare * FRAC)]), problem.beta)
        after = min(after, beta / 1.5)
        if after < 1.5 * problem.beta:
            after = problem.beta
        path.follow(beta, after)
        beta = after
    return path.descend(problem.beta, max_iter, tol, _GAIN)


TOL = 1e-2
GAIN = 1e-3
FRAC = 0.4


class _Path:
    """The iterates of `newton`: coefficients, residuals, the Gram matrix of the active rows."""

    def __init__(self, problem: Problem, theta: AnyArray) -> None:
        self.problem = problem
        self.theta = theta
        self.residual = problem.y - problem.design.predict(theta)
        self.n_iter = 0
        self.active = np.zeros(len(problem.y), bool)
        self.gram = np.zeros((len(problem.penalty), len(problem.penalty)))

    def descend(self, beta: float, max_iter: int, tol: float, least_gain: float) -> Solution:
        """Newton steps for one threshold, until the gradient and what is to gain are small."""
        problem = replace(self.problem, beta=beta)
        value, gradient = problem.at(self.theta, self.residual)
        majorize = False
        while True:
            consistent = False
            if not majorize:
                step, consistent = _solve(self._hessian(beta), gradient)
            if not consistent:
                majorize = True
                step, _ = _solve(_majorizer(problem, self.residual), gradient)
            gain = 0.5 * float(gradient @ step)  # what the quadratic model promises
            flat = bool(np.abs(gradient).max() <= tol)
            if flat and not majorize and gain <= least_gain * value:
                return Solution(self.theta, self.n_iter, True)
            if self.n_iter >= max_iter:
                return Solution(self.theta, self.n_iter, False, "max_iter is reached")
            length = self._move(problem, step)
            before = value
            value, gradient = problem.at(self.theta, self.residual)
            if value < before:
                majorize = not majorize and length < 0.1
            elif majorize or flat:
                return Solution(self.theta, self.n_iter, flat, "rounding hides any descent")
            else:
                majorize = True

    def start(self) -> None:
        """One majorize-minimize step, or one of least squares, whichever gains more."""
        problem = self.problem
        _, gradient = problem.at(self.theta, self.residual)
        robust = _solve(_majorizer(problem, self.residual), gradient)[0]
        whole = problem.design.gram(problem.weight) / problem.beta + np.diag(problem.penalty)
        squares = _solve(
            whole, problem.design.adjoint(-problem.weight * self.residual) / problem.beta
        )[0]
        paths = []
        for step in (robust, squares):
            path = _Path.__new__(_Path)
            path.__dict__.update(self.__dict__)
            path.residual = self.residual.copy()
            path._move(problem, step)
            paths.append((problem.at(path.theta, path.residual)[0], path))
        best = min(paths, key=lambda t: t[0])[1]
        self.__dict__.update(best.__dict__)

    def follow(self, beta: float, after: float) -> None:
        """Predict the solution for another threshold, if the active set stays as it is."""
        hessian = self._hessian(beta)
        inner = np.where(self.active, self.problem.weight * self.residual, 0.0)
        rate, ok = _solve(hessian, self.problem.design.adjoint(inner) / beta**2)
        step = (after - beta) * rate
        self.theta = self.theta - step
        self.residual += self.problem.design.predict(step)

    def _move(self, problem: Problem, step: AnyArray) -> float:
        change = problem.design.predict(step)
        length = _line_search(problem, self.residual, change, self.theta, step)
        self.theta = self.theta - length * step
        self.residual += length * change
        self.n_iter += 1
        return length

    def _hessian(self, beta: float) -> AnyArray:
        """The second derivative; its Gram matrix is brought up to date by what changed."""
        design, weight = self.problem.design, self.problem.weight
        active = np.abs(self.residual) < beta
        joined = np.flatnonzero(active & ~self.active)
        left = np.flatnonzero(self.active & ~active)
        if len(joined) + len(left) < np.count_nonzero(active):
            self.gram = self.gram + design.gram(weight[joined], joined)
            self.gram -= design.gram(weight[left], left)
        else:
            rows = np.flatnonzero(active)
            self.gram = design.gram(weight[rows], rows)
        self.active = active
        hessian = self.gram / beta
        np.einsum("ii->i", hessian)[:] += self.problem.penalty
        return hessian


def _majorizer(problem: Problem, residual: AnyArray) -> AnyArray:
    """Hessian of the quadratic that touches F at the residuals and lies above it."""
    weight = problem.weight / np.maximum(np.abs(residual), problem.beta)
    return problem.design.gram(weight) + np.diag(problem.penalty)


def _solve(hessian: AnyArray, gradient: AnyArray) -> tuple[AnyArray, bool]:
    """Return the solution of least norm, and whether it is one.

    It is none if the gradient has a part outside the range of a singular matrix.
    """
    cutoff = len(gradient) * 16 * np.finfo(float).eps
    try:
        factor = scipy.linalg.cholesky(hessian, lower=True, check_finite=False)
        pivots = np.diag(factor) ** 2
        if pivots.min() > cutoff * pivots.max():
            return scipy.linalg.cho_solve((factor, True), gradient, check_finite=False), True
    except scipy.linalg.LinAlgError:
        pass
    values, vectors = scipy.linalg.eigh(hessian, check_finite=False)
    kept = values > cutoff * max(values[-1], 0.0)
    parts = vectors[:, kept].T @ gradient
    missed = gradient - vectors[:, kept] @ parts
    consistent = np.abs(missed).max() <= 1e-3 * np.abs(gradient).max()
    return vectors[:, kept] @ (parts / values[kept]), bool(consistent)


def _line_search(
    problem: Problem, residual: AnyArray, change: AnyArray, theta: AnyArray, step: AnyArray
) -> float:
    """Return the t that minimises F(theta - t step), whose derivative is piecewise linear.

    Newton's method on the derivative, which ends once it meets the right piece, within a
    bracket.
    """
    penalty = problem.penalty * step
    slope_at_0, curvature_of_penalty = -float(penalty @ theta), float(penalty @ step)
    direction = -change
    low, high, t = 0.0, np.inf, 1.0
    for _ in range(100):
        slope, curvature = core.line_derivatives(
            residual, direction, problem.weight, t, problem.beta
        )
        slope += slope_at_0 + t * curvature_of_penalty
        curvature += curvature_of_penalty
        if slope < 0:
            low = t
        else:
            high = t
        after = t - slope / curvature if curvature > 0 else np.inf
        if not low <= after <= high:
            after = 2 * t if high == np.inf else 0.5 * (low + high)
        if abs(after - t) <= 1e-13 * t:
            return after
        t = after
    return t


def lbfgs(problem: Problem, theta: AnyArray, max_iter: int, tol: float) -> Solution:
    """L-BFGS of SciPy, for many features: no Hessian is formed."""

    def value_and_grad(theta: AnyArray) -> tuple[float, AnyArray]:
        return problem.at(theta, problem.y - problem.design.predict(theta))

    result = scipy.optimize.minimize(
        value_and_grad,
        theta,
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": max_iter, "maxfun": 20 * max_iter, "gtol": tol, "ftol": 0.0},
    )
    flat = np.abs(result.jac).max() <= tol
    return Solution(result.x, int(result.nit), bool(flat), str(result.message))
