"""Annotation files of data sets: read whole, known by their hash, refused with a reason.

A file that is there but is another version than the one the papers used is read all the same, and said: its numbers
are not theirs. One that is cut short, is no JSON, or is the pointer that Git LFS leaves in the place of a file, is not
read at all.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson

from clipalign.errors import MissingDataset

LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
HASH_DIGITS: Final = 16
"""Of a SHA-256 in a sentence; records have all 64."""

_PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Annotations:
    """A file of a data set.

    Attributes:
        path: where it is.
        dataset: name of the data set, for errors.
        sha256: of its bytes.
        known: SHA-256 of the version that the papers used, or an empty string.
        version: what to call that version.
    """

    path: Path
    dataset: str
    sha256: str
    known: str = ""
    version: str = ""

    def note(self) -> str:
        """A sentence where this is another version than the known one; else an empty string."""
        if not self.known or self.sha256 == self.known:
            return ""
        return (
            f"{self.path.name} is another version than {self.version}: its SHA-256 begins {self.sha256[:HASH_DIGITS]}, "
            f"not {self.known[:HASH_DIGITS]}; published numbers are of the latter"
        )

    def json(self) -> Any:
        """Its content.

        Raises:
            MissingDataset: it is no JSON, or breaks off.
        """
        content = self.path.read_bytes()
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            torn = "unexpected end" in error.msg
            where = (
                f"breaks off after {len(content):,} bytes" if torn else f"is no JSON: line {error.lineno}, {error.msg}"
            )
            raise self.unusable(where) from None

    def misbuilt(self, form: str, error: KeyError | TypeError | AttributeError) -> MissingDataset:
        """The error for a file that is not of ``form``, as ``error`` showed while it was taken apart."""
        why = f"it lacks {error}" if isinstance(error, KeyError) else "lists and objects are not where it has them"
        return self.unusable(f"is not {form}: {why}")

    def unusable(self, what: str) -> MissingDataset:
        """The error for a file that ``what``, a clause such as "breaks off"."""
        return MissingDataset(
            f"{self.path} {what}; its SHA-256 begins {self.sha256[:HASH_DIGITS]}",
            hint=f"mend it, or delete it and fetch it again: clipalign download {self.dataset}",
            input=str(self.path),
        )


def read_annotations(path: Path, dataset: str, *, known: str = "", version: str = "") -> Annotations:
    """The file at ``path``, hashed.

    Raises:
        MissingDataset: it cannot be read, is empty, or is a Git LFS pointer.
    """
    digest, size, start = hashlib.sha256(), 0, b""
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                start = start or piece[: len(LFS_POINTER)]
                size += len(piece)
                digest.update(piece)
    except OSError as error:
        raise MissingDataset(
            f"{path} cannot be read: {error.strerror}", hint="check the path and its rights", input=str(path)
        ) from error
    found = Annotations(path, dataset, digest.hexdigest(), known, version)
    if not size:
        raise found.unusable("is empty")
    if start == LFS_POINTER:
        raise found.unusable(f"is a Git LFS pointer of {size} bytes, not the file it stands for")
    return found
