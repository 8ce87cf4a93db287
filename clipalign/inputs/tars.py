"""WebDataset shards: tar files in which neighbours of one name are one record, ``7.jpg`` with ``7.txt`` or ``7.json``.

Read with Python's own :mod:`tarfile` from beginning to end, a record at a time; nothing is unpacked to the disk, links
are not followed. The library that the format is named after is not needed for that, and passes over in silence what is
refused here: a record without a picture or a text, a shard that is cut short.
"""

from __future__ import annotations

import itertools
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tarfile import HeaderError, ReadError
from typing import Any, Final, Self

import orjson

from clipalign.errors import InputUnreadable
from clipalign.inputs.files import BREAKS
from clipalign.inputs.folders import MAX_CAPTION_BYTES, PICTURES
from clipalign.inputs.records import InputRecord, Place
from clipalign.inputs.rows import RowReader, bad_record

MAX_PICTURE_BYTES: Final = 200_000_000
"""Largest picture that is read from a tar."""

_DAMAGE: Final = (*BREAKS, tarfile.TarError, ValueError)


class _Member(tarfile.TarInfo):
    """A member whose damaged header is an error; tarfile takes one behind the first member for the end of the tar."""

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:  # also raised, of other kinds, where the tar ends as it should
            if type(error).__name__ in ("TruncatedHeaderError", "InvalidHeaderError"):
                raise ReadError(str(error)) from error
            raise


@dataclass(slots=True)
class _Sample:
    """What neighbours of one name hold."""

    key: str
    picture: bytes = b""
    picture_name: str = ""
    texts: dict[str, bytes] = field(default_factory=dict)
    problem: InputUnreadable | None = None


@dataclass(frozen=True, slots=True)
class TarShard:
    """One tar file.

    Attributes:
        name: as the user named it.
        reader: of its records' JSON.
    """

    name: str
    reader: RowReader

    def check(self) -> None:
        """Read the first record.

        Raises:
            InputUnreadable: it is no tar file, or has no record.
        """
        first = next(self._samples(content=False), None)
        if first is None:
            raise InputUnreadable(f"there are no pictures in {self.name}", input=self.name)
        if first.problem is not None and not first.key:
            raise first.problem

    def count(self) -> int:
        """Its records; reads all headers."""
        return sum(1 for _ in self._samples(content=False))

    def records(self, begin: int, end: int | None, offset: int) -> Iterator[InputRecord]:
        """See :class:`clipalign.inputs.tables.Source`; what stands before ``begin`` is passed over unread."""
        for index, sample in enumerate(itertools.islice(self._samples(begin=begin), end)):
            if index >= begin:
                yield self._record(sample, Place(self.name, 0, index + offset))

    def _record(self, sample: _Sample, place: Place) -> InputRecord:
        if sample.problem is not None:
            return bad_record(place, sample.problem)
        where = f"{self.name}, {sample.key}"
        row: dict[str, Any] = {"image": sample.picture or None, "id": sample.key}
        problem = None if sample.picture else InputUnreadable(f"{where} has no picture", input=where)
        try:
            if ".json" in sample.texts:
                row |= _json(sample.texts[".json"], strict=".txt" not in sample.texts)
            if ".txt" in sample.texts:
                row["text"] = sample.texts[".txt"].decode("utf-8-sig").strip()
        except ValueError as error:
            problem = problem or InputUnreadable(f"the caption of {where} cannot be read: {error}", input=where)
        if self.reader.needs_text and not row.get("text") and problem is None:
            hint = f"{sample.key}.txt, or text in {sample.key}.json"
            problem = InputUnreadable(f"{where} has no caption", hint=hint, input=where)
        record = self.reader.record(row, place)
        return InputRecord(
            record.id,
            sample.picture,
            sample.picture_name,
            record.text,
            record.references,
            place,
            problem or record.problem,
        )

    def _samples(self, *, content: bool = True, begin: int = 0) -> Iterator[_Sample]:
        """Records as they stand in the tar; a last one with a problem where it breaks off."""
        sample: _Sample | None = None
        index = 0
        try:
            with tarfile.open(Path(self.name).expanduser(), "r:*", tarinfo=_Member) as tar:
                members: list[object] = vars(tar)["members"]  # read so far; it would grow with the shard
                while (member := tar.next()) is not None:
                    members.clear()
                    key, ending = _key(member.name)
                    if not member.isfile() or not _of_interest(ending):
                        continue
                    if sample is None or sample.key != key:
                        if sample is not None:
                            yield sample
                            index += 1
                        sample = _Sample(key)
                    if content and index >= begin:
                        _take(sample, tar, member, ending)
        except FileNotFoundError as error:
            raise InputUnreadable(f"there is no input {self.name}", hint="check the path", input=self.name) from error
        except _DAMAGE as error:
            why = str(error) or type(error).__name__
            if sample is None:
                tried = why.startswith("file could not be opened")  # a line for every compression that Python knows
                message = f"{self.name} is no readable tar file{'' if tried else f': {why}'}"
                problem = InputUnreadable(message, hint="is the file complete?", input=self.name)
            else:
                yield sample
                message = f"{self.name} breaks off after {sample.key}: {why}"
                problem = InputUnreadable(message, hint="is the file complete?", input=self.name)
            yield _Sample("", problem=problem)
            return
        if sample is not None:
            yield sample


def _key(name: str) -> tuple[str, str]:
    """The name up to the first dot behind the last slash, and its last ending in lower case."""
    folder, slash, file = name.removeprefix("./").rpartition("/")
    stem, dot, endings = file.partition(".")
    return f"{folder}{slash}{stem}", f".{endings.rpartition('.')[2].lower()}" if dot and stem else ""


def _of_interest(ending: str) -> bool:
    return ending in PICTURES or ending in (".txt", ".json")


def _take(sample: _Sample, tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> None:
    picture = ending in PICTURES
    if member.size > (MAX_PICTURE_BYTES if picture else MAX_CAPTION_BYTES):
        sample.problem = InputUnreadable(f"{member.name} of a tar is too large", input=member.name)
        return
    stream = tar.extractfile(member)
    content = stream.read() if stream is not None else b""
    if len(content) < member.size:
        raise EOFError("the last file is not whole")
    if not picture:
        sample.texts[ending] = content
    elif not sample.picture_name:
        sample.picture, sample.picture_name = content, member.name.removeprefix("./")


def _json(content: bytes, *, strict: bool) -> dict[str, Any]:
    """What a JSON object says of text, references and id; where the text has its own file, the object may be broken."""
    try:
        row = orjson.loads(content)
    except orjson.JSONDecodeError:
        if strict:
            raise
        return {}
    return {name: row[name] for name in ("text", "references", "id") if name in row} if isinstance(row, dict) else {}
