"""Kinds of words: found whatever their case and punctuation, and each word of one kind."""

from __future__ import annotations

from collections import Counter

import pytest

from clipalign.data.word_kinds import KINDS, kind_of, synonyms


@pytest.mark.parametrize(
    ("word", "kind"), [("two", "count"), ("Red,", "color"), ('"tiny"', "size"), ("LEFT", "place"), ("dog", "other")]
)
def test_a_word_is_of_the_kind_that_its_list_says(word: str, kind: str) -> None:
    assert kind_of(word) == kind


def test_synonyms_say_the_same() -> None:
    assert synonyms("Tiny,") == {"small", "tiny", "little", "miniature"}
    assert synonyms("dog") == {"dog"}


def test_no_word_is_of_two_kinds() -> None:
    assert max(Counter(word for words in KINDS.values() for word in words).values()) == 1
