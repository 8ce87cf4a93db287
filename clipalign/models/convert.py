"""CLIP and SigLIP as transformers writes them, in open_clip's terms: config, preprocessing, names of weights.

Known numbers of a config are read; what it leaves out is transformers' default. SigLIP's image tower is timm's:
transformers' MAP head is ``AttentionPoolLatent`` there, with queries, keys and values in two matrices.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from clipalign.errors import ModelMismatch
from clipalign.models.folders import PREPROCESSING

if TYPE_CHECKING:
    from torch import Tensor

_TEXT: Final[dict[str, Any]] = {
    "vocab_size": 49408,
    "hidden_size": 512,
    "intermediate_size": 2048,
    "num_hidden_layers": 12,
    "num_attention_heads": 8,
    "max_position_embeddings": 77,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
    "eos_token_id": 49407,
}
_VISION: Final[dict[str, Any]] = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "num_channels": 3,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
_SIGLIP: Final = {"hidden_act": "gelu_pytorch_tanh", "layer_norm_eps": 1e-6}
_SIGLIP_TEXT: Final = (
    _TEXT
    | _SIGLIP
    | {"vocab_size": 32000, "hidden_size": 768, "intermediate_size": 3072, "num_attention_heads": 12}
    | {"max_position_embeddings": 64, "projection_size": None}
)
_SIGLIP_VISION: Final = _VISION | _SIGLIP | {"patch_size": 16, "vision_use_head": True}
_DEFAULTS: Final = {
    "clip": (_TEXT, _VISION),
    "metaclip_2": (_TEXT, _VISION),
    "siglip": (_SIGLIP_TEXT, _SIGLIP_VISION),
}
"""Defaults of transformers by type of model, of the text and the image tower."""

_TANH: Final = ("gelu_pytorch_tanh", "gelu_new")
_RESAMPLING: Final = {2: "bilinear", 3: "bicubic"}  # numbers of Pillow

_SMALL_TRUNK: Final = "vit_tiny_patch16_224"  # of timm; replaced by the trunk of the right size


def is_transformers(config: dict[str, Any]) -> bool:
    return "model_type" in config and "embed_dim" not in config


def convert_config(content: dict[str, Any], path: Path) -> dict[str, Any]:
    """A config of transformers as open_clip's, with the sizes of SigLIP's image tower; ModelMismatch if unsupported."""
    kind = content["model_type"]
    if kind not in _DEFAULTS:
        variable = " (pictures of variable resolution)" if kind == "siglip2" else ""
        raise ModelMismatch(
            f"{path} is of the model type {kind!r:.60}{variable}, which is not served",
            hint=f"served are {', '.join(_DEFAULTS)}; others may exist for open_clip: --model NAME@TAG",
            input=str(path),
        )
    text, vision = (_section(content, *pair) for pair in zip(("text", "vision"), _DEFAULTS[kind], strict=True))
    activations = {text["hidden_act"], vision["hidden_act"]}
    if not activations <= {"quick_gelu", "gelu", *_TANH} or ("quick_gelu" in activations and len(activations) > 1):
        raise ModelMismatch(
            f"{path} has the activations {', '.join(sorted(map(str, activations)))}, which open_clip cannot combine",
            input=str(path),
        )
    if vision["num_channels"] != 3 or not vision.get("vision_use_head", True):
        raise ModelMismatch(f"{path} has an image tower without color or without a pooled vector", input=str(path))
    try:
        return (
            _siglip(text, vision) if kind == "siglip" else _clip(text, vision, content.get("projection_dim", 512), kind)
        )
    except (TypeError, ZeroDivisionError) as error:
        raise ModelMismatch(f"{path} has sizes that are no numbers: {error}", input=str(path)) from error


def _section(content: dict[str, Any], tower: str, defaults: dict[str, Any]) -> dict[str, Any]:
    """The part about one tower; early versions repeated it under another name, which wins."""
    said = content.get(f"{tower}_config_dict") or content.get(f"{tower}_config") or {}
    return defaults | {name: said[name] for name in defaults if isinstance(said, dict) and name in said}


def _tower(said: dict[str, Any]) -> dict[str, Any]:
    tower = {
        "width": said["hidden_size"],
        "layers": said["num_hidden_layers"],
        "mlp_ratio": _ratio(said),
        "norm_kwargs": {"eps": said["layer_norm_eps"]},
    }
    return tower | ({"act_kwargs": {"approximate": "tanh"}} if said["hidden_act"] in _TANH else {})


def _ratio(said: dict[str, Any]) -> float:
    """Width of the feed-forward part over that of the stream; half a unit more, since the product is truncated."""
    return float((said["intermediate_size"] + 0.5) / said["hidden_size"])


def _clip(text: dict[str, Any], vision: dict[str, Any], embed_dim: object, kind: str) -> dict[str, Any]:
    end = text["eos_token_id"]
    legacy = end == 2 and kind == "clip"  # the first configs said 2, whatever it was: the highest id is meant
    return {
        "embed_dim": embed_dim,
        "quick_gelu": text["hidden_act"] == "quick_gelu",
        "text_cfg": _text(text) | ({"pool_type": "argmax"} if legacy else {"pool_type": "eos", "eos_id": end}),
        "vision_cfg": _image(vision),
    }


def _siglip(text: dict[str, Any], vision: dict[str, Any]) -> dict[str, Any]:
    return {
        "embed_dim": text["projection_size"] or text["hidden_size"],
        "quick_gelu": text["hidden_act"] == "quick_gelu",
        "custom_text": True,
        "init_logit_bias": -10,
        "text_cfg": _text(text) | {"no_causal_mask": True, "proj_bias": True, "pool_type": "last"},
        "vision_cfg": _image(vision) | {"timm_model_name": _SMALL_TRUNK, "timm_pool": "map", "timm_proj": "none"},
    }


def _text(said: dict[str, Any]) -> dict[str, Any]:
    return _tower(said) | {
        "context_length": said["max_position_embeddings"],
        "vocab_size": said["vocab_size"],
        "heads": said["num_attention_heads"],
    }


def _image(said: dict[str, Any]) -> dict[str, Any]:
    return _tower(said) | {
        "image_size": _side(said["image_size"]),
        "patch_size": _side(said["patch_size"]),
        "head_width": said["hidden_size"] // said["num_attention_heads"],
    }


def _side(size: Any) -> Any:
    return size[0] if isinstance(size, list) and len(set(size)) == 1 else size


def read_preprocessing(folder: Path, image_size: int, *, squash: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Preprocessing of a model of transformers, and what of that is a guess; ModelMismatch if unsupported or no JSON.

    ``squash`` says whether models of its kind resize without keeping the shape, as SigLIP does.
    """
    assumed: dict[str, Any] = {"resize_mode": "squash", "mean": [0.5] * 3, "std": [0.5] * 3} if squash else {}
    path = next((folder / name for name in PREPROCESSING if (folder / name).is_file()), None)
    if path is None:
        whose = "SigLIP's" if squash else "OpenAI's"
        return assumed, (f"{whose} preprocessing assumed: there is no {PREPROCESSING[0]} in {folder}",)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        said = content.get("image_processor", content)
        crop = bool(said.get("do_center_crop", not squash))
        size = said.get("size", image_size)  # a number in early versions
        if not isinstance(size, dict):
            size = {"shortest_edge": size} if crop else {"height": size, "width": size}
        shortest, sides = size.get("shortest_edge"), {size.get("height"), size.get("width")}
        filter_, scale = _RESAMPLING.get(said.get("resample", 3)), float(said.get("rescale_factor", 1 / 255))
        normalization = {"mean": said.get("image_mean"), "std": said.get("image_std")}
        if not said.get("do_normalize", True):
            normalization = {"mean": 0.0, "std": 1.0}
    except (OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise ModelMismatch(f"{path} is not readable: {error!r:.80}", input=str(path)) from error
    fits = crop if shortest else sides == {image_size}
    if not fits or filter_ is None or abs(scale * 255 - 1) > 1e-6:
        raise ModelMismatch(f"{path} asks for a preprocessing that clipalign does not have", input=str(path))
    found = assumed | {name: numbers for name, numbers in normalization.items() if numbers is not None}
    found |= {"interpolation": filter_, "resize_mode": "shortest" if shortest else "squash"}
    if shortest and shortest != image_size:
        return found, (f"pictures are resized to {image_size} pixels, not to {shortest} with a crop of {image_size}",)
    return found, ()


_BLOCK: Final = (
    *(("layer_norm1", "ln_1"), ("layer_norm2", "ln_2"), ("self_attn.", "attn.")),
    *(("mlp.fc1", "mlp.c_fc"), ("mlp.fc2", "mlp.c_proj")),
    *(("position_embedding.weight", "positional_embedding"), ("encoder.layers", "transformer.resblocks")),
)
_TEXT_NAMES: Final = (
    *(*_BLOCK, ("embeddings.", ""), ("final_layer_norm", "ln_final")),
    *(("text_model.head", "text_projection"), ("text_model.", "")),
)
_IMAGE_NAMES: Final = (
    *(*_BLOCK, ("embeddings.", ""), ("patch_embedding", "conv1"), ("pre_layrnorm", "ln_pre")),
    *(("post_layernorm", "ln_post"), ("vision_model.", "visual.")),
)
_TRUNK_NAMES: Final = (
    *(("layer_norm", "norm"), ("self_attn.in_proj_", "attn.qkv."), ("self_attn.out_proj", "attn.proj")),
    *(("embeddings.patch_embedding", "patch_embed.proj"), ("embeddings.position_embedding.weight", "pos_embed")),
    *(("encoder.layers", "blocks"), ("post_layernorm", "norm"), ("head.probe", "attn_pool.latent")),
    *(("head.attention.out_proj", "attn_pool.proj"), ("head.layernorm", "attn_pool.norm")),
    *(("head.mlp", "attn_pool.mlp"), ("vision_model.", "visual.trunk.")),
)
_PROJECTIONS: Final = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}
"""Of CLIP: matrices there, the weights of linear layers here."""

_QUERY: Final = "self_attn.q_proj."
_PACKED: Final = "vision_model.head.attention.in_proj_"


def convert_names(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Rename transformers' weights to fit open_clip's ``CLIP``, or SigLIP's ``CustomTextCLIP``; unknown names stay."""
    if not any(name.startswith("text_model.") for name in tensors):
        return tensors
    siglip = any(name.startswith("vision_model.head.") for name in tensors)
    trunk = _TRUNK_NAMES if siglip else _IMAGE_NAMES
    converted: dict[str, Tensor] = {}
    for name, tensor in _attention_packed(tensors).items():
        if name.endswith("embeddings.position_ids"):  # former versions saved them as if they were weights
            continue
        if name in _PROJECTIONS and tensor.ndim == 2:
            converted[_PROJECTIONS[name]] = tensor.T
        elif name.startswith(_PACKED) and tensor.ndim:
            leaf, rows = name.removeprefix(_PACKED), len(tensor) // 3
            converted[f"visual.trunk.attn_pool.q.{leaf}"] = tensor[:rows]
            converted[f"visual.trunk.attn_pool.kv.{leaf}"] = tensor[rows:]
        elif name.startswith("text_model."):
            converted["text." * siglip + _renamed(name, _TEXT_NAMES)] = tensor
        else:
            renamed = _renamed(name, trunk) if name.startswith("vision_model.") else name
            converted[renamed] = tensor[None] if renamed == "visual.trunk.pos_embed" else tensor
    return converted


def _renamed(name: str, names: Iterable[tuple[str, str]]) -> str:
    for theirs, ours in names:
        name = name.replace(theirs, ours)
    return name


def _attention_packed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Join queries, keys and values of each layer in one matrix, in this order."""
    import torch  # here, since downloads read configs without it

    packed = dict(tensors)
    for name in tensors:
        parts = [name.replace(_QUERY, f"self_attn.{part}_proj.") for part in "qkv"]
        if (
            _QUERY in name
            and tensors[name].ndim
            and all(part in tensors and tensors[part].shape[1:] == tensors[name].shape[1:] for part in parts)
        ):
            packed[name.replace(_QUERY, "self_attn.in_proj_")] = torch.cat([packed.pop(part) for part in parts])
    return packed
