"""The same on an accelerator: ``detect`` against one pair at a time in fp16, ``classify``, and a training step.

    python -m tests.benchmarks.accelerator

The published programs run on a GPU in fp16, a pair at a time, with a full backward pass each: that is the baseline of
``detect``, in pairs a second. Where there is no accelerator nothing is measured, and said so; ``--device cpu`` walks
the same way on the CPU, which tells that the program works and nothing else.
"""

from __future__ import annotations

from typing import Final

import torch

from clipalign.data.class_texts import class_texts
from clipalign.data.classes import Classes
from clipalign.methods.classify import make_classifier
from clipalign.methods.settings import ClassifySettings
from clipalign.models.model import LoadedModel
from tests.benchmarks.classify_speed import CROPS, measure_class_vectors, measure_pictures, real_descriptions
from tests.benchmarks.detect_speed import SPELLED, measure_pairs, pairs_of, planned
from tests.benchmarks.measure import Bench, Measured, Row, alone
from tests.benchmarks.subjects import at, jpegs, random_pictures, random_vit_b_32, real_captions
from tests.benchmarks.train_speed import LAYERS, measure_step

PRECISIONS: Final = ("fp32", "bf16", "fp16")
BASELINE_PRECISION: Final = "fp16"
IMAGES: Final = {1: 1024, 5: 256}
"""How many images ``detect`` gets, for one and for five captions an image."""


def plans() -> list[Row]:
    """The rows of ``detect`` without their numbers."""
    return [
        planned(
            f"accelerator-{precision}-{per_image}",
            f"accelerator: `detect` in {precision}, {SPELLED[per_image]} an image",
            f"a pair at a time with full autograd in {BASELINE_PRECISION}, there",
            None,
            precision,
        )
        for per_image in IMAGES
        for precision in PRECISIONS
    ]


def measure_detect(bench: Bench, loaded: LoadedModel) -> list[Row]:
    """Every precision, one caption an image and five, against the one-by-one path in fp16."""
    captions, _ = real_captions()
    reference = at(loaded, bench.device, BASELINE_PRECISION)
    rows = []
    for row in plans():
        per_image = int(row.key.rpartition("-")[2])
        images = IMAGES[per_image] if bench.device != "cpu" else 4
        pairs = pairs_of(captions, per_image, images)
        rows.append(measure_pairs(bench, reference, at(loaded, bench.device, row.precision), pairs, row))
    return rows


def measure_rest(bench: Bench, loaded: LoadedModel, *, train_layers: int = LAYERS) -> list[Row]:
    """``classify`` in fp16 and a training step in fp32."""
    half = at(loaded, bench.device, BASELINE_PRECISION)
    described, _ = real_descriptions()
    classes = class_texts(Classes(descriptions=described), method="cupl")
    few = Classes(descriptions=dict(list(described.items())[:2]))
    classifier = make_classifier(half, few, ClassifySettings(crops=CROPS))
    files = jpegs(random_pictures(32 if bench.device != "cpu" else 1))
    said = {"goal": None, "precision": BASELINE_PRECISION}
    rows = [
        measure_class_vectors(bench, half, classes, key="accelerator-classes", **said),
        measure_pictures(bench, classifier, files, key="accelerator-pictures", **said),
    ]
    step, _ = measure_step(
        bench, layers=train_layers, size=32 if bench.device != "cpu" else 2, key="accelerator-train", goal=None
    )
    return [*rows, step]


def measure(bench: Bench) -> Measured:
    """All rows, or which could not be measured and why."""
    if bench.device.startswith("cuda") and not torch.cuda.is_available():
        names = [
            *(row.what for row in plans()),
            "accelerator: vectors of classes together",
            f"accelerator: a picture with {CROPS} crops",
            "accelerator: a step of `train-specs`",
        ]
        return Measured([], [], dict.fromkeys(names, "not measured here, there was no accelerator"))
    loaded = random_vit_b_32()
    rows = [*measure_detect(bench, loaded), *measure_rest(bench, loaded)]
    rates = [
        f"{row.what}: {1000 / row.ours_ms:,.0f} pairs a second, {1000 / row.baseline_ms:,.0f} one by one"
        for row in rows
        if row.item == "pair" and row.ours_ms and row.baseline_ms
    ]
    return Measured(rows, rates)


if __name__ == "__main__":
    alone(measure, __doc__, device="cuda")
