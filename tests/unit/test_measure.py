"""A benchmark for Python programs."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

import clipalign
from clipalign.errors import UnknownDataset, UsageError


def test_the_numbers_of_the_command(tmp_path: Path) -> None:
    done: list[int] = []
    session = clipalign.load("pictogram", device="cpu")
    result = clipalign.evaluate(
        "pictogram-foil", model=session, limit=10, layers=2, output=tmp_path / "run", on_progress=done.append
    )
    assert result is not None and result.provenance.settings["layers"] == 2 and sum(done) == 10
    assert json.loads((tmp_path / "run" / "result.json").read_text()) == result.to_dict()
    same = clipalign.evaluate("pictogram-foil", model="pictogram", limit=10, layers=2, device="cpu")
    assert same is not None and same.values == result.values


def test_what_cannot_be() -> None:
    with pytest.raises(UnknownDataset):
        clipalign.evaluate("fiol", model="pictogram")
    with pytest.raises(UsageError, match="pictogram-foil makes no use of method"):
        clipalign.evaluate("pictogram-foil", model="pictogram", method="clip")
