"""Conditions on the fields of a record, ``clip_score > 0.7 and not misaligned``, by a small evaluator of their own.

The grammar is a part of Python's: names of fields (``columns.label`` for one of the input), numbers, texts, lists,
comparisons, ``in``, ``and``, ``or``, ``not``, ``+ - * /`` and ``len``. Nothing is run as Python. A comparison with a
missing field, or of a text with a number, is false.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from clipalign.config.readers import BadValueError, text

if TYPE_CHECKING:
    import ast

MAX_CHARACTERS: Final = 1_000
MAX_PARTS: Final = 200

Check = Callable[[Mapping[str, Any]], Any]

_COMPARISONS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "Lt": operator.lt,
    "LtE": operator.le,
    "Gt": operator.gt,
    "GtE": operator.ge,
    "Eq": operator.eq,
    "NotEq": operator.ne,
    "In": lambda one, many: one in many,
    "NotIn": lambda one, many: one not in many,
}
_NUMBERS: Final[dict[str, Callable[[Any, Any], Any]]] = {
    "Add": operator.add,
    "Sub": operator.sub,
    "Mult": operator.mul,
    "Div": operator.truediv,
}


@dataclass(frozen=True)
class Condition:
    """What a record must fulfill, as given in ``text``; ``fields`` are those it names, ``columns.label`` too."""

    text: str
    fields: tuple[str, ...]
    _check: Check = field(repr=False, compare=False)

    def __call__(self, record: Mapping[str, Any]) -> bool:
        """Return whether the record, in JSON's types, fulfills it."""
        return bool(self._check(record))

    def __str__(self) -> str:
        return self.text


def condition(value: object) -> Condition:
    if isinstance(value, Condition):
        return value
    import ast

    given = text(value).strip()
    expected = "a condition such as: clip_score > 0.7 and not misaligned"
    try:
        if len(given) > MAX_CHARACTERS:
            raise BadValueError(f"{expected}; it has more than {MAX_CHARACTERS:,} characters")
        tree = ast.parse(given, mode="eval")
        parts = list(ast.walk(tree))
        if len(parts) > MAX_PARTS:
            raise BadValueError(f"{expected}; it has more than {MAX_PARTS} parts")
        named = (part for part in parts if isinstance(part, ast.Name | ast.Attribute))
        names = {ast.unparse(part) for part in named} - {"len"}
        return Condition(given, tuple(sorted(names)), _compiled(tree.body))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadValueError(f"{expected}; {getattr(error, 'msg', None) or error}") from None


def _compiled(node: ast.expr) -> Check:
    import ast

    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | None):
        constant = node.value
        return lambda record: constant
    if isinstance(node, ast.Name):
        name = node.id
        return lambda record: record[name] if name in record else (record.get("columns") or {}).get(name)
    if isinstance(node, ast.Attribute):
        inside, key = _compiled(node.value), node.attr
        return lambda record: found.get(key) if isinstance(found := inside(record), Mapping) else None
    if isinstance(node, ast.List | ast.Tuple):
        items = [_compiled(item) for item in node.elts]
        return lambda record: [item(record) for item in items]
    if isinstance(node, ast.BoolOp):
        values, ends = [_compiled(value) for value in node.values], isinstance(node.op, ast.Or)
        return lambda record: (any if ends else all)(value(record) for value in values)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not | ast.USub):
        operand, negative = _compiled(node.operand), isinstance(node.op, ast.USub)
        return lambda record: _computed(operator.sub, 0, operand(record)) if negative else not operand(record)
    if isinstance(node, ast.BinOp) and (compute := _NUMBERS.get(type(node.op).__name__)):
        left, right = _compiled(node.left), _compiled(node.right)
        return lambda record: _computed(compute, left(record), right(record))
    if isinstance(node, ast.Compare):
        return _comparison(node)
    if isinstance(node, ast.Call) and ast.unparse(node.func) == "len" and len(node.args) == 1 and not node.keywords:
        measured = _compiled(node.args[0])
        return lambda record: len(found) if isinstance(found := measured(record), str | list | Mapping) else 0
    raise ValueError(f"{ast.unparse(node)[:40]!r} is none of what it may hold")


def _comparison(node: ast.Compare) -> Check:
    operands = [_compiled(one) for one in (node.left, *node.comparators)]
    tests = [_COMPARISONS.get(type(one).__name__) for one in node.ops]
    if None in tests:
        raise ValueError("use == and !=, not is")

    def check(record: Mapping[str, Any]) -> bool:
        values = [operand(record) for operand in operands]
        try:
            return all(test(one, other) for test, one, other in zip(tests, values, values[1:], strict=False) if test)
        except TypeError:  # of what is not there, or a text with a number
            return False

    return check


def _computed(compute: Callable[[Any, Any], Any], left: object, right: object) -> float | None:
    """Return a number, or None, so that no text can be made longer."""
    if not isinstance(left, int | float) or not isinstance(right, int | float):
        return None
    try:
        return float(compute(float(left), float(right)))
    except (ZeroDivisionError, OverflowError):
        return None


def top_share(value: object) -> tuple[str, float]:
    """Read ``0.3``, or ``FIELD=0.3``: which records to keep; the field is empty if the command chooses it."""
    name, _, share = value.rpartition("=") if isinstance(value, str) else ("", "", value)
    if isinstance(value, tuple):
        name, share = value
    try:
        number = float(share)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        number = 0.0
    if not 0 < number <= 1:
        raise BadValueError("a share above 0 and up to 1, such as 0.3 or f_clip_score=0.3")
    return str(name).strip(), number
