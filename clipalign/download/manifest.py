"""What is recorded of the files of a data set, and whether they are still there and unchanged.

For each file of the row, a manifest in ``.clipalign/`` of the data set's folder records its hash, its source, and the
size and hash of the file or of all that was unpacked from it.
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
        sha256: of the file before it was unpacked, as ``size_bytes``.
        members: the file itself, or those unpacked from it.
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
    place = _place(folder, manifest.path)
    place.parent.mkdir(parents=True, exist_ok=True)
    members = [[one.path, one.size_bytes, one.sha256] for one in manifest.members]
    write_whole(place, json.dumps(asdict(manifest) | {"members": members}).encode())


def read_manifest(folder: Path, file: DataFile) -> Manifest | None:
    """Read the record of ``file``; None if it never arrived."""
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
    try:
        return all((folder / one.path).stat().st_size == one.size_bytes for one in manifest.members)
    except (OSError, ValueError):
        return False


def is_there(folder: Path, file: DataFile) -> bool:
    """Return whether all that ``file`` provides is in ``folder``; contents are not read."""
    if file.pattern:
        inner = folder / file.path
        return inner.is_dir() and any(one.name != MANIFEST_FOLDER for one in inner.iterdir())
    return all((folder / place).exists() for place in file.gives or (file.path,))


def damaged(row: DatasetRow, folder: Path) -> list[str]:
    """Read every member and return a sentence for each that is missing or changed."""
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
    for path in sorted(target.rglob("*")):
        if path.is_file():
            yield Member(path.relative_to(folder).as_posix(), path.stat().st_size, sha256_of(path))
