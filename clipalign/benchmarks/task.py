"""The contract between a benchmark and the runner.

A benchmark says which samples it has, by which route they are scored, and what is to be measured on the outcomes. A
:class:`Route` is the code that a command runs, with what turns its results into records and back; the same few serve
all benchmarks. The runner knows neither captions nor classes: only samples, outcomes and their records.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeVar

from clipalign.errors import ClipalignError
from clipalign.results import DetectResult, Metric, Provenance, Published

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from clipalign.benchmarks.statistics import Statistic
    from clipalign.pipeline.loaded import LoadedModel
    from clipalign.settings import Settings


NO_RECORD: Final = (KeyError, IndexError, TypeError, ValueError, AttributeError)
"""What comes of records that hold something else than they should."""


class AnySample(Protocol):
    """What the runner must know of a sample of any kind."""

    @property
    def id(self) -> str:
        """Unique within the benchmark."""
        ...

    @property
    def image_name(self) -> str:
        """What to call the image in records and errors."""
        ...


S = TypeVar("S", bound=AnySample)
O = TypeVar("O")  # noqa: E741


@dataclass(frozen=True, slots=True)
class Sample:
    """One text about one image, with what is known about it.

    Attributes:
        id: unique within the benchmark.
        image: a path, a file's bytes, or a picture where it is generated. It is read anew in every chunk: samples of
            one image had better follow each other.
        image_name: what to call the image in records.
        text: the caption.
        correct: whether the caption is right.
        part: the subset it counts towards (foil kind, domain, source).
        false_span: characters of the caption that are false, or None.
        references: correct captions of the image, if there are any.
        truth: what else the metrics need, in JSON's types.
    """

    id: str
    image: Image.Image | Path | bytes
    image_name: str
    text: str
    correct: bool
    part: str
    false_span: tuple[int, int] | None = None
    references: tuple[str, ...] = ()
    truth: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What ``detect`` said about a sample; the picture is gone by now."""

    id: str
    text: str
    correct: bool
    part: str
    false_span: tuple[int, int] | None
    result: DetectResult
    truth: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class BrokenSample:
    """A sample that the data set's own files do not let be read: it is counted, and the run goes on."""

    id: str
    image_name: str
    error: ClipalignError


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A sample without an outcome, and why, as an error record says it."""

    id: str
    image: str
    type: str
    message: str
    hint: str


class Route(ABC, Generic[S, O]):
    """How samples become outcomes: the very code of a command.

    Attributes:
        chunk_samples: samples scored together. A run that is resumed begins at a multiple of it, so that no batch is
            composed differently from one uninterrupted run.
        provenance: the same for all outcomes; with ``settings``, what a resumed run must agree with.
    """

    chunk_samples: int
    provenance: Provenance

    @abstractmethod
    def score(self, samples: Sequence[S]) -> Sequence[O | ClipalignError]:
        """An outcome for each sample, in order; an error only for a sample that cannot be read.

        Raises:
            ClipalignError: nothing can be scored, and the run ends.
        """

    @abstractmethod
    def record(self, outcome: O) -> dict[str, Any]:
        """A line of ``samples.jsonl``, in JSON's types; ``id`` comes first."""

    @abstractmethod
    def outcome(self, record: dict[str, Any]) -> O:
        """The outcome that :meth:`record` made this of, equal in every digit.

        Raises:
            KeyError, IndexError, TypeError, ValueError, AttributeError: it is no such record (:data:`NO_RECORD`).
        """

    def expect(self, samples: Sequence[S]) -> None:
        """These are scored now or next: a moment to begin reading their pictures."""
        return

    def notes(self) -> tuple[str, ...]:
        """What a reader must know of how this run was scored."""
        return ()

    def close(self) -> None:
        """The run is over, or was cut short: leave off what is under way."""
        return


WORD_OPTIONS: Final = ("mode", "epsilon", "layers", "template", "alignment")
CLASS_OPTIONS: Final = ("method", "crops", "alpha", "image_logscale", "text_logscale", "prompt")
CLASS_FILES: Final = ("descriptions", "templates", "words")
LONG_OPTIONS: Final = ("stretch",)
"""Settings that shape benchmarks of words, of classes, of classes that are read from files, of long captions."""


class Benchmark(ABC, Generic[S, O]):
    """A data set with its protocol.

    Attributes:
        name: as in the table of benchmarks.
        size: samples in all, None where that is not known beforehand.
        published: numbers of papers.
        notes: what a reader must know before comparing.
        options: settings that shape what is measured, besides those of every run.
        data: SHA-256 of the annotation files by name; kept in the settings of a run, which is resumed on the same only.
    """

    name: str
    size: int | None = None
    published: tuple[Published, ...] = ()
    notes: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    data: Mapping[str, str] = MappingProxyType({})

    def check(self) -> None:
        """See that the data is there, and read its lists; asked before a model is loaded, and once more by the runner.

        Raises:
            MissingDataset: it is not, with the folder that was looked in and how to get it.
        """

    @abstractmethod
    def samples(self, *, limit: int | None, seed: int) -> Iterator[S | BrokenSample]:
        """The first ``limit`` samples (all: None), always in the same order: a limit only shortens."""

    @abstractmethod
    def route(self, loaded: LoadedModel, settings: Settings) -> Route[S, O]:
        """By what the samples are scored; what the user did not set is as published.

        Raises:
            UsageError: a setting out of its range.
        """

    def statistics(self, outcomes: Sequence[O]) -> list[Statistic]:
        """The metrics before they are computed; with :meth:`reread`, two models are compared sample by sample."""
        return []

    def reread(self, record: dict[str, Any], provenance: Provenance) -> O:
        """The outcome of a line of ``samples.jsonl``, without a model; what :meth:`Route.outcome` gives.

        Raises:
            NotImplementedError: outcomes of this benchmark cannot be compared or shown.
            KeyError, IndexError, TypeError, ValueError, AttributeError: it is no such record (:data:`NO_RECORD`).
        """
        raise NotImplementedError

    def wrong_words(self, outcome: O) -> tuple[bool, ...] | None:
        """Which of an outcome's words are truly false, W; None where the data set does not say."""
        return None

    @abstractmethod
    def measure(self, outcomes: Sequence[O], *, seed: int) -> list[Metric]:
        """The benchmark's metrics on at least one outcome; ``seed`` draws the bootstrap."""
