"""Names for types that several modules use."""

from __future__ import annotations

from typing import Any, Literal, TypeAlias

from numpy.typing import NDArray

AnyArray: TypeAlias = NDArray[Any]
Axis: TypeAlias = int | tuple[int, ...]
Reduction: TypeAlias = Literal["none", "mean", "sum", "weighted_mean"]
# A NumPy scalar; an array for "none" and with an axis.
Loss: TypeAlias = Any
