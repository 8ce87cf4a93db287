"""A calibration for the eye, as JSON, and as lines of a settings file."""

from __future__ import annotations

import tomllib
from dataclasses import asdict
from pathlib import Path
from typing import Final

from rich.table import Table
from rich.text import Text

from clipalign.errors import UsageError
from clipalign.report.console import visible, width
from clipalign.report.layout import printed
from clipalign.results import Calibration, LayerCalibration

GAP_CELLS: Final = 2
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
