"""A sample of the limits: ``python -m tests.hardening limits`` goes through all commands and formats."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process, and forks")
def test_a_full_disk_and_memory_that_runs_out_cost_a_sentence_and_nothing_else() -> None:
    chosen = [
        "full: detect, csv",
        "further: classify, html",
        "further: eval, words",
        "memory runs out: score-long, csv",
    ]
    done = subprocess.run(
        [sys.executable, "-m", "tests.hardening.limits", "70", "0", *chosen, "stdout is full: download"],
        cwd=ROOT, capture_output=True, text=True, timeout=600, env=os.environ | {"SCALE": "0.1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    rows = json.loads(done.stdout)
    assert sum(row["cases"] for row in rows) >= 4
