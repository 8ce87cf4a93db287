"""The programs of the page of the Python API: a thousand pairs of which ten are broken, none lost and none doubled."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from clipalign.session import load
from tests.cli.run import ROOT

arrow: Any = pytest.importorskip("pyarrow")
parquet: Any = pytest.importorskip("pyarrow.parquet")

PAIRS = 1_000
BROKEN = 10
CAPTIONS = ("two apples", "two apples and a pear", "a red car", "a dog and two balloons")
RECIPES = ROOT / "tests" / "recipes"

KILLER = """
import os, runpy, signal, sys
import clipalign
from clipalign.mapping import Mapper

class Fatal(Mapper):
    def __call__(self, batch):
        scored = super().__call__(batch)
        if "500" in batch["id"].to_pylist():
            try:
                os.mkdir({marker!r})
            except FileExistsError:
                return scored
            os.kill(os.getpid(), signal.SIGKILL)
        return scored

def fatal(*given, **named):
    made = mapper(*given, **named)
    return Fatal(**vars(made))

mapper, clipalign.mapper = clipalign.mapper, fatal
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""A recipe in which the worker that has scored pair 500 is killed, once, before it can hand over what it found."""


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    picture = (ROOT / ".assets" / "examples" / "images" / "fruit.png").read_bytes()
    (folder / "fruit.png").write_bytes(picture)
    (folder / "cut.png").write_bytes(picture[: len(picture) // 2])
    (folder / "text.png").write_text("no picture")
    good = str(folder / "fruit.png")
    rows = [{"id": str(n), "image": good, "text": CAPTIONS[n % len(CAPTIONS)]} for n in range(PAIRS)]
    broken = [
        folder / "none.png",
        folder / "cut.png",
        folder / "text.png",
        folder,
        None,
        "data:image/png,no",
    ]
    for place, image in enumerate(broken):
        rows[place * 97 + 5]["image"] = None if image is None else str(image)  # type: ignore[assignment]
    for place, text in enumerate(["", " ", "...", "x" * 200_001]):
        rows[place * 97 + 600]["text"] = text
    path = folder / "pairs.parquet"
    parquet.write_table(arrow.Table.from_pylist(rows), path)
    return path


def run(command: list[str], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {
        "HOME": str(tmp_path),
        "HF_HOME": str(tmp_path / "hf"),
        "PYTHONPATH": str(ROOT),
        "PYSPARK_PYTHON": sys.executable,
        "RAY_TMPDIR": "/tmp",  # whose sockets have short names
        "RAY_USAGE_STATS_ENABLED": "0",
    }
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, cwd=tmp_path, env=environment, timeout=600
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return done


def check(output: Path) -> None:
    """Every pair is there once, with what ``detect`` says of it alone, or with an error."""
    rows = parquet.read_table(output).to_pylist()
    assert sorted((row["id"] for row in rows), key=int) == [str(number) for number in range(PAIRS)]
    assert sum(bool(row["error"]) for row in rows) == BROKEN
    assert all((row["cosine"] is None) == bool(row["error"]) for row in rows)
    session = load("pictogram")
    expected = {text: session.detect(ROOT / ".assets/examples/images/fruit.png", text) for text in CAPTIONS}
    for row in rows:
        if not row["error"]:
            assert row["cosine"] == pytest.approx(expected[row["text"]].cosine, abs=1e-5)
            assert tuple(row["misaligned"]) == expected[row["text"]].misaligned


@pytest.mark.skipif(None in map(find_spec, ("pandas", "polars")), reason="pandas and Polars are not installed")
def test_a_stream(table: Path, tmp_path: Path) -> None:
    done = run([str(RECIPES / "stream.py"), str(table), "out.parquet"], tmp_path)
    assert "1000 pairs, 10 could not be scored; the first: there is no file" in done.stdout
    assert len((tmp_path / "out.parquet.jsonl").read_text().splitlines()) == PAIRS
    check(tmp_path / "out.parquet")


@pytest.mark.skipif(find_spec("datasets") is None, reason="datasets is not installed")
def test_datasets_in_two_processes(table: Path, tmp_path: Path) -> None:
    run([str(RECIPES / "with_datasets.py"), str(table), "out.parquet"], tmp_path)
    check(tmp_path / "out.parquet")


@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed")
def test_ray_with_a_worker_that_is_killed(table: Path, tmp_path: Path) -> None:
    marker = tmp_path / "killed"
    run(
        ["-c", KILLER.format(marker=str(marker)), str(RECIPES / "with_ray.py"), str(table), str(tmp_path / "out")],
        tmp_path,
    )
    assert marker.is_dir()
    check(tmp_path / "out")


@pytest.mark.skipif(
    find_spec("pyspark") is None or shutil.which("java") is None, reason="Spark or Java is not installed"
)
def test_spark(table: Path, tmp_path: Path) -> None:
    run([str(RECIPES / "with_spark.py"), str(table), str(tmp_path / "out")], tmp_path)
    check(tmp_path / "out")


@pytest.mark.skipif(shutil.which("bash") is None, reason="bash is not installed")
def test_slurm_with_two_of_four_jobs_killed(table: Path, tmp_path: Path) -> None:
    """The script of the array as Slurm calls it, with its variables, and jobs killed in the middle started again."""
    pictures = ("a.png", "b.png", "none.png")
    for name in pictures[:2]:
        shutil.copy(table.parent / "fruit.png", tmp_path / name)
    rows = [
        {"id": str(n), "image": pictures[2 if n % 100 == 99 else n % 2], "text": CAPTIONS[n % 4]} for n in range(PAIRS)
    ]
    (tmp_path / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    program = tmp_path / "bin" / "clipalign"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m clipalign "$@"\n')
    program.chmod(0o755)

    def start(task: int) -> subprocess.Popen[bytes]:
        environment = os.environ | {
            "PATH": f"{program.parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(ROOT),
            "SLURM_ARRAY_TASK_ID": str(task),
            "SLURM_ARRAY_TASK_COUNT": "4",
        }
        script = [str(RECIPES / "slurm.sh"), "pairs.jsonl", "found"]
        return subprocess.Popen(["bash", *script], cwd=tmp_path, env=environment, stderr=subprocess.DEVNULL)

    for task in (2, 3):
        job = start(task)
        output = tmp_path / "found" / f"{task}.jsonl"
        while job.poll() is None and not (output.exists() and output.stat().st_size > 10_000):
            time.sleep(0.02)
        job.kill()
        assert job.wait() == -signal.SIGKILL
    assert [start(task).wait(timeout=600) for task in (1, 2, 3, 4)] == [0, 0, 0, 3]  # unreadable pairs
    lines = [json.loads(line) for part in sorted((tmp_path / "found").iterdir()) for line in part.open()]
    assert sorted((line["id"] for line in lines), key=int) == [str(number) for number in range(PAIRS)]
    assert sum("error" in line for line in lines) == BROKEN
