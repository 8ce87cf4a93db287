"""``clipalign eval`` as a user meets it: status, stdout, stderr, and what it leaves in a folder."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from clipalign.evaluation.tasks.pictograms import PictogramFoil
from tests.cli.run import TINY, run_here, run_together

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
    assert "hint: clipalign download ViT-B-32" in err
    assert "; or --model pictogram" in err


def test_a_precision_the_device_lacks_is_warned_of_as_by_detect(capsys: Capture) -> None:
    status, out, err = run_here(capsys, *LINE, "--format", "json", "--device", "cpu", "--precision", "fp16")
    assert status == 0
    assert err.startswith("warning: ")
    assert "fp32 instead of fp16" in err
    assert json.loads(out)["provenance"]["precision"] == "fp32"


def test_a_disk_that_fills_up_is_a_sentence(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("clipalign.evaluation.load_run.write_whole", disk_full)
    status, out, err = run_here(capsys, *LINE, "--output", str(tmp_path))
    assert (status, out) == (70, "")
    assert err.startswith(f"error: {tmp_path} cannot be written: the disk is full\n")


@pytest.fixture
def textures(tmp_path: Path) -> Path:
    """The layout of dtd with two pictures, a third that is missing, and descriptions beside it."""
    top = tmp_path / "data" / "dtd" / "dtd" / "dtd"
    (top / "labels").mkdir(parents=True)
    (top / "labels" / "test1.txt").write_text("banded/b.png\ndotted/d.png\ndotted/missing.png\n")
    for name, color in (("banded/b.png", "red"), ("dotted/d.png", "blue")):
        (top / "images" / name).parent.mkdir(parents=True)
        Image.new("RGB", (80, 70), color).save(top / "images" / name)
    prompts = tmp_path / "data" / "wca-descriptions" / "prompts" / "dtd"
    prompts.mkdir(parents=True)
    (prompts / "cupl.json").write_text(json.dumps({"banded": ["Bands side by side."], "dotted": ["Dots in rows."]}))
    return tmp_path / "data"


def textures_line(textures: Path, *more: str) -> tuple[str, ...]:
    cache = str(textures.parent / "cache")
    line = ("eval", "--dataset", "dtd", "--model", TINY, "--data-root", str(textures), "--cache-dir", cache)
    return (*line, "--crops", "3", *more)


def test_a_data_set_that_is_partly_here_is_measured_named_as_such_and_ends_with_status_3(
    capsys: Capture, textures: Path
) -> None:
    status, out, err = run_here(capsys, *textures_line(textures, "--format", "json"))
    assert status == 3
    assert err == "warning: 1 of 3 samples could not be read; the result names one\n"
    result = json.loads(out)
    assert result["counts"] == {"samples": 2, "unreadable": 1}
    assert {"top1_clip", "top1_clip_e", "top1_cupl", "top1_wca", "top1_wca_std"} <= set(result["metrics"])
    assert result["settings"]["methods"] == ["clip", "clip-e", "cupl", "wca"]
    assert result["published"] == {}
    notes = " ".join(result["notes"])
    for said in ("a part of the data set: 3 of its 1,880 samples", "without waffle", "1 of 3 samples could not be"):
        assert said in notes
    assert "published numbers are left out" in notes
    table = " ".join(run_here(capsys, *textures_line(textures, "--format", "table")).out.split())
    assert "dtd: " in table
    assert "2 samples, 1 unreadable" in table


def test_a_run_is_refused_resumed_or_started_anew_as_asked(capsys: Capture, textures: Path) -> None:
    output = textures.parent / "run"
    line = textures_line(textures, "--format", "json", "--output", str(output))
    first = run_here(capsys, *line)
    assert first.status == 3
    assert "--resume goes on with it, --overwrite starts anew" in run_here(capsys, *line).err
    samples = output / "samples.jsonl"
    content = samples.read_bytes()
    samples.write_bytes(content[:-9])
    assert run_here(capsys, *line, "--resume") == first
    assert samples.read_bytes() == content
    status, out, err = run_here(capsys, *line, "--resume", "--image-logscale", "1")
    assert (status, out) == (2, "")
    assert "image_logscale was 4.0, now it is 1.0" in err
    assert run_here(capsys, *line, "--overwrite") == first
    assert "exclude each other" in run_here(capsys, *line, "--overwrite", "--resume").err


def test_one_method_and_a_sample_that_ends_the_run(capsys: Capture, textures: Path) -> None:
    out = run_here(capsys, *textures_line(textures, "--format", "json", "--method", "clip-e")).out
    assert list(json.loads(out)["metrics"]) == ["top1_clip_e"]
    status, out, err = run_here(capsys, *textures_line(textures, "--on-error", "fail"))
    assert (status, out) == (3, "")
    assert "missing.png" in err
    status, _, err = run_here(capsys, *textures_line(textures, "--method", "waffle"))
    assert status == 2
    assert "the method waffle lacks what it needs for this data set" in err


def test_a_data_set_that_is_not_here_ends_with_status_4_before_the_model_is_looked_for(capsys: Capture) -> None:
    status, out, err = run_here(capsys, "eval", "--dataset", "food101", "--model", "ViT-B-32", "--offline")
    assert (status, out) == (4, "")
    assert err.splitlines()[0].startswith("error: the data set food101 is not in ")
    assert err.splitlines()[0].endswith(": there is no such folder")
    assert err.splitlines()[1] == "hint: clipalign download food101 --accept-license food101, or --data-root DIR"


def test_a_data_root_that_is_a_file_is_called_one(capsys: Capture, tmp_path: Path) -> None:
    (tmp_path / "list.json").write_text("[]")
    line = ("eval", "--dataset", "nocaps-foil", "--model", TINY, "--data-root", str(tmp_path / "list.json"))
    status, _, err = run_here(capsys, *line)
    assert status == 4
    assert err.splitlines()[0].endswith("list.json: that is a file")


def test_two_processes_measure_what_one_does(capsys: Capture, tmp_path: Path, program: list[str]) -> None:
    line = ("eval", "--dataset", "pictogram-foil", "--model", TINY, "--limit", "260", "--format", "json")
    whole = run_here(capsys, *line, "--output", str(tmp_path / "one"))
    first, second = run_together(*line, "--output", str(tmp_path / "two"), program=program)
    assert (first.status, second.status, second.out) == (0, 0, ""), first.err
    assert json.loads(first.out) == json.loads(whole.out)
    one, two = (tmp_path / name / "samples.jsonl" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()


def test_two_processes_stay_together_over_all_runs_of_a_sweep(capsys: Capture, program: list[str]) -> None:
    line = ("eval", "--dataset", "pictogram-foil", "--model", TINY, "--limit", "130", "--format", "json")
    sweep = ("--sweep", "layers=1,2", "--sweep", "epsilon=0,-1", "--mode", "threshold")
    first, second = run_together(*line, *sweep, program=program)
    assert (first.status, second.status) == (0, 0), first.err
    assert json.loads(first.out) == json.loads(run_here(capsys, *line, *sweep).out)
