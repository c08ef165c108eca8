"""The libraries: hashes, errors, the cache; from a registry that the test serves itself."""

import base64
import hashlib
import io
import json
import tarfile

import pytest

util = pytest.importorskip("asv.util")

from .. import libraries  # noqa: E402
from ..browser import serve  # noqa: E402


def tarball(files):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as packed:
        for name, content in files.items():
            member = tarfile.TarInfo(f"package/{name}")
            member.size = len(content)
            packed.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


@pytest.fixture
def packed(tmp_path, monkeypatch):
    """Serve a package "one" 1.0.0 whose hash is locked; return the file that is served."""
    content = tarball({"dist/one.js": b"one()", "LICENSE": b"free", "other.js": b""})
    served = tmp_path / "registry" / "one" / "-" / "one-1.0.0.tgz"
    served.parent.mkdir(parents=True)
    served.write_bytes(content)
    hashed = base64.b64encode(hashlib.sha512(content).digest()).decode()
    entry = {"version": "1.0.0", "integrity": f"sha512-{hashed}"}
    lock = tmp_path / "lock.json"
    lock.write_text(json.dumps({"packages": {"node_modules/one": entry}}))
    monkeypatch.setattr(libraries, "LOCK", lock)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    libraries.registry.cache_clear()
    with serve(tmp_path / "registry") as address:
        monkeypatch.setenv("npm_config_registry", f"{address}/")
        yield served
    libraries.registry.cache_clear()


def test_file_and_licence_are_read(packed):
    found = libraries.read(["one/dist/one.js"])
    assert found == {"one/dist/one.js": b"one()", "one/LICENSE": b"free"}


def test_second_time_needs_no_registry(packed):
    libraries.fetch("one")
    content = packed.read_bytes()
    packed.unlink()
    assert libraries.fetch("one") == content


def test_spoiled_cache_is_downloaded_again(packed):
    libraries.fetch("one")
    (kept,) = libraries.cache_folder().iterdir()
    kept.write_bytes(b"cut")
    assert libraries.fetch("one") == packed.read_bytes()
    assert kept.read_bytes() == packed.read_bytes()


def test_wrong_hash_is_refused_and_not_kept(packed):
    packed.write_bytes(tarball({"dist/one.js": b"other()"}))
    with pytest.raises(util.UserError, match=r"one-1\.0\.0\.tgz is not what lock\.json asks for"):
        libraries.fetch("one")
    assert not libraries.cache_folder().exists()


def test_no_registry_says_what_to_set(packed, monkeypatch):
    libraries.registry.cache_clear()
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9")
    with pytest.raises(
        util.UserError, match=r"cannot download http://127\.0\.0\.1:9/one/.*set npm"
    ):
        libraries.fetch("one")


def test_missing_file_is_named(packed):
    with pytest.raises(util.UserError, match=r"without one/dist/two\.js"):
        libraries.read(["one/dist/two.js"])


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (
            '<script src="https://cdn.test/jquery-3.3.1.min.js" integrity="sha256-x"'
            ' crossorigin="anonymous" onerror="f()">',
            '<script src="vendor/jquery/dist/jquery.min.js">',
        ),
        (
            '<link rel="stylesheet" href="//cdn.test/bootstrap.min.css">',
            '<link rel="stylesheet" href="vendor/bootstrap/dist/css/bootstrap.min.css">',
        ),
        ('<script src="asv.js">', '<script src="asv.js">'),
    ],
)
def test_page_asks_for_the_copy(before, after, tmp_path, monkeypatch):
    monkeypatch.setattr(libraries, "read", lambda paths: {})
    (tmp_path / "index.html").write_text(f"<head>{before}</head>")
    libraries.install(tmp_path)
    assert (tmp_path / "index.html").read_text() == f"<head>{after}</head>"


def test_unknown_library_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(libraries, "read", lambda paths: {})
    (tmp_path / "index.html").write_text('<script src="https://cdn.test/new.js"></script>')
    with pytest.raises(util.UserError, match=r"asks for https://cdn\.test/new\.js"):
        libraries.install(tmp_path)


def test_lock_has_every_package():
    locked = json.loads(libraries.LOCK.read_text())["packages"]
    wanted = {path.partition("/")[0] for path in [*libraries.ASKED.values(), *libraries.OURS]}
    assert {f"node_modules/{name}" for name in wanted} <= locked.keys()
    assert all(entry["integrity"].startswith("sha512-") for name, entry in locked.items() if name)
    assert "resolved" not in libraries.LOCK.read_text()
