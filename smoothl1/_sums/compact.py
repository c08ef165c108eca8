"""Sums by group in compact rows (``src/compact.pxd``), for as long as the data are ordinary."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from smoothl1._simd import core
from smoothl1._sums.keys import Codes, Look
from smoothl1._sums.states import Spec
from smoothl1._sums.table import Table, columns_of, grown
from smoothl1._typing import AnyArray

# Words of 64 bits of a sum, at most.
_MOST_WORDS = 3


class Compact:
    """One row of words a group: the number of its elements, and its sums.

    Each sum has its words in the same columns of all rows, of a size that holds the terms of
    all elements so far even if they are of one group.
    """

    def __init__(self, spec: Spec, extents: NDArray[np.int64], weighted: bool) -> None:
        self.spec = spec
        self._weighted = weighted
        self._stops = extents[:, 1].copy()
        self._n = 0
        one = -spec.layout.exponent // 32  # the digit of the ones
        # Of each sum: column, first digit, digits of 32 bits, and -1 as in a `Table`.
        self.windows = np.array([[0, one, 1, -1]] * len(extents), np.int64)
        self.rows = np.zeros((0, 1), np.int64)
        for j, (start, stop, _) in enumerate(extents.tolist()):
            if not self._counts(j) and stop > 0:
                self.windows[j, 1] = start // 32

    def takes(self, extents: NDArray[np.int64], n: int, weighted: bool) -> bool:
        """Return whether there is room for n elements of such terms, and note them if so."""
        if weighted != self._weighted or np.logical_or.reduce(extents[:, 2] != 0):
            return False
        used = extents[:, 1] > 0
        stops = np.maximum(self._stops, extents[:, 1])
        first = 32 * self.windows[:, 1]
        if np.logical_or.reduce(used & (extents[:, 0] < first)):
            return False
        # One bit is the sign.
        bits = stops - first + (self._n + n).bit_length() + 1
        words = np.maximum(1, -(-bits // 64))
        sums = [j for j in range(len(stops)) if not self._counts(j)]
        if len(self.rows):
            fits = bool(np.logical_and.reduce(2 * words[sums] <= self.windows[sums, 2]))
        else:
            fits = bool(np.maximum.reduce(words[sums]) <= _MOST_WORDS)
        if not fits:
            return False
        if not len(self.rows):
            self.windows[sums, 2] = 2 * words[sums]
            self._place()
        self._stops, self._n = stops, self._n + n
        return True

    def add(self, work: Any, codes: Codes, count: int) -> None:
        """Add elements that it takes, of so many groups."""
        self.rows = grown(self.rows, count)
        if isinstance(codes.source, Look):
            core.exact_scatter_keys(work, *codes.source, self.rows, self.windows)
        else:
            core.exact_scatter(work, codes.source, self.rows, self.windows, True)

    def chosen(self, codes: AnyArray) -> Table:
        """Return a table of some of the rows."""
        return self._unpacked(self.rows[codes])

    def table(self) -> Table:
        """Return the table of all rows."""
        return self._unpacked(self.rows)

    def figures(self, how: str, order: NDArray[np.intp]) -> dict[str, AnyArray]:
        """Return the figures of some rows as columns."""
        return columns_of(self, True, how, order)

    def _unpacked(self, rows: AnyArray) -> Table:
        found = Table(self.spec)
        found.windows[:, 1:3] = self.windows[:, 1:3]
        found.rows = np.zeros((len(rows), found.place()), np.int64)
        core.exact_unpack(rows, self.windows, found.rows)
        return found

    def _counts(self, j: int) -> bool:
        """Return whether a sum is one of 0 and 1: see ``bygroup.pxd``."""
        losses = 2 * len(self.spec.betas)
        return not self._weighted and (j == 0 or (j % 2 == 0 and j <= losses))

    def _place(self) -> None:
        """Give each sum its columns. That of weights of 1 is the number of elements."""
        column = 1
        for j, window in enumerate(self.windows):
            if j > 0 or self._weighted:
                window[0] = column
                column += (int(window[2]) + 1) // 2
        self.rows = np.zeros((0, column), np.int64)
