"""Unit vectors of texts, on every kind of tower, in the order of what came in."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from PIL import Image

from clipalign.errors import ImageUnreadable
from clipalign.models.encode import ImageSource, encode_distinct, encode_texts
from clipalign.models.image_encoder import encode_pictures
from clipalign.models.text_encoder import CausalTextTower
from clipalign.models.tokenize import tokenize_text
from tests.spy import noting
from tests.tiny import TOWERS, load_random

TEXTS = ["a photo of a dog.", "a photo of a cat.", "dog", "a photo of a dog.", "many words " * 40]


@pytest.mark.parametrize("kind", TOWERS)
def test_texts_become_the_networks_own_vectors(kind: str) -> None:
    loaded = load_random(kind)
    found = encode_texts(loaded, TEXTS, batch_size=2)
    encoded = [tokenize_text(loaded, text) for text in TEXTS]
    ids = torch.tensor([text.ids + text.padding for text in encoded])
    expected = torch.nn.functional.normalize(loaded.network.encode_text(ids), dim=-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("kind", TOWERS)
def test_beginnings_of_other_texts_get_their_own_vectors(kind: str) -> None:
    loaded = load_random(kind)
    texts = ["a dog", "a dog on a sofa, asleep", "a", "a dog on a sofa", "a cat", "a dog", "a dog on", "two dogs"]
    alone = torch.cat([encode_texts(loaded, [text]) for text in texts])
    for batch_size in (1, 2, 64):
        found = encode_texts(loaded, texts, batch_size=batch_size)
        torch.testing.assert_close(found, alone, rtol=0, atol=1e-6)


def test_a_text_and_its_beginnings_are_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_random("clip")
    rows: list[int] = []
    encode = CausalTextTower.encode_prefixes

    def counted(tower: CausalTextTower, captions: list[tuple[int, ...]], prefixes: list[list[int]]) -> torch.Tensor:
        rows.append(len(captions))
        return encode(tower, captions, prefixes)

    monkeypatch.setattr(CausalTextTower, "encode_prefixes", counted)
    encode_texts(loaded, ["a dog", "a dog on a sofa", "a", "a dog on a chair", "a dog"], batch_size=8)
    assert rows == [2]


def test_equal_files_and_objects_are_encoded_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_random("clip")
    picture = Image.new("RGB", (40, 30), "red")
    picture.save(tmp_path / "red.png")
    seen: list[int] = []
    monkeypatch.setattr(
        "clipalign.models.encode.encode_pictures",
        noting(encode_pictures, lambda network, images: seen.append(len(images))),
    )
    images: list[ImageSource] = [picture, tmp_path / "red.png", picture, tmp_path / "red.png"]
    features = encode_distinct(loaded, images, names=[""] * 4)
    assert seen == [2]
    torch.testing.assert_close(features, features[:1].expand_as(features), rtol=0, atol=1e-6)


def test_every_image_gets_its_own_vector_in_the_order_given() -> None:
    loaded = load_random("clip")
    first, second = torch.eye(loaded.network.text_projection.shape[1])[:2]
    found = encode_distinct(loaded, [first, second, first], names=["a", "b", "a"])
    assert torch.equal(found, torch.stack([first, second, first]))


def test_a_picture_that_cannot_be_prepared_is_named(tmp_path: Path) -> None:
    Image.new("RGB", (4_000_000, 1)).save(tmp_path / "thin.png")
    with pytest.raises(ImageUnreadable, match="too long and thin") as caught:
        encode_distinct(load_random("clip"), [tmp_path / "thin.png"], names=["thin.png"])
    assert caught.value.input == "thin.png"
