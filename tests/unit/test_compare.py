"""Two runs compared: McNemar and bootstrap against SciPy and by hand, shared samples, what is refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipalign.errors import UsageError
from clipalign.eval_results import ComparedMetric
from clipalign.evaluation.benchmark import Benchmark
from clipalign.evaluation.compare import compare, compare_records, compare_runs, mcnemar, permutation, worse_metrics
from clipalign.evaluation.evaluate import run_benchmark
from clipalign.evaluation.registry import find_benchmark
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.own_data import Ratings
from clipalign.evaluation.tasks.pictograms import PictogramClassify, PictogramFoil, PictogramLong
from clipalign.output.eval import comparison_record, comparison_table
from tests.tiny import load_random, load_tiny
from tests.unit.test_own_data_ratings import good_rows, ratings
from tests.unit.test_retrieval import save_urban1k
from tests.word_datasets import word_set, write_nocaps

pytestmark = pytest.mark.usefixtures("few_draws")


def ran(folder: Path, **settings: Any) -> Path:
    run_benchmark(PictogramFoil(), load_tiny(), EvalSettings(output=folder, **{"limit": 60, **settings}))
    return folder


@pytest.fixture(scope="module")
def runs(few_draws: None, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same samples with one and with four layers."""
    folder = tmp_path_factory.mktemp("runs")
    return ran(folder / "one", layers=1), ran(folder / "four", layers=4)


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 1), (5, 5), (0, 9), (400, 320), (900, 700)])
def test_mcnemar_is_the_exact_binomial_test_of_the_samples_that_differ(first: int, second: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    only_first = np.array([True] * first + [False] * (second + 7))
    only_second = np.array([False] * first + [True] * second + [False] * 7)
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert mcnemar(only_first, only_second) == pytest.approx(expected)


def test_mcnemar_by_hand() -> None:
    # 1 against 3: 2 (C(4,0) + C(4,1)) / 2**4
    assert mcnemar(np.array([True, False, False, False]), np.array([False, True, True, True])) == pytest.approx(10 / 16)


def test_metrics_of_both_runs_stand_beside_each_other(runs: tuple[Path, Path]) -> None:
    comparison = compare_runs(*runs)
    first, second = (json.loads((run / "result.json").read_text()) for run in runs)
    by_name = {metric.name: metric for metric in comparison.metrics}
    assert set(by_name) == set(first["metrics"])
    for name, metric in by_name.items():
        assert metric.first == pytest.approx(first["metrics"][name])
        assert metric.second == pytest.approx(second["metrics"][name])
        assert metric.low is not None
        assert metric.high is not None
        assert metric.low - 1e-9 <= metric.difference <= metric.high + 1e-9
        assert 0.0 < (metric.p_value or 0.0) <= 1.0
    assert (by_name["la"].test, by_name["ap_f_clip_score"].test) == ("mcnemar", "bootstrap")
    assert comparison.differing == (("layers", 1, 4),)


def test_layers_do_not_touch_cosines_and_so_nothing_differs_there(runs: tuple[Path, Path]) -> None:
    by_name = {metric.name: metric for metric in compare_runs(*runs).metrics}
    same = by_name["ap_clip_score"]
    assert (same.difference, same.low, same.high, same.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_a_run_differs_from_itself_in_nothing(runs: tuple[Path, Path]) -> None:
    comparison = compare_runs(runs[0], runs[0] / "result.json")
    assert {metric.difference for metric in comparison.metrics} == {0.0}
    assert {metric.p_value for metric in comparison.metrics} == {1.0}
    assert comparison.differing == ()


def test_the_other_way_round_the_sign_turns(runs: tuple[Path, Path]) -> None:
    there, back = compare_runs(*runs), compare_runs(*reversed(runs))
    for one, other in zip(there.metrics, back.metrics, strict=True):
        assert one.difference == pytest.approx(-other.difference)
        assert one.p_value == pytest.approx(other.p_value)


def test_only_samples_that_both_have_are_compared(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    fewer = ran(tmp_path / "fewer", limit=40, layers=4)
    comparison = compare_runs(runs[0], fewer)
    assert {metric.n for metric in comparison.metrics if metric.name == "la"} == {20}
    assert "over the 40 samples that both runs have, of 60 and 40" in comparison.notes


def test_unreadable_samples_of_either_run_are_left_out(tmp_path: Path) -> None:
    data = write_nocaps(tmp_path / "data")

    def measured(folder: str, **settings: Any) -> Path:
        run_benchmark(word_set("nocaps-foil", data), load_tiny(), EvalSettings(output=tmp_path / folder, **settings))
        return tmp_path / folder

    whole = measured("whole")
    sorted((data / "images").iterdir())[3].unlink()
    comparison = compare_runs(whole, measured("less", layers=1))
    assert next(metric.n for metric in comparison.metrics if metric.name == "ap_clip_score") == 18


def test_table_and_json_show_the_same(runs: tuple[Path, Path]) -> None:
    comparison = compare_runs(*runs)
    record = comparison_record(comparison)
    assert json.loads(json.dumps(record))["differing"] == {"layers": [1, 4]}
    page = comparison_table(comparison)
    assert "pictogram-foil: two runs" in page
    assert "layers: A 1, B 4" in page
    assert max(map(len, page.splitlines())) <= 80
    la = next(metric for metric in comparison.metrics if metric.name == "la")
    row = next(line for line in page.splitlines() if line.startswith("la "))
    assert f"{la.difference:+.4f}" in row


def test_classifications_are_compared_picture_by_picture(tmp_path: Path) -> None:
    for method in ("clip", "cupl"):
        run_benchmark(PictogramClassify(), load_tiny(), EvalSettings(limit=12, output=tmp_path / method, method=method))
    run_benchmark(PictogramClassify(), load_tiny(), EvalSettings(limit=12, output=tmp_path / "both", crops=4))
    (metric,) = compare_runs(tmp_path / "clip", tmp_path / "both").metrics
    assert (metric.name, metric.n, metric.test) == ("top1_clip", 12, "mcnemar")
    assert compare_runs(tmp_path / "clip", tmp_path / "cupl").metrics == ()


def differing(first: Path, second: Path) -> dict[str, ComparedMetric]:
    """Of two runs: by metric, what came of comparing them, each with an interval around the difference."""
    comparison = compare_runs(first, second)
    for metric in comparison.metrics:
        assert metric.low is not None and metric.high is not None and metric.p_value is not None
        assert metric.low - 1e-9 <= metric.difference <= metric.high + 1e-9
    assert not any("not compared one by one" in note for note in comparison.notes)
    return {metric.name: metric for metric in comparison.metrics}


def twice(benchmark: Benchmark[Any, Any], folder: Path, **settings: Any) -> tuple[Path, Path]:
    """Runs of two models."""
    for name, loaded in (("tiny", load_tiny()), ("random", load_random("clip"))):
        run_benchmark(benchmark, loaded, EvalSettings(output=folder / name, **settings))
    return folder / "tiny", folder / "random"


def test_captions_that_grow_are_compared_picture_by_picture(tmp_path: Path) -> None:
    found = differing(*twice(PictogramLong(), tmp_path, limit=20))
    assert found["average"].n == 20


def test_a_counting_that_leaves_out_pictures_is_compared_over_those_that_both_runs_kept(tmp_path: Path) -> None:
    run_benchmark(PictogramLong(), load_tiny(), EvalSettings(limit=8, output=tmp_path / "one"))
    shutil.copytree(tmp_path / "one", tmp_path / "other")
    samples = tmp_path / "other" / "samples.jsonl"
    first, *others = samples.read_text().splitlines(keepends=True)
    record = json.loads(first)
    absent = {"cosines": [-1.0] * len(record["cosines"])}  # as published, these count as absent
    samples.write_text(json.dumps(record | absent) + "\n" + "".join(others))
    alone, found = differing(tmp_path / "one", tmp_path / "one"), differing(tmp_path / "one", tmp_path / "other")
    for name in ("positive", "negative", "average"):
        assert found[name].n == alone[name].n == 8
        assert found[f"published_{name}"].n == alone[f"published_{name}"].n - 1
        assert found[f"published_{name}"].difference == 0.0


def test_recall_is_compared_picture_by_picture(tmp_path: Path) -> None:
    save_urban1k(tmp_path / "urban1k")
    found = differing(*twice(find_benchmark("urban1k", data_root=tmp_path / "urban1k"), tmp_path))
    assert {name: metric.n for name, metric in found.items()} == {"r1_image_to_text": 4, "r1_text_to_image": 4}
    assert found["r1_image_to_text"].test == "mcnemar"


def test_correlations_with_ratings_are_compared_text_by_text(tmp_path: Path) -> None:
    found = differing(*twice(Ratings(ratings(tmp_path / "mine.jsonl", good_rows())), tmp_path))
    assert {name: metric.n for name, metric in found.items()} == dict.fromkeys(
        (f"{name}{score}" for score in ("", "_f_clip_score") for name in ("tau_b", "tau_c", "spearman", "pearson")), 6
    )


def test_what_cannot_be_compared_is_refused(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    with pytest.raises(UsageError, match="there is no"):
        compare_runs(runs[0], tmp_path / "nowhere")
    with pytest.raises(UsageError, match="there is no"):
        compare_runs(runs[0], tmp_path)
    data = write_nocaps(tmp_path / "data")
    run_benchmark(word_set("nocaps-foil", data), load_tiny(), EvalSettings(output=tmp_path / "other"))
    with pytest.raises(UsageError, match="a run of pictogram-foil cannot be compared with one of nocaps-foil"):
        compare_runs(runs[0], tmp_path / "other")
    with pytest.raises(UsageError, match="share no sample"):
        compare_runs(runs[0], ran(tmp_path / "seed", seed=1))
    (tmp_path / "other" / "samples.jsonl").write_text('{"id": "0-foil"')
    with pytest.raises(UsageError, match=r"samples\.jsonl is damaged after 0 samples"):
        compare_runs(tmp_path / "other", tmp_path / "other")
    for model, metrics in ((None, {}), ("a", {"la": "0.5"}), ("a", [])):
        result = json.loads((runs[0] / "result.json").read_text()) | {"model": model, "metrics": metrics}
        (tmp_path / "other" / "result.json").write_text(json.dumps(result))
        with pytest.raises(UsageError, match="is no result of eval"):
            compare_runs(tmp_path / "other", runs[0])
    (tmp_path / "other" / "result.json").write_text("{}")
    with pytest.raises(UsageError, match="is no result of eval"):
        compare_runs(tmp_path / "other", runs[0])
    (tmp_path / "other" / "result.json").write_text("{")
    with pytest.raises(UsageError, match="is damaged"):
        compare_runs(tmp_path / "other", runs[0])


@pytest.mark.parametrize("change", [{"clip_score": "0.5"}, {"f_clip_score": None}, {"words": 3}, {"words": [{}]}])
def test_a_record_that_holds_something_else_than_it_should_is_damage(
    tmp_path: Path, runs: tuple[Path, Path], change: dict[str, object]
) -> None:
    shutil.copytree(runs[0], tmp_path / "other")
    samples = tmp_path / "other" / "samples.jsonl"
    first, *others = samples.read_text().splitlines(keepends=True)
    record = json.loads(first)
    record["result"] |= change
    samples.write_text(json.dumps(record) + "\n" + "".join(others))
    with pytest.raises(UsageError, match=r"samples\.jsonl is damaged after 0 samples"):
        compare_runs(tmp_path / "other", runs[1])


# Outputs of detect and score-long


def record(image: int, score: float, *, wrong: bool = False, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{image}", "image": f"{image}.png", "model": "m", "clip_score": score, "f_clip_score": -wrong * 1e-3,
        "misaligned": ["x"] * wrong, "provenance": {"settings": {"layers": 3}}, **more,
    }  # fmt: skip


def saved(path: Path, records: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


def test_permutation_by_hand_and_against_scipy() -> None:
    stats = pytest.importorskip("scipy.stats")
    assert permutation(np.zeros(5), 0) == 1.0
    assert permutation(np.array([0.2, 0.1, 1e-8, -2e-8, 3e-8]), 0) == permutation(np.array([0.2, 0.1, 0, 0, 0]), 0)
    differences = np.random.default_rng(3).normal(0.2, 1, 60)
    result = stats.permutation_test(
        (differences,), np.mean, permutation_type="samples", n_resamples=20_000, rng=np.random.default_rng(0)
    )
    assert np.mean([permutation(differences, seed) for seed in range(20)]) == pytest.approx(result.pvalue, abs=0.03)


def test_outputs_of_detect_are_compared_by_picture(tmp_path: Path) -> None:
    first = saved(tmp_path / "a.jsonl", [record(n, 0.8, wrong=n % 4 == 0) for n in range(40)])
    second = saved(tmp_path / "b.jsonl", [record(n, 0.7 + n % 3 * 1e-3, wrong=n % 2 == 0) for n in range(2, 40)])
    found = compare(first, second)
    by_name = {metric.name: metric for metric in found.metrics}
    assert {name: metric.n for name, metric in by_name.items()} == dict.fromkeys(
        ("clip_score", "f_clip_score", "with_misaligned_words"), 38
    )
    assert by_name["with_misaligned_words"].first == pytest.approx(9 / 38)
    assert (by_name["with_misaligned_words"].test, by_name["clip_score"].test) == ("mcnemar", "permutation")
    assert found.worse == ("clip_score", "f_clip_score", "with_misaligned_words")
    assert compare(first, second, margin=0.05).worse == ("clip_score", "with_misaligned_words")
    assert compare(second, first).worse == ()
    assert found.notes == ("over the 38 images that both have, of 40 and 38",)
    assert "B is worse: clip_score" in " ".join(comparison_table(found).split())
    assert comparison_record(found)["worse"] == list(found.worse)


def test_a_picture_with_several_captions_counts_once_and_ids_match_where_no_picture_does() -> None:
    twice = [record(1, 0.2), record(1, 0.4), record(2, 0.5)]
    (metric, *_), _ = compare_records(twice, [record(1, 0.3), record(2, 0.5)], seed=0)
    assert metric.first == pytest.approx(0.4) and (metric.n, metric.p_value) == (2, 1.0)
    moved = [record(n, score) | {"image": f"/x/{n}.png"} for n, score in ((1, 0.3), (2, 0.5))]
    (metric, *_), _ = compare_records([record(1, 0.3), record(2, 0.5)], moved, seed=0)
    assert (metric.n, metric.difference) == (2, 0.0)


def test_outputs_of_score_long_are_compared_by_score_and_lowering_sentences(tmp_path: Path) -> None:
    def long(image: int, score: float, lowers: bool) -> dict[str, Any]:
        sentences = [{"lowers": False}, {"lowers": lowers}]
        return {"id": f"{image}", "image": f"{image}.png", "model": "m", "specs_score": score, "sentences": sentences}

    first = saved(tmp_path / "a.jsonl", [long(n, 0.6, False) for n in range(20)])
    second = saved(tmp_path / "b.jsonl", [long(n, 0.6, True) for n in range(20)])
    assert compare(first, second).worse == ("with_lowering_sentences",)


def test_what_are_no_two_outputs_of_a_command_is_refused(tmp_path: Path, runs: tuple[Path, Path]) -> None:
    output = saved(tmp_path / "a.jsonl", [record(1, 0.5)])
    with pytest.raises(UsageError, match="a result of eval cannot be compared with an output"):
        compare(output, runs[0])
    with pytest.raises(UsageError, match="share no picture and no id"):
        compare(output, saved(tmp_path / "b.jsonl", [record(2, 0.5)]))
    with pytest.raises(UsageError, match="are not of one command"):
        compare(output, saved(tmp_path / "b.jsonl", [{"id": "1", "image": "1.png", "specs_score": 1}]))
    with pytest.raises(UsageError, match="no record with scores"):
        compare(output, saved(tmp_path / "b.jsonl", []))


def captioners(more: float, runs: int, draw: Callable[[int], np.random.Generator]) -> float:
    """The share of pairs whose second captioner is called worse: it makes so many more errors among 150 pictures."""
    worse = 0
    for seed in range(runs):
        rng = draw(seed)
        wrong = rng.random((2, 150)) < [[0.2], [0.2 + more]]
        scores = rng.normal(0.8, 0.1, (2, 150)) - 0.1 * wrong
        sides = [[record(n, s[n], wrong=bool(w[n])) for n in range(150)] for s, w in zip(scores, wrong, strict=True)]
        worse += any(worse_metrics(compare_records(*sides, seed=seed)[0], margin=0.0))
    return worse / runs


def test_equal_captioners_are_rarely_called_worse_and_worse_ones_often() -> None:
    assert captioners(0.0, 60, np.random.default_rng) <= 0.1
    assert captioners(0.25, 10, np.random.default_rng) >= 0.8
