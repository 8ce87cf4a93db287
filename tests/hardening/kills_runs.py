"""Evaluations and trainings that are killed: what lies in their folders is whole, and they go on where they were."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import numpy as np
from PIL import Image

from tests.hardening.kills_scenes import CLASSES, TINY, TINY_LONG, Scene, agree, is_cache_part, without_place

TERMS: Final = frozenset({"samples_per_second"})
"""Of a step's record: what depends on the clock."""


# --- eval -------------------------------------------------------------------------------------------------------------


def _hat(count: int) -> Callable[[Path], None]:
    def lay_out(folder: Path) -> None:
        from tests.word_datasets import hat_rows, write_hat

        rows = hat_rows(count)
        for number, row in enumerate(rows):
            row["image_path"] = f"COCO_val2014_{number % 12:012d}.jpg"
            row["references"] = []
        rows[7]["image_path"] = "COCO_val2014_999999999999.jpg"
        write_hat(folder / "data", rows)
        (folder / "data" / "val2014" / "COCO_val2014_999999999999.jpg").write_bytes(b"no picture")

    return lay_out


def _cifar(count: int) -> Callable[[Path], None]:
    def lay_out(folder: Path) -> None:
        top = folder / "data" / "cifar-10-batches-bin"
        top.mkdir(parents=True)
        (top / "batches.meta.txt").write_text("\n".join(CLASSES))
        rows = (bytes([n % 3]) + bytes((n * 37 + p // 9) % 256 for p in range(3072)) for n in range(count))
        (top / "test_batch.bin").write_bytes(b"".join(rows))
        (folder / "classes.json").write_text(json.dumps(CLASSES))

    return lay_out


def _urban(count: int) -> Callable[[Path], None]:
    def lay_out(folder: Path) -> None:
        for name in ("image", "caption"):
            (folder / "data" / name).mkdir(parents=True)
        for number in range(1, count + 1):
            shown = Image.new("RGB", (40, 30), (number * 7 % 256, number * 31 % 256, 90))
            shown.save(folder / "data" / "image" / f"{number}.jpg")
            said = f"Street {number} is long. Car {number % 9} is red, and tree {number % 5} is old. The sky is grey."
            (folder / "data" / "caption" / f"{number}.txt").write_text(said)

    return lay_out


def _small_chunks() -> None:
    """What a run scores together, and so what a kill may cost, is smaller here, so that there is more to go on with."""
    from clipalign.evaluation.tasks.class_sets import Cifar
    from clipalign.evaluation.tasks.long_captions import LongEvaluator
    from clipalign.evaluation.tasks.words import DetectEvaluator

    DetectEvaluator.chunk_samples = 32
    LongEvaluator.chunk_samples = 16
    Cifar.pool = 6


def _eval_look(folder: Path) -> list[str]:
    samples = folder / "run" / "samples.jsonl"
    data = samples.read_bytes() if samples.exists() else b""
    found = []
    try:
        ids = [json.loads(line)["id"] for line in data[: data.rfind(b"\n") + 1].splitlines()]
        if len(ids) != len(set(ids)):
            found.append("samples.jsonl has a sample twice")
    except ValueError as error:
        found.append(f"samples.jsonl has a torn record that is not its last: {error}")
    for name in ("run.json", "result.json"):
        place = folder / "run" / name
        if place.exists():
            try:
                json.loads(place.read_bytes())
            except ValueError:
                found.append(f"{name} is not whole")
    return found


def _eval_compare(folder: Path, whole: Path) -> list[str]:
    found = []
    for name in ("samples.jsonl", "result.json", "run.json"):
        here, there = (_documents(one / "run" / name, one) for one in (folder, whole))
        if not here:
            found.append(f"there is no {name}")
        elif not agree(here, there):
            found.append(f"{name} is not what an unbroken run writes")
    ids = [record["id"] for record in _documents(folder / "run" / "samples.jsonl", folder)]
    wanted = [record["id"] for record in _documents(whole / "run" / "samples.jsonl", whole)]
    if ids != wanted:
        found.append(f"{len(set(wanted) - set(ids))} samples are lost, {len(ids) - len(set(ids))} doubled, or moved")
    return found


def _documents(path: Path, folder: Path) -> list[Any]:
    if not path.exists():
        return []
    text = without_place(path.read_text(encoding="utf-8"), folder)
    if path.suffix != ".jsonl":
        return [json.loads(text)]
    return [_with_vectors(json.loads(line)) for line in text.splitlines()]


def _with_vectors(record: dict[str, Any]) -> dict[str, Any]:
    """``record`` with the vectors of a benchmark of retrieval as numbers, which are compared up to rounding."""
    if isinstance(record.get("texts"), str):
        for name in ("image", "texts"):
            record[name] = np.frombuffer(base64.b64decode(record[name]), "<f4").tolist()
    return record


def _eval(kind: str, lay_out: Callable[[Path], None], count: int, *arguments: str, done: int = 0) -> Scene:
    def progress(folder: Path, line: int) -> float:
        samples = folder / "run" / "samples.jsonl"
        return min(1.0, samples.read_bytes().count(b"\n") / count) if samples.exists() else 0.0

    line = ["eval", *arguments, "--data-root", "data", "--output", "run", "-q"]
    return Scene(
        kind=kind,
        group="eval",
        commands=("eval",),
        lay_out=lay_out,
        lines=lambda folder: [line],
        compare=_eval_compare,
        done=frozenset({done}),
        look=_eval_look,
        prepare=lambda folder: _small_chunks,
        progress=progress,
        stray=is_cache_part,
        cold=False,
    )


def eval_scenes(scale: float = 1.0) -> list[Scene]:
    """Evaluations of a second or two each at a scale of 1, by each of the three routes."""
    many, some, few = (max(24, int(count * scale)) for count in (400, 80, 120))
    wca = ("--dataset", "cifar10", "--model", TINY, "--method", "wca", "--descriptions", "classes.json", "--crops", "4")
    return [
        _eval("eval, words", _hat(many), many, "--dataset", "hat", "--model", TINY, done=3),
        _eval("eval, classes", _cifar(some), some, *wca),
        _eval("eval, long texts", _urban(few), few, "--dataset", "urban1k", "--model", TINY_LONG),
    ]


# --- train-specs ------------------------------------------------------------------------------------------------------


def _steps(path: Path) -> list[dict[str, Any]]:
    found = []
    for line in path.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        found.append({name: value for name, value in record.items() if name not in TERMS})
    return found


def _train_compare(folder: Path, whole: Path) -> list[str]:
    """The same curve, number by number, and the same weights, bit by bit."""
    found = []
    run, other = folder / "run", whole / "run"
    if _steps(run / "metrics.jsonl") != _steps(other / "metrics.jsonl"):
        found.append("metrics.jsonl is not the curve of an unbroken run")
    for path in [*sorted(other.rglob("*.safetensors")), other / "config.json"]:
        here = run / path.relative_to(other)
        if not here.exists():
            found.append(f"there is no {here.name}")
        elif not _same_weights(here, path) if path.suffix == ".safetensors" else here.read_bytes() != path.read_bytes():
            found.append(f"{here.relative_to(run)} is not that of an unbroken run")
    return found


def _same_weights(one: Path, other: Path) -> bool:
    """Bit by bit; the files may name their metadata in another order."""
    import torch
    from safetensors.torch import load_file

    ours, theirs = load_file(one), load_file(other)
    return ours.keys() == theirs.keys() and all(torch.equal(value, theirs[name]) for name, value in ours.items())


def _train_look(folder: Path) -> list[str]:
    """Weights and checkpoints are whole or not there."""
    from safetensors import SafetensorError, safe_open

    found = []
    for path in (folder / "run").rglob("*.safetensors"):
        if ".part" in str(path.relative_to(folder)):
            continue
        try:
            with safe_open(path, framework="pt") as content:
                list(content.keys())
        except (SafetensorError, OSError) as error:
            found.append(f"{path.name} is not whole: {error}")
    return found


def _train(kind: str, steps: int, *more: str) -> Scene:
    line = ["train-specs", "--data", f"pictogram:{2 * steps}", "--init", TINY_LONG, "--held-out", "4"]
    line += ["--batch-size", "2", "--accumulate", "1", "--epochs", "1", "--learning-rate", "1e-3", "--draws", "2"]
    line += ["--warmup-steps", "2", "--workers", "1", "--save-every", "2", "--validate-every", "5", "-q"]
    line += ["--output", "run", *more]

    def progress(folder: Path, number: int) -> float:
        metrics = folder / "run" / "metrics.jsonl"
        return min(1.0, metrics.read_bytes().count(b'"loss"') / steps) if metrics.exists() else 0.0

    return Scene(
        kind=kind,
        group="training",
        commands=("train-specs",),
        lay_out=lambda folder: None,
        lines=lambda folder: [line],
        compare=_train_compare,
        look=_train_look,
        progress=progress,
        stray=lambda name: is_cache_part(name) or "/tensorboard/" in name,
        cold=False,
    )


def _raw(count: int) -> Callable[[Path], None]:
    def lay_out(folder: Path) -> None:
        shown = io.BytesIO()
        Image.new("RGB", (8, 8)).save(shown, "PNG")
        for number in range(20):
            (folder / f"{number}.png").write_bytes(shown.getvalue())
        with (folder / "raw.jsonl").open("w", encoding="utf-8") as stream:
            for number in range(count):
                text = f"A red square, {number} of them. It is number {number}, with a frame. Nothing else is there."
                image = "gone.png" if number % 50 == 49 else f"{number % 20}.png"
                stream.write(json.dumps({"image": image, "text": text}) + "\n")

    return lay_out


def _small_parts() -> None:
    from clipalign.training import prepare as specs_prepare

    specs_prepare.PART_RECORDS = 60  # type: ignore[misc]


def _prepare_compare(folder: Path, whole: Path) -> list[str]:
    found = []
    for path in sorted((whole / "data").iterdir()):
        here = folder / "data" / path.name
        if not here.exists():
            found.append(f"there is no {path.name}")
        elif _placeless(here, folder) != _placeless(path, whole):
            found.append(f"{path.name} is not what an unbroken run writes")
    return found


def _placeless(path: Path, folder: Path) -> bytes:
    data = path.read_bytes()
    return data.replace(str(folder).encode(), b"FOLDER")


def _prepare(kind: str, count: int) -> Scene:
    line = ["train-specs", "--prepare", "raw.jsonl", "--data", "data", "--workers", "1", "-q"]
    return Scene(
        kind=kind,
        group="training",
        commands=("train-specs",),
        lay_out=_raw(count),
        lines=lambda folder: [line],
        compare=_prepare_compare,
        resume=(),
        prepare=lambda folder: _small_parts,
        cold=False,
    )


def training_scenes(scale: float = 1.0) -> list[Scene]:
    """Trainings of a few seconds each at a scale of 1, with and without a picture tower that learns; a preparation."""
    steps, raw = max(4, int(12 * scale)), max(200, int(600 * scale))
    return [
        _train("train-specs", steps),
        _train("train-specs, frozen pictures", steps, "--freeze", "image", "--blend", "0.5"),
        _prepare("train-specs --prepare", raw),
    ]
