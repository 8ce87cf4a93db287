"""How fast ``eval`` is on nocaps-FOIL against one caption at a time; architecture ViT-B/32, random weights, on the CPU.

    python -m tests.benchmarks.eval_speed

Baseline is the straightforward program of :mod:`tests.benchmarks.subjects`: read the picture, run both towers in
gradient mode over the whole context, ask for each of the k gradients by itself. It scores no references; a second
baseline encodes them too, one by one, as RefCLIPScore needs. Ours is the whole run, from files to result.json: reading,
decoding, scoring with and without references, records, metrics and their intervals. Captions are those of the real file
where it is, pictures are drawn as JPEG of 640 × 480.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any, Final

from clipalign.data.images import open_image
from clipalign.data.transforms import to_tensor
from clipalign.evaluation.benchmark import BrokenSample, CaptionSample
from clipalign.evaluation.evaluate import run_benchmark
from clipalign.evaluation.registry import BENCHMARKS
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.foil import NocapsFoil
from clipalign.models.model import LoadedModel
from tests.benchmarks.measure import Bench, Measured, Reading, Row, alone
from tests.benchmarks.subjects import NOCAPS, ids_of, one_by_one, random_vit_b_32
from tests.parity.oracle import with_gradients
from tests.word_datasets import nocaps_rows, picture, word_set

BASELINE_PAIRS: Final = 12
GOAL: Final = 5.0
ROWS: Final = 2500
"""Of nocaps-FOIL, two captions each."""


class WithoutReferences(NocapsFoil):
    """The same captions, and no RefCLIPScore."""

    def samples(self, *, limit: int | None, seed: int) -> Any:
        """Samples whose references are left out."""
        for sample in super().samples(limit=limit, seed=seed):
            yield sample if isinstance(sample, BrokenSample) else replace(sample, references=())


def write_data(folder: Path, number: int) -> None:
    """Rows of the real file where it is, and a picture for each."""
    rows: list[dict[str, Any]] = (
        json.loads(NOCAPS.read_text(encoding="utf-8")) if NOCAPS.exists() else nocaps_rows(number)
    )
    rows = rows[:: max(1, len(rows) // number)][:number]
    (folder / "images").mkdir()
    for row in rows:
        picture(row["image_path"], (640, 480)).save(folder / "images" / row["image_path"], "JPEG", quality=90)
    (folder / "nocaps-val-foil.json").write_text(json.dumps(rows), encoding="utf-8")


def score_one_by_one(loaded: LoadedModel, samples: Sequence[CaptionSample], *, references: bool) -> None:
    """The baseline."""
    network = with_gradients(loaded.network)
    for sample in samples:
        assert isinstance(sample.image, Path)
        one_by_one(network, loaded, to_tensor(open_image(sample.image, exif=False), loaded), sample.text)
        for reference in sample.references if references else ():
            network.encode_text(ids_of(loaded, reference)[None])


def measure_run(bench: Bench, loaded: LoadedModel, folder: Path, *, references: bool, rounds: int) -> Row:
    """One benchmark over the data of ``folder``."""
    row = dict(BENCHMARKS["nocaps-foil"])
    del row["class"]
    benchmark = word_set("nocaps-foil", folder) if references else WithoutReferences(folder, **row)
    benchmark.check()
    samples = [one for one in benchmark.samples(limit=None, seed=0) if isinstance(one, CaptionSample)]
    few = samples[: bench.of(BASELINE_PAIRS, 4)]
    numbers = count()

    def ours() -> None:
        output = folder / f"run-{references}-{next(numbers)}"
        result = run_benchmark(benchmark, loaded, EvalSettings(output=output))
        assert result is not None and result.counts["samples"] == len(samples)

    def baseline() -> None:
        score_one_by_one(loaded, few, references=references)

    baseline()
    turns = bench.turns(baseline, len(few), ours, len(samples), rounds=rounds, warm=False)
    with_references = ", with nine references each" if references else ""
    return turns.row(
        f"eval-{'references' if references else 'plain'}",
        f"`eval --dataset nocaps-foil`, {len(samples):,} captions{with_references}",
        "a pair at a time with full autograd",
        Reading.TIMES,
        bench,
        goal=GOAL,
        item="caption",
    )


def measure(bench: Bench) -> Measured:
    """Without references on either side, and with them on both."""
    loaded = random_vit_b_32()
    rows = []
    for references, number, rounds in ((False, bench.of(ROWS, 40), 1), (True, bench.of(250, 20), 3)):
        with tempfile.TemporaryDirectory() as name:
            write_data(Path(name), number)
            rows.append(measure_run(bench, loaded, Path(name), references=references, rounds=rounds))
    source = NOCAPS.name if NOCAPS.exists() else "made-up rows of its form"
    return Measured(rows, [f"captions of {source}; from files to result.json, metrics and intervals included"])


if __name__ == "__main__":
    alone(measure, __doc__)
