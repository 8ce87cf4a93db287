"""What lies in the folder of a data set, and what is said when it does not.

Pictures of data sets: opened as the papers opened them, which is without turning them the way EXIF says.

Annotation files of data sets: read whole, known by their hash, refused with a reason.

A file that is there but is another version than the one the papers used is read all the same, and said: its numbers
are not theirs. One that is cut short, is no JSON, or is the pointer that Git LFS leaves in the place of a file, is not
read at all.

The contract between a benchmark and the runner.

A benchmark says which samples it has, by which route they are scored, and what is to be measured on the outcomes. A
:class:`Route` is the code that a command runs, with what turns its results into records and back; the same few serve
all benchmarks. The runner knows neither captions nor classes: only samples, outcomes and their records.
"""

from __future__ import annotations

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Generic, Protocol, TypeAlias, TypeVar

import orjson

from clipalign.errors import ClipalignError, ImageUnreadable, InputUnreadable, MissingDataset
from clipalign.results import DetectResult, Metric, Provenance, Published

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image

    from clipalign.config.values import Settings
    from clipalign.evaluation.metrics import Statistic
    from clipalign.models.model import LoadedModel


_WHOLE: Final = re.compile(r"[0-9]{1,9}")


def find_in(folder: Path, name: str, *places: str) -> Path:
    """The first of ``places`` (paths within ``folder``) that exists.

    Raises:
        MissingDataset: there is none of them; ``name`` says of which data set.
    """
    for place in places:
        if (folder / place).exists():
            return folder / place
    if folder.is_dir():
        message = f"{folder} is not laid out as {name}: there is no {' and no '.join(places[:3])}"
        hint = f"clipalign download {name}, or --data-root with the folder that holds {places[0]}"
    else:
        why = "that is a file" if folder.exists() else "there is no such folder"
        message = f"the data set {name} is not in {folder}: {why}"
        hint = f"clipalign download {name}, or --data-root DIR"
    raise MissingDataset(message, hint=hint, input=str(folder))


def files_in(folder: Path) -> list[Path]:
    """What lies in a folder that belongs to a data set, by name.

    Raises:
        InputUnreadable: it is no folder, or cannot be read.
    """
    try:
        return sorted(folder.iterdir())
    except OSError as error:
        raise InputUnreadable(
            f"{folder} cannot be read: {error.strerror}", hint="is the data set complete?", input=str(folder)
        ) from error


def text_lines(path: Path) -> list[str]:
    """The lines of a list that belongs to a data set, without blank ones.

    Raises:
        InputUnreadable: it is not there, or no text.
    """
    return [line for _, line in _numbered_lines(path)]


def numbered_rows(path: Path, form: str) -> list[tuple[int, str]]:
    """The lines of such a list that are a number and a text, in either order.

    Args:
        path: of the list.
        form: what a line has: ``"NUMBER FILE"``, where the text goes on to the end of the line, or ``"FILE NUMBER"``,
            where it has no space and further fields are passed over.

    Raises:
        InputUnreadable: it cannot be read, or a line, which is named, has another form.
    """
    place = form.split().index("NUMBER")
    found = []
    for number, line in _numbered_lines(path):
        fields = line.split(maxsplit=1) if place == 0 else line.split()
        if len(fields) < 2 or not _WHOLE.fullmatch(fields[place]):
            raise InputUnreadable(
                f"{path}:{number} is not {form}", hint="is the data set complete?", input=f"{path}:{number}"
            )
        found.append((int(fields[place]), fields[1 - place]))
    return found


def _numbered_lines(path: Path) -> list[tuple[int, str]]:
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
        return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
    except OSError as error:
        raise InputUnreadable(
            f"{path} cannot be read: {error.strerror}", hint="is the data set complete?", input=str(path)
        ) from error
    except UnicodeDecodeError as error:
        raise InputUnreadable(f"{path} is no text", hint="is the data set complete?", input=str(path)) from error


@dataclass(frozen=True, slots=True)
class FileInTar:
    """A file of a tar that is not unpacked.

    Attributes:
        tar: the archive, uncompressed.
        name: of the file in it.
        offset: of its first byte.
        size: in bytes.
    """

    tar: Path
    name: str
    offset: int
    size: int

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            ImageUnreadable: the archive cannot be read.
        """
        try:
            with self.tar.open("rb") as file:
                file.seek(self.offset)
                return file.read(self.size)
        except OSError as error:
            raise ImageUnreadable(
                f"{self.name} in {self.tar} cannot be read: {error.strerror}", input=str(self.tar)
            ) from error


PictureSource: TypeAlias = "Image.Image | Path | bytes | FileInTar"


def opened(image: PictureSource, *, exif: bool = False, name: str | None = None) -> Image.Image:
    """The picture in RGB; one that is generated is as it should be already.

    Args:
        image: the picture, or where it is.
        exif: whether to turn it the way its EXIF orientation says.
        name: what errors call bytes; what lies in a file is called by that.

    Raises:
        ImageUnreadable: the file is missing, damaged or no picture.
    """
    from PIL import Image  # names of benchmarks need neither this nor numpy

    from clipalign.data.images import open_image

    if isinstance(image, Image.Image):
        return image

    if isinstance(image, FileInTar):
        return open_image(image.read(), exif=exif, name=f"{image.name} in {image.tar}")
    return open_image(image, exif=exif, name=name if isinstance(image, bytes) else None)


LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
HASH_DIGITS: Final = 16
"""Of a SHA-256 in a sentence; records have all 64."""

_PIECE_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Annotations:
    """A file of a data set.

    Attributes:
        path: where it is.
        dataset: name of the data set, for errors.
        sha256: of its bytes.
        known: SHA-256 of the version that the papers used, or an empty string.
        version: what to call that version.
    """

    path: Path
    dataset: str
    sha256: str
    known: str = ""
    version: str = ""

    def note(self) -> str:
        """A sentence where this is another version than the known one; else an empty string."""
        if not self.known or self.sha256 == self.known:
            return ""
        return (
            f"{self.path.name} is another version than {self.version}: its SHA-256 begins {self.sha256[:HASH_DIGITS]}, "
            f"not {self.known[:HASH_DIGITS]}; published numbers are of the latter"
        )

    def json(self) -> Any:
        """Its content.

        Raises:
            MissingDataset: it is no JSON, or breaks off.
        """
        content = self.path.read_bytes()
        try:
            return orjson.loads(content)
        except orjson.JSONDecodeError as error:
            torn = "unexpected end" in error.msg
            where = (
                f"breaks off after {len(content):,} bytes" if torn else f"is no JSON: line {error.lineno}, {error.msg}"
            )
            raise self.unusable(where) from None

    def misbuilt(self, form: str, error: KeyError | TypeError | AttributeError) -> MissingDataset:
        """The error for a file that is not of ``form``, as ``error`` showed while it was taken apart."""
        why = f"it lacks {error}" if isinstance(error, KeyError) else "lists and objects are not where it has them"
        return self.unusable(f"is not {form}: {why}")

    def unusable(self, what: str) -> MissingDataset:
        """The error for a file that ``what``, a clause such as "breaks off"."""
        return MissingDataset(
            f"{self.path} {what}; its SHA-256 begins {self.sha256[:HASH_DIGITS]}",
            hint=f"mend it, or delete it and fetch it again: clipalign download {self.dataset}",
            input=str(self.path),
        )


def read_annotations(path: Path, dataset: str, *, known: str = "", version: str = "") -> Annotations:
    """The file at ``path``, hashed.

    Raises:
        MissingDataset: it cannot be read, is empty, or is a Git LFS pointer.
    """
    digest, size, start = hashlib.sha256(), 0, b""
    try:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                start = start or piece[: len(LFS_POINTER)]
                size += len(piece)
                digest.update(piece)
    except OSError as error:
        raise MissingDataset(
            f"{path} cannot be read: {error.strerror}", hint="check the path and its rights", input=str(path)
        ) from error
    found = Annotations(path, dataset, digest.hexdigest(), known, version)
    if not size:
        raise found.unusable("is empty")
    if start == LFS_POINTER:
        raise found.unusable(f"is a Git LFS pointer of {size} bytes, not the file it stands for")
    return found


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
