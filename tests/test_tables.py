"""Tables: every source gives the figures of its rows, to the last bit, or one line of complaint."""

import datetime
import gzip
import io
import json
import os
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

pa = pytest.importorskip("pyarrow")

import pyarrow.csv  # noqa: E402
import pyarrow.feather  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from smoothl1 import smooth_l1_loss, tables  # noqa: E402
from smoothl1._evaluate import bounds, cli, readers  # noqa: E402
from smoothl1._evaluate.npy import InputError  # noqa: E402

COLUMNS = {"prediction": "p", "target": "y"}


def flights(n=3000, dtype=np.float32, seed=0):
    """Return a table with nulls in all columns but one, and keys of two types."""
    rng = np.random.default_rng(seed)
    y = rng.standard_normal(n).astype(dtype)
    p = (y + rng.standard_t(2, n)).astype(dtype)
    carriers = np.array(["AA", "B6", "UA", "é"])[rng.integers(0, 4, n)]
    return pa.table(
        {
            "p": pa.array(p, mask=rng.random(n) < 0.05),
            "y": pa.array(y, mask=rng.random(n) < 0.05),
            "w": pa.array(rng.uniform(size=n).astype(dtype), mask=rng.random(n) < 0.05),
            "carrier": pa.array(carriers, mask=rng.random(n) < 0.1),
            "month": rng.integers(1, 13, n),
        }
    )


def expected(table, by=(), weight=None, beta=1.0):
    """Return figures by pandas' masks and the functions of the top level."""
    frame = {name: table[name].to_numpy(zero_copy_only=False) for name in table.column_names}
    numbers = ("p", "y") if weight is None else ("p", "y", weight)
    valid = ~np.any([table[name].is_null().to_numpy() for name in numbers], axis=0)
    keys = list(zip(*(table[name].to_pylist() for name in by), strict=True)) or [()] * len(valid)
    order = sorted(set(keys), key=lambda key: tuple((part is None, part or 0) for part in key))
    found = []
    for key in [None, *(order if by else [])]:
        rows = np.array([key is None or one == key for one in keys], bool)
        some = rows & valid
        p, y = frame["p"][some], frame["y"][some]
        w = None if weight is None else frame[weight][some]
        mean = "mean" if weight is None else "weighted_mean"
        r = p.astype(float) - y.astype(float)
        found.append(
            {
                **{name: None if key is None else key[i] for i, name in enumerate(by)},
                "rows": int(some.sum()),
                "dropped": int((rows & ~valid).sum()),
                "loss": float(smooth_l1_loss(p, y, mean, beta, weight=w, exact=True)),
                "mae": float(smooth_l1_loss(p, y, mean, 0.0, weight=w, exact=True)),
                "bias": float(np.average(r, weights=w)),
                "largest": float(np.max(np.abs(p - y))),
                "rmse": float(np.sqrt(np.average(r**2, weights=w))),
                "quadratic_share": float(np.average(np.abs(p - y) < beta, weights=w)),
            }
        )
    return found


def check(got, table, by=(), weight=None, beta=1.0):
    """Compare a table of figures with what is expected."""
    rows = got.to_pylist()
    wanted = expected(table, by, weight, beta)
    assert len(rows) == len(wanted)
    for row, want in zip(rows, wanted, strict=True):
        for name, value in want.items():
            if name in ("bias", "rmse", "quadratic_share"):
                assert row[name] == pytest.approx(value, rel=2e-5, abs=1e-6), name
            else:
                assert row[name] == value, name


@pytest.mark.parametrize("by", [(), ("month",), ("carrier",), ("carrier", "month")])
@pytest.mark.parametrize("weight", [None, "w"])
def test_figures(by, weight):
    for dtype in (np.float32, np.float64):
        table = flights(dtype=dtype)
        for beta in (1.0, 0.37):
            got = tables.evaluate(table, **COLUMNS, weight=weight, by=by, beta=beta)
            check(got, table, by, weight, beta)
    assert got["rows"].type == pa.int64()
    assert got["loss"].type == pa.float64()


def save(table, folder):
    """Yield the table in files of every kind, as data for ``evaluate``."""
    pq.write_table(table, folder / "t.parquet", row_group_size=271)
    yield folder / "t.parquet"
    pq.write_table(table, folder / "one.parquet")
    yield str(folder / "one.parquet")
    pyarrow.feather.write_feather(table, folder / "t.feather", chunksize=500)
    yield folder / "t.feather"
    with (
        pa.OSFile(str(folder / "s.arrow"), "wb") as sink,
        pa.ipc.new_stream(sink, table.schema) as writer,
    ):
        writer.write_table(table, max_chunksize=333)
    yield folder / "s.arrow"
    pq.write_table(table, folder / "nameless")
    yield folder / "nameless"
    (folder / "parts").mkdir()
    for i in range(3):
        pq.write_table(table.slice(i * 1000, 1000), folder / "parts" / f"{i}.parquet")
    (folder / "parts" / "_SUCCESS").touch()
    yield folder / "parts"
    yield str(folder / "parts" / "*.parquet")
    yield [folder / "parts" / f"{i}.parquet" for i in (2, 0, 1)]
    yield (folder / "parts").as_uri()


@pytest.mark.parametrize("by", [(), ("month",), ("carrier", "month")])
def test_every_source_and_number_of_threads_gives_the_same_bits(tmp_path, by):
    table = flights()
    first = tables.evaluate(table, **COLUMNS, weight="w", by=by, beta=[0.5, 2.0])
    sources = [*save(table, tmp_path), table.slice(0), table.to_reader(max_chunksize=7)]
    for data in sources[:-1]:
        for threads in (1, 2, 3):
            got = tables.evaluate(
                data, **COLUMNS, weight="w", by=by, beta=[0.5, 2.0], n_threads=threads
            )
            assert got.equals(first), data
    assert tables.evaluate(sources[-1], **COLUMNS, weight="w", by=by, beta=[0.5, 2.0]).equals(first)


def test_csv(tmp_path):
    table = flights(dtype=np.float64)
    pyarrow.csv.write_csv(table, tmp_path / "t.csv")
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress((tmp_path / "t.csv").read_bytes()))
    text = (tmp_path / "t.csv").read_text().replace(",", "\t")
    (tmp_path / "t.tsv").write_text(text)
    filled = table.set_column(3, "carrier", table["carrier"].fill_null(""))  # CSV has no null text
    first = tables.evaluate(filled, **COLUMNS, by=["carrier", "month"])
    for name in ("t.csv", "t.csv.gz", "t.tsv"):
        got = tables.evaluate(tmp_path / name, **COLUMNS, by=["carrier", "month"])
        assert got.equals(first)
    (tmp_path / "nan.csv").write_text("p,y,k\n1,nan,x\n2,NA,x\n3,,y\n4,1,NA\n")
    got = tables.evaluate(tmp_path / "nan.csv", **COLUMNS, by="k")
    assert got.select(["k", "rows", "dropped", "nan"]).to_pylist() == [
        {"k": None, "rows": 2, "dropped": 2, "nan": 1},
        {"k": "NA", "rows": 1, "dropped": 0, "nan": 0},
        {"k": "x", "rows": 1, "dropped": 1, "nan": 1},
        {"k": "y", "rows": 0, "dropped": 1, "nan": 0},
    ]
    assert got["mae"].to_pylist()[3] is None


def test_folders_with_partitions(tmp_path):
    table = flights()
    for month in range(1, 13):
        for carrier in ("AA", "B6", "UA", "é", None):
            there = pa.compute.equal(table["month"], month)
            same = (
                table["carrier"].is_null()
                if carrier is None
                else pa.compute.equal(table["carrier"], carrier)
            )
            part = table.filter(pa.compute.and_(there, same)).drop_columns(["month", "carrier"])
            name = "__HIVE_DEFAULT_PARTITION__" if carrier is None else carrier
            folder = tmp_path / f"month={month}" / f"carrier={name}"
            folder.mkdir(parents=True)
            pq.write_table(part, folder / "part.parquet")
    for by in (["month"], ["carrier", "month"]):
        got = tables.evaluate(tmp_path, **COLUMNS, by=by)
        assert got.equals(tables.evaluate(table, **COLUMNS, by=by))
    got = tables.evaluate(tmp_path, **COLUMNS, where="month > 6 and carrier == 'AA'")
    assert got.equals(tables.evaluate(table, **COLUMNS, where="month > 6 and carrier == 'AA'"))


def test_folders_give_columns_to_globs_and_paths_too(tmp_path, monkeypatch):
    table = flights()
    for month in range(1, 13):
        folder = tmp_path / f"_month={month}"
        folder.mkdir()
        pq.write_table(
            table.filter(pa.compute.equal(table["month"], month)), folder / "part.parquet"
        )
    monkeypatch.chdir(tmp_path)
    first = tables.evaluate(".", **COLUMNS, by="_month")
    assert first.drop_columns("_month").equals(
        tables.evaluate(table, **COLUMNS, by="month").drop_columns("month")
    )
    for data in (
        "_month=*/*.parquet",
        "**/*.parquet",
        [f"_month={i}" for i in range(1, 13)],
        [f"{tmp_path}/_month={i}/part.parquet" for i in range(1, 13)],
    ):
        assert tables.evaluate(data, **COLUMNS, by="_month").equals(first)
    got = tables.evaluate("_month=3/part.parquet", **COLUMNS, where="_month > 3")
    assert got["rows"].to_pylist() == [0]
    # What the file itself has counts more than where the user says that it lies.
    os.rename("_month=3", "month=77")
    got = tables.evaluate("month=77/part.parquet", **COLUMNS, by="month")
    assert got["month"].to_pylist() == [None, 3]


def test_other_files_in_a_folder(tmp_path, monkeypatch, capsys):
    table = flights()
    expected = tables.evaluate(table, **COLUMNS)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run" / "_temporary").mkdir(parents=True)
    pq.write_table(table, "run/part-0")  # known by its first bytes
    pq.write_table(table, "run/_temporary/part-0.parquet")
    for name in ("_SUCCESS", ".part-0.crc", "_metadata"):
        (tmp_path / "run" / name).write_text("x")
    assert tables.evaluate("run", **COLUMNS).equals(expected)
    (tmp_path / "run" / "README.txt").write_text("Read me.")
    with pytest.warns(UserWarning, match=r"^run/README.txt is left out: not of Parquet") as caught:
        assert tables.evaluate("run", **COLUMNS).equals(expected)
    assert caught[0].filename == __file__
    np.save("run/p.npy", np.zeros(3))
    (tmp_path / "run" / "more.json.gz").write_bytes(b"")
    options = ["--prediction", "p", "--target", "y"]
    assert cli.main(["evaluate", "run", *options, "--json"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["rows"] == expected["rows"].to_pylist()[0]
    assert err == (
        "smoothl1: run/README.txt and 2 more are left out: not of Parquet, Arrow IPC, or CSV\n"
    )
    # A file that is named is no such.
    assert cli.main(["evaluate", "run/README.txt", *options]) == 2
    assert "run/README.txt: neither its name" in capsys.readouterr().err
    pyarrow.csv.write_csv(table, "run/copy.csv")
    assert cli.main(["evaluate", "run", *options]) == 2
    assert capsys.readouterr().err == (
        "smoothl1: run: a folder with files of two formats, run/copy.csv and run/part-0, which may "
        "hold the same rows; pass those of one, as 'run/**/*.csv'\n"
    )
    (tmp_path / "none").mkdir()
    assert cli.main(["evaluate", "none", *options]) == 2
    assert "none: a folder without a file" in capsys.readouterr().err
    (tmp_path / "none" / "x.txt").write_text("x")
    assert cli.main(["evaluate", "none", *options]) == 2
    assert "CSV; none/x.txt is none" in capsys.readouterr().err


def test_addresses_of_fsspec(tmp_path):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    table = flights()
    first = tables.evaluate(table, **COLUMNS, by="month")
    for i in range(3):
        pq.write_table(table.slice(i * 1000, 1000), tmp_path / "part.parquet")
        memory.pipe(f"/bucket/run/{i}.parquet", (tmp_path / "part.parquet").read_bytes())
    try:
        files = [f"memory://bucket/run/{i}.parquet" for i in range(3)]
        for data in (files, "memory://bucket/run", "memory://bucket/run/*.parquet"):
            assert tables.evaluate(data, **COLUMNS, by="month").equals(first)
        for name in ("memory://bucket/run/9.parquet", "memory://bucket/none/*.parquet"):
            with pytest.raises(ValueError, match="memory://bucket/"):
                tables.evaluate(name, **COLUMNS)
    finally:
        memory.rm("/bucket", recursive=True)


def test_frames():
    table = flights(dtype=np.float64)
    first = tables.evaluate(table, **COLUMNS, by=["carrier", "month"])
    polars = pytest.importorskip("polars")
    assert tables.evaluate(polars.from_arrow(table), **COLUMNS, by=["carrier", "month"]).equals(
        first
    )
    pytest.importorskip("pandas")
    got = tables.evaluate(table.to_pandas(), **COLUMNS, by=["carrier", "month"])
    assert got.equals(first)
    duckdb = pytest.importorskip("duckdb")
    relation = duckdb.connect().from_arrow(table)
    assert tables.evaluate(relation, **COLUMNS, by=["carrier", "month"]).equals(first)


KEYS = {
    "bool": pa.array([True, False, None, True]),
    "int8": pa.array([1, -128, None, 1], pa.int8()),
    "uint8": pa.array([200, 255, 0, 200], pa.uint8()),
    "uint64": pa.array([2**64 - 1, 0, 2**63, 2**64 - 1], pa.uint64()),
    "int64": pa.array([2**63 - 1, -(2**63), 0, 2**63 - 1], pa.int64()),
    "float": pa.array([0.5, float("nan"), None, 0.5], pa.float32()),
    "binary": pa.array([b"a", b"\xff", None, b"a"]),
    "large": pa.array(["a", "b", None, "a"], pa.large_string()),
    "view": pa.array(["a", "b", None, "a"], pa.string_view()),
    "dictionary": pa.array(["a", "b", None, "a"]).dictionary_encode(),
    "date": pa.array([datetime.date(2020, 1, 2), datetime.date(1969, 1, 1), None] * 2)[:4],
    "timestamp": pa.array([1, 2, None, 1], pa.timestamp("us", "Europe/Berlin")),
    "time": pa.array([1, 2, None, 1], pa.time64("us")),
    "duration": pa.array([1, 2, None, 1], pa.duration("s")),
    "decimal": pa.array([1, 2, None, 1]).cast(pa.decimal128(30, 2)),
    "null": pa.nulls(4),
}


@pytest.mark.parametrize("name", KEYS)
@pytest.mark.parametrize("second", [False, True])
def test_keys_of_any_type(name, second, tmp_path):
    table = pa.table({"p": [1.0, 2.0, 4.0, 8.0], "y": [0.0] * 4, "k": KEYS[name], "one": [1] * 4})
    by = ["k", "one"] if second else "k"
    got = tables.evaluate(table, **COLUMNS, by=by)
    values = [str(key) for key in KEYS[name].cast(got["k"].type).to_pylist()]
    sums = {}
    for value, p in zip(values, [1.0, 2.0, 4.0, 8.0], strict=True):
        sums.setdefault(value, []).append(p)
    rows = got.to_pylist()[1:]
    assert {str(row["k"]): (row["rows"], row["mae"]) for row in rows} == {
        key: (len(parts), sum(parts) / len(parts)) for key, parts in sums.items()
    }
    evaluation = tables.run(table, **COLUMNS, by=by)
    again = type(evaluation).from_bytes(evaluation.to_bytes())
    assert str(tables.to_table(again).to_pylist()) == str(got.to_pylist())
    assert again.to_bytes() == evaluation.to_bytes()
    assert tables.to_table(again.merge(evaluation))["rows"].to_pylist()[0] == 8


NUMBERS = [
    pa.int8(), pa.uint16(), pa.int64(), pa.float16(), pa.float32(), pa.float64(), pa.bool_(),
    pa.decimal128(30, 2), pa.dictionary(pa.int8(), pa.float64()),
]  # fmt: skip


@pytest.mark.parametrize("kind", NUMBERS, ids=str)
def test_numbers_of_any_type(kind, tmp_path):
    plain = [1, 0, None, 1, 0, 1, None, 1, 1, 0, 1]
    column = pa.array(plain).cast(pa.float64())
    column = column.dictionary_encode() if pa.types.is_dictionary(kind) else None
    if column is None:
        column = pa.array([None if v is None else bool(v) for v in plain])
        column = column.cast(pa.int8()).cast(pa.float32() if pa.types.is_float16(kind) else kind)
        column = column.cast(kind)
    table = pa.table({"p": column, "y": pa.array([0.0] * 11, pa.float16())}).slice(1, 9)
    got = tables.evaluate(table, **COLUMNS).to_pylist()[0]
    assert (got["rows"], got["dropped"], got["mae"]) == (7, 2, pytest.approx(4 / 7, rel=1e-6))
    weighted = table.append_column("w", column.slice(1, 9))
    got = tables.evaluate(weighted, **COLUMNS, weight="w").to_pylist()[0]
    assert (got["weight"], got["mae"]) == (4.0, 1.0)


def test_what_lies_under_nulls_does_not_count():
    values = pa.array(np.array([1.0, np.nan, np.inf, 2.0]))
    mask = pa.py_buffer(np.packbits([1, 0, 0, 1], bitorder="little").tobytes())
    hidden = pa.Array.from_buffers(pa.float64(), 4, [mask, values.buffers()[1]])
    table = pa.table({"p": hidden, "y": [0.0] * 4, "k": [1, 1, 2, 2]})
    got = tables.evaluate(table, **COLUMNS, by="k").to_pylist()
    assert [row["nan"] for row in got] == [0, 0, 0]
    assert [row["mae"] for row in got] == [1.5, 1.0, 2.0]
    assert [row["largest"] for row in got] == [2.0, 1.0, 2.0]


def test_nan_and_infinities():
    table = pa.table(
        {
            "p": [np.nan, 1.0, np.inf, -np.inf, np.inf, 2.0],
            "y": [0.0, 0.0, 0.0, 0.0, np.inf, 0.0],
            "k": ["a", "a", "b", "b", "c", "c"],
        }
    )
    rows = tables.evaluate(table, **COLUMNS, by="k").to_pylist()
    assert [row["nan"] for row in rows] == [2, 1, 0, 1]
    assert [row["rows"] for row in rows] == [6, 2, 2, 2]
    assert np.isnan(rows[1]["mae"])
    assert rows[2]["mae"] == np.inf
    assert np.isnan(rows[2]["bias"])  # of both infinities
    assert rows[2]["largest"] == np.inf
    ignored = tables.to_table(tables.run(table, **COLUMNS, by="k", ignore_nan=True)).to_pylist()
    assert [row["rows"] for row in ignored] == [4, 1, 2, 1]
    assert [row["nan"] for row in ignored] == [2, 1, 0, 1]
    assert [row["mae"] for row in ignored] == [np.inf, 1.0, np.inf, 2.0]
    only = tables.evaluate(table, **COLUMNS, where="k == 'b' and p > 0").to_pylist()[0]
    assert (only["rows"], only["bias"]) == (1, np.inf)


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("x > 1", 3),
        ("x >= 1 and x != 2", 3),
        ("1 < x < 4", 2),
        ("not x > 1", 1),
        ("x in (1, 4, 7)", 2),
        ("x not in (1, 4)", 2),
        ("name == 'b'", 1),
        ("name in ['a', 'b'] or x == 4", 3),
        ("is_null(name)", 1),
        ("not is_null(name)", 4),
        ("lower(name) == 'c'", 1),
        ("column('a b') == true", 2),
        ("column('a b')", 2),
        ("abs(-x) * 2 + 1 >= 7", 2),
        ("x / 2 - 1 > 0", 2),
        ("day >= '2020-01-03'", 3),
        ("is_nan(f)", 1),
        ("code == 2", 1),
        ("true", 5),
        ("x == null", 0),
    ],
)
def test_where(where, count):
    table = pa.table(
        {
            "p": [1.0] * 5,
            "y": [0.0] * 5,
            "x": [1, 2, 3, 4, None],
            "name": ["a", "b", "C", None, "d"],
            "a b": [True, True, False, None, False],
            "f": [0.5, float("nan"), 1.5, 2.5, None],
            "day": [datetime.date(2020, 1, day) for day in range(1, 6)],
            "code": ["1", "2", "3", "4", "5"],
        }
    )
    assert tables.evaluate(table, **COLUMNS, where=where)["rows"].to_pylist() == [count]


# An expression, and how many of the row groups of `rising` it leaves to be read.
SKIPPING = [
    ("day == 3", 1),
    ("3 == day", 1),
    ("day < 2 and x > 0", 2),
    ("day <= 2", 3),
    ("day > 7", 2),
    ("8 <= day", 2),
    ("2 < day < 5", 2),
    ("day in (1, 8, 40)", 2),
    ("day in ()", 0),
    ("day == 3 or day == 5", 2),
    ("day == 3 or x > 1e300", 1),
    ("day == 3 or x + 1 > 5", 10),
    ("day != 3", 10),
    ("not day == 3", 10),
    ("day > 4.5 and day < 5.5", 1),
    ("x > -1e300 and x < 1e300", 10),
    ("x != 0.5", 10),
    ("big == 9007199254740992.0", 10),  # compared as float64, to which those above are rounded
    ("big > 9007199254740993", 0),
    ("name == 'n4'", 1),
    ("name >= 'n8'", 2),
    ("'n1' > name", 1),
    ("name > 3", 10),
    ("date == '2026-03-05'", 1),
    ("time < '2026-03-02T12:00:00'", 2),
    ("nanos < '2026-03-02T12:00:00'", 10),
    ("some > 0", 5),
    ("is_null(some)", 5),
    ("not is_null(some)", 5),
    ("is_null(day)", 0),
    ("unsigned > 4294967290", 3),
    ("lower(name) == 'n4'", 10),
    ("region == 'north'", 5),
    ("region == 'west'", 0),
    ("region != 'north' and day == 5", 1),
    ("number > 9", 5),
    ("number == 9", 5),
    ("is_null(none)", 5),
    ("none == 1", 5),
]


def rising(first):
    """Return five row groups' worth of rows, of columns that rise from one to the next."""
    n, rng = 50, np.random.default_rng(first)
    day = first + np.arange(n) // 10
    x = np.where(np.arange(n) % 10 == 4, np.nan, 0.5)
    return pa.table(
        {
            "p": rng.standard_normal(n),
            "y": rng.standard_normal(n),
            "day": day,
            "x": x,
            "big": np.full(n, 2**53 + 1),
            "name": pa.array([f"n{d}" for d in day], pa.large_string()),
            "date": pa.array(np.datetime64("2026-03-01") + day),
            "time": pa.array(np.datetime64("2026-03-01T00", "us") + day * 86_400_000_000),
            "nanos": pa.array(np.datetime64("2026-03-01T00", "ns") + day * 86_400 * 10**9),
            "some": pa.array(day + 1, mask=day % 2 == 1),
            "unsigned": (day + 2**32 - 12).astype(np.uint32),
        }
    )


@pytest.fixture(scope="module")
def partitions(tmp_path_factory):
    folder = tmp_path_factory.mktemp("partitions")
    for i, (region, number) in enumerate((("north", "9"), ("south", "10"))):
        place = (
            folder
            / f"region={region}"
            / f"number={number}"
            / ("none=__HIVE_DEFAULT_PARTITION__" if i else "none=1")
        )
        place.mkdir(parents=True)
        pq.write_table(rising(5 * i), place / "part.parquet", row_group_size=10)
    return folder


@pytest.mark.parametrize(("where", "count"), SKIPPING)
def test_row_groups_that_cannot_hold_a_chosen_row_are_not_read(
    partitions, where, count, monkeypatch
):
    read = []
    batches = readers._Parquet._batches
    monkeypatch.setattr(
        readers._Parquet,
        "_batches",
        lambda self, group, *rest: read.append(group) or batches(self, group, *rest),
    )

    def evaluate():
        read.clear()
        try:
            return tables.evaluate(partitions, **COLUMNS, by="day", where=where)
        except ValueError as error:
            return str(error)

    got = evaluate()
    assert len(read) == count or isinstance(got, str)
    monkeypatch.setattr("smoothl1._evaluate.where.Where.excludes", lambda *_: False)
    assert got == evaluate()
    assert len(read) == 10 or isinstance(got, str)


def test_folders_of_other_formats_are_skipped(tmp_path):
    for region, name in (("north", "a.csv"), ("south", "b.feather")):
        (tmp_path / f"region={region}").mkdir()
        path = tmp_path / f"region={region}" / name
        write = pa.csv.write_csv if name.endswith("csv") else pa.feather.write_feather
        write(rising(0).select(["p", "y", "day"]), path)
    folders = sorted(tmp_path.iterdir())
    for region in ("north", "south"):
        where = f"region == '{region}'"
        columns = readers.Columns(("p", "y"), (), ("region",))
        source = readers.Source(folders, columns, tables.condition_of(where))
        assert [part.name for part in source.parts(1) if part.batches != ()] == [
            str(next((tmp_path / f"region={region}").iterdir()))
        ]
        got = tables.evaluate(folders, **COLUMNS, where=where)
        assert got.equals(tables.evaluate(rising(0), **COLUMNS))


def test_statistics_of_nan_are_none(tmp_path):
    class Statistics:
        has_min_max, min, max, logical_type = True, np.nan, 1.0, "NONE"

    assert bounds._extremes(Statistics, pa.float64()) is None
    Statistics.min = 0.0
    assert bounds._extremes(Statistics, pa.float64()).to_pylist() == [0.0, 1.0]
    assert bounds._extremes(Statistics, pa.int64()) is None


def test_where_gives_no_warning(tmp_path, capsys):
    pq.write_table(flights(), tmp_path / "t.parquet")
    arguments = ["evaluate", str(tmp_path / "t.parquet"), "--prediction", "p", "--target", "y"]
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert cli.main([*arguments, "--where", "3in (3, 4)"]) == 0
        assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    "where",
    [
        "__import__('os').system('true')", "x.__class__", "(lambda: 1)()", "[c for c in x]", "x[0]",
        "exec('1')", "x if y else p", "f'{x}'", "x ** 9", "x @ x", "x is None", "x in y", "x :=",
        "abs(x, x)", "abs(*x)", "x in (y,)", "y\0", "(" * 1000, "not " * 5000 + "x", "...", "b'a'",
        "1j",
    ],
)  # fmt: skip
def test_where_is_never_executed(where):
    table = pa.table({"p": [1.0], "y": [0.0], "x": [1]})
    with pytest.raises(ValueError, match="--where"):
        tables.evaluate(table, **COLUMNS, where=where)


def test_where_of_wrong_types():
    table = pa.table({"p": [1.0], "y": [0.0], "x": [1], "s": ["a"]})
    for where, message in (
        ("x", "gives int64, not true or false"),
        ("s > 3", "Failed to parse string"),
        ("abs(s) > 3", "no kernel matching"),
        ("z > 3", "no column 'z'; it has p, y, x, s"),
        ("x + 99999999999999999999 > 1", "--where"),
    ):
        with pytest.raises(ValueError, match=message):
            tables.evaluate(table, **COLUMNS, where=where)


def test_groups_without_a_chosen_row_are_not_there():
    table = flights()
    for by in (["carrier", "month"], ["month"], ["carrier"]):
        got = tables.evaluate(table, **COLUMNS, by=by, where="month <= 2 and carrier == 'UA'")
        assert got.num_rows == 1 + (2 if "month" in by else 1)
        assert all(row["rows"] + row["dropped"] for row in got.to_pylist())


def test_empty_tables(tmp_path):
    empty = flights(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = tables.evaluate(empty, **COLUMNS, by="carrier").to_pylist()
    assert len(got) == 1
    assert (got[0]["rows"], got[0]["mae"]) == (0, None)
    pq.write_table(empty, tmp_path / "empty.parquet")
    assert tables.evaluate(tmp_path / "empty.parquet", **COLUMNS)["rows"].to_pylist() == [0]
    assert tables.evaluate(flights(), **COLUMNS, where="month > 12")["rows"].to_pylist() == [0]


def test_bad_arguments():
    table = flights(10)
    for options, error, message in (
        ({"prediction": 3}, TypeError, "prediction must be a str, got int"),
        ({"by": ["month", 3]}, TypeError, "by must be a str, got int"),
        ({"by": ["month", "month"]}, ValueError, "by names a column twice"),
        ({"by": "rows"}, ValueError, "by 'rows': a figure has this name"),
        ({"nulls": "keep"}, ValueError, "nulls must be 'drop' or 'error', got 'keep'"),
        ({"beta": -1}, ValueError, "beta must be >= 0, got -1"),
        ({"n_threads": 0}, ValueError, "n_threads"),
        ({"target": "z"}, ValueError, "Table: no column 'z'; it has p, y, w, carrier, month"),
        ({"target": "carrier"}, ValueError, "column 'carrier' holds string, where numbers are"),
        ({"nulls": "error"}, ValueError, "Table: column '.' has nulls"),
    ):
        with pytest.raises(error, match=message):
            tables.evaluate(flights(100), **{**COLUMNS, **options})
    for data in (3, [], [3], None, {"p": 1}):
        with pytest.raises(TypeError, match="data must be"):
            tables.evaluate(data, **COLUMNS)
    nested = table.append_column("list", pa.array([[1]] * 10))
    with pytest.raises(ValueError, match=r"column 'list' holds list<.*>, by which rows are not"):
        tables.evaluate(nested, **COLUMNS, by="list")
    twice = pa.table([table["p"], table["p"], table["y"]], names=["p", "p", "y"])
    with pytest.raises(ValueError, match="2 columns 'p'"):
        tables.evaluate(twice, **COLUMNS)


def bad_files(folder):
    """Yield arguments of the command, and what its one line says."""
    table = flights(3000)
    pq.write_table(table, folder / "good.parquet", row_group_size=500)
    whole = (folder / "good.parquet").read_bytes()
    (folder / "cut.parquet").write_bytes(whole[:-100])
    (folder / "middle.parquet").write_bytes(whole[:4] + b"\xff" * 20000 + whole[20004:])
    pyarrow.feather.write_feather(table, folder / "whole.arrow")
    (folder / "cut.arrow").write_bytes((folder / "whole.arrow").read_bytes()[:-100])
    (folder / "empty.parquet").write_bytes(b"")
    (folder / "text.parquet").write_text("no table")
    (folder / "text").write_text("no table")
    (folder / "text.arrow").write_text("no table, either")
    (folder / "text.csv").write_text("p,y\n1,2\nabc,3\n")
    (folder / "ragged.csv").write_text("p,y\n1,2\n1,2,3\n")
    (folder / "nothing.csv").write_text("")
    (folder / "bad.csv.gz").write_bytes(b"no gzip")
    (folder / "hollow").mkdir()
    np.save(folder / "array.npy", np.zeros(3))
    words = pa.table({"p": ["a"], "y": [1.0]})
    pq.write_table(words, folder / "words.parquet")
    pq.write_table(table.cast(table.schema.set(0, pa.field("p", pa.float64()))),
                   folder / "wide.parquet")  # fmt: skip
    pq.write_table(table.drop_columns(["p"]), folder / "less.parquet")
    yield ["missing.parquet"], "missing.parquet: No such file or directory"
    yield ["cut.parquet"], "cut.parquet: "
    yield ["middle.parquet"], "middle.parquet: column 'p': "
    yield ["cut.arrow"], "cut.arrow: an Arrow file that is cut off"
    yield ["empty.parquet"], "empty.parquet: "
    yield ["text.parquet"], "text.parquet: "
    yield ["text"], "text: neither its name nor its first bytes are of Parquet"
    yield ["text.arrow"], "text.arrow: "
    yield ["text.csv"], "text.csv: In column 'p': "
    yield ["ragged.csv"], "ragged.csv: "
    yield ["nothing.csv"], "nothing.csv: "
    yield ["bad.csv.gz"], "bad.csv.gz: "
    yield ["hollow"], "hollow: a folder without a file of Parquet"
    yield ["*.nothing"], "*.nothing: no file matches"
    yield ["array.npy"], "array.npy: a .npy file has no columns"
    yield ["words.parquet"], "words.parquet: column 'p' holds string, where numbers are needed"
    yield (
        ["good.parquet", "wide.parquet"],
        ("wide.parquet: column 'p' holds double, in good.parquet float"),
    )
    yield ["good.parquet", "less.parquet"], "less.parquet: no column 'p'; it has y, w, carrier"
    yield ["good.parquet", "--by", "airport"], "good.parquet: no column 'airport'"
    yield ["good.parquet", "--weight", "carrier"], "column 'carrier' holds string, where numbers"
    yield ["good.parquet", "--nulls", "error"], "good.parquet: column '"
    yield ["good.parquet", "--where", "month >"], "--where 'month >': "
    yield ["good.parquet", "--where", "month"], "good.parquet: --where 'month': gives int64"
    yield ["good.parquet", "--where", "carrier == 1"], "good.parquet: --where 'carrier == 1': "
    yield ["good.parquet", "--beta", "-1"], "--beta must be >= 0, got -1.0"
    yield ["good.parquet", "--by", "rows"], "--by 'rows': a figure has this name"
    yield ["good.parquet", "--sort-by", "speed"], "--sort-by speed: no such column"
    # Before anything is read.
    yield ["middle.parquet", "--sort-by", "weight"], "--sort-by weight: no such column; there are r"
    yield ["nonsense://bucket/x.parquet"], "nonsense://bucket/x.parquet: "
    yield [""], "'': no path"
    if os.name == "posix" and os.geteuid() != 0:
        (folder / "secret.parquet").write_bytes(whole)
        (folder / "secret.parquet").chmod(0)
        yield ["secret.parquet"], "secret.parquet: Permission denied"


def test_bad_files_get_one_line_and_nothing_is_written(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    before = None
    for arguments, message in bad_files(tmp_path):
        before = before or sorted(os.listdir())
        for more in ([], ["--output", "o.json", "--state", "s"]):
            code = cli.main(["evaluate", *arguments, "--prediction", "p", "--target", "y", *more])
            out, err = capsys.readouterr()
            assert (code, out) == (2, ""), (arguments, err)
            assert err.startswith(f"smoothl1: {message}") or message in err, err
            assert err.count("\n") == 1
    assert sorted(os.listdir()) == before


def test_what_is_read_is_not_written_over(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pq.write_table(flights(), "good.parquet")
    os.symlink("good.parquet", "link.parquet")
    before = (tmp_path / "good.parquet").read_bytes()
    options = ["--prediction", "p", "--target", "y"]
    for more, message in (
        (["--output", "good.parquet"], "--output good.parquet: this file is read"),
        (["--output", "./link.parquet"], "--output ./link.parquet: this file is read"),
        (["--state", f"{tmp_path}/good.parquet"], "good.parquet: this file is read"),
        (["--output", "a", "--state", "a"], "--state a: --output is written there"),
    ):
        assert cli.main(["evaluate", "good.parquet", *options, *more]) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / "good.parquet").read_bytes() == before
    assert sorted(os.listdir()) == ["good.parquet", "link.parquet"]
    both = ["--output", os.devnull, "--state", os.devnull]
    assert cli.main(["evaluate", "good.parquet", *options, *both]) == 0


def test_what_an_address_needs_is_named(monkeypatch):
    fsspec = pytest.importorskip("fsspec")

    def lacking(address):
        raise ImportError(f"{address.partition(':')[0]} needs another package")

    monkeypatch.setattr(fsspec.core, "url_to_fs", lacking)
    with pytest.raises(ValueError, match=r"^http://host/x.parquet: http needs another package$"):
        tables.evaluate("http://host/x.parquet", **COLUMNS)


def command(*arguments, **environment):
    return subprocess.run(
        [sys.executable, "-m", "smoothl1", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )


def test_command_line(tmp_path):
    pytest.importorskip("rich")
    table = flights()
    pq.write_table(table, tmp_path / "t.parquet", row_group_size=500)
    given = ["evaluate", tmp_path / "t.parquet", "--prediction", "p", "--target", "y"]
    done = command(*given, "--by", "carrier", "--by", "month", "--sort-by", "loss", "--limit", 5)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[3].split() == [
        "carrier", "month", "rows", "dropped", "mae", "rmse", "bias", "largest", "loss",
        "quadratic",
    ]  # fmt: skip
    assert lines[4].split()[0] == "all"
    assert lines[-1] == "(55 more groups)"
    losses = [float(line.split()[8]) for line in lines[5:10]]
    assert losses == sorted(losses, reverse=True)
    done = command(*given, "--by", "carrier", "--json", "--weight", "w", "--beta", 1, "--beta", 3)
    got = json.loads(done.stdout)
    wanted = expected(table, ("carrier",), "w")
    assert got["reduction"] == "weighted_mean"
    assert got["weight_column"] == "w"
    assert got["by"] == ["carrier"]
    assert [group["key"] for group in got["groups"]] == [[row["carrier"]] for row in wanted[1:]]
    assert [group["losses"][0]["loss"] for group in got["groups"]] == [
        row["loss"] for row in wanted[1:]
    ]
    assert [entry["beta"] for entry in got["losses"]] == [1.0, 3.0]
    assert got["rows"] == wanted[0]["rows"]
    done = command(*given, "--by", "month", "--output", tmp_path / "o.parquet", "--min-rows", 240)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    rows = pq.read_table(tmp_path / "o.parquet").to_pylist()
    everything = tables.evaluate(table, **COLUMNS, by="month").to_pylist()
    assert rows == [everything[0], *(row for row in everything[1:] if row["rows"] >= 240)]
    assert len(rows) < len(everything)
    done = command(*given, "--by", "month", "--format", "csv")
    assert done.stdout.splitlines()[1].startswith(f",{everything[0]['rows']},")
    assert len(done.stdout.splitlines()) == 14


def test_shards_merge_to_the_bits_of_one_run(tmp_path):
    table = flights().append_column("day", pa.array([datetime.date(2020, 1, 1 + i % 9)
                                                     for i in range(3000)]))  # fmt: skip
    options = ["--prediction", "p", "--target", "y", "--weight", "w", "--by", "day"]
    options += ["--by", "carrier", "--beta", "0.5"]
    for i in range(3):
        pq.write_table(table.slice(i * 1000, 1000), tmp_path / f"{i}.parquet")
    states = [tmp_path / f"{i}.sl1" for i in range(3)]
    for i, state in enumerate(states):
        assert cli.main(
            ["evaluate", str(tmp_path / f"{i}.parquet"), *options, "--state", str(state),
             "--output", os.devnull]
        ) == 0  # fmt: skip
    whole, merged = tmp_path / "whole", tmp_path / "merged"
    for suffix in (".csv", ".parquet", ".sl1"):
        flag = "--state" if suffix == ".sl1" else "--output"
        more = ["--output", os.devnull] if suffix == ".sl1" else []
        files = [str(tmp_path / f"{i}.parquet") for i in range(3)]
        assert cli.main(["evaluate", *files, *options, flag, f"{whole}{suffix}", *more]) == 0
        for order in ((0, 1, 2), (2, 0, 1)):
            given = [str(states[i]) for i in order]
            assert cli.main(["merge", *given, flag, f"{merged}{suffix}", *more]) == 0
            with open(f"{whole}{suffix}", "rb") as a, open(f"{merged}{suffix}", "rb") as b:
                assert a.read() == b.read()


def test_a_table_that_is_too_wide_says_what_it_leaves_out(tmp_path, monkeypatch, capsys):
    pytest.importorskip("rich")
    pq.write_table(flights(), tmp_path / "t.parquet")
    monkeypatch.setattr(cli, "_width", lambda: 60)
    arguments = ["--prediction", "p", "--target", "y", "--by", "carrier", "--beta", "1"]
    assert cli.main(["evaluate", str(tmp_path / "t.parquet"), *arguments]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines[3:-1])) <= 60
    assert "in a wider terminal, or with --format csv)" in lines[-1]
    assert " loss" in lines[3]


def test_many_thresholds_stand_below_one_another(tmp_path, monkeypatch, capsys):
    pytest.importorskip("rich")
    pq.write_table(flights(), tmp_path / "t.parquet")
    monkeypatch.setattr(cli, "_width", lambda: 80)
    betas = [word for beta in range(1, 16) for word in ("--beta", str(beta))]
    arguments = ["--prediction", "p", "--target", "y", "--by", "carrier", "--by", "month", *betas]
    path = str(tmp_path / "t.parquet")
    assert cli.main(["evaluate", path, *arguments, "--limit", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()[3:]
    assert max(map(len, lines)) <= 80
    heads = [line.split() for line in lines if line.startswith("carrier")]
    assert len(heads) == 3
    assert [name for head in heads for name in head[2:]] == [
        "rows", "dropped", "mae", *(f"loss_{beta}" for beta in range(1, 16)),
    ]  # fmt: skip
    assert sum(line.startswith("all ") for line in lines) == 3
    assert lines[-1].startswith("(largest, bias, rmse and 15 more: in a wider terminal")


def test_a_table_of_many_groups_ends(tmp_path, capsys):
    pytest.importorskip("rich")
    n = 1500
    pq.write_table(pa.table({"p": np.zeros(n), "y": np.ones(n), "k": range(n)}), tmp_path / "t.pq")
    arguments = ["evaluate", str(tmp_path / "t.pq"), "--prediction", "p", "--target", "y"]
    for more, count, end in (
        ([], 1000, "(500 more groups)"),
        (["--limit", "1499"], 1499, "(1 more group)"),
    ):
        assert cli.main([*arguments, "--by", "k", *more]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 3 + 2 + count + 1
        assert lines[-1] == end
    assert cli.main([*arguments, "--by", "k", "--format", "csv"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 + n


def test_without_the_optional_packages(tmp_path, monkeypatch, capsys):
    pq.write_table(flights(), tmp_path / "t.parquet")
    arguments = ["evaluate", str(tmp_path / "t.parquet"), "--prediction", "p", "--target", "y"]
    for name in ("rich", "rich.cells", "rich.console", "rich.table", "rich.text"):
        monkeypatch.setitem(sys.modules, name, None)
    assert cli.main([*arguments]) == 0
    assert cli.main([*arguments, "--by", "month", "--json"]) == 0
    assert cli.main([*arguments, "--by", "month"]) == 2
    err = capsys.readouterr().err
    assert "needs rich for groups: pip install 'smoothl1[tables]'; or use --format json" in err
    code = (
        "import sys\n"
        "for name in ('pyarrow', 'rich', 'tqdm'): sys.modules[name] = None\n"
        "from smoothl1._evaluate.cli import main\n"
        "assert main(['evaluate', '--sample']) == 0\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr == (
        f"smoothl1: {tmp_path / 't.parquet'}: Parquet, Arrow and CSV need pyarrow: "
        "pip install 'smoothl1[tables]'\n"
    )


@pytest.mark.parametrize("by", [[], ["--by", "carrier"]])
def test_plot(tmp_path, by):
    pytest.importorskip("matplotlib")
    pq.write_table(flights(), tmp_path / "t.parquet", row_group_size=500)
    code = cli.main(
        ["evaluate", str(tmp_path / "t.parquet"), "--prediction", "p", "--target", "y", *by,
         "--plot", str(tmp_path / "p.svg"), "--output", os.devnull]
    )  # fmt: skip
    assert code == 0
    picture = (tmp_path / "p.svg").read_text()
    rows = tables.evaluate(flights(), **COLUMNS)["rows"].to_pylist()[0]
    assert f"{rows:,} residuals" in picture
    assert ("groups, by their loss" in picture) == bool(by)


def test_progress_has_rows_and_bytes(tmp_path, monkeypatch):
    tqdm = pytest.importorskip("tqdm")
    pq.write_table(flights(), tmp_path / "t.parquet", row_group_size=500)
    size = (tmp_path / "t.parquet").stat().st_size
    monkeypatch.setattr(sys, "stderr", None)
    assert tables._progress(size).__enter__() is None
    monkeypatch.undo()
    stream = io.StringIO()
    bar = tqdm.tqdm(total=size, file=stream, miniters=1, mininterval=0)
    monkeypatch.setattr(tables, "_progress", lambda total: tables._Bar(bar))
    tables.evaluate(tmp_path / "t.parquet", **COLUMNS, progress=True, n_threads=2)
    assert bar.postfix == "3,000 rows"
    assert size - 6 < bar.n <= size


def test_a_file_that_vanishes_meanwhile(tmp_path):
    pq.write_table(flights(), tmp_path / "t.parquet", row_group_size=500)
    source = readers.Source(tmp_path / "t.parquet", readers.Columns(("p", "y"), (), ()))
    parts = source.parts(1)
    os.unlink(tmp_path / "t.parquet")
    with pytest.raises(InputError, match=r"t\.parquet: No such file or directory"):
        list(next(parts).batches)


def test_an_interrupt_ends_all_threads(tmp_path, monkeypatch):
    pq.write_table(flights(), tmp_path / "t.parquet", row_group_size=50)
    waited = []
    join = threading.Thread.join

    def interrupt(thread, timeout=None):
        waited.append(thread)
        if len(waited) == 1:
            raise KeyboardInterrupt
        join(thread, timeout)

    monkeypatch.setattr(threading.Thread, "join", interrupt)
    with pytest.raises(KeyboardInterrupt):
        tables.run(tmp_path / "t.parquet", **COLUMNS, n_threads=2)
    assert len(waited) == 3
    assert not any(thread.is_alive() for thread in waited)


def test_threads_share_the_batches_of_the_last_part(tmp_path, monkeypatch):
    table = flights(20_000)
    pq.write_table(table, tmp_path / "t.parquet")
    monkeypatch.setattr(readers, "BATCH", 100)
    threads = set()
    add = tables._Run._add

    def noted(*arguments):
        threads.add(threading.current_thread().name)
        time.sleep(0.0001)
        add(*arguments)

    monkeypatch.setattr(tables._Run, "_add", noted)
    got = tables.evaluate(tmp_path / "t.parquet", **COLUMNS, by="carrier", n_threads=3)
    assert len(threads) == 3
    check(got, table, ["carrier"])


def test_the_error_of_the_first_file_is_raised(tmp_path):
    table = flights(2000)
    place = table.column_names.index("carrier")
    for i in range(4):
        text = pa.array(["4"] * 1999 + ["x" * i if i % 2 else "4"])
        table = table.set_column(place, "carrier", text)
        pq.write_table(table, tmp_path / f"{i}.parquet", row_group_size=500)
    for _ in range(20):
        with pytest.raises(ValueError, match=r"1\.parquet: .*'x'"):
            tables.evaluate(tmp_path, **COLUMNS, where="carrier > 3", n_threads=4)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads peak memory of a child")
def test_memory_is_bounded(tmp_path):
    table = flights(100_000)
    sizes = {}
    for count in (10, 40):
        path = tmp_path / f"{count}.parquet"
        with pq.ParquetWriter(path, table.schema) as writer:
            for _ in range(count):
                writer.write_table(table)
        code = (
            "import sys; from smoothl1 import tables;"
            "tables.evaluate(sys.argv[1], prediction='p', target='y', by=['carrier', 'month'],"
            " n_threads=2);"
            "lines = open('/proc/self/status').read().splitlines();"
            "print(*(line.split()[1] for line in lines if line.startswith('VmHWM')))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code, path], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stderr
        sizes[count] = int(done.stdout)
    assert sizes[40] < 400 * 1024
    assert sizes[40] < 1.1 * sizes[10]
