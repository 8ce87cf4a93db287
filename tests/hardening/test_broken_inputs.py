"""A sample of the broken inputs in every run of the suite, and a proof that the arena notices what it is there for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.hardening import standin
from tests.hardening.arena import Case, Outcome, Verdict, fight
from tests.hardening.captions import _comes_back
from tests.hardening.inputs import CASES, again, cases_of
from tests.hardening.report import DEFECTS, Part, Row, keep_figures, read_figures, render

ROOT = Path(__file__).parents[2]
SAMPLE = 180
"""Cases of all generators together: half a minute."""

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="cases are forks of one process")


def test_a_sample_of_all_broken_inputs_ends_as_promised(tmp_path: Path) -> None:
    figures = tmp_path / "figures.json"
    arguments = ("inputs", "--cases", str(SAMPLE), "--seed", "7", "--jobs", "2", "--figures", str(figures))
    command = [sys.executable, "-m", "tests.hardening", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500)
    parts = read_figures(figures)
    failing = [one for part in parts for one in part["failing"]]
    assert not failing, json.dumps(failing, indent=1)
    assert done.returncode == 0, done.stderr
    assert {part["part"] for part in parts} == set(CASES)
    assert sum(row["cases"] for part in parts for row in part["rows"]) >= SAMPLE - len(CASES)


def test_the_report_asks_for_fifteen_thousand_cases() -> None:
    assert sum(CASES.values()) >= 15_000


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_seed_says_which_cases_these_are_and_fewer_are_the_first_of_more(name: str) -> None:
    some, more = list(cases_of(name, 12, 3)), list(cases_of(name, 20, 3))
    assert [_without_files(case) for case in some] == [_without_files(case) for case in more[:12]] and len(more) == 20
    assert [case.files for case in some[:5]] == [case.files for case in more[:5]]


def _without_files(case: Case) -> tuple[str, str, Sequence[str], bytes]:
    return case.kind, case.command, case.arguments, case.stdin


def _fight(deed: str, format: str = "json", **options: float) -> Verdict:
    case = Case(deed, "detect", (deed, "--format", format), {}, statuses=frozenset({0, 1, 2, 3}), check=_look)
    (verdict,) = fight([case], program=standin.run, **options)  # type: ignore[arg-type]
    return verdict


def _look(outcome: Outcome) -> Iterator[str]:
    if (outcome.folder / "marker").exists():
        yield "code ran"
    if outcome.case.arguments[0] == "another's words":
        check = _comes_back("json", "a dog")
        assert check is not None
        yield from check(outcome)


@pytest.mark.parametrize("deed", ["nothing wrong", "a usage error"])
def test_nothing_is_said_against_a_program_that_keeps_its_promises(deed: str) -> None:
    assert _fight(deed).failures == {}


@pytest.mark.parametrize(
    ("deed", "format", "column"),
    [
        ("traceback", "json", "traceback"),
        ("crash", "json", "crash"),
        ("wrong status", "json", "wrong status"),
        ("internal error", "json", "wrong status"),
        ("no word", "json", "stderr"),
        ("not JSON", "json", "stdout"),
        ("JSON and more", "json", "stdout"),
        ("torn lines", "jsonl", "stdout"),
        ("torn table", "csv", "stdout"),
        ("markup", "html", "stdout"),
        ("colors", "table", "stdout"),
        ("colors in an error", "table", "stderr"),
        ("runs code", "json", "content"),
        ("another's words", "json", "content"),
    ],
)
def test_a_program_that_breaks_a_promise_is_noticed(deed: str, format: str, column: str) -> None:
    assert column in _fight(deed, format).failures


@pytest.mark.parametrize("deed", ["hang", "hang with a child"])
def test_a_program_that_does_not_end_is_ended(deed: str) -> None:
    verdict = _fight(deed, seconds=0.5)
    assert "hang" in verdict.failures and verdict.seconds < 10


def test_a_program_that_takes_too_much_memory_is_noticed() -> None:
    assert "memory" in _fight("memory", memory_bytes=100_000_000).failures
    assert "memory" not in _fight("memory").failures


def test_a_case_has_its_own_folder_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    here = sorted(ROOT.iterdir())
    _fight("runs code")
    assert list(tmp_path.iterdir()) == [] and sorted(ROOT.iterdir()) == here


def test_a_failing_case_can_be_taken_home(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.hardening.inputs.warm_up", lambda: None)  # the stand-in imports nothing
    again("pictures:3", cases=None, seed=1, folder=tmp_path / "kept", program=standin.run)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("cd ")]
    assert f"cd {tmp_path / 'kept' / 'case'} && " in line and "-m clipalign" in line
    assert (tmp_path / "kept" / "models" / "tiny-clip.json").is_file() and (tmp_path / "kept" / "stdin").is_file()


def test_the_report_shows_every_column_and_what_failed(tmp_path: Path) -> None:
    row = Row("mutated PNG", ["detect"], 1200, {"traceback": 0, "hang": 2}, note="a | b")
    part = Part("pictures", 7, 61.2, [row], "python -m tests.hardening pictures", [{"case": "again", "failures": {}}])
    keep_figures(part, tmp_path / "figures.json")
    page = render(read_figures(tmp_path / "figures.json"))
    assert "| mutated PNG | detect | 1,200 | hang **2** | a \\| b |" in page
    assert "| 1,200 | **2** | traceback, hang | 61 |" in page
    assert "1,200 broken inputs; **failures: 2**" in page
    assert "- `again`" in page


def test_every_defect_has_a_test_that_is_there() -> None:
    there = set(
        re.findall(r"def (test_\w+)", "".join(path.read_text("utf-8") for path in ROOT.glob("tests/*/test_*.py")))
    )
    defects = [line for line in DEFECTS.read_text("utf-8").splitlines() if line.startswith("- ")]
    named = {line: set(re.findall(r"`(test_\w+)`", line)) for line in defects}
    assert [line for line, tests in named.items() if not tests] == []
    assert set().union(*named.values()) - there == set()
