"""``clipalign eval`` beyond one run, as a user meets it: data sets, comparison, sweep, calibration, report."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.run import GOLDEN, TINY, run_here
from tests.word_datasets import write_foil, write_hat, write_nocaps

pytestmark = pytest.mark.usefixtures("few_draws")

Capture = pytest.CaptureFixture[str]
PICTOGRAM = ("eval", "--dataset", "pictogram-foil", "--model", TINY, "--limit", "20")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A folder that holds data sets under their names."""
    write_nocaps(tmp_path / "data" / "nocaps-foil")
    write_hat(tmp_path / "data" / "hat")
    write_foil(tmp_path / "data" / "foil")
    return tmp_path / "data"


@pytest.mark.parametrize("dataset", ["foil", "nocaps-foil", "hat"])
def test_a_data_set_is_measured_and_published_numbers_stand_beside_the_published_data_alone(
    capsys: Capture, data: Path, dataset: str
) -> None:
    status, out, err = run_here(
        capsys, "eval", "--dataset", dataset, "--data-root", str(data), "--model", TINY, "--format", "json"
    )
    assert (status, err) == (0, "")
    result = json.loads(out)
    assert result["counts"] == {"samples": 20, "unreadable": 0}
    backbones = {one["backbone"] for one in result["published"].get("published_la", [])}
    assert backbones >= {"ViT-B/32 openai", "ViT-H/14 laion2b"} if dataset == "foil" else not result["published"]
    assert all(len(digest) == 64 for digest in result["settings"]["data"].values())


def test_missing_pictures_set_status_3_and_are_named(capsys: Capture, data: Path) -> None:
    sorted((data / "hat" / "val2014").iterdir())[0].unlink()
    status, out, _ = run_here(
        capsys, "eval", "--dataset", "hat", "--data-root", str(data), "--model", TINY, "--format", "table"
    )
    assert status == 3
    assert "18 samples, 2 unreadable" in out
    assert "2 of 20 samples could not be read" in " ".join(out.split())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "there is no hat-trainval.json"),
        ("[{", "breaks off"),
        ("version https://git-lfs.github.com/spec/v1\n", "LFS"),
    ],
)
def test_data_that_is_not_there_or_damaged_sets_status_4(
    capsys: Capture, data: Path, content: str | None, said: str
) -> None:
    place = data / "hat" / "hat-trainval.json"
    place.unlink() if content is None else place.write_text(content)
    status, out, err = run_here(capsys, "eval", "--dataset", "hat", "--data-root", str(data), "--model", TINY)
    assert (status, out) == (4, "")
    assert said in err
    assert "clipalign download hat" in err
    assert len(err.splitlines()) <= 2


def test_two_runs_are_compared(capsys: Capture, tmp_path: Path) -> None:
    for layers in ("1", "3"):
        run_here(capsys, *PICTOGRAM, "--layers", layers, "--output", str(tmp_path / layers))
    first, second = str(tmp_path / "1" / "result.json"), str(tmp_path / "3")
    status, out, err = run_here(capsys, "eval", "--compare", first, second, "--format", "json")
    assert (status, err) == (0, "")
    document = json.loads(out)
    assert document["differing"] == {"layers": [1, 3]}
    assert document["metrics"]["la"]["test"] == "mcnemar"
    status, out, _ = run_here(capsys, "eval", "--compare", first, second, "--format", "table")
    assert status == 0
    assert "pictogram-foil: two runs" in out
    status, out, err = run_here(capsys, "eval", "--compare", first, str(tmp_path / "nothing"))
    assert (status, out) == (2, "")
    assert "there is no" in err


def test_two_runs_on_long_captions_are_compared(capsys: Capture, tmp_path: Path) -> None:
    plain, stretched = str(tmp_path / "plain"), str(tmp_path / "stretched")
    line = ("eval", "--dataset", "pictogram-long", "--model", TINY, "--limit", "6")
    run_here(capsys, *line, "--output", plain)
    run_here(capsys, *line, "--output", stretched, "--stretch")
    status, out, err = run_here(capsys, "eval", "--compare", plain, stretched, "--format", "json")
    assert (status, err) == (0, "")
    document = json.loads(out)
    assert all(metric["low"] <= metric["difference"] <= metric["high"] for metric in document["metrics"].values())
    assert document["differing"] == {"stretch": [False, True], "context_tokens": [77, 248]}
    ours = [json.loads((tmp_path / run / "result.json").read_text())["metrics"] for run in ("plain", "stretched")]
    for name, metric in document["metrics"].items():
        assert metric["values"] == pytest.approx([run[name] for run in ours])
    assert {"positive", "negative", "average"} <= set(document["metrics"])
    status, out, _ = run_here(capsys, "eval", "--compare", plain, stretched, "--format", "table")
    assert (status, "pictogram-long: two runs" in out) == (0, True)


@pytest.mark.parametrize(
    ("dataset", "option", "has"),
    [
        ("pictogram-foil", ("--crops", "3"), "it has --mode, --epsilon, --layers, --template"),
        ("pictogram-classify", ("--templates", "a.txt"), "it has --method, --crops"),
        ("pictogram-long", ("--epsilon", "0"), "it has --stretch"),
    ],
)
def test_an_option_that_the_benchmark_makes_no_use_of_is_refused(
    capsys: Capture, dataset: str, option: tuple[str, str], has: str
) -> None:
    status, out, err = run_here(capsys, "eval", "--dataset", dataset, "--model", TINY, "--limit", "2", *option)
    assert (status, out) == (2, "")
    assert err.startswith(f"error: {dataset} makes no use of {option[0]}\nhint: {has}")


def test_a_setting_of_a_file_is_for_whatever_benchmark_has_it(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("clipalign.toml").write_text("crops = 3\nlayers = 1\n")
    status, out, err = run_here(capsys, *PICTOGRAM, "--format", "json")
    assert (status, err) == (0, "")
    assert json.loads(out)["settings"]["layers"] == 1


def test_a_sweep_has_a_row_a_combination(capsys: Capture, tmp_path: Path) -> None:
    sweep = ("--sweep", "layers=1,2", "--sweep", "epsilon=-1e-5,0", "--mode", "threshold")
    status, out, err = run_here(capsys, *PICTOGRAM, *sweep, "--format", "json", "--output", str(tmp_path / "out"))
    assert (status, err) == (0, "")
    document = json.loads(out)
    assert [run["swept"] for run in document["runs"]] == [
        {"layers": layers, "epsilon": epsilon} for layers in (1, 2) for epsilon in (-1e-5, 0.0)
    ]
    assert len(list((tmp_path / "out").glob("*/result.json"))) == 4
    assert run_here(capsys, *PICTOGRAM, *sweep, "--format", "table").out.startswith("pictogram-foil: 4 runs")


def test_a_calibration_is_saved_for_detect(capsys: Capture, tmp_path: Path) -> None:
    place = tmp_path / "calibration.json"
    status, out, err = run_here(capsys, *PICTOGRAM, "--calibrate", "--save", str(place), "--format", "json")
    assert (status, err) == (0, "")
    chosen = json.loads(out)["chosen"]
    picture = str(GOLDEN / "images" / "0.png")
    line = ("detect", picture, "a dog", "--model", TINY, "--calibration", str(place), "--format", "json")
    status, out, err = run_here(capsys, *line)
    assert (status, err) == (0, "")
    used = json.loads(out)["provenance"]["settings"]
    assert (used["layers"], used["epsilon"]) == (chosen["layers"], chosen["epsilon"])


@pytest.mark.parametrize("rank", ["0", "1"])
def test_under_torchrun_one_process_calibrates_and_compares(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rank: str
) -> None:
    run_here(capsys, *PICTOGRAM, "--output", str(tmp_path / "run"))
    for name, value in {"RANK": rank, "WORLD_SIZE": "2", "LOCAL_RANK": rank}.items():
        monkeypatch.setenv(name, value)
    place = tmp_path / "calibration.json"
    calibrated = run_here(capsys, *PICTOGRAM, "--calibrate", "--save", str(place))
    compared = run_here(capsys, "eval", "--compare", str(tmp_path / "run"), str(tmp_path / "run"))
    assert (calibrated.status, compared.status) == (0, 0)
    assert [bool(calibrated.out), bool(compared.out), place.is_file()] == [rank == "0"] * 3


def test_a_report_lies_beside_the_result(capsys: Capture, tmp_path: Path) -> None:
    status, _, err = run_here(capsys, *PICTOGRAM, "--output", str(tmp_path / "out"), "--report", "html")
    assert (status, err) == (0, "")
    page = (tmp_path / "out" / "report.html").read_text()
    assert page.startswith("<!doctype html>")
    assert "Most wrong" in page


def test_the_atlas_runs_what_is_here_and_names_what_is_missing(capsys: Capture, data: Path, tmp_path: Path) -> None:
    run = ("eval", "--dataset", "atlas", "--data-root", str(data), "--model", TINY, "--limit", "4")
    status, out, _ = run_here(capsys, *run, "--output", str(tmp_path / "runs"), "--report", "html", "--format", "json")
    assert status == 0
    board = json.loads(out)
    assert board["datasets"] == ["foil", "nocaps-foil", "pictogram-foil"]
    assert board["missing"]["valse"] == "clipalign download valse"
    page = (tmp_path / "runs" / "report.html").read_text()
    assert "nocaps-foil published_la" in page
    (tmp_path / "runs" / "report.html").unlink()
    resumed = run_here(capsys, *run, "--output", str(tmp_path / "runs"), "--resume", "--format", "json")
    assert json.loads(resumed.out) == board
    finished = run_here(capsys, "eval", "--output", str(tmp_path / "runs"), "--report", "html", "--format", "table")
    assert finished.status == 0
    assert "3 runs in" in finished.out
    assert (tmp_path / "runs" / "report.html").is_file()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--dataset", "hat,valse"), "the data set valse is not in"),
        (("--dataset", "hat,foils"), "did you mean foil?"),
        (("--dataset", "hat,foil", "--calibrate"), "--calibrate is about one data set"),
        (("--dataset", "hat,foil", "--method", "clip"), "makes no use of --method"),
        (("--output", "nowhere"), "nowhere holds no finished runs"),
        (("--output", "nowhere", "--limit", "3"), "without --dataset there is no use of --limit"),
        ((), "missing --dataset"),
    ],
)
def test_what_many_runs_refuse(capsys: Capture, data: Path, arguments: tuple[str, ...], said: str) -> None:
    model = ("--model", TINY, "--data-root", str(data)) if "--dataset" in arguments else ()
    status, out, err = run_here(capsys, "eval", *arguments, *model)
    assert (status, out) == (4 if "valse" in said else 2, "")
    assert said in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--report", "html"), "--report needs --output"),
        (("--report", "pdf", "--output", "x"), "--report must be html"),
        (("--save", "x.toml"), "--save needs --calibrate"),
        (("--calibrate", "--save", "no/c.json"), "no/c.json is in a folder that is not there"),
        (("--calibrate", "--save", str(GOLDEN / "tiny-clip.json")), "exists and is no calibration"),
        (("--verify", "x.jsonl"), "--verify makes no use of --dataset"),
        (("--calibrate", "--sweep", "layers=1"), "--calibrate and --sweep exclude each other"),
        (("--calibrate", "--output", "x"), "--calibrate makes no use of --output"),
        (("--calibrate", "--epsilon", "0"), "--calibrate makes no use of --epsilon"),
        (("--sweep", "layer=1"), "did you mean layers?"),
        (("--epsilon", "0"), "makes no use of epsilon (--epsilon)\nhint: add --mode threshold"),
        (("--sweep", "epsilon=0,1"), "run in mode most-negative, which makes no use of epsilon"),
        (("--sweep", "model=pictogram,ViT-B-33"), "ViT-B-33"),
    ],
)
def test_options_that_do_not_go_together_are_said_with_status_2(
    capsys: Capture, arguments: tuple[str, ...], said: str
) -> None:
    status, out, err = run_here(capsys, *PICTOGRAM, *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) <= 2
