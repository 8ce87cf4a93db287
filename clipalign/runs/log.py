"""A log of records: appended as they are finished, repaired after a kill, read back by the run that goes on with it.

A record is in the log when its last byte, a line feed, is. What stands behind the last such byte was torn off by a kill
or a full disk, and is cut off before the next record is appended. :func:`first_difference` says whether what an earlier
run was asked is what this one is asked.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, Generic, NamedTuple, TypeVar

import orjson

from clipalign.errors import UsageError
from clipalign.files import sync_file, write_failed
from clipalign.output.json import encode

T = TypeVar("T")

RECORD_ERRORS: Final = (ValueError, KeyError, TypeError)
"""What decoding raises for bytes that are no record."""

_NOT_SET: Final = object()


@dataclass(frozen=True, slots=True)
class LogFormat(Generic[T]):
    """How records lie in a file, a line each.

    Attributes:
        encode: a record as bytes that end with a line feed.
        decode: the other way; raises one of :data:`RECORD_ERRORS`.
    """

    encode: Callable[[T], bytes]
    decode: Callable[[bytes], T]


def json_object(data: bytes) -> dict[str, Any]:
    """Decode a JSON object.

    Raises:
        ValueError: it is none.
    """
    value = orjson.loads(data)
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")
    return value


JSON_LINES: Final[LogFormat[dict[str, Any]]] = LogFormat(encode, json_object)


class Log(Generic[T]):
    """An open log.

    Args:
        stream: a regular file, opened unbuffered for reading and writing; closed by :meth:`close`.
        format: of its records.
        name: for messages.
        hint: what to do where it is damaged.
        kept: says, when it cannot be written, what is safe and how to go on; see :func:`write_failed`.

    Attributes:
        records: whole ones, read and appended so far.
        end: where the last of them ends, in bytes.
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
        """Yield every whole record with the place where it begins, from the first on.

        Raises:
            UsageError: the file holds something else.
        """
        self.end = self.records = 0
        with open(self._stream.fileno(), "rb", closefd=False) as reader:
            reader.seek(0)
            for line in reader:
                if not line.endswith(b"\n"):
                    return
                start = self.end
                try:
                    record = self._format.decode(line)
                except RECORD_ERRORS as error:
                    raise self._damaged(f"record {self.records + 1} cannot be read back, {error}") from error
                self.end += len(line)
                self.records += 1
                yield start, record

    def at(self, place: int) -> T:
        """The record that begins at ``place``."""
        self._stream.seek(place)
        with open(self._stream.fileno(), "rb", closefd=False) as reader:
            return self._format.decode(reader.readline())

    def repair(self) -> int:
        """Cut off a torn record behind the last one that :meth:`read` saw.

        Returns:
            The number of bytes that were cut off.

        Raises:
            UsageError: that is more than one torn record.
            OutputError: the file cannot be written.
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
        """Write records, all of them or none.

        Raises:
            OutputError: the disk is full, or gone; every earlier record is whole.
        """
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
        """Have the system put everything on the disk, which is when some file systems find it full.

        Raises:
            OutputError: it cannot.
        """
        try:
            sync_file(self._stream.fileno())
        except OSError as error:
            raise write_failed(self._name, error, kept=self._kept()) from error

    def close(self) -> None:
        """Close the file."""
        with contextlib.suppress(OSError):
            self._stream.close()

    def _damaged(self, what: str) -> UsageError:
        message = f"{self._name} is not what an earlier run left: {what}"
        return UsageError(message, hint=self._hint, input=self._name)


def open_log(
    path: Path, *, kept: str = "--resume goes on from there", hint: str = "--overwrite starts anew"
) -> Log[dict[str, Any]]:
    """A log of JSON objects, empty where the file was not there.

    Raises:
        OSError: it cannot be opened or made.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
    return Log(os.fdopen(handle, "r+b", buffering=0), JSON_LINES, name=str(path), hint=hint, kept=lambda: kept)


def write_all(stream: BinaryIO, data: bytes) -> None:
    """Write ``data`` to an unbuffered stream, which may take it in pieces.

    Raises:
        OSError: as the stream has it.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[stream.write(rest) or 0 :]


class Difference(NamedTuple):
    """Where an earlier run differs from this one.

    Attributes:
        name: of the setting, with dots where it is nested: ``versions.torch``.
        before: what it was.
        now: what it is.
    """

    name: str
    before: Any
    now: Any

    def __str__(self) -> str:
        return f"{self.name} was {_shown(self.before)}, now it is {_shown(self.now)}"


def first_difference(
    before: Mapping[str, Any], now: Mapping[str, Any], *, ignore: Collection[str] = (), inside: str = ""
) -> Difference | None:
    """The first thing that two runs differ in; None where they agree.

    Args:
        before: what an earlier run was asked, in JSON's types.
        now: what this run is asked, likewise.
        ignore: names that may differ.
        inside: the name of the object they are, for nested ones; ``settings`` is left out.
    """
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
