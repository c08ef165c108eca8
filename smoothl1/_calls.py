"""From checked arguments to the compiled core: one loss, or one gradient.

What the functions of `functional.py` have in common behind their signatures. The order of the
axes decides the bits of a sum, so it is C order for every sum; for what is written element by
element it decides only the time, so it is the order in memory.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from smoothl1 import _arguments as arguments
from smoothl1._arguments import Operands
from smoothl1._arrays import rounded
from smoothl1._labels import check_labels
from smoothl1._simd import core
from smoothl1._sums import rounding
from smoothl1._typing import AnyArray, Axis, Loss


def loss(
    input: ArrayLike,
    target: ArrayLike,
    reduction: str,
    name: str,
    threshold: ArrayLike,
    *,
    weight: ArrayLike | None,
    where: ArrayLike | None,
    axis: Axis | None,
    out: AnyArray | None,
    exact: bool,
    n_threads: SupportsIndex | None,
) -> Loss:
    """Return the loss; ``name`` is the threshold's, "beta" or "delta", and selects it."""
    reduction = _check_reduction(reduction, name, weight)
    threads = arguments.thread_argument(n_threads)
    operands = arguments.prepare(input, target, name, threshold, weight=weight, where=where)
    shape = operands.input.shape
    if reduction == "none":
        if axis is not None:
            raise ValueError(f"axis needs a reduction, got axis={axis!r} with reduction='none'")
        values = arguments.result_array(out, operands)
        operands, overlaps = arguments.separate(out, operands)
        order = arguments.memory_order(values)
        work_on(operands, order, threads).write_values(values.transpose(order), overlaps)
        return values

    axes = range(len(shape))
    summed = tuple(axes) if axis is None else arguments.normalize_axis(axis, len(shape))
    kept = tuple(axis for axis in axes if axis not in summed)
    if out is not None:
        arguments.check_out(out, tuple(shape[axis] for axis in kept))
    work = work_on(operands, kept + tuple(sorted(summed)), threads, len(kept))
    losses = reduced(work, reduction, operands.dtype, exact)[:, 0]
    losses = losses.reshape([shape[axis] for axis in kept])
    if out is not None:
        out[...] = rounded(losses, out.dtype)
        return out
    return losses if axis is not None else losses[()]


def grad(
    input: ArrayLike,
    target: ArrayLike,
    reduction: str,
    name: str,
    threshold: ArrayLike,
    *,
    grad_output: ArrayLike | None,
    weight: ArrayLike | None,
    where: ArrayLike | None,
    out: AnyArray | None,
    n_threads: SupportsIndex | None,
    divisor: float | None = None,
) -> AnyArray:
    """Return the gradient; ``divisor`` takes the place of what the reduction divides by."""
    reduction = _check_reduction(reduction, name, weight)
    threads = arguments.thread_argument(n_threads)
    scale, factor = 1.0, None
    if grad_output is not None:
        check_labels(("input", "target", "grad_output"), (input, target, grad_output))
        factor = arguments.as_array("grad_output", grad_output)
        if factor.ndim == 0:
            scale, factor = float(factor), None
        elif reduction != "none":
            raise ValueError(
                f"grad_output must be a scalar for reduction={reduction!r}, "
                f"got shape {factor.shape}"
            )
    operands = arguments.prepare(
        input, target, name, threshold, weight=weight, where=where, factor=factor
    )
    result = arguments.result_array(out, operands)
    operands, overlaps = arguments.separate(out, operands)
    order = arguments.memory_order(result)
    work = work_on(operands, order, threads)
    summed = work
    if reduction == "weighted_mean" and order != _c_order(operands):
        summed = work_on(operands, _c_order(operands), threads)
    if divisor is None:
        divisor = _divisor(reduction, operands, summed)
    if divisor == 0:
        if reduction == "weighted_mean":
            no_elements(reduction)
        scale, divisor = 0.0, 1.0
    work.write_slopes(result.transpose(order), overlaps, scale, divisor)
    return result


def value_and_grad(
    input: ArrayLike,
    target: ArrayLike,
    reduction: str,
    name: str,
    threshold: ArrayLike,
    *,
    weight: ArrayLike | None,
    where: ArrayLike | None,
    out: AnyArray | None,
    n_threads: SupportsIndex | None,
) -> tuple[Loss, AnyArray]:
    """Return loss and gradient."""
    reduction = _check_reduction(reduction, name, weight)
    threads = arguments.thread_argument(n_threads)
    operands = arguments.prepare(input, target, name, threshold, weight=weight, where=where)
    result = arguments.result_array(out, operands)
    operands, overlaps = arguments.separate(out, operands)
    if reduction == "none":
        order = arguments.memory_order(result)
        values = np.empty_like(np.asarray(result), dtype=operands.dtype)
        work_on(operands, order, threads).write_slopes(
            result.transpose(order), overlaps, 1.0, values=values.transpose(order)
        )
        return values, result
    work = work_on(operands, _c_order(operands), threads)
    divisor = _divisor(reduction, operands, work)
    scale = 1.0
    if divisor == 0:
        no_elements(reduction)
        scale, divisor = 0.0, 1.0
    sums = work.write_slopes(result, overlaps, scale, divisor, reduction=reduction)
    assert sums is not None  # as with every reduction
    return rounded(sums[0], operands.dtype)[0, 0], result


def _check_reduction(reduction: str, name: str, weight: object) -> str:
    hint = f"{name} is the fourth argument, or a keyword"
    reduction = arguments.check_reduction(reduction, hint=hint)
    arguments.check_weighted(reduction, weight)
    return reduction


def _c_order(operands: Operands) -> tuple[int, ...]:
    return tuple(range(operands.input.ndim))


def _divisor(reduction: str, operands: Operands, work: core.Work) -> float:
    """Return what the reduction divides by; ``work`` is in C order, on which its bits depend."""
    if reduction == "mean":
        mask = operands.where
        return operands.input.size if mask is None else int(np.count_nonzero(mask))
    return work.sum_weights() if reduction == "weighted_mean" else 1.0


def work_on(
    operands: Operands,
    order: tuple[int, ...],
    threads: int,
    n_kept: int = 0,
    betas: list[float] | None = None,
) -> core.Work:
    """Return the work on the operands, walked in the given order of axes."""
    threshold = operands.threshold
    if betas is None:
        betas = [threshold] if isinstance(threshold, float) else [0.0]

    def walked(a: AnyArray | None) -> AnyArray | None:
        return None if a is None else a.transpose(order)

    return core.Work(
        operands.input.transpose(order),
        operands.target.transpose(order),
        betas=betas,
        huber=operands.huber,
        single=operands.dtype != np.float64,
        beta=walked(None if isinstance(threshold, float) else threshold),
        weight=walked(operands.weight),
        factor=walked(operands.factor),
        where=walked(operands.where),
        n_kept=n_kept,
        n_threads=threads,
    )


def reduced(work: core.Work, reduction: str, dtype: np.dtype[Any], exact: bool = False) -> AnyArray:
    """Sum, rounded to the dtype of the result; warn or raise where there is nothing.

    Of shape (outputs, thresholds).
    """
    if exact:
        values, empty = rounding.reduced(work, reduction, dtype)
    else:
        values, empty = work.sum(reduction, dtype)
    if empty:
        no_elements(reduction)
    result: AnyArray = rounded(values, dtype)
    return result


def no_elements(reduction: str) -> None:
    if reduction == "mean":
        warnings.warn("mean of no elements is nan", RuntimeWarning, stacklevel=_outside())
    elif reduction == "weighted_mean":
        raise ValueError("weight must not sum to 0 for reduction='weighted_mean'")


def _outside() -> int:
    """Return the ``stacklevel`` of the first caller outside of this package."""
    level = 1
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("smoothl1"):
        frame = frame.f_back
        level += 1
    return level
