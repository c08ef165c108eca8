"""Draw docs/tree.svg, the picture of the order of a sum: python docs/make_tree.py."""

from pathlib import Path

LEAVES, LANES = 8, 16
LEFT, WIDTH = 60, 840
COLOURS = ["#2b6cb0", "#c05621"]  # of two threads
GREY, INK = "#718096", "#1a202c"


def text(x, y, words, *, size=13, anchor="middle", fill=INK):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{fill}">{words}</text>'
    )


def box(x, y, width, height, *, fill="#edf2f7", stroke=GREY):
    return (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{width:.1f}" height="{height}" fill="{fill}" '
        f'stroke="{stroke}" rx="3"/>'
    )


def line(x, y, to_x, to_y, colour=GREY):
    return f'<path d="M{x:.1f} {y:.1f}L{to_x:.1f} {to_y:.1f}" stroke="{colour}" fill="none"/>'


def lanes(y):
    """Yield a leaf: its elements, and the lanes that they are added to."""
    step = WIDTH / (2 * LANES + 2)
    yield text(
        LEFT, y - 12, "A leaf: 4096 elements; element i goes to lane i mod 16", anchor="start"
    )
    for i in range(2 * LANES):
        x = LEFT + i * step
        yield box(x, y, step - 3, 24, fill="#bee3f8" if i < LANES else "#feebc8")
        yield text(x + (step - 3) / 2, y + 16, str(i), size=11)
    yield text(LEFT + 2 * LANES * step + 8, y + 16, "…", size=16, anchor="start")
    below = y + 92
    for i in range(2 * LANES):
        yield line(
            LEFT + i * step + step / 2,
            y + 24,
            LEFT + (i % LANES) * 2 * step + step,
            below,
            "#90cdf4" if i < LANES else "#f6ad55",
        )
    for i in range(LANES):
        x = LEFT + i * 2 * step + step / 2
        yield box(x, below, step, 24)
        yield text(x + step / 2, below + 16, str(i), size=11)
    yield text(LEFT + 2 * LANES * step + 8, below + 16, "lanes", anchor="start")


def tree(y):
    """Yield the tree over the leaves, each of which one of two threads has summed."""
    yield text(
        LEFT,
        y - 14,
        "The tree over the leaves: the same, whichever thread has summed a leaf",
        anchor="start",
    )
    step = WIDTH / LEAVES
    centres = [LEFT + (i + 0.5) * step for i in range(LEAVES)]
    for i, x in enumerate(centres):
        colour = COLOURS[i >= LEAVES // 2]
        yield box(x - 42, y, 84, 26, fill=colour, stroke=colour)
        yield text(x, y + 18, f"leaf {i}", fill="white")
    yield text(LEFT + 2 * step, y + 44, "one thread", size=12, fill=COLOURS[0])
    yield text(LEFT + 6 * step, y + 44, "another thread", size=12, fill=COLOURS[1])
    level = y + 26
    below = y + 82
    while len(centres) > 1:
        joined = [(a + b) / 2 for a, b in zip(centres[::2], centres[1::2], strict=True)]
        for k, x in enumerate(centres):
            yield line(x, level, joined[k // 2], below)
        for x in joined:
            yield f'<circle cx="{x:.1f}" cy="{below}" r="11" fill="white" stroke="{INK}"/>'
            yield text(x, below + 5, "+", size=16)
        centres, level, below = joined, below + 11, below + 52
    yield text(centres[0] + 22, level - 6, "rounded once, at the end", anchor="start")


def main():
    """Write the picture beside this file."""
    parts = "\n".join([*lanes(44), *tree(230)])
    Path(__file__).with_name("tree.svg").write_text(
        '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 450" '
        'font-family="sans-serif">\n'
        "<title>Lanes within a leaf, and a tree over the leaves</title>\n"
        f'<rect width="960" height="450" fill="white"/>\n{parts}\n</svg>\n'
    )


if __name__ == "__main__":
    main()
