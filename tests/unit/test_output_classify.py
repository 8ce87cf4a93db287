"""How classifications look: table, evidence, page; whatever names and sentences hold."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from clipalign.output.classify import ClassifyFormatter, read_evidence
from clipalign.output.html import card_of, render_template
from clipalign.output.records import Entry, Record, Tally, summary_lines
from clipalign.results import ClassifyResult, ClassScore, CropWeight, DescriptionWeight
from tests.results import PROVENANCE

SETTINGS = {"method": "wca", "crops": 2, "classes": 2, "texts": 3}
PLAIN = ClassifyResult(
    id="a",
    image="pics/a.jpg",
    model="ViT-B-32",
    method="wca",
    classes=(ClassScore("cat", 0.3), ClassScore("dog", 0.25)),
    image_size=(200, 100),
    provenance=replace(PROVENANCE, settings=SETTINGS),
)
EXPLAINED = replace(
    PLAIN,
    classes=(ClassScore("cat", 0.3, 2.0), ClassScore("dog", -0.1, 1.0)),
    crops=(CropWeight((0, 0, 50, 50), 0.25), CropWeight((100, 20, 180, 100), 0.75)),
    descriptions=(
        DescriptionWeight("cat", "It purrs.", 0.25),
        DescriptionWeight("cat", "A cat has fur.", 0.5),
        DescriptionWeight("cat", "It purrs.", 0.25),
        DescriptionWeight("dog", "A dog barks.", 1.0),
    ),
    contributions=((0.01, 0.03, 0.01, -0.05), (0.02, 0.06, 0.02, -0.05)),
)
THUMBNAIL = "data:image/jpeg;base64,AAAA"


def record_of(result: ClassifyResult) -> Record:
    return result.to_dict()


def table(record: Record) -> str:
    return ClassifyFormatter().table([record])


def card(record: Record, thumbnail: str) -> str:
    formatter = ClassifyFormatter()
    shown = card_of(formatter, Entry(record, thumbnail=thumbnail), formatter.scale_of([record]), 0)
    return render_template("classify.html", card=shown, several=False)


class TestEvidence:
    def test_shares_of_crops_and_of_sentences_both_sum_to_the_score(self) -> None:
        for one in read_evidence(record_of(EXPLAINED)):
            assert sum(crop.share for crop in one.crops) == pytest.approx(one.score)
            assert sum(text.share for text in one.sentences) == pytest.approx(one.score)

    def test_a_sentence_that_is_there_twice_is_named_once_with_both_shares(self) -> None:
        cat = read_evidence(record_of(EXPLAINED))[0]
        assert [(one.text, round(one.share, 6), one.weight) for one in cat.best_sentences(9)] == [
            ("A cat has fur.", 0.18, 0.5),
            ("It purrs.", 0.12, 0.5),
        ]
        assert [crop.number for crop in cat.best_crops(1)] == [2]

    def test_nothing_explained_is_no_evidence(self) -> None:
        assert read_evidence(record_of(PLAIN)) == []


class TestTable:
    def test_classes_in_order_with_the_distance_to_the_best(self) -> None:
        lines = table(record_of(PLAIN)).splitlines()
        assert lines[0] == "pics/a.jpg"
        assert lines[2].startswith("1 cat     0.3000          │█") and lines[3].startswith(
            "2 dog     0.2500  -0.0500 │█"
        )
        assert "wca: 2 crops, 2 classes, 3 texts" in lines

    def test_sentences_and_crops_behind_each(self) -> None:
        text = table(record_of(EXPLAINED))
        assert '  +0.1800 "A cat has fur."\n  +0.1200 "It purrs."\n' in text
        assert "  +0.2000 crop 2: 80 × 80 pixels at 100, 20; weight 0.750" in text
        assert '  -0.1000 "A dog barks."' in text

    @pytest.mark.parametrize("columns", ["20", "30", "40", "60", "100"])
    def test_it_fits_the_terminal(self, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
        monkeypatch.setenv("COLUMNS", columns)
        long = replace(EXPLAINED, classes=(ClassScore("cat", 0.3, 2.0), ClassScore("dog", 0.2, 1.0)))
        text = table(record_of(long))
        assert all(len(line) <= int(columns) for line in text.splitlines())
        found = text.split()
        assert all(score in found or f"{score[:4]}…" in found for score in ("0.3000", "0.2000"))

    def test_what_a_terminal_would_obey_is_written_out(self) -> None:
        hostile = replace(PLAIN, image="\x1b[2Ja.jpg", classes=(ClassScore("c\x1bat\u202e [red]x[/]", 0.3),))
        text = table(record_of(hostile))
        assert "\x1b" not in text and "\u202e" not in text
        assert "\\x1b[2Ja.jpg" in text and "[red]x[/]" in text

    def test_zero_and_negative_scores_have_no_trouble(self) -> None:
        for score in (0.0, -0.2):
            assert f"{score:.4f}" in table(record_of(replace(PLAIN, classes=(ClassScore("a", score),))))


class TestPage:
    def test_each_of_the_best_crops_has_a_thumbnail_and_a_frame_that_its_row_marks(self) -> None:
        markup = card(record_of(EXPLAINED), THUMBNAIL)
        rows = re.findall(r'<tr class=" ?r(\d)" tabindex="0">.*?viewBox="([\d ]+)".*?href="#seen-0"', markup, re.DOTALL)
        frames = re.findall(r'class="mark h(\d)" x="(\d+)" y="(\d+)" width="(\d+)" height="(\d+)"', markup)
        assert rows == [(place, " ".join(box)) for place, *box in frames]
        assert 'viewBox="0 0 200 100"' in markup and ("1", "100", "20", "80", "80") in frames
        assert markup.count(THUMBNAIL) == 1  # the thumbnails are parts of the one picture

    def test_the_heat_map_has_a_number_in_every_cell(self) -> None:
        markup = card(record_of(EXPLAINED), THUMBNAIL)
        cells = re.findall(r'<td class="(heat|cold)-(\d)">(-?[\d.]+)</td>', markup)
        assert len(cells) == 2 * 2 + 1 * 2
        assert ("heat", "9", "1200.0") in cells and ("cold", "9", "-500.0") in cells

    def test_without_explanation_or_picture(self) -> None:
        markup = card(record_of(PLAIN), "")
        assert "no picture" in markup and "heat" not in markup and "0.3000" in markup

    def test_equal_weights_and_no_contribution_divide_by_nothing(self) -> None:
        crops = tuple(replace(crop, weight=0.5) for crop in EXPLAINED.crops)
        even = replace(EXPLAINED, crops=crops, contributions=((0.0,) * 4,) * 2)
        assert card(record_of(even), "").count('class="mark ') == 2

    def test_names_and_sentences_cannot_break_out(self) -> None:
        evil = '"><script>alert(1)</script>'
        hostile = replace(
            EXPLAINED,
            id=evil,
            image=evil,
            classes=(ClassScore(evil, 0.3, 1.0),),
            descriptions=(DescriptionWeight(evil, evil, 1.0),),
            contributions=((0.1,), (0.2,)),
        )
        markup = card(record_of(hostile), THUMBNAIL)
        assert "<script" not in markup and '">' + "<script" not in markup

    def test_a_large_matrix_is_cut_and_says_so(self) -> None:
        many = tuple(DescriptionWeight("cat", f"cat {n}", 1 / 5000) for n in range(5000))
        large = replace(
            EXPLAINED, classes=EXPLAINED.classes[:1], descriptions=many, contributions=((0.001,) * 5000,) * 2
        )
        markup = card(record_of(large), "")
        assert "2000 of 5000 sentences" in markup and markup.count("<td class=") < 7000


class TestMany:
    def test_a_line_and_a_summary(self) -> None:
        formatter, record = ClassifyFormatter(), record_of(PLAIN)
        assert formatter.line(record).plain == "0.3000  a             cat  dog 0.2500"
        tally = Tally(formatter)
        tally.add(record)
        assert summary_lines(formatter, tally.summary()) == [
            "1 picture",
            "mean score 0.3000",
            "most frequent classes: cat 1",
        ]

    def test_close_calls_come_first(self) -> None:
        formatter = ClassifyFormatter()
        close = replace(PLAIN, classes=(ClassScore("cat", 0.3), ClassScore("dog", 0.299)))
        alone = replace(PLAIN, classes=(ClassScore("cat", 0.3),))
        order = [formatter.badness(record_of(one)) for one in (close, PLAIN, alone)]
        assert order == sorted(order, reverse=True)
