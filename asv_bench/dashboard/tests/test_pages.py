"""The published site as a browser shows it; the fixture ``page`` fails where anything is wrong."""

import json

import pytest

pytest.importorskip("asv")

from .. import libraries
from ..browser import watched
from . import history

PHONE = {"viewport": {"width": 360, "height": 740}, "is_mobile": True, "has_touch": True}
DARK = {"color_scheme": "dark"}
POINTS = "id => $(id).data('plot').getData().map(line => [line.label, line.data])"


def opened(page, site, path, ready):
    """Open a page of the site and wait until it shows an element."""
    page.goto(f"{site.address}/{path}", wait_until="networkidle")
    page.wait_for_selector(ready)


def rows(page, table):
    """Return the texts of a table's cells, by row."""
    return page.eval_on_selector_all(
        f"{table} tr", "rows => rows.map(row => [...row.cells].map(cell => cell.innerText.trim()))"
    )


# --- asv's own pages ---


def test_grid_shows_every_benchmark_with_a_curve(site, page):
    opened(page, site, "index.html", "#summarygrid-display .benchmark-plot canvas")
    shown = page.locator("#summarygrid-display .benchmark-container")
    assert {link.get_attribute("href") for link in shown.all()} == {
        f"#{name}" for name in history.PARAMS
    }
    assert page.locator("#summarygrid-display .benchmark-plot canvas.flot-base").count() == len(
        history.PARAMS
    )


def test_graph_has_the_points_of_the_results(site, page):
    opened(page, site, f"index.html#{history.PLANTED}", "#main-graph canvas")
    lines = dict(page.evaluate(POINTS, "#main-graph"))
    stored = {
        (threads, commit): site.results(history.PLANTED, commit, threads)
        for threads in history.THREADS
        for commit in site.commits
    }
    expected = {
        f"env-SMOOTHL1_NUM_THREADS-{threads}; function-{function}; n-{n}": [
            [number, stored[threads, commit][function, n]]
            for number, commit in enumerate(site.commits)
        ]
        for threads in history.THREADS
        for function, n in stored[history.THREADS[0], site.commits[0]]
    }
    assert len(expected) == 12
    assert lines.keys() == expected.keys()
    for label, points in expected.items():
        assert lines[label] == [[n, pytest.approx(seconds, rel=1e-12)] for n, seconds in points]


def test_regressions_are_the_planted_one_on_each_line(site, page):
    opened(page, site, "index.html#/regressions", "#regressions-body td")
    found = [row for row in rows(page, "#regressions-body table") if row and "reduc" in row[0]]
    function, n = history.PLANTED_CASE
    assert [row[0] for row in found] == [f"{history.PLANTED}('{function}', {n})"] * 2
    assert {row[2] for row in found} == {site.commits[history.SLOW_FROM][:8]}
    factors = [float(row[3].removesuffix("x")) for row in found]
    assert factors == pytest.approx([history.STEP] * 2, rel=0.03)


def test_navigation_leads_to_our_page_and_back(site, page):
    opened(page, site, "index.html", "#summarygrid-display canvas")
    page.click("text=Peers and limit")
    page.wait_for_selector("#time canvas")
    assert page.title() == "Peers and limit: smoothl1"
    page.click("text=Regressions")
    page.wait_for_selector("#regressions-body td")


# --- Peers and limit ---


def chosen(page, **choice):
    for key, value in choice.items():
        page.select_option(f"#choice-{key}", value)


@pytest.mark.parametrize("operation", ["mean", "none", "value and gradient"])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("threads", history.THREADS)
def test_charts_have_the_points_of_the_results(site, page, operation, dtype, threads):
    opened(page, site, "peers.html", "#bandwidth canvas")
    chosen(page, operation=operation, dtype=dtype, threads=threads)
    newest = site.commits[-1]
    found = site.results("peers.Peers.time_call", newest, threads)
    limit = site.results("peers.Limit.track_seconds", newest, threads)
    found |= {("limit", *case): seconds for case, seconds in limit.items()}
    names = {"ours": "smoothl1", "limit": "memory limit", "torch": "PyTorch", "numpy": "NumPy"}
    names |= {"numba": "numba", "numexpr": "numexpr", "scipy": "SciPy", "sklearn": "scikit-learn"}
    moved = (2 if operation == "mean" else 3) * (4 if dtype == "float32" else 8)
    times = {name: [] for name in names.values()}
    for (what, *case, n, its_dtype), seconds in found.items():
        if case == [operation] and its_dtype == dtype:
            times[names[what]].append([n, seconds])
    assert len(times) == 8
    assert {len(points) for points in times.values()} == {len(history.SIZES)}

    close = lambda x: pytest.approx(x, rel=1e-12)  # noqa: E731
    assert dict(page.evaluate(POINTS, "#time")) == {
        name: [[n, close(seconds)] for n, seconds in points] for name, points in times.items()
    }
    assert dict(page.evaluate(POINTS, "#bandwidth")) == {
        name: [[n, close(1e-9 * moved * n / seconds)] for n, seconds in points]
        for name, points in times.items()
    }


def test_tables_say_what_the_charts_show(site, page):
    opened(page, site, "peers.html", "#bandwidth canvas")
    chosen(page, operation="mean", dtype="float32", threads="1")
    assert rows(page, "#time-table")[0] == ["n", "10", "10³", "10⁵", "10⁷"]
    units = {"ns": 1e-9, "µs": 1e-6, "ms": 1e-3, "kB/s": 1e-6, "MB/s": 1e-3, "GB/s": 1}
    for chart in ("time", "bandwidth"):
        lines = page.evaluate(POINTS, f"#{chart}")
        for row, (name, points) in zip(rows(page, f"#{chart}-table")[1:], lines, strict=True):
            assert row[0] == name
            for cell, (_, figure) in zip(row[1:], points, strict=True):
                number, unit = cell.split()
                assert float(number) * units[unit] == pytest.approx(figure, rel=0.006)
    caption = page.inner_text("#time-table caption")
    assert caption == "Time per call: mean, float32, threads: 1"
    for table in ("#time-table", "#bandwidth-table"):
        assert page.locator(f"{table} th:not([scope])").count() == 0


def test_choice_is_kept_in_the_address(site, page):
    opened(page, site, "peers.html#operation=none&dtype=float64&threads=2", "#time canvas")
    assert page.inner_text("#status") == "Shown: none, float64, threads: 2"
    chosen(page, threads="1")
    assert "threads=1" in page.evaluate("location.hash")


def test_an_implementation_can_be_left_out(site, page):
    opened(page, site, "peers.html", "#time canvas")
    page.uncheck("#legend input[value=PyTorch]")
    assert "PyTorch" not in dict(page.evaluate(POINTS, "#time"))
    assert "PyTorch" not in [row[0] for row in rows(page, "#time-table")]


def luminance(colour):
    """Return the relative luminance of "rgb(r, g, b)", as WCAG 2 defines it."""
    levels = [int(part) / 255 for part in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in levels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


@pytest.mark.parametrize("page", [{}, DARK, PHONE], ids=["light", "dark", "phone"], indirect=True)
def test_page_is_readable(site, page, request):
    opened(page, site, "peers.html", "#bandwidth canvas")
    colours = page.evaluate(
        """() => {
            const style = (one, key) => getComputedStyle(document.querySelector(one))[key];
            const marks = [...document.querySelectorAll("#legend span")];
            return [style("body", "backgroundColor"), style("body", "color"),
                    ...marks.map(mark => getComputedStyle(mark).color)];
        }"""
    )
    back, text, *lines = map(luminance, colours)
    assert (back < 0.1) == ("dark" in request.node.name)

    def contrast(a, b):
        return (max(a, b) + 0.05) / (min(a, b) + 0.05)

    assert contrast(text, back) >= 7
    assert len(lines) == 8
    assert min(contrast(line, back) for line in lines) >= 3
    # Nothing reaches beyond the side of the screen; a wide table scrolls within its box.
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert page.locator("#time").bounding_box()["width"] >= 300


def test_without_results_the_page_says_so(site, page, tmp_path):
    source = (site.folder / "html" / "peers.html").read_text()
    before, _, rest = source.partition('<script id="data" type="application/json">')
    data = json.loads(rest.partition("</script>")[0])
    empty = json.dumps(data | {"series": [], "commit": None, "date": None, "machines": {}})
    text = f'{before}<script id="data" type="application/json">{empty}</script></body></html>'
    page.route("**/empty.html", lambda route: route.fulfill(body=text, content_type="text/html"))
    opened(page, site, "empty.html", "#about:not(:empty)")
    assert page.inner_text("#about") == "No published commit has results of benchmarks/peers.py."
    assert not page.is_visible("#charts")


@pytest.mark.parametrize("page", [{}, DARK, PHONE], ids=["light", "dark", "phone"], indirect=True)
def test_page_has_no_barrier_that_axe_knows(site, page):
    opened(page, site, "peers.html", "#bandwidth canvas")
    page.evaluate(libraries.read(["axe-core/axe.min.js"])["axe-core/axe.min.js"].decode())
    found = page.evaluate("() => axe.run()")
    assert found["passes"]
    assert [
        (one["id"], [node["target"] for node in one["nodes"]]) for one in found["violations"]
    ] == []


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("fetch('http://elsewhere.test/a').catch(() => 0)", "request: http://elsewhere.test/a"),
        ("console.error('no')", "console: no"),
        ("setTimeout(() => { throw Error('oh') })", "exception: oh"),
    ],
)
def test_what_goes_wrong_is_noticed(site, browser, script, found):
    with watched(browser, site.address) as (page, wrong):
        page.goto(f"{site.address}/peers.html", wait_until="networkidle")
        page.evaluate(script)
        page.wait_for_timeout(300)
    assert found in wrong
