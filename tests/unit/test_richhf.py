"""Rich-HF in its real layout: a TFRecord, pictures and prompts by uid."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path

import pytest

from clipalign.errors import MissingDataset, MissingExtra
from clipalign.evaluation.benchmark import CaptionSample
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.richhf import RichHF
from tests.evaluated import run_benchmark
from tests.results import result_of
from tests.tiny import load_tiny
from tests.unit.test_word_benchmarks import outcome, values
from tests.word_datasets import picture, richhf_prompts, write_richhf


def test_words_are_compared_by_place_and_as_published_by_number_and_spelling(tmp_path: Path) -> None:
    # Rich-HF splits "bus;red!" in two tokens, detect has one word there; "Cat" is the 4th token and the 3rd word.
    result = result_of("A bus;red! Cat", -1, -2, -3)
    labels = [True, False, True, True]
    one = outcome("1", result, correct=False, misaligned=labels, misalignment_score=0.0)
    one = replace(one, false_spans=((0, 1), (6, 9), (11, 14)))
    found = values(RichHF(tmp_path), one)
    assert (found["precision"], found["recall"]) == (1.0, 1.0)
    assert (found["published_precision"], found["published_recall"]) == pytest.approx((1 / 3, 1 / 3))  # "a" alone
    assert found["published_f1"] == pytest.approx(1 / 3)


def test_correlations_are_with_what_people_said(tmp_path: Path) -> None:
    outcomes = [
        outcome(
            str(n),
            result_of("a bus", 1, 1, clip_score=n / 10, f_clip_score=-n / 10),
            correct=n > 2,
            misaligned=[n <= 2, False],
            misalignment_score=float(n),
        )
        for n in range(1, 6)
    ]
    found = values(RichHF(tmp_path), *outcomes)
    assert found["pearson_clip_score"] == pytest.approx(1.0)
    assert found["spearman_f_clip_score"] == pytest.approx(-1.0)
    assert found["pearson_sum_negative_attribution"] == 0.0  # all the same
    assert found["ap_clip_score"] == pytest.approx(1.0)  # misaligned prompts are the positive class


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twenty prompts."""
    pytest.importorskip("tfrecord")
    return write_richhf(tmp_path / "richhf")


def test_samples_are_read_from_record_prompt_and_picture(data: Path) -> None:
    benchmark = RichHF(data)
    benchmark.check()
    samples = [sample for sample in benchmark.samples(limit=None, seed=0) if isinstance(sample, CaptionSample)]
    assert len(samples) == 20
    assert samples[1].text == richhf_prompts()["uid-0001"][0]
    assert samples[1].image == data / "images" / "uid-0001.png"
    assert samples[1].truth["misaligned"][4] is True
    assert samples[1].truth["misalignment_score"] == pytest.approx(0.35)
    assert [sample.correct for sample in samples[:4]] == [True, False, True, False]


def test_the_whole_path_on_twenty_samples(data: Path) -> None:
    result = run_benchmark(RichHF(data), load_tiny(), EvalSettings())
    names = [metric.name for metric in result.metrics]
    assert names[:4] == ["la", "f1", "precision", "recall"]
    assert {"published_f1", "pearson_f_clip_score", "spearman_sum_negative_attribution"} <= set(names)
    assert (result.settings["mode"], result.settings["epsilon"]) == ("threshold", -1e-5)
    assert any("test.tfrecord is another version" in note for note in result.notes)
    assert any("by number and spelling" in note for note in result.notes)


def test_prompts_with_other_than_their_labels_are_counted_as_far_as_they_go(data: Path) -> None:
    prompts = richhf_prompts(4)
    text, labels, score = prompts["uid-0001"]
    prompts["uid-0001"] = (text, labels + " 0 0", score)
    prompts["uid-0002"] = (text, "", score)
    result = run_benchmark(RichHF(write_richhf(data, prompts)), load_tiny(), EvalSettings())
    assert result.counts == {"samples": 4, "unreadable": 0}
    assert any(note.startswith("2 prompts have more or fewer words than labels") for note in result.notes)


def test_prompts_and_pictures_that_are_not_there_are_counted(data: Path) -> None:
    (data / "images" / "uid-0003.txt").unlink()
    (data / "images" / "uid-0004.png").unlink()
    result = run_benchmark(RichHF(data), load_tiny(), EvalSettings())
    assert result.counts == {"samples": 18, "unreadable": 2}


def test_a_pointer_of_git_lfs_is_named_as_one(data: Path) -> None:
    (data / "test.tfrecord").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:68\nsize 10112337\n")
    with pytest.raises(MissingDataset, match=r"test\.tfrecord is a Git LFS pointer of \d+ bytes") as error:
        RichHF(data).check()
    assert error.value.hint == "mend it, or delete it and fetch it again: clipalign download richhf"


@pytest.mark.parametrize("left", [7, 11, 100, -2])
def test_a_tfrecord_that_breaks_off_or_is_none_is_refused(data: Path, left: int) -> None:
    place = data / "test.tfrecord"
    place.write_bytes(place.read_bytes()[:left])
    with pytest.raises(MissingDataset, match="is no whole TFRecord file: after"):
        RichHF(data).check()
    place.write_bytes(struct.pack("<Q", 2**40) + b"0000" + b"abc" + b"0000")  # no room is made for so much
    with pytest.raises(MissingDataset, match="record 0 claims to go on behind the end of the file"):
        RichHF(data).check()
    place.write_bytes(struct.pack("<Q", 3) + b"0000" + b"abc" + b"0000")
    with pytest.raises(MissingDataset, match="is no whole TFRecord file: after 0 records"):
        RichHF(data).check()


def write_shards(folder: Path, prompts: dict[str, tuple[str, str, float]]) -> None:
    """Two shards as Pick-a-Pic has them: two pictures a row, some that nobody wants."""
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    rows = []
    for uid, (prompt, _, _) in prompts.items():
        content = io.BytesIO()
        picture(uid).save(content, "JPEG" if uid.endswith("1") else "PNG")
        wanted, other = (uid, content.getvalue()), (f"other-{uid}", b"no picture")
        first, second = (wanted, other) if uid.endswith("2") else (other, wanted)
        rows.append(
            {
                "caption": prompt,
                "image_0_uid": first[0],
                "jpg_0": first[1],
                "image_1_uid": second[0],
                "jpg_1": second[1],
                "ranking_id": 1,
            }
        )
    folder.mkdir(parents=True)
    for number, part in enumerate((rows[:12], rows[12:])):
        parquet.write_table(
            pyarrow.Table.from_pylist(part), folder / f"test-0000{number}-of-00002.parquet", row_group_size=5
        )


def test_pictures_and_prompts_are_taken_out_of_the_shards_that_download_brings(data: Path) -> None:
    for place in (data / "images").iterdir():
        place.unlink()
    (data / "images").rmdir()
    prompts = richhf_prompts()
    write_shards(data / "pickapic", prompts)
    result = run_benchmark(RichHF(data), load_tiny(), EvalSettings())
    assert result is not None
    assert result.counts == {"samples": 20, "unreadable": 0}
    names = {place.name for place in (data / "images").iterdir()}
    assert len(names) == 40
    assert {"uid-0001.jpg", "uid-0001.txt", "uid-0002.png"} <= names
    assert (data / "images" / "uid-0003.txt").read_text() == prompts["uid-0003"][0]


def samples_of(data: Path) -> list[object]:
    benchmark = RichHF(data)
    benchmark.check()
    return list(benchmark.samples(limit=None, seed=0))


def test_the_check_of_a_dry_run_takes_nothing_out(data: Path) -> None:
    write_shards(data / "pickapic", richhf_prompts())
    (data / "images" / "uid-0002.txt").unlink()
    RichHF(data).check()
    assert not (data / "images" / "uid-0002.txt").exists()


def test_what_was_taken_out_is_left_alone_and_what_is_missing_is_added(data: Path) -> None:
    write_shards(data / "pickapic", richhf_prompts())
    (data / "images" / "uid-0001.txt").write_text("mine")
    (data / "images" / "uid-0002.txt").unlink()
    samples_of(data)
    assert (data / "images" / "uid-0001.txt").read_text() == "mine"
    assert (data / "images" / "uid-0002.txt").read_text() == richhf_prompts()["uid-0002"][0]


def test_a_shard_that_is_none_is_named(data: Path) -> None:
    write_shards(data / "pickapic", richhf_prompts())
    (data / "images" / "uid-0002.txt").unlink()
    place = data / "pickapic" / "test-00000-of-00002.parquet"
    place.write_bytes(place.read_bytes()[:100])
    with pytest.raises(MissingDataset, match=r"test-00000-of-00002\.parquet is no Parquet file of richhf"):
        samples_of(data)


def test_a_shard_that_is_damaged_in_the_middle_is_named_and_not_the_folder(data: Path) -> None:
    write_shards(data / "pickapic", richhf_prompts())
    for place in (data / "images").iterdir():
        place.unlink()
    place = data / "pickapic" / "test-00000-of-00002.parquet"
    content = place.read_bytes()
    place.write_bytes(content[:4] + b"\xff" * 2000 + content[2004:])
    with pytest.raises(MissingDataset, match=r"test-00000-of-00002\.parquet is no Parquet file of richhf") as caught:
        samples_of(data)
    assert caught.value.hint.startswith("delete it and fetch it again")


def test_a_folder_without_pictures_is_refused(data: Path) -> None:
    for place in (data / "images").iterdir():
        place.unlink()
    with pytest.raises(MissingDataset, match="images holds no pictures"):
        RichHF(data).check()


def test_the_missing_library_is_named_with_its_extra(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "tfrecord.reader", None)
    with pytest.raises(MissingExtra) as error:
        RichHF(data).check()
    assert error.value.hint == "pip install 'clipalign[richhf]'"
