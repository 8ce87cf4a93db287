"""Many records in each format: line by line as they come, or as a whole from a book of them."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from clipalign.report import csv, github
from clipalign.report.json import line_of
from clipalign.report.json import many as json_of_many
from clipalign.report.records import Book, Entry, RecordView, is_error
from clipalign.report.summary import summary_lines

if TYPE_CHECKING:
    from rich.text import Text

STREAMED = ("jsonl", "csv", "table", "github")
"""Formats that can be written as records come; the others need all of them."""


def beginning(format: str, view: RecordView) -> bytes:
    """What a stream of records begins with."""
    return csv.header(view) if format == "csv" else b""


def piece(format: str, view: RecordView, entry: Entry, *, to_file: bool = False) -> bytes:
    """One record of a streamed format; empty where there is nothing to say.

    Args:
        format: one of :data:`STREAMED`.
        view: of the command.
        entry: a record.
        to_file: whether a table is written where no colour belongs.
    """
    if format == "jsonl":
        return line_of(entry.record)
    if format == "csv":
        return csv.row(view, entry.record)
    if format == "github":
        return github.annotation(view, entry).encode("utf-8")
    return _printed([_line(view, entry)], to_file=to_file)


def ending(format: str, view: RecordView, summary: Mapping[str, Any], *, to_file: bool = False) -> bytes:
    """What a stream of records ends with: a table's summary."""
    if format != "table":
        return b""
    from rich.text import Text

    lines = [Text(""), *(Text(_visible(line), overflow="fold") for line in summary_lines(view, summary))]
    return _printed(lines, to_file=to_file)


def whole(
    format: str, view: RecordView, book: Book, *, summary: Mapping[str, Any], provenance: Mapping[str, Any]
) -> Iterator[bytes]:
    """All records as one document, in pieces.

    Args:
        format: ``json``, ``html``, or a streamed one, then as for a file.
        view: of the command.
        book: the records.
        summary: of :meth:`clipalign.report.tally.Tally.summary`.
        provenance: of the run.
    """
    if format == "json":
        yield from json_of_many((entry.record for _, entry in book.read()), summary)
    elif format == "html":
        from clipalign.report.html.page import page

        for part in page(view, book, summary=summary, provenance=provenance):
            yield part.encode("utf-8")
    else:
        yield beginning(format, view)
        for _, entry in book.read():
            yield piece(format, view, entry, to_file=True)
        yield ending(format, view, summary, to_file=True)


def _line(view: RecordView, entry: Entry) -> Text:
    if not is_error(entry.record):
        return view.line(entry.record)
    from rich.text import Text

    text = Text("! unreadable  ", style="bold yellow")
    text.append(_visible(str(entry.record["id"])) + "  ", style="dim")
    return text.append(_visible(str(entry.record["error"].get("message", ""))))


def _visible(text: str) -> str:
    from clipalign.report.console import visible

    return visible(text)


def _printed(lines: Iterable[Text], *, to_file: bool) -> bytes:
    from clipalign.report.console import width
    from clipalign.report.layout import printed

    kept = []
    for line in lines:
        if line.overflow != "fold":
            line.truncate(width(), overflow="ellipsis")
        kept.append(line)
    encoding = "utf-8" if to_file else getattr(sys.stdout, "encoding", None) or "utf-8"
    return printed(kept, plain=to_file).encode(encoding, "backslashreplace")
