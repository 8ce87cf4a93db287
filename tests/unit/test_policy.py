"""What --check finds: by word and by score, what is ignored, what a baseline knows, and how many may pass."""

from __future__ import annotations

from typing import Any

import pytest

from clipalign.output.detect import DetectFormatter
from clipalign.output.policy import LOW_SCORE, Policy


def record(text: str = "a red dog", *, wrong: tuple[str, ...] = ("dog",), score: float = 0.7) -> dict[str, Any]:
    return {"id": "1", "image": "a.png", "text": text, "clip_score": score, "misaligned": wrong, "words": []}


def test_a_finding_is_a_misaligned_word_or_a_low_score() -> None:
    assert Policy().findings(record(wrong=("dog", "red", "dog"))) == ["dog", "red"]
    assert Policy(min_clip_score=0.8).findings(record(wrong=())) == [LOW_SCORE]
    assert Policy(min_clip_score=0.7).findings(record(wrong=())) == []


def test_ignored_words_are_none_whatever_their_case() -> None:
    assert Policy(ignored=frozenset({"dog"})).findings(record(wrong=("Dog", "red"))) == ["red"]


def test_what_the_baseline_had_of_the_same_pair_is_none() -> None:
    policy = Policy(min_clip_score=0.8).knowing([record(score=0.9)])
    assert policy.findings(record(score=0.9)) == []
    assert policy.findings(record(wrong=("dog", "red"))) == ["red", LOW_SCORE]
    assert policy.findings(record("a red dog.", score=0.9)) == ["dog"]
    assert policy.findings(record(score=0.9) | {"image": "b.png"}) == ["dog"]


@pytest.mark.parametrize(
    ("limit", "found", "records", "passes"),
    [(0, 0, 8, True), (0, 1, 8, False), (3, 3, 8, True), (0.25, 2, 8, True), (0.25, 3, 8, False), (0.05, 0, 0, True)],
)
def test_a_number_or_a_share_of_captions_may_have_one(limit: float, found: int, records: int, passes: bool) -> None:
    assert Policy(limit).allows(found, records) == passes


def test_the_summary_counts_captions_with_findings_and_words_by_kind() -> None:
    tally = DetectFormatter(policy=Policy(0.5, ignored=frozenset({"dog"}))).tally()
    for one in (record(), record(wrong=("dog", "red")), record(wrong=())):
        tally.add(one | {"cosine": 0.3, "f_clip_score": -1.0})
    summary = tally.summary()
    assert summary["kinds"] == {"other": 2, "color": 1}
    assert summary["check"] == {"passed": True, "found": 1, "of": 3, "allowed": "50%"}
    assert summary["with_misaligned_words"] == 2
