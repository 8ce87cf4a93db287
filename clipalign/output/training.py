"""A training run: progress with losses while it runs, and a short account at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from clipalign.output.console import notices, visible
from clipalign.output.progress import Progress

if TYPE_CHECKING:
    from clipalign.eval_results import Increments, PreparationResult, SpecsResult

PICTURES: Final = ("picture encoded", "pictures encoded")
STEPS: Final = ("step", "steps")
TERMS: Final = ("loss", "contrastive", "detail", "negative", "long", "short")


class TrainingDisplay(Progress):
    """Show a training run on stderr; ``shown`` is False for all processes but one."""

    def __init__(self, *, shown: bool) -> None:
        super().__init__(PICTURES, shown=shown)
        self._tells = shown

    def begins(self, step: int, steps: int) -> None:
        self.restart(STEPS, total=steps, done=step)
        self.update(step)
        if self._tells and step:
            notices.tell(f"going on after step {step} of {steps}")

    def pictures(self, done: int, total: int) -> None:
        self.update(done, total)

    def step(self, record: Mapping[str, Any]) -> None:
        losses = [f"{name} {record[name]:.3f}" for name in TERMS if record.get(name)]
        self.update(record["step"], note=", ".join([*losses, f"{record['samples_per_second']:.3g} samples/s"]))

    def validated(self, step: int, increments: Increments, *, best: bool) -> None:
        if self._tells:
            mark = ", the best so far" if best and step else ""
            shares = f"positive {increments.positive:.3f}, negative {increments.negative:.3f}"
            notices.tell(f"step {step}: held-out increments {shares}{mark}")

    def warn(self, message: str) -> None:
        """Warn, once for all processes."""
        if self._tells:
            notices.warn(message)


def training_record(prepared: PreparationResult | None, trained: SpecsResult | None) -> dict[str, Any]:
    record: dict[str, Any] = {}
    if prepared:
        record["prepared"] = {"folder": str(prepared.folder), "samples": prepared.samples, "skipped": prepared.skipped}
    if trained:
        record["trained"] = {
            "folder": str(trained.folder),
            "model": model_line(trained),
            "steps": trained.steps,
            "best_step": trained.best_step,
            "skipped_steps": trained.skipped_steps,
            "before": _increments(trained.before),
            "best": _increments(trained.best),
        }
    return record


def training_table(prepared: PreparationResult | None, trained: SpecsResult | None) -> str:
    return "".join(f"{visible(line)}\n" for line in (*_prepared_lines(prepared), *_trained_lines(trained)))


def model_line(trained: SpecsResult) -> str:
    """Return the ``--model`` argument that loads the best weights."""
    return f"{trained.folder / 'config.json'}@{trained.folder / 'best.safetensors'}"


def _prepared_lines(prepared: PreparationResult | None) -> list[str]:
    if prepared is None:
        return []
    lines = [f"{prepared.samples} samples in {prepared.folder}"]
    for reason, count in sorted(prepared.skipped.items(), key=lambda item: -item[1]):
        example = prepared.examples.get(reason)
        lines.append(f"{count} left out: {reason}" + (f" ({example})" if example else ""))
    return lines


def _increments(found: Increments | None) -> dict[str, float] | None:
    return {**found._asdict(), "average": found.average} if found else None


def _trained_lines(trained: SpecsResult | None) -> list[str]:
    if trained is None:
        return []
    lines = [f"{trained.steps} step{'s' if trained.steps != 1 else ''}, {trained.folder}"]
    if trained.skipped_steps:
        lines.append(f"{trained.skipped_steps} steps did not move the weights: gradients that were not finite")
    if trained.before and trained.best:
        lines.append("increments on held-out samples   positive  negative   average")
        for name, found in (("before", trained.before), (f"best, step {trained.best_step}", trained.best)):
            lines.append(f"  {name:<30} {found.positive:8.3f}  {found.negative:8.3f}  {found.average:8.3f}")
    return [*lines, f"--model {model_line(trained)}"]
