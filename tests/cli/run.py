"""Command lines as a user types them: in this process where that is enough, in one of their own where it is not."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

from clipalign.cli import main

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
TINY = f"{GOLDEN / 'tiny-clip.json'}@{GOLDEN / 'tiny-clip.safetensors'}"
IMAGE = str(GOLDEN / "images" / "0.png")
PROGRAM = [sys.executable, "-m", "clipalign"]


GUESSED = re.compile(r"warning: epsilon -5e-05 is a guess for \S*tiny\S*, .*\n(?: .*\n)*")
"""Said of the tests' tiny model whenever ``detect`` takes the default epsilon."""


class Run(NamedTuple):
    """What a user sees of a run, but for :data:`GUESSED`."""

    status: int
    out: str
    err: str


def run_here(capsys: pytest.CaptureFixture[str], *arguments: str) -> Run:
    """Through the command line, in this process."""
    capsys.readouterr()
    status = main(arguments)
    captured = capsys.readouterr()
    return Run(status, captured.out, GUESSED.sub("", captured.err))


def run_apart(*arguments: str, program: Sequence[str] = PROGRAM, stdin: bytes = b"", **environment: str) -> Run:
    """As a process, from the repository's root, with pipes for terminals."""
    done = subprocess.run(
        [*program, *arguments], input=stdin, capture_output=True, cwd=ROOT, env=os.environ | environment, timeout=600
    )
    return Run(done.returncode, done.stdout.decode(), GUESSED.sub("", done.stderr.decode()))


def run_together(*arguments: str, program: Sequence[str], processes: int = 2) -> list[Run]:
    """As processes that share the work, with the variables that ``torchrun`` gives them."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])

    def start(rank: int) -> Run:
        place = {"RANK": str(rank), "LOCAL_RANK": str(rank)}
        whole = {"WORLD_SIZE": str(processes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        return run_apart(*arguments, program=program, stdin=b"", **place, **whole)

    with ThreadPoolExecutor(processes) as pool:
        return list(pool.map(start, range(processes)))
