"""What eval says of a model: numbers, two runs beside each other, a calibration, what a report shows."""

from __future__ import annotations

from dataclasses import dataclass

from clipalign.results.provenance import Provenance


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of a benchmark.

    Attributes:
        name: lower snake case, as in JSON (``la``, ``ap_clip_score``, ``la_object``).
        value: the number; shares lie in 0 to 1.
        n: samples it was computed over.
        low: lower end of the bootstrap 95 % interval, or None.
        high: upper end, or None.
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


@dataclass(frozen=True, slots=True)
class EvalResult:
    """What a benchmark says of a model.

    Attributes:
        dataset: name of the benchmark.
        model: model name as given.
        metrics: our numbers.
        published: numbers of papers for the same benchmark.
        counts: samples read, scored, unreadable and the like.
        settings: what decided the numbers, defaults included.
        provenance: model, versions, device.
        notes: what a reader must know before comparing (a partial data set, base rates, ceilings).
    """

    dataset: str
    model: str
    metrics: tuple[Metric, ...]
    published: tuple[Published, ...]
    counts: dict[str, int]
    settings: dict[str, object]
    provenance: Provenance
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ComparedMetric:
    """One number of a benchmark for two runs on the same samples.

    Attributes:
        name: of the metric.
        first: of the first run.
        second: of the second run.
        n: samples that both have.
        low: lower end of the bootstrap 95 % interval of ``second - first``, drawn for both alike; None where the
            benchmark's samples cannot be compared one by one.
        high: upper end.
        p_value: how probable a difference at least as large is between runs that are equally good, 0 to 1; two-sided.
        test: how ``p_value`` was found: ``mcnemar`` (exact) or ``bootstrap``; empty without one.
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
    """Two runs of one benchmark.

    Attributes:
        dataset: name of the benchmark.
        models: of the first and the second run.
        places: folders of the two runs.
        metrics: those that both have.
        differing: settings in which the runs differ: name, value of the first, value of the second.
        notes: what a reader must know before believing.
    """

    dataset: str
    models: tuple[str, str]
    places: tuple[str, str]
    metrics: tuple[ComparedMetric, ...]
    differing: tuple[tuple[str, object, object], ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LayerCalibration:
    """How well one choice of k does on a labelled data set, with the epsilon that suits it best.

    Attributes:
        layers: k.
        la: share of false captions whose lowest word is a false one, 0 to 1.
        la_low: lower end of its bootstrap 95 % interval.
        la_high: upper end.
        epsilon: threshold with the best word-level F1 over all captions.
        epsilon_low: lower end of the 95 % interval of thresholds that resampled captions would have led to.
        epsilon_high: upper end.
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
    """The k and epsilon that suit a model on a labelled data set.

    Attributes:
        dataset: name of the benchmark.
        model: model name as given.
        chosen: the k with the highest LA.
        layers: all that were tried, by k.
        counts: samples, false captions, words, false words, unreadable samples.
        settings: what decided the numbers, the hashes of the data's files included.
        provenance: model, versions, device.
        notes: what a reader must know.
    """

    dataset: str
    model: str
    chosen: LayerCalibration
    layers: tuple[LayerCalibration, ...]
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
        record: of its result, as ``detect`` has it in JSON.
        truth: what the data set says, a sentence.
        picture: a small JPEG, or None where the picture is gone.
    """

    record: dict[str, object]
    truth: str
    picture: bytes | None = None


@dataclass(frozen=True, slots=True)
class Showcase:
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
