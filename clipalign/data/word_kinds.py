"""Kinds of words that a picture decides: counts, colors, sizes and places; any other word is of kind ``other``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

*_ROWS, (_, _FUNCTION) = [
    line.split("\t") for line in Path(__file__).with_suffix(".tsv").read_text("utf-8").splitlines()
]
FUNCTION_WORDS: Final = frozenset(_FUNCTION.split())

KINDS: Final = {kind: tuple(words.replace("/", " ").split()) for kind, words in _ROWS}
"""Kind → its words, in lower case; a word is of one kind."""

OTHER: Final = "other"

_KIND_OF: Final = {word: kind for kind, words in KINDS.items() for word in words}
_GROUPS: Final = [frozenset(group.split("/")) for _, words in _ROWS for group in words.split()]
_SYNONYMS: Final = {word: group for group in _GROUPS for word in group}


def kind_of(word: str) -> str:
    """Return the kind of ``word``; case and punctuation at its edges are ignored."""
    return _KIND_OF.get(bare(word), OTHER)


def synonyms(word: str) -> frozenset[str]:
    """Return the words that say the same as ``word``, itself included, in lower case."""
    return _SYNONYMS.get(bare(word), frozenset({bare(word)}))


def bare(word: str) -> str:
    """Return ``word`` in lower case, without punctuation at its edges."""
    return word.casefold().strip(".,!?;:\"'()[]") or word.casefold()
