"""Which part of an input a process does, and what it calls its output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from clipalign.config.groups import RecordSettings
from clipalign.errors import UsageError
from clipalign.runs.distributed import (
    Processes,
    Shard,
    find_shard,
    join_processes,
    launched_processes,
    wait_for_all,
)

TORCHRUN = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}


def test_a_share_comes_from_the_flag_or_from_torchrun() -> None:
    assert find_shard(RecordSettings(), {}) is None
    assert find_shard(RecordSettings(shard=(2, 3)), {}) == Shard(2, 3)
    assert find_shard(RecordSettings(output=Path("out.jsonl")), TORCHRUN) == Shard(3, 4, launched=True)
    assert find_shard(RecordSettings(), TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}) is None
    assert find_shard(RecordSettings(), {"WORLD_SIZE": "4"}) is None
    assert find_shard(RecordSettings(), TORCHRUN | {"RANK": "x"}) is None


def test_what_contradicts_torchrun_is_refused() -> None:
    with pytest.raises(UsageError, match="splits the input already"):
        find_shard(RecordSettings(shard=(1, 2), output=Path("out.jsonl")), TORCHRUN)
    with pytest.raises(UsageError, match="cannot share stdout"):
        find_shard(RecordSettings(), TORCHRUN)


def test_a_process_of_several_names_its_own_part() -> None:
    path = Path("runs") / "out.jsonl"
    assert Shard(3, 4, launched=True).output(path) == Path("runs") / "out.00003-of-00004.jsonl"
    assert Shard(3, 4).output(path) == path


def test_nobody_waits_who_is_alone_or_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def gone(*_: Any, **__: Any) -> Any:
        raise RuntimeError("connection refused")

    wait_for_all()
    monkeypatch.setattr("torch.distributed.init_process_group", gone)
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    wait_for_all()


def test_which_process_this_is_can_be_asked_without_meeting_the_others() -> None:
    assert launched_processes({}) == launched_processes({"RANK": "0", "WORLD_SIZE": "1"}) == Processes()
    assert launched_processes({"RANK": "1", "WORLD_SIZE": "4"}) == Processes(1, 4)
    assert [launched_processes({"RANK": rank, "WORLD_SIZE": "2"}).is_first for rank in ("0", "1")] == [True, False]


def test_one_process_gives_back_what_it_was_given() -> None:
    with join_processes(environment={}) as alone:
        assert (alone.gather("mine"), alone.broadcast("mine"), alone.any(True)) == (["mine"], "mine", True)
