"""Print the goals of tables, each with the ratio that is measured here, as Markdown.

Evaluations of Parquet files beside DuckDB, which computes the same figures in SQL, each as a whole
process with two threads: in turn, and the shortest time of each counts. On a busy machine the time
of processors says more, though it knows nothing of what runs side by side. Memory is the peak above
what the imports take, and that over a file of 40 row groups and one four times as long.

    python asv_bench/report_tables.py
    python asv_bench/report_tables.py --rows groups memory --repeat 9
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

OURS = """
import sys
from smoothl1 import tables
from smoothl1._evaluate import cli
import pyarrow.parquet
before = peak()
path, *by = sys.argv[1:]
options = [word for name in by for word in ("--by", name)]
options += ["--prediction", "p", "--target", "y", "--threads", "2", "--format", "csv"]
sys.argv = ["smoothl1", "evaluate", path, *options, "--output", "/dev/null"]
assert cli.script() == 0
"""

DUCKDB = """
import sys
import duckdb
before = peak()
path, *by = sys.argv[1:]
connection = duckdb.connect()
connection.execute("set threads = 2")
keys = ", ".join(by)
groups = f"group by grouping sets ((), ({keys}))" if by else ""
keys += ", " if by else ""
connection.execute(f'''
    select {keys} count(*), avg(abs(p - y)), sqrt(avg((p - y)::double * (p - y))), avg(p - y),
        max(abs(p - y)), count_if(isnan(p - y)), avg((abs(p - y) < 1)::int),
        avg(case when abs(p - y) < 1 then 0.5 * (p - y) * (p - y) else abs(p - y) - 0.5 end)
    from '{path}' {groups}''').fetchall()
"""

PEAK = """
def peak():
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("VmHWM"))) / 1024
"""


def write(path, rows, kind):
    """Write a file of a million rows a row group, float32, with keys of a kind."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(0)
    writer = None
    for start in range(0, rows, 10**6):
        n = min(10**6, rows - start)
        y = rng.standard_normal(n).astype(np.float32)
        columns = {"p": (y + 0.5 * rng.standard_t(3, n)).astype(np.float32), "y": y}
        if kind == "group":
            columns["g"] = rng.integers(0, 200, n).astype(np.int32)
        else:
            carriers = np.array([f"C{k:02}" for k in range(16)])
            columns["carrier"] = carriers[rng.integers(0, 16, n)]
            columns["month"] = rng.integers(1, 13, n)
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def run(code, path, by):
    """Run a process; return seconds, those of processors, peak memory beyond imports, and all."""
    end = "\nprint(peak() - before, peak())"
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    start = time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", PEAK + code + end, str(path), *by],
        check=True,
        capture_output=True,
        text=True,
        # Bytecode is stored, as pip does where it installs a package.
        env={**os.environ, "OMP_NUM_THREADS": "2", "PYTHONDONTWRITEBYTECODE": ""},
    )
    seconds = time.perf_counter() - start
    now = resource.getrusage(resource.RUSAGE_CHILDREN)
    work = now.ru_utime + now.ru_stime - used.ru_utime - used.ru_stime
    return seconds, work, *map(float, done.stdout.split()[-2:])


def turns(path, by, repeat):
    """Return seconds and memory of both, ours first: of each the least of some runs, in turn."""
    runs = [[], []]
    for _ in range(repeat):
        for found, code in zip(runs, (OURS, DUCKDB), strict=True):
            found.append(run(code, path, by))
    return [np.min(found, axis=0) for found in runs]


def measure_groups(folder, repeat):
    """Compare times of 2 * 10**7 rows, with and without 200 groups."""
    path = folder / "groups.parquet"
    write(path, 2 * 10**7, "group")
    for by, goal in ((["g"], 1.2), ([], 1.0)):
        ours, theirs = turns(path, by, repeat)
        what = "200 groups" if by else "no groups"
        yield f"2·10^7 rows, {what}: time", "DuckDB", goal, ours[0] / theirs[0], ours[0]
        yield "the same: time of processors", "DuckDB", goal, ours[1] / theirs[1], ours[1]


def measure_keys(folder, repeat):
    """Compare time and memory of 5 * 10**6 rows by text and month."""
    path = folder / "keys.parquet"
    write(path, 5 * 10**6, "keys")
    ours, theirs = turns(path, ["carrier", "month"], repeat)
    what = "5·10^6 rows, 16 × 12 groups"
    yield f"{what}: time", "DuckDB", 1.2, ours[0] / theirs[0], ours[0]
    yield "the same: time of processors", "DuckDB", 1.2, ours[1] / theirs[1], ours[1]
    yield "the same: memory beyond imports", "DuckDB", 1.5, ours[2] / theirs[2], ours[2]


def measure_memory(folder, repeat):
    """Compare the peak over 160 row groups with that over 40."""
    peaks = []
    for groups in (40, 160):
        path = folder / "long.parquet"
        write(path, groups * 10**6, "group")
        peaks.append(min(run(OURS, path, ["g"])[3] for _ in range(max(1, repeat // 2))))
    yield "peak memory, 160 row groups", "40 row groups", 1.05, peaks[1] / peaks[0], peaks[1]
    yield "peak memory, 160 row groups", "400 MB", 1.0, peaks[1] / 400, peaks[1]


ROWS = {"groups": measure_groups, "keys": measure_keys, "memory": measure_memory}


def main():
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", nargs="+", choices=ROWS, default=list(ROWS))
    parser.add_argument("--repeat", type=int, default=7)
    options = parser.parse_args()
    print("| what | against | goal | ours / theirs | ours, s or MB |")
    print("| --- | --- | --- | --- | --- |")
    for row in options.rows:
        with tempfile.TemporaryDirectory() as folder:
            for what, against, goal, ratio, ours in ROWS[row](Path(folder), options.repeat):
                shown = f"{ratio:.3g}{' ✗' if ratio > goal else ''} | {ours:.3g}"
                print(f"| {what} | {against} | ≤ {goal} | {shown} |", flush=True)


if __name__ == "__main__":
    main()
