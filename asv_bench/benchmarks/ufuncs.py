"""The ufuncs, beside the functions on one thread, SciPy's ufunc, and NumPy's addition."""

import numpy as np

from .common import DTYPES, SIZES, arrays, function, ufunc

UFUNCS = ["smooth_l1", "smooth_l1_slope", "smooth_l1_curvature", "huber"]


class Ufuncs:
    """A ufunc that writes to ``out``, by its thresholds."""

    params = [UFUNCS, ["one", "each"], SIZES, DTYPES]
    param_names = ["ufunc", "threshold", "n", "dtype"]

    def setup(self, name, threshold, n, dtype):
        self.ufunc = ufunc(name)
        self.x, self.y, self.out, other = arrays(n, dtype, 4)
        self.threshold = np.abs(other) if threshold == "each" else 0.37

    def time_call(self, name, threshold, n, dtype):
        """Seconds of a call of a ufunc that writes to ``out``."""
        self.ufunc(self.x, self.y, self.threshold, out=self.out)


class Layouts:
    """The loss as a ufunc, of operands that are not contiguous."""

    params = [["every second", "backwards", "in place", "integers"], [2**16, 2**20], DTYPES]
    param_names = ["layout", "n", "dtype"]

    def setup(self, layout, n, dtype):
        self.ufunc = ufunc("smooth_l1")
        wide, self.y, self.out = arrays(2 * n, dtype, 3)
        x = {
            "every second": wide[::2],
            "backwards": wide[n - 1 :: -1],
            "in place": self.out[:n],
            "integers": (10 * wide[:n]).astype(np.int32),
        }
        self.x, self.y, self.out = x[layout], self.y[:n], self.out[:n]

    def time_call(self, layout, n, dtype):
        """Seconds of a call of the loss as a ufunc on a layout."""
        self.ufunc(self.x, self.y, 0.37, out=self.out, casting="same_kind")


class Beside:
    """What a ufunc is measured against, writing to ``out``."""

    params = [["smooth_l1_loss", "scipy", "numpy add"], SIZES, DTYPES]
    param_names = ["call", "n", "dtype"]

    def setup(self, call, n, dtype):
        x, y, out = arrays(n, dtype, 3)
        if call == "smooth_l1_loss":
            loss = function(call)
            self.call = lambda: loss(x, y, "none", 0.37, out=out, n_threads=1)
        elif call == "scipy":
            try:
                from scipy.special import huber
            except ImportError as error:
                raise NotImplementedError("scipy is not installed") from error
            self.call = lambda: huber(0.37, np.subtract(x, y, out=out), out=out)
        else:
            self.call = lambda: np.add(x, y, out=out)

    def time_call(self, call, n, dtype):
        """Seconds of what a ufunc is measured against, the control among it."""
        self.call()
