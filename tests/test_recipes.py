"""The recipes of docs/recipes.md, as they stand there, where their engines are installed."""

import csv
import importlib.util
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from smoothl1 import GroupedLossSums, LossSums

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")

PAGE = Path(__file__).parent.parent / "docs" / "recipes.md"

pytestmark = [
    pytest.mark.skipif(not PAGE.exists(), reason="needs the source tree"),
    pytest.mark.thread_unsafe(reason="changes the folder"),
]


def recipe(heading):
    """Return the code under a heading."""
    section = PAGE.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    (code,) = re.findall(r"```\w+\n(.*?)```", section, re.DOTALL)
    return code


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Write the shards; return their rows without nulls."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shards").mkdir()
    rng = np.random.default_rng(0)
    tables = []
    for i in range(3):
        delay = rng.standard_t(2, 1000 + i)
        carrier = np.array(["AA", "AS", "UA"])[rng.integers(0, 3, len(delay))]
        mask = rng.random(len(delay)) < 0.1
        predicted = pa.array(delay + rng.standard_normal(len(delay)), mask=mask)
        table = pa.table({"predicted": predicted, "delay": delay, "carrier": carrier})
        pq.write_table(table, f"shards/{i}.parquet")
        tables.append(table)
    return pa.concat_tables(tables).drop_null()


def grouped(table):
    p, y, carrier = (table[name].to_numpy() for name in ("predicted", "delay", "carrier"))
    return GroupedLossSums().update(p, y, by=carrier)


def test_every_recipe_is_short():
    for code in re.findall(r"```\w+\n(.*?)```", PAGE.read_text(), re.DOTALL):
        assert sum(bool(line.strip()) for line in code.splitlines()) <= 15


@pytest.mark.skipif(os.name != "posix", reason="needs a shell")
def test_shell(data, tmp_path):
    (tmp_path / "smoothl1").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m smoothl1 "$@"\n')
    (tmp_path / "smoothl1").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(
        ["sh", "-e", "-c", recipe("A shell, and no engine")],
        capture_output=True,
        text=True,
        env=environment,
        timeout=120,
    )
    assert (done.returncode, done.stderr) == (0, "")
    _, *groups = csv.DictReader(io.StringIO(done.stdout))
    wanted = grouped(data).compute()
    assert [row["carrier"] for row in groups] == wanted["by"].tolist()
    assert [float(row["loss"]) for row in groups] == wanted["loss"].tolist()


def test_duckdb(data):
    pytest.importorskip("duckdb")
    found = {}
    exec(recipe("DuckDB"), found)
    rows = found["result"].to_pylist()[1:]
    wanted = grouped(data.filter(pa.compute.not_equal(data["carrier"], "AS"))).compute()
    assert [row["carrier"] for row in rows] == ["AA", "UA"]
    assert [row["loss"] for row in rows] == wanted["loss"].tolist()


def test_polars(data):
    pytest.importorskip("polars")
    found = {}
    exec(recipe("polars"), found)
    wanted = grouped(data.filter(pa.compute.not_equal(data["carrier"], "AS"))).compute()
    assert found["result"]["by"].tolist() == ["AA", "UA"]
    assert found["result"]["loss"].tolist() == wanted["loss"].tolist()


@pytest.mark.skipif(not importlib.util.find_spec("torch"), reason="needs torch")
@pytest.mark.skipif(os.name != "posix", reason="a file that ranks meet at")
def test_torch(data, tmp_path):
    p, y = data["predicted"].to_numpy(), data["delay"].to_numpy()
    np.save("p.npy", p)
    np.save("y.npy", y)
    code = recipe("torch.distributed") + (
        "\nimport sys, numpy as np\n"
        "rank, ranks = int(sys.argv[1]), int(sys.argv[2])\n"
        f"dist.init_process_group('gloo', init_method='file://{tmp_path}/meet', rank=rank,"
        " world_size=ranks)\n"
        "p, y = np.load('p.npy'), np.load('y.npy')\n"
        "print(all_ranks(p[rank::ranks], y[rank::ranks], 0.5).digest())\n"
        "dist.destroy_process_group()\n"
    )
    ranks = [
        subprocess.Popen(
            [sys.executable, "-c", code, str(rank), "2"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(2)
    ]
    results = [rank.communicate(timeout=120) for rank in ranks]
    wanted = LossSums(0.5).update(p, y).digest()
    assert [out.split() for out, _ in results] == [[wanted], [wanted]], results
