"""LightGBM's regressor with the Smooth L1 loss; it needs LightGBM and scikit-learn."""

from __future__ import annotations

import re
from typing import Any

import numpy as np

try:
    import sklearn  # noqa: F401 (without it LightGBM's regressor fails when it is made)
    from lightgbm import LGBMRegressor
except ImportError as error:
    raise ImportError(
        "smoothl1.lightgbm needs LightGBM and scikit-learn: pip install 'smoothl1[lightgbm]'"
    ) from error

from smoothl1._boosters import Beginning, RegressorObjective, begin, constructor, shifted
from smoothl1._typing import AnyArray

__all__ = ["SmoothL1LGBMRegressor"]

_METRICS = ("metric", "metrics", "metric_types")  # LightGBM's names of one parameter
# Splits by gradients that are rounded to -1, 0 or 1 times the threshold: nearly by signs, which
# outliers confuse less. Leaves are fitted to the gradients as they are. Rounding at random is no
# worse, but depends on the number of threads.
_ROUNDED = {
    "use_quantized_grad": True,
    "num_grad_quant_bins": 2,
    "quant_train_renew_leaf": True,
    "stochastic_rounding": False,
}
_LARGEST_ROUNDED = 0.8  # of quantiles: half of a larger one is more than most residuals
# What LightGBM does not do with rounded gradients, or not well, under all its names, and the
# values with which it is not asked for.
_NEED_EXACT = (
    *("boosting_type", "boosting", "boost", "data_sample_strategy", "device_type", "device"),
    *("linear_tree", "linear_trees", "path_smooth"),
    *("monotone_constraints", "monotone_constraint", "monotonic_cst", "mc"),
    *("tree_learner", "tree_learner_type", "tree_type", "tree"),
)
_PLAIN = {None, False, "gbdt", "dart", "bagging", "cpu", "serial"}


class SmoothL1LGBMRegressor(LGBMRegressor):  # type: ignore[misc]
    r"""LightGBM's regressor with errors above a threshold counted linearly.

    ``lightgbm.LGBMRegressor`` with `smoothl1.boosting.SmoothL1Objective`, from the Huber
    location of y, which is part of the fitted model: of its predictions, of the saved file
    and of the values by feature (``pred_contrib=True``).

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
        The parameters of ``LGBMRegressor``. `objective` must stay None, and LightGBM has no
        ``boosting_type="rf"`` for objectives of one's own.

    Raises
    ------
    ImportError
        On import of the module, if LightGBM or scikit-learn is missing.

    See Also
    --------
    smoothl1.xgboost.SmoothL1XGBRegressor : the same with XGBoost.
    smoothl1.ensemble.SmoothL1HistGradientBoostingRegressor : the same with scikit-learn.
    smoothl1.boosting.SmoothL1Objective : the objective alone.

    Notes
    -----
    `fit` takes the arguments of ``LGBMRegressor.fit``. Weights count in the start and in
    the threshold. The default metric of evaluation sets is "smooth_l1", the mean Smooth L1
    loss with the threshold of the start, which stays while that of the fit moves; `metric`
    and `eval_metric` choose others. With `init_score` the start is the location of what is
    left of y, and `predict` leaves `init_score` out, as LightGBM does; with `init_model`
    boosting goes on from there.

    Examples
    --------
    >>> import numpy as np
    >>> from smoothl1.lightgbm import SmoothL1LGBMRegressor
    >>> X = np.arange(200.0).reshape(-1, 1)
    >>> y = np.where(X[:, 0] < 100, 5.0, 10.0)
    >>> y[::20] += 1000
    >>> model = SmoothL1LGBMRegressor(n_estimators=100, verbose=-1).fit(X, y)
    >>> model.predict(np.array([[50.0], [150.0]])).round()
    array([ 5., 10.])
    """

    def __init__(self, *, beta: float | None = None, quantile: float = 0.7, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.beta = beta
        self.quantile = quantile

    def _process_params(self, stage: str) -> dict[str, Any]:
        given = self.get_params()
        params: dict[str, Any] = super()._process_params(stage)
        for name in ("beta", "quantile"):
            params.pop(name, None)
        if _names_no_metric(given):
            params["metric"] = "None"  # "smooth_l1" takes the place of LightGBM's "l2"
        if stage == "fit" and isinstance(self._objective, RegressorObjective):
            params["objective"] = _Rounds(self._objective)
        if stage == "fit" and self._rounds:
            params.update(_ROUNDED)
        return params

    def fit(
        self,
        X: Any,
        y: Any,
        sample_weight: Any = None,
        init_score: Any = None,
        eval_set: Any = None,
        eval_names: Any = None,
        eval_sample_weight: Any = None,
        eval_init_score: Any = None,
        eval_metric: Any = None,
        feature_name: Any = "auto",
        categorical_feature: Any = "auto",
        callbacks: Any = None,
        init_model: Any = None,
        **kwargs: Any,
    ) -> SmoothL1LGBMRegressor:
        """Fit the model; the arguments are those of ``LGBMRegressor.fit``.

        Parameters
        ----------
        X : array-like of shape (n_samples, n_features)
        y : array-like of shape (n_samples,)
        sample_weight : array-like of shape (n_samples,), optional
            Weights, >= 0, not all 0.
        init_score, eval_set, eval_names, eval_sample_weight, eval_init_score, eval_metric, \
feature_name, categorical_feature, callbacks, init_model, **kwargs
            As there.

        Returns
        -------
        SmoothL1LGBMRegressor
            Itself.

        Raises
        ------
        TypeError, ValueError
            For a bad `beta` or `quantile`, an `objective`, and what LightGBM refuses.
        """
        beginning = begin(self, y, sample_weight, ("init_score", init_score))
        location = 0.0
        if init_model is None and beginning.shape is not None:
            (location,) = beginning.locations
            init_score = shifted(init_score, beginning.shape, location)
            eval_init_score = _eval_scores(eval_set, eval_init_score, location, kwargs)
        objective = beginning.objective()
        metrics = [] if eval_metric is None else eval_metric
        metrics = list(metrics) if isinstance(metrics, list | tuple) else [metrics]
        given = self.get_params()
        if _names_no_metric(given):
            metrics.insert(0, objective.lightgbm_metric)
        self._objective = objective
        self._rounds = _may_round(given, beginning)
        super().fit(
            X,
            y,
            sample_weight=sample_weight,
            init_score=init_score,
            eval_set=eval_set,
            eval_names=eval_names,
            eval_sample_weight=eval_sample_weight,
            eval_init_score=eval_init_score,
            eval_metric=metrics,
            feature_name=feature_name,
            categorical_feature=categorical_feature,
            callbacks=[*(callbacks or []), _keep_objective],
            init_model=init_model,
            **kwargs,
        )
        if location:
            self._add_to_first_tree(location, given.get("linear_tree"))
        return self

    def _add_to_first_tree(self, location: float, linear: Any) -> None:
        """Make the start part of the model, as LightGBM does with the mean of y."""
        if linear:
            model = self._Booster.model_to_string(num_iteration=-1)
            self._Booster.model_from_string(_add_to_constants(model, location))
            return
        tree = self._Booster.model_to_string(num_iteration=1)
        leaves = re.search(r"^num_leaves=(\d+)$", tree, flags=re.M)
        for leaf in range(int(leaves[1]) if leaves else 0):
            value = self._Booster.get_leaf_output(0, leaf)
            self._Booster.set_leaf_output(0, leaf, value + location)


SmoothL1LGBMRegressor.__init__ = constructor(  # type: ignore[method-assign]
    SmoothL1LGBMRegressor.__init__, LGBMRegressor.__init__
)


class _Rounds:
    """The objective as ``lightgbm.train`` calls it; labels and weights are read once."""

    def __init__(self, objective: RegressorObjective) -> None:
        self._objective = objective
        self._data: Any = None

    def __call__(self, prediction: AnyArray, data: Any) -> tuple[AnyArray, AnyArray]:
        """Return gradient and hessian."""
        if self._data is not data:
            self._data, self._read = data, (data.get_label(), data.get_weight())
        label, weight = self._read
        return self._objective.output(label, prediction, weight)


def _names_no_metric(given: dict[str, Any]) -> bool:
    """Whether the parameters of a regressor leave the metric open."""
    return all(given.get(name) is None for name in _METRICS)


def _may_round(given: dict[str, Any], beginning: Beginning) -> bool:
    """Whether splits can be sought by rounded gradients, and nobody asked otherwise."""
    if beginning.beta is not None or beginning.quantile > _LARGEST_ROUNDED:
        return False
    if any(name in given for name in _ROUNDED):
        return False
    values = [given.get(name) for name in _NEED_EXACT]
    if not all(np.isscalar(v) or v is None for v in values) or not _PLAIN.issuperset(values):
        return False
    # A small weight would be rounded to 0.
    weight = beginning.weight
    positive = None if weight is None else weight[weight > 0]
    return positive is None or not positive.size or bool(np.ptp(positive) == 0)


def _keep_objective(env: Any) -> None:
    """Spare the booster to be told again that the objective is not LightGBM's.

    That fails where no feature can be split, as for few samples, which its own objectives
    are fitted to.
    """
    env.model._Booster__set_objective_to_none = True


_keep_objective.before_iteration = True  # type: ignore[attr-defined]


def _add_to_constants(model: str, location: float) -> str:
    """Return the text of a model whose first tree, of linear leaves, has the start added.

    LightGBM has no call for that.
    """
    head, first, rest = re.split(r"(?=^Tree=[01]$|^end of trees$)", model, maxsplit=2, flags=re.M)

    def moved(match: re.Match[str]) -> str:
        values = [f"{float(value) + location:.17g}" for value in match[2].split()]
        return match[1] + " ".join(values)

    first = re.sub(r"^(leaf_value=|leaf_const=)(.+)$", moved, first, flags=re.M)
    # The lengths of trees in bytes; without them the text is read from start to end.
    return re.sub(r"^tree_sizes=.*\n", "", head, flags=re.M) + first + rest


def _eval_scores(
    eval_set: Any, scores: Any, location: float, kwargs: dict[str, Any]
) -> list[AnyArray] | None:
    """Return the initial scores of the evaluation sets with the start added to them."""
    targets = kwargs.get("eval_y")
    if targets is not None:
        targets = list(targets) if isinstance(targets, tuple) else [targets]
    elif eval_set is not None:
        pairs = [eval_set] if isinstance(eval_set, tuple) else eval_set
        targets = [pair[1] for pair in pairs]
    else:
        return None
    if isinstance(scores, dict):
        scores = [scores.get(i) for i in range(len(targets))]
    given = [None] * len(targets) if scores is None else scores
    return [
        shifted(score, np.shape(target)[:1], location)
        for target, score in zip(targets, given, strict=True)
    ]
