"""Solvers of the linear model: semismooth Newton and L-BFGS, on centred and scaled features.

With residuals r = y - Z theta, weights w that sum to 1 and a diagonal penalty P they minimise

    F(theta) = sum_i w_i smooth_l1(r_i; beta) + theta' P theta / 2.

Z holds the features, centred and scaled to unit variance, and a column of ones for the
intercept. So a gradient is at most about 1, whatever the units of X and y are, and ``tol``
bounds it in these terms.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.sparse

from smoothl1._simd import core
from smoothl1._typing import AnyArray
from smoothl1.functional import smooth_l1_value_and_grad

# Rows that are weighted at a time in a Gram matrix: they stay in the second-level cache.
_ROWS = 2048


class DenseDesign:
    """Z as an array of the dtype of X, made once."""

    def __init__(
        self, X: AnyArray, mean: AnyArray, scale: AnyArray, fit_intercept: bool
    ) -> None:
        n, p = X.shape
        self.Z = np.empty((n, p + fit_intercept), X.dtype)
        np.subtract(X, mean.astype(X.dtype), out=self.Z[:, :p])
        self.Z[:, :p] *= (1.0 / scale).astype(X.dtype)
        if fit_intercept:
            self.Z[:, p] = 1.0

    def predict(self, theta: AnyArray) -> AnyArray:
        """Return Z theta."""
        return np.asarray(self.Z @ theta.astype(self.Z.dtype), np.float64)

    def adjoint(self, v: AnyArray) -> AnyArray:
        """Return Z' v."""
        return np.asarray(v.astype(self.Z.dtype) @ self.Z, np.float64)

    def gram(self, weight: AnyArray, rows: AnyArray | None = None) -> AnyArray:
        """Return Z' diag(weight) Z over all rows, or over those in ``rows``."""
        size = self.Z.shape[1]
        total = np.zeros((size, size))
        weight = weight.astype(self.Z.dtype)
        for start in range(0, len(weight), _ROWS):
            part = slice(start, start + _ROWS)
            block = self.Z[part] if rows is None else self.Z[rows[part]]
            total += block.T @ (block * weight[part, np.newaxis])
        return total


class SparseDesign:
    """Z over a CSR matrix, which stays as it is: the means are a rank-one term."""

    def __init__(self, X: Any, mean: AnyArray, scale: AnyArray, fit_intercept: bool) -> None:
        self.X = X
        self.p = X.shape[1]
        self.mean = mean
        self.scale = scale
        self.fit_intercept = fit_intercept

    def predict(self, theta: AnyArray) -> AnyArray:
        """Return Z theta."""
        coef = theta[: self.p] / self.scale
        offset = theta[self.p :].sum() - self.mean @ coef
        return np.asarray(self.X @ coef, np.float64) + offset

    def adjoint(self, v: AnyArray) -> AnyArray:
        """Return Z' v."""
        total = v.sum()
        product = (self.X.T @ v - self.mean * total) / self.scale
        return np.append(product, total) if self.fit_intercept else product

    def gram(self, weight: AnyArray, rows: AnyArray | None = None) -> AnyArray:
        """Return Z' diag(weight) Z over all rows, or over those in ``rows``."""
        X = self.X if rows is None else self.X[rows]
        p = self.p
        total = weight.sum()
        product = (X.T @ X.multiply(weight[:, np.newaxis]).tocsr()).toarray()
        sums = X.T @ weight
        cross = np.outer(self.mean, sums)
        product = product - cross - cross.T + total * np.outer(self.mean, self.mean)
        product /= self.scale
        product /= self.scale[:, np.newaxis]
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

    def value_and_grad(self, theta: AnyArray) -> tuple[float, AnyArray]:
        """F and its gradient."""
        loss, slopes = smooth_l1_value_and_grad(
            self.design.predict(theta), self.y, "sum", self.beta, weight=self.weight
        )
        penalty = self.penalty * theta
        return float(loss) + 0.5 * float(theta @ penalty), self.design.adjoint(slopes) + penalty


@dataclass(slots=True)
class Solution:
    """Where a solver stopped, and why."""

    theta: AnyArray
    n_iter: int
    converged: bool
    message: str


def newton(problem: Problem, theta: AnyArray, max_iter: int, tol: float) -> Solution:
    """Semismooth Newton on the active set, with an exact line search.

    The Hessian is that of the quadratic pieces alone. Where it is singular, or what it
    gives is no descent, a majorize-minimize step takes its place: weighted least squares
    with weights ``w / max(|r|, beta)``, which cannot fail to descend. The first step is
    one, too. The objective is piecewise quadratic, so once the active set is that of the
    minimiser a single step ends it.
    """
    design, beta, penalty, weight = (
        problem.design,
        problem.beta,
        problem.penalty,
        problem.weight,
    )
    residual = problem.y - design.predict(theta)
    active = np.zeros(len(residual), bool)
    gram = np.zeros((len(theta), len(theta)))
    majorize = True
    for n_iter in range(max_iter + 1):
        slopes = np.clip(residual / beta, -1.0, 1.0)
        loss = ...
    raise NotImplementedError
