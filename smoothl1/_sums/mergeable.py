"""What sums that merge have in common: parameters, operators, copies."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, Self

import numpy as np

from smoothl1._sums.states import NAMES, Spec


class Mergeable(ABC):
    """Sums with a state in bytes; those of one kind add."""

    __hash__ = None  # type: ignore[assignment]

    _KIND: ClassVar[int]  # of the state, see ``_states``
    _spec: Spec

    @property
    def beta(self) -> float | tuple[float, ...]:
        """The threshold, or the thresholds, rounded to `dtype`."""
        return self._spec.betas[0] if self._spec.scalar else self._spec.betas

    @property
    def huber(self) -> bool:
        """Whether the loss is Huber's."""
        return self._spec.huber

    @property
    def dtype(self) -> np.dtype[Any]:
        """The working dtype."""
        return np.dtype(np.float32 if self._spec.single else np.float64)

    @abstractmethod
    def copy(self) -> Self:
        """Return an object of its own with the same sums."""

    @abstractmethod
    def merge(self, *others: Any) -> Self:
        """Add the sums of others of this kind."""

    @abstractmethod
    def reset(self) -> Self:
        """Forget all data; return the object itself."""

    @abstractmethod
    def to_bytes(self) -> bytes:
        """Return the state: equal sums give equal bytes."""

    @classmethod
    @abstractmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the object that `to_bytes` was called on."""

    def __add__(self, other: object) -> Self:
        if not self._same_kind(other):
            return NotImplemented
        return self.copy().merge(other)

    def __radd__(self, other: int) -> Self:
        if type(other) is int and other == 0:  # the start of sum()
            return self.copy()
        return NotImplemented

    def __iadd__(self, other: object) -> Self:
        if not self._same_kind(other):
            return NotImplemented
        return self.merge(other)

    def __sub__(self, other: object) -> Self:
        if not self._same_kind(other):
            return NotImplemented
        result = self.copy()
        result -= other
        return result

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self).from_bytes, (self.to_bytes(),)

    def __copy__(self) -> Self:
        return self.copy()

    def __deepcopy__(self, memo: object) -> Self:
        return self.copy()

    def __dask_tokenize__(self) -> tuple[str, bytes]:
        return f"smoothl1.{NAMES[self._KIND]}", self.to_bytes()

    def _same_kind(self, other: object) -> bool:
        return isinstance(other, Mergeable) and other._KIND == self._KIND
