"""Benchmarks of ``classify``: labeled pictures of a folder, and the metrics.

``top1_…`` and ``top5_…``: share of pictures whose true class is first, or among the first five; for WCA the mean over
its draws, with ``top1_wca_std`` their standard deviation. ``gain_…``: differences of top-1 on the same pictures.
Intervals are over pictures.
"""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

from clipalign.errors import InputUnreadable
from clipalign.eval_results import Metric
from clipalign.evaluation import metrics
from clipalign.evaluation.benchmark import CLASS_FILES, CLASS_OPTIONS, Benchmark, BrokenSample
from clipalign.evaluation.dataset_files import find_in
from clipalign.evaluation.metrics import Array, Statistic
from clipalign.evaluation.tasks.class_evaluator import (
    CROPLESS,
    POOL_CROPS,
    ClassEvaluator,
    ClassOutcome,
    ClassSample,
)
from clipalign.evaluation.tasks.class_texts import read_task

if TYPE_CHECKING:
    from clipalign.evaluation.dataset_files import PictureSource
    from clipalign.evaluation.settings import EvalSettings
    from clipalign.evaluation.tasks.class_evaluator import ClassTask
    from clipalign.models.model import LoadedModel

METHODS: Final = ("clip", "clip-e", "clip-d", "waffle", "cupl", CROPLESS, "wca")  # in the order of the table

GAINS: Final = {"gain_wca_over_clip": "clip", "gain_wca_over_cupl": "cupl", "gain_of_crops": CROPLESS}

COMPARED: Final = (*GAINS.values(), "wca")  # shown for each part of a data set

SHORT_LIST: Final = 5


@dataclass(frozen=True, slots=True)
class FoundPicture:
    name: str
    label: int
    image: PictureSource


class ClassBenchmark(Benchmark[ClassSample, ClassOutcome]):
    """Pictures in a folder, each of one class.

    Attributes:
        markers: paths within the folder or the unpacked archive, of which one must exist.
        pool: crops made of a picture.
        alpha: smallest side of a crop; None for the method's own.
    """

    outcome_type = ClassOutcome
    markers: tuple[str, ...]
    options = (*CLASS_OPTIONS, *CLASS_FILES)
    pool: int = POOL_CROPS
    alpha: float | None = None

    @property
    def marker(self) -> Path:
        """The first of the markers that exists; MissingDataset if none does."""
        return find_in(self.folder, self.name, *self.markers)

    def read_lists(self) -> None:
        _ = self.marker

    @abstractmethod
    def class_names(self) -> tuple[str, ...]:
        """Names in the order of the labels, as the data set itself has them."""

    @abstractmethod
    def found_pictures(self) -> Iterator[FoundPicture]:
        """All pictures that are evaluated, in any order, unopened."""

    def samples(self, *, limit: int | None, seed: int) -> Iterator[ClassSample | BrokenSample]:
        """Pictures in a fixed order that mixes the classes, so that a limit does not keep the first classes alone."""
        with self._lists_read():
            found = sorted(self.found_pictures(), key=_place_in_order)
            classes = len(self.class_names())
            for one in found:
                if not 0 <= one.label < classes:
                    raise ValueError(f"{one.name} is of class {one.label}, and there are {classes} classes")
        for one in found[:limit]:
            yield ClassSample(one.name, one.image, one.name, one.label)

    @contextmanager
    def _lists_read(self) -> Iterator[None]:
        try:
            yield
        except (KeyError, IndexError, ValueError, TypeError, AttributeError) as error:
            raise InputUnreadable(
                f"the lists of {self.name} in {self.folder} do not agree with each other: {error}",
                hint="is the data set complete, and the right one?",
                input=str(self.folder),
            ) from error

    def task(self, settings: EvalSettings) -> ClassTask:
        with self._lists_read():
            names = self.class_names()
            if not names:
                raise ValueError("they name no class")
            for number, one in enumerate(names, 1):
                if not one.strip(" _"):
                    raise ValueError(f"class {number} has no name")
        return read_task(self.name, self.folder, names, settings)

    def evaluator(self, loaded: LoadedModel, settings: EvalSettings) -> ClassEvaluator:
        return ClassEvaluator(loaded, settings, self.task(settings), pool=self.pool, alpha=self.alpha)

    def statistics(self, outcomes: Sequence[ClassOutcome]) -> list[Statistic]:
        return top1_statistics(outcomes)

    def measure(self, outcomes: Sequence[ClassOutcome], *, seed: int) -> list[Metric]:
        return class_metrics(outcomes, classes=len(self.class_names()), seed=seed)


def _place_in_order(one: FoundPicture) -> bytes:
    return hashlib.sha256(one.name.encode("utf-8", "surrogateescape")).digest()


def class_metrics(outcomes: Sequence[ClassOutcome], *, classes: int, seed: int, part: str = "") -> list[Metric]:
    """Metrics of at least one outcome, all scored by the same methods, of ``classes`` to choose from.

    ``part`` is the subset of the outcomes; it ends every name, and leaves out metrics that apply to the whole set only.
    """
    suffix = f"_{part}" if part else ""
    ids = [outcome.id for outcome in outcomes]

    def mean(name: str, values: Array, *, chance: float | None = None) -> Metric:
        return metrics.mean(name + suffix, ids, values.tolist(), chance=chance).metric(seed=seed)

    methods = [method for method in METHODS if method in outcomes[0].ranks]
    right = {method: _right(outcomes, method, within=1) for method in methods}
    found: list[Metric] = []
    for method in methods:
        if not part or method in COMPARED:
            found.append(mean(f"top1_{_snake(method)}", right[method].mean(axis=1), chance=1 / classes))
        if method == "wca" and not part:
            draws = right[method].mean(axis=0)
            found.append(Metric("top1_wca_std", float(draws.std()), len(draws)))
    if classes > SHORT_LIST and not part:
        for method in methods:
            if method != CROPLESS:
                within = _right(outcomes, method, within=SHORT_LIST).mean(axis=1)
                found.append(mean(f"top5_{_snake(method)}", within, chance=SHORT_LIST / classes))
    if "wca" in methods:
        ours = right["wca"].mean(axis=1)
        found += [mean(name, ours - right[other].mean(axis=1)) for name, other in GAINS.items() if other in methods]
    return found


def top1_statistics(outcomes: Sequence[ClassOutcome]) -> list[Statistic]:
    ids = [outcome.id for outcome in outcomes]
    return [
        metrics.mean(f"top1_{_snake(method)}", ids, _right(outcomes, method, within=1).mean(axis=1).tolist())
        for method in METHODS
        if method in outcomes[0].ranks
    ]


def _right(outcomes: Sequence[ClassOutcome], method: str, *, within: int) -> Array:
    """Whether the true class was among the first ``within``: a row a picture, a column a draw (one but for ``wca``)."""
    return np.array([[rank < within for rank in outcome.ranks[method]] for outcome in outcomes], dtype=float)


def _snake(method: str) -> str:
    return method.replace("-", "_")
