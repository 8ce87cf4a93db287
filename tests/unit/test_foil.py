"""FOIL in its real layout: which samples, which references, what counts as found."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clipalign.errors import MissingDataset
from clipalign.evaluation.benchmark import BrokenSample, CaptionSample
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.caption_sets import spans_of
from clipalign.evaluation.tasks.foil import equals_foil
from tests.evaluated import run_benchmark
from tests.results import result_of
from tests.tiny import load_tiny
from tests.unit.test_word_benchmarks import outcome
from tests.word_datasets import caption, word_set, write_foil


def samples_of(folder: Path) -> list[CaptionSample]:
    benchmark = word_set("foil", folder)
    benchmark.check()
    found = list(benchmark.samples(limit=None, seed=0))
    assert not any(isinstance(sample, BrokenSample) for sample in found)
    return [sample for sample in found if isinstance(sample, CaptionSample)]


def test_samples_of_one_picture_follow_each_other(tmp_path: Path) -> None:
    samples = samples_of(write_foil(tmp_path))
    assert len({sample.id for sample in samples}) == len(samples) == 20
    assert [sample.image_name for sample in samples[::2]] == [sample.image_name for sample in samples[1::2]]
    assert [sample.correct for sample in samples] == [True, False] * 10
    assert [samples[1].text[start:end] for start, end in samples[1].false_spans] == ["cat"]
    assert samples[0].image == tmp_path / "val2014" / "COCO_val2014_000000000000.jpg"


def test_references_leave_out_the_caption_that_a_foil_was_made_of(tmp_path: Path) -> None:
    correct, foil = samples_of(write_foil(tmp_path))[:2]
    assert correct.references == foil.references == ("I see a dog",)


def test_a_caption_is_no_reference_of_itself_whatever_its_number(tmp_path: Path) -> None:
    write_foil(tmp_path)
    place = tmp_path / "annotations" / "captions_val2014.json"
    document = json.loads(place.read_text())
    document["annotations"].append({"id": 1, "image_id": 100, "caption": caption(0, "dog")})
    place.write_text(json.dumps(document))
    assert samples_of(tmp_path)[0].references == ("I see a dog",)


@pytest.mark.parametrize(
    ("attributions", "foil", "found"),
    [
        ((1, 2, -3), "Bus", True),
        ((1, 2, -3), "", False),  # its foil word does not stand in it
        ((1, -2, -3), "bus", True),
        ((1, -3, -2), "bus", False),
        ((1, 2, -3), "red bus", False),
        ((1, 2, 3), "bus", False),
    ],
)
def test_as_published_a_foil_is_found_when_the_lowest_word_called_wrong_equals_it(
    attributions: tuple[float, ...], foil: str, found: bool
) -> None:
    result = result_of("A red Bus" if foil == "Bus" else "A red bus", *attributions)
    assert equals_foil(outcome("1", result, correct=False, false=foil)) == found


def test_the_whole_path_on_twenty_samples(tmp_path: Path) -> None:
    result = run_benchmark(word_set("foil", write_foil(tmp_path)), load_tiny(), EvalSettings())
    assert [metric.name for metric in result.metrics] == [
        "la", "ap_clip_score", "ap_f_clip_score", "ap_sum_negative_attribution", "ap_ref_clip_score", "published_la",
    ]  # fmt: skip
    assert result.counts == {"samples": 20, "unreadable": 0}
    assert result.settings["mode"] == "most-negative"
    data: Any = result.settings["data"]
    assert set(dict(data)) == {"foilv1.0_test_2017.json", "captions_val2014.json"}
    backbones = {number.backbone for number in result.published if number.metric == "published_la"}
    assert backbones >= {"ViT-B/32 openai", "ALOHa"}
    assert [metric.chance for metric in result.metrics if metric.name.startswith("ap_")] == [0.5] * 4


@pytest.mark.parametrize(
    ("foil", "text", "places"),
    [
        ("Bus", "a bus, two buses, a BUS!", [(2, 5), (20, 23)]),
        ("fire truck", "a fire\ttruck", [(2, 12)]),
        ("bus", "buses", []),
        ("", "a bus", []),
    ],
)
def test_a_foil_is_wherever_its_whole_words_stand(foil: str, text: str, places: list[tuple[int, int]]) -> None:
    assert spans_of(foil, text) == places


def test_without_coco_s_captions_there_is_no_ref_clip_score_and_it_is_said(tmp_path: Path) -> None:
    result = run_benchmark(word_set("foil", write_foil(tmp_path, captions=False)), load_tiny(), EvalSettings(limit=8))
    assert "ap_ref_clip_score" not in [metric.name for metric in result.metrics]
    assert any("without captions_val2014.json there are no references" in note for note in result.notes)


def test_it_is_said_whether_published_numbers_are_of_this_data(tmp_path: Path) -> None:
    benchmark = word_set("foil", write_foil(tmp_path))
    benchmark.check()
    assert benchmark.notes[0].endswith("no hash of it is on record, so whether this is it is not known")
    place = tmp_path / "foilv1.0_test_2017.json"
    place.write_text(place.read_text().replace("COCO_val2014_", "mine_"))
    for picture in list((tmp_path / "val2014").iterdir()):
        picture.rename(picture.with_name(picture.name.replace("COCO_val2014_", "mine_")))
    benchmark = word_set("foil", tmp_path)
    benchmark.check()
    assert benchmark.notes[0].startswith("the pictures are not those of FOIL")
    result = run_benchmark(benchmark, load_tiny(), EvalSettings())
    assert result.published == ()
    assert result.notes[-1] == "published numbers are left out: they are of the whole data set as published"


def test_a_limited_run_has_no_published_numbers_beside_it(tmp_path: Path) -> None:
    benchmark = word_set("foil", write_foil(tmp_path))
    assert run_benchmark(benchmark, load_tiny(), EvalSettings(limit=20)).published
    limited = run_benchmark(benchmark, load_tiny(), EvalSettings(limit=19))
    assert limited.published == ()
    assert "the first 19 of 20 samples, because of --limit" in limited.notes


def test_foil_words_that_no_caption_holds_are_said(tmp_path: Path) -> None:
    place = write_foil(tmp_path) / "foilv1.0_test_2017.json"
    benchmark = word_set("foil", tmp_path)
    benchmark.check()
    assert not any("foil words do not stand" in note for note in benchmark.notes)
    document = json.loads(place.read_text())
    wrong = next(n for n, row in enumerate(document["annotations"]) if row["foil_word"] != "ORIG")
    document["annotations"][wrong]["foil_word"] = "zeppelin"
    place.write_text(json.dumps(document))
    benchmark = word_set("foil", tmp_path)
    benchmark.check()
    expected = (
        f"1 of 10 foil words do not stand in their captions and cannot be found, the first that of annotation {wrong}"
    )
    assert expected in benchmark.notes


@pytest.mark.parametrize("caption", [None, 1.5, ["a bus"], {}])
def test_an_annotation_without_a_text_costs_itself_alone(tmp_path: Path, caption: object) -> None:
    place = write_foil(tmp_path) / "foilv1.0_test_2017.json"
    document = json.loads(place.read_text())
    for row in document["annotations"][:2]:
        row["caption"] = caption
    place.write_text(json.dumps(document))
    result = run_benchmark(word_set("foil", tmp_path), load_tiny(), EvalSettings())
    assert (result.counts["samples"], result.counts["unreadable"]) == (18, 2)


def test_a_wrong_folder_says_what_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(MissingDataset, match=r"there is no foilv1\.0_test_2017\.json"):
        word_set("foil", tmp_path).check()
    write_foil(tmp_path)
    for place in (tmp_path / "val2014").iterdir():
        place.unlink()
    with pytest.raises(MissingDataset, match="val2014 holds none of the first 10 pictures of foil"):
        word_set("foil", tmp_path).check()
    (tmp_path / "val2014").rmdir()
    with pytest.raises(MissingDataset, match=r"(?m)there is no val2014 and no images/val2014 and no images$"):
        word_set("foil", tmp_path).check()


def test_rows_that_are_none_are_counted_and_another_format_is_refused(tmp_path: Path) -> None:
    write_foil(tmp_path)
    place = tmp_path / "foilv1.0_test_2017.json"
    document = json.loads(place.read_text())
    del document["annotations"][3]["caption"]
    document["annotations"].append("nonsense")
    place.write_text(json.dumps(document))
    document["annotations"].append({**document["annotations"][4], "image_id": [100]})
    place.write_text(json.dumps(document))
    result = run_benchmark(word_set("foil", tmp_path), load_tiny(), EvalSettings())
    assert result.counts == {"samples": 19, "unreadable": 3}
    place.write_text('{"images": []}')
    with pytest.raises(MissingDataset, match="is not FOIL's format: it lacks 'annotations'"):
        word_set("foil", tmp_path).check()
    place.write_text("[]")
    with pytest.raises(MissingDataset, match="is not FOIL's format: lists and objects are not where it has them"):
        word_set("foil", tmp_path).check()
