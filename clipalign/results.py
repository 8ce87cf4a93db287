"""What the commands find: of a text and a picture, of a picture's class, of a long text, of a model in a benchmark.

In every result ``id`` names the record (the image's name where it has none), ``image`` is its path, URL or name as
given, ``text`` its text as given, ``model`` the model's name as given, ``dataset`` the benchmark's, ``unknown_words``
are words that an embedded model was not trained on (none for an open vocabulary), ``warnings`` and ``notes`` what a
reader must know, a sentence each.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from clipalign.errors import ClipalignError
from clipalign.notebook import html_of
from clipalign.plain import plain

if TYPE_CHECKING:
    from pathlib import Path

_SHOWN_CHARACTERS = 60
"""Of a text, in a ``repr``."""


class Result:
    """What every result can do: become a dictionary or a table of a notebook, and say in short what it is."""

    __slots__ = ()

    _named: ClassVar[tuple[str, ...]] = ()
    """What ``repr`` shows."""

    _optional: ClassVar[frozenset[str]] = frozenset()
    """What the dictionary lacks where there is no value."""

    def to_dict(self) -> dict[str, Any]:
        """The JSON record of the command, in JSON's own types, ``provenance`` last.

        Raises:
            ValueError: a number that JSON cannot hold.
        """
        names = [field.name for field in fields(self) if field.name != "provenance"]  # type: ignore[arg-type]
        values = ((name, getattr(self, name, None)) for name in (*names, "provenance"))
        return plain({name: value for name, value in values if not (name in self._optional and value in (None, ()))})

    def __repr__(self) -> str:
        shown = []
        for name in self._named:
            value = getattr(self, name)
            if isinstance(value, str) and len(value) > _SHOWN_CHARACTERS:
                value = value[: _SHOWN_CHARACTERS - 1] + "…"
            shown.append(f"{name}={value:.4f}" if isinstance(value, float) else f"{name}={value!r}")
        return f"{type(self).__name__}({', '.join(shown)})"

    def _repr_html_(self) -> str:
        """A table for notebooks."""
        return html_of(self.to_dict())


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where a number comes from; travels with every result.

    Attributes:
        model: registry name or specification as given.
        architecture: open_clip architecture, config file, or the shapes in words.
        weights_sha256: hash of the weights file.
        quick_gelu: whether the towers used QuickGELU.
        device: resolved device, for example ``cpu`` or ``cuda:0``.
        precision: ``fp32``, ``bf16`` or ``fp16``.
        seed: the seed of the command; detect itself draws nothing.
        versions: of clipalign, torch, open_clip and pillow.
        settings: every setting that reached the computation, defaults included.
        notes: fallbacks in device or precision, and other things a reader must know.
    """

    model: str
    architecture: str
    weights_sha256: str
    quick_gelu: bool
    device: str
    precision: str
    seed: int
    versions: dict[str, str] = field(hash=False)
    settings: dict[str, object] = field(hash=False)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class WordScore:
    """One word of a caption.

    Attributes:
        text: the word as it stands in the caption.
        start, end: its characters in the caption as given; ``end`` is one past the last.
        attribution: mean signed attribution over the word's tokens (CLIP4DM, eq. for R at the EOT row); negative means
            the word pulls text and image apart. None when the word was not scored.
        misaligned: whether the chosen mode calls the word wrong for the image.
        scored: False for words beyond the model's context, and for those it reads nothing of.
    """

    text: str
    start: int
    end: int
    attribution: float | None
    misaligned: bool
    scored: bool


@dataclass(frozen=True, slots=True, repr=False)
class DetectResult(Result):
    """How one text fits one image, word by word (CLIP4DM).

    Attributes:
        cosine: cosine of image and text (template included), -1 to 1; higher fits better.
        clip_score: ``2.5 * max(cosine, 0)``, 0 to 2.5; higher fits better.
        f_clip_score: ``sum_negative_attribution * (1 - clip_score / 2.5)``; at most 0 in threshold mode while epsilon
            is not positive, closer to 0 fits better.
        sum_negative_attribution: sum over the misaligned words, 0 when there are none.
        misaligned: their texts, most negative first.
        words: all words of the caption in reading order, without those of punctuation alone.
        n_tokens: tokens of template and caption before truncation, start and end tokens included.
        truncated: whether text fell outside the context.
        ref_clip_score: RefCLIPScore (Hessel et al., 2021), 0 to 2.5, or None without references.
    """

    _named = ("image", "text", "clip_score", "misaligned")
    _optional = frozenset({"references", "ref_clip_score"})

    id: str
    image: str
    text: str
    model: str
    cosine: float
    clip_score: float
    f_clip_score: float
    sum_negative_attribution: float
    misaligned: tuple[str, ...]
    words: tuple[WordScore, ...]
    n_tokens: int
    truncated: bool
    provenance: Provenance
    references: tuple[str, ...] = ()
    ref_clip_score: float | None = None
    unknown_words: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ClassScore:
    """One class and how well it fits.

    Attributes:
        score: cosine of picture and class, -1 to 1; higher fits better.
        scale: what the class's contributions, all summed, are multiplied with to give the score; None where nothing
            is explained.
        probability: softmax over all classes with the model's own scale, 0 to 1; None where that was not asked for.
    """

    name: str
    score: float
    scale: float | None = None
    probability: float | None = None


@dataclass(frozen=True, slots=True)
class CropWeight:
    """A part of a picture and how much it counts.

    Attributes:
        box: left, top, right, bottom in pixels of the upright picture; right and bottom are one past the last.
        weight: 0 to 1; those of a picture sum to 1.
    """

    box: tuple[int, int, int, int]
    weight: float


@dataclass(frozen=True, slots=True)
class DescriptionWeight:
    """A text about a class and how much it counts.

    Attributes:
        text: as it was encoded.
        weight: 0 to 1; those of a class sum to 1.
    """

    class_name: str
    text: str
    weight: float


@dataclass(frozen=True, slots=True, repr=False)
class ClassifyResult(Result):
    """The classes that fit one picture best (WCA and its baselines).

    Attributes:
        method: ``wca``, ``clip``, ``clip-e``, ``clip-d``, ``waffle`` or ``cupl``.
        classes: the best ones, best first.
        image_size: width and height of the upright picture in pixels.
        crops: what the picture was seen as, N; empty where nothing is explained.
        descriptions: the texts of ``classes``, class after class, M in all; empty where nothing is explained.
        contributions: of each crop (N rows) with each description (M columns): weight of the crop, times their cosine,
            times weight of the description (WCA).
        rejected: whether even the best class fits too badly, by ``reject_below``; None where that was not asked for.
    """

    _named = ("image", "label", "score")

    id: str
    image: str
    model: str
    method: str
    classes: tuple[ClassScore, ...]
    image_size: tuple[int, int]
    provenance: Provenance
    crops: tuple[CropWeight, ...] = ()
    descriptions: tuple[DescriptionWeight, ...] = ()
    contributions: tuple[tuple[float, ...], ...] = ()
    warnings: tuple[str, ...] = ()
    rejected: bool | None = None

    @property
    def label(self) -> str | None:
        """The best class; None where it was rejected."""
        return None if self.rejected else self.classes[0].name

    @property
    def score(self) -> float:
        """Of the best class."""
        return self.classes[0].score

    def to_dict(self) -> dict[str, Any]:
        """The JSON record; ``class`` and ``score`` repeat the best class, evidence is there where it was asked for.

        Raises:
            ValueError: a number that JSON cannot hold.
        """
        evidence = {
            "crops": self.crops,
            "descriptions": [
                {"class": one.class_name, "text": one.text, "weight": one.weight} for one in self.descriptions
            ],
            "contributions": self.contributions,
        }
        return plain(
            {
                "id": self.id,
                "image": self.image,
                "model": self.model,
                "method": self.method,
                "class": self.label,
                "score": self.score,
                "classes": [
                    {"name": one.name, "score": one.score}
                    | ({} if one.probability is None else {"probability": one.probability})
                    | ({} if one.scale is None else {"scale": one.scale})
                    for one in self.classes
                ],
                **({} if self.rejected is None else {"rejected": self.rejected}),
                "image_size": self.image_size,
                **(evidence if self.crops else {}),
                "warnings": self.warnings,
                "provenance": self.provenance,
            }
        )


@dataclass(frozen=True, slots=True)
class SentenceScore:
    """One sentence or phrase of a long text, and the score of the text up to its end.

    Attributes:
        text: the piece as it stands in the text.
        start, end: its characters in the text as given; ``end`` is one past the last.
        cosine: of image and text up to here, -1 to 1; None when the model read nothing of the piece.
        specs_score: ``(cosine + 1) / 2``, 0 to 1; higher fits better; None as ``cosine``.
        increment: ``specs_score`` less that of the piece before, -1 to 1; negative where the piece lowers the score;
            None for the first piece and for pieces that were not scored.
        lowers: whether it lowers the score by more than the margin of the run.
        cut: whether the context ended within it, so that its beginning alone was scored.
    """

    text: str
    start: int
    end: int
    cosine: float | None
    specs_score: float | None
    increment: float | None
    lowers: bool = False
    cut: bool = False

    @property
    def scored(self) -> bool:
        """Whether the model read any of it."""
        return self.cosine is not None


@dataclass(frozen=True, slots=True, repr=False)
class LongResult(Result):
    """How one long text fits one image, sentence by sentence (SPECS, Long-CLIP).

    Attributes:
        cosine: cosine of image and text as far as it was read, -1 to 1; higher fits better.
        specs_score: ``(cosine + 1) / 2``, 0 to 1; higher fits better. SPECS' published score under SPECS' weights, the
            same formula under others.
        clip_score: ``2.5 * max(cosine, 0)``, 0 to 2.5; None for SPECS' weights, whose cosines are often negative.
        n_tokens: tokens of the text before truncation, start and end tokens included.
        truncated: whether text fell outside the context.
        sentences: all sentences, or phrases, in reading order.
    """

    _named = ("image", "text", "specs_score")
    _optional = frozenset({"clip_score"})

    id: str
    image: str
    text: str
    model: str
    cosine: float
    specs_score: float
    clip_score: float | None
    n_tokens: int
    truncated: bool
    sentences: tuple[SentenceScore, ...]
    provenance: Provenance
    unknown_words: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def lowering(self) -> tuple[SentenceScore, ...]:
        """The sentences that lower the score by more than the margin."""
        return tuple(sentence for sentence in self.sentences if sentence.lowers)


@dataclass(frozen=True, slots=True, repr=False)
class Failure(Result):
    """A record without a result, and why.

    Attributes:
        error: what a run that ends at the first error would have raised.
    """

    _named = ("id", "error")

    id: str
    image: str
    text: str
    error: ClipalignError

    def to_dict(self) -> dict[str, Any]:
        """The JSON record: no scores, and an ``error`` with ``type``, ``message`` and ``hint``."""
        error = {"type": self.error.type, "message": self.error.message, "hint": self.error.hint or None}
        return plain({"id": self.id, "image": self.image, "text": self.text, "error": error})


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
        models: of the first and the second run.
        places: folders of the two runs.
        differing: settings in which the runs differ: name, value of the first, value of the second.
    """

    dataset: str
    models: tuple[str, str]
    places: tuple[str, str]
    metrics: tuple[ComparedMetric, ...]
    differing: tuple[tuple[str, object, object], ...] = ()
    notes: tuple[str, ...] = ()


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
    """The k and epsilon that suit a model on a labeled data set.

    Attributes:
        chosen: the k with the highest LA.
        layers: all that were tried, by k.
        counts: samples, false captions, words, false words, unreadable samples.
        settings: what decided the numbers, the hashes of the data's files included.
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
