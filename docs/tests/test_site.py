"""Every page of the built site: links, and what a browser makes of it."""

import html.parser
import importlib
import inspect
import json
import posixpath
import re
import urllib.parse

import pytest

from .conftest import SITE, tools

PAGES = sorted(
    name
    for path in SITE.rglob("*.html")
    if not (name := path.relative_to(SITE).as_posix()).startswith("_")
) or ["index.html"]
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}


class _Page(html.parser.HTMLParser):
    """The links, anchors and assets of a page."""

    def __init__(self, path):
        super().__init__()
        self.links, self.anchors, self.assets = [], set(), []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.anchors |= {found[name] for name in ("id", "name") if found.get(name)}
        if tag == "a" and found.get("href"):
            self.links.append(found["href"])
        elif tag in ("img", "script", "iframe", "source") and found.get("src"):
            self.assets.append(found["src"])
        elif tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload"):
            self.assets.append(found["href"])


@pytest.fixture(scope="module")
def pages(site):
    return {name: _Page(site / name) for name in PAGES}


def test_every_public_name_has_a_page(site):
    for name in importlib.import_module("smoothl1").__all__:
        if not name.startswith("__"):
            assert (site / f"reference/api/generated/smoothl1.{name}.html").exists(), name


@pytest.mark.parametrize("name", PAGES)
def test_links_anchors_and_assets(site, pages, name):
    for link in pages[name].links + pages[name].assets:
        parts = urllib.parse.urlsplit(link)
        if parts.scheme or parts.netloc:
            assert link in pages[name].links, f"an asset from elsewhere: {link}"
            continue
        base = site if name == "404.html" else (site / name).parent
        target = (base / urllib.parse.unquote(parts.path)).resolve() if parts.path else site / name
        target = target / "index.html" if target.is_dir() else target
        assert target.exists(), link
        if parts.fragment and target.suffix == ".html":
            there = pages[str(target.relative_to(site.resolve()))]
            assert urllib.parse.unquote(parts.fragment) in there.anchors, link


@pytest.mark.parametrize("name", PAGES)
def test_formulas_are_understood(site, name):
    text = (site / name).read_text(encoding="utf-8")
    for formula in re.findall(r"<math.*?</math>", text, re.DOTALL):
        assert "\\" not in re.sub(r"<[^>]*>", "", formula), formula


def test_texts_for_tools(site, pages):
    listed = (site / "llms.txt").read_text(encoding="utf-8")
    text = (site / "reference.md").read_text(encoding="utf-8")
    assert listed.startswith("# smoothl1\n")
    for name in ("huber_location", "GroupedLossSums", "SmoothL1Regressor", "smoothl1 evaluate"):
        assert name in text
    for page in ("start/install", "howto/groups", "reference/errors"):
        assert f"({page}.html)" in listed


def test_gallery_has_notebooks(site):
    notebooks = list(site.glob("_downloads/*/*.ipynb"))
    assert notebooks
    for path in notebooks:
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
        compile("\n".join(code), path.name, "exec")


def test_docstrings_are_valid():
    validate = pytest.importorskip("numpydoc.validate").validate
    api = importlib.import_module("api")
    wrong = []
    for module, _, names in api.modules():
        try:
            members = importlib.import_module(module)
        except ImportError:
            continue
        for name in names:
            thing = getattr(members, name)
            if not (inspect.isclass(thing) or inspect.isfunction(thing)):
                continue
            for code, message in validate(f"{module}.{name}")["errors"]:
                inherited = code == "PR01" and f"{module}.{name}" in INHERITED
                if code not in IGNORED and not inherited:
                    wrong.append(f"{module}.{name}: {code} {message}")
    assert wrong == []


# Codes of numpydoc's validation that the house style does without.
IGNORED = {
    "GL01",  # text begins on the line of the quotes
    "GL08",  # __init__ is documented in its class
    "ES01",  # a long summary is not always needed
    "SA01",  # neither is "See Also"
    "SA03",  # whose descriptions are in lower case
    "SA04",  # nor a description of every name there
    "PR02",  # names that share a description, "alpha, beta"
    "PR03",  # or stand in another order
    "PR04",  # or need no type, as they are those of the function that is named
    "PR06",  # "integer" is "int" here already
    "PR08",  # descriptions may begin with a name or a number
    "PR09",  # and end with a formula
    "RT02",  # results, too, may have names
    "RT03",
    "RT04",
    "RT05",
}
# Of these, parameters are those of another library's class, and documented there.
INHERITED = {"smoothl1.lightgbm.SmoothL1LGBMRegressor", "smoothl1.xgboost.SmoothL1XGBRegressor"}


@pytest.fixture(scope="module")
def window(browser, address):
    """Open a page that is taken from address to address, and a list of what went wrong in it."""
    with tools.watched(browser, address, viewport=DESKTOP) as (page, wrong):
        # The theme logs which mode it takes; that is no complaint.
        page.on(
            "console",
            lambda message: (
                message.text.startswith("[PST]")
                or wrong.append(f"{message.type}: {message.text} {message.location['url']}")
            ),
        )
        yield page, wrong


@pytest.fixture
def look(window, address):
    """Go to a page of the site; at the end nothing may have gone wrong."""
    page, wrong = window
    wrong.clear()

    def go(name, scheme="light"):
        page.set_viewport_size(DESKTOP)
        page.emulate_media(color_scheme=scheme, media="screen")
        page.goto(f"{address}/{name}")
        return page

    yield go
    assert wrong == []


@pytest.mark.parametrize("name", PAGES)
def test_page_in_a_browser(look, name):
    page = look(name)
    page.add_style_tag(content="* { transition: none !important }")
    accessible(page, f"{name}, light")
    page.emulate_media(color_scheme="dark")
    if "generated" not in name:  # the pages of the reference look alike
        accessible(page, f"{name}, dark", runOnly=["color-contrast"])
    page.set_viewport_size(PHONE)
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= PHONE["width"], f"{name} is {width} wide on a phone of {PHONE['width']}"


def accessible(page, where, **options):
    """Assert that axe-core finds nothing."""
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe
    # preload: axe would look for style sheets that a style sheet imports in the wrong folder.
    found = axe().run(page, options={"preload": False, **options}).response["violations"]
    said = [
        f"{where}: {violation['id']}, {node['target']}: {node['html'][:200]}"
        for violation in found
        for node in violation["nodes"][:3]
    ]
    assert said == []


def test_dark_is_dark(look):
    brightness = {}
    for scheme in ("light", "dark"):
        page = look("start/what.html", scheme)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness[scheme] = sum(map(float, colour[colour.index("(") + 1 : -1].split(",")[:3]))
    assert brightness["dark"] < 150 < 600 < brightness["light"]


def test_search_finds_huber_location(look):
    page = look("search.html?q=huber_location")
    page.wait_for_selector("#search-results li a")
    found = page.eval_on_selector_all("#search-results li a", "links => links.map(a => a.href)")
    assert any("smoothl1.huber_location.html" in link for link in found)


# What people come with: words to search for, and the page that answers.
QUESTIONS = {
    "parquet by group": "howto/groups.html",
    "fit regressor outliers": "start/fit.html",
    "make a scorer": "howto/scorer.html",
    "result nan": "howto/missing.html",
    "memory limit": "reference/memory.html",
    "choose beta": "howto/beta.html",
    "custom objective": "howto/objective.html",
}


@pytest.mark.parametrize("words", QUESTIONS)
def test_search_answers(look, words):
    page = look(f"search.html?q={words.replace(' ', '+')}")
    page.wait_for_selector("#search-results li a")
    page.wait_for_timeout(500)  # results come one by one
    found = page.eval_on_selector_all("#search-results li > a", "links => links.map(a => a.href)")
    assert any(QUESTIONS[words] in link for link in found[:5]), found


def test_answers_are_two_clicks_from_the_first_page(pages):
    def linked(name):
        base = name.rpartition("/")[0]
        paths = (urllib.parse.urlsplit(link).path for link in pages[name].links)
        return {posixpath.normpath(posixpath.join(base, path)) for path in paths if path}

    first = linked("index.html")
    near = first.union(*(linked(name) for name in first if name in pages))
    assert set(QUESTIONS.values()) <= near
    generated = {name for name in pages if name.startswith("reference/api/smoothl1")}
    assert generated <= near


def test_beta_moves_the_plot(look):
    page = look("explanation/mathematics.html")
    curve = page.locator("[data-curve=loss]")
    before = curve.get_attribute("d")
    page.locator("#beta").fill("0.6")
    assert curve.get_attribute("d") != before
    assert page.locator(".beta-plot output").inner_text() == "3.98"


@pytest.mark.parametrize("name", ["index.html", "exact.html", "gallery/outliers.html"])
def test_printable(look, name):
    page = look(name)
    page.emulate_media(media="print")
    for part in (".bd-sidebar-primary", ".bd-header"):
        for found in page.locator(part).all():
            assert not found.is_visible(), part
    assert page.locator("article h1").first.is_visible()
    assert len(page.pdf()) > 10_000
