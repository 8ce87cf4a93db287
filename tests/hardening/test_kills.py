"""A sample of the kills: ``python -m tests.hardening kills`` strikes 500 times."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hardening.report import read_figures

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform == "win32", reason="signals and forks")
def test_runs_that_are_killed_and_gone_on_with_leave_what_an_unbroken_run_leaves(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    line = ["kills", "--cases", "10", "--cold", "0", "--scale", "0.15", "--seed", "1", "--figures", str(figures)]
    line += ["--only", "detect, csv", "classify, html", "a data set", "eval, words", "specs --prepare"]
    command = [sys.executable, "-m", "tests.hardening", *line]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (part,) = read_figures(figures)
    assert sum(row["cases"] for row in part["rows"]) >= 10 and not part["failing"], done.stderr
