"""What pages promise, the repository holds: two commands, the map of modules, credits; ``test_pages`` has the rest."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from clipalign.version import __version__
from tests.cli.run import ROOT, run_here
from tests.contract.pages import MAP, module_map

README = (ROOT / "README.md").read_text(encoding="utf-8")


def block(mark: str, language: str, page: str = README) -> str:
    """The fenced block behind a mark."""
    found = re.search(rf"<!-- {mark} -->\n```{language}\n(.+?)\n```", page, re.DOTALL)
    assert found is not None, f"there is no {language} block marked {mark}"
    return found[1]


def test_the_first_command_finds_the_wrong_word(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    command = block("setup", "sh")
    assert "\n" not in command
    arguments = shlex.split(command.rpartition(".venv/bin/clipalign ")[2])
    status, out, err = run_here(capsys, *arguments, "--format", "table")
    assert (status, err) == (0, "")
    assert out.startswith("a ‹dog› and two balloons on a blue background\n")


def test_the_second_command_is_one_line_that_runs_pytest() -> None:
    command = block("tests", "sh")
    assert "\n" not in command
    assert command.endswith("-m pytest -n 2 --dist loadfile")


def test_the_map_names_every_module_in_its_own_words() -> None:
    found = MAP.search((ROOT / "clipalign" / "README.md").read_text(encoding="utf-8"))
    assert found is not None
    assert found[0] == found[1] + module_map(), "python -m tests.contract.pages renews it"


def test_the_changelog_has_an_entry_for_this_version() -> None:
    assert f"## [{__version__}]" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


SHEETS = sorted((ROOT / "clipalign" / "pictogram").glob("sprites-*.png"))


@pytest.mark.parametrize("sheet", SHEETS, ids=lambda path: path.name)
def test_every_sheet_of_drawings_is_credited(sheet: Path) -> None:
    assert str(sheet.relative_to(ROOT)) in (ROOT / "NOTICE").read_text(encoding="utf-8")


def test_the_model_card_and_the_weights_are_there_and_small() -> None:
    folder = ROOT / "clipalign" / "pictogram"
    assert (folder / "MODEL_CARD.md").is_file()
    assert (folder / "pictogram.safetensors").stat().st_size <= 30_000_000
