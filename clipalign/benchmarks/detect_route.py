"""The route of the benchmarks about words: captions through the very ``detect`` that users call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from clipalign.batch.stream import Workers, wait_for
from clipalign.benchmarks.pictures import opened
from clipalign.benchmarks.shelf import Shelf, picture_key
from clipalign.benchmarks.task import Outcome, Route, Sample
from clipalign.errors import ClipalignError, InputUnreadable, record_failed
from clipalign.methods.detect import Pair, detect_each, detect_provenance
from clipalign.methods.detect_settings import DetectSettings
from clipalign.pipeline.image_tensors import to_tensor
from clipalign.results import DetectResult, Provenance, WordScore

if TYPE_CHECKING:
    from torch import Tensor

    from clipalign.pipeline.loaded import LoadedModel
    from clipalign.settings import Settings

CHUNK_SAMPLES: Final = 256
WORKERS: Final = 4
"""Threads that read and prepare pictures; the model runs in the main one."""


class DetectRoute(Route[Sample, Outcome]):
    """Captions scored word by word.

    Args:
        loaded: the model.
        settings: of the run; what is None there is as the benchmark publishes it.
        mode: the published mode of ``detect``.
        epsilon: the published threshold, None for the model's own.
    """

    chunk_samples = CHUNK_SAMPLES

    def __init__(
        self, loaded: LoadedModel, settings: Settings, *, mode: str = "threshold", epsilon: float | None = None
    ) -> None:
        names = ("template", "alignment", "batch_size")
        given = {name: getattr(settings, name) for name in names if getattr(settings, name) is not None}
        self._detect = DetectSettings(
            mode=settings.mode or mode,
            epsilon=epsilon if settings.epsilon is None else settings.epsilon,
            layers=settings.layers,
            seed=settings.seed,
            **given,
        )
        self._loaded = loaded
        self._exif = settings.protocol == "exif"
        self._threads: Workers[Tensor | ClipalignError] = Workers(WORKERS)
        self._coming: dict[object, Future[Tensor | ClipalignError]] = {}
        self.shelf: Shelf | None = None
        """What this run shares with others of a sweep."""
        self.provenance = detect_provenance(loaded, self._detect)

    def expect(self, samples: Sequence[Sample]) -> None:
        """Have threads read and prepare the pictures, unless they are at it or their vectors are known."""
        for sample in samples:
            key = _key(sample)
            if key not in self._coming and not (self.shelf and picture_key(sample) in self.shelf.features):
                self._coming[key] = self._threads.submit(partial(self._prepared, sample))

    def score(self, samples: Sequence[Sample]) -> list[Outcome | ClipalignError]:
        """Each picture of a chunk is read once, however many captions there are about it."""
        if self.shelf is None:
            return self._scored(samples, self._pictures(samples))
        found = self.shelf.found(samples, self.provenance)
        if found is None:
            found = self._scored(samples, self._shelved(samples, self.shelf))
            self.shelf.keep(samples, found, self.provenance)
        return found

    def _scored(
        self, samples: Sequence[Sample], pictures: Mapping[object, Tensor | ClipalignError]
    ) -> list[Outcome | ClipalignError]:
        found: list[Outcome | ClipalignError] = []
        pairs = []
        for sample in samples:
            picture = pictures[_key(sample)]
            if not isinstance(picture, ClipalignError):
                pairs.append(
                    Pair(picture, sample.text, references=sample.references, id=sample.id, image_name=sample.image_name)
                )
        results = iter(detect_each(self._loaded, pairs, self._detect) if pairs else ())
        for sample in samples:
            picture = pictures[_key(sample)]
            scored = picture if isinstance(picture, ClipalignError) else next(results)
            found.append(scored if isinstance(scored, ClipalignError) else _outcome(sample, scored))
        return found

    def _pictures(self, samples: Sequence[Sample]) -> dict[object, Tensor | ClipalignError]:
        """Prepared pictures, (3, S, S) each, by key."""
        self.expect(samples)
        return {key: wait_for(self._coming.pop(key), self._threads) for key in dict.fromkeys(map(_key, samples))}

    def _shelved(self, samples: Sequence[Sample], shelf: Shelf) -> dict[object, Tensor | ClipalignError]:
        """Vectors of pictures, (E) each, by key; those that are not known yet are made."""
        from clipalign.device import halving
        from clipalign.pipeline.encoder import encode_each

        unknown = {_key(sample): sample for sample in samples if picture_key(sample) not in shelf.features}
        pictures = self._pictures(list(unknown.values()))
        for key, picture in pictures.items():
            if isinstance(picture, ClipalignError):
                shelf.features[picture_key(unknown[key])] = picture
        tensors = {key: picture for key, picture in pictures.items() if not isinstance(picture, ClipalignError)}
        names = [unknown[key].image_name for key in tensors]
        vectors = halving(
            self._detect.batch_size,
            lambda size: encode_each(self._loaded, list(tensors.values()), names=names, batch_size=size),
        )
        for key, vector in zip(tensors, vectors, strict=True):
            shelf.features[picture_key(unknown[key])] = vector
        return {_key(sample): shelf.features[picture_key(sample)] for sample in samples}

    def close(self) -> None:
        """No picture is read any more."""
        self._threads.close()

    def _prepared(self, sample: Sample) -> Tensor | ClipalignError:
        try:
            return to_tensor(opened(sample.image, exif=self._exif, name=sample.image_name), self._loaded)
        except InputUnreadable as error:
            return error
        except MemoryError:
            raise
        except Exception as error:
            return record_failed(error, sample.image_name)

    def record(self, outcome: Outcome) -> dict[str, Any]:
        """The outcome, less the provenance, which is the same in every line and stands in ``run.json``."""
        record = asdict(outcome)
        del record["result"]["provenance"]
        if not record["truth"]:
            del record["truth"]
        return record

    def outcome(self, record: dict[str, Any]) -> Outcome:
        """Back from the record."""
        return read_outcome(record, self.provenance)


def read_outcome(record: dict[str, Any], provenance: Provenance) -> Outcome:
    """The outcome that :meth:`DetectRoute.record` made ``record`` of.

    Raises:
        KeyError, IndexError, TypeError, ValueError: it is no such record.
    """
    result = dict(record["result"])
    for name in ("cosine", "clip_score", "f_clip_score", "sum_negative_attribution"):
        if not isinstance(result[name], float | int):
            raise TypeError(f"{name} is no number")
    result["words"] = tuple(WordScore(**word) for word in result["words"])
    for name in ("misaligned", "unknown_words", "references", "warnings"):
        result[name] = tuple(result[name])
    span = record["false_span"]
    return Outcome(
        id=record["id"],
        text=record["text"],
        correct=record["correct"],
        part=record["part"],
        false_span=None if span is None else (span[0], span[1]),
        result=DetectResult(**result, provenance=provenance),
        truth=record.get("truth", {}),
    )


def _key(sample: Sample) -> object:
    """The same for samples of one picture: a path, or the object that the samples share."""
    return sample.image if hasattr(sample.image, "__fspath__") else id(sample.image)


def _outcome(sample: Sample, result: DetectResult) -> Outcome:
    return Outcome(
        sample.id, sample.text, sample.correct, sample.part, sample.false_span, result, truth=dict(sample.truth)
    )
