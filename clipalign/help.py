"""Format ``--help``: plain text in the width of the terminal, headings bold where color is allowed.

Without boxes the page reads the same in a pipe, in a log and at 40 columns.
"""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, Final

from clipalign.output.console import styled, width

COMMON_PANEL: Final = "Options"
NAME_CELLS: Final = 24
"""Columns for names; a longer one gets a line of its own."""

NARROW_CELLS: Final = 60
"""Columns below which descriptions follow under their names."""

_HELD: Final = "\N{NO-BREAK SPACE}"
"""Joins ``[default:`` and its value, so that no line breaks there."""


def page(
    *,
    usage: str,
    text: str,
    parameters: Sequence[Any] = (),
    commands: Iterable[tuple[str, str]] = (),
    closing: str = "",
    examples: int | None = None,
) -> str:
    """Return the page.

    Args:
        text: a docstring.
        parameters: Typer's.
        commands: names with their one line.
        examples: how many of the docstring are shown, at most; None for all.
    """
    columns = width()
    blocks = [_filled(f"{_bold('Usage:')} {usage}", columns, hanging="  "), _prose(text, columns, examples)]
    blocks.append(_section("Commands", list(commands), columns))
    blocks.append(_section("Arguments", [_entry(p) for p in parameters if p.param_type_name == "argument"], columns))
    panels: dict[str, list[tuple[str, str]]] = {}
    for parameter in parameters:
        if parameter.param_type_name == "option" and not parameter.hidden:
            panels.setdefault(parameter.rich_help_panel or COMMON_PANEL, []).append(_entry(parameter))
    blocks += [_section(panel, rows, columns) for panel, rows in panels.items()]
    blocks.append(_prose(closing, columns))
    return "\n\n".join(block for block in blocks if block) + "\n"


def _bold(text: str) -> str:
    return styled(text, "bold", stream=sys.stdout)


def _entry(parameter: Any) -> tuple[str, str]:
    if parameter.param_type_name == "argument":
        return parameter.metavar or parameter.name.upper(), parameter.help or ""
    long = [name for name in parameter.opts if name.startswith("--")]
    if parameter.secondary_opts:
        long = [f"--[no-]{name.removeprefix('--')}" for name in long]
    short = [name for name in parameter.opts if not name.startswith("--")]
    name = ", ".join([*short, *long])
    takes_value = not (parameter.is_flag or parameter.count)
    return f"{name} {parameter.metavar}" if takes_value and parameter.metavar else name, parameter.help or ""


def _section(title: str, rows: list[tuple[str, str]], columns: int) -> str:
    if not rows:
        return ""
    lines = [_bold(f"{title}:")]
    widest = max((len(name) for name, _ in rows if len(name) <= NAME_CELLS), default=NAME_CELLS)
    indent = 6 if columns < NARROW_CELLS else widest + 4
    for name, description in rows:
        # textwrap breaks at any space but this one
        held = description.replace("[default: ", f"[default:{_HELD}")
        wrapped = textwrap.wrap(held, columns - indent, break_on_hyphens=False) or [""]
        if len(name) + 4 <= indent:
            lines.append(f"  {name}".ljust(indent) + wrapped.pop(0))
        else:
            # Long lists of choices may break behind a bar, too.
            spaced = name.replace("|", "| ") if any(len(word) + 4 > columns for word in name.split()) else name
            wrapped_name = textwrap.wrap(f"  {spaced}", columns, subsequent_indent="    ", break_long_words=False)
            lines += [line.replace("| ", "|") for line in wrapped_name]
        lines += [" " * indent + line for line in wrapped]
    return "\n".join(line.rstrip() for line in lines).replace(_HELD, " ")


def _filled(text: str, columns: int, *, hanging: str = "") -> str:
    return textwrap.fill(text, columns, subsequent_indent=hanging, break_on_hyphens=False, break_long_words=False)


def _prose(text: str, columns: int, most: int | None = None) -> str:
    """Fill paragraphs to the width, keep indented lines, at most so many, and set the line above as a heading."""
    blocks = []
    for paragraph in text.strip().split("\n\n"):
        first, *rest = paragraph.splitlines() or [""]
        if any(line.startswith("  ") for line in rest):
            blocks.append("\n".join([_bold(first), *rest[:most]]))
        else:
            blocks.append(_filled(" ".join([first, *rest]), columns))
    return "\n\n".join(blocks)
