"""Unit vectors of texts, on every kind of tower, in the order of what came in."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from clipalign.pipeline.encoder import encode_distinct, encode_texts
from clipalign.pipeline.image_tower import encode_pictures
from clipalign.pipeline.text import encode_text
from tests.tiny import TOWERS, load_random

TEXTS = ["a photo of a dog.", "a photo of a cat.", "dog", "a photo of a dog.", "many words " * 40]


@pytest.mark.parametrize("kind", TOWERS)
def test_texts_become_the_networks_own_vectors(kind: str) -> None:
    loaded = load_random(kind)
    found = encode_texts(loaded, TEXTS, batch_size=2)
    encoded = [encode_text(loaded, text) for text in TEXTS]
    ids = torch.tensor([text.ids + text.padding for text in encoded])
    expected = torch.nn.functional.normalize(loaded.network.encode_text(ids), dim=-1)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)


def test_equal_files_and_objects_are_encoded_once(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    loaded = load_random("clip")
    picture = Image.new("RGB", (40, 30), "red")
    picture.save(tmp_path / "red.png")
    seen: list[int] = []
    monkeypatch.setattr(
        "clipalign.pipeline.encoder.encode_pictures",
        lambda network, images: (seen.append(len(images)), encode_pictures(network, images))[1],
    )
    images = [picture, tmp_path / "red.png", picture, tmp_path / "red.png"]
    features = encode_distinct(loaded, images, names=[""] * 4)
    assert seen == [2]
    torch.testing.assert_close(features, features[:1].expand_as(features), rtol=0, atol=1e-6)
