"""``pictogram-foil``: generated scenes, each with a true caption and the same caption with one word swapped.

Offline and seeded; scenes come from a split of their own that training and calibration never draw from. The foil kinds
take turns, so that each counts a fifth. Protocol as for FOIL: mode ``most-negative``, LA over the foils, AP with the
correct caption as the positive class. A foil counts as found when the predicted word lies in the swapped characters.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from clipalign.benchmarks.detect_route import DetectRoute
from clipalign.benchmarks.metrics import average_precision_metric, lies_within, lowest_word, mean_metric
from clipalign.benchmarks.task import Benchmark, Outcome, Sample
from clipalign.pictogram.batches import scene_random
from clipalign.pictogram.captions import FOIL_KINDS, write_caption
from clipalign.pictogram.scenes import compose_scene, draw_scene
from clipalign.results import Metric

if TYPE_CHECKING:
    from clipalign.pipeline.model import LoadedModel
    from clipalign.settings import Settings

DEFAULT_SAMPLES: Final = 5000
SAMPLES_A_SCENE: Final = 2
SCENES_A_SEED: Final = 1_000_000


class PictogramFoil(Benchmark[Sample, Outcome]):
    """The benchmark; see the module's text for its protocol."""

    name = "pictogram-foil"
    size = DEFAULT_SAMPLES
    notes = ("generated pictogram scenes; says nothing about photographs",)

    def __init__(self, *, split: str = "test") -> None:
        self.split = split

    def samples(self, *, limit: int | None, seed: int) -> Iterator[Sample]:
        """Pairs of a true caption and its foil, ``DEFAULT_SAMPLES`` in all unless limited."""
        wanted = DEFAULT_SAMPLES if limit is None else limit
        for number in range(-(-wanted // SAMPLES_A_SCENE)):
            pair = self._pair(seed * SCENES_A_SEED + number, FOIL_KINDS[number % len(FOIL_KINDS)])
            yield from pair[: wanted - number * SAMPLES_A_SCENE]

    def _pair(self, number: int, kind: str) -> tuple[Sample, Sample]:
        """Scene ``number``: drawn again until its caption can be falsified in the wanted kind."""
        rng = scene_random(self.split, number)
        while True:
            scene = compose_scene(rng)
            caption = write_caption(rng, scene)
            if kind in caption.foil_kinds():
                break
        foil = caption.foil(rng, kind)
        picture, name = draw_scene(scene), f"scene-{number}"
        return (
            Sample(f"{name}-true", picture, name, caption.text, True, kind),
            Sample(f"{name}-{kind}", picture, name, foil.text, False, kind, (foil.start, foil.end)),
        )

    def route(self, loaded: LoadedModel, settings: Settings) -> DetectRoute:
        """``detect`` in mode ``most-negative``, unless the user chose another."""
        return DetectRoute(loaded, settings, mode="most-negative")

    def measure(self, outcomes: Sequence[Outcome], *, seed: int) -> list[Metric]:
        """LA in all and per foil kind, AP of both scores in all and per foil kind, share of pairs ranked right."""
        metrics: list[Metric] = []
        found = {part: [_found(o) for o in outcomes if o.part == part and not o.correct] for part in FOIL_KINDS}
        found = {part: values for part, values in found.items() if values}
        if found:
            chances = [_chance(o) for o in outcomes if not o.correct]
            everything = [value for values in found.values() for value in values]
            metrics.append(mean_metric("la", everything, seed=seed, chance=sum(chances) / len(chances)))
            metrics += [mean_metric(f"la_{part}", values, seed=seed) for part, values in found.items()]
        parts = ("", *found) if len(found) > 1 else ("",)
        for part in parts:
            chosen = [o for o in outcomes if part in ("", o.part)]
            truth = [o.correct for o in chosen]
            suffix = f"_{part}" if part else ""
            for name, scores in (
                ("ap_clip_score", [o.result.clip_score for o in chosen]),
                ("ap_f_clip_score", [o.result.f_clip_score for o in chosen]),
            ):
                metrics.append(average_precision_metric(name + suffix, truth, scores, seed=seed))
        return metrics + _ranked_pairs(outcomes, seed=seed)


def _found(outcome: Outcome) -> float:
    word = lowest_word(outcome.result)
    return float(word is not None and outcome.false_span is not None and lies_within(word, outcome.false_span))


def _chance(outcome: Outcome) -> float:
    """Share of the caption's words that a blind guess could hit."""
    words = [word for word in outcome.result.words if word.scored]
    span = outcome.false_span or (0, 0)
    return sum(lies_within(word, span) for word in words) / max(1, len(words))


def _ranked_pairs(outcomes: Sequence[Outcome], *, seed: int) -> list[Metric]:
    """Share of scenes whose true caption scores higher than its foil."""
    by_scene: dict[str, dict[bool, float]] = {}
    for outcome in outcomes:
        by_scene.setdefault(outcome.result.image, {})[outcome.correct] = outcome.result.cosine
    right = [float(pair[True] > pair[False]) for pair in by_scene.values() if len(pair) == SAMPLES_A_SCENE]
    return [mean_metric("pairs_ranked_right", right, seed=seed, chance=0.5)] if right else []
