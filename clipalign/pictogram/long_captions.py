"""Long captions of a scene, detail by detail, and for every prefix a detail that is known to be wrong.

A long caption is a row of details, each one statement that the scene decides: what is there, on which ground, how
large, where, and how two things stand to one another. Every prefix is a true caption, less specific than the next. A
wrong detail falsifies the next statement, contradicts an earlier one, or names something that is absent.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import combinations
from typing import Final, Literal

from PIL import Image

from clipalign.pictogram.captions import Part, falsify, join_parts, noun, relation, sides
from clipalign.pictogram.drawing import draw_for_model
from clipalign.pictogram.scenes import (
    DRAWN_PX,
    DRAWN_WEIGHTS,
    KINDS,
    MATERIALS,
    SIZE_WORDS,
    Group,
    Scene,
    compose_scene,
    compose_varied,
    scene_random,
)

Form = Literal["sentences", "phrases"]

TRAIN_SPLIT: Final = "long-train"
VALIDATION_SPLIT: Final = "long-validation"
TEST_SPLIT: Final = "long-test"
"""Splits never share a scene, not even with ``batches`` or ``pictogram-foil``."""

FEWEST_DETAILS: Final = 4

INLINE_SHARE: Final = 0.3
"""Share of introductions with a size or a place, as in "There is a small dog"."""

WRONG_SOURCES: Final = {"next": 50, "absent": 25, "contradiction": 25}


@dataclass(frozen=True, slots=True)
class Detail:
    """One statement of a long caption, with its slots; ``group`` is the group it introduces, or -1."""

    parts: tuple[Part, ...]
    group: int = -1

    @property
    def text(self) -> str:
        """The statement as in a caption, without its period; only phrases begin in lower case."""
        return join_parts(self.parts)[0]


@dataclass(frozen=True, slots=True)
class WrongDetail:
    """A false statement, and what is false about it: one of ``captions.VARIED_KINDS``."""

    text: str
    kind: str


@dataclass(frozen=True, slots=True)
class LongCaption:
    """A true caption of n details, with a false statement in ``wrong`` for each prefix.

    ``form`` is ``sentences``, each with its period, or ``phrases`` between commas.
    """

    scene: Scene
    form: Form
    details: tuple[str, ...]
    wrong: tuple[WrongDetail, ...]

    @property
    def text(self) -> str:
        return self.join(self.details)

    def prefixes(self) -> tuple[str, ...]:
        """The first detail, the first two, …, the whole caption (n), each a prefix of the next by tokens too."""
        return tuple(self.join(self.details[: count + 1]) for count in range(len(self.details)))

    def wrong_prefixes(self) -> tuple[str, ...]:
        """Each of :meth:`prefixes` with a wrong detail after it (n)."""
        return tuple(self.join((*self.details[: count + 1], wrong.text)) for count, wrong in enumerate(self.wrong))

    def join(self, details: tuple[str, ...]) -> str:
        if self.form == "sentences":
            return " ".join(f"{detail[0].upper()}{detail[1:]}." for detail in details)
        return ", ".join(details)


@dataclass(frozen=True, slots=True)
class LongSceneSample:
    """A scene with its long caption, and the side in pixels at which it is drawn before it is scaled."""

    number: int
    caption: LongCaption
    drawn_px: int

    def picture(self) -> Image.Image:
        return draw_for_model(self.caption.scene, self.drawn_px)


def make_long_sample(number: int, *, split: str, varied: bool = False) -> LongSceneSample:
    """Return sample ``number``, any from 0 on, of a split; the same on every machine and in every run."""
    rng = scene_random(split, number)
    while True:
        caption = write_long_caption(rng, compose_varied(rng) if varied else compose_scene(rng))
        if len(caption.details) >= FEWEST_DETAILS:
            return LongSceneSample(number, caption, rng.choices(DRAWN_PX, DRAWN_WEIGHTS)[0])


def write_long_caption(rng: random.Random, scene: Scene) -> LongCaption:
    """Write all statements about the scene in a random order that introduces everything before mentioning it."""
    form: Form = rng.choice(("sentences", "phrases"))
    writer = _Writer(rng, scene, form)
    details = _order(rng, writer.introductions(), writer.statements())
    wrong = tuple(writer.wrong(details, count) for count in range(1, len(details) + 1))
    return LongCaption(scene, writer.form, tuple(detail.text for detail in details), wrong)


def _order(rng: random.Random, introductions: list[Detail], statements: list[tuple[Detail, set[int]]]) -> list[Detail]:
    """Put introductions soon, and other statements after all that they mention is introduced."""
    details: list[Detail] = []
    known: set[int] = set()
    # Every statement becomes ready once all groups are introduced, so the loop ends.
    while introductions or statements:
        ready = [entry for entry in statements if entry[1] <= known]
        if introductions and (not ready or rng.random() < 0.5):
            details.append(introductions.pop())
            known.add(details[-1].group)
        else:
            chosen = rng.choice(ready)
            statements.remove(chosen)
            details.append(chosen[0])
    return details


class _Writer:
    """Words for one scene: each group keeps its name throughout."""

    def __init__(self, rng: random.Random, scene: Scene, form: Form) -> None:
        self._rng = rng
        self._scene = scene
        self.form = form
        self._names = [noun(rng, group.kind, group.count) for group in scene.groups]
        self._said: dict[int, str] = {}  # the size or the side that an introduction told, "" for none

    def introductions(self) -> list[Detail]:
        """Introduce each group in random order: "There is a dog", "There are three small cats", "a dog on the left"."""
        order = self._rng.sample(range(len(self._scene.groups)), len(self._scene.groups))
        return [self._introduce(index) for index in order]

    def _introduce(self, index: int) -> Detail:
        group = self._scene.groups[index]
        single = group.count == 1
        parts = [Part("", article=True)] if single else [Part(self._scene.count_words[group.count], "count", index)]
        thing = Part(self._names[index], "object", index)
        extras = [[self._size(group, index), thing]] if group.size in SIZE_WORDS else []
        extras += [[thing, *side] for side in sides(self._scene, index)]
        inline = extras and self._rng.random() < INLINE_SHARE
        chosen = self._rng.choice(extras) if inline else [thing]
        self._said[index] = next((part.text for part in chosen if part.slot in ("size", "position")), "")
        parts += chosen
        return Detail((*self._there(single), *parts), index)

    def _there(self, single: bool) -> tuple[Part, ...]:
        return (Part("there is" if single else "there are"),) if self.form == "sentences" else ()

    def _size(self, group: Group, index: int) -> Part:
        return Part(self._rng.choice(SIZE_WORDS[group.size]), "size", index)

    def statements(self) -> list[tuple[Detail, set[int]]]:
        """Return all other statements, each with the groups that must be introduced first."""
        scene, found = self._scene, [(self._ground(), set[int]())]
        for index, group in enumerate(scene.groups):
            subject = Part(f"the {self._names[index]}")
            verb = Part("is" if group.count == 1 else "are")
            if group.size in SIZE_WORDS and self._said[index] not in SIZE_WORDS[group.size]:
                found.append((Detail((subject, verb, self._size(group, index))), {index}))
            if group.material in MATERIALS:
                found.append((Detail((subject, verb, Part(group.material, "material", index))), {index}))
            link = (verb,) if self.form == "sentences" else ()
            for side in sides(scene, index):
                if side[-1].text != self._said[index]:
                    found.append((Detail((subject, *link, *side)), {index}))
        for pair in combinations(range(len(scene.groups)), 2):
            first, second = self._rng.sample(pair, 2)
            between = relation(self._rng, scene, first, second)
            if between:
                verb = Part("is" if scene.groups[first].count == 1 else "are")
                link = (verb,) if self.form == "sentences" else ()
                parts = (Part(f"the {self._names[first]}"), *link, *between, Part(f"the {self._names[second]}"))
                found.append((Detail(parts), {first, second}))
        return found

    def _ground(self) -> Detail:
        color = Part(self._scene.color, "color")
        if self.form == "sentences":
            return Detail((Part("the background is"), color))
        return Detail((Part("", article=True), color, Part("background")))

    def wrong(self, details: list[Detail], count: int) -> WrongDetail:
        sources = list(WRONG_SOURCES) if count < len(details) else ["absent", "contradiction"]
        source = self._rng.choices(sources, [WRONG_SOURCES[name] for name in sources])[0]
        if source == "absent":
            return self._absent()
        return self._falsified(details[count] if source == "next" else self._rng.choice(details[:count]))

    def _falsified(self, detail: Detail) -> WrongDetail:
        index = self._rng.choice([i for i, part in enumerate(detail.parts) if part.slot])
        part = detail.parts[index]
        wrong = falsify(self._rng, self._scene, part)
        text = join_parts((*detail.parts[:index], wrong, *detail.parts[index + 1 :]))[0]
        return WrongDetail(text, part.slot or "")

    def _absent(self) -> WrongDetail:
        others = [kind for kind in range(len(KINDS)) if kind not in self._scene.kinds]
        kind = self._rng.choice(others)
        many = self._rng.random() < 0.3
        parts = [Part(self._rng.choice(tuple(self._scene.count_words.values()))) if many else Part("", article=True)]
        parts.append(Part(noun(self._rng, kind, 2 if many else 1)))
        if not many and self._rng.random() < 0.3:
            parts.append(Part(self._rng.choice(("on the left", "on the right", "at the top", "at the bottom"))))
        return WrongDetail(join_parts((*self._there(not many), *parts))[0], "object")
