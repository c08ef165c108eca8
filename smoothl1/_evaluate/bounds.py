"""What is known of the columns of some rows before they are read: their least and greatest values.

Row groups of Parquet have statistics, and folders such as ``month=3`` hold one value.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from typing import Any, NamedTuple

import pyarrow as pa


class Bounds(NamedTuple):
    """The values of a column lie within these; NaN and nulls aside."""

    values: pa.Array | None  # the least and the greatest, or None if nothing is known
    nulls: bool = True  # there may be some
    empty: bool = False  # there is nothing else
    exact: bool = False  # all are the one value


def of_folders(folders: Iterable[tuple[str, str | None]]) -> dict[str, Bounds]:
    """Return what is known of the columns that folders give."""
    found = {}
    for name, value in folders:
        if value is None:
            found[name] = Bounds(None, empty=True)
        else:
            found[name] = Bounds(pa.array([value, value], pa.string()), nulls=False, exact=True)
    return found


def of_row_group(
    metadata: Any, group: int, schema: pa.Schema, names: Iterable[str]
) -> dict[str, Bounds]:
    """Return what the statistics of a row group of Parquet say of some columns."""
    found = {}
    chunks = metadata.row_group(group)
    for place in range(metadata.num_columns):
        name = metadata.schema.column(place).path
        if name not in names or name not in schema.names:
            continue
        statistics = chunks.column(place).statistics
        if statistics is None:
            continue
        count = statistics.null_count if statistics.has_null_count else None
        found[name] = Bounds(
            _extremes(statistics, schema.field(name).type),
            nulls=count != 0,
            empty=count is not None and count == chunks.num_rows,
        )
    return found


def _extremes(statistics: Any, kind: pa.DataType) -> pa.Array | None:
    """Return the least and the greatest value, if they are those of all that are no NaN."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        kind = pa.string()
    try:
        if not statistics.has_min_max:
            return None
        least, most = statistics.min, statistics.max
        if not _is_ordered(kind, str(statistics.logical_type), type(least)):
            return None
        if least != least or most != most:  # NaN, of old writers
            return None
        return pa.array([least, most], kind)
    except (pa.ArrowException, OverflowError, ValueError, TypeError, NotImplementedError):
        return None  # pyarrow does not show them, or unsigned integers as negative ones


def _is_ordered(kind: pa.DataType, logical: str, shown: type) -> bool:
    """Return whether the statistics of a type are values of it, in its order."""
    if pa.types.is_timestamp(kind):  # those of nanoseconds would be cut to microseconds
        stored = "microseconds" in logical or "milliseconds" in logical
        return kind.unit != "ns" and stored and shown is datetime.datetime
    if pa.types.is_integer(kind):
        return shown is int
    if pa.types.is_float32(kind) or pa.types.is_float64(kind):
        return shown is float
    if pa.types.is_date32(kind):
        return shown is datetime.date
    return bool(pa.types.is_string(kind)) and shown is str
