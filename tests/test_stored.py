"""Sums read swapped, two-byte and unaligned operands as they are stored: the bits of a copy."""

import numpy as np
import pytest

from smoothl1 import smooth_l1_loss

try:
    import ml_dtypes
except ImportError:
    ml_dtypes = None

# What is computed in, and what it is read from.
STORED = {"f4": ["f4", ">f4", "f2", "bfloat16"], "f8": ["f8", ">f8", "f4"]}
PAIRS = [
    (kind, a, b)
    for kind, names in STORED.items()
    for a in names
    for b in names
    if kind != "f8" or {a, b} != {"f4"}
]
# Around the shortest leaf of groups, groups of either dtype, a leaf, and what follows a leaf.
SIZES = [1023, 1024, 1025, 1087, 1088, 1151, 1152, 1279, 1281, 4095, 4096, 4097]
SIZES += [4096 + 1023, 4096 + 1024, 4096 + 1153, 8192, 12288 + 130]
EVERY = np.arange(2**16, dtype=np.uint16)
ROW = 1024


def dtype_of(name):
    if name != "bfloat16":
        return np.dtype(name)
    if ml_dtypes is None:
        pytest.skip("needs ml_dtypes")
    return np.dtype(ml_dtypes.bfloat16)


def moved(a, shift):
    """A copy that begins some bytes past a line, wherever that leaves its items."""
    raw = np.empty(a.nbytes + 128, np.uint8)
    start = -raw.ctypes.data % 64 + shift
    view = raw[start : start + a.nbytes].view(a.dtype)
    view[...] = a
    return view


def apart(a):
    """A copy whose items are apart, so that they go through a buffer."""
    return np.repeat(a, 2)[::2]


def bits(a):
    return np.ascontiguousarray(a).view(f"u{a.dtype.itemsize}")


@pytest.mark.parametrize(("kind", "a", "b"), PAIRS)
def test_bits_are_those_of_copies(kind, a, b, rng):
    for k, n in enumerate(SIZES):
        x, y, w = rng.standard_normal((3, n)).astype("f2")
        x, y, w = x.astype(dtype_of(a)), y.astype(dtype_of(b)), np.abs(w).astype(dtype_of(a))
        mask = rng.uniform(size=n) < 0.7
        u, v, t = moved(x, 5 * k % 64), moved(y, 3 * k % 64), moved(w, k)
        for beta in (0.0, 0.37, 1.0, np.inf):
            for one, two, three in (
                (apart(x), apart(y), apart(w)),
                (x.astype(kind), y.astype(kind), w.astype(kind)),
            ):
                for where in (None, mask):
                    for weight, other in ((None, None), (t, three), (w.astype(kind), three)):
                        got = smooth_l1_loss(u, v, "sum", beta, weight=weight, where=where)
                        want = smooth_l1_loss(one, two, "sum", beta, weight=other, where=where)
                        if got.dtype == want.dtype:
                            assert bits(got) == bits(want), (n, beta, where is None)


@pytest.mark.parametrize("name", ["f2", "bfloat16"])
def test_every_number_of_two_bytes(name):
    """Each of them alone among zeros, in each place of a group, is its own absolute value."""
    dtype = dtype_of(name)
    every = EVERY.view(dtype)
    wanted = np.where(np.isnan(every.astype("f4")), np.float32("nan"), np.abs(every.astype("f4")))
    zeros, row = np.zeros((4096, ROW), dtype), np.arange(4096)
    for first in range(0, len(every), len(zeros)):
        part = slice(first, first + len(zeros))
        x = zeros.copy()
        x[row, (5 * row + first // 4096) % ROW] = every[part]
        for one, two in ((x, zeros), (zeros, x)):
            for y in (two, two.astype("f4")):
                got = smooth_l1_loss(one, y, "sum", 0.0, axis=1).astype("f4")
                np.testing.assert_array_equal(got, wanted[part])
        ones = np.ones_like(x)
        got = smooth_l1_loss(ones, zeros, "sum", 0.0, weight=x, axis=1).astype("f4")
        np.testing.assert_array_equal(np.abs(got), wanted[part])


@pytest.mark.parametrize("name", [">f4", ">f8"])
def test_special_numbers_with_bytes_swapped(name):
    dtype = np.dtype(name)
    info = np.finfo(dtype)
    least = info.smallest_subnormal
    special = [0.0, least, 3 * least, info.smallest_normal, 1.0, 1 + info.eps, info.max, np.inf]
    special = np.array(special + [-number for number in special] + [np.nan], dtype)
    x = np.zeros((len(special), ROW), dtype)
    x[np.arange(len(special)), 7 * np.arange(len(special))] = special
    for one, two in ((x, np.zeros_like(x)), (np.zeros_like(x), x)):
        got = smooth_l1_loss(one, two, "sum", 0.0, axis=1)
        np.testing.assert_array_equal(got, np.abs(special))


@pytest.mark.parametrize("name", [">f4", ">f8", "f2", "bfloat16"])
def test_infinity_and_nan_reach_the_sum(name):
    dtype = dtype_of(name)
    for place in (0, 500, 1100):  # the last in a group that is filled up
        for number in (np.inf, -np.inf, np.nan):
            x, y = np.zeros((2, 1101), dtype)
            x[place] = number
            for beta in (0.37, 1.0):
                got = smooth_l1_loss(x, y, "sum", beta)
                assert np.isnan(got) if np.isnan(number) else got == np.inf
            y[place] = number
            assert np.isnan(smooth_l1_loss(x, y, "sum", 1.0))
