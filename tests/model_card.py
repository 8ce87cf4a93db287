"""Measure the embedded models on scenes that nothing was trained or set on, and write what their card says of it.

python -m tests.model_card                            # all, and renew the card; some minutes
python -m tests.model_card --captions 200             # a look, of so many captions a seed; writes nothing
python -m tests.model_card --model runs/folder        # another model's figures; writes nothing

Every figure is over the captions of all ``SEEDS`` together, with its bootstrap interval; the range of the seeds' own
values stands beside those over all kinds.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator, Sequence
from contextlib import closing
from itertools import chain, islice
from typing import Any, Final, NamedTuple

from clipalign import load
from clipalign.eval_results import Metric
from clipalign.evaluation import metrics
from clipalign.evaluation.benchmark import Benchmark, CaptionOutcome
from clipalign.evaluation.evaluate import score_chunk
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.registry import find_benchmark
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.words import WordBenchmark, is_false, suffix_of
from clipalign.models.model import LoadedModel
from clipalign.pictogram.scenes import HERE

CARD: Final = HERE / "MODEL_CARD.md"
SEEDS: Final = (21, 22, 23)
"""Of scenes that are used nowhere else; 0 is what ``eval`` takes, 1 what k and epsilon were chosen on."""
CAPTIONS: Final = 800
LONG_CAPTIONS: Final = 160
WORDS: Final = ("pictogram-foil", "pictogram-varied", "pictogram-unseen", "pictogram-combinations")
LONG: Final = ("pictogram-long", "pictogram-varied-long")
COLUMNS: Final = {
    "la": "LA",
    "ap_clip_score": "AP CLIPScore",
    "ap_f_clip_score": "AP F-CLIPScore",
    "ranked": "true above foil",
    "found": "foils found",
    "alarms": "false alarms",
}
KINDS: Final = ("object", "color", "position", "count", "size", "relation", "negation", "material")


class Measured(NamedTuple):
    """Metrics over the captions of all seeds, and each seed's own values."""

    all: dict[str, Metric]
    by_seed: list[dict[str, float]]


def measure(name: str, loaded: LoadedModel, samples: int) -> Measured:
    benchmark = find_benchmark(name)

    def statistics(outcomes: list[Any]) -> list[Statistic]:
        words = isinstance(benchmark, WordBenchmark)
        return benchmark.statistics(outcomes) + (verdicts(outcomes, loaded.row.epsilon) if words else [])

    seeds = [_outcomes(benchmark, loaded, samples, seed) for seed in SEEDS]
    by_seed = [{one.name: one.value() for one in statistics(outcomes)} for outcomes in seeds]
    return Measured({one.name: one.metric(seed=0) for one in statistics([*chain(*seeds)])}, by_seed)


def _outcomes(benchmark: Benchmark[Any, Any], loaded: LoadedModel, samples: int, seed: int) -> list[Any]:
    with closing(benchmark.evaluator(loaded, EvalSettings(dataset=benchmark.name))) as evaluator:
        every = benchmark.samples(limit=samples, seed=seed)
        chunks = iter(lambda: tuple(islice(every, evaluator.chunk_samples)), ())
        return [outcome for chunk in chunks for outcome in score_chunk(evaluator, chunk, on_error="fail")]


def verdicts(outcomes: Sequence[CaptionOutcome], epsilon: float) -> list[Statistic]:
    """Of each kind and of all: foils with a false word below epsilon, true captions with any, pairs ranked right."""
    found = []
    for kind in ("", *KINDS):
        chosen = [one for one in outcomes if kind in ("", one.part)]
        cosines = {(one.result.image, one.correct): one.result.cosine for one in chosen}
        values: dict[str, dict[str, float]] = {"found": {}, "alarms": {}, "ranked": {}}
        for one in chosen:
            low = [word for word in one.result.words if word.attribution is not None and word.attribution < epsilon]
            if one.correct:
                values["alarms"][one.id] = float(bool(low))
            else:
                values["found"][one.id] = float(any(is_false(one, word) for word in low))
                values["ranked"][one.id] = float(cosines[one.result.image, True] > one.result.cosine)
        suffix = suffix_of(kind)
        found += [metrics.mean(name + suffix, [*by_id], [*by_id.values()]) for name, by_id in values.items() if by_id]
    return found


def _cell(metric: Metric | None) -> str:
    return "" if metric is None else f"{metric.value:.3f} ({metric.low:.3f} to {metric.high:.3f})"


def words_table(measured: Measured) -> Iterator[str]:
    yield f"| swapped | {' | '.join(COLUMNS.values())} |"
    yield f"|{'---|' * (len(COLUMNS) + 1)}"
    for kind in (*KINDS, ""):
        cells = [_cell(measured.all.get(name + suffix_of(kind))) for name in COLUMNS]
        if any(cells):
            yield f"| {kind or 'all'} | {' | '.join(cells)} |"
    yield f"| seeds | {' | '.join(_range(measured, name) for name in COLUMNS)} |"


def _range(measured: Measured, name: str) -> str:
    values = [values[name] for values in measured.by_seed]
    return f"{min(values):.3f} to {max(values):.3f}"


def long_table(rows: dict[str, Measured]) -> Iterator[str]:
    yield "| data | positive | negative | average | seeds |"
    yield "|---|---|---|---|---|"
    for name, measured in rows.items():
        cells = [_cell(measured.all[metric]) for metric in ("positive", "negative", "average")]
        yield f"| `{name}` | {' | '.join(cells)} | {_range(measured, 'average')} |"


def figures(models: dict[str, str], captions: int, long_captions: int) -> dict[str, str]:
    """The tables by the name of their benchmark; ``long`` for those of long captions."""
    loaded = load(models["words"], device="cpu").loaded
    tables = {name: "\n".join(words_table(measure(name, loaded, captions))) for name in WORDS}
    loaded = load(models["long"], device="cpu").loaded
    tables["long"] = "\n".join(long_table({name: measure(name, loaded, long_captions) for name in LONG}))
    return tables


def renewed(card: str, tables: dict[str, str]) -> str:
    """The card with each table between its marks; a mark without a table, or the reverse, is an error."""
    for name, table in tables.items():
        mark = re.compile(rf"(<!-- figures: {name} -->\n)(?:\|.*\n)*")
        card, times = mark.subn(rf"\g<1>{table}\n", card)
        if times != 1:
            raise SystemExit(f"{CARD.name} has {times} places for {name}")
    return card


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the embedded models and renew their card.")
    parser.add_argument("--captions", type=int, help="captions a seed; writes nothing")
    parser.add_argument("--model", help="another model, for short and long texts; writes nothing")
    asked = parser.parse_args()
    models = {"words": asked.model or "pictogram", "long": asked.model or "pictogram-long"}
    tables = figures(models, asked.captions or CAPTIONS, (asked.captions or CAPTIONS) * LONG_CAPTIONS // CAPTIONS)
    print("\n\n".join(f"{name}\n\n{table}" for name, table in tables.items()))
    if not asked.captions and not asked.model:
        CARD.write_text(renewed(CARD.read_text(encoding="utf-8"), tables), encoding="utf-8")


if __name__ == "__main__":
    main()
