"""What the benchmarks about words share: how data is found, what counts as a prediction, LA and AP.

LA (localisation accuracy) is the share of false captions whose false word was found, AP the average precision of a
score. Where the data is good captions beside foils, correct captions are the positive class; where it is captions of
which some are wrong, the wrong ones are, ranked by the negated score.

The route of the benchmarks about words: captions through the very ``detect`` that users call.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clipalign.cache import data_folder
from clipalign.data.transforms import to_tensor
from clipalign.errors import ClipalignError, InputUnreadable, MissingDataset
from clipalign.evaluation import metrics as statistics
from clipalign.evaluation.metrics import Statistic
from clipalign.evaluation.published import PUBLISHED
from clipalign.evaluation.score_cache import Shelf, picture_key
from clipalign.evaluation.task import (
    WORD_OPTIONS,
    Annotations,
    Benchmark,
    BrokenSample,
    Outcome,
    Route,
    Sample,
    find_in,
    opened,
)
from clipalign.files import is_file
from clipalign.methods.detect import Pair, detect_each, detect_provenance
from clipalign.methods.settings import DetectSettings
from clipalign.results import DetectResult, Metric, Provenance, WordScore
from clipalign.runs.prefetch import Prefetcher

if TYPE_CHECKING:
    from torch import Tensor

    from clipalign.config.values import Settings
    from clipalign.models.model import LoadedModel


ABOUT: Final = "read published numbers as “about”: the papers' own tables differ by up to 0.03"
NEAREST: Final = (
    "RefCLIPScore takes the nearest of all references, as it is defined; the original code stops at the first"
)

VAL2014: Final = (
    *("val2014", "images/val2014", "images"),
    *("../coco-val2014/val2014", "../coco-val2014", "../coco/val2014", "../val2014"),
)
"""Where the pictures of COCO val2014 are looked for, from a data set's folder."""

_TRIED: Final = 50
"""Pictures looked for before a folder counts as the wrong one."""


class WordBenchmark(Benchmark[Sample, Outcome]):
    """A benchmark of ``detect`` on a data set in a folder.

    Args:
        folder: of the data; None for where ``download`` puts it.
    """

    options = WORD_OPTIONS

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = data_folder(self.name) if folder is None else folder
        self.published = PUBLISHED[self.name]

    def reread(self, record: dict[str, Any], provenance: Provenance) -> Outcome:
        """The outcome of a line of ``samples.jsonl``."""
        return read_outcome(record, provenance)

    def measure(self, outcomes: Sequence[Outcome], *, seed: int) -> list[Metric]:
        """The statistics with their intervals."""
        return [statistic.metric(seed=seed) for statistic in self.statistics(outcomes)]

    def _pictures(self, names: Iterable[str], *places: str) -> Path:
        """The folder of the pictures: the first of ``places`` that is there and holds any of the first ``names``.

        Raises:
            MissingDataset: there is none.
        """
        tried = list(dict.fromkeys(names))[:_TRIED]
        there = [self.folder / place for place in places if (self.folder / place).is_dir()]
        for folder in there:
            if any(is_file(folder / name) for name in tried):
                return folder
        if there:
            looked = Path(os.path.normpath(there[0]))  # "data/../data" is one of the places
            raise MissingDataset(
                f"{looked} holds none of the first {len(tried)} pictures of {self.name}, such as {tried[0]}"
                if tried
                else f"{self.folder} has no pictures of {self.name}",
                hint=f"clipalign download {self.name}, or --data-root with the folder that holds {places[0]}",
                input=str(looked),
            )
        return find_in(self.folder, self.name, *places)


def hashes(*files: Annotations) -> dict[str, str]:
    """Name → SHA-256, for the settings of a run."""
    return {file.path.name: file.sha256 for file in files}


def broken(id: str, image: str, what: str) -> BrokenSample:
    """A row of a data set that is not what its format says."""
    return BrokenSample(id, image, InputUnreadable(what, hint="is the file complete?", input=id))


@dataclass(frozen=True, slots=True)
class Phrase:
    """Misaligned words that follow each other.

    Attributes:
        text: the words, a space between them.
        attribution: their mean.
        words: themselves.
    """

    text: str
    attribution: float
    words: tuple[WordScore, ...]


def phrases(result: DetectResult) -> list[Phrase]:
    """The misaligned words of a result, neighbours merged, in reading order; punctuation does not part neighbours."""
    found = []
    for misaligned, run in groupby(result.words, key=lambda word: word.misaligned):
        if misaligned:
            words = tuple(run)
            mean = sum(word.attribution or 0.0 for word in words) / len(words)
            found.append(Phrase(" ".join(word.text for word in words), mean, words))
    return found


def lowest_phrase(result: DetectResult) -> Phrase | None:
    """The phrase with the smallest mean attribution."""
    return min(phrases(result), key=lambda phrase: phrase.attribution, default=None)


def localisation(
    name: str,
    outcomes: Sequence[Outcome],
    *,
    found: Callable[[Outcome], bool],
    hit: Callable[[Outcome, WordScore], bool],
) -> list[Statistic]:
    """LA over the false captions among ``outcomes``, if there are any.

    Args:
        name: of the metric.
        outcomes: false captions and others.
        found: whether the false word of a caption was found.
        hit: whether a word, taken blindly, would count; its share is the chance.
    """
    false = [outcome for outcome in outcomes if not outcome.correct]
    if not false:
        return []
    blind = [sum(hit(o, word) for word in o.result.words) / len(o.result.words) for o in false]
    values = [float(found(outcome)) for outcome in false]
    return [statistics.mean(name, [o.id for o in false], values, chance=sum(blind) / len(blind))]


def precisions(outcomes: Sequence[Outcome], *, suffix: str = "", misaligned: bool = False) -> list[Statistic]:
    """AP of CLIPScore, of F-CLIPScore, and of RefCLIPScore where there are references.

    Args:
        outcomes: correct captions and others; where all are of one kind there is nothing to tell apart, and no number.
        suffix: of the names.
        misaligned: whether false captions are the positive class, ranked by the negated score.
    """
    by_score: Mapping[str, Callable[[DetectResult], float | None]] = {
        "ap_clip_score": lambda result: result.clip_score,
        "ap_f_clip_score": lambda result: result.f_clip_score,
        "ap_ref_clip_score": lambda result: result.ref_clip_score,
    }
    found = []
    for name, score in by_score.items():
        scored = [(o, value) for o in outcomes if (value := score(o.result)) is not None]
        truth = [outcome.correct != misaligned for outcome, _ in scored]
        if any(truth) and not all(truth):
            ranked = [-value if misaligned else value for _, value in scored]
            found.append(statistics.average_precision(name + suffix, [o.id for o, _ in scored], truth, ranked))
    return found


def parts_of(outcomes: Iterable[Outcome]) -> list[str]:
    """The subsets that occur, in order of their names; none where there is only one."""
    parts = sorted({outcome.part for outcome in outcomes})
    return parts if len(parts) > 1 else []


def suffix_of(part: str) -> str:
    """``in-domain`` at the end of a metric's name: ``_in_domain``."""
    plain = "".join(character if character.isalnum() else "_" for character in part.lower())
    return f"_{plain}" if plain else ""


CHUNK_SAMPLES: Final = 256


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
        self._prefetcher: Prefetcher[Tensor] = Prefetcher()
        self.shelf: Shelf | None = None
        """What this run shares with others of a sweep."""
        self.provenance = detect_provenance(loaded, self._detect)

    def expect(self, samples: Sequence[Sample]) -> None:
        """Have threads read and prepare the pictures, unless they are at it or their vectors are known."""
        for sample in samples:
            if not (self.shelf and picture_key(sample) in self.shelf.features):
                self._prefetcher.expect(_key(sample), partial(self._prepared, sample))

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
        names = {_key(sample): sample.image_name for sample in samples}
        return {key: self._prefetcher.take(key, name) for key, name in names.items()}

    def _shelved(self, samples: Sequence[Sample], shelf: Shelf) -> dict[object, Tensor | ClipalignError]:
        """Vectors of pictures, (E) each, by key; those that are not known yet are made."""
        from clipalign.device import with_oom_retry
        from clipalign.models.encode import encode_each

        unknown = {_key(sample): sample for sample in samples if picture_key(sample) not in shelf.features}
        pictures = self._pictures(list(unknown.values()))
        for key, picture in pictures.items():
            if isinstance(picture, ClipalignError):
                shelf.features[picture_key(unknown[key])] = picture
        tensors = {key: picture for key, picture in pictures.items() if not isinstance(picture, ClipalignError)}
        names = [unknown[key].image_name for key in tensors]
        vectors = with_oom_retry(
            self._detect.batch_size,
            lambda size: encode_each(self._loaded, list(tensors.values()), names=names, batch_size=size),
        )
        for key, vector in zip(tensors, vectors, strict=True):
            shelf.features[picture_key(unknown[key])] = vector
        return {_key(sample): shelf.features[picture_key(sample)] for sample in samples}

    def close(self) -> None:
        """No picture is read any more."""
        self._prefetcher.close()

    def _prepared(self, sample: Sample) -> Tensor:
        return to_tensor(opened(sample.image, exif=self._exif, name=sample.image_name), self._loaded)

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
