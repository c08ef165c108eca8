"""Keys of groups: their codes, their order, and their bytes."""

from __future__ import annotations

import math
import struct
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from smoothl1._simd import core
from smoothl1._sums.packed import IntegerKeys, integers_of
from smoothl1._sums.states import Packed
from smoothl1._typing import AnyArray

# The one key of all NaN: a dict finds it by its identity.
_NAN = math.nan

# Integer keys are looked up in a table of this many entries, or of four for each element.
_LEAST_LOOKUP = 2**20


class Coded(NamedTuple):
    """Keys of elements as places in a list, which may have one twice, and does not change."""

    places: NDArray[np.intp]
    keys: list[Any]


class Look(NamedTuple):
    """Keys of elements, and the table of codes that theirs are in (``core.exact_write``)."""

    keys: NDArray[np.int64]
    least: int
    lookup: NDArray[np.int32]
    words: NDArray[np.int64] | None


class Codes:
    """The codes of the keys of elements: written, or yet to be."""

    def __init__(self, source: NDArray[np.int32] | Look, threads: int = 1) -> None:
        self.source = source
        self._threads = threads

    @property
    def size(self) -> int:
        """The number of elements."""
        return self.source.keys.size if isinstance(self.source, Look) else self.source.size

    def all(self) -> NDArray[np.int32]:
        """Return the code of each element."""
        if isinstance(self.source, Look):
            codes = np.empty(self.size, np.int32)
            core.exact_write(*self.source, codes, self._threads)
            self.source = codes
        return self.source


class Keys:
    """The codes of keys, in the order in which they came."""

    def __init__(self) -> None:
        self._list: list[Any] = []
        self._codes: dict[Any, int] = {}
        # Of integers: their codes, from _least on, and those not in _list yet.
        self._least = 0
        self._lookup: NDArray[np.int32] | None = None
        self._fresh: list[NDArray[np.int64]] = []
        self._count = 0
        # The last list of keys that elements had places in, and its codes.
        self._coded: tuple[list[Any], NDArray[np.int32]] = [], np.empty(0, np.int32)

    def __len__(self) -> int:
        return self._count

    def every(self) -> list[Any]:
        """Return all keys, by code."""
        for keys in self._fresh:
            for key in keys.tolist():
                self._codes[key] = len(self._list)
                self._list.append(key)
        self._fresh.clear()
        return self._list

    def find(self, key: Any) -> int | None:
        """Return the code of a key, or None."""
        self.every()
        return self._codes.get(canonical(key))

    def codes_of(self, keys: list[Any]) -> NDArray[np.int32]:
        """Return the codes of some keys, new ones for those that have none."""
        self.every()
        self._lookup = None
        found = np.empty(len(keys), np.int32)
        for i, key in enumerate(keys):
            code = self._codes.setdefault(key, len(self._list))
            if code == len(self._list):
                self._list.append(key)
            found[i] = code
        self._count = len(self._list)
        return found

    def codes(self, by: Any, shape: tuple[int, ...], threads: int = 1) -> NDArray[np.int32]:
        """Return the code of each element's key, in C order."""
        return self.learn(by, shape, threads).all()

    def learn(self, by: Any, shape: tuple[int, ...], threads: int = 1) -> Codes:
        """Give codes to the keys of elements."""
        if isinstance(by, Coded):
            if by.keys is not self._coded[0]:
                self._coded = by.keys, self.codes_of(by.keys)
            return Codes(self._coded[1][by.places])
        if isinstance(by, tuple):
            columns = [_column(part, shape) for part in by]
            if not columns:
                raise ValueError("by must hold at least one array of keys")
            return Codes(self._tuples(columns))
        integers = self.integers(by, shape)
        keys = _column(by, shape) if integers is None else integers
        if keys.size == 0:
            return Codes(np.empty(0, np.int32))
        if keys.dtype.kind in "iu":
            if integers is None:
                least, most = int(np.minimum.reduce(keys)), int(np.maximum.reduce(keys))
            else:
                least, most = core.exact_range(keys, threads)
            if self._cover(least, most, keys.size):
                return self._look_up(keys, threads)
        unique, inverse = _factorised(keys)
        return Codes(self.codes_of(unique)[inverse])

    def integers(self, by: Any, shape: tuple[int, ...]) -> NDArray[np.int64] | None:
        """Return the keys in C order if they are integers of 64 bits, else None."""
        if isinstance(by, (Coded, tuple)):
            return None
        keys = _column(by, shape)
        if keys.dtype.kind not in "iu" or keys.dtype == np.uint64:
            return None
        return np.ascontiguousarray(keys, np.int64)

    def written(self, codes: AnyArray) -> tuple[AnyArray, IntegerKeys | list[bytes]]:
        """Return codes in the order of their keys' bytes, and these."""
        if not self._list and self._fresh:
            integers = IntegerKeys(np.concatenate(self._fresh)[codes])
            return codes[integers.order], integers
        keys = self.every()
        chosen = [keys[code] for code in codes.tolist()]
        if all(type(key) is int and -(2**63) <= key < 2**63 for key in chosen):
            integers = IntegerKeys(np.array(chosen, np.int64))
            return codes[integers.order], integers
        coded = sorted(
            (to_state(key), code) for key, code in zip(chosen, codes.tolist(), strict=True)
        )
        return np.array([code for _, code in coded], np.intp), [key for key, _ in coded]

    def read(self, packed: Packed) -> NDArray[np.int32]:
        """Take the keys of a state, and return their codes.

        They are fewer than that if the state has one twice.
        """
        starts, sizes = packed.keys, packed.key_sizes
        count = len(starts)
        data = np.frombuffer(packed.data, np.uint8)
        if count and np.logical_and.reduce((data[starts] == ord("i")) & (sizes > 1) & (sizes < 10)):
            keys = integers_of(data, starts + 1, sizes - 1)
            if self._cover(int(np.minimum.reduce(keys)), int(np.maximum.reduce(keys)), count):
                return self._look_up(keys).all()
            return self.codes_of(keys.tolist())
        ends = (starts + sizes).tolist()
        pairs = zip(starts.tolist(), ends, strict=True)
        return self.codes_of([from_state(packed.data[start:end]) for start, end in pairs])

    def ordered(self, codes: AnyArray) -> tuple[NDArray[np.intp], Any]:
        """Return codes in the order of their keys, and these as an array, or a tuple of some."""
        if not self._list and self._fresh:  # integers alone
            if self._lookup is not None and len(codes) == self._count:
                places = np.flatnonzero(self._lookup >= 0)
                return self._lookup[places].astype(np.intp), places + self._least
            keys = np.concatenate(self._fresh)[codes]
            order = np.argsort(keys)
            return codes[order], keys[order]
        everything = self.every()
        chosen = [(everything[code], code) for code in codes.tolist()]
        try:
            chosen.sort(key=lambda pair: pair[0])
            if any(key is _NAN for key, _ in chosen):
                raise TypeError("NaN has no place in an order")
        except TypeError:
            chosen.sort(key=lambda pair: (type(pair[0]).__name__, repr(pair[0])))
        found = [key for key, _ in chosen]
        order = np.array([code for _, code in chosen], np.intp)
        if {type(key) for key in found} == {tuple} and len({len(key) for key in found}) == 1:
            return order, tuple(_array(list(part)) for part in zip(*found, strict=True))
        return order, _array(found)

    def _cover(self, least: int, most: int, n: int) -> bool:
        """Make the table of codes hold these integers, if they lie close together."""
        low, high = least, most
        if self._lookup is not None:
            low, high = min(low, self._least), max(high, self._least + len(self._lookup) - 1)
            if low == self._least and high - low + 1 == len(self._lookup):
                return True
        if high - low >= max(_LEAST_LOOKUP, 4 * n) or not -(2**63) <= low <= high < 2**63:
            return False
        lookup = np.full(high - low + 1, -1, np.int32)
        if self._lookup is not None:
            start = self._least - low
            lookup[start : start + len(self._lookup)] = self._lookup
        else:
            for code, key in enumerate(self.every()):
                if type(key) is int and low <= key <= high:
                    lookup[key - low] = code
        self._least, self._lookup = low, lookup
        return True

    def _look_up(self, keys: AnyArray, threads: int = 1) -> Codes:
        assert self._lookup is not None
        wide = np.ascontiguousarray(keys, np.int64)
        before = self._count
        self._count, words = core.exact_learn(wide, self._least, self._lookup, before, threads)
        if self._count > before:  # codes of new keys are in their order
            self._fresh.append(np.flatnonzero(self._lookup >= before) + self._least)
        return Codes(Look(wide, self._least, self._lookup, words), threads)

    def _tuples(self, columns: list[AnyArray]) -> NDArray[np.int32]:
        parts = [_factorised(column) for column in columns]
        joint = np.zeros(columns[0].size, np.int64)
        for unique, inverse in parts:
            # Codes of the pairs so far and this column, close together again.
            joint = np.unique(joint * max(1, len(unique)) + inverse, return_inverse=True)[1]
        _, where, inverse = np.unique(joint, return_index=True, return_inverse=True)
        picked = [[unique[i] for i in codes[where].tolist()] for unique, codes in parts]
        codes: NDArray[np.int32] = self.codes_of(list(zip(*picked, strict=True)))[inverse]
        return codes


def _column(by: Any, shape: tuple[int, ...]) -> AnyArray:
    keys = np.asarray(by)
    if keys.shape != shape:
        raise ValueError(f"by must have the shape of input, {shape}, got {keys.shape}")
    if keys.dtype.kind not in "biufUSO" or (keys.dtype.itemsize > 8 and keys.dtype.kind == "f"):
        raise TypeError(
            f"by has dtype {keys.dtype}; use integers, strings, or an object array of keys"
        )
    return keys.ravel()


def _factorised(keys: AnyArray) -> tuple[list[Any], NDArray[np.intp]]:
    """Return the keys that there are, and for each element which of them it has."""
    if keys.dtype.kind == "O":
        found: dict[Any, int] = {}
        try:
            inverse = [found.setdefault(canonical(key), len(found)) for key in keys.tolist()]
        except TypeError as error:
            raise TypeError(f"by holds a key that cannot be hashed: {error}") from None
        return list(found), np.array(inverse, np.intp)
    unique, places = np.unique(keys, return_inverse=True)
    return [canonical(key) for key in unique.tolist()], places.reshape(-1)


def canonical(key: Any) -> Any:
    """Return one object for all NaN, 0.0 for -0.0, and Python's numbers for NumPy's."""
    if isinstance(key, np.generic):
        key = key.item()
    if isinstance(key, tuple):
        return tuple(map(canonical, key))
    if isinstance(key, float):
        return _NAN if key != key else key + 0.0
    return key


def _array(keys: list[Any]) -> AnyArray:
    """Return keys as an array of their type; of objects, if they have several."""
    if len({type(key) for key in keys}) == 1 and type(keys[0]) in (bool, int, float, str, bytes):
        found = np.array(keys)
        if type(keys[0]) is not bytes or [bytes(key) for key in found.tolist()] == keys:
            return found
    found = np.empty(len(keys), object)
    found[:] = keys
    return found


def to_state(key: Any) -> bytes:
    """Return the bytes of a key, which say its type; ``TypeError`` for an unknown one."""
    if key is None:
        return b"n"
    if type(key) is bool:
        return b"t" if key else b"f"
    if type(key) is int:
        return b"i" + key.to_bytes(key.bit_length() // 8 + 1, "little", signed=True)
    if type(key) is float:
        return b"d" + struct.pack("<d", key)
    if type(key) is str:
        return b"s" + key.encode("utf-8", "surrogatepass")
    if type(key) is bytes:
        return b"b" + key
    if type(key) is tuple:
        parts = [to_state(part) for part in key]
        return b"(" + b"".join(struct.pack("<I", len(part)) + part for part in parts)
    raise TypeError(
        f"keys of type {type(key).__qualname__} cannot be stored; use str, bytes, int, float, "
        f"bool, None, or tuples of these"
    )


def from_state(data: bytes) -> Any:
    """Return the key of some bytes; ``ValueError`` if there is none."""
    tag, rest = data[:1], data[1:]
    try:
        if tag == b"i" and rest:
            return int.from_bytes(rest, "little", signed=True)
        if tag == b"d":
            return canonical(struct.unpack("<d", rest)[0])
        if tag == b"s":
            return rest.decode("utf-8", "surrogatepass")
        if tag == b"b":
            return rest
        if tag == b"(":
            return tuple(map(from_state, _parts(rest)))
        return {b"n": None, b"t": True, b"f": False}[data]
    except (KeyError, UnicodeDecodeError, struct.error, RecursionError):
        raise ValueError("the state is damaged: it has a key that is none") from None


def _parts(data: bytes) -> list[bytes]:
    found = []
    while data:
        (size,) = struct.unpack("<I", data[:4])
        if size > len(data) - 4:
            raise ValueError("the state is damaged: it has a key that is none")
        found.append(data[4 : 4 + size])
        data = data[4 + size :]
    return found
