"""What is known of a file before it is fetched, and whether what came is that file.

What every fetch of a run shares: the network, where to say what is going on, and what came.

One file from one address: in as many pieces as it takes, checked as it comes, moved into place when it is whole.

What has come stands in ``NAME.part`` beside its place, with ``NAME.part.json`` to tell what it is a part of; a later
run goes on from there, with ``Range`` and ``If-Range``, and starts anew when the file has changed meanwhile. A part is
kept through cuts, Ctrl-C, a killed process and a full disk, and thrown away when its hash or its size is wrong: then
the file is fetched once more from the start, and after that the hash on record and the one that came are both named.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clipalign.download.web import RetryableError, Web, length_of
from clipalign.errors import DISK_FULL, Busy, DownloadFailed, OutputError, VerificationFailed, unwritable
from clipalign.files import exclusive

if TYPE_CHECKING:
    import requests


PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to fetch, and what is known of it beforehand.

    Attributes:
        url: http or https.
        sha256: in lower-case hexadecimal, or its first digits; empty where nobody knows it.
        md5: all of it, for data published with that.
        git_sha1: name of the file as a git object; what the Hub says of small files.
        size_bytes: exact; 0 where unknown.
        token: for ``url``'s own origin.
        name: for messages; the last part of ``url`` by default.
    """

    url: str
    sha256: str = ""
    md5: str = ""
    git_sha1: str = ""
    size_bytes: int = 0
    token: str = ""
    name: str = ""

    @property
    def title(self) -> str:
        """What to call it."""
        return self.name or self.url.partition("?")[0].rstrip("/").rpartition("/")[2] or self.url

    @property
    def checked(self) -> bool:
        """Whether a hash is on record."""
        return bool(self.sha256 or self.md5 or self.git_sha1)


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """A file, or a folder of files, that is on this machine now.

    Attributes:
        path: where it is.
        source: where it came from, in words.
        sha256: its hash; empty for a folder.
        size_bytes: its size.
        resumed_bytes: how many of them an earlier run had fetched.
        verified: whether a hash was on record and matched.
        fresh: whether it was fetched now.
    """

    path: Path
    source: str
    sha256: str
    size_bytes: int
    resumed_bytes: int = 0
    verified: bool = False
    fresh: bool = True


@dataclass(slots=True)
class Hashes:
    """The hashes of what has come so far."""

    wanted: RemoteFile
    size_bytes: int = 0
    _running: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        """Forget everything."""
        self.size_bytes = 0
        self._running = {"sha256": hashlib.sha256()}
        if self.wanted.md5:
            self._running["md5"] = hashlib.md5(usedforsecurity=False)

    def add(self, piece: bytes) -> None:
        """The next bytes."""
        self.size_bytes += len(piece)
        for one in self._running.values():
            one.update(piece)

    def read(self, path: Path, size_bytes: int) -> None:
        """The first ``size_bytes`` of a file, unless that many were added already.

        Raises:
            RetryableError: the file has fewer.
        """
        if self.size_bytes == size_bytes:
            return
        self.restart()
        with path.open("rb") as stream:
            while self.size_bytes < size_bytes:
                piece = stream.read(min(PIECE_BYTES, size_bytes - self.size_bytes))
                if not piece:
                    raise RetryableError("the part on the disk became shorter")
                self.add(piece)

    @property
    def sha256(self) -> str:
        """Of everything added."""
        return str(self._running["sha256"].hexdigest())

    def problem(self, path: Path) -> str:
        """How ``path``, which was added as a whole, differs from what was wanted; empty where it does not."""
        wanted = self.wanted
        if wanted.size_bytes and self.size_bytes != wanted.size_bytes:
            return f"it has {self.size_bytes:,} bytes, not {wanted.size_bytes:,}"
        if wanted.sha256 and not self.sha256.startswith(wanted.sha256):
            return f"its SHA-256 is {self.sha256}, not {wanted.sha256}"
        if wanted.md5 and (md5 := self._running["md5"].hexdigest()) != wanted.md5:
            return f"its MD5 is {md5}, not {wanted.md5}"
        if wanted.git_sha1 and (sha1 := git_sha1(path)) != wanted.git_sha1:
            return f"its git hash is {sha1}, not {wanted.git_sha1}"
        return ""


def git_sha1(path: Path) -> str:
    """The name git gives to a file with this content."""
    size = path.stat().st_size
    running = hashlib.sha1(f"blob {size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as stream:
        while piece := stream.read(PIECE_BYTES):
            running.update(piece)
    return running.hexdigest()


Advance = Callable[[int, int], None]
"""Told the bytes that are there, and those there will be (0 where unknown)."""


def _in_silence(title: str) -> AbstractContextManager[Advance]:
    return nullcontext(lambda done, total: None)


@dataclass(frozen=True)
class DownloadContext:
    """The way things are fetched in this run.

    Attributes:
        web: the network.
        announce: a line a file: what, how large, from where.
        progress: a bar, or a line now and then, for a file of that name.
        cache_dir: clipalign's cache folder, where the user named one.
    """

    web: Web = field(default_factory=Web)
    announce: Callable[[str], None] = lambda line: None
    progress: Callable[[str], AbstractContextManager[Advance]] = _in_silence
    cache_dir: Path | None = None


def in_bytes(size: int) -> str:
    """``605 MB``; decimal units, as pages of downloads have them."""
    for unit, divisor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= divisor:
            return f"{size / divisor:.3g} {unit}" if size < 100 * divisor else f"{size / divisor:,.0f} {unit}"
    return f"{size} bytes"


LARGEST_BYTES: Final = 1 << 40
"""A file of unknown size that grows beyond this is none: some servers never end."""

SPARE_BYTES: Final = 16 << 20
"""Left free on the disk."""

LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"


def part_of(target: Path) -> Path:
    """Where the part of a file stands that is to become ``target``."""
    return target.with_name(f"{target.name}.part")


def note_of(target: Path) -> Path:
    """What is known of :func:`part_of`."""
    return target.with_name(f"{target.name}.part.json")


def drop_part(target: Path) -> int:
    """Delete what there is of an unfinished ``target``; the bytes that were."""
    part = part_of(target)
    size = part.stat().st_size if part.is_file() else 0
    part.unlink(missing_ok=True)
    note_of(target).unlink(missing_ok=True)
    return size


def lock_of(target: Path) -> Path:
    """What keeps others from ``target`` while it comes."""
    return target.with_name(f"{target.name}.lock")


def tidy(target: Path) -> None:
    """Delete what a process that was killed in its last moment left beside a ``target`` that is there and whole."""
    lock, note = lock_of(target), note_of(target)
    if lock.exists() or note.exists():
        with suppress(OSError, Busy), exclusive(lock, remove=True):
            if not part_of(target).exists():
                note.unlink(missing_ok=True)


def fetch(
    wanted: RemoteFile,
    target: Path,
    *,
    web: Web,
    progress: Callable[[int, int], None] = lambda done, total: None,
    lock: Path | None = None,
) -> DownloadResult:
    """Fetch a file into ``target``.

    Two at once: the second waits for the first, because what that fetches is what it wants, and then finds it there.

    Args:
        wanted: what to fetch, and how to know it.
        target: where it goes; its folder is made. A file that is there and is not known to be another is left alone.
        web: the network.
        progress: told the bytes that are there and those there will be (0 where unknown).
        lock: what keeps others from the same file; ``target`` with ``.lock`` by default, which does not stay.

    Raises:
        DownloadFailed: the server does not give it, or not within the policy of ``web``.
        VerificationFailed: what came is twice not what was wanted.
        OutputError: the disk is full, or the folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        held = lock or lock_of(target)
        held.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(
            held,
            wait_seconds=math.inf,
            on_wait=lambda: web.tell(f"another process is fetching {wanted.title}; waiting for it"),
            remove=lock is None,
        ):
            if target.is_file() and (found := _already(wanted, target)) is not None:
                drop_part(target)
                return found
            return _Fetching(wanted, target, web, progress).run()
    except OSError as error:
        raise disk_error(error, wanted.title, target) from error


def _already(wanted: RemoteFile, target: Path) -> DownloadResult | None:
    hashes = Hashes(wanted)
    hashes.read(target, target.stat().st_size)
    if hashes.problem(target):
        return None
    return DownloadResult(target, wanted.url, hashes.sha256, hashes.size_bytes, hashes.size_bytes, wanted.checked)


def disk_error(error: OSError, title: str, target: Path) -> Exception:
    """What went wrong with the disk while ``title`` was to become ``target``, as a sentence."""
    if isinstance(error, ConnectionError | TimeoutError):
        return DownloadFailed(f"the connection failed while {title} came: {error}", input=title)
    if error.errno in DISK_FULL:
        part = part_of(target)
        kept = (
            f"{part.stat().st_size:,} bytes of {title} are kept in {part}" if part.is_file() else f"no room for {title}"
        )
        return OutputError(
            f"the disk is full: {kept}",
            hint="make room and run the same line again: it goes on from there",
            input=str(target.parent),
        )
    place = error.filename or target
    return unwritable(error)(
        f"{title} cannot be written to {place}: {error.strerror or error}",
        hint="choose another folder with --cache-dir",
        input=str(place),
    )


class _WrongFileError(Exception):
    """What the server has is not what was wanted; found out before all of it came."""


class _Fetching:
    """One file on its way."""

    def __init__(self, wanted: RemoteFile, target: Path, web: Web, progress: Callable[[int, int], None]) -> None:
        self.wanted, self.target, self.web, self.progress = wanted, target, web, progress
        self.part, self.note = part_of(target), note_of(target)
        self.hashes = Hashes(wanted)
        self.resumed_bytes = self._size()

    def run(self) -> DownloadResult:
        """All attempts; the second start from nothing is the last."""
        for last in (False, True):
            problem = self._come()
            if not problem:
                break
            what = self._what_came()
            self._start_anew()
            if last:
                raise VerificationFailed(
                    f"{self.wanted.title} from {self.wanted.url} is not what it should be: {problem}{what}",
                    hint="it was fetched twice and thrown away twice; was it replaced there, or altered on the way?",
                    input=self.wanted.title,
                )
            self.web.tell(f"{self.wanted.title} is not what it should be: {problem}; fetching it once more")
        self.part.replace(self.target)
        self.note.unlink(missing_ok=True)
        return DownloadResult(
            self.target,
            self.wanted.url,
            self.hashes.sha256,
            self.hashes.size_bytes,
            self.resumed_bytes,
            self.wanted.checked,
        )

    def _come(self) -> str:
        """Let all of it come; how it differs from what was wanted, or an empty string."""
        try:
            self.web.with_retries(self._attempt, progress=self._size)
        except _WrongFileError as error:
            return str(error)
        self.hashes.read(self.part, self._size())
        return self.hashes.problem(self.part)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _start_anew(self) -> None:
        self.part.unlink(missing_ok=True)
        self.note.unlink(missing_ok=True)
        self.hashes.restart()
        self.resumed_bytes = 0

    def _what_came(self) -> str:
        if not self.part.is_file():
            return ""
        with self.part.open("rb") as stream:
            start = stream.read(512).lstrip()
        if start.startswith(LFS_POINTER):
            return " (what came is a Git LFS pointer, not the file)"
        return " (what came is a web page)" if start[:15].lower().startswith((b"<!doctype html", b"<html")) else ""

    def _known(self) -> dict[str, Any]:
        try:
            note = json.loads(self.note.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError):
            return {}
        return note if isinstance(note, dict) else {}

    def _resumption(self) -> tuple[int, dict[str, str]]:
        """Where to go on, and the headers that ask for that; 0 where the part cannot be trusted."""
        have, known = self._size(), self._known()
        if not have:
            return 0, {}
        same = known.get("url") == self.wanted.url
        tag, date = str(known.get("etag") or ""), str(known.get("last_modified") or "")
        headers = {"Range": f"bytes={have}-"}
        if same and tag.startswith('"'):  # W/"…" promises too little for bytes
            return have, headers | {"If-Range": tag}
        if same and date:
            return have, headers | {"If-Range": date}
        if self.wanted.checked:  # a part of another file will show in the hash
            return have, headers
        return 0, {}

    def _attempt(self) -> None:
        have, headers = self._resumption()
        whole = self.wanted.size_bytes
        if whole and have == whole:
            return
        if have == 0 or (whole and have > whole):
            have, headers = 0, {}
        with self.web.ask("GET", self.wanted.url, headers=headers, token=self.wanted.token) as response:
            start, total = self._opened(response, have)
            if start is not None:
                self._receive(response, start, total)

    def _opened(self, response: requests.Response, have: int) -> tuple[int | None, int]:
        """Where this body belongs (None: nowhere, all is there), and the size of the whole (0: unknown)."""
        if response.status_code == 416:
            total = _whole_size(response.headers.get("Content-Range", ""))
            if have and total == have:
                return None, total
            self._start_anew()
            raise RetryableError("the part on the disk does not belong to this file any more", wait_seconds=0)
        encoded = response.headers.get("Content-Encoding", "identity").lower() not in ("identity", "")
        length = response.headers.get("Content-Length", "")
        start, total = 0, 0 if encoded else length_of(length)
        if response.status_code == 206:
            begin, total = _range(response.headers.get("Content-Range", ""))
            known = self._known()
            moved = begin != have or encoded or (total and known.get("total") and total != known["total"])
            if moved or (not self.wanted.checked and _changed(response, known)):
                self._start_anew()
                raise RetryableError("the server sent another part than it was asked for", wait_seconds=0)
            start = have
        elif _is_page(response) and not self.wanted.checked and not self.target.suffix.lower().startswith(".htm"):
            raise DownloadFailed(
                f"{response.url} gave a web page instead of {self.wanted.title}",
                hint="open the address in a browser: it may want a consent, or a login into this network",
                input=self.wanted.url,
            )
        if total and self.wanted.size_bytes and total != self.wanted.size_bytes:
            raise _WrongFileError(f"the server says it has {total:,} bytes, not {self.wanted.size_bytes:,}")
        if total > LARGEST_BYTES:
            raise DownloadFailed(f"{self.wanted.title} would have {total:,} bytes", input=self.wanted.url)
        self._check_room(total - start)
        return start, total

    def _check_room(self, remaining: int) -> None:
        if remaining <= 0:
            return
        free = shutil.disk_usage(self.part.parent).free
        if remaining + SPARE_BYTES > free:
            raise OutputError(
                f"{self.wanted.title} needs {remaining / 1e6:,.0f} MB more, and {self.part.parent} has "
                f"{free / 1e6:,.0f} MB of room",
                hint="make room, or choose another folder with --cache-dir; what has come is kept",
                input=str(self.part.parent),
            )

    def _receive(self, response: requests.Response, start: int, total: int) -> None:
        if start:
            self.hashes.read(self.part, start)
        else:
            self._start_anew()
        self._write_note(response, total)
        limit = total or self.wanted.size_bytes or LARGEST_BYTES
        with self.part.open("r+b" if start else "wb", buffering=0) as stream:
            stream.seek(start)
            stream.truncate()
            self.progress(start, total)
            for piece in self.web.pieces(response):
                if self.hashes.size_bytes + len(piece) > limit:
                    raise _WrongFileError(f"it has more than {limit:,} bytes")
                _write(stream, piece)
                self.hashes.add(piece)
                self.progress(self.hashes.size_bytes, total)
            os.fsync(stream.fileno())
        if total and self.hashes.size_bytes < total:
            raise RetryableError(f"the connection ended after {self.hashes.size_bytes:,} of {total:,} bytes")

    def _write_note(self, response: requests.Response, total: int) -> None:
        """Before the first byte of the part, so that no part is ever without it."""
        note = {
            "url": self.wanted.url,
            "etag": response.headers.get("ETag", ""),
            "last_modified": response.headers.get("Last-Modified", ""),
            "total": total,
        }
        self.note.write_text(json.dumps(note), encoding="utf-8")


def _write(stream: Any, piece: bytes) -> None:
    """All of it: an unbuffered write may take less, when a disk fills up."""
    view = memoryview(piece)
    while view:
        view = view[stream.write(view) :]


def _is_page(response: requests.Response) -> bool:
    return response.headers.get("Content-Type", "").lower().startswith("text/html")


def _changed(response: requests.Response, known: dict[str, Any]) -> bool:
    """Whether a partial answer says of itself that it belongs to another version."""
    tag, date = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
    return bool((tag and tag != known.get("etag")) or (date and date != known.get("last_modified")))


def _range(header: str) -> tuple[int, int]:
    """Begin and whole size of ``bytes 10-19/20``; -1 and 0 where it says nothing of the kind."""
    found = re.fullmatch(r"\s*bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\s*", header)
    if not found:
        return -1, 0
    return int(found[1]), 0 if found[3] == "*" else int(found[3])


def _whole_size(header: str) -> int:
    found = re.fullmatch(r"\s*bytes\s+\*/(\d{1,18})\s*", header)
    return int(found[1]) if found else -1
