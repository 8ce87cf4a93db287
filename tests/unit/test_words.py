"""Captions to words, tokens to words, words to verdicts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipalign.data.words import (
    PUNCTUATION,
    Mode,
    Span,
    WordReading,
    reported_words,
    split_words,
    unknown_words,
    word_scores,
)


def _texts(caption: str) -> list[str]:
    return [word.text for word in reported_words(split_words(caption))]


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("a cup of coke", ["a", "cup", "of", "coke"]),
        ("A man, a plan. Panama", ["A", "man", "a", "plan", "Panama"]),
        (
            "It's 3.5 metres (approx.) tall, isn't it?",
            ["It's", "3", "5", "metres", "(approx", ")", "tall", "isn't", "it?"],
        ),
        ('state-of-the-art "espresso" !! ?', ["state-of-the-art", '"espresso"']),
        (" two\tlines\nand\u00a0a hard space ", ["two", "lines", "and", "a", "hard", "space"]),
        ("wait... what", ["wait", "what"]),
        ("...", []),
        ("", []),
    ],
)
def test_words_are_cut_as_published(caption: str, words: list[str]) -> None:
    assert _texts(caption) == words


@given(st.text())
def test_offsets_give_back_every_word_and_cover_every_letter_once(caption: str) -> None:
    words = split_words(caption)
    assert all(caption[word.start : word.end] == word.text for word in words)
    covered = [place for word in reported_words(words) for place in range(word.start, word.end)]
    assert len(covered) == len(set(covered))
    must = {
        place for place, character in enumerate(caption) if not character.isspace() and character not in PUNCTUATION
    }
    assert must <= set(covered)


def _read(
    attribution: list[float], *, mode: Mode = Mode.THRESHOLD, epsilon: float = -0.1, cut_at: int = 99
) -> WordReading:
    words = reported_words(split_words("red cup falls"))
    spans: list[Span | None] = [None, (0, 3), (4, 6), (6, 7), (8, 13), None][: len(attribution)]
    return word_scores(words, spans, attribution, mode=mode, epsilon=epsilon, cut_at=cut_at)


def test_a_word_is_worth_the_mean_of_its_tokens() -> None:
    reading = _read([9.0, 0.3, -0.4, -0.2, 0.0, 9.0])
    assert [word.attribution for word in reading.words] == pytest.approx([0.3, -0.3, 0.0])


def test_threshold_marks_words_below_epsilon_most_negative_first() -> None:
    reading = _read([9.0, -0.2, -0.4, -0.2, -0.1, 9.0])
    assert [word.text for word in reading.misaligned] == ["cup", "red"]  # -0.1 is not below -0.1
    assert [word.misaligned for word in reading.words] == [True, True, False]
    assert reading.sum_negative_attribution == pytest.approx(-0.5)


def test_threshold_may_mark_nothing() -> None:
    reading = _read([0.0] * 6)
    assert reading.misaligned == ()
    assert reading.sum_negative_attribution == 0.0


def test_most_negative_marks_exactly_one_word_even_when_all_fit() -> None:
    reading = _read([0.0, 0.3, 0.2, 0.2, 0.4, 0.0], mode=Mode.MOST_NEGATIVE)
    assert [word.text for word in reading.misaligned] == ["cup"]
    assert reading.sum_negative_attribution == pytest.approx(0.2)


def test_words_past_the_context_are_not_scored() -> None:
    reading = _read([0.0, 0.3, -0.2], cut_at=6)
    assert [(word.text, word.attribution, word.scored) for word in reading.words] == [
        ("red", 0.3, True),
        ("cup", -0.2, True),
        ("falls", None, False),
    ]
    assert [word.text for word in reading.cut] == ["cup"]
    assert [word.text for word in reading.beyond] == ["falls"]


def test_a_word_that_ends_where_the_context_does_is_not_cut() -> None:
    reading = _read([0.0, 0.3, -0.2, -0.2], cut_at=7)
    assert reading.cut == ()
    assert [word.text for word in reading.beyond] == ["falls"]


def test_a_token_right_behind_a_word_is_none_of_it() -> None:
    words = reported_words(split_words("red,cup"))  # the comma is a token and no word
    reading = word_scores(
        words, [(0, 3), (3, 4), (4, 7)], [0.3, -9.0, 0.1], mode=Mode.THRESHOLD, epsilon=-1.0, cut_at=7
    )
    assert [(word.text, word.attribution) for word in reading.words] == [("red", 0.3), ("cup", 0.1)]


def test_a_word_within_the_context_without_a_token_is_told_apart() -> None:
    words = reported_words(split_words("red \x00 cup"))
    reading = word_scores(words, [(0, 3), (6, 9)], [0.1, 0.2], mode=Mode.THRESHOLD, epsilon=0.0, cut_at=9)
    assert [word.text for word in reading.unread] == ["\x00"]
    assert [word.scored for word in reading.words] == [True, False, True]


def test_a_token_of_two_words_counts_for_both() -> None:
    words = reported_words(split_words("(a.) b"))
    spans: list[Span | None] = [(0, 1), (1, 2), (2, 4), (5, 6)]  # (  a  .)  b
    reading = word_scores(words, spans, [0.2, 0.4, -1.0, 0.1], mode=Mode.THRESHOLD, epsilon=-9.0, cut_at=6)
    assert [(word.text, word.attribution) for word in reading.words] == [
        ("(a", pytest.approx(0.3)),
        (")", -1.0),
        ("b", 0.1),
    ]


@pytest.mark.parametrize(
    ("caption", "unknown"),
    [
        ("A red Cup!", ()),
        ("the dog's cups' \"red\"", ()),
        ("a red-cup", ()),
        ("a red-unicorn unicorn, unicorn", ("red-unicorn", "unicorn")),
        ("a — cup", ()),
    ],
)
def test_unknown_words_are_named_once_and_forms_are_forgiven(caption: str, unknown: tuple[str, ...]) -> None:
    vocabulary = frozenset({"a", "the", "red", "cup", "cups", "dog"})
    assert unknown_words(reported_words(split_words(caption)), vocabulary) == unknown
