"""``clipalign eval`` as a user meets it: status, stdout, stderr, and what it leaves in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipalign.benchmarks.pictogram_foil import PictogramFoil
from tests.cli.run import TINY, run_here

Capture = pytest.CaptureFixture[str]
LINE = ("eval", "--dataset", "pictogram-foil", "--model", TINY, "--limit", "20")


def test_json_is_one_document_with_metrics_counts_and_provenance(capsys: Capture) -> None:
    status, out, err = run_here(capsys, *LINE, "--format", "json")
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert (result["dataset"], result["model"]) == ("pictogram-foil", TINY)
    assert {"la", "la_object", "la_size", "ap_clip_score", "ap_f_clip_score"} <= set(result["metrics"])
    assert all(0 <= value <= 1 for value in result["metrics"].values())
    assert result["intervals"]["la"]["n"] == 10
    assert result["counts"] == {"samples": 20, "unreadable": 0}
    assert result["settings"]["mode"] == "most-negative"
    assert result["settings"]["limit"] == 20
    assert result["provenance"]["weights_sha256"]


def test_the_table_shows_each_metric_with_its_interval_and_chance(capsys: Capture) -> None:
    status, out, _ = run_here(capsys, *LINE, "--format", "table")
    assert status == 0
    assert out.startswith("pictogram-foil:")
    assert "20 samples" in " ".join(out.split())
    row = next(line for line in out.splitlines() if line.startswith("ap_clip_score "))
    assert " to " in row
    assert row.endswith("0.5000")
    assert max(len(line) for line in out.splitlines()) <= 80


def test_the_seed_draws_other_scenes_and_the_same_seed_the_same_result(capsys: Capture) -> None:
    def metrics(*more: str) -> dict[str, float]:
        document = json.loads(run_here(capsys, *LINE, "--format", "json", *more).out)
        return dict(document["metrics"])

    assert metrics("--seed", "1") == metrics("--seed", "1")
    assert metrics("--seed", "1") != metrics("--seed", "2")


def test_options_of_detect_reach_the_measurement(capsys: Capture) -> None:
    settings = json.loads(run_here(capsys, *LINE, "--layers", "1", "--template", "", "--format", "json").out)[
        "settings"
    ]
    assert (settings["layers"], settings["template"]) == (1, "")


def test_output_holds_every_sample_and_the_result_and_is_not_overwritten(capsys: Capture, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    assert run_here(capsys, *LINE, "--output", str(folder)).status == 0
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text().splitlines()]
    assert len(samples) == len({sample["id"] for sample in samples}) == 20
    assert [sample["correct"] for sample in samples] == [True, False] * 10
    assert json.loads((folder / "result.json").read_text())["counts"]["samples"] == 20
    status, out, err = run_here(capsys, *LINE, "--output", str(folder))
    assert (status, out) == (2, "")
    assert "already holds the records of a run" in err


def test_an_output_that_cannot_be_written_is_said_before_anything_is_scored(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, out, err = run_here(capsys, *LINE, "--output", str(tmp_path / "file" / "run"))
    assert (status, out) == (2, "")
    assert "cannot be written" in err


def test_what_was_scored_before_an_interruption_is_kept(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(PictogramFoil, "measure", interrupted)
    status, out, _ = run_here(capsys, *LINE, "--output", str(tmp_path))
    assert (status, out) == (130, "")
    assert len((tmp_path / "samples.jsonl").read_text().splitlines()) == 20
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("eval", "--model", TINY), "missing --dataset"),
        (("eval", "--dataset", "pictogram-fool", "--model", TINY), "did you mean pictogram-foil?"),
        (("eval", "--dataset", "pictogram-foil", "--limit", "0"), "--limit must be a whole number, 1 or more"),
    ],
)
def test_wrong_usage_is_said_in_a_line_with_status_2(capsys: Capture, arguments: tuple[str, ...], said: str) -> None:
    status, out, err = run_here(capsys, *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) <= 2


def test_missing_weights_end_with_status_4(capsys: Capture) -> None:
    status, out, err = run_here(capsys, "eval", "--dataset", "pictogram-foil", "--model", "ViT-B-32", "--offline")
    assert (status, out) == (4, "")
    assert "hint: clipalign download ViT-B-32 " in err
    assert "; or --model pictogram" in err


def test_a_precision_the_device_lacks_is_warned_of_as_by_detect(capsys: Capture) -> None:
    status, out, err = run_here(capsys, *LINE, "--format", "json", "--device", "cpu", "--precision", "fp16")
    assert status == 0
    assert err.startswith("warning: ")
    assert "fp32 instead of fp16" in err
    assert json.loads(out)["provenance"]["precision"] == "fp32"


def test_a_disk_that_fills_up_is_a_sentence(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", no_room)
    status, out, err = run_here(capsys, *LINE, "--output", str(tmp_path))
    assert (status, out) == (70, "")
    assert err.startswith(f"error: results could not be written to {tmp_path}: No space left on device\n")
