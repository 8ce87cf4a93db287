"""What the benchmarks about words share: how data is found, what counts as a prediction, LA and AP.

LA (localisation accuracy) is the share of false captions whose false word was found, AP the average precision of a
score. Where the data is good captions beside foils, correct captions are the positive class; where it is captions of
which some are wrong, the wrong ones are, ranked by the negated score.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, Final

from clipalign.benchmarks import statistics
from clipalign.benchmarks.annotations import Annotations
from clipalign.benchmarks.data import find_in
from clipalign.benchmarks.detect_route import read_outcome
from clipalign.benchmarks.published import PUBLISHED
from clipalign.benchmarks.statistics import Statistic
from clipalign.benchmarks.task import WORD_OPTIONS, Benchmark, BrokenSample, Outcome, Sample
from clipalign.cache import data_folder
from clipalign.errors import InputUnreadable, MissingDataset
from clipalign.paths import is_file
from clipalign.results import DetectResult, Metric, Provenance, WordScore

ABOUT: Final = "read published numbers as “about”: the papers' own tables differ by up to 0.03"
NEAREST: Final = (
    "RefCLIPScore takes the nearest of all references, as it is defined; the original code stops at the first"
)

VAL2014: Final = (
    *("val2014", "images/val2014", "images"),
    *("../coco-val2014/val2014", "../coco-val2014", "../coco/val2014", "../val2014"),
)
"""Where the pictures of COCO val2014 are looked for, from a data set's folder."""

_TRIED: Final = 50
"""Pictures looked for before a folder counts as the wrong one."""


class WordBenchmark(Benchmark[Sample, Outcome]):
    """A benchmark of ``detect`` on a data set in a folder.

    Args:
        folder: of the data; None for where ``download`` puts it.
    """

    options = WORD_OPTIONS

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = data_folder(self.name) if folder is None else folder
        self.published = PUBLISHED[self.name]

    def reread(self, record: dict[str, Any], provenance: Provenance) -> Outcome:
        """The outcome of a line of ``samples.jsonl``."""
        return read_outcome(record, provenance)

    def measure(self, outcomes: Sequence[Outcome], *, seed: int) -> list[Metric]:
        """The statistics with their intervals."""
        return [statistic.metric(seed=seed) for statistic in self.statistics(outcomes)]

    def _pictures(self, names: Iterable[str], *places: str) -> Path:
        """The folder of the pictures: the first of ``places`` that is there and holds any of the first ``names``.

        Raises:
            MissingDataset: there is none.
        """
        tried = list(dict.fromkeys(names))[:_TRIED]
        there = [self.folder / place for place in places if (self.folder / place).is_dir()]
        for folder in there:
            if any(is_file(folder / name) for name in tried):
                return folder
        if there:
            looked = Path(os.path.normpath(there[0]))  # "data/../data" is one of the places
            raise MissingDataset(
                f"{looked} holds none of the first {len(tried)} pictures of {self.name}, such as {tried[0]}"
                if tried
                else f"{self.folder} has no pictures of {self.name}",
                hint=f"clipalign download {self.name}, or --data-root with the folder that holds {places[0]}",
                input=str(looked),
            )
        return find_in(self.folder, self.name, *places)


def hashes(*files: Annotations) -> dict[str, str]:
    """Name → SHA-256, for the settings of a run."""
    return {file.path.name: file.sha256 for file in files}


def broken(id: str, image: str, what: str) -> BrokenSample:
    """A row of a data set that is not what its format says."""
    return BrokenSample(id, image, InputUnreadable(what, hint="is the file complete?", input=id))


@dataclass(frozen=True, slots=True)
class Phrase:
    """Misaligned words that follow each other.

    Attributes:
        text: the words, a space between them.
        attribution: their mean.
        words: themselves.
    """

    text: str
    attribution: float
    words: tuple[WordScore, ...]


def phrases(result: DetectResult) -> list[Phrase]:
    """The misaligned words of a result, neighbours merged, in reading order; punctuation does not part neighbours."""
    found = []
    for misaligned, run in groupby(result.words, key=lambda word: word.misaligned):
        if misaligned:
            words = tuple(run)
            mean = sum(word.attribution or 0.0 for word in words) / len(words)
            found.append(Phrase(" ".join(word.text for word in words), mean, words))
    return found


def lowest_phrase(result: DetectResult) -> Phrase | None:
    """The phrase with the smallest mean attribution."""
    return min(phrases(result), key=lambda phrase: phrase.attribution, default=None)


def localisation(
    name: str,
    outcomes: Sequence[Outcome],
    *,
    found: Callable[[Outcome], bool],
    hit: Callable[[Outcome, WordScore], bool],
) -> list[Statistic]:
    """LA over the false captions among ``outcomes``, if there are any.

    Args:
        name: of the metric.
        outcomes: false captions and others.
        found: whether the false word of a caption was found.
        hit: whether a word, taken blindly, would count; its share is the chance.
    """
    false = [outcome for outcome in outcomes if not outcome.correct]
    if not false:
        return []
    blind = [sum(hit(o, word) for word in o.result.words) / len(o.result.words) for o in false]
    values = [float(found(outcome)) for outcome in false]
    return [statistics.mean(name, [o.id for o in false], values, chance=sum(blind) / len(blind))]


def precisions(outcomes: Sequence[Outcome], *, suffix: str = "", misaligned: bool = False) -> list[Statistic]:
    """AP of CLIPScore, of F-CLIPScore, and of RefCLIPScore where there are references.

    Args:
        outcomes: correct captions and others; where all are of one kind there is nothing to tell apart, and no number.
        suffix: of the names.
        misaligned: whether false captions are the positive class, ranked by the negated score.
    """
    by_score: Mapping[str, Callable[[DetectResult], float | None]] = {
        "ap_clip_score": lambda result: result.clip_score,
        "ap_f_clip_score": lambda result: result.f_clip_score,
        "ap_ref_clip_score": lambda result: result.ref_clip_score,
    }
    found = []
    for name, score in by_score.items():
        scored = [(o, value) for o in outcomes if (value := score(o.result)) is not None]
        truth = [outcome.correct != misaligned for outcome, _ in scored]
        if any(truth) and not all(truth):
            ranked = [-value if misaligned else value for _, value in scored]
            found.append(statistics.average_precision(name + suffix, [o.id for o, _ in scored], truth, ranked))
    return found


def parts_of(outcomes: Iterable[Outcome]) -> list[str]:
    """The subsets that occur, in order of their names; none where there is only one."""
    parts = sorted({outcome.part for outcome in outcomes})
    return parts if len(parts) > 1 else []


def suffix_of(part: str) -> str:
    """``in-domain`` at the end of a metric's name: ``_in_domain``."""
    plain = "".join(character if character.isalnum() else "_" for character in part.lower())
    return f"_{plain}" if plain else ""
