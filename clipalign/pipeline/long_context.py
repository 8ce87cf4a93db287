"""Text towers with 248 positions (Long-CLIP, Zhang et al., ECCV 2024, arXiv 2403.15378, §3.1).

Long-CLIP keeps the first 20 of CLIP's positions, which were trained well, and stretches the others fourfold. Its
checkpoints, and those of SPECS, store that as two tables that are masked and added in every forward pass; here they
become one when the file is read, and the tower is an ordinary one.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from clipalign.errors import ModelMismatch

KEPT_POSITIONS: Final = 20
"""Rows that Long-CLIP's stretch leaves alone."""

KEPT_TABLE: Final = "positional_embedding"
STRETCHED_TABLE: Final = "positional_embedding_res"


def is_two_tables(tensors: dict[str, Tensor]) -> bool:
    """Whether this state dict stores positions as Long-CLIP does."""
    return STRETCHED_TABLE in tensors


def fold_tables(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The same state dict with one table of positions (T, D): the kept rows of the first, the others of the second.

    Raises:
        ModelMismatch: the two tables differ in shape, or there is only one.
    """
    kept, stretched = tensors.get(KEPT_TABLE), tensors[STRETCHED_TABLE]
    if kept is None or kept.shape != stretched.shape or kept.ndim != 2:
        shapes = f"{None if kept is None else tuple(kept.shape)} and {tuple(stretched.shape)}"
        raise ModelMismatch(f"{KEPT_TABLE} and {STRETCHED_TABLE} do not belong together: {shapes}")
    folded = {name: tensor for name, tensor in tensors.items() if name != STRETCHED_TABLE}
    folded[KEPT_TABLE] = torch.cat([kept[:KEPT_POSITIONS], stretched[KEPT_POSITIONS:]])
    return folded
