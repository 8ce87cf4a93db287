"""Names of benchmarks and where they live; nothing heavy is imported until one is asked for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Final, cast

from clipalign.errors import UnknownDataset

if TYPE_CHECKING:
    from clipalign.benchmarks.task import Benchmark


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    """A benchmark before it is imported: ``"module:attribute"`` of its class, and a line for lists."""

    target: str
    summary: str


BENCHMARKS: Final[dict[str, BenchmarkRow]] = {
    "pictogram-foil": BenchmarkRow(
        "clipalign.benchmarks.pictogram_foil:PictogramFoil",
        "generated scenes, one word of the caption swapped: objects, colours, positions, counts, sizes (offline)",
    ),
}


def benchmark_names() -> list[str]:
    """All names, in the order of the table."""
    return list(BENCHMARKS)


def find_benchmark(name: str) -> Benchmark:
    """The benchmark of that name, ready to be run.

    Raises:
        UnknownDataset: there is none; the hint names the nearest.
    """
    row = BENCHMARKS.get(name)
    if row is None:
        near = difflib.get_close_matches(name, BENCHMARKS, n=1, cutoff=0.5)
        known = ", ".join(BENCHMARKS)
        hint = f"did you mean {near[0]}?" if near else f"there are: {known}"
        raise UnknownDataset(f"unknown dataset '{name}'", hint=hint, input=name)
    module, attribute = row.target.split(":")
    return cast("Benchmark", getattr(import_module(module), attribute)())
