"""``clipalign train-specs`` as a user types it: prepared, trained, resumed, alone and under ``torchrun``."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipalign.models.registry import find_model
from clipalign.training import prepare as specs_prepare
from clipalign.training.loop import SpecsRun
from tests.cli.run import GOLDEN, run_here, run_together

LONG = str(GOLDEN / "tiny-longclip.safetensors")
SMALL = (
    *("--data", "pictogram:16", "--init", LONG, "--held-out", "2", "--batch-size", "4", "--accumulate", "1"),
    *("--epochs", "1", "--learning-rate", "1e-3", "--warmup-steps", "1", "--workers", "1", "--threads", "1"),
)


def losses(folder: Path) -> list[dict[str, float]]:
    lines = (folder / "metrics.jsonl").read_text().splitlines()
    return [record for record in map(json.loads, lines) if "loss" in record]


def test_a_small_run_says_what_to_type_next(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = run_here(capsys, "train-specs", *SMALL, "--output", str(tmp_path / "run"), "--format", "json")
    assert run.status == 0, run.err
    trained = json.loads(run.out)["trained"]
    assert trained["steps"] == 4
    assert set(trained["best"]) == {"positive", "negative", "average"}
    table = run_here(capsys, "train-specs", *SMALL, "--output", str(tmp_path / "run"), "--resume", "--format", "table")
    assert f"--model {trained['model']}" in table.out
    assert "going on after step 4 of 4" in table.err
    picture = str(GOLDEN / "images" / "0.png")
    scored = run_here(capsys, "detect", picture, "a cat", "--model", trained["model"], "--format", "json")
    assert scored.status == 0, scored.err


def test_few_samples_scale_down_the_defaults_that_were_not_given(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    few = ("--data", "pictogram:64", "--init", LONG, "--held-out", "2", "--batch-size", "2", "--epochs", "1")
    line = ("train-specs", *few, "--output", str(tmp_path / "run"), "--format", "json")
    run = run_here(capsys, *line)
    said = " ".join(run.err.split())
    assert "64 samples are few: --accumulate 1 --warmup-steps 3 instead of the published 4 and 40" in said
    assert "64 samples make 32 steps" in said
    assert json.loads(run.out)["trained"]["steps"] == 32
    assert "going on after step 32 of 32" in run_here(capsys, *line, "--resume").err
    kept = run_here(capsys, *line, "--overwrite", "--accumulate", "4", "--warmup-steps", "4")
    assert "are few" not in kept.err
    assert json.loads(kept.out)["trained"]["steps"] == 8


def test_weights_grown_from_a_model_say_that_its_epsilon_does_not_hold(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    small = ("--data", "pictogram:4", "--held-out", "0", "--batch-size", "4", "--epochs", "1", "--freeze", "image")
    run = run_here(capsys, "train-specs", *small, "--init", "pictogram-long", "--output", str(tmp_path / "run"), "-q")
    assert run.status == 0, run.err
    best, config = (tmp_path / "run" / name for name in ("best.safetensors", "config.json"))
    for weights, epsilon in (
        (f"pictogram-long@{best}", f"{find_model('pictogram-long').epsilon:g}"),
        (f"{config}@{best}", "-5e-05"),
    ):
        line = ("detect", str(GOLDEN / "images" / "0.png"), "a cat", "--format", "json", "--model", weights)
        found = run_here(capsys, *line)
        said = f"epsilon {epsilon} is a guess for {weights}, and so are the words it marks: see eval --calibrate"
        assert said in " ".join(found.err.split())
        assert any(note.startswith(said) for note in json.loads(found.out)["provenance"]["notes"])
        assert "is a guess" not in run_here(capsys, *line, "--epsilon", "-0.005").err


def test_raw_captions_are_prepared_and_trained_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = []
    for number in range(6):
        Image.new("RGB", (64, 64), (number * 40, 0, 0)).save(tmp_path / f"{number}.png")
        lines.append({"image": f"{number}.png", "text": f"A red square. It is number {number}. Nothing else is there."})
    raw = tmp_path / "raw.jsonl"
    raw.write_text("".join(json.dumps(line) + "\n" for line in [*lines, {"image": "gone.png", "text": "A. B c."}]))
    data = str(tmp_path / "data")
    small = ("--init", LONG, "--batch-size", "2", "--accumulate", "1", "--epochs", "1", "--workers", "1")
    run = run_here(
        capsys, "train-specs", "--prepare", str(raw), "--data", data, *small, "--output", str(tmp_path / "run"),
        "--format", "json",
    )  # fmt: skip
    assert run.status == 0, run.err
    result = json.loads(run.out)
    assert result["prepared"] == {"folder": data, "samples": 6, "skipped": {"missing picture": 1}}
    assert result["trained"]["steps"] == 3
    assert result["trained"]["best"] is None  # too few samples to hold any out
    run = run_here(
        capsys, "train-specs", "--data", data, *small, "--output", str(tmp_path / "other"), "--held-out", "2"
    )
    assert "only 0 samples are held out" in " ".join(run.err.split())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((), "missing --data"),
        (("--data", "pictogram"), "missing --output"),
        (("--data", "pictogram", "--output", "run", "--image-root", "."), "--image-root is for --prepare"),
        (("--data", "pictogram", "--output", "run", "--by", "phrase"), "--by is for --prepare"),
        (("--data", "pictogram", "--output", "run", "--min-words", "4"), "--min-words is for --prepare"),
        (
            ("--data", "pictogram", "--output", "run", "--objective", "longclip", "--draws", "2"),
            "--draws is for --objective specs",
        ),
        (("--data", "gone", "--output", "run"), "there is no data folder gone"),
        (("--data", "empty", "--output", "run"), "empty is empty"),
        (("--data", "old/metrics.jsonl", "--output", "run"), "--prepare old/metrics.jsonl --data FOLDER"),
        (
            ("--data", "pictogram", "--output", "run", "--hinge-margin", "-1"),
            "--hinge-margin must be a number, 0 or more",
        ),
        (
            ("--data", "pictogram", "--output", "run", "--learning-rate", "0"),
            "--learning-rate must be a number above",
        ),
        (("--data", "pictogram", "--output", "run", "--freeze", "both"), "--freeze must be image or text"),
        (("--data", "pictogram", "--output", "run", "--resume", "--overwrite"), "exclude each other"),
        (("--data", "pictogram", "--output", "run", "--format", "html"), "--format must be table or json, not 'html'"),
        (("--data", "pictogram", "--output", "old"), "old holds a run already"),
    ],
)
def test_mistakes_are_said_in_a_sentence(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / "metrics.jsonl").touch()
    run = run_here(capsys, "train-specs", *(("--init", "pictogram") if "--init" not in arguments else ()), *arguments)
    assert run.status == 2
    assert sentence in run.err
    assert run.out == ""


def test_missing_weights_name_the_model_that_is_here_by_its_option(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = run_here(
        capsys,
        "train-specs",
        "--data",
        "pictogram",
        "--output",
        str(tmp_path / "run"),
        "--init",
        "longclip-B",
        "--offline",
    )
    assert run.status == 4
    assert "; or --init pictogram, which is here" in " ".join(run.err.split())


def together(program: list[str], folder: Path, *arguments: str) -> None:
    """Two processes."""
    for run in run_together("train-specs", *arguments, "--output", str(folder), "--device", "cpu", program=program):
        assert run.status == 0, run.err


def alone(capsys: pytest.CaptureFixture[str], folder: Path, *arguments: str) -> None:
    run = run_here(capsys, "train-specs", *arguments, "--output", str(folder), "--device", "cpu")
    assert run.status == 0, run.err


TERMS: tuple[str, ...] = ("loss", "contrastive", "detail", "negative", "norm", "epsilon")


@pytest.mark.parametrize("frozen", [(), ("--freeze", "image")], ids=["both towers", "text alone"])
def test_two_processes_are_one_with_the_same_global_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], program: list[str], frozen: tuple[str, ...]
) -> None:
    """With gathered pictures, adaptive epsilon included; to rounding."""
    common: tuple[Any, ...] = (*SMALL, "--lambda-short", "0.5", *frozen)
    together(program, tmp_path / "two", *common, "--batch-size", "2", "--gather")
    alone(capsys, tmp_path / "one", *common)
    ours, theirs = losses(tmp_path / "two"), losses(tmp_path / "one")
    assert len(ours) == len(theirs) == 4
    for mine, other in zip(ours, theirs, strict=True):
        for term in (*TERMS, "short"):
            assert mine[term] == pytest.approx(other[term], rel=2e-3, abs=2e-5)
    assert ours[0]["loss"] == pytest.approx(theirs[0]["loss"], rel=1e-6)


def test_two_processes_with_local_pictures_are_one_that_accumulates(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], program: list[str]
) -> None:
    common = (*SMALL, "--batch-size", "2", "--hinge-margin", "0.3")
    together(program, tmp_path / "two", *common)
    alone(capsys, tmp_path / "one", *common, "--accumulate", "2")
    for mine, other in zip(losses(tmp_path / "two"), losses(tmp_path / "one"), strict=True):
        for term in TERMS:
            assert mine[term] == pytest.approx(other[term], rel=2e-3, abs=2e-5)


def test_a_full_disk_while_captions_are_prepared_is_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(specs_prepare, "write_whole", full)
    (tmp_path / "raw.jsonl").write_text('{"image": "a.png", "text": "A. B c."}\n')
    run = run_here(capsys, "train-specs", "--prepare", str(tmp_path / "raw.jsonl"), "--data", str(tmp_path / "data"))
    assert (run.status, run.out) == (70, "")
    assert run.err.startswith(
        f"error: {tmp_path / 'data'} cannot be written: the disk is full\nhint: free some space; run the"
    )


def test_a_folder_in_whose_way_a_file_is_is_a_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of samples as of a run; there is nothing to make room for."""
    (tmp_path / "file").touch()
    (tmp_path / "raw.jsonl").write_text('{"image": "a.png", "text": "A. B c."}\n')
    folder = tmp_path / "file" / "data"
    run = run_here(capsys, "train-specs", "--prepare", str(tmp_path / "raw.jsonl"), "--data", str(folder))
    assert run.status == 70 and run.err == (
        f"error: {folder} cannot be written: Not a directory\nhint: give another --data\n"
    )
    said = "cannot be written: Not a directory\nhint: give another --output\n"
    run = run_here(capsys, "train-specs", *SMALL, "--output", str(folder))
    assert run.status == 70 and run.err.endswith(f"error: {folder} {said}")
    long = str(tmp_path / ("x" * 300))
    run = run_here(capsys, "train-specs", *SMALL, "--output", long)
    assert run.status == 70 and "cannot be written: File name too long" in run.err
    lock = tmp_path / "run" / ".lock"
    lock.mkdir(parents=True)
    run = run_here(capsys, "train-specs", *SMALL, "--output", str(lock.parent))
    assert run.status == 70 and f"error: {lock} cannot be written: Is a directory" in run.err


def test_ctrl_c_in_the_middle_of_a_step_names_what_is_saved(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    step, last = SpecsRun._step, 0

    def interrupted(run: SpecsRun, batches: Any) -> Any:
        if run.progress.step == last:
            raise KeyboardInterrupt
        return step(run, batches)

    monkeypatch.setattr(SpecsRun, "_step", interrupted)
    folder = tmp_path / "run"
    line = ("train-specs", *SMALL, "--output", str(folder), "--save-every", "2")
    run = run_here(capsys, *line)
    assert run.status == 130 and run.err.endswith("error: interrupted\nhint: nothing is saved yet\n")
    last = 3
    run = run_here(capsys, *line, "--overwrite")
    kept = folder / "checkpoints" / "step-00000002"
    assert run.status == 130 and run.err.endswith(f"hint: {kept} is saved; go on with --resume\n")
