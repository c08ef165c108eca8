"""Ctrl-C in a long call is honoured soon, and leaves nothing locked.

Drivers look at signals between groups of leaves, every eight million elements.
"""

import signal
import sys

import numpy as np
import pytest

import smoothl1
from smoothl1._simd import core
from tests.processes import run

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals"),
    pytest.mark.thread_unsafe(reason="signals go to the main thread"),
]

# A call that would take an hour: not looked at, the signal would outlast ``run``.
INTERRUPT = """
import os, signal, sys, threading, time
import numpy as np
import smoothl1
from smoothl1._simd import core

x, y = np.linspace(-3, 3, 10**6), np.zeros(10**6)
serial = smoothl1.smooth_l1_loss(x, y, n_threads=1)
shape = 10**13  # of arrays that take no memory
huge = np.broadcast_to(1.5, shape)
half = np.broadcast_to(np.float16(1.5), shape)
swapped = np.broadcast_to(np.array(1.5, ">f8"), shape)
selected = np.broadcast_to(True, shape)


def interrupt():
    global sent
    time.sleep(0.5)
    sent = time.perf_counter()
    os.kill(os.getpid(), signal.SIGINT)


threading.Thread(target=interrupt, daemon=True).start()
try:
    with smoothl1.num_threads({n_threads}):
        {call}
except KeyboardInterrupt:
    print(f"{call}: {{time.perf_counter() - sent:.3f}} s", file=sys.stderr)
    again = [smoothl1.smooth_l1_loss(x, y, n_threads=n) for n in (1, 2, None)]
    print(again == [serial] * 3, core.team_state())
"""


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize(
    "call",
    [
        "smoothl1.smooth_l1_loss(huge, huge)",
        "smoothl1.smooth_l1_loss(half, swapped)",
        "smoothl1.smooth_l1_loss(huge, huge, 'weighted_mean', weight=huge, where=selected)",
        "smoothl1.smooth_l1_path(huge, huge, [0.1, 1.0, 2.0])",
    ],
)
def test_ctrl_c(call, n_threads):
    answer = run(INTERRUPT.format(call=call, n_threads=n_threads), SMOOTHL1_NUM_THREADS="2")
    # The interrupted call is no longer counted among those that share the threads.
    assert answer == f"True {(bool(core.openmp_version()), False)}"


OTHER_THREAD = """
import os, signal, threading, time
import numpy as np
import smoothl1

long = np.broadcast_to(1.5, 6 * 10**9)
zero = np.broadcast_to(0.0, long.shape)
found = []
thread = threading.Thread(
    target=lambda: found.append(smoothl1.smooth_l1_loss(long, zero, n_threads={n_threads}))
)
thread.start()
try:
    threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
    time.sleep(3600)
except KeyboardInterrupt:
    early = not found
thread.join()
print(early, found == [1.0])
"""


@pytest.mark.parametrize("n_threads", [1, 2])
def test_ctrl_c_while_another_thread_computes(n_threads):
    """The main thread takes it; the call in the other goes on to its end."""
    assert run(OTHER_THREAD.format(n_threads=n_threads)) == "True True"


def wide(n):
    return np.broadcast_to(np.float32(1.5), n)


def table(rows, columns):
    return np.broadcast_to(np.ones(columns, np.float32), (rows, columns))


CALLS = {
    "mean": lambda: smoothl1.smooth_l1_loss(wide(2**28), wide(2**28)),
    "array of beta": lambda: smoothl1.smooth_l1_loss(wide(2**26), wide(2**26), beta=wide(2**26)),
    "none": lambda: smoothl1.smooth_l1_loss(wide(2**26), wide(2**26), "none"),
    "none into half": lambda: smoothl1.smooth_l1_loss(
        wide(2**26), wide(2**26), "none", out=np.empty(2**26, np.float16)
    ),
    "value_and_grad": lambda: smoothl1.smooth_l1_value_and_grad(wide(2**26), wide(2**26)),
    "grad_hess": lambda: smoothl1.smooth_l1_grad_hess(wide(2**26), wide(2**26)),
    "path": lambda: smoothl1.smooth_l1_path(wide(2**26), wide(2**26), [0.1, 0.5, 1.0, 2.0]),
    # Outputs of few elements, of many, and side by side.
    "axis=1 short": lambda: smoothl1.smooth_l1_loss(table(2**22, 64), table(2**22, 64), axis=1),
    "axis=1": lambda: smoothl1.smooth_l1_loss(table(2**15, 2**13), table(2**15, 2**13), axis=1),
    "axis=0": lambda: smoothl1.smooth_l1_loss(table(2**12, 2**17), table(2**12, 2**17), axis=0),
    "location": lambda: smoothl1.huber_location(np.linspace(-3.0, 3.0, 2**24), 0.5),
    "weighted location": lambda: smoothl1.huber_location(
        np.linspace(-3.0, 3.0, 2**24), 0.5, sample_weight=np.linspace(0.0, 1.0, 2**24)
    ),
}


@pytest.mark.parametrize("n_threads", [1, 2])
@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_signals_are_handled_within_a_call(call, n_threads):
    """A handler runs several times within one call, and may use the library itself."""
    x = np.linspace(-3, 3, 10**5)
    expected = smoothl1.smooth_l1_loss(x, 0 * x)
    found = []

    def handler(number, frame):
        found.append(smoothl1.smooth_l1_loss(x, 0 * x))
        if calling:
            signal.setitimer(signal.ITIMER_REAL, 1e-3)  # not earlier: handlers may nest

    with smoothl1.num_threads(n_threads):
        undisturbed = call()
        calling = True
        before = signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 1e-3)
        try:
            disturbed = call()
        finally:
            calling = False  # a handler that is due must not set the timer again
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)
    # Signals that wait for the end of a call are handled once.
    assert len(found) > 3
    assert set(found) == {expected}
    if not isinstance(undisturbed, tuple):
        undisturbed, disturbed = (undisturbed,), (disturbed,)
    assert all(map(np.array_equal, undisturbed, disturbed))


def test_a_handler_that_raises_ends_the_call():
    def handler(number, frame):
        raise TimeoutError("enough")

    before = signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0.1)
    huge = np.broadcast_to(1.5, 10**13)  # which would take an hour
    try:
        with pytest.raises(TimeoutError, match="enough"):
            smoothl1.smooth_l1_loss(huge, huge)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
