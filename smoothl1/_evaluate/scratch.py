"""Memory that is used again for piece after piece."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from smoothl1._typing import AnyArray


class Scratch:
    """Arrays by name, whose values last until the next one of that name.

    Temporary arrays of a piece are so large that the C library gives their pages back to the
    system, which clears them before it gives them again: of many groups that takes as long as the
    sums.
    """

    def __init__(self) -> None:
        self._memory: dict[str, AnyArray] = {}

    def array(self, name: str, shape: tuple[int, ...], dtype: DTypeLike) -> AnyArray:
        """Return an array of unknown values."""
        kind: np.dtype[Any] = np.dtype(dtype)
        size = kind.itemsize
        for length in shape:
            size *= length
        memory = self._memory.get(name)
        if memory is None or len(memory) < size:
            memory = self._memory[name] = np.empty(size, np.uint8)
        return memory[:size].view(kind).reshape(shape)
