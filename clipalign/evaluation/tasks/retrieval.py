"""Find a picture's captions among all, and a caption's picture: R@K both ways, in memory that does not grow as N².

Urban1k, COCO and Flickr30k as Long-CLIP and SPECS measure them, and long descriptions of DOCCI and ImageInWords.

R@K from image to text: share of pictures with a caption among the K most similar captions of the data set; from text to
image: share of captions whose picture is among the K most similar. A wrong one of equal similarity ranks higher, so
that a model that gives everything the same vector finds nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import numpy as np

from clipalign.errors import MissingDataset
from clipalign.evaluation import metrics
from clipalign.evaluation.benchmark import BrokenSample, broken
from clipalign.evaluation.dataset_files import PICTURE_SUFFIXES, files_in, find_in, hashes, read_annotations
from clipalign.evaluation.metrics import Array, Statistic
from clipalign.evaluation.tasks.long_captions import LongBenchmark, LongOutcome, LongSample

if TYPE_CHECKING:
    from torch import Tensor

    from clipalign.results import Provenance

BLOCK_NUMBERS: Final = 4_000_000  # similarities held at a time: 16 MB

CAPTIONS: Final = 5  # used of a COCO picture, as is usual; a few have more

_FLOAT: Final = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class RetrievalOutcome(LongOutcome):
    """Unit vectors, fp32 in little-endian bytes: of a picture (E), of its captions (B, E). Ranks need those of all."""

    image: bytes
    texts: bytes

    @classmethod
    def of(cls, sample: LongSample, image: Tensor, texts: Tensor, *, cut: int) -> Self:
        return cls(sample.id, _bytes(image), _bytes(texts), cut=cut)

    def record(self) -> dict[str, Any]:
        image, texts = (base64.b64encode(part).decode("ascii") for part in (self.image, self.texts))
        return {"id": self.id, "image": image, "texts": texts, "cut": self.cut}

    @classmethod
    def from_record(cls, record: dict[str, Any], provenance: Provenance) -> Self:
        image, texts = (base64.b64decode(record[name], validate=True) for name in ("image", "texts"))
        return cls(record["id"], image, texts, cut=record["cut"])


def _bytes(vectors: Tensor) -> bytes:
    return bytes(vectors.numpy().astype(_FLOAT).tobytes())


class RetrievalBenchmark(LongBenchmark[RetrievalOutcome]):
    """A benchmark of retrieval; ``at`` are the K of R@K."""

    outcome_type = RetrievalOutcome
    at: tuple[int, ...] = (1,)

    def statistics(self, outcomes: Sequence[RetrievalOutcome]) -> list[Statistic]:
        width = len(outcomes[0].image) // _FLOAT.itemsize
        images = np.stack([np.frombuffer(one.image, _FLOAT) for one in outcomes])
        blocks = [np.frombuffer(one.texts, _FLOAT).reshape(-1, width) for one in outcomes]
        counts = np.array([len(block) for block in blocks])
        return recall_statistics([one.id for one in outcomes], images, np.concatenate(blocks), counts, at=self.at)


class CocoCaptions(RetrievalBenchmark):
    """Pictures and captions in COCO's format, the first five captions of each picture.

    Attributes:
        file: name of the captions, in the data set's folder or its ``annotations``.
        pictures: folders that may hold the pictures.
    """

    file: str
    pictures: tuple[str, ...]

    def read_lists(self) -> None:
        file = read_annotations(find_in(self.folder, self.name, f"annotations/{self.file}", self.file), self.name)
        document = file.json()
        try:
            self._images = [(image["id"], str(image["file_name"])) for image in document["images"]]
            self._captions: dict[Any, list[str]] = {image: [] for image, _ in self._images}
            for row in document["annotations"]:
                self._captions.setdefault(row["image_id"], []).append(str(row["caption"]).strip())
        except (KeyError, TypeError) as error:
            raise file.misbuilt("COCO's format", error) from None
        self._folder = find_in(self.folder, self.name, *self.pictures)
        self.data = hashes(file)
        self.size = len(self._images)

    def samples(self, *, limit: int | None, seed: int) -> Iterator[LongSample | BrokenSample]:
        for image, name in self._images[:limit]:
            captions = [caption for caption in self._captions.get(image, []) if caption][:CAPTIONS]
            if captions:
                yield LongSample(str(image), self._folder / name, name, tuple(captions))
            else:
                yield broken(str(image), name, f"{name} has no caption")


class DescribedPictures(RetrievalBenchmark):
    """Rows of a picture and its captions, in JSON lines or in a list of a JSON document.

    Attributes:
        file: of the rows, in the data set's folder.
        rows: key of the list in the document; empty for JSON lines.
        only: what a row must have to count, by key.
        image: key of the picture's name.
        suffix: ending of that name which rows leave out.
        captions: path of a row's captions, of which the first five count: keys joined by points, through lists.
        pictures: folders that may hold the pictures.
        remarks: what a reader must know before comparing.
    """

    file: str
    rows: str = ""
    only: dict[str, str] | None = None
    image: str
    suffix: str = ""
    captions: str
    pictures: tuple[str, ...]
    remarks: tuple[str, ...] = ()

    def read_lists(self) -> None:
        file = read_annotations(find_in(self.folder, self.name, self.file), self.name)
        try:
            rows = list(enumerate(file.json()[self.rows], 1)) if self.rows else file.json_lines()
        except (KeyError, TypeError) as error:
            raise file.misbuilt(f"{self.name}'s format", error) from None
        self._rows = [(number, row) for number, row in rows if self._counts(row)]
        self._folder = find_in(self.folder, self.name, *self.pictures)
        self.data = hashes(file)
        self.notes = tuple(filter(None, (file.note(), *self.remarks)))

    def _counts(self, row: Any) -> bool:
        """Whether the row counts; a broken one does, to be reported as unreadable."""
        return not isinstance(row, dict) or all(row.get(key) == value for key, value in (self.only or {}).items())

    def samples(self, *, limit: int | None, seed: int) -> Iterator[LongSample | BrokenSample]:
        for number, row in self._rows[:limit]:
            yield self._sample(str(number), row)

    def _sample(self, id: str, row: Any) -> LongSample | BrokenSample:
        try:
            name = row[self.image] + self.suffix
            captions = [text.strip() for text in _texts(row, self.captions.split("."))][:CAPTIONS]
        except (KeyError, TypeError, AttributeError):
            return broken(id, "", f"row {id} of {self.file} lacks {self.image} or {self.captions}")
        if not any(captions):
            return broken(id, name, f"{name} has no caption")
        return LongSample(id, self._folder / name, name, tuple(captions))


def _texts(value: Any, keys: Sequence[str]) -> list[Any]:
    if isinstance(value, list):
        return [text for one in value for text in _texts(one, keys)]
    return _texts(value[keys[0]], keys[1:]) if keys else [value]


class PairedFiles(RetrievalBenchmark):
    """``image/*.jpg`` and ``caption/*.txt`` of the same stem (Urban1k); ``tops`` are folders that may hold both."""

    tops: tuple[str, ...] = ("",)

    def read_lists(self) -> None:
        captions = find_in(self.folder, self.name, *(f"{top}/caption".lstrip("/") for top in self.tops))
        images = find_in(captions.parent, self.name, "image")
        pictures = {file.stem: file for file in files_in(images) if file.suffix.lower() in PICTURE_SUFFIXES}
        texts = {file.stem: file for file in captions.glob("*.txt")}
        # Numbers in the order of numbers: 2 before 10.
        stems = sorted(pictures.keys() | texts.keys(), key=lambda stem: (len(stem) if stem.isdigit() else 99, stem))
        if not stems:
            hint = f"clipalign download {self.name}"
            raise MissingDataset(f"{captions.parent} is empty", hint=hint, input=str(captions))
        self._files = [(stem, pictures.get(stem), texts.get(stem)) for stem in stems]

    def samples(self, *, limit: int | None, seed: int) -> Iterator[LongSample | BrokenSample]:
        for stem, picture, caption in self._files[:limit]:
            if picture is None or caption is None:
                yield broken(stem, stem, f"{stem} has no {'picture' if picture is None else 'caption'}")
                continue
            try:
                text = " ".join(caption.read_text(encoding="utf-8").split())
            except (OSError, UnicodeDecodeError) as error:
                yield broken(stem, picture.name, f"{caption} cannot be read: {error}")
                continue
            yield LongSample(stem, picture, picture.name, (text,))


class Ranks(NamedTuple):
    """How many wrong ones are at least as near as the nearest right one: for each picture, and for each caption."""

    of_images: Array
    of_texts: Array


def ranks(images: Array, texts: Array, counts: Array, *, block_numbers: int = BLOCK_NUMBERS) -> Ranks:
    """Ranks from 0 on, in blocks of pictures with ``block_numbers`` similarities at most.

    Args:
        images: unit vectors of pictures (N, E).
        texts: of captions, grouped by picture, in the order of the pictures (M, E).
        counts: how many captions each picture has, at least 1 (N).
    """
    owners = np.repeat(np.arange(len(images)), counts)  # (M)
    own = np.einsum("me,me->m", texts, images[owners])
    best = np.maximum.reduceat(own, np.cumsum(counts) - counts)  # (N)
    of_images, of_texts = np.zeros(len(images), dtype=np.int64), np.zeros(len(texts), dtype=np.int64)
    step = max(1, block_numbers // max(1, len(texts)))
    for begin in range(0, len(images), step):
        numbers = np.arange(begin, min(begin + step, len(images)))
        similar = images[numbers] @ texts.T  # (block, M)
        wrong = owners[None, :] != numbers[:, None]
        of_images[numbers] = ((similar >= best[numbers, None]) & wrong).sum(1)
        of_texts += ((similar >= own[None, :]) & wrong).sum(0)
    return Ranks(of_images, of_texts)


def recall_statistics(
    ids: Sequence[str], images: Array, texts: Array, counts: Array, *, at: Sequence[int]
) -> list[Statistic]:
    """R@K both ways for every K; arguments as for :func:`ranks`."""
    found = ranks(images, texts, counts)
    starts = np.cumsum(counts) - counts
    to_text = [
        metrics.mean(f"r{k}_image_to_text", ids, (found.of_images < k).tolist(), chance=_chance(counts, k)) for k in at
    ]
    to_image = []
    for k in at:
        hits = np.add.reduceat((found.of_texts < k).astype(float), starts)
        share = metrics.ratio(f"r{k}_text_to_image", ids, hits.tolist(), counts.tolist())
        to_image.append(replace(share, chance=min(1.0, k / len(ids))))
    return to_text + to_image


def _chance(counts: Array, k: int) -> float:
    """Mean probability that a random choice of ``k`` captions holds one of a picture's."""
    total = int(counts.sum())
    if k >= total:
        return 1.0
    missed = np.ones(len(counts))
    for drawn in range(k):
        missed *= np.clip(total - counts - drawn, 0, None) / (total - drawn)
    return float(1 - missed.mean())
