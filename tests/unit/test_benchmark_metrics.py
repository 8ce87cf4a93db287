"""Benchmark arithmetic against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clipalign.evaluation.metrics import Ranking, lies_within
from clipalign.results import WordScore


def word(start: int, end: int) -> WordScore:
    return WordScore("word", start, end, 0.0, False, True)


def test_average_precision_of_a_ranking_worked_out_by_hand() -> None:
    # Ranked: right, wrong, right, wrong. Precision at the two right ones: 1/1 and 2/3.
    ranking = Ranking([True, False, True, False], [0.9, 0.8, 0.7, 0.1])
    assert ranking.average_precision() == pytest.approx((1 + 2 / 3) / 2)


def test_average_precision_of_a_useless_score_is_the_base_rate() -> None:
    assert Ranking([True, False, False, False] * 25, [0.5] * 100).average_precision() == pytest.approx(0.25)


def test_average_precision_needs_a_positive_sample() -> None:
    with pytest.raises(ValueError, match="positive"):
        Ranking([False, False], [1.0, 2.0]).average_precision()


@pytest.mark.parametrize("distinct", [3, 10_000])
def test_average_precision_is_scikit_learns_with_ties_and_with_weights(distinct: int) -> None:
    reference = pytest.importorskip("sklearn.metrics").average_precision_score
    generator = np.random.default_rng(0)
    for _ in range(20):
        positive = generator.random(50) < 0.4
        scores = generator.integers(0, distinct, 50).astype(float)
        weights = generator.integers(0, 3, 50).astype(float)
        ranking = Ranking(positive.tolist(), scores.tolist())
        assert ranking.average_precision() == pytest.approx(reference(positive, scores))
        expected = reference(positive, scores, sample_weight=weights)
        assert ranking.average_precision(weights) == pytest.approx(expected)


def test_a_word_lies_within_a_span_only_as_a_whole() -> None:
    assert lies_within(word(4, 8), (4, 8))
    assert lies_within(word(5, 7), (4, 8))
    assert not lies_within(word(3, 8), (4, 8))
    assert not lies_within(word(4, 9), (4, 8))
