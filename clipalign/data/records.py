"""Records in their order, each with the place it was read at, from one source after another.

A record that could not be read keeps its place in the order, with a ``problem`` instead of a score.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from clipalign.data.sources import STDIN
from clipalign.errors import ClipalignError

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipalign.data.columns import RowReader
    from clipalign.data.in_memory import Prepared

MAX_NAMES: Final = 65_536
"""Names of pictures remembered to number those that repeat; beyond, the least recently used is forgotten."""

MAX_COUNTED_BYTES: Final = 32_000_000
"""Largest table whose records are counted beforehand, for the progress display."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a record was read.

    Attributes:
        file: as the user named it; ``-`` for standard input.
        line: its first line in the file, from 1; 0 for Parquet, folders and tars.
        number: its index in the file.
    """

    file: str
    line: int
    number: int

    def __str__(self) -> str:
        """Format for errors: ``pairs.jsonl:7``, or ``shard.tar, record 7`` without lines."""
        name = "standard input" if self.file == STDIN else self.file
        return f"{name}:{self.line}" if self.line else f"{name}, record {self.number + 1}"


@dataclass(frozen=True, slots=True)
class InputRecord:
    """One record of an input.

    Attributes:
        id: column ``id``; else the picture's name, with ``#2``, ``#3``, … if repeated in the same file; for folders
            without its ending, for tars the key.
        image: what :func:`clipalign.data.images.open_image` takes, or a picture prepared by a program.
        image_name: as in the input, for results and errors.
        references: other captions of the image, for RefCLIPScore.
        problem: why the record cannot be used, or None; the other fields hold what could be read.
        folders: where a relative ``image`` is looked for, in this order.
        columns: other columns that were requested, by name, in JSON's types.
    """

    id: str
    image: str | Path | bytes | Image | Prepared
    image_name: str
    text: str
    references: tuple[str, ...]
    place: Place
    problem: ClipalignError | None = None
    folders: tuple[Path, ...] = (Path(),)
    columns: Mapping[str, Any] = field(default_factory=dict)


def bad_record(place: Place, problem: ClipalignError) -> InputRecord:
    return InputRecord(str(place.number + 1), "", "", "", (), place, problem)


class Row(NamedTuple):
    """A row of a source.

    Attributes:
        value: columns by name, or why they cannot be read; a column's value may be such an error too.
        line: where it begins, from 1; 0 without lines.
    """

    value: Any
    line: int = 0


@dataclass(frozen=True, slots=True)
class Source:
    """An input of a run: a file, a folder, standard input; a subclass per kind yields its rows."""

    name: str
    reader: RowReader

    @property
    def path(self) -> Path:
        return Path(self.name).expanduser()

    def rows(self) -> Iterator[Row]:
        """Yield its rows in order, with an error as the last one if reading breaks off."""
        raise NotImplementedError

    def check(self) -> None:
        """Read its beginning.

        Raises:
            InputUnreadable: it cannot be read as a whole, or has other columns.
            MissingExtra: its library is not installed.
        """
        next(self.records(), None)

    def count(self) -> int | None:
        """Return the number of records; None if counting would take long."""
        small = self.path.is_file() and self.path.stat().st_size <= MAX_COUNTED_BYTES and self.path.suffix != ".gz"
        return sum(1 for _ in self.rows()) if small else None

    def records(self) -> Iterator[InputRecord]:
        """Yield its records in order; raise ``InputUnreadable`` if it cannot be read as a whole."""
        names = _Names()
        for number, row in enumerate(self.rows()):
            place = Place(self.name, row.line, number)
            if isinstance(row.value, ClipalignError):
                yield bad_record(place, row.value)
                continue
            if number == 0 and isinstance(row.value, Mapping):
                self.reader.check(row.value, self.name, has_all=False)
            record = self.reader.record(row.value, place)
            yield record if record.id else replace(record, id=names.numbered(record.image_name) or str(number + 1))


class _Names:
    def __init__(self) -> None:
        self._seen: OrderedDict[int, int] = OrderedDict()

    def numbered(self, name: str) -> str:
        """Return ``a.jpg``, at the next call ``a.jpg#2``; an empty name stays empty."""
        key = hash(name)
        count = self._seen[key] = self._seen.pop(key, 0) + 1
        if len(self._seen) > MAX_NAMES:
            self._seen.popitem(last=False)
        return f"{name}#{count}" if name and count > 1 else name


@dataclass(frozen=True, slots=True)
class Listed:
    items: Sequence[InputRecord]
    name: str = "the arguments"

    def count(self) -> int:
        return len(self.items)

    def records(self) -> Iterator[InputRecord]:
        return iter(self.items)


def never_late() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Input:
    """Sources one after another, read lazily.

    Attributes:
        late: whether the next record has not arrived; records already read are then scored without waiting.
        limit: maximum number of records; None for all.
    """

    sources: Sequence[Source | Listed]
    name: str = "the arguments"
    late: Callable[[], bool] = never_late
    limit: int | None = None

    @classmethod
    def of(cls, items: Sequence[InputRecord]) -> Self:
        return cls([Listed(items)])

    def count(self) -> int | None:
        """Return the number of records; None if counting would take long. Raises as :meth:`records`."""
        total = 0
        for source in self.sources:
            count = source.count()
            if count is None:
                return self.limit
            total += count
        return total if self.limit is None else min(total, self.limit)

    def records(self, shard: tuple[int, int] | None = None) -> Iterator[InputRecord]:
        """Yield the records in order, or shard I of N, I from 1; raise ``InputUnreadable`` for an unreadable source.

        With at least N sources a shard is a range of whole ones. Else each shard reads all and takes every N-th,
        neighbors with the same picture together, so that nothing is counted and no picture read twice.
        """
        sources = self.sources
        if shard is None:
            found = _of_all(sources)
        elif len(sources) >= shard[1]:
            index, count = shard
            found = _of_all(sources[len(sources) * (index - 1) // count : len(sources) * index // count])
        else:
            found = _every(_of_all(sources), *shard)
        return islice(found, self.limit)


def _of_all(sources: Sequence[Source | Listed]) -> Iterator[InputRecord]:
    for source in sources:
        yield from source.records()


def _every(records: Iterator[InputRecord], index: int, count: int) -> Iterator[InputRecord]:
    turn, last = -1, None
    for record in records:
        if turn < 0 or record.image != last or not last:
            turn, last = turn + 1, record.image
        if turn % count == index - 1:
            yield record
