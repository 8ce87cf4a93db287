"""How fast ``classify`` is, as ratios within one run; architecture ViT-B/32, random weights, on the CPU.

    python -m tests.benchmarks.classify_speed

Prints a table of three parts: (a) class vectors of real descriptions against encoding them one class at a time, padded
to the context, (b) pictures a second from JPEG bytes, 60 crops each, against the image tower's own rate on tensors that
are ready in memory, (c) the same in bf16, where the CPU has it, against fp32, with what that does to top-1. Baseline
and candidate take turns within a round, the figure is the median over rounds of their ratio. ``--clock cpu`` counts the
process's own time, all threads together, for a busy machine: nothing can hide behind anything then.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
from collections.abc import Sequence
from itertools import count

import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from clipalign.batch.runner import run_batch
from clipalign.device import choose_device
from clipalign.inputs.records import InputRecord, Place
from clipalign.methods.classify import Classes, Classifier, ClassifySettings, make_classifier
from clipalign.methods.classify_batch import ClassifyScorer
from clipalign.pipeline.class_vectors import class_vectors
from clipalign.pipeline.descriptions import ClassTexts, class_texts
from clipalign.pipeline.image_tower import encode_pictures
from clipalign.pipeline.loaded import LoadedModel
from clipalign.pipeline.text import encode_text
from clipalign.results import ClassifyResult
from tests.benchmarks.detect_speed import CLOCKS, HERE, Bench, Measurement, in_bf16, random_pictures, random_vit_b_32

DESCRIPTIONS = HERE.parents[2] / "shared" / "data" / "descriptions" / "cub" / "cupl.json"
CANDIDATE_CLASSES = 40
BASELINE_CLASSES = 4
TOWER_BATCH = 8
PICTURES = 3
CROPS = 60
TOP_1_PICTURES = 24


def real_descriptions() -> tuple[dict[str, list[str]], str]:
    """Sentences by class, and where they come from."""
    if DESCRIPTIONS.exists():
        return json.loads(DESCRIPTIONS.read_text()), "cub/cupl.json"
    lines = (HERE / "captions.txt").read_text().splitlines()
    return {f"class {n}": lines[n % 8 :: 8] * 5 for n in range(200)}, "captions.txt"


def measure_class_vectors(bench: Bench, loaded: LoadedModel, classes: Sequence[ClassTexts]) -> Measurement:
    """(a): the baseline is the straightforward loop over classes, tokenizing included in both."""
    turns = count()

    @torch.no_grad()
    def one_by_one() -> None:
        begin = next(turns) * BASELINE_CLASSES % len(classes)
        for one in classes[begin : begin + BASELINE_CLASSES]:
            tokens = loaded.tokenizer(list(one.texts))
            torch.nn.functional.normalize(loaded.network.encode_text(tokens), dim=-1).mean(0)

    def ours() -> None:
        class_vectors(loaded, classes[:CANDIDATE_CLASSES], logscale=2.0)

    return bench.compare(
        f"(a) class vectors, {CANDIDATE_CLASSES} classes together / one class at a time at 77",
        one_by_one,
        BASELINE_CLASSES,
        ours,
        CANDIDATE_CLASSES,
    )


def jpegs(pictures: Sequence[Image.Image]) -> list[bytes]:
    """Pictures as files of a camera have them."""
    found = []
    for picture in pictures:
        stream = io.BytesIO()
        picture.save(stream, "JPEG", quality=90)
        found.append(stream.getvalue())
    return found


def classify_all(classifier: Classifier, files: Sequence[bytes]) -> list[ClassifyResult]:
    """Through the batch run, as the command does it."""
    records = (InputRecord(str(n), file, f"{n}.jpg", "", (), Place("", 0, n)) for n, file in enumerate(files))
    outcomes = [finished.outcome for finished in run_batch(records, ClassifyScorer(classifier))]
    assert all(isinstance(one, ClassifyResult) for one in outcomes)
    return [one for one in outcomes if isinstance(one, ClassifyResult)]


def measure_pictures(bench: Bench, classifier: Classifier, files: Sequence[bytes]) -> Measurement:
    """(b): the baseline is the image tower alone, in batches of the size that suits it, on one batch in memory."""
    loaded = classifier.loaded
    ready = torch.randn(TOWER_BATCH, 3, loaded.image_size, loaded.image_size)
    batches = -(-(1 + CROPS) // TOWER_BATCH)

    @torch.no_grad()
    def tower() -> None:
        for _ in range(batches):
            encode_pictures(loaded.network, ready)

    return bench.compare(
        f"(b) picture with {CROPS} crops from JPEG bytes / image tower alone",
        tower,
        batches * TOWER_BATCH / (1 + CROPS),  # type: ignore[arg-type]
        lambda: classify_all(classifier, files),
        len(files),
    )


def measure_bf16(bench: Bench, classifier: Classifier, half: Classifier, files: Sequence[bytes]) -> Measurement:
    """(c)"""
    return bench.compare(
        f"(c) picture with {CROPS} crops, bf16 / fp32",
        lambda: classify_all(classifier, files),
        len(files),
        lambda: classify_all(half, files),
        len(files),
    )


def top_1_changes(one: Sequence[ClassifyResult], other: Sequence[ClassifyResult]) -> str:
    """What another precision does to the results, in words."""
    changed = sum(a.classes[0].name != b.classes[0].name for a, b in zip(one, other, strict=True))
    moved = [abs(a.classes[0].score - b.classes[0].score) for a, b in zip(one, other, strict=True)]
    return f"top-1 changes in {changed} of {len(one)} pictures; best scores move by {max(moved):.1e} at most"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--pictures", type=int, default=PICTURES)
    parser.add_argument("--only", choices=("a", "b", "c"), default=None)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    bench = Bench(CLOCKS[arguments.clock], arguments.rounds)
    loaded = random_vit_b_32()
    described, source = real_descriptions()
    classes = class_texts(Classes(descriptions=described), method="cupl")
    tokens = [encode_text(loaded, text).n_tokens for one in classes[:CANDIDATE_CLASSES] for text in one.texts]
    notes = [
        f"{source}: {len(classes)} classes, {len(tokens) / CANDIDATE_CLASSES:.1f} descriptions a class, "
        f"{statistics.mean(tokens):.1f} tokens on average"
    ]
    rows: list[tuple[Measurement, str]] = []
    if arguments.only in (None, "a"):
        rows.append((measure_class_vectors(bench, loaded, classes), "at least 3 times"))
    files = jpegs(random_pictures(arguments.pictures))
    few = Classes(descriptions=dict(list(described.items())[:2]))
    settings = ClassifySettings(crops=CROPS)
    if arguments.only != "a":
        classifier = make_classifier(loaded, few, settings)
    if arguments.only in (None, "b"):
        rows.append((measure_pictures(bench, classifier, files), "at least 0.93 times"))
    if arguments.only in (None, "c"):
        half = in_bf16(loaded)
        if half is None:
            notes.append(f"(c) not measured: {choose_device('cpu', 'bf16').reason}")
        else:
            in_half = make_classifier(half, few, settings)
            rows.append((measure_bf16(bench, classifier, in_half, files), "at least 1.9 times"))
            more = jpegs(random_pictures(TOP_1_PICTURES))
            notes.append(f"(c) {top_1_changes(classify_all(classifier, more), classify_all(in_half, more))}")

    table = Table(
        "measurement", "baseline ms", "ours ms", "ratio", "times", "goal", title="classify, ViT-B/32 on the CPU"
    )
    for row, goal in rows:
        table.add_row(
            row.what,
            f"{row.baseline_ms:.1f}",
            f"{row.candidate_ms:.1f}",
            f"{row.ratio:.3f}",
            f"{1 / row.ratio:.2f}",
            goal,
        )
    console = Console(width=140)
    console.print(table)
    console.print(
        f"{arguments.threads} threads, {arguments.clock} clock, {arguments.rounds} rounds, torch {torch.__version__}"
    )
    for note in notes:
        console.print(note)


if __name__ == "__main__":
    main()
