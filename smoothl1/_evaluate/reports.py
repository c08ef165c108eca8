"""What is printed or written of an evaluation: a table for people, JSON, CSV, Parquet, a state."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from smoothl1._evaluate.evaluation import Evaluation, Question
from smoothl1._evaluate.files import write
from smoothl1._evaluate.npy import InputError, printable

FORMATS = ("table", "json", "csv", "parquet")
NEEDS_TABLES = "pip install 'smoothl1[tables]'"

# Groups in a table for people, unless more are asked for: ten times as many take ten seconds.
_MANY = 1000

# Columns that are left out first where a table is too wide for the terminal.
_LEAST = ("largest", "bias", "rmse", "quadratic_share")


@dataclass
class Report:
    """The figures of an evaluation as rows: the first is the whole, each other one a group."""

    evaluation: Evaluation
    reduction: str
    about: dict[str, Any]  # where the data are from, and how long it took
    rows: list[dict[str, Any]]
    places: list[int]  # of the rows among all
    hidden: int = 0  # groups that were not asked for
    limited: bool = False  # it was said how many are

    @property
    def by(self) -> tuple[str, ...]:
        """The columns of keys."""
        return self.evaluation.question.by

    @property
    def columns(self) -> list[str]:
        """The columns of figures."""
        return [name for name in self.rows[0] if name not in self.by]

    def losses(self, row: dict[str, Any]) -> list[dict[str, Any]]:
        """Return the losses of a row, one for each threshold."""
        betas = self.evaluation.question.betas
        names = [name for name in row if name == "loss" or name.startswith("loss_")]
        shares = [name.replace("loss", "quadratic_share", 1) for name in names]
        return [
            {"beta": beta, "loss": row[name], "quadratic_share": row[share]}
            for beta, name, share in zip(betas, names[-len(betas) :], shares, strict=True)
        ]


def make(
    evaluation: Evaluation,
    reduction: str | None,
    about: dict[str, Any],
    *,
    sort_by: str | None = None,
    limit: int | None = None,
    min_rows: int = 0,
) -> Report:
    """Return the report; `InputError` if weights sum to 0, or for an unknown column."""
    question = evaluation.question
    how = reduction or ("mean" if question.weight is None else "weighted_mean")
    keys, columns = evaluation.figures(how)
    if how == "weighted_mean" and columns["rows"][0] and columns["weight"][0] == 0:
        raise InputError("the weights sum to 0")
    figures = {name: values.tolist() for name, values in columns.items()}
    named = _named(evaluation, keys)
    rows = [
        {
            **{
                name: part[i - 1] if i else None
                for name, part in zip(question.by, named, strict=True)
            },
            **{name: values[i] for name, values in figures.items()},
        }
        for i in range(1 + len(keys))
    ]
    counts = ("rows", "dropped", "nan", "weight")
    for row in rows:
        if not row["rows"]:
            row.update({name: math.nan for name in figures if name not in counts})
    chosen = [i for i in range(1, len(rows)) if rows[i]["rows"] >= min_rows]
    if sort_by is not None:
        check_sort(question, sort_by)
        _sort(chosen, rows, question.by, sort_by)
    places = [0, *chosen[:limit]]
    hidden = len(rows) - len(places)
    chosen_rows = [rows[i] for i in places]
    return Report(evaluation, how, about, chosen_rows, places, hidden, limit is not None)


def check_sort(question: Question, name: str) -> None:
    """Fail before the evaluation for a column that there will not be."""
    _, figures = Evaluation(question).figures("sum")
    columns = [*question.by, *figures]
    if name not in columns and not any(column.startswith(f"{name}_") for column in columns):
        raise InputError(f"--sort-by {name}: no such column; there are {', '.join(columns)}")


def _sort(chosen: list[int], rows: list[dict[str, Any]], by: Sequence[str], name: str) -> None:
    """Sort in place: by a figure the largest first, by a key the least; what is none comes last."""
    if name not in rows[0]:
        name = next(column for column in rows[0] if column.startswith(f"{name}_"))
    if name in by:
        chosen.sort(key=lambda i: (rows[i][name] is None, rows[i][name] or 0))
    else:
        values = [-math.inf if row[name] != row[name] else row[name] for row in rows]
        chosen.sort(key=values.__getitem__, reverse=True)


def _named(evaluation: Evaluation, keys: list[tuple[Any, ...]]) -> list[list[Any]]:
    """Return the keys, column by column, as what they stand for: dates, say."""
    question = evaluation.question
    if not question.by:
        return []
    from smoothl1.tables import keys_array

    columns: list[list[Any]] = []
    for i, kind in enumerate(question.kinds):
        part = [key[i] for key in keys]
        if kind in ("int64", "uint64", "double", "string", "bool", "binary"):
            columns.append(part)
        else:
            columns.append(keys_array(part, kind).to_pylist())
    return columns


def text_of(report: Report, how: str, width: int | None) -> str:
    """Return a report as text: a table of at most ``width`` characters, JSON, or CSV."""
    if how == "json":
        return json.dumps(_plain(_document(report)), indent=2) + "\n"
    if how == "csv":
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(report.rows[0])
        writer.writerows([_cell(value) for value in row.values()] for row in report.rows)
        return stream.getvalue()
    return _table(report, width)


def _document(report: Report) -> dict[str, Any]:
    """Return a report as it is in JSON."""
    question = report.evaluation.question

    def figures(row: dict[str, Any]) -> dict[str, Any]:
        plain = {
            name: row[name]
            for name in report.columns
            if not name.startswith(("loss", "quadratic_share"))
        }
        if "weight" in plain:
            plain["weight_sum"] = plain.pop("weight")
        return {**plain, "losses": report.losses(row)}

    document = {**report.about, "reduction": report.reduction, **figures(report.rows[0])}
    if question.by:
        document["by"] = list(question.by)
        document["groups"] = [
            {"key": [row[name] for name in question.by], **figures(row)} for row in report.rows[1:]
        ]
    return document


def _plain(value: Any) -> Any:
    """Return what JSON has: "inf" and "-inf", which ``float`` reads, and null for nan."""
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    return value.hex() if isinstance(value, bytes) else str(value)


def _cell(value: Any) -> Any:
    """Return what a cell of CSV holds: nothing for what there is not."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bytes):
        return value.hex()
    return value


def _table(report: Report, width: int | None) -> str:
    """Return what is printed for people."""
    question = report.evaluation.question
    total = report.rows[0]
    lines = [(name, report.about[name]) for name in _HEADER if name in report.about]
    lines = [(name, value if isinstance(value, str) else names_of(value)) for name, value in lines]
    if "predictions" in report.about:
        kinds = report.about["dtype"]
        lines = [(name, f"{path}  {kind}") for (name, path), kind in zip(lines, kinds, strict=True)]
        lines.append(("shape", str(tuple(report.about["shape"]))))
    if question.weight is not None:
        means = "their sum" if report.reduction == "weighted_mean" else "the number of rows"
        if report.reduction == "sum":
            means = "nothing"
        lines.append(
            ("weights", f"{question.weight}; in every figure; losses are divided by {means}")
        )
    if question.where is not None:
        lines.append(("where", question.where))
    if not question.by:
        lines += _figure_lines(report, total)
    if "elements_per_second" in report.about:
        about = report.about
        lines.append(
            (
                "throughput",
                f"{about['elements_per_second']:.3g} elements/s, "
                f"{about['bytes_per_second'] / 1e9:.3g} GB/s",
            )
        )
    head = "".join(f"{name:<12} {printable(text)}\n" for name, text in lines)
    return head + (_grid(report, width) if question.by else "")


_HEADER = ("files", "states", "prediction", "target", "predictions", "targets")


def _figure_lines(report: Report, row: dict[str, Any]) -> list[tuple[str, str]]:
    lines = []
    if "shape" not in report.about:
        lines.append(("rows", f"{row['rows']:,}"))
    if row["dropped"]:
        lines.append(("dropped", f"{row['dropped']:,} rows with null"))
    if row["nan"]:
        ignored = ", ignored" if report.evaluation.question.ignore_nan else ""
        lines.append(("NaN", f"{row['nan']:,} rows{ignored}"))
    lines += [
        ("MAE", f"{row['mae']:.9g}"),
        ("RMSE", f"{row['rmse']:.9g}"),
        ("bias", f"{row['bias']:.9g}  (mean of prediction - target)"),
        ("largest", f"{row['largest']:.9g}"),
    ]
    of = "residuals" if report.evaluation.question.weight is None else "weights"
    for entry in report.losses(row):
        share = 100 * entry["quadratic_share"]
        lines.append(
            (
                "loss",
                f"{entry['loss']:.9g}  ({report.reduction}, beta {entry['beta']:g}; "
                f"{share:.3g} % of {of} in the quadratic piece)",
            )
        )
    return lines


def _grid(report: Report, width: int | None) -> str:
    """Return groups as a table of the package rich."""
    try:
        from rich.cells import cell_len
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text
    except ImportError:
        raise InputError(
            f"--format table needs rich for groups: {NEEDS_TABLES}; or use --format json or csv"
        ) from None
    columns = [
        name
        for name in report.columns
        if name not in ("dropped", "nan") or any(row[name] for row in report.rows)
    ]

    rows = report.rows if report.limited else report.rows[: 1 + _MANY]
    hidden = report.hidden + len(report.rows) - len(rows)
    titles = {name: name.replace("quadratic_share", "quadratic") for name in columns}
    cells: dict[str, list[str]] = {}
    for i, name in enumerate(report.by):
        values = [row[name] for row in rows[1:]]
        shown = ["null" if value is None else printable(str(value)) for value in values]
        cells[name] = ["" if i else "all", *shown]
    for name in columns:
        cells[name] = [_shown(name, row[name]) for row in rows]
    widths = {name: max(map(cell_len, [titles.get(name, name), *cells[name]])) for name in cells}

    def fits(columns: Sequence[str]) -> bool:
        parts = [*report.by, *columns]
        return width is None or sum(widths[name] + 2 for name in parts) - 2 <= width

    left_out: list[str] = []
    for least in _LEAST:
        for name in [name for name in columns if name.startswith(least)]:
            if not fits(columns):
                columns.remove(name)
                left_out.append(name)
    stream = io.StringIO()
    console = Console(file=stream, width=width or 10_000, color_system=None, highlight=False)
    while columns:  # as many as fit, and below them the next ones, with the keys again
        count = next((n for n in range(len(columns), 1, -1) if fits(columns[:n])), 1)
        table = Table(box=None, pad_edge=False, header_style="bold", show_edge=False)
        for name in report.by:
            table.add_column(Text(name), overflow="fold")
        for name in columns[:count]:
            table.add_column(titles[name], justify="right", no_wrap=True)
        for row in zip(*(cells[name] for name in (*report.by, *columns[:count])), strict=True):
            table.add_row(*map(Text, row))
        console.print(table)
        columns = columns[count:]
        if columns:
            console.print()
    text = "".join(f"{line.rstrip()}\n" for line in stream.getvalue().splitlines())
    notes = []
    if hidden:
        notes.append(f"{hidden:,} more group{'s' if hidden > 1 else ''}")
    if left_out:
        notes.append(f"{names_of(left_out)}: in a wider terminal, or with --format csv")
    return text + "".join(f"({note})\n" for note in notes)


def _shown(name: str, value: Any) -> str:
    if isinstance(value, int):
        return f"{value:,}"
    if value is None or math.isnan(value):
        return "nan"
    if name.startswith("quadratic_share"):
        return f"{100 * value:.3g} %"
    return f"{value:.6g}"


def save(report: Report, how: str, path: str) -> None:
    """Write a report to a file, whole or not at all."""
    if how != "parquet":
        write(path, text_of(report, how, None).encode("utf-8", "surrogateescape"))
        return
    try:
        import pyarrow.parquet as pq

        from smoothl1.tables import to_table
    except ImportError:
        raise InputError(f"--format parquet needs pyarrow: {NEEDS_TABLES}") from None
    stream = io.BytesIO()
    table = to_table(report.evaluation, report.reduction)
    pq.write_table(table.take(report.places), stream)
    write(path, stream.getvalue())


def names_of(values: Sequence[str]) -> str:
    """Return some names on a line, and how many more there are."""
    shown = ", ".join(values[:3])
    return shown if len(values) <= 3 else f"{shown} and {len(values) - 3} more"
