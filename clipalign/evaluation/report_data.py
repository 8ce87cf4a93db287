"""Gather what the report of a finished run shows: distributions of scores, and the best and worst samples.

A false caption is better the lower its false word lies below the lowest of its other words; where the data set does not
say which words are false, its own measure of the prediction decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from clipalign.data.images import thumbnail_of
from clipalign.errors import ClipalignError
from clipalign.eval_results import Distribution, EvalReport, Example
from clipalign.evaluation.benchmark import Benchmark, BrokenSample, CaptionOutcome
from clipalign.evaluation.dataset_files import open_picture
from clipalign.evaluation.load_run import load_run
from clipalign.evaluation.tasks.words import is_false

if TYPE_CHECKING:
    from clipalign.evaluation.settings import EvalSettings

EXAMPLES: Final = 12  # of each kind

PICTURE_PX: Final = 192  # longer side of a picture on the page

NLI_KEY: Final = "nli"


def report_data(benchmark: Benchmark[Any, Any], settings: EvalSettings) -> EvalReport:
    """Data of the report on the run in ``settings.output``; UsageError if it is not finished."""
    assert settings.output is not None
    run = load_run(settings.output)
    outcomes = [outcome for outcome in run.outcomes.values() if isinstance(outcome, CaptionOutcome)]
    rated = sorted(_rated(outcomes), key=lambda one: one[0])
    worst = [outcome for _, outcome in rated[: min(EXAMPLES, len(rated) // 2)]]
    best = [outcome for _, outcome in rated[::-1][: min(EXAMPLES, len(rated) - len(worst))]]
    pictures = _pictures(benchmark, {outcome.id for outcome in (*worst, *best)}, settings)

    def example(outcome: CaptionOutcome) -> Example:
        record = asdict(outcome.result) | {"id": outcome.id}
        if NLI_KEY not in outcome.truth:
            words = outcome.result.words
            record["words"] = [asdict(word) | {"false": is_false(outcome, word)} for word in words]
        return Example(record, _truth(outcome), pictures.get(outcome.id))

    return EvalReport(
        document=run.document,
        distributions=tuple(_distributions(outcomes)),
        worst=tuple(map(example, worst)),
        best=tuple(map(example, best)),
    )


def _rated(outcomes: Sequence[CaptionOutcome]) -> Iterator[tuple[float, CaptionOutcome]]:
    for outcome in outcomes:
        if outcome.correct:
            continue
        false, true = _attributions(outcome)
        if false and true:
            yield min(true) - min(false), outcome
        elif NLI_KEY in outcome.truth:
            yield float(outcome.truth[NLI_KEY]), outcome


def _attributions(outcome: CaptionOutcome) -> tuple[list[float], list[float]]:
    """Of the false words and of the others."""
    found: tuple[list[float], list[float]] = ([], [])
    for word in outcome.result.words:
        if word.attribution is not None:
            found[0 if is_false(outcome, word) else 1].append(word.attribution)
    return found


def _distributions(outcomes: Sequence[CaptionOutcome]) -> Iterator[Distribution]:
    by_kind = {
        "correct captions": [o for o in outcomes if o.correct],
        "false captions": [o for o in outcomes if not o.correct],
    }
    for title, name in (
        ("CLIPScore", "clip_score"),
        ("F-CLIPScore", "f_clip_score"),
        ("RefCLIPScore", "ref_clip_score"),
    ):
        groups = {
            kind: tuple(value for o in chosen if (value := getattr(o.result, name)) is not None)
            for kind, chosen in by_kind.items()
        }
        yield from _distribution(title, groups)
    pooled: dict[str, list[float]] = {"true words": [], "false words": []}
    for outcome in outcomes:
        false, true = _attributions(outcome)
        pooled["false words"] += false
        pooled["true words"] += true
    if pooled["false words"]:
        yield from _distribution("attribution of a word", {name: tuple(values) for name, values in pooled.items()})
    if any(NLI_KEY in o.truth for o in outcomes):
        chances = tuple(float(o.truth[NLI_KEY]) for o in outcomes if NLI_KEY in o.truth)
        yield from _distribution("probability that the prediction follows", {"captions": chances})


def _distribution(title: str, groups: dict[str, tuple[float, ...]]) -> Iterator[Distribution]:
    filled = tuple((name, values) for name, values in groups.items() if values)
    if filled:
        yield Distribution(title, filled)


def _truth(outcome: CaptionOutcome) -> str:
    if NLI_KEY not in outcome.truth:
        return ""
    feedback = outcome.truth.get("feedback", "")
    return f"people said: {feedback} (the prediction follows with {float(outcome.truth[NLI_KEY]):.3f})"


def _pictures(benchmark: Benchmark[Any, Any], wanted: set[str], settings: EvalSettings) -> dict[str, bytes]:
    """Thumbnails of these samples, as far as they can be read."""
    found: dict[str, bytes] = {}
    left = set(wanted)
    if not left:
        return found
    for sample in benchmark.samples(limit=settings.limit, seed=settings.seed):
        if sample.id in left:
            left.discard(sample.id)
            if not isinstance(sample, BrokenSample):
                try:
                    picture = open_picture(sample.image, exif=settings.protocol == "exif")
                    found[sample.id] = thumbnail_of(picture, PICTURE_PX)
                except ClipalignError:
                    continue  # it could be read when it was scored; the example goes without
        if not left:
            break
    return found
