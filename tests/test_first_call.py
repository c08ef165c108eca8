"""Nothing is imported within a call: neither a fork nor the end of a process may come between."""

import os
from pathlib import Path

import pytest

from tests.processes import linux, run

pytestmark = pytest.mark.thread_unsafe(reason="starts processes")

ROOT = {
    "PYTHONPATH": os.pathsep.join(
        filter(None, (str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH")))
    )
}
EXPECTED = "(ArithmeticError, AttributeError, LookupError, TypeError, ValueError)"

MODULES = f"""
import sys, warnings
from tests.first_calls import calls

warnings.simplefilter("always")
seen = set(sys.modules)
count = 0
for name, call in calls():
    count += 1
    try:
        call()
    except {EXPECTED}:
        pass
    if set(sys.modules) != seen:
        print(name, sorted(set(sys.modules) - seen))
        seen = set(sys.modules)
print(count)
"""

SHUTDOWN = f"""
import os, sys, warnings
from tests.first_calls import calls

warnings.simplefilter("ignore")

class Late:
    def __init__(self):
        self.names = os.write, sys, list(calls())

    def __del__(self):
        write, sys, calls = self.names
        count = 0
        for name, call in calls:
            count += 1
            try:
                call()
            except {EXPECTED}:
                pass
            except ImportError as error:
                # NumPy needs an import for the name of a dtype, which messages show.
                if not name.endswith(("complex", "dates", "object", "text")) and (
                    "where of int" not in name
                ):
                    write(1, f"{{name}}: {{error!r}}\\n".encode())
            except BaseException as error:
                write(1, f"{{name}}: {{error!r}}\\n".encode())
        write(1, f"{{sys.meta_path}} {{count}}\\n".encode())

late = Late()
"""

FORK = """
import os, sys, threading
import numpy as np
import smoothl1

x = np.ones(3 * 10**6)

def work():
    while True:
        smoothl1.smooth_l1_loss(x, 0.0, n_threads=2)

for _ in range(3):
    threading.Thread(target=work, daemon=True).start()
for _ in range(3):
    pid = os.fork()
    if pid == 0:
        smoothl1.smooth_l1_loss(x, 0.0)
        os._exit(0)
    print(os.waitpid(pid, 0)[1])
sys.stdout.flush()
os._exit(0)
"""


def test_no_call_imports_anything():
    *imported, count = run(MODULES, **ROOT).splitlines()
    assert not imported
    assert int(count) > 1000


def test_first_calls_at_the_end_of_the_interpreter():
    """From ``__del__`` of a global object, when no module can be imported any more."""
    *failed, count = run(SHUTDOWN, **ROOT).splitlines()
    assert not failed
    assert count.split()[0] == "None"
    assert int(count.split()[1]) > 1000


@linux
def test_fork_while_other_threads_are_in_their_first_call():
    for _ in range(4):
        assert run(FORK, timeout=60).split() == ["0"] * 3
