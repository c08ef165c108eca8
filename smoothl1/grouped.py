"""Sums of losses by group, exact as those of `LossSums`."""

from __future__ import annotations

import hashlib
import operator
import threading
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from smoothl1 import _arguments as arguments
from smoothl1 import sums
from smoothl1._labels import check_labels
from smoothl1._simd import core
from smoothl1._sums import rounding, states
from smoothl1._sums.compact import Compact
from smoothl1._sums.keys import Codes, Keys, canonical
from smoothl1._sums.mergeable import Mergeable
from smoothl1._sums.packed import encoded
from smoothl1._sums.rounding import Number
from smoothl1._sums.states import Spec
from smoothl1._sums.table import Table
from smoothl1._typing import AnyArray

# So many groups have buffers of elements that stay in a cache.
_FEW = 512

# Keys that are less than this apart need no codes (``core.exact_stage_keys``), for so many elements
# that buffers for all of them are worth it.
_SLOTS = 512
_NEAR = 2**16


class GroupedLossSums(Mergeable):
    """Sums of the Smooth L1 or Huber loss by group, over any number of pieces, exactly.

    Each group has what a `LossSums` of its elements has, and the same promise: only the
    data decide the figures, to the last bit.

    Parameters
    ----------
    beta, huber, dtype
        As for `LossSums`.

    See Also
    --------
    LossSums : without groups.

    Notes
    -----
    Objects add with ``+``, and ``-`` takes a part out again. A group of which nothing is left is
    gone; one that has fewer elements than are taken out, or none, is a ``ValueError``, and nothing
    changes.

    A group takes about 80 bytes for ordinary data, and about 200 once objects are merged,
    subtracted or stored; more for data of many magnitudes.

    Examples
    --------
    >>> import numpy as np
    >>> from smoothl1 import GroupedLossSums
    >>> sums = GroupedLossSums(beta=1.0)
    >>> sums.update([0.5, 3.0, 0.0], [0.0, 0.0, 1.0], by=["b", "a", "b"])
    GroupedLossSums(beta=1.0, dtype=float64) of 2 groups
    >>> columns = sums.compute()
    >>> columns["by"]
    array(['a', 'b'], dtype='<U1')
    >>> columns["loss"]
    array([2.5   , 0.3125])
    """

    _KIND = states.GROUPED

    def __init__(
        self, beta: ArrayLike = 1.0, *, huber: bool = False, dtype: DTypeLike = np.float64
    ) -> None:
        self._start(sums.make_spec(beta, huber, dtype))

    def _start(self, spec: Spec) -> None:
        self._spec = spec
        self._settled = Table(spec)
        # What is not in the table yet: compact rows of all groups; the sums of a few, and the
        # buffers to add to them.
        self._compact: Compact | None = None
        self._rows: AnyArray | None = None
        self._memory: AnyArray | None = None
        self._keys = Keys()
        self._lock = threading.RLock()

    @property
    def _table(self) -> Table:
        """The sums of all groups."""
        with self._lock:
            if self._compact is not None:
                self._settled, self._compact = self._compact.table(), None
            if self._rows is not None:
                self._settled.reserve(len(self._rows))
                self._settled.add_sums(self._rows)
                self._rows = self._memory = None
            return self._settled

    @_table.setter
    def _table(self, table: Table) -> None:
        self._settled, self._compact, self._rows = table, None, None

    @property
    def _source(self) -> Table | Compact:
        """What has the sums of all groups: compact rows, if that is all there is."""
        if self._compact is not None and self._rows is None:
            return self._compact
        return self._table

    def update(
        self,
        input: ArrayLike,
        target: ArrayLike,
        by: ArrayLike | tuple[ArrayLike, ...],
        *,
        weight: ArrayLike | None = None,
        where: ArrayLike | None = None,
        n_threads: SupportsIndex | None = None,
    ) -> Self:
        """Add the losses of a piece, each to its group.

        Parameters
        ----------
        input, target, weight, where, n_threads
            As for `LossSums.update`.
        by : array_like, or tuple of several
            The key of each element's group, of the shape of `input`: integers (fastest if
            they lie close together), strings, or any other hashable objects; of a tuple of
            arrays, the tuple of an element's keys. NaN is a key like any other.

        Returns
        -------
        GroupedLossSums
            The object itself.

        Raises
        ------
        TypeError
            As `LossSums.update`, and for keys that are dates or cannot be hashed.
        ValueError
            As `LossSums.update`, and for a `by` of another shape.
        """
        threads = arguments.thread_argument(n_threads)
        operands = sums.prepare(self._spec, input, target, weight, where)
        keys = by if isinstance(by, tuple) else (by,)
        names = [f"by[{i}]" for i in range(len(keys))] if isinstance(by, tuple) else ["by"]
        check_labels(["input", "target", *names], [input, target, *keys])
        with self._lock:
            if not self._add_near(operands, by, threads):
                self._add(operands, by, threads)
        return self

    def _add(self, operands: arguments.Operands, by: Any, threads: int) -> Codes:
        """Add the losses of a piece; return the code of each element's group."""
        with self._lock:
            codes = self._keys.learn(by, operands.input.shape, threads)
            if codes.size == 0:
                return codes
            work = sums.work_on(self._spec, operands, threads)
            count = len(self._keys)
            if count <= min(_FEW, codes.size // 64):
                rows = self._few_rows()
                self._memory = core.exact_stage(work, codes.all(), rows, self._memory)
                return codes
            extents = core.exact_scan(work)
            if self._takes(extents, codes.size, "weight" in operands.arrays):
                assert self._compact is not None
                self._compact.add(work, codes, count)
                return codes
            table = self._table
            self._widen(extents)
            table.reserve(count)
            table.note(codes.size)
            core.exact_scatter(work, codes.all(), table.rows, table.windows)
        return codes

    def _add_near(self, operands: arguments.Operands, by: Any, threads: int) -> bool:
        """Add the losses of a piece whose keys are a few integers close together, without codes.

        Returns whether they are.
        """
        keys = self._keys.integers(by, operands.input.shape)
        if keys is None or keys.size < _NEAR or len(self._keys) > _FEW:
            return False
        some = keys[:: keys.size // 64]
        if int(np.maximum.reduce(some)) - int(np.minimum.reduce(some)) >= _SLOTS:
            return False
        self._memory, found, least, most = core.exact_stage_keys(
            sums.work_on(self._spec, operands, threads), keys, self._memory
        )
        if found is None:
            return False
        every = np.arange(most - least + 1) + least
        slots = every % _SLOTS
        there = found[slots, 0] != 0
        codes = self._keys.codes(every[there], (int(np.count_nonzero(there)),))
        rows, layout = self._few_rows(), self._spec.layout
        added = rows[codes] + found[slots[there]]
        sums_of_groups = added[:, 1:].copy()
        core.exact_carry(sums_of_groups, layout.size, layout.digits)
        rows[codes, 0], rows[codes, 1:] = added[:, 0], sums_of_groups
        return True

    def _few_rows(self) -> AnyArray:
        """Return rows for all groups, a few, whose sums come to the table with those of others."""
        count, rows = len(self._keys), self._rows
        if rows is None or len(rows) < count:
            have = 0 if rows is None else len(rows)
            size = sums.row_size(self._spec) + 2 * self._spec.layout.size
            wider = np.zeros((min(max(count, 2 * have), max(count, _FEW)), size), np.int64)
            if rows is not None:
                wider[:have] = rows
            self._rows = rows = wider
        return rows

    def _takes(self, extents: NDArray[np.int64], n: int, weighted: bool) -> bool:
        """Return whether compact rows take these elements: in a table they stay."""
        compact = self._compact
        if compact is None and self._rows is None and not len(self._settled.rows):
            compact = Compact(self._spec, extents, weighted)
        if compact is None or not compact.takes(extents, n, weighted):
            return False
        self._compact = compact
        return True

    def _widen(self, extents: NDArray[np.int64]) -> None:
        start, stop, special = extents.T
        windows = self._table.windows
        used = stop > 0
        self._table.widen(
            np.where(used, start // 32, windows[:, 1]),
            np.where(used, (stop + 30) // 32, windows[:, 1]),
            special != 0,
        )

    def merge(self, *others: GroupedLossSums) -> Self:
        """Add the sums of other objects to this one, group by group.

        Parameters
        ----------
        *others : GroupedLossSums
            Of the same thresholds, loss and dtype. They do not change.

        Returns
        -------
        GroupedLossSums
            The object itself.

        Raises
        ------
        TypeError
            If one of them is no `GroupedLossSums`.
        ValueError
            If one of them sums something else.
        """
        for other in others:
            if not isinstance(other, GroupedLossSums):
                raise TypeError(
                    f"only GroupedLossSums can be merged, got {type(other).__qualname__}"
                )
            sums.check_same(self._spec, other._spec)
        for other in others:
            with other._lock:
                table, keys = other._table.copy(), other._keys.every()
            with self._lock:
                self._table.add(table, self._keys.codes_of(keys))
        return self

    def compute(self, reduction: str = "mean") -> dict[str, Any]:
        """Return the figures of all groups, as columns.

        Parameters
        ----------
        reduction : {"mean", "sum", "weighted_mean"}, default="mean"
            As for `LossSums.compute`. Where the weights of a group sum to 0, its figures
            are nan.

        Returns
        -------
        dict of str to ndarray
            "by": the keys, in ascending order, or, of keys that cannot be compared, in the
            order of their text; of a tuple of keys, a tuple of columns. "n", "weight_sum",
            "mae", "rmse"; "loss" and "quadratic_share", or, of several thresholds,
            "loss_<beta>" and "quadratic_share_<beta>" for each.
        """
        how = arguments.check_reduction(reduction, arguments.REDUCTIONS[1:])
        with self._lock:
            order, by = self._keys.ordered(self._present())
            return {"by": by, **self._source.figures(how, order)}

    def take(self, key: Any, group: sums.LossSums) -> Self:
        """Add the sums of one group, of the same thresholds, loss and dtype; return itself."""
        sums.check_same(self._spec, group._spec)
        table = Table(self._spec)
        numbers = rounding.numbers_at(group._row, self._spec.layout, 0, len(table.windows))
        table.widen(*_digits_of(numbers))
        table.reserve(1)
        table.put(0, group.n, numbers)
        with self._lock:
            self._table.add(table, self._keys.codes_of([canonical(key)]))
        return self

    def group(self, key: Any) -> sums.LossSums:
        """Return the sums of one group; ``KeyError`` if it has no element."""
        with self._lock:
            code = self._keys.find(key)
            if code is None or not self._table.rows[code, 0]:
                raise KeyError(key)
            self._table.carry()
            return self._table.sums_of(self._table.rows[code])

    def groups(self) -> list[Any]:
        """Return the keys of the groups, in the order of `compute`."""
        with self._lock:
            order, _ = self._keys.ordered(self._present())
            keys = self._keys.every()
        return [keys[code] for code in order.tolist()]

    def reset(self) -> Self:
        """Forget all data and groups; return the object itself."""
        with self._lock:
            self._table, self._keys = Table(self._spec), Keys()
        return self

    def copy(self) -> Self:
        """Return an object of its own with the same sums."""
        found = self.__class__.__new__(self.__class__)
        found._start(self._spec)
        return found.merge(self)

    def to_bytes(self) -> bytes:
        """Return the state: equal sums give equal bytes.

        Raises
        ------
        TypeError
            If a key is none of str, bytes, int, float, bool, None, and tuples of these.
        """
        writer = states.Writer(states.GROUPED, self._spec)
        with self._lock:
            self._table.carry()
            order, keys = self._keys.written(self._present())
            table = self._table.chosen(order)
        writer.integer(len(order))
        for part in encoded(keys, table.rows, table.windows, table.written):
            writer.written(part)
        return writer.done()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the object that `to_bytes` was called on.

        Raises
        ------
        ValueError
            If the bytes are damaged, of an unknown version, or no state at all.
        """
        data = bytes(memoryview(data))
        reader = states.Reader(data, states.GROUPED)
        spec = sums.checked(reader.spec)
        found = cls.__new__(cls)
        found._start(spec)
        packed = reader.groups(len(found._table.windows))
        reader.done()
        if np.logical_or.reduce((packed.n <= 0) | (packed.n >= 2**62)):
            raise ValueError("the state is damaged: it has groups of no elements")
        codes = found._keys.read(packed)
        if len(codes) != len(found._keys):
            raise ValueError("the state is damaged: it has a group twice")
        found._table = Table.read(spec, packed, codes)
        if found.to_bytes() != data:
            raise ValueError("the state is damaged: it is not in its canonical form")
        return found

    def to_array(self) -> AnyArray:
        """Return the state as integers that add, a row for each group in the order of `groups`.

        Returns
        -------
        ndarray of int64, shape (groups, integers)
            Rows are those of `LossSums.to_array`: engines add those of one key.
        """
        with self._lock:
            order, _ = self._keys.ordered(self._present())
            self._table.carry()
            source, windows = self._table.rows[order], self._table.windows.copy()
        table = _full(self._spec, len(order))
        table._copy(source, windows, table.rows)
        core.exact_carry_table(table.rows, table.windows)
        return table.rows[:, : sums.row_size(self._spec)].copy()

    @classmethod
    def from_array(
        cls, rows: ArrayLike, by: ArrayLike | tuple[ArrayLike, ...], like: GroupedLossSums
    ) -> Self:
        """Return the object of rows of `to_array`, or of sums of some.

        Parameters
        ----------
        rows : array_like of int, shape (groups, integers)
        by : array_like, or tuple of several
            The key of each row, as for `update`; rows of one key are added.
        like : GroupedLossSums
            An object of the thresholds, loss and dtype that the rows are of.

        Returns
        -------
        GroupedLossSums

        Raises
        ------
        TypeError, ValueError
            If the rows do not hold integers, have another length, or are beyond what any data
            give.
        """
        if not isinstance(like, GroupedLossSums):
            raise TypeError(f"like must be a GroupedLossSums, got {type(like).__qualname__}")
        given, size = np.asarray(rows), sums.row_size(like._spec)
        if given.ndim != 2 or given.shape[1] != size:
            raise ValueError(
                f"rows must have shape (groups, {size}) for {like!r}, got {given.shape}"
            )
        if given.dtype == object:
            given = _integers(given)
        if given.dtype.kind not in "iu":
            raise TypeError(f"rows must hold integers, got dtype {given.dtype}")
        found = cls.__new__(cls)
        found._start(like._spec)
        codes = found._keys.codes(by, given.shape[:1])
        sizes = np.zeros((len(found._keys), size))  # of sums, so far from wrapping that floats do
        np.add.at(sizes, codes, np.abs(given.astype(np.float64)))
        if sizes.size and float(np.maximum.reduce(sizes, axis=None)) >= rounding.ENTRY_LIMIT:
            raise ValueError("a sum is beyond what any data give")
        found._table = _full(like._spec, len(found._keys))
        np.add.at(found._table.rows[:, :size], codes, given.astype(np.int64))
        core.exact_carry_table(found._table.rows, found._table.windows)
        return found

    def digest(self) -> str:
        """Return a hash of the state: SHA-256 in hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def __len__(self) -> int:
        return len(self._present())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, GroupedLossSums):
            return NotImplemented
        if self._spec != other._spec:
            return False
        mine, theirs = self._snapshot(), other._snapshot()
        if len(mine[1]) != len(theirs[1]):
            return False
        places = {key: i for i, key in enumerate(theirs[1])}
        order = [places.get(key, -1) for key in mine[1]]
        if -1 in order:
            return False
        ours, others = mine[0], theirs[0].chosen(np.array(order, np.intp))
        for table, wider in ((ours, others), (others, ours)):
            first, digits = wider.windows[:, 1], wider.windows[:, 2]
            table.widen(first, first + digits - 1, wider.windows[:, 3] >= 0)
        for table in (ours, others):  # digits that were the highest have a sign
            core.exact_carry_table(table.rows, table.windows)
        return bool(np.array_equal(ours.rows, others.rows))

    def __isub__(self, other: object) -> Self:
        if not isinstance(other, GroupedLossSums):
            return NotImplemented
        sums.check_same(self._spec, other._spec)
        table, keys = other._snapshot()
        with self._lock:
            found = [self._keys.find(key) for key in keys]
            codes = np.array([-1 if code is None else code for code in found], np.intp)
            wrong: int | None = int(np.argmax(codes < 0)) if -1 in codes else None
            if wrong is None:
                self._table.reserve(len(self._keys))
                wrong = self._table.take_out(table, codes)
        if wrong is not None:
            raise ValueError(
                f"group {keys[wrong]!r} has elements that are not in these sums, and cannot be "
                f"taken out of them"
            )
        return self

    def __repr__(self) -> str:
        name = f"{type(self).__name__}({sums.parameters(self._spec)})"
        return f"{name} of {len(self)} groups"

    def _snapshot(self) -> tuple[Table, list[Any]]:
        """Return a table of the groups that have elements, and their keys."""
        with self._lock:
            codes = self._present()
            keys = self._keys.every()
            return self._table.chosen(codes), [keys[code] for code in codes.tolist()]

    def _present(self) -> NDArray[np.intp]:
        """Return the codes of the groups that have elements."""
        return np.flatnonzero(self._source.rows[: len(self._keys), 0])


def _integers(given: AnyArray) -> AnyArray:
    """Return Python's integers as those of 64 bits; as they are, if they are no such."""
    try:
        entries = [[operator.index(entry) for entry in row] for row in given.tolist()]
        return np.array(entries, np.int64).reshape(given.shape)
    except OverflowError:
        raise ValueError("a sum is beyond what any data give") from None
    except TypeError:
        return given


def _full(spec: Spec, count: int) -> Table:
    """Return a table of zeros with whole sums for windows: its rows are those of `LossSums`."""
    table = Table(spec)
    table.windows[:, 1:] = 0, spec.layout.digits, 0
    table.rows = np.zeros((count, table.place()), np.int64)
    return table


def _digits_of(numbers: list[Number]) -> tuple[AnyArray, AnyArray, AnyArray]:
    """Return the first digit that each number needs, the last, and whether it is one."""
    first, last, special = [], [], []
    for number in numbers:
        value = number.value
        low = ((value & -value).bit_length() - 1) // 32 if value else None
        # The highest digit has a sign.
        high = max(0, (value if value >= 0 else ~value).bit_length() - 30) // 32 if value else None
        first.append(2**30 if low is None else low)
        last.append(-1 if low is None or high is None else max(low, high))
        special.append(number.special is not None)
    return np.array(first), np.array(last), np.array(special)
