"""The pictogram world: a drawing for every kind, scenes that keep their rules, true captions, false foils."""

from __future__ import annotations

import random

import pytest

from clipalign.pictogram.captions import (
    CLEARLY_APART,
    CLEARLY_ASIDE,
    FOIL_KINDS,
    PREFIXES,
    Caption,
    vocabulary,
    write_caption,
)
from clipalign.pictogram.drawing import draw_scene, sprite
from clipalign.pictogram.scenes import (
    COLORS,
    COUNT_WORDS,
    KINDS,
    SIZE_WORDS,
    SIZES,
    STYLES,
    Scene,
    compose_scene,
    scene_random,
)

SCENES = 200


def scene_and_caption(number: int) -> tuple[Scene, Caption]:
    rng = scene_random("tests", number)
    scene = compose_scene(rng)
    return scene, write_caption(rng, scene)


def test_there_are_at_least_150_kinds_in_two_styles_and_every_name_means_one_kind() -> None:
    names = [name for kind in KINDS for name in kind.names]
    assert len(KINDS) >= 150
    assert len(STYLES) >= 2
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("style", STYLES)
def test_every_kind_has_a_drawing_of_its_own(style: str) -> None:
    drawings = {sprite(kind, style, 64).tobytes() for kind in range(len(KINDS))}
    assert len(drawings) == len(KINDS)
    assert all(max(sprite(kind, style, 64).getchannel("A").tobytes()) > 200 for kind in range(len(KINDS)))


def test_a_scene_is_decided_by_its_number_and_split() -> None:
    assert scene_and_caption(3) == scene_and_caption(3)
    assert scene_and_caption(3) != scene_and_caption(4)
    assert compose_scene(scene_random("train", 3)) != compose_scene(scene_random("test", 3))


def test_things_stay_on_the_canvas_apart_and_of_the_size_their_group_has() -> None:
    for number in range(SCENES):
        scene, _ = scene_and_caption(number)
        assert 1 <= len(scene.things) <= 6
        for group in scene.groups:
            low, high = SIZES[group.size]
            assert all(low <= thing.side <= high for thing in group.things)
        for index, thing in enumerate(scene.things):
            assert thing.side / 2 <= min(thing.x, thing.y)
            assert max(thing.x, thing.y) <= 1 - thing.side / 2
            for other in scene.things[:index]:
                assert max(abs(thing.x - other.x), abs(thing.y - other.y)) > (thing.side + other.side) / 2


def test_a_picture_shows_its_ground_in_every_size() -> None:
    scene, _ = scene_and_caption(0)
    for side in (96, 300):
        picture = draw_scene(scene, side_px=side)
        assert picture.size == (side, side)
        assert picture.mode == "RGB"
        assert scene.rgb in {colour for _, colour in picture.getcolors(side * side) or []}


def test_what_a_caption_says_is_true_of_its_scene() -> None:
    for number in range(SCENES):
        scene, caption = scene_and_caption(number)
        for part in caption.parts:
            group = scene.groups[part.group]
            match part.slot:
                case "object":
                    assert part.text in (*KINDS[group.kind].names, KINDS[group.kind].plural)
                case "color":
                    assert part.text == scene.color
                case "count":
                    assert part.text == COUNT_WORDS[group.count]
                case "size":
                    assert part.text in SIZE_WORDS[group.size]
                case "position" if part.group >= 0:
                    thing = group.things[0]
                    edge = {"left": thing.x, "right": 1 - thing.x, "top": thing.y, "bottom": 1 - thing.y}[part.text]
                    assert edge < CLEARLY_ASIDE


def test_a_stated_relation_holds_between_the_two_things_it_names() -> None:
    seen = 0
    for number in range(SCENES):
        scene, caption = scene_and_caption(number)
        relations = [i for i, part in enumerate(caption.parts) if part.slot == "position" and part.group < 0]
        if not relations:
            continue
        objects = [part.group for part in caption.parts if part.slot == "object"]
        first, second = (scene.groups[objects[i]].things[0] for i in (0, 1))
        word = caption.parts[relations[0]].text
        apart = {
            "left": second.x - first.x,
            "right": first.x - second.x,
            "above": second.y - first.y,
            "below": first.y - second.y,
        }[word]
        assert apart >= CLEARLY_APART
        seen += 1
    assert seen > 10


@pytest.mark.parametrize("kind", FOIL_KINDS)
def test_a_foil_differs_in_the_stated_span_and_its_article_alone(kind: str) -> None:
    rng = random.Random(1)
    seen = 0
    for number in range(SCENES):
        _, caption = scene_and_caption(number)
        if kind not in caption.foil_kinds():
            continue
        foil = caption.foil(rng, kind)
        before = foil.text[: foil.start].removesuffix("an ").removesuffix("a ")
        assert foil.text != caption.text
        assert foil.words.strip() == foil.words != ""
        assert caption.text.startswith(before)
        assert caption.text.endswith(foil.text[foil.end :])
        seen += 1
    assert seen > 20


def test_an_object_foil_names_nothing_that_is_in_the_scene() -> None:
    rng = random.Random(2)
    for number in range(SCENES):
        scene, caption = scene_and_caption(number)
        present = {name for kind in scene.kinds for name in (*KINDS[kind].names, KINDS[kind].plural)}
        assert caption.foil(rng, "object").words not in present


def test_articles_fit_the_word_behind_them() -> None:
    texts = " ".join(scene_and_caption(number)[1].text + " " for number in range(3 * SCENES))
    for wrong in ("a apple", "a elephant", "a orange", "a umbrella", "a hourglass", "an unicorn", "an dog", "an ufo"):
        assert f" {wrong} " not in texts


def test_the_vocabulary_covers_every_word_that_is_ever_written() -> None:
    rng = random.Random(3)
    known = vocabulary()
    for number in range(SCENES):
        _, caption = scene_and_caption(number)
        texts = [caption.text, *(caption.foil(rng, kind).text for kind in caption.foil_kinds()), *PREFIXES]
        for word in " ".join(texts).replace(",", " ").replace(".", " ").lower().split():
            assert word in known
    assert set(COLORS) <= known
