"""Rounds of XGBoost with an objective in Python, without the work that is the same in each."""

from __future__ import annotations

import ctypes
import functools
import json
from typing import Any

import numpy as np
from xgboost import Booster, libpath
from xgboost.callback import TrainingCallback

from smoothl1._typing import AnyArray

_MARGIN = json.dumps(
    {
        "type": 1,  # before the link function
        "training": True,
        "iteration_begin": 0,
        "iteration_end": 0,
        "strict_shape": False,
    }
).encode()


@functools.cache
def _library() -> Any:
    """Return XGBoost's functions in C; those that are called here return 0 unless they fail."""
    return ctypes.CDLL(libpath.find_lib_path()[0])


class Rounds(TrainingCallback):  # type: ignore[misc]
    """Makes the booster a `RoundsBooster` while it is trained."""

    def before_training(self, model: Any) -> Any:
        """Begin."""
        if type(model) is Booster:
            model.__class__ = RoundsBooster
        return model

    def after_training(self, model: Any) -> Any:
        """End."""
        if type(model) is RoundsBooster:
            model.__class__ = Booster
            model.__dict__.pop("_state", None)
        return model


class RoundsBooster(Booster):  # type: ignore[misc]
    """A booster whose rounds read margins and hand gradients over where they lie.

    ``Booster.update`` describes arrays in JSON, asks for the names of features, and makes new
    arrays in each round, which takes a fifth of the time of a small tree.
    """

    def update(self, dtrain: Any, iteration: int, fobj: Any = None) -> None:
        """Grow the trees of a round."""
        state: _State | None = self.__dict__.get("_state")
        # The first round is XGBoost's, with all its checks.
        if fobj is not None and state is not None and state.data is dtrain:
            margin = state.margin(self)
            if margin is not None and state.grow(self, iteration, *fobj(margin, dtrain)):
                return
        super().update(dtrain, iteration, fobj)
        self._state = None if fobj is None else _State(dtrain)

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a booster."""
        state: dict[str, Any] = super().__getstate__()
        state.pop("_state", None)
        return state

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Pickle as a booster; for callbacks that do so during training."""
        return object.__new__, (Booster,), self.__getstate__()


class _State:
    """What is the same in all rounds with the same data."""

    def __init__(self, data: Any) -> None:
        self.data = data
        self._address, self._shape = ctypes.c_void_p(), ctypes.POINTER(ctypes.c_uint64)()
        self._ndim = ctypes.c_uint64()
        self._results = [ctypes.byref(x) for x in (self._shape, self._ndim, self._address)]
        self._margin: AnyArray | None = None
        self._seen: Any = None
        self._buffers: tuple[AnyArray, ...] = ()
        self._interfaces: list[bytes] = []

    def margin(self, model: Any) -> AnyArray | None:
        """Return XGBoost's own array of margins; it is read before the next call."""
        if _library().XGBoosterPredictFromDMatrix(
            model.handle, self.data.handle, _MARGIN, *self._results
        ):
            return None
        shape = tuple(self._shape[: self._ndim.value])
        if (self._address.value, shape) != self._seen:
            self._seen = self._address.value, shape
            values = (ctypes.c_float * int(np.prod(shape))).from_address(self._address.value or 0)
            self._margin = np.ctypeslib.as_array(values).reshape(shape)
        return self._margin

    def grow(self, model: Any, iteration: int, *derivatives: AnyArray) -> bool:
        """Grow the trees of a round; False if XGBoost is to do it itself, to say why not."""
        if not self._buffers or self._buffers[0].shape != derivatives[0].shape:
            self._buffers = tuple(np.empty(x.shape, np.float32) for x in derivatives)
            self._interfaces = [json.dumps(x.__array_interface__).encode() for x in self._buffers]
        with np.errstate(over="ignore"):  # as XGBoost itself casts
            for buffer, values in zip(self._buffers, derivatives, strict=True):
                np.copyto(buffer, values, casting="same_kind")
        failed = _library().XGBoosterTrainOneIter(
            model.handle, self.data.handle, iteration, *self._interfaces
        )
        return not failed
