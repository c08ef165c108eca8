"""Instruction sets: the choice of one, and the same bits from each."""

import os
import subprocess
import sys

import pytest

import smoothl1
from smoothl1 import _simd
from tests import digest


def python(*arguments, **environment):
    return subprocess.run(
        [sys.executable, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


# On one thread, and on as many as there are processors up to four.
RUNS = list(zip(_simd.supported(), ("4", "1", "4"), strict=False))
RUNS += [("baseline", "1")] if len(RUNS) == 1 else []


@pytest.mark.parametrize(("simd", "threads"), RUNS)
def test_bits_are_those_that_are_stored(simd, threads):
    done = python("-m", "tests.digest", SMOOTHL1_SIMD=simd, OMP_NUM_THREADS=threads)
    assert done.returncode == 0, done.stderr
    assert f" on {simd}: " in done.stderr
    found, stored = (
        dict(line.split() for line in text.splitlines())
        for text in (done.stdout, digest.STORED.read_text())
    )
    changed = [name for name in {**stored, **found} if found.get(name) != stored.get(name)]
    assert not changed, (
        f"other bits than those in tests/digest.txt: {', '.join(changed)}. A commit that changes a "
        f"bit needs a line in CHANGELOG.md that names the functions, and the new values "
        f"(python -m tests.digest --store); one that changes inputs or adds functions needs "
        f"the new values alone."
    )


def test_baseline_is_among_them():
    assert _simd.supported()[-1] == "baseline"


def test_unknown_set_is_an_import_error():
    done = python("-c", "import smoothl1", SMOOTHL1_SIMD="sse9")
    assert done.returncode == 1
    last = done.stderr.strip().splitlines()[-1]
    usable = ", ".join(_simd.supported())
    assert last == (
        f"ImportError: SMOOTHL1_SIMD='sse9' is no instruction set; use one of {usable}, or unset it"
    )


def test_empty_variable_means_the_best():
    done = python("-c", "import smoothl1._simd as s; print(s.chosen)", SMOOTHL1_SIMD="")
    assert done.stdout.strip() == _simd.supported()[0]


def test_set_that_the_processor_lacks(monkeypatch):
    monkeypatch.setattr(_simd, "_cpu_features", lambda: {"AVX2": True, "FMA3": True, "F16C": True})
    monkeypatch.setattr(_simd, "built", lambda: ["avx512", "avx2", "baseline"])
    assert _simd.supported() == ["avx2", "baseline"]
    assert _simd.choose(None) == "avx2"
    assert _simd.choose("baseline") == "baseline"
    with pytest.raises(ImportError, match="'avx512' is not supported by this processor; use one"):
        _simd.choose("avx512")
    monkeypatch.setattr(_simd, "_cpu_features", lambda: {"AVX2": True, "FMA3": True})
    assert _simd.supported() == ["baseline"]


def test_set_that_was_not_built(monkeypatch):
    monkeypatch.setattr(_simd, "built", lambda: ["baseline"])
    with pytest.raises(ImportError, match="'avx2' was not built; use one of baseline"):
        _simd.choose("avx2")
    assert _simd.choose(None) == "baseline"
    monkeypatch.setattr(_simd, "built", list)
    with pytest.raises(ImportError, match="no compiled core here: build it with 'pip install"):
        _simd.choose(None)


def test_only_one_variant_is_imported():
    code = "import sys, smoothl1; print([m for m in sys.modules if 'smoothl1._smoothl1' in m])"
    done = python("-c", code)
    assert done.stdout.strip() == f"['smoothl1._smoothl1_{_simd.chosen}']"


def test_show_config(capsys):
    config = smoothl1.show_config("dicts")
    assert config["smoothl1"] == smoothl1.__version__
    assert config["simd"]["chosen"] in config["simd"]["supported"]
    assert set(config["simd"]["supported"]) <= set(config["simd"]["built"])
    assert config["threads"]["limit"] >= 1
    assert smoothl1.show_config() is None
    printed = capsys.readouterr().out
    for text in ("smoothl1: ", "chosen: ", "built: ", "runtimes: ", "limit: ", "this process: "):
        assert text in printed
    with pytest.raises(ValueError, match="mode must be 'stdout' or 'dicts', got 'json'"):
        smoothl1.show_config("json")
