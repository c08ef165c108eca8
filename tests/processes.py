"""Fresh processes for tests that fork, interrupt, count threads, or might hang."""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path

import pytest

from smoothl1._simd import core

openmp = pytest.mark.skipif(not core.openmp_version(), reason="built without OpenMP")
linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs fork and /proc")

# Settings of the machine that a test must not depend on.
SETTINGS = {"OMP_NUM_THREADS", "OMP_THREAD_LIMIT", "OMP_DYNAMIC", "OMP_WAIT_POLICY"}
SETTINGS |= {"SMOOTHL1_NUM_THREADS"}


@contextlib.contextmanager
def session(command, environment, **options):
    """Start a process in a session of its own, and end all of that when the block is left."""
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    process = subprocess.Popen(
        command,
        env={**inherited, **environment},
        start_new_session=True,
        text=True,
        **options,
    )
    try:
        yield process
    finally:
        # Also its children, of which one may hang.
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "killpg"):
                os.killpg(process.pid, signal.SIGKILL)
            else:
                process.kill()
        process.wait()


def run(code, timeout=120, **environment):
    """Run code as a script; return what it and its children print.

    A deadlock, of a child too, is a ``TimeoutExpired``.
    """
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "script_of_a_test.py")
        script.write_text(textwrap.dedent(code))
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with session([sys.executable, str(script)], environment, **pipes) as process:
            output, errors = process.communicate(timeout=timeout)
    assert process.returncode == 0, errors
    return output.strip()


TEAM = """
#include <omp.h>

/* Run a team of n threads, each of which calls function, if any; return their number. */
int team(int n, void (*function)(void)) {
    int threads = 0;
    #pragma omp parallel num_threads(n)
    {
        #pragma omp single
        threads = omp_get_num_threads();
        if (function) { function(); }
    }
    return threads;
}
"""


def openmp_library(folder):
    """Compile a library with OpenMP that shares our runtime; return its path."""
    compiler = shutil.which("gcc")
    if compiler is None:
        pytest.skip("needs gcc")
    source, library = Path(folder, "team.c"), Path(folder, "libteam.so")
    source.write_text(TEAM)
    subprocess.run(
        [compiler, "-shared", "-fPIC", "-fopenmp", str(source), "-o", str(library)], check=True
    )
    return library
