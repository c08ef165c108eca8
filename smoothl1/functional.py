"""The functions of the public interface.

Each hands plain arrays straight to the compiled core (``core.fast_...``, which returns
None for anything else) and goes the general way otherwise: the arguments are checked
(``smoothl1/_arguments.py``), then ``core.Work`` runs. No arithmetic happens here; the
kernels of single elements are in ``src/kernels.pxd``, those of sums in ``src/groups.pxd``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike

from smoothl1 import _arguments as arguments
from smoothl1 import _calls
from smoothl1._simd import core
from smoothl1._threads import number_in_environment
from smoothl1._typing import AnyArray, Axis, Loss, Reduction


def _checked(fast: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``fast``, which looks at the environment for large arrays only.

    If that holds no number of threads at the import, it is looked at before each call.
    """
    try:
        number_in_environment()
    except ValueError:
        return lambda *args: (arguments.thread_argument(args[-1]), fast(*args))[1]
    return fast


_fast_loss = _checked(core.fast_loss)
_fast_value_and_grad = _checked(core.fast_value_and_grad)


def smooth_l1_loss(
    input: ArrayLike,
    target: ArrayLike,
    reduction: Reduction = "mean",
    beta: ArrayLike = 1.0,
    *,
    weight: ArrayLike | None = None,
    where: ArrayLike | None = None,
    axis: Axis | None = None,
    out: AnyArray | None = None,
    exact: bool = False,
    n_threads: SupportsIndex | None = None,
) -> Loss:
    r"""Smooth L1 loss: quadratic for residuals below `beta`, linear above.

    With :math:`z = |input - target|`, the loss of an element is

    .. math::

        \ell(z) = \begin{cases} z^2 / (2\,\beta) & z < \beta \\
                                z - \beta / 2    & \text{otherwise} \end{cases}

    It is ``huber_loss(..., delta=beta) / beta``; the two agree at 1 only.

    Parameters
    ----------
    input, target : array_like
        Predictions and true values, of the same shape, or one of them 0-d. float32 and
        float64 in any mix; float16 and bfloat16 (of ml_dtypes) are computed in float32,
        integers and bools in float64. Anything that NumPy can view is taken without a
        copy: any strides (``np.broadcast_to`` included), byte order or alignment.
        Elements are paired by position; labels of pandas or xarray that would pair them
        otherwise are an error.
    reduction : {"mean", "sum", "weighted_mean", "none"}, default="mean"
        "mean" divides the sum by the number of (selected) elements, with or without
        weights; "weighted_mean" by the sum of their weights; "none" returns the loss of
        each element.
    beta : float or array_like, default=1.0
        Threshold, >= 0, in the units of `input`; an array is broadcast to `input`. 0 is
        the L1 loss; infinity gives 0. It is rounded to the working dtype.
    weight : array_like, optional
        Factors of the unreduced loss, broadcast to `input`, used in the working dtype.
    where : array_like of bool, optional
        Elements to take part, broadcast to `input`. Others count for nothing, whatever
        they hold; with "none" their loss is 0.
    axis : int or tuple of int, optional
        Axes to reduce; all by default. Each result has the same bits as a call on its
        slice.
    out : ndarray of float16, bfloat16, float32 or float64, optional
        Where to write the result, of its shape (0-d for a full reduction). It may
        overlap the operands.
    exact : bool, default=False
        Whether to sum exactly and to round once: the same elements give the same bits in
        any order, and those of `LossSums` for any way to cut and merge them. In the caches
        that takes two to three times as long.
    n_threads : int, optional
        The largest number of threads; see `set_num_threads` for the default. It does
        not change a bit of the result.

    Returns
    -------
    numpy scalar or ndarray
        float16, bfloat16, float32 or float64, whichever holds `input` and `target`; a
        scalar unless `reduction` is "none" or `axis` is given; `out` if that is given.

    Raises
    ------
    TypeError
        For complex, longdouble, object, string, masked, sparse or lazy operands.
    ValueError
        For shapes or labels that differ, a negative or NaN `beta`, an unknown `reduction`, a
        "weighted_mean" without weights or with weights that sum to 0, an `axis` with
        "none", an `out` of another shape.

    Warns
    -----
    RuntimeWarning
        If a "mean" is over no element; the result is nan.

    See Also
    --------
    huber_loss : the same shape with slope delta instead of 1.
    smooth_l1_value_and_grad : loss and gradient in one pass over memory.
    smooth_l1_path : the loss for several betas in one pass.

    Notes
    -----
    Terms are computed in the working dtype and summed in float64 by a fixed tree: the
    same values in the same order give the same bits, for any number of threads,
    instruction set, stride or alignment. NaN propagates. inf against a finite value is
    inf, also for an infinite `beta`; inf against the same inf is nan.

    References
    ----------
    .. [1] R. Girshick, "Fast R-CNN", ICCV 2015, equation 3.
    .. [2] P. J. Huber, "Robust Estimation of a Location Parameter", Ann. Math. Statist.
       35 (1964), 73-101.
    .. [3] PyTorch, ``torch.nn.SmoothL1Loss``,
       https://docs.pytorch.org/docs/stable/generated/torch.nn.SmoothL1Loss.html

    Examples
    --------
    >>> import numpy as np
    >>> from smoothl1 import smooth_l1_loss
    >>> prediction = np.array([2.5, 0.0, 2.0, 8.0])
    >>> truth = np.array([3.0, -0.5, 2.0, 7.0])
    >>> smooth_l1_loss(prediction, truth)
    np.float64(0.1875)
    >>> smooth_l1_loss(prediction, truth, "none", beta=0.5)
    array([0.25, 0.25, 0.  , 0.75])
    >>> smooth_l1_loss(prediction, truth, weight=[1, 1, 0, 2], reduction="weighted_mean")
    np.float64(0.3125)
    """
    if weight is None and where is None and axis is None:
        loss = _fast_loss(input, target, reduction, beta, False, out, exact, n_threads)
        if loss is not None:
            return loss
    return _calls.loss(
        input, target, reduction, "beta", beta,
        weight=weight, where=where, axis=axis, out=out, exact=exact, n_threads=n_threads,
    )  # fmt: skip


def huber_loss(
    input: ArrayLike,
    target: ArrayLike,
    reduction: Reduction = "mean",
    delta: ArrayLike = 1.0,
    weight: ArrayLike | None = None,
    *,
    where: ArrayLike | None = None,
    axis: Axis | None = None,
    out: AnyArray | None = None,
    exact: bool = False,
    n_threads: SupportsIndex | None = None,
) -> Loss:
    r"""Huber loss: half the squared residual below `delta`, linear with slope `delta` above.

    With :math:`z = |input - target|`, the loss of an element is

    .. math::

        \ell(z) = \begin{cases} z^2 / 2                    & z < \delta \\
                                \delta\,(z - \delta / 2)   & \text{otherwise} \end{cases}

    It is ``delta * smooth_l1_loss(..., beta=delta)``.

    Parameters
    ----------
    input, target, reduction, weight, where, axis, out, exact, n_threads
        As for `smooth_l1_loss`.
    delta : float or array_like, default=1.0
        Threshold, > 0, in the units of `input`. Infinity gives half the squared error.

    Returns
    -------
    numpy scalar or ndarray
        As for `smooth_l1_loss`.

    Raises
    ------
    TypeError, ValueError
        As `smooth_l1_loss`; ``ValueError`` also for ``delta=0``.

    Warns
    -----
    RuntimeWarning
        If a "mean" is over no element; the result is nan.

    References
    ----------
    .. [1] P. J. Huber, "Robust Estimation of a Location Parameter", Ann. Math. Statist.
       35 (1964), 73-101.
    .. [2] PyTorch, ``torch.nn.HuberLoss``,
       https://docs.pytorch.org/docs/stable/generated/torch.nn.HuberLoss.html

    Examples
    --------
    >>> from smoothl1 import huber_loss
    >>> huber_loss([8.0, 1.0], [0.0, 0.0], "none", delta=2.0)
    array([14. ,  0.5])
    """
    if weight is None and where is None and axis is None:
        loss = _fast_loss(input, target, reduction, delta, True, out, exact, n_threads)
        if loss is not None:
            return loss
    return _calls.loss(
        input, target, reduction, "delta", delta,
        weight=weight, where=where, axis=axis, out=out, exact=exact, n_threads=n_threads,
    )  # fmt: skip


def smooth_l1_grad(
    input: ArrayLike,
    target: ArrayLike,
    reduction: Reduction = "mean",
    beta: ArrayLike = 1.0,
    *,
    grad_output: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    where: ArrayLike | None = None,
    out: AnyArray | None = None,
    n_threads: SupportsIndex | None = None,
) -> AnyArray:
    r"""Gradient of `smooth_l1_loss` with respect to `input`.

    An element's is :math:`\operatorname{clip}((input - target) / \beta, -1, 1)`, times its
    weight, divided by what `reduction` divides by. At ``beta=0`` it is the sign of the
    residual, 0 for a residual of 0. The gradient with respect to `target` is the negative.

    Parameters
    ----------
    input, target, reduction, beta, weight, where, n_threads
        As for `smooth_l1_loss`. A 0-d operand counts as broadcast: the gradient is that of
        each of its copies.
    grad_output : float or array_like, optional
        Factor from the chain rule, 1 by default: the gradient of something with respect to
        the loss. An array, broadcast to `input`, for "none" only.
    out : ndarray of float16, bfloat16, float32 or float64, optional
        Where to write the gradient, of the shape of `input`; may overlap the operands.

    Returns
    -------
    ndarray
        Of the shape and dtype of the unreduced loss; `out` if that is given.

    Raises
    ------
    TypeError, ValueError
        As `smooth_l1_loss`; ``ValueError`` also for an array `grad_output` with a
        reduction.

    Examples
    --------
    >>> from smoothl1 import smooth_l1_grad
    >>> smooth_l1_grad([0.5, 3.0, -3.0, 1.0], [0.0, 0.0, 0.0, 1.0], "sum", beta=2.0)
    array([ 0.25,  1.  , -1.  ,  0.  ])
    >>> smooth_l1_grad([0.5, 3.0, -3.0, 1.0], [0.0, 0.0, 0.0, 1.0], grad_output=4.0)
    array([ 0.5,  1. , -1. ,  0. ])
    """
    if weight is None and where is None and grad_output is None:
        grad = _fast_value_and_grad(input, target, reduction, beta, False, out, False, n_threads)
        if grad is not None:
            return grad  # type: ignore[no-any-return]
    return _calls.grad(
        input, target, reduction, "beta", beta,
        grad_output=grad_output, weight=weight, where=where, out=out, n_threads=n_threads,
    )  # fmt: skip


def huber_grad(
    input: ArrayLike,
    target: ArrayLike,
    reduction: Reduction = "mean",
    delta: ArrayLike = 1.0,
    *,
    grad_output: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    where: ArrayLike | None = None,
    out: AnyArray | None = None,
    n_threads: SupportsIndex | None = None,
) -> AnyArray:
    r"""Gradient of `huber_loss` with respect to `input`.

    An element's is :math:`\operatorname{clip}(input - target, -\delta, \delta)`, times its
    weight, divided by what `reduction` divides by.

    Parameters
    ----------
    input, target, reduction, grad_output, weight, where, out, n_threads
        As for `smooth_l1_grad`.
    delta : float or array_like, default=1.0
        Threshold, > 0.

    Returns
    -------
    ndarray
        As for `smooth_l1_grad`.

    Raises
    ------
    TypeError, ValueError
        As `smooth_l1_grad`; ``ValueError`` also for ``delta=0``.

    Examples
    --------
    >>> from smoothl1 import huber_grad
    >>> huber_grad([0.5, 3.0, -3.0], [0.0, 0.0, 0.0], "none", delta=2.0)
    array([ 0.5,  2. , -2. ])
    """
    if weight is None and where is None and grad_output is None:
        grad = _fast_value_and_grad(input, target, reduction, delta, True, out, False, n_threads)
        if grad is not None:
            return grad  # type: ignore[no-any-return]
    return _calls.grad(
        input, target, reduction, "delta", delta,
        grad_output=grad_output, weight=weight, where=where, out=out, n_threads=n_threads,
    )  # fmt: skip


def smooth_l1_value_and_grad(
    input: ArrayLike,
    target: ArrayLike,
    reduction: Reduction = "mean",
    beta: ArrayLike = 1.0,
    *,
    weight: ArrayLike | None = None,
    where: ArrayLike | None = None,
    out: AnyArray | None = None,
    n_threads: SupportsIndex | None = None,
) -> tuple[Loss, AnyArray]:
    """`smooth_l1_loss` and `smooth_l1_grad` in one pass over memory.

    Parameters
    ----------
    input, target, reduction, beta, weight, where, n_threads
        As for `smooth_l1_loss`.
    out : ndarray of float16, bfloat16, float32 or float64, optional
        Where to write the gradient, of the shape of `input`; may overlap the operands.

    Returns
    -------
    loss : numpy scalar or ndarray
        What `smooth_l1_loss` returns, bit for bit.
    grad : ndarray
        What `smooth_l1_grad` returns, bit for bit.

    Raises
    ------
    TypeError, ValueError
        As `smooth_l1_loss`.

    Warns
    -----
    RuntimeWarning
        If a "mean" is over no element.

    Examples
    --------
    >>> from smoothl1 import smooth_l1_value_and_grad
    >>> loss, grad = smooth_l1_value_and_grad([1.0, 4.0], [1.5, 0.0])
    >>> loss
    np.float64(1.8125)
    >>> grad
    array([-0.25,  0.5 ])
    """
    if weight is None and where is None:
        both = _fast_value_and_grad(input, target, reduction, beta, False, out, True, n_threads)
        if both is not None:
            return both  # type: ignore[no-any-return]
    return _calls.value_and_grad(
        input, target, reduction, "beta", beta,
        weight=weight, where=where, out=out, n_threads=n_threads,
    )  # fmt: skip


def huber_value_and_grad(
    input: ArrayLike,
    target: ArrayLike,
    reduction: Reduction = "mean",
    delta: ArrayLike = 1.0,
    *,
    weight: ArrayLike | None = None,
    where: ArrayLike | None = None,
    out: AnyArray | None = None,
    n_threads: SupportsIndex | None = None,
) -> tuple[Loss, AnyArray]:
    """`huber_loss` and `huber_grad` in one pass over memory.

    Parameters
    ----------
    input, target, reduction, weight, where, out, n_threads
        As for `smooth_l1_value_and_grad`.
    delta : float or array_like, default=1.0
        Threshold, > 0.

    Returns
    -------
    loss : numpy scalar or ndarray
        What `huber_loss` returns, bit for bit.
    grad : ndarray
        What `huber_grad` returns, bit for bit.

    Raises
    ------
    TypeError, ValueError
        As `huber_loss`.

    Warns
    -----
    RuntimeWarning
        If a "mean" is over no element.

    Examples
    --------
    >>> from smoothl1 import huber_value_and_grad
    >>> loss, grad = huber_value_and_grad([1.0, 4.0], [1.5, 0.0], "sum", delta=2.0)
    >>> loss
    np.float64(6.125)
    >>> grad
    array([-0.5,  2. ])
    """
    if weight is None and where is None:
        both = _fast_value_and_grad(input, target, reduction, delta, True, out, True, n_threads)
        if both is not None:
            return both  # type: ignore[no-any-return]
    return _calls.value_and_grad(
        input, target, reduction, "delta", delta,
        weight=weight, where=where, out=out, n_threads=n_threads,
    )  # fmt: skip


def smooth_l1_grad_hess(
    input: ArrayLike,
    target: ArrayLike,
    beta: ArrayLike = 1.0,
    *,
    hessian: Literal["exact", "majorizer"] = "exact",
    weight: ArrayLike | None = None,
    out: tuple[AnyArray, AnyArray] | None = None,
    n_threads: SupportsIndex | None = None,
) -> tuple[AnyArray, AnyArray]:
    r"""Gradient and second derivative of each element's loss with respect to `input`.

    Parameters
    ----------
    input, target, beta, weight, n_threads
        As for `smooth_l1_loss`; both results are multiplied by `weight`.
    hessian : {"exact", "majorizer"}, default="exact"
        "exact" is 1/beta where :math:`z < \beta` and 0 elsewhere, so also at
        :math:`z = \beta`. "majorizer" is :math:`1 / \max(z, \beta)`, the curvature of the
        parabola that touches the loss at the residual and lies above it: the weights of
        iteratively reweighted least squares. At ``beta=0`` it is infinite for a residual
        of 0.
    out : tuple of two ndarrays, optional
        Where to write gradient and second derivative, of the shape of `input`; they may
        overlap the operands, but not each other.

    Returns
    -------
    grad, hess : ndarray
        Of the shape and dtype of the unreduced loss.

    Raises
    ------
    TypeError, ValueError
        As `smooth_l1_loss`; ``ValueError`` also for an unknown `hessian` and for two
        `out` that share memory.

    References
    ----------
    .. [1] K. Lange, D. R. Hunter and I. Yang, "Optimization Transfer Using Surrogate
       Objective Functions", J. Comput. Graph. Statist. 9 (2000), 1-20.

    Examples
    --------
    >>> from smoothl1 import smooth_l1_grad_hess
    >>> smooth_l1_grad_hess([0.5, -4.0], [0.0, 0.0], beta=2.0)
    (array([ 0.25, -1.  ]), array([0.5, 0. ]))
    >>> smooth_l1_grad_hess([0.5, -4.0], [0.0, 0.0], beta=2.0, hessian="majorizer")[1]
    array([0.5 , 0.25])
    """
    if hessian not in ("exact", "majorizer"):
        raise ValueError(f"hessian must be 'exact' or 'majorizer', got {hessian!r}")
    threads = arguments.thread_argument(n_threads)
    operands = arguments.prepare(input, target, "beta", beta, weight=weight, selects=False)
    if out is not None and not (isinstance(out, tuple) and len(out) == 2):
        raise TypeError(f"out must be a tuple of two arrays, got {type(out).__qualname__}")
    first, second = (None, None) if out is None else out
    grad = arguments.result_array(first, operands, "out[0]")
    hess = arguments.result_array(second, operands, "out[1]")
    if out is not None and arguments.share_memory(grad, hess):
        raise ValueError("out[0] and out[1] must not share memory")
    operands, overlaps = arguments.separate(first, operands)
    operands, overlaps2 = arguments.separate(second, operands)
    order = arguments.memory_order(grad)
    _calls.work_on(operands, order, threads).write_curvatures(
        grad, hess, overlaps or overlaps2, hessian == "majorizer"
    )
    return grad, hess


def smooth_l1_path(
    input: ArrayLike,
    target: ArrayLike,
    betas: ArrayLike,
    reduction: Literal["mean", "sum", "weighted_mean"] = "mean",
    *,
    weight: ArrayLike | None = None,
    where: ArrayLike | None = None,
    exact: bool = False,
    n_threads: SupportsIndex | None = None,
) -> AnyArray:
    """Reduce the loss for each of several betas in one pass over memory.

    Parameters
    ----------
    input, target, reduction, weight, where, exact, n_threads
        As for `smooth_l1_loss`; `reduction` cannot be "none".
    betas : array_like of float, shape (n_betas,)
        Thresholds, >= 0.

    Returns
    -------
    ndarray, shape (n_betas,)
        ``smooth_l1_loss(input, target, reduction, beta)`` for each beta, bit for bit.

    Raises
    ------
    TypeError, ValueError
        As `smooth_l1_loss`; ``ValueError`` also for `betas` that are not 1-d.

    Warns
    -----
    RuntimeWarning
        If a "mean" is over no element.

    Examples
    --------
    >>> from smoothl1 import smooth_l1_path
    >>> smooth_l1_path([0.5, 4.0], [0.0, 0.0], [0.0, 1.0, 2.0])
    array([2.25   , 1.8125 , 1.53125])
    """
    how = arguments.check_reduction(
        reduction, arguments.REDUCTIONS[1:], "betas is the third argument, reduction the fourth"
    )
    arguments.check_weighted(how, weight)
    threads = arguments.thread_argument(n_threads)
    path = arguments.as_array("betas", betas)
    if path.ndim != 1:
        raise ValueError(f"betas must be 1-d, got shape {path.shape}")
    arguments.check_threshold("betas", path)
    operands = arguments.prepare(input, target, "beta", 0.0, weight=weight, where=where)
    if path.size == 0:
        return np.empty(0, operands.dtype)
    work = _calls.work_on(operands, None, threads, betas=path.astype(np.float64).tolist())
    losses: AnyArray = _calls.reduced(work, how, operands.dtype, exact)[0]
    return losses
