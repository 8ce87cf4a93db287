"""What an explained classification says, read from its record: shares of a score by crop and by sentence.

A class's score is ``scale`` times the sum of its contributions, so that every crop and every sentence has a share of
it, and the shares sum to the score.

``classify`` for the eye: the best classes with their scores, and, explained, the crops and sentences behind them.

Colour only repeats what order and signs already say. Names and sentences stand as they are, never as markup.

The card of a classification: classes, crops drawn on the picture, contributions as a heat map.

Everything is escaped by :mod:`clipalign.output.html.markup`; a reader without colours reads the numbers in the cells.

``classify`` records in every format: JSON, CSV columns, summary, card, annotation, line of the table. Torch-free.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from clipalign.output.console import visible, width
from clipalign.output.html import parts
from clipalign.output.html.markup import Markup, joined, tag
from clipalign.output.layout import Signs, origin_line, printed, shortened, signed_bar, signs
from clipalign.output.records import Column, Kind, NameColumn, Record, Sort
from clipalign.results import ClassifyResult, ClassScore

if TYPE_CHECKING:
    from rich.text import Text

    from clipalign.output.html.markup import Markup


@dataclass(frozen=True, slots=True)
class Sentence:
    """A text of one class.

    Attributes:
        text: as it was encoded.
        weight: 0 to 1.
        share: of the class's score.
        by_crop: what each crop gives of that, N.
    """

    text: str
    weight: float
    share: float
    by_crop: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of the picture.

    Attributes:
        number: from 1 on, in the order of the record.
        box: left, top, right, bottom.
        weight: 0 to 1.
        share: of the class's score.
    """

    number: int
    box: tuple[int, int, int, int]
    weight: float
    share: float


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why one class has its score.

    Attributes:
        name: of the class.
        score: the cosine.
        crops: in the order of the record, N.
        sentences: in the order of the record, M.
    """

    name: str
    score: float
    crops: tuple[Crop, ...]
    sentences: tuple[Sentence, ...]

    def best_crops(self, count: int) -> list[Crop]:
        """The crops with the largest shares, largest first."""
        return sorted(self.crops, key=lambda crop: -crop.share)[:count]

    def best_sentences(self, count: int) -> list[Sentence]:
        """The sentences with the largest shares, largest first; a text that is there twice is named once."""
        joined: dict[str, Sentence] = {}
        for one in self.sentences:
            same = joined.get(one.text)
            if same is not None:
                both = zip(one.by_crop, same.by_crop, strict=True)
                one = Sentence(one.text, one.weight + same.weight, one.share + same.share, tuple(map(sum, both)))
            joined[one.text] = one
        return sorted(joined.values(), key=lambda sentence: -sentence.share)[:count]


def read_evidence(record: Mapping[str, Any]) -> list[Evidence]:
    """The evidence of every class of a record, best first; none where nothing was explained."""
    if not record.get("crops"):
        return []
    columns: dict[str, list[int]] = {}
    for index, one in enumerate(record["descriptions"]):
        columns.setdefault(one["class"], []).append(index)
    return [_of_class(record, one, columns[one["name"]]) for one in record["classes"]]


def _of_class(record: Mapping[str, Any], one: Mapping[str, Any], columns: list[int]) -> Evidence:
    parts = [[one["scale"] * row[column] for column in columns] for row in record["contributions"]]
    crops = tuple(
        Crop(number, tuple(crop["box"]), crop["weight"], sum(row))
        for number, (crop, row) in enumerate(zip(record["crops"], parts, strict=True), 1)
    )
    sentences = tuple(
        Sentence(said["text"], said["weight"], sum(by_crop), by_crop)
        for said, by_crop in zip(
            [record["descriptions"][column] for column in columns], zip(*parts, strict=True), strict=True
        )
    )
    return Evidence(one["name"], one["score"], crops, sentences)


NAME_CELLS: Final = (6, 40)
"""Columns of the widest class name: at least, at most."""

BAR_CELLS: Final = (6, 24)
"""Columns of a bar: at least, at most."""

SHOWN_CROPS: Final = 3
SHOWN_SENTENCES: Final = 3
"""Of each class, those with the largest share of its score; the whole matrix is in JSON and HTML."""


def classify_table(record: Mapping[str, Any]) -> str:
    """The page for the record of one picture."""
    drawn_with = signs()
    parts: list[Text | Table] = [Text(visible(record["image"]), style="bold", overflow="fold"), Text("")]
    parts.append(_classes(record["classes"], drawn_with))
    for evidence in read_evidence(record):
        parts += [Text(""), _heading(evidence), _evidence(evidence, drawn_with)]
    parts += [Text(""), _rule(record), origin_line(record["provenance"], drawn_with)]
    return printed(parts)


def _classes(classes: Sequence[Mapping[str, Any]], drawn_with: Signs) -> Table:
    largest = max(abs(one["score"]) for one in classes)
    longest = max(cell_len(visible(one["name"])) for one in classes)
    rank_cells = len(str(len(classes)))
    spare = width() - rank_cells - 7 - 8 - 5  # the score, the distance, the gaps
    name_cells = max(NAME_CELLS[0], min(longest, NAME_CELLS[1], spare))
    bar_cells = min(BAR_CELLS[1], spare - name_cells - 2)
    table = Table.grid(padding=(0, 1))
    table.add_column(width=rank_cells, justify="right", no_wrap=True)
    table.add_column(width=name_cells, no_wrap=True)
    table.add_column(width=7, justify="right", no_wrap=True)
    table.add_column(width=8, justify="right", no_wrap=True)
    has_bars = bar_cells >= BAR_CELLS[0]
    if has_bars:
        table.add_column(width=bar_cells + 1, no_wrap=True)
    for rank, one in enumerate(classes, 1):
        style = "bold" if rank == 1 else ""
        behind = "" if rank == 1 else f"{one['score'] - classes[0]['score']:+.4f}"
        bar = signed_bar(abs(one["score"]), largest=largest, cells=bar_cells, drawn_with=drawn_with)
        drawing = Text(bar.axis, style="dim").append(bar.right, style="green" if one["score"] >= 0 else "yellow")
        table.add_row(
            Text(str(rank), style="dim"),
            Text(shortened(one["name"], name_cells), style=style),
            Text(f"{one['score']:.4f}", style=style),
            Text(behind, style="dim"),
            *([drawing] if has_bars else []),
        )
    return table


def _heading(evidence: Evidence) -> Text:
    return Text(visible(evidence.name), style="bold", overflow="fold").append(
        f"  {evidence.score:.4f}, of that", style="not bold"
    )


def _evidence(evidence: Evidence, drawn_with: Signs) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(width=7, justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    sentences = evidence.best_sentences(SHOWN_SENTENCES)
    crops = evidence.best_crops(SHOWN_CROPS)
    for one in sentences:
        table.add_row("", Text(f"{one.share:+.4f}"), Text(f'"{visible(one.text)}"'))
    left_out = len({one.text for one in evidence.sentences}) - len(sentences)
    if left_out:
        table.add_row("", "", Text(f"{left_out} more {'sentence' if left_out == 1 else 'sentences'}", style="dim"))
    if len(evidence.crops) > 1:
        for crop in crops:
            left, top, right, bottom = crop.box
            place = (
                f"crop {crop.number}: {right - left} × {bottom - top} pixels at {left}, {top}; weight {crop.weight:.3f}"
            )
            table.add_row(
                "", Text(f"{crop.share:+.4f}"), Text(place if drawn_with.dot != "-" else place.replace("×", "x"))
            )
        if left_out := len(evidence.crops) - len(crops):
            table.add_row("", "", Text(f"{left_out} more {'crop' if left_out == 1 else 'crops'}", style="dim"))
    return table


def _rule(record: Mapping[str, Any]) -> Text:
    """One sentence: method, crops, classes."""
    settings = record["provenance"]["settings"]
    crops = f"{settings['crops']} crops" if "crops" in settings else "the whole picture"
    known = "class" if settings.get("classes") == 1 else "classes"
    texts = "text" if settings.get("texts") == 1 else "texts"
    return Text(
        f"{record['method']}: {crops}, {settings.get('classes')} {known}, {settings.get('texts')} {texts}",
        overflow="fold",
    )


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
        _classes_classify_html(record["classes"]),
        parts.warnings(record.get("warnings") or ()),
        *[_explained(one, first=place == 0) for place, one in enumerate(evidence)],
        attributes={"class": "body"},
    )
    return joined(drawing, body)


def _classes_classify_html(classes: Sequence[Mapping[str, Any]]) -> Markup:
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


RUNNERS_UP: Final = 2
"""Classes behind the best one that a line names."""


def classify_record(result: ClassifyResult) -> Record:
    """The record of one picture; crops, descriptions and contributions only where they were asked for.

    ``class`` and ``score`` repeat the best of ``classes``, for readers of columns.
    """
    record: Record = {
        "id": result.id,
        "image": result.image,
        "model": result.model,
        "method": result.method,
        "class": result.classes[0].name,
        "score": result.classes[0].score,
        "classes": [_class(one) for one in result.classes],
        "image_size": list(result.image_size),
    }
    if result.crops:
        record |= {
            "crops": [{"box": list(one.box), "weight": one.weight} for one in result.crops],
            "descriptions": [
                {"class": one.class_name, "text": one.text, "weight": one.weight} for one in result.descriptions
            ],
            "contributions": [list(row) for row in result.contributions],
        }
    return record | {"warnings": list(result.warnings), "provenance": asdict(result.provenance)}


def _class(one: ClassScore) -> dict[str, object]:
    record: dict[str, object] = {"name": one.name, "score": one.score}
    return record if one.scale is None else record | {"scale": one.scale}


class ClassifyView:
    """How records of ``classify`` look."""

    command = "classify"
    noun = ("picture", "pictures")
    columns = (
        Column("id", Kind.TEXT),
        Column("image", Kind.TEXT),
        Column("model", Kind.TEXT),
        Column("method", Kind.TEXT),
        Column("class", Kind.TEXT),
        Column("score", Kind.NUMBER),
        Column("classes", Kind.JSON),
        Column("image_size", Kind.JSON),
        Column("crops", Kind.JSON),
        Column("descriptions", Kind.JSON),
        Column("contributions", Kind.JSON),
        Column("warnings", Kind.JSON),
    )
    scores = ("score",)
    found_name = ""
    frequent_name = "classes"
    sorts = (
        Sort("score, lowest first", "score"),
        Sort("score, highest first", "score", descending=True),
    )

    def __init__(self) -> None:
        self._names = NameColumn()

    def record(self, result: ClassifyResult) -> Record:
        """As in JSON."""
        return classify_record(result)

    def found(self, record: Mapping[str, Any]) -> bool:
        """Nothing: a class is an answer, not a finding."""
        return False

    def frequent(self, record: Mapping[str, Any]) -> Iterable[str]:
        """The best class."""
        return (record["class"],)

    def badness(self, record: Mapping[str, Any]) -> float:
        """Pictures whose best two classes lie closest together come first."""
        classes = record["classes"]
        return -(classes[0]["score"] - classes[1]["score"]) if len(classes) > 1 else -2.0

    def card(self, record: Mapping[str, Any], thumbnail: str) -> Markup:
        """The best classes; explained, the crops on the picture and the matrix of contributions."""

        return card(record, thumbnail)

    def annotation(self, record: Mapping[str, Any]) -> str:
        """Nothing: a class is no problem of the file."""
        return ""

    def line(self, record: Mapping[str, Any]) -> Text:
        """Score, id, the best class and those behind it."""
        from rich.text import Text

        from clipalign.output.console import visible

        best, *others = record["classes"]
        text = Text(f"{best['score']:.4f}  ", style="bold")
        text.append(self._names.cell(record["id"]) + "  ", style="dim")
        text.append(visible(best["name"]), style="bold")
        for one in others[:RUNNERS_UP]:
            text.append(f"  {visible(one['name'])} {one['score']:.4f}", style="dim")
        return text
