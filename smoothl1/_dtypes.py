"""Which dtypes hold numbers that can be computed with."""

from __future__ import annotations

from typing import Any

import numpy as np


def is_bfloat16(dtype: np.dtype[Any]) -> bool:
    """Whether of two bytes, the upper half of a float32: a dtype that ml_dtypes registers."""
    return dtype.kind == "V" and dtype.itemsize == 2 and dtype.type.__name__ == "bfloat16"


def is_float(dtype: np.dtype[Any]) -> bool:
    """Whether of real floating-point numbers that there are conversions for."""
    return (dtype.kind == "f" and dtype.itemsize <= 8) or is_bfloat16(dtype)


def is_real(dtype: np.dtype[Any]) -> bool:
    """Whether of floating-point numbers, integers or bools that can be computed with."""
    return (dtype.kind in "fiub" and dtype.itemsize <= 8) or is_bfloat16(dtype)
