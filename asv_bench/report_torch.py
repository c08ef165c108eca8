"""Print the goals of PyTorch's tensors, each with the ratio that is measured here, as Markdown.

Forward and backward of `smoothl1.torch` and of `torch.nn.functional` run in one process, in turn,
and the shortest time of each counts. ``SMOOTHL1_SIMD`` chooses the instruction set.

    python asv_bench/report_torch.py
    python asv_bench/report_torch.py --sizes 1000 1000000 --threads 1 --reductions mean none
"""

import argparse
import itertools
from functools import partial

import torch
import torch.nn.functional as theirs
from benchmarks.common import DTYPES
from benchmarks.tensors import step, tensors
from report import turns

import smoothl1.torch as ours

SIZES = [1, 10, 10**2, 10**3, 10**4, 10**5, 10**6, 10**7]


def goal(n):
    """Return the largest ratio that is allowed for n elements."""
    if n >= 10**7:
        return 0.4
    if n >= 10**6:
        return 0.5
    return 0.7 if n >= 10**5 else 1.5


def measure(name, n, dtype, reduction, threshold):
    """Return the times of ours and of theirs."""
    x, y = tensors(n, dtype)
    how = {"delta" if name == "huber_loss" else "beta": threshold}
    losses = [partial(getattr(module, name), **how) for module in (ours, theirs)]
    calls = [lambda loss=loss: step(loss, x, y, reduction) for loss in losses]
    # Short and many, for machines that are busy with other things, too.
    return turns(calls, 9 if n > 10**6 else 150, max(1, min(20, 2**18 // n)))


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", type=int, default=SIZES)
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=["float32"])
    parser.add_argument(
        "--reductions", nargs="+", choices=["mean", "sum", "none"], default=["mean"]
    )
    parser.add_argument(
        "--functions", nargs="+", choices=["smooth_l1_loss", "huber_loss"],
        default=["smooth_l1_loss"],
    )  # fmt: skip
    parser.add_argument("--thresholds", nargs="+", type=float, default=[1.0, 0.7])
    options = parser.parse_args()
    print("| what | threads | n | ours, µs | theirs, µs | goal | ours / theirs |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for name, reduction, dtype, threshold, threads, n in itertools.product(
        options.functions, options.reductions, options.dtypes, options.thresholds,
        options.threads, options.sizes,
    ):  # fmt: skip
        torch.set_num_threads(threads)
        a, b = measure(name, n, dtype, reduction, threshold)
        limit, mark = "", ""
        if reduction == "mean":
            limit, mark = f"≤ {goal(n)}", " ✗" * (a / b > goal(n))
        what = f"{name}, {reduction}, {dtype}, {threshold:g} | {threads} | {n}"
        times = f"{a * 1e6:.4g} | {b * 1e6:.4g}"
        print(f"| {what} | {times} | {limit} | {a / b:.2f}{mark} |", flush=True)


if __name__ == "__main__":
    main()
