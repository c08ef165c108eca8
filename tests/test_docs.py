"""The examples of the documentation run, and every link of its files leads somewhere."""

import doctest
import re
import shlex
from pathlib import Path

import pytest

from smoothl1._evaluate.cli import main

ROOT = Path(__file__).parent.parent
if not (ROOT / "docs").exists():
    pytest.skip("the documentation is not here", allow_module_level=True)
BUILT = ("_build", "gallery", "api", "licenses")
PAGES = sorted(
    path
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    if not set(BUILT) & set(path.relative_to(ROOT).parts)
)
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
# Packages of which each page may show some.
OPTIONAL = ("dask", "lightgbm", "pandas", "polars", "pyarrow", "sklearn", "torch", "xgboost")


def named(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_examples_run(page, monkeypatch, tmp_path):
    text = page.read_text(encoding="utf-8")
    code = "\n".join(re.findall(r"^ *(?:>>>|\.\.\.) (.*)", text, re.MULTILINE))
    for package in OPTIONAL:
        if re.search(rf"\b(from|import) (smoothl1\.)?{package}\b", code):
            pytest.importorskip(package)
    if re.search(r"from smoothl1\.(linear_model|metrics|ensemble) ", code):
        pytest.importorskip("sklearn")
        pytest.importorskip("scipy")
    monkeypatch.chdir(tmp_path)  # where examples may write
    # A fence ends an expected output.
    plain = re.sub(r"^ *```.*$", "", text, flags=re.MULTILINE)
    test = doctest.DocTestParser().get_doctest(plain, {"__name__": "page"}, named(page), None, 0)
    said = []
    results = doctest.DocTestRunner(optionflags=OPTIONS).run(test, out=said.append)
    assert results.failed == 0, "".join(said)


def test_the_first_evaluation_prints_what_its_page_shows(capsys):
    text = (ROOT / "docs" / "start" / "evaluate.md").read_text(encoding="utf-8")
    command, shown = re.search(r"```sh\n(.*?)\n```.*?```text\n(.*?)```", text, re.DOTALL).groups()
    assert main(shlex.split(command)[1:]) == 0
    printed = capsys.readouterr().out
    checker = doctest.OutputChecker()
    assert checker.check_output(shown, printed, OPTIONS), printed


def anchors(path):
    """Return the anchors of the headings of a file, as GitHub and MyST make them."""
    text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
    headings = re.findall(r"^#+ +(.*?) *$", text, re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower() for heading in headings)
    return {re.sub(r"[^\w\- ]", "", heading).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_to_files_and_headings(page):
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    for target, anchor in re.findall(r"\]\((?!https?:|mailto:)([^)#\s]*)#?([^)\s]*)\)", text):
        path = (page.parent / target).resolve() if target else page
        # Of the site alone: made from scripts and docstrings.
        if {"gallery", "api"} & set(path.parts):
            continue
        assert path.exists(), target
        if anchor:
            assert anchor in anchors(path), f"{target}#{anchor}"
