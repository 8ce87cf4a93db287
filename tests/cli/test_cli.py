"""What every command line shares: help, mistakes, errors as text and as JSON, streams that fail."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from clipalign.__main__ import run
from clipalign.cli import CLOSING, as_clipalign_error
from clipalign.commands import COMMANDS, CommandRow, settings_tables
from clipalign.output.console import notices
from clipalign.version import __version__
from tests.cli.run import IMAGE, PROGRAM, ROOT, TINY, run_apart, run_here

Capture = pytest.CaptureFixture[str]
HINT_OF_MISSING = "hint: clipalign detect IMAGE TEXT, or --input FILE for many; see clipalign detect --help\n"
HINT_OF_EXTRA = (
    "hint: put quotes around a text of several words; or did an option take the word behind it as its value?\n"
)


@pytest.mark.parametrize("line", [["--help"], ["-h"], []])
def test_help_lists_exactly_the_commands_that_work(capsys: Capture, line: list[str]) -> None:
    status, out, err = run_here(capsys, *line)
    assert (status, err) == (0, "")
    section = out.partition("Commands:\n")[2].partition("\n\n")[0]
    assert [row.split()[0] for row in section.splitlines()] == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_examples(capsys: Capture, command: str) -> None:
    status, out, err = run_here(capsys, command, "-h")
    assert (status, err) == (0, "")
    assert out.startswith(f"Usage: clipalign {command} [OPTIONS]")
    assert f"\nExamples:\n  clipalign {command} " in out


@pytest.mark.parametrize("columns", ["40", "80"])
@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_the_terminal(capsys: Capture, monkeypatch: pytest.MonkeyPatch, command: str, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    page = run_here(capsys, command, "--help-all").out
    examples = ("  clipalign", "  curl")  # stand as they are, and fit 80 columns
    assert all(len(line) <= (80 if line.startswith(examples) else int(columns)) for line in page.splitlines())


def test_help_says_which_options_no_variable_sets() -> None:
    typed = {
        (command, name)
        for command, table in settings_tables().items()
        for name, setting in table.items()
        if not setting.variable
    }
    assert (
        "but --reference, --label, --describe-with, --update-baseline, --dry-run and the tasks of download" in CLOSING
    )
    tasks = {("download", name) for name in ("list_them", "dry_run", "verify", "remove", "handed_over")}
    once = {("detect", "reference"), ("classify", "label"), ("classify", "describe_with"), ("eval", "dry_run")}
    once |= {("detect", "update_baseline")}
    assert typed == tasks | once


@pytest.mark.parametrize("command", COMMANDS)
def test_help_names_the_formats_that_the_command_has(capsys: Capture, command: str) -> None:
    formats = (
        "table|json|jsonl|jsonl.gz|csv|parquet|tar|html|github"
        if command in ("detect", "classify", "score-long")
        else "table|json"
    )
    assert f"--format {formats}\n" in run_here(capsys, command, "--help-all").out.replace("  Output", "\n")


def test_help_has_no_escape_codes_even_on_a_ci_service(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert "\x1b" not in run_here(capsys, "detect", "--help").out


def test_force_color_makes_headings_bold(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR")
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert run_here(capsys, "--help").out.startswith("\x1b[1mUsage:\x1b[0m clipalign")


def test_version(capsys: Capture) -> None:
    assert run_here(capsys, "--version") == (0, f"clipalign {__version__}\n", "")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (["detct"], "error: there is no command 'detct'\nhint: did you mean detect?\n"),
        (["xyz"], f"error: there is no command 'xyz'\nhint: one of {', '.join(COMMANDS)}; see clipalign --help\n"),
        (["detect", "a", "b", "--layer", "3"], "error: there is no option --layer\nhint: did you mean --layers?\n"),
        (["detect", "a", "b", "--layers"], "error: --layers needs a value\nhint: see clipalign detect --help\n"),
        (["detect", "a", "b", "--check=1"], "error: --check takes no value\nhint: see clipalign detect --help\n"),
        (["detect", "a"], f"error: missing TEXT\n{HINT_OF_MISSING}"),
        (["detect"], f"error: missing IMAGE and TEXT\n{HINT_OF_MISSING}"),
        (["detect", "a", "b", "c"], f"error: unexpected 'c'\n{HINT_OF_EXTRA}"),
        (["detect", "a", "b", "--top", "--model", "c"], f"error: unexpected 'c'\n{HINT_OF_EXTRA}"),
        (
            ["detect", "a", "-5 degrees"],
            "error: there is no option -5 degrees\nhint: see clipalign detect --help; "
            "to give a text that begins with '-', put -- before the arguments\n",
        ),
        (
            ["--modle", "x", "detect"],
            "error: there is no option --modle\nhint: see clipalign --help; a command's options follow its name\n",
        ),
        (["detect", "a", "b", "--format", "tabel"],
         "error: --format must be table, json, jsonl, jsonl.gz, csv, parquet, tar, html or github, not 'tabel'\n"
         "hint: did you mean table?\n"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_or_two_lines_and_status_2(capsys: Capture, line: list[str], said: str) -> None:
    assert run_here(capsys, *line) == (2, "", said)


@pytest.mark.parametrize("asked", [["--format", "json"], ["--format=json"]])
@pytest.mark.parametrize("mistake", [["--layer", "3"], ["--layers", "0"], ["extra"]])
def test_with_json_a_mistake_is_one_object_on_stderr(capsys: Capture, asked: list[str], mistake: list[str]) -> None:
    status, out, err = run_here(capsys, "detect", "a", "b", *asked, *mistake)
    assert (status, out) == (2, "")
    assert err.count("\n") == 1
    error = json.loads(err)["error"]
    assert list(error) == ["code", "type", "message", "hint", "input"]
    assert (error["code"], error["type"]) == (2, "usage")


def test_the_format_variable_asks_for_json_too(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLIPALIGN_FORMAT", "json")
    assert json.loads(run_here(capsys, "detect").err)["error"]["message"] == "missing IMAGE and TEXT"


def test_an_error_that_ends_a_run_is_an_annotation_for_github_too(capsys: Capture) -> None:
    assert run_here(capsys, "detect", "a", "b", "--format", "github", "--layers", "100%") == (
        2,
        "",
        "error: --layers must be a whole number, 1 or more, not '100%'\n"
        "::error title=clipalign::--layers must be a whole number, 1 or more, not '100%25'\n",
    )
    annotation = run_here(capsys, "detect", "a", "--format=github").err.splitlines()[-1]
    assert annotation.startswith("::error title=clipalign::missing TEXT; clipalign detect IMAGE TEXT")


def test_json_after_two_dashes_is_an_argument(capsys: Capture) -> None:
    assert run_here(capsys, "detect", "--", "--format", "json", "x").err.startswith("error: unexpected 'x'")


@pytest.fixture
def failing(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command that ends the way the test wants: ``clipalign fail WHAT``."""
    monkeypatch.setitem(COMMANDS, "fail", CommandRow("tests.cli.test_cli:fail", "Fail."))


def fail(what: str) -> int:
    """Raise by name."""
    import logging

    logging.getLogger("clipalign.somewhere").warning("a warning")
    raise {
        "defect": ValueError("first\nsecond"),
        "ctrl-c": KeyboardInterrupt(),
        "exit": SystemExit(1),
        "file": OSError(5, "Input/output error", "a.dat"),
        "eof": EOFError("cut"),
        "rights": PermissionError(errno.EACCES, "Permission denied", Path("cache/datasets")),
        "read-only": OSError(errno.EROFS, "Read-only file system", "cache/datasets"),
        "long name": OSError(errno.ENAMETOOLONG, "File name too long", "x" * 300),
    }[what]


@pytest.mark.parametrize(
    ("what", "status", "said"),
    [
        ("defect", 70, "error: unexpected ValueError: first second\nhint: this is a defect; --debug shows where it"),
        ("exit", 70, "error: a library ended the run with status 1\n"),
        ("ctrl-c", 130, "error: interrupted\n"),
        ("file", 70, "error: unexpected OSError: [Errno 5] Input/output error: 'a.dat'\nhint: this is a defect;"),
        ("eof", 70, "error: unexpected EOFError: cut\n"),
        ("rights", 2, "error: cache/datasets may not be used: Permission denied\nhint: check its rights, or"),
        ("read-only", 2, "error: cache/datasets may not be used: Read-only file system\nhint: check its rights, or"),
        ("long name", 2, "x may not be used: File name too long\nhint: give a shorter name\n"),
    ],
)
def test_an_unexpected_end_is_one_line_and_a_status(
    capsys: Capture, failing: None, what: str, status: int, said: str
) -> None:
    found, out, err = run_here(capsys, "fail", what)
    assert (found, out) == (status, "")
    assert said in err
    assert "Traceback" not in err


def test_debug_adds_the_traceback(capsys: Capture, failing: None) -> None:
    err = run_here(capsys, "--debug", "fail", "defect").err
    assert "Traceback" in err
    assert "error: unexpected ValueError" in err


@pytest.mark.parametrize(("value", "shown"), [("1", True), ("on", True), ("0", False), ("off", False), ("No", False)])
def test_the_debug_variable_is_read_like_every_other(
    capsys: Capture, failing: None, monkeypatch: pytest.MonkeyPatch, value: str, shown: bool
) -> None:
    monkeypatch.setenv("CLIPALIGN_DEBUG", value)
    assert ("Traceback" in run_here(capsys, "fail", "defect").err) is shown


def test_with_json_a_failure_leaves_one_object_and_no_warnings(
    capsys: Capture, failing: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPALIGN_FORMAT", "json")
    error = json.loads(run_here(capsys, "fail", "defect").err)["error"]
    assert (error["code"], error["type"]) == (70, "internal_error")


def test_quiet_drops_warnings_and_keeps_errors(capsys: Capture, failing: None) -> None:
    assert "warning: a warning\n" in run_here(capsys, "fail", "defect").err
    assert run_here(capsys, "-q", "fail", "defect").err.startswith("error: ")


@pytest.mark.parametrize("more", [[], ["--format", "json"]])
def test_what_repeats_an_endless_argument_is_cut_in_its_middle(capsys: Capture, more: list[str]) -> None:
    err = run_here(capsys, "detect", "a.png", "a cat", "--device", "x" * 50_000, *more).err
    assert "characters left out" in err
    assert len(err) < 10_000


def test_escape_codes_in_arguments_are_shown_not_obeyed(capsys: Capture) -> None:
    err = run_here(capsys, "de\x1b[31mtect").err
    assert "\x1b" not in err
    assert "\\x1b[31m" in err


def test_no_hidden_character_reaches_a_terminal_in_an_error_object_either(capsys: Capture) -> None:
    strange = "a\u202eb\x9bc\U000e0041d\u2028é.png"
    err = run_here(capsys, "detect", strange, "a cat", "--model", TINY, "--format", "json").err
    assert not any(character in err for character in "\u202e\x9b\U000e0041\u2028")
    error = json.loads(err)["error"]
    assert error["input"] == strange
    assert r"a\u202eb\x9bc" in error["message"]


def test_a_closed_pipe_is_a_silent_end() -> None:
    run = subprocess.Popen([*PROGRAM, "--help"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    assert run.stdout is not None
    run.stdout.close()
    _, err = run.communicate(timeout=60)
    assert (run.returncode, err) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_a_sentence() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123
        done = subprocess.run([*PROGRAM, "--help"], stdout=full, stderr=subprocess.PIPE, cwd=ROOT, timeout=60)
    assert done.returncode == 70
    assert done.stderr.decode().splitlines() == [
        "error: the result cannot be written to stdout: No space left on device",
        "hint: is the disk full, or the file closed?",
    ]


@pytest.mark.skipif(os.name == "nt", reason="needs a POSIX shell")
@pytest.mark.parametrize(("closing", "status"), [(">&-", 70), ("2>&-", 0), ("<&-", 0)])
def test_closed_streams_are_survived(closing: str, status: int) -> None:
    line = f'"$0" -m clipalign --version {closing}'
    done = subprocess.run(["sh", "-c", line, PROGRAM[0]], capture_output=True, cwd=ROOT, timeout=60)
    assert done.returncode == status
    assert b"Traceback" not in done.stderr
    assert b"Exception ignored" not in done.stderr


def test_a_bad_settings_file_stops_a_command_but_not_help(
    capsys: Capture, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "clipalign.toml").write_text("modle = 'x'")
    monkeypatch.chdir(tmp_path)
    assert run_here(capsys, "detect", "--help").status == 0
    status, _, err = run_here(capsys, "detect", IMAGE, "a cup", "--model", TINY)
    assert status == 2
    assert "clipalign.toml: unknown key 'modle'\nhint: did you mean mode or model?\n" in err


def test_latin1_terminals_get_escapes_instead_of_a_crash() -> None:
    status, out, err = run_apart("--help", PYTHONIOENCODING="ascii")
    assert (status, err) == (0, "")
    assert out.isascii()


def test_main_never_leaves_the_notices_of_the_last_run(capsys: Capture) -> None:
    run_here(capsys, "detect", "--format", "json", "--debug")
    run_here(capsys, "--version")
    assert (notices.json, notices.debug, notices.waiting) == (False, False, [])


def test_an_interruption_while_the_program_itself_is_imported_is_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Interrupting:
        def find_spec(self, name: str, *_: object) -> None:
            if name == "clipalign.cli":
                raise KeyboardInterrupt

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)  # put back after the test
    monkeypatch.delitem(sys.modules, "clipalign.cli")
    monkeypatch.setattr(sys, "meta_path", [Interrupting(), *sys.meta_path])
    assert run() == 130
    assert capsys.readouterr().err == "error: interrupted\n"


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("can't start new thread"), RuntimeError("CUDA out of memory. Tried to")]
)
def test_memory_that_runs_out_is_no_defect(error: Exception) -> None:
    known = as_clipalign_error(error)
    assert (known.message, known.exit_status) == ("memory ran out", 70)
    assert "--batch-size" in known.hint


def test_an_interruption_that_python_swallows_comes_again() -> None:
    program = """
import sys, time
from clipalign import __main__, cli

class Gone:
    def __del__(self):
        raise KeyboardInterrupt

def work():
    Gone()  # as in a callback while a module is imported: Python says "Exception ignored" and goes on
    time.sleep(50)

cli._run = lambda typed: work()
sys.exit(__main__.run())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=40, check=False)
    assert (done.returncode, done.stderr) == (130, "error: interrupted\n")
