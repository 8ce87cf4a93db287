"""HAT in its real layout, and the real file where it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from clipalign.errors import MissingDataset
from clipalign.evaluation.benchmark import CaptionSample
from clipalign.evaluation.settings import EvalSettings
from tests.evaluated import run_benchmark
from tests.results import result_of
from tests.tiny import load_tiny
from tests.unit.test_word_benchmarks import outcome, values
from tests.word_datasets import draw, hat_rows, word_set, write_hat

REAL = Path(__file__).parents[3] / "shared" / "data" / "hat-trainval.json"


def test_marked_words_are_the_false_ones(tmp_path: Path) -> None:
    rows = hat_rows(3)
    rows[0]["caption"] = "A cat, dog sea."
    rows[0]["grounding"] = [["A", False], ["cat,", True], ["dog", False], ["sea.", True]]
    benchmark = word_set("hat", write_hat(tmp_path, rows))
    benchmark.check()
    first, second, _ = benchmark.samples(limit=None, seed=0)
    assert isinstance(first, CaptionSample)
    assert isinstance(second, CaptionSample)
    assert (first.id, first.correct) == ("sample-0", False)
    assert [first.text[start:end] for start, end in first.false_spans] == ["cat,", "sea."]
    assert (second.correct, second.false_spans) == (True, ())


@pytest.mark.parametrize(
    ("attributions", "published", "la"),
    [
        ((1, -2, -4, 1, 1), 1.0, 1.0),  # "Red bus" is marked
        ((1, 1, -4, -4, 1), 0.0, 1.0),  # "bus near" is not, but "bus"
        ((1, 1, -1, 1, -4), 1.0, 0.0),  # "us" is a part of "bus"
        ((3, 2, 1, 3, 3), 0.0, 1.0),  # nothing is called misaligned
        ((1, -3, 1, 1, -2), 1.0, 1.0),  # "Red" is lower than "us"
        ((1, -5, -1, 1, -4), 1.0, 1.0),  # "Red bus" is worth -3 and "us" less, which stands in "bus"
    ],
)
def test_as_published_the_lowest_phrase_must_occur_in_the_marked_words(
    tmp_path: Path, attributions: tuple[float, ...], published: float, la: float
) -> None:
    result = result_of("a Red bus near us", *attributions)
    one = outcome("1", result, correct=False, false="Red bus")
    found = values(word_set("hat", tmp_path), one)
    assert (found["published_la"], found["la"]) == (published, la)


def test_as_published_the_lowest_phrase_stands_for_the_sum_in_f_clip_score(tmp_path: Path) -> None:
    # By the sum -8 is worse than -6, by the mean of the lowest phrase -4 is not.
    outcomes = [
        outcome("1", result_of("a red bus", 1, -4, -4), correct=False, false="red bus"),
        outcome("2", result_of("a red bus", 1, 1, -6), correct=True),
    ]
    found = values(word_set("hat", tmp_path), *outcomes)
    assert (found["ap_f_clip_score"], found["published_ap_f_clip_score"]) == (1.0, 0.5)


def test_the_whole_path_on_twenty_samples(tmp_path: Path) -> None:
    result = run_benchmark(word_set("hat", write_hat(tmp_path)), load_tiny(), EvalSettings(epsilon=0.0))
    by_name = {metric.name: metric for metric in result.metrics}
    assert {"la", "published_la", "published_ap_f_clip_score", "ap_ref_clip_score"} <= set(by_name)
    assert by_name["la"].n == 7
    assert by_name["ap_f_clip_score"].chance == pytest.approx(7 / 20)
    assert (result.settings["mode"], result.settings["epsilon"]) == ("threshold", 0.0)
    assert any("7 of the 20 captions are hallucinated: an AP of 0.3500" in note for note in result.notes)
    assert "a part of the data set: 20 of its 400 samples are here" in result.notes


def test_rows_without_what_they_need_are_counted(tmp_path: Path) -> None:
    rows = hat_rows()
    rows[4]["grounding"] = [["word"]]
    rows[5] = {"image_path": rows[5]["image_path"]}
    result = run_benchmark(word_set("hat", write_hat(tmp_path, rows)), load_tiny(), EvalSettings())
    assert result.counts == {"samples": 18, "unreadable": 2}
    assert any("the first, hat-trainval:4: row hat-trainval:4 is not as it should be" in note for note in result.notes)


def test_a_pointer_of_git_lfs_is_refused(tmp_path: Path) -> None:
    write_hat(tmp_path)
    (tmp_path / "hat-trainval.json").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(MissingDataset, match="is a Git LFS pointer"):
        word_set("hat", tmp_path).check()


@pytest.mark.skipif(not REAL.exists(), reason="the real file is not here")
def test_the_real_file_is_the_known_version_with_its_base_rate(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "hat-trainval.json").symlink_to(REAL)
    draw(tmp_path / "val2014", [json.loads(REAL.read_text())[0]["image_path"]])
    benchmark = word_set("hat", tmp_path)
    benchmark.check()
    samples = [sample for sample in benchmark.samples(limit=None, seed=0) if isinstance(sample, CaptionSample)]
    assert len(samples) == len({sample.id for sample in samples}) == benchmark.size == 400
    assert sum(not sample.correct for sample in samples) == 135
    assert any("135 of the 400 captions are hallucinated: an AP of 0.3375" in note for note in benchmark.notes)
    assert not any("another version" in note for note in benchmark.notes)
