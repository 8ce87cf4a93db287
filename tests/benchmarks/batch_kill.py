"""Kill runs of ``detect`` at random moments, resume them until they are done, and hold the output against a whole run.

    python -m tests.benchmarks.batch_kill --pairs 3000 --kills 20

Every run is ended by ``SIGKILL`` after a random time within the time the rest would take; then the same command goes on
with ``--resume``. Checked at the end, for each format: every record once, in order, none torn, and what a whole
run writes; scores up to rounding, because which texts share a batch moves their last digits. Also checked after every
kill: all lines but the last are whole.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
MODEL = f"{GOLDEN / 'tiny-clip.json'}@{GOLDEN / 'tiny-clip.safetensors'}"
WORDS = [
    "a",
    "red,",
    '"big"',
    "car;",
    "two",
    "dogs",
    "and",
    "the",
    "old",
    "house's",
    "garden:",
    "no;",
    "é",
    "一杯",
    "left",
    "of",
    "an",
    "anchor,",
    "under",
    "trees",
]
MISSING_EVERY = 97
"""So many records apart, a picture is missing: errors are records too."""

ROUNDING = 2e-6
"""Of scores in fp32: texts of other lengths beside it change a text's last digits."""

LOOK_SECONDS = 0.01
PATIENCE_SECONDS = 600.0


@dataclass
class Report:
    """What happened to one format.

    Attributes:
        format: of the output.
        pairs: records of the input.
        kills: runs that were ended by SIGKILL before they were done.
        torn: kills after which the last line was torn.
        records_at_kill: whole records in the file after each kill.
        same: whether the output is that of an uninterrupted run, numbers up to ROUNDING.
        once: whether every record is there once, in order, and readable.
        seconds: of all runs together.
    """

    format: str
    pairs: int
    kills: int = 0
    torn: int = 0
    records_at_kill: list[int] = field(default_factory=list)
    same: bool = False
    once: bool = False
    seconds: float = 0.0


def write_pairs(path: Path, pairs: int, *, seed: int) -> None:
    """An input whose captions hold quotes, commas and other scripts, and whose pictures are the golden ones."""
    rng = random.Random(seed)
    with path.open("w", encoding="utf-8") as stream:
        for number in range(pairs):
            text = " ".join(rng.choices(WORDS, k=rng.randint(2, 12)))
            image = "missing.png" if number % MISSING_EVERY == 50 else f"{number // 4 % 3}.png"
            stream.write(json.dumps({"id": f"pair-{number}", "image": image, "text": text}) + "\n")


def command(pairs: Path, output: Path, *more: str) -> list[str]:
    """The run."""
    line = [sys.executable, "-m", "clipalign", "detect", "--input", str(pairs), "--image-root", str(GOLDEN / "images")]
    return [*line, "--model", MODEL, "--output", str(output), "-q", *more]


def start(line: Sequence[str]) -> subprocess.Popen[bytes]:
    """The process, as a user starts it."""
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def kill_runs(folder: Path, format: str, *, pairs: int, kills: int, seed: int, expected: bytes | None = None) -> Report:
    """Runs of one format, killed ``kills`` times, then left to end.

    Args:
        folder: an empty one.
        format: ``jsonl``, ``csv``, ``json`` or ``html``.
        pairs: records of the input.
        kills: at most; a run that is done earlier is not killed.
        seed: of captions and moments.
        expected: what an uninterrupted run writes, where it is known.
    """
    rng = random.Random(seed)
    source, output = folder / "pairs.jsonl", folder / f"out.{format}"
    write_pairs(source, pairs, seed=seed)
    report = Report(format, pairs)
    if expected is None:
        whole = folder / f"whole.{format}"
        _ended(start(command(source, whole)))
        expected = whole.read_bytes()
    kept = output if format in ("jsonl", "csv") else output.with_name(output.name + ".journal.jsonl")
    began = time.monotonic()
    while report.kills < kills:
        size = kept.stat().st_size if kept.exists() else 0
        process = start(command(source, output, "--resume"))
        share = rng.random() ** 2 / max(1, kills - report.kills) * 2
        if not _killed(process, kept, grown=size + int(share * max(1, len(expected) - size)), rng=rng):
            break
        report.kills += 1
        _look(report, kept)
    if report.kills == kills:
        _ended(start(command(source, output, "--resume")))
    report.seconds = time.monotonic() - began
    report.same = format == "html" or agree(_records(output.read_bytes(), format), _records(expected, format))
    report.once = _identifiers(output, format) == [f"pair-{number}" for number in range(pairs)]
    return report


def _killed(process: subprocess.Popen[bytes], kept: Path, *, grown: int, rng: random.Random) -> bool:
    """Kill the process a moment after its file has grown to this size; False where it was done before."""
    until = time.monotonic() + PATIENCE_SECONDS
    while process.poll() is None and time.monotonic() < until:
        if kept.exists() and kept.stat().st_size >= grown:
            time.sleep(rng.random() * LOOK_SECONDS)
            break
        time.sleep(LOOK_SECONDS * rng.random())
    process.send_signal(signal.SIGKILL)
    status = process.wait()
    assert process.stderr is not None
    said = process.stderr.read().decode()
    process.stderr.close()
    if status == -signal.SIGKILL:
        return True
    if status != 3:
        raise RuntimeError(f"the run ended with status {status}: {said}")
    return False


def _ended(process: subprocess.Popen[bytes]) -> None:
    _, said = process.communicate(timeout=PATIENCE_SECONDS)
    if process.returncode != 3:  # some pictures are missing
        raise RuntimeError(f"the run ended with status {process.returncode}: {said.decode()}")


def _look(report: Report, kept: Path) -> None:
    """What a kill left: whole records, and perhaps a torn one at the end."""
    data = kept.read_bytes() if kept.exists() else b""
    report.torn += bool(data) and not data.endswith(b"\n")
    whole = data[: data.rfind(b"\n") + 1]
    if report.format == "csv":
        records = len(list(csv.reader(whole.decode("utf-8").splitlines(keepends=True)))) - 1
    else:
        records = len([json.loads(line) for line in whole.splitlines()])
    report.records_at_kill.append(max(0, records))


def _records(data: bytes, format: str) -> object:
    text = data.decode("utf-8")
    if format == "json":
        return json.loads(text)
    if format == "jsonl":
        return [json.loads(line) for line in text.splitlines()]
    return [[_read(cell) for cell in row] for row in csv.reader(text.splitlines(keepends=True))]


def _read(cell: str) -> object:
    try:
        return json.loads(cell)
    except ValueError:
        return cell


def agree(one: object, other: object) -> bool:
    """Whether two documents are the same, numbers up to :data:`ROUNDING`."""
    if isinstance(one, dict) and isinstance(other, dict):
        return list(one) == list(other) and all(agree(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(agree(*pair) for pair in zip(one, other, strict=True))
    if isinstance(one, float) and isinstance(other, float):
        return abs(one - other) <= ROUNDING
    return one == other


def _identifiers(output: Path, format: str) -> list[str]:
    text = output.read_text(encoding="utf-8")
    if format == "csv":
        return [row["id"] for row in csv.DictReader(text.splitlines(keepends=True))]
    if format == "json":
        return [record["id"] for record in json.loads(text)["results"]]
    if format == "jsonl":
        return [json.loads(line)["id"] for line in text.splitlines()]
    found = {part.partition("<")[0] for part in text.split('class="id" dir="auto">')[1:]}
    return sorted(found, key=lambda name: int(name.removeprefix("pair-")))


def main() -> None:
    """Report figures, a line a format."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--pairs", type=int, default=3000)
    options.add_argument("--kills", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--formats", nargs="+", default=["jsonl", "csv", "json", "html"])
    chosen = options.parse_args()
    failed = False
    for format in chosen.formats:
        with tempfile.TemporaryDirectory() as folder:
            report = kill_runs(Path(folder), format, pairs=chosen.pairs, kills=chosen.kills, seed=chosen.seed)
        failed |= not (report.same and report.once)
        sys.stdout.write(
            f"{format}: {report.pairs} pairs, killed {report.kills} times ({report.torn} torn lines) at "
            f"{report.records_at_kill} records, {report.seconds:.0f} s; every record once: {report.once}; "
            f"same as an uninterrupted run: {report.same}\n"
        )
        sys.stdout.flush()
    sys.exit(failed)


if __name__ == "__main__":
    main()
