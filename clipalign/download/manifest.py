"""What is remembered of the files of a data set, and whether they are still there and what they were.

Of every file of the row a note stands in ``.clipalign/`` of the data set's folder: the hash it had, where it came from,
and the size and hash of each file that an archive gave.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from clipalign.download.archives import Member
from clipalign.download.dataset_rows import DataFile, DatasetRow
from clipalign.download.fetch import Hashes, RemoteFile
from clipalign.files import is_file

NOTES_FOLDER: Final = ".clipalign"


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is remembered of a file of a data set.

    Attributes:
        path: of the row's file.
        source: where it came from.
        sha256: it had, before it was unpacked.
        size_bytes: it had.
        verified: whether a hash was on record, and it agreed.
        members: what is there because of it: path in the data set's folder, size, SHA-256.
    """

    path: str
    source: str
    sha256: str
    size_bytes: int
    verified: bool
    members: tuple[Member, ...]


def _note(folder: Path, file: DataFile) -> Path:
    plain = file.path.replace("/", "--") if file.path != "." else "all"
    return folder / NOTES_FOLDER / f"{plain}.json"


def write_manifest(folder: Path, what: Manifest) -> None:
    """Remember ``what`` in the data set's ``folder``."""
    note = _note(folder, DataFile(what.path))
    note.parent.mkdir(parents=True, exist_ok=True)
    fresh = note.with_suffix(".new")
    document = asdict(what) | {"members": [[one.path, one.size_bytes, one.sha256] for one in what.members]}
    fresh.write_text(json.dumps(document), encoding="utf-8")
    fresh.replace(note)


def read_manifest(folder: Path, file: DataFile) -> Manifest | None:
    """What is remembered of ``file``; None where it never came."""
    try:
        document: dict[str, Any] = json.loads(_note(folder, file).read_text(encoding="utf-8"))
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


def is_complete(folder: Path, what: Manifest) -> bool:
    """Whether everything is there, in its size."""
    return all(_has_size(folder / one.path, one.size_bytes) for one in what.members)


def _has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except (OSError, ValueError):
        return False


def is_there(folder: Path, file: DataFile) -> bool:
    """Whether what ``file`` gives lies in ``folder``, wherever it came from; contents are not looked at."""
    places = file.gives or (file.path,)
    if file.pattern:
        inner = folder / file.path
        return inner.is_dir() and any(one.name != NOTES_FOLDER for one in inner.iterdir())
    return all((folder / place).exists() for place in places)


def damaged(row: DatasetRow, folder: Path) -> list[str]:
    """Read everything that is remembered, and name what is missing or not what it was, a sentence each."""
    found = []
    for file in row.files:
        what = read_manifest(folder, file)
        for one in what.members if what else ():
            path = folder / one.path
            if not is_file(path):
                found.append(f"{path} is missing")
            elif _sha256(path) != one.sha256:
                found.append(f"{path} is not what it was")
    return found


def _sha256(path: Path) -> str:
    hashes = Hashes(RemoteFile(""))
    hashes.read(path, path.stat().st_size)
    return hashes.sha256


def members_of(target: Path, folder: Path) -> Iterator[Member]:
    """Every file below ``target``, by its path in ``folder``, read for its hash."""
    for path in sorted(target.rglob("*")):
        if path.is_file():
            yield Member(path.relative_to(folder).as_posix(), path.stat().st_size, _sha256(path))
