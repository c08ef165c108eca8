"""The command line: ``smoothl1 evaluate`` and ``smoothl1 info``.

Whatever happens, it ends with exit code 0, 2 or 130, and says what is wrong in one line on
standard error. ``python -X dev -m smoothl1`` shows the traceback of an error that is none of the
user's.
"""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import sys
import time
import warnings
from collections.abc import Sequence
from contextlib import nullcontext, redirect_stdout, suppress
from pathlib import Path
from typing import Any, NoReturn, TextIO

import numpy as np

from smoothl1 import _arguments as arguments
from smoothl1 import _threads
from smoothl1._config import config_lines, show_config
from smoothl1._npy import InputError, NpyFile, line_of, pieces
from smoothl1._typing import AnyArray
from smoothl1._version import __version__
from smoothl1.functional import smooth_l1_loss
from smoothl1.sums import LossSums

_DATA = Path(__file__).parent / "data"

# Residuals kept for the histogram of --plot.
_SAMPLE_SIZE = 1_000_000


class Evaluation:
    """Sums over one pass, and what is reported of them."""

    def __init__(self, betas: list[float], reduction: str, weighted: bool, single: bool) -> None:
        self.betas = betas
        self.reduction = reduction
        self._dtype = np.dtype(np.float32 if single else np.float64)
        self._losses = LossSums(betas, dtype=self._dtype)
        # Of the residuals, whatever the weights.
        self._residuals = LossSums(betas, dtype=self._dtype) if weighted else self._losses

    def add(self, prediction: AnyArray, target: AnyArray, weight: AnyArray | None) -> None:
        """Take in a piece."""
        if weight is not None:
            self._residuals.update(prediction, target)
            with np.errstate(over="ignore", under="ignore"):
                weight = weight.astype(self._dtype, copy=False)
        self._losses.update(prediction, target, weight=weight)

    def report(self) -> dict[str, Any]:
        """Return the figures."""
        try:
            losses = self._losses.compute(self.reduction)
        except ValueError:
            raise InputError("the weights sum to 0") from None
        shares = self._residuals.quadratic_share
        return {
            "mae": float(self._residuals.mae),
            "rmse": float(self._residuals.rmse),
            "reduction": self.reduction,
            "losses": [
                {"beta": beta, "loss": float(loss), "quadratic_share": float(share)}
                for beta, loss, share in zip(self.betas, losses, shares, strict=True)
            ],
        }


def evaluate(options: argparse.Namespace) -> dict[str, Any]:
    """Evaluate the files and return the figures, with "residuals" for a picture."""
    if not options.threads:
        _check_environment()
    try:
        betas = [arguments.check_threshold("--beta", beta) for beta in options.beta or [1.0]]
    except ValueError as error:
        raise InputError(line_of(error)) from None
    if options.sample:
        if options.predictions is not None or options.targets is not None:
            raise InputError("--sample takes no files")
        paths = [_DATA / "diabetes_predictions.npy", _DATA / "diabetes_targets.npy"]
    elif options.predictions is not None and options.targets is not None:
        paths = [Path(options.predictions), Path(options.targets)]
    else:
        raise InputError("two files are needed, PREDICTIONS and TARGETS, or --sample")
    if options.weight is not None:
        paths.append(Path(options.weight))
    elif options.reduction == "weighted_mean":
        raise InputError("--reduction weighted_mean needs --weight FILE")
    if options.plot is not None:
        _check_plot(options.plot)

    files = [NpyFile.open(path) for path in paths]
    first = files[0]
    for file in files[1:]:
        if file.shape != first.shape:
            raise InputError(
                f"shapes do not match: {first.path} has {first.shape}, {file.path} {file.shape}"
            )
    if first.size == 0:
        raise InputError(f"{first.path}: shape {first.shape} holds no element")
    dtype = arguments.as_pair(*(np.empty(0, file.dtype) for file in files[:2]))[2]

    evaluation = Evaluation(
        [float(beta) for beta in betas], options.reduction, len(files) == 3, dtype != np.float64
    )
    total_bytes = sum(file.size * file.dtype.itemsize for file in files)
    sample: list[AnyArray] = []
    step = -(-first.size // _SAMPLE_SIZE)
    with (
        _progress(total_bytes) as bar,
        _threads.num_threads(options.threads) if options.threads else nullcontext(),
    ):
        start = time.perf_counter()
        for prediction, target, *rest in pieces(files):
            weight = rest[0] if rest else None
            evaluation.add(prediction, target, weight)
            if options.plot is not None:
                with np.errstate(all="ignore"):
                    residual = np.subtract(
                        prediction.ravel()[::step], target.ravel()[::step], dtype=np.float64
                    )
                sample.append(residual)
            for file in files:
                file.check_unchanged()
            if bar is not None:
                bar.update(sum(piece.nbytes for piece in (prediction, target, *rest)))
        seconds = max(time.perf_counter() - start, 1e-9)

    figures = {
        "predictions": str(first.path),
        "targets": str(files[1].path),
        "shape": list(first.shape),
        "dtype": [str(file.dtype) for file in files[:2]],
        **evaluation.report(),
        "seconds": seconds,
        "bytes_per_second": total_bytes / seconds,
        "elements_per_second": first.size / seconds,
    }
    if options.plot is not None:
        figures["residuals"] = np.concatenate(sample)
    return figures


def _progress(total: int) -> Any:
    """Return a progress bar, shown after a second if standard error is a terminal."""
    try:
        from tqdm import tqdm
    except ImportError:
        return nullcontext()
    if sys.stderr is None:
        return nullcontext()
    return tqdm(total=total, unit="B", unit_scale=True, delay=1, disable=None, leave=False)


def _check_plot(path: str) -> None:
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
        raise InputError(f"--plot {path}: {_reason(error)}") from None


def _reason(error: Exception) -> str:
    """Return what the operating system says, or the message on one line."""
    return (isinstance(error, OSError) and error.strerror) or line_of(error)


def _plot(path: str, residuals: AnyArray, betas: list[float]) -> None:
    """Draw the histogram of the residuals over the loss curves."""
    from matplotlib.figure import Figure

    residuals = residuals[np.isfinite(residuals)]
    reach = float(np.quantile(np.abs(residuals), 0.995)) if residuals.size else 1.0
    reach = reach or 1.0
    unit, label = 1.0, "prediction - target"
    if not 1e-100 < reach < 1e100:  # beyond which matplotlib's own arithmetic overflows
        exponent = max(-300, math.floor(math.log10(reach)))
        unit = float(f"1e{exponent}")
        label += f", in units of 1e{exponent}"
    reach = 1.05 * (reach / unit)
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    with np.errstate(all="ignore"):
        axes.hist(residuals / unit, bins=80, range=(-reach, reach), color="0.8", label="residuals")
    axes.set_xlim(-reach, reach)
    axes.set_xlabel(label)
    axes.set_ylabel("residuals in the bin")
    curves = axes.twinx()
    grid = np.linspace(-reach, reach, 801)
    for beta in betas:
        # Loss and beta in the same units.
        curves.plot(grid, smooth_l1_loss(grid, 0.0, "none", beta / unit), label=f"beta = {beta:g}")
    curves.set_ylabel("loss")
    curves.set_ylim(bottom=0)
    curves.legend(loc="upper center")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a legend with no room left, say
            figure.savefig(path)
    except Exception as error:
        raise InputError(f"--plot {path}: {_reason(error)}") from None


def _finite(value: Any) -> Any:
    """Replace nan and inf, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(figures: dict[str, Any]) -> list[str]:
    """Return the figures as they are printed for people."""
    prediction_dtype, target_dtype = figures["dtype"]
    shape = tuple(figures["shape"])
    rows = [
        ("predictions", f"{figures['predictions']}  {prediction_dtype}"),
        ("targets", f"{figures['targets']}  {target_dtype}"),
        ("shape", f"{shape}"),
        ("MAE", f"{figures['mae']:.9g}"),
        ("RMSE", f"{figures['rmse']:.9g}"),
    ]
    for entry in figures["losses"]:
        share = 100 * entry["quadratic_share"]
        rows.append(
            (
                "loss",
                f"{entry['loss']:.9g}  ({figures['reduction']}, beta {entry['beta']:g}; "
                f"{share:.3g} % of residuals in the quadratic piece)",
            )
        )
    rows.append(
        (
            "throughput",
            f"{figures['elements_per_second']:.3g} elements/s, "
            f"{figures['bytes_per_second'] / 1e9:.3g} GB/s",
        )
    )
    return [f"{name:<12} {text}" for name, text in rows]


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
        description="Evaluate predictions against targets, both .npy files of one shape. They "
        "are memory-mapped and read once, in bounded memory. Exit code 0; 2 for what is wrong with "
        "the input, the options or the output; 130 when interrupted. A file that is cut off "
        "meanwhile by another program may end this one by SIGBUS.",
    )
    run.add_argument("predictions", nargs="?", metavar="PREDICTIONS", help=".npy file")
    run.add_argument("targets", nargs="?", metavar="TARGETS", help=".npy file of the same shape")
    run.add_argument(
        "--sample",
        action="store_true",
        help="evaluate the data that come with the package: out-of-fold predictions of the "
        "disease progression of 442 diabetes patients (Efron et al., 2004)",
    )
    run.add_argument(
        "--beta",
        type=float,
        action="append",
        metavar="B",
        help="threshold, >= 0, default 1; repeat it for several in one pass",
    )
    run.add_argument("--weight", metavar="FILE", help=".npy file of weights, of the same shape")
    run.add_argument(
        "--reduction", choices=arguments.REDUCTIONS[1:], default="mean", help="default: mean"
    )
    run.add_argument("--json", action="store_true", help="print the figures as JSON")
    run.add_argument("--threads", type=_threads_option, metavar="N", help="at most N threads")
    run.add_argument(
        "--plot",
        metavar="FILE",
        help="draw a histogram of the residuals over the loss curves (needs matplotlib)",
    )

    info = commands.add_parser(
        "info", help="show versions, instruction sets and threads", description=show_config.__doc__
    )
    info.description = "Show versions, instruction sets, OpenMP and threads; for bug reports."
    info.add_argument("--json", action="store_true", help="print as JSON")
    return parser


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


def _printable(text: str) -> str:
    """Return the text with escapes for what would end a line, or is no text."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def _write(stream: TextIO, lines: Sequence[str]) -> None:
    """Write lines, with escapes for what the stream cannot encode."""
    text = "".join(f"{_printable(line)}\n" for line in lines)
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
    if options.command == "info":
        _check_environment()
        config = show_config("dicts")
        text = json.dumps(config, indent=2) if options.json else None
        _output(text.split("\n") if text is not None else config_lines(config))
        return
    figures = evaluate(options)
    residuals = figures.pop("residuals", None)
    if options.json:
        _output(json.dumps(_finite(figures), indent=2).split("\n"))
    else:
        _output(_lines(figures))
    if residuals is not None:  # after the figures, which are not lost if this fails
        _plot(options.plot, residuals, [entry["beta"] for entry in figures["losses"]])


def _output(lines: Sequence[str]) -> None:
    """Write to standard output."""
    if sys.stdout is None:
        raise InputError("standard output is closed")
    try:
        _write(sys.stdout, lines)
    except BrokenPipeError:  # the reader (head, say) has enough
        _abandon(sys.stdout)
    except (OSError, ValueError) as error:
        _abandon(sys.stdout)
        raise InputError(f"standard output: {_reason(error)}") from None


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


def _parse(argv: Sequence[str] | None) -> argparse.Namespace | None:
    """Return the options; None where argparse did all, as for ``--help``."""
    text = io.StringIO()
    try:
        with redirect_stdout(text):
            return _parser().parse_args(argv)
    except SystemExit:
        _output(text.getvalue().splitlines())
        return None
