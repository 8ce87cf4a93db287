"""The original's stretch of 77 positions to 248, reproduced."""

from __future__ import annotations

import json

import pytest
import torch

from clipalign.device import DeviceChoice
from clipalign.models.load import load_model
from clipalign.models.long_context import stretch_positions, stretched
from clipalign.models.registry import find_model
from tests.tiny import GOLDEN, load_tiny

STRETCH = json.loads((GOLDEN / "stretch.json").read_text())


def test_every_row_has_the_length_it_has_in_the_original() -> None:
    table = stretch_positions(load_tiny().network.positional_embedding)
    assert len(table) == STRETCH["length"] == 248
    assert table.norm(dim=-1).tolist() == pytest.approx(STRETCH["row_norms"], abs=1e-6)


@pytest.mark.parametrize("row", STRETCH["rows"])
def test_ten_rows_in_full(row: str) -> None:
    table = stretch_positions(load_tiny().network.positional_embedding)
    assert table[int(row)].tolist() == pytest.approx(STRETCH["rows"][row], abs=1e-6)


def test_the_embedded_models_differ_in_their_positions_alone_and_the_short_one_can_be_stretched() -> None:
    choice = DeviceChoice(device="cpu", precision="fp32", reason="", threads=None)
    short, long = (load_model(find_model(name), choice=choice) for name in ("pictogram", "pictogram-long"))
    assert (short.context_tokens, long.context_tokens) == (77, 248)
    tensors, others = (loaded.network.state_dict() for loaded in (short, long))
    assert torch.equal(tensors.pop("positional_embedding"), others.pop("positional_embedding")[:77])
    assert tensors.keys() == others.keys() and all(torch.equal(tensors[name], others[name]) for name in tensors)
    start = stretched(short)
    assert torch.equal(start.network.positional_embedding, stretch_positions(short.network.positional_embedding))
    assert "stretched from 77 to 248" in start.notes[-1] and not short.notes and not long.notes
