"""The benchmarks are programs that work, and what is read of them is what they measured. Nothing here is timed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from importlib import import_module
from itertools import count
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import torch

from clipalign.models.load import import_open_clip
from tests.benchmarks import __main__ as all_of_them
from tests.benchmarks import accelerator, engines, measure, page, train_speed
from tests.benchmarks.measure import Bench, Measured, Reading, Row, Turns
from tests.benchmarks.plot import place, plot
from tests.benchmarks.profile import REST, STEPS, WORKERS, profile, sentences
from tests.tiny import load_tiny

QUICK = Bench(quick=True, rounds=1, threads=1)


def a_row(reading: Reading = Reading.TIMES, **more: Any) -> Row:
    row = Row("k", "`us`", "`them`", reading, median=4.0, low=3.0, high=5.0, rounds=3, goal=2.0)
    return replace(row, **more)


# What is read


def test_page_plot_and_readme_hold_the_figures_that_were_measured() -> None:
    stale = [
        path.name
        for path, text in page.rendered(page.kept_figures()).items()
        if path.read_text(encoding="utf-8") != text
    ]
    assert stale == [], "python -m tests.benchmarks --render"


def test_every_goal_is_reached_or_the_page_says_missed() -> None:
    missed = [row for row in page.rows_of(page.kept_figures()) if not row.reached]
    assert page.PAGE.read_text(encoding="utf-8").count(", missed |") == len(missed)


def test_figures_name_no_place_of_the_machine_they_come_from() -> None:
    text = page.FIGURES.read_text(encoding="utf-8")
    assert str(page.ROOT) not in text
    assert str(Path.home()) + "/" not in text


def test_the_plot_is_sound_and_grows_with_speed() -> None:
    rows = [a_row(), a_row(Reading.COST, median=0.25, low=0.2, high=0.3, goal=0.5), a_row(Reading.RATE, median=0.96)]
    picture = ElementTree.fromstring(plot(rows))
    dots = [float(dot.get("cx", "")) for dot in picture.iter() if dot.tag.endswith("circle")][1:]
    assert dots == [place(4.0), place(4.0), place(0.96)]
    assert place(0.01) == place(0.5) < place(1) < place(2) < place(1000)


@pytest.mark.parametrize(
    ("reading", "median", "reached"),
    [
        (Reading.TIMES, 2.0, True),
        (Reading.TIMES, 1.9, False),
        (Reading.RATE, 3.0, True),
        (Reading.COST, 2.1, False),
        (Reading.SECONDS, 1.0, True),
    ],
)
def test_a_goal_is_a_lower_bound_where_higher_is_better(reading: Reading, median: float, reached: bool) -> None:
    assert a_row(reading, median=median).reached is reached
    assert a_row(reading, median=median, goal=None).reached


# How it is measured


def test_rounds_take_turns_and_the_ratio_is_that_of_the_round(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    now = 0.0

    def working(name: str, seconds: float) -> Any:
        def run() -> None:
            nonlocal now
            calls.append(name)
            now += seconds

        return run

    monkeypatch.setitem(measure.CLOCKS, "wall", lambda: now)
    bench = Bench(rounds=2)
    turns = bench.turns(working("base", 6.0), 2, working("ours", 4.0), 4)
    assert calls == ["base", "ours", "base", "ours", "ours", "base"]
    assert turns.pairs == [(3.0, 1.0), (3.0, 1.0)]
    assert turns.row("k", "", "", Reading.TIMES, bench).median == 3.0
    assert turns.row("k", "", "", Reading.COST, bench).median == pytest.approx(1 / 3)


def test_least_and_most_are_those_of_the_rounds() -> None:
    row = Turns([(2.0, 1.0), (6.0, 1.0), (3.0, 1.0)]).row("k", "", "", Reading.RATE, Bench())
    assert (row.low, row.median, row.high) == (2.0, 3.0, 6.0)


@pytest.mark.parametrize("name", all_of_them.BENCHMARKS)
def test_every_benchmark_has_a_measurement_and_says_how_it_is_run(name: str) -> None:
    module = import_module(f"tests.benchmarks.{name}")
    assert callable(module.measure)
    assert f"python -m tests.benchmarks.{name}" in (module.__doc__ or "")


def test_no_benchmark_is_forgotten() -> None:
    folder = Path(all_of_them.__file__).parent
    assert {path.stem for path in folder.glob("*_speed.py")} < set(all_of_them.BENCHMARKS)


def test_a_benchmark_that_fails_costs_no_other_and_the_rest_can_be_made_up_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[str] = []
    broken = {"train_speed"}

    def run(name: str, bench: Bench, device: str | None) -> dict[str, Any] | None:
        asked.append(name)
        return None if name in broken else {"rows": [], "missing": {}, "notes": []}

    monkeypatch.setattr(all_of_them, "FIGURES", tmp_path / "figures.json")
    monkeypatch.setattr(all_of_them, "kept_figures", lambda: json.loads(kept()) if kept() else {"benchmarks": {}})
    monkeypatch.setattr(all_of_them, "render", lambda figures: [])
    monkeypatch.setattr(all_of_them, "run", run)

    def kept() -> str:
        return (tmp_path / "figures.json").read_text() if (tmp_path / "figures.json").exists() else ""

    monkeypatch.setattr("sys.argv", ["benchmarks"])
    assert all_of_them.main() == 1
    assert asked == list(all_of_them.BENCHMARKS)
    assert set(json.loads(kept())["benchmarks"]) == set(asked) - broken
    asked.clear()
    broken.clear()
    monkeypatch.setattr("sys.argv", ["benchmarks", "--resume"])
    assert all_of_them.main() == 0
    assert asked == ["train_speed"]


# What needs an accelerator, and what looks inside


def small_tower(layers: int) -> Any:
    text = {"context_length": train_speed.CONTEXT, "vocab_size": 49408, "width": 16, "heads": 1, "layers": layers}
    vision = {"image_size": 32, "layers": 1, "width": 16, "patch_size": 32, "head_width": 16}
    return import_open_clip().model.CLIP(16, vision, text).eval()


def test_without_an_accelerator_its_rows_are_said_to_be_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    found = accelerator.measure(Bench(device="cuda"))
    assert found.rows == []
    assert len(found.missing) == len(accelerator.plans()) + 3
    assert set(found.missing.values()) == {"not measured here, there was no accelerator"}


def test_the_accelerator_s_way_works_on_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = count(1.0)
    monkeypatch.setitem(measure.CLOCKS, "wall", lambda: next(seconds))
    monkeypatch.setattr(accelerator, "CROPS", 2)
    described = {f"class {number}": ["a cup", "a red cup"] for number in range(8)}
    monkeypatch.setattr(accelerator, "real_descriptions", lambda: (described, "made up"))
    every = accelerator.plans()
    monkeypatch.setattr(accelerator, "plans", lambda: every[:3])
    monkeypatch.setattr(train_speed, "build_tower", small_tower)
    rows = [
        *accelerator.measure_detect(QUICK, load_tiny()),
        *accelerator.measure_rest(QUICK, load_tiny(), train_layers=1),
    ]
    assert {row.precision for row in rows} == {"fp32", "bf16", "fp16"}
    assert [row.key for row in rows if row.item == "pair"] == [row.key for row in accelerator.plans()]
    assert all(row.device == "cpu" and row.median > 0 for row in rows)


def test_the_steps_of_a_profile_add_up_to_the_run() -> None:
    found = profile(QUICK, "tiny", load_tiny(), records=8, rounds=1)
    assert set(found.main) == {*STEPS, REST}
    assert set(found.workers) == set(WORKERS)
    assert sum(found.main.values()) == pytest.approx(found.whole_ms, rel=0.05)
    assert len(sentences(found)) == 1 + len(found.main) + len(found.workers)


def test_measured_figures_survive_json() -> None:
    row = a_row()
    assert Row.of(json.loads(json.dumps(row.__dict__))) == row
    assert Measured([row]).missing == {}


def test_engines_are_a_line_each_and_the_page_shows_them(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("resource", reason="Windows has none")
    monkeypatch.setattr(engines, "random_vit_b_32", load_tiny)
    monkeypatch.setattr(engines, "PICTURES", 2)
    found = engines.try_engine("torch", "fp32", replace(QUICK, threads=torch.get_num_threads()))
    assert isinstance(found, engines.Engine) and min(found.picture_ms, found.pair_ms, found.peak_mb) > 0
    entry = {"command": "c", "date": "d", "machine": measure.machine(), "engines": [asdict(found)], "notes": ["bound"]}
    lines = page.page({"benchmarks": {"engines": {**entry, "rows": [], "missing": {}}}}).splitlines()
    row = next(line for line in lines if line.startswith("| torch | fp32 |"))
    assert len(row.split("|")) == len(next(line for line in lines if line.startswith("| engine |")).split("|"))


def test_the_bound_of_fp32_counts_what_is_computed(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = torch.randn(20, 30), torch.randn(30, 40)
    assert engines.giga_operations(lambda: a @ b) == pytest.approx(2 * 20 * 30 * 40 / 1e9)
    monkeypatch.setattr(engines, "random_vit_b_32", load_tiny)
    monkeypatch.setattr(engines, "PICTURES", 2)
    assert "GFLOP a caption" in engines.bound_of_fp32(replace(QUICK, threads=torch.get_num_threads()))


SMALL = ["detect_speed", "peers_speed", "batch_speed", "classify_speed", "score_long_speed", "eval_speed"]


@pytest.mark.parametrize("name", SMALL)
def test_programs_that_take_a_model_run_to_their_end_on_a_small_one(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = import_module(f"tests.benchmarks.{name}")
    seconds = count(1.0)
    monkeypatch.setitem(measure.CLOCKS, "wall", lambda: next(seconds))
    monkeypatch.setattr(module, "random_vit_b_32", load_tiny)
    for name, small in (("LARGE", (400, 300)), ("CROPS", 2), ("TOP_1_PICTURES", 2)):
        monkeypatch.setattr(module, name, small, raising=False)
    found = module.measure(QUICK)
    assert found.rows
    assert len({row.key for row in found.rows}) == len(found.rows)
    assert all(row.median > 0 and row.rounds == 1 for row in found.rows)
