"""Exact sums: beside the plain reductions, by data, and by group."""

import numpy as np

from .common import DTYPES, arrays, function


def adversarial(n, dtype):
    """Return numbers whose exponents are anywhere in the range."""
    rng = np.random.default_rng(0)
    info = np.finfo(dtype)
    exponents = rng.integers(info.minexp, info.maxexp - 24, n)
    return np.ldexp(rng.uniform(0.5, 1, n), exponents).astype(dtype)


class Exact:
    """Time of a mean that is exact; beta 0.37 is summed by another kernel than a power of two."""

    params = [["smooth_l1_loss", "huber_loss"], [1.0, 0.37], [10, 2**16, 2**20, 2**24], DTYPES]
    param_names = ["function", "beta", "n", "dtype"]

    def setup(self, name, beta, n, dtype):
        function("LossSums")
        self.function = function(name)
        self.input, self.target = arrays(n, dtype)

    def time_exact(self, name, beta, n, dtype):
        """Seconds of a mean that is summed exactly."""
        self.function(self.input, self.target, "mean", beta, exact=True)


class Options:
    """Time of an exact mean with an option, and of data that take the slow way."""

    params = [["adversarial", "weight", "where", "array beta", "axis", "path"], [2**16], DTYPES]
    param_names = ["option", "n", "dtype"]

    def setup(self, option, n, dtype):
        function("LossSums")
        self.function = function("smooth_l1_loss")
        self.input, self.target, other = arrays((n // 4, 4), dtype, 3)
        positive = np.abs(other)
        self.options = {
            "weight": {"weight": positive},
            "where": {"where": other > 0},
            "array beta": {"beta": positive},
            "axis": {"axis": 0},
        }.get(option, {})
        if option == "adversarial":
            self.input, self.target = adversarial(n, dtype), np.zeros(n, dtype)
            self.options = {"beta": 0.0}
        elif option == "path":
            path = function("smooth_l1_path")
            self.function = lambda x, y, exact: path(x, y, [0.25, 0.5, 1.0, 2.0], exact=exact)

    def time_option(self, option, n, dtype):
        """Seconds of an exact mean with an option."""
        self.function(self.input, self.target, exact=True, **self.options)


class Sums:
    """Time of what is done with sums."""

    params = [DTYPES]
    param_names = ["dtype"]

    def setup(self, dtype):
        self.make = function("LossSums")
        self.input, self.target = arrays(2**16, dtype)
        self.dtype = dtype
        self.sums = self.make(0.5, dtype=dtype).update(self.input, self.target)
        self.data = self.sums.to_bytes()
        self.vector = self.sums.to_array()

    def time_update(self, dtype):
        """Seconds of an update with 2**16 elements: loss, mae, rmse, share."""
        self.make(0.5, dtype=dtype).update(self.input, self.target)

    def time_add(self, dtype):
        """Seconds of the sum of two sums."""
        self.sums + self.sums

    def time_compute(self, dtype):
        """Seconds of a mean of sums, correctly rounded."""
        self.sums.compute()

    def time_to_bytes(self, dtype):
        """Seconds of sums as bytes."""
        self.sums.to_bytes()

    def time_from_bytes(self, dtype):
        """Seconds of sums from bytes."""
        self.make.from_bytes(self.data)

    def time_from_array(self, dtype):
        """Seconds of sums from a vector of integers."""
        self.make.from_array(self.vector, self.sums)


class Groups:
    """Time of sums by group."""

    params = [[100, 10**5], [10**6], DTYPES]
    param_names = ["groups", "n", "dtype"]

    def setup(self, groups, n, dtype):
        self.make = function("GroupedLossSums")
        self.input, self.target = arrays(n, dtype)
        self.by = np.random.default_rng(0).integers(0, groups, self.input.shape)
        self.sums = self.make(dtype=dtype).update(self.input, self.target, self.by)

    def time_update(self, groups, n, dtype):
        """Seconds of an update by group, of an empty object."""
        self.make(dtype=dtype).update(self.input, self.target, self.by)

    def time_compute(self, groups, n, dtype):
        """Seconds of the figures of all groups."""
        self.sums.compute()


class Control:
    """NumPy's sum of the same arrays: where this moves, the machine has."""

    params = [[2**16, 2**24], DTYPES]
    param_names = ["n", "dtype"]

    def setup(self, n, dtype):
        (self.input,) = arrays(n, dtype, 1)

    def time_numpy_sum(self, n, dtype):
        """Seconds of NumPy's sum, the control of the exact sums."""
        np.sum(self.input)
