"""A sample of the limits: ``python -m tests.hardening limits`` goes through all commands and formats."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.hardening.report import read_figures

ROOT = Path(__file__).parents[2]


@pytest.mark.skipif(sys.platform == "win32", reason="limits of a process, and forks")
def test_a_full_disk_and_memory_that_runs_out_cost_a_sentence_and_nothing_else(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    line = ["limits", "--cases", "70", "--scale", "0.1", "--minutes", "99", "--figures", str(figures), "--only"]
    line += ["full: detect, csv", "further: classify, html", "further: eval, words"]
    line += ["memory runs out: score-long, csv", "stdout is full: download"]
    command = [sys.executable, "-m", "tests.hardening", *line]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    (part,) = read_figures(figures)
    assert sum(row["cases"] for row in part["rows"]) >= 4
