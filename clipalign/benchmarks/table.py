"""Names of benchmarks and where they live; nothing heavy is imported until one is asked for."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, cast

from clipalign.errors import UnknownDataset

if TYPE_CHECKING:
    from pathlib import Path

    from clipalign.benchmarks.task import Benchmark


@dataclass(frozen=True, slots=True)
class BenchmarkRow:
    """A benchmark before it is imported.

    Attributes:
        target: ``"module:attribute"`` of its class.
        summary: a line for lists.
        generated: whether it makes its own samples; else its class takes the folder of its data.
    """

    target: str
    summary: str
    generated: bool = False


BENCHMARKS: Final[dict[str, BenchmarkRow]] = {
    "pictogram-foil": BenchmarkRow(
        "clipalign.benchmarks.pictogram_foil:PictogramFoil",
        "generated scenes, one word of the caption swapped: objects, colours, positions, counts, sizes (offline)",
        generated=True,
    ),
}


def benchmark_names() -> list[str]:
    """All names, in the order of the table."""
    return list(BENCHMARKS)


def find_benchmark(name: str, *, data_root: Path | None = None, cache_dir: Path | None = None) -> Benchmark[Any, Any]:
    """The benchmark of that name; whether its data is there is found out by its ``check``.

    Args:
        name: as in the table.
        data_root: folder of its data, or one that holds it under its name; None for where ``download`` puts it.
        cache_dir: clipalign's cache folder, where it is not the usual one.

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
    made = getattr(import_module(module), attribute)
    if row.generated:
        return cast("Benchmark[Any, Any]", made())
    from clipalign.benchmarks.data import data_folder

    return cast("Benchmark[Any, Any]", made(data_folder(name, data_root=data_root, cache_dir=cache_dir)))
