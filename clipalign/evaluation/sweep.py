"""Benchmarks under many settings: every combination a run of its own, what they share computed once.

Each run has its own folder under ``--output``, and can be resumed and compared like any other.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from clipalign.config.settings import declared, read_value
from clipalign.config.suggest import suggestion
from clipalign.data.words import Mode
from clipalign.errors import UsageError
from clipalign.evaluation.settings import SWEPT, EvalSettings
from clipalign.runs.distributed import join_processes

if TYPE_CHECKING:
    from clipalign.eval_results import EvalResult
    from clipalign.evaluation.benchmark import Benchmark, Evaluator
    from clipalign.evaluation.score_cache import ScoreCache
    from clipalign.models.model import LoadedModel

Values = dict[str, object]  # setting → value, of one combination


def read_axes(sweeps: Sequence[str]) -> dict[str, list[object]]:
    """Setting → values, from ``NAME=VALUE,VALUE``; a template may hold commas; UsageError for what is out of range."""
    settings = declared(EvalSettings)
    found: dict[str, list[object]] = {}
    for sweep in sweeps:
        name, sign, values = sweep.partition("=")
        name = name.strip().replace("-", "_")
        if name not in SWEPT or not sign:
            raise UsageError(
                f"--sweep wants NAME=VALUE,VALUE, not {sweep!r}",
                hint=suggestion(name, SWEPT) or f"NAME is one of {', '.join(SWEPT)}",
                input="--sweep",
            )
        for value in [values] if name == "template" else values.split(","):
            read = read_value(settings[name], value if name == "template" else value.strip(), origin=f"--sweep {name}")
            if read not in found.setdefault(name, []):
                found[name].append(read)
    return found


_SLOWEST_FIRST: Final = (
    "model", "template", "layers", "mode", "epsilon", "alpha", "crops", "text_logscale", "image_logscale"
)  # fmt: skip
"""Settings that are cheap to change vary fastest, so that consecutive runs share as much as they can."""


def combinations(axes: Mapping[str, Sequence[object]]) -> Iterator[Values]:
    """Every combination, those that share most after each other; mode most-negative has one run for every epsilon."""
    names = sorted(axes, key=_SLOWEST_FIRST.index)
    earlier: Values = {}
    for values in itertools.product(*(axes[name] for name in names)):
        combination = dict(zip(names, values, strict=True))
        if combination.get("mode") == Mode.MOST_NEGATIVE.value:
            combination.pop("epsilon", None)
        if combination != earlier:
            yield combination
        earlier = combination


def check_used(benchmark: Benchmark[Any, Any], axes: Mapping[str, object]) -> None:
    """Check that the benchmark uses the settings that are swept; UsageError if it does not."""
    can = [name for name in SWEPT if name == "model" or name in benchmark.options]
    others = [name for name in axes if name not in can]
    if others:
        raise UsageError(
            f"{benchmark.name} makes no use of {', '.join(others)}",
            hint=f"--sweep can go through {', '.join(can)} there",
            input="--sweep",
        )


_HASH_DIGITS: Final = 8


def folder_names(combinations: Sequence[Values]) -> list[str]:
    """Names of the combinations' folders; equal ones get a hash appended."""
    plain = [_plain("_".join(f"{name}={value}" for name, value in values.items())) for values in combinations]
    return [
        f"{name}-{hashlib.sha256(repr(values).encode()).hexdigest()[:_HASH_DIGITS]}" if plain.count(name) > 1 else name
        for name, values in zip(plain, combinations, strict=True)
    ]


def _plain(name: str) -> str:
    return "".join(character if character.isalnum() or character in "=_.,-+@" else "-" for character in name)


@dataclass(frozen=True, slots=True)
class Swept:
    values: Values
    result: EvalResult


def run_sweep(
    benchmarks: Sequence[Benchmark[Any, Any]],
    load: Callable[[str], LoadedModel],
    settings: EvalSettings,
    axes: Mapping[str, Sequence[object]],
    *,
    progress: Callable[[int], None] = lambda samples: None,
) -> list[Swept]:
    """Run every benchmark under every combination, model after model.

    Under ``torchrun`` the first process has the results, the others none.

    Args:
        load: the model of a name, asked for once a model.
        settings: of all runs, where they are not swept; ``output`` holds a folder a run, of several benchmarks in a
            folder of the benchmark's name.
        progress: called with the number of samples just done.

    Raises:
        UsageError: a setting that means nothing to a benchmark, and all that :func:`run_benchmark` raises.
    """
    from clipalign.evaluation.evaluate import run_benchmark
    from clipalign.evaluation.score_cache import ScoreCache

    for benchmark in benchmarks:
        check_used(benchmark, axes)
    several = len(benchmarks) > 1
    runs = list(combinations({"model": [settings.model], **axes} if several else axes))
    named = zip(runs, folder_names(runs), strict=True)
    found: list[Swept] = []
    with join_processes():  # of all runs: nobody can leave and come again while others are still measuring
        for model, alike in itertools.groupby(named, lambda run: str(run[0].get("model", settings.model))):
            loaded, of_model = load(model), list(alike)
            for benchmark in benchmarks:
                share = partial(_share, ScoreCache())
                for values, name in of_model:
                    chosen = replace(settings, **values)  # type: ignore[arg-type]
                    if settings.output is not None:
                        folder = _plain(benchmark.name) if several else ""
                        chosen = replace(chosen, output=settings.output / folder / name)
                    result = run_benchmark(benchmark, loaded, chosen, progress=progress, prepare=share)
                    if result is not None:
                        found.append(Swept(values, result))
            del loaded  # before the next: two may not fit
    return found


def _share(cache: ScoreCache, evaluator: Evaluator[Any, Any]) -> None:
    from clipalign.evaluation.tasks.words import DetectEvaluator

    if isinstance(evaluator, DetectEvaluator):
        evaluator.share(cache)
