"""Hostile ``.npy`` files: the command line says in one line what is wrong, and never crashes."""

import io
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
from numpy.lib import format as npy

from smoothl1 import smooth_l1_loss
from smoothl1._evaluate import cli
from smoothl1._evaluate import npy as reader

VALUES = np.arange(24.0).reshape(4, 6) / 8


def evaluate(capsys, *arguments):
    """Run in this process; return exit code, standard output and standard error."""
    code = cli.main(["evaluate", *map(str, arguments)])
    out, err = capsys.readouterr()
    return code, out, err


def refused(capsys, *arguments):
    """Return the one line that says why."""
    code, out, err = evaluate(capsys, *arguments)
    assert code == 2
    assert out == ""
    assert err.startswith("smoothl1: ")
    assert err.count("\n") == 1
    return err


def file_of(header, data=b"", version=(1, 0), length=None):
    """Make the bytes of a file with any header."""
    header = header.encode("latin1")
    length = len(header) if length is None else length
    size = struct.pack("<H" if version[0] == 1 else "<I", length)
    return b"\x93NUMPY" + bytes(version) + size + header + data


def header_of(descr="<f8", shape="(4, 6)", fortran="False"):
    if not descr.startswith(("[", "(")):
        descr = repr(descr)
    return f"{{'descr': {descr}, 'fortran_order': {fortran}, 'shape': {shape}, }}\n"


@pytest.fixture
def good(tmp_path):
    np.save(tmp_path / "good.npy", VALUES)
    return tmp_path / "good.npy"


@pytest.fixture
def bad(tmp_path):
    return tmp_path / "bad.npy"


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("dtype", ["<f8", ">f8", "<f4", ">f2", "<i8", ">u2", "|b1", "|i1"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_what_is_read(good, bad, capsys, version, dtype, order):
    a = np.asarray(VALUES > 1 if dtype == "|b1" else VALUES * 8, dtype, order=order)
    with bad.open("wb") as file:
        npy.write_array(file, a, version)
    code, out, err = evaluate(capsys, bad, good, "--reduction", "sum")
    assert (code, err) == (0, "")
    assert f"\nloss         {smooth_l1_loss(a, VALUES, 'sum'):.9g}  (sum" in out


def test_a_file_from_python_2_is_read(good, bad, capsys):
    bad.write_bytes(file_of(header_of(shape="(4L, 6L)"), VALUES.tobytes()))
    code, out, err = evaluate(capsys, bad, good)
    assert (code, err) == (0, "")
    assert "shape        (4, 6)" in out


def test_data_at_an_odd_offset_and_bytes_behind_them_are_no_trouble(good, bad, capsys):
    bad.write_bytes(file_of(header_of()[:-1] + " \n", VALUES.tobytes() + b"more"))
    assert reader.NpyFile.open(bad).offset % 8
    code, out, _ = evaluate(capsys, bad, good)
    assert code == 0
    assert "MAE          0\n" in out


def test_every_truncation(good, bad, capsys):
    whole = good.read_bytes()
    for length in range(len(whole)):
        bad.write_bytes(whole[:length])
        line = refused(capsys, bad, good)
        assert line.startswith(f"smoothl1: {bad}: {'not a .npy' if length < 128 else 'truncated'}")


HEADERS = {
    "empty": ("", "not a .npy file"),
    "no dictionary": ("(1, 2, 3)\n", "not a .npy file (Header is not a dictionary"),
    "other keys": ("{'shape': (4, 6)}\n", "not a .npy file (Header does not contain"),
    "code": ("__import__('os').abort()\n", "not a .npy file"),
    "null bytes": ("\0" * 50 + "\n", "not a .npy file"),
    "brackets": ("(" * 5000 + "\n", "not a .npy file"),
    "minus signs": ("-" * 9000 + "1\n", "not a .npy file"),
    "no dtype": (header_of("<q9"), "not a .npy file (descr is not a valid dtype"),
    "a dtype of commas": (header_of(",,,"), "not a .npy file"),
    "shape of floats": (header_of(shape="(4.0, 6)"), "not a .npy file (shape is not valid"),
    "shape of one number": (header_of(shape="24"), "not a .npy file (shape is not valid"),
    "negative": (header_of(shape="(-4, -6)"), "not a .npy file (shape (-4, -6))"),
    "2**63": (header_of(shape=f"({2**63},)"), f"not a .npy file (shape ({2**63},))"),
    "4000 digits": (
        header_of(shape=f"({'9' * 4000}, {'9' * 4000})"),
        "not a .npy file (shape (999",
    ),
    "65 dimensions": (header_of(shape=str((1,) * 65)), "not a .npy file (maximum supported dim"),
    "a number for the order": (
        header_of(fortran="1"),
        "not a .npy file (fortran_order is not a valid bool",
    ),
    "huge": (header_of(shape="(1000000000000,)"), "truncated, shape (1000000000000,) of float64"),
    "overflow": (header_of(shape="(4294967296, 4294967296)"), "needs 147573952589676413"),
    "nothing": (header_of(shape=f"(0, {2**63 - 1})"), f"has (0, {2**63 - 1}), "),
    "objects": (header_of("|O"), "holds pickled objects, which are never loaded"),
    "objects in records": (header_of("[('a', '|O')]"), "holds pickled objects"),
    "records": (header_of("[('a', '<f8')]"), "has dtype [('a', '<f8')]; use float16"),
    "rows": (header_of("('<f4', (2,))"), "has elements that are arrays, of dtype ('<f4', (2,))"),
    "complex": (header_of("<c8"), "has dtype complex64; take the loss of the real"),
    "longdouble": (header_of("<f16"), "has dtype float128; convert it with .astype(np.float64)"),
    "text": (header_of("<U2"), "has dtype <U2; use float16"),
    "bytes": (header_of("|S8"), "has dtype |S8; use float16"),
    "void": (header_of("|V8"), "has dtype |V8; use float16"),
    "dates": (header_of("<M8[s]"), "has dtype datetime64[s]; use float16"),
    "of no size": (header_of("|V0"), "has dtype |V0; use float16"),
}
if np.dtype(np.longdouble).itemsize != 16:
    del HEADERS["longdouble"]


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
@pytest.mark.parametrize("name", HEADERS)
def test_headers(good, bad, capsys, name, version):
    header, message = HEADERS[name]
    bad.write_bytes(file_of(header, VALUES.tobytes(), version))
    assert message in refused(capsys, bad, good)
    assert refused(capsys, good, bad).startswith("smoothl1: ")
    assert refused(capsys, good, good, "--weight", bad).startswith("smoothl1: ")


@pytest.mark.parametrize("version", [(0, 0), (1, 1), (4, 0), (9, 9), (255, 255)])
def test_unknown_versions(good, bad, capsys, version):
    bad.write_bytes(file_of(header_of(), VALUES.tobytes(), version))
    message = f"not a .npy file (version {version[0]}.{version[1]} of the format is unknown)"
    assert message in refused(capsys, bad, good)


@pytest.mark.parametrize(("version", "length"), [((1, 0), 2**16 - 1), ((2, 0), 2**32 - 1)])
def test_a_header_said_to_be_long_is_not_waited_for(good, bad, capsys, version, length):
    bad.write_bytes(file_of(header_of(), b" " * 100_000, version, length))
    assert f"expected {length} bytes got " in refused(capsys, bad, good)


def test_pickles_are_never_loaded(good, bad, tmp_path, capsys):
    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "went off"),)

    np.save(bad, np.array([Bomb()] * 24, object).reshape(4, 6), allow_pickle=True)
    assert "holds pickled objects, which are never loaded" in refused(capsys, bad, good)
    bad.write_bytes(bad.read_bytes()[128:])  # nor where a pickle starts the file
    assert bad.read_bytes().startswith(b"\x80")
    assert "not a .npy file" in refused(capsys, bad, good)
    assert not (tmp_path / "went off").exists()
    np.load(io.BytesIO(file_of(header_of("|O", "(1,)"), bad.read_bytes())), allow_pickle=True)
    assert (tmp_path / "went off").exists()  # it was armed


def test_shapes_that_do_not_match(good, tmp_path, capsys):
    for shape in ((24,), (6, 4), (4, 6, 1), (), (1, 4, 6)):
        other = tmp_path / "other.npy"
        np.save(other, np.zeros(shape))
        assert f"good.npy has (4, 6), {other} {shape}" in refused(capsys, good, other)


def test_empty_names_and_directories(good, tmp_path, capsys):
    assert "Is a directory" in refused(capsys, tmp_path, good)
    assert "embedded null" in refused(capsys, "a\0b", good)
    assert "No such file or directory" in refused(capsys, tmp_path / "a" / "b", good)
    assert "Not a directory" in refused(capsys, good / "b", good)
    assert "File name too long" in refused(capsys, "a" * 5000, good)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("kind", ["fifo", "stdin", "device"])
def test_what_cannot_be_mapped_is_not_opened(good, tmp_path, kind):
    path = {"fifo": tmp_path / "fifo", "stdin": "/dev/stdin", "device": "/dev/zero"}[kind]
    if kind == "fifo":
        os.mkfifo(path)
    done = subprocess.run(
        [sys.executable, "-m", "smoothl1", "evaluate", str(path), str(good)],
        input=good.read_bytes(),
        capture_output=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.decode() == (
        f"smoothl1: {path}: not a regular file, which alone can be mapped; save it to one\n"
    )


def test_a_file_cut_off_after_its_header_was_read(good, bad):
    np.save(bad, VALUES)
    for change in (lambda: os.truncate(bad, 200), bad.unlink):
        file = reader.NpyFile.open(bad)
        change()
        with pytest.raises(reader.InputError, match=r"bad\.npy: "):
            file.array()
        np.save(bad, VALUES)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits memory")
def test_headers_cost_no_memory(good, tmp_path):
    """Whatever they promise: 64 MB of address space more than after the import suffice."""
    files = {
        "long": file_of(header_of(), b"", (2, 0), 2**32 - 1),
        "shape": file_of(header_of(shape=f"({2**40}, {2**10})"), b"0" * 100),
        "itemsize": file_of(header_of(f"|V{2**31 - 1}", "(1,)"), b"0" * 100),
        "text": file_of(header_of(f"<U{2**28}", "()"), b"0" * 100),
        "nested": file_of("[" * 9000 + "]" * 900, b"0" * 100),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    code = (
        "import resource, sys; from smoothl1._evaluate import cli;"
        "used = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize();"
        "resource.setrlimit(resource.RLIMIT_AS, (used + 2**26,) * 2);"
        "print(*(cli.main(['evaluate', name, sys.argv[1]]) for name in sys.argv[2:]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, good, *files],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout == "2 2 2 2 2\n", done.stderr
    lines = done.stderr.splitlines()
    assert all(
        line.startswith(f"smoothl1: {name}") for line, name in zip(lines, files, strict=True)
    )


def test_any_change_of_a_few_bytes(good, bad, tmp_path, capsys):
    hypothesis = pytest.importorskip("hypothesis")
    st = hypothesis.strategies
    wholes = []
    for version in ((1, 0), (2, 0), (3, 0)):
        file = io.BytesIO()
        npy.write_array(file, VALUES, version)
        wholes.append(file.getvalue())
    places = st.one_of(st.integers(0, 12), st.integers(0, 140), st.integers(0, 319))
    characters = st.one_of(
        st.sampled_from(b"0123456789'(),{}<>|=fiubcOVSUML \n"), st.integers(0, 255)
    )
    changes = st.lists(st.tuples(places, characters), min_size=1, max_size=6)

    @hypothesis.settings(
        deadline=None, max_examples=400 * hypothesis.settings.default.max_examples // 100
    )
    @hypothesis.given(st.sampled_from(wholes), changes, st.integers(-20, 400), st.booleans())
    def change(whole, changes, length, cut):
        content = bytearray(whole)
        for place, character in changes:
            content[place] = character
        bad.write_bytes(content[:length] if cut else content)
        code, out, err = evaluate(capsys, bad, good)
        if code == 0:
            assert err == ""
            np.load(bad, max_header_size=100_000)  # it is one, indeed
        else:
            assert code == 2
            assert out == ""
            assert err.startswith("smoothl1: ")
            assert err.count("\n") == 1

    change()
