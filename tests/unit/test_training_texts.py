"""The text tower in training: one tree of tokens gives the vectors and gradients of texts read one by one."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F  # noqa: N812

from clipalign.errors import ModelMismatch
from clipalign.models.load import import_open_clip
from clipalign.models.tokenize import tokenize_text
from clipalign.training.texts import TextReader, TokenTree
from tests.checkpoints import config
from tests.tiny import CAUSAL, TEXT, TOWERS, load_random

SAMPLES = (
    (
        "a cat. a red dog sits.",
        "a cat. a red dog sits. the sky is blue. a tree",
        "a cat. a red dog sits. two cars",
        "a",
    ),
    ("a tree. a boat", "a tree. a boat, a house", "a tree. a boat. six of them and far more than that", "a tree. a"),
    ("one", "one two three", "one four", "one two three four five"),
)
WORST = 2e-5  # of gradients near 1; the order of the sums differs


def tokens(kind: str) -> list[list[tuple[int, ...]]]:
    loaded = load_random(kind)
    return [[tokenize_text(loaded, text).ids for text in texts] for texts in SAMPLES]


def trainable(kind: str) -> Any:
    network = copy.deepcopy(load_random(kind).network).requires_grad_(True)
    return network.eval()


def plain(network: Any, samples: list[list[tuple[int, ...]]]) -> Tensor:
    rows = torch.zeros(len(samples), 4, TEXT["context_length"], dtype=torch.long)
    for row, texts in enumerate(samples):
        for column, text in enumerate(texts):
            rows[row, column, : len(text)] = torch.tensor(text)
    return F.normalize(network.encode_text(rows.flatten(0, 1)), dim=-1).view(len(samples), 4, -1)


def gradients(network: Any) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in network.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("kind", [kind for kind in TOWERS if kind != "coca"])
def test_vectors_and_gradients_are_those_of_the_plain_network(kind: str, recompute: bool) -> None:
    samples = tokens(kind)
    ours, theirs = trainable(kind), trainable(kind)
    weight = torch.randn(3, 4, 24 if kind != "clip-no-projection" else 32, generator=torch.Generator().manual_seed(0))
    read = (
        TextReader.of(ours, context_tokens=TEXT["context_length"], recompute=recompute)
        .read(samples)
        .unflatten(0, (3, 4))
    )
    (read * weight).sum().backward()
    expected = plain(theirs, samples)
    (expected * weight).sum().backward()
    torch.testing.assert_close(read, expected, atol=1e-6, rtol=0)
    found, wanted = gradients(ours), gradients(theirs)
    assert set(found) == set(wanted)
    for name, gradient in wanted.items():
        torch.testing.assert_close(found[name], gradient, atol=WORST, rtol=1e-3, msg=(name + ": {}").format)


@pytest.mark.parametrize("kind", CAUSAL)
def test_causal_towers_are_read_as_trees(kind: str) -> None:
    assert TextReader.of(load_random(kind).network, context_tokens=40).tower is not None


def test_a_tree_holds_every_common_beginning_once() -> None:
    tree = TokenTree.plant([(1, 5, 6, 9), (1, 5, 6, 7, 8, 9), (1, 5, 6, 4, 9), (1, 5, 6, 7, 9)])
    assert tree.ids == [1, 5, 6, 7, 8, 4, 9, 9, 9, 9]
    assert tree.positions == [0, 1, 2, 3, 4, 3, 3, 5, 4, 4]
    assert tree.ancestors.int().sum(1).tolist() == [1, 2, 3, 4, 5, 4, 4, 6, 5, 5]
    assert tree.ancestors[5].nonzero().flatten().tolist() == [0, 1, 2, 5]  # the wrong detail does not see the right one


def test_the_order_of_texts_and_the_company_of_samples_change_nothing() -> None:
    samples = tokens("clip")
    reader = TextReader.of(load_random("clip").network, context_tokens=40)
    together = reader.read(samples)
    alone = torch.cat([reader.read([sample[::-1]]).flip(0) for sample in samples])
    torch.testing.assert_close(together, alone, atol=1e-6, rtol=0)


def test_equal_texts_share_everything_but_their_end_tokens() -> None:
    tree = TokenTree.plant([(1, 5, 9)] * 4)
    assert tree.ids == [1, 5, 9, 9, 9, 9]


def test_samples_may_have_different_numbers_of_texts() -> None:
    samples = tokens("clip")
    reader = TextReader.of(load_random("clip").network, context_tokens=40)
    ragged = reader.read([samples[0][:1], samples[1], samples[2][:2]])
    whole = reader.read(samples)
    torch.testing.assert_close(ragged, whole[[0, 4, 5, 6, 7, 8, 9]], atol=1e-6, rtol=0)


def test_a_token_that_the_model_has_no_row_for_is_said() -> None:
    reader = TextReader.of(import_open_clip().model.CLIP(**config()), context_tokens=77)
    with pytest.raises(ModelMismatch, match="the model to train knows 64 tokens, and its tokenizer makes others"):
        reader.read([[[62, 63, 1000]]])
