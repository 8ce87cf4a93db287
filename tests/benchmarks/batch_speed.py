"""What reading, decoding and writing cost a run over many records; architecture ViT-B/32, random weights, on the CPU.

    python -m tests.benchmarks.batch_speed

The baseline is the model alone: pictures that are tensors already and texts that are tokens already, encoded and
attributed in memory. The candidate is what ``detect --input pairs.jsonl`` does with a loaded model: JSON lines read,
JPEG files opened and decoded in threads, words and scores found, JSON lines written to a file. Baseline and candidate
take turns within a round; the figure is the median over rounds of baseline / candidate, 1 where all the rest is free.
Then the same with pictures of 12 million pixels, and what decoding JPEG at a fraction of its size (``Image.draft``)
would gain, and how far it would move results. ``--clock cpu`` counts the process's own time, for a busy machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
import torch
from PIL import Image
from rich.console import Console
from rich.table import Table

from clipalign.batch.runner import run_batch
from clipalign.errors import ClipalignError
from clipalign.inputs import open_input
from clipalign.methods.detect import DEFAULT_TEMPLATE, DetectSettings, Pair, detect_pairs
from clipalign.methods.detect_batch import DetectScorer
from clipalign.pipeline.attribution import attribute
from clipalign.pipeline.encoder import encode_prepared
from clipalign.pipeline.images import open_image, to_tensor
from clipalign.pipeline.loaded import LoadedModel
from clipalign.pipeline.text import encode_text
from clipalign.report.json import detect_record, encode
from tests.benchmarks.detect_speed import CLOCKS, random_vit_b_32, real_captions

PHOTO = Path(__file__).parents[3] / "shared" / "data" / "a_cup_of_coffee.jpg"
SETTINGS = DetectSettings(layers=3)
SMALL = (500, 375)
LARGE = (4000, 3000)
MARGINS = (2, 3, 4)
"""How many times the model's input the shorter side of a drafted picture must have."""


@dataclass(frozen=True)
class Files:
    """A folder of pictures with a table of pairs."""

    table: Path
    pictures: list[Path]
    captions: list[str]


def photos(count: int, size: tuple[int, int]) -> list[Image.Image]:
    """Pictures with the fine detail of photographs: the real one where it is there, blended with random ones."""
    rng = np.random.default_rng(0)
    ground = Image.open(PHOTO).convert("RGB") if PHOTO.exists() else None
    found = []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(
            size, Image.Resampling.BICUBIC
        )
        fine = Image.fromarray(rng.integers(0, 256, (size[1] // 4, size[0] // 4, 3), dtype=np.uint8)).resize(size)
        picture = Image.blend(coarse, fine, 0.15)
        found.append(
            picture if ground is None else Image.blend(ground.resize(size, Image.Resampling.BICUBIC), picture, 0.5)
        )
    return found


def written(folder: Path, captions: Sequence[str], pictures: int, size: tuple[int, int], *, distinct: int) -> Files:
    """``pictures`` JPEG files, every caption of ``captions`` once, in turn about a picture's neighbours."""
    folder.mkdir()
    made = photos(distinct, size)
    paths = []
    for index in range(pictures):
        path = folder / f"{index:04}.jpg"
        made[index % distinct].save(path, quality=90)
        paths.append(path)
    per_image = len(captions) // pictures
    rows = [{"image": str(paths[index // per_image]), "text": text} for index, text in enumerate(captions)]
    table = folder / "pairs.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return Files(table, [Path(row["image"]) for row in rows], list(captions))


def in_memory(loaded: LoadedModel, files: Files) -> Callable[[], object]:
    """The model alone, on what the files hold."""
    tensors = {path: to_tensor(open_image(path), loaded) for path in dict.fromkeys(files.pictures)}
    texts = [encode_text(loaded, DEFAULT_TEMPLATE + caption) for caption in files.captions]

    def run() -> None:
        vectors = encode_prepared(loaded, list(tensors.values()), batch_size=SETTINGS.batch_size)
        rows = dict(zip(tensors, vectors, strict=True))
        images = torch.stack([row for path in files.pictures if isinstance(row := rows[path], torch.Tensor)])
        attribute(loaded, images, texts, layers=3, batch_size=SETTINGS.batch_size)

    return run


def from_files(loaded: LoadedModel, files: Files, output: Path, workers: int | None) -> Callable[[], object]:
    """Everything that ``detect --input --output`` does with a loaded model."""

    def run() -> None:
        scorer = DetectScorer.of(loaded, SETTINGS)
        with output.open("wb") as stream:
            for finished in run_batch(open_input([str(files.table)]).records(), scorer, workers=workers):
                assert not isinstance(finished.outcome, ClipalignError)
                stream.write(encode(detect_record(finished.outcome)))
                stream.flush()

    return run


@dataclass(frozen=True)
class Rates:
    """Milliseconds a record of both, and the median over rounds of baseline / candidate."""

    baseline_ms: float
    candidate_ms: float
    ratio: float


def compare(
    clock: Callable[[], float], rounds: int, n: int, baseline: Callable[[], object], candidate: Callable[[], object]
) -> Rates:
    """Time both in turns, after one run of each that does not count."""

    def seconds(run: Callable[[], object]) -> float:
        begin = clock()
        run()
        return clock() - begin

    baseline(), candidate()
    times = []
    for index in range(rounds):
        first, second = (baseline, candidate) if index % 2 == 0 else (candidate, baseline)
        one, two = seconds(first), seconds(second)
        times.append((one, two) if index % 2 == 0 else (two, one))
    return Rates(
        1000 * statistics.median(one for one, _ in times) / n,
        1000 * statistics.median(two for _, two in times) / n,
        statistics.median(one / two for one, two in times),
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
        f"resizing and normalising {best_ms(lambda: to_tensor(picture, loaded)):.1f} ms"
    ]
    for margin in MARGINS:
        drafted = draft(path, margin * loaded.image_size)
        lines.append(
            f"  draft, shorter side at least {margin} × {loaded.image_size}: decoded as {drafted.width} × "
            f"{drafted.height}, {best_ms(lambda margin=margin: draft(path, margin * loaded.image_size)):.1f} ms"  # type: ignore[misc]
        )
    return lines


def draft(path: Path, shorter: int) -> Image.Image:
    """A JPEG decoded at the smallest of 1, 1/2, 1/4 and 1/8 of its size whose shorter side is ``shorter`` at least."""
    with Image.open(path) as image:
        scale = shorter / min(image.size)
        if scale <= 1:
            image.draft("RGB", (max(1, round(image.width * scale)), max(1, round(image.height * scale))))
        return image.convert("RGB")


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


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--clock", choices=sorted(CLOCKS), default="wall")
    parser.add_argument("--records", type=int, default=128)
    parser.add_argument("--large", type=int, default=32, help="records with pictures of 12 million pixels")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    loaded = random_vit_b_32()
    captions, source = real_captions()
    many = [captions[index % len(captions)] for index in range(arguments.records)]

    table = Table("records", "in memory ms", "detect --input ms", "baseline / candidate", "goal", title="ms a record")
    notes = [f"captions of {source}"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = (
            ("500 × 375, a caption each", written(folder / "a", many, len(many), SMALL, distinct=16), "at least 0.9"),
            (
                "500 × 375, 4 captions each",
                written(folder / "b", many, len(many) // 4, SMALL, distinct=16),
                "at least 0.9",
            ),
            (
                "4000 × 3000, a caption each",
                written(folder / "c", many[: arguments.large], arguments.large, LARGE, distinct=4),
                "told",
            ),
        )
        for what, files, goal in cases:
            rates = compare(
                CLOCKS[arguments.clock],
                arguments.rounds,
                len(files.captions),
                in_memory(loaded, files),
                from_files(loaded, files, folder / "out.jsonl", arguments.workers),
            )
            table.add_row(
                f"{len(files.captions)} × {what}",
                f"{rates.baseline_ms:.1f}",
                f"{rates.candidate_ms:.1f}",
                f"{rates.ratio:.3f}",
                goal,
            )
        size = (folder / "out.jsonl").stat().st_size
        lines = [orjson.loads(line) for line in (folder / "out.jsonl").read_bytes().splitlines()]
        notes.append(f"{size / len(lines):.0f} bytes a record written")
        for files in (cases[0][1], cases[2][1]):
            notes += decoding(files.pictures[0], loaded)
        large = list(dict.fromkeys(cases[2][1].pictures))[:4] + ([PHOTO] if PHOTO.exists() else [])
        for margin in MARGINS:
            cosine, attribution = moved(loaded, large, captions[:8], margin)
            notes.append(
                f"draft, shorter side at least {margin} × {loaded.image_size}: cosines move by {cosine:.1e} at most, "
                f"attributions by {attribution:.1e} of the caption's largest"
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
