"""Files on a Dask cluster: the table of one machine, also where workers are lost; Zarr arrays."""

import json
import os
import signal
import time

import numpy as np
import pytest

import smoothl1
import smoothl1.dask as sd
from smoothl1._evaluate import zarr as _zarr
from smoothl1._evaluate.cli import main
from smoothl1._evaluate.npy import InputError

da = pytest.importorskip("dask.array")
distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster():
    """Two processes of this machine."""
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


@pytest.fixture
def tables(tmp_path, rng):
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    n = 20_000
    p, t = rng.standard_normal((2, n)).astype(np.float32)
    p[5] = np.nan
    keys = rng.choice(["a", "b", "c"], n)
    rows = np.arange(n)
    table = pa.table(
        {
            "p": pa.array(p, mask=rows % 97 == 0),
            "t": t,
            "k": pa.array(keys, mask=rows % 101 == 0),
        }
    )
    for i in range(5):
        part = table.slice(4000 * i, 4000)
        pq.write_table(part, tmp_path / f"{i}.parquet", row_group_size=1000)
    return tmp_path


def arrays(tmp_path, rng, dtype=np.float32):
    zarr = pytest.importorskip("zarr")
    found = {}
    for name, chunks in (("p", (30, 50)), ("t", (7, 200)), ("w", (100, 60))):
        found[name] = rng.standard_normal((100, 200)).astype(dtype)
        if name == "w":
            found[name] = abs(found[name])
        array = zarr.create_array(
            str(tmp_path / f"{name}.zarr"), shape=(100, 200), chunks=chunks, dtype=dtype
        )
        array[:] = found[name]
        np.save(tmp_path / f"{name}.npy", found[name])
    return found


def same(table, other):
    assert table.schema.equals(other.schema)
    for name in table.column_names:
        a, b = (t[name].combine_chunks() for t in (table, other))
        assert [repr(value) for value in a.to_pylist()] == [repr(value) for value in b.to_pylist()]


def test_two_processes_have_the_bits_of_one(cluster, dtype, rng):
    x, y = rng.standard_normal((2, 200, 500)).astype(dtype)
    a, b = da.from_array(x, chunks=(30, 100)), da.from_array(y, chunks=(50, 500))
    loss = sd.smooth_l1_loss(a, b, beta=0.3)
    expected = smoothl1.smooth_l1_loss(x, y, beta=0.3, exact=True)
    assert cluster.compute(loss).result() == expected
    assert loss.compute(scheduler="synchronous") == expected
    sums = cluster.compute(sd.loss_sums(a, b, [0.3, 1.0])).result()
    assert sums == smoothl1.LossSums([0.3, 1.0], dtype=dtype).update(x, y)


def _slow(block):
    time.sleep(0.1)
    return block


@pytest.mark.thread_unsafe
def test_a_lost_worker_is_survived(rng):
    x = rng.standard_normal(40_000)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, dashboard_address=":0", silence_logs=50
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        slow = da.from_array(x, chunks=1000).map_blocks(_slow, dtype=float, meta=x[:0])
        future = client.compute(sd.loss_sums(slow, 0.0, 0.5))
        processes = client.run(os.getpid)
        time.sleep(1)
        assert not future.done()
        os.kill(next(iter(processes.values())), signal.SIGKILL)
        assert future.result(timeout=120) == smoothl1.LossSums(0.5).update(x, 0.0)


@pytest.mark.parametrize("by", [None, "k"])
def test_tables_are_those_of_one_machine(tables, cluster, by):
    from smoothl1.tables import evaluate

    options = {"prediction": "p", "target": "t", "by": by, "beta": [0.5, 1.0]}
    expected = evaluate(tables, **options)
    same(sd.evaluate_files(tables, **options), expected)
    same(sd.evaluate_files(tables / "*.parquet", address=cluster, **options), expected)
    chosen = {**options, "where": "k in ('a', 'b') and t > 0"}
    same(sd.evaluate_files([tables], address=cluster, **chosen), evaluate(tables, **chosen))


def test_what_is_wrong_with_files(tables, cluster):
    options = {"prediction": "p", "target": "t"}
    for files, more, error, message in (
        (tables / "none.parquet", {}, ValueError, "none.parquet"),
        (tables, {"target": "u"}, ValueError, "'u'"),
        (tables, {"nulls": "error"}, ValueError, "column 'p' has nulls"),
        (tables, {"beta": -1}, ValueError, "beta must be >= 0"),
        (tables, {"address": "tcp://127.0.0.1:9"}, ValueError, "no Dask scheduler answers"),
    ):
        with pytest.raises(error, match=message):
            sd.evaluate_files(files, **{**options, "address": cluster, **more})


def run(capsys, *arguments):
    status = main(list(map(str, arguments)))
    found = capsys.readouterr()
    return status, found.out, found.err


@pytest.mark.thread_unsafe
def test_command_line(tables, capsys, rng):
    arrays(tables, rng)
    files = tables / "p.zarr", tables / "t.zarr", "--weight", tables / "w.zarr"
    columns = tables / "*.parquet", "--prediction", "p", "--target", "t", "--by", "k"
    for arguments in (files, columns):
        status, expected, _ = run(capsys, "evaluate", *arguments, "--json")
        assert status == 0
        status, found, errors = run(capsys, "evaluate", *arguments, "--json", "--dask", "local")
        assert status == 0
        assert errors.startswith("smoothl1: dashboard at http")
        found, expected = json.loads(found), json.loads(expected)
        for name in ("seconds", "bytes_per_second", "elements_per_second"):
            found.pop(name, None), expected.pop(name, None)
        assert found == expected
    status, _, errors = run(capsys, "evaluate", *columns, "--dask", "tcp://127.0.0.1:9")
    assert status == 2
    assert "tcp://127.0.0.1:9: no Dask scheduler answers" in errors
    status, _, errors = run(capsys, "evaluate", *columns, "--dask", "local", "--plot", "a.png")
    assert status == 2
    assert "--plot needs all residuals" in errors


@pytest.mark.parametrize("suffixes", ["zz", "nz", "zn", "nn"])
def test_zarr_beside_npy(tmp_path, rng, capsys, suffixes, monkeypatch):
    found = arrays(tmp_path, rng, np.float64)
    names = {"z": "zarr", "n": "npy"}
    paths = [tmp_path / f"{name}.{names[s]}" for name, s in zip("pt", suffixes, strict=True)]
    sums = smoothl1.LossSums([0.5, 1.0]).update(found["p"], found["t"])
    for elements in (1, 300, 2**22):
        monkeypatch.setattr(_zarr, "_ELEMENTS", elements)
        files = [_zarr.open_array(path) for path in paths]
        again = smoothl1.LossSums([0.5, 1.0])
        for p, t in _zarr.pieces(files):
            again.update(p, t)
        assert again == sums
    status, out, _ = run(capsys, "evaluate", *paths, "--json", "--beta", "0.5")
    assert status == 0
    assert f"{sums.mae!r}"[11:-1] in out


def test_bad_zarr(tmp_path, rng, capsys):
    zarr = pytest.importorskip("zarr")
    arrays(tmp_path, rng)
    group = zarr.open_group(str(tmp_path / "g.zarr"), mode="w")
    group.create_array("inner", shape=(100, 200), chunks=(10, 10), dtype="f4")[:] = 0
    zarr.create_array(str(tmp_path / "c.zarr"), shape=(3,), chunks=(1,), dtype="c16")
    zarr.create_array(str(tmp_path / "s.zarr"), shape=(3,), chunks=(1,), dtype="f4")
    (tmp_path / "b.zarr").mkdir()
    for name, message in (
        ("g.zarr", "a Zarr group, not an array; name one of it"),
        ("c.zarr", "has dtype complex128"),
        ("b.zarr", "not a Zarr array"),
        ("none.zarr", "not a Zarr array"),
        ("s.zarr", "shapes do not match"),
    ):
        status, _, errors = run(capsys, "evaluate", tmp_path / "p.zarr", tmp_path / name)
        assert status == 2
        assert message in errors
        assert errors.count("\n") == 1
    status, _, _ = run(capsys, "evaluate", tmp_path / "p.zarr", tmp_path / "g.zarr" / "inner")
    assert status == 0
    assert _zarr.is_zarr(tmp_path / "g.zarr" / "inner")
    for chunk in (tmp_path / "t.zarr" / "c").rglob("*"):
        if chunk.is_file():
            chunk.write_bytes(b"no chunk")
    with pytest.raises(InputError, match=r"t\.zarr: "):
        list(_zarr.pieces([_zarr.open_array(tmp_path / f"{name}.zarr") for name in "pt"]))
