"""``classify`` records in every format: JSON, CSV columns, summary, card, annotation, line of the table. Torch-free."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from clipalign.report.records import Column, Kind, NameColumn, Record, Sort
from clipalign.results import ClassifyResult, ClassScore

if TYPE_CHECKING:
    from rich.text import Text

    from clipalign.report.html.markup import Markup

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
        from clipalign.report.classify_html import card

        return card(record, thumbnail)

    def annotation(self, record: Mapping[str, Any]) -> str:
        """Nothing: a class is no problem of the file."""
        return ""

    def line(self, record: Mapping[str, Any]) -> Text:
        """Score, id, the best class and those behind it."""
        from rich.text import Text

        from clipalign.report.console import visible

        best, *others = record["classes"]
        text = Text(f"{best['score']:.4f}  ", style="bold")
        text.append(self._names.cell(record["id"]) + "  ", style="dim")
        text.append(visible(best["name"]), style="bold")
        for one in others[:RUNNERS_UP]:
            text.append(f"  {visible(one['name'])} {one['score']:.4f}", style="dim")
        return text
