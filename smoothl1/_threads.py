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

import operator
import os
from contextvars import ContextVar, Token
from types import TracebackType
from typing import Self, SupportsIndex

from smoothl1._cgroups import cpu_quota as cpu_quota

_process_limit: int | None = None


class _Block:
    """A ``num_threads`` block that was entered: its number, and where it was entered."""

    __slots__ = ("limit", "over", "token")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        # Good for one reset, in that context. None once left: it holds on to the blocks before.
        self.token: Token[tuple[_Block, ...]] | None = None
        self.over = False  # left in another context than this one


# That the current context is in, outermost first.
_blocks: ContextVar[tuple[_Block, ...]] = ContextVar("smoothl1_num_threads", default=())

_MOST = 2**31 - 1  # what OpenMP can be asked for


def check_n_threads(n: SupportsIndex, name: str = "n_threads") -> int:
    """Return ``n`` as an int; ``ValueError`` unless it is a number of threads."""
    try:
        number = operator.index(n)
    except TypeError:
        number = 0
    if not 1 <= number <= _MOST:
        most = f"; the most is {_MOST}" if number > _MOST else ""
        raise ValueError(f"{name} must be an integer of at least 1, got {n!r}{most}")
    return number


def number_of(text: str, name: str) -> int:
    """Return the number of threads in a text; ``ValueError`` if it is none."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if not 1 <= number <= _MOST:
        most = f"; the most is {_MOST}" if number > _MOST else ""
        raise ValueError(f"{name} must be an integer of at least 1, got {text!r}{most}")
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
    asyncio tasks do not see it, but for tasks that are made within the block. Blocks need
    not nest: of those that were entered and not left, the last one entered counts.

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
        self._entered: list[_Block] = []  # of all contexts

    def __enter__(self) -> Self:
        block = _Block(self._n)
        block.token = _blocks.set((*_blocks.get(), block))
        self._entered.append(block)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # Blocks of generators and tasks do not nest: each takes out its own number, wherever
        # in the list that is, and leaves the others'.
        if not self._entered:
            raise RuntimeError(f"{self} is left without having been entered")
        blocks = _blocks.get()
        for block in reversed(self._entered):
            token = block.token
            try:
                if token is None:
                    continue
                _blocks.reset(token)
            except (ValueError, RuntimeError):  # of another context, where it may end just now
                continue
            break
        else:
            # Left elsewhere, as by a generator that another thread ends.
            block = next((b for b in reversed(self._entered) if b in blocks), self._entered[-1])
            block.over = True
        block.token = None
        self._entered.remove(block)
        _blocks.set(tuple(b for b in blocks if b is not block and not b.over))

    def __reduce__(self) -> tuple[type[num_threads], tuple[int]]:
        return num_threads, (self._n,)

    def __repr__(self) -> str:
        return f"num_threads({self._n})"


def _innermost() -> int | None:
    for block in reversed(_blocks.get()):
        if not block.over:
            return block.limit
    return None


def in_block() -> bool:
    """Return whether the current context is within a ``num_threads`` block."""
    return _innermost() is not None


def check_environment() -> None:
    """Raise ``ValueError`` if the number of threads is up to the environment and bad."""
    if os.environ.get("SMOOTHL1_NUM_THREADS"):
        requested()


def requested() -> int | None:
    """Return the number that was asked for, by whatever way but a call's argument."""
    number = chosen()
    return number_in_environment() if number is None else number


def chosen() -> int | None:
    """Return the number of the innermost block, or else of the process."""
    block = _innermost()
    return _process_limit if block is None else block


def number_in_environment() -> int | None:
    """Return the number of ``SMOOTHL1_NUM_THREADS``, None if it is unset or empty.

    Raises
    ------
    ValueError
        If it is no number of threads.
    """
    setting = os.environ.get("SMOOTHL1_NUM_THREADS")
    return number_of(setting, "SMOOTHL1_NUM_THREADS") if setting else None
