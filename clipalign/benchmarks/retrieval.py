"""Finding a picture's captions among all, and a caption's picture: R@K both ways, in memory that does not grow as N².

R@K from image to text: share of pictures of which any caption is among the K most similar captions of the data set;
from text to image: share of captions whose picture is among the K most similar pictures. A stranger of equal similarity
counts as nearer, so that a model that gives the same vector to everything finds nothing.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from clipalign.benchmarks import statistics
from clipalign.benchmarks.long_route import LongBenchmark, LongRoute
from clipalign.benchmarks.metrics import Array
from clipalign.benchmarks.pictures import PictureSource
from clipalign.benchmarks.statistics import Statistic

if TYPE_CHECKING:
    from torch import Tensor

    from clipalign.pipeline.loaded import LoadedModel
    from clipalign.results import Provenance
    from clipalign.settings import Settings

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
