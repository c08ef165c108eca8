"""Zarr arrays on disk, read chunk by chunk, alone or beside ``.npy`` files; it needs zarr."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from smoothl1._arrays import as_array
from smoothl1._evaluate import npy
from smoothl1._evaluate.npy import InputError, NpyFile, line_of
from smoothl1._typing import AnyArray

# Elements that are read at a time, if a chunk is no larger.
_ELEMENTS = 2**22


@dataclass(frozen=True)
class ZarrFile:
    """An open Zarr array."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    chunks: tuple[int, ...]  # shards, where there are such
    array: Any

    @classmethod
    def open(cls, path: Path) -> ZarrFile:
        """Open an array to read, and check its dtype."""
        try:
            import zarr
        except ImportError:
            raise InputError(f"{path}: Zarr needs zarr: pip install 'smoothl1[dask]'") from None
        try:
            found: Any = zarr.open(str(path), mode="r")
        except Exception as error:
            raise InputError(f"{path}: not a Zarr array ({line_of(error)})") from None
        if not hasattr(found, "chunks"):
            names = ", ".join(sorted(str(name) for name, _ in found.arrays()))
            raise InputError(
                f"{path}: a Zarr group, not an array; name one of it, {path}/NAME"
                + (f" ({names})" if names else "")
            )
        try:
            dtype = np.dtype(found.dtype)
            as_array(str(path), np.empty(0, dtype))
        except TypeError as error:
            raise InputError(line_of(error)) from None
        chunks = getattr(found, "shards", None) or found.chunks
        return cls(path, tuple(found.shape), dtype, tuple(chunks), found)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def check_unchanged(self) -> None:
        """Do nothing: chunks are read whole, and not mapped."""

    def read(self, region: tuple[slice, ...]) -> AnyArray:
        """Return the elements of a region."""
        try:
            return np.asarray(self.array[region])
        except Exception as error:  # of the store, or of the codec
            raise InputError(f"{self.path}: {line_of(error) or type(error).__name__}") from None


File: TypeAlias = NpyFile | ZarrFile


def is_zarr(path: Path) -> bool:
    """Whether a path is to be read as Zarr: by its name, or by what is in the folder."""
    return any(part.suffix == ".zarr" for part in (path, *path.parents)) or any(
        (path / name).is_file() for name in ("zarr.json", ".zarray", ".zgroup")
    )


def open_array(path: Path) -> File:
    """Open a Zarr array or an ``.npy`` file."""
    return ZarrFile.open(path) if is_zarr(path) else NpyFile.open(path)


def pieces(files: Sequence[File]) -> Iterator[list[AnyArray]]:
    """Yield matching pieces of all files, in bounded memory."""
    if all(isinstance(file, NpyFile) for file in files):
        yield from npy.pieces([file for file in files if isinstance(file, NpyFile)])
        return
    step = steps(files)
    ranges = [range(0, n, m) for n, m in zip(files[0].shape, step, strict=True)]
    for starts in itertools.product(*ranges):
        region = tuple(slice(a, a + n) for a, n in zip(starts, step, strict=True))
        yield read(files, region)


def read(files: Sequence[File], region: tuple[slice, ...]) -> list[AnyArray]:
    """Return a region of all files."""
    return [
        file.read(region) if isinstance(file, ZarrFile) else file.array()[region] for file in files
    ]


def steps(files: Sequence[File]) -> tuple[int, ...]:
    """Return the extents of a piece: the larger chunks, and several of them if they are small."""
    shape = files[0].shape
    step = [1] * len(shape)
    for file in files:
        if isinstance(file, ZarrFile):
            step = [max(pair) for pair in zip(step, file.chunks, strict=True)]
    step = [max(1, min(pair)) for pair in zip(step, shape, strict=True)]
    for axis in reversed(range(len(shape))):
        room = _ELEMENTS // math.prod(step)
        if room >= 2:
            step[axis] = max(1, min(shape[axis], step[axis] * room))
    return tuple(step)
