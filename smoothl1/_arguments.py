"""Checks and conversions of arguments; no arithmetic.

Every function either returns what the compiled core can work on or raises an error that
names the argument, its value, and what would be right. None imports anything: a process that
is forked, or ends, meanwhile would hang or fail. So ``np.minimum.reduce`` stands for ``min()``,
which NumPy looks up in a module of its own at the first call.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, SupportsIndex

import numpy as np
from numpy.ma import MaskedArray  # not np.ma, which is imported at its first use
from numpy.typing import ArrayLike

from smoothl1._arrays import as_array as as_array
from smoothl1._arrays import as_mask
from smoothl1._dtypes import is_bfloat16, is_float
from smoothl1._labels import check_labels
from smoothl1._simd import core
from smoothl1._threads import check_environment, check_n_threads
from smoothl1._typing import AnyArray, Axis

try:
    from numpy.lib.array_utils import normalize_axis_tuple
except ImportError:  # NumPy 1.x
    from numpy.core.numeric import normalize_axis_tuple  # type: ignore[no-redef]

_SMALLEST_NORMAL = float(np.finfo(np.float32).tiny)

REDUCTIONS = ("none", "mean", "sum", "weighted_mean")


@dataclass(slots=True)  # frozen, making one would take a microsecond longer
class Operands:
    """The arrays of one call: of one shape, in the dtypes they came in.

    ``core.array_operands`` gives the fields in their order.
    """

    input: AnyArray
    target: AnyArray
    threshold: float | AnyArray
    huber: bool
    weight: AnyArray | None
    where: AnyArray | None
    factor: AnyArray | None
    dtype: np.dtype[Any]  # of the result

    @property
    def arrays(self) -> dict[str, AnyArray]:
        """The operands that are arrays, by name."""
        found = {"input": self.input, "target": self.target}
        if isinstance(self.threshold, np.ndarray):
            found["threshold"] = self.threshold
        for name, a in (("weight", self.weight), ("where", self.where), ("factor", self.factor)):
            if a is not None:
                found[name] = a
        return found


def _is_weak(value: Any) -> bool:
    """Whether a Python number, which takes the dtype of the other operand."""
    return type(value) in (float, int, bool)


def _result_dtype(*operands: AnyArray) -> np.dtype[Any]:
    first = operands[0].dtype
    if first.kind == "f" and first.isnative and all(a.dtype is first for a in operands):
        return first
    floats = [a.dtype if is_float(a.dtype) else np.dtype(np.float64) for a in operands]
    if any(map(is_bfloat16, floats)):
        if all(map(is_bfloat16, floats)):
            return floats[0]
        # The narrowest that holds bfloat16 as well, which NumPy does not know with float16.
        floats = [np.dtype(np.float32), *(dtype for dtype in floats if dtype.kind == "f")]
    return np.result_type(*floats).newbyteorder("=")


def as_pair(
    input: ArrayLike, target: ArrayLike, *, selects: bool = True
) -> tuple[AnyArray, AnyArray, np.dtype[Any]]:
    """Return input and target as arrays of one shape, and the dtype of the result.

    Raises
    ------
    ValueError
        If the shapes differ and neither is 0-d.
    """
    x = as_array("input", input, selects=selects)
    y = as_array("target", target, selects=selects)
    if _is_weak(input) != _is_weak(target):
        dtype = _result_dtype(y if _is_weak(input) else x)
    else:
        dtype = _result_dtype(x, y)
    if x.shape != y.shape:
        if y.ndim == 0:
            y = broadcast("target", y, x)
        elif x.ndim == 0:
            x = broadcast("input", x, y)
        else:
            raise ValueError(
                f"input and target must have the same shape, got {x.shape} and {y.shape}; "
                f"where broadcasting is meant, pass np.broadcast_to(..., shape)"
            )
    return x, y, dtype


def broadcast(name: str, value: AnyArray, like: AnyArray) -> AnyArray:
    """Return a view of ``value`` with the shape of the loss; ``ValueError`` if it has none."""
    view = core.broadcast(value, like)
    if view is None:
        raise ValueError(
            f"{name} must broadcast to the shape of input, {like.shape}, got shape {value.shape}"
        )
    return view


def check_threshold(
    name: str, value: Any, dtype: np.dtype[Any] | None = None, *, selects: bool = True
) -> float | AnyArray:
    """Return beta (>= 0) or delta (> 0), a float or an array.

    Parameters
    ----------
    name : {"beta", "delta"}
    value : array_like
    dtype : dtype, optional
        Of the result; delta must stay positive in the working dtype that goes with it.
    selects : bool
        Whether the function has an argument ``where``.

    Raises
    ------
    ValueError
        If a value is negative or NaN, or a delta is 0.
    """
    if type(value) is float and value >= _SMALLEST_NORMAL:
        return value  # what is passed most, without an array made of it
    array = as_array(name, value, selects=selects)
    positive = name == "delta"
    if array.ndim and core.are_thresholds(array, positive):
        return array
    lowest = float(np.minimum.reduce(array, axis=None)) if array.size else math.inf
    if not (lowest > 0 if positive else lowest >= 0):
        flat = array.ravel()
        bad = flat[~(flat > 0 if positive else flat >= 0)][0]
        where = "" if array.ndim == 0 else " everywhere"
        raise ValueError(f"{name} must be {'> 0' if positive else '>= 0'}{where}, got {bad!s}")
    if positive and dtype is not None and dtype != np.float64:
        with np.errstate(under="ignore", over="ignore"):
            if np.float32(lowest) == 0:
                raise ValueError(f"delta must be > 0 in float32, got {lowest}, which rounds to 0")
    return float(array) if array.ndim == 0 else array


def check_number(name: str, value: Any) -> float:
    """Return a threshold that must be one number; ``ValueError`` also for an array."""
    threshold = check_threshold(name, value)
    if not isinstance(threshold, float):
        raise ValueError(f"{name} must be a number, got an array of shape {threshold.shape}")
    return threshold


def check_reduction(
    reduction: object,
    allowed: tuple[str, ...] = REDUCTIONS,
    hint: str = "beta is the fourth argument, or a keyword",
) -> str:
    """Return ``reduction`` if it is one of those allowed, else raise ``ValueError``.

    ``hint`` says where the threshold goes, for a number in the place of the reduction.
    """
    if not isinstance(reduction, str) or reduction not in allowed:
        place = f" ({hint})" if isinstance(reduction, int | float) else ""
        raise ValueError(
            f"reduction must be one of {', '.join(map(repr, allowed))}, got {reduction!r}{place}"
        )
    return str(reduction)  # not a subclass, which the compiled core would refuse


def check_weighted(reduction: str, weight: object) -> None:
    """Raise ``ValueError`` for a weighted mean without weights."""
    if reduction == "weighted_mean" and weight is None:
        raise ValueError("reduction='weighted_mean' needs weight=..., got None")


def prepare(
    input: ArrayLike,
    target: ArrayLike,
    name: str,
    threshold: ArrayLike,
    *,
    weight: ArrayLike | None = None,
    where: ArrayLike | None = None,
    factor: ArrayLike | None = None,
    selects: bool = True,
) -> Operands:
    """Check and broadcast the operands of a call.

    ``name`` is the threshold's, "beta" or "delta", and selects the loss; ``selects`` is
    whether the function has an argument ``where``.
    """
    found = core.array_operands(input, target, threshold, name == "delta", weight, where, factor)
    if found is not None:
        return Operands(*found)
    names = ("input", "target", name, "weight", "where")
    check_labels(names, (input, target, threshold, weight, where))
    x, y, dtype = as_pair(input, target, selects=selects)
    limit = check_threshold(name, threshold, dtype, selects=selects)
    if not isinstance(limit, float):
        limit = broadcast(name, limit, x)
    w = None
    if weight is not None:
        w = broadcast("weight", as_array("weight", weight, selects=selects), x)
    mask = None
    if where is not None:
        mask = broadcast("where", as_mask("where", where), x)
    f = None
    if factor is not None:
        f = broadcast("grad_output", as_array("grad_output", factor), x)
    return Operands(x, y, limit, name == "delta", w, mask, f, dtype)


def normalize_axis(axis: Axis, ndim: int) -> tuple[int, ...]:
    """Return the axes as non-negative numbers; NumPy's own errors for bad ones."""
    if type(axis) is int and -ndim <= axis < ndim:
        return (axis % ndim,)
    return tuple(normalize_axis_tuple(axis, ndim, "axis"))


def check_out(out: Any, shape: tuple[int, ...], name: str = "out") -> AnyArray:
    """Return ``out`` if results of this shape can be written to it.

    Raises
    ------
    TypeError
        If it is no ndarray, or not of a floating-point dtype.
    ValueError
        If its shape differs, or it is read-only.
    """
    if not isinstance(out, np.ndarray) or isinstance(out, MaskedArray):
        raise TypeError(f"{name} must be a numpy.ndarray, got {type(out).__qualname__}")
    if not is_float(out.dtype):
        raise TypeError(
            f"{name} must be of dtype float16, bfloat16, float32 or float64, got {out.dtype}"
        )
    if out.shape != shape:
        raise ValueError(f"{name} must have shape {shape}, got {out.shape}")
    if not out.flags.writeable:
        raise ValueError(f"{name} is read-only")
    return out


def result_array(out: Any, operands: Operands, name: str = "out") -> AnyArray:
    """Return ``out``, checked, or a fresh array in the memory order of the input."""
    if out is not None:
        return check_out(out, operands.input.shape, name)
    like = operands.input if operands.input.ndim else operands.target
    return np.empty_like(like, dtype=operands.dtype, subok=False)


def share_memory(a: AnyArray, b: AnyArray) -> bool:
    """Whether two arrays may have a byte in common; two columns of one table have none."""
    # As plain arrays, whatever a subclass overrides; the stub knows no effort of 1.
    return np.may_share_memory(np.asarray(a), np.asarray(b), 1)  # type: ignore[arg-type]


def separate(out: AnyArray | None, operands: Operands) -> tuple[Operands, bool]:
    """Copy the operands that share memory with ``out`` and would be overwritten unread.

    Parameters
    ----------
    out : ndarray or None
        As it was passed: fresh memory is nobody else's.
    operands : Operands

    Returns
    -------
    operands : Operands
    overlaps : bool
        Whether ``out`` is input or target itself, element for element: those are read
        before they are written, if a leaf's result goes through a buffer.
    """
    if out is None or core.are_apart(
        out,
        (
            operands.input,
            operands.target,
            operands.threshold,
            operands.weight,
            operands.where,
            operands.factor,
        ),
    ):
        return operands, False
    overlaps = False
    copies: dict[str, AnyArray] = {}
    for name, a in operands.arrays.items():
        if not share_memory(out, a):
            continue
        same = (
            a.__array_interface__["data"][0] == out.__array_interface__["data"][0]
            and a.strides == out.strides
            and a.dtype == out.dtype
        )
        if same and name in ("input", "target"):
            overlaps = True
        else:
            copies[name] = a.copy()
    return (replace(operands, **copies) if copies else operands), overlaps  # type: ignore[arg-type]


def memory_order(a: AnyArray) -> tuple[int, ...]:
    """Return the axes of ``a`` from the largest stride to the smallest."""
    if a.flags.c_contiguous:
        return tuple(range(a.ndim))
    return tuple(sorted(range(a.ndim), key=lambda axis: -abs(a.strides[axis])))


def thread_argument(n_threads: SupportsIndex | None = None) -> int:
    """Return the number of threads, 0 for the default.

    ``ValueError`` where the environment decides and holds no number: that calls on few
    elements never ask for it is no reason to let them pass.
    """
    if n_threads is None:
        if not core.is_environment_plain():
            check_environment()
        return 0
    return check_n_threads(n_threads)
