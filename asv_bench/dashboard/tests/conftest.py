"""A published site of a made-up history, and a browser."""

import ast
import itertools
import json
import math
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from ..browser import chromium, launched, serve, watched


@dataclass
class Site:
    folder: Path
    commits: list
    address: str

    def results(self, name, commit, threads):
        """Return what asv's file has of a benchmark: the result by case; n/a is left out."""
        path = self.folder / "results" / "fixture" / f"{commit[:8]}-fixture-{threads}.json"
        stored = json.loads(path.read_text())
        row = dict(zip(stored["result_columns"], stored["results"][name], strict=False))
        cases = itertools.product(*(map(ast.literal_eval, values) for values in row["params"]))
        return {
            case: result
            for case, result in zip(cases, row["result"], strict=True)
            if result is not None and not math.isnan(result)
        }


@pytest.fixture(scope="session")
def site(tmp_path_factory):
    """Publish a made-up history, and serve it."""
    from . import history

    folder = tmp_path_factory.mktemp("site")
    commits = history.make(folder)
    command = [sys.executable, "-m", "asv", "publish", "--no-pull"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    with serve(folder / "html") as address:
        yield Site(folder, commits, address)


@pytest.fixture(scope="session")
def browser():
    pytest.importorskip("playwright")
    if chromium() is None:
        pytest.skip("there is no Chromium")
    with launched() as started:
        yield started


@pytest.fixture
def page(site, browser, request):
    """Open a page that must not fail, nor ask for anything elsewhere; ``param`` has options."""
    with watched(browser, site.address, **getattr(request, "param", {})) as (opened, wrong):
        yield opened
    assert wrong == []
