"""One run by several processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipalign.config.values import Settings
from clipalign.errors import UsageError
from clipalign.evaluation import evaluate as runner
from clipalign.evaluation.evaluate import run_benchmark
from clipalign.evaluation.load_run import part_name
from clipalign.evaluation.tasks.increments import Growing, PictogramLong
from clipalign.results import EvalResult
from clipalign.runs.distributed import Ranks, join_ranks, launched_ranks
from tests.halves import NOBODY, Halves, Halving, run
from tests.tiny import load_tiny


class Together(threading.local):
    """Which process a thread of the test stands for."""

    ranks = Ranks()


def run_by(processes: int, **settings: Any) -> tuple[EvalResult, list[Halving]]:
    """The first's result and every one's route."""
    routes = [Halving() for _ in range(processes)]
    results = in_processes(
        processes, lambda index: run_benchmark(Halves(route=routes[index]), NOBODY, Settings(**settings))
    )
    assert [index for index, result in results.items() if result is not None] == [0]
    assert results[0] is not None
    return results[0], routes


def in_processes(processes: int, work: Callable[[int], EvalResult | None]) -> dict[int, EvalResult | None]:
    """What each process has of ``work``; threads stand for processes, a barrier for the network."""
    here, barrier = Together(), threading.Barrier(processes)
    exchanged: dict[int, Any] = {}

    class Dealt(Ranks):
        def wait(self) -> None:
            barrier.wait(timeout=60)

        def gather(self, mine: Any) -> list[Any]:
            exchanged[self.index] = mine
            barrier.wait(timeout=60)
            return [exchanged[index] for index in range(processes)] if self.first else []

        def close(self) -> None:
            """Nothing to leave."""

    results: dict[int, EvalResult | None] = {}

    def at_work(index: int) -> None:
        here.ranks = Dealt(index, processes)
        results[index] = work(index)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "join_ranks", lambda: here.ranks)
        threads = [threading.Thread(target=at_work, args=(index,)) for index in range(processes)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return results


@pytest.mark.parametrize("processes", [2, 3, 5])
def test_several_processes_share_the_chunks_and_end_as_one(tmp_path: Path, processes: int) -> None:
    whole = run(Halves(), output=tmp_path / "one")
    result, routes = run_by(processes, output=tmp_path / "many")
    assert result == whole == run_by(processes)[0]
    assert routes[1].scored[:3] == ["n3", "n4", "n5"]
    assert sorted(one for route in routes for one in route.scored) == [f"n{value}" for value in range(10)]
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "many" / path.name).read_bytes() == path.read_bytes()
    assert len([*(tmp_path / "many").iterdir()]) == 3


@pytest.mark.parametrize(("before", "after"), [(1, 3), (3, 1), (2, 3), (3, 3)])
def test_a_run_is_resumed_by_any_number_of_processes(tmp_path: Path, before: int, after: int) -> None:
    """What two processes had left when they were stopped: chunks 0 and 2 of one, chunk 1 and a torn line of another."""
    whole = run(Halves(), output=tmp_path)
    content = (tmp_path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    chunks = [b"".join(content[begin : begin + 3]) for begin in range(0, 9, 3)]
    (tmp_path / "samples.jsonl").unlink()
    for index in range(before):
        torn = content[9][:7] if index == before - 1 else b""
        (tmp_path / part_name(index, before)).write_bytes(b"".join(chunks[index::before]) + torn)
    if after == 1:
        route = Halving()
        assert run(Halves(route=route), output=tmp_path, resume=True) == whole
        scored = route.scored
    else:
        result, routes = run_by(after, output=tmp_path, resume=True)
        assert result == whole
        scored = [one for route in routes for one in route.scored]
    assert scored == ["n9"]
    assert (tmp_path / "samples.jsonl").read_bytes() == b"".join(content)
    assert len([*tmp_path.iterdir()]) == 3


def test_a_gap_between_processes_is_scored_anew(tmp_path: Path) -> None:
    run(Halves(), output=tmp_path)
    content = (tmp_path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "samples.jsonl").unlink()
    (tmp_path / part_name(0, 2)).write_bytes(b"".join(content[:3] + content[6:9]))  # the second had nothing yet
    route = Halving()
    run(Halves(route=route), output=tmp_path, resume=True)
    assert route.scored == [f"n{value}" for value in range(3, 10)]


def test_parts_of_an_earlier_run_are_a_run_too(tmp_path: Path) -> None:
    (tmp_path / part_name(1, 2)).write_bytes(b'{"id": "n3", "half": 1.0}\n')
    with pytest.raises(UsageError, match="already holds the records"):
        run(Halves(), output=tmp_path)
    run(Halves(), output=tmp_path, overwrite=True)
    assert not (tmp_path / part_name(1, 2)).exists()


def test_nobody_waits_for_processes_that_were_not_launched() -> None:
    assert join_ranks({}) == join_ranks({"RANK": "0", "WORLD_SIZE": "1"}) == Ranks()
    assert Ranks().gather("mine") == ["mine"]


def test_which_process_this_is_can_be_asked_without_meeting_the_others() -> None:
    assert launched_ranks({}) == launched_ranks({"RANK": "0", "WORLD_SIZE": "1"}) == Ranks()
    assert launched_ranks({"RANK": "1", "WORLD_SIZE": "4"}) == Ranks(1, 4)
    assert [launched_ranks({"RANK": rank, "WORLD_SIZE": "2"}).first for rank in ("0", "1")] == [True, False]


def test_texts_that_were_cut_are_counted_once_by_however_many_processes(
    monkeypatch: pytest.MonkeyPatch, few_draws: None
) -> None:
    monkeypatch.setattr(PictogramLong, "samples", _with_a_text_that_is_cut)
    alone = run_benchmark(PictogramLong(), load_tiny(), Settings(limit=70))
    shared = in_processes(2, lambda _: run_benchmark(PictogramLong(), load_tiny(), Settings(limit=70)))[0]
    assert alone is not None and shared is not None
    assert any(note.startswith("70 texts did not fit") for note in alone.notes)
    assert shared.notes == alone.notes


def _with_a_text_that_is_cut(self: PictogramLong, *, limit: int, seed: int) -> Iterator[Growing]:
    image = Image.new("RGB", (8, 8))
    for number in range(limit):
        yield Growing(str(number), image, str(number), ("a dog", "a dog and " + "a cat " * 90), ("a dog and no cat",))
