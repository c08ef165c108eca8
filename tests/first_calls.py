"""Calls of every public function, of many kinds, to be the first of a process."""

import array

import numpy as np

import smoothl1
from smoothl1 import compat


class Wrapper:
    def __init__(self, a):
        self.a = a

    def __array__(self, dtype=None, copy=None):
        return self.a


class Capsule:
    def __init__(self, a):
        self.a = a

    def __dlpack__(self, **options):
        return self.a.__dlpack__(**options)

    def __dlpack_device__(self):
        return self.a.__dlpack_device__()


def calls():
    """Return pairs of a name and a function without arguments.

    They need no global name: at the end of a process those are gone.
    """
    s, empty, wrapped, capsule = smoothl1, np.empty, Wrapper, Capsule
    x, y = np.array([1.0, -2.0, 3.0]), np.zeros(3)
    table, large = np.arange(12.0).reshape(3, 4), np.ones(10**6)
    half, mask = x.astype(np.float16), x > 0
    functions = {
        "smooth_l1_loss": s.smooth_l1_loss,
        "smooth_l1_grad": s.smooth_l1_grad,
        "smooth_l1_value_and_grad": s.smooth_l1_value_and_grad,
        "smooth_l1_grad_hess": s.smooth_l1_grad_hess,
        "huber_loss": s.huber_loss,
        "huber_grad": s.huber_grad,
        "huber_value_and_grad": s.huber_value_and_grad,
        "smooth_l1_path": lambda a, b, **options: s.smooth_l1_path(a, b, [0.5, 1.0], **options),
        "LossSums.update": lambda a, b, **options: s.LossSums(0.5).update(a, b, **options),
        "GroupedLossSums.update": lambda a, b, **options: s.GroupedLossSums(0.5).update(
            a, b, [1, 2, 1], **options
        ),
        "huber_location": lambda a, b, **options: s.huber_location(a, 0.5, **options),
        "torch": compat.torch_smooth_l1_loss,
        "fvcore": lambda a, b, **options: compat.fvcore_smooth_l1_loss(a, b, 1.0, **options),
        "SmoothL1Loss": s.SmoothL1Loss("sum", 0.5),
        "HuberLoss.backward": s.HuberLoss("sum", 0.5).backward,
        "HuberLoss.value_and_grad": s.HuberLoss("sum", 0.5).value_and_grad,
    }
    operands = {
        "float64": x,
        "float32": x.astype(np.float32),
        "float16": x.astype(np.float16),
        "big-endian": x.astype(">f8"),
        "int": np.arange(3),
        "reversed": x[::-1],
        "list": [1.0, 2.0, 3.0],
        "tuple": (1, 2, 3),
        "nested": [x, y],
        "number": 1.0,
        "bool": True,
        "numpy number": np.float32(1.0),
        "memoryview": memoryview(x),
        "array": array.array("d", [1.0, 2.0, 3.0]),
        "__array__": wrapped(x),
        "__dlpack__": capsule(x),
        "large": large,
        "large half": large.astype(np.float16),
        # These are errors, or warn.
        "empty": [],
        "complex": x * 1j,
        "object": x.astype(object),
        "text": "abc",
        "ragged": [[1.0], [2.0, 3.0]],
        "dates": x.astype("M8[s]"),
        "nan": [1.0, float("nan"), 1.0],
        "None": None,
    }
    options = {
        "weight": {"weight": [1.0, 2.0, 3.0]},
        "negative weight": {"weight": [-1.0, 2.0, 3.0]},
        "sample_weight": {"sample_weight": [1, 2, 3]},
        "no sample_weight": {"sample_weight": [0, 0, 0]},
        "bad sample_weight": {"sample_weight": [-1, 0, 0]},
        "where": {"where": [True, False, True]},
        "where of int": {"where": [1, 0, 1]},
        "nowhere": {"where": x > 9},
        "weighted mean": {"reduction": "weighted_mean", "weight": x, "where": mask},
        "weightless": {"reduction": "weighted_mean", "weight": y},
        "none": {"reduction": "none", "weight": x},
        "unknown": {"reduction": "median"},
        "beta": {"beta": [1.0, 2.0, 3.0]},
        "beta of float32": {"beta": np.float32(2)},
        "bad beta": {"beta": [1.0, -1.0, 2.0]},
        "delta": {"delta": [1.0, 2.0, 3.0]},
        "bad delta": {"delta": 0},
        "tiny delta": {"delta": 1e-60},
        "axis": {"axis": 0},
        "axes": {"axis": (0, 1)},
        "grad_output": {"reduction": "none", "grad_output": [1.0, 2.0, 3.0]},
        "exact": {"exact": True},
        "exact weighted mean": {"exact": True, "reduction": "weighted_mean", "weight": x},
        "hessian": {"hessian": "majorizer"},
        "two outs": {"out": (empty(3), empty(3))},
        "out": {"out": empty(3, np.float32), "reduction": "none"},
        "out of a number": {"out": empty(())},
        "n_threads": {"n_threads": 2},
        "bad n_threads": {"n_threads": "two"},
        "backwards": {"reduce": False},
    }
    for name, function in functions.items():
        for kind, a in operands.items():
            yield f"{name}, {kind}", lambda f=function, a=a: f(a, 0.0)
            yield f"{name}, to {kind}", lambda f=function, a=a: f([1.0, 2.0, 3.0], a)
        for kind, more in options.items():
            yield f"{name}, {kind}", lambda f=function, more=more: f(x, 0.0, **more)
            yield f"{name}, {kind}, half", lambda f=function, more=more: f(half, 0.0, **more)
            yield f"{name}, {kind}, table", lambda f=function, more=more: f(table, table, **more)

    def block():
        with s.num_threads(2):
            s.smooth_l1_loss(large, 0.0)

    def states():
        sums = s.LossSums([0.5, 1.0]).update(x, 0.0)
        array = s.LossSums.from_array(sums.to_array(), sums)
        found = s.LossSums.from_bytes(sums.to_bytes()) + array - sums
        return found.compute(), found.mae, found.rmse, found.quadratic_share, found.digest()

    def groups():
        names = s.GroupedLossSums().update(x, 0.0, ["a", "b", "a"])
        names += s.GroupedLossSums.from_bytes(names.to_bytes())
        pairs = s.GroupedLossSums().update(x, 0.0, ([1, 2, 1], [0.5, 0.5, 1.0]))
        return names.compute(), names.digest(), names.groups(), pairs.compute()

    yield "LossSums, states", states
    yield "GroupedLossSums, states", groups
    yield "LossSums, nothing", lambda: s.LossSums().compute()
    yield "LossSums, bad", lambda: s.LossSums(-1.0)
    yield "LossSums, damaged", lambda: s.LossSums.from_bytes(b"abc")
    yield "num_threads", block
    yield "get_num_threads", s.get_num_threads
    yield "set_num_threads", lambda: s.set_num_threads(None)
    yield "set_num_threads, bad", lambda: s.set_num_threads("two")
    yield "show_config", lambda: s.show_config("dicts")
    yield "show_config, bad", lambda: s.show_config("json")
    yield "SmoothL1Loss, repr", lambda: repr(s.SmoothL1Loss("sum", 2.0))
    yield "SmoothL1Loss, bad", lambda: s.SmoothL1Loss("sum", -2.0)
