"""Every driver, called by many Python threads at once; for ThreadSanitizer (`.ci/tsan`)."""

import sys
import threading

import numpy as np

import smoothl1
from smoothl1._simd import core

CALLERS = 6
REPETITIONS = int(sys.argv[1]) if len(sys.argv) > 1 else 20

rng = np.random.default_rng(5)
n = 120_000
x, y, w, b = rng.standard_normal((4, n))
w, b = abs(w), abs(b)
mask = x > -1.0
single = x.astype(np.float32), y.astype(np.float32)
half = x.astype(np.float16), y.astype(">f4")
table = x.reshape(300, 400), y.reshape(300, 400)
short = x.reshape(-1, 4), y.reshape(-1, 4)


def results(n_threads):
    """One call of each driver, on inputs that all threads share."""
    options = {"n_threads": n_threads}
    yield smoothl1.smooth_l1_loss(x, y, **options)
    yield smoothl1.smooth_l1_loss(*single, "sum", 0.37, **options)
    yield smoothl1.smooth_l1_loss(*half, **options)
    yield smoothl1.smooth_l1_loss(x[::2], y[::-2], **options)
    yield smoothl1.smooth_l1_loss(x, y, "weighted_mean", weight=w, where=mask, **options)
    yield smoothl1.huber_loss(x, y, delta=b, **options)
    yield smoothl1.smooth_l1_loss(*table, axis=0, **options)
    yield smoothl1.smooth_l1_loss(*table, axis=1, **options)
    yield smoothl1.smooth_l1_loss(*short, axis=1, **options)
    yield smoothl1.smooth_l1_path(x, y, [0.1, 1.0, 2.0], **options)
    yield smoothl1.smooth_l1_loss(x, y, "none", **options)
    yield smoothl1.smooth_l1_loss(*table, "none", out=np.empty((400, 300)).T, **options)
    yield from smoothl1.smooth_l1_value_and_grad(x, y, **options)
    yield from smoothl1.smooth_l1_value_and_grad(*single, "none", 0.37, **options)
    yield from smoothl1.smooth_l1_grad_hess(x, y, weight=w, **options)
    yield smoothl1.huber_location(x, 0.5, sample_weight=w)


def caller(number):
    """Call all of them again and again, and compare."""
    for repetition in range(REPETITIONS):
        n_threads = (None, 1, 2, 3)[(number + repetition) % 4]
        for found, wanted in zip(results(n_threads), expected, strict=True):
            np.testing.assert_array_equal(found, wanted)
        if number == 0:  # one of them also changes and reads the settings
            smoothl1.set_num_threads((None, 2, 3)[repetition % 3])
            core.team_debt(1e-3 * (repetition % 2))
            smoothl1.show_config("dicts")


def guarded(number):
    """Keep the exception of a thread for the exit status."""
    try:
        caller(number)
    except BaseException as error:
        failures.append(error)
        raise


failures = []
expected = list(results(1))
threads = [threading.Thread(target=guarded, args=(i,)) for i in range(CALLERS)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
gil = getattr(sys, "_is_gil_enabled", lambda: True)()
print(f"{CALLERS} callers, {REPETITIONS} times all drivers; GIL: {gil}; {core.team_state()=}")
sys.exit(bool(failures))
