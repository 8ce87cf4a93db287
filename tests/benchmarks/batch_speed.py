"""What reading, decoding and writing cost a run over many records; architecture ViT-B/32, random weights, on the CPU.

    python -m tests.benchmarks.batch_speed

The baseline is the model alone: pictures that are tensors already and texts that are tokens already, encoded and
attributed in memory. The candidate is what ``detect --input pairs.jsonl`` does with a loaded model: JSON lines read,
JPEG files opened and decoded in threads, words and scores found, JSON lines written to a file. The figure is 1 where
all the rest is free. Then the same with pictures of 12 million pixels, and what decoding JPEG at a fraction of its size
(``Image.draft``) would gain, and how far it would move results.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import torch
from PIL import Image

from clipalign.data.images import open_image
from clipalign.data.readers import open_input
from clipalign.data.transforms import prepare_whole, to_tensor
from clipalign.errors import ClipalignError
from clipalign.methods.detect import DetectScorer, Pair, detect_pairs
from clipalign.methods.settings import DEFAULT_TEMPLATE, DetectSettings
from clipalign.models.attribution import attribute
from clipalign.models.encode import EncodedPicture, encode_prepared
from clipalign.models.model import LoadedModel
from clipalign.models.tokenize import tokenize_text
from clipalign.output.json import line_of
from clipalign.runs.batch import run_batch
from tests.benchmarks.measure import Bench, Measured, Reading, Row, alone
from tests.benchmarks.subjects import LAYERS, PHOTO, Files, random_vit_b_32, real_captions, written

SETTINGS: Final = DetectSettings(layers=LAYERS)
SMALL: Final = (500, 375)
LARGE: Final = (4000, 3000)
MARGINS: Final = (2, 3, 4)
"""How many times the model's input the shorter side of a drafted picture must have."""


def in_memory(loaded: LoadedModel, files: Files) -> Callable[[], object]:
    """The model alone, on what the files hold."""
    prepared = {path: prepare_whole(open_image(path), loaded) for path in dict.fromkeys(files.pictures)}
    texts = [tokenize_text(loaded, DEFAULT_TEMPLATE + caption) for caption in files.captions]

    def run() -> None:
        encoded = encode_prepared(loaded, list(prepared.values()), batch_size=SETTINGS.batch_size)
        rows = dict(zip(prepared, encoded, strict=True))
        images = torch.cat([row.vectors for path in files.pictures if isinstance(row := rows[path], EncodedPicture)])
        attribute(loaded, images, texts, layers=LAYERS, batch_size=SETTINGS.batch_size)

    return run


def from_files(loaded: LoadedModel, files: Files, output: Path) -> Callable[[], object]:
    """Everything that ``detect --input --output`` does with a loaded model."""

    def run() -> None:
        scorer = DetectScorer.of(loaded, SETTINGS)
        with output.open("wb") as stream:
            for finished in run_batch(open_input([str(files.table)]).records(), scorer):
                assert not isinstance(finished.result, ClipalignError)
                stream.write(line_of(finished.answer.to_dict()))
                stream.flush()

    return run


def measure_files(bench: Bench, loaded: LoadedModel, files: Files, output: Path, row: tuple[str, str, float]) -> Row:
    """One input; ``row`` is its key, its words and its goal (0 for none)."""
    key, what, wanted = row
    turns = bench.turns(
        in_memory(loaded, files), len(files.captions), from_files(loaded, files, output), len(files.captions), rounds=5
    )
    baseline = "encoding and attributing in memory"
    return turns.row(
        key, f"`detect --input`, {what}", baseline, Reading.RATE, bench, goal=wanted or None, item="record"
    )


def decoding(path: Path, loaded: LoadedModel) -> list[str]:
    """What the parts of reading one picture cost, in words."""

    def best_ms(run: Callable[[], object]) -> float:
        times = []
        for _ in range(5):
            begin = time.perf_counter()
            run()
            times.append(time.perf_counter() - begin)
        return 1000 * min(times)

    picture = open_image(path)
    lines = [
        f"{picture.width} × {picture.height}: opening and decoding {best_ms(lambda: open_image(path)):.1f} ms, "
        f"resizing and normalizing {best_ms(lambda: to_tensor(picture, loaded)):.1f} ms"
    ]
    for margin in MARGINS:
        drafted = draft(path, margin * loaded.image_size)
        lines.append(
            f"draft of it, shorter side at least {margin} × {loaded.image_size}: decoded as {drafted.width} × "
            f"{drafted.height}, {best_ms(lambda margin=margin: draft(path, margin * loaded.image_size)):.1f} ms"  # type: ignore[misc]
        )
    return lines


def draft(path: Path, shorter: int) -> Image.Image:
    """A JPEG decoded at the smallest of 1, 1/2, 1/4 and 1/8 of its size whose shorter side is ``shorter`` at least."""
    with Image.open(path) as image:
        scale = shorter / min(image.size)
        if scale <= 1:
            image.draft("RGB", (max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        decoded: Image.Image = image.convert("RGB")
        return decoded


def moved(loaded: LoadedModel, paths: Sequence[Path], captions: Sequence[str], margin: int) -> tuple[float, float]:
    """How far drafting moves cosines, absolutely, and attributions, as a share of the caption's largest."""
    cosine = attribution = 0.0
    for path in paths:
        pictures = (open_image(path), draft(path, margin * loaded.image_size))
        exact, drafted = (detect_pairs(loaded, [Pair(p, c) for c in captions], SETTINGS) for p in pictures)
        for one, two in zip(exact, drafted, strict=True):
            cosine = max(cosine, abs(one.cosine - two.cosine))
            largest = max(abs(word.attribution or 0.0) for word in one.words)
            change = max(
                abs((a.attribution or 0.0) - (b.attribution or 0.0)) for a, b in zip(one.words, two.words, strict=True)
            )
            attribution = max(attribution, change / largest)
    return cosine, attribution


def measure(bench: Bench) -> Measured:
    """All rows, and what drafting would do."""
    loaded = random_vit_b_32()
    captions, source = real_captions()
    records, large = bench.of((128, 32), (32, 8))
    many = [captions[index % len(captions)] for index in range(records)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = {
            ("batch-1", "JPEG of 500 × 375, a caption each", 0.9): (many, records, SMALL, 16),
            ("batch-4", "JPEG of 500 × 375, four captions each", 0.9): (many, records // 4, SMALL, 16),
            ("batch-large", "JPEG of 12 megapixels, a caption each", 0.0): (many[:large], large, LARGE, 4),
        }
        rows, notes, found = [], [f"captions of {source}"], {}
        for row, (texts, pictures, size, distinct) in inputs.items():
            found[row[0]] = files = written(folder / row[0], texts, pictures, size, distinct=distinct)
            rows.append(measure_files(bench, loaded, files, folder / "out.jsonl", row))
        for key in ("batch-1", "batch-large"):
            notes += decoding(found[key].pictures[0], loaded)
        big = list(dict.fromkeys(found["batch-large"].pictures))[: bench.of(4, 1)]
        for margin in bench.of(MARGINS, MARGINS[:1]):
            cosine, attribution = moved(loaded, big + ([PHOTO] if PHOTO.exists() else []), captions[:8], margin)
            notes.append(
                f"draft, shorter side at least {margin} × {loaded.image_size}: cosines move by {cosine:.1e} at most, "
                f"attributions by {attribution:.1e} of the caption's largest; so it is not done"
            )
    return Measured(rows, notes)


if __name__ == "__main__":
    alone(measure, __doc__)
