"""Who may import whom: read from the import lines, and from the map in CONTRIBUTING.md."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import smoothl1

PACKAGE = Path(smoothl1.__file__).parent
ROOT = Path(__file__).parent.parent
SOURCES = {path.name: path for path in (ROOT / "src").glob("*.*")}
FORMULAS = "smoothl1/_smoothl1.pxd"

source_tree = pytest.mark.skipif(not SOURCES, reason="needs the source tree")


def used_by(path):
    """Return the files of ours that a Cython file cimports or includes."""
    text = path.read_text()
    modules = re.findall(r"^\s*from (\S+) cimport", text, re.MULTILINE)
    for line in re.findall(r"^\s*cimport (.+)", text, re.MULTILINE):
        modules += [name.split()[0] for name in line.split(",")]
    names = {f"{module}.pxd" for module in modules}
    names |= set(re.findall(r'^cdef extern from "(\S+)"', text, re.MULTILINE))
    formulas = {FORMULAS} if "smoothl1._smoothl1" in modules else set()
    assert "include" not in re.findall(r"^\w+", text, re.MULTILINE), f"{path.name}: cimport instead"
    return names & set(SOURCES) | formulas


def layers():
    """Return the files of the map in CONTRIBUTING.md, from the top down."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    picture = text.split("\n## Layers of the core\n")[1].split("```")[1]
    return re.findall(r"[\w/]+\.(?:pyx|pxd|h)\b", picture)


@source_tree
def test_the_map_names_every_file_once():
    assert sorted(layers()) == sorted({*SOURCES, FORMULAS})


@source_tree
def test_cython_files_use_what_is_below_them():
    order = layers()
    graph = {name: used_by(path) for name, path in SOURCES.items()}
    list(graphlib.TopologicalSorter(graph).static_order())  # names a cycle, if there is one
    assert graph["_smoothl1.pyx"]
    for name, used in graph.items():
        above = used & set(order[: order.index(name) + 1])
        assert not above, f"{name} uses {', '.join(above)}, which the map has above it"


def test_only_one_file_imports_compiled_modules():
    """Their very import runs instructions that the processor may lack."""
    files = {path.name for path in PACKAGE.glob("**/*.py") if "_smoothl1_" in path.read_text()}
    assert files == {"_simd.py"}


# What is made and asked about arrays; nothing that computes with their elements.
PLAIN = {"asarray", "count_nonzero", "dtype", "empty", "empty_like", "errstate", "ndarray"}
PLAIN |= {"float16", "float32", "float64"}


@pytest.mark.parametrize("name", ["functional.py", "modules.py"])
def test_functions_do_no_arithmetic_on_elements(name):
    nodes = list(ast.walk(ast.parse((PACKAGE / name).read_text())))
    used = {
        node.attr
        for node in nodes
        if isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and node.value.id == "np"
    }
    assert used <= PLAIN
    # Tuples are joined, a scale is divided by a count, types are united.
    operators = {type(node.op) for node in nodes if isinstance(node, ast.BinOp)}
    assert operators <= {ast.Add, ast.Div, ast.BitOr}


def test_import_is_light_and_starts_no_threads():
    code = (
        "import sys, numpy\n"
        "before = set(sys.modules)\n"
        "import smoothl1, smoothl1._evaluate.cli, smoothl1.boosting, smoothl1.compat\n"
        "names = {m.split('.')[0] for m in set(sys.modules) - before}\n"
        "others = names - set(sys.stdlib_module_names) - {'smoothl1', 'numpy'}\n"
        "print(sorted(n for n in others if not n.startswith(('_', 'cython'))))\n"
        "print(smoothl1._simd.core.team_state())\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.split("\n")[:2] == ["[]", "(False, False)"], done.stderr


def imported(path):
    """Return what a module imports when it is itself imported: of ours, module and names."""
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "smoothl1":
            yield node.module, [alias.name for alias in node.names]


def test_modules_import_one_way():
    paths = {
        ".".join(("smoothl1", *path.relative_to(PACKAGE).with_suffix("").parts)): path
        for path in PACKAGE.glob("**/*.py")
        if path.name not in ("__init__.py", "__main__.py")
    }
    graph = {}
    for name, path in paths.items():
        used = graph[name] = set()
        for module, names in imported(path):
            inner = {f"{module}.{n}" for n in names} & set(paths)
            used |= inner or {module} & set(paths)
            private = [n for n in names if n.startswith("_") and f"{module}.{n}" not in paths]
            assert set(private) <= {"__version__", "_smoothl1_baseline"}, f"{name}: {private}"
    assert len(graph) > 40
    assert graph["smoothl1.functional"]
    list(graphlib.TopologicalSorter(graph).static_order())  # names a cycle, if there is one
    # What the folders hold is made for the public modules, and imports those of the top level.
    light = {"smoothl1.functional", "smoothl1.sums", "smoothl1.grouped", "smoothl1.location"}
    for name, used in graph.items():
        folder = name.split(".")[1]
        if folder.startswith("_") and (PACKAGE / folder).is_dir():
            public = {u for u in used if not u.split(".")[1].startswith("_")}
            assert public <= light | {"smoothl1.linear_model"}, f"{name} uses {public}"
