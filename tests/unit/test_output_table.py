"""What a person reads: nothing lost without color, at 40 columns, in any script; nothing raw from a caption."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from clipalign.eval_results import Published
from clipalign.output.console import notices
from clipalign.output.detect import DetectFormatter
from clipalign.output.eval import eval_table
from clipalign.output.json import encode
from clipalign.output.policy import Policy
from clipalign.output.records import Entry, Record
from clipalign.output.table import IdColumn, TableWriter, signed_bar
from clipalign.results import DetectResult
from tests.results import COKE, EVALUATION, PROVENANCE, result_of

ANSI = re.compile(r"\x1b\[[0-9;]*m")


def detect_table(result: DetectResult, *, top: int | None = None) -> str:
    formatter = DetectFormatter(top=top)
    return formatter.table([result.to_dict()])


COKE_AT_80 = """\
a cup of ‹coke›
cup.jpg

  a      -0.000037                   ▐█│
  cup    +0.000210                     │█████████▌
  of     +0.000057                     │██▌
✗ coke   -0.000444 ████████████████████│

✗ misaligned: coke  (1 of 4 words, attribution below epsilon -5e-5)
CLIPScore 0.5246   F-CLIPScore -0.000351   cosine 0.2098
ViT-H-14 · weights 9a78ef8e8c73 · cpu fp32
"""

COKE_AT_40 = """\
a cup of ‹coke›
cup.jpg

  a      -0.000037         ▐│
  cup    +0.000210          │████▌
  of     +0.000057          │█
✗ coke   -0.000444 █████████│

✗ misaligned: coke  (1 of 4 words,
attribution below epsilon -5e-5)
CLIPScore 0.5246   F-CLIPScore -0.000351
cosine 0.2098
ViT-H-14 · weights 9a78ef8e8c73
cpu fp32
"""


def test_the_published_example_at_80_columns() -> None:
    assert detect_table(COKE) == COKE_AT_80


def test_versions_are_for_verbose(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notices, "verbose", True)
    assert detect_table(COKE).endswith("cpu fp32 · clipalign 0.1.0 · torch 2.13.0\nopen_clip 3.3.0 · pillow 12.0.0\n")


def test_a_table_of_many_has_a_header_and_suggestions() -> None:
    record = COKE.to_dict() | {"suggestions": [{"text": "coke", "candidates": [{"text": "tea", "gain": 0.1}]}]}
    writer, formatter = TableWriter(), DetectFormatter()
    assert writer.entry(formatter, Entry(record)).decode() == (
        "  score   id            caption\n✗ 0.5246  cup.jpg       ‹coke: tea?› in: a cup of ‹coke›\n"
    )
    assert writer.entry(formatter, Entry(record)).count(b"\n") == 1
    named = TableWriter().entry(DetectFormatter(), Entry(COKE.to_dict() | {"id": "a-name-that-is-long"})).decode()
    assert named == (
        "  score   id                   image         caption\n"
        "✗ 0.5246  a-name-that-is-long  cup.jpg       a cup of ‹coke›\n"
    )


def test_a_score_below_what_the_check_asks_for_is_marked() -> None:
    right = result_of("a cup", 1e-4, 2e-4).to_dict()
    formatter = DetectFormatter(policy=Policy(min_clip_score=99))
    assert formatter.line(right).plain.startswith("✗ ") and DetectFormatter().line(right).plain.startswith("  ")
    assert "✗ CLIPScore is below --min-clip-score\n" in formatter.table([right])


def test_the_published_example_at_40_columns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert detect_table(COKE) == COKE_AT_40


def test_color_adds_codes_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    colored = detect_table(COKE)
    assert "\x1b[1;31m‹coke›\x1b[0m" in colored
    assert [line.rstrip() for line in ANSI.sub("", colored).splitlines()] == COKE_AT_80.splitlines()


def test_no_color_wins_over_force_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert detect_table(COKE) == COKE_AT_80


def test_a_ci_service_does_not_turn_color_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert detect_table(COKE) == COKE_AT_80


def test_a_caption_that_fits_says_so() -> None:
    page = detect_table(result_of("a cup of coffee", 1e-4, 2e-4, 0.0, 3e-4))
    assert "no misaligned word  (of 4, attribution below epsilon -5e-5)" in page
    assert "✗" not in page


def test_top_keeps_the_most_negative_words_and_counts_the_rest() -> None:
    lines = detect_table(COKE, top=2).splitlines()
    assert [line.split()[-3 if "✗" in line else 0] for line in lines[3:5]] == ["coke", "a"]
    assert lines[5] == "  2 more words not shown"


def test_most_negative_mode_names_its_rule() -> None:
    settings = PROVENANCE.settings | {"mode": "most-negative"}
    page = detect_table(replace(COKE, provenance=replace(PROVENANCE, settings=settings)))
    assert "(1 of 4 words, the most negative one)" in page


def test_words_beyond_the_context_share_one_line() -> None:
    page = detect_table(result_of("a cup " + "beyond " * 428, 1e-4, -2e-4, *[None] * 428))
    assert "– not scored, beyond the context: 428 words (first: beyond)\n" in page
    assert sum("│" in line for line in page.splitlines()) == 2


def test_top_does_not_count_words_beyond_the_context() -> None:
    page = detect_table(result_of("a cup beyond", 1e-4, 2e-4, None), top=1)
    assert "  1 more word not shown\n" in page
    assert "beyond the context: 1 word (first: beyond)\n" in page


def test_a_word_of_which_nothing_is_read_keeps_its_row() -> None:
    page = detect_table(replace(result_of("a ghost cup", 1e-4, None, 2e-4), truncated=False))
    assert re.search(r"^  ghost +– +│$", page, re.MULTILINE)
    assert "– not scored: 1 word\n" in page


def test_unknown_words_are_marked_and_named() -> None:
    page = detect_table(replace(result_of("a zebra", 1e-4, 2e-4), unknown_words=("zebra",)))
    assert "\n? zebra" in page
    assert "? unknown to ViT-H-14: zebra" in page


def test_ref_clip_score_appears_with_references() -> None:
    assert "RefCLIPScore 0.5000" in detect_table(replace(COKE, references=("x",), ref_clip_score=0.5))


def test_markup_in_a_caption_is_text() -> None:
    page = detect_table(result_of("[bold red]a[/] :smile: [link=http://x]b[/link]", 1e-4, 1e-4, 1e-4, -1e-3))
    assert page.startswith("[bold red]a[/] :smile: ‹[link=http://x]b[/link]›\n")


def test_control_characters_are_readable_and_harmless() -> None:
    page = detect_table(
        replace(result_of("red\x1b[2J\x07 \u202eevil\u2066", -1e-3, 1e-4), image="a\x1b]0;t\x07\nb.png")
    )
    assert "‹red\\x1b[2J\\x07› \\u202eevil\\u2066" in page
    assert "a\\x1b]0;t\\x07\\nb.png" in page


@given(st.lists(st.text(min_size=1, max_size=12).filter(lambda t: len(t.split()) == 1), min_size=1, max_size=8))
def test_no_caption_reaches_the_terminal_raw(words: list[str]) -> None:
    text = " ".join(word.strip() for word in words)
    pieces = text.split()
    page = detect_table(replace(result_of(text, *([-1e-3] * len(pieces))), image=text, unknown_words=tuple(pieces)))
    dangerous = {c for c in page if unicodedata.category(c) in {"Cc", "Cf", "Cs", "Zl", "Zp"}} - {
        "\n",
        "\u200c",
        "\u200d",
    }
    assert not dangerous


@pytest.mark.parametrize("columns", [20, 22, 24, 32])
def test_a_narrow_terminal_loses_bars_and_no_digit(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    page = detect_table(COKE)
    assert "✗ coke   -0.000444\n" in page
    assert "│" not in page
    assert re.search(r"^la +0\.8123", eval_table(EVALUATION), re.MULTILINE)
    assert max(cell_len(line) for line in (page + eval_table(EVALUATION)).splitlines()) <= columns


@pytest.mark.parametrize("columns", [20, 24, 40, 80, 100, 300])
def test_no_line_is_wider_than_the_terminal(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    text = "一杯 可乐 👨‍👩‍👧‍👦 כוס " + "w" * 200
    page = detect_table(result_of(text, -1e-3, 1e-4, 1e-4, -2e-4, None))
    assert max(cell_len(line) for line in page.splitlines()) <= min(columns, 120)


def test_bars_of_wide_words_start_in_the_same_column() -> None:
    page = detect_table(result_of("一杯 ☕ tea", 1e-4, 2e-4, 3e-4))
    axes = {cell_len(line[: line.index("│")]) for line in page.splitlines() if "│" in line}
    assert len(axes) == 1


def test_a_stream_that_speaks_ascii_gets_ascii(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clipalign.output.table.speaks_unicode", lambda stream: False)
    page = detect_table(COKE)
    assert page.isascii()
    assert "a cup of <coke>" in page
    assert "x coke   -0.000444 ####################|" in page


@pytest.mark.parametrize(
    ("value", "left", "right"),
    [
        (1.0, "    ", "████"),
        (-1.0, "████", "    "),
        (-0.5, "  ██", "    "),
        (0.4, "    ", "█▌  "),
        (0.0, "    ", "    "),
    ],
)
def test_a_bar_grows_from_the_axis(value: float, left: str, right: str) -> None:
    bar = signed_bar(value, largest=1.0, cells=4)
    assert bar == (left, "│", right)


def test_a_tiny_value_still_shows_which_side_it_is_on(monkeypatch: pytest.MonkeyPatch) -> None:
    assert signed_bar(-0.002, largest=1.0, cells=4).left == "   ▐"
    assert signed_bar(-1e-9, largest=1.0, cells=4).left == "    "  # it is written as 0
    monkeypatch.setattr("clipalign.output.table.speaks_unicode", lambda stream: False)
    assert signed_bar(-0.002, largest=1.0, cells=4).left == "   #"


def test_no_word_scored_is_no_crash() -> None:
    assert "– not scored, beyond the context: 1 word (first: word)" in detect_table(result_of("word", None))


METRICS_AT_80 = """\
foil: ViT-B-32, 10000 samples, 3 unreadable

metric                ours    95% interval      n  chance   published     diff
la                  0.8123  0.800 to 0.824   5000  0.1000  0.8100 [1]  +0.0023
                                                           0.8500 [2]  -0.0377
ap_clip_score       0.7071  0.700 to 0.715  10000  0.5000
pairs_ranked_right  0.9000                   5000

[1] ViT-B/32, CLIP4DM table 2
[2] ViT-H/14, CLIP4DM table 2
note: a part of the data set
weights 9a78ef8e8c73 · cpu fp32 · seed 0
"""


def test_metrics_stand_beside_published_numbers_and_their_sources() -> None:
    assert eval_table(EVALUATION) == METRICS_AT_80


def numbers_shown(model: str, *backbones: str) -> list[str]:
    published = tuple(Published("la", 0.5, backbone, "a paper") for backbone in backbones)
    page = eval_table(replace(EVALUATION, model=model, published=published))
    return re.findall(r"^\[\d\] (.*), a paper$", page, re.MULTILINE)


def test_of_many_published_numbers_those_of_the_models_backbone_and_of_other_methods_are_shown() -> None:
    papers = ("ViT-B/32 openai", "ViT-H/14 laion2b", "ViT-B/16 openai", "ALOHa")
    assert numbers_shown("ViT-B-32", *papers) == ["ViT-B/32 openai", "ALOHa"]
    assert numbers_shown("ViT-H-14", *papers) == ["ViT-H/14 laion2b", "ALOHa"]
    assert numbers_shown("ViT-B-16@laion2b_s34b_b88k", *papers) == ["ViT-B/16 openai", "ALOHa"]
    assert numbers_shown("pictogram", *papers) == ["ViT-B/32 openai", "ViT-H/14 laion2b", "ALOHa"]
    assert numbers_shown("longclip-B", "CLIP ViT-B/16", "Long-CLIP-B", "CLIP ViT-L/14", "Long-CLIP-L") == [
        "Long-CLIP-B",
        "Long-CLIP-L",
    ]


def test_published_numbers_that_are_left_out_are_counted() -> None:
    published = tuple(Published("la", 0.5, f"ViT-B/{patch}", "a paper") for patch in (8, 16, 32, 64))
    page = eval_table(replace(EVALUATION, published=published))
    assert "3 more published numbers, of other backbones: --format json\n" in page


def test_at_40_columns_metrics_keep_ours_and_published(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    page = eval_table(EVALUATION)
    assert "la                  0.8123  0.8100 [1]" in page
    assert max(map(len, page.splitlines())) <= 40


def test_the_detect_record_has_the_promised_keys_in_order() -> None:
    record = json.loads(encode(COKE.to_dict()))
    assert list(record) == [
        "id", "image", "text", "model", "cosine", "clip_score", "f_clip_score", "sum_negative_attribution",
        "misaligned", "words", "n_tokens", "truncated", "unknown_words", "warnings", "provenance",
    ]  # fmt: skip
    assert list(record["words"][0]) == ["text", "start", "end", "attribution", "misaligned", "scored"]
    assert record["cosine"] == COKE.cosine
    assert all(record["text"][w["start"] : w["end"]] == w["text"] for w in record["words"])


def test_references_appear_only_when_given() -> None:
    record = json.loads(encode(replace(COKE, references=("x",), ref_clip_score=0.5).to_dict()))
    assert (record["references"], record["ref_clip_score"]) == (["x"], 0.5)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
def test_a_number_that_is_not_finite_is_refused_by_its_place(bad: float) -> None:
    with pytest.raises(ValueError, match=r"record\.cosine is"):
        encode(replace(COKE, cosine=bad).to_dict())


def test_a_file_name_that_is_no_utf8_still_makes_json() -> None:
    assert json.loads(encode(replace(COKE, image="\udcff.png").to_dict()))["image"] == "\\udcff.png"


def test_the_eval_document_keeps_value_and_source() -> None:
    record = json.loads(encode(EVALUATION.to_dict()))
    assert record["metrics"] == {"la": 0.8123, "ap_clip_score": 0.7071, "pairs_ranked_right": 0.9}
    assert record["intervals"]["la"] == {"n": 5000, "low": 0.8, "high": 0.824, "chance": 0.1}
    assert [number["backbone"] for number in record["published"]["la"]] == ["ViT-B/32", "ViT-H/14"]


def record_of(text: str, *values: float, id: str) -> Record:
    return replace(result_of(text, *values), id=id).to_dict()


class TestIdColumn:
    """The ids of a table, line by line."""

    def test_what_follows_lines_up_behind_ids_of_like_length(self) -> None:
        formatter = DetectFormatter()
        ids = [f"pr-1234/scene-{number:05}" for number in range(3)] + ["short"]
        lines = [formatter.line(record_of("red dogs", 1e-4, 1e-4, id=id)).plain for id in ids]
        assert {line.index("red dogs") for line in lines} == {len(f"  0.5246  {ids[0]}  {'cup.jpg':12}  ")}

    def test_an_id_that_numbers_the_picture_names_it(self) -> None:
        formatter = DetectFormatter()
        ids = ["cup.jpg", "cup.jpg#2"]
        lines = [formatter.line(record_of("red dogs", 1e-4, 1e-4, id=id)).plain for id in ids]
        assert lines[1] == f"  0.5246  {ids[1]:12}  red dogs"

    def test_after_a_longer_id_shorter_ones_are_filled_up(self) -> None:
        column = IdColumn()
        cells = [column.cell(name) for name in ("cat", "breakfast.png", "cat")]
        assert cells == ["cat".ljust(12), "breakfast.png", "cat".ljust(13)]

    def test_cells_of_the_terminal_count(self) -> None:
        column = IdColumn()
        assert [cell_len(column.cell(name)) for name in ("一二三四五六", "cat", "é" * 40, "一" * 40)] == [
            12,
            12,
            24,
            24,
        ]

    def test_of_a_long_path_the_end_is_shown(self) -> None:
        assert IdColumn().cell("images/validation/000000123456.jpg") == "…dation/000000123456.jpg"

    def test_every_run_begins_anew(self) -> None:
        first, second = (DetectFormatter().line(record_of("dogs", 1e-4, id=id)).plain for id in ("a" * 20, "7"))
        assert first.index("dogs") == second.index("dogs") + 8
