"""Files as lines: unzipped where they are, without a byte-order mark, and never a line that fills the memory.

A line ends with a line feed, perhaps after a carriage return; between two JSON objects a carriage return alone ends it
too. Blank lines are skipped but counted in line numbers.

A program may write one record to standard input and wait for its answer: :class:`LiveLines` says whether the next line
is there. Where a platform cannot tell, no line is late.
"""

from __future__ import annotations

import gzip
import re
import select
import sys
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol, TypeVar, cast

from clipalign.data.sources import STDIN, is_file_name
from clipalign.errors import InputUnreadable

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MAX_LINE_BYTES: Final = 16_000_000

MAX_PASSED_BYTES: Final = 256_000_000
"""Bytes skipped in search of the next record, in a line without an end or in blank ones."""

BLANK_BYTES: Final = 256

BREAKS: Final = (OSError, EOFError, zlib.error)
"""What reading may raise in the middle of a file, as for a failing disk or a truncated archive."""

_BARE_RETURN: Final = re.compile(rb"(?<=\})[ \t]*\r\s*(?=\{)")
"""A line end of old systems between two objects; elsewhere it is white space in JSON."""

_UTF8_MARK: Final = b"\xef\xbb\xbf"
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_NO_TEXT: Final = " is UTF-16 or no text at all"


class Line(NamedTuple):
    """A nonblank line, numbered from 1 in the file; ``content`` is stripped, and empty if ``too_long``."""

    number: int
    content: bytes
    too_long: bool = False


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """Open a file, or standard input for ``-``, after a byte-order mark, if any.

    Raises:
        InputUnreadable: it cannot be opened, is UTF-16, or is named ``.gz`` and is not a gzip file.
    """
    if name == STDIN:
        yield sys.stdin.buffer
        return
    try:
        packed = open_bytes(name)
    except FileNotFoundError as error:
        raise InputUnreadable(f"there is no input {name}", hint="check the path", input=name) from error
    except OSError as error:
        raise InputUnreadable(f"{name} cannot be read: {error.strerror or error}", input=name) from error
    with packed, _unpacked(packed, name) as stream:
        if stream.seekable():
            _pass_mark(stream, name)
        yield stream


def open_bytes(name: str) -> BinaryIO:
    """Open a file, or what is at an address, as it is."""
    if is_file_name(name):
        return Path(name).expanduser().open("rb")
    from clipalign.data.remote import open_address

    return open_address(name)


def _unpacked(stream: BinaryIO, name: str) -> BinaryIO:
    return cast(BinaryIO, gzip.GzipFile(fileobj=stream)) if name.lower().endswith(".gz") else stream


def _pass_mark(stream: BinaryIO, name: str) -> None:
    try:
        beginning = stream.read(len(_UTF8_MARK))
    except gzip.BadGzipFile as error:
        raise InputUnreadable(f"{name} is not a gzip file", hint="take .gz off its name", input=name) from error
    except BREAKS as error:
        raise broken_off(name, error) from error
    if _is_no_text(beginning):
        raise InputUnreadable(f"{name}{_NO_TEXT}", hint="save it as UTF-8", input=name)
    stream.seek(len(_UTF8_MARK) if beginning == _UTF8_MARK else 0)


class Lines(Protocol):
    def readline(self, size: int, /) -> bytes:
        """Return at most ``size`` bytes of the next line with its end; empty at the end."""
        ...


def lines_of(stream: Lines) -> Iterator[Line]:
    """Yield the nonblank lines of ``stream``.

    ``InputUnreadable``, without the file's name, means no text or no further record in reach. An error of
    :data:`BREAKS` means that reading breaks off.
    """
    number = passed = 0
    while piece := stream.readline(MAX_LINE_BYTES + 1):
        number += 1
        if number == 1:
            piece = piece.removeprefix(_UTF8_MARK)  # of standard input
            if _is_no_text(piece[: len(_UTF8_MARK)]):
                raise InputUnreadable(_NO_TEXT, hint="save it as UTF-8")
        if len(piece) > MAX_LINE_BYTES and not piece.endswith(b"\n"):
            while (piece := stream.readline(MAX_LINE_BYTES)) and not piece.endswith(b"\n"):
                passed = pass_over(len(piece), passed, number)
            yield Line(number, b"", too_long=True)
            passed = 0
            continue
        content = piece.strip(b"\r\n\t ")
        if content:
            first, *others = _BARE_RETURN.split(content) if b"\r" in content else (content,)
            yield Line(number, first)
            for other in others:
                number += 1
                yield Line(number, other)
        passed = 0 if content else pass_over(max(len(piece), BLANK_BYTES), passed, number)


def pass_over(size: int, passed: int, line: int) -> int:
    """Add ``size`` to the bytes ``passed``; raise ``InputUnreadable``, without the file's name, if too many."""
    if passed > MAX_PASSED_BYTES:
        raise InputUnreadable(f":{line} is followed by too much data without a record", hint="what follows is not read")
    return passed + size


def _is_no_text(beginning: bytes) -> bool:
    return beginning.startswith(_UTF16_MARKS) or b"\0" in beginning


def broken_off(name: str, error: BaseException) -> InputUnreadable:
    why = getattr(error, "strerror", None) or str(error)
    return InputUnreadable(
        f"{name} breaks off: {why}", hint="what stands before it was read; is the file complete?", input=name
    )


def named(name: str, error: InputUnreadable) -> InputUnreadable:
    error.message, error.input = f"{name}{error.message}", name
    error.args = (error.message,)
    return error


class _Read(Protocol[T_co]):
    def __call__(self, stream: Any, /) -> Iterator[T_co]: ...


def whole_file(name: str, read: _Read[T]) -> Iterator[T | InputUnreadable]:
    """Yield what ``read`` finds in a file, and an error as the last item if reading breaks off."""
    with opened(name) as stream:
        try:
            yield from read(stream)
        except BREAKS as error:
            yield broken_off(name, error)
        except InputUnreadable as error:
            yield named(name, error)


def unbroken(name: str, read: _Read[T]) -> Iterator[T]:
    """Yield as :func:`whole_file`; raise the error if reading breaks off."""
    for item in whole_file(name, read):
        if isinstance(item, InputUnreadable):
            raise item
        yield item


GRACE_SECONDS: Final = 0.05
"""Time for a line to arrive before the records present are scored without it."""

_PIECE_BYTES: Final = 1 << 16


class LiveLines:
    """The bytes of a pipe, read as they arrive.

    ``stream`` is read with ``read1`` if possible, which leaves no buffer that ``select`` cannot see; without a file
    number, as in tests, it is never late.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self._held = bytearray()
        self._ended = False

    def late(self) -> bool:
        """Return whether :meth:`readline` would wait for the next nonblank line."""
        while not self._ended and not self._holds_line():
            if not self._ready():
                return True
            self._read()
        return False

    def readline(self, size: int) -> bytes:
        searched = 0
        while not self._ended and len(self._held) < size:
            if self._held.find(b"\n", searched) >= 0:
                break
            searched = len(self._held)
            self._read()
        end = self._held.find(b"\n", 0, size)
        line = bytes(self._held[: size if end < 0 else end + 1])
        del self._held[: len(line)]
        return line

    def _holds_line(self) -> bool:
        end = self._held.rfind(b"\n")
        return end >= 0 and bool(self._held[:end].strip())

    def _ready(self) -> bool:
        try:
            return bool(select.select([self.stream], [], [], GRACE_SECONDS)[0])
        except (OSError, ValueError):  # no file number; Windows waits for sockets alone
            return True

    def _read(self) -> None:
        read = getattr(self.stream, "read1", self.stream.read)
        piece = read(_PIECE_BYTES)
        self._ended = not piece
        self._held += piece
