"""Conditions on the rows of a table: a small part of Python's expressions, never executed."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from smoothl1._evaluate.bounds import Bounds
from smoothl1._evaluate.npy import InputError, line_of
from smoothl1._typing import AnyArray

_COMPARED: dict[type[ast.AST], Any] = {
    ast.Eq: pc.equal,
    ast.NotEq: pc.not_equal,
    ast.Lt: pc.less,
    ast.LtE: pc.less_equal,
    ast.Gt: pc.greater,
    ast.GtE: pc.greater_equal,
}
# The same with the sides exchanged.
_MIRRORED: dict[type[ast.AST], type[ast.AST]] = {
    ast.Eq: ast.Eq,
    ast.NotEq: ast.NotEq,
    ast.Lt: ast.Gt,
    ast.LtE: ast.GtE,
    ast.Gt: ast.Lt,
    ast.GtE: ast.LtE,
}
_COMPUTED: dict[type[ast.AST], Any] = {
    ast.Add: pc.add,
    ast.Sub: pc.subtract,
    ast.Mult: pc.multiply,
    ast.Div: lambda left, right: pc.divide(left.cast(pa.float64()), right),
}
_CALLED = {"abs": pc.abs, "is_null": pc.is_null, "is_nan": pc.is_nan, "lower": pc.utf8_lower}
_WORDS = {"true": True, "false": False, "null": None}
_HELP = "use names of columns, numbers, 'text', comparisons, in (...), and, or, not, + - * /, " + (
    "abs(), is_null(), is_nan(), lower(), column('a name')"
)


class Where:
    """A condition, as ``month == 3 and carrier in ('AA', 'UA')``: rows for which it is true.

    As in SQL a comparison with null is neither true nor false, and such a row is left out.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", SyntaxWarning)  # of 3in (3, 4), say
                self._tree = ast.parse(text.strip(), mode="eval").body
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            reason = error.msg if isinstance(error, SyntaxError) else line_of(error)
            raise InputError(f"--where {text!r}: {reason}; {_HELP}") from None
        names: dict[str, None] = {}
        try:
            self._check(self._tree, names)
        except RecursionError:
            raise InputError(f"--where: too deep; {_HELP}") from None
        self.columns = tuple(names)

    def _check(self, node: ast.AST, names: dict[str, None]) -> None:
        """Refuse what is not in the language; collect the columns."""
        name = _column(node)
        if name is not None:
            names[name] = None
            return
        parts: list[ast.AST] = []
        match node:
            case ast.BoolOp(values=values):
                parts += values
            case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.UAdd(), operand=operand):
                parts.append(operand)
            case ast.BinOp(op=op, left=left, right=right) if type(op) in _COMPUTED:
                parts += [left, right]
            case ast.Compare(ops=ops, left=left, comparators=others):
                parts.append(left)
                for how, other in zip(ops, others, strict=True):
                    if isinstance(how, ast.In | ast.NotIn):
                        if not isinstance(other, ast.Tuple | ast.List) or not all(
                            _is_literal(item) for item in other.elts
                        ):
                            raise self._refused(other, "after in stands a list of values")
                    elif type(how) in _COMPARED:
                        parts.append(other)
                    else:
                        raise self._refused(node, "no such comparison")
            case ast.Call(func=ast.Name(id=called), args=[operand], keywords=[]) if (
                called in _CALLED
            ):
                parts.append(operand)
            case _ if _is_literal(node):
                return
            case _:
                raise self._refused(node, "not allowed")
        for part in parts:
            self._check(part, names)

    def _refused(self, node: ast.AST, reason: str) -> InputError:
        text = ast.get_source_segment(self.text.strip(), node) or type(node).__name__
        return InputError(f"--where {self.text!r}: {text}: {reason}; {_HELP}")

    def mask(self, batch: pa.RecordBatch) -> AnyArray:
        """Return for which rows of a batch it is true."""
        try:
            found = self._value(self._tree, batch)
        except (pa.ArrowException, OverflowError) as error:
            raise InputError(f"--where {self.text!r}: {line_of(error)}") from None
        if not pa.types.is_boolean(found.type):
            raise InputError(f"--where {self.text!r}: gives {found.type}, not true or false")
        if isinstance(found, pa.Scalar):
            return np.full(batch.num_rows, bool(found.as_py()))
        found = pc.fill_null(found, False)
        return np.asarray(found.to_numpy(zero_copy_only=False), bool)

    def excludes(self, bounds: Mapping[str, Bounds]) -> bool:
        """Return whether it is certainly true for no row, by what is known of some columns."""
        return self._excluded(self._tree, bounds)

    def _excluded(self, node: ast.AST, bounds: Mapping[str, Bounds]) -> bool:
        match node:
            case ast.BoolOp(op=ast.And(), values=values):
                return any(self._excluded(value, bounds) for value in values)
            case ast.BoolOp(op=ast.Or(), values=values):
                return all(self._excluded(value, bounds) for value in values)
            case ast.Compare(ops=ops, left=left, comparators=others):
                pairs = zip(ops, [left, *others], others, strict=False)
                return any(_pair_excluded(*pair, bounds) for pair in pairs)
            case ast.Call(func=ast.Name(id="is_null"), args=[operand]):
                known = _known(operand, bounds)
                return known is not None and not known.nulls
            case ast.UnaryOp(
                op=ast.Not(), operand=ast.Call(func=ast.Name(id="is_null"), args=[operand])
            ):
                known = _known(operand, bounds)
                return known is not None and known.empty
        return False

    def _value(self, node: ast.AST, batch: pa.RecordBatch) -> Any:
        name = _column(node)
        if name is not None:
            column = batch.column(name)
            if pa.types.is_dictionary(column.type):
                column = column.cast(column.type.value_type)
            return column
        if _is_literal(node):
            return pa.scalar(_literal(node))
        match node:
            case ast.BoolOp(op=op, values=values):
                join = pc.and_kleene if isinstance(op, ast.And) else pc.or_kleene
                found = self._value(values[0], batch)
                for value in values[1:]:
                    found = join(found, self._value(value, batch))
                return found
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return pc.invert(self._value(operand, batch))
            case ast.UnaryOp(op=op, operand=operand):
                found = self._value(operand, batch)
                return pc.negate(found) if isinstance(op, ast.USub) else found
            case ast.BinOp(op=op, left=left, right=right):
                return _COMPUTED[type(op)](self._value(left, batch), self._value(right, batch))
            case ast.Call(func=ast.Name(id=called), args=[operand]):
                return _CALLED[called](self._value(operand, batch))
            case ast.Compare(ops=ops, left=left, comparators=others):
                parts = []
                for how, other in zip(ops, others, strict=True):
                    parts.append(self._compared(how, left, other, batch))
                    left = other
                found = parts[0]
                for part in parts[1:]:
                    found = pc.and_kleene(found, part)
                return found
        raise AssertionError(node)

    def _compared(
        self, op: ast.cmpop, left: ast.expr, right: ast.expr, batch: pa.RecordBatch
    ) -> Any:
        if isinstance(op, ast.In | ast.NotIn):
            assert isinstance(right, ast.Tuple | ast.List)
            column = self._value(left, batch)
            found = pa.scalar(False)
            for item in right.elts:
                found = pc.or_kleene(found, pc.equal(*_alike(column, pa.scalar(_literal(item)))))
            return pc.invert(found) if isinstance(op, ast.NotIn) else found
        return _COMPARED[type(op)](*_alike(self._value(left, batch), self._value(right, batch)))


def _known(node: ast.AST, bounds: Mapping[str, Bounds]) -> Bounds | None:
    """Return what is known of the column that a node names."""
    name = _column(node)
    return None if name is None else bounds.get(name)


def _pair_excluded(
    how: ast.cmpop, left: ast.expr, right: ast.expr, bounds: Mapping[str, Bounds]
) -> bool:
    """Return whether a comparison is certainly true for no row."""
    op: type[ast.AST] = type(how)
    if isinstance(how, ast.In):
        assert isinstance(right, ast.Tuple | ast.List)
        return all(_pair_excluded(ast.Eq(), left, item, bounds) for item in right.elts)
    if op not in _COMPARED:
        return False
    if _column(left) is None:
        left, right, op = right, left, _MIRRORED[op]
    known = _known(left, bounds)
    if known is None or not _is_literal(right) or _literal(right) is None:
        return False
    if known.empty:
        return True
    if known.values is None:
        return False
    try:
        # As rows are compared: what is rounded on the way, is here.
        values, literal = _alike(known.values, pa.scalar(_literal(right)))
        if known.exact:
            return not _COMPARED[op](values, literal)[0].as_py()
        if values.type != known.values.type:  # text as numbers, whose order is another one
            return False
        below, above = (op not in (ast.Gt, ast.GtE)), (op not in (ast.Lt, ast.LtE))
        if op is ast.NotEq:  # which NaN is, and bounds of text may be cut off
            return False
        least = pc.less if op is ast.Lt else pc.less_equal
        most = pc.greater if op is ast.Gt else pc.greater_equal
        return bool(
            (below and not least(values, literal)[0].as_py())
            or (above and not most(values, literal)[1].as_py())
        )
    except (pa.ArrowException, OverflowError):
        return False  # the rows will say what is wrong


def _column(node: ast.AST) -> str | None:
    """Return the column that a node names."""
    match node:
        case ast.Name(id=name) if name not in _WORDS:
            return name
        case ast.Call(
            func=ast.Name(id="column"), args=[ast.Constant(value=str(name))], keywords=[]
        ):
            return name
    return None


def _is_literal(node: ast.AST) -> bool:
    match node:
        case ast.Constant(value=bool() | int() | float() | str() | None):
            return True
        case ast.Name(id=name):
            return name in _WORDS
        case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float())):
            return True
    return False


def _literal(node: ast.AST) -> Any:
    match node:
        case ast.Constant(value=value):
            return value
        case ast.Name(id=name):
            return _WORDS[name]
        case ast.UnaryOp(operand=ast.Constant(value=int() | float() as value)):
            return -value
    raise AssertionError(node)


def _alike(left: Any, right: Any) -> tuple[Any, Any]:
    """Return both with text read as what it is compared with: a date, or a number."""
    for _ in range(2):
        text = pa.types.is_string(left.type) or pa.types.is_large_string(left.type)
        other = right.type
        plain = pa.types.is_string(other) or pa.types.is_large_string(other)
        if text and not plain and not pa.types.is_null(other):
            number = pa.types.is_integer(other) or pa.types.is_floating(other)
            left = left.cast(pa.float64() if number else other)
        left, right = right, left
    return left, right
