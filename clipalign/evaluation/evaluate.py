"""Run a benchmark: samples in, the evaluator that commands use too, metrics out.

Samples are scored in chunks, so that memory is bounded. Unreadable samples are counted. With an output folder, each
sample is recorded when its chunk is scored, and an interrupted run can be resumed
(:mod:`clipalign.evaluation.load_run`).
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

from clipalign.errors import ClipalignError, InputUnreadable, UsageError
from clipalign.eval_results import EvalResult
from clipalign.evaluation.benchmark import RECORD_ERRORS, Benchmark, BrokenSample, Evaluator, Unreadable
from clipalign.evaluation.load_run import RESULT_FILE, SampleLog, open_samples
from clipalign.files import write_whole
from clipalign.output.json import encode
from clipalign.runs.batch import each_alone
from clipalign.runs.distributed import Processes, join_processes

if TYPE_CHECKING:
    from clipalign.evaluation.settings import EvalSettings
    from clipalign.models.model import LoadedModel

OF_THE_WHOLE: Final = "published numbers are left out: they are of the whole data set as published"


def run_benchmark(
    benchmark: Benchmark[Any, Any],
    loaded: LoadedModel,
    settings: EvalSettings,
    *,
    progress: Callable[[int], None] = lambda samples: None,
    prepare: Callable[[Evaluator[Any, Any]], None] = lambda evaluator: None,
) -> EvalResult | None:
    """Score all samples and measure; under ``torchrun`` all processes score, and all but the first return None.

    ``progress`` is called with the number of samples just done, ``prepare`` with the evaluator before anything is
    scored.

    Raises:
        InputUnreadable: the benchmark has no samples, or none that can be read.
        MissingDataset: the data is missing.
        UsageError: a setting out of its range, or an unusable output folder (see :func:`load_run.open_samples`).
    """
    benchmark.check()
    evaluator = benchmark.evaluator(loaded, settings)
    prepare(evaluator)
    header = _header(benchmark, evaluator, settings)
    resume, overwrite = settings.resume, settings.overwrite
    with join_processes() as processes, closing(evaluator):
        folder = settings.output if processes.is_first else None
        with open_samples(folder, header, chunk=evaluator.chunk_samples, resume=resume, overwrite=overwrite) as log:
            kept = processes.broadcast(log.kept)
            found = _score_all(
                benchmark, evaluator, settings, log=log, kept=kept, processes=processes, progress=progress
            )
            if not processes.is_first:
                return None
            try:
                result = _measured(benchmark, evaluator, found, settings, header)
            except RECORD_ERRORS as error:
                if not kept:
                    raise
                raise _other_version(settings, "records") from error
            if folder is not None:
                write_whole(folder / RESULT_FILE, encode(result.to_dict(), indent=True))
    return result


def _score_all(
    benchmark: Benchmark[Any, Any],
    evaluator: Evaluator[Any, Any],
    settings: EvalSettings,
    *,
    log: SampleLog,
    kept: int,
    processes: Processes,
    progress: Callable[[int], None],
) -> list[Any]:
    """Outcomes of all samples in order, for the first process; the ``kept`` first ones are those of an earlier run.

    Chunks are scored in rounds, one a process, each composed as in a run of one process, so that the numbers are the
    same to the last digit. The first process gathers and writes them.
    """
    if settings.limit is not None and settings.limit < kept:
        raise UsageError(
            f"{settings.output} holds {kept} samples already, more than --limit {settings.limit}",
            hint="raise the limit, or take another --output",
            input="--limit",
        )
    samples = benchmark.samples(limit=settings.limit, seed=settings.seed)
    earlier = itertools.islice(samples, kept)
    found = _reread(benchmark, evaluator, earlier, log, kept, settings) if processes.is_first else []
    deque(earlier, maxlen=0)  # where this process did not go through them
    progress(kept)
    chunks = iter(lambda: tuple(itertools.islice(samples, evaluator.chunk_samples)), ())
    rounds = iter(lambda: tuple(itertools.islice(chunks, processes.size)), ())
    following = next(rounds, ())
    while taken := following:
        following = next(rounds, ())
        mine = taken[processes.rank] if processes.rank < len(taken) else ()
        for coming in (mine, following[processes.rank] if processes.rank < len(following) else ()):
            evaluator.expect(_whole(coming))
        outcomes = score_chunk(evaluator, mine, on_error=settings.on_error)
        parts = processes.gather([one.record() for one in outcomes])
        log.append([line for part in parts for line in part])
        found += outcomes
        found += [benchmark.outcome(line, evaluator.provenance) for part in parts[1:] for line in part]
        progress(sum(map(len, taken)))
    return found


def _header(benchmark: Benchmark[Any, Any], evaluator: Evaluator[Any, Any], settings: EvalSettings) -> dict[str, Any]:
    ours: dict[str, Any] = {"limit": settings.limit, "seed": settings.seed, "protocol": settings.protocol or "paper"}
    if benchmark.data:
        ours["data"] = dict(benchmark.data)
    return {
        "dataset": benchmark.name,
        "model": evaluator.provenance.model,
        "settings": {**evaluator.provenance.settings, **ours},
        "provenance": asdict(evaluator.provenance),
    }


def score_chunk(evaluator: Evaluator[Any, Any], samples: Sequence[Any], *, on_error: str | None) -> list[Any]:
    """Outcomes of one chunk, and :class:`Unreadable` where there are none."""
    whole = _whole(samples)
    scored = iter(each_alone(evaluator.score, whole, "the sample") if whole else ())
    found: list[Any] = []
    for sample in samples:
        outcome = sample.error if isinstance(sample, BrokenSample) else next(scored)
        if isinstance(outcome, ClipalignError):
            if on_error == "fail":
                raise outcome
            outcome = Unreadable(sample.id, sample.image_name, outcome.type, outcome.message, outcome.hint)
        found.append(outcome)
    return found


def _whole(samples: Sequence[Any]) -> list[Any]:
    return [sample for sample in samples if not isinstance(sample, BrokenSample)]


def _reread(
    benchmark: Benchmark[Any, Any],
    evaluator: Evaluator[Any, Any],
    samples: Iterator[Any],
    log: SampleLog,
    kept: int,
    settings: EvalSettings,
) -> list[Any]:
    """Outcomes from the records of an earlier run, which must be of these very samples."""
    found: list[Any] = []
    for sample, record in zip(samples, log.earlier(), strict=False):
        if record["id"] != sample.id:
            raise _other_data(settings, f"it has {record['id']} where the data set has {sample.id}")
        try:
            found.append(benchmark.outcome(record, evaluator.provenance))
        except RECORD_ERRORS as error:
            raise _other_version(settings, f"the record of sample {sample.id}") from error
    if len(found) < kept:
        raise _other_data(settings, f"it holds {kept} samples, the data set {len(found)}")
    return found


def _other_data(settings: EvalSettings, why: str) -> UsageError:
    return UsageError(
        f"{settings.output} holds a run of other data: {why}",
        hint="take the same data, another --output, or --overwrite",
        input=str(settings.output),
    )


def _other_version(settings: EvalSettings, what: str) -> UsageError:
    return UsageError(
        f"{settings.output} was written by another version: {what} cannot be read",
        hint="--overwrite starts anew",
        input=str(settings.output),
    )


def _measured(
    benchmark: Benchmark[Any, Any],
    evaluator: Evaluator[Any, Any],
    found: Sequence[Any],
    settings: EvalSettings,
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
    parts = (*_shortened(benchmark, len(found), settings.limit), *_lost(lost, found))
    published = benchmark.published if benchmark.of_papers and not parts else ()
    left_out = (OF_THE_WHOLE,) if benchmark.published and not published else ()
    return EvalResult(
        dataset=benchmark.name,
        model=evaluator.provenance.model,
        metrics=tuple(benchmark.measure(outcomes, seed=settings.seed)),
        published=published,
        counts={"samples": len(outcomes), "unreadable": len(lost)},
        settings=header["settings"],
        provenance=replace(evaluator.provenance),
        notes=(*benchmark.notes, *evaluator.notes(outcomes), *parts, *left_out),
    )


def _shortened(benchmark: Benchmark[Any, Any], seen: int, limit: int | None) -> Iterator[str]:
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
