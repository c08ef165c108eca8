"""Losses of Dask arrays: from blocks to integers that add, and one rounding of their sum.

A graph is ``blockwise`` (blocks to the rows of ``src/exact.pxd``), ``.sum`` of integers, and one
``map_blocks`` (the rounding). No step combines anything but by ``+``. The namespace is that of the
arguments, ``dask.array`` or the separate package ``dask_array``: nothing of Dask is imported here.
"""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from smoothl1 import _arguments as arguments
from smoothl1 import _calls
from smoothl1._arguments import Operands
from smoothl1._arrays import as_mask
from smoothl1._simd import core
from smoothl1._sums import rounding
from smoothl1._typing import AnyArray, Axis
from smoothl1.sums import LossSums, make_spec

_PACKAGES = {"dask": "dask.array", "dask_array": "dask_array"}
_OPERANDS = ("input", "target", "threshold", "weight", "where", "factor")
_WORDS = {"factor": "grad_output"}  # the arguments of those that are called otherwise


@dataclass(frozen=True)
class Call:
    """What a block is to do: small, hashable in effect, and the same for all blocks."""

    arrays: tuple[str, ...]  # the operands that blocks are of, in the order of arguments
    spread: tuple[tuple[bool, ...], ...]  # of each, which axes of the loss have all of one element
    constants: tuple[tuple[str, Any], ...]  # operands that are numbers
    name: str  # the threshold's
    betas: tuple[float, ...] | None  # several thresholds, in the place of one
    dtype: str  # of the result
    working: str  # in which sums are taken
    kept: tuple[int, ...]
    reduction: str
    moments: bool  # whether the state of `LossSums` is wanted, and not what a loss needs
    n_threads: int
    divisor: float = 1.0  # of a gradient, where it is known beforehand

    @property
    def selects_array(self) -> bool:
        """Whether there is a threshold for each element."""
        return "threshold" in self.arrays

    def values(self, blocks: tuple[AnyArray, ...]) -> dict[str, Any]:
        """Return the operands by name, after a look at the shapes of the blocks."""
        self._check_shapes(blocks)
        return dict(self.constants) | dict(zip(self.arrays, blocks, strict=False))

    def operands(self, blocks: tuple[AnyArray, ...]) -> Operands:
        """Check and broadcast the blocks."""
        values = self.values(blocks)
        found = arguments.prepare(
            values["input"],
            values["target"],
            self.name,
            values.get("threshold", 1.0),
            weight=values.get("weight"),
            where=values.get("where"),
        )
        self.check_dtype(found.dtype)
        return found if self.working == self.dtype else replace(found, dtype=np.dtype(self.working))

    def check_dtype(self, found: np.dtype[Any]) -> None:
        """Raise ``TypeError`` for a block whose loss is not of the dtype that was promised."""
        if found != np.dtype(self.dtype):
            raise TypeError(
                f"a block gives a loss of {found}, the Dask arrays promise {self.dtype}; "
                "make them with the dtype that their blocks have"
            )

    def work(self, operands: Operands) -> core.Work:
        """Return the work on operands, the axes that are kept first."""
        axes = range(operands.input.ndim)
        order = (*self.kept, *(axis for axis in axes if axis not in self.kept))
        betas = list(self.betas) if self.betas is not None else None
        if self.moments:
            betas = [*(betas or []), 0.0, 0.0]
        return _calls.work_on(operands, order, self.n_threads, len(self.kept), betas)

    def empty_work(self) -> core.Work:
        """Return work of the same kind on no element, for what does not depend on any."""
        nothing = np.empty(0, self.working)
        values = dict(self.constants)
        threshold = nothing if self.selects_array else values.get("threshold", 1.0)
        operands = arguments.prepare(nothing, nothing, self.name, threshold)
        work = replace(self, kept=()).work(operands)
        core.exact_sums(work, 0, 0)
        return work

    def _check_shapes(self, blocks: tuple[AnyArray, ...]) -> None:
        """Raise ``ValueError`` for blocks that match by broadcasting alone."""
        most: dict[int, tuple[str, int]] = {}
        for name, spread, block in zip(self.arrays, self.spread, blocks, strict=False):
            shape, offset = np.shape(block), len(spread) - np.ndim(block)
            for axis, extent in enumerate(shape, offset):
                if spread[axis]:
                    continue
                first = most.setdefault(axis, (name, extent))
                if first[1] != extent:
                    raise ValueError(
                        f"blocks of {first[0]} and {name} have {first[1]} and {extent} elements "
                        f"along axis {axis}; arrays of unknown chunk sizes must have the same"
                    )


@dataclass(frozen=True)
class Plan:
    """The operands of a call on Dask arrays, ready for ``blockwise``."""

    space: Any
    call: Call
    shape: tuple[float, ...]  # nan where unknown
    pairs: tuple[Any, ...]  # arrays and their indices, in turn
    blocks: tuple[int, ...]  # along each axis
    align: bool
    dtype: np.dtype[Any]

    def blockwise(self, function: Any, out: tuple[Any, ...], ndim: int, **options: Any) -> Any:
        """Apply a function to all blocks."""
        dtype = np.dtype(options.pop("dtype", self.dtype))
        return self.space.blockwise(
            function,
            out,
            *self.pairs,
            *options.pop("more", ()),
            dtype=dtype,
            meta=np.empty((0,) * ndim, dtype),
            align_arrays=self.align,
            concatenate=True,
            call=self.call,
            **options,
        )

    def elementwise(self, function: Any, more: tuple[Any, ...] = ()) -> Any:
        """Apply a function whose result has the shape of the loss."""
        ndim = len(self.shape)
        return self.blockwise(function, tuple(range(ndim)), ndim, more=more)

    def totals(self, split_every: int | dict[int, int] | None) -> Any:
        """Return the rows of integers, summed: an axis of them behind the axes that are kept."""
        ndim = len(self.shape)
        size = self.row_size()
        reduced = tuple(axis for axis in range(ndim) if axis not in self.call.kept)
        rows = self.blockwise(
            sum_block,
            (*range(ndim), ndim),
            ndim + 1,
            dtype=np.int64,
            new_axes={ndim: size},
            adjust_chunks=dict.fromkeys(reduced, 1),
        )
        return rows.sum(axis=reduced, split_every=split_every) if reduced else rows

    def row_size(self) -> int:
        """Return the number of integers of an output."""
        work = self.call.empty_work()
        size = int(core.exact_sums(work, 0, 0).shape[1])
        layout = rounding.layout_of(self.call.working != "float64")
        return size - 2 * layout.size if self.call.moments else size


def sum_block(*blocks: AnyArray, call: Call) -> AnyArray:
    """Return the rows of a block: an axis of them behind its axes, of which the reduced are 1."""
    operands = call.operands(blocks)
    shape = operands.input.shape
    outputs = math.prod(shape[axis] for axis in call.kept)
    work = call.work(operands)
    if call.moments:
        rows = core.exact_sums(work, 0, outputs, linear=True, weights=True, moments=True)
        # The moments have no use for weights in the linear piece.
        size = rounding.layout_of(operands.dtype != np.float64).size
        last = rows.shape[1] - 3 * size
        rows = np.concatenate([rows[:, :last], rows[:, last + size : last + 2 * size]], axis=1)
    else:
        rows = core.exact_sums(work, 0, outputs, weights=call.reduction == "weighted_mean")
    kept = [extent if axis in call.kept else 1 for axis, extent in enumerate(shape)]
    return rows.reshape(*kept, rows.shape[1])


def carried(rows: AnyArray, single: bool) -> AnyArray:
    """Return rows, sums of such, as those of a single block would be."""
    layout = rounding.layout_of(single)
    digits = np.array(rows[:, 1:], np.int64, order="C")
    core.exact_carry(digits, layout.size, layout.digits)
    return np.concatenate([rows[:, :1], digits], axis=1)


def round_block(total: AnyArray, *, call: Call) -> Any:
    """Return the losses of summed rows."""
    dtype = np.dtype(call.dtype)
    flat = total.reshape(-1, total.shape[-1])
    rows = np.ascontiguousarray(carried(flat, dtype != np.float64))
    losses, empty = rounding.settled(call.empty_work(), rows, call.reduction, dtype)
    if empty:
        _calls.no_elements(call.reduction)
    if call.betas is not None:
        return losses[0]
    losses = losses[:, 0].reshape(total.shape[:-1])
    return losses[()]


def divisor_block(total: AnyArray, *, call: Call) -> Any:
    """Return what the reduction divides by."""
    single = np.dtype(call.dtype) != np.float64
    layout = rounding.layout_of(single)
    row = carried(total.reshape(1, -1), single)[0]
    number, exponent = rounding.divisor_of(call.reduction, row, layout)
    if number.special is not None:
        return np.float64(number.special)
    scaled = rounding.scaled(number.value, 1, exponent, np.dtype(np.float64))
    if scaled == 0 and call.reduction == "weighted_mean":
        _calls.no_elements(call.reduction)
    return np.float64(scaled)


def loss_block(*blocks: AnyArray, call: Call) -> Any:
    """Return the losses of blocks that hold whatever is reduced."""
    if call.reduction == "none":
        values = call.values(blocks)
        losses = _calls.loss(
            values["input"], values["target"], "none", call.name, values.get("threshold", 1.0),
            weight=values.get("weight"), where=values.get("where"), axis=None, out=None,
            exact=False, n_threads=call.n_threads or None,
        )  # fmt: skip
        call.check_dtype(losses.dtype)
        return losses
    operands = call.operands(blocks)
    losses = _calls.reduced(call.work(operands), call.reduction, operands.dtype, exact=True)[:, 0]
    return losses.reshape([operands.input.shape[axis] for axis in call.kept])[()]


def slope_block(*blocks: AnyArray, call: Call) -> AnyArray:
    """Return the gradient of a block; behind the operands there may be a divisor."""
    values = call.values(blocks)
    divisor = float(blocks[-1]) if len(blocks) > len(call.arrays) else call.divisor
    slopes = _calls.grad(
        values["input"], values["target"], "none" if call.reduction == "none" else "sum",
        call.name, values.get("threshold", 1.0), grad_output=values.get("factor"),
        weight=values.get("weight"), where=values.get("where"), out=None,
        n_threads=call.n_threads or None, divisor=divisor,
    )  # fmt: skip
    call.check_dtype(slopes.dtype)
    return slopes


def reduce_loss(plan: Plan, keepdims: bool, split_every: Any) -> Any:
    """Return the lazy loss of a plan; "none" included."""
    call, ndim = plan.call, len(plan.shape)
    if call.reduction == "none":
        return plan.elementwise(loss_block)
    reduced = [axis for axis in range(ndim) if axis not in call.kept]
    if all(plan.blocks[axis] == 1 for axis in reduced):
        # Nothing is to be merged.
        loss = plan.blockwise(loss_block, call.kept, len(call.kept))
    else:
        loss = round_lazily(plan, plan.totals(split_every))
    if keepdims:
        loss = loss[tuple(slice(None) if axis in call.kept else None for axis in range(ndim))]
    return loss


def round_lazily(plan: Plan, total: Any) -> Any:
    """Return the lazy losses of lazy sums."""
    kept = len(plan.call.kept)
    return total.map_blocks(
        round_block,
        call=plan.call,
        dtype=plan.dtype,
        drop_axis=kept,
        meta=np.empty((0,) * kept, plan.dtype),
    )


def reduce_path(plan: Plan, split_every: Any) -> Any:
    """Return the lazy losses for several thresholds."""
    assert plan.call.betas is not None
    count = len(plan.call.betas)
    return plan.totals(split_every).map_blocks(
        round_block,
        call=plan.call,
        dtype=plan.dtype,
        chunks=((count,),),
        meta=np.empty(0, plan.dtype),
    )


def differentiate(plan: Plan, split_every: Any, total: Any = None) -> Any:
    """Return the lazy gradient; ``total`` is the plan's, where that is at hand."""
    call = plan.call
    if call.reduction in ("none", "sum"):
        return plan.elementwise(slope_block)
    size = math.prod(plan.shape)
    selects = "where" in call.arrays or "where" in dict(call.constants)
    if call.reduction == "mean" and not selects and not math.isnan(size):
        return replace(plan, call=replace(call, divisor=float(size))).elementwise(slope_block)
    if total is None:
        total = plan.totals(split_every)
    divisor = total.map_blocks(
        divisor_block, call=call, dtype=np.float64, drop_axis=0, meta=np.empty(())
    )
    return plan.elementwise(slope_block, (divisor, ()))


def total_sums(
    operands: dict[str, Any],
    beta: ArrayLike,
    huber: bool,
    dtype: DTypeLike | None,
    axis: Axis | None,
    *,
    split_every: Any,
    n_threads: SupportsIndex | None,
) -> tuple[LossSums, Any, Plan]:
    """Return an empty `LossSums`, the lazy rows of such, and the plan they are of."""
    make_spec(beta, huber, np.float64)  # before anything else is looked at
    name = "delta" if huber else "beta"
    plan = make_plan(operands, name, "mean", axis=axis, working=np.dtype(np.float64), n_threads=1)
    if dtype is None:
        dtype = np.float64 if plan.dtype == np.float64 else np.float32
    like = LossSums(beta, huber=huber, dtype=dtype)
    for word in ("input", "target", "weight"):
        value = operands.get(word)
        found = np.dtype(getattr(value, "dtype", np.float32))
        if like.dtype == np.float32 and not np.can_cast(found, np.float32, "safe"):
            raise TypeError(
                f"{word} has dtype {found}, which sums in float32 would round; pass "
                f"{word}.astype(np.float32), or sum with dtype=np.float64"
            )
    thresholds = like.beta if isinstance(like.beta, tuple) else (like.beta,)
    plan = make_plan(
        operands, name, "mean", betas=thresholds, axis=axis, working=like.dtype,
        n_threads=n_threads,
    )  # fmt: skip
    return like, plan.totals(split_every), plan


def make_plan(
    operands: dict[str, Any],
    name: str,
    reduction: str,
    *,
    betas: tuple[float, ...] | None = None,
    axis: Axis | None = None,
    working: np.dtype[Any] | None = None,
    n_threads: SupportsIndex | None,
) -> Plan:
    """Check the operands of a call and bring their chunks together.

    Parameters
    ----------
    operands : dict
        By the names of ``_OPERANDS``; None for those that are not given.
    name : {"beta", "delta"}
        The threshold's.
    betas : tuple of float, optional
        Thresholds in the place of ``operands["threshold"]``.
    working : dtype, optional
        In which to take the sums of a state of `LossSums`, where such is wanted.
    """
    words = {**_WORDS, "threshold": name}
    given = {words.get(key, key): operands.get(key) for key in _OPERANDS}
    given = {word: value for word, value in given.items() if value is not None}
    space = namespace(given)
    arrays = {word: _read(space, word, value) for word, value in given.items()}
    shape = _shape_of(arrays["input"], arrays["target"])
    dtype = arguments.as_pair(_empty(arrays["input"]), _empty(arrays["target"]))[2]
    if name in given and not is_array(given[name]):
        arguments.check_threshold(name, given[name], dtype)
    elif name in given and arrays[name].ndim == 0:
        if not shape:
            raise ValueError(f"{name} must be a number where input has no axis, got a Dask array")
        arrays[name] = arrays[name][np.newaxis]  # a threshold of each element, as in its blocks
    kept: tuple[int, ...] = ()
    if reduction == "none":
        if axis is not None:
            raise ValueError(f"axis needs a reduction, got axis={axis!r} with reduction='none'")
    elif axis is not None:
        summed = arguments.normalize_axis(axis, len(shape))
        kept = tuple(each for each in range(len(shape)) if each not in summed)

    pair = (arrays["input"], arrays["target"])
    # None, if both are numbers.
    whole = next((a for a in pair if is_array(a) and a.ndim == len(shape)), None)
    constants, names, spreads = [], [], []
    pairs: list[Any] = []
    for key, word in ((key, words.get(key, key)) for key in _OPERANDS):
        if word not in arrays:
            continue
        value = arrays[word]
        if not is_array(value):
            constants.append((key, value))
            continue
        spread = _spread(word, value, shape)
        names.append(key)
        spreads.append(spread)
        pairs += [_aligned(word, value, whole, spread), tuple(range(len(shape)))[-value.ndim :]
                  if value.ndim else ()]  # fmt: skip
    lazy = pairs[::2]
    call = Call(
        arrays=tuple(names),
        spread=tuple(spreads),
        constants=tuple(constants),
        name=name,
        betas=betas,
        dtype=str(dtype),
        working=str(dtype if working is None else working),
        kept=kept,
        reduction=reduction,
        moments=working is not None,
        n_threads=arguments.thread_argument(n_threads),
    )
    blocks = [1] * len(shape)
    for each, index in zip(lazy, pairs[1::2], strict=True):
        for i, count in zip(index, each.numblocks, strict=True):
            blocks[i] = max(blocks[i], count)
    known = not any(math.isnan(extent) for each in lazy for extent in each.shape)
    return Plan(space, call, shape, tuple(pairs), tuple(blocks), known, dtype)


def namespace(given: dict[str, Any]) -> Any:
    """Return the module of the Dask arrays among some arguments; ``TypeError`` for none."""
    found: dict[str, Any] = {}
    for word, value in given.items():
        space = _space_of(value)
        if space is not None:
            found.setdefault(space.__name__, space)
        elif (
            callable(getattr(value, "__dask_graph__", None)) and value.__dask_graph__() is not None
        ):
            kind = f"{type(value).__module__}.{type(value).__qualname__}"
            raise TypeError(
                f"{word} is a lazy collection ({kind}) but no Dask array; of a DataFrame pass "
                f"{word}.to_dask_array() or use smoothl1.dask.evaluate, of xarray {word}.data or "
                "smoothl1.dask.evaluate_xarray"
            )
    if not found:
        kinds = ", ".join(f"{word}: {type(value).__qualname__}" for word, value in given.items())
        raise TypeError(
            f"no argument is a Dask array ({kinds}); the functions of smoothl1 itself take others"
        )
    if len(found) > 1:
        raise TypeError(f"arrays of {' and '.join(sorted(found))} cannot be mixed; convert some")
    return next(iter(found.values()))


def is_array(value: Any) -> bool:
    """Whether it is a Dask array, of whichever package."""
    return _space_of(value) is not None


def _space_of(value: Any) -> ModuleType | None:
    if not hasattr(value, "__dask_graph__"):
        return None
    for base in type(value).__mro__:
        space = sys.modules.get(_PACKAGES.get(base.__module__.partition(".")[0], ""))
        if space is not None and isinstance(value, space.Array):
            return space
    return None


def _empty(value: Any) -> Any:
    """Return what has the dtype and the dimensions of a Dask array, and no element."""
    return np.empty((0,) * value.ndim, value.dtype) if is_array(value) else value


def _read(space: Any, word: str, value: Any) -> Any:
    """Return an operand as a Dask array; as it is, if it is a number."""
    empty = _empty(value)
    array = (as_mask if word == "where" else arguments.as_array)(word, empty)
    if is_array(value) or array.ndim == 0:
        return value
    return space.asarray(array)


def _shape_of(x: Any, y: Any) -> tuple[float, ...]:
    """Return the shape of the loss, nan for axes of unknown length."""
    first, second = (each.shape if is_array(each) else () for each in (x, y))
    if not (first and second):
        return tuple(first or second)
    if len(first) != len(second) or any(
        a != b and not math.isnan(a) and not math.isnan(b)
        for a, b in zip(first, second, strict=True)
    ):
        raise ValueError(f"input and target must have the same shape, got {first} and {second}")
    return tuple(first)


def _spread(word: str, value: Any, shape: tuple[float, ...]) -> tuple[bool, ...]:
    """Return which axes of the loss an operand has no elements of its own along."""
    if value.ndim == 0 or word in ("input", "target"):
        return (value.ndim == 0,) * len(shape)
    own = value.shape
    missing = len(shape) - len(own)
    spread = [True] * missing
    for extent, wanted in zip(own, shape[missing:], strict=False) if missing >= 0 else ():
        spread.append(extent == 1 != wanted)
        if not (spread[-1] or extent == wanted or math.isnan(extent) or math.isnan(wanted)):
            missing = -1
    if missing < 0:
        raise ValueError(f"{word} must broadcast to the shape of input, {shape}, got shape {own}")
    return tuple(spread)


def _aligned(word: str, value: Any, whole: Any, spread: tuple[bool, ...]) -> Any:
    """Return an operand with the chunks of ``whole``, if these are unknown to Dask."""
    if whole is None or not any(math.isnan(n) for each in (value, whole) for n in each.shape):
        return value
    missing = whole.ndim - value.ndim
    chunks = {}
    for axis in range(value.ndim):
        if spread[missing + axis]:
            continue
        own, theirs = value.chunks[axis], whole.chunks[missing + axis]
        if not (math.isnan(sum(own)) or math.isnan(sum(theirs))):
            chunks[axis] = theirs
        elif len(own) != len(theirs):
            raise ValueError(
                f"{word} has {len(own)} blocks along axis {missing + axis}, where there are "
                f"{len(theirs)} of unknown sizes; call compute_chunk_sizes() first"
            )
    return value.rechunk(chunks) if any(value.chunks[a] != c for a, c in chunks.items()) else value
