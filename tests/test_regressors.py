"""The regressors of LightGBM and XGBoost: start, threshold, scikit-learn's tools, odd input."""

import copy
import pickle
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("sklearn")
from sklearn.base import clone
from sklearn.datasets import make_friedman1
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from smoothl1 import huber_location, smooth_l1_loss
from smoothl1.boosting import (
    SmoothL1Objective,
    mixed_of_most,
    residual_quantile,
    residuals,
)
from smoothl1.metrics import smooth_l1_scorer

pytestmark = [
    pytest.mark.filterwarnings("ignore:The argument 'eval_set' is deprecated"),
    pytest.mark.filterwarnings("ignore:X does not have valid feature names:UserWarning"),
]

LIBRARIES = ["lightgbm", "xgboost"]

# What our regressor has LightGBM do with the gradients, up to a quantile of 0.8.
ROUNDED = {
    "use_quantized_grad": True,
    "num_grad_quant_bins": 2,
    "quant_train_renew_leaf": True,
    "stochastic_rounding": False,
}


def parent(name, **options):
    """Return the library's own regressor."""
    module = pytest.importorskip(name)
    if name == "xgboost":
        return module.XGBRegressor(n_jobs=1, **options)
    return module.LGBMRegressor(n_jobs=1, verbose=-1, **options)


def regressor(name, **options):
    """Return ours."""
    pytest.importorskip(name)
    options = {"n_estimators": 30, "n_jobs": 1, **options}
    if name == "xgboost":
        from smoothl1.xgboost import SmoothL1XGBRegressor

        return SmoothL1XGBRegressor(**options)
    from smoothl1.lightgbm import SmoothL1LGBMRegressor

    return SmoothL1LGBMRegressor(verbose=-1, **options)


def sample(n=500, seed=0, offset=0.0):
    """Return features, targets of which a few are far off, and the targets without noise."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(-2, 2, (n, 3))
    truth = offset + 3 * np.sin(2 * X[:, 0]) + X[:, 1] ** 2
    return X, truth + 0.5 * rng.standard_t(1.5, n), truth


def rank_of(quantile, y):
    return int(np.ceil(quantile * len(y))) - 1


def reference_start(y, beta=None, quantile=0.7):
    """Return the Huber location of y, and the threshold there."""
    if beta is None:
        beta = np.sort(abs(y - huber_location(y, 0.0)))[rank_of(quantile, y)]
    return huber_location(y, beta), beta


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("name", LIBRARIES)
def test_a_number_is_the_objective_from_the_huber_location(name, weighted, rng):
    X, y, _ = sample()
    weight = rng.uniform(0, 2, len(y)) if weighted else None
    found = regressor(name, beta=0.7).fit(X, y, sample_weight=weight).predict(X)
    start = float(huber_location(y, 0.7, sample_weight=weight))
    bare = parent(name, objective=SmoothL1Objective(0.7), n_estimators=30)
    if name == "xgboost":
        expected = bare.set_params(base_score=start).fit(X, y, sample_weight=weight).predict(X)
    else:
        bare.fit(X, y, sample_weight=weight, init_score=np.full(len(y), start))
        expected = start + bare.predict(X)
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("quantile", [0.5, 0.9])
@pytest.mark.parametrize("name", LIBRARIES)
def test_the_threshold_is_a_quantile_of_the_residuals_anew(name, quantile):
    X, y, _ = sample()
    start, _ = reference_start(y, quantile=quantile)
    seen = []

    def objective(true, pred):
        sizes = np.sort(abs(true.astype(float) - pred))
        threshold = float(sizes[rank_of(quantile, true)])
        seen.append(threshold)
        return SmoothL1Objective(threshold)(true, pred)

    found = regressor(name, quantile=quantile).fit(X, y).predict(X)
    rounded = ROUNDED if name == "lightgbm" and quantile == 0.5 else {}
    bare = parent(name, objective=objective, n_estimators=30, **rounded)
    if name == "xgboost":
        expected = bare.set_params(base_score=float(start)).fit(X, y).predict(X)
    else:
        expected = start + bare.fit(X, y, init_score=np.full(len(y), start)).predict(X)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
    assert seen[0] == pytest.approx(np.sort(abs(y - start))[rank_of(quantile, y)], rel=1e-5)
    assert seen[-1] < 0.8 * seen[0]


def test_quantiles_by_hand(rng):
    sizes = np.array([0.0, 3, 1, 2, np.nan, np.inf])
    assert [residual_quantile(sizes, None, q) for q in (0.25, 0.5, 0.51, 0.75, 0.9, 1)] == [
        1, 1, 2, 2, 3, 3,
    ]  # fmt: skip
    weight = np.array([1.0, 0, 5, 2, 7, 7])
    assert [residual_quantile(sizes, weight, q) for q in (0.5, 0.75, 0.76, 1)] == [1, 1, 2, 2]
    whole = rng.integers(1, 4, 200)
    many = rng.exponential(size=200)
    for q in (0.1, 0.5, 0.9):
        repeated = residual_quantile(np.repeat(many, whole), None, q)
        assert residual_quantile(many, whole.astype(float), q) == repeated
    many = np.sort(rng.standard_t(1, 50_000) ** 2)  # the some that are looked at first: in order
    for weight in (rng.uniform(0, 1, 50_000), np.linspace(1, 0, 50_000), many):
        for q in (0.02, 0.5, 0.9, 1):
            sums = np.cumsum(weight)
            expected = many[min(np.searchsorted(sums, q * sums[-1]), 49_999)]
            assert residual_quantile(many, weight, q) == pytest.approx(expected, rel=1e-3)
            mixed = rng.permutation(50_000)
            found = residual_quantile(many[mixed], weight[mixed], q)
            assert found == pytest.approx(expected, rel=1e-3)
    for sizes in (many, many[::-1], rng.permutation(many), np.tile(many[:7], 3000)):
        for q in (1e-6, 0.02, 0.5, 0.9, 1 - 1e-6, 1):
            expected = np.sort(sizes)[int(np.ceil(q * len(sizes))) - 1]
            assert residual_quantile(sizes, None, q) == expected
    mostly = np.r_[np.zeros(95), np.arange(1.0, 6)]
    assert residual_quantile(mostly, None, 0.9) == 5  # of those that are not 0
    assert residual_quantile(np.zeros(5), None, 0.9) == 1
    assert residual_quantile(np.empty(0), None, 0.9) == 1


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_quick_way_to_the_derivatives_gives_the_same(dtype, weighted, rng):
    true, pred = rng.standard_t(1.1, (2, 1000)).astype(dtype)
    weight = rng.uniform(0, 2, 1000).astype(dtype) if weighted else None
    pred[3] = np.inf
    residual = residuals(true, pred)
    for quantile in (0.55, 0.7, 1.0):
        beta = residual_quantile(abs(residual), weight, quantile)
        for ours, expected in zip(
            mixed_of_most(residual, weight, beta, abs(residual)),
            SmoothL1Objective(beta)(true, pred, weight),
            strict=True,
        ):
            np.testing.assert_allclose(ours, expected, rtol=1e-6 if dtype == np.float32 else 1e-15)
    assert mixed_of_most(residual, weight, 0.1, abs(residual)) is None
    residual[4] = np.nan
    assert mixed_of_most(residual, weight, 9.0, abs(residual)) is None


@pytest.mark.parametrize("offset", [0.0, 1e3, -1e5])
@pytest.mark.parametrize("name", LIBRARIES)
def test_outliers_and_offsets_do_not_matter(name, offset):
    X, y, _ = sample(2000, offset=offset)
    y[::40] += 1e6
    X_new, _, truth = sample(1000, 1, offset)
    pred = regressor(name, n_estimators=100, learning_rate=0.1).fit(X, y).predict(X_new)
    assert np.mean(abs(pred - truth)) < 0.5


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_default_bears_heavy_tails(name):
    rng = np.random.default_rng(0)
    errors = {"default": 0.0, 0.9: 0.0}
    for _ in range(2):
        X, X_new = rng.random((2, 1000, 5))
        truth, y = (10 * np.sin(4 * a[:, 0]) + 5 * a[:, 1] for a in (X_new, X))
        y = y + rng.standard_t(1.1, 1000)
        for quantile in errors:
            options = {} if quantile == "default" else {"quantile": quantile}
            model = regressor(name, n_estimators=100, **options)
            errors[quantile] += np.mean((model.fit(X, y).predict(X_new) - truth) ** 2)
    assert errors["default"] < 0.95 * errors[0.9]


def test_splits_by_rounded_gradients_learn_more_from_few_samples():
    errors = dict.fromkeys(("rounded", "exact", "regression_l1"), 0.0)
    for seed in range(6):
        X, y = make_friedman1(1000, random_state=seed)
        X_new, truth = make_friedman1(2000, random_state=seed + 100)
        y += np.random.default_rng(seed).standard_t(1.1, 1000)
        models = (
            regressor("lightgbm", n_estimators=100),
            regressor("lightgbm", n_estimators=100, use_quantized_grad=False),
            parent("lightgbm", objective="regression_l1"),
        )
        for kind, model in zip(errors, models, strict=True):
            errors[kind] += np.mean((model.fit(X, y).predict(X_new) - truth) ** 2)
    assert errors["rounded"] < 0.95 * errors["exact"]
    assert errors["rounded"] < 1.1 * errors["regression_l1"]


def rounds(model, **fit):
    X, y, _ = sample()
    model.fit(X, y, **fit)
    text = model.booster_.model_to_string()
    return "[use_quantized_grad: 1]" in text


def test_where_gradients_are_rounded(rng):
    weight = np.where(rng.random(500) < 0.2, 0.0, 3.0)
    for options in ({}, {"quantile": 0.8}, {"boosting_type": "dart"}, {"path_smooth": 0}):
        assert rounds(regressor("lightgbm", **options)), options
    assert rounds(regressor("lightgbm"), sample_weight=weight)
    for options in (
        {"beta": 1.0},
        {"quantile": 0.81},
        {"use_quantized_grad": False},
        {"num_grad_quant_bins": 4},
        {"linear_tree": True},
        {"linear_trees": True},
        {"data_sample_strategy": "goss"},
        {"boosting_type": "goss"},
        {"path_smooth": 1.0},
        {"mc": np.array([1, 0, 0])},
    ):
        assert not rounds(regressor("lightgbm", **options)), options
    weight[7] = 4.0
    assert not rounds(regressor("lightgbm"), sample_weight=weight)
    model = regressor("lightgbm")
    assert rounds(model)
    assert model.get_params() == regressor("lightgbm").get_params()
    assert rounds(clone(model))
    assert not rounds(model.set_params(quantile=0.9))


def test_rounded_gradients_do_not_depend_on_the_number_of_threads():
    X, y, _ = sample(5000)
    one, two = (regressor("lightgbm", n_jobs=n).fit(X, y).predict(X) for n in (1, 2))
    np.testing.assert_array_equal(one, two)


def test_monotone_constraints_hold():
    X, y, _ = sample(2000)
    model = regressor("lightgbm", monotone_constraints=[1, 0, 0]).fit(X, y)
    line = np.zeros((200, 3))
    line[:, 0] = np.linspace(-2, 2, 200)
    assert (np.diff(model.predict(line)) >= 0).all()


@pytest.mark.parametrize("unit", [2.0**-40, 2.0**-10, 2.0**20, 2.0**45])
@pytest.mark.parametrize("name", LIBRARIES)
def test_defaults_do_not_depend_on_the_unit(name, unit):
    X, y, _ = sample()
    expected = regressor(name).fit(X, y).predict(X)
    model = regressor(name)
    found = model.fit(X, y * unit).predict(X)
    np.testing.assert_allclose(found / unit, expected, rtol=1e-5, atol=1e-5)
    assert model.get_params() == regressor(name).get_params()


def test_a_schedule_of_rates_is_left_alone():
    xgboost = pytest.importorskip("xgboost")
    X, y, _ = sample()
    schedule = xgboost.callback.LearningRateScheduler(lambda i: 0.1)
    expected = regressor("xgboost", learning_rate=0.1).fit(X, y).predict(X)
    model = regressor("xgboost", learning_rate=0.1, callbacks=[schedule])
    np.testing.assert_array_equal(model.fit(X, y).predict(X), expected)
    # It sets rates that know nothing of another unit of the gradients.
    small = model.fit(X, y * 2.0**-10).predict(X) * 2.0**10
    assert np.mean(abs(small - expected)) < 1


@pytest.mark.parametrize("beta", [None, 0.7])
@pytest.mark.parametrize("name", LIBRARIES)
def test_early_stopping_and_the_metric(name, beta):
    X, y, _ = sample(600, offset=50.0)
    X_val, y_val, _ = sample(300, 1, offset=50.0)
    start, threshold = reference_start(y, beta)
    model = regressor(name, beta=beta, n_estimators=300)
    if name == "xgboost":
        model.set_params(early_stopping_rounds=5)
        model.fit(X, y, eval_set=[(X, y), (X_val, y_val)], verbose=False)
        histories = model.evals_result()
        best = model.best_iteration + 1
    else:
        lightgbm = pytest.importorskip("lightgbm")
        model.fit(
            X,
            y,
            eval_set=[(X, y), (X_val, y_val)],
            callbacks=[lightgbm.early_stopping(5, verbose=False)],
        )
        histories = model.evals_result_
        best = model.best_iteration_
    assert [list(history) for history in histories.values()] == [["smooth_l1"]] * 2
    training, validation = (history["smooth_l1"] for history in histories.values())
    assert best == int(np.argmin(validation)) + 1 < 250
    for history, features, target in ((training, X, y), (validation, X_val, y_val)):
        loss = smooth_l1_loss(model.predict(features), target, beta=threshold)
        assert history[best - 1] == pytest.approx(loss, rel=1e-4)
    assert validation[best - 1] < 0.9 * smooth_l1_loss(start, y_val, beta=threshold)


@pytest.mark.parametrize("name", LIBRARIES)
def test_other_metrics(name):
    X, y, _ = sample(offset=50.0)
    if name == "xgboost":
        model = regressor(name, eval_metric="mae").fit(X, y, eval_set=[(X, y)], verbose=False)
        history = model.evals_result()["validation_0"]
        assert list(history) == ["mae"]
        assert history["mae"][-1] == pytest.approx(np.mean(abs(model.predict(X) - y)), rel=1e-4)
        return
    model = regressor(name).fit(X, y, eval_set=[(X.copy(), y)], eval_metric="l1")
    history = model.evals_result_["valid_0"]
    assert set(history) == {"l1", "smooth_l1"}
    assert history["l1"][-1] == pytest.approx(np.mean(abs(model.predict(X) - y)), rel=1e-6)
    model = regressor(name, metric="l1").fit(X, y, eval_set=[(X, y)])
    assert list(model.evals_result_["training"]) == ["l1"]


@pytest.mark.parametrize("name", LIBRARIES)
def test_the_start_is_part_of_the_saved_model(name, tmp_path):
    module = pytest.importorskip(name)
    X, y, _ = sample(offset=1e4)
    model = regressor(name).fit(X, y)
    expected = model.predict(X)
    assert abs(np.median(expected) - 1e4) < 10
    path = str(tmp_path / "model.json")
    if name == "xgboost":
        model.save_model(path)
        loaded = regressor(name)
        loaded.load_model(path)
        np.testing.assert_array_equal(loaded.predict(X), expected)
        own = parent(name)
        own.load_model(path)
        np.testing.assert_array_equal(own.predict(X), expected)
        parts = model.get_booster().predict(module.DMatrix(X), pred_contribs=True)
        np.testing.assert_allclose(parts.sum(axis=1), expected, rtol=1e-5)
        return
    model.booster_.save_model(path)
    np.testing.assert_array_equal(module.Booster(model_file=path).predict(X), expected)
    np.testing.assert_allclose(model.predict(X, pred_contrib=True).sum(axis=1), expected)
    np.testing.assert_array_equal(model.predict(X, raw_score=True), expected)


@pytest.mark.parametrize("options", [{"boosting_type": "dart"}, {"linear_tree": True}], ids=str)
def test_kinds_of_trees_of_lightgbm(options):
    X, y, truth = sample(2000, offset=1e4)
    X[::50, 2] = np.nan
    model = regressor("lightgbm", n_estimators=100, random_state=0, **options).fit(X, y)
    assert np.mean(abs(model.predict(X) - truth)) < 1
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))


@pytest.mark.parametrize("options", [{"booster": "dart"}, {"booster": "gblinear"}], ids=str)
def test_boosters_of_xgboost(options):
    X, y, truth = sample(2000, offset=1e4)
    model = regressor("xgboost", n_estimators=100, **options).fit(X, y)
    assert np.mean(abs(model.predict(X) - truth)) < 2.5


def test_initial_scores_and_models_of_lightgbm():
    X, y, truth = sample(2000, offset=1e4)
    score = 5000 + X[:, 0]
    model = regressor("lightgbm", n_estimators=60)
    assert np.mean(abs(model.fit(X, y, init_score=score).predict(X) + score - truth)) < 1
    first = model.fit(X, y).predict(X)
    more = regressor("lightgbm").fit(X, y, init_model=model)
    assert more.booster_.num_trees() == 90
    np.testing.assert_allclose(more.predict(X, num_iteration=60), first)
    assert np.mean((more.predict(X) - y) ** 2) != np.mean((first - y) ** 2)
    assert np.mean(abs(more.predict(X) - truth)) < 1


def test_margins_and_models_of_xgboost():
    X, y, truth = sample(2000, offset=1e4)
    model = regressor("xgboost", learning_rate=0.1, n_estimators=60)
    margin = np.full(len(y), 1e4)
    model.fit(X, y, base_margin=margin)
    assert np.mean(abs(model.predict(X, base_margin=margin) - truth)) < 1
    model.fit(X, y)
    more = regressor("xgboost", learning_rate=0.1).fit(X, y, xgb_model=model)
    assert more.get_booster().num_boosted_rounds() == 90
    assert np.mean(abs(more.predict(X) - truth)) < 1
    fixed = regressor("xgboost", base_score=0.0, n_estimators=1).fit(X, y)
    assert fixed.intercept_ == 0


def test_several_outputs_in_xgboost():
    X, y, _ = sample()
    table = np.column_stack([y, 1e4 + 1000 * y])
    found = regressor("xgboost").fit(X, table).predict(X)
    for k in range(2):
        alone = regressor("xgboost").fit(X, table[:, k]).predict(X)
        scale = (1, 1000)[k]
        np.testing.assert_allclose(found[:, k] / scale, alone / scale, rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("name", LIBRARIES)
def test_parameters(name):
    model = regressor(name, beta=2.0, quantile=0.8, learning_rate=0.2)
    parameters = model.get_params()
    assert (parameters["beta"], parameters["quantile"]) == (2.0, 0.8)
    assert parameters["learning_rate"] == 0.2
    assert set(parameters) == set(parent(name).get_params()) | {"beta", "quantile"}
    for twin in (clone(model), copy.deepcopy(model)):
        assert type(twin) is type(model)
        assert str(twin.get_params()) == str(parameters)
    assert "beta=2.0" in repr(model)
    model.set_params(beta=None, max_depth=3)
    assert model.get_params()["beta"] is None
    assert clone(model).max_depth == 3
    X, y, _ = sample()
    before = str(model.get_params())
    model.fit(X, y)
    assert str(model.get_params()) == before
    with pytest.raises(NotFittedError):
        clone(model).predict(X)
    twin = pickle.loads(pickle.dumps(model))
    np.testing.assert_array_equal(twin.predict(X), model.predict(X))
    np.testing.assert_array_equal(twin.fit(X, y).predict(X), model.predict(X))


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_search_over_beta(name):
    X, y, _ = sample(offset=100.0)
    betas = [None, 0.5, 1e5]
    model = make_pipeline(StandardScaler(), regressor(name, n_estimators=20))
    step = model.steps[-1][0]
    search = GridSearchCV(
        model, {f"{step}__beta": betas}, scoring=smooth_l1_scorer(beta=0.5), cv=3, n_jobs=2
    ).fit(X, y)
    assert search.best_params_ != {f"{step}__beta": 1e5}
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert len(set(search.cv_results_["mean_test_score"])) == 3


def failures(estimator):
    """Return the names of scikit-learn's checks that an estimator fails."""
    results = check_estimator(estimator, on_fail=None, on_skip=None)
    return {result["check_name"] for result in results if result["status"] == "failed"}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", LIBRARIES)
def test_estimator_checks_fail_only_where_the_parents_do(name):
    # Few trees: what the checks look at does not depend on their number.
    assert failures(regressor(name, n_estimators=10)) <= failures(parent(name, n_estimators=10))


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"beta": 0}, ValueError, "beta must be None or a number > 0 .* float32, got 0"),
        ({"beta": np.nan}, ValueError, "beta must be None or a number > 0 .*, got nan"),
        ({"beta": [1.0]}, ValueError, r"beta must be None or .*, got an array of shape \(1,\)"),
        ({"beta": "auto"}, TypeError, "beta must be None or a number > 0 .*, got 'auto'"),
        ({"quantile": 0.0}, ValueError, "quantile must be > 0 and <= 1, got 0.0"),
        ({"quantile": None}, TypeError, "quantile must be a number, got None"),
        ({"objective": "mae"}, ValueError, "objective must be .* which has its own, got 'mae'"),
    ],
    ids=str,
)
def test_bad_parameters(name, options, error, message):
    X, y, _ = sample(50)
    with pytest.raises(error, match=message):
        regressor(name, **options).fit(X, y)


@pytest.mark.parametrize("name", LIBRARIES)
def test_a_threshold_in_other_units_is_said(name):
    X, y, _ = sample(offset=1e5)
    with pytest.warns(RuntimeWarning, match="exceed 100 beta, beta=1e-06; pass a beta in the unit"):
        regressor(name, beta=1e-6).fit(X, y)


# ---------------------------------------------------------------------------
# Odd input
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("frame", [False, True])
def test_targets_that_are_not_finite(name, bad, frame):
    X, y, _ = sample(50)
    if frame:
        X = pytest.importorskip("pandas").DataFrame(X, columns=list("abc"))
    y[7] = bad
    with pytest.raises(ValueError, match=r"(?i)y contains (NaN|infinity)"):
        regressor(name).fit(X, y)


@pytest.mark.parametrize("name", LIBRARIES)
def test_targets_beyond_the_range_of_float32(name):
    X, y, _ = sample(50)
    with pytest.raises(ValueError, match=r"y must be in the range of float32, got 1e\+150"):
        regressor(name).fit(X, np.r_[1e150, y[1:]])
    for unit in (1e-45, 1e-30, 1e30):
        pred = regressor(name).fit(X, y * unit).predict(X)
        assert np.isfinite(pred).all()
        assert abs(pred).max() <= 2 * abs(y * unit).max()


@pytest.mark.parametrize("name", LIBRARIES)
def test_weights_of_odd_kinds(name):
    X, y, _ = sample(400)
    model = regressor(name)
    with pytest.raises(ValueError, match=r"sample_weight must be >= 0 and finite, got -1\.0"):
        model.fit(X, y, sample_weight=np.r_[-1.0, np.ones(399)])
    with pytest.raises(ValueError, match="sample_weight must hold a positive weight"):
        model.fit(X, y, sample_weight=np.zeros(400))
    with pytest.raises(ValueError, match="sample_weight contains NaN"):
        model.fit(X, y, sample_weight=np.full(400, np.nan))
    with pytest.raises(ValueError, match="sample_weight must have the shape of y"):
        model.fit(X, y, sample_weight=np.ones(399))
    # Samples without weight decide neither the start nor the threshold.
    weight = np.r_[np.ones(200), np.zeros(200)]
    wild = np.r_[y[:200], y[200:] + 1e6]
    pred = model.fit(X, wild, sample_weight=weight).predict(X[:200])
    assert np.median(abs(pred - y[:200])) < 1.5


@pytest.mark.parametrize("name", LIBRARIES)
def test_constant_targets_and_few_samples(name):
    X = np.arange(60.0)[:, np.newaxis]
    for value in (0.0, 7.0, -1e6):
        pred = regressor(name).fit(X, np.full(60, value)).predict(X)
        np.testing.assert_allclose(pred, value, rtol=1e-6)
    pred = regressor(name).fit(X[:2], [1.0, 3.0]).predict(X[:2])
    assert np.all((pred >= 1) & (pred <= 3))
    pred = regressor(name).fit(np.ones((60, 2)), X[:, 0]).predict(np.ones((2, 2)))
    np.testing.assert_allclose(pred, 29.5, rtol=1e-6)  # nothing to split by


def test_one_sample_in_xgboost():
    assert regressor("xgboost").fit([[1.0]], [5.0]).predict([[1.0]]) == 5


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int32, ">f8"])
def test_dtypes_of_targets(name, dtype):
    X, y, _ = sample(400)
    y = np.round(y.clip(-100, 100)).astype(dtype)
    expected = regressor(name).fit(X, y.astype(float)).predict(X)
    np.testing.assert_array_equal(regressor(name).fit(X, y).predict(X), expected)


@pytest.mark.parametrize("name", LIBRARIES)
def test_frames_series_and_lists(name):
    pandas = pytest.importorskip("pandas")
    X, y, _ = sample(400)
    frame, series = pandas.DataFrame(X, columns=list("abc")), pandas.Series(y, index=range(5, 405))
    expected = regressor(name).fit(X, y).predict(X)
    model = regressor(name).fit(frame, series, sample_weight=pandas.Series(np.ones(400)))
    np.testing.assert_array_equal(model.predict(frame), expected)
    assert list(model.feature_names_in_) == ["a", "b", "c"]
    np.testing.assert_array_equal(regressor(name).fit(X, y.tolist()).predict(X), expected)


@pytest.mark.parametrize("name", LIBRARIES)
def test_missing_features_and_constraints(name, rng):
    X, y, truth = sample(2000)
    X[rng.random(X.shape) < 0.05] = np.nan
    pred = regressor(name, n_estimators=60, learning_rate=0.1).fit(X, y).predict(X)
    assert np.mean(abs(pred - truth)) < 1
    option = "monotone_constraints"
    constraint = (0, 1, 0) if name == "xgboost" else [0, 1, 0]
    model = regressor(name, **{option: constraint}).fit(X, y)
    grid = np.column_stack([np.zeros(100), np.linspace(-2, 2, 100), np.zeros(100)])
    assert np.diff(model.predict(grid)).min() >= 0


# ---------------------------------------------------------------------------
# Imports
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", LIBRARIES)
@pytest.mark.parametrize("missing", ["itself", "sklearn"])
def test_a_missing_package_is_named(name, missing):
    code = (
        f"import sys; sys.modules[{(name if missing == 'itself' else missing)!r}] = None\n"
        f"try:\n    import smoothl1.{name}\n"
        f"except ImportError as error:\n    print(error)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert f"smoothl1.{name} needs" in run.stdout
    assert f"pip install 'smoothl1[{name}]'" in run.stdout


def test_the_package_imports_neither():
    code = (
        "import sys, smoothl1, smoothl1.boosting, smoothl1.ensemble, smoothl1.metrics\n"
        "assert not {'lightgbm', 'xgboost'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_xgboost_hands_labels_and_weights_over_once(monkeypatch):
    xgboost = pytest.importorskip("xgboost")
    asked = []
    for name in ("get_label", "get_weight"):
        real = getattr(xgboost.DMatrix, name)
        monkeypatch.setattr(
            xgboost.DMatrix, name, lambda self, n=name, f=real: asked.append(n) or f(self)
        )
    X, y, _ = sample()
    weight = np.linspace(0, 1, len(y))
    found = regressor("xgboost").fit(X, y, sample_weight=weight, eval_set=[(X, y)], verbose=False)
    assert sorted(asked) == ["get_label"] * 2 + ["get_weight"] * 2  # of both sets
    same = regressor("xgboost").fit(X, y, sample_weight=weight)
    np.testing.assert_array_equal(found.predict(X), same.predict(X))


ROUNDS = {
    "plain": {},
    "weights": {},
    "outputs": {},
    "dart": {"booster": "dart", "rate_drop": 0.3},
    "linear": {"booster": "gblinear"},
    "forest": {"num_parallel_tree": 2, "subsample": 0.7},
    "stopped": {"early_stopping_rounds": 3},
}


@pytest.mark.parametrize("kind", ROUNDS)
def test_rounds_of_xgboost_are_those_of_its_own_update(kind, monkeypatch):
    pytest.importorskip("xgboost")
    from smoothl1._xgboost_rounds import RoundsBooster, _State

    X, y, _ = sample(300)
    y = np.c_[y, y[::-1]] if kind == "outputs" else y
    fit = {"sample_weight": np.linspace(0, 2, 300)} if kind == "weights" else {}
    if kind == "stopped":
        fit.update(eval_set=[(X[:50], y[:50])], verbose=False)
    grown = []
    grow = _State.grow
    monkeypatch.setattr(_State, "grow", lambda *args: grown.append(args[2]) or grow(*args))
    ours = regressor("xgboost", **ROUNDS[kind]).fit(X, y, **fit)
    assert len(grown) > 5
    assert grown == list(range(1, len(grown) + 1))
    monkeypatch.setattr(_State, "margin", lambda *_: None)  # as if XGBoost's function failed
    theirs = regressor("xgboost", **ROUNDS[kind]).fit(X, y, **fit)
    assert ours.get_booster().save_raw() == theirs.get_booster().save_raw()
    assert type(ours.get_booster()) is not RoundsBooster
    assert not {"_state", "update"} & set(vars(ours.get_booster()))


def test_callbacks_see_a_booster_of_xgboost_while_it_is_trained():
    xgboost = pytest.importorskip("xgboost")

    class Callback(xgboost.callback.TrainingCallback):
        def after_iteration(self, model, epoch, evals_log):
            model.predict(xgboost.DMatrix(X[:7]))  # into the array that rounds read margins from
            if epoch == 3:
                self.copies = [pickle.loads(pickle.dumps(model)), model.copy()]
            return False

    X, y, _ = sample()
    watched = Callback()
    found = regressor("xgboost", callbacks=[watched]).fit(X, y)
    expected = regressor("xgboost").fit(X, y)
    np.testing.assert_array_equal(found.predict(X), expected.predict(X))
    assert found.get_params()["callbacks"] == [watched]
    for booster in watched.copies:
        assert type(booster) is xgboost.Booster
        assert booster.num_boosted_rounds() == 4
        four = expected.predict(X, iteration_range=(0, 4))
        np.testing.assert_array_equal(booster.predict(xgboost.DMatrix(X)), four)


@pytest.mark.filterwarnings("ignore:Since 2.1.0")
def test_a_round_that_fails_says_why(monkeypatch):
    pytest.importorskip("xgboost")
    from smoothl1._boosters import RegressorObjective

    X, y, _ = sample()
    call = RegressorObjective.__call__
    rounds = []

    def wrong(self, *args):
        rounds.append(args)
        grad, hess = call(self, *args)
        return (grad, hess) if len(rounds) < 3 else (grad[1:], hess[1:])

    monkeypatch.setattr(RegressorObjective, "__call__", wrong)
    with pytest.raises(ValueError, match="499"):
        regressor("xgboost").fit(X, y)
    assert len(rounds) == 4  # XGBoost itself asked again
