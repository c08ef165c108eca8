"""Results of the shape of the input: losses, gradients, second derivatives."""

import numpy as np

from .common import DTYPES, SIZES, arrays, function

FUNCTIONS = {
    "smooth_l1_loss": {"reduction": "none"},
    "huber_loss": {"reduction": "none"},
    "smooth_l1_grad": {},
    "smooth_l1_value_and_grad": {},
}


class Elementwise:
    """A result per element, fresh or written to ``out``."""

    params = [list(FUNCTIONS), ["fresh", "out"], SIZES, DTYPES]
    param_names = ["function", "result", "n", "dtype"]

    def setup(self, name, result, n, dtype):
        self.function = function(name)
        self.input, self.target, out = arrays(n, dtype, 3)
        self.options = {**FUNCTIONS[name], **({"out": out} if result == "out" else {})}

    def time_call(self, name, result, n, dtype):
        """Seconds of a call that yields as many results as it has elements."""
        self.function(self.input, self.target, **self.options)


class Hessian:
    """Gradient and second derivative."""

    params = [["exact", "majorizer"], [2**16, 2**20], DTYPES]
    param_names = ["hessian", "n", "dtype"]

    def setup(self, hessian, n, dtype):
        self.function = function("smooth_l1_grad_hess")
        self.input, self.target = arrays(n, dtype)

    def time_grad_hess(self, hessian, n, dtype):
        """Seconds of a call that yields gradient and second derivative of each element."""
        self.function(self.input, self.target, hessian=hessian)


class Control:
    """NumPy's subtraction of the same arrays: where this moves, the machine has."""

    params = [SIZES, DTYPES]
    param_names = ["n", "dtype"]

    def setup(self, n, dtype):
        self.input, self.target = arrays(n, dtype)

    def time_numpy_subtract(self, n, dtype):
        """Seconds of NumPy's subtraction, the control of the elementwise results."""
        np.subtract(self.input, self.target)
