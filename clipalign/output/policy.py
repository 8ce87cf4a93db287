"""What ``detect --check`` finds: a misaligned word or a low CLIPScore, but for what is ignored or was found before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from clipalign.data.word_kinds import bare
from clipalign.output.json import line_of

LOW_SCORE: Final = "clip_score"
"""The finding of a caption whose CLIPScore is too low."""

_BASELINE: Final = ("id", "image", "text", "clip_score", "misaligned")


@dataclass(frozen=True)
class Policy:
    """What counts as a finding, and how many captions may have one.

    Attributes:
        max_misaligned: captions with a finding that pass: a number, or a share as a float.
        min_clip_score: a lower CLIPScore is a finding; None for none.
        ignored: words, as :func:`bare` has them, that are no finding.
        known: digests of the findings of a baseline, see :meth:`knowing`.
    """

    max_misaligned: float = 0
    min_clip_score: float | None = None
    ignored: frozenset[str] = frozenset()
    known: frozenset[bytes] = frozenset()

    def findings(self, record: Mapping[str, Any]) -> list[str]:
        """Return the misaligned words that count, each once, and :data:`LOW_SCORE`."""
        return [one for one in self._all(record) if not self.known or _digest(record, one) not in self.known]

    def _all(self, record: Mapping[str, Any]) -> Iterator[str]:
        yield from dict.fromkeys(word for word in record["misaligned"] if bare(word) not in self.ignored)
        if self.min_clip_score is not None and record["clip_score"] < self.min_clip_score:
            yield LOW_SCORE

    def allows(self, found: int, records: int) -> bool:
        """Return whether a run passes with findings in ``found`` of ``records`` captions."""
        share = isinstance(self.max_misaligned, float)
        return found <= (self.max_misaligned * records if share else self.max_misaligned)

    def knowing(self, baseline: Iterable[Mapping[str, Any]]) -> Policy:
        """Return the policy that ignores the findings of an earlier output: same picture, text and word."""
        return replace(self, known=frozenset(_digest(one, finding) for one in baseline for finding in self._all(one)))

    def baseline_line(self, record: Mapping[str, Any]) -> bytes:
        """Return the line of a new baseline about a record; empty where it has no finding."""
        return line_of({name: record[name] for name in _BASELINE}) if any(self._all(record)) else b""


def _digest(record: Mapping[str, Any], finding: str) -> bytes:
    key = "\0".join((record["image"], record["text"], finding.casefold()))
    return hashlib.blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()
