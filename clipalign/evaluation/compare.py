"""Compare two runs of one benchmark, sample by sample, or two outputs of ``detect`` or ``score-long``, by picture.

Metrics are over what both have, and the bootstrap draws the same samples for both. Where a sample is either right or
wrong, the test is McNemar's, exact, on the samples that only one of the two got right; of other means it is the paired
permutation test; else the p-value comes from the bootstrap.

The second is worse by a metric whose interval is clear of the margin and whose p-value is below 0.1 by the number of
metrics: of two that are equally good, at most one in twenty is called worse.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from math import comb
from pathlib import Path
from typing import Any, Final

import numpy as np
import orjson

from clipalign.data.outputs import read_outputs
from clipalign.errors import UsageError
from clipalign.eval_results import ComparedMetric, Comparison
from clipalign.evaluation.benchmark import RECORD_ERRORS
from clipalign.evaluation.load_run import FinishedRun, load_run
from clipalign.evaluation.metrics import BOOTSTRAP_DRAWS, INTERVAL_PERCENT, Array, Statistic, mean
from clipalign.files import is_file, read_text_bytes

MANY: Final = "p-values are each metric's own: with several metrics, some are small by luck"
MANY_METRICS: Final = 3

ROUNDING: Final = 1e-6
"""Scores of one picture and text from two batches are this far apart at most, at fp32."""

SIGNIFICANCE: Final = 0.05
"""Probability that the second of two equally good ones is called worse, by any metric."""

DETECT_METRICS: Final[dict[str, Callable[[Mapping[str, Any]], float]]] = {
    "clip_score": lambda record: record["clip_score"],
    "f_clip_score": lambda record: record["f_clip_score"],
    "with_misaligned_words": lambda record: bool(record["misaligned"]),
}
LONG_METRICS: Final[dict[str, Callable[[Mapping[str, Any]], float]]] = {
    "specs_score": lambda record: record["specs_score"],
    "with_lowering_sentences": lambda record: any(sentence["lowers"] for sentence in record["sentences"]),
}
LOWER_IS_BETTER: Final = ("with_misaligned_words", "with_lowering_sentences")


def compare(first: Path, second: Path, *, seed: int = 0, margin: float = 0.0) -> Comparison:
    """Compare two runs of ``eval``, or two outputs of ``detect`` or ``score-long``; differences are second minus first.

    ``margin`` is what a metric may be worse by, in its own unit.

    Raises:
        UsageError: one cannot be read, or they have nothing in common.
        InputUnreadable: a damaged output.
    """
    outputs = [_is_output(path) for path in (first, second)]
    if outputs[0] != outputs[1]:
        hint = "give two results of eval, or two outputs of detect or score-long"
        raise UsageError("a result of eval cannot be compared with an output", hint=hint, input="--compare")
    found = compare_outputs(first, second, seed=seed) if outputs[0] else compare_runs(first, second, seed=seed)
    return replace(found, worse=tuple(worse_metrics(found.metrics, margin=margin)))


def _is_output(path: Path) -> bool:
    """Return whether a file holds records; a result of ``eval`` names its data set."""
    if not is_file(path) or path.suffix.lower() != ".json":
        return is_file(path)
    try:
        document = orjson.loads(read_text_bytes(path))
    except (OSError, orjson.JSONDecodeError):
        return False  # said when it is read as a result
    return isinstance(document, dict) and ("results" in document or "image" in document)


def worse_metrics(metrics: Sequence[ComparedMetric], *, margin: float) -> Iterator[str]:
    """Yield the metrics by which the second is worse by more than ``margin``."""
    for metric in metrics:
        if metric.p_value is None or metric.low is None or metric.high is None:
            continue
        lower = metric.name in LOWER_IS_BETTER
        clear = metric.low > margin if lower else metric.high < -margin
        if clear and metric.p_value <= 2 * SIGNIFICANCE / len(metrics):
            yield metric.name


def compare_outputs(first: Path, second: Path, *, seed: int = 0) -> Comparison:
    """Compare two outputs of one command, matched by picture, or by id where no picture is in both."""
    records = [list(read_outputs(path)) for path in (first, second)]
    for path, one in zip((first, second), records, strict=True):
        if not one:
            raise UsageError(f"{path} has no record with scores", hint="compare others", input="--compare")
    try:
        metrics, notes = compare_records(*records, seed=seed)
    except RECORD_ERRORS as error:
        raise UsageError(
            f"{first} and {second} are not of one command, or one is damaged",
            hint="give two outputs of detect, or two of score-long",
            input="--compare",
        ) from error
    origins: list[dict[str, Any]] = [one[0].get("provenance") or {} for one in records]
    return Comparison(
        dataset="",
        models=(str(records[0][0]["model"]), str(records[1][0]["model"])),
        places=(str(first), str(second)),
        metrics=metrics,
        differing=tuple(differing(*({**one.get("settings", {}), "model": one.get("model")} for one in origins))),
        notes=notes,
    )


def compare_records(
    first: Sequence[Mapping[str, Any]], second: Sequence[Mapping[str, Any]], *, seed: int
) -> tuple[tuple[ComparedMetric, ...], tuple[str, ...]]:
    """Return the metrics over pictures that both have, a picture with several records by their mean, and notes."""
    key = "image"
    if {one[key] for one in first}.isdisjoint(one[key] for one in second):
        key = "id"
    sides = [_grouped(records, key) for records in (first, second)]
    shared = [name for name in sides[0] if name in sides[1]]
    if not shared:
        raise UsageError("the two outputs share no picture and no id", hint="compare others", input="--compare")
    found = []
    for name, value in (DETECT_METRICS if "misaligned" in first[0] else LONG_METRICS).items():
        one, other = (
            mean(name, shared, [sum(map(value, side[at])) / len(side[at]) for at in shared]) for side in sides
        )
        found.append(_compared(one, other, seed))
    counts = [len(side) for side in sides]
    partly = f"over the {len(shared):,} {key}s that both have, of {counts[0]:,} and {counts[1]:,}"
    return tuple(found), (() if counts == [len(shared)] * 2 else (partly,))


def _grouped(records: Sequence[Mapping[str, Any]], key: str) -> dict[str, list[Mapping[str, Any]]]:
    groups: dict[str, list[Mapping[str, Any]]] = {}
    for record in records:
        groups.setdefault(record[key], []).append(record)
    return groups


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
        differing=tuple(differing(*(run.document.get("settings") or {} for run in runs))),
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
    elif first is not None and second is not None:
        p_value, test = permutation(second - first, seed), "permutation"
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


def permutation(differences: Array, seed: int) -> float:
    """The two-sided p-value of the paired permutation test: the signs of the ``differences`` (N) are drawn anew.

    Differences within the rounding of fp32 are none: else their signs would break ties at random.
    """
    differences = np.where(abs(differences) < ROUNDING, 0.0, differences)
    generator, whole = np.random.default_rng(seed), abs(differences.sum())
    drawn = (abs(generator.choice((-1.0, 1.0), len(differences)) @ differences) for _ in range(BOOTSTRAP_DRAWS))
    reached = sum(one >= whole * (1 - 1e-12) for one in drawn)
    return float((reached + 1) / (BOOTSTRAP_DRAWS + 1))


def _p_value(differences: Array) -> float:
    """Twice the share of the bootstrap on the other side of zero; at least what so many draws can show."""
    beyond = min(int((differences <= 0).sum()), int((differences >= 0).sum()))
    return min(1.0, 2 * (beyond + 1) / (BOOTSTRAP_DRAWS + 1))


def differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[tuple[str, object, object]]:
    """Yield what two sets of settings do not share: name, value of the one, of the other; None where it is missing."""
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
