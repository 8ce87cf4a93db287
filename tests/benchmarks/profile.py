"""Where each millisecond of ``detect --input`` goes.

    python -m tests.benchmarks.profile

The command itself runs in this process, over JPEG files of 500 × 375, a caption each. Some twenty functions, one a
step of the way, are replaced by ones that look at the clocks before and after; what a step spends inside another
counts for the other, so the parts of the main thread add up to the whole run and nothing counts twice. Workers that
read and prepare pictures run beside it, so their parts are told apart, by their own threads' CPU time. What the clocks
themselves cost is told too: the same run is timed with and without them, in turns.
"""

from __future__ import annotations

import contextlib
import importlib
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, Final
from unittest import mock

from clipalign.device import choose_device
from clipalign.models.load import load_model
from clipalign.models.model import LoadedModel
from tests.benchmarks.measure import Bench, Measured, alone
from tests.benchmarks.subjects import random_vit_b_32, real_captions, written

SIZE: Final = (500, 375)
REST: Final = "everything else"
WAITING: Final = "waiting for pictures"
STEPS: Final[dict[str, tuple[str, ...]]] = {
    "reading records": ("clipalign.data.tables:JsonLines.records",),
    WAITING: ("clipalign.runs.prefetch:Prefetcher.result",),
    "image tower": ("clipalign.methods.detect:encode_prepared",),
    "tokens of captions": ("clipalign.methods.detect:tokenize_text",),
    "text tower, forward": (
        "clipalign.models.text_encoder:CausalTextTower.prefill",
        "clipalign.models.text_encoder:CausalTextTower.answer",
    ),
    "attribution, backward": ("torch.autograd:grad",),
    "attribution, the rest": ("clipalign.methods.detect:attribute",),
    "words and scores": ("clipalign.methods.detect:_result", "clipalign.methods.detect:_words"),
    "record to JSON": (
        "clipalign.results:Result.to_dict",
        "clipalign.runs.writer:plain",
        "clipalign.runs.writer:line_of",
    ),
    "writing": ("clipalign.runs.log:write_all",),
}
"""Steps of the main thread."""
WORKERS: Final[dict[str, tuple[str, ...]]] = {
    "reading files": ("clipalign.data.images:read_image",),
    "decoding": ("clipalign.data.images:open_image",),
    "resizing": ("clipalign.data.transforms:to_square",),
    "to numbers": ("clipalign.methods.detect:prepare_whole",),
}
"""Steps of the threads beside it."""


@dataclass
class Spans:
    """What each step took in each thread, less what the steps inside it took.

    Attributes:
        wall, cpu: seconds by step; ``cpu`` is that of the thread the step ran in.
        calls: by step.
    """

    wall: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    cpu: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    calls: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    here: threading.local = field(default_factory=threading.local)

    @contextlib.contextmanager
    def span(self, step: str) -> Iterator[None]:
        """A stretch of time of ``step``."""
        inside: list[list[float]] = self.here.__dict__.setdefault("inside", [])
        inside.append([0.0, 0.0])
        wall, cpu = time.perf_counter(), time.thread_time()
        try:
            yield
        finally:
            wall, cpu = time.perf_counter() - wall, time.thread_time() - cpu
            others = inside.pop()
            self.wall[step] += wall - others[0]
            self.cpu[step] += cpu - others[1]
            self.calls[step] += 1
            if inside:
                inside[-1][0] += wall
                inside[-1][1] += cpu

    def watched(self, function: Callable[..., Any], step: str) -> Callable[..., Any]:
        """``function``, its calls counted for ``step``; what a generator does between two of its items too."""

        @wraps(function)
        def timed(*arguments: Any, **named: Any) -> Any:
            with self.span(step):
                found = function(*arguments, **named)
            return self._items(found, step) if isinstance(found, Iterator) else found

        return timed

    def _items(self, items: Iterator[Any], step: str) -> Iterator[Any]:
        while True:
            with self.span(step):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item


@contextlib.contextmanager
def watching(spans: Spans) -> Iterator[None]:
    """The steps under watch."""
    with contextlib.ExitStack() as patches:
        for step, places in (STEPS | WORKERS).items():
            for place in places:
                module, _, path = place.partition(":")
                owner: Any = importlib.import_module(module)
                *parents, name = path.split(".")
                for parent in parents:
                    owner = getattr(owner, parent)
                function = getattr(owner, name)
                patches.enter_context(mock.patch.object(owner, name, spans.watched(function, step)))
        yield


@dataclass(frozen=True)
class Profile:
    """One model's.

    Attributes:
        model: which.
        records: how many.
        threads: of torch.
        clock: ``wall``, or ``cpu`` of the main thread alone, for a busy machine; waiting takes nothing then.
        whole_ms: of a record, the whole run in the main thread by that clock, watched, timed around everything.
        unwatched_ms: the same without the clocks in between.
        main: milliseconds of a record by step of the main thread.
        workers: CPU milliseconds of a record by step of the other threads.
    """

    model: str
    records: int
    threads: int
    clock: str
    whole_ms: float
    unwatched_ms: float
    main: dict[str, float]
    workers: dict[str, float]


def command(loaded: LoadedModel, table: Path, output: Path) -> Callable[[], None]:
    """``clipalign detect --input``, with a model that is in memory already."""
    from clipalign.cli import main
    from clipalign.commands import common as many

    line = ["detect", "--input", str(table), "--output", str(output), "--overwrite", "--quiet", "--model", "pictogram"]

    def run() -> None:
        chosen = mock.Mock()
        chosen.load.return_value = loaded
        with mock.patch.object(many, "choose_model", return_value=chosen):
            status = main(line)
        assert status == 0, status

    return run


def profile(bench: Bench, name: str, loaded: LoadedModel, records: int, rounds: int) -> Profile:
    """Run the command watched and unwatched, in turns."""
    captions, _ = real_captions()
    many = [captions[index % len(captions)] for index in range(records)]
    with tempfile.TemporaryDirectory() as folder:
        files = written(Path(folder) / "pictures", many, records, SIZE, distinct=16)
        run = command(loaded, files.table, Path(folder) / "found.jsonl")
        run()
        now = time.thread_time if bench.clock == "cpu" else time.perf_counter
        spans, unwatched, watched = Spans(), 0.0, 0.0
        for _ in range(rounds):
            begin = now()
            run()
            unwatched += now() - begin
            with watching(spans):
                begin = now()
                with spans.span(REST):
                    run()
                watched += now() - begin
    missing = sorted(step for step in STEPS | WORKERS if not spans.calls[step])
    assert not missing, f"never seen: {', '.join(missing)}"
    share = 1000 / (rounds * records)
    taken = spans.cpu if bench.clock == "cpu" else spans.wall
    return Profile(
        model=name,
        records=records,
        threads=bench.threads,
        clock=bench.clock,
        whole_ms=watched * share,
        unwatched_ms=unwatched * share,
        main={step: taken[step] * share for step in (*STEPS, REST)},
        workers={step: spans.cpu[step] * share for step in WORKERS},
    )


def sentences(found: Profile) -> list[str]:
    """The profile in words."""
    lines = [
        f"{found.model}, {found.records} records, {found.threads} threads, {found.clock} clock: "
        f"{found.whole_ms:.2f} ms a record, {found.unwatched_ms:.2f} without the clocks"
    ]
    for title, parts in (("main thread", found.main), ("workers, CPU", found.workers)):
        lines += [
            f"  {title}: {step} {ms:.3f} ms, {ms / found.whole_ms:.1%}"
            for step, ms in sorted(parts.items(), key=lambda part: -part[1])
        ]
    return lines


def measure(bench: Bench) -> Measured:
    """Both models."""
    subjects = {
        "ViT-B/32": (random_vit_b_32(), bench.of(128, 32)),
        "pictogram": (load_model("pictogram", choice=choose_device("cpu")), bench.of(512, 64)),
    }
    profiles = [
        profile(bench, name, loaded, records, bench.rounds or bench.of(3, 1))
        for name, (loaded, records) in subjects.items()
    ]
    return Measured([], [line for one in profiles for line in sentences(one)], profiles=profiles)


if __name__ == "__main__":
    alone(measure, __doc__)
