"""WebDataset shards: tar files in which neighbors of one name are one record, ``7.jpg`` with ``7.txt`` or ``7.json``.

Read with Python's own :mod:`tarfile` from beginning to end, a record at a time; nothing is unpacked to the disk, links
are not followed. The library that the format is named after is not needed for that, and passes over in silence what is
refused here: a record without a picture or a text, a shard that is cut short. Every tar that is read, shards and
archives of data sets, goes through :class:`BoundedMember` and :func:`members_of`, which bound time and memory.
"""

from __future__ import annotations

import itertools
import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from tarfile import HeaderError, ReadError
from types import SimpleNamespace
from typing import Any, Final, Self

import orjson

from clipalign.data.folders import MAX_CAPTION_BYTES, PICTURES
from clipalign.data.lines import BREAKS
from clipalign.data.records import InputRecord, Place, RowReader, bad_record
from clipalign.data.sources import MAX_FILE_BYTES
from clipalign.errors import InputUnreadable

MAX_HEADER_BYTES: Final = 1 << 13
"""Longest header with a long name or attributes; it is read as a whole, and searched, before anybody can look."""

_LONG_HEADERS: Final = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
_RECORD: Final = re.compile(rb"(\d{1,5}) [^=\n]+=")
_LONG_NUMBER: Final = re.compile(rb"\d{65}")


class BoundedMember(tarfile.TarInfo):
    """A member of a tar; ``ReadError`` for a damaged header, ``ValueError`` for one that is too much.

    By itself tarfile takes a damaged header behind the first member for the end of the tar, and reads long names and
    attributes of any length before it looks at them.
    """

    @classmethod
    def fromtarfile(cls, tarfile: tarfile.TarFile) -> Self:
        try:
            return super().fromtarfile(tarfile)
        except HeaderError as error:  # also raised, of other kinds, where the tar ends as it should
            if type(error).__name__ in ("TruncatedHeaderError", "InvalidHeaderError"):
                raise ReadError(str(error)) from error
            raise

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str | None, errors: str) -> Self:
        member = super().frombuf(buf, encoding, errors)  # type: ignore[arg-type]
        if member.type in _LONG_HEADERS and member.size > MAX_HEADER_BYTES:
            raise ValueError(f"a header of {member.size:,} bytes; at most {MAX_HEADER_BYTES:,} are read")
        if member.type == tarfile.GNUTYPE_SPARSE:  # its map of holes may be of any length
            raise ValueError("a file with holes")
        return member

    def _proc_gnusparse_10(self, *_: object) -> None:  # the other kind of sparse file, likewise
        raise ValueError("a file with holes")

    def _proc_pax(self, tar: Any) -> tarfile.TarInfo:
        """Attributes, which some versions of tarfile search in the square of the time that they take to be read."""
        stream = tar.fileobj
        content: bytes = stream.read(self._block(self.size))  # type: ignore[attr-defined]
        _check_records(content[: self.size])

        def read(_: int) -> bytes:
            tar.fileobj = stream
            return content

        tar.fileobj = SimpleNamespace(read=read)  # seeking back may mean unpacking everything anew
        return super()._proc_pax(tar)  # type: ignore[misc, no-any-return]


def _check_records(content: bytes) -> None:
    """Whether each attribute has the length that it says, and none a number of endless digits."""
    place = 0
    while place < len(content):
        record = _RECORD.match(content, place)
        end = place + int(record[1]) if record else place
        if record is None or record.end() >= end or content[end - 1 : end] != b"\n":
            raise ValueError("a header whose attributes are not of the length that they say")
        place = end
    if _LONG_NUMBER.search(content):
        raise ValueError("a header with a number of endless digits")


def members_of(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Its members, none of which is kept, nor what headers said of all of them: both would grow with the tar."""
    while (member := tar.next()) is not None:
        vars(tar)["members"].clear()
        vars(tar)["pax_headers"] = {}
        yield member


MAX_PICTURE_BYTES: Final = MAX_FILE_BYTES
"""Largest picture that is read from a tar."""

MAX_PASSED: Final = 100_000
"""Most members that are passed over in search of the next record; each takes time, however small it is."""

_SUFFIXES: Final = frozenset(
    (
        *("image", "img", "picture", "photo", "input", "output", "target", "source", "left", "right"),
        *("seg", "mask", "depth", "caption", "captions", "text", "cls", "label", "meta", "metadata", "info"),
    )
)
"""What may stand between the key and the ending: the names that shards give to several members of one record."""

_DAMAGE: Final = (*BREAKS, tarfile.TarError, ValueError, RecursionError)  # headers of headers of headers


@dataclass(slots=True)
class _Sample:
    """What neighbors of one name hold; ``names`` says of which member a picture or text is."""

    key: str
    picture: bytes = b""
    texts: dict[str, bytes] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
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
        """See :class:`clipalign.data.records.Source`; what stands before ``begin`` is passed over unread."""
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
                other, row["text"] = row.get("text"), sample.texts[".txt"].decode("utf-8-sig").strip()
                if self.reader.needs_text and isinstance(other, str) and other.strip() != row["text"]:
                    problem = problem or _two("texts", sample.key, sample.names[".txt"], sample.names[".json"])
        except ValueError as error:
            problem = problem or InputUnreadable(f"the caption of {where} cannot be read: {error}", input=where)
        if self.reader.needs_text and not row.get("text") and problem is None:
            hint = f"{sample.key}.txt, or text in {sample.key}.json"
            problem = InputUnreadable(f"{where} has no caption", hint=hint, input=where)
        record = self.reader.record(row, place)
        return InputRecord(
            record.id,
            sample.picture,
            sample.names.get("picture", ""),
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
            path = Path(self.name).expanduser()
            with path.open("rb") as stream:
                zipped = stream.read(2) == b"\x1f\x8b"
            with tarfile.open(path, "r:gz" if zipped else "r:", tarinfo=BoundedMember) as tar:
                passed = 0
                for member in members_of(tar):
                    key, ending = _key(member.name)
                    if not member.isfile() or not _of_interest(ending):
                        passed += 1
                        if passed > MAX_PASSED:
                            raise ValueError(f"{MAX_PASSED:,} members in a row are no part of a record")
                        continue
                    passed = 0
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
            nested = isinstance(error, RecursionError)
            why = "headers of headers without end" if nested else str(error) or type(error).__name__
            if sample is None:
                message = f"{self.name} is not a readable tar file: {why}"
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
    """The name up to its last dot, less known suffixes before that, and its last ending in lower case."""
    folder, slash, file = name.removeprefix("./").rpartition("/")
    stem, dot, ending = file.rpartition(".")
    if not stem:
        return f"{folder}{slash}{file}", ""
    while (shorter := stem.rpartition("."))[0] and _is_suffix(shorter[2].lower()):
        stem = shorter[0]
    return f"{folder}{slash}{stem}", f"{dot}{ending.lower()}"


def _is_suffix(part: str) -> bool:
    return part in _SUFFIXES or _of_interest(f".{part}")


def _two(what: str, key: str, first: str, second: str) -> InputUnreadable:
    return InputUnreadable(
        f"there are two {what} of {key}: {first} and {second}", hint="leave one out, or rename it", input=key
    )


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
    kind, name = "picture" if picture else ending, member.name.removeprefix("./")
    if kind in sample.names:
        sample.problem = _two("pictures" if picture else "texts", sample.key, sample.names[kind], name)
        return
    sample.names[kind] = name
    if picture:
        sample.picture = content
    else:
        sample.texts[ending] = content


def _json(content: bytes, *, strict: bool) -> dict[str, Any]:
    """What a JSON object says of text, references and id; where the text has its own file, the object may be broken."""
    try:
        row = orjson.loads(content)
    except orjson.JSONDecodeError:
        if strict:
            raise
        return {}
    return {name: row[name] for name in ("text", "references", "id") if name in row} if isinstance(row, dict) else {}
