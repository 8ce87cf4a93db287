"""What reading, decoding and writing cost a run over many records; architecture ViT-B/32, random weights, on the CPU.

    python -m tests.benchmarks.batch_speed

The baseline is the model alone: pictures that are tensors already and texts that are tokens already, encoded and
attributed in memory. The candidate is what ``detect --input pairs.jsonl`` does with a loaded model: JSON lines read,
JPEG files opened and decoded in threads, words and scores found, JSON lines written to a file. The figure is 1 where
all the rest is free. Then the same with pictures of 12 million pixels, in full and with ``--fast-decode``, and how far
that moves results; and a run whose vectors were kept (``--keep-vectors``) against the run that kept them.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final

import torch

from clipalign.data.images import open_image
from clipalign.data.readers import open_input
from clipalign.data.transforms import prepare_whole
from clipalign.errors import ClipalignError
from clipalign.methods.detect import DetectScorer, Pair, detect_pairs
from clipalign.methods.settings import DEFAULT_TEMPLATE, DetectSettings
from clipalign.models.attribution import attribute
from clipalign.models.encode import EncodedPicture, encode_prepared
from clipalign.models.model import LoadedModel
from clipalign.models.tokenize import tokenize_text
from clipalign.models.vector_store import VectorStore
from clipalign.output.json import line_of
from clipalign.runs.batch import run_batch
from tests.benchmarks.detect_speed import changes
from tests.benchmarks.measure import Bench, Measured, Reading, Row, Turns, alone
from tests.benchmarks.subjects import LAYERS, Files, random_vit_b_32, real_captions, written
from tests.tiny import hashed

SETTINGS: Final = DetectSettings(layers=LAYERS)
SMALL: Final = (500, 375)
LARGE: Final = (4000, 3000)


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


def from_files(
    loaded: LoadedModel, files: Files, output: Path, *, fast: bool = False, cache: Path | None = None
) -> Callable[[], object]:
    """Everything that ``detect --input --output`` does with a loaded model; vectors are kept in ``cache``."""

    def run() -> None:
        scorer = DetectScorer.of(loaded, replace(SETTINGS, fast_decode=fast))
        store = VectorStore(scorer.picture_key, keep_gb=0 if cache is None else 1, cache_dir=cache)
        with output.open("wb") as stream:
            for finished in run_batch(open_input([str(files.table)]).records(), scorer, store=store):
                assert not isinstance(finished.result, ClipalignError)
                stream.write(line_of(finished.answer.to_dict()))
                stream.flush()

    return run


def measure_files(
    bench: Bench, loaded: LoadedModel, files: Files, output: Path, row: tuple[str, str, float], *, fast: bool = False
) -> Row:
    """One input; ``row`` is its key, its words and its goal."""
    key, what, wanted = row
    count, run = len(files.captions), from_files(loaded, files, output, fast=fast)
    turns = bench.turns(in_memory(loaded, files), count, run, count, rounds=5)
    baseline = "encoding and attributing in memory"
    return turns.row(key, f"`detect --input`, {what}", baseline, Reading.RATE, bench, goal=wanted, item="record")


def measure_kept(bench: Bench, loaded: LoadedModel, files: Files, folder: Path) -> Row:
    """A run that reads the vectors that the run before it kept; pictures are told apart by their bytes."""
    for number, path in enumerate(dict.fromkeys(files.pictures)):
        path.write_bytes(path.read_bytes() + bytes(number + 1))
    run = from_files(loaded, files, folder / "out.jsonl", cache=folder / "cache")

    def first() -> None:
        shutil.rmtree(folder / "cache", ignore_errors=True)
        run()

    def second() -> None:
        run()

    count = len(files.captions)
    pairs = [
        (bench.seconds(first) / count, bench.seconds(second) / count) for _ in range(bench.rounds or bench.of(5, 2))
    ]
    what = "`detect --input --keep-vectors`, JPEG of 500 × 375, a caption each"
    return Turns(pairs).row("batch-kept", what, "the run that kept them", Reading.TIMES, bench, goal=6.0, item="record")


def effect_of_fast_decode(loaded: LoadedModel, files: Files) -> str:
    """How far decoding at reduced scale moves results, in words."""
    pairs = [Pair(path, caption) for path in dict.fromkeys(files.pictures) for caption in files.captions[:8]]
    exact, fast = (detect_pairs(loaded, pairs, replace(SETTINGS, fast_decode=fast)) for fast in (False, True))
    return " and ".join(changes(exact, fast))


def measure(bench: Bench) -> Measured:
    """All rows."""
    loaded = random_vit_b_32()
    captions, source = real_captions()
    records, large = bench.of((128, 32), (32, 8))
    many = [captions[index % len(captions)] for index in range(records)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        inputs = {
            ("batch-1", "JPEG of 500 × 375, a caption each", 0.9): (many, records, SMALL, 16),
            ("batch-4", "JPEG of 500 × 375, four captions each", 0.9): (many, records // 4, SMALL, 16),
            ("batch-large", "JPEG of 12 megapixels, a caption each", 0.5): (many[:large], large, LARGE, 4),
        }
        rows, notes, found = [], [f"captions of {source}"], {}
        for row, (texts, pictures, size, distinct) in inputs.items():
            found[row[0]] = files = written(folder / row[0], texts, pictures, size, distinct=distinct)
            rows.append(measure_files(bench, loaded, files, folder / "out.jsonl", row))
        fast = ("batch-fast", "the same with `--fast-decode`", 0.8)
        rows.append(measure_files(bench, loaded, found["batch-large"], folder / "out.jsonl", fast, fast=True))
        notes.append(f"`--fast-decode`: {effect_of_fast_decode(loaded, found['batch-large'])}")
        rows.append(measure_kept(bench, hashed(loaded), found["batch-1"], folder))
    return Measured(rows, notes)


if __name__ == "__main__":
    alone(measure, __doc__)
