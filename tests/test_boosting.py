"""The objective of gradient boosting, alone and in XGBoost and LightGBM."""

import copy
import dataclasses
import inspect
import pickle
import subprocess
import sys
import warnings

import numpy as np
import pytest

from smoothl1 import huber_location, huber_loss, smooth_l1_loss
from smoothl1.boosting import SmoothL1Objective

# LightGBM before 4.7 gives the columns of arrays names, and is then warned that the next
# array has none.
pytestmark = pytest.mark.filterwarnings(
    "ignore:X does not have valid feature names, but LGBMRegressor was fitted:UserWarning"
)

HESSIANS = ["mixed", "majorizer", "exact"]


# ---------------------------------------------------------------------------
# Alone
# ---------------------------------------------------------------------------


def mixture(pred, true, beta, weight=None):
    """The factor of the gradients, the part of the hessian of all samples and of one's own."""
    sizes = abs(pred.astype(float) - true)
    median = huber_location(sizes, 0.0, sample_weight=weight)
    share = max(np.average(sizes < beta, weights=weight), 0.5 * min(1, beta / median))
    own = min(share, 0.5) / 2
    factor = max(1, 0.25 / share)
    return factor, factor * (1 - own) * share, factor * own


@pytest.mark.filterwarnings("ignore:99 % of the residuals")
@pytest.mark.parametrize("beta", [1e-3, 0.3, 1.0, 49.0, 1e4])
def test_derivatives_are_those_of_the_formula(dtype, beta, rng):
    true, pred = 10 * rng.standard_normal((2, 5000)).astype(dtype)
    pred[0] = true[0]
    r = pred - true
    beta = float(dtype(beta))
    tolerance = {"rtol": 2 * np.finfo(dtype).eps}
    grad, hess = SmoothL1Objective(beta, "majorizer")(true, pred)
    assert grad.dtype == hess.dtype == dtype
    np.testing.assert_array_equal(grad, np.clip(r, -dtype(beta), dtype(beta)))
    inside = abs(r) < beta
    np.testing.assert_array_equal(hess[inside], 1.0)  # not next to 1: min_child_weight counts
    np.testing.assert_allclose(hess[~inside], beta / abs(r[~inside]), **tolerance)
    exact = SmoothL1Objective(beta, "exact")(true, pred)
    np.testing.assert_array_equal(exact[0], grad)
    np.testing.assert_array_equal(exact[1], inside)
    mixed = SmoothL1Objective(beta)(true, pred)
    assert mixed[0].dtype == mixed[1].dtype == dtype
    factor, mean, own = mixture(pred, true, beta)
    np.testing.assert_allclose(mixed[0], factor * grad, rtol=1e-6)
    np.testing.assert_allclose(mixed[1], mean + own * inside, rtol=1e-6)


def test_known_values():
    objective = SmoothL1Objective(2)
    grad, hess = objective([0, 0, 0, 0, 10], [0, 1, -2, 8, 2])
    np.testing.assert_array_equal(grad, [0, 1, -2, 2, -2])
    # The share is 0.5, because the median residual is 2, and a quarter is the sample's own.
    np.testing.assert_array_equal(hess, [0.625, 0.625, 0.375, 0.375, 0.375])
    grad, hess = SmoothL1Objective(2, "majorizer")([0, 0, 0, 0, 10], [0, 1, -2, 8, 2])
    np.testing.assert_array_equal(grad, [0, 1, -2, 2, -2])
    np.testing.assert_array_equal(hess, [1, 1, 1, 0.25, 0.25])
    assert grad.dtype == hess.dtype == np.float64
    assert objective.metric([0, 0], [1, 8]) == (0.25 + 7) / 2
    assert objective.metric([0, 0], [1, 8], [3, 1]) == (3 * 0.25 + 7) / 4
    assert type(objective.metric([0, 0], [1, 8])) is float
    assert objective.lightgbm_metric([0, 0], [1, 8], [3, 1]) == ("smooth_l1", 7.75 / 4, False)
    assert objective.metric.__name__ == "smooth_l1"


def test_majorizer_lies_above_the_loss(rng):
    beta, y = 0.7, np.zeros(200)
    at, to = rng.uniform(-5, 5, (2, 200))
    grad, hess = SmoothL1Objective(beta, "majorizer")(y, at)
    parabola = huber_loss(at, y, "none", beta) + grad * (to - at) + hess * (to - at) ** 2 / 2
    assert np.all(parabola >= huber_loss(to, y, "none", beta) - 1e-12)
    np.testing.assert_allclose(grad, hess * (at - y), rtol=1e-15)  # its minimum is at y


@pytest.mark.parametrize("hessian", HESSIANS)
def test_weights_multiply_both(dtype, hessian, rng):
    objective = SmoothL1Objective(0.5, hessian)
    true, pred = rng.standard_normal((2, 300)).astype(dtype)
    weight = rng.uniform(0, 3, 300).astype(np.float32)
    plain, weighted = objective(true, pred), objective(true, pred, sample_weight=weight)
    np.testing.assert_allclose(weighted[0], plain[0] * weight, rtol=1e-6)
    expected = plain[1]
    if hessian == "mixed":  # the share is that of the weight
        _, mean, own = mixture(pred, true, 0.5, weight)
        expected = mean + own * (abs(pred.astype(float) - true) < 0.5)
        assert abs(expected - plain[1]).max() > 1e-3
    np.testing.assert_allclose(weighted[1], expected * weight, rtol=1e-6)
    assert weighted[0].dtype == weighted[1].dtype == dtype
    np.testing.assert_allclose(
        objective.metric(true, pred, sample_weight=weight),
        np.average(smooth_l1_loss(pred, true, "none", 0.5), weights=weight),
        rtol=1e-6,
    )


@pytest.mark.parametrize("order", ["C", "F"])
def test_several_outputs(order, rng):
    objective = SmoothL1Objective(0.5)
    true = rng.standard_normal((40, 3)).astype(np.float32, order=order)
    pred = rng.standard_normal((40, 3)).astype(np.float32, order="C")
    weight = rng.uniform(1, 2, 40)
    both = objective(true, pred, weight)
    for k in range(3):
        column = objective(true[:, k].copy(), pred[:, k].copy(), weight)
        for a, b in zip(both, column, strict=True):
            assert a.shape == (40, 3)
            np.testing.assert_array_equal(a[:, k], b)
    columns = [objective.metric(true[:, k], pred[:, k], weight) for k in range(3)]
    np.testing.assert_allclose(objective.metric(true, pred, weight), np.mean(columns), rtol=1e-6)
    # As XGBoost before 3.2 passes them.
    flat = true.ravel(order="C")
    for a, b in zip(both, objective(flat, pred, weight), strict=True):
        np.testing.assert_array_equal(a, b)
    assert objective.metric(flat, pred, weight) == objective.metric(true, pred, weight)


def test_special_values():
    true = np.array([0.0, 0.0, np.nan, 0.0])
    pred = np.array([np.inf, -np.inf, 0.0, np.nan])
    grad, hess = SmoothL1Objective(2.0, "majorizer")(true, pred)
    np.testing.assert_array_equal(grad, [2, -2, np.nan, np.nan])
    np.testing.assert_array_equal(hess, [0, 0, np.nan, np.nan])
    # What is not finite does not change the share of the others.
    grad, hess = SmoothL1Objective(2.0)(np.append(true, [0, 0]), np.append(pred, [1, 8]))
    np.testing.assert_array_equal(grad, [2, -2, np.nan, np.nan, 1, 2])
    np.testing.assert_array_equal(hess, [0.375, 0.375, np.nan, np.nan, 0.625, 0.375])
    grad, hess = SmoothL1Objective(2.0)(true, pred)
    np.testing.assert_array_equal(grad, [2, -2, np.nan, np.nan])
    np.testing.assert_array_equal(hess, [0.75, 0.75, np.nan, np.nan])
    for a in SmoothL1Objective()(np.empty(0), np.empty(0)):
        assert a.shape == (0,)


@pytest.mark.filterwarnings("ignore:99 % of the residuals")
@pytest.mark.parametrize("beta", [np.finfo(np.float32).tiny, np.finfo(np.float32).max])
def test_extreme_thresholds_are_right_in_both_dtypes(dtype, beta):
    beta = float(beta)
    true = np.zeros(5, dtype)
    pred = np.array([0, 1e-38, 1e-30, 1.0, -1e30], dtype)
    grad, hess = SmoothL1Objective(beta, "majorizer")(true, pred)
    np.testing.assert_array_equal(grad, np.clip(pred, -dtype(beta), dtype(beta)))
    with np.errstate(divide="ignore", over="ignore", under="ignore"):
        expected = np.minimum(1, beta / abs(pred.astype(np.float64)))
    np.testing.assert_allclose(hess, expected, rtol=1e-6, atol=1e-44)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"beta": 0}, ValueError, "beta must be a number > 0 and in the range of float32, got 0"),
        ({"beta": -1.0}, ValueError, "beta must be a number > 0 and in the .* float32, got -1.0"),
        ({"beta": np.nan}, ValueError, "beta must be a number > 0 and in the .*, got nan"),
        (
            {"beta": np.inf},
            ValueError,
            "beta must be a number > 0 and in the range of float32, got inf",
        ),
        ({"beta": 1e-39}, ValueError, "in the range of float32, got 1e-39"),
        ({"beta": 1e39}, ValueError, r"in the range of float32, got 1e\+39"),
        (
            {"beta": [1.0]},
            ValueError,
            r"beta must be a number > 0 .*, got an array of shape \(1,\)",
        ),
        (
            {"beta": "1"},
            TypeError,
            "beta must be a number > 0 and in the range of float32, got '1'",
        ),
        ({"beta": None}, TypeError, "beta must be a number > 0 .*, got None"),
        ({"beta": 1j}, TypeError, "beta must be a number > 0 .*, got 1j"),
        (
            {"hessian": "unit"},
            ValueError,
            "hessian must be one of 'mixed', 'majorizer', 'exact', got 'unit'",
        ),
    ],
    ids=str,
)
def test_bad_parameters(options, error, message):
    with pytest.raises(error, match=message):
        SmoothL1Objective(**options)


@pytest.mark.parametrize("name", ["__call__", "metric", "lightgbm_metric"])
def test_bad_arrays(name):
    function = getattr(SmoothL1Objective(), name)
    with pytest.raises(ValueError, match=r"y_true and y_pred .* same shape, got \(3, 1\) and \(3,"):
        function(np.zeros((3, 1)), np.zeros(3))
    with pytest.raises(ValueError, match=r"same shape, got \(3,\) and \(3, 2\)"):
        function(np.zeros(3), np.zeros((3, 2)))
    with pytest.raises(ValueError, match=r"same shape, got \(\) and \(3,\)"):
        function(0.0, np.zeros(3))
    for weight in (np.ones(2), np.ones((3, 1)), 2.0):
        with pytest.raises(ValueError, match=r"weight for each sample, of shape \(3,\), got"):
            function(np.zeros(3), np.zeros(3), weight)
    with pytest.raises(TypeError, match="y_pred has dtype complex128"):
        function(np.zeros(3), np.zeros(3, complex))
    with pytest.raises(TypeError, match=r"y_true .* dtype object"):
        function(None, np.zeros(3))


class Data:
    """As xgboost.DMatrix and lightgbm.Dataset."""

    def __init__(self, label, weight=None):
        self.label, self.weight = label, weight

    def get_label(self):
        return self.label

    def get_weight(self):
        return self.weight


def test_predictions_and_data_are_recognised(rng):
    objective = SmoothL1Objective(0.5)
    true, pred = rng.standard_normal((2, 20))
    w = rng.uniform(1, 2, 20)
    for weight, expected in ((w, w), (None, None), (np.empty(0), None)):
        data = Data(true, weight)
        for a, b in zip(objective(pred, data), objective(true, pred, expected), strict=True):
            np.testing.assert_array_equal(a, b)
        loss = objective.metric(true, pred, expected)
        assert objective.metric(pred, data) == ("smooth_l1", loss)
        assert objective.lightgbm_metric(pred, data) == ("smooth_l1", loss, False)
    for function in (objective, objective.metric, objective.lightgbm_metric):
        with pytest.raises(TypeError, match=r"y_true is a Data; pass .* or \(predictions, data\)"):
            function(data, pred)
        with pytest.raises(TypeError, match="sample_weight must be None where data is passed"):
            function(pred, data, w)


def test_object_behaves():
    objective = SmoothL1Objective(2, "exact")
    assert repr(objective) == "SmoothL1Objective(beta=2.0, hessian='exact')"
    assert SmoothL1Objective() == SmoothL1Objective(1.0, "mixed")
    twins = [f(objective) for f in (copy.copy, copy.deepcopy)]
    twins += [pickle.loads(pickle.dumps(objective, p)) for p in range(pickle.HIGHEST_PROTOCOL + 1)]
    for twin in twins:
        assert twin == objective
        assert hash(twin) == hash(objective)
    assert len({objective, *twins, SmoothL1Objective(2), SmoothL1Objective(3, "exact")}) == 3
    for name in ("metric", "lightgbm_metric"):
        method = getattr(objective, name)
        for twin in (pickle.loads(pickle.dumps(method)), copy.deepcopy(method)):
            assert twin.__self__ == objective
            assert twin([0.0], [8.0]) == method([0.0], [8.0])
    with pytest.raises(dataclasses.FrozenInstanceError):
        objective.beta = 3.0


def test_needs_numpy_only():
    code = (
        "import sys, smoothl1.boosting;"
        "found = {'sklearn', 'scipy', 'xgboost', 'lightgbm'} & set(sys.modules);"
        "assert not found, found"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# ---------------------------------------------------------------------------
# In the libraries
# ---------------------------------------------------------------------------
# Both are wrapped into one interface: ``fit(X, y, objective, start, weight=None)`` returns
# a function that predicts, the start included.


def fit_xgboost(X, y, objective, start, weight=None, n_estimators=40, **options):
    xgboost = pytest.importorskip("xgboost")
    pytest.importorskip("sklearn")
    model = xgboost.XGBRegressor(
        objective=objective, base_score=start, n_estimators=n_estimators, n_jobs=1, **options
    )
    return model.fit(X, y, sample_weight=weight).predict


def fit_lightgbm(X, y, objective, start, weight=None, n_estimators=40, **options):
    lightgbm = pytest.importorskip("lightgbm")
    pytest.importorskip("sklearn")
    model = lightgbm.LGBMRegressor(
        objective=objective, n_estimators=n_estimators, n_jobs=1, verbose=-1, **options
    )
    model.fit(X, y, sample_weight=weight, init_score=np.full(len(y), start))
    return lambda X: start + model.predict(X)


@pytest.fixture(params=[fit_xgboost, fit_lightgbm], ids=["xgboost", "lightgbm"])
def fit(request):
    return request.param


def estimator(name, **options):
    """Return an unfitted estimator of either library."""
    module = pytest.importorskip(name)
    pytest.importorskip("sklearn")
    if name == "xgboost":
        return module.XGBRegressor(n_jobs=1, **options)
    return module.LGBMRegressor(n_jobs=1, verbose=-1, **options)


LIBRARIES = ["xgboost", "lightgbm"]


def outliers(n, seed):
    """Return X, y with a tenth of outliers, and y without them and without noise."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 3))
    truth = 3 * np.sin(2 * X[:, 0]) + X[:, 1] ** 2
    noise = np.where(rng.uniform(size=n) < 0.1, 30, 0.5) * rng.standard_normal(n)
    return X, truth + noise, truth


def errors_by_scale(fit, make, scales=(0.01, 1, 100)):
    """Return the mean squared error at each scale of y and beta, over the scale squared."""
    X, y, _ = outliers(1500, 1)
    X_test, _, truth = outliers(1000, 2)
    errors = []
    for scale in scales:
        start = huber_location(scale * y, scale)
        predict = fit(X, scale * y, make(scale), start)
        errors.append(np.mean((predict(X_test) / scale - truth) ** 2))
    return np.array(errors)


def test_error_does_not_depend_on_the_scale(fit):
    mixed = errors_by_scale(fit, SmoothL1Objective)
    np.testing.assert_allclose(mixed, mixed[1], rtol=0.25)
    majorizer = errors_by_scale(fit, lambda beta: SmoothL1Objective(beta, "majorizer"))
    np.testing.assert_allclose(majorizer, majorizer[1], rtol=0.25)
    exact = errors_by_scale(fit, lambda beta: SmoothL1Objective(beta, "exact"))
    assert np.all(exact > 3 * mixed)

    def unit_hessian(beta):
        return lambda true, pred: (np.clip((pred - true) / beta, -1, 1), np.ones_like(pred))

    raw = errors_by_scale(fit, unit_hessian)
    assert raw[0] > 50 * majorizer[0]
    assert raw[2] > 3 * majorizer[2]


def test_models_of_scaled_data_have_the_same_bits(fit):
    X, y, _ = outliers(500, 1)
    start = huber_location(y, 1.0)
    predict = fit(X, y, SmoothL1Objective(1.0), start)
    for scale in (2.0**7, 2.0**20):
        scaled = fit(X, scale * y, SmoothL1Objective(scale), scale * start)
        np.testing.assert_array_equal(scaled(X), scale * predict(X))


def test_resists_outliers_where_squares_do_not(fit):
    X, y, _ = outliers(1500, 1)
    X_test, _, truth = outliers(1000, 2)

    def squares(true, pred):
        return pred - true, np.ones_like(pred)

    ours = fit(X, y, SmoothL1Objective(1.0), huber_location(y, 1.0))(X_test)
    theirs = fit(X, y, squares, y.mean())(X_test)
    assert np.mean((ours - truth) ** 2) < np.mean((theirs - truth) ** 2) / 3


def test_a_huge_beta_is_squared_error(fit):
    X, y, _ = outliers(500, 1)

    def squares(true, pred):
        return pred - true, np.ones_like(pred)

    np.testing.assert_array_equal(
        fit(X, y, SmoothL1Objective(1e6), 0.5)(X), fit(X, y, squares, 0.5)(X)
    )


@pytest.mark.parametrize("hessian", HESSIANS)
def test_weights_are_repetitions(fit, hessian, rng):
    # Few distinct values, so that the bins of histograms are the same. LightGBM estimates
    # the number of rows in a leaf from its hessian, so no limit on that number.
    X = rng.integers(0, 20, (300, 3)).astype(float)
    y = X[:, 0] + rng.standard_normal(300) * 5
    w = rng.integers(1, 5, 300)
    options = {"min_child_weight": 5.0, "n_estimators": 10}
    if fit is fit_lightgbm:
        options |= {"min_child_samples": 0, "min_data_in_bin": 1}
    objective = SmoothL1Objective(2.0, hessian)
    start = huber_location(y, 2.0, sample_weight=w)
    weighted = fit(X, y, objective, start, w, **options)(X)
    repeated = fit(np.repeat(X, w, axis=0), np.repeat(y, w), objective, start, **options)(X)
    unweighted = fit(X, y, objective, start, **options)(X)
    np.testing.assert_allclose(weighted, repeated, rtol=1e-4, atol=1e-4)
    assert abs(unweighted - repeated).max() > 0.1


def test_where_the_libraries_start():
    # The claims of the docstring, for y of 100 and 101.
    X = np.arange(50.0)[:, np.newaxis]
    y = 100.0 + (X[:, 0] > 24)
    start = huber_location(y, 0.01)
    assert start == 100.5
    objective = SmoothL1Objective(0.01, "majorizer")
    model = estimator("xgboost", objective=objective, n_estimators=1)
    # The hessians, 0.01 / 100 each, sum to less than min_child_weight.
    with pytest.warns(RuntimeWarning, match="99 % of the residuals exceed 100 beta"):
        np.testing.assert_array_equal(model.fit(X, y).predict(X), 0.5)
    np.testing.assert_array_equal(model.set_params(n_estimators=50).fit(X, y).predict(X), 0.5)
    model.set_params(base_score=start, min_child_weight=0.1)
    np.testing.assert_allclose(model.fit(X, y).predict(X), y, atol=0.1)

    model = estimator("lightgbm", objective=objective, n_estimators=1, learning_rate=0.125)
    model.fit(X, y)  # one step from 0
    np.testing.assert_allclose(model.predict(X), 0.125 * y, rtol=1e-6)
    model.fit(X, y, init_score=np.full(50, start))
    np.testing.assert_allclose(model.predict(X), 0.125 * (y - 100.5), rtol=1e-6)


@pytest.mark.parametrize("name", LIBRARIES)
def test_prices_are_learnt_and_the_user_is_warned(name, rng):
    # From 0.5 or 0, with a beta in other units than y: no residual is quadratic.
    X = rng.standard_normal((500, 1))
    y = 3e5 + 8e4 * X[:, 0] + 2e4 * rng.standard_normal(500)
    model = estimator(name, objective=SmoothL1Objective(), n_estimators=100)
    message = r"99 % of the residuals exceed 100 beta, beta=1; pass a beta in the units of y, and"
    with pytest.warns(RuntimeWarning, match=message) as record:
        model.fit(X, y)
    assert len(record) == 1
    truth = 3e5 + 8e4 * X[:, 0]
    assert np.mean(abs(model.predict(X) - truth)) < 2.5e4
    assert np.mean(abs(y.mean() - truth)) > 5e4


def test_the_warning_comes_once_and_only_from_afar():
    y = np.zeros(1000)
    near, far = np.full(1000, 99.0), np.full(1000, 101.0)
    far[:11] = 0
    objective = SmoothL1Objective(1.0)
    for pred in (near, far, y, np.empty(0), np.full(1000, np.nan)):
        objective(y[: len(pred)], pred)
    far[:2] = 101
    with pytest.warns(RuntimeWarning, match="exceed 100 beta, beta=1;"):
        objective(y, far)
    objective(y, far)
    assert objective == SmoothL1Objective(1.0)
    assert hash(objective) == hash(SmoothL1Objective(1.0))
    for hessian in HESSIANS:
        with pytest.warns(RuntimeWarning, match="exceed 100 beta"):
            SmoothL1Objective(0.5, hessian)(y, far)


@pytest.mark.parametrize("distance", [0.0, 3.0, 1e3, 1e5])
def test_steps_from_anywhere_are_at_most_twice_the_residuals(distance, rng):
    y = rng.standard_normal(1001)
    y[:50] = 1e6
    objective = SmoothL1Objective(0.1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        grad, hess = objective(y, np.full(1001, -distance))
    step = -grad.sum() / hess.sum()
    median = np.median(abs(y + distance))
    assert abs(step) <= 2.5 * median
    if distance > 100:
        assert step >= 0.9 * median


@pytest.mark.filterwarnings("ignore:99 % of the residuals")
@pytest.mark.parametrize("distance", [1e5, 1e30])
def test_a_tiny_threshold_far_away_does_not_overflow(dtype, distance):
    objective = SmoothL1Objective(float(np.finfo(np.float32).tiny))
    grad, hess = objective(np.zeros(9, dtype), np.full(9, distance, dtype))
    np.testing.assert_allclose(grad, distance / 2, rtol=1e-6)
    np.testing.assert_allclose(hess, 0.25, rtol=1e-6)
    grad, hess = objective(np.zeros(9), np.full(9, 1e300))
    assert np.isfinite(grad).all()
    assert np.isfinite(hess).all()


def test_negative_weights_are_refused():
    with pytest.raises(ValueError, match=r"sample_weight must be >= 0, got -1\.0"):
        SmoothL1Objective()([0.0, 1.0], [1.0, 1.0], [1.0, -1.0])
    grad, hess = SmoothL1Objective()([0.0, 1.0], [1.0, 1.0], [0.0, 0.0])
    assert not grad.any()
    assert not hess.any()


def validated(name, objective, start, weights=(None, None), n_estimators=500):
    """Return a model with early stopping, its history on the validation data, and those."""
    X, y, _ = outliers(600, 1)
    X_val, y_val, _ = outliers(300, 2)
    w, w_val = weights
    model = estimator(name, objective=objective, n_estimators=n_estimators)
    if name == "xgboost":
        model.set_params(
            base_score=start, eval_metric=objective.metric, early_stopping_rounds=5
        ).fit(
            X,
            y,
            sample_weight=w,
            eval_set=[(X_val, y_val)],
            sample_weight_eval_set=None if w_val is None else [w_val],
            verbose=False,
        )
        return model, model.evals_result()["validation_0"]["smooth_l1"], X_val, y_val
    lightgbm = pytest.importorskip("lightgbm")
    # eval_set is deprecated since 4.7
    new = "eval_X" in inspect.signature(model.fit).parameters
    model.set_params(metric="None").fit(
        X,
        y,
        sample_weight=w,
        init_score=np.full(len(y), start),
        eval_sample_weight=None if w_val is None else [w_val],
        eval_init_score=[np.full(len(y_val), start)],
        eval_metric=objective.lightgbm_metric,
        callbacks=[lightgbm.early_stopping(5, verbose=False)],
        **({"eval_X": X_val, "eval_y": y_val} if new else {"eval_set": [(X_val, y_val)]}),
    )
    return model, model.evals_result_["valid_0"]["smooth_l1"], X_val, y_val


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LIBRARIES)
def test_early_stopping(name, weighted, rng):
    objective, start = SmoothL1Objective(1.0), 2.0
    w_val = rng.uniform(0, 2, 300) if weighted else None
    weights = (rng.uniform(0, 2, 600), w_val) if weighted else (None, None)
    model, history, X_val, y_val = validated(name, objective, start, weights)
    best = int(np.argmin(history))
    assert 5 < best < 490
    assert len(history) == best + 6
    if name == "xgboost":
        assert model.best_iteration == best
        pred = model.predict(X_val)
    else:
        assert model.best_iteration_ == best + 1
        pred = start + model.predict(X_val)
    np.testing.assert_allclose(objective.metric(y_val, pred, w_val), history[best], rtol=1e-5)
    assert history[best] < 0.8 * history[0]
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict(X_val), model.predict(X_val))
    assert twin.get_params()["objective"] == objective


@pytest.mark.parametrize("name", LIBRARIES)
def test_clone_and_parameters(name):
    model = estimator(name, objective=SmoothL1Objective(2.0, "exact"))
    sklearn_base = pytest.importorskip("sklearn.base")
    X, y, _ = outliers(100, 1)
    for twin in (sklearn_base.clone(model), copy.deepcopy(model)):
        assert twin.get_params()["objective"] == SmoothL1Objective(2.0, "exact")
    twin = sklearn_base.clone(model).set_params(objective=SmoothL1Objective(3.0))
    assert twin.get_params()["objective"] == SmoothL1Objective(3.0)
    assert model.get_params()["objective"] == SmoothL1Objective(2.0, "exact")
    np.testing.assert_array_equal(
        sklearn_base.clone(model).fit(X, y).predict(X), model.fit(X, y).predict(X)
    )


@pytest.mark.parametrize("name", LIBRARIES)
def test_grid_search_over_beta(name):
    model = estimator(name, n_estimators=20)
    model_selection = pytest.importorskip("sklearn.model_selection")
    metrics = pytest.importorskip("sklearn.metrics")
    X, y, _ = outliers(300, 1)
    grid = [SmoothL1Objective(beta) for beta in (1.0, 1e6)]
    score = metrics.make_scorer(SmoothL1Objective(0.5).metric, greater_is_better=False)
    search = model_selection.GridSearchCV(
        model, {"objective": grid}, scoring=score, cv=3, n_jobs=2
    ).fit(X, y)
    assert search.best_params_ == {"objective": grid[0]}
    # The same by hand: the objectives have reached the workers.
    for objective, mean in zip(grid, search.cv_results_["mean_test_score"], strict=True):
        losses = []
        for train, test in model_selection.KFold(3).split(X):
            model.set_params(objective=objective).fit(X[train], y[train])
            losses.append(SmoothL1Objective(0.5).metric(y[test], model.predict(X[test])))
        np.testing.assert_allclose(mean, -np.mean(losses), rtol=1e-6)


def test_xgboost_train(rng):
    xgboost = pytest.importorskip("xgboost")
    X, y, _ = outliers(300, 1)
    w = rng.uniform(0, 2, 300)
    objective = SmoothL1Objective(1.0)
    for weight in (None, w):
        data = xgboost.DMatrix(X, y, weight=weight)
        history = {}
        booster = xgboost.train(
            {"base_score": 2.0, "nthread": 1},
            data,
            10,
            obj=objective,
            custom_metric=objective.metric,
            evals=[(data, "train")],
            evals_result=history,
            verbose_eval=False,
        )
        predict = fit_xgboost(X, y, objective, 2.0, weight, n_estimators=10)
        np.testing.assert_array_equal(booster.predict(data), predict(X))
        np.testing.assert_allclose(
            history["train"]["smooth_l1"][-1], objective.metric(y, predict(X), weight), rtol=1e-5
        )
        with pytest.raises(TypeError, match="y_true is a DMatrix"):
            objective(data, booster.predict(data))


def test_lightgbm_train(rng):
    lightgbm = pytest.importorskip("lightgbm")
    X, y, _ = outliers(300, 1)
    w = rng.uniform(0, 2, 300)
    objective = SmoothL1Objective(1.0)
    for weight in (None, w):
        data = lightgbm.Dataset(X, y, weight=weight, init_score=np.full(300, 2.0))
        history = {}
        booster = lightgbm.train(
            {"objective": objective, "metric": "None", "num_threads": 1, "verbose": -1},
            data,
            10,
            valid_sets=[data],
            valid_names=["train"],
            feval=objective.lightgbm_metric,
            callbacks=[lightgbm.record_evaluation(history)],
        )
        pred = fit_lightgbm(X, y, objective, 2.0, weight, n_estimators=10)(X)
        np.testing.assert_array_equal(2.0 + booster.predict(X), pred)
        np.testing.assert_allclose(
            history["train"]["smooth_l1"][-1], objective.metric(y, pred, weight), rtol=1e-6
        )
        with pytest.raises(TypeError, match="y_true is a Dataset"):
            objective(data, pred)


@pytest.mark.parametrize("strategy", ["one_output_per_tree", "multi_output_tree"])
def test_several_outputs_in_xgboost(strategy, rng):
    X, y, _ = outliers(300, 1)
    Y = np.column_stack([y, -y])
    w = rng.uniform(0.5, 2, 300)
    objective = SmoothL1Objective(1.0)
    options = {"multi_strategy": strategy, "n_estimators": 10, "max_depth": 3}
    pred = fit_xgboost(X, Y, objective, 0.0, w, **options)(X)
    assert pred.shape == Y.shape
    np.testing.assert_allclose(pred[:, 0], -pred[:, 1], rtol=1e-4, atol=1e-4)
    if strategy == "one_output_per_tree":
        alone = fit_xgboost(X, y, objective, 0.0, w, n_estimators=10, max_depth=3)(X)
        np.testing.assert_allclose(pred[:, 0], alone, rtol=1e-4, atol=1e-4)
    assert objective.metric(Y, pred) < 0.9 * objective.metric(Y, np.zeros_like(pred))
