"""Which class a picture shows, and which crops and sentences said so (WCA, Li et al., ICML 2024, arXiv 2406.02915).

Picture → random crops → unit vectors ``x_i``, weighted by their similarity to the whole picture ``x_0``; descriptions →
unit vectors ``y_j``, weighted by their similarity to the class's name. With ``X = normalize(Σ w_i x_i)`` and ``Y =
normalize(Σ v_j y_j)`` the score of a class is ``cos(X, Y)``, up to one factor the double sum of ``w_i · cos(x_i, y_j) ·
v_j``; an explanation is the matrix of these terms. The other methods compare the whole picture with a plain mean of
texts. A result does not depend on the other pictures of a run beyond rounding.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.data.class_texts import ClassTexts, class_texts, default_method
from clipalign.data.classes import Classes
from clipalign.data.images import open_image
from clipalign.data.in_memory import Prepared, picture_source
from clipalign.data.transforms import Box, PreparedPicture, crop_boxes, cut_and_prepare, picture_seed, to_values
from clipalign.data.words import reported_words, split_words, unknown_words
from clipalign.device import to_device, with_oom_retry
from clipalign.errors import ClipalignError, ImageUnreadable, ModelMismatch
from clipalign.methods.scores import ScoreItem, provenance_of, unknown_warning
from clipalign.methods.settings import ClassifySettings
from clipalign.models.class_vectors import ClassVectors, DescribedClass, class_vectors, describe_class
from clipalign.models.encode import EncodedPicture, encode_images, not_finite
from clipalign.models.load import import_open_clip
from clipalign.models.vector_store import picture_key
from clipalign.results import ClassifyResult, ClassScore, CropWeight, DescriptionWeight, Provenance

if TYPE_CHECKING:
    from clipalign.data.in_memory import ImageLike
    from clipalign.data.records import InputRecord
    from clipalign.models.model import LoadedModel


_CPU_PICTURES: Final = 8
_GPU_PICTURES: Final = 256
_CPU_TEXTS: Final = 64
_GPU_TEXTS: Final = 512

_REMEMBERED_CLASSES: Final = 256  # explained classes whose texts stay in memory, about 100 kB each

_FEWEST_PIXELS: Final = 8  # smallest side of crops; smaller ones are a blur of a few colors


@dataclass(frozen=True, eq=False)
class Classifier:
    """A model with the vectors of its classes: made once, used for any number of pictures.

    Attributes:
        settings: with the method decided.
        vectors: of the classes (C, E).
        provenance: of every result; its notes hold for all of them.
        notes: what a user should be told once.
        offline: whether pictures at addresses are refused.
        timeout: seconds for one of them; None for 30.
    """

    loaded: LoadedModel
    settings: ClassifySettings
    classes: tuple[ClassTexts, ...]
    vectors: ClassVectors
    provenance: Provenance
    notes: tuple[str, ...]
    offline: bool = False
    timeout: float | None = None
    _described: dict[int, DescribedClass] = field(default_factory=dict, repr=False)

    @property
    def method(self) -> str:
        return self.settings.method or ""

    @property
    def crops(self) -> int:
        return self.settings.crops if self.method == "wca" else 0

    def classify(self, image: ImageLike, *, id: str | None = None, image_name: str | None = None) -> ClassifyResult:
        """The best classes of one picture, as :func:`clipalign.data.in_memory.picture_source` takes it.

        Args:
            id: identifier of the result; the image's name where None.
            image_name: its path or address where None.

        Raises:
            ImageUnreadable: the picture cannot be read, or was prepared already and cannot be cropped.
            ModelMismatch: the model gave numbers that are not finite.
        """
        source = picture_source(image)
        if image_name is None:
            image_name = str(source) if isinstance(source, str | Path) else ""
        name = image_name if id is None else id
        try:
            if not isinstance(source, Prepared):
                turned = not isinstance(source, Image.Image)
                source = open_image(source, exif=turned, offline=self.offline, timeout=self.timeout)
            prepared = self.prepare(source)
        except ImageUnreadable as error:
            error.input = error.input or name
            raise
        features = self.encode([prepared.pixels])[0]
        return self.result(features, prepared.boxes, prepared.size, id=name, image_name=image_name)

    def prepare(self, picture: Image.Image | Prepared) -> PreparedPicture:
        """Draw and prepare an RGB picture's crops; thread-safe; ImageUnreadable if too long and thin, or prepared."""
        if isinstance(picture, Prepared):
            raise ImageUnreadable(
                "classify cuts crops and needs a picture, not a prepared tensor", hint="give a path or a Pillow image"
            )
        chosen = self.settings
        boxes: list[Box] = []
        if self.crops:
            seed = picture_seed(picture, chosen.seed)
            boxes = crop_boxes(picture.size, crops=chosen.crops, alpha=chosen.alpha, seed=seed)
        return PreparedPicture(cut_and_prepare(picture, boxes, self.loaded), tuple(boxes), picture.size)

    def encode(self, prepared: Sequence[Tensor]) -> list[Tensor]:
        """Pixels of pictures, each (1 + N, S, S, 3), to unit vectors (1 + N, E); ModelMismatch if not finite."""
        rows = [row for pixels in prepared for row in pixels]
        vectors = with_oom_retry(
            _pictures_at_once(self.loaded, self.settings), lambda size: self._encode_rows(rows, size)
        )
        return list(torch.split(vectors, [len(pixels) for pixels in prepared]))

    def _encode_rows(self, rows: Sequence[Tensor], size: int) -> Tensor:
        encoded = []
        for begin in range(0, len(rows), size):
            squares = to_device(torch.stack(list(rows[begin : begin + size])), self.loaded.choice.device)
            encoded.append(encode_images(self.loaded, to_values(squares, self.loaded)))
        return torch.cat(encoded)

    def result(
        self,
        features: Tensor,
        boxes: Sequence[Box],
        size: tuple[int, int],
        *,
        id: str,
        image_name: str,
    ) -> ClassifyResult:
        """The best classes of a picture of ``size`` pixels, from its vectors and those of its crops (1 + N, E).

        Raises:
            ModelMismatch: the model gave numbers that are not finite.
        """
        crops, weights = crop_weights(features, self.settings.image_logscale)
        # Row by row: a matrix product would give equal classes scores that differ in the last digit.
        scores = (self.vectors.vectors * F.normalize(weights @ crops, dim=-1)).sum(dim=-1)  # (C)
        if not torch.isfinite(scores).all():
            raise not_finite(self.loaded, image_name or id)
        values = scores.tolist()
        # Ties keep the order of the classes, whatever the device.
        best = sorted(range(len(values)), key=lambda index: (-values[index], index))[: self.settings.top]
        explained = self._explain(best, crops, weights, boxes, size) if self.settings.explain else _Explanation()
        scales = explained.scales or (None,) * len(best)
        shares: list[float] | list[None] = [None] * len(values)
        if self.settings.probabilities:
            shares = torch.softmax(logit_scale(self.loaded) * scores.double(), dim=0).tolist()
        limit, first = self.settings.reject_below, shares[best[0]]
        return ClassifyResult(
            id=id,
            image=image_name,
            model=self.loaded.row.name,
            method=self.method,
            classes=tuple(
                ClassScore(self.classes[index].name, values[index], scale, shares[index])
                for index, scale in zip(best, scales, strict=True)
            ),
            image_size=size,
            provenance=self.provenance,
            crops=explained.crops,
            descriptions=explained.descriptions,
            contributions=explained.contributions,
            warnings=_picture_warnings(boxes, size),
            rejected=None if limit is None else (values[best[0]] if first is None else first) < limit,
        )

    def _explain(
        self,
        best: Sequence[int],
        crops: Tensor,
        weights: Tensor,
        boxes: Sequence[Box],
        size: tuple[int, int],
    ) -> _Explanation:
        described = [self._described_class(index) for index in best]
        norm = float((weights @ crops).norm())
        texts = torch.cat([one.texts for one in described])
        text_weights = torch.cat([one.weights for one in described])
        matrix = weights[:, None] * (crops @ texts.T) * text_weights  # (N, ΣM)
        shown = boxes or [(0, 0, *size)]
        sentences = [(self.classes[index].name, text) for index in best for text in self.classes[index].texts]
        return _Explanation(
            tuple(CropWeight(box, weight) for box, weight in zip(shown, weights.tolist(), strict=True)),
            tuple(
                DescriptionWeight(name, text, weight)
                for (name, text), weight in zip(sentences, text_weights.tolist(), strict=True)
            ),
            tuple(tuple(row) for row in matrix.tolist()),
            tuple(1 / (norm * one.norm) for one in described),
        )

    def _described_class(self, index: int) -> DescribedClass:
        if index not in self._described:
            if len(self._described) >= _REMEMBERED_CLASSES:
                self._described.pop(next(iter(self._described)))
            self._described[index] = describe_class(
                self.loaded,
                self.classes[index],
                logscale=self.settings.text_logscale,
                batch_size=_texts_at_once(self.loaded, self.settings),
            )
        return self._described[index]


@dataclass(frozen=True, slots=True)
class _Explanation:
    crops: tuple[CropWeight, ...] = ()
    descriptions: tuple[DescriptionWeight, ...] = ()
    contributions: tuple[tuple[float, ...], ...] = ()
    scales: tuple[float, ...] = ()


def crop_weights(features: Tensor, logscale: float) -> tuple[Tensor, Tensor]:
    """Vectors (N, E) and weights (N), which sum to 1, of the crops that count; without crops, the whole picture.

    ``features`` are of the whole picture and its crops (1 + N, E); weights are the softmax of the crops' cosines with
    the whole picture, times ``exp(logscale)``.
    """
    whole, crops = features[:1], features[1:]
    if not len(crops):
        return whole, features.new_ones(1)
    return crops, torch.softmax(math.exp(logscale) * (crops @ whole[0]), dim=0)


def logit_scale(loaded: LoadedModel) -> float:
    """The factor before softmax that the model was trained with, about 100 for CLIP; ModelMismatch if it has none."""
    scale = getattr(loaded.network, "logit_scale", None)
    if scale is None or scale.numel() != 1:
        raise ModelMismatch(
            f"{loaded.row.name} has no scale of its own", hint="leave out --probabilities", input="--probabilities"
        )
    return float(scale.detach().exp())


def make_classifier(
    loaded: LoadedModel,
    classes: Classes,
    settings: ClassifySettings | None = None,
    *,
    cache: Path | None = None,
    offline: bool = False,
    timeout: float | None = None,
    progress: Callable[[int], None] = lambda texts: None,
) -> Classifier:
    """Encode the classes, or fetch their vectors from the folder ``cache``.

    Args:
        offline: whether the classifier refuses pictures at addresses.
        timeout: seconds for one of them; None for 30.
        progress: called with the number of texts just encoded.

    Raises:
        UsageError: a setting out of its range, a class without descriptions, two of one name.
        ModelMismatch: the model gives vectors that are not finite.
    """
    chosen, texts = texts_of(classes, settings or ClassifySettings())
    vectors = with_oom_retry(
        _texts_at_once(loaded, chosen),
        lambda size: class_vectors(
            loaded, texts, logscale=chosen.text_logscale, cache=cache, batch_size=size, progress=progress
        ),
    )
    notes = _notes(loaded, texts, vectors)
    described = _settings_record(chosen, texts, batch_size=_pictures_at_once(loaded, chosen))
    if chosen.probabilities:
        described["logit_scale"] = logit_scale(loaded)
    if chosen.reject_below is not None:
        described["reject_below"] = chosen.reject_below
    provenance = provenance_of(loaded, described, seed=chosen.seed, notes=notes)
    return Classifier(loaded, chosen, texts, vectors, provenance, notes, offline, timeout)


def texts_of(classes: Classes, settings: ClassifySettings) -> tuple[ClassifySettings, tuple[ClassTexts, ...]]:
    """Decide the method and find every class's texts; UsageError for a class without descriptions, two of one name."""
    method = settings.method or default_method(classes)
    if method == "clip-e" and not classes.templates:
        classes = replace(classes, templates=openai_templates())
    texts = class_texts(classes, method=method, template=settings.template, seed=settings.seed)
    return replace(settings, method=method), texts


def openai_templates() -> tuple[str, ...]:
    """The 80 prompt templates of OpenAI's CLIP for ImageNet, as open_clip has them."""
    return tuple(template("{}") for template in import_open_clip().OPENAI_IMAGENET_TEMPLATES)


def _settings_record(settings: ClassifySettings, texts: Sequence[ClassTexts], *, batch_size: int) -> dict[str, object]:
    """Settings that reached the computation; a method without crops or weights leaves theirs out."""
    record: dict[str, object] = {"method": settings.method}
    if settings.method == "wca":
        record |= {
            "crops": settings.crops,
            "alpha": settings.alpha,
            "image_logscale": settings.image_logscale,
            "text_logscale": settings.text_logscale,
        }
    if settings.method in ("wca", "clip"):
        record["template"] = settings.template
    content = json.dumps([[one.name, one.label, one.texts] for one in texts]).encode()
    return record | {
        "classes": len(texts),
        "texts": sum(len(one.texts) for one in texts),
        "classes_sha256": hashlib.sha256(content).hexdigest(),
        "top": settings.top,
        "explain": settings.explain,
        "batch_size": batch_size,
    }


def _notes(loaded: LoadedModel, texts: Sequence[ClassTexts], vectors: ClassVectors) -> tuple[str, ...]:
    notes = []
    if len(texts) == 1:
        notes.append(f"there is one class alone, {texts[0].name!r}: every picture is given to it")
    if vectors.truncated:
        total = len({text for one in texts for text in one.encoded})
        notes.append(
            f"{vectors.truncated} of {total} texts are longer than the model's context of {loaded.context_tokens} "
            "tokens and were cut"
        )
    if loaded.vocabulary is not None:
        words = [word for one in texts for word in reported_words(split_words(one.name))]
        if unknown := list(dict.fromkeys(unknown_words(words, loaded.vocabulary))):
            notes.append(unknown_warning(loaded, unknown))
    return tuple(notes)


def _pictures_at_once(loaded: LoadedModel, settings: ClassifySettings) -> int:
    return settings.batch_size or (_CPU_PICTURES if loaded.choice.device == "cpu" else _GPU_PICTURES)


def _texts_at_once(loaded: LoadedModel, settings: ClassifySettings) -> int:
    return settings.batch_size or (_CPU_TEXTS if loaded.choice.device == "cpu" else _GPU_TEXTS)


def _picture_warnings(boxes: Sequence[Box], size: tuple[int, int]) -> tuple[str, ...]:
    if boxes and min(right - left for left, _, right, _ in boxes) < _FEWEST_PIXELS:
        return (
            f"the picture is {size[0]} × {size[1]} pixels: some crops show less than {_FEWEST_PIXELS} pixels a side",
        )
    return ()


AHEAD_SQUARES: Final = 512
"""Prepared pictures and crops held at most, 77 MB at 224 pixels; at least four pictures with all their crops."""

LONGEST_WINDOW: Final = 64  # records scored together at most; crops take nearly all the time


@dataclass(frozen=True)
class ClassifyScorer:
    """Classify the picture of each record; a ``clipalign.methods.scores.Scorer``."""

    classifier: Classifier

    @property
    def provenance(self) -> Provenance:
        return self.classifier.provenance

    @property
    def window_records(self) -> int:
        return min(LONGEST_WINDOW, self.pictures_ahead)

    @property
    def pictures_ahead(self) -> int:
        return max(4, AHEAD_SQUARES // (1 + self.classifier.crops))

    @property
    def shorter_px(self) -> None:
        """Crops are drawn by the pixels of the whole picture, and results have its size."""
        return

    @property
    def picture_key(self) -> dict[str, object] | None:
        chosen, crops = self.classifier.settings, self.classifier.crops
        cut = {"alpha": chosen.alpha, "seed": chosen.seed} if crops else {}
        return picture_key(self.classifier.loaded, crops=crops, **cut)

    def prepare(self, picture: Image.Image | Prepared) -> PreparedPicture:
        return self.classifier.prepare(picture)

    def encode(self, prepared: Sequence[PreparedPicture]) -> list[EncodedPicture | ClipalignError]:
        try:
            vectors = self.classifier.encode([one.pixels for one in prepared])
        except ModelMismatch as error:
            if len(prepared) == 1:
                return [error]
            return [found for one in prepared for found in self.encode([one])]
        return [EncodedPicture(own.cpu(), one.boxes, one.size) for own, one in zip(vectors, prepared, strict=True)]

    def score(self, items: Sequence[ScoreItem]) -> list[ClassifyResult | ClipalignError]:
        return [self._scored(record, picture) for record, picture in items]

    def _scored(self, record: InputRecord, picture: EncodedPicture) -> ClassifyResult | ClipalignError:
        features = picture.vectors.to(self.classifier.loaded.choice.device)
        try:
            return self.classifier.result(
                features, picture.boxes, picture.size, id=record.id, image_name=record.image_name
            )
        except ModelMismatch as error:
            return error
