"""Which part of an input a process does, and what it calls its output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from clipalign.config.values import Settings
from clipalign.errors import UsageError
from clipalign.runs.distributed import Share, find_share, wait_for_others, with_own_device

TORCHRUN = {"RANK": "2", "WORLD_SIZE": "4", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "2"}


@pytest.mark.parametrize("records", [0, 1, 3, 4, 10, 1001])
@pytest.mark.parametrize("count", [1, 2, 4, 7])
def test_shares_follow_each_other_and_differ_by_one_at_most(records: int, count: int) -> None:
    parts = [Share(index, count).of(records) for index in range(1, count + 1)]
    assert [number for part in parts for number in range(part.start, part.stop)] == list(range(records))
    sizes = [part.stop - part.start for part in parts]
    assert max(sizes) - min(sizes) <= 1


def test_a_share_comes_from_the_flag_or_from_torchrun() -> None:
    assert find_share(Settings(), {}) is None
    assert find_share(Settings(shard=(2, 3)), {}) == Share(2, 3)
    assert find_share(Settings(output=Path("out.jsonl")), TORCHRUN) == Share(3, 4, launched=True)
    assert find_share(Settings(), TORCHRUN | {"WORLD_SIZE": "1", "RANK": "0"}) is None
    assert find_share(Settings(), {"WORLD_SIZE": "4"}) is None
    assert find_share(Settings(), TORCHRUN | {"RANK": "x"}) is None


def test_what_contradicts_torchrun_is_refused() -> None:
    with pytest.raises(UsageError, match="shares the input already"):
        find_share(Settings(shard=(1, 2), output=Path("out.jsonl")), TORCHRUN)
    with pytest.raises(UsageError, match="cannot share stdout"):
        find_share(Settings(), TORCHRUN)


def test_a_process_of_several_names_its_own_part() -> None:
    path = Path("runs") / "out.jsonl"
    assert Share(3, 4, launched=True).output(path) == Path("runs") / "out.00003-of-00004.jsonl"
    assert Share(3, 4).output(path) == path


def test_each_process_takes_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def device(asked: str, environment: dict[str, str]) -> str:
        return with_own_device(Settings(device=asked), environment).device

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert device("auto", TORCHRUN | {"LOCAL_RANK": "1"}) == "cuda:1"
    assert device("auto", TORCHRUN | {"LOCAL_RANK": "3"}) == "cuda:1"
    assert device("cpu", TORCHRUN | {"LOCAL_RANK": "1"}) == "cpu"
    assert device("auto", {}) == "auto"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device("auto", TORCHRUN) == "auto"


def test_nobody_waits_who_is_alone_or_was_left(monkeypatch: pytest.MonkeyPatch) -> None:
    wait_for_others({})
    wait_for_others(TORCHRUN)

    def gone(*_: Any, **__: Any) -> Any:
        raise RuntimeError("connection refused")

    monkeypatch.setattr("torch.distributed.TCPStore", gone)
    agent = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "9", "TORCHELASTIC_USE_AGENT_STORE": "True"}
    wait_for_others(TORCHRUN | agent)
