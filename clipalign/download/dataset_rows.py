"""Data sets by name, from ``datasets.toml``: their files, where these are published, and the license.

A file comes from an address, from a repository of the Hub, from all files of a repository that match a pattern, or from
the user. All go into the data set's own folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from clipalign.download.licenses import LicenseClass
from clipalign.files import read_package_rows


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file of a data set, or several of one kind.

    Attributes:
        path: in the data set's folder; a folder if ``pattern`` is set.
        repo: of the Hub, ``owner/name``, instead of ``url``.
        source: path in ``repo``; a folder if ``pattern`` is set.
        pattern: of paths in ``repo``, for several files.
        kinds: of repository, in the order they are tried: ``dataset``, ``model``.
        sha256: in lower-case hexadecimal; empty if not on record, as ``md5``.
        size_bytes: exact; 0 if unknown.
        about_bytes: for lists, if the exact size is unknown.
        gives: paths in the data set's folder after an archive is unpacked; empty for other files.
        into: folder that an archive is unpacked into, in the data set's own.
        by_hand: how to get a file that cannot be downloaded; a sentence without its period.
    """

    path: str
    url: str = ""
    repo: str = ""
    source: str = ""
    pattern: str = ""
    kinds: tuple[str, ...] = ("dataset",)
    sha256: str = ""
    md5: str = ""
    size_bytes: int = 0
    about_bytes: int = 0
    gives: tuple[str, ...] = ()
    into: str = ""
    by_hand: str = ""


@dataclass(frozen=True, slots=True)
class Pictures:
    """Pictures downloaded one by one, into the folder ``into``.

    Attributes:
        listed_in: JSON with ``images``, each with ``file_name`` and ``coco_url``.
        needed_by: JSON whose rows name the needed ones as ``image_path``.
    """

    listed_in: str
    needed_by: str
    into: str


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A data set by name (lower case), with its ``files`` in download order; ``needs`` names data sets it requires."""

    name: str
    title: str
    license: str
    license_class: LicenseClass
    page: str
    files: tuple[DataFile, ...] = ()
    needs: tuple[str, ...] = ()
    pictures: Pictures | None = None
    note: str = ""

    @property
    def by_hand_alone(self) -> bool:
        """Whether no program may fetch any of its files."""
        return all(file.by_hand for file in self.files)

    @property
    def size_bytes(self) -> int:
        """Total of all known file sizes, ``pictures`` not counted."""
        return sum(file.size_bytes or file.about_bytes for file in self.files)


def _row(table: Mapping[str, Any]) -> DatasetRow:
    """Parse a row of the file; its ``base_url`` is the prefix of every file's address."""
    row = dict(table)
    base = row.pop("base_url", "")
    files = [DataFile(**({"url": f"{base}/{file['path']}"} if base else {}) | file) for file in row.pop("files")]
    pictures = Pictures(**row.pop("pictures")) if "pictures" in row else None
    return DatasetRow(**row, files=tuple(files), pictures=pictures)


DATASETS: Final[dict[str, DatasetRow]] = {
    table["name"]: _row(table) for table in read_package_rows("download/datasets.toml")
}
