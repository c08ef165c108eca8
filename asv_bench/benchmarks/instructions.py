"""Instructions executed, counted by Valgrind: the same on a busy machine and on an idle one.

One process under ``valgrind --tool=callgrind`` runs every case for one instruction set. Before and
after each it calls ``srand48`` of the C library, which nothing else here does and where callgrind
is told to write its count and begin anew. What a case costs is the difference between many of its
calls and one, so neither the loop nor the marks are part of it. Valgrind knows no AVX-512.

    python -m benchmarks.instructions     # in asv_bench: the counts as JSON
"""

import ctypes
import gc
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

import smoothl1

from . import overhead
from .common import DTYPES, arrays, function, ufunc

N = 2**16
SETS = ["avx2", "baseline"]
MARK = "srand48"


def call(name, *arguments, **options):
    """Return a call of a function of the library."""
    found = function(name)
    return lambda: found(*arguments, **options)


def of_ufunc(name, *arguments, **options):
    """Return a call of a ufunc of the library."""
    found = ufunc(name)
    return lambda: found(*arguments, **options)


def mixed(x, y, *_):
    other = np.float64 if y.dtype == np.float32 else np.float32
    return call("smooth_l1_loss", x, y.astype(other))


def column(x, y, *_):
    x, y = (np.stack([a, a], axis=1)[:, 0] for a in (x, y))
    return call("smooth_l1_loss", x, y)


def rows(axis):
    return lambda x, y, *_: call("smooth_l1_loss", x.reshape(-1, 4), y.reshape(-1, 4), axis=axis)


KERNELS = {
    "mean": lambda x, y, *_: call("smooth_l1_loss", x, y),
    "mean, beta 0.37": lambda x, y, *_: call("smooth_l1_loss", x, y, beta=0.37),
    "sum": lambda x, y, *_: call("smooth_l1_loss", x, y, "sum"),
    "none": lambda x, y, out, _: call("smooth_l1_loss", x, y, "none", out=out),
    "grad": lambda x, y, out, _: call("smooth_l1_grad", x, y, out=out),
    "value_and_grad": lambda x, y, out, _: call("smooth_l1_value_and_grad", x, y, out=out),
    "grad_hess": lambda x, y, *_: call("smooth_l1_grad_hess", x, y),
    "huber mean": lambda x, y, *_: call("huber_loss", x, y, delta=0.37),
    "huber grad": lambda x, y, out, _: call("huber_grad", x, y, delta=0.37, out=out),
    "path of 4": lambda x, y, *_: call("smooth_l1_path", x, y, [0.25, 0.5, 1.0, 2.0]),
    "weight": lambda x, y, _, w: call("smooth_l1_loss", x, y, weight=w),
    "where": lambda x, y, _, w: call("smooth_l1_loss", x, y, where=w > 1),
    "array beta": lambda x, y, _, w: call("smooth_l1_loss", x, y, beta=w),
    "axis 0": rows(0),
    "axis 1": rows(1),
    "strided": column,
    "mixed": mixed,
    "ufunc": lambda x, y, out, _: of_ufunc("smooth_l1", x, y, 0.37, out=out),
    "ufunc slope": lambda x, y, out, _: of_ufunc("smooth_l1_slope", x, y, 0.37, out=out),
    "ufunc array beta": lambda x, y, out, w: of_ufunc("smooth_l1", x, y, w, out=out),
    "ufunc strided": lambda x, y, out, _: of_ufunc("smooth_l1", x[::-1], y, 0.37, out=out),
    "location": lambda x, *_: call("huber_location", x, 1.0),
}


def cases():
    """Yield (name, call, how many of them) of what is counted."""
    for dtype in DTYPES:
        x, y, out, other = arrays(N, dtype, 4)
        for name, make in KERNELS.items():
            try:
                yield f"{name}, {dtype}", make(x, y, out, np.abs(other)), 2
            except NotImplementedError:  # on this commit
                continue
    x, y = arrays(10, "float32")
    loss = smoothl1.SmoothL1Loss()
    for name, make in overhead.CALLS.items():
        if overhead.is_here(name):
            yield name, lambda make=make: make(x, y, loss), 500


def run_cases():
    """Run every case between marks; print the name of each and how often it ran."""
    gc.disable()
    mark = getattr(ctypes.CDLL(None), MARK)
    ran = []
    for name, call, times in cases():
        for _ in range(max(3, times // 5)):  # the interpreter adapts, caches fill
            call()
        for repeats in (1, 1 + times):
            mark(0)
            for _ in range(repeats):
                call()
            mark(0)
        ran.append((name, times))
    print(json.dumps(ran))


def count(simd):
    """Return the instructions of one call of each case; empty where they cannot be counted."""
    built = smoothl1.show_config("dicts")["simd"]["supported"]
    if shutil.which("valgrind") is None or simd not in built:
        return {}
    with tempfile.TemporaryDirectory() as folder:
        command = ["valgrind", "--tool=callgrind", "--quiet", f"--dump-before={MARK}*"]
        command += [f"--callgrind-out-file={folder}/out", sys.executable, "-m"]
        command += ["benchmarks.instructions", "cases"]
        environment = {
            **os.environ,
            "SMOOTHL1_SIMD": simd,
            "SMOOTHL1_NUM_THREADS": "1",
            "PYTHONHASHSEED": "0",
            "OPENBLAS_NUM_THREADS": "1",  # its threads spin, and would be counted
        }
        done = subprocess.run(
            command,
            cwd=Path(__file__).parent.parent,
            env=environment,
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"the count under valgrind failed:\n{done.stderr}")
        ran = json.loads(done.stdout)
        # A mark ends a part: what came before, one call, what lies between, many calls; and again.
        parts = [Path(folder, f"out.{i + 1}") for i in range(4 * len(ran))]
        if not parts[-1].exists():
            raise RuntimeError(f"callgrind does not see the calls of {MARK}")
        totals = [
            int(re.search(r"^totals: (\d+)", part.read_text(), re.MULTILINE)[1]) for part in parts
        ]
    return {
        name: (many - one) / times
        for (name, times), one, many in zip(ran, totals[1::4], totals[3::4], strict=True)
    }


def setup_cache():
    """Count once for all benchmarks here: for the set that the environment names, or for each.

    There is nothing to count where the environment asks for more than one thread.
    """
    chosen = os.environ.get("SMOOTHL1_SIMD")
    if os.environ.get("SMOOTHL1_NUM_THREADS") not in ("1", "", None):
        return {}
    return {simd: count(simd) for simd in SETS if chosen in (simd, "", None)}


setup_cache.timeout = 900


def counted(counts, simd, name):
    """Return a count; n/a without Valgrind, for another instruction set, on an older commit."""
    if name not in counts.get(simd, {}):
        raise NotImplementedError(f"{name} is not counted here for {simd}")
    return counts[simd][name]


class Kernels:
    """Instructions of one call on 65 536 elements, for an element; one thread."""

    params = [list(KERNELS), DTYPES, SETS]
    param_names = ["kernel", "dtype", "simd"]

    def setup(self, counts, kernel, dtype, simd):
        self.count = counted(counts, simd, f"{kernel}, {dtype}")

    def track_kernel(self, counts, kernel, dtype, simd):
        """Instructions that a kernel executes for one element."""
        return self.count / N

    track_kernel.unit = "instructions / element"


class Calls:
    """Instructions of a call on ten elements; "numpy add" is the control."""

    params = [list(overhead.CALLS), SETS]
    param_names = ["call", "simd"]

    def setup(self, counts, call, simd):
        self.count = counted(counts, simd, call)

    def track_call(self, counts, call, simd):
        """Instructions that a call on ten elements executes, the interpreter's among them."""
        return self.count

    track_call.unit = "instructions"


if __name__ == "__main__":
    if sys.argv[1:] == ["cases"]:
        run_cases()
    else:
        print(json.dumps(setup_cache(), indent=1))
