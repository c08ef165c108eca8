"""Compare two commits: times, instructions and peak memory, as a Markdown table.

    python asv_bench/compare.py main HEAD               # every benchmark
    python asv_bench/compare.py HEAD~3 HEAD --quick     # sizes up to 2**20, fewer rounds
    python asv_bench/compare.py main --bench '^overhead' --json compared.json

Both commits are built, with what PyPI has, into folders that are kept for the next comparison.
The benchmarks are those of this checkout; they run in this interpreter, with its packages beside
the build, on one thread unless ``SMOOTHL1_NUM_THREADS`` says other. ``verdicts.py`` says when a
figure counts as changed. A time that looks changed is measured again, from nothing.

Exit status: 0 nothing is worse; 1 something is; 2 no verdict, as a build or a benchmark failed,
files are not committed, or there is no such commit or benchmark.
"""

import argparse
import contextlib
import dataclasses
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import verdicts

HERE = Path(__file__).resolve().parent
BUILDS = HERE / ".asv" / "compare"

SAMPLE = 1e-3  # seconds, often less than what a busy processor gives to each process in turn
BUDGET = 0.02  # seconds of samples for a build, a benchmark and a round
FIRST, FIRST_QUICK, AGAIN = 5, 3, 15  # rounds
QUICK_SIZE = 2**20
PATIENCE = 900  # seconds until a process that does not answer is ended

TIMES = ("time", "timeraw")
SKIPPED = re.compile(r"peers\.|limit\.|threads\.\w+\.track_")  # the code of others; ratios of times


class ComparisonError(Exception):
    """There can be no verdict; the text says why."""


def log(*words):
    print(*words, file=sys.stderr, flush=True)


def git(*arguments):
    done = subprocess.run(["git", *arguments], cwd=HERE.parent, capture_output=True, text=True)
    if done.returncode:
        raise ComparisonError(f"git {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout.strip()


def build(commit):
    """Return the folder of the library as of a commit; it is built if it is not there."""
    site = BUILDS / f"{sys.implementation.cache_tag}-{commit[:12]}"
    if site.exists():
        return site
    log("building", commit[:12])
    with tempfile.TemporaryDirectory() as folder:
        git("archive", f"--output={folder}/source.tar", commit)
        shutil.unpack_archive(f"{folder}/source.tar", f"{folder}/source")
        pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--target"]
        done = subprocess.run(
            [*pip, f"{folder}/site", f"{folder}/source"], capture_output=True, text=True
        )
        if done.returncode:
            raise ComparisonError(f"{commit[:12]} was not built:\n{done.stdout}{done.stderr}")
        BUILDS.mkdir(parents=True, exist_ok=True)
        shutil.move(f"{folder}/site", site)
    return site


class Side:
    """A process of ``worker.py`` with one build."""

    def __init__(self, site):
        threads = {"SMOOTHL1_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
        self.process = subprocess.Popen(
            [sys.executable, HERE / "worker.py"],
            env={**threads, **os.environ, "PYTHONPATH": str(site)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            origin, self.kinds = self.ask("start")
            if Path(origin) != site:
                raise ComparisonError(f"the library was imported from {origin}, not from {site}")
        except ComparisonError:
            self.close()
            raise

    def ask(self, *step):
        """Return what a step of the worker yields; None where the benchmark is n/a."""
        watch = threading.Timer(PATIENCE, self.process.kill)
        watch.start()
        try:
            self.process.stdin.write(json.dumps(step) + "\n")
            self.process.stdin.flush()
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        finally:
            watch.cancel()
        if not line:
            status = self.process.wait()
            raise ComparisonError(f"{step}: the process ended with status {status}")
        answer = json.loads(line)
        if "error" in answer:
            raise ComparisonError(f"{step}: {answer['error']}")
        return answer["value"]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()
        with contextlib.suppress(BrokenPipeError):  # a step that nobody reads any more
            self.process.stdin.close()


@contextlib.contextmanager
def both(sites):
    """Yield a process for each build, and a function that asks them the same at once."""
    with contextlib.ExitStack() as stack, ThreadPoolExecutor(2) as pool:
        sides = []
        for side in pool.map(Side, sites):
            stack.callback(side.close)
            sides.append(side)
        yield sides, lambda *step: list(pool.map(lambda side: side.ask(*step), sides))


def shortest(sides, budget=BUDGET):
    """Return the shortest time of a call for each build; they take samples in turn."""
    calls = sides[0].ask("calls", SAMPLE)
    best = [side.ask("sample", calls) for side in sides]
    turns = int(budget / (calls * max(best)))
    for turn in range(min(max(turns, 2), 12)):
        for i in (0, 1) if turn % 2 else (1, 0):
            best[i] = min(best[i], sides[i].ask("sample", calls))
    return best


class Times:
    """The shortest times of each round, for both builds, by benchmark."""

    def __init__(self, sites, names):
        self.sites = sites
        self.rounds = {name: ([], []) for name in names}
        self.unmeasured = {}  # rows

    def round(self, names):
        """Measure benchmarks once more, in processes of their own."""
        names = [name for name in names if name not in self.unmeasured]
        while names:
            with both(self.sites) as (sides, ask):
                while names:
                    name = names.pop(0)
                    try:
                        self.measure(name, sides, ask)
                    except ComparisonError as error:
                        log(error)
                        self.unmeasured[name] = verdicts.Row("time", name, "failed")
                        break  # the processes may be gone

    def measure(self, name, sides, ask):
        here = ask("setup", name)
        if all(here):
            for times, best in zip(self.rounds[name], shortest(sides), strict=True):
                times.append(best)
        else:
            self.unmeasured[name] = any(here) and verdicts.of_figures("time", name, *here)

    def suspects(self, names):
        """Return those of the names that look changed so far."""
        return [
            name
            for name in names
            if name not in self.unmeasured and verdicts.suspicious(*self.rounds[name])
        ]

    def rows(self):
        """Return a row by name; none where both builds lack a benchmark."""
        rows = {
            name: self.unmeasured[name]
            if name in self.unmeasured
            else verdicts.of_rounds(name, *times)
            for name, times in self.rounds.items()
        }
        return {name: row for name, row in rows.items() if row}


def compare_times(sites, names, rounds):
    """Return rows. What looks changed is measured again, until it no longer does or is sure."""
    first = Times(sites, names)
    for i in range(rounds):
        log(f"times, round {i + 1} of {rounds}")
        first.round(names)
    suspects = first.suspects(names)
    again = Times(sites, suspects)
    for i in range(AGAIN):
        if i and i % 5 == 0:
            suspects = again.suspects(suspects)
        if suspects:
            log(f"{len(suspects)} of them again, round {i + 1} of {AGAIN}")
            again.round(suspects)
    return (first.rows() | again.rows()).values()


def peaks(sites, name):
    with both(sites) as (_, ask):
        return ask("peak", name)


def compare_memory(sites, names):
    """Return rows; what has changed is measured once more, the smaller figures count."""
    rows = []
    for name in names:
        pair = peaks(sites, name)
        if not any(pair):
            continue
        row = verdicts.of_figures("memory", name, *pair)
        if row.verdict in ("worse", "better"):
            figures = map(min, (row.base, row.head), peaks(sites, name))
            row = verdicts.of_figures("memory", name, *figures)
        rows.append(row)
    return rows


def compare_instructions(sites, names):
    """Return rows; none where both builds lack a figure, as they do without Valgrind."""
    rows = []
    with both(sites) as (_, ask):
        log("instructions")
        for name in names:
            base, head = ask("track", name)
            if base or head:
                rows.append(verdicts.of_figures("instructions", name, base, head))
    return rows


def selected(kinds, pattern, quick):
    """Return the names of the benchmarks to compare: times, memory, instructions."""

    def wanted(name, kind):
        sizes = [int(number) for number in re.findall(r"\b\d+\b", name)]
        large = kind in TIMES and max(sizes, default=0) > QUICK_SIZE
        return re.search(pattern, name) and not SKIPPED.match(name) and not (quick and large)

    wanted_kinds = {name: kind for name, kind in kinds.items() if wanted(name, kind)}
    groups = TIMES, ("peakmem",), ("track",)  # what is tracked and not skipped: instructions
    return [[name for name, kind in wanted_kinds.items() if kind in group] for group in groups]


def compare(commits, pattern, quick):
    """Return a row for every benchmark."""
    sites = [build(commit) for commit in commits]
    with both(sites) as (sides, _):
        times, memory, instructions = selected(sides[1].kinds, pattern, quick)
    rows = compare_instructions(sites, instructions) if instructions else []
    rows += compare_memory(sites, memory)
    rows += compare_times(sites, times, FIRST_QUICK if quick else FIRST)
    if not rows:
        raise ComparisonError(f"no benchmark that runs here matches {pattern!r}")
    return rows


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("base", help="the commit to compare with")
    parser.add_argument("head", nargs="?", default="HEAD", help="the commit to judge (HEAD)")
    parser.add_argument("--bench", default="", metavar="REGEX", help="of the benchmarks' names")
    parser.add_argument("--quick", action="store_true", help="sizes up to 2**20, fewer rounds")
    parser.add_argument("--all", action="store_true", help="list what is the same, too")
    parser.add_argument("--json", metavar="FILE", help="write every row there")
    options = parser.parse_args()
    try:
        if git("status", "--porcelain", "--untracked-files=no"):
            raise ComparisonError("it is commits that are compared: commit the changes first")
        commits = [
            git("rev-parse", "--verify", f"{name}^{{commit}}")
            for name in (options.base, options.head)
        ]
        rows = compare(commits, options.bench, options.quick)
    except ComparisonError as error:
        log("compare.py:", error)
        return 2
    print(f"`{commits[0][:12]}` (base) and `{commits[1][:12]}` (head)\n")
    print(verdicts.table(rows, options.all))
    if options.json:
        found = {
            "base": commits[0],
            "head": commits[1],
            "rows": list(map(dataclasses.asdict, rows)),
        }
        Path(options.json).write_text(json.dumps(found, indent=1))
    return verdicts.status(rows)


if __name__ == "__main__":
    sys.exit(main())
