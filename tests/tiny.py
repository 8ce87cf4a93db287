"""Small models for tests: the golden tiny CLIP with its weights, and random towers of every other kind."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from clipalign.device import DeviceChoice
from clipalign.models.load import import_open_clip
from clipalign.models.model import LoadedModel
from clipalign.models.registry import ModelRow, WeightSource

GOLDEN = Path(__file__).parent / "golden"
MEAN = (0.48145466, 0.4578275, 0.40821073)
STD = (0.26862954, 0.26130258, 0.27577711)

VISION = {"image_size": 32, "layers": 1, "width": 32, "patch_size": 16, "head_width": 16}
TEXT = {"context_length": 40, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 4}

TOWERS: dict[str, dict[str, Any]] = {
    "clip": {},
    "clip-gelu-less": {"quick_gelu": True},
    "clip-no-projection": {"embed_dim": 32, "text_cfg": {"proj_type": "none"}},
    "clip-linear-projection": {"text_cfg": {"proj_bias": True}},
    "clip-layer-scale": {"text_cfg": {"ls_init_value": 0.3}},
    "clip-eos-pooled": {"text_cfg": {"pool_type": "eos", "eos_id": 49407}},
    "clip-normed-heads": {
        "text_cfg": {"qk_norm": True, "scale_attn": True, "scale_fc": True, "scale_attn_inner": True}
    },
    "custom-causal": {"custom_text": True},
    "custom-bidirectional": {"custom_text": True, "text_cfg": {"no_causal_mask": True}},
    "clip-first-pooled": {"text_cfg": {"pool_type": "first", "no_causal_mask": True}},
    "siglip": {
        "custom_text": True,
        "text_cfg": {"no_causal_mask": True, "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6}},
    },
    "coca": {
        "vision_cfg": {"attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        "text_cfg": {"embed_cls": True, "output_tokens": True},
        "multimodal_cfg": {**TEXT, "layers": 1, "attn_pooler_heads": 2},
    },
}
"""Configurations of small towers, as changes to VISION and TEXT."""

CAUSAL = (
    *("clip", "clip-gelu-less", "clip-no-projection", "clip-linear-projection", "clip-layer-scale"),
    *("clip-eos-pooled", "clip-normed-heads", "custom-causal"),
)


@cache
def load_tiny() -> LoadedModel:
    """The golden tiny CLIP, fp32 on the CPU; one for all tests, since nothing may change a model."""
    config = json.loads((GOLDEN / "tiny-clip.json").read_text())
    network = import_open_clip().model.CLIP(**config)
    network.load_state_dict(load_file(GOLDEN / "tiny-clip.safetensors"))
    return wrap(network, name="tiny-clip", image_size=config["vision_cfg"]["image_size"], quick_gelu=True)


def hashed(loaded: LoadedModel, weights_sha256: str = "of the test") -> LoadedModel:
    """The model as if read from a file, without which its vectors are not kept on disk."""
    row = replace(loaded.row, weights=(WeightSource("file", file="weights"),))
    return replace(loaded, row=row, weights_sha256=weights_sha256)


@cache
def load_random(kind: str) -> LoadedModel:
    """A small random network of one of :data:`TOWERS`, its norms and biases random too; one for all tests."""
    open_clip = import_open_clip()
    changes = dict(TOWERS[kind])
    custom_text = changes.pop("custom_text", False)
    config = {
        "embed_dim": 24,
        **changes,
        "vision_cfg": VISION | changes.get("vision_cfg", {}),
        "text_cfg": TEXT | changes.get("text_cfg", {}),
    }
    build = open_clip.model.CustomTextCLIP if custom_text else open_clip.model.CLIP
    if "multimodal_cfg" in config:
        build = open_clip.coca_model.CoCa
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = build(**config)
        for parameter in network.parameters():
            parameter.data += torch.randn(parameter.shape) * (0.2 if parameter.ndim == 1 else 0.1)
    return wrap(network, name=kind, image_size=VISION["image_size"], context_tokens=TEXT["context_length"])


@cache
def _clip_tokenizer() -> Any:
    return import_open_clip().tokenizer.SimpleTokenizer()


def wrap(
    network: Any, *, name: str, image_size: int, context_tokens: int = 77, quick_gelu: bool = False
) -> LoadedModel:
    """A network as the product hands it round."""
    row = ModelRow(
        name=name,
        architecture=name,
        weights=(),
        quick_gelu=quick_gelu,
        context_tokens=context_tokens,
        image_size=image_size,
        mean=MEAN,
        std=STD,
        license="",
        layers=3,
        epsilon=-5e-5,
        commands=("detect",),
        note="",
    )
    return LoadedModel(
        row=row,
        network=network.float().eval().requires_grad_(False),
        tokenizer=_clip_tokenizer(),
        choice=DeviceChoice(device="cpu", precision="fp32", reason="", threads=None),
        weights_sha256="",
        architecture=name,
        quick_gelu=quick_gelu,
        context_tokens=context_tokens,
        image_size=image_size,
        mean=MEAN,
        std=STD,
        vocabulary=None,
    )
