"""What formats need to know of a command's records, and the summary of a run over many.

Formats work on the JSON record, a plain dictionary, so that records read back from an earlier run are shown exactly
like new ones. A record that could not be scored has an ``error`` instead of scores; formatters never receive one.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final, NamedTuple, Protocol

if TYPE_CHECKING:
    from rich.text import Text

    from clipalign.output.html import Scale

Record = dict[str, Any]

SCORE_NAMES: Final = {
    "clip_score": "CLIPScore",
    "f_clip_score": "F-CLIPScore",
    "ref_clip_score": "RefCLIPScore",
    "specs_score": "SPECS score",
}

SIGNIFICANT_DIGITS: Final = 3
MAX_COUNTED: Final = 100_000
"""Distinct words counted at a time; beyond, the rarer half is dropped and counts become lower bounds."""

MAX_WORD_CHARACTERS: Final = 80

MOST_FREQUENT: Final = 10


class Entry(NamedTuple):
    """A record, its ``thumbnail`` as a ``data:`` URL, and where it was read: ``file`` empty and ``line`` 0 for none."""

    record: Record
    file: str = ""
    line: int = 0
    thumbnail: str = ""
    content: bytes = b""


class RecordStore(Protocol):
    def read(self) -> Iterator[tuple[int, Entry]]:
        """Yield all entries in order, each with the key that :meth:`at` finds it by."""
        ...

    def at(self, key: int) -> Entry: ...


class EntryList(list[Entry]):
    def read(self) -> Iterator[tuple[int, Entry]]:
        yield from enumerate(self)

    def at(self, key: int) -> Entry:
        return self[key]


class Sort(NamedTuple):
    """An order of the page's records; records without the number ``key`` come last."""

    label: str
    key: str
    descending: bool = False


class RecordFormatter:
    """How the records of one command look in every format; a subclass per command.

    Attributes:
        noun: singular and plural, ``("pair", "pairs")``.
        columns: keys of the record that CSV shows, in this order, each with its type.
        kept: columns of the input to keep, if known beforehand.
        keeps_all: whether all are kept.
        scores: keys of numbers that the summary averages.
        finding: what ``--check`` looks for, as a key of the summary (``with_misaligned_words``); empty for nothing.
        counted: what the summary counts, as its key (``misaligned_words``); empty for nothing.
        sorts: orders of the page besides "worst first" and the input's own.
    """

    command: ClassVar[str]
    noun: ClassVar[tuple[str, str]]
    columns: ClassVar[Mapping[str, Any]]
    kept: tuple[str, ...] = ()
    keeps_all: bool = False
    scores: ClassVar[tuple[str, ...]]
    first_score: ClassVar[str]
    finding: ClassVar[str] = ""
    counted: ClassVar[str] = ""
    sorts: ClassVar[tuple[Sort, ...]] = ()

    def found(self, record: Mapping[str, Any]) -> bool:
        """Return whether ``--check`` finds something."""
        return False

    def frequent(self, record: Mapping[str, Any]) -> Iterable[str]:
        """Return what the summary counts in this record."""
        return ()

    def tally(self) -> Tally:
        """Return what counts the records of a run."""
        return Tally(self)

    def badness(self, record: Mapping[str, Any]) -> float:
        """Return the sort key of the page: higher is worse."""
        raise NotImplementedError

    def rank(self, record: Mapping[str, Any]) -> float:
        """Return the sort key among the records of one command line, all about one picture: lower comes first."""
        return 0.0

    def scale_of(self, records: Sequence[Mapping[str, Any]]) -> Scale:
        """Return what the bars of these records, which share a page, have in common."""
        raise NotImplementedError

    def card(self, record: Mapping[str, Any], scale: Scale) -> dict[str, Any]:
        """Return what ``templates/COMMAND.html`` shows besides the record."""
        raise NotImplementedError

    def annotation(self, record: Mapping[str, Any]) -> str:
        """Return one sentence for a workflow annotation, or empty."""
        return ""

    def head(self, record: Mapping[str, Any]) -> str:
        """Return the names of the columns of :meth:`line`, for a table that begins with this record."""
        raise NotImplementedError

    def line(self, record: Mapping[str, Any]) -> Text:
        """Return the record as one line of the table of many, of any width."""
        raise NotImplementedError

    def table(self, records: Sequence[Mapping[str, Any]]) -> str:
        raise NotImplementedError


def is_error(record: Mapping[str, Any]) -> bool:
    return isinstance(record.get("error"), dict)


def score_name(key: str) -> str:
    """Return ``CLIPScore`` for ``clip_score``."""
    return SCORE_NAMES.get(key, key.replace("_", " "))


def decimals_of(value: float) -> int:
    """Return the decimals that show three significant digits of a small ``value``; at least three."""
    least = SIGNIFICANT_DIGITS
    return least if value == 0.0 else max(least, least - 1 - math.floor(math.log10(abs(value))))


def number_text(value: float) -> str:
    """Format with four decimals, or three significant digits of a small number; F-CLIPScores are near -1e-4."""
    return f"{value:.{4 if value == 0.0 else max(4, decimals_of(value))}f}"


def signed_text(value: float, largest: float) -> str:
    """Format with a sign and the decimals that show three significant digits of ``largest``."""
    return f"{value:+.{decimals_of(largest)}f}"


def named_scores(record: Mapping[str, Any], keys: Iterable[str]) -> list[tuple[str, str]]:
    return [(score_name(key), number_text(record[key])) for key in keys if record.get(key) is not None]


def count_text(number: int, noun: tuple[str, str]) -> str:
    """Return ``1 pair``, ``3,000 pairs``."""
    return f"{number:,} {noun[0] if number == 1 else noun[1]}"


Piece = tuple[str, Mapping[str, Any] | None]


def pieces_of(text: str, marked: Iterable[Mapping[str, Any]]) -> Iterator[Piece]:
    """Split a text into the spans of ``marked`` (``start``, ``end``; in order) and those between, with None."""
    position = 0
    for one in marked:
        yield text[position : one["start"]], None
        yield text[one["start"] : one["end"]], one
        position = one["end"]
    yield text[position:], None


class Tally:
    """Count a run's records, means and most frequent words in bounded memory.

    A resumed run counts the earlier records again in order, or goes on from their :meth:`state`, so that its summary
    equals an uninterrupted one's exactly.
    ``found`` counts records in which ``--check`` finds something.
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

    def state(self) -> dict[str, Any]:
        """Return the counts that :meth:`restore` goes on from, in JSON's types."""
        return {name: value for name, value in vars(self).items() if isinstance(value, int | dict)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; ``KeyError``, ``TypeError`` or ``ValueError`` for one that is none."""
        for name, own in Tally.state(self).items():
            setattr(self, name, _restored(name, own, state[name]))
        self._spellings = {word: self._spellings[word] for word in self._frequent}

    def _count(self, word: str) -> None:
        """Count a word ignoring case; it is shown as first written."""
        shown = word[:MAX_WORD_CHARACTERS]
        key = shown.casefold()
        self._spellings.setdefault(key, shown)
        self._frequent[key] += 1
        if len(self._frequent) > MAX_COUNTED:
            self._frequent = Counter(dict(self._frequent.most_common(MAX_COUNTED // 2)))
            self._spellings = {kept: self._spellings[kept] for kept in self._frequent}
            self._forgot = True

    @property
    def fails(self) -> bool:
        """Whether ``--check`` ends the run with status 1."""
        return bool(self.found)

    def mean(self, name: str) -> float | None:
        total, rest, count = self._sums[name]
        return (total + rest) / count if count else None

    def frequent(self, top: int = MOST_FREQUENT) -> list[tuple[str, int]]:
        """Return the most frequent words and their counts, ties in alphabetical order."""
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


def _restored(name: str, own: Any, value: Any) -> Any:
    if name == "_sums":
        sums = {score: value[score] for score in own}
        return {score: (float(total), float(rest), int(count)) for score, (total, rest, count) in sums.items()}
    if name == "_spellings":
        return {str(word): str(shown) for word, shown in value.items()}
    return type(own)({str(key): int(count) for key, count in value.items()} if isinstance(own, dict) else value)


def _added(state: tuple[float, float, int], value: float) -> tuple[float, float, int]:
    """Add by Neumaier's compensated sum: a million small scores lose no digit."""
    total, rest, count = state
    grown = total + value
    lost = (total - grown) + value if abs(total) >= abs(value) else (value - grown) + total
    return grown, rest + lost, count + 1


def summary_lines(formatter: RecordFormatter, summary: Mapping[str, Any]) -> list[str]:
    """Return counts, means and the most frequent words, a line each; empty lines are left out."""
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
        if by_kind := summary.get("kinds"):
            lines[-1] += f"; by kind: {', '.join(f'{kind} {count}' for kind, count in by_kind.items())}"
    if unlike := summary.get("unlike_calibration"):
        lines.append(f"warning: {unlike}")
    if check := summary.get("check"):
        passes = "passes" if check["passed"] else "fails"
        lines.append(
            f"check {passes}: {check['found']:,} of {check['of']:,} with a finding, {check['allowed']} allowed"
        )
    return lines
