"""What shapes a detection, and what the model adds where the user says nothing."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, TypeVar

from clipalign.errors import UsageError
from clipalign.pipeline.text import encode_text
from clipalign.pipeline.words import Alignment, Mode

if TYPE_CHECKING:
    from clipalign.pipeline.loaded import LoadedModel

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
        alignment: which tokens make up a word, see :mod:`clipalign.pipeline.words`.
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
            f"the template takes {template_tokens} of the model's {loaded.context_tokens} tokens and leaves no room",
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
