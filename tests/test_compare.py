"""The comparison of two commits: verdicts from given samples, and what becomes of failures."""

import json
import random
import subprocess
import sys
from pathlib import Path

import pytest

import smoothl1

BENCH = Path(__file__).parent.parent / "asv_bench"
if not BENCH.exists():
    pytest.skip("the benchmarks are not here", allow_module_level=True)
sys.path.append(str(BENCH))

import compare  # noqa: E402
import verdicts  # noqa: E402

SITE = Path(smoothl1.__file__).parent.parent
SMALL = "overhead.Overhead.time_call(mean)"


def rounds(rng, seconds, jitter, count=15):
    """Return shortest times of rounds on a machine that is often slower, by up to a factor."""
    return [seconds * (1 + jitter * rng.random() ** 2) for _ in range(count)]


@pytest.mark.parametrize(
    ("count", "expected"),
    [(7, (None, None)), (8, (1, 8)), (11, (1, 11)), (12, (2, 11)), (15, (3, 13)), (20, (4, 17))],
)
def test_bounds_are_order_statistics(count, expected):
    # P(X <= k - 1) of a binomial variable with p = 1/2, by SciPy: 0.0039 for 8 and k = 1,
    # 0.0032 for 12 and k = 2, 0.0037 for 15 and k = 3, 0.0013 for 20 and k = 4.
    ratios = list(range(1, count + 1))
    random.Random(0).shuffle(ratios)
    assert verdicts.bounds(ratios) == expected


def test_a_machine_that_jitters_by_half_raises_no_alarm():
    rng = random.Random(0)
    for _ in range(2000):
        row = verdicts.of_rounds("a", rounds(rng, 1e-3, 0.5), rounds(rng, 1e-3, 0.5))
        assert row.verdict == "same"


@pytest.mark.parametrize(("factor", "verdict"), [(1.3, "worse"), (1 / 1.3, "better")])
def test_a_change_by_1_3_is_found_where_the_machine_jitters(factor, verdict):
    rng = random.Random(0)
    found = [
        verdicts.of_rounds("a", rounds(rng, 1e-3, 0.2), rounds(rng, factor * 1e-3, 0.2)).verdict
        for _ in range(1000)
    ]
    assert found.count(verdict) >= 990
    assert set(found) <= {verdict, "same"}


def test_the_shortest_times_must_agree_with_the_interval():
    slow = [1.2] * 15
    assert verdicts.of_rounds("a", [1.0] * 15, slow).verdict == "worse"
    assert verdicts.of_rounds("a", [1.0] * 15, [1.05, *slow[1:]]).verdict == "same"


def test_few_rounds_can_only_be_suspicious():
    base, head = [1.0, 1.0, 1.0], [1.3, 1.3, 1.0]
    row = verdicts.of_rounds("a", base, head)
    assert (row.verdict, row.ratio, row.low, row.high) == ("same", 1.3, None, None)
    assert verdicts.suspicious(base, head)
    assert not verdicts.suspicious(base, [1.3, 1.0, 1.09])
    assert verdicts.suspicious([1.0, 1.0, 1.0], [1.0, 1.0, 0.8])


@pytest.mark.parametrize(
    ("kind", "head", "verdict"),
    [
        ("instructions", 1019, "same"),
        ("instructions", 1021, "worse"),
        ("instructions", 979, "better"),
        ("memory", 1040, "same"),
        ("memory", 1060, "worse"),
        ("memory", None, "gone"),
    ],
)
def test_figures_are_held_against_the_threshold_of_their_kind(kind, head, verdict):
    assert verdicts.of_figures(kind, "a", 1000, head).verdict == verdict


def test_what_the_base_lacks_is_new():
    assert verdicts.of_figures("memory", "a", None, 1).verdict == "new"


@pytest.mark.parametrize(
    ("found", "status"),
    [
        ([], 0),
        (["same", "better", "new", "gone"], 0),
        (["same", "worse", "better"], 1),
        (["worse", "failed"], 2),
    ],
)
def test_status(found, status):
    assert verdicts.status([verdicts.Row("time", "a", verdict) for verdict in found]) == status


def test_table():
    rows = [
        verdicts.of_figures("instructions", "b", 3.2, 3.2),
        verdicts.of_figures("instructions", "c", 4702.6, 4000),
        verdicts.of_figures("memory", "d", 46.1e6, 50e6),
        verdicts.of_rounds("e", [2e-6] * 15, [2.5e-6] * 7 + [2.6e-6] * 8),
        verdicts.Row("time", "f", "failed"),
    ]
    assert verdicts.table(rows).splitlines() == [
        "| kind | threshold | worse | better | same | new | gone | failed |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
        "| time | 10% | 1 | 0 | 0 | 0 | 0 | 1 |",
        "| instructions | 2% | 0 | 1 | 1 | 0 | 0 | 0 |",
        "| memory | 5% | 1 | 0 | 0 | 0 | 0 | 0 |",
        "",
        "| verdict | kind | benchmark | base | head | ratio |",
        "| --- | --- | --- | ---: | ---: | ---: |",
        "| worse | memory | `d` | 46.1 MB | 50 MB | 1.085 |",
        "| worse | time | `e` | 2 µs | 2.5 µs | 1.300 (1.250 to 1.300) |",
        "| better | instructions | `c` | 4,703 | 4,000 | 0.851 |",
        "| failed | time | `f` | n/a | n/a |  |",
    ]
    assert "| same | instructions | `b` | 3.2 | 3.2 | 1.000 |" in verdicts.table(rows, True)


def test_selection():
    kinds = {
        "reductions.A.time_a(10, float32)": "time",
        "reductions.A.time_a(16777216, float32)": "time",
        "peers.Peers.time_call(ours, mean, 10)": "time",
        "threads.Callers.track_ratio(131072)": "track",
        "memory.Memory.peakmem_mean(mixed)": "peakmem",
        "instructions.Calls.track_call(mean, avx2)": "track",
        "limit.Limit.track_ratio(mean, 65536)": "track",
    }
    small, large, _, _, memory, count, _ = kinds
    assert compare.selected(kinds, "", quick=False) == [[small, large], [memory], [count]]
    assert compare.selected(kinds, "", quick=True) == [[small], [memory], [count]]
    assert compare.selected(kinds, "^red.*A", quick=True) == [[small], [], []]


def test_a_build_compared_with_itself():
    (row,) = compare.compare_times([SITE, SITE], [SMALL], 2)
    assert (row.kind, row.name) == ("time", SMALL)
    assert min(row.base, row.head) > 0
    assert row.verdict in verdicts.VERDICTS


def test_a_benchmark_that_fails_is_named_and_the_others_go_on(capfd):
    rows = {row.name: row for row in compare.compare_times([SITE, SITE], ["none.such", SMALL], 1)}
    assert rows["none.such"].verdict == "failed"
    assert rows[SMALL].base > 0
    assert verdicts.status(rows.values()) == 2
    assert "KeyError: 'none.such'" in capfd.readouterr().err


def test_a_process_that_ends_is_an_error():
    side = compare.Side(SITE)
    side.process.kill()
    with pytest.raises(compare.ComparisonError, match="ended with status -9"):
        side.ask("setup", SMALL)
    side.close()


def test_a_library_from_elsewhere_is_an_error(tmp_path):
    with pytest.raises(compare.ComparisonError, match="was imported from"):
        compare.Side(tmp_path)


def test_no_verdict_has_a_status_of_its_own():
    command = [sys.executable, BENCH / "compare.py", "no-such-commit"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("compare.py: ")


def test_rows_are_written_as_json(tmp_path, monkeypatch, capsys):
    rows = [verdicts.of_rounds("a", [1.0], [1.0]), verdicts.of_figures("memory", "b", 1, 2)]
    monkeypatch.setattr(compare, "git", lambda *words: "" if words[0] == "status" else "0" * 40)
    monkeypatch.setattr(compare, "compare", lambda *_: rows)
    monkeypatch.setattr(sys, "argv", ["compare.py", "main", "--json", str(tmp_path / "out.json")])
    assert compare.main() == 1
    assert "| worse | memory | `b` |" in capsys.readouterr().out
    found = json.loads((tmp_path / "out.json").read_text())
    assert [row["verdict"] for row in found["rows"]] == ["same", "worse"]
    assert found["rows"][0]["low"] is None
