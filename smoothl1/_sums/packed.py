"""Many groups' sums as bytes and back, by whole columns: the format is that of ``states.py``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from smoothl1._sums.rounding import ENTRY_LIMIT, Layout
from smoothl1._sums.states import Packed
from smoothl1._typing import AnyArray

# Rows whose bytes, and masks of them, stay in a cache.
_CHUNK = 4096

_Field = tuple[AnyArray, AnyArray]  # bytes of each row, and which of them count


def encoded(
    keys: IntegerKeys | list[bytes],
    rows: AnyArray,
    windows: AnyArray,
    slow: Callable[[AnyArray], bytes],
) -> Iterator[bytes]:
    """Yield the bytes of groups: each a key, its number of elements and its sums.

    ``rows`` are carried; ``slow`` encodes one in which something is no number.
    """
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        stop = start + len(part)
        n = part[:, 0]
        fields = [_varints(np.where(n >= 0, 2 * n, -2 * n - 1))]
        special = np.zeros(len(part), bool)
        for column, first, digits, counts in windows.tolist():
            fields += _sum_fields(part[:, column : column + digits], first)
            if counts >= 0:
                special |= np.logical_or.reduce(part[:, counts : counts + 3] != 0, axis=1)
        if isinstance(keys, list):
            heads = [natural(len(key)) + key for key in keys[start:stop]]
        elif np.logical_or.reduce(special):
            heads = _separate(keys.fields(start, stop))
        else:
            yield _together(keys.fields(start, stop) + fields)[0]
            continue
        bodies = _separate(fields)
        for i in np.flatnonzero(special).tolist():
            bodies[i] = slow(part[i])
        yield b"".join(chain.from_iterable(zip(heads, bodies, strict=True)))


def natural(value: int) -> bytes:
    """Return the varint of a number that is not negative."""
    found = bytearray()
    while value > 0x7F:
        found.append(value & 0x7F | 0x80)
        value >>= 7
    found.append(value)
    return bytes(found)


class IntegerKeys:
    """Keys that are integers of 64 bits, in the order of their bytes."""

    def __init__(self, keys: NDArray[np.int64]) -> None:
        size = np.abs(keys).astype(np.uint64)  # of the least number, too
        # As many bytes as ``to_state`` gives them.
        length = np.ones(len(keys), np.int64)
        for power in range(7, 64, 8):
            length += size >= np.uint64(2**power)
        padded = keys.astype("<i8").view(np.uint8).reshape(-1, 8).copy()
        padded[np.arange(8) >= length[:, np.newaxis]] = 0
        self.order = np.lexsort((length, padded.view(">u8")[:, 0]))
        self._bytes, self._length = padded[self.order], length[self.order]

    def fields(self, start: int, stop: int) -> list[_Field]:
        """Return the keys of some groups: how long they are, and they."""
        data, length = self._bytes[start:stop], self._length[start:stop, np.newaxis]
        head = np.concatenate([length + 1, np.full_like(length, ord("i"))], axis=1)
        data = np.concatenate(
            [head.astype(np.uint8), data, np.full_like(data[:, :1], 0xFF)], axis=1
        )
        return [(data, np.arange(data.shape[1]) < length + 2)]


def _together(fields: list[_Field]) -> tuple[bytes, AnyArray]:
    """Return the bytes of all rows, and which there are."""
    mask = np.concatenate([there for _, there in fields], axis=1)
    return np.concatenate([data for data, _ in fields], axis=1)[mask].tobytes(), mask


def _separate(fields: list[_Field]) -> list[bytes]:
    flat, mask = _together(fields)
    ends = np.cumsum(np.add.reduce(mask, axis=1, dtype=np.intp)).tolist()
    return [flat[a:b] for a, b in zip([0, *ends], ends, strict=False)]


def _sum_fields(digits: AnyArray, first: int) -> list[_Field]:
    """Return a sum of each row: how many bytes, how many below are left out, the bytes."""
    low = np.ascontiguousarray(digits[:, :-1], "<u4").view(np.uint8)
    top = np.ascontiguousarray(digits[:, -1:], "<i8").view(np.uint8)
    data = np.concatenate([low, top], axis=1)
    used = data != 0
    some = np.logical_or.reduce(used, axis=1)
    start = np.argmax(used, axis=1)
    negative = top[:, 7] >= 0x80
    differ = data != np.where(negative, 0xFF, 0).astype(np.uint8)[:, np.newaxis]
    last = data.shape[1] - 1 - np.argmax(differ[:, ::-1], axis=1)
    # The highest byte that differs from the sign may need another one, for the sign.
    last += (data[np.arange(len(data)), last] >= 0x80) != negative
    last = np.where(np.logical_or.reduce(differ, axis=1), np.maximum(last, start), start)
    size = np.where(some, last - start + 1, 0)
    places = np.arange(data.shape[1])
    there = (places >= start[:, np.newaxis]) & (places < (start + size)[:, np.newaxis])
    head, skipped = _varints(2 * size), _varints(4 * first + start)
    return [head, (skipped[0], skipped[1] & some[:, np.newaxis]), (data, there)]


def _varints(values: AnyArray) -> _Field:
    width = max(1, -(-int(np.maximum.reduce(values, initial=0)).bit_length() // 7))
    parts = values[:, np.newaxis] >> (7 * np.arange(width))
    there = parts > 0
    there[:, 0] = True
    parts &= 0x7F
    parts[:, :-1] |= np.where(there[:, 1:], 0x80, 0)
    return parts.astype(np.uint8), there


def windows_of(packed: Packed, layout: Layout) -> list[tuple[int, int]]:
    """Return of each sum the first digit that its groups need, and how many.

    ``ValueError`` for sums beyond the range of any.
    """
    found = []
    for j in range(packed.starts.shape[1]):
        size, skipped = packed.sizes[:, j], packed.skipped[:, j]
        most = int(np.maximum.reduce(skipped + size, initial=0))
        # The highest digit has up to 62 bits.
        if most > 4 * layout.digits + 4:
            raise ValueError("a sum is beyond what any data give")
        used = size > 0
        first = -layout.exponent // 32
        if np.logical_or.reduce(used, axis=None):
            least = int(np.minimum.reduce(skipped[used], initial=4 * layout.digits))
            first = min(least // 4, layout.digits - 1)
        last = min(max(first, (most - 1) // 4), layout.digits - 1)
        found.append((first, last - first + 1))
    return found


def counts_of(packed: Packed, j: int) -> NDArray[np.int64]:
    """Return how many terms of a sum were NaN, +inf and -inf, by group."""
    found = np.zeros((len(packed.n), 3), np.int64)
    for i in (i for i, k in packed.counts if k == j):
        if not all(abs(count) < ENTRY_LIMIT for count in packed.counts[i, j]):
            raise ValueError("a sum is beyond what any data give")
        found[i] = packed.counts[i, j]
    return found


def integers_of(data: AnyArray, starts: AnyArray, sizes: AnyArray) -> NDArray[np.int64]:
    """Return integers of at most eight bytes each, the lowest first, that lie in the data."""
    found = np.zeros(len(starts), np.int64)
    for k in range(int(np.maximum.reduce(sizes, initial=0))):
        rows = np.flatnonzero(sizes > k)
        # The last byte has the sign, which those above repeat.
        byte = data[starts[rows] + k].astype(np.int64)
        last = sizes[rows] == k + 1
        found[rows] |= np.where(last, byte - ((byte & 0x80) << 1), byte) << (8 * k)
    return found
