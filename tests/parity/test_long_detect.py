"""``detect`` on long texts: over 248 positions the fast route, the general route and the oracle say the same.

In fp64: fp32 sums over so many positions differ by nearly what they may (see fp64.py).
"""

from __future__ import annotations

import json

import pytest
import torch

import clipalign
from clipalign.methods.settings import DEFAULT_TEMPLATE
from clipalign.models.attribution import attribute, attribute_generally
from clipalign.models.tokenize import tokenize_text
from clipalign.pictogram.scenes import HERE
from tests.parity.fp64 import in_fp64
from tests.parity.oracle import relevance, with_gradients
from tests.tiny import GOLDEN

CAPTION = json.loads((GOLDEN / "specs.json").read_text())["samples"][0]["caption"]
LENGTHS = {"as it is": (CAPTION, 1, False), "twice": (CAPTION, 2, False), "cut": (CAPTION, 4, True)}


@pytest.mark.parametrize("layers", [1, 3])
@pytest.mark.parametrize("length", LENGTHS)
def test_attributions_of_a_long_model(length: str, layers: int) -> None:
    caption, times, truncated = LENGTHS[length]
    long = clipalign.load(str(GOLDEN / "tiny-longclip.safetensors"), device="cpu").loaded
    text = tokenize_text(long, DEFAULT_TEMPLATE + " ".join([caption] * times))
    assert text.n_tokens > 100 and text.truncated is truncated
    image = torch.randn(1, 64, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    image /= image.norm()
    ids = torch.tensor(text.ids + text.padding)
    with in_fp64(long) as loaded, torch.enable_grad():
        found = attribute(loaded, image, [text], layers=layers)[0]
        cosine, matrix = relevance(with_gradients(loaded.network), image[0], ids, layers=layers)
        general = attribute_generally(loaded.network, image, ids[None], layers=layers, architecture="tiny")[1]
    assert found.cosine == pytest.approx(cosine, abs=1e-6)
    expected = matrix[text.eot, : len(text.ids)]
    torch.testing.assert_close(found.tokens, expected, rtol=0, atol=1e-6)
    torch.testing.assert_close(general[0, : len(text.ids)], expected, rtol=0, atol=1e-6)


def test_words_far_behind_the_77th_token_are_scored() -> None:
    session = clipalign.load("pictogram-long")
    text = "There is a cat. There are two balloons. The background is blue. " * 8
    result = session.detect(HERE / "example.png", text)
    assert result.n_tokens > 100 and not result.truncated and all(word.scored for word in result.words)
