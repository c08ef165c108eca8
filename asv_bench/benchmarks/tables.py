"""Tables: evaluations of Parquet files and of tables in memory, by group."""

import atexit
import functools
import tempfile
from pathlib import Path

import numpy as np

N = 10**6


def table(kind):
    """Return a table of float32 with two columns of keys; NotImplementedError without pyarrow."""
    try:
        import pyarrow as pa

        from smoothl1 import tables  # noqa: F401
    except ImportError:
        raise NotImplementedError from None
    rng = np.random.default_rng(0)
    y = rng.standard_normal(N).astype(np.float32)
    p = (y + 0.5 * rng.standard_t(3, N)).astype(np.float32)
    mask = rng.random(N) < 0.01 if kind == "nulls" else None
    carriers = np.array([f"C{k:02}" for k in range(16)])[rng.integers(0, 16, N)]
    return pa.table(
        {
            "p": pa.array(p, mask=mask),
            "y": y,
            "carrier": carriers,
            "month": rng.integers(1, 13, N),
        }
    )


@functools.cache
def folder():
    """Return a folder that is there until the process ends."""
    made = tempfile.TemporaryDirectory()
    atexit.register(made.cleanup)
    return Path(made.name)


BY = {"none": (), "month": ("month",), "carrier and month": ("carrier", "month")}


class Tables:
    """Time of an evaluation of 10**6 rows."""

    params = [list(BY), ["plain", "nulls"]]
    param_names = ["by", "kind"]

    def setup(self, by, kind):
        self.table = table(kind)
        import pyarrow.parquet as pq

        from smoothl1 import tables

        self.evaluate = tables.evaluate
        self.path = folder() / f"{kind}.parquet"
        pq.write_table(self.table, self.path, row_group_size=N // 4)

    def time_parquet(self, by, kind):
        """Seconds from a Parquet file of four row groups."""
        self.evaluate(self.path, prediction="p", target="y", by=BY[by])

    def time_memory(self, by, kind):
        """Seconds from a table in memory, whose text is not in a dictionary."""
        self.evaluate(self.table, prediction="p", target="y", by=BY[by])


class States:
    """Time of states of 192 groups."""

    def setup(self):
        rows = table("plain")
        from smoothl1 import tables

        self.evaluation = tables.run(rows, prediction="p", target="y", by=["carrier", "month"])
        self.data = self.evaluation.to_bytes()

    def time_to_bytes(self):
        """Seconds of an evaluation as bytes."""
        self.evaluation.to_bytes()

    def time_from_bytes(self):
        """Seconds of an evaluation from bytes."""
        type(self.evaluation).from_bytes(self.data)

    def time_figures(self):
        """Seconds of the figures of all groups."""
        self.evaluation.figures()
