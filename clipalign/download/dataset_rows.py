"""Data sets by name, from ``datasets.toml``: what they consist of, where that is published, under which license.

A file comes from an address, from a repository of the Hub, from all files of a repository that match a pattern, or from
the user. Everything lands in the data set's own folder.
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
        path: where it lands in the data set's folder; a folder, where ``pattern`` is set.
        url: its address.
        repo: of the Hub, ``owner/name``, instead of an address.
        source: path in ``repo``; a folder, where ``pattern`` is set.
        pattern: of paths in ``repo``, for several files.
        kinds: of repository, in the order they are tried: ``dataset``, ``model``.
        sha256: in lower-case hexadecimal; empty where it is not on record.
        md5: for what is published with that.
        size_bytes: exact; 0 where unknown.
        about_bytes: for lists, where the exact size is unknown.
        gives: paths in the data set's folder that are there when an archive is unpacked; empty for what is no archive.
        into: folder that an archive is unpacked into, in the data set's own.
        by_hand: how to come by it, where it cannot be fetched; a sentence without final stop.
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
    """Pictures fetched one by one, as a file of the data set lists them.

    Attributes:
        listed_in: JSON with ``images``, each with ``file_name`` and ``coco_url``.
        needed_by: JSON whose rows name, as ``image_path``, those that are needed.
        into: folder they land in.
    """

    listed_in: str
    needed_by: str
    into: str


@dataclass(frozen=True, slots=True)
class DatasetRow:
    """A data set by name.

    Attributes:
        name: in lower case.
        title: one line for lists.
        license: in words, or SPDX.
        license_class: what it allows.
        page: where it is described.
        files: in the order they are fetched.
        needs: other data sets it is of no use without.
        pictures: fetched one by one, after the files.
        note: what a user must know about it.
    """

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
    def size_bytes(self) -> int:
        """Of all files, where known; ``pictures`` are not counted."""
        return sum(file.size_bytes or file.about_bytes for file in self.files)


def _row(table: Mapping[str, Any]) -> DatasetRow:
    """A row of the file; ``base_url`` there stands for the beginning of every file's address."""
    row = dict(table)
    base = row.pop("base_url", "")
    files = [DataFile(**({"url": f"{base}/{file['path']}"} if base else {}) | file) for file in row.pop("files")]
    pictures = Pictures(**row.pop("pictures")) if "pictures" in row else None
    return DatasetRow(**row, files=tuple(files), pictures=pictures)


DATASETS: Final[dict[str, DatasetRow]] = {
    table["name"]: _row(table) for table in read_package_rows("clipalign.download", "datasets.toml")
}
"""Name to row, in the order of lists."""
