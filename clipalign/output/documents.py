"""Many records in each format: line by line as they come, or as a whole from a book of them.

One result, or the few of one command line, as a document in any format.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from clipalign.output import csv, github
from clipalign.output.console import stdout_is_terminal
from clipalign.output.json import line_of, plain
from clipalign.output.json import many as json_of_many
from clipalign.output.records import Book, Entry, RecordView, Tally, is_error, summary_lines

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
        summary: of :meth:`clipalign.output.records.Tally.summary`.
        provenance: of the run.
    """
    if format == "json":
        yield from json_of_many((entry.record for _, entry in book.read()), summary)
    elif format == "html":
        from clipalign.output.html.page import page

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
    from clipalign.output.console import visible

    return visible(text)


def _printed(lines: Iterable[Text], *, to_file: bool) -> bytes:
    from clipalign.output.console import width
    from clipalign.output.layout import printed

    kept = []
    for line in lines:
        if line.overflow != "fold":
            line.truncate(width(), overflow="ellipsis")
        kept.append(line)
    encoding = "utf-8" if to_file else getattr(sys.stdout, "encoding", None) or "utf-8"
    return printed(kept, plain=to_file).encode(encoding, "backslashreplace")


class FewEntries:
    """A book of entries in memory."""

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = entries

    def read(self) -> Iterator[tuple[int, Entry]]:
        yield from enumerate(self._entries)

    def at(self, place: int) -> Entry:
        return self._entries[place]


def document(
    view: RecordView,
    results: Sequence[Any],
    *,
    format: str,
    table: Callable[[], str],
    thumbnail: bytes | None = None,
) -> str | bytes:
    """The whole of what is written; text where stdout's encoding decides.

    Args:
        view: of the command.
        results: at least one, of one picture.
        format: one of ``settings.choices.FORMATS``.
        table: draws the results for the eye.
        thumbnail: a small WebP, JPEG or PNG of the picture, for ``html``.

    Raises:
        ValueError: a number that JSON cannot hold.
    """
    if format == "table":
        return table()
    records = [plain(view.record(result)) for result in results]
    if format == "json" and len(records) == 1:
        return line_of(records[0], indent=stdout_is_terminal())
    from clipalign.output.html.parts import data_address

    tally = Tally(view)
    for record in records:
        tally.add(record)
    entries = [Entry(record, thumbnail=data_address(thumbnail)) for record in records]
    provenance = records[0].get("provenance") or {}
    return b"".join(whole(format, view, FewEntries(entries), summary=tally.summary(), provenance=provenance))
