"""The pages of several versions side by side."""

import importlib.util
import json
from pathlib import Path

SPEC = importlib.util.spec_from_file_location(
    "versions", Path(__file__).parent.parent / "versions.py"
)
versions = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(versions)


def test_the_newest_release_of_each_line_that_has_pages(monkeypatch):
    tags = ["v0.9.0", "v1.0.0", "v1.0.2", "v1.0.10", "v1.1.0", "v2.0.0rc1", "vendor"]

    def output(*command):
        if command[1] == "tag":
            return "\n".join(tags)
        return "" if command[2] == "v0.9.0" else "100644 blob 0\tdocs/conf.py"

    monkeypatch.setattr(versions, "output", output)
    assert versions.releases() == [("1.1", "v1.1.0"), ("1.0", "v1.0.10")]


def test_switcher_first_page_and_404(tmp_path):
    versions.write_index(tmp_path, ["1.1", "dev"], "https://site.test/it")
    entries = json.loads((tmp_path / "switcher.json").read_text())
    assert [entry["url"] for entry in entries] == [
        "https://site.test/it/1.1/",
        "https://site.test/it/dev/",
    ]
    assert [entry.get("preferred") for entry in entries] == [True, None]
    assert 'url=1.1/"' in (tmp_path / "index.html").read_text()
    assert '<base href="/it/1.1/">' in (tmp_path / "404.html").read_text()
