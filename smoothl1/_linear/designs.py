"""Design matrices of the linear model: features centred and scaled, and the intercept.

A design Z holds one column per feature, ``(x - mean) / scale``, and a column of ones if there
is an intercept. Solvers know it by its products alone.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import scipy.linalg
import scipy.sparse

from smoothl1._typing import AnyArray

# Rows that are worked on at a time: they stay in the second-level cache.
_ROWS = 2048
# Columns up to which a general product of so many multiplications, for which OpenBLAS packs
# nothing, is faster than the symmetric one: by two thirds for 20 columns.
_SMALL, _SMALL_PRODUCT = 50, 10**6
# Elements of Z up to which a factorization of it, and not of its Gram matrix, is affordable.
_ROOT = 2**22


class Design(ABC):
    """What the two kinds of design have in common: the way to parameters and back.

    Parameters
    ----------
    mean, deviation : ndarray of shape (n_features,)
        Weighted means, or 0, and root mean square deviations from them.
    least : float
        Least scale of a feature, >= 0.
    fit_intercept : bool
        Whether there is an intercept, the last parameter.

    Attributes
    ----------
    eps : float
        The rounding unit of ``predict``.
    """

    eps: float

    def __init__(
        self, mean: AnyArray, deviation: AnyArray, least: float, fit_intercept: bool
    ) -> None:
        self.mean = mean
        self.scale = np.hypot(deviation, least)
        self.constant = self.scale == 0.0
        self.scale[self.constant] = 1.0
        self.fit_intercept = fit_intercept

    def parameters(self, coef: AnyArray, intercept: float) -> AnyArray:
        """Return theta for which ``Z theta`` is ``X coef + intercept``."""
        theta = coef * self.scale
        return np.append(theta, intercept + self.mean @ coef) if self.fit_intercept else theta

    def coefficients(self, theta: AnyArray, unit: float) -> tuple[AnyArray, float]:
        """Return the coefficients and the intercept for ``Z theta unit``; inf for overflow."""
        p = len(self.scale)
        with np.errstate(over="ignore", invalid="ignore"):
            coef = unit * (theta[:p] / self.scale)
            return coef, float(unit * theta[p:].sum() - self.mean @ coef)

    @abstractmethod
    def predict(self, theta: AnyArray) -> AnyArray:
        """Return Z theta."""

    @abstractmethod
    def adjoint(self, v: AnyArray) -> AnyArray:
        """Return Z' v, or ``v Z`` for several rows."""

    @abstractmethod
    def gram(self, weight: AnyArray, rows: AnyArray | None = None) -> AnyArray:
        """Return Z' diag(weight) Z over all rows, or over those in ``rows``.

        Its lower triangle, with zeros or with the same values above; weight >= 0.
        """

    def root(self, weight: AnyArray) -> AnyArray | None:
        """Return the rows of diag(sqrt(weight)) Z that are not 0; None if they are many."""
        rows = np.flatnonzero(weight)
        if len(rows) * (len(self.scale) + self.fit_intercept) > _ROOT:
            return None
        return np.sqrt(weight[rows])[:, np.newaxis] * self._dense(rows)

    @abstractmethod
    def _dense(self, rows: AnyArray) -> AnyArray:
        """Return these rows of Z, as a dense array of float64."""


class DenseDesign(Design):
    """Z as an array of the dtype of X, in rows.

    All products are SciPy's, as the factorizations are: NumPy may bring a BLAS of its own,
    whose idle threads would compete with SciPy's for the processors.
    """

    def __init__(self, X: AnyArray, weight: AnyArray, least: float, fit_intercept: bool) -> None:
        super().__init__(*_moments(X, weight, fit_intercept), least, fit_intercept)
        n, p = X.shape
        self.Z = np.empty((n, p + fit_intercept), X.dtype)
        mean, scale = self.mean.astype(X.dtype), self.scale.astype(X.dtype)
        for part in _blocks(n):
            np.divide(X[part] - mean, scale, out=self.Z[part, :p])
            self.Z[part, p:] = 1.0
        self.eps = float(np.finfo(X.dtype).eps)
        self._gemv, self._gemm, self._syrk = scipy.linalg.get_blas_funcs(
            ("gemv", "gemm", "syrk"), (self.Z,)
        )

    def predict(self, theta: AnyArray) -> AnyArray:
        """Return Z theta."""
        result = np.empty(len(self.Z))
        for part in _blocks(len(result)):
            result[part] = self._gemv(1.0, self.Z[part].T, theta, trans=1)
        return result

    def adjoint(self, v: AnyArray) -> AnyArray:
        """Return Z' v, or ``v Z`` for several rows; summed in float64 from block to block."""
        total = np.zeros((*v.shape[:-1], self.Z.shape[1]))
        rows, sums = np.atleast_2d(v), np.atleast_2d(total)
        for part in _blocks(len(self.Z)):
            for row, total_of_row in zip(rows, sums, strict=True):
                total_of_row += self._gemv(1.0, self.Z[part].T, row[part])
        return total

    def gram(self, weight: AnyArray, rows: AnyArray | None = None) -> AnyArray:
        """Return Z' diag(weight) Z over all rows, or over those in ``rows``."""
        size = self.Z.shape[1]
        total = np.zeros((size, size), order="F")
        factor = float(weight[0]) if len(weight) and (weight == weight[0]).all() else None
        root = np.sqrt(weight).astype(self.Z.dtype) if factor is None else None
        small = size <= _SMALL
        for part in _blocks(len(weight), _SMALL_PRODUCT // size**2 if small else _ROWS):
            block = self.Z[part] if rows is None else self.Z[rows[part]]
            if root is not None:
                block = block * root[part, np.newaxis]
            if small:
                total += self._gemm(1.0, block.T, block.T, trans_b=1)
            elif self.Z.dtype == np.float64:
                total = self._syrk(1.0, block.T, 1.0, total, lower=1, overwrite_c=1)
            else:
                total += self._syrk(1.0, block.T, lower=1)
        return total if factor is None else factor * total

    def _dense(self, rows: AnyArray) -> AnyArray:
        return np.asarray(self.Z[rows], np.float64)


class SparseDesign(Design):
    """Z as a scaled copy of a CSR matrix, less a row of means: a term of rank one.

    Features without a zero are centred as they are, so that one far from 0 (a time, say)
    keeps its digits; for others the mean is at most some sqrt(n) deviations.
    """

    def __init__(self, X: Any, weight: AnyArray, least: float, fit_intercept: bool) -> None:
        if not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        super().__init__(*_sparse_moments(X, weight, fit_intercept), least, fit_intercept)
        shift = np.where(_is_full(X), self.mean, 0.0)
        data = (X.data - shift[X.indices]) / self.scale[X.indices]
        self.Z = type(X)((data, X.indices, X.indptr), shape=X.shape)
        self.offset = (self.mean - shift) / self.scale
        self.eps = float(np.finfo(data.dtype).eps)

    def predict(self, theta: AnyArray) -> AnyArray:
        """Return Z theta."""
        p = len(self.offset)
        return np.asarray(self.Z @ theta[:p] + (theta[p:].sum() - self.offset @ theta[:p]))

    def adjoint(self, v: AnyArray) -> AnyArray:
        """Return Z' v, or ``v Z`` for several rows."""
        total = v.sum(axis=-1, keepdims=True)
        product: AnyArray = (self.Z.T @ v.T).T - total * self.offset
        return np.concatenate([product, total], axis=-1) if self.fit_intercept else product

    def gram(self, weight: AnyArray, rows: AnyArray | None = None) -> AnyArray:
        """Return Z' diag(weight) Z over all rows, or over those in ``rows``."""
        Z = self.Z if rows is None else self.Z[rows]
        p = len(self.offset)
        total = weight.sum()
        sums = Z.T @ weight
        cross = np.outer(self.offset, sums)
        weighted = type(Z)(
            (Z.data * np.repeat(weight, np.diff(Z.indptr)), Z.indices, Z.indptr), shape=Z.shape
        )
        result = np.empty((p + self.fit_intercept,) * 2, order="F")
        result[:p, :p] = (Z.T @ weighted).toarray()
        result[:p, :p] += total * np.outer(self.offset, self.offset) - cross - cross.T
        result[p:, :p] = sums - total * self.offset
        result[:p, p:] = result[p:, :p].T
        result[p:, p:] = total
        return result

    def _dense(self, rows: AnyArray) -> AnyArray:
        features = self.Z[rows].toarray() - self.offset
        return np.hstack([features, np.ones((len(rows), int(self.fit_intercept)))])


def _blocks(n: int, rows: int = _ROWS) -> list[slice]:
    rows = min(rows, _ROWS)
    return [slice(start, start + rows) for start in range(0, n, rows)]


def _moments(X: AnyArray, weight: AnyArray, centred: bool) -> tuple[AnyArray, AnyArray]:
    """Return weighted means, or 0, and deviations from them; the weights sum to 1.

    Means are rounded to the dtype of X, so that the design subtracts what is reported.
    """
    mean = np.zeros(X.shape[1])
    if centred:
        mean = sum((weight[part] @ X[part] for part in _blocks(len(X))), start=mean)
    shift, variance = np.zeros((2, len(mean)))
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for part in _blocks(len(X)):
            block = X[part] - mean
            shift += weight[part] @ block  # what rounding left
            variance += weight[part] @ (block * block)
        if centred:
            before, mean = mean, (mean + shift).astype(X.dtype).astype(np.float64)
            variance = np.maximum(variance - (mean - before) ** 2, 0.0)  # NaN for inf - inf
    odd = np.flatnonzero(~((variance > 1e-280) & (variance < np.inf)))  # squares out of range, or 0
    deviation = np.sqrt(np.where(np.isfinite(variance), variance, 0.0))
    for j in odd:
        distance = np.abs(X[:, j] - mean[j])
        unit = distance.max() or 1.0
        deviation[j] = unit * np.sqrt(weight @ (distance / unit) ** 2)
    return mean, _significant(deviation, mean, X.dtype)


def _sparse_moments(X: Any, weight: AnyArray, centred: bool) -> tuple[AnyArray, AnyArray]:
    """Return the same as ``_moments``, for a CSR matrix without duplicates."""
    p = X.shape[1]
    full = _is_full(X)
    stored = np.repeat(weight, np.diff(X.indptr))

    def total(values: AnyArray) -> AnyArray:
        # Of integers where nothing is stored.
        return np.bincount(X.indices, values, minlength=p).astype(np.float64, copy=False)

    mean = np.zeros(p)
    if centred:
        mean = total(stored * X.data)
        mean += np.where(full, total(stored * (X.data - mean[X.indices])), 0.0)
    zeros = np.where(full, 0.0, np.maximum(1.0 - total(stored), 0.0))  # their weight
    difference = X.data - mean[X.indices]
    spread = total(stored * np.abs(difference)) + zeros * np.abs(mean)
    unit = np.where(spread > 0.0, spread, 1.0)
    difference /= unit[X.indices]
    variance = total(stored * difference * difference) + zeros * (mean / unit) ** 2
    return mean, _significant(unit * np.sqrt(variance), mean, X.dtype)


def _significant(deviation: AnyArray, mean: AnyArray, dtype: Any) -> AnyArray:
    """Return deviations, with 0 for those that are nothing but rounding of a constant."""
    return np.where(deviation <= 2 * np.finfo(dtype).eps * np.abs(mean), 0.0, deviation)


def _is_full(X: Any) -> AnyArray:
    """Return which columns of a CSR matrix store all rows."""
    counts = np.bincount(X.indices, minlength=X.shape[1])
    return np.asarray(counts == X.shape[0])
