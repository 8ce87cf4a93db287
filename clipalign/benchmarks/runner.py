"""Runs a benchmark: samples in, the very ``detect`` that users call, metrics out.

Samples are scored in chunks, so that memory does not grow with the data set's pictures. With an output folder,
``samples.jsonl`` gets a line per sample as soon as it is scored, and ``result.json`` the metrics with their provenance.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import orjson

from clipalign.benchmarks.task import Benchmark, Outcome, Sample
from clipalign.errors import InputUnreadable, UsageError
from clipalign.methods.detect import DetectSettings, Pair, detect_pairs
from clipalign.report.json import encode, eval_record
from clipalign.results import EvalResult

if TYPE_CHECKING:
    from clipalign.pipeline.model import LoadedModel

CHUNK_SAMPLES: Final = 256
SAMPLES_FILE: Final = "samples.jsonl"
RESULT_FILE: Final = "result.json"


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
        UsageError: the output folder cannot be written, or holds the records of a run already.
    """
    outcomes: list[Outcome] = []
    with _records(run.output) as record:
        for chunk in _chunks(benchmark.samples(limit=run.limit, seed=run.seed)):
            pairs = [Pair(s.image, s.text, references=s.references, id=s.id, image_name=s.image_name) for s in chunk]
            results = detect_pairs(loaded, pairs, detect)
            scored = [
                Outcome(sample.id, sample.text, sample.correct, sample.part, sample.false_span, result)
                for sample, result in zip(chunk, results, strict=True)
            ]
            record(scored)
            outcomes += scored
            progress(len(chunk))
    if not outcomes:
        raise InputUnreadable(f"{benchmark.name} has no samples", hint="use --limit 1 or more", input=benchmark.name)
    provenance = outcomes[0].result.provenance
    measured = EvalResult(
        dataset=benchmark.name,
        model=outcomes[0].result.model,
        metrics=tuple(benchmark.measure(outcomes, seed=run.seed)),
        published=benchmark.published,
        counts={"samples": len(outcomes)},
        settings={**provenance.settings, "limit": run.limit, "seed": run.seed},
        provenance=provenance,
        notes=benchmark.notes,
    )
    if run.output is not None:
        (run.output / RESULT_FILE).write_bytes(encode(eval_record(measured), indent=True))
    return measured


def _chunks(samples: Iterator[Sample]) -> Iterator[tuple[Sample, ...]]:
    while chunk := tuple(itertools.islice(samples, CHUNK_SAMPLES)):
        yield chunk


@contextmanager
def _records(folder: Path | None) -> Iterator[Callable[[list[Outcome]], None]]:
    """Something that writes a line per outcome, chunk by chunk; what is written stays when the run is cut short."""
    if folder is None:
        yield lambda outcomes: None
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        file = (folder / SAMPLES_FILE).open("xb")
    except FileExistsError:
        hint = "choose another --output, or remove it"
        raise UsageError(f"{folder} already holds the records of a run", hint=hint, input=str(folder)) from None
    except OSError as error:
        raise UsageError(f"{folder} cannot be written: {error.strerror}", input=str(folder)) from None

    def write(outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            record = asdict(outcome)
            # The same in every line, and in full in result.json.
            del record["result"]["provenance"]
            file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
        file.flush()

    with file:
        yield write
