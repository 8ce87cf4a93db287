"""Long-CLIP's two tables of positions become one."""

from __future__ import annotations

import pytest
import torch

from clipalign.errors import ModelMismatch
from clipalign.pipeline.long_context import fold_tables, is_two_tables


def test_twenty_rows_of_the_first_and_the_others_of_the_second():
    first, second = torch.arange(248.0).unsqueeze(1), -torch.arange(248.0).unsqueeze(1)
    tensors = {"positional_embedding": first, "positional_embedding_res": second, "other": torch.zeros(1)}
    folded = fold_tables(tensors)
    assert folded.keys() == {"positional_embedding", "other"}
    assert folded["positional_embedding"][:, 0].tolist() == [*range(20), *(-row for row in range(20, 248))]
    assert is_two_tables(tensors) and not is_two_tables(folded)


def test_the_same_as_masking_and_adding_in_every_pass():
    first, second = torch.randn(248, 8), torch.randn(248, 8)
    mask = (torch.arange(248) < 20).unsqueeze(1).float()
    folded = fold_tables({"positional_embedding": first, "positional_embedding_res": second})
    assert torch.equal(folded["positional_embedding"], first * mask + second * (1 - mask))


@pytest.mark.parametrize("first", [None, torch.zeros(77, 4), torch.zeros(248)])
def test_tables_that_do_not_belong_together(first: torch.Tensor | None):
    tensors = {"positional_embedding_res": torch.zeros(248, 4)}
    if first is not None:
        tensors["positional_embedding"] = first
    with pytest.raises(ModelMismatch, match="do not belong together"):
        fold_tables(tensors)
