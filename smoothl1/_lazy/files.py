"""Evaluations of files on a Dask cluster: a task for each part of a file, and a tree of merges."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from smoothl1._evaluate import zarr
from smoothl1._evaluate.evaluation import Evaluation, Question
from smoothl1._evaluate.npy import InputError
from smoothl1._lazy.passes import merged_lazily

# Parts of a file that are tasks of their own; more than so many share tasks.
_PARTS = 64


def evaluate_files(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    prediction: str,
    target: str,
    address: Any = None,
    weight: str | None = None,
    by: str | Sequence[str] | None = None,
    beta: ArrayLike = 1.0,
    where: str | None = None,
    nulls: str = "drop",
    announce: Callable[[str], None] | None = None,
) -> Any:
    """Return the losses of a table in files, read and summed on a Dask cluster.

    What ``smoothl1 evaluate --dask`` runs. The table is that of `smoothl1.tables.evaluate` on
    one machine, bit for bit. A worker that is lost costs the work on its parts: tasks are
    pure, and what travels are sums of a few hundred bytes for each group.

    Parameters
    ----------
    files, prediction, target, weight, by, beta, where, nulls
        As for `smoothl1.tables.evaluate`; workers read the files by the same names.
    address : str or distributed.Client, optional
        The scheduler ("tcp://..."), or "local" for a cluster of a process for each processor
        of this machine, as long as the call lasts, or a client. None takes Dask's present
        scheduler.
    announce : callable, optional
        Called with the address of the dashboard.

    Returns
    -------
    pyarrow.Table
        The whole, then the groups.

    Raises
    ------
    ValueError
        For bad arguments, where a file or a column is not what is needed, and where no
        scheduler answers.

    Examples
    --------
    >>> import tempfile
    >>> import pyarrow as pa
    >>> import pyarrow.parquet
    >>> from smoothl1.dask import evaluate_files
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     for day, p in enumerate([0.5, 3.0]):
    ...         part = pa.table({"p": [p], "y": [0.0]})
    ...         pyarrow.parquet.write_table(part, f"{folder}/{day}.parquet")
    ...     found = evaluate_files(f"{folder}/*.parquet", prediction="p", target="y")
    >>> found.select(["rows", "mae", "loss"]).to_pylist()
    [{'rows': 2, 'mae': 1.75, 'loss': 1.3125}]
    """
    from smoothl1 import tables

    try:
        found = evaluate_tables(
            files, prediction=prediction, target=target, address=address, weight=weight, by=by,
            beta=beta, where=where, nulls=nulls, announce=announce,
        )  # fmt: skip
    except InputError as error:
        raise ValueError(str(error)) from None
    return tables.to_table(found)


def evaluate_tables(
    files: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    *,
    address: Any,
    announce: Callable[[str], None] | None = None,
    **asked: Any,
) -> Evaluation:
    """Return the evaluation of tables; `InputError` for what is wrong with them.

    What is ``asked`` is for `tables.plan`.
    """
    from smoothl1 import tables

    question, source = tables.plan(files, **asked)
    nulls = asked.get("nulls", "drop")
    if not source.files:
        raise TypeError(f"files must be paths, got {type(files).__qualname__}")
    tasks = []
    for file, count in zip(source.files, source.counts(), strict=True):
        step = min(count, _PARTS)
        tasks += [_TablePart(question, nulls, file, source.columns, i, step) for i in range(step)]
    return _merged(tasks, address, announce)


def evaluate_arrays(
    paths: Sequence[Path],
    question: Question,
    *,
    address: Any,
    announce: Callable[[str], None] | None = None,
) -> Evaluation:
    """Return the evaluation of Zarr arrays, or ``.npy`` files, of one shape."""
    files = [zarr.open_array(path) for path in paths]
    shape, step = files[0].shape, zarr.steps(files)
    starts = itertools.product(*(range(0, n, m) for n, m in zip(shape, step, strict=True)))
    # Workers may run in another folder.
    absolute = tuple(path.absolute() for path in paths)
    return _merged([_ArrayPart(question, absolute, a, step) for a in starts], address, announce)


@dataclass(frozen=True)
class _TablePart:
    """Some parts of a file."""

    question: Question
    nulls: str
    file: Any
    columns: Any
    first: int
    step: int

    def evaluation(self) -> Evaluation:
        """Read them."""
        from smoothl1 import tables
        from smoothl1._evaluate import readers

        condition = tables.condition_of(self.question.where)
        parts = readers.parts_of(self.file, self.columns, self.first, self.step, condition)
        return tables.run_part(self.question, self.nulls, parts)


@dataclass(frozen=True)
class _ArrayPart:
    """A region of arrays."""

    question: Question
    paths: tuple[Path, ...]
    start: tuple[int, ...]
    step: tuple[int, ...]

    def evaluation(self) -> Evaluation:
        """Read it."""
        region = tuple(slice(a, a + n) for a, n in zip(self.start, self.step, strict=True))
        pieces = zarr.read([zarr.open_array(path) for path in self.paths], region)
        found = Evaluation(self.question)
        found.add(*pieces, n_threads=1)
        return found


def _state_of(part: _TablePart | _ArrayPart) -> bytes | InputError:
    # An error of the user's comes as a value, lest it be tried again, with a traceback.
    try:
        return part.evaluation().to_bytes()
    except InputError as error:
        return error


def _merge(states: list[bytes | InputError]) -> bytes | InputError:
    for state in states:
        if isinstance(state, InputError):
            return state
    first, *rest = (Evaluation.from_bytes(state) for state in states)  # type: ignore[arg-type]
    return first.merge(*rest).to_bytes()


def _merged(parts: Sequence[Any], address: Any, announce: Any) -> Evaluation:
    """Evaluate parts on a cluster."""
    with client_of(address, announce) as client:
        total = merged_lazily(_state_of, _merge, [(part,) for part in parts])
        state = total.compute() if client is None else client.compute(total).result()
    if isinstance(state, InputError):
        raise state
    return Evaluation.from_bytes(state)


@contextmanager
def client_of(address: Any, announce: Callable[[str], None] | None = None) -> Iterator[Any]:
    """Hold a client of the cluster at an address; None stands for Dask's present scheduler."""
    if address is None:
        yield None
        return
    if not isinstance(address, str):
        yield address
        return
    try:
        from dask.system import CPU_COUNT
        from distributed import Client, LocalCluster
    except ImportError:
        raise InputError("--dask needs distributed: pip install 'smoothl1[dask]'") from None
    if address == "local":
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
        client = Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        raise InputError(f"{address}: no Dask scheduler answers ({error})") from None
    with client:
        _announce(client, announce)
        yield client


def _announce(client: Any, announce: Callable[[str], None] | None) -> None:
    if announce is not None and client.dashboard_link:
        announce(client.dashboard_link)
