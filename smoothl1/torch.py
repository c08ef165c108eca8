"""The losses on PyTorch's CPU tensors, with autograd; it needs PyTorch.

Tensors are seen as NumPy arrays that share their memory. What this package has no kernels for goes
to PyTorch's own functions: other devices, dtypes and layouts, subclasses of tensors, no elements,
thresholds at the ends of the range.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

try:
    import torch
except ImportError as error:
    raise ImportError("smoothl1.torch needs PyTorch: pip install 'smoothl1[torch]'") from error
if torch.__version__ < (2, 4):  # before any of its names that older versions lack
    raise ImportError(
        f"smoothl1.torch needs PyTorch 2.4 or newer, and {torch.__version__} is installed: "
        "pip install --upgrade 'smoothl1[torch]'"
    )

from torch import Tensor
from torch.autograd import forward_ad
from torch.nn import functional as theirs
from torch.overrides import handle_torch_function, has_torch_function_variadic

from smoothl1 import functional as ours
from smoothl1._simd import core
from smoothl1._typing import AnyArray

__all__ = ["HuberLoss", "SmoothL1Loss", "huber_loss", "smooth_l1_loss"]

_TYPES = (Tensor, torch.nn.Parameter)
_DTYPES = (torch.float32, torch.float64)
_STRIDED = torch.strided
_SMALLEST = float(np.finfo(np.float32).tiny)
_LARGEST = float(np.finfo(np.float32).max)
_SMALL = 2**17  # elements, whose gradient may be kept beside as many losses
_IN_CACHE = 2**20  # elements: another pass over as many costs less than a factor in the kernel
_LARGE = 2**20  # bytes, from which on a result is in memory of NumPy, not of PyTorch

# The compilers before may not know a function whose context is set up apart, that of 2.4 does not.
_COMPILED = torch.__version__ >= (2, 13)

# Asked before every call. PyTorch has no public names for them.
_transforms = torch._C._are_functorch_transforms_active
_modes = torch._C._len_torch_dispatch_stack
_is_tracing = torch._C._is_tracing
_is_batched = torch._C._functorch.is_legacy_batchedtensor
_unwrapped = torch._C._functorch.unwrap_if_dead

# To look up a name of a name takes time.
_is_compiling = torch.compiler.is_compiling
_is_grad_enabled = torch.is_grad_enabled
_n_threads = torch.get_num_threads

# Of the loss and of Huber's: the loss, its gradient, and both.
_FUNCTIONS: tuple[tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]], ...] = (
    (ours.smooth_l1_loss, ours.smooth_l1_grad, ours.smooth_l1_value_and_grad),
    (ours.huber_loss, ours.huber_grad, ours.huber_value_and_grad),
)


def smooth_l1_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    beta: float = 1.0,
    *,
    weight: Tensor | None = None,
) -> Tensor:
    """`torch.nn.functional.smooth_l1_loss`, with weights; faster where tensors are large.

    Parameters
    ----------
    input, target : Tensor
        Broadcast against each other, with a ``UserWarning`` if their shapes differ. CPU tensors
        of one dtype, float32 or float64, are read in place, whatever their strides; others go to
        PyTorch's function.
    reduction : {"mean", "sum", "none"}, default="mean"
        "mean" divides by the number of elements, with or without weights.
    beta : float, default=1.0
        Threshold, >= 0; 0 is the L1 loss.
    weight : Tensor, optional
        Factors of the unreduced loss, of the size of `input`.

    Returns
    -------
    Tensor
        Differentiable with respect to `input`, `target` and `weight`, any number of times.

    Raises
    ------
    RuntimeError, ValueError, TypeError
        Those of PyTorch's function.

    Warns
    -----
    UserWarning
        For shapes that differ.

    See Also
    --------
    smoothl1.smooth_l1_loss : the same on NumPy arrays, and the formula.

    Notes
    -----
    Where a gradient will be asked for, it is computed with the value, in one pass over memory;
    ``backward`` multiplies it in place by what comes in, unless that is 1. With "none" it is
    computed in ``backward`` where tensors are large. The number of threads is
    ``torch.get_num_threads()``, and changes no bit of a result.

    At ``beta=0`` the gradient of a NaN is NaN; that of PyTorch is 0.

    Examples
    --------
    >>> import torch
    >>> from smoothl1.torch import smooth_l1_loss
    >>> input = torch.tensor([1.0, 4.0], requires_grad=True)
    >>> loss = smooth_l1_loss(input, torch.tensor([1.5, 0.0]))
    >>> loss.item()
    1.8125
    >>> loss.backward()
    >>> input.grad
    tensor([-0.2500,  0.5000])
    """
    if has_torch_function_variadic(input, target, weight) and _all_plain(input, target, weight):
        # Of a mode: torch.device as a context is one.
        return handle_torch_function(
            smooth_l1_loss, (input, target), input, target,
            reduction=reduction, beta=beta, weight=weight,
        )  # fmt: skip
    return _loss(input, target, weight, reduction, beta, False)


def huber_loss(
    input: Tensor,
    target: Tensor,
    reduction: str = "mean",
    delta: float = 1.0,
    *,
    weight: Tensor | None = None,
) -> Tensor:
    """`torch.nn.functional.huber_loss`, faster where tensors are large.

    Parameters
    ----------
    input, target, reduction, weight
        As for `smooth_l1_loss`.
    delta : float, default=1.0
        Threshold, > 0.

    Returns
    -------
    Tensor
        As for `smooth_l1_loss`.

    Raises
    ------
    RuntimeError, ValueError, TypeError
        Those of PyTorch's function.

    Warns
    -----
    UserWarning
        For shapes that differ.

    See Also
    --------
    smoothl1.huber_loss : the same on NumPy arrays, and the formula.

    Examples
    --------
    >>> import torch
    >>> from smoothl1.torch import huber_loss
    >>> huber_loss(torch.tensor([8.0, 1.0]), torch.zeros(2), "none", delta=2.0)
    tensor([14.0000,  0.5000])
    """
    if has_torch_function_variadic(input, target, weight) and _all_plain(input, target, weight):
        return handle_torch_function(
            huber_loss, (input, target), input, target,
            reduction=reduction, delta=delta, weight=weight,
        )  # fmt: skip
    return _loss(input, target, weight, reduction, delta, True)


class _Module(torch.nn.Module):  # type: ignore[misc]
    """What both have in common: a reduction, and that they show what they hold."""

    __constants__ = ("reduction",)

    def __init__(self, reduction: str) -> None:
        super().__init__()
        self.reduction = reduction


class SmoothL1Loss(_Module):
    """`torch.nn.SmoothL1Loss` by `smooth_l1_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default="mean"
    beta : float, default=1.0
        Threshold, >= 0.

    See Also
    --------
    smooth_l1_loss : the rules for arguments.

    Examples
    --------
    >>> import torch
    >>> from smoothl1.torch import SmoothL1Loss
    >>> loss = SmoothL1Loss(beta=0.5)
    >>> loss
    SmoothL1Loss(reduction='mean', beta=0.5)
    >>> loss(torch.tensor([1.0, 3.0]), torch.tensor([1.25, 1.0])).item()
    0.90625
    """

    def __init__(self, reduction: str = "mean", beta: float = 1.0) -> None:
        super().__init__(reduction)
        self.beta = beta

    def forward(self, input: Tensor, target: Tensor, *, weight: Tensor | None = None) -> Tensor:
        """Return the loss."""
        return smooth_l1_loss(input, target, self.reduction, self.beta, weight=weight)

    def extra_repr(self) -> str:
        """Return the parameters as they stand in the repr."""
        return f"reduction={self.reduction!r}, beta={self.beta!r}"


class HuberLoss(_Module):
    """`torch.nn.HuberLoss` by `huber_loss`.

    Parameters
    ----------
    reduction : {"mean", "sum", "none"}, default="mean"
    delta : float, default=1.0
        Threshold, > 0.

    Raises
    ------
    TypeError
        For a `delta` that is no number.

    See Also
    --------
    huber_loss : the rules for arguments.

    Examples
    --------
    >>> import torch
    >>> from smoothl1.torch import HuberLoss
    >>> HuberLoss("sum", delta=2.0)(torch.tensor([8.0, 1.0]), torch.zeros(2)).item()
    14.5
    """

    def __init__(self, reduction: str = "mean", delta: float = 1.0) -> None:
        if not isinstance(delta, float | int):
            raise TypeError(f"delta must be a float or int, got: {type(delta)}")
        super().__init__(reduction)
        self.delta = delta

    def forward(self, input: Tensor, target: Tensor, *, weight: Tensor | None = None) -> Tensor:
        """Return the loss."""
        return huber_loss(input, target, self.reduction, self.delta, weight=weight)

    def extra_repr(self) -> str:
        """Return the parameters as they stand in the repr."""
        return f"reduction={self.reduction!r}, delta={self.delta!r}"


# ---------------------------------------------------------------------------
# Who computes it
# ---------------------------------------------------------------------------


def _loss(
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    reduction: str,
    threshold: float,
    huber: bool,
) -> Tensor:
    eager = _eager()
    if eager and weight is None:
        found = _quick(x, y, reduction, threshold, huber, _is_grad_enabled(), _n_threads())
        if found is not None:
            if found[2]:
                return _apply(x, y, None, (reduction, float(threshold), huber), found)
            return found[0]
    if not _all_plain(x, y, weight):
        return _their_loss(x, y, weight, reduction, threshold, huber)
    shape = x.shape
    if shape != y.shape:
        warnings.warn(
            f"Using a target size ({y.shape}) that is different to the input size ({shape}). "
            "This will likely lead to incorrect results due to broadcasting. "
            "Please ensure they have the same size.",
            stacklevel=3,
        )
        x, y = torch.broadcast_tensors(x, y)
    if weight is not None and weight.shape != x.shape:
        if weight.shape != shape:
            raise ValueError("Weights and input must have the same size.")
        weight = weight.expand(x.shape)
    if not (
        _readable(x, y, weight)
        and type(reduction) is str
        and reduction in ("mean", "sum", "none")
        and type(threshold) in (float, int)
        and (_SMALLEST <= threshold <= _LARGEST or (threshold == 0 and not huber))
    ):
        return _their_loss(x, y, weight, reduction, threshold, huber)
    options = reduction, float(threshold), huber
    if not eager:
        # PyTorch takes the tangents that a function like ours returns for constants, and what is
        # wrapped by a transform does not always say that it requires a gradient.
        if weight is not None or _forward_mode():
            return _composed(x, y, weight, *options)
        if _is_compiling() and not _COMPILED:
            return _their_loss(x, y, weight, *options)
        return _Traced.apply(x, y, weight, *options, 0)[0]
    if _is_grad_enabled():
        if weight is not None and weight.requires_grad:
            return _their_loss(x, y, weight, *options)
        if x.requires_grad or y.requires_grad:
            try:
                return _apply(x, y, weight, options, None)
            except RuntimeError:
                if _unwrapped(x) is x and _unwrapped(y) is y:
                    raise
            # A transform that is over has left its wrapper behind, which has no memory.
            return _apply(_unwrapped(x), _unwrapped(y), weight, options, None)
    return _results(_unwrapped(x), _unwrapped(y), weight, *options, False)[0]


def _all_plain(x: object, y: object, weight: object) -> bool:
    """Whether all are tensors, and of no subclass."""
    return type(x) in _TYPES and type(y) in _TYPES and (weight is None or type(weight) in _TYPES)


def _readable(x: Tensor, y: Tensor, weight: Tensor | None) -> bool:
    """Whether NumPy sees the values of all in one dtype that there are kernels for."""
    dtype = x.dtype
    return (
        dtype in _DTYPES
        and y.dtype is dtype
        and _in_memory(x)
        and _in_memory(y)
        and (weight is None or (weight.dtype is dtype and _in_memory(weight)))
        and x.numel() > 0
    )


def _in_memory(tensor: Tensor) -> bool:
    return tensor.is_cpu and tensor.layout is _STRIDED


def _forward_mode() -> bool:
    level: int = forward_ad._current_level
    return level >= 0


def _eager() -> bool:
    """Whether nobody but autograd's ``backward`` watches what is done with the tensors."""
    return not (
        _is_compiling()
        or _transforms()
        or _modes() > 0
        or _is_tracing()
        or forward_ad._current_level >= 0
    )


def _holds_values(factor: Tensor) -> bool:
    """Whether a gradient is no subclass, nor several (``is_grads_batched`` of autograd)."""
    return type(factor) is Tensor and not _is_batched(factor)


def _their_loss(
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    reduction: str,
    threshold: float,
    huber: bool,
) -> Tensor:
    """Return the loss by PyTorch's own functions, of which not all versions take weights."""
    function, name = (theirs.huber_loss, "delta") if huber else (theirs.smooth_l1_loss, "beta")
    options: dict[str, Any] = {name: threshold}
    if weight is None:
        return function(x, y, reduction=reduction, **options)
    if weight.size() != x.size():
        raise ValueError("Weights and input must have the same size.")
    return _reduced(function(x, y, reduction="none", **options) * weight, reduction)


def _composed(
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    reduction: str,
    threshold: float,
    huber: bool,
) -> Tensor:
    """Return the loss by operations that have every derivative, which PyTorch's loss lacks."""
    residuals = x - y
    if threshold:
        quadratic = residuals.abs() < threshold
        slopes = torch.where(quadratic, residuals, threshold * residuals.sign())
        values = slopes * (residuals - 0.5 * slopes)
        if not huber:
            values = values / threshold
    else:
        values = residuals.abs()
    return _reduced(values if weight is None else values * weight, reduction)


def _reduced(values: Tensor, reduction: str) -> Tensor:
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    if reduction == "mean":
        return values.mean()
    raise ValueError(f"Invalid reduction mode: {reduction}. Expected one of 'none', 'mean', 'sum'.")


# ---------------------------------------------------------------------------
# The kernels, on the memory of tensors
# ---------------------------------------------------------------------------


def _call(
    function: Callable[..., Any],
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    reduction: str,
    threshold: float,
    **options: Any,
) -> Any:
    return function(
        _array(x), _array(y), reduction, threshold,
        weight=None if weight is None else _array(weight),
        n_threads=torch.get_num_threads(), **options,
    )  # fmt: skip


def _array(tensor: Tensor) -> AnyArray:
    # There are views whose sign is yet to be changed, as the imaginary part of a conjugate, and
    # zeros without memory.
    zeros = tensor._is_zerotensor()
    if tensor.numel() and not zeros and tensor.data_ptr() == 0:
        raise RuntimeError(
            f"a tensor of shape {tuple(tensor.shape)} has no memory: its storage was freed; "
            "resize the storage, and fill it, before the loss"
        )
    if zeros:  # of some versions (2.6) its array is of numbers that lie anywhere
        tensor = torch.zeros(tensor.shape, dtype=tensor.dtype, device="cpu")
    array: AnyArray = tensor.numpy(force=True)
    return array


def _tensor(result: AnyArray | np.floating[Any]) -> Tensor:
    return torch.from_numpy(np.asarray(result))


def _large_like(x: Tensor) -> Tensor:
    """Return memory of the size of a contiguous tensor.

    NumPy asks for large pages, and for no boundary: memory that was freed fits the next step,
    where that of PyTorch often goes back to the system, to be mapped anew.
    """
    return torch.from_numpy(np.empty(x.shape, np.float32 if x.dtype is torch.float32 else float))


def _tensors(large: int, kept: int) -> Any:
    """Return what knows the losses of contiguous tensors without weights.

    They take this quick way, since arrays of so short a life would take as long as thousands of
    elements. PyTorch before 2.10 does not show tensors to C: there all go by arrays.
    """
    return core.Tensors(
        _TYPES,
        tuple(torch.zeros((), dtype=dtype, device="cpu") for dtype in _DTYPES),
        torch.empty_like,  # takes less time than NumPy, and begins where a line of the caches does
        _large_like,
        large,
        kept,
    )


_quick = _tensors(_LARGE, _SMALL).loss
_number_of = _tensors(_LARGE, _SMALL).number


def _results(
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    reduction: str,
    threshold: float,
    huber: bool,
    grad_too: bool,
) -> tuple[Tensor, Tensor | None]:
    """Return the loss and, with ``grad_too``, its gradient with respect to x."""
    operands = x, y, weight, reduction, threshold
    loss, grad, both = _FUNCTIONS[huber]
    if not grad_too:
        return _tensor(_call(loss, *operands)), None
    if reduction == "none":
        return _tensor(_call(loss, *operands)), _tensor(_call(grad, *operands))
    value, slope = _call(both, *operands)
    return _tensor(value), _tensor(slope)


class _Loss(torch.autograd.Function):  # type: ignore[misc]
    """The loss, and ``backward`` of a graph that is run as it stands.

    The gradient of a reduced loss is kept beside the graph rather than in it: the first
    ``backward`` takes it away and multiplies it in place, and autograd can make it ``.grad``
    without a copy, since nobody else holds it.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        y: Tensor,
        weight: Tensor | None,
        options: tuple[str, float, bool],
        found: tuple[Tensor, Tensor | None, bool] | None,
    ) -> Tensor:
        # Each argument, and each tensor that is saved, takes time.
        if weight is None:
            ctx.save_for_backward(x, y)
        else:
            ctx.save_for_backward(x, y, weight)
        ctx.options = options
        if found is None:
            if not ctx.needs_input_grad[0]:
                x, y = y, x  # the gradient is the negative
            grad_too = options[0] != "none" or x.numel() <= _SMALL
            value, slope = _results(x, y, weight, *options, grad_too)
        else:
            value, slope, _ = found
        if slope is not None:
            ctx.slope = slope
        return value

    @staticmethod
    def backward(ctx: Any, factor: Tensor) -> tuple[Tensor | None, ...]:
        of_input, of_target, *_ = ctx.needs_input_grad
        scale = _number_of(factor)
        if _is_grad_enabled() or not _eager() or not (scale is not None or _holds_values(factor)):
            slope = _Traced.apply(*_saved(ctx), *ctx.options, 0)[1]
            grad = factor * slope
            return grad, -grad if of_target else None, None, None, None
        grad = vars(ctx).pop("slope", None)
        if scale is None:
            scale = _scale(factor)
        if grad is None:  # not reduced and not small, or not the first time
            grad, scaled = _slope_again(ctx, factor, scale)
        else:
            scaled = False
        if scale != 1.0 and not scaled:
            grad.mul_(factor)
        if not of_input:
            return None, grad, None, None, None
        return grad, -grad if of_target else None, None, None, None


def _scale(factor: Tensor) -> float | None:
    """Return the number that all elements are, as those of a gradient from ``sum``, or None."""
    if factor.dim() and any(factor.stride()):
        return None
    scale: float = factor.as_strided((), ()).item()
    return scale


def _saved(ctx: Any) -> tuple[Tensor, Tensor, Tensor | None]:
    saved = ctx.saved_tensors
    return saved if len(saved) == 3 else (*saved, None)


def _slope_again(ctx: Any, factor: Tensor, scale: float | None) -> tuple[Tensor, bool]:
    """Return the gradient with respect to the operand, and whether it is multiplied already."""
    x, y, weight = _saved(ctx)
    if not ctx.needs_input_grad[0]:
        x, y = y, x
    reduction, threshold, huber = ctx.options
    options: dict[str, Any] = {}
    if scale != 1.0 and factor.numel() > _IN_CACHE:
        options["grad_output"] = _array(factor) if scale is None else scale
    slope = _call(_FUNCTIONS[huber][1], x, y, weight, reduction, threshold, **options)
    return torch.from_numpy(slope), bool(options)


# What comes between, `Function.apply` does for transforms and for defaults of arguments: there are
# neither, and it takes two microseconds.
_apply = super(torch.autograd.Function, _Loss).apply


# So is what comes before ``backward``: to find it, among others.
_Loss._backward_cls.apply = _Loss.backward


class _Traced(torch.autograd.Function):  # type: ignore[misc]
    """Loss and gradient, both differentiable, for graphs that are transformed or compiled.

    ``kept`` leading axes are not reduced; `torch.func.vmap` adds them.
    """

    @staticmethod
    def forward(
        x: Tensor,
        y: Tensor,
        weight: Tensor | None,
        reduction: str,
        threshold: float,
        huber: bool,
        kept: int,
    ) -> tuple[Tensor, Tensor]:
        both: tuple[Tensor, Tensor] = torch.ops.smoothl1.value_and_grad(
            x, y, weight, reduction, threshold, huber, kept
        )
        return both

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
        x, y, weight, reduction, threshold, huber, kept = inputs
        ctx.save_for_backward(x, y, weight, output[1])
        ctx.options = reduction, threshold, huber, kept
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(
        ctx: Any, by_value: Tensor | None, by_slope: Tensor | None
    ) -> tuple[Tensor | None, ...]:
        x, y, weight, slope = ctx.saved_tensors
        grad = None
        if by_value is not None:
            grad = _over_elements(by_value, slope) * slope
        if by_slope is not None:
            second = by_slope * _curvature(x, y, weight, *ctx.options)
            grad = second if grad is None else grad + second
        opposite = -grad if grad is not None and ctx.needs_input_grad[1] else None
        return grad, opposite, None, None, None, None, None

    @staticmethod
    def vmap(
        info: Any,
        in_dims: tuple[int | None, ...],
        x: Tensor,
        y: Tensor,
        weight: Tensor | None,
        reduction: str,
        threshold: float,
        huber: bool,
        kept: int,
    ) -> tuple[tuple[Tensor, Tensor], tuple[int, int]]:
        operands = [
            tensor
            if tensor is None
            else tensor.expand(info.batch_size, *tensor.shape)
            if axis is None
            else tensor.movedim(axis, 0)
            for tensor, axis in zip((x, y, weight), in_dims[:3], strict=True)
        ]
        return _Traced.apply(*operands, reduction, threshold, huber, kept + 1), (0, 0)


def _over_elements(reduced: Tensor, elements: Tensor) -> Tensor:
    """Return what there is for each kept axis as a factor of elements."""
    return reduced.reshape(reduced.shape + (1,) * (elements.dim() - reduced.dim()))


def _curvature(
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    reduction: str,
    threshold: float,
    huber: bool,
    kept: int,
) -> Tensor:
    """Return the second derivative with respect to `input`, which has no derivative itself."""
    scale = 1.0 if huber else 1.0 / threshold if threshold else 0.0
    if reduction == "mean":
        scale /= math.prod(x.shape[kept:])
    curvature = ((x - y).abs() < threshold).to(x.dtype) * scale
    return curvature if weight is None else curvature * weight


def _value_and_grad(
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    reduction: str,
    threshold: float,
    huber: bool,
    kept: int,
) -> tuple[Tensor, Tensor]:
    loss, grad, both = _FUNCTIONS[huber]
    shape = x.shape
    if kept == len(shape):
        reduction = "none"
    with torch.no_grad():
        out = np.empty(shape, _array(x).dtype)
        operands = x, y, weight
        if out.size == 0:  # a batch of none
            value = np.empty(shape if reduction == "none" else shape[:kept], out.dtype)
        elif kept == 0 or reduction == "none":
            value = _call(both, *operands, reduction, threshold, out=out)[0]
        else:
            value = _call(
                loss, *operands, reduction, threshold, axis=tuple(range(kept, len(shape)))
            )
            scale = 1.0 / math.prod(shape[kept:]) if reduction == "mean" else 1.0
            _call(grad, *operands, "sum", threshold, grad_output=scale, out=out)
        return _tensor(value), _tensor(out)


def _shapes_of_both(
    x: Tensor,
    y: Tensor,
    weight: Tensor | None,
    reduction: str,
    threshold: float,
    huber: bool,
    kept: int,
) -> tuple[Tensor, Tensor]:
    shape = x.shape
    return x.new_empty(shape if reduction == "none" else shape[:kept]), x.new_empty(shape)


_library = torch.library.Library("smoothl1", "DEF")
_library.define(
    "value_and_grad(Tensor input, Tensor target, Tensor? weight, str reduction, float threshold, "
    "bool huber, int kept) -> (Tensor, Tensor)"
)
_library.impl("value_and_grad", _value_and_grad, "CPU")
torch.library.register_fake("smoothl1::value_and_grad", _shapes_of_both, lib=_library)
