"""Which class a picture shows, and which crops and sentences said so (WCA, Li et al., ICML 2024, arXiv 2406.02915).

The route: picture → random crops → unit vectors ``x_i``, weighted by their likeness to the whole picture ``x_0``;
descriptions → unit vectors ``y_j``, weighted by their likeness to the class's name. With ``X = normalize(Σ w_i x_i)``
and ``Y = normalize(Σ v_j y_j)`` the score of a class is ``cos(X, Y)``, up to one factor the double sum of
``w_i · cos(x_i, y_j) · v_j``; an explanation is the matrix of these terms. The other methods compare the whole picture
with a plain mean of texts. Pictures are classified by themselves: neither order nor neighbours change a result beyond
rounding. Nothing here prints.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.device import halving
from clipalign.errors import InputUnreadable, ModelMismatch, UsageError
from clipalign.methods.provenance import provenance_of
from clipalign.pipeline.class_vectors import ClassVectors, DescribedClass, Progress, class_vectors, describe_class
from clipalign.pipeline.crops import LARGEST_SHARE, Box, crop_boxes, cut_and_prepare, picture_seed
from clipalign.pipeline.descriptions import DEFAULT_PROMPT, Classes, ClassTexts, class_texts, default_method
from clipalign.pipeline.encoder import encode_images
from clipalign.pipeline.images import ImageSource, open_image, to_values
from clipalign.pipeline.model import import_open_clip
from clipalign.pipeline.words import reported_words, split_words, unknown_words
from clipalign.results import ClassifyResult, ClassScore, CropWeight, DescriptionWeight, Provenance

if TYPE_CHECKING:
    from clipalign.pipeline.model import LoadedModel

DEFAULT_TOP: Final = 5
"""Classes of a result."""

_CPU_PICTURES: Final = 8
_GPU_PICTURES: Final = 256
_CPU_TEXTS: Final = 64
_GPU_TEXTS: Final = 512

_REMEMBERED_CLASSES: Final = 256
"""Explained classes whose texts stay in memory, about 100 kB each."""

_LARGEST_LOGSCALE: Final = 20.0
"""Its exponential, half a thousand million, already picks one crop alone; far above it would leave fp32."""

_FEWEST_PIXELS: Final = 8
"""A side of crops below which they are a smear of a few colours."""

_NAMED: Final = 8
"""How many unknown words a note names before it only counts."""


@dataclass(frozen=True, slots=True)
class ClassifySettings:
    """What shapes a classification.

    Attributes:
        method: ``wca``, ``clip``, ``clip-e``, ``clip-d``, ``waffle`` or ``cupl``; None for wca with descriptions and
            clip without.
        crops: N of a picture, for wca; at least 1.
        alpha: smallest side of a crop as a share of the picture's shorter side, 0 to 0.9.
        image_logscale: logarithm of the scale of the crops' weights.
        text_logscale: logarithm of the scale of the descriptions' weights.
        prompt: the class's name in a sentence, ``{}`` for the name.
        top: classes in a result, the best ones, at least 1.
        explain: whether a result has crops, descriptions and their contributions.
        batch_size: crops, and texts, a batch; None for what suits the device. Results change no further than rounding.
        seed: of crops and of waffle's words.
    """

    method: str | None = None
    crops: int = 60
    alpha: float = 0.5
    image_logscale: float = 4.0
    text_logscale: float = 2.0
    prompt: str = DEFAULT_PROMPT
    top: int = DEFAULT_TOP
    explain: bool = False
    batch_size: int | None = None
    seed: int = 0


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture to classify.

    Attributes:
        image: a path, an http(s) address, bytes, or a Pillow image, which is taken as it stands; no tensor, which could
            not be cropped.
        id: identifier; the image's name where None.
        image_name: path, address or name, for results and errors.
    """

    image: ImageSource | Tensor
    id: str | None = None
    image_name: str = ""


@dataclass(frozen=True, eq=False)
class PreparedPicture:
    """A picture and its crops, resized for the image tower.

    Attributes:
        pixels: the whole picture first, in bytes (1 + N, S, S, 3).
        boxes: of the crops in pixels of the picture, N.
        size: width and height of the picture in pixels.
    """

    pixels: Tensor
    boxes: tuple[Box, ...]
    size: tuple[int, int]


@dataclass(frozen=True, eq=False)
class Classifier:
    """A model with the vectors of its classes: made once, asked about any number of pictures.

    Attributes:
        loaded: the model.
        settings: with the method decided.
        classes: C of them, with their texts.
        vectors: theirs (C, E).
        provenance: of every result; its notes say what holds for all of them.
        notes: what a user should be told once.
        offline: whether pictures at addresses are refused.
    """

    loaded: LoadedModel
    settings: ClassifySettings
    classes: tuple[ClassTexts, ...]
    vectors: ClassVectors
    provenance: Provenance
    notes: tuple[str, ...]
    offline: bool = False
    _described: dict[int, DescribedClass] = field(default_factory=dict, repr=False)

    @property
    def method(self) -> str:
        """The method, decided."""
        return self.settings.method or ""

    def classify(
        self, image: ImageSource | Tensor, *, id: str | None = None, image_name: str | None = None
    ) -> ClassifyResult:
        """The best classes of one picture.

        Args:
            image: as :class:`Picture` has it.
            id: identifier of the result; the image's name where None.
            image_name: what to call it; its path or address where None.

        Raises:
            ImageUnreadable: the picture cannot be read.
            InputUnreadable: it is a tensor.
            ModelMismatch: the model gave numbers that are not finite.
        """
        if image_name is None:
            image_name = str(image) if isinstance(image, str | Path) else ""
        name = image_name if id is None else id
        if isinstance(image, Tensor):
            raise InputUnreadable(
                "classify cuts crops and needs a picture, not a tensor",
                hint="give a path or a Pillow image",
                input=name,
            )
        picture = open_image(image, exif=not isinstance(image, Image.Image), offline=self.offline)
        prepared = self.prepare(picture)
        features = self.encode([prepared.pixels])[0]
        return self.result(features, prepared.boxes, prepared.size, id=name, image_name=image_name)

    def prepare(self, picture: Image.Image) -> PreparedPicture:
        """Draw the crops of an RGB picture and prepare them; safe in threads.

        Raises:
            ImageUnreadable: the picture is too long and thin.
        """
        chosen = self.settings
        boxes: list[Box] = []
        if self.method == "wca":
            seed = picture_seed(picture, chosen.seed)
            boxes = crop_boxes(picture.size, crops=chosen.crops, alpha=chosen.alpha, seed=seed)
        return PreparedPicture(cut_and_prepare(picture, boxes, self.loaded), tuple(boxes), picture.size)

    def encode(self, prepared: Sequence[Tensor]) -> list[Tensor]:
        """Unit vectors of prepared pictures: the pixels of each (1 + N, S, S, 3) to (1 + N, E).

        Raises:
            ModelMismatch: the model gives vectors that are not finite.
        """
        rows = [row for pixels in prepared for row in pixels]
        size = self.settings.batch_size or (_CPU_PICTURES if self.loaded.choice.device == "cpu" else _GPU_PICTURES)
        vectors = halving(size, lambda size: self._encode_rows(rows, size))
        return list(torch.split(vectors, [len(pixels) for pixels in prepared]))

    def _encode_rows(self, rows: Sequence[Tensor], size: int) -> Tensor:
        encoded = []
        for begin in range(0, len(rows), size):
            squares = torch.stack(list(rows[begin : begin + size])).to(self.loaded.choice.device)
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
        """The best classes of one picture.

        Args:
            features: of the whole picture and its crops (1 + N, E).
            boxes: of the crops, N.
            size: width and height of the picture in pixels.
            id: identifier of the result.
            image_name: of the picture.

        Raises:
            ModelMismatch: the model gave numbers that are not finite.
        """
        crops, weights = crop_weights(features, self.settings.image_logscale)
        # Row by row: a matrix product would give equal classes scores that differ in the last digit.
        scores = (self.vectors.vectors * F.normalize(weights @ crops, dim=-1)).sum(dim=-1)  # (C)
        if not torch.isfinite(scores).all():
            raise ModelMismatch(
                f"{self.loaded.row.name} gave numbers that are not finite in {self.loaded.choice.precision}",
                hint="try --precision fp32; if that is what failed, the weights are damaged",
                input=image_name or id,
            )
        values = scores.tolist()
        # Ties keep the order of the classes, whatever the device.
        best = sorted(range(len(values)), key=lambda index: (-values[index], index))[: self.settings.top]
        explained = self._explain(best, crops, weights, boxes, size) if self.settings.explain else _Explanation()
        scales = explained.scales or (None,) * len(best)
        return ClassifyResult(
            id=id,
            image=image_name,
            model=self.loaded.row.name,
            method=self.method,
            classes=tuple(
                ClassScore(self.classes[index].name, values[index], scale)
                for index, scale in zip(best, scales, strict=True)
            ),
            image_size=size,
            provenance=self.provenance,
            crops=explained.crops,
            descriptions=explained.descriptions,
            contributions=explained.contributions,
            warnings=_picture_warnings(boxes, size),
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
    """The crops that count and their weights.

    Args:
        features: unit vectors of the whole picture and its crops (1 + N, E).
        logscale: of the softmax over the crops' cosines with the whole picture.

    Returns:
        The crops' vectors (N, E) and weights (N), which sum to 1; without crops the whole picture, with weight 1.
    """
    whole, crops = features[:1], features[1:]
    if not len(crops):
        return whole, features.new_ones(1)
    return crops, torch.softmax(math.exp(logscale) * (crops @ whole[0]), dim=0)


def make_classifier(
    loaded: LoadedModel,
    classes: Classes,
    settings: ClassifySettings | None = None,
    *,
    cache: Path | None = None,
    offline: bool = False,
    progress: Progress | None = None,
) -> Classifier:
    """Encode the classes, or fetch their vectors from disk.

    Args:
        loaded: the model.
        classes: what to choose from.
        settings: of the classification.
        cache: folder of class vectors; None for none.
        offline: whether the classifier refuses pictures at addresses.
        progress: told how many more texts are encoded.

    Raises:
        UsageError: a setting out of its range, a class without descriptions, two of one name.
        ModelMismatch: the model gives vectors that are not finite.
    """
    chosen, texts = texts_of(classes, settings or ClassifySettings())
    vectors = halving(
        _texts_at_once(loaded, chosen),
        lambda size: class_vectors(
            loaded, texts, logscale=chosen.text_logscale, cache=cache, batch_size=size, progress=progress
        ),
    )
    notes = _notes(loaded, texts, vectors)
    described = _settings_record(chosen, texts)
    provenance = provenance_of(loaded, described, seed=chosen.seed, notes=notes)
    return Classifier(loaded, chosen, texts, vectors, provenance, notes, offline)


def classify_pictures(
    loaded: LoadedModel,
    pictures: Sequence[Picture],
    classes: Classes,
    settings: ClassifySettings | None = None,
    *,
    cache: Path | None = None,
) -> list[ClassifyResult]:
    """Classify every picture; results in the order of ``pictures``.

    Raises:
        UsageError: a setting out of its range, a class without descriptions, two of one name.
        ImageUnreadable: a picture that cannot be read.
        ModelMismatch: the model gave numbers that are not finite.
    """
    classifier = make_classifier(loaded, classes, settings, cache=cache)
    return [classifier.classify(one.image, id=one.id, image_name=one.image_name) for one in pictures]


def texts_of(classes: Classes, settings: ClassifySettings) -> tuple[ClassifySettings, tuple[ClassTexts, ...]]:
    """The settings with the method decided, and the texts of every class; needs no model.

    Raises:
        UsageError: a setting out of its range, a class without descriptions, two of one name.
    """
    _check(settings)
    method = settings.method or default_method(classes)
    if method == "clip-e" and not classes.templates:
        classes = replace(classes, templates=openai_templates())
    texts = class_texts(classes, method=method, prompt=settings.prompt, seed=settings.seed)
    return replace(settings, method=method), texts


def openai_templates() -> tuple[str, ...]:
    """The 80 prompt templates of OpenAI's CLIP for ImageNet, as open_clip has them."""
    return tuple(template("{}") for template in import_open_clip().OPENAI_IMAGENET_TEMPLATES)


def _check(settings: ClassifySettings) -> None:
    whole: Mapping[str, int | None] = {"crops": settings.crops, "top": settings.top, "batch_size": settings.batch_size}
    for name, value in whole.items():
        flag = f"--{name.replace('_', '-')}"
        if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
            raise UsageError(f"{flag} must be a whole number, 1 or more, not {value!r}", input=flag)
    if not isinstance(settings.alpha, int | float) or not 0 <= settings.alpha <= LARGEST_SHARE:
        raise UsageError(f"alpha must be a number from 0 to {LARGEST_SHARE}, not {settings.alpha!r}", input="--alpha")
    for name in ("image_logscale", "text_logscale"):
        value = getattr(settings, name)
        if not isinstance(value, int | float) or not math.isfinite(value) or value > _LARGEST_LOGSCALE:
            flag = f"--{name.replace('_', '-')}"
            raise UsageError(f"{flag} must be a number, {_LARGEST_LOGSCALE:g} or less, not {value!r}", input=flag)


def _texts_at_once(loaded: LoadedModel, settings: ClassifySettings) -> int:
    return settings.batch_size or (_CPU_TEXTS if loaded.choice.device == "cpu" else _GPU_TEXTS)


def _settings_record(settings: ClassifySettings, texts: Sequence[ClassTexts]) -> dict[str, object]:
    """What reached the computation; a method without crops or weights does not mention them."""
    record: dict[str, object] = {"method": settings.method}
    if settings.method == "wca":
        record |= {
            "crops": settings.crops,
            "alpha": settings.alpha,
            "image_logscale": settings.image_logscale,
            "text_logscale": settings.text_logscale,
        }
    if settings.method in ("wca", "clip"):
        record["prompt"] = settings.prompt
    content = json.dumps([[one.name, one.label, one.texts] for one in texts]).encode()
    return record | {
        "classes": len(texts),
        "texts": sum(len(one.texts) for one in texts),
        "classes_sha256": hashlib.sha256(content).hexdigest(),
        "top": settings.top,
        "explain": settings.explain,
        "batch_size": settings.batch_size,
    }


def _notes(loaded: LoadedModel, texts: Sequence[ClassTexts], vectors: ClassVectors) -> tuple[str, ...]:
    """What holds for every picture alike."""
    notes = []
    if len(texts) == 1:
        notes.append(f"there is one class alone, {texts[0].name!r}: every picture is given to it")
    if vectors.truncated:
        total = sum(len(one.texts) for one in texts)
        notes.append(
            f"{vectors.truncated} of {total} texts are longer than the model's context of {loaded.context_tokens} "
            "tokens and were cut"
        )
    if loaded.vocabulary is not None:
        words = [word for one in texts for word in reported_words(split_words(one.name))]
        if unknown := list(dict.fromkeys(unknown_words(words, loaded.vocabulary))):
            named = ", ".join(unknown[:_NAMED]) + (
                f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
            )
            notes.append(f"never seen by {loaded.row.name}, its judgement of them means little: {named}")
    return tuple(notes)


def _picture_warnings(boxes: Sequence[Box], size: tuple[int, int]) -> tuple[str, ...]:
    if boxes and min(right - left for left, _, right, _ in boxes) < _FEWEST_PIXELS:
        return (
            f"the picture is {size[0]} × {size[1]} pixels: some crops show less than {_FEWEST_PIXELS} pixels a side",
        )
    return ()
