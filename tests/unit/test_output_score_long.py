"""How ``score-long`` looks: marks and signs without color, bars that add up, nothing that a text could break."""

from __future__ import annotations

import io
import sys
from dataclasses import replace
from typing import Any

import pytest

from clipalign.output.html import card_of, render_template
from clipalign.output.records import Entry, Record
from clipalign.output.score_long import ScoreLongFormatter
from clipalign.results import LongResult, SentenceScore
from tests.results import PROVENANCE

TEXTS = ("A red car.", "Two dogs sit.", "A whale flies.", "It rains.")


def result(*scores: float | None, texts: tuple[str, ...] = TEXTS, **changes: Any) -> LongResult:
    """A consistent result: sentences with these scores so far, None for one beyond the context."""
    sentences: list[SentenceScore] = []
    position = 0
    before: float | None = None
    for text, score in zip(texts, scores, strict=False):
        change = None if score is None or before is None else score - before
        cosine = None if score is None else 2 * score - 1
        lowers = change is not None and change < 0
        place = position, position + len(text)
        sentences.append(SentenceScore(text, *place, cosine, score, change, change, lowers=lowers))
        position, before = position + len(text) + 1, score
    last = [score for score in scores if score is not None][-1]
    made = LongResult(
        id="a.jpg",
        image="a.jpg",
        text=" ".join(texts[: len(scores)]),
        model="specs",
        cosine=2 * last - 1,
        specs_score=last,
        clip_score=None,
        n_tokens=20,
        truncated=None in scores,
        sentences=tuple(sentences),
        provenance=replace(PROVENANCE, settings={"by": "sentence", "margin": 0.0, "context_tokens": 248}),
    )
    return replace(made, **changes)


def record(*scores: float | None, **changes: Any) -> Record:
    return result(*scores, **changes).to_dict()


def score_long_table(records: list[Record]) -> str:
    return ScoreLongFormatter().table(records)


class TestTable:
    def test_marks_numbers_and_bars(self) -> None:
        lines = score_long_table([record(0.5, 0.6, 0.55)]).splitlines()
        assert lines[2].split() == ["score", "increment", "contribution"]
        assert lines[3].startswith("  A red car.") and " 0.5000 " in lines[3]
        assert lines[4].startswith("  Two dogs sit.") and " +0.1000 ▒" in lines[4] and "█" in lines[4]
        assert lines[4].split()[3:6] == ["0.6000", "+0.1000", "+0.1000"]
        assert lines[5].startswith("✗ A whale flies.") and " -0.0500 ▒" in lines[5] and "░" in lines[5]
        assert "✗ 1 of 3 sentences lowers the score  (number 3)" in lines
        assert "SPECS 0.5500   cosine 0.1000   tokens 20" in lines

    def test_bars_add_up(self) -> None:
        lines = [line for line in score_long_table([record(0.5, 0.6, 0.55, 0.58)]).splitlines() if "." in line[:20]]
        bars = ["".join(sign for sign in line if sign in "▒█░") for line in lines if any(s in line for s in "▒█░")]
        ends = [len(bar.rstrip("░")) for bar in bars[:4]]
        starts = [len(bar) - bar.count("█") for bar in bars[:4]]
        assert starts[1] == ends[0] and len(bars[2]) == ends[1] and starts[3] == ends[2]

    def test_a_narrow_one_has_contributions_and_no_increments(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("COLUMNS", "40")
        page = score_long_table([record(0.5, 0.6)])
        assert page.count("+0.1000") == 1 and "increment" not in page

    def test_names_the_formula_where_the_weights_are_not_those_of_specs(self) -> None:
        page = score_long_table([record(0.5, 0.6, clip_score=0.5)])
        assert "(cosine + 1) / 2 0.6000" in page and "CLIPScore 0.5000" in page and "SPECS" not in page

    def test_a_change_too_small_for_four_decimals_is_shown(self) -> None:
        assert "-0.000010" in score_long_table([record(0.5, 0.49999)])

    def test_what_was_not_scored_is_counted_and_not_listed(self) -> None:
        page = score_long_table([record(0.5, None, None, None)])
        assert "2 more beyond the context" in page and "not scored, beyond the context: 3 sentences" in page

    def test_several_texts_in_the_order_of_their_scores(self) -> None:
        low, high = record(0.5, 0.4, id="low"), record(0.6, 0.7, id="high")
        lines = score_long_table([low, high]).splitlines()
        assert [line.split()[:2] for line in lines[3:5]] == [["1", "0.7000"], ["2", "0.4000"]]
        assert "0 of 2" in lines[3] and "1 of 2" in lines[4]
        scale = ScoreLongFormatter().scale_of([low, high])
        assert (scale.low, scale.high) == pytest.approx((0.37, 0.7))

    @pytest.mark.parametrize("columns", ["20", "40", "80", "100"])
    def test_fits_the_terminal(self, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
        monkeypatch.setenv("COLUMNS", columns)
        texts = ("A" * 50 + " b" * 30 + ".", "字" * 40 + "。")
        for records in ([record(0.5, 0.4, texts=texts)], [record(0.5, 0.4, texts=texts), record(0.5, texts=texts)]):
            from rich.cells import cell_len

            assert all(cell_len(line) <= int(columns) for line in score_long_table(records).splitlines())

    def test_plain_signs_where_the_stream_carries_no_others(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
        page = score_long_table([record(0.5, 0.6, 0.55)])
        assert page.isascii() and "x A whale flies." in page and "=" in page and "#" in page and "---" in page

    def test_color_repeats_the_marks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        plain = score_long_table([record(0.5, 0.4)])
        monkeypatch.delenv("NO_COLOR")
        monkeypatch.setenv("FORCE_COLOR", "1")
        colored = score_long_table([record(0.5, 0.4)])
        assert "\x1b[" in colored and "\x1b[" not in plain

    def test_texts_are_never_markup_and_never_obeyed(self) -> None:
        page = score_long_table([record(0.5, 0.4, texts=("[bold]a[/bold] \x1b[31m.", "b \u202e."))])
        assert "[bold]a[/bold] \\x1b[31m" in page and "\\u202e" in page and "\x1b" not in page


class TestFormatter:
    formatter = ScoreLongFormatter()

    def test_what_is_found_and_how_bad(self) -> None:
        good, bad, worse = record(0.5, 0.6), record(0.9, 0.85), record(0.9, 0.7)
        assert [self.formatter.found(one) for one in (good, bad, worse)] == [False, True, True]
        badness = [self.formatter.badness(one) for one in (worse, bad, good, record(0.7))]
        assert badness == sorted(set(badness), reverse=True)

    def test_the_record_ends_with_its_provenance_and_has_all_columns(self) -> None:
        found = record(0.5, 0.6, clip_score=0.5)
        assert list(found)[-1] == "provenance" and set(self.formatter.columns) <= set(found)

    def test_the_annotation_quotes_sentences_and_falls(self) -> None:
        said = self.formatter.annotation(record(0.5, 0.4))
        assert said == "lowers the score 0.4000 with a.jpg: Two dogs sit. (-0.1000)"
        assert self.formatter.annotation(record(0.4, 0.5)) == ""

    def test_the_card_escapes_and_marks(self) -> None:
        texts = ("<b>A & B.</b>", "<script>alert(1)</script>.")
        entry = Entry(record(0.5, 0.4, texts=texts))
        card = render_template(
            "score-long.html", card=card_of(self.formatter, entry, self.formatter.scale_of([entry.record]), 0)
        )
        assert "<script>" not in card and "&lt;script&gt;" in card and "<mark" in card
        assert 'class="wrong"' in card and "-0.1000" in card and "✗ 1 of 2 sentences lowers the score" in card

    def test_the_line_of_many(self) -> None:
        assert self.formatter.line(record(0.5, 0.4)).plain.startswith("✗ 0.4000     1/2  a.jpg")
        assert "Two dogs sit. in: A red car." in self.formatter.line(record(0.5, 0.4)).plain
