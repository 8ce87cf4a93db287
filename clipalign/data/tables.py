"""Tables of records a line: JSON lines, CSV and TSV, read as they are asked for.

If reading breaks off, the last row is an error, and the next input goes on.
"""

from __future__ import annotations

import csv
import io
import logging
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import orjson

from clipalign.data.lines import (
    BLANK_BYTES,
    BREAKS,
    MAX_LINE_BYTES,
    Line,
    LiveLines,
    broken_off,
    lines_of,
    named,
    opened,
    pass_over,
    whole_file,
)
from clipalign.data.records import Row, Source
from clipalign.data.sources import STDIN, is_file_name
from clipalign.errors import InputUnreadable

DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
OTHER_DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}
_ALSO_CSV: Final = (";", "|")


@dataclass(frozen=True, slots=True)
class JsonLines(Source):
    """A JSON object a line, from a file or a pipe; if ``live``, a program may wait for the answer to each line."""

    live: LiveLines | None = None

    @property
    def rewinds(self) -> bool:
        return self.name != STDIN and (not is_file_name(self.name) or self.path.is_file())

    def check(self) -> None:
        """Read the first record of a file; a pipe is checked when it is read."""
        if self.rewinds:
            Source.check(self)

    def count(self) -> int | None:
        return Source.count(self) if self.rewinds else None

    def rows(self) -> Iterator[Row]:
        lines = whole_file(self.name, lambda stream: lines_of(self.live or stream))
        for index, line in enumerate(lines):
            if isinstance(line, InputUnreadable):
                yield Row(line)
            else:
                yield Row(_with_file_name(self._value(line, first=index == 0), self.path), line.number)

    def _value(self, line: Line, *, first: bool) -> Any:
        at = f"{'standard input' if self.name == STDIN else self.name}:{line.number}"
        if line.too_long:
            return InputUnreadable(f"the line is longer than {MAX_LINE_BYTES // 1_000_000} MB", input=at)
        try:
            return orjson.loads(line.content)
        except orjson.JSONDecodeError as error:
            if first and line.content in (b"[", b"{"):
                hint = "is it one JSON document? then name it .json"
                raise InputUnreadable(f"{self.name} is not JSON lines", hint=hint, input=self.name) from error
            return InputUnreadable(f"not valid JSON: {error}", input=at)


def _with_file_name(row: Any, path: Path) -> Any:
    """Rename the picture's column of Hugging Face's ``metadata``."""
    named = path.name.startswith("metadata.") and isinstance(row, Mapping) and "image" not in row
    return {"image": row["file_name"], **row} if named and "file_name" in row else row


@dataclass(frozen=True, slots=True)
class TextTable(Source):
    """CSV or TSV with a header; only CSV has quotes, in which a field may hold line ends."""

    delimiter: str = ","

    def check(self) -> None:
        next(self.rows(), None)

    def rows(self) -> Iterator[Row]:
        rows = self._fields()
        first = next(rows, None)
        if first is None:
            raise InputUnreadable(f"{self.name} is empty", hint="its first line must name the columns", input=self.name)
        if isinstance(first.value, InputUnreadable):
            raise first.value
        header = [name.strip() for name in first.value]
        other = next((mark for mark in _ALSO_CSV if mark in header[0]), "") if len(header) == 1 else ""
        if other and self.delimiter == ",":  # as spreadsheets save it where the comma is the decimal point
            yield from replace(self, delimiter=other).rows()
            return
        self._check(header)
        said = self.delimiter != "\t"
        for row in rows:
            if not said and isinstance(row.value, list) and any(map(_is_quoted, row.value)):
                said = True
                log = logging.getLogger(__name__)
                log.warning("%s:%d: quotes around a field are part of it in TSV; CSV has others", self.name, row.line)
            yield row if isinstance(row.value, InputUnreadable) else Row(self._named(header, row), row.line)

    def _check(self, header: list[str]) -> None:
        twice = next((name for name in header if name and header.count(name) > 1), None)
        if twice is not None:
            raise InputUnreadable(f"{self.name} has two columns {twice}", hint="rename one", input=self.name)
        other = next((mark for mark in OTHER_DELIMITERS if mark != self.delimiter and mark in header[0]), None)
        if len(header) == 1 and other is not None:
            raise InputUnreadable(
                f"the columns of {self.name} are separated by {OTHER_DELIMITERS[other]}, "
                f"not by {OTHER_DELIMITERS[self.delimiter]}",
                hint="save it with commas, or with tabs as .tsv",
                input=self.name,
            )
        self.reader.check(_with_file_name(dict.fromkeys(header), self.path), self.name)

    def _named(self, header: list[str], row: Row) -> Any:
        if len(row.value) > len(header):
            extra = f"the row has {len(row.value)} fields for {len(header)} columns"
            hint = "put quotes around a text that holds the separator" if self.delimiter != "\t" else ""
            return InputUnreadable(extra, hint=hint, input=f"{self.name}:{row.line}")
        fields = dict.fromkeys(header) | dict(zip(header, row.value, strict=False))
        return _with_file_name(fields, self.path)

    def _fields(self) -> Iterator[Row]:
        """Yield the fields of the header and the nonblank rows, or why one cannot be read."""
        csv.field_size_limit(max(csv.field_size_limit(), MAX_LINE_BYTES))  # 131,072 as Python comes
        with opened(self.name) as stream:
            lines = _TextLines(io.TextIOWrapper(stream, encoding="utf-8", errors="surrogateescape", newline=""))
            passed = 0
            while True:
                try:
                    line, fields = lines.row(self.delimiter)
                    passed = 0 if fields else pass_over(BLANK_BYTES, passed, line)
                except csv.Error as error:
                    at = f"{self.name}:{lines.first}"
                    hint = 'is a quote not closed? put quotes around the text, and write each " in it twice'
                    yield Row(InputUnreadable(f"not valid CSV: {error}", hint=hint, input=at), lines.first)
                    continue
                except InputUnreadable as error:
                    yield Row(named(self.name, error), lines.first)
                    return
                except BREAKS as error:
                    yield Row(broken_off(self.name, error), lines.first)
                    return
                if fields is None:
                    return
                if fields:
                    yield Row(fields, line)


def _is_quoted(field: str) -> bool:
    return len(field) > 1 and field[0] == field[-1] == '"'


class _TextLines:
    """The lines of a table of text, and its rows; ``first`` is the number of the last row's first line.

    For an invalid row its first line is blamed, most often for an open quote: the lines after it are read again on
    their own. No line is read more than three times.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self._again: deque[str] = deque()
        self._next = 1
        self.first = 1

    def row(self, delimiter: str) -> tuple[int, list[str] | None]:
        """Return the next row and its line; no fields if blank, None at the end. Raise ``csv.Error`` if invalid."""
        self.first = self._next
        taken: list[str] = []
        alone = len(self._again) > 1
        lines = self._lines(taken, alone=alone)
        try:
            if delimiter == "\t":
                rows = csv.reader(lines, delimiter=delimiter, quoting=csv.QUOTE_NONE)
            else:
                rows = csv.reader(lines, delimiter=delimiter, strict=True)
            fields = next(rows, None)
        except csv.Error as error:
            self._again.extendleft(reversed(taken[1:]))
            self._next = self.first + 1
            if "unexpected end" in str(error):
                raise csv.Error("a quote is not closed") from error
            raise
        return self.first, [] if fields is not None and not any(field.strip() for field in fields) else fields

    def _lines(self, taken: list[str], *, alone: bool) -> Iterator[str]:
        bytes_left = MAX_LINE_BYTES
        while line := self._again.popleft() if self._again else self._stream.readline(MAX_LINE_BYTES):
            self._next += 1
            taken.append(line)
            bytes_left -= max(len(line), BLANK_BYTES)  # short lines are held too
            if not line.endswith(("\n", "\r")) and len(line) >= MAX_LINE_BYTES:
                passed = 0
                while (line := self._stream.readline(MAX_LINE_BYTES)) and not line.endswith(("\n", "\r")):
                    passed = pass_over(len(line), passed, self.first)
                bytes_left = -1
            if bytes_left < 0:
                raise csv.Error(f"a row is longer than {MAX_LINE_BYTES // 1_000_000} MB")
            yield line
            if alone:
                return
