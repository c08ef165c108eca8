"""What axe-core finds in the output of docutils and of the theme, put right in the pages written.

An empty corner of a table is no heading; the arrow that opens a part of the menu needs a name; an
entry of the references must not have a role that only lists of them may hold.
"""

import re
from pathlib import Path

_WRONG = [
    (re.compile(r'<th class="head"><p></p></th>'), '<td class="head"></td>'),
    (re.compile(r"<th class=\"head\"></th>"), '<td class="head"></td>'),
    (re.compile(r'<summary>(?=<span class="toctree-toggle")'), '<summary aria-label="More pages">'),
    (re.compile(r' role="doc-(?:biblioentry|endnote)"'), ' role="listitem"'),
]


def mend(app, error):
    """Rewrite the pages."""
    if error is not None or app.builder.name != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        mended = text
        for pattern, right in _WRONG:
            mended = pattern.sub(right, mended)
        if mended != text:
            path.write_text(mended, encoding="utf-8")


def setup(app):
    """Do it at the end."""
    app.connect("build-finished", mend)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
