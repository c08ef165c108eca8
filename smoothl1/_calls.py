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
    if reduction == "none":
        if axis is not None:
            raise ValueError(f"axis needs a reduction, got axis={axis!r} with reduction='none'")
        values = arguments.result_array(out, operands)
        operands, overlaps = arguments.separate(out, operands)
        work = work_on(operands, arguments.memory_order(values), threads)
        work.write_values(values, overlaps)
        return values

    order, shape = _order_of_sum(axis, operands.input.shape)
    if out is not None:
        arguments.check_out(out, shape)
    work = work_on(operands, order, threads, len(shape))
    losses = reduced(work, reduction, operands.dtype, exact).reshape(shape)
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
    if reduction == "weighted_mean" and order != tuple(range(result.ndim)):
        summed = work_on(operands, None, threads)
    if divisor is None:
        divisor = _divisor(reduction, operands, summed)
    if divisor == 0:
        if reduction == "weighted_mean":
            no_elements(reduction)
        scale, divisor = 0.0, 1.0
    work.write_slopes(result, overlaps, scale, divisor)
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
        work_on(operands, order, threads).write_slopes(result, overlaps, 1.0, values=values)
        return values, result
    work = work_on(operands, None, threads)
    divisor = _divisor(reduction, operands, work)
    scale = 1.0
    if divisor == 0:
        no_elements(reduction)
        scale, divisor = 0.0, 1.0
    sums = work.write_slopes(
        result, overlaps, scale, divisor, reduction=reduction, dtype=operands.dtype
    )
    assert sums is not None  # as with every reduction
    return sums[0][0, 0], result


def _check_reduction(reduction: str, name: str, weight: object) -> str:
    if type(reduction) is not str or reduction not in arguments.REDUCTIONS:
        hint = f"{name} is the fourth argument, or a keyword"
        reduction = arguments.check_reduction(reduction, hint=hint)
    arguments.check_weighted(reduction, weight)
    return reduction


def _order_of_sum(
    axis: Axis | None, shape: tuple[int, ...]
) -> tuple[tuple[int, ...] | None, tuple[int, ...]]:
    """Return the axes, those that are kept first, and the shape of these."""
    if axis is None:
        return None, ()
    summed = sorted(arguments.normalize_axis(axis, len(shape)))
    axes, kept = list(range(len(shape))), list(shape)
    for i in reversed(summed):
        del axes[i], kept[i]
    return (*axes, *summed), tuple(kept)


def _divisor(reduction: str, operands: Operands, work: core.Work) -> float:
    """Return what the reduction divides by; ``work`` is in C order, on which its bits depend."""
    if reduction == "mean":
        mask = operands.where
        return operands.input.size if mask is None else int(np.count_nonzero(mask))
    return work.sum_weights() if reduction == "weighted_mean" else 1.0


def work_on(
    operands: Operands,
    order: tuple[int, ...] | None,
    threads: int,
    n_kept: int = 0,
    betas: list[float] | None = None,
) -> core.Work:
    """Return the work on the operands, walked in the given order of axes, or in C order."""
    threshold = operands.threshold
    beta = None if isinstance(threshold, float) else threshold
    if betas is None:
        betas = [threshold] if isinstance(threshold, float) else [0.0]
    return core.Work(
        operands.input,
        operands.target,
        betas=betas,
        huber=operands.huber,
        single=operands.dtype.itemsize < 8,
        beta=beta,
        weight=operands.weight,
        factor=operands.factor,
        where=operands.where,
        order=order,
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
    return values


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
