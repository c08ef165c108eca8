"""Gradient boosting in scikit-learn: the loss object, and the estimator that uses it."""

import inspect
import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")
import sklearn
from sklearn._loss import link as sklearn_link
from sklearn._loss import loss as sklearn_loss
from sklearn.base import clone
from sklearn.ensemble import GradientBoostingRegressor, HistGradientBoostingRegressor
from sklearn.ensemble._hist_gradient_boosting import gradient_boosting
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.utils.estimator_checks import parametrize_with_checks
from threadpoolctl import threadpool_limits

from smoothl1 import ensemble, huber_location
from smoothl1.ensemble import SmoothL1BoostingLoss, SmoothL1HistGradientBoostingRegressor
from smoothl1.metrics import mean_smooth_l1_loss


def sample(n=600, seed=0, outliers=0.1):
    """Three features, and targets of which some are far off; the targets without them, too."""
    rng = np.random.default_rng(seed)
    X = rng.uniform(size=(n, 3))
    clean = 4 * X[:, 0] + np.sin(6 * X[:, 1])
    y = clean + 0.3 * rng.normal(size=n)
    y[rng.random(n) < outliers] += 50
    return X, y, clean


@pytest.fixture(autouse=True, scope="module")
def _one_thread():
    """What is small here takes longer with threads, and much longer on a busy machine."""
    with threadpool_limits(1):
        yield


def boosting(**options):
    """Trees of the sizes that scikit-learn has by default, to compare with its own."""
    sizes = {"max_leaf_nodes": 31, "min_samples_leaf": 20}
    return SmoothL1HistGradientBoostingRegressor(
        **{"max_iter": 20, "beta": 1.0, **sizes, **options}
    )


# ---------------------------------------------------------------------------
# The loss object
# ---------------------------------------------------------------------------


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("column", [False, True])
@pytest.mark.parametrize("beta", [0.01, 1.0, 7.0])
@pytest.mark.parametrize("line_search", [False, True])
def test_derivatives(dtype, beta, weighted, column, line_search, rng):
    y, pred = 10 * rng.normal(size=(2, 5000))
    weight = rng.uniform(0, 3, 5000) if weighted else None
    r, w = pred - y, 1.0 if weight is None else weight
    grad, hess = np.full((2, 5000), np.nan, dtype)
    loss = SmoothL1BoostingLoss(beta, line_search=line_search)
    raw = pred.reshape(-1, 1, order="F") if column else pred
    loss.gradient_hessian(y, raw, weight, gradient_out=grad, hessian_out=hess, n_threads=2)
    tolerance = {"rtol": 4 * np.finfo(dtype).eps}
    expected = 1.0 if line_search else np.minimum(1, beta / abs(r))
    np.testing.assert_allclose(grad, w * np.clip(r, -beta, beta), **tolerance)
    np.testing.assert_allclose(hess, np.broadcast_to(w * expected, 5000), **tolerance)
    grad[:] = np.nan
    loss.gradient(y, raw, weight, gradient_out=grad)
    np.testing.assert_allclose(grad, w * np.clip(r, -beta, beta), **tolerance)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("beta", [0.01, 1.0, 7.0])
def test_losses(beta, weighted, rng):
    y, pred = 10 * rng.normal(size=(2, 300))
    weight = rng.uniform(0, 3, 300) if weighted else None
    z, w = abs(pred - y), np.ones(300) if weight is None else weight
    expected = w * np.where(z < beta, z * z / (2 * beta), z - beta / 2)
    loss = SmoothL1BoostingLoss(beta)
    np.testing.assert_allclose(loss.loss(y, pred, weight), expected, rtol=1e-14)
    both = loss.loss_gradient(y, pred, weight)
    np.testing.assert_allclose(both[0], expected, rtol=1e-14)
    np.testing.assert_allclose(both[1], w * np.clip(pred - y, -beta, beta), rtol=1e-14)
    mean = loss(y, pred.reshape(-1, 1), weight, n_threads=2)
    assert type(mean) is float
    assert mean == pytest.approx(expected.sum() / w.sum(), rel=1e-14)


def test_known_values():
    loss = SmoothL1BoostingLoss(beta=2.0)
    y, pred = np.zeros(4), np.array([1.0, -2.0, 8.0, 0.0])
    np.testing.assert_array_equal(loss.loss(y, pred), [0.25, 1, 7, 0])
    np.testing.assert_array_equal(loss.gradient(y, pred), [1, -2, 2, 0])
    assert loss(y, pred) == 8.25 / 4
    newton = SmoothL1BoostingLoss(beta=2.0, line_search=False)
    np.testing.assert_array_equal(newton.gradient_hessian(y, pred)[1], [1, 1, 0.25, 1])


def test_the_constant_is_the_huber_location(rng):
    y, weight = rng.standard_t(1, (2, 500))
    weight = abs(weight)
    loss = SmoothL1BoostingLoss(0.7)
    assert loss.fit_intercept_only(y) == huber_location(y, 0.7)
    assert loss.fit_intercept_only(y, weight) == huber_location(y, 0.7, sample_weight=weight)
    assert loss.fit_intercept_only(y, 0 * weight) == 0
    for found in (loss.fit_intercept_only(y), loss.fit_intercept_only(y, 0 * weight)):
        assert isinstance(found, np.float64)  # scikit-learn reshapes it


@pytest.mark.parametrize("line_search", [True, False])
def test_what_the_trees_are_told_of_the_loss(line_search):
    loss = SmoothL1BoostingLoss(line_search=line_search)
    assert loss.constant_hessian is False
    assert loss.init_gradient_and_hessian(3)[1].shape == (3,)
    assert loss.need_update_leaves_values is line_search
    assert loss.differentiable is not line_search


def test_the_object_serves_the_class_of_scikit_learn():
    X, y, _ = sample()
    theirs = HistGradientBoostingRegressor(loss=SmoothL1BoostingLoss(0.5), max_iter=20)
    np.testing.assert_array_equal(
        clone(theirs).fit(X, y).predict(X), boosting(beta=0.5).fit(X, y).predict(X)
    )


# ---------------------------------------------------------------------------
# The estimator
# ---------------------------------------------------------------------------


@parametrize_with_checks([SmoothL1HistGradientBoostingRegressor()])
def test_estimator_checks(estimator, check):
    check(estimator)


def test_parameters_are_those_of_scikit_learn():
    theirs = dict(inspect.signature(HistGradientBoostingRegressor).parameters)
    ours = dict(inspect.signature(SmoothL1HistGradientBoostingRegressor).parameters)
    del theirs["loss"], theirs["quantile"]
    assert ours.pop("beta").default is None
    assert ours.pop("quantile").default == 0.9
    sizes = ("max_leaf_nodes", "min_samples_leaf")
    assert [ours.pop(name).default for name in sizes] == ["auto", "auto"]
    assert [theirs.pop(name).default for name in sizes] == [31, 20]
    assert {k: p.default for k, p in ours.items()} == {k: p.default for k, p in theirs.items()}
    assert all(p.kind is p.KEYWORD_ONLY for p in ours.values())
    values = {name: object() for name in [*ours, *sizes, "beta", "quantile"]}
    assert SmoothL1HistGradientBoostingRegressor(**values).get_params(deep=False) == values


@pytest.mark.parametrize("beta", [0.05, 1.0, 20.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_leaves_hold_the_huber_location_of_their_residuals(beta, weighted, rng):
    X, y, _ = sample()
    weight = rng.integers(0, 3, len(y)).astype(float) if weighted else None
    model = boosting(beta=beta, max_iter=1, learning_rate=1, max_leaf_nodes=2).fit(X, y, weight)
    start = huber_location(y, beta, sample_weight=weight)
    found = model.predict(X)
    assert len(np.unique(found)) == 2
    for value in np.unique(found):
        leaf = found == value
        w = None if weight is None else weight[leaf]
        assert value == start + huber_location(y[leaf] - start, beta, sample_weight=w)


@pytest.mark.parametrize("seed", range(5))
def test_a_leaf_without_weight_adds_nothing(seed):
    # Sums of such weights are rounded by more than the least weight of a leaf, 0.001, so
    # that some of the samples of weight 0 are split off.
    rng = np.random.default_rng(seed)
    X, y = rng.uniform(size=(800, 2)), rng.standard_t(1, 800)
    weight = rng.lognormal(0, 5, 800) * 1e20
    weight[X[:, 1] < 0.3] = 0
    model = boosting(min_samples_leaf=1, max_leaf_nodes=None, learning_rate=0.5)
    found = model.fit(X, y, weight).predict(X)
    weighted = y[weight > 0]
    assert weighted.min() <= found.min()
    assert found.max() <= weighted.max()


def test_large_beta_is_squared_error():
    X, y, _ = sample()
    expected = HistGradientBoostingRegressor(max_iter=20).fit(X, y)
    for weight in (None, np.linspace(0.5, 2, len(y))):
        expected = HistGradientBoostingRegressor(max_iter=20).fit(X, y, weight).predict(X)
        found = boosting(beta=1e6).fit(X, y, weight).predict(X)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_small_beta_is_absolute_error():
    X, y, _ = sample()
    theirs = HistGradientBoostingRegressor(loss="absolute_error", max_iter=20)
    expected = theirs.fit(X, y).predict(X)
    # A power of two, so that splits of equal gain are of equal gain here, too.
    found = boosting(beta=2.0**-24).fit(X, y).predict(X)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert abs(boosting(beta=1.0).fit(X, y).predict(X) - expected).max() > 1e-2


def test_outliers_do_not_decide():
    X, y, clean = sample(n=2000)
    error = {
        name: np.mean(abs(model.fit(X, y).predict(X) - clean))
        for name, model in (
            ("ours", boosting(beta=0.4, max_iter=60)),
            ("squares", HistGradientBoostingRegressor(max_iter=60)),
        )
    }
    assert error["ours"] < 0.3
    assert error["squares"] > 3


@pytest.mark.parametrize("unit", [2.0**-20, 2.0**20])
@pytest.mark.parametrize("constraint", [None, [1, 0, 0]])
def test_units_do_not_matter(unit, constraint):
    X, y, _ = sample()
    model = boosting(beta=0.5, monotonic_cst=constraint)
    expected = model.fit(X, y).predict(X)
    found = model.set_params(beta=0.5 * unit).fit(X, y * unit).predict(X)
    np.testing.assert_allclose(found / unit, expected, rtol=1e-6)


@pytest.mark.parametrize("constraint", [None, [1, 0, 0]])
def test_weights_are_repetitions(constraint, rng):
    # Few enough values for bins of their own, and leaves that are not limited by a number
    # of samples, which counts repetitions.
    X, y, _ = sample(n=200)
    weight = rng.integers(1, 4, len(y))
    model = boosting(beta=0.5, min_samples_leaf=1, max_leaf_nodes=8, monotonic_cst=constraint)
    expected = clone(model).fit(np.repeat(X, weight, axis=0), np.repeat(y, weight)).predict(X)
    found = model.fit(X, y, weight).predict(X)
    np.testing.assert_allclose(found, expected, rtol=1e-5)
    assert abs(model.fit(X, y).predict(X) - expected).max() > 1e-3


@pytest.mark.parametrize("weighted", [False, True])
def test_scores_are_the_mean_loss(weighted, rng):
    X, y, _ = sample()
    weight = rng.uniform(0.5, 2, len(y)) if weighted else None
    model = boosting(beta=0.5, early_stopping=True, validation_fraction=None, n_iter_no_change=50)
    model.fit(X, y, weight)
    stages = [np.full(len(y), huber_location(y, 0.5, sample_weight=weight))]
    stages += model.staged_predict(X)
    expected = [-mean_smooth_l1_loss(y, p, beta=0.5, sample_weight=weight) for p in stages]
    np.testing.assert_allclose(model.train_score_, expected, rtol=1e-12)
    assert len(expected) == 21
    assert np.all(np.diff(expected) > 0)


@pytest.mark.parametrize("weighted", [False, True])
def test_early_stopping_on_validation_data(weighted, rng):
    X, y, _ = sample()
    weight = rng.uniform(0.5, 2, len(y)) if weighted else np.ones(len(y))
    model = boosting(
        beta=0.5, max_iter=400, learning_rate=0.5, early_stopping=True, n_iter_no_change=5
    )
    model.fit(X, y, weight if weighted else None)
    assert 5 <= model.n_iter_ < 400
    # The split of `fit`, repeated.
    split = train_test_split(X, y, weight, test_size=0.1, random_state=model._random_seed)
    _, held_X, _, held_y, _, held_weight = split
    expected = -mean_smooth_l1_loss(
        held_y, model.predict(held_X), beta=0.5, sample_weight=held_weight
    )
    assert model.validation_score_[-1] == pytest.approx(expected, rel=1e-12)
    assert model.validation_score_[-6] >= model.validation_score_[-5:].max()


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("beta", [0.05, 1.0])
def test_monotonic_constraints_hold(sign, beta, rng):
    # The feature goes up and down; scikit-learn's absolute error breaks the constraint.
    X = rng.uniform(size=(1500, 2))
    y = sign * (X[:, 0] + np.sin(12 * X[:, 0]) + X[:, 1]) + 0.3 * rng.standard_t(2, 1500)
    grid = np.linspace(0, 1, 200)

    def steps(model):
        model.fit(X, y)
        return np.array(
            [
                np.diff(model.predict(np.column_stack([grid, np.full(200, other)])))
                for other in (0.1, 0.5, 0.9)
            ]
        )

    constrained = boosting(beta=beta, monotonic_cst=[sign, 0])
    assert (sign * steps(constrained)).min() >= 0
    assert abs(steps(constrained)).max() > 0
    assert (sign * steps(boosting(beta=beta))).min() < -0.05
    assert not constrained._loss.need_update_leaves_values


def test_constraints_that_are_none():
    X, y, _ = sample()
    expected = boosting().fit(X, y).predict(X)
    np.testing.assert_array_equal(boosting(monotonic_cst=[0, 0, 0]).fit(X, y).predict(X), expected)


def test_constraints_by_name():
    pd = pytest.importorskip("pandas")
    X, y, _ = sample()
    named = pd.DataFrame(X, columns=["a", "b", "c"])
    expected = boosting(monotonic_cst=[0, -1, 0]).fit(X, y).predict(X)
    found = boosting(monotonic_cst={"b": -1}).fit(named, y).predict(named)
    np.testing.assert_array_equal(found, expected)
    expected = boosting().fit(X, y).predict(X)
    found = boosting(monotonic_cst={"b": 0}).fit(named, y).predict(named)
    np.testing.assert_array_equal(found, expected)


def test_interaction_constraints_make_it_additive():
    X, y, _ = sample()
    y = y + 5 * (X[:, 0] > 0.5) * (X[:, 1] > 0.5)
    corners = np.array([[0.2, 0.2, 0.5], [0.2, 0.9, 0.5], [0.9, 0.2, 0.5], [0.9, 0.9, 0.5]])

    def interaction(**options):
        low, up, right, both = boosting(**options).fit(X, y).predict(corners)
        return abs(both - up - right + low)

    assert interaction(interaction_cst="no_interactions") < 1e-9
    assert interaction() > 1


def test_categories_and_missing_values(rng):
    category = rng.integers(0, 6, 900).astype(float)
    level = np.array([0.0, 9.0, 1.0, 8.0, 2.0, 7.0])[category.astype(int)]
    y = level + 0.1 * rng.normal(size=900)
    y[::17] += 100
    category[level == 2.0] = np.nan
    X = np.column_stack([category, rng.uniform(size=900)])
    model = boosting(beta=0.3, max_iter=100, categorical_features=[0]).fit(X, y)
    assert np.median(abs(model.predict(X) - level)) < 0.2
    assert abs(model.predict([[np.nan, 0.5]]) - 2) < 0.3


def test_warm_start_continues():
    X, y, _ = sample()
    options = {"beta": 0.5, "random_state": 0}
    expected = boosting(max_iter=15, **options).fit(X, y).predict(X)
    model = boosting(max_iter=5, warm_start=True, **options).fit(X, y)
    first = model.predict(X)
    model.set_params(max_iter=15).fit(X, y)
    assert model.n_iter_ == 15
    # Predictions are summed anew, in float64.
    np.testing.assert_allclose(model.predict(X), expected, rtol=1e-9)
    assert abs(first - expected).max() > 0.1


def test_pickle_and_clone():
    X, y, _ = sample()
    model = boosting(beta=0.25, max_leaf_nodes=7).fit(X, y)
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(model)).predict(X), model.predict(X))
    copy = clone(model)
    assert copy.get_params() == model.get_params()
    np.testing.assert_array_equal(copy.fit(X, y).predict(X), model.predict(X))


def test_search_over_beta():
    X, y, _ = sample(n=1000)
    search = GridSearchCV(
        boosting(),
        {"beta": [0.5, 500.0]},
        scoring=make_scorer(mean_smooth_l1_loss, greater_is_better=False),
        cv=3,
        n_jobs=2,
    ).fit(X, y)
    assert search.best_params_ == {"beta": 0.5}
    assert search.best_estimator_._loss.beta == 0.5


@pytest.mark.parametrize(
    ("beta", "error", "message"),
    [
        (0, ValueError, "beta must be None or a number > 0 and in the range of float32, got 0.0"),
        (-1.0, ValueError, "beta must be None or a number > 0 .*, got -1.0"),
        (np.nan, ValueError, "beta must be None or a number > 0 .*, got nan"),
        (np.inf, ValueError, "in the range of float32, got inf"),
        ([1.0], ValueError, r"beta must be None or a number .*, got an array of shape \(1,\)"),
        ("auto", TypeError, "beta must be None or a number > 0 .*, got 'auto'"),
    ],
)
def test_bad_beta(beta, error, message):
    X, y, _ = sample(n=50)
    with pytest.raises(error, match=message):
        boosting(beta=beta).fit(X, y)
    with pytest.raises(error, match=message):
        SmoothL1BoostingLoss(beta)


@pytest.mark.parametrize(
    ("weight", "message"),
    [
        # scikit-learn 1.9 checks that itself.
        (np.zeros(50), "at least one non-zero number|positive weight, got zeros only"),
        (np.r_[-1.0, np.ones(49)], "sample_weight must be >= 0 and finite, got -1.0"),
    ],
)
def test_bad_weights(weight, message):
    X, y, _ = sample(n=50)
    with pytest.raises(ValueError, match=message):
        boosting().fit(X, y, weight)


def test_parameters_of_scikit_learn_are_checked():
    X, y, _ = sample(n=50)
    with pytest.raises(ValueError, match="'max_iter' parameter of SmoothL1Hist"):
        boosting(max_iter=0).fit(X, y)
    with pytest.raises(ValueError, match="Invalid parameter 'loss'"):
        boosting().set_params(loss="squared_error")


# ---------------------------------------------------------------------------
# Trees whose size goes with the number of samples
# ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("n", "leaves", "samples"),
    [
        (1, 31, 20),
        (39, 31, 20),
        (40, 8, 10),
        (569, 8, 11),
        (729, 9, 13),
        (1000, 10, 15),
        (1599, 13, 19),
        (1600, 13, 20),
        (4000, 21, 20),
        (8648, 30, 20),
        (8649, 31, 20),
        (100_000, 31, 20),
    ],
)
def test_what_auto_comes_to(n, leaves, samples):
    X = np.arange(float(n)).reshape(-1, 1)
    model = SmoothL1HistGradientBoostingRegressor(max_iter=1, early_stopping=False)
    model.fit(X, X[:, 0])
    assert (model.max_leaf_nodes_, model.min_samples_leaf_) == (leaves, samples)
    assert (model.max_leaf_nodes, model.min_samples_leaf) == ("auto", "auto")
    grown = model._predictors[0][0].nodes
    grown = grown["count"][grown["is_leaf"] == 1]
    assert len(grown) == (1 if n < 2 * samples else min(leaves, n // samples))
    assert n < 2 * samples or grown.min() >= samples


@pytest.mark.parametrize("n", [200, 1000, 3000])
def test_auto_is_these_numbers(n):
    X, y, _ = sample(n=n)
    model = SmoothL1HistGradientBoostingRegressor(max_iter=20).fit(X, y)
    sizes = {name: getattr(model, f"{name}_") for name in ("max_leaf_nodes", "min_samples_leaf")}
    for name, value in sizes.items():
        numbers = clone(model).set_params(**{name: value}).fit(X.tolist(), y.tolist())
        np.testing.assert_array_equal(numbers.predict(X), model.predict(X))
        assert getattr(numbers, name) == value
    other = clone(model).set_params(max_leaf_nodes=None, min_samples_leaf=5).fit(X, y)
    assert other.max_leaf_nodes_ is None
    assert other.min_samples_leaf_ == 5
    assert abs(other.predict(X) - model.predict(X)).max() > 1e-3


def test_a_fit_that_fails_leaves_auto():
    X, y, _ = sample(n=50)
    model = SmoothL1HistGradientBoostingRegressor(beta=-1.0)
    with pytest.raises(ValueError, match="beta must be"):
        model.fit(X, y)
    with pytest.raises(ValueError, match=r"y cannot be None|y should be a 1d array"):
        model.fit(X, None)
    assert model.get_params() == SmoothL1HistGradientBoostingRegressor(beta=-1.0).get_params()
    assert not hasattr(model, "max_leaf_nodes_")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"max_leaf_nodes": "many"},
            "max_leaf_nodes must be \"auto\", an int >= 2 or None, got 'many'",
        ),
        (
            {"min_samples_leaf": "few"},
            "min_samples_leaf must be \"auto\" or an int >= 1, got 'few'",
        ),
        ({"max_leaf_nodes": 1}, "'max_leaf_nodes' parameter of .* Got 1 instead"),
        ({"min_samples_leaf": None}, "'min_samples_leaf' parameter of .* Got None instead"),
    ],
)
def test_bad_sizes(options, message):
    X, y, _ = sample(n=50)
    model = boosting(**options)
    with pytest.raises(ValueError, match=message):
        model.fit(X, y)
    assert {name: getattr(model, name) for name in options} == options


def test_the_signature_of_fit_is_that_of_scikit_learn():
    theirs, ours = (
        inspect.signature(owner.fit)
        for owner in (HistGradientBoostingRegressor, SmoothL1HistGradientBoostingRegressor)
    )
    assert list(ours.parameters) == list(theirs.parameters)


def test_few_samples_are_learnt_as_by_exact_splits():
    # A few samples far from the others, whose targets are, too; trees of at least 20 samples a
    # leaf cannot tell them from the rest.
    errors = np.zeros(2)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        X, X_new = rng.random((300, 5)), rng.random((2000, 5))
        y, truth = (5 * x[:, 0] + 30 * (x[:, 1] > 0.95) for x in (X, X_new))
        y += rng.normal(size=len(y))
        for k, model in enumerate(
            (
                SmoothL1HistGradientBoostingRegressor(),
                SmoothL1HistGradientBoostingRegressor(max_leaf_nodes=31, min_samples_leaf=20),
            )
        ):
            errors[k] += np.mean((model.fit(X, y).predict(X_new) - truth) ** 2)
    assert errors[0] < 0.7 * errors[1]


# ---------------------------------------------------------------------------
# A threshold that is a quantile of the residuals
# ---------------------------------------------------------------------------


def reference_quantile(sizes, weight, quantile):
    """The least size up to which there is that share of the weight."""
    order = np.argsort(sizes)
    sums = np.cumsum(np.ones(len(sizes)) if weight is None else weight[order])
    return sizes[order][np.searchsorted(sums, quantile * sums[-1])]


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("quantile", [0.5, 0.9])
def test_thresholds_are_quantiles_of_the_residuals(quantile, weighted, rng):
    X, y, _ = sample()
    weight = rng.integers(0, 3, len(y)).astype(float) if weighted else None
    options = {"beta": None, "quantile": quantile, "learning_rate": 1, "max_leaf_nodes": 2}
    for trees in (1, 4):
        model = boosting(max_iter=trees, **options).fit(X, y, weight)
        before = model._baseline_prediction[0, 0] * np.ones(len(y))
        if trees > 1:
            before = boosting(max_iter=trees - 1, **options).fit(X, y, weight).predict(X)
        beta = reference_quantile(abs(y - before), weight, quantile)
        found = model.predict(X) - before
        for value in np.unique(np.round(found, 9)):
            leaf = abs(found - value) < 1e-6
            w = None if weight is None else weight[leaf]
            expected = huber_location((y - before)[leaf], beta, sample_weight=w)
            assert value == pytest.approx(expected, rel=1e-9, abs=1e-9)
    median = huber_location(y, 0.0, sample_weight=weight)
    beta = reference_quantile(abs(y - median), weight, quantile)
    start = huber_location(y, beta, sample_weight=weight)
    assert model._baseline_prediction[0, 0] == start


@pytest.mark.parametrize("unit", [2.0**-30, 2.0**-10, 2.0**30])
@pytest.mark.parametrize("constraint", [None, [1, 0, 0]])
def test_defaults_do_not_depend_on_the_unit(unit, constraint):
    X, y, _ = sample()
    model = boosting(beta=None, monotonic_cst=constraint, early_stopping=True, random_state=0)
    expected, scores = model.fit(X, y).predict(X), model.validation_score_
    found = model.fit(X, y * unit).predict(X)
    np.testing.assert_allclose(found / unit, expected, rtol=1e-6)
    np.testing.assert_allclose(model.validation_score_, scores, rtol=1e-6)


def test_defaults_beat_the_gradient_boosting_of_scikit_learn():
    X, y, clean = sample(n=2000, outliers=0.05)
    ours = SmoothL1HistGradientBoostingRegressor().fit(X, y).predict(X)
    theirs = GradientBoostingRegressor(loss="huber", alpha=0.9).fit(X, y).predict(X)
    errors = [np.mean((pred - clean) ** 2) for pred in (ours, theirs)]
    assert errors[0] <= 1.05 * errors[1]


@pytest.mark.parametrize("warm", [False, True])
def test_scores_keep_the_first_threshold(warm):
    X, y, _ = sample()
    options = {"early_stopping": True, "validation_fraction": None, "n_iter_no_change": 50}
    model = boosting(beta=None, warm_start=warm, max_iter=10, **options).fit(X, y)
    if warm:
        model.set_params(max_iter=20).fit(X, y)
    start = model._baseline_prediction[0, 0]
    beta = reference_quantile(abs(y - huber_location(y, 0.0)), None, 0.9)
    stages = [np.full(len(y), start), *model.staged_predict(X)]
    expected = [-mean_smooth_l1_loss(y, stage, beta=beta) / beta for stage in stages]
    np.testing.assert_allclose(model.train_score_, expected, rtol=1e-12)
    assert model._loss.closs.beta < 0.6 * beta  # that of the fit has moved


def test_warm_start_continues_with_moving_thresholds():
    X, y, _ = sample()
    expected = boosting(beta=None, max_iter=15).fit(X, y).predict(X)
    model = boosting(beta=None, max_iter=5, warm_start=True).fit(X, y)
    found = model.set_params(max_iter=15).fit(X, y).predict(X)
    np.testing.assert_allclose(found, expected, rtol=1e-9)


def test_targets_of_which_most_are_equal():
    X, _, _ = sample()
    y = np.where(X[:, 0] > 0.95, 100.0 + X[:, 1], 7.0)
    found = boosting(beta=None, max_iter=100).fit(X, y).predict(X)
    assert np.mean(abs(found - y)) < 1


@pytest.mark.parametrize("target", [np.full(50, 7.0), np.r_[np.full(49, 7.0), 8.0], np.zeros(50)])
def test_constant_targets(target):
    found = boosting(beta=None).fit(np.arange(50.0)[:, np.newaxis], target).predict([[3.0]])
    assert found == pytest.approx(target[0], abs=0.01)


@pytest.mark.parametrize("beta", [None, 1.0])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_targets_that_are_not_finite(beta, bad):
    X, y, _ = sample(n=50)
    y[3] = bad
    with pytest.raises(ValueError, match="Input y contains"):
        boosting(beta=beta).fit(X, y)


@pytest.mark.parametrize("constraint", [None, [1, 0, 0]])
def test_odd_targets_and_weights(constraint):
    X, y, _ = sample(n=400)
    model = boosting(beta=None, monotonic_cst=constraint)
    expected = model.fit(X, y).predict(X)
    single = y.astype(np.float32)
    found = model.fit(X, single).predict(X)
    np.testing.assert_array_equal(found, model.fit(X, single.astype(float)).predict(X))
    assert np.mean(abs(found - expected)) < 0.1
    assert model.fit(X[:1], y[:1]).predict(X[:1]) == pytest.approx(y[0])
    for unit in (2.0**-90, 2.0**100):
        np.testing.assert_allclose(model.fit(X, y * unit).predict(X) / unit, expected, rtol=1e-6)
    weight = np.r_[np.ones(200), np.zeros(200)]
    wild = np.r_[y[:200], y[200:] + 1e6]
    first = model.fit(X, y, weight)._baseline_prediction[0, 0]
    assert model.fit(X, wild, weight)._baseline_prediction[0, 0] == first
    with pytest.raises(ValueError, match=r"sample_weight must be >= 0 and finite, got -1\.0"):
        model.fit(X, y, np.r_[-1.0, np.ones(399)])


@pytest.mark.parametrize(
    ("quantile", "error", "message"),
    [
        (0, ValueError, "quantile must be > 0 and <= 1, got 0"),
        (1.5, ValueError, "quantile"),
        ("half", (ValueError, TypeError), "quantile.*half"),
        (None, TypeError, "quantile must be a number, got None"),
    ],
)
def test_bad_quantiles(quantile, error, message):
    X, y, _ = sample(n=50)
    with pytest.raises(error, match=message):
        boosting(beta=None, quantile=quantile).fit(X, y)
    with pytest.raises(error, match="quantile"):
        SmoothL1BoostingLoss(None, quantile=quantile)


# ---------------------------------------------------------------------------
# The private parts of scikit-learn
# ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("owners", "name"),
    [
        ([sklearn_loss], "BaseLoss"),
        ([sklearn_link], "IdentityLink"),
        ([sklearn_loss.BaseLoss], "differentiable"),
        ([sklearn_loss.BaseLoss], "init_gradient_and_hessian"),
        ([HistGradientBoostingRegressor, *HistGradientBoostingRegressor.__bases__], "_get_loss"),
        ([gradient_boosting], "_update_leaves_values"),
    ],
)
def test_a_release_that_lacks_a_part_is_refused(owners, name, monkeypatch):
    for owner in owners:
        monkeypatch.delattr(owner, name, raising=False)
    with pytest.raises(ImportError, match=rf"in its releases 1\.6\.1 to .*{name}") as caught:
        ensemble._private_parts()
    assert f"does not work with {sklearn.__version__}" in str(caught.value)


def test_a_release_with_another_constructor_is_refused(monkeypatch):
    monkeypatch.setattr(sklearn_loss.BaseLoss, "__init__", lambda self, kernels, link: None)
    with pytest.raises(ImportError, match=r"private parts of scikit-learn.*closs"):
        ensemble._private_parts()


def test_the_parts_are_there():
    assert ensemble._private_parts() == (sklearn_loss.BaseLoss, sklearn_link.IdentityLink)
    assert issubclass(SmoothL1BoostingLoss, sklearn_loss.BaseLoss)
