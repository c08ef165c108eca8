"""The benchmarks are complete and current: figures with units, sentences, functions that exist."""

import contextlib
import importlib
import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import smoothl1

BENCH = Path(__file__).parent.parent / "asv_bench"
if not BENCH.exists():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.append(str(BENCH))

import worker  # noqa: E402
from benchmarks import common, estimators, instructions  # noqa: E402

FOUND = worker.discover()
METHODS = sorted({name.partition("(")[0]: found for name, found in FOUND.items()}.items())


@pytest.fixture
def small_arrays(monkeypatch):
    """Let benchmarks have small arrays, of 1024 elements at least, for some are shaped so."""

    def arrays(shape, dtype, count=2):
        shape = (min(shape[0], 1024), *shape[1:]) if isinstance(shape, tuple) else min(shape, 4096)
        rng = np.random.default_rng(0)
        return [rng.standard_normal(shape, dtype=dtype) for _ in range(count)]

    for module in {sys.modules[cls.__module__] for _, cls, *_ in FOUND.values()}:
        if hasattr(module, "arrays"):
            monkeypatch.setattr(module, "arrays", arrays)


@pytest.mark.parametrize(("name", "found"), METHODS, ids=[name for name, _ in METHODS])
def test_has_a_sentence_and_a_unit(name, found):
    kind, cls, method, _ = found
    function = getattr(cls, method)
    assert function.__doc__ is not None
    assert function.__doc__.endswith(".")
    # asv knows that times are seconds and memory is bytes.
    assert kind in ("time", "timeraw", "peakmem") or function.unit


@pytest.mark.parametrize(("name", "found"), METHODS, ids=[name for name, _ in METHODS])
def test_parameters_are_named(name, found):
    _, cls, _, values = found
    assert len(getattr(cls, "param_names", [])) == len(values)


def test_no_function_is_missing_on_this_commit(small_arrays, monkeypatch):
    def imported(module, name):
        needed = {"sklearn", *({"lightgbm", "xgboost"} & set(module.split(".")))}
        if not all(importlib.util.find_spec(name) for name in needed):
            raise NotImplementedError
        return getattr(importlib.import_module(module), name)

    monkeypatch.setattr(estimators, "imported", imported)
    for module in {sys.modules[cls.__module__] for _, cls, *_ in FOUND.values()}:
        if hasattr(module, "function"):
            monkeypatch.setattr(module, "function", lambda name: getattr(smoothl1, name))
    for name, (_, cls, _, values) in FOUND.items():
        if name.startswith(("instructions.", "limit.", "peers.")) or not hasattr(cls, "setup"):
            continue
        with contextlib.suppress(NotImplementedError):
            cls().setup(*values)


def test_every_kernel_can_be_counted(small_arrays):
    counted = {name for name, _, _ in instructions.cases()}
    kernels = {f"{name}, {dtype}" for name in instructions.KERNELS for dtype in common.DTYPES}
    assert counted == kernels | set(instructions.overhead.CALLS)


def test_nothing_is_counted_without_valgrind(monkeypatch):
    monkeypatch.setattr(instructions.shutil, "which", lambda name: None)
    monkeypatch.delenv("SMOOTHL1_SIMD", raising=False)
    monkeypatch.delenv("SMOOTHL1_NUM_THREADS", raising=False)
    counts = instructions.setup_cache()
    assert counts == {"avx2": {}, "baseline": {}}
    with pytest.raises(NotImplementedError, match="is not counted here for avx2"):
        instructions.Calls().setup(counts, "mean", "avx2")


def test_the_instruction_set_of_the_environment_alone_is_counted(monkeypatch):
    monkeypatch.setattr(instructions, "count", lambda simd: {"mean": 4700.0})
    monkeypatch.setenv("SMOOTHL1_SIMD", "baseline")
    monkeypatch.setenv("SMOOTHL1_NUM_THREADS", "1")
    assert instructions.setup_cache() == {"baseline": {"mean": 4700.0}}
    monkeypatch.setenv("SMOOTHL1_NUM_THREADS", "2")
    assert instructions.setup_cache() == {}


def test_the_report_measures_and_prints(tmp_path):
    simd = smoothl1.show_config("dicts")["simd"]["chosen"]
    options = ["--rows", "call", "--threads", "1", "--simd", simd, "--json", tmp_path / "ratios"]
    done = subprocess.run(
        [sys.executable, BENCH / "report.py", *options],
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads((tmp_path / "ratios").read_text())
    _processor, _, head, _, *lines = done.stdout.strip().splitlines()
    assert head == f"| what | against | goal | {simd} |"
    assert len(lines) == len(found) == 5
    for line, result in zip(lines, found, strict=True):
        assert result["ratio"] > 0
        assert line.startswith(f"| {result['what']} | np.add | ≤ {result['goal']:.2f} | ")
