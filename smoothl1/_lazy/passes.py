"""Passes over data out of memory: a function of each block, and a merge of what they give."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

import numpy as np

from smoothl1._dtypes import is_real
from smoothl1._lazy import arrays as lazy
from smoothl1._typing import AnyArray

# What is merged in one task.
_FAN = 16


class Source(Protocol):
    """Rows, in blocks of features, targets and weights, that can be gone over again."""

    n_blocks: int
    several: bool  # whether targets have an axis of their own
    names: list[str] | None  # of the features, where they have any

    def reduce(
        self, function: Callable[..., Any], merge: Callable[[list[Any]], Any], args: tuple[Any, ...]
    ) -> Any:
        """Return what ``function(X, y, weight, *args)`` gives of all blocks, merged."""


class Blocks:
    """Rows of Dask arrays and DataFrames."""

    def __init__(self, X: Any, y: Any, sample_weight: Any) -> None:
        columns = getattr(X, "columns", None) if hasattr(X, "to_dask_array") else None
        names = [] if columns is None else list(columns)
        self.names = names if names and all(isinstance(n, str) for n in names) else None
        given = {"X": X, "y": y, "sample_weight": sample_weight}
        arrays = {
            name: a.to_dask_array() if hasattr(a, "to_dask_array") else a
            for name, a in given.items()
            if a is not None
        }
        space = lazy.namespace(arrays)
        arrays = {name: a if lazy.is_array(a) else space.asarray(a) for name, a in arrays.items()}
        self.X, self.y = arrays["X"], arrays["y"]
        if self.X.ndim != 2 or not self.X.shape[1]:
            raise ValueError(f"X must have shape (n_samples, n_features), got {self.X.shape}")
        for name, dims in (("y", (1, 2)), ("sample_weight", (1,))):
            if name in arrays:
                arrays[name] = _along(self.X, name, arrays[name], dims)
        for name, a in arrays.items():
            if not is_real(a.dtype):
                raise TypeError(f"{name} must hold real numbers, got dtype {a.dtype}")
        self.y = arrays["y"]
        self.several = self.y.ndim == 2
        blocks = [a.rechunk({1: -1}) if a.ndim == 2 else a for a in arrays.values()]
        self._parts = list(zip(*map(_delayed, blocks), strict=True))
        self.n_blocks = len(self._parts)

    def reduce(
        self, function: Callable[..., Any], merge: Callable[[list[Any]], Any], args: tuple[Any, ...]
    ) -> Any:
        """Return what a function gives of all blocks, merged in a tree of tasks."""
        from dask.delayed import delayed

        shared = delayed(args, traverse=False)
        parts = [(function, shared, *part) for part in self._parts]
        return merged_lazily(_applied, merge, parts).compute()


class Batches:
    """Rows of Arrow's batches, which are opened anew for each pass."""

    several = False

    def __init__(self, data: Any, target: str, weight: str | None) -> None:
        if not (weight is None or isinstance(weight, str)):
            raise TypeError(
                f"sample_weight must be the name of a column where y is one, got {type(weight)}"
            )
        if not callable(data) and not hasattr(data, "__arrow_c_stream__"):
            raise TypeError(
                "X must have __arrow_c_stream__, or be a function that gives batches, where y is "
                f"the name of a column; got {type(data).__qualname__}"
            )
        if hasattr(data, "read_next_batch"):
            raise TypeError(
                "X can be read only once; pass a function without arguments that opens it anew"
            )
        self._data, self._target, self._weight = data, target, weight
        first = next(self._batches(), None)
        if first is None:
            raise ValueError("X must hold at least one batch, got none")
        names = list(first.schema.names)
        for name, column in (("y", target), ("sample_weight", weight)):
            if column is not None and column not in names:
                raise ValueError(f"{name} must be a column of X ({names}), got {column!r}")
        self._features = [name for name in names if name not in (target, weight)]
        self.names: list[str] | None = self._features
        if not self._features:
            raise ValueError(f"X must have a column of features beside {target!r}")
        self.n_blocks = sum(1 for _ in self._batches())

    def reduce(
        self, function: Callable[..., Any], merge: Callable[[list[Any]], Any], args: tuple[Any, ...]
    ) -> Any:
        """Return what a function gives of all batches, merged as they come."""
        total = None
        for batch in self._batches():
            columns = [self._column(batch, name) for name in self._features]
            y = self._column(batch, self._target)
            weight = np.ones(len(y)) if self._weight is None else self._column(batch, self._weight)
            found = function(np.column_stack(columns), y[:, np.newaxis], weight, *args)
            total = found if total is None else merge([total, found])
        return total

    def _batches(self) -> Iterator[Any]:
        import pyarrow as pa

        data = self._data() if callable(self._data) else self._data
        if hasattr(data, "__arrow_c_stream__"):
            data = pa.RecordBatchReader.from_stream(data)
        yield from data

    def _column(self, batch: Any, name: str) -> AnyArray:
        column = batch.column(name)
        if column.null_count:
            raise ValueError(f"column {name!r} has nulls; leave their rows out, or impute them")
        try:
            return np.asarray(column.to_numpy(zero_copy_only=False), np.float64)
        except (TypeError, ValueError):
            raise TypeError(f"column {name!r} must hold numbers, got {column.type}") from None


def merged_lazily(
    function: Callable[..., Any],
    merge: Callable[[list[Any]], Any],
    parts: Sequence[tuple[Any, ...]],
) -> Any:
    """Return what a function gives of each part's arguments, merged in a tree of Dask's tasks."""
    from dask.delayed import delayed

    apply, join = delayed(function, pure=False), delayed(merge, pure=False)
    found = [apply(*part) for part in parts]
    while len(found) > 1:
        found = [join(found[i : i + _FAN]) for i in range(0, len(found), _FAN)]
    return found[0]


def _applied(function: Callable[..., Any], args: tuple[Any, ...], *blocks: AnyArray) -> Any:
    """Call a function with a block in float64, targets in columns."""
    X, y, *weight = (np.asarray(block, np.float64) for block in blocks)
    if len(y) != len(X) or any(len(w) != len(X) for w in weight):
        raise ValueError(
            f"blocks of X, y and sample_weight have {[len(X), len(y), *map(len, weight)]} rows"
        )
    y = y.reshape(len(X), -1)
    return function(X, y, weight[0] if weight else np.ones(len(X)), *args)


def _delayed(a: Any) -> list[Any]:
    """Return the blocks of rows of an array, as lazy objects of their own."""
    if hasattr(a, "to_delayed"):
        return list(a.to_delayed().ravel().tolist())
    # With array.query-planning.
    from dask.core import flatten
    from dask.delayed import Delayed

    graph = a.__dask_graph__()
    return [Delayed(key, graph) for key in flatten(a.__dask_keys__())]


def _along(X: Any, name: str, value: Any, dims: tuple[int, ...]) -> Any:
    """Return an array with the chunks of X along its rows."""
    if value.ndim not in dims:
        raise ValueError(f"{name} must have {' or '.join(map(str, dims))} axes, got {value.shape}")
    own, rows = value.chunks[0], X.chunks[0]
    if np.isnan(sum(own)) or np.isnan(sum(rows)):
        if len(own) != len(rows):
            raise ValueError(
                f"{name} has {len(own)} blocks of rows and X {len(rows)}, of unknown sizes; call "
                "compute_chunk_sizes() first"
            )
        return value
    if sum(own) != sum(rows):
        raise ValueError(f"X and {name} must have as many rows, got {sum(rows)} and {sum(own)}")
    return value if own == rows else value.rechunk({0: rows})
