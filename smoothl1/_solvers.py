"""Solvers of the linear model: semismooth Newton and L-BFGS, on centred and scaled features.

With residuals r = y - Z theta, weights w and a diagonal penalty P they minimise

    F(theta) = sum_i w_i smooth_l1(r_i; beta) + theta' P theta / 2.

Z holds the features, centred and scaled to unit variance or less, and a column of ones for the
intercept; y is of the order of 1. So components of the gradient are of the order of 1 at most,
whatever the units of the user's X and y are, and ``tol`` bounds them in these terms.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg
import scipy.optimize

from smoothl1._designs import Design
from smoothl1._simd import core
from smoothl1._typing import AnyArray
from smoothl1.functional import smooth_l1_value_and_grad

# What a further step may still promise, of the objective, where a solver has converged.
_GAIN = 1e-11
# Before the threshold of the problem is reached: the gradient and the promise that end a
# stage, and how far down between n_parameters and all active rows the next one goes.
_ROUGH_TOL, _ROUGH_GAIN, _KEPT = 1e-2, 1e-3, 0.4


@dataclass(slots=True)
class Problem:
    """What is minimised."""

    design: Design
    y: AnyArray  # of float64
    weight: AnyArray  # of float64; their sum is max(1, beta)
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
    objective is piecewise quadratic: a step that meets the active set of the minimiser ends
    there.

    A beta far below the residuals leaves few of them active; it is approached by larger
    ones, each starting where the last one's solution, found roughly, would go.
    """
    iterates = _Iterates(problem, theta)
    if not theta.any():
        iterates.start()
    beta: float = problem.beta
    if iterates.slope() > _ROUGH_TOL:
        beta = iterates.threshold_above(max(len(problem.y) // 2, 2 * len(theta)))
    while beta > problem.beta and iterates.n_iter < max_iter:
        iterates.descend(beta, max_iter, _ROUGH_TOL, _ROUGH_GAIN)
        inner = int(np.count_nonzero(np.abs(iterates.residual) < beta))
        spare = max(inner - len(theta), 0)
        after = iterates.threshold_above(len(theta) + int(spare * _KEPT), beta / 1.5)
        iterates.follow(beta, after)
        beta = after
    return iterates.descend(problem.beta, max_iter, tol, _GAIN)


class _Iterates:
    """The iterates of `newton`: parameters, residuals, the Gram matrix of the active rows."""

    def __init__(self, problem: Problem, theta: AnyArray) -> None:
        self.problem = problem
        self.theta = theta
        self.residual = problem.y - problem.design.predict(theta)
        self.n_iter = 0
        self.active = np.zeros(len(problem.y), bool)
        self.gram = np.zeros((len(theta), len(theta)))

    def start(self) -> None:
        """One step from 0: least squares or majorize-minimize, whichever gains more.

        Least squares it is without a trial where that leaves nearly all rows active: few
        outliers, or about as many parameters as rows.
        """
        problem = self.problem
        self.active[:] = True
        self.gram = problem.design.gram(problem.weight)
        squares = self._weighted(problem.weight / problem.beta, self.gram / problem.beta)
        near = np.count_nonzero(np.abs(squares[2]) < problem.beta)
        best = squares
        if near < 0.9 * len(problem.y):
            weight = _majorizer(problem, self.residual)
            robust = self._weighted(weight, problem.design.gram(weight))
            best = min(squares, robust, key=lambda end: end[0])
        _, self.theta, self.residual = best
        self.n_iter += 1

    def _weighted(self, weight: AnyArray, gram: AnyArray) -> tuple[float, AnyArray, AnyArray]:
        """Step from 0 to weighted least squares; return F, parameters and residuals there."""
        problem = self.problem
        step, _ = _solve(
            _add_diagonal(gram, problem.penalty), -problem.design.adjoint(weight * self.residual)
        )
        theta, residual, _ = self._search(problem, step)
        return problem.at(theta, residual)[0], theta, residual

    def slope(self) -> float:
        """Return the largest component of the gradient."""
        return float(np.abs(self.problem.at(self.theta, self.residual)[1]).max())

    def descend(self, beta: float, max_iter: int, tol: float, least_gain: float) -> Solution:
        """Take steps for one threshold until the gradient and what is to gain are small."""
        problem = replace(self.problem, beta=beta)
        value, gradient = problem.at(self.theta, self.residual)
        majorize = False
        while True:
            consistent = False
            if not majorize:
                step, consistent = _solve(self._hessian(beta), gradient)
            if not consistent:
                majorize = True
                gram = problem.design.gram(_majorizer(problem, self.residual))
                step, _ = _solve(_add_diagonal(gram, problem.penalty), gradient)
            promise = 0.5 * float(gradient @ step)  # the gain in the quadratic model
            flat = bool(np.abs(gradient).max() <= tol)
            if flat and not majorize and promise <= least_gain * value:
                return Solution(self.theta, self.n_iter, True)
            if self.n_iter >= max_iter:
                return Solution(self.theta, self.n_iter, False, "max_iter is reached")
            theta, residual, length = self._search(problem, step)
            self.n_iter += 1
            before, (value, after) = value, problem.at(theta, residual)
            if value <= before:  # not for NaN
                self.theta, self.residual, gradient = theta, residual, after
            if value < before:
                majorize = not majorize and length < 0.1
                continue
            value = before
            if majorize or flat:
                return Solution(self.theta, self.n_iter, flat, "rounding hides any descent")
            majorize = True

    def threshold_above(self, count: int, most: float = np.inf) -> float:
        """Return the threshold that leaves ``count`` rows active, or that of the problem.

        The problem's, if it is larger or close.
        """
        distance = np.abs(self.residual)
        count = min(max(count, len(self.theta)), len(distance) - 1)
        beta = min(float(np.partition(distance, count)[count]), most)
        return beta if beta > 1.5 * self.problem.beta else self.problem.beta

    def follow(self, beta: float, after: float) -> None:
        """Go where the solution goes as the threshold shrinks, if the active set stays."""
        design, weight = self.problem.design, self.problem.weight
        hessian = beta * self._hessian(beta)  # theta' = -hessian^-1 Z' inner / beta
        inner = np.where(self.active, weight * self.residual, 0.0)
        step, _ = _solve(hessian, design.adjoint(inner))
        step *= (after - beta) / beta
        self.theta = self.theta - step
        self.residual = self.residual + design.predict(step)

    def _search(self, problem: Problem, step: AnyArray) -> tuple[AnyArray, AnyArray, float]:
        change = problem.design.predict(step)
        length = _line_search(problem, self.residual, change, self.theta, step)
        return self.theta - length * step, self.residual + length * change, length

    def _hessian(self, beta: float) -> AnyArray:
        """Return the second derivative, with the Gram matrix brought up to date."""
        design, weight = self.problem.design, self.problem.weight
        active = np.abs(self.residual) < beta
        joined = np.flatnonzero(active & ~self.active)
        left = np.flatnonzero(self.active & ~active)
        if len(joined) + len(left) < np.count_nonzero(active):
            self.gram += design.gram(weight[joined], joined)
            self.gram -= design.gram(weight[left], left)
        else:
            rows = np.flatnonzero(active)
            self.gram = design.gram(weight[rows], rows)
        self.active = active
        return _add_diagonal(self.gram / beta, self.problem.penalty)


def _majorizer(problem: Problem, residual: AnyArray) -> AnyArray:
    """Weights of the least-squares problem that touches F at the residuals and lies above."""
    return problem.weight / np.maximum(np.abs(residual), problem.beta)


def _add_diagonal(matrix: AnyArray, diagonal: AnyArray) -> AnyArray:
    matrix.flat[:: len(diagonal) + 1] += diagonal
    return matrix


def _solve(hessian: AnyArray, gradient: AnyArray) -> tuple[AnyArray, bool]:
    """Return the solution of least norm, and whether it is one.

    It is none if the gradient has a part outside the range of a singular matrix. Of the
    matrix the lower triangle is read.
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
        if high == np.inf:
            after = min(after, 8 * t)
        elif not low <= after <= high:
            after = 0.5 * (low + high)
        if abs(after - t) <= 1e-13 * t:
            return after
        t = after
    return t


def lbfgs(problem: Problem, theta: AnyArray, max_iter: int, tol: float) -> Solution:
    """L-BFGS, then Newton steps by conjugate gradients: for many features, without a Hessian.

    The line search of L-BFGS compares values of F, in which rounding hides what a gradient
    below about 1e-7 still promises.
    """

    def value_and_grad(theta: AnyArray) -> tuple[float, AnyArray]:
        return problem.at(theta, problem.y - problem.design.predict(theta))

    result = scipy.optimize.minimize(
        value_and_grad,
        theta,
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": max_iter, "maxfun": 20 * max_iter, "gtol": tol, "ftol": 0.0},
    )
    theta, gradient, n_iter = result.x, result.jac, int(result.nit)
    residual = problem.y - problem.design.predict(theta)
    size = float(np.abs(gradient).max())
    while result.status != 1 and size > 1e-7 * tol:  # 1: max_iter is reached
        step = _conjugate_gradients(problem, residual, gradient)
        change = problem.design.predict(step)
        length = _line_search(problem, residual, change, theta, step)
        nearer = theta - length * step
        residual = problem.y - problem.design.predict(nearer)
        before, (_, gradient) = size, problem.at(nearer, residual)
        size = float(np.abs(gradient).max())
        if not size <= 0.5 * before:  # true for NaN, too
            size = before
            break
        theta, n_iter = nearer, n_iter + 1
    return Solution(theta, n_iter, bool(size <= tol), str(result.message))


def _conjugate_gradients(problem: Problem, residual: AnyArray, gradient: AnyArray) -> AnyArray:
    """Solve for a Newton step, roughly, with products by the Hessian alone.

    A singular Hessian whose range does not hold the gradient has directions without curvature,
    by which nothing can be divided: the step is what was found before the first of them.
    """
    design = problem.design
    weight = np.where(np.abs(residual) < problem.beta, problem.weight / problem.beta, 0.0)
    step = np.zeros_like(gradient)
    rest, direction = gradient.copy(), gradient.copy()
    square = float(rest @ rest)
    enough = 1e-12 * square
    for _ in range(2 * len(gradient)):
        product = design.adjoint(weight * design.predict(direction)) + problem.penalty * direction
        curvature = float(direction @ product)
        if not curvature > 1e-15 * float(direction @ direction):
            break
        step += (square / curvature) * direction
        rest -= (square / curvature) * product
        before, square = square, float(rest @ rest)
        if square <= enough:
            break
        direction = rest + (square / before) * direction
    return step
