"""Build the pages of every release and of the present commit, side by side.

python docs/versions.py FOLDER, with the address of the folder in SMOOTHL1_DOCS_ADDRESS

FOLDER/dev has the present commit, FOLDER/1.2 the newest release of that line, with the requirements
of that release, in an environment of its own. FOLDER/switcher.json lists them; the first page leads
to the newest release, or to dev.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
import urllib.parse
import venv
from pathlib import Path

ROOT = Path(__file__).parent.parent


def output(*command):
    """Return what a command of git prints."""
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


def releases():
    """Return the newest release of each line that has pages, newest line first: name and tag."""
    found = {}
    for tag in output("git", "tag", "--list", "v*").split():
        match = re.fullmatch(r"v(\d+)\.(\d+)\.(\d+)", tag)
        if match and output("git", "ls-tree", tag, "docs/conf.py"):
            found[tuple(map(int, match.groups()))] = tag
    lines = {}
    for numbers in sorted(found):
        lines[numbers[:2]] = found[numbers]
    return [(f"{major}.{minor}", lines[major, minor]) for major, minor in sorted(lines)[::-1]]


def build(name, commit, folder):
    """Build the pages of a commit."""
    with tempfile.TemporaryDirectory() as work:
        source, environment = Path(work, "source"), Path(work, "venv")
        output("git", "worktree", "add", "--detach", str(source), commit)
        try:
            venv.create(environment, with_pip=True)
            python = str(environment / "bin" / "python")
            run = {"cwd": source, "check": True}
            subprocess.run([python, "-m", "pip", "install", "--quiet", "-e", ".[docs]"], **run)
            subprocess.run(
                [python, "-m", "sphinx", "-W", "-q", "docs", str(folder / name)],
                env={**os.environ, "SMOOTHL1_DOCS_VERSION": name},
                **run,
            )
        finally:
            output("git", "worktree", "remove", "--force", str(source))


def write_index(folder, names, address):
    """Write what belongs to all versions: the switcher's list, the first page, the page for 404."""
    entries = [{"version": name, "url": f"{address}/{name}/"} for name in names]
    entries[0]["preferred"] = True
    (folder / "switcher.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
    (folder / "index.html").write_text(
        '<!doctype html>\n<html lang="en"><meta charset="utf-8"><title>smoothl1</title>\n'
        f'<meta http-equiv="refresh" content="0; url={names[0]}/">\n'
        f'<p><a href="{names[0]}/">The documentation of smoothl1</a></p></html>\n',
        encoding="utf-8",
    )
    base = f"{urllib.parse.urlsplit(address).path.rstrip('/')}/{names[0]}/"
    text = (ROOT / "docs" / "404.html").read_text(encoding="utf-8")
    text = text.replace('<base href="/">', f'<base href="{base}">')
    (folder / "404.html").write_text(text, encoding="utf-8")


def main():
    """Build all."""
    folder = Path(sys.argv[1]).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    versions = [*releases(), ("dev", "HEAD")]
    for name, commit in versions:
        build(name, commit, folder)
    address = os.environ["SMOOTHL1_DOCS_ADDRESS"].rstrip("/")
    write_index(folder, [name for name, _ in versions], address)


if __name__ == "__main__":
    main()
