"""What is refused is refused before a model is loaded: outputs that exist or are no outputs, runs of other settings."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from clipalign.commands.common import ChosenModel
from tests.cli.run import GOLDEN, IMAGE, TINY, run_here

Capture = pytest.CaptureFixture[str]
ONE = {
    "detect": ("detect", IMAGE, "a red car"),
    "classify": ("classify", IMAGE, "--labels", "labels.txt"),
    "score-long": ("score-long", IMAGE, "A red car."),
}
MANY = {
    "detect": ("detect", "--input", "pairs.jsonl"),
    "classify": ("classify", "--input", "pairs.jsonl", "--labels", "labels.txt"),
    "score-long": ("score-long", "--input", "pairs.jsonl"),
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with small inputs, in which no model can be loaded."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(IMAGE, "a.png")
    Path("a.txt").write_text("a red car\n")
    Path("labels.txt").write_text("car\ncat\n")
    Path("pairs.jsonl").write_text(json.dumps({"image": "a.png", "text": "a red car"}) + "\n")

    def refuse(chosen: ChosenModel) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(ChosenModel, "load", refuse)
    return tmp_path


SWEPT_THERE = "model, template, crops, alpha, image_logscale, text_logscale"


@pytest.mark.parametrize(
    ("dataset", "sweep"), [("pictogram-classify", "epsilon=0,-1"), ("pictogram-classify", "layers=1,2")]
)
def test_a_sweep_that_the_benchmark_makes_no_use_of(capsys: Capture, dataset: str, sweep: str) -> None:
    status, out, err = run_here(capsys, "eval", "--dataset", dataset, "--model", TINY, "--sweep", sweep)
    assert (status, out) == (2, "")
    name = sweep.partition("=")[0]
    assert (
        err == f"error: {dataset} makes no use of {name} (--sweep)\nhint: --sweep can go through {SWEPT_THERE} there\n"
    )


@pytest.mark.parametrize("other", [("--limit", "5"), ("--dataset", "hat"), ("--output", "x"), ("--epsilon", "0")])
def test_what_a_comparison_makes_no_use_of(capsys: Capture, other: tuple[str, str]) -> None:
    status, out, err = run_here(capsys, "eval", "--compare", "runs/1", "runs/2", *other)
    assert (status, out) == (2, "")
    assert f"--compare makes no use of {other[0]}" in err


@pytest.mark.parametrize("command", ONE)
def test_an_output_of_one_that_exists(capsys: Capture, command: str) -> None:
    Path("old.json").write_text("{}")
    status, out, err = run_here(capsys, *ONE[command], "--model", TINY, "--output", "old.json")
    assert (status, out) == (2, "")
    assert err == "error: --output old.json exists already\nhint: --overwrite makes it anew\n"
    assert Path("old.json").read_text() == "{}"


@pytest.mark.parametrize("command", ONE)
def test_an_output_of_one_in_a_folder_that_is_not_there(capsys: Capture, command: str) -> None:
    status, _, err = run_here(capsys, *ONE[command], "--model", TINY, "--output", "gone/new.json")
    assert status == 2
    assert "is in a folder that is not there" in err


@pytest.mark.parametrize("name", ["x.weird", "x", "x.json.gz"])
@pytest.mark.parametrize("line", [*ONE.values(), *MANY.values()], ids=lambda line: " ".join(line[:2])[-20:])
def test_an_output_whose_name_says_no_format(capsys: Capture, line: tuple[str, ...], name: str) -> None:
    status, out, err = run_here(capsys, *line, "--model", TINY, "--output", name)
    assert (status, out) == (2, "")
    assert err == (
        f"error: the name of --output {name} does not say a format\n"
        "hint: end it in .txt, .json, .jsonl, .jsonl.gz, .csv, .parquet, .tar or .html, or give --format\n"
    )
    assert not Path(name).exists()


@pytest.mark.parametrize("command", MANY)
def test_a_picture_of_the_input_is_no_output_even_with_overwrite(capsys: Capture, command: str) -> None:
    before = Path("a.png").read_bytes()
    for again in ("--overwrite", "--resume"):
        line = (*MANY[command], "--model", TINY, "--output", "a.png", "--format", "jsonl", again)
        status, _, err = run_here(capsys, *line)
        assert (status, err) == (2, "error: --output a.png is a picture\nhint: give another --output\n")
    assert Path("a.png").read_bytes() == before


def test_a_caption_of_a_folder_is_no_output_even_with_overwrite(capsys: Capture) -> None:
    line = ("detect", "--input", ".", "--model", TINY, "--output", "a.txt", "--overwrite")
    status, _, err = run_here(capsys, *line)
    assert status == 2
    assert err.startswith("error: --output a.txt lies among the captions of .\n")
    assert Path("a.txt").read_text() == "a red car\n"


def test_a_folder_with_another_run_of_eval(capsys: Capture) -> None:
    Path("run").mkdir()
    (Path("run") / "samples.jsonl").write_text("{}\n")
    line = ("eval", "--dataset", "pictogram-foil", "--model", TINY, "--limit", "4", "--output", "run")
    status, out, err = run_here(capsys, *line)
    assert (status, out) == (2, "")
    assert err.startswith("error: run already holds the records of a run\n")


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--epochs", "2"), "was begun with --epochs 1, now it is --epochs 2"),
        (("--lambda-detail", "3"), "was begun with --lambda-detail 8.0, now it is --lambda-detail 3.0"),
        (("--freeze", "image"), "was begun with --freeze none, now it is --freeze image"),
    ],
)
def test_training_goes_on_with_the_options_it_was_begun_with(
    capsys: Capture, changed: tuple[str, str], said: str
) -> None:
    small = ("--data", "pictogram:6", "--init", str(GOLDEN / "tiny-longclip.safetensors"), "--held-out", "0")
    steps = ("--batch-size", "4", "--accumulate", "1", "--epochs", "1", "--workers", "1", "--output", "run")
    line = ("train-specs", *small, *steps, "--resume", *changed)
    begun(Path("run"))
    status, out, err = run_here(capsys, *line)
    assert (status, out) == (2, "")
    assert said in err


def begun(folder: Path) -> None:
    """A checkpoint of a run with the settings of :func:`test_training_goes_on_with_the_options_it_was_begun_with`."""
    import torch

    from clipalign.training.checkpoints import Checkpoint, save_checkpoint
    from clipalign.training.settings import SpecsSettings

    settings = SpecsSettings(epochs=1, batch_size=4, accumulate=1, warmup_steps=0).identity()  # few samples
    save_checkpoint(folder, 1, Checkpoint({"one": torch.zeros(1)}, {"settings": settings}))


@pytest.mark.parametrize("line", [("download", "pictogram"), (*ONE["detect"], "--model", TINY)])
def test_a_license_of_something_that_nobody_knows(capsys: Capture, line: tuple[str, ...]) -> None:
    status, out, err = run_here(capsys, *line, "--accept-license", "cubb")
    assert (status, out) == (2, "")
    assert err == "error: unknown name 'cubb'\nhint: did you mean cub?\n"
