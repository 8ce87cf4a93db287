"""The user's own data as a benchmark: columns, descriptions, folders of classes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from clipalign.errors import InputUnreadable, UnknownDataset, UsageError
from clipalign.evaluation.benchmark import BrokenSample, CaptionSample
from clipalign.evaluation.registry import find_benchmark
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.own_data import OwnClasses, OwnRows, read_description
from tests.evaluated import run_benchmark
from tests.tiny import load_tiny
from tests.word_datasets import draw

TEXT = "a red bus near a dog"


def own(path: Path, columns: Mapping[str, str] | None = None) -> OwnRows:
    """The benchmark of a file, read."""
    found = find_benchmark(str(path), columns=columns)
    assert isinstance(found, OwnRows)
    found.check()
    return found


def write(folder: Path, *rows: Mapping[str, Any]) -> Path:
    """JSON lines about one picture."""
    draw(folder, ["1.jpg"])
    path = folder / "mine.jsonl"
    path.write_text("".join(json.dumps({"image": "1.jpg", "text": TEXT} | dict(row)) + "\n" for row in rows))
    return path


def wrong(sample: CaptionSample | BrokenSample) -> list[str]:
    assert isinstance(sample, CaptionSample)
    return [sample.text[start:end] for start, end in sample.false_spans]


@pytest.mark.parametrize(
    ("row", "correct", "words"),
    [
        ({"label": True}, True, []),
        ({"label": "0"}, False, []),
        ({"label": 0, "wrong_words": ["bus"]}, False, ["bus"]),
        ({"wrong_words": "red, dog"}, False, ["red", "dog"]),
        ({"wrong_words": '["red bus"]'}, False, ["red bus"]),
        ({"wrong_words": []}, True, []),
        ({"wrong_words": ""}, True, []),
        ({"wrong_span": [2, 9]}, False, ["red bus"]),
        ({"wrong_span": [[2, 5], [17, 20]]}, False, ["red", "dog"]),
        ({"wrong_span": "[2, 5]"}, False, ["red"]),
    ],
)
def test_what_columns_say_of_a_text(row: Mapping[str, Any], correct: bool, words: list[str], tmp_path: Path) -> None:
    (sample,) = own(write(tmp_path, row)).samples(limit=None, seed=0)
    assert isinstance(sample, CaptionSample)
    assert (sample.correct, wrong(sample), sample.image) == (correct, words, tmp_path / "1.jpg")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"label": "maybe"}, "the label must be true or false"),
        ({"label": 1, "wrong_words": "bus"}, "the label says true, but wrong words are named"),
        ({"wrong_words": "cat"}, "do not stand in the text"),
        ({"wrong_span": [5, 2]}, "lies outside the text"),
        ({"wrong_span": [1]}, "wrong_span must be"),
        ({"human": "good"}, "human must be a number"),
        ({"human": "nan"}, "human must be a number"),
        ({"false_text": 3}, "false_text must be a text"),
        ({"image": "https://example.org/1.jpg"}, "addresses are not read"),
        ({"text": ""}, "the text is empty"),
    ],
)
def test_a_row_that_cannot_be_meant_costs_only_itself(row: Mapping[str, Any], message: str, tmp_path: Path) -> None:
    broken, good = own(write(tmp_path, row, {"label": 1})).samples(limit=None, seed=0)
    assert isinstance(broken, BrokenSample) and isinstance(good, CaptionSample)
    assert message in broken.error.message


def test_a_false_text_beside_a_true_one_is_aligned_with_it(tmp_path: Path) -> None:
    true, false = own(write(tmp_path, {"false_text": "a red bus near a big cat", "id": 7})).samples(limit=None, seed=0)
    assert isinstance(true, CaptionSample) and isinstance(false, CaptionSample)
    assert (true.id, true.correct, false.id, false.correct) == ("7:0", True, "7:1", False)
    assert wrong(false) == ["big cat"]


def test_all_that_columns_allow_is_measured_and_explained(tmp_path: Path) -> None:
    rows: list[dict[str, Any]] = [
        {"wrong_words": "bus", "group": "thing", "human": 1, "references": ["a car"]},
        {"wrong_words": "red", "group": "color", "human": 2.5, "references": ["a car"]},
        {"wrong_words": "", "group": "thing", "human": "3", "references": ["a bus"]},
        {"wrong_words": None, "group": "color", "human": 5, "references": ["a bus"]},
    ]
    benchmark = own(write(tmp_path, *rows))
    assert benchmark.notes == (
        "4 texts, 2 of them false",
        "LA is over the 2 false texts whose wrong words are known",
        "AP tells true texts from false ones",
        "every metric also for each of 2 groups",
        "correlations with 4 ratings",
    )
    names = {metric.name for metric in run_benchmark(benchmark, load_tiny(), EvalSettings()).metrics}
    assert {
        "la",
        "la_thing",
        "ap_clip_score_color",
        "ap_ref_clip_score",
        "tau_b",
        "pearson_ref_clip_score",
    } <= names


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    assert own(write(tmp_path, {}, {"label": "?"})).notes == (
        "nothing to measure: say by --columns which column is label, false_text or human",
        "1 texts, 0 of them false",
        "1 rows cannot be used",
        "no LA: no wrong_words, wrong_span or false_text says which words are wrong",
        "no AP: all have one label",
        "no correlations: there is no column human",
        "no RefCLIPScore: there is no column references",
    )


def test_columns_of_a_spreadsheet_under_other_names(tmp_path: Path) -> None:
    draw(tmp_path, ["1.jpg"])
    table = io.StringIO()
    csv.writer(table).writerows([["file", "caption", "ok"], ["1.jpg", TEXT, "yes"], ["1.jpg", TEXT, "no"]])
    (tmp_path / "mine.csv").write_text(table.getvalue())
    benchmark = own(tmp_path / "mine.csv", {"image": "file", "text": "caption", "label": "ok"})
    assert [one.correct for one in benchmark.samples(limit=None, seed=0) if isinstance(one, CaptionSample)] == [
        True,
        False,
    ]


DESCRIPTION = """
title = "captions of our shop"
file = "mine.jsonl"
license = "CC-BY-4.0"
page = "https://example.org"
[columns]
label = "ok"
[[published]]
metric = "ap_clip_score"
value = 0.73
backbone = "ViT-B/32"
source = "our report"
"""


def test_a_description_is_kept_beside_the_data(tmp_path: Path) -> None:
    write(tmp_path, {"ok": 1}, {"ok": 0})
    (tmp_path / "shop.toml").write_text(DESCRIPTION)
    benchmark = own(tmp_path / "shop.toml")
    assert [one.correct for one in benchmark.samples(limit=None, seed=0) if isinstance(one, CaptionSample)] == [
        True,
        False,
    ]
    assert [(one.metric, one.value) for one in benchmark.published] == [("ap_clip_score", 0.73)]
    assert benchmark.name == "shop.toml"
    assert benchmark.notes[-1] == "captions of our shop, license CC-BY-4.0, https://example.org"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file = ", "Invalid value"),
        ('title = "x"', "it does not say file"),
        ('file = "../mine.jsonl"', "file must lie in its folder"),
        ('file = "/etc/passwd"', "file must lie in its folder"),
        ('file = "a"\npictures = "../.."', "pictures must lie in its folder"),
        ('file = "a"\nclass = "os:system"', "unknown key class"),
        ('file = "a"\ncolumns = 3', "columns must be names"),
        ('file = "a"\npublished = [{metric = "la"}]', "every published number has"),
        ("file = [" + "[" * 5000, "is no description"),
        ("#" * 200_000, "longer than"),
    ],
)
def test_a_description_of_others_says_nothing_but_what_it_may(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "it.toml").write_text(text)
    with pytest.raises(InputUnreadable, match=message):
        read_description(tmp_path / "it.toml")


def test_a_link_that_comes_with_a_description_does_not_lead_out_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "secret.csv").write_text("token\n")
    (tmp_path / "shared" / "mine.csv").symlink_to(tmp_path / "secret.csv")
    (tmp_path / "shared" / "it.toml").write_text('file = "mine.csv"')
    with pytest.raises(InputUnreadable, match="file must lie in its folder"):
        read_description(tmp_path / "shared" / "it.toml")


def test_a_folder_of_class_folders_is_a_classification_set(tmp_path: Path) -> None:
    for name in ("red_bus", "dog"):
        draw(tmp_path / name, ["1.jpg", "2.png"])
    (tmp_path / "dog" / "notes.txt").write_text("no picture")
    benchmark = find_benchmark(str(tmp_path))
    assert isinstance(benchmark, OwnClasses)
    benchmark.check()
    assert benchmark.class_names() == ("dog", "red bus")
    assert sorted(one.name for one in benchmark.found_pictures()) == [
        *("dog/1.jpg", "dog/2.png", "red_bus/1.jpg", "red_bus/2.png"),
    ]
    result = run_benchmark(benchmark, load_tiny(), EvalSettings(method="clip"))
    assert [metric.name for metric in result.metrics] == ["top1_clip"]


def test_names_that_are_neither_benchmark_nor_file(tmp_path: Path) -> None:
    with pytest.raises(UnknownDataset, match="there is no file"):
        find_benchmark(str(tmp_path / "none.csv"))
    with pytest.raises(UnknownDataset, match="has no folder a class"):
        find_benchmark(str(tmp_path))
    with pytest.raises(UsageError, match="columns is about a file of your own"):
        find_benchmark("foil", columns={"text": "caption"})
