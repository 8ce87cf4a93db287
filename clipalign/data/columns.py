"""How a row of a table becomes a record: which columns are meant, and what is wrong with their values.

Columns are ``image``, ``text``, and if there ``id`` and ``references``, or those that ``--columns`` names instead, in
objects and lists by their path: ``json.caption``, ``captions.0``. No other name is guessed, as a wrong guess scores the
wrong texts: a table that lacks a column is refused, with the ``--columns`` that were probably meant.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path, PurePosixPath
from typing import Any, Final

import orjson

from clipalign.data.records import InputRecord, Place, bad_record
from clipalign.data.sources import HTTP, NO_STORES, STDIN, is_file_name, origin_of, scheme_of, short_name
from clipalign.data.words import too_long
from clipalign.errors import ClipalignError, InputUnreadable
from clipalign.files import address_in
from clipalign.plain import json_type

COLUMNS: Final = ("image", "text", "id", "references")

ALL_COLUMNS: Final = "all"

_OTHER_NAMES: Final = {
    "image": (
        *("file_name", "filename", "image_path", "image_file", "file_path", "filepath", "img_path", "image_name"),
        *("image_filename", "images", "img", "imgs", "path", "file", "picture", "photo", "image_url", "url"),
        *("image_id", "image/key"),
    ),
    "text": (
        *("caption", "captions", "sentence", "prompt", "description", "title", "txt", "texts", "raw_caption"),
        *("answer", "hyp", "positive_sample", "comment", "alt", "alt_text"),
    ),
}
"""Other common names of these columns, the likelier first; for hints only."""

_ALIKE: Final = 0.7
_SHOWN: Final = 40

MISSING: Final = object()


def value_at(row: Any, path: str) -> Any:
    """Return what is at ``path``, as ``json.caption`` or ``captions.0``: a value, an error or :data:`MISSING`."""
    if isinstance(row, ClipalignError):
        return row
    head, dot, rest = path.partition(".")
    if isinstance(row, Mapping):
        if path in row:
            return row[path]
        return value_at(row[head], rest) if dot and head in row else MISSING
    if isinstance(row, list | tuple) and head.removeprefix("-").isdecimal():
        number = int(head)
        if -len(row) <= number < len(row):
            return value_at(row[number], rest) if dot else row[number]
    return MISSING


@dataclass(frozen=True, slots=True)
class RowReader:
    """Make records of rows.

    Attributes:
        image_root: folder of relative image names; None for those beside and around the input.
        columns: paths of those columns in :data:`COLUMNS` that have another name.
        keep: other columns that records include, or :data:`ALL_COLUMNS`.
    """

    image_root: Path | None = None
    needs_text: bool = True
    columns: Mapping[str, str] = field(default_factory=dict)
    keep: tuple[str, ...] = ()

    def column(self, wanted: str) -> str:
        return self.columns.get(wanted, wanted)

    @property
    def paths(self) -> tuple[str, ...]:
        return (*self.columns.values(), *(name for name in self.keep if name != ALL_COLUMNS))

    def wants(self, name: str) -> bool:
        """Return whether a column of the table is read at all."""
        paths = (*map(self.column, COLUMNS), *self.paths)
        return ALL_COLUMNS in self.keep or any(name == path or path.startswith(f"{name}.") for path in paths)

    def check(self, row: Mapping[str, Any], name: str, *, has_all: bool = True) -> None:
        """Raise ``InputUnreadable`` with a hint for a table that lacks a column.

        ``row`` is its first row, or its columns without values. Unless ``has_all``, other rows may have more columns:
        a row that lacks one is then only an invalid record, except if the column seems to have another name.
        """
        for wanted in self._required():
            column = self.column(wanted)
            if value_at(row, column) is MISSING and (has_all or wanted in self.columns or _meant(wanted, row)):
                message = f"{name} has no column {column}; it has {_listed(row)}"
                raise InputUnreadable(message, hint=self.meant(row), input=name)

    def _required(self) -> tuple[str, ...]:
        return ("image", "text") if self.needs_text else ("image",)

    def meant(self, row: Mapping[str, Any]) -> str:
        named = dict(self.columns)
        for wanted in self._required():
            if value_at(row, self.column(wanted)) is not MISSING:
                continue
            if wanted in row:
                named.pop(wanted)
            else:
                named[wanted] = _meant(wanted, row) or "COLUMN"
        if not named:
            return "leave out --columns"
        return f"--columns {shlex.quote(','.join(f'{wanted}={column}' for wanted, column in named.items()))}"

    def record(self, row: object, place: Place) -> InputRecord:
        """Return the record of one row; its ``id`` may be empty."""
        if not isinstance(row, Mapping):
            return bad_record(
                place, InputUnreadable(f"the record is not an object but {json_type(row)}", input=str(place))
            )
        found = _Found(self, row, place)
        image, image_name = found.image()
        if isinstance(image, str) and image:
            try:
                image = self._placed(image, place)
            except InputUnreadable as error:
                found.problem = found.problem or error
        return InputRecord(
            id=found.id(),
            image=image,
            image_name=image_name,
            text=found.text(),
            references=found.references(),
            place=place,
            problem=found.problem,
            folders=self._folders(place) if isinstance(image, str) and is_file_name(image) else (Path(),),
            columns=dict(self._kept(row)) if self.keep else {},
        )

    def _placed(self, image: str, place: Place) -> str:
        """Return the name of a picture in the folder that a remote table has, or ``image`` as it is.

        Whoever wrote a list must not choose what of this machine, or of other stores, is read: an address of a store
        must be of the list's own or of ``image_root``'s, and a list at an address names no files of this machine.
        """
        root = "" if self.image_root is None else address_in(self.image_root)
        own = re.split("[?#]", place.file, maxsplit=1)[0] if scheme_of(place.file) else ""
        if is_file_name(image):
            if not (own or root):
                return image
            if image.startswith("~") or Path(image).is_absolute() or ".." in PurePosixPath(image).parts:
                raise InputUnreadable(f"{image} leads out of the folder of pictures", input=str(place))
            if root or self.image_root is None:
                return f"{root.rstrip('/') if root else own.rpartition('/')[0]}/{image}"
        elif scheme_of(image) not in (*HTTP, "data") and origin_of(image) not in map(origin_of, (root, own)):
            origin = "://".join(origin_of(image))
            hint = "give a path" if scheme_of(image) in NO_STORES else f"--image-root {shlex.quote(origin)}/ allows it"
            raise InputUnreadable(f"a picture at {origin} is not read for {place.file}", hint=hint, input=str(place))
        return image

    def _folders(self, place: Place) -> tuple[Path, ...]:
        if self.image_root is not None:
            return (self.image_root,)
        beside = Path() if place.file == STDIN else Path(place.file).expanduser().parent
        return (Path(),) if beside == Path() else (beside, Path())

    def _kept(self, row: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
        every = [name for name in row if name not in COLUMNS and name not in self.columns.values()]
        for name in every if ALL_COLUMNS in self.keep else self.keep:
            value = value_at(row, name)
            if value is not MISSING and not isinstance(value, bytes | ClipalignError):
                yield name, value


class _Found:
    """The values of one row's columns, and the first problem."""

    def __init__(self, reader: RowReader, row: Mapping[str, Any], place: Place) -> None:
        self.reader = reader
        self.row = row
        self.place = place
        self.problem: ClipalignError | None = None

    def image(self) -> tuple[str | Path | bytes, str]:
        value = self._at("image")
        if isinstance(value, Mapping) and value.keys() & {"bytes", "path"}:  # as Parquet files of data sets hold them
            name = value.get("path") if isinstance(value.get("path"), str) else ""
            content = value.get("bytes")
            if isinstance(content, bytes) and content:
                return content, name or f"image of {self.place}"
            value = name
        if isinstance(value, Path):  # of a folder
            return value, str(value)
        if isinstance(value, bytes):
            return value, f"image of {self.place}"
        if isinstance(value, int) and not isinstance(value, bool):  # an image_id
            value = str(value)
        if not isinstance(value, str) or not value.strip():
            self._lacks("image", value)
            return "", ""
        if self._fails(_unwritable("image", value)):
            return "", ""
        if value == STDIN:
            self._fails("the image is -, but standard input cannot be a picture of an input")
            return "", value
        return value, short_name(value)

    def text(self) -> str:
        value = self._at("text")
        if not isinstance(value, str):
            if self.reader.needs_text or (value not in (None, MISSING) and not isinstance(value, ClipalignError)):
                self._lacks("text", value)
            return ""
        return "" if self._fails(_unwritable("text", value) or _too_long("text has", len(value))) else value

    def id(self) -> str:
        value = self._at("id")
        if value in (None, MISSING, ""):
            return ""
        if isinstance(value, str):
            return "" if self._fails(_unwritable("id", value)) else value
        if isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        self._fails(f"the id must be a string or a whole number, not {json_type(value)}")
        return ""

    def references(self) -> tuple[str, ...]:
        """Return a list of strings; in tables of text, parsed from JSON."""
        value = self._at("references")
        if value in (None, MISSING, ""):
            return ()
        if isinstance(value, str):
            try:
                value = orjson.loads(value)
            except orjson.JSONDecodeError:
                value = None
        if not isinstance(value, list | tuple) or not all(isinstance(one, str) for one in value):
            self._fails('the references must be a list of strings, such as ["a dog", "a brown dog"]')
            return ()
        if any(self._fails(_unwritable("references", one)) for one in value):
            return ()
        return () if self._fails(_too_long("references have", sum(map(len, value)))) else tuple(value)

    def _at(self, column: str) -> Any:
        return value_at(self.row, self.reader.column(column))

    def _lacks(self, column: str, value: object) -> None:
        if isinstance(value, ClipalignError):
            self.problem = self.problem or value
        elif value is MISSING:
            hint = self.reader.meant(self.row) if _meant(column, self.row) else ""
            listed = f"it has {_listed(self.row)}" if self.row else ""
            self._fails(f"there is no {self.reader.column(column)}\n{hint or listed}")
        elif value is None or isinstance(value, str):
            self._fails(f"the {column} is empty")
        else:
            self._fails(f"the {column} must be a string, not {json_type(value)}")

    def _fails(self, message: str) -> bool:
        """Keep ``message``, with a hint after a line feed, if it is the first; return whether it is not empty."""
        if message and self.problem is None:
            message, _, hint = message.partition("\n")
            self.problem = InputUnreadable(message, hint=hint, input=str(self.place))
        return bool(message)


def _meant(wanted: str, row: Mapping[str, Any]) -> str:
    """Return the column that is ``wanted`` under another name, or an empty string."""
    free = {column.strip().lower(): column for column in _paths(row) if column not in COLUMNS}
    lasts = {lowered.rpartition(".")[2]: column for lowered, column in reversed(free.items())}
    for name in _OTHER_NAMES.get(wanted, ()):
        if column := free.get(name) or lasts.get(name):
            return column
    alike = get_close_matches(wanted, free, n=1, cutoff=_ALIKE)
    return free[alike[0]] if alike else ""


def _paths(row: Mapping[str, Any]) -> Iterator[str]:
    """Yield the columns of a row, then those of objects in it, and the first string of a list."""
    for name, value in row.items():
        first = isinstance(value, list) and value and isinstance(value[0], str)
        yield f"{name}.0" if first else str(name)
    for name, value in row.items():
        if isinstance(value, Mapping) and not value.keys() & {"bytes", "path"}:
            yield from (f"{name}.{inner}" for inner in value)


def _listed(columns: Collection[str]) -> str:
    return ", ".join(str(column)[:_SHOWN] for column in list(columns)[:12]) or "none"


def _unwritable(column: str, value: str) -> str:
    """Return the problem of a ``value`` with invalid UTF-8, half of a surrogate pair, or a null."""
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return f"the {column} is not valid UTF-8\nsave the input as UTF-8"
    return f"the {column} holds a null character" if column == "image" and "\0" in value else ""


def _too_long(what: str, characters: int) -> str:
    """Return the problem of a text too long for any method; it is refused here to save memory."""
    said = too_long(characters)
    return f"the {what} {said}\nshorten it; models read the beginning alone" if said else ""
