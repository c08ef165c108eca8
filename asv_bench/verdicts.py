"""Verdicts on two builds of the library, from what was measured of each.

A count of instructions and a peak of memory are single figures, and their ratio is held against
the threshold of the kind. A time is never a single figure. It is measured in rounds, each with
processes of its own, in which both builds take samples in turn; a round yields the ratio of the
two shortest. So noise that lasts longer than a sample strikes both sides, noise that is shorter is
not in the shortest, and what a process has by chance (where its memory lies) differs from round to
round. Order statistics bound the median of the rounds' ratios whatever their distribution is: of
15, it lies between the third smallest and the third largest with 99.3 %. A time has changed where
that whole interval lies beyond the threshold, and the shortest times of all do so, too.
"""

from dataclasses import dataclass
from math import comb
from statistics import median

# The smallest change that is reported, by kind.
THRESHOLDS = {"time": 0.10, "instructions": 0.02, "memory": 0.05}
UNITS = {"time": "s", "instructions": "", "memory": "B"}
VERDICTS = ("worse", "better", "same", "new", "gone", "failed")

# The chance that the median lies below its lower bound, or above the upper one.
DOUBT = 0.005


@dataclass(frozen=True)
class Row:
    """What is known of one benchmark: the figures of both builds, and their ratio's bounds."""

    kind: str
    name: str
    verdict: str
    base: float | None = None
    head: float | None = None
    ratio: float | None = None
    low: float | None = None
    high: float | None = None


def change(low, high, threshold):
    """Return the verdict on a ratio that lies between two bounds."""
    if low > 1 + threshold:
        return "worse"
    if high < 1 / (1 + threshold):
        return "better"
    return "same"


def bounds(ratios):
    """Return a lower and an upper bound of the median; None where the ratios are too few."""
    ordered, rounds = sorted(ratios), len(ratios)
    k, below = 0, 0.5**rounds  # P(at most k of the ratios lie below their median)
    while below <= DOUBT:
        k += 1
        below += comb(rounds, k) * 0.5**rounds
    return (ordered[k - 1], ordered[-k]) if k else (None, None)


def of_figures(kind, name, base, head):
    """Return the row of a benchmark with one figure a build; None is n/a."""
    if base is None or head is None:
        return Row(kind, name, "new" if base is None else "gone", base, head)
    ratio = head / base
    verdict = change(ratio, ratio, THRESHOLDS[kind])
    return Row(kind, name, verdict, base, head, ratio, ratio, ratio)


def of_rounds(name, base, head):
    """Return the row of a time, from the shortest of every round for both builds."""
    ratios = [h / b for b, h in zip(base, head, strict=True)]
    low, high = bounds(ratios)
    verdict = "same"
    if low is not None:
        best = min(head) / min(base)
        verdict = change(min(low, best), max(high, best), THRESHOLDS["time"])
    return Row("time", name, verdict, min(base), min(head), median(ratios), low, high)


def suspicious(base, head):
    """Return whether rounds, few as they may be, call for more."""
    ratios = median(h / b for b, h in zip(base, head, strict=True)), min(head) / min(base)
    return any(change(ratio, ratio, THRESHOLDS["time"]) != "same" for ratio in ratios)


def status(rows):
    """Return the exit status: 0 nothing is worse, 1 something is, 2 something failed."""
    found = {row.verdict for row in rows}
    return 2 if "failed" in found else int("worse" in found)


def with_unit(value, unit):
    """Return a figure to three digits, its unit with a prefix; "n/a" for None."""
    if value is None:
        return "n/a"
    if not unit:
        return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
    for factor, prefix in ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""), (1e-3, "m"), (1e-6, "µ")):
        if value >= factor:
            return f"{value / factor:.3g} {prefix}{unit}"
    return f"{value / 1e-9:.3g} n{unit}"


def table(rows, everything=False):
    """Return two Markdown tables: the number of each verdict, and the rows that are not "same"."""
    lines = [f"| kind | threshold | {' | '.join(VERDICTS)} |", "| --- " + "| ---: " * 7 + "|"]
    for kind, threshold in THRESHOLDS.items():
        found = [row.verdict for row in rows if row.kind == kind]
        counts = " | ".join(str(found.count(verdict)) for verdict in VERDICTS)
        lines.append(f"| {kind} | {threshold:.0%} | {counts} |")
    shown = [row for row in rows if everything or row.verdict != "same"]
    if shown:
        lines += ["", "| verdict | kind | benchmark | base | head | ratio |"]
        lines.append("| --- | --- | --- | ---: | ---: | ---: |")
    for row in sorted(shown, key=lambda row: VERDICTS.index(row.verdict)):
        base, head = (with_unit(value, UNITS[row.kind]) for value in (row.base, row.head))
        ratio = "" if row.ratio is None else f"{row.ratio:.3f}"
        if row.low != row.high:
            ratio += f" ({row.low:.3f} to {row.high:.3f})"
        lines.append(f"| {row.verdict} | {row.kind} | `{row.name}` | {base} | {head} | {ratio} |")
    return "\n".join(lines)
