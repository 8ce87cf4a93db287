"""Tokens and their places to words: which words a caption has, what each is worth, which do not fit.

Word rules of CLIP4DM: split at white space, ``.`` and ``,`` are words of their own, and a word of nothing but
``.,!"?;:`` is neither reported nor numbered. A word's attribution is the mean over the tokens that share characters
with it. A run of punctuation is one token even if two words have part of it (``.)`` in ``(approx.)``) and counts for
both; the published code counts tokens word by word instead, so that later words take those of their neighbors.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

from clipalign.errors import TextUnusable

if TYPE_CHECKING:
    from clipalign.results import WordScore

PUNCTUATION = frozenset('.,!"?;:')

MAX_TEXT_CHARACTERS: Final = 200_000
"""Longest text that is split, far beyond any context; a text takes time, and its words memory, for each character."""

Span = tuple[int, int]
"""First character and one past the last."""

_WORD = re.compile(r"[.,]|[^\s.,]+")


class Mode(StrEnum):
    """How misaligned words are chosen: all below epsilon, or always the one most negative word."""

    THRESHOLD = "threshold"
    MOST_NEGATIVE = "most-negative"


class Word(NamedTuple):
    """A word and its characters in the caption."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class WordReading:
    """The scored words of a caption.

    Attributes:
        words: every reported word, in reading order (W).
        misaligned: most negative first.
        sum_negative_attribution: sum over ``misaligned``, 0.0 if there are none.
        cut: words of which the model read only the beginning.
        unread: words within the context without a token (control characters alone, say).
        beyond: words past the end of the context.
    """

    words: tuple[WordScore, ...]
    misaligned: tuple[WordScore, ...]
    sum_negative_attribution: float
    cut: tuple[Word, ...]
    unread: tuple[Word, ...]
    beyond: tuple[Word, ...]


def check_length(text: str, name: str = "") -> None:
    """Raise ``TextUnusable``, with ``name`` as its input, for over :data:`MAX_TEXT_CHARACTERS`."""
    if said := too_long(len(text)):
        raise TextUnusable(f"the text has {said}", hint="shorten it; models read the beginning alone", input=name)


def too_long(characters: int) -> str:
    """Return the message for a text of so many characters; empty if short enough."""
    if characters <= MAX_TEXT_CHARACTERS:
        return ""
    return f"{characters:,} characters; at most {MAX_TEXT_CHARACTERS:,} are read"


def split_words(caption: str) -> list[Word]:
    """Return all words of ``caption``, punctuation included, with exact offsets; raise ``TextUnusable`` if too long."""
    check_length(caption)
    return [Word(match.group(), match.start(), match.end()) for match in _WORD.finditer(caption)]


def words_to_score(text: str, name: str) -> list[Word]:
    """Return all words of ``text``; raise ``TextUnusable`` if it is too long or all are punctuation."""
    check_length(text, name)
    words = split_words(text)
    if not reported_words(words):
        what = f"the text {text.strip()[:20]!r} has no word to score" if text.strip() else "the text is empty"
        raise TextUnusable(what, hint="give a text with at least one word", input=name)
    return words


def reported_words(words: Sequence[Word]) -> list[Word]:
    return [word for word in words if not PUNCTUATION.issuperset(word.text)]


def word_scores(
    words: Sequence[Word],
    spans: Sequence[Span | None],
    attribution: Sequence[float],
    *,
    mode: Mode,
    epsilon: float,
    cut_at: int,
) -> WordReading:
    """Score ``words`` by the tokens that overlap them.

    Args:
        words: of :func:`reported_words` (W).
        spans: each token's characters in the caption, None for special tokens (T).
        attribution: signed attribution of each token (T).
        epsilon: in threshold mode, words below it are misaligned.
        cut_at: first character of the caption beyond the context; its length or more if all fit.
    """
    from clipalign.results import WordScore  # light commands import this module

    values = _means(words, spans, attribution)
    read = {index: value for index, value in enumerate(values) if value is not None}
    chosen = choose_misaligned(values, mode=mode, epsilon=epsilon)
    marked = frozenset(chosen)
    scores = tuple(
        WordScore(
            word.text, word.start, word.end, attribution=value, misaligned=index in marked, scored=value is not None
        )
        for index, (word, value) in enumerate(zip(words, values, strict=True))
    )
    silent = [word for word, value in zip(words, values, strict=True) if value is None]
    return WordReading(
        words=scores,
        misaligned=tuple(scores[index] for index in chosen),
        sum_negative_attribution=sum((read[index] for index in chosen), 0.0),
        cut=tuple(words[index] for index in read if words[index].end > cut_at),
        unread=tuple(word for word in silent if word.end <= cut_at),
        beyond=tuple(word for word in silent if word.end > cut_at),
    )


def choose_misaligned(values: Sequence[float | None], *, mode: Mode, epsilon: float) -> list[int]:
    """Return the indices of misaligned words, most negative first; ``values`` (W) has None for unscored words."""
    ranked = sorted((value, index) for index, value in enumerate(values) if value is not None)
    if mode is Mode.MOST_NEGATIVE:
        return [index for _, index in ranked[:1]]
    return [index for value, index in ranked if value < epsilon]


def _means(words: Sequence[Word], spans: Sequence[Span | None], attribution: Sequence[float]) -> list[float | None]:
    tokens = [(span, value) for span, value in zip(spans, attribution, strict=True) if span is not None]
    means: list[float | None] = []
    first = 0
    for word in words:
        while first < len(tokens) and tokens[first][0][1] <= word.start:
            first += 1
        inside = []
        for (start, _), value in tokens[first:]:
            if start >= word.end:
                break
            inside.append(value)
        means.append(sum(inside) / len(inside) if inside else None)
    return means


def unknown_words(words: Sequence[Word], vocabulary: frozenset[str]) -> tuple[str, ...]:
    """Return the distinct words that are not in ``vocabulary`` (lower case).

    Punctuation around a word and a possessive ``'s`` are ignored, and a hyphenated word is known by its parts.
    """
    return tuple(dict.fromkeys(word.text for word in words if not _known(word.text, vocabulary)))


def _known(text: str, vocabulary: frozenset[str]) -> bool:
    lowered = text.lower().replace("’", "'")
    bare = re.sub(r"^\W+|\W+$", "", lowered)
    forms = {lowered, bare, bare.removesuffix("'s")}
    if not bare or forms & vocabulary:
        return True
    parts = [part for part in bare.split("-") if part]
    return len(parts) > 1 and all(_known(part, vocabulary) for part in parts)


def article(word: str) -> str:
    """Return "an" before a vowel that is heard: not before unicorn and ufo, but before hourglass."""
    return "an" if word.startswith(("a", "e", "i", "o", "umb", "hour")) else "a"
