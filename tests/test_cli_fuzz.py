"""The command line in all circumstances: exit code 0, 2 or 130, one line of complaint at most."""

import contextlib
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest

from smoothl1._evaluate import cli as _cli
from smoothl1._evaluate import npy as _npy
from tests.processes import SETTINGS, linux

pytestmark = pytest.mark.thread_unsafe(reason="changes files, environment and standard streams")

X = np.linspace(-3, 3, 24).reshape(4, 6)


def check(code, out, err):
    """What holds whatever happens."""
    assert code in (0, 2, 130), err
    assert "Traceback" not in err
    if code == 2:
        assert err.startswith("smoothl1: ")
        assert err.count("\n") == 1
        assert len(err) > 12
    else:
        assert err == ""


def in_process(arguments, encoding="utf-8"):
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding) for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = _cli.main(arguments)
    texts = []
    for stream in (out, err):
        stream.flush()
        texts.append(stream.buffer.getvalue().decode(encoding))
    check(code, *texts)
    return code, *texts


def command(arguments, shell="", **environment):
    """Run in a process, with redirections of a shell."""
    inherited = {name: value for name, value in os.environ.items() if name not in SETTINGS}
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {shell}', "sh", sys.executable, "-m", "smoothl1", *arguments],
        env={**inherited, **environment},
        capture_output=True,
        timeout=120,
    )
    return done.returncode, os.fsdecode(done.stdout), os.fsdecode(done.stderr)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in SETTINGS:
        monkeypatch.delenv(name, raising=False)
    np.save("x.npy", X)
    np.save("f.npy", np.asfortranarray(X))
    np.save("w.npy", np.abs(X))
    np.save("minus.npy", -np.abs(X))
    np.save("zero.npy", 0 * X)
    np.save("huge.npy", np.where(X > 0, 1.7e308, -1.7e308))
    np.save("tiny.npy", 5e-324 * np.sign(X))
    np.save("mixed.npy", 10.0 ** np.linspace(-300, 300, 24).reshape(4, 6))
    np.save("nan.npy", X * np.nan)
    np.save("inf.npy", X * np.inf)
    np.save("single.npy", np.full((4, 6), 3e38, np.float32))
    np.save("half.npy", X.astype(np.float16))
    np.save("int.npy", np.full((4, 6), 2**63 - 1))
    np.save("bool.npy", X > 0)
    np.save("point.npy", np.float64(1.0))
    np.save("flat.npy", X.ravel())
    np.save("complex.npy", X * 1j)
    np.save("none.npy", np.empty((0, 6)))
    with open("x.npy", "rb") as file:
        whole = file.read()
    for name, content in {
        "short.npy": whole[:-1],
        "head.npy": whole[:20],
        "nothing.npy": b"",
        "text.npy": b"one two three",
        "new\nline.npy": whole,
        "esc\x1b[31m.npy": b"red",
        "\u00e9\u4e2d.npy": whole,
        os.fsdecode(b"\xff\xfe.npy"): whole,
        os.fsdecode(b"bad\xff.npy"): b"",
        "-x.npy": whole,
        " ": whole,
    }.items():
        with contextlib.suppress(OSError), open(name, "wb") as file:
            file.write(content)
    os.mkdir("folder")
    os.mkdir("folder.png")
    return tmp_path


FILES = [
    "x.npy", "f.npy", "w.npy", "minus.npy", "zero.npy", "huge.npy", "tiny.npy", "mixed.npy",
    "nan.npy", "inf.npy", "single.npy", "half.npy", "int.npy", "bool.npy", "point.npy",
    "flat.npy", "complex.npy", "none.npy", "short.npy", "head.npy", "nothing.npy", "text.npy",
    "new\nline.npy", "esc\x1b[31m.npy", "\u00e9\u4e2d.npy", os.fsdecode(b"\xff\xfe.npy"),
    os.fsdecode(b"bad\xff.npy"), "-x.npy", "folder", "missing.npy", "", " ", ".", "/dev/null",
    "/dev/full", "x.npy/y", "a\0b", "n" * 300, "/proc/self/mem",
]  # fmt: skip
NUMBERS = [
    "1", "0.5", "0", "-1", "nan", "inf", "-inf", "1e400", "1e-400", "1e308", "5e-324", "one", "",
    " 2 ", "1_0", "\u0663", "9" * 30, "9" * 5000, "0x10", "2.5", "-0", "3000000000", "2147483647",
]  # fmt: skip
PICTURES = ["p.png", "folder.png", "folder/p.PNG", "no/p.png", "p.xyz", "p", "", "a\0.png"]
SWITCHES = [
    "--json",
    "--sample",
    "--help",
    "--version",
    "--nonsense",
    "--",
    "-",
    "--plot",
    "--beta",
]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_any_options(folder, monkeypatch, encoding):
    hypothesis = pytest.importorskip("hypothesis")
    st = hypothesis.strategies
    if os.name == "posix":
        files = st.sampled_from(FILES)
    else:
        files = st.sampled_from([name for name in FILES if name.isprintable()])
    words = st.one_of(
        files.map(lambda name: [name]),
        files.map(lambda name: [f"--weight={name}"]),
        st.sampled_from(NUMBERS).map(lambda number: [f"--beta={number}"]),
        st.sampled_from(NUMBERS).map(lambda number: ["--beta", number]),
        st.sampled_from(NUMBERS).map(lambda number: [f"--threads={number}"]),
        st.sampled_from(["mean", "sum", "weighted_mean", "none", ""]).map(
            lambda name: ["--reduction", name]
        ),
        st.sampled_from(SWITCHES).map(lambda switch: [switch]),
        st.text(max_size=5).map(lambda text: [text]),
    )
    good = st.sampled_from([name for name in FILES[:14] if name])
    arguments = st.tuples(
        st.one_of(
            st.sampled_from([["evaluate"], ["info"], [], ["evaluate", "--sample"]]),
            st.tuples(good, good).map(lambda pair: ["evaluate", *pair]),
        ),
        st.lists(words, max_size=4),
    )

    @hypothesis.settings(
        deadline=None,
        max_examples=400 * hypothesis.settings.default.max_examples // 100,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(
        arguments, st.sampled_from([None, "", "2", "abc", "0", "3000000000", "\u00e9"])
    )
    def call(arguments, threads):
        if threads is None:
            monkeypatch.delenv("SMOOTHL1_NUM_THREADS", raising=False)
        else:
            monkeypatch.setenv("SMOOTHL1_NUM_THREADS", threads)
        start, more = arguments
        code, out, _ = in_process([*start, *(word for words in more for word in words)], encoding)
        if code == 2:
            assert out == ""
        else:
            assert out

    call()


def write_tables():
    """Write tables in the folder, and states."""
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    table = pa.table(
        {
            "p": [1.0, None, 3.0, float("nan"), float("inf"), 1e308],
            "y": [1.0, 2.0, 0.0, 1.0, float("inf"), -1e308],
            "k": ["a", None, "a", "b\n", "\u4e2d", ""],
            "i": [1, 2, 3, None, 2**62, -(2**63)],
            "rows": [0] * 6,
            "list": [[1]] * 6,
        }
    )
    pq.write_table(table, "t.parquet", row_group_size=2)
    pq.write_table(table.slice(0, 0), "0.parquet")
    with open("t.parquet", "rb") as file:
        whole = file.read()
    for name, content in {
        "cut.parquet": whole[:-9],
        "flipped.parquet": whole[:100] + b"\xff" * 40 + whole[140:],
        "t.csv": b"p,y,k\n1,2,a\n3,,b\n",
        "wrong.csv": b"p,y,k\n1,2,a\nx,3,b\n",
        "ragged.csv": b"p,y\n1\n",
    }.items():
        with open(name, "wb") as file:
            file.write(content)
    assert _cli.main(["evaluate", "x.npy", "f.npy", "--state", "s1", "--output", os.devnull]) == 0
    given = ["evaluate", "t.parquet", "--prediction=p", "--target=y", "--by=k"]
    assert _cli.main([*given, "--state", "s2", "--output", os.devnull]) == 0


COLUMNS = ["p", "y", "k", "i", "rows", "list", "none", "", "\0", "loss"]
CONDITIONS = [
    "i > 1",
    "k == 'a'",
    "p",
    "is_nan(p)",
    "i in (1, 2)",
    "(",
    "__import__('os')",
    "z > 1",
]
TABLES = ["t.parquet", "0.parquet", "cut.parquet", "flipped.parquet", "t.csv", "wrong.csv",
          "ragged.csv", "*.csv", "x.npy", "folder", "s1", "s2", "missing.parquet", "http://[",
          "nonsense://x/y.parquet", "file:///nowhere.parquet", "[", "", "/dev/null"]  # fmt: skip
OUTPUTS = ["o", "o.json", "o.csv", "o.parquet", "no/o", "folder", "", "a\0", os.devnull]


@pytest.mark.parametrize("encoding", ["utf-8", "ascii"])
def test_any_options_of_tables(folder, encoding):
    hypothesis = pytest.importorskip("hypothesis")
    st = hypothesis.strategies
    write_tables()

    def option(name, values):
        return st.sampled_from(values).map(lambda value: [f"--{name}={value}"])

    words = st.one_of(
        option("by", COLUMNS),
        option("weight", COLUMNS),
        option("where", CONDITIONS),
        option("sort-by", [*COLUMNS, "mae", "loss_1", "quadratic_share"]),
        option("limit", NUMBERS),
        option("min-rows", NUMBERS),
        option("nulls", ["drop", "error", "keep"]),
        option("format", ["table", "json", "csv", "parquet", "xml"]),
        option("output", OUTPUTS),
        option("state", OUTPUTS),
        option("beta", NUMBERS),
        option("threads", ["1", "2", "3"]),
        option("reduction", ["mean", "sum", "weighted_mean"]),
        st.sampled_from([["--ignore-nan"], ["--json"], ["--sample"]]),
        st.sampled_from(TABLES).map(lambda name: [name]),
    )
    start = st.one_of(
        st.sampled_from(TABLES[:9]).map(
            lambda name: ["evaluate", name, "--prediction=p", "--target=y"]
        ),
        st.sampled_from([["merge"], ["merge", "s1"], ["merge", "s2"], ["merge", "s2", "s2"]]),
    )

    @hypothesis.settings(
        deadline=None,
        max_examples=400 * hypothesis.settings.default.max_examples // 100,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(start, st.lists(words, max_size=4))
    def call(start, more):
        for name in OUTPUTS[:4]:
            with contextlib.suppress(FileNotFoundError):
                os.remove(name)
        before = set(os.listdir())
        words = [word for words in more for word in words]
        code, out, _ = in_process([*start, *words], encoding)
        if code == 2:
            assert out == ""
            assert set(os.listdir()) == before
        else:
            assert out or any(word.startswith("--output") for word in words)

    call()


@pytest.mark.parametrize("name", ["huge", "tiny", "mixed", "nan", "inf", "single", "zero", "int"])
def test_plots_of_extreme_residuals(folder, name):
    pytest.importorskip("matplotlib")
    betas = ["--beta=1", "--beta=0", "--beta=inf", "--beta=1e308", "--beta=5e-324"]
    for other in ("zero.npy", "huge.npy"):
        code, out, _ = in_process(["evaluate", f"{name}.npy", other, "--plot", "p.svg", *betas])
        assert code == 0
        assert "RMSE" in out
        with open("p.svg", "rb") as file:
            assert file.read().startswith(b"<?xml")
        os.remove("p.svg")


def test_any_picture(folder, monkeypatch):
    """All that is wrong is seen before the evaluation."""
    pytest.importorskip("matplotlib")
    evaluated = []
    monkeypatch.setattr(_cli, "pieces", lambda files: evaluated.append(files) or iter(()))
    for path in PICTURES[2:]:
        if path != "folder/p.PNG":
            code, out, _ = in_process(["evaluate", "x.npy", "f.npy", "--plot", path])
            assert (code, out) == (2, "")
    assert not evaluated
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert in_process(["evaluate", "x.npy", "f.npy", "--plot", "folder/p.PNG"])[0] == 0
    code, out, err = in_process(["evaluate", "x.npy", "f.npy", "--plot", "folder.png"])
    assert code == 2
    assert err == "smoothl1: --plot folder.png: Is a directory\n"
    assert "RMSE" in out  # the figures are not lost


def test_every_format_of_pictures(folder, monkeypatch):
    """A format that needs a program that is not here (TeX) is refused at once."""
    figure = pytest.importorskip("matplotlib.figure")
    monkeypatch.setenv("PATH", "")
    codes = {}
    for suffix in figure.Figure().canvas.get_supported_filetypes():
        code, out, err = in_process(["evaluate", "x.npy", "w.npy", "--plot", f"p.{suffix}"])
        codes[suffix] = code
        assert (code == 0) == os.path.exists(f"p.{suffix}")
        if code:
            assert out == ""
            assert err.startswith(f"smoothl1: --plot p.{suffix}: ")
    assert codes["pgf"] == 2
    assert codes["png"] == codes["svg"] == codes["pdf"] == 0


def test_settings_that_matplotlib_refuses(folder):
    pytest.importorskip("matplotlib")
    answer = command(["evaluate", "x.npy", "w.npy", "--plot", "p.png"], MPLBACKEND="no such")
    check(*answer)


def test_names_that_cannot_be_encoded(folder):
    for name in ("\u00e9\u4e2d.npy", os.fsdecode(b"\xff\xfe.npy"), "new\nline.npy"):
        if not os.path.exists(name):
            continue
        for encoding in ("ascii", "latin-1", "utf-8", "utf-16"):
            code, out, _ = in_process(["evaluate", name, "x.npy"], encoding)
            assert code == 0
            assert len(out.splitlines()) == 9
        code, out, _ = in_process(["evaluate", name, "x.npy", "--json"], "ascii")
        assert code == 0
        assert json.loads(out)["predictions"] == name
        answer = command(["evaluate", name, "x.npy"], PYTHONIOENCODING="ascii:strict")
        check(*answer)
        assert answer[0] == 0
        answer = command(["evaluate", name, name + "x"], PYTHONIOENCODING="ascii:strict")
        check(*answer)
        assert answer[0] == 2


@linux
@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [
        (["info"], ""),
        (["evaluate", "--sample"], ""),
        (["evaluate", "--sample"], "1"),
        (["-h"], "1"),
    ],
)
def test_output_that_cannot_be_written(folder, arguments, unbuffered):
    full = "smoothl1: standard output: No space left on device\n"
    closed = "smoothl1: standard output is closed\n"
    for shell, expected in {
        ">/dev/full": (2, full),
        ">&-": (2, closed),
        ">/dev/full 2>/dev/full": (2, ""),
        ">&- 2>&-": (2, ""),
        "2>&- <&-": (0, ""),
    }.items():
        code, _, err = command(arguments, shell, PYTHONUNBUFFERED=unbuffered)
        assert (code, err) == expected, shell


@linux
@pytest.mark.parametrize("shell", ["2>/dev/full", "2>&-", ">&- 2>&-"])
def test_complaints_that_cannot_be_written(folder, shell):
    assert command(["evaluate", "missing.npy", "x.npy"], shell) == (2, "", "")


@pytest.mark.parametrize("setting", ["abc", "0", "3000000000", "-1"])
def test_bad_environment(folder, setting):
    for arguments in (["info"], ["info", "--json"], ["evaluate", "x.npy", "w.npy"]):
        code, out, err = command(arguments, SMOOTHL1_NUM_THREADS=setting)
        check(code, out, err)
        assert code == 2
        assert err.startswith("smoothl1: SMOOTHL1_NUM_THREADS must be an integer of at least 1, ")
    code, _, _ = command(
        ["evaluate", "x.npy", "w.npy", "--threads=2"], SMOOTHL1_NUM_THREADS=setting
    )
    assert code == 0


def test_threads_beyond_an_int(folder):
    for number in ("99999999999", "9" * 5000):
        _, _, err = in_process(["evaluate", "x.npy", "w.npy", "--threads", number])
        assert "argument --threads: must be an integer of at least 1, got '9999" in err
    assert "; the most is 2147483647" in in_process(["evaluate", "--threads", "2147483648"])[2]
    assert in_process(["evaluate", "x.npy", "w.npy", "--threads", "2147483647"])[0] == 0


@pytest.mark.parametrize("change", ["cut off", "longer", "replaced", "removed", "touched"])
def test_files_that_change_while_they_are_read(folder, monkeypatch, change):
    monkeypatch.setattr(_npy, "PIECE", 12)  # two pieces
    real = _npy.pieces

    def changed():
        if change == "cut off":
            os.truncate("x.npy", 130)
        elif change == "longer":
            with open("x.npy", "ab") as file:
                file.write(b"more")
        elif change == "replaced":
            os.replace("w.npy", "x.npy")
        elif change == "removed":
            os.remove("x.npy")
        else:
            os.utime("x.npy", ns=(1, 1))

    def pieces(files):
        for i, piece in enumerate(real(files)):
            yield [np.array(a) for a in piece]  # not mapped any more
            if not i:
                changed()

    monkeypatch.setattr(_cli, "pieces", pieces)
    code, out, err = in_process(["evaluate", "x.npy", "f.npy"])
    assert (code, out) == (2, "")
    assert err.startswith("smoothl1: x.npy: ")


def test_interrupted_at_any_time(folder, monkeypatch):
    for name in ("_parser", "evaluate", "_format_of", "_output", "_write", "_draw"):

        def interrupt(*arguments, **options):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(_cli, name, interrupt)
            plot = ["--plot", "p.png"] if name == "_draw" else []
            if plot:
                pytest.importorskip("matplotlib")
            assert in_process(["evaluate", "x.npy", "w.npy", *plot])[0] == 130


@pytest.mark.parametrize(
    "error", [MemoryError(), MemoryError("of 3\nGiB"), RecursionError("deep"), ZeroDivisionError()]
)
def test_errors_that_nobody_expects(folder, monkeypatch, error):
    def fail(self, reduction):
        raise error

    monkeypatch.setattr(_cli.Evaluation, "figures", fail)
    code, out, err = in_process(["evaluate", "x.npy", "w.npy"])
    assert (code, out) == (2, "")
    assert ("not enough memory" in err) == isinstance(error, MemoryError)
    assert not err.rstrip("\n").endswith((":", " "))
