"""Text towers with 248 positions (Long-CLIP, Zhang et al., ECCV 2024, arXiv 2403.15378, §3.1).

Long-CLIP keeps the first 20 of CLIP's positions and stretches the others fourfold. Its checkpoints, and those of SPECS,
store two tables that are masked and added in every forward pass; they are folded into one when the file is read. The
same stretch makes 248 positions of an ordinary CLIP's 77, untrained on long texts.
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any, Final

import torch
from torch import Tensor, nn

from clipalign.errors import ModelMismatch
from clipalign.models.model import LoadedModel
from clipalign.models.text_encoder import CausalTextTower

KEPT_POSITIONS: Final = 20  # rows that Long-CLIP's stretch leaves alone

STRETCH: Final = 4  # positions that replace one, after the kept ones

KEPT_TABLE: Final = "positional_embedding"
STRETCHED_TABLE: Final = "positional_embedding_res"

_MASK: Final = "attn_mask"


def is_two_tables(tensors: dict[str, Tensor]) -> bool:
    return STRETCHED_TABLE in tensors


def fold_tables(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Fold two tables of positions into one (T, D): the kept rows of the first, the others of the second.

    ModelMismatch if the two tables differ in shape, or there is only one.
    """
    kept, stretched = tensors.get(KEPT_TABLE), tensors[STRETCHED_TABLE]
    if kept is None or kept.shape != stretched.shape or kept.ndim != 2:
        shapes = f"{None if kept is None else tuple(kept.shape)} and {tuple(stretched.shape)}"
        raise ModelMismatch(f"{KEPT_TABLE} and {STRETCHED_TABLE} do not belong together: {shapes}")
    folded = {name: tensor for name, tensor in tensors.items() if name != STRETCHED_TABLE}
    folded[KEPT_TABLE] = torch.cat([kept[:KEPT_POSITIONS], stretched[KEPT_POSITIONS:]])
    return folded


def stretch_positions(table: Tensor) -> Tensor:
    """A table of T positions as one of 4 T - 60: (T, D) to (4 T - 60, D), in the table's own dtype; 77 become 248.

    The first 20 rows stay; after them every interval between neighbors is divided into four, and the last interval is
    repeated after the last row. ValueError if fewer than two rows follow the kept ones.
    """
    rest = table[KEPT_POSITIONS:].float()
    if len(rest) < 2:
        raise ValueError(f"a table of {len(table)} positions has nothing to stretch")
    steps = rest.diff(dim=0)
    steps = torch.cat([steps, steps[-1:]])  # (T - 20, D)
    shares = torch.arange(STRETCH, device=table.device) / STRETCH
    stretched = (rest[:, None] + shares[:, None] * steps[:, None]).flatten(0, 1)
    return torch.cat([table[:KEPT_POSITIONS], stretched.to(table.dtype)])


def can_be_stretched(loaded: LoadedModel) -> bool:
    """Whether the text tower is a causal one read at the end token, with positions to stretch."""
    tower = CausalTextTower.of(loaded.network)
    return tower is not None and loaded.context_tokens > KEPT_POSITIONS + 1


def stretched(loaded: LoadedModel) -> LoadedModel:
    """A copy of the model with stretched positions, and a note that these are untrained; other weights are shared.

    ModelMismatch if the text tower has no positions of the kind that can be stretched.
    """
    if not can_be_stretched(loaded):
        raise ModelMismatch(
            f"the text positions of {loaded.row.name} cannot be stretched",
            hint="only causal towers that are read at the end token can; see --no-stretch",
            input=loaded.row.name,
        )
    network = copy.copy(loaded.network)
    network._modules = dict(network._modules)
    text: Any = network
    if KEPT_TABLE not in network._parameters:  # CustomTextCLIP and CoCa keep the tower apart
        text = network._modules["text"] = copy.copy(network.text)
    table = stretch_positions(text.positional_embedding.detach())
    text._parameters = dict(text._parameters) | {KEPT_TABLE: nn.Parameter(table, requires_grad=False)}
    mask = torch.full((len(table), len(table)), -torch.inf, dtype=text.attn_mask.dtype, device=text.attn_mask.device)
    text._buffers = dict(text._buffers) | {_MASK: mask.triu_(1)}
    for holder in (network, text):
        holder.__dict__.update({name: len(table) for name in ("context_length", "num_pos") if name in holder.__dict__})
    tokenizer = copy.copy(loaded.tokenizer)
    tokenizer.context_length = len(table)
    note = (
        f"text positions stretched from {loaded.context_tokens} to {len(table)} by Long-CLIP's rule, without training: "
        f"tokens after the first {KEPT_POSITIONS} stand where the model never saw them"
    )
    return replace(loaded, network=network, tokenizer=tokenizer, context_tokens=len(table), notes=(*loaded.notes, note))
