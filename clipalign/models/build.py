"""A config and weights become a network of open_clip, strictly.

A missing or extra key, a shape, a type or a size that does not fit is an error. Random initial weights are not drawn,
since every one is overwritten; the global random generators stay untouched. Nothing is downloaded.
"""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from clipalign.device import is_out_of_memory
from clipalign.errors import ModelMismatch, name_some
from clipalign.models.architecture import Architecture, read_text_tower
from clipalign.models.checkpoints import NAMED_KEYS
from clipalign.models.registry import ModelRow
from clipalign.models.weights import hub_file

_ROOM: Final = 4
_ROOM_BYTES: Final = 1024**3
"""A network may take four times its weights and a gibibyte while it is built: open_clip makes a text tower of a
repository with its decoder, and throws that away.
"""

_SCALARS: Final = ("logit_scale", "logit_bias")


@contextmanager
def no_network() -> Iterator[None]:
    """Make requests to the Hub fail inside the block, whichever library makes them and whenever it was imported."""
    from huggingface_hub import constants

    before, constants.HF_HUB_OFFLINE = constants.HF_HUB_OFFLINE, True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


class _Building(TorchDispatchMode):
    """Leave out random initial values, which would be overwritten, and refuse networks that need too much memory."""

    def __init__(self, room_bytes: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._room_bytes = room_bytes

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        aten = torch.ops.aten
        kwargs = dict(kwargs or {})
        operator = func.overloadpacket
        if operator in (aten.empty, aten.zeros, aten.ones, aten.full, aten.randn, aten.rand):
            self._room_bytes -= 4 * math.prod(args[0])
            if self._room_bytes < 0:
                raise ValueError("it is far larger than its weights")
        if operator in (aten.normal_, aten.uniform_):
            return args[0]
        if operator in (aten.randn, aten.rand):
            kwargs.pop("generator", None)
            return torch.empty(args[0], **kwargs)
        return func(*args, **kwargs)


def load_network(
    architecture: Architecture, tensors: dict[str, Tensor], open_clip: ModuleType, row: ModelRow, context_tokens: int
) -> Any:
    """The network of a config with its weights in it, in evaluation mode and without gradients, fp32 on the CPU.

    Raises:
        ModelMismatch: open_clip cannot build it, or the weights do not fit.
        MissingWeights: the config of its text tower is not on this machine.
    """
    room_bytes = _ROOM * sum(tensor.nbytes for tensor in tensors.values()) + _ROOM_BYTES
    network = _build(architecture, open_clip, row, room_bytes)
    _fill(network, tensors, open_clip, label=architecture.label, row=row)
    if architecture.is_fixed:
        _try_out(network, image_size_of(network, row), context_tokens, row)
    return network.eval().requires_grad_(False)


def _build(architecture: Architecture, open_clip: ModuleType, row: ModelRow, room_bytes: int) -> Any:
    """The network with arbitrary weights, by the class that open_clip uses for such a config."""
    config = copy.deepcopy(architecture.config)
    tower: dict[str, Any] = {}
    vision, text = config["vision_cfg"], config["text_cfg"]
    if "timm_model_name" in vision:
        vision["timm_model_pretrained"] = False
    custom_text = config.pop("custom_text", False)
    if "hf_model_name" in text:
        custom_text = True
        text["hf_model_pretrained"] = False
        tower = read_text_tower(hub_file(text["hf_model_name"], ("config.json",), row))
    kind = open_clip.model.CustomTextCLIP if custom_text else open_clip.model.CLIP
    if custom_text and "multimodal_cfg" in config:
        kind = open_clip.coca_model.CoCa
    try:
        with TemporaryDirectory() as folder, no_network(), _Building(room_bytes):
            if tower:
                Path(folder, "config.json").write_text(json.dumps(tower), encoding="utf-8")
                text["hf_model_name"] = folder
            network = kind(**config)
            for module in network.text.transformer.modules() if tower else ():
                if hasattr(module, "config"):  # of all kinds of attention this one alone hands out its probabilities
                    module.config._attn_implementation = "eager"
            if architecture.is_siglip:
                network.visual.trunk = _siglip_trunk(config)
            return network
    except Exception as error:  # a config may hold anything, and open_clip takes it at its word
        raise ModelMismatch(
            f"open_clip cannot build the architecture of {row.name}: {str(error).partition(chr(10))[0]}", input=row.name
        ) from error


def _siglip_trunk(config: dict[str, Any]) -> nn.Module:
    """timm's image tower of a SigLIP of any size; timm has names for a few sizes only."""
    from timm.models.vision_transformer import VisionTransformer

    vision = config["vision_cfg"]
    trunk: nn.Module = VisionTransformer(
        img_size=vision["image_size"],
        patch_size=vision["patch_size"],
        embed_dim=vision["width"],
        depth=vision["layers"],
        num_heads=vision["width"] // vision["head_width"],
        mlp_ratio=vision["mlp_ratio"],
        norm_layer=partial(nn.LayerNorm, **vision["norm_kwargs"]),
        act_layer="gelu_tanh" if "act_kwargs" in vision else "quick_gelu" if config["quick_gelu"] else "gelu",
        class_token=False,
        global_pool="map",
        num_classes=0,
    )
    return trunk


def _fill(network: Any, tensors: dict[str, Tensor], open_clip: ModuleType, *, label: str, row: ModelRow) -> None:
    wanted = network.state_dict()
    tensors = open_clip.convert.convert_state_dict(network, dict(tensors))
    if "positional_embedding" in tensors and "text.positional_embedding" in wanted:
        tensors = open_clip.model.convert_to_custom_text_state_dict(tensors)
    # Former versions of transformers saved the numbers of the positions as if they were weights.
    tensors.pop("text.transformer.embeddings.position_ids", None)
    for scalar in _SCALARS:  # of no dimension, or of one
        if scalar in tensors and scalar in wanted and tensors[scalar].numel() == 1:
            tensors[scalar] = tensors[scalar].reshape(wanted[scalar].shape)
    # They scale logits, and nothing here asks for those.
    tensors = {name: wanted[name] for name in _SCALARS if name in wanted} | tensors
    missing = [name for name in wanted if name not in tensors]
    unexpected = [name for name in tensors if name not in wanted]
    misshapen = [
        f"{name} {tuple(tensors[name].shape)} for {tuple(wanted[name].shape)}"
        for name in wanted
        if name in tensors and tensors[name].shape != wanted[name].shape
    ]
    mistyped = [
        f"{name} {str(tensors[name].dtype).removeprefix('torch.')}"
        for name in wanted
        if name in tensors and tensors[name].is_floating_point() != wanted[name].is_floating_point()
    ]
    found = [("missing", missing), ("not expected", unexpected), ("of another shape", misshapen)]
    found.append(("of another type", mistyped))
    wrong = [f"{what}: {name_some(names, most=NAMED_KEYS)}" for what, names in found if names]
    if wrong:
        raise ModelMismatch(
            f"the weights do not fit {label}; {'; '.join(wrong)}",
            hint="name the architecture they were made with: --model ARCHITECTURE@FILE or CONFIG.json@FILE",
            input=row.name,
        )
    network.load_state_dict(tensors, strict=True, assign=True)


def image_size_of(network: Any, row: ModelRow) -> int:
    size = network.visual.image_size
    sides = set(size) if isinstance(size, (tuple, list)) else {size}
    if len(sides) != 1:
        raise ModelMismatch(f"{row.name} wants pictures of {size} pixels; only squares are served", input=row.name)
    return int(sides.pop())


def _try_out(network: Any, image_size: int, context_tokens: int, row: ModelRow) -> None:
    """Check that both towers of a user's config run, and end in vectors of one length."""
    network.eval()
    try:
        with torch.inference_mode():
            image = network.encode_image(torch.zeros(1, 3, image_size, image_size))
            text = network.encode_text(torch.zeros(1, context_tokens, dtype=torch.long))
            lengths = tuple(image.shape), tuple(text.shape)
    except Exception as error:  # a config may put together what does not fit
        if is_out_of_memory(error):
            raise
        why = str(error).partition("\n")[0]
        raise ModelMismatch(f"the architecture of {row.name} does not run: {why}", input=row.name) from error
    if lengths[0] != lengths[1] or len(lengths[0]) != 2:
        raise ModelMismatch(
            f"{row.name} turns a picture into numbers of shape {lengths[0]} and a text into {lengths[1]}; "
            "both must be one vector of one length",
            input=row.name,
        )
