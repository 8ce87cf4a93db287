"""The runner on a toy benchmark: records, interruptions, resumption, samples that cannot be read, partial data."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipalign.errors import Busy, ClipalignError, ImageUnreadable, InputUnreadable, UsageError
from clipalign.eval_results import EvalResult
from clipalign.evaluation.benchmark import CaptionOutcome, CaptionSample
from clipalign.evaluation.evaluate import run_benchmark
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.pictograms import PictogramFoil
from clipalign.evaluation.tasks.words import DetectEvaluator
from clipalign.files import exclusive
from tests.halves import PROVENANCE, Halves, Halving, interrupted, lines, run
from tests.tiny import load_tiny


def test_a_run_leaves_a_line_a_sample_the_settings_and_the_result(tmp_path: Path) -> None:
    result = run(Halves(), output=tmp_path)
    assert [line["id"] for line in lines(tmp_path)] == [f"n{value}" for value in range(10)]
    assert result.counts == {"samples": 10, "unreadable": 0}
    assert result.notes == ()
    assert json.loads((tmp_path / "result.json").read_text())["metrics"] == {"half": result.metrics[0].value}
    header = json.loads((tmp_path / "run.json").read_text())
    assert header["settings"] == {"scale": 2.0, "limit": None, "seed": 0, "protocol": "paper"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["result.json", "run.json", "samples.jsonl"]


def test_samples_that_cannot_be_read_are_counted_and_recorded_with_their_error(tmp_path: Path) -> None:
    result = run(Halves(4, -1, 6, 8, broken=3), output=tmp_path)
    assert result.counts == {"samples": 2, "unreadable": 2}
    assert result.metrics[0].value == pytest.approx(2.6)
    assert "2 of 4 samples could not be read and do not count; the first, n-1: there is no file -1.png" in result.notes
    error = {"type": "image_unreadable", "message": "there is no file -1.png", "hint": "look again"}
    assert lines(tmp_path)[1] == {"id": "n-1", "image": "-1.png", "error": error}
    assert lines(tmp_path)[3]["error"]["message"] == "line 7 is no JSON"


def test_on_error_fail_ends_the_run_at_the_first_of_them() -> None:
    with pytest.raises(ImageUnreadable, match=r"-1\.png"):
        run(Halves(4, -1, 6), on_error="fail")


def test_a_run_without_any_sample_that_can_be_read_says_why() -> None:
    with pytest.raises(InputUnreadable, match=r"none of the 2 samples of halves could be read; the first: there is"):
        run(Halves(-1, -2))


def test_a_run_without_samples_is_refused() -> None:
    benchmark = Halves()
    benchmark.values = ()
    with pytest.raises(InputUnreadable, match="halves has no samples"):
        run(benchmark)


def test_partial_data_is_named_and_so_is_a_limit() -> None:
    assert run(Halves(1, 2, 3)).notes == ("a part of the data set: 3 of its 10 samples are here",)
    assert run(Halves(), limit=4).notes == ("the first 4 of 10 samples, because of --limit",)
    assert run(Halves(1, 2, 3), limit=4).notes == ("a part of the data set: 3 of its 10 samples are here",)


@pytest.mark.parametrize("at", ["n0", "n3", "n4", "n9"])
def test_an_interrupted_run_is_taken_up_at_the_last_whole_chunk_and_ends_the_same(tmp_path: Path, at: str) -> None:
    whole = run(Halves(), output=tmp_path / "whole")
    interrupted(tmp_path / "cut", at=at)
    evaluator = Halving()
    result = run(Halves(evaluator=evaluator), output=tmp_path / "cut", resume=True)
    assert evaluator.scored == [f"n{value}" for value in range(int(at[1:]) // 3 * 3, 10)]
    assert result == whole
    for name in ("samples.jsonl", "result.json", "run.json"):
        assert (tmp_path / "cut" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


@pytest.mark.parametrize("left", [1, 20, 30, 75])
def test_a_torn_last_line_is_cut_off_and_scored_anew(tmp_path: Path, left: int) -> None:
    whole = run(Halves(), output=tmp_path)
    place = tmp_path / "samples.jsonl"
    content = place.read_bytes()
    place.write_bytes(content[:left])
    assert run(Halves(), output=tmp_path, resume=True) == whole
    assert place.read_bytes() == content


def test_a_finished_run_resumed_scores_the_last_chunk_alone(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path)
    evaluator = Halving()
    run(Halves(evaluator=evaluator), output=tmp_path, resume=True)
    assert evaluator.scored == ["n9"]


def test_unreadable_samples_of_an_earlier_run_count_as_there(tmp_path: Path) -> None:
    benchmark = Halves(-1, 2, 4, -2, 6, 8)
    whole = run(benchmark, output=tmp_path)
    evaluator = Halving()
    assert run(Halves(-1, 2, 4, -2, 6, 8, evaluator=evaluator), output=tmp_path, resume=True) == whole
    assert evaluator.scored == []


def test_a_limit_may_be_raised_but_not_lowered_on_resumption(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path, limit=6)
    assert run(Halves(), output=tmp_path, resume=True).counts["samples"] == 10
    with pytest.raises(UsageError, match="holds 9 samples already, more than limit=4"):
        run(Halves(), output=tmp_path, resume=True, limit=4)


def test_a_folder_with_a_run_is_refused_kept_or_replaced_as_asked(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path)
    with pytest.raises(UsageError, match="already holds the records") as error:
        run(Halves(), output=tmp_path)
    assert error.value.hint == "--resume goes on with it, --overwrite starts anew"
    assert run(Halves(2, 4), output=tmp_path, overwrite=True).counts["samples"] == 2
    assert len(lines(tmp_path)) == 2


@pytest.mark.parametrize(
    ("changed", "named"),
    [
        ({"settings": {"scale": 3.0}}, r"scale was 2\.0, now it is 3\.0"),
        ({"weights_sha256": "other"}, r"provenance\.weights_sha256 was 'hash', now it is 'other'"),
        ({"precision": "bf16"}, r"provenance\.precision was 'fp32', now it is 'bf16'"),
    ],
)
def test_another_model_or_setting_is_not_mixed_in(tmp_path: Path, changed: dict[str, Any], named: str) -> None:
    run(Halves(), output=tmp_path)
    with pytest.raises(UsageError, match=named):
        run(Halves(evaluator=Halving(replace(PROVENANCE, **changed))), output=tmp_path, resume=True)


def test_another_seed_is_not_mixed_in_but_another_version_may_go_on(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path)
    with pytest.raises(UsageError, match="seed was 0, now it is 1"):
        run(Halves(), output=tmp_path, resume=True, seed=1)
    newer = replace(PROVENANCE, versions={"clipalign": "2"})
    assert run(Halves(evaluator=Halving(newer)), output=tmp_path, resume=True).counts["samples"] == 10


def test_other_data_is_not_mixed_in(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path)
    with pytest.raises(UsageError, match="it has n1 where the data set has n5"):
        run(Halves(0, 5, 2, 3), output=tmp_path, resume=True)
    with pytest.raises(UsageError, match="it holds 9 samples, the data set 3"):
        run(Halves(0, 1, 2), output=tmp_path, resume=True)


def test_records_that_nobody_knows_the_settings_of_are_not_resumed(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(UsageError, match="damaged"):
        run(Halves(), output=tmp_path, resume=True)
    (tmp_path / "run.json").unlink()
    with pytest.raises(UsageError, match=r"without run\.json"):
        run(Halves(), output=tmp_path, resume=True)


def test_two_runs_into_one_folder_at_a_time_are_refused(tmp_path: Path) -> None:
    with exclusive(tmp_path / ".lock"), pytest.raises(Busy):
        run(Halves(), output=tmp_path)


def test_a_result_of_an_earlier_run_does_not_outlive_the_start_of_another(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path)
    evaluator = Halving()
    evaluator.fails_at = "n9"
    with pytest.raises(KeyboardInterrupt):
        run(Halves(evaluator=evaluator), output=tmp_path, resume=True)
    assert not (tmp_path / "result.json").exists()


def test_detection_resumed_equals_detection_in_one_go_in_every_digit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DetectEvaluator, "chunk_samples", 4)

    def measured(**settings: Any) -> EvalResult | None:
        return run_benchmark(PictogramFoil(), load_tiny(), EvalSettings(limit=10, **settings))

    whole = measured(output=tmp_path)
    content = (tmp_path / "samples.jsonl").read_bytes()
    (tmp_path / "samples.jsonl").write_bytes(content[: len(content) * 2 // 3])
    assert measured(output=tmp_path, resume=True) == whole == measured()
    assert (tmp_path / "samples.jsonl").read_bytes() == content


def test_detection_keeps_going_past_bad_pictures_and_texts_without_words(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    Image.new("RGB", (64, 64), "red").save(picture)
    evaluator = DetectEvaluator(load_tiny(), EvalSettings())
    samples = [
        CaptionSample("1", picture, "a.png", "a red square", True, ""),
        CaptionSample("2", tmp_path / "b.png", "b.png", "a red square", True, ""),
        CaptionSample("3", picture, "a.png", "...", True, "", truth={"human": 0.5}),
        CaptionSample("4", picture, "a.png", "a blue square", False, "", ((2, 6),), truth={"human": 0.5}),
    ]
    first, missing, wordless, last = evaluator.score(samples)
    assert isinstance(missing, ImageUnreadable)
    assert isinstance(wordless, InputUnreadable)
    assert not isinstance(first, ClipalignError)
    assert not isinstance(last, ClipalignError)
    assert last.truth == {"human": 0.5}
    assert CaptionOutcome.from_record(json.loads(json.dumps(last.record())), evaluator.provenance) == last


def test_pictures_of_data_sets_are_turned_by_exif_only_where_asked(tmp_path: Path) -> None:
    picture = tmp_path / "turned.jpg"
    image = Image.new("RGB", (64, 64), "red")
    image.paste("blue", (0, 0, 64, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(picture, exif=exif)

    def cosine(protocol: str) -> float:
        evaluator = DetectEvaluator(load_tiny(), EvalSettings(protocol=protocol))
        (outcome,) = evaluator.score([CaptionSample("1", picture, "t", "a red square", True, "")])
        assert not isinstance(outcome, ClipalignError)
        return outcome.result.cosine

    assert cosine("paper") != pytest.approx(cosine("exif"), abs=1e-6)
