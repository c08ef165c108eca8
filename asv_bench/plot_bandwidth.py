"""Draw the bandwidth of a mean against the number of elements: ours, peers', the limit.

python asv_bench/plot_bandwidth.py docs/bandwidth.svg
"""

import argparse
from pathlib import Path

import matplotlib as mpl
import numpy as np
from benchmarks import peers, probe
from benchmarks.common import arrays
from matplotlib.figure import Figure
from report import repeats_for, turns

import smoothl1
from smoothl1._simd import chosen

LABELS = {
    "ours": f"smoothl1 ({chosen})",
    "numba": "numba, fastmath",
    "torch": "PyTorch",
    "numpy": "NumPy",
    "scipy": "scipy.special.huber",
}


def measure(sizes, threads):
    """Return GB/s by implementation; nan where one is not installed."""
    found = {name: [] for name in ["limit", *LABELS]}
    with smoothl1.num_threads(threads):
        for n in sizes:
            x, y = arrays(n, "float32")
            calls = {}
            for name in LABELS:
                try:
                    calls[name] = peers.prepare(name, x, y)
                except NotImplementedError:
                    found[name].append(np.nan)
            rounds, inner = repeats_for(n)
            slow = n > 2**20
            best = turns(list(calls.values()), 6 if slow else 15, 1 if slow else inner)
            for name, seconds in zip(calls, best, strict=True):
                found[name].append(8e-9 * n / seconds)
            found["limit"].append(8e-9 * n / probe.read(x, y, threads, rounds, inner))
    return found


def main():
    """Measure and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    options = parser.parse_args()
    sizes = [int(n) for n in np.unique(np.logspace(1, 24, 24, base=2).round()) if n >= 16]
    mpl.rcParams["svg.hashsalt"] = "smoothl1"
    figure = Figure(figsize=(5 * len(options.threads), 4), layout="constrained")
    axes = figure.subplots(1, len(options.threads), sharey=True, squeeze=False)[0]
    for axis, threads in zip(axes, options.threads, strict=True):
        for name, speeds in measure(sizes, threads).items():
            if name == "limit":
                axis.plot(sizes, speeds, color="0.4", linestyle="--", label="reading alone, in C")
            elif not np.isnan(speeds).all():
                width = 2.5 if name == "ours" else 1.2
                axis.plot(sizes, speeds, linewidth=width, label=LABELS[name])
        axis.set_xscale("log", base=2)
        axis.set_yscale("log")
        axis.set_xlabel("float32 elements")
        axis.set_title(f"mean, {threads} thread{'s' * (threads > 1)}")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel("GB/s read")
    axes[0].legend(fontsize="small")
    figure.savefig(options.output, metadata={"Date": None})


if __name__ == "__main__":
    main()
