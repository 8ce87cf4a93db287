"""``clipalign score-long`` as a user sees it: status, stdout, stderr."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from clipalign.pictogram.scenes import HERE
from tests.cli.run import GOLDEN, IMAGE, TINY, Run, run_apart, run_here

Capture = pytest.CaptureFixture[str]
PICTURE = str(HERE / "example.png")  # a cat and two balloons on blue
TRUE = "There is a cat. There are two balloons. The background is blue."
WRONG = f"{TRUE} There is a dog."
LONG = ("--model", "pictogram-long")


def scored(capsys: Capture, *arguments: str) -> tuple[int, dict[str, Any], str]:
    run = run_here(capsys, "score-long", *arguments, "--format", "json")
    return run.status, json.loads(run.out), run.err


def failed(capsys: Capture, *arguments: str) -> Run:
    run = run_here(capsys, "score-long", *arguments)
    assert run.out == ""
    return run


class TestOneText:
    def test_the_embedded_model_finds_the_wrong_sentence(self, capsys: Capture) -> None:
        status, record, err = scored(capsys, PICTURE, WRONG, *LONG, "--check")
        assert (status, err) == (1, "")
        assert [sentence["lowers"] for sentence in record["sentences"]] == [False, False, False, True]
        assert scored(capsys, PICTURE, TRUE, *LONG, "--check")[0] == 0

    def test_a_wrong_first_sentence_is_found_too(self, capsys: Capture) -> None:
        status, record, _ = scored(capsys, PICTURE, f"There is a dog. {TRUE}", *LONG, "--check")
        assert status == 1
        assert [sentence["lowers"] for sentence in record["sentences"]] == [True, False, False, False]
        assert (
            scored(capsys, PICTURE, f"There is a dog. {TRUE}", *LONG, "--check", "--contribution", "increment")[0] == 0
        )

    def test_the_record_has_the_fields_of_the_documentation(self, capsys: Capture) -> None:
        _, record, _ = scored(capsys, PICTURE, WRONG, *LONG)
        assert list(record) == [
            "id", "image", "text", "model", "cosine", "specs_score", "clip_score", "n_tokens", "truncated",
            "sentences", "unknown_words", "warnings", "provenance",
        ]  # fmt: skip
        names = ["text", "start", "end", "cosine", "specs_score", "increment"]
        names += ["contribution", "standard_error", "lowers", "cut"]
        for sentence in record["sentences"]:
            assert list(sentence) == names
            assert record["text"][sentence["start"] : sentence["end"]] == sentence["text"]
        assert record["specs_score"] == pytest.approx((record["cosine"] + 1) / 2)

    def test_the_margin_decides_what_is_found(self, capsys: Capture) -> None:
        status, record, _ = scored(capsys, PICTURE, WRONG, *LONG, "--check", "--margin", "0.5")
        assert status == 0 and not any(sentence["lowers"] for sentence in record["sentences"])

    def test_by_phrase(self, capsys: Capture) -> None:
        _, record, _ = scored(capsys, PICTURE, "a cat on the left, and two balloons", *LONG, "--by", "phrase")
        assert [sentence["text"] for sentence in record["sentences"]] == ["a cat", "on the left,", "and two balloons"]

    def test_a_golden_checkpoint_alone(self, capsys: Capture) -> None:
        golden = json.loads((GOLDEN / "specs.json").read_text())
        sample, table = golden["samples"][0], golden["similarity_table"][0]
        model = str(GOLDEN / "tiny-longclip.safetensors")
        _, record, _ = scored(capsys, str(GOLDEN / sample["image"]), sample["caption"], "--model", model)
        for sentence, (cosine, _) in zip(record["sentences"][:5], table, strict=False):
            assert sentence["cosine"] == pytest.approx(cosine, abs=1e-6)

    def test_the_table_marks_what_lowers_and_shows_signs(self, capsys: Capture) -> None:
        run = run_here(capsys, "score-long", PICTURE, WRONG, *LONG, "--format", "table")
        lines = run.out.splitlines()
        marked = [line for line in lines if line.startswith("✗ There is a dog.")]
        assert len(marked) == 1 and " -0." in marked[0] and "░" in marked[0]
        assert any(line.startswith("  There are two balloons.") and " +0." in line for line in lines)
        assert "✗ 1 of 4 sentences lowers the score by more than 0.0001  (number 4)" in lines


class TestSeveralTexts:
    def test_are_ranked_in_the_table(self, capsys: Capture) -> None:
        run = run_here(capsys, "score-long", PICTURE, "There is a dog.", TRUE, *LONG, "--format", "table")
        ranks = [line.split() for line in run.out.splitlines() if line.lstrip()[:2] in ("1 ", "2 ")]
        assert ranks[0][-5:-3] != ranks[1][-5:-3]
        assert ranks[0][4:7] == ["of", "3", "2:"] and ranks[1][4:7] == ["of", "1", "1:"]

    def test_are_all_in_the_document_in_the_order_given(self, capsys: Capture, tmp_path: Path) -> None:
        (tmp_path / "long.txt").write_bytes(b"\xef\xbb\xbf" + WRONG.encode())
        file = str(tmp_path / "long.txt")
        _, document, _ = scored(capsys, PICTURE, "a cat", "two balloons", "--text-file", file, *LONG)
        assert [record["id"] for record in document["results"]] == ["1", "2", file]
        assert document["results"][2]["text"] == WRONG

    def test_a_tilde_is_the_home_folder(self, capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("HOME", str(tmp_path))
        (tmp_path / "long.txt").write_text(WRONG)
        _, record, _ = scored(capsys, PICTURE, "--text-file", "~/long.txt", *LONG)
        assert record["text"] == WRONG

    def test_check_looks_at_all_of_them(self, capsys: Capture) -> None:
        assert scored(capsys, PICTURE, TRUE, WRONG, *LONG, "--check")[0] == 1


class TestContext:
    def test_an_ordinary_model_is_stretched_with_a_warning(self, capsys: Capture) -> None:
        _, record, err = scored(capsys, IMAGE, "A red car stands there near two dogs. " * 12, "--model", TINY)
        assert not record["truncated"] and record["provenance"]["settings"]["context_tokens"] == 248
        assert "--no-stretch" in err

    def test_or_asked_to_read_its_own_context(self, capsys: Capture) -> None:
        text = "A red car stands there near two dogs. " * 12
        _, record, err = scored(capsys, IMAGE, text, "--model", TINY, "--no-stretch")
        assert record["truncated"] and "reads 77 of the text's 110 tokens; sentence 9 is scored by its beginning" in err
        assert record["sentences"][8]["cut"] and record["sentences"][9]["cosine"] is None

    def test_what_is_beyond_it_is_counted_in_the_table(self, capsys: Capture) -> None:
        run = run_here(capsys, "score-long", PICTURE, WRONG * 30, *LONG, "--format", "table", "-q")
        assert "more beyond the context" in run.out and "not scored, beyond the context: " in run.out


class TestMistakes:
    def test_without_weights_the_download_is_named(self, capsys: Capture) -> None:
        run = failed(capsys, PICTURE, TRUE)
        assert run.status == 4 and "clipalign download specs" in run.err

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((), "missing IMAGE"),
            (("a.png", "long.txt"), "to score what it holds: --text-file long.txt"),
            (("a.png",), "missing TEXT"),
            (("a.png", " "), "TEXT is empty"),
            (("a.png", "..."), "TEXT has no word to score"),
            (("a.png", "a dog", "--by", "word"), "--by must be sentence or phrase"),
            (("a.png", "a dog", "--margin", "-1"), "--margin must be a number, 0 or more"),
            (("-", "--text-file", "-"), "only one of IMAGE and --text-file can be -"),
        ],
    )
    def test_in_the_line(self, capsys: Capture, arguments: tuple[str, ...], said: str) -> None:
        run = failed(capsys, *arguments, *LONG)
        assert run.status == 2 and said in run.err

    def test_in_files(self, capsys: Capture, tmp_path: Path) -> None:
        (tmp_path / "latin.txt").write_bytes("café".encode("latin-1"))
        (tmp_path / "empty.txt").touch()
        for name, status, said in [
            ("nope.txt", 3, "cannot be read: No such file"),
            ("latin.txt", 3, "is not text in UTF-8"),
            ("empty.txt", 2, "is empty"),
        ]:
            run = failed(capsys, PICTURE, "--text-file", str(tmp_path / name), *LONG)
            assert run.status == status and said in run.err

    def test_a_picture_that_is_none(self, capsys: Capture) -> None:
        run = failed(capsys, str(GOLDEN / "specs.json"), TRUE, *LONG)
        assert run.status == 3 and "specs.json" in run.err


def test_a_text_on_standard_input(program: list[str]) -> None:
    run = run_apart("score-long", PICTURE, "--text-file", "-", *LONG, program=program, stdin=WRONG.encode())
    assert run.status == 0 and json.loads(run.out)["text"] == WRONG


def pairs_file(folder: Path) -> Path:
    """Three texts about one picture, one about none, one without a word."""
    rows = [
        {"id": "true", "image": PICTURE, "text": TRUE},
        {"id": "wrong", "image": PICTURE, "text": WRONG},
        {"id": "gone", "image": "nowhere.png", "text": TRUE},
        {"id": "mute", "image": PICTURE, "text": "..."},
        {"id": "long", "image": PICTURE, "text": TRUE * 30},
    ]
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


class TestManyPairs:
    def test_a_record_each_and_an_error_where_there_is_none(self, capsys: Capture, tmp_path: Path) -> None:
        run = run_here(capsys, "score-long", "--input", str(pairs_file(tmp_path)), *LONG, "--check")
        records = [json.loads(line) for line in run.out.splitlines()]
        assert run.status == 3
        assert [record["id"] for record in records] == ["true", "wrong", "gone", "mute", "long"]
        assert [record.get("error", {}).get("type") for record in records] == [
            None, None, "image_unreadable", "text_unusable", None
        ]  # fmt: skip
        assert records[4]["truncated"] and records[1]["sentences"][3]["lowers"]
        assert "with lowering sentences" in run.err

    def test_the_same_numbers_as_alone(self, capsys: Capture, tmp_path: Path) -> None:
        run = run_here(capsys, "score-long", "--input", str(pairs_file(tmp_path)), *LONG)
        many = json.loads(run.out.splitlines()[1])
        _, alone, _ = scored(capsys, PICTURE, WRONG, *LONG)
        for here, there in zip(many["sentences"], alone["sentences"], strict=True):
            assert here["cosine"] == pytest.approx(there["cosine"], abs=1e-6)

    def test_resumed_output_is_that_of_one_run(self, capsys: Capture, tmp_path: Path) -> None:
        source, whole, torn = pairs_file(tmp_path), tmp_path / "whole.jsonl", tmp_path / "torn.jsonl"
        line = ("score-long", "--input", str(source), *LONG, "--output")
        assert run_here(capsys, *line, str(whole)).status == 3
        lines = whole.read_bytes().splitlines(keepends=True)
        torn.write_bytes(b"".join(lines[:3]) + lines[3][: len(lines[3]) // 2])
        assert run_here(capsys, *line, str(torn), "--resume").status == 3
        assert len(torn.read_bytes().splitlines()) == len(lines)
        assert run_here(capsys, *line, str(torn), "--resume", "--margin", "0.1").status == 2

    def test_a_page_with_its_worst_text_first(self, capsys: Capture, tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        run_here(capsys, "score-long", "--input", str(pairs_file(tmp_path)), *LONG, "--output", str(page))
        html = page.read_text()
        assert html.index("There is a dog.") < html.index(">true<")
        assert '<rect class="wrong"' in html and "<mark" in html and "✗" in html and "data:image" in html

    def test_annotations_name_the_sentence(self, capsys: Capture, tmp_path: Path) -> None:
        run = run_here(capsys, "score-long", "--input", str(pairs_file(tmp_path)), *LONG, "--format", "github")
        warning = next(line for line in run.out.splitlines() if "wrong" in line)
        assert warning.startswith("::warning ") and "There is a dog. (-0." in warning and "line=2" in warning

    def test_a_line_each_in_the_table(self, capsys: Capture, tmp_path: Path) -> None:
        run = run_here(capsys, "score-long", "--input", str(pairs_file(tmp_path)), *LONG, "--format", "table")
        lines = run.out.splitlines()[1:]
        assert lines[1].startswith("✗ 0.") and " 1/4 " in lines[1] and "There is a dog. in: There is a cat." in lines[1]
        assert lines[2].startswith("! unreadable  gone")

    @pytest.mark.parametrize(
        ("arguments", "said"),
        [
            ((PICTURE, "--input", "x.csv"), "IMAGE and --input exclude each other"),
            (("--input", "x.csv", "--text-file", "a.txt"), "--text-file and --input exclude each other"),
            ((PICTURE, "a dog", "--resume"), "--resume is for many pairs"),
        ],
    )
    def test_options_that_do_not_belong_together(self, capsys: Capture, arguments: tuple[str, ...], said: str) -> None:
        run = failed(capsys, *arguments, *LONG)
        assert run.status == 2 and said in run.err


class TestFormatsOfFewTexts:
    def test_lines_csv_and_page(self, capsys: Capture, tmp_path: Path) -> None:
        few = ("score-long", PICTURE, TRUE, WRONG, *LONG)
        assert len(run_here(capsys, *few, "--format", "jsonl").out.splitlines()) == 2
        header, *rows = run_here(capsys, *few, "--format", "csv").out.splitlines()
        assert header.startswith("id,image,text,specs_score,clip_score,cosine,sentences,") and len(rows) == 2
        assert run_here(capsys, *few, "--output", str(tmp_path / "a.html")).status == 0
        assert "clipalign score-long" in (tmp_path / "a.html").read_text()

    def test_an_unreadable_picture_skipped(self, capsys: Capture) -> None:
        run = run_here(capsys, "score-long", "nowhere.png", TRUE, WRONG, *LONG, "--on-error", "skip")
        assert run.status == 3 and [json.loads(line)["id"] for line in run.out.splitlines()] == ["1", "2"]
