"""Losses of Dask DataFrames, as a whole or by group.

``map_partitions`` turns a partition into a row of integers for each of its groups,
``groupby.sum`` adds them, and ``map_partitions`` rounds. pandas and pyarrow, which Dask's
DataFrames need, are imported by their partitions alone.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from smoothl1 import _arguments as arguments
from smoothl1 import sums
from smoothl1._typing import AnyArray
from smoothl1.grouped import GroupedLossSums
from smoothl1.sums import LossSums

_PREFIX = "__exact_sums_"  # of the columns of integers
_ALL = _PREFIX + "all"  # the key of a frame without groups


@dataclass(frozen=True)
class Question:
    """What partitions are asked; the same for all of them."""

    prediction: str
    target: str
    weight: str | None
    by: tuple[str, ...]
    where: str | Callable[[Any], Any] | None
    nulls: str
    beta: float | tuple[float, ...]
    huber: bool
    dtype: str
    reduction: str
    n_threads: int

    def like(self) -> GroupedLossSums:
        """Return an object without sums."""
        return GroupedLossSums(self.beta, huber=self.huber, dtype=self.dtype)

    @property
    def keys(self) -> list[str]:
        """The columns by which partial sums are added."""
        return list(self.by) or [_ALL]

    def integers(self) -> list[str]:
        """Return the names of the columns that add: rows dropped, and a state."""
        like = LossSums(self.beta, huber=self.huber, dtype=self.dtype)
        return [f"{_PREFIX}{i}" for i in range(-1, len(like.to_array()))]


def evaluate(
    frame: Any,
    *,
    prediction: str,
    target: str,
    weight: str | None = None,
    by: str | Sequence[str] | None = None,
    beta: ArrayLike = 1.0,
    huber: bool = False,
    where: str | Callable[[Any], Any] | None = None,
    nulls: str = "drop",
    reduction: str | None = None,
    dtype: DTypeLike | None = None,
    split_every: int | None = None,
    n_threads: SupportsIndex | None = 1,
) -> Any:
    """Return the errors of predictions in a Dask DataFrame, as a whole or by group, lazily.

    Parameters
    ----------
    frame : dask DataFrame
        Divided into partitions in any way.
    prediction, target : str
        The columns to compare.
    weight : str, optional
        A column of weights. They touch every figure, and the mean is by their sum.
    by : str or sequence of str, optional
        The columns whose values make a group, null being one.
    beta : float or sequence of float, default=1.0
        Thresholds, >= 0.
    huber : bool, default=False
        Whether the loss is Huber's; then `beta` is its `delta`.
    where : str or callable, optional
        The rows to take part: an expression as for `smoothl1.tables.evaluate`, or a function of
        a partition that returns a bool for each of its rows.
    nulls : {"drop", "error"}, default="drop"
        What to do with rows that lack prediction, target or weight. In a column of a NumPy
        dtype NaN counts as missing, as everywhere in pandas; in one of Arrow only null does.
    reduction : {"mean", "sum", "weighted_mean"}, optional
        By default "weighted_mean" with `weight` and "mean" without.
    dtype : {numpy.float32, numpy.float64}, optional
        The working dtype; by default float32 where that holds prediction, target and weight.
    split_every : int, optional
        How many partitions' sums are added in a task.
    n_threads : int or None, default=1
        The largest number of threads of a partition.

    Returns
    -------
    dask DataFrame
        One partition: a row for each group in the order of the keys, null last, or a single row
        without `by`. Columns: those of `by`, "rows", "dropped", "mae", "rmse", "loss" and
        "quadratic_share", or for several thresholds "loss_<beta>" and "quadratic_share_<beta>"
        for each. The figures have the same bits for any partitions and workers, those of
        `GroupedLossSums`.

    Raises
    ------
    TypeError, ValueError
        For columns that are missing or do not hold numbers, and bad parameters; for nulls that
        are errors, when it is computed.

    Examples
    --------
    >>> import pytest; dd = pytest.importorskip("dask.dataframe")
    >>> import pandas as pd
    >>> from smoothl1.dask import evaluate
    >>> frame = pd.DataFrame(
    ...     {"p": [0.5, 3.0, 0.0, 1.0], "t": [0.0, 0.0, 1.0, None], "k": ["b", "a", "b", "a"]}
    ... )
    >>> table = evaluate(dd.from_pandas(frame, npartitions=2), prediction="p", target="t", by="k")
    >>> table.compute()[["k", "rows", "dropped", "loss"]]
       k  rows  dropped    loss
    0  a     1        1  2.5000
    1  b     2        0  0.3125
    """
    question = ask(
        frame, prediction=prediction, target=target, weight=weight, by=by, beta=beta, huber=huber,
        where=where, nulls=nulls, reduction=reduction, dtype=dtype, n_threads=n_threads,
    )  # fmt: skip
    total = partial_sums(frame, question, split_every)
    meta = figures(total._meta, question=question)
    return total.map_partitions(figures, question=question, meta=meta)


def ask(
    frame: Any,
    *,
    prediction: str,
    target: str,
    weight: str | None,
    by: str | Sequence[str] | None,
    beta: ArrayLike,
    huber: bool,
    where: str | Callable[[Any], Any] | None,
    nulls: str,
    reduction: str | None,
    dtype: DTypeLike | None,
    n_threads: SupportsIndex | None,
) -> Question:
    """Check the arguments of `evaluate`."""
    meta: Any = getattr(frame, "_meta", None)
    if not hasattr(frame, "map_partitions") or not hasattr(meta, "columns"):
        raise TypeError(f"frame must be a Dask DataFrame, got {type(frame).__qualname__}")
    keys = (by,) if isinstance(by, str) else tuple(by or ())
    named = {"prediction": prediction, "target": target, "weight": weight}
    for name, column in [*named.items(), *(("by", key) for key in keys)]:
        if column is not None and column not in meta.columns:
            columns = ", ".join(map(repr, meta.columns))
            raise ValueError(f"{name} must be a column of the frame ({columns}), got {column!r}")
    if len(set(keys)) != len(keys):
        raise ValueError(f"by must hold each column once, got {list(keys)}")
    if nulls not in ("drop", "error"):
        raise ValueError(f"nulls must be 'drop' or 'error', got {nulls!r}")
    if isinstance(where, str):
        _check_where(where, list(meta.columns))
    elif not (where is None or callable(where)):
        raise TypeError(f"where must be a str or a function, got {type(where).__qualname__}")
    used = {name: column for name, column in named.items() if column is not None}
    found = [_dtype_of(name, column, meta[column].dtype) for name, column in used.items()]
    single = all(np.can_cast(each, np.float32, "safe") and each.kind == "f" for each in found)
    if dtype is None:
        dtype = np.float32 if single else np.float64
    spec = sums.make_spec(beta, huber, dtype)
    if spec.single and not single:
        names = ", ".join(f"{name} {each}" for name, each in zip(used, found, strict=True))
        raise TypeError(f"dtype float32 would round what is not of it: {names}")
    how = reduction or ("mean" if weight is None else "weighted_mean")
    how = arguments.check_reduction(how, arguments.REDUCTIONS[1:], "beta is an argument of its own")
    arguments.check_weighted(how, weight)
    return Question(
        prediction, target, weight, keys, where, nulls,
        spec.betas[0] if spec.scalar else spec.betas,
        spec.huber, "float32" if spec.single else "float64", how,
        arguments.thread_argument(n_threads),
    )  # fmt: skip


def partial_sums(frame: Any, question: Question, split_every: int | None) -> Any:
    """Return a lazy frame of one partition: a row of integers for each group, by its keys."""
    meta = partition_sums(frame._meta, question=question)
    parts = frame.map_partitions(partition_sums, question=question, meta=meta)
    groups = parts.groupby(question.keys, dropna=False, observed=True, sort=False)
    options = {"split_out": 1}  # Dask's own choice depends on the keys
    if split_every is not None:
        options["split_every"] = operator.index(split_every)
    return groups[question.integers()].sum(**options)


def partition_sums(part: Any, *, question: Question) -> Any:
    """Return the rows of integers of the groups of a partition, a pandas DataFrame."""
    import pandas as pd

    names = question.integers()
    if question.where is not None and len(part):
        part = part[_chosen(part, question.where)]
    keys = pd.DataFrame({name: _key_column(part[name]) for name in question.by}, index=part.index)
    if not question.by:
        keys[_ALL] = np.zeros(len(part), np.int8)
    if not len(part):
        return pd.concat(
            [keys, pd.DataFrame({name: np.empty(0, np.int64) for name in names})], axis=1
        )
    codes = keys.groupby(question.keys, dropna=False, observed=True, sort=False).ngroup()
    codes = codes.to_numpy()
    first = np.unique(codes, return_index=True)[1]

    columns: list[Any] = []
    valid = np.ones(len(part), bool)
    for column in (question.prediction, question.target, question.weight):
        values, present = (None, None) if column is None else _values(part[column])
        columns.append(values)
        if present is not None:
            if question.nulls == "error" and not present.all():
                raise ValueError(f"column {column!r} has nulls; nulls='drop' leaves their rows out")
            valid &= present
    rows = np.zeros((len(first), len(names)), np.int64)
    rows[:, 0] = np.bincount(codes[~valid], minlength=len(first))
    prediction, target, weight = columns
    found = question.like().update(
        prediction, target, codes, weight=weight, where=valid, n_threads=question.n_threads or None
    )
    rows[found.groups(), 1:] = found.to_array()
    integers = pd.DataFrame(rows, columns=names)
    return pd.concat([keys.iloc[first].reset_index(drop=True), integers], axis=1)


def figures(total: Any, *, question: Question) -> Any:
    """Return the figures of a pandas frame of sums, whose index is the keys."""
    import pandas as pd

    total = _sorted(total.reset_index(), question.by)
    rows = total[question.integers()].to_numpy(np.int64)
    if not (question.by or len(rows)):  # no partition has a row
        rows = np.zeros((1, rows.shape[1]), np.int64)
    columns = round_rows(rows, question)
    return pd.concat([total[list(question.by)], pd.DataFrame(columns)], axis=1)


def round_rows(rows: AnyArray, question: Question) -> dict[str, AnyArray]:
    """Return the figures of rows of integers, in columns; nan where no row counts."""
    count = len(rows)
    found = GroupedLossSums.from_array(rows[:, 1:], np.arange(count), question.like())
    computed = found.compute(question.reduction)
    places = computed.pop("by").astype(np.intp)
    columns = {"rows": rows[:, 1].copy(), "dropped": rows[:, 0].copy()}
    for name, values in computed.items():
        if name in ("n", "weight_sum"):
            continue
        columns[name] = np.full(count, np.nan, values.dtype)
        columns[name][places] = values
    return columns


def _check_where(where: str, columns: list[Any]) -> None:
    from smoothl1._evaluate.npy import InputError
    from smoothl1._evaluate.where import Where

    try:
        used = Where(where).columns
    except InputError as error:
        raise ValueError(str(error)) from None
    for column in used:
        if column not in columns:
            raise ValueError(f"where names {column!r}, which is no column of the frame: {columns}")


def _dtype_of(name: str, column: str, dtype: Any) -> np.dtype[Any]:
    """Return the NumPy dtype of a column of pandas; ``TypeError`` for what is no number."""
    plain = getattr(dtype, "numpy_dtype", dtype)
    if isinstance(plain, np.dtype) and plain.kind in "fiub" and plain.itemsize <= 8:
        return plain
    raise TypeError(f"{name} must be a column of numbers, but {column!r} is of dtype {dtype}")


def _chosen(part: Any, where: str | Callable[[Any], Any]) -> AnyArray:
    """Return which rows of a partition a condition chooses; null chooses none."""
    import pyarrow as pa

    from smoothl1._evaluate.where import Where

    if isinstance(where, str):
        condition = Where(where)
        columns = part[list(condition.columns)]
        table = pa.Table.from_pandas(columns, preserve_index=False).combine_chunks()
        return condition.mask(table.to_batches()[0])
    values = pa.array(where(part), from_pandas=True)
    if not pa.types.is_boolean(values.type) or len(values) != len(part):
        raise TypeError(f"where must give a bool for each row, got {values.type}")
    return np.asarray(_one(values).fill_null(False).to_numpy(zero_copy_only=False), bool)


def _values(column: Any) -> tuple[AnyArray, AnyArray | None]:
    """Return the values of a column of pandas, and where there are any; None for everywhere."""
    import pyarrow as pa

    if isinstance(column.dtype, np.dtype):
        values = column.to_numpy()
        present = ~np.isnan(values) if values.dtype.kind == "f" else None
        return values, None if present is None or present.all() else present
    array = _one(pa.array(column, from_pandas=False))
    present = array.is_valid().to_numpy(zero_copy_only=False) if array.null_count else None
    if present is not None:
        array = array.fill_null(False if pa.types.is_boolean(array.type) else 0)
    return array.to_numpy(zero_copy_only=False), present


def _one(array: Any) -> Any:
    """Return an Arrow array in one chunk."""
    return array.combine_chunks() if hasattr(array, "combine_chunks") else array


def _key_column(column: Any) -> Any:
    """Return keys that are equal where they are the same: without categories, or a -0.0."""
    categories = getattr(column.dtype, "categories", None)
    if categories is not None:
        return column.astype(categories.dtype)
    return column + 0.0 if getattr(column.dtype, "kind", "") == "f" else column


def _sorted(total: Any, by: tuple[str, ...]) -> Any:
    """Return rows in the order of their keys, null last; by type and text, if they have none."""
    if not by:
        return total
    try:
        return total.sort_values(list(by), ignore_index=True, kind="stable")
    except TypeError:
        text = total[list(by)].map(lambda key: (type(key).__name__, repr(key)))
        return total.loc[text.sort_values(list(by), kind="stable").index].reset_index(drop=True)
