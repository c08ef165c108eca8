"""From exact sums to results: integers, a quotient, and one rounding.

The compiled core turns arrays into rows of integers (``src/exact.pxd``); here they become Python
integers, the loss a quotient of two of them, and that is rounded once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from smoothl1 import _arrays
from smoothl1._simd import core
from smoothl1._typing import AnyArray

# What an entry of a row may hold: so far from 2**63 that two of them add without wrapping.
ENTRY_LIMIT = 2**62

# Outputs whose rows are in memory at a time.
_TILE = 4096


class Number(NamedTuple):
    """An exact sum: an integer times a power of two, and how many terms were no numbers."""

    value: int
    nan: int = 0
    up: int = 0
    down: int = 0

    @property
    def special(self) -> float | None:
        """What the sum is if it is no number, else None."""
        if self.nan or (self.up and self.down):
            return math.nan
        if self.up:
            return math.inf
        return -math.inf if self.down else None


@dataclass(frozen=True, slots=True)
class Layout:
    """Where a sum's digits are: ``size`` entries, ``digits`` of them digits."""

    digits: int
    exponent: int  # of the last bit
    size: int

    def number(self, entries: AnyArray) -> Number:
        """Return the sum whose entries, carried, these are."""
        top = self.digits - 1
        low = int.from_bytes(entries[:top].astype("<u4").tobytes(), "little")
        nan, up, down = entries[self.digits :].tolist()
        return Number(low + (int(entries[top]) << (32 * top)), nan, up, down)

    def entries(self, number: Number) -> list[int]:
        """Return the entries of a sum; ``ValueError`` beyond the range of one."""
        top = self.digits - 1
        low = (number.value & ((1 << (32 * top)) - 1)).to_bytes(4 * top, "little")
        found = np.frombuffer(low, "<u4").tolist()
        found += [number.value >> (32 * top), number.nan, number.up, number.down]
        for entry in found[top:]:
            if not -ENTRY_LIMIT < entry < ENTRY_LIMIT:
                raise ValueError("a sum is beyond what any data give")
        return found  # type: ignore[no-any-return]


SINGLE = Layout(*core.EXACT_SINGLE)
DOUBLE = Layout(*core.EXACT_DOUBLE)


def layout_of(single: bool) -> Layout:
    """Return the layout of sums in float32 or float64."""
    return SINGLE if single else DOUBLE


class Form:
    """The way from exact sums to the loss of a threshold; see ``core.exact_form``."""

    __slots__ = ("_linear", "_terms")

    def __init__(self, over: float, gain: float, beta: float) -> None:
        # loss = terms / over - linear gain beta / 2, with the factors as fractions.
        above, below = over.as_integer_ratio()
        self._terms = below, above
        gain_above, gain_below = gain.as_integer_ratio()
        beta_above, beta_below = beta.as_integer_ratio()
        self._linear = gain_above * beta_above, 2 * gain_below * beta_below

    def quotient(self, terms: int, linear: int) -> tuple[int, int]:
        """Return numerator and denominator of the loss, in units of the sums' last bit."""
        above, below = self._terms
        if not self._linear[0]:
            return terms * above, below
        return terms * above * self._linear[1] - linear * self._linear[0] * below, (
            below * self._linear[1]
        )


def rounded(numerator: int, denominator: int, dtype: np.dtype[Any]) -> float:
    """Return the float of the dtype that is nearest to a quotient; ties go to even.

    Python's division of integers is correctly rounded to float64. From there to a narrower
    dtype would be a second rounding, so it is rounded to odd first: the last bit says whether
    anything was cut off.
    """
    if denominator < 0:
        numerator, denominator = -numerator, -denominator
    if dtype == np.float64:
        try:
            return numerator / denominator
        except OverflowError:
            return math.inf if numerator > 0 else -math.inf
    if numerator == 0:
        return 0.0
    size = abs(numerator)
    shift = 52 - size.bit_length() + denominator.bit_length()  # a quotient of 52 or 53 bits
    if shift >= 0:
        quotient, rest = divmod(size << shift, denominator)
    else:
        quotient, rest = divmod(size, denominator << -shift)
    odd = math.ldexp(quotient | (rest != 0), -shift)
    return float(_arrays.rounded(odd if numerator > 0 else -odd, dtype))


def square_root(numerator: int, denominator: int, dtype: np.dtype[Any]) -> float:
    """Return the float of the dtype that is nearest to the root of a quotient."""
    # A root of 64 bits or more, and a last bit that says whether it was cut off.
    shift = max(0, 128 - numerator.bit_length() + denominator.bit_length()) // 2
    quotient, rest = divmod(numerator << (2 * shift), denominator)
    root = math.isqrt(quotient)
    cut = rest != 0 or root * root != quotient
    return rounded(2 * root + cut, 2 << shift, dtype)


def mean(
    form: Form,
    terms: Number,
    linear: Number,
    divisor: tuple[Number, int],
    layout: Layout,
    dtype: np.dtype[Any],
) -> float:
    """Return the loss over a divisor, which is not 0: a sum, and the exponent of its last bit."""
    number, exponent = divisor
    special, scale = terms.special, number.special
    if special is not None:
        return special / ((1.0 if number.value > 0 else -1.0) if scale is None else scale)
    if scale is not None:
        return math.nan
    above, below = form.quotient(terms.value, linear.value)
    return scaled(above, below * number.value, layout.exponent - exponent, dtype)


def scaled(numerator: int, denominator: int, exponent: int, dtype: np.dtype[Any]) -> float:
    """Return the nearest float to a quotient times a power of two."""
    if exponent > 0:
        numerator <<= exponent
    else:
        denominator <<= -exponent
    return rounded(numerator, denominator, dtype)


def reduced(work: core.Work, reduction: str, dtype: np.dtype[Any]) -> tuple[AnyArray, bool]:
    """Reduce the loss, as ``core.Work.sum`` does, by exact sums.

    Returns
    -------
    ndarray, shape (outputs, thresholds)
        Of ``dtype``; nan where a mean is over no element or over weights that sum to 0.
    empty : bool
        Whether such a mean is among them.
    """
    forms, outputs, _ = core.exact_forms(work)
    results = np.empty((outputs, len(forms)), dtype)
    empty = False
    tile = max(1, _TILE // len(forms))
    for first in range(0, outputs, tile):
        count = min(tile, outputs - first)
        if dtype.itemsize == 2:
            rows = core.exact_sums(work, first, count, weights=reduction == "weighted_mean")
            some, nothing = settled(work, rows, reduction, dtype)
        else:
            losses, sure, rows = core.exact_losses(work, first, count, reduction)
            some, nothing = _finished(work, rows, losses, sure, reduction, dtype)
        results[first : first + count] = some
        empty = empty or nothing
    return results, empty


def settled(
    work: core.Work, rows: AnyArray, reduction: str, dtype: np.dtype[Any]
) -> tuple[AnyArray, bool]:
    """Return what `reduced` does, of rows of ``core.exact_sums``, which was called on ``work``."""
    losses, sure = core.exact_settle(work, rows, reduction)
    if dtype.itemsize == 2:
        sure[:] = False  # these are of float32
    return _finished(work, rows, losses, sure, reduction, dtype)


def _finished(
    work: core.Work,
    rows: AnyArray,
    losses: AnyArray,
    sure: AnyArray,
    reduction: str,
    dtype: np.dtype[Any],
) -> tuple[AnyArray, bool]:
    """Return losses that are sure, the others by integers, and whether there was no divisor."""
    forms, _, single = core.exact_forms(work)
    layout = layout_of(single)
    ways = [Form(*form) for form in forms]
    results = losses.astype(dtype)
    empty = False
    for o in np.flatnonzero(~np.logical_and.reduce(sure, axis=1)).tolist():
        divisor = divisor_of(reduction, rows[o], layout)
        if divisor[0].special is None and divisor[0].value == 0:
            empty = True
            results[o] = math.nan
            continue
        for k, way in enumerate(ways):
            if sure[o, k]:
                continue
            terms, linear = numbers_at(rows[o], layout, 1 + 2 * k, 2)
            results[o, k] = mean(way, terms, linear, divisor, layout, dtype)
    return results, empty


def divisor_of(reduction: str, row: AnyArray, layout: Layout) -> tuple[Number, int]:
    """Return what a reduction divides by, and the exponent of its last bit."""
    if reduction == "weighted_mean":
        return numbers_at(row, layout, 0, 1)[0], layout.exponent
    return Number(int(row[0]) if reduction == "mean" else 1), 0


def numbers_at(row: AnyArray, layout: Layout, first: int, count: int) -> list[Number]:
    """Return some of the sums of a row."""
    start = 1 + first * layout.size
    return [
        layout.number(row[start + i * layout.size : start + (i + 1) * layout.size])
        for i in range(count)
    ]
