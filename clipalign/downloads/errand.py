"""What every fetch of a run shares: the network, where to say what is going on, and what came."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

from clipalign.downloads.web import Web

Advance = Callable[[int, int], None]
"""Told the bytes that are there, and those there will be (0 where unknown)."""


def _in_silence(title: str) -> AbstractContextManager[Advance]:
    return nullcontext(lambda done, total: None)


@dataclass(frozen=True)
class Errand:
    """The way things are fetched in this run.

    Attributes:
        web: the network.
        announce: a line a file: what, how large, from where.
        progress: a bar, or a line now and then, for a file of that name.
        cache_dir: clipalign's cache folder, where the user named one.
    """

    web: Web = field(default_factory=Web)
    announce: Callable[[str], None] = lambda line: None
    progress: Callable[[str], AbstractContextManager[Advance]] = _in_silence
    cache_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class Brought:
    """A file, or a folder of files, that is here now.

    Attributes:
        path: where.
        source: where it is from, in words.
        sha256: its hash; empty where it is a folder.
        size_bytes: its size.
        resumed_bytes: of an earlier run's.
        verified: whether a hash was on record, and it agreed.
        fresh: whether it was fetched now.
    """

    path: Path
    source: str
    sha256: str
    size_bytes: int
    resumed_bytes: int = 0
    verified: bool = False
    fresh: bool = True


def in_bytes(size: int) -> str:
    """``605 MB``; decimal units, as pages of downloads have them."""
    for unit, divisor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= divisor:
            return f"{size / divisor:.3g} {unit}" if size < 100 * divisor else f"{size / divisor:,.0f} {unit}"
    return f"{size} bytes"
