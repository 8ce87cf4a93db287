"""Numbers over samples that know which samples they are of: for intervals, and for two models on the same ones.

A :class:`Statistic` is a function of how often each sample counts. That one function gives the value (all count once),
the bootstrap interval (they count as often as they were drawn), and, with the same draws for two models, whether one is
truly better than the other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from clipalign.benchmarks.metrics import BOOTSTRAP_DRAWS, INTERVAL_PERCENT, Array, Ranking
from clipalign.results import Metric


@dataclass(frozen=True, eq=False)
class Statistic:
    """One number of a benchmark, before it is computed.

    Attributes:
        name: of the metric.
        ids: the samples it is over (N).
        of: how often each sample counts (N) to the number.
        chance: what a guess would reach, where that is known.
        per_sample: (N) what is averaged, where the number is a plain mean; else None.
    """

    name: str
    ids: tuple[str, ...]
    of: Callable[[Array], float]
    chance: float | None = None
    per_sample: Array | None = None

    def value(self) -> float:
        """The number itself."""
        return self.of(np.ones(len(self.ids)))

    def draws(self, seed: int) -> Array:
        """The number on bootstrap samples, :data:`BOOTSTRAP_DRAWS` of them."""
        return np.array([self.of(counted) for counted in bootstrap_counts(len(self.ids), seed=seed)])

    def over(self, ids: Sequence[str]) -> Statistic:
        """The same number over some of its samples alone, in this order."""
        places = {id: place for place, id in enumerate(self.ids)}
        kept = np.array([places[id] for id in ids])

        def of(counted: Array) -> float:
            whole = np.zeros(len(self.ids))
            whole[kept] = counted
            return self.of(whole)

        per_sample = None if self.per_sample is None else self.per_sample[kept]
        return Statistic(self.name, tuple(ids), of, self.chance, per_sample)

    def metric(self, *, seed: int) -> Metric:
        """The number with its 95 % percentile interval."""
        low, high = np.percentile(self.draws(seed), INTERVAL_PERCENT)
        return Metric(self.name, self.value(), len(self.ids), float(low), float(high), self.chance)


def bootstrap_counts(n: int, *, seed: int) -> Iterator[Array]:
    """How often each of ``n`` samples is drawn, for every bootstrap draw: the same for the same ``n`` and seed."""
    generator = np.random.default_rng(seed)
    for _ in range(BOOTSTRAP_DRAWS):
        yield np.bincount(generator.integers(0, n, n), minlength=n).astype(float)


def mean(name: str, ids: Sequence[str], values: Sequence[float], *, chance: float | None = None) -> Statistic:
    """The mean of a value per sample."""
    array = np.asarray(values, dtype=float)
    return Statistic(name, tuple(ids), lambda counted: float(counted @ array / counted.sum()), chance, array)


def average_precision(name: str, ids: Sequence[str], positive: Sequence[bool], scores: Sequence[float]) -> Statistic:
    """Average precision of ``scores`` at finding the positive samples; its chance is their share.

    A bootstrap draw without any positive sample says nothing; it counts as 0, the worst.
    """
    truth, ranking = np.asarray(positive, dtype=bool), Ranking(positive, scores)

    def of(counted: Array) -> float:
        return ranking.average_precision(counted) if counted[truth].any() else 0.0

    return Statistic(name, tuple(ids), of, float(truth.mean()))


def ratio(name: str, ids: Sequence[str], above: Sequence[float], below: Sequence[float]) -> Statistic:
    """A sum over samples divided by another, as in precision over all words; 0 where the lower sum is 0."""
    upper, lower = np.asarray(above, dtype=float), np.asarray(below, dtype=float)

    def of(counted: Array) -> float:
        whole = float(counted @ lower)
        return float(counted @ upper) / whole if whole else 0.0

    return Statistic(name, tuple(ids), of)


def pearson(name: str, ids: Sequence[str], ours: Sequence[float], theirs: Sequence[float]) -> Statistic:
    """Pearson's correlation, -1 to 1; 0 where one side does not vary."""
    x, y = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    return Statistic(name, tuple(ids), lambda counted: _correlation(x, y, counted), 0.0)


def spearman(name: str, ids: Sequence[str], ours: Sequence[float], theirs: Sequence[float]) -> Statistic:
    """Spearman's rank correlation, ties at their mean rank, -1 to 1; 0 where one side does not vary."""
    x, y = _Ranks(ours), _Ranks(theirs)
    return Statistic(name, tuple(ids), lambda counted: _correlation(x.of(counted), y.of(counted), counted), 0.0)


def _correlation(x: Array, y: Array, counted: Array) -> float:
    whole = counted.sum()
    from_mean_x, from_mean_y = x - counted @ x / whole, y - counted @ y / whole
    spread = float((counted @ from_mean_x**2) * (counted @ from_mean_y**2))
    return float(counted @ (from_mean_x * from_mean_y)) / spread**0.5 if spread > 0 else 0.0


class _Ranks:
    """Ranks of values when each counts several times; sorted once."""

    def __init__(self, values: Sequence[float]) -> None:
        self._groups = np.unique(np.asarray(values, dtype=float), return_inverse=True)[1]

    def of(self, counted: Array) -> Array:
        """The mean rank that each value's group takes, (N)."""
        sizes = np.bincount(self._groups, weights=counted)
        return np.asarray((np.cumsum(sizes) - (sizes - 1) / 2)[self._groups])
