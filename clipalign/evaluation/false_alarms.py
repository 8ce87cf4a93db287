"""An epsilon by which right captions are rarely marked: split conformal prediction (Vovk et al., 2005; Papadopoulos
et al., 2002) with the lowest attribution of a caption as its score.

Of n right captions let m_j be the lowest attribution. With epsilon = the r-th smallest m_j, r = ⌊A (n + 1)⌋, a
further right caption that is exchangeable with them has a word below epsilon with probability r / (n + 1), at most A.
Over the draw of the n captions the rate is distributed as Beta(r, n + 1 - r).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Final

from clipalign.calibration import FalseAlarms
from clipalign.errors import UsageError

INTERVAL: Final = (0.05, 0.95)
_ROUNDING: Final = 1e-9
"""0.07 * 100 is 7.000000000000001, and 0.29 * 100 is 28.999999999999996."""


def bounded_epsilon(lowest: Sequence[float], asked: float) -> tuple[float, FalseAlarms]:
    """The epsilon for a share of false alarms, and what is promised of it; ``lowest`` are the m_j (n).

    UsageError says how many captions are needed where there are too few.
    """
    rank = math.floor(asked * (len(lowest) + 1) + _ROUNDING)
    if rank < 1:
        needed = math.ceil(1 / asked - 1 - _ROUNDING)
        raise UsageError(
            f"{len(lowest):,} right captions are too few for {100 * asked:g}% of false alarms, which need {needed:,}",
            hint="give more captions, or allow more false alarms",
            input="--false-alarms",
        )
    low, high = (beta_quantile(rank, len(lowest) + 1 - rank, share) for share in INTERVAL)
    return sorted(lowest)[rank - 1], FalseAlarms(asked, len(lowest), low, high)


def beta_quantile(a: int, b: int, share: float) -> float:
    """The quantile of Beta(a, b) for whole a and b, at least 1: P(Beta <= x) is P(Binomial(a + b - 1, x) >= a)."""
    trials = a + b - 1
    logs = [math.lgamma(trials + 1) - math.lgamma(k + 1) - math.lgamma(trials - k + 1) for k in range(a)]

    def reached(x: float) -> bool:
        fewer = (math.exp(log + k * math.log(x) + (trials - k) * math.log1p(-x)) for k, log in enumerate(logs))
        return 1 - math.fsum(fewer) >= share

    return _bisected(reached)


def _bisected(reached: Callable[[float], bool]) -> float:
    low, high = 0.0, 1.0
    while high - low > 1e-9:
        middle = (low + high) / 2
        low, high = (low, middle) if reached(middle) else (middle, high)
    return high
