"""Records as CSV (RFC 4180, UTF-8, lines ended by a line feed), and back.

A row has the formatter's columns, then ``error_type``, ``error``, ``hint`` and the run's ``provenance`` as JSON; that
is all a later run needs to know whether it may go on. Numbers are written so that they read back exactly. Texts are not
changed: a spreadsheet may take one that begins with ``=`` for a formula.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterator, Mapping
from typing import Any, BinaryIO, Final

import orjson

from clipalign.output.formats import Writer
from clipalign.output.records import Entry, Record, RecordFormatter, is_error

SHARED: Final[dict[str, type]] = {"error_type": str, "error": str, "hint": str, "provenance": dict}
"""Columns behind a formatter's own, the same for all commands."""

_FIELD: Final = rb'(?:[^",\r\n]*|"[^"]*(?:""[^"]*)*")'
_BEGINNING: Final = re.compile(rb"(?:%s,)*(?:[^\",\r\n]*|\"[^\"]*(?:\"\"[^\"]*)*\"?)" % _FIELD)
"""A prefix of a row, wherever it was torn off."""

csv.field_size_limit(2**31 - 1)  # the words of a long text make a long cell


class CsvWriter(Writer):
    """A header, and a row a record."""

    def header(self, formatter: RecordFormatter) -> bytes:
        """Return the first line."""
        return header(formatter)

    def entry(self, formatter: RecordFormatter, entry: Entry, *, to_file: bool = False) -> bytes:
        """Return the record's row."""
        return row(formatter, entry.record)


def header(formatter: RecordFormatter) -> bytes:
    """Return the first line."""
    return _line([*formatter.columns, *SHARED])


def row(formatter: RecordFormatter, record: Mapping[str, Any]) -> bytes:
    """Return a record's row; line feeds inside a text stay, in quotes."""
    shown = dict(record)
    if is_error(record):
        error = record["error"]
        shown |= {"error_type": error.get("type"), "error": error.get("message"), "hint": error.get("hint")}
    return _line([_cell(shown.get(name), kind) for name, kind in (formatter.columns | SHARED).items()])


def rows(stream: BinaryIO) -> Iterator[bytes]:
    """Yield the whole rows from here on, header included, with their line feeds; a torn last one is left out."""
    held: list[bytes] = []
    quotes = 0
    for line in stream:
        held.append(line)
        quotes += line.count(b'"')
        if quotes % 2 == 0 and line.endswith(b"\n"):
            yield b"".join(held)
            held, quotes = [], 0


def is_beginning(rest: bytes) -> bool:
    """Say whether ``rest`` can be the beginning of one row; False for rows that a stray quote has swallowed."""
    return _BEGINNING.fullmatch(rest) is not None


def record_of(formatter: RecordFormatter, line: bytes) -> Record:
    """Return a row as a record with the keys its columns hold; empty cells are left out, except texts.

    Raises:
        ValueError: it is no row of this formatter.
    """
    columns = formatter.columns | SHARED
    try:
        found = list(csv.reader(io.StringIO(line.decode("utf-8"), newline=""), strict=True))
    except csv.Error as error:
        raise ValueError(str(error)) from error
    if len(found) != 1 or len(found[0]) != len(columns):
        raise ValueError(f"{len(found[0]) if found else 0} cells instead of {len(columns)}")
    record: Record = {}
    for (name, kind), cell in zip(columns.items(), found[0], strict=True):
        if cell or (kind is str and name not in SHARED):
            record[name] = _value(cell, name, kind)
    if error_type := record.pop("error_type", None):
        message, hint = record.pop("error", ""), record.pop("hint", None)
        record["error"] = {"type": error_type, "message": message, "hint": hint}
    return record


def _cell(value: object, kind: type) -> str:
    if value is None:
        return ""
    if kind in (list, dict):
        return orjson.dumps(value).decode("utf-8")
    if kind is bool:
        return "true" if value else "false"
    return repr(value) if isinstance(value, float) else str(value)


def _value(cell: str, name: str, kind: type) -> object:
    if kind in (list, dict):
        return orjson.loads(cell)
    if kind is bool:
        if cell not in ("true", "false"):
            raise ValueError(f"{name} is {cell!r}")
        return cell == "true"
    return kind(cell)


def _line(cells: list[str]) -> bytes:
    return (",".join(_quoted(cell) for cell in cells) + "\n").encode("utf-8")


def _quoted(cell: str) -> str:
    if any(character in cell for character in '",\r\n'):
        return '"' + cell.replace('"', '""') + '"'
    return cell
