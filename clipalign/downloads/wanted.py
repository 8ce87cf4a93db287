"""What is known of a file before it is fetched, and whether what came is that file."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from clipalign.downloads.web import PassingError

PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Wanted:
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
class Fetched:
    """A file that has come.

    Attributes:
        path: where it is.
        sha256: its hash, computed while it came.
        size_bytes: its size.
        resumed_bytes: what was there from an earlier run.
        verified: whether a hash was on record, and it agreed.
    """

    path: Path
    sha256: str
    size_bytes: int
    resumed_bytes: int
    verified: bool


@dataclass(slots=True)
class Hashes:
    """The hashes of what has come so far."""

    wanted: Wanted
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
            PassingError: the file has fewer.
        """
        if self.size_bytes == size_bytes:
            return
        self.restart()
        with path.open("rb") as stream:
            while self.size_bytes < size_bytes:
                piece = stream.read(min(PIECE_BYTES, size_bytes - self.size_bytes))
                if not piece:
                    raise PassingError("the part on the disk became shorter")
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
