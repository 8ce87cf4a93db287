"""Records in their order, each with the place it was read at, and how a row of a table becomes one.

A record that could not be read is a record too: it has its place in the order, and a ``problem`` instead of a score.

Columns are ``image``, ``text``, and if there ``id`` and ``references``; any others are left alone. There are no other
names for them: a table whose columns look like these but are called differently is refused with the name that was
probably meant, because a guess that goes wrong scores the wrong texts.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, Self

import orjson

from clipalign.data.sources import STDIN, is_file_name, short_name
from clipalign.data.words import too_long
from clipalign.errors import ClipalignError, InputUnreadable

if TYPE_CHECKING:
    from PIL.Image import Image

    from clipalign.data.in_memory import Prepared


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
        name = "standard input" if self.file == STDIN else self.file
        return f"{name}:{self.line}" if self.line else f"{name}, record {self.number + 1}"


@dataclass(frozen=True, slots=True)
class InputRecord:
    """One record of an input.

    Attributes:
        id: column ``id``; else the record's number from 1 on for tables, the name without its ending for folders, the
            key for tars.
        image: what :func:`clipalign.data.images.open_image` takes, joined to ``--image-root`` already, or a picture
            that a program has prepared itself.
        image_name: as it stands in the input, for results and errors.
        text: what is said about the image; may be empty for commands that need none.
        references: other captions of the image, for RefCLIPScore.
        place: where it was read.
        problem: why the record cannot be used, or None; the other fields hold what could be read.
    """

    id: str
    image: str | Path | bytes | Image | Prepared
    image_name: str
    text: str
    references: tuple[str, ...]
    place: Place
    problem: ClipalignError | None = None


class Source(Protocol):
    """One input of those a run may have: a file, a folder, standard input, a list."""

    @property
    def name(self) -> str:
        """As the user named it."""
        ...

    def check(self) -> None:
        """Look at its beginning.

        Raises:
            InputUnreadable: it cannot be read as a whole, or has other columns.
            MissingExtra: its library is not installed.
        """
        ...

    def count(self) -> int | None:
        """How many records; None where that cannot be known before they are read."""
        ...

    def records(self, begin: int, end: int | None, offset: int) -> Iterator[InputRecord]:
        """The records from ``begin`` up to ``end`` (None for all); they are numbered from ``begin + offset``."""
        ...


@dataclass(frozen=True, slots=True)
class Listed:
    """Records that are in memory already, numbered from 0 on."""

    items: Sequence[InputRecord]
    name: str = "the arguments"

    def check(self) -> None:
        """Nothing can be wrong."""

    def count(self) -> int:
        """How many there are."""
        return len(self.items)

    def records(self, begin: int, end: int | None, offset: int) -> Iterator[InputRecord]:
        """See :class:`Source`."""
        for record in self.items[begin:end]:
            place = replace(record.place, number=record.place.number + offset)
            yield replace(record, place=place)


def never_late() -> bool:
    """``late`` of inputs that never wait, such as files."""
    return False


@dataclass(frozen=True, slots=True)
class Input:
    """Sources one after another, read as they are asked for.

    Attributes:
        sources: at least one.
        name: what messages call it.
        late: whether the next record has not arrived; records already read are then scored without waiting.
    """

    sources: Sequence[Source]
    name: str = "the arguments"
    late: Callable[[], bool] = never_late

    @classmethod
    def of(cls, items: Sequence[InputRecord]) -> Self:
        """Records that are in memory already, numbered from 0 on."""
        return cls([Listed(items)])

    def count(self) -> int | None:
        """How many records there are; None where a source cannot be counted, as standard input.

        Raises:
            InputUnreadable: a source cannot be read as a whole.
        """
        total = 0
        for source in self.sources:
            records = source.count()
            if records is None:
                return None
            total += records
        return total

    def records(self, share: slice | None = None) -> Iterator[InputRecord]:
        """The records in their order, or a contiguous share of them, each with its number in the whole.

        Raises:
            InputUnreadable: a source cannot be read as a whole.
        """
        begin, end = (0, None) if share is None else (share.start or 0, share.stop)
        offset = 0
        for source in self.sources:
            if end is not None and offset >= end:
                return
            size = source.count() if begin > offset else None
            if size is None or offset + size > begin:
                number = offset - 1
                for record in source.records(max(begin - offset, 0), None if end is None else end - offset, offset):
                    number = record.place.number
                    yield record
                size = number + 1 - offset
            offset += size


COLUMNS: Final = ("image", "text", "id", "references")

OTHER_NAMES: Final = {
    "image": (
        *("images", "img", "imgs", "image_path", "image_file", "image_filename", "image_name", "image_url", "img_path"),
        *("path", "filepath", "file_path", "file_name", "filename", "file", "picture", "photo", "url"),
    ),
    "text": ("caption", "captions", "sentence", "prompt", "description", "title", "txt", "texts"),
}
"""What tables elsewhere call these columns; for hints alone."""

_ALIKE: Final = 0.7
_SHOWN: Final = 40
"""Characters of a value that an error shows."""


@dataclass(frozen=True, slots=True)
class RowReader:
    """Makes records of rows.

    Attributes:
        image_root: folder that relative image names are looked for in; None for the working directory.
        needs_text: whether a record without a text is a bad one.
    """

    image_root: Path | None = None
    needs_text: bool = True

    def required(self) -> tuple[str, ...]:
        """Columns that must be there."""
        return ("image", "text") if self.needs_text else ("image",)

    def check_header(self, columns: Collection[str], name: str) -> None:
        """Refuse a table that lacks a column.

        Raises:
            InputUnreadable: naming the columns there are.
        """
        for wanted in self.required():
            if wanted not in columns:
                raise InputUnreadable(
                    f"{name} has no column {wanted}; it has {_listed(columns)}",
                    hint=meant_column(wanted, columns) or f"columns are {', '.join(COLUMNS)}",
                    input=name,
                )

    def check_first(self, row: Mapping[str, Any], name: str) -> None:
        """Refuse JSON whose first record has a column under another name; one that lacks it is a bad record only.

        Raises:
            InputUnreadable: naming the columns there are.
        """
        for wanted in self.required():
            if wanted not in row and meant_column(wanted, row):
                self.check_header(row, name)

    def record(self, row: object, place: Place) -> InputRecord:
        """The record of one row."""
        if not isinstance(row, Mapping):
            return bad_record(place, InputUnreadable(f"the record is not an object but {_kind(row)}", input=str(place)))
        problems = _Problems(place)
        image, image_name = self._image(row, problems)
        return InputRecord(
            id=_id(row.get("id"), place, problems),
            image=image,
            image_name=image_name,
            text=self._text(row, problems),
            references=_references(row.get("references"), problems),
            place=place,
            problem=problems.first,
        )

    def _image(self, row: Mapping[str, Any], problems: _Problems) -> tuple[str | Path | bytes, str]:
        value = row.get("image")
        if isinstance(value, Mapping) and value.keys() & {"bytes", "path"}:  # as Parquet files of data sets hold them
            name = value.get("path") if isinstance(value.get("path"), str) else ""
            content = value.get("bytes")
            if isinstance(content, bytes) and content:
                return content, name or f"image of {problems.place}"
            value = name
        if isinstance(value, bytes):
            return value, f"image of {problems.place}"
        if not isinstance(value, str) or not value.strip():
            problems.add(_lack("image", row, value))
            return "", ""
        if problems.add(_unwritable("image", value)):
            return "", ""
        if value == STDIN:
            problems.add("the image is -, but standard input cannot be a picture of an input")
            return "", value
        return self.located(value), short_name(value)

    def _text(self, row: Mapping[str, Any], problems: _Problems) -> str:
        value = row.get("text")
        if not isinstance(value, str):
            if self.needs_text or value is not None:
                problems.add(_lack("text", row, value))
            return ""
        return "" if problems.add(_unwritable("text", value) or _too_long("text has", len(value))) else value

    def located(self, image: str) -> str | Path:
        """An image's name joined to the image root, if there is one and the name is a relative path."""
        if self.image_root is None or not is_file_name(image):
            return image
        return self.image_root / image


class _Problems:
    """The first thing wrong with a record."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.first: ClipalignError | None = None

    def add(self, message: str) -> bool:
        """Keep ``message``, and a hint behind its line feed, if it is the first; whether it says anything."""
        if message and self.first is None:
            message, _, hint = message.partition("\n")
            self.first = InputUnreadable(message, hint=hint, input=str(self.place))
        return bool(message)


def bad_record(place: Place, problem: ClipalignError) -> InputRecord:
    """A record of which nothing but its place is known."""
    return InputRecord(str(place.number + 1), "", "", "", (), place, problem)


def meant_column(wanted: str, columns: Collection[str]) -> str:
    """A hint at the column that is ``wanted`` under another name, or an empty string."""
    free = [column for column in columns if column not in COLUMNS]
    known = [column for column in free if column.strip().lower() in OTHER_NAMES.get(wanted, ())]
    alike = [column for column in free if get_close_matches(column.strip().lower(), [wanted], cutoff=_ALIKE)]
    meant = (known + alike)[:1]
    return f"is {meant[0]} the {wanted}? rename that column to {wanted}" if meant else ""


def _listed(columns: Collection[str]) -> str:
    return ", ".join(str(column)[:_SHOWN] for column in list(columns)[:12]) or "none"


def _kind(value: object) -> str:
    if isinstance(value, bool):
        return "true or false"
    kinds = ((str, "a string"), (int, "a number"), (float, "a number"), (list, "a list"), (Mapping, "an object"))
    return next(
        (name for kind, name in kinds if isinstance(value, kind)), "null" if value is None else "something else"
    )


def _lack(column: str, row: Mapping[str, Any], value: object) -> str:
    if column not in row:
        hint = meant_column(column, row) or (f"it has {_listed(row)}" if row else "")
        return f"there is no {column}\n{hint}"
    if value is None or isinstance(value, str):
        return f"the {column} is empty"
    return f"the {column} must be a string, not {_kind(value)}"


def _unwritable(column: str, value: str) -> str:
    """What is said of a ``value`` with what is no character: a byte that was no UTF-8, half of a pair, a null."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return f"the {column} is not valid UTF-8\nsave the input as UTF-8"
    return f"the {column} holds a null character" if column == "image" and "\0" in value else ""


def _too_long(what: str, characters: int) -> str:
    """What is said of a text that no method takes; refused here, it is not held in memory."""
    said = too_long(characters)
    return f"the {what} {said}\nshorten it; models read the beginning alone" if said else ""


def _id(value: object, place: Place, problems: _Problems) -> str:
    number = str(place.number + 1)
    if value is None or value == "":
        return number
    if isinstance(value, str):
        return number if problems.add(_unwritable("id", value)) else value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    problems.add(f"the id must be a string or a whole number, not {_kind(value)}")
    return number


def _references(value: object, problems: _Problems) -> tuple[str, ...]:
    """A list of strings; in tables of text, the same written as JSON."""
    if value is None or value == "":
        return ()
    if isinstance(value, str):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            value = None
    if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
        problems.add('the references must be a list of strings, such as ["a dog", "a brown dog"]')
        return ()
    if any(problems.add(_unwritable("references", one)) for one in value):
        return ()
    if problems.add(_too_long("references have", sum(map(len, value)))):
        return ()
    return tuple(value)
