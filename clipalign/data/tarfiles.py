"""What tars share that may not be trusted: headers without an end, and lists of members that nobody keeps."""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from tarfile import HeaderError, ReadError
from types import SimpleNamespace
from typing import Any, Final, Self

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
