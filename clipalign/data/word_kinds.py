"""Kinds of words that a picture decides: counts, colors, sizes and places; any other word is of kind ``other``."""

from __future__ import annotations

from pathlib import Path
from typing import Final

_FILE: Final = Path(__file__).with_suffix(".tsv")

KINDS: Final[dict[str, tuple[str, ...]]] = {
    kind: tuple(words.split()) for kind, words in (line.split("\t") for line in _FILE.read_text("utf-8").splitlines())
}
"""Kind → its words, in lower case; a word is of one kind."""

OTHER: Final = "other"

_KIND_OF: Final = {word: kind for kind, words in KINDS.items() for word in words}


def kind_of(word: str) -> str:
    """Return the kind of ``word``; case and punctuation at its edges are ignored."""
    return _KIND_OF.get(bare(word), OTHER)


def bare(word: str) -> str:
    """Return ``word`` in lower case, without punctuation at its edges."""
    return word.casefold().strip(".,!?;:\"'()[]") or word.casefold()
