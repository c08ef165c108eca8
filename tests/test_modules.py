"""The loss objects."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

import smoothl1
from smoothl1 import HuberLoss, SmoothL1Loss

KINDS = [(SmoothL1Loss, "smooth_l1", "beta"), (HuberLoss, "huber", "delta")]


@pytest.mark.parametrize(("kind", "name", "threshold"), KINDS)
@pytest.mark.parametrize("reduction", ["none", "mean", "sum", "weighted_mean"])
def test_calls_are_those_of_the_functions(kind, name, threshold, reduction, rng):
    x, y, w = rng.uniform(size=(3, 40))
    options = {"weight": w, "where": w > 0.2}
    options = [options] if reduction == "weighted_mean" else [{}, {"weight": w}, options]
    loss = kind(reduction, 0.3)
    for option in options:
        function = getattr(smoothl1, f"{name}_loss")
        np.testing.assert_array_equal(
            loss(x, y, **option), function(x, y, reduction, 0.3, **option)
        )
        np.testing.assert_array_equal(loss.forward(x, y, **option), loss(x, y, **option))
        function = getattr(smoothl1, f"{name}_grad")
        for grad_output in (None, 3.0):
            np.testing.assert_array_equal(
                loss.backward(x, y, grad_output, **option),
                function(x, y, reduction, 0.3, grad_output=grad_output, **option),
            )
        value, grad = loss.value_and_grad(x, y, **option)
        np.testing.assert_array_equal(value, loss(x, y, **option))
        np.testing.assert_array_equal(grad, loss.backward(x, y, **option))


@pytest.mark.parametrize(("kind", "name", "threshold"), KINDS)
def test_objects_behave(kind, name, threshold):
    loss = kind("sum", **{threshold: 2})
    assert repr(loss) == f"{kind.__name__}(reduction='sum', {threshold}=2.0)"
    assert loss.extra_repr() == f"reduction='sum', {threshold}=2.0"
    assert loss == kind("sum", 2.0)
    assert hash(loss) == hash(kind("sum", 2.0))
    assert loss != kind("mean", 2.0)
    assert loss != kind("sum", 3.0)
    assert len({loss, kind("sum", 2.0), kind()}) == 2
    for twin in (pickle.loads(pickle.dumps(loss)), copy.copy(loss), copy.deepcopy(loss)):
        assert twin == loss
        assert twin([3.0], [0.0]) == loss([3.0], [0.0])
    with pytest.raises(dataclasses.FrozenInstanceError):
        loss.reduction = "mean"
    assert kind() == kind("mean", 1.0)
    assert SmoothL1Loss("sum", 2.0) != HuberLoss("sum", 2.0)
