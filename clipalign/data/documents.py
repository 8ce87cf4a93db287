"""JSON documents of records, read as they are asked for: however large a file is, one record of it is held at a time.

They are arrays of objects, objects of them (``{id: {…}}``), captions by picture (``{"a.jpg": "a cup"}``), and COCO's
captions and results.
"""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Final, NamedTuple, NoReturn

import orjson

from clipalign.data.columns import COLUMNS
from clipalign.data.lines import Line, lines_of, pass_over, whole_file
from clipalign.data.records import Row, Source
from clipalign.errors import InputUnreadable

MAX_ELEMENT_CHARACTERS: Final = 16_000_000
MAX_PICTURES: Final = 5_000_000
"""Pictures in a COCO document that lists names apart from captions; they are held in memory."""

_COCO_KEYS: Final = frozenset(("info", "images", "licenses", "annotations", "type", "categories"))
_COCO_RESULT: Final = {"image_id", "caption"}

_PIECE_BYTES: Final = 1 << 17
_SPACE: Final = re.compile(r"[ \t\r\n]*")


class Element(NamedTuple):
    """An element of an array, or a member of an object with its ``key``; ``line`` counts from 1."""

    line: int
    value: Any
    key: str = ""


def elements_of(stream: BinaryIO) -> Iterator[Element]:
    """Yield the elements of the one array in ``stream``; ``InputUnreadable`` names the line, but not the file."""
    text = _Text(stream)
    if text.next_character() != "[":
        if not text.next_character():
            text.fail("is empty", "write [] where there are no records")
        text.fail("is not a JSON array", "put the objects in [ ]; an object a line is JSON lines, named .jsonl")
    yield from text.elements()
    text.end()


def rows_of(stream: BinaryIO) -> Iterator[Element]:
    """Yield the rows of an array, an object of rows, or a COCO document; raises as :func:`elements_of`."""
    text = _Text(stream)
    if text.next_character() != "{":
        text.beginning()
        yield from elements_of(stream)
        return
    for first in text.members():
        if first in _COCO_KEYS:
            text.beginning()
            yield from _rows_of_coco(stream)
            return
        break
    text.beginning()
    text = _Text(stream)
    for key in text.members():
        line, value = text.line, text.value()
        if key in COLUMNS and isinstance(value, str):
            text.fail("is one object, not a list of records", "put the objects in [ ], or one a line into a .jsonl")
        for one in value if isinstance(value, list) else [value]:  # several captions of one picture
            yield Element(line, one if isinstance(one, Mapping) else {"image": key, "text": one}, key)
    text.end()


def _rows_of_coco(stream: BinaryIO) -> Iterator[Element]:
    """Yield annotations with their pictures, wherever these are in the file; without any, the pictures."""
    pictures: dict[object, Any] = {}
    has_annotations = False
    text = _Text(stream)
    for key in text.members():
        if key == "images" and text.next_character() == "[":
            for element in text.elements():
                image = element.value if isinstance(element.value, Mapping) else {}
                pictures[_plain_key(image.get("id"))] = image.get("file_name")
                if len(pictures) > MAX_PICTURES:
                    text.fail(f"lists more than {MAX_PICTURES:,} images")
        else:
            has_annotations = has_annotations or key == "annotations"
            text.pass_value()
    text.beginning()
    text = _Text(stream)
    for key in text.members():
        if key != ("annotations" if has_annotations else "images") or text.next_character() != "[":
            text.pass_value()
            continue
        for element in text.elements():
            row = element.value
            if isinstance(row, Mapping):
                name = pictures.get(_plain_key(row.get("image_id"))) if has_annotations else row.get("file_name")
                caption = {"text": row["caption"]} if "caption" in row else {}
                row = {"image": name or row.get("image_id")} | caption | dict(row)
            yield Element(element.line, row)
    text.end()


def _plain_key(value: object) -> object:
    return value if isinstance(value, str | int) else None


class _Text:
    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self.start = stream.tell() if stream.seekable() else 0
        self.decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self.json = json.JSONDecoder(parse_constant=_refuse)
        self.held = ""
        self.at = 0
        self.line = 1
        self.ended = False

    def next_character(self) -> str:
        """Return the next one that is no white space; empty at the end."""
        passed = 0
        while True:
            end = _SPACE.match(self.held, self.at).end()  # type: ignore[union-attr]
            passed = pass_over(end - self.at, passed, self.line)
            self.skip(end - self.at)
            if self.at < len(self.held) or not self._more(_PIECE_BYTES):
                return self.held[self.at : self.at + 1]

    def beginning(self) -> None:
        """Rewind the stream for another reader."""
        self.stream.seek(self.start)

    def end(self) -> None:
        """Skip the bracket that closes the document, after which nothing may follow."""
        if self.next_character():
            self.fail("goes on after the document", "one file, one document")

    def elements(self) -> Iterator[Element]:
        self._open()
        if self.next_character() == "]":
            self.skip(1)
            return
        while True:
            self.next_character()
            yield Element(self.line, self.value())
            if self._closed("]"):
                return

    def members(self) -> Iterator[str]:
        """Yield the keys of the object here; each value must be read or skipped before the next."""
        self._open()
        if self.next_character() == "}":
            self.skip(1)
            return
        while True:
            if self.next_character() != '"':
                self.fail("is not valid JSON: a key is missing")
            key: str = self.value()
            if self.next_character() != ":":
                self.fail("is not valid JSON: a colon is missing")
            self.skip(1)
            self.next_character()
            yield key
            if self._closed("}"):
                return

    def pass_value(self) -> None:
        """Skip the value here, an array element by element."""
        if self.next_character() == "[":
            for _ in self.elements():
                pass
        else:
            self.value()

    def _open(self) -> None:
        self.next_character()
        self.skip(1)

    def _closed(self, bracket: str) -> bool:
        mark = self.next_character()
        if not mark:
            self.fail(f"is cut short: {bracket} is missing")
        if mark not in (bracket, ","):
            self.fail(f"is not valid JSON: a comma or {bracket} is missing")
        self.skip(1)
        return mark == bracket

    def skip(self, characters: int) -> None:
        self.line += self.held.count("\n", self.at, self.at + characters)
        self.at += characters

    def value(self) -> Any:
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
        """Read on, dropping what was consumed."""
        if self.ended:
            return False
        content = self.stream.read(size)
        self.ended = not content
        self.held = self.held[self.at :] + self.decoder.decode(content, final=self.ended)
        self.at = 0
        return not self.ended

    def fail(self, what: str, hint: str = "") -> NoReturn:
        raise InputUnreadable(f":{self.line} {what}", hint=hint)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not a JSON number")


@dataclass(frozen=True, slots=True)
class JsonDocument(Source):
    """One JSON array or object; see :func:`rows_of`."""

    def rows(self) -> Iterator[Row]:
        for index, element in enumerate(whole_file(self.name, rows_of)):
            if isinstance(element, InputUnreadable):
                if index == 0:
                    raise element
                yield Row(element)
                continue
            row = element.value
            if isinstance(row, Mapping):
                if set(row) == _COCO_RESULT:
                    row = {"image": row["image_id"], "text": row["caption"]}
                elif element.key and "id" not in row and "image" not in row:
                    row = {**row, "id": element.key}
            yield Row(row, element.line)


def is_json_lines(name: str) -> bool:
    """Return whether a file named ``.json`` holds an object a line."""
    lines = whole_file(name, lines_of)
    first, second = next(lines, None), next(lines, None)
    try:
        return isinstance(first, Line) and second is not None and isinstance(orjson.loads(first.content), dict)
    except orjson.JSONDecodeError:
        return False
