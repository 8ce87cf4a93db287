"""What formats need to know of a command's records, and the summary of a run over many.

After scoring, everything works on the JSON record, a plain dictionary: what was read back from an earlier run is shown
exactly like what was just computed. A record that could not be scored has an ``error`` instead of scores and is the
same for all commands; a formatter never sees one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from rich.text import Text


Record = dict[str, Any]
"""A record in JSON's types."""

SCORE_NAMES: Final = {
    "clip_score": "CLIPScore",
    "f_clip_score": "F-CLIPScore",
    "ref_clip_score": "RefCLIPScore",
    "specs_score": "SPECS score",
}

SIGNIFICANT_DIGITS: Final = 3
MAX_COUNTED: Final = 100_000
"""Different words counted at a time; beyond, the rarer half is forgotten and the counts become lower bounds."""

MAX_WORD_CHARACTERS: Final = 80
"""Longer "words" are counted by their prefix."""

MOST_FREQUENT: Final = 10
"""How many of the most frequent words a summary names."""


class Entry(NamedTuple):
    """A record, and what pages and annotations need besides.

    Attributes:
        record: as in JSON.
        file: the input file it came from; empty for a pair that was typed.
        line: its line there; 0 where there is none.
        thumbnail: its picture as a ``data:`` URL, or an empty string.
        content: its picture as it was, where the format holds that.
    """

    record: Record
    file: str = ""
    line: int = 0
    thumbnail: str = ""
    content: bytes = b""


class RecordStore(Protocol):
    """Many entries on disk or in memory."""

    def read(self) -> Iterator[tuple[int, Entry]]:
        """Yield all entries in order, each with its place."""
        ...

    def at(self, place: int) -> Entry:
        """Return the entry at a place."""
        ...


class EntryList(list[Entry]):
    """A store in memory."""

    def read(self) -> Iterator[tuple[int, Entry]]:
        """Yield all entries in order, each with its place."""
        yield from enumerate(self)

    def at(self, place: int) -> Entry:
        """Return the entry at a place."""
        return self[place]


class Sort(NamedTuple):
    """An order of the page's records.

    Attributes:
        label: as a reader sees it, "CLIPScore, lowest first".
        key: of the record, with a number; records without it come last.
        descending: highest first.
    """

    label: str
    key: str
    descending: bool = False


class RecordFormatter:
    """How the records of one command look in every format; a subclass per command.

    Attributes:
        command: name of the subcommand.
        noun: one record and several, ``("pair", "pairs")``.
        columns: keys of the record that CSV shows, in this order.
        kept: columns of the input that records bring along, where their names are known beforehand.
        keeps_all: whether they bring all.
        scores: keys of numbers that the summary averages.
        first_score: the one by which the best records are chosen.
        finding: what ``--check`` looks for, as a key of the summary (``with_misaligned_words``); empty for nothing.
        counted: what the summary counts, as its key (``misaligned_words``); empty for nothing.
        sorts: orders of the page besides "worst first" and the input's own.
    """

    command: ClassVar[str]
    noun: ClassVar[tuple[str, str]]
    columns: ClassVar[tuple[str, ...]]
    kept: tuple[str, ...] = ()
    keeps_all: bool = False
    scores: ClassVar[tuple[str, ...]]
    first_score: ClassVar[str]
    finding: ClassVar[str] = ""
    counted: ClassVar[str] = ""
    sorts: ClassVar[tuple[Sort, ...]] = ()

    def found(self, record: Mapping[str, Any]) -> bool:
        """Say whether ``--check`` finds something."""
        return False

    def frequent(self, record: Mapping[str, Any]) -> Iterable[str]:
        """Return what the summary counts in this record."""
        return ()

    def badness(self, record: Mapping[str, Any]) -> float:
        """Return the place in the order of the page: higher is worse."""
        raise NotImplementedError

    def card(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Return what ``templates/COMMAND.html`` shows besides the record."""
        raise NotImplementedError

    def annotation(self, record: Mapping[str, Any]) -> str:
        """Return one sentence for a workflow annotation; empty where there is nothing to say."""
        return ""

    def line(self, record: Mapping[str, Any]) -> Text:
        """Return the record as one line of the table of many, of any width."""
        raise NotImplementedError

    def table(self, records: Sequence[Mapping[str, Any]]) -> str:
        """Return the table for the records of one command line."""
        raise NotImplementedError


def is_error(record: Mapping[str, Any]) -> bool:
    """Say whether the record tells why there is no result."""
    return isinstance(record.get("error"), dict)


def score_name(key: str) -> str:
    """Return ``clip_score`` as people call it."""
    return SCORE_NAMES.get(key, key.replace("_", " "))


def decimals_of(value: float) -> int:
    """Return the decimals that show three significant digits of a small ``value``; at least three."""
    least = SIGNIFICANT_DIGITS
    return least if value == 0.0 else max(least, least - 1 - math.floor(math.log10(abs(value))))


def number_text(value: float) -> str:
    """Return four decimals, or three significant digits of a small number; F-CLIPScores lie near -1e-4."""
    return f"{value:.{4 if value == 0.0 else max(4, decimals_of(value))}f}"


def signed_text(value: float, largest: float) -> str:
    """Return ``value`` with a sign and the decimals that show three significant digits of ``largest``."""
    return f"{value:+.{decimals_of(largest)}f}"


def named_scores(record: Mapping[str, Any], keys: Iterable[str]) -> list[tuple[str, str]]:
    """Return names and numbers of the scores that a record has."""
    return [(score_name(key), number_text(record[key])) for key in keys if record.get(key) is not None]


def count_text(number: int, noun: tuple[str, str]) -> str:
    """Return ``1 pair``, ``3,000 pairs``."""
    return f"{number:,} {noun[0] if number == 1 else noun[1]}"


Piece = tuple[str, Mapping[str, Any] | None]


def pieces_of(text: str, marked: Iterable[Mapping[str, Any]]) -> Iterator[Piece]:
    """Split a text into the stretches of ``marked`` (``start``, ``end``; in order) and what lies between, with None."""
    position = 0
    for one in marked:
        yield text[position : one["start"]], None
        yield text[one["start"] : one["end"]], one
        position = one["end"]
    yield text[position:], None


class Tally:
    """Counts, means and the most frequent words of the records of a run, in memory that does not grow.

    Counts and means of a resumed run are those of an uninterrupted one, to the last digit: earlier records are counted
    again as they are read back, in the same order.

    Attributes:
        records: all of them.
        unreadable: those with an error.
        found: those in which ``--check`` finds something.
        warned: those with warnings.
        errors: type of error to how often.
    """

    def __init__(self, formatter: RecordFormatter) -> None:
        self._formatter = formatter
        self._sums: dict[str, tuple[float, float, int]] = dict.fromkeys(formatter.scores, (0.0, 0.0, 0))
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
        self.found += self._formatter.found(record)
        self.warned += bool(record.get("warnings"))
        for name, state in self._sums.items():
            value = record.get(name)
            if isinstance(value, int | float) and math.isfinite(value):
                self._sums[name] = _added(state, value)
        for word in self._formatter.frequent(record):
            self._count(word)

    def _count(self, word: str) -> None:
        """Count a word without regard to case; it is shown as it was written first."""
        shown = word[:MAX_WORD_CHARACTERS]
        key = shown.casefold()
        self._spellings.setdefault(key, shown)
        self._frequent[key] += 1
        if len(self._frequent) > MAX_COUNTED:
            self._frequent = Counter(dict(self._frequent.most_common(MAX_COUNTED // 2)))
            self._spellings = {kept: self._spellings[kept] for kept in self._frequent}
            self._forgot = True

    def mean(self, name: str) -> float | None:
        """Return the mean of a score over the records that have it; None where none has."""
        total, rest, count = self._sums[name]
        return (total + rest) / count if count else None

    def frequent(self, top: int = MOST_FREQUENT) -> list[tuple[str, int]]:
        """Return the most frequent words and how often they occurred, ties in alphabetical order."""
        ordered = sorted(self._frequent.items(), key=lambda item: (-item[1], item[0]))
        return [(self._spellings[key], count) for key, count in ordered[:top]]

    def summary(self) -> dict[str, object]:
        """Return the summary as in JSON: ``records, unreadable, errors, with_warnings, …, mean, …``."""
        found: dict[str, object] = {
            "records": self.records,
            "unreadable": self.unreadable,
            "errors": dict(sorted(self.errors.items())),
            "with_warnings": self.warned,
            **({self._formatter.finding: self.found} if self._formatter.finding else {}),
            "mean": {name: self.mean(name) for name in self._formatter.scores},
        }
        if self._formatter.counted:
            found[self._formatter.counted] = [{"text": text, "count": count} for text, count in self.frequent()]
            found["counts_are_lower_bounds"] = self._forgot
        return found


def _added(state: tuple[float, float, int], value: float) -> tuple[float, float, int]:
    """Add by Neumaier's compensated sum: a million small scores lose no digit."""
    total, rest, count = state
    grown = total + value
    lost = (total - grown) + value if abs(total) >= abs(value) else (value - grown) + total
    return grown, rest + lost, count + 1


def summary_lines(formatter: RecordFormatter, summary: Mapping[str, Any]) -> list[str]:
    """Return counts, means and the most frequent words, a line each; lines with nothing to say are left out."""
    counts = []
    if summary["unreadable"]:
        kinds = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in summary["errors"].items())
        counts.append(f"{summary['unreadable']:,} unreadable ({kinds})")
    if formatter.finding:
        counts.append(f"{summary[formatter.finding]:,} {formatter.finding.replace('_', ' ')}")
    if summary["with_warnings"]:
        counts.append(f"{summary['with_warnings']:,} with warnings")
    lines = [count_text(summary["records"], formatter.noun) + (f": {', '.join(counts)}" if counts else "")]
    if means := [f"{name} {number}" for name, number in named_scores(summary["mean"], formatter.scores)]:
        lines.append(f"mean {', '.join(means)}")
    if words := summary.get(formatter.counted):
        about = "at least " if summary["counts_are_lower_bounds"] else ""
        named = ", ".join(f"{word['text']} {about}{word['count']}" for word in words)
        lines.append(f"most frequent {formatter.counted.replace('_', ' ')}: {named}")
    return lines
