"""Losses of xarray's arrays, along chunked dimensions, too."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import Any, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from smoothl1 import _arguments as arguments
from smoothl1._lazy import arrays as lazy
from smoothl1._typing import AnyArray
from smoothl1.grouped import GroupedLossSums
from smoothl1.sums import LossSums


def evaluate_xarray(
    prediction: Any,
    target: Any,
    dim: Hashable | Iterable[Hashable] | None = None,
    *,
    beta: ArrayLike = 1.0,
    huber: bool = False,
    weight: Any = None,
    where: Any = None,
    reduction: str | None = None,
    dtype: DTypeLike | None = None,
    split_every: int | dict[int, int] | None = None,
    n_threads: SupportsIndex | None = 1,
) -> Any:
    """Return the errors of predictions in an xarray DataArray, along some of its dimensions.

    Parameters
    ----------
    prediction, target : xarray.DataArray
        Of the same dimensions, in any order, and the same coordinates: on others, an error.
        With Dask arrays inside the result is lazy; chunks may be anything, also along `dim`.
    dim : hashable, or iterable of such, optional
        The dimensions to reduce, all by default.
    beta, huber
        As for `evaluate`.
    weight, where : xarray.DataArray, optional
        Weights of the elements, and which of them take part, with all the dimensions or some.
        Unlike xarray's reductions, NaN counts unless `where` leaves it out.
    reduction : {"mean", "sum", "weighted_mean"}, optional
        By default "weighted_mean" with `weight` and "mean" without.
    dtype : {numpy.float32, numpy.float64}, optional
        The working dtype; by default that of the loss.
    split_every, n_threads
        As for `smooth_l1_loss`.

    Returns
    -------
    xarray.Dataset
        "rows", the number of elements, "mae", "rmse", "loss" and "quadratic_share" over the
        dimensions that are left; the last two also over "beta", if that is a sequence.

    Raises
    ------
    TypeError, ValueError
        As `smooth_l1_loss`, and for dimensions and coordinates that do not match.

    Examples
    --------
    >>> import pytest; xarray = pytest.importorskip("xarray")
    >>> da = pytest.importorskip("dask.array")
    >>> from smoothl1.dask import evaluate_xarray
    >>> truth = xarray.DataArray(da.zeros((3, 2), chunks=1), dims=("time", "place"))
    >>> found = evaluate_xarray(truth + [[0.5, 1], [0.5, 2], [0, 3]], truth, dim="time")
    >>> found["mae"].values
    array([0.33333333, 2.        ])
    """
    import xarray

    for name, value in (("prediction", prediction), ("target", target)):
        if not isinstance(value, xarray.DataArray):
            raise TypeError(f"{name} must be an xarray.DataArray, got {type(value).__qualname__}")
    if set(prediction.dims) != set(target.dims):
        raise ValueError(
            f"prediction and target must have the same dimensions, got {prediction.dims} and "
            f"{target.dims}"
        )
    given = {"prediction": prediction, "target": target, "weight": weight, "where": where}
    labelled = {name: value for name, value in given.items() if hasattr(value, "dims")}
    matched = dict(zip(labelled, xarray.align(*labelled.values(), join="exact"), strict=True))
    dims = prediction.dims
    arrays = {name: _data(name, matched.get(name, given[name]), dims) for name in given}
    axes = tuple(map(dims.index, _chosen(dim, dims)))
    how = reduction or ("mean" if weight is None else "weighted_mean")
    how = arguments.check_reduction(how, arguments.REDUCTIONS[1:])
    arguments.check_weighted(how, weight)

    operands = {
        "input": arrays["prediction"],
        "target": arrays["target"],
        "weight": arrays["weight"],
        "where": arrays["where"],
    }
    is_lazy = any(lazy.is_array(value) for value in operands.values())
    if not is_lazy:
        # The same way, at once: on arrays of one chunk.
        import dask.array

        operands["input"] = dask.array.asarray(np.asarray(operands["input"]))
    like, total, plan = lazy.total_sums(
        operands, beta, huber, dtype, axes, split_every=split_every, n_threads=n_threads
    )
    kept = plan.call.kept
    thresholds = np.atleast_1d(like.beta)
    figures = total.map_blocks(
        round_figures,
        like=like,
        reduction=how,
        dtype=np.float64,
        chunks=(*total.chunks[:-1], (3 + 2 * len(thresholds),)),
        meta=np.empty((0,) * (len(kept) + 1)),
    )
    if not is_lazy:
        figures = figures.compute(scheduler="synchronous")
    return _dataset(xarray, figures, like, thresholds, prediction, [dims[axis] for axis in kept])


def round_figures(total: AnyArray, *, like: LossSums, reduction: str) -> AnyArray:
    """Return the figures of summed rows, behind the other axes: exact, as float64."""
    rows = np.ascontiguousarray(total.reshape(-1, total.shape[-1]))
    empty = GroupedLossSums(like.beta, huber=like.huber, dtype=like.dtype)
    found = GroupedLossSums.from_array(rows, np.arange(len(rows)), empty).compute(reduction)
    places = found["by"].astype(np.intp)
    names = [name for name in found if name not in ("by", "n", "weight_sum", "mae", "rmse")]
    figures = np.full((len(rows), 3 + len(names)), np.nan)
    figures[:, 0] = rows[:, 0]
    for i, name in enumerate(("mae", "rmse", *names), 1):
        figures[places, i] = found[name]
    return figures.reshape(*total.shape[:-1], 3 + len(names))


def _chosen(dim: Any, dims: tuple[Hashable, ...]) -> tuple[Hashable, ...]:
    if dim is None or dim is ...:
        return dims
    chosen = (dim,) if isinstance(dim, str) or not isinstance(dim, Iterable) else tuple(dim)
    for each in chosen:
        if each not in dims:
            raise ValueError(f"dim must be among the dimensions {dims}, got {each!r}")
    return tuple(dict.fromkeys(chosen))


def _data(name: str, value: Any, dims: tuple[Hashable, ...]) -> Any:
    """Return the array inside, its dimensions in order, of length 1 where it has none."""
    if value is None or not hasattr(value, "dims"):
        return value
    extra = [each for each in value.dims if each not in dims]
    if extra:
        raise ValueError(f"{name} must have no dimensions but {dims}, got {value.dims}")
    ordered = value.transpose(*[each for each in dims if each in value.dims])
    return ordered.data[tuple(slice(None) if each in value.dims else None for each in dims)]


def _dataset(
    xarray: Any,
    figures: Any,
    like: LossSums,
    betas: AnyArray,
    prediction: Any,
    dims: list[Hashable],
) -> Any:
    """Return the figures with their names and coordinates."""
    coords = {name: each for name, each in prediction.coords.items() if set(each.dims) <= set(dims)}
    each = [*dims]
    variables: dict[str, Any] = {"rows": (each, figures[..., 0].astype(np.int64))}
    for i, name in enumerate(("mae", "rmse"), 1):
        variables[name] = (each, figures[..., i].astype(like.dtype))
    if isinstance(like.beta, tuple):
        coords["beta"] = betas
        each = [*dims, "beta"]
    last = slice(3, None, 2) if isinstance(like.beta, tuple) else 3
    variables["loss"] = (each, figures[..., last].astype(like.dtype))
    last = slice(4, None, 2) if isinstance(like.beta, tuple) else 4
    variables["quadratic_share"] = (each, figures[..., last])
    return xarray.Dataset(variables, coords)
