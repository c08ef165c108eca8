"""Print the goals of speed of the estimators, each with the ratio that is measured here.

Both sides of a ratio run in one process, in turn, and the shortest time of each counts.

    python asv_bench/report_estimators.py            # needs scikit-learn
    python asv_bench/report_estimators.py --rows location linear
"""

import argparse
import time
import warnings

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
        yield f"huber_location, 10⁶, {name}", "np.median", 1.5, ours / theirs


def measure_metrics():
    """Compare the metric with scikit-learn's simplest, for 1000 samples."""
    from sklearn.metrics import mean_absolute_error

    from smoothl1.metrics import mean_smooth_l1_loss

    a, b = np.random.default_rng(0).normal(size=(2, 1000))
    calls = [lambda: mean_smooth_l1_loss(a, b), lambda: mean_absolute_error(a, b)]
    ours, theirs = turns(calls, 2000)
    yield "mean_smooth_l1_loss, 1000", "mean_absolute_error", 1.0, ours / theirs


def compare_linear(X, y, repeats):
    """Return the ratio of fit times, for the loss that HuberRegressor arrives at."""
    from sklearn.linear_model import HuberRegressor

    from smoothl1.linear_model import SmoothL1Regressor

    huber = HuberRegressor().fit(X, y)
    model = SmoothL1Regressor(
        beta=huber.epsilon * huber.scale_, alpha=huber.alpha / (huber.epsilon * len(y))
    )
    ours, theirs = turns([lambda: model.fit(X, y), lambda: huber.fit(X, y)], repeats)
    return ours / theirs


def measure_linear():
    """Compare the regressor with HuberRegressor, which also estimates a scale."""
    for name, goal, repeats, data in (
        ("10⁵ × 20", 0.5, 5, regression(10**5, 20)),
        ("10⁵ × 20, scales 1 to 10³", 0.05, 3, regression(10**5, 20, np.logspace(0, 3, 20))),
        ("600 × 600", 1.0, 9, regression(600, 600)),
        ("1000 × 1000", 1.0, 5, regression(1000, 1000)),
    ):
        ratio = compare_linear(*data, repeats)
        yield f"SmoothL1Regressor, {name}", "HuberRegressor", goal, ratio


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
            mark = " ✗" * (ratio > goal)
            print(f"| {what} | {against} | ≤ {goal} | {ratio:.3g}{mark} |", flush=True)


if __name__ == "__main__":
    main()
