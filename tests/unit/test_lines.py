"""Standard input that is written while it is read: an answer to each line, none lost, none waited for in vain."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from clipalign.cli import main
from clipalign.data.lines import LiveLines, lines_of
from clipalign.runs.batch import run_batch
from tests.cli.run import IMAGE, TINY
from tests.unit.test_runs_batch import Colors, records

posix = pytest.mark.skipif(os.name != "posix", reason="Windows cannot say whether a pipe holds anything")


@pytest.fixture
def pipe() -> Iterator[tuple[BinaryIO, BinaryIO]]:
    """Both ends of a pipe: the reader's, the writer's."""
    read, write = os.pipe()
    with os.fdopen(read, "rb") as reader, os.fdopen(write, "wb", buffering=0) as writer:
        yield reader, writer


@posix
def test_a_line_is_late_until_it_is_whole(pipe: tuple[BinaryIO, BinaryIO]) -> None:
    reader, writer = pipe
    lines = LiveLines(reader)
    assert lines.late()
    writer.write(b'{"image": ')
    assert lines.late()
    writer.write(b'"a"}\n\n{"b')
    assert not lines.late()
    assert lines.readline(100) == b'{"image": "a"}\n'
    assert lines.late()  # a blank line is none
    writer.write(b'": 1}')
    writer.close()
    assert not lines.late()  # what the end leaves is a line
    assert [line.content for line in lines_of(lines)] == [b'{"b": 1}']


@pytest.mark.parametrize("content", [b"", b"\n\n", b"a\nb\n", b"a\n\nb", b"x" * 200_000 + b"\ny\n"])
def test_lines_are_those_of_a_file(content: bytes) -> None:
    assert list(lines_of(LiveLines(io.BytesIO(content)))) == list(lines_of(io.BytesIO(content)))


def test_a_late_record_keeps_nobody_waiting(tmp_path: Path) -> None:
    asked = records(tmp_path, (1, "a"), (2, "b"), (3, "c"), (4, "d"), (5, "e"))
    read: list[str] = []

    def given() -> Iterator[object]:
        for one in asked:
            read.append(one.text)
            yield one

    method = Colors(window=4)
    answered_after = []
    for finished in run_batch(given(), method, late=lambda: len(read) in (1, 3)):  # type: ignore[arg-type]
        answered_after.append((finished.record.text, len(read)))
    assert answered_after == [("a", 1), ("b", 3), ("c", 3), ("d", 5), ("e", 5)]
    assert method.windows == [1, 2, 2]


@posix
def test_a_program_that_writes_one_line_gets_its_answer(
    pipe: tuple[BinaryIO, BinaryIO], monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = pipe
    answers: list[bytes] = []
    answered = threading.Semaphore(0)

    def answer(content: str | bytes, **_: bool) -> bool:
        answers.append(content.encode() if isinstance(content, str) else content)
        answered.release()
        return True

    def produce() -> None:
        for text in ("a red car", "a blue cat", "two dogs"):
            writer.write(json.dumps({"image": IMAGE, "text": text}).encode() + b"\n")
            in_time.append(answered.acquire(timeout=60))
        writer.close()

    in_time: list[bool] = []
    monkeypatch.setattr("clipalign.runs.writer.write_output", answer)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(reader))
    producer = threading.Thread(target=produce)
    producer.start()
    status = main(["detect", "--input", "-", "--model", TINY, "--format", "jsonl", "-q"])
    producer.join()
    assert (status, in_time) == (0, [True, True, True])
    assert [json.loads(line)["text"] for line in answers if line] == ["a red car", "a blue cat", "two dogs"]
