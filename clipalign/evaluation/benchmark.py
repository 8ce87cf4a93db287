"""The contract between a benchmark, the evaluator that scores its samples, and the code that runs both.

A :class:`Benchmark` has samples, the :class:`Evaluator` that scores them, and statistics of the outcomes. An evaluator
is the code that a command runs, so that a benchmark measures what users get. An :class:`Outcome` is what it found about
one sample, and a line of ``samples.jsonl``.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from inspect import get_annotations
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, Self, TypeVar

from clipalign.cache import data_folder
from clipalign.data.words import Span
from clipalign.errors import ClipalignError, InputUnreadable
from clipalign.eval_results import Metric, Published
from clipalign.evaluation.published import PUBLISHED
from clipalign.results import DetectResult, Provenance, WordScore

if TYPE_CHECKING:
    from PIL import Image

    from clipalign.evaluation.dataset_files import PictureSource
    from clipalign.evaluation.metrics import Statistic
    from clipalign.evaluation.settings import EvalSettings
    from clipalign.models.model import LoadedModel

RECORD_ERRORS: Final = (KeyError, IndexError, TypeError, ValueError, AttributeError)  # of malformed records

WORD_OPTIONS: Final = ("mode", "epsilon", "layers", "template", "fast_decode")
CLASS_OPTIONS: Final = ("method", "crops", "alpha", "image_logscale", "text_logscale", "template")
CLASS_FILES: Final = ("descriptions", "templates", "words")
LONG_OPTIONS: Final = ("stretch", "fast_decode")
"""Settings used by benchmarks of words, of classes, of classes that are read from files, of long captions."""


class Sample(Protocol):
    @property
    def id(self) -> str: ...

    @property
    def image(self) -> PictureSource: ...

    @property
    def image_name(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an evaluator found about a sample; holds no picture."""

    id: str

    def record(self) -> dict[str, Any]:
        """A line of ``samples.jsonl``, in JSON's types; ``id`` comes first."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: dict[str, Any], provenance: Provenance) -> Self:
        """The exact inverse of :meth:`record`, without a model; raises :data:`RECORD_ERRORS` for a malformed record."""
        return cls(**record)


S = TypeVar("S", bound=Sample)
O = TypeVar("O", bound=Outcome)  # noqa: E741


@dataclass(frozen=True, slots=True)
class CaptionSample:
    """One text about one image, with what is known about it.

    Attributes:
        image: a path, a file's bytes, or a generated picture; samples of one image should be adjacent, as it is read
            once a chunk.
        part: the subset it counts toward (foil kind, domain, source).
        false_spans: characters of the caption that the data set says are false.
        references: other true captions of the image.
        truth: what else the metrics need, in JSON's types.
    """

    id: str
    image: Image.Image | Path | bytes
    image_name: str
    text: str
    correct: bool
    part: str
    false_spans: tuple[Span, ...] = ()
    references: tuple[str, ...] = ()
    truth: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class CaptionOutcome(Outcome):
    text: str
    correct: bool
    part: str
    false_spans: tuple[Span, ...]
    result: DetectResult
    truth: Mapping[str, Any] = field(default_factory=dict)

    def record(self) -> dict[str, Any]:
        """Without the provenance, which is written once, in ``run.json``, and what no benchmark asks for."""
        record = asdict(self)
        for name in ("provenance", "suggestions", "heat_maps"):
            del record["result"][name]
        if not record["truth"]:
            del record["truth"]
        return record

    @classmethod
    def from_record(cls, record: dict[str, Any], provenance: Provenance) -> Self:
        result = dict(record["result"])
        for name in ("cosine", "clip_score", "f_clip_score", "sum_negative_attribution"):
            if not isinstance(result[name], float | int):
                raise TypeError(f"{name} is no number")
        result["words"] = tuple(WordScore(**word) for word in result["words"])
        for name in ("misaligned", "unknown_words", "references", "warnings"):
            result[name] = tuple(result[name])
        return cls(
            id=record["id"],
            text=record["text"],
            correct=record["correct"],
            part=record["part"],
            false_spans=tuple((start, end) for start, end in record["false_spans"]),
            result=DetectResult(**result, provenance=provenance),
            truth=record.get("truth", {}),
        )


@dataclass(frozen=True, slots=True)
class BrokenSample:
    """A sample that the data set's own files make unreadable: it is counted, and the run goes on."""

    id: str
    image_name: str
    error: ClipalignError


def broken(id: str, image_name: str, what: str) -> BrokenSample:
    """Make the sample for a malformed row of a data set."""
    return BrokenSample(id, image_name, InputUnreadable(what, hint="is the file complete?", input=id))


@dataclass(frozen=True, slots=True)
class Unreadable(Outcome):
    """A sample without an outcome, and why."""

    image: str
    type: str
    message: str
    hint: str

    def record(self) -> dict[str, Any]:
        error = {"type": self.type, "message": self.message, "hint": self.hint or None}
        return {"id": self.id, "image": self.image, "error": error}

    @classmethod
    def from_record(cls, record: dict[str, Any], provenance: Provenance) -> Self:
        error = record["error"]
        return cls(record["id"], record["image"], error["type"], error["message"], error["hint"] or "")


class Evaluator(ABC, Generic[S, O]):
    """Turn samples into outcomes with the code of a command.

    ``chunk_samples`` are scored together; a resumed run begins at a multiple, so that its batches are the same, and
    must have the ``settings`` of ``provenance``, which holds for all outcomes.
    """

    chunk_samples: int
    provenance: Provenance

    @abstractmethod
    def score(self, samples: Sequence[S]) -> Sequence[O | ClipalignError]:
        """An outcome for each sample, in order, or the error of an unreadable one; a raised error ends the run."""

    def expect(self, samples: Sequence[S]) -> None:
        """Begin to read what these samples need: they are scored now or next."""
        return

    def notes(self, outcomes: Sequence[O]) -> tuple[str, ...]:
        """What a reader must know of how these outcomes were scored."""
        return ()

    def close(self) -> None:
        """End background work."""
        return


class Benchmark(ABC, Generic[S, O]):
    """A data set with its protocol.

    Args:
        folder: of the data; None for where ``download`` puts it.
        row: of ``benchmarks.toml``: each key is an annotated attribute of the class.

    Attributes:
        size: samples in all, None where that is not known beforehand.
        notes: what a reader must know before comparing.
        options: settings that this benchmark uses, besides those of every run.
        data: SHA-256 of the annotation files by name; a run is resumed on the same files only.
        of_papers: whether the files are those of the papers, as far as ``check`` can tell.
    """

    name: str
    outcome_type: type[O]
    size: int | None = None
    notes: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    data: Mapping[str, str] = MappingProxyType({})
    of_papers: bool = True
    _checked: bool = False

    def __init__(self, folder: Path | None = None, **row: Any) -> None:
        for key, value in row.items():
            if not any(key in get_annotations(kind) for kind in type(self).__mro__):
                raise TypeError(f"{type(self).__name__} has no {key}")
            setattr(self, key, value)
        self.folder = data_folder(self.name) if folder is None else folder

    @property
    def published(self) -> tuple[Published, ...]:
        return PUBLISHED.get(self.name, ())

    def check(self) -> None:
        """Find the data and read its lists, once, before a model is loaded; MissingDataset if there is none."""
        if not self._checked:
            self.read_lists()
            self._checked = True

    def read_lists(self) -> None:
        """What :meth:`check` does; nothing where samples are generated."""

    @abstractmethod
    def samples(self, *, limit: int | None, seed: int) -> Iterator[S | BrokenSample]:
        """The first ``limit`` samples (all: None), always in the same order."""

    @abstractmethod
    def evaluator(self, loaded: LoadedModel, settings: EvalSettings) -> Evaluator[S, O]:
        """What scores the samples; settings left open are as published; UsageError for a setting out of its range."""

    @abstractmethod
    def statistics(self, outcomes: Sequence[O]) -> list[Statistic]:
        """The metrics before they are computed; two runs are compared by them, sample by sample."""

    def outcome(self, record: dict[str, Any], provenance: Provenance) -> O | Unreadable:
        """The outcome of a line of ``samples.jsonl``; errors as :meth:`Outcome.from_record`."""
        kind = Unreadable if "error" in record else self.outcome_type
        return kind.from_record(record, provenance)

    def measure(self, outcomes: Sequence[O], *, seed: int) -> list[Metric]:
        """The metrics with their intervals on at least one outcome; ``seed`` draws the bootstrap."""
        return [statistic.metric(seed=seed) for statistic in self.statistics(outcomes)]
