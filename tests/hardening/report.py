"""The figures of every part of the hardening, and the report that is made of them."""

from __future__ import annotations

import datetime
import json
import os
import platform
import shlex
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

from tests.figures import write_figures

HERE: Final = Path(__file__).parent
FIGURES: Final = HERE / "figures.json"
REPORT: Final = HERE / "REPORT.md"
DEFECTS: Final = HERE / "DEFECTS.md"

INPUTS: Final = ("pictures", "captions", "checkpoints", "annotations", "tables", "options", "folders")
ORDER: Final = (*INPUTS, "kills", "limits", "soak")
"""Parts as the report shows them."""

MAX_FAILING: Final = 50
"""Failing cases that are kept; the first ones are enough to begin with."""


@dataclass(frozen=True)
class Asked:
    """What was asked for on the command line; None is a part's own default.

    Attributes:
        cases: how many.
        seed: of everything that is drawn.
        jobs: cases at a time.
        minutes: how long parts that have no end go on.
        only: parts of names of the scenes of ``kills`` and ``limits`` that are played; empty for all.
        scale: of the inputs of these scenes.
        cold: plays of ``kills`` with real processes, at the end.
    """

    cases: int | None = None
    seed: int = 0
    jobs: int = 2
    minutes: float | None = None
    only: Sequence[str] = ()
    scale: float | None = None
    cold: int = 8


def row_of(
    what: str, commands: Sequence[str], cases: int, problems: Iterable[str], looked_for: Sequence[str], note: str = ""
) -> Row:
    """A line of the report, of the kind of every failure."""
    count = Counter(problems)
    return Row(what, commands, cases, {kind: count[kind] for kind in looked_for}, note)


@dataclass(frozen=True)
class Row:
    """A line of the report.

    Attributes:
        what: such as ``mutated JPEG``, ``kills of detect --input``.
        commands: of clipalign that took part.
        cases: how many.
        failures: how many by kind of failure; every kind that was looked for is named, with 0 too.
        note: a figure that is not a failure, such as the exit statuses.
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
        part: its name.
        seed: of everything that was drawn.
        seconds: wall clock.
        rows: of the report.
        command: that does it again.
        failing: what is needed to look at a failure: ``{"case": …, "failures": {…}}``.
        bounds: what was allowed, in words.
        curve: of the soak: seconds, records, resident MB, open files and threads at some moments.
    """

    part: str
    seed: int
    seconds: float
    rows: Sequence[Row]
    command: str
    failing: Sequence[Mapping[str, Any]] = ()
    bounds: str = ""
    curve: Sequence[Sequence[float]] = ()
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


def keep_figures(part: Part, path: Path = FIGURES) -> None:
    """Write the figures of ``part`` beside those of the other parts."""
    kinds = list(dict.fromkeys(kind for row in part.rows for kind in row.failures))
    rows = [
        asdict(row) | {"failures": {kind: count for kind, count in row.failures.items() if count}} for row in part.rows
    ]
    more = {"looked_for": kinds, "failing": list(part.failing)[:MAX_FAILING], "rows": rows}
    found = {one["part"]: one for one in read_figures(path)} | {part.part: asdict(part) | more}
    write_figures(path, [found[name] for name in ORDER if name in found])


def read_figures(path: Path = FIGURES) -> list[dict[str, Any]]:
    """The figures of all parts, in the order of the report."""
    if not path.is_file():
        return []
    found: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return found


def render(parts: Sequence[Mapping[str, Any]]) -> str:
    """The report as Markdown."""
    counts = {part["part"]: sum(row["cases"] for row in part["rows"]) for part in parts}
    said = {
        "broken inputs": sum(counts.get(name, 0) for name in INPUTS),
        "kills": counts.get("kills", 0),
        "runs without memory, disk or reader": counts.get("limits", 0),
        "pairs in one run": counts.get("soak", 0),
    }
    failed = sum(_failed(part) for part in parts)
    lines = [
        "# Robustness",
        "",
        f"{', '.join(f'{count:,} {what}' for what, count in said.items() if count)}; **failures: {failed}**. "
        "Made by `python -m tests.hardening`, which runs every part again and renews this page. "
        "[What was found and fixed](DEFECTS.md) is kept by hand.",
        "",
        "| part | cases | failures | looked for | seconds | date |",
        "|---|---:|---:|---|---:|---|",
    ]
    for part in parts:
        cells = (
            *(f"[{part['part']}](#{part['part']})", f"{counts[part['part']]:,}", _count(_failed(part))),
            *(", ".join(part["looked_for"]), f"{part['seconds']:,.0f}", part["date"]),
        )
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", f"Machine: {_machine(parts)}.", ""]
    for part in parts:
        lines += _section(part)
    return "\n".join(lines).rstrip() + "\n"


def write_report() -> None:
    """Renew the report from the figures."""
    REPORT.write_text(render(read_figures()), encoding="utf-8")


def _section(part: Mapping[str, Any]) -> list[str]:
    lines = [
        f"## {part['part']}",
        "",
        f"`{part['command']}`, seed {part['seed']}. {part['bounds']}".rstrip(),
        "",
        "| what | commands | cases | failures | note |",
        "|---|---|---:|---|---|",
    ]
    for row in part["rows"]:
        failures = ", ".join(f"{kind} {_count(count)}" for kind, count in row["failures"].items()) or "0"
        cells = [row["what"], ", ".join(row["commands"]), f"{row['cases']:,}", failures, row["note"]]
        lines.append("| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |")
    lines.append("")
    if part["failing"]:
        lines += ["Failing:", ""]
        lines += [f"- `{one['case']}`: {one.get('failures', '')}" for one in part["failing"][:10]]
        lines.append("")
    return lines


def _failed(part: Mapping[str, Any]) -> int:
    return sum(sum(row["failures"].values()) for row in part["rows"])


def _count(number: int) -> str:
    return f"{number:,}" if not number else f"**{number:,}**"


def _machine(parts: Sequence[Mapping[str, Any]]) -> str:
    seen = [
        f"{facts['cores']} cores, {facts['memory_gb']} GB of memory, {facts['system']} {facts['processor']}, "
        f"Python {facts['python']}, torch {facts['torch']}"
        for facts in (part["machine"] for part in parts)
    ]
    return "; ".join(dict.fromkeys(seen)) or "none yet"
