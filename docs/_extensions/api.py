"""Pages for every public module and for the command line, and the reference as one text.

Nothing is listed by hand but the order of the names of ``smoothl1`` itself: public is what
``__all__`` of a module without an underscore has.
"""

import argparse
import ast
import inspect
import re
from importlib import import_module
from pathlib import Path

import numpy as np
from numpydoc.numpydoc import mangle_signature

import smoothl1
from smoothl1._evaluate import cli as _cli

# Of the package itself; what is in none of these comes last.
TOPICS = {
    "Losses": ["smooth_l1_loss", "huber_loss", "smooth_l1_path"],
    "Gradients": [
        "smooth_l1_grad",
        "huber_grad",
        "smooth_l1_value_and_grad",
        "huber_value_and_grad",
        "smooth_l1_grad_hess",
    ],
    "Exact sums": ["LossSums", "GroupedLossSums"],
    "Location": ["huber_location"],
    "Losses as objects": ["SmoothL1Loss", "HuberLoss"],
    "Threads and reports": [
        "set_num_threads",
        "get_num_threads",
        "num_threads",
        "show_config",
    ],
}


def modules():
    """Return the public modules that have public names: name, sentence, names."""
    found = []
    folder = Path(smoothl1.__file__).parent
    for path in sorted(folder.glob("*.py"), key=lambda path: (path.stem != "__init__", path.stem)):
        if path.stem.startswith("_") and path.stem != "__init__":
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))  # not imported: it may need a package
        names = [
            ast.literal_eval(node.value)
            for node in tree.body
            if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__"
        ]
        name = "smoothl1" if path.stem == "__init__" else f"smoothl1.{path.stem}"
        if name == "smoothl1":  # what it takes from a module is on its own page
            inner = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
        public = [item for item in (names[0] if names else []) if not item.startswith("__")]
        if public and name not in inner:
            found.append((name, (ast.get_docstring(tree) or name).split("\n\n")[0], public))
    return found


def _heading(text, line):
    return [text, line * len(text), ""]


def _table(module, names):
    return [
        ".. autosummary::",
        "   :toctree: generated",
        "   :nosignatures:",
        "",
        *(f"   {module}.{name}" for name in names),
        "",
    ]


def _module_page(module, sentence, names):
    lines = [*_heading(module, "="), sentence.replace("\n", " ").replace("``", "`"), ""]
    if module != "smoothl1":
        return lines + _table(module, names)
    rest = set(names).difference(*TOPICS.values())
    for topic, listed in {**TOPICS, "Others": sorted(rest)}.items():
        if listed:
            lines += _heading(topic, "-") + _table(module, listed)
    return lines


def _commands(parser):
    """Return the commands of a parser: name and parser."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return list(action.choices.items())
    return []


def _plain(text):
    """Return a text of the parser as one of the page, in which nothing is markup."""
    return re.sub(r"([\\\\*`|_])", r"\\\1", text)


def _options(parser):
    lines = []
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction | argparse._HelpAction):
            continue
        value = action.metavar or ",".join(map(str, action.choices or []))
        value = "" if action.nargs == 0 else " ".join(np.atleast_1d(value))
        names = [f"{name} {value}".strip() for name in action.option_strings] or [value]
        text = (action.help or "") % {**vars(action), "prog": parser.prog}
        lines += [f".. option:: {', '.join(names)}", "", f"   {_plain(text)}", ""]
    return lines


def _contents(found):
    """Return the list of modules for the first page of the reference."""
    lines = []
    for module, sentence, _ in found:
        plain = sentence.replace("\n", " ").replace("``", "`")
        lines += [f":doc:`{module} <api/{module}>`", f"   {plain}", ""]
    return lines


def _command_page():
    parser = _cli._parser()
    lines = [*_heading("Command line", "="), _plain(parser.description or ""), ""]
    for name, command in _commands(parser):
        program = f"smoothl1 {name}"
        usage = command.format_usage().removeprefix("usage: ").rstrip()
        lines += [
            *_heading(program, "-"),
            f".. program:: {program}",
            "",
            _plain(command.description or name),
            "",
            ".. code-block:: text",
            "",
            *(f"   {line}" for line in usage.splitlines()),
            "",
            *_options(command),
        ]
    return lines


def write_pages(app, config):
    """Write the pages, those that have changed."""
    folder = Path(app.confdir, "reference", "api")
    folder.mkdir(parents=True, exist_ok=True)
    found = modules()
    pages = {f"{module[0]}.rst": _module_page(*module) for module in found}
    pages["contents.txt"] = _contents(found)
    pages["command-line.rst"] = _command_page()
    for name, lines in pages.items():
        text = "\n".join(lines).rstrip() + "\n"
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")


def _signature(thing):
    try:
        return str(inspect.signature(thing))
    except (TypeError, ValueError):
        return "(...)"


def reference():
    """Return the reference as one text in Markdown: every public name with its docstring."""
    lines = [f"# smoothl1 {smoothl1.__version__}: reference", ""]
    for module, sentence, names in modules():
        try:
            members = import_module(module)
        except ImportError:
            continue
        lines += [f"## {module}", "", sentence, ""]
        for name in names:
            thing = getattr(members, name)
            lines += [f"### {module}.{name}", ""]
            if not callable(thing):
                continue
            lines += ["```text", f"{name}{_signature(thing)}", "", inspect.getdoc(thing) or ""]
            if inspect.isclass(thing):
                for method, function in vars(thing).items():
                    if not method.startswith("_") and inspect.isfunction(function):
                        lines += ["", f"{name}.{method}{_signature(function)}", ""]
                        doc = inspect.getdoc(function) or ""
                        lines += [f"    {line}".rstrip() for line in doc.splitlines()]
            lines += ["```", ""]
    lines += ["## Command line", "", "```text"]
    for _, command in _commands(_cli._parser()):
        lines += [command.format_help().rstrip(), ""]
    return "\n".join([*lines, "```", ""])


def write_texts(app, error):
    """Write the reference as one text, and the list of pages for tools that read text."""
    if error is not None or app.builder.name != "html":
        return
    out = Path(app.outdir)
    (out / "reference.md").write_text(reference(), encoding="utf-8")
    lines = [
        "# smoothl1",
        "",
        "> Smooth L1 and Huber loss on NumPy arrays: losses, gradients, exact sums that merge, and "
        "regressors for scikit-learn, LightGBM and XGBoost.",
        "",
        "- [The whole reference as one Markdown file](reference.md)",
    ]
    pages = {}
    for name, title in app.env.titles.items():
        part = name.partition("/")[0] if "/" in name else "more"
        pages.setdefault(part, []).append((name, title.astext()))
    order = ["start", "howto", "gallery", "explanation", "reference", "development"]
    for part in sorted(pages, key=lambda part: [*order, part].index(part)):
        lines += ["", f"## {'How to' if part == 'howto' else part.capitalize()}", ""]
        lines += [f"- [{title}]({name}.html)" for name, title in sorted(pages[part])]
    (out / "llms.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def skip(app, what, name, thing, skipped, options):
    """Leave out what scikit-learn makes for the routing of metadata."""
    routed = name.startswith("set_") and name.endswith("_request")
    return True if routed else None


def leave_data(app, config):
    """Keep numpydoc from giving signatures to data, which ufuncs are here: Sphinx 9 fails there."""

    def mangle(app, what, name, thing, options, signature, returned):
        if what == "data":
            return None
        return mangle_signature(app, what, name, thing, options, signature, returned)

    event = "autodoc-process-signature"
    for listener in list(app.events.listeners[event]):
        if listener.handler is mangle_signature:
            app.disconnect(listener.id)
            app.connect(event, mangle)


def setup(app):
    """Write pages before the sources are looked for, texts at the end."""
    app.connect("config-inited", write_pages)
    app.connect("config-inited", leave_data)
    app.connect("autodoc-skip-member", skip)
    app.connect("build-finished", write_texts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
