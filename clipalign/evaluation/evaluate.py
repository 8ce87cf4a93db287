"""Runs a benchmark: samples in, the route that users take too, metrics out.

Samples are scored in chunks, so that memory does not grow with the data set's pictures. A sample that cannot be read is
counted and the run goes on. With an output folder every sample leaves a line as soon as its chunk is scored, and a run
that was cut short can be taken up again (:mod:`clipalign.evaluation.load_run`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from clipalign.errors import ClipalignError, InputUnreadable, UsageError
from clipalign.evaluation.load_run import RESULT_FILE, SampleRecords, join_parts, open_records, write_whole
from clipalign.evaluation.task import NO_RECORD, Benchmark, BrokenSample, Route, Unreadable
from clipalign.output.json import encode, eval_record
from clipalign.results import EvalResult
from clipalign.runs.batch import each_alone
from clipalign.runs.distributed import Ranks, join_ranks

if TYPE_CHECKING:
    from clipalign.config.values import Settings
    from clipalign.models.model import LoadedModel


def run_benchmark(
    benchmark: Benchmark[Any, Any],
    loaded: LoadedModel,
    settings: Settings,
    *,
    progress: Callable[[int], None] = lambda samples: None,
    prepare: Callable[[Route[Any, Any]], None] = lambda route: None,
) -> EvalResult | None:
    """Score all samples and measure.

    Under ``torchrun`` each process scores its share; the first measures, and the others get None.

    Args:
        benchmark: what to run.
        loaded: the model.
        settings: of the run: how much of the benchmark, where its records go, and what the route takes from them.
        progress: called with the number of samples just done.
        prepare: called with the route before anything is scored.

    Raises:
        InputUnreadable: the benchmark has no samples, or none that can be read.
        MissingDataset: the data is not there.
        UsageError: a setting out of its range, or an output folder that cannot be used; see
            :func:`clipalign.evaluation.load_run.open_records`.
    """
    benchmark.check()
    ranks = join_ranks()
    route = benchmark.route(loaded, settings)
    prepare(route)
    header = _header(benchmark, route, settings)
    with (
        closing(ranks),
        closing(route),
        open_records(
            settings.output,
            header,
            chunk=route.chunk_samples,
            resume=settings.resume,
            overwrite=settings.overwrite,
            ranks=ranks,
        ) as records,
    ):
        _check_limit(records, settings)
        found = _all_scored(benchmark, route, records, settings, ranks, progress)
        if ranks.count > 1:
            lines = [[_line(route, one) for one in chunk] for chunk in found]
            gathered = _in_turns(ranks.gather(lines))
            if not ranks.first:
                return None
            found = [[_from_line(route, line) for line in chunk] for chunk in gathered]
            if settings.output is not None:
                join_parts(settings.output, [line for chunk in gathered for line in chunk])
        try:
            result = _measured(benchmark, route, [one for chunk in found for one in chunk], settings, header)
        except NO_RECORD as error:
            if not records.kept_count:
                raise
            raise UsageError(
                f"records in {settings.output} are not ones of this version",
                hint="--overwrite starts anew",
                input=str(settings.output),
            ) from error
        if settings.output is not None:
            write_whole(settings.output / RESULT_FILE, encode(eval_record(result), indent=True))
    return result


def _all_scored(
    benchmark: Benchmark[Any, Any],
    route: Route[Any, Any],
    records: SampleRecords,
    settings: Settings,
    ranks: Ranks,
    progress: Callable[[int], None],
) -> list[list[Any]]:
    """Outcomes of this process's chunks, in their order."""
    found: list[list[Any]] = []
    done = 0
    chunks = _chunks(benchmark.samples(limit=settings.limit, seed=settings.seed), route.chunk_samples, ranks)
    following = next(chunks, ())
    while taken := following:
        following = next(chunks, ())
        if done < records.kept_count:
            found.append(_remembered(route, taken, records, settings))
        else:
            for coming in (taken, following):
                route.expect(_whole(coming))
            found.append(_scored(route, taken, records, on_error=settings.on_error))
        done += len(taken)
        progress(len(taken) * ranks.count)  # the others are about as far
    if done < records.kept_count:
        raise _other_data(settings, f"it holds {records.kept_count} samples, the data set {done}")
    return found


def _chunks(samples: Iterator[Any], size: int, ranks: Ranks) -> Iterator[tuple[Any, ...]]:
    """The chunks that are this process's."""
    for number in itertools.count():
        taken = tuple(itertools.islice(samples, size))
        if not taken:
            return
        if ranks.has(number):
            yield taken


def _in_turns(parts: Sequence[Sequence[Any]]) -> list[Any]:
    """Chunks of all processes, as they were dealt."""
    rounds = itertools.zip_longest(*parts)
    return [chunk for chunks in rounds for chunk in chunks if chunk is not None]


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
    scored = iter(each_alone(route.score, whole, "the sample") if whole else ())
    found: list[Any] = []
    for sample in samples:
        outcome = sample.error if isinstance(sample, BrokenSample) else next(scored)
        if isinstance(outcome, ClipalignError):
            if on_error == "fail":
                raise outcome
            found.append(Unreadable(sample.id, sample.image_name, outcome.type, outcome.message, outcome.hint))
        else:
            found.append(outcome)
    records.write([_line(route, one) for one in found])
    return found


def _whole(samples: Sequence[Any]) -> list[Any]:
    """Those that can be scored."""
    return [sample for sample in samples if not isinstance(sample, BrokenSample)]


def _remembered(
    route: Route[Any, Any], samples: Sequence[Any], records: SampleRecords, settings: Settings
) -> list[Any]:
    """The same from the records of an earlier run, which must be of these very samples."""
    found: list[Any] = []
    kept = records.take(len(samples))
    for sample, record in zip(samples, kept, strict=False):
        if record.get("id") != sample.id:
            raise _other_data(settings, f"it has {record.get('id')} where the data set has {sample.id}")
        try:
            found.append(_from_line(route, record))
        except NO_RECORD as error:
            raise UsageError(
                f"the record of sample {sample.id} in {settings.output} is not one of this version",
                hint="--overwrite starts anew",
                input=str(settings.output),
            ) from error
    return found


def _line(route: Route[Any, Any], one: Any) -> dict[str, Any]:
    """What is recorded of an outcome, or of a sample without one."""
    if isinstance(one, Unreadable):
        error = {"type": one.type, "message": one.message, "hint": one.hint or None}
        return {"id": one.id, "image": one.image, "error": error}
    return route.record(one)


def _from_line(route: Route[Any, Any], line: dict[str, Any]) -> Any:
    if "error" in line:
        error = line["error"]
        return Unreadable(line["id"], line["image"], error["type"], error["message"], error["hint"] or "")
    return route.outcome(line)


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
        raise InputUnreadable(
            f"{benchmark.name} has no samples", hint="is the data set complete?", input=benchmark.name
        )
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
