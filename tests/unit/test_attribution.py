"""Towers that do not show their attention are refused by name; the arithmetic is held against the oracle in parity."""

from __future__ import annotations

import dataclasses
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from clipalign.errors import UsageError
from clipalign.models.attribution import attribute
from clipalign.models.tokenize import tokenize_text
from tests.tiny import load_random


class HFTextEncoder(nn.Module):
    """Stands in for open_clip's adapter around a model of the transformers library."""

    def __init__(self) -> None:
        super().__init__()
        self.transformer = nn.Linear(2, 2)


def test_a_tower_of_another_library_is_refused_by_name() -> None:
    loaded = load_random("clip")
    other = dataclasses.replace(loaded, network=SimpleNamespace(text=HFTextEncoder()), architecture="roberta-ViT-B-32")
    with pytest.raises(UsageError, match=r"roberta-ViT-B-32 \(HFTextEncoder\)"):
        attribute(other, torch.zeros(1, 24), [tokenize_text(loaded, "a dog")], layers=1)


def test_a_tower_that_is_not_pooled_is_refused() -> None:
    loaded = load_random("custom-bidirectional")
    kept = loaded.network.text.pool_type
    try:
        loaded.network.text.pool_type = "none"
        with pytest.raises(UsageError, match="not pooled"):
            attribute(loaded, torch.zeros(1, 24), [tokenize_text(loaded, "a dog")], layers=1)
    finally:
        loaded.network.text.pool_type = kept


def test_more_layers_than_there_are_is_a_usage_error() -> None:
    for kind in ("clip", "siglip"):
        loaded = load_random(kind)
        with pytest.raises(UsageError, match="from 1 to 4"):
            attribute(loaded, torch.zeros(1, 24), [tokenize_text(loaded, "a dog")], layers=5)
