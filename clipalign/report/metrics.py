"""``eval`` for the eye: a row a metric, ours beside the published numbers, each with its backbone and source.

Published numbers stand beside ours for reading; nothing is passed or failed by them.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from rich.table import Table
from rich.text import Text

from clipalign.report.console import visible, width
from clipalign.report.layout import HASH_DIGITS, Signs, flowing, printed, shortened, signs
from clipalign.results import EvalResult, Metric, Published

GAP_CELLS: Final = 2
"""Between columns."""

MOST_NUMBERS: Final = 3
"""Of papers, for one metric: those with the model's own backbone before other methods before other backbones."""


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
    numbers = {metric.name: _nearest(result, metric) for metric in result.metrics}
    sources = list(dict.fromkeys(_source(number) for shown in numbers.values() for number in shown))
    parts: list[Text | Table] = [
        Text(f"{visible(result.dataset)}: {visible(result.model)}, {counts}", style="bold", overflow="fold"),
        Text(""),
        _rows(result, numbers, sources),
        Text(""),
    ]
    parts += [Text(f"[{place}] {visible(source)}", overflow="fold") for place, source in enumerate(sources, 1)]
    measured = [number for number in result.published if number.metric in numbers]
    if left_out := len(measured) - sum(map(len, numbers.values())):
        parts.append(Text(f"{left_out} more published numbers, of other backbones: --format json", overflow="fold"))
    parts += [Text(f"note: {visible(note)}", overflow="fold") for note in result.notes]
    return printed([*parts, _provenance(result, drawn_with)])


def _source(number: Published) -> str:
    return f"{number.backbone}, {number.source}"


def _nearest(result: EvalResult, metric: Metric) -> list[Published]:
    """The papers' numbers for a metric that are shown, in the papers' order."""
    known = [number for number in result.published if number.metric == metric.name]
    own = _plain(result.model.partition("@")[0])

    def distance(number: Published) -> int:
        if own and own in _plain(number.backbone):
            return 0
        return 2 if "ViT" in number.backbone else 1

    nearest = sorted(known, key=distance)[:MOST_NUMBERS]
    if nearest and distance(nearest[0]) == 0 and len(known) > MOST_NUMBERS - 1:
        nearest = [number for number in nearest if distance(number) < 2]
    return [number for number in known if number in nearest]


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _rows(result: EvalResult, numbers: dict[str, list[Published]], sources: list[str]) -> Table:
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
        known = numbers[metric.name]
        for row in [[*ours, *_compared(metric, number, sources)] for number in known[:1]] or [[*ours, "", ""]]:
            _append(columns, row)
        for number in known[1:]:
            _append(columns, ["", "", "", "", "", *_compared(metric, number, sources)])
    shown = [column for column in columns if any(column.cells)]
    while sum(c.cell_count() + GAP_CELLS for c in shown) - GAP_CELLS > width() and any(c.rank for c in shown):
        shown.remove(max(shown, key=lambda column: column.rank))
    names, *values = shown
    room = width() - sum(column.cell_count() + GAP_CELLS for column in values)
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
