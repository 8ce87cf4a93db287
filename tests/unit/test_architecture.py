"""A checkpoint's shapes tell what it was."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clipalign.errors import ModelMismatch
from clipalign.pipeline.architecture import infer_architecture
from clipalign.pipeline.long_context import fold_tables
from clipalign.pipeline.model import import_open_clip
from tests.checkpoints import config, long_state_dict, state_dict


def test_a_vision_transformer():
    assert infer_architecture(state_dict()).config == config()


def test_a_resnet():
    vision = {"image_size": 96, "layers": [2, 1, 3, 1], "width": 64, "patch_size": None}
    assert infer_architecture(state_dict(vision_cfg=vision)).config == config(vision_cfg=vision)


def test_a_long_one():
    inferred = infer_architecture(fold_tables(long_state_dict()))
    assert inferred.config == config(text_cfg={"context_length": 248})
    assert inferred.label == "ViT/4 of width 64 at 8 px, text of 3 layers of width 64, 248 tokens"


@pytest.mark.parametrize(
    "name", ["ViT-B-32-quickgelu", "ViT-B-16-quickgelu", "ViT-L-14-336-quickgelu", "RN50x4-quickgelu"]
)
def test_openais_models_are_recognised(name: str):
    theirs: dict[str, Any] = import_open_clip().get_model_config(name)
    with torch.device("meta"):
        tensors = import_open_clip().model.CLIP(**theirs).state_dict()
    inferred = infer_architecture(tensors).config
    assert inferred["vision_cfg"].items() >= theirs["vision_cfg"].items()
    assert inferred["text_cfg"] == theirs["text_cfg"]
    assert (inferred["embed_dim"], inferred["quick_gelu"]) == (theirs["embed_dim"], theirs["quick_gelu"])


def test_a_map_that_is_no_square_is_refused():
    tensors = state_dict()
    tensors["visual.positional_embedding"] = torch.zeros(7, 64)
    with pytest.raises(ModelMismatch, match="its shapes do not fit together"):
        infer_architecture(tensors)
