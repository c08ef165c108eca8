"""The linear model over data out of memory: the coefficients of the fit in memory."""

import warnings

import numpy as np
import pytest

pytest.importorskip("sklearn")
da = pytest.importorskip("dask.array")
dask = pytest.importorskip("dask")

from sklearn.base import clone  # noqa: E402
from sklearn.exceptions import ConvergenceWarning  # noqa: E402

import smoothl1.dask as sd  # noqa: E402
from smoothl1.linear_model import SmoothL1Regressor  # noqa: E402


def data(rng, n, p):
    X = rng.standard_normal((n, p)) * 10 ** rng.uniform(-2, 2, p) + 10 * rng.standard_normal(p)
    y = X @ (rng.standard_normal(p) / X.std(axis=0)) * 3 + 7 + rng.standard_t(1.5, n)
    return X, y


def check(X, y, weight=None, blocks=20, rtol=1e-10, **options):
    rows = -(-len(X) // blocks)
    one = SmoothL1Regressor(**options).fit(X, y, weight)
    lazy = [da.from_array(a, chunks=(rows, -1)[: a.ndim]) for a in (X, y)]
    weights = None if weight is None else da.from_array(weight, chunks=3 * rows)
    model = sd.SmoothL1Regressor(**options)
    assert model.fit(*lazy, weights) is model
    assert model.coef_.shape == one.coef_.shape
    scale = np.abs(one.coef_).max() or 1.0
    np.testing.assert_allclose(model.coef_, one.coef_, rtol=rtol, atol=rtol * 1e-2 * scale)
    size = np.abs(X).max() * scale
    np.testing.assert_allclose(model.intercept_, one.intercept_, rtol=rtol, atol=rtol * size)
    np.testing.assert_allclose(model.scale_, one.scale_, rtol=rtol, atol=1e-10 * np.abs(y).max())
    predicted = model.predict(lazy[0])
    assert predicted.chunks[0] == lazy[0].chunks[0]
    np.testing.assert_allclose(predicted.compute(), model.predict(X), rtol=1e-14, atol=1e-14 * size)
    return one, model


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"alpha": 50.0},
        {"scale": None, "beta": 0.5},
        {"scale": 2.0, "alpha": 3.0},
        {"beta": 3.0, "fit_intercept": False},
        {"scale": None, "beta": 1e4},
        {"scale": "mad", "alpha": 50.0},
        {"scale": None, "beta": 0.0},
    ],
    ids=str,
)
def test_hundred_thousand_rows_over_20_chunks(rng, options, weighted):
    X, y = data(rng, 100_000, 8)
    weight = rng.uniform(0, 2, len(X)) * (rng.random(len(X)) > 0.1) if weighted else None
    one, model = check(X, y, weight, **options)
    assert (model.outliers_.compute() == one.outliers_).all()
    assert model.n_iter_ <= (8 if options.get("scale") != "mad" and options.get("beta") else 20)


@pytest.mark.parametrize("seed", [1, 6])  # of which one or the other ended 1e-7 beside the minimum
def test_small_thresholds(seed):
    X, y = data(np.random.default_rng(seed), 20_000 if seed == 6 else 100_000, 8)
    check(X, y, scale=None, beta=1e-3)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("beta", [1e-5, 1e-9])
def test_thresholds_below_which_few_rows_are_left(beta, weighted, rng):
    X, y = data(rng, 100_000, 8)
    weight = rng.uniform(0, 2, len(X)) * (rng.random(len(X)) > 0.1) if weighted else None
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        one, model = check(X, y, weight, scale=None, beta=beta)
        check(X, y, weight, scale=None, beta=beta, alpha=0.1 * beta, fit_intercept=False)
    assert model.n_iter_ <= 20
    inside = np.abs(y - X @ one.coef_ - one.intercept_) < max(beta, 1e-10)
    assert np.count_nonzero(inside if weight is None else inside & (weight > 0)) >= 9


@pytest.mark.parametrize(
    "options",
    [{"scale": "mad"}, {"scale": "mad", "beta": 0.0, "fit_intercept": False}, {"beta": 0.0}],
    ids=str,
)
@pytest.mark.parametrize("n", [3000, 25_000])
def test_medians(n, options):
    X, y = data(np.random.default_rng(n), n, 8)
    options = {"scale": None, **options}
    one, model = check(X, y, **options)
    assert (model.outliers_.compute() == one.outliers_).all()
    if model.beta == 0:  # it passes through as many rows as it has parameters
        assert (~model.outliers_).sum().compute() == 8 + model.fit_intercept


HARD = {
    "exact": lambda A, b, rng: (A, b),
    "constant": lambda A, b, rng: (A, np.full(len(b), 3.0)),
    "mostly exact": lambda A, b, rng: (A, np.where(np.arange(len(b)) % 3, b, 1e3 * b[::-1])),
    "half constant": lambda A, b, rng: (
        A, np.where(np.arange(len(b)) % 2, 0.0, rng.standard_normal(len(b)))),
    "few rows": lambda A, b, rng: (A[:4], rng.standard_normal(4)),
    "one row": lambda A, b, rng: (A[:1], b[:1]),
    "collinear": lambda A, b, rng: (
        np.column_stack([A, A[:, 0], np.ones(len(A))]), b + rng.standard_normal(len(b))),
    "small units": lambda A, b, rng: (A, 1e-9 * (b + rng.standard_normal(len(b)))),
}  # fmt: skip


@pytest.mark.parametrize("scale", ["huber", "mad"])
@pytest.mark.parametrize("n", [1000, 25_000])
@pytest.mark.parametrize("name", HARD)
def test_hard_cases(rng, name, n, scale):
    A = rng.standard_normal((n, 5))
    X, y = HARD[name](A, A @ np.arange(5.0), rng)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check(X, y, blocks=4, rtol=1e-9, scale=scale)


def test_several_targets_and_warm_starts(rng):
    X, y = data(rng, 3000, 3)
    Y = np.column_stack([y, 5 * y[::-1]])
    one, model = check(X, Y)
    assert model.coef_.shape == (2, 3)
    assert model.scale_.shape == (2,)
    assert (model.outliers_.compute() == one.outliers_).all()
    again = clone(model).set_params(warm_start=True, scale=1.0)
    lazy = da.from_array(X, chunks=(700, 3)), da.from_array(Y, chunks=(700, 2))
    first = again.fit(*lazy).n_iter_
    coef = again.coef_
    assert again.fit(*lazy).n_iter_ <= first
    np.testing.assert_allclose(again.coef_, coef, rtol=1e-12)


def test_frames_and_batches(rng):
    dd = pytest.importorskip("dask.dataframe")
    pd = pytest.importorskip("pandas")
    pa = pytest.importorskip("pyarrow")
    X, y = data(rng, 5000, 3)
    weight = rng.uniform(0, 1, 5000)
    one = SmoothL1Regressor().fit(X, y, weight)
    frame = pd.DataFrame(X, columns=["a", "b", "c"]).assign(y=y, w=weight)
    lazy = dd.from_pandas(frame, npartitions=4)
    features = lazy[["a", "b", "c"]]
    model = sd.SmoothL1Regressor().fit(features, lazy["y"], lazy["w"])
    assert model.feature_names_in_.tolist() == ["a", "b", "c"]
    np.testing.assert_allclose(model.coef_, one.coef_, rtol=1e-10)
    np.testing.assert_allclose(
        model.predict(features).compute(), model.predict(frame[["a", "b", "c"]])
    )
    table = pa.Table.from_pandas(frame)
    passes = []

    def opened():
        passes.append(1)
        return table.to_reader(max_chunksize=900)

    for batches in (table, opened, lambda: table.to_batches(700)):
        model = sd.SmoothL1Regressor().fit(batches, "y", "w")
        np.testing.assert_allclose(model.coef_, one.coef_, rtol=1e-10)
        assert not hasattr(model, "outliers_")
    assert len(passes) >= 3
    texts = pa.array(["x"] * 5000)
    hole = table.set_column(0, "a", pa.array([None, *X[1:, 0]]))
    for arguments, error, message in (
        ((table.to_reader(), "y"), TypeError, "X can be read only once"),
        ((X, "y"), TypeError, "X must have __arrow_c_stream__"),
        ((table, "z"), ValueError, "y must be a column of X"),
        ((table, "y", weight), TypeError, "sample_weight must be the name"),
        ((hole, "y"), ValueError, "column 'a' has nulls"),
        ((table.append_column("s", texts), "y"), TypeError, "'s' must hold numbers"),
        ((table.select(["y"]), "y"), ValueError, "a column of features"),
        ((table.slice(0, 0), "y"), ValueError, "at least one batch|zeros or no rows"),
    ):  # fmt: skip
        with pytest.raises(error, match=message):
            sd.SmoothL1Regressor().fit(*arguments)


def test_data_in_memory_is_fitted_there(rng):
    X, y = data(rng, 300, 3)
    model = sd.SmoothL1Regressor(solver="newton").fit(X, y)
    np.testing.assert_array_equal(model.coef_, SmoothL1Regressor(solver="newton").fit(X, y).coef_)


def test_unknown_chunks(rng):
    X, y = data(rng, 4000, 3)
    a, b = da.from_array(X, chunks=(900, 2)), da.from_array(y, chunks=900)
    kept = b > np.median(y)
    model = sd.SmoothL1Regressor().fit(a[kept], b[kept])
    rows = y > np.median(y)
    expected = SmoothL1Regressor().fit(X[rows], y[rows])
    np.testing.assert_allclose(model.coef_, expected.coef_, rtol=1e-9)
    with pytest.raises(ValueError, match="blocks of rows and X"):
        sd.SmoothL1Regressor().fit(a[kept], b.rechunk(500)[kept.rechunk(500)])


def test_errors(rng):
    X, y = data(rng, 100, 2)
    a, b = da.from_array(X, chunks=(30, 2)), da.from_array(y, chunks=30)
    bad = X.copy()
    bad[50, 1] = np.nan
    for options, arguments, error, message in (
        ({"solver": "lbfgs"}, (a, b), ValueError, "solver must be 'auto' or 'newton'"),
        ({"scale": None, "beta": 0, "alpha": 1}, (a, b), ValueError, "alpha must be 0 where beta"),
        ({"alpha": -1}, (a, b), ValueError, "alpha must be"),
        ({}, (da.from_array(bad, chunks=(9, 2)), b), ValueError, "X contains NaN or infinity"),
        ({}, (a, b, -abs(b)), ValueError, "sample_weight must be >= 0"),
        ({}, (a, b, 0 * b), ValueError, "zeros or no rows"),
        ({}, (a, b[:50]), ValueError, "X and y must have as many rows, got 100 and 50"),
        ({}, (a[:, 0], b), ValueError, "X must have shape"),
        ({}, (a, b[:, None, None]), ValueError, "y must have 1 or 2 axes"),
        ({}, (a.astype(complex), b), TypeError, "X must hold real numbers"),
    ):
        with pytest.raises(error, match=message):
            sd.SmoothL1Regressor(**options).fit(*arguments)
    model = sd.SmoothL1Regressor().fit(a, b)
    with pytest.raises(ValueError, match=r"X must have shape \(n_samples, 2\)"):
        model.predict(a[:, :1])
    with pytest.warns(ConvergenceWarning, match="max_iter is reached"):
        sd.SmoothL1Regressor(max_iter=1, alpha=1.0, warm_start=False, scale=None, beta=1e-3).fit(
            da.from_array(np.vstack([X] * 500), chunks=(9000, 2)),
            da.from_array(rng.standard_cauchy(50_000), chunks=9000),
        )
