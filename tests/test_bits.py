"""Every function, reduction and layout: the bits are those of contiguous arrays in C order."""

import itertools

import numpy as np
import pytest

import smoothl1
from smoothl1 import HuberLoss, SmoothL1Loss

SHAPE = (20, 5, 13)
REDUCTIONS = ["none", "mean", "sum", "weighted_mean"]


def fortran(a):
    return np.asfortranarray(a)


def mixed(a):
    return a.transpose(1, 2, 0).copy().transpose(2, 0, 1)


def strided(a):
    base = np.empty([2 * extent + 1 for extent in a.shape], a.dtype)
    view = base[1::2, ::-2, :-1:2][:, : a.shape[1]]
    view[...] = a
    return view


def reversed_(a):
    return a[::-1, :, ::-1].copy()[::-1, :, ::-1]


def swapped(a):
    return a.astype(a.dtype.newbyteorder())


def unaligned(a):
    record = np.zeros(a.shape, [("pad", "i1"), ("a", a.dtype)])
    record["a"] = a
    return record["a"]


LAYOUTS = [np.ascontiguousarray, fortran, mixed, strided, reversed_, swapped, unaligned]


def loss(name, x, y, reduction, beta, **options):
    return getattr(smoothl1, f"{name}_loss")(x, y, reduction, beta, **options)


def grad(name, x, y, reduction, beta, **options):
    return getattr(smoothl1, f"{name}_grad")(x, y, reduction, beta, **options)


def both(name, x, y, reduction, beta, **options):
    return getattr(smoothl1, f"{name}_value_and_grad")(x, y, reduction, beta, **options)


def along(axis):
    return lambda *args, **options: loss(*args, **options, axis=axis)


def path(name, x, y, reduction, beta, **options):
    return smoothl1.smooth_l1_path(x, y, [0.2, float(np.max(beta))], reduction, **options)


def grad_hess(name, x, y, reduction, beta, *, where=None, **options):
    return smoothl1.smooth_l1_grad_hess(x, y, beta, hessian="majorizer", **options)


FUNCTIONS = {
    "loss": loss,
    "axis 0": along(0),
    "axis 1": along(1),
    "axis -1": along(-1),
    "axes 0 and 2": along((0, 2)),
    "grad": grad,
    "both": both,
    "path": path,
    "grad_hess": grad_hess,
}


def operands(dtype, seed):
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(SHAPE).astype(dtype)
    y = rng.standard_normal(SHAPE).astype(dtype)
    # Of both signs, so that the order of their sum shows in many bits.
    w = rng.standard_normal(SHAPE).astype(dtype) * np.exp(3 * rng.standard_normal(SHAPE)).astype(
        dtype
    )
    return x, y, w, rng.random(SHAPE) < 0.9, rng.uniform(0.1, 2, SHAPE)


def same(got, expected):
    got = got if isinstance(got, tuple) else (got,)
    expected = expected if isinstance(expected, tuple) else (expected,)
    for a, b in zip(got, expected, strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)


def cases():
    for name, (key, function), reduction in itertools.product(
        ("smooth_l1", "huber"), FUNCTIONS.items(), REDUCTIONS
    ):
        if key in ("path", "grad_hess") and name == "huber":
            continue
        if reduction == "none" and (key.startswith(("axis", "axes")) or key == "path"):
            continue
        if key == "grad_hess" and reduction != "none":
            continue
        yield pytest.param(name, function, reduction, id=f"{name}-{key}-{reduction}")


@pytest.mark.parametrize(("name", "function", "reduction"), list(cases()))
def test_bits_do_not_depend_on_the_layout(name, function, reduction, dtype):
    for seed in range(2):
        x, y, w, where, b = operands(dtype, seed)
        for options in ({}, {"weight": w}, {"weight": w, "where": where}):
            if reduction == "weighted_mean" and not options:
                continue
            for beta in (0.37, b):
                expected = function(name, x, y, reduction, beta, **options)
                for layout, other in itertools.product(LAYOUTS, (None, *LAYOUTS[:3])):
                    moved = {key: (other or layout)(a) for key, a in options.items()}
                    threshold = beta if isinstance(beta, float) else (other or layout)(beta)
                    got = function(
                        name, layout(x), (other or layout)(y), reduction, threshold, **moved
                    )
                    same(got, expected)


@pytest.mark.parametrize("name", ["smooth_l1", "huber"])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradients_have_the_same_bits_from_every_function(name, reduction, dtype):
    """The function, value and gradient in one, the object; into ``out`` of any layout."""
    kind = SmoothL1Loss if name == "smooth_l1" else HuberLoss
    for seed in range(20):
        x, y, w, where, _ = operands(dtype, 100 + seed)
        for options in ({"weight": w}, {"weight": w, "where": where}):
            value = loss(name, x, y, reduction, 0.37, **options)
            expected = grad(name, x, y, reduction, 0.37, **options)
            for layout in LAYOUTS:
                a = layout(x)
                got = grad(name, a, y, reduction, 0.37, **options)
                np.testing.assert_array_equal(got, expected)
                same(both(name, a, y, reduction, 0.37, **options), (value, expected))
                for out in (np.empty(SHAPE, dtype), fortran(got), strided(got), swapped(got)):
                    grad(name, a, y, reduction, 0.37, **options, out=out)
                    np.testing.assert_array_equal(out, expected)
                    out[...] = 0
                    got = both(name, a, y, reduction, 0.37, **options, out=out)
                    np.testing.assert_array_equal(got[0], value)
                    np.testing.assert_array_equal(out, expected)
            thing = kind(reduction, 0.37)
            np.testing.assert_array_equal(thing.backward(fortran(x), y, **options), expected)
            same(thing.value_and_grad(fortran(x), y, **options), (value, expected))
            overwritten = fortran(x)
            grad(name, overwritten, y, reduction, 0.37, **options, out=overwritten)
            np.testing.assert_array_equal(overwritten, expected)


@pytest.mark.parametrize("n_threads", [1, 2, 3])
def test_gradients_of_large_arrays_with_weights_that_nearly_cancel(n_threads):
    rng = np.random.default_rng(5)
    x, w = rng.normal(size=(2, 300, 700))
    w -= w.mean()
    options = {"reduction": "weighted_mean", "weight": w, "n_threads": n_threads}
    expected = smoothl1.smooth_l1_grad(x, 0.0, "weighted_mean", weight=w, n_threads=1)
    for layout in (np.asarray, fortran):
        np.testing.assert_array_equal(smoothl1.smooth_l1_grad(layout(x), 0.0, **options), expected)
        got = smoothl1.smooth_l1_value_and_grad(layout(x), 0.0, **options)
        np.testing.assert_array_equal(got[1], expected)
