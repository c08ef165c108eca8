"""Choose the compiled core for this processor.

The same Cython source is compiled once per instruction set. A module's very import
runs its instructions, so nothing but this file may import one of them: it asks NumPy
what the processor has, then imports exactly one.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from smoothl1 import _smoothl1_baseline as core

__all__ = ["built", "choose", "chosen", "core", "supported"]

# What each set needs, by the names in NumPy's table; best first.
_NEEDS = MappingProxyType(
    {
        "avx512": ("AVX512F", "AVX512VL", "AVX512BW", "AVX512DQ"),
        "avx2": ("AVX2", "FMA3", "F16C"),
        "baseline": (),
    }
)


def _cpu_features() -> dict[str, bool]:
    package = "numpy._core" if importlib.util.find_spec("numpy._core") else "numpy.core"  # 1.x
    return dict(importlib.import_module(f"{package}._multiarray_umath").__cpu_features__)


def built() -> list[str]:
    """Return the instruction sets that this installation was built for, best first."""
    return [name for name in _NEEDS if importlib.util.find_spec(_module(name)) is not None]


def supported() -> list[str]:
    """Return the instruction sets that can run here: built, and known to the processor."""
    features = _cpu_features()
    return [
        name for name in built() if all(features.get(feature, False) for feature in _NEEDS[name])
    ]


def choose(wanted: str | None) -> str:
    """Return the instruction set to use.

    Parameters
    ----------
    wanted : str or None
        The value of ``SMOOTHL1_SIMD``; None or "" for the best one.

    Raises
    ------
    ImportError
        If ``wanted`` is unknown, not built, or not supported by this processor.
    """
    usable = supported()
    if not wanted:
        if not usable:
            raise ImportError(
                "smoothl1 has no compiled core here: build it with 'pip install .', and do not "
                "import it from a source tree that was not built in place"
            )
        return usable[0]
    if wanted in usable:
        return wanted
    if wanted not in _NEEDS:
        problem = "is no instruction set"
    elif wanted not in built():
        problem = "was not built"
    else:
        problem = "is not supported by this processor"
    raise ImportError(
        f"SMOOTHL1_SIMD={wanted!r} {problem}; use one of {', '.join(usable)}, or unset it"
    )


def _module(name: str) -> str:
    return f"smoothl1._smoothl1_{name}"


def _is_command() -> bool:
    """Whether this process is the command ``smoothl1``, which shows no traceback."""
    program = next(iter(sys.argv), "")
    return Path(program).stem == "smoothl1" or sys.orig_argv[1:3] == ["-m", "smoothl1"]


try:
    chosen = choose(os.environ.get("SMOOTHL1_SIMD"))
except ImportError as error:
    if not _is_command():
        raise
    # The command's own handling of errors is not imported yet.
    if sys.stderr is not None:
        print(f"smoothl1: {error}", file=sys.stderr)
    raise SystemExit(2) from None
if not TYPE_CHECKING:
    core = importlib.import_module(_module(chosen))
