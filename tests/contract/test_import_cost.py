"""Help, version, completion and mistakes answer at once: nothing heavy is imported before a command truly runs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.run import IMAGE, ROOT, TINY

HEAVY = ("torch", "open_clip", "torchvision", "timm", "numpy", "PIL", "rich", "requests", "huggingface_hub")

PROBE = """
import json, sys
{action}
print(json.dumps([name for name in {heavy!r} if name in sys.modules]), file=sys.stderr)
"""


def heavy_modules(action: str, extra: str = "", **environment: str) -> list[str]:
    """What a fresh process holds after ``action``."""
    program = PROBE.format(action=action, heavy=(*HEAVY, extra))
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, cwd=ROOT, env=os.environ | environment, timeout=300
    )
    assert done.returncode == 0, done.stderr.decode()
    return list(json.loads(done.stderr.decode().splitlines()[-1]))


def command_line(*arguments: str) -> str:
    """An action: one command line through the command line."""
    return f"from clipalign.cli import main; main({list(arguments)!r})"


@pytest.mark.parametrize(
    "action",
    [
        "import clipalign",
        command_line("--help"),
        command_line("--version"),
        command_line("detect", "--help"),
        command_line("eval", "--help"),
        "from clipalign.completion import SHELLS, completion_script; [completion_script(shell) for shell in SHELLS]",
        command_line("detct"),
        command_line("detect", "picture.png"),
        command_line("detect", "picture.png", "text", "--layer", "3"),
        command_line("detect", "picture.png", "text", "--layers", "0"),
        command_line("detect", "picture.png", ""),
        command_line("detect", "picture.png", "text", "--model", "ViT-B32"),
        command_line("detect", "", "text"),
        command_line("detect", "picture.png", "..."),
        command_line("score-long", "--help"),
        command_line("score-long", "picture.png"),
        command_line("score-long", "picture.png", "text", "--margin", "-1"),
        command_line("eval", "--dataset", "fiol"),
        command_line("eval", "--dataset", "pictogram-foil", "--model", "ViT-B32"),
    ],
)
def test_nothing_heavy_is_imported(action: str) -> None:
    assert heavy_modules(action) == []


@pytest.mark.parametrize("line", [["--help"], ["--version"], ["detect", "--help"], ["detct"]])
def test_help_does_not_pay_for_typer_s_own_heavy_import(line: list[str]) -> None:
    assert "pydantic" not in heavy_modules(command_line(*line), extra="pydantic")


@pytest.mark.parametrize("line", [["--help"], ["--version"], ["detect", "--help"], ["detct"]])
def test_help_does_not_pay_for_what_results_look_like(line: list[str]) -> None:
    assert "clipalign.results" not in heavy_modules(command_line(*line), extra="clipalign.results")


@pytest.fixture
def hollow_torch(tmp_path: Path) -> str:
    """A folder with a module called torch and nothing in it, so that the twin below is quick."""
    (tmp_path / "torch.py").write_text("")
    return str(tmp_path)


def test_the_check_above_can_fail(hollow_torch: str) -> None:
    run = command_line("detect", IMAGE, "a cup", "--model", TINY)
    assert "torch" in heavy_modules(run, PYTHONPATH=hollow_torch)
