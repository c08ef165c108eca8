"""The Huber location: the point from which the Smooth L1 loss to a sample is least."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from smoothl1._arguments import as_array, check_number, thread_argument
from smoothl1._arrays import rounded
from smoothl1._dtypes import is_float
from smoothl1._simd import core
from smoothl1._typing import AnyArray

_PART = 2**22  # elements that are copied without a look at signals


def huber_location(
    y: ArrayLike, beta: float, *, sample_weight: ArrayLike | None = None
) -> np.floating[Any]:
    r"""Location of a sample that minimises its Smooth L1 (or Huber) loss.

    .. math:: \arg\min_m \sum_i w_i\,\mathrm{smooth\_l1}(y_i - m;\,\beta)

    It is the median for ``beta=0`` and the mean once `beta` exceeds the spread; in
    between it follows the bulk of the sample as a mean does and shrugs off outliers as
    a median does.

    Parameters
    ----------
    y : array_like
        The sample, of any shape, not empty, finite.
    beta : float
        Threshold, >= 0, in the units of `y`; infinity gives the mean.
    sample_weight : array_like, optional
        Weights, >= 0 and finite, of the shape of `y`, not all 0. An element of weight 0
        counts for nothing.

    Returns
    -------
    numpy scalar
        Of the dtype of `y` if that is floating-point, else of float64. Where all points
        of an interval are minimisers (as between the middle values of an even number,
        for the median), it is its midpoint.

    Raises
    ------
    TypeError
        For complex, longdouble, object, string, masked, sparse or lazy arrays.
    ValueError
        If `y` is empty, or holds NaN or infinity; if `beta` is negative or NaN; if a
        weight is negative, NaN or infinite, or all are 0; if the shapes differ.

    See Also
    --------
    smoothl1.smooth_l1_loss : the loss that is minimised.

    Notes
    -----
    The derivative of the loss in m is piecewise linear and nondecreasing, with corners at
    ``y - beta`` and ``y + beta``. Its root is bracketed between points that a sample of
    the elements predicts, in the end between corners, and elements without a corner in the
    bracket are dropped: a finite algorithm, without a sort, linear in time on average. A
    prediction that fails costs time, not accuracy. Sums are in double-double
    but for the first addition of two elements, the corners and the result are rounded to
    float64: a tie of weights that differ by less than 1e-16 may be decided either way.

    References
    ----------
    .. [1] P. J. Huber, "Robust Estimation of a Location Parameter", Ann. Math. Statist.
       35 (1964), 73-101.

    Examples
    --------
    >>> from smoothl1 import huber_location
    >>> y = [1.0, 2.0, 3.0, 4.0, 100.0]
    >>> huber_location(y, beta=1.0)
    np.float64(3.0)
    >>> huber_location(y, beta=0.0, sample_weight=[1, 1, 1, 1, 0])
    np.float64(2.5)
    >>> huber_location(y, beta=1e3)
    np.float64(22.0)
    """
    thread_argument()  # it runs on one thread, but is to fail with all others or with none
    array = as_array("y", y)
    threshold = check_number("beta", beta)
    values = array.reshape(-1) if _is_as_needed(array, sample_weight) else _scratch(array)
    if values.size == 0:
        raise ValueError(f"y must hold at least one value, got shape {array.shape}")
    weights = None
    if sample_weight is not None:
        if not core.all_finite(values):
            raise _not_finite(values)
        given = as_array("sample_weight", sample_weight)
        if given.shape != array.shape:
            raise ValueError(
                f"sample_weight must have the shape of y, {array.shape}, got {given.shape}"
            )
        weights = _scratch(given)
        highest = np.maximum.reduce(weights)
        if not (np.minimum.reduce(weights) >= 0 and highest < np.inf):
            bad = ~((weights >= 0) & (weights < np.inf))
            raise ValueError(f"sample_weight must be >= 0 and finite, got {_first(weights, bad)}")
        if highest == 0:
            raise ValueError("sample_weight must hold a positive weight, got zeros only")
    location = core.location(values, weights, threshold)
    if np.isnan(location):
        raise _not_finite(values)
    dtype = array.dtype if is_float(array.dtype) else np.dtype(np.float64)
    if not dtype.isnative:
        dtype = dtype.newbyteorder("=")
    found: np.floating[Any] = rounded(location, dtype)[()]
    return found


def _is_as_needed(array: AnyArray, sample_weight: ArrayLike | None) -> bool:
    """Return whether no copy is needed: with weights both are overwritten."""
    flags = array.flags
    plain = array.dtype == np.float64 and flags.c_contiguous and flags.aligned
    return sample_weight is None and plain


def _scratch(array: AnyArray) -> AnyArray:
    """Return a flat copy in float64, to be overwritten."""
    if array.size <= _PART:
        return np.array(array, dtype=np.float64, order="C", copy=True).reshape(-1)
    values = np.empty(array.shape)
    # In parts, because signals are handled between two of them only.
    parts = np.nditer(
        [values, array],
        ["external_loop", "buffered"],
        [["writeonly"], ["readonly"]],
        [values.dtype, array.dtype],
        order="C",
        casting="equiv",
        buffersize=_PART,
    )
    with parts:
        for target, source in parts:
            target[...] = source
    return values.reshape(-1)


def _not_finite(values: AnyArray) -> ValueError:
    return ValueError(f"y must be finite, got {_first(values, ~np.isfinite(values))}")


def _first(values: AnyArray, bad: AnyArray) -> str:
    """Describe the first bad element."""
    i = int(bad.argmax())
    return f"{values[i]} at index {i}"
