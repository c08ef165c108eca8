"""What this installation is, for bug reports."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any, Literal, overload

import numpy as np

from smoothl1 import _simd, _threads
from smoothl1._simd import core
from smoothl1._version import __version__

# Looked up here, since a call must not search for modules.
_SUPPORTED, _BUILT = _simd.supported(), _simd.built()


def get_num_threads() -> int:
    """Return the largest number of threads that a call without ``n_threads`` uses.

    Returns
    -------
    int
        What `num_threads` or `set_num_threads` asked for, else the environment variable
        ``SMOOTHL1_NUM_THREADS``, else OpenMP's own limit (``OMP_NUM_THREADS``,
        threadpoolctl), at most the processors that this process may use.

    Raises
    ------
    ValueError
        If ``SMOOTHL1_NUM_THREADS`` is needed and no number of threads.

    Examples
    --------
    >>> import smoothl1
    >>> with smoothl1.num_threads(3):
    ...     smoothl1.get_num_threads()
    3
    """
    return core.thread_limit()


def _openmp_runtimes() -> list[str]:
    """Return the OpenMP libraries loaded into this process, where /proc tells."""
    names = ("libgomp", "libiomp", "libomp", "vcomp")
    try:
        lines = Path("/proc/self/maps").read_text().splitlines()
    except OSError:
        return []
    files = {Path(fields[5]).name for line in lines if len(fields := line.split(None, 5)) == 6}
    return sorted(name for name in files if name.startswith(names))


def _platform() -> str:
    """Return system, release, machine and C library.

    As ``platform.platform()`` does, which imports a module and runs a command, within the
    call, for the name of the processor.
    """
    system = platform.uname()
    words = [system.system, system.release, system.machine]
    libc = "".join(platform.libc_ver())
    return "-".join([word for word in words if word] + (["with", libc] if libc else []))


def _collect() -> dict[str, Any]:
    _threads.check_environment()
    ran_team, lost_team = core.team_state()
    if lost_team:
        note = "forked from a process that had run threads: every call runs on one thread"
    else:
        note = "has run threads" if ran_team else "has run no threads yet"
    quota = _threads.cpu_quota()
    return {
        "smoothl1": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": _platform(),
        "simd": {
            "chosen": _simd.chosen,
            "supported": _SUPPORTED,
            "built": _BUILT,
            "SMOOTHL1_SIMD": os.environ.get("SMOOTHL1_SIMD"),
        },
        "openmp": {
            "specification": core.openmp_version() or None,
            "runtimes": _openmp_runtimes(),
        },
        "threads": {
            "limit": core.thread_limit() if not lost_team else 1,
            "processors": os.cpu_count(),
            "cgroup quota": None if quota == 2**31 - 1 else quota,
            "SMOOTHL1_NUM_THREADS": os.environ.get("SMOOTHL1_NUM_THREADS"),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS"),
            "this process": note,
        },
    }


@overload
def show_config(mode: Literal["stdout"] = "stdout") -> None: ...
@overload
def show_config(mode: Literal["dicts"]) -> dict[str, Any]: ...
def show_config(mode: str = "stdout") -> dict[str, Any] | None:
    """Show versions, instruction sets, OpenMP and threads; for bug reports.

    Parameters
    ----------
    mode : {"stdout", "dicts"}, default="stdout"
        Whether to print or to return a dictionary, as ``numpy.show_config``.

    Returns
    -------
    dict or None

    Raises
    ------
    ValueError
        For another `mode`, and for a ``SMOOTHL1_NUM_THREADS`` that is no number of threads.

    Examples
    --------
    >>> import smoothl1
    >>> smoothl1.show_config("dicts")["simd"]["chosen"] in ("baseline", "avx2", "avx512")
    True
    """
    if mode not in ("stdout", "dicts"):
        raise ValueError(f"mode must be 'stdout' or 'dicts', got {mode!r}")
    config = _collect()
    if mode == "dicts":
        return config
    print("\n".join(config_lines(config)))
    return None


def config_lines(config: dict[str, Any]) -> list[str]:
    """Return what `show_config` prints of its dictionary."""
    lines = []
    for key, value in config.items():
        if isinstance(value, dict):
            lines.append(f"{key}:")
            lines.extend(f"  {name}: {_text(entry)}" for name, entry in value.items())
        else:
            lines.append(f"{key}: {value}")
    return lines


def _text(value: object) -> str:
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return "none" if value is None else str(value)
