"""Correlations with people's ratings, held against scipy, also where samples count several times."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clipalign.errors import MissingDataset
from clipalign.evaluation.benchmark import BrokenSample, CaptionSample
from clipalign.evaluation.metrics import kendall_b, kendall_c
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.own_data import Ratings
from clipalign.methods.detect import Pair, detect_pairs
from clipalign.methods.settings import DetectSettings
from tests.evaluated import run_benchmark
from tests.tiny import GOLDEN, load_tiny

stats = pytest.importorskip("scipy.stats")
TEXTS = ["a red car", "two dogs on a sofa", "a tall house by the sea", "rain", "a cup of coffee", "A cat. It sleeps."]


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("variant", "kendall"), [("b", kendall_b), ("c", kendall_c)])
class TestKendall:
    def test_is_scipy_s(self, variant: str, kendall: Any, seed: int) -> None:
        rng = np.random.default_rng(seed)
        count = int(rng.integers(2, 90))
        x = rng.integers(0, 3 + 40 * (seed % 2), count).astype(float)
        y = (x + rng.normal(size=count) * 3).round(seed % 3)
        expected = stats.kendalltau(x, y, variant=variant).statistic
        assert kendall("t", [""] * count, x, y).value() == pytest.approx(0.0 if np.isnan(expected) else expected)

    def test_with_samples_that_count_several_times(self, variant: str, kendall: Any, seed: int) -> None:
        rng = np.random.default_rng(seed)
        x, y = rng.integers(0, 9, 30).astype(float), rng.normal(size=30).round(1)
        counted = rng.integers(0, 4, 30)
        expected = stats.kendalltau(x.repeat(counted), y.repeat(counted), variant=variant).statistic
        assert kendall("t", [""] * 30, x, y).of(counted.astype(float)) == pytest.approx(expected)


def test_kendall_where_one_side_does_not_vary() -> None:
    assert kendall_b("t", ["", ""], [1, 1], [1, 2]).value() == kendall_c("t", ["", ""], [1, 2], [3, 3]).value() == 0.0


def ratings(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def good_rows() -> list[Any]:
    image = str(GOLDEN / "images" / "0.png")
    return [
        {"image": image, "text": text, "human": human} for text, human in zip(TEXTS, (1, 3, 2, 2, 5, 4), strict=True)
    ]


def test_the_four_correlations(tmp_path: Path) -> None:
    out = tmp_path / "out"
    result = run_benchmark(
        Ratings(ratings(tmp_path / "mine.jsonl", good_rows())), load_tiny(), EvalSettings(output=out)
    )
    records = [json.loads(line) for line in (out / "samples.jsonl").read_text().splitlines()]
    theirs = [row["human"] for row in good_rows()]
    expected: dict[str, Any] = {}
    for score, ending in (("cosine", ""), ("f_clip_score", "_f_clip_score")):
        ours = [record["result"][score] for record in records]
        expected |= {
            f"tau_b{ending}": pytest.approx(stats.kendalltau(ours, theirs).statistic),
            f"tau_c{ending}": pytest.approx(stats.kendalltau(ours, theirs, variant="c").statistic),
            f"spearman{ending}": pytest.approx(stats.spearmanr(ours, theirs).statistic),
            f"pearson{ending}": pytest.approx(stats.pearsonr(ours, theirs).statistic),
        }
    assert {metric.name: metric.value for metric in result.metrics} == expected
    assert all(metric.low is not None for metric in result.metrics)


@pytest.mark.parametrize("template", ["", "A photo depicts "])
def test_ref_clip_score_takes_the_nearest_reference_and_the_template_stands_before_all(
    tmp_path: Path, template: str
) -> None:
    references: list[list[str]] = [["a dog", "a red bus"], ["a sofa"], ["a house", "the sea"], [], ["tea"], ["a dog"]]
    rows = [{**row, "references": said} for row, said in zip(good_rows(), references, strict=True)]
    settings = EvalSettings(template=template, output=tmp_path / "out")
    result = run_benchmark(Ratings(ratings(tmp_path / "mine.jsonl", rows)), load_tiny(), settings)
    scores = []
    for row, said in zip(rows, references, strict=True):
        found = detect_pairs(
            load_tiny(), [Pair(row["image"], row["text"], tuple(said))], DetectSettings(template=template)
        )[0]
        scores.append(found.ref_clip_score)
    kept = [place for place, said in enumerate(references) if said]
    expected = stats.pearsonr([scores[place] for place in kept], [rows[place]["human"] for place in kept]).statistic
    found_metrics = {metric.name: metric for metric in result.metrics}
    assert found_metrics["pearson_ref_clip_score"].value == pytest.approx(expected, abs=1e-5)
    assert (found_metrics["pearson_ref_clip_score"].n, found_metrics["pearson"].n) == (5, 6)
    assert result.settings.get("template") == template
    (tmp_path / "out" / "result.json").unlink()
    again = run_benchmark(Ratings(tmp_path / "mine.jsonl"), load_tiny(), replace(settings, resume=True))
    assert again.metrics == result.metrics


def test_images_beside_the_file_in_a_folder_that_holds_one(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes((GOLDEN / "images" / "0.png").read_bytes())
    ratings(tmp_path / "any.jsonl", [{**row, "image": "0.png"} for row in good_rows()])
    assert run_benchmark(Ratings(tmp_path), load_tiny(), EvalSettings()).counts["samples"] == 6


def test_lines_that_are_no_ratings_are_counted(tmp_path: Path) -> None:
    bad = [
        "no json", "[1]", {"image": "x.png", "text": "a dog"}, {"image": "x.png", "text": "a dog", "human": "good"},
        {"image": "x.png", "text": 3, "human": 1}, {"image": "gone.png", "text": "a dog", "human": 1},
        {**good_rows()[0], "text": " "}, {**good_rows()[0], "human": True},
        {**good_rows()[0], "references": "a dog"}, {**good_rows()[0], "references": ["a dog", 3]},
    ]  # fmt: skip
    file = ratings(tmp_path / "mine.jsonl", [*good_rows(), *bad])
    assert run_benchmark(Ratings(file), load_tiny(), EvalSettings()).counts == {
        "samples": 6,
        "unreadable": len(bad),
    }


def test_no_file_or_several(tmp_path: Path) -> None:
    with pytest.raises(MissingDataset, match="there are no ratings in") as caught:
        Ratings(tmp_path / "none").check()
    assert "--data-root FILE.jsonl" in caught.value.hint
    for name in ("a.jsonl", "b.jsonl"):
        ratings(tmp_path / name, good_rows())
    with pytest.raises(MissingDataset, match="holds 2 files"):
        Ratings(tmp_path).check()


@pytest.mark.parametrize("content", ["", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n"])
def test_a_file_that_is_none_hints_at_what_one_holds_and_at_no_download(tmp_path: Path, content: str) -> None:
    (tmp_path / "mine.jsonl").write_text(content)
    with pytest.raises(MissingDataset, match=r"mine\.jsonl is (empty|a Git LFS pointer)") as caught:
        Ratings(tmp_path / "mine.jsonl").check()
    assert "--data-root FILE.jsonl" in caught.value.hint
    assert "download" not in caught.value.hint


def test_a_rating_goes_by_its_line_in_the_file_and_must_be_a_number(tmp_path: Path) -> None:
    good = json.dumps(good_rows()[0])
    bad = json.dumps({**good_rows()[0], "human": "four"})
    benchmark = Ratings(ratings(tmp_path / "mine.jsonl", [good, "", "  ", bad]))
    benchmark.check()
    first, second = benchmark.samples(limit=None, seed=0)
    assert isinstance(first, CaptionSample)
    assert isinstance(second, BrokenSample)
    assert benchmark.size == 2
    assert second.error.message == f"{tmp_path / 'mine.jsonl'}:4: human must be a number, not 'four'"


def test_long_texts_are_read_whole_by_a_stretched_model(tmp_path: Path) -> None:
    rows = [row | {"text": f"{'It rains on a house by the sea. ' * 9}{row['text']}"} for row in good_rows()]
    benchmark = Ratings(ratings(tmp_path / "mine.jsonl", rows))
    plain, long = (run_benchmark(benchmark, load_tiny(), EvalSettings(stretch=stretch)) for stretch in (False, True))
    assert "stretch" not in plain.settings
    assert long.settings["stretch"] is True
    assert long.values["pearson"] != plain.values["pearson"]
