"""nocaps-FOIL in its real layout, and the real file where it is."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

import pytest

from clipalign.errors import MissingDataset
from clipalign.evaluation.benchmark import CaptionSample
from clipalign.evaluation.settings import EvalSettings
from tests.evaluated import run_benchmark
from tests.tiny import load_tiny
from tests.word_datasets import draw, nocaps_rows, word_set, write_nocaps

REAL = Path(__file__).parents[3] / "shared" / "data" / "nocaps-val-foil.json"


def test_each_row_gives_its_foil_and_its_baseline(tmp_path: Path) -> None:
    benchmark = word_set("nocaps-foil", write_nocaps(tmp_path))
    benchmark.check()
    foil, baseline, *_ = benchmark.samples(limit=3, seed=0)
    assert isinstance(foil, CaptionSample)
    assert isinstance(baseline, CaptionSample)
    assert (foil.id, foil.correct) == ("nocaps-val-foil:0:0", False)
    assert [foil.text[start:end] for start, end in foil.false_spans] == ["cat"]
    assert (baseline.id, baseline.correct) == ("nocaps-val-foil:0:1", True)
    assert baseline.text == "A photo of a dog on a table"
    assert (foil.image, foil.references, foil.part) == (baseline.image, baseline.references, "in-domain")
    assert len(list(benchmark.samples(limit=3, seed=0))) == 3
    assert len(list(benchmark.samples(limit=None, seed=0))) == 20


def test_the_whole_path_on_twenty_samples(tmp_path: Path) -> None:
    result = run_benchmark(word_set("nocaps-foil", write_nocaps(tmp_path)), load_tiny(), EvalSettings())
    names = [metric.name for metric in result.metrics]
    assert names[:2] == ["la", "ap_clip_score"]
    assert {"published_la", "la_in_domain", "published_la_out_domain", "ap_ref_clip_score_out_domain"} <= set(names)
    by_name = {metric.name: metric for metric in result.metrics}
    assert by_name["la"].n == 10
    assert by_name["la_in_domain"].n == 4
    assert by_name["ap_clip_score"].chance == 0.5
    assert any("2 of the 10 foils have several words" in note and "0.800" in note for note in result.notes)
    assert any(note.startswith("most frequent of 20 misaligned words: ") for note in result.notes)
    assert any("nocaps-val-foil.json is another version" in note for note in result.notes)
    assert "a part of the data set: 20 of its 5,000 samples are here" in result.notes
    assert result.published == ()  # 20 captions of our own


def test_missing_pictures_are_counted_and_a_folder_with_none_is_refused(tmp_path: Path) -> None:
    write_nocaps(tmp_path)
    pictures = sorted((tmp_path / "images").iterdir())
    pictures[0].unlink()
    result = run_benchmark(word_set("nocaps-foil", tmp_path), load_tiny(), EvalSettings())
    assert result.counts == {"samples": 18, "unreadable": 2}
    assert any(
        "2 of 20 samples could not be read and do not count; the first, nocaps-val-foil:0:0" in note
        for note in result.notes
    )
    for picture in pictures[1:]:
        picture.unlink()
    with pytest.raises(MissingDataset, match="images holds none of the first 10 pictures"):
        word_set("nocaps-foil", tmp_path).check()
    place = tmp_path / "nocaps"
    place.mkdir()
    (tmp_path / "nocaps-val-foil.json").rename(place / "nocaps-val-foil.json")
    beside = re.escape(f"{place} holds none of the first 10 pictures")
    with pytest.raises(MissingDataset, match=f"^{beside}"):  # the folder as one would write it
        word_set("nocaps-foil", place).check()


def test_rows_without_what_they_need_are_counted(tmp_path: Path) -> None:
    rows = nocaps_rows()
    rows[4]["replacement"] = []
    del rows[5]["foil"]
    result = run_benchmark(word_set("nocaps-foil", write_nocaps(tmp_path, rows)), load_tiny(), EvalSettings())
    assert result.counts == {"samples": 16, "unreadable": 2}


def test_a_foil_whose_word_is_not_named_is_a_foil_without_words(tmp_path: Path) -> None:
    rows = nocaps_rows()
    rows[0]["replacement"] = ["dog", {}]
    benchmark = word_set("nocaps-foil", write_nocaps(tmp_path, rows))
    benchmark.check()
    foil = next(iter(benchmark.samples(limit=1, seed=0)))
    assert isinstance(foil, CaptionSample) and foil.false_spans == ()
    assert any("2 of the 10 foils have several words" in note for note in benchmark.notes)


def test_a_file_cut_short_or_of_another_kind_is_refused(tmp_path: Path) -> None:
    write_nocaps(tmp_path)
    place = tmp_path / "nocaps-val-foil.json"
    whole = place.read_bytes()
    place.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(MissingDataset, match="breaks off after"):
        word_set("nocaps-foil", tmp_path).check()
    place.write_text("3")
    with pytest.raises(MissingDataset, match="holds no rows"):
        word_set("nocaps-foil", tmp_path).check()


def test_another_version_of_the_file_is_not_mixed_into_a_run(tmp_path: Path) -> None:
    from clipalign.errors import UsageError

    data = write_nocaps(tmp_path / "data")
    run_benchmark(word_set("nocaps-foil", data), load_tiny(), EvalSettings(output=tmp_path / "run"))
    place = data / "nocaps-val-foil.json"
    place.write_text(place.read_text() + "\n")
    with pytest.raises(UsageError, match=r"data\.nocaps-val-foil\.json was"):
        run_benchmark(word_set("nocaps-foil", data), load_tiny(), EvalSettings(output=tmp_path / "run", resume=True))


@pytest.mark.skipif(not REAL.exists(), reason="the real file is not here")
def test_the_real_file_is_the_known_version_with_its_domains_and_ceiling(tmp_path: Path) -> None:
    (tmp_path / "nocaps-val-foil.json").symlink_to(REAL)
    draw(tmp_path / "images", [json.loads(REAL.read_text())[0]["image_path"]])
    benchmark = word_set("nocaps-foil", tmp_path)
    benchmark.check()
    samples = [sample for sample in benchmark.samples(limit=None, seed=0) if isinstance(sample, CaptionSample)]
    assert len(samples) == benchmark.size == 5000
    assert Counter(sample.part for sample in samples if not sample.correct) == {
        "in-domain": 245,
        "near-domain": 1494,
        "out-domain": 761,
    }
    assert any("285 of the 2,500 foils" in note and "it cannot pass 0.886" in note for note in benchmark.notes)
    assert not any("another version" in note for note in benchmark.notes)
