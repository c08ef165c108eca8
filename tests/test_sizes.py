"""Sizes at the edges: nothing at all, more than 2**31, 64 dimensions, the end of a page."""

import itertools
import os
import signal
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest

import smoothl1
from smoothl1 import (
    _simd,
    huber_grad,
    huber_loss,
    huber_value_and_grad,
    smooth_l1_grad,
    smooth_l1_grad_hess,
    smooth_l1_loss,
    smooth_l1_path,
    smooth_l1_value_and_grad,
)
from tests import guarded

LOSSES = [smooth_l1_loss, huber_loss]
GRADS = [smooth_l1_grad, huber_grad]
BOTH = [smooth_l1_value_and_grad, huber_value_and_grad]
DIMS = 64 if np.lib.NumpyVersion(np.__version__) >= "2.0.0" else 32


# --- the end of a page ---


def walk(name, simd):
    return subprocess.run(
        [sys.executable, "-m", "tests.guarded", name],
        cwd=Path(__file__).parent.parent,
        env={**os.environ, "SMOOTHL1_SIMD": simd},
        capture_output=True,
        text=True,
        timeout=600,
    )


ON_EVERY_SET = ("contiguous", "layouts")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="protects pages")


@linux
@pytest.mark.parametrize("name", [name for name in guarded.WALKS if name != "beyond"])
@pytest.mark.parametrize("simd", _simd.supported())
def test_no_byte_is_touched_beyond_the_arrays(name, simd):
    if simd != _simd.chosen and name not in ON_EVERY_SET:
        pytest.skip("walked on the chosen instruction set")
    done = walk(name, simd)
    assert done.returncode == 0, (done.returncode, done.stderr)
    assert int(done.stdout) > 0


@linux
def test_a_byte_beyond_would_be_noticed():
    done = walk("beyond", _simd.chosen)
    assert done.stdout == "guarded\n"
    assert done.returncode == -signal.SIGSEGV or "AddressSanitizer: SEGV" in done.stderr


# --- nothing ---

EMPTY = [(0,), (0, 3), (3, 0), (2, 0, 3), (0, 0), (1, 0, 1, 2)]


def axes(ndim):
    return [None, (), *range(-ndim, ndim), *itertools.combinations(range(ndim), 2)]


@pytest.mark.parametrize("shape", EMPTY, ids=str)
@pytest.mark.parametrize("function", LOSSES)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("thresholds", ["number", "array"])
def test_no_elements_along_every_axis(dtype, shape, function, weighted, thresholds):
    x = np.empty(shape, dtype)
    beta = 1.0 if thresholds == "number" else np.ones(shape)
    options = {"weight": np.ones(shape), "where": np.ones(shape, bool)} if weighted else {}
    assert function(x, x, "none", beta, **options).shape == shape
    for axis in axes(len(shape)):
        zeros = np.zeros(shape).sum(axis)
        got = function(x, x, "sum", beta, axis=axis, **options)
        assert got.shape == zeros.shape
        assert got.dtype == dtype
        assert not got.any()
        out = np.full(zeros.shape, 7.0)
        assert function(x, x, "sum", beta, axis=axis, out=out, **options) is out
        assert not out.any()
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            mean = function(x, x, "mean", beta, axis=axis, **options)
        assert mean.shape == zeros.shape
        assert np.isnan(mean).all()
        assert [str(w.message) for w in record] == ["mean of no elements is nan"] * (zeros.size > 0)
        if weighted and zeros.size:
            with pytest.raises(ValueError, match="weight must not sum to 0"):
                function(x, x, "weighted_mean", beta, axis=axis, **options)
        elif weighted:
            got = function(x, x, "weighted_mean", beta, axis=axis, **options)
            assert got.shape == zeros.shape


@pytest.mark.parametrize("shape", EMPTY, ids=str)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean", "weighted_mean"])
@pytest.mark.parametrize("options", [(), ("weight",), ("weight", "where")])
def test_no_elements_of_gradients(dtype, shape, reduction, options):
    x = np.empty(shape, dtype)
    given = {"weight": np.ones(shape[-1:]), "where": np.ones(shape, bool)}
    given = {name: given[name] for name in options}
    if reduction == "weighted_mean":
        given["weight"] = np.ones(shape)
        for function in (*GRADS, *BOTH):
            with pytest.raises(ValueError, match="weight must not sum to 0"):
                function(x, x, reduction, **given)
        return
    for function in GRADS:
        out = np.empty(shape, np.float64)
        assert function(x, x, reduction, **given).shape == shape
        assert function(x, x, reduction, out=out, **given) is out
    for function in BOTH:
        with warnings.catch_warnings(record=True) as record:
            warnings.simplefilter("always")
            loss, grad = function(x, x, reduction, **given)
        assert len(record) == (reduction == "mean")
        assert grad.shape == shape
        if reduction == "none":
            assert loss.shape == shape
        else:
            assert loss.shape == ()
            assert np.isnan(loss) if reduction == "mean" else loss == 0


@pytest.mark.parametrize("shape", EMPTY, ids=str)
def test_no_elements_of_the_others(dtype, shape):
    x = np.empty(shape, dtype)
    for hessian in ("exact", "majorizer"):
        for a in smooth_l1_grad_hess(x, x, 0.5, hessian=hessian, weight=np.ones(shape)):
            assert a.shape == shape
            assert a.dtype == dtype
    assert smooth_l1_path(x, x, [0.0, 1.0, 2.0], "sum").tolist() == [0, 0, 0]
    with pytest.warns(RuntimeWarning, match="mean of no elements"):
        assert np.isnan(smooth_l1_path(x, x, [0.0, 1.0])).all()
    with pytest.raises(ValueError, match="weight must not sum to 0"):
        smooth_l1_path(x, x, [1.0], "weighted_mean", weight=np.ones(shape))
    assert smooth_l1_path(np.ones(3), np.ones(3), []).shape == (0,)
    with pytest.raises(ValueError, match="y must hold at least one value"):
        smoothl1.huber_location(x, 1.0)


# --- many dimensions ---


def test_64_dimensions_of_every_function(dtype, rng):
    shape = [1] * DIMS
    shape[2], shape[17], shape[-1] = 3, 4, 5
    x, y = (rng.standard_normal(shape).astype(dtype) for _ in range(2))
    weight = rng.uniform(1, 2, shape)
    where = rng.uniform(size=shape) < 0.8
    options = {"weight": weight, "where": where}
    flat = {name: a.ravel() for name, a in options.items()}
    for reduction in ("none", "mean", "sum", "weighted_mean"):
        for function in (*LOSSES, *GRADS):
            got = function(x, y, reduction, 0.7, **options)
            np.testing.assert_array_equal(
                np.ravel(got), np.ravel(function(x.ravel(), y.ravel(), reduction, 0.7, **flat))
            )
            np.testing.assert_array_equal(
                function(x.T, y.T, reduction, 0.7, **{k: a.T for k, a in options.items()}),
                function(x.T.copy(), y.T, reduction, 0.7, **{k: a.T for k, a in options.items()}),
            )
    for a, b in zip(
        smooth_l1_grad_hess(x, y, weight=weight),
        smooth_l1_grad_hess(x.ravel(), y.ravel(), weight=weight.ravel()),
        strict=True,
    ):
        np.testing.assert_array_equal(a.ravel(), b)
    np.testing.assert_array_equal(
        smooth_l1_path(x, y, [0.3, 1.0], **options),
        smooth_l1_path(x.ravel(), y.ravel(), [0.3, 1.0], **flat),
    )
    for axis in ((), 2, -1, (17, 2), tuple(range(DIMS - 1)), tuple(range(0, DIMS, 2))):
        got = smooth_l1_loss(x, y, "sum", axis=axis)
        np.testing.assert_allclose(got, smooth_l1_loss(x, y, "none").sum(axis), rtol=1e-6)
        assert got.shape == np.empty(shape).sum(axis).shape


def test_every_axis_of_64_has_a_stride_of_its_own(dtype):
    """2**12 elements that no two axes of can be merged."""
    shape = [2] * 12 + [1] * (DIMS - 12)
    base = np.arange(2.0**24, dtype=np.float32)
    strides = [4 * 3**i for i in range(12)] + [0] * (DIMS - 12)
    x = np.lib.stride_tricks.as_strided(base, shape, strides)
    expected = smooth_l1_loss(x.copy().astype(dtype), dtype(0), "sum")
    assert smooth_l1_loss(x.astype(dtype), dtype(0), "sum") == expected
    assert smooth_l1_loss(x, dtype(0), "sum") == pytest.approx(expected, rel=1e-7)
    assert smooth_l1_loss(x, np.float32(0), "none").shape == tuple(shape)


# --- strides of 0, negative ones ---


def test_strides_of_0_and_negative_ones_of_every_operand(dtype, rng):
    x, y = rng.standard_normal((2, 40, 30)).astype(dtype)
    w, b = rng.uniform(0.5, 2, (2, 40, 30)).astype(dtype)
    mask = rng.uniform(size=(40, 30)) < 0.7
    cuts = {
        "reversed": lambda a: a[::-1, ::-1],
        "half reversed": lambda a: a[:, ::-1],
        "row": lambda a: np.broadcast_to(a[3], a.shape),
        "column": lambda a: np.broadcast_to(a[:, 3:4], a.shape),
        "one": lambda a: np.broadcast_to(a[3, 4], a.shape),
        "reversed row": lambda a: np.broadcast_to(a[3, ::-1], a.shape),
    }
    for cut in cuts.values():
        views = [cut(a) for a in (x, y, w, b, mask)]
        copies = [a.copy() for a in views]
        for reduction in ("none", "mean", "weighted_mean"):
            results = []
            for u, v, weight, beta, where in (views, copies):
                options = {"weight": weight, "where": where}
                results.append(
                    [
                        smooth_l1_loss(u, v, reduction, beta, **options),
                        *smooth_l1_value_and_grad(u, v, reduction, beta, **options),
                        huber_grad(u, v, reduction, beta, **options),
                        *smooth_l1_grad_hess(u, v, beta, weight=weight),
                    ]
                )
            for one, other in zip(*results, strict=True):
                np.testing.assert_array_equal(one, other)


# --- more than 2**31 elements ---


ZERO = np.float32(0)


@pytest.fixture
def threes():
    x = np.broadcast_to(np.float32(3), (2**16, 2**15 + 1))
    assert x.size > 2**31
    return x


def test_more_than_two_to_the_31_of_every_reduction(threes):
    assert huber_loss(threes, ZERO, "sum", 2.0) == np.float32(4.0 * threes.size)
    assert smooth_l1_loss(threes, ZERO) == 2.5
    weight = np.broadcast_to(np.float32(2), threes.shape)
    where = np.broadcast_to(np.arange(threes.shape[1]) < 2, threes.shape)
    options = {"weight": weight, "where": where}
    assert smooth_l1_loss(threes, ZERO, "weighted_mean", **options) == 2.5
    assert smooth_l1_path(threes, ZERO, [2.0], "sum", where=where) == 2.0 * 2 * 2**16
    columns = smooth_l1_loss(threes, ZERO, axis=0)
    assert columns.shape == (2**15 + 1,)
    assert (columns == 2.5).all()


def test_more_than_two_to_the_31_gradients_into_one_place(threes):
    place = np.full(3, 7.0, np.float32)
    out = np.lib.stride_tricks.as_strided(place[1:2], threes.shape, (0, 0))
    loss, grad = smooth_l1_value_and_grad(threes, ZERO, out=out)
    assert grad is out
    assert loss == 2.5
    assert place.tolist() == [7, np.float32(1 / threes.size), 7]


@linux
def test_more_than_two_to_the_31_bytes_apart():
    x = np.zeros(2**31 + 10, np.int8)  # one page of zeros, until it is written to
    x[[0, 2**31 - 1, 2**31, -1]] = 4, 5, 6, 7
    assert smooth_l1_loss(x, 0, "sum") == 3.5 + 4.5 + 5.5 + 6.5
    assert smooth_l1_loss(x.reshape(2, -1), 0, "sum", axis=1).tolist() == [3.5, 4.5 + 5.5 + 6.5]
    assert smooth_l1_loss(x[:: -(2**30)], 0, "none").tolist() == [6.5, 0, 0]
    last = np.broadcast_to(x[-1:], 5)
    assert smooth_l1_grad(last, x[:: 2**29], "sum").tolist() == [1, 1, 1, 1, 1]
