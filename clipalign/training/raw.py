"""Raw long captions from published files; torch-free.

JSON lines of image and text, ShareGPT4V's JSON (an array with a conversation per image, streamed), folders of DCI (a
JSON file per picture), and everything else that ``detect`` reads: tables, tars, folders with a text per picture. A
record that is no caption is a :class:`Skipped` with its reason, and reading goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

from clipalign.data.documents import elements_of
from clipalign.data.lines import lines_of, unbroken
from clipalign.data.readers import open_input
from clipalign.data.records import Input
from clipalign.data.sources import is_file_name
from clipalign.data.tars import TarShard
from clipalign.errors import InputUnreadable, UsageError
from clipalign.files import is_file

TEXT_KEYS: Final = ("text", "caption")
ARRAY_ENDINGS: Final = (".json", ".json.gz")
LINES_ENDINGS: Final = (".jsonl", ".ndjson", ".jsonl.gz", ".ndjson.gz")
DCI_TEXTS: Final = ("complete", "annotations", ".")  # folders of DCI that may hold the JSON files
DCI_PICTURES: Final = ("photos", "images", ".")  # folders of DCI that may hold the pictures
DCI_SPLITS: Final = "splits.json"

SHUFFLED: Final = 0.9
"""Share of samples with shuffled wrong details: data/create_sharegpt4v.py of SPECS' repository; none of DCI's."""


class RawCaption(NamedTuple):
    """A picture, as a path relative to the image root, and its caption."""

    image: str
    text: str


class Skipped(NamedTuple):
    """A record that is no caption: its place, and why, in words that can be counted."""

    reason: str
    place: str


Store = Callable[[bytes], str]
"""Writes a picture of a tar or of Parquet where training reads it, and returns its path."""


@dataclass(frozen=True, slots=True)
class RawSource:
    """Raw captions of a file, a folder, or an ``input`` as ``detect`` reads it.

    Attributes:
        dci: the JSON files of a folder of DCI.
        image_root: the default root of relative pictures; None for tars, which hold theirs.
        columns: those of ``image`` and ``text`` that ``input`` calls otherwise.
    """

    name: str
    image_root: Path | None
    dci: Path | None = None
    input: Input | None = None
    columns: Mapping[str, str] = field(default_factory=dict)

    @property
    def path(self) -> Path:
        return Path(self.name).expanduser()

    def records(self, store: Store) -> Iterator[RawCaption | Skipped]:
        """All records, always in the same order; InputUnreadable if the file is truncated, or no JSON."""
        if self.input is not None:
            yield from _input(self.input, store)
        elif self.dci is not None:
            yield from _dci(self.path, self.dci)
        elif self.name.lower().endswith(ARRAY_ENDINGS):
            yield from _array(self.path)
        else:
            yield from _lines(self.path)

    @property
    def shuffled(self) -> float:
        """Share of the samples, the first ones, that were published with the words of wrong details shuffled."""
        return 0.0 if self.dci is not None else SHUFFLED

    def identity(self) -> dict[str, Any]:
        """What identifies the source when a run is resumed."""
        size = self.path.stat().st_size if is_file(self.path) else None
        if self.dci is not None:
            size = sum(1 for _ in self.dci.iterdir())
        columns = {"columns": dict(self.columns)} if self.columns else {}
        return {"name": self.path.name, "size": size, **columns}


def open_source(name: Path | str, columns: Mapping[str, str] | None = None, *, offline: bool = False) -> RawSource:
    """The source that ``--prepare`` names; raises as :func:`clipalign.data.readers.open_input`, and if it is empty."""
    path = Path(name).expanduser()
    texts = next((path / inner for inner in DCI_TEXTS if any((path / inner).glob("*.json"))), None)
    if texts is not None:
        pictures = next(path / inner for inner in DCI_PICTURES if (path / inner).is_dir())
        return RawSource(str(name), pictures, dci=texts)
    if is_file(path) and not path.stat().st_size:
        raise UsageError(f"{path} is empty", hint="a line each: image and text", input="--prepare")
    if is_file(path) and not columns and path.name.lower().endswith((*ARRAY_ENDINGS, *LINES_ENDINGS)):
        return RawSource(str(name), path.parent)
    found = open_input([str(name)], columns=columns, offline=offline)
    packed = all(isinstance(source, TarShard) for source in found.sources)
    return RawSource(str(name), None if packed else path.parent, input=found, columns=columns or {})


def _input(found: Input, store: Store) -> Iterator[RawCaption | Skipped]:
    for record in found.records():
        place, image = str(record.place), record.image
        if record.problem is not None:
            kind = "no image" if not record.image_name else "no text" if not record.text else "unreadable record"
            yield Skipped(kind, place)
        elif isinstance(image, bytes):
            yield _raw(store(image), record.text, place)
        elif isinstance(image, Path):  # of a folder
            yield _raw(str(image.resolve()), record.text, place)
        elif is_file_name(str(image)):
            yield _raw(str(image), record.text, place)
        else:
            yield Skipped("picture at an address", place)


def _lines(path: Path) -> Iterator[RawCaption | Skipped]:
    for line in unbroken(str(path), lines_of):
        place = f"{path.name}:{line.number}"
        try:
            value = json.loads(line.content)
        except (ValueError, RecursionError):
            yield Skipped("not valid JSON", place)
        else:
            yield _read(value, place)


def _array(path: Path) -> Iterator[RawCaption | Skipped]:
    for element in unbroken(str(path), elements_of):
        yield _read(element.value, f"{path.name}:{element.line}")


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
    return _raw(image, text, place)


def _raw(image: str, text: str, place: str) -> RawCaption | Skipped:
    try:
        (image + text).encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return Skipped("not valid UTF-8", place)
    return RawCaption(image, text)


def _dci(folder: Path, texts: Path) -> Iterator[RawCaption | Skipped]:
    for path in _dci_files(folder, texts):
        try:
            value = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError):
            yield Skipped("not valid JSON", path.name)
        else:
            yield from _read_dci(value, path.name)


def _dci_files(folder: Path, texts: Path) -> list[Path]:
    """The files of the training split where ``splits.json`` names it, so that sDCI's test pictures stay unseen."""
    splits = folder / DCI_SPLITS
    if not splits.is_file():
        return sorted(texts.glob("*.json"))
    try:
        names = json.loads(splits.read_bytes())["train"]
        return [texts / Path(name).name for name in names]
    except (OSError, ValueError, RecursionError, LookupError, TypeError) as error:
        raise InputUnreadable(f"{splits} names no training split: {error}", input=str(splits)) from error


def _read_dci(value: Any, place: str) -> Iterator[RawCaption | Skipped]:
    """Each of the picture's summaries, as published; where it has none, its whole description as one caption."""
    if not isinstance(value, dict) or not isinstance(value.get("image"), str):
        yield Skipped("no image", place)
        return
    summaries = value.get("summaries")
    base = summaries.get("base") if isinstance(summaries, dict) else None
    said = base if isinstance(base, list) else [base if isinstance(base, str) else _description(value)]
    captions = [text for text in said if isinstance(text, str) and text.strip()]
    if not captions:
        yield Skipped("no text", place)
    for caption in captions:
        yield _raw(value["image"], caption, place)


def _description(value: dict[str, Any]) -> str:
    """Short and extra caption of the whole picture, then those of its parts, in order."""
    masks = value.get("mask_data")
    parts = [mask for mask in masks.values() if isinstance(mask, dict)] if isinstance(masks, dict) else []
    said = [value.get("short_caption"), value.get("extra_caption")]
    said += [part.get("caption") for part in parts if not part.get("mask_quality")]
    sentences = [text.strip() for text in said if isinstance(text, str) and text.strip()]
    return " ".join(text if text[-1] in ".!?" else f"{text}." for text in sentences)
