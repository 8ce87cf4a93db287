"""Captions that grow detail by detail, each beginning also with a wrong detail after it: does the score tell? (SPECS)

``positive``: how often one more right detail raises the score; ``negative``: how often a wrong one lowers it; both per
image, then averaged; ``average``: their mean. Counted twice. As published: the last caption is left out, one whose
cosine is not positive counts as absent, which hits models of negative cosines, and an image with fewer than three left
is skipped. Corrected: every caption and every wrong detail of every image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from clipalign.benchmarks import statistics
from clipalign.benchmarks.long_route import LongBenchmark, LongRoute
from clipalign.benchmarks.pictures import PictureSource
from clipalign.benchmarks.statistics import Statistic

if TYPE_CHECKING:
    from torch import Tensor

    from clipalign.pipeline.loaded import LoadedModel
    from clipalign.results import Provenance
    from clipalign.settings import Settings

FEWEST: Final = 3
"""Captions left that an image needs in the published counting."""

CHANCE: Final = 0.5

COUNTINGS: Final = (
    "positive, negative and average are counted as published: without the last caption, captions whose cosine is not "
    "positive count as absent, images with fewer than three left are skipped; _corrected counts everything"
)


@dataclass(frozen=True, slots=True)
class Growing:
    """A picture with captions of growing detail.

    Attributes:
        id: unique within the benchmark.
        image: what is shown.
        image_name: what to call it.
        captions: each begins with the one before (n).
        negatives: the first captions, each with a wrong detail after it (n or n - 1).
    """

    id: str
    image: PictureSource
    image_name: str
    captions: tuple[str, ...]
    negatives: tuple[str, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """Captions, then negatives."""
        return self.captions + self.negatives


@dataclass(frozen=True, slots=True)
class Grown:
    """The cosines of a picture with its captions, and with those that have a wrong detail; how many were cut."""

    id: str
    cosines: tuple[float, ...]
    negative_cosines: tuple[float, ...]
    cut: int


class Shares(NamedTuple):
    """Of one image: how often a right detail raised the score, and a wrong one lowered it; 0 to 1."""

    positive: float
    negative: float


class GrowingRoute(LongRoute[Growing, Grown]):
    """Captions and negatives in one go; what they share is encoded once."""

    def made(self, sample: Growing, image: Tensor, texts: Tensor, cut: int) -> Grown:
        """The cosines."""
        cosines = tuple((texts @ image).tolist())
        count = len(sample.captions)
        return Grown(sample.id, cosines[:count], cosines[count:], cut)

    def outcome(self, record: dict[str, Any]) -> Grown:
        """Back from the record."""
        self.remember(record)
        return read_grown(record)


def read_grown(record: dict[str, Any]) -> Grown:
    """The outcome of a record.

    Raises:
        KeyError, TypeError, ValueError: it is no such record.
    """
    cosines, negatives = (tuple(map(float, record[name])) for name in ("cosines", "negative_cosines"))
    return Grown(record["id"], cosines, negatives, record["cut"])


class GrowingBenchmark(LongBenchmark[Growing, Grown]):
    """A benchmark of growing captions."""

    notes: tuple[str, ...] = (COUNTINGS,)

    def route(self, loaded: LoadedModel, settings: Settings) -> GrowingRoute:
        """With the model's own context, unless the user has it stretched."""
        return GrowingRoute(loaded, settings)

    def statistics(self, outcomes: Sequence[Grown]) -> list[Statistic]:
        """Both countings."""
        return growing_statistics(outcomes)

    def reread(self, record: dict[str, Any], provenance: Provenance) -> Grown:
        """The outcome of a line of ``samples.jsonl``."""
        return read_grown(record)


def published_shares(outcome: Grown) -> Shares | None:
    """As SPECS' own evaluation counts; None where it skips the image."""
    rows = zip(outcome.cosines[:-1], outcome.negative_cosines, strict=False)
    kept = [(cosine, negative) for cosine, negative in rows if cosine > 0]
    if len(kept) < FEWEST:
        return None
    steps = len(kept) - 1
    positive = sum(kept[place + 1][0] > kept[place][0] for place in range(steps)) / steps
    return Shares(positive, sum(cosine > negative for cosine, negative in kept[:steps]) / steps)


def corrected_shares(outcome: Grown) -> Shares | None:
    """Every caption and every wrong detail; None where there are too few for a comparison."""
    cosines, negatives = outcome.cosines, outcome.negative_cosines
    steps = len(cosines) - 1
    if steps < 1 or not negatives:
        return None
    positive = sum(cosines[place + 1] > cosines[place] for place in range(steps)) / steps
    pairs = list(zip(cosines, negatives, strict=False))
    return Shares(positive, sum(cosine > negative for cosine, negative in pairs) / len(pairs))


def growing_statistics(outcomes: Sequence[Grown]) -> list[Statistic]:
    """Positive, negative and average, in both countings; a counting that leaves no image has no numbers."""
    found = []
    for suffix, shares_of in (("", published_shares), ("_corrected", corrected_shares)):
        counted = [(one.id, shares) for one in outcomes if (shares := shares_of(one)) is not None]
        if not counted:
            continue
        ids = [id for id, _ in counted]
        by_name = {
            "positive": [shares.positive for _, shares in counted],
            "negative": [shares.negative for _, shares in counted],
            "average": [sum(shares) / len(shares) for _, shares in counted],
        }
        found += [statistics.mean(name + suffix, ids, values, chance=CHANCE) for name, values in by_name.items()]
    return found
