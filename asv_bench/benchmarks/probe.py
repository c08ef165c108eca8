"""The limits of memory and of the processor: bare loops in C, compiled on first use.

With every flag that helps.
"""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent.parent / "probe" / "probe.c"
FLAGS = ["-O3", "-march=native", "-ffast-math", "-fopenmp", "-shared", "-fPIC"]


@functools.cache
def library():
    """Return the compiled probe; n/a where there is no compiler.

    The library is named by its source and flags, and put in place at one go: several
    benchmark processes may build it at once.
    """
    text = SOURCE.read_bytes() + " ".join(FLAGS).encode()
    folder = SOURCE.parent.parent / "_build"
    path = folder / f"probe-{hashlib.sha256(text).hexdigest()[:12]}.so"
    if not path.exists():
        folder.mkdir(exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}")
        compiler = os.environ.get("CC", "cc")
        if shutil.which(compiler) is None:
            raise NotImplementedError(f"there is no compiler {compiler!r}")
        subprocess.run([compiler, *FLAGS, str(SOURCE), "-o", str(part)], check=True)
        part.replace(path)
    return ctypes.CDLL(str(path))


def _call(name, arrays, n, *numbers):
    function = getattr(library(), f"{name}_{arrays[0].dtype}")
    function.restype = ctypes.c_double
    pointers = [ctypes.c_void_p(a.ctypes.data) for a in arrays]
    return function(*pointers, ctypes.c_ssize_t(n), *map(ctypes.c_int, numbers))


def read(x, y, threads=1, repeats=1, inner=1):
    """Seconds to read both arrays: the better of a plain and an unrolled loop."""
    return min(
        _call("read", [x, y], x.size, unrolled, threads, repeats, inner) for unrolled in (0, 1)
    )


def read_and_write(x, y, out, threads=1, repeats=1, inner=1):
    """Seconds to read two arrays and write a third."""
    return _call("readwrite", [x, y, out], x.size, threads, repeats, inner)


def compute(x, y, out, operations, repeats=1, inner=1):
    """Seconds for so many additions and multiplications in registers, half of them each.

    x has the number that is added, y the one to multiply by; all have 256 elements or more.
    """
    return _call("compute", [x, y, out], operations // 2, repeats, inner)
