"""What the suites share: sizes, inputs, and the functions by name."""

import importlib
import math

import numpy as np

import smoothl1

# One size for each place that data can come from: a ufunc's overhead, the first, second
# and third cache level, and memory (two float32 arrays of 2**24 are 128 MiB).
SIZES = [10, 4096, 2**16, 2**20, 2**24]
DTYPES = ["float32", "float64"]


def function(name):
    """Return a function of the library; n/a on a commit that lacks it."""
    found = getattr(smoothl1, name, None)
    if found is None:
        raise NotImplementedError(f"this commit has no {name}")
    return found


def ufunc(name):
    """Return a ufunc of the library; n/a on a commit that has none."""
    try:
        return getattr(importlib.import_module("smoothl1.ufuncs"), name)
    except ImportError as error:
        raise NotImplementedError("this commit has no ufuncs") from error


def arrays(shape, dtype, count=2):
    """Return arrays of normal deviates; filled, so that their pages are mapped.

    Large ones repeat a block: no branch or cache could make use of that, and it takes the time
    of a copy.
    """
    rng = np.random.default_rng(0)
    block = min(math.prod(np.atleast_1d(shape)), 2**16)
    return [np.resize(rng.standard_normal(block, dtype=dtype), shape) for _ in range(count)]
