"""What a run over many records found, counted as they pass: one number a count, in memory that does not grow.

Counts and means of a resumed run are those of an uninterrupted one, to the last digit: earlier records are counted
again as they are read back, in the same order.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from typing import Any, Final

from clipalign.report.records import RecordView, is_error

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
