"""Losses of predictions in tables: by group, from files of any size, or from data frames.

Needs pyarrow: ``pip install 'smoothl1[tables]'``.
"""

from __future__ import annotations

import itertools
import math
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from smoothl1 import _arguments as arguments
from smoothl1._config import get_num_threads
from smoothl1._evaluate import readers
from smoothl1._evaluate.evaluation import Evaluation, Question, make_question
from smoothl1._evaluate.npy import InputError
from smoothl1._evaluate.scratch import Scratch
from smoothl1._sums.keys import Coded
from smoothl1._typing import AnyArray

if TYPE_CHECKING:
    from smoothl1._evaluate.where import Where

__all__ = ["evaluate"]

# Integers in so small a range are their own places in a list of keys.
_SMALL_RANGE = 2**16

# So many combinations of keys are looked up, whether they occur or not.
_FEW = 1024


def evaluate(
    data: Any,
    *,
    prediction: str,
    target: str,
    weight: str | None = None,
    by: str | Sequence[str] | None = None,
    beta: ArrayLike = 1.0,
    where: str | None = None,
    nulls: str = "drop",
    progress: bool = False,
    n_threads: SupportsIndex | None = None,
) -> pa.Table:
    """Return the losses of a table, of all its rows and by group.

    The sums are exact (`LossSums`): the order of rows and files, their division into
    batches, and the number of threads change no bit.

    Parameters
    ----------
    data : path, sequence of paths, or table
        Files in Parquet, Arrow IPC (Feather) or CSV, also compressed; folders of such, of one
        format; globs; addresses that `pyarrow.fs` or `fsspec` know. Folders named as ``month=3``
        give a column. In a folder names that begin with ``.`` or ``_`` are passed over, and
        files of other formats are left out with a `UserWarning`. Or anything with
        ``__arrow_c_stream__``: a table of pyarrow, pandas, polars, a relation of DuckDB. A
        DataFrame of Dask is passed on to `smoothl1.dask.evaluate`.
    prediction, target : str
        Columns of numbers.
    weight : str, optional
        Column of weights. Where it is given all figures are weighted, and losses are divided by
        the sum of the weights.
    by : str or sequence of str, optional
        Columns to group by, of any type but nested ones. Null is a group.
    beta : float or sequence of float, default=1.0
        Threshold, or several.
    where : str, optional
        Rows to take part, as ``"month == 3 and carrier in ('AA', 'UA')"``: names of columns (or
        ``column('a name')``), numbers, text, comparisons, ``in``, ``and``, ``or``, ``not``,
        ``+ - * /``, ``abs``, ``is_null``, ``is_nan``, ``lower``. It is parsed, never executed.
    nulls : {"drop", "error"}, default="drop"
        What becomes of rows with a null in prediction, target or weight. pandas' NaN comes as
        null.
    progress : bool, default=False
        Whether to show a progress bar (of tqdm) after a second, if standard error is a terminal.
    n_threads : int, optional
        The largest number of threads.

    Returns
    -------
    pyarrow.Table
        A row for the whole, then one for each group, in ascending order. The columns of `by`
        (null for the whole), then "rows", "dropped" (rows with nulls), "nan" (rows whose
        residual or weight is NaN, which are among "rows"), "weight" (their sum, if there are
        weights), "mae", "rmse", "bias" (the mean of prediction - target), "largest" (of the
        absolute residuals), and "loss" and "quadratic_share", or, of several thresholds,
        "loss_<beta>" and "quadratic_share_<beta>" for each.

    Raises
    ------
    ValueError
        For bad arguments, and where a file or a column is not what is needed: the message
        names both.
    TypeError
        If `data` is none of the above.

    See Also
    --------
    GroupedLossSums : for arrays.

    Notes
    -----
    Losses are computed in float32 if prediction and target are of at most 32-bit floats, as
    in `smooth_l1_loss`; weights are rounded to that. All of a folder's files are read, and memory
    is bounded: each thread holds one batch, and of Parquet what is decoded of one row group.

    Examples
    --------
    >>> import pyarrow as pa
    >>> from smoothl1 import tables
    >>> flights = pa.table({
    ...     "carrier": ["UA", "AA", "UA", None],
    ...     "predicted": [3.0, 10.0, -1.5, 0.0],
    ...     "delay": [2.0, 14.0, -1.0, None],
    ... })
    >>> found = tables.evaluate(flights, prediction="predicted", target="delay", by="carrier")
    >>> found.select(["carrier", "rows", "dropped", "loss"]).to_pylist()[:2]
    [{'carrier': None, 'rows': 3, 'dropped': 1, 'loss': 1.375},
     {'carrier': 'AA', 'rows': 1, 'dropped': 0, 'loss': 3.5}]
    """
    if _is_dask(data):
        from smoothl1 import dask

        return dask.evaluate(
            data,
            prediction=prediction,
            target=target,
            weight=weight,
            by=by,
            beta=beta,
            where=where,
            nulls=nulls,
            n_threads=n_threads or 1,
        )
    try:
        evaluation = run(
            data,
            prediction=prediction,
            target=target,
            weight=weight,
            by=by,
            beta=beta,
            where=where,
            nulls=nulls,
            progress=progress,
            n_threads=n_threads,
        )
    except InputError as error:
        raise ValueError(str(error)) from None
    return to_table(evaluation)


def run(
    data: Any,
    *,
    progress: bool = False,
    n_threads: SupportsIndex | None = None,
    residuals: Callable[[], Any] | None = None,
    **asked: Any,
) -> Evaluation:
    """Return the evaluation of a table; `InputError` for what is wrong with it.

    ``residuals`` makes objects with ``add(array)``, one for each thread, to see all residuals;
    what is ``asked`` is for `plan`.
    """
    limit = arguments.thread_argument(n_threads) or get_num_threads()
    question, source = plan(data, **asked)
    return _Run(question, source, asked.get("nulls", "drop"), residuals).all(limit, progress)


def plan(
    data: Any,
    *,
    prediction: str,
    target: str,
    weight: str | None = None,
    by: str | Sequence[str] | None = None,
    beta: ArrayLike = 1.0,
    where: str | None = None,
    nulls: str = "drop",
    ignore_nan: bool = False,
    note: Callable[[str], None] | None = None,
) -> tuple[Question, readers.Source]:
    """Return what is evaluated, and where the rows are, after a look at the schemas.

    ``note`` is called with what a user should know, by default a warning.
    """
    by = () if by is None else (by,) if isinstance(by, str) else tuple(by)
    named = {"prediction": prediction, "target": target, "weight": weight, "where": where}
    for name, value in (*named.items(), *(("by", part) for part in by)):
        if not isinstance(value, str) and (value is not None or name in ("prediction", "target")):
            raise TypeError(f"{name} must be a str, got {type(value).__qualname__}")
    if len(set(by)) != len(by):
        raise ValueError(f"by names a column twice: {', '.join(by)}")
    taken = {"rows", "dropped", "nan", "weight", "mae", "rmse", "bias", "largest"}
    for name in by:
        if name in taken or name.startswith(("loss", "quadratic_share")):
            raise ValueError(f"by {name!r}: a figure has this name; rename the column")
    if nulls not in ("drop", "error"):
        raise ValueError(f"nulls must be 'drop' or 'error', got {nulls!r}")
    make_question(beta, prediction=prediction, target=target)  # a bad beta before a bad file
    condition = condition_of(where)
    numbers = (prediction, target) if weight is None else (prediction, target, weight)
    columns = readers.Columns(numbers, by, condition.columns if condition else ())
    source = readers.Source(data, columns, condition)
    if source.left_out:
        count, first = len(source.left_out), source.left_out[0]
        which = f"{first} is" if count == 1 else f"{first} and {count - 1} more are"
        (note or _warn)(f"{which} left out: not of Parquet, Arrow IPC, or CSV")
    schema = source.schema
    kinds = tuple(
        "text" if name in source.untyped else _kind_of(schema.field(name), source.name)
        for name in by
    )
    single = all(_is_narrow(schema.field(name).type) for name in (prediction, target))
    question = make_question(
        beta,
        single=single,
        prediction=prediction,
        target=target,
        weight=weight,
        by=by,
        kinds=kinds,
        ignore_nan=ignore_nan,
        where=where,
    )
    return question, source


def run_part(question: Question, nulls: str, parts: Iterator[readers.Part]) -> Evaluation:
    """Return the evaluation of some parts of a source."""
    return _Run(question, None, nulls, None).one(parts)


def condition_of(where: str | None) -> Where | None:
    """Return the condition of an expression."""
    if where is None:
        return None
    # With pyarrow.compute, which takes as long to import as some evaluations take.
    from smoothl1._evaluate.where import Where

    return Where(where)


def _warn(message: str) -> None:
    warnings.warn(message, UserWarning, stacklevel=5)  # at the caller of the public function


class _Run:
    """The threads that read parts of a source, each with an evaluation of its own."""

    def __init__(
        self,
        question: Question,
        source: readers.Source | None,
        nulls: str,
        residuals: Callable[[], Any] | None,
    ) -> None:
        self._question, self._source = question, source
        self._condition = condition_of(question.where)
        self._nulls, self._residuals = nulls, residuals
        self._lock = threading.Lock()
        self._begun: list[_Shared] = []
        self._count = 0
        # The place of the first part with an error: it and later ones are read no further.
        self._end = math.inf
        self._error: BaseException | None = None
        self._bar: Any = None

    def all(self, threads: int, progress: bool) -> Evaluation:
        """Read everything; return the evaluation of it."""
        assert self._source is not None
        separate = self._source.separate
        parts = self._source.parts(max(1, threads // separate) if separate else 1)
        with _progress(self._source.total if progress else None) as self._bar:
            if threads == 1:
                return self.one(parts)
            first, *others = self._beside(parts, threads)
        return first.merge(*others)

    def _beside(self, parts: Iterator[readers.Part], count: int) -> list[Evaluation]:
        """Return the evaluations of some threads; raise the error of the first part with one.

        Without `concurrent.futures`, whose import takes as long as half a million rows.
        """
        found: list[Evaluation] = []
        errors: list[BaseException] = []

        def run() -> None:
            try:
                found.append(self.one(parts))
            except BaseException as error:  # raised where all were waited for
                errors.append(error)

        threads = [threading.Thread(target=run, name=f"smoothl1-{i}") for i in range(count)]
        try:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:  # where it is interrupted, they end with the batch that they are at
            self._end = -1
            for thread in threads:
                if thread.ident is not None:
                    thread.join()
        if errors:
            raise self._error or errors[0]
        return found

    def one(self, parts: Iterator[readers.Part]) -> Evaluation:
        """Evaluate the parts that are left, beside others that take some of them."""
        evaluation = Evaluation(self._question)
        residuals = self._residuals() if self._residuals is not None else None
        while (shared := self._next(parts)) is not None:
            name = shared.part.name
            try:
                with readers.reading(name):
                    while shared.place < self._end and (batch := shared.next()) is not None:
                        self._add(evaluation, batch, name, residuals)
                        self._show(batch.num_rows, 0)
            except BaseException as error:
                with self._lock:
                    if shared.place < self._end:
                        self._end, self._error = shared.place, error
                raise
            self._leave(shared)
        return evaluation

    def _next(self, parts: Iterator[readers.Part]) -> _Shared | None:
        """Return a part that none has begun, else one that others are at; None at the end."""
        with self._lock:
            if self._end < math.inf:
                return None
            try:
                part = next(parts, None)
            except BaseException as error:  # of what is read in a row, the reading is here
                self._end, self._error = self._count, error
                raise
            if part is None:
                return self._begun[0] if self._begun else None
            shared = _Shared(part, self._count)
            self._count += 1
            self._begun.append(shared)
            return shared

    def _leave(self, shared: _Shared) -> None:
        """Note that a part has no more batches."""
        with self._lock:
            first = shared in self._begun
            if first:
                self._begun.remove(shared)
        if first:
            self._show(0, shared.part.size)

    def _show(self, rows: int, size: int) -> None:
        if self._bar is not None:
            with self._lock:
                self._bar.rows(rows, size)

    def _add(
        self,
        evaluation: Evaluation,
        batch: pa.RecordBatch,
        name: str,
        residuals: Any,
    ) -> None:
        chosen = None
        if self._condition is not None:
            try:
                chosen = self._condition.mask(batch)
            except InputError as error:
                raise InputError(f"{name}: {error}") from None
        question = self._question
        columns = (question.prediction, question.target, question.weight)
        arrays, valid = [], None
        for column in columns:
            if column is None:
                continue
            values, there = _values(batch.column(column))
            if there is not None:
                missing = ~there if chosen is None else ~there & chosen
                if self._nulls == "error" and missing.any():
                    raise InputError(
                        f"{name}: column {column!r} has nulls, {np.count_nonzero(missing)} in "
                        f"{batch.num_rows} rows"
                    )
                valid = there if valid is None else valid & there
            arrays.append(values)
        where, dropped = chosen, None
        if valid is not None:
            where = valid if chosen is None else valid & chosen
            dropped = ~valid if chosen is None else ~valid & chosen
        evaluation.add(
            *arrays,
            keys=_keys(batch, question.by, evaluation.scratch) if question.by else None,
            where=where,
            dropped=dropped,
            n_threads=1,
        )
        if residuals is not None:
            with np.errstate(all="ignore"):
                found = np.subtract(arrays[0], arrays[1], dtype=np.float64, casting="unsafe")
            residuals.add(found if where is None else found[where])


class _Shared:
    """A part of which any thread may take the next batch: in the end some have nothing else."""

    def __init__(self, part: readers.Part, place: int) -> None:
        self.part, self.place = part, place
        self._batches = iter(part.batches)
        self._lock = threading.Lock()

    def next(self) -> pa.RecordBatch | None:
        """Return the next batch, which is decoded here, or None."""
        with self._lock:
            return next(self._batches, None)


class _Bar:
    """Progress in bytes of files, with the rows beside it."""

    def __init__(self, bar: Any) -> None:
        self._bar = bar
        self._rows = 0

    def __enter__(self) -> _Bar | None:
        return self if self._bar is not None else None

    def __exit__(self, *error: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def rows(self, count: int, size: int) -> None:
        """Note rows that were read, or bytes of files."""
        self._rows += count
        self._bar.set_postfix_str(f"{self._rows:,} rows", refresh=False)
        self._bar.update(size)


def _progress(total: int | None) -> _Bar:
    if total is None or sys.stderr is None or not sys.stderr.isatty():
        return _Bar(None)
    try:
        from tqdm import tqdm
    except ImportError:
        return _Bar(None)
    return _Bar(tqdm(total=total or None, unit="B", unit_scale=True, delay=1, leave=False))


def _values(array: pa.Array) -> tuple[AnyArray, AnyArray | None]:
    """Return the numbers of a column, and which are not null; None if all are there."""
    kind = array.type
    if pa.types.is_dictionary(kind):
        array, kind = array.dictionary_decode(), kind.value_type
    if pa.types.is_decimal(kind) or pa.types.is_null(kind):
        array = array.cast(pa.float64(), safe=False)
    there = None
    if array.null_count:
        there = _bits(array.buffers()[0], array.offset, len(array))
    data = array.buffers()[1]
    if not len(array) or data is None:
        return np.zeros(len(array), _dtype_of(array.type)), there
    if pa.types.is_boolean(array.type):
        return _bits(data, array.offset, len(array)), there
    dtype = _dtype_of(array.type)
    return np.frombuffer(data, dtype, len(array), array.offset * dtype.itemsize), there


_FLOATS = {"halffloat": "float16", "float": "float32", "double": "float64"}


def _dtype_of(kind: pa.DataType) -> np.dtype[Any]:
    """Return NumPy's dtype of numbers; ``to_pandas_dtype`` would import pandas."""
    name = str(kind)
    return np.dtype({"null": "float64"}.get(name) or _FLOATS.get(name, name))


def _bits(buffer: pa.Buffer, offset: int, count: int) -> AnyArray:
    packed = np.frombuffer(buffer, np.uint8)[offset // 8 : (offset + count + 7) // 8]
    bits = np.unpackbits(packed, bitorder="little")
    return bits[offset % 8 : offset % 8 + count].view(bool)


def _keys(batch: pa.RecordBatch, by: Sequence[str], scratch: Scratch) -> AnyArray | Coded:
    """Return the keys of rows: integers, or places in a list of tuples."""
    if len(by) == 1:
        column = batch.column(by[0])
        if pa.types.is_integer(column.type) and not column.null_count:
            return _values(column)[0]
    coded = [_coded(batch.column(name), name, scratch) for name in by]
    sizes = [len(values) for _, values in coded]
    if math.prod(sizes) < 2**62:
        places = coded[0][0]
        for (part, _), size in zip(coded[1:], sizes[1:], strict=True):
            places *= size
            places += part
        if math.prod(sizes) <= _FEW:  # so many that those that are not there cost nothing
            return Coded(places, list(itertools.product(*(values for _, values in coded))))
        if math.prod(sizes) <= 4 * batch.num_rows:
            seen = np.zeros(math.prod(sizes), bool)
            seen[places] = True
            present = np.flatnonzero(seen)
            places = (np.cumsum(seen) - 1)[places]
        else:
            present, places = np.unique(places, return_inverse=True)
        parts: list[Any] = []
        for (_, values), size in zip(reversed(coded), reversed(sizes), strict=True):
            present, rest = np.divmod(present, size)
            parts.append([values[i] for i in rest.tolist()])
        return Coded(places, list(zip(*reversed(parts), strict=True)))
    rows = np.stack([part for part, _ in coded], axis=1)
    unique, places = np.unique(rows, axis=0, return_inverse=True)
    keys = [tuple(coded[j][1][i] for j, i in enumerate(row)) for row in unique.tolist()]
    return Coded(places.reshape(-1), keys)


def _coded(array: pa.Array, name: str, scratch: Scratch) -> tuple[NDArray[np.int64], list[Any]]:
    """Return the places of a column's values in a list of them; null is one of them."""
    kind = array.type
    places = scratch.array(name, (len(array),), np.int64)
    if pa.types.is_integer(kind) and not array.null_count and len(array):
        values = _values(array)[0]
        least, most = int(values.min()), int(values.max())
        if most - least < _SMALL_RANGE:
            np.subtract(values, least, out=places, dtype=np.int64, casting="unsafe")
            return places, list(range(least, most + 1))
    if not pa.types.is_dictionary(kind):
        array = _cast(array, _stored(kind)).dictionary_encode()
    keys = _cast(array.dictionary, _stored(kind)).to_pylist()
    indices, there = _values(array.indices)
    places[...] = indices
    if there is not None:
        places[~there] = len(keys)
        keys.append(None)
    return places, keys or [None]


def _cast(array: pa.Array, kind: pa.DataType) -> pa.Array:
    return array if array.type == kind else array.cast(kind, safe=False)


def _stored(kind: pa.DataType) -> pa.DataType:
    """Return the type in which keys are kept: text, bytes, numbers; times are integers."""
    if pa.types.is_dictionary(kind):
        return _stored(kind.value_type)
    if pa.types.is_date32(kind) or pa.types.is_time32(kind):
        return pa.int32()
    if pa.types.is_temporal(kind):
        return pa.int64()
    if pa.types.is_decimal(kind) or pa.types.is_null(kind) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_float16(kind):
        return pa.float64()
    return kind


_PLAIN = {
    pa.types.is_boolean: "bool",
    pa.types.is_uint64: "uint64",
    pa.types.is_integer: "int64",
    pa.types.is_floating: "double",
    pa.types.is_date32: "date32",
    pa.types.is_date64: "date64",
    pa.types.is_decimal: "string",
    pa.types.is_null: "string",
}


def _kind_of(field: pa.Field, file: str) -> str:
    """Return the name of a key's type; `InputError` for one that no keys can have."""
    kind = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
    for is_one, name in _PLAIN.items():
        if is_one(kind):
            return name
    plain = readers.plain_type(kind)
    if pa.types.is_string(plain):
        return "string"
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return "binary"
    for name, is_one in (
        ("timestamp", pa.types.is_timestamp),
        ("time", pa.types.is_time),
        ("duration", pa.types.is_duration),
    ):
        if is_one(kind):
            return f"{name}:{kind.unit}:{getattr(kind, 'tz', None) or ''}"
    raise InputError(f"{file}: column {field.name!r} holds {kind}, by which rows are not grouped")


def keys_array(keys: list[Any], kind: str) -> pa.Array:
    """Return keys as an array of their type."""
    if kind == "text":
        kind = "int64" if any(isinstance(key, int) for key in keys) else "string"
    there = np.array([key is not None for key in keys], bool)
    type_ = _type_of(kind)
    if kind in ("string", "binary"):
        texts = [b"" if key is None else key for key in keys]
        data = [text.encode() if isinstance(text, str) else text for text in texts]
        ends = np.zeros(len(keys) + 1, np.int32)
        np.cumsum([len(text) for text in data], out=ends[1:])
        return _array(type_, there, pa.py_buffer(ends), pa.py_buffer(b"".join(data)))
    plain = [0 if key is None else key for key in keys]
    if kind == "bool":
        packed = np.packbits(np.array(plain, bool), bitorder="little")
        return _array(type_, there, pa.py_buffer(packed))
    name = kind if kind in ("uint64", "double") else f"int{type_.bit_width}"
    values = np.array(plain, _FLOATS.get(name, name))
    return _array(type_, there, pa.py_buffer(values))


def _array(kind: pa.DataType, there: AnyArray, *buffers: pa.Buffer) -> pa.Array:
    """Return an array; ``pyarrow.array`` would import pandas where there is one."""
    valid = None if there.all() else pa.py_buffer(np.packbits(there, bitorder="little"))
    return pa.Array.from_buffers(kind, len(there), [valid, *buffers])


def _type_of(kind: str) -> pa.DataType:
    """Return the type that `_kind_of` named."""
    name, _, rest = kind.partition(":")
    unit, _, zone = rest.partition(":")
    if name == "timestamp":
        return pa.timestamp(unit, zone or None)
    if name == "time":
        return pa.time64(unit) if unit in ("us", "ns") else pa.time32(unit)
    return pa.duration(unit) if name == "duration" else pa.type_for_alias(name)


def to_table(evaluation: Evaluation, reduction: str | None = None) -> pa.Table:
    """Return the table of an evaluation: the whole, then its groups."""
    keys, columns = evaluation.figures(reduction)
    question = evaluation.question
    arrays = [
        keys_array([None, *(key[i] for key in keys)], kind) for i, kind in enumerate(question.kinds)
    ]
    some = columns["rows"] > 0
    counts = ("rows", "dropped", "nan", "weight")
    for name, values in columns.items():
        there = np.ones(len(values), bool) if name in counts else some
        kind = pa.type_for_alias(str(values.dtype))
        arrays.append(_array(kind, there, pa.py_buffer(np.ascontiguousarray(values))))
    return pa.Table.from_arrays(arrays, names=[*question.by, *columns])


def _is_narrow(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return bool(pa.types.is_float16(kind) or pa.types.is_float32(kind))


def _is_dask(data: Any) -> bool:
    module = type(data).__module__
    return module.split(".")[0].startswith("dask") and hasattr(data, "dask")
