"""How many threads a call may use.

Precedence, first match wins:

1. ``n_threads=`` of the call,
2. ``with num_threads(n):`` around it,
3. ``set_num_threads(n)``,
4. the environment variable ``SMOOTHL1_NUM_THREADS``,
5. what OpenMP itself would use at the time of the call (so ``OMP_NUM_THREADS`` and
   threadpoolctl are obeyed), at most the processors that the process may run on and its
   cgroup's CPU quota.

A number that was asked for (1 to 4) is a limit. A call never uses more threads than its work
is worth, nor more than 16 unless there are as many processors. Within another parallel
region, or in a child forked after its parent ran threads, it uses one.
"""

from __future__ import annotations

import functools
import math
import operator
import os
from contextvars import ContextVar
from pathlib import Path
from types import TracebackType
from typing import Self, SupportsIndex

_process_limit: int | None = None
# Of the blocks that the current context is in, outermost first.
_block_limits: ContextVar[tuple[int, ...]] = ContextVar("smoothl1_num_threads", default=())


def check_n_threads(n: SupportsIndex, name: str = "n_threads") -> int:
    """Return ``n`` as an int; ``ValueError`` unless it is an integer of at least 1."""
    try:
        number = operator.index(n)
    except TypeError:
        number = 0
    if not 1 <= number < 2**31:
        raise ValueError(f"{name} must be an integer of at least 1, got {n!r}")
    return number


def set_num_threads(n: SupportsIndex | None) -> None:
    """Set the largest number of threads for calls without ``n_threads``, process-wide.

    Parameters
    ----------
    n : int or None
        At least 1. None returns to the default.

    Raises
    ------
    ValueError
        If ``n`` is not an integer of at least 1.

    See Also
    --------
    num_threads : the same for a block of code.

    Examples
    --------
    >>> import smoothl1
    >>> smoothl1.set_num_threads(2)
    >>> smoothl1.get_num_threads()
    2
    >>> smoothl1.set_num_threads(None)
    """
    global _process_limit
    _process_limit = None if n is None else check_n_threads(n, "n")


class num_threads:  # noqa: N801  a context manager, used like a function
    """Context manager: the largest number of threads within the block.

    The setting belongs to the current context (`contextvars`): other threads and other
    asyncio tasks do not see it.

    Parameters
    ----------
    n : int
        At least 1.

    Raises
    ------
    ValueError
        If ``n`` is not an integer of at least 1.

    Examples
    --------
    >>> import smoothl1
    >>> with smoothl1.num_threads(1):
    ...     smoothl1.get_num_threads()
    1
    """

    def __init__(self, n: SupportsIndex) -> None:
        self._n = check_n_threads(n, "n")

    def __enter__(self) -> Self:
        _block_limits.set((*_block_limits.get(), self._n))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        _block_limits.set(_block_limits.get()[:-1])

    def __repr__(self) -> str:
        return f"num_threads({self._n})"


def in_block() -> bool:
    """Return whether the current context is within a ``num_threads`` block."""
    return bool(_block_limits.get())


def requested() -> int | None:
    """Return the number that was asked for, by whatever way but a call's argument."""
    limits = _block_limits.get()
    limit = limits[-1] if limits else _process_limit
    if limit is None:
        setting = os.environ.get("SMOOTHL1_NUM_THREADS")
        if setting:
            try:
                limit = int(setting)
            except ValueError:
                limit = 0
            if limit < 1:
                raise ValueError(
                    f"SMOOTHL1_NUM_THREADS must be an integer of at least 1, got {setting!r}"
                )
    return limit


@functools.cache
def cpu_quota() -> int:
    """Return the CPU quota of this process's cgroup, rounded up; 2**31 - 1 without one."""
    unlimited = 2**31 - 1
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return unlimited
    quota = math.inf
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if not controllers:
            quota = min(quota, _quota_v2(Path("/sys/fs/cgroup"), path))
        elif "cpu" in controllers.split(","):
            quota = min(quota, _quota_v1(Path("/sys/fs/cgroup/cpu"), path))
    return unlimited if quota == math.inf else max(1, math.ceil(quota))


def _folders(root: Path, path: str) -> list[Path]:
    """Return the cgroup's folder and those above it: a quota of any of them holds.

    In a container the path is that of the host, and the container's own cgroup is mounted
    at the root; so the root always counts.
    """
    folder = root / path.strip("/")
    return [folder, *(parent for parent in folder.parents if parent.is_relative_to(root))]


def _quota_v2(root: Path, path: str) -> float:
    quota = math.inf
    for folder in _folders(root, path):
        try:
            limit, period = (folder / "cpu.max").read_text().split()
        except (OSError, ValueError):
            continue
        if limit != "max":
            quota = min(quota, int(limit) / int(period))
    return quota


def _quota_v1(root: Path, path: str) -> float:
    quota = math.inf
    for folder in _folders(root, path):
        try:
            limit = int((folder / "cpu.cfs_quota_us").read_text())
            period = int((folder / "cpu.cfs_period_us").read_text())
        except (OSError, ValueError):
            continue
        if limit > 0:
            quota = min(quota, limit / period)
    return quota
