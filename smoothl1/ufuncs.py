"""The losses, slopes and curvatures as NumPy ufuncs: three operands, one result, no reduction.

All three operands broadcast, and ``out``, ``where``, ``dtype`` and ``casting`` are those of every
ufunc. Arrays of other libraries that know ufuncs (pandas, polars, xarray, Dask) keep their labels
and stay lazy (``docs/ufuncs.md``). The bits are those of the functions of `smoothl1` without a
reduction.

A ufunc cannot refuse a value: where the functions raise for a threshold, the result here is NaN.
Integers and bools are computed in float64, float16 and bfloat16 in float32. There are no threads,
and no warnings about floating-point numbers.
"""

from __future__ import annotations

import contextlib

import numpy as np

from smoothl1._simd import core

__all__ = [
    "huber",
    "huber_curvature",
    "huber_slope",
    "smooth_l1",
    "smooth_l1_curvature",
    "smooth_l1_slope",
]

_DOC = """\
{name}(x, y, {threshold}, /, out=None, *, where=True, casting='same_kind', order='K', dtype=None)

{summary}

Parameters
----------
x, y : array_like
    Predictions and true values. float32 gives float32, and so do float16 and bfloat16;
    everything else that is real gives float64.
{threshold} : array_like
    Threshold, {bound}, in the units of `x`: a number, or one for each element. Where it is NaN or
    {otherwise}, so is the result.
out, where, casting, order, dtype
    As for every ufunc of NumPy.

Returns
-------
ndarray or numpy scalar
    Of the shape to which the operands broadcast.

See Also
--------
{others}

Notes
-----
{notes}

Examples
--------
>>> import numpy as np
>>> from smoothl1.ufuncs import {name}
{example}
"""


def _ufunc(name: str, summary: str, others: str, notes: str, example: str) -> np.ufunc:
    huber = name.startswith("huber")
    doc = _DOC.format(
        name=name,
        threshold="delta" if huber else "beta",
        bound="> 0" if huber else ">= 0",
        otherwise="not positive" if huber else "negative",
        summary=summary,
        others=others,
        notes=notes,
        example=example,
    )
    made = core.ufunc(name, doc)
    with contextlib.suppress(AttributeError, TypeError):  # NumPy before 2.2
        # Else pickle looks for it in every module, and may find where somebody imported it to.
        made.__module__ = __name__
    return made


smooth_l1: np.ufunc = _ufunc(
    "smooth_l1",
    "Smooth L1 loss of each element: quadratic for residuals below `beta`, linear above.",
    "smoothl1.smooth_l1_loss : the same with reductions, weights, selection and threads.\n"
    "huber : `beta` times this.",
    "With z = abs(x - y): z**2 / (2 beta) where z < beta, else z - beta / 2. A `beta` of 0 gives\n"
    "the L1 loss, infinity gives 0.",
    ">>> smooth_l1([0.0, 1.0, 5.0], 0.0, 2.0)\n"
    "array([0.  , 0.25, 4.  ])\n"
    ">>> smooth_l1(5.0, [[0.0], [4.0]], [0.0, 1.0, 2.0])\n"
    "array([[5.  , 4.5 , 4.  ],\n"
    "       [1.  , 0.5 , 0.25]])",
)

smooth_l1_slope: np.ufunc = _ufunc(
    "smooth_l1_slope",
    "Derivative of the Smooth L1 loss by `x`, of each element.",
    "smoothl1.smooth_l1_grad : the same with reductions, weights, selection and threads.\n"
    "smooth_l1_curvature : the derivative of this.",
    "(x - y) / beta, at least -1 and at most 1; for a `beta` of 0 the sign of x - y.",
    ">>> smooth_l1_slope([-5.0, 1.0, 2.0], 0.0, 2.0)\narray([-1. ,  0.5,  1. ])",
)

smooth_l1_curvature: np.ufunc = _ufunc(
    "smooth_l1_curvature",
    "Second derivative of the Smooth L1 loss by `x`, of each element.",
    "smoothl1.smooth_l1_grad_hess : first and second derivative in one pass over memory.",
    "1 / beta where abs(x - y) < beta, else 0.",
    ">>> smooth_l1_curvature([-5.0, 1.0, 2.0], 0.0, 2.0)\narray([0. , 0.5, 0. ])",
)

huber: np.ufunc = _ufunc(
    "huber",
    "Huber loss of each element: quadratic for residuals below `delta`, linear above.",
    "smoothl1.huber_loss : the same with reductions, weights, selection and threads.\n"
    "scipy.special.huber : the same of a residual, ``huber(delta, r)``.",
    "With z = abs(x - y): z**2 / 2 where z < delta, else delta (z - delta / 2).",
    ">>> huber([0.0, 1.0, 5.0], 0.0, 2.0)\narray([0. , 0.5, 8. ])",
)

huber_slope: np.ufunc = _ufunc(
    "huber_slope",
    "Derivative of the Huber loss by `x`, of each element.",
    "smoothl1.huber_grad : the same with reductions, weights, selection and threads.\n"
    "huber_curvature : the derivative of this.",
    "x - y, at least -delta and at most delta.",
    ">>> huber_slope([-5.0, 1.0, 2.0], 0.0, 2.0)\narray([-2.,  1.,  2.])",
)

huber_curvature: np.ufunc = _ufunc(
    "huber_curvature",
    "Second derivative of the Huber loss by `x`, of each element.",
    "smooth_l1_curvature : the same divided by the threshold.",
    "1 where abs(x - y) < delta, else 0.",
    ">>> huber_curvature([-5.0, 1.0, 2.0], 0.0, 2.0)\narray([0., 1., 0.])",
)

# doctest looks at functions and classes alone.
__test__ = {name: globals()[name].__doc__ for name in __all__}
