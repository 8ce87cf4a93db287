"""A run of ``detect`` over 200,000 pairs: memory, open files and threads stay what they were after the first thousands.

    python -m tests.hardening soak --cases 200000

Pairs name pictures that repeat, in turns and at random, more of them than a run remembers; every now and then one is
missing, cut short or no picture at all, a caption is empty or very long. The process is watched from outside, a
hundred times over the run; the figures keep twenty of the points.
"""

from __future__ import annotations

import json
import os
import random
import tempfile
import threading
import time
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Final

from PIL import Image

from tests.hardening.process import Run, Started, warm
from tests.hardening.report import Asked, Part, Row, typed_command

PAIRS: Final = 200_000
PICTURES: Final = 400
"""More than a run remembers."""

WARM_SHARE: Final = 0.05
"""Of the run: caches fill, allocators find their size."""

GROWTH_MB: Final = 32.0
"""Allowed between the end of the first part and any later moment. Allocators keep pages that were torn here and there:
a run of 200,000 pairs grew by 11 MB and then no more, of 427. A leak of a single picture of 64 × 64 pixels in a hundred
pairs would be 24 MB, one of 200 bytes a pair 40."""

BEING_READ: Final = 16
"""Pictures that are open at a moment, at most (``clipalign.runs.prefetch.READERS``)."""

LOST_EVERY: Final = 211
POINTS: Final = 20
SAMPLES: Final = 100
HANG_SECONDS: Final = 3600.0

WORDS: Final = ("red", "blue", "green", "yellow", "black", "white")
THINGS: Final = ("circle", "square", "star", "heart", "cup", "tree", "car", "cat")

MODEL: Final = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 8, "patch_size": 32, "head_width": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 8, "heads": 1, "layers": 1},
}
"""So small that everything around it is what counts: the rest of the product makes most of the work."""


@dataclass(frozen=True)
class Point:
    """The process at a moment.

    Attributes:
        seconds: since its start.
        records: that it had written.
        rss_mb: memory it held.
        files: it had open.
        threads: it had.
    """

    seconds: float
    records: int
    rss_mb: float
    files: int
    threads: int


def write_model(folder: Path) -> str:
    """A random model in files, as ``--model`` takes it."""
    import torch
    from safetensors.torch import save_file

    from clipalign.models.load import import_open_clip

    torch.manual_seed(0)
    (folder / "small.json").write_text(json.dumps(MODEL))
    save_file(import_open_clip().model.CLIP(**MODEL).state_dict(), folder / "small.safetensors")
    return f"{folder / 'small.json'}@{folder / 'small.safetensors'}"


def write_input(folder: Path, pairs: int, seed: int) -> Path:
    """The pairs and their pictures."""
    rng = random.Random(seed)
    for number in range(PICTURES):
        shown = Image.new("RGB", (64, 64), (number % 256, number * 7 % 256, number * 31 % 256))
        shown.save(folder / f"{number}.png")
    (folder / "cut.png").write_bytes((folder / "1.png").read_bytes()[:60])
    (folder / "text.png").write_text("no picture")
    path = folder / "pairs.jsonl"
    with path.open("w", encoding="utf-8") as stream:
        for number in range(pairs):
            turn = number // 5 if number % 1000 < 500 else rng.randrange(PICTURES)
            image = f"{turn % PICTURES}.png"
            text = f"a {WORDS[number % 6]} {THINGS[number % 8]} left of a {WORDS[number // 6 % 6]} {THINGS[number % 7]}"
            if number % LOST_EVERY == 7:
                image = rng.choice(("missing.png", "cut.png", "text.png"))
            if number % LOST_EVERY == 70:
                text = rng.choice(("", "…", "dog " * 500, "\u202e\x00"))
            stream.write(json.dumps({"id": str(number), "image": image, "text": text}) + "\n")
    return path


class _Watch(threading.Thread):
    """Looks at a process now and then, from outside."""

    def __init__(self, pid: int, output: Path, pairs: int) -> None:
        super().__init__(daemon=True)
        self._pid, self._output, self._pairs = pid, output, pairs
        self._began = time.monotonic()
        self._done = threading.Event()
        self.points: list[Point] = []

    def run(self) -> None:
        """Until :meth:`end`, or the process is gone."""
        counted, place = 0, 0
        while not self._done.wait(0.5):
            try:
                with self._output.open("rb") as stream:
                    stream.seek(place)
                    data = stream.read()
                place, counted = place + len(data), counted + data.count(b"\n")
            except OSError:
                continue
            if counted < len(self.points) * self._pairs / SAMPLES:
                continue
            try:
                point = self._look(counted)
                if point.rss_mb:  # it is not over
                    self.points.append(point)
            except (OSError, IndexError):
                return

    def end(self) -> None:
        """No more."""
        self._done.set()
        self.join()

    def _look(self, records: int) -> Point:
        process = Path("/proc") / str(self._pid)
        pages = int((process / "statm").read_text().split()[1])
        threads = int((process / "stat").read_text().rpartition(") ")[2].split()[17])
        rss = pages * os.sysconf("SC_PAGE_SIZE") / 1e6
        files = len([*(process / "fd").iterdir()])
        return Point(round(time.monotonic() - self._began, 1), records, round(rss, 1), files, threads)


def run(asked: Asked) -> Part:
    """The run, watched, and its curve."""
    pairs, seed = asked.cases or PAIRS, asked.seed
    began = time.monotonic()
    warm()
    with tempfile.TemporaryDirectory(prefix="clipalign-soak-") as name:
        folder = Path(name)
        output = folder / "out.jsonl"
        line = ["detect", "--model", _model_apart(folder), "--layers", "1", "--batch-size", "64", "-q", "--output"]
        line += [str(output), "--input", str(write_input(folder, pairs, seed)), "--image-root", str(folder)]
        started = Started(Run(line, folder))
        watch = _Watch(started.pid, output, pairs)
        watch.start()
        ended = started.end(seconds=60 * asked.minutes if asked.minutes else HANG_SECONDS)
        watch.end()
        with output.open("rb") as stream:
            lines = sum(1 for _ in stream)
        written_mb = output.stat().st_size / 1e6
    points = watch.points
    failures = _failures(points, pairs, ended.status, lines, ended.hung)
    settled = _settled(points, pairs)
    peak = max((point.rss_mb for point in points), default=0.0)
    note = (
        f"{settled.rss_mb:.0f} MB after {settled.records:,} pairs, at most {peak:.0f} MB after that; "
        if settled
        else ""
    )
    note += f"{lines / max(ended.seconds, 1e-9):.0f} pairs a second; {written_mb:.0f} MB written"
    row = Row("detect --input over many pairs", ["detect"], pairs, failures, note)
    wrong = {kind: count for kind, count in failures.items() if count}
    failing = [{"case": f"soak, seed {seed}: {ended.err[-300:]}", "failures": wrong}] if wrong else []
    bounds = f"Memory may grow by {GROWTH_MB:.0f} MB after the first {WARM_SHARE:.0%}; threads not at all, open files "
    bounds += f"by the {BEING_READ} pictures that may be read at a moment."
    step = max(1, len(points) // POINTS)
    curve = [astuple(point) for point in [*points[:-1:step], *points[-1:]]]
    return Part("soak", seed, time.monotonic() - began, [row], typed_command(), failing, bounds, curve)


def _model_apart(folder: Path) -> str:
    """The model's files, made in a fork: this process must not have computed anything before it forks a run."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            write_model(folder)
            status = 0
        finally:
            os._exit(status)
    if os.waitpid(pid, 0)[1]:
        raise RuntimeError("the model could not be made")
    return f"{folder / 'small.json'}@{folder / 'small.safetensors'}"


def _settled(points: list[Point], pairs: int) -> Point | None:
    """The first point behind the warm-up."""
    return next((point for point in points if point.records >= WARM_SHARE * pairs), None)


def _failures(points: list[Point], pairs: int, status: int, lines: int, hung: bool) -> dict[str, int]:
    settled = _settled(points, pairs)
    later = [point for point in points if settled is not None and point.records >= settled.records]
    grown = settled is not None and max(point.rss_mb for point in later) > settled.rss_mb + GROWTH_MB
    return {
        "memory": int(grown or not later),
        "open files": int(settled is not None and max(point.files for point in later) > settled.files + BEING_READ),
        "threads": int(settled is not None and max(point.threads for point in later) > settled.threads),
        "lost, doubled or torn": int(lines != pairs),
        "wrong status": int(status != 3),  # some pictures are missing
        "hang": int(hung),
    }
