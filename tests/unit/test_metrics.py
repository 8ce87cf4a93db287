"""Statistics of the benchmarks against scikit-learn, SciPy and values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from clipalign.eval_results import Metric
from clipalign.evaluation import metrics as statistics
from clipalign.evaluation.metrics import Array, Ranking, Statistic, bootstrap_counts

IDS = [str(number) for number in range(40)]


def values(seed: int, *, distinct: int = 1000) -> list[float]:
    return [float(value) for value in np.random.default_rng(seed).integers(0, distinct, len(IDS))]


def weights(seed: int) -> Array:
    return np.random.default_rng(seed).integers(0, 4, len(IDS)).astype(float)


def test_a_mean_its_chance_and_its_interval() -> None:
    statistic = statistics.mean("la", ["a", "b", "c", "d"], [1.0, 0.0, 1.0, 1.0], chance=0.25)
    metric = statistic.metric(seed=0)
    assert (metric.name, metric.value, metric.n, metric.chance) == ("la", 0.75, 4, 0.25)
    assert metric.low is not None
    assert metric.high is not None
    assert 0.0 <= metric.low < 0.75 < metric.high == 1.0


def test_an_interval_is_that_of_resampled_rows() -> None:
    metric = statistics.mean("la", IDS, values(0)).metric(seed=3)
    array, generator = np.array(values(0)), np.random.default_rng(3)
    means = [array[generator.integers(0, len(array), len(array))].mean() for _ in range(statistics.BOOTSTRAP_DRAWS)]
    assert metric.value == pytest.approx(array.mean())
    assert [metric.low, metric.high] == pytest.approx(np.percentile(means, [2.5, 97.5]))


def test_an_interval_holds_the_value_is_seeded_and_narrows_with_more_samples() -> None:
    def metric(n: int, *, seed: int = 0) -> Metric:
        return statistics.mean("la", [str(one) for one in range(n)], [1.0, 0.0] * (n // 2)).metric(seed=seed)

    few, many = metric(40), metric(4000)
    assert few.low is not None
    assert few.high is not None
    assert many.low is not None
    assert many.high is not None
    assert few.low < few.value < few.high
    assert few == metric(40)
    assert many != metric(4000, seed=1)
    # The standard error of a share p over n samples is sqrt(p (1 - p) / n): here 0.0079.
    assert many.high - many.low == pytest.approx(2 * 1.96 * 0.0079, rel=0.15)
    assert few.high - few.low > 3 * (many.high - many.low)


def test_a_constant_has_no_spread() -> None:
    metric = statistics.mean("la", IDS[:10], [1.0] * 10).metric(seed=0)
    assert (metric.low, metric.high) == (1.0, 1.0)


def test_average_precision_is_scikit_learns_and_its_chance_the_base_rate() -> None:
    reference = pytest.importorskip("sklearn.metrics").average_precision_score
    truth = [value < 300 for value in values(1)]
    statistic = statistics.average_precision("ap", IDS, truth, values(2, distinct=9))
    assert statistic.value() == pytest.approx(reference(truth, values(2, distinct=9)))
    assert statistic.chance == pytest.approx(sum(truth) / len(truth))
    assert statistic.of(weights(3)) == pytest.approx(reference(truth, values(2, distinct=9), sample_weight=weights(3)))


def test_a_draw_without_a_positive_sample_counts_as_the_worst() -> None:
    statistic = statistics.average_precision("ap", ["a", "b"], [True, False], [1.0, 0.0])
    assert statistic.of(np.array([0.0, 2.0])) == 0.0


def test_a_ratio_is_over_all_words_and_not_a_mean_of_ratios() -> None:
    # 1 of 1 and 1 of 3 called words are right: 2 of 4, not the mean of 1 and 1/3.
    statistic = statistics.ratio("precision", ["a", "b"], [1, 1], [1, 3])
    assert statistic.value() == pytest.approx(0.5)
    assert statistic.of(np.array([2.0, 0.0])) == pytest.approx(1.0)
    assert statistics.ratio("precision", ["a"], [0], [0]).value() == 0.0


@pytest.mark.parametrize("distinct", [4, 100_000])
def test_correlations_are_scipys_with_ties_and_with_repeated_samples(distinct: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    ours, theirs = values(5, distinct=distinct), values(6, distinct=distinct)
    counted = weights(7)
    drawn = np.repeat(np.arange(len(IDS)), counted.astype(int))
    for statistic, reference in (
        (statistics.pearson("r", IDS, ours, theirs), stats.pearsonr),
        (statistics.spearman("rho", IDS, ours, theirs), stats.spearmanr),
    ):
        assert statistic.value() == pytest.approx(reference(ours, theirs).statistic)
        expected = reference(np.array(ours)[drawn], np.array(theirs)[drawn]).statistic
        assert statistic.of(counted) == pytest.approx(expected)


def test_spearman_worked_out_by_hand() -> None:
    # Ranks 1 2 3 4 and 2 1 4 3: 1 - 6 * 4 / (4 * 15) = 0.6.
    assert statistics.spearman("rho", list("abcd"), [1, 5, 6, 9], [20, 10, 40, 30]).value() == pytest.approx(0.6)


@pytest.mark.parametrize("kind", [statistics.pearson, statistics.spearman])
def test_what_does_not_vary_correlates_with_nothing(kind: object) -> None:
    statistic = kind("r", list("abc"), [1.0, 1.0, 1.0], [1.0, 2.0, 3.0])  # type: ignore[operator]
    assert isinstance(statistic, Statistic)
    assert statistic.value() == 0.0


def test_draws_are_the_same_for_two_models_on_the_same_samples() -> None:
    first, second = list(bootstrap_counts(7, seed=1)), list(bootstrap_counts(7, seed=1))
    assert all((one == two).all() for one, two in zip(first, second, strict=True))
    assert {int(draw.sum()) for draw in first} == {7}
    assert any((one != two).any() for one, two in zip(first, bootstrap_counts(7, seed=2), strict=True))


def test_a_number_over_some_of_its_samples_is_that_of_these_alone() -> None:
    kept, places = ["31", "4", "17", "8", "2"], [31, 4, 17, 8, 2]
    for whole, alone in (
        (
            statistics.mean("m", IDS, values(0), chance=0.5),
            statistics.mean("m", kept, np.array(values(0))[places].tolist()),
        ),
        (
            statistics.spearman("rho", IDS, values(1), values(2)),
            statistics.spearman(
                "rho", kept, np.array(values(1))[places].tolist(), np.array(values(2))[places].tolist()
            ),
        ),
    ):
        some = whole.over(kept)
        assert (some.name, some.ids, some.chance) == (whole.name, tuple(kept), whole.chance)
        assert some.value() == pytest.approx(alone.value())
        assert some.draws(3) == pytest.approx(alone.draws(3))
        assert (some.per_sample is None) == (alone.per_sample is None)


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
