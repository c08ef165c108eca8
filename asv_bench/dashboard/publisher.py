"""The plugin of asv: a site that needs no network, with the page "Peers and limit"."""

import ast
import itertools
import json
from pathlib import Path

from asv.publishing import OutputPublisher
from asv.results import iter_results
from asv.util import UserError, is_na

from . import libraries

HERE = Path(__file__).parent
PEERS, LIMIT = "peers.Peers.time_call", "peers.Limit.track_seconds"

# Arrays that a call reads or writes once, each n elements long.
TRANSFERS = {"mean": 2, "none": 3, "value and gradient": 3}
ITEM_SIZE = {"float32": 4, "float64": 8}

# How the page names implementations, in its order, and settings of the environment.
IMPLEMENTATIONS = {
    "limit": "memory limit",
    "ours": "smoothl1",
    "torch": "PyTorch",
    "numba": "numba",
    "jax": "JAX",
    "numexpr": "numexpr",
    "numpy": "NumPy",
    "scipy": "SciPy",
    "sklearn": "scikit-learn",
}
SETTINGS = {"SMOOTHL1_NUM_THREADS": "threads", "SMOOTHL1_SIMD": "instruction set"}
MACHINE = ("arch", "cpu", "num_cpu", "os", "ram")


class Offline(OutputPublisher):
    """Libraries on the site itself; a link to the page in asv's navigation bar."""

    name = "offline"
    button_label = "Offline"
    description = "Libraries on the site itself"
    order = 10

    @classmethod
    def publish(cls, conf, repo, benchmarks, graphs, revisions):
        site = Path(conf.html_dir)
        libraries.install(site)
        index = site / "index.html"
        before, after = '<li id="nav-li-graphdisplay">', '<a href="peers.html">Peers and limit</a>'
        text = index.read_text()
        if before not in text:
            raise UserError(f"{index} has no {before} to put the link to peers.html before")
        index.write_text(text.replace(before, f"<li>{after}</li>\n        {before}"))


class Peers(OutputPublisher):
    """The library, others and the memory limit at the newest commit that measured them."""

    name = "peers"
    button_label = "Peers and limit"
    description = "This library beside others, and beside the memory limit"
    order = 11

    @classmethod
    def publish(cls, conf, repo, benchmarks, graphs, revisions):
        page = (HERE / "peers.html.in").read_text()
        data = newest(iter_results(conf.results_dir), benchmarks, revisions)
        data["project"] = conf.project
        # In a script element "</" could end it.
        text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
        site = Path(conf.html_dir)
        (site / "peers.html").write_text(page.replace("@DATA@", text))
        for name in ("peers.css", "peers.js"):
            (site / name).write_text((HERE / name).read_text())


def newest(results, benchmarks, revisions):
    """Return what the page shows: the lines of the newest commit that has any.

    Parameters
    ----------
    results : iterable of asv.results.Results
    benchmarks : dict
        Benchmarks by name, as asv found them.
    revisions : dict
        Commits that are published, and the number of each in the order of history.

    Returns
    -------
    dict
        ``commit``, ``date`` (milliseconds), ``machines``, ``implementations``, ``series``; a
        series has its settings and, as ``points``, lists of n, seconds, and GB/s. There are no
        series without results.
    """
    measured = [
        r
        for r in results
        if r.commit_hash in revisions and {PEERS, LIMIT} & r.get_result_keys(benchmarks)
    ]
    last = max((revisions[r.commit_hash] for r in measured), default=None)
    chosen = [r for r in measured if revisions[r.commit_hash] == last]
    lines = [line for r in chosen for line in series(r, benchmarks)]
    settings = dict.fromkeys(["threads", *(key for line in lines for key in line)], "default")
    return {
        "commit": chosen[0].commit_hash if chosen else None,
        "date": chosen[0].date if chosen else None,
        "machines": {r.params["machine"]: r.params.get("cpu") for r in chosen},
        "implementations": list(IMPLEMENTATIONS.values()),
        "series": [settings | line for line in lines],
    }


def series(result, benchmarks):
    """Yield the lines of one file of results: settings, implementation and points."""
    settings = {k: v for k, v in result.params.items() if k not in MACHINE}
    settings |= {SETTINGS.get(k, k): v for k, v in result.env_vars.items()}
    lines = {}
    for name in {PEERS, LIMIT} & result.get_result_keys(benchmarks):
        benchmark = benchmarks[name]
        values = result.get_result_value(name, benchmark["params"])
        cases = itertools.product(*(map(ast.literal_eval, v) for v in benchmark["params"]))
        for case, seconds in zip(cases, values, strict=True):
            if is_na(seconds):
                continue
            case = dict(zip(benchmark["param_names"], case, strict=True))
            what = case.get("implementation", "limit")
            operation, dtype, n = case["operation"], case["dtype"], case["n"]
            moved = TRANSFERS[operation] * ITEM_SIZE[dtype] * n
            points = lines.setdefault((what, operation, dtype), [])
            points.append([n, seconds, 1e-9 * moved / seconds])
    order = list(IMPLEMENTATIONS)
    for what, operation, dtype in sorted(lines, key=lambda line: order.index(line[0])):
        yield {
            "implementation": IMPLEMENTATIONS[what],
            "operation": operation,
            "dtype": dtype,
            **settings,
            "points": sorted(lines[what, operation, dtype]),
        }
