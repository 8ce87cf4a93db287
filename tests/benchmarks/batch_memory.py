"""That memory does not grow with the input: the peak of ``detect --input`` over 2,000 and over 200,000 pairs.

    python -m tests.benchmarks.batch_memory

Each number of pairs runs in a process of its own, through the command line, with a random model so small that the rest
is what counts: JSON lines in, JSON lines out, every picture decoded again because more of them take turns than are
remembered. The peak is what the system says the process ever held (``ru_maxrss``), beside what it was after a first run
over 200 pairs; ``--sizes`` takes other numbers, ``--kind`` other inputs.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from rich.console import Console
from rich.table import Table

PICTURES = 400
"""More than a run remembers."""

WARM_UP = 200

MODEL = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 8, "patch_size": 32, "head_width": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}

WORDS = ("red", "blue", "green", "yellow", "black", "white")
THINGS = ("circle", "square", "star", "heart", "cup", "tree", "car", "cat")
KINDS = ("jsonl", "json", "csv", "tar")


def pictures(folder: Path) -> list[Path]:
    """Small pictures of one colour each."""
    found = []
    for index in range(PICTURES):
        path = folder / f"{index}.png"
        Image.new("RGB", (64, 64), (index % 256, index * 7 % 256, index * 31 % 256)).save(path)
        found.append(path)
    return found


def rows(folder: Path, count: int) -> Iterator[tuple[str, str]]:
    """Picture and text of every pair."""
    paths = pictures(folder)
    for index in range(count):
        text = f"a {WORDS[index % 6]} {THINGS[index % 8]} left of a {WORDS[index // 6 % 6]} {THINGS[index // 8 % 8]}"
        yield str(paths[index % PICTURES]), text


def written(folder: Path, count: int, kind: str) -> Path:
    """An input of ``count`` pairs."""
    path = folder / f"pairs.{kind}"
    if kind == "tar":
        with tarfile.open(path, "w") as tar:
            for index, (image, text) in enumerate(rows(folder, count)):
                caption = folder / "caption.txt"
                caption.write_text(text)
                tar.add(image, f"{index:07}.png")
                tar.add(caption, f"{index:07}.txt")
        return path
    with path.open("w", newline="", encoding="utf-8") as file:
        if kind == "csv":
            csv.writer(file).writerows([("image", "text"), *rows(folder, count)])
        else:
            objects = (json.dumps({"image": image, "text": text}) for image, text in rows(folder, count))
            separator = "\n" if kind == "jsonl" else ",\n"
            file.write("[" if kind == "json" else "")
            for index, line in enumerate(objects):
                file.write((separator if index else "") + line)
            file.write("]" if kind == "json" else "\n")
    return path


def model(folder: Path) -> str:
    """A random model in files, as ``--model`` takes it."""
    import torch
    from safetensors.torch import save_file

    from clipalign.pipeline.model import import_open_clip

    torch.manual_seed(0)
    (folder / "small.json").write_text(json.dumps(MODEL))
    save_file(import_open_clip().model.CLIP(**MODEL).state_dict(), folder / "small.safetensors")
    return f"{folder / 'small.json'}@{folder / 'small.safetensors'}"


def peak_bytes() -> int:
    """The most memory this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def run_one(count: int, kind: str) -> None:
    """In a process of its own: run, and say the peaks in bytes, the seconds it took, and what it wrote."""
    from clipalign.cli import main as clipalign

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        output = folder / "out.jsonl"
        line = ["detect", "--model", model(folder), "--layers", "1", "--batch-size", "64", "-q", "--overwrite"]
        line += ["--output", str(output), "--input"]
        assert clipalign([*line, str(written(folder, WARM_UP, kind))]) == 0
        first = peak_bytes()
        path = written(folder, count, kind)
        begin = time.perf_counter()
        status = clipalign([*line, str(path)])
        seconds = time.perf_counter() - begin
        peak = peak_bytes()
        with output.open("rb") as file:
            lines = sum(1 for _ in file)
        size = output.stat().st_size
    assert status == 0, status
    assert lines == count, (lines, count)
    print(json.dumps({"first": first, "peak": peak, "seconds": seconds, "written": size}))


def main() -> None:
    """Run each size apart, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_000, 200_000])
    parser.add_argument("--kind", choices=KINDS, default="jsonl")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one is not None:
        run_one(arguments.one, arguments.kind)
        return
    columns = ("pairs", f"MB after {WARM_UP} pairs", "peak MB", "grown by MB", "written MB", "pairs a second")
    table = Table(*columns, title=f"detect --input pairs.{arguments.kind}")
    for size in arguments.sizes:
        line = ["--one", str(size), "--kind", arguments.kind]
        done = subprocess.run(
            [sys.executable, "-m", "tests.benchmarks.batch_memory", *line], stdout=subprocess.PIPE, check=True
        )
        said = json.loads(done.stdout)
        table.add_row(
            f"{size:,}",
            f"{said['first'] / 1e6:.0f}",
            f"{said['peak'] / 1e6:.0f}",
            f"{(said['peak'] - said['first']) / 1e6:.1f}",
            f"{said['written'] / 1e6:.1f}",
            f"{size / said['seconds']:.0f}",
        )
    Console(width=100).print(table)


if __name__ == "__main__":
    main()
