"""Links of the Markdown files to what is no page of the site.

The files are read where they lie, too, and link to each other as files. The changelog, the notes
for contributors and those on benchmarks are pages here, under other names; sources are shown by
their path.
"""

import posixpath
import re
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
# Files outside of this folder that pages include.
PAGES = {
    "CHANGELOG.md": "development/changelog.md",
    "CONTRIBUTING.md": "development/contributing.md",
    "README.md": "index.md",
    "asv_bench/README.md": "development/benchmarks.md",
    ".github/SECURITY.md": "development/security.md",
    "docs/examples/README.md": "gallery/index.rst",
    "docs/examples/": "gallery/index.rst",
}
INCLUDED = {page: source for source, page in PAGES.items() if page.startswith("development")}
_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\((?!https?:|#|mailto:)([^)#\s]+)(#[^)\s]*)?\)")
_PICTURE = re.compile(r"!\[([^\]]*)\]\((?!https?:)([^)\s]+)\)")


def _example(path, anchor):
    """Return the script that a link leads to, or whose section of the list it leads to."""
    folder, _, name = path.rpartition("/")
    name = anchor.lstrip("#").replace("-", "_") if name == "README.md" else name.removesuffix(".py")
    return name if (ROOT / folder / f"{name}.py").exists() and folder == "docs/examples" else ""


def _resolve(text, folder, page):
    """Return a text with the links of a file of a folder as those of a page."""
    here = posixpath.dirname(f"docs/{page}")

    def link(match):
        label, target, anchor = match.groups(default="")
        path = posixpath.normpath(posixpath.join(folder, target))
        path += "/" if target.endswith("/") else ""
        example = _example(path, anchor)
        if example:
            path, anchor = f"docs/gallery/{example}.rst", ""
        elif path in PAGES:
            path = f"docs/{PAGES[path]}"
        elif not (path.startswith("docs/") and path.endswith((".md", ".rst"))):
            return label if f"`{path.strip('/')}`" in label else f"{label} (`{path}`)"
        if path == "docs/index.md":
            anchor = ""
        return f"[{label}]({posixpath.relpath(path, here)}{anchor})"

    def picture(match):
        label, target = match.groups()
        path = posixpath.normpath(posixpath.join(folder, target))
        return f"![{label}]({posixpath.relpath(path, here)})"

    return _PICTURE.sub(picture, _LINK.sub(link, text))


def _read(app, docname, content):
    page = f"{docname}.md"
    if page in INCLUDED:
        source = INCLUDED[page]
        text = (ROOT / source).read_text(encoding="utf-8")
        content[0] = _resolve(text, posixpath.dirname(source), page)
        app.env.note_dependency(str(ROOT / source))
        return
    if Path(app.srcdir, page).exists() and not docname.startswith(("gallery", "reference/api")):
        content[0] = _resolve(content[0], posixpath.dirname(f"docs/{page}"), page)


def setup(app):
    """Rewrite sources as they are read."""
    app.connect("source-read", _read)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
