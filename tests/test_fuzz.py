"""Calls of every kind, drawn at random, against a slow reference.

A few thousand examples, the same in each run; ``--hypothesis-profile=long`` draws 10**5
others (``docs/testing.md``).
"""

import os
import pickle
import re
import subprocess
import sys
from bisect import bisect_left, bisect_right
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from smoothl1 import _simd, ufuncs
from tests import reference
from tests.cases import (
    WIDE,
    Arena,
    Case,
    Expected,
    View,
    bits,
    by_functions,
    call,
    ml_dtypes,
    outcome,
    within,
)

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

pytestmark = pytest.mark.skipif(
    np.finfo(WIDE).nmant <= 52, reason="the reference needs a longdouble wider than float64"
)


def settings(usual):
    """Settings for so many examples in the usual run, where hypothesis's default is 100."""
    return hypothesis.settings(
        max_examples=usual * hypothesis.settings.default.max_examples // 100,
        deadline=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )


FLOATS = ["f4", "f8", "f4", "f8", "f2", ">f4", ">f8", ">f2"]
DTYPES = [*FLOATS, "i1", "u1", "i2", ">i4", "i8", "u8", ">u8", "?"]
NARROW = ["bfloat16", "bfloat16", "f2", "f4", "f8", ">f2", "i4", "?"]  # bfloat16 with others
NUMBERS = ["normal", "normal", "many scales", "ties", "near the end", "subnormal", "special"]
WEIGHTS = ["positive", "positive", "counts", "normal", "special"]
THRESHOLDS = [0.0, 5e-324, 1e-45, 1e-30, 0.25, 0.37, 0.5, 1.0, 1.35, 3.0, 1e4, 1e30, 1e300, np.inf]
SIDES = [0, 1, 2, 3, 4, 5, 7, 16, 17, 33]

# Below and above what the code of the kernels treats in one piece.
LENGTHS = [255, 256, 257, 511, 513, 1023, 1024, 1025, 2049, 4095, 4096, 4097, 8193]


@st.composite
def shapes(draw):
    kind = draw(st.integers(0, 9))
    if kind < 5:
        shape = draw(st.lists(st.sampled_from(SIDES), max_size=4))
        while np.prod(shape) > 3000:
            shape = shape[1:]
        return tuple(shape)
    if kind < 7:
        return (draw(st.integers(0, 300)),)
    if kind == 7:
        return (draw(st.sampled_from([*LENGTHS, 33000])),)
    if kind == 8:
        shape = (draw(st.sampled_from(LENGTHS)), draw(st.integers(1, 3)))
        return shape if draw(st.booleans()) else shape[::-1]
    return tuple(draw(st.lists(st.integers(1, 2), min_size=5, max_size=9)))


@st.composite
def views(draw, shape, dtypes, values, memories=(None,), repeats=True):
    """An array anywhere: of any order of axes, strides, offset; ``repeats``: also stride 0."""
    view = View(
        shape,
        draw(st.sampled_from(dtypes)),
        draw(st.sampled_from(values)),
        draw(st.integers(0, 2**16)),
        draw(st.sampled_from(memories)),
    )
    if draw(st.integers(0, 2)) == 0:
        return view
    ndim = len(shape)
    steps = st.sampled_from(
        [1, 1, 1, 1, 2, 3, -1, -2, 0] if repeats else [1, 1, 1, 1, 2, 3, -1, -2]
    )
    gaps = st.sampled_from([0, 0, 0, 0, 0, 0, 1, 4, 8, 17])
    many = {"min_size": ndim, "max_size": ndim}
    return View(
        *(view.shape, view.dtype, view.values, view.seed, view.memory),
        shift=draw(st.one_of(st.sampled_from([0, 4, 8, 16]), st.integers(0, 300))),
        order=tuple(draw(st.permutations(range(ndim)))),
        steps=tuple(draw(st.lists(steps, **many))),
        gaps=tuple(draw(st.lists(gaps, **many))),
    )


def part(draw, shape):
    """A shape that broadcasts to the shape."""
    kept = draw(st.integers(0, len(shape)))
    return tuple(extent if draw(st.integers(0, 2)) else 1 for extent in shape[len(shape) - kept :])


@st.composite
def cases(draw, kinds=DTYPES, floats=FLOATS):
    """A call of any function; ``kinds``: dtypes of operands; ``floats``: of ``out``."""
    shape = draw(shapes())
    function = draw(st.sampled_from(["loss", "grad", "value_and_grad", "grad_hess", "path"]))
    reductions = ["mean", "sum", "weighted_mean"]
    if function != "path":
        reductions.append("none")
    reduction = "none" if function == "grad_hess" else draw(st.sampled_from(reductions))
    # Memory that is shared, in one case of three.
    shared = (None, None, 1, 1, 2) if draw(st.integers(0, 2)) == 0 else (None,)
    same = draw(st.booleans())  # equal dtypes, which have paths of their own
    dtypes = [draw(st.sampled_from(kinds))] if same else kinds
    values = [draw(st.sampled_from(NUMBERS))]
    fields = {"function": function, "reduction": reduction}
    for name in ("input", "target"):
        fields[name] = draw(views(shape, dtypes, values, shared))
    scalar = draw(st.sampled_from([None] * 6 + ["input", "target", "number"]))
    if scalar == "number":
        fields["target"] = draw(st.sampled_from([0.0, -1.5, 2.0, np.inf]))
    elif scalar is not None:
        fields[scalar] = View((), draw(st.sampled_from(kinds)), values[0], 1)
    fields["huber"] = function in ("loss", "grad", "value_and_grad") and draw(st.booleans())
    if function == "path":
        fields["threshold"] = tuple(draw(st.lists(st.sampled_from(THRESHOLDS), max_size=9)))
    elif draw(st.integers(0, 4)):
        fields["threshold"] = draw(st.sampled_from(THRESHOLDS))
        if fields["huber"]:
            fields["threshold"] = fields["threshold"] or 0.7
    else:
        values = ["positive", "threshold"]
        fields["threshold"] = draw(views(part(draw, shape), kinds, values, shared))
    if reduction == "weighted_mean" or draw(st.integers(0, 3)) == 0:
        fields["weight"] = draw(views(part(draw, shape), kinds, WEIGHTS, shared))
        if draw(st.integers(0, 9)) == 0:
            fields["weight"] = 0.75
    if function != "grad_hess" and draw(st.integers(0, 3)) == 0:
        values = ["often", "often", "seldom"]
        fields["where"] = draw(views(part(draw, shape), ["?"], values, shared))
    if function == "grad" and draw(st.integers(0, 2)) == 0:
        fields["factor"] = draw(st.sampled_from([2.0, -0.3, 0.0]))
        if reduction == "none" and draw(st.booleans()):
            fields["factor"] = draw(views(part(draw, shape), kinds, ["normal", "counts"], shared))
    outs = shape
    if function == "loss" and reduction != "none" and draw(st.booleans()):
        axes = st.integers(-len(shape), len(shape) - 1) if shape else st.nothing()
        axis = draw(st.lists(axes, unique_by=lambda a: a % len(shape), max_size=len(shape)))
        fields["axis"] = axis[0] if len(axis) == 1 and draw(st.booleans()) else tuple(axis)
        outs = tuple(n for i, n in enumerate(shape) if i not in {a % len(shape) for a in axis})
    elif function == "loss" and reduction != "none":
        outs = ()
    if function != "path" and draw(st.booleans()):
        # Into fresh memory, or that of the operands, also element for element.
        out = views(outs, floats, ["normal"], (None, *shared), repeats=False)
        if draw(st.booleans()):
            source = fields["input"]
            fits = source.shape == outs and 0 not in (source.steps or (1,))
            if fits and source.dtype in floats:
                fields["input"] = replace(source, memory=source.memory or 1)
                out = st.just(fields["input"])
        fields["out"] = tuple(draw(out) for _ in range(2 if function == "grad_hess" else 1))
    fields["hessian"] = draw(st.sampled_from(["exact", "majorizer"]))
    fields["n_threads"] = draw(st.sampled_from([None, None, 1, 2, 3]))
    return Case(**fields)


def same_bits(results, others):
    return [bits(a)[1:] for a in results] == [bits(b)[1:] for b in others]


def assert_same_memory(arena, other):
    for group, raw in arena.memory.items():
        np.testing.assert_array_equal(raw, other.memory[group])


def check_call(case):
    """Make a call, and compare its results, its warnings, and what became of the memory."""
    arena, untouched = Arena(case), Arena(case)
    copies = arena.copies()
    expected = Expected(case, copies)
    message = expected.error(arena.arrays)
    if message is not None:
        with pytest.raises(ValueError, match=re.escape(message)):
            call(case, arena.arrays)
        assert_same_memory(arena, untouched)
        return
    results, warned = call(case, arena.arrays)
    assert warned == ["mean of no elements is nan"] * expected.warns()
    for got, (bounds, dtypes) in zip(results, expected.results(), strict=True):
        assert got.shape == bounds[0].shape
        right = within(got, bounds, dtypes)
        assert right.all(), (np.argwhere(~right)[0], np.asarray(got)[~right][0])
        if not case.out:
            assert got.dtype == expected.dtype
            assert got.dtype.isnative
    # The same bits as from native, contiguous copies, on one thread.
    again, _ = call(replace(case, n_threads=1), copies)
    assert same_bits(results, again)
    # Nothing but ``out`` was written to.
    for i in range(len(case.out)):
        untouched.arrays[f"out{i}"][...] = arena.arrays[f"out{i}"]
    assert_same_memory(arena, untouched)


@settings(2000)
@hypothesis.given(cases())
def test_any_call(case):
    check_call(case)


@pytest.mark.skipif(ml_dtypes is None, reason="needs ml_dtypes")
@settings(500)
@hypothesis.given(cases(NARROW, ["bfloat16", "bfloat16", "f2", "f4", "f8"]))
def test_any_call_with_bfloat16(case):
    check_call(case)


@st.composite
def ufunc_cases(draw):
    """Operands that broadcast, thresholds that are none among them, and perhaps out and where."""
    shape = draw(shapes())
    shared = (None, None, 1, 1, 2) if draw(st.integers(0, 2)) == 0 else (None,)
    same = draw(st.booleans())
    dtypes = [draw(st.sampled_from(DTYPES))] if same else DTYPES
    fields = {"function": "loss", "reduction": "none"}
    for name in ("input", "target", "threshold"):
        values = ["positive", "threshold", *NUMBERS] if name == "threshold" else NUMBERS
        extent = part(draw, shape) if draw(st.integers(0, 2)) == 0 else shape
        fields[name] = draw(views(extent, dtypes, values, shared))
    if draw(st.booleans()):
        fields["threshold"] = draw(st.sampled_from([*THRESHOLDS, -1.0, np.nan]))
    arrays = [fields[name] for name in ("input", "target", "threshold")]
    shape = np.broadcast_shapes(*(a.shape for a in arrays if isinstance(a, View)))
    if draw(st.booleans()):
        out = draw(views(shape, FLOATS, ["normal"], (None, *shared), repeats=False))
        source = fields["input"]
        fits = source.shape == shape and 0 not in (source.steps or (1,))
        if fits and source.dtype in FLOATS and draw(st.booleans()):
            out = fields["input"] = replace(source, memory=source.memory or 1)
        if draw(st.booleans()):
            fields["where"] = draw(views(shape, ["?"], ["often", "seldom"]))
            if out is not fields["input"]:
                # Of an out that shares memory NumPy makes a copy in the dtype of the loop, and
                # back: what is not selected would lose digits.
                out = replace(out, memory=None)
        fields["out"] = (out,)
    return draw(st.sampled_from(ufuncs.__all__)), Case(**fields)


@pytest.mark.skipif(
    np.lib.NumpyVersion(np.__version__) < "2.0.0",
    reason="NumPy 1 looks at the values of 0-d operands to find the dtype of the result",
)
@settings(500)
@hypothesis.given(ufunc_cases())
def test_any_ufunc(drawn):
    name, case = drawn
    arena, untouched = Arena(case), Arena(case)
    copies = arena.copies()
    operands = [copies[key] for key in ("input", "target", "threshold")]
    arrays = [a for a in operands if isinstance(a, np.ndarray)]
    double = any(a.dtype not in (np.float16, np.float32) for a in arrays)
    with np.errstate(all="ignore"):
        working = [np.asarray(a).astype(np.float64 if double else np.float32) for a in operands]
        expected = by_functions(name, *working)
        options = {}
        if case.out:
            options["out"] = arena.arrays["out0"]
            options["casting"] = "same_kind"
            expected = expected.astype(options["out"].dtype)
        if case.where is not None:
            options["where"] = copies["where"]
            expected = np.where(copies["where"], expected, copies["out0"])
        found = (arena.arrays[key] for key in ("input", "target", "threshold"))
        got = getattr(ufuncs, name)(*found, **options)
    assert got.dtype.newbyteorder("=") == expected.dtype.newbyteorder("=")
    assert bits(got)[1:] == bits(expected)[1:]
    if case.out:
        untouched.arrays["out0"][...] = got
    assert_same_memory(arena, untouched)


# --- huber_location ---


@st.composite
def location_cases(draw):
    kind = draw(st.sampled_from(["ties", "ties", "counts", "normal", "many scales", "subnormal"]))
    sides = st.integers(1, 40)
    if kind in ("ties", "counts"):  # small integers, for which the reference is fast
        sides = st.one_of(sides, st.integers(1, 40), st.sampled_from([511, 1025, 1500]))
    shape = (draw(sides),)
    dtypes = ["f8", "f8", "f8", "f4", ">f4", "f2", "i2", "u8", "?"]
    weight = None
    if draw(st.booleans()):
        weight = draw(views(shape, DTYPES, ["counts", "counts", "positive"], repeats=False))
    return Case(
        "location",
        draw(views(shape, dtypes, [kind])),
        threshold=draw(st.sampled_from([0.0, 0.25, 0.5, 1.0, 0.3, 1.35, 2.5, 1e-300, 1e6, np.inf])),
        weight=weight,
    )


def exact_location(y, beta, weights):
    """The middle of the minimisers of the loss, as a fraction."""
    pairs = [(Fraction(a), Fraction(w)) for a, w in zip(y, weights, strict=True) if w]
    if beta == np.inf:
        return sum(a * w for a, w in pairs) / sum(w for _, w in pairs)
    beta = Fraction(beta)

    def slope(m):
        """Of the sum of the losses, times beta; at a jump, where beta is 0, its middle."""
        if beta == 0:
            return sum(w if m > a else -w if m < a else 0 for a, w in pairs)
        return sum(w * min(max(m - a, -beta), beta) for a, w in pairs)

    corners = sorted({a - beta for a, _ in pairs} | {a + beta for a, _ in pairs})
    if beta == 0:
        half = sum(w for _, w in pairs) / 2
        below = [a for a in corners if sum(w for b, w in pairs if b > a) <= half]
        above = [a for a in corners if sum(w for b, w in pairs if b < a) <= half]
        return (below[0] + above[-1]) / 2
    first = bisect_left(corners, 0, key=slope)
    high = corners[first]
    if slope(high) == 0:
        return (high + corners[bisect_right(corners, 0, key=slope) - 1]) / 2
    low = corners[first - 1]
    return low - slope(low) * (high - low) / (slope(high) - slope(low))


@settings(200)
@hypothesis.given(location_cases())
def test_any_location(case):
    arena, untouched = Arena(case), Arena(case)
    y, weights = (arena.copies()[name] for name in ("input", "weight"))
    weights = np.ones(y.shape) if weights is None else weights
    if not np.isfinite(y).all() or not weights.any():
        with pytest.raises(ValueError, match=r"y must be finite|must hold a positive weight"):
            call(case, arena.arrays)
        return
    (got,), _ = call(case, arena.arrays)
    assert_same_memory(arena, untouched)
    assert got.dtype == (y.dtype if y.dtype.kind == "f" else np.float64)
    live = [float(a) for a in y[weights != 0]]
    weights = [float(w) for w in weights[weights != 0]]
    exact = exact_location(live, case.threshold, weights)
    # Corners are rounded to float64, the result to its dtype.
    slack = 2 * Fraction(float(np.spacing(np.abs(live).max()))) + reference.ulp(exact, got.dtype)
    assert abs(Fraction(float(got)) - exact) <= slack, (got, float(exact))
    if case.input.values in ("ties", "counts") and case.threshold % 0.25 == 0:
        # Corners are exact, so it is all but rounded correctly.
        assert abs(Fraction(float(got)) - exact) <= reference.ulp(exact, got.dtype)


# --- instruction sets ---


@pytest.fixture(scope="module")
def workers():
    """Processes that run the other instruction sets."""
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "tests.cases"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parent.parent,
            env={**os.environ, "SMOOTHL1_SIMD": name},
        )
        for name in _simd.supported()
        if name != _simd.chosen
    ]
    yield started
    for worker in started:
        worker.stdin.close()
        assert worker.wait(timeout=60) == 0
        worker.stdout.close()


def ask(worker, case):
    pickle.dump(case, worker.stdin)
    worker.stdin.flush()
    return pickle.load(worker.stdout)


@settings(400)
@hypothesis.given(case=st.one_of(cases(), cases(), location_cases()))
def test_any_call_on_every_instruction_set(workers, case):
    if not workers:
        pytest.skip("there is one instruction set")
    here = outcome(case, Arena(case).arrays)
    for worker in workers:
        assert ask(worker, case) == here
