"""How fast ``detect`` is, as ratios to what it replaces; architecture ViT-B/32, random weights.

    python -m tests.benchmarks.detect_speed

Text attribution against a plain ``encode_text`` padded to the context; pairs a second against one pair at a time with
full autograd (the oracle of the tests, image included); the same in bf16, where the CPU has it, with what that does to
the results.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Final

import torch
from PIL import Image

from clipalign.data.transforms import to_tensor
from clipalign.methods.detect import Pair, detect_pairs
from clipalign.methods.settings import DEFAULT_TEMPLATE, DetectSettings
from clipalign.models.attribution import attribute
from clipalign.models.model import LoadedModel
from clipalign.models.tokenize import tokenize_text
from clipalign.results import DetectResult
from tests.benchmarks.measure import Bench, Measured, Reading, Row, alone
from tests.benchmarks.subjects import (
    LAYERS,
    in_bf16,
    in_openvino,
    one_by_one,
    random_pictures,
    random_vectors,
    random_vit_b_32,
    real_captions,
)
from tests.parity.oracle import with_gradients

TEXT_BATCH: Final = 16
IMAGES: Final = {1: 32, 5: 32}
"""How many images the candidate gets, for one and for five captions an image: whole batches of captions."""
BASELINE_PAIRS: Final = 6
GOALS: Final[dict[int, float | None]] = {1: 3.0, 5: 9.0}
GOALS_OPENVINO: Final[dict[str, dict[int, float | None]]] = {
    "fp32": {1: 4.0, 5: 12.0},
    "bf16": {5: None},
    "int8": {1: 8.0, 5: 24.0},  # with texts in bf16; 20 with texts in fp32
}
GOALS_BF16: Final = {1: 4.5, 5: 13.0}
SPELLED: Final = {1: "a caption", 5: "five captions"}


def measure_text(bench: Bench, loaded: LoadedModel, captions: Sequence[str]) -> Row:
    """Attribution of all tokens against reading the same captions once."""
    texts = [tokenize_text(loaded, DEFAULT_TEMPLATE + caption) for caption in captions]
    padded = torch.tensor([text.ids + text.padding for text in texts])
    images = random_vectors(loaded, len(texts))

    @torch.no_grad()
    def encode() -> None:
        for batch in padded.split(TEXT_BATCH):
            loaded.network.encode_text(batch)

    def ours() -> None:
        attribute(loaded, images, texts, layers=LAYERS, batch_size=TEXT_BATCH)

    return bench.turns(encode, len(texts), ours, len(texts)).row(
        "detect-text",
        f"`detect`: attribution of {len(texts)} captions, batches of {TEXT_BATCH}",
        "`encode_text` alone, padded to 77 tokens",
        Reading.COST,
        bench,
        goal=0.28,
        item="caption",
    )


def pairs_of(captions: Sequence[str], per_image: int, images: int) -> list[Pair]:
    """Every image with ``per_image`` captions of its own."""
    pictures = random_pictures(images)
    chosen = [captions[index % len(captions)] for index in range(len(pictures) * per_image)]
    return [Pair(pictures[index // per_image], caption) for index, caption in enumerate(chosen)]


def measure_pairs(bench: Bench, reference: LoadedModel, loaded: LoadedModel, pairs: Sequence[Pair], row: Row) -> Row:
    """``reference`` one pair at a time with full autograd, ``loaded`` by ``detect_pairs``.

    Args:
        bench: of the run.
        reference, loaded: the models of baseline and candidate.
        pairs: all of them for the candidate, the first few for the baseline.
        row: its words and its goal, the numbers to be filled in.
    """
    network = with_gradients(reference.network)
    few = pairs[:BASELINE_PAIRS]

    def baseline() -> None:
        for pair in few:
            assert isinstance(pair.image, Image.Image)
            one_by_one(network, reference, to_tensor(pair.image, reference), pair.text)

    settings = DetectSettings(layers=LAYERS) if bench.device == "cpu" else DetectSettings(layers=LAYERS, batch_size=256)

    def ours() -> None:
        detect_pairs(loaded, pairs, settings)

    turns = bench.turns(baseline, len(few), ours, len(pairs))
    return turns.row(
        row.key, row.what, row.baseline, row.reading, bench, goal=row.goal, item="pair", precision=row.precision
    )


def planned(key: str, what: str, baseline: str, goal: float | None, precision: str = "fp32") -> Row:
    """A row of pairs without its numbers."""
    return Row(key, what, baseline, Reading.TIMES, 0, 0, 0, 0, goal=goal, precision=precision)


def changes(reference: Sequence[DetectResult], other: Sequence[DetectResult]) -> list[str]:
    """What another precision does to the results, in words."""
    moved, size, flipped, lowest, words = [], [], 0, 0, 0
    for one, two in zip(reference, other, strict=True):
        for before, after in zip(one.words, two.words, strict=True):
            assert before.attribution is not None and after.attribution is not None
            moved.append(abs(after.attribution - before.attribution))
            size.append(abs(before.attribution))
            flipped += before.misaligned != after.misaligned
            words += 1
        lowest += _lowest(one) != _lowest(two)
    cosine = max(abs(one.cosine - two.cosine) for one, two in zip(reference, other, strict=True))
    return [
        f"attributions move by {statistics.median(moved):.1e} (median), {max(moved):.1e} (most); "
        f"their own size is {statistics.median(size):.1e} (median)",
        f"cosines move by {cosine:.1e} at most",
        f"misaligned words: {flipped} of {words} words change sides; "
        f"the most negative word changes in {lowest} of {len(reference)} captions",
    ]


def _lowest(result: DetectResult) -> int:
    values = [word.attribution for word in result.words]
    return min(range(len(values)), key=lambda index: values[index] or 0.0)


def measure(bench: Bench) -> Measured:
    """All rows."""
    loaded = random_vit_b_32()
    captions, source = real_captions()
    tokens = [tokenize_text(loaded, DEFAULT_TEMPLATE + caption).n_tokens for caption in captions]
    notes = [f"{len(captions)} captions of {source}, {statistics.mean(tokens):.1f} tokens on average with the template"]
    pairs = {per_image: pairs_of(captions, per_image, bench.of(IMAGES[per_image], 8)) for per_image in IMAGES}
    rows = [measure_text(bench, loaded, captions)]
    against = "a pair at a time with full autograd"
    for per_image, wanted in GOALS.items():
        what = f"`detect`, {SPELLED[per_image]} an image"
        row = planned(f"detect-{per_image}", what, against, wanted)
        rows.append(measure_pairs(bench, loaded, loaded, pairs[per_image], row))
    missing: dict[str, str] = {}
    for precision, goals in GOALS_OPENVINO.items():
        other = in_openvino(loaded, precision)
        for per_image, wanted in goals.items():
            what = f"`detect`, image tower in OpenVINO, {precision}, {SPELLED[per_image]} an image"
            if isinstance(other, str):
                missing[what] = other
                continue
            row = planned(f"detect-openvino-{precision}-{per_image}", what, f"{against}, fp32", wanted, precision)
            rows.append(measure_pairs(bench, loaded, other, pairs[per_image], row))
    half = in_bf16(loaded)
    if isinstance(half, str):
        missing |= {f"`detect` in bf16, {SPELLED[n]} an image": half for n in GOALS_BF16}
        return Measured(rows, notes, missing)
    for per_image, wanted in GOALS_BF16.items():
        what = f"`detect` in bf16, {SPELLED[per_image]} an image"
        row = planned(f"detect-bf16-{per_image}", what, f"{against}, fp32", wanted, "bf16")
        rows.append(measure_pairs(bench, loaded, half, pairs[per_image], row))
    settings = DetectSettings(layers=LAYERS)
    exact, rounded = (detect_pairs(model, pairs[5], settings) for model in (loaded, half))
    return Measured(rows, [*notes, *(f"bf16: {line}" for line in changes(exact, rounded))], missing)


if __name__ == "__main__":
    alone(measure, __doc__)
