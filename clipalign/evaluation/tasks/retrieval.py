"""What the benchmarks of long captions share: pictures read ahead, texts to unit vectors, what was cut.

A model is asked with the context it was made for, as the papers did, unless the user has it stretched.

Finding a picture's captions among all, and a caption's picture: R@K both ways, in memory that does not grow as N².

R@K from image to text: share of pictures of which any caption is among the K most similar captions of the data set;
from text to image: share of captions whose picture is among the K most similar pictures. A stranger of equal similarity
counts as nearer, so that a model that gives the same vector to everything finds nothing.

``coco2017``: the 5,000 pictures of COCO val2017 and the first five captions of each.

``urban1k``: 1,000 pictures of cities, each with a caption of about a hundred words (Long-CLIP).
"""

from __future__ import annotations

import base64
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

import numpy as np
import torch

from clipalign.cache import data_folder
from clipalign.data.transforms import to_tensor
from clipalign.device import with_oom_retry
from clipalign.errors import ClipalignError, InputUnreadable, MissingDataset, TextUnusable
from clipalign.evaluation import metrics as statistics
from clipalign.evaluation.metrics import Array, Statistic
from clipalign.evaluation.published import PUBLISHED
from clipalign.evaluation.task import (
    LONG_OPTIONS,
    AnySample,
    Benchmark,
    BrokenSample,
    PictureSource,
    Route,
    files_in,
    find_in,
    opened,
    read_annotations,
)
from clipalign.methods.score_long import long_reading
from clipalign.methods.scores import provenance_of
from clipalign.models.encode import encode_images, encode_tokens
from clipalign.models.registry import LONG_CONTEXT_TOKENS
from clipalign.models.tokenize import encode_text
from clipalign.runs.prefetch import Prefetcher

if TYPE_CHECKING:
    from torch import Tensor

    from clipalign.config.values import Settings
    from clipalign.models.model import LoadedModel
    from clipalign.results import Metric, Provenance


CHUNK_SAMPLES: Final = 64

DEFAULT_BATCH: Final = 32


class PicturedTexts(AnySample, Protocol):
    """A picture and texts about it."""

    @property
    def image(self) -> PictureSource:
        """What is shown."""
        ...

    @property
    def texts(self) -> Sequence[str]:
        """Everything that is to be encoded, in order."""
        ...


P = TypeVar("P", bound=PicturedTexts)
O = TypeVar("O")  # noqa: E741


class LongRoute(Route[P, O]):
    """Pictures and their texts to unit vectors, by the encoders that ``score-long`` uses.

    Args:
        loaded: the model.
        settings: of the run; ``stretch`` is off unless the user set it.
    """

    chunk_samples = CHUNK_SAMPLES

    def __init__(self, loaded: LoadedModel, settings: Settings) -> None:
        self._loaded = long_reading(loaded, stretch=bool(settings.stretch))
        self._batch_size = settings.batch_size or DEFAULT_BATCH
        self._exif = settings.protocol == "exif"
        self._prefetcher: Prefetcher[Tensor] = Prefetcher()
        self._cuts: dict[str, int] = {}
        """How many of its texts were cut, by sample: one read back may have been counted when it was scored."""
        shaped = {"stretch": bool(settings.stretch), "context_tokens": self._loaded.context_tokens}
        self.provenance = provenance_of(self._loaded, {**shaped, "batch_size": self._batch_size}, seed=settings.seed)

    @abstractmethod
    def made(self, sample: P, image: Tensor, texts: Tensor, cut: int) -> O:
        """The outcome of a sample.

        Args:
            sample: it.
            image: the picture's unit vector (E).
            texts: its texts' unit vectors, in their order (B, E).
            cut: how many of them did not fit the context.
        """

    def expect(self, samples: Sequence[P]) -> None:
        """Have threads read and prepare the pictures, unless they are at it."""
        for sample in samples:
            self._prefetcher.expect(sample.id, partial(self._prepared, sample))

    def score(self, samples: Sequence[P]) -> list[O | ClipalignError]:
        """Pictures, then all their texts together; texts that begin alike share that."""
        self.expect(samples)
        found: dict[str, O | ClipalignError] = {}
        usable: list[tuple[P, Tensor]] = []
        for sample in samples:
            picture = self._prefetcher.take(sample.id, sample.image_name)
            if isinstance(picture, ClipalignError):
                found[sample.id] = picture
            elif not sample.texts or not all(text.strip() for text in sample.texts):
                found[sample.id] = TextUnusable("a text of the sample is empty", input=sample.id)
            else:
                usable.append((sample, picture))
        if usable:
            images = self._images([picture for _, picture in usable])
            tokens = [[encode_text(self._loaded, text) for text in sample.texts] for sample, _ in usable]
            flat = [text for texts in tokens for text in texts]
            vectors = with_oom_retry(
                self._batch_size, lambda size: encode_tokens(self._loaded, flat, batch_size=size)
            ).cpu()
            rows = torch.split(vectors, [len(texts) for texts in tokens])
            for (sample, _), image, texts, encoded in zip(usable, images, rows, tokens, strict=True):
                cut = sum(text.truncated for text in encoded)
                self._cuts[sample.id] = cut
                found[sample.id] = self.made(sample, image, texts, cut)
        return [found[sample.id] for sample in samples]

    def _images(self, prepared: list[Tensor]) -> Tensor:
        pictures = torch.stack(prepared)
        return with_oom_retry(
            self._batch_size,
            lambda size: torch.cat([encode_images(self._loaded, batch) for batch in torch.split(pictures, size)]),
        ).cpu()

    def _prepared(self, sample: P) -> Tensor:
        return to_tensor(opened(sample.image, exif=self._exif, name=sample.image_name), self._loaded)

    def record(self, outcome: O) -> dict[str, Any]:
        """All fields of the outcome, which is a dataclass of JSON's types."""
        return asdict(outcome)  # type: ignore[call-overload, no-any-return]

    def remember(self, record: dict[str, Any]) -> None:
        """How many texts of a record that was read back did not fit the context."""
        self._cuts[record["id"]] = record["cut"]

    def notes(self) -> tuple[str, ...]:
        """That texts were cut, where any was."""
        cut = sum(self._cuts.values())
        if not cut:
            return ()
        hint = "" if self._loaded.context_tokens >= LONG_CONTEXT_TOKENS else "; --stretch has it read longer ones"
        return (f"{cut:,} texts did not fit the model's {self._loaded.context_tokens} tokens and were cut{hint}",)

    def close(self) -> None:
        """No picture is read any more."""
        self._prefetcher.close()


class LongBenchmark(Benchmark[P, O]):
    """A benchmark of long captions, on a data set in a folder or on generated ones.

    Args:
        folder: of the data; None for where ``download`` puts it.
    """

    options = LONG_OPTIONS

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = data_folder(self.name) if folder is None else folder
        self.published = PUBLISHED.get(self.name, ())

    def measure(self, outcomes: Sequence[O], *, seed: int) -> list[Metric]:
        """The statistics with their intervals."""
        return [statistic.metric(seed=seed) for statistic in self.statistics(outcomes)]


BLOCK_NUMBERS: Final = 4_000_000
"""Similarities held at a time: 16 MB."""

_FLOAT: Final = np.dtype("<f4")


@dataclass(frozen=True, slots=True)
class Captioned:
    """A picture and its captions."""

    id: str
    image: PictureSource
    image_name: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Encoded:
    """Unit vectors, fp32 in little-endian bytes: of a picture (E), of its captions (B, E); how many were cut."""

    id: str
    image: bytes
    texts: bytes
    cut: int


class Ranks(NamedTuple):
    """How many strangers are at least as near as the nearest of one's own: for each picture, and for each caption."""

    of_images: Array
    of_texts: Array


class RetrievalRoute(LongRoute[Captioned, Encoded]):
    """Vectors now; ranks need those of all samples."""

    def made(self, sample: Captioned, image: Tensor, texts: Tensor, cut: int) -> Encoded:
        """The vectors."""
        return Encoded(sample.id, _bytes(image), _bytes(texts), cut)

    def record(self, outcome: Encoded) -> dict[str, Any]:
        """Vectors in base64."""
        image, texts = (base64.b64encode(part).decode("ascii") for part in (outcome.image, outcome.texts))
        return {"id": outcome.id, "image": image, "texts": texts, "cut": outcome.cut}

    def outcome(self, record: dict[str, Any]) -> Encoded:
        """Back from the record."""
        self.remember(record)
        return read_encoded(record)


def read_encoded(record: dict[str, Any]) -> Encoded:
    """The outcome of a record.

    Raises:
        KeyError, TypeError, ValueError: it is no such record.
    """
    image, texts = (base64.b64decode(record[name], validate=True) for name in ("image", "texts"))
    return Encoded(record["id"], image, texts, record["cut"])


class RetrievalBenchmark(LongBenchmark[Captioned, Encoded]):
    """A benchmark of retrieval.

    Attributes:
        at: the K of R@K.
    """

    at: tuple[int, ...] = (1,)

    def route(self, loaded: LoadedModel, settings: Settings) -> RetrievalRoute:
        """With the model's own context, unless the user has it stretched."""
        return RetrievalRoute(loaded, settings)

    def statistics(self, outcomes: Sequence[Encoded]) -> list[Statistic]:
        """R@K both ways; intervals draw pictures, with all their captions."""
        width = len(outcomes[0].image) // _FLOAT.itemsize
        images = np.stack([np.frombuffer(one.image, _FLOAT) for one in outcomes])
        blocks = [np.frombuffer(one.texts, _FLOAT).reshape(-1, width) for one in outcomes]
        counts = np.array([len(block) for block in blocks])
        return recall_statistics([one.id for one in outcomes], images, np.concatenate(blocks), counts, at=self.at)

    def reread(self, record: dict[str, Any], provenance: Provenance) -> Encoded:
        """The outcome of a line of ``samples.jsonl``."""
        return read_encoded(record)


def _bytes(vectors: Tensor) -> bytes:
    return bytes(vectors.numpy().astype(_FLOAT).tobytes())


def ranks(images: Array, texts: Array, counts: Array, *, block_numbers: int = BLOCK_NUMBERS) -> Ranks:
    """Ranks from 0 on, in blocks of pictures.

    Args:
        images: unit vectors of pictures (N, E).
        texts: of captions, those of one picture together, in the order of the pictures (M, E).
        counts: how many captions each picture has, at least 1 (N).
        block_numbers: similarities held at a time.
    """
    owners = np.repeat(np.arange(len(images)), counts)  # (M)
    own = np.einsum("me,me->m", texts, images[owners])
    best = np.maximum.reduceat(own, np.cumsum(counts) - counts)  # (N)
    of_images, of_texts = np.zeros(len(images), dtype=np.int64), np.zeros(len(texts), dtype=np.int64)
    step = max(1, block_numbers // max(1, len(texts)))
    for begin in range(0, len(images), step):
        numbers = np.arange(begin, min(begin + step, len(images)))
        similar = images[numbers] @ texts.T  # (block, M)
        strange = owners[None, :] != numbers[:, None]
        of_images[numbers] = ((similar >= best[numbers, None]) & strange).sum(1)
        of_texts += ((similar >= own[None, :]) & strange).sum(0)
    return Ranks(of_images, of_texts)


def recall_statistics(
    ids: Sequence[str], images: Array, texts: Array, counts: Array, *, at: Sequence[int]
) -> list[Statistic]:
    """R@K both ways for every K; arguments as for :func:`ranks`."""
    found = ranks(images, texts, counts)
    starts = np.cumsum(counts) - counts
    to_text = [
        statistics.mean(f"r{k}_image_to_text", ids, (found.of_images < k).tolist(), chance=_chance(counts, k))
        for k in at
    ]
    to_image = []
    for k in at:
        hits = np.add.reduceat((found.of_texts < k).astype(float), starts)
        one = statistics.ratio(f"r{k}_text_to_image", ids, hits.tolist(), counts.tolist())
        to_image.append(Statistic(one.name, one.ids, one.of, min(1.0, k / len(ids))))
    return to_text + to_image


def _chance(counts: Array, k: int) -> float:
    """Share of pictures of which a blind choice of ``k`` captions holds any."""
    total = int(counts.sum())
    if k >= total:
        return 1.0
    missed = np.ones(len(counts))
    for drawn in range(k):
        missed *= np.clip(total - counts - drawn, 0, None) / (total - drawn)
    return float(1 - missed.mean())


FILE: Final = "captions_val2017.json"
CAPTIONS: Final = 5
"""Of a picture, as is usual; a few pictures have more."""


class Coco2017(RetrievalBenchmark):
    """R@1, R@5 and R@10 both ways."""

    name = "coco2017"
    at = (1, 5, 10)

    def check(self) -> None:
        """Read the captions, find the pictures."""
        file = read_annotations(find_in(self.folder, self.name, f"annotations/{FILE}", FILE), self.name)
        document = file.json()
        try:
            self._images = [(image["id"], str(image["file_name"])) for image in document["images"]]
            self._captions: dict[Any, list[str]] = {image: [] for image, _ in self._images}
            for row in document["annotations"]:
                self._captions.setdefault(row["image_id"], []).append(str(row["caption"]).strip())
        except (KeyError, TypeError) as error:
            raise file.misbuilt("COCO's format", error) from None
        self._folder = find_in(self.folder, self.name, "val2017", "images/val2017", "images")
        self.data = {FILE: file.sha256}
        self.size = len(self._images)

    def samples(self, *, limit: int | None, seed: int) -> Iterator[Captioned | BrokenSample]:
        """Pictures in the file's order."""
        for image, name in self._images[:limit]:
            captions = [caption for caption in self._captions.get(image, []) if caption][:CAPTIONS]
            if captions:
                yield Captioned(str(image), self._folder / name, name, tuple(captions))
            else:
                yield BrokenSample(str(image), name, InputUnreadable(f"{name} has no caption", input=str(image)))


SIZE: Final = 1000
PICTURES: Final = (".jpg", ".jpeg", ".png", ".webp")


class Urban1k(RetrievalBenchmark):
    """R@1 both ways; ``image/*.jpg`` and ``caption/*.txt`` of the same stem."""

    name = "urban1k"
    size = SIZE
    at = (1,)

    def check(self) -> None:
        """Pair the files."""
        captions = find_in(self.folder, self.name, "caption", "Urban1k/caption", "urban1k/caption")
        images = find_in(captions.parent, self.name, "image")
        pictures = {file.stem: file for file in files_in(images) if file.suffix.lower() in PICTURES}
        texts = {file.stem: file for file in captions.glob("*.txt")}
        # Numbers in the order of numbers: 2 before 10.
        stems = sorted(pictures.keys() | texts.keys(), key=lambda stem: (len(stem) if stem.isdigit() else 99, stem))
        if not stems:
            raise MissingDataset(f"{captions.parent} is empty", hint="clipalign download urban1k", input=str(captions))
        self._files = [(stem, pictures.get(stem), texts.get(stem)) for stem in stems]

    def samples(self, *, limit: int | None, seed: int) -> Iterator[Captioned | BrokenSample]:
        """Pictures in the order of their names."""
        for stem, picture, caption in self._files[:limit]:
            if picture is None or caption is None:
                what = "picture" if picture is None else "caption"
                error = InputUnreadable(f"{stem} has no {what}", hint="is the data set complete?", input=stem)
                yield BrokenSample(stem, stem, error)
                continue
            try:
                text = " ".join(caption.read_text(encoding="utf-8").split())
            except (OSError, UnicodeDecodeError) as error:
                yield BrokenSample(
                    stem, picture.name, InputUnreadable(f"{caption} cannot be read: {error}", input=stem)
                )
                continue
            yield Captioned(stem, picture, picture.name, (text,))
