"""Benchmarks of generated scenes: ``pictogram-foil``, ``pictogram-classify``, ``pictogram-long``, and varied ones.

Offline and seeded; their scenes were used neither for training nor for calibration of the embedded models.

``pictogram-foil``: each scene with a true caption and the same with one word swapped, each foil kind a fifth. Protocol
as for FOIL: mode ``most-negative``, LA over the foils, AP with the true caption as the positive class.
``pictogram-varied`` is the same on scenes with overlap, small things, up to six of a kind, materials and textured
grounds, with relations of groups and negation too; ``pictogram-unseen`` draws everything in a way that no training
scene has, and each caption of ``pictogram-combinations`` tells an object, a place and a color that no training scene
has together.

``pictogram-classify``: scenes of several objects; which of 116 kinds is among them? Every second kind is a class, the
others only appear beside, so that one answer is right. Three parts, a third each: ``large``, the label's object large
among small others; ``equal``, all of one size; ``small``, the label's object small among larger others. Scenes are
drawn at three times the model's side, as photographs are larger than models' inputs. Descriptions come from a kind's
names and from how captions combine it with sizes, counts, places and grounds. No attribute is typical of a kind here,
so they say less than descriptions of photographs' classes, and WCA's gain comes from its crops.

``pictogram-long``: captions that grow detail by detail, with details known to be wrong. Protocol as for sDCI.
``pictogram-varied-long``: the same on varied scenes.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from clipalign.data.classes import Classes
from clipalign.data.words import article
from clipalign.evaluation import metrics
from clipalign.evaluation.benchmark import CLASS_OPTIONS, Benchmark, CaptionOutcome, CaptionSample
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.tasks.class_evaluator import ClassEvaluator, ClassOutcome, ClassSample, ClassTask
from clipalign.evaluation.tasks.classes import class_metrics, top1_statistics
from clipalign.evaluation.tasks.increments import COUNTINGS, IncrementBenchmark
from clipalign.evaluation.tasks.long_captions import LongSample
from clipalign.evaluation.tasks.words import WordBenchmark
from clipalign.pictogram.captions import FOIL_KINDS, PREFIXES, VARIED_KINDS, Caption, held_out, write_caption
from clipalign.pictogram.drawing import draw_scene
from clipalign.pictogram.long_captions import TEST_SPLIT, make_long_sample
from clipalign.pictogram.scenes import (
    CANVAS_PX,
    COLOR_JITTER,
    COLORS,
    COUNT_WORDS,
    KINDS,
    SIZE_WORDS,
    SIZES,
    STYLES,
    Group,
    Scene,
    Thing,
    compose_scene,
    compose_varied,
    place_thing,
    scene_random,
)

if TYPE_CHECKING:
    from clipalign.eval_results import Metric
    from clipalign.evaluation.settings import EvalSettings
    from clipalign.models.model import LoadedModel

GENERATED: Final = "generated pictogram scenes; says nothing about photographs"
SCENES_A_SEED: Final = 1_000_000
SAMPLES_A_SCENE: Final = 2

DRAWN_PX: Final = 3 * CANVAS_PX
SPLIT: Final = "classify"
POOL_CROPS: Final = 60  # as for ImageNet, since crops take most of the time

PARTS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "large": ("large", ("small",)),
    "equal": ("medium", ("medium",)),
    "small": ("small", ("medium", "large")),
}
"""Part → size of the label's object, and sizes of the others."""

OTHERS: Final = (2, 3)  # how many, from and to; fewer where they do not fit

SENTENCES: Final = 24  # descriptions a class

LABELS: Final = tuple(range(0, len(KINDS), 2))  # kinds that are classes, by index

_BESIDE: Final = tuple(kind for kind in range(len(KINDS)) if kind not in set(LABELS))


class PictogramFoil(WordBenchmark):
    """Scenes with a true caption and a foil; the split ``calibration`` is that of the embedded model's k and epsilon.

    ``material`` is how everything in ``varied`` scenes is drawn, which no caption then names; a mixture if it is empty.
    ``combinations`` asks for captions that tell what is held out of training.
    """

    name = "pictogram-foil"
    size: int = 5000
    notes = (GENERATED,)
    mode = "most-negative"
    split: str = "test"
    varied: bool = False
    material: str = ""
    combinations: bool = False

    def samples(self, *, limit: int | None, seed: int) -> Iterator[CaptionSample]:
        wanted = self.size if limit is None else limit
        named = VARIED_KINDS if self.varied and not self.combinations else FOIL_KINDS
        kinds = [kind for kind in named if kind != "material" or not self.material]
        for number in range(-(-wanted // SAMPLES_A_SCENE)):
            pair = self._pair(seed * SCENES_A_SEED + number, kinds[number % len(kinds)])
            yield from pair[: wanted - number * SAMPLES_A_SCENE]

    def _pair(self, number: int, kind: str) -> tuple[CaptionSample, CaptionSample]:
        """Draw scene ``number`` again until its caption has a foil of the wanted kind."""
        rng = scene_random(self.split, number)
        while True:
            scene = compose_varied(rng, material=self.material or None) if self.varied else compose_scene(rng)
            caption = write_caption(rng, scene)
            if kind in caption.foil_kinds() and (not self.combinations or tells_held_out(caption)):
                break
        foil = caption.foil(rng, kind)
        picture, name = draw_scene(scene), f"scene-{number}"
        return (
            CaptionSample(f"{name}-true", picture, name, caption.text, True, kind),
            CaptionSample(f"{name}-{kind}", picture, name, foil.text, False, kind, ((foil.start, foil.end),)),
        )

    def statistics(self, outcomes: Sequence[CaptionOutcome]) -> list[Statistic]:
        return super().statistics(outcomes) + _ranked_pairs(outcomes)


def tells_held_out(caption: Caption) -> bool:
    """Does the caption tell an object, its place and the ground's color that are held out of training together?"""
    places = [part for part in caption.parts if part.slot == "position" and part.group >= 0]
    told = any(part.text in held_out(caption.scene, part.group) for part in places)
    return told and "color" in caption.foil_kinds()


def _ranked_pairs(outcomes: Sequence[CaptionOutcome]) -> list[Statistic]:
    by_scene: dict[str, dict[bool, float]] = {}
    for outcome in outcomes:
        by_scene.setdefault(outcome.result.image, {})[outcome.correct] = outcome.result.cosine
    right = {scene: float(pair[True] > pair[False]) for scene, pair in by_scene.items() if len(pair) == SAMPLES_A_SCENE}
    return [metrics.mean("pairs_ranked_right", list(right), list(right.values()), chance=0.5)] if right else []


class PictogramClassify(Benchmark[ClassSample, ClassOutcome]):
    """``pictogram-classify``; see the module's text."""

    name = "pictogram-classify"
    outcome_type = ClassOutcome
    size: int = 600
    notes = (GENERATED,)
    options = CLASS_OPTIONS

    def samples(self, *, limit: int | None, seed: int) -> Iterator[ClassSample]:
        parts = tuple(PARTS)
        for number in range(self.size if limit is None else limit):
            part = parts[number % len(parts)]
            scene_number = seed * SCENES_A_SEED + number
            rng = scene_random(SPLIT, scene_number)
            label = rng.randrange(len(LABELS))
            scene = compose(rng, LABELS[label], part)
            name = f"scene-{scene_number}-{part}"
            yield ClassSample(name, draw_scene(scene, side_px=DRAWN_PX), name, label, part)

    def evaluator(self, loaded: LoadedModel, settings: EvalSettings) -> ClassEvaluator:
        return ClassEvaluator(loaded, settings, task(), pool=POOL_CROPS)

    def statistics(self, outcomes: Sequence[ClassOutcome]) -> list[Statistic]:
        return top1_statistics(outcomes)

    def measure(self, outcomes: Sequence[ClassOutcome], *, seed: int) -> list[Metric]:
        found = class_metrics(outcomes, classes=len(LABELS), seed=seed)
        for part in PARTS:
            chosen = [outcome for outcome in outcomes if outcome.part == part]
            if chosen:
                found += class_metrics(chosen, classes=len(LABELS), seed=seed, part=part)
        return found


def compose(rng: random.Random, kind: int, part: str) -> Scene:
    """Draw an object of ``kind`` among others that are no class, sized as ``part`` says."""
    color = rng.choice(tuple(COLORS))
    red, green, blue = (min(255, max(0, c + rng.randint(-COLOR_JITTER, COLOR_JITTER))) for c in COLORS[color])
    own, sizes = PARTS[part]
    style = rng.choice((*STYLES, None))
    while True:
        wanted = [(kind, own), *((other, rng.choice(sizes)) for other in rng.sample(_BESIDE, rng.randint(*OTHERS)))]
        placed: list[Thing] = []
        groups = []
        for one, size in sorted(wanted, key=lambda pair: -SIZES[pair[1]][0]):  # small ones fit more easily
            thing = place_thing(rng, one, style or rng.choice(STYLES), size, placed)
            if thing is not None:
                placed.append(thing)
                groups.append(Group(one, size, (thing,)))
        if len(groups) >= OTHERS[0] and any(group.kind == kind for group in groups):
            return Scene(color, (red, green, blue), tuple(groups))


def task() -> ClassTask:
    """The classes for every method, in words that the embedded model knows."""
    kinds = [KINDS[label] for label in LABELS]
    names = tuple(kind.name for kind in kinds)
    described = {kind.name: _sentences(kind.names, kind.plural) for kind in kinds}
    descriptors = {kind.name: _descriptors(kind.names) for kind in kinds}
    words = sorted({word for kind in _BESIDE for word in KINDS[kind].name.split()})
    templates = tuple(f"{prefix}a {{}}" for prefix in PREFIXES) + tuple(f"a {size} {{}}" for size in SIZE_WORDS)
    plain = Classes(names=names)
    sentences = Classes(names=names, descriptions=described)
    return ClassTask(
        names,
        {
            "clip": plain,
            "clip-e": Classes(names=names, templates=templates),
            "clip-d": Classes(names=names, descriptions=descriptors),
            "waffle": Classes(names=names, words=tuple(words)),
            "cupl": sentences,
            "wca": sentences,
        },
    )


def _sentences(names: Sequence[str], plural: str) -> tuple[str, ...]:
    """What captions say of a kind; seeded by its name, so the same in every run."""
    rng = random.Random(f"describe {names[0]}")
    grounds = [f"on {article(color)} {color} background" for color in COLORS]
    places = ["on the left", "on the right", "at the top", "at the bottom"]
    found: dict[str, None] = {}
    while len(found) < SENTENCES:
        if rng.random() < 0.2:
            what = f"{rng.choice(tuple(COUNT_WORDS.values()))} {plural}"
        else:
            size = rng.choice(("", *(word for words in SIZE_WORDS.values() for word in words)))
            what = " ".join(filter(None, (size, rng.choice(names))))
            what = f"{article(what)} {what}"
        found[f"{rng.choice(('', '', *PREFIXES))}{what} {rng.choice((*grounds, *places))}."] = None
    return tuple(found)


def _descriptors(names: Sequence[str]) -> tuple[str, ...]:
    sizes = [f"a {size} {names[0]}" for words in SIZE_WORDS.values() for size in words]
    return (*(f"{article(name)} {name}" for name in names[1:]), *sizes)


class PictogramLong(IncrementBenchmark):
    """``pictogram-long``, and of ``varied`` scenes; see the module's text."""

    name = "pictogram-long"
    size: int = 1000
    notes = (GENERATED, COUNTINGS)
    varied: bool = False

    def samples(self, *, limit: int | None, seed: int) -> Iterator[LongSample]:
        for number in range(self.size if limit is None else limit):
            scene_number = seed * SCENES_A_SEED + number
            sample = make_long_sample(scene_number, split=TEST_SPLIT, varied=self.varied)
            name = f"scene-{scene_number}"
            yield LongSample(name, sample.picture(), name, sample.caption.prefixes(), sample.caption.wrong_prefixes())
