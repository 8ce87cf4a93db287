"""Runs over many records: order, sharing of pictures, bounds on what is held, errors, and an end without delay."""

from __future__ import annotations

import _thread
import os
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

from clipalign.data.records import InputRecord, Place
from clipalign.errors import ClipalignError, ImageUnreadable, InputUnreadable, ModelMismatch, RecordFailed, TextUnusable
from clipalign.methods.scores import ScoreItem
from clipalign.runs.batch import RecordOutcome, run_batch
from clipalign.runs.prefetch import Prefetcher, prefetched, workers_for_this_machine
from tests.results import PROVENANCE

ODD = 99
"""The red of a picture that cannot be prepared."""


class Colors:
    """A method that says the red of a picture's corner and its record's text; it counts what it is asked."""

    def __init__(self, window: int = 4, ahead: int = 4, prepare_seconds: float = 0.0) -> None:
        self.window_records = window
        self.pictures_ahead = ahead
        self.provenance = PROVENANCE
        self.picture_key = None
        self.shorter_px = None
        self.seconds = prepare_seconds
        self.prepared: list[int] = []
        self.encoded: list[int] = []
        self.windows: list[int] = []
        self.held = self.most_held = 0
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def prepare(self, picture: Image.Image) -> Tensor:
        red: int = picture.getpixel((0, 0))[0]  # type: ignore[index]
        with self.lock:
            self.prepared.append(red)
            self.held += 1
            self.most_held = max(self.most_held, self.held)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        time.sleep(self.seconds)
        with self.lock:
            self.at_once -= 1
        if red == ODD:
            raise ImageUnreadable("too odd")
        return torch.tensor([float(red)])

    def encode(self, prepared: Sequence[Tensor]) -> list[Tensor | ClipalignError]:
        self.encoded.append(len(prepared))
        self.held -= len(prepared)
        return [ModelMismatch("no finite numbers") if tensor.item() == 13 else tensor for tensor in prepared]

    def score(self, items: Sequence[ScoreItem]) -> list[str | ClipalignError]:
        assert items
        self.windows.append(len(items))
        return [
            TextUnusable("no word") if record.text == "..." else f"{record.text}: {int(features.item())}"
            for record, features in items
        ]


def picture(folder: Path, red: int, name: str = "") -> Path:
    path = folder / (name or f"{red}.png")
    Image.new("RGB", (4, 4), (red, 0, 0)).save(path)
    return path


def record(number: int, image: Path | str | bytes, text: str, problem: ClipalignError | None = None) -> InputRecord:
    name = image.decode("latin-1")[:3] if isinstance(image, bytes) else Path(image).name
    return InputRecord(str(number + 1), image, name, text, (), Place("p.jsonl", number + 1, number), problem)


def records(folder: Path, *pairs: tuple[int, str]) -> list[InputRecord]:
    return [record(number, picture(folder, red), text) for number, (red, text) in enumerate(pairs)]


def outcomes(finished: Iterable[RecordOutcome[Any]]) -> list[str]:
    return [str(one.result) for one in finished]


@pytest.mark.parametrize("window", [1, 2, 3, 7, 50])
@pytest.mark.parametrize("ahead", [1, 2, 5, 50])
@pytest.mark.parametrize("workers", [1, 4])
def test_results_come_in_the_order_of_the_input_whatever_the_bounds(
    tmp_path: Path, window: int, ahead: int, workers: int
) -> None:
    asked = records(tmp_path, *((index % 9, f"t{index}") for index in range(23)))
    scorer = Colors(window, ahead)
    found = list(run_batch(asked, scorer, workers=workers))
    assert [one.record for one in found] == asked
    assert outcomes(found) == [f"t{index}: {index % 9}" for index in range(23)]
    assert max(scorer.windows) <= window
    assert max(scorer.encoded) <= max(1, ahead // 2)
    assert scorer.most_held <= ahead + 1
    assert scorer.most_at_once <= workers


def test_long_texts_make_short_windows(tmp_path: Path) -> None:
    scorer = Colors(window=6)
    path = picture(tmp_path, 5)
    found = list(run_batch([record(n, path, "t" * 400_000) for n in range(7)], scorer))
    assert (len(found), scorer.windows) == (7, [3, 3, 1])


def test_a_picture_of_neighbors_is_prepared_and_encoded_once_also_across_windows(tmp_path: Path) -> None:
    asked = records(tmp_path, *((red, f"t{index}") for index, red in enumerate([1, 1, 2, 1, 1, 2, 2, 3, 3, 3])))
    scorer = Colors(window=3)
    list(run_batch(asked, scorer))
    assert sorted(scorer.prepared) == [1, 2, 3]
    assert sum(scorer.encoded) == 3


def test_pictures_in_memory_are_told_apart_by_what_they_hold(tmp_path: Path) -> None:
    one, two = (picture(tmp_path, red).read_bytes() for red in (1, 2))
    asked = [record(index, content, "t") for index, content in enumerate([one, bytes(bytearray(one)), two])]
    scorer = Colors()
    found = list(run_batch(asked, scorer))
    assert outcomes(found) == ["t: 1", "t: 1", "t: 2"]
    assert len(scorer.prepared) == 2
    assert all(one.record.image == b"" for one in found), "nobody needs the bytes any more"


def test_a_picture_far_away_is_read_again(tmp_path: Path) -> None:
    asked = records(tmp_path, *((red, "t") for red in [1, *range(2, 12), 1]))
    scorer = Colors(window=3)
    list(run_batch(asked, scorer))
    assert scorer.prepared.count(1) == 2


def test_an_error_costs_its_own_records_and_no_others(tmp_path: Path) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"\x89PNG cut")
    problem = InputUnreadable("not valid JSON")
    asked = [
        record(0, picture(tmp_path, 1), "a"),
        record(1, tmp_path / "missing.png", "b"),
        record(2, "", "", problem),
        record(3, broken, "c"),
        record(4, broken, "d"),
        record(5, picture(tmp_path, ODD, "odd.png"), "e"),
        record(6, picture(tmp_path, 13), "f"),
        record(7, picture(tmp_path, 1), "..."),
        record(8, b"no picture", "g"),
        record(9, picture(tmp_path, 2), "h"),
    ]
    found = list(run_batch(asked, Colors()))
    types = [type(one.result) for one in found]
    assert types == [
        str, ImageUnreadable, InputUnreadable, ImageUnreadable, ImageUnreadable, ImageUnreadable, ModelMismatch,
        TextUnusable, ImageUnreadable, str,
    ]  # fmt: skip
    assert found[2].result is problem
    assert isinstance(found[5].result, ClipalignError) and found[5].result.input == "odd.png"
    assert isinstance(found[8].result, ClipalignError) and found[8].result.message == "no  is not a picture"
    assert outcomes(found)[-1] == "h: 2"


def test_with_fail_the_first_error_ends_the_run_after_everything_before_it(tmp_path: Path) -> None:
    asked = records(tmp_path, (1, "a"), (2, "b"), (3, "..."), (4, "c"))
    seen: list[str] = []
    with pytest.raises(TextUnusable):
        for one in run_batch(asked, Colors(), on_error="fail"):
            seen.append(str(one.result))
    assert seen == ["a: 1", "b: 2"]


def test_addresses_are_refused_while_offline() -> None:
    found = next(run_batch([record(0, "http://127.0.0.1:9/a.png", "a")], Colors(), offline=True))
    assert "is not fetched while offline" in str(found.result)


def test_many_pictures_are_fetched_at_once_however_few_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = picture(tmp_path, 5).read_bytes()
    together = threading.Barrier(6)

    def fetch(*given: object) -> bytes:
        together.wait(60)  # for five others
        return content

    monkeypatch.setattr("clipalign.data.sources._fetch", fetch)
    asked = [record(number, f"http://example.org/{number}.png", "t") for number in range(12)]
    scorer = Colors(window=12, ahead=12, prepare_seconds=0.01)
    assert outcomes(run_batch(asked, scorer, workers=1)) == ["t: 5"] * 12
    assert scorer.most_at_once == 1


def test_thumbnails_where_they_are_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "wide.png"
    Image.new("RGB", (400, 100), "teal").save(path)
    asked = [record(0, path, "a"), record(1, path, "b"), record(2, tmp_path / "no.png", "c")]
    assert [one.thumbnail for one in run_batch(asked, Colors())] == [None] * 3
    first, second, third = run_batch(asked, Colors(), thumbnail_px=64)
    assert first.thumbnail is not None
    assert first.thumbnail.startswith(b"\xff\xd8\xff")
    small = path.with_name("small.jpg")
    small.write_bytes(first.thumbnail)
    assert Image.open(small).size == (64, 16)
    assert second.thumbnail == first.thumbnail
    assert third.thumbnail is None


def test_records_are_read_as_they_are_needed(tmp_path: Path) -> None:
    path = picture(tmp_path, 1)
    read: list[int] = []

    def endless() -> Iterator[InputRecord]:
        number = 0
        while True:
            read.append(number)
            yield record(number, path, "a")
            number += 1

    run = run_batch(endless(), Colors(window=4))
    for _ in range(4):
        next(run)
    run.close()
    assert len(read) <= 12


def _gone(threads: int) -> bool:
    """Whether there are soon no more threads than ``threads``: a thread has a few steps to go once its work is done."""
    until = time.monotonic() + 5
    while _thread._count() > threads and time.monotonic() < until:
        time.sleep(0.01)
    return _thread._count() <= threads


def test_whatever_ends_a_run_ends_its_threads(tmp_path: Path) -> None:
    asked = records(tmp_path, *((red, "t") for red in range(30)))
    before = _thread._count()

    class Interrupted(Colors):
        def score(self, items: Sequence[ScoreItem]) -> list[str | ClipalignError]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(run_batch(asked, Interrupted(prepare_seconds=0.01)))
    assert _gone(before)
    run = run_batch(asked, Colors(prepare_seconds=0.01))
    next(run)
    run.close()
    assert _gone(before)
    list(run_batch(asked, Colors()))
    assert _gone(before)


def test_a_thread_that_hangs_keeps_nobody_waiting() -> None:
    begin = time.monotonic()
    release = threading.Event()
    with Prefetcher[bool](2) as workers:
        workers.submit(lambda: release.wait(60))
        time.sleep(0.05)
    assert time.monotonic() - begin < 10
    release.set()


def test_what_a_thread_raises_is_raised_where_it_is_waited_for() -> None:
    def fail() -> None:
        raise TimeoutError("of its own")

    with Prefetcher[None](1) as workers:
        with pytest.raises(TimeoutError, match="of its own"):
            workers.result(workers.submit(fail))
        assert workers.result(workers.submit(lambda: None)) is None


def test_a_thread_without_memory_to_say_so_is_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(Future, "set_exception", fail)
    with Prefetcher[None](1) as workers, pytest.raises(MemoryError):
        workers.result(workers.submit(fail))


def test_a_thread_that_never_begins_is_waited_for_no_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    before, start, calls = _thread._count(), _thread.start_new_thread, iter(range(3))
    monkeypatch.setattr("clipalign.runs.prefetch._START_SECONDS", 0.05)
    monkeypatch.setattr(_thread, "start_new_thread", lambda *given: start(*given) if next(calls) < 1 else 0)
    with Prefetcher[None](3) as threads:
        threads.submit(lambda: None)
        with pytest.raises(MemoryError, match="could not begin"):
            threads.submit(lambda: None)
    assert _gone(before)


@pytest.mark.parametrize("ahead", [0, 1, 5, 50])
def test_results_made_ahead_come_in_order_and_no_more_items_are_read_than_asked_for(ahead: int) -> None:
    read: list[int] = []

    def items() -> Iterator[int]:
        for number in range(20):
            read.append(number)
            yield number

    results = prefetched(items(), lambda number: number * 2, threads=3, ahead=ahead)
    assert next(results) == 0
    assert len(read) == min(20, ahead + 1)
    assert list(results) == [number * 2 for number in range(1, 20)]


def test_an_error_made_ahead_is_raised_in_its_place() -> None:
    results = prefetched([2, 1, 0], lambda number: 2 / number, threads=2, ahead=2)
    assert (next(results), next(results)) == (1.0, 2.0)
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_key_that_is_under_way_is_not_made_twice_and_its_error_is_a_value() -> None:
    made: list[str] = []
    nothing: dict[str, None] = {}
    with Prefetcher[None](1) as workers:
        for _ in range(3):
            workers.expect("a", lambda: made.append("a"))
        assert workers.take("a", "a.png") is None and made == ["a"]
        workers.expect("a", lambda: nothing["no such key"])
        failed = workers.take("a", "a.png")
    assert isinstance(failed, RecordFailed) and failed.message == "a.png: unexpected error, KeyError: 'no such key'"


def test_processes_of_one_machine_share_its_cpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(12), raising=False)
    assert workers_for_this_machine() == 12
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "4")
    assert workers_for_this_machine() == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(1), raising=False)
    assert workers_for_this_machine() == 2
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "")
    monkeypatch.setattr("os.sched_getaffinity", lambda _: range(256), raising=False)
    assert workers_for_this_machine() == 16


class Faulty(Colors):
    """Meets an unexpected error, at one stage and for one record."""

    def __init__(self, stage: str) -> None:
        super().__init__()
        self.stage = stage

    def prepare(self, picture: Image.Image) -> Tensor:
        tensor = super().prepare(picture)
        if self.stage == "prepare" and tensor[0] == 2:
            raise RecursionError("too deep")
        return tensor

    def encode(self, prepared: Sequence[Tensor]) -> list[Tensor | ClipalignError]:
        if self.stage == "encode" and any(tensor[0] == 2 for tensor in prepared):
            raise AssertionError("a shape")
        return super().encode(prepared)

    def score(self, items: Sequence[ScoreItem]) -> list[Any]:
        if self.stage == "score" and any(item.picture[0] == 2 for item in items):
            raise KeyError("a word")
        return super().score(items)


@pytest.mark.parametrize("stage", ["prepare", "encode", "score"])
def test_an_error_nobody_foresaw_costs_its_record_alone(tmp_path: Path, stage: str) -> None:
    finished = list(run_batch(records(tmp_path, *((red, "a cat") for red in range(6))), Faulty(stage)))
    wrong = [one for one in finished if isinstance(one.result, ClipalignError)]
    assert len(finished) == 6 and [one.record.id for one in wrong] == [finished[2].record.id]
    outcome = wrong[0].result
    assert isinstance(outcome, RecordFailed) and "unexpected error" in outcome.message and outcome.__cause__


def test_reading_that_fails_ends_the_input_and_not_the_run(tmp_path: Path) -> None:
    def failing() -> Iterator[InputRecord]:
        yield from records(tmp_path, *((red, "a cat") for red in range(3)))
        raise OverflowError("a number")

    finished = list(run_batch(failing(), Colors()))
    assert len(finished) == 4 and isinstance(finished[3].result, RecordFailed)
    assert finished[3].result.hint.startswith("nothing behind it was read")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names here")
@pytest.mark.parametrize("name", ["pipe.png", "/dev/zero", "/dev/fd/0"])
def test_devices_and_pipes_in_a_list_are_not_read(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.png")
    read, write = os.pipe()
    image = name if name.startswith("/dev/zero") else f"/dev/fd/{read}" if name.startswith("/dev") else tmp_path / name
    record = InputRecord("1", image, str(image), "a cat", (), Place("pairs.jsonl", 1, 0))
    (finished,) = run_batch([record], Colors())
    os.close(read)
    os.close(write)
    assert isinstance(finished.result, ImageUnreadable) and "not a file" in finished.result.message
