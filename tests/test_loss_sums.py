"""``LossSums``: the same bits for any way to cut, order and merge."""

import copy
import doctest
import functools
import math
import pickle
import shutil
import struct
import subprocess
import sys
import threading
import zlib
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

import smoothl1
from smoothl1 import LossSums, _simd, huber_loss, smooth_l1_loss, smooth_l1_path
from smoothl1._sums import rounding, states
from tests import exact
from tests.processes import linux, run
from tests.test_simd import python

BETAS = [0.0, 0.37, 1.0, np.inf]


def same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    nan = np.isnan(a) & np.isnan(b)
    return a.dtype == b.dtype and a.shape == b.shape and bool(np.all((a == b) | nan))


def figures(sums):
    with np.errstate(all="ignore"):
        return [
            sums.compute("mean"),
            sums.compute("sum"),
            sums.mae,
            sums.rmse,
            sums.weight_sum,
            sums.quadratic_share,
        ]


def cuts(rng, n, pieces):
    """Index arrays that make up a permutation of n elements."""
    return np.split(rng.permutation(n), np.sort(rng.integers(0, n + 1, pieces - 1)))


def merged(rng, parts):
    """The parts merged by a random tree."""
    parts = list(parts)
    while len(parts) > 1:
        i = rng.integers(len(parts))
        a = parts.pop(i)
        b = parts.pop(rng.integers(len(parts)))
        parts.append(a + b)
    return parts[0]


@pytest.mark.parametrize("seed", range(25))
def test_any_partition_order_and_tree(dtype, seed):
    rng = np.random.default_rng(seed)
    n = int(rng.choice([1, 7, 100, 3000, 40_000]))
    x, y = exact.hostile(rng, n, dtype), exact.hostile(rng, n, dtype, 10)
    w = exact.hostile(rng, n, dtype, 2)
    where = rng.random(n) < 0.9
    if seed % 3 == 0:
        x[rng.integers(n)] = rng.choice([np.nan, np.inf])
    huber = bool(seed % 2)
    betas = BETAS[1:] if huber else BETAS
    empty = LossSums(betas, huber=huber, dtype=dtype)
    whole = empty.copy().update(x, y, weight=w, where=where)
    for _ in range(4):
        parts = []
        for rows in cuts(rng, n, int(rng.integers(1, 12))):
            parts.append(
                empty.copy().update(
                    x[rows],
                    y[rows],
                    weight=w[rows],
                    where=where[rows],
                    n_threads=int(rng.integers(1, 4)),
                )
            )
        total = merged(rng, parts)
        assert total == whole
        assert total.to_bytes() == whole.to_bytes()
        assert all(same(a, b) for a, b in zip(figures(total), figures(whole), strict=True))
        # In one object, piece by piece.
        again = empty.copy()
        for rows in cuts(rng, n, 5):
            again.update(x[rows], y[rows], weight=w[rows], where=where[rows])
        assert again == whole
        # Taking a part out leaves the others.
        rest = functools.reduce(lambda a, b: a.merge(b), parts[1:], empty.copy())
        assert whole - parts[0] == rest


@pytest.mark.parametrize("huber", [False, True])
def test_bits_of_exact_calls(dtype, huber, rng):
    x, y = rng.standard_normal((2, 5000)).astype(dtype)
    w = rng.uniform(0, 2, 5000).astype(dtype)
    betas = BETAS[1:] if huber else [*BETAS, 1e-46, 5e-324]
    if dtype is np.float32 and not huber:
        betas[-1] = 1e-45
    function = huber_loss if huber else smooth_l1_loss
    for options in ({}, {"weight": w}, {"weight": w, "where": w < 1.2}):
        sums = LossSums(betas, huber=huber, dtype=dtype).update(x, y, **options)
        for reduction in ("mean", "sum", "weighted_mean"):
            if reduction == "weighted_mean" and "weight" not in options:
                assert same(sums.compute(reduction), sums.compute("mean"))
                continue
            got = sums.compute(reduction)
            expected = [function(x, y, reduction, b, exact=True, **options) for b in betas]
            assert same(got, np.array(expected))
            if not huber:
                assert same(got, smooth_l1_path(x, y, betas, reduction, exact=True, **options))


def test_figures_against_fractions(dtype, rng):
    x, y = rng.standard_normal((2, 800)).astype(dtype)
    w = rng.uniform(0, 2, 800).astype(dtype)
    z = np.abs(x - y)

    def total(values):
        return sum(map(Fraction, values.astype(float).tolist()), Fraction(0))

    plain = LossSums(0.37, dtype=dtype).update(x, y)
    assert plain.n == 800
    assert plain.weight_sum == 800.0
    assert same(plain.mae, exact.divided(total(z), 800, dtype))
    below = int((z < dtype(0.37)).sum())
    assert same(plain.quadratic_share, np.float64(below / 800))
    squares = z * (z * dtype(0.25))
    root = math.sqrt(4 * float(total(squares)) / 800)
    assert abs(plain.rmse - root) <= np.spacing(dtype(root))
    weighted = LossSums([0.37, 1.0], dtype=dtype).update(x, y, weight=w)
    mass = total(w)
    assert same(weighted.mae, exact.divided(total(z * w), mass, dtype))
    assert weighted.weight_sum == float(mass)
    for k, beta in enumerate((0.37, 1.0)):
        share = exact.divided(total(w[z < dtype(beta)]), mass, np.float64)
        assert weighted.quadratic_share[k] == share


def test_nan_in_one_shard(dtype, rng):
    x = rng.standard_normal((3, 200)).astype(dtype)
    x[1, 5] = np.nan
    a, b, c = (LossSums(0.5, dtype=dtype).update(row, dtype(0)) for row in x)
    for order in ((a, b, c), (b, a, c), (c, a, b), (b, c, a)):
        assert math.isnan(sum(order).compute())
        assert sum(order) == a + b + c
    assert same((a + b + c - b).compute(), (a + c).compute())
    b.update(x[0], dtype(0))  # after the NaN
    assert b - LossSums(0.5, dtype=dtype).update(x[1], dtype(0)) == a


@pytest.mark.parametrize("special", [[np.inf], [-np.inf], [np.inf, np.inf], [np.inf, np.nan]])
def test_infinite_shard_is_taken_out_again(dtype, special, rng):
    ordinary = LossSums(dtype=dtype).update(rng.standard_normal(100).astype(dtype), dtype(0))
    shard = LossSums(dtype=dtype).update(np.array(special, dtype), dtype(0))
    with_it = ordinary + shard
    assert not np.isfinite(with_it.compute())
    assert with_it - shard == ordinary
    assert np.isfinite((with_it - shard).compute())


def test_what_is_taken_out_may_be_put_in_afterwards(dtype, rng):
    x, y = rng.standard_normal((2, 300)).astype(dtype)
    one = LossSums(dtype=dtype).update(x[:100], y[:100])
    other = LossSums(dtype=dtype).update(x[100:], y[100:])
    less = one - other
    assert less.n == -100
    assert less + other == one
    assert (LossSums(dtype=dtype) - one) + other + one == other


def test_overflowing_terms_are_infinite(dtype):
    top = np.finfo(dtype).max
    sums = LossSums(dtype=dtype).update(np.array([top, -top]), np.array([-top, top]))
    assert sums.compute() == np.inf
    large = LossSums(dtype=dtype).update(np.full(100, top), dtype(0))
    assert same(large.compute(), exact.divided(Fraction(float(top)) - Fraction(1, 2), 1, dtype))
    assert large.compute("sum") == np.inf


def test_billions_of_states(dtype, rng):
    # 2**31 states of the most that a normalised digit can hold, added as engines would.
    x = rng.standard_normal(100).astype(dtype)
    one = LossSums(dtype=dtype).update(x, dtype(0), weight=-np.ones(100, dtype))
    vector = one.to_array()
    vector[1 : 1 + rounding.layout_of(dtype is np.float32).digits - 1] = 2**32 - 1
    one = LossSums.from_array(vector, one)
    vector = one.to_array()
    total = vector.copy()
    for _ in range(31):  # doubling without carries
        total = total + total
    assert (total == vector.astype(object) * 2**31).all()
    merged = LossSums.from_array(total, one)
    assert merged.n == 2**31 * one.n
    assert same(merged.compute(), one.compute())
    by_merging = one.copy()
    for _ in range(31):
        by_merging += by_merging.copy()
    assert by_merging == merged


def test_counts_beyond_64_bits_are_an_error():
    sums = LossSums().update([1.0], [0.0])
    for _ in range(61):
        sums += sums.copy()
    with pytest.raises(OverflowError, match="beyond what 64 bits can count"):
        sums.merge(sums)
    assert sums.n == 2**61


def test_arithmetic_leaves_operands_alone(dtype):
    a = LossSums(dtype=dtype).update(dtype(1), dtype(0))
    b = LossSums(dtype=dtype).update(dtype(5), dtype(0))
    kept = a.to_bytes(), b.to_bytes()
    c = a + b
    d = sum([a, b])
    e = c - b
    assert (a.to_bytes(), b.to_bytes()) == kept
    assert c == d
    assert e == a
    assert c is not a
    assert sum([a]) is not a
    f = a.copy()
    g = f
    f += b
    assert g is f
    assert f == c
    f -= b
    assert g == a
    assert a.copy().merge(b, b).n == 3
    assert a.merge(a).n == 2
    a -= a
    assert a == LossSums(dtype=dtype)
    assert c.reset() == LossSums(dtype=dtype)
    for result in (c.update(dtype(1), dtype(0)), c.merge(), c.reset()):
        assert result is c


def test_merging_with_something_else():
    sums = LossSums()
    others = {
        "float32": LossSums(dtype=np.float32),
        "Huber": LossSums(huber=True),
        "other thresholds": LossSums(2.0),
        r"beta=\[1.0\]": LossSums([1.0]),
    }
    for text, other in others.items():
        for merge in (sums.merge, sums.__add__, sums.__sub__, sums.__iadd__, sums.__isub__):
            with pytest.raises(ValueError, match=text):
                merge(other)
        assert sums != other
    before = sums.update(1.0, 0.0).to_bytes()
    with pytest.raises(ValueError, match="thresholds"):
        sums.merge(sums.copy(), LossSums(3.0))
    assert sums.to_bytes() == before  # nothing half done
    with pytest.raises(TypeError, match="only LossSums can be merged, got int"):
        sums.merge(1)
    for operation in (
        lambda: sums + 1,
        lambda: 1 + sums,
        lambda: sums - 0,
        lambda: sums.__iadd__(1) + 1,
        lambda: sums.__isub__("a") - 1,
    ):
        with pytest.raises(TypeError):
            operation()
    assert sums != 1
    with pytest.raises(TypeError, match="unhashable"):
        hash(sums)


def test_arguments_of_the_constructor():
    for beta in (-1.0, np.nan, [1.0, -2.0]):
        with pytest.raises(ValueError, match="beta must be >= 0"):
            LossSums(beta)
    for beta in (0.0, -1.0, [1.0, 0.0]):
        with pytest.raises(ValueError, match="delta must be > 0"):
            LossSums(beta, huber=True)
    with pytest.raises(ValueError, match="delta must be > 0 in float32"):
        LossSums(1e-60, huber=True, dtype=np.float32)
    for beta in ([], [[1.0]]):
        with pytest.raises(ValueError, match="beta must be a number or a sequence"):
            LossSums(beta)
    for dtype in (np.float16, int, "f16", complex):
        with pytest.raises(ValueError, match="dtype must be float32 or float64, got"):
            LossSums(dtype=dtype)
    sums = LossSums([1, 0.1], dtype="f4")
    assert sums.beta == (1.0, float(np.float32(0.1)))
    assert sums.dtype == np.float32
    assert not sums.huber
    assert repr(sums) == "LossSums(beta=[1.0, 0.1], dtype=float32) of 0 elements"
    assert LossSums(-0.0) == LossSums(0)
    assert "huber=True" in repr(LossSums(huber=True))
    assert LossSums(0.1, dtype=np.float32) == LossSums(np.float32(0.1), dtype=np.float32)


def test_dtype_belongs_to_the_object(rng):
    x = rng.standard_normal(50)
    narrow = x.astype(np.float32)
    single, double = LossSums(dtype=np.float32), LossSums()
    for wide, name in (
        ((x, narrow), "input"),
        ((narrow, x), "target"),
        ((np.arange(50), narrow), "input"),
    ):
        with pytest.raises(TypeError, match=f"{name} has dtype .*64, which sums in float32 would"):
            single.update(*wide)
    with pytest.raises(TypeError, match="weight has dtype float64, which"):
        single.update(narrow, narrow, weight=x)
    with pytest.raises(TypeError, match="input has dtype float64"):
        single.update([1.0], [2.0])
    assert single.n == 0
    single.update(narrow, 0.0, weight=2)
    single.update(narrow.astype(np.float16), np.float32(0), weight=np.int8(1))
    assert single.compute().dtype == np.float32
    double.update(narrow, 0.0).update(np.arange(50), 1, weight=narrow)
    assert double.compute().dtype == np.float64
    assert same(
        LossSums().update(narrow, np.float32(0)).compute(),
        smooth_l1_loss(narrow.astype(np.float64), 0.0, exact=True),
    )


def test_bad_pieces_change_nothing(rng):
    sums = LossSums().update([1.0, 2.0], [0.0, 0.0])
    before = sums.to_bytes()
    for error, arguments in (
        (ValueError, {"target": [1.0]}),
        (TypeError, {"target": ["a", "b"]}),
        (ValueError, {"weight": [1.0, 2.0, 3.0]}),
        (TypeError, {"where": [1, 0]}),
        (ValueError, {"n_threads": 0}),
    ):
        with pytest.raises(error):
            sums.update(**({"input": [1.0, 2.0], "target": [0.0, 0.0]} | arguments))
        assert sums.to_bytes() == before


def test_nothing_was_added(dtype):
    sums = LossSums([1.0, 2.0], dtype=dtype)
    with pytest.warns(RuntimeWarning, match="mean of no elements is nan") as caught:
        assert np.isnan(sums.compute()).all()
    assert caught[0].filename == __file__
    assert same(sums.compute("sum"), np.zeros(2, dtype))
    with pytest.raises(ValueError, match="the weights sum to 0"):
        sums.compute("weighted_mean")
    for reduction in ("none", "max", 1.0):
        with pytest.raises(ValueError, match="reduction must be one of 'mean', 'sum'"):
            sums.compute(reduction)
    assert math.isnan(sums.mae)
    assert math.isnan(sums.rmse)
    assert np.isnan(sums.quadratic_share).all()
    assert sums.weight_sum == 0.0
    assert sums.n == 0
    sums.update(np.empty((0, 3), dtype), np.empty((0, 3), dtype))
    assert sums == LossSums([1.0, 2.0], dtype=dtype)
    sums.update(np.ones(2, dtype), dtype(0), weight=np.array([1, -1], dtype))
    with pytest.raises(ValueError, match="the weights sum to 0"):
        sums.compute("weighted_mean")
    # A negative mean square has no root.
    odd = LossSums(dtype=dtype).update(
        np.array([1, 2], dtype), dtype(0), weight=np.array([4, -2], dtype)
    )
    assert math.isnan(odd.rmse)


def test_infinite_figures(dtype):
    sums = LossSums(dtype=dtype).update(np.array([np.inf, 1], dtype), dtype(0))
    assert sums.mae == np.inf
    assert sums.rmse == np.inf
    assert sums.quadratic_share == 0.0
    sums = LossSums(dtype=dtype).update(np.ones(1, dtype), dtype(0), weight=dtype(np.inf))
    assert sums.weight_sum == np.inf
    assert math.isnan(sums.quadratic_share)
    assert math.isnan(sums.mae)


def test_copies_and_pickles(dtype, rng):
    x = rng.standard_normal(500).astype(dtype)
    sums = LossSums([0.5, 1.0, 1.5, 30.0], dtype=dtype).update(x, dtype(0))
    for other in (
        pickle.loads(pickle.dumps(sums)),
        copy.copy(sums),
        copy.deepcopy(sums),
        sums.copy(),
        LossSums.from_bytes(sums.to_bytes()),
        LossSums.from_bytes(bytearray(sums.to_bytes())),
        LossSums.from_array(sums.to_array(), sums),
        LossSums.from_array(sums.to_array().tolist(), LossSums([0.5, 1.0, 1.5, 30.0], dtype=dtype)),
        LossSums.from_array(sums.to_array().astype(object), sums),
    ):
        assert other == sums
        assert other.digest() == sums.digest()
        assert same(other.compute(), sums.compute())
        other.update(x, dtype(0))
        assert other != sums
    assert len(pickle.dumps(sums)) < 1000
    assert len(sums.digest()) == 64


def test_vector_is_additive(dtype, rng):
    x = rng.standard_normal((6, 300)).astype(dtype)
    parts = [LossSums(0.7, dtype=dtype).update(row, dtype(0), weight=-dtype(1)) for row in x]
    vectors = np.array([part.to_array() for part in parts])
    assert vectors.dtype == np.int64
    assert LossSums.from_array(vectors.sum(axis=0), parts[0]) == sum(parts)
    difference = LossSums.from_array(vectors[0] - vectors[1], parts[0])
    assert difference == parts[0] - parts[1]
    parts[0].to_array()[:] = 0  # a copy
    assert parts[0].n == 300
    with pytest.raises(ValueError, match="vector must have shape"):
        LossSums.from_array(vectors[0][:-1], parts[0])
    with pytest.raises(TypeError, match="vector must hold integers, got dtype float64"):
        LossSums.from_array(vectors[0].astype(float), parts[0])
    with pytest.raises(TypeError, match="like must be a LossSums, got int"):
        LossSums.from_array(vectors[0], 1)
    vectors[0][-4] = 2**62  # the highest digit
    with pytest.raises(ValueError, match="beyond what any data give"):
        LossSums.from_array(vectors[0], parts[0])


def test_tokens_for_dask(rng):
    a = LossSums(0.7).update(1.0, 0.0)
    assert a.__dask_tokenize__() == a.copy().__dask_tokenize__()
    assert a.__dask_tokenize__() != LossSums(0.7).__dask_tokenize__()
    base = pytest.importorskip("dask.base")
    assert base.tokenize(a) == base.tokenize(a.copy())


# ---------------------------------------------------------------------------
# Bytes
# ---------------------------------------------------------------------------


def with_checksum(body):
    return bytes(body) + struct.pack("<I", zlib.crc32(bytes(body)))


def state():
    x = np.array([1.0, -2.0, 1e-300, 1e300, np.inf])
    return LossSums([0.5, 2.0]).update(x, 0.0, weight=[1, -1, 1, 1, 1]).to_bytes()


def test_bytes_say_what_is_wrong():
    data = state()
    LossSums.from_bytes(data)
    for bad, text in (
        (b"", "no state of smoothl1's sums"),
        (b"PK" + data[2:], "no state"),
        (data[:4] + b"\x02" + data[5:], "version 2 of the format; this smoothl1 reads 1"),
        (data[:-1], "checksum"),
        (data + b"\0", "checksum"),
        (data[:40] + bytes([data[40] ^ 1]) + data[41:], "checksum"),
        (with_checksum(data[:5] + b"\x02" + data[6:-4]), "GroupedLossSums, not of LossSums"),
        (with_checksum(data[:5] + b"\x07" + data[6:-4]), "kind 7"),
        (with_checksum(data[:6] + b"\x02" + data[7:-4]), "damaged"),
        (with_checksum(data[:7] + b"\x02" + data[8:-4]), "thresholds that no sums have"),
        (with_checksum(data[:8] + b"\xff" * 4 + data[12:-4]), "damaged"),
        (with_checksum(data[:12] + struct.pack("<d", -1) + data[20:-4]), "beta must be >= 0"),
        (with_checksum(data[:12] + struct.pack("<d", -0.0) + data[20:-4]), "canonical"),
        (with_checksum(data[:-4] + b"\0"), "damaged"),
        (with_checksum(data[:28] + b"\x8a\0" + data[29:-4]), "canonical"),
    ):
        with pytest.raises(ValueError, match=text):
            LossSums.from_bytes(bad)
    for bad in ("text", 1, None):
        with pytest.raises(TypeError):
            LossSums.from_bytes(bad)


def test_damaged_bytes_are_a_value_error():
    rng = np.random.default_rng(11)
    data = state()
    accepted = 0
    for _ in range(4000):
        body = bytearray(data[:-4])
        for _ in range(int(rng.integers(1, 4))):
            kind, at = rng.integers(4), int(rng.integers(len(body)))
            if kind == 0:
                body[at] = int(rng.integers(256))
            elif kind == 1:
                body[at] ^= 1 << int(rng.integers(8))
            elif kind == 2:
                del body[at : at + int(rng.integers(1, 9))]
            else:
                body[at:at] = rng.bytes(int(rng.integers(1, 9)))
        bad = with_checksum(body)
        try:
            sums = LossSums.from_bytes(bad)
        except ValueError:
            continue
        # What is no damage, but another state, is canonical.
        accepted += 1
        assert sums.to_bytes() == bad
        sums.compute("sum")
    assert accepted > 0
    for size in range(len(data)):
        with pytest.raises(ValueError, match="state"):
            LossSums.from_bytes(data[:size])
    for _ in range(500):
        with pytest.raises(ValueError, match="state"):
            LossSums.from_bytes(with_checksum(states.MAGIC + rng.bytes(int(rng.integers(99)))))


def test_numbers_in_bytes():
    spec = states.Spec((1.0,), False, False, True)
    values = [0, 1, -1, 127, 128, -128, -129, 255, 256, -256, 2**64, -(2**64), 2**2000, 3 << 999]
    counts = [0, 1, -1, 63, 64, 2**62 - 1, 1 - 2**62]
    writer = states.Writer(states.SUMS, spec)
    for value in values:
        writer.number(rounding.Number(value))
        writer.number(rounding.Number(value, 1, -2, 3))
    for count in counts:
        writer.integer(count)
    reader = states.Reader(writer.done(), states.SUMS)
    for value in values:
        assert reader.number() == rounding.Number(value)
        assert reader.number() == rounding.Number(value, 1, -2, 3)
    for count in counts:
        assert reader.integer() == count
    reader.done()


# ---------------------------------------------------------------------------
# Instruction sets, threads, processes
# ---------------------------------------------------------------------------

SCRIPT = """
import hashlib
import numpy as np
from smoothl1 import LossSums, smooth_l1_loss

# Deviates by exact operations: NumPy's normal ones differ between processors.
rng = np.random.default_rng(3)
total = hashlib.sha256()
for dtype in (np.float32, np.float64):
    for n in (1, 40, 64, 1000, 5000, 100_001):
        for spread in (1, 20, 60, 250):
            scale = np.ldexp(1.0, rng.integers(-min(spread, 60), min(spread, 60) + 1, n))
            x, y = ((4 * rng.random((2, n)) - 2) * scale).astype(dtype)
            w = (2 * rng.random(n) - 0.5).astype(dtype)
            for options in ({}, {"weight": w}, {"where": w > 0}):
                sums = LossSums([0.0, 0.37, 1.0], dtype=dtype).update(x, y, **options)
                total.update(sums.to_bytes())
                total.update(sums.compute("sum").tobytes())
            total.update(smooth_l1_loss(x, y, "sum", np.abs(w), exact=True).tobytes())
print(total.hexdigest())
"""


@pytest.mark.thread_unsafe(reason="starts processes")
def test_same_bytes_on_every_instruction_set():
    digests = {name: python("-c", SCRIPT, SMOOTHL1_SIMD=name) for name in _simd.supported()}
    assert all(done.returncode == 0 for done in digests.values()), digests
    assert len({done.stdout for done in digests.values()}) == 1, digests
    one = python("-c", SCRIPT, OMP_NUM_THREADS="1")
    assert one.stdout == digests["baseline"].stdout


def test_updates_from_many_threads(rng):
    x, y = rng.standard_normal((2, 8, 3000))
    expected = LossSums(0.5).update(x, y)
    shared = LossSums(0.5)
    start = threading.Barrier(8)

    def work(i):
        start.wait()
        for part in np.split(np.arange(3000), 30):
            shared.update(x[i, part], y[i, part])

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert shared == expected


@linux
@pytest.mark.thread_unsafe(reason="starts processes")
def test_children_of_a_process_that_ran_threads():
    script = """
import os
import numpy as np
from smoothl1 import LossSums
x = np.random.default_rng(0).standard_normal((2, 10**6))
parent = LossSums(0.5).update(x[0], 0.0, n_threads=2)
read, write = os.pipe()
if os.fork() == 0:
    child = LossSums(0.5).update(x[1], 0.0, n_threads=2)
    os.write(write, child.to_bytes())
    os._exit(0)
os.wait()
both = parent + LossSums.from_bytes(os.read(read, 10**5))
print(both == LossSums(0.5).update(x, 0.0))
"""
    assert run(script) == "True"


def test_exported():
    assert smoothl1.LossSums is LossSums
    assert sys.getsizeof(LossSums().to_bytes()) < 150


# ---------------------------------------------------------------------------
# Documentation
# ---------------------------------------------------------------------------

DOCS = Path(__file__).parent.parent / "docs"


@pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here")
def test_examples_of_the_page():
    found = doctest.testfile(
        str(DOCS / "exact.md"), module_relative=False, optionflags=doctest.NORMALIZE_WHITESPACE
    )
    assert found.attempted > 5
    assert found.failed == 0


@pytest.mark.skipif(not DOCS.exists(), reason="the documentation is not here")
def test_picture_is_the_one_that_its_script_draws(tmp_path):
    script = shutil.copy(DOCS / "make_digits.py", tmp_path)
    subprocess.run([sys.executable, script], check=True)
    assert (tmp_path / "digits.svg").read_text() == (DOCS / "digits.svg").read_text()
