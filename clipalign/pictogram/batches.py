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
from clipalign.pictogram.captions import CLEARLY_ASIDE, FOIL_WEIGHTS, PREFIXES, Caption, Foil, write_caption
from clipalign.pictogram.drawing import draw_for_model
from clipalign.pictogram.scenes import (
    COLORS,
    COUNT_WORDS,
    DRAWN_PX,
    DRAWN_WEIGHTS,
    KINDS,
    SIZE_WORDS,
    Scene,
    compose_scene,
    scene_random,
)

GRID: Final = 6
"""Cells a side of the dense target, the resolution of the image tower's third stage."""
NO_KIND: Final = len(KINDS)
COLOR_NAMES: Final = tuple(COLORS)
FACTS: Final = (*COUNT_WORDS.values(), *SIZE_WORDS, "left", "right", "top", "bottom")
START_TOKEN: Final = 49406
END_TOKEN: Final = 49407


@dataclass(frozen=True, slots=True)
class SceneSample:
    """A scene, the side at which it is drawn before it is scaled, its true caption, its foils, and their prefix."""

    scene: Scene
    drawn_px: int
    caption: Caption
    foils: tuple[Foil, ...]
    prefix: str


def make_sample(number: int, *, split: str, foils: int) -> SceneSample:
    rng = scene_random(split, number)
    scene = compose_scene(rng)
    caption = write_caption(rng, scene)
    kinds = caption.foil_kinds()
    chosen = rng.choices(kinds, [FOIL_WEIGHTS[kind] for kind in kinds], k=foils)
    prefix = rng.choices(("", DEFAULT_TEMPLATE, rng.choice(PREFIXES)), (25, 45, 30))[0]
    wrong = tuple(caption.foil(rng, kind) for kind in chosen)
    return SceneSample(scene, rng.choices(DRAWN_PX, DRAWN_WEIGHTS)[0], caption, wrong, prefix)


@dataclass(frozen=True, slots=True)
class SceneBatch:
    """B scenes with F foils each, as tensors.

    Attributes:
        pixels: (B, 3, S, S) in 0 to 1.
        ids: (B * (1 + F), T) token ids; the B true captions, then the first foil of every scene, and so on.
        ends: (B * (1 + F),) position of the end token.
        word_of_token: (B * (1 + F), T) index of a token's word; -1 for start, end, prefix, punctuation and padding.
        false_words: (B * (1 + F), W) 1 for false words, 0 for true ones, -1 for padding.
        cells: (B, GRID, GRID) kind whose center is in the cell, else ``NO_KIND``.
        shown, named: (B, K) 1 for kinds in the picture; in the true caption.
        color, named_color: (B,) index of the ground's color; the same, or -1 if the true caption does not name it.
        facts, named_facts: (B, FACTS) 1 for facts that hold; that the true caption names.
    """

    pixels: torch.Tensor
    ids: torch.Tensor
    ends: torch.Tensor
    word_of_token: torch.Tensor
    false_words: torch.Tensor
    cells: torch.Tensor
    shown: torch.Tensor
    named: torch.Tensor
    color: torch.Tensor
    named_color: torch.Tensor
    facts: torch.Tensor
    named_facts: torch.Tensor


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

    def tokenize(self, prefix: str, text: str, false_span: tuple[int, int] | None) -> _Line:
        """Tokenize prefix and text word by word; CLIP's tokens never cross a space."""
        ids, words = [self._start], [-1]
        false: list[int] = []
        for word in prefix.split():
            pieces = self._encode(word)
            ids += pieces
            words += [-1] * len(pieces)
        at = 0
        for word in text.replace(",", " ,").replace(".", " .").split():
            start = text.index(word, at)
            at = start + len(word)
            pieces = self._encode(word)
            ids += pieces
            if word in ".,":
                words += [-1] * len(pieces)
                continue
            words += [len(false)] * len(pieces)
            false.append(int(false_span is not None and false_span[0] <= start < false_span[1]))
        return _Line([*ids, self._end], [*words, -1], false)

    def make(self, samples: Sequence[SceneSample]) -> SceneBatch:
        lines = [self.tokenize(sample.prefix, sample.caption.text, None) for sample in samples]
        for foils in zip(*(sample.foils for sample in samples), strict=True):
            lines += [
                self.tokenize(sample.prefix, foil.text, (foil.start, foil.end))
                for sample, foil in zip(samples, foils, strict=True)
            ]
        tokens = max(len(line.ids) for line in lines)
        words = max(len(line.false) for line in lines)
        pictures = np.stack([np.asarray(draw_for_model(s.scene, s.drawn_px)) for s in samples])
        pixels = torch.from_numpy(pictures).permute(0, 3, 1, 2).float().div_(255)
        return SceneBatch(
            pixels=pixels,
            ids=torch.tensor([line.ids + [0] * (tokens - len(line.ids)) for line in lines]),
            ends=torch.tensor([len(line.ids) - 1 for line in lines]),
            word_of_token=torch.tensor([line.words + [-1] * (tokens - len(line.words)) for line in lines]),
            false_words=torch.tensor([line.false + [-1] * (words - len(line.false)) for line in lines]),
            cells=torch.stack([_cells(sample.scene) for sample in samples]),
            shown=torch.stack([_kinds(sample.scene, range(len(sample.scene.groups))) for sample in samples]),
            named=torch.stack(
                [_kinds(s.scene, [part.group for part in s.caption.parts if part.slot == "object"]) for s in samples]
            ),
            color=torch.tensor([COLOR_NAMES.index(sample.scene.color) for sample in samples]),
            named_color=torch.tensor(
                [COLOR_NAMES.index(s.scene.color) if "color" in s.caption.foil_kinds() else -1 for s in samples]
            ),
            facts=_as_row_of_facts([_shown_facts(sample.scene) for sample in samples]),
            named_facts=_as_row_of_facts([_named_facts(sample.caption) for sample in samples]),
        )


def _kinds(scene: Scene, groups: Iterable[int]) -> torch.Tensor:
    kinds = torch.zeros(len(KINDS))
    for index in groups:
        kinds[scene.groups[index].kind] = 1
    return kinds


def _as_row_of_facts(facts: list[set[str]]) -> torch.Tensor:
    return torch.tensor([[float(fact in present) for fact in FACTS] for present in facts])


def _shown_facts(scene: Scene) -> set[str]:
    facts = {COUNT_WORDS[group.count] for group in scene.groups if group.count > 1}
    facts |= {group.size for group in scene.groups}
    single = [group.things[0] for group in scene.groups if group.count == 1]
    for thing in single:
        facts |= {"left"} if thing.x < CLEARLY_ASIDE else {"right"} if thing.x > 1 - CLEARLY_ASIDE else set()
        facts |= {"top"} if thing.y < CLEARLY_ASIDE else {"bottom"} if thing.y > 1 - CLEARLY_ASIDE else set()
    return facts


def _named_facts(caption: Caption) -> set[str]:
    """Return the facts in the caption; "left" and "right" of another thing are not sides of the picture."""
    said = {part.text for part in caption.parts if part.slot in ("count", "position") and part.group >= 0}
    return said | {caption.scene.groups[part.group].size for part in caption.parts if part.slot == "size"}


def _cells(scene: Scene) -> torch.Tensor:
    cells = torch.full((GRID, GRID), NO_KIND)
    for thing in scene.things:
        cells[int(thing.y * GRID), int(thing.x * GRID)] = thing.kind
    return cells
