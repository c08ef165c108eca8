"""What a message advises works: it is read out of the message, evaluated, and passed."""

import functools
import re
from fractions import Fraction

import numpy as np
import pytest

import smoothl1
from smoothl1 import compat

X, Y = np.array([1.0, 5.0, 3.0]), np.zeros(3)
M = np.ma.array([1.0, 5.0, 3.0], mask=[0, 1, 0])
FUNCTIONS = {
    "smooth_l1_loss": smoothl1.smooth_l1_loss,
    "huber_loss": smoothl1.huber_loss,
    "smooth_l1_grad": smoothl1.smooth_l1_grad,
    "huber_grad": smoothl1.huber_grad,
    "smooth_l1_value_and_grad": smoothl1.smooth_l1_value_and_grad,
    "huber_value_and_grad": smoothl1.huber_value_and_grad,
    "smooth_l1_grad_hess": smoothl1.smooth_l1_grad_hess,
    "smooth_l1_path": functools.partial(smoothl1.smooth_l1_path, betas=(0.5, 1.0)),
    "SmoothL1Loss": smoothl1.SmoothL1Loss(),
    "HuberLoss": smoothl1.HuberLoss(),
}


class Variable:
    def __init__(self, a):
        self.a = a

    def __array__(self, dtype=None, copy=None):
        return self.a


def message_of(call, arguments):
    with pytest.raises((TypeError, ValueError)) as caught:
        call(**arguments)
    return str(caught.value)


def follow(message, arguments):
    """Return the arguments as the message advises."""
    advice = re.search(r"; pass (.+?)(?:, and where=(.+?))?$", message)
    assert advice, message
    name = message.split()[3] if message.startswith("an element of ") else message.split()[0]
    names = {"np": np, **arguments}
    arguments = {**arguments, name: eval(advice[1], names)}
    if advice[2]:
        arguments["where"] = eval(advice[2], names)
    return arguments


@pytest.mark.parametrize("wrap", [lambda a: a, Variable, lambda a: [a, a]], ids=["", "var", "list"])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_masks(name, wrap):
    function = FUNCTIONS[name]
    shape = np.asanyarray([M, M] if isinstance(wrap(M), list) else M).shape
    plain = np.ones(shape)
    arguments = {"input": plain * 2, "target": plain}
    if "grad_hess" not in name:
        arguments["where"] = plain > 0
    for argument in ("input", "target", "weight", "where"):
        if argument == "where" and "where" not in arguments:
            continue
        masked = M > 1 if argument == "where" else M
        given = {**arguments, argument: wrap(masked)}
        message = message_of(function, given)
        if "grad_hess" in name or ", and of the other arguments the same elements" in message:
            assert "where" not in message
            taken = re.search(
                r"; pass (.+), and of the other arguments the same elements$", message
            )
            assert eval(taken[1], {"np": np, argument: wrap(masked)}).ndim == 1
        else:
            function(**follow(message, given))


def test_masks_of_other_arguments():
    message = message_of(smoothl1.smooth_l1_path, {"input": X, "target": Y, "betas": M})
    got = smoothl1.smooth_l1_path(**follow(message, {"input": X, "target": Y, "betas": M}))
    np.testing.assert_array_equal(got, smoothl1.smooth_l1_path(X, Y, [1.0, 3.0]))
    given = {"input": X, "target": Y, "reduction": "none", "grad_output": M}
    got = smoothl1.smooth_l1_grad(**follow(message_of(smoothl1.smooth_l1_grad, given), given))
    np.testing.assert_array_equal(got, [1.0, 0.0, 3.0])
    for beta in ("beta", "delta"):
        function = smoothl1.smooth_l1_loss if beta == "beta" else smoothl1.huber_loss
        given = {"input": X, "target": Y, beta: M}
        function(**follow(message_of(function, given), given))
    given = {"y": X, "beta": 1.0, "sample_weight": M}
    got = smoothl1.huber_location(**follow(message_of(smoothl1.huber_location, given), given))
    assert got == smoothl1.huber_location(X, 1.0, sample_weight=[1.0, 0.0, 3.0])
    for call in (smoothl1.huber_location, compat.fvcore_smooth_l1_loss):
        first = "y" if call is smoothl1.huber_location else "input"
        given = {first: M, "beta": 1.0}
        if first == "input":
            given["target"] = Y
        message = message_of(call, given)
        assert message.endswith(
            f"; pass {first}.compressed(), and of the other arguments the same elements"
        )
        given[first] = M.compressed()
        if first == "input":
            given["target"] = Y[~M.mask]
        call(**given)


OBJECTS = [
    np.array([1, None, 2], object),
    [1, None, 2],
    [Fraction(1, 2)] * 3,
    np.array(["1", "2", "3"], object),
    np.array([1, "a", 2], object),
    [{}, {}, {}],
    [10**400, 1, 2],
]


@pytest.mark.parametrize("value", OBJECTS, ids=lambda v: repr(v)[:30])
@pytest.mark.parametrize("name", ["input", "weight", "grad_output", "beta"])
def test_objects(name, value):
    """A conversion is advised where it works."""
    given = {"input": X, "target": Y, "reduction": "none", name: value}
    message = message_of(smoothl1.smooth_l1_grad, given)
    assert f"{name} " in message
    if "np.asarray(..., dtype=np.float64)" in message:
        given[name] = np.asarray(value, dtype=np.float64)
        smoothl1.smooth_l1_grad(**given)
    else:
        assert "pass an array of real numbers" in message
        with pytest.raises((TypeError, ValueError, OverflowError)):
            smoothl1.smooth_l1_grad(**{**given, name: np.asarray(value, dtype=np.float64)})


def test_longdouble():
    if np.dtype(np.longdouble).itemsize == 8:
        pytest.skip("longdouble is float64 here")
    wide = X.astype(np.longdouble)
    message = message_of(smoothl1.smooth_l1_loss, {"input": wide, "target": Y})
    assert "with .astype(np.float64)" in message
    for value in (list(wide), Variable(wide), wide[0]):
        message = message_of(smoothl1.smooth_l1_loss, {"input": value, "target": Y})
        assert "with np.asarray(..., dtype=np.float64)" in message
        smoothl1.smooth_l1_loss(np.asarray(value, dtype=np.float64), Y)


@pytest.mark.parametrize(
    "value",
    [[1, 0, 1], np.array([1.0, 0.0, 2.0]), np.uint8([1, 0, 3]), 1, np.array([1, 0, 1], ">i4")],
    ids=repr,
)
def test_numbers_as_where(value):
    message = message_of(smoothl1.smooth_l1_loss, {"input": X, "target": Y, "where": value})
    advice = re.search(
        r"; where numbers other than 0 are meant, pass np.not_equal\(\.\.\., 0\)", message
    )
    assert advice
    selected = np.broadcast_to(np.asarray(value).astype(bool), 3)
    got = smoothl1.smooth_l1_loss(X, Y, where=np.not_equal(value, 0))
    assert got == smoothl1.smooth_l1_loss(X[selected], Y[selected])


@pytest.mark.parametrize(
    "value", [[True, None, False], np.array([True, None, False], object)], ids=repr
)
def test_objects_as_where(value):
    given = {"input": X, "target": Y, "where": value}
    assert message_of(smoothl1.smooth_l1_loss, given) == (
        "where must be of dtype bool, got object; pass True or False for each element, "
        "False for what is missing"
    )


def test_missing_values_of_pandas_as_where():
    pandas = pytest.importorskip("pandas")
    where = pandas.array([True, None, False], dtype="boolean")
    given = {"input": X, "target": Y, "where": where}
    assert message_of(smoothl1.smooth_l1_loss, given).startswith("where must be of dtype bool")
    given["where"] = where.fillna(False)
    assert smoothl1.smooth_l1_loss(**given) == 0.5
    given = {"input": pandas.array([True, None, False], dtype="boolean"), "target": Y}
    message = message_of(smoothl1.smooth_l1_loss, given)
    if "np.asarray(..., dtype=np.float64)" in message:  # of newer pandas
        assert np.isnan(smoothl1.smooth_l1_loss(np.asarray(given["input"], np.float64), Y))
    else:
        assert message.endswith("pass an array of real numbers, with nan for what is missing")
    given["input"] = given["input"].to_numpy(np.float64, na_value=np.nan)
    assert np.isnan(smoothl1.smooth_l1_loss(**given))


@pytest.mark.parametrize("where", [X * 1j, np.array(["a"] * 3), X.astype("M8[s]")], ids=repr)
def test_anything_else_as_where(where):
    message = message_of(smoothl1.smooth_l1_loss, {"input": X, "target": Y, "where": where})
    assert message == f"where must be of dtype bool, got {where.dtype}"


def test_a_threshold_in_the_place_of_the_reduction():
    """The message says where it goes."""
    for name in ("smooth_l1_loss", "smooth_l1_grad", "smooth_l1_value_and_grad"):
        for prefix, threshold in (("smooth_l1", "beta"), ("huber", "delta")):
            function = FUNCTIONS[name.replace("smooth_l1", prefix)]
            with pytest.raises(ValueError, match=rf"got 0.5 \({threshold} is the fourth argument"):
                function(X, Y, 0.5)
            function(X, Y, "mean", 0.5)
            function(X, Y, **{threshold: 0.5})
    for kind, threshold in ((smoothl1.SmoothL1Loss, "beta"), (smoothl1.HuberLoss, "delta")):
        with pytest.raises(ValueError, match=rf"got 0.5 \({threshold} is the second argument"):
            kind(0.5)
        assert kind("mean", 0.5) == kind(**{threshold: 0.5})
    with pytest.raises(ValueError, match=r"got 0.5 \(betas is the third argument, reduction the"):
        smoothl1.smooth_l1_path(X, Y, [0.5], 0.5)
    with pytest.raises(ValueError, match=r"got 0.5 \(beta is the sixth argument, or a keyword"):
        compat.torch_smooth_l1_loss(X, Y, None, None, 0.5)
    compat.torch_smooth_l1_loss(X, Y, None, None, "mean", 0.5)
    with pytest.raises(ValueError, match=r"got 0.5 \(beta is the third argument\)"):
        compat.fvcore_smooth_l1_loss(X, Y, 0.5, 0.5)


def test_shapes_to_broadcast():
    column = np.ones((3, 1))
    message = message_of(smoothl1.smooth_l1_loss, {"input": column, "target": Y})
    assert "where broadcasting is meant, pass np.broadcast_to(..., shape)" in message
    shape = np.broadcast_shapes(column.shape, Y.shape)
    pair = np.broadcast_to(column, shape), np.broadcast_to(Y, shape)
    assert smoothl1.smooth_l1_loss(*pair) == 0.5


def test_sparse_and_lazy():
    sparse = pytest.importorskip("scipy.sparse")
    given = {"input": sparse.csr_array(np.eye(3)), "target": np.zeros((3, 3))}
    smoothl1.smooth_l1_loss(**follow(message_of(smoothl1.smooth_l1_loss, given), given))
    array = pytest.importorskip("dask.array")
    given = {"input": array.from_array(X), "target": Y}
    smoothl1.smooth_l1_loss(**follow(message_of(smoothl1.smooth_l1_loss, given), given))


@pytest.mark.parametrize("number", [2**31, 2**40, 10**400])
def test_too_many_threads(number):
    with pytest.raises(ValueError, match=r"; the most is 2147483647$") as caught:
        smoothl1.smooth_l1_loss(X, Y, n_threads=number)
    most = int(str(caught.value).rpartition(" ")[2])
    smoothl1.smooth_l1_loss(X, Y, n_threads=most)
