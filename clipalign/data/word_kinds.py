"""Kinds of words that a picture decides: counts, colors, sizes and places; any other word is of kind ``other``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from clipalign.data.words import Span, article

*_ROWS, (_, _FUNCTION) = [
    line.split("\t") for line in Path(__file__).with_suffix(".tsv").read_text("utf-8").splitlines()
]
FUNCTION_WORDS: Final = frozenset(_FUNCTION.split())

ROWS: Final = [tuple(tuple(group.split("/")) for group in words.split()) for _, words in _ROWS]
"""Groups of words that say the same; words of one row can stand in the same place of a sentence."""

KINDS: Final = {
    kind: tuple(
        word for (other, _), row in zip(_ROWS, ROWS, strict=True) if other == kind for group in row for word in group
    )
    for kind, _ in _ROWS
}
"""Kind → its words, in lower case; a word is of one kind."""

OTHER: Final = "other"

_ARTICLE: Final = re.compile(r"\b(an?)(\s+)$", re.IGNORECASE)

_KIND_OF: Final = {word: kind for kind, words in KINDS.items() for word in words}
_SYNONYMS: Final = {word: frozenset(group) for row in ROWS for group in row for word in group}
_ROW_OF: Final = {word: index for index, row in enumerate(ROWS) for group in row for word in group}


def kind_of(word: str) -> str:
    """Return the kind of ``word``; case and punctuation at its edges are ignored."""
    return _KIND_OF.get(bare(word), OTHER)


def synonyms(word: str) -> frozenset[str]:
    """Return the words that say the same as ``word``, itself included, in lower case."""
    return _SYNONYMS.get(bare(word), frozenset({bare(word)}))


def row_of(word: str) -> int | None:
    """Return the row of :data:`ROWS` that ``word`` is in, as for :func:`kind_of`; None for other words."""
    return _ROW_OF.get(bare(word))


def inside(word: str, start: int) -> Span:
    """Return the characters of a caption that :func:`bare` leaves of a word that begins at ``start``."""
    begin = start + max(word.casefold().find(bare(word)), 0)
    return begin, min(begin + len(bare(word)), start + len(word))


def exchanged(caption: str, span: Span, name: str) -> tuple[str, Span]:
    """Return the caption with ``name`` at ``span``, in the case of what stood there, and the span of it.

    An article before it becomes the one that the name wants.
    """
    before, written = caption[: span[0]], caption[span[0] : span[1]]
    if found := _ARTICLE.search(before):
        fitting = article(name)
        before = before[: found.start()] + (fitting.capitalize() if found[1][0].isupper() else fitting) + found[2]
    put = name.capitalize() if written[:1].isupper() else name
    return before + put + caption[span[1] :], (len(before), len(before) + len(put))


def bare(word: str) -> str:
    """Return ``word`` in lower case, without punctuation at its edges."""
    return word.casefold().strip(".,!?;:\"'()[]") or word.casefold()
