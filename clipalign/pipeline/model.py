"""A registry row and a device become a model that is ready to be asked. The only room that imports open_clip.

Weights are loaded strictly: a key too many or too few, a shape, an activation or a value that does not fit is an error,
never a log line. The network is built without drawing its random initial weights, since every one is overwritten; the
global random generators stay untouched. Nothing here reaches for a network: what is not on this machine is an error.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import TYPE_CHECKING, Any

import torch

from clipalign.device import DeviceChoice

if TYPE_CHECKING:
    from clipalign.registry import ModelRow

_torchvision_schemas: torch.library.Library | None = None


def import_open_clip() -> ModuleType:
    """The ``open_clip`` package.

    It imports torchvision, whose Python side wants its compiled operators. Where torchvision was built for another
    torch those do not load and the import fails, although no operator is ever called here: then their schemas are
    declared, which is all the import needs.
    """
    global _torchvision_schemas
    try:
        importlib.import_module("torchvision")
    except RuntimeError as error:
        if "torchvision::" not in str(error) or _torchvision_schemas is not None:
            raise
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        # Declared operators live as long as this object does.
        _torchvision_schemas = torch.library.Library("torchvision", "DEF")
        for operator in ("nms", "qnms"):
            _torchvision_schemas.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    return importlib.import_module("open_clip")


@dataclass(eq=False)
class LoadedModel:
    """A model in memory, with everything a result must say about it.

    Attributes:
        row: the registry row it was loaded from.
        network: open_clip module in evaluation mode, parameters without gradients.
        tokenizer: its open_clip tokenizer.
        choice: device and precision, with the reason.
        weights_sha256: of the weights file.
        architecture: open_clip name, config file, or the shapes in words.
        quick_gelu: whether the towers use QuickGELU.
        context_tokens: tokens the text tower reads, start and end token included.
        image_size: side S of the input, in pixels.
        mean: subtracted per channel, from values in 0 to 1.
        std: divided by, per channel.
        vocabulary: lower-case words an embedded model was trained on; None for an open vocabulary.
        interpolation: of the resize, ``bicubic`` or ``bilinear``.
        resize_mode: ``shortest`` (side, then centre crop), ``longest`` (then padding) or ``squash``.
        fill_color: of the padding, 0 to 255.
        notes: what a reader of the results must know about the loading.
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
    notes: tuple[str, ...] = ()
