"""huber_location against an exact twin, on hard samples, and its promises."""

import itertools
import math
from bisect import bisect_left, bisect_right
from fractions import Fraction

import numpy as np
import pytest

from smoothl1 import huber_location, smooth_l1_loss

INF = math.inf


def exact_location(y, beta, weights=None):
    """The minimiser as a fraction; the middle of the interval, where there is one."""
    if weights is None:
        weights = np.ones(len(y))
    pairs = [(Fraction(float(v)), Fraction(float(w))) for v, w in zip(y, weights, strict=True)]
    pairs = sorted((v, w) for v, w in pairs if w > 0)
    total = sum(w for _, w in pairs)
    if beta == 0:  # the weighted median
        running = list(itertools.accumulate(w for _, w in pairs))
        middle = bisect_left(running, total / 2), bisect_right(running, total / 2)
        return sum(pairs[i][0] for i in middle) / 2
    if math.isinf(beta):
        return sum(v * w for v, w in pairs) / total
    # The slope of the sum is linear between its corners. In units that make all integers:
    beta = Fraction(float(beta))
    unit = max(number.denominator for number in (beta, *(v for v, _ in pairs)))
    weight_unit = max(w.denominator for _, w in pairs)
    limit, weight = int(beta * unit), int(total * weight_unit)
    points, counts = zip(*((int(v * unit), int(w * weight_unit)) for v, w in pairs), strict=True)
    fits = weight * max(limit, abs(points[0]), abs(points[-1])) * 2 < 2**62
    points, counts = (np.array(a, np.int64 if fits else object) for a in (points, counts))
    return location_of_integers(points, limit, counts) / unit


def location_of_integers(points, limit, counts=1):
    """The same of integers, in whose sums nothing overflows, for a limit above 0."""
    corners = np.unique(np.concatenate([points - limit, points + limit])).tolist()

    def slope(m):
        return int((counts * np.minimum(limit, np.maximum(-limit, m - points))).sum())

    first, end = (bisect(corners, 0, key=slope) for bisect in (bisect_left, bisect_right))
    if first < end:
        return Fraction(corners[first] + corners[end - 1], 2)
    low, high = corners[first - 1], corners[first]
    return low - Fraction(slope(low) * (high - low), slope(high) - slope(low))


def spacing(y):
    """The distance of the doubles around the largest value, as a fraction."""
    return Fraction(float(np.spacing(np.abs(y).max())))


def check(y, beta, weights=None):
    """Within two roundings of the largest value that has a weight."""
    y = np.asarray(y, np.float64)
    got = huber_location(y, beta, sample_weight=weights)
    assert type(got) is np.float64
    live = y if weights is None else y[np.asarray(weights) > 0]
    error = Fraction(float(got)) - exact_location(y, beta, weights)
    assert abs(error) <= 2 * spacing(live), (y, beta, weights, got, float(error))


def bits(value):
    return value.dtype, value.tobytes()


@pytest.mark.parametrize(
    ("y", "beta", "expected"),
    [
        ([1, 2, 3, 4, 100], 1, 3.0),
        ([1, 2, 3, 4, 100], 0, 3.0),
        ([1, 2, 3, 4, 100], 1e3, 22.0),
        ([1, 2, 3, 4, 100], INF, 22.0),
        # 100 pulls with the strength of beta: 10 (m - 2.5) 4 / 10 = 10.
        ([1, 2, 3, 4, 100], 10, 5.0),
        ([100, 4, 3, 2, 1], 10, 5.0),
        # Any point from 1 + beta to 3 - beta; from 1 to 3 for the median.
        ([0, 1, 3, 9], 0.5, 2.0),
        ([0, 1, 3, 9], 0, 2.0),
        ([0, 1, 4, 4], 0, 2.5),
        # The corners 0 + beta and 3 - beta meet in one point.
        ([0, 3], 1.5, 1.5),
        ([0, 3], 1, 1.5),
        ([0, 3], 2, 1.5),
        # Two at 0 hold the third off: 2 m = beta.
        ([0, 0, 3], 1, 0.5),
        ([0, 0, 3], 0.25, 0.125),
        ([-3, 0, 0], 1, -0.5),
        ([5, 5, 5, 5, 7], 0, 5.0),
        ([[1, 2], [3, 10]], 0, 2.5),
        (7.5, 1, 7.5),
        ([True, False, True], INF, 2 / 3),
    ],
)
def test_explicit_values(y, beta, expected):
    got = huber_location(y, beta)
    assert type(got) is np.float64
    assert got == expected


@pytest.mark.parametrize(
    ("weights", "beta", "expected"),
    [
        ([1, 1, 1, 1, 0], 0, 2.5),
        ([0, 0, 0, 0, 2], 0, 100.0),
        ([3, 1, 1, 1, 0], 0, 1.5),  # as much weight below as above: from 1 to 2
        ([4, 1, 1, 1, 0], 0, 1.0),
        ([0.5, 0.5, 0, 0, 1], 0, 51.0),
        ([1, 0, 0, 0, 3], INF, 75.25),
        ([2, 0, 0, 0, 1], 10, 6.0),  # 2 (m - 1) = beta
        ([1, 0, 0, 0, 1], 10, 50.5),  # from 11 to 90
    ],
)
def test_explicit_values_with_weights(weights, beta, expected):
    assert huber_location([1, 2, 3, 4, 100], beta, sample_weight=weights) == expected


@pytest.mark.parametrize("beta", [0, 0.25, 0.5, 0.75, 1, 1.5, 2, 3.5, 1e3, INF])
def test_every_small_sample(beta):
    for n in (1, 2, 3, 4, 5):
        for y in itertools.combinations_with_replacement([-2, -1, 0, 1, 4], n):
            check(y, beta)


@pytest.mark.parametrize("beta", [0, 0.5, 1, 2.25, INF])
def test_every_small_sample_with_weights(beta):
    for y in itertools.combinations_with_replacement([-1, 0, 2], 3):
        for weights in itertools.product([0, 1, 2, 3], repeat=3):
            if any(weights):
                check(y, beta, weights)


def samples(n, rng):
    """Yield samples of n values with every difficulty known."""
    signs = rng.choice([-1.0, 1.0], n)
    yield rng.standard_normal(n)
    yield rng.standard_cauchy(n)
    yield rng.integers(-3, 4, n).astype(float)
    yield 1e9 + np.round(4 * rng.standard_normal(n)) / 4
    yield signs * 2.0 ** rng.integers(-60, 60, n)
    yield signs * rng.uniform(0.5, 1, n) * 1e300
    yield signs * 1e300
    yield signs * 10.0 ** rng.uniform(-300, 300, n)
    yield rng.integers(-50, 50, n) * 5e-324
    yield np.sort(rng.exponential(size=n))
    yield np.where(np.arange(n) == n - 1, 1.0, 0.0)


def thresholds(y):
    """Thresholds from nothing to everything, for the spread of y."""
    spread = min(float(y.max()) - float(y.min()), np.finfo(float).max)
    parts = [spread * part for part in (1e-3, 0.2, 0.25, 0.5, 1.0)]
    return [0.0, 5e-324, 1e-300, 0.25, 1.0, 1e17, 1e300, INF, abs(y[0]), *parts]


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 33, 100])
def test_hard_samples(n, rng):
    for y in samples(n, rng):
        for beta in thresholds(y):
            check(y, beta)


@pytest.mark.parametrize("n", [1, 2, 3, 5, 8, 33, 100])
def test_hard_samples_with_weights(n, rng):
    for y in samples(n, rng):
        for weights in (
            rng.uniform(0.1, 1, n),
            rng.integers(0, 4, n) + (np.arange(n) == 0),
            (rng.integers(0, 4, n) + (np.arange(n) == 0)) * 5e-324,
            rng.uniform(0.5, 1, n) * 1.7e308,
        ):
            for beta in thresholds(y):
                check(y, beta, weights)


@pytest.mark.parametrize("n", [1025, 3000])
def test_samples_beyond_the_smallest_that_is_predicted(n, rng):
    for y in samples(n, rng):
        spread = min(float(y.max()) - float(y.min()), np.finfo(float).max)
        for beta in (0.0, spread * 1e-3, spread / 4, INF):
            check(y, beta)


ORDERS = {
    "ascending": lambda i: i,
    "descending": lambda i: -i,
    "two values": lambda i: i % 2,
    "sawtooth": lambda i: i % 97,
    "scattered": lambda i: (i * 7919) % 10_007,
    "fan": lambda i: np.where(i % 2 == 0, i, -i),
    "one outlier": lambda i: np.where(i == i[-1], 1 << 20, 0),
    "two blocks": lambda i: np.where(i < len(i) // 2, 0, 1 << 20),
    "outliers at the stride of the sample": lambda i: np.where(i % 19 == 0, 1 << 20, i % 5),
    "geometric": lambda i: 1 << (i % 20),
}


@pytest.mark.parametrize("order", ORDERS)
def test_many_values_in_hard_orders(order):
    i = np.arange(10_000)
    y = ORDERS[order](i).astype(float)
    for beta in (0, 1, 40, 1 << 12):
        check(y, beta)
    check(y, 3, 1.0 + i % 3)


@pytest.mark.parametrize("beta", [0.25, 8])
def test_very_many_values(beta, rng):
    y = np.round(rng.standard_cauchy(40_000) * 64) / 64
    check(y, beta)
    check(y, beta, rng.integers(0, 4, len(y)))


def drawn(n, random=0):
    """Return the positions that the sample of n elements is drawn from, and the next state.

    As ``prediction.pxd`` has it: one of each of 512 parts or more, by a generator that starts
    from 0 in every call.
    """
    m = 512
    while m < 8192 and 16 * m**3 < n**2:
        m *= 2
    positions = []
    for i in range(m):
        random = (random * 6364136223846793005 + 1442695040888963407) % 2**64
        positions.append(i * (n // m) + (random >> 33) % (n // m))
    return np.array(positions), random


UNIT = 2.0**-6


def check_integers(points, limit, counts=None):
    """The same for y = UNIT points and beta = UNIT limit, of many elements."""
    y = points * UNIT
    if limit > 0:
        exact = location_of_integers(points, limit, 1 if counts is None else counts)
    else:
        exact = Fraction(float(np.median(points if counts is None else points.repeat(counts))))
    got = huber_location(y, limit * UNIT, sample_weight=counts)
    error = Fraction(float(got)) - exact * Fraction(UNIT)
    assert abs(error) <= spacing(y), (limit, counts, got, float(error))


@pytest.mark.parametrize("far", [64, 1280, -(2**26)])
def test_a_sample_that_lies_elsewhere(far, rng):
    points = np.round(64 * rng.standard_normal(30_011)).astype(np.int64)
    positions, _ = drawn(len(points))
    points[positions] += far
    counts = rng.integers(1, 4, len(points))
    for limit in (0, 8, 64, 4096):
        check_integers(points, limit)
        check_integers(points, limit, counts)


@pytest.mark.parametrize("samples", [1, 2])
@pytest.mark.parametrize("far", [0, 1280])
def test_samples_that_say_nothing(far, samples, rng):
    """All that is drawn is one value."""
    points = np.round(64 * rng.standard_normal(30_011)).astype(np.int64)
    random = 0
    for _ in range(samples):
        positions, random = drawn(len(points), random)
        points[positions] = far
    counts = rng.integers(1, 4, len(points))
    for limit in (0, 8, 64, 4096):
        check_integers(points, limit)
        check_integers(points, limit, counts)


@pytest.mark.parametrize("period", [29, 58, 512, 1024])
def test_periods(period, rng):
    """Of 30 000 elements one in 58 is drawn."""
    i = np.arange(30_000)
    wave = np.round(16 * rng.standard_cauchy(period)).astype(np.int64)
    for points in (wave[i % period], np.where(i % period == 0, 65536, wave[i % 7])):
        for limit in (0, 16, 1024):
            check_integers(points, limit)


LARGE = {
    "normal": lambda rng, n: rng.standard_normal(n),
    "t": lambda rng, n: rng.standard_t(2, n),
    "lognormal": lambda rng, n: rng.lognormal(size=n),
    "Cauchy": lambda rng, n: np.clip(rng.standard_cauchy(n), -(2**20), 2**20),
    "uniform": lambda rng, n: rng.random(n),
    "few integers": lambda rng, n: UNIT * rng.integers(-3, 4, n),
    "mostly ties": lambda rng, n: np.where(rng.random(n) < 0.6, 0.0, rng.standard_normal(n)),
    "all but ties": lambda rng, n: np.where(rng.random(n) < 0.49, 0.0, 1 + rng.random(n)),
    "sorted": lambda rng, n: np.sort(rng.standard_t(2, n)),
    "offset": lambda rng, n: 2.0**20 + rng.standard_normal(n),
    "two blocks": lambda rng, n: np.where(np.arange(n) < n // 2, 0.0, 2.0**10) + rng.random(n),
    "gap": lambda rng, n: np.where(np.arange(n) % 2 == 0, 0.0, 2.0**10) + rng.random(n),
}


@pytest.mark.parametrize("name", LARGE)
def test_large_samples_of_every_kind(name, rng):
    points = np.round(LARGE[name](rng, 140_000) / UNIT).astype(np.int64)
    counts = rng.integers(0, 4, len(points))
    for limit in (0, 2, 96, 2**15):
        check_integers(points, limit)
        check_integers(points, limit, counts)


def test_equal_weights_give_the_same_bits_in_large_samples(rng):
    for make in LARGE.values():
        y = make(rng, 70_000)
        for beta in (0, 0.25, 2.0, INF):
            ones = huber_location(y, beta, sample_weight=np.ones(len(y)))
            assert bits(ones) == bits(huber_location(y, beta))


@pytest.mark.parametrize("bad", [np.nan, INF, -INF])
@pytest.mark.parametrize("n", [1025, 30_011])
def test_bad_values_anywhere_in_large_samples(n, bad, rng):
    positions, _ = drawn(n)
    for where in (0, int(positions[7]), int(positions[7]) + 1, n // 2, n - 1):
        y = rng.standard_normal(n)
        y[where] = bad
        for beta in (0, 0.5, 100, INF):
            for weights in (None, np.ones(n), np.arange(n) != where):
                with pytest.raises(
                    ValueError, match=f"y must be finite, got {bad} at index {where}"
                ):
                    huber_location(y, beta, sample_weight=weights)
    y = rng.standard_normal(n)
    y[5::7] = bad  # so many that the sample has them, too
    with pytest.raises(ValueError, match=f"y must be finite, got {bad} at index 5"):
        huber_location(y, 1)


def test_median_and_mean(dtype, rng):
    eps = float(np.finfo(dtype).eps)
    for n in (1, 2, 999, 1000, 100_000, 100_001):
        y = rng.standard_normal(n).astype(dtype)
        wide = y.astype(np.float64)
        assert huber_location(wide, 0) == np.median(wide)
        assert huber_location(y, 0) == dtype(np.median(wide))
        for beta in (1e3, 1e16, 1e300, INF):
            mean = math.fsum(wide) / n
            got = huber_location(y, beta)
            assert got == pytest.approx(mean, rel=eps, abs=4e-16)


@pytest.mark.parametrize("beta", [0.0, 5e-324, 1e-3, 0.37, 1.0, 50.0, 1e300, INF])
def test_it_minimises_the_loss(beta, rng):
    y = rng.standard_cauchy(2001)
    weights = rng.uniform(0, 2, 2001)
    m = huber_location(y, beta, sample_weight=weights)
    finite = min(beta, 1e6)  # beyond, the loss is the same up to its scale
    least = smooth_l1_loss(y, m, "sum", finite, weight=weights)
    for step in (1e-4, 1e-3, 0.1, 10.0):  # the loss rises by more than it is rounded
        for other in (m - step, m + step):
            assert smooth_l1_loss(y, other, "sum", finite, weight=weights) > least


def test_constant_sample():
    for value in (0.0, 0.1, -1e300, 5e-324, np.finfo(float).max):
        for n in (1, 2, 3, 1500):
            for beta in (0, 5e-324, 0.3, 1e300, INF):
                y = np.full(n, value)
                assert huber_location(y, beta) == value
                assert huber_location(y, beta, sample_weight=np.arange(n, 0, -1)) == value
    y, weights = [3.0, 0.1, 0.1, 0.1], [0, 1, 2, 3]  # constant where there is weight
    assert huber_location(y, 1, sample_weight=weights) == 0.1


@pytest.mark.parametrize("beta", [0, 0.1, 1, 1e300, INF])
@pytest.mark.parametrize("n", [5, 100, 5000])
def test_weight_zero_leaves_out(beta, n, rng):
    y = rng.standard_normal(n)
    weights = rng.uniform(0.5, 1.5, n)
    weights[1::3] = 0
    y[1::3] = rng.choice([1e308, -1e308, 0.0], len(y[1::3]))
    kept = weights > 0
    got = huber_location(y, beta, sample_weight=weights)
    assert bits(got) == bits(huber_location(y[kept], beta, sample_weight=weights[kept]))
    ones = kept.astype(float)
    assert bits(huber_location(y, beta, sample_weight=ones)) == bits(huber_location(y[kept], beta))


@pytest.mark.parametrize("beta", [0, 0.1, 1, 1e300, INF])
def test_integer_weights_repeat(beta, rng):
    for n in (3, 50, 3000):
        y = rng.standard_normal(n)
        weights = rng.integers(0, 5, n)
        got = huber_location(y, beta, sample_weight=weights)
        assert got == pytest.approx(huber_location(np.repeat(y, weights), beta), abs=1e-15)


@pytest.mark.parametrize("factor", [2.0**-1000, 0.25, 8.0, 2.0**1000])
def test_factors_of_the_weights_change_nothing(factor, rng):
    y = rng.standard_normal(3000)
    weights = rng.uniform(0.5, 1, 3000)
    for beta in (0, 0.3, INF):
        got = huber_location(y, beta, sample_weight=weights * factor)
        assert bits(got) == bits(huber_location(y, beta, sample_weight=weights))
        same = huber_location(y, beta, sample_weight=np.full(3000, factor))
        assert bits(same) == bits(huber_location(y, beta))


@pytest.mark.parametrize("factor", [2.0**-900, 2.0**-70, 0.5, 4.0, 2.0**900])
@pytest.mark.parametrize("n", [4, 99, 5000])
def test_scaling_by_a_power_of_two_is_exact(factor, n, rng):
    y = rng.standard_normal(n)
    for beta in (0.0, 0.05, 1.0, 3.0, INF):
        got = huber_location(y * factor, beta * factor)
        assert bits(got) == bits(huber_location(y, beta) * factor)


@pytest.mark.parametrize("beta", [0, 0.125, 1, 4, INF])
@pytest.mark.parametrize("n", [4, 99, 5000])
def test_shift_reflection_and_order(beta, n, rng):
    y = np.round(rng.standard_cauchy(n) * 64) / 64
    m = huber_location(y, beta)
    tolerance = 4 * np.spacing(np.abs(y).max() + 1024)
    assert huber_location(y + 1024, beta) == pytest.approx(m + 1024, abs=tolerance, rel=0)
    assert huber_location(-y, beta) == pytest.approx(-m, abs=tolerance, rel=0)
    for other in (y[::-1], np.sort(y), rng.permutation(y), rng.permutation(y)):
        assert huber_location(other, beta) == pytest.approx(m, abs=tolerance, rel=0)


def test_dtypes_of_the_result(rng):
    y = np.round(rng.standard_normal(101) * 8)
    for name in ("f2", "f4", "f8", ">f2", ">f4", ">f8"):
        got = huber_location(y.astype(name), 1)
        assert bits(got) == bits(np.dtype(name).newbyteorder("=").type(huber_location(y, 1)))
    for name in ("i1", "u2", "i4", ">i8", "u8"):
        whole = np.abs(y).astype(name)
        assert bits(huber_location(whole, 1)) == bits(huber_location(np.abs(y), 1))
    assert bits(huber_location(y.tolist(), 1)) == bits(huber_location(y, 1))
    assert bits(huber_location(y > 0, INF)) == bits(np.float64(np.mean(y > 0)))


def test_narrow_samples_are_not_rounded_on_the_way():
    half = np.array([60000, 60000, 60008, 65504], np.float16)
    assert bits(huber_location(half, INF)) == bits(np.float16(61376))
    single = np.array([3.4e38, 3.4e38, -3.4e38, 1], np.float32)
    assert bits(huber_location(single, INF)) == bits(np.float32(float(single[0]) / 4))
    assert huber_location([1, 2, 4], 0.1, sample_weight=np.float32([1, 1, 1])).dtype == float


def test_layouts(dtype, rng):
    base = rng.standard_normal((60, 50)).astype(dtype)
    weights = rng.uniform(0, 1, (60, 50))
    for cut in (
        np.s_[::2, ::3],
        np.s_[::-1],
        np.s_[:, 7],
        np.s_[3],
        np.s_[:0:-2, ::-1],
    ):
        y, w = base[cut], weights[cut]
        expected = bits(huber_location(y.copy(), 0.3, sample_weight=w.copy()))
        assert bits(huber_location(y, 0.3, sample_weight=w)) == expected
        swapped = y.astype(y.dtype.newbyteorder())
        assert bits(huber_location(swapped, 0.3, sample_weight=w.astype(">f8"))) == expected
        flat = huber_location(y.ravel(), 0.3, sample_weight=w.ravel())
        assert bits(flat) == expected
    bytes_ = np.zeros(base.nbytes + 1, np.uint8)
    unaligned = bytes_[1:].view(dtype)
    unaligned[:] = base.ravel()
    assert bits(huber_location(unaligned, 0.3)) == bits(huber_location(base, 0.3))
    same = huber_location(np.broadcast_to(base[0], (3, 50)), 0)
    assert bits(same) == bits(huber_location(base[0], 0))


@pytest.mark.parametrize("n", [1, 10, 5000])
def test_inputs_are_left_alone(n, rng):
    y = rng.standard_normal(n)
    weights = rng.uniform(size=n)
    weights[1::2] = 0
    copies = y.copy(), weights.copy()
    first = huber_location(y, 0.4, sample_weight=weights)
    np.testing.assert_array_equal(y, copies[0])
    np.testing.assert_array_equal(weights, copies[1])
    y.flags.writeable = weights.flags.writeable = False
    assert bits(huber_location(y, 0.4, sample_weight=weights)) == bits(first)  # and again


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([1.0, np.nan, 2.0], "y must be finite, got nan at index 1"),
        ([[1.0, 2.0], [-np.inf, np.nan]], "y must be finite, got -inf at index 2"),
        ([np.inf], "y must be finite, got inf at index 0"),
        ([], r"y must hold at least one value, got shape \(0,\)"),
        (np.empty((3, 0)), r"y must hold at least one value, got shape \(3, 0\)"),
    ],
)
def test_bad_samples(y, message):
    for beta in (0, 1, INF):
        with pytest.raises(ValueError, match=message):
            huber_location(y, beta)


def test_a_bad_value_counts_even_without_weight():
    with pytest.raises(ValueError, match="y must be finite, got nan at index 0"):
        huber_location([np.nan, 1.0], 1, sample_weight=[0, 1])


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ([1, 1, -0.5], r"sample_weight must be >= 0 and finite, got -0\.5 at index 2"),
        ([1, np.nan, 1], "sample_weight must be >= 0 and finite, got nan at index 1"),
        ([np.inf, 1, 1], "sample_weight must be >= 0 and finite, got inf at index 0"),
        ([0, 0, 0], "sample_weight must hold a positive weight, got zeros only"),
        ([1, 1], r"sample_weight must have the shape of y, \(3,\), got \(2,\)"),
        (1.0, r"sample_weight must have the shape of y, \(3,\), got \(\)"),
        ([[1], [1], [1]], r"sample_weight must have the shape of y, \(3,\), got \(3, 1\)"),
    ],
)
def test_bad_weights(weights, message):
    with pytest.raises(ValueError, match=message):
        huber_location([1.0, 2.0, 3.0], 1, sample_weight=weights)


@pytest.mark.parametrize(
    ("beta", "message"),
    [
        (-1.0, r"beta must be >= 0, got -1\.0"),
        (-5e-324, "beta must be >= 0, got -5e-324"),
        (np.nan, "beta must be >= 0, got nan"),
        (-INF, "beta must be >= 0, got -inf"),
        ([1.0, 2.0], r"beta must be a number, got an array of shape \(2,\)"),
        ([[1.0]], r"beta must be a number, got an array of shape \(1, 1\)"),
    ],
)
def test_bad_beta(beta, message):
    with pytest.raises(ValueError, match=message):
        huber_location([1.0, 2.0], beta)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("y", np.array([1j]), "y has dtype complex128; take the loss of the real"),
        ("y", np.array(["1"]), "y has dtype <U1; use float16"),
        ("y", np.array([1.0], object), "y has dtype object; convert it to float64"),
        ("y", np.ma.masked_array([1.0], [True]), "y is a masked array, whose mask would be lost"),
        ("beta", None, r"beta \(builtins.NoneType\) has dtype object"),
        ("beta", 1j, "beta has dtype complex128"),
        ("beta", "1", "beta has dtype <U1"),
        ("sample_weight", [1j], "sample_weight has dtype complex128"),
        ("sample_weight", np.ma.masked_array([1.0]), "sample_weight is a masked array"),
    ],
)
def test_bad_types(name, value, message):
    arguments = {"y": [1.0], "beta": 1.0, "sample_weight": None, name: value}
    with pytest.raises(TypeError, match=message):
        huber_location(**arguments)


@pytest.mark.skipif(np.dtype(np.longdouble).itemsize == 8, reason="longdouble is float64 here")
def test_longdouble_is_refused():
    with pytest.raises(TypeError, match=r"y has dtype .*; convert it with \.astype\(np\.float64\)"):
        huber_location(np.ones(3, np.longdouble), 1)


def test_weights_are_a_keyword():
    with pytest.raises(TypeError, match="positional"):
        huber_location([1.0], 1, [1.0])


@pytest.mark.parametrize("n", [2, 10, 300, 1000, 4096])
@pytest.mark.parametrize("weight", [1.0, 1 / 3, 1 / 301, 0.1])
def test_a_tie_of_equal_weights_is_the_middle(n, weight, rng):
    y = rng.standard_normal(n)
    lower, upper = np.sort(y)[n // 2 - 1 : n // 2 + 1]
    got = huber_location(y, 0.0, sample_weight=np.full(n, weight))
    assert got == pytest.approx((lower + upper) / 2, rel=1e-12)
