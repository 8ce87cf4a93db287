"""Suggest the known name that an unknown one is probably a misspelling of."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches
from typing import Final

MAX_GUESSES: Final = 2
MIN_SIMILARITY: Final = 0.7
"""Accepts swapped letters, but not ``gpu`` for ``cpu``."""


def suggestion(typed: str, known: Iterable[str]) -> str:
    """Return a hint with the one or two most similar names, or an empty string."""
    lowered = {name.lower(): name for name in known}
    close = get_close_matches(typed.lower(), list(lowered), n=MAX_GUESSES, cutoff=MIN_SIMILARITY)
    return f"did you mean {' or '.join(lowered[name] for name in close)}?" if close else ""
