"""``classify`` records in every format: the best classes, and, explained, the crops and sentences behind their scores.

A class's score is ``scale`` times the sum of its contributions, so the shares of all crops, and of all sentences, sum
to the score. Names and sentences are shown as given, never as markup.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar, Final, NamedTuple

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from clipalign.output import html
from clipalign.output.console import visible, width
from clipalign.output.records import RecordFormatter, Sort
from clipalign.output.table import IdColumn, folding, printed, provenance_line, shortened, signed_bar, signs
from clipalign.results import ClassScore

NAME_CELLS: Final = (6, 40)
"""Columns of the widest class name: minimum, maximum."""

BAR_CELLS: Final = (6, 24)

SCORE_CELLS, DISTANCE_CELLS, GAPS_CELLS = 7, 8, 5

SHOWN_CROPS: Final = 3
SHOWN_SENTENCES: Final = 3
"""Sentences shown of each class, those with the largest share of its score; JSON and HTML have all."""

RUNNERS_UP: Final = 2

SHADES: Final = 9
"""Steps of the heat map, ``heat-0`` (nothing) to ``heat-9``; below zero ``cold-1`` to ``cold-9``."""

UNIT: Final = 1e-4

BEST_CROPS: Final = 5
"""Crops that a card shows, those with the largest share of the best class's score."""

MOST_CELLS: Final = 4000
"""Cells of the best class's heat map, 60 crops and 66 sentences; sentences with the least share are left out."""

OTHER_SENTENCES: Final = 8
OTHER_CROPS: Final = 16

SENTENCES: Final = ("sentence", "sentences")
CROPS: Final = ("crop", "crops")


NONE_OF_THESE: Final = "none of these"


class ClassifyFormatter(RecordFormatter):
    """Format the records of ``classify``; ``names`` of the classes set the width of columns."""

    command = "classify"
    noun = ("picture", "pictures")
    columns: ClassVar = {
        "id": str,
        "image": str,
        "class": str,
        "score": float,
        "classes": tuple[ClassScore, ...],
        "method": str,
        "warnings": tuple[str, ...],
        "model": str,
    }
    first_score = "score"
    scores = ("score",)
    counted = "classes"
    sorts = (
        Sort("score, lowest first", "score"),
        Sort("score, highest first", "score", descending=True),
    )

    def __init__(self, names: Iterable[str] = ()) -> None:
        longest = max((cell_len(visible(name)) for name in names), default=0)
        self._ids = IdColumn()
        self._names = [IdColumn(longest) for _ in range(1 + RUNNERS_UP)]

    def frequent(self, record: Mapping[str, Any]) -> Iterable[str]:
        return (record["class"] or NONE_OF_THESE,)

    def badness(self, record: Mapping[str, Any]) -> float:
        """Put pictures first whose best two scores are closest."""
        classes = record["classes"]
        return -(classes[0]["score"] - classes[1]["score"]) if len(classes) > 1 else -2.0

    def scale_of(self, records: Sequence[Mapping[str, Any]]) -> html.Scale:
        scores = [one["score"] for record in records for one in record["classes"]]
        largest = max(map(abs, scores), default=0.0)
        return html.Scale(min(0.0, *scores) if scores else 0.0, largest, (html.AXIS,))

    def card(self, record: Mapping[str, Any], scale: html.Scale) -> dict[str, Any]:
        evidence = read_evidence(record)
        first = evidence[0] if evidence else None
        crops = first.best_crops(BEST_CROPS) if first and len(first.crops) > 1 else []
        return {
            "rows": [
                {
                    "text": one["name"],
                    "kind": None,
                    "place": None,
                    "numbers": [number_of(one)],
                    "bar": html.signed_bar(one["score"], largest=scale.high),
                }
                for one in record["classes"]
            ],
            "view": (
                html.BAR_UNITS - 1 if scale.low >= 0 else 0,
                html.BAR_UNITS + 1 if scale.low >= 0 else 2 * html.BAR_UNITS,
            ),
            "outlines": _outlines(first.crops) if first and crops else "",
            "wide": bool(evidence),
            "crops": [_best_crop(crop, place, crops[0].share) for place, crop in enumerate(crops, 1)],
            "maps": [_heat_map(one, first=place == 0) for place, one in enumerate(evidence)],
        }

    def head(self, record: Mapping[str, Any]) -> str:
        self._ids.cell(record["id"])
        first = (record.get("classes") or [{}])[0]
        score = "score   " if first.get("probability") is None else "prob.   "
        return f"{score}{self._ids.cell('id')}  {self._names[0].cell('class')}  next best"

    def line(self, record: Mapping[str, Any]) -> Text:
        shown = record["classes"][: 1 + RUNNERS_UP]
        text = Text(f"{number_of(shown[0])}  ", style="bold")
        text.append(self._ids.cell(record["id"]) + "  ", style="dim")
        if record.get("rejected"):
            text.append(f"{NONE_OF_THESE}, not even ", style="bold")
        for column, one in zip(self._names, shown, strict=False):
            first = one is shown[0]
            text.append(column.cell(one["name"]), style="bold" if first else "dim")
            text.append("  " if first else f" {number_of(one)}  ", style="dim")
        text.rstrip()
        return text

    def table(self, records: Sequence[Mapping[str, Any]]) -> str:
        (record,) = records
        parts: list[Text | Table] = [folding(record["image"], "bold"), Text(""), _classes(record["classes"])]
        if record.get("rejected"):
            limit = record["provenance"]["settings"]["reject_below"]
            parts += [Text(""), Text(f"{NONE_OF_THESE}: the best is below {limit:g}", style="bold")]
        for evidence in read_evidence(record):
            heading = folding(evidence.name, "bold").append(f"  {evidence.score:.4f}, of that", style="not bold")
            parts += [Text(""), heading, _evidence(evidence)]
        origin = record["provenance"]
        settings = origin["settings"]
        seen = f"{settings['crops']} crops" if "crops" in settings else "the whole picture"
        classes = f"{settings.get('classes')} {'class' if settings.get('classes') == 1 else 'classes'}"
        texts = f"{settings.get('texts')} {'text' if settings.get('texts') == 1 else 'texts'}"
        parts += [Text(""), folding(f"{record['method']}: {seen}, {classes}, {texts}")]
        return printed([*parts, provenance_line(origin, first=[origin["model"]])])


def number_of(one: Mapping[str, Any]) -> str:
    """Format the probability of a class, or its score if there is none."""
    return f"{one['score'] if one.get('probability') is None else one['probability']:.4f}"


class Sentence(NamedTuple):
    """A text of one class: its weight (0 to 1), its share of the score, and what each crop adds to that share (N)."""

    text: str
    weight: float
    share: float
    by_crop: tuple[float, ...]


class Crop(NamedTuple):
    """A crop: its number from 1, left, top, right, bottom; weight (0 to 1), share of the score."""

    number: int
    box: tuple[int, int, int, int]
    weight: float
    share: float

    @property
    def title(self) -> str:
        return f"crop {self.number}, weight {self.weight:.4f}"


class Evidence(NamedTuple):
    """Why one class has its score: N crops and M sentences, in the order of the record."""

    name: str
    score: float
    crops: tuple[Crop, ...]
    sentences: tuple[Sentence, ...]

    def best_crops(self, count: int) -> list[Crop]:
        return sorted(self.crops, key=lambda crop: -crop.share)[:count]

    def best_sentences(self, count: int) -> list[Sentence]:
        """Return the sentences with the largest shares, largest first; a repeated text once."""
        joined: dict[str, Sentence] = {}
        for one in self.sentences:
            same = joined.get(one.text)
            if same is not None:
                both = zip(one.by_crop, same.by_crop, strict=True)
                one = Sentence(one.text, one.weight + same.weight, one.share + same.share, tuple(map(sum, both)))
            joined[one.text] = one
        return sorted(joined.values(), key=lambda sentence: -sentence.share)[:count]

    @property
    def n_texts(self) -> int:
        return len({one.text for one in self.sentences})


def read_evidence(record: Mapping[str, Any]) -> list[Evidence]:
    """Return the evidence of every class of a record, best first; empty if nothing was explained."""
    if not record.get("crops"):
        return []
    columns: dict[str, list[int]] = {}
    for index, one in enumerate(record["descriptions"]):
        columns.setdefault(one["class"], []).append(index)
    return [_of_class(record, one, columns[one["name"]]) for one in record["classes"]]


def _of_class(record: Mapping[str, Any], one: Mapping[str, Any], columns: list[int]) -> Evidence:
    parts = [[one["scale"] * row[column] for column in columns] for row in record["contributions"]]  # N, M
    crops = tuple(
        Crop(number, tuple(crop["box"]), crop["weight"], sum(row))
        for number, (crop, row) in enumerate(zip(record["crops"], parts, strict=True), 1)
    )
    texts = [record["descriptions"][column] for column in columns]
    sentences = tuple(
        Sentence(text["text"], text["weight"], sum(by_crop), by_crop)
        for text, by_crop in zip(texts, zip(*parts, strict=True), strict=True)
    )
    return Evidence(one["name"], one["score"], crops, sentences)


def _classes(classes: Sequence[Mapping[str, Any]]) -> Table:
    largest = max(abs(one["score"]) for one in classes)
    longest = max(cell_len(visible(one["name"])) for one in classes)
    rank_cells = len(str(len(classes)))
    spare = width() - rank_cells - SCORE_CELLS - DISTANCE_CELLS - GAPS_CELLS
    name_cells = max(NAME_CELLS[0], min(longest, NAME_CELLS[1], spare))
    bar_cells = min(BAR_CELLS[1], spare - name_cells - 2)
    has_bars = bar_cells >= BAR_CELLS[0]
    table = Table.grid(padding=(0, 1))
    table.add_column(width=rank_cells, justify="right", no_wrap=True)
    table.add_column(width=name_cells, no_wrap=True)
    table.add_column(width=SCORE_CELLS, justify="right", no_wrap=True)
    table.add_column(width=DISTANCE_CELLS, justify="right", no_wrap=True)
    if has_bars:
        table.add_column(width=bar_cells + 1, no_wrap=True)
    for rank, one in enumerate(classes, 1):
        style = "bold" if rank == 1 else ""
        behind = "" if rank == 1 else f"{one['score'] - classes[0]['score']:+.4f}"
        bar = signed_bar(abs(one["score"]), largest=largest, cells=bar_cells)
        drawing = Text(bar.axis, style="dim").append(bar.right, style="green" if one["score"] >= 0 else "yellow")
        table.add_row(
            Text(str(rank), style="dim"),
            Text(shortened(one["name"], name_cells), style=style),
            Text(number_of(one), style=style),
            Text(behind, style="dim"),
            *([drawing] if has_bars else []),
        )
    return table


def _evidence(evidence: Evidence) -> Table:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=1)
    table.add_column(width=SCORE_CELLS, justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    sentences = evidence.best_sentences(SHOWN_SENTENCES)
    for one in sentences:
        table.add_row("", Text(f"{one.share:+.4f}"), Text(f'"{visible(one.text)}"'))
    _add_left_out(table, evidence.n_texts - len(sentences), SENTENCES)
    if len(evidence.crops) > 1:
        crops = evidence.best_crops(SHOWN_CROPS)
        for crop in crops:
            left, top, right, bottom = crop.box
            size = f"{right - left} {signs().times} {bottom - top} pixels"
            place = f"crop {crop.number}: {size} at {left}, {top}; weight {crop.weight:.3f}"
            table.add_row("", Text(f"{crop.share:+.4f}"), Text(place))
        _add_left_out(table, len(evidence.crops) - len(crops), CROPS)
    return table


def _add_left_out(table: Table, count: int, noun: tuple[str, str]) -> None:
    if count:
        table.add_row("", "", Text(f"{count} more {noun[count > 1]}", style="dim"))


def _outlines(crops: Sequence[Crop]) -> str:
    """Return the frames of all crops as one SVG path."""
    boxes = (crop.box for crop in crops)
    return "".join(f"M{left} {top}H{right}V{bottom}H{left}z" for left, top, right, bottom in boxes)


def _best_crop(crop: Crop, place: int, largest: float) -> dict[str, object]:
    left, top, right, bottom = crop.box
    return {
        "place": place,
        "title": crop.title,
        "number": crop.number,
        "x": left,
        "y": top,
        "width": right - left,
        "height": bottom - top,
        "numbers": [f"{crop.share:+.4f}", f"{crop.weight:.3f}"],
        "bar": html.signed_bar(crop.share, largest=abs(largest)),
    }


def _heat_map(evidence: Evidence, *, first: bool) -> dict[str, object]:
    """Return the heat map of one class: sentences down, crops across, both sorted by share."""
    crops = evidence.best_crops(len(evidence.crops) if first else OTHER_CROPS)
    sentences = evidence.best_sentences(max(1, MOST_CELLS // len(crops)) if first else OTHER_SENTENCES)
    largest = max((abs(one.by_crop[crop.number - 1]) for one in sentences for crop in crops), default=0.0)
    several_crops = len(evidence.crops) > 1
    shown = f"{len(sentences)} of {evidence.n_texts} sentences"
    shown += f", {len(crops)} of {len(evidence.crops)} crops" if several_crops else ""
    return {
        "name": evidence.name,
        "note": f"What each sentence and crop adds to {evidence.score:.4f}, in units of 0.0001; {shown}.",
        "several_crops": several_crops,
        "crops": crops,
        "rows": [
            {
                "text": one.text,
                "title": f"weight {one.weight:.4f}",
                "sum": _in_units(one.share),
                "cells": [_cell(one.by_crop[crop.number - 1], largest) for crop in crops],
            }
            for one in sentences
        ],
    }


def _cell(value: float, largest: float) -> tuple[str, str]:
    step = round(SHADES * abs(value) / largest) if largest else 0
    return f"{'heat' if value >= 0 or not step else 'cold'}-{step}", _in_units(value)


def _in_units(value: float) -> str:
    return f"{value / UNIT:.1f}"
