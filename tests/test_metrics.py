"""The metrics: scikit-learn's conventions, and its tools for scoring and selection."""

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn")

from sklearn import config_context, metrics
from sklearn.exceptions import UndefinedMetricWarning
from sklearn.linear_model import Ridge
from sklearn.metrics import make_scorer
from sklearn.model_selection import GridSearchCV, KFold, cross_val_score, cross_validate

from smoothl1 import huber_location
from smoothl1.metrics import d2_smooth_l1_score, mean_smooth_l1_loss, smooth_l1_scorer
from tests import reference

BOTH = pytest.mark.parametrize("metric", [mean_smooth_l1_loss, d2_smooth_l1_score])


@pytest.fixture
def targets(rng):
    y_true = rng.standard_normal((50, 3)) * [1, 10, 0.1]
    return y_true, y_true + rng.standard_cauchy((50, 3))


@pytest.mark.parametrize(
    ("y_true", "y_pred", "beta", "expected"),
    [
        ([0.0], [0.5], 1.0, 0.125),
        ([0.0], [-8.0], 1.0, 7.5),
        ([0.0, 0.0], [0.5, 8.0], 1.0, 3.8125),
        ([0.0, 0.0], [0.5, 8.0], 2.0, (0.0625 + 7.0) / 2),
        ([0.0, 0.0], [0.5, 8.0], 0.5, (0.25 + 7.75) / 2),
        ([0.0, 0.0], [0.5, 8.0], 0.0, 4.25),
        ([0.0, 0.0], [0.5, 8.0], np.inf, 0.0),
        ([1, 2, 3], [1, 2, 3], 1.0, 0.0),
        ([[0, 0], [0, 0]], [[0.5, 0], [8, 0]], 1.0, 3.8125 / 2),
    ],
)
def test_explicit_losses(y_true, y_pred, beta, expected):
    got = mean_smooth_l1_loss(y_true, y_pred, beta=beta)
    assert type(got) is float
    assert got == expected
    assert mean_smooth_l1_loss(y_pred, y_true, beta=beta) == expected


def test_beta_is_1_by_default(targets):
    for metric in (mean_smooth_l1_loss, d2_smooth_l1_score):
        assert metric(*targets) == metric(*targets, beta=1.0)
        assert metric(*targets) != metric(*targets, beta=1.01)


def test_weights_divide_by_their_sum():
    y_true, y_pred = [0.0, 0.0, 0.0], [0.5, 8.0, 100.0]
    assert mean_smooth_l1_loss(y_true, y_pred, sample_weight=[3, 1, 0]) == (0.375 + 7.5) / 4
    assert mean_smooth_l1_loss(y_true, y_pred, sample_weight=[0.75, 0.25, 0]) == (0.375 + 7.5) / 4
    # Negative weights are np.average's business, and so scikit-learn's.
    assert mean_smooth_l1_loss(y_true, y_pred, sample_weight=[3, -1, 0]) == (0.375 - 7.5) / 2


@pytest.mark.parametrize(
    ("y_true", "y_pred", "beta", "expected"),
    [
        # The best constant is 3, from which the losses are 1.5 + 0.5 + 0 + 0.5 + 96.5.
        ([1, 2, 3, 4, 100], [1, 2, 3, 4, 98], 1.0, 1 - 1.5 / 99),
        # 2.5 for the median; the sum of absolute deviations is 2.
        ([2, 3, 2, 3], [2, 3, 2, 4], 0.0, 0.5),
        # 2.5 for the mean; squares 5 against 0.25.
        ([1, 2, 3, 4], [1, 2, 3, 4.5], 100.0, 0.95),
        ([1, 2, 3, 4], [1, 2, 3, 4.5], np.inf, 0.95),
        ([1, 2, 3, 4], [1, 2, 3, 4], 1.0, 1.0),
        ([1, 2, 3, 4], [4, 3, 2, 1], np.inf, -3.0),
    ],
)
def test_explicit_scores(y_true, y_pred, beta, expected):
    got = d2_smooth_l1_score(y_true, y_pred, beta=beta)
    assert type(got) is float
    assert got == pytest.approx(expected, rel=1e-15)


@pytest.mark.parametrize("beta", [0.0, 0.3, 1.0, 1e6, np.inf])
@pytest.mark.parametrize("weighted", [False, True])
def test_the_best_constant_scores_0(beta, weighted, rng):
    y = rng.standard_cauchy(101)
    weights = rng.uniform(0, 2, 101) if weighted else None
    best = huber_location(y, beta, sample_weight=weights)
    for shift, at_most in ((0.0, 1e-15), (0.1, -1e-9), (-0.1, -1e-9)):
        constant = np.full(101, best + shift)
        score = d2_smooth_l1_score(y, constant, sample_weight=weights, beta=beta)
        assert score <= at_most
        assert score > -0.1 if shift else abs(score) < 1e-15


MULTIOUTPUTS = pytest.mark.parametrize(
    "multioutput",
    ["raw_values", "uniform_average", [0.2, 0.5, 0.3], np.array([3, 0, 1]), (1.0, -0.25, 4.0)],
    ids=str,
)


def assert_agrees(got, expected, rel=1e-12):
    if isinstance(expected, float):
        assert type(got) is float
    else:
        assert type(got) is np.ndarray
        assert got.dtype == np.float64
        assert got.shape == expected.shape
    np.testing.assert_allclose(got, expected, rtol=rel)


@MULTIOUTPUTS
@pytest.mark.parametrize("weighted", [False, True])
def test_beta_0_is_the_absolute_error(multioutput, weighted, targets, rng):
    options = {"sample_weight": rng.uniform(0, 2, 50) if weighted else None}
    options["multioutput"] = multioutput
    expected = metrics.mean_absolute_error(*targets, **options)
    assert_agrees(mean_smooth_l1_loss(*targets, beta=0, **options), expected)
    expected = metrics.d2_absolute_error_score(*targets, **options)
    assert_agrees(d2_smooth_l1_score(*targets, beta=0, **options), expected)


@MULTIOUTPUTS
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("beta", [2.0**20, 1e100, 1e300])
def test_large_beta_is_the_squared_error(multioutput, weighted, beta, targets, rng):
    options = {"sample_weight": rng.uniform(0, 2, 50) if weighted else None}
    options["multioutput"] = multioutput
    squared = metrics.mean_squared_error(*targets, **options)
    got = mean_smooth_l1_loss(*targets, beta=beta, **options)
    assert_agrees(got * 2 * beta, squared)
    for threshold in (beta, 1.7e308, np.inf):
        got = d2_smooth_l1_score(*targets, beta=threshold, **options)
        assert_agrees(got, metrics.r2_score(*targets, **options))


def test_infinite_beta_scores_each_output_at_its_own_scale(targets):
    y_true, y_pred = targets
    scales = np.array([1e-150, 1.0, 1e150])
    got = d2_smooth_l1_score(
        y_true * scales, y_pred * scales, beta=np.inf, multioutput="raw_values"
    )
    np.testing.assert_allclose(got, metrics.r2_score(*targets, multioutput="raw_values"))


@pytest.mark.parametrize("beta", [0.0, 0.2, 1.0, 3.0])
@pytest.mark.parametrize("weighted", [False, True])
def test_against_the_twin(beta, weighted, targets, rng):
    y_true, y_pred = targets
    weights = rng.uniform(0, 2, 50) if weighted else None
    options = {"sample_weight": weights, "beta": beta, "multioutput": "raw_values"}
    losses = np.average(reference.values(y_pred, y_true, beta), axis=0, weights=weights)
    assert_agrees(mean_smooth_l1_loss(*targets, **options), losses)
    best = np.array([huber_location(y, beta, sample_weight=weights) for y in y_true.T])
    null = np.average(reference.values(best, y_true, beta), axis=0, weights=weights)
    assert_agrees(d2_smooth_l1_score(*targets, **options), 1 - losses / null)


@BOTH
def test_each_output_as_if_alone(metric, targets, rng):
    y_true, y_pred = targets
    for weights in (None, rng.uniform(0, 2, 50)):
        raw = metric(y_true, y_pred, sample_weight=weights, multioutput="raw_values")
        alone = [
            metric(y_true[:, k], y_pred[:, k], sample_weight=weights, multioutput="raw_values")
            for k in range(3)
        ]
        np.testing.assert_allclose(raw, np.concatenate(alone), rtol=1e-14)
        for k in range(3):
            one = metric(y_true[:, k], y_pred[:, k], sample_weight=weights)
            assert type(one) is float
            assert one == alone[k][0]
            assert one == metric(y_true[:, [k]], y_pred[:, k], sample_weight=weights)
            assert one == metric(
                y_true[:, k], y_pred[:, [k]], sample_weight=weights, multioutput=[4.0]
            )


@BOTH
@pytest.mark.parametrize("kind", [list, tuple, np.array])
def test_a_beta_for_each_output(metric, kind, targets, rng):
    y_true, y_pred = targets
    betas = [0.5, 0.0, 3.0]
    for weights in (None, rng.uniform(0, 2, 50)):
        found = metric(
            y_true, y_pred, sample_weight=weights, beta=kind(betas), multioutput="raw_values"
        )
        alone = [
            metric(y_true[:, k], y_pred[:, k], sample_weight=weights, beta=beta)
            for k, beta in enumerate(betas)
        ]
        np.testing.assert_allclose(found, alone, rtol=1e-14)
        mean = metric(y_true, y_pred, sample_weight=weights, beta=kind(betas))
        assert type(mean) is float
        assert mean == pytest.approx(np.mean(alone), rel=1e-14)
    one = metric(y_true[:, 0], y_pred[:, 0], beta=kind([0.5]))
    assert type(one) is float
    assert one == metric(y_true[:, 0], y_pred[:, 0], beta=0.5)
    equal = metric(y_true, y_pred, beta=kind([0.5] * 3))
    assert equal == metric(y_true, y_pred, beta=0.5)


@BOTH
def test_integer_weights_repeat(metric, targets, rng):
    y_true, y_pred = targets
    weights = rng.integers(0, 4, 50)
    got = metric(y_true, y_pred, sample_weight=weights, multioutput="raw_values")
    repeated = (np.repeat(y, weights, axis=0) for y in targets)
    np.testing.assert_allclose(got, metric(*repeated, multioutput="raw_values"), rtol=1e-13)


@BOTH
def test_kinds_of_input(metric, targets):
    y_true, y_pred = (np.round(8 * y) / 8 for y in targets)
    weights = np.arange(50) % 3
    expected = metric(y_true, y_pred, sample_weight=weights)
    assert metric(y_true.tolist(), y_pred.tolist(), sample_weight=weights.tolist()) == expected
    assert metric(tuple(map(tuple, y_true)), y_pred, sample_weight=tuple(weights)) == expected
    assert metric(np.asfortranarray(y_true), y_pred[::-1][::-1], sample_weight=weights) == expected
    swapped = (y.astype(">f8") for y in (y_true, y_pred))
    assert metric(*swapped, sample_weight=weights.astype(">i2")) == expected
    y_true.flags.writeable = y_pred.flags.writeable = weights.flags.writeable = False
    assert metric(y_true, y_pred, sample_weight=weights) == expected
    whole, guess = np.array([1, 5, 2]), np.array([True, False, True])
    assert metric(whole, guess) == metric(whole.astype(float), guess.astype(float))


@BOTH
def test_pandas(metric, targets):
    pandas = pytest.importorskip("pandas")
    y_true, y_pred = targets
    weights = np.arange(50) % 3 + 0.5
    index = range(100, 150)
    got = metric(
        pandas.DataFrame(y_true, index=index),
        pandas.DataFrame(y_pred),  # rows go by position, as in scikit-learn
        sample_weight=pandas.Series(weights, index=index),
        multioutput=pandas.Series([0.5, 0.25, 0.25]),
    )
    assert got == metric(y_true, y_pred, sample_weight=weights, multioutput=[0.5, 0.25, 0.25])
    series = pandas.Series(y_true[:, 0], index=index)
    assert metric(series, y_pred[:, 0]) == metric(y_true[:, 0], y_pred[:, 0])


@BOTH
@pytest.mark.parametrize("dtypes", ["ffd", "fdf", "dff", "fff", "ffi", "eed"])
def test_narrow_and_mixed_dtypes(metric, dtypes, targets):
    arrays = [*(np.round(8 * y.clip(-100, 100)) / 8 for y in targets), np.arange(50.0) % 3]
    y_true, y_pred, weights = (a.astype(t) for a, t in zip(arrays, dtypes, strict=True))
    expected = metric(*arrays[:2], sample_weight=arrays[2])
    got = metric(y_true, y_pred, sample_weight=weights)
    assert type(got) is float
    assert got == pytest.approx(expected, rel=1e-5)
    if "d" in dtypes:  # as wide as the widest
        assert got == pytest.approx(expected, rel=1e-14)
    assert metric(y_true, y_pred) == pytest.approx(metric(*arrays[:2]), rel=1e-5)


@pytest.mark.parametrize("factor", [1e-60, 1e60])
def test_weights_beyond_the_range_of_single_values(factor):
    y_true, y_pred = np.float32([1, 2, 3]), np.float32([1, 2, 5])
    weights = np.array([1, 1, 2]) * factor
    assert mean_smooth_l1_loss(y_true, y_pred, sample_weight=weights) == pytest.approx(0.75)
    assert d2_smooth_l1_score(y_true, y_pred, sample_weight=weights) == pytest.approx(
        d2_smooth_l1_score(y_true, y_pred, sample_weight=[1, 1, 2])
    )


def test_losses_beyond_the_range_of_single_values():
    y_true = np.float32([3e38, -3e38])
    assert mean_smooth_l1_loss(y_true, np.float32([1e38, -1e38])) == pytest.approx(2e38)
    assert mean_smooth_l1_loss(y_true, -y_true) == np.inf
    assert mean_smooth_l1_loss(y_true, -y_true.astype(float)) == pytest.approx(6e38)
    half = np.float16([60000, -60000])
    assert mean_smooth_l1_loss(half, -half) == 119999.5  # scikit-learn's own overflow


@pytest.mark.parametrize("beta", [0.0, 1e-3, 1.0, np.inf])
@pytest.mark.parametrize("value", [0.0, 0.1, 1e9 / 3, -1e300])
def test_constant_outputs(beta, value):
    y_true = np.full(7, value)
    wrong = y_true.copy()
    wrong[3] += 1 + abs(value) / 100
    assert d2_smooth_l1_score(y_true, y_true, beta=beta) == 1.0
    assert d2_smooth_l1_score(y_true, wrong, beta=beta) == 0.0
    assert metrics.d2_absolute_error_score(y_true, wrong) == 0.0
    table = np.column_stack([y_true, y_true, np.arange(7)])
    guess = np.column_stack([y_true, wrong, np.arange(7)])
    raw = d2_smooth_l1_score(table, guess, beta=beta, multioutput="raw_values")
    assert raw.tolist() == [1.0, 0.0, 1.0]
    # Constant where there is weight.
    mixed, weights = np.append(y_true, 5.0), np.append(np.full(7, 0.3), 0.0)
    assert d2_smooth_l1_score(mixed, mixed + 1e300, sample_weight=weights, beta=beta) == 0.0
    mixed_wrong = np.append(y_true, 6.0)
    assert d2_smooth_l1_score(mixed, mixed_wrong, sample_weight=weights, beta=beta) == 1.0


@pytest.mark.parametrize("shape", [(1,), (1, 1), (1, 3)])
@pytest.mark.parametrize("multioutput", ["raw_values", "uniform_average"])
def test_one_sample_has_no_score(shape, multioutput):
    y = np.ones(shape)
    message = "D.2 score is not well-defined with less than two samples"
    with pytest.warns(UndefinedMetricWarning, match=message) as record:
        got = d2_smooth_l1_score(y, y + 1, multioutput=multioutput)
    assert record[0].filename == __file__
    assert type(got) is float
    assert np.isnan(got)
    with pytest.warns(UndefinedMetricWarning, match=message):
        assert np.isnan(metrics.d2_absolute_error_score(y, y + 1, multioutput=multioutput))
    assert mean_smooth_l1_loss(y, y + 1) == 0.5


def test_scores_do_not_depend_on_the_unit(targets):
    y_true, y_pred = targets
    expected = d2_smooth_l1_score(y_true, y_pred, beta=0.7, multioutput="raw_values")
    for factor in (2.0**-500, 0.25, 2.0**500):
        got = d2_smooth_l1_score(
            y_true * factor, y_pred * factor, beta=0.7 * factor, multioutput="raw_values"
        )
        np.testing.assert_array_equal(got, expected)


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y_true": [1.0, np.nan, 2.0]}, "Input y_true contains NaN"),
        ({"y_pred": [1.0, np.inf, 2.0]}, "Input y_pred contains infinity"),
        ({"y_pred": [1.0, 2.0]}, r"inconsistent numbers of samples: \[3, 2\]"),
        ({"y_true": [], "y_pred": []}, r"0 sample\(s\) \(shape=\(0,\)\)"),
        ({"y_true": np.ones((3, 2))}, "must have the same number of outputs, got 2 and 1"),
        ({"y_true": np.ones((3, 2, 2))}, "Found array with dim 3"),
        ({"y_true": ["a", "b", "c"]}, "could not convert string to float: 'a'"),
        ({"y_true": np.ones(3) * 1j}, "Complex data not supported"),
        ({"sample_weight": [1, 2]}, r"inconsistent numbers of samples: \[3, 3, 2\]"),
        ({"sample_weight": [1, np.nan, 1]}, "Input sample_weight contains NaN"),
        ({"sample_weight": [1, np.inf, 1]}, "Input sample_weight contains infinity"),
        ({"sample_weight": [[1], [1], [1]]}, r"sample_weight must be 1-D, got shape \(3, 1\)"),
        ({"sample_weight": [0, 0, 0]}, "sample_weight must not sum to 0"),
        ({"sample_weight": [1, -2, 1]}, "sample_weight must not sum to 0"),
        ({"beta": -1.0}, r"beta must be a number >= 0, or one for .* 1 outputs, got -1\.0"),
        ({"beta": np.nan}, "beta must be a number >= 0, .*, got nan"),
        ({"beta": [1.0, 2.0]}, r"one for each of the 1 outputs, got an array of shape \(2,\)"),
        ({"beta": [[1.0]]}, r"one for each of the 1 outputs, got an array of shape \(1, 1\)"),
        ({"beta": [-1.0]}, r"beta must be a number >= 0, .*, got -1\.0"),
        (
            {"multioutput": "variance_weighted"},
            "multioutput must be one of 'raw_values', 'uniform_average' or an array of weights, "
            "got 'variance_weighted'",
        ),
        ({"multioutput": [1, 2]}, r"a weight for each of the 1 outputs, got shape \(2,\)"),
        ({"multioutput": [[1]]}, r"a weight for each of the 1 outputs, got shape \(1, 1\)"),
        ({"multioutput": 1.0}, r"a weight for each of the 1 outputs, got shape \(\)"),
        ({"multioutput": [0.0]}, r"multioutput must be finite and not sum to 0, got \[0\.0\]"),
        ({"multioutput": [np.nan]}, r"multioutput must be finite and not sum to 0, got \[nan\]"),
        ({"multioutput": [-np.inf]}, r"multioutput must be finite and not sum to 0, got \[-inf\]"),
    ],
)
def test_bad_values(metric, options, message):
    arguments = {"y_true": [1.0, 2.0, 3.0], "y_pred": [1.0, 2.0, 4.0], **options}
    with pytest.raises(ValueError, match=message):
        metric(arguments.pop("y_true"), arguments.pop("y_pred"), **arguments)


@BOTH
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"y_true": 1.0}, "Expected sequence or array-like, got"),
        ({"sample_weight": 1.0}, "Expected sequence or array-like, got"),
        ({"beta": "1"}, "beta must be a number >= 0, or one for each of the 1 outputs, got '1'"),
        ({"beta": None}, "beta must be a number >= 0, or one for each of the 1 outputs, got None"),
        ({"multioutput": None}, r"multioutput \(builtins.NoneType\) has dtype object"),
        ({"multioutput": ["raw_values"]}, "multioutput has dtype <U10"),
    ],
)
def test_bad_types(metric, options, message):
    arguments = {"y_true": [1.0, 2.0, 3.0], "y_pred": [1.0, 2.0, 4.0], **options}
    with pytest.raises(TypeError, match=message):
        metric(arguments.pop("y_true"), arguments.pop("y_pred"), **arguments)


@BOTH
def test_sparse_targets_are_refused(metric):
    sparse = pytest.importorskip("scipy.sparse")
    with pytest.raises(TypeError, match="Sparse data was passed for y_true"):
        metric(sparse.csr_array([[1.0], [2.0]]), np.ones((2, 1)))


@BOTH
def test_options_are_keywords(metric):
    with pytest.raises(TypeError, match="positional"):
        metric([1.0, 2.0], [1.0, 2.0], [1.0, 1.0])


def test_negative_weights_have_no_best_constant():
    with pytest.raises(ValueError, match=r"sample_weight must be >= 0 .*, got -1\.0 at index 1"):
        d2_smooth_l1_score([1, 2, 3], [1, 2, 4], sample_weight=[1, -1, 1])


@BOTH
def test_inputs_are_left_alone(metric, targets):
    y_true, y_pred = (y.astype(np.float32) for y in targets)
    weights, shares = np.arange(50.0) % 3, np.array([1.0, 2.0, 3.0])
    given = y_true, y_pred, weights, shares
    copies = [a.copy() for a in given]
    first = metric(y_true, y_pred, sample_weight=weights, multioutput=shares)
    assert metric(y_true, y_pred, sample_weight=weights, multioutput=shares) == first
    for a, copy in zip(given, copies, strict=True):
        np.testing.assert_array_equal(a, copy)


@pytest.fixture
def data(rng):
    X = rng.standard_normal((90, 4))
    y = X @ [1.0, -2.0, 0.5, 3.0] + 0.5 * rng.standard_cauchy(90)
    return X, y, rng.integers(0, 3, 90).astype(float)


LOSS = smooth_l1_scorer(beta=0.5)
SCORE = make_scorer(d2_smooth_l1_score, beta=0.5)
CV = KFold(3)


def by_hand(metric, data, weighted=False, alpha=1.0):
    """The metric at beta=0.5 of each fold."""
    X, y, weights = data
    results = []
    for train, test in CV.split(X):
        model = Ridge(alpha).fit(X[train], y[train], weights[train] if weighted else None)
        some = weights[test] if weighted else None
        results.append(metric(y[test], model.predict(X[test]), sample_weight=some, beta=0.5))
    return np.array(results)


def test_scorers(data):
    X, y, weights = data
    model = Ridge().fit(X, y)
    guess = model.predict(X)
    for scorer, metric, sign in ((LOSS, mean_smooth_l1_loss, -1), (SCORE, d2_smooth_l1_score, 1)):
        expected = sign * metric(y, guess, beta=0.5)
        assert scorer(model, X, y) == expected
        assert pickle.loads(pickle.dumps(scorer))(model, X, y) == expected
        expected = sign * metric(y, guess, sample_weight=weights, beta=0.5)
        assert scorer(model, X, y, sample_weight=weights) == expected


def test_the_scorer_says_what_it_is(data):
    X, y, _ = data
    scorer = smooth_l1_scorer(beta=2)
    assert "mean_smooth_l1_loss" in repr(scorer)
    assert "beta=2.0" in repr(scorer)
    assert repr(pickle.loads(pickle.dumps(scorer))) == repr(scorer)
    model = Ridge().fit(X, y)
    assert smooth_l1_scorer()(model, X, y) == -mean_smooth_l1_loss(y, model.predict(X))
    table = np.column_stack([y, 5 * y])
    both = Ridge().fit(X, table)
    expected = -mean_smooth_l1_loss(table, both.predict(X), beta=[1.0, 5.0])
    assert smooth_l1_scorer([1.0, 5.0])(both, X, table) == expected


@pytest.mark.parametrize(
    ("beta", "error", "message"),
    [
        (-1.0, ValueError, "beta must be a number >= 0, or one for each output, got -1.0"),
        ([1.0, np.nan], ValueError, "or one for each output, got nan"),
        ([[1.0]], ValueError, r"or one for each output, got an array of shape \(1, 1\)"),
        ("auto", TypeError, "beta must be a number >= 0, or one for each output, got 'auto'"),
        (None, TypeError, "beta must be a number >= 0, or one for each output, got None"),
    ],
)
def test_bad_betas_of_the_scorer(beta, error, message):
    with pytest.raises(error, match=message):
        smooth_l1_scorer(beta)


def test_a_search_over_beta_has_a_score_that_stays(data):
    from smoothl1.ensemble import SmoothL1HistGradientBoostingRegressor

    X, y, _ = data
    betas = [0.01, 1.0, 1e4]
    model = SmoothL1HistGradientBoostingRegressor(max_iter=5, min_samples_leaf=5)
    search = GridSearchCV(model, {"beta": betas}, scoring=LOSS, cv=CV).fit(X, y)
    for beta, mean in zip(betas, search.cv_results_["mean_test_score"], strict=True):
        scores = []
        for train, test in CV.split(X):
            model.set_params(beta=beta).fit(X[train], y[train])
            scores.append(-mean_smooth_l1_loss(y[test], model.predict(X[test]), beta=0.5))
        assert mean == pytest.approx(np.mean(scores), rel=1e-12)


def test_cross_validation(data):
    X, y, _ = data
    scores = cross_validate(Ridge(), X, y, scoring={"loss": LOSS, "score": SCORE}, cv=CV)
    np.testing.assert_array_equal(scores["test_loss"], -by_hand(mean_smooth_l1_loss, data))
    np.testing.assert_array_equal(scores["test_score"], by_hand(d2_smooth_l1_score, data))
    table = np.column_stack([y, -2 * y])
    both = cross_val_score(Ridge(), X, table, scoring=SCORE, cv=CV, error_score="raise")
    assert both.shape == (3,)
    assert (both <= 1).all()


@pytest.mark.parametrize(
    ("scorer", "metric", "sign"),
    [(LOSS, mean_smooth_l1_loss, -1), (SCORE, d2_smooth_l1_score, 1)],
    ids=["loss", "score"],
)
def test_grid_search_in_two_processes(scorer, metric, sign, data):
    X, y, _ = data
    alphas = [1e-3, 1e4]
    search = GridSearchCV(Ridge(), {"alpha": alphas}, scoring=scorer, cv=CV, n_jobs=2)
    search.fit(X, y)
    means = [sign * by_hand(metric, data, alpha=alpha).mean() for alpha in alphas]
    np.testing.assert_allclose(search.cv_results_["mean_test_score"], means, rtol=1e-12)
    assert search.best_params_ == {"alpha": 1e-3}


@pytest.mark.parametrize(
    ("scorer", "metric", "sign"),
    [(LOSS, mean_smooth_l1_loss, -1), (SCORE, d2_smooth_l1_score, 1)],
    ids=["loss", "score"],
)
def test_weights_are_routed(scorer, metric, sign, data):
    X, y, weights = data
    with config_context(enable_metadata_routing=True):
        model = Ridge().set_fit_request(sample_weight=True)
        asking = pickle.loads(pickle.dumps(scorer)).set_score_request(sample_weight=True)
        scores = cross_validate(
            model, X, y, scoring=asking, cv=CV, params={"sample_weight": weights}
        )["test_score"]
        np.testing.assert_allclose(scores, sign * by_hand(metric, data, True), rtol=1e-12)
        search = GridSearchCV(model, {"alpha": [1.0]}, scoring=asking, cv=CV, n_jobs=2)
        search.fit(X, y, sample_weight=weights)
        assert search.best_score_ == pytest.approx(scores.mean(), rel=1e-12)
        plain = pickle.loads(pickle.dumps(scorer)).set_score_request(sample_weight=False)
        unweighted = cross_validate(
            model, X, y, scoring=plain, cv=CV, params={"sample_weight": weights}
        )["test_score"]
        assert (unweighted != scores).all()


def test_masks_are_not_lost():
    y = [1.0, 2.0, 3.0]
    masked = np.ma.array([1.0, 9e9, 3.0], mask=[0, 1, 0])
    for arguments in ((masked, y, None), (y, masked, None), (y, y, masked)):
        with pytest.raises(TypeError, match="is masked, and its mask would be lost"):
            mean_smooth_l1_loss(*arguments[:2], sample_weight=arguments[2])
    with pytest.raises(TypeError, match="y_true is masked"):
        mean_smooth_l1_loss([masked, masked], np.ones((2, 3)))
    with pytest.raises(TypeError, match="y_pred is masked"):
        d2_smooth_l1_score(y, masked)
