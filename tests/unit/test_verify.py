"""Outputs scored again: the same numbers come out, others are found, and what differs is named."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from clipalign.errors import InputUnreadable, UsageError
from clipalign.eval_results import Verification
from clipalign.evaluation.verify import read_sample, verify
from clipalign.methods.detect import Pair, detect_pairs
from clipalign.methods.score_long import score_long_pairs
from clipalign.methods.settings import DetectSettings, LongSettings
from clipalign.output.eval import verification_table
from tests.cli.run import GOLDEN
from tests.tiny import load_random, load_tiny

IMAGES = GOLDEN / "images"
Change = Callable[[dict[str, Any]], object]


def output(folder: Path, change: Change = lambda record: None) -> Path:
    """An output of detect with settings that are not the defaults; ``change`` is done to its second record."""
    settings = DetectSettings(epsilon=1e-3, layers=2, template="")
    pairs = [Pair(IMAGES / f"{n}.png", f"a red car {n}", id=f"{n}", image_name=f"{n}.png") for n in range(3)]
    records = [one.to_dict() for one in detect_pairs(load_tiny(), pairs, settings)]
    change(records[1])
    (folder / "found.jsonl").write_text("".join(json.dumps(one) + "\n" for one in records))
    return folder / "found.jsonl"


def verified(place: Path, *, model: Any = None) -> Verification:
    return verify(place, read_sample(place, size=9, seed=0, pictures=IMAGES), model or load_tiny())


def test_what_was_not_touched_comes_out_the_same_with_its_own_settings(tmp_path: Path) -> None:
    found = verified(output(tmp_path))
    assert (found.records, found.different, found.unreadable, found.differing) == (3, (), (), ())
    assert found.largest < 1e-5
    assert "3 of 3 records come out the same" in verification_table(found)


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(cosine=record["cosine"] + 0.01),
        lambda record: record.update(misaligned=["car"]),
        lambda record: record.update(misaligned=-0.0),
        lambda record: record.update(misaligned=["car", 1]),
        lambda record: record.update(text="a blue car"),
    ],
)
def test_a_number_a_verdict_or_a_text_that_was_changed_is_found(tmp_path: Path, change: Change) -> None:
    assert verified(output(tmp_path, change)).different == ("1",)


def test_the_file_does_not_choose_what_else_is_read_and_done(tmp_path: Path) -> None:
    place = output(tmp_path)
    records = [json.loads(line) for line in place.read_text().splitlines()]
    for record in records:
        record["provenance"]["settings"] |= {"suggest": 3, "candidates": str(tmp_path / "gone.txt"), "explain": True}
    place.write_text("".join(json.dumps(record) + "\n" for record in records))
    found = verified(place)
    assert (found.records, found.different, found.differing) == (3, (), ())


def test_other_weights_and_versions_are_named(tmp_path: Path) -> None:
    found = verified(output(tmp_path), model=load_random("clip"))
    assert len(found.different) == 3
    assert "model" in {name for name, _, _ in found.differing}


def test_a_picture_that_is_gone_is_counted(tmp_path: Path) -> None:
    assert verified(output(tmp_path, lambda record: record.update(image="gone.png"))).unreadable == ("1",)


def test_outputs_of_score_long_are_scored_again_too(tmp_path: Path) -> None:
    pair = Pair(IMAGES / "0.png", "A red car. A cat.", image_name="0.png")
    (result,) = score_long_pairs(load_tiny(), [pair], LongSettings(stretch=False))
    (tmp_path / "long.jsonl").write_text(json.dumps(result.to_dict()) + "\n")
    found = verified(tmp_path / "long.jsonl")
    assert (found.records, found.different, found.differing) == (1, (), ())


@pytest.mark.parametrize("sentences", [3, [3], [{"lowers": 3}], None])
def test_damaged_sentences_are_different(tmp_path: Path, sentences: object) -> None:
    pair = Pair(IMAGES / "0.png", "A red car. A cat.", image_name="0.png")
    (result,) = score_long_pairs(load_tiny(), [pair], LongSettings(stretch=False))
    (tmp_path / "long.jsonl").write_text(json.dumps({**result.to_dict(), "sentences": sentences}) + "\n")
    assert len(verified(tmp_path / "long.jsonl").different) == 1


def test_a_sample_is_drawn_by_its_seed(tmp_path: Path) -> None:
    place = output(tmp_path)
    drawn = {seed: {one.id for one in read_sample(place, size=2, seed=seed, pictures=IMAGES)} for seed in range(8)}
    assert {len(ids) for ids in drawn.values()} == {2} and len({tuple(sorted(ids)) for ids in drawn.values()}) > 1


def test_what_cannot_be_scored_again_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"image": "0.png", "text": "a car"}\n')
    with pytest.raises(InputUnreadable, match="has no record of a result"):
        verified(tmp_path / "a.jsonl")
    record = {"image": "0.png", "text": "a car", "cosine": 0.1, "provenance": {"settings": {}}}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n")
    with pytest.raises(UsageError, match="cannot be scored again"):
        verified(tmp_path / "a.jsonl")
