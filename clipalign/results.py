"""What the commands find: of a text and a picture, of a picture's class, of a long text.

In every result ``id`` names the record (the image's name where it has none), ``image`` is its path, URL or name as
given, ``text`` its text as given, ``model`` the model's name as given, ``unknown_words`` are words that an embedded
model was not trained on (none for an open vocabulary), ``warnings`` what a reader must know, a sentence each.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Final

from clipalign.errors import ClipalignError
from clipalign.notebook import html_of
from clipalign.plain import plain

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
        precision: ``fp32``, ``bf16``, ``fp16``, or ``int8``, with which texts are in bf16 where the CPU has it.
        seed: the seed of the command; detect itself draws nothing.
        versions: of clipalign, torch, open_clip and pillow.
        settings: every setting that reached the computation, defaults included.
        notes: fallbacks in device or precision, and other things a reader must know.
        engine: what ran the image tower, ``torch`` or ``openvino``.
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
    engine: str = "torch"


KEPT_NOTE: Final = "the image's vector is a kept one (--keep-vectors)"
"""A note of a result that says nothing about its settings."""


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


@dataclass(frozen=True, slots=True)
class Candidate:
    """What a misaligned word may have been meant to be.

    Attributes:
        text: in place of the word as written.
        gain: in the cosine of image and text, above 0.
    """

    text: str
    gain: float


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Candidates for one place of a caption.

    Attributes:
        text: the word, or the name of several words, as it stands in the caption.
        start, end: its characters in the caption as given; ``end`` is one past the last.
        candidates: the best first.
    """

    text: str
    start: int
    end: int
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class HeatMap:
    """Where in the picture a word is seen.

    Attributes:
        text: the word as it stands in the caption.
        start, end: its characters in the caption as given; ``end`` is one past the last.
        rows: heat, at least 0, of equal parts of the picture as the model saw it, from the top left.
    """

    text: str
    start: int
    end: int
    rows: tuple[tuple[float, ...], ...]

    @property
    def array(self) -> Any:
        """``rows`` as a NumPy array (rows, columns)."""
        import numpy

        return numpy.array(self.rows)


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
        heat_maps: of each scored word, in reading order, where that was asked for.
        suggestions: for misaligned words, in reading order; none unless asked for, nor where no candidate fits better.
    """

    _named = ("image", "text", "clip_score", "misaligned")
    _optional = frozenset({"references", "ref_clip_score", "suggestions", "heat_maps"})

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
    suggestions: tuple[Suggestion, ...] = ()
    heat_maps: tuple[HeatMap, ...] = ()
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
        increment: ``specs_score`` less that of the piece before, -1 to 1; None for the first piece and for pieces that
            were not scored.
        contribution: what the piece does to the score wherever it stands, -1 to 1, by the run's setting; negative where
            it lowers the score (:mod:`clipalign.methods.contributions`); None for pieces that were not scored.
        standard_error: of the contribution where it is a mean over some orders of the pieces; else None.
        lowers: whether the contribution lowers the score by more than the margin of the run.
        cut: whether the context ended within it, so that its beginning alone was scored.
    """

    text: str
    start: int
    end: int
    cosine: float | None
    specs_score: float | None
    increment: float | None = None
    contribution: float | None = None
    standard_error: float | None = None
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
