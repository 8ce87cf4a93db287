"""Tables of records: JSON lines, JSON arrays, CSV and TSV, each read as it is asked for, never as a whole.

Each is a :class:`clipalign.data.records.Source`. Where reading ends before the file does, the last record is one with a
problem, and whatever input comes next goes on.
"""

from __future__ import annotations

import codecs
import csv
import io
import itertools
import json
import re
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, NoReturn, Protocol, TypeVar

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
)
from clipalign.data.records import InputRecord, Place, RowReader, bad_record
from clipalign.data.sources import STDIN
from clipalign.errors import ClipalignError, InputUnreadable

MAX_ELEMENT_CHARACTERS: Final = 16_000_000
_PIECE_BYTES: Final = 1 << 17
_SPACE: Final = re.compile(r"[ \t\r\n]*")


class Element(NamedTuple):
    """One element of an array.

    Attributes:
        line: where it begins, from 1 on.
        value: as :mod:`json` reads it.
    """

    line: int
    value: Any


def elements_of(stream: BinaryIO) -> Iterator[Element]:
    """The elements of the one array that ``stream`` holds.

    Raises:
        InputUnreadable: it holds no array, or what is not JSON, with the line; the message lacks the file's name.
        OSError, EOFError, zlib.error: reading breaks off.
    """
    text = _Text(stream)
    if text.next_character() != "[":
        if not text.next_character():
            text.fail("is empty", "write [] where there are no records")
        text.fail("is not a JSON array", "put the objects in [ ]; an object a line is JSON lines, named .jsonl")
    text.skip(1)
    if text.next_character() == "]":
        text.skip(1)
    else:
        while True:
            text.next_character()
            yield Element(text.line, text.value())
            mark = text.next_character()
            if mark not in ("]", ","):
                text.fail("is not valid JSON: a comma or ] is missing" if mark else "is cut short: ] is missing")
            text.skip(1)
            if mark == "]":
                break
    if text.next_character():
        text.fail("goes on after the array", "one file, one array")


class _Text:
    """The part of a text that is being looked at."""

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.json = json.JSONDecoder(parse_constant=_refuse)
        self.held = ""
        self.at = 0
        self.line = 1
        self.ended = False

    def next_character(self) -> str:
        """The next one that is no white space; empty at the end."""
        passed = 0
        while True:
            end = _SPACE.match(self.held, self.at).end()  # type: ignore[union-attr]
            passed = pass_over(end - self.at, passed, self.line)
            self.skip(end - self.at)
            if self.at < len(self.held) or not self._more(_PIECE_BYTES):
                return self.held[self.at : self.at + 1]

    def skip(self, characters: int) -> None:
        """Pass over them."""
        self.line += self.held.count("\n", self.at, self.at + characters)
        self.at += characters

    def value(self) -> Any:
        """The value that begins here."""
        piece = _PIECE_BYTES
        while True:
            try:
                value, end = self.json.raw_decode(self.held, self.at)
            except RecursionError:
                self.fail("is nested too deeply; what follows is not read")
            except ValueError as error:
                why = getattr(error, "msg", str(error))
            else:
                if end < len(self.held) or self.ended:  # a number may go on
                    self.skip(end - self.at)
                    return value
                why = ""
            if len(self.held) - self.at > MAX_ELEMENT_CHARACTERS:
                self.fail(f"is not valid JSON: {why or 'a record is too long'}")
            if not self._more(piece) and why:
                self.fail(f"is not valid JSON: {why}")
            piece *= 2

    def _more(self, size: int) -> bool:
        """Read on, and let go of what was passed."""
        if self.ended:
            return False
        content = self.stream.read(size)
        self.ended = not content
        self.held = self.held[self.at :] + self.decoder.decode(content, final=self.ended)
        self.at = 0
        return not self.ended

    def fail(self, what: str, hint: str = "") -> NoReturn:
        """Say what is wrong, and on which line."""
        raise InputUnreadable(f":{self.line} {what}", hint=hint)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


T_co = TypeVar("T_co", covariant=True)
T = TypeVar("T")

DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
OTHER_DELIMITERS: Final = {";": "semicolons", "\t": "tabs", "|": "bars", ",": "commas"}


@dataclass(frozen=True, slots=True)
class JsonLines:
    """A JSON object a line, from a file, a pipe or standard input.

    Attributes:
        name: as the user named it; ``-`` for standard input.
        reader: of its rows.
        live: standard input, where a program may wait for the answer to each line.
    """

    name: str
    reader: RowReader
    live: LiveLines | None = None

    @property
    def rewinds(self) -> bool:
        """Whether it can be read twice."""
        return self.name != STDIN and Path(self.name).expanduser().is_file()

    def check(self) -> None:
        """Look at the first record of a file; of a pipe it is looked at when it is read."""
        if self.rewinds:
            next(self.records(0, 1, 0), None)

    def count(self) -> int | None:
        """Lines that are not blank; None for a pipe."""
        return sum(1 for _ in _whole(self.name, lines_of)) if self.rewinds else None

    def records(self, begin: int, end: int | None, offset: int) -> Iterator[InputRecord]:
        """See :class:`clipalign.data.records.Source`."""
        lines = _whole(self.name, lambda stream: lines_of(self.live or stream))
        for index, line in enumerate(itertools.islice(lines, end)):
            if index >= begin:
                place = Place(self.name, line.number if isinstance(line, Line) else 0, index + offset)
                yield self._record(line, place, first=index == 0)

    def _record(self, line: Line | InputUnreadable, place: Place, *, first: bool) -> InputRecord:
        if isinstance(line, InputUnreadable):
            return bad_record(place, line)
        if line.too_long:
            limit = MAX_LINE_BYTES // 1_000_000
            return bad_record(place, InputUnreadable(f"the line is longer than {limit} MB", input=str(place)))
        try:
            row = orjson.loads(line.content)
        except orjson.JSONDecodeError as error:
            if first and line.content in (b"[", b"{"):
                hint = "is it one JSON array? then name it .json"
                raise InputUnreadable(f"{self.name} is not JSON lines", hint=hint, input=self.name) from error
            return bad_record(place, InputUnreadable(f"not valid JSON: {error}", input=str(place)))
        if first and isinstance(row, Mapping):
            self.reader.check_first(row, self.name)
        return self.reader.record(row, place)


@dataclass(frozen=True, slots=True)
class JsonDocument:
    """One JSON array of objects.

    Attributes:
        name: as the user named it.
        reader: of its rows.
    """

    name: str
    reader: RowReader

    def check(self) -> None:
        """Look at the first record."""
        next(self.records(0, 1, 0), None)

    def count(self) -> int:
        """Elements of the array; reads all of it."""
        return sum(1 for _ in _whole(self.name, elements_of))

    def records(self, begin: int, end: int | None, offset: int) -> Iterator[InputRecord]:
        """See :class:`clipalign.data.records.Source`."""
        for index, element in enumerate(itertools.islice(_whole(self.name, elements_of), end)):
            if isinstance(element, InputUnreadable):
                if index == 0:
                    raise element
                yield bad_record(Place(self.name, 0, index + offset), element)
                continue
            if index == 0 and isinstance(element.value, Mapping):
                self.reader.check_first(element.value, self.name)
            if index >= begin:
                yield self.reader.record(element.value, Place(self.name, element.line, index + offset))


@dataclass(frozen=True, slots=True)
class TextTable:
    """CSV or TSV with a header; a field may be quoted, and hold line ends then.

    Attributes:
        name: as the user named it.
        reader: of its rows.
        delimiter: between fields.
    """

    name: str
    reader: RowReader
    delimiter: str

    def check(self) -> None:
        """Read the header."""
        next(self.records(0, 1, 0), None)

    def count(self) -> int:
        """Rows that are not blank, without the header; reads all of them."""
        return sum(1 for _ in self._rows()) - 1

    def records(self, begin: int, end: int | None, offset: int) -> Iterator[InputRecord]:
        """See :class:`clipalign.data.records.Source`."""
        rows = self._rows()
        first = next(rows, None)
        if first is None:
            raise InputUnreadable(f"{self.name} is empty", hint="its first line must name the columns", input=self.name)
        if isinstance(first.fields, ClipalignError):
            raise first.fields
        header = [name.strip() for name in first.fields]
        self._check(header)
        for index, row in enumerate(itertools.islice(rows, end)):
            if index >= begin:
                yield self._record(header, row, Place(self.name, row.line, index + offset))

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
        self.reader.check_header(header, self.name)

    def _record(self, header: list[str], row: _Row, place: Place) -> InputRecord:
        if isinstance(row.fields, ClipalignError):
            return bad_record(place, row.fields)
        if len(row.fields) > len(header):
            extra = f"the row has {len(row.fields)} fields for {len(header)} columns"
            hint = "put quotes around a text that holds the separator"
            return bad_record(place, InputUnreadable(extra, hint=hint, input=str(place)))
        fields: dict[str, Any] = dict.fromkeys(header) | dict(zip(header, row.fields, strict=False))
        return self.reader.record(fields, place)

    def _rows(self) -> Iterator[_Row]:
        """The header and the rows, or why one cannot be read; not the blank ones."""
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
                    yield _Row(lines.first, InputUnreadable(f"not valid CSV: {error}", hint=hint, input=at))
                    continue
                except InputUnreadable as error:
                    yield _Row(lines.first, named(self.name, error))
                    return
                except BREAKS as error:
                    yield _Row(lines.first, broken_off(self.name, error))
                    return
                if fields is None:
                    return
                if fields:
                    yield _Row(line, fields)


class _TextLines:
    """The lines of a table of text, and rows that are made of them.

    Where a row turns out to be none, it is its first line that is wrong, most often by a quote that is not closed: the
    lines behind it, which it has taken in, are read again, each by itself: no line is read more than three times.

    Attributes:
        first: the number of the line that the last row began with.
    """

    def __init__(self, stream: io.TextIOWrapper) -> None:
        self._stream = stream
        self._again: deque[str] = deque()
        self._next = 1
        self.first = 1

    def row(self, delimiter: str) -> tuple[int, list[str] | None]:
        """The next row and the number of its line; without fields where it is blank, None at the end.

        Raises:
            csv.Error: it is none.
            InputUnreadable: a line has no end; the message lacks the file's name.
        """
        self.first = self._next
        taken: list[str] = []
        alone = len(self._again) > 1
        try:
            fields = next(csv.reader(self._lines(taken, alone=alone), delimiter=delimiter, strict=True), None)
            if delimiter == "\t" and any("\t" in field and "\n" in field for field in fields or ()):
                raise csv.Error(f"a quote is closed {len(taken) - 1} lines below only, behind other columns")
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


@dataclass(frozen=True, slots=True)
class _Row:
    """Fields of a row of text, or why there are none."""

    line: int
    fields: list[str] | InputUnreadable


class _Read(Protocol[T_co]):
    def __call__(self, stream: Any, /) -> Iterator[T_co]: ...


def _whole(name: str, read: _Read[T]) -> Iterator[T | InputUnreadable]:
    """What ``read`` finds in a file; where reading breaks off, why, as the last item."""
    with opened(name) as stream:
        try:
            yield from read(stream)
        except BREAKS as error:
            yield broken_off(name, error)
        except InputUnreadable as error:
            yield named(name, error)
