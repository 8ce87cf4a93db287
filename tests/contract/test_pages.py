"""What the pages of this repository show is what the program does: commands, outputs, recipes, links."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from html import unescape
from pathlib import Path
from typing import Any

import pytest
import yaml

from clipalign.cli import built_command
from clipalign.commands import COMMANDS, settings_tables
from tests.contract.pages import PAGES, ROOT, Block, Desk, blocks_of, command_lines, differences, scripts_of
from tests.contract.warm import Warm
from tests.settings import resolve

TEXTS = {page: (ROOT / page).read_text(encoding="utf-8") for page in PAGES}
BLOCKS = [block for page in PAGES for block in blocks_of(page)]
RUN = [page for page in PAGES if scripts_of(page)]
OWN_TESTS = ("setup", "tests")
"""Marks of scripts that ``test_readme`` and ``.ci/run`` take as they stand."""


@pytest.mark.parametrize("page", RUN)
def test_the_program_says_what_the_page_shows(page: str, warm: Warm, tmp_path: Path) -> None:
    desk = Desk(tmp_path, warm)
    found = []
    for script, output in scripts_of(page):
        if "jq " in script.code and shutil.which("jq") is None:
            continue
        status, said = desk.run(script)
        if output is None:
            found += [f"{script} ended with status {status}: {said}"] if status else []
        else:
            found += [f"{script}: {line}" for line in differences(output.code, said)]
    assert not found, "\n".join([*found, "to renew the pages: python -m tests.contract.pages"])


@pytest.mark.parametrize("block", [block for block in BLOCKS if block.language == "sh"], ids=str)
def test_a_script_is_run_or_says_why_not(block: Block) -> None:
    assert block.mark == "run" or block.mark in OWN_TESTS or re.fullmatch(r"not run: .{8,}", block.mark), block.mark


LINES = [(block, line) for block in BLOCKS if block.language == "sh" for line in command_lines(block.code)]


@pytest.mark.parametrize(
    ("block", "line"), LINES, ids=lambda one: str(one) if isinstance(one, Block) else " ".join(one)
)
def test_a_command_line_that_is_shown_is_one_that_the_program_takes(
    block: Block, line: list[str], tmp_path: Path
) -> None:
    take(line, tmp_path)


def take(line: list[str], folder: Path) -> None:
    """Parse a command line and resolve its settings, as the command does before anything else."""
    if line in (["--help"], ["--version"], []):
        return
    name, *arguments = line
    assert name in COMMANDS, name
    parsed: dict[str, Any] = parsed_line(name, arguments)
    parsed.pop("calibration", None)  # an earlier line of the page writes it
    if str(parsed.get("output")).endswith("/"):  # a folder that the reader makes
        del parsed["output"]
    known = settings_tables()[name]
    resolve(
        name, {key: value for key, value in parsed.items() if key in known and value not in (None, ())}, start=folder
    )


def parsed_line(name: str, arguments: list[str]) -> dict[str, Any]:
    context = built_command(name).make_context(f"clipalign {name}", list(arguments))
    params: dict[str, Any] = context.params
    return params


def test_a_command_line_with_an_option_that_is_not_there_would_be_found(tmp_path: Path) -> None:
    for wrong in (["detect", "a.png", "a cat", "--eps", "1"], ["eval", "--limit", "many"], ["detects", "a.png"]):
        with pytest.raises(Exception):  # noqa: B017
            take(wrong, tmp_path)


def strings(node: object) -> Iterator[str]:
    """All strings of a document."""
    if isinstance(node, str):
        yield node
    elif isinstance(node, dict):
        for value in node.values():
            yield from strings(value)
    elif isinstance(node, list):
        for value in node:
            yield from strings(value)


RECIPES = [block for block in BLOCKS if block.language == "yaml"]


@pytest.mark.parametrize("block", RECIPES, ids=str)
def test_a_recipe_is_yaml_and_its_command_lines_are_taken(block: Block, tmp_path: Path) -> None:
    lines = [line for text in strings(yaml.safe_load(block.code)) for line in command_lines(text)]
    assert lines
    for line in lines:
        take(line, tmp_path)


PROSE = {page: re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL) for page, text in TEXTS.items()}
INLINE = sorted({one for text in PROSE.values() for one in re.findall(r"`(clipalign [a-z][^`\n]+)`", text)})


@pytest.mark.parametrize("text", INLINE)
def test_a_command_line_within_a_sentence_has_options_that_exist(text: str) -> None:
    for name, *arguments in command_lines(text):
        if "--help" not in arguments:
            parsed_line(name, [argument for argument in arguments if argument != "…"])


def slugs(text: str) -> set[str]:
    """What GitHub calls the headings of a page."""
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)\s]+)\)|(?:src|srcset)=\"(?!https?:)([^\"]+)\"", TEXTS[page])
    for target in (first or second for first, second in targets):
        name, _, anchor = target.partition("#")
        path = (ROOT / page).parent / name if name else ROOT / page
        assert path.exists(), target
        if anchor:
            assert anchor in slugs(path.read_text(encoding="utf-8")), target


@pytest.mark.parametrize(
    ("shown", "said", "alike"),
    [
        ("cosine 0.4948", "cosine 0.4950", True),
        ("cosine 0.4948", "cosine 0.5948", False),
        ("torch 2.13.0+cpu\nopen_clip 3.3.0", "torch 2.9.1 open_clip\n3.3.0", True),
        ("✗ dog -0.0105 ████│", "✗ dog -0.0105 █████│", True),
        ("✗ dog -0.0105", "  dog -0.0105", False),
        ("8 pairs", "9 pairs", False),
        ("a line", "a line and more", False),
        ("-8.4e-03 to", "-8.5e-03 to", True),
        ("-8.4e-03 to", "-8.4e-02 to", False),
    ],
)
def test_what_counts_as_the_same_output(shown: str, said: str, alike: bool) -> None:
    assert bool(differences(shown, said)) is not alike


CELL_PX = 12.2
"""How wide a character is in Rich's pictures."""


def lines_of(picture: Path) -> str:
    """What stands in a picture of the terminal, line by line."""
    lines: dict[str, str] = {}
    drawn = re.findall(r'<text [^>]*x="([\d.]+)" y="([\d.]+)"[^>]*>(.*?)</text>', picture.read_text("utf-8"), re.DOTALL)
    for left, height, text in drawn:
        before = lines.get(height, "").ljust(round(float(left) / CELL_PX))
        lines[height] = (before + unescape(text).replace("\xa0", " ").strip("\n")).rstrip()
    return "\n".join(lines.values()).partition("$ clipalign ")[2]


TERMINALS = [
    path for path in sorted((ROOT / ".assets").glob("*.svg")) if "$&#160;clipalign&#160;" in path.read_text("utf-8")
]


@pytest.mark.parametrize("picture", TERMINALS, ids=lambda path: path.name)
def test_a_picture_of_the_terminal_is_what_the_program_prints(picture: Path, warm: Warm, tmp_path: Path) -> None:
    command, _, shown = lines_of(picture).partition("\n\n")
    script = Block(picture.name, 0, "run", "sh", f"clipalign {' '.join(command.split())}", (0, 0))
    desk = Desk(tmp_path, warm)
    (desk.place / "clipalign").symlink_to(ROOT / "clipalign")
    status, said = desk.run(script)
    assert status == 0
    assert differences(shown, said) == [], "to renew the pictures: python .assets/render.py pictures"


def test_pictures_of_the_pages_are_small() -> None:
    for path in (ROOT / ".assets").glob("*.*g"):
        assert path.stat().st_size <= 200_000, path.name
