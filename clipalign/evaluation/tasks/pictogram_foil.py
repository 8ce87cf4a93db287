"""``pictogram-foil``: generated scenes, each with a true caption and the same caption with one word swapped.

Offline and seeded; scenes come from a split of their own, on which the embedded model was neither trained nor
calibrated. The foil kinds take turns, so that each counts a fifth. Protocol as for FOIL: mode ``most-negative``, LA
over the foils, AP with the correct caption as the positive class. A foil counts as found when the word with the lowest
attribution, which is the prediction of that mode, lies in the swapped characters; LA is of that word in any mode.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from clipalign.evaluation import metrics as statistics
from clipalign.evaluation.metrics import Statistic, lies_within, lowest_word
from clipalign.evaluation.task import WORD_OPTIONS, Benchmark, Outcome, Sample
from clipalign.evaluation.tasks.words import DetectRoute, read_outcome
from clipalign.pictogram.batches import scene_random
from clipalign.pictogram.captions import FOIL_KINDS, write_caption
from clipalign.pictogram.scenes import compose_scene, draw_scene
from clipalign.results import Metric, Provenance

if TYPE_CHECKING:
    from clipalign.config.values import Settings
    from clipalign.models.model import LoadedModel

DEFAULT_SAMPLES: Final = 5000
SAMPLES_A_SCENE: Final = 2
SCENES_A_SEED: Final = 1_000_000


class PictogramFoil(Benchmark[Sample, Outcome]):
    """The benchmark; see the module's text for its protocol.

    Args:
        split: of the scenes; ``calibration`` for those that the embedded model's k and epsilon were chosen on.
    """

    name = "pictogram-foil"
    size = DEFAULT_SAMPLES
    notes = ("generated pictogram scenes; says nothing about photographs",)
    options = WORD_OPTIONS

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
        """The statistics with their intervals."""
        return [statistic.metric(seed=seed) for statistic in self.statistics(outcomes)]

    def statistics(self, outcomes: Sequence[Outcome]) -> list[Statistic]:
        """LA in all and per foil kind, AP of both scores in all and per foil kind, share of pairs ranked right."""
        found: list[Statistic] = []
        foils = [o for o in outcomes if not o.correct]
        parts = [part for part in FOIL_KINDS if any(o.part == part for o in foils)]
        chances = [_chance(o) for o in foils]
        foils = [o for part in parts for o in foils if o.part == part]  # the order decides what the bootstrap draws
        if foils:
            found.append(_localisation("la", foils, chance=sum(chances) / len(chances)))
            found += [_localisation(f"la_{part}", [o for o in foils if o.part == part]) for part in parts]
        for part in ("", *parts) if len(parts) > 1 else ("",):
            chosen = [o for o in outcomes if part in ("", o.part)]
            ids, truth = [o.id for o in chosen], [o.correct for o in chosen]
            suffix = f"_{part}" if part else ""
            for name, scores in (
                ("ap_clip_score", [o.result.clip_score for o in chosen]),
                ("ap_f_clip_score", [o.result.f_clip_score for o in chosen]),
            ):
                found.append(statistics.average_precision(name + suffix, ids, truth, scores))
        return found + _ranked_pairs(outcomes)

    def reread(self, record: dict[str, Any], provenance: Provenance) -> Outcome:
        """The outcome of a line of ``samples.jsonl``."""
        return read_outcome(record, provenance)

    def wrong_words(self, outcome: Outcome) -> tuple[bool, ...]:
        """The words in the swapped characters."""
        span = outcome.false_span or (0, 0)
        return tuple(lies_within(word, span) for word in outcome.result.words)


def _localisation(name: str, foils: Sequence[Outcome], *, chance: float | None = None) -> Statistic:
    return statistics.mean(name, [o.id for o in foils], [_found(o) for o in foils], chance=chance)


def _found(outcome: Outcome) -> float:
    word = lowest_word(outcome.result)
    return float(word is not None and outcome.false_span is not None and lies_within(word, outcome.false_span))


def _chance(outcome: Outcome) -> float:
    """Share of the caption's words that a blind guess could hit."""
    words = [word for word in outcome.result.words if word.scored]
    span = outcome.false_span or (0, 0)
    return sum(lies_within(word, span) for word in words) / max(1, len(words))


def _ranked_pairs(outcomes: Sequence[Outcome]) -> list[Statistic]:
    """Share of scenes whose true caption scores higher than its foil."""
    by_scene: dict[str, dict[bool, float]] = {}
    for outcome in outcomes:
        by_scene.setdefault(outcome.result.image, {})[outcome.correct] = outcome.result.cosine
    right = {scene: float(pair[True] > pair[False]) for scene, pair in by_scene.items() if len(pair) == SAMPLES_A_SCENE}
    return [statistics.mean("pairs_ranked_right", list(right), list(right.values()), chance=0.5)] if right else []
