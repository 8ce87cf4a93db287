"""Benchmarks of ``detect``: the evaluator, what counts as a prediction, LA, F1 of words, AP.

LA (localization accuracy) is the share of false captions whose lowest word is a false one, whatever the mode and the
number of false words. A false word that is not in its caption is never found. In mode threshold, F1, precision and
recall are of the words below epsilon, over the scored words of all captions. AP is the average precision of a score:
true captions are the positive class where they stand beside foils; where some captions are wrong, the wrong ones are,
ranked by the negated score.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Final

from clipalign.data.words import Mode
from clipalign.errors import ClipalignError, MissingDataset
from clipalign.evaluation import metrics
from clipalign.evaluation.benchmark import (
    WORD_OPTIONS,
    Benchmark,
    CaptionOutcome,
    CaptionSample,
)
from clipalign.evaluation.dataset_files import find_in
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.picture_evaluator import PictureEvaluator
from clipalign.evaluation.score_cache import ScoreCache
from clipalign.files import is_file
from clipalign.methods.detect import DetectScorer, Pair, detect_each
from clipalign.methods.settings import DetectSettings
from clipalign.results import DetectResult, WordScore

if TYPE_CHECKING:
    from torch import Tensor

    from clipalign.evaluation.settings import EvalSettings
    from clipalign.models.model import LoadedModel

CHUNK_SAMPLES: Final = 256

FREQUENT_WORDS: Final = 5
WORD_CHARACTERS: Final = 40
"""How many of the most frequent words a note names, and how much of each."""

ABOUT: Final = "read published numbers as “about”: the papers' own tables differ by up to 0.03"
NEAREST: Final = (
    "RefCLIPScore takes the nearest of all references, as it is defined; the original code stops at the first"
)

VAL2014: Final = (
    *("val2014", "images/val2014", "images"),
    *("../coco-val2014/val2014", "../coco-val2014", "../coco/val2014", "../val2014"),
)
"""Where pictures of COCO val2014 are looked for, from a data set's folder."""

_TRIED: Final = 50  # pictures looked for before a folder counts as the wrong one


class DetectEvaluator(PictureEvaluator[CaptionSample, CaptionOutcome]):
    """Score captions word by word, for a benchmark with its published ``mode`` and ``epsilon`` (None: the model's own).

    Settings that are None are as published.
    """

    chunk_samples = CHUNK_SAMPLES

    def __init__(
        self, loaded: LoadedModel, settings: EvalSettings, *, mode: str = "threshold", epsilon: float | None = None
    ) -> None:
        names = ("template", "batch_size", "fast_decode")
        given = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
        self._detect = DetectSettings(
            mode=settings.mode or mode,
            epsilon=epsilon if settings.epsilon is None else settings.epsilon,
            layers=settings.layers,
            seed=settings.seed,
            **given,
        )
        self._loaded = loaded
        self._cache: ScoreCache | None = None
        scorer = DetectScorer.of(loaded, self._detect)
        self.provenance = scorer.provenance
        super().__init__(scorer, settings)

    def share(self, cache: ScoreCache) -> None:
        """Take from ``cache``, and add to it, what this run has in common with others of the same model."""
        self._cache, self.known = cache, cache.pictures

    def outcomes(self, read: list[tuple[CaptionSample, Tensor]]) -> list[CaptionOutcome | ClipalignError]:
        samples = [one for one, _ in read]
        found = None if self._cache is None else self._cache.found(samples, self.provenance)
        if found is None:
            pairs = [
                Pair(vector[0], one.text, references=one.references, id=one.id, image_name=one.image_name)
                for one, vector in read
            ]
            results = detect_each(self._loaded, pairs, self._detect)
            found = [_outcome(one, result) for one, result in zip(samples, results, strict=True)]
            if self._cache is not None:
                self._cache.keep(samples, found, self.provenance)
        return found

    def notes(self, outcomes: Sequence[CaptionOutcome]) -> tuple[str, ...]:
        words = (word for outcome in outcomes for word in outcome.result.words if word.misaligned)
        counts = Counter(word.text[:WORD_CHARACTERS].lower() for word in words)
        most = [f"{word} {count / counts.total():.1%}" for word, count in counts.most_common(FREQUENT_WORDS)]
        named = (f"most frequent of {counts.total():,} misaligned words: {', '.join(most)}",) if most else ()
        return (*named, *super().notes(outcomes))


def _outcome(sample: CaptionSample, result: DetectResult | ClipalignError) -> CaptionOutcome | ClipalignError:
    if isinstance(result, ClipalignError):
        return result
    truth = dict(sample.truth)
    return CaptionOutcome(sample.id, sample.text, sample.correct, sample.part, sample.false_spans, result, truth)


class WordBenchmark(Benchmark[CaptionSample, CaptionOutcome]):
    """A benchmark of ``detect``.

    Attributes:
        mode: the published mode, unless the user chose another.
        epsilon: the published threshold; None for the model's own.
        localizes: whether the data says which words are false.
        seeks_false: whether AP takes false captions for the positive class, ranked by the negated score.
    """

    outcome_type = CaptionOutcome
    options: tuple[str, ...] = WORD_OPTIONS
    mode: str = "threshold"
    epsilon: float | None = None
    localizes: bool = True
    seeks_false: bool = False

    def evaluator(self, loaded: LoadedModel, settings: EvalSettings) -> DetectEvaluator:
        return DetectEvaluator(loaded, settings, mode=self.mode, epsilon=self.epsilon)

    def statistics(self, outcomes: Sequence[CaptionOutcome]) -> list[Statistic]:
        """LA, in mode threshold F1 of words, AP, and more; all but F1 per part too."""
        found = []
        for suffix, chosen in {"": outcomes, **by_part(outcomes)}.items():
            placed = self.localizable(chosen) if self.localizes else []
            found += localization(f"la{suffix}", placed)
            if not suffix and any(map(_has_threshold, placed)):
                found += metrics.precision_recall([one.id for one in placed], [_word_counts(one) for one in placed])
            found += precisions(chosen, suffix=suffix, misaligned=self.seeks_false)
            found += self.more_statistics(chosen, suffix)
        return found

    def localizable(self, outcomes: Sequence[CaptionOutcome]) -> Sequence[CaptionOutcome]:
        """The outcomes that LA and F1 are over."""
        return outcomes

    def more_statistics(self, outcomes: Sequence[CaptionOutcome], suffix: str) -> list[Statistic]:
        """Metrics of this benchmark alone; what originals compute, their errors included, is ``published_*``."""
        return []

    def _pictures(self, names: Iterable[str], *folders: str) -> Path:
        """The first of ``folders`` that exists and holds any of the first ``names``; MissingDataset if none does."""
        tried = list(dict.fromkeys(names))[:_TRIED]
        there = [self.folder / one for one in folders if (self.folder / one).is_dir()]
        for folder in there:
            if any(is_file(folder / name) for name in tried):
                return folder
        if there:
            looked = Path(os.path.normpath(there[0]))  # "data/../data" is one of the folders
            raise MissingDataset(
                f"{looked} holds none of the first {len(tried)} pictures of {self.name}, such as {tried[0]}"
                if tried
                else f"{self.folder} has no pictures of {self.name}",
                hint=f"clipalign download {self.name}, or --data-root with the folder that holds {folders[0]}",
                input=str(looked),
            )
        return find_in(self.folder, self.name, *folders)


def is_false(outcome: CaptionOutcome, word: WordScore) -> bool:
    """Whether a word of a caption shares a character with what is false."""
    return any(word.start < end and start < word.end for start, end in outcome.false_spans)


def false_words(outcome: CaptionOutcome) -> tuple[bool, ...]:
    return tuple(is_false(outcome, word) for word in outcome.result.words)


def finds_false_word(outcome: CaptionOutcome) -> bool:
    """Whether the scored word with the lowest attribution is false, whatever mode and epsilon call misaligned."""
    scored = [word for word in outcome.result.words if word.scored]
    return bool(scored) and is_false(outcome, min(scored, key=lambda word: word.attribution or 0.0))


def _has_threshold(outcome: CaptionOutcome) -> bool:
    """Whether epsilon decided; mode most-negative calls one word misaligned in every caption, true or not."""
    return outcome.result.provenance.settings.get("mode") != Mode.MOST_NEGATIVE.value


def _word_counts(outcome: CaptionOutcome) -> tuple[int, int, int]:
    """Scored words that are rightly called misaligned, that are called so, and that are false."""
    pairs = [(word.misaligned, is_false(outcome, word)) for word in outcome.result.words if word.scored]
    return sum(called and wrong for called, wrong in pairs), sum(one for one, _ in pairs), sum(one for _, one in pairs)


@dataclass(frozen=True, slots=True)
class Phrase:
    """Adjacent misaligned words; ``attribution`` is their mean."""

    text: str
    attribution: float


def phrases(result: DetectResult) -> list[Phrase]:
    """The misaligned words of a result in reading order, adjacent ones merged; punctuation between them is ignored."""
    found = []
    for misaligned, run in groupby(result.words, key=lambda word: word.misaligned):
        if misaligned:
            words = list(run)
            mean = sum(word.attribution or 0.0 for word in words) / len(words)
            found.append(Phrase(" ".join(word.text for word in words), mean))
    return found


def lowest_phrase(result: DetectResult) -> Phrase | None:
    return min(phrases(result), key=lambda phrase: phrase.attribution, default=None)


def localization(
    name: str,
    outcomes: Sequence[CaptionOutcome],
    *,
    found: Callable[[CaptionOutcome], bool] = finds_false_word,
    hit: Callable[[CaptionOutcome, WordScore], bool] = is_false,
) -> list[Statistic]:
    """LA over the false captions among ``outcomes``, if there are any; ``found`` decides for a caption.

    ``hit`` tells whether a word chosen at random would count: the share of such words is the chance.
    """
    false = [outcome for outcome in outcomes if not outcome.correct]
    if not false:
        return []
    blind = [[hit(one, word) for word in one.result.words if word.scored] for one in false]
    chance = sum(sum(hits) / max(1, len(hits)) for hits in blind) / len(false)
    return [metrics.mean(name, [one.id for one in false], [float(found(one)) for one in false], chance=chance)]


SCORES: Final = ("clip_score", "f_clip_score", "sum_negative_attribution", "ref_clip_score")
"""Of a pair: higher fits better."""


def precisions(outcomes: Sequence[CaptionOutcome], *, suffix: str = "", misaligned: bool = False) -> list[Statistic]:
    """AP of each score, over true captions and others; none is returned where all are of one kind.

    Metrics of a part have a ``suffix`` and leave out the attribution sum. With ``misaligned``, false captions are the
    positive class, ranked by the negated score.
    """
    found = []
    for name in SCORES:
        if suffix and name == "sum_negative_attribution":
            continue
        scored = [(one, value) for one in outcomes if (value := getattr(one.result, name)) is not None]
        found += precision(f"ap_{name}{suffix}", scored, misaligned=misaligned)
    return found


def precision(
    name: str, scored: Sequence[tuple[CaptionOutcome, float]], *, misaligned: bool = False
) -> list[Statistic]:
    truth = [one.correct != misaligned for one, _ in scored]
    if not any(truth) or all(truth):
        return []
    values = [-value if misaligned else value for _, value in scored]
    return [metrics.average_precision(name, [one.id for one, _ in scored], truth, values)]


def by_part(outcomes: Sequence[CaptionOutcome]) -> dict[str, list[CaptionOutcome]]:
    """Outcomes by part, keyed by the suffix of its metrics and sorted by part; empty where there is only one part."""
    parts = sorted({outcome.part for outcome in outcomes})
    if len(parts) < 2:
        return {}
    return {suffix_of(part): [outcome for outcome in outcomes if outcome.part == part] for part in parts}


def suffix_of(part: str) -> str:
    """The suffix of a part's metrics: ``_in_domain`` for ``in-domain``."""
    plain = "".join(character if character.isalnum() else "_" for character in part.lower())
    return f"_{plain}" if plain else ""
