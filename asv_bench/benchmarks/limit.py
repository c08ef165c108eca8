"""How far from the memory limit: our time over that of a bare loop on the same bytes."""

import time

import smoothl1

from . import probe
from .common import DTYPES, arrays, function


def shortest(call, repeats, inner):
    """Return the shortest of several times of a call, in seconds."""
    best = float("inf")
    for _ in range(repeats):
        start = time.perf_counter()
        for _ in range(inner):
            call()
        best = min(best, (time.perf_counter() - start) / inner)
    return best


class Limit:
    """Ratio of the two minima, taken in turn; 1 is the speed of memory."""

    params = [["mean", "none", "value and gradient"], [2**16, 2**20, 2**24], DTYPES]
    param_names = ["call", "n", "dtype"]

    def setup(self, call, n, dtype):
        probe.library()
        self.function = function(
            "smooth_l1_value_and_grad" if call == "value and gradient" else "smooth_l1_loss"
        )
        self.arrays = arrays(n, dtype, 3)

    def track_ratio(self, call, n, dtype):
        """Time of a call over that of a bare C loop that moves the same bytes."""
        x, y, out = self.arrays
        threads = smoothl1.get_num_threads()
        inner = max(1, 2**18 // n)
        options = {} if call == "mean" else {"out": out}
        if call == "none":
            options["reduction"] = "none"
        ours = limit = float("inf")
        for _ in range(8):
            ours = min(ours, shortest(lambda: self.function(x, y, **options), 3, inner))
            if call == "mean":
                limit = min(limit, probe.read(x, y, threads, 3, inner))
            else:
                limit = min(limit, probe.read_and_write(x, y, out, threads, 3, inner))
        return ours / limit

    track_ratio.unit = "times the limit"
