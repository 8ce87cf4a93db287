"""Results outside a terminal: dictionaries, frames, notebooks, sets."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace
from typing import Any

import pytest

from clipalign.errors import ImageUnreadable, UsageError
from clipalign.frames import to_frame
from clipalign.results import ClassifyResult, ClassScore, Failure, LongResult, Result, SentenceScore
from tests.results import COKE, EVALUATION, PROVENANCE

FAILURE = Failure("7", "7.png", "a <cup>", ImageUnreadable("there is no file 7.png", hint="is <it> there?"))
LONG = LongResult(
    id="a.png", image="a.png", text="A cat. <A dog.>", model="tiny", cosine=0.2, specs_score=0.6, clip_score=None,
    n_tokens=9, truncated=False, provenance=PROVENANCE,
    sentences=(
        SentenceScore("A cat.", 0, 6, 0.3, 0.65, None),
        SentenceScore("<A dog.>", 7, 15, 0.2, 0.6, -0.05, -0.05, lowers=True),
    ),
)  # fmt: skip
CLASSES = ClassifyResult("a.png", "a.png", "tiny", "clip", (ClassScore("<cat>", 0.3),), (8, 8), PROVENANCE)
ALL: list[Result] = [COKE, LONG, CLASSES, FAILURE, EVALUATION]


@pytest.mark.parametrize("result", ALL, ids=lambda one: type(one).__name__)
class TestEveryResult:
    def test_becomes_a_dictionary_of_jsons_own_types(self, result: Result) -> None:
        record = result.to_dict()
        assert json.loads(json.dumps(record)) == record

    def test_is_hashable_and_travels_between_processes(self, result: Result) -> None:
        assert len({result, result}) == 1
        assert pickle.loads(pickle.dumps(result)).to_dict() == result.to_dict()

    def test_is_shown_in_one_line(self, result: Result) -> None:
        assert len(repr(result)) < 200 and "\n" not in repr(result).replace("\\n", "")

    def test_html_holds_no_markup_of_the_texts(self, result: Result) -> None:
        html = result._repr_html_()
        assert not any(text in html for text in ("<cup>", "<it>", "<cat>", "<A dog.>"))


def test_what_has_no_value_is_left_out() -> None:
    assert "references" not in COKE.to_dict() and "clip_score" not in LONG.to_dict()
    assert replace(COKE, references=("a cup",)).to_dict()["references"] == ["a cup"]
    assert list(COKE.to_dict())[-1] == "provenance"


def test_a_short_repr() -> None:
    assert repr(COKE) == "DetectResult(image='cup.jpg', text='a cup of coke', clip_score=0.5246, misaligned=('coke',))"
    assert repr(replace(COKE, text="y" * 99)).count("y") == 59


def test_what_does_not_fit_is_marked() -> None:
    marked = '<span style="{}" title="{}">{}</span>'
    style = COKE._repr_html_().split('style="')[1].split('"')[0]
    assert marked.format(style, "-0.0004", "coke") in COKE._repr_html_()
    assert marked.format(style, "-0.0500", "&lt;A dog.&gt;") in LONG._repr_html_()


@pytest.mark.parametrize("library", ["pandas", "polars", "pyarrow"])
def test_frames_have_a_row_a_result(library: str, tmp_path: Any) -> None:
    pytest.importorskip(library)
    frame = to_frame([COKE, FAILURE], library)
    rows = frame.to_pylist() if library == "pyarrow" else frame.to_dicts() if library == "polars" else None
    rows = frame.to_dict("records") if rows is None else rows
    assert [row["id"] for row in rows] == ["cup.jpg", "7"]
    assert list(rows[0]["misaligned"]) == ["coke"] and rows[0]["clip_score"] == 0.5246
    assert rows[1]["error"]["type"] == "image_unreadable" and rows[1]["clip_score"] != rows[0]["clip_score"]


def test_another_library() -> None:
    with pytest.raises(UsageError, match="library must be pandas or polars or pyarrow"):
        to_frame([COKE], "spark")
    with pytest.raises(UsageError, match=r"(?s)must be a list of them, not DetectResult.*to_frame\(\[result\]\)"):
        to_frame(COKE)  # type: ignore[arg-type]
