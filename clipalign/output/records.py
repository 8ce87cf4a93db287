"""What a run over many records found, in lines and on the page: the same summary that stands in JSON.

What a run over many records found, counted as they pass: one number a count, in memory that does not grow.

Counts and means of a resumed run are those of an uninterrupted one, to the last digit: earlier records are counted
again as they are read back, in the same order.

What a command tells about its records, so that one journal, one summary and every format serve all commands.

After scoring, everything works on the JSON record, a plain dictionary: what was read back from an earlier run is then
shown exactly like what was just computed. A record that could not be scored has an ``error`` instead of scores and is
the same for all commands; a view never sees one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from clipalign.errors import ClipalignError

if TYPE_CHECKING:
    from rich.text import Text

    from clipalign.data.records import InputRecord
    from clipalign.output.html.markup import Markup


SCORE_NAMES: Final = {
    "cosine": "cosine",
    "clip_score": "CLIPScore",
    "f_clip_score": "F-CLIPScore",
    "ref_clip_score": "RefCLIPScore",
    "specs_score": "SPECS score",
}
"""How scores are called where people read them."""

_SIGNIFICANT: Final = 3


def score_name(key: str) -> str:
    """``clip_score`` as people call it."""
    return SCORE_NAMES.get(key, key.replace("_", " "))


def number_text(value: float) -> str:
    """Four decimals, or three significant digits of a small number; F-CLIPScores lie near -1e-4."""
    if value == 0.0 or abs(value) >= 0.1:
        return f"{value:.4f}"
    return f"{value:.{max(4, _SIGNIFICANT - 1 - math.floor(math.log10(abs(value))))}f}"


def counted(number: int, noun: tuple[str, str]) -> str:
    """``1 pair``, ``3,000 pairs``."""
    return f"{number:,} {noun[0] if number == 1 else noun[1]}"


def summary_lines(view: RecordView, summary: Mapping[str, Any]) -> list[str]:
    """Counts, means and the most frequent words, a line each; lines with nothing to say are left out."""
    return [line for line in (_counts(view, summary), _means(view, summary), _frequent(view, summary)) if line]


def _counts(view: RecordView, summary: Mapping[str, Any]) -> str:
    pieces = []
    if summary["unreadable"]:
        kinds = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in summary["errors"].items())
        pieces.append(f"{summary['unreadable']:,} unreadable ({kinds})")
    if view.found_name:
        pieces.append(f"{summary[view.found_name]:,} {view.found_name.replace('_', ' ')}")
    if summary["with_warnings"]:
        pieces.append(f"{summary['with_warnings']:,} with warnings")
    return f"{counted(summary['records'], view.noun)}{': ' if pieces else ''}{', '.join(pieces)}"


def _means(view: RecordView, summary: Mapping[str, Any]) -> str:
    means = [(name, summary["mean"][name]) for name in view.scores]
    shown = [f"{score_name(name)} {number_text(value)}" for name, value in means if value is not None]
    return f"mean {', '.join(shown)}" if shown else ""


def _frequent(view: RecordView, summary: Mapping[str, Any]) -> str:
    words = summary.get(view.frequent_name) or []
    if not words:
        return ""
    about = "at least " if summary["counts_are_lower_bounds"] else ""
    named = ", ".join(f"{word['text']} {about}{word['count']}" for word in words)
    return f"most frequent {view.frequent_name.replace('_', ' ')}: {named}"


MAX_COUNTED: Final = 100_000
"""Different words counted at a time; beyond, the rarer half is forgotten and the counts become lower bounds."""

MAX_WORD_CHARACTERS: Final = 80
"""Longer "words" are counted by their beginning."""

SHOWN: Final = 10
"""How many of the most frequent are named."""


class Tally:
    """Counts, means and the most frequent words of the records it was shown.

    Attributes:
        records: all of them.
        unreadable: those with an error.
        found: those in which ``--check`` finds something.
        warned: those with warnings.
        errors: type of error → how often.
    """

    def __init__(self, view: RecordView) -> None:
        self._view = view
        self._sums: dict[str, tuple[float, float, int]] = dict.fromkeys(view.scores, (0.0, 0.0, 0))
        self._frequent: Counter[str] = Counter()
        self._spellings: dict[str, str] = {}
        self._forgot = False
        self.records = self.unreadable = self.found = self.warned = 0
        self.errors: Counter[str] = Counter()

    def add(self, record: Mapping[str, Any]) -> None:
        """Count one record, just computed or read back."""
        self.records += 1
        if is_error(record):
            self.unreadable += 1
            self.errors[str(record["error"].get("type"))] += 1
            return
        self.found += self._view.found(record)
        self.warned += bool(record.get("warnings"))
        for name, state in self._sums.items():
            value = record.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                self._sums[name] = _added(state, value)
        for word in self._view.frequent(record):
            self._count(word)

    def _count(self, word: str) -> None:
        """Without regard to case; shown as it was written first."""
        shown = word[:MAX_WORD_CHARACTERS]
        key = shown.casefold()
        self._spellings.setdefault(key, shown)
        self._frequent[key] += 1
        if len(self._frequent) > MAX_COUNTED:
            self._frequent = Counter(dict(self._frequent.most_common(MAX_COUNTED // 2)))
            self._spellings = {kept: self._spellings[kept] for kept in self._frequent}
            self._forgot = True

    def mean(self, name: str) -> float | None:
        """The mean of a score over the records that have it, or None where none has."""
        total, rest, count = self._sums[name]
        return (total + rest) / count if count else None

    def frequent(self, top: int = SHOWN) -> list[tuple[str, int]]:
        """The most frequent words and how often they occurred, ties in alphabetical order."""
        ordered = sorted(self._frequent.items(), key=lambda item: (-item[1], item[0]))
        return [(self._spellings[key], count) for key, count in ordered[:top]]

    def summary(self) -> dict[str, object]:
        """As it stands in JSON: ``records, unreadable, errors, …`` with the view's own names for what it looks for."""
        found: dict[str, object] = {
            "records": self.records,
            "unreadable": self.unreadable,
            "errors": dict(sorted(self.errors.items())),
            "with_warnings": self.warned,
            **({self._view.found_name: self.found} if self._view.found_name else {}),
            "mean": {name: self.mean(name) for name in self._view.scores},
        }
        if self._view.frequent_name:
            found[self._view.frequent_name] = [{"text": text, "count": count} for text, count in self.frequent()]
            found["counts_are_lower_bounds"] = self._forgot
        return found


def _added(state: tuple[float, float, int], value: float) -> tuple[float, float, int]:
    """Neumaier's compensated sum: a million small scores lose no digit."""
    total, rest, count = state
    grown = total + value
    lost = (total - grown) + value if abs(total) >= abs(value) else (value - grown) + total
    return grown, rest + lost, count + 1


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

        from clipalign.output.console import visible

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
