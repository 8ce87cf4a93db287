"""Two runs of a benchmark beside each other: a row a metric, the difference with its interval and p-value."""

from __future__ import annotations

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from clipalign.report.console import visible, width
from clipalign.report.layout import printed, shortened
from clipalign.results import ComparedMetric, Comparison

GAP_CELLS = 2
SMALLEST_P = 1e-4
"""Below it, a p-value is said to be below it."""


def comparison_record(comparison: Comparison) -> dict[str, object]:
    """The comparison as JSON."""
    return {
        "dataset": comparison.dataset,
        "runs": [
            {"model": model, "folder": place} for model, place in zip(comparison.models, comparison.places, strict=True)
        ],
        "metrics": {metric.name: _metric_record(metric) for metric in comparison.metrics},
        "differing": {name: [first, second] for name, first, second in comparison.differing},
        "notes": list(comparison.notes),
    }


def _metric_record(metric: ComparedMetric) -> dict[str, object]:
    return {
        "values": [metric.first, metric.second],
        "difference": metric.difference,
        "low": metric.low,
        "high": metric.high,
        "p_value": metric.p_value,
        "test": metric.test or None,
        "n": metric.n,
    }


def comparison_table(comparison: Comparison) -> str:
    """The page for two runs."""
    heads = [
        Text(f"[{letter}] {visible(model)}  {visible(place)}", overflow="fold")
        for letter, model, place in zip("AB", comparison.models, comparison.places, strict=True)
    ]
    differing = [
        Text(f"{name}: A {visible(str(first))}, B {visible(str(second))}", style="dim", overflow="fold")
        for name, first, second in comparison.differing
    ]
    notes = [Text(f"note: {visible(note)}", overflow="fold") for note in comparison.notes]
    title = Text(f"{visible(comparison.dataset)}: two runs", style="bold", overflow="fold")
    return printed([title, *heads, Text(""), _rows(comparison.metrics), Text(""), *differing, *notes])


def _rows(metrics: Sequence[ComparedMetric]) -> Table:
    columns = {
        "A": [f"{metric.first:.4f}" for metric in metrics],
        "B": [f"{metric.second:.4f}" for metric in metrics],
        "B-A": [f"{metric.difference:+.4f}" for metric in metrics],
        "95% interval": [_interval(metric) for metric in metrics],
        "p": [_p(metric) for metric in metrics],
        "n": [str(metric.n) for metric in metrics],
    }
    taken = sum(max(map(len, [name, *cells])) + GAP_CELLS for name, cells in columns.items())
    table = Table(box=None, padding=(0, GAP_CELLS, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("metric", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for place, metric in enumerate(metrics):
        name = shortened(metric.name, max(1, width() - taken))
        table.add_row(Text(name), *(Text(cells[place]) for cells in columns.values()))
    return table


def _interval(metric: ComparedMetric) -> str:
    return "" if metric.low is None or metric.high is None else f"{metric.low:+.3f} to {metric.high:+.3f}"


def _p(metric: ComparedMetric) -> str:
    if metric.p_value is None:
        return ""
    return f"<{SMALLEST_P}" if metric.p_value < SMALLEST_P else f"{metric.p_value:.4f}"
