"""Words, sentences and their offsets in any text; numbers that depend on nothing but picture, text and settings."""

from __future__ import annotations

import random
import sys
from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from clipalign.data.records import InputRecord, Place
from clipalign.data.sentences import Cut, split_text
from clipalign.data.words import PUNCTUATION, reported_words, split_words
from clipalign.errors import ClipalignError
from clipalign.methods.detect import DetectScorer
from clipalign.methods.score_long import LongScorer
from clipalign.methods.settings import DetectSettings, LongSettings
from clipalign.results import DetectResult, LongResult
from clipalign.runs.batch import run_batch
from tests.tiny import GOLDEN, load_random, load_tiny

QUICK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
SLOW = settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])

PLANES = [st.characters(min_codepoint=plane << 16, max_codepoint=min((plane << 16) + 0xFFFF, sys.maxunicode),
                        exclude_categories=["Cs"]) for plane in (0, 1, 2, 3, 14, 15, 16)]  # fmt: skip
"""Characters of every plane that has any."""

MARKS = '.,!"?;: \t\n\r\x00\x0b\x1c\u00a0\u2028\u3000\u200b\u200d\u0301\u202eİßſΣé一杯🐶'

captions = st.text(st.one_of(st.sampled_from(MARKS), st.sampled_from("abcAB'-1"), *PLANES), max_size=60)
"""Captions that anyone, or a fuzzer, could write."""


@QUICK
@given(captions)
@example("")
@example("a.b,c . , ...")
@example("\ud83d lone halves \udcff")
def test_words_and_the_gaps_between_them_give_the_caption_back(caption: str) -> None:
    words = split_words(caption)
    joined, place = "", 0
    for word in words:
        assert word.text == caption[word.start : word.end] != ""
        assert place <= word.start < word.end <= len(caption), "in order, none over another"
        gap = caption[place : word.start]
        assert not gap or gap.isspace(), "only white space belongs to no word"
        joined += gap + word.text
        place = word.end
    assert not caption[place:].strip()
    assert joined + caption[place:] == caption


@QUICK
@given(captions)
def test_every_character_belongs_to_one_word_and_reported_words_are_those_that_say_something(caption: str) -> None:
    words = split_words(caption)
    owners = [sum(word.start <= place < word.end for word in words) for place in range(len(caption))]
    assert owners == [int(not character.isspace()) for character in caption]
    assert [*reported_words(words)] == [word for word in words if not set(word.text) <= PUNCTUATION]


@QUICK
@given(captions, st.sampled_from(Cut))
def test_sentences_and_the_gaps_between_them_give_the_text_back(text: str, by: Cut) -> None:
    pieces = split_text(text, by)
    bounds = [0, *(edge for piece in pieces for edge in piece[1:]), len(text)]
    assert bounds == sorted(bounds)
    assert "".join(text[first:last] for first, last in pairwise(bounds)) == text
    assert all(piece.text == text[piece.start : piece.end] == piece.text.strip() != "" for piece in pieces)
    gaps = [text[first:last] for first, last in zip(bounds[::2], bounds[1::2], strict=True)]
    assert not "".join(gaps).strip(), "only white space belongs to no sentence"


# --- through the model ------------------------------------------------------------------------------------------------

PICTURES = sorted((GOLDEN / "images").glob("*.png"))[:3]
TEXTS = (
    "a cup", "two dogs, one red. A cat (grey) sits there, too.", "dog " * 90, "...", "", "é 猫 🐈 “x”… \u202eabc",
    "It is 3.5 p.m. now. A man waits! Who is he? Nobody knows.", "a", "\x00", "a. " * 30,
)  # fmt: skip

Asked = tuple[int, int]
"""Picture and text of a record, by number; one picture is missing."""

asked_records = st.lists(st.tuples(st.integers(0, 3), st.integers(0, len(TEXTS) - 1)), min_size=1, max_size=14)


@cache
def _scorer(command: str, batch_size: int) -> Any:
    if command == "detect":
        return DetectScorer.of(load_tiny(), DetectSettings(batch_size=batch_size))
    if command == "score-long":
        return LongScorer(load_tiny(), LongSettings(batch_size=batch_size))
    return DetectScorer.of(load_random("custom-bidirectional"), DetectSettings(batch_size=batch_size))


def _scored(command: str, asked: Sequence[Asked], batch_size: int) -> list[Any]:
    records = []
    for number, (picture, text) in enumerate(asked):
        image = [*PICTURES, Path("missing.png")][picture]
        records.append(InputRecord(str(number), image, image.name, TEXTS[text], (), Place("p", 0, number)))
    return [one.result for one in run_batch(records, _scorer(command, batch_size), workers=2)]


@cache
def _alone(command: str, asked: Asked) -> Any:
    """By itself, in a batch of one: no neighbors, no padding, no order."""
    return _scored(command, [asked], 1)[0]


def _numbers(outcome: Any) -> list[float | None]:
    if isinstance(outcome, DetectResult):
        return [outcome.cosine, outcome.f_clip_score, *(word.attribution for word in outcome.words)]
    assert isinstance(outcome, LongResult)
    return [outcome.cosine, *(value for one in outcome.sentences for value in (one.cosine, one.increment))]


def _places(outcome: Any) -> list[tuple[str, int, int]]:
    found = outcome.words if isinstance(outcome, DetectResult) else outcome.sentences
    return [(one.text, one.start, one.end) for one in found]


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, ClipalignError) or isinstance(other, ClipalignError):
        return type(one) is type(other) and str(one) == str(other)
    pairs = [*zip(_numbers(one), _numbers(other), strict=True)]
    return _places(one) == _places(other) and all(
        mine is theirs is None or mine == pytest.approx(theirs, abs=2e-6) for mine, theirs in pairs
    )


@pytest.mark.parametrize("command", ["detect", "detect, not causal", "score-long"])
@SLOW
@given(asked=asked_records, batch_size=st.integers(1, 9), order=st.randoms(use_true_random=False))
def test_numbers_depend_on_neither_batch_nor_order_nor_padding_nor_neighbors(
    command: str, asked: list[Asked], batch_size: int, order: random.Random
) -> None:
    together = _scored(command, asked, batch_size)
    assert all(_same(outcome, _alone(command, one)) for one, outcome in zip(asked, together, strict=True))
    shuffled = [*enumerate(asked)]
    order.shuffle(shuffled)
    again = _scored(command, [one for _, one in shuffled], 10 - batch_size)
    assert all(_same(outcome, together[place]) for outcome, (place, _) in zip(again, shuffled, strict=True))


@pytest.mark.parametrize("command", ["detect", "score-long"])
@SLOW
@given(text=captions)
def test_offsets_of_results_are_those_of_the_text_as_given(command: str, text: str) -> None:
    record = InputRecord("1", PICTURES[0], PICTURES[0].name, text, (), Place("p", 0, 0))
    (outcome,) = (one.result for one in run_batch([record], _scorer(command, 4), workers=1))
    if isinstance(outcome, ClipalignError):
        return
    found = _places(outcome)
    assert all(text[start:end] == said for said, start, end in found)
    if isinstance(outcome, DetectResult):
        assert found == [tuple(word) for word in reported_words(split_words(text))]
    else:
        assert found == [tuple(piece) for piece in split_text(text, Cut.SENTENCE)]
