"""Arithmetic of the benchmarks: average precision and localisation; :mod:`.statistics` has the intervals."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from clipalign.results import DetectResult, WordScore

BOOTSTRAP_DRAWS: Final = 1000
INTERVAL_PERCENT: Final = (2.5, 97.5)

Array = npt.NDArray[Any]


class Ranking:
    """Samples in the order of their scores, for average precision under many weightings.

    scikit-learn defines it (the suite holds ours against it); ours sorts once, so that a thousand bootstrap draws cost
    about what a single call costs there.

    Args:
        positive: (N,) which samples are positive.
        scores: (N,) the higher, the more positive.
    """

    def __init__(self, positive: Sequence[bool], scores: Sequence[float]) -> None:
        values = np.asarray(scores, dtype=float)
        self._order = np.argsort(-values, kind="stable")
        self._positive = np.asarray(positive, dtype=float)[self._order]
        descending = values[self._order]
        # Samples of equal score are one threshold; it stands at the last of them.
        self._thresholds = np.append(np.flatnonzero(np.diff(descending)), len(descending) - 1)

    def average_precision(self, weights: Array | None = None) -> float:
        """Mean precision over the recall steps, 0 to 1, higher is better; ``weights`` (N,) count samples repeatedly.

        Raises:
            ValueError: there is no positive sample.
        """
        counted = np.ones(len(self._order)) if weights is None else weights[self._order]
        hits = np.cumsum(counted * self._positive)[self._thresholds]
        if not len(hits) or hits[-1] == 0:
            raise ValueError("average precision is undefined without a positive sample")
        taken = np.cumsum(counted)[self._thresholds]
        precision = np.divide(hits, taken, out=np.zeros_like(hits), where=taken > 0)
        return float((np.diff(hits, prepend=0.0) * precision).sum() / hits[-1])


def lowest_word(result: DetectResult) -> WordScore | None:
    """The scored word with the smallest attribution: the prediction of mode ``most-negative``."""
    scored = [word for word in result.words if word.attribution is not None]
    return min(scored, key=lambda word: word.attribution or 0.0, default=None)


def lies_within(word: WordScore, span: tuple[int, int]) -> bool:
    """Whether a word lies inside a span of characters of the same caption."""
    return span[0] <= word.start and word.end <= span[1]
