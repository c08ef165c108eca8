"""Location, metric and regressors beside what scikit-learn and NumPy have; n/a without them."""

import warnings

import numpy as np

from .common import function


def regression(n, p):
    """Return features and targets with heavy-tailed noise."""
    rng = np.random.default_rng(0)
    X = rng.normal(size=(n, p))
    return X, X @ rng.normal(size=p) + rng.standard_t(2, size=n)


def imported(module, name):
    """Return an attribute of a module; n/a where either is missing."""
    try:
        return getattr(__import__(module, fromlist=[name]), name)
    except (ImportError, AttributeError):
        raise NotImplementedError(f"no {module}.{name} here") from None


class Location:
    """Huber location of 10**6 elements; "median" is NumPy's, the control."""

    params = [["0", "1", "100", "median"], [False, True]]
    param_names = ["beta", "weighted"]

    def setup(self, beta, weighted):
        rng = np.random.default_rng(0)
        y = rng.standard_t(2, size=10**6)
        weight = rng.random(10**6) if weighted else None
        if beta == "median":
            if weighted:
                raise NotImplementedError("NumPy's median takes no weights")
            self.call = lambda: np.median(y)
        else:
            locate = function("huber_location")
            self.call = lambda: locate(y, float(beta), sample_weight=weight)

    def time_location(self, beta, weighted):
        """Seconds of the Huber location of a million elements."""
        self.call()


class Metric:
    """Mean loss of 1000 samples; "mean_absolute_error" is scikit-learn's, the control."""

    params = [["mean_smooth_l1_loss", "d2_smooth_l1_score", "mean_absolute_error"]]
    param_names = ["metric"]

    def setup(self, metric):
        module = "sklearn.metrics" if metric == "mean_absolute_error" else "smoothl1.metrics"
        self.metric = imported(module, metric)
        self.y = np.random.default_rng(0).normal(size=(2, 1000))

    def time_metric(self, metric):
        """Seconds of a metric of a thousand samples."""
        self.metric(*self.y)


class LinearModel:
    """One fit, by scale, beta or solver; "HuberRegressor" is scikit-learn's, the control."""

    params = [
        ["huber", "mad", "beta 0", "lbfgs", "HuberRegressor"],
        ["100000 x 20", "600 x 600", "2000 x 200"],
    ]
    param_names = ["fit", "shape"]
    options = {
        "huber": {},
        "mad": {"scale": "mad"},
        "beta 0": {"beta": 0.0, "scale": None},
        "lbfgs": {"solver": "lbfgs"},
    }

    def setup(self, fit, shape):
        self.data = regression(*map(int, shape.split(" x ")))
        if fit == "HuberRegressor":
            self.model = imported("sklearn.linear_model", fit)()
            return
        try:
            self.model = imported("smoothl1.linear_model", "SmoothL1Regressor")(**self.options[fit])
        except TypeError:
            raise NotImplementedError("no estimated scale here") from None

    def time_fit(self, fit, shape):
        """Seconds of one fit of a linear model."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # some stop early
            self.model.fit(*self.data)


class Ensemble:
    """Gradient boosting, 20 trees on 50 000 samples; "absolute_error" is the control."""

    params = [["smooth_l1", "absolute_error"]]
    param_names = ["loss"]

    def setup(self, loss):
        self.data = regression(50_000, 10)
        if loss == "smooth_l1":
            name = "SmoothL1HistGradientBoostingRegressor"
            self.model = imported("smoothl1.ensemble", name)(max_iter=20)
        else:
            name = "HistGradientBoostingRegressor"
            self.model = imported("sklearn.ensemble", name)(loss=loss, max_iter=20)

    def time_fit(self, loss):
        """Seconds of one fit of 20 boosted trees to 50 000 samples."""
        self.model.fit(*self.data)


class BoostingLibraries:
    """Gradient boosting by LightGBM and XGBoost; their own robust losses are the controls."""

    params = [
        ["SmoothL1LGBMRegressor", "LightGBM's huber", "SmoothL1XGBRegressor", "XGBoost's huber"]
    ]
    param_names = ["regressor"]

    def setup(self, regressor):
        self.data = regression(20_000, 10)
        options = {"n_estimators": 20, "n_jobs": 1}
        if regressor == "SmoothL1LGBMRegressor":
            self.model = imported("smoothl1.lightgbm", regressor)(verbose=-1, **options)
        elif regressor == "SmoothL1XGBRegressor":
            self.model = imported("smoothl1.xgboost", regressor)(**options)
        elif regressor == "LightGBM's huber":
            model = imported("lightgbm", "LGBMRegressor")
            self.model = model(objective="huber", verbose=-1, **options)
        else:
            model = imported("xgboost", "XGBRegressor")
            self.model = model(objective="reg:pseudohubererror", **options)

    def time_fit(self, regressor):
        """Seconds of one fit of 20 boosted trees to 20 000 samples."""
        self.model.fit(*self.data)


class Objective:
    """Gradient and hessian of 10**6 predictions, by the kind of hessian."""

    params = [["mixed", "majorizer", "exact"]]
    param_names = ["hessian"]

    def setup(self, hessian):
        rng = np.random.default_rng(0)
        self.arrays = rng.standard_t(2, size=(2, 10**6)).astype(np.float32)
        try:
            self.objective = imported("smoothl1.boosting", "SmoothL1Objective")(1.0, hessian)
        except ValueError:
            raise NotImplementedError(f"no hessian {hessian!r} here") from None

    def time_objective(self, hessian):
        """Seconds of one call for a million predictions."""
        self.objective(*self.arrays)


class MovingThreshold:
    """Boosting with a threshold from a quantile of the residuals, 20 trees on 50 000 samples."""

    def setup(self):
        self.data = regression(50_000, 10)
        name = "SmoothL1HistGradientBoostingRegressor"
        try:
            self.model = imported("smoothl1.ensemble", name)(beta=None, quantile=0.9, max_iter=20)
        except TypeError:
            raise NotImplementedError("no quantile here") from None

    def time_fit(self):
        """Seconds of one fit of 20 boosted trees to 50 000 samples."""
        self.model.fit(*self.data)
