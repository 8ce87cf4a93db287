"""A sample of the kills: ``python -m tests.hardening kills`` strikes 500 times."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform == "win32", reason="signals and forks")
def test_runs_that_are_killed_and_gone_on_with_leave_what_an_unbroken_run_leaves() -> None:
    line = ["--kills", "10", "--jobs", "2", "--cold", "0", "--scale", "0.15", "--seed", "1", "--only"]
    line += ["detect, csv", "classify, html", "a data set", "eval, words", "specs --prepare"]
    done = subprocess.run(
        [sys.executable, "-m", "tests.hardening.kills", *line], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert sum(row["cases"] for row in rows) >= 10
    assert not any(count for row in rows for count in row["failures"].values()), done.stderr
