"""Draw the kernels below the roofs of this machine: what computing and moving bytes allow at most.

One thread. The roofs are those of bare loops in C (``probe/probe.c``): two arrays that are read,
from either cache of a core or from memory, and additions and multiplications in registers, none
fused. A kernel that writes may stand above the roof of memory: a core waits for what it reads only.

A kernel stands at its operations for a byte. What is drawn of it is its share of the roof of where
its data lie, times the best of that roof. For the share both are taken in turn, and the shortest
tenth of the times is left out: moments in which other work leaves memory to one of them are rare.

python asv_bench/plot_roofline.py docs/roofline.svg
"""

import argparse
import math
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
from benchmarks import probe
from benchmarks.common import DTYPES, arrays
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

import smoothl1

# Not a power of two, which would save operations.
BETA = 0.7
# Bytes of all operands together. In the first-level cache there is a roof alone: a call on so few
# elements costs more than its loop.
FIRST = "first-level cache"
PLACES = {FIRST: 2**14, "second-level cache": 2**19, "memory": 2**27}
COLOURS = {"compute": "0.2"} | dict(zip(PLACES, ["#7b3294", "#0b6e4f", "#1f5f9f"], strict=True))
# By kernel: its operations for an element of float32 and of float64, its arrays, its marker. What
# counts is the arithmetic of src/terms.pxd, groups.pxd, kernels.pxd and blocks.pxd: additions,
# multiplications (a fused pair is two), comparisons, selections and absolute values.
KERNELS = {
    "mean": (
        (8, 10),
        2,
        "o",
    ),  # six for the term, two to sum and to count; a pair of sums in float64
    "none, out=": ((15, 15), 3, "s"),  # seven of them for the correctly rounded quotient
    "value and gradient, out=": ((15, 17), 3, "^"),  # a mean, and seven for the gradient
    "mean, exact=True": (
        (16, 16),
        2,
        "D",
    ),  # a mean's term, four for exponents, five for two windows
}
ROUNDS = 100
USUAL = 0.9  # this share of the rates is lower
OPERATIONS = 2**16  # of the loop that computes


def calls(x, y, out):
    """Return the kernels by name."""
    loss, both = smoothl1.smooth_l1_loss, smoothl1.smooth_l1_value_and_grad
    return {
        "mean": lambda: loss(x, y, beta=BETA),
        "none, out=": lambda: loss(x, y, "none", beta=BETA, out=out),
        "value and gradient, out=": lambda: both(x, y, beta=BETA, out=out),
        "mean, exact=True": lambda: loss(x, y, beta=BETA, exact=True),
    }


def shortest(call, inner):
    """Return the time of one of some calls in a row, the shortest of two."""
    best = math.inf
    for _ in range(2):
        start = time.perf_counter()
        for _ in range(inner):
            call()
        best = min(best, (time.perf_counter() - start) / inner)
    return best


def reading(x, y, inner):
    """Return how many bytes a second the bare loop reads."""
    return 2 * x.nbytes / probe.read(x, y, 1, 1, inner)


def measure(dtype):
    """Return the roofs, in bytes and operations a second, and the kernels' operations a second."""
    numbers = [np.full(256, value, dtype) for value in (1e-3, 1.0, 0.0)]
    pairs = [(name, place) for name in KERNELS for place in PLACES if place != FIRST]
    beside, found = ({pair: [] for pair in pairs} for _ in range(2))
    roofs = {"compute": 0.0, FIRST: 0.0}
    operands = {
        (place, count): arrays(size // count // np.dtype(dtype).itemsize, dtype, count)
        for place, size in PLACES.items()
        for count in (2, 3)
    }
    for _ in range(ROUNDS):
        rate = OPERATIONS / probe.compute(*numbers, OPERATIONS, 1, 20)
        roofs["compute"] = max(roofs["compute"], rate)
        roofs[FIRST] = max(roofs[FIRST], reading(*operands[FIRST, 2], 200))
        for name, place in pairs:
            operations, count, _ = KERNELS[name]
            inner = max(1, 2**24 // PLACES[place])
            beside[name, place].append(reading(*operands[place, 2], inner))
            x, y, *rest = operands[place, count]
            seconds = shortest(calls(x, y, *rest or [None])[name], inner)
            found[name, place].append(operations[dtype == "float64"] * x.size / seconds)
    for (_, place), rates in beside.items():
        roofs[place] = max(roofs.get(place, 0.0), *rates)
    return roofs, {
        (name, place): np.quantile(found[name, place], USUAL)
        / np.quantile(beside[name, place], USUAL)
        * roofs[place]
        for name, place in pairs
    }


def draw(axis, dtype, roofs, found):
    """Draw the roofs and the kernels, in the colours of where data lie."""
    left, right = 0.25, 8
    top = roofs["compute"]
    axis.plot([left, right], 2 * [top / 1e9], color=COLOURS["compute"], linewidth=2)
    for place in PLACES:
        ends = np.array([left, max(left, min(right, top / roofs[place]))])
        axis.plot(ends, ends * roofs[place] / 1e9, color=COLOURS[place], linewidth=2)
    for (name, place), rate in found.items():
        operations, count, marker = KERNELS[name]
        intensity = operations[dtype == "float64"] / (count * np.dtype(dtype).itemsize)
        axis.plot(
            intensity,
            rate / 1e9,
            marker,
            color=COLOURS[place],
            markeredgecolor="white",
            markersize=9,
        )
    axis.set_xscale("log", base=2)
    axis.set_yscale("log", base=2)
    axis.set_xlim(left, right)
    axis.set_ylim(4, 160)
    axis.xaxis.set_major_formatter("{x:g}")
    axis.yaxis.set_major_formatter("{x:g}")
    axis.set_xlabel("operations for a byte that is moved")
    axis.set_title(dtype)
    axis.grid(alpha=0.3)


def main():
    """Measure, print and draw."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("output", type=Path)
    options = parser.parse_args()
    mpl.rcParams["svg.hashsalt"] = "smoothl1"
    figure = Figure(figsize=(8, 4.8), layout="constrained", facecolor="white")
    axes = figure.subplots(1, 2, sharey=True)
    with smoothl1.num_threads(1):
        for axis, dtype in zip(axes, DTYPES, strict=True):
            roofs, found = measure(dtype)
            for place, rate in roofs.items():
                print(f"{dtype}, roof of {place}: {rate / 1e9:.1f} G/s")
            for (name, place), rate in found.items():
                print(f"{dtype}, {name}, {place}: {rate / 1e9:.1f} G operations/s")
            draw(axis, dtype, roofs, found)
    axes[0].set_ylabel("10⁹ operations a second")
    lines = [
        Line2D([], [], color=colour, linewidth=2, label=f"roof: {name}")
        for name, colour in COLOURS.items()
    ]
    kernels = [
        Line2D([], [], color="0.3", marker=marker, linestyle="", markersize=8, label=name)
        for name, (_, _, marker) in KERNELS.items()
    ]
    figure.legend(handles=[*lines, *kernels], loc="outside lower center", ncols=2, frameon=False)
    figure.savefig(options.output, metadata={"Date": None})


if __name__ == "__main__":
    main()
