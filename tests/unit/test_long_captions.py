"""Long pictogram captions: they grow detail by detail, all of it true, and every wrong detail is false."""

from __future__ import annotations

from itertools import pairwise

import pytest

from clipalign.pictogram.captions import FOIL_KINDS, vocabulary
from clipalign.pictogram.export import clip_encoder
from clipalign.pictogram.long_captions import (
    FEWEST_DETAILS,
    TEST_SPLIT,
    TRAIN_SPLIT,
    VALIDATION_SPLIT,
    LongSceneSample,
    make_long_sample,
)
from clipalign.pictogram.scenes import COLORS, COUNT_WORDS, KINDS, SIZE_WORDS, Scene

SAMPLES = 300
NAMES = {name: kind for kind, row in enumerate(KINDS) for name in (*row.names, row.plural)}
PLACES = {"left": (0, False), "right": (0, True), "top": (1, False), "bottom": (1, True)}


def sample(number: int) -> LongSceneSample:
    return make_long_sample(number, split="long-tests")


def holds(statement: str, scene: Scene) -> bool:
    """Whether the scene bears out a statement: read word by word, knowing nothing of how it was written."""
    words = statement.lower().split()
    groups = {group.kind: group for group in scene.groups}
    named = [kind for name, kind in _names_in(words)]
    if "background" in words:
        return scene.color in words
    if any(kind not in groups for kind in named):
        return False
    first = groups[named[0]]
    if any(word in words for word in COUNT_WORDS.values()) and COUNT_WORDS.get(first.count) not in words:
        return False
    sizes = [size for size, names in SIZE_WORDS.items() if set(names) & set(words)]
    if sizes and first.size not in sizes:
        return False
    one = first.things[0]
    if len(named) == 2:
        two = groups[named[1]].things[0]
        dx, dy = one.x - two.x, one.y - two.y
        truth = {"left": dx < 0, "right": dx > 0, "above": dy < 0, "below": dy > 0}
        return next(truth[word] for word in words if word in truth)
    for word in set(words) & set(PLACES):
        axis, far = PLACES[word]
        at = (one.x, one.y)[axis]
        if first.count > 1 or (at > 0.5) != far:
            return False
    return True


def _names_in(words: list[str]) -> list[tuple[str, int]]:
    found, index = [], 0
    while index < len(words):
        for length in (3, 2, 1):
            name = " ".join(words[index : index + length])
            if name in NAMES:
                found.append((name, NAMES[name]))
                index += length - 1
                break
        index += 1
    return found


def test_a_sample_is_decided_by_its_number_and_split() -> None:
    assert make_long_sample(5, split=TRAIN_SPLIT) == make_long_sample(5, split=TRAIN_SPLIT)
    captions = {make_long_sample(5, split=split).caption.text for split in (TRAIN_SPLIT, VALIDATION_SPLIT, TEST_SPLIT)}
    assert len(captions) == 3


@pytest.mark.parametrize("number", range(0, SAMPLES, 50))
def test_a_picture_has_the_size_of_the_models_input(number: int) -> None:
    assert sample(number).picture().size == (96, 96)


def test_every_detail_is_true_and_every_wrong_one_false() -> None:
    for number in range(SAMPLES):
        caption = sample(number).caption
        assert len(caption.details) >= FEWEST_DETAILS
        assert [d for d in caption.details if not holds(d, caption.scene)] == []
        assert [w.text for w in caption.wrong if holds(w.text, caption.scene)] == []


def test_no_detail_is_said_twice_and_none_speaks_of_what_is_not_introduced() -> None:
    for number in range(SAMPLES):
        caption = sample(number).caption
        assert len(set(caption.details)) == len(caption.details)
        known: set[str] = set()
        for detail in caption.details:
            names = {name for name, _ in _names_in(detail.split())}
            if detail.startswith("the ") and "background" not in detail:
                assert names <= known
            known |= names
        assert len(known) == len(caption.scene.groups)  # a thing keeps its name


def test_beginnings_grow_by_characters_and_by_tokens() -> None:
    encode = clip_encoder()
    for number in range(0, SAMPLES, 10):
        caption = sample(number).caption
        prefixes, wrong = caption.prefixes(), caption.wrong_prefixes()
        assert prefixes[-1] == caption.text
        assert len(prefixes) == len(wrong) == len(caption.details)
        for short, long in [*pairwise(prefixes), *zip(prefixes, wrong, strict=True)]:
            assert long.startswith(short)
            assert encode(long)[: len(encode(short))] == encode(short)


def test_wrong_details_are_of_every_kind() -> None:
    kinds = {wrong.kind for number in range(SAMPLES) for wrong in sample(number).caption.wrong}
    assert kinds == set(FOIL_KINDS)


def test_every_word_is_one_that_the_model_was_trained_on() -> None:
    known = vocabulary()
    for number in range(SAMPLES):
        caption = sample(number).caption
        text = " ".join((caption.text, *caption.wrong_prefixes())).lower()
        assert set(text.replace(".", " ").replace(",", " ").split()) <= known


def test_the_checker_of_these_tests_tells_true_from_false() -> None:
    scene = sample(0).caption.scene
    assert holds(f"the background is {scene.color}", scene)
    other = next(color for color in COLORS if color != scene.color)
    assert not holds(f"the background is {other}", scene)
