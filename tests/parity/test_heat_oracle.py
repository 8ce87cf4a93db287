"""Heat maps straight from their formula: the network's own ``encode_image`` with everything in the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import interpolate, normalize

import clipalign
from clipalign.models.heat import heat_maps
from clipalign.models.model import LoadedModel
from tests.parity.oracle import with_gradients
from tests.tiny import load_tiny


def attentions_of(network: Any, picture: Tensor) -> tuple[Tensor, list[Tensor], list[Tensor]]:
    """The picture's unit vector, all attention maps in order, and, of a ResNet, its last stage but one."""
    maps: list[Tensor] = []
    stages: list[Tensor] = []

    def attend(query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> Tensor:
        maps.append((query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5).softmax(-1))
        return maps[-1] @ value

    handles = []
    if hasattr(network.visual, "layer3"):
        handles.append(network.visual.layer3.register_forward_hook(lambda *given: stages.append(given[-1])))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)
        vector = normalize(network.encode_image(picture[None])[0], dim=-1)
    for handle in handles:
        handle.remove()
    return vector, maps, stages


def share(cosine: Tensor, attention: Tensor) -> Tensor:
    (gradient,) = torch.autograd.grad(cosine, attention, retain_graph=True)
    return (gradient * attention).flatten(0, -3).mean(0)[0, 1:].clamp(0).detach()


def expected(loaded: LoadedModel, picture: Tensor, direction: Tensor) -> Tensor:
    network = with_gradients(loaded.network)
    vector, maps, stages = attentions_of(network, picture)
    coarse = share(vector @ direction, maps[-1])
    side = round(len(coarse) ** 0.5)
    coarse = coarse.view(side, side)
    if not stages:
        return coarse
    (gradient,) = torch.autograd.grad(vector @ direction, stages[0])
    fine = (gradient * stages[0]).sum(1)[0].clamp(0).detach()
    return fine * interpolate(coarse[None, None], fine.shape, mode="bilinear")[0, 0]


@pytest.mark.parametrize("load", [load_tiny, lambda: clipalign.load("pictogram").loaded], ids=["transformer", "resnet"])
def test_heat_is_that_of_the_formula(load: Callable[[], LoadedModel]) -> None:
    loaded = load()
    draw = torch.Generator().manual_seed(2)
    picture = torch.randn(3, loaded.image_size, loaded.image_size, generator=draw)
    width = len(loaded.network.encode_image(picture[None])[0])
    directions = torch.randn(3, width, generator=draw)
    before = {name: value.clone() for name, value in loaded.network.state_dict().items()}
    found = heat_maps(loaded, picture, directions)
    for heat, direction in zip(found, directions, strict=True):
        oracle = expected(loaded, picture, direction)
        assert oracle.max() > 0
        torch.testing.assert_close(heat, oracle, rtol=1e-3, atol=1e-6 * float(oracle.max()))
    assert all(torch.equal(value, before[name]) for name, value in loaded.network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in loaded.network.parameters())
