"""Where results of many pairs go, as a user meets it: every format, full disks, kills, two runs on one output."""

from __future__ import annotations

import errno
import itertools
import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from clipalign.errors import UsageError
from clipalign.files import open_special, write_all
from tests.cli.run import GOLDEN, GUESSED, IMAGE, PROGRAM, ROOT, TINY, run_here
from tests.hardening.kills_scenes import write_pairs

Capture = pytest.CaptureFixture[str]
PAIRS = 12
posix = pytest.mark.skipif(os.name != "posix", reason="needs signals and limits")


@pytest.fixture
def line(tmp_path: Path) -> list[str]:
    """A run over a dozen pairs."""
    write_pairs(tmp_path / "pairs.jsonl", PAIRS, seed=0)
    inputs = ["--input", str(tmp_path / "pairs.jsonl"), "--image-root", str(GOLDEN / "images")]
    return ["detect", *inputs, "--model", TINY]


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "csv", "html", "github"])
def test_every_format_goes_to_stdout_and_into_a_file(
    capsys: Capture, tmp_path: Path, line: list[str], format: str
) -> None:
    status, out, err = run_here(capsys, *line, "--format", format)
    assert status == 0
    file = tmp_path / "out"
    written = run_here(capsys, *line, "--format", format, "--output", str(file))
    assert (written.status, written.out) == (0, "")
    assert file.read_text() == out
    if format in ("table", "html", "json"):
        assert err == ""
    else:
        assert err.startswith(f"{PAIRS} pairs: ")
    assert written.err.startswith(f"{PAIRS} pairs: ")
    assert run_here(capsys, *line, "--format", format, "-q", "-o", str(file), "--overwrite").err == ""


@pytest.mark.parametrize(
    ("line", "name"),
    [
        (("detect", "a.png", "a cup"), "a.png"),
        (("detect", "a.png", "a cup", "--on-error", "skip"), "a.png"),
        (("classify", "a.png", "--labels", "labels.txt"), "a.png"),
        (("score-long", "a.png", "a cup"), "a.png"),
        (("score-long", "a.png", "--text-file", "labels.txt"), "labels.txt"),
    ],
)
def test_what_is_looked_at_is_never_written_to(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: tuple[str, ...], name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.png").write_bytes(Path(IMAGE).read_bytes())
    (tmp_path / "labels.txt").write_text("cup\n")
    before = (tmp_path / name).read_bytes()
    status, out, err = run_here(capsys, *line, "--model", TINY, "--output", name, "--overwrite")
    assert (status, out) == (2, "") and f"--output {name} is " in err
    assert (tmp_path / name).read_bytes() == before


@pytest.mark.parametrize("format", ["table", "json", "jsonl", "csv", "html", "github"])
def test_a_single_pair_has_every_format_too(
    capsys: Capture, tmp_path: Path, format: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = ("detect", IMAGE, "a cup of coke", "--model", TINY, "--format", format)
    monkeypatch.setenv("GITHUB_WORKSPACE", str(ROOT))
    status, out, err = run_here(capsys, *line)
    assert (status, err) == (0, "")
    signs = {"table": "‹coke›", "json": '"coke"', "jsonl": '"coke"', "csv": "coke:-", "html": ">coke</mark>"}
    assert signs.get(format, "::warning file=tests/golden/images/0.png,title=clipalign detect%3A ") in out
    file = tmp_path / "out"
    assert run_here(capsys, *line, "--output", str(file)).status == 0
    assert file.read_text() == out
    again = run_here(capsys, *line, "--output", str(file))
    assert (again.status, "exists already" in again.err) == (2, True)


def test_the_json_of_many_has_results_and_their_summary(capsys: Capture, line: list[str]) -> None:
    document = json.loads(run_here(capsys, *line, "--format", "json").out)
    assert [record["id"] for record in document["results"]] == [f"pair-{number}" for number in range(PAIRS)]
    summary = document["summary"]
    assert (summary["records"], summary["unreadable"]) == (PAIRS, 0)
    found = [record for record in document["results"] if record["misaligned"]]
    assert summary["with_misaligned_words"] == len(found)
    scores = [record["clip_score"] for record in document["results"]]
    assert summary["mean"]["clip_score"] == pytest.approx(sum(scores) / len(scores))


def test_annotations_point_at_the_lines_of_the_input(capsys: Capture, tmp_path: Path, line: list[str]) -> None:
    out = run_here(capsys, *line, "--format", "github").out
    records = [json.loads(one) for one in run_here(capsys, *line, "--format", "jsonl").out.splitlines()]
    expected = [str(number) for number, record in enumerate(records, 1) if record["misaligned"]]
    assert re.findall(r"^::warning file=[^:]*pairs\.jsonl,line=(\d+),title=", out, re.MULTILINE) == expected
    assert len(out.splitlines()) == len(expected)


def test_other_settings_are_refused_with_status_2(capsys: Capture, tmp_path: Path, line: list[str]) -> None:
    output = str(tmp_path / "out.jsonl")
    run_here(capsys, *line, "--output", output)
    before = Path(output).read_bytes()
    status, out, err = run_here(capsys, *line, "--output", output, "--resume", "--epsilon", "-1")
    assert (status, out) == (2, "")
    assert "is of another run: epsilon was -5e-05, now it is -1.0" in err
    assert Path(output).read_bytes() == before


@posix
def test_a_full_disk_is_reported_and_loses_nothing(tmp_path: Path, capsys: Capture, line: list[str]) -> None:
    output = tmp_path / "out.jsonl"
    run_here(capsys, *line, "--output", str(output))
    expected = output.read_bytes()
    output.unlink()
    program = (
        "import resource, runpy, sys;"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({len(expected) * 2 // 3}, resource.RLIM_INFINITY));"
        "sys.dont_write_bytecode = True;"  # which would be cut short, and met by others
        "sys.argv[0] = 'clipalign'; runpy.run_module('clipalign', run_name='__main__')"
    )
    limited = [sys.executable, "-c", program, *line, "--output", str(output)]
    done = subprocess.run(limited, cwd=ROOT, capture_output=True, text=True, timeout=600)
    whole = output.read_bytes()
    safe = whole.count(b"\n")
    assert done.returncode == 70
    assert 0 < safe < PAIRS and whole.endswith(b"\n") and expected.startswith(whole)
    error, hint = GUESSED.sub("", done.stderr).splitlines()
    assert error == f"error: {output} cannot be written: the disk is full"
    assert hint == f"hint: free some space; {safe} pairs are safe in {output}; --resume goes on from there"
    assert run_here(capsys, *line, "--output", str(output), "--resume").status == 0
    assert [json.loads(one)["id"] for one in output.read_text().splitlines()] == [f"pair-{n}" for n in range(PAIRS)]


def test_a_full_stdout_is_reported(line: list[str], program: list[str]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [*program, *line, "--format", "csv"], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, timeout=600
        )
    assert done.returncode == 70
    assert b"error: the result cannot be written to stdout: No space left on device\n" in done.stderr


@posix
def test_two_runs_on_one_output_are_refused_and_ctrl_c_ends_the_first(tmp_path: Path, capsys: Capture) -> None:
    output, journal = tmp_path / "out.csv", tmp_path / "out.csv.journal.jsonl"
    arguments = ["detect", "--input", "-", "--model", TINY, "--epsilon=-5e-5", "--output", str(output)]
    first = subprocess.Popen(
        [*PROGRAM, *arguments], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    until = time.monotonic() + 300
    while not journal.exists() and time.monotonic() < until:
        time.sleep(0.05)
    write_pairs(tmp_path / "pairs.jsonl", PAIRS, seed=0)
    for how in ((), ("--resume",), ("--overwrite",)):
        line = ["detect", "--input", str(tmp_path / "pairs.jsonl"), "--model", TINY, "--output", str(output), *how]
        status, out, err = run_here(capsys, *line)
        assert (status, out) == (2, "")
        assert err.startswith(f"error: another clipalign is at work on {journal}\nhint: wait until it has ended")
    first.send_signal(signal.SIGINT)
    out_bytes, err_bytes = first.communicate(timeout=60)
    assert (first.returncode, out_bytes) == (130, b"")
    assert err_bytes == b"error: interrupted\n"
    assert list(tmp_path.iterdir()) == [tmp_path / "pairs.jsonl"]


@pytest.mark.parametrize("format", ["json", "jsonl", "csv"])
def test_data_on_a_terminal_holds_nothing_that_a_terminal_obeys(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str
) -> None:
    """And in a pipe or a file the text stays as it was given."""
    text = "a \x1b[8mcup\x9b \u202eof\rcoke"
    for line in (
        ["detect", IMAGE, text, "--model", TINY, "--format", format],
        ["detect", "--input", str(tmp_path / "pairs.jsonl"), "--model", TINY, "--format", format],
    ):
        (tmp_path / "pairs.jsonl").write_text(json.dumps({"image": IMAGE, "text": text}) + "\n")
        piped = run_here(capsys, *line).out
        monkeypatch.setattr(type(sys.stdout), "isatty", lambda _: True, raising=False)
        shown = run_here(capsys, *line).out
        monkeypatch.undo()
        assert "\x9b" in piped and "\u202e" in piped
        assert not set(shown.replace("\r\n", "\n")) & set("\x1b\x9b\u202e\r") and "\\u202e" in shown


@posix
@pytest.mark.parametrize("more", ["json", "csv --output /dev/tty"])
def test_a_real_terminal_gets_nothing_to_obey_from_data(program: list[str], more: str) -> None:
    """Of standard output, and of a terminal that --output names."""
    text = "a \x1b[8mcup\x9b \u202eof\rcoke"
    # A terminal of its own has only what it started itself.
    start = [*program, "score-long"] if more == "json" else [*PROGRAM, "detect"]
    shown = on_a_terminal([*start, IMAGE, text, "--model", TINY, "-q", "--format", *more.split()])
    assert not set(shown.replace("\r\n", "\n")) & set("\x1b\x9b\u202e\r") and "202e" in shown


def on_a_terminal(line: list[str]) -> str:
    """What a command writes on a terminal of its own."""
    import pty

    child, terminal = pty.fork()
    if child == 0:
        os.execve(line[0], line, os.environ | {"PYTHONPATH": str(ROOT)})
    shown = b""
    with suppress(OSError):  # how Linux ends it
        while piece := os.read(terminal, 1 << 16):
            shown += piece
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, shown
    return shown.decode()


@posix
@pytest.mark.parametrize("line", [["detect", IMAGE, "a \u202ecup"], ["detect", "--input", "pairs.jsonl"]])
def test_standard_output_by_its_name_is_a_pipe_of_data(tmp_path: Path, line: list[str], program: list[str]) -> None:
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"image": IMAGE, "text": "a \u202ecup"}) + "\n")
    here = [*program, *line, "--model", TINY, "--format", "jsonl", "--output", "/dev/stdout"]
    there = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(here, cwd=tmp_path, env=there, capture_output=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["text"] == "a \u202ecup" and "\u202e".encode() in done.stdout


@posix
@pytest.mark.parametrize("format", ["json", "jsonl"])
@pytest.mark.parametrize("number", [errno.EACCES, errno.EROFS])
def test_rights_that_are_lost_in_mid_run_keep_what_is_done(
    capsys: Capture, tmp_path: Path, line: list[str], monkeypatch: pytest.MonkeyPatch, format: str, number: int
) -> None:
    output = tmp_path / f"out.{format}"
    place, writes = ("clipalign.runs.log.write_all", 5) if format == "jsonl" else ("pathlib.Path.replace", 0)
    counted = itertools.count()

    def denied(*given: Any) -> None:
        if next(counted) >= writes:
            raise OSError(number, os.strerror(number))
        write_all(*given)

    monkeypatch.setattr(place, denied)
    found = run_here(capsys, *line, "--output", str(output))
    assert found.status == 2 and found.err.startswith(f"error: {output} cannot be written: {os.strerror(number)}\n")
    assert f"{PAIRS if format == 'json' else 5} pairs are safe in {output}" in found.err
    monkeypatch.undo()
    assert run_here(capsys, *line, "--output", str(output), "--resume").status == 0


@posix
@pytest.mark.parametrize("name", ["/proc/self/mem", "/proc/new.json", "/sys/new.json"])
def test_the_kernels_files_are_no_place_for_results(capsys: Capture, name: str) -> None:
    found = run_here(capsys, "detect", IMAGE, "a cup", "--model", TINY, "--format", "json", "--output", name)
    assert found.status == 2 and "is no file for results" in found.err


@posix
@pytest.mark.parametrize("line", [["detect", IMAGE, "a cup"], ["detect", "--input", "pairs.jsonl"]])
def test_where_nobody_may_write_is_wrong_usage(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, line: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "pairs.jsonl").write_text(json.dumps({"image": IMAGE, "text": "a cup"}))
    monkeypatch.setattr(os, "access", lambda *_, **__: False)
    found = run_here(capsys, *line, "--model", TINY, "--output", "x.jsonl")
    assert found.status == 2 and "x.jsonl may not be written" in found.err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="is a pipe that nobody reads"):
        open_special(tmp_path / "pipe", "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    with open_special(tmp_path / "pipe", "pipe") as stream:
        stream.write(b"read")
    assert os.read(reader, 9) == b"read"
    os.close(reader)
