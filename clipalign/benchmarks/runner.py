"""Runs a benchmark: samples in, the route that users take too, metrics out.

Samples are scored in chunks, so that memory does not grow with the data set's pictures. A sample that cannot be read is
counted and the run goes on. With an output folder every sample leaves a line as soon as its chunk is scored, and a run
that was cut short can be taken up again (:mod:`clipalign.benchmarks.records`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from clipalign.benchmarks.records import RESULT_FILE, SampleRecords, open_records, write_whole
from clipalign.benchmarks.task import Benchmark, BrokenSample, Route, Unreadable
from clipalign.errors import ClipalignError, InputUnreadable, UsageError
from clipalign.report.json import encode, eval_record
from clipalign.results import EvalResult

if TYPE_CHECKING:
    from clipalign.pipeline.model import LoadedModel
    from clipalign.settings import Settings


def run_benchmark(
    benchmark: Benchmark[Any, Any],
    loaded: LoadedModel,
    settings: Settings,
    *,
    progress: Callable[[int], None] = lambda samples: None,
) -> EvalResult:
    """Score all samples and measure.

    Args:
        benchmark: what to run.
        loaded: the model.
        settings: of the run: how much of the benchmark, where its records go, and what the route takes from them.
        progress: called with the number of samples just done.

    Raises:
        InputUnreadable: the benchmark has no samples, or none that can be read.
        MissingDataset: the data is not there.
        UsageError: a setting out of its range, or an output folder that cannot be used; see
            :func:`clipalign.benchmarks.records.open_records`.
    """
    benchmark.check()
    route = benchmark.route(loaded, settings)
    header = _header(benchmark, route, settings)
    chunk = route.chunk_samples
    with (
        closing(route),
        open_records(
            settings.output, header, chunk=chunk, resume=settings.resume, overwrite=settings.overwrite
        ) as records,
    ):
        _check_limit(records, settings)
        found: list[Any] = []
        samples = benchmark.samples(limit=settings.limit, seed=settings.seed)
        following = tuple(itertools.islice(samples, chunk))
        while taken := following:
            following = tuple(itertools.islice(samples, chunk))
            if len(found) < records.kept_count:
                found += _remembered(route, taken, records, settings)
            else:
                for coming in (taken, following):
                    route.expect(_whole(coming))
                found += _scored(route, taken, records, on_error=settings.on_error)
            progress(len(taken))
        if len(found) < records.kept_count:
            raise _other_data(settings, f"it holds {records.kept_count} samples, the data set {len(found)}")
        result = _measured(benchmark, route, found, settings, header)
        if settings.output is not None:
            write_whole(settings.output / RESULT_FILE, encode(eval_record(result), indent=True))
    return result


def _header(benchmark: Benchmark[Any, Any], route: Route[Any, Any], settings: Settings) -> dict[str, Any]:
    ours: dict[str, Any] = {"limit": settings.limit, "seed": settings.seed, "protocol": settings.protocol or "paper"}
    if benchmark.data:
        ours["data"] = dict(benchmark.data)
    return {
        "dataset": benchmark.name,
        "model": route.provenance.model,
        "settings": {**route.provenance.settings, **ours},
        "provenance": asdict(route.provenance),
    }


def _check_limit(records: SampleRecords, settings: Settings) -> None:
    if settings.limit is not None and settings.limit < records.kept_count:
        raise UsageError(
            f"{settings.output} holds {records.kept_count} samples already, more than --limit {settings.limit}",
            hint="raise the limit, or take another --output",
            input="--limit",
        )


def _scored(
    route: Route[Any, Any], samples: Sequence[Any], records: SampleRecords, *, on_error: str | None
) -> list[Any]:
    """Outcomes of one chunk, and :class:`Unreadable` where there are none; recorded."""
    whole = _whole(samples)
    scored = iter(route.score(whole) if whole else ())
    found: list[Any] = []
    lines = []
    for sample in samples:
        outcome = sample.error if isinstance(sample, BrokenSample) else next(scored)
        if isinstance(outcome, ClipalignError):
            if on_error == "fail":
                raise outcome
            lost = Unreadable(sample.id, sample.image_name, outcome.type, outcome.message, outcome.hint)
            found.append(lost)
            error = {"type": lost.type, "message": lost.message, "hint": lost.hint or None}
            lines.append({"id": lost.id, "image": lost.image, "error": error})
        else:
            found.append(outcome)
            lines.append(route.record(outcome))
    records.write(lines)
    return found


def _whole(samples: Sequence[Any]) -> list[Any]:
    """Those that can be scored."""
    return [sample for sample in samples if not isinstance(sample, BrokenSample)]


def _remembered(
    route: Route[Any, Any], samples: Sequence[Any], records: SampleRecords, settings: Settings
) -> list[Any]:
    """The same from the records of an earlier run, which must be of these very samples."""
    found: list[Any] = []
    for sample, record in zip(samples, records.take(len(samples)), strict=True):
        if record["id"] != sample.id:
            raise _other_data(settings, f"it has {record['id']} where the data set has {sample.id}")
        try:
            if "error" in record:
                error = record["error"]
                found.append(
                    Unreadable(sample.id, sample.image_name, error["type"], error["message"], error["hint"] or "")
                )
            else:
                found.append(route.outcome(record))
        except (KeyError, TypeError, ValueError) as error:
            raise UsageError(
                f"the record of sample {sample.id} in {settings.output} is not one of this version",
                hint="--overwrite starts anew",
                input=str(settings.output),
            ) from error
    return found


def _other_data(settings: Settings, why: str) -> UsageError:
    return UsageError(
        f"{settings.output} holds a run of other data: {why}",
        hint="take the same data, another --output, or --overwrite",
        input=str(settings.output),
    )


def _measured(
    benchmark: Benchmark[Any, Any],
    route: Route[Any, Any],
    found: Sequence[Any],
    settings: Settings,
    header: dict[str, Any],
) -> EvalResult:
    if not found:
        raise InputUnreadable(f"{benchmark.name} has no samples", hint="use --limit 1 or more", input=benchmark.name)
    lost = [one for one in found if isinstance(one, Unreadable)]
    outcomes = [one for one in found if not isinstance(one, Unreadable)]
    if not outcomes:
        raise InputUnreadable(
            f"none of the {len(found):,} samples of {benchmark.name} could be read; the first: {lost[0].message}",
            hint=lost[0].hint,
            input=lost[0].image,
        )
    notes = (*benchmark.notes, *route.notes(), *_shortened(benchmark, len(found), settings.limit), *_lost(lost, found))
    return EvalResult(
        dataset=benchmark.name,
        model=route.provenance.model,
        metrics=tuple(benchmark.measure(outcomes, seed=settings.seed)),
        published=benchmark.published,
        counts={"samples": len(outcomes), "unreadable": len(lost)},
        settings=header["settings"],
        provenance=replace(route.provenance),
        notes=notes,
    )


def _shortened(benchmark: Benchmark[Any, Any], seen: int, limit: int | None) -> Iterator[str]:
    """That these are not all samples, and why."""
    if benchmark.size is None or seen >= benchmark.size:
        return
    if seen == limit:
        yield f"the first {seen:,} of {benchmark.size:,} samples, because of --limit"
    else:
        yield f"a part of the data set: {seen:,} of its {benchmark.size:,} samples are here"


def _lost(lost: Sequence[Unreadable], found: Sequence[Any]) -> Iterator[str]:
    if lost:
        yield (
            f"{len(lost):,} of {len(found):,} samples could not be read and do not count; "
            f"the first, {lost[0].id}: {lost[0].message}"
        )
