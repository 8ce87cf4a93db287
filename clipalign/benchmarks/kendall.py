"""Kendall's τ-b and τ-c as statistics over samples that may count several times (Kendall 1945; Stuart 1953).

Concordant less discordant pairs are counted along the halvings of a merge sort that is laid out once: a bootstrap draw
then costs n log n sums and no sorting. scipy defines the values, and the suite holds these against it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from clipalign.benchmarks.metrics import Array
from clipalign.benchmarks.statistics import Statistic


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
    """Pairs of samples by how both sides order them."""

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
        """Different values of the side that has fewer."""
        return min(int((np.bincount(side, weights=counted) > 0).sum()) for side in (self._x, self._y))


def _dominance(order: Array, values: Array) -> Callable[[Array], float]:
    """A function of weights: over all pairs in ``order`` whose second has the larger value, the product of weights."""
    levels = []
    place = np.empty(len(order), dtype=np.int64)
    place[order] = np.arange(len(order))
    width = 1
    while width < len(order):
        block, right = place // (2 * width), (place // width) % 2 == 1
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
