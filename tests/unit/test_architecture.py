"""A checkpoint's shapes tell what it was."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from clipalign.errors import ModelMismatch
from clipalign.models.architecture import infer_architecture, read_config
from clipalign.models.load import import_open_clip
from clipalign.models.long_context import fold_tables
from tests.checkpoints import config, long_state_dict, state_dict


def test_a_vision_transformer() -> None:
    assert infer_architecture(state_dict()).config == config()


def test_a_resnet() -> None:
    vision = {"image_size": 96, "layers": [2, 1, 3, 1], "width": 64, "patch_size": None}
    assert infer_architecture(state_dict(vision_cfg=vision)).config == config(vision_cfg=vision)


def test_a_long_one() -> None:
    inferred = infer_architecture(fold_tables(long_state_dict()))
    assert inferred.config == config(text_cfg={"context_length": 248})
    assert inferred.label == "ViT/4 of width 64 at 8 px, text of 3 layers of width 64, 248 tokens"


@pytest.mark.parametrize(
    "name", ["ViT-B-32-quickgelu", "ViT-B-16-quickgelu", "ViT-L-14-336-quickgelu", "RN50x4-quickgelu"]
)
def test_openais_models_are_recognised(name: str) -> None:
    theirs: dict[str, Any] = import_open_clip().get_model_config(name)
    with torch.device("meta"):
        tensors = import_open_clip().model.CLIP(**theirs).state_dict()
    inferred = infer_architecture(tensors).config
    assert inferred["vision_cfg"].items() >= theirs["vision_cfg"].items()
    assert inferred["text_cfg"] == theirs["text_cfg"]
    assert (inferred["embed_dim"], inferred["quick_gelu"]) == (theirs["embed_dim"], theirs["quick_gelu"])


def test_a_map_that_is_no_square_is_refused() -> None:
    tensors = state_dict()
    tensors["visual.positional_embedding"] = torch.zeros(7, 64)
    with pytest.raises(ModelMismatch, match="its shapes do not fit together"):
        infer_architecture(tensors)


REPOSITORY_CODE = {"hf_tokenizer_name": "owner/words", "tokenizer_kwargs": {"trust_remote_code": True}}


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"text_cfg": REPOSITORY_CODE}, "text_cfg.tokenizer_kwargs must be an object of clean, strip_sep_token, lang"),
        ({"text_cfg": {"hf_model_config": {}}}, "a field 'text_cfg.hf_model_config' that clipalign does not pass on"),
        ({"text_cfg": {"hf_tokenizer_name": "/tmp/words"}}, "text_cfg.hf_tokenizer_name must be the name of a repo"),
        ({"text_cfg": {"hf_tokenizer_name": "../words"}}, "text_cfg.hf_tokenizer_name must be the name of a repo"),
        ({"text_cfg": {"hf_model_name": 7}}, "text_cfg.hf_model_name must be the name of a repository"),
        ({"vision_cfg": {"timm_model_name": "hf-hub:owner/x"}}, "timm_model_name must be the plain name"),
        ({"vision_cfg": {"timm_model_name": "local-dir:/tmp"}}, "timm_model_name must be the plain name"),
        ({"text_cfg": {"context_length": 40000}}, "context_length must be a whole number from 1 to 4,096, not 40000"),
        ({"text_cfg": {"vocab_size": 10**12}}, "vocab_size must be a whole number from 1 to 2,000,000"),
        ({"text_cfg": {"width": 10**9}}, "width must be a whole number from 1 to 16,384"),
        ({"text_cfg": {"layers": True}}, "layers must be a whole number from 1 to 1,000, not True"),
        ({"vision_cfg": {"layers": [3, 4, 6, 10**6]}}, "vision_cfg.layers must be"),
        ({"vision_cfg": {"image_size": 4096, "patch_size": 1}}, "more than 128 patches a side"),
        ({"vision_cfg": {"mlp_ratio": float("inf")}}, "mlp_ratio must be a number from 0.01 to 64"),
        ({"text_cfg": {"output_tokens": True}}, "asks for output_tokens"),
        ({"cast_dtype": "fp16"}, "a field 'cast_dtype'"),
    ],
)
def test_a_config_says_known_things_within_bounds(tmp_path: Path, changes: dict[str, Any], why: str) -> None:
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(config(**changes)))
    with pytest.raises(ModelMismatch, match=re.escape(why)):
        read_config(path)


def test_every_config_of_open_clip_is_within_the_bounds() -> None:
    folder = Path(str(import_open_clip().__file__)).parent / "model_configs"
    files = sorted(folder.glob("*.json"))
    assert len(files) > 100
    for file in files:
        read_config(file)
