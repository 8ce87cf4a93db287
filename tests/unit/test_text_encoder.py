"""The causal tower: one prefill, any number of questions at any prefix."""

from __future__ import annotations

import copy

import pytest
import torch

from clipalign.models.text_encoder import CausalTextTower, TokenForest
from clipalign.models.tokenize import tokenize_text
from tests.tiny import CAUSAL, load_random

LONG = "A photo depicts a red cup of coffee on a table, next to a sleeping dog."


def _tower(kind: str) -> CausalTextTower:
    tower = CausalTextTower.of(load_random(kind).network)
    assert tower is not None
    return tower


def test_a_forest_holds_every_prefix_once() -> None:
    forest = TokenForest.plant([[1, 5, 6], [1, 5, 7, 8], [1, 5, 6], [2]], torch.device("cpu"))
    assert forest.ids.tolist() == [1, 5, 6, 7, 8, 2]
    assert forest.depths.tolist() == [0, 1, 2, 2, 3, 0]
    assert forest.rows[0, :3].tolist() == forest.rows[2, :3].tolist() == [0, 1, 2]
    assert forest.rows[1].tolist() == [0, 1, 3, 4]
    assert forest.rows.flatten()[forest.places].tolist() == list(range(6))


@pytest.mark.parametrize("kind", CAUSAL)
def test_every_prefix_of_one_prefill_is_what_the_network_says_alone(kind: str) -> None:
    loaded, tower = load_random(kind), _tower(kind)
    ids = tokenize_text(loaded, LONG).ids
    lengths = [1, 4, 9, len(ids) - 1]
    found = tower.encode_prefixes([ids], [lengths])[0]
    for length, vector in zip(lengths, found, strict=True):
        alone = torch.zeros(1, loaded.context_tokens, dtype=torch.long)
        alone[0, : length + 1] = torch.tensor([*ids[:length], ids[-1]])
        expected = loaded.network.encode_text(alone, normalize=True)[0]
        torch.testing.assert_close(vector, expected, rtol=0, atol=1e-6)


def test_captions_of_different_lengths_share_a_prefill() -> None:
    loaded, tower = load_random("clip"), _tower("clip")
    captions = [tokenize_text(loaded, text).ids for text in (LONG, "dog", LONG[:30])]
    together = tower.encode_prefixes(captions, [[len(ids) - 1, 1] for ids in captions])
    for ids, found in zip(captions, together, strict=True):
        torch.testing.assert_close(found, tower.encode_prefixes([ids], [[len(ids) - 1, 1]])[0], rtol=0, atol=1e-6)


@pytest.mark.parametrize("layers", [1, 2, 4])
def test_the_answer_does_not_depend_on_where_the_prefill_ends(layers: int) -> None:
    loaded, tower = load_random("clip"), _tower("clip")
    ids = tokenize_text(loaded, LONG).ids
    features, maps = tower.answer(tower.prefill([ids], [[len(ids) - 1]], layers=layers))
    torch.testing.assert_close(features, tower.encode_prefixes([ids], [[len(ids) - 1]]), rtol=0, atol=1e-6)
    assert len(maps) == layers
    for attention in maps:
        assert attention.shape == (1, 2, 1, len(ids))
        torch.testing.assert_close(attention.sum(-1), torch.ones(1, 2, 1))


def test_bf16_weights_keep_softmax_and_vectors_in_fp32() -> None:
    loaded = load_random("clip")
    tower = CausalTextTower.of(copy.deepcopy(loaded.network).bfloat16())
    assert tower is not None
    ids = tokenize_text(loaded, LONG).ids
    features, maps = tower.answer(tower.prefill([ids], [[len(ids) - 1]], layers=2))
    assert features.dtype == maps[0].dtype == torch.float32
    assert (features * _tower("clip").encode_prefixes([ids], [[len(ids) - 1]])).sum() > 0.99


def test_a_caption_that_is_not_read_at_its_last_token_is_told() -> None:
    tower = _tower("clip")
    assert tower.ends([5, 7, 49407])
    assert not tower.ends([5, 49407, 49407])
    assert not tower.ends([5, 49407, 7])
