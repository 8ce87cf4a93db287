"""An epsilon for a share of false alarms: the rank, the promise, the interval against SciPy, and too few captions."""

from __future__ import annotations

import numpy as np
import pytest

from clipalign.errors import UsageError
from clipalign.evaluation.false_alarms import beta_quantile, bounded_epsilon


@pytest.mark.parametrize(("asked", "rank"), [(0.05, 5), (0.0499, 4), (0.29, 29), (0.01, 1), (0.99, 99)])
def test_epsilon_is_the_floor_of_a_times_n_plus_1_th_smallest(asked: float, rank: int) -> None:
    lowest = np.random.default_rng(0).permutation(99).astype(float)
    epsilon, bound = bounded_epsilon(list(lowest), asked)
    assert epsilon == rank - 1
    assert sum(lowest < epsilon) == rank - 1
    assert (bound.asked, bound.captions) == (asked, 99)
    assert bound.low < asked < bound.high


@pytest.mark.parametrize(("asked", "needed"), [(0.05, 19), (0.01, 99), (0.1, 9), (0.3, 3)])
def test_too_few_captions_say_how_many_are_needed(asked: float, needed: int) -> None:
    bounded_epsilon([0.0] * needed, asked)
    with pytest.raises(UsageError, match=f"need {needed}"):
        bounded_epsilon([0.0] * (needed - 1), asked)


@pytest.mark.parametrize(("a", "b"), [(1, 99), (10, 191), (500, 9501), (1, 1)])
@pytest.mark.parametrize("share", [0.05, 0.5, 0.95])
def test_the_interval_is_that_of_the_beta_distribution(a: int, b: int, share: float) -> None:
    stats = pytest.importorskip("scipy.stats")
    assert beta_quantile(a, b, share) == pytest.approx(stats.beta.ppf(share, a, b), abs=1e-7)


def test_exchangeable_captions_are_marked_as_rarely_as_promised() -> None:
    generator = np.random.default_rng(1)
    rates, inside = [], 0
    for _ in range(400):
        epsilon, bound = bounded_epsilon(list(generator.normal(size=200)), 0.05)
        rates.append(float((generator.normal(size=2000) < epsilon).mean()))
        inside += bound.low <= rates[-1] <= bound.high
    assert 0.045 <= np.mean(rates) <= 0.051
    assert 0.85 <= inside / 400 <= 0.95
