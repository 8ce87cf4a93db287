"""Whether the true word is among the first suggestions for a false one whose place is known, by kind of word."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import replace
from typing import Any, Final

from clipalign.data.transforms import to_tensor
from clipalign.methods.detect import Pair, detect_pairs
from clipalign.methods.settings import DEFAULT_TEMPLATE
from clipalign.methods.suggest import Lexicon, lexicon_for, suggest
from clipalign.models.encode import encode_images, encode_tokens
from clipalign.models.model import LoadedModel
from clipalign.models.tokenize import tokenize_text
from clipalign.pictogram.captions import FOIL_KINDS, Caption, Foil, write_caption
from clipalign.pictogram.drawing import draw_scene
from clipalign.pictogram.scenes import compose_scene, scene_random
from tests.verdicts.rates import rate

SPLIT: Final = "verdicts on words"
SCENES: Final = 250
FIRST: Final = (1, 3, 5)
BATCH: Final = 64


def measure(loaded: LoadedModel, scenes: int = SCENES) -> dict[str, Any]:
    """By kind: shares of false words whose true word is among the first suggestions; and what a suggestion costs."""
    lexicon = lexicon_for(loaded.vocabulary, None)
    found: dict[str, list[bool]] = defaultdict(list)
    suggesting = encoding = 0.0
    for number in range(scenes):
        kind = FOIL_KINDS[number % len(FOIL_KINDS)]
        caption, foil = _foil(number, kind)
        picture = draw_scene(caption.scene)
        image = encode_images(loaded, to_tensor(picture, loaded)[None])[0]
        result = detect_pairs(loaded, [Pair(image, foil.text)])[0]
        marked = tuple(replace(one, misaligned=foil.start < one.end and one.start < foil.end) for one in result.words)
        begin = time.process_time()
        suggestions = suggest(
            loaded,
            lexicon,
            image,
            replace(result, words=marked),
            template=DEFAULT_TEMPLATE,
            count=max(FIRST),
            batch_size=BATCH,
        )
        suggesting += time.process_time() - begin
        begin = time.process_time()
        encode_tokens(loaded, [tokenize_text(loaded, f"{DEFAULT_TEMPLATE}{foil.text}")])
        encoding += time.process_time() - begin
        names = [candidate.text for suggestion in suggestions for candidate in suggestion.candidates]
        true = _true_word(caption, foil)
        for first in FIRST:
            found[f"{kind}, among {first}"].append(any(_same(lexicon, true, name) for name in names[:first]))
        found[f"{kind}, none"].append(not names)
    shares = {name: rate(outcomes) for name, outcomes in found.items()}
    return {**shares, "cost of a suggestion, in captions encoded": round(suggesting / encoding, 1)}


def _foil(number: int, kind: str) -> tuple[Caption, Foil]:
    draw = scene_random(SPLIT, number)
    while True:
        caption = write_caption(draw, compose_scene(draw))
        if kind in caption.foil_kinds():
            return caption, caption.foil(draw, kind)


def _true_word(caption: Caption, foil: Foil) -> str:
    """What stands in the caption where the foil has its false words; an article before them may differ."""
    ending = len(foil.text) - foil.end
    until = caption.text[: len(caption.text) - ending].split()
    return " ".join(until[len(foil.text[: foil.start].split()) :])


def _same(lexicon: Lexicon, one: str, other: str) -> bool:
    return one == other or lexicon.entry_of(one) is lexicon.entry_of(other) is not None
