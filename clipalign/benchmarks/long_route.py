"""What the benchmarks of long captions share: pictures read ahead, texts to unit vectors, what was cut.

A model is asked with the context it was made for, as the papers did, unless the user has it stretched.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import torch

from clipalign.batch.stream import Workers, wait_for
from clipalign.benchmarks.pictures import PictureSource, opened
from clipalign.benchmarks.published import PUBLISHED
from clipalign.benchmarks.task import LONG_OPTIONS, AnySample, Benchmark, Route
from clipalign.cache import data_folder
from clipalign.device import halving
from clipalign.errors import ClipalignError, InputUnreadable, TextUnusable, record_failed
from clipalign.methods.provenance import provenance_of
from clipalign.methods.score_long import long_reading
from clipalign.pipeline.encoder import encode_images, encode_tokens
from clipalign.pipeline.image_tensors import to_tensor
from clipalign.pipeline.text import encode_text
from clipalign.registry.rows import LONG_CONTEXT_TOKENS

if TYPE_CHECKING:
    from torch import Tensor

    from clipalign.pipeline.loaded import LoadedModel
    from clipalign.results import Metric
    from clipalign.settings import Settings

CHUNK_SAMPLES: Final = 64
WORKERS: Final = 4
"""Threads that read and prepare pictures; the model runs in the main one."""

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
        self._threads: Workers[Tensor | ClipalignError] = Workers(WORKERS)
        self._coming: dict[str, Future[Tensor | ClipalignError]] = {}
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
            if sample.id not in self._coming:
                self._coming[sample.id] = self._threads.submit(partial(self._prepared, sample))

    def score(self, samples: Sequence[P]) -> list[O | ClipalignError]:
        """Pictures, then all their texts together; texts that begin alike share that."""
        self.expect(samples)
        found: dict[str, O | ClipalignError] = {}
        usable: list[tuple[P, Tensor]] = []
        for sample in samples:
            picture = wait_for(self._coming.pop(sample.id), self._threads)
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
            vectors = halving(self._batch_size, lambda size: encode_tokens(self._loaded, flat, batch_size=size)).cpu()
            rows = torch.split(vectors, [len(texts) for texts in tokens])
            for (sample, _), image, texts, encoded in zip(usable, images, rows, tokens, strict=True):
                cut = sum(text.truncated for text in encoded)
                self._cuts[sample.id] = cut
                found[sample.id] = self.made(sample, image, texts, cut)
        return [found[sample.id] for sample in samples]

    def _images(self, prepared: list[Tensor]) -> Tensor:
        pictures = torch.stack(prepared)
        return halving(
            self._batch_size,
            lambda size: torch.cat([encode_images(self._loaded, batch) for batch in torch.split(pictures, size)]),
        ).cpu()

    def _prepared(self, sample: P) -> Tensor | ClipalignError:
        try:
            return to_tensor(opened(sample.image, exif=self._exif, name=sample.image_name), self._loaded)
        except InputUnreadable as error:
            return error
        except MemoryError:
            raise
        except Exception as error:
            return record_failed(error, sample.image_name)

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
        self._threads.close()


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
