"""Losses of Dask arrays: the graph, the blocks, the rounding; n/a without Dask."""

from .common import arrays
from .estimators import imported


class Lazy:
    """Time of a mean over blocks in memory, in Dask's threads."""

    params = [["mean", "axis", "grad"], [1, 16], [2**22]]
    param_names = ["what", "blocks", "n"]

    def setup(self, what, blocks, n):
        from_array = imported("dask.array", "from_array")
        shape = (n // 64, 64)
        x, y = (from_array(a, chunks=(n // 64 // blocks, 64)) for a in arrays(shape, "float32"))
        if what == "grad":
            self.lazy = imported("smoothl1.dask", "smooth_l1_grad")(x, y)
        else:
            loss = imported("smoothl1.dask", "smooth_l1_loss")
            self.lazy = loss(x, y, axis=0 if what == "axis" else None)

    def time_compute(self, what, blocks, n):
        """Seconds of a computation."""
        self.lazy.compute(scheduler="threads")


class Graph:
    """Time to build the graph of a mean over many blocks."""

    params = [[1000]]
    param_names = ["blocks"]

    def setup(self, blocks):
        self.loss = imported("smoothl1.dask", "smooth_l1_loss")
        ones = imported("dask.array", "ones")
        self.input, self.target = ones(blocks, chunks=1), ones((blocks,), chunks=1)

    def time_graph(self, blocks):
        """Seconds until a graph is there, low level."""
        len(dict(self.loss(self.input, self.target).__dask_graph__()))
