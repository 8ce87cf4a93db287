"""Small data sets in the layouts of the real ones, with captions of our own and pictures that are drawn here."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from clipalign.evaluation.registry import find_benchmark
from clipalign.evaluation.tasks.words import WordBenchmark

THINGS = ("dog", "cat", "bicycle", "red kite", "spoon", "boat", "clock", "sheep", "pizza", "umbrella")
WRONG = ("cat", "horse", "fire truck", "kite", "fork", "train", "vase", "goat", "cake", "hat box")
PLACES = ("on a table", "near the sea.", "in a field, at night", "beside two chairs", "under a bridge.")
DOMAINS = ("in-domain", "near-domain", "out-domain")


def word_set(name: str, folder: Path) -> WordBenchmark:
    """The benchmark of that name on the data in ``folder``."""
    found = find_benchmark(name, data_root=folder)
    assert isinstance(found, WordBenchmark)
    return found


def picture(name: str, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A picture that only its name decides: coarse noise, enlarged."""
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big"))
    coarse = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size, Image.Resampling.BICUBIC)


def draw(folder: Path, names: Iterable[str]) -> None:
    """Files under these names."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in set(names):
        picture(name).save(folder / name, "PNG")  # whatever the ending says; nothing is lost


def caption(number: int, thing: str) -> str:
    """A sentence about a thing."""
    return f"A photo of a {thing} {PLACES[number % len(PLACES)]}"


def nocaps_rows(count: int = 10) -> list[dict[str, Any]]:
    """Rows of ``nocaps-val-foil.json``; those of numbers 2 and 9 have foils of two words."""
    return [
        {
            "image_path": f"{number:016x}.jpg",
            "references": [caption(number + 1, THINGS[number % 10]), f"There is a {THINGS[number % 10]}. "],
            "baseline": f"{caption(number, THINGS[number % 10])} ",
            "foil": caption(number, WRONG[number % 10]),
            "replacement": [THINGS[number % 10], WRONG[number % 10]],
            "domain": DOMAINS[number % 3],
        }
        for number in range(count)
    ]


def write_nocaps(folder: Path, rows: list[dict[str, Any]] | None = None) -> Path:
    """A copy of nocaps-FOIL: twenty samples of ten pictures unless ``rows`` says otherwise."""
    rows = nocaps_rows() if rows is None else rows
    draw(folder / "images", [row["image_path"] for row in rows])
    (folder / "nocaps-val-foil.json").write_text(json.dumps(rows))
    return folder


def hat_rows(count: int = 20) -> list[dict[str, Any]]:
    """Rows of ``hat-trainval.json``; every third is hallucinated, two words of it."""
    rows = []
    for number in range(count):
        words = caption(number, WRONG[number % 10]).split()
        wrong = {4, 5} if number % 3 == 0 else set()
        rows.append(
            {
                "sample_id": f"sample-{number}",
                "caption": " ".join(words),
                "grounding": [[word, place in wrong] for place, word in enumerate(words)],
                "contains_hallucination": bool(wrong),
                "image_path": f"COCO_val2014_{number // 2:012d}.jpg",
                "references": [caption(number, THINGS[number % 10])],
            }
        )
    return rows


def write_hat(folder: Path, rows: list[dict[str, Any]] | None = None) -> Path:
    """A copy of HAT."""
    rows = hat_rows() if rows is None else rows
    draw(folder / "val2014", [row["image_path"] for row in rows])
    (folder / "hat-trainval.json").write_text(json.dumps(rows))
    return folder


def write_foil(folder: Path, *, captions: bool = True) -> Path:
    """A copy of FOIL: ten pictures, a correct caption and a foil of each; references where ``captions``."""
    names = [f"COCO_val2014_{n:012d}.jpg" for n in range(10)]
    images = [{"id": 100 + n, "file_name": name} for n, name in enumerate(names)]
    draw(folder / "val2014", names)
    rows = []
    for wanted in ("ORIG", "foil"):  # all correct captions first: samples of a picture are far from each other
        for n in range(10):
            thing = THINGS[n] if wanted == "ORIG" else WRONG[n]
            word = "ORIG" if wanted == "ORIG" else WRONG[n].title()
            rows.append({"id": 7000 + n, "image_id": 100 + n, "caption": caption(n, thing), "foil_word": word})
    (folder / "foilv1.0_test_2017.json").write_text(json.dumps({"images": images, "annotations": rows}))
    if captions:
        coco = [{"id": 7000 + n, "image_id": 100 + n, "caption": caption(n, THINGS[n])} for n in range(10)]
        coco += [{"id": 8000 + n, "image_id": 100 + n, "caption": f"I see a {THINGS[n]}\n"} for n in range(10)]
        (folder / "annotations").mkdir(exist_ok=True)
        (folder / "annotations" / "captions_val2014.json").write_text(json.dumps({"annotations": coco}))
    return folder


def richhf_prompts(count: int = 20) -> dict[str, tuple[str, str, float]]:
    """uid → prompt, labels of its tokens, misalignment score; every other prompt has a word that is not shown."""
    found = {}
    for number in range(count):
        prompt = f'{caption(number, WRONG[number % 10])}, "{THINGS[number % 10]}"; highly detailed!'
        tokens = [token for token in _split(prompt) if token]
        labels = ["0" if place == 4 and number % 2 else "1" for place in range(len(tokens))]
        found[f"uid-{number:04d}"] = (prompt, " ".join(labels), (number * 7 % 20) / 20)
    return found


def _split(prompt: str) -> list[str]:
    for mark in ',.?!":;':
        prompt = prompt.replace(mark, " ")
    return prompt.split(" ")


def write_richhf(folder: Path, prompts: Mapping[str, tuple[str, str, float]] | None = None) -> Path:
    """A copy of Rich-HF; needs the library that writes TFRecord."""
    from tfrecord.writer import TFRecordWriter

    prompts = richhf_prompts() if prompts is None else prompts
    folder.mkdir(parents=True, exist_ok=True)
    draw(folder / "images", [f"{uid}.png" for uid in prompts])
    writer = TFRecordWriter(str(folder / "test.tfrecord"))
    for uid, (prompt, labels, score) in prompts.items():
        (folder / "images" / f"{uid}.txt").write_text(prompt)
        writer.write(
            {
                "filename": (f"test/{uid}.png".encode(), "byte"),
                "misalignment_score": (score, "float"),
                "overall_score": (0.5, "float"),
                "artifact_map": (b"\x89PNG", "byte"),
                "prompt_misalignment_label": (labels.encode(), "byte"),
            }
        )
    writer.close()
    return folder


def write_seetrue(folder: Path, count: int = 20, *, shards: int = 2) -> Path:
    """A copy of SeeTRUE-Feedback in Parquet, as the Hub has it."""
    import pyarrow
    from pyarrow import parquet

    (folder / "data").mkdir(parents=True, exist_ok=True)
    rows = []
    for number in range(count):
        content = io.BytesIO()
        picture(str(number)).save(content, "JPEG")
        rows.append(
            {
                "image": {"bytes": content.getvalue(), "path": f"{number}.jpg"},
                "image_caption": caption(number, WRONG[number % 10]),
                "caption_misalignment": f"a {WRONG[number % 10]}",
                "dataset_source": ("COCO-Con", "PickaPic", "DrawBench")[number % 3],
                "id_in_source_dataset": number * 11,
                "human_feedback": ["not there"],
            }
        )
    size = -(-count // shards)
    for shard in range(shards):
        table = pyarrow.Table.from_pylist(rows[shard * size : (shard + 1) * size])
        parquet.write_table(table, folder / "data" / f"test-{shard:05d}-of-{shards:05d}-0a1b.parquet")
    return folder
