"""What CLIP4DM's evaluation code makes of made-up attributions, on HAT and Rich-HF: ``published_*``, to 1e-9."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from clipalign.data.words import Mode, reported_words, split_words, word_scores
from clipalign.evaluation.benchmark import CaptionOutcome, CaptionSample
from clipalign.evaluation.tasks.richhf import RichHF
from clipalign.methods.scores import clip_score, f_clip_score
from tests.results import result_of
from tests.tiny import GOLDEN
from tests.word_datasets import draw, word_set

PROTOCOLS: dict[str, Any] = json.loads((GOLDEN / "protocols.json").read_text())
HAT = Path(__file__).parents[3] / "shared" / "data" / "hat-trainval.json"
EXACT = 1e-9


def outcome(
    sample: CaptionSample, values: Sequence[float], *, epsilon: float, cosine: float = 0.3
) -> tuple[CaptionOutcome, list[str]]:
    """What a run would have found with these attributions of the words, and the words."""
    words = reported_words(split_words(sample.text))
    spans = [(word.start, word.end) for word in words]
    reading = word_scores(words, spans, values, mode=Mode.THRESHOLD, epsilon=epsilon, cut_at=len(sample.text))
    score = clip_score(cosine)
    result = result_of(
        "",
        words=reading.words,
        cosine=cosine,
        clip_score=score,
        sum_negative_attribution=reading.sum_negative_attribution,
        f_clip_score=f_clip_score(reading.sum_negative_attribution, score),
    )
    found = CaptionOutcome(sample.id, sample.text, sample.correct, "", sample.false_spans, result, sample.truth)
    return found, [word.text for word in words]


@pytest.mark.skipif(not HAT.exists(), reason="the real file is not here")
def test_hat(tmp_path: Path) -> None:
    golden = PROTOCOLS["hat"]
    (tmp_path / "hat-trainval.json").symlink_to(HAT)
    draw(tmp_path / "val2014", [json.loads(HAT.read_text())[0]["image_path"]])
    benchmark = word_set("hat", tmp_path)
    benchmark.check()
    samples = [one for one in benchmark.samples(limit=None, seed=0) if isinstance(one, CaptionSample)]
    outcomes = [
        outcome(sample, values, epsilon=golden["epsilon"], cosine=cosine)[0]
        for sample, (cosine, values) in zip(samples, golden["samples"], strict=True)
    ]
    found = {statistic.name: statistic.value() for statistic in benchmark.statistics(outcomes)}
    assert found["published_la"] == pytest.approx(golden["la"], abs=EXACT)
    assert found["published_ap_f_clip_score"] == pytest.approx(golden["ap_f_clip_score"], abs=EXACT)
    assert found["ap_clip_score"] == pytest.approx(golden["ap_clip_score"], abs=EXACT)


def test_richhf(tmp_path: Path) -> None:
    golden = PROTOCOLS["richhf"]
    outcomes = []
    for number, (prompt, labels, values) in enumerate(golden["samples"]):
        text, expected = golden["prompts"][prompt]
        truth = {"misaligned": [not label for label in labels], "misalignment_score": 0.0}
        sample = CaptionSample(str(number), b"", "", text, all(labels), "", truth=truth)
        found, words = outcome(sample, values, epsilon=golden["epsilon"])
        assert words == expected
        outcomes.append(found)
    statistics = {statistic.name: statistic.value() for statistic in RichHF(tmp_path).statistics(outcomes)}
    for name in ("precision", "recall", "f1"):
        assert statistics[f"published_{name}"] == pytest.approx(golden[name], abs=EXACT)
