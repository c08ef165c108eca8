"""Dask: whether the mean depends on how the data are cut into chunks.

The mean of a million float32 losses on Dask arrays, for 60 sizes of chunks. Written with Dask's own
operations its last bits follow the chunks, because each chunk is summed, and rounded, on its own.
With ``smoothl1.dask`` a chunk is turned into integers that add, and one task rounds, so that every
way to cut the data gives the bits of one machine.

python docs/examples/chunks.py [PICTURE]
"""

import sys
from pathlib import Path

import dask
import dask.array as da
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

import smoothl1.dask
from smoothl1 import smooth_l1_loss

N, BETA = 1_000_000, 0.7


def by_operations(x, y):
    """Return the mean as one writes it on Dask arrays."""
    z = abs(x - y)
    return da.where(z < BETA, 0.5 / BETA * z**2, z - 0.5 * BETA).mean(dtype=np.float32)


def main():
    """Compute, and draw."""
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".svg")
    mpl.rcParams["svg.hashsalt"] = "smoothl1"
    rng = np.random.default_rng(0)
    y = rng.standard_normal(N, dtype=np.float32)
    x = y + rng.standard_t(1.5, N).astype(np.float32)
    sizes = np.unique(np.geomspace(2000, N, 60).astype(int))
    results = {"Dask's operations": [], "smoothl1.dask": []}
    for size in sizes.tolist():
        chunked = [da.from_array(a, chunks=size) for a in (x, y)]
        lazy = by_operations(*chunked), smoothl1.dask.smooth_l1_loss(*chunked, beta=BETA)
        for found, mean in zip(results.values(), dask.compute(*lazy), strict=True):
            found.append(float(mean))
    exact = float(smooth_l1_loss(x, y, beta=BETA, exact=True))
    unit = float(np.spacing(np.float32(exact)))

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axis = figure.subplots()
    for name, found in results.items():
        label = f"{name}: {len(set(found))} different result{'s' * (len(set(found)) > 1)}"
        print(label)
        axis.plot(sizes, (np.array(found) - exact) / unit, ".", label=label)
    axis.set_xscale("log")
    axis.set_xlabel("elements of a chunk")
    axis.set_ylabel("difference from the exact mean,\nunits of the last place")
    figure.legend(loc="outside upper center", ncols=2)
    axis.grid(alpha=0.3)
    figure.savefig(output, metadata={"Date": None})


if __name__ == "__main__":
    main()
