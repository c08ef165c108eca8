"""``.npy`` files on disk: their headers, checked, and their elements, mapped piece by piece."""

from __future__ import annotations

import io
import math
import os
import stat
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from smoothl1._arrays import as_array
from smoothl1._typing import AnyArray

# Elements that are read at once: 4 to 8 MiB of each file.
PIECE = 1 << 20
# More than NumPy reads without being told to trust the file.
_LONGEST_HEADER = 12 + 10_000


class InputError(Exception):
    """Bad input: one line for the user, exit code 2 of the command."""


@dataclass(frozen=True)
class NpyFile:
    """The header of an ``.npy`` file, and the way to its elements."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int
    state: tuple[int, ...]  # of the file when its header was read

    @classmethod
    def open(cls, path: Path) -> NpyFile:
        """Read and check the header; the elements stay on disk."""
        try:
            mode = path.stat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a pipe may block
                raise InputError(
                    f"{path}: not a regular file, which alone can be mapped; save it to one"
                )
            with path.open("rb") as file:
                state = _state(os.fstat(file.fileno()))
                head = io.BytesIO(file.read(_LONGEST_HEADER))
                size = file.seek(0, os.SEEK_END)
            shape, fortran, dtype = _read_header(head)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from None
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{path}: not a .npy file ({line_of(error)})") from None
        if dtype.hasobject:
            raise InputError(f"{path}: holds pickled objects, which are never loaded")
        if dtype.subdtype is not None:
            raise InputError(f"{path}: has elements that are arrays, of dtype {dtype}")
        try:
            as_array(str(path), np.empty(0, dtype))
        except TypeError as error:
            raise InputError(line_of(error)) from None
        needed = head.tell() + math.prod(shape) * dtype.itemsize
        if size < needed:
            raise InputError(
                f"{path}: truncated, shape {shape} of {dtype} needs {needed} bytes, got {size}"
            )
        return cls(path, shape, dtype, fortran, head.tell(), state)

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def check_unchanged(self) -> None:
        """Raise `InputError` if the file is not the one whose header was read.

        Whoever reads a page that was cut off between two such checks is ended by SIGBUS.
        """
        try:
            state = _state(self.path.stat())
        except OSError as error:
            raise InputError(f"{self.path}: {error.strerror or error}") from None
        if state != self.state:
            raise InputError(f"{self.path}: was changed while it was read")

    def elements(self, start: int, stop: int) -> AnyArray:
        """Map elements ``start`` to ``stop``, in the order of the file."""
        offset = self.offset + start * self.dtype.itemsize
        try:
            return np.memmap(self.path, self.dtype, "r", offset, (stop - start,))
        except (OSError, ValueError) as error:  # removed, or cut off, since its header was read
            raise InputError(f"{self.path}: {line_of(error)}") from None

    def array(self) -> AnyArray:
        """Map the whole array."""
        flat = self.elements(0, self.size)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def _state(status: os.stat_result) -> tuple[int, ...]:
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


def _read_header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether in Fortran order, and dtype; any exception for a bad header."""
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version[0]}.{version[1]} of the format is unknown")
    # Version 3.0 differs from 2.0 in the encoding of names of fields, which are refused.
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files from Python 2
        shape, fortran, dtype = read(file)
    np.empty((0,) * len(shape))  # ValueError beyond the number of dimensions that NumPy has
    if not all(0 <= extent < 2**63 for extent in shape):
        raise ValueError(f"shape {shape}")
    return shape, fortran, dtype


def line_of(error: BaseException) -> str:
    """Return the message on one line."""
    return " ".join(str(error).split())


def printable(text: str) -> str:
    """Return the text with escapes for what would end a line, or is no text."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def pieces(files: Sequence[NpyFile]) -> Iterator[list[AnyArray]]:
    """Yield matching pieces of all files, mapped one after the other.

    In the order of the files where all have the same, which is one sequential pass in
    bounded memory; else in C order, slice by slice along the first axis.
    """
    first = files[0]
    if len(first.shape) < 2 or len({file.fortran for file in files}) == 1:
        for start in range(0, first.size, PIECE):
            stop = min(start + PIECE, first.size)
            yield [file.elements(start, stop) for file in files]
        return
    rows = max(1, PIECE // max(1, math.prod(first.shape[1:])))
    for start in range(0, first.shape[0], rows):
        yield [file.array()[start : start + rows] for file in files]
