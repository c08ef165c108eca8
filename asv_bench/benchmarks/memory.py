"""Peak memory: a reduction needs no more than its inputs."""

import numpy as np

from .common import function

# 2**26 elements: 256 MiB, were they ever copied. The inputs are views of something small.
N = 2**26


def make(layout):
    """Return input and target of N elements that need next to no memory themselves."""
    row = np.linspace(-2, 2, 2**16, dtype=np.float32)
    wide = np.broadcast_to(row, (N // row.size, row.size))
    if layout == "broadcast":
        return wide, wide
    if layout == "reversed":
        return wide[:, ::-1], wide
    if layout == "mixed":
        return wide, np.broadcast_to(row.astype(np.float64), wide.shape)
    if layout == "integers":
        whole = (row * 10).astype(np.int32)
        return np.broadcast_to(whole, wide.shape), wide
    if layout == "transposed":
        return wide.T, wide.T
    raise ValueError(layout)


class Memory:
    """Peak memory of a process that reduces; "control" imports and makes the inputs only."""

    params = [["control", "broadcast", "reversed", "mixed", "integers", "transposed"]]
    param_names = ["layout"]

    def setup(self, layout):
        self.function = function("smooth_l1_loss")
        self.input, self.target = make("broadcast" if layout == "control" else layout)

    def peakmem_mean(self, layout):
        """Bytes that a process needs at most in which 2**26 elements are reduced."""
        if layout != "control":
            self.function(self.input, self.target)
