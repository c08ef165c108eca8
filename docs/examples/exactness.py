"""Exactness: how far NumPy's, PyTorch's and these means are off, in units of the last place.

Each dot is the mean Smooth L1 loss of a sample of float32 numbers; the distance is that to the mean
of the losses of the same float32 differences, computed in float64 and summed without rounding by
Python's ``math.fsum``. A correctly rounded result is at most half a unit off; what a dot of
``exact=True`` is above that comes from its terms, each rounded once before they are summed. The
samples are normal, and heavy-tailed (t with two degrees of freedom).

python docs/examples/exactness.py [PICTURE]
"""

import math
import sys
from importlib.util import find_spec
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from smoothl1 import smooth_l1_loss

N, SAMPLES = 100_000, 40
BETA = float(np.float32(0.7))  # what 0.7 is in float32


def means():
    """Return the ways to take a mean, by name."""
    ways = {
        "NumPy": lambda x, y: smooth_l1_loss(x, y, "none", beta=BETA).mean(),
        "smoothl1": lambda x, y: smooth_l1_loss(x, y, beta=BETA),
        "smoothl1,\nexact=True": lambda x, y: smooth_l1_loss(x, y, beta=BETA, exact=True),
    }
    if find_spec("torch") is not None:
        import torch

        ways["PyTorch"] = lambda x, y: np.float32(
            torch.nn.functional.smooth_l1_loss(
                torch.from_numpy(x), torch.from_numpy(y), beta=BETA
            ).item()
        )
    return ways


def exact_mean(x, y):
    """Return the mean, of the differences in float32 and all else far more exactly."""
    return math.fsum(smooth_l1_loss((x - y).astype(float), np.zeros(N), "none", beta=BETA)) / N


def off(value, exact):
    """Return the distance of a mean from the exact one, in units of its last place."""
    return abs(float(value) - exact) / float(np.spacing(np.float32(exact)))


def main():
    """Compute, and draw."""
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".svg")
    mpl.rcParams["svg.hashsalt"] = "smoothl1"
    rng = np.random.default_rng(0)
    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    samples = {"normal": rng.standard_normal, "heavy tails": lambda n: rng.standard_t(2, n)}
    for axis, (name, draw) in zip(axes, samples.items(), strict=True):
        found = {way: [] for way in means()}
        for _ in range(SAMPLES):
            x, y = (draw(N).astype(np.float32) for _ in range(2))
            exact = exact_mean(x, y)
            for way, mean in means().items():
                found[way].append(off(mean(x, y), exact))
        for k, values in enumerate(found.values()):
            axis.scatter(k + rng.uniform(-0.2, 0.2, SAMPLES), values, s=12, alpha=0.7)
        axis.axhline(0.5, color="0.4", linestyle="--", linewidth=1)
        axis.set_xticks(range(len(found)), list(found))
        axis.set_title(f"{name}, {N:,} elements".replace(",", " "))
        axis.grid(axis="y", alpha=0.3)
    axes[0].set_ylabel("distance from the exact mean, ulp\n(dashed: half a unit)")
    figure.savefig(output, metadata={"Date": None})


if __name__ == "__main__":
    main()
