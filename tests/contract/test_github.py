"""What other systems run of this repository: the workflow, the action and the hook for commits."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipalign.version import __version__

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / ".assets" / "examples"


@pytest.fixture
def commands(program: list[str]) -> dict[str, str]:
    """An environment in which ``clipalign`` is found."""
    return {**os.environ, "PATH": f"{Path(program[0]).parent}{os.pathsep}{os.environ['PATH']}"}


def read(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def test_the_workflow_tests_every_python_that_the_package_names() -> None:
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    named = [found[1] for line in classifiers if (found := re.search(r"Python :: (3\.\d+)$", line))]
    matrix = read(".github/workflows/test.yml")["jobs"]["newest"]["strategy"]["matrix"]
    assert matrix["python"] == named
    assert len(matrix["system"]) == 3


def test_the_citation_names_this_version() -> None:
    assert read(".github/CITATION.cff")["version"] == __version__


def test_the_container_file_copies_what_is_there_and_runs_the_command() -> None:
    lines = (ROOT / ".github" / "Containerfile").read_text(encoding="utf-8").splitlines()
    steps = [line.split(maxsplit=1) for line in lines if line and not line.startswith("#")]
    given = {name: [value for step, value in steps if step == name] for name, _ in steps}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = given["FROM"][0].removeprefix("python:").removesuffix("-slim")
    assert f"Programming Language :: Python :: {version}" in project["classifiers"]
    copied = [Path(name) for value in given["COPY"] for name in value.split()[:-1]]
    assert all((ROOT / name).exists() for name in copied)
    needed = {"pyproject.toml", "clipalign", ".ci", "completions", *project["license-files"][:2]}
    assert needed <= {str(name) for name in copied}
    assert given["ENTRYPOINT"] == ['["clipalign"]'] and "clipalign" in project["scripts"]
    assert "root" not in given["USER"]


@pytest.mark.parametrize(("captions", "status"), [("captions.jsonl", 1), ("right.jsonl", 0)])
def test_the_hook_fails_where_a_caption_does_not_fit(
    tmp_path: Path, commands: dict[str, str], captions: str, status: int
) -> None:
    (tmp_path / "right.jsonl").write_text('{"image": "fruit.png", "text": "two apples"}\n')
    place = (EXAMPLES if captions == "captions.jsonl" else tmp_path) / captions
    (hook,) = read(".pre-commit-hooks.yaml")
    assert hook["language"] == "python" and not hook["pass_filenames"]
    images = EXAMPLES / "images"
    line = [*shlex.split(hook["entry"]), "--input", str(place), "--image-root", str(images), "--model", "pictogram"]
    done = subprocess.run(line, capture_output=True, text=True, env=commands, cwd=tmp_path, timeout=300)
    assert done.returncode == status, done.stderr


@pytest.mark.skipif(sys.platform == "win32", reason="needs bash")
def test_the_action_annotates_lines_and_fails(commands: dict[str, str]) -> None:
    action = read(".github/actions/detect/action.yml")
    _install, detect = action["runs"]["steps"]
    given = {"input": "captions.jsonl", "image-root": "images", "model": "pictogram", "options": "--epsilon -0.006"}
    values = {name: given.get(name, field.get("default")) for name, field in action["inputs"].items()}
    fill = {
        name: re.sub(r"\$\{\{ inputs\.([\w-]+) \}\}", lambda found: values[found[1]], text)
        for name, text in detect["env"].items()
    }
    done = subprocess.run(
        ["bash", "-e", "-c", detect["run"]],
        capture_output=True,
        text=True,
        env=commands | fill,
        cwd=EXAMPLES,
        timeout=300,
    )
    assert done.returncode == 1, done.stderr
    assert "::error file=" in done.stdout or "::warning file=" in done.stdout
