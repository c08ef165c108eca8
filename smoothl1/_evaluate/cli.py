"""The command line: ``smoothl1 evaluate``, ``smoothl1 merge`` and ``smoothl1 info``.

Whatever happens, it ends with exit code 0, 2 or 130, and says what is wrong in one line on
standard error. ``python -X dev -m smoothl1`` shows the traceback of an error that is none of the
user's.
"""

from __future__ import annotations

import argparse
import gc
import io
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

import numpy as np

from smoothl1 import _arguments as arguments
from smoothl1 import _threads
from smoothl1._config import config_lines, show_config
from smoothl1._evaluate import pictures, reports
from smoothl1._evaluate.evaluation import Evaluation, Question, make_question
from smoothl1._evaluate.files import check_writable, reason, same_file, write
from smoothl1._evaluate.npy import InputError, line_of, printable
from smoothl1._evaluate.pictures import Residuals
from smoothl1._evaluate.reports import Report
from smoothl1._evaluate.zarr import open_array, pieces
from smoothl1._version import __version__

_DATA = Path(__file__).parents[1] / "data"

# Suffixes of what has columns.
_TABLES = {".parquet", ".pq", ".parq", ".arrow", ".arrows", ".feather", ".ipc", ".csv", ".tsv"}


def evaluate(options: argparse.Namespace) -> tuple[Report, Residuals | None]:
    """Evaluate what the options name; return the report, and the residuals for a picture."""
    try:
        betas = [arguments.check_threshold("--beta", beta) for beta in options.beta or [1.0]]
    except ValueError as error:
        raise InputError(line_of(error)) from None
    options.betas = betas if len(betas) > 1 else betas[0]
    if options.sort_by is not None:
        named = {"prediction": "", "target": "", "weight": options.weight}
        asked = make_question(options.betas, by=tuple(options.by or ()), **named)
        reports.check_sort(asked, options.sort_by)
    if options.prediction is None and options.target is None:
        evaluation, about, residuals = _evaluate_arrays(options)
    else:
        evaluation, about, residuals = _evaluate_tables(options)
    report = reports.make(
        evaluation,
        options.reduction,
        about,
        sort_by=options.sort_by,
        limit=options.limit,
        min_rows=options.min_rows,
    )
    return report, residuals


Found = tuple[Evaluation, dict[str, Any], Residuals | None]


def _check_outputs(options: argparse.Namespace) -> None:
    """Fail before the evaluation rather than after it."""
    if options.plot is not None:
        if getattr(options, "dask", None) is not None:
            raise InputError("--plot needs all residuals, which --dask leaves on the workers")
        pictures.check(options.plot)
    for name in ("output", "state"):
        if getattr(options, name) is not None:
            check_writable(f"--{name}", getattr(options, name))
    named = [name for name in ("output", "state", "plot") if getattr(options, name) is not None]
    for i, name in enumerate(named):
        path = getattr(options, name)
        for other in named[:i]:
            if same_file(path, getattr(options, other)):
                raise InputError(f"--{name} {path}: --{other} is written there")
        for read in getattr(options, "files", ()):
            if same_file(path, read):
                raise InputError(f"--{name} {path}: this file is read")


def _evaluate_arrays(options: argparse.Namespace) -> Found:
    """Evaluate two .npy files or Zarr arrays, or the sample."""
    for name in ("by", "where"):
        if getattr(options, name):
            raise InputError(f"--{name} needs a table: --prediction COLUMN and --target COLUMN")
    if options.sample:
        if options.files:
            raise InputError("--sample takes no files")
        paths = [_DATA / "diabetes_predictions.npy", _DATA / "diabetes_targets.npy"]
    else:
        for name in options.files:
            suffixes = Path(name).suffixes
            if suffixes and suffixes[-1 - (suffixes[-1] == ".gz")].lower() in _TABLES:
                raise InputError(
                    f"{name}: of a table the columns are needed, --prediction COLUMN and "
                    f"--target COLUMN ({reports.NEEDS_TABLES})"
                )
        if len(options.files) != 2:
            raise InputError(
                "two files are needed, PREDICTIONS and TARGETS, or --sample; or tables, with "
                "--prediction COLUMN and --target COLUMN"
            )
        paths = [Path(name) for name in options.files]
    if options.weight is not None:
        paths.append(Path(options.weight))
    elif options.reduction == "weighted_mean":
        raise InputError("--reduction weighted_mean needs --weight FILE")
    _check_outputs(options)

    files = [open_array(path) for path in paths]
    first = files[0]
    for file in files[1:]:
        if file.shape != first.shape:
            raise InputError(
                f"shapes do not match: {first.path} has {first.shape}, {file.path} {file.shape}"
            )
    if first.size == 0:
        raise InputError(f"{first.path}: shape {first.shape} holds no element")
    dtype = arguments.as_pair(*(np.empty(0, file.dtype) for file in files[:2]))[2]

    names = [str(path) for path in paths]
    question = make_question(
        options.betas,
        single=dtype != np.float64,
        prediction="predictions",
        target="targets",
        weight=None if options.weight is None else "weights",
        ignore_nan=options.ignore_nan,
    )
    evaluation = Evaluation(question)
    residuals = Residuals() if options.plot is not None else None
    total_bytes = sum(file.size * file.dtype.itemsize for file in files)
    with _progress(total_bytes) as bar:
        start = time.perf_counter()
        if options.dask is not None:
            from smoothl1._lazy import files as lazy_files

            evaluation = lazy_files.evaluate_arrays(
                paths, question, address=options.dask, announce=_announce
            )
        for prediction, target, *rest in pieces(files) if options.dask is None else ():
            evaluation.add(prediction, target, rest[0] if rest else None)
            if residuals is not None:
                with np.errstate(all="ignore"):
                    residuals.add(np.subtract(prediction, target, dtype=np.float64))
            for file in files:
                file.check_unchanged()
            if bar is not None:
                bar.update(sum(piece.nbytes for piece in (prediction, target, *rest)))
        seconds = max(time.perf_counter() - start, 1e-9)

    about: dict[str, Any] = {"predictions": names[0], "targets": names[1]}
    if options.weight is not None:
        about["weights"] = names[2]
    about |= {
        "shape": list(first.shape),
        "dtype": [str(file.dtype) for file in files[:2]],
        "seconds": seconds,
        "bytes_per_second": total_bytes / seconds,
        "elements_per_second": first.size / seconds,
    }
    return evaluation, about, residuals


def _evaluate_tables(options: argparse.Namespace) -> Found:
    """Evaluate columns of tables in files."""
    if options.sample:
        raise InputError("--sample takes no columns: it is two arrays")
    for name in ("prediction", "target"):
        if getattr(options, name) is None:
            raise InputError(f"--{name} COLUMN is needed, too")
    if not options.files:
        raise InputError("a file is needed: Parquet, Arrow, CSV, a folder, a glob, an address")
    if options.reduction == "weighted_mean" and options.weight is None:
        raise InputError("--reduction weighted_mean needs --weight COLUMN")
    _check_outputs(options)
    try:
        from smoothl1 import tables
    except ImportError:
        raise InputError(
            f"{options.files[0]}: Parquet, Arrow and CSV need pyarrow: {reports.NEEDS_TABLES}"
        ) from None
    asked = {
        "prediction": options.prediction,
        "target": options.target,
        "weight": options.weight,
        "by": options.by,
        "beta": options.betas,
        "where": options.where,
        "nulls": options.nulls,
        "ignore_nan": options.ignore_nan,
        "note": _complain,
    }
    seen: list[Residuals] = []

    def see() -> Residuals:
        seen.append(Residuals())
        return seen[-1]

    try:
        if options.dask is not None:
            from smoothl1._lazy import files as lazy_files

            evaluation = lazy_files.evaluate_tables(
                options.files, address=options.dask, announce=_announce, **asked
            )
        else:
            evaluation = tables.run(
                options.files,
                progress=True,
                n_threads=options.threads,
                residuals=None if options.plot is None else see,
                **asked,
            )
    except ValueError as error:
        raise InputError(f"--{line_of(error)}") from None
    about = {"files": list(options.files), **_about(evaluation.question)}
    return evaluation, about, seen[0].merge(*seen[1:]) if seen else None


def _about(question: Question) -> dict[str, Any]:
    """Return which columns were evaluated, and how."""
    about: dict[str, Any] = {"prediction": question.prediction, "target": question.target}
    if question.weight is not None:
        about["weight_column"] = question.weight
    if question.where is not None:
        about["where"] = question.where
    return {**about, "dtype": str(question.dtype)}


def merge(options: argparse.Namespace) -> Report:
    """Add up states; return the report of all of them."""
    _check_outputs(options)
    found: Evaluation | None = None
    for path in options.states:
        try:
            state = Evaluation.from_bytes(Path(path).read_bytes())
            found = state if found is None else found.merge(state)
        except (OSError, ValueError, OverflowError) as error:
            raise InputError(f"{path}: {reason(error)}") from None
    assert found is not None
    if options.reduction == "weighted_mean" and found.question.weight is None:
        raise InputError("--reduction weighted_mean: the states are of data without weights")
    try:
        return reports.make(
            found,
            options.reduction,
            {"states": list(options.states), **_about(found.question)},
            sort_by=options.sort_by,
            limit=options.limit,
            min_rows=options.min_rows,
        )
    except ImportError:
        raise InputError(f"keys that are dates need pyarrow: {reports.NEEDS_TABLES}") from None


def _announce(dashboard: str) -> None:
    """Say where the dashboard of the cluster is."""
    _complain(f"dashboard at {dashboard}")


def _progress(total: int) -> Any:
    """Return a progress bar, shown after a second if standard error is a terminal."""
    try:
        from tqdm import tqdm
    except ImportError:
        return nullcontext()
    if sys.stderr is None:
        return nullcontext()
    return tqdm(total=total, unit="B", unit_scale=True, delay=1, disable=None, leave=False)


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        raise InputError(f"{message}; see {self.prog} --help")


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="smoothl1", description="Smooth L1 loss of stored predictions.")
    parser.add_argument("--version", action="version", version=f"smoothl1 {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "evaluate",
        help="evaluate predictions against targets",
        description="Evaluate predictions against targets: two .npy files of one shape, which are "
        "memory-mapped, or Zarr arrays, or two columns of tables, given by --prediction and "
        "--target: Parquet, Arrow IPC (Feather), CSV (also .gz), folders, globs, addresses as "
        "s3://bucket/folder. Folders named as month=3 give a column; in a folder files are of one "
        "format, names with . or _ in front are passed over, and others left out, which one line "
        "says. Everything is read once, in bounded memory; sums are "
        "exact, so that neither order nor threads nor shards change a bit. Exit code 0; 2 for what "
        "is wrong with the input, the options or the output; 130 when interrupted. A file that is "
        "cut off meanwhile by another program may end this one by SIGBUS.",
    )
    run.add_argument(
        "files", nargs="*", metavar="FILE", help="PREDICTIONS and TARGETS, .npy or .zarr; or tables"
    )
    run.add_argument(
        "--sample",
        action="store_true",
        help="evaluate the data that come with the package: out-of-fold predictions of the "
        "disease progression of 442 diabetes patients (Efron et al., 2004)",
    )
    run.add_argument("--prediction", metavar="COLUMN", help="of a table: the predictions")
    run.add_argument("--target", metavar="COLUMN", help="of a table: the true values")
    run.add_argument(
        "--weight",
        metavar="COLUMN",
        help="weights: a column of the table, or a .npy file of the same shape. They touch every "
        "figure, and losses are divided by their sum",
    )
    run.add_argument(
        "--by", action="append", metavar="COLUMN", help="group by it; repeat it for several"
    )
    run.add_argument(
        "--where",
        metavar="EXPRESSION",
        help="rows to take part, as \"month == 3 and carrier in ('AA', 'UA')\"; a part of "
        "Python's expressions, which is never executed",
    )
    run.add_argument(
        "--beta",
        type=float,
        action="append",
        metavar="B",
        help="threshold, >= 0, default 1; repeat it for several in one pass",
    )
    run.add_argument(
        "--nulls",
        choices=("drop", "error"),
        default="drop",
        help="rows with a null in prediction, target or weight: counted and dropped (default), or "
        "an error",
    )
    run.add_argument(
        "--ignore-nan",
        action="store_true",
        help="leave out rows with NaN, too, which otherwise make figures NaN; they are counted",
    )
    run.add_argument(
        "--dask",
        metavar="ADDRESS",
        help="evaluate on a Dask cluster, to the same bits: tcp://..., or local for a process for "
        "each processor",
    )
    run.add_argument("--threads", type=_threads_option, metavar="N", help="at most N threads")
    run.add_argument(
        "--plot",
        metavar="FILE",
        help="draw a histogram of all residuals, and the groups with the largest loss (needs "
        "matplotlib)",
    )
    _add_output(run)

    join = commands.add_parser(
        "merge",
        help="add up states of evaluate --state",
        description="Add up the states of shards: the figures are those of one run over all of "
        "them, to the last bit.",
    )
    join.add_argument("states", nargs="+", metavar="STATE", help="file of evaluate --state")
    join.set_defaults(plot=None)
    _add_output(join)

    info = commands.add_parser(
        "info", help="show versions, instruction sets and threads", description=show_config.__doc__
    )
    info.description = "Show versions, instruction sets, OpenMP and threads; for bug reports."
    info.add_argument("--json", action="store_true", help="print as JSON")
    return parser


def _add_output(parser: argparse.ArgumentParser) -> None:
    """Add what is printed and written."""
    parser.add_argument(
        "--reduction",
        choices=arguments.REDUCTIONS[1:],
        help="default: mean, or weighted_mean where there are weights",
    )
    parser.add_argument(
        "--format",
        choices=reports.FORMATS,
        help="default: by the suffix of --output, else table; parquet needs --output",
    )
    parser.add_argument("--json", action="store_true", help="the same as --format json")
    parser.add_argument(
        "--output", metavar="FILE", help="write there, whole or not at all, and print nothing"
    )
    parser.add_argument(
        "--state", metavar="FILE", help="write the sums, which smoothl1 merge adds up"
    )
    parser.add_argument(
        "--sort-by", metavar="COLUMN", help="order of the groups: by a figure the largest first"
    )
    parser.add_argument(
        "--limit",
        type=_count_option,
        metavar="N",
        help="at most N groups; default: all, and 1000 of a table",
    )
    parser.add_argument(
        "--min-rows", type=_count_option, default=0, metavar="N", help="groups of N rows or more"
    )


def _count_option(text: str) -> int:
    try:
        if text.isascii() and text.isdecimal() and len(text) < 19:
            return int(text)
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"must be an integer of at least 0, got {text!r}")


def _threads_option(text: str) -> int:
    try:
        return _threads.number_of(text, "it")
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error).removeprefix("it ")) from None


def _check_environment() -> None:
    """Raise `InputError` for a bad number of threads in the environment."""
    try:
        _threads.check_environment()
    except ValueError as error:
        raise InputError(line_of(error)) from None


def _write(stream: TextIO, lines: Sequence[str], *, data: bool = False) -> None:
    """Write lines, with escapes for what the stream cannot encode; those of data as they are."""
    text = "".join(f"{line if data else printable(line)}\n" for line in lines)
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
    stream.flush()  # where it is buffered, a closed pipe or a full disk shows here


def _abandon(stream: TextIO) -> None:
    """Point a stream that cannot be written elsewhere, for the flush when Python ends."""
    with suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def _complain(message: str) -> None:
    """Say on one line of standard error what is wrong, if there is one."""
    if sys.stderr is None:
        return
    try:
        _write(sys.stderr, [f"smoothl1: {message}"])
    except (OSError, ValueError):
        _abandon(sys.stderr)


def _run(options: argparse.Namespace) -> None:
    threads = getattr(options, "threads", None)
    if not threads:
        _check_environment()
    # Figures of many groups are made by threads, too, after all rows have been read.
    with _threads.num_threads(threads) if threads else nullcontext():
        if options.command == "info":
            config = show_config("dicts")
            text = json.dumps(config, indent=2) if options.json else None
            _output(text.split("\n") if text is not None else config_lines(config))
        else:
            _report(options)


def _report(options: argparse.Namespace) -> None:
    """Evaluate or merge, and write what was found."""
    how = _format_of(options)
    report, residuals = (
        evaluate(options) if options.command == "evaluate" else (merge(options), None)
    )
    if options.output is None:
        lines = reports.text_of(report, how, _width()).removesuffix("\n").split("\n")
        _output(lines, data=how == "csv")
    state = report.evaluation.to_bytes() if options.state is not None else b""
    if options.output is not None:
        reports.save(report, how, options.output)
    if options.state is not None:
        write(options.state, state)
    if residuals is not None:  # after the figures, which are not lost if this fails
        _draw(report, residuals, options.plot)


def _format_of(options: argparse.Namespace) -> str:
    """Return the format of the output; `InputError` for one that has no place."""
    if options.json and options.format not in (None, "json"):
        raise InputError(f"--json and --format {options.format} exclude each other")
    how: str | None = "json" if options.json else options.format
    if how is None:
        suffix = Path(options.output or "").suffix.lower().lstrip(".")
        how = suffix if suffix in reports.FORMATS else "table"
    if how == "parquet" and options.output is None:
        raise InputError("--format parquet needs --output FILE")
    return how


def _width() -> int | None:
    """Return how wide the terminal is; None where the output goes elsewhere."""
    try:
        if sys.stdout is None or not sys.stdout.isatty():
            return None
    except ValueError:  # closed
        return None
    return shutil.get_terminal_size().columns


def _draw(report: Report, residuals: Residuals, path: str) -> None:
    total, *groups = report.rows
    losses = [(entry["beta"], entry["loss"]) for entry in report.losses(total)]
    bars = [
        (
            ", ".join("null" if row[name] is None else str(row[name]) for name in report.by),
            report.losses(row)[0]["loss"],
            row["rows"],
        )
        for row in groups
    ]
    pictures.plot(path, residuals, losses, bars, report.hidden)


def _output(lines: Sequence[str], *, data: bool = False) -> None:
    """Write to standard output."""
    if sys.stdout is None:
        raise InputError("standard output is closed")
    try:
        _write(sys.stdout, lines, data=data)
    except BrokenPipeError:  # the reader (head, say) has enough
        _abandon(sys.stdout)
    except (OSError, ValueError) as error:
        _abandon(sys.stdout)
        raise InputError(f"standard output: {reason(error)}") from None


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    try:
        options = _parse(argv)
        if options is not None:
            _run(options)
    except InputError as error:
        _complain(str(error))
    except KeyboardInterrupt:
        return 130
    except MemoryError as error:
        _complain(f"not enough memory: {line_of(error)}".removesuffix(": "))
    except Exception as error:
        if sys.flags.dev_mode:
            raise
        _complain(f"unexpected {type(error).__name__}: {line_of(error)}".removesuffix(": "))
    else:
        return 0
    return 2


def script() -> int:
    """Run the command as a process of its own; return its exit code."""
    # What is left by then lives as long as the process. To search it for garbage, as it starts
    # and again as it ends, takes as long as a million rows.
    gc.freeze()
    try:
        return main()
    finally:
        gc.freeze()


def _parse(argv: Sequence[str] | None) -> argparse.Namespace | None:
    """Return the options; None where argparse did all, as for ``--help``."""
    text = io.StringIO()
    try:
        with redirect_stdout(text):
            return _parser().parse_args(argv)
    except SystemExit:
        _output(text.getvalue().splitlines())
        return None
