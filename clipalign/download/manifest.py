"""What is recorded of the files of a data set, and whether they are still there and unchanged.

For every file of the row a manifest in ``.clipalign/`` of the data set's folder keeps the hash it had, where it came
from, and size and hash of each file that it left there: itself, or what was unpacked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from clipalign.download.archives import Member
from clipalign.download.dataset_rows import DataFile, DatasetRow
from clipalign.files import is_file, write_whole
from clipalign.models.weights import sha256_of

MANIFEST_FOLDER: Final = ".clipalign"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is recorded of a file of a data set.

    Attributes:
        path: of the row's file.
        source: where it came from.
        sha256: of the file before it was unpacked.
        size_bytes: likewise.
        verified: whether a hash was on record and matched.
        members: what is there because of it: path in the data set's folder, size, SHA-256.
    """

    path: str
    source: str
    sha256: str
    size_bytes: int
    verified: bool
    members: tuple[Member, ...]


def _place(folder: Path, path: str) -> Path:
    return folder / MANIFEST_FOLDER / f"{path.replace('/', '--') if path != '.' else 'all'}.json"


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Record ``manifest`` in the data set's ``folder``."""
    place = _place(folder, manifest.path)
    place.parent.mkdir(parents=True, exist_ok=True)
    members = [[one.path, one.size_bytes, one.sha256] for one in manifest.members]
    write_whole(place, json.dumps(asdict(manifest) | {"members": members}).encode())


def read_manifest(folder: Path, file: DataFile) -> Manifest | None:
    """What is recorded of ``file``; None where it never arrived."""
    try:
        document: dict[str, Any] = json.loads(_place(folder, file.path).read_text(encoding="utf-8"))
        members = tuple(Member(str(path), int(size), str(sha256)) for path, size, sha256 in document["members"])
        return Manifest(
            str(document["path"]),
            str(document["source"]),
            str(document["sha256"]),
            int(document["size_bytes"]),
            bool(document["verified"]),
            members,
        )
    except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError):
        return None


def is_complete(folder: Path, manifest: Manifest) -> bool:
    """Whether every member is there, in its size."""
    try:
        return all((folder / one.path).stat().st_size == one.size_bytes for one in manifest.members)
    except (OSError, ValueError):
        return False


def is_there(folder: Path, file: DataFile) -> bool:
    """Whether what ``file`` gives lies in ``folder``, wherever it came from; contents are not looked at."""
    if file.pattern:
        inner = folder / file.path
        return inner.is_dir() and any(one.name != MANIFEST_FOLDER for one in inner.iterdir())
    return all((folder / place).exists() for place in file.gives or (file.path,))


def damaged(row: DatasetRow, folder: Path) -> list[str]:
    """Read every member and name what is missing or has changed, a sentence each."""
    found = []
    for file in row.files:
        manifest = read_manifest(folder, file)
        for one in manifest.members if manifest else ():
            path = folder / one.path
            if not is_file(path):
                found.append(f"{path} is missing")
            elif sha256_of(path) != one.sha256:
                found.append(f"{path} is not what it was")
    return found


def members_of(target: Path, folder: Path) -> Iterator[Member]:
    """Every file below ``target``, by its path in ``folder``, with its hash."""
    for path in sorted(target.rglob("*")):
        if path.is_file():
            yield Member(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path))
