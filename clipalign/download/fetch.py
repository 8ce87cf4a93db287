"""Fetch one file from one address: resumed, verified while it arrives, and moved into place when it is complete.

Bytes are kept in ``NAME.part`` beside the target, with ``NAME.part.json`` describing the whole file. A later run
resumes with ``Range`` and ``If-Range``, and starts over if the file has changed. The part survives cut connections,
Ctrl-C, a killed process and a full disk. If its hash or size is wrong it is deleted and the file is fetched once more
from the start; a second mismatch is an error that names both hashes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clipalign.download.web import RetryableError, Web, length_of
from clipalign.errors import DISK_FULL, Busy, DownloadFailed, OutputError, VerificationFailed, unwritable
from clipalign.files import exclusive, write_all

if TYPE_CHECKING:
    import requests

CHUNK_BYTES: Final = 1 << 20

MAX_BYTES: Final = 1 << 40
"""Limit for a file of unknown size."""

SPARE_BYTES: Final = 16 << 20

LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"

Advance = Callable[[int, int], None]
"""Callback for the bytes present and the total (0 if unknown)."""


@dataclass(frozen=True)
class DownloadContext:
    """What all downloads of a run share; ``progress`` returns a progress display for a title."""

    web: Web = field(default_factory=Web)
    progress: Callable[[str], AbstractContextManager[Advance]] = lambda title: nullcontext(lambda done, total: None)
    cache_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file to fetch, and what is known of it beforehand.

    Attributes:
        sha256: in lower-case hexadecimal, or its first digits; empty if unknown.
        git_sha1: its git object name, which the Hub gives for small files.
        size_bytes: exact; 0 if unknown.
        token: sent to the origin of ``url`` only.
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
        return self.name or self.url.partition("?")[0].rstrip("/").rpartition("/")[2] or self.url

    @property
    def has_hash(self) -> bool:
        return bool(self.sha256 or self.md5 or self.git_sha1)


@dataclass(frozen=True, slots=True)
class DownloadResult:
    """A file, or a folder of files, that is on this machine now.

    Attributes:
        source: where it came from, in words.
        sha256: empty for a folder.
        resumed_bytes: bytes that an earlier run had fetched.
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


class Hashes:
    """Size and hashes of a file, updated as its bytes arrive."""

    def __init__(self, remote: RemoteFile) -> None:
        self.remote = remote
        self.restart()

    def restart(self) -> None:
        self.size_bytes = 0
        self._sha256 = hashlib.sha256()
        self._md5 = hashlib.md5(usedforsecurity=False) if self.remote.md5 else None

    def add(self, chunk: bytes) -> None:
        self.size_bytes += len(chunk)
        self._sha256.update(chunk)
        if self._md5:
            self._md5.update(chunk)

    def read(self, path: Path, size_bytes: int) -> None:
        """Count the first ``size_bytes`` of a file, unless already counted; raise ``RetryableError`` if too short."""
        if self.size_bytes == size_bytes:
            return
        self.restart()
        for chunk in _chunks(path, size_bytes):
            self.add(chunk)
        if self.size_bytes < size_bytes:
            raise RetryableError("the part on the disk became shorter")

    @property
    def sha256(self) -> str:
        return self._sha256.hexdigest()

    def mismatch(self, path: Path) -> str:
        """Describe how the fully counted ``path`` differs from the record; empty if it does not."""
        remote = self.remote
        if remote.size_bytes and self.size_bytes != remote.size_bytes:
            return f"it has {self.size_bytes:,} bytes, not {remote.size_bytes:,}"
        if not self.sha256.startswith(remote.sha256):
            return f"its SHA-256 is {self.sha256}, not {remote.sha256}"
        if self._md5 and self._md5.hexdigest() != remote.md5:
            return f"its MD5 is {self._md5.hexdigest()}, not {remote.md5}"
        if remote.git_sha1 and (sha1 := _git_sha1(path, self.size_bytes)) != remote.git_sha1:
            return f"its git hash is {sha1}, not {remote.git_sha1}"
        return ""

    def result(self, path: Path, source: str, *, resumed_bytes: int = 0) -> DownloadResult:
        """Return the result for the fully counted and matching ``path``."""
        return DownloadResult(path, source, self.sha256, self.size_bytes, resumed_bytes, self.remote.has_hash)


def _chunks(path: Path, size_bytes: int) -> Iterator[bytes]:
    with path.open("rb") as stream:
        while size_bytes > 0 and (chunk := stream.read(min(CHUNK_BYTES, size_bytes))):
            size_bytes -= len(chunk)
            yield chunk


def _git_sha1(path: Path, size_bytes: int) -> str:
    """Return git's object name for a file with this content."""
    running = hashlib.sha1(f"blob {size_bytes}\0".encode(), usedforsecurity=False)
    for chunk in _chunks(path, size_bytes):
        running.update(chunk)
    return running.hexdigest()


def in_bytes(size: int) -> str:
    for unit, divisor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if size >= divisor:
            return f"{size / divisor:.3g} {unit}" if size < 100 * divisor else f"{size / divisor:,.0f} {unit}"
    return f"{size} bytes"


def announcement(name: str, file: str, size_bytes: int, place: str, *, approximate: bool) -> str:
    size = f"{'about ' if approximate else ''}{in_bytes(size_bytes)}" if size_bytes else "of unknown size"
    return f"fetching {name}: {file}, {size}, from {place}"


def partial_path(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def note_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part.json")


def lock_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.lock")


def drop_part(target: Path) -> int:
    """Delete the unfinished ``target``; return its bytes."""
    part = partial_path(target)
    size = part.stat().st_size if part.is_file() else 0
    part.unlink(missing_ok=True)
    note_of(target).unlink(missing_ok=True)
    return size


def tidy(target: Path) -> None:
    """Delete what a killed process left beside a complete ``target``."""
    lock, note = lock_of(target), note_of(target)
    if lock.exists() or note.exists():
        with suppress(OSError, Busy), exclusive(lock, remove=True):
            if not partial_path(target).exists():
                note.unlink(missing_ok=True)


def fetch(
    remote: RemoteFile,
    target: Path,
    *,
    web: Web,
    progress: Advance = lambda done, total: None,
    lock: Path | None = None,
) -> DownloadResult:
    """Fetch a file into ``target``; of two processes at once, the second waits for the first.

    Args:
        target: its folder is created; an existing file that matches the record is kept.
        lock: held meanwhile; by default ``target`` with ``.lock``, which is removed afterwards.

    Raises:
        DownloadFailed: the server refuses, or fails beyond the retry policy of ``web``.
        VerificationFailed: the bytes differed from the record twice.
        OutputError: the disk is full, or the folder cannot be written.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        held = lock or lock_of(target)
        held.parent.mkdir(parents=True, exist_ok=True)
        with exclusive(
            held,
            wait_seconds=math.inf,
            on_wait=lambda: web.tell(f"another process is fetching {remote.title}; waiting for it"),
            remove=lock is None,
        ):
            if target.is_file():
                hashes = Hashes(remote)
                hashes.read(target, target.stat().st_size)
                if not hashes.mismatch(target):
                    drop_part(target)
                    return hashes.result(target, remote.url, resumed_bytes=hashes.size_bytes)
            return _Download(remote, target, web, progress).run()
    except OSError as error:
        raise disk_error(error, remote.title, target) from error


def disk_error(error: OSError, title: str, target: Path) -> Exception:
    if isinstance(error, ConnectionError | TimeoutError):
        return DownloadFailed(f"the connection failed while {title} was fetched: {error}", input=title)
    if error.errno in DISK_FULL:
        part = partial_path(target)
        there = part.is_file()
        kept = f"{part.stat().st_size:,} bytes of {title} are kept in {part}" if there else f"no space for {title}"
        return OutputError(
            f"the disk is full: {kept}",
            hint="free some space and run the same line again: it resumes there",
            input=str(target.parent),
        )
    place = error.filename or target
    return unwritable(error)(
        f"{title} cannot be written to {place}: {error.strerror or error}",
        hint="choose another folder with --cache-dir",
        input=str(place),
    )


class _WrongFileError(Exception):
    """The server has another file than the one on record, found before all of it arrived."""


class _Download:
    def __init__(self, remote: RemoteFile, target: Path, web: Web, progress: Advance) -> None:
        self.remote, self.target, self.web, self.progress = remote, target, web, progress
        self.part, self.note = partial_path(target), note_of(target)
        self.hashes = Hashes(remote)
        self.resumed_bytes = self._size()

    def run(self) -> DownloadResult:
        """Fetch and verify, once more from the start after a mismatch."""
        for is_last in (False, True):
            mismatch = self._fetch_all()
            if not mismatch:
                break
            what_came = self._what_came()
            self._start_over()
            if is_last:
                raise VerificationFailed(
                    f"{self.remote.title} from {self.remote.url} is not what it should be: {mismatch}{what_came}",
                    hint="it was fetched twice and deleted twice; was it replaced there, or altered on the way?",
                    input=self.remote.title,
                )
            self.web.tell(f"{self.remote.title} is not what it should be: {mismatch}; fetching it once more")
        self.part.replace(self.target)
        self.note.unlink(missing_ok=True)
        return self.hashes.result(self.target, self.remote.url, resumed_bytes=self.resumed_bytes)

    def _fetch_all(self) -> str:
        try:
            self.web.with_retries(self._attempt, progress=self._size)
        except _WrongFileError as error:
            return str(error)
        self.hashes.read(self.part, self._size())
        return self.hashes.mismatch(self.part)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.is_file() else 0

    def _start_over(self) -> None:
        drop_part(self.target)
        self.hashes.restart()
        self.resumed_bytes = 0

    def _what_came(self) -> str:
        if not self.part.is_file():
            return ""
        start = next(_chunks(self.part, 512), b"").lstrip()
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
        """Return where to resume and the headers to send; 0 if the part cannot be trusted."""
        have, known = self._size(), self._known()
        if not have:
            return 0, {}
        headers = {"Range": f"bytes={have}-"}
        if known.get("url") == self.remote.url:
            tag, date = str(known.get("etag") or ""), str(known.get("last_modified") or "")
            if tag.startswith('"'):  # a weak tag, W/"…", promises too little for bytes
                return have, headers | {"If-Range": tag}
            if date:
                return have, headers | {"If-Range": date}
        # Without a validator only a hash can show that the part belongs to another version.
        return (have, headers) if self.remote.has_hash else (0, {})

    def _attempt(self) -> None:
        have, headers = self._resumption()
        whole = self.remote.size_bytes
        if whole and have == whole:
            return
        if have == 0 or (whole and have > whole):
            have, headers = 0, {}
        with self.web.ask("GET", self.remote.url, headers=headers, token=self.remote.token) as response:
            start, total = self._start_of(response, have)
            if start is not None:
                self._receive(response, start, total)

    def _start_of(self, response: requests.Response, have: int) -> tuple[int | None, int]:
        """Return where this body begins (None: file is complete) and the size of the whole file (0: unknown)."""
        if response.status_code == 416:
            total = _whole_size(response.headers.get("Content-Range", ""))
            if have and total == have:
                return None, total
            self._start_over()
            raise RetryableError("the part on the disk does not belong to this file any more", wait_seconds=0)
        encoded = response.headers.get("Content-Encoding", "identity").lower() not in ("identity", "")
        start, total = 0, 0 if encoded else length_of(response.headers.get("Content-Length", ""))
        if response.status_code == 206:
            begin, total = _range(response.headers.get("Content-Range", ""))
            known = self._known()
            moved = begin != have or encoded or (total and known.get("total") and total != known["total"])
            if moved or (not self.remote.has_hash and _changed(response, known)):
                self._start_over()
                raise RetryableError("the server sent another part than it was asked for", wait_seconds=0)
            start = have
        elif _is_page(response) and not self.remote.has_hash and not self.target.suffix.lower().startswith(".htm"):
            raise DownloadFailed(
                f"{response.url} gave a web page instead of {self.remote.title}",
                hint="open the address in a browser: it may ask for consent, or for a login to this network",
                input=self.remote.url,
            )
        self._check_size(total, start)
        return start, total

    def _check_size(self, total: int, start: int) -> None:
        remote = self.remote
        if total and remote.size_bytes and total != remote.size_bytes:
            raise _WrongFileError(f"the server says it has {total:,} bytes, not {remote.size_bytes:,}")
        if total > MAX_BYTES:
            raise DownloadFailed(f"{remote.title} would have {total:,} bytes", input=remote.url)
        folder, missing = self.part.parent, total - start
        free = shutil.disk_usage(folder).free
        if missing > 0 and missing + SPARE_BYTES > free:
            raise OutputError(
                f"{remote.title} needs {missing / 1e6:,.0f} MB more, and {folder} has {free / 1e6:,.0f} MB free",
                hint="free some space, or choose another folder with --cache-dir; what has arrived is kept",
                input=str(folder),
            )

    def _receive(self, response: requests.Response, start: int, total: int) -> None:
        if start:
            self.hashes.read(self.part, start)
        else:
            self._start_over()
        self._write_note(response, total)
        limit = total or self.remote.size_bytes or MAX_BYTES
        with self.part.open("r+b" if start else "wb", buffering=0) as stream:
            stream.seek(start)
            stream.truncate()
            self.progress(start, total)
            for chunk in self.web.chunks(response):
                if self.hashes.size_bytes + len(chunk) > limit:
                    raise _WrongFileError(f"it has more than {limit:,} bytes")
                write_all(stream, chunk)
                self.hashes.add(chunk)
                self.progress(self.hashes.size_bytes, total)
            os.fsync(stream.fileno())
        if total and self.hashes.size_bytes < total:
            raise RetryableError(f"the connection ended after {self.hashes.size_bytes:,} of {total:,} bytes")

    def _write_note(self, response: requests.Response, total: int) -> None:
        """Write the note before the first byte, so that no part lacks one."""
        note = {
            "url": self.remote.url,
            "etag": response.headers.get("ETag", ""),
            "last_modified": response.headers.get("Last-Modified", ""),
            "total": total,
        }
        self.note.write_text(json.dumps(note), encoding="utf-8")


def _is_page(response: requests.Response) -> bool:
    return response.headers.get("Content-Type", "").lower().startswith("text/html")


def _changed(response: requests.Response, known: dict[str, Any]) -> bool:
    """Return whether a partial answer belongs to another version of the file."""
    tag, date = response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")
    return bool((tag and tag != known.get("etag")) or (date and date != known.get("last_modified")))


def _range(header: str) -> tuple[int, int]:
    """Parse ``bytes 10-19/20`` into begin and whole size; -1 and 0 if invalid."""
    found = re.fullmatch(r"\s*bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)\s*", header)
    return (int(found[1]), 0 if found[3] == "*" else int(found[3])) if found else (-1, 0)


def _whole_size(header: str) -> int:
    found = re.fullmatch(r"\s*bytes\s+\*/(\d{1,18})\s*", header)
    return int(found[1]) if found else -1
