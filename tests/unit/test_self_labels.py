"""False captions without labels: a word of the same kind from another picture's caption, and where it stands."""

from __future__ import annotations

import random

import pytest

from clipalign.data.words import split_words
from clipalign.evaluation.self_labels import Exchange, SelfLabeled, slots
from clipalign.evaluation.tasks.pictograms import PictogramFoil

CAPTIONS = [
    ("1.png", "A red apple on the left of a table."),
    ("2.png", "A blue car on the right of a house."),
    ("3.png", "Two dogs near a tree."),
    ("4.png", "Three cats near a tree."),
]


def foils(picture: str, text: str) -> set[tuple[str, str]]:
    """Every foil of many draws: the words that were put in, and the captions."""
    found = set()
    for seed in range(60):
        made = Exchange(CAPTIONS).foil(picture, text, random.Random(seed))
        assert made is not None
        found.add((made[0][slice(*made[1])], made[0]))
    return found


def test_a_word_is_exchanged_for_one_of_its_kind_in_a_like_position() -> None:
    assert foils(*CAPTIONS[0]) == {
        ("blue", "A blue apple on the left of a table."),
        ("car", "A red car on the left of a table."),
        ("right", "A red apple on the right of a table."),
        ("house", "A red apple on the left of a house."),
        ("tree", "A red apple on the left of a tree."),
    }


def test_case_and_articles_fit_the_word_that_is_put_in() -> None:
    assert {"Three dogs near a tree.", "Two cats near a tree."} <= {text for _, text in foils(*CAPTIONS[2])}
    exchange = Exchange([("1.png", "an apple"), ("2.png", "a car")])
    assert exchange.foil("1.png", "an apple", random.Random(0)) == ("a car", (2, 5))
    assert exchange.foil("2.png", "a car", random.Random(0)) == ("an apple", (3, 8))
    assert Exchange([("1.png", "an owl"), ("2.png", "a unicorn")]).foil("1.png", "an owl", random.Random(0)) == (
        "a unicorn", (2, 9),
    )  # fmt: skip


def test_what_another_caption_of_the_picture_says_is_not_put_in_nor_a_synonym() -> None:
    exchange = Exchange([("1.png", "a small dog"), ("1.png", "a cat"), ("2.png", "a tiny cat")])
    assert exchange.foil("1.png", "a small dog", random.Random(0)) is None


def test_function_words_and_punctuation_stay() -> None:
    words = split_words("There is a dog, on the left.")
    assert [words[place].text for place, _ in slots(words)] == ["dog", "left"]


@pytest.mark.parametrize("seed", [0, 1])
def test_every_true_caption_gets_a_foil_and_the_false_ones_of_the_data_set_are_left_out(seed: int) -> None:
    found = list(SelfLabeled(PictogramFoil()).samples(limit=80, seed=seed))
    true = [one for one in found if one.correct]  # type: ignore[union-attr]
    assert len(true) == 40 and len(found) >= 78
    assert all(one.text[slice(*one.false_spans[0])] for one in found if not one.correct)  # type: ignore[union-attr]
