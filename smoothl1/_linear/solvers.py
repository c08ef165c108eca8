"""Solvers of the linear model: semismooth Newton and L-BFGS, on centred and scaled features.

With residuals r = y - Z theta, weights w and a diagonal penalty P they minimise

    F(theta, t) = sum_i w_i smooth_l1(r_i; t) + share t / 2 + theta' P theta / 2

over theta and, unless ``share`` is 0, over the threshold t, from a least one on. F is convex in
both together (Huber's concomitant scale). For given residuals the best t is found exactly, by a
few passes over them: ``sum_i w_i min(1, (r_i / t)**2) = share``. What is minimised over theta is
the function G that is left, once differentiable like F, with the same gradient.

Z holds the features, centred and scaled to unit variance or less, and a column of ones for the
intercept; y is of the order of 1. So components of the gradient are of the order of 1 at most,
whatever the units of the user's X and y are, and ``tol`` bounds them in these terms.

What a Newton step needs of the rows are sums over them: the value, the gradient and the coupling of
theta and t (p numbers each), the curvature in t, and the Gram matrix of the active rows (p x p).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import scipy.linalg
import scipy.optimize
import scipy.sparse.linalg

from smoothl1._linear.designs import Design
from smoothl1._simd import core
from smoothl1._typing import AnyArray
from smoothl1.functional import smooth_l1_value_and_grad
from smoothl1.location import huber_location

# What a further step may still promise, of the objective, where a solver has converged.
_GAIN = 1e-11
# The most steps that follow there, while rows change their piece.
_POLISH = 8
# Rows that are worked on at a time: they stay in the first-level cache.
_PART = 2**12
# What rounding may do to the objective, as a part of it.
_ROUNDING = 1e-15
# Where a smaller part of the weight is active at the start, interior points come first.
_FEW = 0.06
# Steps after which interior points are tried in the place of Newton's method.
_PATIENCE = 15
# The gap between primal and dual objective, as a part of it, at which interior points end; by how
# much it shrinks where the corner beside them is not the minimum, and down to what.
_GAP, _LESS, _LEAST_GAP, _INTERIOR_STEPS = 1e-9, 1e-2, 1e-13, 60
# Distances, in typical ones, of rows that the solution passes through from where they end.
_HIT = 1e-6
# What interior points may miss of the gradient.
_MISSED = 1e-11
# Multiples of the least threshold that are taken for it, where interior points say so.
VANISHED = 2.0**10


@dataclass(slots=True)
class Problem:
    """What is minimised."""

    design: Design
    y: AnyArray  # of float64
    weight: AnyArray  # of float64; their sum is that of 1 and the threshold, if it is more
    penalty: AnyArray  # the diagonal of P
    threshold: float  # > 0; the least one, where it is a variable
    share: float = 0.0  # 0: the threshold is given
    largest: float = field(init=False)  # of |y|
    rounding: float = field(init=False)  # that of residuals may make in the objective

    def __post_init__(self) -> None:
        size = np.abs(self.y)
        self.largest = float(size.max())
        self.rounding = self.design.eps * float(self.weight @ size)

    def point(self, theta: AnyArray, residual: AnyArray, guess: float) -> Point:
        """F at the best threshold, which is sought near ``guess``."""
        threshold = self.best_threshold(residual, guess) if self.share else self.threshold
        return self.at(theta, residual, threshold)

    def at(self, theta: AnyArray, residual: AnyArray, threshold: float) -> Point:
        """F, where the residuals are known."""
        loss, slopes = smooth_l1_value_and_grad(residual, 0.0, "sum", threshold, weight=self.weight)
        penalty = float(theta @ (self.penalty * theta))
        value = float(loss) + 0.5 * (self.share * threshold + penalty)
        return Point(theta, residual, threshold, value, slopes)

    def differentiated(self, point: Point) -> Point:
        """Return the point with its derivatives."""
        t, slopes, penalty = point.threshold, point.slopes, self.penalty * point.theta
        if not self.share or t <= self.threshold:
            point.gradient = penalty - self.design.adjoint(slopes)
        else:
            inner = np.where(np.abs(point.residual) < t, slopes, 0.0)
            first, second = self.design.adjoint(np.stack([slopes, inner]))
            point.gradient, point.coupling = penalty - first, second / t
            point.curvature = float(inner @ point.residual) / t**2
        return point

    def inverse(self, gram: AnyArray, weight: AnyArray) -> Inverse:
        """Divide by ``gram``, which is Z' diag(weight) Z and is overwritten, and the penalty."""
        gram.flat[:: len(gram) + 1] += self.penalty

        def root() -> AnyArray | None:
            rows = self.design.root(weight)
            if rows is None:
                return None
            penalties = np.diag(np.sqrt(self.penalty))[self.penalty > 0.0]
            return np.vstack([rows, penalties])

        return Inverse(gram, root)

    def penalised(self) -> bool:
        """Return whether there is a penalty, but for features that are constant."""
        return bool(self.penalty[: len(self.design.scale)][~self.design.constant].any())

    def guess(self) -> float:
        """Return a threshold that is of the order of the best one for y as residuals."""
        share = self.share / float(self.weight.sum())
        return 2.0 / float(np.sqrt(share)) if share else self.threshold

    def best_threshold(self, residual: AnyArray, guess: float) -> float:
        """Return the threshold that minimises F for these residuals.

        ``sum_i w_i min(1, u r_i**2)`` is concave and piecewise linear in u = 1 / t**2: Newton's
        method ends in the root's piece, and from the first step on comes from larger t only.
        """
        distance = np.abs(residual)
        t, from_above = max(guess, self.threshold), False
        while t < np.inf:
            outside, capped = _capped_squares(distance, self.weight, t)
            rest = self.share - outside
            if rest <= 0.0 and not from_above:
                t *= 4.0  # too small for a Newton step
                continue
            inside = max(capped - outside, 0.0)
            shrunk = t * float(np.sqrt(inside / rest)) if rest > 0.0 else 0.0
            if shrunk <= self.threshold:
                return self.threshold
            if from_above and shrunk >= t * (1.0 - 1e-12):
                return shrunk
            t, from_above = shrunk, True
        return t


def _capped_squares(distance: AnyArray, weight: AnyArray, t: float) -> tuple[float, float]:
    """Return the weight of distances from t on, and the sum of w min(1, (distance / t)**2)."""
    outside = capped = 0.0
    for start in range(0, len(distance), _PART):
        part = slice(start, start + _PART)
        ratio = distance[part] / t
        np.minimum(ratio, 1.0, out=ratio)
        outside += float(weight[part] @ np.floor(ratio))
        capped += float(weight[part] @ np.square(ratio, out=ratio))
    return outside, capped


@dataclass(slots=True)
class Point:
    """Parameters, the threshold, and what F is there."""

    theta: AnyArray
    residual: AnyArray
    threshold: float
    value: float
    slopes: AnyArray  # of the loss by the residuals
    gradient: AnyArray = field(default_factory=lambda: np.empty(0))  # see `differentiated`
    # Where the threshold is a variable and not the least, the second derivatives by it and
    # theta, and by it alone.
    coupling: AnyArray | None = None
    curvature: float = 0.0


@dataclass(slots=True)
class Solution:
    """Where a solver stopped."""

    theta: AnyArray
    residual: AnyArray
    threshold: float
    n_iter: int
    converged: bool
    message: str = ""


def newton(problem: Problem, theta: AnyArray, max_iter: int, tol: float) -> Solution:
    """Semismooth Newton on the active set, the residuals below the threshold.

    The Hessian is that of the quadratic pieces alone. Where its range does not hold the
    gradient, or the step gains nothing, a majorize-minimize step takes its place: weighted
    least squares with the weights ``w / max(|r|, t)``, which cannot fail to descend. For a
    given threshold the objective is piecewise quadratic: a step that meets the active set of
    the minimiser ends there.

    A threshold far below the residuals leaves few of them active, and an active set is far from
    the next one: interior points come first, down to least absolute deviations.
    """
    iterates = _Iterates(problem, theta)
    if not theta.any():
        iterates.start()
    if _active_part(problem, iterates.point) < _FEW and iterates.n_iter < max_iter:
        iterates.interior()
    return iterates.descend(max_iter, tol)


class _Iterates:
    """The iterates of `newton`: points, and the Gram matrix of the active rows."""

    def __init__(self, problem: Problem, theta: AnyArray) -> None:
        self.problem = problem
        residual = problem.y - problem.design.predict(theta) if theta.any() else problem.y
        self.point = problem.point(theta, residual, problem.guess())
        self.n_iter = 0
        self.bound = -np.inf  # of F, from below
        self.gap = _GAP
        self.active = np.zeros(len(problem.y), bool)
        self.gram = np.zeros((len(theta), len(theta)))

    def start(self) -> None:
        """One step from 0: least squares or majorize-minimize, whichever gains more.

        Least squares it is without a trial where that leaves most rows active: few
        outliers, or about as many parameters as rows.
        """
        problem, t = self.problem, self.point.threshold
        self.n_iter += 1
        through = self._passing_through()
        if through is not None and np.abs(through.residual).max() <= through.threshold:
            self.point = through
            return
        self.active[:] = True
        self.gram = problem.design.gram(problem.weight)
        squares = self._weighted(problem.weight / t, self.gram / t)
        best = squares
        if _active_part(problem, squares) < (0.5 if problem.share else 0.9):
            weight = _majorizer(problem, self.point)
            robust = self._weighted(weight, problem.design.gram(weight))
            best = min(squares, robust, key=lambda point: point.value)
        if through is not None and through.value < best.value:
            best = through
        if best.value <= self.point.value:
            self.point = best

    def _passing_through(self) -> Point | None:
        """Return a point with hardly any residuals, where parameters are enough and free."""
        problem = self.problem
        if len(problem.y) > len(problem.penalty) or problem.penalised():
            return None
        rows = problem.design.root(np.ones(len(problem.y)))
        if rows is None:
            return None
        cutoff = 16 * max(rows.shape) * np.finfo(float).eps
        theta = scipy.linalg.lstsq(
            rows, problem.y, cond=cutoff, check_finite=False, lapack_driver="gelsy"
        )[0]
        residual = problem.y - problem.design.predict(theta)
        return problem.point(theta, residual, problem.threshold)

    def _weighted(self, weight: AnyArray, gram: AnyArray) -> Point:
        """Return the point at, or on the way to, weighted least squares."""
        problem, point = self.problem, self.point
        slopes = problem.design.adjoint(weight * point.residual)
        inverse = problem.inverse(gram, weight)
        step = inverse(problem.penalty * point.theta - slopes)
        if problem.share:
            residual = point.residual + problem.design.predict(step)
            after = problem.point(point.theta - step, residual, point.threshold)
            if after.value < point.value:
                return after
        return _advance(problem, point, step, joint=False)[0]

    def interior(self) -> None:
        """Go to the solution by interior points, and from there to the corner beside it."""
        found = _interior_points(self.problem, self.point, self.gap)
        self.n_iter += found.n_iter
        problem, t = self.problem, found.threshold
        residual = problem.y - problem.design.predict(found.theta)
        near = problem.point(found.theta, residual, t)
        # The active rows by their multipliers, and by their distances, which tell better what a
        # small gap leaves.
        distance = np.abs(residual)
        hit = distance < max(t, _HIT * _typical(residual, problem.weight))
        sets = [found.active, hit]
        if np.count_nonzero(hit) > len(found.theta):  # more than a corner has: one is close by
            nearest = np.argpartition(distance, len(found.theta))[: len(found.theta)]
            sets.append(np.isin(np.arange(len(distance)), nearest))
        corner = min((self._corner(near, s, t) for s in sets), key=lambda point: point.value)
        if problem.share and t <= problem.threshold and corner.threshold < VANISHED * t:
            # It vanishes, and no longer follows residuals that are but rounding.
            self.problem = problem = replace(problem, share=0.0)
            near, corner = (problem.at(p.theta, p.residual, t) for p in (near, corner))
            self.point = near
        best = problem.differentiated(min(self.point, near, key=lambda point: point.value))
        # The corner is exact; what it gains on the interior rounding may hide.
        exact = corner.value < best.value or _is_flatter(problem, corner, best)
        self.point = corner if exact else best
        self.bound = near.value - found.gap

    def _corner(self, near: Point, active: AnyArray, t: float) -> Point:
        """Return the minimiser for a set of active rows, near a point."""
        problem = self.problem
        slopes = problem.weight * np.where(active, near.residual / t, np.sign(near.residual))
        gradient = problem.penalty * near.theta - problem.design.adjoint(slopes)
        theta = near.theta - self._inverse(active, t)(gradient)
        return problem.point(theta, problem.y - problem.design.predict(theta), t)

    def descend(self, max_iter: int, tol: float) -> Solution:
        """Take steps until the gradient and what is to gain are small."""
        majorize, may_go_inside, begun = False, self.bound == -np.inf, self.n_iter
        while True:
            consistent = joint = False
            problem, point = self.problem, self.problem.differentiated(self.point)
            if point.value <= _nothing(problem, point):  # F is nowhere below 0
                return self._solution(True)
            if not majorize:
                step, consistent, joint = self._newton_step(_GAIN * point.value)
            proved = point.value - self.bound <= _GAP * point.value
            flat = _is_flat(problem, point, tol)
            if proved and not (consistent or majorize):
                if not flat and self._closer(max_iter):
                    continue
                return self._solution(True)
            lost = not (consistent or majorize) or self.n_iter - begun >= _PATIENCE
            if lost and may_go_inside and self.n_iter < max_iter:
                may_go_inside = majorize = False
                self.interior()
                continue
            if not consistent:
                majorize = True
                weight = _majorizer(problem, point)
                step = problem.inverse(problem.design.gram(weight), weight)(point.gradient)
            promise = 0.5 * float(point.gradient @ step)  # the gain in the quadratic model
            if flat and not majorize and promise <= _GAIN * point.value:
                self._polish(step, promise)
                return self._solution(True)
            if self.n_iter >= max_iter:
                return self._solution(proved, "max_iter is reached")
            after, length = _advance(problem, point, step, joint)
            self.n_iter += 1
            descent = after.value < point.value or _is_flatter(problem, after, point)  # not for NaN
            if descent:
                self.point = after
                majorize = not majorize and length < 0.1
            elif majorize or flat or proved:
                if proved and not flat and self._closer(max_iter):
                    majorize = False
                    continue
                return self._solution(flat or proved, "rounding hides any descent")
            else:
                majorize = True

    def _closer(self, max_iter: int) -> bool:
        """Go on by interior points with a smaller gap; return False where that has been done."""
        if self.gap <= _LEAST_GAP or self.n_iter >= max_iter:
            return False
        self.gap *= _LESS
        bound = self.bound
        self.interior()
        self.bound = max(self.bound, bound)
        return True

    def _newton_step(self, gain: float) -> tuple[AnyArray, bool, bool]:
        """Return a step, whether it is one, and whether the threshold's curvature is in it."""
        point, t = self.point, self.point.threshold
        inverse = self._inverse(np.abs(point.residual) < t, t)
        step, consistent = inverse(point.gradient), inverse.holds(point.gradient, gain)
        if point.coupling is None:
            return step, consistent, False
        response = inverse(point.coupling)
        rest = point.curvature - float(point.coupling @ response)
        if not rest > 1e-9 * point.curvature:  # residuals and threshold may vanish together
            return step, False, False
        return step + response * (float(point.coupling @ step) / rest), consistent, True

    def _polish(self, step: AnyArray, promise: float) -> None:
        """Take a step, which is at hand, and those after it that promise much less.

        A step that meets no other active set than its own ends at the minimiser, or squares what
        is missing where the threshold is a variable.
        """
        for _ in range(_POLISH):
            self._take(step)
            problem, point = self.problem, self.point
            if np.array_equal(np.abs(point.residual) < point.threshold, self.active):
                return
            point = problem.at(point.theta, point.residual, point.threshold)
            self.point = problem.differentiated(point)
            step, consistent, _ = self._newton_step(_GAIN * point.value)
            before, promise = promise, 0.5 * float(self.point.gradient @ step)
            if not (consistent and promise <= 0.25 * before):
                return

    def _take(self, step: AnyArray) -> None:
        """Take a small step, without another look at the objective."""
        problem, point = self.problem, self.point
        point.theta = point.theta - step
        point.residual = point.residual + problem.design.predict(step)
        if problem.share:
            point.threshold = problem.best_threshold(point.residual, point.threshold)

    def _solution(self, converged: bool, message: str = "") -> Solution:
        point = self.point
        return Solution(
            point.theta, point.residual, point.threshold, self.n_iter, converged, message
        )

    def _inverse(self, active: AnyArray, threshold: float) -> Inverse:
        """Divide by the Hessian by theta, with the Gram matrix brought up to date."""
        design, weight = self.problem.design, self.problem.weight
        joined = np.flatnonzero(active & ~self.active)
        left = np.flatnonzero(self.active & ~active)
        if len(joined) + len(left) < np.count_nonzero(active):
            if len(joined):
                self.gram += design.gram(weight[joined], joined)
            before = np.diag(self.gram).copy()
            if len(left):
                self.gram -= design.gram(weight[left], left)
            lost = np.diag(self.gram) < 1e-6 * before
        else:
            lost = np.ones(1, bool)
        if lost.any():  # all, or digits of a feature that the rows that left had most of
            rows = np.flatnonzero(active)
            self.gram = design.gram(weight[rows], rows)
        self.active = active
        curvatures = np.where(active, weight / threshold, 0.0)
        return self.problem.inverse(self.gram / threshold, curvatures)


def _active_part(problem: Problem, point: Point) -> float:
    """Return the part of the weight that belongs to active rows."""
    active = np.abs(point.residual) < point.threshold
    return float(problem.weight @ active) / float(problem.weight.sum())


def _typical(residual: AnyArray, weight: AnyArray) -> float:
    """Return the median distance from 0 of residuals that are hardly 0; 1 for none."""
    distance = np.abs(residual)
    kept = distance > 1e-6 * float(weight @ distance) / float(weight.sum())
    if not kept.any():
        return 1.0
    return float(huber_location(distance[kept], 0.0, sample_weight=weight[kept]))


def _is_flat(problem: Problem, point: Point, tol: float) -> bool:
    """Return whether the gradient is below ``tol``, or what the rounding of residuals makes it."""
    rest = (float(np.abs(point.gradient).max()) - tol) * point.threshold
    eps = 4 * problem.design.eps
    largest = float(problem.weight.sum()) * (problem.largest + point.threshold)
    if rest <= 0.0 or rest > eps * largest:
        return rest <= 0.0
    distance = np.abs(point.residual)
    size = np.where(distance < point.threshold, np.abs(problem.y) + distance, 0.0)
    return rest <= eps * float(problem.weight @ size)


def _nothing(problem: Problem, point: Point) -> float:
    """Return what residuals that are but rounding add to the objective."""
    rounding = 64 * problem.design.eps
    return float(problem.weight.sum()) * rounding * min(1.0, rounding / point.threshold)


def _is_flatter(problem: Problem, after: Point, before: Point) -> bool:
    """Return whether the gradient halves, where rounding hides which value is less."""
    hidden = max(_ROUNDING * before.value, problem.rounding)
    if not after.value <= before.value + hidden:
        return False
    size = float(np.abs(problem.differentiated(after).gradient).max())
    return size <= 0.5 * float(np.abs(before.gradient).max())


def _majorizer(problem: Problem, point: Point) -> AnyArray:
    """Weights of the least-squares problem that touches F at the residuals and lies above."""
    return problem.weight / np.maximum(np.abs(point.residual), point.threshold)


class Inverse:
    """A positive semidefinite matrix, of which the lower triangle is read, as a divisor.

    Where it is singular to rounding its root decides: a matrix whose square it is, given by
    rows, that has twice the digits. Rows far out and features that nearly depend on each other
    are told from such as do.
    """

    def __init__(self, matrix: AnyArray, root: Callable[[], AnyArray | None]) -> None:
        self._scale = np.sqrt(np.maximum(np.diag(matrix), 0.0))
        self._scale[self._scale == 0.0] = 1.0
        matrix = matrix / self._scale / self._scale[:, np.newaxis]
        self._least = cutoff = len(matrix) * 16 * np.finfo(float).eps
        self.singular = False
        self._factor: AnyArray | None = None
        try:
            factor = scipy.linalg.cholesky(matrix, lower=True, check_finite=False)
            if np.diag(factor).min() ** 2 > cutoff:
                self._factor = factor
                return
        except scipy.linalg.LinAlgError:
            pass
        rows = root()
        if rows is None:
            values, vectors = scipy.linalg.eigh(matrix, check_finite=False)
        else:
            (triangle,) = scipy.linalg.qr(rows / self._scale, mode="r", check_finite=False)
            _, values, vectors = scipy.linalg.svd(
                triangle[: len(matrix)], full_matrices=False, check_finite=False
            )
            vectors = vectors.T
            cutoff *= cutoff
            values *= values
        kept = values > cutoff * values.max(initial=0.0)
        self.singular = bool(np.count_nonzero(kept) < len(matrix))
        self._values, self._vectors = values[kept], vectors[:, kept]

    def __call__(self, right: AnyArray) -> AnyArray:
        """Return the solution of least norm; of least squares where there is none."""
        right = right / self._scale
        if self._factor is None:
            solution = self._vectors @ ((self._vectors.T @ right) / self._values)
        else:
            solution = scipy.linalg.cho_solve((self._factor, True), right, check_finite=False)
        return np.asarray(solution / self._scale)

    def holds(self, right: AnyArray, gain: float) -> bool:
        """Return whether there is a solution, but for what promises less than ``gain``."""
        if not self.singular:
            return True
        right = right / self._scale
        missed = right - self._vectors @ (self._vectors.T @ right)
        return bool(missed @ missed <= self._least * gain)


def _advance(problem: Problem, point: Point, step: AnyArray, joint: bool) -> tuple[Point, float]:
    """Return the point after a step against ``step``, and the length taken.

    A step of length 1 is tried first if it knows of the threshold's change (``joint``);
    otherwise the length is that which is best for the threshold of the point.
    """
    change = problem.design.predict(step)
    if joint and point.coupling is not None:
        after = problem.point(point.theta - step, point.residual + change, point.threshold)
        least = point.value - 1e-4 * float(point.gradient @ step)
        if after.value <= least + _ROUNDING * point.value:
            return after, 1.0
    length = _line_search(problem, point, change, step)
    after = problem.point(
        point.theta - length * step, point.residual + length * change, point.threshold
    )
    return after, length


def _line_search(problem: Problem, point: Point, change: AnyArray, step: AnyArray) -> float:
    """Return the s that minimises F(theta - s step, t), whose derivative is piecewise linear.

    Newton's method on the derivative, which ends once it meets the right piece, within a
    bracket.
    """
    penalty = problem.penalty * step
    slope_at_0, curvature_of_penalty = -float(penalty @ point.theta), float(penalty @ step)
    direction = -change
    low, high, s = 0.0, np.inf, 1.0
    for _ in range(100):
        slope, curvature = core.line_derivatives(
            point.residual, direction, problem.weight, s, point.threshold
        )
        slope += slope_at_0 + s * curvature_of_penalty
        curvature += curvature_of_penalty
        if slope < 0:
            low = s
        else:
            high = s
        after = s - slope / curvature if curvature > 0 else np.inf
        if high == np.inf:
            after = min(after, 8 * s)
        elif not low <= after <= high:
            after = 0.5 * (low + high)
        if abs(after - s) <= 1e-13 * s:
            return after
        s = after
    return s


@dataclass(slots=True)
class _Inside:
    """Where interior points ended."""

    theta: AnyArray
    threshold: float
    active: AnyArray
    gap: float  # between F and its dual
    n_iter: int


def _interior_points(problem: Problem, point: Point, enough: float) -> _Inside:
    """Return the solution but for a gap of ``enough``, as a part of F, from any point.

    Mehrotra's predictor and corrector for the saddle point, in theta and t and in slopes a, of

        sum_i w_i (a_i r_i - t a_i**2 / 2) + share t / 2 + theta' P theta / 2,   -1 <= a_i <= 1,

    with multipliers u and v of the two bounds, and one of the least threshold if t is a variable;
    as Portnoy and Koenker have it for t = 0.
    """
    design, weight, y, least = problem.design, problem.weight, problem.y, problem.threshold
    theta, residual, t = point.theta, point.residual, point.threshold
    free = bool(problem.share)
    slope = np.zeros_like(residual)
    below, above = slope + 1.0, slope + 1.0  # the distances from the bounds, to full precision
    start = 0.1 * _typical(residual, weight)
    if free:
        t = max(t, start, 2.0 * least)  # inside, too
    u, v = np.maximum(residual, 0.0) + start, np.maximum(-residual, 0.0) + start
    total = 2.0 * float(weight.sum()) + free
    # How far t is above the least one, and the multiplier of that.
    over, spare = t - least, start * total / t if free else 0.0
    steps = 0
    while steps < _INTERIOR_STEPS:
        gap = float(weight @ (u * above + v * below)) + spare * over
        if gap <= enough * float(weight @ np.abs(residual)):
            break
        steps += 1
        ratio_u, ratio_v = u / above, v / below
        share = 1.0 / (t + ratio_u + ratio_v)
        inverse = problem.inverse(design.gram(weight * share), weight * share)
        bent = weight * share * slope
        if free:
            coupling = design.adjoint(bent)
            response = inverse(coupling)
            curvature = float(bent @ slope) + spare / over
            curvature = max(curvature - float(coupling @ response), 1e-12 * curvature)
            slack = 0.5 * (problem.share - float(weight @ (slope * slope)))
        left = residual - t * slope
        to_u = to_v = np.zeros(())
        to_spare = d_t = d_spare = 0.0
        for corrected in (False, True):
            target = left - to_u + to_v
            right = design.adjoint(weight * (slope + share * target)) - problem.penalty * theta
            d_theta = inverse(right)
            if free:
                d_t = float(bent @ target) - slack + to_spare - float(coupling @ d_theta)
                d_t /= curvature
                d_theta = d_theta - d_t * response
                d_spare = to_spare - spare - spare / over * d_t
            d_slope = share * (target - design.predict(d_theta) - d_t * slope)
            d_u, d_v = to_u - u + ratio_u * d_slope, to_v - v - ratio_v * d_slope
            length = min(
                _longest(below, d_slope),
                _longest(above, -d_slope),
                _longest(u, d_u),
                _longest(v, d_v),
                _longest(np.array([over, spare]), np.array([d_t, d_spare])) if free else np.inf,
            )
            if corrected:
                break
            length = min(1.0, length)
            left_over = float(
                weight @ ((u + length * d_u) * (above - length * d_slope))
                + weight @ ((v + length * d_v) * (below + length * d_slope))
            ) + (spare + length * d_spare) * (over + length * d_t)
            centre = gap / total * (left_over / gap) ** 3
            to_u, to_v = (centre + d_u * d_slope) / above, (centre - d_v * d_slope) / below
            to_spare = (centre - d_spare * d_t) / over if free else 0.0
        length = min(1.0, 0.9995 * length)
        if not length > 1e-8:  # NaN included
            break
        theta = theta + length * d_theta
        over, spare = over + length * d_t, spare + length * d_spare
        t = least + over if free else t
        slope, u, v = slope + length * d_slope, u + length * d_u, v + length * d_v
        below, above = below + length * d_slope, above - length * d_slope
        residual = y - design.predict(theta)
    missed = np.abs(design.adjoint(weight * slope) - problem.penalty * theta).max()
    if not (gap <= enough * float(weight @ np.abs(residual)) and missed <= _MISSED):
        gap = np.inf
    scale = _typical(residual, weight)
    active = (u < scale * above) & (v < scale * below)
    return _Inside(theta, least if over < scale * spare else t, active, gap, steps)


def _longest(positive: AnyArray, change: AnyArray) -> float:
    """Return the longest step that keeps ``positive`` so."""
    with np.errstate(divide="ignore", invalid="ignore"):
        lengths = np.where(change < 0.0, -positive / change, np.inf)
    return float(lengths.min())


def lbfgs(problem: Problem, theta: AnyArray, max_iter: int, tol: float) -> Solution:
    """L-BFGS, then Newton steps by conjugate gradients: for many features, without a Hessian.

    The line search of L-BFGS compares values of F, in which rounding hides what a gradient
    below about 1e-7 still promises.
    """
    guess = problem.guess()
    if not theta.any() and len(theta) > len(problem.y) and not problem.penalised():
        theta = _least_squares(problem)

    def value_and_grad(theta: AnyArray) -> tuple[float, AnyArray]:
        nonlocal guess
        residual = problem.y - problem.design.predict(theta)
        point = problem.differentiated(problem.point(theta, residual, guess))
        guess = point.threshold
        return point.value, point.gradient

    result = scipy.optimize.minimize(
        value_and_grad,
        theta,
        method="L-BFGS-B",
        jac=True,
        options={"maxiter": max_iter, "maxfun": 20 * max_iter, "gtol": tol, "ftol": 0.0},
    )
    n_iter = int(result.nit)
    residual = problem.y - problem.design.predict(result.x)
    point = problem.differentiated(problem.point(result.x, residual, guess))
    converged = False
    while True:
        step, solved = _conjugate_gradients(problem, point)
        promise = 0.5 * float(point.gradient @ step)
        size = float(np.abs(point.gradient).max())
        if solved and promise <= _GAIN * point.value + _nothing(problem, point):
            converged = converged or _is_flat(problem, point, tol)
        if result.status == 1 or size <= 1e-7 * tol:  # 1: max_iter is reached
            break
        after, _ = _advance(problem, point, step, joint=True)
        residual = problem.y - problem.design.predict(after.theta)
        after = problem.differentiated(problem.point(after.theta, residual, after.threshold))
        if not np.abs(after.gradient).max() <= 0.5 * size:  # true for NaN, too
            break
        point, n_iter = after, n_iter + 1
    return Solution(
        point.theta, point.residual, point.threshold, n_iter, converged, str(result.message)
    )


def _least_squares(problem: Problem) -> AnyArray:
    """Return parameters of small norm that leave no residuals, where there are such."""
    design = problem.design
    Z = scipy.sparse.linalg.LinearOperator(
        (len(problem.y), len(problem.penalty)),
        matvec=lambda v: design.predict(np.ravel(v)),
        rmatvec=lambda v: design.adjoint(np.ravel(v)),
        dtype=np.float64,
    )
    return np.asarray(scipy.sparse.linalg.lsmr(Z, problem.y, atol=0.0, btol=0.0, conlim=0.0)[0])


def _conjugate_gradients(problem: Problem, point: Point) -> tuple[AnyArray, bool]:
    """Solve for a Newton step, roughly, with products by the Hessian of G alone.

    A singular Hessian whose range does not hold the gradient has directions without curvature,
    by which nothing can be divided: the step is what was found before the first of them. The
    second value tells whether it is all of a step.
    """
    design, t, gradient, coupling = problem.design, point.threshold, point.gradient, point.coupling
    weight = np.where(np.abs(point.residual) < t, problem.weight / t, 0.0)

    def product(v: AnyArray) -> AnyArray:
        result = design.adjoint(weight * design.predict(v)) + problem.penalty * v
        if coupling is not None:
            result -= coupling * (float(coupling @ v) / point.curvature)
        return np.asarray(result)

    step = np.zeros_like(gradient)
    rest, direction = gradient.copy(), gradient.copy()
    square = float(rest @ rest)
    enough = 1e-12 * square
    for _ in range(2 * len(gradient)):
        bent = product(direction)
        curvature = float(direction @ bent)
        if not curvature > 1e-15 * float(direction @ direction):
            break
        step += (square / curvature) * direction
        rest -= (square / curvature) * bent
        before, square = square, float(rest @ rest)
        if square <= enough:
            break
        direction = rest + (square / before) * direction
    return step, square <= max(enough, 16 * np.finfo(float).eps * len(step) * _GAIN * point.value)
