"""A hash of every function's results, to be compared over instruction sets, machines and time.

``python -m tests.digest`` prints them, a line for each function, and fails where one or one of its
parameters is missing; ``python -m tests.digest --store`` writes them to ``tests/digest.txt``, with
which ``tests/test_simd.py`` compares each instruction set (``SMOOTHL1_SIMD`` is read at import,
hence a process each).

Inputs are made by exact operations on integers, so that neither libm nor the generators of the
installed NumPy have a part in the value.
"""

import functools
import hashlib
import inspect
import sys
import warnings
from pathlib import Path

import numpy as np

import smoothl1
from smoothl1 import _simd, ufuncs
from smoothl1.boosting import SmoothL1Objective
from smoothl1.compat import fvcore_smooth_l1_loss, torch_smooth_l1_loss

STORED = Path(__file__).with_suffix(".txt")
core = _simd.core

# What computes; metrics and estimators need scikit-learn, and the means over outputs of the former
# are NumPy's.
FUNCTIONS = {
    **{name: getattr(smoothl1, name) for name in smoothl1.__all__},
    "fvcore_smooth_l1_loss": fvcore_smooth_l1_loss,
    "torch_smooth_l1_loss": torch_smooth_l1_loss,
    "SmoothL1Objective": SmoothL1Objective,
    **{
        f"exact.{name}": functools.partial(getattr(smoothl1, name), exact=True)
        for name in ("smooth_l1_loss", "huber_loss", "smooth_l1_path")
    },
    "core.line_derivatives": core.line_derivatives,
    "core.as_bfloat16": core.as_bfloat16,
    **{f"ufuncs.{name}": getattr(ufuncs, name) for name in ufuncs.__all__},
}
for settings in ("__version__", "get_num_threads", "num_threads", "set_num_threads", "show_config"):
    del FUNCTIONS[settings]
PARAMETERS = {
    name: list(inspect.signature(function).parameters)
    for name, function in FUNCTIONS.items()
    if not name.startswith(("core.", "exact.", "ufuncs."))
}

REDUCTIONS = ("none", "mean", "sum")
# Around lanes, chunks, blocks, short outputs and leaves, and work for several threads.
SIZES = (0, 1, 2, 7, 15, 16, 17, 31, 32, 33, 63, 100, 255, 256, 257, 513, 1000)
SIZES += (1023, 1025, 2049, 4095, 4096, 4097, 8193, 50001)


def uniform(seed, *shape):
    """Multiples of 2**-53 in [0, 1): splitmix64."""
    z = np.arange(1, np.prod(shape, dtype=int) + 1, dtype=np.uint64) + np.uint64(seed << 32)
    z *= np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        z = (z ^ (z >> np.uint64(shift))) * np.uint64(factor)
    z ^= z >> np.uint64(31)
    return np.ldexp((z >> np.uint64(11)).astype(np.float64), -53).reshape(shape)


def values(seed, *shape):
    """Of many scales, exact in float64."""
    exponents = (20 * uniform(seed + 1, *shape)).astype(np.int32) - 10
    return np.ldexp(4 * uniform(seed, *shape) - 2, exponents)


def residuals(seed, *shape):
    """Between -2 and 2, exact in float64."""
    return 4 * uniform(seed, *shape) - 2


class Digest:
    """Hashes of results by the name of the function, and which parameters were passed."""

    def __init__(self):
        self.hashes = {name: hashlib.sha256() for name in FUNCTIONS}
        self.passed = {name: set() for name in FUNCTIONS}
        self.results = self.elements = 0

    def add(self, name, *results):
        for result in results:
            a = np.asarray(result)
            self.results += 1
            self.elements += a.size
            # Neither the sign of a NaN nor the byte order of an array is a value.
            a = np.where(np.isnan(a), a.dtype.type(np.nan), a)
            a = np.ascontiguousarray(a, a.dtype.newbyteorder("<"))
            self.hashes[name].update(f"{a.dtype.str}{np.shape(result)}".encode())
            self.hashes[name].update(a)

    def call(self, name, *arguments, **options):
        """Call a function and add what it returns."""
        function = FUNCTIONS[name]
        results = function(*arguments, **options)
        self.add(name, *(results if isinstance(results, tuple) else (results,)))
        self.passed[name].update(PARAMETERS.get(name, ())[: len(arguments)], options)
        if name.startswith("exact."):
            self.passed[name.removeprefix("exact.")].add("exact")

    def both(self, function, *arguments, kind="", **options):
        """Call it as Smooth L1 and as Huber; the latter has no threshold of 0."""
        self.call(f"{kind}smooth_l1_{function}", *arguments, **options)
        threshold = arguments[3] if len(arguments) > 3 else 1.0
        working = np.float64 if np.result_type(*arguments[:2]) == np.float64 else np.float32
        if np.min(working(threshold), initial=1.0) > 0:
            self.call(f"{kind}huber_{function}", *arguments, **options)

    def missing(self):
        """Return the parameters that no call has passed."""
        return [
            f"{name}({parameter})"
            for name, parameters in PARAMETERS.items()
            for parameter in parameters
            if parameter not in self.passed[name]
        ]


def thresholds_and_values(digest, dtype):
    """Every function, threshold and reduction, for every size."""
    tiny = float(np.finfo(dtype).smallest_subnormal)
    numbers = (0.0, tiny, 3 * tiny, 1e-3, 0.37, 1.0, 1.35, 2.0, 1e30, np.inf)
    specials = [np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, np.finfo(dtype).max]
    for n in SIZES:
        x, y = values(1, 2, n).astype(dtype)
        w = 2 * uniform(3, n)
        where = uniform(4, n) > 0.15
        b = residuals(5, n).clip(0)
        hostile = x.copy()
        hostile[:7] = specials[:n]
        for beta in (*numbers, b):
            for reduction in REDUCTIONS:
                for a in (x, hostile):
                    digest.both("loss", a, y, reduction, beta)
                    digest.both("grad", a, y, reduction, beta)
                    digest.both("value_and_grad", a, y, reduction, beta)
                    digest.both("loss", a, y, reduction, beta, weight=w, where=where)
                options = {"weight": w, "where": where}
                digest.both("grad", hostile, y, reduction, beta, **options)
                digest.both("value_and_grad", hostile, y, reduction, beta, **options)
            if n:
                digest.both("loss", x, y, "weighted_mean", beta, weight=w)
                digest.both("grad", x, y, "weighted_mean", beta, weight=w)
                digest.both("value_and_grad", x, y, "weighted_mean", beta, weight=w)
            for hessian in ("exact", "majorizer"):
                digest.call("smooth_l1_grad_hess", hostile, y, beta, hessian=hessian)
                digest.call("smooth_l1_grad_hess", x, y, beta, hessian=hessian, weight=w)
            if n and beta is not b:
                digest.call("huber_location", y, beta)
                digest.call("huber_location", y, beta, sample_weight=w)
        for reduction in ("mean", "sum"):
            digest.call("smooth_l1_path", x, y, numbers, reduction)
            digest.call("smooth_l1_path", hostile, y, numbers, reduction, weight=w, where=where)
        if n:
            digest.call("smooth_l1_path", x, y, numbers[:3], "weighted_mean", weight=w)
        if dtype == np.float64:
            for beta in (0.37, 1.0, 1e30):
                r, d = residuals(6, 2, n)
                digest.add("core.line_derivatives", *core.line_derivatives(r, d, w, 0.3, beta))
            digest.add("core.as_bfloat16", core.as_bfloat16(hostile.astype(float)).astype(float))


def exact_sums(digest, dtype):
    """What is summed exactly: windows, ties, thresholds, groups, states."""
    tiny = float(np.finfo(dtype).smallest_subnormal)
    large = float(np.finfo(dtype).max) / 3
    numbers = (0.0, tiny, 3 * tiny, 1e-3, 0.37, 1.0, 1e30, large, np.inf)
    options = {"kind": "exact."}
    for n in (1, 47, 48, 1000, 1025, 50001):
        x, y = values(71, 2, n).astype(dtype)
        spread = np.ldexp(x, (200 * uniform(73, n)).astype(np.int32) - 100)
        hostile = np.where(uniform(74, n) < 0.9, x, dtype(np.nan))
        w = 2 * uniform(75, n).astype(dtype)
        where = uniform(76, n) > 0.15
        b = residuals(77, n).clip(0)
        for a in (x, spread, hostile, x * dtype(large / 2048)):
            for beta in (*numbers, b):
                for reduction in ("mean", "sum"):
                    digest.both("loss", a, y, reduction, beta, **options)
                    digest.both("loss", a, y, reduction, beta, weight=w, where=where, **options)
            digest.call("exact.smooth_l1_path", a, y, numbers, weight=w, where=where)
        digest.both("loss", x, y, "weighted_mean", 0.37, weight=w, **options)
        digest.both("loss", x.astype(np.float16), y, "mean", 0.37, **options)
        for huber in (False, True):
            for beta in (0.37, numbers[1:]):
                for a in (x, spread, hostile):
                    sums(digest, a, y, w, where, beta=beta, huber=huber, dtype=dtype)
    x, y = values(78, 2, 300, 40).astype(dtype)
    for axis in (0, 1, (0, 1), ()):
        digest.both("loss", x, y, "mean", 0.37, axis=axis, **options)
        digest.both("loss", x.T, y.T, "sum", 1.0, axis=axis, n_threads=2, **options)


def sums(digest, x, y, w, where, **given):
    """Figures and states of sums, of all elements and of few and many groups."""
    total = smoothl1.LossSums(**given).update(x, y).update(x, y, weight=w, where=where)
    figures = (total.compute(), total.compute("weighted_mean"), total.weight_sum)
    figures += (total.mae, total.rmse, total.quadratic_share)
    digest.add("LossSums", *figures, np.frombuffer(total.to_bytes(), np.uint8).astype(float))
    digest.passed["LossSums"].update(given)
    for count in (3, 400):
        by = np.arange(x.size) % count
        groups = smoothl1.GroupedLossSums(**given).update(x, y, by, weight=w, where=where)
        state = np.frombuffer(groups.to_bytes(), np.uint8).astype(float)
        figures = groups.compute()
        del figures["by"]
        figures["n"] = figures["n"].astype(float)
        digest.add("GroupedLossSums", *figures.values(), state)
    digest.passed["GroupedLossSums"].update(given)


def options(digest, dtype):
    """Arguments that no kernel but the driver sees, and those that hold arrays."""
    x, y = values(11, 2, 50, 190).astype(dtype)
    w, b = 2 * uniform(12, 2, 50, 190)
    where = uniform(13, 50, 190) > 0.3
    factor = residuals(14, 50, 190)
    row, column = 2 * uniform(15, 190), 2 * uniform(16, 50, 1)
    for n_threads in (1, 2):
        for beta in (0.37, b, row, column):
            for weight in (None, w, row, column, 0.3):
                given = {"weight": weight, "where": where, "n_threads": n_threads}
                for reduction in REDUCTIONS:
                    digest.both("loss", x, y, reduction, beta, **given)
                    digest.both("grad", x, y, reduction, beta, grad_output=-0.37, **given)
                    digest.both("value_and_grad", x, y, reduction, beta, **given)
                digest.both("grad", x, y, "none", beta, grad_output=factor, **given)
                digest.both("grad", x, y, "none", beta, grad_output=factor.T.copy().T)
                del given["where"]
                digest.call("smooth_l1_grad_hess", x, y, beta, **given)
        digest.call("smooth_l1_path", x, y, [0.0, 0.37, 1.0], weight=w, n_threads=n_threads)
    for kind in (np.float16, np.float32, np.float64):
        wide = np.full((52, 400), 7, kind)
        for out in (np.empty(x.shape, kind), wide[1:-1, 10:390:2], wide[-2:0:-1, 199:9:-1]):
            for reduction in REDUCTIONS:
                digest.both("grad", x, y, reduction, 0.37, out=out)
                digest.both("value_and_grad", x, y, reduction, 0.37, weight=w, out=out)
            digest.both("loss", x, y, "none", 0.37, out=out)
            digest.call("smooth_l1_grad_hess", x, y, 0.37, out=(out, np.empty(x.shape, kind)))
        digest.both("loss", x, y, "mean", 0.37, out=np.empty((), kind))
        digest.both("loss", x, y, "mean", 0.37, axis=1, out=np.empty(50, kind))
        digest.add("smooth_l1_grad_hess", wide)  # and nothing between
    # In place, and shifted against itself.
    a = x.copy()
    digest.both("loss", a, y, "none", 1.35, out=a)
    digest.both("grad", a[:, 1:], a[:, :-1], "sum", 0.37, out=a[:, 1:])


def axes(digest, dtype):
    """Outputs that are short and long, side by side and one after the other."""
    shapes = [(300, 5), (5, 300), (63, 31), (64, 32), (65, 33), (130, 511), (512, 9), (3, 513)]
    shapes += [(3, 9000), (9000, 3), (2, 4096), (4097, 2), (66, 40, 7), (7, 1, 600, 4)]
    for shape in shapes:
        x, y = values(21, 2, *shape).astype(dtype)
        w, b = 2 * uniform(22, 2, *shape)
        where = uniform(23, *shape) > 0.3
        row = 2 * uniform(24, shape[-1])
        for axis in (*range(len(shape)), tuple(range(1, len(shape))), (0, -1), ()):
            for reduction in ("mean", "sum"):
                for beta in (0.37, 1.0, b, row):
                    digest.both("loss", x, y, reduction, beta, axis=axis)
                digest.both("loss", x, y, reduction, 0.37, axis=axis, where=where)
            for reduction in ("mean", "sum", "weighted_mean"):
                for weight in (w, row):
                    digest.both("loss", x, y, reduction, 0.37, axis=axis, weight=weight)
            digest.both("loss", np.asfortranarray(x), y, "sum", b, axis=axis, weight=row)


def misaligned(a):
    raw = np.empty(a.nbytes + 1, np.uint8)[1:]
    view = raw.view(a.dtype).reshape(a.shape)
    view[...] = a
    return view


def layouts(digest, dtype):
    """What must be packed before it is computed."""
    shape = 70, 8, 23
    x, y = values(31, 2, *shape).astype(dtype)
    w, b = 2 * uniform(32, 2, *shape)
    where = uniform(33, *shape) > 0.3
    views = (
        np.asfortranarray,
        misaligned,
        lambda a: a.astype(a.dtype.newbyteorder()),
        lambda a: a.transpose(1, 2, 0).copy().transpose(2, 0, 1),
        lambda a: a[::-1, :, ::-1],
        lambda a: np.repeat(a, 3, 2)[..., ::3],
        lambda a: np.broadcast_to(a[3], a.shape),
        lambda a: np.broadcast_to(a[:, :1, 4:5], a.shape),
        lambda a: np.broadcast_to(a[0, 0, 0], a.shape),
    )
    for view in views:
        for other in (view, np.ascontiguousarray):
            one, two = view(x), other(y)
            given = {"weight": other(w), "where": other(where)}
            for reduction in REDUCTIONS:
                for beta in (0.37, 1.0, other(b)):
                    digest.both("loss", one, two, reduction, beta)
                    digest.both("loss", one, two, reduction, beta, **given)
                    digest.both("grad", one, two, reduction, beta, **given)
                    digest.both("value_and_grad", one, two, reduction, beta, **given)
            digest.both("loss", one, two, "weighted_mean", 0.37, **given)
            digest.both("loss", one, two, "mean", 0.37, axis=(0, 2), **given)
            digest.call("smooth_l1_grad_hess", one, two, 0.37, weight=other(w))
            digest.call("smooth_l1_path", one, two, [0.37, 1.0], **given)
            digest.call("huber_location", one, 0.37, sample_weight=other(w))


def dtypes(digest):
    """Every mix of two, each byte order, and Python's numbers."""
    kinds = [np.dtype(kind) for kind in "efdbBhHiIlLqQ?"]
    kinds += [kind.newbyteorder() for kind in kinds]
    for i, first in enumerate(kinds):
        for second in (*kinds[i:], None):
            x, y = (
                (abs(a) if kind.kind in "ub" else a).astype(kind)
                for a, kind in zip(
                    30 * residuals(41, 2, 300), (first, second or first), strict=True
                )
            )
            if second is None:
                y = 0.37
            for reduction in REDUCTIONS:
                digest.both("loss", x, y, reduction, 1.35)
                digest.both("value_and_grad", x, y, reduction, 1.35)
                digest.both("grad", x, y, reduction, 1.35, weight=x)
            digest.both("loss", x, y, "sum", 1.35, weight=x, where=x > 1)
            digest.call("smooth_l1_grad_hess", x, y, 1.35, weight=x)
            digest.call("smooth_l1_path", x, y, [0.37, 1.35])
        digest.call("huber_location", x, 1.35)
    every_half = np.arange(2**16, dtype=np.uint16).view(np.float16)
    for beta in (0.0, 1.0, 1.35):
        digest.both("value_and_grad", every_half, np.float16(0.37), "none", beta)
    x = np.array([2**53 + 1, 2**63 - 1, -(2**63)], np.int64)
    digest.both("loss", x, 0, "none", 1.35)
    digest.both("loss", 3, 1.5)


def large(digest):
    """More than one group of leaves, and what is written past the caches."""
    for kind in (np.float32, np.float64):
        row = values(51, 4099).astype(kind)
        x = np.broadcast_to(row, (2100, 4099))  # over 2048 leaves
        for reduction in ("mean", "sum"):
            digest.both("loss", x, kind(0.25), reduction, 0.37)
        digest.both("loss", x, kind(0.25), "sum", 0.37, where=x > 0, weight=x[:1])
        digest.call("smooth_l1_path", x, kind(0.25), [0.0, 0.37, 1.0])
        digest.call("smooth_l1_loss", x, kind(0.25), axis=0)
        digest.call("smooth_l1_loss", x, kind(0.25), axis=1)
        digest.call("huber_location", x[:500], 0.37)
    out = np.empty(2**24 + 3, np.float32)[1:]
    x = np.broadcast_to(values(53, 1, 2).astype(np.float32), (2**23 + 1, 2))
    digest.call("smooth_l1_loss", x, np.float32(0.25), "none", out=out.reshape(x.shape))


def objects(digest):
    """What calls the functions: the loss objects, other libraries' signatures, the objective."""
    x, y = values(61, 2, 40, 30)
    w = 2 * uniform(62, 40, 30)
    where = uniform(63, 40, 30) > 0.3
    for name, threshold in (("SmoothL1Loss", "beta"), ("HuberLoss", "delta")):
        for reduction in (*REDUCTIONS, "weighted_mean"):
            loss = FUNCTIONS[name](reduction, **{threshold: 0.37})
            digest.passed[name] |= {"reduction", threshold}
            given = {"weight": w, "where": where}
            digest.add(name, loss(x, y, **given), *loss.value_and_grad(x, y, **given))
            digest.add(name, loss.backward(x, y, 0.3, **given))
    for reduction in REDUCTIONS:
        for beta in (1e-6, 0.37):
            digest.call("fvcore_smooth_l1_loss", x, y[0], beta, reduction)
            digest.call("torch_smooth_l1_loss", x, y[:, :1], None, None, reduction, beta)
    digest.call("fvcore_smooth_l1_loss", x[:0], y[:0], 1.0, "mean")
    digest.call("torch_smooth_l1_loss", x, y, size_average=False, reduce=True)
    for hessian in ("majorizer", "exact"):
        objective = SmoothL1Objective(beta=0.37, hessian=hessian)
        digest.passed["SmoothL1Objective"] |= {"beta", "hessian"}
        for true, pred in ((x, y), (x[0], y[0]), (x.astype(np.float32), y.astype(np.float32))):
            for weight in (None, w[: len(true), 0]):
                digest.add("SmoothL1Objective", *objective(true, pred, weight))
                digest.add("SmoothL1Objective", objective.metric(true, pred, weight))


def ufuncs_of(digest, dtype):
    """Each ufunc: every size, threshold and layout, and thresholds that are none."""
    tiny = float(np.finfo(dtype).smallest_subnormal)
    large = np.finfo(dtype).max
    specials = [np.nan, np.inf, -np.inf, 0.0, -0.0, tiny, large, -large]
    numbers = (-1.0, np.nan, 0.0, tiny, 3 * tiny, 1e-3, 0.37, 1.0, 1.35, 2.0, 1e30, large, np.inf)
    wide = np.zeros(2 * max(SIZES), dtype)
    for name in ufuncs.__all__:
        for n in SIZES:
            x, y = values(81, 2, n).astype(dtype)
            b = residuals(82, n).astype(dtype)
            x[:8] = specials[:n]
            for threshold in (*np.array(numbers, dtype), b, b[::-1]):
                digest.call(f"ufuncs.{name}", x, y, threshold)
                digest.call(f"ufuncs.{name}", x[::-1], y[:1], threshold, out=wide[: 2 * n : 2])
        x, y = values(83, 2, 40, 30).astype(dtype)
        digest.call(f"ufuncs.{name}", x.T, y[:, :1].T, b[:40])
        digest.call(f"ufuncs.{name}", x.astype("f2"), y.astype("i1"), 0.37)


def compute():
    """Return the hash of each function, in the order of their names, and how much they cover."""
    digest = Digest()
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # means of nothing, shapes that differ
        for dtype in (np.float32, np.float64):
            thresholds_and_values(digest, dtype)
            options(digest, dtype)
            axes(digest, dtype)
            layouts(digest, dtype)
            exact_sums(digest, dtype)
            ufuncs_of(digest, dtype)
        dtypes(digest)
        large(digest)
        objects(digest)
    if missing := digest.missing():
        raise SystemExit(f"tests/digest.py lacks {', '.join(missing)}")
    return {name: digest.hashes[name].hexdigest() for name in sorted(FUNCTIONS)}, digest


def main():
    hashes, digest = compute()
    text = "".join(f"{name} {value}\n" for name, value in hashes.items())
    if sys.argv[1:] == ["--store"]:
        STORED.write_text(text)
    print(text, end="")
    print(
        f"{digest.results} results with {digest.elements} elements on {_simd.chosen}: "
        f"{hashlib.sha256(text.encode()).hexdigest()}",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
