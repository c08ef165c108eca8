"""Arrays with labels: paired by position, so labels that say otherwise are refused."""

import re
import sys
from contextlib import contextmanager

import numpy as np
import pytest

import smoothl1
from smoothl1 import (
    GroupedLossSums,
    LossSums,
    huber_loss,
    smooth_l1_grad,
    smooth_l1_grad_hess,
    smooth_l1_loss,
    smooth_l1_path,
    smooth_l1_value_and_grad,
)


@contextmanager
def refused(message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}"):
        yield


CALLS = [
    smooth_l1_loss,
    huber_loss,
    smooth_l1_grad,
    smooth_l1_value_and_grad,
    smooth_l1_grad_hess,
    lambda x, y: smooth_l1_path(x, y, [0.5, 1.0]),
    lambda x, y: smooth_l1_loss(x, y, exact=True),
    lambda x, y: LossSums().update(x, y),
    lambda x, y: GroupedLossSums().update(x, y, [0, 1, 0]),
    smoothl1.SmoothL1Loss("none"),
]


def test_series_of_different_indexes():
    pd = pytest.importorskip("pandas")
    s = pd.Series([1, 5, 2.0], index=[7, 8, 9])
    t = pd.Series([0, 0, 2.0], index=[9, 8, 7])
    message = (
        "input and target have different indexes, and elements would be paired by position; pass "
        "target.reindex_like(input) to pair them by label, or target.to_numpy() if the order is "
        "right"
    )
    for call in CALLS:
        with refused(message):
            call(s, t)
        call(s, t.to_numpy())
        call(s, t.reindex_like(s))
        call(s, t.set_axis([7, 8, 9]))
    assert smooth_l1_loss(s, t.to_numpy(), "none").tolist() == [0.5, 4.5, 0.0]
    assert smooth_l1_loss(s, t.reindex_like(s), "none").tolist() == [0.5, 4.5, 1.5]


def test_labels_of_every_argument():
    pd = pytest.importorskip("pandas")
    s = pd.Series([1, 5, 2.0], index=[7, 8, 9])
    other = pd.Series([1, 2, 3.0])
    with refused("input and weight have different indexes"):
        smooth_l1_loss(s, 0.0, weight=other)
    with refused("target and weight have different indexes"):
        smooth_l1_loss([1, 2, 3], s, weight=other)
    with refused("input and where have different indexes"):
        smooth_l1_loss(s, 0.0, where=other > 1)
    with refused("input and beta have different indexes"):
        smooth_l1_loss(s, 0.0, beta=other)
    with refused("input and delta have different indexes"):
        huber_loss(s, 0.0, delta=other)
    with refused("input and grad_output have different indexes"):
        smooth_l1_grad(s, 0.0, "none", grad_output=other)
    with refused("input and by have different indexes"):
        GroupedLossSums().update(s, [0, 0, 0], by=other)
    with refused("target and by[1] have different indexes"):
        GroupedLossSums().update([0, 0, 0], s, by=(["a", "a", "b"], other))
    with pytest.raises(ValueError, match=r"must have the same shape, got \(3,\) and \(2,\)"):
        smooth_l1_loss(s, other[:2])


def test_frames():
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"a": [1.0, 2.0], "b": [3.0, 5.0]})
    assert smooth_l1_loss(frame, frame + 1) == 0.5
    assert smooth_l1_loss(frame, frame.set_axis([0.0, 1.0]) + 1) == 0.5  # of another dtype
    with refused("input and target have different indexes"):
        smooth_l1_loss(frame, frame[::-1])
    with refused("input and target have different columns, and elements would be"):
        smooth_l1_loss(frame, frame[["b", "a"]])
    assert smooth_l1_loss(frame, frame[["b", "a"]].reindex_like(frame)) == 0
    assert smooth_l1_loss(frame["a"], frame["b"]) == 2.0
    assert smooth_l1_loss(frame, frame, weight=frame["a"].set_axis(["a", "b"])) == 0.0


def test_data_arrays():
    xr = pytest.importorskip("xarray")
    x = xr.DataArray(np.arange(4.0).reshape(2, 2), dims=("a", "b"), coords={"a": [1, 2]})
    y = x.transpose("b", "a")
    message = (
        "input has the dimensions ('a', 'b'), target ('b', 'a'), and elements would be paired by "
        "position; pass target.broadcast_like(input), or target.to_numpy() if the order is right"
    )
    for call in (*CALLS[:-2], smoothl1.HuberLoss()):
        with refused(message):
            call(x, y)
        call(x, y.to_numpy())
    assert smooth_l1_loss(x, y.broadcast_like(x)) == 0
    assert smooth_l1_loss(x, xr.zeros_like(x).drop_vars("a"), beta=0.0) == 1.5
    message = "input and target have different coordinates along 'a', and elements would be paired"
    with refused(message):
        smooth_l1_loss(x, x[::-1])
    assert smooth_l1_loss(x, x[::-1].reindex_like(x)) == 0
    with refused("input has the dimensions ('a', 'b'), weight ('a',), and elements"):
        smooth_l1_loss(x, 0.0, weight=x[:, 0])
    assert smooth_l1_loss(x, 0.0, weight=x[0].drop_vars("a")) == 1 * (0.5 + 2.5) / 4
    weight = x[:, 0].broadcast_like(x)
    assert smooth_l1_loss(x, 0.0, weight=weight) == 2 * (1.5 + 2.5) / 4
    assert smooth_l1_loss(x, x[0, 0]) == 1.125


def test_a_library_that_is_being_imported(monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", type(sys)("pandas"))
    assert smooth_l1_loss([1.0, 3.0], [1.0, 2.0]) == 0.25


def test_expressions_of_polars():
    pl = pytest.importorskip("polars")
    message = (
        "input is an expression of polars, which holds no numbers yet; pass expressions to the "
        "functions of smoothl1.ufuncs, or the columns, frame.select(...).to_series()"
    )
    with pytest.raises(TypeError, match=re.escape(message)):
        smooth_l1_loss(pl.col("p"), pl.col("t"))
    with pytest.raises(TypeError, match="weight is an expression of polars"):
        huber_loss([1.0], [2.0], weight=pl.col("w"))
