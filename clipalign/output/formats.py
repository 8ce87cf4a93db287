"""The output formats: what is particular about each, and what writes it.

A new format is a row of :data:`FORMATS` with its writer, and its name in :data:`clipalign.config.groups.FORMATS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple

if TYPE_CHECKING:
    from clipalign.output.records import Entry, RecordFormatter, RecordStore


class Format(NamedTuple):
    """One output format.

    Attributes:
        writer: module and class that write it, imported when it is used.
        endings: of output files; the first is the one that hints suggest.
        verbatim: texts stand in it exactly as they were given; escaped on a terminal alone.
        streamed: it can be written record by record, as they come.
        appended: a file of it grows record by record, so that a later run can go on with it.
        joined: files of parts of an input can be put together, so that it may be written in shards.
        binary: it goes into a file, not to stdout.
        provenance_beside: its files have none, and get a second file with it.
        shows_errors: a person reads in it which records could not be scored.
        has_summary: it includes the summary of a run.
        has_pictures: it shows small pictures.
        has_originals: it holds the pictures as they were, which are read once more for it.
    """

    writer: str
    endings: tuple[str, ...] = ()
    verbatim: bool = False
    streamed: bool = True
    appended: bool = False
    joined: bool = False
    binary: bool = False
    provenance_beside: bool = False
    shows_errors: bool = False
    has_summary: bool = False
    has_pictures: bool = False
    has_originals: bool = False


FORMATS: Final = {
    "table": Format("clipalign.output.table:TableWriter", (".txt",), shows_errors=True, has_summary=True),
    "json": Format("clipalign.output.json:JsonWriter", (".json",), verbatim=True, streamed=False, has_summary=True),
    "jsonl": Format(
        "clipalign.output.json:JsonLinesWriter", (".jsonl", ".ndjson"), verbatim=True, appended=True, joined=True
    ),
    "jsonl.gz": Format("clipalign.output.json:GzipWriter", (".jsonl.gz",), streamed=False, joined=True, binary=True),
    "csv": Format("clipalign.output.csv:CsvWriter", (".csv",), verbatim=True, joined=True, provenance_beside=True),
    "parquet": Format(
        "clipalign.output.parquet:ParquetWriter", (".parquet",), streamed=False, joined=True, binary=True
    ),
    "tar": Format(
        "clipalign.output.tar:TarWriter", (".tar",), streamed=False, joined=True, binary=True, has_originals=True
    ),
    "html": Format(
        "clipalign.output.html:HtmlWriter", (".html", ".htm"), streamed=False, has_summary=True, has_pictures=True
    ),
    "github": Format("clipalign.output.github:GithubWriter", shows_errors=True),
}


class Writer:
    """Writes records in one format; what a subclass does not say holds for a stream of independent records.

    Attributes:
        has_header: whether it begins with one; of several shards that are put together only the first does.
    """

    has_header = True

    def header(self, formatter: RecordFormatter) -> bytes:
        """Return what a stream of records begins with."""
        return b""

    def entry(self, formatter: RecordFormatter, entry: Entry, *, to_file: bool = False) -> bytes:
        """Return one record; empty where there is nothing to say. ``to_file``: into a file, without color."""
        raise NotImplementedError

    def footer(self, formatter: RecordFormatter, summary: Mapping[str, Any], *, to_file: bool = False) -> bytes:
        """Return what a stream of records ends with."""
        return b""

    def document(
        self,
        formatter: RecordFormatter,
        store: RecordStore,
        *,
        summary: Mapping[str, Any],
        provenance: Mapping[str, Any],
    ) -> Iterator[bytes]:
        """Yield all records as one document, in pieces; ``provenance`` is that of the run."""
        yield self.header(formatter)
        for _, entry in store.read():
            yield self.entry(formatter, entry, to_file=True)
        yield self.footer(formatter, summary, to_file=True)

    def results(self, formatter: RecordFormatter, entries: list[Entry]) -> str | bytes:
        """Return the results of one command line, at least one; text where stdout's encoding decides."""
        from clipalign.output.records import EntryList, Tally

        tally = Tally(formatter)
        for entry in entries:
            tally.add(entry.record)
        provenance = entries[0].record.get("provenance") or {}
        return b"".join(self.document(formatter, EntryList(entries), summary=tally.summary(), provenance=provenance))


def writer_of(format: str) -> Writer:
    """Return the writer of one of :data:`FORMATS`."""
    module, _, name = FORMATS[format].writer.partition(":")
    writer: Writer = getattr(import_module(module), name)()
    return writer
