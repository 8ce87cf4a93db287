"""Raw long captions, one after another, from the files in which they are published.

Read are JSON lines of image and text, ShareGPT4V's JSON (an array with a conversation an image, streamed), and folders
of DCI (a JSON file a picture, with captions of its parts). A record that is no caption is a ``Skipped`` with its
reason, never an end. Torch-free.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from clipalign.errors import InputUnreadable, UsageError
from clipalign.inputs.documents import elements_of
from clipalign.inputs.files import BREAKS, broken_off, lines_of, named, opened

TEXT_KEYS: Final = ("text", "caption")
ARRAY_ENDINGS: Final = (".json", ".json.gz")
LINES_ENDINGS: Final = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
DCI_TEXTS: Final = ("complete", "annotations", ".")
"""Folders of DCI in which the JSON files may lie."""
DCI_PICTURES: Final = ("photos", "images", ".")
"""Folders of DCI in which the pictures may lie."""


class RawCaption(NamedTuple):
    """A picture and what is said about it, as found.

    Attributes:
        image: its path, relative to the image root.
        text: the whole caption.
    """

    image: str
    text: str


class Skipped(NamedTuple):
    """A record that is no caption: why, in words that can be counted, and where."""

    reason: str
    place: str


@dataclass(frozen=True, slots=True)
class RawSource:
    """A file or folder of raw captions.

    Attributes:
        path: of it.
        image_root: where relative pictures are looked for when the user names no place.
    """

    path: Path
    image_root: Path

    def records(self) -> Iterator[RawCaption | Skipped]:
        """All records in their order, which is always the same.

        Raises:
            InputUnreadable: the file breaks off, or is no JSON.
        """
        if self.path.is_dir():
            yield from _dci(self.path)
        elif self.path.name.lower().endswith(ARRAY_ENDINGS):
            yield from _array(self.path)
        else:
            yield from _lines(self.path)

    def identity(self) -> dict[str, Any]:
        """What tells whether this is the same source as in an earlier run."""
        files = [_dci_file(self.path)[0]] if self.path.is_dir() else [self.path]
        stats = [file.stat() for file in files]
        size = sum(1 for _ in files[0].iterdir()) if self.path.is_dir() else stats[0].st_size
        return {"name": self.path.name, "size": size}


def open_source(path: Path) -> RawSource:
    """The source that ``--prepare`` names.

    Raises:
        UsageError: there is none, it is empty, or of a kind that is not read.
    """
    if path.is_dir():
        texts, pictures = _dci_file(path)
        del texts
        return RawSource(path, pictures)
    if not path.is_file():
        raise UsageError(f"there is no file or folder {path}", hint="check the path", input="--prepare")
    if not path.name.lower().endswith((*ARRAY_ENDINGS, *LINES_ENDINGS)):
        raise UsageError(
            f"{path} is of a kind that is not read",
            hint="JSON lines (.jsonl), ShareGPT4V's .json, or a folder of DCI",
            input="--prepare",
        )
    if not path.stat().st_size:
        raise UsageError(f"{path} is empty", hint="a line each: image and text", input="--prepare")
    return RawSource(path, path.parent)


def _lines(path: Path) -> Iterator[RawCaption | Skipped]:
    with _reading(path) as stream:
        for line in lines_of(stream):
            place = f"{path.name}:{line.number}"
            try:
                value = json.loads(line.content)
            except (ValueError, RecursionError):
                yield Skipped("not valid JSON", place)
            else:
                yield _read(value, place)


def _array(path: Path) -> Iterator[RawCaption | Skipped]:
    with _reading(path) as stream:
        for element in elements_of(stream):
            yield _read(element.value, f"{path.name}:{element.line}")


@contextmanager
def _reading(path: Path) -> Iterator[BinaryIO]:
    """The bytes of a file; what ends their reading names it."""
    with opened(str(path)) as stream:
        try:
            yield stream
        except InputUnreadable as error:
            raise named(str(path), error) from error.__cause__
        except BREAKS as error:
            raise broken_off(str(path), error) from error


def _read(value: Any, place: str) -> RawCaption | Skipped:
    """One record: ``image`` with ``text`` or ``caption``, or with a conversation whose first answer is the caption."""
    if not isinstance(value, dict):
        return Skipped("not an object", place)
    image = value.get("image")
    if not isinstance(image, str) or not image.strip():
        return Skipped("no image", place)
    text = next((value[key] for key in TEXT_KEYS if isinstance(value.get(key), str)), None)
    if text is None and isinstance(value.get("conversations"), list):
        answers = (turn for turn in value["conversations"] if isinstance(turn, dict) and turn.get("from") == "gpt")
        text = next((turn["value"] for turn in answers if isinstance(turn.get("value"), str)), None)
    if text is None or not text.strip():
        return Skipped("no text", place)
    return RawCaption(image, text)


def _dci_file(folder: Path) -> tuple[Path, Path]:
    """Where the JSON files of a DCI folder lie, and where its pictures."""
    texts = next((folder / name for name in DCI_TEXTS if any((folder / name).glob("*.json"))), None)
    if texts is None:
        what = "holds no JSON files" if any(folder.iterdir()) else "is empty"
        raise UsageError(f"{folder} {what}", hint="a folder of DCI has complete/*.json and photos/", input="--prepare")
    return texts, next(folder / name for name in DCI_PICTURES if (folder / name).is_dir())


def _dci(folder: Path) -> Iterator[RawCaption | Skipped]:
    texts, _ = _dci_file(folder)
    for path in sorted(texts.glob("*.json")):
        try:
            value = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            yield Skipped("not valid JSON", path.name)
            continue
        yield _read_dci(value, path.name)


def _read_dci(value: Any, place: str) -> RawCaption | Skipped:
    """Short and extra caption of the whole picture, then what is said of its parts, the first ones first."""
    if not isinstance(value, dict) or not isinstance(value.get("image"), str):
        return Skipped("no image", place)
    said = [value.get("short_caption"), value.get("extra_caption")]
    masks = value.get("mask_data")
    for mask in masks.values() if isinstance(masks, dict) else ():
        if isinstance(mask, dict) and not mask.get("mask_quality"):
            said.append(mask.get("caption"))
    sentences = [text.strip() for text in said if isinstance(text, str) and text.strip()]
    if not sentences:
        return Skipped("no text", place)
    closed = [text if text[-1] in ".!?" else f"{text}." for text in sentences]
    return RawCaption(value["image"], " ".join(closed))
