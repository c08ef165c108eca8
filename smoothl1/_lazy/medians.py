"""Small thresholds, or none, over data out of memory, exactly: a fit to the rows near a fit.

Rows far from a fit that is nearly right stay on their side of it, beyond the threshold, and there
the sum of their losses is that of one row, their weighted mean. So the rows nearby and two more,
one for each side, are fitted in memory. A pass finds the rows that have left their side; they join
the rows nearby, until there are none: the loss of the few rows is nowhere more than that of all,
and now it is the same at its minimum (S. Portnoy, R. Koenker, Statist. Sci. 12 (1997)).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from smoothl1._lazy.passes import Source
from smoothl1._typing import AnyArray
from smoothl1.location import huber_location

# The part of the weight on either side of a median in a sample in which it is sought at first.
_AROUND = 0.02


@dataclass(frozen=True)
class Line:
    """A fit to one of the targets, in the units of the user."""

    coef: AnyArray
    intercept: float
    column: int

    def residuals(self, X: AnyArray, y: AnyArray) -> AnyArray:
        """Return the residuals of the rows of a block."""
        return np.asarray(y[:, self.column] - X @ self.coef - self.intercept)


@dataclass
class _Rows:
    """Rows that are kept, and sums of those on the two sides of a fit."""

    X: AnyArray
    y: AnyArray
    weight: AnyArray
    sums: AnyArray  # of rows below and above: weight, and weighted X and y

    @classmethod
    def merged(cls, parts: list[_Rows]) -> _Rows:
        """Merge what blocks gave."""
        X, y, weight = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("X", "y", "weight")
        )
        return cls(X, y, weight, sum((part.sums for part in parts), start=0.0 * parts[0].sums))

    def joined(self, others: _Rows) -> _Rows:
        """Return these rows and others, which the sums no longer hold."""
        both = self.merged([self, others])
        both.sums = self.sums - others.sums
        return both

    def few(self) -> tuple[AnyArray, AnyArray, AnyArray]:
        """Return features, targets and weights of the rows, and of one for each side."""
        sums = self.sums[self.sums[:, 0] > 0.0]
        means = sums[:, 1:] / sums[:, :1]
        return (
            np.concatenate([self.X, means[:, :-1]]),
            np.concatenate([self.y, means[:, -1]]),
            np.concatenate([self.weight, sums[:, 0]]),
        )


def _sums(X: AnyArray, y: AnyArray, weight: AnyArray, side: AnyArray) -> AnyArray:
    table = np.column_stack([np.ones(len(y)), X, y])
    return np.stack([np.where(side == which, weight, 0.0) @ table for which in (-1, 1)])


def _sorted(X: AnyArray, y: AnyArray, weight: AnyArray, line: Line, radius: float) -> _Rows:
    """Keep the rows near a fit, and sums of those on its sides."""
    residual = line.residuals(X, y)
    side = np.where(np.abs(residual) < radius, 0, np.sign(residual))
    near = (side == 0) & (weight > 0)
    target = y[:, line.column]
    sums = _sums(X, target, weight, side)
    return _Rows(X[near], target[near], weight[near], sums)


def _changed(
    X: AnyArray,
    y: AnyArray,
    weight: AnyArray,
    line: Line,
    threshold: float,
    radius: float,
    after: Line,
) -> _Rows:
    """Keep the rows far from a fit that another has not on that side, and their sums."""
    before = line.residuals(X, y)
    changed = (np.abs(before) >= radius) & (after.residuals(X, y) * np.sign(before) < threshold)
    changed &= weight > 0
    rows = X[changed], y[changed, line.column], weight[changed]
    return _Rows(*rows, _sums(*rows, np.sign(before[changed])))


def fit_nearby(
    source: Source,
    fit: Callable[[AnyArray, AnyArray, AnyArray], tuple[AnyArray, float]],
    line: Line,
    threshold: float,
    radius: float,
    most: int,
    passes: int,
) -> tuple[Line, int, bool]:
    """Return the fit to all rows, how many passes it took, and whether it is that.

    Parameters
    ----------
    source : Source
    fit : callable
        Returns coefficients and intercept for rows in memory.
    line : Line
        A fit that is nearly right.
    threshold : float
        Below it losses are quadratic, beyond it linear; 0: least absolute deviations.
    radius : float
        Residuals from which on rows are far, more than the threshold.
    most : int
        Rows that may join before all are sorted anew.
    passes : int
        The most passes.
    """
    rows = source.reduce(_sorted, _Rows.merged, (line, radius))
    done = 1
    while True:
        coef, intercept = fit(*rows.few())
        after = Line(coef, intercept, line.column)
        if not rows.sums[:, 0].any():
            return after, done, True
        if done >= passes:
            return after, done, False
        done += 1
        changed = source.reduce(_changed, _Rows.merged, (line, threshold, radius, after))
        if not len(changed.y):
            return after, done, True
        if len(changed.y) <= most:
            rows = rows.joined(changed)
        else:
            line, done = after, done + 1
            rows = source.reduce(_sorted, _Rows.merged, (line, radius))


def _distances(
    X: AnyArray, y: AnyArray, weight: AnyArray, line: Line, least: float, low: float, high: float
) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Keep absolute residuals in a range, of those above a least one; weights on its sides."""
    sizes = np.abs(line.residuals(X, y))
    missed = (sizes > least) & (weight > 0)
    below, above = missed & (sizes < low), missed & (sizes > high)
    kept = missed & ~below & ~above
    return sizes[kept], weight[kept], np.array([weight[below].sum(), weight[above].sum()])


def _merged_distances(parts: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    sizes, weights, sides = zip(*parts, strict=True)
    return np.concatenate(sizes), np.concatenate(weights), np.sum(sides, axis=0)


def median_distance(
    source: Source, line: Line, least: float, some: AnyArray, weight: AnyArray
) -> tuple[float, int]:
    """Return the median of the absolute residuals above a least one, and the passes it took.

    Of ``some`` rows they are known; around their median those of all rows are looked at. 0 if no
    residual is above.
    """
    order = np.argsort(some)
    shares = np.cumsum(weight[order])
    around, passes = _AROUND, 0
    while True:
        low, high = 0.0, np.inf
        if around < 0.5 and len(some):
            ranks = np.searchsorted(shares, shares[-1] * np.array([0.5 - around, 0.5 + around]))
            low, high = some[order[np.minimum(ranks, len(some) - 1)]]
        passes += 1
        found = source.reduce(_distances, _merged_distances, (line, least, low, high))
        sizes, weights, (below, above) = found
        half = 0.5 * (below + above + weights.sum())
        if not half:
            return 0.0, passes
        if below < half and above < half:
            break
        around *= 4.0
    ends = [(value, w) for value, w in ((low, below), (high, above)) if w > 0.0]
    sizes = np.append(sizes, [value for value, _ in ends])
    weights = np.append(weights, [w for _, w in ends])
    return float(huber_location(sizes, 0.0, sample_weight=weights)), passes
