"""Fit layers and epsilon of ``detect`` to a model, on a data set that says which words are false, or find the epsilon
of a share of false alarms on captions that are right (:mod:`clipalign.evaluation.false_alarms`).

k is the number of layers with the best LA (share of false captions whose lowest word is false); epsilon the threshold
with the best F1 over all words of all captions. F1 on the captions that epsilon was fitted on is too high, so it is
also given on held-out captions, and epsilon with its bootstrap interval.
"""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from clipalign.calibration import FEATURES, FalseAlarms, SavedCalibration, curve, features
from clipalign.data.words import Mode
from clipalign.errors import InputUnreadable, UsageError
from clipalign.eval_results import Calibration, LayerCalibration, Metric
from clipalign.evaluation.benchmark import Benchmark, CaptionOutcome, Unreadable
from clipalign.evaluation.evaluate import score_chunk
from clipalign.evaluation.false_alarms import bounded_epsilon
from clipalign.evaluation.metrics import INTERVAL_PERCENT, Array
from clipalign.evaluation.score_cache import ScoreCache
from clipalign.evaluation.self_labels import SelfLabeled
from clipalign.evaluation.tasks.words import DetectEvaluator, WordBenchmark, is_false, localization

if TYPE_CHECKING:
    from clipalign.evaluation.settings import EvalSettings
    from clipalign.models.model import LoadedModel
    from clipalign.results import Provenance

DRAWS: Final = 200  # bootstrap draws of epsilon; each goes over all words
SAME: Final = 1e-5
"""Of the largest attribution; closer ones count as equal, since processors round differently (by 1e-6 of it)."""

FOLDS: Final = 2


def calibrate(
    benchmark: Benchmark[Any, Any],
    loaded: LoadedModel,
    settings: EvalSettings,
    *,
    progress: Callable[[int], None] = lambda samples: None,
) -> Calibration:
    """Try every k from one layer to all, or the one in ``settings``; pictures are encoded once.

    With ``settings.false_alarms`` k is not fitted: it is that of ``settings`` or the model's own, since the promise
    would not hold for a k that was chosen on the same captions. ``progress`` is called for each k with the number of
    samples just done.

    Raises:
        UsageError: the benchmark does not know false words, a setting is out of its range, or there are too few right
            captions for the false alarms that were asked for.
        MissingDataset: the data is missing.
        InputUnreadable: no sample can be read, or none has a false word.
    """
    bounded = settings.false_alarms is not None
    if not isinstance(benchmark, WordBenchmark) or not (benchmark.localizes or bounded):
        raise UsageError(
            f"{benchmark.name} does not say which words are false, so that nothing can be calibrated on it",
            hint="use foil, nocaps-foil, hat, richhf or pictogram-foil",
            input="--calibrate",
        )
    benchmark.check()
    cache, tried, saved = ScoreCache(), [], []
    for layers in layers_tried(loaded, settings):
        evaluator = benchmark.evaluator(loaded, replace(settings, layers=layers, mode=Mode.MOST_NEGATIVE.value))
        assert isinstance(evaluator, DetectEvaluator)
        evaluator.share(cache)
        with closing(evaluator):
            outcomes, unreadable = scored(benchmark, evaluator, settings, progress)
        if bounded:
            saved.append(_bounded(benchmark.name, outcomes, evaluator.provenance, settings.false_alarms or 0.0))
            continue
        words = _words(benchmark.name, outcomes)
        (la,) = localization("la", outcomes)
        tried.append(_calibrated(layers, la.metric(seed=settings.seed), words, len(outcomes), seed=settings.seed))
        saved.append(_saved(benchmark.name, outcomes, evaluator.provenance, tried[-1].epsilon))
    wrong = [one for one in outcomes if not one.correct]
    marks = [is_false(one, word) for one in outcomes for word in one.result.words if word.attribution is not None]
    counts = {
        "samples": len(outcomes),
        "false_captions": len(wrong),
        "words": len(marks),
        "false_words": sum(marks),
        "unreadable": unreadable,
    }
    provenance = evaluator.provenance
    best = max(range(len(tried)), key=lambda index: tried[index].la, default=0)
    kept = {name: value for name, value in provenance.settings.items() if name not in ("layers", "epsilon", "mode")}
    return Calibration(
        dataset=benchmark.name,
        model=provenance.model,
        saved=saved[best],
        chosen=tried[best] if tried else None,
        layers=tuple(tried),
        found=sum(_lowest(one) < saved[best].epsilon for one in wrong) / len(wrong) if bounded and wrong else None,
        counts=counts,
        settings={**kept, "limit": settings.limit, "seed": settings.seed, "data": dict(benchmark.data)},
        provenance=provenance,
        notes=tuple(_notes(benchmark, counts)),
    )


def layers_tried(loaded: LoadedModel, settings: EvalSettings) -> Sequence[int]:
    """Return each k that :func:`calibrate` measures."""
    given = settings.layers or (loaded.row.layers if settings.false_alarms is not None else None)
    return [given] if given else range(1, text_layers(loaded) + 1)


def _lowest(outcome: CaptionOutcome) -> float:
    return min((word.attribution for word in outcome.result.words if word.attribution is not None), default=math.inf)


def _bounded(name: str, outcomes: Sequence[CaptionOutcome], provenance: Provenance, asked: float) -> SavedCalibration:
    lowest = [low for one in outcomes if one.correct and math.isfinite(low := _lowest(one))]
    epsilon, bound = bounded_epsilon(lowest, asked)
    return _saved(name, outcomes, provenance, epsilon, bound)


def _saved(
    name: str,
    outcomes: Sequence[CaptionOutcome],
    provenance: Provenance,
    epsilon: float,
    bound: FalseAlarms | None = None,
) -> SavedCalibration:
    """With the fingerprint of the right captions that have no word below epsilon."""
    right = [one.result for one in outcomes if one.correct and epsilon <= _lowest(one) < math.inf]
    rows = [features([asdict(word) for word in one.words], one.cosine) for one in right]
    settings: dict[str, Any] = provenance.settings
    return SavedCalibration(
        model=provenance.model,
        weights_sha256=provenance.weights_sha256,
        layers=settings["layers"],
        template=settings["template"],
        epsilon=epsilon,
        dataset=name,
        false_alarms=bound,
        captions=len(rows),
        fingerprint={feature: curve(row[feature] for row in rows) for feature in FEATURES} if rows else {},
    )


def text_layers(loaded: LoadedModel) -> int:
    from clipalign.models.attribution import text_layers as layers_of

    return layers_of(loaded.network, loaded.architecture)


def scored(
    benchmark: Benchmark[Any, Any], evaluator: DetectEvaluator, settings: EvalSettings, progress: Callable[[int], None]
) -> tuple[list[CaptionOutcome], int]:
    """Outcomes of all samples that can be read, and how many cannot; InputUnreadable where there are none."""
    samples = benchmark.samples(limit=settings.limit, seed=settings.seed)
    found: list[CaptionOutcome | Unreadable] = []
    while chunk := tuple(itertools.islice(samples, evaluator.chunk_samples)):
        found += score_chunk(evaluator, chunk, on_error=settings.on_error)
        progress(len(chunk))
    outcomes = [outcome for outcome in found if isinstance(outcome, CaptionOutcome)]
    if not outcomes:
        raise InputUnreadable(f"no sample of {benchmark.name} could be read", input=benchmark.name)
    return outcomes, len(found) - len(outcomes)


@dataclass(frozen=True, eq=False)
class _Words:
    """All scored words (W), lowest attribution first, each with its caption's index and fold: 0 or 1, by picture."""

    values: Array
    false: Array
    caption: Array
    fold: Array


def _words(name: str, outcomes: Sequence[CaptionOutcome]) -> _Words:
    rows: list[tuple[float, bool, int, int]] = []
    for index, outcome in enumerate(outcomes):
        half = hashlib.sha256(outcome.result.image.encode("utf-8", "surrogateescape")).digest()[0] % FOLDS
        rows += [
            (word.attribution, is_false(outcome, word), index, half)
            for word in outcome.result.words
            if word.attribution is not None
        ]
    if not any(false for _, false, _, _ in rows):
        hint = "without labels: --self makes false captions, --false-alarms needs none"
        raise InputUnreadable(f"no caption of {name} has a false word that was scored", hint=hint, input=name)
    rows.sort(key=lambda row: row[0])
    values, false, caption, fold = (np.array(column) for column in zip(*rows, strict=True))
    return _Words(values, false, caption, fold)


def _calibrated(layers: int, la: Metric, words: _Words, captions: int, *, seed: int) -> LayerCalibration:
    assert la.low is not None
    assert la.high is not None
    everything = np.ones(len(words.values))
    epsilon = best_epsilon(words.values, words.false, everything)
    generator = np.random.default_rng(seed)
    drawn = [np.bincount(generator.integers(0, captions, captions), minlength=captions) for _ in range(DRAWS)]
    epsilons = [best_epsilon(words.values, words.false, counted[words.caption].astype(float)) for counted in drawn]
    low, high = np.percentile(epsilons, INTERVAL_PERCENT)
    precision, recall, f1 = precision_recall_f1(words.values, words.false, everything, epsilon)
    return LayerCalibration(
        layers, la.value, la.low, la.high, epsilon, float(low), float(high), precision, recall, f1, _held_out(words)
    )


def best_epsilon(values: Array, false: Array, counted: Array) -> float:
    """The threshold with the best F1, midway between two words, never above all; ``values`` are ascending (W).

    ``counted`` is how often each word counts (W).
    """
    caught = np.cumsum(counted * false)
    called = np.cumsum(counted)
    whole = caught[-1]
    f1 = 2 * caught / np.maximum(called + whole, 1e-12)
    # A threshold between two words of the same attribution is none, nor is one whose side is the processor's choice.
    f1[:-1][np.diff(values) <= SAME * np.abs(values).max()] = -1.0
    best = int(f1[:-1].argmax()) if len(values) > 1 else 0
    following = values[min(best + 1, len(values) - 1)]
    return float((values[best] + following) / 2)


def precision_recall_f1(values: Array, false: Array, counted: Array, epsilon: float) -> tuple[float, float, float]:
    """Of the words below ``epsilon``; 0 where nothing is called false, or nothing is."""
    called = values < epsilon
    hits, called_false, true = (float(counted @ column) for column in (called & false, called, false))
    precision, recall = hits / called_false if called_false else 0.0, hits / true if true else 0.0
    return precision, recall, 2 * hits / (called_false + true) if called_false + true else 0.0


def _held_out(words: _Words) -> float:
    """Mean F1 of two halves of the pictures, each at the epsilon of the other; a half without a false word counts 0."""
    found = []
    for fold in range(FOLDS):
        inside = (words.fold == fold).astype(float)
        epsilon = best_epsilon(words.values, words.false, 1.0 - inside)
        found.append(precision_recall_f1(words.values, words.false, inside, epsilon)[2])
    return sum(found) / FOLDS


def _notes(benchmark: Benchmark[Any, Any], counts: dict[str, int]) -> Iterator[str]:
    yield (
        f"fitted on {counts['samples']:,} captions of {benchmark.name}, {counts['false_words']:,} of their "
        f"{counts['words']:,} words false: captions of another kind may want other numbers"
    )
    if isinstance(benchmark, SelfLabeled):
        yield "the false captions were made of the true ones, and some may be true: labels fit better"
    if counts["unreadable"]:
        yield f"{counts['unreadable']:,} samples could not be read"
