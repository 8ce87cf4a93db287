"""One benchmark under many settings: every combination a run of its own, what they share computed once.

Each run goes through the same runner as a run alone, with a folder of its own under ``--output``; it can be resumed and
compared like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from clipalign.config.values import Settings
from clipalign.errors import UsageError
from clipalign.evaluation.evaluate import run_benchmark
from clipalign.evaluation.score_cache import Shelf
from clipalign.evaluation.sweep import Values, combinations, labels
from clipalign.evaluation.task import Benchmark, Route
from clipalign.evaluation.tasks.words import DetectRoute
from clipalign.results import EvalResult
from clipalign.runs.distributed import join_processes

if TYPE_CHECKING:
    from clipalign.models.model import LoadedModel


@dataclass(frozen=True, slots=True)
class Swept:
    """One combination and what came out.

    Attributes:
        values: of the settings that were swept.
        result: of its run.
    """

    values: Values
    result: EvalResult


def run_sweep(
    benchmark: Benchmark[Any, Any],
    load: Callable[[str], LoadedModel],
    settings: Settings,
    axes: Mapping[str, Sequence[object]],
    *,
    progress: Callable[[int], None] = lambda samples: None,
) -> list[Swept]:
    """Run every combination; under ``torchrun`` the first process has the results, the others none.

    Args:
        benchmark: what to run.
        load: the model of a name.
        settings: of all runs, where they are not swept; ``output`` holds a folder a run.
        axes: of :func:`read_axes`.
        progress: called with the number of samples just done.

    Raises:
        UsageError: a setting that means nothing to this benchmark, and all that :func:`run_benchmark` raises.
    """
    found: list[Swept] = []
    loaded: LoadedModel | None = None
    shelf, model = Shelf(), ""
    runs = list(combinations(axes))
    with join_processes():  # of all runs: nobody can leave and come again while others are still measuring
        for values, name in zip(runs, labels(runs), strict=True):
            chosen = replace(settings, **values)  # type: ignore[arg-type]
            if settings.output is not None:
                chosen = replace(chosen, output=settings.output / name)
            if loaded is None or chosen.model != model:
                loaded = None  # before the next: two may not fit
                loaded, model, shelf = load(chosen.model), chosen.model, Shelf()
            share = partial(_share, shelf=shelf, values=values)
            result = run_benchmark(benchmark, loaded, chosen, progress=progress, prepare=share)
            if result is not None:
                found.append(Swept(values, result))
    return found


def _share(route: Route[Any, Any], *, shelf: Shelf, values: Values) -> None:
    others = [name for name in values if name != "model"]
    if isinstance(route, DetectRoute):
        route.shelf = shelf
    elif others:
        raise UsageError(
            f"{', '.join(others)} cannot be swept on this benchmark", hint="only model can be", input="--sweep"
        )
