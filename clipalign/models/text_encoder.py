"""The causal text tower, read at end tokens: prefill keys and values once, then query any prefix of a caption.

CLIP's text tower is causal and its text vector is read at the end token (EOT), so three things hold that the network's
own forward pass does not use:

- a token's state depends only on the tokens before it: every distinct prefix of a batch is computed once;
- no token but the EOT reads the EOT's stream: the other tokens' keys and values are constants for the gradient of
  anything read there, and an EOT can be placed after any prefix without touching what is already computed;
- in the last layer the tokens give keys and values and nothing else.

Tokens are packed without padding; only attention lays them out in rows. Both open_clip's ``ResidualAttentionBlock``
around ``nn.MultiheadAttention`` and its custom block with norms and scales are supported. Nothing is patched or hooked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812


def can_read(block: Any) -> bool:
    """Whether ``block`` is a supported attention block of open_clip; 3.3 itself cannot run scaled cosine attention."""
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
    """Keys and values alone: (..., D) to two of (..., H, D / H)."""
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


END_POOLING = ("argmax", "eos")  # open_clip's names for reading the text vector at the end token


@dataclass(frozen=True, slots=True)
class TokenForest:
    """Captions with every distinct prefix held once: N nodes, a node a prefix.

    Attributes:
        ids: token of each node (N).
        depths: its position in the caption (N).
        rows: the nodes along each caption, padded at the end with any node (B, T).
        places: where each node first occurs in ``rows``, flattened (N).
    """

    ids: Tensor
    depths: Tensor
    rows: Tensor
    places: Tensor

    @classmethod
    def plant(cls, captions: Sequence[Sequence[int]], device: torch.device) -> Self:
        """Lay out ``captions``, each from its start token to the last token before the end token."""
        width = max(len(caption) for caption in captions)
        nodes: dict[tuple[int, int], int] = {}
        ids: list[int] = []
        depths: list[int] = []
        places: list[int] = []
        rows: list[list[int]] = []
        for index, caption in enumerate(captions):
            parent = -1
            row: list[int] = []
            for depth, token in enumerate(caption):
                node = nodes.setdefault((parent, token), len(nodes))
                if node == len(ids):
                    ids.append(token)
                    depths.append(depth)
                    places.append(index * width + depth)
                row.append(node)
                parent = node
            rows.append(row + [0] * (width - len(row)))
        return cls(*(torch.tensor(values, device=device) for values in (ids, depths, rows, places)))


@dataclass(frozen=True, slots=True)
class Prefill:
    """Inputs of the last k layers for the end tokens: their own states, and the other tokens' keys and values.

    Attributes:
        queries: the end tokens' stream before the last k layers (B, P, D).
        keys, values: of the other tokens, for each of the last k layers (B, H, T, D / H).
        hidden: which of those tokens are after the queried prefix (B, 1, P, T).
    """

    queries: Tensor
    keys: tuple[Tensor, ...]
    values: tuple[Tensor, ...]
    hidden: Tensor


@dataclass(frozen=True, slots=True)
class CausalTextTower:
    """The parts of a causal, EOT-pooled open_clip text tower, in the network's own dtype and on its device."""

    token_embedding: nn.Embedding
    positional_embedding: Tensor
    blocks: Sequence[Any]
    ln_final: nn.Module
    text_projection: nn.Linear | Tensor | None
    eos_id: int | None

    @classmethod
    def of(cls, network: Any) -> Self | None:
        """The tower of an open_clip network, or None where the text is not read at the end of a causal tower."""
        text = getattr(network, "text", network)  # CustomTextCLIP and CoCa keep the tower apart, CLIP is one with it
        pooling = getattr(network, "text_pool_type", None) or getattr(text, "pool_type", None)
        causal = getattr(text, "attn_mask", None) is not None and getattr(text, "cls_emb", None) is None
        if not causal or pooling not in END_POOLING or not all(map(can_read, text.transformer.resblocks)):
            return None
        return cls(
            token_embedding=text.token_embedding,
            positional_embedding=text.positional_embedding,
            blocks=text.transformer.resblocks,
            ln_final=text.ln_final,
            text_projection=text.text_projection,
            eos_id=(text.text_eos_id if text is network else text.eos_id) if pooling == "eos" else None,
        )

    def ends(self, caption: Sequence[int]) -> bool:
        """Whether the network reads ``caption`` at its last token: open_clip takes the end token, or the highest id."""
        return caption.index(max(caption) if self.eos_id is None else self.eos_id) == len(caption) - 1

    @property
    def layers(self) -> int:
        return len(self.blocks)

    def prefill(self, captions: Sequence[Sequence[int]], prefixes: Sequence[Sequence[int]], *, layers: int) -> Prefill:
        """Compute everything that needs no gradient.

        Args:
            captions: token ids, start token to end token (B).
            prefixes: for each caption the prefix lengths to query, in tokens from the start token on; the end token
                takes the position after the prefix (B, P).
            layers: how many of the last layers the end tokens are still to pass (k).
        """
        device = self.positional_embedding.device
        forest = TokenForest.plant([caption[:-1] for caption in captions], device)
        lengths = torch.tensor(prefixes, device=device)  # (B, P)
        ends = torch.tensor([caption[-1] for caption in captions], device=device)[:, None].expand_as(lengths)
        hidden = (torch.arange(forest.rows.shape[1], device=device) >= lengths[..., None])[:, None]  # (B, 1, P, T)
        with torch.no_grad():
            tokens = self._embed(forest.ids, forest.depths)  # (N, D)
            queries = self._embed(ends, lengths)  # (B, P, D)
            for block in self.blocks[: self.layers - layers]:
                tokens, queries = _advance_together(block, tokens, queries, forest, hidden)
            keys, values = [], []
            for block in self.blocks[self.layers - layers : -1]:
                query, key, value = (part[forest.rows].transpose(1, 2) for part in project(block, tokens))
                tokens = close(block, tokens, _mix_causally(query, key, value, forest))
                keys.append(key)
                values.append(value)
            key, value = project_keys_values(self.blocks[-1], tokens)
            keys.append(key[forest.rows].transpose(1, 2))
            values.append(value[forest.rows].transpose(1, 2))
        return Prefill(queries, tuple(keys), tuple(values), hidden)

    def answer(self, prefill: Prefill) -> tuple[Tensor, list[Tensor]]:
        """Take the end tokens through the last k layers, to unit vectors, fp32 (B, P, E).

        Also returns for each of the k layers the attention probabilities of the end token, fp32 (B, H, P, T + 1): the
        other tokens, then the end token itself. The vectors are differentiable with respect to them where gradients are
        on.
        """
        stream, maps = prefill.queries, []
        if torch.is_grad_enabled():
            stream = stream.detach().requires_grad_()
        for block, key, value in zip(self.blocks[-len(prefill.keys) :], prefill.keys, prefill.values, strict=True):
            own = [part.transpose(1, 2) for part in project(block, stream)]  # query, key, value (B, H, P, D / H)
            mixed, probabilities = _mix_at_end(own, key, value, prefill.hidden)
            stream = close(block, stream, mixed.transpose(1, 2))
            maps.append(probabilities)
        features = project_pooled(self.ln_final(stream), self.text_projection)
        return F.normalize(features.float(), dim=-1), maps

    @torch.no_grad()
    def encode_prefixes(self, captions: Sequence[Sequence[int]], prefixes: Sequence[Sequence[int]]) -> Tensor:
        """Text vectors of prefixes: fp32, of length one (B, P, E); arguments as for :meth:`prefill`."""
        return self.answer(self.prefill(captions, prefixes, layers=1))[0]

    def _embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        dtype = self.blocks[0].get_weight_dtype()
        embedded: Tensor = self.token_embedding(ids).to(dtype) + self.positional_embedding[positions].to(dtype)
        return embedded


def _advance_together(
    block: Any, tokens: Tensor, queries: Tensor, forest: TokenForest, hidden: Tensor
) -> tuple[Tensor, Tensor]:
    """Take tokens (N, D) and end tokens (B, P, D) through one layer, sharing its matrix products."""
    n_tokens, (n_rows, n_queries) = len(tokens), queries.shape[:2]
    packed = torch.cat((tokens, queries.flatten(0, 1)))  # (N + B * P, D)
    parts = project(block, packed)  # query, key, value (N + B * P, H, D / H)
    own = [
        part[n_tokens:].view(n_rows, n_queries, *part.shape[1:]).transpose(1, 2) for part in parts
    ]  # (B, H, P, D / H)
    query, key, value = (part[forest.rows].transpose(1, 2) for part in parts)  # (B, H, T, D / H)
    mixed_tokens = _mix_causally(query, key, value, forest)
    mixed_ends, _ = _mix_at_end(own, key, value, hidden)
    packed = close(block, packed, torch.cat((mixed_tokens, mixed_ends.transpose(1, 2).flatten(0, 1))))
    return packed[:n_tokens], packed[n_tokens:].view(n_rows, n_queries, -1)


def _mix_causally(query: Tensor, key: Tensor, value: Tensor, forest: TokenForest) -> Tensor:
    """Attention among the tokens of each row (B, H, T, D / H), returned a node (N, H, D / H)."""
    mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return mixed.transpose(1, 2).flatten(0, 1)[forest.places]


def _mix_at_end(own: Sequence[Tensor], key: Tensor, value: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
    """Attention of end tokens (B, H, P, D / H) over prior tokens (B, H, T, D / H) and themselves; softmax in fp32."""
    query, own_key, own_value = own
    query = query * query.shape[-1] ** -0.5
    before = (query @ key.transpose(-2, -1)).masked_fill(hidden, -torch.inf)  # (B, H, P, T)
    itself = (query * own_key).sum(-1, keepdim=True)  # (B, H, P, 1)
    probabilities = torch.cat((before, itself), dim=-1).float().softmax(dim=-1)  # (B, H, P, T + 1)
    weights = probabilities.to(value.dtype)
    return weights[..., :-1] @ value + weights[..., -1:] * own_value, probabilities
