"""Gradient boosting on targets with outliers: squared, absolute and Smooth L1 loss.

The targets of the diabetes data follow their features only loosely, so the errors of the test set
are shown over the number of trees, for clean training targets and with 10 % of them 10 times too
large. The squared error follows the outliers; the Smooth L1 loss keeps what it learns from small
residuals, of which the absolute error sees the signs alone. Without a beta its threshold is a
quantile of the residuals, anew in each iteration.

A search over beta is printed, too. Its score keeps a beta of its own: the loss at the beta of the
candidate is the smaller, the larger that is, and would choose the largest.

python docs/examples/boosting.py [PICTURE]
"""

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import GridSearchCV, KFold

from smoothl1.ensemble import SmoothL1HistGradientBoostingRegressor
from smoothl1.metrics import smooth_l1_scorer

TREES = 60
COMMON = {"max_iter": TREES, "learning_rate": 0.05, "max_leaf_nodes": 8, "min_samples_leaf": 10}


def models():
    """Return the models by name."""
    return {
        "squared error": HistGradientBoostingRegressor(**COMMON),
        "absolute error": HistGradientBoostingRegressor(loss="absolute_error", **COMMON),
        "Smooth L1, 0.9 of residuals quadratic": SmoothL1HistGradientBoostingRegressor(**COMMON),
        "Smooth L1, beta 50": SmoothL1HistGradientBoostingRegressor(beta=50.0, **COMMON),
    }


def errors(X, y, share):
    """Return the mean absolute test error after each tree, by model."""
    found = {name: np.zeros(TREES) for name in models()}
    folds = list(KFold(5, shuffle=True, random_state=0).split(X))
    rng = np.random.default_rng(0)
    for train, test in folds:
        soiled = y[train] * np.where(rng.random(len(train)) < share, 10, 1)
        for name, model in models().items():
            stages = model.fit(X[train], soiled).staged_predict(X[test])
            found[name] += [mean_absolute_error(y[test], stage) / len(folds) for stage in stages]
    return found


def search(X, y):
    """Return a search over beta; None is a quantile of the residuals."""
    return GridSearchCV(
        SmoothL1HistGradientBoostingRegressor(**COMMON),
        {"beta": [None, 1.0, 10.0, 50.0, 200.0, 1000.0]},
        scoring=smooth_l1_scorer(beta=50.0),
        cv=KFold(5, shuffle=True, random_state=0),
    ).fit(X, y)


def main():
    """Fit, and draw."""
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".svg")
    mpl.rcParams["svg.hashsalt"] = "smoothl1"
    X, y = load_diabetes(return_X_y=True)
    found = search(X, y * np.where(np.random.default_rng(0).random(len(y)) < 0.1, 10, 1))
    for options, score in zip(
        found.cv_results_["params"], found.cv_results_["mean_test_score"], strict=True
    ):
        print(f"beta {options['beta']}: loss {-score:.1f}")
    print(f"chosen: {found.best_params_['beta']}")
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    axes = figure.subplots(1, 2)
    for axis, share in zip(axes, (0.0, 0.1), strict=True):
        for name, values in errors(X, y, share).items():
            # Dashed, so that the curve below shows, which is nearly the same with outliers.
            style = {"linestyle": (0, (4, 4)), "linewidth": 2} if name.endswith("beta 50") else {}
            axis.plot(np.arange(1, TREES + 1), values, label=name, **style)
        axis.set_title(f"{100 * share:.0f} % of the training targets times 10")
        axis.set_xlabel("trees")
        axis.set_ylabel("mean absolute error on clean targets")
        axis.grid(alpha=0.3)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    figure.savefig(output, metadata={"Date": None})


if __name__ == "__main__":
    main()
