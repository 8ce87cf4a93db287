"""One run by several processes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from clipalign.eval_results import EvalResult
from clipalign.evaluation import evaluate as runner
from clipalign.evaluation.evaluate import run_benchmark
from clipalign.evaluation.settings import EvalSettings
from clipalign.evaluation.tasks.long_captions import LongSample
from clipalign.evaluation.tasks.pictograms import PictogramLong
from clipalign.runs.distributed import Processes
from tests.halves import NOBODY, Halves, Halving, run
from tests.tiny import load_tiny


class Together(threading.local):
    """Which process a thread of the test stands for."""

    processes = Processes()


def run_by(size: int, **settings: Any) -> tuple[EvalResult, list[Halving]]:
    """The first's result and every one's evaluator."""
    evaluators = [Halving() for _ in range(size)]
    results = in_processes(
        size, lambda rank: run_benchmark(Halves(evaluator=evaluators[rank]), NOBODY, EvalSettings(**settings))
    )
    assert [rank for rank, result in results.items() if result is not None] == [0]
    assert results[0] is not None
    return results[0], evaluators


def in_processes(size: int, work: Callable[[int], EvalResult | None]) -> dict[int, EvalResult | None]:
    """What each process has of ``work``; threads stand for processes, a barrier for the network."""
    here, barrier = Together(), threading.Barrier(size)
    exchanged: dict[int, Any] = {}

    class Dealt(Processes):
        def gather(self, mine: Any) -> list[Any]:
            exchanged[self.rank] = mine
            barrier.wait(timeout=60)
            found = [exchanged[rank] for rank in range(size)] if self.is_first else []
            barrier.wait(timeout=60)
            return found

        def broadcast(self, value: Any) -> Any:
            exchanged[self.rank] = value
            barrier.wait(timeout=60)
            found = exchanged[0]
            barrier.wait(timeout=60)
            return found

    results: dict[int, EvalResult | None] = {}

    def at_work(rank: int) -> None:
        here.processes = Dealt(rank, size)
        results[rank] = work(rank)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner, "join_processes", lambda: nullcontext(here.processes))
        threads = [threading.Thread(target=at_work, args=(rank,)) for rank in range(size)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return results


@pytest.mark.parametrize("size", [2, 3, 5])
def test_several_processes_share_the_chunks_and_end_as_one(tmp_path: Path, size: int) -> None:
    whole = run(Halves(), output=tmp_path / "one")
    result, evaluators = run_by(size, output=tmp_path / "many")
    assert result == whole == run_by(size)[0]
    assert evaluators[1].scored[:3] == ["n3", "n4", "n5"]
    assert sorted(one for evaluator in evaluators for one in evaluator.scored) == [f"n{value}" for value in range(10)]
    for path in (tmp_path / "one").iterdir():
        assert (tmp_path / "many" / path.name).read_bytes() == path.read_bytes()
    assert len([*(tmp_path / "many").iterdir()]) == 3


@pytest.mark.parametrize("kept", [0, 3, 9])
@pytest.mark.parametrize("size", [1, 2, 3])
def test_a_run_is_resumed_by_any_number_of_processes(tmp_path: Path, size: int, kept: int) -> None:
    """What they had left when they were stopped: whole chunks and a torn line."""
    whole = run(Halves(), output=tmp_path)
    content = (tmp_path / "samples.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "samples.jsonl").write_bytes(b"".join(content[:kept]) + content[kept][:7])
    result, evaluators = run_by(size, output=tmp_path, resume=True)
    assert result == whole
    assert sorted(one for evaluator in evaluators for one in evaluator.scored) == [
        f"n{value}" for value in range(kept, 10)
    ]
    assert (tmp_path / "samples.jsonl").read_bytes() == b"".join(content)
    assert len([*tmp_path.iterdir()]) == 3


def test_texts_that_were_cut_are_counted_once_by_however_many_processes(
    monkeypatch: pytest.MonkeyPatch, few_draws: None
) -> None:
    monkeypatch.setattr(PictogramLong, "samples", _with_a_text_that_is_cut)
    alone = run_benchmark(PictogramLong(), load_tiny(), EvalSettings(limit=70))
    shared = in_processes(2, lambda _: run_benchmark(PictogramLong(), load_tiny(), EvalSettings(limit=70)))[0]
    assert alone is not None and shared is not None
    assert any(note.startswith("70 texts did not fit") for note in alone.notes)
    assert shared.notes == alone.notes


def _with_a_text_that_is_cut(self: PictogramLong, *, limit: int, seed: int) -> Iterator[LongSample]:
    image = Image.new("RGB", (8, 8))
    for number in range(limit):
        yield LongSample(
            str(number), image, str(number), ("a dog", "a dog and " + "a cat " * 90), ("a dog and no cat",)
        )
