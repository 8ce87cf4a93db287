"""Files as lines: unzipped where they are, without a byte-order mark, and never a line that fills the memory.

A line is what ends with a line feed; a carriage return before it is not part of it, and one between two objects of JSON
ends a line too. Blank lines are passed over, and counted for the line numbers that errors name.

Standard input may be written while it is read: a program that writes one record and waits for the answer would wait
forever if records were collected first. :class:`LiveLines` says whether the next line is there; where a platform
cannot tell, no line is late.
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

from clipalign.data.sources import STDIN
from clipalign.errors import InputUnreadable

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

MAX_LINE_BYTES: Final = 16_000_000
"""Longest line that is read; a record takes some hundred bytes, so a longer line is a file of another kind."""

MAX_PASSED_BYTES: Final = 256_000_000
"""Most that is passed over in search of the next record, in a line without an end or in blank ones."""

BLANK_BYTES: Final = 256
"""What a blank line counts for: each takes time, however short it is."""

BREAKS: Final = (OSError, EOFError, zlib.error)
"""What reading may end with in the middle of a file: a disk that fails, an archive that is cut short."""

_BARE_RETURN: Final = re.compile(rb"(?<=\})[ \t]*\r\s*(?=\{)")
"""A line end of old systems between two objects; elsewhere JSON may have it for white space."""

_UTF8_MARK: Final = b"\xef\xbb\xbf"
_UTF16_MARKS: Final = (b"\xff\xfe", b"\xfe\xff")
_NO_TEXT: Final = " is UTF-16 or no text at all"


class Line(NamedTuple):
    """One line that is not blank.

    Attributes:
        number: in the file, from 1 on.
        content: without its end and white space around it; empty where the line is too long.
        too_long: whether it is longer than :data:`MAX_LINE_BYTES`.
    """

    number: int
    content: bytes
    too_long: bool = False


@contextmanager
def opened(name: str) -> Iterator[BinaryIO]:
    """The bytes of a file, or of standard input for ``-``, behind a byte-order mark if there is one.

    Raises:
        InputUnreadable: it cannot be opened, is UTF-16, or is named ``.gz`` and is not a gzip file.
    """
    if name == STDIN:
        yield sys.stdin.buffer
        return
    try:
        stream = _open(Path(name))
    except FileNotFoundError as error:
        raise InputUnreadable(f"there is no input {name}", hint="check the path", input=name) from error
    except OSError as error:
        raise InputUnreadable(f"{name} cannot be read: {error.strerror or error}", input=name) from error
    with stream:
        if stream.seekable():
            _pass_mark(stream, name)
        yield stream


def _open(path: Path) -> BinaryIO:
    if path.suffix.lower() == ".gz":
        return cast(BinaryIO, gzip.open(path.expanduser(), "rb"))
    return path.expanduser().open("rb")


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
    """What gives a line at a time: files, and :class:`LiveLines`."""

    def readline(self, size: int, /) -> bytes:
        """The next line with its end, at most ``size`` bytes of it; empty at the end."""
        ...


def lines_of(stream: Lines) -> Iterator[Line]:
    """The lines of ``stream`` that are not blank.

    Raises:
        InputUnreadable: the first is no text, or the next one does not come; the message lacks the file's name.
        OSError, EOFError, zlib.error: reading breaks off.
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
    """Bytes passed over in search of the next record, with ``size`` more.

    Raises:
        InputUnreadable: they are too many; the message lacks the file's name.
    """
    if passed > MAX_PASSED_BYTES:
        raise InputUnreadable(f":{line} is followed by too much data without a record", hint="what follows is not read")
    return passed + size


def _is_no_text(beginning: bytes) -> bool:
    return beginning.startswith(_UTF16_MARKS) or b"\0" in beginning


def broken_off(name: str, error: BaseException) -> InputUnreadable:
    """What is said where reading ends before the file does."""
    why = getattr(error, "strerror", None) or str(error)
    return InputUnreadable(
        f"{name} breaks off: {why}", hint="what stands before it was read; is the file complete?", input=name
    )


def named(name: str, error: InputUnreadable) -> InputUnreadable:
    """``error`` with the name of the file that its message lacks."""
    error.message, error.input = f"{name}{error.message}", name
    error.args = (error.message,)
    return error


class _Read(Protocol[T_co]):
    def __call__(self, stream: Any, /) -> Iterator[T_co]: ...


def whole_file(name: str, read: _Read[T]) -> Iterator[T | InputUnreadable]:
    """What ``read`` finds in a file; where reading breaks off, why, as the last item."""
    with opened(name) as stream:
        try:
            yield from read(stream)
        except BREAKS as error:
            yield broken_off(name, error)
        except InputUnreadable as error:
            yield named(name, error)


GRACE_SECONDS: Final = 0.05
"""How long a line may take before what is there is scored without it."""

_PIECE_BYTES: Final = 1 << 16


class LiveLines:
    """The bytes of a pipe, read as they come.

    Attributes:
        stream: read with ``read1`` where it has that, which leaves nothing in a buffer that ``select`` does not see;
            what has no file number, as in tests, is never late.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self.stream = stream
        self._held = bytearray()
        self._ended = False

    def late(self) -> bool:
        """Whether :meth:`readline` would have to wait for the next line that is not blank."""
        while not self._ended and not self._holds_line():
            if not self._ready():
                return True
            self._read()
        return False

    def readline(self, size: int) -> bytes:
        """The next line with its end, at most ``size`` bytes of it; empty at the end."""
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
