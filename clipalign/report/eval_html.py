"""The report about a benchmark's run: one page that needs nothing but itself.

Numbers with their intervals on a scale, published numbers beside them, how scores are spread, and the samples that went
most wrong and most right with their pictures.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from clipalign.report.detect import DetectView
from clipalign.report.html import parts
from clipalign.report.html.markup import Markup, joined, tag
from clipalign.report.html.page import head, provenance_table
from clipalign.results import Distribution, Example, Showcase
from clipalign.version import __version__

REPORT_FILE: Final = "report.html"
SCALE_UNITS: Final = 200
"""Length of a metric's scale in its own coordinates."""

BINS: Final = 40
PLOT_HEIGHT: Final = 100


def eval_page(shown: Showcase) -> str:
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
