"""``clipalign detect --input`` as a user meets it: what comes out, with which status, and how it ends."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.cli.run import GOLDEN, PROGRAM, ROOT, TINY, Run, run_apart, run_here
from tests.server import QuietServer

Capture = pytest.CaptureFixture[str]
MODEL = ("--model", TINY)
PICTURES = [str(path) for path in sorted((GOLDEN / "images").glob("*.png"))[:3]]
TEXTS = ("a cup of coke", "two dogs on a sofa", "a red car, left of a tree")


def pairs(count: int = 6) -> list[dict[str, Any]]:
    return [{"image": PICTURES[index // 2 % 3], "text": TEXTS[index % 3]} for index in range(count)]


def table(folder: Path, rows: list[dict[str, Any]] | None = None, name: str = "pairs.jsonl") -> str:
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in (pairs() if rows is None else rows)))
    return str(path)


def records(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_pipe_gets_a_json_record_a_line(capsys: Capture, tmp_path: Path) -> None:
    status, out, err = run_here(capsys, "detect", "--input", table(tmp_path), *MODEL)
    assert status == 0
    assert err.startswith("6 pairs: ")
    found = records(out)
    assert [(one["id"], one["image"], one["text"]) for one in found] == [
        (row["image"] + "#2" * (number % 2), row["image"], row["text"]) for number, row in enumerate(pairs())
    ], "the picture's name, numbered where it repeats"
    assert all(one["provenance"]["precision"] == "fp32" and one["words"] for one in found)


def test_the_best_share_goes_to_a_pipe_too(capsys: Capture, tmp_path: Path) -> None:
    line = ("detect", "--input", table(tmp_path), *MODEL, "--format", "jsonl")
    every = sorted(one["cosine"] for one in records(run_here(capsys, *line).out))
    best = run_here(capsys, *line, "--top-share", "cosine=0.5")
    assert "kept 3 of 6 pairs" in best.err
    assert sorted(one["cosine"] for one in records(best.out)) == every[3:]


def test_the_numbers_are_those_of_one_pair_alone(capsys: Capture, tmp_path: Path) -> None:
    many = records(run_here(capsys, "detect", "--input", table(tmp_path), *MODEL).out)
    for one in many[:3]:
        alone = json.loads(run_here(capsys, "detect", one["image"], one["text"], *MODEL).out)
        assert one["cosine"] == pytest.approx(alone["cosine"], abs=1e-6)
        for word, other in zip(one["words"], alone["words"], strict=True):
            assert word["attribution"] == pytest.approx(other["attribution"], abs=1e-6)


def test_inputs_of_several_kinds_one_after_another(capsys: Capture, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    for number, picture in enumerate(PICTURES):
        shutil.copy(picture, folder / f"{number}.png")
        (folder / f"{number}.txt").write_text(TEXTS[number])
    with tarfile.open(tmp_path / "shard.tar", "w") as tar:
        tar.add(folder, "s", filter=lambda member: member if member.isdir() or "0." in member.name else None)
    with (tmp_path / "pairs.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "text", "id"), ("1.png", "a, b", "x"), ("2.png", "c", "y")])
    line = ["detect", *MODEL, "--image-root", str(folder)]
    for name in ("photos", "shard.tar", "pairs.csv"):
        line += ["--input", str(tmp_path / name)]
    status, out, _ = run_here(capsys, *line)
    found = records(out)
    assert status == 0
    assert [one["id"] for one in found] == ["0", "1", "2", "s/0", "x", "y"]
    assert [one["text"] for one in found] == [*TEXTS, TEXTS[0], "a, b", "c"]
    assert found[3]["cosine"] == pytest.approx(found[0]["cosine"], abs=1e-6)
    assert found[4]["image"] == "1.png"


def test_standard_input_is_json_lines(capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = Path(table(tmp_path)).read_bytes()
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))
    status, out, _ = run_here(capsys, "detect", "--input", "-", *MODEL)
    assert status == 0
    assert len(records(out)) == 6
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    status, out, err = run_here(capsys, "detect", "--input", "-", *MODEL)
    assert (status, out) == (0, "")
    assert "there are no records in standard input" in err


def bad_rows() -> list[dict[str, Any]]:
    return [pairs()[0], {"image": "missing.png", "text": "a cup"}, {"image": PICTURES[0]}, pairs()[1]]


def test_what_cannot_be_read_is_a_record_with_its_error_and_status_3(capsys: Capture, tmp_path: Path) -> None:
    path = table(tmp_path, bad_rows())
    for check in ((), ("--check", "--mode", "most-negative")):
        status, out, err = run_here(capsys, "detect", "--input", path, *MODEL, *check)
        assert status == 3, "which is more than that --check found something"
    found = records(out)
    assert ["error" in one for one in found] == [False, True, True, False]
    assert found[1]["error"]["type"] == "image_unreadable"
    assert found[2]["error"]["message"] == "there is no text"
    assert f"warning: {path}:2: there is no file missing.png\n" in err
    assert "4 pairs: 2 unreadable" in err


def test_with_on_error_fail_the_first_one_ends_the_run_and_what_was_done_stays(capsys: Capture, tmp_path: Path) -> None:
    path, output = table(tmp_path, bad_rows()), tmp_path / "out.jsonl"
    status, out, err = run_here(
        capsys, "detect", "--input", path, *MODEL, "--on-error", "fail", "--output", str(output)
    )
    assert (status, out) == (3, "")
    assert "error: there is no file missing.png" in err
    assert len(records(output.read_text())) == 1
    bad = table(tmp_path, bad_rows()[2:], "bad.jsonl")
    assert (
        f"error: there is no text ({bad}:1)"
        in run_here(capsys, "detect", "--input", bad, *MODEL, "--on-error", "fail").err
    )


def test_one_pair_fails_unless_it_is_to_be_skipped(capsys: Capture) -> None:
    line = ["detect", "missing.png", "a cup", *MODEL]
    status, out, _ = run_here(capsys, *line)
    assert (status, out) == (3, "")
    status, out, _ = run_here(capsys, *line, "--on-error", "skip", "--format", "jsonl")
    assert status == 3
    assert json.loads(out)["error"]["type"] == "image_unreadable"


def test_check_looks_at_all_records(capsys: Capture, tmp_path: Path) -> None:
    line = ["detect", "--input", table(tmp_path), *MODEL, "--check"]
    assert run_here(capsys, *line, "--mode", "most-negative").status == 1
    assert run_here(capsys, *line, "--epsilon", "-1").status == 0


def test_shards_have_what_one_process_writes(capsys: Capture, tmp_path: Path) -> None:
    path = table(tmp_path, pairs(7))
    for format in ("jsonl", "csv"):
        line = ["detect", "--input", path, *MODEL, "--format", format]
        whole = run_here(capsys, *line).out
        parts = "".join(run_here(capsys, *line, "--shard", f"{index}/3").out for index in (1, 2, 3))
        if format == "csv":
            one, other = (list(csv.DictReader(io.StringIO(text))) for text in (whole, parts))
        else:
            one, other = records(whole), records(parts)
        one, other = (sorted(rows, key=lambda row: str(row["id"])) for rows in (one, other))
        assert [row["id"] for row in other] == [row["id"] for row in one] and len(one) == 7
        assert [float(r["cosine"]) for r in other] == pytest.approx([float(r["cosine"]) for r in one], abs=1e-6)
    empty = run_here(capsys, *line, "--shard", "9/9")
    assert (empty.status, empty.out) == (0, ""), "4 runs of one picture for 9 shards, of which the first has the header"
    assert "there are no records in this shard" in empty.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((PICTURES[0], "a cup", "--input", "{}"), "error: IMAGE and TEXT and --input exclude each other\n"),
        (("{}", "--input", "{}"), "error: IMAGE and --input exclude each other\nhint: give either; a pattern of"),
        (("--input", "{}", "--reference", "a"), "error: --reference is for one pair\n"),
        (("--input", "{}", "--top", "3"), "error: --top is for one pair\n"),
        ((PICTURES[0], "a cup", "--shard", "1/2"), "error: --shard is for many pairs\n"),
        ((PICTURES[0], "a cup", "--image-root", "."), "error: --image-root is for many pairs\n"),
        ((PICTURES[0], "a cup", "--resume"), "error: --resume is for many pairs\n"),
        (("--input", "{}", "--shard", "3/2"), "error: --shard must be I/N with I from 1 to N"),
        (("--input", "{}", "--shard", "1/2", "--format", "html"), "error: the format html cannot be written in shards"),
        (("--input", "pairs.docx"), "error: "),
    ],
)
def test_what_does_not_go_together_is_wrong_usage(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO()))
    (tmp_path / "pairs.docx").write_bytes(b"x")
    path = table(tmp_path)
    typed = [str(tmp_path / "pairs.docx") if one == "pairs.docx" else one.format(path) for one in arguments]
    status, out, err = run_here(capsys, "detect", *typed, *MODEL)
    assert (status, out) == (2, "")
    assert err.startswith(said)


def test_an_input_of_the_settings_gives_way_to_a_pair_that_is_typed(
    capsys: Capture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CLIPALIGN_INPUT", table(tmp_path))
    assert len(records(run_here(capsys, "detect", *MODEL).out)) == 6
    assert json.loads(run_here(capsys, "detect", PICTURES[0], "a cup", *MODEL).out)["text"] == "a cup"


def test_one_pair_in_every_format_and_into_a_file(capsys: Capture, tmp_path: Path) -> None:
    line = ["detect", PICTURES[0], "a cup", *MODEL]
    for format, beginning in (("jsonl", '{"id"'), ("csv", "id,image"), ("html", "<!doctype html>"), ("github", "")):
        status, out, _ = run_here(capsys, *line, "--format", format)
        assert status == 0
        assert out.lower().startswith(beginning)
    page = tmp_path / "out.html"
    status, out, _ = run_here(capsys, *line, "--output", str(page))
    assert (status, out) == (0, "")
    assert "data:image/jpeg" in page.read_text()
    assert run_here(capsys, *line, "--output", str(page)).status == 2
    assert run_here(capsys, *line, "--output", str(page), "--overwrite").status == 0


def test_a_resumed_run_ends_like_one_that_was_not_cut(capsys: Capture, tmp_path: Path) -> None:
    path, output = table(tmp_path), tmp_path / "out.jsonl"
    line = ["detect", "--input", path, *MODEL, "--batch-size", "1"]
    whole = run_here(capsys, *line, "--output", str(output))
    assert whole.status == 0
    content = output.read_bytes()
    output.write_bytes(content[: len(content) // 2])
    assert run_here(capsys, *line, "--output", str(output)).status == 2
    again = run_here(capsys, *line, "--output", str(output), "--resume")
    assert again.status == 0
    assert output.read_bytes() == content
    assert again.err.endswith(whole.err)


def test_a_job_killed_after_its_last_write_and_started_again_has_succeeded(capsys: Capture, tmp_path: Path) -> None:
    output = tmp_path / "out.csv"
    line = ["detect", "--input", table(tmp_path), *MODEL, "--output", str(output)]
    assert run_here(capsys, *line).status == 0
    content = output.read_bytes()
    status, _, err = run_here(capsys, *line, "--resume")
    assert (status, output.read_bytes()) == (0, content)
    assert "out.csv is finished already and was not compared with this input; --overwrite makes it anew" in err
    status, _, err = run_here(capsys, *line, "--resume", "--check")
    assert (status, "what --check asks is not known from it" in err) == (2, True)


class _Slow(BaseHTTPRequestHandler):
    """Serves pictures, each after a while."""

    seconds = 0.0

    def do_GET(self) -> None:
        time.sleep(self.seconds)
        if "missing" in self.path:
            self.send_error(404)
            return
        content = Path(PICTURES[0]).read_bytes()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        """Nothing."""


def serve(seconds: float) -> HTTPServer:
    server = QuietServer(("127.0.0.1", 0), type("Handler", (_Slow,), {"seconds": seconds}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server


def test_pictures_at_addresses_are_fetched_and_refused_while_offline(capsys: Capture, tmp_path: Path) -> None:
    server = serve(0.0)
    address = f"http://127.0.0.1:{server.server_port}"
    rows = [{"image": f"{address}/{name}", "text": "a cup"} for name in ("a.png", "missing.png", "b.png")]
    status, out, _ = run_here(capsys, "detect", "--input", table(tmp_path, rows), *MODEL)
    assert status == 3
    assert ["error" in one for one in records(out)] == [False, True, False]
    assert "404" in records(out)[1]["error"]["message"]
    status, out, _ = run_here(capsys, "detect", "--input", table(tmp_path, rows), *MODEL, "--offline")
    assert all("offline" in one["error"]["message"] for one in records(out))
    server.shutdown()


posix = pytest.mark.skipif(os.name != "posix", reason="needs signals and a shell")


@posix
def test_control_c_ends_with_one_sentence_what_was_done_kept_and_no_waiting_for_slow_servers(tmp_path: Path) -> None:
    server = serve(60.0)
    rows = pairs(8) + [{"image": f"http://127.0.0.1:{server.server_port}/{n}.png", "text": "a"} for n in range(8)]
    output = tmp_path / "out.jsonl"
    line = ["detect", "--input", table(tmp_path, rows), *MODEL, "--batch-size", "2", "--output", str(output)]
    process = subprocess.Popen([*PROGRAM, *line], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 300
    while not (output.exists() and output.read_bytes().count(b"\n") >= 8) and time.monotonic() < until:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.1)
    begin = time.monotonic()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    server.shutdown()
    assert time.monotonic() - begin < 30
    assert (process.returncode, out) == (130, "")
    assert "Traceback" not in err
    assert "interrupted" in err
    assert "--resume" in err
    assert len(records(output.read_text())) == 8


@posix
def test_a_reader_that_leaves_early_ends_the_run_without_a_word(tmp_path: Path, program: list[str]) -> None:
    shell = shutil.which("bash")
    if shell is None:
        pytest.skip("needs bash")
    path = table(tmp_path, pairs(400))
    line = '"$@" | head -n 1 >/dev/null; echo ${PIPESTATUS[0]}'
    command = [*program, "detect", "--input", path, *MODEL, "--epsilon=-5e-5", "--batch-size", "2"]
    done = subprocess.run([shell, "-c", line, "-", *command], capture_output=True, cwd=ROOT, timeout=600)
    assert (done.stdout, done.stderr) == (b"0\n", b"")


@posix
def test_torchrun_shares_the_input_and_its_parts_are_the_whole(capsys: Capture, tmp_path: Path) -> None:
    launcher = Path(sys.executable).with_name("torchrun")
    if not launcher.exists():
        pytest.skip("needs torchrun")
    rows = [*pairs(7), {"image": "missing.png", "text": "a"}]
    line = ["detect", "--input", table(tmp_path, rows), *MODEL]
    whole = records(run_here(capsys, *line).out)
    done = subprocess.run(
        [launcher, "--nproc-per-node", "2", "-m", "clipalign", *line, "--output", tmp_path / "out.jsonl"],
        capture_output=True, cwd=ROOT, timeout=600, text=True,
    )  # fmt: skip
    parts = [tmp_path / f"out.0000{index}-of-00002.jsonl" for index in (1, 2)]
    found = {one["id"]: one for part in parts for one in records(part.read_text())}
    assert sorted(found) == sorted(one["id"] for one in whole)
    cosines = [found[one["id"]].get("cosine") for one in whole]
    assert cosines[:7] == pytest.approx([one.get("cosine") for one in whole[:7]], abs=1e-6)
    assert "exitcode: 3" in " ".join(done.stderr.split()).replace("exitcode : 3", "exitcode: 3")


def test_many_as_a_program_of_its_own_says_nothing_but_results_on_stdout(tmp_path: Path, program: list[str]) -> None:
    line = ("detect", "--input", table(tmp_path, bad_rows()), *MODEL, "--format", "json", "-q")
    status, out, err = run_apart(*line, program=program)
    assert (status, err) == (3, "")
    document = json.loads(out)
    assert len(document["results"]) == 4
    assert document["summary"]["unreadable"] == 2


@pytest.mark.parametrize("format", ["jsonl", "table"])
def test_where_nothing_could_be_read_the_first_hint_is_told(capsys: Capture, tmp_path: Path, format: str) -> None:
    rows = [{"image": "a.png", "text": "a cat"}, {"image": "b.png", "text": "a dog"}]
    status, _, err = run_here(
        capsys, "detect", "--input", table(tmp_path, rows), "--image-root", str(tmp_path), *MODEL, "--format", format
    )
    assert status == 3
    assert err.endswith(f"hint: looked in {tmp_path}\n")
    whole = table(tmp_path, [*rows, *pairs(1)])
    assert "hint:" not in run_here(capsys, "detect", "--input", whole, *MODEL, "--format", format).err


def checked(capsys: Capture, tmp_path: Path, *more: str) -> Run:
    """Every word is misaligned."""
    line = ["detect", "--input", table(tmp_path), *MODEL, "--check", "--epsilon", "1", "--format", "github"]
    return run_here(capsys, *line, *more)


def test_a_share_of_captions_may_have_findings(capsys: Capture, tmp_path: Path) -> None:
    assert [checked(capsys, tmp_path, "--max-misaligned", most).status for most in ("5", "99%", "6")] == [1, 1, 0]
    exempt = checked(capsys, tmp_path, "--exit-zero")
    assert exempt.status == 0
    assert "check fails: 6 of 6 with a finding, 0 allowed" in exempt.err


def test_words_of_a_file_are_no_finding(capsys: Capture, tmp_path: Path) -> None:
    words = tmp_path / "words.txt"
    words.write_text("\n".join({word.strip(".,") for text in TEXTS for word in text.split()}))
    found = checked(capsys, tmp_path, "--ignore-words", str(words))
    assert (found.status, found.out) == (0, "")
    assert checked(capsys, tmp_path, "--ignore-words", str(words), "--min-clip-score", "9").status == 1


def test_a_baseline_is_what_an_earlier_run_found(capsys: Capture, tmp_path: Path) -> None:
    baseline = ["--baseline", str(tmp_path / "known.jsonl")]
    missing = checked(capsys, tmp_path, *baseline)
    assert missing.status == 3 and "there is no input" in missing.err
    updated = checked(capsys, tmp_path, *baseline, "--update-baseline")
    assert updated.status == 0 and "holds the findings of this run" in updated.err
    again = checked(capsys, tmp_path, *baseline)
    assert (again.status, again.out) == (0, "")
    lines = (tmp_path / "known.jsonl").read_text().splitlines()
    (tmp_path / "known.jsonl").write_text("\n".join(lines[1:]))
    one = checked(capsys, tmp_path, *baseline)
    assert one.status == 1 and one.out.count("::warning") == 1
    (tmp_path / "known.jsonl").write_text('{"image": "a.png"}\n')
    for more in ((), ("--update-baseline",)):  # somebody's file is not replaced
        assert "is no output of detect" in checked(capsys, tmp_path, *baseline, *more).err
    pairs = table(tmp_path)
    over_itself = run_here(
        capsys, "detect", "--input", pairs, *MODEL, "--check", "--baseline", pairs, "--update-baseline"
    )
    assert over_itself.status == 2 and f"--baseline {pairs} is an --input" in over_itself.err


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (("--exit-zero",), "--exit-zero needs --check"),
        (("--check", "--update-baseline"), "--update-baseline needs --baseline"),
        (("--check", "--baseline", "b", "--update-baseline", "--shard", "1/2"), "--update-baseline needs all records"),
        (("--check", "--max-misaligned", "5%", "--shard", "1/2"), "--max-misaligned needs all records"),
        (("--check", "--max-misaligned", "5.5"), "--max-misaligned must be a whole number, or a share"),
        (("--check", "--max-misaligned", "150%"), "--max-misaligned must be a whole number, or a share"),
    ],
)
def test_a_policy_that_says_nothing_is_wrong_usage(
    capsys: Capture, tmp_path: Path, line: tuple[str, ...], said: str
) -> None:
    status, _, err = run_here(capsys, "detect", "--input", table(tmp_path), *MODEL, *line)
    assert status == 2 and said in err
