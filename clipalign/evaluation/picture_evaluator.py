"""What evaluators of pictures share: threads that prepare them, encoded as a command does, or taken from those kept."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from clipalign.errors import ClipalignError
from clipalign.evaluation.benchmark import Evaluator, O, S, Sample
from clipalign.evaluation.dataset_files import open_picture, read_picture
from clipalign.models.encode import EncodedPicture
from clipalign.models.vector_store import VectorStore
from clipalign.runs.prefetch import Prefetcher

if TYPE_CHECKING:
    from torch import Tensor

    from clipalign.data.transforms import PreparedPicture
    from clipalign.evaluation.settings import EvalSettings
    from clipalign.methods.scores import Scorer


class _ToEncode(NamedTuple):
    picture: PreparedPicture
    identity: str


class PictureEvaluator(Evaluator[S, O]):
    """An evaluator whose pictures are read and prepared by threads while the model runs.

    Args:
        scorer: the command's.
        keep_gb: for the vectors on disk where the user does not say how much.

    Attributes:
        known: pictures that this run shares with others of the process, by :func:`picture_key`; None for none.
    """

    def __init__(self, scorer: Scorer[Any], settings: EvalSettings, *, keep_gb: float = 0) -> None:
        self.known: dict[str, EncodedPicture | ClipalignError] | None = None
        self._scorer = scorer
        self._exif = settings.protocol == "exif"
        self._prefetcher: Prefetcher[EncodedPicture | _ToEncode] = Prefetcher()
        self._asked = settings.keep_vectors is not None  # else a resumed run would have another note than a whole one
        keep_gb = keep_gb if settings.keep_vectors is None else settings.keep_vectors
        self._store = VectorStore(scorer.picture_key, keep_gb=keep_gb, cache_dir=settings.cache_dir)
        self._encoded = self._kept = 0

    def expect(self, samples: Sequence[S]) -> None:
        for sample in samples:
            if self._known(sample) is None:
                self._prefetcher.expect(source_key(sample), partial(self._prepared, sample))

    def score(self, samples: Sequence[S]) -> list[O | ClipalignError]:
        pictures = self.pictures(samples)
        found = [pictures[source_key(one)] for one in samples]
        read = [
            (sample, one.vectors) for sample, one in zip(samples, found, strict=True) if isinstance(one, EncodedPicture)
        ]
        outcomes = iter(self.outcomes(read) if read else ())
        return [one if isinstance(one, ClipalignError) else next(outcomes) for one in found]

    @abstractmethod
    def outcomes(self, read: list[tuple[S, Tensor]]) -> Iterable[O | ClipalignError]:
        """An outcome, or an error, for each sample, at least one, and the vectors of its picture (1 + N, E)."""

    def pictures(self, samples: Sequence[S]) -> dict[object, EncodedPicture | ClipalignError]:
        """Encoded pictures by :func:`source_key`, each once, or why there is none."""
        self.expect(samples)
        distinct = {source_key(one): one for one in samples}
        read = {key: self._known(one) or self._prefetcher.take(key, one.image_name) for key, one in distinct.items()}
        waiting = {key: one for key, one in read.items() if isinstance(one, _ToEncode)}
        found = {key: one for key, one in read.items() if not isinstance(one, _ToEncode)}
        encoded = self._encode([one.picture for one in waiting.values()]) if waiting else ()
        for (key, one), picture in zip(waiting.items(), encoded, strict=True):
            found[key] = picture if isinstance(picture, ClipalignError) else self._store.keep(one.identity, picture)
        if self.known is not None:
            self.known.update((picture_key(one), found[key]) for key, one in distinct.items())
        whole = [one for one in found.values() if isinstance(one, EncodedPicture)]
        self._encoded += len(whole)
        self._kept += sum(one.is_kept for one in whole)
        return found

    def notes(self, outcomes: Sequence[O]) -> tuple[str, ...]:
        if not self._kept or not self._asked:
            return ()
        return (f"vectors of {self._kept:,} of {self._encoded:,} images are kept ones (--keep-vectors)",)

    def close(self) -> None:
        self._prefetcher.close()

    def _encode(self, prepared: Sequence[PreparedPicture]) -> Sequence[EncodedPicture | ClipalignError]:
        return self._scorer.encode(prepared)

    def _known(self, sample: S) -> EncodedPicture | ClipalignError | None:
        return None if self.known is None else self.known.get(picture_key(sample))

    def _prepared(self, sample: S) -> EncodedPicture | _ToEncode:
        content, name = read_picture(sample.image, sample.image_name)
        identity = self._store.identity(content, exif=self._exif)
        if (kept := self._store.get(identity)) is not None:
            return kept
        picture = open_picture(content, exif=self._exif, name=name, shorter_px=self._scorer.shorter_px)
        return _ToEncode(self._scorer.prepare(picture), identity)


def source_key(sample: Sample) -> object:
    """The same for samples of one picture: its path, or the object that the samples share."""
    return sample.image if hasattr(sample.image, "__fspath__") else id(sample.image)


def picture_key(sample: Sample) -> str:
    """The same for samples of one picture, however often they are made."""
    if hasattr(sample.image, "__fspath__"):
        return str(sample.image)
    return sample.id if isinstance(sample.image, bytes) else sample.image_name
