import pickle
import tracemalloc
import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")
import scipy.sparse
from sklearn import config_context
from sklearn.base import clone
from sklearn.datasets import load_diabetes
from sklearn.exceptions import ConvergenceWarning, UnsetMetadataPassedError
from sklearn.linear_model import HuberRegressor, LinearRegression, QuantileRegressor, Ridge
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from smoothl1._linear import solvers
from smoothl1.linear_model import SmoothL1Regressor

SOLVERS = ["newton", "lbfgs"]


def sample(n=300, p=8, seed=0, outliers=0.1, dtype=np.float64):
    """Features of different scale, and targets with outliers."""
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, p)) * np.logspace(0, 2, p) + rng.normal(size=p)
    y = X @ (rng.normal(size=p) / np.logspace(0, 2, p)) + 3 + rng.normal(size=n)
    y[rng.random(n) < outliers] += 50
    return X.astype(dtype), y.astype(dtype)


def objective(model, X, y, weight=None):
    """What is minimised, in extended precision."""
    X, y, coef = (np.asarray(a, np.longdouble) for a in (X, y, model.coef_))
    weight = np.ones(len(y)) if weight is None else np.asarray(weight)
    z = np.abs(y - X @ coef - np.longdouble(model.intercept_))
    scale, beta = np.longdouble(model.scale_), np.longdouble(model.beta)
    if scale == 0 or beta == 0:
        loss = max(beta, 1) * 2 * z
    else:
        inner = np.minimum(z / scale, beta)
        loss = scale + scale * inner * (2 * z / scale - inner)
    return (weight * loss).sum() + model.alpha * (coef * coef).sum()


def slopes(model, X, y, weight=None):
    """Its gradient by coefficients, intercept and scale, a sample; 0 proves a minimum."""
    X, y, coef = (np.asarray(a, np.longdouble) for a in (X, y, model.coef_))
    weight = np.ones(len(y)) if weight is None else np.asarray(weight)
    total = weight.sum()
    threshold = np.longdouble(model.beta) * model.scale_
    slope = np.clip((y - X @ coef - np.longdouble(model.intercept_)) / threshold, -1, 1)
    by_scale = 1 - model.beta**2 * (weight * slope**2).sum() / total
    slope = slope * weight / total
    return model.alpha / (model.beta * total) * coef - slope @ X, -slope.sum(), by_scale


@parametrize_with_checks([SmoothL1Regressor(solver=s) for s in ("auto", "newton", "lbfgs")])
def test_estimator_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("alpha", [0.0, 0.01, 100.0])
@pytest.mark.parametrize(
    ("beta", "scale"),
    [
        *((0.1, None), (1.0, None), (30.0, None), (0.5, 2.0), (0.5, "mad"), (1.35, "mad")),
        *((1.1, "huber"), (1.35, "huber"), (30.0, "huber")),
    ],
)
def test_the_gradient_vanishes_at_the_solution(solver, weighted, alpha, beta, scale, rng):
    X, y = sample()
    weight = rng.random(len(y)) if weighted else None
    model = SmoothL1Regressor(beta=beta, scale=scale, alpha=alpha, solver=solver)
    model.fit(X, y, weight)
    by_coef, by_intercept, by_scale = slopes(model, X, y, weight)
    assert np.abs(by_coef / X.std(axis=0)).max() < 1e-9
    assert abs(by_intercept) < 1e-9
    if scale == "huber":
        assert abs(by_scale) < 1e-9
    outliers = np.abs(y - model.predict(X)) > beta * model.scale_
    np.testing.assert_array_equal(model.outliers_, outliers)


@pytest.mark.parametrize("solver", SOLVERS)
def test_without_an_intercept(solver):
    X, y = sample()
    model = SmoothL1Regressor(fit_intercept=False, solver=solver).fit(X, y)
    assert model.intercept_ == 0.0
    assert np.abs(slopes(model, X, y)[0] / X.std(axis=0)).max() < 1e-9


@pytest.mark.parametrize("beta", [1e-2, 1e-4, 1e-300, 0])
def test_a_small_beta_approaches_least_absolute_deviations(beta):
    # The minimum of sum |r| passes through as many points as there are parameters; with
    # the same loss as any other line through two of the points it is checked here.
    rng = np.random.default_rng(1)
    x = rng.normal(size=31)
    y = 2 * x + rng.standard_cauchy(31)
    model = SmoothL1Regressor(beta=beta, scale=None).fit(x[:, np.newaxis], y)
    best = np.inf
    for i in range(31):
        for j in range(i):
            slope = (y[i] - y[j]) / (x[i] - x[j])
            best = min(best, np.abs(y - y[i] - slope * (x - x[i])).mean())
    reached = np.abs(y - model.predict(x[:, np.newaxis])).mean()
    assert best * (1 - 1e-12) <= reached <= best * (1 + 1e-12) + beta


@pytest.mark.parametrize("scale", ["huber", "mad", None, 3.0])
def test_a_huge_beta_is_ridge_regression(scale):
    X, y = sample()
    model = SmoothL1Regressor(beta=1e6, scale=scale, alpha=10.0).fit(X, y)
    ridge = Ridge(alpha=10.0 * model.scale_).fit(X, y)
    np.testing.assert_allclose(model.coef_, ridge.coef_, rtol=1e-9)
    np.testing.assert_allclose(model.intercept_, ridge.intercept_, rtol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scale", ["huber", None])
@pytest.mark.parametrize("beta", [1e6, 1e100, 1e300])
def test_a_huge_beta_without_a_penalty_is_least_squares(solver, beta, scale):
    X, y = sample()
    model = SmoothL1Regressor(beta=beta, scale=scale, solver=solver).fit(X, y)
    squares = LinearRegression().fit(X, y)
    np.testing.assert_allclose(model.coef_, squares.coef_, rtol=1e-9)
    np.testing.assert_allclose(model.intercept_, squares.intercept_, rtol=1e-9)
    deviation = np.sqrt(np.mean((y - squares.predict(X)) ** 2))
    assert model.scale_ == (1.0 if scale is None else pytest.approx(deviation, rel=1e-9))


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize(("alpha", "beta"), [(0.0, 1.35), (10.0, 1.35), (1e-4, 1.1), (1.0, 5.0)])
def test_the_minimum_is_that_of_huber_regressor(solver, weighted, fit_intercept, alpha, beta, rng):
    X, y = sample()
    X = StandardScaler().fit_transform(X)
    weight = rng.random(len(y)) if weighted else None
    huber = HuberRegressor(
        epsilon=beta, alpha=alpha, fit_intercept=fit_intercept, tol=1e-9, max_iter=10_000
    ).fit(X, y, weight)
    model = SmoothL1Regressor(
        beta=beta, alpha=alpha, fit_intercept=fit_intercept, solver=solver
    ).fit(X, y, weight)
    np.testing.assert_allclose(model.coef_, huber.coef_, atol=3e-4)
    np.testing.assert_allclose(model.intercept_, huber.intercept_, atol=3e-4)
    assert model.scale_ == pytest.approx(huber.scale_, rel=3e-4)
    assert (model.outliers_ == huber.outliers_).mean() > 0.99
    theirs = clone(model)
    theirs.coef_, theirs.intercept_, theirs.scale_ = huber.coef_, huber.intercept_, huber.scale_
    assert objective(model, X, y, weight) <= objective(theirs, X, y, weight) * (1 + 1e-15)


@pytest.mark.parametrize(("beta", "scale"), [(30.0, None), (1.35, "huber"), (1.0, "mad")])
def test_the_objective_is_no_worse_than_what_another_optimiser_finds(beta, scale):
    from scipy.optimize import minimize

    X, y = load_diabetes(return_X_y=True)
    model = SmoothL1Regressor(beta=beta, scale=scale, alpha=1e-2).fit(X, y)

    def value(theta):
        other = clone(model)
        other.coef_, other.intercept_ = theta[:-2], theta[-2]
        other.scale_ = np.exp(theta[-1]) if scale == "huber" else model.scale_
        return float(objective(other, X, y))

    start = np.append(model.coef_, [model.intercept_, np.log(model.scale_)])
    other = minimize(value, start * 1.01, method="BFGS", options={"gtol": 1e-8})
    assert value(start) <= other.fun * (1 + 1e-12)


@pytest.mark.parametrize(("n", "p", "noise"), [(200, 3, "normal"), (500, 60, "cauchy")])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_least_absolute_deviations_are_those_of_quantile_regressor(n, p, noise, fit_intercept):
    rng = np.random.default_rng(2)
    X = rng.normal(size=(n, p)) * np.logspace(0, 3, p)
    draw = rng.standard_cauchy if noise == "cauchy" else rng.standard_normal
    y = X @ rng.normal(size=p) + 3 + draw(n)
    quantile = QuantileRegressor(alpha=0.0, fit_intercept=fit_intercept).fit(X, y)
    for beta, scale in ((0.0, None), (1e-9, None), (1e-9, "mad")):
        model = SmoothL1Regressor(beta=beta, scale=scale, fit_intercept=fit_intercept).fit(X, y)
        ours, theirs = (np.abs(y - m.predict(X)).mean() for m in (model, quantile))
        assert ours <= theirs * (1 + 1e-9)
        np.testing.assert_allclose(model.coef_, quantile.coef_, rtol=1e-6)
        np.testing.assert_allclose(model.intercept_, quantile.intercept_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("weighted", [False, True])
def test_least_absolute_deviations_have_a_certificate(weighted, rng):
    # Slopes in [-1, 1] that are the signs of the residuals and sum to 0 with each feature.
    from scipy.optimize import lsq_linear

    X, y = sample(400, 30)
    weight = rng.random(400) if weighted else np.ones(400)
    model = SmoothL1Regressor(beta=0.0, scale=None).fit(X, y, weight)
    residual = y - model.predict(X)
    met = np.abs(residual) < 1e-9 * np.abs(y).max()
    assert met.sum() == 31
    Z = np.column_stack([X / X.std(axis=0), np.ones(400)]) * weight[:, np.newaxis]
    rest = np.sign(residual[~met]) @ Z[~met]
    slope = lsq_linear(Z[met].T, -rest, bounds=(-1.0, 1.0))
    assert np.abs(slope.fun).max() < 1e-8
    np.testing.assert_array_equal(model.outliers_, ~met)


# Of the first two a fit ended within 1e-9 of the corner, since rounding hid what that would gain.
@pytest.mark.parametrize(
    ("n", "p", "seed"), [(3000, 8, 12), (20_000, 1, 12), (3000, 3, 0), (300, 8, 1)]
)
def test_least_absolute_deviations_end_in_a_corner(n, p, seed):
    rng = np.random.default_rng([seed, n, p])
    X = rng.standard_normal((n, p)) * 10 ** rng.uniform(-2, 2, p) + 10 * rng.standard_normal(p)
    y = X @ (rng.standard_normal(p) / X.std(axis=0)) * 3 + 7 + rng.standard_t(1.5, n)
    model = SmoothL1Regressor(scale=None, beta=0.0).fit(X, y)
    passed = np.abs(y - X @ model.coef_ - model.intercept_) < 1e-13 * np.abs(y).max()
    assert np.count_nonzero(passed) == p + 1


def test_interior_points_go_on_until_the_corner_is_the_minimum(monkeypatch):
    X, y = sample(2000, 5)
    best = SmoothL1Regressor(scale=None, beta=0.0).fit(X, y)
    monkeypatch.setattr(solvers, "_GAP", 0.03)  # of the first interior points: corners far off
    found = []
    inside = solvers._interior_points

    def counted(problem, point, enough):
        found.append(enough)
        return inside(problem, point, enough)

    monkeypatch.setattr(solvers, "_interior_points", counted)
    model = SmoothL1Regressor(scale=None, beta=0.0).fit(X, y)
    assert len(found) > 1
    assert found == sorted(found, reverse=True)
    np.testing.assert_allclose(model.coef_, best.coef_, rtol=1e-10)


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_the_median_absolute_deviation_of_what_a_median_fit_misses(fit_intercept, rng):
    X, y = sample(301, 5)
    median = SmoothL1Regressor(beta=0.0, scale=None, fit_intercept=fit_intercept).fit(X, y)
    distance = np.abs(y - median.predict(X))
    met = distance < 1e-9 * np.abs(y).max()
    assert met.sum() == 5 + fit_intercept
    deviation = np.median(distance[~met]) / 0.6744897501960817
    model = SmoothL1Regressor(scale="mad", fit_intercept=fit_intercept).fit(X, y)
    assert model.scale_ == pytest.approx(deviation, rel=1e-9)
    same = SmoothL1Regressor(scale=model.scale_, fit_intercept=fit_intercept).fit(X, y)
    np.testing.assert_allclose(model.coef_, same.coef_, rtol=1e-9)
    assert same.scale_ == model.scale_


def hard_cases():
    """Targets for which the scale vanishes, or digits are short, by name."""
    rng = np.random.default_rng(3)
    X = rng.normal(size=(200, 5))
    coef = rng.normal(size=5)
    plane = X @ coef + 3
    y = plane + rng.normal(size=200)
    spread = np.where(np.arange(200) < 80, 10 * rng.standard_cauchy(200), 0.0)
    far = X.copy()
    far[0] *= 1e6
    return {
        "exact": (X, plane),
        "60 % exact": (X, plane + spread),
        "40 % of the targets constant": (X, np.where(np.arange(200) < 80, 2.0, y)),
        "half of the targets constant": (X, np.where(np.arange(200) < 100, 2.0, y)),
        "70 % of the targets constant": (X, np.where(np.arange(200) < 140, 2.0, y)),
        "binary": (X, 1.0 * (rng.random(200) < 0.3)),
        "n < p": (rng.normal(size=(20, 50)), rng.normal(size=20)),
        "n = p": (rng.normal(size=(50, 50)), rng.normal(size=50)),
        "n = 1.5 p": (rng.normal(size=(75, 50)), rng.normal(size=75)),
        "n = 2.5 p": (rng.normal(size=(125, 50)), rng.normal(size=125)),
        "a row far out": (far, y),
        "a target far out": (X, np.where(np.arange(200) < 1, 1e15, y)),
        "constant": (X, np.full(200, 7.3)),
        "one sample": (X[:1], y[:1]),
        "two samples": (X[:2], y[:2]),
        "little noise": (X, plane + 1e-9 * rng.normal(size=200)),
        "little noise and outliers": (X, plane + 1e-7 * rng.normal(size=200) + spread),
        "factor": (np.eye(30)[rng.integers(30, size=100)], rng.normal(size=100)),
        "twice the same": (np.hstack([X, X]), y),
        "far from 0": (X + 1e6, y),
        "polynomials": (np.vander(np.linspace(0, 1, 100), 12), np.sin(np.arange(100))),
        "heavy tails": (X, rng.standard_cauchy(200) ** 3),
    }


HARD = hard_cases()


@pytest.mark.parametrize("name", HARD)
@pytest.mark.parametrize("make", [np.asarray, scipy.sparse.csr_array])
def test_hard_cases_reach_the_minimum(name, make):
    X, y = HARD[name]
    model = SmoothL1Regressor().fit(make(X), y)  # without a ConvergenceWarning
    value = objective(model, X, y)
    rounding = 1e-12 * len(y) * float(np.abs(y).max())
    other = clone(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tol in (1e-3, 1e-9):
            huber = HuberRegressor(alpha=0.0, tol=tol, max_iter=5000).fit(X, y)
            other.coef_, other.intercept_, other.scale_ = (
                huber.coef_,
                huber.intercept_,
                huber.scale_,
            )
            assert value <= objective(other, X, y) * (1 + 1e-9) + rounding
    # No direction leads down, from small steps to large ones.
    rng = np.random.default_rng(0)
    for length in np.logspace(-8, 0, 9):
        for _ in range(5):
            other.coef_ = model.coef_ * (1 + length * rng.normal(size=X.shape[1]))
            other.intercept_ = model.intercept_ * (1 + length * rng.normal())
            for factor in (1.0, 1.0 - 0.5 * length, 1.0 + length):
                other.scale_ = model.scale_ * factor
                assert objective(other, X, y) >= value * (1 - 1e-12) - rounding


@pytest.mark.parametrize(
    ("name", "vanishes"),
    [
        ("exact", True),
        ("60 % exact", True),
        ("40 % of the targets constant", False),
        ("70 % of the targets constant", True),
        ("n < p", True),
        ("n = 1.5 p", True),
        ("n = 2.5 p", False),
        ("constant", True),
        ("one sample", True),
        ("little noise", False),
        ("little noise and outliers", False),
    ],
)
def test_a_scale_that_vanishes_is_0(name, vanishes):
    X, y = HARD[name]
    model = SmoothL1Regressor().fit(X, y)
    assert (model.scale_ == 0.0) == vanishes
    if vanishes:  # what is left is a fit of least absolute deviations
        reached = np.abs(y - model.predict(X)).mean()
        median = SmoothL1Regressor(beta=0.0, scale=None).fit(X, y)
        best = np.abs(y - median.predict(X)).mean()
        assert reached <= best * (1 + 1e-9) + 1e-13 * np.abs(y).max()
        assert model.outliers_.mean() <= 1 / model.beta**2


def test_hard_cases_in_units_of_any_size():
    for name in ("60 % exact", "half of the targets constant", "little noise and outliers"):
        X, y = HARD[name]
        reference = SmoothL1Regressor().fit(X, y)
        for unit in (1e-300, 1e-6, 1e6, 1e300):
            model = SmoothL1Regressor().fit(X, y * unit)
            np.testing.assert_allclose(model.coef_ / unit, reference.coef_, rtol=1e-6, atol=1e-9)
            assert model.scale_ / unit == pytest.approx(reference.scale_, rel=1e-6)


def test_a_scale_that_vanishes_at_the_start_only():
    # Most of the weight lies on targets that are equal; the features draw them apart.
    rng = np.random.default_rng(4)
    X = rng.normal(size=(40, 3))
    y = np.where(np.arange(40) < 4, 0.0, X @ [5.0, 3.0, 1.0] + rng.normal(size=40))
    weight = np.where(np.arange(40) < 4, 12.0, 1.0)
    model = SmoothL1Regressor().fit(X, y, weight)
    huber = HuberRegressor(alpha=0.0, tol=1e-9, max_iter=10_000).fit(X, y, weight)
    other = clone(model)
    other.coef_, other.intercept_, other.scale_ = huber.coef_, huber.intercept_, huber.scale_
    assert objective(model, X, y, weight) <= objective(other, X, y, weight) * (1 + 1e-9)


def test_prices_and_returns():
    # An offset and a slope of hundreds of thousands; a hundredth with 10 % of outliers.
    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 1))
    y = 3e5 + 8e4 * X[:, 0] + rng.normal(size=2000) * 2e4
    assert SmoothL1Regressor().fit(X, y).coef_[0] == pytest.approx(8e4, rel=0.02)
    y = (2 * X[:, 0] + rng.normal(size=2000) * 0.2) * 0.01
    y[:200] += 0.5
    model = SmoothL1Regressor().fit(X, y)
    assert abs(model.intercept_) < 1e-3
    assert model.coef_[0] == pytest.approx(0.02, rel=0.02)


@pytest.mark.parametrize("alpha", [1e-5, 1e-3, 1.0])
def test_a_scale_that_vanishes_under_a_penalty(alpha):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(400, 300))
    y = X @ rng.normal(size=300) + rng.standard_t(2, size=400)
    model = SmoothL1Regressor(alpha=alpha).fit(X, y)  # without a ConvergenceWarning
    assert model.scale_ == 0.0
    assert (~model.outliers_).sum() >= (1 - 1 / model.beta**2) * len(y)


def test_solvers_agree():
    X, y = sample(500, 20)
    a, b = (SmoothL1Regressor(solver=s).fit(X, y) for s in SOLVERS)
    np.testing.assert_allclose(a.coef_, b.coef_, rtol=1e-9, atol=1e-12)
    assert abs(objective(a, X, y) / objective(b, X, y) - 1) < 1e-12


def test_as_many_features_as_samples():
    X, y = sample(200, 200)
    model = SmoothL1Regressor(beta=1.0, scale=None, alpha=0.1).fit(X, y)
    assert np.abs(slopes(model, X, y)[0] / X.std(axis=0)).max() < 1e-9


def test_more_features_than_samples():
    X, y = sample(60, 200)
    model = SmoothL1Regressor(beta=1.0, scale=None, alpha=0.1).fit(X, y)
    assert np.abs(slopes(model, X, y)[0] / X.std(axis=0)).max() < 1e-9


def test_many_features_go_to_lbfgs():
    X, y = sample(400, 1500)
    X /= X.std(axis=0)
    auto, lbfgs, newton = (
        SmoothL1Regressor(beta=1.0, scale=None, alpha=40.0, solver=s).fit(X, y)
        for s in ("auto", "lbfgs", "newton")
    )
    assert auto.n_iter_ == lbfgs.n_iter_ != newton.n_iter_
    np.testing.assert_allclose(auto.coef_, newton.coef_, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_time_in_milliseconds_keeps_its_coefficient(solver):
    rng = np.random.default_rng(0)
    t = 1.7e12 + 1e4 * rng.random(300)  # ten seconds of a day in 2023
    x = rng.normal(size=300)
    y = 2e-3 * (t - 1.7e12) + x + 0.1 * rng.normal(size=300)
    for make in (np.asarray, scipy.sparse.csr_array):
        X = make(np.column_stack([t, x]))
        model = SmoothL1Regressor(alpha=0, solver=solver).fit(X, y)
        np.testing.assert_allclose(model.coef_, [2e-3, 1.0], rtol=0.02)
        assert np.abs(model.predict(X) - y).mean() < 0.1


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("unit", [2.0**-600, 2.0**-20, 2.0**20, 2.0**600])
@pytest.mark.parametrize("scale", ["huber", "mad", None])
def test_units_of_the_features_and_the_target(solver, unit, scale):
    X, y = sample(100, 3)
    model = SmoothL1Regressor(scale=scale, solver=solver)
    reference = clone(model).fit(X, y)
    model.fit(X * [1, unit, 1], y)
    np.testing.assert_allclose(model.coef_ * [1, unit, 1], reference.coef_, rtol=1e-9)
    if scale is None:
        model.set_params(beta=model.beta * unit)
    model.fit(X, y * unit)
    np.testing.assert_allclose(model.coef_ / unit, reference.coef_, rtol=1e-9)
    np.testing.assert_allclose(model.intercept_ / unit, reference.intercept_, rtol=1e-9)
    np.testing.assert_array_equal(model.outliers_, reference.outliers_)
    if scale is not None:
        assert model.scale_ / unit == pytest.approx(reference.scale_, rel=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(
    ("beta", "scale"), [(1e-6, None), (0.1, None), (10.0, None), (1.35, "huber"), (1.35, "mad")]
)
def test_collinear_features_without_a_penalty(solver, beta, scale):
    X, y = sample(200, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # L-BFGS at the smallest beta
        model = SmoothL1Regressor(beta=beta, scale=scale, solver=solver)
        one, two = clone(model).fit(X, y), clone(model).fit(np.hstack([X, X]), y)
    np.testing.assert_allclose(two.coef_[:2], two.coef_[2:], rtol=1e-6)
    assert objective(two, np.hstack([X, X]), y) <= objective(one, X, y) * (1 + 1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("alpha", [0.0, 1e-4])
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1, 1.7e12])
def test_a_constant_feature_has_the_coefficient_0(solver, alpha, value):
    X, y = sample(100, 3)
    X[:, 1] = value
    for make in (np.asarray, scipy.sparse.csr_array):
        model = SmoothL1Regressor(alpha=alpha, solver=solver).fit(make(X), y)
        assert model.coef_[1] == 0.0
        rest = SmoothL1Regressor(alpha=alpha, solver=solver).fit(make(X[:, ::2]), y)
        np.testing.assert_allclose(model.coef_[::2], rest.coef_, rtol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
def test_weights_are_repetitions_and_zero_leaves_out(solver, rng):
    X, y = sample(80, 4)
    weight = rng.integers(0, 4, len(y))
    weighted = SmoothL1Regressor(solver=solver).fit(X, y, weight)
    repeated = SmoothL1Regressor(solver=solver).fit(X.repeat(weight, axis=0), y.repeat(weight))
    np.testing.assert_allclose(weighted.coef_, repeated.coef_, rtol=1e-9)
    scaled = SmoothL1Regressor(solver=solver).fit(X, y, weight * 1e300)
    np.testing.assert_allclose(weighted.coef_, scaled.coef_, rtol=1e-12)
    assert weighted.scale_ == pytest.approx(repeated.scale_, rel=1e-9)
    outliers = np.abs(y - weighted.predict(X)) > weighted.beta * weighted.scale_
    np.testing.assert_array_equal(weighted.outliers_, outliers)


def test_outliers_hardly_move_the_fit():
    X, y = sample(outliers=0.0)
    clean = SmoothL1Regressor().fit(X, y)
    y[::20] = 1e9
    soiled = SmoothL1Regressor().fit(X, y)
    assert np.abs((soiled.coef_ - clean.coef_) * X.std(axis=0)).max() < 0.2


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("kind", [scipy.sparse.csr_array, scipy.sparse.csc_matrix])
@pytest.mark.parametrize("fit_intercept", [True, False])
def test_sparse_features(solver, kind, fit_intercept, dtype, rng):
    X, y = sample(200, 6, dtype=dtype)
    X[rng.random(X.shape) < 0.7] = 0.0
    X[:, 2] += 5
    weight = rng.random(len(y))
    dense, sparse = (
        SmoothL1Regressor(solver=solver, fit_intercept=fit_intercept).fit(make(X), y, weight)
        for make in (np.asarray, kind)
    )
    assert sparse.coef_.dtype == dtype
    rtol = 1e-9 if dtype == np.float64 else 2e-5
    np.testing.assert_allclose(sparse.coef_, dense.coef_, rtol=rtol, atol=1e-3 * rtol)
    np.testing.assert_allclose(sparse.intercept_, dense.intercept_, rtol=rtol)
    np.testing.assert_allclose(sparse.predict(kind(X)), dense.predict(X), rtol=rtol, atol=rtol)


def test_a_sparse_matrix_with_duplicate_entries():
    X = scipy.sparse.csr_array(
        (np.array([1.0, 1.0, 3.0, 4.0]), np.array([0, 0, 1, 0]), np.array([0, 2, 3, 4])),
        shape=(3, 2),
    )
    before = X.data.copy()
    model = SmoothL1Regressor().fit(X, [1.0, 2.0, 3.0])
    np.testing.assert_array_equal(X.data, before)
    dense = SmoothL1Regressor().fit(X.toarray(), [1.0, 2.0, 3.0])
    np.testing.assert_allclose(model.coef_, dense.coef_, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_sparse_matrix_that_stores_nothing(solver):
    model = SmoothL1Regressor(solver=solver).fit(scipy.sparse.csr_array((4, 2)), [1.0, 2, 3, 9])
    np.testing.assert_array_equal(model.coef_, 0.0)
    location = SmoothL1Regressor(solver=solver).fit(np.zeros((4, 1)), [1.0, 2, 3, 9])
    assert model.intercept_ == pytest.approx(location.intercept_, rel=1e-12)


@pytest.mark.parametrize("scale", ["huber", "mad", None])
@pytest.mark.parametrize("p", [150, 250])
def test_parameters_enough_for_no_residuals_end_the_search(p, scale, monkeypatch):
    asked = []
    svd = scipy.linalg.svd
    monkeypatch.setattr(scipy.linalg, "svd", lambda a, **k: asked.append(a.shape) or svd(a, **k))
    rng = np.random.default_rng(0)
    X = rng.normal(size=(150, p))
    y = X @ rng.normal(size=p) + rng.standard_t(2, size=150)
    model = SmoothL1Regressor(scale=scale).fit(X, y)
    np.testing.assert_allclose(model.predict(X), y, rtol=0, atol=1e-11)
    assert model.n_iter_ <= 2
    assert len(asked) <= 2  # they decide what a fit costs
    assert all(min(shape) <= 151 for shape in asked)


@pytest.mark.parametrize(("p", "solver"), [(20_000, "auto"), (500, "newton")])
def test_sparse_features_are_never_densified(p, solver):
    n = 10_000 if p > 1500 else 100_000
    rng = np.random.default_rng(0)
    places = np.repeat(np.arange(n), 5), rng.integers(p, size=5 * n)
    X = scipy.sparse.csr_array((rng.random(5 * n), places), shape=(n, p))
    y = X[:, :100] @ rng.normal(size=100) + 0.1 * rng.normal(size=n)
    model = SmoothL1Regressor(beta=1.0, scale=None, alpha=1e-2 * n, solver=solver)
    tracemalloc.start()
    model.fit(X, y)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 0.3 * n * p * 8  # of a dense copy
    slope = np.clip((y - model.predict(X)) / model.beta, -1, 1) / n
    assert np.abs(model.alpha / n * model.coef_ - X.T @ slope).max() < 1e-6


@pytest.mark.parametrize("solver", SOLVERS)
def test_float32_stays_float32(solver):
    X, y = sample(3000, 5)
    double = SmoothL1Regressor(solver=solver).fit(X, y)
    single = SmoothL1Regressor(solver=solver).fit(X.astype(np.float32), y.astype(np.float32))
    assert single.coef_.dtype == np.float32
    assert single.predict(X.astype(np.float32)).dtype == np.float32
    np.testing.assert_allclose(single.coef_, double.coef_, rtol=1e-5)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize(("scale", "alpha"), [("huber", 0.0), ("huber", 1.0), ("mad", 0.0)])
def test_several_targets_are_fits_of_their_own(solver, scale, alpha):
    X, y = sample(100, 4)
    Y = np.column_stack([y, -2 * y, X[:, 0], 1e6 * y])
    model = SmoothL1Regressor(scale=scale, alpha=alpha, solver=solver)
    together = clone(model).fit(X, Y)
    assert together.coef_.shape == (4, 4)
    assert together.intercept_.shape == together.scale_.shape == (4,)
    assert together.predict(X).shape == together.outliers_.shape == (100, 4)
    alone = [clone(model).fit(X, Y[:, k]) for k in range(4)]
    for k in range(4):
        np.testing.assert_array_equal(together.coef_[k], alone[k].coef_)
        assert together.intercept_[k] == alone[k].intercept_
        assert together.scale_[k] == alone[k].scale_
        np.testing.assert_array_equal(together.outliers_[:, k], alone[k].outliers_)
    assert together.n_iter_ == max(model.n_iter_ for model in alone)


@pytest.mark.parametrize("solver", SOLVERS)
def test_it_warns_when_it_stops_early(solver):
    X, y = sample(300, 30)
    model = SmoothL1Regressor(max_iter=1, solver=solver)
    with pytest.warns(ConvergenceWarning, match=f"'{solver}' stopped after .*max_iter or tol"):
        model.fit(X, y)


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_warm_start_begins_where_the_last_fit_ended(solver):
    X, y = sample(300, 30)
    model = SmoothL1Regressor(warm_start=True, solver=solver).fit(X, y)
    cold, coef = model.n_iter_, model.coef_
    model.fit(X, y)
    assert model.n_iter_ <= 1 < cold
    np.testing.assert_allclose(model.coef_, coef, rtol=1e-9)
    model.set_params(alpha=1e-2).fit(X, y)
    fresh = SmoothL1Regressor(alpha=1e-2, solver=solver).fit(X, y)
    assert model.n_iter_ <= fresh.n_iter_
    np.testing.assert_allclose(model.coef_, fresh.coef_, rtol=1e-9)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("scale", ["huber", "mad", 2.0])
def test_a_warm_start_after_a_change_of_shape_begins_anew(solver, scale):
    X, y = sample(100, 6)
    Y = np.column_stack([y, -3 * y])
    fresh = SmoothL1Regressor(scale=scale, solver=solver)
    model = clone(fresh).set_params(warm_start=True)
    for features, targets in ((X, y), (X[:, :5], y), (X, Y), (X, Y[:, :1]), (X[:40], y[:40])):
        model.fit(features, targets)
        expected = clone(fresh).fit(features, targets)
        assert model.coef_.shape == expected.coef_.shape
        assert np.shape(model.intercept_) == np.shape(model.scale_) == targets.shape[1:]
        assert model.outliers_.shape == targets.shape
        # The median fit of L-BFGS, and with it this scale, depends on the start a little.
        rough = 1e-3 * np.abs(expected.coef_).max() if (scale, solver) == ("mad", "lbfgs") else 0.0
        np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-4, atol=rough)
    model.set_params(fit_intercept=False).fit(X, y)
    expected = clone(fresh).set_params(fit_intercept=False).fit(X, y)
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-4)
    assert model.intercept_ == 0.0
    single = scipy.sparse.csr_array(X.astype(np.float32))
    np.testing.assert_allclose(model.fit(single, y).coef_, expected.coef_, rtol=1e-3)


@pytest.mark.parametrize("seed", range(4))
def test_directions_without_curvature_do_not_end_conjugate_gradients_in_nan(seed):
    # Columns far from 0 without an intercept, at a small beta: few rows are active, and the
    # Hessian is singular to rounding.
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(30, 3)) + 1e6
    y = X @ rng.normal(size=3) + rng.normal(size=30)
    for beta in (0.1, 0.01, 0.001):
        model = SmoothL1Regressor(beta=beta, scale=None, fit_intercept=False)
        newton = clone(model).set_params(solver="newton").fit(X, y)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            lbfgs = model.set_params(solver="lbfgs").fit(X, y)
        assert np.abs(y - lbfgs.predict(X)).mean() < 1e-4 * np.abs(y).mean()
        assert caught or objective(lbfgs, X, y) < (1 + 1e-9) * objective(newton, X, y)


@pytest.mark.parametrize("solver", SOLVERS)
def test_levels_of_a_factor_without_a_sample(solver):
    rng = np.random.default_rng(0)
    for _ in range(20):
        X, y = np.eye(30)[rng.integers(30, size=30)], rng.normal(size=30)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            model = SmoothL1Regressor(beta=5e-4, scale=None, solver=solver).fit(X, y)
        assert np.isfinite(model.coef_).all()
        assert np.abs(y - model.predict(X)).mean() <= np.abs(y - np.median(y)).mean()


def test_read_only_and_memory_mapped_inputs(tmp_path):
    X, y = sample()
    reference = SmoothL1Regressor().fit(X, y)
    np.save(tmp_path / "X.npy", X)
    mapped = np.load(tmp_path / "X.npy", mmap_mode="r")
    y.flags.writeable = False
    model = SmoothL1Regressor().fit(mapped, y)
    np.testing.assert_array_equal(model.coef_, reference.coef_)
    np.testing.assert_array_equal(model.predict(mapped), reference.predict(X))


def test_in_a_grid_search_with_routed_weights(rng):
    X, y = sample()
    weight = rng.random(len(y))
    with config_context(enable_metadata_routing=True):
        model = SmoothL1Regressor().set_fit_request(sample_weight=True)
        model.set_score_request(sample_weight=True)
        search = GridSearchCV(model, {"beta": [1.1, 1.35, 2.0]}, n_jobs=2, cv=3)
        search.fit(X, y, sample_weight=weight)
        scaler = StandardScaler().set_fit_request(sample_weight=False)
        pipeline = make_pipeline(scaler, model).fit(X, y, sample_weight=weight)
        with pytest.raises(UnsetMetadataPassedError, match="sample_weight"):
            make_pipeline(SmoothL1Regressor()).fit(X, y, sample_weight=weight)
    straight = clone(model).fit(StandardScaler().fit_transform(X), y, weight)
    np.testing.assert_array_equal(pipeline[-1].coef_, straight.coef_)
    best = search.best_estimator_
    again = clone(best).fit(X, y, weight)
    np.testing.assert_array_equal(best.coef_, again.coef_)
    assert not np.array_equal(best.coef_, clone(best).fit(X, y).coef_)


def test_names_of_features_and_pickling():
    pd = pytest.importorskip("pandas")
    X, y = sample(50, 2)
    model = SmoothL1Regressor().fit(pd.DataFrame(X, columns=["a", "b"]), pd.Series(y))
    assert list(model.feature_names_in_) == ["a", "b"]
    again = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(again.coef_, model.coef_)


def test_one_sample_and_equal_targets():
    model = SmoothL1Regressor().fit([[2.0, 3.0]], [5.0])
    np.testing.assert_array_equal(model.coef_, [0.0, 0.0])
    assert model.intercept_ == 5.0
    X, _ = sample(20, 3)
    model = SmoothL1Regressor().fit(X, np.full(20, 7.0))
    np.testing.assert_array_equal(model.coef_, 0.0)
    assert model.intercept_ == 7.0


@pytest.mark.parametrize(
    ("name", "value", "wanted"),
    [
        ("beta", -1.0, "a finite number >= 0, got -1.0"),
        ("beta", np.nan, "a finite number >= 0, got nan"),
        ("beta", np.inf, "a finite number >= 0, got inf"),
        ("beta", "1", "a finite number >= 0, got '1'"),
        ("beta", 1.0, "> 1 with scale='huber', got 1.0: .*use scale='mad', or scale=None .*"),
        ("scale", "MAD", "'huber', 'mad', None or a finite number > 0, got 'MAD'"),
        ("scale", 0.0, "'huber', 'mad', None or a finite number > 0, got 0.0"),
        ("scale", np.inf, "'huber', 'mad', None or a finite number > 0, got inf"),
        ("scale", True, "'huber', 'mad', None or a finite number > 0, got True"),
        ("scale", [1.0], r"'huber', 'mad', None or a finite number > 0, got \[1.0\]"),
        ("alpha", -1e-9, "a finite number >= 0, got -1e-09"),
        ("alpha", None, "a finite number >= 0, got None"),
        ("tol", -1, "a finite number >= 0, got -1"),
        ("max_iter", 0, "an int > 0, got 0"),
        ("max_iter", 1.5, "an int > 0, got 1.5"),
        ("max_iter", True, "an int > 0, got True"),
        ("fit_intercept", 2, "True or False, got 2"),
        ("warm_start", None, "True or False, got None"),
        ("solver", "sgd", "'auto', 'newton' or 'lbfgs', got 'sgd'"),
    ],
)
def test_bad_parameters(name, value, wanted):
    model = SmoothL1Regressor(**{name: value})
    with pytest.raises(ValueError, match=f"^{name} must be {wanted}$"):
        model.fit([[1.0], [2.0]], [1.0, 2.0])


def test_no_penalty_without_a_beta():
    model = SmoothL1Regressor(beta=0.0, scale=None, alpha=1.0)
    with pytest.raises(ValueError, match=r"alpha must be 0 where beta is 0, got 1.0: .*small beta"):
        model.fit([[1.0], [2.0]], [1.0, 2.0])


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        ([1.0, -1.0], r"sample_weight must be >= 0, got -1.0"),
        ([0.0, 0.0], "sample_weight must hold a positive weight, got zeros only"),
        ([1.0], r"sample_weight must have shape \(2,\), got \(1,\)"),
        ([[1.0], [1.0]], r"sample_weight must have shape \(2,\), got \(2, 1\)"),
        ([1.0, np.nan], "Input sample_weight contains NaN"),
    ],
)
def test_bad_weights(weight, message):
    with pytest.raises(ValueError, match=message):
        SmoothL1Regressor().fit([[1.0], [2.0]], [1.0, 2.0], sample_weight=weight)


def test_an_overflow_is_an_error():
    with pytest.raises(ValueError, match="overflow; bring X and y to other units"):
        SmoothL1Regressor().fit([[0.0], [1e-300], [2e-300]], [0.0, 1e300, 2e300])


def test_masks_are_not_lost():
    X, y = sample(20, 2)
    for arguments in ((np.ma.array(X), y), (X, np.ma.array(y)), (X, y, np.ma.ones(20))):
        with pytest.raises(TypeError, match="is masked, and its mask would be lost"):
            SmoothL1Regressor().fit(*arguments)
