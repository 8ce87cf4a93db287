"""The 630 records of the original implementation of CLIP4DM, reproduced: words exactly, numbers to 1e-6.

The 18 records of :data:`SHIFTED` excepted, where one token covers punctuation of two words and the original gives
later words the tokens of their neighbors. CLIPScore in fp64, words and attributions in fp32 too; fp64.py says why.
"""

from __future__ import annotations

import json
from collections import defaultdict
from typing import Any

import pytest
from PIL import Image

from clipalign.data.words import PUNCTUATION
from clipalign.methods.detect import Pair, detect_pairs
from clipalign.methods.settings import DEFAULT_TEMPLATE, DetectSettings
from clipalign.models.model import LoadedModel
from clipalign.results import DetectResult
from tests.parity.fp64 import check_exactness, in_fp64
from tests.tiny import GOLDEN, load_tiny

TOLERANCE = 1e-6
SHIFTED = "It's 3.5 metres (approx.) tall, isn't it?"
"""The text of the 18 records; its token ``.)`` covers the word ``.`` and the word ``)``."""


def _records() -> dict[tuple[int, str, float], list[dict[str, Any]]]:
    grouped = defaultdict(list)
    for line in (GOLDEN / "detect.jsonl").read_text().splitlines():
        record = json.loads(line)
        grouped[record["layers"], record["mode"], record["epsilon"]].append(record)
    return grouped


RECORDS = _records()


def test_all_records_are_here() -> None:
    assert sum(map(len, RECORDS.values())) == 630


@pytest.mark.parametrize("setting", RECORDS, ids=str)
def test_every_record_is_reproduced(setting: tuple[int, str, float]) -> None:
    with in_fp64(load_tiny()) as loaded:
        results = _results(loaded, setting)
    for record, result in zip(RECORDS[setting], results, strict=True):
        if record["text"] != SHIFTED:
            _check_words(record, result)
        assert result.clip_score == pytest.approx(record["clip_score"], abs=TOLERANCE)


@pytest.mark.parametrize("setting", RECORDS, ids=str)
def test_every_word_is_reproduced_in_fp32(setting: tuple[int, str, float]) -> None:
    for record, result in zip(RECORDS[setting], _results(load_tiny(), setting), strict=True):
        if record["text"] != SHIFTED:
            _check_words(record, result)


def test_the_18_records_that_differ_have_the_tokens_of_the_next_words() -> None:
    shifted = [
        (dict(record["word_attributions"]), {word.text: word.attribution for word in result.words})
        for setting, records in RECORDS.items()
        for record, result in zip(records, _results(load_tiny(), setting), strict=True)
        if record["text"] == SHIFTED
    ]
    assert len(shifted) == 18
    for theirs, ours in shifted:
        assert theirs["(approx"] == pytest.approx(ours["(approx"], abs=TOLERANCE)
        assert theirs[")"] == pytest.approx(ours["tall"], abs=TOLERANCE)
        assert all(theirs[word] != pytest.approx(ours[word], abs=TOLERANCE) for word in (")", "tall", "isn't", "it?"))


def test_cosines_in_fp32_are_as_exact_as_the_network() -> None:
    setting, *_ = RECORDS
    asked = [(_image(record["image"]), DEFAULT_TEMPLATE + record["text"]) for record in RECORDS[setting]]
    check_exactness(load_tiny(), asked, [result.cosine for result in _results(load_tiny(), setting)])


def _results(loaded: LoadedModel, setting: tuple[int, str, float]) -> list[DetectResult]:
    layers, mode, epsilon = setting
    images = {record["image"]: _image(record["image"]) for record in RECORDS[setting]}
    pairs = [Pair(images[record["image"]], record["text"]) for record in RECORDS[setting]]
    return detect_pairs(loaded, pairs, DetectSettings(mode=mode.replace("_", "-"), epsilon=epsilon, layers=layers))


def _image(name: str) -> Image.Image:
    return Image.open(GOLDEN / name)


def _check_words(record: dict[str, Any], result: DetectResult) -> None:
    expected = _without_punctuation(record["word_attributions"])
    scored = [word for word in result.words if word.scored]
    assert [word.text for word in scored] == [text for text, _ in expected]
    assert [word.attribution for word in scored] == pytest.approx([value for _, value in expected], abs=TOLERANCE)
    if record["mode"] == "threshold":
        numbered = {id(word): f"{index}_{word.text}" for index, word in enumerate(result.words)}
        chosen = sorted((word for word in result.words if word.misaligned), key=lambda word: word.attribution or 0)
        assert " ".join(numbered[id(word)] for word in chosen) == record["negative_word"]
        assert result.misaligned == tuple(word.text for word in chosen)
        assert result.sum_negative_attribution == pytest.approx(record["sum_negative_attribution"], abs=TOLERANCE)
        assert [word.attribution for word in chosen] == pytest.approx(record["negative_word_score_list"], abs=TOLERANCE)
    else:
        text, value = min(expected, key=lambda pair: pair[1])
        assert result.misaligned == (text,)
        assert result.sum_negative_attribution == pytest.approx(value, abs=TOLERANCE)


def _without_punctuation(attributions: list[tuple[str, float]]) -> list[tuple[str, float]]:
    return [(text, value) for text, value in attributions if not PUNCTUATION.issuperset(text)]
