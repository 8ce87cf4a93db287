"""``pictogram-classify``: generated scenes of several objects; which of 116 kinds is among them?

Offline and seeded; scenes come from a split of their own that training never drew from. Every second kind of the world
is a class, the others are what stands beside: no scene holds two classes, so that the question has one answer. The
parts take turns: ``large``, the label's object large among small others; ``equal``, all of one size; ``small``, the
label's object small among larger others. Scenes are drawn at three times the model's side, as photographs have more
pixels than models look at.

Descriptions come from what the world says of a kind: its names, and how captions put it together with sizes, counts,
places and grounds. Nothing else is true of a kind here: a dog is not more often red than a cat. So descriptions say
less than those of photographs' classes do, and what WCA gains here it gains by its crops.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

from clipalign.data.classes import Classes
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.task import CLASS_OPTIONS, Benchmark
from clipalign.evaluation.tasks.class_evaluator import (
    Classified,
    ClassifyRoute,
    ClassTask,
    LabelledImage,
    read_classified,
)
from clipalign.evaluation.tasks.classes import classification_metrics, classification_statistics
from clipalign.pictogram.batches import scene_random
from clipalign.pictogram.captions import PREFIXES, article
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
    draw_scene,
    place_thing,
)

if TYPE_CHECKING:
    from clipalign.config.values import Settings
    from clipalign.models.model import LoadedModel
    from clipalign.results import Metric, Provenance

DEFAULT_SAMPLES: Final = 600
SCENES_A_SEED: Final = 1_000_000
DRAWN_PX: Final = 3 * CANVAS_PX
SPLIT: Final = "classify"
POOL_CROPS: Final = 60
"""Crops made of a picture: as for ImageNet, since they are what the minutes go into."""

PARTS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "large": ("large", ("small",)),
    "equal": ("medium", ("medium",)),
    "small": ("small", ("medium", "large")),
}
"""Part → size of the label's object, and sizes of the others."""

OTHERS: Final = (2, 3)
"""How many stand beside, from and to; where they find no room, fewer."""

SENTENCES: Final = 24
"""Descriptions a class."""

LABELS: Final = tuple(range(0, len(KINDS), 2))
"""Kinds that are classes, by their place in the world."""

_BESIDE: Final = tuple(kind for kind in range(len(KINDS)) if kind not in set(LABELS))


class PictogramClassify(Benchmark[LabelledImage, Classified]):
    """The benchmark; see the module's text."""

    name = "pictogram-classify"
    size = DEFAULT_SAMPLES
    notes = ("generated pictogram scenes; says nothing about photographs",)
    options = CLASS_OPTIONS

    def samples(self, *, limit: int | None, seed: int) -> Iterator[LabelledImage]:
        """Scenes, ``DEFAULT_SAMPLES`` in all unless limited; parts take turns, classes come as they are drawn."""
        parts = tuple(PARTS)
        for number in range(DEFAULT_SAMPLES if limit is None else limit):
            part = parts[number % len(parts)]
            place = seed * SCENES_A_SEED + number
            rng = scene_random(SPLIT, place)
            label = rng.randrange(len(LABELS))
            scene = compose(rng, LABELS[label], part)
            name = f"scene-{place}-{part}"
            identity = f"{self.name} {place} {part} {scene}"
            yield LabelledImage(name, draw_scene(scene, side_px=DRAWN_PX), name, label, part, identity)

    def route(self, loaded: LoadedModel, settings: Settings) -> ClassifyRoute:
        """All methods, unless the user chose one."""
        return ClassifyRoute(loaded, settings, task(), pool=POOL_CROPS)

    def statistics(self, outcomes: Sequence[Classified]) -> list[Statistic]:
        """Top-1 of every method."""
        return classification_statistics(outcomes)

    def reread(self, record: dict[str, Any], provenance: Provenance) -> Classified:
        """The outcome of a line of ``samples.jsonl``."""
        return read_classified(record)

    def measure(self, outcomes: Sequence[Classified], *, seed: int) -> list[Metric]:
        """Top-1 and top-5 of every method in all, top-1 and what WCA gains in every part."""
        metrics = classification_metrics(outcomes, classes=len(LABELS), seed=seed)
        for part in PARTS:
            chosen = [outcome for outcome in outcomes if outcome.part == part]
            if chosen:
                metrics += classification_metrics(chosen, classes=len(LABELS), seed=seed, part=part)
        return metrics


def compose(rng: random.Random, kind: int, part: str) -> Scene:
    """One thing of ``kind`` among others that are of no class, sized as ``part`` says."""
    color = rng.choice(tuple(COLORS))
    red, green, blue = (min(255, max(0, c + rng.randint(-COLOR_JITTER, COLOR_JITTER))) for c in COLORS[color])
    own, sizes = PARTS[part]
    style = rng.choice((*STYLES, None))
    while True:
        wanted = [(kind, own), *((other, rng.choice(sizes)) for other in rng.sample(_BESIDE, rng.randint(*OTHERS)))]
        placed: list[Thing] = []
        groups = []
        for one, size in sorted(wanted, key=lambda pair: -SIZES[pair[1]][0]):  # small ones find room more easily
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
    """What captions say of a kind, drawn by its name and so the same in every run."""
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
    """Other names of a kind, and what a thing can be in this world."""
    sizes = [f"a {size} {names[0]}" for words in SIZE_WORDS.values() for size in words]
    return (*(f"{article(name)} {name}" for name in names[1:]), *sizes)
