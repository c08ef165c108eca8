"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from smoothl1._evaluate.npy import InputError, line_of


def reason(error: Exception) -> str:
    """Return what the operating system says, or the message on one line."""
    return (isinstance(error, OSError) and error.strerror) or line_of(error)


def write(path: str, data: bytes) -> None:
    """Write a file that appears when it is whole; `InputError` where it cannot."""
    import tempfile  # and hashlib with it

    place = Path(path)
    name = None
    try:
        if place.is_dir():
            raise InputError(f"{path}: Is a directory")
        if place.exists() and not place.is_file():  # a device, or a pipe
            place.write_bytes(data)
            return
        handle, name = tempfile.mkstemp(prefix=".smoothl1-", dir=place.resolve().parent)
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(name, place.stat().st_mode & 0o777 if place.exists() else 0o666 & ~_umask())
        os.replace(name, place.resolve())
        name = None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {reason(error)}") from None
    finally:
        if name is not None:
            with suppress(OSError):
                Path(name).unlink()


def check_writable(option: str, path: str) -> None:
    """Fail before the evaluation rather than after it."""
    try:
        place = Path(path)
        folder = place.resolve().parent
        if place.is_dir():
            raise InputError(f"{option} {path}: Is a directory")
        if not folder.is_dir():
            raise InputError(f"{option} {path}: no such directory")
        if not os.access(folder, os.W_OK):
            raise InputError(f"{option} {path}: Permission denied")
    except (OSError, ValueError) as error:
        raise InputError(f"{option} {path}: {reason(error)}") from None


def same_file(one: str, other: str) -> bool:
    """Return whether two paths are one regular file, or would be."""
    try:
        if os.path.exists(one) and not os.path.isfile(one):  # a device takes anything
            return False
        return os.path.realpath(one) == os.path.realpath(other)
    except (OSError, ValueError):
        return False


def _umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now
