"""What a command tells about its records, so that one journal, one summary and every format serve all commands.

After scoring, everything works on the JSON record, a plain dictionary: what was read back from an earlier run is then
shown exactly like what was just computed. A record that could not be scored has an ``error`` instead of scores and is
the same for all commands; a view never sees one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from clipalign.errors import ClipalignError

if TYPE_CHECKING:
    from rich.text import Text

    from clipalign.inputs.records import InputRecord
    from clipalign.report.html.markup import Markup

Record = dict[str, Any]
"""A record as it stands in JSON."""


class Entry(NamedTuple):
    """A record, and what pages and annotations of a later moment need besides.

    Attributes:
        record: as in JSON.
        file: the input file it came from; empty for a pair that was typed.
        line: its line there; 0 where there is none.
        thumbnail: its picture as a ``data:`` address, or an empty string.
    """

    record: Record
    file: str = ""
    line: int = 0
    thumbnail: str = ""


class Book(Protocol):
    """Many entries that lie somewhere, to be gone through and to be looked up."""

    def read(self) -> Iterator[tuple[int, Entry]]:
        """All entries in their order, each with its place."""
        ...

    def at(self, place: int) -> Entry:
        """The entry of a place."""
        ...


class Kind(Enum):
    """What a CSV cell holds, and how it is read back."""

    TEXT = "text"
    NUMBER = "a number"
    WHOLE = "a whole number"
    TRUTH = "true or false"
    JSON = "a list or an object, as JSON"


@dataclass(frozen=True, slots=True)
class Column:
    """A CSV column.

    Attributes:
        name: of the column, and of the record's key it shows; a record without that key has an empty cell.
        kind: what the cell holds.
    """

    name: str
    kind: Kind


@dataclass(frozen=True, slots=True)
class Sort:
    """An order the page of records can be put in.

    Attributes:
        label: as a reader sees it, "CLIPScore, lowest first".
        key: of the record, with a number; records without it come last.
        descending: highest first.
    """

    label: str
    key: str
    descending: bool = False


class NameColumn:
    """The ids in a table that is written line by line: as wide as the longest so far, so that what follows lines up.

    Attributes:
        cells: columns of the terminal that it takes, without the space behind it.
    """

    LEAST: Final = 8
    MOST: Final = 24

    def __init__(self) -> None:
        self.cells = self.LEAST

    def cell(self, name: str) -> str:
        """``name``, made visible and filled up; of a long one its end, for paths differ there."""
        from rich.cells import cell_len

        from clipalign.report.console import visible

        shown = visible(name)
        if cell_len(shown) > self.MOST:
            kept = shown[1 - self.MOST :]
            while cell_len(kept) >= self.MOST:
                kept = kept[1:]
            shown = f"…{kept}"
        width = cell_len(shown)
        self.cells = max(self.cells, width)
        return shown + " " * (self.cells - width)


class RecordView(Protocol):
    """How the records of one command look. Attributes are read-only; nothing here prints.

    Attributes:
        command: name of the subcommand, ``detect``.
        noun: one record and several, ``("pair", "pairs")``.
        columns: of CSV, without ``error`` and ``provenance``, which all commands share.
        scores: keys of numbers that the summary averages.
        found_name: what ``--check`` looks for, as a key of the summary: ``with_misaligned_words``; empty where the
            command looks for nothing.
        frequent_name: what the summary counts, as its key: ``misaligned_words``.
        sorts: orders of the page besides "worst first" and the input's own.
    """

    @property
    def command(self) -> str: ...
    @property
    def noun(self) -> tuple[str, str]: ...
    @property
    def columns(self) -> tuple[Column, ...]: ...
    @property
    def scores(self) -> tuple[str, ...]: ...
    @property
    def found_name(self) -> str: ...
    @property
    def frequent_name(self) -> str: ...
    @property
    def sorts(self) -> tuple[Sort, ...]: ...

    def record(self, result: Any) -> Record:
        """The JSON record of a result, its ``provenance`` last."""
        ...

    def found(self, record: Mapping[str, Any]) -> bool:
        """Whether ``--check`` finds something; also for a record read back from CSV, which has its columns alone."""
        ...

    def frequent(self, record: Mapping[str, Any]) -> Iterable[str]:
        """What the summary counts in this record, such as its misaligned words; also for one read back from CSV."""
        ...

    def badness(self, record: Mapping[str, Any]) -> float:
        """Higher is worse: the order of the page."""
        ...

    def card(self, record: Mapping[str, Any], thumbnail: str) -> Markup:
        """The inside of the record's card on the page.

        Args:
            record: one without an error.
            thumbnail: the picture as a ``data:`` address for ``src``, or an empty string.
        """
        ...

    def annotation(self, record: Mapping[str, Any]) -> str:
        """One sentence for a workflow annotation; an empty string where there is nothing to say."""
        ...

    def line(self, record: Mapping[str, Any]) -> Text:
        """The record in the table of many: one line, as wide as it likes, cut by the table."""
        ...


def error_record(asked: InputRecord, error: ClipalignError) -> Record:
    """The record of what could not be scored: no scores, and why."""
    return {
        "id": asked.id,
        "image": asked.image_name,
        "text": asked.text,
        "error": {"type": error.type, "message": error.message, "hint": error.hint or None},
    }


def is_error(record: Mapping[str, Any]) -> bool:
    """Whether the record says why there is no result."""
    return isinstance(record.get("error"), dict)
