"""Tables for the terminal: a Rich console that prints to a string, signed bars, columns that fit the terminal.

Rich gets no markup and does not decide about color, as ``console`` does. Color only repeats what signs and order say.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from clipalign.output.console import color_allowed, notices, speaks_unicode, visible, width
from clipalign.output.formats import Writer
from clipalign.output.records import Entry, RecordFormatter, decimals_of, is_error, summary_lines


class Signs(NamedTuple):
    """The characters of a table, or ASCII ones where the stream cannot encode them."""

    wrong: str
    unknown: str
    opening: str
    closing: str
    axis: str
    full: str
    half_left: str
    half_right: str
    dot: str
    none: str
    times: str
    stood: str
    lost: str


UNICODE_SIGNS: Final = Signs("✗", "?", "‹", "›", "│", "█", "▐", "▌", "·", "–", "×", "▒", "░")
ASCII_SIGNS: Final = Signs("x", "?", "<", ">", "|", "#", "", "", "-", "-", "x", "=", "-")

HASH_DIGITS: Final = 12

GAP_CELLS: Final = 2

NAMED_COLUMNS: Final = 3

ID_CELLS: Final = (12, 24)
"""Columns of an id in the table of many: minimum, maximum."""


class TableWriter(Writer):
    """Write a header as the first record needs it, a line a record, and the summary; for one, the command's table."""

    def entry(self, formatter: RecordFormatter, entry: Entry, *, to_file: bool = False) -> bytes:
        record = entry.record
        if is_error(record):
            line = Text("! unreadable  ", style="bold yellow").append(f"{visible(str(record['id']))}  ", style="dim")
            line.append(visible(str(record["error"].get("message", ""))))
        else:
            line = formatter.line(record)
        line.truncate(width(), overflow="ellipsis")
        head = [Text(formatter.head(record))] if self.has_header else []
        self.has_header = False
        return _encoded([*head, line], to_file=to_file)

    def footer(self, formatter: RecordFormatter, summary: Mapping[str, Any], *, to_file: bool = False) -> bytes:
        lines = [folding(line) for line in summary_lines(formatter, summary)]
        return _encoded([Text(""), *lines], to_file=to_file)

    def results(self, formatter: RecordFormatter, entries: list[Entry]) -> str:
        return formatter.table([entry.record for entry in entries])


def _encoded(lines: Iterable[Text], *, to_file: bool) -> bytes:
    encoding = "utf-8" if to_file else getattr(sys.stdout, "encoding", None) or "utf-8"
    return printed(lines, plain=to_file).encode(encoding, "backslashreplace")


def signs() -> Signs:
    return UNICODE_SIGNS if speaks_unicode(sys.stdout) else ASCII_SIGNS


class Bar(NamedTuple):
    """A signed bar around its zero axis, in three pieces of fixed width."""

    left: str
    axis: str
    right: str


def signed_bar(value: float | None, *, largest: float, cells: int) -> Bar:
    """Return a bar of ``value`` whose side has ``cells`` columns, filled by ``largest``; for None the axis alone."""
    shape = signs()
    share = 0.0 if value is None or largest == 0.0 else min(1.0, abs(value) / largest)
    halves = round(share * cells * 2)  # half blocks double the resolution of a bar
    if value and not halves and round(value, decimals_of(largest)):
        halves = 1  # what is not zero as it is written shows
    full, half = divmod(halves, 2)
    if half and not shape.half_left:
        full, half = full + 1, 0
    if value is not None and value < 0:
        bar = (shape.half_left if half else "") + shape.full * full
        return Bar(bar.rjust(cells), shape.axis, " " * cells)
    bar = shape.full * full + (shape.half_right if half else "")
    return Bar(" " * cells, shape.axis, bar.ljust(cells))


def shortened(text: str, cells: int) -> str:
    shown = visible(text)
    return shown if cell_len(shown) <= cells else set_cell_size(shown, cells - 1).rstrip() + "…"


def folding(text: str, style: str = "") -> Text:
    return Text(visible(text), style=style, overflow="fold")


def printed(parts: Iterable[RenderableType], *, plain: bool = False) -> str:
    """Print the parts below each other, as wide as the terminal; ``plain``, for files, without color."""
    buffer = io.StringIO()
    color = not plain and color_allowed(sys.stdout)
    console = Console(
        file=buffer,
        width=width(),
        force_terminal=color,
        color_system="standard" if color else None,
        no_color=not color,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    for part in parts:
        console.print(part)
    lines = buffer.getvalue().splitlines()
    return "".join(line.rstrip() + "\n" for line in lines)


def flowing(pieces: Iterable[str | Text], *, gap: str = "  ", style: str = "") -> Text:
    """Join unbroken pieces, as many on a line as fit."""
    space, used = width(), 0
    line = Text()
    for piece in pieces:
        text = piece if isinstance(piece, Text) else Text(piece)
        if used and used + len(gap) + text.cell_len > space:
            line.append("\n")
            used = 0
        elif used:
            line.append(gap)
            used += len(gap)
        line.append_text(text)
        used += text.cell_len
    if style:
        line.stylize(style)
    return line


def score_line(scores: Iterable[tuple[str, str]]) -> Text:
    return flowing([Text(f"{name} ").append(number, style="bold") for name, number in scores], gap="   ")


def provenance_line(provenance: Mapping[str, Any], *, first: Sequence[str] = (), also: Sequence[str] = ()) -> Text:
    pieces = [*map(visible, first)]
    if provenance["weights_sha256"]:
        pieces.append(f"weights {provenance['weights_sha256'][:HASH_DIGITS]}")
    pieces += [f"{provenance['device']} {provenance['precision']}", *also]
    if notices.verbose:
        pieces += [f"{name} {number}" for name, number in provenance["versions"].items()]
    return flowing(pieces, gap=f" {signs().dot} ", style="dim")


Columns = Mapping[str, Sequence[str]]


def fitting(columns: Columns, dropped_first: Iterable[str]) -> dict[str, Sequence[str]]:
    """Return the columns that fit the terminal, dropping those of ``dropped_first`` in that order."""
    kept = {name: cells for name, cells in columns.items() if any(cells)}
    for name in dropped_first:
        if sum(map(_cell_count, kept, kept.values())) - GAP_CELLS <= width():
            break
        kept.pop(name, None)
    return kept


def hidden_columns(columns: Columns, shown: Columns) -> list[str]:
    """Return a note that names the columns with content that are not shown, or none."""
    hidden = [name for name, cells in columns.items() if any(cells) and name not in shown]
    if not hidden:
        return []
    more = f" and {len(hidden) - NAMED_COLUMNS} more" if hidden[NAMED_COLUMNS:] else ""
    return [f"columns that do not fit the terminal: {', '.join(hidden[:NAMED_COLUMNS])}{more}; see --format json"]


def column_table(columns: Columns) -> Table:
    """Return a table; only the column "metric" is left-aligned and shortened, as numbers are never cut."""
    table = Table(box=None, padding=(0, GAP_CELLS, 0, 0), pad_edge=False, header_style="bold")
    for name in columns:
        table.add_column(name, justify="left" if name == "metric" else "right", no_wrap=True)
    space = width() - sum(_cell_count(name, cells) for name, cells in columns.items() if name != "metric")
    for row in zip(*columns.values(), strict=True):
        if any(row):
            named = zip(columns, row, strict=True)
            table.add_row(*(Text(shortened(cell, max(1, space)) if name == "metric" else cell) for name, cell in named))
    return table


def _cell_count(name: str, cells: Sequence[str]) -> int:
    return max(map(len, [name, *cells])) + GAP_CELLS


class IdColumn:
    """Names in a table written line by line: as wide as the longest so far, so that columns align."""

    def __init__(self, at_least: int = ID_CELLS[0]) -> None:
        self._cells = min(at_least, ID_CELLS[1])

    def cell(self, name: str) -> str:
        """Return ``name`` padded, keeping the end of a long one, as paths differ there."""
        shown, most = visible(name), ID_CELLS[1]
        if cell_len(shown) > most:
            kept = shown[1 - most :]
            while cell_len(kept) >= most:
                kept = kept[1:]
            shown = f"…{kept}"
        self._cells = max(self._cells, cell_len(shown))
        return shown + " " * (self._cells - cell_len(shown))
