"""A file that records are appended to, one at a time, and read back from: whatever ends the process, all are whole.

A record is in the file when its last byte, a line feed, is. What stands behind the last such byte was torn off by a
kill or a full disk, belongs to nobody and is cut off before the next record is appended.

Whether a run may go on with the records of an earlier one: same settings, same input, in the same order.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import orjson

from clipalign.errors import OutputError, UsageError
from clipalign.files import output_error
from clipalign.output import csv
from clipalign.output.json import line_of, plain_text
from clipalign.output.records import Entry, Record, RecordView

if TYPE_CHECKING:
    from clipalign.data.records import InputRecord


class Syntax(Protocol):
    """How entries lie in a file."""

    def head(self) -> bytes:
        """What an empty file begins with."""
        ...

    def encode(self, entry: Entry) -> bytes:
        """An entry, ended by a line feed."""
        ...

    def pieces(self, stream: BinaryIO) -> Iterator[bytes]:
        """The whole entries from here on, and the head where it stands first; what is torn is left out."""
        ...

    def decode(self, piece: bytes) -> Entry:
        """An entry.

        Raises:
            ValueError: it is none.
        """
        ...

    def is_beginning(self, rest: bytes) -> bool:
        """Whether ``rest`` can be the beginning of one entry, rather than several that were damaged."""
        ...


class _Lines:
    """What JSON's syntaxes share: an entry a line."""

    def head(self) -> bytes:
        return b""

    def pieces(self, stream: BinaryIO) -> Iterator[bytes]:
        return (line for line in stream if line.endswith(b"\n"))

    def is_beginning(self, rest: bytes) -> bool:
        return b"\n" not in rest


class JsonLines(_Lines):
    """A record a line, and nothing else."""

    def encode(self, entry: Entry) -> bytes:
        return line_of(entry.record)

    def decode(self, piece: bytes) -> Entry:
        return Entry(_object(orjson.loads(piece)))


class JournalLines(_Lines):
    """A whole entry a line."""

    def encode(self, entry: Entry) -> bytes:
        return line_of({"record": entry.record, "file": entry.file, "line": entry.line, "thumbnail": entry.thumbnail})

    def decode(self, piece: bytes) -> Entry:
        found = _object(orjson.loads(piece))
        return Entry(_object(found.get("record")), str(found["file"]), int(found["line"]), str(found["thumbnail"]))


@dataclass(frozen=True, slots=True)
class CsvLines:
    """Rows with the columns of a view; the header in the first share of a sharded run alone."""

    view: RecordView
    has_header: bool = True

    def head(self) -> bytes:
        return csv.header(self.view) if self.has_header else b""

    def encode(self, entry: Entry) -> bytes:
        return csv.row(self.view, entry.record)

    def pieces(self, stream: BinaryIO) -> Iterator[bytes]:
        return csv.rows(stream)

    def decode(self, piece: bytes) -> Entry:
        return Entry(csv.record_of(self.view, piece))

    def is_beginning(self, rest: bytes) -> bool:
        return csv.is_beginning(rest)


def _object(value: Any) -> Record:
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


class AppendedFile:
    """An open file of entries.

    Args:
        stream: a regular file, opened unbuffered for reading and writing; closed by :meth:`close`.
        syntax: how entries lie in it.
        name: for messages.

    Attributes:
        records: whole ones, read and appended so far.
    """

    def __init__(self, stream: BinaryIO, syntax: Syntax, *, name: str) -> None:
        self._stream = stream
        self._syntax = syntax
        self._name = name
        self._end = 0
        self.records = 0

    def read(self) -> Iterator[tuple[int, Entry]]:
        """Every whole entry with the place it begins at, from the first on.

        Raises:
            UsageError: the file holds something else than entries.
        """
        head = self._syntax.head()
        self._end = self.records = 0
        with open(self._stream.fileno(), "rb", closefd=False) as reader:
            reader.seek(0)
            for piece in self._syntax.pieces(reader):
                start, self._end = self._end, self._end + len(piece)
                if head and not start:
                    if piece != head:
                        raise self._damaged("it begins with other columns")
                    continue
                try:
                    entry = self._syntax.decode(piece)
                except (ValueError, KeyError, TypeError) as error:
                    raise self._damaged(f"record {self.records + 1} cannot be read back, {error}") from error
                self.records += 1
                yield start, entry

    def at(self, place: int) -> Entry:
        """The entry that begins at ``place``."""
        self._stream.seek(place)
        with open(self._stream.fileno(), "rb", closefd=False) as reader:
            return self._syntax.decode(next(self._syntax.pieces(reader)))

    def cut(self) -> int:
        """Cut off what stands behind the last whole entry :meth:`read` saw, and write the head where there is none.

        Returns:
            The number of bytes that were cut off.

        Raises:
            UsageError: that is more than one torn entry.
            OutputError: the file cannot be written.
        """
        size = self._stream.seek(0, os.SEEK_END)
        if torn := size - self._end:
            self._stream.seek(self._end)
            rest = self._stream.read(torn)
            if not self._syntax.is_beginning(rest.rstrip(b"\0")):  # a power failure leaves zeros
                raise self._damaged(f"what follows record {self.records} is more than a torn last line")
            self._stream.truncate(self._end)
        if not self._end and (head := self._syntax.head()):
            self._write(head)
        return torn

    def clear(self) -> None:
        """Forget everything in it."""
        self._stream.truncate(0)
        self._end = self.records = 0

    def append(self, entry: Entry) -> None:
        """Write one entry, all of it or nothing.

        Raises:
            OutputError: the disk is full, or gone; every earlier entry is whole.
        """
        self._write(self._syntax.encode(entry))
        self.records += 1

    def _write(self, data: bytes) -> None:
        whole = False
        try:
            self._stream.seek(self._end)
            write_all(self._stream, data)
            whole = True
        except OSError as error:
            raise self._failed(error) from error
        finally:  # also when interrupted
            if whole:
                self._end += len(data)
            else:
                with contextlib.suppress(OSError):
                    self._stream.truncate(self._end)

    def sync(self) -> None:
        """Have the operating system put everything on the disk, which is when some file systems find it full.

        Raises:
            OutputError: it cannot.
        """
        try:
            os.fsync(self._stream.fileno())
        except OSError as error:
            if error.errno not in (errno.EINVAL, errno.ENOTSUP):
                raise self._failed(error) from error

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._stream.close()

    def _failed(self, error: OSError) -> OutputError:
        return output_error(self._name, error)

    def _damaged(self, what: str) -> UsageError:
        return UsageError(
            f"{self._name} is not what an earlier run left: {what}",
            hint="give another --output, or --overwrite to begin anew",
            input=self._name,
        )


def write_all(stream: BinaryIO, data: bytes) -> None:
    """Write ``data`` to an unbuffered stream, which may take it in pieces.

    Raises:
        OSError: as the stream has it.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


_ABSENT = object()


def first_difference(there: Mapping[str, Any], here: Mapping[str, Any], *, inside: str = "") -> str:
    """The first thing two provenances disagree in, as a sentence; empty where they agree.

    Args:
        there: of an earlier run, as read back.
        here: of this run, in JSON's types.
        inside: the name of the object they are, for nested ones.
    """
    for key in [*here, *(key for key in there if key not in here)]:
        old, new = there.get(key, _ABSENT), here.get(key, _ABSENT)
        if old == new and isinstance(old, bool) == isinstance(new, bool):
            continue
        name = f"{inside}{key}"
        if isinstance(old, dict) and isinstance(new, dict):
            return first_difference(old, new, inside="" if key == "settings" else f"{key}.")
        return f"{name} is {_shown(old)} there and {_shown(new)} now"
    return ""


def record_difference(there: Mapping[str, Any], asked: InputRecord) -> str:
    """The first thing an old record and the input's record at its place disagree in; empty where they agree."""
    for key, value in (("id", asked.id), ("image", asked.image_name), ("text", asked.text)):
        if key in there and there[key] != plain_text(value):
            return f"{key} is {_shown(there[key])} there and {_shown(value)} in the input"
    return ""


def _shown(value: object) -> str:
    if value is _ABSENT:
        return "not set"
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
