"""A log of records: appended as they are finished, repaired after a kill, read back by the run that goes on with it.

A record is complete when its last byte, a line feed, is written. Bytes after the last line feed come from a kill or a
full disk and are cut off before the next record. :func:`first_difference` compares an earlier run's request with this
one's.
"""

from __future__ import annotations

import base64
import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, NamedTuple, TypeVar

import orjson

from clipalign.errors import UsageError
from clipalign.files import sync_file, write_all, write_failed, writing
from clipalign.output.json import encode, line_of
from clipalign.output.records import Entry

T = TypeVar("T")

DECODE_ERRORS: Final = (ValueError, KeyError, TypeError)

_NOT_SET: Final = object()


@dataclass(frozen=True, slots=True)
class LogFormat(Generic[T]):
    """How records are encoded, a line each: ``encode`` adds the line feed, ``decode`` raises :data:`DECODE_ERRORS`."""

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]


def json_object(data: bytes) -> dict[str, Any]:
    value = orjson.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


def _entry_line(entry: Entry) -> bytes:
    return line_of(entry._asdict() | {"content": base64.b64encode(entry.content).decode()})


def _read_entry(line: bytes) -> Entry:
    found = json_object(line)
    if not isinstance(record := found.get("record"), dict):
        raise ValueError("not a JSON object")
    content = base64.b64decode(str(found["content"]))
    return Entry(record, str(found["file"]), int(found["line"]), str(found["thumbnail"]), content)


ENTRIES: Final = LogFormat(_entry_line, _read_entry)
"""Records with all that a format shows of them, until it is written in one step."""

JSON_LINES: Final[LogFormat[dict[str, Any]]] = LogFormat(encode, json_object)


class Log(Generic[T]):
    """A log in a regular file, opened unbuffered for reading and writing.

    Args:
        hint: what to do if it is damaged.
        kept: says, when it cannot be written, what is safe and how to resume; see :func:`write_failed`.

    Attributes:
        records: complete ones, read and appended so far.
        end: of the last of them, in bytes.
    """

    def __init__(
        self,
        stream: BinaryIO,
        format: LogFormat[T],
        *,
        name: str,
        hint: str = "give another --output, or --overwrite to begin anew",
        kept: Callable[[], str] = lambda: "",
    ) -> None:
        self._stream = stream
        self._format = format
        self._name = name
        self._hint = hint
        self._kept = kept
        self.records = 0
        self.end = 0

    def read(self) -> Iterator[tuple[int, T]]:
        """Yield every complete record with its offset; raise ``UsageError`` if the file holds something else."""
        self.end = self.records = 0
        with open(self._stream.fileno(), "rb", closefd=False) as reader:
            reader.seek(0)
            for line in reader:
                if not line.endswith(b"\n"):
                    return
                start = self.end
                try:
                    record = self._format.decode(line)
                except DECODE_ERRORS as error:
                    raise self._damaged(f"record {self.records + 1} cannot be read back, {error}") from error
                self.end += len(line)
                self.records += 1
                yield start, record

    def at(self, key: int) -> T:
        self._stream.seek(key)
        with open(self._stream.fileno(), "rb", closefd=False) as reader:
            return self._format.decode(reader.readline())

    def repair(self) -> int:
        """Cut off a torn record behind the last one that :meth:`read` saw; return the number of bytes.

        Raises ``UsageError`` if that is more than one torn record.
        """
        torn = self._stream.seek(0, os.SEEK_END) - self.end
        if torn:
            self._stream.seek(self.end)
            rest = self._stream.read(torn)
            if b"\n" in rest.rstrip(b"\0"):  # a power failure leaves zeros
                raise self._damaged(f"what follows record {self.records} is more than a torn last line")
            self._stream.truncate(self.end)
        return torn

    def keep(self, records: int, end: int) -> None:
        """Cut off everything behind the first ``records``, the last of which ends at ``end`` bytes."""
        self._stream.truncate(end)
        self.records, self.end = records, end

    def append(self, *records: T) -> None:
        """Write all records or none; after ``OutputError`` every earlier record is complete."""
        self._write(b"".join(map(self._format.encode, records)))
        self.records += len(records)

    def _write(self, data: bytes) -> None:
        whole = False
        try:
            self._stream.seek(self.end)
            write_all(self._stream, data)
            whole = True
        except OSError as error:
            raise write_failed(self._name, error, kept=self._kept()) from error
        finally:  # also when interrupted
            if whole:
                self.end += len(data)
            else:
                with contextlib.suppress(OSError):
                    self._stream.truncate(self.end)

    def sync(self) -> None:
        """Flush to the disk; some file systems report a full disk (``OutputError``) only here."""
        with writing(self._name, kept=self._kept):
            sync_file(self._stream.fileno())

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.close()

    def _damaged(self, what: str) -> UsageError:
        message = f"{self._name} is not what an earlier run left: {what}"
        return UsageError(message, hint=self._hint, input=self._name)


def open_log(
    path: Path, *, kept: str = "--resume goes on from there", hint: str = "--overwrite starts anew"
) -> Log[dict[str, Any]]:
    """Open a log of JSON objects, empty if the file is new."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    return Log(os.fdopen(handle, "r+b", buffering=0), JSON_LINES, name=str(path), hint=hint, kept=lambda: kept)


class Difference(NamedTuple):
    """The value of a setting (``versions.torch`` if nested) in an earlier run and now."""

    name: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.name} was {_shown(self.before)}, now it is {_shown(self.now)}"


def first_difference(
    before: Mapping[str, Any], now: Mapping[str, Any], *, ignore: Collection[str] = (), inside: str = ""
) -> Difference | None:
    """Return the first difference between two runs' requests, in JSON's types, or None; ``ignore`` names may differ."""
    for key in dict.fromkeys([*now, *before]):
        old, new = before.get(key, _NOT_SET), now.get(key, _NOT_SET)
        if key in ignore or (old == new and isinstance(old, bool) == isinstance(new, bool)):
            continue
        if not (isinstance(old, dict) and isinstance(new, dict)):
            return Difference(inside + key, old, new)
        if found := first_difference(old, new, ignore=ignore, inside="" if key == "settings" else f"{inside}{key}."):
            return found
    return None


def _shown(value: object) -> str:
    if value is _NOT_SET:
        return "not set"
    text = repr(value)
    return text if len(text) <= 60 else text[:59] + "…"
