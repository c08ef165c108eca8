"""The same calls for a number of threads given with each."""

import os

from .common import arrays, function

AVAILABLE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


class Threads:
    """Time by number of threads; more than the processors at hand are n/a."""

    params = [
        ["smooth_l1_loss", "smooth_l1_value_and_grad"],
        [1, 2, 4, 8, 16],
        [2**17, 2**20, 2**24],
    ]
    param_names = ["function", "threads", "n"]

    def setup(self, name, threads, n):
        if threads > AVAILABLE:
            raise NotImplementedError(f"only {AVAILABLE} processors")
        self.function = function(name)
        self.input, self.target = arrays(n, "float32")

    def time_call(self, name, threads, n):
        self.function(self.input, self.target, n_threads=threads)
