"""What all benchmarks share: clocks, rounds in which baseline and candidate take turns, rows, and the command line.

A benchmark is a module with ``measure(bench) -> Measured``. By itself it prints its table; ``python -m
tests.benchmarks`` runs all of them, each in a process of its own, and keeps what they return as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self, TypeVar

T = TypeVar("T")

CLOCKS: Final = {"wall": time.perf_counter, "cpu": time.process_time}
"""``cpu`` counts the time of all threads of the process: for a busy machine, where nothing hides behind anything."""


class Reading(StrEnum):
    """How a row's number is to be read; the number is candidate against baseline where it is a ratio."""

    TIMES = "times as fast"
    RATE = "of its rate"
    COST = "of the cost"
    SECONDS = "seconds"

    @property
    def higher_is_better(self) -> bool:
        """Whether a goal is a lower bound."""
        return self in (Reading.TIMES, Reading.RATE)


@dataclass(frozen=True)
class Row:
    """One line of the page.

    Attributes:
        key: names the row, whatever its words become.
        what: what was measured.
        baseline: what it was measured against.
        reading: how the three numbers are to be read.
        median, low, high: over the rounds.
        rounds: how many.
        goal: what the number should be, at least or at most; None where there is none.
        baseline_ms, ours_ms: medians, of one ``item``; None where there is no such thing.
        item: what is counted.
        clock: of :data:`CLOCKS`.
        device: where the model ran; empty where there was none.
        precision: of the candidate.
    """

    key: str
    what: str
    baseline: str
    reading: Reading
    median: float
    low: float
    high: float
    rounds: int
    goal: float | None = None
    baseline_ms: float | None = None
    ours_ms: float | None = None
    item: str = ""
    clock: str = "wall"
    device: str = "cpu"
    precision: str = "fp32"

    @classmethod
    def of(cls, given: dict[str, Any]) -> Self:
        """Back from JSON."""
        return cls(**given | {"reading": Reading(given["reading"])})

    @property
    def reached(self) -> bool:
        """Whether the median is where the goal wants it."""
        if self.goal is None:
            return True
        return self.median >= self.goal if self.reading.higher_is_better else self.median <= self.goal

    @property
    def speed(self) -> float | None:
        """How many times as fast as the baseline, whatever the reading; None for a plain number of seconds."""
        if self.reading is Reading.SECONDS:
            return None
        return self.median if self.reading.higher_is_better else 1 / self.median


@dataclass(frozen=True)
class Measured:
    """What a benchmark returns.

    Attributes:
        rows: of the page.
        notes: sentences that a reader needs beside them.
        missing: what could not be measured, and why.
        profiles: of :mod:`tests.benchmarks.profile`.
        engines: of :mod:`tests.benchmarks.engines`.
    """

    rows: list[Row]
    notes: list[str] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    profiles: list[Any] = field(default_factory=list)
    engines: list[Any] = field(default_factory=list)


@dataclass(frozen=True)
class Turns:
    """Seconds an item of baseline and candidate, a pair a round."""

    pairs: list[tuple[float, float]]

    def row(self, key: str, what: str, baseline: str, reading: Reading, bench: Bench, **more: Any) -> Row:
        """The row of these turns; ``more`` are attributes of :class:`Row`."""
        ratios = [base / ours if reading.higher_is_better else ours / base for base, ours in self.pairs]
        return Row(
            key=key,
            what=what,
            baseline=baseline,
            reading=reading,
            median=statistics.median(ratios),
            low=min(ratios),
            high=max(ratios),
            rounds=len(ratios),
            baseline_ms=1000 * statistics.median(base for base, _ in self.pairs),
            ours_ms=1000 * statistics.median(ours for _, ours in self.pairs),
            **{"clock": bench.clock, "device": bench.device} | more,
        )


@dataclass(frozen=True)
class Bench:
    """How much is measured, by which clock, and where.

    Attributes:
        clock: of :data:`CLOCKS`.
        threads: of torch.
        quick: a small share of the whole, for a look.
        device: where models run.
        rounds: instead of the number each benchmark finds enough.
    """

    clock: str = "wall"
    threads: int = 2
    quick: bool = False
    device: str = "cpu"
    rounds: int | None = None

    def of(self, full: T, quick: T) -> T:
        """What fits the size of this run."""
        return quick if self.quick else full

    def turns(
        self,
        baseline: Callable[[], object],
        n_baseline: float,
        candidate: Callable[[], object],
        n_candidate: float,
        *,
        rounds: int = 7,
        warm: bool = True,
    ) -> Turns:
        """Time both in turns, who begins changing from round to round.

        Args:
            baseline, candidate: called for their duration.
            n_baseline, n_candidate: how many items each does in a call.
            rounds: how many, in a full run.
            warm: whether each runs once before, not counted.
        """
        if warm:
            baseline(), candidate()
        counts = {baseline: n_baseline, candidate: n_candidate}
        pairs = []
        for index in range(self.rounds or self.of(rounds, min(rounds, 3))):
            order = (baseline, candidate) if index % 2 == 0 else (candidate, baseline)
            seconds = {run: self.seconds(run) / counts[run] for run in order}
            pairs.append((seconds[baseline], seconds[candidate]))
        return Turns(pairs)

    def seconds(self, run: Callable[[], object]) -> float:
        """How long ``run`` takes; work that a device was handed is waited for."""
        now = CLOCKS[self.clock]
        self._finish()
        begin = now()
        run()
        self._finish()
        return now() - begin

    def _finish(self) -> None:
        if self.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()

    @property
    def flags(self) -> list[str]:
        """The options that mean this, where they are not the usual ones."""
        usual = Bench()
        line = ["--quick"] if self.quick else []
        for name in ("rounds", "threads", "clock"):
            if (value := getattr(self, name)) != getattr(usual, name):
                line += [f"--{name}", str(value)]
        return line


def add_options(parser: argparse.ArgumentParser, *, device: str) -> None:
    """The options of :class:`Bench`, with a device for when none is named."""
    parser.add_argument("--quick", action="store_true", help="a small share of the whole, for a look")
    parser.add_argument("--rounds", type=int, help="instead of the number each benchmark finds enough")
    parser.add_argument("--threads", type=int, default=2, help="of torch (default 2)")
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall", help="cpu for a busy machine (default wall)")
    parser.add_argument("--device", default=device, help="of the benchmark that can run elsewhere than on the CPU")


def bench_of(arguments: argparse.Namespace) -> Bench:
    """What :func:`add_options` read."""
    return Bench(arguments.clock, arguments.threads, arguments.quick, arguments.device, arguments.rounds)


def alone(measure: Callable[[Bench], Measured], documentation: str | None, *, device: str = "cpu") -> None:
    """A benchmark's ``main``: measure, print, and with ``--json FILE`` keep."""
    parser = argparse.ArgumentParser(
        description=documentation, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_options(parser, device=device)
    parser.add_argument("--json", type=Path, help="where to keep the rows")
    arguments = parser.parse_args()
    bench = bench_of(arguments)

    import torch

    torch.set_num_threads(bench.threads)
    measured = measure(bench)
    show(measured.rows, [*measured.notes, *(f"{what}: {why}" for what, why in measured.missing.items())])
    if arguments.json:
        arguments.json.write_text(json.dumps(asdict(measured)), encoding="utf-8")


def show(rows: Sequence[Row], notes: Sequence[str]) -> None:
    """Rows as a table on the terminal, and notes."""
    from rich.console import Console
    from rich.table import Table

    table = Table("measured", "against", "ms", "ms before", "figure", "least to most", "goal")
    for row in rows:
        table.add_row(
            row.what,
            row.baseline,
            "" if row.ours_ms is None else f"{row.ours_ms:.4g}",
            "" if row.baseline_ms is None else f"{row.baseline_ms:.4g}",
            figure(row),
            spread(row),
            goal(row) + ("" if row.reached else " (missed)"),
        )
    console = Console(width=150)
    if rows:
        console.print(table)
    for note in notes:
        console.print(note, highlight=False)


def number(value: float) -> str:
    """A digit behind the point from ten on, two below."""
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def figure(row: Row) -> str:
    """A row's number in words."""
    return f"{number(row.median)} {'s' if row.reading is Reading.SECONDS else row.reading.value}"


def spread(row: Row) -> str:
    """The least and the most of the rounds."""
    return f"{number(row.low)} to {number(row.high)}" if row.rounds > 1 else "one round"


def goal(row: Row) -> str:
    """What was aimed at, in words."""
    if row.goal is None:
        return ""
    return f"{'at least' if row.reading.higher_is_better else 'at most'} {row.goal:g}"


def machine() -> dict[str, object]:
    """What a figure depends on; no names of machines or people."""
    import torch

    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    found: dict[str, object] = {
        "system": platform.system(),
        "processor": _processor(),
        "cores": cores,
        "memory_gib": _memory_gib(),
        "python": platform.python_version(),
        "torch": torch.__version__,
    }
    if torch.cuda.is_available():
        found["accelerator"] = torch.cuda.get_device_name()
    return found


def _processor() -> str:
    """Kind and what it can."""
    import torch

    return f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}"


def _memory_gib() -> int | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)
    except (AttributeError, ValueError, OSError):
        return None
