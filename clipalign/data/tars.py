"""WebDataset shards: tar files in which neighbors of one name are one record, ``7.jpg`` with ``7.txt`` or ``7.json``.

Python's :mod:`tarfile` reads them from beginning to end, a record at a time; nothing is unpacked, links are not
followed. The webdataset library silently skips what is refused here: a record without a picture or a text, a truncated
shard. All tars, shards and archives of data sets, are read by :class:`BoundedMember` and :func:`members_of`, which
bound time and memory.
"""

from __future__ import annotations

import re
import shlex
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from tarfile import HeaderError, ReadError
from types import SimpleNamespace
from typing import Any, Final, Self

import orjson

from clipalign.data.folders import MAX_CAPTION_BYTES
from clipalign.data.lines import BREAKS, open_bytes
from clipalign.data.records import Row, Source
from clipalign.data.sources import MAX_FILE_BYTES, PICTURES
from clipalign.errors import InputUnreadable

MAX_HEADER_BYTES: Final = 1 << 13
"""Largest header with a long name or attributes, which is read and searched as a whole."""

_LONG_HEADERS: Final = (
    *(tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK),
    *(tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE),
)
_RECORD: Final = re.compile(rb"(\d{1,5}) [^=\n]+=")
_LONG_NUMBER: Final = re.compile(rb"\d{65}")


class BoundedMember(tarfile.TarInfo):
    """A member of a tar; ``ReadError`` for a damaged header, ``ValueError`` for one that is too large.

    tarfile itself takes a damaged header for the end, and reads long names and attributes of any length.
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
        """Check attributes first: some versions of tarfile parse them in quadratic time."""
        stream = tar.fileobj
        content: bytes = stream.read(self._block(self.size))  # type: ignore[attr-defined]
        _check_records(content[: self.size])

        def read(_: int) -> bytes:
            tar.fileobj = stream
            return content

        tar.fileobj = SimpleNamespace(read=read)  # seeking back may mean unpacking everything anew
        return super()._proc_pax(tar)  # type: ignore[misc, no-any-return]


def _check_records(content: bytes) -> None:
    """Check that each attribute has its stated length, and no number has endless digits."""
    offset = 0
    while offset < len(content):
        record = _RECORD.match(content, offset)
        end = offset + int(record[1]) if record else offset
        if record is None or record.end() >= end or content[end - 1 : end] != b"\n":
            raise ValueError("a header whose attributes are not of the length that they say")
        offset = end
    if _LONG_NUMBER.search(content):
        raise ValueError("a header with a number of endless digits")


def members_of(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """Yield the members, keeping neither them nor what headers said of all: both would grow with the tar."""
    while (member := tar.next()) is not None:
        vars(tar)["members"].clear()
        vars(tar)["pax_headers"] = {}
        yield member


MAX_PICTURE_BYTES: Final = MAX_FILE_BYTES

MAX_SAMPLE_BYTES: Final = 3 * MAX_PICTURE_BYTES
MAX_MEMBERS: Final = 100

MAX_PASSED: Final = 100_000
"""Members skipped in search of the next record; each takes time, however small it is."""

_SUFFIXES: Final = frozenset(
    (
        *("image", "img", "picture", "photo", "input", "output", "target", "source", "left", "right"),
        *("seg", "mask", "depth", "caption", "captions", "text", "cls", "label", "meta", "metadata", "info"),
    )
)
"""Suffixes allowed between the key and the ending: common names of several members of one record."""

_DAMAGE: Final = (*BREAKS, tarfile.TarError, ValueError, RecursionError)  # headers of headers of headers


@dataclass(slots=True)
class _Sample:
    """Neighbors of one key: their content by what follows the key, ``left.png``, with their names."""

    key: str
    members: dict[str, bytes | InputUnreadable] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class TarShard(Source):
    def check(self) -> None:
        first = next(self.rows(), None)
        if first is None:
            raise InputUnreadable(f"there are no pictures in {self.name}", input=self.name)
        if isinstance(first.value, InputUnreadable):
            raise first.value
        self.reader.check(first.value, self.name, has_all=False)

    def count(self) -> int | None:
        """Return None: counting would read all headers."""
        return None

    def rows(self) -> Iterator[Row]:
        for sample in self._samples():
            yield Row(sample if isinstance(sample, InputUnreadable) else self._row(sample))

    def _row(self, sample: _Sample) -> dict[str, Any]:
        """Return its members by what follows the key, and as ``image``, ``text``, ``references``, ``id``."""
        row: dict[str, Any] = {ending: self._value(sample, ending) for ending in sample.members}
        about: dict[str, Any] = found if isinstance(found := row.get("json"), dict) else {}
        pictures = [ending for ending in sample.members if _ending(ending) in PICTURES]
        row["id"] = about.get("id") or sample.key
        row["references"] = about.get("references")
        if len(pictures) == 1:
            row["image"] = row[pictures[0]]
        elif pictures:
            row["image"] = _two("pictures", "image", sample, *pictures[:2])
        else:
            row["image"] = self._lacks("picture", sample)
        if (text := self._text(sample, row, about)) is not None:
            row["text"] = text
        return row

    def _text(self, sample: _Sample, row: dict[str, Any], about: dict[str, Any]) -> Any:
        """Return a record's text, or why it has none; None if it may have another name."""
        texts = [ending for ending in sample.members if _ending(ending) == ".txt"]
        in_json = about.get("text")
        if len(texts) > 1:
            return _two("texts", "text", sample, *texts[:2])
        if texts and isinstance(in_json, str) and in_json.strip() != row[texts[0]]:
            return _two("texts", "text", sample, texts[0], "json")
        if texts or in_json is not None:
            return row[texts[0]] if texts else in_json
        if isinstance(broken := row.get("json"), InputUnreadable):
            return broken
        if about and not self.reader.meant(row).endswith("COLUMN"):
            return None
        return self._lacks("caption", sample, hint=f"{sample.key}.txt, or text in {sample.key}.json")

    def _lacks(self, what: str, sample: _Sample, hint: str = "") -> InputUnreadable:
        where = f"{self.name}, {sample.key}"
        return InputUnreadable(f"{where} has no {what}", hint=hint, input=where)

    def _value(self, sample: _Sample, ending: str) -> Any:
        content = sample.members[ending]
        if isinstance(content, InputUnreadable):
            return content
        kind = _ending(ending)
        if kind in PICTURES:
            return {"bytes": content, "path": sample.names[ending]}
        try:
            return orjson.loads(content) if kind == ".json" else content.decode("utf-8-sig").strip()
        except ValueError as error:
            where = f"{self.name}, {sample.key}"
            return InputUnreadable(f"the caption of {where} cannot be read: {error}", input=where)

    def _samples(self) -> Iterator[_Sample | InputUnreadable]:
        sample: _Sample | None = None
        try:
            with open_bytes(self.name) as stream:
                zipped = stream.read(2) == b"\x1f\x8b"
                stream.seek(0)
                tar = tarfile.open(fileobj=stream, mode="r:gz" if zipped else "r:", tarinfo=BoundedMember)  # noqa: SIM115
                passed = 0
                for member in members_of(tar):
                    key, ending = _key(member.name, self.reader.paths)
                    if not member.isfile() or not self._of_interest(ending):
                        passed += 1
                        if passed > MAX_PASSED:
                            raise ValueError(f"{MAX_PASSED:,} members in a row are no part of a record")
                        continue
                    passed = 0
                    if sample is None or sample.key != key:
                        if sample is not None:
                            yield sample
                        sample = _Sample(key)
                    _take(sample, tar, member, ending)
        except FileNotFoundError as error:
            raise InputUnreadable(f"there is no input {self.name}", hint="check the path", input=self.name) from error
        except _DAMAGE as error:
            nested = isinstance(error, RecursionError)
            why = "headers of headers without end" if nested else str(error) or type(error).__name__
            hint = "is the file complete?"
            said = "is not a readable tar file" if sample is None else f"breaks off after {sample.key}"
            if sample is not None:
                yield sample
            yield InputUnreadable(f"{self.name} {said}: {why}", hint=hint, input=self.name)
            return
        if sample is not None:
            yield sample

    def _of_interest(self, ending: str) -> bool:
        return _is_read(_ending(ending)) or self.reader.wants(ending)


def _key(name: str, chosen: Sequence[str]) -> tuple[str, str]:
    """Split off what follows the key, in lower case: the last ending and known or ``chosen`` suffixes before it.

    ``scene 2.0.left.png`` has the key ``scene 2.0``, as ``0`` is no suffix, and is its ``left.png``.
    """
    folder, slash, file = name.removeprefix("./").rpartition("/")
    for suffix in chosen:
        if file.lower().endswith(f".{suffix.lower()}"):
            return f"{folder}{slash}{file[: -len(suffix) - 1]}", suffix
    stem, _, ending = file.rpartition(".")
    if not stem:
        return f"{folder}{slash}{file}", ""
    while (shorter := stem.rpartition("."))[0] and _is_suffix(shorter[2].lower()):
        stem, ending = shorter[0], f"{shorter[2]}.{ending}"
    return f"{folder}{slash}{stem}", ending.lower()


def _ending(suffix: str) -> str:
    return f".{suffix.rpartition('.')[2]}"


def _is_suffix(part: str) -> bool:
    return part in _SUFFIXES or _is_read(f".{part}")


def _is_read(ending: str) -> bool:
    return ending in PICTURES or ending in (".txt", ".json")


def _two(what: str, column: str, sample: _Sample, first: str, second: str) -> InputUnreadable:
    return InputUnreadable(
        f"there are two {what} of {sample.key}: {sample.names[first]} and {sample.names[second]}",
        hint=f"choose with --columns {shlex.quote(f'{column}={first}')}, or leave one out",
        input=sample.key,
    )


def _take(sample: _Sample, tar: tarfile.TarFile, member: tarfile.TarInfo, ending: str) -> None:
    name = member.name.removeprefix("./")
    if ending in sample.members:
        said = f"there are two members {name} in the tar"
        sample.members[ending] = InputUnreadable(said, hint="leave one out, or rename it", input=name)
        return
    sample.bytes += member.size
    largest = MAX_PICTURE_BYTES if _ending(ending) in PICTURES else MAX_CAPTION_BYTES
    if len(sample.members) >= MAX_MEMBERS or member.size > largest or sample.bytes > MAX_SAMPLE_BYTES:
        raise ValueError(f"{name} is too large, or there are too many members of one key")
    stream = tar.extractfile(member)
    content = stream.read() if stream is not None else b""
    if len(content) < member.size:
        raise EOFError("the last file is not whole")
    sample.names[ending], sample.members[ending] = name, content
