"""The linear model over data that do not fit in memory: a few passes of sums.

The criterion is that of `smoothl1.linear_model`. In units in which features and targets are of the
order of 1, with weights that sum to 1, the passes minimise

    F(theta, t) = sum_i w_i smooth_l1(r_i; t) + share t / 2 + theta' P theta / 2

over theta and, where the scale is estimated, over the threshold t. A Newton step is one pass that
adds the value, the gradient, and the Gram matrix of the rows below the threshold: p x p and p
numbers. The fit to a sample of the rows is where they start, so that few are needed.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils.validation import check_is_fitted

from smoothl1 import linear_model
from smoothl1._lazy import arrays as lazy
from smoothl1._lazy.medians import Line, fit_nearby, median_distance
from smoothl1._lazy.passes import Batches, Blocks, Source
from smoothl1._linear.solvers import VANISHED, Inverse
from smoothl1._typing import AnyArray
from smoothl1.functional import smooth_l1_loss, smooth_l1_value_and_grad
from smoothl1.location import huber_location

# Rows of the sample that the passes start from.
_SAMPLE = 20_000
# Rows that are worked on at a time.
_ROWS = 4096
# Lengths of a step that are looked at beside the first, 1, in the same pass.
_LENGTHS = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01, 1e-3, 1e-4)
# What a step may still promise, as a part of the objective, where the last one is taken.
_GAIN = 1e-20
_ROUNDING = 1e-14
# The least distance from a fit within which rows are kept, in units of the typical target.
_NEAR = 2.0**-20
# Thresholds smaller by this than that distance are fitted to the rows within it.
_SMALL = 64.0


class SmoothL1Regressor(linear_model.SmoothL1Regressor):
    """`smoothl1.linear_model.SmoothL1Regressor` over data that do not fit in memory.

    The same model and parameters. `fit` takes Dask arrays, Dask DataFrames and batches of
    Arrow, goes over them several times, and keeps sums alone: the coefficients are those of the
    fit in memory, but for rounding.

    Parameters
    ----------
    beta : float, default=1.35
        Threshold between the quadratic and the linear piece, in multiples of ``scale_``. It
        must be > 1 with ``scale="huber"``, otherwise >= 0.
    scale : {"huber", "mad"}, float or None, default="huber"
        As in memory.
    alpha, fit_intercept
        As in memory.
    solver : {"auto", "newton"}, default="auto"
        The same.
    max_iter : int, default=100
        Most passes for each target.
    tol : float, default=1e-6
        Largest component of the gradient, as in memory; the steps that follow are taken, too,
        until they change hardly a digit.
    warm_start : bool, default=False
        Whether `fit` starts from the coefficients of the last one, and not from a sample.

    Attributes
    ----------
    coef_, intercept_, scale_, n_iter_, n_features_in_, feature_names_in_
        As in memory; coefficients are of float64, ``n_iter_`` counts passes.
    outliers_ : dask array
        Whether the absolute residual exceeds ``beta * scale_``, lazily; of Dask's data only.

    See Also
    --------
    smoothl1.linear_model.SmoothL1Regressor : in memory.

    Notes
    -----
    Each pass computes the blocks anew: ``persist()`` them if the workers' memory holds them.

    Examples
    --------
    >>> import pytest; da = pytest.importorskip("dask.array")
    >>> import numpy as np
    >>> from smoothl1.dask import SmoothL1Regressor
    >>> X = np.arange(10.0).reshape(-1, 1)
    >>> y = 2 * X[:, 0] + 1
    >>> y[3] = 1000
    >>> model = SmoothL1Regressor()
    >>> model.fit(da.from_array(X, chunks=(4, 1)), da.from_array(y, chunks=4)).coef_.round(6)
    array([2.])
    """

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit the model.

        Parameters
        ----------
        X : dask array or DataFrame of shape (n_samples, n_features), or Arrow batches
            Features. Batches are anything with ``__arrow_c_stream__`` that can be read again
            and again (a Table, a polars DataFrame), or a function without arguments that opens
            a new stream, or gives the batches of a pass. Arrays in memory are fitted there.
        y : dask array or Series of shape (n_samples,) or (n_samples, n_targets), or str
            Targets; of batches the name of a column. The other columns are the features.
        sample_weight : dask array or Series of shape (n_samples,), or str, optional
            Weights, >= 0, not all 0; of batches the name of a column.

        Returns
        -------
        SmoothL1Regressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            For a parameter out of its range, NaN or infinite values, shapes that do not match,
            bad weights.

        Warns
        -----
        ConvergenceWarning
            If the gradient is not below `tol` after `max_iter` passes.
        """
        self._check_parameters()
        source = _source_of(X, y, sample_weight)
        if source is None:
            super().fit(X, y, sample_weight)
            return self
        names = source.names
        if names is not None:
            self.feature_names_in_ = np.asarray(names, object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_
        moments = source.reduce(_moments_of, _merged_moments, (-(-_SAMPLE // source.n_blocks),))
        moments.check()
        p, targets = moments.mean.shape[0], moments.targets
        self.n_features_in_ = p
        start = self._start((targets, p))
        found = [
            _fit(self, source, moments, k, None if start is None else (start[0][k], start[1][k]))
            for k in range(targets)
        ]
        for each in found:
            if each.warning:
                warnings.warn(
                    f"stopped after {each.n_iter} passes: {each.warning}; raise max_iter or tol, "
                    "or alpha",
                    ConvergenceWarning,
                    stacklevel=2,
                )
        coef = np.array([each.coef for each in found])
        intercept, scale, threshold = np.array(
            [(each.intercept, each.scale, each.threshold) for each in found]
        ).T
        if not (np.isfinite(coef).all() and np.isfinite(intercept).all()):
            raise ValueError(linear_model._OVERFLOW)
        several = source.several
        self.coef_ = coef if several else coef[0]
        self.intercept_ = intercept if several else float(intercept[0])
        self.scale_ = scale if several else float(scale[0])
        self.n_iter_ = max(each.n_iter for each in found)
        if isinstance(source, Blocks):
            distance = abs(source.y - self.predict(source.X))
            self.outliers_ = distance > (threshold if several else float(threshold[0]))
        elif hasattr(self, "outliers_"):
            del self.outliers_
        return self

    def predict(self, X: Any) -> Any:
        """Predict targets.

        Parameters
        ----------
        X : array-like, or dask array or DataFrame, of shape (n_samples, n_features)
            Features.

        Returns
        -------
        ndarray, or dask array, of shape (n_samples,) or (n_samples, n_targets)
            Predictions; lazy for lazy features.
        """
        if hasattr(X, "to_dask_array"):
            X = X.to_dask_array()
        if not lazy.is_array(X):
            return super().predict(X)
        check_is_fitted(self)
        if X.ndim != 2 or X.shape[1] != self.n_features_in_:
            raise ValueError(f"X must have shape (n_samples, {self.n_features_in_}), got {X.shape}")
        X = X.rechunk({1: -1})
        several = self.coef_.ndim == 2
        options: dict[str, Any] = (
            {"chunks": (X.chunks[0], (len(self.coef_),))} if several else {"drop_axis": 1}
        )
        return X.map_blocks(
            _predicted,
            coef=self.coef_,
            intercept=self.intercept_,
            dtype=np.float64,
            meta=np.empty((0,) * (1 + several)),
            **options,
        )

    def _check_parameters(self) -> None:
        super()._check_parameters()
        if self.solver == "lbfgs":
            raise ValueError("solver must be 'auto' or 'newton' for data out of memory")

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = False
        return tags


def _predicted(X: AnyArray, coef: AnyArray, intercept: AnyArray | float) -> AnyArray:
    return np.asarray(X @ coef.T + intercept, np.float64)


def _source_of(X: Any, y: Any, sample_weight: Any) -> Source | None:
    """Return the way to the data; None for data in memory."""
    if isinstance(y, str):
        return Batches(X, y, sample_weight)
    given = {"X": X, "y": y, "sample_weight": sample_weight}
    if not any(lazy.is_array(a) or hasattr(a, "to_dask_array") for a in given.values()):
        return None
    return Blocks(**given)


@dataclass
class _Moments:
    """What the first pass finds: moments of the features, and a sample of the rows."""

    total: float  # of the weights
    mean: AnyArray
    squares: AnyArray  # weighted, of the distances from the mean
    X: AnyArray
    y: AnyArray
    weight: AnyArray
    rows: int  # of positive weight
    bad: str  # what is wrong with a block

    @property
    def targets(self) -> int:
        """The number of targets."""
        return int(self.y.shape[1])

    def check(self) -> None:
        """Raise ``ValueError`` for data that cannot be fitted."""
        if self.bad:
            raise ValueError(self.bad)
        if not self.total:
            raise ValueError("sample_weight must hold a positive weight, got zeros or no rows")


def _moments_of(X: AnyArray, y: AnyArray, weight: AnyArray, rows: int) -> _Moments:
    """Look at a block, and keep some of its rows."""
    bad = ""
    for name, a in (("X", X), ("y", y), ("sample_weight", weight)):
        if not np.isfinite(a).all():
            bad = bad or f"{name} contains NaN or infinity"
    if (weight < 0).any():
        bad = bad or f"sample_weight must be >= 0, got {weight.min()}"
    used = np.flatnonzero(weight > 0)
    total = float(weight.sum())
    if bad or not total:
        nothing = np.zeros(X.shape[1])
        return _Moments(0.0, nothing, nothing, X[:0], y[:0], weight[:0], 0, bad)
    mean = weight @ X / total
    squares = weight @ (X - mean) ** 2
    chosen = used[np.unique(np.linspace(0, len(used) - 1, min(rows, len(used))).astype(np.intp))]
    kept = weight[chosen] * (len(used) / len(chosen))
    return _Moments(total, mean, squares, X[chosen], y[chosen], kept, len(used), bad)


def _merged_moments(parts: list[_Moments]) -> _Moments:
    """Merge what blocks gave."""
    total = sum(part.total for part in parts)
    shares = np.array([part.total for part in parts]) / (total or 1.0)
    mean = shares @ np.array([part.mean for part in parts])
    squares = sum(
        (part.squares + part.total * (part.mean - mean) ** 2 for part in parts),
        start=np.zeros_like(mean),
    )
    bad = next((part.bad for part in parts if part.bad), "")
    X, y, weight = (
        np.concatenate([getattr(part, name) for part in parts]) for name in ("X", "y", "weight")
    )
    rows = sum(part.rows for part in parts)
    return _Moments(total, mean, squares, X, y, weight, rows, bad)


@dataclass(frozen=True)
class _Frame:
    """Units in which features and a target are of the order of 1."""

    mean: AnyArray
    scale: AnyArray
    column: int  # of the target
    centre: float
    unit: float
    total: float  # of the weights
    fit_intercept: bool

    def parameters(self, coef: AnyArray, intercept: float) -> AnyArray:
        """Return theta for coefficients and an intercept."""
        theta = coef * self.scale / self.unit
        constant = (intercept + float(self.mean @ coef) - self.centre) / self.unit
        return np.append(theta, constant) if self.fit_intercept else theta

    def coefficients(self, theta: AnyArray) -> tuple[AnyArray, float]:
        """Return coefficients and the intercept for theta."""
        p = len(self.mean)
        coef = self.unit * (theta[:p] / self.scale)
        return coef, self.centre + float(self.unit * theta[p:].sum() - self.mean @ coef)

    def rows(self, X: AnyArray, y: AnyArray, weight: AnyArray, part: slice) -> Any:
        """Return Z, y and the weights of some rows of a block."""
        Z = np.empty((len(X[part]), len(self.mean) + self.fit_intercept))
        np.divide(X[part] - self.mean, self.scale, out=Z[:, : len(self.mean)])
        Z[:, len(self.mean) :] = 1.0
        return Z, (y[part, self.column] - self.centre) / self.unit, weight[part] / self.total


@dataclass(frozen=True)
class _Step:
    """A point, and a step from there."""

    theta: AnyArray
    t: float
    d_theta: AnyArray
    d_t: float
    lengths: tuple[float, ...]
    majorize: bool

    def after(self, length: float) -> tuple[AnyArray, float]:
        """Return the point at a length of the step."""
        return self.theta + length * self.d_theta, self.t + length * self.d_t


@dataclass
class _Sums:
    """What a pass adds: values at all lengths, and derivatives at the first."""

    values: AnyArray
    gradient: AnyArray  # of the data, by theta
    coupling: AnyArray  # sum of the slopes of the rows below the threshold, times Z
    outside: float  # the weight from the threshold on
    inside: float  # the weighted squares below
    gram: AnyArray

    def __iadd__(self, other: _Sums) -> _Sums:
        for name in self.__dataclass_fields__:
            setattr(self, name, getattr(self, name) + getattr(other, name))
        return self


def _pass(X: AnyArray, y: AnyArray, weight: AnyArray, frame: _Frame, step: _Step) -> _Sums:
    """Add up a block."""
    size = len(step.theta)
    zero = np.zeros(size)
    sums = _Sums(np.zeros(len(step.lengths)), zero, zero, 0.0, 0.0, np.zeros((size, size)))
    _, t = step.after(step.lengths[0])
    for start in range(0, len(y), _ROWS):
        Z, target, w = frame.rows(X, y, weight, slice(start, start + _ROWS))
        before, change = target - Z @ step.theta, Z @ step.d_theta
        residual = before - step.lengths[0] * change
        values = np.empty(len(step.lengths))
        value, slopes = smooth_l1_value_and_grad(residual, 0.0, "sum", t, weight=w, n_threads=1)
        values[0] = value
        for j, length in enumerate(step.lengths[1:], 1):
            values[j] = smooth_l1_loss(
                before - length * change, 0.0, "sum", step.after(length)[1], weight=w, n_threads=1
            )
        distance = np.abs(residual)
        active = distance < t
        bent = np.where(active, slopes, 0.0)
        first, second = np.stack([slopes, bent]) @ Z
        if step.majorize:
            root = np.sqrt(w / np.maximum(distance, t))[:, np.newaxis] * Z
        else:
            root = np.sqrt(w[active] / t)[:, np.newaxis] * Z[active]
        sums += _Sums(
            values,
            -first,
            second,
            float(w @ ~active),
            float(w @ np.where(active, residual * residual, 0.0)),
            root.T @ root,
        )
    return sums


def _added(parts: list[_Sums]) -> _Sums:
    total, *rest = parts
    total = _Sums(**vars(total))
    for part in rest:
        total += part
    return total


@dataclass
class _Found:
    """The fit to one target, in its units."""

    coef: AnyArray
    intercept: float
    scale: float
    threshold: float
    n_iter: int
    warning: str


def _fit(
    model: SmoothL1Regressor,
    source: Source,
    moments: _Moments,
    column: int,
    start: tuple[AnyArray, float] | None,
) -> _Found:
    """Fit one target."""
    p = len(moments.mean)
    joint = model.scale == "huber"
    size = 1.0 if model.scale is None or isinstance(model.scale, str) else float(model.scale)
    guess, intercept = size, 0.0
    if start is not None:
        coef, intercept = np.asarray(start[0], np.float64), float(start[1])
    if start is None or joint:
        sample = linear_model.SmoothL1Regressor(
            beta=model.beta, scale=model.scale, alpha=model.alpha, solver="newton",
            fit_intercept=model.fit_intercept,
        )  # fmt: skip
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            sample.fit(moments.X, moments.y[:, column], moments.weight)
        guess = float(sample.scale_)
        if start is None:
            coef, intercept = np.asarray(sample.coef_, np.float64), float(sample.intercept_)
    some, centre = moments.y[:, column], 0.0
    if model.fit_intercept:
        limit = 0.0 if isinstance(model.scale, str) else model.beta * size
        centre = float(huber_location(some, limit, sample_weight=moments.weight))
    unit = linear_model._unit(np.abs(some - centre))
    deviation = np.sqrt(moments.squares / moments.total)
    eps = float(np.finfo(float).eps)
    if not model.fit_intercept:
        deviation = np.sqrt(deviation**2 + moments.mean**2)
    constant = deviation <= 4 * eps * np.abs(moments.mean)
    scale = np.where(constant, 1.0, deviation)
    mean = moments.mean if model.fit_intercept else np.zeros(p)
    frame = _Frame(mean, scale, column, centre, unit, moments.total, bool(model.fit_intercept))

    # The criterion divided by 2 beta, the weights' sum and the unit.
    strength = model.alpha / model.beta if model.alpha else 0.0
    penalty = strength / moments.total * unit / scale**2
    penalty = np.where(constant, 1.0, penalty)
    penalty = np.append(penalty, np.zeros(int(model.fit_intercept)))
    theta = frame.parameters(coef, intercept)
    theta[:p][constant] = 0.0
    least, passes, warning = linear_model._LEAST, 0, ""
    if model.scale == "mad" or model.beta == 0:
        line, passes, warning = _few(model, source, moments, frame, penalty, theta, 0.0)
        theta = frame.parameters(line.coef, line.intercept)
        terms = np.abs(line.coef) @ (np.abs(moments.mean) + deviation) + abs(line.intercept)
        nothing = max(linear_model._PASSED * unit, 32 * eps * float(terms))
        if model.scale == "mad":
            some = np.abs(line.residuals(moments.X, moments.y))
            kept = some > nothing
            distance, more = median_distance(
                source, line, nothing, some[kept], moments.weight[kept]
            )
            guess = size = linear_model._NORMAL * distance
            passes += more
        if model.beta == 0:
            return _Found(line.coef, line.intercept, size, nothing, passes, warning)
    t = model.beta * guess / unit
    t = min(max(t, least), 2.0**300)
    share = 1.0 / model.beta**2 if joint else 0.0
    line = Line(*frame.coefficients(theta), column)
    if not joint and _SMALL * t * unit < _radius(moments, frame, line) < math.inf:
        # So few rows below it are left that Newton's method would look for them one by one.
        line, more, small = _few(model, source, moments, frame, penalty, theta, t * unit)
        warning = warning or small
        return _Found(line.coef, line.intercept, size, t * unit, passes + more, warning)
    newton = _Newton(source, frame, penalty, share, least, model.max_iter, model.tol)
    theta, t = newton.minimise(theta, t)
    coef, intercept = frame.coefficients(theta)
    if joint:  # 0 where it vanishes
        size = t / model.beta * unit if t > least else 0.0
    n_iter = passes + newton.n_iter
    return _Found(coef, intercept, size, t * unit, n_iter, warning or newton.warning)


def _few(
    model: SmoothL1Regressor,
    source: Source,
    moments: _Moments,
    frame: _Frame,
    penalty: AnyArray,
    theta: AnyArray,
    threshold: float,
) -> tuple[Line, int, str]:
    """Fit one target with a small threshold, in its units, from about the right parameters.

    A threshold of 0 is least absolute deviations. Returns the passes that it took, and a warning,
    too.
    """
    line = Line(*frame.coefficients(theta), frame.column)
    passes, radius = 0, _radius(moments, frame, line)
    if radius < math.inf:
        # A small threshold, and before it larger ones, bring the fit near enough.
        thresholds = [radius / frame.unit]
        while thresholds[-1] < 0.1:
            thresholds.append(8 * thresholds[-1])
        for t in reversed(thresholds):
            newton = _Newton(
                source, frame, penalty, 0.0, linear_model._LEAST, model.max_iter, model.tol
            )
            theta, _ = newton.minimise(theta, t)
            passes += newton.n_iter
        line = Line(*frame.coefficients(theta), frame.column)
    # What the sample's criterion is at the least threshold, divided by it.
    beta = threshold or (linear_model._LEAST * frame.unit if model.alpha else 0.0)
    alpha = model.alpha * (beta / model.beta) if model.alpha else 0.0

    def fit(X: AnyArray, y: AnyArray, weight: AnyArray) -> tuple[AnyArray, float]:
        few = linear_model.SmoothL1Regressor(
            beta=beta, scale=None, alpha=alpha, solver="newton", fit_intercept=model.fit_intercept
        ).fit(X, y, weight)
        return few.coef_, float(few.intercept_)

    most = _most(frame)
    line, more, good = fit_nearby(source, fit, line, threshold, radius, most, model.max_iter)
    return line, passes + more, "" if good else "max_iter is reached"


def _most(frame: _Frame) -> int:
    """Return how many rows near a fit are kept in memory."""
    return max(_SAMPLE, 20 * (len(frame.mean) + 1))


def _radius(moments: _Moments, frame: _Frame, line: Line) -> float:
    """Return the distance from a fit within which about that many rows are; inf for all."""
    most = _most(frame)
    if moments.rows <= most:
        return math.inf
    some = np.abs(line.residuals(moments.X, moments.y))
    return max(float(np.quantile(some, most / moments.rows)), _NEAR * frame.unit)


class _Newton:
    """Newton's method, a pass for each step."""

    def __init__(
        self,
        source: Source,
        frame: _Frame,
        penalty: AnyArray,
        share: float,
        least: float,
        max_iter: int,
        tol: float,
    ) -> None:
        self._source, self._frame, self._penalty = source, frame, penalty
        self._share, self._least, self._max_iter, self._tol = share, least, max_iter, tol
        self._vanished = False  # the threshold, which then no longer follows rounding
        self.n_iter = 0
        self.warning = ""

    def minimise(self, theta: AnyArray, t: float) -> tuple[AnyArray, float]:
        """Return the minimiser."""
        majorize, last = False, math.inf
        sums, value = self._look(theta, t, majorize)
        while True:
            gradient = sums.gradient + self._penalty * theta
            slope_t = 0.5 * (self._share - sums.outside - sums.inside / t**2)
            if self._share and not self._vanished and t <= VANISHED * self._least and slope_t > 0:
                self._vanished, t = True, self._least
                sums, value = self._look(theta, t, majorize)
                continue
            d_theta, d_t, good = self._direction(sums, gradient, t, majorize)
            if not (good or majorize):
                if self.n_iter >= self._max_iter:
                    self.warning = "max_iter is reached"
                    return theta, t
                majorize = True
                sums, value = self._look(theta, t, majorize)
                continue
            slope = float(gradient @ d_theta) + slope_t * d_t
            promise = -0.5 * slope
            flat = float(np.abs(gradient).max()) <= self._tol
            stalled = promise <= 1e-15 * value and promise >= 0.25 * last
            if flat and not majorize and (promise <= _GAIN * value or stalled):
                return theta + d_theta, max(t + d_t, self._least)
            if self.n_iter >= self._max_iter:
                self.warning = "max_iter is reached"
                return theta, t
            last = promise
            step = _Step(theta, t, d_theta, d_t, _LENGTHS, False)
            after = self._run(step)
            values = [
                self._value(after.values[j], *step.after(length))
                for j, length in enumerate(_LENGTHS)
            ]
            if values[0] <= value + 1e-4 * slope + _ROUNDING * value:
                (theta, t), sums, value = step.after(1.0), after, values[0]
                majorize = False
                continue
            best = min(range(len(values)), key=lambda j: (values[j] != values[j], values[j]))
            if not values[best] < value:
                if majorize or flat:
                    self.warning = "" if flat else "rounding hides any descent"
                    return theta, t
                majorize = True
            else:
                theta, t = step.after(_LENGTHS[best])
                majorize = not majorize and _LENGTHS[best] < 0.1
            sums, value = self._look(theta, t, majorize)

    def _direction(
        self, sums: _Sums, gradient: AnyArray, t: float, majorize: bool
    ) -> tuple[AnyArray, float, bool]:
        """Return a step in theta and t, and whether the gradient is in the range of the Hessian."""
        gram = sums.gram.copy()
        gram.flat[:: len(gram) + 1] += self._penalty
        inverse = Inverse(gram, lambda: None)
        d_theta = -inverse(gradient)
        good = inverse.holds(gradient, 1e-11)
        if not self._share or self._vanished:
            return d_theta, 0.0, good
        slope = 0.5 * (self._share - sums.outside - sums.inside / t**2)
        curvature = sums.inside / t**3
        if not majorize and curvature > 0.0:
            coupling = sums.coupling / t
            response = inverse(coupling)
            rest = curvature - float(coupling @ response)
            if rest > 1e-9 * curvature:
                d_t = -(slope + float(coupling @ d_theta)) / rest
                if -0.75 * t <= d_t <= 3.0 * t:
                    return d_theta - response * d_t, max(d_t, self._least - t), good
        # The threshold that is best where no row changes its piece, within a factor of 4.
        room = self._share - sums.outside
        best = math.sqrt(sums.inside / room) if room > 0.0 else math.inf
        best = min(max(best, 0.25 * t, self._least), 4.0 * t)
        return (d_theta if majorize else 0.0 * d_theta), best - t, good

    def _look(self, theta: AnyArray, t: float, majorize: bool) -> tuple[_Sums, float]:
        """Return the sums at a point, and the objective."""
        sums = self._run(_Step(theta, t, np.zeros_like(theta), 0.0, (1.0,), majorize))
        return sums, self._value(sums.values[0], theta, t)

    def _run(self, step: _Step) -> _Sums:
        self.n_iter += 1
        return self._source.reduce(_pass, _added, (self._frame, step))  # type: ignore[no-any-return]

    def _value(self, loss: float, theta: AnyArray, t: float) -> float:
        return float(loss) + 0.5 * (self._share * t + float(theta @ (self._penalty * theta)))
