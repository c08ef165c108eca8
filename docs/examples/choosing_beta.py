"""Choosing beta: the loss along a path, and the cross-validated error of the fits.

Left: the losses of the predictions that come with the package, for 60 betas in one pass over them
(``smooth_l1_path``), and the share of residuals in the quadratic piece. A beta is chosen in the
units of the targets; where it exceeds all residuals, the loss is half the mean square over beta.

Right: the error on clean targets of SmoothL1Regressor, by the beta of the fit in the units of the
targets (``scale=None``), where 10 % of the training targets are 10 times too large. Its defaults
estimate the scale of the residuals and take 1.35 times that; with ``scale="mad"``, the median
absolute residual of a median fit, outliers hardly touch the scale.

python docs/examples/choosing_beta.py [PICTURE]
"""

import sys
from importlib.resources import as_file, files
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from sklearn.datasets import load_diabetes
from sklearn.metrics import mean_absolute_error
from sklearn.model_selection import KFold
from sklearn.preprocessing import StandardScaler

from smoothl1 import smooth_l1_path
from smoothl1.linear_model import SmoothL1Regressor

BETAS = np.geomspace(1, 3000, 30)


def sample(name):
    """Return an array that comes with the package."""
    with as_file(files("smoothl1") / "data" / f"diabetes_{name}.npy") as path:
        return np.load(path)


def main():
    """Fit, and draw."""
    output = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_suffix(".svg")
    mpl.rcParams["svg.hashsalt"] = "smoothl1"
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)

    predictions, targets = sample("predictions"), sample("targets")
    residual = np.abs(predictions - targets)
    betas = np.geomspace(1, 3000, 60)
    left.plot(betas, smooth_l1_path(predictions, targets, betas), linewidth=2)
    left.set_ylabel("mean loss", color="C0")
    share = left.twinx()
    share.plot(betas, [100 * np.mean(residual < beta) for beta in betas], color="C1")
    share.set_ylabel("residuals in the quadratic piece, %", color="C1")
    left.set_title("predictions that are given")

    X, y = load_diabetes(return_X_y=True)
    X = StandardScaler().fit_transform(X)
    rng = np.random.default_rng(0)
    folds = list(KFold(10, shuffle=True, random_state=0).split(X))
    errors = np.zeros(len(BETAS))
    for train, test in folds:
        soiled = y[train] * np.where(rng.random(len(train)) < 0.1, 10, 1)
        for k, beta in enumerate(BETAS):
            model = SmoothL1Regressor(beta=beta, scale=None).fit(X[train], soiled)
            errors[k] += mean_absolute_error(y[test], model.predict(X[test])) / len(folds)
    soiled = y * np.where(rng.random(len(y)) < 0.1, 10, 1)
    right.plot(BETAS, errors, marker="o")
    for scale, style in (("huber", "-."), ("mad", "--")):
        model = SmoothL1Regressor(scale=scale).fit(X, soiled)
        threshold = model.beta * model.scale_
        right.axvline(threshold, color="0.4", linestyle=style, label=f'scale="{scale}"')
    right.set_ylabel("mean absolute error on clean targets")
    right.set_title("fits to targets with outliers")
    right.legend()
    for axis in (left, right):
        axis.set_xscale("log")
        axis.set_xlabel("beta")
        axis.grid(alpha=0.3)
    figure.savefig(output, metadata={"Date": None})


if __name__ == "__main__":
    main()
