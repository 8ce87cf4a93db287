"""``clipalign detect`` as a user meets it: status, stdout, stderr."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from PIL import ExifTags, Image

from clipalign.cli import main
from tests.cli.run import IMAGE, ROOT, TINY, run_here

Capture = pytest.CaptureFixture[str]
TEXT = "a cup of coke and a dog"


def test_a_table(capsys: Capture) -> None:
    status, out, err = run_here(capsys, "detect", IMAGE, TEXT, "--model", TINY, "--format", "table")
    assert (status, err) == (0, "")
    assert out.startswith("‹a› ‹cup› of ‹coke› and ‹a› dog\n")
    assert "✗ misaligned: cup, coke, a  (4 of 7 words, attribution below epsilon -5e-5)\n" in out
    assert re.search(r"^CLIPScore 0\.1707 +F-CLIPScore -0\.00403 +cosine 0\.0683$", out, re.MULTILINE)
    assert "weights e96270fb03c6" in out


def test_a_pipe_gets_one_json_document(capsys: Capture) -> None:
    status, out, err = run_here(capsys, "detect", IMAGE, TEXT, "--model", TINY)
    assert (status, err) == (0, "")
    record = json.loads(out)
    assert (record["image"], record["text"], record["model"]) == (IMAGE, TEXT, TINY)
    assert record["misaligned"] == ["cup", "coke", "a", "a"]
    assert [TEXT[word["start"] : word["end"]] for word in record["words"]] == TEXT.split()
    assert record["provenance"]["settings"]["layers"] == 3
    assert record["provenance"]["precision"] == "fp32"


def test_options_reach_the_numbers_and_the_provenance(capsys: Capture) -> None:
    line = ["detect", IMAGE, TEXT, "--model", TINY, "--mode", "most-negative", "--layers", "1", "--template", ""]
    line += [
        "--epsilon",
        "-0.5",
        "--seed",
        "7",
        "--batch-size",
        "2",
        "--reference",
        "a cup",
        "--reference",
        "a dog",
    ]
    record = json.loads(run_here(capsys, *line).out)
    assert record["misaligned"] == [min(record["words"], key=lambda word: word["attribution"])["text"]]
    assert record["references"] == ["a cup", "a dog"]
    assert 0 <= record["ref_clip_score"] <= 2.5
    settings = record["provenance"]["settings"]
    assert (settings["mode"], settings["layers"], settings["template"]) == ("most-negative", 1, "")
    assert (settings["epsilon"], settings["batch_size"], record["provenance"]["seed"]) == (-0.5, 2, 7)


def test_check_sets_the_status(capsys: Capture) -> None:
    line = ["detect", IMAGE, TEXT, "--model", TINY, "--check"]
    assert run_here(capsys, *line).status == 1
    assert run_here(capsys, *line, "--epsilon", "-1").status == 0


def test_top_shortens_the_table_and_not_the_json(capsys: Capture) -> None:
    line = ["detect", IMAGE, TEXT, "--model", TINY, "--top", "2"]
    table = run_here(capsys, *line, "--format", "table").out
    assert "5 more words not shown" in table
    assert len(json.loads(run_here(capsys, *line, "--format", "json").out)["words"]) == 7


def test_words_past_the_context_are_reported_and_warned_of(capsys: Capture) -> None:
    status, out, err = run_here(capsys, "detect", IMAGE, "word " * 500, "--model", TINY)
    record = json.loads(out)
    assert status == 0
    assert record["truncated"]
    assert len(record["words"]) == 500
    assert not record["words"][-1]["scored"]
    assert record["warnings"]
    assert err == "".join(f"warning: {warning}\n" for warning in record["warnings"])
    assert run_here(capsys, "detect", IMAGE, "word " * 500, "--model", TINY, "-q").err == ""


def test_an_image_from_standard_input(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(Path(IMAGE).read_bytes())))
    status, out, _ = run_here(capsys, "detect", "-", "a cup", "--model", TINY)
    assert status == 0
    assert json.loads(out)["image"] == "-"


@pytest.mark.parametrize("stdin", [None, io.TextIOWrapper(io.BytesIO())])
def test_standard_input_closed_or_empty_is_a_sentence(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, stdin: io.TextIOWrapper | None
) -> None:
    monkeypatch.setattr("sys.stdin", stdin)
    status, out, err = run_here(capsys, "detect", "-", "a cup", "--model", TINY)
    assert (status, out) == (3 if stdin else 2, "")
    assert "standard input is" in err


def test_a_text_that_is_a_dash_is_that_word(capsys: Capture) -> None:
    assert json.loads(run_here(capsys, "detect", IMAGE, "-", "--model", TINY).out)["words"][0]["text"] == "-"


def test_a_text_that_begins_with_a_dash_comes_after_two(capsys: Capture) -> None:
    out = run_here(capsys, "detect", "--model", TINY, "--", IMAGE, "-5 degrees").out
    assert json.loads(out)["text"] == "-5 degrees"


@pytest.mark.parametrize("text", ["", " ", "\n\t"])
def test_an_empty_text_is_wrong_usage(capsys: Capture, text: str) -> None:
    said = "error: TEXT is empty\nhint: give at least one word, in quotes\n"
    assert run_here(capsys, "detect", IMAGE, text, "--model", TINY) == (2, "", said)
    assert run_here(capsys, "detect", IMAGE, "a", "--reference", text).err.startswith("error: --reference is empty\n")


def test_a_text_of_punctuation_is_wrong_usage_like_an_empty_one(capsys: Capture) -> None:
    line = ("detect", IMAGE, "...", "--model", TINY, "--format", "json")
    status, out, err = run_here(capsys, *line)
    assert (status, out) == (2, "")
    error = json.loads(err)["error"]
    assert (error["message"], error["input"]) == ("TEXT has no word to score", "TEXT")


@pytest.mark.parametrize("image", ["", " "])
def test_an_empty_image_is_wrong_usage(capsys: Capture, image: str) -> None:
    said = "error: IMAGE is empty\nhint: give a path, an http(s) URL, or -\n"
    assert run_here(capsys, "detect", image, "a cup", "--model", TINY) == (2, "", said)


def test_control_characters_come_out_escaped_in_every_format(capsys: Capture) -> None:
    for format in ("table", "json"):
        line = ["detect", IMAGE, "a \x1b[31mred\x07 cup", "--model", TINY, "--format", format]
        status, out, err = run_here(capsys, *line)
        assert status == 0
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f]", out + err)


def odd_picture(kind: str, folder: Path) -> Path:
    """A picture that is unlike most; ``bomb`` is a small file that says it holds 3600 million pixels."""
    ground = Image.new("RGB", (48, 32), "teal")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    path = folder / f"{kind}{'.jpg' if kind in ('cmyk', 'exif') else '.gif' if kind == 'animated' else '.png'}"
    match kind:
        case "animated":
            ground.save(path, save_all=True, append_images=[Image.new("RGB", ground.size, "red")])
        case "cmyk":
            ground.convert("CMYK").save(path)
        case "16-bit":
            Image.new("I;16", ground.size, 40_000).save(path)
        case "alpha":
            Image.new("RGBA", ground.size, (0, 128, 128, 64)).save(path)
        case "exif":
            ground.save(path, exif=turned)
        case "bomb":
            ground.save(path)
            header = b"IHDR" + struct.pack(">II", 60_000, 60_000) + path.read_bytes()[24:29]
            whole = path.read_bytes()
            path.write_bytes(whole[:12] + header + struct.pack(">I", zlib.crc32(header)) + whole[33:])
    return path


@pytest.mark.parametrize("kind", ["animated", "cmyk", "16-bit", "alpha", "exif"])
def test_an_odd_picture_is_read_without_a_word(capsys: Capture, tmp_path: Path, kind: str) -> None:
    status, out, err = run_here(capsys, "detect", str(odd_picture(kind, tmp_path)), "a cup", "--model", TINY)
    assert (status, err) == (0, "")
    assert len(json.loads(out)["words"]) == 2


def test_a_decompression_bomb_is_refused_in_a_sentence_with_status_3(capsys: Capture, tmp_path: Path) -> None:
    path = odd_picture("bomb", tmp_path)
    status, out, err = run_here(capsys, "detect", str(path), "a cup", "--model", TINY)
    assert (status, out) == (3, "")
    said, hint = err.splitlines()
    assert said.startswith(f"error: {path} is too large")
    assert hint == "hint: make it smaller first"


@pytest.fixture
def bad_images(tmp_path: Path) -> dict[str, Path]:
    """Files that are no usable picture."""
    paths = {name: tmp_path / f"{name}.png" for name in ("missing", "empty", "text", "cut", "folder")}
    paths["empty"].write_bytes(b"")
    paths["text"].write_text("not a picture")
    Image.effect_noise((64, 64), 100).save(paths["cut"])
    paths["cut"].write_bytes(paths["cut"].read_bytes()[:900])
    paths["folder"].mkdir()
    return paths


@pytest.mark.parametrize("name", ["missing", "empty", "text", "cut", "folder"])
def test_an_unreadable_image_is_one_or_two_lines_and_status_3(
    capsys: Capture, bad_images: dict[str, Path], name: str
) -> None:
    status, out, err = run_here(capsys, "detect", str(bad_images[name]), "a cup", "--model", TINY)
    assert (status, out) == (3, "")
    assert str(bad_images[name]) in err
    assert err.startswith("error: ")
    assert err.count("\n") <= 2
    status, out, err = run_here(capsys, "detect", str(bad_images[name]), "a cup", "--model", TINY, "--format", "json")
    assert (status, out) == (3, "")
    assert json.loads(err)["error"]["input"] == str(bad_images[name])


def test_missing_weights_name_the_line_that_fetches_them_and_the_model_that_is_here(capsys: Capture) -> None:
    status, out, err = run_here(capsys, "detect", IMAGE, "a cup", "--offline")
    assert (status, out) == (4, "")
    first, hint = err.splitlines()
    assert first.startswith("error: the weights of ViT-B-32 are not on this machine")
    assert hint.startswith("hint: clipalign download ViT-B-32; or --model pictogram")
    assert "; or --model pictogram" in hint


def test_an_unknown_model_comes_with_a_suggestion(capsys: Capture) -> None:
    status, _, err = run_here(capsys, "detect", IMAGE, "a cup", "--model", "ViT-B32")
    assert status == 2
    assert "did you mean ViT-B-32" in err


def test_the_model_variable_sets_the_default(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPALIGN_MODEL", TINY)
    assert json.loads(run_here(capsys, "detect", IMAGE, "a cup").out)["model"] == TINY


@pytest.mark.parametrize("device", ["gpu", "cuda:99"])
def test_an_unknown_or_absent_device_is_wrong_usage(capsys: Capture, device: str) -> None:
    status, out, err = run_here(capsys, "detect", IMAGE, "a cup", "--model", TINY, "--device", device)
    assert (status, out) == (2, "")
    assert device in err


def test_a_precision_the_device_lacks_falls_back_and_says_so(capsys: Capture) -> None:
    status, out, err = run_here(
        capsys, "detect", IMAGE, "a cup", "--model", TINY, "--device", "cpu", "--precision", "fp16"
    )
    assert status == 0
    assert err.startswith("warning: ")
    assert "fp32 instead of fp16" in err
    assert json.loads(out)["provenance"]["precision"] == "fp32"


def test_a_reader_that_leaves_early_changes_neither_status_nor_stderr(program: list[str]) -> None:
    shell = shutil.which("bash")
    if shell is None:
        pytest.skip("needs bash")
    line = '"$@" | head -c 1 >/dev/null; echo ${PIPESTATUS[0]}'
    command = [*program, "detect", IMAGE, TEXT, "--model", TINY, "--epsilon=-5e-5", "--check"]
    done = subprocess.run([shell, "-c", line, "-", *command], capture_output=True, cwd=ROOT, timeout=600)
    assert (done.stdout, done.stderr) == (b"1\n", b"")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_on_a_terminal_of_80_columns_the_table_is_colored_and_fits(program: list[str]) -> None:
    pexpect = pytest.importorskip("pexpect")
    environment = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "COLUMNS")}
    child = pexpect.spawn(
        program[0],
        [*program[1:], "detect", IMAGE, TEXT, "--model", TINY, "--epsilon=-5e-5"],
        dimensions=(24, 80), env=environment, cwd=str(ROOT), encoding="utf-8", timeout=600,
    )  # fmt: skip
    child.expect(pexpect.EOF)
    child.close()
    lines = child.before.splitlines()
    assert child.exitstatus == 0
    assert lines[0].startswith("\x1b[1;31m‹a›\x1b[0m")
    assert max(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) for line in lines) <= 80


def test_an_epsilon_that_was_not_tested_on_the_model_is_said_and_kept(capsys: Capture) -> None:
    line = ("detect", IMAGE, TEXT, "--model", TINY, "--format", "json")
    assert main(line) == 0
    out, err = capsys.readouterr()
    (note,) = [note for note in json.loads(out)["provenance"]["notes"] if "epsilon" in note]
    assert note.startswith(f"epsilon -5e-05 is a guess for {TINY}") and err == f"warning: {note}\n"
    for settled in (("--epsilon=-5e-5",), ("--mode", "most-negative"), ("--model", "pictogram")):
        assert main((*line, *settled)) == 0
        out, err = capsys.readouterr()
        assert "epsilon" not in " ".join([err, *json.loads(out)["provenance"]["notes"]])
