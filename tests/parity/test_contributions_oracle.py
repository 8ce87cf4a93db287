"""Contributions straight from their definitions, every text through the network's own ``encode_text``."""

from __future__ import annotations

from itertools import permutations
from statistics import fmean

import pytest
import torch
from torch.nn.functional import normalize

from clipalign.methods.detect import Pair
from clipalign.methods.score_long import score_long_pairs
from clipalign.methods.settings import LongSettings
from clipalign.models.model import LoadedModel
from clipalign.models.tokenize import tokenize_text
from tests.tiny import TOWERS, load_random

SENTENCES = ("A red car stands there.", "Two dogs sit beside it.", "The sky is blue.", "It is late.")


def score(loaded: LoadedModel, image: torch.Tensor, sentences: tuple[str, ...]) -> float:
    text = tokenize_text(loaded, " ".join(sentences))
    features = loaded.network.encode_text(torch.tensor([text.ids + text.padding]))[0]
    return (float(normalize(features, dim=-1) @ image) + 1) / 2


def expected(loaded: LoadedModel, image: torch.Tensor, kind: str) -> list[float]:
    def worth(places: tuple[int, ...]) -> float:
        return score(loaded, image, tuple(SENTENCES[place] for place in sorted(places)))

    everyone = tuple(range(len(SENTENCES)))
    if kind == "leave-one-out":
        return [worth(everyone) - worth(tuple(set(everyone) - {one})) for one in everyone]
    orders = list(permutations(everyone))
    before = [[order[: order.index(one)] for order in orders] for one in everyone]
    return [fmean(worth((*some, one)) - worth(some) for some in before[one]) for one in everyone]


@pytest.mark.parametrize("kind", ["leave-one-out", "shapley"])
@pytest.mark.parametrize("tower", TOWERS)
@torch.no_grad()
def test_contributions_are_those_of_the_definition(tower: str, kind: str) -> None:
    loaded = load_random(tower)
    width = len(loaded.network.encode_text(torch.zeros(1, loaded.context_tokens, dtype=torch.long))[0])
    image = normalize(torch.randn(width, generator=torch.Generator().manual_seed(1)), dim=-1)
    settings = LongSettings(contribution=kind, stretch=False)
    (result,) = score_long_pairs(loaded, [Pair(image, " ".join(SENTENCES))], settings)
    found = [sentence.contribution for sentence in result.sentences]
    assert max(map(abs, (one or 0.0 for one in found))) > 1e-4
    assert found == pytest.approx(expected(loaded, image, kind), abs=1e-6)
