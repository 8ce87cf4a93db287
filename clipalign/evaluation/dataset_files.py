"""Read the files of a data set: paths, lists, annotation files known by their hash, pictures.

An annotation file of another version than the papers used is accepted, with a note. A truncated file, one that is no
JSON, and a Git LFS pointer are refused.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import orjson

from clipalign.data.documents import is_json_lines
from clipalign.download.dataset_rows import DATASETS
from clipalign.errors import ImageUnreadable, InputUnreadable, MissingDataset, need

if TYPE_CHECKING:
    from PIL import Image

COCO_CAPTIONS: Final = "captions_val2014.json"
LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
HASH_DIGITS: Final = 16  # of a SHA-256 in a sentence; records have all 64

PICTURE_SUFFIXES: Final = (".jpeg", ".jpg", ".png", ".webp")
COMPLETE: Final = "is the data set complete?"

_PIECE_BYTES: Final = 1 << 20
_WHOLE: Final = re.compile(r"[0-9]{1,9}")


def find_in(folder: Path, name: str, *paths: str) -> Path:
    """The first of ``paths`` within ``folder`` that exists; MissingDataset, of data set ``name``, if none does."""
    for path in paths:
        if (folder / path).exists():
            return folder / path
    if folder.is_dir():
        message = f"{folder} is not laid out as {name}: there is no {' and no '.join(paths[:3])}"
        hint = f"clipalign download {name}, or --data-root with the folder that holds {paths[0]}"
    else:
        why = "that is a file" if folder.exists() else "there is no such folder"
        message = f"the data set {name} is not in {folder}: {why}"
        hint = f"clipalign download {name}, or --data-root DIR"
    raise MissingDataset(message, hint=hint, input=str(folder))


def files_in(folder: Path) -> list[Path]:
    """Contents of a folder of a data set, sorted; InputUnreadable if it is no folder, or cannot be read."""
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputUnreadable(f"{folder} cannot be read: {error.strerror}", hint=COMPLETE, input=str(folder)) from error


def text_lines(path: Path) -> list[str]:
    """Lines of a list of a data set, stripped, without blank ones; InputUnreadable if it is missing, or no text."""
    return [line for _, line in _numbered_lines(path)]


def numbered_rows(path: Path, form: str) -> list[tuple[int, str]]:
    """Lines of a list that are a number and a text, in either order; InputUnreadable names the first of another form.

    ``form`` is ``"NUMBER FILE"``, where the text goes on to the end of the line, or ``"FILE NUMBER"``, where it has no
    space and further fields are ignored.
    """
    index = form.split().index("NUMBER")
    found = []
    for number, line in _numbered_lines(path):
        fields = line.split(maxsplit=1) if index == 0 else line.split()
        if len(fields) < 2 or not _WHOLE.fullmatch(fields[index]):
            raise InputUnreadable(f"{path}:{number} is not {form}", hint=COMPLETE, input=f"{path}:{number}")
        found.append((int(fields[index]), fields[1 - index]))
    return found


def _numbered_lines(path: Path) -> list[tuple[int, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InputUnreadable(f"{path} cannot be read: {error.strerror}", hint=COMPLETE, input=str(path)) from error
    except UnicodeDecodeError as error:
        raise InputUnreadable(f"{path} is no text", hint=COMPLETE, input=str(path)) from error
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]


@dataclass(frozen=True, slots=True)
class FileInTar:
    """A file in an uncompressed tar that is not unpacked; ``offset`` is that of its first byte."""

    tar: Path
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        """The file's bytes; ImageUnreadable if the archive cannot be read."""
        try:
            with self.tar.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as error:
            raise ImageUnreadable(
                f"{self.name} in {self.tar} cannot be read: {error.strerror}", input=str(self.tar)
            ) from error


PictureSource: TypeAlias = "Image.Image | Path | bytes | FileInTar"


def read_picture(image: PictureSource, name: str | None = None) -> tuple[Image.Image | bytes, str | None]:
    """A generated picture, or the bytes of a file, and what errors call it: ``name`` for bytes.

    ImageUnreadable if it cannot be read.
    """
    from clipalign.data.sources import name_of, read_image

    if isinstance(image, Path):
        return read_image(image), name_of(image)
    if isinstance(image, FileInTar):
        return image.read(), f"{image.name} in {image.tar}"
    return image, name


def open_picture(
    image: PictureSource, *, exif: bool = False, name: str | None = None, shorter_px: int | None = None
) -> Image.Image:
    """The picture in RGB, a generated one as it is; ImageUnreadable if a file is missing, damaged or no picture.

    ``exif`` applies the EXIF orientation, which the papers did not; ``name`` is that of bytes in errors; ``shorter_px``
    is as for :func:`clipalign.data.images.open_image`.
    """
    from clipalign.data.images import open_image  # names of benchmarks need neither this nor numpy

    found, name = read_picture(image, name)
    return open_image(found, exif=exif, name=name, shorter_px=shorter_px) if isinstance(found, bytes) else found


@dataclass(frozen=True, slots=True)
class Annotations:
    """An annotation file of ``dataset``; ``known`` is the SHA-256 of the papers' version, empty if unknown."""

    path: Path
    dataset: str
    sha256: str
    known: str = ""

    def note(self) -> str:
        """A sentence where this is another version than the known one; else an empty string."""
        if not self.known or self.sha256 == self.known:
            return ""
        return (
            f"{self.path.name} is another version than the published one: its SHA-256 begins "
            f"{self.sha256[:HASH_DIGITS]}, not {self.known[:HASH_DIGITS]}"
        )

    def json(self) -> Any:
        """Its content; MissingDataset if it is no JSON, or truncated."""
        content = self.path.read_bytes()
        if b"NaN" in content:  # Python's own JSON has it for a missing rating
            with suppress(ValueError, RecursionError):
                return json.loads(content)
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            torn = "unexpected end" in error.msg
            where = (
                f"breaks off after {len(content):,} bytes" if torn else f"is no JSON: line {error.lineno}, {error.msg}"
            )
            raise self.unusable(where) from None

    def rows(self) -> Any:
        """Its rows: what a JSON document holds, or a list of what lines of JSON or CSV do."""
        if self.path.suffix == ".csv":
            text = self.path.read_text(encoding="utf-8-sig", errors="replace")
            return list(csv.DictReader(io.StringIO(text, newline="")))
        if self.path.suffix == ".jsonl" or is_json_lines(str(self.path)):
            return [row for _, row in self.json_lines()]
        return self.json()

    def json_lines(self) -> list[tuple[int, Any]]:
        """Number and value of every line that is not blank; None for what is no JSON."""
        lines = enumerate(self.path.read_bytes().splitlines(), 1)
        return [(number, _value_or_none(line)) for number, line in lines if line.strip()]

    def misbuilt(self, form: str, error: KeyError | TypeError | AttributeError) -> MissingDataset:
        """The error for a file that is not of ``form``, as ``error`` showed."""
        why = f"it lacks {error}" if isinstance(error, KeyError) else "lists and objects are not where it has them"
        return self.unusable(f"is not {form}: {why}")

    def unusable(self, what: str) -> MissingDataset:
        """The error for a file; ``what`` is a clause such as "breaks off"."""
        return MissingDataset(
            f"{self.path} {what}; its SHA-256 begins {self.sha256[:HASH_DIGITS]}",
            hint=f"mend it, or delete it and fetch it again: clipalign download {self.dataset}",
            input=str(self.path),
        )


def _value_or_none(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError:
        return None


def read_annotations(path: Path, dataset: str) -> Annotations:
    """Read and hash the file at ``path``; MissingDataset if it cannot be read, is empty, or is a Git LFS pointer."""
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
    files = DATASETS[dataset].files if dataset in DATASETS else ()
    known = next((file.sha256 for file in files if Path(file.path).name == path.name), "")
    found = Annotations(path, dataset, digest.hexdigest(), known)
    if not size:
        raise found.unusable("is empty")
    if start == LFS_POINTER:
        raise found.unusable(f"is a Git LFS pointer of {size} bytes, not the file it stands for")
    return found


def coco_captions(folder: Path, dataset: str) -> Annotations | None:
    """COCO's captions of val2014, beside the data set's or COCO's own files."""
    names = (COCO_CAPTIONS, f"annotations/{COCO_CAPTIONS}")
    paths = [folder / top / name for top in ("", "../coco", "../coco-val2014") for name in names]
    return next((read_annotations(path, dataset) for path in paths if path.is_file()), None)


def captions_by_image(captions: Annotations) -> dict[Any, tuple[tuple[Any, str], ...]]:
    """Number of a picture → number and text of its captions."""
    found: dict[Any, tuple[tuple[Any, str], ...]] = {}
    try:
        for row in captions.json()["annotations"]:
            found[row["image_id"]] = (*found.get(row["image_id"], ()), (row["id"], row["caption"].strip()))
    except (KeyError, TypeError, AttributeError) as error:
        raise captions.misbuilt("COCO's format", error) from None
    return found


def hashes(*files: Annotations) -> dict[str, str]:
    return {file.path.name: file.sha256 for file in files}


def open_parquet(path: Path, dataset: str, columns: Sequence[str]) -> Any:
    """A ``pyarrow.parquet.ParquetFile`` that has ``columns``, or MissingDataset; MissingExtra without pyarrow."""
    parquet = need("pyarrow.parquet", extra="parquet", what="reading Parquet")
    try:
        file = parquet.ParquetFile(path)
    except (OSError, ValueError) as error:
        raise bad_parquet(path, dataset, error) from error
    lacking = [name for name in columns if name not in file.schema_arrow.names]
    if lacking:
        raise bad_parquet(path, dataset, ValueError(f"it has no column {', '.join(lacking)}"))
    return file


def bad_parquet(path: Path, dataset: str, error: Exception) -> MissingDataset:
    """The error for an unreadable Parquet file; pyarrow may find damage only while reading rows."""
    why = str(error).partition("\n")[0].rstrip(".") or type(error).__name__
    return MissingDataset(
        f"{path} is no Parquet file of {dataset}: {why}",
        hint=f"delete it and fetch it again: clipalign download {dataset}",
        input=str(path),
    )
