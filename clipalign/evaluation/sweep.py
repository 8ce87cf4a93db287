"""One benchmark under many settings: every combination a run of its own, what they share computed once.

Each run has its own folder under ``--output``, and can be resumed and compared like any other.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
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
    plain = [_folder_name(values) for values in combinations]
    return [
        f"{name}-{hashlib.sha256(repr(values).encode()).hexdigest()[:_HASH_DIGITS]}" if plain.count(name) > 1 else name
        for name, values in zip(plain, combinations, strict=True)
    ]


def _folder_name(values: Values) -> str:
    return _plain("_".join(f"{name}={value}" for name, value in values.items()))


def _plain(name: str) -> str:
    return "".join(character if character.isalnum() or character in "=_.,-+@" else "-" for character in name)


@dataclass(frozen=True, slots=True)
class Swept:
    values: Values
    result: EvalResult


def run_sweep(
    benchmark: Benchmark[Any, Any],
    load: Callable[[str], LoadedModel],
    settings: EvalSettings,
    axes: Mapping[str, Sequence[object]],
    *,
    progress: Callable[[int], None] = lambda samples: None,
) -> list[Swept]:
    """Run every combination; under ``torchrun`` the first process has the results, the others none.

    Args:
        load: the model of a name.
        settings: of all runs, where they are not swept; ``output`` holds a folder a run.
        progress: called with the number of samples just done.

    Raises:
        UsageError: a setting that means nothing to this benchmark, and all that :func:`run_benchmark` raises.
    """
    from clipalign.evaluation.evaluate import run_benchmark
    from clipalign.evaluation.score_cache import ScoreCache
    from clipalign.evaluation.tasks.words import DetectEvaluator

    check_used(benchmark, axes)

    def share(evaluator: Evaluator[Any, Any]) -> None:
        if isinstance(evaluator, DetectEvaluator):
            evaluator.share(cache)

    found: list[Swept] = []
    loaded: LoadedModel | None = None
    cache, model = ScoreCache(), ""
    runs = list(combinations(axes))
    with join_processes():  # of all runs: nobody can leave and come again while others are still measuring
        for values, name in zip(runs, folder_names(runs), strict=True):
            chosen = replace(settings, **values)  # type: ignore[arg-type]
            if settings.output is not None:
                chosen = replace(chosen, output=settings.output / name)
            if loaded is None or chosen.model != model:
                loaded = None  # before the next: two may not fit
                loaded, model, cache = load(chosen.model), chosen.model, ScoreCache()
            result = run_benchmark(benchmark, loaded, chosen, progress=progress, prepare=share)
            if result is not None:
                found.append(Swept(values, result))
    return found


def run_many(
    benchmarks: Sequence[Benchmark[Any, Any]],
    load: Callable[[str], LoadedModel],
    settings: EvalSettings,
    axes: Mapping[str, Sequence[object]],
    *,
    progress: Callable[[int], None] = lambda samples: None,
) -> list[Swept]:
    """Run every benchmark under every combination, model after model; arguments and errors as of :func:`run_sweep`.

    A benchmark's runs are in a folder of its name in ``output``. ``load`` is asked for a model once a benchmark.
    """
    for benchmark in benchmarks:
        check_used(benchmark, axes)
    found: list[Swept] = []
    with join_processes():
        for model in axes.get("model", [settings.model]):
            for benchmark in benchmarks:
                output = None if settings.output is None else settings.output / _plain(benchmark.name)
                chosen = replace(settings, output=output)
                found += run_sweep(benchmark, load, chosen, {**axes, "model": [model]}, progress=progress)
    return found
