"""Calls of the library as plain data: how to make them, and what they must give.

A `Case` says everything about a call and holds no array, so that it can be drawn, printed
and sent to a process that runs another instruction set (``python -m tests.cases``).
"""

import math
import pickle
import sys
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np

try:
    import ml_dtypes  # registers bfloat16 by that name
except ImportError:
    ml_dtypes = None

import smoothl1

# The reference computes in this; it has to be wider than float64, in range as well.
WIDE = np.longdouble
FLOAT64_MAX = WIDE(np.finfo(np.float64).max)


@dataclass(frozen=True)
class View:
    """An array of random values, somewhere in memory."""

    shape: tuple[int, ...]
    dtype: str
    values: str = "normal"  # a key of VALUES
    seed: int = 0
    memory: int | None = None  # views of one number share memory
    shift: int = 0  # bytes in front of the view
    order: tuple[int, ...] | None = None  # axes, the fastest in memory last
    steps: tuple[int, ...] | None = None  # 0 repeats an element, negative steps go down
    gaps: tuple[int, ...] | None = None  # bytes between the steps of an axis

    def layout(self):
        """Return strides, bytes in front of the first element, and bytes in all."""
        ndim, unit = len(self.shape), np.dtype(self.dtype).itemsize
        order, steps, gaps = (
            self.order or range(ndim),
            self.steps or (1,) * ndim,
            self.gaps or (0,) * ndim,
        )
        strides, start, end = [0] * ndim, 0, unit
        for axis in reversed(order):
            stride = unit * abs(steps[axis]) + gaps[axis] if steps[axis] else 0
            reach = stride * max(self.shape[axis] - 1, 0)
            strides[axis] = stride if steps[axis] > 0 else -stride
            start += reach if steps[axis] < 0 else 0
            end += reach
            unit = max(unit, stride * self.shape[axis])
        return tuple(strides), start, end


@dataclass(frozen=True)
class Case:
    """One call. Numbers stand for themselves, a `View` for an array."""

    function: str  # "loss", "grad", "value_and_grad", "grad_hess", "path", "location"
    input: View | float
    target: View | float = 0.0
    threshold: Any = 1.0  # for "path" a tuple of numbers
    reduction: str = "mean"
    huber: bool = False
    weight: View | float | None = None
    where: View | None = None
    factor: View | float | None = None
    axis: Any = None
    out: tuple[View, ...] = ()
    hessian: str = "exact"
    n_threads: int | None = None


OPERANDS = ("input", "target", "threshold", "weight", "where", "factor")


def is_float(dtype):
    """Whether a dtype is a floating-point one, bfloat16 among them."""
    return dtype.kind == "f" or dtype.name == "bfloat16"


def finfo(dtype):
    """``np.finfo``, of bfloat16, too."""
    return ml_dtypes.finfo(dtype) if dtype.name == "bfloat16" else np.finfo(dtype)


def _special(rng, shape, dtype):
    info = finfo(dtype if is_float(dtype) else np.dtype(float))
    tiny, large = info.smallest_subnormal, info.max
    choice = [np.nan, np.inf, -np.inf, 0, -0.0, tiny, -tiny, info.tiny, large, -large, 0.5, 1, -1]
    return rng.choice(np.array(choice, float), shape)


def _near_the_end(rng, shape, dtype):
    large = float(finfo(dtype).max) if is_float(dtype) else 1e18
    return rng.uniform(-0.25, 0.25, shape) * large


def _subnormal(rng, shape, dtype):
    tiny = float(finfo(dtype).smallest_subnormal) if is_float(dtype) else 1.0
    return rng.integers(-5, 6, shape) * tiny


VALUES = {
    "normal": lambda rng, shape, dtype: 2 * rng.standard_normal(shape),
    "many scales": lambda rng, shape, dtype: (
        rng.standard_normal(shape) * 10.0 ** rng.uniform(-20, 20, shape)
    ),
    "ties": lambda rng, shape, dtype: rng.integers(-4, 5, shape) / 2,
    "near the end": _near_the_end,
    "subnormal": _subnormal,
    "special": _special,
    "positive": lambda rng, shape, dtype: rng.uniform(0, 3, shape),
    "counts": lambda rng, shape, dtype: rng.integers(0, 3, shape),
    "threshold": lambda rng, shape, dtype: rng.choice(
        [0, 1e-30, 0.25, 0.37, 0.5, 1, 1.35, 2, 1e4, np.inf], shape
    ),
    "often": lambda rng, shape, dtype: rng.uniform(size=shape) < 0.8,
    "seldom": lambda rng, shape, dtype: rng.uniform(size=shape) < 0.1,
}


def _fill(a, view):
    rng = np.random.default_rng(view.seed)
    dtype = a.dtype
    values = np.asarray(VALUES[view.values](rng, a.shape, dtype.newbyteorder("=")))
    with np.errstate(all="ignore"):
        if dtype.kind in "iu":
            top = np.iinfo(dtype).max
            low = np.iinfo(dtype).min
            values = np.nan_to_num(values.astype(float)).clip(float(low), float(top))
            # float(top) may be top + 1
            values = np.where(values >= float(top), top, values.astype(dtype.newbyteorder("=")))
        a[...] = values


class Arena:
    """The arrays of a case and all of the memory that they are in."""

    def __init__(self, case):
        views = {name: getattr(case, name) for name in OPERANDS}
        views |= {f"out{i}": view for i, view in enumerate(case.out)}
        self.arrays = dict(views)
        views = {name: view for name, view in views.items() if isinstance(view, View)}
        groups = {
            name: name if view.memory is None else view.memory for name, view in views.items()
        }
        sizes: dict[Any, int] = {}
        for name, view in views.items():
            size = view.shift + view.layout()[2]
            sizes[groups[name]] = max(size, sizes.get(groups[name], 0))
        self.memory = {}
        for group, size in sizes.items():
            raw = np.zeros(size + 256, np.uint8)
            start = -raw.ctypes.data % 64 + 64
            self.memory[group] = raw[start : start + size + 64]
        # Bools last: any byte but 0 and 1 is no bool.
        for name, view in sorted(views.items(), key=lambda pair: pair[1].dtype == "?"):
            strides, start, _ = view.layout()
            a = np.ndarray(
                view.shape, view.dtype, self.memory[groups[name]], view.shift + start, strides
            )
            if 0 not in a.shape:
                _fill(a, view)
            self.arrays[name] = a
        self.groups = groups

    def bytes(self):
        """Return a copy of all of the memory."""
        return {group: raw.copy() for group, raw in self.memory.items()}

    def copies(self):
        """Return native C-ordered copies of the arrays."""
        return {
            name: np.array(a, a.dtype.newbyteorder("="), order="C", copy=True)
            if isinstance(a, np.ndarray)
            else a
            for name, a in self.arrays.items()
        }


def call(case, arrays):
    """Make the call; return its results as a tuple of arrays and the warnings."""
    out = tuple(arrays[f"out{i}"] for i in range(len(case.out)))
    options = {"n_threads": case.n_threads}
    for name in ("weight", "where"):
        if arrays[name] is not None:
            options[name] = arrays[name]
    prefix = "huber" if case.huber else "smooth_l1"
    x, y = arrays["input"], arrays["target"]
    if case.function == "location":
        weights = arrays["weight"]
        return (smoothl1.huber_location(x, arrays["threshold"], sample_weight=weights),), []
    if case.function == "grad_hess":
        if out:
            options["out"] = out
        function, arguments = smoothl1.smooth_l1_grad_hess, (x, y, arrays["threshold"])
        options["hessian"] = case.hessian
    elif case.function == "path":
        function = smoothl1.smooth_l1_path
        arguments = (x, y, list(case.threshold), case.reduction)
    else:
        function = getattr(smoothl1, f"{prefix}_{case.function}")
        arguments = (x, y, case.reduction, arrays["threshold"])
        if out:
            options["out"] = out[0]
        if case.axis is not None:
            options["axis"] = case.axis
        if arrays["factor"] is not None:
            options["grad_output"] = arrays["factor"]
    with warnings.catch_warnings(record=True) as record:
        warnings.simplefilter("always")
        results = function(*arguments, **options)
    if out:
        last = results if case.function == "grad_hess" else (results,)
        last = results[1:] if case.function == "value_and_grad" else last
        assert all(a is b for a, b in zip(last, out, strict=True))
    if not isinstance(results, tuple):
        results = (results,)
    return results, [str(w.message) for w in record]


def bits(a):
    """Return dtype, shape and bytes. Which NaN it is, and its sign, are no part of a value."""
    native = np.array(a, np.asarray(a).dtype.newbyteorder("="), order="C")
    native[np.isnan(native)] = np.nan
    return a.dtype.str, a.shape, native.tobytes()


def outcome(case, arrays):
    """Return what a call gives, comparable by ``==``: bits, or an error."""
    try:
        results, warned = call(case, arrays)
    except (ValueError, TypeError) as error:
        return type(error).__name__, str(error)
    return [bits(a) for a in results], warned


def by_functions(name, x, y, threshold):
    """Return what a ufunc is to give for arrays of one floating-point dtype, by the functions."""
    huber = name.startswith("huber")
    x, y, b = np.broadcast_arrays(x, y, threshold)
    good = b > 0 if huber else b >= 0
    b = np.where(good, b, b.dtype.type(1))
    if name == "huber_curvature":
        with np.errstate(all="ignore"):
            z = abs(x - y)
        result = np.where(np.isnan(z), z, z < b)
    elif name.endswith("_curvature"):
        result = smoothl1.smooth_l1_grad_hess(x, y, b)[1]
    else:
        kind = "grad" if name.endswith("_slope") else "loss"
        prefix = "huber" if huber else "smooth_l1"
        result = getattr(smoothl1, f"{prefix}_{kind}")(x, y, "none", b)
    return np.where(good, result, np.nan).astype(x.dtype)


# ---------------------------------------------------------------------------
# What it must give
# ---------------------------------------------------------------------------


def result_dtype(input, target):
    """NumPy's promotion; Python numbers are weak, integers count as float64.

    bfloat16 with another is float32: with float16 NumPy knows no common one.
    """
    operands = [a for a in (input, target) if isinstance(a, np.ndarray)] or [np.empty(0)]
    dtypes = {a.dtype.newbyteorder("=") if is_float(a.dtype) else np.dtype(float) for a in operands}
    if len(dtypes) > 1:
        dtypes = {np.dtype("f4") if a.name == "bfloat16" else a for a in dtypes}
    return np.result_type(*dtypes)


class Expected:
    """Bounds of each result, in a wide type, by the formulas of docs/reference/promises.md."""

    def __init__(self, case, arrays):
        self.case = case
        x, y = arrays["input"], arrays["target"]
        self.shape = np.shape(x) or np.shape(y)
        self.dtype = result_dtype(x, y)
        self.working = np.dtype(np.float32) if self.dtype.itemsize == 2 else self.dtype
        info = np.finfo(self.working)
        self.eps, self.tiny, self.max = WIDE(info.eps), WIDE(info.smallest_subnormal), info.max
        with np.errstate(all="ignore"):
            d = np.subtract(self.rounded(x), self.rounded(y))
            self.d = np.broadcast_to(d, self.shape).astype(WIDE)
            self.z = abs(self.d)
            self.weight = self.operand(arrays["weight"], 1.0)
            self.factor = self.operand(arrays["factor"], 1.0)
        where = arrays["where"]
        self.where = np.broadcast_to(True if where is None else where, self.shape)
        self.threshold = arrays["threshold"]

    def rounded(self, a):
        """In the working dtype."""
        with np.errstate(all="ignore"):
            return np.asarray(a).astype(self.working)

    def operand(self, a, default):
        a = self.rounded(default if a is None else a).astype(WIDE)
        return np.broadcast_to(a, self.shape)

    def error(self, arrays):
        """Return what the message of the error says, None for none."""
        case = self.case
        name = "delta" if case.huber else "beta"
        with np.errstate(invalid="ignore"):  # a signalling NaN
            thresholds = np.asarray(self.threshold, np.float64)
        if not (thresholds > 0 if case.huber else thresholds >= 0).all():
            return f"{name} must be >"
        if case.huber and thresholds.size and self.rounded(thresholds).min() == 0:
            return "delta must be > 0 in float32"
        if case.function == "path" and not case.threshold:
            return None  # nothing to divide
        if case.reduction == "weighted_mean" and (self.divisors() == 0).any():
            return "weight must not sum to 0"
        # What is hard to rule out counts as shared.
        if len(case.out) == 2 and np.may_share_memory(arrays["out0"], arrays["out1"], 1):
            return "must not share memory"
        return None

    def beta(self, threshold):
        return np.broadcast_to(self.rounded(threshold).astype(WIDE), self.shape)

    def losses(self, threshold):
        beta, z = self.beta(threshold), self.z
        half = np.where(np.isinf(beta), 0, beta / 2)
        if self.case.huber:
            return np.where(z < beta, z * z / 2, beta * (z - half))
        return np.where(z < beta, z * z / (2 * beta), z - half)

    def slopes(self):
        beta, d = self.beta(self.threshold), self.d
        if self.case.huber:
            return np.clip(d, -beta, beta)
        return np.where(self.z < beta, d / beta, np.sign(d))

    def curvatures(self):
        beta, z = self.beta(self.threshold), self.z
        if self.case.hessian == "majorizer":
            return 1 / np.maximum(z, beta)
        return np.where(np.isnan(z), z, np.where(z < beta, 1 / beta, 0))

    def axes(self):
        """Return the axes that are reduced."""
        ndim = len(self.shape)
        if self.case.axis is None:
            return tuple(range(ndim))
        return tuple(axis % ndim for axis in np.atleast_1d(np.array(self.case.axis, int)))

    def rows(self, a):
        """Return a as (outputs, elements of an output), and the shape of the outputs."""
        reduced = sorted(self.axes())
        kept = [axis for axis in range(a.ndim) if axis not in reduced]
        shape = tuple(a.shape[axis] for axis in kept)
        elements = math.prod(a.shape[axis] for axis in reduced)
        return a.transpose(kept + reduced).reshape(math.prod(shape), elements), shape

    def divisors(self):
        """Return what each output of the reduction is divided by."""
        if self.case.reduction == "mean":
            return np.count_nonzero(self.rows(self.where)[0], axis=1).astype(WIDE)
        if self.case.reduction == "weighted_mean":
            weights = np.where(self.where, self.weight, 0)
            return np.array([exact_sum(row) for row in self.rows(weights)[0]], WIDE)
        return np.ones(len(self.rows(self.where)[0]), WIDE)

    def elementwise(self, values, *factors, ulps):
        """Return bounds of values times factors; not bound near the end of the range."""
        spread = WIDE(1)
        largest = abs(values)
        vanishing = False  # 0 in the working dtype, which an infinite factor tells
        for factor in factors:
            vanishing |= np.isinf(factor) & (values != 0) & (abs(values) < self.tiny)
            largest = largest * np.maximum(1, abs(factor))
            spread = spread * np.maximum(1, abs(factor))
            values = values * factor
        free = vanishing | np.isfinite(largest) & (largest > WIDE(self.max) / 16)
        spread = np.where(np.isfinite(spread), spread, 1)
        slack = np.where(self.where, ulps * (self.eps * abs(values) + self.tiny * spread), 0)
        return self.bounds(np.where(self.where, values, 0), slack, free & self.where)

    def reduced(self, threshold):
        """Return bounds of the reduced loss."""
        losses = np.where(self.where, self.losses(threshold), 0)
        weight = np.where(self.where, self.weight, 0)
        terms = np.where(self.where, losses * weight, 0)
        limit = WIDE(self.max) / 16
        extreme = np.isfinite(losses) & (losses * np.maximum(1, abs(weight)) > limit)
        # Subnormal losses may be 0 in the working dtype, which an infinite weight tells.
        extreme |= ~np.isfinite(weight) & (losses != 0) & (losses < self.tiny * WIDE(2) ** 60)
        rows, shape = self.rows(terms)
        values, slack, free = [], [], []
        for row, wild, weights in zip(
            rows, self.rows(extreme)[0], self.rows(abs(weight))[0], strict=True
        ):
            size = abs(row).sum()
            largest = weights.max(initial=1, where=np.isfinite(weights))
            values.append(exact_sum(row))
            slack.append(6 * self.eps * size + 8 * len(row) * self.tiny * largest)
            # Sums overflow where those of float64 do, that of the weights included.
            sums = np.array([size, weights.sum()])
            free.append(wild.any() or (np.isfinite(sums) & (sums > FLOAT64_MAX / 16)).any())
        divisors = self.divisors()
        free = np.array(free, bool) | self.ill_conditioned()
        means = np.array(values, WIDE) / divisors
        slack = np.array(slack, WIDE) / abs(divisors) + self.eps * abs(means) + self.tiny
        lo, hi, free = self.bounds(means, slack, free)
        return tuple(a.reshape(shape) for a in (lo, hi, free))

    def ill_conditioned(self):
        """Whether weights of both signs, or infinite ones, divide the loss."""
        if self.case.reduction != "weighted_mean":
            return False
        weights = np.where(self.where, self.weight, 0)
        return bool((weights < 0).any() or not np.isfinite(weights).all())

    def bounds(self, values, slack, free):
        finite = np.isfinite(values)
        with np.errstate(all="ignore"):
            return (
                np.where(finite, values - slack, values),
                np.where(finite, values + slack, values),
                np.broadcast_to(free, values.shape),
            )

    def results(self):
        """Return for each result its bounds, where it is free of them, and its dtypes.

        What is reduced is rounded to the dtype of the result even if ``out`` is wider.
        """
        case = self.case
        one, both = (self.working,), (self.working, self.dtype)
        with np.errstate(all="ignore"):
            if case.function == "path":
                path = [self.reduced(beta) for beta in case.threshold]
                bounds = tuple(
                    np.array([parts[i] for parts in path], kind).reshape(len(path))
                    for i, kind in enumerate((WIDE, WIDE, bool))
                )
                return [(bounds, both)]
            if case.function == "grad_hess":
                return [
                    (self.elementwise(self.slopes(), self.weight, ulps=4), one),
                    (self.elementwise(self.curvatures(), self.weight, ulps=4), one),
                ]
            found = []
            if case.function != "grad":
                if case.reduction == "none":
                    losses = self.losses(self.threshold)
                    found.append((self.elementwise(losses, self.weight, ulps=4), one))
                else:
                    found.append((self.reduced(self.threshold), both))
            if case.function != "loss":
                divisor = WIDE(1) if case.reduction == "none" else self.divisors()[0]
                scale = 1 / divisor if divisor != 0 else WIDE(0)
                free = self.ill_conditioned() or not np.isfinite(float(scale))
                free |= divisor > FLOAT64_MAX / 16  # as in reduced()
                factors = (scale * self.factor, self.weight)
                lo, hi, anyway = self.elementwise(self.slopes(), *factors, ulps=6)
                found.append(((lo, hi, anyway | free), one))
            return found

    def warns(self):
        """Whether a mean over nothing is told."""
        case = self.case
        if case.reduction != "mean" or case.function in ("grad", "grad_hess"):
            return False
        return bool((self.divisors() == 0).any()) and not (
            case.function == "path" and not case.threshold
        )


def exact_sum(terms):
    """The sum of wide terms, rounded once to float64; NaN and infinities as they add up."""
    with np.errstate(all="ignore"):
        if not np.isfinite(terms).all() or abs(terms).sum() > FLOAT64_MAX / 4:
            return terms.sum()
        high = terms.astype(np.float64)
        low = (terms - high).astype(np.float64)
        return WIDE(math.fsum([*high.tolist(), *low.tolist()]))


def within(got, bounds, dtypes):
    """Whether each element of a result lies within its bounds, rounded as it is rounded."""
    lo, hi, free = bounds
    got = np.asarray(got)
    with np.errstate(all="ignore"):
        for dtype in (*dtypes, got.dtype.newbyteorder("=")):
            lo, hi = np.asarray(lo).astype(dtype), np.asarray(hi).astype(dtype)
        nan = np.isnan(lo) | np.isnan(hi)
        return free | np.where(nan, np.isnan(got), (lo <= got) & (got <= hi))


def serve():
    """Read pickled cases from standard input, answer with pickled outcomes."""
    while True:
        try:
            case = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        pickle.dump(outcome(case, Arena(case).arrays), sys.stdout.buffer)
        sys.stdout.flush()


if __name__ == "__main__":
    from tests import cases  # the classes that are pickled are those of the module

    cases.serve()
