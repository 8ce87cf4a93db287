"""A toy benchmark: numbers that are halved, and a run over them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from clipalign.errors import ClipalignError, ImageUnreadable, InputUnreadable
from clipalign.eval_results import EvalResult
from clipalign.evaluation import metrics
from clipalign.evaluation.benchmark import Benchmark, BrokenSample, Evaluator, Outcome
from clipalign.evaluation.evaluate import run_benchmark
from clipalign.evaluation.settings import EvalSettings
from clipalign.results import Provenance

PROVENANCE = Provenance("m", "a", "hash", False, "cpu", "fp32", 0, {"clipalign": "1"}, {"scale": 2.0})
NOBODY: Any = None


@dataclass(frozen=True, slots=True)
class Number:
    """A sample: a number, which the toy evaluator halves."""

    id: str
    image_name: str
    value: int
    image: bytes = b""


@dataclass(frozen=True, slots=True)
class Half(Outcome):
    """An outcome."""

    half: float


class Halving(Evaluator[Number, Half]):
    """Halves numbers and adds a tenth, three at a time, and cannot read negative ones."""

    chunk_samples = 3

    def __init__(self, provenance: Provenance = PROVENANCE) -> None:
        self.provenance = provenance
        self.scored: list[str] = []
        self.fails_at = ""

    def score(self, samples: Sequence[Number]) -> list[Half | ClipalignError]:
        found: list[Half | ClipalignError] = []
        for sample in samples:
            if sample.id == self.fails_at:
                raise KeyboardInterrupt
            self.scored.append(sample.id)
            if sample.value < 0:
                found.append(ImageUnreadable(f"there is no file {sample.image_name}", hint="look again"))
            else:
                found.append(Half(sample.id, sample.value / 2 + 0.1))
        return found


class Halves(Benchmark[Number, Half]):
    """Numbers from 0 on; the mean of their halves."""

    name = "halves"
    outcome_type = Half
    size = 10

    def __init__(self, *values: int, evaluator: Halving | None = None, broken: int = -1) -> None:
        self.values: tuple[int, ...] = values or tuple(range(10))
        super().__init__(Path())
        self.halving = evaluator or Halving()
        self.broken = broken

    def samples(self, *, limit: int | None, seed: int) -> Iterator[Number | BrokenSample]:
        for place, value in enumerate(self.values[:limit]):
            if place == self.broken:
                yield BrokenSample(f"n{value}", f"{value}.png", InputUnreadable("line 7 is no JSON"))
            else:
                yield Number(f"n{value}", f"{value}.png", value)

    def evaluator(self, loaded: Any, settings: EvalSettings) -> Halving:
        return self.halving

    def statistics(self, outcomes: Sequence[Half]) -> list[metrics.Statistic]:
        return [metrics.mean("half", [outcome.id for outcome in outcomes], [outcome.half for outcome in outcomes])]


def run(benchmark: Benchmark[Any, Any], **settings: Any) -> EvalResult:
    result = run_benchmark(benchmark, NOBODY, EvalSettings(**settings))
    assert result is not None
    return result


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]


def interrupted(folder: Path, *, at: str) -> None:
    """A run that ends when it comes to sample ``at``."""
    evaluator = Halving()
    evaluator.fails_at = at
    with pytest.raises(KeyboardInterrupt):
        run(Halves(evaluator=evaluator), output=folder)
