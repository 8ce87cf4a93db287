"""The table of data sets, family by family, and the way to a row by its name."""

from __future__ import annotations

import difflib
from typing import Final

from clipalign.errors import UnknownDataset
from clipalign.registry.datasets.classes import CLASSES
from clipalign.registry.datasets.descriptions import DESCRIPTIONS
from clipalign.registry.datasets.long_captions import LONG_CAPTIONS
from clipalign.registry.datasets.row import DatasetRow
from clipalign.registry.datasets.words import WORDS

DATASETS: Final[dict[str, DatasetRow]] = {row.name: row for row in (*WORDS, *CLASSES, *LONG_CAPTIONS, *DESCRIPTIONS)}
"""Name to row, in the order of lists."""


def dataset_names() -> list[str]:
    """All names, in the order of lists."""
    return list(DATASETS)


def find_dataset(name: str) -> DatasetRow:
    """The row of that name.

    Raises:
        UnknownDataset: there is none; the hint names the nearest.
    """
    if name in DATASETS:
        return DATASETS[name]
    near = difflib.get_close_matches(name.lower(), DATASETS, n=2, cutoff=0.6)
    hint = f"did you mean {' or '.join(near)}?" if near else f"one of {', '.join(DATASETS)}"
    raise UnknownDataset(f"unknown data set {name!r}", hint=hint, input=name)
