"""Arrays between two pages that must not be touched: one byte too far kills the process.

``python -m tests.guarded FUNCTION`` walks one of the functions at the end over such arrays.
It runs in a process of its own, for each instruction set (``tests/test_sizes.py``).
"""

import ctypes
import itertools
import mmap
import sys
import warnings

import numpy as np

import smoothl1
from smoothl1 import ufuncs

FLOATS = ["f4", "f8"]
DTYPES = [*FLOATS, "f2", ">f4", ">f8", "i1", "u1", ">i2", "i4", "u4", "i8", "u8", "?"]


class Guarded:
    """Memory of whole pages with a forbidden page on either side."""

    def __init__(self, size):
        page = mmap.PAGESIZE
        self.size = -(-size // page) * page
        self.pages = mmap.mmap(-1, self.size + 2 * page)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.pages)) + page
        libc = ctypes.CDLL(None, use_errno=True)
        for address in (self.address - page, self.address + self.size):
            if libc.mprotect(ctypes.c_void_p(address), ctypes.c_size_t(page), 0):
                raise OSError(ctypes.get_errno(), "mprotect")
        self.memory = np.frombuffer(self.pages, np.uint8)[page:-page]

    def array(self, n, dtype, end, shift=0):
        """``n`` elements, ``shift`` bytes away from the forbidden page at one end."""
        size = n * np.dtype(dtype).itemsize
        start = self.size - size - shift if end else shift
        return self.memory[start : start + size].view(dtype)


def shifts(dtype):
    """Bytes from the page that give every kind of alignment."""
    size = np.dtype(dtype).itemsize
    return sorted({0, 1, size // 2, size - 1, size} - {size} | {0})


class Operands:
    """Operands of one dtype, each in memory of its own."""

    NAMES = ("x", "y", "weight", "beta", "factor", "mask", "out", "out2")

    def __init__(self, size):
        self.guards = {name: Guarded(size) for name in self.NAMES}

    def __call__(self, n, dtype, end, shift, values):
        """Return the operands by name, the first five filled with ``values``."""
        arrays = {}
        for name, guard in self.guards.items():
            kind = {"mask": "?", "out": "f8", "out2": "f4"}.get(name, dtype)
            a = guard.array(n, kind, end, min(shift, np.dtype(kind).itemsize - 1))
            if name == "mask":
                a[...] = True
            elif not name.startswith("out"):
                a[...] = values[:n]
            arrays[name] = a
        return arrays


def every_call(x, y, weight, beta, factor, mask, out, out2):
    """Make a call of every function, every kernel and every option."""
    for threshold in (1.0, 0.37):
        smoothl1.smooth_l1_loss(x, y, "sum", threshold)
        smoothl1.huber_loss(x, y, "none", threshold, out=out)
        smoothl1.smooth_l1_value_and_grad(x, y, "sum", threshold, out=out2)
    smoothl1.smooth_l1_grad(x, y, "none", 0.0, grad_output=factor)
    smoothl1.smooth_l1_loss(x, y, "sum", beta, weight=weight, where=mask)
    smoothl1.huber_value_and_grad(x, y, "sum", 0.7, weight=weight, where=mask, out=out)
    smoothl1.smooth_l1_grad_hess(x, y, beta, weight=weight, out=(out, out2))
    smoothl1.smooth_l1_path(x, y, [0.0, 0.37, 1.0], "sum", where=mask)
    for ufunc in (ufuncs.smooth_l1, ufuncs.smooth_l1_slope, ufuncs.huber_curvature):
        ufunc(x, y, 0.37, out=out)
        ufunc(x, y, beta, out=out2, casting="same_kind")
        ufunc(x, y, x, where=mask, out=out)


def strided(a):
    """Yield cuts that still reach both ends of a."""
    yield a[::-1]
    yield a[::2] if len(a) % 2 else a[1::2]
    yield a[::3]
    if len(a) % 2 == 0:
        yield a.reshape(-1, 2)[:, 0]
        yield a.reshape(2, -1).T
    if len(a) % 4 == 0:
        yield a.reshape(-1, 4)[:, 1:]
        yield a.reshape(-1, 4)[:, 1]


def along_axes(x, y, weight):
    """Reduce along either axis, of C and of Fortran order."""
    for a, b, w in ((x, y, weight), (x.T, y.T, weight.T)):
        for axis in (0, 1):
            smoothl1.smooth_l1_loss(a, b, "mean", 0.37, axis=axis)
            smoothl1.smooth_l1_loss(a, b, "weighted_mean", weight=w, axis=axis)
    return 1


def contiguous(lengths, dtypes):
    """Contiguous arrays of these lengths, at both ends, at every alignment."""
    operands, count = Operands(8 * max(lengths)), 0
    values = 1 + np.arange(max(lengths)) % 7 % 4
    for dtype, end in itertools.product(dtypes, (True, False)):
        for shift, n in itertools.product(shifts(dtype), lengths):
            every_call(**operands(n, dtype, end, shift, values))
            count += 1
    return count


def layouts(lengths, dtypes):
    """Strided cuts, rows and columns."""
    operands, count = Operands(8 * max(lengths)), 0
    values = 1 + np.arange(max(lengths)) % 7 % 4
    for dtype, end, n in itertools.product(dtypes, (True, False), lengths):
        arrays = operands(n, dtype, end, 0, values)
        for cuts in zip(*map(strided, arrays.values()), strict=True):
            cut = dict(zip(arrays, cuts, strict=True))
            every_call(**cut)
            count += 1
        for width in (1, 2, 3, 4, 5, 16, 17, 33, 70):
            rows = n // width
            tables = {
                name: arrays[name][n - rows * width :].reshape(rows, width)
                for name in ("x", "y", "weight")
            }
            count += rows and along_axes(**tables)
    return count


def locations(lengths):
    """``huber_location``, and the sums of the line search, which copy or want float64."""
    guards, count = [Guarded(8 * max(lengths)) for _ in range(3)], 0
    values = np.sin(np.arange(max(lengths)))
    for end, n in itertools.product((True, False), lengths):
        y, w, d = (guard.array(n, "f8", end) for guard in guards)
        y[...], w[...], d[...] = values[:n], 1.0, values[:n]
        smoothl1._simd.core.line_derivatives(y, d, w, 0.5, 0.3)
        if n:
            smoothl1.huber_location(y, 0.3, sample_weight=w)
            smoothl1.huber_location(y, 0.3)
            core = smoothl1._simd.core
            core.location(y, w, 0.3)  # in place
        count += 1
    return count


def large():
    """An ``out`` that is written past the caches, and several threads."""
    n, count = 2**24 + 5, 0
    guards = [Guarded(4 * n) for _ in range(3)]
    for end, threads in itertools.product((True, False), (1, 2)):
        x, y, out = (guard.array(n, "f4", end) for guard in guards)
        smoothl1.smooth_l1_loss(x, y, "none", out=out, n_threads=threads)
        smoothl1.smooth_l1_value_and_grad(x, y, out=out, n_threads=threads)
        count += 1
    return count


def beyond():
    """Touch what must not be touched: this is to fail."""
    guard = Guarded(100)
    print("guarded", flush=True)
    ctypes.string_at(guard.address + guard.size - 1, 2)


SHORT = range(301)
LONG = [1023, 1024, 1025, 4095, 4096, 4097, 8191, 8200]

WALKS = {
    "contiguous": lambda: contiguous(SHORT, FLOATS) + contiguous(LONG, DTYPES),
    "dtypes": lambda: contiguous(SHORT[:140], DTYPES[len(FLOATS) :]),
    "layouts": lambda: layouts([*range(64), 255, 256, 300], DTYPES) + layouts(LONG, FLOATS),
    "locations": lambda: locations([*SHORT, *LONG]),
    "large": large,
    "beyond": beyond,
}

if __name__ == "__main__":
    warnings.simplefilter("error")
    print(*(WALKS[name]() for name in sys.argv[1:]))
