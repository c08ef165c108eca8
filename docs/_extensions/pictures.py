"""What the scripts of the gallery draw: each writes one SVG to the path that it is given."""

import re
import shutil
import tempfile
from pathlib import Path

from sphinx_gallery.scrapers import figure_rst

# Behind the label of a page: a subject, and most often a colon and what is asked about it.
_FIRST = re.compile(r"(?<=\.py:\n\n)([^\n:]+?)(?:: ([^\n]+))?\.?\n(?=\n)")
_COMMAND = re.compile(r"^(python docs/examples/.*)$", re.MULTILINE)
_LISTED = re.compile(r"\]\((\w+\.py)\)")
_DRAWN = Path(tempfile.mkdtemp()) / "picture.svg"


def place(name):
    """Return the place of a script in the gallery: that in the list of the folder."""
    listed = _LISTED.findall(Path(__file__).parents[1].joinpath("examples/README.md").read_text())
    return listed.index(name) if name in listed else len(listed), name


def arguments(gallery_conf, script_vars):
    """Return the arguments of a script: where its picture goes."""
    return [str(_DRAWN)]


def scrape(block, block_vars, gallery_conf):
    """Take the picture, if a block has drawn one, and return the directive that shows it."""
    if not _DRAWN.exists():
        return ""
    path = Path(next(block_vars["image_path_iterator"])).with_suffix(".svg")
    shutil.move(_DRAWN, path)
    name = Path(block_vars["src_file"]).stem
    return figure_rst([str(path)], gallery_conf["src_dir"], f"The picture of {name}.py")


def _heading(app, docname, content):
    """Make a heading of the subject with which the docstring of a script begins."""
    if docname.startswith("gallery/"):
        text = _FIRST.sub(lambda match: _headed(*match.groups()), content[0], count=1)
        content[0] = _COMMAND.sub(r"``\1``", text, count=1)


def _headed(subject, question):
    heading = f"{subject}\n{'=' * len(subject)}\n"
    return f"{heading}\n{question[0].upper()}{question[1:]}\n" if question else heading


def setup(app):
    """Give pages their headings; delete the folder at the end."""
    app.connect("source-read", _heading)
    app.connect("build-finished", lambda *_: shutil.rmtree(_DRAWN.parent, ignore_errors=True))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
