"""Training batches from scene numbers: pictures, a true caption and several foils each, and what stands where.

Scene ``n`` of a split is the same on every machine and in every run, so that training can stop and go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Final

import numpy as np
import torch

from clipalign.methods.settings import DEFAULT_TEMPLATE
from clipalign.pictogram.captions import FOIL_WEIGHTS, PREFIXES, Caption, held_out, sides, write_caption
from clipalign.pictogram.drawing import draw_for_model
from clipalign.pictogram.long_captions import write_long_caption
from clipalign.pictogram.scenes import (
    COLORS,
    DRAWN_PX,
    DRAWN_WEIGHTS,
    KINDS,
    MANY_WORDS,
    MATERIALS,
    SIZES,
    Scene,
    compose_scene,
    compose_varied,
    scene_random,
)

GRID: Final = 6
"""Cells a side of the dense target, the resolution of the image tower's third stage."""
NO_KIND: Final = len(KINDS)
COLOR_NAMES: Final = tuple(COLORS)
FIELDS: Final = {"count": max(MANY_WORDS), "size": len(SIZES), "across": 2, "down": 2, "material": 1 + len(MATERIALS)}
"""What is to be known of each group, and how many values it has."""
GROUPS: Final = 3
VARIED_SHARE: Final = 0.7
LONG_SHARE: Final = 0.15
"""Shares of varied scenes, and of long captions."""
HARD: Final = {"relation", "negation"}
"""Of two captions that are written, one with such a part is taken."""
START_TOKEN: Final = 49406
END_TOKEN: Final = 49407


@dataclass(frozen=True, slots=True)
class Text:
    """A text of a scene: whether it is true, its false characters, and whether its words are told true or false."""

    text: str
    is_true: bool
    false: tuple[int, int] | None = None
    judged: bool = True


@dataclass(frozen=True, slots=True)
class SceneSample:
    """A scene, the side at which it is drawn before it is scaled, and its texts with their prefix.

    The first text is true and the scene's best; ``caption`` is its form, None for a long one.
    """

    scene: Scene
    drawn_px: int
    texts: tuple[Text, ...]
    prefix: str
    caption: Caption | None


def make_sample(number: int, *, split: str, foils: int) -> SceneSample:
    rng = scene_random(split, number)
    compose = compose_varied if rng.random() < VARIED_SHARE else compose_scene
    scene = compose(rng)
    while any(held_out(scene, index) for index in range(len(scene.groups))):
        scene = compose(rng)
    drawn_px = rng.choices(DRAWN_PX, DRAWN_WEIGHTS)[0]
    if rng.random() < LONG_SHARE:
        long = write_long_caption(rng, scene)
        if len(long.details) > 1:
            at = rng.randrange(1, len(long.details))
            true, shorter = (Text(long.prefixes()[end], True, judged=False) for end in (at, at - 1))
            others = [Text(long.wrong_prefixes()[at], False, judged=False), shorter] * foils
            return SceneSample(scene, drawn_px, (true, *others[:foils]), "", None)
    captions = [write_caption(rng, scene) for _ in range(2)]
    caption = next((one for one in captions if HARD & {*one.foil_kinds()}), captions[0])
    kinds = caption.foil_kinds()
    chosen = rng.choices(kinds, [FOIL_WEIGHTS[kind] for kind in kinds], k=foils)
    prefix = rng.choices(("", DEFAULT_TEMPLATE, rng.choice(PREFIXES)), (25, 45, 30))[0]
    wrong = [caption.foil(rng, kind) for kind in chosen]
    foiled = (Text(foil.text, False, (foil.start, foil.end)) for foil in wrong)
    return SceneSample(scene, drawn_px, (Text(caption.text, True), *foiled), prefix, caption)


@dataclass(frozen=True, slots=True)
class SceneBatch:
    """B scenes with F further texts each, as tensors.

    Attributes:
        pixels: (B, 3, S, S) in 0 to 255; after ``normalize`` as the image tower takes them.
        ids: (B * (1 + F), T) token ids; the B true captions, then the first foil of every scene, and so on.
        ends: (B * (1 + F),) position of the end token.
        word_of_token: (B * (1 + F), T) index of a token's word; -1 for start, end, prefix, punctuation and padding.
        false_words: (B * (1 + F), W) 1 for false words, 0 for true ones, -1 for padding and texts that are not judged.
        holds: (B, 1 + F) 1 for texts that are true.
        cells: (B, GRID, GRID) kind whose center is in the cell, else ``NO_KIND``.
        shown, named: (B, K) 1 for kinds in the picture; in the true caption.
        color, named_color: (B,) index of the ground's color; the same, or -1 if the true caption does not name it.
        groups, named_groups: (B, GROUPS, 1 + FIELDS) a group's kind and the value of each of ``FIELDS``; the same as
            far as the true caption tells; -1 for what there is not.
        centers: (B, GROUPS, 2) mean x and y of each group, -2 to 2 from edge to edge.
    """

    pixels: torch.Tensor
    ids: torch.Tensor
    ends: torch.Tensor
    word_of_token: torch.Tensor
    false_words: torch.Tensor
    holds: torch.Tensor
    cells: torch.Tensor
    shown: torch.Tensor
    named: torch.Tensor
    color: torch.Tensor
    named_color: torch.Tensor
    groups: torch.Tensor
    named_groups: torch.Tensor
    centers: torch.Tensor


@dataclass(frozen=True, slots=True)
class _Line:
    ids: list[int]
    words: list[int]
    false: list[int]


class BatchMaker:
    """Make batches; ``rows`` are those of token ids in a reduced embedding table, None for the ids themselves."""

    def __init__(self, encode: Callable[[str], list[int]], rows: dict[int, int] | None = None) -> None:
        row = rows.__getitem__ if rows is not None else int
        self._encode = cache(lambda word: [row(token) for token in encode(word)])
        self._start, self._end = row(START_TOKEN), row(END_TOKEN)

    def tokenize(self, prefix: str, text: Text) -> _Line:
        """Tokenize prefix and text word by word; CLIP's tokens never cross a space."""
        ids, words = [self._start], [-1]
        false: list[int] = []
        for word in prefix.split():
            pieces = self._encode(word)
            ids += pieces
            words += [-1] * len(pieces)
        at = 0
        for word in text.text.replace(",", " ,").replace(".", " .").split():
            start = text.text.index(word, at)
            at = start + len(word)
            pieces = self._encode(word)
            ids += pieces
            if word in ".," or not text.judged:
                words += [-1] * len(pieces)
                continue
            words += [len(false)] * len(pieces)
            false.append(int(text.false is not None and text.false[0] <= start < text.false[1]))
        return _Line([*ids, self._end], [*words, -1], false)

    def make(self, samples: Sequence[SceneSample]) -> SceneBatch:
        rows = zip(*(sample.texts for sample in samples), strict=True)
        lines = [self.tokenize(sample.prefix, text) for row in rows for sample, text in zip(samples, row, strict=True)]
        tokens = max(len(line.ids) for line in lines)
        words = max(1, *(len(line.false) for line in lines))
        pictures = np.stack([np.asarray(draw_for_model(s.scene, s.drawn_px)) for s in samples])
        every = [tuple(range(len(sample.scene.groups))) for sample in samples]
        named = [_named(sample.caption) for sample in samples]
        colors = [COLOR_NAMES.index(sample.scene.color) for sample in samples]
        tells_color = [s.caption is not None and "color" in s.caption.foil_kinds() for s in samples]
        return SceneBatch(
            pixels=torch.from_numpy(pictures).permute(0, 3, 1, 2),
            ids=torch.tensor([line.ids + [0] * (tokens - len(line.ids)) for line in lines]),
            ends=torch.tensor([len(line.ids) - 1 for line in lines]),
            word_of_token=torch.tensor([line.words + [-1] * (tokens - len(line.words)) for line in lines]),
            false_words=torch.tensor([line.false + [-1] * (words - len(line.false)) for line in lines]),
            holds=torch.tensor([[float(text.is_true) for text in sample.texts] for sample in samples]),
            cells=torch.stack([_cells(sample.scene) for sample in samples]),
            shown=torch.stack([_kinds(s.scene, groups) for s, groups in zip(samples, every, strict=True)]),
            named=torch.stack([_kinds(s.scene, groups) for s, groups in zip(samples, named, strict=True)]),
            color=torch.tensor(colors),
            named_color=torch.tensor([c if told else -1 for c, told in zip(colors, tells_color, strict=True)]),
            groups=torch.tensor([[_group(s.scene, i) for i in range(GROUPS)] for s in samples]),
            named_groups=torch.tensor([_told(s.caption, groups) for s, groups in zip(samples, named, strict=True)]),
            centers=torch.tensor([[_center(s.scene, i) for i in range(GROUPS)] for s in samples]),
        )


def _kinds(scene: Scene, groups: Iterable[int]) -> torch.Tensor:
    kinds = torch.zeros(len(KINDS))
    for index in groups:
        kinds[scene.groups[index].kind] = 1
    return kinds


def _named(caption: Caption | None) -> tuple[int, ...]:
    """The groups that a caption names."""
    return tuple({part.group: 0 for part in caption.parts if part.slot == "object"}) if caption else ()


def _group(scene: Scene, index: int) -> list[int]:
    """A group's kind and ``FIELDS``; -1 for a group that there is not, and for a place that is undecided."""
    if index >= len(scene.groups):
        return [-1] * (1 + len(FIELDS))
    group, places = scene.groups[index], [side[-1].text for side in sides(scene, index)]
    return [
        group.kind,
        group.count - 1,
        list(SIZES).index(group.size),
        _either(places, "left", "right"),
        _either(places, "top", "bottom"),
        ("", *MATERIALS).index(group.material),
    ]


def _either(words: Sequence[str], first: str, second: str) -> int:
    return 0 if first in words else 1 if second in words else -1


def _told(caption: Caption | None, named: tuple[int, ...]) -> list[list[int]]:
    """What a caption tells of each group it names, in the form of ``_group``."""
    rows = [[-1] * (1 + len(FIELDS)) for _ in range(GROUPS)]
    if caption is None:
        return rows
    for row, index in zip(rows, named, strict=False):
        said = {part.slot: part.text for part in caption.parts if part.group == index}
        places = [said.get("position") in pair for pair in (("left", "right"), ("top", "bottom"))]
        told = (True, "count" in said, "size" in said, *places, "material" in said)
        row[:] = [value if is_told else -1 for value, is_told in zip(_group(caption.scene, index), told, strict=True)]
    return rows


def _center(scene: Scene, index: int) -> list[float]:
    if index >= len(scene.groups):
        return [0.0, 0.0]
    group = scene.groups[index]
    return [4 * (sum(along) / group.count - 0.5) for along in (group.xs, group.ys)]


def _cells(scene: Scene) -> torch.Tensor:
    cells = torch.full((GRID, GRID), NO_KIND)
    for thing in scene.things:
        cells[int(thing.y * GRID), int(thing.x * GRID)] = thing.kind
    return cells
