"""``pictogram-long``: generated scenes whose captions grow detail by detail, with details known to be wrong; offline.

Seeded; scenes come from a split of their own that training never draws from. Protocol as for sDCI.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from clipalign.benchmarks.growing import COUNTINGS, Growing, GrowingBenchmark
from clipalign.pictogram.long_captions import TEST_SPLIT, make_long_sample

DEFAULT_SAMPLES: Final = 1000
SCENES_A_SEED: Final = 1_000_000


class PictogramLong(GrowingBenchmark):
    """The benchmark; see the module's text."""

    name = "pictogram-long"
    size = DEFAULT_SAMPLES
    notes = ("generated pictogram scenes; says nothing about photographs", COUNTINGS)

    def __init__(self) -> None:
        super().__init__(Path())

    def samples(self, *, limit: int | None, seed: int) -> Iterator[Growing]:
        """Scenes, ``DEFAULT_SAMPLES`` in all unless limited."""
        for number in range(DEFAULT_SAMPLES if limit is None else limit):
            place = seed * SCENES_A_SEED + number
            sample = make_long_sample(place, split=TEST_SPLIT)
            name = f"scene-{place}"
            yield Growing(name, sample.picture(), name, sample.caption.prefixes(), sample.caption.wrong_prefixes())
