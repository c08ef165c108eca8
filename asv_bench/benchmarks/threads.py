"""The same calls for a number of threads given with each."""

import contextlib
import os
import statistics
import subprocess
import sys
import threading
import time

from .common import arrays, function

AVAILABLE = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()


class Threads:
    """Time by number of threads; more than the processors at hand are n/a."""

    params = [
        ["smooth_l1_loss", "smooth_l1_value_and_grad"],
        [1, 2, 4, 8, 16],
        [2**17, 2**20, 2**24],
    ]
    param_names = ["function", "threads", "n"]

    def setup(self, name, threads, n):
        if threads > AVAILABLE:
            raise NotImplementedError(f"only {AVAILABLE} processors")
        self.function = function(name)
        self.input, self.target = arrays(n, "float32")

    def time_call(self, name, threads, n):
        """Seconds of a call with a number of threads."""
        self.function(self.input, self.target, n_threads=threads)


@contextlib.contextmanager
def busy_processors():
    """Keep every processor busy with another process, for the block."""
    spin = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(spin) for _ in range(AVAILABLE)]
    try:
        time.sleep(0.5)  # they have started
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()


def busy_ratio(n):
    """Return the mean time of a call on a busy machine, over that of a serial one there."""
    x, y = arrays(n, "float32")
    loss = function("smooth_l1_loss")
    calls = {1: 0, AVAILABLE: 0}
    seconds = dict.fromkeys(calls, 0.0)
    with busy_processors():
        for _ in range(4):
            for threads in calls:
                start = time.perf_counter()
                while (elapsed := time.perf_counter() - start) < 0.5:
                    loss(x, y, n_threads=threads)
                    calls[threads] += 1
                seconds[threads] += elapsed
    mean = {threads: seconds[threads] / calls[threads] for threads in calls}
    return mean[AVAILABLE] / mean[1]


class Busy:
    """Mean time of a call while other processes keep the processors busy."""

    params = [[4096, 2**16, 10**6]]
    param_names = ["n"]
    timeout = 120

    def track_ratio(self, n):
        """Mean time of a call with every processor over that of a serial one, all of them busy."""
        return busy_ratio(n)

    track_ratio.unit = "times the serial call"


def callers_ratio(n, callers, repetitions=200):
    """Return the time of many callers at once, over that of as many serial ones, per processor.

    Each caller is a Python thread that makes ``repetitions`` calls on the default number of
    threads; 1 is ideal. The median of some rounds, each with its own serial measurement.
    """
    x, y = arrays(n, "float32")
    loss = function("smooth_l1_loss")

    def calls(n_threads):
        for _ in range(repetitions):
            loss(x, y, n_threads=n_threads)

    def seconds(number, n_threads):
        threads = [threading.Thread(target=calls, args=(n_threads,)) for _ in range(number)]
        start = time.perf_counter()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.perf_counter() - start

    def ratio():
        serial = seconds(1, 1)
        together = seconds(callers, None)
        serial = (serial + seconds(1, 1)) / 2
        return together / (callers * serial / min(callers, AVAILABLE))

    seconds(callers, None)  # memory and threads are there
    return statistics.median(ratio() for _ in range(7))


class Callers:
    """Total time of eight Python threads that call at once."""

    params = [[2**17, 10**6]]
    param_names = ["n"]
    timeout = 120

    def track_ratio(self, n):
        """Return the time of eight callers over that of their calls in turn, per processor."""
        return callers_ratio(n, callers=8)

    track_ratio.unit = "times the serial total per processor"
