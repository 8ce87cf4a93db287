"""The text tower in training: the beginnings of one caption share every token that they have in common.

A step reads four texts of each sample: a prefix, the next longer one, the prefix with a wrong detail, and the whole
caption. In a causal tower they are one tree of tokens with four end tokens: every token is computed once, forward and
backward, and sees its own ancestors alone. Vectors and gradients are exactly those of four separate encodings. Trees of
similar size go through the tower together, padded to the largest of them. Towers that are not causal are encoded text
by text.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Any, Final, Self

import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812
from torch.utils.checkpoint import checkpoint

from clipalign.models.text_encoder import (
    CausalTextTower,
    close,
    project,
    project_keys_values,
    project_pooled,
    project_queries,
)
from clipalign.models.tokenize import check_vocabulary

CHUNK_TOKENS: Final = 4096  # through the tower together, padding included; keeps a CPU's matrix units busy

GPU_CHUNK_TOKENS: Final = 65536

CHUNK_SPREAD: Final = 0.9
"""On a CPU the smallest tree of a chunk has at least this share of the largest one's tokens."""

TokenIds = Sequence[int]


@dataclass(frozen=True, slots=True)
class TokenTree:
    """P texts with their common prefixes held once.

    Attributes:
        ids: tokens of the nodes, then the end token of each text (N + P).
        positions: in their texts (N + P).
        ancestors: for each, the nodes it sees, itself included (N + P, N + P), bool.
    """

    ids: list[int]
    positions: list[int]
    ancestors: Tensor
    texts: int

    @classmethod
    def plant(cls, texts: Sequence[TokenIds]) -> Self:
        """Lay out texts, each from its start token to its end token; longer ones first gives the same tree."""
        paths: list[list[int]] = []
        ids: list[int] = []
        positions: list[int] = []
        planted: list[TokenIds] = []
        tails: list[int] = []
        for text in texts:
            body = text[:-1]
            shared, path = 0, list[int]()
            for other, other_path in zip(planted, paths, strict=True):
                common = _common_length(body, other)
                if common > shared:
                    shared, path = common, other_path[:common]
            tail = list(range(len(ids), len(ids) + len(body) - shared))
            paths.append(path + tail)
            ids.extend(body[shared:])
            positions.extend(range(shared, len(body)))
            planted.append(body)
            tails.append(shared)
        nodes = len(ids)
        ancestors = torch.zeros(nodes + len(texts), nodes + len(texts), dtype=torch.bool)
        for index, (path, shared) in enumerate(zip(paths, tails, strict=True)):
            if shared < len(path):
                first, last = path[shared], path[-1] + 1
                ancestors[first:last, path[:shared]] = True
                ancestors[first:last, first:last] = torch.ones(last - first, last - first, dtype=torch.bool).tril()
            ancestors[nodes + index, path] = True
            ancestors[nodes + index, nodes + index] = True
        ids += [text[-1] for text in texts]
        positions += [len(text) - 1 for text in texts]
        return cls(ids, positions, ancestors, len(texts))


def _common_length(first: TokenIds, second: TokenIds) -> int:
    length = min(len(first), len(second))
    if first[:length] == second[:length]:
        return length
    return next(index for index in range(length) if first[index] != second[index])


@dataclass(frozen=True, slots=True)
class TextReader:
    """Encode texts of samples with gradients for every weight of the text tower.

    Attributes:
        tower: the network's causal tower, None where it has none: then each text is encoded by itself.
        context_tokens: what the network reads at most; towers that are not causal are padded to it.
        recompute: save memory by computing inner states twice.
    """

    network: Any
    tower: CausalTextTower | None
    context_tokens: int
    recompute: bool = False

    @classmethod
    def of(cls, network: Any, *, context_tokens: int, recompute: bool = False) -> Self:
        return cls(network, CausalTextTower.of(network), context_tokens, recompute)

    def read(self, samples: Sequence[Sequence[TokenIds]]) -> Tensor:
        """Unit vectors of all texts of all samples, sample after sample, fp32 (P, E).

        Texts are token ids from the start token to the end token, cut to the context; a sample's share their common
        prefixes.
        """
        highest = max((token for texts in samples for text in texts for token in text), default=0)
        check_vocabulary(self.network, highest, "the model to train")
        tower = self.tower
        if tower is None or not all(tower.ends(text) for texts in samples for text in texts):
            return self._read_one_by_one(samples)
        trees = [TokenTree.plant(texts) for texts in samples]
        order = sorted(range(len(trees)), key=lambda index: len(trees[index].ids))
        device = tower.positional_embedding.device
        # The vocabulary is looked up once for all: each look-up's gradient is as large as the whole table.
        words = torch.tensor(sorted({token for tree in trees for token in tree.ids}))
        table = tower.token_embedding(words.to(device))  # (V', D)
        vectors = [
            self._encode_trees(tower, [trees[index] for index in chunk], words, table)
            for chunk in _chunks(order, trees, device.type)
        ]
        first_texts = list(accumulate((tree.texts for tree in trees), initial=0))
        rows = [first_texts[index] + text for index in order for text in range(trees[index].texts)]
        return torch.cat(vectors)[torch.tensor(rows, device=device).argsort()]

    def _encode_trees(self, tower: CausalTextTower, trees: Sequence[TokenTree], words: Tensor, table: Tensor) -> Tensor:
        device = tower.positional_embedding.device
        width = max(len(tree.ids) for tree in trees)
        rows = torch.zeros(len(trees), width, dtype=torch.long)  # of the table
        positions = torch.zeros(len(trees), width, dtype=torch.long)
        seen = torch.eye(width, dtype=torch.bool).repeat(len(trees), 1, 1)  # padding sees itself: no NaN in softmax
        most = max(tree.texts for tree in trees)
        ends = torch.zeros(len(trees), most, dtype=torch.long)
        asked = torch.zeros(len(trees), most, dtype=torch.bool)  # trees of fewer texts ask for their first node
        for row, tree in enumerate(trees):
            size = len(tree.ids)
            rows[row, :size] = torch.searchsorted(words, torch.tensor(tree.ids))
            positions[row, :size] = torch.tensor(tree.positions)
            seen[row, :size, :size] = tree.ancestors
            ends[row, : tree.texts] = torch.arange(size - tree.texts, size)
            asked[row, : tree.texts] = True
        rows, positions, ends = rows.to(device), positions.to(device), ends.to(device)
        mask = seen[:, None].to(device)  # (B, 1, S, S)
        dtype = tower.blocks[0].get_weight_dtype()
        stream = F.embedding(rows, table).to(dtype) + tower.positional_embedding[positions].to(dtype)  # (B, S, D)
        for block in tower.blocks[:-1]:
            if self.recompute and torch.is_grad_enabled():
                stream = checkpoint(_advance, block, stream, mask, use_reentrant=False)
            else:
                stream = _advance(block, stream, mask)
        pooled = _finish(tower.blocks[-1], stream, mask, ends)[asked.to(device)]  # (P, D)
        projected = project_pooled(tower.ln_final(pooled), tower.text_projection)
        return F.normalize(projected.float(), dim=-1)

    def _read_one_by_one(self, samples: Sequence[Sequence[TokenIds]]) -> Tensor:
        device = next(self.network.parameters()).device
        texts = [text for sample in samples for text in sample]
        ids = torch.zeros(len(texts), self.context_tokens, dtype=torch.long)
        for row, text in enumerate(texts):
            ids[row, : len(text)] = torch.tensor(text)
        return F.normalize(self.network.encode_text(ids.to(device)).float(), dim=-1)


def _chunks(order: Sequence[int], trees: Sequence[TokenTree], device: str) -> Iterator[list[int]]:
    """Cut ``order``, ascending by size, into runs of similar size that are not too large."""
    limit = CHUNK_TOKENS if device == "cpu" else GPU_CHUNK_TOKENS
    sizes = [len(trees[index].ids) for index in order]
    cuts = [0]
    for index, size in enumerate(sizes):
        begin = cuts[-1]
        unlike = sizes[begin] < CHUNK_SPREAD * size and device == "cpu"
        if index > begin and (unlike or (index - begin + 1) * size > limit):
            cuts.append(index)
    for begin, end in pairwise([*cuts, len(order)]):
        yield list(order[begin:end])


def _advance(block: Any, stream: Tensor, mask: Tensor) -> Tensor:
    """One layer for every token (B, S, D)."""
    query, key, value = (part.transpose(1, 2) for part in project(block, stream))  # (B, H, S, D / H)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
    return close(block, stream, mixed.transpose(1, 2))


def _finish(block: Any, stream: Tensor, mask: Tensor, ends: Tensor) -> Tensor:
    """The last layer, of which only the end tokens (B, P) are read: (B, S, D) to (B, P, D)."""
    key, value = (part.transpose(1, 2) for part in project_keys_values(block, stream))
    pooled = stream.gather(1, ends[..., None].expand(-1, -1, stream.shape[-1]))
    seen = mask.gather(2, ends[:, None, :, None].expand(-1, 1, -1, mask.shape[-1]))  # (B, 1, P, S)
    query = project_queries(block, pooled).transpose(1, 2)
    mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=seen)
    return close(block, pooled, mixed.transpose(1, 2))
