"""Evaluation in one process, which always has a result."""

from __future__ import annotations

from typing import Any

from clipalign.eval_results import EvalResult
from clipalign.evaluation import evaluate
from clipalign.evaluation.benchmark import Benchmark
from clipalign.evaluation.settings import EvalSettings
from clipalign.models.model import LoadedModel


def run_benchmark(benchmark: Benchmark[Any, Any], loaded: LoadedModel, settings: EvalSettings) -> EvalResult:
    """The result of a run that no other process shares."""
    result = evaluate.run_benchmark(benchmark, loaded, settings)
    assert result is not None
    return result
