"""Bad arguments: each is named, with its value and what would be right."""

import collections
import re
from fractions import Fraction

import numpy as np
import pytest

import smoothl1
from smoothl1 import (
    HuberLoss,
    SmoothL1Loss,
    compat,
    huber_grad,
    huber_loss,
    huber_value_and_grad,
    smooth_l1_grad,
    smooth_l1_grad_hess,
    smooth_l1_loss,
    smooth_l1_path,
    smooth_l1_value_and_grad,
)
from smoothl1 import _arguments as arguments

SMOOTH = [smooth_l1_loss, smooth_l1_grad, smooth_l1_value_and_grad]
HUBER = [huber_loss, huber_grad, huber_value_and_grad]
ALL = SMOOTH + HUBER
X = np.array([1.0, 2.0, 3.0])
Y = np.zeros(3)


def raises(kind, message):
    return pytest.raises(kind, match=re.escape(message))


@pytest.mark.parametrize("function", [*ALL, smooth_l1_grad_hess])
def test_shapes_must_be_equal(function):
    for x, y in ((np.zeros((3, 1)), Y), (Y, np.zeros((3, 1))), (Y, np.zeros(4)), (Y, np.zeros(1))):
        with raises(
            ValueError,
            f"input and target must have the same shape, got {x.shape} and {y.shape}; "
            "where broadcasting is meant, pass np.broadcast_to(..., shape)",
        ):
            function(x, y)


REFUSED = [
    (np.zeros(3, complex), "input has dtype complex128; take the loss of the real"),
    (np.zeros(3, np.complex64), "input has dtype complex64; take the loss of the real"),
    (np.array(["a", "b", "c"]), "input has dtype <U1; use float16, float32, float64"),
    (np.array([b"a"] * 3), "input has dtype |S1; use float16"),
    (np.zeros(3, "M8[s]"), "input has dtype datetime64[s]; use float16"),
    (np.zeros(3, "m8[s]"), "input has dtype timedelta64[s]; use float16"),
    (np.zeros(3, [("a", float)]), "input has dtype [('a', '<f8')]; use float16"),
    (np.array([1, None, 2], object), "input has dtype object; convert it to float64"),
    ([1, None, 2], "input (builtins.list) has dtype object; convert it to float64"),
    ([Fraction(1, 2)] * 3, "input (builtins.list) has dtype object"),
    (None, "input (builtins.NoneType) has dtype object; pass an array of real numbers"),
    ("abc", "input has dtype <U3"),
    ({1.0, 2.0}, "input (builtins.set) has dtype object; pass an array of real numbers"),
    ([[1.0], [2.0, 3.0]], "input (builtins.list) cannot be read as an array"),
    (1j, "input has dtype complex128"),
    (10**400, "input (builtins.int) has dtype object"),
    (np.ma.array([1.0, 2, 3], mask=[0, 1, 0]), "input is a masked array, whose mask would be lost"),
]


@pytest.mark.parametrize(("value", "message"), REFUSED, ids=lambda v: str(v)[:20])
def test_refused_types(value, message):
    for function in (*ALL, smooth_l1_grad_hess):
        with raises(TypeError, message):
            function(value, Y)
        with raises(TypeError, message.replace("input", "target")):
            function(Y, value)
    with raises(TypeError, message):
        smooth_l1_path(value, Y, [1.0])
    with raises(TypeError, message.replace("input", "weight")):
        if value is not None:
            smooth_l1_loss(X, Y, weight=value)
        else:
            raise TypeError(message.replace("input", "weight"))


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="longdouble is float64 here")
def test_longdouble_is_refused():
    name = np.dtype(np.longdouble).name
    with raises(TypeError, f"input has dtype {name}; convert it with .astype(np.float64)"):
        smooth_l1_loss(X.astype(np.longdouble), Y)


def test_masked_array_message_works():
    masked = np.ma.array([1.0, 5.0, 3.0], mask=[0, 1, 0])
    assert smooth_l1_loss(masked.data, Y, where=~masked.mask) == (0.5 + 2.5) / 2


def test_sparse_is_refused():
    sparse = pytest.importorskip("scipy.sparse")
    for matrix in (sparse.csr_matrix(np.eye(3)), sparse.coo_array(np.eye(3))):
        with pytest.raises(TypeError, match=r"input is sparse \(scipy.*\); pass input.toarray"):
            smooth_l1_loss(matrix, np.eye(3))


def test_lazy_is_refused():
    array = pytest.importorskip("dask.array")
    loads = []
    lazy = array.from_array(X).map_blocks(lambda block: loads.append(1) or block, dtype=float)
    loads.clear()
    with raises(TypeError, "input is a lazy collection (dask.array"):
        smooth_l1_loss(lazy, Y)
    assert not loads
    polars = pytest.importorskip("polars")
    message = "input is a lazy collection (polars.lazyframe.frame.LazyFrame); pass input.collect()"
    with raises(TypeError, message):
        smooth_l1_loss(polars.LazyFrame({"a": X}), Y[:, None])
    assert smooth_l1_loss(polars.LazyFrame({"a": X}).collect(), Y[:, None]) == 1.5


def test_containers_are_read_in_place(rng):
    pandas = pytest.importorskip("pandas")
    polars = pytest.importorskip("polars")
    a, b = rng.standard_normal((2, 50))
    expected = smooth_l1_loss(a, b)
    assert smooth_l1_loss(pandas.Series(a), pandas.Series(b)) == expected
    assert smooth_l1_loss(polars.Series(a), polars.Series(b)) == expected
    frames = pandas.DataFrame({"a": a, "b": b}), pandas.DataFrame({"a": b, "b": a})
    assert smooth_l1_loss(*frames) == smooth_l1_loss(*(f.to_numpy() for f in frames))
    assert smooth_l1_loss(a.tolist(), b.tolist()) == expected
    assert smooth_l1_loss(memoryview(a), b) == expected
    assert np.isnan(smooth_l1_loss(pandas.Series([1.0, None, 3.0]), Y))
    with pytest.raises(TypeError, match="dtype object"):
        smooth_l1_loss(pandas.Series([1, None, 3], dtype=object), Y)


def test_dlpack_without_array(rng):
    class Capsule:
        def __init__(self, a):
            self.a = a

        def __dlpack__(self, **options):
            return self.a.__dlpack__(**options)

        def __dlpack_device__(self):
            return self.a.__dlpack_device__()

    a, b = rng.standard_normal((2, 50))
    assert smooth_l1_loss(Capsule(a), b) == smooth_l1_loss(a, b)


def test_array_protocol_and_subclasses(rng):
    class Wrapper:
        def __init__(self, a):
            self.a = a

        def __array__(self, dtype=None, copy=None):
            return self.a

    class Broken:
        def __array__(self, dtype=None, copy=None):
            raise RuntimeError("it is on another device")

    class Child(np.ndarray):
        pass

    a, b = rng.standard_normal((2, 6))
    assert smooth_l1_loss(Wrapper(a), b) == smooth_l1_loss(a, b)
    child = a.view(Child)
    assert type(smooth_l1_loss(child, b, "none")) is np.ndarray
    assert smooth_l1_loss(child, b) == smooth_l1_loss(a, b)
    with raises(TypeError, "cannot be read as an array: it is on another device"):
        smooth_l1_loss(Broken(), b)
    with pytest.warns(PendingDeprecationWarning):
        matrix = np.matrix(a.reshape(2, 3))
    assert smooth_l1_loss(matrix, np.asarray(matrix) * 0) == smooth_l1_loss(a, a * 0)


BAD_REDUCTIONS = ["average", "", "MEAN", None, 0.5, 1, b"mean", ["mean"], np.ones(3)]


@pytest.mark.parametrize("reduction", BAD_REDUCTIONS, ids=repr)
def test_unknown_reduction(reduction):
    message = f"reduction must be one of 'none', 'mean', 'sum', 'weighted_mean', got {reduction!r}"
    for function in ALL:
        with raises(ValueError, message):
            function(X, Y, reduction)
    for kind in (SmoothL1Loss, HuberLoss):
        with raises(ValueError, message):
            kind(reduction)


def test_beta_in_the_place_of_reduction_is_told():
    with raises(ValueError, "got 0.5 (beta is the fourth argument, or a keyword)"):
        smooth_l1_loss(X, Y, 0.5)


@pytest.mark.parametrize("value", [-1, -1.0, -0.5, np.nan, -np.inf, np.float32(-2)], ids=str)
def test_bad_thresholds(value):
    for function in (*SMOOTH, smooth_l1_grad_hess):
        with raises(ValueError, f"beta must be >= 0, got {np.asarray(value)!s}"):
            function(X, Y, beta=value)
    for function in HUBER:
        with raises(ValueError, f"delta must be > 0, got {np.asarray(value)!s}"):
            function(X, Y, delta=value)
    with raises(ValueError, f"beta must be >= 0, got {np.asarray(value)!s}"):
        SmoothL1Loss(beta=value)
    with raises(ValueError, f"delta must be > 0, got {np.asarray(value)!s}"):
        HuberLoss(delta=value)
    with raises(ValueError, f"betas must be >= 0 everywhere, got {float(value)!s}"):
        smooth_l1_path(X, Y, [1.0, value])


def test_delta_of_zero():
    for function in HUBER:
        for zero in (0, 0.0, -0.0):
            with raises(ValueError, f"delta must be > 0, got {zero}"):
                function(X, Y, delta=zero)
        with raises(ValueError, "delta must be > 0 everywhere, got 0.0"):
            function(X, Y, delta=[1.0, 0.0, 1.0])
        single = X.astype(np.float32), Y.astype(np.float32)
        for tiny in (1e-60, [1.0, 1e-60, 1.0]):
            with raises(ValueError, "delta must be > 0 in float32, got 1e-60, which rounds to 0"):
                function(*single, delta=tiny)
    assert huber_loss(X, Y, delta=1e-60) > 0


def test_bad_arrays_of_thresholds():
    with raises(ValueError, "beta must be >= 0 everywhere, got -1.0"):
        smooth_l1_loss(X, Y, beta=[1.0, -1.0, np.nan])
    with raises(ValueError, "beta must be >= 0 everywhere, got nan"):
        smooth_l1_grad(X, Y, beta=[1.0, np.nan, 1.0])
    with raises(ValueError, "beta must broadcast to the shape of input, (3,), got shape (2,)"):
        smooth_l1_loss(X, Y, beta=[1.0, 2.0])
    with raises(ValueError, "beta must broadcast to the shape of input, (3,), got shape (3, 1)"):
        smooth_l1_loss(X, Y, beta=np.ones((3, 1)))
    with raises(ValueError, "betas must be 1-d, got shape ()"):
        smooth_l1_path(X, Y, 1.0)
    with raises(ValueError, "betas must be 1-d, got shape (1, 2)"):
        smooth_l1_path(X, Y, [[1.0, 2.0]])
    with raises(ValueError, "beta must be a number, got an array of shape (2,)"):
        SmoothL1Loss(beta=[1.0, 2.0])


@pytest.mark.parametrize("value", ["1", None, 1j, [1.0, "a"]], ids=repr)
def test_thresholds_of_the_wrong_type(value):
    with pytest.raises(TypeError, match=r"^beta "):
        smooth_l1_loss(X, Y, beta=value)
    with pytest.raises(TypeError, match=r"^delta "):
        HuberLoss(delta=value)


def test_thresholds_of_any_real_type():
    expected = smooth_l1_loss(X, Y, beta=2.0)
    for beta in (2, np.float32(2), np.int8(2), np.array(2.0), np.float16(2)):
        assert smooth_l1_loss(X, Y, beta=beta) == expected
    with raises(TypeError, "beta (builtins.int) has dtype object"):
        smooth_l1_loss(X, Y, beta=10**400)


@pytest.mark.parametrize("n_threads", [0, -1, 1.5, "2", 2**40, np.nan], ids=repr)
def test_bad_n_threads(n_threads):
    message = f"n_threads must be an integer of at least 1, got {n_threads!r}"
    for function in (*ALL, smooth_l1_grad_hess):
        with raises(ValueError, message):
            function(X, Y, n_threads=n_threads)
        with raises(ValueError, message):
            function(X[::2], Y[::2], n_threads=n_threads)
    with raises(ValueError, message):
        smooth_l1_path(X, Y, [1.0], n_threads=n_threads)
    with raises(ValueError, message.replace("n_threads", "n", 1)):
        smoothl1.set_num_threads(n_threads)
    with raises(ValueError, message.replace("n_threads", "n", 1)):
        smoothl1.num_threads(n_threads)


def test_weights():
    with raises(ValueError, "weight must broadcast to the shape of input, (3,), got shape (2,)"):
        smooth_l1_loss(X, Y, weight=[1.0, 2.0])
    for function in ALL:
        with raises(ValueError, "reduction='weighted_mean' needs weight=..., got None"):
            function(X, Y, "weighted_mean")
        for weight in ([0.0, 0.0, 0.0], [1.0, -1.0, 0.0]):
            with raises(ValueError, "weight must not sum to 0 for reduction='weighted_mean'"):
                function(X, Y, "weighted_mean", weight=weight)
    with raises(ValueError, "weight must not sum to 0"):
        smooth_l1_loss(np.eye(2), np.eye(2), "weighted_mean", weight=[[0, 0], [1, 1]], axis=1)
    with raises(ValueError, "reduction='weighted_mean' needs weight=..., got None"):
        smooth_l1_path(X, Y, [1.0], "weighted_mean")


def test_out_is_untouched_by_weights_that_sum_to_zero():
    out = np.full(3, 7.0)
    with raises(ValueError, "weight must not sum to 0"):
        smooth_l1_value_and_grad(X, Y, "weighted_mean", weight=np.zeros(3), out=out)
    assert (out == 7).all()
    scalar = np.array(7.0)
    with raises(ValueError, "weight must not sum to 0"):
        smooth_l1_loss(X, Y, "weighted_mean", weight=np.zeros(3), out=scalar)
    assert scalar == 7


def test_where():
    with raises(TypeError, "where must be of dtype bool, got int64"):
        smooth_l1_loss(X, Y, where=np.array([1, 0, 1]))
    with raises(ValueError, "where must broadcast to the shape of input, (3,), got shape (2,)"):
        smooth_l1_grad(X, Y, where=np.array([True, False]))
    assert smooth_l1_loss(X, Y, where=True) == smooth_l1_loss(X, Y)


def test_axis():
    with raises(ValueError, "axis needs a reduction, got axis=0 with reduction='none'"):
        smooth_l1_loss(X, Y, "none", axis=0)
    with pytest.raises(ValueError, match="axis 1 is out of bounds for array of dimension 1"):
        smooth_l1_loss(X, Y, axis=1)
    with pytest.raises(ValueError, match="repeated axis"):
        smooth_l1_loss(np.eye(2), np.eye(2), axis=(0, 0))
    with pytest.raises(TypeError):
        smooth_l1_loss(X, Y, axis=0.5)


@pytest.mark.parametrize("function", ALL)
def test_out(function):
    reduction = "none" if function in (smooth_l1_loss, huber_loss) else "mean"
    with raises(TypeError, "out must be a numpy.ndarray, got list"):
        function(X, Y, reduction, out=[0.0] * 3)
    with raises(TypeError, "out must be a numpy.ndarray, got MaskedArray"):
        function(X, Y, reduction, out=np.ma.zeros(3))
    with raises(TypeError, "out must be of dtype float16, bfloat16, float32 or float64, got int64"):
        function(X, Y, reduction, out=np.zeros(3, np.int64))
    with raises(ValueError, "out must have shape (3,), got (3, 1)"):
        function(X, Y, reduction, out=np.zeros((3, 1)))
    locked = np.zeros(3)
    locked.flags.writeable = False
    with raises(ValueError, "out is read-only"):
        function(X, Y, reduction, out=locked)


def test_out_of_a_reduction():
    with raises(ValueError, "out must have shape (), got (3,)"):
        smooth_l1_loss(X, Y, out=np.zeros(3))
    with raises(ValueError, "out must have shape (2,), got (3,)"):
        smooth_l1_loss(np.zeros((2, 3)), np.zeros((2, 3)), axis=1, out=np.zeros(3))


def test_out_of_the_hessian():
    a = np.zeros(3)
    with raises(TypeError, "out must be a tuple of two arrays, got ndarray"):
        smooth_l1_grad_hess(X, Y, out=a)
    with raises(TypeError, "out must be a tuple of two arrays, got tuple"):
        smooth_l1_grad_hess(X, Y, out=(a,))
    with raises(ValueError, "out[0] and out[1] must not share memory"):
        smooth_l1_grad_hess(X, Y, out=(a, a))
    with raises(ValueError, "out[1] must have shape (3,), got (2,)"):
        smooth_l1_grad_hess(X, Y, out=(a, np.zeros(2)))
    with raises(ValueError, "hessian must be 'exact' or 'majorizer', got 'gauss'"):
        smooth_l1_grad_hess(X, Y, hessian="gauss")


def test_grad_output():
    with raises(ValueError, "grad_output must be a scalar for reduction='mean', got shape (3,)"):
        smooth_l1_grad(X, Y, grad_output=X)
    with raises(
        ValueError, "grad_output must broadcast to the shape of input, (3,), got shape (2,)"
    ):
        smooth_l1_grad(X, Y, "none", grad_output=[1.0, 2.0])
    with raises(TypeError, "grad_output has dtype complex128"):
        smooth_l1_grad(X, Y, grad_output=1j)


def test_path_needs_a_reduction():
    with raises(ValueError, "reduction must be one of 'mean', 'sum', 'weighted_mean', got 'none'"):
        smooth_l1_path(X, Y, [1.0], "none")


def test_arguments_are_left_alone(rng):
    x, y, w = rng.standard_normal((3, 50))
    b = np.abs(w) + 1
    where = w > 0
    copies = [a.copy() for a in (x, y, w, b, where)]
    for reduction in ("none", "mean", "weighted_mean"):
        smooth_l1_value_and_grad(x, y, reduction, b, weight=b, where=where)
        smooth_l1_grad(x, y, reduction, b, weight=b, where=where, grad_output=2.0)
    smooth_l1_grad_hess(x, y, b, weight=w)
    for a, copy in zip((x, y, w, b, where), copies, strict=True):
        np.testing.assert_array_equal(a, copy)


def test_reduction_may_be_a_string_of_numpy():
    x = np.arange(6.0).reshape(2, 3)
    for name in ("mean", "sum", "none"):
        reduction = np.array([name])[0]
        assert type(reduction) is not str
        expected = smoothl1.smooth_l1_loss(x, x[::-1], name)
        np.testing.assert_array_equal(smoothl1.smooth_l1_loss(x, x[::-1], reduction), expected)
    got = smoothl1.smooth_l1_loss(x, x[::-1], np.str_("sum"), axis=0)
    np.testing.assert_array_equal(got, smoothl1.smooth_l1_loss(x, x[::-1], "sum", axis=0))
    np.testing.assert_array_equal(
        smoothl1.smooth_l1_grad(x[:, ::2], x[:, 1::2].repeat(2, 1), np.str_("mean")),
        smoothl1.smooth_l1_grad(x[:, ::2], x[:, 1::2].repeat(2, 1), "mean"),
    )


class Variable:
    """An array behind ``__array__``, as variables of netCDF files are."""

    def __init__(self, a):
        self.a = a

    def __array__(self, dtype=None, copy=None):
        return self.a


class Sequence:
    """What NumPy takes for a sequence, and ``isinstance`` for none."""

    def __init__(self, *values):
        self.values = values

    def __len__(self):
        return len(self.values)

    def __getitem__(self, i):
        return self.values[i]


def hidden_masks():
    masked = np.ma.array([1.0, 9e9, 2.0], mask=[0, 1, 0])
    yield "list", [masked]
    yield "tuple", (masked, masked)
    yield "beside an array", [np.zeros(3), masked]
    yield "nested", [[[masked]]]
    yield "nested tuple", ([np.zeros(3)], (masked,))
    yield "deque", collections.deque([masked])
    yield "UserList", collections.UserList([masked])
    yield "sequence", Sequence(masked, masked)
    yield "a masked number", [1.0, np.ma.masked, 3.0]
    yield "0-d", [1.0, masked[1:2].reshape(()), 3.0]
    yield "behind __array__", Variable(masked)
    yield "list of what is behind __array__", [Variable(masked)]
    yield "nothing masked", [np.ma.array([1.0, 2.0])]


@pytest.mark.parametrize(
    "value", [v for _, v in hidden_masks()], ids=[n for n, _ in hidden_masks()]
)
def test_masks_in_containers_and_behind_array(value):
    """They are as lost as a masked array's own."""
    message = r"is a masked array, whose mask would be lost"
    for function in (*ALL, smooth_l1_grad_hess):
        with pytest.raises(TypeError, match=rf"input( \(.*\))? {message}"):
            function(value, 0.0)
        with pytest.raises(TypeError, match=rf"target {message}"):
            function(0.0, value)
        with pytest.raises(TypeError, match=rf"weight {message}"):
            function(X, Y, weight=value)
    for function in ALL:
        with pytest.raises(TypeError, match=rf"where {message}"):
            function(X, Y, where=value)
    with pytest.raises(TypeError, match=rf"beta {message}"):
        smooth_l1_loss(X, Y, beta=value)
    with pytest.raises(TypeError, match=rf"grad_output {message}"):
        smooth_l1_grad(X, Y, "none", grad_output=value)
    with pytest.raises(TypeError, match=rf"input {message}"):
        smooth_l1_path(value, 0.0, [1.0])
    with pytest.raises(TypeError, match=rf"betas {message}"):
        smooth_l1_path(X, Y, value)
    with pytest.raises(TypeError, match=rf"y {message}"):
        smoothl1.huber_location(value, 1.0)
    with pytest.raises(TypeError, match=rf"sample_weight {message}"):
        smoothl1.huber_location(X, 1.0, sample_weight=value)
    with pytest.raises(TypeError, match=rf"input {message}"):
        compat.torch_smooth_l1_loss(value, 0.0)


def test_containers_of_arrays_are_read_as_numpy_does():
    a = np.arange(6.0, dtype=np.float32).reshape(2, 3)
    loops = []
    loops.append(loops)
    for value in (
        list(a),
        [Variable(row) for row in a],
        Sequence(*a),
        [tuple(row) for row in a],
        [memoryview(row) for row in a],
        collections.deque(a),
    ):
        got = smooth_l1_loss(value, np.zeros((2, 3), np.float32), "none")
        np.testing.assert_array_equal(got, smooth_l1_loss(a, 0 * a, "none"))
        assert got.dtype == np.asarray(value).dtype
    with raises(TypeError, "input (builtins.list) cannot be read as an array"):
        smooth_l1_loss(loops, 0.0)
    for value in ({0: 1.0}, {1.0}):
        with pytest.raises(TypeError, match=r"input .* has dtype object"):
            smooth_l1_loss(value, 0.0)


def test_arrays_in_containers_that_are_not_in_memory():
    sparse = pytest.importorskip("scipy.sparse")
    with raises(TypeError, "an element of input is sparse (scipy.sparse"):
        smooth_l1_loss([sparse.eye_array(3).tocsr()], np.zeros((1, 3, 3)))
    array = pytest.importorskip("dask.array")
    with raises(TypeError, "an element of input is a lazy collection (dask.array"):
        smooth_l1_loss([array.zeros(3)], np.zeros((1, 3)))


def test_polars():
    """Missing values are nan; without a copy where polars allows one."""
    polars = pytest.importorskip("polars")
    for dtype, result in ((polars.Float32, np.float32), (polars.Float64, np.float64)):
        series = polars.Series(X, dtype=dtype)
        assert smooth_l1_loss(series, polars.Series(Y, dtype=dtype)).dtype == result
        chunks = polars.concat([series[:1], series[1:]], rechunk=False)
        assert smooth_l1_loss(chunks, Y.astype(result), "none").tolist() == [0.5, 1.5, 2.5]
        missing = polars.Series([1.0, None, 3.0], dtype=dtype)
        got = smooth_l1_loss(missing, Y.astype(result), "none")
        np.testing.assert_array_equal(got, np.array([0.5, np.nan, 2.5], result))
        where = missing.is_not_null()
        assert smooth_l1_loss(missing, Y, where=where) == 1.5
    for dtype in (polars.Int64, polars.UInt8, polars.Int8):
        got = smooth_l1_loss(polars.Series([1, None, 3], dtype=dtype), Y, "none")
        np.testing.assert_array_equal(got, [0.5, np.nan, 2.5])
    frame = polars.DataFrame({"a": X, "b": [1, None, 3]})
    np.testing.assert_array_equal(smooth_l1_loss(frame, np.zeros((3, 2)), axis=0), [1.5, np.nan])
    assert smooth_l1_loss(X, Y, beta=polars.Series([1.0, 1.0, 1.0])) == 1.5
    assert smoothl1.huber_location(polars.Series(X), 0.5) == 2.0
    with raises(TypeError, "where must be of dtype bool, got object; pass True or False"):
        smooth_l1_loss(X, Y, where=polars.Series([True, None, True]))
    with raises(ValueError, "y must be finite, got nan at index 1"):
        smoothl1.huber_location(polars.Series([1.0, None, 3.0]), 0.5)
    for series in (
        polars.Series(["a", "b", "c"]),
        polars.Series([1, 2, 3]).cast(polars.Date),
        polars.Series([[1.0], [2.0], [3.0]]),
        polars.Series([True, None, True]),
    ):
        with pytest.raises(TypeError, match=r"^input .*has dtype"):
            smooth_l1_loss(series, Y)


def test_pyarrow():
    pyarrow = pytest.importorskip("pyarrow")
    for dtype in (np.float16, np.float32, np.float64):
        got = smooth_l1_loss(pyarrow.array(X.astype(dtype)), pyarrow.array(Y.astype(dtype)))
        assert (got, got.dtype) == (1.5, dtype)
    missing = pyarrow.array([1.0, None, 3.0])
    for array in (
        missing,
        pyarrow.array([1, None, 3]),
        pyarrow.chunked_array([[1.0], [None, 3.0]]),
        pyarrow.array([0.0, 1.0, None, 3.0, None])[1:4],
    ):
        np.testing.assert_array_equal(smooth_l1_loss(array, Y, "none"), [0.5, np.nan, 2.5])
        assert smooth_l1_loss(array, Y, where=array.is_valid()) == 1.5
    table = pyarrow.table({"a": X, "b": X})
    assert smooth_l1_loss(table, np.zeros((3, 2))) == 1.5
    assert smooth_l1_loss([missing, missing], [Y, Y], where=[[True, False, True]] * 2) == 1.5
    with raises(TypeError, "where must be of dtype bool, got object; pass True or False"):
        smooth_l1_loss(X, Y, where=pyarrow.array([True, None, True]))
    for array in (pyarrow.array(["a", "b", "c"]), pyarrow.array([[1.0], [2.0], [3.0]])):
        with pytest.raises(TypeError, match=r"^input .*has dtype object"):
            smooth_l1_loss(array, Y)


def operands(rng):
    """Return arrays for each operand of a call of 3 x 4 elements: good, odd and bad ones."""

    def numbers(*shape):
        return rng.uniform(0.5, 2.0, shape)

    full, row = numbers(3, 4), numbers(4)
    inputs = [
        full, full.astype("f4"), full.astype("f2"), full.astype(">f4"), full.astype("i4"),
        full > 1, full[:, ::-1], numbers(4, 3).T, np.array(2.0), np.array(1, "u1"), row,
        numbers(3, 1), full.astype("g"), full.astype("c8"), full.astype(object),
        np.ma.array(full), np.zeros((0, 4)), 2.0, 3, full.tolist(), np.float32(1),
    ]  # fmt: skip
    thresholds = [
        1.0, 0.0, -0.0, 2, 0, True, np.float32(2), np.float64(2), 1e-40, 1e-60, np.inf, np.nan,
        -1.0, -1, 2**60, 10**30, full, row, row.astype("f4"), row[::-1], numbers(3, 1),
        numbers(2), -full, np.where(full > 1, full, np.nan), np.where(full > 1, full, 0.0),
        np.zeros(4), full > 1, full.astype("i8"), np.array(2.0),
        np.array([1e-60, 1.0, 1.0, 1.0]), None, "1",
    ]  # fmt: skip
    weights = [None, full, row, numbers(3, 1), full.astype("i2"), numbers(2), 2.0, row.astype("c8")]
    masks = [None, full > 1, row > 1, (full > 1).tolist(), True, full, np.ones(2, bool)]
    return inputs, thresholds, weights, masks


def prepared(*args, **options):
    """Return what `prepare` does, or its error, to be compared."""
    try:
        found = arguments.prepare(*args, **options)
    except (TypeError, ValueError) as error:
        return type(error), str(error)
    arrays = {
        name: (a.dtype, a.shape, a.strides if a.size > 1 else None, a.tobytes())
        for name, a in found.arrays.items()
    }
    threshold = found.threshold if isinstance(found.threshold, float) else None
    return arrays, repr(threshold), found.huber, found.dtype


@pytest.mark.thread_unsafe(reason="replaces a function of the core")
@pytest.mark.parametrize("name", ["beta", "delta"])
def test_arrays_are_prepared_as_all_else_is(name, rng, monkeypatch):
    """One look at plain arrays gives the operands, or the errors, of the checks one by one."""
    inputs, thresholds, weights, masks = operands(rng)
    x, y = inputs[:2]
    calls = [((a, b, name, 1.0), {}) for a in inputs for b in inputs]
    calls += [((a, y, name, b), {}) for a in inputs[:9] for b in thresholds]
    calls += [((x, y, name, 1.0), {"weight": a, "where": b}) for a in weights for b in masks]
    calls += [((x, y, name, 1.0), {"factor": a}) for a in weights[1:5]]
    found = [prepared(*args, **options) for args, options in calls]
    core = arguments.core
    at_once = [
        core.array_operands(
            *args[:2], args[3], name == "delta", *map(options.get, ("weight", "where", "factor"))
        )
        is not None
        for args, options in calls
    ]
    assert at_once.count(True) > 150
    assert at_once.count(False) > 400
    monkeypatch.setattr(core, "array_operands", lambda *_: None)
    monkeypatch.setattr(core, "are_thresholds", lambda *_: False)
    for (args, options), got in zip(calls, found, strict=True):
        assert got == prepared(*args, **options), (args, options)
