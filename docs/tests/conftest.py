"""The built site, served, and a browser; the tools are those of the dashboard's tests."""

import importlib.util
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "docs" / "_extensions"))
SITE = Path(os.environ.get("SMOOTHL1_SITE", ROOT / "docs" / "_build" / "html"))

_spec = importlib.util.spec_from_file_location(
    "dashboard_browser", ROOT / "asv_bench" / "dashboard" / "browser.py"
)
tools = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(tools)


@pytest.fixture(scope="session")
def site():
    """Return the folder of the site."""
    if not (SITE / "index.html").exists():
        pytest.skip(f"there is no site in {SITE}: python -m sphinx docs docs/_build/html")
    return SITE


@pytest.fixture(scope="session")
def address(site):
    """Serve the site."""
    with tools.serve(site) as found:
        yield found


@pytest.fixture(scope="session")
def browser():
    """Start an installed Chromium; ``CHROMIUM`` names one."""
    pytest.importorskip("playwright")
    if tools.chromium() is None:
        pytest.skip("there is no Chromium: no page was looked at in a browser")
    with tools.launched() as started:
        yield started
