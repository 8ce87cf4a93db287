"""SPECS and Long-CLIP as the original computes them: similarities of growing captions and of wrong details, to 1e-6.

Those in fp64; fp64.py says why.
"""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest
from PIL import Image

import clipalign
from clipalign.session import Session
from tests.parity.fp64 import check_exactness, in_fp64
from tests.tiny import GOLDEN

SPECS: dict[str, Any] = json.loads((GOLDEN / "specs.json").read_text())
SAMPLES = list(zip(SPECS["samples"], SPECS["similarity_table"], strict=True))
TOLERANCE = 1e-6


@cache
def session() -> Session:
    return clipalign.load(str(GOLDEN / "tiny-longclip.safetensors"), device="cpu")


def test_the_checkpoint_alone_says_what_it_is() -> None:
    loaded = session().loaded
    assert loaded.context_tokens == 248 and loaded.quick_gelu
    assert loaded.network.positional_embedding.shape == (248, 64)


@pytest.mark.parametrize(("sample", "table"), SAMPLES)
def test_the_sentences_of_a_caption_are_its_prefixes(sample: dict[str, Any], table: list[list[float]]) -> None:
    """One call, one prefill; the table of the original leaves the last prefix out."""
    with in_fp64(session().loaded) as loaded:
        result = Session(loaded).score_long(GOLDEN / sample["image"], sample["caption"])
    ends = [sample["caption"][: sentence.end] for sentence in result.sentences]
    assert ends == sample["captions"]
    for sentence, (cosine, _) in zip(result.sentences[:-1], table, strict=False):
        assert sentence.cosine == pytest.approx(cosine, abs=TOLERANCE)
        assert sentence.specs_score == pytest.approx((cosine + 1) / 2, abs=TOLERANCE)


@pytest.mark.parametrize(("sample", "table"), SAMPLES)
def test_every_caption_and_wrong_detail_alone(sample: dict[str, Any], table: list[list[float]]) -> None:
    with in_fp64(session().loaded) as loaded:
        true, wrong = (_cosines(Session(loaded), sample, texts) for texts in ("captions", "neg_captions"))
    for right, foil, expected in zip(true[:-1], wrong, table, strict=False):
        assert [right, foil] == pytest.approx(expected, abs=TOLERANCE)


def test_cosines_in_fp32_are_as_exact_as_the_network() -> None:
    asked, found = [], []
    for sample in SPECS["samples"]:
        for texts in ("captions", "neg_captions"):
            asked += [(Image.open(GOLDEN / sample["image"]), text) for text in sample[texts]]
            found += _cosines(session(), sample, texts)
    check_exactness(session().loaded, asked, found)


def _cosines(model: Session, sample: dict[str, Any], texts: str) -> list[float]:
    results = model.score_long_many([(GOLDEN / sample["image"], text) for text in sample[texts]])
    return [result.cosine for result in results]
