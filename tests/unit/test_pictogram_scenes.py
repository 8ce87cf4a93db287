"""The pictogram world: a drawing for every kind, scenes that keep their rules, true captions, false foils."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import combinations, permutations

import numpy as np
import pytest

from clipalign.pictogram.captions import (
    CLEARLY_APART,
    CLEARLY_ASIDE,
    FOIL_KINDS,
    PREFIXES,
    VARIED_KINDS,
    Caption,
    held_out,
    relation,
    sides,
    vocabulary,
    write_caption,
)
from clipalign.pictogram.drawing import draw_scene, sprite
from clipalign.pictogram.scenes import (
    COLORS,
    COUNT_WORDS,
    KINDS,
    MATERIALS,
    PATTERNS,
    SIZE_WORDS,
    SIZES,
    STYLES,
    UNSEEN_MATERIAL,
    Group,
    Scene,
    Thing,
    compose_scene,
    compose_varied,
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
        assert scene.rgb in {color for _, color in picture.getcolors(side * side) or []}


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


# --- varied scenes ----------------------------------------------------------------------------------------------------


def varied(number: int) -> tuple[Scene, Caption, random.Random]:
    rng = scene_random("tests", number)
    scene = compose_varied(rng)
    return scene, write_caption(rng, scene), rng


def test_varied_scenes_go_from_8_percent_of_the_side_to_six_of_a_kind_in_every_material_and_pattern() -> None:
    scenes = [varied(number)[0] for number in range(500)]
    groups = [group for scene in scenes for group in scene.groups]
    assert {group.count for group in groups} == set(range(1, 7))
    assert {group.material for group in groups} == {"", *MATERIALS}
    assert {scene.ground.pattern for scene in scenes if scene.ground} == set(PATTERNS)
    sides = [thing.side for group in groups for thing in group.things]
    assert 0.08 <= min(sides) < 0.11
    assert any(overlap(scene) for scene in scenes)
    assert all(
        thing.x - thing.side / 2 > 0 and thing.x + thing.side / 2 < 1 for scene in scenes for thing in scene.things
    )


def overlap(scene: Scene) -> bool:
    return any(
        max(abs(one.x - other.x), abs(one.y - other.y)) < (one.side + other.side) / 2
        for one, other in combinations(scene.things, 2)
    )


def test_a_varied_picture_is_the_same_every_time_and_keeps_the_color_of_its_ground() -> None:
    for number in range(40):
        scene, _, _ = varied(number)
        picture = np.asarray(draw_scene(scene), float)
        assert np.array_equal(picture, np.asarray(draw_scene(scene)))
        bare = np.asarray(draw_scene(replace(scene, groups=())), float).mean((0, 1))
        assert min(COLORS, key=lambda name: float(np.abs(bare - COLORS[name]).sum())) == scene.color


@pytest.mark.parametrize("material", [*MATERIALS, UNSEEN_MATERIAL])
def test_every_material_draws_every_kind_in_its_own_way(material: str) -> None:
    thing = Thing(0, "noto", 0.5, 0.5, 0.9, material)
    ways = {draw_one(replace(thing, material=other)) for other in ("", *MATERIALS, UNSEEN_MATERIAL)}
    assert len(ways) == 5
    assert len({draw_one(replace(thing, kind=kind)) for kind in range(0, len(KINDS), 7)}) == len(
        range(0, len(KINDS), 7)
    )


def draw_one(thing: Thing) -> bytes:
    return draw_scene(Scene("white", (255, 255, 255), (Group(thing.kind, "large", (thing,)),))).tobytes()


def test_foils_of_varied_captions_are_false_in_one_slot_and_of_every_kind() -> None:
    seen = set()
    for number in range(SCENES):
        scene, caption, rng = varied(number)
        for kind in caption.foil_kinds():
            foil = caption.foil(rng, kind)
            seen.add(kind)
            assert foil.text != caption.text
            if kind == "negation":
                assert foil.words in {name for kind in scene.kinds for name in KINDS[kind].names}
                assert foil.words not in caption.text.split()
    assert seen == set(VARIED_KINDS)


def test_relations_of_groups_hold_for_every_pair_of_their_things() -> None:
    told = 0
    for number in range(SCENES):
        scene, _, rng = varied(number)
        for first, second in permutations(range(len(scene.groups)), 2):
            words = {part.text for part in relation(rng, scene, first, second)}
            one, other = scene.groups[first], scene.groups[second]
            told += bool(words)
            if words & {"left"}:
                assert max(one.xs) < min(other.xs)
            if words & {"below", "under"}:
                assert min(one.ys) > max(other.ys)
    assert told > SCENES / 2


def test_a_caption_denies_only_what_is_not_there() -> None:
    denials = [(scene, part) for n in range(SCENES) for scene, caption, _ in [varied(n)] for part in caption.parts]
    names = {name: index for index, kind in enumerate(KINDS) for name in kind.names}
    denied = [(scene, names[part.text]) for scene, part in denials if part.slot == "negation"]
    assert len(denied) > 10
    assert not any(kind in scene.kinds for scene, kind in denied)


def test_the_vocabulary_covers_every_word_of_varied_captions() -> None:
    for number in range(SCENES):
        _, caption, _ = varied(number)
        assert set(caption.text.replace(",", " ").replace(".", " ").split()) <= vocabulary()


def test_an_eighth_of_the_combinations_of_object_place_and_color_is_held_out() -> None:
    told = [
        (word, held_out(scene, index))
        for scene in (varied(number)[0] for number in range(5 * SCENES))
        for index in range(len(scene.groups))
        for word in (side[-1].text for side in sides(scene, index))
    ]
    assert 0.09 < sum(word in held for word, held in told) / len(told) < 0.16
