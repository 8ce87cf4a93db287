"""Raw long captions from published files, training samples, and the order in which they are read; torch-free.

Raw captions are JSON lines of image and text, ShareGPT4V's JSON (an array with a conversation per image, streamed), and
folders of DCI (a JSON file per picture, with captions of its parts). A record that is no caption is a :class:`Skipped`
with its reason, never an end.

A training sample is a picture and its growing prefixes, each with a wrong detail. Samples come from a folder that
``--prepare`` wrote, or are generated: ``pictogram`` scenes, whose wrong details are known to be wrong. Some are held
out for validation and never trained on. Samples and order follow from numbers, so that a run can be resumed.
"""

from __future__ import annotations

import json
import random
import re
from array import array
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, Protocol

import numpy as np
from PIL.Image import Image

from clipalign.data.documents import elements_of
from clipalign.data.images import open_image
from clipalign.data.lines import BREAKS, broken_off, lines_of, named, opened
from clipalign.errors import InputUnreadable, UsageError
from clipalign.methods.settings import DEFAULT_TEMPLATE
from clipalign.pictogram.captions import FOIL_WEIGHTS, PREFIXES, write_caption
from clipalign.pictogram.long_captions import TRAIN_SPLIT, VALIDATION_SPLIT, LongSceneSample, make_long_sample

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
        files = [_dci_folders(self.path)[0]] if self.path.is_dir() else [self.path]
        stats = [file.stat() for file in files]
        size = sum(1 for _ in files[0].iterdir()) if self.path.is_dir() else stats[0].st_size
        return {"name": self.path.name, "size": size}


def open_source(path: Path) -> RawSource:
    """The source that ``--prepare`` names.

    Raises:
        UsageError: there is none, it is empty, or of an unsupported type.
    """
    if path.is_dir():
        return RawSource(path, _dci_folders(path)[1])
    if not path.is_file():
        raise UsageError(f"there is no file or folder {path}", hint="check the path", input="--prepare")
    if not path.name.lower().endswith((*ARRAY_ENDINGS, *LINES_ENDINGS)):
        raise UsageError(
            f"{path} is an unsupported file type",
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
    return _raw(image, text, place)


def _raw(image: str, text: str, place: str) -> RawCaption | Skipped:
    try:
        (image + text).encode()
    except UnicodeEncodeError:  # half of a surrogate pair
        return Skipped("not valid UTF-8", place)
    return RawCaption(image, text)


def _dci_folders(folder: Path) -> tuple[Path, Path]:
    """The folders of DCI's JSON files and of its pictures."""
    texts = next((folder / name for name in DCI_TEXTS if any((folder / name).glob("*.json"))), None)
    if texts is None:
        what = "holds no JSON files" if any(folder.iterdir()) else "is empty"
        raise UsageError(f"{folder} {what}", hint="a folder of DCI has complete/*.json and photos/", input="--prepare")
    return texts, next(folder / name for name in DCI_PICTURES if (folder / name).is_dir())


def _dci(folder: Path) -> Iterator[RawCaption | Skipped]:
    texts, _ = _dci_folders(folder)
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
    return _raw(value["image"], " ".join(closed), place)


PICTOGRAM: Final = "pictogram"
PICTOGRAM_SAMPLES: Final = 6000
"""Scenes of ``--data pictogram``, where it names no number."""

DATA_FILE: Final = "data.json"
SAMPLES_FILE: Final = "samples.jsonl"
OFFSETS_FILE: Final = "samples.offsets"
DATA_FORMAT: Final = 1

MOST_HELD_OUT_SHARE: Final = 0.1
"""Of a prepared folder; validation takes no more of it than this, whatever was asked for."""


class DrawnTexts(NamedTuple):
    """The texts of a sample that one step reads, each once.

    Attributes:
        texts: the whole caption first.
        triples: places among them of a prefix, the next longer one, and the prefix with a wrong detail.
    """

    texts: list[str]
    triples: list[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class SpecsSample:
    """A picture with its long caption.

    Attributes:
        name: of the picture, for messages.
        caption: the whole one.
        captions: its growing prefixes, at least 2.
        negatives: each prefix with a wrong detail after it; of all prefixes, or of all but the last.
        open: the picture, RGB; raises InputUnreadable.
        shorts: a short caption, then false versions of it, as many for every sample of the data.
    """

    name: str
    caption: str
    captions: tuple[str, ...]
    negatives: tuple[str, ...]
    open: Callable[[], Image]
    shorts: tuple[str, ...] = ()

    def draw(self, rng: random.Random, count: int = 1) -> DrawnTexts:
        """``count`` prefixes at random, or as many as there are; with each the next one, and one that is wrong."""
        places = range(min(len(self.captions) - 1, len(self.negatives)))
        numbers: dict[str, int] = {self.caption: 0}
        triples = []
        for place in sorted(rng.sample(places, min(count, len(places)))):
            texts = (self.captions[place], self.captions[place + 1], self.negatives[place])
            base, detail, negative = (numbers.setdefault(text, len(numbers)) for text in texts)
            triples.append((base, detail, negative))
        return DrawnTexts(list(numbers), triples)


class SpecsData(Protocol):
    """Samples by number."""

    name: str
    """For messages and settings."""
    fingerprint: str
    """Differs where any sample does; a run is resumed with the same data only."""

    def __len__(self) -> int:
        """How many there are to train on."""
        ...

    def sample(self, number: int) -> SpecsSample:
        """Training sample ``number``, from 0 on."""
        ...

    def held_out(self) -> list[SpecsSample]:
        """Samples for validation, never trained on."""
        ...


@dataclass(frozen=True, slots=True)
class Order:
    """Which samples each step reads, and where it cuts their captions.

    Every epoch is a permutation of its own of all samples; what does not fill a step at its end is left out.

    Attributes:
        samples: how many there are.
        step_samples: samples a step, of all processes and all accumulated batches together, at most ``samples``.
        seed: decides everything.
    """

    samples: int
    step_samples: int
    seed: int

    @property
    def steps_an_epoch(self) -> int:
        """At least 1."""
        return self.samples // self.step_samples

    def rows(self, step: int) -> list[int]:
        """Numbers of the samples of a step, which counts from 0 on over all epochs."""
        epoch, place = divmod(step, self.steps_an_epoch)
        permutation = _permutation(self.samples, self.seed, epoch)
        return [int(row) for row in permutation[place * self.step_samples : (place + 1) * self.step_samples]]

    def random(self, step: int, row: int) -> random.Random:
        """The random numbers of one sample in the epoch that ``step`` belongs to."""
        return random.Random(f"specs:{self.seed}:{step // self.steps_an_epoch}:{row}")


@lru_cache(maxsize=2)
def _permutation(samples: int, seed: int, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.random.default_rng([seed, epoch]).permutation(samples)


def open_data(name: str, *, held_out: int) -> SpecsData:
    """What ``--data`` names.

    Args:
        name: a folder that ``--prepare`` wrote; or ``pictogram``, or ``pictogram:N`` for N scenes.
        held_out: samples for validation; a folder gives a tenth of its samples at most.

    Raises:
        UsageError: no such folder, one that is empty, or one that is no prepared data.
        InputUnreadable: its files are damaged.
    """
    if found := re.fullmatch(rf"{PICTOGRAM}(?::(\d{{1,9}}))?", name):
        samples = int(found[1] or PICTOGRAM_SAMPLES)
        if samples < 1:
            raise UsageError(f"{name} has no scenes", hint=f"{PICTOGRAM}:{PICTOGRAM_SAMPLES}", input="--data")
        return PictogramData(samples, held_out)
    if name.startswith(f"{PICTOGRAM}:"):
        raise UsageError(
            f"{name} must end with a number of scenes", hint=f"{PICTOGRAM}:{PICTOGRAM_SAMPLES}", input="--data"
        )
    return PreparedData(Path(name).expanduser(), held_out)


class PictogramData:
    """Generated scenes with long captions, made when they are asked for."""

    def __init__(self, samples: int, held_out: int) -> None:
        self.name = f"{PICTOGRAM}:{samples}"
        self.fingerprint = self.name
        self._samples = samples
        self._held_out = held_out

    def __len__(self) -> int:
        return self._samples

    def sample(self, number: int) -> SpecsSample:
        return _of_scene(make_long_sample(number, split=TRAIN_SPLIT))

    def held_out(self) -> list[SpecsSample]:
        return [_of_scene(make_long_sample(number, split=VALIDATION_SPLIT)) for number in range(self._held_out)]


def _of_scene(sample: LongSceneSample) -> SpecsSample:
    caption = sample.caption
    return SpecsSample(
        name=f"scene-{sample.number}",
        caption=caption.text,
        captions=caption.prefixes(),
        negatives=caption.wrong_prefixes(),
        open=sample.picture,
        shorts=_shorts(sample),
    )


def _shorts(sample: LongSceneSample) -> tuple[str, ...]:
    """A short caption of the scene and its foil, written and introduced as those that ``pictogram`` learned from."""
    rng = random.Random(f"pictogram-short:{sample.caption.text}:{sample.number}")
    short = write_caption(rng, sample.caption.scene)
    kinds = short.foil_kinds()
    kind = rng.choices(kinds, [FOIL_WEIGHTS[kind] for kind in kinds])[0]
    introduction = rng.choices(("", DEFAULT_TEMPLATE, rng.choice(PREFIXES)), (25, 45, 30))[0]
    return introduction + short.text, introduction + short.foil(rng, kind).text


class PreparedData:
    """A folder of samples; lines are read when they are asked for."""

    def __init__(self, folder: Path, held_out: int) -> None:
        about = _about(folder)
        self.name = str(folder)
        self.fingerprint = str(about["fingerprint"])
        self._folder = folder
        self._image_root = Path(about["image_root"])
        self._offsets = _offsets(folder, int(about["samples"]), int(about["bytes"]))
        count = len(self._offsets) - 1
        permutation = np.random.default_rng(0).permutation(count)  # whoever resumes or validates holds out the same
        out = min(held_out, int(count * MOST_HELD_OUT_SHARE))
        self.held = out
        """Samples held out; fewer than asked for where these were more than :data:`MOST_HELD_OUT_SHARE`."""
        self._out = sorted(int(row) for row in permutation[:out])
        self._in = np.sort(permutation[out:])

    def __len__(self) -> int:
        return len(self._in)

    def sample(self, number: int) -> SpecsSample:
        return self._read(int(self._in[number]))

    def held_out(self) -> list[SpecsSample]:
        return [self._read(row) for row in self._out]

    def _read(self, row: int) -> SpecsSample:
        begin, end = self._offsets[row], self._offsets[row + 1]
        path = self._folder / SAMPLES_FILE
        try:
            with path.open("rb") as file:
                file.seek(begin)
                record = json.loads(file.read(end - begin))
            image = str(record["image"])
            _check_texts(record)
            return SpecsSample(
                name=image,
                caption=record["caption"],
                captions=tuple(record["captions"]),
                negatives=tuple(record["neg_captions"]),
                open=partial(open_image, self._image_root / image),
                shorts=(record["captions"][0],),
            )
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise InputUnreadable(
                f"{path}:{row + 1} cannot be read: {error}", hint="prepare the data again", input=str(path)
            ) from error


def _check_texts(record: Mapping[str, Any]) -> None:
    """See that a sample's texts are texts: at least two prefixes, for one alone has no next; as many wrong ones.

    Raises:
        TypeError, KeyError: they are not.
    """
    captions, negatives = record["captions"], record["neg_captions"]
    lists = isinstance(captions, list) and isinstance(negatives, list) and 1 < len(captions) == len(negatives)
    if not lists or not all(isinstance(one, str) for one in (record["caption"], *captions, *negatives)):
        raise TypeError("its texts are not what --prepare writes")


def _about(folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        raise UsageError(
            f"there is no data folder {folder}",
            hint=f"make one with --prepare RAW --data {folder}, or take --data {PICTOGRAM}",
            input="--data",
        )
    path = folder / DATA_FILE
    if not path.is_file():
        what = "holds data whose preparation was not finished" if any(folder.iterdir()) else "is empty"
        raise UsageError(
            f"{folder} {what}: there is no {DATA_FILE}", hint=f"--prepare RAW --data {folder}", input="--data"
        )
    try:
        about = json.loads(path.read_text(encoding="utf-8"))
        if about["format"] != DATA_FORMAT:
            raise UsageError(f"{path} was written by another version", hint="prepare the data again", input="--data")
        if not all(isinstance(about[name], int) for name in ("samples", "bytes")):
            raise TypeError
        if not all(isinstance(about[name], str) for name in ("fingerprint", "image_root")):
            raise TypeError
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path} describes no training data", hint="prepare it again", input="--data") from error
    if not about["samples"]:
        raise UsageError(f"{folder} has no samples", hint="see what was skipped when it was prepared", input="--data")
    return dict(about)


def _offsets(folder: Path, samples: int, size: int) -> Sequence[int]:
    """Where each sample begins in the file, and where the last one ends (n + 1)."""
    offsets = array("Q")
    path = folder / OFFSETS_FILE
    try:
        offsets.frombytes(path.read_bytes())
        found = (folder / SAMPLES_FILE).stat().st_size
    except (OSError, ValueError) as error:
        raise InputUnreadable(
            f"{path} cannot be read: {error}", hint="prepare the data again", input=str(path)
        ) from error
    places = np.array(offsets)
    if len(offsets) != samples + 1 or offsets[-1] != size or found != size or (places[1:] < places[:-1]).any():
        raise InputUnreadable(
            f"{folder / SAMPLES_FILE} is not the file that was prepared", hint="prepare it again", input=str(folder)
        )
    return offsets
