"""The command line: ``smoothl1 evaluate`` and ``smoothl1 info``."""

from __future__ import annotations

import argparse
import io
import json
import math
import os
import stat
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy

from smoothl1 import _arguments as arguments
from smoothl1._config import show_config
from smoothl1._simd import core
from smoothl1._threads import num_threads
from smoothl1._typing import AnyArray
from smoothl1._version import __version__
from smoothl1.sums import LossSums

_DATA = Path(__file__).parent / "data"

# More than NumPy reads without being told to trust the file.
_LONGEST_HEADER = 12 + 10_000

# Residuals kept for the histogram of --plot.
_SAMPLE_SIZE = 1_000_000


class InputError(Exception):
    """Bad input: one line for the user, exit code 2."""


@dataclass(frozen=True)
class NpyFile:
    """The header of an ``.npy`` file, and the way to its elements."""

    path: Path
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    fortran: bool
    offset: int

    @classmethod
    def open(cls, path: Path) -> NpyFile:
        """Read and check the header; the elements stay on disk."""
        try:
            mode = path.stat().st_mode
            if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):  # opening a pipe may block
                raise InputError(
                    f"{path}: not a regular file, which alone can be mapped; save it to one"
                )
            with path.open("rb") as file:
                head = io.BytesIO(file.read(_LONGEST_HEADER))
                size = file.seek(0, os.SEEK_END)
            shape, fortran, dtype = _read_header(head)
        except OSError as error:
            raise InputError(f"{path}: {error.strerror or error}") from None
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"{path}: not a .npy file ({_line(error)})") from None
        if dtype.hasobject:
            raise InputError(f"{path}: holds pickled objects, which are never loaded")
        if dtype.subdtype is not None:
            raise InputError(f"{path}: has elements that are arrays, of dtype {dtype}")
        try:
            arguments.as_array(str(path), np.empty(0, dtype))
        except TypeError as error:
            raise InputError(_line(error)) from None
        needed = head.tell() + math.prod(shape) * dtype.itemsize
        if size < needed:
            raise InputError(
                f"{path}: truncated, shape {shape} of {dtype} needs {needed} bytes, got {size}"
            )
        return cls(path, shape, dtype, fortran, head.tell())

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)

    def elements(self, start: int, stop: int) -> AnyArray:
        """Map elements ``start`` to ``stop``, in the order of the file."""
        offset = self.offset + start * self.dtype.itemsize
        try:
            return np.memmap(self.path, self.dtype, "r", offset, (stop - start,))
        except (OSError, ValueError) as error:  # removed, or cut off, since its header was read
            raise InputError(f"{self.path}: {_line(error)}") from None

    def array(self) -> AnyArray:
        """Map the whole array."""
        flat = self.elements(0, self.size)
        return flat.reshape(self.shape, order="F" if self.fortran else "C")


def _read_header(file: io.BytesIO) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Return shape, whether in Fortran order, and dtype; any exception for a bad header."""
    version = npy.read_magic(file)
    if version not in ((1, 0), (2, 0), (3, 0)):
        raise ValueError(f"version {version[0]}.{version[1]} of the format is unknown")
    # Version 3.0 differs from 2.0 in the encoding of names of fields, which are refused.
    read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of files from Python 2
        shape, fortran, dtype = read(file)
    np.empty((0,) * len(shape))  # ValueError beyond the number of dimensions that NumPy has
    if not all(0 <= extent < 2**63 for extent in shape):
        raise ValueError(f"shape {shape}")
    return shape, fortran, dtype


def _line(error: BaseException) -> str:
    """Return the message on one line."""
    return " ".join(str(error).split())


def _pieces(files: Sequence[NpyFile]) -> Iterator[list[AnyArray]]:
    """Yield matching pieces of all files, mapped one after the other.

    In the order of the files where all have the same, which is one sequential pass in
    bounded memory; else in C order, slice by slice along the first axis.
    """
    first = files[0]
    if len(first.shape) < 2 or len({file.fortran for file in files}) == 1:
        for start in range(0, first.size, core.PIECE):
            stop = min(start + core.PIECE, first.size)
            yield [file.elements(start, stop) for file in files]
        return
    rows = max(1, core.PIECE // max(1, math.prod(first.shape[1:])))
    for start in range(0, first.shape[0], rows):
        yield [file.array()[start : start + rows] for file in files]


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
                weight = weight.astype(self._dtype)
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
    """Evaluate the files and return the figures."""
    try:
        betas = [arguments.check_threshold("--beta", beta) for beta in options.beta or [1.0]]
    except ValueError as error:
        raise InputError(_line(error)) from None
    if options.sample:
        if options.predictions or options.targets:
            raise InputError("--sample takes no files")
        paths = [_DATA / "diabetes_predictions.npy", _DATA / "diabetes_targets.npy"]
    elif options.predictions and options.targets:
        paths = [Path(options.predictions), Path(options.targets)]
    else:
        raise InputError("two files are needed, PREDICTIONS and TARGETS, or --sample")
    if options.weight:
        paths.append(Path(options.weight))
    elif options.reduction == "weighted_mean":
        raise InputError("--reduction weighted_mean needs --weight FILE")
    if options.plot:
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
        num_threads(options.threads) if options.threads else nullcontext(),
    ):
        start = time.perf_counter()
        for prediction, target, *rest in _pieces(files):
            weight = rest[0] if rest else None
            evaluation.add(prediction, target, weight)
            if options.plot:
                residual = np.subtract(
                    prediction.ravel()[::step], target.ravel()[::step], dtype=np.float64
                )
                sample.append(residual)
            if bar is not None:
                bar.update(sum(piece.nbytes for piece in (prediction, target, *rest)))
        seconds = time.perf_counter() - start

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
    if options.plot:
        _plot(options.plot, np.concatenate(sample), evaluation.betas)
    return figures


def _progress(total: int) -> Any:
    """Return a progress bar, shown after a second if standard error is a terminal."""
    try:
        from tqdm import tqdm
    except ImportError:
        return nullcontext()
    return tqdm(total=total, unit="B", unit_scale=True, delay=1, disable=None, leave=False)


def _check_plot(path: str) -> None:
    """Fail before the evaluation rather than after it."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise InputError("--plot needs matplotlib: pip install 'smoothl1[plot]'") from None
    suffix = Path(path).suffix.lstrip(".")
    if suffix not in Figure().canvas.get_supported_filetypes():
        raise InputError(f"--plot {path}: unknown picture format {suffix!r}; use .png or .svg")
    if not Path(path).resolve().parent.is_dir():
        raise InputError(f"--plot {path}: no such directory")


def _plot(path: str, residuals: AnyArray, betas: list[float]) -> None:
    """Draw the histogram of the residuals over the loss curves."""
    from matplotlib.figure import Figure

    from smoothl1.functional import smooth_l1_loss

    residuals = residuals[np.isfinite(residuals)]
    reach = float(np.quantile(np.abs(residuals), 0.995)) if residuals.size else 1.0
    reach = 1.05 * reach or 1.0
    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.hist(residuals, bins=80, range=(-reach, reach), color="0.8", label="residuals")
    axes.set_xlim(-reach, reach)
    axes.set_xlabel("prediction - target")
    axes.set_ylabel("residuals in the bin")
    curves = axes.twinx()
    grid = np.linspace(-reach, reach, 801)
    for beta in betas:
        curves.plot(grid, smooth_l1_loss(grid, 0.0, "none", beta), label=f"beta = {beta:g}")
    curves.set_ylabel("loss")
    curves.set_ylim(bottom=0)
    curves.legend(loc="upper center")
    try:
        figure.savefig(path)
    except OSError as error:
        raise InputError(f"--plot {path}: {error.strerror or error}") from None


def _finite(value: Any) -> Any:
    """Replace nan and inf, which JSON lacks, by None."""
    if isinstance(value, dict):
        return {name: _finite(entry) for name, entry in value.items()}
    if isinstance(value, list):
        return [_finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _print(figures: dict[str, Any]) -> None:
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
    for name, text in rows:
        print(f"{name:<12} {text}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="smoothl1", description="Smooth L1 loss of stored predictions."
    )
    parser.add_argument("--version", action="version", version=f"smoothl1 {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    run = commands.add_parser(
        "evaluate",
        help="evaluate predictions against targets",
        description="Evaluate predictions against targets, both .npy files of one shape. They "
        "are memory-mapped and read once, in bounded memory.",
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
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be an integer of at least 1, got {text!r}")
    return number


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(argv)
    try:
        if options.command == "info":
            if options.json:
                print(json.dumps(show_config("dicts"), indent=2))
            else:
                show_config()
        else:
            figures = evaluate(options)
            if options.json:
                print(json.dumps(_finite(figures), indent=2))
            else:
                _print(figures)
        sys.stdout.flush()  # where it is buffered, a closed pipe shows here
    except InputError as error:
        print(f"smoothl1: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:
        # The reader (head, say) has enough; point stdout elsewhere for the exit's flush.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return 130
    return 0
