"""What starting costs: help, version and mistakes, and a first ``detect`` with the embedded model.

    python -m tests.benchmarks.startup

Every command runs in fresh processes, in turns with ``import torch, open_clip``, the libraries that every detection has
to import. Where torchvision was built for another torch than the one that is here, open_clip cannot be imported as it
stands; then the baseline declares the two operators it stumbles over, which is the least that makes it run.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from tests.benchmarks.measure import Bench, Measured, Reading, Row, Turns, alone

ROOT: Final = Path(__file__).parents[2]
PLAIN: Final = "import torch, open_clip"
DECLARED: Final = """import torch
library = torch.library.Library("torchvision", "DEF")
for operator in ("nms", "qnms"):
    library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
import open_clip"""

PICTURE: Final = "clipalign/pictogram/example.png"
TEXT: Final = "a dog and two balloons on a blue background"
LIGHT: Final[Mapping[str, tuple[str, ...]]] = {
    "--help": ("--help",),
    "detect --help": ("detect", "--help"),
    "--version": ("--version",),
    "a mistyped command": ("detct",),
    "a missing argument": ("detect", PICTURE),
}
HELP_SECONDS: Final = 0.25
ANSWER_SECONDS: Final = 0.3
"""For what is said before anything heavy is imported."""
DETECT_TIMES: Final = 2.0


def process(bench: Bench, line: Sequence[str], statuses: Sequence[int] = (0,)) -> Callable[[], float]:
    """What runs ``line`` in a fresh process and returns its seconds by the clock of the run."""
    import resource

    environment = {**os.environ, "OMP_NUM_THREADS": str(bench.threads)}

    def run() -> float:
        before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
        done = subprocess.run(line, cwd=ROOT, env=environment, capture_output=True)
        wall, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
        assert done.returncode in statuses, done.stderr.decode(errors="replace")
        cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return cpu if bench.clock == "cpu" else wall

    return run


def import_line() -> tuple[list[str], str]:
    """The baseline's command line, and what it is in words."""
    plain = [sys.executable, "-c", PLAIN]
    if subprocess.run(plain, capture_output=True).returncode == 0:
        return plain, f"`{PLAIN}`"
    return [sys.executable, "-c", DECLARED], f"`{PLAIN}`, torchvision's operators declared"


def measure(bench: Bench) -> Measured:
    """All rows."""
    program = [sys.executable, "-m", "clipalign"]
    line, said = import_line()
    imports = process(bench, line)
    lines: dict[str, Callable[[], float]] = {
        name: process(bench, [*program, *arguments], statuses=(0, 2)) for name, arguments in LIGHT.items()
    }
    detect = process(
        bench, [*program, "detect", PICTURE, TEXT, "--model", "pictogram", "--format", "json", "--offline"]
    )

    rounds = bench.rounds or bench.of(7, 3)
    for run in (imports, detect, *lines.values()):
        run()
    times: dict[str, list[float]] = {name: [] for name in lines}
    pairs = []
    for index in range(rounds):
        for name, run in lines.items():
            times[name].append(run())
        order = (imports, detect) if index % 2 == 0 else (detect, imports)
        took = {run: run() for run in order}
        pairs.append((took[imports], took[detect]))
    rows = [
        Turns(pairs).row(
            "startup-detect",
            "the first `detect`, with `pictogram`, a whole process",
            said,
            Reading.COST,
            bench,
            goal=DETECT_TIMES,
            item="process",
            device="",
        )
    ]
    for name, seconds in times.items():
        rows.append(
            Row(
                key=f"startup-{name.strip('-').replace(' ', '-')}",
                what=f"`clipalign {name}`" if name.startswith(("-", "detect")) else f"`clipalign`: {name}",
                baseline="a whole process",
                reading=Reading.SECONDS,
                median=statistics.median(seconds),
                low=min(seconds),
                high=max(seconds),
                rounds=rounds,
                goal=HELP_SECONDS if name == "--help" else ANSWER_SECONDS,
                item="process",
                clock=bench.clock,
                device="",
            )
        )
    share = statistics.median(times["--help"]) / statistics.median(base for base, _ in pairs)
    notes = [
        f"--help takes {share:.3f} of the time of the imports",
        "completion starts no process: the scripts in completions/ hold all words",
    ]
    return Measured(rows, notes)


if __name__ == "__main__":
    alone(measure, __doc__)
