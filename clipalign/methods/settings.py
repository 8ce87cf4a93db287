"""What shapes a detection, and what the model adds where the user says nothing.

What shapes a classification, checked; the texts of its classes; what a result says of both.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

from clipalign.data.classes import Classes
from clipalign.data.transforms import LARGEST_SHARE
from clipalign.data.words import Alignment, Mode, reported_words, split_words, unknown_words
from clipalign.errors import UsageError
from clipalign.models.class_vectors import DEFAULT_PROMPT, ClassTexts, class_texts, default_method
from clipalign.models.load import import_open_clip
from clipalign.models.tokenize import encode_text

if TYPE_CHECKING:
    from clipalign.models.class_vectors import ClassVectors
    from clipalign.models.model import LoadedModel


Choice = TypeVar("Choice", bound=StrEnum)

DEFAULT_TEMPLATE = "A photo depicts "
"""Put before every caption and reference (CLIP4DM)."""


@dataclass(frozen=True, slots=True)
class DetectSettings:
    """What shapes a detection.

    Attributes:
        mode: ``threshold``: words below epsilon; ``most-negative``: always exactly one word.
        epsilon: threshold on a word's attribution; None for the model's own.
        layers: k, the text layers averaged, from the last; None for the model's own.
        template: put before every caption and reference; may be empty.
        alignment: which tokens make up a word, see :mod:`clipalign.data.words`.
        batch_size: pictures, and texts, a batch; results change no further than rounding.
        seed: kept in the provenance; detection draws nothing.
    """

    mode: str = Mode.THRESHOLD.value
    epsilon: float | None = None
    layers: int | None = None
    template: str = DEFAULT_TEMPLATE
    alignment: str = Alignment.PUBLISHED.value
    batch_size: int = 32
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ResolvedSettings:
    """The settings with the model's own numbers filled in."""

    mode: Mode
    epsilon: float
    layers: int
    template: str
    alignment: Alignment
    batch_size: int
    seed: int


def resolved(loaded: LoadedModel, settings: DetectSettings) -> ResolvedSettings:
    """The settings for this model, checked.

    Raises:
        UsageError: one of them is out of its range.
    """
    mode = _choice(Mode, settings.mode, "--mode")
    alignment = _choice(Alignment, settings.alignment, "--alignment")
    epsilon = loaded.row.epsilon if settings.epsilon is None else settings.epsilon
    if not isinstance(epsilon, int | float) or not math.isfinite(epsilon):
        raise UsageError(f"epsilon must be a finite number, not {epsilon}", input="--epsilon")
    if settings.batch_size < 1:
        raise UsageError(f"the batch size must be at least 1, not {settings.batch_size}", input="--batch-size")
    template_tokens = encode_text(loaded, settings.template).n_tokens
    if template_tokens >= loaded.context_tokens:
        raise UsageError(
            f"the template takes {template_tokens} of the model's {loaded.context_tokens} tokens, all of them",
            hint="use a shorter --template",
            input="--template",
        )
    layers = loaded.row.layers if settings.layers is None else settings.layers
    if not isinstance(layers, int):
        raise UsageError(f"layers must be a whole number, not {layers!r}", input="--layers")
    return ResolvedSettings(mode, epsilon, layers, settings.template, alignment, settings.batch_size, settings.seed)


def _choice(kind: type[Choice], value: str, option: str) -> Choice:
    try:
        return kind(value)
    except ValueError:
        known = ", ".join(member.value for member in kind)
        raise UsageError(f"unknown value {value!r} for {option}", hint=f"one of {known}", input=option) from None


DEFAULT_TOP: Final = 5
"""Classes of a result."""

_LARGEST_LOGSCALE: Final = 20.0
"""Its exponential, half a thousand million, already picks one crop alone; far above it would leave fp32."""

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


def settings_record(settings: ClassifySettings, texts: Sequence[ClassTexts], *, batch_size: int) -> dict[str, object]:
    """What reached the computation; a method without crops or weights does not mention them.

    Args:
        settings: with the method decided.
        texts: of the classes.
        batch_size: pictures and crops a batch, decided where the settings leave it to the device.
    """
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
        "batch_size": batch_size,
    }


def notes_of(loaded: LoadedModel, texts: Sequence[ClassTexts], vectors: ClassVectors) -> tuple[str, ...]:
    """What holds for every picture alike."""
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
            named = ", ".join(unknown[:_NAMED]) + (
                f" and {len(unknown) - _NAMED} more" if len(unknown) > _NAMED else ""
            )
            notes.append(f"not in the vocabulary of {loaded.row.name}, scores unreliable: {named}")
    return tuple(notes)
