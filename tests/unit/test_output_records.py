"""Counts, means and the most frequent words of a run; how far it is."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from clipalign.output import records as room
from clipalign.output.detect import DetectView
from clipalign.output.json import plain
from clipalign.output.records import NameColumn, Record, Tally, error_record, number_text, summary_lines
from tests.records import asked, finished
from tests.results import COKE, result_of

VIEW = DetectView()
ERROR = plain(error_record(asked(4), finished(asked(4)).result))  # type: ignore[arg-type]


def tallied(*records: Record) -> Tally:
    tally = Tally(VIEW)
    for record in records:
        tally.add(record)
    return tally


def record_of(text: str, *values: float, **changes: object) -> Record:
    return plain(VIEW.record(replace(result_of(text, *values), **changes)))  # type: ignore[arg-type]


def test_a_summary() -> None:
    coke = plain(VIEW.record(COKE))
    other = record_of("Coke and a dog", -1e-3, 1e-4, 1e-4, -2e-3, clip_score=0.7, cosine=0.28, warnings=("w",))
    fits = record_of("a cup", 1e-4, 1e-4, clip_score=0.6, cosine=0.24)
    tally = tallied(coke, ERROR, other, fits, ERROR)
    assert tally.summary() == {
        "records": 5,
        "unreadable": 2,
        "errors": {"image_unreadable": 2},
        "with_warnings": 1,
        "with_misaligned_words": 2,
        "mean": {
            "cosine": pytest.approx((0.20984 + 0.28 + 0.24) / 3),
            "clip_score": pytest.approx((0.5246 + 0.7 + 0.6) / 3),
            "f_clip_score": pytest.approx((coke["f_clip_score"] + other["f_clip_score"]) / 3),
            "ref_clip_score": None,
        },
        "misaligned_words": [{"text": "coke", "count": 2}, {"text": "dog", "count": 1}],
        "counts_are_lower_bounds": False,
    }
    assert summary_lines(VIEW, tally.summary()) == [
        "5 pairs: 2 unreadable (2 image unreadable), 2 with misaligned words, 1 with warnings",
        "mean cosine 0.2433, CLIPScore 0.6082, F-CLIPScore -0.000907",
        "most frequent misaligned words: coke 2, dog 1",
    ]


def test_nothing_is_no_mean() -> None:
    assert summary_lines(VIEW, tallied().summary()) == ["0 pairs: 0 with misaligned words"]
    assert summary_lines(VIEW, tallied(ERROR).summary()) == [
        "1 pair: 1 unreadable (1 image unreadable), 0 with misaligned words"
    ]


def test_references_bring_their_mean() -> None:
    tally = tallied(record_of("a", 1e-4, references=("x",), ref_clip_score=0.5), record_of("a", 1e-4))
    assert tally.mean("ref_clip_score") == 0.5


def test_a_word_counts_once_a_pair() -> None:
    assert tallied(record_of("red red red", -1e-3, -1e-3, -1e-3)).frequent() == [("red", 1)]


@given(st.lists(st.floats(0, 2.5), min_size=1, max_size=50))
def test_means_lose_no_digit(scores: list[float]) -> None:
    import math

    tally = tallied(*(record_of("a", 1e-4, clip_score=score) for score in scores))
    assert tally.mean("clip_score") == pytest.approx(math.fsum(scores) / len(scores), rel=1e-15, abs=1e-300)


def test_memory_does_not_grow_with_the_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "MAX_COUNTED", 10)
    records = [record_of(f"often word{number}", -1e-3, -1e-3) for number in range(100)]
    tally = tallied(*records, record_of("w" * 10_000, -1e-3))
    assert tally.frequent(1) == [("often", 100)]
    assert len(tally.frequent(1000)) <= 11
    assert max(len(word) for word, _ in tally.frequent(1000)) <= room.MAX_WORD_CHARACTERS
    line = summary_lines(VIEW, tally.summary())[-1]
    assert "often at least 100" in line


@pytest.mark.parametrize(
    ("value", "shown"),
    [(0.0, "0.0000"), (0.52461, "0.5246"), (-0.0123456, "-0.0123"), (-0.000351, "-0.000351"), (1e-7, "0.000000100")],
)
def test_numbers_keep_three_digits(value: float, shown: str) -> None:
    assert number_text(value) == shown


class TestNameColumn:
    """The ids of a table, line by line."""

    def test_what_follows_lines_up_behind_ids_of_like_length(self) -> None:
        view = DetectView()
        ids = [f"pr-1234/scene-{number:05}" for number in range(3)] + ["short"]
        lines = [view.line(record_of("red dogs", 1e-4, 1e-4, id=id)).plain for id in ids]
        assert {line.index("red dogs") for line in lines} == {2 + len("0.5246  ") + len(ids[0]) + 2}

    def test_after_a_longer_id_shorter_ones_are_filled_up(self) -> None:
        column = NameColumn()
        assert [column.cell(name) for name in ("cat", "breakfast", "cat")] == ["cat     ", "breakfast", "cat      "]

    def test_cells_of_the_terminal_count(self) -> None:
        column = NameColumn()
        assert [cell_len(column.cell(name)) for name in ("一二三四五六", "cat", "é" * 40, "一" * 40)] == [
            12,
            12,
            24,
            24,
        ]

    def test_of_a_long_path_the_end_is_shown(self) -> None:
        assert NameColumn().cell("images/validation/000000123456.jpg") == "…dation/000000123456.jpg"

    def test_every_run_begins_anew(self) -> None:
        first, second = (DetectView().line(record_of("dogs", 1e-4, id=id)).plain for id in ("a" * 20, "7"))
        assert first.index("dogs") == second.index("dogs") + 12
