"""open_clip's attention blocks taken apart, so that towers can ask them less than everything.

Both kinds of block are read: ``ResidualAttentionBlock`` around ``nn.MultiheadAttention``, and the custom block with its
norms and scales. Their modules are called as they are: nothing is patched, hooked or copied, nothing is to be undone.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


def can_read(block: Any) -> bool:
    """Whether ``block`` is an open_clip attention block whose parts the functions below know.

    Scaled cosine attention is left out: open_clip 3.3 cannot run it itself.
    """
    attention = getattr(block, "attn", None)
    return (
        hasattr(block, "ls_2")
        and hasattr(attention, "in_proj_weight")
        and getattr(attention, "logit_scale", None) is None
    )


def project(block: Any, stream: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Queries, keys and values of one layer: (..., D) to three of (..., H, D / H)."""
    attention = block.attn
    packed = F.linear(block.ln_1(stream), attention.in_proj_weight, attention.in_proj_bias)
    query, key, value = packed.view(*packed.shape[:-1], 3, attention.num_heads, -1).unbind(-3)
    if hasattr(attention, "ln_q"):  # open_clip's own Attention, with norms where the config asks for them
        query, key = attention.ln_q(query), attention.ln_k(key)
    return query, key, value


def project_queries(block: Any, stream: Tensor) -> Tensor:
    """Queries alone: (..., D) to (..., H, D / H)."""
    attention, width = block.attn, stream.shape[-1]
    bias = None if attention.in_proj_bias is None else attention.in_proj_bias[:width]
    query = F.linear(block.ln_1(stream), attention.in_proj_weight[:width], bias)
    query = query.view(*query.shape[:-1], attention.num_heads, -1)
    return attention.ln_q(query) if hasattr(attention, "ln_q") else query


def project_keys_values(block: Any, stream: Tensor) -> tuple[Tensor, Tensor]:
    """Keys and values alone, for tokens that ask nothing: (..., D) to two of (..., H, D / H)."""
    attention, width = block.attn, stream.shape[-1]
    bias = None if attention.in_proj_bias is None else attention.in_proj_bias[width:]
    packed = F.linear(block.ln_1(stream), attention.in_proj_weight[width:], bias)
    key, value = packed.view(*packed.shape[:-1], 2, attention.num_heads, -1).unbind(-3)
    return (attention.ln_k(key) if hasattr(attention, "ln_k") else key), value


def close(block: Any, stream: Tensor, mixed: Tensor) -> Tensor:
    """The rest of one layer: mixed values (..., H, D / H) and the feed-forward part, added to the stream (..., D)."""
    attention = block.attn
    if getattr(attention, "head_scale", None) is not None:
        mixed = mixed * attention.head_scale[:, 0]
    mixed = mixed.flatten(-2)
    if hasattr(attention, "ln_inner"):
        mixed = attention.ln_inner(mixed)
    mixed = attention.out_proj(mixed)
    if hasattr(block, "ln_attn"):
        mixed = block.ln_attn(mixed)
    stream = stream + block.ls_1(mixed)
    advanced: Tensor = stream + block.ls_2(block.mlp(block.ln_2(stream)))
    return advanced


def project_pooled(pooled: Tensor, projection: nn.Linear | Tensor | None) -> Tensor:
    """Joint vectors from pooled states: (..., D) to (..., E)."""
    if projection is None:
        return pooled
    projected: Tensor = projection(pooled) if isinstance(projection, nn.Module) else pooled @ projection
    return projected
