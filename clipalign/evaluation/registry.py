"""Benchmarks by name, from ``benchmarks.toml``; nothing heavy is imported until one is asked for."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from clipalign.cache import data_folder
from clipalign.errors import UnknownDataset, UsageError
from clipalign.files import is_file, is_folder, read_package_rows

if TYPE_CHECKING:
    from clipalign.evaluation.benchmark import Benchmark

BENCHMARKS: Final[dict[str, dict[str, Any]]] = {
    row["name"]: row for row in read_package_rows("evaluation/benchmarks.toml")
}
"""Name → its class and the attributes that are set on it, in the order of lists."""


def benchmark_names() -> list[str]:
    """Names of benchmarks and of groups of them."""
    return [*BENCHMARKS, *GROUPS]


GROUPS: Final[dict[str, list[str]]] = {}
"""Name of a group → its benchmarks; a row names its group in ``of``."""

for _name, _row in BENCHMARKS.items():
    if _group := _row.pop("of", ""):
        GROUPS.setdefault(_group, []).append(_name)


def named_benchmarks(names: str) -> dict[str, bool]:
    """Each benchmark, file or folder named, with commas between → whether missing data is tolerated, as in a group."""
    found: dict[str, bool] = {}
    for name in [names] if is_file(Path(names).expanduser()) else names.split(","):
        found |= dict.fromkeys(GROUPS[name.strip()], True) if name.strip() in GROUPS else {name.strip(): False}
    return found


OWN_COLUMNS: Final = ("label", "wrong_words", "wrong_span", "false_text", "group", "human")
"""Columns of a file of the user's that say what is known of a text, besides those of every input."""


def find_benchmark(
    name: str,
    *,
    data_root: Path | None = None,
    cache_dir: Path | None = None,
    columns: Mapping[str, str] | None = None,
) -> Benchmark[Any, Any]:
    """The benchmark of that name; its ``check`` finds the data.

    Args:
        name: as in ``benchmarks.toml``, or a file or folder of the user's (:mod:`clipalign.evaluation.tasks.own_data`).
        data_root: folder of its data, or one that holds it under its name (of ``human-judgement`` also its file); None
            for where ``download`` puts it. For a file of the user's the folder of its pictures.
        columns: what a file of the user's calls its columns.

    Raises:
        UnknownDataset: there is none; the hint names the nearest.
    """
    own = Path(name).expanduser()
    if name not in BENCHMARKS and (is_file(own) or is_folder(own)):
        from clipalign.evaluation.tasks.own_data import own_benchmark

        return own_benchmark(own, columns=columns, pictures=data_root)
    if columns:
        raise UsageError("--columns is about a file of your own", hint="--dataset FILE", input="--columns")
    if name not in BENCHMARKS:
        if own.suffix or "/" in name:
            raise UnknownDataset(f"there is no file {name}", hint="check the path", input=name)
        near = difflib.get_close_matches(name, BENCHMARKS, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(BENCHMARKS)}"
        raise UnknownDataset(f"unknown dataset '{name}'", hint=hint, input=name)
    row = dict(BENCHMARKS[name])
    module, kind = row.pop("class").split(":")
    made = getattr(import_module(f"clipalign.evaluation.tasks.{module}"), kind)
    folder = data_folder(name, data_root=data_root, cache_dir=cache_dir)
    return cast("Benchmark[Any, Any]", made(folder, **row))
