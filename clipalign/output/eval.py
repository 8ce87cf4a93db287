"""``eval`` for the eye: a row a metric, ours beside the published numbers, each with its backbone and source.

Published numbers stand beside ours for reading; nothing is passed or failed by them.

Two runs of a benchmark beside each other: a row a metric, the difference with its interval and p-value.

A sweep for the eye: a row a combination, a column a metric; what does not fit the terminal is in JSON.

A calibration for the eye, as JSON, and as lines of a settings file.

The report about a benchmark's run: one page that needs nothing but itself.

Numbers with their intervals on a scale, published numbers beside them, how scores are spread, and the samples that went
most wrong and most right with their pictures.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.table import Table
from rich.text import Text

from clipalign.errors import UsageError
from clipalign.output.console import visible, width
from clipalign.output.detect import DetectView
from clipalign.output.html import parts
from clipalign.output.html.markup import Markup, joined, tag
from clipalign.output.html.page import head, provenance_table
from clipalign.output.json import eval_record
from clipalign.output.layout import HASH_DIGITS, Signs, flowing, printed, shortened, signs
from clipalign.results import (
    Calibration,
    ComparedMetric,
    Comparison,
    Distribution,
    EvalReport,
    EvalResult,
    Example,
    LayerCalibration,
    Metric,
    Published,
)
from clipalign.version import __version__

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


GAP_CELLS_comparison = 2
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
    return printed([title, *heads, Text(""), _rows_comparison(comparison.metrics), Text(""), *differing, *notes])


def _rows_comparison(metrics: Sequence[ComparedMetric]) -> Table:
    columns = {
        "A": [f"{metric.first:.4f}" for metric in metrics],
        "B": [f"{metric.second:.4f}" for metric in metrics],
        "B-A": [f"{metric.difference:+.4f}" for metric in metrics],
        "95% interval": [_interval_comparison(metric) for metric in metrics],
        "p": [_p(metric) for metric in metrics],
        "n": [str(metric.n) for metric in metrics],
    }
    taken = sum(max(map(len, [name, *cells])) + GAP_CELLS_comparison for name, cells in columns.items())
    table = Table(box=None, padding=(0, GAP_CELLS_comparison, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("metric", no_wrap=True)
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for place, metric in enumerate(metrics):
        name = shortened(metric.name, max(1, width() - taken))
        table.add_row(Text(name), *(Text(cells[place]) for cells in columns.values()))
    return table


def _interval_comparison(metric: ComparedMetric) -> str:
    return "" if metric.low is None or metric.high is None else f"{metric.low:+.3f} to {metric.high:+.3f}"


def _p(metric: ComparedMetric) -> str:
    if metric.p_value is None:
        return ""
    return f"<{SMALLEST_P}" if metric.p_value < SMALLEST_P else f"{metric.p_value:.4f}"


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


DIGITS: Final = 3
"""Of a threshold: its interval says how many of them mean anything."""


def calibration_record(calibration: Calibration) -> dict[str, object]:
    """The calibration as JSON."""
    return {
        "dataset": calibration.dataset,
        "model": calibration.model,
        "chosen": asdict(calibration.chosen),
        "layers": [asdict(one) for one in calibration.layers],
        "counts": calibration.counts,
        "settings": calibration.settings,
        "notes": list(calibration.notes),
        "provenance": asdict(calibration.provenance),
    }


def calibration_table(calibration: Calibration) -> str:
    """A row a number of layers, the chosen one marked."""
    columns: dict[str, list[str]] = {
        name: [] for name in ("layers", "LA", "95% interval", "epsilon", "epsilon 95%", "P", "R", "F1", "F1 held out")
    }
    for one in calibration.layers:
        mark = "*" if one == calibration.chosen else " "
        cells = (
            f"{one.layers}{mark}",
            f"{one.la:.4f}",
            f"{one.la_low:.3f} to {one.la_high:.3f}",
            rounded(one.epsilon),
            f"{one.epsilon_low:.1e} to {one.epsilon_high:.1e}",
            f"{one.precision:.3f}",
            f"{one.recall:.3f}",
            f"{one.f1:.3f}",
            f"{one.held_out_f1:.3f}",
        )
        for column, cell in zip(columns.values(), cells, strict=True):
            column.append(cell)
    for name in ("P", "R", "95% interval", "epsilon 95%"):  # what goes first where the terminal is narrow
        if sum(max(map(len, [head, *cells])) + GAP_CELLS for head, cells in columns.items()) - GAP_CELLS > width():
            del columns[name]
    table = Table(box=None, padding=(0, GAP_CELLS, 0, 0), pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for row in zip(*columns.values(), strict=True):
        table.add_row(*map(Text, row))
    title = f"{visible(calibration.model)}, calibrated on {visible(calibration.dataset)}"
    best = calibration.chosen
    proposal = f"proposed: --layers {best.layers} --epsilon {rounded(best.epsilon)}"
    notes = [Text(f"note: {visible(note)}", overflow="fold") for note in calibration.notes]
    parts: list[Text | Table] = [Text(title, style="bold", overflow="fold"), Text(""), table, Text("")]
    return printed([*parts, Text(proposal, overflow="fold"), *notes])


def rounded(epsilon: float) -> str:
    """As it is typed: ``-4.37e-05``."""
    return f"{epsilon:.{DIGITS}g}"


def save_calibration(calibration: Calibration, place: Path, *, model: str) -> None:
    """Put the proposal into a settings file, for ``detect``; comments and other tables are left as they are.

    Args:
        calibration: what was found.
        place: ``clipalign.toml``, or a ``pyproject.toml``.
        model: as ``--model`` takes it; saved with the numbers, because they mean nothing for another.

    Raises:
        UsageError: the file has settings of ``detect`` already, is no TOML, or cannot be written.
    """
    try:
        before = place.read_text(encoding="utf-8") if place.exists() else ""
        document = tomllib.loads(before)
        tools = document.get("tool")
        nested = place.name == "pyproject.toml" or (isinstance(tools, dict) and "clipalign" in tools)
        path = ("tool", "clipalign", "detect") if nested else ("detect",)
        lines = _lines(calibration.chosen, calibration, ".".join(path), model)
        table: object = document
        for name in path:
            table = table.get(name) if isinstance(table, dict) else None
        if table is not None:
            raise UsageError(
                f"{place} has a table [{'.'.join(path)}] already",
                hint="put these lines there: " + "; ".join(line for line in lines if "=" in line and line[0] != "#"),
                input="--save",
            )
        gap = "" if not before else "\n" if before.endswith("\n") else "\n\n"
        beside = place.with_name(f".{place.name}.part")
        beside.write_text(before + gap + "\n".join(lines) + "\n", encoding="utf-8")
        beside.replace(place)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{place} is not valid TOML: {error}", input="--save") from error
    except OSError as error:
        raise UsageError(f"{place} cannot be written: {error.strerror}", input="--save") from error


def _lines(best: LayerCalibration, calibration: Calibration, table: str, model: str) -> list[str]:
    quoted = "".join(f"\\u{ord(c):04x}" if c in '"\\' or ord(c) < 32 else c for c in model)
    return [
        f"[{table}]",
        f"# calibrated on {calibration.dataset}: {calibration.counts['samples']} captions, LA {best.la:.3f}, "
        f"F1 {best.f1:.3f} ({best.held_out_f1:.3f} held out),",
        f"# epsilon between {best.epsilon_low:.2g} and {best.epsilon_high:.2g}; "
        f"weights {calibration.provenance.weights_sha256[:16] or 'unknown'}",
        f'model = "{quoted}"',
        f"layers = {best.layers}",
        f"epsilon = {rounded(best.epsilon)}",
    ]


REPORT_FILE: Final = "report.html"
SCALE_UNITS: Final = 200
"""Length of a metric's scale in its own coordinates."""

BINS: Final = 40
PLOT_HEIGHT: Final = 100


def eval_page(shown: EvalReport) -> str:
    """The page."""
    document: Mapping[str, Any] = shown.document
    title = f"clipalign eval: {document['dataset']}, {document['model']}"
    sections = [
        _header(document),
        _section("Metrics", _legend(), _metrics(document)),
        _section("Distributions", tag("div", *map(_plot, shown.distributions), attributes={"class": "plots"}))
        if shown.distributions
        else "",
        _examples("Most wrong", shown.worst),
        _examples("Most right", shown.best),
        tag("footer", tag("p", f"made by clipalign {__version__}")),
    ]
    return joined(head(title, styles=("page.css", "eval.css"), scripts=()), tag("body", *sections), Markup("</html>\n"))


def _header(document: Mapping[str, Any]) -> Markup:
    counts = [
        tag("div", tag("dt", name.replace("_", " ")), tag("dd", f"{number:,}"))
        for name, number in document["counts"].items()
    ]
    rows = {
        "model": document["model"],
        **{name: value for name, value in document["provenance"].items() if name not in ("model", "settings")},
        "settings": document["settings"],
    }
    return tag(
        "header",
        tag("h1", f"{document['dataset']}: {document['model']}"),
        tag("dl", *counts, attributes={"class": "counts"}),
        *(tag("p", note, attributes={"class": "note"}) for note in document["notes"]),
        parts.folded("model, versions and settings", provenance_table(rows)),
    )


def _section(title: str, *content: str) -> Markup:
    return tag("section", tag("h2", title), *content, attributes={"class": "section"})


def _metrics(document: Mapping[str, Any]) -> Markup:
    names = ("metric", "ours", "95% interval", "chance", "n", "", "published")
    header = tag("tr", *(tag("th", name, attributes={"scope": "col"}) for name in names))
    rows = [_metric(document, name) for name in document["metrics"]]
    table = tag("table", tag("thead", header), tag("tbody", *rows), attributes={"class": "metrics"})
    return tag("div", table, attributes={"class": "over"})


def _metric(document: Mapping[str, Any], name: str) -> Markup:
    value = float(document["metrics"][name])
    interval = document["intervals"][name]
    low, high, chance = interval["low"], interval["high"], interval["chance"]
    known = document["published"].get(name, [])
    number = {"class": "number"}
    lines = [
        tag("div", f"{one['value']:.3f} ({value - one['value']:+.3f})  {one['backbone']}, {one['source']}")
        for one in known
    ]
    return tag(
        "tr",
        tag("th", name, attributes={"scope": "row"}),
        tag("td", f"{value:.4f}", attributes={"class": "number ours"}),
        tag("td", "" if low is None else f"{low:.3f} to {high:.3f}", attributes=number),
        tag("td", "" if chance is None else f"{chance:.3f}", attributes=number),
        tag("td", f"{interval['n']:,}", attributes=number),
        tag("td", _scale(value, low, high, chance, [one["value"] for one in known]), attributes={"class": "scale"}),
        tag("td", *lines, attributes={"class": "known"}),
    )


def _scale(value: float, low: float | None, high: float | None, chance: float | None, known: Sequence[float]) -> Markup:
    """From 0 to 1, or from -1 where there is anything below 0; what lies outside stands at the end."""
    everything = [one for one in (value, low, chance, *known) if one is not None]
    least = -1.0 if min(everything) < 0 else 0.0

    def place(number: float) -> float:
        return round(min(1.0, max(0.0, (number - least) / (1.0 - least))) * SCALE_UNITS, 2)

    shapes = [tag("rect", attributes={"class": "ground", "x": 0, "y": 9, "width": SCALE_UNITS, "height": 2})]
    if low is not None and high is not None:
        band = {"x": place(low), "y": 6, "width": max(place(high) - place(low), 0.5), "height": 8}
        shapes.append(tag("rect", attributes={"class": "interval", **band}))
    shapes += [_tick("published", place(number), 2, 5) for number in known]
    if chance is not None:
        shapes.append(_tick("chance", place(chance), 13, 5))
    shapes.append(_tick("value", place(value), 4, 12))
    box = {"viewBox": f"-2 0 {SCALE_UNITS + 4} 20", "preserveAspectRatio": "none", "aria-hidden": "true"}
    return tag("svg", *shapes, attributes=box)


def _tick(kind: str, x: float, y: float, height: float) -> Markup:
    return tag("rect", attributes={"class": kind, "x": x - 1, "y": y, "width": 2, "height": height})


def _legend() -> Markup:
    def sample(kind: str, words: str) -> Markup:
        mark = tag("rect", attributes={"class": kind, "x": 1, "y": 1, "width": 8, "height": 8})
        drawn = tag("svg", mark, attributes={"viewBox": "0 0 10 10", "aria-hidden": "true"})
        return tag("span", tag("span", drawn, attributes={"class": "scale"}), words)

    return tag(
        "p",
        sample("value", "ours"),
        sample("interval", "its 95% bootstrap interval"),
        sample("chance", "what a guess reaches (below the line)"),
        sample("published", "published, to read beside ours and not to pass (above the line)"),
        attributes={"class": "legend"},
    )


def _plot(distribution: Distribution) -> Markup:
    """Histograms over each other, each drawn to its own share: the area of every kind is the same."""
    pooled = [value for _, values in distribution.groups for value in values]
    low, high = min(pooled), max(pooled)
    heights = [_shares(values, low, high) for _, values in distribution.groups]
    tallest = max(max(shares) for shares in heights)
    shapes = []
    for kind, shares in enumerate(heights):
        for place, share in enumerate(shares):
            height = round(share / tallest * PLOT_HEIGHT, 2)
            if height:
                bar = {"x": place * 10, "y": PLOT_HEIGHT - height, "width": 10, "height": height}
                shapes.append(tag("rect", attributes={"class": f"kind-{kind}", **bar}))
    box = {"class": "bins", "viewBox": f"0 0 {BINS * 10} {PLOT_HEIGHT}", "preserveAspectRatio": "none", "role": "img"}
    labels = [
        tag("span", _swatch(kind), f"{name} ({len(values):,}; mean {_short(sum(values) / len(values))})")
        for kind, (name, values) in enumerate(distribution.groups)
    ]
    return tag(
        "figure",
        tag("figcaption", distribution.title),
        tag("svg", tag("title", f"histogram of {distribution.title}"), *shapes, attributes=box),
        tag("div", tag("span", _short(low)), tag("span", _short(high)), attributes={"class": "ends"}),
        tag("div", *labels, attributes={"class": "legend"}),
        attributes={"class": "plot"},
    )


def _shares(values: Sequence[float], low: float, high: float) -> list[float]:
    """The share of ``values`` in each bin."""
    counts = [0] * BINS
    for value in values:
        share = (value - low) / (high - low) if high > low else 0.5
        counts[min(BINS - 1, int(share * BINS))] += 1
    return [count / len(values) for count in counts]


def _swatch(kind: int) -> Markup:
    mark = tag("rect", attributes={"class": f"kind-{kind}", "x": 0, "y": 0, "width": 10, "height": 10})
    return tag("svg", mark, attributes={"viewBox": "0 0 10 10", "aria-hidden": "true"})


def _short(number: float) -> str:
    return f"{number:.3g}"


def _examples(title: str, examples: Sequence[Example]) -> Markup:
    if not examples:
        return Markup("")
    return _section(title, tag("div", *_cards(examples), attributes={"class": "examples"}))


def _cards(examples: Sequence[Example]) -> Iterator[Markup]:
    view = DetectView()
    for example in examples:
        content = view.card(example.record, parts.data_address(example.picture))
        truth = tag("p", example.truth, attributes={"class": "truth", "dir": "auto"})
        found = " found" if view.found(example.record) else ""
        yield tag("article", content, truth, attributes={"class": f"card{found}"})
