"""The contract between a benchmark and the runner.

A benchmark says which samples it has and what is to be measured on the outcomes; it neither loads models nor scores
anything. The runner does that with the same code that serves ``clipalign detect``.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from clipalign.results import DetectResult, Metric, Published

if TYPE_CHECKING:
    from pathlib import Path

    from PIL import Image


@dataclass(frozen=True, slots=True)
class Sample:
    """One text about one image, with what is known about it.

    Attributes:
        id: unique within the benchmark.
        image: a path, or a picture where it is generated. Samples of one image follow each other.
        image_name: what to call the image in records.
        text: the caption.
        correct: whether the caption is right.
        part: the subset it counts towards (foil kind, domain, source).
        false_span: characters of the caption that are false, or None.
        references: correct captions of the image, if there are any.
    """

    id: str
    image: Image.Image | Path
    image_name: str
    text: str
    correct: bool
    part: str
    false_span: tuple[int, int] | None = None
    references: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What ``detect`` said about a sample; the picture is gone by now."""

    id: str
    text: str
    correct: bool
    part: str
    false_span: tuple[int, int] | None
    result: DetectResult


class Benchmark(Protocol):
    """A data set with its protocol."""

    name: str
    mode: str
    """The published mode of ``detect`` for this data set; a user's ``--mode`` overrides it."""
    epsilon: float | None
    """The published threshold, None for the model's own."""
    size: int | None
    """Samples in all, None where that is not known beforehand."""
    published: tuple[Published, ...]
    notes: tuple[str, ...]

    def samples(self, *, limit: int | None, seed: int) -> Iterator[Sample]:
        """The first ``limit`` samples (all: None), always in the same order."""
        ...

    def measure(self, outcomes: Sequence[Outcome], *, seed: int) -> list[Metric]:
        """The benchmark's metrics; ``seed`` draws the bootstrap."""
        ...
