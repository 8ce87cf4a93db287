"""Training samples, and the order in which they are read; torch-free.

A sample is a picture and its growing prefixes, each but the last with a wrong detail. Samples come from a folder that
``--prepare`` wrote, or are generated: ``pictogram`` scenes, whose wrong details are known to be wrong. Some are held
out for validation. Samples and order are determined by seeds, so that a run can be resumed.
"""

from __future__ import annotations

import json
import math
import random
import re
import shlex
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Final, NamedTuple, Protocol

import numpy as np
from PIL.Image import Image

from clipalign.data.images import open_image
from clipalign.errors import InputUnreadable, UsageError
from clipalign.methods.settings import DEFAULT_TEMPLATE
from clipalign.pictogram.captions import FOIL_WEIGHTS, PREFIXES, write_caption
from clipalign.pictogram.long_captions import TRAIN_SPLIT, VALIDATION_SPLIT, LongSceneSample, make_long_sample

PICTOGRAM: Final = "pictogram"
PICTOGRAM_SAMPLES: Final = 6000  # scenes of --data pictogram without a number

DATA_FILE: Final = "data.json"
SAMPLES_FILE: Final = "samples.jsonl"
OFFSETS_FILE: Final = "samples.offsets"
DATA_FORMAT: Final = 2

MOST_HELD_OUT_SHARE: Final = 0.1  # of a prepared folder, whatever was asked for


class DrawnTexts(NamedTuple):
    """The texts that one step reads of a sample, each once, the whole caption first.

    ``triples`` are indices of a prefix, the next longer one, and the prefix with a wrong detail.
    """

    texts: list[str]
    triples: list[tuple[int, int, int]]


@dataclass(frozen=True, slots=True)
class SpecsSample:
    """A picture with its long caption.

    Attributes:
        name: of the picture, for messages.
        captions: its growing prefixes, at least 2.
        negatives: each prefix but the last with a wrong detail after it.
        open: the picture, RGB; raises InputUnreadable.
        shorts: a short caption (Long-CLIP's is the first sentence), then the same number of false ones for all samples.
    """

    name: str
    caption: str
    captions: tuple[str, ...]
    negatives: tuple[str, ...]
    open: Callable[[], Image]
    shorts: tuple[str, ...] = ()

    def draw(self, rng: random.Random, count: int = 1) -> DrawnTexts:
        """``count`` random prefixes, or as many as there are, each with the next one and a wrong one."""
        indices = range(min(len(self.captions) - 1, len(self.negatives)))
        numbers: dict[str, int] = {self.caption: 0}
        triples = []
        for index in sorted(rng.sample(indices, min(count, len(indices)))):
            texts = (self.captions[index], self.captions[index + 1], self.negatives[index])
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
        """Number of training samples."""
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

    Every epoch is its own permutation of all samples, padded with its beginning to a multiple of the processes. As
    published, its last batch and its last step are as small as what is left. ``batch_size`` is of one process,
    ``accumulate`` the batches of a step.
    """

    samples: int
    batch_size: int
    accumulate: int
    processes: int
    seed: int

    @property
    def steps_an_epoch(self) -> int:
        return math.ceil(math.ceil(self.samples / self.processes) / (self.batch_size * self.accumulate))

    def batches(self, step: int, rank: int) -> list[list[int]]:
        """Numbers of the samples of each batch of a step, which counts from 0 on over all epochs."""
        epoch, index = divmod(step, self.steps_an_epoch)
        padded = math.ceil(self.samples / self.processes) * self.processes
        rows = _permutation(self.samples, padded, self.seed, epoch)
        size = self.batch_size * self.processes
        first, last = index * self.accumulate * size, min((index + 1) * self.accumulate * size, padded)
        batches = (rows[begin : min(begin + size, last)] for begin in range(first, last, size))
        return [np.split(batch, self.processes)[rank].tolist() for batch in batches]

    def random(self, step: int, row: int) -> random.Random:
        return random.Random(f"specs:{self.seed}:{step // self.steps_an_epoch}:{row}")


@lru_cache(maxsize=2)
def _permutation(samples: int, length: int, seed: int, epoch: int) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.resize(np.random.default_rng([seed, epoch]).permutation(samples), length)


def open_data(name: str, *, held_out: int) -> SpecsData:
    """What ``--data`` names: a folder that ``--prepare`` wrote, ``pictogram``, or ``pictogram:N`` for N scenes.

    ``held_out`` samples are for validation; of a folder a tenth at most.

    Raises:
        UsageError: a folder that is missing, empty, or no prepared data.
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
    """A short caption of the scene and its foil, in the form that ``pictogram`` was trained on."""
    rng = random.Random(f"pictogram-short:{sample.caption.text}:{sample.number}")
    short = write_caption(rng, sample.caption.scene)
    kinds = short.foil_kinds()
    kind = rng.choices(kinds, [FOIL_WEIGHTS[kind] for kind in kinds])[0]
    introduction = rng.choices(("", DEFAULT_TEMPLATE, rng.choice(PREFIXES)), (25, 45, 30))[0]
    return introduction + short.text, introduction + short.foil(rng, kind).text


class PreparedData:
    """A folder of samples, read on access."""

    def __init__(self, folder: Path, held_out: int) -> None:
        about = _about(folder)
        self.name = str(folder)
        self.fingerprint = str(about["fingerprint"])
        self._folder = folder
        self._image_root = folder / about["image_root"]
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
                shorts=(record["caption"].replace("\n", " ").split(". ")[0],),
            )
        except (OSError, ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
            raise InputUnreadable(
                f"{path}:{row + 1} cannot be read: {error}", hint="prepare the data again", input=str(path)
            ) from error


def _check_texts(record: Mapping[str, Any]) -> None:
    """Check for at least two prefixes, since one alone has no next, and a wrong detail for all but one."""
    captions, negatives = record["captions"], record["neg_captions"]
    lists = isinstance(captions, list) and isinstance(negatives, list) and 1 < len(captions) == len(negatives) + 1
    if not lists or not all(isinstance(one, str) for one in (record["caption"], *captions, *negatives)):
        raise TypeError("its texts are not what --prepare writes")


def _about(folder: Path) -> dict[str, Any]:
    if folder.is_file():
        hint = f"make samples of it first: --prepare {shlex.quote(str(folder))} --data FOLDER"
        raise UsageError(f"{folder} is a file, not a folder of samples", hint=hint, input="--data")
    if not folder.is_dir():
        raise UsageError(
            f"there is no data folder {folder}",
            hint=f"make one with --prepare RAW --data {folder}, or take --data {PICTOGRAM}",
            input="--data",
        )
    path = folder / DATA_FILE
    if not path.is_file():
        of_others = any(folder.iterdir()) and not (folder / "prepare.json").exists()
        what = "holds data whose preparation was not finished" if any(folder.iterdir()) else "is empty"
        what = "is no folder of samples" if of_others else what
        hint = f"--prepare RAW --data {'FOLDER' if of_others else shlex.quote(str(folder))}"
        raise UsageError(f"{folder} {what}: there is no {DATA_FILE}", hint=hint, input="--data")
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
    """Offsets of all samples in the file, and the end of the last one (n + 1)."""
    offsets = array("Q")
    path = folder / OFFSETS_FILE
    try:
        offsets.frombytes(path.read_bytes())
        found = (folder / SAMPLES_FILE).stat().st_size
    except (OSError, ValueError) as error:
        raise InputUnreadable(
            f"{path} cannot be read: {error}", hint="prepare the data again", input=str(path)
        ) from error
    starts = np.array(offsets)
    if len(offsets) != samples + 1 or offsets[-1] != size or found != size or (starts[1:] < starts[:-1]).any():
        raise InputUnreadable(
            f"{folder / SAMPLES_FILE} is not the file that was prepared", hint="prepare it again", input=str(folder)
        )
    return offsets
