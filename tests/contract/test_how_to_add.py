"""How to add a model, a benchmark, a command, an output format: the recipes of the page, followed to the letter."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from ast import literal_eval
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.run import GOLDEN, ROOT, Run
from tests.contract.pages import EXAMPLES, blocks_of
from tests.contract.warm import Warm

PAGE = "clipalign/README.md"
INTO = re.compile(r'into (\S+) (before|after) (".+")')


class Copy:
    """A copy of the package with the page's additions, and a program of its own."""

    def __init__(self, folder: Path, warm: Warm) -> None:
        self.folder = folder
        self._warm = warm

    def run(self, *arguments: str) -> Run:
        command = [str(self._warm.bin / "clipalign"), *arguments]
        done = subprocess.run(command, cwd=self.folder, env=self._warm.environment, capture_output=True, timeout=300)
        return Run(done.returncode, done.stdout.decode(), done.stderr.decode())


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Copy]:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(
        ROOT / "clipalign",
        folder / "clipalign",
        copy_function=os.symlink,  # weights are large, and files that change are written anew
        ignore=shutil.ignore_patterns("__pycache__"),
    )
    (folder / "data").mkdir()
    for ending in (".json", ".safetensors"):
        shutil.copy(GOLDEN / f"tiny-clip{ending}", folder / "data" / f"my-clip{ending}")
    for block in blocks_of(PAGE):
        if block.mark.startswith("file "):
            (folder / block.mark.removeprefix("file ")).write_text(block.code, encoding="utf-8")
        elif found := INTO.fullmatch(block.mark):
            path, anchor = folder / found[1], literal_eval(found[3])
            text = path.read_text(encoding="utf-8")
            assert text.count(anchor) == 1, f"{found[1]} has {text.count(anchor)} places {found[3]}"
            code = block.code.replace("/data/", f"{folder}/data/")
            path.unlink()  # the link, not what it leads to
            path.write_text(
                text.replace(anchor, code + anchor if found[2] == "before" else anchor + code), encoding="utf-8"
            )
    with Warm(tmp_path_factory.mktemp("warm"), checkout=folder) as warm:
        yield Copy(folder, warm)


def test_the_page_has_all_the_pieces() -> None:
    marks = [block.mark.split()[0] for block in blocks_of(PAGE) if block.mark.startswith(("file ", "into "))]
    assert marks == ["into", "into", "file", "into", "file", "into", "into"]


def test_an_added_model_has_a_name_and_an_epsilon_of_its_own(copy: Copy) -> None:
    run = copy.run("detect", str(EXAMPLES / "images" / "cat.png"), "a cat", "--model", "my-clip", "--format", "json")
    assert (run.status, run.err) == (0, "")
    record = json.loads(run.out)
    assert record["model"] == "my-clip"
    assert record["provenance"]["settings"]["epsilon"] == -2e-4


def test_an_added_benchmark_runs_like_every_other(copy: Copy) -> None:
    shutil.copytree(EXAMPLES / "images", copy.folder / "pairs")
    rows = [
        {"image": "cat.png", "caption": "a cat and two balloons", "false_word": ""},
        {"image": "cat.png", "caption": "a dog and two balloons", "false_word": "dog"},
        {"image": "fruit.png", "caption": "two apples and a banana", "false_word": ""},
        {"image": "fruit.png", "caption": "two apples and a pear", "false_word": "pear"},
        {"image": "fruit.png"},
    ]
    (copy.folder / "pairs" / "pairs.json").write_text(json.dumps(rows), encoding="utf-8")
    line = ("eval", "--dataset", "my-pairs", "--data-root", "pairs", "--model", "pictogram")
    run = copy.run(*line, "--output", "run", "--report", "html", "--format", "json")
    document = json.loads(run.out)
    assert run.status == 3  # the last row is no pair, and counted
    assert document["metrics"]["la"] == 1.0
    assert document["counts"]["unreadable"] == 1
    assert (copy.folder / "run" / "report.html").is_file()


def test_an_added_command_has_help_and_the_options_of_all(copy: Copy) -> None:
    run = copy.run("cosine", str(EXAMPLES / "images" / "cat.png"), "a cat", "--model", "pictogram")
    assert (run.status, run.err) == (0, "")
    assert -1 <= float(run.out) <= 1 and len(run.out.partition(".")[2]) == 5
    (copy.folder / "clipalign.toml").write_text("[cosine]\ndigits = 2\n")
    rounded = copy.run("cosine", str(EXAMPLES / "images" / "cat.png"), "a cat", "--model", "pictogram").out
    assert rounded == f"{float(run.out):.2f}\n"
    assert "cosine       The bare cosine of a picture and a text." in copy.run("--help").out


def test_an_added_format_is_chosen_by_its_name_and_its_ending(copy: Copy) -> None:
    image = str(EXAMPLES / "images" / "cat.png")
    run = copy.run("detect", image, "a cat", "--model", "pictogram", "--format", "tsv")
    assert (run.status, run.err) == (0, "")
    names, numbers = (line.split("\t") for line in run.out.splitlines())
    assert names == ["id", "cosine", "clip_score", "f_clip_score", "ref_clip_score"]
    assert numbers[0] == image and float(numbers[1]) * 2.5 == pytest.approx(float(numbers[2])) and numbers[4] == ""
    pairs = f'{{"image": "{image}", "text": "a cat"}}\n{{"image": "missing.png", "text": "a cat"}}\n'
    (copy.folder / "pairs.jsonl").write_text(pairs)
    run = copy.run("detect", "--input", "pairs.jsonl", "--model", "pictogram", "--output", "found.tsv")
    assert run.status == 3
    *several, last = (copy.folder / "found.tsv").read_text().splitlines()[1].split("\t")[1:]
    assert list(map(float, several)) == pytest.approx(list(map(float, numbers[1:4])), abs=1e-6) and last == ""
