"""Labels of pandas and xarray, which the functions ignore: arrays whose labels differ are refused.

Neither library is imported: what is not imported has no objects.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

# What has no labels, most of the time.
_PLAIN = frozenset((np.ndarray, type(None), float, int, bool, list, tuple))
_POSITION = "elements would be paired by position"


def check_labels(names: Sequence[str], values: Sequence[Any]) -> None:
    """Raise ``ValueError`` for arguments with labels that do not pair them as positions would.

    Where shapes differ, too, other checks have more to say.
    """
    if _PLAIN.issuperset(map(type, values)):
        return
    named = dict(zip(names, values, strict=True))
    for package, kinds, check in _CHECKS:
        module = sys.modules.get(package)
        for kind in kinds if module is not None else ():
            cls = getattr(module, kind, None)  # not yet where a thread is importing it
            if cls is None:
                continue
            found = [item for item in named.items() if isinstance(item[1], cls)]
            for name, value in found[1:]:
                check(*found[0], name, value)


def _same(first: Any, second: Any) -> bool:
    return first is second or bool(first.equals(second))


def _check_pandas(first_name: str, first: Any, name: str, value: Any) -> None:
    if first.shape != value.shape:
        return
    for axis, labels in enumerate(("indexes", "columns")[: first.ndim]):
        if not _same(first.axes[axis], value.axes[axis]):
            raise ValueError(
                f"{first_name} and {name} have different {labels}, and {_POSITION}; pass "
                f"{name}.reindex_like({first_name}) to pair them by label, or {name}.to_numpy() "
                f"if the order is right"
            )


def _check_xarray(first_name: str, first: Any, name: str, value: Any) -> None:
    common = min(first.ndim, value.ndim)  # the last dimensions, as NumPy broadcasts
    dims, others = first.dims[first.ndim - common :], value.dims[value.ndim - common :]
    if dims != others:
        raise ValueError(
            f"{first_name} has the dimensions {first.dims}, {name} {value.dims}, and {_POSITION}; "
            f"pass {name}.broadcast_like({first_name}), or {name}.to_numpy() if the order is right"
        )
    for dim in dims:
        index, other = first.indexes.get(dim), value.indexes.get(dim)
        if index is None or other is None or len(index) != len(other) or _same(index, other):
            continue
        raise ValueError(
            f"{first_name} and {name} have different coordinates along {dim!r}, and {_POSITION}; "
            f"pass {name}.reindex_like({first_name}) to pair them by label, or {name}.to_numpy() "
            f"if the order is right"
        )


_CHECKS = (
    ("pandas", ("Series", "DataFrame"), _check_pandas),
    ("xarray", ("DataArray",), _check_xarray),
)
