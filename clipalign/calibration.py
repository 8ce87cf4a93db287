"""A calibration that ``eval --calibrate --save`` wrote and ``detect --calibration`` takes.

It holds k, epsilon and template for one model, what epsilon promises (split conformal prediction), and a fingerprint of
the right captions that it was found on, by which :class:`Drift` tells whether other captions are of another kind.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Final

from clipalign.errors import UsageError
from clipalign.files import read_text_bytes

Curve = tuple[tuple[float, float], ...]
"""Values, ascending, each with the share of captions that have at most that."""

FEATURES: Final = {"words": "numbers of words", "cosine": "cosines", "lowest": "lowest attributions"}
STEPS: Final = 20
"""Steps of a curve: it has the quantiles 0, 5, …, 100 %."""

MIN_CAPTIONS: Final = 20
"""Fewest captions without a misaligned word that the test for drift is made on."""

SIGNIFICANCE: Final = 0.01
"""Probability of a warning about captions of the same kind, over all features."""

_MAX_BYTES: Final = 1_000_000


@dataclass(frozen=True)
class FalseAlarms:
    """What is promised of an epsilon.

    Attributes:
        asked: a right caption has a misaligned word with at most this probability.
        captions: right captions that epsilon was found on.
        low, high: 90 % interval of the rate that such an epsilon has, over the draw of these captions.
    """

    asked: float
    captions: int
    low: float
    high: float


@dataclass(frozen=True)
class SavedCalibration:
    """See the module; ``fingerprint`` has a curve for each of :data:`FEATURES`, over so many ``captions``."""

    model: str
    weights_sha256: str
    layers: int
    template: str
    epsilon: float
    dataset: str
    false_alarms: FalseAlarms | None
    captions: int
    fingerprint: Mapping[str, Curve]

    @property
    def promise(self) -> str:
        """A sentence about the false alarms; empty where none was asked for."""
        if (bound := self.false_alarms) is None:
            return ""
        return (
            f"at most {100 * bound.asked:g}% of right captions like the {bound.captions:,} of {self.dataset} have a "
            f"misaligned word (90% interval of the rate: {100 * bound.low:.2g}% to {100 * bound.high:.2g}%)"
        )


def read_calibration(value: object) -> SavedCalibration:
    """Read a file of ``eval --calibrate --save``; a calibration is returned unchanged; ``UsageError`` if it is none."""
    if isinstance(value, SavedCalibration):
        return value
    import orjson

    path = Path(str(value)).expanduser()
    try:
        return _checked(orjson.loads(read_text_bytes(path, _MAX_BYTES)))
    except OSError as error:
        raise UsageError(
            f"{path} cannot be read: {error.strerror}", hint="eval --calibrate --save writes it", input=str(path)
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UsageError(
            f"{path} is no calibration", hint="eval --calibrate --save writes it", input=str(path)
        ) from error


def _checked(found: dict[str, Any]) -> SavedCalibration:
    bound = found["false_alarms"]
    points = {name: found["fingerprint"][name] for name in FEATURES}
    curves = {name: tuple((float(value), float(share)) for value, share in one) for name, one in points.items()}
    made = SavedCalibration(
        **{one.name: found[one.name] for one in fields(SavedCalibration)}
        | {"false_alarms": bound and FalseAlarms(**bound), "fingerprint": curves}
    )
    texts = (made.model, made.weights_sha256, made.template, made.dataset)
    numbers = (made.epsilon, *([] if bound is None else bound.values()))
    whole = all(isinstance(one, int) and one > 0 for one in (made.layers, made.captions))
    if not whole or not all(isinstance(one, str) for one in texts) or not all(map(math.isfinite, numbers)):
        raise ValueError("a value is of another type")
    return made


def features(words: Sequence[Mapping[str, Any]], cosine: float) -> dict[str, float]:
    """Return what of a caption is compared; empty where no word was scored."""
    lowest = min((word["attribution"] for word in words if word["attribution"] is not None), default=None)
    return {} if lowest is None else {"words": float(len(words)), "cosine": cosine, "lowest": lowest}


def curve(values: Iterable[float]) -> Curve:
    """Return quantiles of at least one value, each with the share of values at or below it."""
    ordered = sorted(map(float, values))
    last = len(ordered) - 1
    points = sorted({ordered[round(step * last / STEPS)] for step in range(STEPS + 1)})
    shares = (sum(one <= point for one in ordered) / len(ordered) for point in points)
    return tuple(zip(points, shares, strict=True))


class Drift:
    """Whether the captions of a run look like those of a calibration: a two-sample Kolmogorov-Smirnov test a feature.

    Only captions without a misaligned word are compared, on both sides, so that wrong captions do not count as another
    kind. Memory does not grow with the run.

    Attributes:
        counts: of each feature, how many captions lie between two neighbors of its curve.
    """

    def __init__(self, calibration: SavedCalibration) -> None:
        self._curves = calibration.fingerprint
        self._points = {name: [point for point, _ in points] for name, points in self._curves.items()}
        self._captions = calibration.captions
        self.counts = {name: [0] * (len(points) + 1) for name, points in self._curves.items()}

    def add(self, record: Mapping[str, Any]) -> None:
        found = {} if record["misaligned"] else features(record["words"], record["cosine"])
        for name, value in found.items():
            self.counts[name][bisect_left(self._points[name], value)] += 1

    def restore(self, counts: Mapping[str, Sequence[int]]) -> None:
        """Go on from the counts of an earlier run; ``KeyError``, ``TypeError`` or ``ValueError`` for other ones."""
        for name, own in self.counts.items():
            self.counts[name] = [int(count) for count, _ in zip(counts[name], own, strict=True)]

    @property
    def seen(self) -> int:
        """How many captions were compared."""
        return sum(next(iter(self.counts.values()), ()))

    def distances(self) -> dict[str, float]:
        """Return the largest difference of the cumulative shares of each feature, 0 to 1."""
        found = {}
        for name, points in self._curves.items():
            below, largest = 0, 0.0
            for (_, share), count in zip(points, self.counts[name], strict=False):
                below += count
                largest = max(largest, abs(below / max(1, self.seen) - share))
            found[name] = largest
        return found

    def warning(self) -> str:
        """Return a sentence that names what differs; empty where nothing does, or too few captions were seen."""
        if self.seen < MIN_CAPTIONS:
            return ""
        effective = self.seen * self._captions / (self.seen + self._captions)
        least = SIGNIFICANCE / len(FEATURES)
        unlike = [FEATURES[name] for name, one in self.distances().items() if kolmogorov(one, effective) < least]
        if not unlike:
            return ""
        named = " and ".join(unlike)
        return f"captions look unlike those calibrated on, by their {named}: calibrate on captions like these"


def kolmogorov(distance: float, effective: float) -> float:
    """Return the asymptotic p-value of a Kolmogorov-Smirnov distance; ``effective`` is n m / (n + m)."""
    root = math.sqrt(effective)
    scaled = (root + 0.12 + 0.11 / root) * distance  # Stephens' correction for small samples
    if scaled < 0.2:
        return 1.0
    terms = ((-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    return min(1.0, max(0.0, 2 * math.fsum(terms)))
