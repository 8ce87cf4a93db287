"""A sweep for the eye: a row a combination, a column a metric; what does not fit the terminal is in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from rich.table import Table
from rich.text import Text

from clipalign.report.console import visible, width
from clipalign.report.json import eval_record
from clipalign.report.layout import printed
from clipalign.results import EvalResult

GAP_CELLS: Final = 2

Row = tuple[Mapping[str, object], EvalResult]
"""Values of the settings that were swept, and what came out."""


def sweep_record(rows: Sequence[Row]) -> dict[str, object]:
    """The sweep as JSON: every run whole, with the values that were swept beside it."""
    return {
        "dataset": rows[0][1].dataset,
        "swept": list(rows[0][0]),
        "runs": [{"swept": dict(values), **eval_record(result)} for values, result in rows],
    }


def sweep_table(rows: Sequence[Row]) -> str:
    """The page for a sweep of at least one run; the best value of each metric is marked with a star."""
    first = rows[0][1]
    columns = {name: [visible(str(values[name])) for values, _ in rows] for name in rows[0][0]}
    names = _wholes_first([metric.name for metric in first.metrics])
    found = [{metric.name: metric.value for metric in result.metrics} for _, result in rows]
    room = width() - sum(_cells(name, cells) for name, cells in columns.items())
    left_out = []
    for name in names:
        cells = _starred([metrics.get(name) for metrics in found])
        if _cells(name, cells) <= room:
            columns[name] = cells
            room -= _cells(name, cells)
        else:
            left_out.append(name)
    table = Table(box=None, padding=(0, GAP_CELLS, 0, 0), pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for place in range(len(rows)):
        table.add_row(*(Text(cells[place]) for cells in columns.values()))
    counts = ", ".join(f"{number} {name}" for name, number in first.counts.items() if number)
    title = Text(f"{visible(first.dataset)}: {len(rows)} runs, {counts}", style="bold", overflow="fold")
    notes = [Text(f"note: {visible(note)}", overflow="fold") for note in first.notes]
    if len(rows) > 1:
        notes.append(Text("note: * is the highest of its column, on the data it was chosen on", overflow="fold"))
    if left_out:
        notes.append(Text(f"note: {len(left_out)} more metrics are in --format json", overflow="fold"))
    return printed([title, Text(""), table, Text(""), *notes])


def _wholes_first(names: Sequence[str]) -> list[str]:
    """``la`` before ``la_object``: numbers of subsets come after those of the whole."""
    return sorted(names, key=lambda name: any(name.startswith(f"{other}_") for other in names))


def _cells(name: str, cells: Sequence[str]) -> int:
    return max(map(len, [name, *cells])) + GAP_CELLS


def _starred(values: Sequence[float | None]) -> list[str]:
    known = [value for value in values if value is not None]
    best = max(known, default=None)
    return ["" if one is None else f"{one:.4f}{'*' if one == best and len(known) > 1 else ' '}" for one in values]
