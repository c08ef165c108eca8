"""The command line, through a process of its own and through ``main``."""

import importlib.util
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from smoothl1 import smooth_l1_path
from smoothl1._evaluate import cli, npy, pictures


def command(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "smoothl1", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=cwd,
    )


def figures(*arguments):
    done = command("evaluate", *arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture
def files(tmp_path, rng):
    def save(name, a):
        np.save(tmp_path / f"{name}.npy", a)
        return tmp_path / f"{name}.npy"

    x, y = rng.standard_normal((2, 300, 7)).astype(np.float32)
    return save("x", x), save("y", y), save("w", rng.uniform(size=(300, 7))), save


def test_sample():
    done = command("evaluate", "--sample", "--beta", 1, "--beta", 30)
    assert done.returncode == 0
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == [
        "predictions", "targets", "shape", "MAE", "RMSE", "bias", "largest", "loss", "loss",
        "throughput",
    ]  # fmt: skip
    assert lines[2].split(None, 1)[1] == "(442,)"
    x, y = (np.load(cli._DATA / f"diabetes_{name}.npy") for name in ("predictions", "targets"))
    losses = smooth_l1_path(x, y, [1.0, 30.0])
    for line, loss, beta in zip(lines[7:9], losses, (1.0, 30.0), strict=True):
        assert line.split()[1] == f"{loss:.9g}"
        share = 100 * np.mean(np.abs(x - y) < beta)
        assert f"beta {beta:g}; {share:.3g} % of residuals in the quadratic piece" in line
    assert lines[3].split()[1] == f"{np.mean(np.abs(x - y)):.9g}"
    assert lines[4].split()[1] == f"{np.sqrt(np.mean((x - y) ** 2)):.9g}"
    assert float(lines[5].split()[1]) == pytest.approx(np.mean(x - y), rel=1e-8)
    assert lines[6].split()[1] == f"{np.max(np.abs(x - y)):.9g}"


def test_json(files):
    x, y, _, _ = files
    got = figures(x, y, "--beta", "0.5", "--beta", 2, "--threads", 2)
    a, b = np.load(x), np.load(y)
    losses = smooth_l1_path(a, b, [0.5, 2.0], exact=True)
    assert [entry["loss"] for entry in got["losses"]] == [float(loss) for loss in losses]
    assert [entry["beta"] for entry in got["losses"]] == [0.5, 2.0]
    for entry in got["losses"]:
        assert entry["quadratic_share"] == np.mean(np.abs(a - b) < np.float32(entry["beta"]))
    assert got["shape"] == [300, 7]
    assert got["dtype"] == ["float32", "float32"]
    assert got["mae"] == pytest.approx(np.abs(a - b).mean(), rel=1e-6)
    assert got["rmse"] == pytest.approx(np.sqrt(np.mean((a - b) ** 2)), rel=1e-6)
    assert got["seconds"] > 0
    assert got["elements_per_second"] == pytest.approx(2100 / got["seconds"])
    assert got["bytes_per_second"] == pytest.approx(2100 * 8 / got["seconds"])


@pytest.mark.parametrize("reduction", ["mean", "sum", "weighted_mean"])
def test_weights(files, reduction):
    x, y, w, _ = files
    got = figures(x, y, "--weight", w, "--reduction", reduction)
    weight = np.load(w)
    expected = smooth_l1_path(np.load(x), np.load(y), [1.0], reduction, weight=weight, exact=True)
    assert got["losses"][0]["loss"] == float(expected[0])
    assert got["reduction"] == reduction
    residual = np.load(x) - np.load(y)
    total = weight.sum()
    assert got["mae"] == pytest.approx((weight * np.abs(residual)).sum() / total, rel=1e-6)
    assert got["rmse"] ** 2 == pytest.approx((weight * residual**2).sum() / total, rel=1e-6)
    assert got["bias"] == pytest.approx((weight * residual).sum() / total, rel=1e-5)
    share = (weight * (np.abs(residual) < 1)).sum() / total
    assert got["losses"][0]["quadratic_share"] == pytest.approx(share, rel=1e-6)
    assert got["weight_sum"] == pytest.approx(total, rel=1e-6)
    assert got["weights"] == str(w)


def test_with_weights_the_mean_is_by_their_sum(files):
    *_, save = files
    x, y = save("a", np.array([0.0, 0, 0, 1000])), save("b", np.zeros(4))
    w = save("c", np.array([1.0, 1, 1, 0]))
    got = figures(x, y, "--weight", w)
    assert got["reduction"] == "weighted_mean"
    assert (got["mae"], got["rmse"], got["losses"][0]["loss"]) == (0, 0, 0)
    assert "losses are divided by their sum" in command("evaluate", x, y, "--weight", w).stdout
    by_rows = command("evaluate", x, y, "--weight", w, "--reduction", "mean").stdout
    assert "losses are divided by the number of rows" in by_rows


def test_large_files_in_pieces_have_the_bits_of_one_call(tmp_path, rng):
    n = 2 * npy.PIECE + 1001
    x, y = rng.standard_normal((2, n)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    np.save(tmp_path / "y.npy", y.astype(np.float64))
    got = figures(tmp_path / "x.npy", tmp_path / "y.npy", "--beta", "0.37", "--beta", "1")
    expected = smooth_l1_path(x, y.astype(np.float64), [0.37, 1.0], exact=True)
    assert [entry["loss"] for entry in got["losses"]] == expected.tolist()


def test_fortran_order(files):
    _, _, _, save = files
    a, b = np.arange(24.0).reshape(4, 6), np.ones((4, 6))
    expected = float(np.mean(np.where(np.abs(a - b) < 1, (a - b) ** 2 / 2, np.abs(a - b) - 0.5)))
    for first in (a, np.asfortranarray(a)):
        for second in (b, np.asfortranarray(b)):
            got = figures(save("first", first), save("second", second))
            assert got["losses"][0]["loss"] == expected


def test_fortran_order_in_pieces(tmp_path, rng, monkeypatch):
    monkeypatch.setattr(npy, "PIECE", 64)
    a, b = rng.standard_normal((2, 50, 6))
    np.save(tmp_path / "a.npy", a)
    np.save(tmp_path / "b.npy", np.asfortranarray(b))
    files = [npy.NpyFile.open(tmp_path / name) for name in ("a.npy", "b.npy")]
    pieces = list(npy.pieces(files))
    assert len(pieces) == 5
    np.testing.assert_array_equal(np.concatenate([p[0] for p in pieces]), a)
    np.testing.assert_array_equal(np.concatenate([p[1] for p in pieces]), b)


def test_other_dtypes(files):
    *_, save = files
    for dtype in (np.float16, np.int32, np.bool_, ">f8"):
        a = np.array([0, 1, 1, 0]).astype(dtype)
        got = figures(save("a", a), save("b", np.zeros(4, dtype)))
        assert got["losses"][0]["loss"] == 0.25
    assert figures(save("a", np.array(3.0)), save("b", np.array(0.0)))["shape"] == []


def test_values_that_json_lacks(files):
    *_, save = files
    got = figures(save("a", np.array([np.nan, 1.0])), save("b", np.zeros(2)))
    assert got["losses"][0]["loss"] is None
    assert got["mae"] is None
    assert got["nan"] == 1
    assert got["largest"] == 1
    got = figures(save("a", np.array([np.inf, 1.0])), save("b", np.zeros(2)), "--beta", "inf")
    assert float(got["losses"][0]["beta"]) == np.inf
    assert float(got["mae"]) == float(got["bias"]) == float(got["largest"]) == np.inf


def test_nan_can_be_ignored(files):
    *_, save = files
    a, b = save("a", np.array([np.nan, 3.0, 1.0])), save("b", np.array([0.0, np.nan, 3.0]))
    got = figures(a, b, "--ignore-nan")
    assert (got["nan"], got["rows"], got["mae"]) == (2, 1, 2.0)
    assert "NaN          2 rows, ignored" in command("evaluate", a, b, "--ignore-nan").stdout


def test_bars_count_every_residual(rng):
    residual = rng.standard_t(2, 100_000)
    residual[:7] = [0.0, -0.0, np.inf, -np.inf, 1e300, -1e300, 5e-324]
    counted = pictures.Residuals()
    for part in np.array_split(residual, 7):
        counted.add(part)
    counted.add(np.array([np.nan]))
    width, heights, left, right, reach = pictures.bars(counted)
    assert width == 2.0 ** np.log2(width)
    edges = np.arange(-(len(heights) // 2), len(heights) // 2 + 1) * width
    expected, _ = np.histogram(residual[np.isfinite(residual)], edges)
    # In the cell of an edge itself: those below 0 belong to the bar that ends there.
    assert abs(heights - expected).sum() <= 2
    assert (left, right) == ((residual < -reach).sum(), (residual >= reach).sum())
    assert heights.sum() + left + right == len(residual)
    assert 16 <= len(heights) <= 64
    assert np.mean(np.abs(residual) < reach) > 0.99


@pytest.mark.parametrize("suffix", ["png", "svg"])
def test_plot(files, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    x, y, _, _ = files
    path = tmp_path / f"plot.{suffix}"
    done = command("evaluate", x, y, "--beta", 1, "--beta", 3, "--plot", path)
    assert done.returncode == 0, done.stderr
    assert path.read_bytes().startswith(b"\x89PNG" if suffix == "png" else b"<?xml")


def test_plot_of_nothing_finite(files, tmp_path):
    pytest.importorskip("matplotlib")
    *_, save = files
    nans = save("a", np.full(3, np.nan))
    assert figures(nans, nans, "--plot", tmp_path / "plot.png")["mae"] is None


def bad_input(tmp_path, rng):
    """Yield arguments, and what the one line on standard error says."""
    np.save(tmp_path / "x.npy", rng.standard_normal(10))
    np.save(tmp_path / "column.npy", rng.standard_normal((10, 1)))
    np.save(tmp_path / "complex.npy", np.zeros(10, complex))
    np.save(tmp_path / "text.npy", np.array(["a"] * 10))
    np.save(tmp_path / "object.npy", np.array([{}] * 10, object), allow_pickle=True)
    np.save(tmp_path / "empty.npy", np.empty((0, 3)))
    np.save(tmp_path / "zeros.npy", np.zeros(10))
    np.savez(tmp_path / "archive.npz", a=np.zeros(3))
    (tmp_path / "note.txt").write_text("no array here")
    (tmp_path / "nothing.npy").write_bytes(b"")
    whole = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "short.npy").write_bytes(whole[:-8])
    (tmp_path / "header.npy").write_bytes(whole[:40])
    (tmp_path / "huge.npy").write_bytes(
        whole.replace(b"(10,), }" + b" " * 12, b"(10000000000000,), }")
    )
    (tmp_path / "negative.npy").write_bytes(whole.replace(b"(10,), } ", b"(-10,), }"))
    yield ["x.npy"], "two files are needed, PREDICTIONS and TARGETS, or --sample"
    yield [], "two files are needed"
    yield ["x.npy", "x.npy", "--by", "g"], "--by needs a table: --prediction COLUMN and --target"
    yield ["x.npy", "x.npy", "--where", "g > 1"], "--where needs a table"
    yield ["t.parquet"], "t.parquet: of a table the columns are needed, --prediction COLUMN"
    yield ["t.csv.gz", "x.npy"], "t.csv.gz: of a table the columns are needed"
    yield ["t.parquet", "--target", "y"], "--prediction COLUMN is needed, too"
    yield ["--prediction", "p", "--target", "y"], "a file is needed"
    yield ["--sample", "--prediction", "p", "--target", "y"], "--sample takes no columns"
    yield ["x.npy", "x.npy", "--output", "no/o.json"], "--output no/o.json: no such directory"
    yield ["x.npy", "x.npy", "--output", "."], "--output .: Is a directory"
    yield ["x.npy", "x.npy", "--state", "no/s"], "--state no/s: no such directory"
    yield ["x.npy", "x.npy", "--format", "parquet"], "--format parquet needs --output FILE"
    yield ["x.npy", "x.npy", "--json", "--format", "csv"], "--json and --format csv exclude each"
    yield ["x.npy", "x.npy", "--limit", "-1"], "argument --limit: must be an integer of at least 0"
    yield ["x.npy", "x.npy", "--sort-by", "z"], "--sort-by z: no such column; there are rows, drop"
    yield ["x.npy", "x.npy", "--sample"], "--sample takes no files"
    yield ["missing.npy", "x.npy"], "missing.npy: No such file or directory"
    yield ["x.npy", "missing.npy"], "missing.npy: No such file or directory"
    yield [".", "x.npy"], ".: Is a directory"
    yield ["note.txt", "x.npy"], "note.txt: not a .npy file"
    yield ["archive.npz", "x.npy"], "archive.npz: not a .npy file"
    yield ["nothing.npy", "x.npy"], "nothing.npy: not a .npy file"
    yield ["header.npy", "x.npy"], "header.npy: not a .npy file"
    yield (
        ["short.npy", "x.npy"],
        "short.npy: truncated, shape (10,) of float64 needs 208 bytes, got 200",
    )
    yield ["huge.npy", "x.npy"], "huge.npy: truncated, shape (10000000000000,) of float64 needs"
    yield ["negative.npy", "x.npy"], "negative.npy: not a .npy file (shape (-10,))"
    yield ["object.npy", "x.npy"], "object.npy: holds pickled objects, which are never loaded"
    yield ["complex.npy", "x.npy"], "complex.npy has dtype complex128"
    yield ["text.npy", "x.npy"], "text.npy has dtype <U1"
    yield ["x.npy", "column.npy"], "shapes do not match: x.npy has (10,), column.npy (10, 1)"
    yield ["x.npy", "x.npy", "--weight", "column.npy"], "shapes do not match"
    yield ["empty.npy", "empty.npy"], "empty.npy: shape (0, 3) holds no element"
    yield ["x.npy", "x.npy", "--beta", "-1"], "--beta must be >= 0, got -1.0"
    yield ["x.npy", "x.npy", "--beta", "nan"], "--beta must be >= 0, got nan"
    yield ["x.npy", "x.npy", "--beta", "one"], "argument --beta: invalid float value: 'one'"
    yield (
        ["x.npy", "x.npy", "--threads", "0"],
        "argument --threads: must be an integer of at least 1",
    )
    yield (
        ["x.npy", "x.npy", "--threads", "a"],
        "argument --threads: must be an integer of at least 1",
    )
    yield ["x.npy", "x.npy", "--reduction", "none"], "argument --reduction: invalid choice: 'none'"
    yield ["x.npy", "x.npy", "--reduction", "weighted_mean"], "needs --weight FILE"
    yield (
        ["x.npy", "x.npy", "--reduction", "weighted_mean", "--weight", "zeros.npy"],
        "the weights sum to 0",
    )
    if importlib.util.find_spec("matplotlib"):
        yield (
            ["x.npy", "x.npy", "--plot", "plot.xyz"],
            "unknown picture format 'xyz'; use .png or .svg",
        )
        yield (
            ["x.npy", "x.npy", "--plot", "no/plot.png"],
            "--plot no/plot.png: no such directory",
        )


def test_bad_input(tmp_path, rng, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for arguments, message in bad_input(tmp_path, rng):
        try:
            code = cli.main(["evaluate", *arguments])
        except SystemExit as stop:  # argparse
            code = stop.code
        out, err = capsys.readouterr()
        assert code == 2, arguments
        assert out == ""
        assert message in err.splitlines()[-1], (arguments, err)
        assert "Traceback" not in err


def test_bad_input_through_a_process(tmp_path):
    done = command("evaluate", "missing.npy", "x.npy", cwd=tmp_path)
    assert done.returncode == 2
    assert done.stderr == "smoothl1: missing.npy: No such file or directory\n"
    assert done.stdout == ""
    done = command("frobnicate")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_plot_that_cannot_be_written(files, tmp_path, monkeypatch, capsys):
    figure = pytest.importorskip("matplotlib.figure")
    x, y, _, _ = files

    def fail(self, *arguments, **options):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(figure.Figure, "savefig", fail)
    assert cli.main(["evaluate", str(x), str(y), "--plot", str(tmp_path / "p.png")]) == 2
    assert capsys.readouterr().err.endswith("p.png: Permission denied\n")


def test_without_the_optional_packages(files, monkeypatch, capsys):
    x, y, _, _ = files
    for name in ("tqdm", "matplotlib", "matplotlib.figure"):
        monkeypatch.setitem(sys.modules, name, None)
    assert cli.main(["evaluate", str(x), str(y)]) == 0
    assert cli.main(["evaluate", str(x), str(y), "--plot", "a.png"]) == 2
    assert "--plot needs matplotlib: pip install 'smoothl1[plot]'" in capsys.readouterr().err


def test_output_and_states(files, tmp_path):
    x, y, w, _ = files
    a, b = np.load(x), np.load(y)
    halves = []
    for i, part in enumerate((slice(0, 100), slice(100, 300))):
        for name, array in (("a", a), ("b", b), ("c", np.load(w))):
            np.save(tmp_path / f"{name}{i}.npy", array[part])
        state = tmp_path / f"{i}.state"
        parts = [tmp_path / f"{name}{i}.npy" for name in "abc"]
        done = command("evaluate", *parts[:2], "--weight", parts[2], "--state", state)
        assert done.returncode == 0, done.stderr
        halves.append(state)
    whole = tmp_path / "whole.json"
    done = command("evaluate", x, y, "--weight", w, "--output", whole)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    merged = tmp_path / "merged.json"
    for order in (halves, halves[::-1]):
        assert command("merge", *order, "--output", merged).returncode == 0
        one, other = json.loads(whole.read_text()), json.loads(merged.read_text())
        for name in ("mae", "rmse", "bias", "largest", "losses", "rows", "weight_sum"):
            assert one[name] == other[name]
    table = command("evaluate", x, y, "--format", "csv").stdout.splitlines()
    assert table[0] == "rows,dropped,nan,mae,rmse,bias,largest,loss,quadratic_share"
    assert len(table) == 2
    assert sorted(path.name for path in tmp_path.iterdir() if path.name[0] == ".") == []


def test_states_that_are_none(files, tmp_path, monkeypatch, capsys):
    x, y, _, save = files
    monkeypatch.chdir(tmp_path)
    assert cli.main(["evaluate", str(x), str(y), "--state", "good", "--beta", "0.5"]) == 0
    assert cli.main(["evaluate", str(x), str(y), "--state", "other"]) == 0
    wide = str(save("wide", np.zeros((300, 7))))
    assert cli.main(["evaluate", wide, wide, "--state", "wide", "--beta", "0.5"]) == 0
    good = (tmp_path / "good").read_bytes()
    (tmp_path / "cut").write_bytes(good[:-3])
    (tmp_path / "flipped").write_bytes(good[:60] + bytes([good[60] ^ 1]) + good[61:])
    (tmp_path / "future").write_bytes(good[:4] + b"\x63" + good[5:])
    (tmp_path / "text").write_text("no state")
    capsys.readouterr()
    for names, message in (
        (["missing"], "missing: No such file or directory"),
        (["."], ".: Is a directory"),
        (["good", "cut"], "cut: the state is damaged: the checksum does not match"),
        (["flipped"], "flipped: the state is damaged"),
        (["future"], "future: the state is of an unknown version of the format"),
        (["text"], "text: not a state of smoothl1 evaluate"),
        (["good", "other"], "other: sums of other thresholds cannot be merged"),
        (["good", "wide"], "wide: sums in float32 and in float64 cannot be merged"),
        (["good", "--reduction", "weighted_mean"], "the states are of data without weights"),
    ):
        assert cli.main(["merge", *names, "--output", "out"]) == 2
        out, err = capsys.readouterr()
        assert message in err
        assert (out, err.count("\n")) == ("", 1)
        assert not (tmp_path / "out").exists()


def test_info():
    done = command("info")
    assert done.returncode == 0
    assert "chosen: " in done.stdout
    done = command("info", "--json")
    assert json.loads(done.stdout)["simd"]["chosen"] in done.stdout


def test_version_and_help():
    from smoothl1 import __version__

    assert command("--version").stdout == f"smoothl1 {__version__}\n"
    assert "--sample" in command("evaluate", "--help").stdout


def test_interrupt_and_closed_pipe(monkeypatch, capfd):
    def interrupt(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "evaluate", interrupt)
    assert cli.main(["evaluate", "--sample"]) == 130
    if os.name == "posix":
        for unbuffered in ("", "1"):  # the pipe breaks at the flush, or in the middle
            done = subprocess.run(
                f"'{sys.executable}' -m smoothl1 info | true",
                shell=True,
                env={**os.environ, "PYTHONUNBUFFERED": unbuffered},
                capture_output=True,
                text=True,
                timeout=60,
            )
            assert done.stderr == ""


def test_progress_is_shown_on_a_terminal_only(files):
    pytest.importorskip("tqdm")
    bar = cli._progress(100)
    assert bar.disable == (not sys.stderr.isatty())
    bar.close()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads peak memory of a child")
def test_memory_is_bounded(tmp_path):
    # 400 MB of predictions and as much of targets, sparse on disk.
    n = 10**8
    for name in ("x", "y"):
        header = np.lib.format.open_memmap(tmp_path / f"{name}.npy", "w+", np.float32, (n,))
        del header
    code = (
        # Not ru_maxrss, which a child inherits from its parent.
        "import sys; from smoothl1._evaluate.cli import main;"
        "main(['evaluate', *sys.argv[1:], '--json']);"
        "lines = open('/proc/self/status').read().splitlines();"
        "print(*(line.split()[1] for line in lines if line.startswith('VmHWM')))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "x.npy", tmp_path / "y.npy"],
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout.splitlines()[-1]) < 200 * 1024


def test_an_impossible_instruction_set_gets_one_line():
    environment = {**os.environ, "SMOOTHL1_SIMD": "nonsense"}
    for command in (["-m", "smoothl1", "info"], ["-m", "smoothl1", "evaluate", "--sample"]):
        done = subprocess.run(
            [sys.executable, *command], env=environment, capture_output=True, text=True
        )
        assert done.returncode == 2
        assert done.stdout == ""
        assert done.stderr.startswith("smoothl1: SMOOTHL1_SIMD='nonsense' is no instruction set")
        assert done.stderr.count("\n") == 1
    done = subprocess.run(
        [sys.executable, "-c", "import smoothl1"], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "ImportError: SMOOTHL1_SIMD='nonsense'" in done.stderr
