"""The output formats: what is particular about each, and what writes it.

A new format is a row of :data:`FORMATS` with its writer, and its name in :data:`clipalign.config.groups.FORMATS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

if TYPE_CHECKING:
    from clipalign.output.records import Entry, RecordFormatter, RecordStore

Fields: TypeAlias = Mapping[str, Any]


class Format(NamedTuple):
    """One output format.

    Attributes:
        writer: module and class, imported on use.
        endings: of output files; hints suggest the first.
        verbatim: texts are unchanged; escaped on a terminal only.
        binary: nothing that a terminal could show.
        streamed: it can be written record by record.
        appended: a file of it grows record by record, so that a run can resume.
        joined: its files can be concatenated, so that it may be written in shards.
        provenance_beside: the provenance goes into a second file.
        has_summary: it holds the summary of the run.
        shows_errors: it shows which records could not be scored.
        has_pictures: it shows the pictures, so that their names are needed.
        has_originals: it repeats the rows of the input with their pictures.
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
    """Write records in one format; the defaults suit a stream of independent records.

    ``has_header``: it begins with one, which only the first of several joined shards has.
    """

    has_header = True

    def header(self, formatter: RecordFormatter) -> bytes:
        """Return what precedes the records."""
        return b""

    def entry(self, formatter: RecordFormatter, entry: Entry, *, to_file: bool = False) -> bytes:
        """Return one record, perhaps empty; ``to_file``: into a file, without color."""
        raise NotImplementedError

    def footer(self, formatter: RecordFormatter, summary: Fields, *, to_file: bool = False) -> bytes:
        """Return what follows the records."""
        return b""

    def document(
        self, formatter: RecordFormatter, store: RecordStore, *, summary: Fields, provenance: Fields
    ) -> Iterator[bytes]:
        """Yield all records as one document, in pieces; ``provenance`` is that of the run."""
        yield self.header(formatter)
        for _, entry in store.read():
            yield self.entry(formatter, entry, to_file=True)
        yield self.footer(formatter, summary, to_file=True)

    def results(self, formatter: RecordFormatter, entries: list[Entry]) -> str | bytes:
        """Return the results of one command line, at least one; text if stdout's encoding decides."""
        from clipalign.output.records import EntryList

        tally = formatter.tally()
        for entry in entries:
            tally.add(entry.record)
        provenance = entries[0].record.get("provenance") or {}
        return b"".join(self.document(formatter, EntryList(entries), summary=tally.summary(), provenance=provenance))


def writer_of(format: str) -> Writer:
    module, _, name = FORMATS[format].writer.partition(":")
    writer: Writer = getattr(import_module(module), name)()
    return writer
