"""Numbers of papers, from ``published.toml``, to be read beside ours; never a pass mark."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, Final

from clipalign.eval_results import Published
from clipalign.files import read_package_rows


def _numbers(table: Mapping[str, Any]) -> Iterator[Published]:
    """One printed table, line by line, as shares from 0 to 1."""
    for title, values in table["lines"].items():
        for column, value in zip(table.get("metrics") or table["backbones"], values, strict=True):
            metric, backbone = (column, title) if "metrics" in table else (title, column)
            if not math.isnan(value):
                share = round(value / 100, 6) if table.get("percent") else value
                yield Published(metric, share, backbone, table["source"])


PUBLISHED: Final[dict[str, tuple[Published, ...]]] = {}  # by data set, in the order in which they are shown

for _table in read_package_rows("evaluation/published.toml"):
    PUBLISHED[_table["dataset"]] = (*PUBLISHED.get(_table["dataset"], ()), *_numbers(_table))
