"""A small history with results, made up: what the tests publish, in seconds."""

import itertools
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

asv = pytest.importorskip("asv")

from asv import util  # noqa: E402
from asv.results import Results  # noqa: E402
from asv.runner import BenchmarkResult  # noqa: E402

DASHBOARD = Path(__file__).parent.parent
COMMITS, SLOW_FROM, STEP = 12, 7, 1.3
THREADS = ["1", "2"]
PLANTED = "reductions.Reductions.time_reduction"
PLANTED_CASE = ("huber_loss", 65536)
SIZES = [10, 1000, 100_000, 10_000_000]
PARAMS = {
    PLANTED: {"function": ["smooth_l1_loss", "huber_loss"], "n": [10, 65536, 16777216]},
    "overhead.Overhead.time_call": {"call": ["mean", "numpy add"]},
    "overhead.Import.timeraw_import_smoothl1": {},
    "peers.Peers.time_call": {
        "implementation": ["ours", "torch", "numba", "numpy", "numexpr", "scipy", "sklearn", "jax"],
        "operation": ["mean", "none", "value and gradient"],
        "n": SIZES,
        "dtype": ["float32", "float64"],
    },
    "peers.Limit.track_seconds": {
        "operation": ["mean", "none", "value and gradient"],
        "n": SIZES,
        "dtype": ["float32", "float64"],
    },
}
# Seconds of a call, and of an element, by what runs; JAX is not installed here.
COST = {
    "limit": (2e-9, 1.6e-10),
    "ours": (2e-7, 1.8e-10),
    "torch": (5e-6, 7e-10),
    "numba": (8e-7, 2.1e-10),
    "numpy": (8e-6, 5e-9),
    "numexpr": (9e-6, 4e-9),
    "scipy": (4e-6, 6e-9),
    "sklearn": (6e-6, 4.5e-9),
}


def benchmark(name):
    """Return what asv would have found of a benchmark."""
    params = PARAMS[name]
    return {
        "name": name,
        "code": f"def {name.rpartition('.')[2]}(...)",
        "param_names": list(params),
        "params": [[repr(value) for value in values] for values in params.values()],
        "type": "track" if "track" in name else "time",
        "unit": "seconds",
        "version": "1",
    }


def seconds(name, case, threads, commit):
    """Return the true time of a case of a benchmark at a commit; NaN is n/a."""
    if name.startswith("peers"):
        call, element = COST.get(case.get("implementation", "limit"), (np.nan, np.nan))
        more = {"mean": 1, "none": 1.5, "value and gradient": 1.6}[case["operation"]]
        size = {"float32": 1, "float64": 2}[case["dtype"]]
        return call + element * case["n"] * more * size / (threads if case["n"] > 1000 else 1)
    slow = name == PLANTED and tuple(case.values()) == PLANTED_CASE and commit >= SLOW_FROM
    return 1e-7 * (1 + case.get("n", 10) / 1000) * (STEP if slow else 1)


def results(commit, date, index, threads):
    """Return the results of a commit for a number of threads, each within 1 % of the truth."""
    rng = np.random.default_rng([index, threads])
    machine = {"machine": "fixture", "cpu": "a processor", "arch": "", "os": "", "ram": ""}
    env_vars = {"SMOOTHL1_NUM_THREADS": str(threads), "SMOOTHL1_SIMD": "avx2"}
    found = Results(
        {**machine, "num_cpu": "2", "python": "3.11", "numpy": "2.4.6"},
        {"numpy": "2.4.6"},
        commit,
        date,
        "3.11",
        f"fixture-{threads}",
        env_vars,
    )
    for name, params in PARAMS.items():
        if name.startswith("peers") and index < COMMITS - 3:
            continue  # a benchmark that was added late
        cases = [
            dict(zip(params, case, strict=True)) for case in itertools.product(*params.values())
        ]
        true = [seconds(name, case, threads, index) for case in cases]
        samples = [None if np.isnan(t) else list(t * rng.uniform(0.99, 1.01, 10)) for t in true]
        values = [np.nan if s is None else float(np.median(s)) for s in samples]
        number = [None if s is None else 1 for s in samples]
        found.add_result(benchmark(name), BenchmarkResult(values, samples, number, 0, "", None))
    return found


def make(folder):
    """Write a repository, its results and asv's configuration to a folder; return the commits."""
    repo, stored = folder / "repo", folder / "results"
    git = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", "-C", str(repo)]
    subprocess.run(["git", "init", "-q", "-b", "main", str(repo)], check=True)
    commits = []
    for index in range(COMMITS):
        day = f"2026-01-{index + 1:02}T12:00:00+00:00"
        dated = {**os.environ, "GIT_AUTHOR_DATE": day, "GIT_COMMITTER_DATE": day}
        command = [*git, "commit", "-q", "--allow-empty", "-m", f"commit {index}"]
        subprocess.run(command, check=True, env=dated)
        commit = subprocess.run(
            [*git, "rev-parse", "HEAD"], check=True, capture_output=True, text=True
        ).stdout.strip()
        commits.append(commit)
        date = 1000 * int(np.datetime64(day[:19], "s").astype(int))
        for threads in map(int, THREADS):
            results(commit, date, index, threads).save(str(stored))
    util.write_json(stored / "fixture" / "machine.json", {"machine": "fixture"}, 1)
    util.write_json(stored / "benchmarks.json", {name: benchmark(name) for name in PARAMS}, 2)
    util.write_json(
        folder / "asv.conf.json",
        {
            "version": 1,
            "project": "smoothl1",
            "repo": str(repo),
            "branches": ["main"],
            "environment_type": "virtualenv",
            "results_dir": str(stored),
            "html_dir": str(folder / "html"),
            "plugins": [".dashboard.publisher"],
        },
    )
    (folder / "dashboard").symlink_to(DASHBOARD)  # asv looks beside its configuration
    return commits
