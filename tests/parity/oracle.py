"""CLIP4DM's attribution written straight from the paper: slow, one sample at a time, nothing skipped.

The network runs its own ``encode_text`` over the whole padded context; only scaled dot-product attention is replaced,
by the textbook formula with its probabilities kept in the graph, and where a network writes that formula out itself,
what its softmax gives is kept. One gradient a layer. No code of the product is used.
"""

from __future__ import annotations

import copy
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor


@cache
def with_gradients(network: Any) -> Any:
    """A copy of ``network`` whose parameters take part in the graph, as open_clip loads them."""
    return copy.deepcopy(network).requires_grad_(True)


def relevance(network: Any, image_features: Tensor, ids: Tensor, *, layers: int) -> tuple[float, Tensor]:
    """Cosine, and R = (1/k) Σ_l mean_h (G_l ⊙ A_l) over the last ``layers`` layers (T, T) for padded ``ids`` (T).

    ``network`` must take part in the graph (:func:`with_gradients`).
    """
    maps: list[Tensor] = []

    def attend(
        query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, *_: Any, **__: Any
    ) -> Tensor:
        scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
        if attn_mask is not None:
            scores = scores + attn_mask
        maps.append(scores.softmax(-1))
        return maps[-1] @ value

    softmax = torch.nn.functional.softmax

    def keep(*given: Any, **options: Any) -> Tensor:
        maps.append(softmax(*given, **options))
        return maps[-1]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.nn.functional, "scaled_dot_product_attention", attend)
        patch.setattr(torch.nn.functional, "softmax", keep)
        features = network.encode_text(ids[None])[0]
    cosine = torch.nn.functional.normalize(features, dim=-1) @ image_features
    total = torch.zeros_like(maps[-1][0, 0])
    for attention in maps[-layers:]:
        (gradient,) = torch.autograd.grad(cosine, attention, retain_graph=True)
        total += (gradient * attention)[0].mean(0)
    return cosine.item(), (total / layers).detach()
