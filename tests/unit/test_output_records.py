"""Counts, means and the most frequent words of a run."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipalign.output import records as module
from clipalign.output.detect import DetectFormatter
from clipalign.output.records import Record, Tally, number_text, summary_lines
from tests.records import asked, finished
from tests.results import COKE, result_of

FORMATTER = DetectFormatter()
ERROR = finished(asked(4)).answer.to_dict()


def tallied(*records: Record) -> Tally:
    tally = Tally(FORMATTER)
    for record in records:
        tally.add(record)
    return tally


def record_of(text: str, *values: float, **changes: object) -> Record:
    return replace(result_of(text, *values), **changes).to_dict()  # type: ignore[arg-type]


def test_a_summary() -> None:
    coke = COKE.to_dict()
    other = record_of("Coke and a dog", -1e-3, 1e-4, 1e-4, -2e-3, clip_score=0.7, cosine=0.28, warnings=("w",))
    fits = record_of("a cup", 1e-4, 1e-4, clip_score=0.6, cosine=0.24)
    tally = tallied(coke, ERROR, other, fits, ERROR)
    assert tally.summary() == {
        "records": 5,
        "unreadable": 2,
        "errors": {"image_unreadable": 2},
        "with_warnings": 1,
        "with_misaligned_words": 2,
        "mean": {
            "cosine": pytest.approx((0.20984 + 0.28 + 0.24) / 3),
            "clip_score": pytest.approx((0.5246 + 0.7 + 0.6) / 3),
            "f_clip_score": pytest.approx((coke["f_clip_score"] + other["f_clip_score"]) / 3),
            "ref_clip_score": None,
        },
        "misaligned_words": [{"text": "coke", "count": 2}, {"text": "dog", "count": 1}],
        "counts_are_lower_bounds": False,
    }
    assert summary_lines(FORMATTER, tally.summary()) == [
        "5 pairs: 2 unreadable (2 image unreadable), 2 with misaligned words, 1 with warnings",
        "mean cosine 0.2433, CLIPScore 0.6082, F-CLIPScore -0.000907",
        "most frequent misaligned words: coke 2, dog 1",
    ]


def test_nothing_is_no_mean() -> None:
    assert summary_lines(FORMATTER, tallied().summary()) == ["0 pairs: 0 with misaligned words"]
    assert summary_lines(FORMATTER, tallied(ERROR).summary()) == [
        "1 pair: 1 unreadable (1 image unreadable), 0 with misaligned words"
    ]


def test_references_bring_their_mean() -> None:
    tally = tallied(record_of("a", 1e-4, references=("x",), ref_clip_score=0.5), record_of("a", 1e-4))
    assert tally.mean("ref_clip_score") == 0.5


def test_a_word_counts_once_a_pair() -> None:
    assert tallied(record_of("red red red", -1e-3, -1e-3, -1e-3)).frequent() == [("red", 1)]


@given(st.lists(st.floats(0, 2.5), min_size=1, max_size=50))
def test_means_lose_no_digit(scores: list[float]) -> None:
    import math

    tally = tallied(*(record_of("a", 1e-4, clip_score=score) for score in scores))
    assert tally.mean("clip_score") == pytest.approx(math.fsum(scores) / len(scores), rel=1e-15, abs=1e-300)


def test_memory_does_not_grow_with_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_COUNTED", 10)
    records = [record_of(f"often word{number}", -1e-3, -1e-3) for number in range(100)]
    tally = tallied(*records, record_of("w" * 10_000, -1e-3))
    assert tally.frequent(1) == [("often", 100)]
    assert len(tally.frequent(1000)) <= 11
    assert max(len(word) for word, _ in tally.frequent(1000)) <= module.MAX_WORD_CHARACTERS
    line = summary_lines(FORMATTER, tally.summary())[-1]
    assert "often at least 100" in line


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0.0000"), (0.52461, "0.5246"), (-0.0123456, "-0.0123"), (-0.000351, "-0.000351"), (1e-7, "0.000000100")],
)
def test_numbers_keep_three_digits(value: float, shown: str) -> None:
    assert number_text(value) == shown
