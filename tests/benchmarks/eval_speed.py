"""How fast ``eval`` is on nocaps-FOIL against one caption at a time; architecture ViT-B/32, random weights, on the CPU.

    python -m tests.benchmarks.eval_speed --rows 2500

Baseline is the straightforward program of :mod:`tests.benchmarks.detect_speed`: read the picture, run both towers in
gradient mode over the whole context, ask for each of the k gradients by itself. It scores no references; a second
baseline encodes them too, one by one, as RefCLIPScore needs. Ours is the whole run, from files to result.json: reading,
decoding, scoring with and without references, records, metrics and their intervals. Baseline and ours take turns.
Captions are those of the real file where it is, pictures are drawn as JPEG of 640 × 480. ``--clock cpu --threads 1``
counts the process's own time, for a busy machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table

from clipalign.benchmarks.nocaps_foil import NocapsFoil
from clipalign.benchmarks.runner import run_benchmark
from clipalign.benchmarks.task import BrokenSample, Sample
from clipalign.methods.detect import DEFAULT_TEMPLATE
from clipalign.pipeline.images import open_image, to_tensor
from clipalign.pipeline.loaded import LoadedModel
from clipalign.pipeline.text import encode_text
from clipalign.settings import Settings
from tests.benchmarks.detect_speed import CLOCKS, LAYERS, NOCAPS, random_vit_b_32
from tests.parity.oracle import relevance, with_gradients
from tests.word_datasets import nocaps_rows, picture

BASELINE_PAIRS = 6
GOAL = 5.0


class WithoutReferences(NocapsFoil):
    """The same captions, and no RefCLIPScore."""

    def samples(self, *, limit: int | None, seed: int) -> Any:
        """Samples whose references are left out."""
        for sample in super().samples(limit=limit, seed=seed):
            yield sample if isinstance(sample, BrokenSample) else replace(sample, references=())


def write_data(folder: Path, count: int) -> None:
    """Rows of the real file where it is, and a picture for each."""
    rows: list[dict[str, Any]] = json.loads(NOCAPS.read_text()) if NOCAPS.exists() else nocaps_rows(count)
    rows = rows[:: max(1, len(rows) // count)][:count]
    (folder / "images").mkdir()
    for row in rows:
        picture(row["image_path"], (640, 480)).save(folder / "images" / row["image_path"], "JPEG", quality=90)
    (folder / "nocaps-val-foil.json").write_text(json.dumps(rows))


def one_by_one(loaded: LoadedModel, samples: Sequence[Sample], *, references: bool) -> None:
    """The baseline."""
    network = with_gradients(loaded.network)
    for sample in samples:
        assert isinstance(sample.image, Path)
        tensor = to_tensor(open_image(sample.image, exif=False), loaded)
        image = network.encode_image(tensor[None], normalize=True)[0]
        relevance(network, image, _ids(loaded, sample.text), layers=LAYERS)
        if references:
            for reference in sample.references:
                network.encode_text(_ids(loaded, reference)[None])


def _ids(loaded: LoadedModel, text: str) -> torch.Tensor:
    tokens = encode_text(loaded, DEFAULT_TEMPLATE + text)
    return torch.tensor(tokens.ids + tokens.padding)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=2500, help="of nocaps-FOIL; two captions each")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    clock, loaded = CLOCKS[arguments.clock], random_vit_b_32()
    table = Table("captions", "one by one, ms", "eval, ms", "times", "goal", title="eval on nocaps-FOIL, ViT-B/32")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_data(folder, arguments.rows)
        plain = NocapsFoil(folder)
        plain.check()
        few = [sample for sample in plain.samples(limit=BASELINE_PAIRS, seed=0) if isinstance(sample, Sample)]
        for benchmark, references in ((WithoutReferences(folder), False), (plain, True)):
            times = []
            for round_ in range(arguments.rounds):
                begin = clock()
                one_by_one(loaded, few, references=references)
                baseline = (clock() - begin) / len(few)
                begin = clock()
                result = run_benchmark(benchmark, loaded, Settings(output=folder / f"run-{references}-{round_}"))
                assert result is not None
                times.append((baseline, (clock() - begin) / result.counts["samples"]))
            ratio = statistics.median(base / ours for base, ours in times)
            table.add_row(
                f"{2 * arguments.rows:,}{', with nine references each' if references else ''}",
                f"{1000 * statistics.median(base for base, _ in times):.1f}",
                f"{1000 * statistics.median(ours for _, ours in times):.1f}",
                f"{ratio:.2f}",
                f"at least {GOAL:g} times",
            )
    console = Console(width=110)
    console.print(table)
    console.print(
        f"{arguments.threads} threads, {arguments.clock} clock, {arguments.rounds} rounds, {time.strftime('%F')}"
    )


if __name__ == "__main__":
    main()
