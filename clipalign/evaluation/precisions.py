"""What an engine and a precision do to the verdicts of ``detect``, against torch in fp32 on the same samples."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from clipalign.data.words import Mode
from clipalign.device import ENGINES, PRECISIONS, TORCH
from clipalign.errors import UsageError
from clipalign.eval_results import EvalResult, Metric
from clipalign.evaluation import metrics
from clipalign.evaluation.benchmark import Benchmark, CaptionOutcome
from clipalign.evaluation.calibrate import scored
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.sweep import Swept
from clipalign.evaluation.tasks.words import DetectEvaluator, WordBenchmark
from clipalign.results import DetectResult

if TYPE_CHECKING:
    from clipalign.evaluation.settings import EvalSettings
    from clipalign.models.model import LoadedModel

PER_WORDS: Final = 10_000


def read_variants(names: Sequence[str]) -> list[tuple[str, str]]:
    """Engine and precision of each ``PRECISION`` or ``ENGINE:PRECISION``; UsageError for others."""
    found = []
    for name in names:
        engine, _, precision = name.rpartition(":")
        if (engine or "auto") not in ENGINES or precision not in PRECISIONS:
            raise UsageError(
                f"--compare-precision wants PRECISION or ENGINE:PRECISION, not {name!r}",
                hint=f"precisions are {', '.join(PRECISIONS)}; engines {', '.join(ENGINES)}",
                input="--compare-precision",
            )
        found.append((engine or "auto", precision))
    return found


def compare_precisions(
    benchmark: Benchmark[Any, Any],
    load: Callable[[str, str], LoadedModel],
    settings: EvalSettings,
    *,
    progress: Callable[[int], None] = lambda samples: None,
) -> list[Swept]:
    """Each of ``settings.compare_precision`` against torch in fp32, as the runs of a sweep.

    Args:
        load: the model on an engine, in a precision.

    Raises:
        UsageError: a benchmark of another command, or a variant that is not available here.
    """
    if not isinstance(benchmark, WordBenchmark):
        hint = "use one of detect, such as foil or pictogram-foil"
        raise UsageError(f"{benchmark.name} has no verdicts on words", hint=hint, input="--compare-precision")

    # As detect marks words, unless another mode is given: a published one may mark the lowest word of every caption.
    settings = replace(settings, mode=settings.mode or Mode.THRESHOLD.value)

    def run(engine: str, precision: str) -> tuple[DetectEvaluator, list[CaptionOutcome], int]:
        loaded = load(engine, precision)
        if loaded.choice.precision != precision:
            raise UsageError(
                f"{precision} is not available: {loaded.choice.reason}",
                hint="leave it out",
                input="--compare-precision",
            )
        with closing(benchmark.evaluator(loaded, settings)) as evaluator:
            return evaluator, *scored(benchmark, evaluator, settings, progress)

    _, reference, _ = run(TORCH, "fp32")
    found = []
    for engine, precision in read_variants(settings.compare_precision):
        evaluator, outcomes, unreadable = run(engine, precision)
        provenance = evaluator.provenance
        changed = changes(reference, outcomes, seed=settings.seed)
        result = EvalResult(
            dataset=benchmark.name,
            model=provenance.model,
            metrics=tuple(changed),
            published=(),
            counts={"samples": len(outcomes), "unreadable": unreadable},
            settings=provenance.settings,
            provenance=replace(provenance),
            notes=tuple(_notes(outcomes, changed)),
        )
        found.append(Swept({"engine": provenance.engine, "precision": precision}, result))
    return found


def changes(before: Sequence[CaptionOutcome], after: Sequence[CaptionOutcome], *, seed: int) -> list[Metric]:
    """What differs between two runs over the same samples, with bootstrap intervals; the largest difference has none.

    ``words_changed`` is per 10,000 words: those that are misaligned in one run and not in the other.
    """
    of_id = {one.id: one.result for one in before}
    after = [one for one in after if one.id in of_id]
    ids = [one.id for one in after]
    pairs = [(of_id[one.id], one.result) for one in after]
    changed = [
        sum(a.misaligned != b.misaligned for a, b in zip(one.words, two.words, strict=True)) for one, two in pairs
    ]
    lowest = [float(_lowest(one) != _lowest(two)) for one, two in pairs]
    scores = [[one.clip_score for one in side] for side in zip(*pairs, strict=True)]
    found: list[Statistic] = [
        metrics.ratio("words_changed", ids, [PER_WORDS * n for n in changed], [len(two.words) for _, two in pairs]),
        metrics.mean("lowest_word_changed", ids, lowest),
        metrics.kendall_b("tau_b_clip_score", ids, *scores),
    ]
    away = max(abs(one.cosine - two.cosine) for one, two in pairs)
    return [*(one.metric(seed=seed) for one in found), Metric("largest_cosine_difference", away, len(pairs))]


def _notes(outcomes: Sequence[CaptionOutcome], changed: Sequence[Metric]) -> Iterator[str]:
    yield "against torch in fp32 on the same samples; words_changed is per 10,000 words"
    if not changed[0].value:
        most = 3 / len(outcomes)  # the rule of three, where a bootstrap cannot tell
        yield f"no word changed in {len(outcomes):,} samples: with 95% confidence one does in fewer than {most:.2%}"


def _lowest(result: DetectResult) -> int:
    values = [word.attribution or 0.0 for word in result.words]
    return min(range(len(values)), key=values.__getitem__, default=-1)
