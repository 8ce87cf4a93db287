"""The shortened image tower says what the network says."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from clipalign.device import choose_device
from clipalign.models.image_encoder import encode_pictures
from clipalign.models.load import import_open_clip, load_model
from tests.spy import noting
from tests.tiny import TOWERS, VISION, load_random, load_tiny

CHANGES: dict[str, dict[str, Any]] = {
    "class token": {},
    "two layers": {"layers": 2},
    "norm after pooling": {"final_ln_after_pool": True},
    "layer scale": {"ls_init_value": 0.3},
    "normed heads": {"qk_norm": True, "scale_attn": True, "scale_attn_inner": True, "scale_fc": True},
    "mean pooled": {"pool_type": "avg"},
    "attention pooled": {"attentional_pool": True, "attn_pooler_heads": 2},
    "residual network": {"layers": [1, 1, 1, 1], "width": 8, "head_width": 16},
}


@pytest.mark.parametrize("kind", CHANGES)
@torch.no_grad()
def test_every_kind_of_vision_tower_gives_the_networks_vectors(kind: str) -> None:
    text = {"context_length": 8, "vocab_size": 8, "width": 16, "heads": 1, "layers": 1}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = import_open_clip().model.CLIP(24, VISION | CHANGES[kind], text).eval()
        for parameter in network.visual.parameters():
            parameter += torch.randn(parameter.shape) * 0.1
        images = torch.randn(3, 3, 32, 32)
    torch.testing.assert_close(encode_pictures(network, images), network.encode_image(images), rtol=1e-5, atol=1e-5)


def test_the_golden_model_and_coca_too() -> None:
    assert "coca" in TOWERS
    for loaded in (load_tiny(), load_random("coca")):
        images = torch.randn(2, 3, loaded.image_size, loaded.image_size, generator=torch.Generator().manual_seed(0))
        found, expected = encode_pictures(loaded.network, images), loaded.network.encode_image(images)
        torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_convolutional_tower_gets_its_pictures_laid_out_for_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_model("pictogram", choice=choose_device("cpu"))
    images = torch.randn(3, 3, loaded.image_size, loaded.image_size, generator=torch.Generator().manual_seed(0))
    expected = loaded.network.encode_image(images, normalize=True)
    layouts = []
    stem = loaded.network.visual.stem
    monkeypatch.setattr(
        loaded.network.visual,
        "stem",
        noting(stem, lambda x: layouts.append(x.is_contiguous(memory_format=torch.channels_last))),
    )
    found = torch.nn.functional.normalize(encode_pictures(loaded.network, images), dim=-1)
    assert layouts == [True]
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    assert images.is_contiguous()
