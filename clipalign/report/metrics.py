"""``eval`` for the eye: a row a metric, ours beside the published numbers, each with its backbone and source.

Published numbers stand beside ours for reading; nothing is passed or failed by them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rich.table import Table
from rich.text import Text

from clipalign.report.console import visible, width
from clipalign.report.layout import Signs, flowing, printed, shortened, signs
from clipalign.report.table import HASH_DIGITS
from clipalign.results import EvalResult, Metric, Published

GAP_CELLS: Final = 2
"""Between columns."""


class _Column(NamedTuple):
    """A column; where the terminal is too narrow for all, those of the highest rank go first. JSON has everything."""

    name: str
    rank: int
    cells: list[str]

    def cell_count(self) -> int:
        return max(map(len, [self.name, *self.cells]))


def metrics_table(result: EvalResult) -> str:
    """The page for one benchmark."""
    drawn_with = signs()
    counts = ", ".join(f"{number} {name.replace('_', ' ')}" for name, number in result.counts.items() if number)
    sources = _sources(result)
    parts: list[Text | Table] = [
        Text(f"{visible(result.dataset)}: {visible(result.model)}, {counts}", style="bold", overflow="fold"),
        Text(""),
        _rows(result, sources),
        Text(""),
    ]
    parts += [Text(f"[{place}] {visible(source)}", overflow="fold") for place, source in enumerate(sources, 1)]
    parts += [Text(f"note: {visible(note)}", overflow="fold") for note in result.notes]
    return printed([*parts, _provenance(result, drawn_with)])


def _source(number: Published) -> str:
    return f"{number.backbone}, {number.source}"


def _sources(result: EvalResult) -> list[str]:
    """Every backbone and source once, in the order of their numbers."""
    return list(dict.fromkeys(_source(number) for number in result.published))


def _rows(result: EvalResult, sources: list[str]) -> Table:
    columns = [
        _Column("metric", 0, []),
        _Column("ours", 0, []),
        _Column("95% interval", 3, []),
        _Column("n", 4, []),
        _Column("chance", 5, []),
        _Column("published", 1, []),
        _Column("diff", 2, []),
    ]
    for metric in result.metrics:
        ours = [metric.name, f"{metric.value:.4f}", _interval(metric), str(metric.n), _optional(metric.chance)]
        known = [number for number in result.published if number.metric == metric.name]
        for row in [[*ours, *_compared(metric, number, sources)] for number in known[:1]] or [[*ours, "", ""]]:
            _append(columns, row)
        for number in known[1:]:
            _append(columns, ["", "", "", "", "", *_compared(metric, number, sources)])
    shown = [column for column in columns if any(column.cells)]
    while sum(c.cell_count() + GAP_CELLS for c in shown) - GAP_CELLS > width() and any(c.rank for c in shown):
        shown.remove(max(shown, key=lambda column: column.rank))
    names, *numbers = shown
    room = width() - sum(column.cell_count() + GAP_CELLS for column in numbers)
    names.cells[:] = [shortened(cell, room) for cell in names.cells]  # what is left to cut are names, never numbers
    table = Table(box=None, padding=(0, GAP_CELLS, 0, 0), pad_edge=False, header_style="bold")
    for column in shown:
        table.add_column(column.name, justify="left" if column.name == "metric" else "right", no_wrap=True)
    for cells in zip(*(column.cells for column in shown), strict=True):
        if any(cells):
            table.add_row(*(Text(cell) for cell in cells))
    return table


def _append(columns: list[_Column], row: list[str]) -> None:
    for column, cell in zip(columns, row, strict=True):
        column.cells.append(cell)


def _interval(metric: Metric) -> str:
    return "" if metric.low is None or metric.high is None else f"{metric.low:.3f} to {metric.high:.3f}"


def _optional(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _compared(metric: Metric, number: Published, sources: list[str]) -> list[str]:
    place = sources.index(_source(number)) + 1
    return [f"{number.value:.4f} [{place}]", f"{metric.value - number.value:+.4f}"]


def _provenance(result: EvalResult, drawn_with: Signs) -> Text:
    origin = result.provenance
    pieces = [f"weights {origin.weights_sha256[:HASH_DIGITS]}"] if origin.weights_sha256 else []
    pieces += [f"{origin.device} {origin.precision}", f"seed {origin.seed}"]
    pieces += [f"{name} {number}" for name, number in origin.versions.items()]
    line = flowing(pieces, gap=f" {drawn_with.dot} ")
    line.stylize("dim")
    return line
