"""XGBoost's regressor with the Smooth L1 loss; it needs XGBoost and scikit-learn."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

try:
    import sklearn  # noqa: F401 (without it XGBoost's regressor fails when it is made)
    from xgboost import XGBRegressor
    from xgboost.callback import LearningRateScheduler
except ImportError as error:
    raise ImportError(
        "smoothl1.xgboost needs XGBoost and scikit-learn: pip install 'smoothl1[xgboost]'"
    ) from error

from smoothl1._boosters import RegressorObjective, begin, constructor
from smoothl1._xgboost_rounds import Rounds

__all__ = ["SmoothL1XGBRegressor"]

_OBJECTIVES = (None, "reg:squarederror")  # XGBoost's default, and what it saves for others'
_LEAST_UNIT = 2.0**-6  # XGBoost refuses splits that gain less than 1e-6, in y squared
_LARGEST_UNIT = 2.0**30  # sums of squares must stay in the range of float32


class SmoothL1XGBRegressor(XGBRegressor):  # type: ignore[misc]
    r"""XGBoost's regressor with errors above a threshold counted linearly.

    ``xgboost.XGBRegressor`` with `smoothl1.boosting.SmoothL1Objective`, from the Huber
    location of y, which is the ``base_score`` of the fitted model and so part of its
    predictions and of the saved file.

    Parameters
    ----------
    beta : float or None, default=None
        Threshold between the quadratic and the linear piece, in the units of y; positive
        and in the range of float32. None takes the `quantile` of the absolute residuals,
        anew in each iteration, so that models do not depend on the units of y.
    quantile : float, default=0.7
        Share of the residuals in the quadratic piece, > 0 and <= 1. Not looked at if `beta`
        is a number. 0.9 learns more from noise that is nearly normal, 0.6 from the heaviest tails.
    **kwargs
        The parameters of ``XGBRegressor``; `objective` must stay what it is. A `base_score`
        takes the place of the Huber location.

    Raises
    ------
    ImportError
        On import of the module, if XGBoost or scikit-learn is missing.

    See Also
    --------
    smoothl1.lightgbm.SmoothL1LGBMRegressor : the same with LightGBM.
    smoothl1.ensemble.SmoothL1HistGradientBoostingRegressor : the same with scikit-learn.
    smoothl1.boosting.SmoothL1Objective : the objective alone.

    Notes
    -----
    `fit` takes the arguments of ``XGBRegressor.fit``. Weights count in the start and in the
    threshold. The default metric of evaluation sets is "smooth_l1", the mean Smooth L1 loss
    with the threshold of the start, which stays while that of the fit moves; `eval_metric`
    chooses others. With `base_margin` or `xgb_model` boosting goes on from there. Several
    outputs have a threshold and a start each.

    XGBoost refuses a split that gains less than 1e-6, in the units of y squared. Where the
    threshold is below 2**-6 or above 2**30 gradients are divided by a power of two, and the
    learning rate is multiplied by it, unless `callbacks` hold a ``LearningRateScheduler``;
    `gamma`, `reg_alpha` and `max_delta_step` are then in that unit.

    Examples
    --------
    >>> import numpy as np
    >>> from smoothl1.xgboost import SmoothL1XGBRegressor
    >>> X = np.arange(200.0).reshape(-1, 1)
    >>> y = np.where(X[:, 0] < 100, 0.0, 10.0)
    >>> y[::20] += 1000
    >>> model = SmoothL1XGBRegressor(max_depth=1).fit(X, y)
    >>> model.predict([[50.0], [150.0]]).round()
    array([ 0., 10.], dtype=float32)
    """

    def __init__(self, *, beta: float | None = None, quantile: float = 0.7, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.beta = beta
        self.quantile = quantile

    def get_xgb_params(self) -> dict[str, Any]:
        """Return the parameters that XGBoost itself knows.

        Returns
        -------
        dict
        """
        params: dict[str, Any] = super().get_xgb_params()
        params = {k: v for k, v in params.items() if k not in ("beta", "quantile")}
        if isinstance(getattr(self.eval_metric, "__self__", None), RegressorObjective):
            params["disable_default_eval_metric"] = True  # the error of squares
        return params

    def fit(
        self,
        X: Any,
        y: Any,
        *,
        sample_weight: Any = None,
        base_margin: Any = None,
        eval_set: Any = None,
        verbose: bool | int | None = True,
        xgb_model: Any = None,
        sample_weight_eval_set: Any = None,
        base_margin_eval_set: Any = None,
        feature_weights: Any = None,
    ) -> SmoothL1XGBRegressor:
        """Fit the model; the arguments are those of ``XGBRegressor.fit``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,) or (n_samples, n_outputs)
        sample_weight : array-like of shape (n_samples,), optional
            Weights, >= 0, not all 0.
        base_margin, eval_set, verbose, xgb_model, sample_weight_eval_set, \
base_margin_eval_set, feature_weights
            As there.

        Returns
        -------
        SmoothL1XGBRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            For a bad `beta` or `quantile`, an `objective`, and what XGBoost refuses.
        """
        beginning = begin(
            self, y, sample_weight, ("base_margin", base_margin), _OBJECTIVES, several=True
        )
        settings: dict[str, Any] = {}
        unit = 1.0
        if beginning.shape is not None:
            unit = self._unit(beginning.thresholds)
            if base_margin is None and xgb_model is None and self.base_score is None:
                locations = list(beginning.locations)
                settings["base_score"] = locations[0] if len(beginning.shape) == 1 else locations
        objective = beginning.objective(unit)
        if unit != 1.0:
            settings["learning_rate"] = self._rate() * unit
        if self.eval_metric is None:
            settings["eval_metric"] = objective.smooth_l1
        callbacks = [Rounds(), *(self.callbacks or [])]
        with _set(self, objective=objective, callbacks=callbacks, **settings):
            super().fit(
                X,
                _native(y),
                sample_weight=_native(sample_weight),
                base_margin=base_margin,
                eval_set=eval_set,
                verbose=verbose,
                xgb_model=xgb_model,
                sample_weight_eval_set=sample_weight_eval_set,
                base_margin_eval_set=base_margin_eval_set,
                feature_weights=feature_weights,
            )
        return self

    def _create_dmatrix(self, ref: Any, **kwargs: Any) -> Any:
        """Return data whose labels and weights are read once, and not for each tree."""
        data = super()._create_dmatrix(ref, **kwargs)
        labels, weights = data.get_label(), data.get_weight()
        data.get_label, data.get_weight = lambda: labels, lambda: weights
        return data

    def _unit(self, thresholds: tuple[float, ...]) -> float:
        """Return the unit of the gradients, 1 where XGBoost can work with that of y."""
        if all(_LEAST_UNIT <= beta <= _LARGEST_UNIT for beta in thresholds):
            return 1.0
        scheduled = any(isinstance(c, LearningRateScheduler) for c in self.callbacks or [])
        if scheduled or self.booster == "gblinear":
            return 1.0
        # The rate must stay in the range of float32, too.
        return 2.0 ** min(max(round(math.log2(np.median(thresholds))), -120), 120)

    def _rate(self) -> float:
        params = self.get_params()
        rate = params.get("learning_rate")
        rate = params.get("eta") if rate is None else rate
        return 0.3 if rate is None else float(rate)


SmoothL1XGBRegressor.__init__ = constructor(  # type: ignore[method-assign]
    SmoothL1XGBRegressor.__init__, XGBRegressor.__init__
)


def _native(values: Any) -> Any:
    """Return an array in the byte order of the machine, which XGBoost takes any other for."""
    if isinstance(values, np.ndarray) and not values.dtype.isnative:
        return values.astype(values.dtype.newbyteorder("="))
    return values


@contextmanager
def _set(model: SmoothL1XGBRegressor, **values: Any) -> Iterator[None]:
    """Give an estimator other parameters while it is fitted."""
    before = {name: getattr(model, name) for name in values}
    try:
        for name, value in values.items():
            setattr(model, name, value)
        yield
    finally:
        for name, value in before.items():
            setattr(model, name, value)
