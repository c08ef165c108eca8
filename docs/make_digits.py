"""Draw docs/digits.svg, the picture of an exact sum: python docs/make_digits.py."""

import math
from pathlib import Path

import numpy as np

LAST, DIGITS = -160, 12  # of float32: the exponent of the last bit, and the digits
LEFT, WIDTH, TOP = 150, 780, 46  # of the digits on the page
STEP = 34
BLUE, ORANGE, GREY = "#2b6cb0", "#c05621", "#718096"

TERMS = [("1.5", 1.5), ("0.1", 0.1), ("3 · 10⁻⁹", 3e-9), ("−2 · 10⁻²⁰", -2e-20), ("10¹⁰", 1e10)]


def place(exponent):
    """Return the x of a power of two; the highest is on the left."""
    return LEFT + WIDTH * (1 - (exponent - LAST) / (32 * DIGITS))


def text(x, y, words, *, anchor="middle", size=12, fill="#1a202c"):
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" '
        f'fill="{fill}">{words}</text>'
    )


def bar(low, high, y, colour, height=14):
    return (
        f'<rect x="{place(high):.1f}" y="{y}" width="{place(low) - place(high):.1f}" '
        f'height="{height}" fill="{colour}" rx="2"/>'
    )


def digits(y):
    """Yield the boxes of the digits, and the exponents between them."""
    for i in range(DIGITS):
        low = LAST + 32 * i
        yield (
            f'<rect x="{place(low + 32):.1f}" y="{y}" width="{WIDTH / DIGITS:.1f}" height="22" '
            f'fill="#edf2f7" stroke="{GREY}"/>'
        )
        yield text((place(low) + place(low + 32)) / 2, y + 16, f"d{i}", size=11)
        yield text(place(low), y - 6, "2", anchor="end", size=11)
        yield text(place(low), y - 11, str(low).replace("-", "−"), anchor="start", size=8)


def bits_of(value):
    """Return the exponents of the last bit and above the first of a float32."""
    exponent = math.frexp(abs(float(np.float32(value))))[1]
    return exponent - 24, exponent


def drawing():
    """Yield the elements of the picture."""
    y = TOP
    yield text(LEFT - 12, y + 16, "digits, an int64 each", anchor="end")
    yield from digits(y)
    y += 44
    for name, value in TERMS:
        low, high = bits_of(value)
        yield text(LEFT - 12, y + 12, name, anchor="end")
        yield bar(low, high, y, ORANGE if value < 0 else BLUE)
        for i in range(DIGITS + 1):
            x = place(LAST + 32 * i)
            yield (
                f'<line x1="{x:.1f}" y1="{y - 10}" x2="{x:.1f}" y2="{y + STEP - 12}" '
                f'stroke="#cbd5e0" stroke-dasharray="2 3"/>'
            )
        yield text(place(low) + 6, y + 12, "24 bits", anchor="start", size=10, fill=GREY)
        y += STEP - 8
    y += 18
    top = bits_of(1.5)[1]  # the largest term of a block: all are below 2**top
    yield text(LEFT - 12, y + 12, "a block below 2", anchor="end")
    yield bar(top - 45, top + 6, y, "#90cdf4")
    yield text((place(top - 45) + place(top + 6)) / 2, y + 11, "first window", size=10)
    yield bar(top - 91, top - 45, y + 18, "#fbd38d")
    yield text((place(top - 91) + place(top - 45)) / 2, y + 29, "second window", size=10)
    yield text(place(top - 91) + 6, y + 29, "below: one by one", anchor="start", size=10, fill=GREY)


def main():
    """Write the picture beside this file."""
    height = TOP + 44 + len(TERMS) * (STEP - 8) + 18 + 48
    parts = "\n".join(drawing())
    Path(__file__).with_name("digits.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 {height}" '
        f'font-family="sans-serif">\n'
        f"<title>Floats, and the digits that their bits are added to</title>\n"
        f'<rect width="960" height="{height}" fill="white"/>\n{parts}\n</svg>\n'
    )


if __name__ == "__main__":
    main()
