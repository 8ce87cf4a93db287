"""The elements of a JSON array one after another, so that a long array needs no more memory than a short one."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any, BinaryIO, Final, NamedTuple, NoReturn

from clipalign.errors import InputUnreadable
from clipalign.inputs.files import pass_over

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
        text.fail("is no JSON array", "put the objects in [ ]; an object a line is JSON lines, named .jsonl")
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
    raise ValueError(f"{constant} is no JSON number")
