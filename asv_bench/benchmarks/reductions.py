"""Reductions of the loss, by size, dtype and threshold."""

import numpy as np

from .common import DTYPES, SIZES, arrays, function


class Reductions:
    """Time of a reduced loss; beta 0.37 is summed by another kernel than a power of two."""

    params = [["smooth_l1_loss", "huber_loss"], ["mean", "sum"], [1.0, 0.37], SIZES, DTYPES]
    param_names = ["function", "reduction", "beta", "n", "dtype"]

    def setup(self, name, reduction, beta, n, dtype):
        self.function = function(name)
        self.input, self.target = arrays(n, dtype)

    def time_reduction(self, name, reduction, beta, n, dtype):
        """Seconds of a call that reduces the loss of all elements."""
        self.function(self.input, self.target, reduction, beta)


class Options:
    """Time of a mean with an option, for what its bytes cost beside the plain one."""

    params = [["plain", "weight", "where", "array beta", "axis"], [2**16, 2**22], DTYPES]
    param_names = ["option", "n", "dtype"]

    def setup(self, option, n, dtype):
        self.function = function("smooth_l1_loss")
        self.input, self.target, other = arrays((n // 4, 4), dtype, 3)
        positive = np.abs(other)
        self.options = {
            "plain": {},
            "weight": {"weight": positive},
            "where": {"where": other > 0},
            "array beta": {"beta": positive},
            "axis": {"axis": 0},
        }[option]

    def time_mean(self, option, n, dtype):
        """Seconds of a mean loss with an option."""
        self.function(self.input, self.target, **self.options)


class Path:
    """Time of the loss for one beta and for four, in one pass."""

    params = [[1, 4], [2**16, 2**24], DTYPES]
    param_names = ["betas", "n", "dtype"]

    def setup(self, betas, n, dtype):
        self.function = function("smooth_l1_path")
        self.input, self.target = arrays(n, dtype)
        self.betas = [0.25, 0.5, 1.0, 2.0][:betas]

    def time_path(self, betas, n, dtype):
        """Seconds of the losses for several betas, in one pass over the elements."""
        self.function(self.input, self.target, self.betas)


class Control:
    """NumPy's sum of the same arrays: where this moves, the machine has."""

    params = [SIZES, DTYPES]
    param_names = ["n", "dtype"]

    def setup(self, n, dtype):
        (self.input,) = arrays(n, dtype, 1)

    def time_numpy_sum(self, n, dtype):
        """Seconds of NumPy's sum, the control of the reductions."""
        np.sum(self.input)
