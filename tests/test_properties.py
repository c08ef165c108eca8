"""Any dtype, shape, stride, offset, threshold and option, against the slow twin."""

import numpy as np
import pytest

from smoothl1 import (
    huber_grad,
    huber_loss,
    smooth_l1_grad,
    smooth_l1_loss,
    smooth_l1_value_and_grad,
)
from tests import reference

hypothesis = pytest.importorskip("hypothesis")
st = hypothesis.strategies

DTYPES = ["f2", "f4", "f8", ">f4", ">f8", "i1", "u2", "i4", "u8", "?"]


@st.composite
def views(draw, shape, kinds=tuple(DTYPES), low=-100, high=100):
    """An array of the shape, cut with random steps and offsets out of a larger one."""
    dtype = np.dtype(draw(st.sampled_from(kinds)))
    steps = [draw(st.sampled_from([1, 1, 1, 2, 3, -1, -2])) for _ in shape]
    offsets = [draw(st.integers(0, 2)) for _ in shape]
    order = draw(st.permutations(range(len(shape))))
    flat = [draw(st.booleans()) and draw(st.booleans()) for _ in shape]
    extents = [
        1 if zero else extent * abs(step) + offset
        for extent, step, offset, zero in zip(shape, steps, offsets, flat, strict=True)
    ]
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    values = rng.uniform(low, high, extents)
    if dtype.kind in "ub":
        values = np.abs(values)
    base = np.empty([extents[i] for i in order], dtype).transpose(np.argsort(order))
    base[...] = values
    cut = tuple(
        slice(None) if zero else slice(offset, None, abs(step))
        for step, offset, zero in zip(steps, offsets, flat, strict=True)
    )
    view = base[cut]
    view = view[tuple(slice(None, None, -1 if step < 0 else 1) for step in steps)]
    view = view[tuple(slice(0, extent) for extent in shape)]
    return np.broadcast_to(view, shape)


@st.composite
def cases(draw):
    shape = tuple(draw(st.lists(st.sampled_from([1, 2, 3, 5, 17, 70]), min_size=1, max_size=4)))
    hypothesis.assume(np.prod(shape) <= 20000)
    return (
        draw(views(shape)),
        draw(views(shape)),
        draw(st.sampled_from([0.0, 0.25, 0.37, 1.0, 1.35, 7.0, 1e4])),
    )


def tolerance(dtype):
    return {2: 2e-3, 4: 1e-6, 8: 1e-14}[dtype.itemsize]


def plain(a, dtype):
    return np.ascontiguousarray(a).astype(dtype)


def native(a):
    return plain(a, a.dtype.newbyteorder("="))


@hypothesis.settings(deadline=None, max_examples=300)
@hypothesis.given(cases(), st.sampled_from(["none", "mean", "sum"]), st.booleans())
def test_against_the_twin(case, reduction, huber):
    x, y, beta = case
    if huber and beta == 0:
        beta = 0.5
    loss, grad = (huber_loss, huber_grad) if huber else (smooth_l1_loss, smooth_l1_grad)
    got = loss(x, y, reduction, beta)
    dtype = got.dtype
    working = np.dtype(np.float32 if dtype == np.float16 else dtype)
    a, b = plain(x, working), plain(y, working)
    each = reference.values(a.astype(np.float64), b.astype(np.float64), beta, huber)
    expected = {"none": lambda v: v, "mean": np.mean, "sum": np.sum}[reduction](each)
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(
            got,
            expected.astype(dtype),
            rtol=tolerance(dtype),
            atol=1e-4 if working == "f4" else 1e-12,
        )
    # The same bits as from contiguous native copies.
    c, d = native(x), native(y)
    np.testing.assert_array_equal(got, loss(c, d, reduction, beta))
    np.testing.assert_array_equal(grad(x, y, reduction, beta), grad(c, d, reduction, beta))
    both = smooth_l1_value_and_grad(x, y, reduction, beta)
    np.testing.assert_array_equal(both[0], smooth_l1_loss(x, y, reduction, beta))
    np.testing.assert_array_equal(both[1], smooth_l1_grad(x, y, reduction, beta))


@st.composite
def option_cases(draw):
    x, y, beta = draw(cases())
    shape = x.shape
    options = {}
    if draw(st.booleans()):
        options["weight"] = draw(views(shape, ("f4", "f8", "i2", ">f4"), 1, 10))
    if draw(st.booleans()):
        options["where"] = draw(views(shape, ("?",), -1, 1)).copy()
        options["where"].flat[0] = True
    if draw(st.booleans()):
        beta = np.abs(draw(views(shape, ("f4", "f8", "i4"), 0, 5)))
    axis = draw(st.none() | st.integers(0, len(shape) - 1))
    return x, y, beta, options, axis


@hypothesis.settings(deadline=None, max_examples=200)
@hypothesis.given(option_cases(), st.sampled_from(["mean", "sum", "weighted_mean"]))
def test_options_do_not_depend_on_the_layout(case, reduction):
    x, y, beta, options, axis = case
    if reduction == "weighted_mean" and "weight" not in options:
        reduction = "mean"
    if axis is not None:
        options.pop("where", None)
    got = smooth_l1_loss(x, y, reduction, beta, axis=axis, **options)
    dtype = got.dtype
    working = np.float32 if dtype == np.float16 else dtype
    a, b = plain(x, working), plain(y, working)
    copies = {name: np.ascontiguousarray(v) for name, v in options.items()}
    limit = np.ascontiguousarray(beta) if isinstance(beta, np.ndarray) else beta
    again = smooth_l1_loss(native(x), native(y), reduction, limit, axis=axis, **copies)
    np.testing.assert_array_equal(got, again)

    each = reference_with(a, b, limit, copies)
    w = np.asarray(copies.get("weight", np.ones(a.shape))).astype(np.float64)
    where = copies.get("where", np.ones(a.shape, bool))
    total = np.sum(each * w, axis=axis, where=where)
    divisor = {
        "sum": 1.0,
        "mean": np.sum(where, axis=axis),
        "weighted_mean": np.sum(w, axis=axis, where=where),
    }[reduction]
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(
            got, (total / divisor).astype(dtype), rtol=max(tolerance(dtype), 1e-12) * 4, atol=1e-3
        )


def reference_with(a, b, beta, copies):
    """The twin, element by element where the threshold is an array."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    if not isinstance(beta, np.ndarray):
        return reference.values(a, b, beta)
    z = np.abs(a - b)
    with np.errstate(all="ignore"):
        return np.where(z < beta, z * z / (2 * beta), z - beta / 2)
