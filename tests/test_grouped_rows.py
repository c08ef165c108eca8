"""The ways that elements take to the sums of their groups: which one decides no bit."""

import numpy as np
import pytest

import smoothl1
from smoothl1 import GroupedLossSums, LossSums
from smoothl1._simd import core
from tests import exact


def by_each(betas, dtype, by, x, y, **options):
    """The sums of each group by itself."""
    found = GroupedLossSums(betas, dtype=dtype)
    for key in np.unique(by).tolist():
        rows = by == key
        one = LossSums(betas, dtype=dtype)
        one.update(x[rows], y[rows], **{name: a[rows] for name, a in options.items()})
        if one.n:
            found.take(key, one)
    return found


def same_figures(a, b):
    for reduction in ("mean", "sum"):
        first, second = a.compute(reduction), b.compute(reduction)
        for name, column in first.items():
            np.testing.assert_array_equal(column, second[name])


@pytest.mark.parametrize("options", [(), ("weight",), ("weight", "where")])
@pytest.mark.parametrize("spread", [0, 20, 60])
def test_compact_rows_have_the_sums_of_a_table(dtype, options, spread, rng):
    n = 3000
    x, y = rng.standard_normal((2, n)).astype(dtype)
    x *= 2.0 ** rng.integers(-spread, 1, n).astype(dtype)
    y[::3] = x[::3]
    by = rng.integers(0, 1500, n)
    given = {"weight": rng.standard_normal(n).astype(dtype), "where": rng.random(n) < 0.7}
    given = {name: given[name] for name in options}
    betas = [0.0, 0.37, 1.0]
    sums = GroupedLossSums(betas, dtype=dtype).update(x, y, by, **given)
    if spread == 0:
        assert sums._compact is not None
    expected = by_each(betas, dtype, by, x, y, **given)
    same_figures(sums, expected)
    assert sums == expected
    assert sums.to_bytes() == expected.to_bytes()


def test_compact_rows_take_what_they_have_room_for(rng):
    n = 2000
    x, zero = rng.uniform(0.5, 1.0, n), np.zeros(n)
    by = rng.integers(0, 1000, n)
    pieces = [
        ({}, True),
        ({"input": 1.25 * x}, True),
        ({"weight": np.ones(n)}, False),
    ]
    sums, all_of = GroupedLossSums(), {"x": [], "w": []}
    for options, stays in pieces:
        sums.update(options.get("input", x), zero, by, weight=options.get("weight"))
        assert (sums._compact is not None) == stays
        all_of["x"].append(options.get("input", x))
        all_of["w"].append(np.ones(n))
    whole = by_each(1.0, np.float64, np.tile(by, 3), np.concatenate(all_of["x"]), np.zeros(3 * n))
    assert sums.to_bytes() == whole.to_bytes()
    for odd in (np.nan, np.inf, 1e100, 2.0**-90):
        sums = GroupedLossSums().update(x, zero, by)
        assert sums._compact is not None
        sums.update(np.append(x, odd), np.zeros(n + 1), np.append(by, 5))
        assert sums._compact is None
        both = np.concatenate([by, by, [5]])
        expected = by_each(
            1.0, np.float64, both, np.concatenate([x, x, [odd]]), np.zeros(2 * n + 1)
        )
        assert sums.to_bytes() == expected.to_bytes()


def test_compact_rows_are_made_a_table_for_everything_else(rng):
    n = 4000
    x, y = rng.standard_normal((2, n))
    by = rng.integers(0, 2000, n)

    def fresh():
        return GroupedLossSums().update(x, y, by)

    expected = by_each(1.0, np.float64, by, x, y)
    assert fresh() + GroupedLossSums() == expected
    assert fresh() - expected == GroupedLossSums()
    assert fresh().copy() == expected
    assert fresh().group(int(by[0])) == expected.group(int(by[0]))
    assert fresh().groups() == expected.groups()
    assert len(fresh()) == len(expected)
    np.testing.assert_array_equal(fresh().to_array(), expected.to_array())
    assert len(fresh().reset()) == 0
    # A few groups beside them.
    few = fresh().update(np.tile(x, 40), np.tile(y, 40), np.tile(by % 2, 40))
    again = by_each(1.0, np.float64, by % 2, x, y)
    for _ in range(40):
        expected = expected + again
    same_figures(few, expected)
    assert few.to_bytes() == expected.to_bytes()


def test_ties_beside_a_sum_of_zero_are_settled_in_the_core(dtype, rng):
    # No element is in the linear piece; every other mean of two is in the middle of two floats.
    x = rng.uniform(0.25, 0.9, 800).astype(dtype)
    by = np.repeat(np.arange(400), 2)
    sums = GroupedLossSums(dtype=dtype).update(x, np.zeros_like(x), by)
    table = sums._table
    _, _, sure = core.exact_figures(
        table.rows, table.windows, np.arange(400), [1.0], False, dtype is np.float32, "mean"
    )
    assert sure.all()
    same_figures(sums, by_each(1.0, dtype, by, x, np.zeros_like(x)))


@pytest.mark.parametrize("seed", range(6))
def test_integers_close_together_need_no_codes(dtype, seed, monkeypatch):
    rng = np.random.default_rng(seed)
    n = 30_000
    x, y = exact.hostile(rng, n, dtype), exact.hostile(rng, n, dtype, 20)
    if seed % 3 == 0:
        x[rng.integers(n)] = np.nan
    by = rng.integers(-3, 40, n) * int(rng.integers(1, 12)) + int(rng.integers(-(2**40), 2**40))
    options = {}
    if seed % 2:
        options["weight"] = exact.hostile(rng, n, dtype, 2)
    if seed % 5 < 2:
        options["where"] = rng.random(n) < 0.7
    betas = [0.0, 1.0]
    expected = by_each(betas, dtype, by, x, y, **options)
    for least, n_threads in ((2**62, 1), (1, 1), (1, 2), (1, 3)):
        monkeypatch.setattr(smoothl1.grouped, "_NEAR", least)
        sums = GroupedLossSums(betas, dtype=dtype)
        sums.update(x, y, by, **options, n_threads=n_threads)
        assert sums.groups() == expected.groups()
        assert sums.to_bytes() == expected.to_bytes()
        # Onto what is there.
        sums.update(x, y, by, **options, n_threads=n_threads)
        assert sums.to_bytes() == (expected + expected).to_bytes()


@pytest.mark.parametrize("n_threads", [1, 2])
def test_integers_that_turn_out_to_be_far_apart(n_threads, monkeypatch, rng):
    monkeypatch.setattr(smoothl1.grouped, "_NEAR", 1)
    n = 20_000
    x, y = rng.standard_normal((2, n))
    for far in (512, -600, 2**40, 2**63 - 1 - 20, -(2**63)):
        by = rng.integers(0, 20, n)
        by[[n // 3, 2 * n // 3 + 1]] = far
        sums = GroupedLossSums().update(x, y, by, n_threads=n_threads)
        assert sums.to_bytes() == by_each(1.0, np.float64, by, x, y).to_bytes()
    # Each half close together, both together not.
    by = np.where(np.arange(n) < n // 2, 0, 511) + rng.integers(0, 20, n)
    sums = GroupedLossSums().update(x, y, by, n_threads=n_threads)
    assert sums.to_bytes() == by_each(1.0, np.float64, by, x, y).to_bytes()


def test_core_refuses_rows_and_keys_that_are_none():
    x = np.ones(3)
    work = core.Work(x, x, betas=[1.0, 0.0, 0.0], huber=False, single=False)
    windows = np.array([[0, 34, 1, -1], [1, 30, 4, -1], [3, 34, 1, -1], [4, 30, 6, -1]])
    windows = np.concatenate([windows, [[7, 30, 6, -1]]])
    rows, groups = np.zeros((2, 10), np.int64), np.array([0, 0, 1], np.int32)
    core.exact_scatter(work, groups, rows, windows, True)
    assert rows[:, 0].tolist() == [2, 1]
    table = np.zeros((2, 1 + 1 + 4 + 1 + 6 + 6 + 2), np.int64)
    core.exact_unpack(rows, windows, table)
    assert table[:, :2].tolist() == [[2, 2], [1, 1]]
    for column, value in ((0, 8), (0, -1), (2, 3), (2, 8), (3, 9)):
        wrong = windows.copy()
        wrong[4, column] = value
        with pytest.raises(ValueError, match="window 4 is not within the compact rows"):
            core.exact_scatter(work, groups, rows, wrong, True)
        with pytest.raises(ValueError, match="window 4 is not within the compact rows"):
            core.exact_unpack(rows, wrong, table)
    with pytest.raises(ValueError, match="rows must be a contiguous array of int64, of 21 columns"):
        core.exact_unpack(rows, windows, table[:, 1:])
    with pytest.raises(ValueError, match="table must have as many rows"):
        core.exact_unpack(rows, windows, np.zeros((3, 21), np.int64))
    keys = np.array([-1, 2, 2])
    memory, found, least, most = core.exact_stage_keys(work, keys)
    assert found[:, 0].nonzero()[0].tolist() == [2, 511]
    assert (least, most) == (-1, 2)
    again, found, _, _ = core.exact_stage_keys(work, np.array([0, 512, 0]), memory)
    assert again is memory
    assert found is None
    for bad in (keys[:2], keys.astype(np.int32), keys[::-1]):
        with pytest.raises(ValueError, match="keys must be a contiguous array of int64, one for"):
            core.exact_stage_keys(work, bad)


def test_core_refuses_codes_that_are_no_rows():
    n = 100_000
    x = np.ones(n)
    work = core.Work(x, x, betas=[1.0, 0.0, 0.0], huber=False, single=False)
    windows = np.array([[0, 34, 1, -1], [1, 30, 4, -1], [3, 34, 1, -1], [4, 30, 6, -1]])
    windows = np.concatenate([windows, [[7, 30, 6, -1]]])
    keys = np.arange(n)
    lookup = np.full(n, -1, np.int32)
    following, words = core.exact_learn(keys, 0, lookup, 0, 2)
    assert following == n
    rows = np.zeros((n, 10), np.int64)
    core.exact_scatter_keys(work, keys, 0, lookup, words, rows, windows)
    assert (rows[:, 0] == 1).all()
    with pytest.raises(ValueError, match="keys must be one for each element"):
        core.exact_scatter_keys(work, keys[1:], 0, lookup, words, rows, windows)
    for few in (1000, n - 1):
        with pytest.raises(ValueError, match="must be within 0 and"):
            core.exact_scatter_keys(work, keys, 0, lookup, words, rows[:few], windows)
    with pytest.raises(ValueError, match="keys must be within 0 and"):
        core.exact_scatter_keys(work, keys + 1, 0, lookup, words, rows, windows)
