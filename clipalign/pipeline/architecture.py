"""What a network looks like, as an open_clip config: read from a JSON file, or inferred from a checkpoint's shapes.

The inference is for checkpoints in OpenAI's naming (open_clip's plain CLIP and Long-CLIP share it): every size is a
shape, but for the number of heads, which is the width over 64, and the activation, which is QuickGELU in that format.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from torch import Tensor

from clipalign.errors import ModelMismatch

HEAD_WIDTH: Final = 64
"""Of every CLIP that OpenAI published."""

_RESNET_STAGES: Final = 4
_RESNET_DOWNSAMPLING: Final = 32  # input pixels to a cell of the last map, a side

_REQUIRED: Final = ("embed_dim", "vision_cfg", "text_cfg")
_TOWERS: Final = ("vision_cfg", "text_cfg", "multimodal_cfg")

_MAX_LAYERS: Final = 1000
"""Far more than any CLIP has; a million, as a slip of the hand, would be built for hours."""

_SHOWN: Final = 200
"""Characters of a message that repeats what a config holds."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """A network's shape and how its pictures are prepared.

    Attributes:
        label: for people: open_clip name, path, or the shapes in words.
        config: arguments of open_clip's model classes.
        preprocess: any of ``mean``, ``std``, ``interpolation``, ``resize_mode``, ``fill_color``.
        is_fixed: whether a user wrote it down, so that nothing in it may be corrected.
    """

    label: str
    config: dict[str, Any]
    preprocess: dict[str, Any] = field(default_factory=dict)
    is_fixed: bool = False


def read_config(path: Path) -> Architecture:
    """An open_clip config: the plain one, or the Hub's with ``model_cfg`` and ``preprocess_cfg``.

    Raises:
        ModelMismatch: no JSON, or not a config.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelMismatch(f"{path} is not readable as JSON: {error}", input=str(path)) from error
    outer = content if isinstance(content, dict) else {}
    config = dict(outer.get("model_cfg", outer)) if isinstance(outer.get("model_cfg", outer), dict) else {}
    preprocess = outer.get("preprocess_cfg") or config.pop("preprocess", None) or {}
    missing = [key for key in _REQUIRED if key not in config]
    if missing:
        raise ModelMismatch(f"{path} is not an open_clip config: it lacks {', '.join(missing)}", input=str(path))
    for key, part in (*((key, config.get(key, {})) for key in _TOWERS), ("preprocess_cfg", preprocess)):
        if not isinstance(part, dict):
            raise ModelMismatch(
                f"{path} is not an open_clip config: its {key} is no object but {part!r}"[:_SHOWN], input=str(path)
            )
        layers = part.get("layers", 0)
        deepest = max(layers, default=0) if isinstance(layers, list) and _are_numbers(layers) else layers
        if isinstance(deepest, int) and deepest > _MAX_LAYERS:
            raise ModelMismatch(
                f"{path} asks for {deepest} layers in its {key}; at most {_MAX_LAYERS} are built", input=str(path)
            )
    for key in ("mean", "std"):
        numbers = preprocess.get(key, 0.0)
        if not _are_numbers(numbers if isinstance(numbers, list) and len(numbers) == 3 else [numbers]):
            raise ModelMismatch(f"{path} has a {key} that is not three numbers", input=str(path))
    if (preprocess.get("fill_color") or 0) not in range(256):
        raise ModelMismatch(f"{path} has a fill_color that is no whole number from 0 to 255", input=str(path))
    return Architecture(str(path), config, preprocess, is_fixed=True)


def _are_numbers(values: list[object]) -> bool:
    return all(isinstance(value, int | float) for value in values)


def infer_architecture(tensors: dict[str, Tensor]) -> Architecture:
    """The architecture of a checkpoint in OpenAI's naming.

    Raises:
        ModelMismatch: the keys or shapes are not those of a CLIP in that naming.
    """
    try:
        vision = _infer_vit(tensors) if "visual.proj" in tensors else _infer_resnet(tensors)
        context_tokens, text_width = tensors["positional_embedding"].shape
        text = {
            "context_length": context_tokens,
            "vocab_size": tensors["token_embedding.weight"].shape[0],
            "width": text_width,
            "heads": _heads(text_width, "text"),
            "layers": _count_blocks(tensors, "transformer.resblocks."),
        }
        embed_dim = tensors["text_projection"].shape[1]
    except (KeyError, ValueError, IndexError) as error:
        what = f"there is no {error}" if isinstance(error, KeyError) else "its shapes do not fit together"
        raise ModelMismatch(
            f"the checkpoint is not in OpenAI's or Long-CLIP's format: {what}",
            hint="name its architecture: --model ARCHITECTURE@FILE or CONFIG.json@FILE",
        ) from error
    tower = "ResNet" if isinstance(vision["layers"], list) else f"ViT/{vision['patch_size']}"
    label = (
        f"{tower} of width {vision['width']} at {vision['image_size']} px, "
        f"text of {text['layers']} layers of width {text_width}, {context_tokens} tokens"
    )
    return Architecture(label, {"embed_dim": embed_dim, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text})


def _infer_vit(tensors: dict[str, Tensor]) -> dict[str, Any]:
    width, _, patch_size, _ = tensors["visual.conv1.weight"].shape
    _heads(width, "vision")
    return {
        "image_size": _side(tensors["visual.positional_embedding"]) * patch_size,
        "layers": _count_blocks(tensors, "visual.transformer.resblocks."),
        "width": width,
        "head_width": HEAD_WIDTH,
        "patch_size": patch_size,
    }


def _infer_resnet(tensors: dict[str, Tensor]) -> dict[str, Any]:
    positions = tensors["visual.attnpool.positional_embedding"]
    return {
        "image_size": _side(positions) * _RESNET_DOWNSAMPLING,
        "layers": [_count_blocks(tensors, f"visual.layer{stage}.") for stage in range(1, _RESNET_STAGES + 1)],
        "width": tensors["visual.layer1.0.conv1.weight"].shape[0],
        "head_width": HEAD_WIDTH,
        "patch_size": None,
    }


def _side(positions: Tensor) -> int:
    """Cells a side of a square map, from its table of positions with one more for the class token."""
    cells = positions.shape[0] - 1
    side = math.isqrt(cells)
    if side * side != cells:
        raise ValueError(f"{cells} cells make no square")
    return side


def _count_blocks(tensors: dict[str, Tensor], prefix: str) -> int:
    pattern = re.compile(re.escape(prefix) + r"(\d+)\.")
    return len({match.group(1) for match in map(pattern.match, tensors) if match})


def _heads(width: int, tower: str) -> int:
    if width % HEAD_WIDTH:
        raise ModelMismatch(
            f"the {tower} width {width} is no multiple of {HEAD_WIDTH}, so the number of heads cannot be told",
            hint="give a config with the checkpoint: --model CONFIG.json@FILE",
        )
    return width // HEAD_WIDTH
