"""Run benchmarks of the suite with one build of the library, step by step, for ``compare.py``.

Every line of the input is a step and its arguments as JSON, every line of the output is
``{"value": ...}``, null for what is n/a here, or ``{"error": traceback}``.
"""

import importlib
import itertools
import json
import os
import pkgutil
import re
import resource
import subprocess
import sys
import timeit
import traceback
from pathlib import Path

import benchmarks

import smoothl1

METHOD = re.compile(r"(timeraw|time|peakmem|track)_")


def discover():
    """Return every benchmark by name, as (kind, class, method, parameters)."""
    found = {}
    for info in pkgutil.iter_modules(benchmarks.__path__):
        module = importlib.import_module(f"benchmarks.{info.name}")
        for cls in vars(module).values():
            if not isinstance(cls, type) or cls.__module__ != module.__name__:
                continue
            params = getattr(cls, "params", [])
            if params and not isinstance(params[0], list):
                params = [params]
            for method in filter(METHOD.match, dir(cls)):
                for values in itertools.product(*params):
                    listed = f"({', '.join(map(str, values))})" if values else ""
                    name = f"{info.name}.{cls.__name__}.{method}{listed}"
                    found[name] = METHOD.match(method)[1], cls, method, values
    return found


class Worker:
    """The steps: a method each."""

    def __init__(self):
        self.found = discover()
        self.caches = {}

    def start(self):
        """Return where the library came from, and the kind of every benchmark by name."""
        kinds = {name: kind for name, (kind, *_) in self.found.items()}
        return str(Path(smoothl1.__file__).parent.parent), kinds

    def setup(self, name):
        """Set a benchmark up and call it once; return 1."""
        kind, cls, method, values = self.found[name]
        benchmark = cls()
        if hasattr(benchmark, "setup"):
            benchmark.setup(*values)
        call = getattr(benchmark, method)
        if kind == "timeraw":
            command = [sys.executable, "-c", call(*values)]
            self.timer = timeit.Timer(lambda: subprocess.run(command, check=True))
        else:
            self.timer = timeit.Timer(lambda: call(*values))
        self.timer.timeit(1)
        return 1

    def calls(self, seconds):
        """Return how many calls take so long."""
        calls = 1
        while (taken := self.timer.timeit(calls)) < seconds / 4:
            calls *= 4
        return max(1, round(calls * seconds / taken))

    def sample(self, calls):
        """Return the seconds that a call takes, of so many in a row after one untimed."""
        if calls > 1:
            self.timer.timeit(1)
        return self.timer.timeit(calls) / calls

    def track(self, name):
        """Return the figure of a benchmark that counts, given its module's cache if any."""
        _, cls, method, values = self.found[name]
        module = sys.modules[cls.__module__]
        if module not in self.caches:
            self.caches[module] = [module.setup_cache()] if hasattr(module, "setup_cache") else []
        benchmark = cls()
        if hasattr(benchmark, "setup"):
            benchmark.setup(*self.caches[module], *values)
        return getattr(benchmark, method)(*self.caches[module], *values)

    def peak(self, name):
        """Return the bytes that this process has needed at most, a benchmark included."""
        self.setup(name)
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main():
    # What a benchmark prints must not get between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    worker = Worker()
    for line in sys.stdin:
        step, *arguments = json.loads(line)
        try:
            answer = {"value": getattr(worker, step)(*arguments)}
        except NotImplementedError:
            answer = {"value": None}
        except Exception:
            answer = {"error": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
