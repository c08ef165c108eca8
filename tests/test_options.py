"""axis, weight, where, array thresholds, out, grad_output."""

import itertools
import warnings

import numpy as np
import pytest

import smoothl1
from smoothl1 import (
    huber_grad,
    huber_loss,
    smooth_l1_grad,
    smooth_l1_grad_hess,
    smooth_l1_loss,
    smooth_l1_value_and_grad,
)
from tests import reference

AXES = [0, 1, -1, (1, 0), (2, 0), (0, 1, 2), ()]


@pytest.mark.parametrize("axis", AXES, ids=str)
@pytest.mark.parametrize("reduction", ["mean", "sum", "weighted_mean"])
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 4100), (300, 2, 3), (1, 1, 1)], ids=str)
def test_axis_has_the_bits_of_each_slice(dtype, axis, reduction, shape, rng):
    x, y = rng.standard_normal((2, *shape)).astype(dtype)
    w = rng.uniform(0.5, 2, shape).astype(dtype)
    b = rng.uniform(0, 2, shape)
    where = rng.uniform(size=shape) < 0.9
    where[..., 0] = True
    where[0, 0] = where[:, 0, 0] = True
    where |= reduction != "sum"
    reduced = tuple(np.atleast_1d(np.array(axis, int)) % 3)
    kept = [i for i in range(3) if i not in reduced]
    weighted = {"weight": w} if reduction == "weighted_mean" else {}
    for u, v in ((x, y), (np.asfortranarray(x), y[::-1].copy()[::-1])):
        for beta, options in (
            (0.37, weighted),
            (1.0, weighted),
            (b, {"weight": w, "where": where}),
        ):
            got = smooth_l1_loss(u, v, reduction, beta, axis=axis, **options)
            assert got.dtype == dtype
            assert got.shape == tuple(shape[i] for i in kept)
            for index in itertools.islice(np.ndindex(got.shape), 40):
                part = [slice(None)] * 3
                for i, k in zip(kept, index, strict=True):
                    part[i] = k
                part = tuple(part)
                sliced = {name: np.atleast_1d(a[part]) for name, a in options.items()}
                limit = np.atleast_1d(beta[part]) if beta is b else beta
                one = smooth_l1_loss(
                    np.atleast_1d(x[part]), np.atleast_1d(y[part]), reduction, limit, **sliced
                )
                assert got[index] == one


def test_axis_of_many_outputs_and_many_leaves(dtype, rng):
    # Several tiles of outputs, several groups of leaves.
    for shape, axis in (((100000, 3), 0), ((100000, 3), 1), ((300, 5000), 0), ((3, 300000), 1)):
        x, y = rng.standard_normal((2, *shape)).astype(dtype)
        got = smooth_l1_loss(x, y, "sum", axis=axis)
        terms = reference.values(x.astype(np.float64), y.astype(np.float64))
        np.testing.assert_allclose(
            got, terms.sum(axis), rtol=1e-6 if dtype is np.float32 else 1e-13
        )
        moved = np.moveaxis(x, axis, -1), np.moveaxis(y, axis, -1)
        for k in {0, 1, len(got) // 2, len(got) - 1}:
            assert got[k] == smooth_l1_loss(moved[0][k], moved[1][k], "sum")
        for n_threads in (1, 3):
            again = smooth_l1_loss(x, y, "sum", axis=axis, n_threads=n_threads)
            np.testing.assert_array_equal(again, got)


@pytest.mark.parametrize("beta", [0.0, 0.37, 1.0])
@pytest.mark.parametrize(
    ("shape", "axis"),
    [
        ((5000, 70), 0),
        ((70, 15), 1),
        ((70, 16), 1),
        ((70, 17), 1),
        ((200, 33), 1),
        ((40, 65), 1),
        ((9, 4100, 21), 1),
        ((3, 7, 150), (0, 1)),
        ((150, 3, 7), (1, 2)),
        ((8, 40, 9), (0, 2)),
        ((1, 90), 0),
    ],
)
def test_outputs_side_by_side_have_the_bits_of_each_slice(dtype, beta, shape, axis, rng):
    x, y = rng.standard_normal((2, *shape)).astype(dtype)
    x[0, 0] = np.inf
    reduced = tuple(np.atleast_1d(axis))
    kept = [i for i in range(len(shape)) if i not in reduced]
    for u, v in ((x, y), (x[..., ::-1], y[..., ::-1]), (np.asfortranarray(x), y), (x, y[:1, :1])):
        v = np.broadcast_to(v, shape)
        got = smooth_l1_loss(u, v, "sum", beta, axis=axis)
        flat = [a.transpose(*kept, *reduced).reshape(*got.shape, -1) for a in (u, v)]
        for index in np.ndindex(got.shape):
            assert got[index] == smooth_l1_loss(flat[0][index], flat[1][index], "sum", beta)


@pytest.mark.parametrize("beta", [0.0, 0.37, 1.0, 1e-45, 1e300, np.inf])
@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 16, 17, 31, 33, 511, 513])
def test_short_rows_with_special_values_have_the_bits_of_each_row(dtype, beta, n, rng):
    x, y = rng.standard_normal((2, 70, n)).astype(dtype)
    special = [np.nan, np.inf, -np.inf, np.finfo(dtype).max, np.finfo(dtype).tiny]
    x.ravel()[rng.choice(70 * n, 5, replace=False)] = special
    for reduction in ("sum", "mean"):
        got = smooth_l1_loss(x, y, reduction, beta, axis=1)
        rows = [smooth_l1_loss(u, v, reduction, beta) for u, v in zip(x, y, strict=True)]
        np.testing.assert_array_equal(got, np.array(rows))


def test_axis_with_tall_outputs_beyond_one_group(rng):
    # 2 columns of more leaves than a group of a tile holds.
    x = rng.standard_normal((40 * 4096 + 17, 2)).astype(np.float32)
    got = smooth_l1_loss(x, np.float32(0), "sum", axis=0)
    for k in range(2):
        assert got[k] == smooth_l1_loss(x[:, k], np.float32(0), "sum")


def test_axis_of_zero_extent():
    x = np.zeros((3, 0, 2))
    assert smooth_l1_loss(x, x, "sum", axis=1).tolist() == [[0, 0]] * 3
    assert smooth_l1_loss(x, x, "sum", axis=0).shape == (0, 2)
    assert smooth_l1_loss(x, x, "mean", axis=0).shape == (0, 2)
    with pytest.warns(RuntimeWarning, match="mean of no elements"):
        assert np.isnan(smooth_l1_loss(x, x, "mean", axis=1)).all()


def test_weights(dtype, rng):
    x, y = rng.standard_normal((2, 200)).astype(dtype)
    w = rng.uniform(0, 3, 200).astype(dtype)
    each = smooth_l1_loss(x, y, "none", 0.7)
    np.testing.assert_array_equal(smooth_l1_loss(x, y, "none", 0.7, weight=w), each * w)
    total = np.sum(each.astype(np.float64) * w)
    for reduction, divisor in (("sum", 1), ("mean", 200), ("weighted_mean", w.sum(dtype=float))):
        got = smooth_l1_loss(x, y, reduction, 0.7, weight=w)
        assert got == pytest.approx(total / divisor, rel=1e-6)
        grad = smooth_l1_grad(x, y, reduction, 0.7, weight=w)
        expected = reference.slopes(x, y, 0.7).astype(np.float64) * w / divisor
        np.testing.assert_allclose(grad, expected, rtol=1e-6)
    assert huber_loss(x, y, "mean", 0.7, w) == huber_loss(x, y, "mean", 0.7, weight=w)


def test_weight_of_huber_is_its_fifth_argument_as_in_pytorch():
    assert huber_loss([1.0, 2.0], [0.0, 0.0], "sum", 1.0, [1.0, 3.0]) == 0.5 + 4.5


def test_weights_broadcast(rng):
    x, y = rng.standard_normal((2, 30, 4))
    for w in (rng.uniform(size=4), rng.uniform(size=(30, 1)), np.array(2.0), 2.0):
        full = np.broadcast_to(w, x.shape).copy()
        for reduction in ("none", "mean", "weighted_mean"):
            np.testing.assert_array_equal(
                smooth_l1_loss(x, y, reduction, weight=w),
                smooth_l1_loss(x, y, reduction, weight=full),
            )
            np.testing.assert_array_equal(
                smooth_l1_value_and_grad(x, y, reduction, weight=w)[1],
                smooth_l1_grad(x, y, reduction, weight=full),
            )


def test_hessian_is_weighted(rng):
    x, y, w = rng.standard_normal((3, 50))
    grad, hess = smooth_l1_grad_hess(x, y, 0.7)
    weighted = smooth_l1_grad_hess(x, y, 0.7, weight=w)
    np.testing.assert_array_equal(weighted[0], grad * w)
    np.testing.assert_array_equal(weighted[1], hess * w)


@pytest.mark.parametrize("reduction", ["none", "mean", "sum", "weighted_mean"])
@pytest.mark.parametrize("beta", [0.0, 0.37, 1.0])
def test_where_leaves_out_whatever_is_there(dtype, reduction, beta, rng):
    x, y = rng.standard_normal((2, 9000)).astype(dtype)
    w = rng.uniform(0.5, 1.5, 9000).astype(dtype)
    where = rng.uniform(size=9000) < 0.6
    bad_x, bad_w = x.copy(), w.copy()
    bad_x[~where] = rng.choice([np.nan, np.inf, 1e30], (~where).sum())
    bad_w[~where] = np.nan
    for options, bad in (({}, {}), ({"weight": w}, {"weight": bad_w})):
        if reduction == "weighted_mean" and not options:
            continue
        got = smooth_l1_loss(bad_x, y, reduction, beta, where=where, **bad)
        grad = smooth_l1_grad(bad_x, y, reduction, beta, where=where, **bad)
        both = smooth_l1_value_and_grad(bad_x, y, reduction, beta, where=where, **bad)
        picked = {name: a[where] for name, a in options.items()}
        if reduction == "none":
            expected = np.zeros_like(x)
            expected[where] = smooth_l1_loss(x[where], y[where], "none", beta, **picked)
            np.testing.assert_array_equal(got, expected)
        else:
            compressed = smooth_l1_loss(x[where], y[where], reduction, beta, **picked)
            assert got == pytest.approx(compressed, rel=1e-6)
        expected = np.zeros_like(x)
        expected[where] = smooth_l1_grad(x[where], y[where], reduction, beta, **picked)
        np.testing.assert_allclose(grad, expected, rtol=3e-7, atol=0)
        assert not grad[~where].any()
        np.testing.assert_array_equal(both[0], got)
        np.testing.assert_array_equal(both[1], grad)


@pytest.mark.parametrize("n", [1023, 1024, 1025, 1088, 1151, 4095, 4097, 4096 + 1025, 9000])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("beta", [0.0, 0.37, 1.0, 2.0, 1e9, np.inf])
def test_what_is_not_selected_is_a_difference_of_nothing(n, weighted, beta, dtype, rng):
    """Bit for bit, beside the loops without a selection and with gradients."""
    x, y, w = (3 * rng.standard_normal((3, n))).astype(dtype)
    where = (rng.integers(0, 3, n) * 100).astype(np.uint8).view(bool)  # any byte but 0 is true
    selected = where.view(np.uint8) != 0
    u = np.where(selected, x, y)
    x[~selected] = np.nan
    given = {"weight": w} if weighted else {}
    plain = {"weight": np.where(selected, w, 0).astype(dtype)} if weighted else {}
    got = smooth_l1_loss(x, y, "sum", beta, where=where, **given)
    assert got == smooth_l1_loss(u, y, "sum", beta, **plain)
    if 0 < beta < np.inf:
        assert got == smooth_l1_value_and_grad(x, y, "sum", beta, where=where, **given)[0]


def test_where_broadcasts_and_counts_per_output(rng):
    x, y = rng.standard_normal((2, 5, 4))
    where = np.array([True, False, True, False])
    assert smooth_l1_loss(x, y, where=where) == pytest.approx(
        smooth_l1_loss(x[:, where], y[:, where])
    )
    rows = np.array([[True], [False], [True], [True], [True]])
    with pytest.warns(RuntimeWarning, match="mean of no elements"):
        got = smooth_l1_loss(x, y, where=rows, axis=1)
    assert np.isnan(got[1])
    np.testing.assert_allclose(got[0], smooth_l1_loss(x[0], y[0]))


def test_where_selects_nothing(dtype):
    x = np.array([1.0, np.nan], dtype)
    nothing = np.zeros(2, bool)
    assert smooth_l1_loss(x, x, "sum", where=nothing) == 0
    with pytest.warns(RuntimeWarning, match="mean of no elements is nan") as record:
        assert np.isnan(smooth_l1_loss(x, x, where=nothing))
    assert record[0].filename == __file__
    with pytest.warns(RuntimeWarning, match="mean of no elements is nan") as record:
        loss, grad = smooth_l1_value_and_grad(x, x, where=nothing)
    assert record[0].filename == __file__
    assert np.isnan(loss)
    np.testing.assert_array_equal(grad, [0, 0])
    np.testing.assert_array_equal(smooth_l1_grad(x, x, where=nothing), [0, 0])
    with pytest.raises(ValueError, match="weight must not sum to 0"):
        smooth_l1_loss(x, x, "weighted_mean", weight=[1, 1], where=nothing)


@pytest.mark.parametrize("huber", [False, True], ids=["smooth_l1", "huber"])
def test_threshold_per_element_and_per_column(dtype, huber, rng):
    loss, grad = (huber_loss, huber_grad) if huber else (smooth_l1_loss, smooth_l1_grad)
    x, y = rng.standard_normal((2, 500, 3)).astype(dtype)
    columns = np.array([0.3, 1.0, 2.5])
    for reduction in ("none", "mean", "sum"):
        got = loss(x, y, reduction, columns)
        slope = grad(x, y, reduction, columns)
        parts = [loss(x[:, k], y[:, k], reduction, columns[k]) for k in range(3)]
        slopes = [grad(x[:, k], y[:, k], reduction, columns[k]) for k in range(3)]
        if reduction == "none":
            np.testing.assert_array_equal(got, np.stack(parts, 1))
            np.testing.assert_array_equal(slope, np.stack(slopes, 1))
        else:
            expected = np.sum(parts, dtype=float) / (3 if reduction == "mean" else 1)
            assert got == pytest.approx(expected, rel=1e-6)
    each = rng.uniform(0.1, 2, x.shape)
    rounded = each.astype(dtype)
    expected = [
        loss(a, b, "none", float(t)) for a, b, t in zip(x.flat, y.flat, rounded.flat, strict=True)
    ]
    np.testing.assert_array_equal(loss(x, y, "none", each).ravel(), np.array(expected))


@pytest.mark.parametrize("reduction", ["mean", "sum", "weighted_mean"])
def test_out_of_a_reduction(dtype, reduction, rng):
    x, y, w = rng.uniform(size=(3, 6, 5)).astype(dtype)
    out = np.full(6, np.nan)
    assert smooth_l1_loss(x, y, reduction, weight=w, axis=1, out=out) is out
    np.testing.assert_array_equal(out, smooth_l1_loss(x, y, reduction, weight=w, axis=1))
    scalar = np.array(np.nan)
    assert smooth_l1_loss(x, y, reduction, weight=w, out=scalar) is scalar
    assert scalar == smooth_l1_loss(x, y, reduction, weight=w)


@pytest.mark.parametrize("out_dtype", [np.float16, np.float32, np.float64, ">f4"])
def test_out_of_another_dtype(dtype, out_dtype, rng):
    x, y = rng.standard_normal((2, 100)).astype(dtype)
    out = np.full(100, np.nan, out_dtype)
    smooth_l1_loss(x, y, "none", out=out)
    np.testing.assert_array_equal(out, smooth_l1_loss(x, y, "none").astype(out_dtype))
    smooth_l1_value_and_grad(x, y, out=out)
    np.testing.assert_array_equal(out, smooth_l1_grad(x, y).astype(out_dtype))


def overlapping_cases(dtype, rng):
    """Yield name, a function that makes (base, operands, out) afresh."""
    n = 20000
    data = rng.standard_normal(2 * n + 10).astype(dtype)
    other = rng.standard_normal(n).astype(dtype)
    slices = {
        "same": (slice(0, n), slice(0, n)),
        "shifted up": (slice(0, n), slice(1, n + 1)),
        "shifted down": (slice(1, n + 1), slice(0, n)),
        "reversed": (slice(0, n), slice(n - 1, None, -1)),
        "half": (slice(0, 2 * n, 2), slice(0, n)),
        "far": (slice(0, n), slice(n, 2 * n)),
    }
    for name, (source, target) in slices.items():
        yield name, data, other, source, target


@pytest.mark.parametrize("which", ["input", "target", "both", "weight", "beta"])
def test_out_that_overlaps_an_operand(dtype, which, rng):
    for name, data, other, source, target in overlapping_cases(dtype, rng):
        base = np.abs(data) + dtype(0.1) if which == "beta" else data.copy()
        part, out = base[source], base[target]
        if name == "reversed":
            out = base[: len(other)][::-1]
        arguments = {"input": (part, other), "target": (other, part), "both": (part, part)}
        x, y = arguments.get(which, (other, other[::-1].copy()))
        options = (
            {"weight": part} if which == "weight" else {"beta": part} if which == "beta" else {}
        )
        copies = {k: v.copy() for k, v in options.items()}
        expected = smooth_l1_loss(x.copy(), y.copy(), "none", **copies)
        slope = smooth_l1_grad(x.copy(), y.copy(), "mean", **copies)
        saved = base.copy()
        smooth_l1_loss(x, y, "none", out=out, **options)
        np.testing.assert_array_equal(out, expected, err_msg=name)
        base[...] = saved
        want = smooth_l1_loss(x, y, "mean", **options)
        loss, grad = smooth_l1_value_and_grad(x, y, "mean", out=out, **options)
        np.testing.assert_array_equal(grad, slope, err_msg=name)
        assert loss == want
        base[...] = saved


def test_outs_of_the_hessian_may_be_the_inputs(dtype, rng):
    x, y = rng.standard_normal((2, 10000)).astype(dtype)
    expected = smooth_l1_grad_hess(x, y, 0.5)
    for first, second in ((0, 1), (1, 0)):
        pair = [x.copy(), y.copy()]
        grad, hess = smooth_l1_grad_hess(*pair, 0.5, out=(pair[first], pair[second]))
        assert grad is pair[first]
        np.testing.assert_array_equal(grad, expected[0])
        np.testing.assert_array_equal(hess, expected[1])


def test_values_and_gradient_in_place(dtype, rng):
    x, y = rng.standard_normal((2, 10000)).astype(dtype)
    expected = smooth_l1_value_and_grad(x, y, "none", 0.5)
    out = x.copy()
    loss, grad = smooth_l1_value_and_grad(out, y, "none", 0.5, out=out)
    assert grad is out
    np.testing.assert_array_equal(loss, expected[0])
    np.testing.assert_array_equal(grad, expected[1])


@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
def test_grad_output(dtype, reduction, rng):
    x, y = rng.standard_normal((2, 64)).astype(dtype)
    for factor in (2.0, np.float32(2), 2, np.array(2.0), -2.0):
        got = smooth_l1_grad(x, y, reduction, grad_output=factor)
        assert got.dtype == dtype
        np.testing.assert_array_equal(got, float(factor) * smooth_l1_grad(x, y, reduction))
    got = huber_grad(x, y, reduction, 0.5, grad_output=2.0)
    np.testing.assert_array_equal(got, 2 * huber_grad(x, y, reduction, 0.5))


def test_grad_output_per_element(dtype, rng):
    x, y = rng.standard_normal((2, 30, 3)).astype(dtype)
    factor = rng.standard_normal((30, 3)).astype(dtype)
    slope = smooth_l1_grad(x, y, "none")
    np.testing.assert_array_equal(smooth_l1_grad(x, y, "none", grad_output=factor), slope * factor)
    np.testing.assert_array_equal(
        smooth_l1_grad(x, y, "none", grad_output=factor[0]), slope * factor[0]
    )
    w = rng.uniform(size=3).astype(dtype)
    where = rng.uniform(size=(30, 3)) < 0.5
    factor[~where] = np.nan
    got = smooth_l1_grad(x, y, "none", grad_output=factor, weight=w, where=where)
    np.testing.assert_array_equal(got, np.where(where, slope * w * factor, 0))


def test_zero_dimensional_operands(dtype, rng):
    x = rng.standard_normal((4, 3)).astype(dtype)
    half = np.array(0.5, dtype)
    full = np.full(x.shape, half)
    for reduction in ("none", "mean", "sum"):
        for a, b, c, d in ((x, half, x, full), (half, x, full, x)):
            np.testing.assert_array_equal(
                smooth_l1_loss(a, b, reduction), smooth_l1_loss(c, d, reduction)
            )
            np.testing.assert_array_equal(
                smooth_l1_grad(a, b, reduction), smooth_l1_grad(c, d, reduction)
            )
    assert smooth_l1_loss(half, half, "none").shape == ()
    assert isinstance(smooth_l1_loss(half, half), dtype)


def test_empty(dtype):
    x = np.empty((0, 3), dtype)
    assert smooth_l1_loss(x, x, "none").shape == (0, 3)
    assert smooth_l1_loss(x, x, "sum") == 0
    assert isinstance(smooth_l1_loss(x, x, "sum"), dtype)
    assert smooth_l1_grad(x, x).shape == (0, 3)
    for call in (smooth_l1_loss, huber_loss):
        with pytest.warns(RuntimeWarning, match="mean of no elements is nan"):
            assert np.isnan(call(x, x))
    with pytest.warns(RuntimeWarning, match="mean of no elements is nan"):
        loss, grad = smooth_l1_value_and_grad(x, x)
    assert np.isnan(loss)
    assert grad.shape == (0, 3)
    with pytest.raises(ValueError, match="weight must not sum to 0"):
        smooth_l1_loss(x, x, "weighted_mean", weight=np.empty(3))
    with pytest.warns(RuntimeWarning, match="mean of no elements is nan"):
        assert np.isnan(smoothl1.smooth_l1_path(x, x, [1.0, 2.0])).all()


def test_result_types(dtype, rng):
    x, y = rng.standard_normal((2, 10)).astype(dtype)
    for function in (smooth_l1_loss, huber_loss):
        assert type(function(x, y)) is dtype
        assert type(function(x, y, "sum")) is dtype
        assert type(function(x[::2], y[::2], "sum", 0.3)) is dtype
        assert type(function(x, y, "none")) is np.ndarray
    assert type(smooth_l1_value_and_grad(x, y)[0]) is dtype
    assert type(smooth_l1_loss(x.astype(np.float16), y.astype(np.float16))) is np.float16


def test_no_warning_escapes(dtype):
    # Overflow and invalid operations are values here, not warnings.
    big = np.full(100, np.finfo(dtype).max)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert smooth_l1_loss(big, -big, "sum") == np.inf
        smooth_l1_loss(big[::2], -big[::2], "sum")
        smooth_l1_grad(big, np.full(100, np.nan, dtype))
        half = np.full(50, 60000, np.float16)
        assert smooth_l1_loss(half, np.float16(0), "sum") == np.inf


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 8, 9, 17])
def test_short_axis_has_the_bits_of_calls_on_its_rows(dtype, n, rng):
    """Around tiles and tasks, of every form of a sum, with what is not finite."""
    for rows in (1, 130, 1025):
        x, y = np.ldexp(rng.standard_normal((2, rows, n)), rng.integers(-20, 20, (2, rows, n)))
        x, y = x.astype(dtype), y.astype(dtype)
        for special in (False, True):
            if special:
                x[0, 0], x[rows // 2, -1] = np.nan, np.inf
                x[-1] = np.finfo(dtype).max / 2
                y[-1] = -x[-1]
            for function in (smooth_l1_loss, huber_loss):
                for beta in (1e-300, 0.7, 1.0, np.inf):
                    if function is huber_loss and dtype(beta) == 0:
                        continue
                    for reduction in ("mean", "sum"):
                        got = function(x, y, reduction, beta, axis=-1)
                        pairs = zip(x, y, strict=True)
                        want = [function(a, b, reduction, beta) for a, b in pairs]
                        np.testing.assert_array_equal(got, np.array(want, dtype))


@pytest.mark.parametrize("n", [1023, 1024, 1025, 1100, 4097, 12345])
def test_thresholds_per_element_have_the_bits_of_those_beside_weights_of_1(dtype, n, rng):
    """Two loops: without weights terms and offsets are summed in one."""
    x, y = rng.standard_normal((2, n)).astype(dtype)
    one = np.ones(n, dtype)
    beta = rng.uniform(0.01, 2, n).astype(dtype)
    x[3] = np.inf
    for function in (smooth_l1_loss, huber_loss):
        for a in (x[4:], x):
            given = (a, y[-len(a) :], "sum", beta[-len(a) :])
            assert function(*given) == function(*given, weight=one[-len(a) :])
    x[9] = np.nan
    assert np.isnan(smooth_l1_loss(x, y, "sum", beta))
