"""From figures to what is read: the performance page, its plot, and the table in the README; nothing is typed by hand.

The page is ``README.md`` beside this file, the plot ``.assets/speed.svg``; in the README of the repository all between
the comments ``speed`` and ``/speed`` is renewed. What the profile led to is told in ``largest_part.md``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.measure import Row, figure, goal, number, spread
from tests.benchmarks.plot import plot

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
FIGURES: Final = HERE / "figures.json"
PAGE: Final = HERE / "README.md"
PLOT: Final = ROOT / ".assets" / "speed.svg"
README: Final = ROOT / "README.md"
LARGEST_PART: Final = HERE / "largest_part.md"

HOW: Final = """\
Baseline and candidate take turns within one run, so that whatever else the machine does meets both; the figure is the
median over the rounds of their ratio, beside it the least and the most of any round. *times as fast* and *of its rate*
are better when higher, *of the cost* and seconds when lower; *of its rate* is 1 where everything around the model is
free. Speed does not depend on what weights say: they are random, in the architecture of ViT-B/32, fp32 unless a row
says otherwise. With the clock `cpu` the time of all threads is summed, which a busy machine disturbs less; nothing
hides behind anything then. Times in milliseconds depend on the machine, ratios much less.""".replace("\n", " ")

ENGINES: Final = """\
Image tower in batches of 16 and `detect` in memory; the fastest of several turns, each line in a process of its own,
whose peak of memory includes loading and, for OpenVINO, compiling. int8 has texts in bf16.""".replace("\n", " ")

MEMORY: Final = "That memory stays flat over 200,000 pairs is measured by the soak of [tests/hardening](../hardening)."

WATCHED: Final = """\
`detect --input` over JPEG files of 500 × 375, a caption each. Some twenty functions, a step each, are replaced by ones
that look at the clocks before and after; what a step spends inside another counts for the other, so the steps of the
main thread add up to the whole run. The workers that read and prepare pictures run beside it and are told by their own
CPU time; where the main thread has to wait for them, that is a step of its own.""".replace("\n", " ")


def kept_figures() -> dict[str, Any]:
    """What was measured so far."""
    if not FIGURES.exists():
        return {"run": 0, "benchmarks": {}}
    found: dict[str, Any] = json.loads(FIGURES.read_text(encoding="utf-8"))
    return found


def rows_of(figures: Mapping[str, Any]) -> list[Row]:
    """All rows, in the order of the benchmarks."""
    return [Row.of(row) for entry in figures["benchmarks"].values() for row in entry["rows"]]


def render(figures: Mapping[str, Any]) -> list[Path]:
    """Write everything that is rendered from the figures; returns the files that changed."""
    changed = []
    for path, text in rendered(figures).items():
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
            changed.append(path)
    return changed


def rendered(figures: Mapping[str, Any]) -> dict[Path, str]:
    """What each file should hold."""
    readme = README.read_text(encoding="utf-8")
    block = f"<!-- speed -->\n{short_table(figures)}<!-- /speed -->"
    return {
        PAGE: page(figures),
        PLOT: plot([row for row in rows_of(figures) if row.speed is not None]),
        README: re.sub(r"<!-- speed -->\n.*?<!-- /speed -->", lambda _: block, readme, count=1, flags=re.S),
    }


def short_table(figures: Mapping[str, Any]) -> str:
    """The README's table and plot, of the same rows."""
    rows = [row for row in rows_of(figures) if row.speed is not None or row.key == "startup-help"]
    lines = [
        "| measured | against | figure | goal |",
        "|---|---|---|---|",
        *(f"| {row.what} | {row.baseline} | {figure(row)} | {_goal(row)} |" for row in rows),
    ]
    where = _where(figures)
    lines += [
        "",
        "![The same as a plot: each row's speed against its baseline](.assets/speed.svg)",
        "",
        f"{where} Every figure, its command and how to read it: [the performance page](tests/benchmarks/README.md).",
    ]
    return "\n".join(lines) + "\n"


def page(figures: Mapping[str, Any]) -> str:
    """The performance page."""
    entries: Mapping[str, Any] = figures["benchmarks"]
    lines = [
        "# Speed",
        "",
        "Rendered from [figures.json](figures.json) by the command that measures it all:",
        "",
        "<!-- not run: it measures for half an hour -->",
        "```sh",
        "python -m tests.benchmarks                 # all; goes on with --resume where it was cut",
        "python -m tests.benchmarks detect_speed    # one",
        "python -m tests.benchmarks --quick         # a look, keeps nothing",
        "```",
        "",
        HOW,
        "",
        "![Each row's speed against its baseline](../../.assets/speed.svg)",
        "",
        *_table(rows_of(figures)),
        "",
        *_missing(entries),
        MEMORY,
        "",
        *_engines(entries.get("engines", {})),
        "## How each was measured",
        "",
        *(line for name, entry in entries.items() if entry["rows"] for line in _entry(name, entry)),
        *_profiles(entries.get("profile", {})),
    ]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).rstrip("\n") + "\n"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    yield "| measured | against | figure | least to most | goal | milliseconds | clock |"
    yield "|---|---|---|---|---|---|---|"
    for row in rows:
        yield (
            f"| {row.what} | {row.baseline} | {figure(row)} | {spread(row)} | "
            f"{_goal(row)} | {_milliseconds(row)} | {row.clock} |"
        )


def _goal(row: Row) -> str:
    return goal(row) + ("" if row.reached else ", missed")


def _milliseconds(row: Row) -> str:
    if row.ours_ms is None or row.baseline_ms is None:
        return ""
    return f"{number(row.baseline_ms)} → {number(row.ours_ms)} a {row.item}"


def _missing(entries: Mapping[str, Any]) -> Iterator[str]:
    missing = [(what, why) for entry in entries.values() for what, why in entry["missing"].items()]
    if missing:
        yield "| not measured | why |"
        yield "|---|---|"
        for what, why in missing:
            yield f"| {what} | {why} |"
        yield ""


def _entry(name: str, entry: Mapping[str, Any]) -> Iterator[str]:
    yield f"**{name}** (`{entry['command']}`, {entry['seconds']:.0f} seconds, {entry['date']}; {_machine(entry)})"
    yield ""
    for note in entry["notes"]:
        yield f"- {note}"
    yield ""


def _machine(entry: Mapping[str, Any]) -> str:
    made = entry["machine"]
    said = f"{made['cores']} cores, {made['processor']}, {made['memory_gib']} GiB, Python {made['python']}, torch "
    return f"{said}{made['torch']}{', ' + made['accelerator'] if 'accelerator' in made else ''}"


def _where(figures: Mapping[str, Any]) -> str:
    """On what the short table was measured, as one sentence."""
    entries = [entry for entry in figures["benchmarks"].values() if entry["rows"]]
    if not entries:
        return ""
    dates = sorted({str(entry["date"]) for entry in entries})
    machines = {_machine(entry) for entry in entries}
    when = " to ".join(dates[:1] + dates[1:][-1:]) + (", not all on one machine" if len(machines) > 1 else "")
    clocks = sorted({row["clock"] for entry in entries for row in entry["rows"]})
    return (
        f"ViT-B/32 architecture with random weights, fp32 unless a row says otherwise, "
        f"{entries[0]['machine']['cores']} CPU cores; baseline and candidate in turns, medians of their ratios, "
        f"clock: {' and '.join(clocks)}; {when}."
    )


def _heading(title: str, entry: Mapping[str, Any], about: str) -> Iterator[str]:
    yield f"## {title}"
    yield ""
    yield f"`{entry['command']}`, {entry['date']}; {_machine(entry)}. {about}"
    yield ""


def _engines(entry: Mapping[str, Any]) -> Iterator[str]:
    if not entry:
        return
    yield from _heading("Engines, precisions and threads", entry, ENGINES)
    yield (
        "| engine | precision | threads | ms a picture | ms a caption, one a picture | five a picture | "
        "hours a million pairs, one and five | peak MB |"
    )
    yield "|---|---|---|---|---|---|---|---|"
    for one in entry["engines"]:
        ms = one["pair_ms"], one["pair_of_five_ms"]
        hours = " and ".join(number(value * 1e6 / 3.6e6) for value in ms)
        yield (
            f"| {one['engine']} | {one['precision']} | {one['threads']} | {one['picture_ms']:.1f} | {ms[0]:.1f} | "
            f"{ms[1]:.1f} | {hours} | {one['peak_mb']:.0f} |"
        )
    yield ""
    yield f"{entry['notes'][-1]}."
    yield ""


def _profiles(entry: Mapping[str, Any]) -> Iterator[str]:
    if not entry:
        return
    yield from _heading("Where each millisecond of `detect --input` goes", entry, WATCHED)
    for one in entry["profiles"]:
        yield (
            f"**{one['model']}**, {one['records']} records, {one['threads']} threads of torch, clock {one['clock']}: "
            f"{one['whole_ms']:.2f} ms a record, {one['unwatched_ms']:.2f} when nothing is watched."
        )
        yield ""
        yield "| main thread | ms a record | share |"
        yield "|---|---|---|"
        for step, ms in sorted(one["main"].items(), key=lambda part: -part[1]):
            yield f"| {step} | {ms:.3f} | {ms / one['whole_ms']:.1%} |"
        yield f"| **all of it** | {sum(one['main'].values()):.3f} | {sum(one['main'].values()) / one['whole_ms']:.1%} |"
        yield ""
        yield "| workers, beside it | CPU ms a record |"
        yield "|---|---|"
        for step, ms in sorted(one["workers"].items(), key=lambda part: -part[1]):
            yield f"| {step} | {ms:.3f} |"
        yield ""
    yield LARGEST_PART.read_text(encoding="utf-8")
