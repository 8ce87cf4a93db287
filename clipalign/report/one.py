"""One result, or the few of one command line, as a document in any format."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

from clipalign.report import many
from clipalign.report.console import stdout_is_terminal
from clipalign.report.json import line_of, plain
from clipalign.report.records import Entry, RecordView
from clipalign.report.tally import Tally


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
    from clipalign.report.html.parts import data_address

    tally = Tally(view)
    for record in records:
        tally.add(record)
    entries = [Entry(record, thumbnail=data_address(thumbnail)) for record in records]
    provenance = records[0].get("provenance") or {}
    return b"".join(many.whole(format, view, FewEntries(entries), summary=tally.summary(), provenance=provenance))
