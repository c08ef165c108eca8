"""``GroupedLossSums``: each group has the sums of a ``LossSums`` of its elements."""

import math
import pickle
import struct
import zlib
from fractions import Fraction

import numpy as np
import pytest

import smoothl1
from smoothl1 import GroupedLossSums, LossSums, smooth_l1_loss
from smoothl1._simd import core
from smoothl1._sums import keys, rounding, states
from tests import exact


def same(a, b):
    a, b = np.asarray(a), np.asarray(b)
    nan = np.isnan(a) & np.isnan(b)
    return a.dtype == b.dtype and a.shape == b.shape and bool(np.all((a == b) | nan))


def figures_of(sums, reduction):
    """The figures of a group, as columns have them."""
    with np.errstate(all="ignore"):
        try:
            losses = np.atleast_1d(sums.compute(reduction))
        except ValueError:
            losses = np.full(np.size(sums.beta), math.nan, sums.dtype)
    return {
        "n": np.int64(sums.n),
        "weight_sum": sums.weight_sum,
        "mae": sums.mae,
        "rmse": sums.rmse,
        "loss": losses,
        "quadratic_share": np.atleast_1d(sums.quadratic_share),
    }


def check(grouped, by, x, y, betas, dtype, huber=False, **options):
    """Compare every group with its elements."""
    keys = sorted(set(by.tolist()))
    assert grouped.groups() == keys
    for reduction in ("mean", "sum", "weighted_mean"):
        columns = grouped.compute(reduction)
        assert columns["by"].tolist() == keys
        for i, key in enumerate(keys):
            rows = by == key
            one = LossSums(betas, huber=huber, dtype=dtype)
            one.update(x[rows], y[rows], **{name: a[rows] for name, a in options.items()})
            assert grouped.group(key) == one
            expected = figures_of(one, reduction)
            for name in ("n", "weight_sum", "mae", "rmse"):
                assert same(columns[name][i], expected[name]), (name, key)
            for k, beta in enumerate(betas):
                short = f"{np.float32(beta) if dtype is np.float32 else beta:g}"
                assert same(columns[f"loss_{short}"][i], expected["loss"][k])
                share = columns[f"quadratic_share_{short}"][i]
                assert same(share, expected["quadratic_share"][k])


@pytest.mark.parametrize("seed", range(12))
def test_groups_of_hostile_arrays(dtype, seed):
    rng = np.random.default_rng(seed)
    n = int(rng.choice([1, 50, 2000]))
    x, y = exact.hostile(rng, n, dtype), exact.hostile(rng, n, dtype, 20)
    if seed % 4 == 0:
        x[rng.integers(n)] = rng.choice([np.nan, np.inf])
    by = rng.integers(-5, 30, n)
    options = {}
    if seed % 2:
        options["weight"] = exact.hostile(rng, n, dtype, 2)
    huber = seed % 3 == 0
    betas = [0.37, 1.0, np.inf] if huber else [0.0, 0.37, 1.0]
    parts = []
    for rows in np.array_split(rng.permutation(n), 4):
        part = GroupedLossSums(betas, huber=huber, dtype=dtype)
        parts.append(
            part.update(x[rows], y[rows], by[rows], **{k: a[rows] for k, a in options.items()})
        )
    merged = parts[0].copy().merge(*parts[2:], parts[1])
    check(merged, by, x, y, betas, dtype, huber, **options)
    again = GroupedLossSums(betas, huber=huber, dtype=dtype)
    for rows in np.array_split(rng.permutation(n), 3):
        again.update(x[rows], y[rows], by[rows], **{k: a[rows] for k, a in options.items()})
    assert again == merged
    assert again.to_bytes() == merged.to_bytes()
    assert GroupedLossSums.from_bytes(merged.to_bytes()) == merged


@pytest.mark.parametrize("size", [1, 2, 3, 8, 10, 24])
def test_figures_settled_in_the_core_are_correctly_rounded(dtype, size, rng):
    # Small groups: ties are frequent.
    groups = 400
    x = rng.standard_normal(groups * size).astype(dtype)
    x[: x.size // 2] = (rng.integers(0, 2**12, x.size // 2) / 64).astype(dtype)
    by = np.repeat(np.arange(groups), size)
    zero = np.zeros_like(x)
    for beta in (1.0, 0.37):
        grouped = GroupedLossSums([beta], dtype=dtype).update(x, zero, by)
        table, order = grouped._table, np.arange(groups)
        sure = core.exact_figures(
            table.rows, table.windows, order, [beta], False, dtype is np.float32, "mean"
        )[2]
        assert sure.mean() > 0.8
        check(grouped, by, x, zero, [beta], dtype)


def test_shares_that_are_far_below_the_others(rng):
    # The sum of the weights and of those in the linear piece have the same first 53 bits.
    x = np.tile([10.0, 10.0, 10.0, 0.5, 0.25], 300)
    by = np.repeat(np.arange(300), 5)
    scale = np.tile([1e9, 1e-3, 1e-22, 1e-12, 1e-20], 300)
    w = scale * rng.uniform(1, 2, 1500)
    found = GroupedLossSums(1.0).update(x, np.zeros(1500), by, weight=w).compute()
    for weights, share in zip(w.reshape(300, 5), found["quadratic_share"], strict=True):
        parts = [Fraction(float(weight)) for weight in weights]
        assert share == float(sum(parts[3:]) / sum(parts))


def test_ties_beside_a_weight_that_is_far_below_the_others():
    # The mean is just below the middle of two floats, and so is not rounded to the even one.
    x = np.array([1 + 2.0**-52, 2.0**-53, 0.0, 0.0])
    w = np.array([1.0, 1.0, -1.0, 2.0**-1000])
    zero = np.zeros(4)
    found = GroupedLossSums(0.0).update(x, zero, np.zeros(4, int), weight=w)
    assert found.compute("weighted_mean")["loss"].tolist() == [1 + 2.0**-52]
    assert smooth_l1_loss(x, zero, "weighted_mean", 0.0, weight=w, exact=True) == 1 + 2.0**-52


@pytest.mark.parametrize("n_threads", [1, 2, 3, 5])
def test_threads_decide_nothing(dtype, n_threads, rng):
    n = 150_000
    x, y = rng.standard_normal((2, n)).astype(dtype)
    w = rng.uniform(0, 1, n).astype(dtype)
    by = rng.integers(0, 1000, n)
    one = GroupedLossSums(0.5, dtype=dtype).update(x, y, by, weight=w, n_threads=1)
    many = GroupedLossSums(0.5, dtype=dtype).update(x, y, by, weight=w, n_threads=n_threads)
    assert many.to_bytes() == one.to_bytes()
    total = LossSums(0.5, dtype=dtype).update(x, y, weight=w)
    assert sum((one.group(key) for key in one.groups()), LossSums(0.5, dtype=dtype)) == total


@pytest.mark.parametrize("seed", range(10))
def test_few_groups_have_the_sums_of_many(dtype, seed, monkeypatch):
    # Few groups are collected for the vectorised sums, many are scattered.
    rng = np.random.default_rng(seed)
    n = 20_000
    x, y = exact.hostile(rng, n, dtype), exact.hostile(rng, n, dtype, 20)
    if seed % 3 == 0:
        x[rng.integers(n)] = rng.choice([np.nan, np.inf])
    by = rng.integers(0, 7, n) ** 2
    options = {}
    if seed % 2:
        options["weight"] = exact.hostile(rng, n, dtype, 2)
    if seed % 5 < 2:
        options["where"] = rng.random(n) < 0.7
    betas = [0.0, 0.37, 1.0, float(np.finfo(dtype).smallest_subnormal) * 3]
    states = []
    for few in (0, 512):
        monkeypatch.setattr(smoothl1.grouped, "_FEW", few)
        for n_threads in (1, 2):
            sums = GroupedLossSums(betas, dtype=dtype)
            states.append(sums.update(x, y, by, **options, n_threads=n_threads).to_bytes())
    assert len(set(states)) == 1
    for key in sums.groups():
        one, rows = LossSums(betas, dtype=dtype), by == key
        one.update(x[rows], y[rows], **{name: a[rows] for name, a in options.items()})
        assert sums.group(key) == one
    # And onto what is there.
    for few in (0, 512):
        monkeypatch.setattr(smoothl1.grouped, "_FEW", few)
        sums.update(x, y, by, **options)
    assert sums.groups() == GroupedLossSums.from_bytes(states[0]).groups()
    first = sums.groups()[0]
    assert sums.group(first).n == 3 * GroupedLossSums.from_bytes(states[0]).group(first).n


def test_selection(dtype, rng):
    x = rng.standard_normal(300).astype(dtype)
    by = rng.integers(0, 9, 300)
    where = (rng.random(300) < 0.5) & (by != 3)
    x[~where] = np.nan
    grouped = GroupedLossSums(0.5, dtype=dtype).update(x, dtype(0), by, where=where)
    expected = GroupedLossSums(0.5, dtype=dtype).update(x[where], dtype(0), by[where])
    assert grouped == expected
    assert 3 not in grouped.groups()  # a group without an element is none
    assert len(grouped) == 8
    assert grouped.to_bytes() == expected.to_bytes()
    with pytest.raises(KeyError):
        grouped.group(3)


@pytest.mark.parametrize(
    "keys",
    [
        ["b", "a", "b", ""],
        [b"x", b"y\0", b"y", b"x"],
        [1.5, -0.0, 0.0, 1e300],
        [3, -1, 2**40, 3],
        [2**63, 5, 2**64 - 1, 5],
        [True, False, True, True],
        np.array([1, "a", None, (1, "b")], object),
        [10**6, 0, -(10**6), 10**6],
    ],
    ids=str,
)
def test_keys(keys):
    if isinstance(keys, list) and isinstance(keys[0], bytes):
        keys = np.array(keys, object)
    x = np.array([1.0, 2.0, 3.0, 4.0])
    grouped = GroupedLossSums(0.0).update(x, 0.0, keys)
    objects = [key + 0.0 if isinstance(key, float) else key for key in np.asarray(keys).tolist()]
    for key in objects:
        total = sum(a for a, other in zip(x.tolist(), objects, strict=True) if other == key)
        assert grouped.group(key).compute("sum") == total
    assert sorted(map(repr, grouped.groups())) == sorted(map(repr, set(objects)))
    assert GroupedLossSums.from_bytes(grouped.to_bytes()) == grouped
    assert pickle.loads(pickle.dumps(grouped)).to_bytes() == grouped.to_bytes()
    columns = grouped.compute()
    assert list(columns["by"]) == grouped.groups()
    # In any order, and in pieces, with other kinds between.
    other = GroupedLossSums(0.0)
    for i in (3, 1, 0, 2):
        other.update(x[i : i + 1], 0.0, np.asarray(keys)[i : i + 1])
    assert other.to_bytes() == grouped.to_bytes()


def test_tuples_of_keys(rng):
    x = rng.standard_normal(200)
    letters, numbers = rng.choice(["u", "v", "w"], 200), rng.integers(0, 4, 200)
    grouped = GroupedLossSums().update(x, 0.0, (letters, numbers))
    columns = grouped.compute()
    first, second = columns["by"]
    assert first.dtype.kind == "U"
    assert second.dtype.kind == "i"
    for a, b, n in zip(first.tolist(), second.tolist(), columns["n"], strict=True):
        rows = (letters == a) & (numbers == b)
        assert rows.sum() == n
        assert grouped.group((a, b)) == LossSums().update(x[rows], 0.0)
    halves = [GroupedLossSums().update(x[s], 0.0, (letters[s], numbers[s]))
              for s in (slice(90), slice(90, None))]  # fmt: skip
    assert sum(halves).to_bytes() == grouped.to_bytes()
    with pytest.raises(ValueError, match="by must hold at least one array of keys"):
        grouped.update(x, 0.0, ())


def test_nan_is_a_key():
    grouped = GroupedLossSums(0.0)
    grouped.update([1.0, 2.0, 4.0], 0.0, [np.nan, 1.0, np.nan])
    grouped.update([8.0, 16.0], 0.0, np.array([float("nan"), None], object))
    assert grouped.group(float("nan")).compute("sum") == 13.0
    assert len(grouped) == 3
    assert GroupedLossSums.from_bytes(grouped.to_bytes()) == grouped
    only = GroupedLossSums().update([1.0, 2.0], 0.0, [np.nan, 1.0])
    assert len(only.compute()["by"]) == 2


def test_integers_near_and_far(rng):
    # A table of codes, then keys beyond it, then near ones again.
    grouped, everything = GroupedLossSums(0.0), []
    for low, high in ((0, 50), (-40, 10), (10**12, 10**12 + 5), (0, 10**15), (30, 60)):
        by = rng.integers(low, high, 100)
        x = rng.standard_normal(100)
        grouped.update(x, 0.0, by)
        everything.append((by, x))
    by, x = np.concatenate([a for a, _ in everything]), np.concatenate([b for _, b in everything])
    assert grouped == GroupedLossSums(0.0).update(x, 0.0, by)
    assert grouped.groups() == sorted(set(by.tolist()))
    small = np.arange(10, dtype=np.int8)
    assert GroupedLossSums().update(np.ones(10), 0.0, small).groups() == list(range(10))


def test_many_groups(rng):
    n, groups = 400_000, 100_000
    x = rng.standard_normal(n).astype(np.float32)
    by = rng.integers(0, groups, n)
    columns = GroupedLossSums(0.0, dtype=np.float32).update(x, np.float32(0), by).compute("sum")
    expected = np.bincount(by, np.abs(x).astype(np.float64), groups)
    np.testing.assert_array_equal(columns["by"], np.unique(by))
    np.testing.assert_allclose(columns["loss"], expected[columns["by"]], rtol=1e-7)
    np.testing.assert_array_equal(columns["n"], np.bincount(by)[columns["by"]])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("options", [(), ("weight",), ("where",), ("weight", "where")])
def test_tables_that_no_cache_holds(dtype, options, rng):
    # Dealt out to parts of the table first; in pieces with fewer elements than groups, not.
    n, groups = 120_000, 30_000
    x, y, w = rng.standard_normal((3, n)).astype(dtype)
    by = np.concatenate([np.arange(groups), rng.zipf(1.3, n - groups) % groups])
    given = {"weight": np.abs(w), "where": rng.random(n) < 0.8}
    given["where"][[0, 1, groups - 1]] = True
    given = {name: given[name] for name in options}
    betas = [0.5, 1.0]
    whole = [
        GroupedLossSums(betas, dtype=dtype).update(x, y, by, n_threads=k, **given) for k in (1, 2)
    ]
    pieces = GroupedLossSums(betas, dtype=dtype)
    for part in np.array_split(np.arange(n), 6):
        pieces.update(x[part], y[part], by[part], **{k: a[part] for k, a in given.items()})
    assert whole[0] == whole[1]
    assert whole[0] == pieces
    assert len({sums.digest() for sums in [*whole, pieces]}) == 1
    assert sum(whole[0].to_array()[:, 0]) == (given["where"].sum() if "where" in given else n)
    for key in (0, 1, groups - 1):
        one = LossSums(betas, dtype=dtype)
        rows = by == key
        one.update(x[rows], y[rows], **{k: a[rows] for k, a in given.items()})
        assert pieces.group(key) == one
    # Nearly all in one part, and strided operands.
    wide = np.zeros((n, 2), dtype)
    wide[:, 0] = x
    same_key = np.where(np.arange(n) < groups, by, 3)
    first = GroupedLossSums(betas, dtype=dtype).update(wide[:, 0], y, same_key, **given)
    assert first == GroupedLossSums(betas, dtype=dtype).update(x, y, same_key, n_threads=1, **given)


def test_figures_are_in_the_order_of_keys(rng):
    x, by = rng.standard_normal(5000), rng.permutation(5000) - 700
    sums = GroupedLossSums(0.0).update(x, 0.0, by)
    columns = sums.compute()
    np.testing.assert_array_equal(columns["by"], np.arange(-700, 4300))
    np.testing.assert_array_equal(columns["loss"][by + 700], np.abs(x))
    sums -= GroupedLossSums(0.0).update(x[:10], 0.0, by[:10])  # rows without elements
    columns = sums.compute()
    np.testing.assert_array_equal(columns["by"], np.sort(by[10:]))
    np.testing.assert_array_equal(columns["loss"], np.abs(x[10:])[np.argsort(by[10:])])


def test_integer_keys_have_the_bytes_of_any_others():
    powers = [sign * 2**k for k in (0, 7, 8, 15, 16, 31, 55, 62) for sign in (1, -1)]
    edges = [power + more for power in powers for more in (-1, 0, 1)]
    edges += [2**63 - 1, -(2**63), -(2**63) + 1]
    integers = np.unique(np.array(edges, np.int64))
    x = np.arange(1.0, len(integers) + 1)
    sums = GroupedLossSums().update(x, 0.0, integers)
    data = sums.to_bytes()
    named = GroupedLossSums().update(x, 0.0, integers.astype(object)) + GroupedLossSums().update(
        1.0, 0.0, "a"
    )
    named -= GroupedLossSums().update(1.0, 0.0, "a")
    for other in (named, GroupedLossSums.from_bytes(data), sums.copy()):
        assert other.to_bytes() == data
        assert other == sums
        assert other.groups() == integers.tolist()
    with_infinity = sums + GroupedLossSums().update(np.inf, 0.0, 5)
    assert GroupedLossSums.from_bytes(with_infinity.to_bytes()) == with_infinity
    written = [keys.to_state(key) for key in integers.tolist()]
    place = [data.index(bytes([len(key)]) + key) for key in sorted(written)]
    assert place == sorted(place)


def test_states_of_many_groups_are_checked():
    rng = np.random.default_rng(3)
    data = GroupedLossSums().update(rng.standard_normal(60), 0.0, np.arange(60) % 30).to_bytes()
    accepted, messages = 0, set()
    for _ in range(1500):
        body = bytearray(data[:-4])
        at = int(rng.integers(len(body)))
        body[at : at + int(rng.integers(2))] = rng.bytes(int(rng.integers(3)))
        bad = with_checksum(body)
        try:
            grouped = GroupedLossSums.from_bytes(bad)
        except ValueError as error:
            messages.add(str(error))
            continue
        accepted += 1
        assert grouped.to_bytes() == bad
    assert accepted > 0
    what = ("state", "sum is beyond", "beta")
    assert [text for text in messages if not any(word in text for word in what)] == []


def test_wrong_arguments(rng):
    grouped = GroupedLossSums().update([1.0, 2.0], 0.0, [1, 2])
    before = grouped.to_bytes()
    with pytest.raises(ValueError, match=r"by must have the shape of input, \(2,\), got \(3,\)"):
        grouped.update([1.0, 2.0], 0.0, [1, 2, 3])
    with pytest.raises(TypeError, match=r"by has dtype datetime64\[D\]; use integers"):
        grouped.update([1.0], 0.0, np.array(["2026-01-01"], "M8[D]"))
    with pytest.raises(TypeError, match="by holds a key that cannot be hashed"):
        grouped.update([1.0, 2.0], 0.0, np.array([[], {}], object))
    with pytest.raises(ValueError, match="n_threads"):
        grouped.update([1.0], 0.0, [1], n_threads=0)
    with pytest.raises(ValueError, match="reduction must be one of"):
        grouped.compute("none")
    with pytest.raises(ValueError, match="other thresholds"):
        grouped.merge(GroupedLossSums(2.0))
    with pytest.raises(TypeError, match="only GroupedLossSums can be merged, got LossSums"):
        grouped.merge(LossSums())
    for operation in (lambda: grouped + 1, lambda: 1 + grouped, lambda: grouped.__iadd__(1) + 1):
        with pytest.raises(TypeError):
            operation()
    with pytest.raises(TypeError, match="float64, which sums in float32 would round"):
        GroupedLossSums(dtype=np.float32).update(np.ones(1), 0.0, [1])
    assert grouped.to_bytes() == before
    assert grouped != 1
    assert grouped != GroupedLossSums(2.0)
    assert grouped != GroupedLossSums().update([1.0, 2.0], 0.0, [1, 3])
    assert repr(grouped) == "GroupedLossSums(beta=1.0, dtype=float64) of 2 groups"
    assert (grouped.beta, grouped.huber, grouped.dtype) == (1.0, False, np.float64)
    assert smoothl1.GroupedLossSums is GroupedLossSums
    assert grouped.digest() == grouped.copy().digest()
    assert grouped.__dask_tokenize__() == pickle.loads(pickle.dumps(grouped)).__dask_tokenize__()


def test_nothing_was_added(dtype):
    grouped = GroupedLossSums(dtype=dtype)
    columns = grouped.compute()
    assert all(len(column) == 0 for column in columns.values())
    assert len(grouped.update(np.empty(0, dtype), np.empty(0, dtype), [])) == 0
    assert GroupedLossSums.from_bytes(grouped.to_bytes()) == grouped
    zero = GroupedLossSums().update([1.0, 2.0], 0.0, [1, 1], weight=[1.0, -1.0])
    assert math.isnan(zero.compute("weighted_mean")["loss"][0])


def test_sum_and_operators(rng):
    x = rng.standard_normal((3, 40))
    by = rng.integers(0, 5, (3, 40))
    parts = [GroupedLossSums().update(a, 0.0, b) for a, b in zip(x, by, strict=True)]
    whole = GroupedLossSums().update(x, 0.0, by)
    assert sum(parts) == whole
    total = parts[0] + parts[1]
    total += parts[2]
    assert total == whole
    assert parts[0] == GroupedLossSums().update(x[0], 0.0, by[0])
    total.merge(total)
    assert total.group(total.groups()[0]).n == 2 * whole.group(whole.groups()[0]).n


def test_what_was_added_is_taken_out_again(rng):
    x = rng.standard_normal((3, 400)) * 10.0 ** rng.integers(-200, 200, (3, 400))
    x[1, :3] = np.inf, -np.inf, np.nan
    by = rng.integers(0, 5, (3, 400))
    by[2, 7] = 99  # in one part alone
    parts = [GroupedLossSums().update(a, 0.0, b) for a, b in zip(x, by, strict=True)]
    total = parts[0] + parts[1] + parts[2]
    assert total - parts[1] == parts[2] + parts[0]
    assert (total - parts[1]).to_bytes() == (parts[2] + parts[0]).to_bytes()
    same = total
    total -= parts[2]
    assert same is total
    assert total == parts[0] + parts[1]
    assert 99 not in total.groups()
    assert len(parts[0] - parts[0]) == 0
    assert parts[0] - parts[0] == GroupedLossSums()
    before = total.to_bytes()
    with pytest.raises(ValueError, match="group 99 has elements that are not in these sums"):
        total -= parts[2]
    with pytest.raises(ValueError, match=r"group \d has elements that are not in these sums"):
        parts[0] - total
    other = GroupedLossSums().update(x[0] + 1.0, 0.0, by[0])  # as many elements, but others
    with pytest.raises(ValueError, match="elements that are not in these sums"):
        parts[0] - other
    with pytest.raises(ValueError, match="other thresholds cannot be merged"):
        total -= GroupedLossSums(2.0)
    assert total.to_bytes() == before
    with pytest.raises(TypeError):
        total - 1
    with pytest.raises(TypeError):
        total -= LossSums()
    assert total.reset() is total
    assert total == GroupedLossSums()
    assert total.update(x[0], 0.0, by[0]) == parts[0]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("kind", ["ordinary", "signed", "wild", "special"])
def test_bytes_are_those_of_the_format(dtype, kind, rng):
    n = 30_000
    x = rng.standard_normal(n)
    weight = None
    if kind != "ordinary":
        weight = rng.choice([-1.0, 0.0, 2.0], n).astype(dtype)
    if kind == "wild":
        x *= 2.0 ** rng.integers(-140 if dtype is np.float32 else -1060, 60, n)
    if kind == "special":
        x[rng.integers(0, n, 20)] = rng.choice([np.nan, np.inf], 20)
    by = rng.integers(-5, 9000, n)
    sums = GroupedLossSums([0.0, 0.5], dtype=dtype).update(
        x.astype(dtype), dtype(0), by, weight=weight
    )
    writer = states.Writer(states.GROUPED, sums._spec)
    groups = sorted((keys.to_state(key), key) for key in sums.groups())
    writer.integer(len(groups))
    for name, key in groups:
        one = sums.group(key)
        writer.raw(name)
        writer.integer(one.n)
        for number in rounding.numbers_at(one._row, sums._spec.layout, 0, 7):
            writer.number(number)
    data = writer.done()
    assert sums.to_bytes() == data
    again = GroupedLossSums.from_bytes(data)
    assert again == sums
    assert again.to_bytes() == data
    assert again != sums.update(dtype(1), dtype(0), 0)
    assert again.update(dtype(1), dtype(0), 0) == sums


def with_checksum(body):
    return bytes(body) + struct.pack("<I", zlib.crc32(bytes(body)))


def test_damaged_bytes_are_a_value_error():
    rng = np.random.default_rng(12)
    x = np.array([1.0, -2.0, 1e-300, 1e300, np.inf])
    named = np.array(["a", 5, 2.5, None, ("b", 1)], object)
    data = GroupedLossSums(0.5).update(x, 0.0, named, weight=[1, -1, 1, 1, 1]).to_bytes()
    accepted = 0
    for _ in range(2000):
        body = bytearray(data[:-4])
        at = int(rng.integers(len(body)))
        kind = rng.integers(3)
        if kind == 0:
            body[at] = int(rng.integers(256))
        elif kind == 1:
            del body[at : at + int(rng.integers(1, 9))]
        else:
            body[at:at] = rng.bytes(int(rng.integers(1, 9)))
        bad = with_checksum(body)
        try:
            grouped = GroupedLossSums.from_bytes(bad)
        except ValueError:
            continue
        accepted += 1
        assert grouped.to_bytes() == bad
        grouped.compute("sum")
    assert accepted > 0
    for size in range(len(data)):
        with pytest.raises(ValueError, match="state"):
            GroupedLossSums.from_bytes(data[:size])
    with pytest.raises(ValueError, match="LossSums, not of GroupedLossSums"):
        GroupedLossSums.from_bytes(LossSums().to_bytes())
    for bad in (b"", b"x", b"i", b"d1", b"(\xff\0\0\0", b"(\1", b"s\xff", b"nn"):
        with pytest.raises(ValueError, match="a key that is none"):
            keys.from_state(bad)
    with pytest.raises(TypeError, match="keys of type complex cannot be stored"):
        keys.to_state(1j)


def test_a_group_twice_is_refused():
    one = GroupedLossSums().update([1.0], 0.0, ["a"])
    row = one._table.rows[0]
    writer = states.Writer(states.GROUPED, one._spec)
    writer.integer(2)
    for _ in range(2):
        writer.raw(keys.to_state("a"))
        writer.integer(1)
        for number in one._table.numbers(row):
            writer.number(number)
    with pytest.raises(ValueError, match="it has a group twice"):
        GroupedLossSums.from_bytes(writer.done())


def test_core_refuses_what_is_out_of_range():
    x = np.ones(3)
    work = core.Work(x, x, betas=[1.0, 0.0, 0.0], huber=False, single=False)
    table = np.zeros((2, 32), np.int64)
    windows = np.array([[1 + 4 * i, 30, 4, -1] for i in range(5)], np.int64)
    groups = np.zeros(3, np.int32)
    core.exact_scatter(work, groups, table, windows)
    rows = np.zeros((2, 1 + 7 * 72), np.int64)
    memory = core.exact_stage(work, groups, rows)
    assert core.exact_stage(work, groups, rows, memory) is memory
    assert rows[:, 0].tolist() == [6, 0]
    for bad in (rows[:, 1:], rows.astype(np.int32), rows[0]):
        with pytest.raises(ValueError, match="array of int64, of 505 columns"):
            core.exact_stage(work, groups, bad)
    for bad in (groups[:2], groups.astype(np.int64), groups[::2].repeat(2)):
        with pytest.raises(ValueError, match="groups must be a contiguous array of int32"):
            core.exact_scatter(work, bad, table, windows)
    for code in (-1, 2):
        with pytest.raises(ValueError, match="groups must be within 0 and 2, got"):
            core.exact_scatter(work, groups + np.int32(code), table, windows)
    for column in (0, 30):
        wrong = windows.copy()
        wrong[2, 0] = column
        with pytest.raises(ValueError, match="window 2 is not within the table"):
            core.exact_carry_table(table, wrong)
    with pytest.raises(ValueError, match="table and windows must be contiguous"):
        core.exact_carry_table(table.astype(float), windows)
    keys = np.arange(3)
    lookup, codes = np.full(2, -1, np.int32), np.zeros(3, np.int32)
    with pytest.raises(ValueError, match="keys must be within 0 and 2"):
        core.exact_learn(keys, 0, lookup, 0)
    with pytest.raises(ValueError, match="keys must be within 0 and 2"):
        core.exact_write(keys, 0, lookup, None, codes)
    with pytest.raises(ValueError, match="keys and lookup must be contiguous"):
        core.exact_learn(keys.astype(np.int32), 0, lookup, 0)
    with pytest.raises(ValueError, match="codes must be contiguous, of int32, one for each key"):
        core.exact_write(keys, 0, lookup, None, codes[:2])
    with pytest.raises(ValueError, match="words must be those of exact_learn"):
        core.exact_write(keys, 0, lookup, np.zeros(3, np.int64), codes)
    with pytest.raises(ValueError, match="keys must be contiguous, of int64, one at least"):
        core.exact_range(keys[:0])
    assert core.exact_range(keys) == (0, 2)
    for order in (np.array([2]), np.array([-1])):
        with pytest.raises(ValueError, match="order must be within 0 and 2, got"):
            core.exact_figures(table, windows, order, [1.0], False, False, "mean")
    with pytest.raises(ValueError, match="order must be a contiguous array of int64"):
        core.exact_figures(table, windows, codes, [1.0], False, False, "mean")


def test_core_reads_no_digits_beyond_the_data_or_the_table():
    data = np.arange(1, 9, dtype=np.uint8)
    places = np.array([[0, 0, 5, 0, 8, 120]])  # key, its size, elements, then the sum
    codes, window = np.zeros(1, np.int32), np.array([[1, 30, 2, -1]])
    table = np.zeros((1, 5), np.int64)
    core.read_digits(data, places, codes, table, window)
    assert table.tolist() == [[5, 0x04030201, 0x08070605, 0, 0]]
    for wrong in ([0, 0, 5, 1, 8, 120], [0, 0, 5, 0, 8, 119], [0, 0, 5, 0, 8, 125]):
        with pytest.raises(ValueError, match="places and codes must be within"):
            core.read_digits(data, np.array([wrong]), codes, table, window)
    with pytest.raises(ValueError, match="places and codes must be within"):
        core.read_digits(data, places, codes + np.int32(1), table, window)
    with pytest.raises(ValueError, match="data, places and codes must be contiguous"):
        core.read_digits(data, places[:, 1:], codes, table, window)


@pytest.mark.parametrize("before", [0, 3])
def test_codes_are_in_the_order_of_keys(before, rng):
    # A large table is coded by bits, a small one by its entries.
    for size in (100, 200_000):
        keys = rng.integers(0, size, 150_000) - 7
        lookup, codes = np.full(size, -1, np.int32), np.empty(keys.size, np.int32)
        if before:
            lookup[:before] = np.arange(before)
        for n_threads in (1, 2):
            known = lookup.copy()
            following, words = core.exact_learn(keys, -7, known, before, n_threads)
            assert (words is None) == (before > 0 or size == 100)
            core.exact_write(keys, -7, known, words, codes, n_threads)
            there = np.union1d(keys + 7, np.arange(before))
            assert following == there.size
            assert known[there].tolist() == list(range(there.size))
            assert np.array_equal(codes, known[keys + 7])
            assert np.count_nonzero(known >= 0) == there.size
    with pytest.raises(ValueError, match="keys must be within -7 and"):
        core.exact_learn(keys + size, -7, lookup, before)
    assert np.count_nonzero(lookup >= 0) == before
