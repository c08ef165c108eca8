"""What is found of predictions and targets in one pass, in one object that merges.

Every group has its sums twice, of the rows whose prediction is above the target and of the others.
Together they are the sums of the group; the one less the other is the sum of the residuals, with
their signs. So only the data decide each figure, as those of `GroupedLossSums`.
"""

from __future__ import annotations

import itertools
import json
import math
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smoothl1 import _arguments as arguments
from smoothl1 import sums
from smoothl1._evaluate.scratch import Scratch
from smoothl1._sums.keys import Coded, canonical, from_state, to_state
from smoothl1._sums.table import Table
from smoothl1._typing import AnyArray
from smoothl1.grouped import GroupedLossSums
from smoothl1.sums import LossSums

_MAGIC = b"SL1E\x01"
_COUNTS = struct.Struct("<qqd")  # rows dropped, rows that are NaN, the largest residual
_LARGEST_INTEGER = 2**61  # whose key, twice as large, is one of 64 bits


@dataclass(frozen=True)
class Question:
    """What is evaluated: evaluations of one question merge."""

    prediction: str
    target: str
    weight: str | None = None
    by: tuple[str, ...] = ()
    kinds: tuple[str, ...] = ()  # of the keys, for who stores them
    beta: float | tuple[float, ...] = 1.0
    single: bool = False
    ignore_nan: bool = False
    where: str | None = None

    @property
    def dtype(self) -> np.dtype[Any]:
        """In which losses are computed."""
        return np.dtype(np.float32 if self.single else np.float64)

    @property
    def betas(self) -> tuple[float, ...]:
        """The thresholds, as given."""
        return self.beta if isinstance(self.beta, tuple) else (self.beta,)

    def described(self) -> dict[str, Any]:
        """Return what is not in the sums."""
        return {
            "by": list(self.by),
            "ignore_nan": self.ignore_nan,
            "kinds": list(self.kinds),
            "prediction": self.prediction,
            "target": self.target,
            "weight": self.weight,
            "where": self.where,
        }


@dataclass
class _Counts:
    """By group what is no sum: rows that were dropped, NaN among them, the largest residual."""

    dropped: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    nan: NDArray[np.int64] = field(default_factory=lambda: np.zeros(0, np.int64))
    largest: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))

    def reserve(self, count: int) -> None:
        """Make room for so many groups; the largest residual of no row is -1."""
        more = count - len(self.dropped)
        if more > 0:
            more = max(more, len(self.dropped))
            self.dropped = np.concatenate([self.dropped, np.zeros(more, np.int64)])
            self.nan = np.concatenate([self.nan, np.zeros(more, np.int64)])
            self.largest = np.concatenate([self.largest, np.full(more, -1.0)])

    def chosen(self, codes: NDArray[np.intp]) -> _Counts:
        """Return the counts of some groups."""
        return _Counts(self.dropped[codes], self.nan[codes], self.largest[codes])


class Evaluation:
    """The figures of a question over any number of pieces."""

    def __init__(self, question: Question) -> None:
        self.question = question
        beta, dtype = question.beta, question.dtype
        self._groups = GroupedLossSums(beta, dtype=dtype)
        # Without groups: of the rows that are not above, and of those above.
        self._whole = [LossSums(beta, dtype=dtype), LossSums(beta, dtype=dtype)]
        self._counts = _Counts()
        # The keys of the last piece, which the next one may have, too; and with signs.
        self._last: tuple[list[Any], list[Any]] = [], []
        self.scratch = Scratch()

    def add(
        self,
        prediction: AnyArray,
        target: AnyArray,
        weight: AnyArray | None = None,
        *,
        keys: AnyArray | Coded | None = None,
        where: AnyArray | None = None,
        dropped: AnyArray | None = None,
        n_threads: int | None = None,
    ) -> None:
        """Take in a piece.

        Parameters
        ----------
        prediction, target, weight : ndarray
            Of numbers, of one shape.
        keys : ndarray of integers or Coded, optional
            Of one column integers, or anything as places in a list of tuples; the places are
            written over.
        where, dropped : ndarray of bool, optional
            The rows that count, and those that are only counted.
        n_threads : int, optional
        """
        dtype, counts = self.question.dtype, self._counts
        with np.errstate(all="ignore"):
            shape = np.broadcast_shapes(prediction.shape, target.shape)
            residual = self.scratch.array("residual", shape, dtype)
            np.subtract(prediction, target, out=residual, dtype=dtype, casting="unsafe")
            if weight is not None:
                weight = weight.astype(dtype, copy=False)
            above = np.greater(residual, 0, out=self.scratch.array("above", shape, bool))
            np.abs(residual, out=residual)
            bad = _nan(residual, weight, where)
            if bad is not None and self.question.ignore_nan:
                where = ~bad if where is None else where & ~bad
            threads = arguments.thread_argument(n_threads)
            if keys is None:
                codes = None
                counts.reserve(1)
                for sign, some in enumerate((~above, above)):
                    self._whole[sign].update(
                        prediction,
                        target,
                        weight=weight,
                        where=some if where is None else some & where,
                        n_threads=n_threads,
                    )
            else:
                operands = sums.prepare(self._groups._spec, prediction, target, weight, where)
                codes = self._groups._add(operands, self._signed(keys, above), threads).all()
                counts.reserve(len(self._groups._keys))
            self._note_largest(residual, codes, where)
        for mask, into in ((dropped, counts.dropped), (bad, counts.nan)):
            if mask is None:
                continue
            if codes is None:
                into[0] += np.count_nonzero(mask)
            else:
                into += np.bincount(codes[mask], minlength=len(into))

    def _signed(self, keys: AnyArray | Coded, above: AnyArray) -> Any:
        """Return keys that have the sign of the residual, too."""
        if not isinstance(keys, Coded):
            least = most = 0
            if keys.size and keys.dtype.itemsize == 8:
                least, most = int(np.minimum.reduce(keys)), int(np.maximum.reduce(keys))
            if least >= -_LARGEST_INTEGER and most <= _LARGEST_INTEGER:
                signed = self.scratch.array("signed", keys.shape, np.int64)
                np.multiply(keys, 2, out=signed, dtype=np.int64, casting="unsafe")
                signed += above
                return signed
            unique, places = np.unique(keys, return_inverse=True)
            keys = Coded(places, [(key,) for key in unique.tolist()])
        if self._last[0] != keys.keys:
            both = [_short(sign, *key) for key in keys.keys for sign in (False, True)]
            self._last = keys.keys, both
        places = keys.places
        places *= 2
        places += above
        return Coded(places, self._last[1])

    def _note_largest(
        self, residual: AnyArray, codes: NDArray[np.int32] | None, where: AnyArray | None
    ) -> None:
        largest = self._counts.largest
        if codes is None:
            if where is not None:
                residual = residual[where]
            if residual.size:
                largest[0] = np.fmax(largest[0], np.fmax.reduce(residual, axis=None))
            return
        # Few are larger than what the least group has.
        count = len(self._groups._keys)
        least = np.minimum.reduce(largest[:count], initial=math.inf)
        above = self.scratch.array("larger", residual.shape, bool)
        np.greater(residual, residual.dtype.type(least), out=above)
        if where is not None:
            above &= where
        some = np.flatnonzero(above)
        np.maximum.at(largest, codes[some].astype(np.intp), residual[some].astype(np.float64))

    def merge(self, *others: Evaluation) -> Evaluation:
        """Add other evaluations to this one; ``ValueError`` if they are of something else."""
        for other in others:
            check_same(self.question, other.question)
            for mine, whole in zip(self._whole, other._whole, strict=True):
                mine.merge(whole)
            keys = other._groups._keys.every()
            self._groups.merge(other._groups)
            codes, n = self._groups._keys.codes_of(keys), len(keys)
            if not self.question.by:
                codes, n = np.zeros(1, np.int32), 1
            ours, theirs = self._counts, other._counts
            ours.reserve(max(1, len(self._groups._keys)))
            theirs.reserve(n)
            ours.dropped[codes] += theirs.dropped[:n]
            ours.nan[codes] += theirs.nan[:n]
            ours.largest[codes] = np.maximum(ours.largest[codes], theirs.largest[:n])
        return self

    def _signed_sums(self) -> tuple[Table, list[tuple[bool, tuple[Any, ...]]]]:
        """Return sums and, for each row, the sign of its residuals and its keys."""
        if self.question.by:
            table = self._groups._table
            keys = [_key(key) for key in self._groups._keys.every()]
            table.reserve(len(keys))
            return table.chosen(np.arange(len(keys))), keys
        groups = GroupedLossSums(self.question.beta, dtype=self.question.dtype)
        for sign, whole in enumerate(self._whole):
            groups.take(bool(sign), whole)
        return groups._table.chosen(np.arange(2)), [(False, ()), (True, ())]

    def figures(
        self, reduction: str | None = None
    ) -> tuple[list[tuple[Any, ...]], dict[str, AnyArray]]:
        """Return the keys of the groups, in order, and columns: the whole, then each group.

        A group of which no row counts has nan in place of figures.
        """
        weighted = self.question.weight is not None
        how = reduction or ("weighted_mean" if weighted else "mean")
        signed, keys = self._signed_sums()
        counts = self._counts
        counts.reserve(max(1, len(keys)))
        if self.question.by:  # of the groups that have a row, counted or dropped
            n = len(keys)
            there = (signed.rows[:, 0] > 0) | (counts.dropped[:n] > 0) | (counts.nan[:n] > 0)
            chosen = np.flatnonzero(there)
            signed = signed.chosen(chosen)
            keys = [keys[i] for i in chosen.tolist()]
            counts = counts.chosen(chosen)
        places: dict[tuple[Any, ...], int] = {}
        groups = np.array([places.setdefault(key, len(places)) for _, key in keys], np.intp)
        signs = np.array([1 if sign else -1 for sign, _ in keys], np.int64)
        found = _numbered(list(places), self.question.kinds)
        order = sorted(range(len(found)), key=lambda i: tuple(map(_order, found[i])))
        rank = np.empty(len(found), np.intp)
        rank[order] = np.arange(len(found))
        if self.question.by:
            groups = rank[groups] + 1
            dropped, nan, largest = counts.dropped, counts.nan, counts.largest
        else:
            found, order = [], []
            dropped, nan, largest = (
                np.array([part[0], 0]) for part in (counts.dropped, counts.nan, counts.largest)
            )
        total = len(found) + 1

        def both(values: AnyArray, reduce: np.ufunc) -> AnyArray:
            """Reduce to groups, and these to the whole, which comes first."""
            out = np.zeros((total, *values.shape[1:]), values.dtype)
            by_group = np.argsort(groups, kind="stable")
            here, starts = np.unique(groups[by_group], return_index=True)
            if len(here):
                out[here] = reduce.reduceat(values[by_group], starts, axis=0)
                if self.question.by:
                    out[0] = reduce.reduce(out[1:], axis=0)
            return out

        table = Table(signed.spec)
        table.windows = signed.windows.copy()
        table.rows = both(signed.rows, np.add)
        table.note(1)
        table.carry()
        plain = table.figures(how)
        rows = plain.pop("n")
        columns: dict[str, AnyArray] = {
            "rows": rows,
            "dropped": both(dropped, np.add),
            "nan": both(nan, np.add),
        }
        weights = plain.pop("weight_sum")
        if weighted:
            columns["weight"] = weights
        columns["mae"], columns["rmse"] = plain.pop("mae"), plain.pop("rmse")
        columns["bias"] = _bias(signed, signs, both, weights)
        top = both(largest, np.maximum)
        columns["largest"] = np.where((top < 0) | (rows == 0), math.nan, top)
        with np.errstate(over="ignore", under="ignore"):
            for name in ("bias", "largest"):
                columns[name] = columns[name].astype(self.question.dtype)
        columns.update(plain)
        return [found[i] for i in order], columns

    def to_bytes(self) -> bytes:
        """Return the state: the same data give the same bytes."""
        signed, keys = self._signed_sums()
        counts = self._counts
        counts.reserve(max(1, len(keys)))
        present = np.flatnonzero(signed.rows[:, 0])
        groups = GroupedLossSums(self.question.beta, dtype=self.question.dtype)
        groups._table = signed.chosen(present)
        groups._keys.codes_of([(keys[i][0], *keys[i][1]) for i in present.tolist()])
        entries = []
        for i, (sign, key) in enumerate(keys):
            if not self.question.by and sign:
                continue
            count = int(counts.dropped[i]), int(counts.nan[i]), float(counts.largest[i])
            if count[0] or count[1] or count[2] >= 0:
                entries.append((to_state((sign, *key)), _COUNTS.pack(*count)))
        head = json.dumps(self.question.described(), sort_keys=True).encode()
        parts = [head, groups.to_bytes(), *itertools.chain(*sorted(entries))]
        data = _MAGIC + b"".join(struct.pack("<Q", len(part)) + part for part in parts)
        return data + struct.pack("<I", zlib.crc32(data))

    @classmethod
    def from_bytes(cls, data: bytes) -> Evaluation:
        """Return the evaluation of a state; ``ValueError`` if it is none, or damaged."""
        if data[: len(_MAGIC)] != _MAGIC:
            if data[:4] == _MAGIC[:4]:
                raise ValueError("the state is of an unknown version of the format")
            raise ValueError("not a state of smoothl1 evaluate")
        try:
            if zlib.crc32(data[:-4]) != struct.unpack("<I", data[-4:])[0]:
                raise ValueError("the checksum does not match")
            head, groups, *counts = _parts(data[len(_MAGIC) : -4])
            described = json.loads(head)
            inner = GroupedLossSums.from_bytes(groups)
            question = Question(
                beta=inner.beta,
                single=inner.dtype == np.float32,
                by=tuple(described.pop("by")),
                kinds=tuple(described.pop("kinds")),
                **described,
            )
            found = cls(question)
            found._take(inner, counts)
            same = found.to_bytes() == data
        except (ValueError, TypeError, KeyError, struct.error) as error:
            raise ValueError(f"the state is damaged: {error}") from None
        if not same:
            raise ValueError("the state is damaged: it is not in its canonical form")
        return found

    def _take(self, inner: GroupedLossSums, counts: Sequence[bytes]) -> None:
        """Fill with the groups of a state."""
        by = self.question.by
        keys = inner._keys.every()
        for key in keys:
            if not isinstance(key, tuple) or len(key) != 1 + len(by) or type(key[0]) is not bool:
                raise ValueError("it has a key of another length")
            if not by:
                self._whole[key[0]].merge(inner.group(key))
        if by:
            self._groups._table = inner._table
            self._groups._keys.codes_of([_short(*key) for key in keys])
        names, packed = counts[::2], counts[1::2]
        for name, one in zip(names, packed, strict=True):
            key = from_state(name)
            if not isinstance(key, tuple) or len(key) != 1 + len(by):
                raise ValueError("it has a key of another length")
            code = int(self._groups._keys.codes_of([_short(*key)])[0]) if by else 0
            self._counts.reserve(code + 1)
            values = _COUNTS.unpack(one)
            (
                self._counts.dropped[code],
                self._counts.nan[code],
                self._counts.largest[code],
            ) = values


def check_same(mine: Question, other: Question) -> None:
    """Raise ``ValueError`` that says in what two questions differ."""
    sums.check_same(
        sums.make_spec(mine.beta, False, mine.dtype), sums.make_spec(other.beta, False, other.dtype)
    )
    ours, theirs = mine.described(), other.described()
    for name, value in ours.items():
        if theirs[name] != value:
            raise ValueError(
                f"evaluations of another {name.replace('_', ' ')} cannot be merged: "
                f"{value!r} and {theirs[name]!r}"
            )


def _nan(residual: AnyArray, weight: AnyArray | None, where: AnyArray | None) -> AnyArray | None:
    """Return which elements that count are NaN, or have such a weight; None if none does."""
    parts = [residual] if weight is None else [residual, weight]
    bad: AnyArray | None = None
    for part in parts:
        if part.size and math.isnan(np.maximum.reduce(part, axis=None)):
            bad = np.isnan(part) if bad is None else bad | np.isnan(part)
    if bad is not None and where is not None:
        bad &= where
    return bad if bad is not None and bad.any() else None


def _short(sign: bool, *key: Any) -> Any:
    """Return the one form in which a key is stored: of one integer, an integer."""
    if len(key) == 1 and type(key[0]) is int:
        return 2 * key[0] + sign
    return sign, *map(canonical, key)


def _key(short: Any) -> tuple[bool, tuple[Any, ...]]:
    """Return sign and key of what `_short` gave."""
    if type(short) is int:
        return bool(short & 1), (short >> 1,)
    return short[0], short[1:]


def _numbered(keys: list[tuple[Any, ...]], kinds: Sequence[str]) -> list[tuple[Any, ...]]:
    """Return keys with integers for text that had no type, where all of a column are integers."""
    columns = [list(part) for part in zip(*keys, strict=True)]
    for i, (column, kind) in enumerate(zip(columns, kinds, strict=False)):
        texts = [part for part in column if part is not None]
        if kind == "text" and texts and all(map(_is_integer, texts)):
            columns[i] = [None if part is None else int(part) for part in column]
    return list(zip(*columns, strict=True)) if columns else keys


def _is_integer(text: str) -> bool:
    return text.isdecimal() and text.isascii() and len(text) < 19 and str(int(text)) == text


def _order(part: Any) -> tuple[bool, bool, Any]:
    """Return by what keys are sorted: NaN and then null come last."""
    last = part is None or part != part
    return part is None, last, 0 if last else part


def _bias(signed: Table, signs: AnyArray, both: Any, weights: AnyArray) -> AnyArray:
    """Return the mean residual: the sums of what is above less those of what is below."""
    layout = signed.spec.layout
    column, first, digits, special = signed.windows[1 + 2 * len(signed.spec.betas)].tolist()
    parts = both(signed.rows[:, column : column + digits] * signs[:, np.newaxis], np.add)
    for i in range(digits - 1):
        parts[:, i + 1] += parts[:, i] >> 32
        parts[:, i] &= 0xFFFFFFFF
    with np.errstate(all="ignore"):
        total = np.zeros(len(parts))
        for i in reversed(range(digits)):
            total = np.ldexp(total, 32) + parts[:, i]
        total = np.ldexp(total, 32 * first + layout.exponent)
        if special >= 0:
            above = signs[:, np.newaxis] > 0
            counts = signed.rows[:, special : special + 3]
            counts = both(np.where(above, counts, counts[:, [0, 2, 1]]), np.add)
            nan, up, down = (counts[:, k] > 0 for k in range(3))
            total = np.where(up, math.inf, np.where(down, -math.inf, total))
            total = np.where(nan | (up & down), math.nan, total)
        return total / weights


def _parts(data: bytes) -> list[bytes]:
    found = []
    while data:
        (size,) = struct.unpack("<Q", data[:8])
        if size > len(data) - 8:
            raise ValueError("it is cut off")
        found.append(data[8 : 8 + size])
        data = data[8 + size :]
    return found


def make_question(beta: ArrayLike, **more: Any) -> Question:
    """Return a question; ``ValueError`` for bad thresholds."""
    spec = sums.make_spec(beta, False, np.float32 if more.get("single") else np.float64)
    return Question(beta=spec.betas[0] if spec.scalar else spec.betas, **more)
