"""Calibration: thresholds by hand, every k tried, what is saved is what detect then takes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from clipalign.errors import InputUnreadable, UsageError
from clipalign.eval_results import Calibration
from clipalign.evaluation.calibrate import best_epsilon, calibrate, precision_recall_f1, text_layers
from clipalign.evaluation.evaluate import run_benchmark
from clipalign.evaluation.registry import find_benchmark
from clipalign.evaluation.self_labels import SelfLabeled
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.pictograms import PictogramClassify, PictogramFoil
from clipalign.evaluation.tasks.words import WordBenchmark
from clipalign.output.eval import calibration_record, calibration_table, save_calibration
from clipalign.pictogram.scenes import COLORS
from tests.cli.run import GOLDEN
from tests.settings import resolve
from tests.tiny import load_random, load_tiny
from tests.word_datasets import word_set, write_hat, write_nocaps

VALUES = np.array([-5.0, -4.0, -3.0, -2.0, 1.0])
FALSE = np.array([True, False, True, False, False])
ONCE = np.ones(5)
IMAGES = GOLDEN / "images"


@pytest.fixture(scope="module")
def calibration() -> Calibration:
    return calibrate(PictogramFoil(), load_tiny(), EvalSettings(limit=40))


def test_epsilon_has_the_best_f1_and_lies_halfway_to_the_next_word() -> None:
    # Calling 1, 2, 3, 4 words false: F1 2/3, 1/2, 4/5, 2/3.
    assert best_epsilon(VALUES, FALSE, ONCE) == -2.5
    assert precision_recall_f1(VALUES, FALSE, ONCE, -2.5) == pytest.approx((2 / 3, 1.0, 0.8))


def test_words_count_as_often_as_they_are_drawn() -> None:
    # Without the third word, only the first is false: calling one word false is best.
    assert best_epsilon(VALUES, FALSE, np.array([1.0, 1, 0, 1, 1])) == -4.5


@pytest.mark.parametrize("order", [(True, False), (False, True)])
@pytest.mark.parametrize("apart", [0.0, 2e-6])
def test_a_threshold_between_attributions_that_only_rounding_orders_is_none(
    apart: float, order: tuple[bool, bool]
) -> None:
    values, false = np.array([-2.0 - apart, -2.0, -1.0]), np.array([*order, False])
    assert best_epsilon(values, false, np.ones(3)) == -1.5


def test_every_k_is_tried_and_the_one_with_the_best_la_proposed(calibration: Calibration) -> None:
    assert [one.layers for one in calibration.layers] == list(range(1, text_layers(load_tiny()) + 1))
    assert calibration.chosen is not None
    assert calibration.chosen.la == max(one.la for one in calibration.layers)
    for one in calibration.layers:
        assert one.la_low <= one.la <= one.la_high
        assert one.epsilon_low <= one.epsilon_high
        assert 0.0 <= one.held_out_f1 <= 1.0
    assert calibration.counts["samples"] == 40
    assert calibration.counts["false_captions"] == 20


def test_what_it_proposes_is_what_an_ordinary_run_then_reaches(calibration: Calibration) -> None:
    chosen = calibration.chosen
    assert chosen is not None
    alone = run_benchmark(PictogramFoil(), load_tiny(), EvalSettings(limit=40, layers=chosen.layers))
    assert alone is not None
    la = next(metric for metric in alone.metrics if metric.name == "la")
    assert chosen.la == pytest.approx(la.value)


def test_a_given_k_is_the_only_one_tried() -> None:
    found = calibrate(PictogramFoil(), load_tiny(), EvalSettings(limit=20, layers=2))
    assert [one.layers for one in found.layers] == [2]
    assert calibrate(PictogramFoil(), load_random("siglip"), EvalSettings(limit=4, layers=1)).saved.layers == 1


def test_data_sets_of_photographs_serve_too_and_their_files_are_named(tmp_path: Path) -> None:
    for benchmark in (
        word_set("nocaps-foil", write_nocaps(tmp_path / "nocaps")),
        word_set("hat", write_hat(tmp_path / "hat")),
    ):
        found = calibrate(benchmark, load_tiny(), EvalSettings(layers=1))
        assert found.counts["false_words"] >= 10
        assert len(dict(found.settings["data"])) == 1  # type: ignore[call-overload]


def test_a_data_set_without_false_words_is_refused_before_its_classes_are_encoded(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(PictogramClassify, "evaluator", lambda *_: pytest.fail("classes are encoded"))
    with pytest.raises(UsageError, match="pictogram-classify does not say which words are false"):
        calibrate(PictogramClassify(), load_tiny(), EvalSettings(limit=2))


def test_the_table_fits_and_json_has_everything(calibration: Calibration) -> None:
    page = calibration_table(calibration)
    assert max(map(len, page.splitlines())) <= 80
    assert f"proposed: --layers {calibration.saved.layers} --epsilon " in page
    assert "fitted on 40 captions of pictogram-foil" in page
    record = calibration_record(calibration)
    assert record["chosen"]["epsilon"] == record["saved"]["epsilon"] == calibration.saved.epsilon


def test_what_is_saved_is_what_detect_takes(calibration: Calibration, tmp_path: Path) -> None:
    save_calibration(calibration, tmp_path / "calibration.json")
    settings = resolve("detect", {"calibration": str(tmp_path / "calibration.json")})
    assert settings.calibration == calibration.saved
    with pytest.raises(UsageError, match="cannot be written"):
        save_calibration(calibration, tmp_path / "no" / "calibration.json")


def test_an_epsilon_for_false_alarms_is_a_quantile_of_the_lowest_attributions_of_true_captions() -> None:
    found = calibrate(PictogramFoil(), load_tiny(), EvalSettings(limit=60, layers=2, false_alarms=0.1))
    run = run_benchmark(PictogramFoil(), load_tiny(), EvalSettings(limit=60, layers=2))
    assert run is not None and found.chosen is None and found.layers == ()
    assert found.saved.false_alarms is not None and found.saved.false_alarms.captions == 30
    again = calibrate(PictogramFoil(), load_tiny(), EvalSettings(limit=60, layers=2, false_alarms=0.5))
    assert again.saved.epsilon > found.saved.epsilon
    assert again.found is not None and found.found is not None and again.found >= found.found


def test_false_alarms_need_no_false_captions_and_enough_right_ones(tmp_path: Path) -> None:
    rows = [{"image": str(IMAGES / f"{n % 3}.png"), "text": f"a {color} car"} for n, color in enumerate(COLORS)]
    (tmp_path / "right.jsonl").write_text("\n".join(map(json.dumps, rows)))
    mine = find_benchmark(str(tmp_path / "right.jsonl"))
    assert isinstance(mine, WordBenchmark)
    found = calibrate(mine, load_tiny(), EvalSettings(false_alarms=0.2))
    assert found.found is None and found.saved.false_alarms is not None
    assert found.saved.layers == load_tiny().row.layers
    with pytest.raises(UsageError, match="11 right captions are too few for 1% of false alarms, which need 99"):
        calibrate(mine, load_tiny(), EvalSettings(false_alarms=0.01))
    with pytest.raises(InputUnreadable, match="has a false word"):
        calibrate(mine, load_tiny(), EvalSettings())
    assert calibrate(SelfLabeled(mine), load_tiny(), EvalSettings(layers=1)).counts["false_captions"] == 11
