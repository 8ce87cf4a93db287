"""Unpack untrusted zip and tar archives: plain files and folders only, inside their folder only.

An archive is unpacked into a fresh folder inside the target and moved up when complete, so that a damaged archive or a
full disk leaves nothing behind. Refused, with the member named: paths and links that lead out of the folder, devices,
pipes, and bombs (too many members or bytes, or too high a ratio). Owners, modes and dates are not restored.

tarfile's ``data`` filter is not used: Python 3.11.0 to 3.11.3 lack it, later ones had holes in it, and it limits no
sizes. No links are made here, so nothing of it is needed.
"""

from __future__ import annotations

import errno
import hashlib
import io
import lzma
import os
import posixpath
import shutil
import stat
import struct
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO, Any, Final, Literal

from clipalign.data.tars import BoundedMember, members_of
from clipalign.errors import VerificationFailed

CHUNK_BYTES: Final = 1 << 20
WINDOWS_NAMES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10))}
)

_FRESH: Final = ".unpacking-"

MAX_MEMBERS: Final = 500_000
MAX_UNPACKED_BYTES: Final = 1 << 40
MAX_RATIO: Final = 200
"""Largest ratio of unpacked bytes to the archive's bytes."""

RATIO_FROM_BYTES: Final = 256 << 20
"""Unpacked bytes below which any ratio is allowed."""

MAX_NAME_BYTES: Final = 255
MAX_PATH: Final = 4096
MAX_LINK_BYTES: Final = 4096

MAX_DIRECTORY_BYTES: Final = 32 << 20
"""Largest list of members of a zip, which is read as a whole and takes ten times as much memory."""

MAX_XZ_BYTES: Final = 128 << 20
"""Memory for decompressing xz; its highest preset takes 65 MiB."""

_XZ: Final = b"\xfd7zXZ\0"

_DAMAGE: Final = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError),
    *(ValueError, IndexError, OverflowError, struct.error),
)
"""What archive readers raise for a damaged archive: the first line is documented, the second is not."""


@dataclass(frozen=True, slots=True)
class Member:
    """An unpacked file; ``path`` is relative, with ``/``."""

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Entry:
    """A member of a zip or tar; ``target`` is where a link leads, from the top of the archive."""

    path: str
    kind: Literal["file", "folder", "link"]
    size_bytes: int
    target: str
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path) -> list[Member]:
    """Unpack ``archive`` into ``folder``, replacing what has the same name; return the files in the archive's order.

    One process at a time may do this. What a killed process left unpacked is deleted first.

    Args:
        archive: zip, tar, or tar compressed with gzip, bzip2 or xz.
        folder: created if missing; may hold other files.

    Raises:
        VerificationFailed: not an archive, a damaged one, or one with a refused member.
        OSError: the disk is full, or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{_FRESH}*"):
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=_FRESH, dir=folder))
    try:
        found = _unpack_into(archive, fresh)
        for top in sorted(fresh.iterdir()):
            _move(top, folder / top.name)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return found


def _unpack_into(archive: Path, fresh: Path) -> list[Member]:
    found: dict[str, Member] = {}
    links: list[tuple[str, str]] = []
    written = 0
    ceiling = min(MAX_UNPACKED_BYTES, max(RATIO_FROM_BYTES, MAX_RATIO * archive.stat().st_size))
    with _opened(archive) as entries:
        for count, entry in enumerate(entries, 1):
            if count > MAX_MEMBERS:
                raise _refused(archive, f"it has more than {MAX_MEMBERS:,} members")
            path = _safe(entry.path, archive)
            if not path:
                continue
            place = fresh.joinpath(*PurePosixPath(path).parts)
            if entry.kind == "folder":
                _make_folder(place, archive, path)
            elif entry.kind == "link":
                links.append((path, _inside(path, entry.target, archive)))
            else:
                if entry.size_bytes > ceiling - written:
                    raise _refused(archive, f"unpacked it would have more than {ceiling:,} bytes: a bomb")
                _make_folder(place.parent, archive, path)
                found[path] = _write(entry, place, path, archive, ceiling - written)
                written += found[path].size_bytes
    for path, target in links:
        if member := _copy_link(fresh, path, found.get(target), archive):
            found[path] = member
    return list(found.values())


class _XzReader(io.RawIOBase):
    """Decompress an xz file with bounded memory: the format allows a file to require 4 GB."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed, self._decompressor = packed, lzma.LZMADecompressor(memlimit=MAX_XZ_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._decompressor.eof:
            chunk = self._packed.read(CHUNK_BYTES) if self._decompressor.needs_input else b""
            if not chunk and self._decompressor.needs_input:
                raise EOFError("the xz file breaks off")
            if found := self._decompressor.decompress(chunk, len(buffer)):
                buffer[: len(found)] = found
                return len(found)
        return 0


class _BoundedFile(io.BufferedReader):
    """A file for zipfile that limits the size of a read, as zipfile reads the list of members as a whole."""

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > MAX_DIRECTORY_BYTES:
            raise ValueError(f"a list of members of {size:,} bytes")
        return super().read(size)


@contextmanager
def _opened(archive: Path) -> Iterator[Iterator[_Entry]]:
    """Yield the entries of a zip or tar; the reader's errors inside become ``VerificationFailed``."""
    try:
        with archive.open("rb") as stream:
            is_xz = stream.read(len(_XZ)) == _XZ
            stream.seek(0)
            try:
                file = io.BufferedReader(_XzReader(stream)) if is_xz else stream
                tar = tarfile.open(fileobj=file, mode="r|" if is_xz else "r:*", tarinfo=BoundedMember)  # noqa: SIM115
            except tarfile.TarError:
                tar = None
            if tar is not None:
                with tar:
                    yield _tar_entries(tar, archive)
                return
        if not zipfile.is_zipfile(archive):
            raise _refused(archive, "it is no zip or tar archive")
        with _BoundedFile(io.FileIO(archive)) as bounded, zipfile.ZipFile(bounded) as zipped:
            yield _zip_entries(zipped, archive)
    except _DAMAGE as error:
        raise _refused(archive, f"it is damaged ({error})") from error
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # gzip.BadGzipFile and the like; a seek before the beginning
            raise _refused(archive, f"it is damaged ({error})") from error
        raise
    except RuntimeError as error:  # a zip with a password
        raise _refused(archive, str(error)) from error


def _tar_entries(tar: tarfile.TarFile, archive: Path) -> Iterator[_Entry]:
    for info in members_of(tar):
        kind: Literal["file", "folder", "link"] = "file"
        if info.isdir():
            kind = "folder"
        elif info.issym() or info.islnk():
            kind = "link"
        elif not info.isreg():
            raise _refused(archive, f"{info.name!r} in it is a device or a pipe")
        # A symbolic link counts from its own folder, a hard one from the top.
        target = info.linkname if info.islnk() else posixpath.join(posixpath.dirname(info.name), info.linkname)
        yield _Entry(info.name, kind, info.size if kind == "file" else 0, target, partial(tar.extractfile, info))


def _zip_entries(zipped: zipfile.ZipFile, archive: Path) -> Iterator[_Entry]:
    for info in zipped.infolist():
        name = info.filename
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile reads others without a bound
            raise _refused(archive, f"{name!r} in it uses an unsupported compression")
        mode = stat.S_IFMT(info.external_attr >> 16)
        kind: Literal["file", "folder", "link"] = "file"
        target = ""
        if info.is_dir():
            kind = "folder"
        elif mode == stat.S_IFLNK:
            kind = "link"
            if info.file_size <= MAX_LINK_BYTES:
                target = posixpath.join(posixpath.dirname(name), zipped.read(info).decode("utf-8", "replace"))
        elif mode not in (0, stat.S_IFREG):
            raise _refused(archive, f"{name!r} in it is a device or a pipe")
        yield _Entry(name, kind, info.file_size, target, partial(zipped.open, info))


def _safe(path: str, archive: Path) -> str:
    """Normalize ``path`` (empty for the folder itself); refuse one that leads out or cannot be a file name."""
    plain = path.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    if plain.startswith("/") or ".." in parts or plain[1:2] == ":":
        raise _refused(archive, f"{path[:MAX_NAME_BYTES]!r} in it leads out of its folder")
    if len(plain) > MAX_PATH or any(_is_no_name(part) for part in parts):
        raise _bad_name(archive, path)
    return "/".join(parts)


def _is_no_name(part: str) -> bool:
    if os.name == "nt" and (":" in part or part.split(".")[0].lower() in WINDOWS_NAMES):
        return True
    return "\0" in part or len(part.encode("utf-8", "surrogateescape")) > MAX_NAME_BYTES


def _inside(path: str, target: str, archive: Path) -> str:
    plain = posixpath.normpath(target.replace("\\", "/"))
    if not target or plain.startswith(("..", "/")) or "\0" in plain:
        raise _refused(archive, f"the link {path!r} in it leads out of its folder, to {target!r}")
    return plain


@contextmanager
def _naming(archive: Path, path: str) -> Iterator[None]:
    """Refuse the archive if the file system does not allow ``path``; other errors, as of a full disk, pass through."""
    try:
        yield
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise _refused(archive, f"{path!r} in it is a file and a folder at once") from error
    except OSError as error:
        if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
            raise _bad_name(archive, path) from error
        raise


def _make_folder(place: Path, archive: Path, path: str) -> None:
    with _naming(archive, path):
        place.mkdir(parents=True, exist_ok=True)


def _write(entry: _Entry, place: Path, path: str, archive: Path, most_bytes: int) -> Member:
    """Write one file, never through a link."""
    running, size = hashlib.sha256(), 0
    source = entry.open()
    if source is None:
        raise _refused(archive, f"{path!r} in it cannot be read")
    with _naming(archive, path):
        if place.is_dir():  # Windows says no more than that it may not be opened
            raise IsADirectoryError
        stream = place.open("wb")
    with source, stream:
        while chunk := source.read(CHUNK_BYTES):
            size += len(chunk)
            if size > most_bytes:
                raise _refused(archive, f"{path!r} in it never ends: a bomb")
            running.update(chunk)
            stream.write(chunk)
    if size != entry.size_bytes:
        raise _refused(archive, f"{path!r} in it has {size:,} bytes, not {entry.size_bytes:,}")
    return Member(path, size, running.hexdigest())


def _copy_link(fresh: Path, path: str, source: Member | None, archive: Path) -> Member | None:
    """Make a link a hard link to the file it leads to; skip it if it leads to a folder or nowhere."""
    place = fresh.joinpath(*PurePosixPath(path).parts)
    if source is None or path == source.path or place.exists():
        return None
    _make_folder(place.parent, archive, path)
    there = fresh.joinpath(*PurePosixPath(source.path).parts)
    try:
        os.link(there, place)
    except OSError:
        shutil.copyfile(there, place)
    return Member(path, source.size_bytes, source.sha256)


def _move(source: Path, place: Path) -> None:
    if source.is_dir() and place.is_dir() and not place.is_symlink():
        for inner in sorted(source.iterdir()):
            _move(inner, place / inner.name)
        return
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.is_dir():
        shutil.rmtree(place)
    source.replace(place)


def _bad_name(archive: Path, path: str) -> VerificationFailed:
    return _refused(archive, f"{path[:MAX_NAME_BYTES]!r} in it is no file name")


def _refused(archive: Path, reason: str) -> VerificationFailed:
    return VerificationFailed(
        f"{archive.name} is not unpacked: {reason}",
        hint="nothing of it was kept; fetch it again, or from another place",
        input=str(archive),
    )
