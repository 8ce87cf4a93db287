"""False captions made of a data set's own true ones: a word exchanged for one of its kind from another caption.

Kinds are those of :mod:`clipalign.data.word_kinds`; any other word is exchanged for one that stands between like
neighbors elsewhere, as nouns do. A word that a caption of the same picture has, or a synonym of one, is never put in.
Even so a foil may happen to be true, so that what is fitted on them is less good than what labels give.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from clipalign.data.word_kinds import FUNCTION_WORDS, bare, exchanged, inside, kind_of, synonyms
from clipalign.data.words import Word, split_words
from clipalign.evaluation.benchmark import BrokenSample, CaptionSample
from clipalign.evaluation.tasks.words import DetectEvaluator, WordBenchmark

if TYPE_CHECKING:
    from clipalign.evaluation.settings import EvalSettings
    from clipalign.models.model import LoadedModel

_ARTICLES: Final = ("a", "an")
_EDGE: Final = ""

Slot = tuple[str, str, str]
"""The kind of a word, and what its neighbors are: a kind, a function word, or the edge of the caption."""


class Exchange:
    """Makes a foil of a caption by what the captions of a data set say."""

    def __init__(self, captions: Iterable[tuple[str, str]]) -> None:
        """``captions`` are pairs of a picture's name and a text."""
        self._by_slot: defaultdict[Slot, Counter[str]] = defaultdict(Counter)
        self._said: defaultdict[str, set[str]] = defaultdict(set)
        for picture, text in captions:
            words = split_words(text)
            self._said[picture].update(one for word in words for one in synonyms(word.text))
            for index, slot in slots(words):
                self._by_slot[slot][bare(words[index].text)] += 1

    def foil(self, picture: str, text: str, rng: random.Random) -> tuple[str, tuple[int, int]] | None:
        """Return a false caption and the characters of the word put in; None where no word can be exchanged."""
        words = split_words(text)
        options: defaultdict[str, list[tuple[Word, list[str], list[int]]]] = defaultdict(list)
        for index, slot in slots(words):
            others = [(one, n) for one, n in self._by_slot[slot].items() if one not in self._said[picture]]
            if others:
                names, counts = map(list, zip(*others, strict=True))
                options[slot[0]].append((words[index], names, counts))
        if not options:
            return None
        word, names, counts = rng.choice(options[rng.choice(sorted(options))])
        return exchanged(text, inside(word.text, word.start), rng.choices(names, counts)[0])


def slots(words: Sequence[Word]) -> Iterator[tuple[int, Slot]]:
    """Yield the words that can be exchanged, by their index, with their slots."""
    roles = [_EDGE, *(_role(word.text) for word in words), _EDGE]
    for index, word in enumerate(words):
        role = roles[index + 1]
        if role not in FUNCTION_WORDS and word.text[:1].isalpha() and bare(word.text).isalpha():
            yield index, (role, roles[index], roles[index + 2])


def _role(word: str) -> str:
    plain = bare(word)
    if plain in _ARTICLES:
        return "a"
    return plain if plain in FUNCTION_WORDS else kind_of(plain)


class SelfLabeled(WordBenchmark):
    """The true captions of another benchmark, each with a foil of :class:`Exchange`."""

    def __init__(self, inner: WordBenchmark) -> None:
        self.name = inner.name
        super().__init__(inner.folder)
        self._inner = inner

    def read_lists(self) -> None:
        self._inner.check()
        self.data = self._inner.data

    def samples(self, *, limit: int | None, seed: int) -> Iterator[CaptionSample | BrokenSample]:
        exchange = Exchange(
            (one.image_name, one.text) for one in self._true(limit, seed) if isinstance(one, CaptionSample)
        )
        for one in self._true(limit, seed):
            yield one
            if isinstance(one, CaptionSample):
                rng = random.Random(f"{seed} {one.id}")
                if made := exchange.foil(one.image_name, one.text, rng):
                    yield replace(one, id=f"{one.id}:foil", text=made[0], correct=False, false_spans=(made[1],))

    def _true(self, limit: int | None, seed: int) -> Iterator[CaptionSample | BrokenSample]:
        samples: Iterator[Any] = iter(self._inner.samples(limit=limit, seed=seed))
        return (one for one in samples if not isinstance(one, CaptionSample) or one.correct)

    def evaluator(self, loaded: LoadedModel, settings: EvalSettings) -> DetectEvaluator:
        return self._inner.evaluator(loaded, settings)
