"""What a misaligned word may have been meant to be: candidates of its kind, in its number, ranked by the cosine."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from clipalign.data.word_kinds import exchanged, row_of
from clipalign.data.words import reported_words, split_words
from clipalign.errors import UsageError
from clipalign.methods.detect import Pair, detect_pairs
from clipalign.methods.settings import DetectSettings
from clipalign.methods.suggest import NOUNS, Entry, Lexicon, Place, lexicon_for
from clipalign.models.encode import encode_texts
from clipalign.pictogram.scenes import HERE, KINDS
from clipalign.results import DetectResult, WordScore
from tests.tiny import load_tiny

COUNT, SIZE = row_of("two"), row_of("small")
DOG = Entry(None, ("dog", "puppy"), ("dogs", "puppies"))
TRUCK = Entry(None, ("fire truck",), ("fire trucks",))
CAT = Entry(None, ("cat",), ("cats",))
SMALL, LARGE = Entry(SIZE, ("small", "tiny")), Entry(SIZE, ("large",))
LEXICON = Lexicon([DOG, TRUCK, CAT, SMALL, LARGE])


def places(caption: str) -> list[Place]:
    words = [WordScore(*word, 0.0, False, True) for word in reported_words(split_words(caption))]
    return list(LEXICON.places(words))


def options(caption: str, index: int) -> list[str]:
    found = places(caption)
    return [name for _, name in LEXICON.options(found[index], found[:index] + found[index + 1 :])]


class TestPlaces:
    def test_are_names_of_one_or_more_words_and_other_words(self) -> None:
        caption = 'Two "Puppies", a fire truck'
        found = places(caption)
        assert [caption[place.start : place.end] for place in found] == ["Two", "Puppies", "a", "fire truck"]
        assert [place.entry for place in found] == [None, DOG, None, TRUCK]
        assert [place.plural for place in found] == [False, True, False, False]
        assert [place.row for place in found] == [COUNT, None, None, None]


class TestOptions:
    def test_are_of_the_kind_and_number_of_the_word(self) -> None:
        assert options("a dog", 1) == ["fire truck", "cat"]
        assert options("three puppies", 1) == ["fire trucks", "cats"]
        assert options("a large sofa", 1) == ["small", "tiny"]
        assert options("a dog on the left", 4) == [] and row_of("left") != row_of("top") != row_of("above")
        assert options("some sofas", 1) == ["dogs", "puppies", "fire trucks", "cats"]

    def test_leave_out_things_named_elsewhere_by_any_name(self) -> None:
        assert options("a cat and two puppies", 1) == ["fire truck"]
        assert options("a small dog and a large cat", 1) == ["large"], "sizes may be said twice"


@pytest.mark.parametrize(
    ("caption", "index", "name", "expected"),
    [
        ("a dog runs", 1, "orange", "an orange runs"),
        ("An owl, a dog", 1, "cat", "A cat, a dog"),
        ("Dogs run", 0, "cats", "Cats run"),
        ("a fire truck.", 1, "dog", "a dog."),
        ("the dog", 1, "orange", "the orange"),
    ],
)
def test_a_candidate_is_put_in_the_words_place(caption: str, index: int, name: str, expected: str) -> None:
    assert exchanged(caption, places(caption)[index][:2], name)[0] == expected


class TestLexicons:
    def test_common_things_are_each_named_once(self) -> None:
        lexicon = lexicon_for(None, None)
        lines = NOUNS.read_text().splitlines()[1:]
        names = [name.partition("/")[0].strip() for line in lines for name in line.split(",")]
        assert len(names) == len(set(names)) > 300
        assert lexicon.entry_of("couch") is lexicon.entry_of("sofas") is lexicon.entry_of("sofa")
        assert lexicon.entry_of("women") is lexicon.entry_of("lady") and lexicon.entry_of("knives")
        assert lexicon.entry_of("strawberries") and lexicon.entry_of("benches") and lexicon.entry_of("boys")

    def test_an_embedded_model_has_its_own_things_and_words(self) -> None:
        lexicon = lexicon_for(frozenset((HERE / "vocabulary.txt").read_text().split()), None)
        assert all(lexicon.entry_of(name) for kind in KINDS for name in (*kind.names, kind.plural))
        assert lexicon.entry_of("gray") and not lexicon.entry_of("beige") and not lexicon.entry_of("seven")

    def test_a_file_has_a_candidate_a_line(self, tmp_path: Path) -> None:
        file = tmp_path / "mine.txt"
        file.write_text("# mine\nSofa, couch\nox/oxen\n\nlarge, big\n")
        lexicon = lexicon_for(None, file)
        assert lexicon.entry_of("couches") is lexicon.entry_of("sofa")
        assert lexicon.entry_of("oxen") == Entry(None, ("ox",), ("oxen",))
        assert lexicon.entry_of("big") == Entry(SIZE, ("large", "big"))
        with pytest.raises(UsageError, match=r"none\.txt"):
            lexicon_for(None, tmp_path / "none.txt")

    def test_a_file_that_changed_is_read_again(self, tmp_path: Path) -> None:
        file = tmp_path / "candidates.txt"
        file.write_text("pear")
        first = lexicon_for(None, file)
        assert lexicon_for(None, file) is first
        file.write_text("two plums")
        assert lexicon_for(None, file) is not first


def picture() -> torch.Tensor:
    width = len(encode_texts(load_tiny(), ["a"])[0])
    return normalize(torch.randn(width, generator=torch.Generator().manual_seed(3)), dim=-1)


class TestSuggestions:
    def detect(self, text: str, count: int = 3, **settings: object) -> DetectResult:
        chosen = DetectSettings(suggest=count, epsilon=1.0, template="", **settings)  # type: ignore[arg-type]
        return detect_pairs(load_tiny(), [Pair(picture(), text)], chosen)[0]

    def test_are_what_the_cosines_of_whole_captions_say(self) -> None:
        result = self.detect("a red car beside two dogs", 100)
        assert {"red", "car", "beside", "two", "dogs"} >= {one.text for one in result.suggestions} != set()
        suggestion = result.suggestions[-1]
        gains = [candidate.gain for candidate in suggestion.candidates]
        assert gains == sorted(gains, reverse=True) and gains[-1] > 0
        for candidate in suggestion.candidates[:5]:
            text = result.text[: suggestion.start] + candidate.text + result.text[suggestion.end :]
            alone, written = (float(vector @ picture()) for vector in encode_texts(load_tiny(), [text, result.text]))
            assert candidate.gain == pytest.approx(alone - written, abs=1e-6)

    def test_are_as_many_as_asked_for_and_none_unasked(self) -> None:
        several, one, none = (self.detect("a red car beside two dogs", count) for count in (3, 1, 0))
        assert [len(result.suggestions[0].candidates) for result in (several, one)] == [3, 1]
        assert none.suggestions == () and "suggestions" not in none.to_dict()
        assert "suggest" not in none.provenance.settings and several.provenance.settings["suggest"] == 3

    def test_there_is_none_where_the_word_as_written_is_best(self) -> None:
        result = self.detect("a red car beside two dogs", 100)
        best, at = result.suggestions[0].candidates[0], result.suggestions[0]
        text = result.text[: at.start] + best.text + result.text[at.end :]
        again = self.detect(text, 100)
        assert all(suggestion.start != at.start for suggestion in again.suggestions)

    def test_candidates_without_a_number_are_a_mistake(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="suggest='N'"):
            self.detect("a dog", 0, candidates=tmp_path / "mine.txt")


def test_the_embedded_model_finds_what_is_there() -> None:
    import clipalign

    result = clipalign.load("pictogram").detect(Image.open(HERE / "example.png"), "a dog and two balloons", suggest=3)
    (suggestion,) = result.suggestions
    assert suggestion.text == "dog" and "cat" in [candidate.text for candidate in suggestion.candidates]
