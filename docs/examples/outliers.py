"""Outliers in the targets: least squares, HuberRegressor and SmoothL1Regressor.

Some of the training targets of the diabetes data are multiplied by 10, as if they had come in
another unit; the error is that on clean targets. HuberRegressor estimates a scale beside the
coefficients, which grows with the share of outliers; so does SmoothL1Regressor at its defaults,
with the same result. Here it takes the scale from the median absolute residual of a median fit.

python docs/examples/outliers.py [PICTURE]
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes
from sklearn.linear_model import HuberRegressor, LinearRegression
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from smoothl1.linear_model import SmoothL1Regressor
from smoothl1.metrics import mean_smooth_l1_loss

SHARES = np.linspace(0.0, 0.4, 9)
BMI = 2


def soil(y, share, rng):
    """Return the targets, some of them 10 times too large."""
    y = y.copy()
    y[rng.random(len(y)) < share] *= 10
    return y


def models():
    """Return the models by name."""
    return {
        "least squares": LinearRegression(),
        "HuberRegressor": HuberRegressor(max_iter=1000),
        'SmoothL1Regressor, scale="mad"': SmoothL1Regressor(scale="mad"),
    }


def errors(X, y):
    """Return the cross-validated loss on clean targets, by model and share of outliers."""
    found = {name: np.zeros(len(SHARES)) for name in models()}
    folds = list(KFold(10, shuffle=True, random_state=0).split(X))
    for k, share in enumerate(SHARES):
        for fold, (train, test) in enumerate(folds):
            soiled = soil(y[train], share, np.random.default_rng(fold))
            for name, model in models().items():
                predicted = model.fit(X[train], soiled).predict(X[test])
                found[name][k] += mean_smooth_l1_loss(y[test], predicted, beta=30) / len(folds)
    return found


def main():
    """Fit, and draw."""
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".svg")
    mpl.rcParams["svg.hashsalt"] = "smoothl1"
    X, y = load_diabetes(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)

    x = X[:, [BMI]]
    soiled = soil(y, 0.1, np.random.default_rng(0))
    left.scatter(x, soiled, s=8, color="0.6")
    grid = np.linspace(x.min(), x.max(), 2)[:, np.newaxis]
    # Dashes, that a line above another hides nothing.
    for (name, model), style in zip(models().items(), ("-", "-", "--"), strict=True):
        predicted = model.fit(x, soiled).predict(grid)
        left.plot(grid, predicted, label=name, linewidth=2, linestyle=style)
    left.set_ylim(0, 800)
    left.set_xlabel("body mass index, standardised")
    left.set_ylabel("progression")
    left.set_title("one feature, 10 % of the targets times 10")

    for name, values in errors(X, y).items():
        right.plot(100 * SHARES, values, marker="o", label=name)
    right.set_xlabel("soiled training targets, %")
    right.set_ylabel("mean Smooth L1 loss on clean targets, beta 30")
    right.set_title("all features, 10 folds")
    right.set_yscale("log")
    for axis in (left, right):
        axis.grid(alpha=0.3)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3)
    figure.savefig(output, metadata={"Date": None})


if __name__ == "__main__":
    main()
