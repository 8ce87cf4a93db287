"""Arithmetic of the benchmarks: average precision, localisation, word-level precision and recall, intervals.

Average precision is scikit-learn's; the rest is counting. Every metric states its range and direction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clipalign.errors import MissingExtra
from clipalign.results import DetectResult, Metric, WordScore

BOOTSTRAP_DRAWS: Final = 1000
INTERVAL_PERCENT: Final = (2.5, 97.5)

Array = npt.NDArray[Any]


def average_precision(positive: Sequence[bool], scores: Sequence[float]) -> float:
    """Average precision of ``scores`` for ``positive``, 0 to 1, higher is better (scikit-learn's definition).

    Raises:
        MissingExtra: scikit-learn is not installed.
        ValueError: there is no positive sample.
    """
    try:
        from sklearn.metrics import average_precision_score
    except ImportError:
        raise MissingExtra("average precision", "eval") from None
    if not any(positive):
        raise ValueError("average precision is undefined without a positive sample")
    return float(average_precision_score(np.asarray(positive), np.asarray(scores)))


def bootstrap_interval(statistic: Callable[[Array], float], n: int, *, seed: int) -> tuple[float, float]:
    """The 95 % percentile interval of ``statistic``, a function of an index array into ``n`` samples."""
    generator = np.random.default_rng(seed)
    draws = [statistic(generator.integers(0, n, n)) for _ in range(BOOTSTRAP_DRAWS)]
    low, high = np.percentile(draws, INTERVAL_PERCENT)
    return float(low), float(high)


def mean_metric(name: str, values: Sequence[float], *, seed: int, chance: float | None = None) -> Metric:
    """A metric that is the mean of a value per sample, with its interval."""
    array = np.asarray(values, dtype=float)
    low, high = bootstrap_interval(lambda rows: float(array[rows].mean()), len(array), seed=seed)
    return Metric(name, float(array.mean()), len(array), low, high, chance)


def average_precision_metric(name: str, positive: Sequence[bool], scores: Sequence[float], *, seed: int) -> Metric:
    """Average precision with its interval and its base rate, the share of positive samples."""
    truth, ranked = np.asarray(positive), np.asarray(scores, dtype=float)

    def resampled(rows: Array) -> float:
        # A draw without any positive sample says nothing; it counts as 0, the worst.
        return average_precision(truth[rows].tolist(), ranked[rows].tolist()) if truth[rows].any() else 0.0

    value = average_precision(positive, scores)
    low, high = bootstrap_interval(resampled, len(truth), seed=seed)
    return Metric(name, value, len(truth), low, high, chance=float(truth.mean()))


def lowest_word(result: DetectResult) -> WordScore | None:
    """The scored word with the smallest attribution: the prediction of mode ``most-negative``."""
    scored = [word for word in result.words if word.attribution is not None]
    return min(scored, key=lambda word: word.attribution or 0.0, default=None)


def lies_within(word: WordScore, span: tuple[int, int]) -> bool:
    """Whether a word lies inside a span of characters of the same caption."""
    return span[0] <= word.start and word.end <= span[1]
