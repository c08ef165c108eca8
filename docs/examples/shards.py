"""Streaming shards: the mean of data that are never in memory at once, and the order of the shards.

The shards of a stream are summed in 60 orders. The usual way, a running total in float32, ends at
other bits when the order changes. ``LossSums`` keeps the exact sum, so that every order and every
way to split the work among machines gives the same bits; its state stays small, whatever came in.

python docs/examples/shards.py [PICTURE]
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure

from smoothl1 import LossSums, smooth_l1_loss

SHARDS, ROWS, ORDERS, BETA = 200, 2000, 60, 0.7


def shard(k):
    """Return predictions and targets of a shard, as if from a file; some are far off."""
    rng = np.random.default_rng(k)
    y = rng.standard_normal(ROWS, dtype=np.float32)
    noise = rng.standard_t(1.5, ROWS).astype(np.float32)
    return y + noise, y


def running(order, losses, dtype):
    """Return the mean by a running total of the sums of shards."""
    total = dtype(0)
    for k in order:
        total += dtype(losses[k])
    return total / dtype(SHARDS * ROWS)


def main():
    """Sum, and draw."""
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".svg")
    mpl.rcParams["svg.hashsalt"] = "smoothl1"
    losses = [smooth_l1_loss(*shard(k), "sum", beta=BETA) for k in range(SHARDS)]
    states = [LossSums(beta=BETA, dtype=np.float32).update(*shard(k)) for k in range(SHARDS)]
    rng = np.random.default_rng(0)
    orders = [rng.permutation(SHARDS) for _ in range(ORDERS)]
    exact = [LossSums(beta=BETA, dtype=np.float32).merge(*(states[k] for k in o)) for o in orders]
    found = {
        "running total, float32": [running(o, losses, np.float32) for o in orders],
        "LossSums": [sums.compute() for sums in exact],
    }
    digits = len({sums.digest() for sums in exact})
    print(f"different states after {ORDERS} orders: {digits}")
    print(f"bytes of a state: {len(exact[0].to_bytes())}")

    figure = Figure(figsize=(8, 3.6), layout="constrained")
    axis = figure.subplots()
    middle = float(found["LossSums"][0])
    unit = float(np.spacing(np.float32(middle)))
    for name, values in found.items():
        distance = [(float(value) - middle) / unit for value in values]
        axis.plot(distance, ".", label=f"{name}: {len(set(values))} different results")
    axis.set_xlabel("order of the shards")
    axis.set_ylabel("difference, units of the last place")
    figure.legend(loc="outside upper center", ncols=2)
    axis.grid(alpha=0.3)
    figure.savefig(output, metadata={"Date": None})


if __name__ == "__main__":
    main()
