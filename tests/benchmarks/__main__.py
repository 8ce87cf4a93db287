"""Every benchmark, one command; the figures, the page and the README's table are renewed from what it measured.

    python -m tests.benchmarks                   # all, on a quiet machine
    python -m tests.benchmarks detect_speed      # one of them
    python -m tests.benchmarks --resume          # goes on where the last run was cut
    python -m tests.benchmarks --quick           # a look; keeps nothing without --keep
    python -m tests.benchmarks --render          # page, plot and table from the figures that are there

Each runs in a process of its own; its figures are kept as soon as it is done, so that one that fails costs no other.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, Final

from tests.benchmarks.measure import Bench, add_options, bench_of, machine
from tests.benchmarks.page import FIGURES, kept_figures, render
from tests.figures import write_figures

ROOT: Final = Path(__file__).parents[2]
BENCHMARKS: Final = (
    "detect_speed",
    "peers_speed",
    "engines",
    "batch_speed",
    "classify_speed",
    "score_long_speed",
    "train_speed",
    "eval_speed",
    "startup",
    "accelerator",
    "profile",
)
"""In the order of the page."""


def run(name: str, bench: Bench, device: str | None) -> dict[str, Any] | None:
    """Run one in a process of its own; None where it failed."""
    line = [sys.executable, "-m", f"tests.benchmarks.{name}", *bench.flags]
    line += ["--device", device] if device and name == "accelerator" else []
    shown = " ".join(["python", *line[1:]])
    print(f"\n{time.strftime('%H:%M')}  {shown}", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "rows.json"
        begin = time.perf_counter()
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        status = subprocess.run([*line, "--json", str(file)], cwd=ROOT, env=environment).returncode
        if status or not file.exists():
            print(f"{name} ended with status {status}; what was measured before stands", file=sys.stderr)
            return None
        measured = json.loads(file.read_text(encoding="utf-8"))
    seconds = round(time.perf_counter() - begin, 1)
    return {"command": shown, "date": time.strftime("%Y-%m-%d"), "seconds": seconds, "machine": machine(), **measured}


def keep(figures: dict[str, Any]) -> None:
    """Write the figures in the order of the page, whole or not at all."""
    figures["benchmarks"] = {name: figures["benchmarks"][name] for name in BENCHMARKS if name in figures["benchmarks"]}
    write_figures(FIGURES, figures)


def main() -> int:
    """Run, keep, render; 1 where a benchmark failed."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)} (default all)")
    add_options(parser, device="")
    parser.add_argument("--resume", action="store_true", help="leave out what the last run has measured")
    parser.add_argument("--render", action="store_true", help="measure nothing, render what is there")
    parser.add_argument("--keep", action="store_true", help="keep the figures of a quick run too")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]}; there are {', '.join(BENCHMARKS)}")
    bench, figures, failed = bench_of(arguments), kept_figures(), []
    keeps = arguments.keep or not bench.quick
    last = figures.get("run", 0)
    this = last if arguments.resume or arguments.names else last + 1
    for name in () if arguments.render else arguments.names or BENCHMARKS:
        there = figures["benchmarks"].get(name, {})
        if arguments.resume and not arguments.names and there.get("run") == this:
            print(f"{name}: measured already")
            continue
        entry = run(name, bench, arguments.device)
        if entry is None:
            failed.append(name)
        elif keeps:
            figures["run"] = this
            figures["benchmarks"][name] = {"run": this, **entry}
            keep(figures)
    if keeps:
        for path in render(figures):
            print(f"renewed {path.relative_to(ROOT)}")
    if failed:
        print(f"failed: {', '.join(failed)}; again: python -m tests.benchmarks {' '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
