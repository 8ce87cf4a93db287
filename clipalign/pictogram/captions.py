"""Captions that are true of a scene, and false ones that differ in a single word or phrase.

A caption is a row of parts; decidable ones have a slot, and a foil is the same row with one slot filled wrongly. Kinds
of foil: ``object``, ``color``, ``position``, ``count``, ``size``; of varied scenes also ``relation``, ``negation`` and
``material``.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final
from zlib import crc32

from clipalign.data.words import article
from clipalign.methods.settings import DEFAULT_TEMPLATE
from clipalign.pictogram.scenes import COLORS, KINDS, MANY_WORDS, MATERIALS, SIZE_WORDS, Scene

FOIL_KINDS: Final = ("object", "color", "position", "count", "size")
VARIED_KINDS: Final = (*FOIL_KINDS, "relation", "negation", "material")
FOIL_WEIGHTS: Final = dict(zip(VARIED_KINDS, (4.0, 1.5, 3.0, 2.5, 2.0, 6.0, 5.0, 2.0), strict=True))
PREFIXES: Final = (DEFAULT_TEMPLATE, "a photo of ", "a picture of ", "an image of ", "there is ")
_PAIRS: Final = (("left", "right"), ("top", "bottom"), ("above", "below"))
OPPOSITES: Final = {one: other for pair in _PAIRS for one, other in (pair, pair[::-1])}
_VARIED_OPPOSITES: Final = OPPOSITES | {"over": "under", "under": "over"}
CLEARLY_APART: Final = 0.22
"""Minimum distance of two centers, as a share of the canvas, for left of, right of, above and below."""
CLEARLY_ASIDE: Final = 0.36
"""Maximum distance of a center from an edge for on the left, on the right, at the top and at the bottom."""
ALL_ASIDE: Final = 0.46
"""The same for each of several."""
APART: Final = 0.08
"""Minimum gap between the centers of one group and those of another for left of, right of, above and below."""


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a caption: ``slot`` is its foil kind or None, ``group`` the index it describes, -1 for the scene.

    ``article`` marks "a" or "an", chosen by the next word; its text is empty.
    """

    text: str
    slot: str | None = None
    group: int = -1
    article: bool = False


@dataclass(frozen=True, slots=True)
class Foil:
    """A false caption: what was swapped, and the characters of the replacement."""

    text: str
    kind: str
    start: int
    end: int

    @property
    def words(self) -> str:
        return self.text[self.start : self.end]


@dataclass(frozen=True, slots=True)
class Caption:
    scene: Scene
    parts: tuple[Part, ...]

    @property
    def text(self) -> str:
        return join_parts(self.parts)[0]

    def foil_kinds(self) -> tuple[str, ...]:
        present = {part.slot for part in self.parts}
        return tuple(kind for kind in VARIED_KINDS if kind in present)

    def foil(self, rng: random.Random, kind: str) -> Foil:
        """Return the caption with one slot of ``kind`` made false; ``IndexError`` if it has none."""
        index = rng.choice([i for i, part in enumerate(self.parts) if part.slot == kind])
        wrong = falsify(rng, self.scene, self.parts[index])
        text, spans = join_parts((*self.parts[:index], wrong, *self.parts[index + 1 :]))
        return Foil(text, kind, *spans[index])


def falsify(rng: random.Random, scene: Scene, part: Part) -> Part:
    match part.slot:
        case "object":
            others = [kind for kind in range(len(KINDS)) if kind not in scene.kinds]
            return replace(part, text=noun(rng, rng.choice(others), scene.groups[part.group].count))
        case "color":
            return replace(part, text=rng.choice([color for color in COLORS if color != scene.color]))
        case "count":
            return replace(part, text=rng.choice([word for word in scene.count_words.values() if word != part.text]))
        case "size":
            true_size = scene.groups[part.group].size
            return replace(part, text=rng.choice(SIZE_WORDS["small" if true_size == "large" else "large"]))
        case "negation":  # what the picture shows and the caption does not name
            return replace(part, text=noun(rng, scene.groups[part.group].kind, 1))
        case "material":
            return replace(part, text=rng.choice([word for word in MATERIALS if word != part.text]))
        case _:
            return replace(part, text=_VARIED_OPPOSITES[part.text])


def noun(rng: random.Random, kind: int, count: int) -> str:
    if count > 1:
        return KINDS[kind].plural
    names = KINDS[kind].names
    return names[0] if rng.random() < 0.75 else rng.choice(names)


def join_parts(parts: tuple[Part, ...]) -> tuple[str, list[tuple[int, int]]]:
    """Return the text and each part's span, with articles chosen and no space before punctuation."""
    text = ""
    spans = []
    for index, part in enumerate(parts):
        words = part.text
        if part.article:
            words = article(parts[index + 1].text)
        gap = "" if not text or words[0] in ".," else " "
        spans.append((len(text) + len(gap), len(text) + len(gap) + len(words)))
        text += gap + words
    return text, spans


# --- statements -------------------------------------------------------------------------------------------------------


def _thing(rng: random.Random, scene: Scene, index: int) -> list[Part]:
    """ "a small dog", "three cats", "two outlined cats" """
    group = scene.groups[index]
    parts = [Part("", article=True)] if group.count == 1 else [Part(scene.count_words[group.count], "count", index)]
    if group.size in SIZE_WORDS and rng.random() < 0.5:
        parts.append(Part(rng.choice(SIZE_WORDS[group.size]), "size", index))
    if group.material in MATERIALS and rng.random() < 0.6:
        parts.append(Part(group.material, "material", index))
    parts.append(Part(noun(rng, group.kind, group.count), "object", index))
    return parts


def _ground(rng: random.Random, scene: Scene) -> list[Part]:
    """ "on a red background" """
    color = Part(scene.color, "color")
    opening = rng.choice(("on", "on", "against", "with"))
    return [Part(opening), Part("", article=True), color, Part("background")]


def sides(scene: Scene, index: int) -> list[list[Part]]:
    """ "on the left", "at the top": none, one or both. Groups of several have sides in varied scenes."""
    group = scene.groups[index]
    if group.count > 1 and not scene.varied:
        return []
    limit = CLEARLY_ASIDE if group.count == 1 else ALL_ASIDE
    found = []
    for opening, low, high, along in (("on the", "left", "right", group.xs), ("at the", "top", "bottom", group.ys)):
        if max(along) < limit or min(along) > 1 - limit:
            found.append([Part(opening), Part(low if max(along) < limit else high, "position", index)])
    return found


def held_out(scene: Scene, index: int) -> tuple[str, ...]:
    """The words of place of a group that, with its kind and the ground's color, no training scene has.

    An eighth of all combinations, chosen by a hash.
    """
    kind = scene.groups[index].kind
    words = (side[-1].text for side in sides(scene, index))
    return tuple(word for word in words if crc32(f"{kind} {scene.color} {word}".encode()) % 8 == 0)


def _side(rng: random.Random, scene: Scene, index: int) -> list[Part]:
    found = sides(scene, index)
    return rng.choice(found) if found else []


def relation(rng: random.Random, scene: Scene, first: int, second: int) -> list[Part]:
    """Describe the first group relative to the second: "to the left of", "above"; empty when undecidable.

    Plain scenes relate single things only.
    """
    one, other = scene.groups[first], scene.groups[second]
    single = one.count == other.count == 1
    if not (single or scene.varied):
        return []
    apart = CLEARLY_APART if single else APART
    gaps = {"x": gap(one.xs, other.xs), "y": gap(one.ys, other.ys)}
    axis = max(gaps, key=lambda name: abs(gaps[name]))
    if abs(gaps[axis]) < apart:
        return []
    before = gaps[axis] < 0
    if axis == "x":
        word = "left" if before else "right"
        if scene.varied and rng.random() < 0.4:
            return [Part(word, "relation"), Part("of")]
        return [Part("to the"), Part(word, "relation" if scene.varied else "position"), Part("of")]
    if scene.varied and rng.random() < 0.3:
        return [Part("over" if before else "under", "relation")]
    return [Part("above" if before else "below", "relation" if scene.varied else "position")]


def gap(one: tuple[float, ...], other: tuple[float, ...]) -> float:
    """How far all centers of one group are beyond all of the other, below 0 on the near side; 0 where they mix."""
    return min(max(one) - min(other), 0.0) or max(min(one) - max(other), 0.0)


# --- caption styles ---------------------------------------------------------------------------------------------------


def _enumerate(phrases: list[list[Part]]) -> list[Part]:
    """ "X", "X and Y", "X, Y and Z" """
    parts = list(phrases[0])
    for index, phrase in enumerate(phrases[1:], start=1):
        parts += [Part("and" if index == len(phrases) - 1 else ","), *phrase]
    return parts


def _order(rng: random.Random, scene: Scene) -> list[int]:
    return rng.sample(range(len(scene.groups)), len(scene.groups))


def _listing(rng: random.Random, scene: Scene) -> list[Part]:
    parts = _enumerate([_thing(rng, scene, index) for index in _order(rng, scene)])
    return parts + (_ground(rng, scene) if rng.random() < 0.6 else [])


def _some(rng: random.Random, scene: Scene) -> list[Part]:
    chosen = _order(rng, scene)[: rng.choice((1, 2))]
    parts = _enumerate([_thing(rng, scene, index) for index in chosen])
    return parts + _ground(rng, scene)


def _placed(rng: random.Random, scene: Scene) -> list[Part]:
    chosen = _order(rng, scene)[: rng.choice((1, 2))]
    parts = _enumerate([_thing(rng, scene, index) + _side(rng, scene, index) for index in chosen])
    return parts + (_ground(rng, scene) if rng.random() < 0.35 else [])


def _related(rng: random.Random, scene: Scene) -> list[Part]:
    order = _order(rng, scene)
    if len(order) < 2:
        return _placed(rng, scene)
    between = relation(rng, scene, order[0], order[1])
    if not between:
        return _listing(rng, scene)
    parts = _thing(rng, scene, order[0]) + between + _thing(rng, scene, order[1])
    return parts + (_ground(rng, scene) if rng.random() < 0.35 else [])


def _keywords(rng: random.Random, scene: Scene) -> list[Part]:
    phrases = [[Part(noun(rng, group.kind, 1), "object", i)] for i, group in enumerate(scene.groups)]
    phrases.append([Part(scene.color, "color"), Part("background")])
    rng.shuffle(phrases)
    parts = list(phrases[0])
    for phrase in phrases[1:]:
        parts += [Part(","), *phrase]
    return parts


def _sentences(rng: random.Random, scene: Scene) -> list[Part]:
    chosen = _order(rng, scene)[:2]
    parts = []
    for index in chosen:
        verb = "is" if scene.groups[index].count == 1 else "are"
        parts += [Part("there"), Part(verb), *_thing(rng, scene, index), *_side(rng, scene, index), Part(".")]
    return [*parts, Part("the background is"), Part(scene.color, "color"), Part(".")]


STYLES_OF_SPEECH: Final[dict[Callable[[random.Random, Scene], list[Part]], int]] = {
    _listing: 30,
    _some: 20,
    _placed: 18,
    _related: 20,
    _keywords: 5,
    _sentences: 7,
}


def absent(rng: random.Random, scene: Scene) -> int:
    """A kind that the scene does not show."""
    return rng.choice([kind for kind in range(len(KINDS)) if kind not in scene.kinds])


def _negated(rng: random.Random, scene: Scene) -> list[Part]:
    """ "a dog and no cat": what is not there, where a foil names what is there and the caption leaves out."""
    *named, hidden = _order(rng, scene)
    thing = Part(noun(rng, absent(rng, scene), 1), "negation", hidden)
    parts = _enumerate([_thing(rng, scene, index) for index in named]) if named else []
    if named and rng.random() < 0.4:
        parts += [Part("without"), Part("", article=True), thing]
    else:
        opening = rng.choice(("and", "but")) if named else rng.choice(("", "there is"))
        parts += [Part(f"{opening} no".strip()), thing]
    return parts + (_ground(rng, scene) if rng.random() < 0.4 or not named else [])


OPENINGS: Final = ("this picture shows", "we see", "you can see", "in the picture there is", "it shows")


def _described(rng: random.Random, scene: Scene) -> list[Part]:
    """ "We see two cats at the top and a dog on a red background. The cats are above the dog." """
    order = _order(rng, scene)
    phrases = [_thing(rng, scene, index) + (_side(rng, scene, index) if rng.random() < 0.5 else []) for index in order]
    parts = [Part(rng.choice(OPENINGS)), *_enumerate(phrases), *_ground(rng, scene), Part(".")]
    if len(order) > 1:
        between = relation(rng, scene, order[0], order[1])
        if between:
            one, other = ([Part("the"), *_named(phrases[i])] for i in (0, 1))
            verb = "is" if scene.groups[order[0]].count == 1 else "are"
            parts += [*one, Part(verb), *between, *other, Part(".")]
    return parts


def _named(phrase: list[Part]) -> list[Part]:
    return [part for part in phrase if part.slot == "object"]


VARIED_STYLES: Final[dict[Callable[[random.Random, Scene], list[Part]], int]] = {
    _listing: 18,
    _some: 14,
    _placed: 18,
    _related: 22,
    _keywords: 3,
    _sentences: 7,
    _negated: 13,
    _described: 8,
}


def write_caption(rng: random.Random, scene: Scene) -> Caption:
    styles = VARIED_STYLES if scene.varied else STYLES_OF_SPEECH
    style = rng.choices(tuple(styles), tuple(styles.values()))[0]
    parts = style(rng, scene)
    if parts[-1].text != "." and rng.random() < 0.3:
        parts.append(Part("."))
    return Caption(scene, tuple(parts))


def vocabulary() -> frozenset[str]:
    """Words of captions."""
    words = {"a", "an", "and", "there", "is", "are", "the", "background", "on", "at", "to", "of", "against", "with"}
    words.update(("no", "but", "without"), COLORS, MANY_WORDS.values(), MATERIALS, _VARIED_OPPOSITES)
    for kind in KINDS:
        for name in (*kind.names, kind.plural):
            words.update(name.split())
    for synonyms in SIZE_WORDS.values():
        words.update(synonyms)
    for opening in (*PREFIXES, *OPENINGS):
        words.update(opening.lower().split())
    return frozenset(words)
