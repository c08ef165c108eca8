"""The pictures of ``--plot``: a histogram of residuals, the groups with the largest loss."""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from smoothl1._evaluate.files import reason, write
from smoothl1._evaluate.npy import InputError, line_of
from smoothl1._typing import AnyArray

_SHIFT = np.uint64(52 - 7)  # sign, exponent, and the first 7 bits after the point
_CELLS = 1 << (64 - 45)
_MOST_BARS = 128  # on a side: their edges are edges of cells
_WORST = 20


class Residuals:
    """How many residuals there are, by the first bits of each: counts that add."""

    def __init__(self) -> None:
        self.counts = np.zeros(_CELLS, np.int64)

    def add(self, residuals: AnyArray) -> None:
        """Count residuals."""
        flat = np.ascontiguousarray(residuals, np.float64).reshape(-1)
        flat = flat[flat == flat]
        for start in range(0, flat.size, 2**20):
            cells = flat[start : start + 2**20].view(np.uint64) >> _SHIFT
            self.counts += np.bincount(cells.astype(np.int64), minlength=_CELLS)

    def merge(self, *others: Residuals) -> Residuals:
        """Add the counts of others."""
        for other in others:
            self.counts += other.counts
        return self

    def sorted(self) -> tuple[AnyArray, AnyArray]:
        """Return the ends of cells that are nearer to 0, and their counts, in ascending order."""
        cells = np.flatnonzero(self.counts)
        edges = (cells.astype(np.uint64) << _SHIFT).view(np.float64)
        order = np.argsort(edges, kind="stable")
        return edges[order], self.counts[cells[order]]


def bars(residuals: Residuals) -> tuple[float, AnyArray, int, int, float]:
    """Return the width of a bar, the counts of all, those left and right of them, the reach.

    Bars are a power of two wide, and so counts are those of all residuals, to the last one.
    """
    edges, counts = residuals.sorted()
    finite = np.isfinite(edges)
    size, number = np.abs(edges[finite]), counts[finite]
    order = np.argsort(size, kind="stable")
    reach = 1.0
    if order.size:
        below = np.cumsum(number[order])
        reach = float(size[order][np.searchsorted(below, 0.995 * below[-1])]) or 1.0
    width = 2.0 ** max(math.floor(math.log2(reach)) - 4, -1060)
    most = min(math.floor(reach / width) + 1, _MOST_BARS)
    with np.errstate(over="ignore"):
        # A cell below 0 ends at its edge, one above begins there.
        place = np.where(np.signbit(edges), np.ceil(edges / width) - 1, np.floor(edges / width))
    inside = (place >= -most) & (place < most)
    heights = np.zeros(2 * most, np.int64)
    np.add.at(heights, place[inside].astype(np.intp) + most, counts[inside])
    left = int(counts[place < -most].sum())
    right = int(counts[place >= most].sum())
    return width, heights, left, right, most * width


def check(path: str) -> None:
    """Fail before the evaluation rather than after it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install 'smoothl1[plot]'") from None
    except Exception as error:  # a setting of matplotlib that it refuses
        raise InputError(f"--plot {path}: {line_of(error)}") from None
    suffix = Path(path).suffix.lstrip(".").lower()
    figure = Figure()
    if suffix not in figure.canvas.get_supported_filetypes():
        raise InputError(f"--plot {path}: unknown picture format {suffix!r}; use .png or .svg")
    try:
        if not Path(path).resolve().parent.is_dir():
            raise InputError(f"--plot {path}: no such directory")
        figure.text(0, 0, "1")  # for which .pgf needs TeX
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            figure.canvas.print_figure(io.BytesIO(), format=suffix)
    except InputError:
        raise
    except Exception as error:
        raise InputError(f"--plot {path}: {reason(error)}") from None


def plot(
    path: str,
    residuals: Residuals,
    losses: Sequence[tuple[float, float]],
    groups: Sequence[tuple[str, float, int]] = (),
    hidden: int = 0,
) -> None:
    """Draw residuals, and the groups of the largest loss.

    Parameters
    ----------
    path : str
    residuals : Residuals
    losses : sequence of (beta, loss)
    groups : sequence of (name, loss, rows)
    hidden : int
        Groups beside these.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(13 if groups else 7, 4.8), layout="constrained")
    axes = figure.subplots(1, 2 if groups else 1, squeeze=False)[0]
    _histogram(axes[0], residuals, losses)
    if groups:
        _groups(axes[1], losses[0][0], groups, hidden)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a legend with no room left, say
            picture = io.BytesIO()
            figure.savefig(picture, format=Path(path).suffix.lstrip(".").lower())
        write(path, picture.getvalue())
    except InputError as error:
        raise InputError(f"--plot {error}") from None
    except Exception as error:
        raise InputError(f"--plot {path}: {reason(error)}") from None


def _histogram(axes: Any, residuals: Residuals, losses: Sequence[tuple[float, float]]) -> None:
    width, heights, left, right, reach = bars(residuals)
    label, unit = "prediction - target", 1.0
    if not 1e-100 < reach < 1e100:  # beyond which matplotlib's own arithmetic overflows
        exponent = max(-300, math.floor(math.log10(reach)))
        unit = float(f"1e{exponent}")
        label += f", in units of 1e{exponent}"
    most = len(heights) // 2
    places = np.arange(-most, most) * (width / unit)
    axes.bar(places, heights, width / unit, align="edge", color="0.75", edgecolor="0.6", lw=0.3)
    axes.set_xlim(-reach / unit, reach / unit)
    if heights.any():
        axes.set_yscale("log")
        axes.set_ylim(bottom=0.8)
    axes.set_xlabel(label)
    axes.set_ylabel(f"residuals in {width / unit:g} units (logarithmic)")
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)
    total = int(residuals.counts.sum())
    for k, (beta, loss) in enumerate(losses):
        color = f"C{k % 10}"
        name = f"±beta = {beta:g}, loss {loss:.4g}"
        if beta / unit > reach / unit:
            name += " (beta is outside)"
        axes.axvline(beta / unit if beta <= reach else np.nan, color=color, lw=1.2, label=name)
        if beta <= reach:
            axes.axvline(-beta / unit, color=color, lw=1.2)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False)
    outside = 100 * (left + right) / total if total else 0.0
    axes.set_title(
        f"{total:,} residuals; {outside:.2g} % outside: {left:,} left, {right:,} right",
        fontsize="medium",
    )


def _groups(axes: Any, beta: float, groups: Sequence[tuple[str, float, int]], hidden: int) -> None:
    worst = [group for group in groups if math.isfinite(group[1])]
    worst = sorted(worst, key=lambda group: -group[1])[:_WORST]
    most = max((loss for _, loss, _ in worst), default=0.0) or 1.0
    places = range(len(worst))
    axes.barh(places, [loss / most for _, loss, _ in worst], color="C0", alpha=0.6)
    for i, (_, loss, rows) in enumerate(worst):
        axes.text(loss / most + 0.01, i, f"{loss:.4g}   {rows:,} rows", va="center", fontsize=8)
    axes.set_yticks(places, [name[:40] for name, _, _ in worst], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35)
    axes.set_xticks([])
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.set_title(
        f"{len(worst)} of {len(groups) + hidden:,} groups, by their loss, beta {beta:g}",
        fontsize="medium",
    )
