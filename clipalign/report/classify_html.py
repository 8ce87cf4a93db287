"""The card of a classification: classes, crops drawn on the picture, contributions as a heat map.

Everything is escaped by :mod:`clipalign.report.html.markup`; a reader without colours reads the numbers in the cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clipalign.report.evidence import Crop, Evidence, read_evidence
from clipalign.report.html import parts
from clipalign.report.html.markup import Markup, joined, tag

Attributes = dict[str, str | int | float | bool | None]

SHADES: Final = 9
"""Steps of the heat map, ``heat-0`` (nothing) to ``heat-9``; below zero ``cold-1`` to ``cold-9``."""

UNIT: Final = 1e-4
"""Of the numbers in the heat map."""

STROKE_PX: Final = (0.4, 4.0)
"""Width of the lines around the lightest and the heaviest crop."""

MOST_CELLS: Final = 4000
"""Of the best class's heat map: 60 crops and 66 sentences; the least sentences are left out beyond."""

OTHER_SENTENCES: Final = 8
OTHER_CROPS: Final = 16
"""Of the heat maps of the classes behind it."""


def card(record: Mapping[str, Any], thumbnail: str) -> Markup:
    """The inside of a record's card.

    Args:
        record: one without an error.
        thumbnail: the picture as a ``data:`` address, or an empty string.
    """
    evidence = read_evidence(record)
    alt = f"picture of {record['id']}"
    cropped = bool(evidence) and len(evidence[0].crops) > 1
    drawing = (
        _crops(evidence[0], record["image_size"], thumbnail, alt) if cropped else parts.picture(thumbnail, alt=alt)
    )
    body = tag(
        "div",
        parts.heading(record["id"], record["image"]),
        _classes(record["classes"]),
        parts.warnings(record.get("warnings") or ()),
        *[_explained(one, first=place == 0) for place, one in enumerate(evidence)],
        attributes={"class": "body"},
    )
    return joined(drawing, body)


def _classes(classes: Sequence[Mapping[str, Any]]) -> Markup:
    """A row a class: name, score, bar."""
    largest = max(abs(one["score"]) for one in classes)
    rows = []
    for one in classes:
        cells = [
            tag("th", one["name"], attributes={"scope": "row", "dir": "auto"}),
            tag("td", f"{one['score']:.4f}", attributes={"class": "number"}),
            tag("td", parts.signed_bar(one["score"], largest=largest), attributes={"class": "drawing"}),
        ]
        rows.append(tag("tr", *cells))
    return tag("table", tag("tbody", *rows), attributes={"class": "words"})


def _crops(evidence: Evidence, size: Sequence[int], thumbnail: str, alt: str) -> Markup:
    """The crops as frames on the picture, thick and opaque where they weigh much, the heaviest on top."""
    width, height = size
    ordered = sorted(evidence.crops, key=lambda crop: crop.weight)
    lightest, heaviest = ordered[0].weight, ordered[-1].weight
    frames = [_frame(crop, (crop.weight - lightest) / (heaviest - lightest or 1.0)) for crop in ordered]
    ground: Attributes = {"x": 0, "y": 0, "width": width, "height": height}
    shapes: list[str] = [tag("title", alt)]
    if thumbnail:
        shapes.append(tag("image", attributes={**ground, "href": thumbnail, "preserveAspectRatio": "none"}))
    else:
        shapes.append(tag("rect", attributes={**ground, "class": "ground"}))
    box = {"class": "crops", "viewBox": f"0 0 {width} {height}", "role": "img"}
    return tag("div", tag("svg", *shapes, *frames, attributes=box), attributes={"class": "picture"})


def _frame(crop: Crop, share: float) -> Markup:
    """A crop's frame; ``share`` is 0 for the lightest of them and 1 for the heaviest.

    The cube leaves a few lines that stand out, where sixty of them lie on each other.
    """
    left, top, right, bottom = crop.box
    thin, thick = STROKE_PX
    place: Attributes = {"x": left, "y": top, "width": right - left, "height": bottom - top}
    line: Attributes = {
        "class": "crop",
        "fill": "none",
        "stroke": "currentColor",
        "vector-effect": "non-scaling-stroke",
        "stroke-width": round(thin + (thick - thin) * share**3, 2),
        "stroke-opacity": round(0.12 + 0.88 * share**3, 2),
    }
    return tag(
        "g", tag("title", f"crop {crop.number}, weight {crop.weight:.4f}"), tag("rect", attributes={**place, **line})
    )


def _explained(evidence: Evidence, *, first: bool) -> Markup:
    """The heat map of one class: sentences down, crops across, both from the largest share on."""
    n_crops = len(evidence.crops) if first else OTHER_CROPS
    crops = evidence.best_crops(n_crops)
    n_sentences = max(1, MOST_CELLS // len(crops)) if first else OTHER_SENTENCES
    sentences = evidence.best_sentences(n_sentences)
    largest = max((abs(one.by_crop[crop.number - 1]) for one in sentences for crop in crops), default=0.0)
    head = [tag("th", "sentence", attributes={"scope": "col"}), tag("th", "sum", attributes={"scope": "col"})]
    head += (
        [
            tag(
                "th",
                str(crop.number),
                attributes={"scope": "col", "title": f"crop {crop.number}, weight {crop.weight:.4f}"},
            )
            for crop in crops
        ]
        if len(evidence.crops) > 1
        else [tag("th", "picture", attributes={"scope": "col"})]
    )
    rows = [tag("tr", *head)]
    for one in sentences:
        said = tag("th", one.text, attributes={"scope": "row", "dir": "auto", "title": f"weight {one.weight:.4f}"})
        cells = [_cell(one.by_crop[crop.number - 1], largest) for crop in crops]
        rows.append(tag("tr", said, tag("td", _number(one.share), attributes={"class": "number"}), *cells))
    table = tag("table", tag("tbody", *rows), attributes={"class": "heat"})
    shown = f"{len(sentences)} of {len({one.text for one in evidence.sentences})} sentences"
    shown += f", {len(crops)} of {len(evidence.crops)} crops" if len(evidence.crops) > 1 else ""
    note = tag(
        "p",
        f"What each sentence and crop adds to {evidence.score:.4f}, in units of 0.0001; {shown}.",
        attributes={"class": "why"},
    )
    summary = f"why {evidence.name}"
    whole = tag("div", table, attributes={"class": "wide"})
    opened = {"open": True} if first else {}
    return tag("details", tag("summary", summary), note, whole, attributes=opened)


def _cell(value: float, largest: float) -> Markup:
    step = round(SHADES * abs(value) / largest) if largest else 0
    kind = "heat" if value >= 0 or not step else "cold"
    return tag("td", _number(value), attributes={"class": f"{kind}-{step}"})


def _number(value: float) -> str:
    return f"{value / UNIT:.1f}"
