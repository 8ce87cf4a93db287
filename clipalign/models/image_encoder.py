"""The image tower, without computations whose results are unused.

A ViT whose vector is its class token's needs the other tokens of the last layer for their keys and values alone: no
queries, no feed-forward part (7 % of ViT-B/32). Every other image tower runs as open_clip wrote it; a convolutional one
gets its pictures in the memory layout that kernels need. The network is not changed. Nothing is normalized.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.models.load import import_open_clip
from clipalign.models.text_encoder import can_read, close, project_keys_values, project_pooled, project_queries


def encode_pictures(network: Any, images: Tensor) -> Tensor:
    """Image vectors of any length: (B, 3, S, S) in the network's dtype to (B, E)."""
    visual = network.visual
    if not reads_class_token_alone(visual):
        if isinstance(visual, import_open_clip().modified_resnet.ModifiedResNet):
            # A quarter of the tower's time on a CPU: pooling of channels that lie side by side is vectorized, all
            # layers follow. Tensor cores want the same layout.
            images = images.contiguous(memory_format=torch.channels_last)
        features: Tensor = network.encode_image(images)
        return features
    *blocks, last = visual.transformer.resblocks
    stream = visual._embeds(images)  # (B, T, D)
    for block in blocks:
        stream = block(stream)
    key, value = (part.transpose(1, 2) for part in project_keys_values(last, stream))  # (B, H, T, D / H)
    pooled = stream[:, :1]
    mixed = F.scaled_dot_product_attention(project_queries(last, pooled).transpose(1, 2), key, value)
    pooled = close(last, pooled, mixed.transpose(1, 2))[:, 0]
    return project_pooled(visual.ln_post(pooled), visual.proj)  # a norm acts row by row, before or after pooling


def reads_class_token_alone(visual: Any) -> bool:
    """Whether a tower is a plain ViT of open_clip whose vector is its class token's."""
    plain = type(visual) is import_open_clip().transformer.VisionTransformer
    return (
        plain
        and visual.pool_type == "tok"
        and visual.attn_pool is None
        and not visual.output_tokens
        and getattr(visual.transformer, "batch_first", True)  # gone from open_clip 4, where it is always so
        and can_read(visual.transformer.resblocks[-1])
    )
