"""Long-CLIP's two tables of positions become one, and an ordinary table becomes a long one."""

from __future__ import annotations

import pytest
import torch

from clipalign.errors import ModelMismatch
from clipalign.models.encode import encode_texts, encode_tokens
from clipalign.models.long_context import can_be_stretched, fold_tables, is_two_tables, stretch_positions, stretched
from clipalign.models.tokenize import tokenize_text
from tests.tiny import CAUSAL, TOWERS, load_random


def test_twenty_rows_of_the_first_and_the_others_of_the_second() -> None:
    first, second = torch.arange(248.0).unsqueeze(1), -torch.arange(248.0).unsqueeze(1)
    tensors = {"positional_embedding": first, "positional_embedding_res": second, "other": torch.zeros(1)}
    folded = fold_tables(tensors)
    assert folded.keys() == {"positional_embedding", "other"}
    assert folded["positional_embedding"][:, 0].tolist() == [*range(20), *(-row for row in range(20, 248))]
    assert is_two_tables(tensors) and not is_two_tables(folded)


def test_the_same_as_masking_and_adding_in_every_pass() -> None:
    first, second = torch.randn(248, 8), torch.randn(248, 8)
    mask = (torch.arange(248) < 20).unsqueeze(1).float()
    folded = fold_tables({"positional_embedding": first, "positional_embedding_res": second})
    assert torch.equal(folded["positional_embedding"], first * mask + second * (1 - mask))


@pytest.mark.parametrize("first", [None, torch.zeros(77, 4), torch.zeros(248)])
def test_tables_that_do_not_belong_together(first: torch.Tensor | None) -> None:
    tensors = {"positional_embedding_res": torch.zeros(248, 4)}
    if first is not None:
        tensors["positional_embedding"] = first
    with pytest.raises(ModelMismatch, match="do not belong together"):
        fold_tables(tensors)


def test_a_stretch_by_hand() -> None:
    table = torch.cat([torch.zeros(20), torch.tensor([0.0, 4.0, 2.0])])[:, None]
    assert stretch_positions(table)[:, 0].tolist() == [*[0.0] * 20, 0, 1, 2, 3, 4, 3.5, 3, 2.5, 2, 1.5, 1, 0.5]


@pytest.mark.parametrize(("positions", "stretched_to"), [(77, 248), (22, 28), (40, 100)])
def test_how_many_positions_there_are_afterwards(positions: int, stretched_to: int) -> None:
    table = torch.randn(positions, 3, dtype=torch.bfloat16)
    longer = stretch_positions(table)
    assert longer.shape == (stretched_to, 3) and longer.dtype == torch.bfloat16
    assert torch.equal(longer[:20], table[:20]) and torch.equal(longer[20::4][: positions - 20], table[20:])


def test_too_few_positions_to_stretch() -> None:
    with pytest.raises(ValueError, match="nothing to stretch"):
        stretch_positions(torch.zeros(21, 3))


@pytest.mark.parametrize("kind", CAUSAL)
def test_a_stretched_network_reads_further_and_shares_its_weights(kind: str) -> None:
    loaded = load_random(kind)
    before = {name: tensor.clone() for name, tensor in loaded.network.state_dict().items()}
    longer = stretched(loaded)
    assert (loaded.context_tokens, longer.context_tokens) == (40, 100)
    text = tokenize_text(longer, "a red car and a dog " * 14)
    assert 40 < text.n_tokens < 100 and not text.truncated
    # open_clip's own forward pass works on the copy, and says the same as our route
    alone = longer.network.encode_text(torch.tensor([text.ids + text.padding]), normalize=True)
    torch.testing.assert_close(encode_tokens(longer, [text]), alone, rtol=0, atol=1e-6)
    after = loaded.network.state_dict()
    assert all(torch.equal(tensor, after[name]) for name, tensor in before.items())
    shared = {id(parameter) for parameter in loaded.network.parameters()}
    assert sum(id(parameter) not in shared for parameter in longer.network.parameters()) == 1


def test_a_text_within_the_kept_positions_reads_the_same() -> None:
    loaded = load_random("clip")
    texts = ["a red car", "two dogs on a sofa"]
    assert torch.equal(encode_texts(loaded, texts), encode_texts(stretched(loaded), texts))


def test_the_notes_say_so() -> None:
    assert "stretched from 40 to 100" in stretched(load_random("clip")).notes[-1]


@pytest.mark.parametrize("kind", sorted(TOWERS.keys() - CAUSAL))
def test_towers_that_cannot_be_stretched(kind: str) -> None:
    assert not can_be_stretched(load_random(kind))
    with pytest.raises(ModelMismatch, match="cannot be stretched"):
        stretched(load_random(kind))
