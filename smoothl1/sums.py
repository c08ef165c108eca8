"""Sums of losses that merge: the same bits for any chunks, order and number of machines."""

from __future__ import annotations

import hashlib
import math
import operator
import threading
import warnings
from typing import Any, Self, SupportsIndex

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from smoothl1 import _arguments as arguments
from smoothl1._simd import core
from smoothl1._sums import rounding, states
from smoothl1._sums.mergeable import Mergeable
from smoothl1._sums.rounding import Form, Number
from smoothl1._sums.states import Spec
from smoothl1._typing import AnyArray, Loss

__all__ = ["LossSums"]

# Half the squared residual, as a sum in float32 and float64, and the residual itself, are
# thresholds, too: that of a Huber loss at infinity and that of a Smooth L1 loss at 0.
_ABSOLUTE = Form(1.0, 0.0, 0.0)
_SQUARED = Form(0.25, 0.0, 0.0)


def make_spec(beta: ArrayLike, huber: bool, dtype: DTypeLike) -> Spec:
    """Return what is to be summed; ``ValueError`` for a bad threshold or dtype."""
    working = np.dtype(dtype)
    if working not in (np.dtype(np.float32), np.dtype(np.float64)):
        raise ValueError(f"dtype must be float32 or float64, got {working}")
    name = "delta" if huber else "beta"
    given = arguments.as_array("beta", beta)
    if given.ndim > 1 or given.size == 0:
        raise ValueError(
            f"beta must be a number or a sequence of at least one, got shape {given.shape}"
        )
    arguments.check_threshold(name, given, working)
    with np.errstate(over="ignore", under="ignore"):
        betas = given.astype(working).astype(np.float64).reshape(-1) + 0.0  # no -0
    return Spec(tuple(betas.tolist()), bool(huber), working == np.float32, given.ndim == 0)


class LossSums(Mergeable):
    """Sums of the Smooth L1 or Huber loss over any number of pieces, exactly.

    The sum of the terms is kept without rounding, in integers. So only the data decide
    the result: the same elements give the same bits for every way to cut them into
    pieces, every order, every way to merge, every number of threads and machines, every
    instruction set and memory layout.

    Parameters
    ----------
    beta : float or sequence of float, default=1.0
        Threshold, or several for one pass over the data: >= 0, rounded to `dtype`.
    huber : bool, default=False
        Whether the loss is Huber's; then `beta` is its `delta`, > 0.
    dtype : {numpy.float32, numpy.float64}, default=numpy.float64
        In which the loss of each element is computed, and of the results. It belongs to
        the object and not to the data, on whose order the result would depend otherwise.

    Attributes
    ----------
    beta : float or tuple of float
        As given, rounded to `dtype`.
    huber : bool
    dtype : numpy.dtype

    See Also
    --------
    smooth_l1_loss : with ``exact=True`` it has the bits of this class.
    GroupedLossSums : the same for each group of rows.

    Notes
    -----
    The loss of an element is that of `smooth_l1_loss` or `huber_loss`, rounded to `dtype`
    as there; `compute` is the exact sum of them, divided, and rounded once. NaN and
    infinite losses are counted, so that they can be taken out again; what is
    taken out may also be put in afterwards.

    Where weights are given, `mae`, `rmse` and `quadratic_share` are weighted, too; a piece
    without weights counts as one with weights of 1.

    Examples
    --------
    Three shards, each summed on its own:

    >>> import numpy as np
    >>> from smoothl1 import LossSums, smooth_l1_loss
    >>> prediction = np.array([0.1, 0.7, 2.5, 8.0, -3.0])
    >>> truth = np.zeros(5)
    >>> shards = [
    ...     LossSums(beta=0.5).update(prediction[part], truth[part])
    ...     for part in (slice(0, 2), slice(2, 3), slice(3, 5))
    ... ]
    >>> total = sum(shards)
    >>> total.compute()
    np.float64(2.642)
    >>> total.compute() == smooth_l1_loss(prediction, truth, beta=0.5, exact=True)
    np.True_
    >>> (total - shards[1]).n
    4
    """

    _KIND = states.SUMS

    def __init__(
        self, beta: ArrayLike = 1.0, *, huber: bool = False, dtype: DTypeLike = np.float64
    ) -> None:
        self._spec = make_spec(beta, huber, dtype)
        self._forms = forms_of(self._spec)
        self._row = np.zeros(row_size(self._spec), np.int64)
        self._lock = threading.Lock()

    def update(
        self,
        input: ArrayLike,
        target: ArrayLike,
        *,
        weight: ArrayLike | None = None,
        where: ArrayLike | None = None,
        n_threads: SupportsIndex | None = None,
    ) -> Self:
        """Add the losses of a piece.

        Parameters
        ----------
        input, target : array_like
            Predictions and true values, of the same shape, or one of them 0-d.
        weight : array_like, optional
            Factors of the losses, broadcast to `input`.
        where : array_like of bool, optional
            Elements to take part, broadcast to `input`.
        n_threads : int, optional
            The largest number of threads.

        Returns
        -------
        LossSums
            The object itself.

        Raises
        ------
        TypeError
            As `smooth_l1_loss`, and for operands of a dtype that the object's dtype does
            not hold, which would be rounded.
        ValueError
            As `smooth_l1_loss`.
        """
        threads = arguments.thread_argument(n_threads)
        operands = prepare(self._spec, input, target, weight, where)
        self._add(sums_of(self._spec, operands, threads), 1)
        return self

    def merge(self, *others: LossSums) -> Self:
        """Add the sums of other objects to this one.

        Parameters
        ----------
        *others : LossSums
            Of the same thresholds, loss and dtype. They do not change.

        Returns
        -------
        LossSums
            The object itself.

        Raises
        ------
        TypeError
            If one of them is no `LossSums`.
        ValueError
            If one of them sums something else.
        """
        for other in others:
            self._check(other)
        for other in others:
            self._add(other._row, 1)
        return self

    def compute(self, reduction: str = "mean") -> Loss:
        """Return the reduced loss, rounded once.

        Parameters
        ----------
        reduction : {"mean", "sum", "weighted_mean"}, default="mean"
            "mean" divides the sum by the number of elements, "weighted_mean" by the sum
            of their weights.

        Returns
        -------
        numpy scalar or ndarray
            Of the object's dtype; an array, one loss for each threshold, if `beta` was a
            sequence.

        Raises
        ------
        ValueError
            For an unknown `reduction`, or for a "weighted_mean" if the weights sum to 0.

        Warns
        -----
        RuntimeWarning
            If a "mean" is over no element; the result is nan.
        """
        how = arguments.check_reduction(reduction, arguments.REDUCTIONS[1:])
        row, layout = self._row, self._spec.layout
        divisor = rounding.divisor_of(how, row, layout)
        if divisor[0].special is None and divisor[0].value == 0:
            if how == "weighted_mean":
                raise ValueError("the weights sum to 0, by which no mean can be divided")
            warnings.warn("mean of no elements is nan", RuntimeWarning, stacklevel=2)
            return self._figures([math.nan] * len(self._forms), self.dtype)
        losses = []
        for k, form in enumerate(self._forms):
            terms, linear = rounding.numbers_at(row, layout, 1 + 2 * k, 2)
            losses.append(rounding.mean(form, terms, linear, divisor, layout, self.dtype))
        return self._figures(losses, self.dtype)

    @property
    def n(self) -> int:
        """The number of elements."""
        return int(self._row[0])

    @property
    def weight_sum(self) -> np.float64:
        """The sum of the weights, rounded once to float64."""
        number = self._weights()
        special = number.special
        if special is not None:
            return np.float64(special)
        exponent = self._spec.layout.exponent
        return np.float64(rounding.scaled(number.value, 1, exponent, np.dtype(np.float64)))

    @property
    def mae(self) -> Loss:
        """The mean absolute residual, weighted where the losses are, rounded once."""
        return self._moment(_ABSOLUTE, 0)

    @property
    def rmse(self) -> Loss:
        """The root of the mean squared residual, weighted likewise, rounded once."""
        return self._moment(_SQUARED, 1)

    @property
    def quadratic_share(self) -> Loss:
        """The share of the weights whose residuals are below the threshold, in float64."""
        weights = self._weights()
        layout, shares = self._spec.layout, []
        for k in range(len(self._forms)):
            linear = rounding.numbers_at(self._row, layout, 2 + 2 * k, 1)[0]
            if weights.special is not None or linear.special is not None or not weights.value:
                shares.append(math.nan)
                continue
            inside = weights.value - linear.value
            shares.append(rounding.rounded(inside, weights.value, np.dtype(np.float64)))
        return self._figures(shares, np.dtype(np.float64))

    def reset(self) -> Self:
        """Forget all data; return the object itself."""
        with self._lock:
            self._row = np.zeros_like(self._row)
        return self

    def copy(self) -> Self:
        """Return an object of its own with the same sums."""
        return self._from_row(self._row)

    def to_bytes(self) -> bytes:
        """Return the state in a few hundred bytes: equal sums give equal bytes.

        Returns
        -------
        bytes
            For `from_bytes`, of this or any later version of the package.
        """
        writer = states.Writer(states.SUMS, self._spec)
        row = self._row
        writer.integer(int(row[0]))
        for number in rounding.numbers_at(row, self._spec.layout, 0, _count(self._spec)):
            writer.number(number)
        return writer.done()

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Return the object that `to_bytes` was called on.

        Parameters
        ----------
        data : bytes-like
            From anywhere: nothing in them is executed.

        Returns
        -------
        LossSums

        Raises
        ------
        ValueError
            If they are damaged, of an unknown version, or no state at all.
        """
        data = bytes(memoryview(data))
        reader = states.Reader(data, states.SUMS)
        spec = checked(reader.spec)
        row = [reader.integer()]
        for _ in range(_count(spec)):
            row += spec.layout.entries(reader.number())
        reader.done()
        found = cls._of(spec, row)
        if found.to_bytes() != data:
            raise ValueError("the state is damaged: it is not in its canonical form")
        return found

    def to_array(self) -> AnyArray:
        """Return the state as integers that add: merging is the sum of such vectors.

        Returns
        -------
        ndarray of int64
            2**31 of them can be added before an entry could wrap.
        """
        return self._row.copy()

    @classmethod
    def from_array(cls, vector: ArrayLike, like: LossSums) -> Self:
        """Return the object of a vector of `to_array`, or of a sum of some.

        Parameters
        ----------
        vector : array_like of int
            Integers of any width, or Python's own.
        like : LossSums
            An object of the thresholds, loss and dtype that the vector is of.

        Returns
        -------
        LossSums

        Raises
        ------
        TypeError, ValueError
            If the vector does not hold integers, has another length, or is beyond what
            any data give.
        """
        if not isinstance(like, LossSums):
            raise TypeError(f"like must be a LossSums, got {type(like).__qualname__}")
        spec = like._spec
        given = np.asarray(vector)
        if given.shape != like._row.shape:
            raise ValueError(
                f"vector must have shape {like._row.shape} for {like!r}, got {given.shape}"
            )
        try:
            entries = [operator.index(entry) for entry in given.tolist()]
        except TypeError:
            raise TypeError(f"vector must hold integers, got dtype {given.dtype}") from None
        layout, row = spec.layout, [entries[0]]
        for first in range(1, len(entries), layout.size):
            digits = entries[first : first + layout.digits]
            value = sum(digit << (32 * i) for i, digit in enumerate(digits))
            counts = entries[first + layout.digits : first + layout.size]
            row += layout.entries(Number(value, *counts))
        return cls._of(spec, row)

    def digest(self) -> str:
        """Return a hash of the state, a checksum of an evaluation: SHA-256 in hexadecimal."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def __isub__(self, other: object) -> Self:
        if not isinstance(other, LossSums):
            return NotImplemented
        self._check(other)
        self._add(other._row, -1)
        return self

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, LossSums):
            return NotImplemented
        return self._spec == other._spec and self._row.tobytes() == other._row.tobytes()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({parameters(self._spec)}) of {self.n} elements"

    def _check(self, other: object) -> None:
        if not isinstance(other, LossSums):
            raise TypeError(f"only LossSums can be merged, got {type(other).__qualname__}")
        check_same(self._spec, other._spec)

    def _add(self, row: AnyArray, sign: int) -> None:
        layout = self._spec.layout
        with self._lock:
            total = self._row + row if sign > 0 else self._row - row
            core.exact_carry(total[1:], layout.size, layout.digits)
            # Not ``total.max()``, at whose first call NumPy imports.
            least, most = int(np.minimum.reduce(total)), int(np.maximum.reduce(total))
            if most >= rounding.ENTRY_LIMIT or least <= -rounding.ENTRY_LIMIT:
                raise OverflowError("the sums are beyond what 64 bits can count")
            self._row = total  # which nobody writes to again

    def _weights(self) -> Number:
        return rounding.numbers_at(self._row, self._spec.layout, 0, 1)[0]

    def _moment(self, form: Form, which: int) -> Loss:
        layout, dtype = self._spec.layout, self.dtype
        weights = self._weights()
        terms = rounding.numbers_at(self._row, layout, 1 + 2 * len(self._forms) + which, 1)[0]
        if weights.special is None and weights.value == 0:
            return dtype.type(math.nan)
        divisor = weights, layout.exponent
        if which == 0 or terms.special is not None or weights.special is not None:
            return dtype.type(rounding.mean(form, terms, Number(0), divisor, layout, dtype))
        above, below = form.quotient(terms.value, 0)
        below *= weights.value
        if below < 0:
            above, below = -above, -below
        return dtype.type(rounding.square_root(above, below, dtype) if above >= 0 else math.nan)

    def _figures(self, values: list[float], dtype: np.dtype[Any]) -> Loss:
        figures = np.array(values, dtype)
        return figures[0] if self._spec.scalar else figures

    def _from_row(self, row: AnyArray) -> Self:
        return self._of(self._spec, row)

    @classmethod
    def _of(cls, spec: Spec, row: ArrayLike) -> Self:
        found = cls.__new__(cls)
        found._spec = spec
        found._forms = forms_of(spec)
        found._row = np.asarray(row, np.int64)
        found._lock = threading.Lock()
        return found


def forms_of(spec: Spec) -> tuple[Form, ...]:
    """Return the way from sums to loss, for each threshold."""
    return tuple(Form(*core.exact_form(beta, spec.huber, spec.single)) for beta in spec.betas)


def _count(spec: Spec) -> int:
    """Return the number of sums: weights, two for each threshold, two moments."""
    return 3 + 2 * len(spec.betas)


def row_size(spec: Spec) -> int:
    """Return the number of integers in a state."""
    return 1 + _count(spec) * spec.layout.size


def checked(spec: Spec) -> Spec:
    """Return a spec that was read as a constructor gives it; ``ValueError`` if none does."""
    dtype = np.float32 if spec.single else np.float64
    found = make_spec(spec.betas[0] if spec.scalar else spec.betas, spec.huber, dtype)
    if found != spec:
        raise ValueError("the state is damaged: it has thresholds that no sums have")
    return found


def check_same(spec: Spec, other: Spec) -> None:
    """Raise ``ValueError`` that says in what two specs differ."""
    if spec.single != other.single:
        names = ["float32" if each.single else "float64" for each in (spec, other)]
        raise ValueError(f"sums in {names[0]} and in {names[1]} cannot be merged")
    if spec.huber != other.huber:
        raise ValueError("sums of the Smooth L1 loss and of the Huber loss cannot be merged")
    if spec.betas != other.betas or spec.scalar != other.scalar:
        raise ValueError(
            f"sums of other thresholds cannot be merged: {parameters(spec)} and {parameters(other)}"
        )


def parameters(spec: Spec) -> str:
    """Return the arguments of the constructor, as text."""
    short = [str(np.float32(beta)) if spec.single else repr(float(beta)) for beta in spec.betas]
    beta = short[0] if spec.scalar else f"[{', '.join(short)}]"
    huber = ", huber=True" if spec.huber else ""
    return f"beta={beta}{huber}, dtype={'float32' if spec.single else 'float64'}"


def prepare(
    spec: Spec,
    input: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None,
    where: ArrayLike | None,
) -> arguments.Operands:
    """Check the operands of a piece; ``TypeError`` for those that would be rounded."""
    operands = arguments.prepare(input, target, "beta", 0.0, weight=weight, where=where)
    if spec.single:
        wide = None
        if operands.dtype == np.float64:
            names = ("input", "target")
            wide = next((name for name in names if _is_wide(operands.arrays[name])), "input")
        elif operands.weight is not None and not isinstance(weight, int | float):
            wide = "weight" if _is_wide(operands.weight) else None
        if wide is not None:
            raise TypeError(
                f"{wide} has dtype {operands.arrays[wide].dtype}, which sums in float32 would "
                f"round; pass {wide}.astype(np.float32), or sum with dtype=np.float64"
            )
    return operands


def _is_wide(a: AnyArray) -> bool:
    return not np.can_cast(a.dtype, np.float32, "safe")


def work_on(
    spec: Spec,
    operands: arguments.Operands,
    threads: int,
    order: tuple[int, ...] | None = None,
) -> core.Work:
    """Return the work on a piece: the sums for each threshold, and the moments."""
    return core.Work(
        operands.input,
        operands.target,
        betas=[*spec.betas, 0.0, 0.0],
        huber=spec.huber,
        single=spec.single,
        weight=operands.weight,
        where=operands.where,
        order=order,
        n_threads=threads,
    )


def sums_of(spec: Spec, operands: arguments.Operands, threads: int) -> AnyArray:
    """Return the row of a piece."""
    work = work_on(spec, operands, threads, arguments.memory_order(operands.input))
    row = core.exact_sums(work, 0, 1, linear=True, weights=True, moments=True)[0]
    # The moments have no use for weights in the linear piece.
    size = spec.layout.size
    last = 1 + (2 + 2 * len(spec.betas)) * size
    return np.concatenate([row[:last], row[last + size : last + 2 * size]])
