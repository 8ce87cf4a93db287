"""``classify`` for the eye: the best classes with their scores, and, explained, the crops and sentences behind them.

Colour only repeats what order and signs already say. Names and sentences stand as they are, never as markup.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from clipalign.report.console import visible, width
from clipalign.report.evidence import Evidence, read_evidence
from clipalign.report.layout import Signs, origin_line, printed, shortened, signed_bar, signs

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
