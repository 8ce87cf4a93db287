"""Compare two runs of one benchmark, sample by sample.

Metrics are over the samples that both runs could read, and the bootstrap draws the same samples for both. Where a
sample is either right or wrong, the test is McNemar's, exact, on the samples that only one of the two got right; else
the p-value comes from the bootstrap.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import comb
from pathlib import Path
from typing import Any, Final

import numpy as np

from clipalign.errors import UsageError
from clipalign.eval_results import ComparedMetric, Comparison
from clipalign.evaluation.benchmark import RECORD_ERRORS
from clipalign.evaluation.load_run import FinishedRun, load_run
from clipalign.evaluation.metrics import BOOTSTRAP_DRAWS, INTERVAL_PERCENT, Array, Statistic

MANY: Final = "p-values are each metric's own: with several metrics, some are small by luck"
MANY_METRICS: Final = 3


def compare_runs(first: Path, second: Path, *, seed: int = 0) -> Comparison:
    """Compare the runs in two folders, or with these ``result.json``; differences are second minus first.

    UsageError if a run cannot be read, or they are of different benchmarks or share no sample.
    """
    runs = load_run(first), load_run(second)
    names = [str(run.document["dataset"]) for run in runs]
    if names[0] != names[1]:
        raise UsageError(
            f"a run of {names[0]} cannot be compared with one of {names[1]}",
            hint="give two runs of one data set",
            input="--compare",
        )
    shared = [id for id in runs[0].outcomes if id in runs[1].outcomes]
    if not shared:
        raise UsageError("the two runs share no sample", hint="were they run with different seeds?", input="--compare")
    try:
        metrics = tuple(_compared_metrics(runs, shared, seed))
    except RECORD_ERRORS as error:
        raise UsageError(
            f"the runs in {runs[0].folder} and {runs[1].folder} cannot be compared: one is damaged",
            hint="--resume of a run repairs it",
            input="--compare",
        ) from error
    return Comparison(
        dataset=names[0],
        models=(str(runs[0].document["model"]), str(runs[1].document["model"])),
        places=(str(runs[0].folder), str(runs[1].folder)),
        metrics=metrics,
        differing=tuple(_differing(*(run.document.get("settings") or {} for run in runs))),
        notes=tuple(_notes(runs, len(shared), metrics)),
    )


def _compared_metrics(runs: tuple[FinishedRun, FinishedRun], shared: list[str], seed: int) -> Iterator[ComparedMetric]:
    ones, others = (run.benchmark.statistics([run.outcomes[id] for id in shared]) for run in runs)
    by_name = {statistic.name: statistic for statistic in others}
    for one in ones:
        other = by_name.get(one.name)
        if other is None:
            continue
        if other.ids != one.ids:  # a counting that leaves samples out, each run its own
            known = set(other.ids)
            both = [id for id in one.ids if id in known]
            if not both:
                continue
            one, other = one.over(both), other.over(both)
        yield _compared(one, other, seed)


def _compared(one: Statistic, other: Statistic, seed: int) -> ComparedMetric:
    differences = other.draws(seed) - one.draws(seed)
    low, high = np.percentile(differences, INTERVAL_PERCENT)
    values = one.value(), other.value()
    first, second = one.per_sample, other.per_sample
    if first is not None and second is not None and np.isin([first, second], (0.0, 1.0)).all():
        p_value, test = mcnemar(first > second, second > first), "mcnemar"
    else:
        p_value, test = _p_value(differences) if values[0] != values[1] else 1.0, "bootstrap"
    return ComparedMetric(one.name, *values, len(one.ids), float(low), float(high), p_value, test)


def mcnemar(first_only: Array, second_only: Array) -> float:
    """The exact two-sided p-value of McNemar's test; samples (N) that only the first, only the second got right."""
    fewer, more = sorted((int(first_only.sum()), int(second_only.sum())))
    whole = fewer + more
    # Whole numbers first: 2**whole outgrows a float.
    tail = sum(comb(whole, count) for count in range(fewer + 1))
    return min(1.0, float(2 * tail / 2**whole))


def _p_value(differences: Array) -> float:
    """Twice the share of the bootstrap on the other side of zero; at least what so many draws can show."""
    beyond = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (BOOTSTRAP_DRAWS + 1))


def _differing(one: dict[str, Any], other: dict[str, Any]) -> Iterator[tuple[str, object, object]]:
    for name in [*one, *(name for name in other if name not in one)]:
        if one.get(name) != other.get(name):
            yield name, one.get(name), other.get(name)


def _notes(runs: tuple[FinishedRun, FinishedRun], shared: int, metrics: tuple[ComparedMetric, ...]) -> Iterator[str]:
    counts = [len(run.outcomes) for run in runs]
    if counts != [shared, shared]:
        yield f"over the {shared:,} samples that both runs have, of {counts[0]:,} and {counts[1]:,}"
    data = [(run.document.get("settings") or {}).get("data") for run in runs]
    if data[0] != data[1]:
        yield "the runs read different versions of the data set's files"
    if len(metrics) > MANY_METRICS:
        yield MANY
