"""Records as CSV (RFC 4180, UTF-8, lines ended by a line feed), and back.

A row has the view's columns, then ``error_type``, ``error``, ``hint`` and the run's ``provenance`` as JSON; that is all
a later run needs to know whether it may go on. Numbers are written so that they read back exactly. Texts are not
changed: a spreadsheet may take one that begins with ``=`` for a formula.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

import orjson

from clipalign.output.records import Column, Kind, Record, RecordView, is_error

SHARED: Final = (
    Column("error_type", Kind.TEXT),
    Column("error", Kind.TEXT),
    Column("hint", Kind.TEXT),
    Column("provenance", Kind.JSON),
)
"""Columns behind a view's own, the same for all commands."""

_FIELD: Final = rb'(?:[^",\r\n]*|"[^"]*(?:""[^"]*)*")'
_BEGINNING: Final = re.compile(rb"(?:%s,)*(?:[^\",\r\n]*|\"[^\"]*(?:\"\"[^\"]*)*\"?)" % _FIELD)
"""What the beginning of a row looks like, wherever it was torn off."""

csv.field_size_limit(2**31 - 1)  # the words of a long text make a long cell


def columns_of(view: RecordView) -> tuple[Column, ...]:
    """All columns of a view's CSV."""
    return (*view.columns, *SHARED)


def header(view: RecordView) -> bytes:
    """The first line."""
    return _line([column.name for column in columns_of(view)])


def row(view: RecordView, record: Mapping[str, Any]) -> bytes:
    """A record's line; line feeds inside a text stay, in quotes."""
    shown = dict(record)
    if is_error(record):
        error = record["error"]
        shown |= {"error_type": error.get("type"), "error": error.get("message"), "hint": error.get("hint")}
    return _line([_cell(shown.get(column.name), column.kind) for column in columns_of(view)])


def rows(stream: BinaryIO) -> Iterator[bytes]:
    """The whole rows from here on, header included, each with its line feed; a last one that is torn is left out."""
    held: list[bytes] = []
    quotes = 0
    for line in stream:
        held.append(line)
        quotes += line.count(b'"')
        if quotes % 2 == 0 and line.endswith(b"\n"):
            yield b"".join(held)
            held, quotes = [], 0


def is_beginning(rest: bytes) -> bool:
    """Whether ``rest`` can be the beginning of one row; False for rows that a stray quote has swallowed."""
    return _BEGINNING.fullmatch(rest) is not None


def record_of(view: RecordView, line: bytes) -> Record:
    """A row as a record with the keys its columns hold; empty cells are left out, except texts.

    Raises:
        ValueError: it is no row of this view.
    """
    columns = columns_of(view)
    try:
        found = list(csv.reader(io.StringIO(line.decode("utf-8"), newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if len(found) != 1 or len(found[0]) != len(columns):
        raise ValueError(f"{len(found[0]) if found else 0} cells instead of {len(columns)}")
    record: Record = {}
    for column, cell in zip(columns, found[0], strict=True):
        if cell or (column in view.columns and column.kind is Kind.TEXT):
            record[column.name] = _value(cell, column)
    if error_type := record.pop("error_type", None):
        message, hint = record.pop("error", ""), record.pop("hint", None)
        record["error"] = {"type": error_type, "message": message, "hint": hint}
    return record


def _cell(value: object, kind: Kind) -> str:
    if value is None:
        return ""
    if kind is Kind.JSON:
        return orjson.dumps(value).decode("utf-8")
    if kind is Kind.TRUTH:
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _value(cell: str, column: Column) -> object:
    if column.kind is Kind.NUMBER:
        return float(cell)
    if column.kind is Kind.WHOLE:
        return int(cell)
    if column.kind is Kind.TRUTH:
        if cell not in ("true", "false"):
            raise ValueError(f"{column.name} is {cell!r}")
        return cell == "true"
    return orjson.loads(cell) if column.kind is Kind.JSON else cell


def _line(cells: list[str]) -> bytes:
    return (",".join(_quoted(cell) for cell in cells) + "\n").encode("utf-8")


def _quoted(cell: str) -> str:
    if any(character in cell for character in '",\r\n'):
        return '"' + cell.replace('"', '""') + '"'
    return cell
