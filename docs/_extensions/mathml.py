"""Formulas as MathML, which browsers show by themselves: no script, no font, no picture."""

from docutils.nodes import SkipNode
from latex2mathml.converter import convert


def _formula(node, display):
    text = node.astext().strip().replace(r"\arg\min", r"\operatorname{argmin}")
    return convert(text, display=display)


def _inline(self, node):
    formula = _formula(node, "inline")
    self.body.append(f'<span class="math">{formula}</span>')
    raise SkipNode


def _block(self, node):
    formula = _formula(node, "block")
    # Wider than a phone, it scrolls by itself; by the keys, too.
    self.body.append(
        f'<div class="math" tabindex="0" role="group" aria-label="formula">{formula}</div>\n'
    )
    raise SkipNode


def setup(app):
    """Register the renderer."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
