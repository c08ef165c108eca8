"""Reductions: how accurate they are, and that their bits depend on nothing else."""

from fractions import Fraction

import numpy as np
import pytest

from smoothl1 import (
    huber_loss,
    huber_value_and_grad,
    smooth_l1_loss,
    smooth_l1_path,
    smooth_l1_value_and_grad,
)
from tests import reference
from tests.processes import linux, run

LEAF = 4096  # of src/sizes.h
SIZES = [1, 2, 15, 16, 17, 31, 32, 33, 63, 64, 100, 255, 256, 1000, LEAF - 1, LEAF, LEAF + 1]


def exact_terms(x, y, beta, huber):
    """The exact loss of the rounded differences, in longdouble."""
    z = np.abs(x - y).astype(np.longdouble)
    b = np.longdouble(x.dtype.type(beta))
    quadratic = z * z / 2 if huber else z * z / (2 * b)
    return np.where(z < b, quadratic, (b if huber else 1) * (z - b / 2))


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="needs an 80-bit longdouble")
@pytest.mark.parametrize("huber", [False, True], ids=["smooth_l1", "huber"])
@pytest.mark.parametrize("beta", [1e-3, 0.1, 0.37, 1.0, 1.35, 2.0, 3.3, 1e4])
def test_error_against_the_exact_sum(dtype, huber, beta, rng):
    loss = huber_loss if huber else smooth_l1_loss
    for n in SIZES:
        for _ in range(10):
            x, y = rng.standard_normal((2, n)).astype(dtype)
            total = reference.fsum_pair(exact_terms(x, y, beta, huber))
            bound = 1 if n >= 64 else 2
            assert reference.ulp_error(loss(x, y, "sum", beta), total, dtype) <= bound
            assert reference.ulp_error(loss(x, y, "mean", beta), total / n, dtype) <= bound


@pytest.mark.parametrize("huber", [False, True], ids=["smooth_l1", "huber"])
@pytest.mark.parametrize("beta", [1 / 9, 0.5, 0.7, 1.0, 1.35])
def test_residuals_at_the_threshold(dtype, huber, beta, rng):
    """Of one more or one less, too: which side each kernel takes them for, and that it adds up."""
    loss = huber_loss if huber else smooth_l1_loss
    both = huber_value_and_grad if huber else smooth_l1_value_and_grad
    beta = dtype(beta)
    at = [np.nextafter(beta, dtype(0)), beta, np.nextafter(beta, dtype(2)), dtype(0)]
    pool = np.array([*at, *(-z for z in at[:3])], dtype)
    losses = [reference.exact_value(abs(z), beta, huber) for z in pool]

    def close(got, which, weights=None):
        shares = np.bincount(
            which, weights, minlength=len(pool)
        )  # exact: weights are powers of two
        wanted = sum(z * Fraction(float(share)) for z, share in zip(losses, shares, strict=True))
        assert reference.ulp_error(got, wanted, dtype) <= 2

    for n in (1, 2, 5, 16, 40, 255, 1023, 1024, 1600, LEAF + 3):
        which = rng.integers(len(pool), size=n)
        x, y = pool[which], np.zeros(n, dtype)
        w, chosen = rng.choice([0.5, 1.0, 4.0], n).astype(dtype), rng.random(n) < 0.7
        close(loss(x, y, "sum", beta), which)
        close(loss(x, y, "sum", np.full(n, beta)), which)
        close(loss(x, y, "sum", beta, weight=w), which, w)
        close(loss(x, y, "sum", beta, where=chosen), which[chosen])
        close(loss(x, y, "sum", beta, weight=w, where=chosen), which[chosen], w[chosen])
        close(loss(np.stack([y, x], 1), np.zeros((n, 2), dtype), "sum", beta, axis=0)[1], which)
        close(loss(np.tile(x, (20, 1)), np.zeros((20, n), dtype), "sum", beta, axis=1)[7], which)
        if not huber:
            close(smooth_l1_path(x, y, [0.3, float(beta), 2.0], "sum")[1], which)
        for scale, reduction in ((1, "sum"), (1 / n, "mean")):
            value, gradient = both(x, y, reduction, beta)
            assert value == loss(x, y, reduction, beta)
            edge = dtype(scale) * (beta if huber else dtype(1))
            linear = abs(x) >= beta
            np.testing.assert_array_equal(abs(gradient[linear]), edge)
            assert (abs(gradient) <= edge).all()


@pytest.mark.skipif(np.finfo(np.longdouble).nmant < 63, reason="needs an 80-bit longdouble")
@pytest.mark.parametrize("huber", [False, True], ids=["smooth_l1", "huber"])
@pytest.mark.parametrize("beta", [0.1, 0.37, 1.0, 1.35, 3.3])
def test_error_of_a_million_float32(huber, beta, rng):
    # The differences are formed exactly: the bias of a rounded z - beta/2 would show.
    loss = huber_loss if huber else smooth_l1_loss
    x, y = rng.standard_normal((2, 10**6)).astype(np.float32)
    z = np.abs(x.astype(np.longdouble) - y)
    b = np.longdouble(np.float32(beta))
    exact = np.where(
        z < b, z * z / 2 if huber else z * z / (2 * b), (b if huber else 1) * (z - b / 2)
    )
    total = reference.fsum_pair(exact)
    assert reference.ulp_error(loss(x, y, "sum", beta), total, np.float32) <= 0.75
    assert reference.ulp_error(loss(x, y, "mean", beta), total / x.size, np.float32) <= 0.75


def test_error_with_weights(dtype, rng):
    for n in (64, 1000, LEAF + 100):
        for beta in (0.37, 1.0, 1.35):
            x, y = rng.standard_normal((2, n)).astype(dtype)
            w = rng.uniform(0, 2, n).astype(dtype)
            terms = exact_terms(x, y, beta, False) * w
            total = reference.fsum_pair(terms)
            mass = reference.fsum_pair(w.astype(np.longdouble))
            for reduction, divisor in (("sum", 1), ("mean", n), ("weighted_mean", mass)):
                got = smooth_l1_loss(x, y, reduction, beta, weight=w)
                assert reference.ulp_error(got, total / divisor, dtype) <= 1


def test_error_with_an_array_beta(dtype, rng):
    for n in (64, 1000, LEAF + 100):
        x, y = rng.standard_normal((2, n)).astype(dtype)
        b = rng.uniform(0.01, 2, n).astype(dtype)
        z = np.abs(x - y)
        exact = [reference.exact_value(z[i], b[i]) for i in range(n)]
        total = reference.exact_sum(exact)
        assert reference.ulp_error(smooth_l1_loss(x, y, "sum", b), total, dtype) <= 1


@pytest.mark.parametrize("power", [-149, -148, -140, -127, -126, -100, 100, 126, 127])
@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_extreme_betas_lose_nothing_in_float32(power, factor, rng):
    beta = float(np.float32(np.ldexp(factor, power)))
    with np.errstate(over="ignore"):
        scale = beta / 1024 if power > 100 else beta
        x = (scale * rng.uniform(0, 3, 200)).astype(np.float32)
    exact = reference.exact_sum(reference.exact_value(z, beta) for z in x)
    got = smooth_l1_loss(x, np.float32(0), "sum", beta)
    # Terms near the smallest subnormal are rounded to it, one by one.
    slack = len(x) * 2.0**-150
    assert abs(float(got) - float(exact)) <= 2 * float(reference.ulp(exact, np.float32)) + slack


@pytest.mark.parametrize("power", [-1074, -1073, -1050, -1023, -1022, -1000, 1000, 1022, 1023])
@pytest.mark.parametrize("factor", [1.0, 1.5])
def test_extreme_betas_lose_nothing_in_float64(power, factor, rng):
    beta = float(np.ldexp(factor, power))
    x = beta * rng.uniform(0, 1.1, 5) if power > 1000 else beta * rng.uniform(0, 3, 50)
    x = x[np.isfinite(x)] / 8 if power > 1000 else x
    exact = reference.exact_sum(reference.exact_value(z, beta) for z in x)
    got = smooth_l1_loss(x, 0.0, "sum", beta)
    error = abs(reference.Fraction(float(got)) - exact)
    slack = len(x) * reference.Fraction(2) ** -1075
    assert error <= 2 * reference.ulp(exact, np.float64) + slack


def test_linear_terms_do_not_overflow(dtype):
    # z * 2 beta would.
    big = dtype(np.finfo(dtype).max) / 16
    x = np.array([big, big], dtype)
    for beta in (0.75, 1.0, 3.0, 4.0, 1e6):
        assert smooth_l1_loss(x, dtype(0), "sum", beta) == 2 * big
        assert smooth_l1_loss(x, dtype(0), "mean", beta) == big


def test_quadratic_terms_do_not_underflow(dtype):
    # z * z would.
    z = dtype(2.0) ** (-100 if dtype is np.float32 else -700)
    x = np.full(100, z)
    for factor in (2.0, 3.0):
        exact = 100 * reference.exact_value(z, z * dtype(factor))
        got = smooth_l1_loss(x, dtype(0), "sum", z * dtype(factor))
        assert reference.ulp_error(got, exact, dtype) <= 1


@pytest.mark.parametrize("beta", [0.0, 0.37, 1.0, np.inf])
def test_bits_do_not_depend_on_threads(dtype, beta, rng):
    for n in (LEAF * 8 + 1, 10**6 + 3):
        x, y = rng.standard_normal((2, n)).astype(dtype)
        w = rng.uniform(0, 1, n)
        expected = smooth_l1_loss(x, y, "sum", beta, n_threads=1)
        weighted = smooth_l1_loss(x, y, "sum", beta, weight=w, n_threads=1)
        both = smooth_l1_value_and_grad(x, y, "mean", beta, n_threads=1)
        for n_threads in (2, 3, 4, 7, 16):
            assert smooth_l1_loss(x, y, "sum", beta, n_threads=n_threads) == expected
            assert smooth_l1_loss(x, y, "sum", beta, weight=w, n_threads=n_threads) == weighted
            loss, grad = smooth_l1_value_and_grad(x, y, "mean", beta, n_threads=n_threads)
            assert loss == both[0]
            np.testing.assert_array_equal(grad, both[1])


@pytest.mark.parametrize("beta", [0.37, 0.5, 1.0])
def test_leaves_in_one_call_have_the_bits_of_single_ones(dtype, beta, rng):
    """Of contiguous arrays a thread takes many leaves at a time, of others one."""
    for leaves in (1, 2, 15, 16, 17, 33):
        for rest in (0, 1, 1024, 1500):
            n = leaves * LEAF + rest
            x, y = (rng.standard_normal((2, n)) * 2).astype(dtype)
            spread = [np.repeat(a, 2)[::2] for a in (x, y)]
            value = smooth_l1_loss(*spread, "sum", beta, n_threads=1)
            both = smooth_l1_value_and_grad(*spread, "mean", beta, n_threads=1)
            for n_threads in (1, 2, 3, 16):
                assert smooth_l1_loss(x, y, "sum", beta, n_threads=n_threads) == value
                loss, grad = smooth_l1_value_and_grad(x, y, "mean", beta, n_threads=n_threads)
                assert loss == both[0]
                np.testing.assert_array_equal(grad, both[1])


def test_many_groups_of_leaves(rng):
    # More elements than one group holds, so that the tree goes on above it.
    n = 2048 * LEAF + 5 * LEAF + 77
    x = np.broadcast_to(rng.standard_normal(n // 7 + 1), (7, n // 7 + 1)).ravel()[:n]
    x = x.astype(np.float32)
    expected = reference.values(x.astype(np.float64), 0.0, 1.0).sum()
    one = smooth_l1_loss(x, np.float32(0), "sum", n_threads=1)
    assert one == pytest.approx(expected, rel=1e-7)
    assert one == smooth_l1_loss(x, np.float32(0), "sum", n_threads=3)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_path_has_the_bits_of_single_calls(dtype, reduction, rng):
    x, y = rng.standard_normal((2, 3, 5000)).astype(dtype)
    betas = [0.0, 0.01, 0.37, 0.5, 1.0, 1.35, 100.0, np.inf, 1e-46]
    path = smooth_l1_path(x, y, betas, reduction)
    assert path.dtype == dtype
    for beta, loss in zip(betas, path, strict=True):
        assert loss == smooth_l1_loss(x, y, reduction, beta)
    assert smooth_l1_path(x, y, [], reduction).shape == (0,)


@pytest.mark.parametrize(
    "n", [1023, 1024, 1025, 1087, 1088, 1152, 1153, 4095, 4097, 4096 + 1023, 8192 + 1024, 9000]
)
def test_paths_of_any_length_have_the_bits_of_single_calls(n, dtype, rng):
    """Whole groups and a rest; one to more thresholds than a loop serves, of either form."""
    x, y = rng.standard_normal((2, n)).astype(dtype)
    x[rng.integers(n, size=3)] = -1e30, np.float64(y[7]), 3.5e-39
    numbers = [1.35, 1.0, 0.0, 0.37, 2.0, 1.35, np.inf, 0.25, 1e-20, 0.5, 3.0, 0.1, 4.0, 7.0, 1e9]
    single = {beta: smooth_l1_loss(x, y, beta=beta) for beta in numbers}
    for betas in (*(numbers[:k] for k in range(1, 16)), [0.7] * 9, [1.0] * 4, [0.0] * 2):
        expected = [single.get(beta, smooth_l1_loss(x, y, beta=beta)) for beta in betas]
        assert smooth_l1_path(x, y, betas).tolist() == expected


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("place", [0, 1030, 1499])
def test_paths_over_what_is_not_finite(value, place, dtype, rng):
    x, y = rng.standard_normal((2, 1500)).astype(dtype)
    x[place] = value
    betas = [0.0, 0.37, 1.0, 2.0, np.inf]
    expected = [smooth_l1_loss(x, y, "sum", beta) for beta in betas]
    np.testing.assert_array_equal(smooth_l1_path(x, y, betas, "sum"), expected)
    assert not np.isfinite(expected).any()


def test_paths_of_other_layouts_and_dtypes_have_the_bits_of_single_calls(dtype, rng):
    x, y = rng.standard_normal((2, 3000)).astype(dtype)
    betas = np.linspace(0.1, 1.0, 10)
    for a, b in (
        (x[::2], y[1500:]),
        (x, np.broadcast_to(y[:1], 3000)),
        (x.astype(np.float16), y),
        (x.astype(x.dtype.newbyteorder()), y),
        (x.reshape(2, 1500), y.reshape(1500, 2).T),
    ):
        expected = [smooth_l1_loss(a, b, beta=beta) for beta in betas]
        assert smooth_l1_path(a, b, betas).tolist() == expected


@pytest.mark.parametrize("option", ["weight", "where", "both"])
def test_large_paths_with_options_have_the_bits_of_single_calls(option, dtype, rng):
    x, y, w = rng.uniform(size=(3, 5000)).astype(dtype)
    given = {"weight": w, "where": x < 0.7}
    options = given if option == "both" else {option: given[option]}
    betas = [0.0, 0.01, 0.37, 0.5, 1.0, 1.35, 0.37, 2.0, np.inf]
    expected = [smooth_l1_loss(x, y, beta=beta, **options) for beta in betas]
    assert smooth_l1_path(x, y, betas, **options).tolist() == expected


def test_path_with_weights_and_selection(rng):
    x, y, w = rng.uniform(size=(3, 400))
    where = rng.uniform(size=400) < 0.5
    for reduction in ("mean", "sum", "weighted_mean"):
        path = smooth_l1_path(x, y, [0.1, 1.0], reduction, weight=w, where=where)
        for beta, loss in zip([0.1, 1.0], path, strict=True):
            assert loss == smooth_l1_loss(x, y, reduction, beta, weight=w, where=where)


@pytest.mark.parametrize("function", [smooth_l1_value_and_grad, huber_value_and_grad])
@pytest.mark.parametrize("reduction", ["none", "mean", "sum"])
@pytest.mark.parametrize("threshold", [0.37, 1.0])
def test_value_and_grad_has_the_bits_of_both(dtype, function, reduction, threshold, rng):
    import smoothl1

    name = function.__name__.removesuffix("_value_and_grad")
    loss_function = getattr(smoothl1, f"{name}_loss")
    grad_function = getattr(smoothl1, f"{name}_grad")
    for n in (1, 10, LEAF + 3, 50000):
        x, y = rng.standard_normal((2, n)).astype(dtype)
        for options in ({}, {"weight": rng.uniform(size=n)}, {"where": rng.uniform(size=n) < 0.7}):
            loss, grad = function(x, y, reduction, threshold, **options)
            np.testing.assert_array_equal(
                loss, loss_function(x, y, reduction, threshold, **options)
            )
            np.testing.assert_array_equal(
                grad, grad_function(x, y, reduction, threshold, **options)
            )


@linux
def test_a_path_of_many_thresholds_needs_little_memory(rng):
    """Of 100 000 thresholds; 3 KiB each would be 300 MB."""
    grown = run(
        """
        import resource
        import numpy as np
        from smoothl1 import smooth_l1_path
        x, y = np.random.default_rng(0).normal(size=(2, 200))
        betas = np.linspace(0, 5, 100_000)
        smooth_l1_path(x, y, betas[:2])
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        losses = smooth_l1_path(x, y, betas)
        assert losses.shape == betas.shape
        print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
        """
    )
    assert int(grown) < 40_000  # KiB; the parameters themselves take 20 MB


def test_paths_longer_than_a_pass(dtype, rng):
    x, y = rng.standard_normal((2, 5000)).astype(dtype)
    betas = np.linspace(0, 3, 600)
    path = smooth_l1_path(x, y, betas, "sum")
    for k in (0, 1, 255, 256, 257, 511, 512, 599):
        assert path[k] == smooth_l1_loss(x, y, "sum", betas[k])


@pytest.mark.parametrize("n", [1023, 1024, 1025, 1151, 1152, 1153, 4096 + 1023, 4096 + 1024, 9000])
@pytest.mark.parametrize("beta", [1.0, 0.7])
def test_either_side_of_a_long_leaf(n, beta, dtype, rng):
    """Leaves of 1024 elements or more are summed in groups, the last of which is filled up."""
    x, y = rng.standard_normal((2, n)).astype(dtype)
    w = rng.uniform(0, 2, n).astype(dtype)
    mask = rng.uniform(size=n) < 0.7
    terms = [reference.exact_value(z, x.dtype.type(beta)) for z in np.abs(x - y)]
    for chosen, kw in (
        (np.ones(n, bool), {}),
        (mask, {"where": mask}),
        (np.ones(n, bool), {"weight": w}),
        (mask, {"where": mask, "weight": w}),
    ):
        weights = w if "weight" in kw else np.ones(n)
        exact = sum(
            Fraction(float(v)) * t for v, t, c in zip(weights, terms, chosen, strict=True) if c
        )
        got = smooth_l1_loss(x, y, "sum", beta, **kw)
        assert abs(Fraction(float(got)) - exact) <= Fraction(1.3) * reference.ulp(exact, dtype)
        assert got == smooth_l1_loss(x, y, "sum", np.float64(beta), **kw)
        wide = smooth_l1_loss(
            np.broadcast_to(x, (2, n)),
            np.broadcast_to(y, (2, n)),
            "sum",
            beta,
            axis=1,
            **{name: np.broadcast_to(a, (2, n)) for name, a in kw.items()},
        )
        assert (wide == got).all()
        turned = smooth_l1_loss(
            np.stack([x, x], 1),
            np.stack([y, y], 1),
            "sum",
            beta,
            axis=0,
            **{name: np.stack([a, a], 1) for name, a in kw.items()},
        )
        assert (turned == got).all()


@pytest.mark.parametrize("n", [500, 1533, 9000])
def test_a_path_of_thresholds_that_are_summed_in_different_ways(n, dtype, rng):
    x, y = rng.standard_normal((2, n)).astype(dtype)
    betas = [float(np.finfo(dtype).smallest_subnormal), 0.37, 1.0, 0.0, np.inf]
    path = smooth_l1_path(x, y, betas)
    np.testing.assert_array_equal(path, [smooth_l1_loss(x, y, "mean", beta) for beta in betas])
