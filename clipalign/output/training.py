"""The curves of a training run as a PNG: terms of the loss, increments on held-out samples. Extra ``report``.

A training run to the eye: a bar with losses, rate and time left while it runs, a short account at its end.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self

from clipalign.errors import need
from clipalign.output import json
from clipalign.output.console import notices, progress_console, stdout_is_terminal, visible

if TYPE_CHECKING:
    from rich.progress import Progress as Bar
    from rich.progress import TaskID

    from clipalign.training.prepare import Prepared
    from clipalign.training.settings import SpecsResult
    from clipalign.training.validation import Increments


TERMS: Final = ("loss", "contrastive", "detail", "negative", "short")
SHARES: Final = ("positive", "negative", "average")
INCHES: Final = (7.0, 7.0)
DPI: Final = 120


def draw_curves(records: Sequence[Mapping[str, Any]], path: Path) -> None:
    """Draw what ``metrics.jsonl`` holds.

    Args:
        records: of steps (``step``, ``loss``, its terms) and of validations (``step``, ``validation``).
        path: of the PNG; replaced whole.

    Raises:
        MissingExtra: matplotlib is not installed.
        OSError: the file cannot be written.
    """
    need("matplotlib", extra="report", what="drawing curves")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    panels: Any = figure.subplots(2, 1, sharex=True)
    above, below = panels
    steps = [record for record in records if record.get("loss") is not None]
    for name, style in zip(TERMS, ("-", "--", "-.", ":", "-"), strict=True):
        if any(record.get(name) for record in steps):
            above.plot([record["step"] for record in steps], [record.get(name) for record in steps], style, label=name)
    above.set_ylabel("weighted loss")
    measured = [record for record in records if record.get("validation")]
    for name, marker in zip(SHARES, ("o", "s", "x"), strict=True):
        shares = [record["validation"][name] for record in measured]
        below.plot([record["step"] for record in measured], shares, marker=marker, label=f"{name} increments")
    below.set_ylabel("share of held-out details")
    below.set_ylim(0, 1)
    below.set_xlabel("step")
    for axes in (above, below):
        axes.grid(alpha=0.3)
        if axes.get_lines():
            axes.legend(fontsize="small")
    part = path.with_name(path.name + ".part")
    figure.savefig(part, dpi=DPI, format="png")
    part.replace(path)


LINE_SECONDS: Final = 30.0
"""Between two lines where nobody sees a bar move."""


class TrainingDisplay:
    """Watches a run on stderr.

    Args:
        shown: False for the processes that say nothing.
    """

    def __init__(self, *, shown: bool) -> None:
        console = None if notices.quiet or not shown else progress_console()
        self._shown = shown
        self._lines = shown and console is None
        self._began = self._told = time.monotonic()
        self._first = self._steps = 0
        self._bar: Bar | None = None
        self._task: TaskID | None = None
        if console is not None:
            from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (
                TextColumn("{task.description}"), BarColumn(bar_width=20), MofNCompleteColumn(),
                TextColumn("{task.fields[losses]}"), TimeRemainingColumn(elapsed_when_finished=True),
            )  # fmt: skip
            self._bar = Bar(*columns, console=console, transient=True)
            self._task = self._bar.add_task("pictures", total=None, losses="")

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def begins(self, step: int, steps: int) -> None:
        """Training goes on after ``step`` of ``steps``."""
        self._first, self._steps, self._began = step, steps, time.monotonic()
        if self._bar is not None and self._task is not None:
            self._bar.reset(self._task, total=steps, completed=step, description="steps", losses="")
        elif self._lines and step:
            notices.tell(f"going on after step {step} of {steps}")

    def pictures(self, done: int, total: int) -> None:
        """Pictures are encoded before the first step."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, description="pictures")
        elif self._lines and self._is_time(last=done == total):
            notices.tell(f"{done} of {total} pictures encoded")

    def step(self, record: Mapping[str, Any]) -> None:
        """A step is done."""
        losses = ", ".join(f"{name} {record[name]:.3f}" for name in TERMS if record.get(name))
        losses += f", {record['samples_per_second']:.0f} samples/s"
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=record["step"], losses=losses)
        elif self._lines and self._is_time(last=record["step"] == self._steps):
            notices.tell(f"step {record['step']} of {self._steps}: {losses}{self._time_left(record['step'])}")

    def validated(self, step: int, increments: Increments, *, best: bool) -> None:
        """The held-out samples are measured."""
        if self._shown:
            mark = ", the best so far" if best and step else ""
            shares = f"positive {increments.positive:.3f}, negative {increments.negative:.3f}"
            notices.tell(f"step {step}: held-out increments {shares}{mark}")

    def warn(self, message: str) -> None:
        """Something the user should know."""
        if self._shown:
            notices.warn(message)

    def _is_time(self, *, last: bool) -> bool:
        now = time.monotonic()
        if not last and now - self._told < LINE_SECONDS:
            return False
        self._told = now
        return True

    def _time_left(self, step: int) -> str:
        left = (time.monotonic() - self._began) / max(1, step - self._first) * (self._steps - step)
        if step == self._steps:
            return ""
        return f", {left:.0f} s left" if left < 120 else f", {left / 60:.0f} min left"


def training_document(prepared: Prepared | None, trained: SpecsResult | None, *, format: str) -> str | bytes:
    """What was prepared and trained, as ``table`` or ``json``."""
    if format == "json":
        record = ({"prepared": _prepared_record(prepared)} if prepared else {}) | (
            {"trained": _trained_record(trained)} if trained else {}
        )
        return json.encode(record, indent=stdout_is_terminal())
    return "".join(f"{visible(line)}\n" for line in (*_prepared_lines(prepared), *_trained_lines(trained)))


def model_line(trained: SpecsResult) -> str:
    """What ``--model`` takes to load the best weights."""
    return f"{trained.folder / 'config.json'}@{trained.folder / 'best.safetensors'}"


def _prepared_record(prepared: Prepared) -> dict[str, Any]:
    return {"folder": str(prepared.folder), "samples": prepared.samples, "skipped": prepared.skipped}


def _prepared_lines(prepared: Prepared | None) -> list[str]:
    if prepared is None:
        return []
    lines = [f"{prepared.samples} samples in {prepared.folder}"]
    for reason, count in sorted(prepared.skipped.items(), key=lambda item: -item[1]):
        example = prepared.examples.get(reason)
        lines.append(f"{count} left out: {reason}" + (f" ({example})" if example else ""))
    return lines


def _trained_record(trained: SpecsResult) -> dict[str, Any]:
    return {
        "folder": str(trained.folder),
        "model": model_line(trained),
        "steps": trained.steps,
        "best_step": trained.best_step,
        "skipped_steps": trained.skipped_steps,
        "before": _increments(trained.before),
        "best": _increments(trained.best),
    }


def _increments(found: Increments | None) -> dict[str, float] | None:
    return {**found._asdict(), "average": found.average} if found else None


def _trained_lines(trained: SpecsResult | None) -> list[str]:
    if trained is None:
        return []
    lines = [f"{trained.steps} steps, {trained.folder}"]
    if trained.skipped_steps:
        lines.append(f"{trained.skipped_steps} steps did not move the weights: gradients that were not finite")
    if trained.before and trained.best:
        lines.append("increments on held-out samples   positive  negative   average")
        for name, found in (("before", trained.before), (f"best, step {trained.best_step}", trained.best)):
            lines.append(f"  {name:<30} {found.positive:8.3f}  {found.negative:8.3f}  {found.average:8.3f}")
    return [*lines, f"--model {model_line(trained)}"]
