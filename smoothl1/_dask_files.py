"""Evaluations of files on a Dask cluster."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from smoothl1 import _dask_arrays as lazy
from smoothl1 import _dask_frames as frames
from smoothl1 import _zarr
from smoothl1.sums import LossSums, make_spec


def evaluate_files(
    files: str | Sequence[str],
    *,
    prediction: str,
    target: str,
    address: Any = None,
    weight: str | None = None,
    by: str | Sequence[str] | None = None,
    beta: ArrayLike = 1.0,
    where: str | None = None,
    nulls: str = "drop",
    reduction: str | None = None,
    dtype: DTypeLike | None = None,
    announce: Callable[[str], None] | None = None,
    n_threads: SupportsIndex | None = 1,
) -> Any:
    """Errors of the predictions in files, computed on a Dask cluster.

    What ``smoothl1 evaluate --dask`` runs. A worker that is lost costs the work on its
    partitions: what travels are sums of a few kilobytes, and tasks are pure.

    Parameters
    ----------
    files : str or sequence of str
        Parquet files, folders of such, or CSV files (names that end in .csv, .csv.gz), that
        workers can read: a glob, or an address that ``fsspec`` knows.
    prediction, target, weight, by, beta, where, nulls, reduction, dtype, n_threads
        As for `evaluate`. Missing values are Arrow's nulls; NaN is none.
    address : str or distributed.Client, optional
        The scheduler ("tcp://..."), "local" for a cluster of a process for each processor of
        this machine, as long as the call lasts, or a client. None takes Dask's present one.
    announce : callable, optional
        Called with the address of the dashboard.

    Returns
    -------
    pyarrow.Table
        The columns of `evaluate`: the whole first, with null in the columns of `by`, then the
        groups.

    Raises
    ------
    ConnectionError
        If no scheduler answers at the address.
    TypeError, ValueError
        As `evaluate`.
    """
    import pyarrow as pa

    names = [files] if isinstance(files, str | os.PathLike) else list(files)
    with client_of(address, announce) as client:
        frame = read_frame([os.fspath(name) for name in names])
        question = frames.ask(
            frame, prediction=prediction, target=target, weight=weight, by=by, beta=beta,
            huber=False, where=where, nulls=nulls, reduction=reduction, dtype=dtype,
            n_threads=n_threads,
        )  # fmt: skip
        if where is None:  # which may use any column
            used = [prediction, target, *([] if weight is None else [weight]), *question.by]
            frame = frame[list(dict.fromkeys(used))]
        lazy_total = frames.partial_sums(frame, question, None)
        total = lazy_total.compute() if client is None else client.compute(lazy_total).result()
    # Keys in Arrow's types, which have null.
    groups = frames.figures(total, question=question)
    if not question.by:
        return pa.Table.from_pandas(groups, preserve_index=False)
    rows = total[question.integers()].to_numpy(np.int64)
    sums = lazy.carried(rows[:, 1:], question.dtype == "float32").sum(axis=0)
    whole = np.concatenate([[rows[:, 0].sum()], sums])[np.newaxis]
    first = pa.table(frames.round_rows(whole, question))
    rest = pa.Table.from_pandas(groups, preserve_index=False).replace_schema_metadata()
    for i, name in enumerate(question.by):
        first = first.add_column(i, name, pa.nulls(1, rest.schema.field(name).type))
    return pa.concat_tables([first, rest])


def sum_arrays(
    paths: Sequence[str | Path],
    beta: ArrayLike,
    *,
    address: Any = None,
    dtype: DTypeLike = np.float64,
    announce: Callable[[str], None] | None = None,
    n_threads: SupportsIndex | None = 1,
) -> LossSums:
    """Return the sums of Zarr arrays or ``.npy`` files: predictions, targets, perhaps weights."""
    import dask.array

    spec = make_spec(beta, False, dtype)
    opened = [_zarr.open_array(Path(path)) for path in paths]
    step = _zarr.steps(opened)
    with client_of(address, announce) as client:
        found = []
        for file in opened:
            if isinstance(file, _zarr.ZarrFile):
                array = dask.array.from_zarr(str(file.path), chunks=step)
            else:
                array = dask.array.from_array(file.array(), chunks=step)
            found.append(array)
        if len(found) == 3:  # used in the working dtype
            found[2] = found[2].astype(np.float32 if spec.single else np.float64)
        operands = dict(zip(("input", "target", "weight"), found, strict=False))
        like, total, _ = lazy.total_sums(
            operands, beta, False, dtype, None, split_every=None, n_threads=n_threads
        )
        row = total.compute() if client is None else client.compute(total).result()
    return LossSums.from_array(row, like)


@contextmanager
def client_of(address: Any, announce: Callable[[str], None] | None = None) -> Iterator[Any]:
    """Hold a client of the cluster at an address; None stands for Dask's present scheduler."""
    if address is None:
        yield None
        return
    if not isinstance(address, str):
        yield address
        return
    from distributed import Client, LocalCluster

    if address == "local":
        from dask.system import CPU_COUNT

        with (
            LocalCluster(
                n_workers=CPU_COUNT, threads_per_worker=1, dashboard_address=":0"
            ) as cluster,
            Client(cluster) as client,
        ):
            _announce(client, announce)
            yield client
        return
    try:
        client = Client(address, timeout="10s", set_as_default=True)
    except (OSError, ValueError) as error:
        raise ConnectionError(f"no Dask scheduler answers at {address!r}: {error}") from None
    with client:
        _announce(client, announce)
        yield client


def _announce(client: Any, announce: Callable[[str], None] | None) -> None:
    if announce is not None and client.dashboard_link:
        announce(client.dashboard_link)


def read_frame(names: Sequence[str]) -> Any:
    """Return the lazy frame of Parquet or CSV files; nulls stay nulls."""
    import dask.dataframe as dd

    if not names:
        raise ValueError("files must name at least one file, got none")
    kinds = {name.lower().removesuffix(".gz").endswith(".csv") for name in names}
    if len(kinds) > 1:
        raise ValueError(f"files must be all Parquet or all CSV, got {list(names)}")
    if kinds == {False}:
        return dd.read_parquet(list(names), dtype_backend="pyarrow")
    compressed = any(name.lower().endswith(".gz") for name in names)
    more = {"compression": "gzip", "blocksize": None} if compressed else {}
    return dd.read_csv(list(names), dtype_backend="pyarrow", engine="pyarrow", **more)
