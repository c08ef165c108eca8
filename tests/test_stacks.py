"""Threads with the smallest stacks that Python and NumPy bear."""

import pytest

from tests import processes


@processes.linux
@pytest.mark.thread_unsafe(reason="starts processes")
@pytest.mark.parametrize("simd", ["baseline", None])
def test_small_stacks(simd):
    """32 KiB for the calling thread, and half of that for OpenMP's."""
    code = """
        import threading
        import numpy as np
        import smoothl1 as s
        from smoothl1 import ufuncs

        n = 300_000
        x, y = np.random.default_rng(0).normal(size=(2, n))
        w = np.abs(y)
        rows = x.reshape(-1, 3), y.reshape(-1, 3)
        one, two = x.astype("f2"), y[::-1]
        calls = [
            lambda: np.sum(x),
            lambda: s.smooth_l1_loss(x, y, n_threads=1),
            lambda: s.smooth_l1_loss(x, y, beta=0.7),
            lambda: s.smooth_l1_loss(x[:500], y[:500], beta=0.7),
            lambda: s.smooth_l1_loss(x, y, "weighted_mean", 0.7, weight=w, where=w > 1),
            lambda: s.smooth_l1_loss(x, y, beta=w),
            lambda: s.smooth_l1_loss(one, two, beta=0.7),
            lambda: s.smooth_l1_value_and_grad(x, y, beta=0.7),
            lambda: s.smooth_l1_loss(x, y, "none", 0.7),
            lambda: s.smooth_l1_grad_hess(x, y, 0.7),
            lambda: s.smooth_l1_loss(*rows, beta=0.7, axis=-1),
            lambda: s.smooth_l1_loss(*rows, beta=0.7, axis=0, weight=w.reshape(-1, 3)),
            lambda: s.smooth_l1_path(x, y, np.linspace(0, 5, 300)),
            lambda: s.huber_location(x, 0.5),
            lambda: s.huber_location(x, 0.5, sample_weight=w),
            lambda: s.smooth_l1_loss(x, y, beta=0.7, exact=True),
            lambda: s.smooth_l1_loss(x, y, beta=5e-324, weight=w),
            lambda: s.LossSums(0.7).update(x, y, weight=w),
            lambda: ufuncs.smooth_l1(x, y, 0.7),
            lambda: ufuncs.smooth_l1_slope(x[::2], y[::-2], w[::2]),
            lambda: ufuncs.huber(one, y, w),
            lambda: s.GroupedLossSums(0.7).update(x, y, (w * 10).astype(int)),
        ]
        threading.stack_size(32768)
        for call in calls:
            results = []
            thread = threading.Thread(target=lambda: results.append(call()))
            thread.start()
            thread.join()
            assert results
        print(s.show_config("dicts")["simd"]["chosen"])
    """
    # Stacks of threads that have ended, which may be larger, are not used again.
    environment = {"OMP_STACKSIZE": "16K"}
    environment["GLIBC_TUNABLES"] = "glibc.pthread.stack_cache_size=0"
    if simd is not None:
        environment["SMOOTHL1_SIMD"] = simd
    printed = processes.run(code, **environment)
    assert printed == (simd or printed)
