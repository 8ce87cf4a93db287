"""Several data sets and models in one run: one table, resumed where it was ended, and pages of finished runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipalign.errors import UsageError
from clipalign.evaluation import evaluate
from clipalign.evaluation.load_run import finished_runs, load_run
from clipalign.evaluation.registry import GROUPS, find_benchmark, named_benchmarks
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.sweep import Swept, run_sweep
from clipalign.output.leaderboard import Leaderboard, leaderboard_page, leaderboard_record, leaderboard_table
from tests.evaluated import run_benchmark
from tests.tiny import load_random, load_tiny
from tests.word_datasets import draw, word_set, write_hat, write_nocaps

pytestmark = pytest.mark.usefixtures("few_draws")


def load(model: str) -> Any:
    return load_random("siglip") if model == "siglip" else load_tiny()


def run_two(folder: Path, settings: EvalSettings) -> list[Swept]:
    """Two data sets and two models."""
    sets = [word_set("nocaps-foil", folder / "nocaps-foil"), word_set("hat", folder / "hat")]
    return run_sweep(sets, load, settings, {"model": ["tiny", "siglip"]})


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_nocaps(tmp_path / "nocaps-foil")
    write_hat(tmp_path / "hat")
    return tmp_path


def test_names_with_commas_and_of_groups(tmp_path: Path) -> None:
    assert named_benchmarks("hat, foil") == {"hat": False, "foil": False}
    assert list(named_benchmarks("atlas")) == GROUPS["atlas"]
    assert all(named_benchmarks("atlas").values())
    assert "mine.csv" in named_benchmarks("atlas,mine.csv")
    (tmp_path / "a,b.csv").write_text("image,text\n")
    assert list(named_benchmarks(str(tmp_path / "a,b.csv"))) == [str(tmp_path / "a,b.csv")]


def test_a_run_that_was_ended_anywhere_goes_on_to_the_same_numbers(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = [one.result.to_dict() for one in run_two(data, EvalSettings(output=data / "whole"))]
    assert [(one["dataset"], one["provenance"]["model"]) for one in whole] == [
        ("nocaps-foil", "tiny-clip"), ("hat", "tiny-clip"), ("nocaps-foil", "siglip"), ("hat", "siglip"),
    ]  # fmt: skip
    runs = iter(range(2))

    def ends_in_the_third(*given: Any, **named: Any) -> Any:
        next(runs)
        return run(*given, **named)

    run = evaluate.run_benchmark
    monkeypatch.setattr(evaluate, "run_benchmark", ends_in_the_third)
    settings = EvalSettings(output=data / "torn")
    with pytest.raises(StopIteration):
        run_two(data, settings)
    monkeypatch.undo()
    assert len(finished_runs(data / "torn")) == 2
    with pytest.raises(UsageError, match="already holds the records of a run"):
        run_two(data, settings)
    again = run_two(data, replace(settings, resume=True))
    assert [one.result.to_dict() for one in again] == whole


def test_one_table_of_all_that_finished(data: Path) -> None:
    run_two(data, EvalSettings(output=data / "runs"))
    board = Leaderboard("mine", finished_runs(data / "runs"), {"vsr": "clipalign download vsr"})
    shown = leaderboard_table(board)
    assert "note: missing: vsr: clipalign download vsr" in shown
    lines = {line.split("  ")[0]: line for line in shown.splitlines()}
    assert {"hat la", "nocaps-foil la_in_domain", "nocaps-foil pair_accuracy"} <= set(lines)
    assert not any("ap_clip_score" in line for line in lines)  # all that is not about words is in the record
    record = leaderboard_record(board)
    assert (record["datasets"], record["models"]) == (["hat", "nocaps-foil"], ["siglip", "tiny-clip"])
    assert json.loads(json.dumps(record["runs"])) == list(board.runs)


def test_runs_of_one_model_are_told_apart_by_what_differs(data: Path) -> None:
    for layers in (1, 2):
        settings = EvalSettings(output=data / "runs" / str(layers), layers=layers)
        run_benchmark(word_set("hat", data / "hat"), load_tiny(), settings)
    runs = finished_runs(data / "runs")
    model = runs[0]["model"]
    assert Leaderboard("", runs, {}).labels == [f"{model} layers=1", f"{model} layers=2"]


def test_a_page_shows_names_as_text(data: Path) -> None:
    run_benchmark(word_set("hat", data / "hat"), load_tiny(), EvalSettings(output=data / "run"))
    (run,) = finished_runs(data / "run")
    page = leaderboard_page(Leaderboard("<b>", [{**run, "model": "<script>"}], {}))
    assert "&lt;script&gt;" in page
    assert "<script>" not in page
    assert f"{run['metrics']['la']:.3f}" in page


def test_a_folder_without_runs_or_with_a_damaged_one_is_refused(data: Path) -> None:
    with pytest.raises(UsageError, match="holds no finished runs"):
        finished_runs(data)
    (data / "result.json").write_text('{"dataset": "hat"}')
    with pytest.raises(UsageError, match="is no result of eval"):
        finished_runs(data)


def test_a_run_of_own_data_is_read_again_wherever_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw(tmp_path / "there", ["1.jpg"])
    mine = tmp_path / "there" / "mine.csv"
    mine.write_text("image,text,wrong_words\n1.jpg,a red bus,bus\n1.jpg,a red bus,\n")
    result = run_benchmark(find_benchmark(str(mine)), load_tiny(), EvalSettings(output=tmp_path / "run"))
    monkeypatch.chdir(tmp_path)
    run = load_run(tmp_path / "run")
    values = {one.name: one.value() for one in run.benchmark.statistics(list(run.outcomes.values()))}
    assert values == result.to_dict()["metrics"]


def test_a_published_number_has_the_mark_of_its_own_source_and_n_is_of_all_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def run(dataset: str, source: str, n: int) -> dict[str, Any]:
        number = {"value": 0.4, "backbone": "ViT-B/32", "source": source}
        return {
            "dataset": dataset, "model": "tiny", "settings": {"limit": n}, "counts": {}, "metrics": {"la": 0.5},
            "intervals": {"la": {"n": n, "low": None, "high": None, "chance": None}}, "published": {"la": [number]},
        }  # fmt: skip

    monkeypatch.setenv("COLUMNS", "120")
    runs = [run("a", "one", 10), run("a", "one", 1000), run("b", "other", 10), run("c", "one", 10)]
    lines = leaderboard_table(Leaderboard("runs", runs, {})).splitlines()
    assert [line.split()[2:4] for line in lines if line.startswith("a la")] == [["10", "to"]]
    assert [line.split("[")[1][0] for line in lines if "0.400 [" in line] == ["1", "2", "1"]


def test_the_best_of_runs_over_as_many_samples_has_a_star_and_others_are_not_compared() -> None:
    def stars(*counts: int) -> tuple[int, int]:
        runs = [
            {
                "dataset": "a", "model": model, "settings": {}, "counts": {}, "metrics": {"la": value}, "published": {},
                "intervals": {"la": {"n": n, "low": None, "high": None, "chance": None}},
            }
            for model, value, n in zip(("one", "other"), (0.5, 0.7), counts, strict=True)
        ]  # fmt: skip
        table = leaderboard_table(Leaderboard("runs", runs, {}))
        return table.count("0.700*"), table.count("* is the highest")

    assert (stars(10, 10), stars(10, 1000)) == ((1, 1), (0, 0))
