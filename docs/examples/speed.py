"""Speed against n: the time of a mean loss, from one element to ten million.

Up to some thousand elements a call costs what its arguments cost to check; then the caches decide,
then memory. Each time is the shortest of several, all ways in turn, on the machine that made this
page; the lines of another machine lie elsewhere.

python docs/examples/speed.py [PICTURE]
"""

import sys
import time
from importlib.util import find_spec
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from smoothl1 import smooth_l1_loss

SIZES = [10**k for k in range(8)]
BETA = 0.7  # no power of two, which would save multiplications


def with_numpy(x, y):
    """Return the mean by the arithmetic of arrays."""
    z = np.abs(x - y)
    return np.where(z < BETA, z * z / (2 * BETA), z - BETA / 2).mean()


def ways():
    """Return the ways to take a mean, by name."""
    found = {"smoothl1": lambda x, y: smooth_l1_loss(x, y, beta=BETA), "NumPy": with_numpy}
    if find_spec("torch") is not None:
        import torch

        def with_torch(x, y):
            x, y = torch.from_numpy(x), torch.from_numpy(y)
            return torch.nn.functional.smooth_l1_loss(x, y, beta=BETA)

        found["PyTorch"] = with_torch
    return found


def shortest(functions, seconds):
    """Return the shortest time of a call of each, of as many rounds as fit into some seconds."""
    best = dict.fromkeys(functions, float("inf"))
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for name, function in functions.items():
            for _ in range(3):
                start = time.perf_counter()
                function()
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def main():
    """Measure, and draw."""
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".svg")
    mpl.rcParams["svg.hashsalt"] = "smoothl1"
    rng = np.random.default_rng(0)
    times = {name: [] for name in ways()}
    for n in SIZES:
        x, y = (rng.standard_normal(n, dtype=np.float32) for _ in range(2))
        calls = {name: lambda way=way, x=x, y=y: way(x, y) for name, way in ways().items()}
        for name, best in shortest(calls, 0.5).items():
            times[name].append(best)
    figure = Figure(figsize=(8, 4.2), layout="constrained")
    axis = figure.subplots()
    for name, values in times.items():
        axis.loglog(SIZES, 1e6 * np.array(values), marker="o", label=name)
    axis.set_xlabel("elements, float32")
    axis.set_ylabel("time of a mean, microseconds")
    axis.grid(alpha=0.3)
    axis.legend(loc="upper left")
    figure.savefig(output, metadata={"Date": None})


if __name__ == "__main__":
    main()
