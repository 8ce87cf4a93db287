"""Statistics over samples: values, bootstrap intervals, and paired differences of two models.

A :class:`Statistic` is a function of how often each sample counts. That one function gives the value (all count once),
the bootstrap interval (as often as drawn), and, with the same draws for two models, whether one is better than the
other beyond chance.

Kendall's τ-b and τ-c (Kendall 1945; Stuart 1953) count concordant less discordant pairs along a merge sort that is
laid out once: a bootstrap draw then costs n log n sums and no sorting. Values are those of scipy and scikit-learn.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clipalign.eval_results import Metric

BOOTSTRAP_DRAWS: Final = 1000
INTERVAL_PERCENT: Final = (2.5, 97.5)

Array = npt.NDArray[Any]


@dataclass(frozen=True, eq=False)
class Statistic:
    """One number of a benchmark, before it is computed over the samples ``ids`` (N).

    Attributes:
        of: computes the number from how often each sample counts (N).
        chance: what guessing would reach, where that is known.
        per_sample: (N) what is averaged, where the number is a plain mean; else None.
    """

    name: str
    ids: tuple[str, ...]
    of: Callable[[Array], float]
    chance: float | None = None
    per_sample: Array | None = None

    def value(self) -> float:
        return self.of(np.ones(len(self.ids)))

    def draws(self, seed: int) -> Array:
        """The number on each of :data:`BOOTSTRAP_DRAWS` bootstrap samples."""
        return np.array([self.of(counted) for counted in bootstrap_counts(len(self.ids), seed=seed)])

    def over(self, ids: Sequence[str]) -> Statistic:
        """The same number over some of its samples alone, in this order."""
        index_of = {id: index for index, id in enumerate(self.ids)}
        kept = np.array([index_of[id] for id in ids])

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
    array = np.asarray(values, dtype=float)
    return Statistic(name, tuple(ids), lambda counted: float(counted @ array / counted.sum()), chance, array)


def average_precision(name: str, ids: Sequence[str], positive: Sequence[bool], scores: Sequence[float]) -> Statistic:
    """Average precision of ``scores`` at finding the positive samples; its chance is their share.

    A bootstrap draw without any positive sample counts as 0.
    """
    truth, ranking = np.asarray(positive, dtype=bool), Ranking(positive, scores)

    def of(counted: Array) -> float:
        return ranking.average_precision(counted) if counted[truth].any() else 0.0

    return Statistic(name, tuple(ids), of, float(truth.mean()))


def best_accuracy(name: str, ids: Sequence[str], positive: Sequence[bool], scores: Sequence[float]) -> Statistic:
    """Share of samples on the right side of the threshold of ``scores`` that suits these samples best.

    Chance is the share of the larger class, which a threshold outside all scores reaches.
    """
    ranking, share = Ranking(positive, scores), float(np.mean(positive))
    return Statistic(name, tuple(ids), ranking.best_accuracy, max(share, 1 - share))


def ratio(name: str, ids: Sequence[str], above: Sequence[float], below: Sequence[float]) -> Statistic:
    """A sum over samples divided by another, as in precision over all words; 0 where the lower sum is 0."""
    upper, lower = np.asarray(above, dtype=float), np.asarray(below, dtype=float)

    def of(counted: Array) -> float:
        whole = float(counted @ lower)
        return float(counted @ upper) / whole if whole else 0.0

    return Statistic(name, tuple(ids), of)


def precision_recall(
    ids: Sequence[str], counts: Sequence[tuple[int, int, int]], *, prefix: str = ""
) -> tuple[Statistic, Statistic, Statistic]:
    """F1, precision and recall; ``counts`` are each sample's true positives, predicted positives and positives."""
    right, called, true = (list(column) for column in zip(*counts, strict=True))
    both = [one + other for one, other in zip(called, true, strict=True)]
    return (
        ratio(f"{prefix}f1", ids, [2 * hits for hits in right], both),  # 2PR / (P + R) with sums put in for P and R
        ratio(f"{prefix}precision", ids, right, called),
        ratio(f"{prefix}recall", ids, right, true),
    )


def pearson(name: str, ids: Sequence[str], ours: Sequence[float], theirs: Sequence[float]) -> Statistic:
    """Pearson's correlation, -1 to 1; 0 where one side does not vary."""
    x, y = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    return Statistic(name, tuple(ids), lambda counted: _correlation(x, y, counted), 0.0)


def spearman(name: str, ids: Sequence[str], ours: Sequence[float], theirs: Sequence[float]) -> Statistic:
    """Spearman's rank correlation, ties at their mean rank, -1 to 1; 0 where one side does not vary."""
    x, y = _Ranks(ours), _Ranks(theirs)
    return Statistic(name, tuple(ids), lambda counted: _correlation(x.of(counted), y.of(counted), counted), 0.0)


def correlations(ending: str, ids: Sequence[str], ours: Sequence[float], theirs: Sequence[float]) -> list[Statistic]:
    """Return ``tau_b``, ``tau_c``, ``spearman`` and ``pearson``, each name with ``ending``; none without samples."""
    kinds = {"tau_b": kendall_b, "tau_c": kendall_c, "spearman": spearman, "pearson": pearson}
    return [kind(f"{name}{ending}", ids, ours, theirs) for name, kind in kinds.items()] if ids else []


def _correlation(x: Array, y: Array, counted: Array) -> float:
    whole = counted.sum()
    from_mean_x, from_mean_y = x - counted @ x / whole, y - counted @ y / whole
    spread = float((counted @ from_mean_x**2) * (counted @ from_mean_y**2))
    return float(counted @ (from_mean_x * from_mean_y)) / spread**0.5 if spread > 0 else 0.0


class _Ranks:
    def __init__(self, values: Sequence[float]) -> None:
        self._groups = np.unique(np.asarray(values, dtype=float), return_inverse=True)[1]

    def of(self, counted: Array) -> Array:
        """The mean rank of each value's group of ties, (N)."""
        sizes = np.bincount(self._groups, weights=counted)
        return np.asarray((np.cumsum(sizes) - (sizes - 1) / 2)[self._groups])


def kendall_b(name: str, ids: Sequence[str], ours: Sequence[float], theirs: Sequence[float]) -> Statistic:
    """τ-b, -1 to 1, ties on either side left out; 0 where one side does not vary."""
    pairs = _Pairs(ours, theirs)

    def of(counted: Array) -> float:
        x, y = pairs.untied(counted)
        return pairs.balance(counted) / (x * y) ** 0.5 if x > 0 and y > 0 else 0.0

    return Statistic(name, tuple(ids), of, 0.0)


def kendall_c(name: str, ids: Sequence[str], ours: Sequence[float], theirs: Sequence[float]) -> Statistic:
    """τ-c, -1 to 1, for sides with different numbers of values; 0 where one side does not vary."""
    pairs = _Pairs(ours, theirs)

    def of(counted: Array) -> float:
        values, whole = pairs.fewest_values(counted), counted.sum()
        return float(2 * pairs.balance(counted) * values / (whole**2 * (values - 1))) if values > 1 else 0.0

    return Statistic(name, tuple(ids), of, 0.0)


class _Pairs:
    def __init__(self, ours: Sequence[float], theirs: Sequence[float]) -> None:
        values = (np.asarray(side, dtype=float) for side in (ours, theirs))
        self._x, self._y = (np.unique(side, return_inverse=True)[1] for side in values)
        # Among equals of x, descending y keeps a pair from being concordant, ascending y from being discordant.
        self._concordant = _dominance(np.lexsort((-self._y, self._x)), self._y)
        self._discordant = _dominance(np.lexsort((self._y, self._x)), -self._y)

    def balance(self, counted: Array) -> float:
        """Concordant less discordant pairs."""
        return self._concordant(counted) - self._discordant(counted)

    def untied(self, counted: Array) -> tuple[float, float]:
        """Pairs that differ in x, and in y."""
        whole = counted.sum()
        groups = (np.bincount(side, weights=counted) for side in (self._x, self._y))
        x, y = (float(whole**2 - (sizes**2).sum()) / 2 for sizes in groups)
        return x, y

    def fewest_values(self, counted: Array) -> int:
        """Number of distinct values of the side that has fewer."""
        return min(int((np.bincount(side, weights=counted) > 0).sum()) for side in (self._x, self._y))


def _dominance(order: Array, values: Array) -> Callable[[Array], float]:
    """Return f(weights): the sum of w_i · w_j over all pairs in ``order`` whose second value is larger."""
    levels = []
    rank = np.empty(len(order), dtype=np.int64)
    rank[order] = np.arange(len(order))
    width = 1
    while width < len(order):
        block, right = rank // (2 * width), (rank // width) % 2 == 1
        # Within a block by value; among equals the right half first, so that only smaller ones of the left precede it.
        arranged = np.lexsort((~right, values, block))
        blocks = block[arranged]
        starts = np.searchsorted(blocks, blocks)
        levels.append((arranged, right[arranged], starts))
        width *= 2

    def of(counted: Array) -> float:
        total = 0.0
        for arranged, right, starts in levels:
            weights = counted[arranged]
            left = np.where(right, 0.0, weights)
            before = np.cumsum(left) - left
            total += float((weights * (before - before[starts]))[right].sum())
        return total

    return of


class Ranking:
    """Samples (N) in the order of their scores, for average precision under many weightings; sorts once."""

    def __init__(self, positive: Sequence[bool], scores: Sequence[float]) -> None:
        values = np.asarray(scores, dtype=float)
        self._order = np.argsort(-values, kind="stable")
        self._positive = np.asarray(positive, dtype=float)[self._order]
        descending = values[self._order]
        # Samples of equal score are one threshold; it stands at the last of them.
        self._thresholds = np.append(np.flatnonzero(np.diff(descending)), len(descending) - 1)

    def average_precision(self, weights: Array | None = None) -> float:
        """Mean precision over the recall steps, 0 to 1, under ``weights`` (N,); ValueError without positives."""
        counted = np.ones(len(self._order)) if weights is None else weights[self._order]
        hits = np.cumsum(counted * self._positive)[self._thresholds]
        if not len(hits) or hits[-1] == 0:
            raise ValueError("average precision is undefined without a positive sample")
        taken = np.cumsum(counted)[self._thresholds]
        precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
        return float((np.diff(hits, prepend=0.0) * precision).sum() / hits[-1])

    def best_accuracy(self, weights: Array) -> float:
        """The largest share that a threshold gets right, 0 to 1, under ``weights`` (N,)."""
        counted = weights[self._order]
        above = np.cumsum(counted * (2 * self._positive - 1))[self._thresholds]  # right less wrong ones taken as true
        return float((max(0.0, above.max()) + counted @ (1 - self._positive)) / counted.sum())
