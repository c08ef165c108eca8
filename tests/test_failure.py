"""What fails leaves everything as it was; and what is no plain array gets a documented answer."""

import array
import ctypes
import os
import subprocess
import sys
import sysconfig
import warnings
from pathlib import Path

import numpy as np
import pytest

import smoothl1
from smoothl1 import (
    huber_grad,
    huber_location,
    huber_loss,
    huber_value_and_grad,
    smooth_l1_grad,
    smooth_l1_grad_hess,
    smooth_l1_loss,
    smooth_l1_path,
    smooth_l1_value_and_grad,
)

X = np.array([[1.0, -2.0, 3.0], [0.25, 0.0, -0.5]])
Y = np.full((2, 3), 0.125)
LOSSES = [smooth_l1_loss, huber_loss]
GRADS = [smooth_l1_grad, huber_grad, smooth_l1_value_and_grad, huber_value_and_grad]

# The sanitizers' allocator reserves terabytes of address space.
limits_memory = pytest.mark.skipif(
    not sys.platform.startswith("linux") or "libasan" in os.environ.get("LD_PRELOAD", ""),
    reason="limits the address space",
)


# --- no memory ---


def child(code, *arguments):
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, (done.returncode, done.stdout, done.stderr)
    return done.stdout.splitlines()


LIMIT = """
import resource, sys, zlib
import numpy as np
from smoothl1 import *

def limit(more):
    used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + more, -1))
"""

EXHAUST = """
def take_all():
    # A chain, which leaves small blocks to the interpreter; a list would have to be moved as it
    # grows, and leave room where it was.
    chain = None
    try:
        while True:
            chain = (bytearray(1 << 11), chain)
    except MemoryError:
        return chain

def attempt(call, left):
    # In a function, where to store an exception needs no memory.
    chain = take_all()
    while left:
        chain = chain[1]
        left -= 1
    try:
        call()
    except MemoryError as error:
        return error.with_traceback(None)  # which holds the frame, and so the chain

n = 200_000
x, y = np.linspace(-3, 3, 2 * n).reshape(2, n)
w = np.abs(x) + 1
b = np.full(n, 0.7)
table = x.reshape(-1, 2)
out, out2 = np.full((2, n), 7.0)
betas = np.linspace(0, 3, 5000).tolist()
short = x[:100].copy()
calls = {
    'mean': lambda: smooth_l1_loss(x, y),
    'mean of a column': lambda: smooth_l1_loss(table[:, 0], table[:, 1], beta=0.7),
    'none': lambda: smooth_l1_loss(x, y, 'none'),
    'none into out': lambda: huber_loss(x, y, 'none', weight=w, out=out),
    'none into its input': lambda: smooth_l1_loss(out[1:], y[1:], 'none', out=out[:-1]),
    'by rows': lambda: smooth_l1_loss(table, table[::-1], axis=1),
    'by columns into out': lambda: smooth_l1_loss(table, table[::-1], axis=1, out=out[: n // 2]),
    'weighted gradient': lambda: smooth_l1_grad(x, y, 'weighted_mean', weight=w, out=out),
    'both': lambda: smooth_l1_value_and_grad(x, y, 'sum', b, out=out),
    'hessian': lambda: smooth_l1_grad_hess(x, y, out=(out, out2)),
    'path': lambda: smooth_l1_path(short, short[::-1], betas),
    'location': lambda: huber_location(x, 0.3, sample_weight=w),
}
operands = (x, y, w, b)
before = [zlib.crc32(a) for a in operands]
sevens = zlib.crc32(out)
set_num_threads(1)
for call in calls.values():
    call()
limit(1 << 24)
for name, call in calls.items():
    out.fill(7.0), out2.fill(7.0)
    failures, own, freed = 0, 0, 0
    while error := attempt(call, freed):
        assert zlib.crc32(out) == zlib.crc32(out2) == sevens, name
        own += str(error).startswith('no memory for')
        failures += 1
        freed = 2 * freed or 1
    assert [zlib.crc32(a) for a in operands] == before
    print(name, failures, own, sep=': ')
"""


@limits_memory
@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="the allocator of free-threaded CPython keeps memory that the limit does not reach",
)
def test_no_memory_is_a_memory_error_and_changes_nothing():
    """Every call with nearly none, then more and more, until it succeeds."""
    lines = child(LIMIT + EXHAUST)
    counts = {
        name: (int(failures), int(own))
        for name, failures, own in (line.split(": ") for line in lines)
    }
    assert len(counts) == 12
    assert all(failures for failures, _ in counts.values()), counts
    assert {name for name, (_, own) in counts.items() if own} >= {"mean", "both", "path"}, counts


@limits_memory
@pytest.mark.parametrize("threads", [2, 16])
def test_threads_that_cannot_be_started_are_done_without(threads):
    lines = child(
        LIMIT + "x = np.linspace(-3, 3, 10**6)\n"
        "y = np.zeros(10**6)\n"
        "limit(1 << 22)\n"  # no room for a stack
        f"print(repr(smooth_l1_loss(x, y, beta=0.7, n_threads={threads})))\n"
        f"print(repr(smooth_l1_loss(x[::2], y[::2], n_threads={threads})))\n"
    )
    x, y = np.linspace(-3, 3, 10**6), np.zeros(10**6)
    expected = smooth_l1_loss(x, y, beta=0.7), smooth_l1_loss(x[::2], y[::2])
    assert lines == [repr(loss) for loss in expected]


@limits_memory
def test_what_is_too_large_to_be_computed():
    x = np.broadcast_to(np.float32(3), (2**40, 2**10))
    for call in (
        lambda: smooth_l1_loss(x, np.float32(0), "none"),
        lambda: smooth_l1_grad(x, np.float32(0)),
        lambda: smooth_l1_value_and_grad(x, np.float32(0)),
        lambda: smooth_l1_grad_hess(x, np.float32(0)),
        lambda: smooth_l1_loss(x, np.float32(0), axis=1),
        lambda: huber_location(x, 1.0),
    ):
        with pytest.raises(MemoryError):
            call()


def test_an_operand_without_memory_is_a_memory_error():
    class Large:
        def __array__(self, dtype=None, copy=None):
            raise MemoryError("too large")

    with pytest.raises(MemoryError, match="too large"):
        smooth_l1_loss(Large(), Y)


# --- out, after a call that failed ---


def read_only():
    a = np.full((2, 3), 7.0)
    a.flags.writeable = False
    return a


BAD = {
    "shape of target": {"target": np.zeros((3, 2))},
    "dtype of target": {"target": np.zeros((2, 3), complex)},
    "masked target": {"target": np.ma.masked_less(Y, 1)},
    "no number": {"target": "text"},
    "reduction": {"reduction": "average"},
    "beta in the place of reduction": {"reduction": 0.5},
    "negative threshold": {"threshold": -1.0},
    "nan for a threshold": {"threshold": np.nan},
    "one negative threshold": {"threshold": [1.0, 1.0, -1.0]},
    "shape of threshold": {"threshold": [1.0, 1.0]},
    "shape of weight": {"weight": [1.0, 1.0]},
    "dtype of weight": {"weight": "text"},
    "no weight": {"reduction": "weighted_mean"},
    "weights of 0": {"reduction": "weighted_mean", "weight": np.zeros(3)},
    "weights that cancel": {"reduction": "weighted_mean", "weight": [1.0, -1.0, 0.0]},
    "nothing selected": {"reduction": "weighted_mean", "weight": [1.0, 1, 1], "where": False},
    "dtype of where": {"where": [1, 0, 1]},
    "shape of where": {"where": [True, False]},
    "n_threads": {"n_threads": 0},
    "type of n_threads": {"n_threads": 1.5},
}


def fails(function, out, target=Y, reduction="mean", threshold=1.0, **options):
    """Assert that the call raises and that arguments and memory of ``out`` are as before."""
    given = [a for a in (X, target, threshold, *options.values()) if isinstance(a, np.ndarray)]
    before = [a.tobytes() for a in (*given, *(out if isinstance(out, tuple) else (out,)))]
    with pytest.raises((TypeError, ValueError)):
        function(X, target, reduction, threshold, out=out, **options)
    assert before == [a.tobytes() for a in (*given, *(out if isinstance(out, tuple) else (out,)))]


@pytest.mark.parametrize("case", BAD)
def test_out_is_left_alone_by_what_fails(case):
    for function in LOSSES:
        fails(function, np.array(7.0), **BAD[case])
        fails(function, np.full(2, 7.0), axis=1, **BAD[case])
        fails(function, np.full(3, 7.0, ">f4"), axis=0, **BAD[case])
        if "reduction" not in BAD[case]:
            fails(function, np.full((2, 3), 7.0), **{**BAD[case], "reduction": "none"})
    for function in GRADS:
        for out in (np.full((2, 3), 7.0), np.full((3, 2), 7.0, np.float32).T):
            fails(function, out, **BAD[case])
            if "reduction" not in BAD[case]:
                fails(function, out, **{**BAD[case], "reduction": "none"})


UNFIT = {
    "dtype": np.full((2, 3), 7),
    "complex": np.full((2, 3), 7.0, complex),
    "shape": np.full((3, 2), 7.0),
    "read-only": read_only(),
}


@pytest.mark.parametrize("kind", UNFIT)
def test_an_out_that_cannot_be_written_to_is_left_alone(kind):
    bad = UNFIT[kind]
    for function in (*LOSSES, *GRADS):
        fails(function, bad, reduction="none")
    good = np.full((2, 3), 7.0)
    for out in ((good, bad), (bad, good)):
        with pytest.raises((TypeError, ValueError)):
            smooth_l1_grad_hess(X, Y, out=out)
        assert (good == 7).all()
        assert (bad == 7).all()


def test_outs_that_share_memory_are_left_alone():
    space = np.full(7, 7.0)
    with pytest.raises(ValueError, match=r"out\[0\] and out\[1\] must not share memory"):
        smooth_l1_grad_hess(X, Y, out=(space[:6].reshape(2, 3), space[1:].reshape(2, 3)))
    assert (space == 7).all()


def test_a_bad_environment_leaves_out_alone(monkeypatch):
    monkeypatch.setenv("SMOOTHL1_NUM_THREADS", "many")
    x, out = np.ones(10**5), np.full(10**5, 7.0)
    for call in (
        lambda: smooth_l1_loss(x, 0.0, "none", out=out),
        lambda: smooth_l1_loss(x, x, "none", out=out),
        lambda: smooth_l1_value_and_grad(x, x, out=out),
        lambda: smooth_l1_grad_hess(x, x, out=(out, np.empty_like(out))),
    ):
        with pytest.raises(ValueError, match="SMOOTHL1_NUM_THREADS must be an integer"):
            call()
        assert (out == 7).all()


def test_a_warning_that_is_an_error_leaves_out_alone():
    nothing = np.zeros((2, 3), bool)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for function, shape, options in (
            (smooth_l1_loss, (), {}),
            (smooth_l1_loss, (2,), {"axis": 1}),
            (smooth_l1_value_and_grad, (2, 3), {}),
        ):
            out = np.full(shape, 7.0)
            with pytest.raises(RuntimeWarning, match="mean of no elements is nan"):
                function(X, Y, where=nothing, out=out, **options)
            assert (out == 7).all()


def test_a_narrow_out_overflows_without_a_warning():
    """Whether it is reduced or not."""
    out = np.full(3, 7.0, np.float16)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        huge = np.full((2, 3), 1e30, np.float32)
        assert smooth_l1_loss(huge, np.float32(0), axis=0, out=out).tolist() == [np.inf] * 3
        assert (
            smooth_l1_loss(huge, np.float32(0), "none", out=np.empty((2, 3), "f2"))[0, 0] == np.inf
        )


def test_outs_that_alternate_do_not_share_memory():
    table = np.full((6, 2), 7.0)
    grad, hess = smooth_l1_grad_hess(X.ravel(), Y.ravel(), 0.5, out=(table[:, 0], table[:, 1]))
    expected = smooth_l1_grad_hess(X.ravel(), Y.ravel(), 0.5)
    np.testing.assert_array_equal(table, np.stack(expected, axis=1))
    assert np.shares_memory(grad, table)
    assert np.shares_memory(hess, table)


# --- weights far from 1 ---


@pytest.mark.parametrize("scale", [1e-45, 1e-42, 1e-30, 1e30, 1e38])
@pytest.mark.parametrize("grad", [smooth_l1_grad, huber_grad])
def test_only_the_ratios_of_weights_count_in_a_weighted_mean(scale, grad):
    x = np.array([0.5, -3.0, 1e-3, 0.0], np.float32)
    w = np.array([1.0, 2.0, 0.0, 1.0]) * scale
    w = w.astype(np.float32)
    got = grad(x, np.float32(0), "weighted_mean", 100.0 if grad is huber_grad else 1.0, weight=w)
    slopes = np.array([0.5, -3.0 if grad is huber_grad else -1.0, 1e-3, 0.0])
    np.testing.assert_allclose(got, slopes * (w / w.sum(dtype=float)), rtol=3e-7)


# --- subclasses and other objects ---


class Quiet(np.ndarray):
    """Opts out of ufuncs, and of being wrapped."""

    __array_ufunc__ = None

    def __array_function__(self, function, types, arguments, options):
        raise AssertionError(f"{function} was dispatched")

    def __array_wrap__(self, *arguments):
        raise AssertionError("a result was wrapped")


class Duck:
    """No ndarray, but has the overrides of one, and its data."""

    __array_ufunc__ = None
    __array_priority__ = 1000.0

    def __init__(self, a):
        self.a = a

    def __array__(self, dtype=None, copy=None):
        return self.a

    def __array_function__(self, function, types, arguments, options):
        raise AssertionError(f"{function} was dispatched")


class Opaque:
    __array_ufunc__ = None

    def __array_function__(self, function, types, arguments, options):
        raise AssertionError(f"{function} was dispatched")


class Interface:
    def __init__(self, a):
        self.a = a
        self.__array_interface__ = a.__array_interface__


def matrix(a):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PendingDeprecationWarning)
        return np.matrix(a)


def field(a):
    records = np.rec.array(np.zeros(a.shape, [("pad", "i1"), ("value", a.dtype)]))
    records.value[...] = a
    assert type(records.value) is np.ndarray
    return records.value


KINDS = {
    "matrix": matrix,
    "quiet": lambda a: a.view(Quiet),
    "duck": Duck,
    "interface": Interface,
    "field": field,
    "recarray of one dtype": lambda a: a.view(np.recarray),
    "ctypes": lambda a: np.ctypeslib.as_ctypes(a.copy()),
    "memoryview": lambda a: memoryview(a.copy()),
    "lists": lambda a: a.tolist(),
}


def equal(results, others):
    results = results if isinstance(results, tuple) else (results,)
    others = others if isinstance(others, tuple) else (others,)
    for got, expected in zip(results, others, strict=True):
        assert type(got) is type(expected)
        assert got.dtype == expected.dtype
        np.testing.assert_array_equal(got, expected)


@pytest.mark.parametrize("kind", KINDS)
def test_what_holds_an_array_is_taken_for_its_data(kind):
    wrap = KINDS[kind]
    x, y, w, b = wrap(X), wrap(Y), wrap(np.abs(X) + 1), wrap(np.abs(X) + 0.25)
    weight, beta = np.abs(X) + 1, np.abs(X) + 0.25
    for reduction in ("none", "mean", "weighted_mean"):
        for function in (*LOSSES, *GRADS):
            equal(
                function(x, y, reduction, b, weight=w),
                function(X, Y, reduction, beta, weight=weight),
            )
    equal(smooth_l1_loss(x, y, axis=0), smooth_l1_loss(X, Y, axis=0))
    equal(smooth_l1_grad_hess(x, y, weight=w), smooth_l1_grad_hess(X, Y, weight=weight))
    equal(smooth_l1_path(x, y, [0.0, 1.0]), smooth_l1_path(X, Y, [0.0, 1.0]))
    equal(huber_location(x, 0.5, sample_weight=w), huber_location(X, 0.5, sample_weight=weight))
    equal(smoothl1.SmoothL1Loss("none")(x, y), smoothl1.SmoothL1Loss("none")(X, Y))


def test_a_memory_map_is_read_and_written(tmp_path):
    x = np.memmap(tmp_path / "x", np.float64, "w+", shape=(2, 3))
    x[...] = X
    x.flush()
    x = np.memmap(tmp_path / "x", np.float64, "r", shape=(2, 3))
    out = np.memmap(tmp_path / "out", np.float64, "w+", shape=(2, 3))
    equal(smooth_l1_loss(x, Y, "none"), smooth_l1_loss(X, Y, "none"))
    assert smooth_l1_loss(x, Y, "none", out=out) is out
    out.flush()
    written = np.fromfile(tmp_path / "out").reshape(2, 3)
    np.testing.assert_array_equal(written, smooth_l1_loss(X, Y, "none"))
    with pytest.raises(ValueError, match="out is read-only"):
        smooth_l1_loss(X, Y, "none", out=x)


@pytest.mark.parametrize("kind", ["matrix", "quiet"])
def test_an_out_of_a_subclass_is_returned_as_it_is(kind):
    for function in (*LOSSES, *GRADS):
        for source in (X, np.asfortranarray(X)):
            out = KINDS[kind](np.zeros((2, 3)))
            got = function(source, Y, "none", out=out)
            assert (got[1] if isinstance(got, tuple) else got) is out
            expected = function(X, Y, "none")
            expected = expected[1] if isinstance(expected, tuple) else expected
            np.testing.assert_array_equal(out.view(np.ndarray), expected)
            # ... which may be an operand as well.
            both = KINDS[kind](X.copy())
            got = function(both, Y, "none", out=both)
            np.testing.assert_array_equal(both.view(np.ndarray), expected)
    pair = tuple(KINDS[kind](np.zeros((2, 3))) for _ in range(2))
    got = smooth_l1_grad_hess(X, Y, out=pair)
    assert got[0] is pair[0]
    assert got[1] is pair[1]
    if kind == "quiet":
        out = np.zeros(3).view(Quiet)
        assert smooth_l1_loss(X, Y, axis=0, out=out) is out
        np.testing.assert_array_equal(out.view(np.ndarray), smooth_l1_loss(X, Y, axis=0))


@pytest.mark.parametrize(
    "make",
    [
        Opaque,
        lambda: np.ma.array(X),
        lambda: np.ma.masked,
        lambda: np.zeros((2, 3), [("a", float)]),
        lambda: np.rec.array(np.zeros((2, 3), [("a", float)])),
        lambda: np.void(b"abcdefgh"),
        object,
        lambda: [Opaque()] * 3,
    ],
)
def test_what_holds_none_is_a_type_error(make):
    for name, call in {
        "input": lambda a: smooth_l1_loss(a, Y),
        "target": lambda a: smooth_l1_grad(X, a),
        "weight": lambda a: smooth_l1_loss(X, Y, weight=a),
        "where": lambda a: huber_loss(X, Y, where=a),
        "beta": lambda a: smooth_l1_value_and_grad(X, Y, beta=a),
        "grad_output": lambda a: huber_grad(X, Y, grad_output=a),
        "betas": lambda a: smooth_l1_path(X, Y, a),
        "y": lambda a: huber_location(a, 1.0),
        "sample_weight": lambda a: huber_location(X, 1.0, sample_weight=a),
    }.items():
        with pytest.raises(TypeError, match=rf"^{name} "):
            call(make())


def test_other_buffers():
    numbers = array.array("d", X.ravel())
    assert smooth_l1_loss(numbers, Y.ravel()) == smooth_l1_loss(X, Y)
    assert smooth_l1_loss(bytearray([0, 1, 3]), bytearray(3)) == (0 + 0.5 + 2.5) / 3
    doubles = (ctypes.c_float * 3)(1.0, 2.0, 3.0)
    assert smooth_l1_loss(doubles, 0.0).dtype == np.float32
