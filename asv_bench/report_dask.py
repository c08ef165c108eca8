"""Print what losses cost on Dask, as Markdown: against `da` operations, and as clusters grow.

python asv_bench/report_dask.py
python asv_bench/report_dask.py --rows arrays merge --elements 20000000
"""

import argparse
import pickle
import time

import numpy as np
from report_estimators import turns


def data(n, chunks):
    """Return predictions and targets in memory, as Dask arrays."""
    import dask.array as da

    rng = np.random.default_rng(0)
    x = rng.standard_normal(n, np.float32)
    y = x + rng.standard_normal(n, np.float32)
    return da.from_array(x, chunks=chunks), da.from_array(y, chunks=chunks)


def plain(x, y, beta):
    """Return the loss as it is written with Dask's own operations."""
    import dask.array as da

    z = abs(x - y)
    return da.where(z < beta, 0.5 * z * z / beta, z - 0.5 * beta).mean()


def measure_arrays(n):
    """Compare with operations of Dask, in its threads."""
    import smoothl1.dask

    for chunks in (10**6, 10**7):
        x, y = data(n, min(chunks, n))
        ours = smoothl1.dask.smooth_l1_loss(x, y, beta=0.7)
        theirs = plain(x, y, 0.7)
        calls = [lambda lazy=lazy: lazy.compute(scheduler="threads") for lazy in (ours, theirs)]
        times = turns(calls, 5)
        yield (
            f"{n:.0e} float32 in chunks of {chunks:.0e}, threads",
            (f"{times[0] / times[1]:.3g} of the same with `da` operations (goal: ≤ 0.4)"),
        )


def measure_workers(n):
    """Measure work for each row with 1, 2 and 4 processes, which make their rows themselves."""
    import dask.array as da
    from distributed import Client, LocalCluster

    import smoothl1.dask

    for workers in (1, 2, 4):
        with (
            LocalCluster(
                n_workers=workers, threads_per_worker=1, dashboard_address=":0", silence_logs=50
            ) as cluster,
            Client(cluster) as client,
        ):
            # On the workers before the clock starts, as blocks of a table that was read.
            x = da.random.default_rng(0).standard_normal(n, chunks=n // 64).persist()
            y = da.random.default_rng(1).standard_normal(n, chunks=n // 64).persist()
            client.gather(client.compute([x.sum(), y.sum()]))
            best = np.inf
            for beta in (0.5, 0.6, 0.7, 0.8, 0.9):
                lazy = smoothl1.dask.loss_sums(x, y, beta)
                start = time.perf_counter()
                client.compute(lazy).result()
                best = min(best, time.perf_counter() - start)
            nanoseconds = 1e9 * best / n
            yield (
                f"{n:.0e} float64, 64 blocks, {workers} processes",
                f"{nanoseconds:.3g} ns a row, {nanoseconds * workers:.3g} ns times processes",
            )


def measure_bytes(n):
    """Measure what travels from a partition."""
    from smoothl1 import GroupedLossSums, LossSums

    n = min(n, 10**6)
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((2, n))
    for dtype in (np.float32, np.float64):
        one = LossSums(dtype=dtype).update(x.astype(dtype), y.astype(dtype))
        yield (
            f"a partition, {np.dtype(dtype)}, one beta",
            (f"{one.to_array().nbytes} bytes as integers, {len(pickle.dumps(one))} as a state"),
        )
    groups = GroupedLossSums().update(x, y, rng.integers(0, 200, n))
    yield (
        "a partition, float64, 200 groups",
        (
            f"{groups.to_array().nbytes / 200:.0f} bytes a group as integers, "
            f"{len(groups.to_bytes()) / 200:.0f} as a state"
        ),
    )


def measure_merge(n):
    """Merge the states of 10**5 partitions, as the tree of tasks does; and build its graph."""
    import dask
    import dask.array as da

    import smoothl1.dask
    from smoothl1 import LossSums

    partitions = 10**5 if n >= 10**7 else 10**4
    x = np.random.default_rng(0).standard_normal((partitions, 8))
    rows = np.array([LossSums().update(row, 0.0).to_array() for row in x])
    start = time.perf_counter()
    level = rows
    tasks = 0
    while len(level) > 1:
        level = np.array([level[i : i + 4].sum(axis=0) for i in range(0, len(level), 4)])
        tasks += len(level)
    total = LossSums.from_array(level[0], LossSums())
    seconds = time.perf_counter() - start
    assert total == LossSums().update(x, 0.0)
    yield (
        f"merge of {partitions:.0e} partitions, a tree of fours",
        (
            f"{seconds:.3g} s of one core, {1e6 * seconds / tasks:.3g} µs a merge, "
            f"{rows.nbytes / 1e6:.0f} MB in all"
        ),
    )
    start = time.perf_counter()
    lazy = smoothl1.dask.smooth_l1_loss(
        da.zeros(partitions * 10, chunks=10), da.ones(partitions * 10, chunks=10)
    )
    (lazy,) = dask.optimize(lazy)
    graph = dict(lazy.__dask_graph__())
    seconds = time.perf_counter() - start
    size = len(pickle.dumps(graph))
    yield (
        f"graph of {partitions:.0e} partitions",
        (f"{len(graph)} tasks, {seconds:.3g} s to build, {size / len(graph):.0f} bytes a task"),
    )


ROWS = {
    "arrays": measure_arrays,
    "workers": measure_workers,
    "bytes": measure_bytes,
    "merge": measure_merge,
}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--elements", type=int, default=10**8)
    options = parser.parse_args()
    print("| what | measured |\n| --- | --- |")
    for row in options.rows:
        for what, found in ROWS[row](options.elements):
            print(f"| {what} | {found} |", flush=True)


if __name__ == "__main__":
    main()
