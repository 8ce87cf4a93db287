"""Workflow commands: one line a record, whatever is in it; places as GitHub looks for them."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from clipalign.output.detect import DetectFormatter
from clipalign.output.github import (
    MAX_MESSAGE_CHARACTERS,
    annotation,
    escaped_message,
    escaped_property,
    workspace_path,
)
from clipalign.output.records import Entry, Record
from tests.records import asked, finished
from tests.results import COKE, result_of

FORMATTER = DetectFormatter()
COMMAND = re.compile(r"::(?P<kind>warning|error) (?P<properties>[^:]*)::(?P<message>[^\r\n]*)\n")


def record_of(text: str = "a cup of coke", image: str = "cup.jpg", id: str = "7") -> Record:
    return replace(COKE, text=text, image=image, id=id).to_dict()


def read_back(text: str) -> str:
    """As a runner reads an escaped value."""
    for code, character in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
        text = text.replace(code, character)
    return text


def test_a_misaligned_pair_points_at_its_line() -> None:
    assert annotation(FORMATTER, Entry(record_of(), "data/pairs.jsonl", 12)) == (
        "::warning file=data/pairs.jsonl,line=12,title=clipalign detect%3A 7::"
        "misaligned with cup.jpg: coke (CLIPScore 0.5246) in: a cup of coke\n"
    )


def test_a_pair_that_fits_says_nothing() -> None:
    fits = result_of("a cup", 1e-4, 1e-4).to_dict()
    assert annotation(FORMATTER, Entry(fits, "pairs.jsonl", 1)) == ""


def test_a_pair_that_cannot_be_read_is_an_error() -> None:
    record = finished(asked(4, "a cup")).answer.to_dict()
    assert annotation(FORMATTER, Entry(record, "pairs.jsonl", 5)) == (
        "::error file=pairs.jsonl,line=5,title=pair 5 cannot be read::4.png does not exist; is the name right?\n"
    )


def test_without_lines_it_points_at_the_file_and_without_a_file_at_nothing() -> None:
    assert annotation(FORMATTER, Entry(record_of(), "shard.tar", 0)).startswith("::warning file=shard.tar,title=")
    assert annotation(FORMATTER, Entry(record_of(), "-", 3)).startswith("::warning title=")


def test_a_typed_pair_points_at_its_image() -> None:
    assert annotation(FORMATTER, Entry(record_of())).startswith("::warning file=cup.jpg,title=")
    for image in ("-", "https://example.org/a.jpg"):
        assert annotation(FORMATTER, Entry(record_of(image=image))).startswith("::warning title=")


@given(st.text(), st.text(), st.text())
def test_nothing_in_a_record_begins_a_command_of_its_own(text: str, image: str, name: str) -> None:
    line = annotation(FORMATTER, Entry(record_of(text, image, name), image, 3))
    found = COMMAND.fullmatch(line)
    assert found
    assert [part.partition("=")[0] for part in found["properties"].split(",")][-1] == "title"
    assert len(found["properties"].split(",")) <= 3


@given(st.text(st.characters(exclude_categories=["Cc", "Cf", "Cs", "Zl", "Zp"]) | st.just("\n")))
def test_a_runner_reads_back_what_was_meant(text: str) -> None:
    assert read_back(escaped_message(text)) == text
    assert read_back(escaped_property(text)) == text


def test_the_documented_escapes() -> None:
    assert escaped_message("100%\r\na:b,c") == "100%25%0Aa:b,c"
    assert escaped_property("100%\na:b,c") == "100%25%0Aa%3Ab%2Cc"


def test_long_texts_are_cut() -> None:
    line = annotation(FORMATTER, Entry(record_of("word " * 5000), "pairs.jsonl", 1))
    assert len(line) < MAX_MESSAGE_CHARACTERS + 200
    assert line.endswith("…\n")


def test_paths_are_those_of_the_workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    monkeypatch.setenv("GITHUB_WORKSPACE", str(tmp_path))
    assert workspace_path("pairs.jsonl") == "sub/pairs.jsonl"
    assert workspace_path("../pairs.jsonl") == "pairs.jsonl"
    assert workspace_path(str(tmp_path / "a" / "b.jsonl")) == "a/b.jsonl"
    assert workspace_path("/elsewhere/b.jsonl") == "/elsewhere/b.jsonl"
    monkeypatch.delenv("GITHUB_WORKSPACE")
    assert workspace_path("pairs.jsonl") == "pairs.jsonl"
    assert workspace_path("..pairs/a") == "..pairs/a"
