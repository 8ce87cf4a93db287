"""Results as JSON and JSON lines: the records of the command line and of ``result.json``."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import orjson

from clipalign.output.console import stdout_is_terminal
from clipalign.output.formats import Fields, Writer
from clipalign.plain import plain

if TYPE_CHECKING:
    from clipalign.output.records import Entry, RecordFormatter, RecordStore


class JsonLinesWriter(Writer):
    def entry(self, formatter: RecordFormatter, entry: Entry, *, to_file: bool = False) -> bytes:
        return line_of(entry.record)


class GzipWriter(JsonLinesWriter):
    def document(
        self, formatter: RecordFormatter, store: RecordStore, *, summary: Fields, provenance: Fields
    ) -> Iterator[bytes]:
        packer = zlib.compressobj(wbits=31)
        for _, entry in store.read():
            yield packer.compress(line_of(entry.record))
        yield packer.flush()


class JsonWriter(JsonLinesWriter):
    """Write one document: the record of a single result, or many ``results`` and their ``summary``, a record a line."""

    def document(
        self, formatter: RecordFormatter, store: RecordStore, *, summary: Fields, provenance: Fields
    ) -> Iterator[bytes]:
        yield b'{"results":['
        for number, (_, entry) in enumerate(store.read()):
            yield (b",\n" if number else b"\n") + line_of(entry.record).rstrip(b"\n")
        yield b'\n],"summary":' + line_of(summary).rstrip(b"\n") + b"}\n"

    def results(self, formatter: RecordFormatter, entries: list[Entry]) -> str | bytes:
        if len(entries) == 1:
            return line_of(entries[0].record, indent=stdout_is_terminal())
        return super().results(formatter, entries)


def encode(record: object, *, indent: bool = False) -> bytes:
    """Return a record as UTF-8 JSON and a final newline; raise ``ValueError`` for infinity or NaN."""
    return line_of(plain(record), indent=indent)


def line_of(record: Mapping[str, Any], *, indent: bool = False) -> bytes:
    """Return a record of plain types as UTF-8 JSON and a final newline."""
    return orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE | (orjson.OPT_INDENT_2 if indent else 0))
