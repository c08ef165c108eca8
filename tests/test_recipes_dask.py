"""The recipes of docs/recipes_dask.md, as they stand there, where their engines are installed."""

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

import smoothl1
from smoothl1 import GroupedLossSums

PAGE = Path(__file__).parent.parent / "docs" / "recipes_dask.md"
pytestmark = pytest.mark.thread_unsafe


def code(title):
    """The code below a title: at most 15 lines of it."""
    if not PAGE.exists():
        pytest.skip("the documentation is not beside the tests")
    part = PAGE.read_text().split(f"\n## {title}\n")[1].split("\n## ")[0]
    found = re.search(r"```python\n(.*?)```", part, re.DOTALL)[1]
    assert len([line for line in found.splitlines() if line.strip()]) <= 15
    return found


@pytest.fixture
def expected(tmp_path, rng, monkeypatch):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    n = 3000
    x, y = rng.standard_normal((2, n))
    keys = rng.choice(["AA", "AS", "UA"], n)
    (tmp_path / "shards").mkdir()
    table = pa.table({"predicted": x, "delay": y, "carrier": keys})
    for i in range(3):
        pq.write_table(table.slice(1000 * i, 1000), tmp_path / "shards" / f"{i}.parquet")
    monkeypatch.chdir(tmp_path)
    # For the engines' own processes.
    monkeypatch.setenv("PYTHONPATH", str(Path(smoothl1.__file__).parent.parent))
    monkeypatch.setenv("PYSPARK_PYTHON", sys.executable)
    return GroupedLossSums().update(x, y, keys)


def check(namespace, expected):
    total = namespace["total"]
    assert total.groups() == expected.groups() == ["AA", "AS", "UA"]
    assert total.to_bytes() == expected.to_bytes()
    assert np.array_equal(total.compute()["loss"], expected.compute()["loss"])


@pytest.mark.filterwarnings("ignore")
def test_spark(expected):
    sql = pytest.importorskip("pyspark.sql")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    builder = sql.SparkSession.builder.master("local[2]").config("spark.ui.enabled", "false")
    spark = builder.config("spark.sql.shuffle.partitions", "2").getOrCreate()
    try:
        namespace = {"spark": spark}
        exec(code("Spark"), namespace)
        check(namespace, expected)
    finally:
        spark.stop()


@pytest.mark.filterwarnings("ignore")
def test_ray(expected):
    ray = pytest.importorskip("ray")
    pytest.importorskip("ray.data")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    try:
        ray.data.DataContext.get_current().enable_progress_bars = False
        namespace = {"ray": ray}
        exec(code("Ray"), namespace)
        check(namespace, expected)
    finally:
        ray.shutdown()
