"""Fast route, general route and the oracle from the paper: three ways to the same numbers, on every kind of tower."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from clipalign.models.attribution import attribute, attribute_generally
from clipalign.models.model import LoadedModel
from clipalign.models.text_encoder import CausalTextTower
from clipalign.models.tokenize import TokenizedText, tokenize_text
from tests.parity.oracle import relevance, with_gradients
from tests.tiny import CAUSAL, TEXT, TOWERS, load_random

TOLERANCE = 1e-6

CAPTIONS = (
    "A photo depicts a cup of coke",
    "A photo depicts a cup of coffee on a wooden table, next to a dog.",
    "dog",
    "A photo depicts " + "two frisbees and " * 20,
)
POOLED_ROW = {"first": 0, "last": TEXT["context_length"] - 1}


def _texts(loaded: LoadedModel, captions: tuple[str, ...] = CAPTIONS) -> list[TokenizedText]:
    return [tokenize_text(loaded, caption) for caption in captions]


def _images(loaded: LoadedModel, count: int) -> Tensor:
    width = len(loaded.network.encode_text(torch.zeros(1, TEXT["context_length"], dtype=torch.long))[0])
    features = torch.randn(count, width, generator=torch.Generator().manual_seed(1))
    return torch.nn.functional.normalize(features, dim=-1)


def _pooled_row(kind: str, text: TokenizedText) -> int:
    if kind == "coca":
        return TEXT["context_length"]  # the class token, after all others
    return POOLED_ROW.get(TOWERS[kind].get("text_cfg", {}).get("pool_type", ""), text.eot)


@pytest.mark.parametrize("layers", [1, 3, 4])
@pytest.mark.parametrize("kind", TOWERS)
def test_the_chosen_route_agrees_with_the_oracle(kind: str, layers: int) -> None:
    loaded = load_random(kind)
    texts, images = _texts(loaded), _images(loaded, len(CAPTIONS))
    for text, image, found in zip(texts, images, attribute(loaded, images, texts, layers=layers), strict=True):
        ids = torch.tensor(text.ids + text.padding)
        cosine, matrix = relevance(with_gradients(loaded.network), image, ids, layers=layers)
        assert found.cosine == pytest.approx(cosine, abs=TOLERANCE)
        expected = matrix[_pooled_row(kind, text), : len(text.ids)]
        assert expected.abs().max() > 1e-4, "the oracle found nothing to compare"
        torch.testing.assert_close(found.tokens, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", TOWERS)
def test_only_causal_towers_read_at_their_end_take_the_fast_route(kind: str) -> None:
    assert (CausalTextTower.of(load_random(kind).network) is not None) == (kind in CAUSAL)


@pytest.mark.parametrize("kind", CAUSAL)
def test_general_route_agrees_with_fast_route(kind: str) -> None:
    loaded = load_random(kind)
    texts, images = _texts(loaded), _images(loaded, len(CAPTIONS))
    ids = torch.tensor([text.ids + text.padding for text in texts])
    cosines, tokens, features = attribute_generally(loaded.network, images, ids, layers=2, architecture=kind)
    for row, found in enumerate(attribute(loaded, images, texts, layers=2)):
        assert found.cosine == pytest.approx(float(cosines[row]), abs=TOLERANCE)
        torch.testing.assert_close(found.tokens, tokens[row, : len(found.tokens)], rtol=0, atol=TOLERANCE)
        torch.testing.assert_close(found.text_features, features[row], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("kind", ["clip", "siglip", "coca"])
def test_batch_composition_order_and_padding_change_nothing(kind: str) -> None:
    loaded = load_random(kind)
    captions = (*CAPTIONS, CAPTIONS[0])  # a caption twice, about two images
    texts, images = _texts(loaded, captions), _images(loaded, len(captions))
    together = attribute(loaded, images, texts, layers=3)
    backwards = attribute(loaded, images.flip(0), texts[::-1], layers=3, batch_size=2)[::-1]
    for index, found in enumerate(together):
        (alone,) = attribute(loaded, images[index : index + 1], texts[index : index + 1], layers=3)
        for other in (alone, backwards[index]):
            assert found.cosine == pytest.approx(other.cosine, abs=TOLERANCE)
            torch.testing.assert_close(found.tokens, other.tokens, rtol=0, atol=TOLERANCE)


def _traces(network: Any) -> tuple[object, ...]:
    state = hashlib.sha256()
    for name, value in network.state_dict().items():
        state.update(name.encode() + value.numpy().tobytes())
    modules = dict(network.named_modules())
    return (
        state.hexdigest(),
        {name: (module.training, sorted(vars(module)), len(module._forward_hooks)) for name, module in modules.items()},
        [(parameter.requires_grad, parameter.grad) for parameter in network.parameters()],
    )


def _break_gradient(patch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ZeroDivisionError

    patch.setattr(torch.autograd, "grad", fail)


@pytest.mark.parametrize("interfere", [None, _break_gradient], ids=["after use", "after an error"])
@pytest.mark.parametrize("kind", ["clip", "siglip", "coca"])
def test_the_model_is_untouched(
    kind: str,
    interfere: Callable[[pytest.MonkeyPatch], None] | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loaded = load_random(kind)
    texts, images = _texts(loaded), _images(loaded, len(CAPTIONS))
    before = _traces(loaded.network)
    if interfere is None:
        attribute(loaded, images, texts, layers=3)
    else:
        interfere(monkeypatch)
        with pytest.raises(ZeroDivisionError):
            attribute(loaded, images, texts, layers=3)
    assert _traces(loaded.network) == before


def test_it_works_inside_inference_mode_and_leaves_gradients_as_they_were() -> None:
    loaded = load_random("clip")
    texts = _texts(loaded)
    expected = attribute(loaded, _images(loaded, len(texts)), texts, layers=3)
    with torch.inference_mode():
        found = attribute(loaded, _images(loaded, len(texts)), texts, layers=3)
        assert not torch.is_grad_enabled()
    torch.testing.assert_close(found[1].tokens, expected[1].tokens, rtol=0, atol=0)
