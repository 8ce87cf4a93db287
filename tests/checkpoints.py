"""Small checkpoints for tests: a CLIP and a Long-CLIP in OpenAI's naming, 8 pixels, 64 tokens; OpenAI's archives."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from clipalign.models.load import import_open_clip

VOCABULARY = 64

CONFIG: dict[str, Any] = {
    "embed_dim": 16,
    "quick_gelu": True,
    "vision_cfg": {"image_size": 8, "layers": 2, "width": 64, "patch_size": 4, "head_width": 64},
    "text_cfg": {"context_length": 77, "vocab_size": VOCABULARY, "width": 64, "heads": 1, "layers": 3},
}


def config(**changes: Any) -> dict[str, Any]:
    """:data:`CONFIG` with changes; ``text_cfg`` and ``vision_cfg`` are merged."""
    made = copy.deepcopy(CONFIG)
    for key, value in changes.items():
        made[key] = made[key] | value if key.endswith("_cfg") else value
    return made


def state_dict(**changes: Any) -> dict[str, Tensor]:
    """Random weights of a CLIP of :func:`config`."""
    torch.manual_seed(0)
    network: nn.Module = import_open_clip().model.CLIP(**config(**changes))
    return network.state_dict()


def long_state_dict() -> dict[str, Tensor]:
    """The same with 248 positions in Long-CLIP's two tables."""
    tensors = state_dict(text_cfg={"context_length": 248})
    tensors["positional_embedding_res"] = torch.randn_like(tensors["positional_embedding"])
    return tensors


class _Holder(nn.Module):
    """A module that only holds others."""

    def forward(self, x: Tensor) -> Tensor:
        return x


def save_torchscript(tensors: dict[str, Tensor], path: Path) -> None:
    """An archive as OpenAI publishes them: fp16 weights in nested modules, and three numbers among them."""
    _scripted(tensors).save(str(path))


def torchscript_bytes(tensors: dict[str, Tensor]) -> bytes:
    """The same archive in memory."""
    content: bytes = _scripted(tensors).save_to_buffer()
    return content


def _scripted(tensors: dict[str, Tensor]) -> Any:
    root = _Holder()
    facts = {"input_resolution": torch.tensor(8), "context_length": torch.tensor(77), "vocab_size": torch.tensor(64)}
    for name, tensor in {**tensors, **facts}.items():
        *parents, leaf = name.split(".")
        place: nn.Module = root
        for parent in parents:
            if parent not in dict(place.named_children()):
                place.add_module(parent, _Holder())
            place = place.get_submodule(parent)
        place.register_buffer(leaf, tensor.half() if tensor.is_floating_point() else tensor)
    return torch.jit.script(root)
