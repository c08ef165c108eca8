"""Small calls, and the import."""

import numpy as np

import smoothl1

from .common import arrays

try:
    from smoothl1.ufuncs import smooth_l1
except ImportError:  # on this commit
    smooth_l1 = None

# Of each row a weight, a mask, a threshold: what the loss of ten boxes is called with.
WEIGHT, CHOSEN = np.linspace(0.5, 2.0, 10, dtype=np.float32), np.arange(10) % 3 > 0
OUT = np.empty(10, np.float32)
BETAS = np.array([0.5, 1.0, 2.0])

CALLS = {
    "mean": lambda x, y, loss: smoothl1.smooth_l1_loss(x, y),
    "keywords": lambda x, y, loss: smoothl1.smooth_l1_loss(x, y, reduction="sum", beta=0.5),
    "object": lambda x, y, loss: loss(x, y),
    "none": lambda x, y, loss: smoothl1.smooth_l1_loss(x, y, "none"),
    "value and gradient": lambda x, y, loss: smoothl1.smooth_l1_value_and_grad(x, y),
    "strided": lambda x, y, loss: smoothl1.smooth_l1_loss(x[::2], y[::2]),
    "weight": lambda x, y, loss: smoothl1.smooth_l1_loss(x, y, weight=WEIGHT),
    "where": lambda x, y, loss: smoothl1.smooth_l1_loss(x, y, where=CHOSEN),
    "array beta": lambda x, y, loss: smoothl1.smooth_l1_loss(x, y, beta=WEIGHT),
    "axis": lambda x, y, loss: smoothl1.smooth_l1_loss(x.reshape(5, 2), y.reshape(5, 2), axis=1),
    "axis, weight of rows": lambda x, y, loss: smoothl1.smooth_l1_loss(
        x.reshape(5, 2), y.reshape(5, 2), axis=1, weight=WEIGHT[:5, None]
    ),
    "none, weight": lambda x, y, loss: smoothl1.smooth_l1_loss(x, y, "none", weight=WEIGHT),
    "grad, weight": lambda x, y, loss: smoothl1.smooth_l1_grad(x, y, weight=WEIGHT),
    "value and gradient, where, out": lambda x, y, loss: smoothl1.smooth_l1_value_and_grad(
        x, y, where=CHOSEN, out=OUT
    ),
    "object, weight": lambda x, y, loss: loss(x, y, weight=WEIGHT),
    "path of 3": lambda x, y, loss: smoothl1.smooth_l1_path(x, y, BETAS),
    "lists": lambda x, y, loss: smoothl1.smooth_l1_loss([1.0, 2.0], [0.5, 4.0]),
    "ufunc": lambda x, y, loss: smooth_l1(x, y, y),
    "ufunc, beta a number": lambda x, y, loss: smooth_l1(x, y, 1.0),
    "numpy add, a number": lambda x, y, loss: np.add(x, 1.0),
    "numpy add": lambda x, y, loss: np.add(x, y),
}


def is_here(call):
    """Return whether this commit has what a call needs."""
    return smooth_l1 is not None or not call.startswith("ufunc")


class Overhead:
    """Time of a call on ten elements; "numpy add" is the control."""

    params = [list(CALLS)]
    param_names = ["call"]

    def setup(self, call):
        if not is_here(call):
            raise NotImplementedError("this commit has no ufuncs")
        self.input, self.target = arrays(10, "float32")
        self.loss = smoothl1.SmoothL1Loss()
        self.call = CALLS[call]

    def time_call(self, call):
        """Seconds of a call on ten elements."""
        self.call(self.input, self.target, self.loss)


class Import:
    """Time of ``import smoothl1`` in a fresh process, beside NumPy's."""

    def timeraw_import_smoothl1(self):
        """Seconds of the import in a process of its own."""
        return "import smoothl1"

    def timeraw_import_numpy(self):
        """Seconds of NumPy's import in a process of its own, the control."""
        return "import numpy"
