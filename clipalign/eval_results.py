"""What benchmarks and training find: of a model on a data set, of two runs, of a run of ``train-specs``.

In every result ``dataset`` is the benchmark's name, ``model`` the model's as given, and ``notes`` are what a reader
must know, a sentence each.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from clipalign.calibration import SavedCalibration
from clipalign.plain import plain
from clipalign.results import Provenance, Result

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a benchmark.

    Attributes:
        name: lower snake case, as in JSON (``la``, ``ap_clip_score``, ``la_object``).
        value: the number; shares lie in 0 to 1.
        n: samples it was computed over.
        low, high: bootstrap 95 % interval, or None.
        chance: what a guess would reach, where that is known (the base rate for an average precision).
    """

    name: str
    value: float
    n: int
    low: float | None = None
    high: float | None = None
    chance: float | None = None


@dataclass(frozen=True, slots=True)
class Published:
    """A number from a paper, to stand beside ours; never a pass mark.

    Attributes:
        metric: name of the metric it belongs to.
        value: as printed there, percents as shares of 1.
        backbone: model it was measured with.
        source: paper, poster or repository.
    """

    metric: str
    value: float
    backbone: str
    source: str


@dataclass(frozen=True, slots=True, repr=False)
class EvalResult(Result):
    """What a benchmark says of a model.

    Attributes:
        published: numbers of papers for the same benchmark.
        counts: samples read, scored, unreadable and the like.
        settings: what decided the numbers, defaults included.
    """

    _named = ("dataset", "model", "values")

    dataset: str
    model: str
    metrics: tuple[Metric, ...]
    published: tuple[Published, ...]
    counts: dict[str, int] = field(hash=False)
    settings: dict[str, object] = field(hash=False)
    provenance: Provenance
    notes: tuple[str, ...] = ()

    @property
    def values(self) -> dict[str, float]:
        """The metrics by name."""
        return {metric.name: metric.value for metric in self.metrics}

    def to_dict(self) -> dict[str, Any]:
        """The document of a run: metrics by name, their intervals and counts beside them.

        A metric may have several published numbers, by backbone and by source.
        """
        published: dict[str, list[dict[str, object]]] = {}
        for number in self.published:
            one = {"value": number.value, "backbone": number.backbone, "source": number.source}
            published.setdefault(number.metric, []).append(one)
        return plain(
            {
                "dataset": self.dataset,
                "model": self.model,
                "metrics": self.values,
                "intervals": {
                    metric.name: {"n": metric.n, "low": metric.low, "high": metric.high, "chance": metric.chance}
                    for metric in self.metrics
                },
                "published": published,
                "counts": self.counts,
                "settings": self.settings,
                "notes": self.notes,
                "provenance": self.provenance,
            }
        )


@dataclass(frozen=True, slots=True)
class ComparedMetric:
    """One number of a benchmark for two runs on the same samples.

    Attributes:
        n: samples that both have.
        low, high: bootstrap 95 % interval of ``second - first``, drawn for both alike; None where the benchmark's
            samples cannot be compared one by one.
        p_value: how probable a difference at least as large is between runs that are equally good, 0 to 1; two-sided.
        test: how ``p_value`` was found: ``mcnemar`` (exact), ``permutation`` or ``bootstrap``; empty without one.
    """

    name: str
    first: float
    second: float
    n: int
    low: float | None = None
    high: float | None = None
    p_value: float | None = None
    test: str = ""

    @property
    def difference(self) -> float:
        """Positive where the second run has the higher number."""
        return self.second - self.first


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two runs of one benchmark, or two outputs of one command.

    Attributes:
        models: of the first and the second run.
        places: folders of the two runs.
        differing: settings in which the runs differ: name, value of the first, value of the second.
        worse: metrics by which the second is worse by more than the margin.
    """

    dataset: str
    models: tuple[str, str]
    places: tuple[str, str]
    metrics: tuple[ComparedMetric, ...]
    differing: tuple[tuple[str, object, object], ...] = ()
    notes: tuple[str, ...] = ()
    worse: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Verification:
    """Records of an output that were scored again.

    Attributes:
        records: how many.
        largest: difference of a cosine.
        different: ids of those whose cosine or verdict is another one.
        unreadable: ids of those whose picture cannot be read any more.
        differing: what differs in the provenance: name, then, now.
    """

    place: str
    model: str
    records: int
    largest: float
    different: tuple[str, ...]
    unreadable: tuple[str, ...]
    differing: tuple[tuple[str, object, object], ...]


@dataclass(frozen=True, slots=True)
class LayerCalibration:
    """How well one choice of k does on a labeled data set, with the epsilon that suits it best.

    Attributes:
        la: share of false captions whose lowest word is a false one, 0 to 1.
        la_low, la_high: its bootstrap 95 % interval.
        epsilon: threshold with the best word-level F1 over all captions.
        epsilon_low, epsilon_high: 95 % interval of thresholds that resampled captions would have led to.
        precision: of the words below epsilon, the share that is false.
        recall: of the false words, the share below epsilon.
        f1: their harmonic mean, on the captions that epsilon was chosen on.
        held_out_f1: the same on captions that epsilon was not chosen on (two halves, each judged by the other).
    """

    layers: int
    la: float
    la_low: float
    la_high: float
    epsilon: float
    epsilon_low: float
    epsilon_high: float
    precision: float
    recall: float
    f1: float
    held_out_f1: float


@dataclass(frozen=True, slots=True)
class Calibration:
    """The k and epsilon that suit a model on a data set.

    Attributes:
        saved: what ``detect`` takes.
        chosen: the k with the highest LA; None where epsilon is that of a share of false alarms.
        layers: all that were tried, by k.
        found: share of the false captions with a word below the epsilon of a share of false alarms; None without any.
        counts: samples, false captions, words, false words, unreadable samples.
        settings: what decided the numbers, the hashes of the data's files included.
    """

    dataset: str
    model: str
    saved: SavedCalibration
    chosen: LayerCalibration | None
    layers: tuple[LayerCalibration, ...]
    found: float | None
    counts: dict[str, int]
    settings: dict[str, object]
    provenance: Provenance
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Distribution:
    """Values of several kinds of samples, to be drawn over each other.

    Attributes:
        title: what the values are.
        groups: name of each kind, and its values.
    """

    title: str
    groups: tuple[tuple[str, tuple[float, ...]], ...]


@dataclass(frozen=True, slots=True)
class Example:
    """A sample worth looking at.

    Attributes:
        record: of its result, as ``detect`` has it in JSON; its words also have ``false`` where the data set says so.
        truth: what the data set says about no single word, a sentence; else empty.
        picture: a small JPEG, or None where the picture is gone.
    """

    record: dict[str, object]
    truth: str
    picture: bytes | None = None


@dataclass(frozen=True, slots=True)
class EvalReport:
    """What a report about a run shows.

    Attributes:
        document: the ``result.json`` of the run.
        distributions: to be drawn.
        worst: samples that went most wrong, the worst first.
        best: samples that went most right, the best first.
    """

    document: dict[str, object]
    distributions: tuple[Distribution, ...] = ()
    worst: tuple[Example, ...] = ()
    best: tuple[Example, ...] = ()


class Increments(NamedTuple):
    """Shares of held-out prefixes that score higher than the shorter and than the wrong ones, 0 to 1."""

    positive: float
    negative: float

    @property
    def average(self) -> float:
        """What the best checkpoint is chosen by."""
        return (self.positive + self.negative) / 2


class SpecsResult(NamedTuple):
    """What a run of ``train-specs`` left behind.

    Attributes:
        folder: of the run.
        steps: done in all.
        before: increments before the first step; None without held-out samples.
        best: increments of ``best.safetensors``.
        best_step: its step; 0 for the start.
        skipped_steps: steps without a move, because gradients were not finite.
    """

    folder: Path
    steps: int
    before: Increments | None
    best: Increments | None
    best_step: int
    skipped_steps: int


class PreparationResult(NamedTuple):
    """What ``train-specs --prepare`` wrote: samples, records left out by reason, and examples of what has no phrases.

    ``finished_before`` says that an earlier run had come to its end already; its examples are not kept.
    """

    folder: Path
    samples: int
    skipped: dict[str, int]
    examples: dict[str, str]
    finished_before: bool = False
