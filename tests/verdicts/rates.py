"""A share with its interval, as figures keep it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

NORMAL_95: Final = 1.959964


def rate(outcomes: Sequence[bool]) -> tuple[float, float, float, int]:
    """Share, lower and upper bound of its 95 % interval (Wilson), and of how many."""
    n, share = len(outcomes), sum(outcomes) / len(outcomes)
    z2 = NORMAL_95**2 / n
    middle, half = share + z2 / 2, NORMAL_95 * math.sqrt(share * (1 - share) / n + z2 / (4 * n))
    low, high = (middle - half) / (1 + z2), (middle + half) / (1 + z2)
    return round(share, 3), round(low, 3), round(high, 3), n
