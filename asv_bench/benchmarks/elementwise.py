"""Results of the shape of the input: losses, gradients, second derivatives."""

import numpy as np

from .common import DTYPES, SIZES, arrays, function

CALLS = {
    "loss": ("smooth_l1_loss", {"reduction": "none"}),
    "huber loss": ("huber_loss", {"reduction": "none"}),
    "gradient": ("smooth_l1_grad", {}),
    "value and gradient": ("smooth_l1_value_and_grad", {}),
}


class Elementwise:
    """Time of a result per element, fresh or written to ``out``."""

    params = [list(CALLS), ["fresh", "out"], SIZES, DTYPES]
    param_names = ["call", "result", "n", "dtype"]

    def setup(self, call, result, n, dtype):
        name, options = CALLS[call]
        self.function = function(name)
        self.input, self.target, out = arrays(n, dtype, 3)
        self.options = {**options, "out": out} if result == "out" else options

    def time_call(self, call, result, n, dtype):
        self.function(self.input, self.target, **self.options)


class Hessian:
    """Time of gradient and second derivative."""

    params = [["exact", "majorizer"], [2**16, 2**20], DTYPES]
    param_names = ["hessian", "n", "dtype"]

    def setup(self, hessian, n, dtype):
        self.function = function("smooth_l1_grad_hess")
        self.input, self.target = arrays(n, dtype)

    def time_grad_hess(self, hessian, n, dtype):
        self.function(self.input, self.target, hessian=hessian)


class Control:
    """NumPy's subtraction of the same arrays: where this moves, the machine has."""

    params = [SIZES, DTYPES]
    param_names = ["n", "dtype"]

    def setup(self, n, dtype):
        self.input, self.target = arrays(n, dtype)

    def time_numpy_subtract(self, n, dtype):
        np.subtract(self.input, self.target)
