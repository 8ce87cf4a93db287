"""What every table shares: a Rich console that prints to a string, and signed bars.

Rich never sees markup, and never decides about colour: that is ``console``'s rule.
"""

from __future__ import annotations

import io
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from rich.cells import cell_len, set_cell_size
from rich.console import Console, RenderableType
from rich.text import Text

from clipalign.output.console import colour_allowed, speaks_unicode, visible, width

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Signs:
    """The characters of a table; plain ones where the stream cannot carry the others."""

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


HASH_DIGITS: Final = 12
"""Digits of the weights' SHA-256 that a reader needs to tell two files apart."""

UNICODE_SIGNS: Final = Signs("✗", "?", "‹", "›", "│", "█", "▐", "▌", "·", "–")
ASCII_SIGNS: Final = Signs("x", "?", "<", ">", "|", "#", "", "", "-", "-")


def signs() -> Signs:
    """The signs stdout can carry."""
    return UNICODE_SIGNS if speaks_unicode(sys.stdout) else ASCII_SIGNS


class Bar(NamedTuple):
    """A signed bar around its zero axis, in three pieces of fixed width."""

    left: str
    axis: str
    right: str


def signed_bar(value: float | None, *, largest: float, cells: int, drawn_with: Signs) -> Bar:
    """A bar of ``value`` on a scale where ``largest`` fills one side.

    Args:
        value: to the left when negative; None draws the axis alone.
        largest: the largest absolute value of all bars, at least 0.
        cells: columns of one side.
        drawn_with: characters.
    """
    share = 0.0 if value is None or largest == 0.0 else min(1.0, abs(value) / largest)
    halves = round(share * cells * 2)
    if value and not halves:
        halves = 1  # a bar that is not nothing shows
    full, half = divmod(halves, 2)
    if half and not drawn_with.half_left:
        full, half = full + 1, 0
    if value is not None and value < 0:
        bar = (drawn_with.half_left if half else "") + drawn_with.full * full
        return Bar(bar.rjust(cells), drawn_with.axis, " " * cells)
    bar = drawn_with.full * full + (drawn_with.half_right if half else "")
    return Bar(" " * cells, drawn_with.axis, bar.ljust(cells))


def shortened(text: str, cells: int) -> str:
    """``text``, made visible, in at most ``cells`` columns."""
    shown = visible(text)
    return shown if cell_len(shown) <= cells else set_cell_size(shown, cells - 1).rstrip() + "…"


def printed(parts: Iterable[RenderableType], *, plain: bool = False) -> str:
    """The parts below each other, as wide as the terminal, with colour only where it is allowed.

    Args:
        parts: what Rich can draw.
        plain: without colour whatever stdout takes, for files.
    """
    buffer = io.StringIO()
    colour = not plain and colour_allowed(sys.stdout)
    console = Console(
        file=buffer,
        width=width(),
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
        markup=False,
        emoji=False,
        highlight=False,
        legacy_windows=False,
    )
    for part in parts:
        console.print(part)
    lines = buffer.getvalue().splitlines()
    return "".join(line.rstrip() + "\n" for line in lines)


def flowing(pieces: Iterable[str | Text], *, gap: str = "  ") -> Text:
    """Pieces that stay whole, as many on a line as fit."""
    room, used = width(), 0
    line = Text()
    for piece in pieces:
        text = piece if isinstance(piece, Text) else Text(piece)
        if used and used + len(gap) + text.cell_len > room:
            line.append("\n")
            used = 0
        elif used:
            line.append(gap)
            used += len(gap)
        line.append_text(text)
        used += text.cell_len
    return line


def origin_line(origin: Mapping[str, Any], drawn_with: Signs, *, also: Sequence[str] = ()) -> Text:
    """Model, weights, device, ``also`` and versions of a provenance, each kept whole."""
    pieces = [visible(origin["model"])]
    if origin["weights_sha256"]:
        pieces.append(f"weights {origin['weights_sha256'][:HASH_DIGITS]}")
    pieces += [f"{origin['device']} {origin['precision']}", *also]
    pieces += [f"{name} {number}" for name, number in origin["versions"].items()]
    line = flowing(pieces, gap=f" {drawn_with.dot} ")
    line.stylize("dim")
    return line
