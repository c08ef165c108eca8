"""Losses of Dask arrays and DataFrames: lazy, and the same bits for any chunks and workers.

The functions of `smoothl1` on Dask arrays, of ``dask.array`` or the separate package
``dask_array``, by exact sums: reductions have the bits of ``exact=True``. Importing this module
imports nothing of Dask; see docs/dask.md.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from smoothl1 import _arguments as arguments
from smoothl1._lazy import arrays as lazy
from smoothl1._lazy.files import evaluate_files
from smoothl1._lazy.frames import evaluate
from smoothl1._lazy.xarray import evaluate_xarray
from smoothl1._typing import Axis, Reduction
from smoothl1.sums import LossSums

if TYPE_CHECKING:
    from smoothl1._lazy.linear import SmoothL1Regressor as SmoothL1Regressor

__all__ = [
    "SmoothL1Regressor",
    "evaluate",
    "evaluate_files",
    "evaluate_xarray",
    "huber_grad",
    "huber_loss",
    "huber_value_and_grad",
    "loss_sums",
    "smooth_l1_grad",
    "smooth_l1_loss",
    "smooth_l1_path",
    "smooth_l1_value_and_grad",
]


def __getattr__(name: str) -> Any:
    """Import the regressor, which needs scikit-learn, when it is asked for."""
    if name == "SmoothL1Regressor":
        from smoothl1._lazy.linear import SmoothL1Regressor

        return SmoothL1Regressor
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def smooth_l1_loss(
    input: Any,
    target: Any,
    reduction: Reduction = "mean",
    beta: Any = 1.0,
    *,
    weight: Any = None,
    where: Any = None,
    axis: Axis | None = None,
    keepdims: bool = False,
    split_every: int | dict[int, int] | None = None,
    n_threads: SupportsIndex | None = 1,
) -> Any:
    """Smooth L1 loss of Dask arrays, lazily.

    Parameters
    ----------
    input, target, reduction, beta, weight, where, axis
        As for `smoothl1.smooth_l1_loss`. At least one of the operands is a Dask array; others
        may be NumPy arrays or numbers. Chunks may differ, and their sizes may be unknown, if
        the operands have as many of them.
    keepdims : bool, default=False
        Whether axes that are reduced stay, with length 1.
    split_every : int or dict, optional
        How many blocks' sums are added in a task, as for Dask's own reductions.
    n_threads : int or None, default=1
        The largest number of threads of a block: 1, because Dask's workers run many of them at
        a time; None for the default of `smoothl1`.

    Returns
    -------
    dask array
        Of the dtype of `smoothl1.smooth_l1_loss`; a reduction has the bits of its
        ``exact=True``, for any chunks, workers and schedulers, "none" those of "none".

    Raises
    ------
    TypeError, ValueError
        As `smoothl1.smooth_l1_loss`, as far as dtypes and shapes tell; what depends on the
        elements (a bad threshold in a Dask array, weights that sum to 0), when it is computed.

    Warns
    -----
    RuntimeWarning
        When it is computed, if a "mean" is over no element.

    Examples
    --------
    >>> import pytest; da = pytest.importorskip("dask.array")
    >>> import numpy as np
    >>> import smoothl1, smoothl1.dask
    >>> prediction, truth = np.random.default_rng(0).standard_normal((2, 1000))
    >>> chunked = da.from_array(prediction, chunks=300)
    >>> loss = smoothl1.dask.smooth_l1_loss(chunked, truth, beta=0.5)
    >>> loss.compute() == smoothl1.smooth_l1_loss(prediction, truth, beta=0.5, exact=True)
    np.True_
    """
    return _loss(
        "beta", input, target, reduction, beta, weight, where, axis, keepdims, split_every,
        n_threads,
    )  # fmt: skip


def huber_loss(
    input: Any,
    target: Any,
    reduction: Reduction = "mean",
    delta: Any = 1.0,
    weight: Any = None,
    *,
    where: Any = None,
    axis: Axis | None = None,
    keepdims: bool = False,
    split_every: int | dict[int, int] | None = None,
    n_threads: SupportsIndex | None = 1,
) -> Any:
    """Huber loss of Dask arrays, lazily.

    Parameters
    ----------
    input, target, reduction, delta, weight, where, axis
        As for `smoothl1.huber_loss`.
    keepdims, split_every, n_threads
        As for `smooth_l1_loss`.

    Returns
    -------
    dask array
        As for `smooth_l1_loss`.

    Examples
    --------
    >>> import pytest; da = pytest.importorskip("dask.array")
    >>> from smoothl1.dask import huber_loss
    >>> huber_loss(da.asarray([8.0, 1.0]), 0.0, "none", delta=2.0).compute()
    array([14. ,  0.5])
    """
    return _loss(
        "delta", input, target, reduction, delta, weight, where, axis, keepdims, split_every,
        n_threads,
    )  # fmt: skip


def smooth_l1_grad(
    input: Any,
    target: Any,
    reduction: Reduction = "mean",
    beta: Any = 1.0,
    *,
    grad_output: Any = None,
    weight: Any = None,
    where: Any = None,
    split_every: int | dict[int, int] | None = None,
    n_threads: SupportsIndex | None = 1,
) -> Any:
    """Gradient of `smooth_l1_loss` with respect to `input`, lazily.

    Parameters
    ----------
    input, target, reduction, beta, grad_output, weight, where
        As for `smoothl1.smooth_l1_grad`.
    split_every, n_threads
        As for `smooth_l1_loss`. Sums are taken where the number of elements is unknown or
        selected, and of weights for "weighted_mean": an additional pass.

    Returns
    -------
    dask array
        In the chunks of the loss. Bits are those of `smoothl1.smooth_l1_grad`, but for
        "weighted_mean": here the sum of the weights is exact, and rounded once.

    Examples
    --------
    >>> import pytest; da = pytest.importorskip("dask.array")
    >>> from smoothl1.dask import smooth_l1_grad
    >>> smooth_l1_grad(da.asarray([0.5, 3.0, -3.0, 1.0]), 0.0, "sum", beta=2.0).compute()
    array([ 0.25,  1.  , -1.  ,  0.5 ])
    """
    return _grad(
        "beta", input, target, reduction, beta, grad_output, weight, where, split_every, n_threads
    )


def huber_grad(
    input: Any,
    target: Any,
    reduction: Reduction = "mean",
    delta: Any = 1.0,
    *,
    grad_output: Any = None,
    weight: Any = None,
    where: Any = None,
    split_every: int | dict[int, int] | None = None,
    n_threads: SupportsIndex | None = 1,
) -> Any:
    """Gradient of `huber_loss` with respect to `input`, lazily.

    Parameters
    ----------
    input, target, reduction, delta, grad_output, weight, where
        As for `smoothl1.huber_grad`.
    split_every, n_threads
        As for `smooth_l1_grad`.

    Returns
    -------
    dask array
        As for `smooth_l1_grad`.

    Examples
    --------
    >>> import pytest; da = pytest.importorskip("dask.array")
    >>> from smoothl1.dask import huber_grad
    >>> huber_grad(da.asarray([0.5, 3.0, -3.0]), 0.0, "none", delta=2.0).compute()
    array([ 0.5,  2. , -2. ])
    """
    return _grad(
        "delta", input, target, reduction, delta, grad_output, weight, where, split_every,
        n_threads,
    )  # fmt: skip


def smooth_l1_value_and_grad(
    input: Any,
    target: Any,
    reduction: Reduction = "mean",
    beta: Any = 1.0,
    *,
    weight: Any = None,
    where: Any = None,
    split_every: int | dict[int, int] | None = None,
    n_threads: SupportsIndex | None = 1,
) -> tuple[Any, Any]:
    """`smooth_l1_loss` and `smooth_l1_grad`, to be computed together.

    Parameters
    ----------
    input, target, reduction, beta, weight, where, split_every, n_threads
        As for `smooth_l1_grad`.

    Returns
    -------
    loss, grad : dask array
        ``dask.compute(loss, grad)`` reads each block once, and walks it once for either.

    Examples
    --------
    >>> import pytest; dask = pytest.importorskip("dask")
    >>> import dask.array as da
    >>> from smoothl1.dask import smooth_l1_value_and_grad
    >>> loss, grad = dask.compute(*smooth_l1_value_and_grad(da.asarray([1.0, 4.0]), [1.5, 0.0]))
    >>> loss
    np.float64(1.8125)
    >>> grad
    array([-0.25,  0.5 ])
    """
    return _value_and_grad(
        "beta", input, target, reduction, beta, weight, where, split_every, n_threads
    )


def huber_value_and_grad(
    input: Any,
    target: Any,
    reduction: Reduction = "mean",
    delta: Any = 1.0,
    *,
    weight: Any = None,
    where: Any = None,
    split_every: int | dict[int, int] | None = None,
    n_threads: SupportsIndex | None = 1,
) -> tuple[Any, Any]:
    """`huber_loss` and `huber_grad`, to be computed together.

    Parameters
    ----------
    input, target, reduction, delta, weight, where, split_every, n_threads
        As for `huber_grad`.

    Returns
    -------
    loss, grad : dask array
        As for `smooth_l1_value_and_grad`.

    Examples
    --------
    >>> import pytest; da = pytest.importorskip("dask.array")
    >>> from smoothl1.dask import huber_value_and_grad
    >>> loss, grad = huber_value_and_grad(da.asarray([1.0, 4.0]), [1.5, 0.0], "sum", delta=2.0)
    >>> loss.compute()
    np.float64(6.125)
    """
    return _value_and_grad(
        "delta", input, target, reduction, delta, weight, where, split_every, n_threads
    )


def smooth_l1_path(
    input: Any,
    target: Any,
    betas: ArrayLike,
    reduction: Reduction = "mean",
    *,
    weight: Any = None,
    where: Any = None,
    split_every: int | dict[int, int] | None = None,
    n_threads: SupportsIndex | None = 1,
) -> Any:
    """Smooth L1 loss for each of several betas, lazily and in one pass.

    Parameters
    ----------
    input, target, betas, reduction, weight, where
        As for `smoothl1.smooth_l1_path`; `betas` are numbers.
    split_every, n_threads
        As for `smooth_l1_loss`.

    Returns
    -------
    dask array, shape (n_betas,)
        The bits of ``smoothl1.smooth_l1_path(..., exact=True)``.

    Examples
    --------
    >>> import pytest; da = pytest.importorskip("dask.array")
    >>> from smoothl1.dask import smooth_l1_path
    >>> smooth_l1_path(da.asarray([0.5, 4.0]), [0.0, 0.0], [0.0, 1.0, 2.0]).compute()
    array([2.25   , 1.8125 , 1.53125])
    """
    how = arguments.check_reduction(
        reduction, arguments.REDUCTIONS[1:], "betas is the third argument, reduction the fourth"
    )
    arguments.check_weighted(how, weight)
    path = arguments.as_array("betas", betas)
    if path.ndim != 1:
        raise ValueError(f"betas must be 1-d, got shape {path.shape}")
    arguments.check_threshold("betas", path)
    plan = lazy.make_plan(
        {"input": input, "target": target, "weight": weight, "where": where},
        "beta",
        how,
        betas=tuple(path.astype(np.float64).tolist()),
        n_threads=n_threads,
    )
    if path.size == 0:
        return plan.space.asarray(np.empty(0, plan.dtype))
    return lazy.reduce_path(plan, split_every)


def loss_sums(
    input: Any,
    target: Any,
    beta: ArrayLike = 1.0,
    *,
    huber: bool = False,
    weight: Any = None,
    where: Any = None,
    dtype: DTypeLike | None = None,
    split_every: int | dict[int, int] | None = None,
    n_threads: SupportsIndex | None = 1,
) -> Any:
    """Sum the losses of Dask arrays: a lazy `LossSums`.

    Parameters
    ----------
    input, target, weight, where, split_every, n_threads
        As for `smooth_l1_loss`.
    beta, huber
        As for `LossSums`.
    dtype : {numpy.float32, numpy.float64}, optional
        As for `LossSums`; by default that in which the loss of the operands is computed.

    Returns
    -------
    dask.delayed.Delayed
        Of a `LossSums` with all elements: equal to one that was updated in memory.

    Examples
    --------
    >>> import pytest; da = pytest.importorskip("dask.array")
    >>> from smoothl1.dask import loss_sums
    >>> sums = loss_sums(da.arange(10.0, chunks=3), 0.0, [1.0, 2.0]).compute()
    >>> sums
    LossSums(beta=[1.0, 2.0], dtype=float64) of 10 elements
    >>> sums.mae
    np.float64(4.5)
    """
    from dask.delayed import delayed

    operands = {"input": input, "target": target, "weight": weight, "where": where}
    like, total, _ = lazy.total_sums(
        operands, beta, huber, dtype, None, split_every=split_every, n_threads=n_threads
    )
    return delayed(LossSums.from_array)(total, like)


def _loss(
    name: str,
    input: Any,
    target: Any,
    reduction: str,
    threshold: Any,
    weight: Any,
    where: Any,
    axis: Axis | None,
    keepdims: bool,
    split_every: Any,
    n_threads: SupportsIndex | None,
) -> Any:
    how = _check(name, reduction, weight)
    operands = {"threshold": threshold, "weight": weight, "where": where}
    plan = lazy.make_plan(
        {"input": input, "target": target, **operands}, name, how, axis=axis, n_threads=n_threads
    )
    return lazy.reduce_loss(plan, keepdims, split_every)


def _grad(
    name: str,
    input: Any,
    target: Any,
    reduction: str,
    threshold: Any,
    grad_output: Any,
    weight: Any,
    where: Any,
    split_every: Any,
    n_threads: SupportsIndex | None,
) -> Any:
    how = _check(name, reduction, weight)
    shape = grad_output.shape if lazy.is_array(grad_output) else np.shape(grad_output)
    if shape and how != "none":
        raise ValueError(f"grad_output must be a scalar for reduction={how!r}, got shape {shape}")
    operands = {"threshold": threshold, "weight": weight, "where": where, "factor": grad_output}
    plan = lazy.make_plan(
        {"input": input, "target": target, **operands}, name, how, n_threads=n_threads
    )
    return lazy.differentiate(plan, split_every)


def _value_and_grad(
    name: str,
    input: Any,
    target: Any,
    reduction: str,
    threshold: Any,
    weight: Any,
    where: Any,
    split_every: Any,
    n_threads: SupportsIndex | None,
) -> tuple[Any, Any]:
    how = _check(name, reduction, weight)
    operands = {"threshold": threshold, "weight": weight, "where": where}
    plan = lazy.make_plan(
        {"input": input, "target": target, **operands}, name, how, n_threads=n_threads
    )
    if how == "none":
        return lazy.reduce_loss(plan, False, split_every), lazy.differentiate(plan, split_every)
    total = plan.totals(split_every)
    return lazy.round_lazily(plan, total), lazy.differentiate(plan, split_every, total)


def _check(name: str, reduction: object, weight: object) -> str:
    how = arguments.check_reduction(reduction, hint=f"{name} is the fourth argument, or a keyword")
    arguments.check_weighted(how, weight)
    return how
