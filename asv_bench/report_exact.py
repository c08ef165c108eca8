"""Print the goals of exact sums, each with the ratio that is measured here, as Markdown.

Both sides of a ratio run in one process, in turn, and the shortest time of each counts. Peers that
are not installed (polars, xsum) are left out. ``SMOOTHL1_SIMD`` chooses the instruction set.

    python asv_bench/report_exact.py
    python asv_bench/report_exact.py --rows mean groups
"""

import argparse
import math
import os
import pickle

os.environ.setdefault("POLARS_MAX_THREADS", "2")  # as ours; read when it is imported

import numpy as np
from benchmarks.common import arrays
from benchmarks.exact import adversarial
from report_estimators import turns


def measure_mean():
    """Compare exact means with plain ones."""
    from smoothl1 import smooth_l1_loss
    from smoothl1._simd import chosen

    goal = 1.5 if chosen == "avx2" else 1.15
    for dtype, cached in (("float32", 3.5), ("float64", 2.5)):
        for n, threads, limit in ((2**24, 2, goal), (2**24, 1, goal), (2**16, 1, cached)):
            for beta in (1.0, 0.37):
                x, y = arrays(n, dtype)
                inner = max(1, 2**20 // n)

                def call(exact, x=x, y=y, beta=beta, threads=threads, inner=inner):
                    for _ in range(inner):
                        smooth_l1_loss(x, y, "mean", beta, exact=exact, n_threads=threads)

                plain, ours = turns([lambda: call(False), lambda: call(True)], 60)
                what = f"mean, 2^{n.bit_length() - 1}, {threads} threads, {dtype}, beta {beta}"
                yield what, "plain mean", limit, ours / plain


def measure_adversarial():
    """Compare means of numbers whose exponents are anywhere with what else sums them."""
    from smoothl1 import smooth_l1_loss

    try:
        from xsum import xsum_add, xsum_round, xsum_small_accumulator
    except ImportError:
        xsum_add = None
    # Those that we are compared with have one thread; the goal says nothing of ours.
    for dtype, n, threads in (
        ("float32", 2**16, 1),
        ("float64", 2**16, 1),
        ("float32", 2**20, 2),
        ("float64", 2**20, 2),
    ):
        x, zero = adversarial(n, dtype), np.zeros(n, dtype)
        losses = np.abs(x).astype(np.float64)

        def small(losses=losses):
            accumulator = xsum_small_accumulator()
            xsum_add(accumulator, losses)
            return xsum_round(accumulator)

        def mean(exact, x=x, zero=zero, threads=threads):
            return smooth_l1_loss(x, zero, "mean", 0.0, exact=exact, n_threads=threads)

        # What takes a thousand times as long has turns of its own: whoever comes after it finds the
        # caches full of other data, which says nothing of how fast numbers are summed.
        slow = turns([lambda mean=mean: mean(True), lambda losses=losses: math.fsum(losses)], 15)
        calls = [lambda mean=mean: mean(True), lambda mean=mean: mean(False)]
        peers = [("plain mean", 25), ("xsum of them", 0.25)]
        if xsum_add is not None:
            calls.append(small)
        ours, *theirs = turns(calls, 100)
        what = f"adversarial, 2^{n.bit_length() - 1}, {threads} threads, {dtype}"
        yield what, "math.fsum of the losses", 0.02, slow[0] / slow[1]
        for (name, goal), time in zip(peers, theirs, strict=False):
            yield what, name, goal, ours / time


def measure_ordinary():
    """Compare exact means of ordinary data with exact sums of elementwise losses."""
    from smoothl1 import smooth_l1_loss

    try:
        from xsum import xsum_add, xsum_round, xsum_small_accumulator
    except ImportError:
        xsum_add = None
    x, y = arrays(2**16, "float64")

    def small():
        accumulator = xsum_small_accumulator()
        xsum_add(accumulator, smooth_l1_loss(x, y, "none"))
        return xsum_round(accumulator)

    calls = [
        lambda: smooth_l1_loss(x, y, exact=True, n_threads=1),
        lambda: math.fsum(smooth_l1_loss(x, y, "none", n_threads=1)),
    ]
    if xsum_add is not None:
        calls.append(small)
    ours, *theirs = turns(calls, 15)
    for (name, goal), time in zip((("math.fsum", 0.02), ("xsum", 0.25)), theirs, strict=False):
        yield "mean, 2^16, 1 thread, float64", f"{name} of the losses", goal, ours / time


def measure_groups():
    """Compare sums by group with those of polars, 10**7 rows, two threads."""
    try:
        import polars
    except ImportError:
        return
    from smoothl1 import GroupedLossSums

    n = 10**7
    x, y = arrays(n, "float64")
    for groups, goal in ((100, 0.7), (10**6, 1.0)):
        by = np.random.default_rng(0).integers(0, groups, n)
        frame = polars.DataFrame({"x": x, "y": y, "by": by})
        z = (polars.col("x") - polars.col("y")).abs()
        loss = polars.when(z < 1.0).then(0.5 * z * z).otherwise(z - 0.5)

        def theirs(frame=frame, loss=loss):
            return frame.lazy().group_by("by").agg(loss.mean()).collect()

        def ours(x=x, y=y, by=by):
            return GroupedLossSums().update(x, y, by, n_threads=2).compute()

        times = turns([ours, theirs], 5)
        yield (
            f"10^7 rows, {groups} groups",
            "polars, the mean loss alone",
            goal,
            times[0] / times[1],
        )


def measure_size():
    """Return the bytes of a pickle of four thresholds over those allowed."""
    from smoothl1 import LossSums

    x, y = arrays(10**6, "float64")
    sums = LossSums([0.25, 0.5, 1.0, 2.0]).update(x, y)
    yield "pickle of four thresholds", "1000 bytes", 1.0, len(pickle.dumps(sums)) / 1000


ROWS = {
    "mean": measure_mean,
    "adversarial": measure_adversarial,
    "ordinary": measure_ordinary,
    "groups": measure_groups,
    "size": measure_size,
}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    options = parser.parse_args()
    print("| what | against | goal | ours / theirs |\n| --- | --- | --- | --- |")
    for row in options.rows:
        for what, against, goal, ratio in ROWS[row]():
            mark = " ✗" * (ratio > goal)
            print(f"| {what} | {against} | ≤ {goal} | {ratio:.3g}{mark} |", flush=True)


if __name__ == "__main__":
    main()
