"""Unpacking what may not be trusted: zip and tar archives, plain files and folders only, inside their folder only.

An archive is unpacked into a fresh folder inside its place and moved up when all of it is out, so that a wrong one, or
a full disk, leaves nothing behind. Refused, with the member named: paths that lead out (absolute, ``..``, drives,
through a link), links that lead out, devices and pipes, and bombs: more members, more bytes or a higher ratio than any
data set has. Owners, modes and dates are not taken over.
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
from typing import IO, Any, Final

from clipalign.data.tars import BoundedMember, members_of
from clipalign.errors import VerificationFailed

PIECE_BYTES: Final = 1 << 20
WINDOWS_NAMES: Final = frozenset(
    {"con", "prn", "aux", "nul", *(f"{n}{i}" for n in ("com", "lpt") for i in range(1, 10))}
)

_FRESH: Final = ".unpacking-"
"""How the fresh folder's name begins."""

LONGEST_NAME_BYTES: Final = 255
LONGEST_PATH: Final = 4096

DIRECTORY_BYTES: Final = 32 << 20
"""Of the list of members at the end of a zip, which is read as a whole; in memory it takes ten times as much."""

XZ_BYTES: Final = 128 << 20
"""Memory for unpacking xz; its highest preset takes 65 MiB."""

LONGEST_LINK_BYTES: Final = 4096

_XZ: Final = b"\xfd7zXZ\0"

_DAMAGE: Final = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, EOFError, NotImplementedError),
    *(ValueError, IndexError, OverflowError, struct.error),
)
"""What readers of archives raise over a damaged one: the first line as they say, the second by mistake."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What no data set exceeds.

    Attributes:
        members: files and folders.
        whole_bytes: of all files, unpacked.
        ratio: of those to the archive's own size; 0 for any.
        ratio_from_bytes: below this much a ratio means nothing.
    """

    members: int = 500_000
    whole_bytes: int = 1 << 40
    ratio: int = 200
    ratio_from_bytes: int = 256 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """A file that came out of an archive.

    Attributes:
        path: relative, with ``/``.
        size_bytes: its size.
        sha256: its hash, computed on the way.
    """

    path: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True)
class _Entry:
    path: str
    kind: str  # file, folder, link
    size_bytes: int
    target: str
    open: Callable[[], IO[bytes] | None]


def unpack(archive: Path, folder: Path, *, limits: Limits | None = None) -> list[Member]:
    """Unpack ``archive`` into ``folder``, which may hold other things already; what has the same name is replaced.

    One process at a time: the caller sees to that. What one that was killed had unpacked so far is deleted.

    Args:
        archive: zip, tar, or tar compressed with gzip, bzip2 or xz.
        folder: made where it is not there.
        limits: what is too much.

    Returns:
        The files, in the order of the archive.

    Raises:
        VerificationFailed: not an archive, a damaged one, or one that does what none of ours does.
        OSError: the disk is full, or the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{_FRESH}*"):  # of a run that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    fresh = Path(tempfile.mkdtemp(prefix=_FRESH, dir=folder))
    try:
        found = _unpack_into(archive, fresh, limits or Limits())
        for top in sorted(fresh.iterdir()):
            _move(top, folder / top.name)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
    return found


def _unpack_into(archive: Path, fresh: Path, limits: Limits) -> list[Member]:
    found: dict[str, Member] = {}
    links: list[tuple[str, str]] = []
    written = count = 0
    ceiling = limits.whole_bytes
    if limits.ratio:
        ceiling = min(ceiling, max(limits.ratio_from_bytes, limits.ratio * archive.stat().st_size))
    with _opened(archive) as entries:
        for entry in entries:
            count += 1
            if count > limits.members:
                raise _refused(archive, f"it has more than {limits.members:,} members")
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
        found |= {member.path: member for member in _copy_link(fresh, path, target, archive, found)}
    return list(found.values())


class _Unxz(io.RawIOBase):
    """What an xz file holds, unpacked with bounded memory: by itself the format may ask for 4 GB."""

    def __init__(self, packed: IO[bytes]) -> None:
        self._packed, self._unpack = packed, lzma.LZMADecompressor(memlimit=XZ_BYTES)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._unpack.eof:
            piece = self._packed.read(PIECE_BYTES) if self._unpack.needs_input else b""
            if not piece and self._unpack.needs_input:
                raise EOFError("the xz file breaks off")
            if found := self._unpack.decompress(piece, len(buffer)):
                buffer[: len(found)] = found
                return len(found)
        return 0


class _BoundedFile(io.BufferedReader):
    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > DIRECTORY_BYTES:
            raise ValueError(f"a list of members of {size:,} bytes")
        return super().read(size)


@contextmanager
def _opened(archive: Path) -> Iterator[Iterator[_Entry]]:
    """Entries of an archive of either kind; what its reader complains of becomes our error."""
    try:
        with archive.open("rb") as stream:
            packed = stream.read(len(_XZ)) == _XZ
            stream.seek(0)
            try:
                file = io.BufferedReader(_Unxz(stream)) if packed else stream
                tar = tarfile.open(fileobj=file, mode="r|" if packed else "r:*", tarinfo=BoundedMember)  # noqa: SIM115
            except tarfile.TarError:
                tar = None
            if tar is not None:
                with tar:
                    yield _tar_entries(tar, archive)
                return
        if zipfile.is_zipfile(archive):
            with _BoundedFile(io.FileIO(archive)) as stream, zipfile.ZipFile(stream) as zipped:
                yield _zip_entries(zipped, archive)
        else:
            raise _refused(archive, "it is no zip or tar archive")
    except _DAMAGE as error:
        raise _refused(archive, f"it is damaged ({error})") from error
    except OSError as error:
        if error.errno in (None, errno.EINVAL):  # gzip.BadGzipFile and the like; a place before the beginning
            raise _refused(archive, f"it is damaged ({error})") from error
        raise
    except RuntimeError as error:  # a zip with a password
        raise _refused(archive, str(error)) from error


def _tar_entries(tar: tarfile.TarFile, archive: Path) -> Iterator[_Entry]:
    for info in members_of(tar):
        if info.isdir():
            kind = "folder"
        elif info.issym() or info.islnk():
            kind = "link"
        elif info.isreg():
            kind = "file"
        else:
            raise _refused(archive, f"{info.name!r} in it is a device or a pipe")
        # A symbolic link counts from its own folder, a hard one from the top.
        target = info.linkname if info.islnk() else posixpath.join(posixpath.dirname(info.name), info.linkname)
        yield _Entry(info.name, kind, info.size if kind == "file" else 0, target, partial(tar.extractfile, info))


def _zip_entries(zipped: zipfile.ZipFile, archive: Path) -> Iterator[_Entry]:
    for info in zipped.infolist():
        if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # unpacked without a bound
            raise _refused(archive, f"{info.filename!r} in it is packed in a way that no data set is")
        mode = stat.S_IFMT(info.external_attr >> 16)
        if info.is_dir():
            kind = "folder"
        elif mode == stat.S_IFLNK:
            kind = "link"
        elif mode in (0, stat.S_IFREG):
            kind = "file"
        else:
            raise _refused(archive, f"{info.filename!r} in it is a device or a pipe")
        target = ""
        if kind == "link" and info.file_size <= LONGEST_LINK_BYTES:
            target = posixpath.join(posixpath.dirname(info.filename), zipped.read(info).decode("utf-8", "replace"))
        yield _Entry(info.filename, kind, info.file_size, target, partial(zipped.open, info))


def _safe(path: str, archive: Path) -> str:
    """``path`` in its plain form; empty for the folder itself.

    Raises:
        VerificationFailed: it leads out, or cannot be a name.
    """
    plain = path.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    reason = ""
    if plain.startswith("/") or ".." in parts or (len(plain) > 1 and plain[1] == ":"):
        reason = "leads out of its folder"
    elif len(plain) > LONGEST_PATH or any(_is_no_name(part) for part in parts):
        reason = "is no file name"
    if reason:
        raise _refused(archive, f"{path[:LONGEST_NAME_BYTES]!r} in it {reason}")
    return "/".join(parts)


def _is_no_name(part: str) -> bool:
    if os.name == "nt" and (":" in part or part.split(".")[0].lower() in WINDOWS_NAMES):
        return True
    return "\0" in part or len(part.encode("utf-8", "surrogateescape")) > LONGEST_NAME_BYTES


def _inside(path: str, target: str, archive: Path) -> str:
    """Where a link leads, from the top of the archive, in its plain form."""
    plain = posixpath.normpath(target.replace("\\", "/"))
    if not target or plain.startswith(("..", "/")) or "\0" in plain:
        raise _refused(archive, f"the link {path!r} in it leads out of its folder, to {target!r}")
    return plain


def _make_folder(place: Path, archive: Path, path: str) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise _refused(archive, f"{path!r} in it is a file and a folder at once") from error
    except OSError as error:
        raise _refused_or(error, archive, path) from error


def _refused_or(error: OSError, archive: Path, path: str) -> Exception:
    """The refusal where ``path`` is too much for the file system; else the error itself, such as of a full disk."""
    if error.errno in (errno.ENAMETOOLONG, errno.EINVAL, errno.EILSEQ):
        return _refused(archive, f"{path[:LONGEST_NAME_BYTES]!r} in it is no file name")
    return error


def _write(entry: _Entry, place: Path, path: str, archive: Path, room: int) -> Member:
    """One file, never through a link: nothing but plain files and folders is ever made here."""
    running, size = hashlib.sha256(), 0
    source = entry.open()
    if source is None:
        raise _refused(archive, f"{path!r} in it cannot be read")
    if place.is_dir():
        raise _refused(archive, f"{path!r} in it is a file and a folder at once")
    try:
        stream = place.open("wb")
    except OSError as error:
        raise _refused_or(error, archive, path) from error
    with source, stream:
        while piece := source.read(PIECE_BYTES):
            size += len(piece)
            if size > room:
                raise _refused(archive, f"{path!r} in it never ends: a bomb")
            running.update(piece)
            stream.write(piece)
    if size != entry.size_bytes:
        raise _refused(archive, f"{path!r} in it has {size:,} bytes, not {entry.size_bytes:,}")
    return Member(path, size, running.hexdigest())


def _copy_link(fresh: Path, path: str, target: str, archive: Path, found: dict[str, Member]) -> list[Member]:
    """A link becomes a second name of the file it leads to, or nothing where it leads to a folder or nowhere."""
    source = found.get(target)
    place = fresh.joinpath(*PurePosixPath(path).parts)
    if source is None or path == target or place.exists():
        return []
    _make_folder(place.parent, archive, path)
    there = fresh.joinpath(*PurePosixPath(target).parts)
    try:
        os.link(there, place)
    except OSError:
        shutil.copyfile(there, place)
    return [Member(path, source.size_bytes, source.sha256)]


def _move(source: Path, place: Path) -> None:
    """``source`` to ``place``, folders merged: in one step where there is nothing yet."""
    if source.is_dir() and place.is_dir() and not place.is_symlink():
        for inner in sorted(source.iterdir()):
            _move(inner, place / inner.name)
        return
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.is_dir():
        shutil.rmtree(place)
    source.replace(place)


def _refused(archive: Path, reason: str) -> VerificationFailed:
    return VerificationFailed(
        f"{archive.name} is not unpacked: {reason}",
        hint="nothing of it was kept; fetch it again, or from another place",
        input=str(archive),
    )
