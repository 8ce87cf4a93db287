"""Figures of every part of the hardening, a small JSON file each, and the report that is made of all of them."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

ROOM: Final = Path(__file__).parent
FIGURES: Final = ROOM / "figures"
REPORT: Final = ROOM / "REPORT.md"
DEFECTS: Final = ROOM / "DEFECTS.md"

INPUTS: Final = ("pictures", "captions", "checkpoints", "annotations", "tables", "folders")
ORDER: Final = (*INPUTS, "kills", "limits", "soak")
"""Parts as the report shows them; others follow by name."""

MAX_FAILING: Final = 50
"""Failing cases that are kept; the first ones are enough to begin with."""


@dataclass(frozen=True)
class Row:
    """A line of the report.

    Attributes:
        what: such as ``mutated JPEG``, ``kills of detect --input``.
        commands: of clipalign that took part.
        cases: how many.
        failures: how many by kind of failure; every kind that was looked for is named, with 0 too.
        note: what a reader should know, such as a figure that is not a failure.
    """

    what: str
    commands: Sequence[str]
    cases: int
    failures: Mapping[str, int]
    note: str = ""


@dataclass(frozen=True)
class Part:
    """What came of a part.

    Attributes:
        part: its name, and that of its file.
        seed: of everything that was drawn.
        seconds: wall clock.
        rows: of the report.
        command: that does it again.
        failing: what is needed to look at a failure: ``{"case": …, "failures": {…}}``.
        bounds: what was allowed, in words.
    """

    part: str
    seed: int
    seconds: float
    rows: Sequence[Row]
    command: str
    failing: Sequence[Mapping[str, Any]] = ()
    bounds: str = ""
    date: str = field(default_factory=lambda: datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"))
    machine: Mapping[str, Any] = field(default_factory=lambda: machine())


def machine() -> dict[str, Any]:
    """What it ran on, without names."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else 0
    return {
        "system": platform.system(),
        "processor": platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": round(memory / 2**30),
        "python": platform.python_version(),
        **{name: version(name) for name in ("torch", "open_clip_torch", "pillow")},
    }


def typed_command() -> str:
    """The command line of this process, as one types it."""
    return shlex.join(["python", "-m", "tests.hardening", *sys.argv[1:]])


def write_figures(part: Part, folder: Path = FIGURES) -> Path:
    """Keep the figures of ``part`` in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{part.part}.json"
    figures = asdict(part) | {"failing": list(part.failing)[:MAX_FAILING], "seconds": round(part.seconds, 1)}
    path.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read_figures(folder: Path = FIGURES) -> list[dict[str, Any]]:
    """All figures of ``folder`` in the order of the report."""
    found = {path.stem: json.loads(path.read_text(encoding="utf-8")) for path in folder.glob("*.json")}
    names = [name for name in ORDER if name in found] + sorted(name for name in found if name not in ORDER)
    return [found[name] for name in names]


def render(parts: Sequence[Mapping[str, Any]], defects: str = "") -> str:
    """The report as Markdown."""
    counts = {part["part"]: sum(row["cases"] for row in part["rows"]) for part in parts}
    said = {
        "broken inputs": sum(counts.get(name, 0) for name in INPUTS),
        "kills": counts.get("kills", 0),
        "times without memory, disk or reader": counts.get("limits", 0),
        "pairs in one go": counts.get("soak", 0),
    }
    failed = sum(sum(row["failures"].values()) for part in parts for row in part["rows"])
    lines = [
        "# What clipalign was put through",
        "",
        f"{', '.join(f'{count:,} {what}' for what, count in said.items() if count)}; **failures: {failed}**. "
        "Made by `python -m tests.hardening`, which runs every part again and renews this page; nothing here is "
        "written by hand but the list of defects.",
        "",
        "| part | cases | failures | what was looked for | seconds | date |",
        "|---|---:|---:|---|---:|---|",
    ]
    for part in parts:
        rows = part["rows"]
        kinds = dict.fromkeys(kind for row in rows for kind in row["failures"])
        sums = {kind: sum(row["failures"].get(kind, 0) for row in rows) for kind in kinds}
        shown = ", ".join(f"{kind} {_count(count)}" for kind, count in sums.items())
        total, name = sum(row["cases"] for row in rows), f"[{part['part']}](#{part['part']})"
        cells = (name, f"{total:,}", _count(sum(sums.values())), shown, f"{part['seconds']:,.0f}", part["date"])
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Machine: {_machine(parts)}.", ""]
    if defects:
        lines += ["## Defects found on the way", "", "Each with the test that now guards it.", "", defects.strip(), ""]
    lines += ["## Row by row", ""]
    for part in parts:
        lines += _section(part)
    return "\n".join(lines).rstrip() + "\n"


def write_report() -> Path:
    """Renew the report from the figures."""
    defects = DEFECTS.read_text(encoding="utf-8") if DEFECTS.is_file() else ""
    REPORT.write_text(render(read_figures(), defects), encoding="utf-8")
    return REPORT


def _section(part: Mapping[str, Any]) -> list[str]:
    rows = part["rows"]
    kinds = list(dict.fromkeys(kind for row in rows for kind in row["failures"]))
    notes = any(row.get("note") for row in rows)
    lines = [
        f"### {part['part']}",
        "",
        f"`{part['command']}`, seed {part['seed']}. {part.get('bounds') or ''}".rstrip(),
        "",
    ]
    lines.append("| " + " | ".join(["what", "commands", "cases", *kinds, *(["note"] if notes else [])]) + " |")
    lines.append("|" + "|".join(["---", "---", "---:", *["---:"] * len(kinds), *(["---"] if notes else [])]) + "|")
    for row in rows:
        cells = [row["what"], ", ".join(row["commands"]), f"{row['cases']:,}"]
        cells += [_count(row["failures"].get(kind, 0)) for kind in kinds]
        cells += [row.get("note") or ""] if notes else []
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    lines.append("")
    if part["failing"]:
        lines += ["Failing:", ""]
        lines += [f"- `{one['case']}`: {one.get('failures', '')}" for one in part["failing"][:10]]
        lines.append("")
    return lines


def _count(number: int) -> str:
    return f"{number:,}" if not number else f"**{number:,}**"


def _machine(parts: Sequence[Mapping[str, Any]]) -> str:
    seen = []
    for part in parts:
        facts = part["machine"]
        text = f"{facts.get('cores')} cores, {facts.get('memory_gb')} GB of memory, {facts.get('system', '')} "
        text += f"{facts.get('processor', '')}, Python {facts.get('python')}, torch {facts.get('torch')}"
        if text not in seen:
            seen.append(text)
    return "; ".join(seen) or "none yet"
