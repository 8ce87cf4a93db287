"""Benchmark arithmetic against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clipalign.benchmarks.metrics import (
    Ranking,
    average_precision_metric,
    bootstrap_interval,
    lies_within,
    mean_metric,
)
from clipalign.results import WordScore


def word(start: int, end: int) -> WordScore:
    return WordScore("word", start, end, 0.0, False, True)


def test_average_precision_of_a_ranking_worked_out_by_hand() -> None:
    # Ranked: right, wrong, right, wrong. Precision at the two right ones: 1/1 and 2/3.
    ranking = Ranking([True, False, True, False], [0.9, 0.8, 0.7, 0.1])
    assert ranking.average_precision() == pytest.approx((1 + 2 / 3) / 2)


def test_average_precision_of_a_useless_score_is_the_base_rate() -> None:
    metric = average_precision_metric("ap", [True, False, False, False] * 25, [0.5] * 100, seed=0)
    assert metric.value == pytest.approx(0.25)
    assert metric.chance == pytest.approx(0.25)


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


def test_an_interval_holds_the_value_is_seeded_and_narrows_with_more_samples() -> None:
    few = mean_metric("la", [1.0, 0.0] * 20, seed=0)
    many = mean_metric("la", [1.0, 0.0] * 2000, seed=0)
    assert few.low is not None
    assert few.high is not None
    assert many.low is not None
    assert many.high is not None
    assert few.low < few.value < few.high
    assert few == mean_metric("la", [1.0, 0.0] * 20, seed=0)
    assert many != mean_metric("la", [1.0, 0.0] * 2000, seed=1)
    # The standard error of a share p over n samples is sqrt(p (1 - p) / n): here 0.0079.
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.0079, rel=0.15)
    assert few.high - few.low > 3 * (many.high - many.low)


def test_a_constant_has_no_spread() -> None:
    array = np.ones(10)
    assert bootstrap_interval(lambda rows: float(array[rows].mean()), 10, seed=0) == (1.0, 1.0)


def test_a_word_lies_within_a_span_only_as_a_whole() -> None:
    assert lies_within(word(4, 8), (4, 8))
    assert lies_within(word(5, 7), (4, 8))
    assert not lies_within(word(3, 8), (4, 8))
    assert not lies_within(word(4, 9), (4, 8))
