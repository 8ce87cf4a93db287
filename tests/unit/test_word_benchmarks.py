"""What the benchmarks about words share: phrases, LA, AP, and annotation files that are not what they should be."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from clipalign.errors import MissingDataset
from clipalign.evaluation.benchmark import CaptionOutcome
from clipalign.evaluation.dataset_files import read_annotations
from clipalign.evaluation.tasks.pictograms import PictogramFoil
from clipalign.evaluation.tasks.words import (
    WordBenchmark,
    false_words,
    localization,
    lowest_phrase,
    phrases,
    precisions,
    suffix_of,
)
from clipalign.results import DetectResult
from tests.results import PROVENANCE, result_of


def outcome(
    id: str, result: DetectResult, *, correct: bool, part: str = "", false: str = "", **truth: Any
) -> CaptionOutcome:
    """One whose first characters ``false`` are false."""
    start = result.text.index(false)
    spans = ((start, start + len(false)),) if false else ()
    return CaptionOutcome(id, result.text, correct, part, spans, result, truth=truth)


def values(benchmark: WordBenchmark, *outcomes: CaptionOutcome) -> dict[str, float]:
    return {statistic.name: statistic.value() for statistic in benchmark.statistics(outcomes)}


def test_misaligned_words_that_follow_each_other_are_one_phrase_worth_their_mean() -> None:
    result = result_of("a red bus near two tall trees", 1, -3, -5, 1, -6, 1, -2)
    assert [(phrase.text, phrase.attribution) for phrase in phrases(result)] == [
        ("red bus", -4.0),
        ("two", -6.0),
        ("trees", -2.0),
    ]
    lowest = lowest_phrase(result)
    assert lowest is not None
    assert lowest.text == "two"
    assert phrases(result_of("a bus", 1, 1)) == []
    assert lowest_phrase(result_of("a bus", 1, 1)) is None


def test_a_word_that_was_not_scored_parts_a_phrase() -> None:
    assert [phrase.text for phrase in phrases(result_of("red bus here", -3, None, -3))] == ["red", "here"]


def test_localization_is_over_false_captions_alone_and_its_chance_a_blind_word() -> None:
    outcomes = [
        outcome("1", result_of("a red bus", 1, 1, -1), correct=False, false="bus"),
        outcome("2", result_of("a bus", -1, 1), correct=False, false="bus"),
        outcome("3", result_of("a car", 1, -1), correct=True),
    ]
    (la,) = localization("la", outcomes)
    assert (la.ids, la.value()) == (("1", "2"), 0.5)
    assert la.chance == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert localization("la", outcomes[2:]) == []


def test_any_word_of_several_false_ones_is_found_and_no_mode_or_epsilon_changes_that() -> None:
    for attributions in ((1, 2, -3), (9, 8, 7), (1, 0, 2)):
        one = outcome("1", result_of("a soccer ball", *attributions), correct=False, false="soccer ball")
        assert localization("la", [one])[0].value() == 1.0
        assert false_words(one) == (False, True, True)
    never = outcome("2", result_of("a soccer ball", 1, 2, -3), correct=False)  # the false word is not in the caption
    assert localization("la", [never])[0].value() == 0.0


def test_f1_precision_and_recall_are_over_the_scored_words_of_all_captions() -> None:
    # called: red, bus | us; false: bus | near us, of which near was not scored
    outcomes = [
        outcome("1", result_of("a red bus", 1, -2, -4), correct=False, false="bus"),
        outcome("2", result_of("near us", None, -1), correct=False, false="near us"),
        outcome("3", result_of("a cat", 1, 1), correct=False, false="a"),
    ]
    found = values(PictogramFoil(), *outcomes)
    assert (found["precision"], found["recall"]) == pytest.approx((2 / 3, 2 / 3))
    assert found["f1"] == pytest.approx(2 / 3)
    one_word = replace(PROVENANCE, settings={"mode": "most-negative"})
    foils = [replace(one, result=replace(one.result, provenance=one_word)) for one in outcomes]
    assert "f1" not in values(PictogramFoil(), *foils)


def test_metrics_of_parts_follow_those_of_the_whole() -> None:
    outcomes = [
        outcome(f"{part}{n}", result_of("a bus", 1, -n), correct=n == 0, part=part, false="bus" if n else "")
        for part in ("size", "color")
        for n in (0, 1)
    ]
    names = [statistic.name for statistic in PictogramFoil().statistics(outcomes)]
    whole = ["la", "f1", "precision", "recall", "ap_clip_score", "ap_f_clip_score", "ap_sum_negative_attribution"]
    assert names[:7] == whole
    assert names[7:10] == ["la_color", "ap_clip_score_color", "ap_f_clip_score_color"]


def test_average_precision_ranks_correct_captions_high_or_misaligned_ones_low() -> None:
    outcomes = [
        outcome("1", result_of("a bus", 1, 1, clip_score=0.9, f_clip_score=0.0), correct=True),
        outcome("2", result_of("a car", 1, 1, clip_score=0.5, f_clip_score=-2.0), correct=False),
        outcome("3", result_of("a cat", 1, 1, clip_score=0.7, f_clip_score=-1.0), correct=False),
    ]
    assert {one.name: (one.value(), one.chance) for one in precisions(outcomes, suffix="_x")} == {
        "ap_clip_score_x": pytest.approx((1.0, 1 / 3)),
        "ap_f_clip_score_x": pytest.approx((1.0, 1 / 3)),
    }
    assert {one.name: (one.value(), one.chance) for one in precisions(outcomes, misaligned=True)} == {
        "ap_clip_score": pytest.approx((1.0, 2 / 3)),
        "ap_f_clip_score": pytest.approx((1.0, 2 / 3)),
        "ap_sum_negative_attribution": pytest.approx((2 / 3, 2 / 3)),  # all 0: of no use
    }
    assert precisions(outcomes[1:]) == []


def test_ref_clip_score_is_ranked_where_there_are_references() -> None:
    outcomes = [
        outcome("1", result_of("a bus", 1, 1, ref_clip_score=0.2), correct=True),
        outcome("2", result_of("a car", 1, 1, ref_clip_score=0.5), correct=False),
        outcome("3", result_of("a cat", 1, 1), correct=False),
    ]
    found = {one.name: one for one in precisions(outcomes)}
    assert found["ap_ref_clip_score"].ids == ("1", "2")
    assert found["ap_ref_clip_score"].value() == pytest.approx(0.5)
    assert found["ap_clip_score"].ids == ("1", "2", "3")


def test_parts_of_names_are_lower_snake_case() -> None:
    assert suffix_of("in-domain") == "_in_domain"
    assert suffix_of("COCO-Con") == "_coco_con"
    assert suffix_of("") == ""


def test_a_file_of_another_version_is_read_and_its_hash_said(tmp_path: Path) -> None:
    place = tmp_path / "hat-trainval.json"
    place.write_text("[1]")
    digest = hashlib.sha256(b"[1]").hexdigest()
    assert read_annotations(place, "vsr").note() == read_annotations(place, "mine").note() == ""
    other = read_annotations(place, "hat")
    assert other.json() == [1]
    assert other.note() == (
        f"hat-trainval.json is another version than the published one: its SHA-256 begins {digest[:16]}, "
        "not 18abffb627ef6eb8"
    )


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b'[{"a": 1}, {"b"', "breaks off after 15 bytes"),
        (b"<html>", "is no JSON: line 1, unexpected character"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 9\n", "is a Git LFS pointer of 64 bytes"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_with_its_hash(tmp_path: Path, content: bytes, said: str) -> None:
    place = tmp_path / "hat-trainval.json"
    place.write_bytes(content)
    with pytest.raises(MissingDataset, match=said) as error:
        read_annotations(place, "hat").json()
    assert error.value.exit_status == 4
    assert hashlib.sha256(content).hexdigest()[:16] in error.value.message
    assert "clipalign download hat" in error.value.hint


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(MissingDataset, match="cannot be read: No such file"):
        read_annotations(tmp_path / "a.json", "hat")
