"""Runs a benchmark: samples in, the very ``detect`` that users call, metrics out.

Samples are scored in chunks, so that memory does not grow with the data set's pictures. With an output folder,
``samples.jsonl`` holds a line per sample and ``result.json`` the metrics with their provenance.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from clipalign.benchmarks.task import Benchmark, Outcome, Sample
from clipalign.errors import InputUnreadable
from clipalign.methods.detect import DetectSettings, Pair, detect_pairs
from clipalign.report.json import encode, eval_record
from clipalign.results import EvalResult

if TYPE_CHECKING:
    from clipalign.pipeline.model import LoadedModel

CHUNK_SAMPLES: Final = 256


@dataclass(frozen=True, slots=True)
class RunSettings:
    """How much of a benchmark is run, and where its records go.

    Attributes:
        limit: number of samples, None for all.
        seed: of generated samples and of the bootstrap.
        output: folder for ``samples.jsonl`` and ``result.json``, or None.
    """

    limit: int | None = None
    seed: int = 0
    output: Path | None = None


def run_benchmark(
    benchmark: Benchmark,
    loaded: LoadedModel,
    *,
    detect: DetectSettings,
    run: RunSettings,
    progress: Callable[[int], None] = lambda samples: None,
) -> EvalResult:
    """Score all samples and measure.

    Args:
        benchmark: what to run.
        loaded: the model.
        detect: settings of ``detect``.
        run: limit, seed, output.
        progress: called with the number of samples just done.

    Raises:
        InputUnreadable: the benchmark has no samples.
    """
    outcomes: list[Outcome] = []
    for chunk in _chunks(benchmark.samples(limit=run.limit, seed=run.seed)):
        pairs = [Pair(s.image, s.text, references=s.references, id=s.id, image_name=s.image_name) for s in chunk]
        results = detect_pairs(loaded, pairs, detect)
        for sample, result in zip(chunk, results, strict=True):
            outcomes.append(Outcome(sample.id, sample.text, sample.correct, sample.part, sample.false_span, result))
        progress(len(chunk))
    if not outcomes:
        raise InputUnreadable(f"{benchmark.name} has no samples", hint="use --limit 1 or more", input=benchmark.name)
    provenance = outcomes[0].result.provenance
    measured = EvalResult(
        dataset=benchmark.name,
        model=outcomes[0].result.model,
        metrics=tuple(benchmark.measure(outcomes, seed=run.seed)),
        published=benchmark.published,
        counts={"samples": len(outcomes), "unreadable": 0},
        settings={**provenance.settings, "limit": run.limit, "seed": run.seed},
        provenance=provenance,
        notes=benchmark.notes,
    )
    if run.output is not None:
        _write(run.output, outcomes, measured)
    return measured


def _chunks(samples: Iterator[Sample]) -> Iterator[tuple[Sample, ...]]:
    while chunk := tuple(itertools.islice(samples, CHUNK_SAMPLES)):
        yield chunk


def _write(folder: Path, outcomes: list[Outcome], result: EvalResult) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "samples.jsonl").open("wb") as file:
        for outcome in outcomes:
            record = asdict(outcome)
            # The same in every line, and in full in result.json.
            del record["result"]["provenance"]
            file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
    (folder / "result.json").write_bytes(encode(eval_record(result), indent=True))
