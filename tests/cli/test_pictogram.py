"""The embedded model from the command line: it needs no network, finds swapped words, and knows its limits."""

from __future__ import annotations

import json
import socket

import pytest

from clipalign.models.registry import find_model
from clipalign.pictogram.captions import vocabulary
from clipalign.pictogram.scenes import HERE
from tests.cli.run import run_here

Capture = pytest.CaptureFixture[str]
PICTURE = str(HERE / "example.png")
TRUE, FALSE = "a cat and two balloons on a blue background", "a dog and two balloons on a blue background"


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("the embedded model asked for the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)


def detect(capsys: Capture, text: str, *more: str) -> tuple[int, dict[str, object], str]:
    status, out, err = run_here(capsys, "detect", PICTURE, text, "--model", "pictogram", "--format", "json", *more)
    return status, json.loads(out), err


def test_the_wrong_word_is_found_and_the_right_caption_passes(capsys: Capture) -> None:
    status, wrong, _ = detect(capsys, FALSE, "--check")
    assert (status, wrong["misaligned"]) == (1, ["dog"])
    status, right, _ = detect(capsys, TRUE, "--check")
    assert (status, right["misaligned"]) == (0, [])
    assert float(str(right["clip_score"])) > float(str(wrong["clip_score"]))


def test_words_it_never_saw_are_named_in_a_warning_and_in_the_record(capsys: Capture) -> None:
    _, record, err = detect(capsys, "a cat beside a skyscraper on a blue background")
    assert record["unknown_words"] == ["beside", "skyscraper"]
    assert "beside" in err
    assert "skyscraper" in err


def test_its_k_and_epsilon_are_its_own_and_stand_in_the_provenance(capsys: Capture) -> None:
    row = find_model("pictogram")
    _, record, _ = detect(capsys, TRUE)
    provenance = record["provenance"]
    assert isinstance(provenance, dict)
    assert (provenance["settings"]["layers"], provenance["settings"]["epsilon"]) == (row.layers, row.epsilon)
    assert row.epsilon != find_model("ViT-B-32").epsilon


def test_the_shipped_vocabulary_is_that_of_the_caption_writer() -> None:
    assert (HERE / "vocabulary.txt").read_text(encoding="utf-8").split() == sorted(vocabulary())


def test_it_finds_objects_and_colors_on_scenes_it_never_saw(capsys: Capture) -> None:
    line = ("eval", "--dataset", "pictogram-foil", "--model", "pictogram", "--limit", "400", "--format", "json")
    metrics = json.loads(run_here(capsys, *line).out)["metrics"]
    # The model card has the figures; these floors lie well below them and far above chance (about 0.15).
    assert metrics["la_object"] > 0.75
    assert metrics["la_color"] > 0.9
    assert metrics["ap_clip_score_object"] > 0.8
    assert metrics["pairs_ranked_right"] > 0.7
