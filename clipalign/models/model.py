"""What a loaded model is: the network, and everything that must be known to ask it and to say what answered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clipalign.device import DeviceChoice
from clipalign.models.registry import ModelRow

if TYPE_CHECKING:
    from clipalign.models.engines import Engine


@dataclass(eq=False)
class LoadedModel:
    """A model in memory, with everything a result must say about it.

    Attributes:
        network: open_clip module in evaluation mode, parameters without gradients.
        architecture: open_clip name, config file (of an embedded model without its folder), or the shapes in words.
        context_tokens: tokens the text tower reads, start and end token included.
        image_size: side S of the input, in pixels.
        mean, std: per channel, of values in 0 to 1.
        vocabulary: lower-case words an embedded model was trained on; None for an open vocabulary.
        interpolation: of the resize, ``bicubic`` or ``bilinear``.
        resize_mode: ``shortest`` (side, then center crop), ``longest`` (then padding) or ``squash``.
        fill_color: of the padding, 0 to 255.
        shorter_px: JPEG files may be decoded at a reduced scale that leaves their shorter side this many pixels; None
            for in full.
        notes: what a reader of the results must know about the loading.
        config: arguments of open_clip's model class, for a network that is trained and saved.
        engine: what encodes pictures instead of the network (:mod:`clipalign.models.engines`); None for the network.
    """

    row: ModelRow
    network: Any
    tokenizer: Any
    choice: DeviceChoice
    weights_sha256: str
    architecture: str
    quick_gelu: bool
    context_tokens: int
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    vocabulary: frozenset[str] | None = None
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"
    fill_color: int = 0
    shorter_px: int | None = None
    notes: tuple[str, ...] = ()
    config: dict[str, Any] = field(default_factory=dict)
    engine: Engine | None = None
