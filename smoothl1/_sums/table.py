"""Sums by group in a table: one row of integers a group, and the figures of rows."""

from __future__ import annotations

import math
import warnings
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from smoothl1 import _arguments as arguments
from smoothl1 import sums
from smoothl1._simd import core
from smoothl1._sums import states
from smoothl1._sums.packed import counts_of, windows_of
from smoothl1._sums.rounding import ENTRY_LIMIT, Number
from smoothl1._sums.states import Spec
from smoothl1._typing import AnyArray

# Elements, or tables, that are added between two carries: a digit has room for 2**30.
_ROOM = 2**29


class Table:
    """One row of integers a group: the number of its elements, and its sums.

    Each sum has a window of digits, the same in all rows (``src/bygroup.pxd``).
    """

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        one = -spec.layout.exponent // 32  # the digit of the ones
        count = 3 + 2 * len(spec.betas)
        # Of each sum: column, first digit, digits, column of the counts of what is no number.
        self.windows = np.array([[0, one, 1, -1]] * count, np.int64)
        self.rows = np.zeros((0, self.place()), np.int64)
        self._since = 0

    def widen(self, first: AnyArray, last: AnyArray, special: AnyArray) -> None:
        """Make room for digits from first to last, inclusive, and for what is no number."""
        old = self.windows.copy()
        low = np.minimum(old[:, 1], first)
        high = np.maximum(old[:, 1] + old[:, 2] - 1, last)
        special = special | (old[:, 3] >= 0)
        differ = (low != old[:, 1]) | (high - low + 1 != old[:, 2]) | (special != (old[:, 3] >= 0))
        if not np.logical_or.reduce(differ):
            return
        rows = self.rows
        self.windows[:, 1], self.windows[:, 2] = low, high - low + 1
        self.windows[:, 3] = np.where(special, 0, -1)
        width = self.place()
        self.rows = np.zeros((len(rows), width), np.int64)
        self._copy(rows, old, self.rows)

    def reserve(self, count: int) -> None:
        """Make room for so many rows."""
        self.rows = grown(self.rows, count)

    def add(self, other: Table, codes: AnyArray) -> None:
        """Add the rows of another table to those of these codes."""
        first, digits = other.windows[:, 1], other.windows[:, 2]
        self.widen(first, first + digits - 1, other.windows[:, 3] >= 0)
        self.reserve(int(np.maximum.reduce(codes, initial=-1)) + 1)
        moved = np.zeros((len(codes), self.rows.shape[1]), np.int64)
        self._copy(other.rows[: len(codes)], other.windows, moved)
        self.note(1)
        self.rows[codes] += moved

    def add_sums(self, rows: AnyArray) -> None:
        """Add the rows of ``core.exact_stage`` to the first rows."""
        layout, count = self.spec.layout, len(rows)
        entries = rows[:, 1:].reshape(count, -1, layout.size)
        # The moments have no use for weights in the linear piece.
        entries = np.delete(entries, [entries.shape[1] - 3, entries.shape[1] - 1], axis=1)
        digits, counts = entries[..., : layout.digits], entries[..., layout.digits :]
        negative = digits[..., -1:] < 0
        # Above the highest digit that counts all repeat the sign.
        sign = np.where(negative, 0xFFFFFFFF, 0)
        plain = digits != sign
        plain[..., -1:] = digits[..., -1:] != -negative.astype(np.int64)
        highest = np.maximum.reduce(np.where(plain, np.arange(layout.digits), -1), axis=(0, 2))
        lowest = np.where(digits != 0, np.arange(layout.digits), layout.digits)
        lowest = np.minimum.reduce(lowest, axis=(0, 2))
        highest = np.maximum(highest, np.minimum(lowest, layout.digits - 1))
        used = lowest < layout.digits
        first = np.where(used, lowest, self.windows[:, 1])
        last = np.where(used, highest, self.windows[:, 1])
        self.widen(first, last, np.logical_or.reduce(counts != 0, axis=(0, 2)))
        self.note(1)
        self.rows[:count, 0] += rows[:, 0]
        for j, (column, start, _, special) in enumerate(self.windows.tolist()):
            low, high = int(first[j]), int(last[j])
            part = digits[:, j, low : high + 1].copy()
            if high < layout.digits - 1:
                part[:, -1:] -= negative[:, j].astype(np.int64) << 32
            at = column + low - start
            self.rows[:count, at : at + high + 1 - low] += part
            if special >= 0:
                self.rows[:count, special : special + 3] += counts[:, j]

    def take_out(self, other: Table, codes: AnyArray) -> int | None:
        """Subtract the rows of another table from those of these codes.

        If they were not part of these, nothing changes, and the first that was not is returned.
        """
        first, digits = other.windows[:, 1], other.windows[:, 2]
        self.widen(first, first + digits - 1, other.windows[:, 3] >= 0)
        self.carry()
        moved = np.zeros((len(codes), self.rows.shape[1]), np.int64)
        self._copy(other.rows, other.windows, moved)
        left = self.rows[codes] - moved
        core.exact_carry_table(left, self.windows)
        empty = left[:, 0] == 0
        wrong = (left[:, 0] < 0) | (empty & np.logical_or.reduce(left != 0, axis=1))
        if np.logical_or.reduce(wrong):
            return int(np.argmax(wrong))
        self.rows[codes] = left
        return None

    def note(self, additions: int) -> None:
        """Carry if so many additions are more than digits have room for."""
        if self._since + additions > _ROOM:
            self.carry()
        self._since += additions

    def carry(self) -> None:
        """Bring all digits but the highest between 0 and 2**32 - 1."""
        if self._since:
            core.exact_carry_table(self.rows, self.windows)
            self._since = 0

    def numbers(self, row: AnyArray) -> list[Number]:
        """Return the sums of a row."""
        found = []
        for column, first, digits, special in self.windows.tolist():
            parts = row[column : column + digits].tolist()
            value = sum(part << (32 * (first + i)) for i, part in enumerate(parts))
            counts = row[special : special + 3].tolist() if special >= 0 else (0, 0, 0)
            found.append(Number(value, *counts))
        return found

    def written(self, row: AnyArray) -> bytes:
        """Return the bytes of a row in a state."""
        writer = states.Writer(states.GROUPED, self.spec)
        start = len(writer)
        writer.integer(int(row[0]))
        for number in self.numbers(row):
            writer.number(number)
        return writer.since(start)

    @classmethod
    def read(cls, spec: Spec, packed: states.Packed, codes: NDArray[np.int32]) -> Table:
        """Return the table of the groups of a state, each in the row of its code."""
        table = cls(spec)
        counts = [counts_of(packed, j) for j in range(len(table.windows))]
        for window, place, special in zip(
            table.windows, windows_of(packed, spec.layout), counts, strict=True
        ):
            window[1:3] = place
            window[3] = 0 if np.logical_or.reduce(special, axis=None) else -1
        table.rows = np.zeros((len(packed.n), table.place()), np.int64)
        core.read_digits(
            np.frombuffer(packed.data, np.uint8), packed.places, codes, table.rows, table.windows
        )
        for (column, _, digits, special), found in zip(table.windows.tolist(), counts, strict=True):
            top = table.rows[:, column + digits - 1]
            if np.logical_or.reduce((top >= ENTRY_LIMIT) | (top <= -ENTRY_LIMIT)):
                raise ValueError("a sum is beyond what any data give")
            if special >= 0:
                table.rows[codes, special : special + 3] = found
        return table

    def put(self, row: int, n: int, numbers: list[Number]) -> None:
        """Write a row, whose windows hold the numbers."""
        self.rows[row, 0] = n
        for window, number in zip(self.windows.tolist(), numbers, strict=True):
            column, first, digits, special = window
            value = number.value >> (32 * first)
            for i in range(digits - 1):
                self.rows[row, column + i] = value & 0xFFFFFFFF
                value >>= 32
            self.rows[row, column + digits - 1] = value
            if special >= 0:
                self.rows[row, special : special + 3] = number[1:]

    def copy(self) -> Table:
        """Return a table of its own."""
        self.carry()
        found = Table(self.spec)
        found.rows, found.windows = self.rows.copy(), self.windows.copy()
        return found

    def chosen(self, codes: AnyArray) -> Table:
        """Return a table of some of the rows."""
        self.carry()
        found = Table(self.spec)
        found.rows, found.windows = self.rows[codes], self.windows.copy()
        return found

    def sums_of(self, row: AnyArray) -> sums.LossSums:
        """Return a row as an object of its own."""
        entries = [int(row[0])]
        for number in self.numbers(row):
            entries += self.spec.layout.entries(number)
        return sums.LossSums._of(self.spec, entries)

    def figures(self, how: str, order: NDArray[np.intp] | None = None) -> dict[str, AnyArray]:
        """Return the figures of some rows, or of all, as columns."""
        return columns_of(self, False, how, np.arange(len(self.rows)) if order is None else order)

    def place(self) -> int:
        """Give each window its columns; return the width of a row, two spare ones included."""
        column = 1
        for window in self.windows:
            window[0] = column
            column += int(window[2])
            if window[3] >= 0:
                window[3] = column
                column += 3
        return column + 2

    def _copy(self, rows: AnyArray, windows: AnyArray, to: AnyArray) -> None:
        to[:, 0] = rows[:, 0]
        for old, new in zip(windows.tolist(), self.windows.tolist(), strict=True):
            start = new[0] + old[1] - new[1]
            to[:, start : start + old[2]] = rows[:, old[0] : old[0] + old[2]]
            if old[3] >= 0:
                to[:, new[3] : new[3] + 3] = rows[:, old[3] : old[3] + 3]


def grown(rows: AnyArray, count: int) -> AnyArray:
    """Return the rows with room for so many: at least twice as much as there was, if not enough."""
    have, width = rows.shape
    if count <= have:
        return rows
    found = np.zeros((max(count, 2 * have), width), rows.dtype)
    found[:have] = rows
    return found


class Rows(Protocol):
    """What has a row for each group."""

    spec: Spec
    rows: AnyArray
    windows: AnyArray

    def chosen(self, codes: AnyArray) -> Table: ...


def columns_of(
    source: Rows, compact: bool, how: str, order: NDArray[np.intp]
) -> dict[str, AnyArray]:
    """Return the figures of some rows, which may be compact, as columns."""
    spec = source.spec
    dtype = np.dtype(np.float32 if spec.single else np.float64)
    n, figures, sure = core.exact_figures(
        source.rows,
        source.windows,
        order.astype(np.int64, copy=False),
        list(spec.betas),
        spec.huber,
        spec.single,
        how,
        arguments.thread_argument(),
        compact,
    )
    if not np.logical_and.reduce(sure):
        left = np.flatnonzero(~sure)
        some = source.chosen(order[left])
        for i, row in zip(left.tolist(), some.rows, strict=True):
            for column, figure in zip(figures, _figures(some.sums_of(row), how), strict=True):
                column[i] = figure
    count = len(spec.betas)
    columns = {
        "n": n,
        "weight_sum": figures[-1],
        "mae": figures[count].astype(dtype, copy=False),
        "rmse": figures[count + 1].astype(dtype, copy=False),
    }
    for k, beta in enumerate(spec.betas):
        suffix = "" if spec.scalar else f"_{short(beta, spec)}"
        columns[f"loss{suffix}"] = figures[k].astype(dtype, copy=False)
        columns[f"quadratic_share{suffix}"] = figures[count + 2 + k]
    return columns


def _figures(one: sums.LossSums, reduction: str) -> list[float]:
    """Return the figures of a group by integers, in the order of ``core.exact_figures``."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            losses = np.atleast_1d(one.compute(reduction)).tolist()
        except ValueError:  # the weights sum to 0
            losses = [math.nan] * np.size(one.beta)
    shares = np.atleast_1d(one.quadratic_share).tolist()
    return [*losses, float(one.mae), float(one.rmse), *shares, float(one.weight_sum)]


def short(beta: float, spec: Spec) -> str:
    """Return a threshold as it is part of the name of a column."""
    return f"{np.float32(beta) if spec.single else beta:g}"
