"""Arguments turned into arrays, or refused where an array would lose or load something.

Nothing is imported within a call: a process that is forked, or ends, meanwhile would hang or
fail.
"""

from __future__ import annotations

from operator import countOf
from typing import Any

import numpy as np

# NumPy imports it lazily where it is spelled np.ma: within a call, under the lock of an
# import, which a child that is forked meanwhile would wait for for ever.
from numpy.ma import MaskedArray

from smoothl1._dtypes import is_bfloat16, is_real
from smoothl1._simd import core
from smoothl1._typing import AnyArray

_NUMBERS = frozenset((float, int, bool))
_SCALARS = (float, int, complex, str, bytes, np.generic)
_ARRAY_PROTOCOLS = ("__array__", "__array_interface__", "__array_struct__")

# These hold no more than is in memory: all that the checks below look for is elsewhere.
_NO_MORE = frozenset((np.ndarray, list, tuple))

# More than NumPy gives an array, so that a list within itself ends somewhere.
_DEEPEST = 65

# Arguments of functions that have ``where``, mostly.
_SELECTED = frozenset(("input", "target", "weight", "beta", "delta"))
# What to do with other masked arguments.
_WITHOUT_MASK = {
    "where": "{}.filled(False)",
    "betas": "{}.compressed()",
    "grad_output": "{}.filled(0)",
    "multioutput": "{}.filled(0)",
    "sample_weight": "{}.filled(0)",
}


class _RefusedError(TypeError):
    """Raised with the message for the user, which needs no further words."""


def as_array(name: str, value: Any, *, selects: bool = True) -> AnyArray:
    """Return ``value`` as an ndarray of real numbers, without a copy where it allows one.

    Parameters
    ----------
    name : str
        The argument's.
    value : array_like
    selects : bool
        Whether the function has an argument ``where``, for the advice on masks.

    Raises
    ------
    TypeError
        If it holds anything but float16/32/64, bfloat16, integers or bools, or if turning
        it into an array would lose information (masks) or load what is not in memory.
    """
    array = value
    if type(value) is not np.ndarray:
        array = _read(name, value, selects)
        if array.dtype.kind == "O":
            raise TypeError(
                f"{name} ({_kind(value)}) has dtype object; {_object_remedy(name, value, array)}"
            )
    dtype = array.dtype
    if not is_real(dtype):
        remedy = "use float16, float32, float64, an integer dtype or bool"
        if dtype.kind == "O":
            remedy = _object_remedy(name, value, array)
        elif dtype.kind == "c":
            remedy = "take the loss of the real and the imaginary part, or of np.abs(...)"
        elif dtype == "V2":  # as np.load has it
            remedy += "; where it holds bfloat16, pass .view(ml_dtypes.bfloat16)"
        elif dtype.kind == "f" and isinstance(value, np.ndarray):
            remedy = "convert it with .astype(np.float64)"
        elif dtype.kind == "f":
            remedy = "convert it with np.asarray(..., dtype=np.float64)"
        raise TypeError(f"{name} has dtype {dtype}; {remedy}")
    return array  # type: ignore[no-any-return]


def rounded(values: Any, dtype: np.dtype[Any]) -> Any:
    """Return numbers, rounded once to a floating-point dtype, without warnings."""
    values = np.asarray(values)
    if values.dtype == dtype:
        return values
    if is_bfloat16(dtype):  # its own conversion rounds to float32 first
        bits = core.as_bfloat16(np.ascontiguousarray(values, dtype=np.float64))
        return bits.reshape(values.shape).view(dtype)
    with np.errstate(over="ignore", under="ignore"):
        return values.astype(dtype)


def refuse_masked(name: str, value: Any) -> None:
    """Raise ``TypeError`` for a masked array, or a list of some: scikit-learn drops masks."""
    held = value if type(value) in (list, tuple) else ()
    if isinstance(value, MaskedArray) or any(isinstance(item, MaskedArray) for item in held):
        raise TypeError(
            f"{name} is masked, and its mask would be lost; "
            f"leave out the samples that are masked, or impute them"
        )


def as_mask(name: str, value: Any) -> AnyArray:
    """Return ``value`` as an ndarray of bools; ``TypeError`` if it is anything else."""
    array = value if type(value) is np.ndarray else _read(name, value, True)
    if array.dtype != np.bool_:
        remedy = ""
        if array.dtype.kind == "O":
            remedy = "; pass True or False for each element, False for what is missing"
        elif is_real(array.dtype):
            remedy = "; where numbers other than 0 are meant, pass np.not_equal(..., 0)"
        raise TypeError(f"{name} must be of dtype bool, got {array.dtype}{remedy}")
    return array


def _kind(value: object) -> str:
    return f"{type(value).__module__}.{type(value).__qualname__}"


def _object_remedy(name: str, value: Any, array: AnyArray) -> str:
    """Say what to do with objects; that a conversion works is tried before it is advised."""
    remedy = "pass an array of real numbers"
    if array.ndim == 0:
        return remedy
    takes_nan = name in ("input", "target", "weight", "grad_output")
    try:
        converted = np.asarray(value, dtype=np.float64)
    except Exception:  # whatever the objects raise
        return f"{remedy}, with nan for what is missing" if takes_nan else remedy
    if takes_nan or not np.logical_or.reduce(np.isnan(converted), axis=None):
        return "convert it to float64 with np.asarray(..., dtype=np.float64)"
    return remedy


def _read(name: str, value: Any, selects: bool) -> AnyArray:
    """Return an array of any dtype."""
    if type(value) in _NUMBERS:
        return np.asarray(value)
    try:
        _refuse(name, name, value, selects)
        if hasattr(value, "__dlpack__") and not hasattr(value, "__array__"):
            return np.from_dlpack(value)
        if _is_sequence(value):
            value = _elements(name, value, selects, 1)
        array = np.asanyarray(value)  # keeps a masked array that __array__ returns
        _refuse(name, f"np.asanyarray({name})", array, selects)
        return np.asarray(array)
    except MemoryError:
        raise
    except _RefusedError as error:
        raise TypeError(str(error)) from None
    except Exception as error:
        raise TypeError(f"{name} ({_kind(value)}) cannot be read as an array: {error}") from error


def _is_sequence(value: Any) -> bool:
    """Whether NumPy would take it apart, element by element."""
    kind = type(value)
    if kind in (list, tuple):
        return True
    if (
        isinstance(value, (*_SCALARS, dict))
        or not (hasattr(kind, "__len__") and hasattr(kind, "__getitem__"))
        or any(hasattr(value, protocol) for protocol in _ARRAY_PROTOCOLS)
    ):
        return False
    try:
        memoryview(value)
    except TypeError:
        return True
    return False


def _elements(name: str, values: Any, selects: bool, depth: int) -> Any:
    """Return a sequence as NumPy would take it, what is behind ``__array__`` as arrays."""
    first = type(next(iter(values), None))
    if first in _NUMBERS and countOf(map(type, values), first) == len(values):
        return values  # the usual list, at a third of the time of what follows
    kinds = set(map(type, values))
    if depth > _DEEPEST or all(issubclass(kind, _SCALARS) for kind in kinds):
        return values
    return [_element(name, value, selects, depth) for value in values]


def _element(name: str, value: Any, selects: bool, depth: int) -> Any:
    if isinstance(value, _SCALARS) or type(value) is np.ndarray:
        return value
    # np.ma.stack keeps the masks of one level only.
    stack = f"np.ma.stack({name})" if depth == 1 else "np.ma.stack(...), made level by level,"
    _refuse(f"an element of {name}", stack, value, selects)
    if _is_sequence(value):
        return _elements(name, value, selects, depth + 1)
    if hasattr(value, "__array__"):
        value = np.asanyarray(value)
        _refuse(f"an element of {name}", stack, value, selects)
    return value


def _refuse(name: str, array: str, value: Any, selects: bool) -> None:
    """Raise ``TypeError`` for what holds more than an array in memory does.

    ``array`` is the expression in Python that turns the argument into a masked array.
    """
    if type(value) in _NO_MORE:
        return
    if isinstance(value, MaskedArray):
        argument = name.rpartition(" ")[2]
        if argument in _WITHOUT_MASK:
            remedy = f"pass {_WITHOUT_MASK[argument].format(array)}"
        elif selects and argument in _SELECTED:
            remedy = f"pass {array}.data, and where=~{array}.mask"
        else:
            remedy = f"pass {array}.compressed(), and of the other arguments the same elements"
        raise _RefusedError(f"{name} is a masked array, whose mask would be lost; {remedy}")
    remedy = f"pass {name}" if " " not in name else "put in its place its "
    if hasattr(value, "toarray") and hasattr(value, "nnz"):
        raise _RefusedError(f"{name} is sparse ({_kind(value)}); {remedy}.toarray()")
    graph = getattr(value, "__dask_graph__", None)
    if callable(graph) and graph() is not None:
        raise _RefusedError(
            f"{name} is a lazy collection ({_kind(value)}), which smoothl1.dask takes as it is; "
            f"{remedy}.compute()"
        )
    if type(value).__name__ == "LazyFrame":  # of polars
        raise _RefusedError(f"{name} is a lazy collection ({_kind(value)}); {remedy}.collect()")
    if type(value).__name__ == "Expr" and type(value).__module__.startswith("polars"):
        raise _RefusedError(
            f"{name} is an expression of polars, which holds no numbers yet; pass expressions to "
            "the functions of smoothl1.ufuncs, or the columns, frame.select(...).to_series()"
        )
