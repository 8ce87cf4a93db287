"""How fast ``classify`` is, as ratios within one run; architecture ViT-B/32, random weights.

    python -m tests.benchmarks.classify_speed

Class vectors of real descriptions against encoding them one class at a time, padded to the context; pictures from JPEG
bytes, 60 crops each, against the image tower's own rate on tensors that are ready in memory; the same in bf16 and int8,
where the CPU has them, against fp32, with what that does to top-1.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Sequence
from itertools import count
from typing import Any, Final

import torch

from clipalign.data.class_texts import ClassTexts, class_texts
from clipalign.data.classes import Classes
from clipalign.data.records import InputRecord, Place
from clipalign.methods.classify import Classifier, ClassifyScorer, make_classifier
from clipalign.methods.settings import ClassifySettings
from clipalign.models.class_vectors import class_vectors
from clipalign.models.image_encoder import encode_pictures
from clipalign.models.model import LoadedModel
from clipalign.models.tokenize import tokenize_text
from clipalign.results import ClassifyResult
from clipalign.runs.batch import run_batch
from tests.benchmarks.measure import Bench, Measured, Reading, Row, alone
from tests.benchmarks.subjects import DATA, HERE, in_bf16, in_openvino, jpegs, random_pictures, random_vit_b_32

DESCRIPTIONS: Final = DATA / "descriptions" / "cub" / "cupl.json"
CLASSES: Final = 40
BASELINE_CLASSES: Final = 4
TOWER_BATCH: Final = 8
"""What suits the tower on a CPU."""
CROPS: Final = 60
TOP_1_PICTURES: Final = 24


def real_descriptions() -> tuple[dict[str, list[str]], str]:
    """Sentences by class, and where they come from."""
    if DESCRIPTIONS.exists():
        return json.loads(DESCRIPTIONS.read_text(encoding="utf-8")), "cub/cupl.json"
    lines = (HERE / "captions.txt").read_text(encoding="utf-8").splitlines()
    return {f"class {n}": lines[n % 8 :: 8] * 5 for n in range(200)}, "captions.txt"


def measure_class_vectors(bench: Bench, loaded: LoadedModel, classes: Sequence[ClassTexts], **more: Any) -> Row:
    """The baseline is the straightforward loop over classes, tokenizing included in both."""
    turns = count()

    @torch.no_grad()
    def one_by_one() -> None:
        begin = next(turns) * BASELINE_CLASSES % len(classes)
        for one in classes[begin : begin + BASELINE_CLASSES]:
            tokens = loaded.tokenizer(list(one.texts)).to(loaded.choice.device)
            torch.nn.functional.normalize(loaded.network.encode_text(tokens), dim=-1).mean(0)

    together = classes[: bench.of(CLASSES, 8)]

    def ours() -> None:
        class_vectors(loaded, together, logscale=2.0)

    return bench.turns(one_by_one, BASELINE_CLASSES, ours, len(together), rounds=5).row(
        more.pop("key", "classify-classes"),
        f"`classify`: vectors of {len(together)} classes together",
        "a class at a time, padded to 77 tokens",
        Reading.TIMES,
        bench,
        item="class",
        **{"goal": 3.0} | more,
    )


def classify_all(classifier: Classifier, files: Sequence[bytes]) -> list[ClassifyResult]:
    """Through the batch run, as the command does it."""
    records = (InputRecord(str(n), file, f"{n}.jpg", "", (), Place("", 0, n)) for n, file in enumerate(files))
    outcomes = [finished.result for finished in run_batch(records, ClassifyScorer(classifier))]
    assert all(isinstance(one, ClassifyResult) for one in outcomes)
    return [one for one in outcomes if isinstance(one, ClassifyResult)]


def measure_pictures(bench: Bench, classifier: Classifier, files: Sequence[bytes], **more: Any) -> Row:
    """The baseline is the image tower alone, in batches of the size that suits it, on one batch in memory."""
    loaded = classifier.loaded
    size = TOWER_BATCH if bench.device == "cpu" else 256
    dtype = next(loaded.network.parameters()).dtype
    ready = torch.randn(size, 3, loaded.image_size, loaded.image_size).to(loaded.choice.device, dtype)
    batches = -(-(1 + CROPS) // size)

    @torch.no_grad()
    def tower() -> None:
        for _ in range(batches):
            encode_pictures(loaded.network, ready)

    return bench.turns(
        tower, batches * size / (1 + CROPS), lambda: classify_all(classifier, files), len(files), rounds=5
    ).row(
        more.pop("key", "classify-pictures"),
        f"`classify`: a picture with {CROPS} crops, from JPEG bytes",
        "the image tower alone",
        Reading.RATE,
        bench,
        item="picture",
        **{"goal": 0.93} | more,
    )


def measure_precision(
    bench: Bench, classifier: Classifier, other: Classifier, files: Sequence[bytes], what: str, goal: float
) -> Row:
    """The same pictures in both precisions."""
    precision = other.loaded.choice.precision
    return bench.turns(
        lambda: classify_all(classifier, files), len(files), lambda: classify_all(other, files), len(files), rounds=5
    ).row(
        f"classify-{precision}",
        what,
        "the same in torch and fp32",
        Reading.TIMES,
        bench,
        goal=goal,
        item="picture",
        precision=precision,
    )


def top_1_changes(one: Sequence[ClassifyResult], other: Sequence[ClassifyResult]) -> str:
    """What another precision does to the results, in words."""
    changed = sum(a.classes[0].name != b.classes[0].name for a, b in zip(one, other, strict=True))
    moved = [abs(a.classes[0].score - b.classes[0].score) for a, b in zip(one, other, strict=True)]
    return f"top-1 changes in {changed} of {len(one)} pictures; best scores move by {max(moved):.1e} at most"


def measure(bench: Bench) -> Measured:
    """All rows."""
    loaded = random_vit_b_32()
    described, source = real_descriptions()
    classes = class_texts(Classes(descriptions=described), method="cupl")
    tokens = [tokenize_text(loaded, text).n_tokens for one in classes[:CLASSES] for text in one.texts]
    notes = [
        f"{source}: {len(classes)} classes, {len(tokens) / CLASSES:.1f} descriptions a class, "
        f"{statistics.mean(tokens):.1f} tokens on average"
    ]
    rows = [measure_class_vectors(bench, loaded, classes)]
    files = jpegs(random_pictures(bench.of(3, 1)))
    few, settings = Classes(descriptions=dict(list(described.items())[:2])), ClassifySettings(crops=CROPS)
    classifier = make_classifier(loaded, few, settings)
    rows.append(measure_pictures(bench, classifier, files))
    more = jpegs(random_pictures(bench.of(TOP_1_PICTURES, 4)))
    exact = classify_all(classifier, more)
    others = {"bf16": (in_bf16(loaded), 1.9), "int8, OpenVINO": (in_openvino(loaded, "int8"), 3.0)}
    missing: dict[str, str] = {}
    for name, (other, goal) in others.items():
        what = f"`classify` in {name}: a picture with {CROPS} crops, from JPEG bytes"
        if isinstance(other, str):
            missing[what] = other
            continue
        second = make_classifier(other, few, settings)
        rows.append(measure_precision(bench, classifier, second, files, what, goal))
        notes.append(f"{name}: {top_1_changes(exact, classify_all(second, more))}")
    return Measured(rows, notes, missing)


if __name__ == "__main__":
    alone(measure, __doc__)
