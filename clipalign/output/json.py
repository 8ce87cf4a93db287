"""Results as JSON and JSON lines: the records of the command line and of ``result.json``.

A record holds finite numbers only: others are refused rather than turned into ``null``. Text that UTF-8 cannot carry is
written out, and what JSON has no type for, such as a path, becomes text.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

import orjson

from clipalign.output.console import stdout_is_terminal
from clipalign.output.formats import Writer

if TYPE_CHECKING:
    from clipalign.output.records import Entry, RecordFormatter, RecordStore


class JsonLinesWriter(Writer):
    """A record a line."""

    def entry(self, formatter: RecordFormatter, entry: Entry, *, to_file: bool = False) -> bytes:
        """Return the record's line."""
        return line_of(entry.record)


class JsonWriter(JsonLinesWriter):
    """One document: the record of a single result, or many ``results`` and their ``summary``, a record a line."""

    def document(
        self,
        formatter: RecordFormatter,
        store: RecordStore,
        *,
        summary: Mapping[str, Any],
        provenance: Mapping[str, Any],
    ) -> Iterator[bytes]:
        """Yield the document of many in pieces."""
        yield b'{"results":['
        for number, (_, entry) in enumerate(store.read()):
            yield (b",\n" if number else b"\n") + line_of(entry.record).rstrip(b"\n")
        yield b'\n],"summary":' + line_of(summary).rstrip(b"\n") + b"}\n"

    def results(self, formatter: RecordFormatter, entries: list[Entry]) -> str | bytes:
        """Return the results of one command line."""
        if len(entries) == 1:
            return line_of(entries[0].record, indent=stdout_is_terminal())
        return super().results(formatter, entries)


def encode(record: object, *, indent: bool = False) -> bytes:
    """Return a record as UTF-8 JSON and a final newline.

    Raises:
        ValueError: a number that JSON has no sign for (an infinity, not-a-number).
    """
    return line_of(plain(record), indent=indent)


def line_of(record: Mapping[str, Any], *, indent: bool = False) -> bytes:
    """Return a record of plain types as UTF-8 JSON and a final newline."""
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if indent else 0))


def plain(record: object) -> dict[str, Any]:
    """Return a record, a mapping or a dataclass, in JSON's own types, as it will be read back.

    Raises:
        ValueError: a number that JSON has no sign for, with its place.
    """
    found: dict[str, Any] = _plain(record, "record")
    return found


def _plain(value: object, place: str) -> Any:
    if isinstance(value, str):
        return plain_text(value)
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{place} is {value}, which JSON cannot hold")
        return value
    if isinstance(value, Mapping):
        return {str(key): _plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item, f"{place}[{index}]") for index, item in enumerate(value)]
    if is_dataclass(value) and not isinstance(value, type):
        return {name: _plain(getattr(value, name), f"{place}.{name}") for name in _field_names(type(value))}
    return str(value)


@cache
def _field_names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


def plain_text(text: str) -> str:
    """Return ``text`` as UTF-8 can carry it: half a surrogate pair, as in file names that are no UTF-8, written out."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return text
