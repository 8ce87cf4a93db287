"""A text cut into sentences and phrases: where readers would cut it, and every character accounted for."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clipalign.data.sentences import Cut, split_text

SENTENCES = {
    "plain": "A wooden table stands by a window.| On it is a cup.| Steam rises.",
    "no final stop": "A dog runs.| a cat sits.| the sky is blue",
    "one word": "dog",
    "titles": "Dr. Smith and Mrs. Jones drink tea.| Prof. Lee is late.",
    "initials": "J. K. Rowling and George W. Bush meet.| Mr. T. is there.",
    "letters": "She holds the letter A.| The letter is red.",
    "places": "The U.S. Navy ship lies near St. Louis.| It left the U.S.| The house is red.",
    "numbers": "It is 3.5 m tall.| Version 2.0 is out.| No. 5 stops here.| He has 3.| She has 4.",
    "no": "Does it stop?| No.| It does not.",
    "etc": "Apples, pears, etc. lie there.| Plums, etc.| All are ripe.",
    "for example": "A fruit, e.g. An apple, vs. i.e. a pear.| It was ca. 1900.| In Jan. 2020 we left.",
    "clock": "At 5 p.m. it rains.| It is 6 p.m.| The sun sets.",
    "ellipsis": "Then... nothing.| Then...| Nothing happened…| It ended.",
    "questions": "What a day!| a cat?| Really?!| Yes.",
    "signs": 'The sign reads "STOP. LOOK. LISTEN."| It is red.',
    "speech": '"Wait!" he said.| She asked, “Where? Here?” and left.',
    "inches": 'It is 5" wide and 3" tall.| Done.',
    "brackets": "He waits (quietly. with_retries.) there.| (A dog sleeps.)| It dreams.",
    "forgotten space": "A man in the street.|The dog runs.| See www.example.com or node.Js for more.",
    "numbered": "1. A dog.|\n2. A cat without a stop|\n3. Two birds",
    "bullets": "It shows|\n- a dog|\n- a cat.|\n• a bird",
    "paragraphs": "A title\n|\nA dog runs.|\n\n\nA cat sits.",
    "wrapped": "A line that was\nwrapped.| Another\none.",
    "windows": "A dog.|\r\nA cat.",
    "chinese": "一只狗在草地上。|“你好。”|他说！|背景是蓝色的？|没有句号",
    "japanese": "「犬がいる。」と言った。|空は青い。",
    "hindi and arabic": "एक कुत्ता।| यह लाल है।|هل هذا كلب؟| نعم.",
    "marks alone": "Wow! !! ...",
    "emoji": "What a day!| 🎉 The dog runs. 🐶",
}

PHRASES = {
    "connectives": "A red car| with two open doors is parked| in front of a house.",
    "commas": "On the left,| a tall tree;| 1,000 birds:| none",
    "a connective alone waits for what it connects": "A dog| and on the left side,| a cat",
    "dashes and brackets": "A driver| — a man| (in a hat, and a coat)| waits| -- alone",
    "in quotes": 'A sign| with "red, and white, on it" hangs',
    "chinese": "一只狗，|一只猫、|鸟。",
}


def pieces(marked: str) -> tuple[str, list[str]]:
    """The text, and what its pieces should be; ``|`` marks the cuts."""
    return marked.replace("|", ""), [part.strip() for part in marked.split("|")]


@pytest.mark.parametrize("marked", SENTENCES.values(), ids=SENTENCES.keys())
def test_sentences(marked: str) -> None:
    text, expected = pieces(marked)
    assert [piece.text for piece in split_text(text, Cut.SENTENCE)] == expected


@pytest.mark.parametrize("marked", PHRASES.values(), ids=PHRASES.keys())
def test_phrases(marked: str) -> None:
    text, expected = pieces(marked)
    assert [piece.text for piece in split_text(text, Cut.PHRASE)] == expected


def test_a_long_quotation_is_cut_like_any_text() -> None:
    text = 'He said "' + "A dog runs. " * 30 + '" and left.'
    assert len(split_text(text, Cut.SENTENCE)) == 31


@pytest.mark.parametrize("text", ["", " ", "\n\t \u2003"])
def test_nothing_has_no_pieces(text: str) -> None:
    assert split_text(text, Cut.SENTENCE) == split_text(text, Cut.PHRASE) == []


@pytest.mark.parametrize("text", ["...", "🐶. 🐱.", " !? ", "—"])
def test_a_text_without_letters_is_one_piece(text: str) -> None:
    assert [piece.text for piece in split_text(text, Cut.SENTENCE)] == [text.strip()]


MARKS = "aA1 .,!?…。、「」()\"'“”—-\n\r\t"
ALPHABET = st.sampled_from([*MARKS, "Dr.", "e.g.", " and ", " with ", "The", "3.5", "🐶", "etc. "])


@given(st.one_of(st.text(max_size=80), st.lists(ALPHABET, max_size=60).map("".join)), st.sampled_from(Cut))
@settings(max_examples=600, deadline=None)
def test_pieces_and_the_space_between_them_are_the_text(text: str, by: Cut) -> None:
    found = split_text(text, by)
    place = 0
    for piece in found:
        assert text[piece.start : piece.end] == piece.text == piece.text.strip() != ""
        assert text[place : piece.start].strip() == ""
        place = piece.end
    assert text[place:].strip() == ""
    assert bool(found) == bool(text.strip())
    if any(character.isalnum() and character.isascii() for character in text):
        assert all(any(character.isalnum() for character in piece.text) for piece in found)


@given(st.lists(ALPHABET, max_size=60).map("".join))
@settings(max_examples=300, deadline=None)
def test_phrases_lie_within_sentences(text: str) -> None:
    sentences, phrases = split_text(text, Cut.SENTENCE), split_text(text, Cut.PHRASE)
    ends = {phrase.end for phrase in phrases}
    assert {sentence.end for sentence in sentences} <= ends
    assert {sentence.start for sentence in sentences} <= {phrase.start for phrase in phrases}


@pytest.mark.parametrize("unit", [".", " ", "\n ", '"a ', "a,) ", "aa.The", "。", "(", "no. 3 ", "a.'", "e.g. "])
def test_the_cost_does_not_grow_with_the_square_of_the_text(unit: str) -> None:
    began = time.process_time()
    split_text("x" + unit * (60_000 // len(unit)) + " y", Cut.PHRASE)
    assert time.process_time() - began < 5
