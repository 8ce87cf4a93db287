"""What an input is made of: records in their order, each with the place it was read at.

A record that could not be read is a record too: it has its place in the order, and a ``problem`` instead of a score.
Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from clipalign.errors import ClipalignError


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record stands.

    Attributes:
        file: as the user named it; ``-`` for standard input.
        line: its first line in the file, from 1 on; 0 where there are no lines (Parquet, folders, tars).
        number: its ordinal in the whole input, from 0 on, the same however the input is shared out.
    """

    file: str
    line: int
    number: int

    def __str__(self) -> str:
        """As errors name it: ``pairs.jsonl:7``, or ``shard.tar, record 7`` where there are no lines."""
        name = "standard input" if self.file == "-" else self.file
        return f"{name}:{self.line}" if self.line else f"{name}, record {self.number + 1}"


@dataclass(frozen=True, slots=True)
class InputRecord:
    """One record of an input.

    Attributes:
        id: column ``id``; else the record's number from 1 on for tables, the name without its ending for folders, the
            key for tars.
        image: what :func:`clipalign.pipeline.images.open_image` takes, joined to ``--image-root`` already.
        image_name: as it stands in the input, for results and errors.
        text: what is said about the image; may be empty for commands that need none.
        references: other captions of the image, for RefCLIPScore.
        place: where it was read.
        problem: why the record cannot be used, or None; the other fields hold what could be read.
    """

    id: str
    image: str | Path | bytes
    image_name: str
    text: str
    references: tuple[str, ...]
    place: Place
    problem: ClipalignError | None = None


class Input(Protocol):
    """Records from somewhere, read as they are asked for."""

    @property
    def name(self) -> str:
        """What messages call it."""
        ...

    def count(self) -> int | None:
        """How many records there are; None for standard input, which cannot be counted.

        Raises:
            InputUnreadable: the input as a whole cannot be read.
        """
        ...

    def late(self) -> bool:
        """Whether the next record is not there yet, so that those before it are better done without it."""
        ...

    def records(self, share: slice | None = None) -> Iterator[InputRecord]:
        """The records in their order, or a contiguous share of them, each with its number in the whole.

        Raises:
            InputUnreadable: the input as a whole cannot be read.
        """
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """Records that are in memory already, as an :class:`Input`."""

    items: Sequence[InputRecord]
    name: str = "the arguments"

    def count(self) -> int:
        """How many there are."""
        return len(self.items)

    def late(self) -> bool:
        """Never."""
        return False

    def records(self, share: slice | None = None) -> Iterator[InputRecord]:
        """All of them, or those of ``share``."""
        return iter(self.items if share is None else self.items[share])
