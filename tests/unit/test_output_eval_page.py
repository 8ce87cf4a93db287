"""The report about a run: whole, self-contained, escaped, with plots and the right examples."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from clipalign.eval_results import Distribution, EvalReport, Example
from clipalign.evaluation.evaluate import run_benchmark
from clipalign.evaluation.report_data import report_data
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.pictograms import PictogramClassify, PictogramFoil
from clipalign.output.eval import PARTS, _explained, about, eval_page
from tests.results import result_of
from tests.tiny import load_tiny
from tests.word_datasets import nocaps_rows, word_set, write_nocaps

pytestmark = pytest.mark.usefixtures("few_draws")


def shown(benchmark: Any, folder: Path, **settings: Any) -> EvalReport:
    asked = EvalSettings(output=folder, **settings)
    run_benchmark(benchmark, load_tiny(), asked)
    return report_data(benchmark, asked)


def test_the_page_has_numbers_intervals_plots_and_pictures(tmp_path: Path) -> None:
    found = shown(word_set("nocaps-foil", write_nocaps(tmp_path / "data")), tmp_path / "run")
    page = eval_page(found)
    document: Any = found.document
    assert f"{document['metrics']['la']:.4f}" in page
    assert f"{document['intervals']['la']['low']:.3f} to" in page
    assert 'class="known"' not in page  # twenty captions of our own are not the published data
    assert page.count('<figure class="plot"') == 4
    assert page.count("data:image/jpeg;base64,") == 10
    assert "2 of the 10 foils have several words" in page
    assert re.search(r"\.metrics \.known div \{ min-width: \d+rem", page)  # else a narrow window makes it a tower
    for name in document["metrics"]:
        assert name in page


def test_the_page_asks_nobody_for_anything(tmp_path: Path) -> None:
    page = eval_page(shown(PictogramFoil(), tmp_path, limit=20))
    assert "default-src 'none'" in page
    assert "script-src 'none'" in page
    assert "<script" not in page
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert page.count("<html") == page.count("</html>") == page.count("</body>") == 1


def test_what_stands_in_a_data_set_cannot_break_out(tmp_path: Path) -> None:
    rows = nocaps_rows(4)
    for row in rows:
        row["foil"] = '<script>alert("x")</script> <b>cat</b>'
        row["replacement"][1] = "<b>cat</b>"
    page = eval_page(shown(word_set("nocaps-foil", write_nocaps(tmp_path / "data", rows)), tmp_path / "run"))
    assert "<script" not in page
    assert "<b>cat" not in page
    assert "&lt;b&gt;cat" in page


def test_examples_are_false_captions_by_how_far_the_false_word_lies_below_the_others(tmp_path: Path) -> None:
    benchmark = PictogramFoil()
    found = shown(benchmark, tmp_path, limit=100)
    assert len(found.worst) == len(found.best) == 12

    def margin(record: Any) -> float:
        inside: list[float] = [word["attribution"] for word in record["words"] if word["false"]]
        outside: list[float] = [word["attribution"] for word in record["words"] if not word["false"]]
        return min(outside) - min(inside)

    worst = [margin(example.record) for example in found.worst]
    best = [margin(example.record) for example in found.best]
    assert max(worst) <= min(best)
    ids = {str(example.record["id"]) for example in (*found.worst, *found.best)}
    assert len(ids) == 24
    assert not any(id.endswith("-true") for id in ids)


@pytest.mark.parametrize(
    ("attributions", "kind", "said"),
    [
        ((1e-4, -4e-4), "fine", "✓ false, and called misaligned: coke"),
        ((-4e-4, 1e-4), "found", "– false, but not called misaligned: coke"),
        ((-4e-4, -4e-4), "found", "✗ called misaligned, but true: hot"),
    ],
)
def test_an_example_is_shown_as_wrong_only_where_it_is(attributions: tuple[float, ...], kind: str, said: str) -> None:
    record: dict[str, Any] = result_of("hot coke", *attributions).to_dict()
    for word in record["words"]:
        word["false"] = word["text"] == "coke"
    document: dict[str, object] = {
        "dataset": "x", "model": "m", "counts": {}, "notes": [], "metrics": {}, "published": {}, "intervals": {},
        "provenance": {"seed": 0}, "settings": {},
    }  # fmt: skip
    page = eval_page(EvalReport(document, worst=(Example(record, ""),)))
    assert f'<article class="card {kind}">' in page
    assert said in page
    assert ('<mark class="hit"' in page) == (attributions[1] < 0)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("la", "have a false word as their lowest"), ("la_in_domain", "have a false word as their lowest"),
        ("top1_wca_std", "Spread"), ("top1_wca_small", "best class"), ("tau_b_f_clip_score", "Kendall"),
        ("r5_text_to_image", "among the first k"), ("average", "mean of both"), ("latency", ""),
    ],
)  # fmt: skip
def test_a_metric_is_explained_by_the_beginning_of_its_name(name: str, said: str) -> None:
    assert said in about(name)
    assert bool(said) == bool(about(name))


def test_metrics_of_parts_are_not_read_as_more_of_the_last_one_explained() -> None:
    names = ("la", "ap_clip_score", "la_color", "ap_clip_score_color", "pairs_ranked_right")
    said = [sentence for _, sentence in _explained(names)]
    assert said == [about("la"), about("ap_clip_score"), PARTS, "", about("pairs_ranked_right")]


def test_pictures_that_are_gone_leave_an_empty_frame(tmp_path: Path) -> None:
    benchmark = word_set("nocaps-foil", write_nocaps(tmp_path / "data"))
    shown(benchmark, tmp_path / "run")
    for picture in (tmp_path / "data" / "images").iterdir():
        picture.unlink()
    page = eval_page(report_data(benchmark, EvalSettings(output=tmp_path / "run")))
    assert "no picture" in page
    assert "data:image" not in page


def test_distributions_hold_every_sample_and_word(tmp_path: Path) -> None:
    found = shown(PictogramFoil(), tmp_path, limit=40)
    by_title = {one.title: dict(one.groups) for one in found.distributions}
    assert {name: len(values) for name, values in by_title["CLIPScore"].items()} == {
        "correct captions": 20,
        "false captions": 20,
    }
    samples = [json.loads(line) for line in (tmp_path / "samples.jsonl").read_text().splitlines()]
    words = sum(len(sample["result"]["words"]) for sample in samples)
    assert sum(map(len, by_title["attribution of a word"].values())) == words


@pytest.mark.parametrize("values", [(1.0,), (2.0, 2.0, 2.0), (-1.0, 0.0, 5.0)])
def test_a_plot_draws_any_values(values: tuple[float, ...]) -> None:
    from clipalign.output.eval import _plot

    bars: Any = _plot(Distribution("x", (("a", values),)))["bars"]
    assert 1 <= len(bars) <= len(values) and max(bar.height for bar in bars) == 100


def test_a_benchmark_without_words_has_a_page_of_numbers(tmp_path: Path) -> None:
    page = eval_page(shown(PictogramClassify(), tmp_path, limit=4, method="clip"))
    assert "top1_clip" in page
    assert "<figure" not in page
