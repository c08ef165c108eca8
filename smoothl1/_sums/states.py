"""Exact sums as bytes: a format of its own, canonical and checked.

All numbers are little-endian:

    4   "SL1S"
    1   version of the format
    1   what it is: 1 sums, 2 sums by group
    1   bytes of the working dtype: 4 or 8
    1   1 if the loss is Huber's, plus 2 if the threshold was a single number
    4   thresholds
    8   each threshold, float64
        what it holds
    4   CRC-32 of all before

An integer is a varint of seven bits a byte, the lowest first, of its zigzag code (0, -1, 1, -2
are 0, 1, 2, 3). A sum is the varint of ``2 * bytes + special``; the varint of the bytes left out
below, all 0; the bytes, two's complement; and, if special, the counts of NaN, +inf and -inf.
Equal sums have equal bytes: whatever else would decode to them is refused.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from smoothl1._simd import core
from smoothl1._sums.rounding import Layout, Number, layout_of

MAGIC = b"SL1S"
VERSION = 1
SUMS, GROUPED = 1, 2
NAMES = {SUMS: "LossSums", GROUPED: "GroupedLossSums"}

_HEADER = struct.Struct("<4sBBBBI")
_CHECK = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Spec:
    """What is summed: states of one spec can be merged."""

    betas: tuple[float, ...]
    huber: bool
    single: bool
    scalar: bool  # one threshold, and figures that are scalars

    @property
    def layout(self) -> Layout:
        """Where the digits of a sum are."""
        return layout_of(self.single)


class Packed(NamedTuple):
    """Groups of a state, whose sums are still bytes; arrays have a row a group, a column a sum."""

    keys: NDArray[np.int64]  # where each starts, and how many bytes it has
    key_sizes: NDArray[np.int64]
    n: NDArray[np.int64]
    data: bytes
    starts: NDArray[np.int64]
    sizes: NDArray[np.int64]
    skipped: NDArray[np.int64]  # bytes that are 0 below
    counts: dict[tuple[int, int], list[int]]  # of NaN, +inf and -inf, where there are some
    places: NDArray[np.int64]  # all columns of integers above, as ``core.read_groups`` gives them


class Writer:
    """Collects the bytes of a state."""

    def __init__(self, kind: int, spec: Spec) -> None:
        self._parts = bytearray(
            _HEADER.pack(
                MAGIC,
                VERSION,
                kind,
                4 if spec.single else 8,
                spec.huber + 2 * spec.scalar,
                len(spec.betas),
            )
        )
        self._parts += struct.pack(f"<{len(spec.betas)}d", *spec.betas)

    def integer(self, value: int) -> None:
        """Write an integer of either sign."""
        self._natural(2 * value if value >= 0 else -2 * value - 1)

    def raw(self, data: bytes) -> None:
        """Write bytes, and how many they are."""
        self._natural(len(data))
        self._parts += data

    def written(self, data: bytes) -> None:
        """Take over what another one wrote."""
        self._parts += data

    def since(self, start: int) -> bytes:
        """Return what was written from a place on, and forget it."""
        found = bytes(self._parts[start:])
        del self._parts[start:]
        return found

    def __len__(self) -> int:
        return len(self._parts)

    def number(self, number: Number) -> None:
        """Write a sum."""
        value = number.value
        skipped = 0
        if value:
            skipped = ((value & -value).bit_length() - 1) // 8
            value >>= 8 * skipped
        size = (value if value >= 0 else ~value).bit_length() // 8 + 1 if value else 0
        special = bool(number.nan or number.up or number.down)
        self._natural(2 * size + special)
        if size:
            self._natural(skipped)
            self._parts += value.to_bytes(size, "little", signed=True)
        if special:
            for count in number[1:]:
                self.integer(count)

    def done(self) -> bytes:
        """Return the state."""
        return bytes(self._parts) + _CHECK.pack(zlib.crc32(self._parts))

    def _natural(self, value: int) -> None:
        while value > 0x7F:
            self._parts.append(value & 0x7F | 0x80)
            value >>= 7
        self._parts.append(value)


class Reader:
    """Takes a state apart; ``ValueError`` for what is none."""

    def __init__(self, data: bytes, kind: int) -> None:
        self._data = data
        self._at = _HEADER.size
        if len(data) < _HEADER.size + _CHECK.size or data[:4] != MAGIC:
            raise ValueError("the bytes are no state of smoothl1's sums")
        _, version, found, itemsize, flags, count = _HEADER.unpack_from(data)
        if version != VERSION:
            raise ValueError(
                f"the state has version {version} of the format; this smoothl1 reads {VERSION}"
            )
        self._end = len(data) - _CHECK.size
        if zlib.crc32(memoryview(data)[: self._end]) != _CHECK.unpack_from(data, self._end)[0]:
            raise ValueError("the state is damaged: its checksum does not match")
        if found != kind:
            raise ValueError(
                f"the state is one of {NAMES.get(found, f'kind {found}')}, not of {NAMES[kind]}"
            )
        if itemsize not in (4, 8) or flags > 3 or not 0 < count <= len(data) // 8:
            raise _damaged()
        betas = struct.unpack(f"<{count}d", self._take(8 * count))
        self.spec = Spec(betas, bool(flags & 1), itemsize == 4, bool(flags & 2))

    def integer(self) -> int:
        """Read an integer of either sign."""
        code = self._natural()
        return -(code >> 1) - 1 if code & 1 else code >> 1

    def raw(self) -> bytes:
        """Read bytes."""
        return self._take(self._natural())

    def number(self) -> Number:
        """Read a sum."""
        size = self._natural()
        special, size = size & 1, size >> 1
        value = 0
        if size:
            skipped = self._natural()
            if skipped > 8 * self.spec.layout.size:
                raise _damaged()
            value = int.from_bytes(self._take(size), "little", signed=True) << (8 * skipped)
        counts = [self.integer() for _ in range(3)] if special else [0, 0, 0]
        return Number(value, *counts)

    def groups(self, sums: int) -> Packed:
        """Read groups, each a key, a number of elements, and so many sums."""
        data = np.frombuffer(self._data, np.uint8)
        count, most = self.integer(), 8 * self.spec.layout.size
        found = core.read_groups(data, self._at, self._end, min(count, 2**62), sums, most)
        if found is None:
            raise _damaged()
        places, counts, self._at = found
        return Packed(
            places[:, 0],
            places[:, 1],
            places[:, 2],
            self._data,
            places[:, 3::3],
            places[:, 4::3],
            places[:, 5::3],
            counts,
            places,
        )

    def done(self) -> None:
        """Check that nothing is left."""
        if self._at != self._end:
            raise _damaged()

    def _take(self, count: int) -> bytes:
        if count > self._end - self._at:
            raise _damaged()
        self._at += count
        return self._data[self._at - count : self._at]

    def _natural(self) -> int:
        value = shift = 0
        while shift < 70:
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise _damaged()


def _damaged() -> ValueError:
    return ValueError("the state is damaged: it holds what no sums give")
