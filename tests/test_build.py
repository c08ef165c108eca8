"""The build says in one line what is missing; the metadata have addresses where these are known."""

import os
import shutil
import subprocess
import sys
from email import message_from_string
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
if not (ROOT / "setup.py").exists():
    pytest.skip("the build is not here", allow_module_level=True)
pytest.importorskip("Cython")
pytest.importorskip("setuptools")

needs_gcc = pytest.mark.skipif(
    sys.platform != "linux" or shutil.which("gcc") is None, reason="it wraps gcc"
)


@pytest.fixture
def setup(tmp_path):
    """Run setup.py in a copy of what it reads."""
    for name in ("setup.py", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("src", "smoothl1", "docs/licenses"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("*.so"))

    def run(*arguments, **environment):
        return subprocess.run(
            [sys.executable, "setup.py", *arguments],
            cwd=tmp_path,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.mark.skipif(sys.platform == "win32", reason="MSVC is not found by CC")
def test_without_a_compiler(setup):
    run = setup("build_ext", "--inplace", CC="no-such-compiler")
    assert run.returncode != 0
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("smoothl1: no working C compiler (tried: no-such-compiler). Debian")
    for system in ("apt install gcc python3-dev", "dnf install", "xcode-select", "Visual Studio"):
        assert system in last


@needs_gcc
@pytest.mark.parametrize(
    ("word", "said"),
    [("Python.h", "(Python.h) are missing"), ("ffp-contract", "is too old or unknown")],
)
def test_what_is_missing(setup, tmp_path, word, said):
    compiler = tmp_path / "cc"
    # Fails for commands, or for files, with that word.
    compiler.write_text(
        f"""#!/bin/sh
for argument; do
    case "$argument" in
    *{word}*) exit 1 ;;
    *.c) grep -q {word} "$argument" && exit 1 ;;
    esac
done
exec gcc "$@"
"""
    )
    compiler.chmod(0o755)
    run = setup("build_ext", "--inplace", CC=str(compiler))
    assert run.returncode != 0
    last = run.stderr.strip().splitlines()[-1]
    assert last.startswith("smoothl1: ")
    assert said in last
    assert "apt install gcc python3-dev" in last


def test_addresses_in_the_metadata(setup, tmp_path):
    where = {
        "SMOOTHL1_REPOSITORY": "https://repository.test/it/",
        "SMOOTHL1_SITE": "https://site.test",
    }
    run = setup("egg_info", **where)
    assert run.returncode == 0, run.stderr
    found = message_from_string((tmp_path / "smoothl1.egg-info" / "PKG-INFO").read_text())
    assert "Documentation, https://site.test" in found.get_all("Project-URL")
    assert "Source, https://repository.test/it" in found.get_all("Project-URL")
    text = found.get_payload(decode=True).decode()
    assert f"https://repository.test/it/raw/v{found['Version']}/docs/times.svg" in text
    assert f"(https://repository.test/it/blob/v{found['Version']}/CHANGELOG.md)" in text
    assert "](docs/" not in text


def test_metadata_without_addresses(setup, tmp_path):
    run = setup("egg_info", SMOOTHL1_REPOSITORY="", SMOOTHL1_SITE="")
    assert run.returncode == 0, run.stderr
    found = message_from_string((tmp_path / "smoothl1.egg-info" / "PKG-INFO").read_text())
    assert found.get_all("Project-URL") is None
    assert found["Description-Content-Type"] == "text/markdown"
    assert "# smoothl1" in found.get_payload()
